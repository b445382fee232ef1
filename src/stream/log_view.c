/* The engine's view: segments mapped read-only, one index of frames per stream in blocks that only grow, so that a scan can hold its part of the index without
 * copying it while the index goes on. Checksums are verified when a cursor enters a frame: in each scan, or, where the scan allows it, once in a while. */
#include "stream/log_view.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "host/map.h"
#include "host/thread.h"

#define BLOCK_FRAMES 1024u
#define CHUNK_RECORDS 2048u
#define CHECKED_TICK_MS 16384 /* a checksum that was good within this and the tick before is not computed again */
#define PATH_BYTES 4096

struct view_segment {
    uint32_t number, salt;
    atomic_int refs;
    const struct fs *fs;
    int file;
    struct host_map map;
    struct segment_header header;
    uint64_t fresh_to; /* what a map that is no real mapping has been filled with */
};

struct frame_ref {
    log_position position;
    uint32_t count;
    uint16_t partition;
    _Atomic uint16_t checked; /* tick in which the checksum was last found good; 0: never */
};

struct view_block {
    atomic_int refs;
    struct frame_ref frames[BLOCK_FRAMES];
};

struct view_stream {
    struct view_block **blocks;
    size_t blocks_n, blocks_cap;
    uint64_t dropped; /* blocks dropped in front */
    uint64_t n; /* frames, the dropped ones included */
};

struct log_view {
    char *dir;
    struct host host;
    mutex lock;
    uint64_t log_id;
    log_position from, at; /* indexed: [from, at) */
    struct view_segment **segments;
    size_t segments_n, segments_cap;
    struct view_stream streams[EVENT_STREAM_MAX + 1];
};

struct log_scan {
    struct view_block **blocks;
    size_t blocks_n;
    size_t first, n; /* frames: place in the first block, count */
    struct view_segment **segments;
    size_t segments_n;
    uint64_t *start_offsets;
    uint16_t start_offsets_n;
    int64_t from_ms, to_ms;
    uint16_t tick; /* now; 0: every checksum is computed */
    uint64_t records;
    _Atomic size_t next;
};

/* ---- segments ---- */

static void segment_free(struct view_segment *s) {
    if (atomic_fetch_sub(&s->refs, 1) > 1) return;
    host_map_close(&s->map);
    s->fs->close(s->fs->self, s->file);
    free(s);
}

static struct view_segment *view_find(struct view_segment *const *segments, size_t n, uint32_t number) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (segments[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && segments[low]->number == number ? segments[low] : NULL;
}

static enum status open_mapped(struct log_view *view, uint32_t number, struct view_segment *out, struct err *err) {
    const struct fs *fs = view->host.fs;
    char path[PATH_BYTES];
    struct fs_stat stat;
    size_t got = 0;
    int n = snprintf(path, sizeof path, "%s/%016" PRIu32 ".seg", view->dir, number);
    must(n > 0 && n < (int)sizeof path);
    enum status s = fs->open(fs->self, path, FS_READ, &out->file, err);
    if (s != OK) return s;
    s = fs->stat_file(fs->self, out->file, &stat, err);
    if (s == OK) s = fs->pread(fs->self, out->file, &out->header, sizeof out->header, 0, &got, err);
    if (s == OK && (got != sizeof out->header || !segment_header_valid(&out->header, view->log_id, number) || stat.size_bytes >= UINT32_MAX))
        s = err_set(err, E_CORRUPT, "%s is not a segment of this log", path);
    if (s == OK) s = host_map_open(fs, out->file, stat.size_bytes, &out->map, err);
    if (s != OK) fs->close(fs->self, out->file);
    return s;
}

static enum status view_segment(struct log_view *view, uint32_t number, struct view_segment **out, struct err *err) {
    *out = view_find(view->segments, view->segments_n, number);
    if (*out) return OK;
    struct view_segment fresh = {.number = number, .fs = view->host.fs, .file = -1};
    enum status s = open_mapped(view, number, &fresh, err);
    if (s != OK) return s;
    fresh.salt = segment_salt(view->log_id, number);
    struct view_segment *made = mem_alloc(sizeof *made);
    *made = fresh;
    atomic_init(&made->refs, 1);
    if (view->segments_n == view->segments_cap) {
        view->segments_cap = view->segments_cap ? view->segments_cap * 2 : 16;
        view->segments = mem_realloc(view->segments, view->segments_cap * sizeof *view->segments);
    }
    must(view->segments_n == 0 || view->segments[view->segments_n - 1]->number < number);
    view->segments[view->segments_n++] = made;
    *out = made;
    return OK;
}

/* The lowest segment there is; 0: none. */
static uint32_t first_segment(struct log_view *view) {
    ARENA_SCOPE(arena);
    struct fs_entry *entries = NULL;
    size_t n = 0;
    if (view->host.fs->list(view->host.fs->self, arena, view->dir, &entries, &n, NULL) != OK) return 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t number = 0;
        struct str name = str_of(entries[i].name);
        if (name.n == 20 && str_ends(name, STR(".seg")) && str_to_u64(str_head(name, 16), &number) && number > 0 && number < UINT32_MAX)
            return (uint32_t)number;
    }
    return 0;
}

/* ---- open ---- */

static enum status read_log_id(struct log_view *view, struct err *err) {
    ARENA_SCOPE(arena);
    struct str bytes = STR_NULL;
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/secret", view->dir);
    must(n > 0 && n < (int)sizeof path);
    enum status s = fs_read_all(view->host.fs, arena, path, 4096, &bytes, err);
    if (s != OK) return s;
    uint32_t crc;
    if (bytes.n != 32) return err_set(err, E_CORRUPT, "%s is damaged", path);
    memcpy(&crc, bytes.p + 28, 4);
    if (crc != crc32c(0, bytes.p, 28)) return err_set(err, E_CORRUPT, "%s is damaged", path);
    memcpy(&view->log_id, bytes.p + 8, 8);
    return OK;
}

enum status log_view_open(const char *dir, const struct host *host, struct log_view **out, struct err *err) {
    must(dir != NULL && host != NULL);
    if (strlen(dir) > PATH_BYTES - 128) return err_set(err, E_LIMIT, "the path of the log is longer than %d bytes", PATH_BYTES - 128);
    struct log_view *view = mem_zalloc(sizeof *view);
    view->dir = mem_strdup(dir);
    view->host = *host;
    mutex_init(&view->lock);
    enum status s = read_log_id(view, err);
    if (s == OK)
        *out = view;
    else
        log_view_close(&view);
    return s;
}

static void block_free(struct view_block *block) {
    if (atomic_fetch_sub(&block->refs, 1) == 1) free(block);
}

static void forget_index(struct log_view *view) {
    for (uint32_t i = 0; i <= EVENT_STREAM_MAX; i++) {
        struct view_stream *s = &view->streams[i];
        for (size_t k = 0; k < s->blocks_n; k++) block_free(s->blocks[k]);
        free(s->blocks);
        *s = (struct view_stream){0};
    }
    for (size_t i = 0; i < view->segments_n; i++) segment_free(view->segments[i]);
    view->segments_n = 0;
    view->from = view->at = 0;
}

void log_view_close(struct log_view **handle) {
    struct log_view *view = *handle;
    if (!view) return;
    forget_index(view);
    free(view->segments);
    free(view->dir);
    mutex_destroy(&view->lock);
    free(view);
    *handle = NULL;
}

/* ---- indexing ---- */

static void add_ref(struct log_view *view, const struct frame_header *h, log_position position) {
    must(h->stream <= EVENT_STREAM_MAX);
    struct view_stream *s = &view->streams[h->stream];
    size_t block = s->n / BLOCK_FRAMES - s->dropped;
    if (block == s->blocks_n) {
        if (s->blocks_n == s->blocks_cap) {
            s->blocks_cap = s->blocks_cap ? s->blocks_cap * 2 : 4;
            s->blocks = mem_realloc(s->blocks, s->blocks_cap * sizeof *s->blocks);
        }
        s->blocks[s->blocks_n] = mem_alloc(sizeof **s->blocks);
        atomic_init(&s->blocks[s->blocks_n]->refs, 1);
        s->blocks_n++;
    }
    s->blocks[block]->frames[s->n % BLOCK_FRAMES] = (struct frame_ref){.position = position, .count = h->count, .partition = h->partition};
    s->n++;
}

static enum status index_part(struct log_view *view, struct view_segment *s, uint64_t from, uint64_t end, struct err *err) {
    must(from >= SEGMENT_HEADER_BYTES && from < end);
    if (end > s->map.n) return err_set(err, E_CORRUPT, "log segment %u ends at byte %zu, %" PRIu64 " were expected", s->number, s->map.n, end);
    if (s->fresh_to < from) s->fresh_to = from;
    if (s->fresh_to < end) {
        enum status status = host_map_refresh(s->fs, s->file, &s->map, s->fresh_to, end, err);
        if (status != OK) return status;
        s->fresh_to = end;
    }
    for (uint64_t at = from; at < end;) {
        struct frame_header h;
        if (!frame_peek(s->map.p + at, end - at, &h)) {
            at = frame_resync(s->map.p, at + 8, end, s->salt); /* damage since the server opened the log; its verify reports it */
            continue;
        }
        if (h.kind == FRAME_RECORDS && h.count) add_ref(view, &h, position_make(s->number, at));
        at += h.length;
    }
    view->at = position_make(s->number, end);
    return OK;
}

/* Behind a segment's end comes the next one, which says where the end is. */
static enum status step_over(struct log_view *view, uint32_t number, uint64_t *end, struct err *err) {
    struct view_segment *next = NULL;
    enum status s = view_segment(view, number + 1, &next, err);
    if (s != OK) return s;
    if (next->header.previous != number) return err_set(err, E_CORRUPT, "log segment %u does not follow segment %u", number + 1, number);
    *end = next->header.previous_end;
    return OK;
}

/* Segment by segment: within one up to its end, which only the next segment's header knows. */
static enum status index_to(struct log_view *view, log_position durable, struct err *err) {
    while (view->at < durable) {
        uint32_t number = position_segment(view->at);
        uint64_t from = position_at(view->at), end = position_at(durable);
        bool last = number == position_segment(durable);
        struct view_segment *segment = NULL;
        if (from < SEGMENT_HEADER_BYTES) from = SEGMENT_HEADER_BYTES;
        enum status s = view_segment(view, number, &segment, err);
        if (s == OK && !last) s = step_over(view, number, &end, err);
        if (s == OK && from < end) s = index_part(view, segment, from, end, err);
        if (s != OK) return s;
        view->at = last ? durable : position_make(number + 1, SEGMENT_HEADER_BYTES);
        must(view->at <= durable || position_at(durable) < SEGMENT_HEADER_BYTES);
    }
    return OK;
}

/* Scans that still hold blocks or segments keep them alive; here only the index lets go. */
static void drop_below(struct log_view *view, log_position from) {
    must(from >= view->from && from <= view->at);
    for (uint32_t i = 0; i <= EVENT_STREAM_MAX; i++) {
        struct view_stream *s = &view->streams[i];
        size_t gone = 0;
        while (gone + 1 < s->blocks_n && s->blocks[gone]->frames[BLOCK_FRAMES - 1].position < from) block_free(s->blocks[gone++]);
        if (!gone) continue;
        s->blocks_n -= gone;
        s->dropped += gone;
        memmove(s->blocks, s->blocks + gone, s->blocks_n * sizeof *s->blocks);
    }
    size_t gone = 0;
    while (gone + 1 < view->segments_n && view->segments[gone]->number < position_segment(from)) segment_free(view->segments[gone++]);
    view->segments_n -= gone;
    if (gone) memmove(view->segments, view->segments + gone, view->segments_n * sizeof *view->segments);
    view->from = from;
}

enum status log_view_advance(struct log_view *view, log_position from, log_position durable, struct err *err) {
    WITH_LOCK(&view->lock);
    if (position_segment(from) == 0) from = position_make(view->at ? position_segment(view->from) : first_segment(view), SEGMENT_HEADER_BYTES);
    if (position_segment(durable) == 0 || position_segment(from) == 0) return OK; /* nothing was ever written */
    if (from > durable) from = durable;
    if (view->at && from < view->from) forget_index(view); /* an older statement came late */
    if (!view->at || view->at < from) {
        forget_index(view);
        view->from = view->at = from;
    }
    enum status s = index_to(view, durable, err);
    if (s == OK && position_segment(from) > position_segment(view->from)) drop_below(view, from);
    if (s != OK) forget_index(view); /* from anew at the next time */
    return s;
}

/* ---- scanning ---- */

/* First frame of the stream at or behind the position, counted over all. */
static uint64_t lower_bound(const struct view_stream *s, log_position position) {
    uint64_t low = s->dropped * BLOCK_FRAMES, high = s->n;
    must(low <= high || s->n == 0);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (s->blocks[middle / BLOCK_FRAMES - s->dropped]->frames[middle % BLOCK_FRAMES].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Received times never go back along the log, so a scan for late ones need not look at every frame before them. */
static uint64_t first_received(struct log_view *view, const struct view_stream *s, uint64_t low, uint64_t high, int64_t from_ms) {
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        log_position position = s->blocks[middle / BLOCK_FRAMES - s->dropped]->frames[middle % BLOCK_FRAMES].position;
        const struct view_segment *segment = view_find(view->segments, view->segments_n, position_segment(position));
        struct frame_header h;
        must(segment != NULL);
        if (!frame_peek(segment->map.p + position_at(position), segment->map.n - position_at(position), &h)) return low; /* damaged: the scan says so */
        if (h.received_ms < from_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct frame_ref *scan_frame(const struct log_scan *scan, size_t i) {
    size_t at = scan->first + i;
    must(i < scan->n);
    return &scan->blocks[at / BLOCK_FRAMES]->frames[at % BLOCK_FRAMES];
}

/* References instead of copies: a scan of millions of frames begins in microseconds and is not disturbed by advancing or dropping. */
static void hold_parts(struct log_scan *scan, const struct log_view *view, const struct view_stream *s, uint64_t first, uint64_t end) {
    size_t from = first / BLOCK_FRAMES - s->dropped, to = end > first ? (end - 1) / BLOCK_FRAMES - s->dropped + 1 : from;
    must(first <= end && to - from <= s->blocks_n);
    scan->first = first % BLOCK_FRAMES;
    scan->n = end - first;
    scan->blocks_n = to - from;
    scan->blocks = mem_alloc(scan->blocks_n * sizeof *scan->blocks + 1);
    for (size_t i = from; i < to; i++) {
        scan->blocks[i - from] = s->blocks[i];
        atomic_fetch_add(&s->blocks[i]->refs, 1);
    }
    scan->segments_n = scan->n ? view->segments_n : 0;
    scan->segments = mem_alloc(scan->segments_n * sizeof *scan->segments + 1);
    for (size_t i = 0; i < scan->segments_n; i++) {
        scan->segments[i] = view->segments[i];
        atomic_fetch_add(&view->segments[i]->refs, 1);
    }
}

enum status log_scan_begin(struct log_view *view, const struct log_range *range, struct log_scan **out, struct err *err) {
    if (range->stream == 0 || range->stream > EVENT_STREAM_MAX)
        return err_set(err, E_INVALID, "stream number %u is not in 1..%d", range->stream, EVENT_STREAM_MAX);
    struct log_scan *scan = mem_zalloc(sizeof *scan);
    {
        WITH_LOCK(&view->lock);
        const struct view_stream *s = &view->streams[range->stream];
        uint64_t first = lower_bound(s, range->from), end = lower_bound(s, range->to);
        if (range->from_ms > 0) first = first_received(view, s, first, end, range->from_ms);
        hold_parts(scan, view, s, first, end > first ? end : first);
    }
    for (size_t i = 0; i < scan->n; i++) scan->records += scan_frame(scan, i)->count;
    scan->start_offsets_n = range->start_offsets ? range->start_offsets_n : 0;
    scan->start_offsets = mem_alloc(scan->start_offsets_n * sizeof *scan->start_offsets + 1);
    if (scan->start_offsets_n) memcpy(scan->start_offsets, range->start_offsets, scan->start_offsets_n * sizeof *scan->start_offsets);
    scan->from_ms = range->from_ms;
    scan->to_ms = range->to_ms;
    if (range->checked_lately) scan->tick = (uint16_t)(host_monotonic_ms(&view->host) / CHECKED_TICK_MS % UINT16_MAX + 1);
    *out = scan;
    return OK;
}

uint64_t log_scan_records(const struct log_scan *scan) { return scan->records; }

bool log_scan_chunk(struct log_scan *scan, struct log_chunk *out) {
    size_t first = atomic_load(&scan->next), end;
    do {
        if (first >= scan->n) return false;
        uint64_t records = 0;
        for (end = first; end < scan->n && records < CHUNK_RECORDS; end++) records += scan_frame(scan, end)->count;
    } while (!atomic_compare_exchange_weak(&scan->next, &first, end));
    must(end > first);
    *out = (struct log_chunk){first, end};
    return true;
}

void log_cursor_begin(struct log_cursor *cursor, struct log_chunk chunk) {
    must(chunk.first_frame <= chunk.end_frame);
    cursor->chunk = chunk;
    cursor->frame = chunk.first_frame;
    cursor->inside = false;
}

static uint64_t start_offset(const struct log_scan *scan, uint16_t partition) { return partition < scan->start_offsets_n ? scan->start_offsets[partition] : 0; }

/* Queries come many a second and read the same tail: what one of them has just checked, the next need not. Ticks are 1 to UINT16_MAX, then 1 again. */
static bool checksum_good(const struct log_scan *scan, struct frame_ref *ref, const char *frame, const struct frame_header *h, uint32_t salt) {
    uint16_t checked = atomic_load_explicit(&ref->checked, memory_order_relaxed), before = scan->tick > 1 ? scan->tick - 1 : UINT16_MAX;
    if (scan->tick && checked && (checked == scan->tick || checked == before)) return true;
    if (!frame_crc_good(frame, h, salt)) return false;
    if (scan->tick) atomic_store_explicit(&ref->checked, scan->tick, memory_order_relaxed);
    return true;
}

/* Enters the frame if it has wanted records; only such frames pay for their checksum. */
static enum status enter(struct log_scan *scan, struct log_cursor *cursor, struct frame_ref *ref, struct err *err) {
    const struct view_segment *s = view_find(scan->segments, scan->segments_n, position_segment(ref->position));
    must(s != NULL);
    uint64_t at = position_at(ref->position);
    const char *frame = s->map.p + at;
    struct frame_header *h = &cursor->header;
    if (!frame_peek(frame, s->map.n - at, h) || h->kind != FRAME_RECORDS)
        return err_set(err, E_CORRUPT, "log segment %u is damaged at byte %" PRIu64, s->number, at);
    if (h->base_offset + h->count <= start_offset(scan, h->partition)) return OK;
    if ((scan->from_ms || scan->to_ms) && (h->received_ms < scan->from_ms || h->received_ms >= scan->to_ms)) return OK;
    if (!checksum_good(scan, ref, frame, h, s->salt))
        return err_set(err, E_CORRUPT, "log segment %u is damaged at byte %" PRIu64 ": wrong checksum", s->number, at);
    record_walk_begin(&cursor->walk, frame, h);
    cursor->position = ref->position;
    cursor->inside = true;
    return OK;
}

enum status log_cursor_next(struct log_scan *scan, struct log_cursor *cursor, struct stored_record *out, bool *got, struct err *err) {
    must(cursor->chunk.end_frame <= scan->n);
    while (true) {
        if (!cursor->inside) {
            if (cursor->frame >= cursor->chunk.end_frame) {
                *got = false;
                return OK;
            }
            enum status s = enter(scan, cursor, scan_frame(scan, cursor->frame++), err);
            if (s != OK) return s;
            continue;
        }
        if (!record_walk_next(&cursor->walk, &cursor->header, out, NULL)) {
            cursor->inside = false;
            if (cursor->walk.index < cursor->walk.count)
                return err_set(err, E_CORRUPT, "log segment %u: a record of the frame at byte %u does not fit", position_segment(cursor->position),
                    position_at(cursor->position));
            continue;
        }
        if (out->offset < start_offset(scan, out->partition)) continue;
        out->position = cursor->position;
        *got = true;
        return OK;
    }
}

void log_scan_end(struct log_scan **handle) {
    struct log_scan *scan = *handle;
    if (!scan) return;
    for (size_t i = 0; i < scan->blocks_n; i++) block_free(scan->blocks[i]);
    for (size_t i = 0; i < scan->segments_n; i++) segment_free(scan->segments[i]);
    free(scan->blocks);
    free(scan->segments);
    free(scan->start_offsets);
    free(scan);
    *handle = NULL;
}
