// The scanner side of json.h: a thin C face over simdjson's DOM parser (https://simdjson.org), which validates the whole text.
#include <simdjson.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

extern "C" {
#include "base/err.h"
#include "base/str.h"
struct json_scanner;
struct json_scanner *json_scanner_new(size_t size_max);
void json_scanner_free(struct json_scanner **scanner);
enum status json_scan(struct json_scanner *scanner, struct str text, struct err *err);
char json_scan_kind(struct json_scanner *scanner);
bool json_scan_path(struct json_scanner *scanner, struct str path, struct str *out);
bool json_raw_at(struct str text, struct str path, struct str *out);
enum status json_validate(struct str text, size_t depth_max, struct err *err);
}

namespace sj = simdjson;

struct json_scanner {
    sj::dom::parser parser;
    sj::dom::element root;
    std::string scratch;
    struct str text = {nullptr, 0};
    bool by_letter = false; // the text was beyond simdjson (integers over 64 bits): `root` is not valid
    explicit json_scanner(size_t size_max) : parser(size_max) {}
};

static constexpr size_t depth_max = 128; // JSON_DEPTH_MAX

extern "C" struct json_scanner *json_scanner_new(size_t size_max) {
    auto *s = new json_scanner(size_max < 64 ? 64 : size_max); // simdjson grows to 32 bytes at least, and refuses that beyond its maximum
    if (s->parser.allocate(4096, depth_max)) std::abort();
    return s;
}

extern "C" void json_scanner_free(struct json_scanner **scanner) {
    if (!scanner) return;
    delete *scanner;
    *scanner = nullptr;
}

// OK when only simdjson could not read it.
static enum status failure(sj::error_code code, struct str text, struct err *err) {
    switch (code) {
    case sj::CAPACITY: return err_set(err, E_LIMIT, "JSON text of %zu bytes is over the limit", text.n);
    case sj::DEPTH_ERROR: return err_set(err, E_LIMIT, "JSON nests deeper than %zu levels", depth_max);
    case sj::UTF8_ERROR: return err_set(err, E_INVALID, "JSON is not valid UTF-8");
    case sj::UNCLOSED_STRING: return err_set(err, E_INVALID, "JSON has a string that does not end");
    case sj::UNESCAPED_CHARS: return err_set(err, E_INVALID, "JSON has a control character inside a string");
    case sj::EMPTY: return err_set(err, E_INVALID, "empty JSON text");
    case sj::MEMALLOC: return err_set(err, E_LIMIT, "no memory for a JSON text of %zu bytes", text.n);
    default: // the slow way names the byte
        if (json_validate(text, depth_max, err) != OK) return err ? err->status : E_INVALID;
        return OK;
    }
}

extern "C" enum status json_scan(struct json_scanner *s, struct str text, struct err *err) {
    if (text.n > s->parser.max_capacity()) return failure(sj::CAPACITY, text, err);
    auto code = s->parser.parse(reinterpret_cast<const uint8_t *>(text.p), text.n, false).get(s->root);
    s->by_letter = code != sj::SUCCESS;
    s->text = text;
    return code ? failure(code, text, err) : OK;
}

extern "C" char json_scan_kind(struct json_scanner *s) {
    if (s->by_letter) {
        size_t i = 0;
        while (i < s->text.n && strchr(" \t\r\n", s->text.p[i])) i++;
        char c = i < s->text.n ? s->text.p[i] : 'n';
        return c == '-' || (c >= '0' && c <= '9') ? '0' : c;
    }
    switch (s->root.type()) {
    case sj::dom::element_type::OBJECT: return '{';
    case sj::dom::element_type::ARRAY: return '[';
    case sj::dom::element_type::STRING: return '"';
    case sj::dom::element_type::BOOL: return bool(s->root) ? 't' : 'f';
    case sj::dom::element_type::NULL_VALUE: return 'n';
    default: return '0';
    }
}

// One step of a path: a member of an object or, for digits, an element of an array.
static bool step(sj::dom::element &at, std::string_view name) {
    if (at.is_object()) return at.get_object().value_unsafe().at_key(name).get(at) == sj::SUCCESS;
    if (!at.is_array()) return false;
    size_t index = 0;
    auto r = std::from_chars(name.data(), name.data() + name.size(), index);
    if (r.ec != std::errc() || r.ptr != name.data() + name.size()) return false;
    return at.get_array().value_unsafe().at(index).get(at) == sj::SUCCESS;
}

// The value at a path of a text that simdjson did not read, or a number as it was written.
static bool raw_path(struct json_scanner *s, struct str path, struct str *out) {
    struct str raw;
    if (!json_raw_at(s->text, path, &raw) || raw.p[0] == '{' || raw.p[0] == '[' || raw.p[0] == 'n') return false;
    s->scratch.assign(raw.p, raw.n);
    if (raw.p[0] == '"') {
        sj::dom::parser one;
        sj::dom::element e;
        if (one.parse(s->scratch).get(e)) return false;
        std::string_view v = e.get_string().value_unsafe();
        s->scratch.assign(v);
    }
    *out = {s->scratch.data(), s->scratch.size()};
    return true;
}

extern "C" bool json_scan_path(struct json_scanner *s, struct str path, struct str *out) {
    if (s->by_letter) return raw_path(s, path, out);
    std::string_view rest(path.p, path.n);
    if (!rest.empty() && rest[0] == '$') rest.remove_prefix(1);
    if (!rest.empty() && rest[0] == '.') rest.remove_prefix(1);
    sj::dom::element at = s->root;
    while (!rest.empty()) {
        size_t dot = rest.find('.');
        if (!step(at, rest.substr(0, dot))) return false;
        rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    }
    switch (at.type()) {
    case sj::dom::element_type::STRING: {
        std::string_view v = at.get_string().value_unsafe();
        *out = {v.data(), v.size()};
        return true;
    }
    case sj::dom::element_type::OBJECT:
    case sj::dom::element_type::ARRAY:
    case sj::dom::element_type::NULL_VALUE: return false;
    case sj::dom::element_type::BOOL: *out = bool(at) ? str{"true", 4} : str{"false", 5}; return true;
    default: return raw_path(s, path, out);
    }
}
