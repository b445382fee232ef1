#include "connect/text_window.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define FIRST_BYTES (512u << 10)
#define RAW_PIECE (128u << 10)

enum status text_window_open(
    const struct file_bytes_options *file, const struct encoding *encoding, size_t bom_bytes, size_t bytes_max, struct text_window *out, struct err *err) {
    must(bytes_max > 0);
    struct file_bytes *f;
    enum status st = file_bytes_open(file, &f, err);
    if (st != OK) return st;
    *out = (struct text_window){.file = f, .skip = bom_bytes, .bytes_max = bytes_max < FIRST_BYTES ? FIRST_BYTES : bytes_max};
    out->utf16 = encoding->kind == ENCODING_UTF16LE || encoding->kind == ENCODING_UTF16BE;
    if (out->utf16) {
        utf16_begin(&out->decoder, encoding->kind == ENCODING_UTF16BE);
        out->raw = mem_alloc(RAW_PIECE);
    }
    out->cap = FIRST_BYTES;
    out->p = mem_alloc(out->cap + TEXT_PADDING);
    return OK;
}

void text_window_close(struct text_window *w) {
    file_bytes_close(&w->file);
    free(w->p);
    free(w->raw);
    *w = (struct text_window){0};
}

/* Room for at least half of the window, or as much as the limit leaves. */
static enum status make_room(struct text_window *w, struct err *err) {
    if (w->at) memmove(w->p, w->p + w->at, w->end - w->at);
    w->end -= w->at;
    w->at = 0;
    if (w->end <= w->cap / 2) return OK;
    size_t cap = w->cap * 2 < w->bytes_max ? w->cap * 2 : w->bytes_max;
    if (cap > w->cap) {
        w->p = mem_realloc(w->p, cap + TEXT_PADDING);
        w->cap = cap;
    }
    /* UTF-16 needs room for the worst growth of one piece */
    if (w->cap - w->end < 64) return err_set(err, E_LIMIT, "a record is longer than %zu bytes", w->bytes_max);
    return OK;
}

static enum status read_utf16(struct text_window *w, size_t *got, struct err *err) {
    size_t piece = (w->cap - w->end - 8) / 3 * 2, raw_got;
    if (piece > RAW_PIECE) piece = RAW_PIECE;
    must(piece > w->skip);
    enum status st = file_bytes_read(w->file, w->raw, piece, &raw_got, err);
    if (st != OK) return st;
    size_t skip = raw_got < w->skip ? raw_got : w->skip;
    w->skip -= skip;
    *got = utf16_decode(&w->decoder, w->raw + skip, raw_got - skip, w->p + w->end);
    if (raw_got == 0) {
        *got += utf16_end(&w->decoder, w->p + w->end + *got);
        w->final = true;
    }
    return OK;
}

static enum status read_bytes(struct text_window *w, size_t *got, struct err *err) {
    size_t n;
    enum status st = file_bytes_read(w->file, w->p + w->end, w->cap - w->end, &n, err);
    if (st != OK) return st;
    if (n == 0) w->final = true;
    size_t skip = n < w->skip ? n : w->skip;
    if (skip) memmove(w->p + w->end, w->p + w->end + skip, n - skip);
    w->skip -= skip;
    *got = n - skip;
    return OK;
}

enum status text_window_fill(struct text_window *w, struct err *err) {
    if (w->final) return OK;
    enum status st = make_room(w, err);
    size_t got = 0;
    while (st == OK && got == 0 && !w->final) st = w->utf16 ? read_utf16(w, &got, err) : read_bytes(w, &got, err);
    if (st != OK) return st;
    w->end += got;
    must(w->end <= w->cap);
    memset(w->p + w->end, 0, TEXT_PADDING);
    return OK;
}
