/* Reading: find the extent and the nearest index entry under the lock, then walk frames with plain reads, the segment held by a reference. */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "stream/stream_priv.h"

#define CHUNK_FIRST_BYTES (16u << 10)
#define CHUNK_BYTES (256u << 10)

/* One walk through what a segment has of one partition. */
struct walk {
    struct segment *segment; /* referenced */
    uint16_t stream, partition;
    uint64_t at, stop; /* next frame, end of the extent */
    uint64_t base; /* of the chunk in memory */
    struct str chunk;
    size_t chunk_cap;
    char *memory;
};

enum place { PLACE_FOUND, PLACE_END, PLACE_GONE };

/* Fills the walk for the extent that holds `offset` or, when there is a gap, the next one behind it. */
static enum place place_for(struct partition *p, uint64_t offset, struct walk *walk) {
    struct extent *e = extent_for(p, offset);
    if (e && e->end_offset <= offset) {
        size_t i = 0;
        while (i < p->extents_n && p->extents[i] != e) i++;
        while (i < p->extents_n && p->extents[i]->end_offset <= offset) i++;
        e = i < p->extents_n ? p->extents[i] : NULL;
        if (!e) return PLACE_END;
    }
    if (!e) return p->extents_n == 0 ? PLACE_END : PLACE_GONE;
    const struct spot *spot = spot_for(e, offset);
    segment_ref(e->segment);
    *walk = (struct walk){.segment = e->segment, .stream = p->stream, .partition = p->number, .at = spot->at, .stop = e->end_at};
    return PLACE_FOUND;
}

/* Behind a walked megabyte without a frame of the partition the index has an entry for its next one: go there at once. */
static void skip_foreign(struct stream_log *log, struct walk *w) {
    WITH_LOCK(&log->state);
    const struct stream_info *info = stream_get(log, w->stream);
    if (!info || w->partition >= info->partitions_n) return;
    const struct partition *p = info->partitions[w->partition];
    for (size_t i = 0; i < p->extents_n; i++) {
        const struct extent *e = p->extents[i];
        if (e->segment != w->segment) continue;
        uint32_t low = 0, high = e->spots_n; /* first spot at or behind w->at */
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (e->spots[middle].at < w->at)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < e->spots_n) w->at = e->spots[low].at;
        return;
    }
}

static enum status damaged(const struct walk *w, const char *what, struct err *err) {
    return err_set(err, E_CORRUPT, "log segment %u is damaged at byte %" PRIu64 " (%s)", w->segment->number, w->at, what);
}

/* Makes `n` bytes at walk->at available (less at the segment's end). */
static enum status fill(struct walk *w, struct arena *arena, size_t n, struct err *err) {
    uint64_t have_end = w->base + w->chunk.n;
    must(n > 0 && w->at < w->stop && w->stop <= w->segment->end);
    if (w->chunk.n && w->at >= w->base && w->at + n <= have_end) return OK;
    size_t want = w->chunk.n ? CHUNK_BYTES : CHUNK_FIRST_BYTES, got = 0;
    if (want < n) want = n;
    if (want > w->segment->end - w->at) want = w->segment->end - w->at;
    if (w->chunk_cap < want) {
        w->memory = arena_alloc(arena, want);
        w->chunk_cap = want;
    }
    enum status s = w->segment->fs->pread(w->segment->fs->self, w->segment->file, w->memory, want, w->at, &got, err);
    if (s != OK) return s;
    w->base = w->at;
    w->chunk = str_make(w->memory, got);
    return got < n ? damaged(w, "the file is cut", err) : OK;
}

/* The next frame of the partition with records, checksum verified; *frame NULL at the end of the extent. */
static enum status next_frame(struct stream_log *log, struct walk *w, struct arena *arena, struct frame_header *h, const char **frame, struct err *err) {
    uint64_t foreign = 0;
    must(w->segment != NULL);
    *frame = NULL;
    while (w->at < w->stop) {
        enum status s = fill(w, arena, FRAME_HEADER_BYTES, err);
        if (s != OK) return s;
        if (!frame_peek(w->chunk.p + (w->at - w->base), w->segment->end - w->at, h)) return damaged(w, "no frame begins there", err);
        bool ours = h->kind == FRAME_RECORDS && h->stream == w->stream && h->partition == w->partition && h->count > 0;
        if (!ours) {
            w->at += h->length;
            foreign += h->length;
            if (foreign > SPOT_DISTANCE) {
                skip_foreign(log, w);
                foreign = 0;
            }
            continue;
        }
        s = fill(w, arena, h->length, err);
        if (s != OK) return s;
        const char *p = w->chunk.p + (w->at - w->base);
        if (!frame_crc_good(p, h, w->segment->salt)) return damaged(w, "wrong checksum", err);
        *frame = p;
        return OK;
    }
    return OK;
}

/* ---- copying records out ---- */

static struct str copy_str(char **at, struct str s) {
    struct str copy = {*at, s.n};
    if (s.n) memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

/* One allocation per record: all its parts behind each other. */
static size_t copy_record(struct arena *arena, const struct stored_record *from, struct stored_record *to) {
    size_t n = from->payload.n + from->key.n + from->headers.n + from->source.n + from->content_type.n;
    char *at = arena_alloc(arena, n + 1);
    *to = *from;
    to->payload = copy_str(&at, from->payload);
    to->key = copy_str(&at, from->key);
    to->headers = copy_str(&at, from->headers);
    to->source = copy_str(&at, from->source);
    to->content_type = copy_str(&at, from->content_type);
    *at = 0;
    return n;
}

struct reading {
    struct arena *arena;
    uint64_t offset; /* next wanted */
    size_t records_max, bytes_max, bytes, cap;
    struct stream_batch *batch;
};

static bool full(const struct reading *r) { return r->batch->n >= r->records_max || (r->batch->n && r->bytes >= r->bytes_max); }

static enum status take_frame(struct reading *r, struct walk *w, const struct frame_header *h, const char *frame, struct err *err) {
    struct record_walk records;
    struct stored_record record;
    must(h->stream == w->stream && h->partition == w->partition);
    record_walk_begin(&records, frame, h);
    while (!full(r) && record_walk_next(&records, h, &record, NULL)) {
        if (record.offset < r->offset) continue;
        if (r->batch->n == r->cap) {
            size_t cap = r->cap ? r->cap * 2 : 16;
            struct stored_record *more = arena_alloc(r->arena, cap * sizeof *more);
            if (r->batch->n) memcpy(more, r->batch->records, r->batch->n * sizeof *more);
            r->batch->records = more;
            r->cap = cap;
        }
        record.position = position_make(w->segment->number, w->at);
        r->bytes += copy_record(r->arena, &record, &r->batch->records[r->batch->n++]);
        r->offset = record.offset + 1;
    }
    if (!full(r) && records.index < h->count) return damaged(w, "a record does not fit its frame", err);
    return OK;
}

/* The partition and its bounds, under the lock; E_NOT_FOUND when the log has no such partition or no longer that offset. */
static enum status begin(struct stream_log *log, uint16_t stream, uint16_t partition, uint64_t offset, struct walk *walk, struct stream_batch *batch,
    bool *at_end, struct err *err) {
    WITH_LOCK(&log->state);
    const struct stream_info *info = stream_get(log, stream);
    if (!info || info->forgotten || partition >= info->partitions_n)
        return err_set(err, E_NOT_FOUND, "the log has no partition %u of stream number %u", partition, stream);
    struct partition *p = info->partitions[partition];
    must(p->number == partition && p->stream == stream);
    batch->end_offset = p->end_offset;
    batch->start_offset = p->extents_n ? p->extents[0]->first_offset : p->end_offset;
    if (offset < batch->start_offset)
        return err_set(err, E_NOT_FOUND, "offset %" PRIu64 " is no longer in the log, which begins at %" PRIu64, offset, batch->start_offset);
    *at_end = offset >= p->end_offset || place_for(p, offset, walk) != PLACE_FOUND;
    return OK;
}

enum status stream_read(struct stream_log *log, struct arena *arena, uint16_t stream, uint16_t partition, uint64_t offset, size_t max_records, size_t max_bytes,
    struct stream_batch *out, struct err *err) {
    must(out != NULL && arena != NULL);
    struct reading r = {.arena = arena, .offset = offset, .records_max = max_records, .bytes_max = max_bytes, .batch = out};
    *out = (struct stream_batch){0};
    ARENA_SCOPE(chunks);
    while (!full(&r)) {
        struct walk walk = {0};
        bool at_end = false;
        enum status s = begin(log, stream, partition, r.offset, &walk, out, &at_end, err);
        if (s != OK) return s;
        if (at_end) {
            if (r.offset < out->end_offset) r.offset = out->end_offset; /* a gap left by damage */
            break;
        }
        uint64_t before = r.offset;
        struct frame_header h;
        const char *frame = NULL;
        do {
            s = next_frame(log, &walk, chunks, &h, &frame, err);
            if (s == OK && frame && h.base_offset + h.count > r.offset) s = take_frame(&r, &walk, &h, frame, err);
            if (frame) walk.at += h.length;
        } while (s == OK && frame && !full(&r));
        if (s == OK && !full(&r) && r.offset <= before) s = damaged(&walk, "its index promised a record", err);
        segment_unref(walk.segment);
        if (s != OK) return s;
        arena_reset(chunks);
    }
    out->next_offset = r.offset;
    return OK;
}

enum status stream_find(struct stream_log *log, struct arena *arena, struct event_address address, struct stored_record *out, struct err *err) {
    struct stream_batch batch;
    enum status s = stream_read(log, arena, address.stream, address.partition, address.offset, 1, SIZE_MAX, &batch, err);
    if (s != OK) return s;
    if (batch.n == 0 || batch.records[0].offset != address.offset || batch.records[0].received_ms != address.received_ms)
        return err_set(err, E_NOT_FOUND, "the log has no such event");
    *out = batch.records[0];
    return OK;
}

enum status locate_frame(
    struct stream_log *log, uint16_t stream, uint16_t partition, uint64_t offset, log_position *position, int64_t *received_ms, struct err *err) {
    struct walk walk = {0};
    struct stream_batch bounds = {0};
    bool at_end = false;
    enum status s = begin(log, stream, partition, offset, &walk, &bounds, &at_end, err);
    if (s != OK) return s;
    if (at_end) return err_set(err, E_NOT_FOUND, "nothing at or behind that offset");
    ARENA_SCOPE(chunks);
    struct frame_header h = {0};
    const char *frame = NULL;
    do {
        s = next_frame(log, &walk, chunks, &h, &frame, err);
        if (s != OK || !frame || h.base_offset + h.count > offset) break;
        walk.at += h.length;
    } while (true);
    if (s == OK && !frame) s = err_set(err, E_NOT_FOUND, "nothing at or behind that offset");
    if (s == OK) {
        must(h.base_offset + h.count > offset);
        *position = position_make(walk.segment->number, walk.at);
        *received_ms = h.received_ms;
    }
    segment_unref(walk.segment);
    return s;
}
