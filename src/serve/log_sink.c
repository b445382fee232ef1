/* Log files. One lock around writing and rotating: a record is one write, so that readers see whole lines, or the beginning of the last one. */
#include "serve/log_sink.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/times.h"
#include "host/thread.h"

#define LOG_NAME "cupel.ndjson"
#define FILES_MAX 100

static struct metric lines_lost = {
    .name = "cupel_log_lines_lost_total", .help = "Log records that could not be written to data/logs.", .kind = METRIC_COUNTER, .labels = ""};

struct log_sink {
    const struct host *host;
    char *dir;
    uint64_t file_bytes, files;
    mutex lock; /* guards what is below */
    int file; /* -1: could not be opened after the last rotation */
    uint64_t size_bytes;
    struct series *lost;
};

static char *file_path(const char *dir, uint64_t age) {
    return age == 0 ? mem_printf("%s/" LOG_NAME, dir) : mem_printf("%s/" LOG_NAME ".%llu", dir, (unsigned long long)age);
}

static enum status open_file(struct log_sink *s, struct err *err) {
    must(s->dir != NULL);
    const struct fs *fs = s->host->fs;
    AUTO_FREE char *path = file_path(s->dir, 0);
    struct fs_stat stat;
    int file;
    enum status status = fs->open(fs->self, path, FS_WRITE | FS_CREATE, &file, err);
    if (status != OK) return status;
    status = fs->stat_file(fs->self, file, &stat, err);
    if (status != OK) {
        fs->close(fs->self, file);
        return status;
    }
    s->file = file;
    s->size_bytes = stat.size_bytes;
    return OK;
}

static void rotate(struct log_sink *s) {
    const struct fs *fs = s->host->fs;
    fs->close(fs->self, s->file);
    s->file = -1;
    for (uint64_t age = s->files; age > 0; age--) {
        AUTO_FREE char *from = file_path(s->dir, age - 1);
        AUTO_FREE char *to = file_path(s->dir, age);
        (void)fs->rename(fs->self, from, to, NULL); /* a gap in the row of files is fine */
    }
    if (s->files == 0) {
        AUTO_FREE char *path = file_path(s->dir, 0);
        (void)fs->unlink(fs->self, path, NULL);
    }
    (void)open_file(s, NULL);
}

static void write_line(void *context, struct str line) {
    struct log_sink *s = context;
    const struct fs *fs = s->host->fs;
    WITH_LOCK(&s->lock);
    if (s->file >= 0 && s->size_bytes > 0 && s->size_bytes + line.n > s->file_bytes) rotate(s);
    if (s->file < 0 || fs->pwrite(fs->self, s->file, line.p, line.n, s->size_bytes, NULL) != OK) {
        series_add(s->lost, 1);
        return;
    }
    s->size_bytes += line.n;
}

enum status log_sink_open(const struct log_sink_options *options, struct log_sink **out, struct err *err) {
    must(options->host && options->data_dir);
    struct log_sink *s = mem_zalloc(sizeof *s);
    s->host = options->host;
    s->dir = mem_printf("%s/logs", options->data_dir);
    s->file_bytes = options->file_bytes ? options->file_bytes : 16u << 20;
    s->files = options->files > FILES_MAX ? FILES_MAX : options->files;
    s->file = -1;
    s->lost = metric_series(&lines_lost);
    mutex_init(&s->lock);
    enum status status = fs_mkdirs(s->host->fs, s->dir, err);
    if (status == OK) status = open_file(s, err);
    if (status != OK) {
        log_sink_close(&s);
        return status;
    }
    *out = s;
    return OK;
}

void log_sink_attach(struct log_sink *sink) {
    must(sink);
    log_set_sink(write_line, sink);
}

void log_sink_close(struct log_sink **sink) {
    struct log_sink *s = *sink;
    if (!s) return;
    log_set_sink(NULL, NULL);
    mutex_lock(&s->lock); /* a writer that was inside has left */
    if (s->file >= 0) s->host->fs->close(s->host->fs->self, s->file);
    mutex_unlock(&s->lock);
    mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
    *sink = NULL;
}

/* ---- reading ---- */

/* The value of a text member near the start of one of our own lines; the writer puts "at" and "level" first and without escapes. */
static struct str member(struct str line, const char *name) {
    char needle[32];
    int n = snprintf(needle, sizeof needle, "\"%s\":\"", name);
    long at = str_find(line, str_make(needle, (size_t)n));
    if (at < 0) return STR_NULL;
    struct str rest = str_from(line, (size_t)at + (size_t)n);
    return str_cut(&rest, '"');
}

static bool matches(struct str line, const struct log_query *query) {
    bool known = false;
    enum log_level level = log_level_parse(member(line, "level"), &known);
    int64_t at_us = 0;
    if (!known || level < query->level) return false;
    if (query->since_us && (!time_parse_us(member(line, "at"), &at_us) || at_us < query->since_us)) return false;
    return !query->event || str_find(line, str_of(query->event)) >= 0;
}

static void take_matching(struct str text, const struct log_query *query, struct buf *out, size_t *lines) {
    while (text.n > 0) {
        struct str line = str_cut(&text, '\n');
        if (!matches(line, query)) continue;
        buf_str(out, line);
        buf_char(out, '\n');
        (*lines)++;
    }
}

static void drop_first_lines(struct buf *out, size_t from, size_t drop) {
    struct str rest = str_from(buf_view(out), from);
    size_t all = rest.n;
    while (drop-- > 0) (void)str_cut(&rest, '\n');
    size_t cut = all - rest.n;
    memmove(out->p + from, out->p + from + cut, rest.n);
    out->n -= cut;
}

enum status log_sink_read(const struct host *host, const char *data_dir, const struct log_query *query, struct buf *out, struct err *err) {
    must(host && query && out);
    AUTO_FREE char *dir = mem_printf("%s/logs", data_dir);
    size_t from = out->n, lines = 0;
    for (int age = FILES_MAX; age >= 0; age--) {
        ARENA_SCOPE(arena);
        AUTO_FREE char *path = file_path(dir, (uint64_t)age);
        if (!fs_exists(host->fs, path)) continue;
        struct str text;
        enum status status = fs_read_all(host->fs, arena, path, UINT64_C(1) << 32, &text, err);
        if (status == E_NOT_FOUND) continue; /* rotated away meanwhile */
        if (status != OK) return status;
        take_matching(text, query, out, &lines);
    }
    if (query->limit && lines > query->limit) drop_first_lines(out, from, lines - query->limit);
    return OK;
}
