#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing_rows.h"

#define MEMORY_BYTES (1u << 20) /* written to the file when reached; without a file the rest is dropped, and its reader says so by its count */

/* One entry: u64 number, u32 length of reason, u32 length of raw, reason, raw; little endian. A temporary file, gone after the commit. */
#define ENTRY_HEAD 16

struct bad_spool {
    const struct host *host;
    char *path;
    int file;
    bool opened, writing;
    uint64_t written, read_at;
    struct buf memory, entry;
    char *reason;
};

struct bad_spool *bad_spool_new(const struct host *host, const char *path) {
    struct bad_spool *s = mem_zalloc(sizeof *s);
    s->host = host;
    s->path = path ? mem_strdup(path) : NULL;
    s->writing = true;
    return s;
}

void bad_spool_free(struct bad_spool **spool) {
    struct bad_spool *s = *spool;
    if (!s) return;
    if (s->opened) s->host->fs->close(s->host->fs->self, s->file);
    buf_free(&s->memory);
    buf_free(&s->entry);
    free(s->path);
    free(s->reason);
    free(s);
    *spool = NULL;
}

static enum status spill(struct bad_spool *s, struct err *err) {
    const struct fs *fs = s->host->fs;
    if (s->memory.n == 0) return OK;
    enum status st = OK;
    if (!s->opened) st = fs->open(fs->self, s->path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &s->file, err);
    if (st != OK) return st;
    s->opened = true;
    st = fs->pwrite(fs->self, s->file, s->memory.p, s->memory.n, s->written, err);
    if (st != OK) return st;
    s->written += s->memory.n;
    buf_clear(&s->memory);
    return OK;
}

enum status bad_spool_put(struct bad_spool *s, uint64_t number, struct str reason, struct str raw, struct err *err) {
    must(s->writing && reason.n < UINT32_MAX && raw.n < UINT32_MAX);
    if (!s->path && s->memory.n + ENTRY_HEAD + reason.n + raw.n > MEMORY_BYTES) return OK;
    buf_u64(&s->memory, number);
    buf_u32(&s->memory, (uint32_t)reason.n);
    buf_u32(&s->memory, (uint32_t)raw.n);
    buf_str(&s->memory, reason);
    buf_str(&s->memory, raw);
    return s->path && s->memory.n > MEMORY_BYTES ? spill(s, err) : OK;
}

enum status bad_spool_finish(struct bad_spool *s, struct err *err) {
    if (!s->writing) return OK;
    enum status st = s->path ? spill(s, err) : OK;
    /* Not for durability: another process may read it, and a file system may keep what was not synced to this one (host/faulty.h). */
    if (st == OK && s->opened) st = s->host->fs->sync_data(s->host->fs->self, s->file, err);
    if (st == OK) s->writing = false;
    return st;
}

enum status bad_spool_open(const struct host *host, const char *path, struct bad_spool **out, struct err *err) {
    const struct fs *fs = host->fs;
    struct fs_stat stat;
    int file;
    enum status st = fs->open(fs->self, path, FS_READ, &file, err);
    if (st != OK) return st;
    st = fs->stat_file(fs->self, file, &stat, err);
    if (st != OK) {
        fs->close(fs->self, file);
        return st;
    }
    struct bad_spool *s = bad_spool_new(host, path);
    s->file = file;
    s->opened = true;
    s->writing = false;
    s->written = stat.size_bytes;
    *out = s;
    return OK;
}

static uint32_t get_u32(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* n bytes at read_at, from the file or from memory, into entry. */
static enum status get_bytes(struct bad_spool *s, size_t n, struct err *err) {
    buf_clear(&s->entry);
    buf_zero(&s->entry, n);
    size_t got = 0;
    uint64_t total = s->opened ? s->written : s->memory.n;
    if (n > total - s->read_at) return err_set(err, E_CORRUPT, "the list of bad rows is cut at byte %llu", (unsigned long long)s->read_at);
    if (!s->opened)
        memcpy(s->entry.p, s->memory.p + s->read_at, n);
    else {
        enum status st = s->host->fs->pread(s->host->fs->self, s->file, s->entry.p, n, s->read_at, &got, err);
        if (st != OK) return st;
        if (got < n) return err_set(err, E_CORRUPT, "the list of bad rows is cut at byte %llu", (unsigned long long)(s->read_at + got));
    }
    s->read_at += n;
    return OK;
}

enum status bad_spool_next(struct bad_spool *s, struct bad_row *out, bool *got, struct err *err) {
    must(!s->writing);
    if (s->read_at == (s->opened ? s->written : s->memory.n)) {
        *got = false;
        return OK;
    }
    enum status st = get_bytes(s, ENTRY_HEAD, err);
    if (st != OK) return st;
    uint64_t number = get_u32(s->entry.p) | (uint64_t)get_u32(s->entry.p + 4) << 32;
    size_t reason_n = get_u32(s->entry.p + 8), raw_n = get_u32(s->entry.p + 12);
    if (reason_n + raw_n > 0) st = get_bytes(s, reason_n + raw_n, err);
    if (st != OK) return st;
    free(s->reason);
    s->reason = mem_strndup(reason_n ? s->entry.p : "", reason_n);
    *out = (struct bad_row){.number = number, .reason = s->reason, .raw = {reason_n + raw_n ? s->entry.p + reason_n : "", raw_n}};
    *got = true;
    return OK;
}
