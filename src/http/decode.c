#include "http/decode.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/mem.h"

enum status coding_parse(struct str header, enum coding *out, struct err *err) {
    struct str name = str_trim(header);
    if (name.n == 0 || str_ieq(name, STR("identity")))
        *out = CODING_NONE;
    else if (str_ieq(name, STR("gzip")) || str_ieq(name, STR("x-gzip")))
        *out = CODING_GZIP;
    else if (str_ieq(name, STR("deflate")))
        *out = CODING_DEFLATE;
    else if (str_ieq(name, STR("zstd")))
        *out = CODING_ZSTD;
    else
        return err_set(err, E_MEDIA_TYPE, "Content-Encoding %.*s is not understood; gzip, deflate and zstd are, one at a time", STR_ARG(str_head(name, 64)));
    return OK;
}

/* Output that doubles up to the limit plus one byte: the extra byte tells "exactly full" from "more". */
struct grow {
    char *p;
    size_t n, cap, limit;
};

static bool grow_more(struct grow *g) {
    if (g->n < g->cap) return true;
    if (g->n > g->limit) return false;
    size_t cap = g->cap * 2;
    if (cap > g->limit + 1) cap = g->limit + 1;
    if (cap <= g->cap) return false;
    g->p = mem_realloc(g->p, cap);
    g->cap = cap;
    return true;
}

static enum status too_much(const struct grow *g, struct err *err) {
    return err_set(err, E_LIMIT, "body: more than %zu bytes after decompression (the limit)", g->limit);
}

static enum status inflate_all(struct grow *g, struct str in, int window_bits, struct err *err) {
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)in.p, .avail_in = (unsigned)in.n};
    if (inflateInit2(&z, window_bits) != Z_OK) return err_set(err, E_INTERNAL, "zlib: cannot begin");
    enum status st = OK;
    for (bool end = false; !end && st == OK;) {
        if (!grow_more(g)) {
            st = too_much(g, err);
            break;
        }
        z.next_out = (unsigned char *)g->p + g->n;
        z.avail_out = (unsigned)(g->cap - g->n);
        int rc = inflate(&z, Z_NO_FLUSH);
        g->n = g->cap - z.avail_out;
        if (rc == Z_STREAM_END && z.avail_in > 0 && window_bits > 15) /* a further gzip member (RFC 1952 section 2.2) */
            rc = inflateReset(&z);
        else if (rc == Z_STREAM_END)
            end = true;
        if (end && z.avail_in) st = err_set(err, E_INVALID, "body: bytes behind the end of the compressed data at byte %zu", in.n - z.avail_in);
        if (end) break;
        if (rc == Z_BUF_ERROR && z.avail_in == 0 && z.avail_out > 0)
            st = err_set(err, E_INVALID, "body: the compressed data is cut off after byte %zu", in.n);
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            st = err_set(err, E_INVALID, "body: the compressed data is damaged near byte %zu", in.n - z.avail_in);
    }
    inflateEnd(&z);
    if (st == OK && g->n > g->limit) st = too_much(g, err);
    return st;
}

static enum status zstd_all(struct grow *g, struct str in, struct err *err) {
    ZSTD_DCtx *z = ZSTD_createDCtx();
    must(z);
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, DECODE_WINDOW_LOG_MAX);
    ZSTD_inBuffer input = {in.p, in.n, 0};
    enum status st = OK;
    size_t left = 1;
    while (st == OK && (input.pos < input.size || left != 0)) {
        if (!grow_more(g)) {
            st = too_much(g, err);
            break;
        }
        ZSTD_outBuffer output = {g->p, g->cap, g->n};
        size_t before = input.pos;
        left = ZSTD_decompressStream(z, &output, &input);
        if (ZSTD_isError(left))
            st = err_set(err, E_INVALID, "body: zstd: %s near byte %zu", ZSTD_getErrorName(left), input.pos);
        else if (left != 0 && input.pos == input.size && output.pos == g->n && input.pos == before && output.pos < g->cap)
            st = err_set(err, E_INVALID, "body: the compressed data is cut off after byte %zu", in.n);
        g->n = output.pos;
    }
    ZSTD_freeDCtx(z);
    if (st == OK && g->n > g->limit) st = too_much(g, err);
    return st;
}

/* "deflate" is the zlib format (RFC 9110 section 8.4.1.2), but some clients send the bare stream. */
static int deflate_bits(struct str in) {
    const unsigned char *b = (const unsigned char *)in.p;
    bool zlib = in.n >= 2 && (b[0] & 0x0f) == 8 && ((unsigned)b[0] << 8 | b[1]) % 31 == 0;
    return zlib ? 15 : -15;
}

enum status coding_decode(enum coding coding, struct str in, size_t limit, size_t slack, char **out, size_t *out_n, struct err *err) {
    must(coding != CODING_NONE && limit < SIZE_MAX / 4);
    if (in.n >= UINT32_MAX) return err_set(err, E_LIMIT, "body: %zu compressed bytes", in.n);
    size_t first = in.n * 4 < 4096 ? 4096 : in.n * 4;
    struct grow g = {.limit = limit, .cap = first > limit + 1 ? limit + 1 : first};
    g.p = mem_alloc(g.cap);
    enum status st = coding == CODING_ZSTD ? zstd_all(&g, in, err) : inflate_all(&g, in, coding == CODING_GZIP ? 15 + 16 : deflate_bits(in), err);
    if (st != OK) {
        free(g.p);
        return st;
    }
    g.p = mem_realloc(g.p, g.n + slack + 1);
    memset(g.p + g.n, 0, slack + 1);
    *out = g.p;
    *out_n = g.n;
    return OK;
}
