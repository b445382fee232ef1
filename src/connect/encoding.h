/* Encoding: how the bytes of a landing file become UTF-8.
 *
 * UTF-8 is checked, never changed. Single-byte encodings that extend ASCII (latin-1, windows-1252, windows-1254, …) go through a table of 256 entries made
 * with iconv, cell by cell, so that records are split on the bytes as they stand. UTF-16 becomes UTF-8 before splitting, in a way that can be undone
 * exactly: a lone surrogate becomes the three bytes it would have (not valid UTF-8, so its row is bad), an odd byte at the end becomes 0xFF. */
#ifndef CUPEL_CONNECT_ENCODING_H
#define CUPEL_CONNECT_ENCODING_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum encoding_kind { ENCODING_UTF8, ENCODING_UTF16LE, ENCODING_UTF16BE, ENCODING_SINGLE };

#define ENCODING_NAME_MAX 32

struct encoding {
    enum encoding_kind kind;
    char name[ENCODING_NAME_MAX]; /* canonical where we know one ("windows-1254"), else as given to iconv */
};

/* A name as people write it: utf-8, utf-16 (little endian unless a BOM says otherwise), utf-16le, utf-16be, latin-1, windows-1254, iso-8859-9 or any
 * single-byte encoding that iconv knows and that keeps ASCII. E_INVALID otherwise, naming what is possible. */
enum status encoding_parse(struct str name, struct encoding *out, struct err *err);

/* ---- detection from the first bytes ---- */

struct encoding_guess {
    bool known; /* BOM or a clear pattern; else it must prove to be UTF-8 over the whole file */
    struct encoding encoding; /* UTF-8 when not known */
    size_t bom_bytes;
};
/* E_UNSUPPORTED: UTF-32. */
enum status encoding_guess(struct str sample, struct encoding_guess *out, struct err *err);
size_t encoding_bom_bytes(const struct encoding *encoding, struct str sample); /* of the BOM of this encoding at the start, 0 without */

/* ---- UTF-8 ---- */

/* How many bytes from the start are whole valid UTF-8 characters. */
size_t utf8_valid_prefix(const char *bytes, size_t n);
/* True when the bytes may be the beginning of a character that was cut (1 to 3 bytes). */
bool utf8_may_continue(const char *bytes, size_t n);
bool bytes_are_ascii(const char *bytes, size_t n);

/* ---- single-byte tables ---- */

struct encoding_table {
    struct {
        char bytes[3];
        uint8_t n; /* 0: the byte means nothing in this encoding */
    } to[256];
};
enum status encoding_table_make(const struct encoding *encoding, struct encoding_table *out, struct err *err);
/* The text in UTF-8 in the arena (or the text itself when it is ASCII). false: *bad_at is the first impossible byte. */
bool encoding_decode(const struct encoding_table *table, struct arena *arena, struct str text, struct str *out, size_t *bad_at);

/* ---- UTF-16, in pieces ---- */

struct utf16_decoder {
    bool big_endian;
    uint16_t high; /* high surrogate waiting for its low one; 0 none */
    int odd; /* byte waiting for its other half; -1 none */
    int last_odd; /* the byte behind 0xFF at the end; -1 none */
};
void utf16_begin(struct utf16_decoder *d, bool big_endian);
/* Room needed in `out`: 3 bytes per 2 bytes of input and 8 more. Returns the bytes written. */
size_t utf16_decode(struct utf16_decoder *d, const void *bytes, size_t n, char *out);
size_t utf16_end(struct utf16_decoder *d, char *out); /* what was waiting */
/* The bytes that were decoded to `text`. */
void utf16_restore(const struct utf16_decoder *d, struct str text, struct buf *out);

#endif
