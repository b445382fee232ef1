/* Bin-packing: the small files of one hour become few large ones, ordered by (_received_at, _event_id). Hours that may still get rows are left alone. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "lake/lake_priv.h"

#define COPY_TIME_MS (30 * 60 * 1000)
#define BIN_ROWS_MAX 5000000
/* Tables without partitions have no closed hours: they wait for this many small files, so that each row is not written again every minute. */
#define UNPARTITIONED_FILES_MIN 16
/* An hour counts as closed this long after its end, and when no record of it waits in the log. */
#define CLOSED_AFTER_MS 120000

struct candidate {
    const struct table_file *file;
};

struct bin {
    struct lake *lake;
    struct arena *arena;
    const struct table_version *version;
    const struct table_file **files;
    size_t n;
    uint64_t rows, bytes;
};

static int by_hour_and_size(const void *a, const void *b) {
    const struct table_file *x = ((const struct candidate *)a)->file, *y = ((const struct candidate *)b)->file;
    if (x->hour != y->hour) return x->hour < y->hour ? -1 : 1;
    if (x->size_bytes != y->size_bytes) return x->size_bytes < y->size_bytes ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* Before which hour are all closed: by the clock, and by what the stream has not landed yet. */
static int64_t closed_before(struct lake *lake, const struct table_version *v) {
    int64_t hour = (host_wall_ms(lake->o.host) - CLOSED_AFTER_MS) / HOUR_MS;
    int64_t number = ice_property_int(v->metadata, STREAM_PROPERTY, 0);
    ARENA_SCOPE(tmp);
    struct stream_state state;
    if (!lake->o.log || number <= 0 || number > EVENT_STREAM_MAX || stream_state(lake->o.log, tmp, (uint16_t)number, &state, NULL)) return hour;
    if (state.oldest_unlanded_ms && state.oldest_unlanded_ms / HOUR_MS < hour) hour = state.oldest_unlanded_ms / HOUR_MS;
    return hour;
}

static size_t find_candidates(struct lake *lake, const struct table_version *v, bool open_hours_too, struct candidate *out) {
    const json_t *spec = table_write_spec(v->metadata);
    int source = 0;
    if (!spec || !ice_spec_known(spec, &source)) return 0;
    int64_t spec_id = ice_int(spec, "spec-id", 0), closed = open_hours_too ? INT64_MAX : closed_before(lake, v);
    size_t n = 0;
    for (size_t i = 0; i < v->manifests_n; i++) {
        for (size_t k = 0; k < v->parts[i]->n; k++) {
            const struct table_file *f = &v->parts[i]->files[k];
            bool fits = f->spec_id == spec_id && (source ? f->hour != HOUR_NONE && f->hour < closed : f->hour == HOUR_NONE);
            if (fits && (uint64_t)f->size_bytes < lake->o.target_file_bytes / 4 * 3) out[n++].file = f;
        }
    }
    if (n) qsort(out, n, sizeof(*out), by_hour_and_size);
    return n;
}

static bool has_order(const struct table_version *v) {
    int found = 0;
    for (size_t i = 0; i < v->columns_n; i++) found += !strcmp(v->columns[i].name, "_received_at") || !strcmp(v->columns[i].name, "_event_id");
    return found == 2;
}

static enum status copy_bin(struct bin *b, const char *path, struct engine_copied *copied, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT * FROM ");
    table_put_files(&sql, b->version, b->files, b->n);
    if (has_order(b->version)) buf_text(&sql, " ORDER BY _received_at, _event_id");
    struct engine_copy copy = {
        .sql = buf_cstr(&sql), .path = path, .columns = b->version->columns, .columns_n = b->version->columns_n, .time_ms = COPY_TIME_MS};
    enum status s = engine_copy(b->lake->o.engine, b->arena, &copy, copied, err);
    if (!s && copied->rows != b->rows)
        return err_set(err, E_CORRUPT, "bin-packing %s.%s: %" PRIu64 " rows came out of %" PRIu64, b->version->schema, b->version->name, copied->rows, b->rows);
    return s;
}

static enum status pack(struct bin *b, struct lake_maintained *out, struct err *err) {
    must(b->n >= 2);
    char *path = lake_temporary_path(b->lake, b->arena, ".parquet");
    struct engine_copied copied;
    enum status s = copy_bin(b, path, &copied, err);
    struct map *removed = map_new();
    for (size_t i = 0; i < b->n; i++) map_put(removed, str_of(b->files[i]->uri), (void *)(uintptr_t)b->files[i]);
    if (!s) {
        struct lake_file file = {.temporary_path = path,
            .hour_ms = b->files[0]->hour == HOUR_NONE ? 0 : b->files[0]->hour * HOUR_MS,
            .rows = copied.rows,
            .size_bytes = copied.size_bytes,
            .columns = copied.columns,
            .columns_n = copied.columns_n};
        s = lake_replace(b->lake, b->version->schema, b->version->name, &file, removed, err);
    }
    map_free(&removed);
    if (s) {
        b->lake->o.host->fs->unlink(b->lake->o.host->fs->self, path, NULL);
        return s;
    }
    out->files_before += b->n;
    out->files_after++;
    out->bytes += copied.size_bytes;
    return OK;
}

/* The next bin: files of one hour, smallest first, up to the target size. */
static void fill_bin(struct bin *b, const struct candidate *list, size_t n, size_t *at) {
    int64_t hour = list[*at].file->hour;
    for (; *at < n && list[*at].file->hour == hour; ++*at) {
        const struct table_file *f = list[*at].file;
        bool full = b->bytes + (uint64_t)f->size_bytes > b->lake->o.target_file_bytes || b->rows + (uint64_t)f->records > BIN_ROWS_MAX;
        if (b->n && full) return;
        b->files[b->n++] = f;
        b->bytes += (uint64_t)f->size_bytes;
        b->rows += (uint64_t)f->records;
    }
}

static enum status pack_all(struct lake *lake, const struct table_version *v, const struct candidate *list, size_t n, size_t files_min, size_t bins_max,
    struct lake_maintained *out, bool *more, struct err *err) {
    size_t packed = 0;
    for (size_t at = 0; at < n;) {
        ARENA_SCOPE(arena);
        struct bin b = {.lake = lake, .arena = arena, .version = v, .files = arena_new_array(arena, const struct table_file *, n - at)};
        fill_bin(&b, list, n, &at);
        if (b.n < files_min) continue;
        if (packed++ == bins_max) {
            *more = true;
            return OK;
        }
        if (lake_stopping(lake)) return err_set(err, E_CANCELLED, "the lake is being closed");
        enum status s = pack(&b, out, err);
        if (s) return s;
    }
    return OK;
}

enum status maintain_compact(
    struct lake *lake, const char *schema, const char *name, bool open_hours_too, size_t bins_max, struct lake_maintained *out, bool *more, struct err *err) {
    must(lake->o.engine && out && more);
    struct lake_pin *pin; /* keeps the files that are read */
    struct table_version *v = NULL;
    enum status s = lake_pin(lake, &pin, err);
    if (s) return s;
    s = table_get(lake, schema, name, &v, err);
    if (!s && v->unreadable) s = err_set(err, E_UNSUPPORTED, "%s", v->unreadable);
    struct lake_maintained done = {0};
    *more = false;
    if (!s && ice_property(v->metadata, COPY_PROPERTY)) { /* its files are merged by their versions as it is published */
        *out = done;
    } else if (!s) {
        ARENA_SCOPE(arena);
        struct candidate *list = arena_new_array(arena, struct candidate, v->files_n + 1);
        size_t n = find_candidates(lake, v, open_hours_too, list);
        size_t files_min = n && list[0].file->hour == HOUR_NONE && !open_hours_too ? UNPARTITIONED_FILES_MIN : 2;
        s = pack_all(lake, v, list, n, files_min, bins_max, &done, more, err);
        if (done.files_before)
            log_info("lake", "small files packed", LOG_STR("table", name), LOG_INT("files_before", done.files_before), LOG_INT("files_after", done.files_after),
                NULL);
        if (!s) *out = done;
    }
    table_unref(&v);
    lake_unpin(&pin);
    return s;
}

enum status lake_compact(struct lake *lake, const char *schema, const char *name, bool open_hours_too, struct lake_maintained *out, struct err *err) {
    bool more;
    return maintain_compact(lake, schema, name, open_hours_too, SIZE_MAX, out, &more, err);
}
