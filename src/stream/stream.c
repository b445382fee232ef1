/* Opening and closing the log, definitions, small public helpers. */
#include "stream/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

#define SECRET_MAGIC UINT64_C(0x3143455350555043) /* "CPUPSEC1" */

struct secret {
    uint64_t magic, log_id, dedupe_seed;
    uint32_t reserved, crc; /* CRC32C of the bytes before */
};
_Static_assert(sizeof(struct secret) == 32, "the file is its own layout");

static void set_defaults(struct stream_log_options *o) {
    if (!o->segment_bytes) o->segment_bytes = UINT64_C(128) << 20;
    if (!o->max_bytes) o->max_bytes = UINT64_C(20) * 1000 * 1000 * 1000;
    if (!o->reserve_bytes) o->reserve_bytes = UINT64_C(256) << 20;
    if (!o->retention_ms) o->retention_ms = INT64_C(7) * 24 * 3600 * 1000;
    if (!o->queue_max) o->queue_max = 8192;
    if (!o->queue_bytes_max) o->queue_bytes_max = UINT64_C(256) << 20;
    if (!o->group_bytes_max) o->group_bytes_max = UINT64_C(8) << 20;
    if (!o->probe_ms) o->probe_ms = 100;
    if (o->group_bytes_max > REQUEST_BYTES_MAX) o->group_bytes_max = REQUEST_BYTES_MAX;
    if (o->segment_bytes > o->max_bytes / 4) o->segment_bytes = o->max_bytes / 4; /* retention works by whole segments */
    if (o->segment_bytes < SEGMENT_BYTES_MIN) o->segment_bytes = SEGMENT_BYTES_MIN;
    if (o->segment_bytes > SEGMENT_BYTES_MAX) o->segment_bytes = SEGMENT_BYTES_MAX;
    must(o->segment_bytes >= SEGMENT_BYTES_MIN && o->segment_bytes <= SEGMENT_BYTES_MAX);
}

static bool has_segments(struct stream_log *log) {
    ARENA_SCOPE(arena);
    struct fs_entry *entries = NULL;
    size_t n = 0;
    if (log_fs(log)->list(log_fs(log)->self, arena, log->dir, &entries, &n, NULL) != OK) return false;
    for (size_t i = 0; i < n; i++)
        if (str_ends(str_of(entries[i].name), STR(".seg"))) return true;
    return false;
}

static enum status make_secret(struct stream_log *log, const char *path, struct secret *out, struct err *err) {
    struct secret s = {.magic = SECRET_MAGIC};
    host_random(&s.log_id, sizeof s.log_id);
    host_random(&s.dedupe_seed, sizeof s.dedupe_seed);
    s.crc = crc32c(0, &s, sizeof s - 4);
    enum status status = fs_write_secret(log_fs(log), path, str_make(&s, sizeof s), err);
    if (status == OK) *out = s;
    return status;
}

static enum status load_secret(struct stream_log *log, struct err *err) {
    char path[PATH_MAX_BYTES];
    must(strlen(log->dir) < PATH_MAX_BYTES - 64);
    memcpy(path, log->dir, strlen(log->dir));
    memcpy(path + strlen(log->dir), "/secret", sizeof "/secret");
    ARENA_SCOPE(arena);
    struct str bytes = STR_NULL;
    struct secret s = {0};
    enum status status = fs_read_all(log_fs(log), arena, path, 4096, &bytes, err);
    if (status == E_NOT_FOUND) {
        if (has_segments(log))
            return err_set(err, E_CORRUPT, "%s is missing: without it the segments beside it cannot be read; restore it from a backup", path);
        status = make_secret(log, path, &s, err);
    } else if (status == OK) {
        if (bytes.n == sizeof s) memcpy(&s, bytes.p, sizeof s);
        if (bytes.n != sizeof s || s.magic != SECRET_MAGIC || s.crc != crc32c(0, &s, sizeof s - 4))
            return err_set(err, E_CORRUPT, "%s is damaged: restore it from a backup", path);
    }
    if (status != OK) return status;
    log->log_id = s.log_id;
    log->dedupe_seed = s.dedupe_seed;
    return OK;
}

/* What the ledger says; where the log already knows more partitions (the ledger was told later and missed it), these stay. */
static enum status define_all(struct stream_log *log, const struct stream_definition *streams, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        struct stream_definition d = streams[i];
        const struct stream_info *info = stream_get(log, d.number);
        uint16_t now = info && info->epochs_n ? info->epochs[info->epochs_n - 1].partitions : 0;
        if (info && info->forgotten) continue; /* deleted; the ledger missed it */
        if (d.partitions < now) d.partitions = now;
        must(d.partitions >= now);
        enum status s = define_apply(log, &d, err);
        if (s != OK) return s;
    }
    return OK;
}

static struct stream_log *log_new(const struct stream_log_options *options) {
    struct stream_log *log = mem_zalloc(sizeof *log);
    log->options = *options;
    log->host = *options->host;
    log->dir = mem_strdup(options->dir);
    log->options.dir = log->dir;
    log->options.host = &log->host;
    set_defaults(&log->options);
    mutex_init(&log->queue);
    mutex_init(&log->trim);
    mutex_init(&log->segments);
    mutex_init(&log->state);
    mutex_init(&log->keep);
    condition_init(&log->queue_filled);
    condition_init(&log->command_finished);
    condition_init(&log->watcher_done);
    condition_init(&log->keep_wanted);
    log->last = &log->first;
    committer_metrics(log);
    log->group = group_new();
    log->idempotency = idempotency_new();
    log->next_group = 1;
    log->prepared_file = -1;
    return log;
}

static void log_free(struct stream_log *log) {
    must(!log->first && !log->commands);
    if (log->prepared_file >= 0) log_fs(log)->close(log_fs(log)->self, log->prepared_file);
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++)
        if (stream_get(log, (uint16_t)i)) stream_info_free(stream_get(log, (uint16_t)i));
    for (size_t i = 0; i < log->segments_n; i++) segment_unref(log->segment[i]);
    group_free(&log->group);
    idempotency_free(&log->idempotency);
    mutex_destroy(&log->queue);
    mutex_destroy(&log->trim);
    mutex_destroy(&log->segments);
    mutex_destroy(&log->state);
    mutex_destroy(&log->keep);
    condition_destroy(&log->queue_filled);
    condition_destroy(&log->command_finished);
    condition_destroy(&log->watcher_done);
    condition_destroy(&log->keep_wanted);
    free(log->segment);
    free(log->watchers);
    free(log->ready);
    free(log->cache.p);
    free(log->dir);
    free(log);
}

enum status stream_log_open(const struct stream_log_options *options, const struct stream_definition *streams, size_t n, struct stream_log **out,
    struct stream_recovery *recovery, struct err *err) {
    must(options->dir != NULL && options->host != NULL);
    if (strlen(options->dir) > PATH_MAX_BYTES - 128) return err_set(err, E_LIMIT, "the path of the log is longer than %d bytes", PATH_MAX_BYTES - 128);
    struct stream_log *log = log_new(options);
    struct stream_recovery report = {0};
    struct err trouble;
    enum status s = fs_mkdirs(log_fs(log), log->dir, err);
    if (s == OK) s = load_secret(log, err);
    if (s == OK) s = recover(log, &report, err);
    if (s == OK) s = define_all(log, streams, n, err);
    if (s != OK) {
        log_free(log);
        return s;
    }
    if (log->need_segment) { /* a full disk does not keep anyone from reading */
        enum status started = committer_start_segment(log, 0, &trouble);
        if (started != OK) queue_set_trouble(log, started, trouble.text);
    }
    thread_start(&log->keeper, "log-keeper", keeper_run, log);
    thread_start(&log->committer, "log-commit", committer_run, log);
    keeper_wake(log); /* segments that the last run did not seal */
    *out = log;
    if (recovery) *recovery = report;
    return OK;
}

void stream_log_close(struct stream_log **handle) {
    struct stream_log *log = *handle;
    if (!log) return;
    mutex_lock(&log->queue);
    log->stop = true;
    condition_signal(&log->queue_filled);
    mutex_unlock(&log->queue);
    thread_join(&log->committer);
    mutex_lock(&log->keep);
    log->keep_stop = true;
    condition_signal(&log->keep_wanted);
    mutex_unlock(&log->keep);
    thread_join(&log->keeper);
    must(log->queued == 0);
    log_free(log);
    *handle = NULL;
}

enum status stream_define(struct stream_log *log, const struct stream_definition *definition, struct err *err) {
    must(definition != NULL);
    struct command c = {.kind = COMMAND_DEFINE, .definition = *definition};
    return queue_command(log, &c, err);
}

enum status stream_forget(struct stream_log *log, uint16_t number, struct err *err) {
    struct command c = {.kind = COMMAND_FORGET, .definition.number = number};
    if (!stream_get(log, number)) return err_set(err, E_NOT_FOUND, "there is no stream number %u", number);
    return queue_command(log, &c, err);
}

struct hash128 stream_dedupe_hash(const struct stream_log *log, uint16_t stream, struct str key) {
    must(stream > 0);
    return hash128_keyed(log->dedupe_seed + stream * UINT64_C(0x9E3779B97F4A7C15), key.p ? key.p : "", key.n);
}

bool stream_headers_put(struct buf *out, struct str name, struct str value) {
    if (name.n == 0 || name.n > 255 || value.n > UINT16_MAX) return false;
    if (out->n + 3 + name.n + value.n > STREAM_HEADERS_BYTES_MAX) return false;
    buf_char(out, (char)name.n);
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        buf_char(out, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
    }
    buf_u16(out, (uint16_t)value.n);
    buf_str(out, value);
    return !out->failed;
}

bool stream_headers_next(struct str *headers, struct str *name, struct str *value) {
    if (headers->n < 3) return false;
    size_t name_n = (uint8_t)headers->p[0];
    if (headers->n < 3 + name_n) return false;
    size_t value_n = (size_t)(uint8_t)headers->p[1 + name_n] | (size_t)(uint8_t)headers->p[2 + name_n] << 8;
    if (headers->n < 3 + name_n + value_n) return false;
    *name = str_make(headers->p + 1, name_n);
    *value = str_make(headers->p + 3 + name_n, value_n);
    *headers = str_from(*headers, 3 + name_n + value_n);
    return true;
}
