/* The writer: flushes streams into bronze. A flush fixes per-partition offsets [start, end), copies them into one file per receipt hour, and commits the files
 * together with the new positions and the accounts. Start offsets come from the table itself, and the commit checks that they still hold, so that no offset is
 * landed twice whatever was repeated in between. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/lake_priv.h"

#define TICK_MS 250
#define BACKOFF_MS_MIN 1000
#define BACKOFF_MS_MAX 20000
#define MAINTENANCE_EVERY_MS 60000
#define TRIM_EVERY_MS 2000
#define SHORT_FLUSHES_MAX 5
#define COPY_TIME_MS (30 * 60 * 1000)

static struct metric metric_flush_rows = {"cupel_lake_flush_rows_total", "Rows flushed from the log into bronze.", METRIC_COUNTER, "stream"};
static struct metric metric_flush_bytes = {"cupel_lake_flush_bytes_total", "Bytes of the Parquet files made by flushes.", METRIC_COUNTER, "stream"};
static struct metric metric_flush_failures = {"cupel_lake_flush_failures_total", "Flushes that failed and are repeated.", METRIC_COUNTER, "stream"};
static struct metric metric_flush_seconds = {"cupel_lake_flush_seconds", "Duration of a flush, from its plan to its commit.", METRIC_HISTOGRAM, "stream"};
static struct metric metric_lag = {"cupel_lake_lag_milliseconds", "Age of the oldest record that is not in bronze yet.", METRIC_GAUGE, "stream"};

void writer_series(struct lake_stream *stream) {
    stream->flush_rows = metric_series(&metric_flush_rows, stream->name);
    stream->flush_bytes = metric_series(&metric_flush_bytes, stream->name);
    stream->flush_failures = metric_series(&metric_flush_failures, stream->name);
    stream->flush_seconds = metric_series(&metric_flush_seconds, stream->name);
    stream->lag_ms = metric_series(&metric_lag, stream->name);
}

struct flush {
    struct lake *lake;
    struct lake_stream *stream;
    struct arena *arena;
    uint16_t partitions;
    uint64_t *at, *start, *end; /* per partition: what the table says; offsets [start, end) are flushed */
    uint64_t expected; /* rows */
    log_position from, to;
    int64_t *hours; /* receipt hours to look into */
    size_t hours_n;
    struct lake_pin *pin; /* tells the engine how far the log is durable */
    struct engine_column *columns;
    struct lake_file *files;
    size_t files_n;
    uint64_t rows, bytes;
};

/* ---- plan ---- */

static enum status plan_hours(struct flush *f, int64_t oldest_ms, struct err *err) {
    struct stream_hour *hours;
    size_t n;
    enum status s = stream_hours(f->lake->o.log, f->arena, f->stream->number, &hours, &n, err);
    if (s) return s;
    f->hours = arena_new_array(f->arena, int64_t, n + 1);
    for (size_t i = 0; i < n; i++)
        if (hours[i].received && hours[i].hour_ms + HOUR_MS > oldest_ms) f->hours[f->hours_n++] = hours[i].hour_ms;
    return OK;
}

static enum status plan(struct flush *f, const struct table_version *v, struct err *err) {
    struct stream_state state;
    enum status s = stream_state(f->lake->o.log, f->arena, f->stream->number, &state, err);
    if (s) return s;
    f->partitions = state.partitions_n;
    f->at = arena_new_array(f->arena, uint64_t, (size_t)f->partitions + 1);
    f->start = arena_new_array(f->arena, uint64_t, (size_t)f->partitions + 1);
    f->end = arena_new_array(f->arena, uint64_t, (size_t)f->partitions + 1);
    for (uint16_t i = 0; i < f->partitions; i++) {
        const struct partition_state *p = &state.partitions[i];
        f->at[i] = table_position(v, f->stream->number, i);
        f->start[i] = f->at[i] > p->landed_offset ? f->at[i] : p->landed_offset; /* should somebody take the table's position away, we still know it */
        f->end[i] = p->end_offset > f->start[i] ? p->end_offset : f->start[i];
        uint64_t first = f->start[i];
        if (p->start_offset > first && f->end[i] > first) {
            log_error("lake", "the log no longer has records that bronze has not", LOG_STR("stream", f->stream->name), LOG_INT("partition", i),
                LOG_INT("from_offset", first), LOG_INT("to_offset", p->start_offset), NULL);
            first = p->start_offset < f->end[i] ? p->start_offset : f->end[i];
        }
        f->expected += f->end[i] - first;
    }
    f->from = state.unlanded_from;
    f->to = stream_durable(f->lake->o.log); /* after the state: covers its end offsets */
    return f->expected ? plan_hours(f, state.oldest_unlanded_ms, err) : OK;
}

/* ---- copy ---- */

static void put_offsets(struct buf *out, const char *name, const uint64_t *offsets, uint16_t n) {
    buf_printf(out, ",\"%s\":[", name);
    for (uint16_t i = 0; i < n; i++) buf_printf(out, "%s%" PRIu64, i ? "," : "", offsets[i]);
    buf_char(out, ']');
}

/* The spec needs no quoting: stream names are letters, digits, _ and - (table_check_name). */
static void put_select(const struct flush *f, int64_t hour_ms, struct buf *sql) {
    buf_text(sql, "SELECT ");
    for (size_t i = 0; i < bronze_columns_n; i++) buf_printf(sql, "%s%s", i ? ", " : "", bronze_columns[i].name);
    buf_printf(
        sql, " FROM cupel_log_range('{\"stream\":%u,\"name\":\"%s\",\"from\":%" PRIu64 ",\"to\":%" PRIu64, f->stream->number, f->stream->name, f->from, f->to);
    put_offsets(sql, "start", f->start, f->partitions);
    put_offsets(sql, "end", f->end, f->partitions);
    buf_printf(sql, ",\"from_ms\":%" PRId64 ",\"to_ms\":%" PRId64 "}')", hour_ms, hour_ms + HOUR_MS);
}

static enum status copy_hour(struct flush *f, int64_t hour_ms, struct err *err) {
    BUF_SCOPE(sql);
    put_select(f, hour_ms, &sql);
    char *path = lake_temporary_path(f->lake, f->arena, ".parquet");
    struct engine_copy copy = {
        .sql = buf_cstr(&sql), .path = path, .columns = f->columns, .columns_n = bronze_columns_n, .view = lake_pin_view(f->pin), .time_ms = COPY_TIME_MS};
    struct engine_copied copied;
    struct lake_file *file = &f->files[f->files_n++];
    file->temporary_path = path; /* noted first: a failed copy may leave a part */
    enum status s = engine_copy(f->lake->o.engine, f->arena, &copy, &copied, err);
    if (s) return s;
    if (!copied.rows) {
        f->files_n--;
        f->lake->o.host->fs->unlink(f->lake->o.host->fs->self, path, NULL);
        return OK;
    }
    *file = (struct lake_file){.temporary_path = path,
        .hour_ms = hour_ms,
        .rows = copied.rows,
        .size_bytes = copied.size_bytes,
        .columns = copied.columns,
        .columns_n = copied.columns_n};
    f->rows += copied.rows;
    f->bytes += copied.size_bytes;
    return OK;
}

/* Fewer rows than offsets mean that the log lost some (damage set aside). Tried again a few times, then landed as it is, so that one damaged frame does not
 * hold the stream for ever; said loudly, and kept in the accounts as `missing`. */
static enum status check_rows(struct flush *f, struct err *err) {
    if (f->rows == f->expected) {
        f->stream->short_flushes = 0;
        return OK;
    }
    if (f->rows > f->expected)
        return err_set(err, E_CORRUPT, "stream %s: %" PRIu64 " rows came for %" PRIu64 " offsets", f->stream->name, f->rows, f->expected);
    if (++f->stream->short_flushes <= SHORT_FLUSHES_MAX)
        return err_set(err, E_CORRUPT, "stream %s: %" PRIu64 " rows came for %" PRIu64 " offsets", f->stream->name, f->rows, f->expected);
    log_error(
        "lake", "records are missing in the log and are landed without", LOG_STR("stream", f->stream->name), LOG_INT("missing", f->expected - f->rows), NULL);
    return OK;
}

/* ---- commit ---- */

static enum status same_positions(void *context, const struct table_version *base, struct err *err) {
    const struct flush *f = context;
    for (uint16_t i = 0; i < f->partitions; i++) {
        uint64_t at = table_position(base, f->stream->number, i);
        if (at != f->at[i])
            return err_set(err, E_CONFLICT, "stream %s partition %u: the table is at offset %" PRIu64 ", the flush began at %" PRIu64, f->stream->name, i, at,
                f->start[i]);
    }
    return OK;
}

static enum status add_accounts(void *context, struct ledger *ledger, struct err *err) {
    const struct flush *f = context;
    enum status s = OK;
    for (size_t i = 0; i < f->files_n && !s; i++)
        s = ledger_account_add(ledger, "stream", f->stream->name, f->files[i].hour_ms, "landed", (int64_t)f->files[i].rows, err);
    if (!s && f->rows < f->expected && f->hours_n)
        s = ledger_account_add(ledger, "stream", f->stream->name, f->hours[0], "missing", (int64_t)(f->expected - f->rows), err);
    return s;
}

static enum status commit(struct flush *f, struct err *err) {
    const char **properties = arena_new_array(f->arena, const char *, 2 * (size_t)f->partitions + 1);
    size_t n = 0;
    for (uint16_t i = 0; i < f->partitions; i++) {
        if (!f->end[i]) continue; /* unchanged ones too: the newest summary names them all */
        properties[n++] = arena_printf(f->arena, POSITION_PREFIX "%u.%u", f->stream->number, i);
        properties[n++] = arena_printf(f->arena, "%" PRIu64, f->end[i]);
    }
    struct lake_append append = {.schema = "bronze",
        .name = f->stream->name,
        .columns = f->columns,
        .columns_n = bronze_columns_n,
        .files = f->files,
        .files_n = f->files_n,
        .properties = properties};
    struct commit_check check = {same_positions, f};
    return lake_commit_checked(f->lake, &append, 1, &check, add_accounts, f, err);
}

static void landed(struct flush *f, int64_t started_us) {
    struct lake *lake = f->lake;
    stream_landed(lake->o.log, f->stream->number, f->end, f->partitions);
    lake_mark_dirty(lake); /* views take the new unlanded_from */
    series_add(f->stream->flush_rows, (int64_t)f->rows);
    series_add(f->stream->flush_bytes, (int64_t)f->bytes);
    double seconds = (double)(host_monotonic_us(lake->o.host) - started_us) / 1e6;
    series_observe(f->stream->flush_seconds, seconds);
    log_info("lake", "flushed", LOG_STR("stream", f->stream->name), LOG_INT("rows", f->rows), LOG_INT("files", f->files_n), LOG_INT("bytes", f->bytes),
        LOG_DBL("seconds", seconds), NULL);
}

/* Somebody dropped the table from the catalog. What had landed is theirs to have dropped; what comes lands in a new one. */
static enum status remake_table(struct lake *lake, const struct lake_stream *stream, struct table_version **out, struct err *err) {
    log_warn("lake", "the table of a stream is not in the catalog any more and is made anew", LOG_STR("stream", stream->name), NULL);
    struct lake_stream_options options = stream->options;
    enum status s = lake_add_stream(lake, stream->number, stream->name, &options, err);
    return s ? s : table_get(lake, "bronze", stream->name, out, err);
}

enum status lake_flush_stream(struct lake *lake, struct lake_stream *stream, struct err *err) {
    must(lake->o.log && lake->o.engine);
    ARENA_SCOPE(arena);
    struct flush f = {.lake = lake, .stream = stream, .arena = arena};
    int64_t started_us = host_monotonic_us(lake->o.host);
    struct table_version *v;
    enum status s = table_get(lake, "bronze", stream->name, &v, err);
    if (s == E_NOT_FOUND) s = remake_table(lake, stream, &v, err);
    if (s) return s;
    s = v->metadata ? plan(&f, v, err) : err_set(err, E_CORRUPT, "%s", v->unreadable);
    table_unref(&v);
    if (s || !f.expected) return s;
    s = lake_plan_columns(lake, arena, "bronze", stream->name, bronze_columns, bronze_columns_n, &f.columns, err);
    if (!s) s = lake_pin(lake, &f.pin, err); /* after the plan: covers f.to */
    f.files = arena_new_array(arena, struct lake_file, f.hours_n + 1);
    for (size_t i = 0; i < f.hours_n && !s; i++) s = copy_hour(&f, f.hours[i], err);
    if (!s) s = check_rows(&f, err);
    if (!s) s = commit(&f, err);
    if (!s) landed(&f, started_us);
    lake_unpin(&f.pin);
    const struct fs *fs = lake->o.host->fs;
    for (size_t i = 0; s && i < f.files_n; i++) fs->unlink(fs->self, f.files[i].temporary_path, NULL);
    return s;
}

/* ---- the thread ---- */

static bool is_due(struct lake *lake, struct lake_stream *stream) {
    ARENA_SCOPE(tmp);
    struct stream_state state;
    if (stream->gone || stream_state(lake->o.log, tmp, stream->number, &state, NULL)) return false;
    int64_t age_ms = state.oldest_unlanded_ms ? host_wall_ms(lake->o.host) - state.oldest_unlanded_ms : 0;
    series_set(stream->lag_ms, age_ms > 0 ? age_ms : 0);
    if (!state.unlanded_records) return false;
    if (stream->retry_at_ms && host_monotonic_ms(lake->o.host) < stream->retry_at_ms) return false;
    uint64_t bytes_max = stream->options.flush_bytes ? stream->options.flush_bytes : lake->o.flush_bytes;
    int64_t ms_max = stream->options.flush_ms > 0 ? stream->options.flush_ms : lake->o.flush_ms;
    return state.unlanded_bytes >= bytes_max || age_ms >= ms_max || stream->retry_at_ms;
}

static void failed(struct lake *lake, struct lake_stream *stream, const struct err *err) {
    int64_t next = stream->backoff_ms ? 2 * stream->backoff_ms : BACKOFF_MS_MIN;
    stream->backoff_ms = next < BACKOFF_MS_MAX ? next : BACKOFF_MS_MAX;
    stream->retry_at_ms = host_monotonic_ms(lake->o.host) + stream->backoff_ms;
    series_add(stream->flush_failures, 1);
    log_warn("lake", "a flush failed and will be repeated", LOG_STR("stream", stream->name), LOG_STR("error", err->text),
        LOG_INT("retry_in_ms", stream->backoff_ms), NULL);
}

static enum status flush_now(struct lake *lake, struct lake_stream *stream, struct err *err) {
    WITH_LOCK(&lake->flush_lock);
    if (stream->gone) return OK;
    enum status s = lake_flush_stream(lake, stream, err);
    if (!s) stream->retry_at_ms = stream->backoff_ms = 0;
    return s;
}

/* Streams live until the lake is closed: the list may be used without the lock. */
static struct lake_stream **all_streams(struct lake *lake, struct arena *arena, size_t *n) {
    WITH_LOCK(&lake->lock);
    struct lake_stream **list = arena_new_array(arena, struct lake_stream *, map_count(lake->streams) + 1);
    size_t at = 0;
    struct str key;
    void *value;
    *n = 0;
    while (map_next(lake->streams, &at, &key, &value)) list[(*n)++] = value;
    return list;
}

static bool wait_tick(struct lake *lake) {
    WITH_LOCK(&lake->writer_lock);
    if (!lake->writer_stop) condition_wait_ms(&lake->writer_wake, &lake->writer_lock, TICK_MS);
    return !lake->writer_stop;
}

static void *run(void *argument) {
    struct lake *lake = argument;
    while (wait_tick(lake)) {
        ARENA_SCOPE(tmp);
        size_t n;
        struct lake_stream **streams = all_streams(lake, tmp, &n);
        for (size_t i = 0; i < n && lake->o.log; i++) {
            struct err err = {0};
            if (is_due(lake, streams[i]) && flush_now(lake, streams[i], &err)) failed(lake, streams[i], &err);
        }
        lake_delete_due(lake);
        int64_t now_ms = host_monotonic_ms(lake->o.host);
        if (now_ms >= lake->next_trim_ms) { /* often: a log at its budget refuses events until landed segments are gone */
            struct err err = {0};
            if (maintain_trim(lake, &err)) log_warn("lake", "trimming the log failed and will be repeated", LOG_STR("error", err.text), NULL);
            lake->next_trim_ms = now_ms + TRIM_EVERY_MS;
        }
        if (now_ms < lake->next_maintenance_ms) continue;
        bool more = maintain_run(lake);
        lake->next_maintenance_ms = now_ms + (more ? 0 : MAINTENANCE_EVERY_MS);
    }
    return NULL;
}

void lake_start(struct lake *lake) {
    must(!lake->writer.started);
    lake->writer_stop = false;
    thread_start(&lake->writer, "lake-writer", run, lake);
    publisher_start(lake);
}

void lake_stop(struct lake *lake, bool flush_all) {
    mutex_lock(&lake->writer_lock);
    lake->writer_stop = true;
    condition_broadcast(&lake->writer_wake);
    mutex_unlock(&lake->writer_lock);
    thread_join(&lake->writer);
    thread_join(&lake->publisher);
    struct err err = {0};
    if (flush_all && lake_flush(lake, NULL, &err)) log_warn("lake", "the last flush failed; the log keeps the records", LOG_STR("error", err.text), NULL);
}

enum status lake_flush(struct lake *lake, const char *stream, struct err *err) {
    if (!lake->o.log) return OK;
    ARENA_SCOPE(tmp);
    size_t n;
    struct lake_stream **streams = all_streams(lake, tmp, &n);
    bool found = !stream;
    enum status result = OK;
    for (size_t i = 0; i < n; i++) {
        if (streams[i]->gone || (stream && strcmp(streams[i]->name, stream) != 0)) continue;
        found = true;
        struct err why = {0};
        enum status s = flush_now(lake, streams[i], &why);
        if (s && !result) result = err_set(err, s, "%s", why.text);
    }
    return found ? result : err_set(err, E_NOT_FOUND, "there is no stream %s", stream);
}
