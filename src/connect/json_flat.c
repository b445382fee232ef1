#include "connect/json_flat.h"

#include <string.h>

#include "base/assert.h"
#include "connect/encoding.h"

struct reader {
    struct arena *arena;
    const char *start, *p, *end;
    const char *what;
    const char *what_at;
};

static bool fault(struct reader *r, const char *what) {
    r->what = what;
    r->what_at = r->p;
    return false;
}

static inline bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_blanks(struct reader *r) {
    while (r->p < r->end && is_blank(*r->p)) r->p++;
}

static bool take(struct reader *r, char c) {
    if (r->p == r->end || *r->p != c) return false;
    r->p++;
    return true;
}

/* ---- strings ---- */

static bool hex4(struct reader *r, uint32_t *out) {
    if (r->end - r->p < 4) return fault(r, "an escape is cut");
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = r->p[i];
        unsigned digit = is_digit(c) ? (unsigned)(c - '0') : (c | 32) >= 'a' && (c | 32) <= 'f' ? (unsigned)((c | 32) - 'a' + 10) : 16;
        if (digit == 16) return fault(r, "\\u needs four hexadecimal digits");
        v = v << 4 | digit;
    }
    r->p += 4;
    *out = v;
    return true;
}

static size_t put_utf8(char *out, uint32_t code) {
    if (code < 0x80) return out[0] = (char)code, 1;
    if (code < 0x800) return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 0x3F)), 2;
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12), out[1] = (char)(0x80 | (code >> 6 & 0x3F)), out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18), out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F)), out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* p is behind the backslash. Writes the character to out. */
static bool unescape(struct reader *r, char *out, size_t *n) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end) return fault(r, "an escape is cut");
    const char *known = *r->p ? strchr(from, *r->p) : NULL;
    if (known) {
        out[(*n)++] = to[known - from];
        r->p++;
        return true;
    }
    if (*r->p != 'u') return fault(r, "this escape is unknown");
    r->p++;
    uint32_t code, low;
    if (!hex4(r, &code)) return false;
    if (code >= 0xDC00 && code < 0xE000) return fault(r, "a low surrogate stands alone");
    if (code >= 0xD800 && code < 0xDC00) {
        if (r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u') return fault(r, "a high surrogate stands alone");
        r->p += 2;
        if (!hex4(r, &low)) return false;
        if (low < 0xDC00 || low >= 0xE000) return fault(r, "a high surrogate stands alone");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *n += put_utf8(out + *n, code);
    return true;
}

/* p is behind the opening quote; on return behind the closing one. The unescaped text when `out` is wanted. UTF-8 was checked for the whole text. */
static bool read_string(struct reader *r, struct str *out) {
    const char *from = r->p;
    while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20) r->p++;
    if (r->p < r->end && *r->p == '"') {
        if (out) *out = (struct str){from, (size_t)(r->p - from)};
        r->p++;
        return true;
    }
    const char *close = r->p; /* unescaped text is never longer than what stands there */
    while (close < r->end && *close != '"') close += *close == '\\' && close + 1 < r->end ? 2 : 1;
    size_t room = (size_t)(close - from), n = (size_t)(r->p - from);
    char scratch[8], *text = out ? arena_alloc(r->arena, room + 4) : scratch;
    if (out) memcpy(text, from, n);
    while (r->p < r->end && *r->p != '"') {
        if ((unsigned char)*r->p < 0x20) return fault(r, "a control character stands in a string");
        if (!out) n = 0;
        if (*r->p == '\\') {
            r->p++;
            if (!unescape(r, text, &n)) return false;
        } else
            text[n++] = *r->p++;
    }
    if (r->p == r->end) return fault(r, "a string is not closed");
    r->p++;
    must(!out || n <= room);
    if (out) *out = (struct str){text, n};
    return true;
}

/* ---- numbers and words ---- */

static bool digits(struct reader *r) {
    if (r->p == r->end || !is_digit(*r->p)) return fault(r, "a digit is missing");
    while (r->p < r->end && is_digit(*r->p)) r->p++;
    return true;
}

static bool read_number(struct reader *r) {
    take(r, '-');
    if (take(r, '0')) {
        if (r->p < r->end && is_digit(*r->p)) return fault(r, "a number begins with 0");
    } else if (!digits(r))
        return false;
    if (take(r, '.') && !digits(r)) return false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) take(r, '-');
        if (!digits(r)) return false;
    }
    return true;
}

static bool read_word(struct reader *r, struct str word) {
    if ((size_t)(r->end - r->p) < word.n || memcmp(r->p, word.p, word.n) != 0) return fault(r, "a value is expected here");
    r->p += word.n;
    return true;
}

/* A scalar that is not a string; p stands on its first character. */
static bool read_bare(struct reader *r) {
    if (r->p == r->end) return fault(r, "a value is missing");
    if (*r->p == 't') return read_word(r, STR("true"));
    if (*r->p == 'f') return read_word(r, STR("false"));
    if (*r->p == 'n') return read_word(r, STR("null"));
    if (*r->p == '-' || is_digit(*r->p)) return read_number(r);
    return fault(r, "a value is expected here");
}

/* ---- nesting, without recursion ---- */

/* p stands on '{' or '['; on return behind its end. */
static bool read_nested(struct reader *r) {
    bool object[JSON_FLAT_DEPTH_MAX];
    unsigned depth = 0;
    for (;;) { /* one value per turn */
        skip_blanks(r);
        bool opened = false;
        if (r->p < r->end && (*r->p == '{' || *r->p == '[')) {
            if (depth == JSON_FLAT_DEPTH_MAX) return fault(r, "nested deeper than 128");
            object[depth++] = *r->p++ == '{';
            skip_blanks(r);
            opened = r->p == r->end || *r->p != (object[depth - 1] ? '}' : ']');
        } else if (take(r, '"')) {
            if (!read_string(r, NULL)) return false;
        } else if (!read_bare(r))
            return false;
        must(depth > 0); /* the first value was a list */
        while (!opened) { /* behind a value: close what ends here, or go on behind a comma */
            skip_blanks(r);
            if (take(r, object[depth - 1] ? '}' : ']')) {
                if (--depth == 0) return true;
                continue;
            }
            if (!take(r, ',')) return fault(r, "a comma or the end of the list is missing");
            skip_blanks(r);
            break;
        }
        if (object[depth - 1]) {
            skip_blanks(r);
            if (!take(r, '"')) return fault(r, "a name is missing");
            if (!read_string(r, NULL)) return false;
            skip_blanks(r);
            if (!take(r, ':')) return fault(r, "a colon is missing");
        }
    }
}

static bool read_value(struct reader *r, struct str *out) {
    skip_blanks(r);
    const char *from = r->p;
    if (take(r, '"')) return read_string(r, out);
    bool nested = from < r->end && (*from == '{' || *from == '[');
    if (nested ? !read_nested(r) : !read_bare(r)) return false;
    *out = (struct str){from, (size_t)(r->p - from)};
    if (*from == 'n') *out = STR_NULL;
    return true;
}

static bool read_members(struct reader *r, json_member member, void *context) {
    skip_blanks(r);
    if (!take(r, '{')) return fault(r, "this is not a JSON object");
    skip_blanks(r);
    if (take(r, '}')) return true;
    for (;;) {
        struct str key, value;
        skip_blanks(r);
        if (!take(r, '"')) return fault(r, "a name is missing");
        if (!read_string(r, &key)) return false;
        skip_blanks(r);
        if (!take(r, ':')) return fault(r, "a colon is missing");
        if (!read_value(r, &value)) return false;
        if (!member(context, key, value)) return false;
        skip_blanks(r);
        if (take(r, '}')) return true;
        if (!take(r, ',')) return fault(r, "a comma or the end of the object is missing");
    }
}

bool json_flat(struct arena *arena, struct str text, json_member member, void *context, struct json_fault *out) {
    struct reader r = {.arena = arena, .start = text.p, .p = text.p, .end = text.p + text.n};
    size_t valid = utf8_valid_prefix(text.p, text.n);
    if (valid < text.n) {
        *out = (struct json_fault){"these bytes are not valid UTF-8", valid};
        return false;
    }
    bool fine = read_members(&r, member, context);
    if (fine) {
        skip_blanks(&r);
        if (r.p != r.end) fine = fault(&r, "something follows the object");
    }
    if (!fine) *out = (struct json_fault){r.what, r.what ? (size_t)(r.what_at - r.start) : 0};
    return fine;
}

/* ---- ends of values ---- */

bool json_find_end(struct json_end *e, struct str text, size_t *length) {
    for (; e->at < text.n; e->at++) {
        char c = text.p[e->at];
        if (e->in_string) {
            if (e->escaped)
                e->escaped = false;
            else if (c == '\\')
                e->escaped = true;
            else if (c == '"') {
                e->in_string = false;
                if (e->depth == 0) return *length = ++e->at, true;
            }
            continue;
        }
        bool ends_bare = is_blank(c) || c == ',' || c == ']' || c == '}' || c == '{' || c == '[' || c == '"';
        if (e->begun && e->depth == 0 && ends_bare) return *length = e->at, true; /* a bare scalar ended before c */
        e->begun = true;
        if (c == '"')
            e->in_string = true;
        else if (c == '{' || c == '[')
            e->depth++;
        else if (c == '}' || c == ']') {
            if (e->depth) e->depth--;
            if (e->depth == 0) return *length = ++e->at, true;
        }
    }
    return false;
}
