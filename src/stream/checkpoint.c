/* Checkpoints: the state of streams that must outlive the segments it came from: epochs, ends, duplicates, forgotten numbers. Layout: docs/formats/log.md. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

static void put_stream(const struct stream_info *info, struct buf *out) {
    must(info->def.number > 0);
    buf_u16(out, info->def.number);
    buf_u16(out, info->partitions_n);
    buf_u32(out, (uint32_t)info->epochs_n);
    for (size_t i = 0; i < info->epochs_n; i++) {
        const struct epoch *e = &info->epochs[i];
        buf_u32(out, e->number);
        buf_u16(out, e->partitions);
        buf_u16(out, 0);
        buf_u64(out, (uint64_t)e->started_ms);
        for (uint16_t p = 0; p < e->partitions; p++) buf_u64(out, e->start_offsets[p]);
    }
    for (uint16_t p = 0; p < info->partitions_n; p++) {
        buf_u64(out, info->partitions[p]->end_offset);
        buf_u64(out, info->partitions[p]->duplicates);
        buf_u64(out, (uint64_t)info->partitions[p]->last_received_ms);
    }
}

void checkpoint_put_stream(const struct stream_info *info, int64_t last_received_ms, struct buf *out) {
    buf_u64(out, (uint64_t)last_received_ms);
    buf_u32(out, 1);
    put_stream(info, out);
    buf_u32(out, 0);
}

void checkpoint_put(const struct stream_log *log, struct buf *out) {
    uint32_t kept = 0, forgotten = 0;
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        if (info && info->forgotten) forgotten++;
        if (info && !info->forgotten) kept++;
    }
    must(kept + forgotten <= EVENT_STREAM_MAX);
    buf_u64(out, (uint64_t)log->last_received_ms);
    buf_u32(out, kept);
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        if (info && !info->forgotten) put_stream(info, out);
    }
    buf_u32(out, forgotten);
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        if (info && info->forgotten) buf_u16(out, (uint16_t)i);
    }
}

/* ---- reading: sticky failure ---- */

struct cut {
    const char *p;
    size_t n;
    bool bad;
};

static uint64_t cut_number(struct cut *c, size_t bytes) {
    uint64_t v = 0;
    must(bytes <= sizeof v);
    if (c->n < bytes) {
        c->bad = true;
        c->n = 0;
        return 0;
    }
    memcpy(&v, c->p, bytes);
    c->p += bytes;
    c->n -= bytes;
    return v;
}

static void apply_epoch(struct stream_info *info, struct cut *c) {
    struct epoch e = {.number = (uint32_t)cut_number(c, 4), .partitions = (uint16_t)cut_number(c, 2)};
    (void)cut_number(c, 2);
    e.started_ms = (int64_t)cut_number(c, 8);
    if (e.partitions == 0 || e.partitions > EVENT_PARTITIONS_MAX || c->n < e.partitions * 8u) {
        c->bad = true;
        return;
    }
    must(info->def.number > 0);
    bool known = info->epochs_n && info->epochs[info->epochs_n - 1].number >= e.number;
    const char *starts = c->p;
    c->p += e.partitions * 8u;
    c->n -= e.partitions * 8u;
    if (known) return;
    e.start_offsets = mem_alloc(e.partitions * sizeof *e.start_offsets);
    memcpy(e.start_offsets, starts, e.partitions * sizeof *e.start_offsets);
    info->epochs = mem_realloc(info->epochs, (info->epochs_n + 1) * sizeof *info->epochs);
    info->epochs[info->epochs_n++] = e;
    (void)partition_make(info, (uint16_t)(e.partitions - 1));
}

static void apply_partition(struct partition *p, struct cut *c) {
    uint64_t end = cut_number(c, 8), duplicates = cut_number(c, 8);
    int64_t last_ms = (int64_t)cut_number(c, 8);
    if (c->bad) return;
    if (end > EVENT_OFFSET_MAX) {
        c->bad = true;
        return;
    }
    must(p->number < EVENT_PARTITIONS_MAX);
    if (p->end_offset < end) p->end_offset = end;
    if (p->next_offset < p->end_offset) p->next_offset = p->end_offset;
    if (p->duplicates < duplicates) p->duplicates = duplicates;
    if (p->last_received_ms < last_ms) p->last_received_ms = last_ms;
}

static void apply_stream(struct stream_log *log, struct cut *c) {
    uint16_t number = (uint16_t)cut_number(c, 2), partitions = (uint16_t)cut_number(c, 2);
    uint32_t epochs = (uint32_t)cut_number(c, 4);
    if (c->bad || number == 0 || number > EVENT_STREAM_MAX || partitions > EVENT_PARTITIONS_MAX) {
        c->bad = true;
        return;
    }
    struct stream_info *info = stream_make(log, number);
    for (uint32_t i = 0; i < epochs && !c->bad; i++) apply_epoch(info, c);
    for (uint16_t i = 0; i < partitions && !c->bad; i++) apply_partition(partition_make(info, i), c);
}

void stream_forget_mark(struct stream_log *log, uint16_t number) {
    must(number > 0);
    struct stream_info *info = stream_get(log, number);
    if (info) info->forgotten = true;
}

enum status checkpoint_apply(struct stream_log *log, struct str bytes, struct err *err) {
    struct cut c = {bytes.p, bytes.n, false};
    int64_t last_ms = (int64_t)cut_number(&c, 8);
    uint32_t streams = (uint32_t)cut_number(&c, 4);
    for (uint32_t i = 0; i < streams && !c.bad; i++) apply_stream(log, &c);
    uint32_t forgotten = (uint32_t)cut_number(&c, 4);
    for (uint32_t i = 0; i < forgotten && !c.bad; i++) {
        uint16_t number = (uint16_t)cut_number(&c, 2);
        if (number > 0 && number <= EVENT_STREAM_MAX) stream_forget_mark(log, number);
    }
    if (c.bad || last_ms < 0 || last_ms >= INT64_C(1) << 48) return err_set(err, E_CORRUPT, "a checkpoint of the log is not as written");
    if (log->last_received_ms < last_ms) log->last_received_ms = last_ms;
    return OK;
}
