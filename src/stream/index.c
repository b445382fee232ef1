/* What is where: streams, partitions, extents with their sparse index, hours. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

#define HOUR_MS INT64_C(3600000)

struct stream_info *stream_get(const struct stream_log *log, uint16_t number) {
    if (number == 0 || number > EVENT_STREAM_MAX) return NULL;
    return atomic_load_explicit(&log->streams[number], memory_order_acquire);
}

struct stream_info *stream_make(struct stream_log *log, uint16_t number) {
    must(number > 0 && number <= EVENT_STREAM_MAX);
    struct stream_info *info = stream_get(log, number);
    if (info) return info;
    info = mem_zalloc(sizeof *info);
    info->def.number = number;
    info->def.name = mem_strdup("");
    info->partitions = mem_zalloc(EVENT_PARTITIONS_MAX * sizeof *info->partitions);
    atomic_store_explicit(&log->streams[number], info, memory_order_release);
    return info;
}

static void partition_free(struct partition *partition) {
    for (size_t i = 0; i < partition->extents_n; i++) extent_free(partition->extents[i]);
    free(partition->extents);
    free(partition);
}

void stream_info_free(struct stream_info *info) {
    must(info != NULL);
    for (uint32_t i = 0; i < info->partitions_n; i++) partition_free(info->partitions[i]);
    for (size_t i = 0; i < info->epochs_n; i++) free(info->epochs[i].start_offsets);
    free(info->partitions);
    free(info->epochs);
    free((char *)info->def.name);
    free(info);
}

struct partition *partition_make(struct stream_info *info, uint16_t number) {
    must(number < EVENT_PARTITIONS_MAX);
    if (number >= info->partitions_n) {
        for (uint16_t i = info->partitions_n; i <= number; i++) {
            struct partition *p = mem_zalloc(sizeof *p);
            p->stream = info->def.number;
            p->number = i;
            info->partitions[i] = p;
        }
        info->partitions_n = (uint16_t)(number + 1);
    }
    return info->partitions[number];
}

void extent_free(struct extent *extent) {
    free(extent->spots);
    free(extent);
}

struct extent *extent_add(struct partition *p, struct segment *segment) {
    must(p->extents_n == 0 || p->extents[p->extents_n - 1]->segment->number < segment->number);
    if (p->extents_n == p->extents_cap) {
        p->extents_cap = p->extents_cap ? p->extents_cap * 2 : 4;
        p->extents = mem_realloc(p->extents, p->extents_cap * sizeof *p->extents);
    }
    struct extent *e = mem_zalloc(sizeof *e);
    e->segment = segment;
    p->extents[p->extents_n++] = e;
    return e;
}

void extents_drop(struct stream_log *log, const struct segment *segment) {
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        struct stream_info *info = stream_get(log, (uint16_t)i);
        for (uint32_t k = 0; info && k < info->partitions_n; k++) {
            struct partition *p = info->partitions[k];
            size_t at = 0;
            while (at < p->extents_n && p->extents[at]->segment != segment) at++;
            if (at == p->extents_n) continue;
            must(at + 1 == p->extents_n || p->extents[at + 1]->segment != segment);
            extent_free(p->extents[at]);
            p->extents_n--;
            memmove(p->extents + at, p->extents + at + 1, (p->extents_n - at) * sizeof *p->extents);
        }
    }
}

static void spot_add(struct extent *e, uint64_t offset, uint32_t at) {
    if (e->spots_n == e->spots_cap) {
        e->spots_cap = e->spots_cap ? e->spots_cap * 2 : 4;
        e->spots = mem_realloc(e->spots, e->spots_cap * sizeof *e->spots);
    }
    e->spots[e->spots_n++] = (struct spot){.offset = offset, .at = at};
    e->bytes_since = 0;
}

/* The distance rule keeps look-ups of slow partitions short: without it their next frame could be anywhere in a segment full of others. */
static void extent_enter(struct extent *e, uint64_t at, const struct frame_header *h, uint64_t payload_bytes) {
    must(at + h->length <= UINT32_MAX);
    if (e->spots_n == 0) {
        e->first_offset = h->base_offset;
        e->first_at = (uint32_t)at;
        e->first_ms = h->received_ms;
        spot_add(e, h->base_offset, (uint32_t)at);
    } else if (e->bytes_since >= SPOT_BYTES || at - e->spots[e->spots_n - 1].at >= SPOT_DISTANCE) {
        spot_add(e, h->base_offset, (uint32_t)at);
    }
    e->bytes_since += h->length;
    e->end_offset = h->base_offset + h->count;
    e->end_at = (uint32_t)(at + h->length);
    e->last_ms = h->received_ms;
    e->records += h->count;
    e->bytes += payload_bytes;
    e->duplicates += h->duplicates;
}

struct stream_hour *hour_row(struct segment *segment, uint16_t stream, int64_t received_ms) {
    must(received_ms >= 0);
    int64_t hour = received_ms - received_ms % HOUR_MS;
    for (size_t i = segment->hours_n; i-- > 0;) { /* time does not go back: the hour is near the end */
        if (segment->hours[i].hour_ms < hour) break;
        if (segment->hours[i].stream == stream) return &segment->hours[i];
    }
    if (segment->hours_n == segment->hours_cap) {
        segment->hours_cap = segment->hours_cap ? segment->hours_cap * 2 : 8;
        segment->hours = mem_realloc(segment->hours, segment->hours_cap * sizeof *segment->hours);
    }
    struct stream_hour *row = &segment->hours[segment->hours_n++];
    *row = (struct stream_hour){.stream = stream, .hour_ms = hour, .segment = segment->number};
    return row;
}

void index_frame(struct stream_log *log, struct segment *segment, uint64_t at, const struct frame_header *h, uint64_t payload_bytes) {
    must(h->kind == FRAME_RECORDS);
    struct partition *p = partition_make(stream_make(log, h->stream), h->partition);
    struct extent *e = p->extents_n ? p->extents[p->extents_n - 1] : NULL;
    if (!e || e->segment != segment) e = extent_add(p, segment);
    extent_enter(e, at, h, payload_bytes);
    if (h->count && !p->unlanded_ms && h->base_offset + h->count > p->landed_offset) {
        p->unlanded_ms = h->received_ms;
        p->unlanded_from = position_make(segment->number, at);
    }
    if (p->end_offset < h->base_offset + h->count) p->end_offset = h->base_offset + h->count;
    if (p->next_offset < p->end_offset) p->next_offset = p->end_offset;
    p->duplicates += h->duplicates;
    if (h->count && p->last_received_ms < h->received_ms) p->last_received_ms = h->received_ms;
    struct stream_hour *row = hour_row(segment, h->stream, h->received_ms);
    row->received += h->count;
    row->duplicates += h->duplicates;
    row->received_bytes += payload_bytes;
    segment->records += h->count;
    if (!segment->first_ms) segment->first_ms = h->received_ms;
    segment->last_ms = h->received_ms;
}

struct extent *extent_for(const struct partition *p, uint64_t offset) {
    size_t low = 0, high = p->extents_n; /* first extent that begins beyond offset */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->extents[middle]->first_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? p->extents[low - 1] : NULL;
}

const struct spot *spot_for(const struct extent *e, uint64_t offset) {
    must(e->spots_n > 0);
    size_t low = 0, high = e->spots_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (e->spots[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return &e->spots[low ? low - 1 : 0];
}
