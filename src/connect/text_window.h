/* Text window: the part of a landing file that its reader works on, decompressed, without BOM, UTF-16 turned into UTF-8.
 *
 * [p + at, p + end) are the bytes that were read and not yet consumed, with TEXT_PADDING readable bytes behind them. Grows to bytes_max at most, which is
 * what bounds the memory of reading a file. One thread at a time. */
#ifndef CUPEL_CONNECT_TEXT_WINDOW_H
#define CUPEL_CONNECT_TEXT_WINDOW_H

#include "connect/encoding.h"
#include "connect/file_bytes.h"

#define TEXT_PADDING 64

struct text_window {
    char *p;
    size_t at, end, cap;
    bool final; /* nothing follows `end` */
    size_t bytes_max;
    struct file_bytes *file; /* owned */
    bool utf16;
    struct utf16_decoder decoder;
    char *raw; /* UTF-16 only: bytes before decoding */
    size_t skip; /* bytes of the BOM still to leave out */
};

enum status text_window_open(
    const struct file_bytes_options *file, const struct encoding *encoding, size_t bom_bytes, size_t bytes_max, struct text_window *out, struct err *err);
void text_window_close(struct text_window *w);
/* Moves what is left to the front and reads more behind it; invalidates views. After it either end - at has grown or `final` is set. E_LIMIT: it is full. */
enum status text_window_fill(struct text_window *w, struct err *err);

#endif
