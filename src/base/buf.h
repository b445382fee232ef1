/* Growable byte buffer with sticky failure: append as often as you like, check `failed` once.
 *
 * Owned by one thread. A buffer over its limit keeps what it had and sets `failed`. `struct buf b = BUF_INIT;` then buf_free(). */
#ifndef CUPEL_BASE_BUF_H
#define CUPEL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct buf {
    char *p;
    size_t n, cap;
    size_t limit; /* bytes; 0 = none */
    bool failed; /* an append went over the limit */
};

#define BUF_INIT ((struct buf){0})
#define BUF_SCOPE(name) __attribute__((cleanup(buf_free))) struct buf name = BUF_INIT

void buf_free(struct buf *b);
void buf_clear(struct buf *b); /* n = 0, failed = false, memory kept */
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes behind n; false when over the limit */
void buf_put(struct buf *b, const void *bytes, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_text(struct buf *b, const char *text);
void buf_char(struct buf *b, char c);
void buf_zero(struct buf *b, size_t n); /* n zero bytes */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u16(struct buf *b, uint16_t v); /* little endian */
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);
void buf_base64(struct buf *b, struct str bytes); /* RFC 4648 section 4, padded */
bool buf_unbase64(struct buf *b, struct str text); /* accepts missing padding and the URL alphabet; false on other input */
void buf_hex(struct buf *b, struct str bytes); /* lower case */
bool buf_unhex(struct buf *b, struct str text);
static inline struct str buf_view(const struct buf *b) { return (struct str){b->p, b->n}; }
const char *buf_cstr(struct buf *b); /* NUL behind the end, not counted in n */
char *buf_take(struct buf *b); /* gives the NUL-terminated memory to the caller (free()), buffer becomes empty */

#endif
