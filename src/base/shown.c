#include "base/shown.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* The code point that starts at p, and its bytes in *n. 0xFFFD for a byte that starts none, and for an end cut off. Overlong forms are not told apart: they
 * come out as the character that they stand for, and are escaped as that. */
static uint32_t code_point(struct str text, size_t *n) {
    unsigned char first = (unsigned char)text.p[0];
    size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF8 ? 4 : 0;
    *n = 1;
    if (length == 0 || length > text.n) return 0xFFFD;
    uint32_t c = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char byte = (unsigned char)text.p[i];
        if ((byte & 0xC0) != 0x80) return 0xFFFD;
        c = c << 6 | (byte & 0x3Fu);
    }
    *n = length;
    return c;
}

static bool turns_direction(uint32_t c) { return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069); }

static bool ends_line(uint32_t c) { return c == '\n' || c == '\r' || c == 0x2028 || c == 0x2029; }

size_t shown_next(struct str text, struct str *shown, char room[SHOWN_ESCAPE_MAX]) {
    must(text.n > 0);
    size_t n;
    uint32_t c = code_point(text, &n);
    if (ends_line(c)) {
        *shown = STR("↵");
        return c == '\r' && text.n > 1 && text.p[1] == '\n' ? 2 : n;
    }
    if (c == 0xFFFD)
        *shown = STR("\xEF\xBF\xBD");
    else if (c == '\t')
        *shown = STR("\\t");
    else if (c < 0x20 || (c >= 0x7F && c < 0xA0) || turns_direction(c))
        *shown = str_make(room, (size_t)snprintf(room, SHOWN_ESCAPE_MAX, "\\u%04X", c & 0xFFFFu));
    else
        *shown = str_head(text, n);
    return n;
}

void shown_put(struct buf *out, struct str text, size_t most) {
    char room[SHOWN_ESCAPE_MAX];
    struct str shown;
    for (size_t at = 0, seen = 0; at < text.n; seen++) {
        if (most && seen == most) {
            buf_text(out, "…");
            return;
        }
        at += shown_next(str_from(text, at), &shown, room);
        buf_str(out, shown);
    }
}

void shown_put_lines(struct buf *out, struct str text) {
    char room[SHOWN_ESCAPE_MAX];
    struct str shown;
    for (size_t at = 0, n; at < text.n; at += n) {
        bool kept = text.p[at] == '\n' || text.p[at] == '\t';
        n = 1;
        if (kept)
            buf_char(out, text.p[at]);
        else
            n = shown_next(str_from(text, at), &shown, room);
        if (!kept) buf_str(out, shown);
    }
}

void shown_put_url(struct buf *out, const char *url) {
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    const char *at = memrchr(host, '@', strcspn(host, "/?#")), *rest = at ? at + 1 : host;
    buf_put(out, url, (size_t)(host - url));
    shown_put(out, str_make(rest, strcspn(rest, "?#")), 0);
}
