#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

void buf_free(struct buf *b) {
    free(b->p);
    size_t limit = b->limit;
    *b = BUF_INIT;
    b->limit = limit;
}

void buf_clear(struct buf *b) {
    b->n = 0;
    b->failed = false;
}

bool buf_reserve(struct buf *b, size_t more) {
    size_t need;
    if (b->failed || __builtin_add_overflow(b->n, more, &need) || (b->limit && need > b->limit)) {
        b->failed = true;
        return false;
    }
    if (need + 1 <= b->cap) return true; /* one more for buf_cstr */
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need + 1) cap = cap < (1u << 30) ? cap * 2 : cap + (1u << 30);
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, const void *bytes, size_t n) {
    if (n == 0 || !buf_reserve(b, n)) return;
    memcpy(b->p + b->n, bytes, n);
    b->n += n;
}

void buf_str(struct buf *b, struct str s) { buf_put(b, s.p, s.n); }
void buf_text(struct buf *b, const char *text) { buf_put(b, text, strlen(text)); }
void buf_char(struct buf *b, char c) { buf_put(b, &c, 1); }

void buf_zero(struct buf *b, size_t n) {
    if (n == 0 || !buf_reserve(b, n)) return;
    memset(b->p + b->n, 0, n);
    b->n += n;
}

void buf_printf(struct buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    must(n >= 0);
    if (buf_reserve(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
        b->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

/* x86-64 and arm64 as Debian runs them are little endian; formats on disk are too. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little endian only");
void buf_u16(struct buf *b, uint16_t v) { buf_put(b, &v, sizeof v); }
void buf_u32(struct buf *b, uint32_t v) { buf_put(b, &v, sizeof v); }
void buf_u64(struct buf *b, uint64_t v) { buf_put(b, &v, sizeof v); }

void buf_base64(struct buf *b, struct str s) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t v = (uint32_t)(unsigned char)s.p[i] << 16;
        if (i + 1 < s.n) v |= (uint32_t)(unsigned char)s.p[i + 1] << 8;
        if (i + 2 < s.n) v |= (unsigned char)s.p[i + 2];
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < s.n ? digits[v >> 6 & 63] : '=', i + 2 < s.n ? digits[v & 63] : '='};
        buf_put(b, four, 4);
    }
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

bool buf_unbase64(struct buf *b, struct str text) {
    while (text.n && text.p[text.n - 1] == '=') text.n--;
    if (text.n % 4 == 1) return false;
    uint32_t v = 0;
    int bits = 0;
    for (size_t i = 0; i < text.n; i++) {
        int d = base64_digit(text.p[i]);
        if (d < 0) return false;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_char(b, (char)(v >> bits & 0xFF));
        }
    }
    return !b->failed;
}

void buf_hex(struct buf *b, struct str s) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char two[2] = {digits[c >> 4], digits[c & 15]};
        buf_put(b, two, 2);
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool buf_unhex(struct buf *b, struct str text) {
    if (text.n % 2) return false;
    for (size_t i = 0; i < text.n; i += 2) {
        int hi = hex_digit(text.p[i]), lo = hex_digit(text.p[i + 1]);
        if (hi < 0 || lo < 0) return false;
        buf_char(b, (char)(hi << 4 | lo));
    }
    return !b->failed;
}

const char *buf_cstr(struct buf *b) {
    if (!b->p) {
        b->p = mem_alloc(64);
        b->cap = 64;
    }
    b->p[b->n] = 0; /* buf_reserve always keeps one byte free */
    return b->p;
}

char *buf_take(struct buf *b) {
    buf_cstr(b);
    char *p = b->p;
    b->p = NULL;
    buf_free(b);
    return p;
}
