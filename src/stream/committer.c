/* The committer: takes what waits, plans it, one write, one sync, publishes, answers. After a failed write or sync nothing in that region is trusted any more:
 * the segment ends at its last good group and appends are refused until a new segment could be made and synced, which is the probe. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "stream/stream_priv.h"

#define SPACE_CHECK_US INT64_C(250000)

static struct metric m_groups = {.name = "cupel_log_groups_total", .help = "Groups written to the log, one sync each.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric m_records = {.name = "cupel_log_records_total", .help = "Events stored in the log.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric m_bytes = {.name = "cupel_log_written_bytes_total", .help = "Bytes of groups written to the log.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric m_failures = {
    .name = "cupel_log_write_failures_total", .help = "Groups whose write or sync failed.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric m_write = {.name = "cupel_log_write_seconds", .help = "Time of one group's write and sync.", .kind = METRIC_HISTOGRAM, .labels = ""};

/* ---- definitions ---- */

/* An epoch is a number of partitions and where each of them stood when it began: consumers that need key order finish the offsets below first. It is in memory
 * at once and in the log with the next group; until then no record of the new partitions can be durable either, for that group carries both. */
static void start_epoch(struct stream_log *log, struct stream_info *info, uint16_t partitions) {
    must(partitions > 0 && partitions <= EVENT_PARTITIONS_MAX);
    (void)partition_make(info, (uint16_t)(partitions - 1));
    struct epoch e = {.number = info->epochs_n ? info->epochs[info->epochs_n - 1].number + 1 : 1, .partitions = partitions};
    int64_t now = host_wall_ms(&log->host);
    e.started_ms = now > log->last_received_ms ? now : log->last_received_ms;
    e.start_offsets = mem_alloc(partitions * sizeof *e.start_offsets);
    for (uint16_t i = 0; i < partitions; i++) e.start_offsets[i] = info->partitions[i]->end_offset;
    info->epochs = mem_realloc(info->epochs, (info->epochs_n + 1) * sizeof *info->epochs);
    info->epochs[info->epochs_n++] = e;
    if (!info->epoch_dirty) log->dirty_epochs++;
    info->epoch_dirty = true;
}

enum status define_apply(struct stream_log *log, const struct stream_definition *d, struct err *err) {
    if (d->number == 0 || d->number > EVENT_STREAM_MAX) return err_set(err, E_INVALID, "stream number %u is not in 1..%d", d->number, EVENT_STREAM_MAX);
    if (d->partitions == 0 || d->partitions > EVENT_PARTITIONS_MAX)
        return err_set(err, E_INVALID, "stream %s: %u partitions are not in 1..%d", d->name ? d->name : "?", d->partitions, EVENT_PARTITIONS_MAX);
    struct stream_info *info = stream_get(log, d->number);
    uint16_t now = info && info->epochs_n ? info->epochs[info->epochs_n - 1].partitions : 0;
    if (info && info->forgotten) return err_set(err, E_CONFLICT, "stream number %u was deleted and is not used again", d->number);
    if (d->partitions < now) return err_set(err, E_INVALID, "stream %s has %u partitions, they can only become more", d->name ? d->name : "?", now);
    WITH_LOCK(&log->state);
    info = stream_make(log, d->number);
    char *name = mem_strdup(d->name ? d->name : "");
    free((char *)info->def.name);
    info->def = *d;
    info->def.name = name;
    info->defined = true;
    if (d->partitions > now) start_epoch(log, info, d->partitions);
    must(info->partitions_n >= info->def.partitions && info->epochs_n > 0);
    return OK;
}

/* Commands enter the group as control frames; what only changes memory is done at once. */
static void plan_commands(struct stream_log *log, struct group *g, struct command *commands) {
    must(group_empty(g));
    for (struct command *c = commands; c; c = c->next) {
        if (c->kind == COMMAND_DEFINE) c->status = define_apply(log, &c->definition, &c->err);
        if (c->kind != COMMAND_FORGET) continue;
        const struct stream_info *info = stream_get(log, c->definition.number);
        if (!info || info->forgotten) {
            c->status = err_set(&c->err, E_NOT_FOUND, "there is no stream number %u", c->definition.number);
            continue;
        }
        uint16_t number = c->definition.number;
        group_add_control(g, FRAME_FORGET, number, str_make(&number, sizeof number));
    }
    if (!log->dirty_epochs) return;
    BUF_SCOPE(state);
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        if (!info || !info->epoch_dirty) continue;
        buf_clear(&state);
        checkpoint_put_stream(info, log->last_received_ms, &state);
        group_add_control(g, FRAME_EPOCH, (uint16_t)i, buf_view(&state));
    }
}

/* A group or a segment's checkpoint has carried them. */
static void epochs_are_durable(struct stream_log *log) {
    if (!log->dirty_epochs) return;
    WITH_LOCK(&log->state);
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        struct stream_info *info = stream_get(log, (uint16_t)i);
        if (info) info->epoch_dirty = false;
    }
    log->dirty_epochs = 0;
}

/* ---- segments ---- */

/* Header and checkpoint in one write: a segment either begins with a state that recovery can start from, or it does not exist. */
static enum status first_write(struct stream_log *log, struct segment *segment, struct group *g, struct err *err) {
    struct segment *previous = active_segment(log);
    BUF_SCOPE(bytes);
    group_encode(log, g, segment->salt);
    struct segment_header header = {.number = segment->number,
        .log_id = log->log_id,
        .first_group = g->number,
        .previous = previous ? previous->number : 0,
        .previous_end = previous ? (uint32_t)previous->end : 0,
        .created_ms = g->received_ms};
    segment_header_seal(&header);
    buf_put(&bytes, &header, sizeof header);
    buf_put(&bytes, g->bytes, g->bytes_n);
    must(bytes.n <= segment->capacity && (!previous || previous->number < segment->number));
    const struct fs *fs = log_fs(log);
    enum status s = fs->pwrite(fs->self, segment->file, bytes.p, bytes.n, 0, err);
    if (s == OK) s = fs->sync_data(fs->self, segment->file, err);
    if (s != OK) return s;
    segment->end = bytes.n;
    segment->first_group = segment->last_group = g->number;
    segment->groups = 1;
    segment->first_ms = segment->last_ms = g->received_ms;
    segment->keys = key_table_new();
    return OK;
}

/* The file that the keeper made ahead, or one made now (the first segment, a very large group, a disk that was full). */
static enum status open_file(struct stream_log *log, uint32_t number, uint64_t bytes, struct segment **out, struct err *err) {
    uint64_t capacity = bytes;
    int file = keeper_take_prepared(log, number, bytes, &capacity);
    if (file < 0) {
        enum status s = segment_room(log, bytes, err);
        if (s == OK) s = segment_create(log, number, bytes, &file, err);
        if (s != OK) return s;
    }
    must(file >= 0 && capacity >= bytes);
    *out = segment_new(log, number, file);
    (*out)->capacity = capacity;
    return OK;
}

/* From here on the segment is the log's end. The one before is finished: `state` is what it ends with, which its index will hold. */
static void make_active(struct stream_log *log, struct segment *segment, struct buf *state) {
    struct segment *previous = active_segment(log);
    mutex_lock(&log->segments);
    if (previous && !previous->end_state) {
        previous->end_state_n = state->n;
        previous->end_state = buf_take(state);
    }
    segments_push(log, segment);
    size_t first = 0; /* segment that can hold an answer which still counts */
    while (first + 1 < log->segments_n && log->segment[first]->last_ms <= segment->first_ms - IDEMPOTENCY_WINDOW_MS) first++;
    idempotency_drop_below(log->idempotency, position_make(log->segment[first]->number, 0));
    mutex_unlock(&log->segments);
    mutex_lock(&log->state);
    must(position_make(segment->number, segment->end) > atomic_load(&log->durable));
    log->groups++;
    log->syncs++;
    atomic_store(&log->durable, position_make(segment->number, segment->end));
    mutex_unlock(&log->state);
    log->need_segment = false;
    epochs_are_durable(log);
    keeper_wake(log);
}

enum status committer_start_segment(struct stream_log *log, uint64_t bytes, struct err *err) {
    struct segment *previous = active_segment(log), *segment = NULL;
    uint32_t number = previous ? previous->number + 1 : 1;
    BUF_SCOPE(state);
    checkpoint_put(log, &state);
    must(!state.failed);
    atomic_store(&log->checkpoint_bytes, state.n);
    if (bytes < log->options.segment_bytes) bytes = log->options.segment_bytes;
    bytes += align8(state.n) + SEGMENT_HEADER_BYTES + 2 * FRAME_HEADER_BYTES;
    if (bytes >= UINT32_MAX) return err_set(err, E_LIMIT, "a segment of %" PRIu64 " bytes is more than the log can address", bytes);
    enum status s = open_file(log, number, bytes, &segment, err);
    if (s != OK) return s;
    struct group *g = group_new();
    group_begin(log, g);
    /* The group that waits for this segment was begun before: the checkpoint in front of it takes its time, or time would go back along the log. */
    int64_t waiting_ms = log->group->received_ms;
    if (waiting_ms > 0 && waiting_ms >= log->last_received_ms && waiting_ms < g->received_ms) g->received_ms = waiting_ms;
    group_add_control(g, FRAME_CHECKPOINT, 0, buf_view(&state));
    s = first_write(log, segment, g, err);
    if (s == OK) {
        log->last_received_ms = g->received_ms;
        make_active(log, segment, &state);
    } else {
        char path[PATH_MAX_BYTES];
        segment_unref(segment);
        segment_path(log->dir, number, ".seg", path);
        (void)log_fs(log)->unlink(log_fs(log)->self, path, NULL); /* no group in it was answered; recovery copes when it stays */
    }
    group_free(&g);
    return s;
}

/* ---- one group ---- */

/* The one write and the one sync of a group, in a new segment when it does not fit the active one. On failure nothing has become visible and the region is
 * lost: what the page cache shows of it after a failed sync says nothing about the disk. */
static enum status write_group(struct stream_log *log, struct group *g, uint64_t *at, struct err *err) {
    struct segment *active = active_segment(log);
    size_t size = group_size(g);
    if (log->need_segment || !active || active->end + size > active->capacity) {
        log->need_segment = true;
        enum status s = committer_start_segment(log, size, err);
        if (s != OK) return s;
        active = active_segment(log);
    }
    must(active != NULL && active->end + size <= active->capacity);
    group_encode(log, g, active->salt);
    must(g->bytes_n == size);
    *at = active->end;
    const struct fs *fs = log_fs(log);
    int64_t begin_us = host_monotonic_us(&log->host);
    enum status s = fs->pwrite(fs->self, active->file, g->bytes, size, *at, err);
    if (s == OK) s = fs->sync_data(fs->self, active->file, err);
    if (s != OK) {
        log->need_segment = true;
        series_add(log->metrics.failures, 1);
        return s;
    }
    series_observe(log->metrics.write, (double)(host_monotonic_us(&log->host) - begin_us) / 1e6);
    series_add(log->metrics.groups, 1);
    series_add(log->metrics.records, (int64_t)g->records);
    series_add(log->metrics.bytes, (int64_t)size);
    return OK;
}

static void publish_frames(struct stream_log *log, struct segment *active, struct group *g, uint64_t at) {
    for (size_t i = 0; i < g->frames_n; i++) {
        const struct frame_plan *f = &g->frames[i];
        struct frame_header h;
        memcpy(&h, g->bytes + f->at, sizeof h);
        must(f->at + h.length <= g->bytes_n && h.group == g->number);
        if (h.kind == FRAME_RECORDS) index_frame(log, active, at + f->at, &h, f->payload_bytes);
        if (h.kind == FRAME_FORGET) stream_forget_mark(log, h.stream);
    }
}

/* The group is synced: make it visible. The only place where the durable position and the partitions' ends move. Keys and answers are entered after
 * the lock is released: only the committer looks into these tables. */
static void publish(struct stream_log *log, struct group *g, uint64_t at) {
    struct segment *active = active_segment(log);
    must(at == active->end && at + g->bytes_n <= active->capacity);
    must(g->received_ms >= log->last_received_ms && g->number > active->last_group);
    mutex_lock(&log->state);
    publish_frames(log, active, g, at);
    active->end = at + g->bytes_n;
    active->last_group = g->number;
    active->groups++;
    log->groups++;
    log->syncs++;
    log->records += g->records;
    log->last_received_ms = g->received_ms;
    atomic_store(&log->durable, position_make(active->number, active->end));
    for (size_t i = 0; i < g->frames_n; i++)
        if (g->frames[i].partition) watch_collect(log, g->frames[i].partition);
    mutex_unlock(&log->state);
    for (size_t i = 0; i < g->planned_n; i++) {
        const struct planned *p = &g->planned[i];
        if (p->candidate == UINT32_MAX) continue;
        struct key_place place = {(uint32_t)(at + g->frames[p->frame].at), p->index, p->raw_at};
        key_table_put(active->keys, g->candidates[p->candidate].hash.lo, place);
    }
    for (size_t i = 0; i < g->frames_n; i++) {
        if (g->frames[i].header.kind != FRAME_IDEMPOTENCY) continue;
        struct frame_header h;
        memcpy(&h, g->bytes + g->frames[i].at, sizeof h);
        bool sound = idempotency_index_frame(log, active, at + g->frames[i].at, g->bytes + g->frames[i].at, &h);
        must(sound);
    }
    atomic_store_explicit(&log->active_keys, key_table_count(active->keys), memory_order_relaxed);
    atomic_store_explicit(&log->active_key_bytes, key_table_bytes(active->keys), memory_order_relaxed);
    epochs_are_durable(log);
    if (active->end > active->capacity / 2 && at <= active->capacity / 2) keeper_wake(log);
}

static void answer_all(struct group *g, enum status status, const struct err *err) {
    for (size_t i = 0; i < g->answers_n; i++) {
        struct answer *a = &g->answers[i];
        struct stream_append *request = a->request;
        if (a->replay_of) {
            const struct answer *first = &g->answers[a->replay_of - 1];
            a->result.accepted = first->result.accepted;
            a->result.duplicates = first->result.duplicates;
            a->result.replayed = true;
        }
        if (status != OK && (a->planned || a->replay_of)) {
            a->result.status = status;
            a->result.err = *err;
        }
        must(request->done != NULL);
        request->done(request->context, &a->result);
    }
}

/* Requests that came between the failure and its noticing: nothing of them was tried. */
static void refuse_requests(struct stream_append *list, enum status status, const struct err *err) {
    for (struct stream_append *r = list, *next; r; r = next) {
        next = r->next;
        struct stream_result result = {.status = status, .err = *err, .ids = r->ids};
        r->done(r->context, &result);
    }
}

/* One round: plan, write, publish, answer. A failure answers the whole group and stops intake until the disk has proven itself. */
static void commit(struct stream_log *log, struct taken *taken) {
    must(atomic_load(&log->trouble) == OK);
    struct group *g = log->group;
    struct err err = {.status = OK};
    uint64_t at = 0;
    group_begin(log, g);
    plan_commands(log, g, taken->commands);
    group_plan(log, g, taken->requests);
    enum status s = OK;
    if (!group_empty(g)) {
        s = write_group(log, g, &at, &err);
        if (s == OK) {
            publish(log, g, at);
        } else {
            group_undo(log, g);
            queue_set_trouble(log, s, err.text);
        }
    }
    queue_finish_commands(log, taken->commands, s, &err);
    answer_all(g, s, &err);
}

/* ---- trouble ---- */

static enum status check_space(struct stream_log *log, struct err *err) {
    uint64_t free_now = 0;
    enum status s = log_fs(log)->free_bytes(log_fs(log)->self, log->dir, &free_now, err);
    if (s == OK && free_now < log->options.reserve_bytes)
        s = err_set(err, E_NO_SPACE, "the disk of the log has %" PRIu64 " MB free, log.reserve_bytes is %" PRIu64 " MB", free_now / 1000000,
            log->options.reserve_bytes / 1000000);
    return s;
}

/* Enters and leaves trouble for reasons outside of a group's write. */
static void watch_over_disk(struct stream_log *log) {
    struct err err;
    int64_t now = host_monotonic_us(&log->host);
    bool trouble = atomic_load(&log->trouble) != OK;
    if (now - (trouble ? log->probed_us : log->space_checked_us) < (trouble ? log->options.probe_ms * 1000 : SPACE_CHECK_US)) return;
    log->probed_us = log->space_checked_us = now;
    enum status s = check_space(log, &err);
    if (s == OK && trouble && (log->need_segment || !active_segment(log))) s = committer_start_segment(log, 0, &err);
    if (s != OK) {
        queue_set_trouble(log, s, err.text);
    } else if (trouble) {
        queue_set_trouble(log, OK, "");
    }
}

void committer_metrics(struct stream_log *log) {
    must(log->metrics.groups == NULL);
    log->metrics =
        (struct log_metrics){metric_series(&m_groups), metric_series(&m_records), metric_series(&m_bytes), metric_series(&m_failures), metric_series(&m_write)};
}

void *committer_run(void *argument) {
    struct stream_log *log = argument;
    struct taken taken;
    while (queue_take(log, &taken)) {
        watch_over_disk(log);
        struct err err;
        if (queue_trouble(log, &err) != OK) {
            queue_finish_commands(log, taken.commands, err.status, &err);
            refuse_requests(taken.requests, err.status, &err);
        } else if (taken.requests || taken.commands) {
            commit(log, &taken);
        }
        watch_run(log);
    }
    return NULL;
}
