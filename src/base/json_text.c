#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"

/* ---- writer ---- */

struct json_writer json_write_to(struct buf *out) {
    return (struct json_writer){.out = out};
}

static void before_value(struct json_writer *w) {
    if (w->after_name) {
        w->after_name = false;
        return;
    }
    if (w->has_item >> w->depth & 1) buf_char(w->out, ',');
    w->has_item |= UINT64_C(1) << w->depth;
}

static void open_scope(struct json_writer *w, char c) {
    before_value(w);
    must(w->depth < 63);
    buf_char(w->out, c);
    w->depth++;
    w->has_item &= ~(UINT64_C(1) << w->depth);
}

static void close_scope(struct json_writer *w, char c) {
    must(w->depth > 0 && !w->after_name);
    w->depth--;
    buf_char(w->out, c);
}

void json_begin_object(struct json_writer *w) { open_scope(w, '{'); }
void json_end_object(struct json_writer *w) { close_scope(w, '}'); }
void json_begin_array(struct json_writer *w) { open_scope(w, '['); }
void json_end_array(struct json_writer *w) { close_scope(w, ']'); }

static void escaped(struct buf *out, unsigned char c) {
    switch (c) {
    case '"': buf_text(out, "\\\""); break;
    case '\\': buf_text(out, "\\\\"); break;
    case '\n': buf_text(out, "\\n"); break;
    case '\r': buf_text(out, "\\r"); break;
    case '\t': buf_text(out, "\\t"); break;
    default: buf_printf(out, "\\u%04x", c);
    }
}

static size_t utf8_length(struct str s) {
    for (size_t n = 1; n <= 4 && n <= s.n; n++)
        if (utf8_valid(str_head(s, n))) return n;
    return 0;
}

static void quoted(struct buf *out, struct str s) {
    buf_char(out, '"');
    size_t run = 0;
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c < 0x80) {
            i++;
            continue;
        }
        if (c >= 0x80) {
            size_t n = utf8_length(str_from(s, i));
            if (n) {
                i += n;
                continue;
            }
        }
        buf_put(out, s.p + run, i - run);
        if (c >= 0x80)
            buf_text(out, "\xEF\xBF\xBD");
        else
            escaped(out, c);
        run = ++i;
    }
    buf_put(out, s.p + run, s.n - run);
    buf_char(out, '"');
}

void json_name(struct json_writer *w, const char *name) {
    must(!w->after_name);
    before_value(w);
    quoted(w->out, str_of(name));
    buf_char(w->out, ':');
    w->after_name = true;
}

void json_str(struct json_writer *w, struct str value) {
    before_value(w);
    if (value.p)
        quoted(w->out, value);
    else
        buf_text(w->out, "null");
}

void json_text(struct json_writer *w, const char *value) { json_str(w, str_of(value)); }

void json_int(struct json_writer *w, int64_t value) {
    before_value(w);
    buf_printf(w->out, "%lld", (long long)value);
}

void json_uint(struct json_writer *w, uint64_t value) {
    before_value(w);
    buf_printf(w->out, "%llu", (unsigned long long)value);
}

void json_double(struct json_writer *w, double value) {
    before_value(w);
    if (!isfinite(value)) {
        buf_text(w->out, "null");
        return;
    }
    char text[40];
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    buf_text(w->out, text);
}

void json_bool(struct json_writer *w, bool value) {
    before_value(w);
    buf_text(w->out, value ? "true" : "false");
}

void json_null(struct json_writer *w) {
    before_value(w);
    buf_text(w->out, "null");
}

void json_raw(struct json_writer *w, struct str json) {
    before_value(w);
    buf_str(w->out, json);
}

void json_put_str(struct json_writer *w, const char *name, struct str value) {
    json_name(w, name);
    json_str(w, value);
}

void json_put_text(struct json_writer *w, const char *name, const char *value) {
    json_name(w, name);
    json_text(w, value);
}

void json_put_int(struct json_writer *w, const char *name, int64_t value) {
    json_name(w, name);
    json_int(w, value);
}

void json_put_bool(struct json_writer *w, const char *name, bool value) {
    json_name(w, name);
    json_bool(w, value);
}

void json_put_time_ms(struct json_writer *w, const char *name, int64_t at_ms) {
    char text[RFC3339_MAX];
    size_t n = time_format_ms(at_ms, text);
    json_put_str(w, name, str_make(text, n));
}

/* ---- structure: skipping over values without a tree ---- */

static bool json_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t skip_blanks(struct str t, size_t i) {
    while (i < t.n && json_blank(t.p[i])) i++;
    return i;
}

/* The end of the string that starts at t.p[i] == '"'; 0 when it does not end. */
static size_t skip_string(struct str t, size_t i) {
    for (i++; i < t.n; i++) {
        if (t.p[i] == '\\')
            i++;
        else if (t.p[i] == '"')
            return i + 1;
    }
    return 0;
}

/* The end of the value at i (after blanks): object and array by nesting, scalars up to the next delimiter. 0: it does not end. */
static size_t skip_value(struct str t, size_t i) {
    if (i >= t.n) return 0;
    if (t.p[i] == '"') return skip_string(t, i);
    if (t.p[i] != '{' && t.p[i] != '[') {
        size_t start = i;
        while (i < t.n && !json_blank(t.p[i]) && t.p[i] != ',' && t.p[i] != ']' && t.p[i] != '}') i++;
        return i > start ? i : 0;
    }
    size_t depth = 0;
    while (i < t.n) {
        char c = t.p[i];
        if (c == '"') {
            i = skip_string(t, i);
            if (!i) return 0;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return i + 1;
        i++;
    }
    return 0;
}

struct slices {
    struct str *p;
    size_t n, cap;
};

static void slices_add(struct slices *s, struct str piece) {
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->p = mem_realloc(s->p, s->cap * sizeof *s->p);
    }
    s->p[s->n++] = piece;
}

static enum status split_elements(struct str t, size_t i, size_t max, struct slices *out, struct err *err) {
    i = skip_blanks(t, i);
    if (i < t.n && t.p[i] == ']') return skip_blanks(t, i + 1) == t.n ? OK : err_set(err, E_INVALID, "byte %zu: text behind the array", i + 1);
    for (;;) {
        i = skip_blanks(t, i);
        size_t end = skip_value(t, i);
        if (!end) return err_set(err, E_INVALID, "byte %zu: array element %zu does not end or is missing", i, out->n + 1);
        if (out->n == max) return err_set(err, E_LIMIT, "more than %zu elements in the array", max);
        slices_add(out, str_make(t.p + i, end - i));
        i = skip_blanks(t, end);
        if (i >= t.n) return err_set(err, E_INVALID, "byte %zu: the array does not end", i);
        if (t.p[i] == ']') break;
        if (t.p[i] != ',') return err_set(err, E_INVALID, "byte %zu: expected ',' or ']' behind array element %zu", i, out->n);
        i++;
    }
    i = skip_blanks(t, i + 1);
    return i == t.n ? OK : err_set(err, E_INVALID, "byte %zu: text behind the array", i);
}

enum status json_split_array(struct str t, size_t max, struct str **out, size_t *n, struct err *err) {
    size_t i = skip_blanks(t, 0);
    if (i >= t.n || t.p[i] != '[') return err_set(err, E_INVALID, "byte %zu: not an array", i);
    struct slices slices = {0};
    enum status st = split_elements(t, i + 1, max, &slices, err);
    if (st != OK) {
        free(slices.p);
        return st;
    }
    *out = slices.p;
    *n = slices.n;
    return OK;
}

/* ---- exact numbers ---- */

/* Value of member `name` in the object at i, or of element `name` (digits) in the array at i; position of the value or SIZE_MAX. Names with escapes do not
 * match. */
static size_t find_member(struct str t, size_t i, struct str name) {
    bool object = t.p[i] == '{';
    uint64_t wanted = 0, index = 0;
    if (!object && !str_to_u64(name, &wanted)) return SIZE_MAX;
    i = skip_blanks(t, i + 1);
    while (i < t.n && t.p[i] != '}' && t.p[i] != ']') {
        bool match = !object && index++ == wanted;
        if (object) {
            if (t.p[i] != '"') return SIZE_MAX;
            size_t end = skip_string(t, i);
            if (!end) return SIZE_MAX;
            match = str_eq(name, str_make(t.p + i + 1, end - i - 2));
            i = skip_blanks(t, end);
            if (i >= t.n || t.p[i] != ':') return SIZE_MAX;
            i = skip_blanks(t, i + 1);
        }
        if (match) return i;
        i = skip_value(t, i);
        if (!i) return SIZE_MAX;
        i = skip_blanks(t, i);
        if (i < t.n && t.p[i] == ',') i = skip_blanks(t, i + 1);
    }
    return SIZE_MAX;
}

static bool is_number(struct str s) {
    size_t i = 0, start;
    if (i < s.n && s.p[i] == '-') i++;
    start = i;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
    if (i == start) return false;
    if (i < s.n && s.p[i] == '.') {
        start = ++i;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
        if (i == start) return false;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-')) i++;
        start = i;
        while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
        if (i == start) return false;
    }
    return i == s.n;
}

bool json_raw_at(struct str t, struct str path, struct str *out) {
    if (str_starts(path, STR("$"))) path = str_from(path, 1);
    if (str_starts(path, STR("."))) path = str_from(path, 1);
    size_t i = skip_blanks(t, 0);
    while (path.n) {
        struct str name = str_cut(&path, '.');
        if (i >= t.n || (t.p[i] != '{' && t.p[i] != '[')) return false;
        i = find_member(t, i, name);
        if (i == SIZE_MAX || i >= t.n) return false;
    }
    size_t end = skip_value(t, i);
    if (!end) return false;
    *out = str_make(t.p + i, end - i);
    return true;
}

bool json_number_at(struct str t, struct str path, struct buf *out) {
    struct str value;
    if (!json_raw_at(t, path, &value)) return false;
    if (value.p[0] == '"') value = str_trim(str_make(value.p + 1, value.n - 2));
    if (!is_number(value)) return false;
    buf_str(out, value);
    return true;
}

/* ---- validation by the letter ---- */

static enum status bad(struct err *err, size_t at, const char *what) { return err_set(err, E_INVALID, "not valid JSON at byte %zu: %s", at, what); }

static enum status check_string(struct str t, size_t *at, struct err *err) {
    size_t start = *at, i = start + 1;
    for (; i < t.n && t.p[i] != '"'; i++) {
        if ((unsigned char)t.p[i] < 0x20) return bad(err, i, "a control character inside a string");
        if (t.p[i] != '\\') continue;
        if (++i >= t.n || !strchr("\"\\/bfnrtu", t.p[i]) || !t.p[i]) return bad(err, i, "an unknown escape");
        if (t.p[i] != 'u') continue;
        for (int k = 0; k < 4; k++)
            if (++i >= t.n || !strchr("0123456789abcdefABCDEF", t.p[i]) || !t.p[i]) return bad(err, i, "\\u without four hex digits");
    }
    if (i >= t.n) return bad(err, start, "a string that does not end");
    *at = i + 1;
    return OK;
}

static enum status check_scalar(struct str t, size_t *at, struct err *err) {
    size_t i = *at, end = i;
    while (end < t.n && !json_blank(t.p[end]) && t.p[end] != ',' && t.p[end] != ']' && t.p[end] != '}') end++;
    struct str word = str_make(t.p + i, end - i);
    struct str digits = str_starts(word, STR("-")) ? str_from(word, 1) : word;
    bool leading_zero = digits.n > 1 && digits.p[0] == '0' && digits.p[1] >= '0' && digits.p[1] <= '9';
    if (!str_eq(word, STR("true")) && !str_eq(word, STR("false")) && !str_eq(word, STR("null")) && (!is_number(word) || leading_zero))
        return bad(err, i, word.n ? "an unknown word or number" : "a value is missing");
    *at = end;
    return OK;
}

/* A member's name and colon; *at moves to the value. */
static enum status check_name(struct str t, size_t *at, struct err *err) {
    size_t i = skip_blanks(t, *at);
    if (i >= t.n || t.p[i] != '"') return bad(err, i, "expected a member name");
    enum status st = check_string(t, &i, err);
    if (st != OK) return st;
    i = skip_blanks(t, i);
    if (i >= t.n || t.p[i] != ':') return bad(err, i, "expected ':'");
    *at = i + 1;
    return OK;
}

enum status json_validate(struct str t, size_t depth_max, struct err *err) {
    enum { DEPTH_LIMIT = 1024 };
    char scopes[DEPTH_LIMIT];
    size_t depth = 0, i = 0;
    must(depth_max <= DEPTH_LIMIT);
    if (!utf8_valid(t)) return err_set(err, E_INVALID, "JSON is not valid UTF-8");
    for (;;) { /* each turn takes one value, then closes what ends behind it */
        enum status st = OK;
        i = skip_blanks(t, i);
        if (i < t.n && (t.p[i] == '{' || t.p[i] == '[')) {
            char open = t.p[i];
            if (depth == depth_max) return err_set(err, E_LIMIT, "JSON nests deeper than %zu levels at byte %zu", depth_max, i);
            scopes[depth++] = open;
            i = skip_blanks(t, i + 1);
            bool empty = i < t.n && t.p[i] == (open == '{' ? '}' : ']');
            if (!empty) {
                if (open == '{' && (st = check_name(t, &i, err)) != OK) return st;
                continue;
            }
        } else if ((st = i < t.n && t.p[i] == '"' ? check_string(t, &i, err) : check_scalar(t, &i, err)) != OK) {
            return st;
        }
        i = skip_blanks(t, i);
        while (depth && i < t.n && t.p[i] == (scopes[depth - 1] == '{' ? '}' : ']')) {
            depth--;
            i = skip_blanks(t, i + 1);
        }
        if (!depth) return i == t.n ? OK : bad(err, i, "text behind the value");
        if (i >= t.n || t.p[i] != ',') return bad(err, i, "expected ',' or the end of the object or array");
        i++;
        if (scopes[depth - 1] == '{' && (st = check_name(t, &i, err)) != OK) return st;
    }
}
