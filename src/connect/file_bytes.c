#include "connect/file_bytes.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/mem.h"

#define RAW_BYTES (256u << 10)
#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: what `zstd --long` may ask for without being told */

struct file_bytes {
    const struct host *host;
    int file;
    enum compression compression;
    uint64_t bytes_max, given; /* after decompression */
    uint64_t raw_offset; /* of the next read from the file */
    bool raw_ended;
    bool in_frame; /* compressed data is open: an end of the file now is damage */
    bool padding; /* behind the last gzip member: only zeros may follow */
    void (*tap)(void *context, const void *bytes, size_t n);
    void *tap_context;
    z_stream gzip;
    bool gzip_made;
    ZSTD_DStream *zstd;
    size_t raw_n, raw_at;
    unsigned char raw[RAW_BYTES];
};

const char *compression_name(enum compression compression) {
    static const char *const names[] = {"none", "gzip", "zstd"};
    must(compression <= COMPRESSION_ZSTD);
    return names[compression];
}

/* Refills raw when it is used up. */
static enum status raw_fill(struct file_bytes *f, struct err *err) {
    if (f->raw_at < f->raw_n || f->raw_ended) return OK;
    const struct fs *fs = f->host->fs;
    size_t got = 0;
    enum status st = fs->pread(fs->self, f->file, f->raw, RAW_BYTES, f->raw_offset, &got, err);
    if (st != OK) return st;
    if (got < RAW_BYTES) f->raw_ended = true;
    if (got && f->tap) f->tap(f->tap_context, f->raw, got);
    f->raw_offset += got;
    f->raw_n = got;
    f->raw_at = 0;
    return OK;
}

static enum status begin_decoder(struct file_bytes *f, struct err *err) {
    static const unsigned char gzip_magic[] = {0x1f, 0x8b, 0x08};
    static const unsigned char zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    if (f->raw_n >= sizeof gzip_magic && memcmp(f->raw, gzip_magic, sizeof gzip_magic) == 0) {
        f->compression = COMPRESSION_GZIP;
        if (inflateInit2(&f->gzip, 15 + 16) != Z_OK) return err_set(err, E_INTERNAL, "zlib cannot start");
        f->gzip_made = f->in_frame = true;
    } else if (f->raw_n >= sizeof zstd_magic && memcmp(f->raw, zstd_magic, sizeof zstd_magic) == 0) {
        f->compression = COMPRESSION_ZSTD;
        f->zstd = ZSTD_createDStream();
        if (!f->zstd) return err_set(err, E_INTERNAL, "zstd cannot start");
        ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
        f->in_frame = true;
    }
    return OK;
}

enum status file_bytes_open(const struct file_bytes_options *options, struct file_bytes **out, struct err *err) {
    must(options->host && options->path);
    const struct fs *fs = options->host->fs;
    int file;
    enum status st = fs->open(fs->self, options->path, FS_READ, &file, err);
    if (st != OK) return st;
    struct file_bytes *f = mem_alloc(sizeof *f);
    memset(f, 0, offsetof(struct file_bytes, raw));
    f->host = options->host;
    f->file = file;
    f->bytes_max = options->bytes_max;
    f->tap = options->tap;
    f->tap_context = options->tap_context;
    st = raw_fill(f, err);
    if (st == OK) st = begin_decoder(f, err);
    if (st != OK) {
        file_bytes_close(&f);
        return st;
    }
    *out = f;
    return OK;
}

void file_bytes_close(struct file_bytes **f) {
    if (!*f) return;
    const struct fs *fs = (*f)->host->fs;
    fs->close(fs->self, (*f)->file);
    if ((*f)->gzip_made) inflateEnd(&(*f)->gzip);
    ZSTD_freeDStream((*f)->zstd);
    free(*f);
    *f = NULL;
}

enum compression file_bytes_compression(const struct file_bytes *f) { return f->compression; }

static unsigned long long raw_position(const struct file_bytes *f) { return (unsigned long long)(f->raw_offset - (f->raw_n - f->raw_at)); }

static enum status read_plain(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err) {
    size_t have = f->raw_n - f->raw_at;
    if (have > n) have = n;
    memcpy(bytes, f->raw + f->raw_at, have);
    f->raw_at += have;
    *got = have;
    return OK;
}

/* Between gzip members: another member begins, or zeros pad the file (tape and block tools do that), anything else is damage. */
static enum status gzip_next_member(struct file_bytes *f, struct err *err) {
    while (f->raw_at < f->raw_n) {
        unsigned char c = f->raw[f->raw_at];
        if (c == 0x1f && !f->padding) {
            if (inflateReset(&f->gzip) != Z_OK) return err_set(err, E_INTERNAL, "zlib cannot start again");
            f->in_frame = true;
            return OK;
        }
        if (c != 0) return err_set(err, E_CORRUPT, "byte %llu: something that is not gzip follows the gzip data", raw_position(f));
        f->padding = true;
        f->raw_at++;
    }
    return OK;
}

static enum status read_gzip(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err) {
    if (!f->in_frame) {
        *got = 0;
        return gzip_next_member(f, err);
    }
    f->gzip.next_in = f->raw + f->raw_at;
    f->gzip.avail_in = (uInt)(f->raw_n - f->raw_at);
    f->gzip.next_out = bytes;
    f->gzip.avail_out = n > (1u << 30) ? 1u << 30 : (uInt)n;
    uInt room = f->gzip.avail_out;
    int r = inflate(&f->gzip, Z_NO_FLUSH);
    f->raw_at = f->raw_n - f->gzip.avail_in;
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
        return err_set(err, E_CORRUPT, "byte %llu: damaged gzip data (%s)", raw_position(f), f->gzip.msg ? f->gzip.msg : zError(r));
    if (r == Z_STREAM_END) f->in_frame = false;
    *got = room - f->gzip.avail_out;
    return OK;
}

static enum status read_zstd(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err) {
    ZSTD_inBuffer in = {f->raw, f->raw_n, f->raw_at};
    ZSTD_outBuffer out = {bytes, n, 0};
    size_t r = ZSTD_decompressStream(f->zstd, &out, &in);
    f->raw_at = in.pos;
    if (ZSTD_isError(r)) return err_set(err, E_CORRUPT, "byte %llu: damaged zstd data (%s)", raw_position(f), ZSTD_getErrorName(r));
    f->in_frame = r != 0;
    *got = out.pos;
    return OK;
}

static enum status read_some(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err) {
    switch (f->compression) {
    case COMPRESSION_NONE: return read_plain(f, bytes, n, got, err);
    case COMPRESSION_GZIP: return read_gzip(f, bytes, n, got, err);
    case COMPRESSION_ZSTD: return read_zstd(f, bytes, n, got, err);
    }
    must_not();
}

enum status file_bytes_read(struct file_bytes *f, void *bytes, size_t n, size_t *got, struct err *err) {
    must(n > 0);
    for (;;) {
        enum status st = raw_fill(f, err);
        if (st != OK) return st;
        bool no_more_input = f->raw_at == f->raw_n && f->raw_ended;
        size_t now = 0;
        /* A decoder may hold output back although its input is used up, so it is asked before the end is believed. */
        if (!no_more_input || f->in_frame) {
            st = read_some(f, bytes, n, &now, err);
            if (st != OK) return st;
        }
        f->given += now;
        if (f->bytes_max && f->given > f->bytes_max) return err_set(err, E_LIMIT, "more than %llu bytes after decompression", (unsigned long long)f->bytes_max);
        if (now == 0 && no_more_input && f->in_frame && f->compression != COMPRESSION_NONE)
            return err_set(err, E_CORRUPT, "the file ends at byte %llu in the middle of its %s data", raw_position(f), compression_name(f->compression));
        if (now || no_more_input) {
            *got = now;
            return OK;
        }
    }
}

enum status file_bytes_drain(struct file_bytes *f, struct err *err) {
    for (;;) {
        f->raw_at = f->raw_n;
        enum status st = raw_fill(f, err);
        if (st != OK || (f->raw_ended && f->raw_n == f->raw_at)) return st;
        if (f->raw_ended) return OK; /* the last piece went past the tap in raw_fill */
    }
}
