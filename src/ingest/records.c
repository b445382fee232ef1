#include "ingest/records.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum body_kind body_kind_of(struct str content_type) {
    static const char *const ndjson[] = {
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines"};
    if (content_type.n == 0 || str_is(content_type, "application/json") || str_ends(content_type, STR("+json")) || str_is(content_type, "text/json"))
        return BODY_JSON;
    for (size_t i = 0; i < sizeof ndjson / sizeof *ndjson; i++)
        if (str_is(content_type, ndjson[i])) return BODY_NDJSON;
    return BODY_RAW;
}

static struct str skip_mark(struct str body) { return str_starts(body, STR("\xEF\xBB\xBF")) ? str_from(body, 3) : body; }

static enum status too_many(uint32_t max, struct err *err) { return err_set(err, E_LIMIT, "more than %u records in one request (the limit)", max); }

static enum status one_record(struct str text, struct arena *arena, struct record_list *out) {
    out->list = arena_new_one(arena, struct cut_record);
    out->list[0].text = text;
    out->n = 1;
    return OK;
}

static enum status cut_array(struct str text, const struct record_limits *limits, struct arena *arena, struct record_list *out, struct err *err) {
    struct str *elements = NULL;
    size_t n = 0;
    enum status st = json_split_array(text, limits->records_max, &elements, &n, err);
    if (st == E_LIMIT) return too_many(limits->records_max, err);
    if (st != OK) return st;
    out->list = arena_new_array(arena, struct cut_record, n + 1);
    for (size_t i = 0; i < n; i++) out->list[i].text = elements[i];
    out->n = (uint32_t)n;
    free(elements);
    return OK;
}

/* How many records there are at most: room is made once. */
static size_t count_lines(struct str text) {
    size_t n = 1;
    for (const char *p = text.p, *end = text.p + text.n; (p = memchr(p, '\n', (size_t)(end - p))); p++) n++;
    return n;
}

static enum status cut_lines(struct str text, const struct record_limits *limits, struct arena *arena, struct record_list *out, struct err *err) {
    size_t lines = count_lines(text), room = lines < limits->records_max ? lines : limits->records_max;
    struct cut_record *list = arena_alloc(arena, (room + 1) * sizeof *list);
    uint32_t n = 0, line = 0;
    for (struct str rest = text; rest.p;) {
        struct str one = str_trim(str_cut(&rest, '\n'));
        line++;
        if (!one.n) continue;
        if (n == limits->records_max) return too_many(limits->records_max, err);
        list[n++] = (struct cut_record){one, line};
    }
    if (!n) return err_set(err, E_INVALID, "body: no record in it");
    out->list = list;
    out->n = n;
    return OK;
}

enum status records_cut(
    enum body_kind kind, struct str body, const struct record_limits *limits, struct arena *arena, struct record_list *out, struct err *err) {
    must(limits->records_max > 0 && body.p);
    if (kind == BODY_RAW) return body.n ? one_record(body, arena, out) : err_set(err, E_INVALID, "body: empty");
    struct str text = skip_mark(body);
    if (kind == BODY_NDJSON) return cut_lines(text, limits, arena, out, err);
    text = str_trim(text);
    if (!text.n) return err_set(err, E_INVALID, "body: no record in it");
    return text.p[0] == '[' ? cut_array(text, limits, arena, out, err) : one_record(text, arena, out);
}

static const char *kind_name(char kind) {
    switch (kind) {
    case '[': return "an array";
    case '"': return "a string";
    case '0': return "a number";
    case 't':
    case 'f': return "true or false";
    default: return "null";
    }
}

/* Where the first byte is that is no UTF-8; only asked when there is one. */
static size_t utf8_broken_at(struct str text) {
    for (size_t i = 0; i < text.n;) {
        unsigned char c = (unsigned char)text.p[i];
        size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (!utf8_valid(str_head(str_from(text, i), n))) return i;
        i += n;
    }
    return text.n;
}

/* The scanner is fast and says little: the place is looked for when something is wrong. */
static enum status name_place(struct str text, enum status st, struct err *err) {
    struct err placed;
    if (!utf8_valid(text)) return err_set(err, E_INVALID, "not valid UTF-8 at byte %zu", utf8_broken_at(text));
    if (json_validate(text, JSON_DEPTH_MAX, &placed) == OK) return st;
    if (err) *err = placed;
    return placed.status;
}

enum status record_check(struct json_scanner *scanner, struct str text, const struct record_limits *limits, bool any_kind, struct err *err) {
    must(text.n > 0);
    if (text.n > limits->record_bytes_max)
        return err_set(err, E_LIMIT, "record of %zu bytes, at most %llu are taken", text.n, (unsigned long long)limits->record_bytes_max);
    enum status st = json_scan(scanner, text, err);
    if (st != OK) return name_place(text, st, err);
    char kind = json_scan_kind(scanner);
    if (kind != '{' && !any_kind) return err_set(err, E_INVALID, "expected an object, found %s", kind_name(kind));
    return OK;
}

uint64_t record_byte_named(const struct err *err) {
    struct str text = str_of(err->text), words = STR(" at byte ");
    long at = str_find(text, words);
    uint64_t byte = 0;
    if (at < 0) return 0;
    text = str_from(text, (size_t)at + words.n);
    size_t digits = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9') digits++;
    return str_to_u64(str_head(text, digits), &byte) ? byte : 0;
}

struct str record_error(struct arena *arena, const struct record_place *place, const struct err *err) {
    BUF_SCOPE(out);
    buf_text(&out, "\"errors\":[");
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_put_int(&w, "record", place->record);
    if (place->line) json_put_int(&w, "line", place->line);
    json_put_int(&w, "byte", (int64_t)place->byte);
    json_put_text(&w, "detail", err->text);
    json_end_object(&w);
    buf_char(&out, ']');
    return arena_str(arena, buf_view(&out));
}
