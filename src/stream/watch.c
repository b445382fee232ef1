/* Watchers: long polls that wait for a partition to grow. A ticket is generation and slot, so that an old ticket never meets a new watcher. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

static uint32_t slot_take(struct stream_log *log) {
    if (log->watchers_free) {
        uint32_t slot = log->watchers_free - 1;
        must(log->watchers[slot].state == WATCH_FREE);
        log->watchers_free = log->watchers[slot].next;
        return slot;
    }
    if (log->watchers_n == log->watchers_cap) {
        log->watchers_cap = log->watchers_cap ? log->watchers_cap * 2 : 64;
        log->watchers = mem_realloc(log->watchers, log->watchers_cap * sizeof *log->watchers);
    }
    must(log->watchers_n < log->watchers_cap && log->watchers_n < UINT32_MAX - 1);
    log->watchers[log->watchers_n] = (struct watcher){.generation = 0};
    return log->watchers_n++;
}

static void slot_free(struct stream_log *log, uint32_t slot) {
    struct watcher *w = &log->watchers[slot];
    must(w->state != WATCH_FREE);
    w->state = WATCH_FREE;
    w->generation++;
    w->next = log->watchers_free;
    log->watchers_free = slot + 1;
}

static void make_ready(struct stream_log *log, uint32_t slot) {
    if (log->ready_n == log->ready_cap) {
        log->ready_cap = log->ready_cap ? log->ready_cap * 2 : 64;
        log->ready = mem_realloc(log->ready, log->ready_cap * sizeof *log->ready);
    }
    must(log->watchers[slot].state == WATCH_ARMED);
    log->watchers[slot].state = WATCH_READY;
    log->ready[log->ready_n++] = slot;
}

uint64_t stream_watch(struct stream_log *log, uint16_t stream, uint16_t partition, uint64_t offset, void (*f)(void *context), void *context) {
    must(f != NULL);
    bool at_once = false;
    uint64_t ticket;
    {
        WITH_LOCK(&log->state);
        struct stream_info *info = stream_get(log, stream);
        struct partition *p = info && partition < info->partitions_n ? info->partitions[partition] : NULL;
        uint32_t slot = slot_take(log);
        struct watcher *w = &log->watchers[slot];
        *w = (struct watcher){
            .generation = w->generation, .stream = stream, .partition = partition, .offset = offset, .f = f, .context = context, .state = WATCH_ARMED};
        at_once = !p || info->forgotten || p->end_offset > offset; /* nothing to wait for: the reader finds out by itself */
        if (at_once) {
            make_ready(log, slot);
        } else {
            w->next = p->watchers;
            p->watchers = slot + 1;
        }
        ticket = (uint64_t)w->generation << 32 | (slot + 1);
    }
    if (at_once) queue_wake(log);
    return ticket;
}

static void unlink_armed(struct stream_log *log, uint32_t slot) {
    const struct watcher *w = &log->watchers[slot];
    struct stream_info *info = stream_get(log, w->stream);
    must(info && w->partition < info->partitions_n);
    uint32_t *at = &info->partitions[w->partition]->watchers;
    while (*at != slot + 1) {
        must(*at != 0);
        at = &log->watchers[*at - 1].next;
    }
    *at = w->next;
}

bool stream_unwatch(struct stream_log *log, uint64_t ticket) {
    WITH_LOCK(&log->state);
    uint32_t slot = (uint32_t)ticket - 1, generation = (uint32_t)(ticket >> 32);
    if (slot >= log->watchers_n || log->watchers[slot].generation != generation || log->watchers[slot].state == WATCH_FREE) return false;
    if (log->watchers[slot].state == WATCH_RUNNING) {
        if (pthread_equal(pthread_self(), log->committer.handle)) return false; /* called from f itself */
        while (log->watchers[slot].generation == generation && log->watchers[slot].state == WATCH_RUNNING) condition_wait(&log->watcher_done, &log->state);
        return false;
    }
    if (log->watchers[slot].state == WATCH_ARMED) unlink_armed(log, slot);
    if (log->watchers[slot].state == WATCH_READY) {
        for (size_t i = 0; i < log->ready_n; i++)
            if (log->ready[i] == slot) log->ready[i] = log->ready[--log->ready_n];
    }
    slot_free(log, slot);
    return true;
}

void watch_collect(struct stream_log *log, struct partition *p) {
    uint32_t *at = &p->watchers;
    while (*at) {
        uint32_t slot = *at - 1;
        must(slot < log->watchers_n);
        if (p->end_offset > log->watchers[slot].offset) {
            *at = log->watchers[slot].next;
            make_ready(log, slot);
        } else {
            at = &log->watchers[slot].next;
        }
    }
}

void watch_run(struct stream_log *log) {
    mutex_lock(&log->state);
    while (log->ready_n) {
        uint32_t slot = log->ready[--log->ready_n];
        struct watcher *w = &log->watchers[slot];
        must(w->state == WATCH_READY);
        w->state = WATCH_RUNNING;
        void (*f)(void *) = w->f;
        void *context = w->context;
        mutex_unlock(&log->state);
        f(context);
        mutex_lock(&log->state);
        slot_free(log, slot);
        condition_broadcast(&log->watcher_done);
    }
    mutex_unlock(&log->state);
}
