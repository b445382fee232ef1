/* Landing, retention, and what the log says about itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

/* ---- landed ---- */

/* Where the unlanded part begins now; exact to the frame. */
static void relocate(struct stream_log *log, uint16_t stream, uint16_t number, uint64_t landed) {
    log_position from = 0;
    int64_t received_ms = 0;
    enum status s = locate_frame(log, stream, number, landed, &from, &received_ms, NULL);
    WITH_LOCK(&log->state);
    struct stream_info *info = stream_get(log, stream);
    must(info && number < info->partitions_n);
    struct partition *p = info->partitions[number];
    if (s != OK || atomic_load(&p->landed_offset) != landed || p->unlanded_from >= from) return; /* the old, earlier place stays true */
    p->unlanded_from = from;
    p->unlanded_ms = received_ms;
}

/* The floor rises at once; where the unlanded part begins is then looked up outside of the lock, for it may take reads. */
void stream_landed(struct stream_log *log, uint16_t stream, const uint64_t *offsets, uint16_t partitions) {
    must(partitions <= EVENT_PARTITIONS_MAX);
    for (uint16_t i = 0; i < partitions; i++) {
        bool open = false;
        {
            WITH_LOCK(&log->state);
            struct stream_info *info = stream_get(log, stream);
            if (!info) return;
            struct partition *p = partition_make(info, i);
            uint64_t before = atomic_load(&p->landed_offset);
            if (offsets[i] <= before) continue;
            atomic_store(&p->landed_offset, offsets[i]);
            open = p->end_offset > offsets[i];
            if (!open) {
                p->unlanded_ms = 0;
                p->unlanded_from = 0;
            }
        }
        if (open) relocate(log, stream, i, offsets[i]);
    }
}

/* ---- trim ---- */

/* All that this segment has is in the lake, or belongs to forgotten streams. The caller holds `state`. */
static bool segment_landed(const struct stream_log *log, const struct segment *segment) {
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        if (!info || info->forgotten) continue;
        for (uint32_t k = 0; k < info->partitions_n; k++) {
            const struct partition *p = info->partitions[k];
            for (size_t x = 0; x < p->extents_n && p->extents[x]->segment->number <= segment->number; x++)
                if (p->extents[x]->segment == segment && p->extents[x]->end_offset > atomic_load(&p->landed_offset)) return false;
        }
    }
    return true;
}

static uint64_t bytes_used(const struct stream_log *log) {
    uint64_t used = 0;
    for (size_t i = 0; i < log->segments_n; i++) used += log->segment[i]->end;
    return used;
}

/* The oldest segment when it may go, referenced, with a copy of its hours; NULL: not yet. */
static struct segment *trim_candidate(struct stream_log *log, int64_t now_ms, struct arena *arena, struct stream_hour **hours, size_t *n) {
    WITH_LOCK(&log->segments);
    if (log->segments_n < 2) return NULL;
    struct segment *s = log->segment[0];
    must(s != log->active);
    uint64_t headroom = 2 * log->options.segment_bytes; /* makes room before the committer needs it */
    bool forced = log->options.max_bytes && bytes_used(log) + headroom > log->options.max_bytes;
    mutex_lock(&log->state);
    bool over = s->last_ms + log->options.retention_ms <= now_ms;
    bool may_go = s->sealed && (over || forced) && segment_landed(log, s);
    mutex_unlock(&log->state);
    if (!may_go) return NULL;
    *hours = arena_alloc(arena, s->hours_n * sizeof **hours + 1);
    if (s->hours_n) memcpy(*hours, s->hours, s->hours_n * sizeof **hours);
    *n = s->hours_n;
    segment_ref(s);
    return s;
}

/* The .idx goes first: a segment without it is scanned again, an index without its segment would say nothing true. */
static enum status remove_files(struct stream_log *log, uint32_t number, struct err *err) {
    const struct fs *fs = log_fs(log);
    char path[PATH_MAX_BYTES];
    segment_path(log->dir, number, ".idx", path);
    enum status s = fs->unlink(fs->self, path, err);
    if (s != OK && s != E_NOT_FOUND) return s;
    segment_path(log->dir, number, ".seg", path);
    s = fs->unlink(fs->self, path, err);
    if (s == OK) s = fs->sync_dir(fs->self, log->dir, err);
    return s;
}

enum status stream_trim(struct stream_log *log, int64_t now_ms, enum status (*gone)(void *context, const struct stream_hour *hours, size_t n, struct err *err),
    void *context, uint64_t *deleted, struct err *err) {
    WITH_LOCK(&log->trim);
    ARENA_SCOPE(arena);
    struct stream_hour *hours = NULL;
    size_t n = 0;
    *deleted = 0;
    for (struct segment *s; (s = trim_candidate(log, now_ms, arena, &hours, &n)) != NULL;) {
        enum status status = gone ? gone(context, hours, n, err) : OK;
        if (status == OK) {
            mutex_lock(&log->segments);
            mutex_lock(&log->state);
            must(log->segments_n > 1 && log->segment[0] == s);
            extents_drop(log, s);
            log->segments_n--;
            memmove(log->segment, log->segment + 1, log->segments_n * sizeof *log->segment);
            mutex_unlock(&log->state);
            mutex_unlock(&log->segments);
            status = remove_files(log, s->number, err);
            segment_unref(s); /* the list's */
            if (status == OK) ++*deleted;
        }
        segment_unref(s);
        if (status != OK) return status;
    }
    return OK;
}

/* ---- state ---- */

/* Exact in records unless damage left gaps; bytes of a partly landed extent in proportion. */
static void unlanded(const struct partition *p, struct stream_state *out) {
    uint64_t landed = atomic_load(&p->landed_offset);
    for (size_t i = 0; i < p->extents_n; i++) {
        const struct extent *e = p->extents[i];
        if (e->end_offset <= landed || e->records == 0) continue;
        uint64_t open = landed <= e->first_offset ? e->records : e->end_offset - landed;
        if (open > e->records) open = e->records;
        out->unlanded_records += open;
        out->unlanded_bytes += open == e->records ? e->bytes : (uint64_t)((double)e->bytes * (double)open / (double)e->records);
    }
    if (!p->unlanded_ms) return;
    if (!out->oldest_unlanded_ms || p->unlanded_ms < out->oldest_unlanded_ms) out->oldest_unlanded_ms = p->unlanded_ms;
    if (p->unlanded_from < out->unlanded_from) out->unlanded_from = p->unlanded_from;
}

static void copy_epochs(const struct stream_info *info, struct arena *arena, struct stream_state *out) {
    out->epochs = arena_new_array(arena, struct stream_epoch, info->epochs_n + 1);
    out->epochs_n = info->epochs_n;
    for (size_t i = 0; i < info->epochs_n; i++) {
        const struct epoch *e = &info->epochs[i];
        out->epochs[i] = (struct stream_epoch){.number = e->number, .partitions = e->partitions, .started_ms = e->started_ms};
        out->epochs[i].start_offsets = arena_new_array(arena, uint64_t, e->partitions);
        memcpy(out->epochs[i].start_offsets, e->start_offsets, e->partitions * sizeof(uint64_t));
    }
}

enum status stream_state(struct stream_log *log, struct arena *arena, uint16_t stream, struct stream_state *out, struct err *err) {
    must(arena != NULL && out != NULL);
    WITH_LOCK(&log->state);
    const struct stream_info *info = stream_get(log, stream);
    if (!info || info->forgotten) return err_set(err, E_NOT_FOUND, "there is no stream number %u", stream);
    struct stream_state state = {.definition = info->def, .partitions_n = info->partitions_n, .unlanded_from = atomic_load(&log->durable)};
    state.definition.name = arena_strdup(arena, info->def.name);
    state.partitions = arena_new_array(arena, struct partition_state, info->partitions_n + 1u);
    for (uint32_t i = 0; i < info->partitions_n; i++) {
        const struct partition *p = info->partitions[i];
        state.partitions[i] = (struct partition_state){.start_offset = p->extents_n ? p->extents[0]->first_offset : p->end_offset,
            .end_offset = p->end_offset,
            .landed_offset = atomic_load(&p->landed_offset),
            .duplicates = p->duplicates,
            .last_received_ms = p->last_received_ms};
        unlanded(p, &state);
    }
    copy_epochs(info, arena, &state);
    *out = state;
    return OK;
}

log_position stream_durable(struct stream_log *log) { return atomic_load(&log->durable); }

struct log_stats stream_log_stats(struct stream_log *log) {
    struct log_stats stats = {0};
    {
        WITH_LOCK(&log->segments);
        stats.bytes = bytes_used(log);
        stats.segments = log->segments_n;
        for (size_t i = 0; i < log->segments_n; i++) {
            const struct segment *s = log->segment[i];
            bool active = i + 1 == log->segments_n; /* the committer changes its table without a lock */
            stats.dedupe_keys += active ? atomic_load(&log->active_keys) : key_table_count(s->keys) + key_filter_count(s->filter);
            stats.dedupe_memory_bytes += active ? atomic_load(&log->active_key_bytes) : key_table_bytes(s->keys) + key_filter_bytes(s->filter);
        }
    }
    {
        WITH_LOCK(&log->state);
        stats.groups = log->groups;
        stats.records = log->records;
        stats.syncs = log->syncs;
    }
    WITH_LOCK(&log->queue);
    stats.full = atomic_load(&log->trouble) != OK;
    memcpy(stats.full_reason, log->trouble_reason, sizeof stats.full_reason);
    return stats;
}

static void add_hour(struct arena *arena, struct stream_hour **rows, size_t *n, size_t *cap, const struct stream_hour *from) {
    for (size_t i = *n; i-- > 0;) {
        if ((*rows)[i].hour_ms != from->hour_ms || (*rows)[i].stream != from->stream) continue;
        (*rows)[i].received += from->received;
        (*rows)[i].duplicates += from->duplicates;
        (*rows)[i].received_bytes += from->received_bytes;
        return;
    }
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 32;
        struct stream_hour *more = arena_alloc(arena, *cap * sizeof *more);
        if (*n) memcpy(more, *rows, *n * sizeof *more);
        *rows = more;
    }
    (*rows)[*n] = *from;
    (*rows)[(*n)++].segment = 0;
}

enum status stream_hours(struct stream_log *log, struct arena *arena, uint16_t stream, struct stream_hour **out, size_t *n, struct err *err) {
    struct stream_hour *rows = NULL;
    size_t rows_n = 0, cap = 0;
    must(arena != NULL && stream > 0);
    mutex_lock(&log->segments); /* a forgotten stream's hours count as long as its frames are there: the accounts of a stream that follows under its name */
    mutex_lock(&log->state);
    for (size_t i = 0; i < log->segments_n; i++)
        for (size_t k = 0; k < log->segment[i]->hours_n; k++)
            if (log->segment[i]->hours[k].stream == stream) add_hour(arena, &rows, &rows_n, &cap, &log->segment[i]->hours[k]);
    mutex_unlock(&log->state);
    mutex_unlock(&log->segments);
    *out = rows;
    *n = rows_n;
    return OK;
}

/* ---- verify ---- */

/* Goes on behind damage, so that one bad place does not hide the next. */
static void verify_bytes(const struct segment *segment, const struct host_map *map, uint64_t end, struct stream_recovery *out) {
    size_t at = SEGMENT_HEADER_BYTES;
    must(end <= map->n);
    while (at < end) {
        struct frame_header h;
        if (frame_read(map->p + at, end - at, segment->salt, &h)) {
            out->frames++;
            out->groups += h.kind == FRAME_TRAILER;
            if (h.kind == FRAME_RECORDS) out->records += h.count;
            at += h.length;
            continue;
        }
        if (!out->damaged_groups) snprintf(out->damage, sizeof out->damage, "segment %u is damaged at byte %zu", segment->number, at);
        out->damaged_groups++;
        at = frame_resync(map->p, at + 8, end, segment->salt);
    }
}

enum status stream_verify(struct stream_log *log, struct arena *arena, struct stream_recovery *out, struct err *err) {
    struct stream_recovery found = {0};
    int64_t begin_us = host_monotonic_us(&log->host);
    uint32_t last = 0;
    while (true) {
        struct segment *next = NULL;
        uint64_t end = 0;
        {
            WITH_LOCK(&log->segments);
            for (size_t i = 0; i < log->segments_n && !next; i++)
                if (log->segment[i]->number > last) next = log->segment[i];
            if (next) segment_ref(next);
        }
        {
            WITH_LOCK(&log->state); /* the newest one grows meanwhile: up to what is durable now */
            if (next) end = next->end;
        }
        if (!next) break;
        last = next->number;
        struct host_map map;
        must(end >= SEGMENT_HEADER_BYTES);
        enum status s = segment_bytes(next, end, &map, err);
        if (s == OK) {
            verify_bytes(next, &map, end, &found);
            host_map_close(&map);
            found.segments++;
        }
        segment_unref(next);
        if (s != OK) return s;
    }
    found.took_us = host_monotonic_us(&log->host) - begin_us;
    *out = found;
    return OK;
}
