#include "connect/encoding.h"

#include <iconv.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define HIGH_SURROGATE 0xD800u
#define LOW_SURROGATE 0xDC00u
#define SURROGATES_END 0xE000u

/* Names that people write -> name in reports and for iconv. */
static const struct alias {
    const char *alias, *name;
} aliases[] = {
    {"latin-1", "ISO-8859-1"},
    {"latin1", "ISO-8859-1"},
    {"iso-8859-1", "ISO-8859-1"},
    {"iso8859-1", "ISO-8859-1"},
    {"l1", "ISO-8859-1"},
    {"latin-5", "ISO-8859-9"},
    {"latin5", "ISO-8859-9"},
    {"iso-8859-9", "ISO-8859-9"},
    {"iso8859-9", "ISO-8859-9"},
    {"latin-9", "ISO-8859-15"},
    {"latin9", "ISO-8859-15"},
    {"iso-8859-15", "ISO-8859-15"},
    {"windows-1254", "windows-1254"},
    {"cp1254", "windows-1254"},
    {"turkish", "windows-1254"},
    {"windows-1252", "windows-1252"},
    {"cp1252", "windows-1252"},
    {"ansi", "windows-1252"},
    {"windows-1250", "windows-1250"},
    {"cp1250", "windows-1250"},
    {"windows-1251", "windows-1251"},
    {"cp1251", "windows-1251"},
};

static void set(struct encoding *out, enum encoding_kind kind, struct str name) {
    must(name.n < sizeof out->name);
    out->kind = kind;
    memset(out->name, 0, sizeof out->name);
    memcpy(out->name, name.p, name.n);
}

enum status encoding_parse(struct str name, struct encoding *out, struct err *err) {
    static const char possible[] = "possible are utf-8, utf-16, utf-16le, utf-16be and single-byte encodings that keep ASCII, such as "
                                   "windows-1254, windows-1252, iso-8859-1 (latin-1) and iso-8859-9";
    struct encoding made;
    if (str_ieq(name, STR("utf-8")) || str_ieq(name, STR("utf8")))
        set(&made, ENCODING_UTF8, STR("UTF-8"));
    else if (str_ieq(name, STR("utf-16le")) || str_ieq(name, STR("utf-16")) || str_ieq(name, STR("utf16")))
        set(&made, ENCODING_UTF16LE, STR("UTF-16LE"));
    else if (str_ieq(name, STR("utf-16be")))
        set(&made, ENCODING_UTF16BE, STR("UTF-16BE"));
    else {
        struct str known = name;
        for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
            if (str_ieq(name, str_of(aliases[i].alias))) known = str_of(aliases[i].name);
        if (known.n == 0 || known.n >= ENCODING_NAME_MAX || memchr(known.p, 0, known.n) || memchr(known.p, '/', known.n))
            return err_set(err, E_INVALID, "encoding \"" STR_FMT "\" is not known: %s", STR_ARG(str_head(name, 40)), possible);
        set(&made, ENCODING_SINGLE, known);
        struct encoding_table table;
        if (encoding_table_make(&made, &table, NULL) != OK)
            return err_set(err, E_INVALID, "encoding \"" STR_FMT "\" is not supported: %s", STR_ARG(name), possible);
    }
    *out = made;
    return OK;
}

/* ---- detection ---- */

static bool starts_with(struct str s, const char *bytes, size_t n) { return s.n >= n && memcmp(s.p, bytes, n) == 0; }

size_t encoding_bom_bytes(const struct encoding *encoding, struct str sample) {
    switch (encoding->kind) {
    case ENCODING_UTF8: return starts_with(sample, "\xEF\xBB\xBF", 3) ? 3 : 0;
    case ENCODING_UTF16LE: return starts_with(sample, "\xFF\xFE", 2) ? 2 : 0;
    case ENCODING_UTF16BE: return starts_with(sample, "\xFE\xFF", 2) ? 2 : 0;
    case ENCODING_SINGLE: return 0;
    }
    must_not();
}

/* Text in UTF-16 that is mostly ASCII (delimiters, digits, line ends) has a zero in one half of most units and hardly any in the other. */
static bool zero_pattern(struct str sample, bool *big_endian) {
    size_t units = sample.n / 2 > 4096 ? 4096 : sample.n / 2, zeros[2] = {0, 0};
    if (units < 2) return false;
    for (size_t i = 0; i < units * 2; i++) zeros[i & 1] += sample.p[i] == 0;
    for (int half = 0; half < 2; half++) {
        if (zeros[half] * 10 >= units * 4 && zeros[!half] * 50 <= units) {
            *big_endian = half == 0;
            return true;
        }
    }
    return false;
}

enum status encoding_guess(struct str sample, struct encoding_guess *out, struct err *err) {
    struct encoding_guess guess = {.known = true};
    bool big_endian;
    if (starts_with(sample, "\xFF\xFE\0\0", 4) || starts_with(sample, "\0\0\xFE\xFF", 4))
        return err_set(err, E_UNSUPPORTED, "the file is UTF-32, which is not supported");
    set(&guess.encoding, ENCODING_UTF8, STR("UTF-8"));
    if (starts_with(sample, "\xEF\xBB\xBF", 3))
        guess.bom_bytes = 3;
    else if (starts_with(sample, "\xFF\xFE", 2) || starts_with(sample, "\xFE\xFF", 2)) {
        bool big = (unsigned char)sample.p[0] == 0xFE;
        set(&guess.encoding, big ? ENCODING_UTF16BE : ENCODING_UTF16LE, big ? STR("UTF-16BE") : STR("UTF-16LE"));
        guess.bom_bytes = 2;
    } else if (zero_pattern(sample, &big_endian))
        set(&guess.encoding, big_endian ? ENCODING_UTF16BE : ENCODING_UTF16LE, big_endian ? STR("UTF-16BE") : STR("UTF-16LE"));
    else
        guess.known = false;
    *out = guess;
    return OK;
}

/* ---- UTF-8 (RFC 3629) ---- */

static size_t utf8_length(const unsigned char *p, size_t n) {
    unsigned char c = p[0];
    if (c < 0x80) return 1;
    if (c < 0xC2 || c > 0xF4) return 0;
    size_t need = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (n < need) return 0;
    /* second byte: no overlong forms, no surrogates, nothing above U+10FFFF */
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < need; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return need;
}

static size_t ascii_prefix(const unsigned char *p, size_t n) {
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        uint64_t w[4];
        memcpy(w, p + i, 32);
        if ((w[0] | w[1] | w[2] | w[3]) & UINT64_C(0x8080808080808080)) break;
    }
    while (i < n && p[i] < 0x80) i++;
    return i;
}

size_t utf8_valid_prefix(const char *bytes, size_t n) {
    const unsigned char *p = (const unsigned char *)bytes;
    size_t i = 0;
    while (i < n) {
        if (p[i] < 0x80) {
            i += ascii_prefix(p + i, n - i);
            continue;
        }
        size_t length = utf8_length(p + i, n - i);
        if (length == 0) break;
        i += length;
    }
    return i;
}

bool utf8_may_continue(const char *bytes, size_t n) {
    const unsigned char *p = (const unsigned char *)bytes;
    if (n == 0 || n > 3) return false;
    unsigned char whole[4] = {p[0], 0x80, 0x80, 0x80};
    for (size_t i = 1; i < n; i++) whole[i] = p[i];
    if (n == 1) whole[1] = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    return utf8_length(whole, 4) > n;
}

bool bytes_are_ascii(const char *bytes, size_t n) { return ascii_prefix((const unsigned char *)bytes, n) == n; }

/* ---- single-byte tables ---- */

enum status encoding_table_make(const struct encoding *encoding, struct encoding_table *out, struct err *err) {
    must(encoding->kind == ENCODING_SINGLE);
    iconv_t converter = iconv_open("UTF-8", encoding->name);
    if (converter == (iconv_t)-1) return err_set(err, E_INVALID, "encoding \"%s\" is not known", encoding->name);
    struct encoding_table table = {0};
    bool keeps_ascii = true;
    for (int byte = 0; byte < 256; byte++) {
        char in = (char)byte, utf8[8];
        char *from = &in, *to = utf8;
        size_t in_left = 1, out_left = sizeof utf8;
        iconv(converter, NULL, NULL, NULL, NULL);
        bool fine = iconv(converter, &from, &in_left, &to, &out_left) != (size_t)-1 && in_left == 0;
        size_t n = (size_t)(to - utf8);
        if (byte < 0x80 && (!fine || n != 1 || utf8[0] != in)) keeps_ascii = false;
        if (!fine || n == 0) continue;
        if (n > sizeof table.to[byte].bytes)
            keeps_ascii = false;
        else {
            memcpy(table.to[byte].bytes, utf8, n);
            table.to[byte].n = (uint8_t)n;
        }
    }
    iconv_close(converter);
    /* A multi-byte encoding shows by lead bytes that mean nothing alone: most of the upper half is missing. */
    int upper = 0;
    for (int byte = 0x80; byte < 256; byte++) upper += table.to[byte].n != 0;
    if (!keeps_ascii || upper < 64) return err_set(err, E_UNSUPPORTED, "encoding \"%s\" is not a single-byte encoding that keeps ASCII", encoding->name);
    *out = table;
    return OK;
}

bool encoding_decode(const struct encoding_table *table, struct arena *arena, struct str text, struct str *out, size_t *bad_at) {
    const unsigned char *p = (const unsigned char *)text.p;
    size_t ascii = ascii_prefix(p, text.n);
    if (ascii == text.n) {
        *out = text;
        return true;
    }
    char *made = arena_alloc(arena, ascii + (text.n - ascii) * 3);
    memcpy(made, p, ascii);
    size_t n = ascii;
    for (size_t i = ascii; i < text.n; i++) {
        uint8_t length = table->to[p[i]].n;
        if (length == 0) {
            *bad_at = i;
            return false;
        }
        memcpy(made + n, table->to[p[i]].bytes, length);
        n += length;
    }
    *out = (struct str){made, n};
    return true;
}

/* ---- UTF-16 (RFC 2781) ---- */

void utf16_begin(struct utf16_decoder *d, bool big_endian) { *d = (struct utf16_decoder){.big_endian = big_endian, .odd = -1, .last_odd = -1}; }

static size_t put_code(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

static size_t put_unit(struct utf16_decoder *d, uint16_t unit, char *out) {
    size_t n = 0;
    bool low = unit >= LOW_SURROGATE && unit < SURROGATES_END;
    if (d->high && low) {
        n = put_code(out, 0x10000 + ((uint32_t)(d->high - HIGH_SURROGATE) << 10) + (unit - LOW_SURROGATE));
        d->high = 0;
        return n;
    }
    if (d->high) n = put_code(out, d->high);
    d->high = 0;
    if (unit >= HIGH_SURROGATE && unit < LOW_SURROGATE)
        d->high = unit;
    else
        n += put_code(out + n, unit);
    return n;
}

size_t utf16_decode(struct utf16_decoder *d, const void *bytes, size_t n, char *out) {
    const unsigned char *p = bytes;
    size_t at = 0, made = 0;
    if (n && d->odd >= 0) {
        uint16_t unit = d->big_endian ? (uint16_t)(d->odd << 8 | p[0]) : (uint16_t)(p[0] << 8 | d->odd);
        d->odd = -1;
        made += put_unit(d, unit, out);
        at = 1;
    }
    size_t hi = d->big_endian ? 0 : 1;
    for (; at + 1 < n; at += 2) {
        uint16_t unit = (uint16_t)(p[at + hi] << 8 | p[at + (hi ^ 1)]);
        if (unit < 0x80 && !d->high)
            out[made++] = (char)unit;
        else
            made += put_unit(d, unit, out + made);
    }
    if (at < n) d->odd = p[at];
    return made;
}

size_t utf16_end(struct utf16_decoder *d, char *out) {
    size_t n = 0;
    if (d->high) n = put_code(out, d->high);
    d->high = 0;
    if (d->odd >= 0) {
        out[n++] = (char)0xFF;
        d->last_odd = d->odd;
        d->odd = -1;
    }
    return n;
}

static void restore_unit(const struct utf16_decoder *d, uint32_t unit, struct buf *out) {
    buf_char(out, (char)(d->big_endian ? unit >> 8 : unit & 0xFF));
    buf_char(out, (char)(d->big_endian ? unit & 0xFF : unit >> 8));
}

void utf16_restore(const struct utf16_decoder *d, struct str text, struct buf *out) {
    const unsigned char *p = (const unsigned char *)text.p;
    for (size_t i = 0; i < text.n;) {
        uint32_t c = p[i];
        size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xFF ? 4 : 1;
        if (c == 0xFF || i + n > text.n) { /* only ever made by utf16_end */
            if (d->last_odd >= 0) buf_char(out, (char)d->last_odd);
            i++;
            continue;
        }
        uint32_t code = n == 1 ? c : n == 2 ? c & 0x1F : n == 3 ? c & 0x0F : c & 0x07;
        for (size_t k = 1; k < n; k++) code = code << 6 | (p[i + k] & 0x3F);
        i += n;
        if (code < 0x10000)
            restore_unit(d, code, out);
        else {
            restore_unit(d, HIGH_SURROGATE + ((code - 0x10000) >> 10), out);
            restore_unit(d, LOW_SURROGATE + ((code - 0x10000) & 0x3FF), out);
        }
    }
}
