/* Segment files: names, creation, references. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

void segment_path(const char *dir, uint32_t number, const char *suffix, char out[PATH_MAX_BYTES]) {
    must(number > 0);
    int n = snprintf(out, PATH_MAX_BYTES, "%s/%016" PRIu32 "%s", dir, number, suffix);
    must(n > 0 && n < PATH_MAX_BYTES);
}

struct segment *segment_new(const struct stream_log *log, uint32_t number, int file) {
    must(number > 0 && file >= 0);
    struct segment *s = mem_zalloc(sizeof *s);
    s->number = number;
    s->salt = segment_salt(log->log_id, number);
    s->fs = log_fs(log);
    s->file = file;
    s->end = SEGMENT_HEADER_BYTES;
    atomic_init(&s->refs, 1);
    return s;
}

void segment_ref(struct segment *segment) {
    int before = atomic_fetch_add(&segment->refs, 1);
    must(before > 0);
}

void segment_unref(struct segment *segment) {
    int before = atomic_fetch_sub(&segment->refs, 1);
    must(before > 0);
    if (before > 1) return;
    segment->fs->close(segment->fs->self, segment->file);
    key_table_free(&segment->keys);
    key_filter_free(&segment->filter);
    free(segment->hours);
    free(segment->idempotency);
    free(segment->end_state);
    free(segment);
}

void segments_push(struct stream_log *log, struct segment *segment) {
    must(log->segments_n == 0 || log->segment[log->segments_n - 1]->number < segment->number);
    if (log->segments_n == log->segments_cap) {
        log->segments_cap = log->segments_cap ? log->segments_cap * 2 : 16;
        log->segment = mem_realloc(log->segment, log->segments_cap * sizeof *log->segment);
    }
    log->segment[log->segments_n++] = segment;
    log->active = segment;
}

enum status segment_room(struct stream_log *log, uint64_t bytes, struct err *err) {
    uint64_t used = 0, free_now = 0;
    must(bytes > 0);
    mutex_lock(&log->segments);
    for (size_t i = 0; i < log->segments_n; i++) used += log->segment[i]->end;
    mutex_unlock(&log->segments);
    if (log->options.max_bytes && used + bytes > log->options.max_bytes)
        return err_set(err, E_BUSY, "the log holds %" PRIu64 " MB that are not landed, its budget (log.max_bytes) is %" PRIu64 " MB", used / 1000000,
            log->options.max_bytes / 1000000);
    enum status s = log_fs(log)->free_bytes(log_fs(log)->self, log->dir, &free_now, err);
    if (s != OK) return s;
    if (free_now < bytes + log->options.reserve_bytes)
        return err_set(err, E_NO_SPACE, "the disk of the log has %" PRIu64 " MB free, %" PRIu64 " MB are needed", free_now / 1000000,
            (bytes + log->options.reserve_bytes) / 1000000);
    return OK;
}

enum status segment_create(struct stream_log *log, uint32_t number, uint64_t bytes, int *file, struct err *err) {
    must(bytes >= SEGMENT_HEADER_BYTES && bytes < UINT32_MAX);
    const struct fs *fs = log_fs(log);
    char path[PATH_MAX_BYTES];
    segment_path(log->dir, number, ".seg", path);
    int f = -1;
    enum status s = fs->open(fs->self, path, FS_READ | FS_WRITE | FS_CREATE | FS_TRUNCATE, &f, err);
    if (s != OK) return s;
    s = fs->allocate(fs->self, f, bytes, err);
    if (s == OK) s = fs->sync_data(fs->self, f, err);
    if (s == OK) s = fs->sync_dir(fs->self, log->dir, err);
    if (s != OK) {
        fs->close(fs->self, f);
        (void)fs->unlink(fs->self, path, NULL);
        return s;
    }
    *file = f;
    return OK;
}

enum status segment_bytes(const struct segment *segment, uint64_t n, struct host_map *out, struct err *err) {
    must(n > 0 && n <= UINT32_MAX);
    struct host_map map;
    enum status s = host_map_open(segment->fs, segment->file, n, &map, err);
    if (s != OK) return s;
    s = host_map_refresh(segment->fs, segment->file, &map, 0, n, err);
    if (s != OK) {
        host_map_close(&map);
        return s;
    }
    host_map_will_read(&map, 0, n);
    *out = map;
    return OK;
}
