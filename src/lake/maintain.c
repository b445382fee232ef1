/* Maintenance of the lake, one round a minute: retention, bin-packing, expiry, trimming of the log, orphans. Each step stands alone: what fails is logged and
 * comes again with the next round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "lake/lake_priv.h"

#define BINS_PER_ROUND 4
#define EXPIRE_EVERY_ROUNDS 30
#define ORPHANS_EVERY_ROUNDS (24 * 60)
#define ORPHAN_AGE_MS (24 * HOUR_MS)

/* ---- trimming the log ---- */

struct trim {
    struct lake *lake;
    struct arena *arena;
    struct ledger_stream *streams;
    size_t streams_n;
    const struct stream_hour *hours;
    size_t hours_n;
};

static const char *stream_name(const struct trim *t, uint16_t number) {
    for (size_t i = 0; i < t->streams_n; i++)
        if (t->streams[i].number == number) return t->streams[i].name;
    return NULL;
}

static enum status fold(void *context, struct ledger *ledger, struct err *err) {
    struct trim *t = context;
    char key[32];
    snprintf(key, sizeof(key), "%u", t->hours[0].segment);
    struct str seen;
    enum status s = ledger_kv_get(ledger, t->arena, "lake.segments_folded", key, &seen, err);
    if (s != E_NOT_FOUND) return s; /* a crash came between the fold and the deletion: counted already */
    s = ledger_kv_put(ledger, "lake.segments_folded", key, STR("1"), err);
    for (size_t i = 0; i < t->hours_n && !s; i++) {
        const struct stream_hour *h = &t->hours[i];
        const char *name = stream_name(t, h->stream);
        if (!name) continue;
        if (h->received) s = ledger_account_add(ledger, "stream", name, h->hour_ms, "received", (int64_t)h->received, err);
        if (!s && h->duplicates) s = ledger_account_add(ledger, "stream", name, h->hour_ms, "duplicates", (int64_t)h->duplicates, err);
    }
    return s;
}

/* A pinned view may still have to read this segment: it stays until the pin is gone. */
static bool needed_by_pin(struct lake *lake, uint32_t segment) {
    WITH_LOCK(&lake->lock);
    for (const struct shared_view *v = lake->views; v; v = v->next)
        if ((v != lake->view || v->refs > 1) && (v->log_from >> 32) <= segment) return true;
    return false;
}

static enum status segment_gone(void *context, const struct stream_hour *hours, size_t n, struct err *err) {
    struct trim *t = context;
    if (!n) return OK;
    if (needed_by_pin(t->lake, hours[0].segment)) return err_set(err, E_BUSY, "segment %u is still read by a query", hours[0].segment);
    t->hours = hours;
    t->hours_n = n;
    return ledger_transaction(t->lake->o.ledger, fold, t, err);
}

enum status maintain_trim(struct lake *lake, struct err *err) {
    if (!lake->o.log) return OK;
    ARENA_SCOPE(arena);
    struct trim t = {.lake = lake, .arena = arena};
    enum status s = ledger_stream_list(lake->o.ledger, arena, true, &t.streams, &t.streams_n, err);
    uint64_t deleted = 0;
    if (!s) s = stream_trim(lake->o.log, host_wall_ms(lake->o.host), segment_gone, &t, &deleted, err);
    if (deleted) {
        lake_mark_dirty(lake); /* no coming view starts in a segment that is gone */
        log_info("lake", "log segments deleted", LOG_INT("segments", deleted), NULL);
    }
    return s == E_BUSY ? OK : s;
}

/* ---- retention ---- */

enum status maintain_retention(struct lake *lake, const struct lake_stream *stream, struct err *err) {
    if (stream->options.retention_ms <= 0 || stream->gone) return OK;
    struct table_version *v;
    enum status s = table_get(lake, "bronze", stream->name, &v, err);
    if (s) return s;
    int64_t before = host_wall_ms(lake->o.host) - stream->options.retention_ms;
    struct map *removed = map_new();
    for (size_t i = 0; !v->unreadable && i < v->manifests_n; i++) {
        for (size_t k = 0; k < v->parts[i]->n; k++) {
            struct table_file *f = &v->parts[i]->files[k];
            if (f->hour != HOUR_NONE && (f->hour + 1) * HOUR_MS <= before) map_put(removed, str_of(f->uri), f);
        }
    }
    size_t n = map_count(removed);
    if (n) {
        struct table_change change = {.schema = "bronze", .name = stream->name, .removed = removed, .operation = "delete"};
        bool uncertain;
        s = table_commit(lake, &change, 1, NULL, NULL, &uncertain, err);
        if (!s) log_info("lake", "files over their retention were taken out of the table", LOG_STR("stream", stream->name), LOG_INT("files", n), NULL);
    }
    map_free(&removed);
    table_unref(&v);
    return s;
}

/* ---- one round ---- */

static void gauges(const struct table_version *v) {
    if (!v->metadata) return;
    char name[300];
    snprintf(name, sizeof(name), "%s.%s", v->schema, v->name);
    series_set(metric_series(&metric_files, name), (int64_t)v->files_n);
    series_set(metric_series(&metric_table_bytes, name), (int64_t)v->bytes);
    series_set(metric_series(&metric_snapshots, name), (int64_t)json_array_size(json_object_get(v->metadata, "snapshots")));
}

static bool is_ours(const struct lake *lake, const struct table_version *v) {
    size_t n = strlen(lake->dir);
    return v->metadata && !v->unreadable && ice_version(v->metadata) == 2 && !strncmp(v->dir, lake->dir, n) && v->dir[n] == '/';
}

static void note(const struct table_version *v, const char *what, enum status s, const struct err *err) {
    if (!s || s == E_CONFLICT || s == E_NOT_FOUND || s == E_CANCELLED) return; /* others were faster: the next round looks again */
    log_warn("lake", "maintenance failed and will be repeated", LOG_STR("step", what), LOG_STR("table", v ? v->name : ""), LOG_STR("error", err->text), NULL);
}

bool lake_stopping(struct lake *lake) {
    WITH_LOCK(&lake->writer_lock);
    return lake->writer_stop;
}

static bool maintain_table(struct lake *lake, const struct table_version *v, bool expire) {
    struct err err = {0};
    bool more = false;
    struct lake_maintained done = {0};
    if (lake->o.engine) note(v, "bin-packing", maintain_compact(lake, v->schema, v->name, false, BINS_PER_ROUND, &done, &more, &err), &err);
    if (expire) note(v, "expiry", lake_expire(lake, v->schema, v->name, 0, &done, &err), &err);
    return more;
}

bool maintain_run(struct lake *lake) {
    bool more = false;
    ARENA_SCOPE(tmp);
    struct table_version **all;
    size_t n;
    struct err err = {0};
    uint64_t round = lake->maintenance_rounds++;
    enum status s = table_all(lake, tmp, &all, &n, &err);
    note(NULL, "listing", s, &err);
    for (size_t i = 0; !s && i < n; i++) {
        gauges(all[i]);
        if (!lake_stopping(lake) && is_ours(lake, all[i]))
            more |= maintain_table(lake, all[i], round % EXPIRE_EVERY_ROUNDS == 0 || maintain_has_too_many_snapshots(all[i]));
        table_unref(&all[i]);
    }
    maintain_all_retention(lake);
    note(NULL, "trimming the log", maintain_trim(lake, &err), &err);
    uint64_t deleted = 0;
    if (round % ORPHANS_EVERY_ROUNDS == 0) note(NULL, "orphans", maintain_orphans(lake, host_wall_ms(lake->o.host) - ORPHAN_AGE_MS, &deleted, &err), &err);
    if (deleted) log_info("lake", "files that no snapshot names were deleted", LOG_INT("files", deleted), NULL);
    return more;
}

void maintain_all_retention(struct lake *lake) {
    ARENA_SCOPE(tmp);
    mutex_lock(&lake->lock);
    struct lake_stream **list = arena_new_array(tmp, struct lake_stream *, map_count(lake->streams) + 1);
    size_t at = 0, n = 0;
    struct str key;
    void *value;
    while (map_next(lake->streams, &at, &key, &value)) list[n++] = value;
    mutex_unlock(&lake->lock);
    for (size_t i = 0; i < n; i++) {
        struct err err = {0};
        note(NULL, "retention", maintain_retention(lake, list[i], &err), &err);
    }
}
