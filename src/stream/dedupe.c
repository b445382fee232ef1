/* Dedupe index. Per segment: while it is written a hash table of 64-bit keys, once sealed a blocked Bloom filter in memory (12 bits per key, 6 probes in one
 * cache line) over blocks of sorted keys on disk. A hit of the 64 bits is confirmed by reading the record and comparing all 128.
 *
 * A group asks for all its records at once, segment by segment: the filters' cache misses then overlap. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

#define CACHE_KEPT (4u << 20)

/* Where the record of a key stands: frame's place / 8 (29 bits), record in the frame (16), byte behind the frame's header (19). */
struct key_entry {
    uint64_t key; /* 0: empty */
    uint64_t place;
};
_Static_assert(FRAME_RAW_MAX <= 1u << 18 && FRAME_RAW_MAX / RECORD_HEADER_BYTES < 1u << 16, "records begin below the limit: the fields are wide enough");

struct key_table {
    struct key_entry *entries;
    size_t cap, n; /* cap: a power of two */
};

#define KEYS_PER_BLOCK 255u
struct key_block {
    struct key_entry entries[KEYS_PER_BLOCK];
    uint32_t n, crc; /* crc over n and the entries */
    uint64_t reserved;
};
_Static_assert(sizeof(struct key_block) == 4096, "one page");

struct key_filter {
    const struct fs *fs;
    int file;
    uint64_t blocks_at; /* in the file */
    uint64_t keys_n;
    uint32_t blocks_n, lines_n;
    uint64_t *fences; /* first key of each block */
    uint64_t *lines; /* 8 words each */
};

static uint64_t key_of(struct hash128 hash) { return hash.lo ? hash.lo : 1; }

/* ---- table ---- */

struct key_table *key_table_new(void) {
    struct key_table *t = mem_zalloc(sizeof *t);
    t->cap = 1024;
    t->entries = mem_zalloc(t->cap * sizeof *t->entries);
    return t;
}

void key_table_free(struct key_table **table) {
    if (!*table) return;
    free((*table)->entries);
    free(*table);
    *table = NULL;
}

static void table_place(struct key_entry *entries, size_t cap, struct key_entry e) {
    size_t at = e.key & (cap - 1);
    while (entries[at].key) at = (at + 1) & (cap - 1);
    entries[at] = e;
}

void key_table_put(struct key_table *t, uint64_t key, struct key_place p) {
    must(t->n < t->cap);
    must(p.frame_at % 8 == 0 && p.index < 1u << 16 && p.raw_at < 1u << 19);
    uint64_t place = (uint64_t)(p.frame_at / 8) << 35 | (uint64_t)p.index << 19 | p.raw_at;
    if ((t->n + 1) * 3 > t->cap * 2) {
        struct key_entry *more = mem_zalloc(t->cap * 2 * sizeof *more);
        for (size_t i = 0; i < t->cap; i++)
            if (t->entries[i].key) table_place(more, t->cap * 2, t->entries[i]);
        free(t->entries);
        t->entries = more;
        t->cap *= 2;
    }
    table_place(t->entries, t->cap, (struct key_entry){key ? key : 1, place});
    t->n++;
}

size_t key_table_count(const struct key_table *table) { return table ? table->n : 0; }
size_t key_table_bytes(const struct key_table *table) { return table ? sizeof *table + table->cap * sizeof *table->entries : 0; }

/* ---- filter ---- */

static uint64_t *filter_line(uint64_t *lines, uint32_t lines_n, uint64_t key) { return lines + 8 * (size_t)((unsigned __int128)key * lines_n >> 64); }

/* Six bits of one cache line; the multiplication spreads keys that share their high bits, which chose the line. */
static bool line_has(const uint64_t *line, uint64_t key) {
    uint64_t bits = key * UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < 6; i++, bits >>= 9)
        if (!(line[bits >> 6 & 7] >> (bits & 63) & 1)) return false;
    return true;
}

static void line_set(uint64_t *line, uint64_t key) {
    uint64_t bits = key * UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 0; i < 6; i++, bits >>= 9) line[bits >> 6 & 7] |= UINT64_C(1) << (bits & 63);
}

static int entry_order(const void *a, const void *b) {
    const struct key_entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static void encode_blocks(const struct key_entry *sorted, size_t n, struct buf *head, struct buf *blocks) {
    for (size_t at = 0; at < n; at += KEYS_PER_BLOCK) {
        struct key_block block = {.n = (uint32_t)(n - at < KEYS_PER_BLOCK ? n - at : KEYS_PER_BLOCK)};
        memcpy(block.entries, sorted + at, block.n * sizeof *sorted);
        must(block.n > 0 && (at == 0 || sorted[at - 1].key <= sorted[at].key));
        block.crc = crc32c(block.n, block.entries, sizeof block.entries);
        buf_put(blocks, &block, sizeof block);
        buf_u64(head, sorted[at].key);
    }
}

/* Fences (first key of each block) let a look-up read exactly the block that can hold the key. */
void key_filter_encode(const struct key_table *table, struct buf *head, struct buf *blocks) {
    size_t n = key_table_count(table);
    uint32_t blocks_n = (uint32_t)((n + KEYS_PER_BLOCK - 1) / KEYS_PER_BLOCK), lines_n = (uint32_t)((n * 12 + 511) / 512);
    buf_u64(head, n);
    buf_u32(head, blocks_n);
    buf_u32(head, lines_n);
    if (!n) return;
    AUTO_FREE struct key_entry *sorted = mem_alloc(n * sizeof *sorted);
    AUTO_FREE uint64_t *lines = mem_zalloc((size_t)lines_n * 64);
    size_t at = 0;
    for (size_t i = 0; i < table->cap; i++) {
        if (!table->entries[i].key) continue;
        sorted[at++] = table->entries[i];
        line_set(filter_line(lines, lines_n, table->entries[i].key), table->entries[i].key);
    }
    must(at == n);
    qsort(sorted, n, sizeof *sorted, entry_order);
    encode_blocks(sorted, n, head, blocks);
    buf_put(head, lines, (size_t)lines_n * 64);
}

enum status key_filter_open(const struct fs *fs, int file, uint64_t blocks_at, struct str head, struct key_filter **out, struct err *err) {
    struct key_filter f = {.fs = fs, .file = file, .blocks_at = blocks_at};
    if (head.n < 16) return err_set(err, E_CORRUPT, "a segment's key index is cut");
    memcpy(&f.keys_n, head.p, 8);
    memcpy(&f.blocks_n, head.p + 8, 4);
    memcpy(&f.lines_n, head.p + 12, 4);
    if (f.keys_n > UINT32_MAX || f.blocks_n != (f.keys_n + KEYS_PER_BLOCK - 1) / KEYS_PER_BLOCK || f.lines_n != (f.keys_n * 12 + 511) / 512 ||
        head.n != 16 + (size_t)f.blocks_n * 8 + (size_t)f.lines_n * 64)
        return err_set(err, E_CORRUPT, "a segment's key index has impossible sizes");
    f.fences = mem_alloc((size_t)f.blocks_n * 8 + 1);
    f.lines = mem_alloc((size_t)f.lines_n * 64 + 1);
    memcpy(f.fences, head.p + 16, (size_t)f.blocks_n * 8);
    memcpy(f.lines, head.p + 16 + (size_t)f.blocks_n * 8, (size_t)f.lines_n * 64);
    *out = mem_alloc(sizeof f);
    **out = f;
    return OK;
}

void key_filter_free(struct key_filter **filter) {
    if (!*filter) return;
    (*filter)->fs->close((*filter)->fs->self, (*filter)->file);
    free((*filter)->fences);
    free((*filter)->lines);
    free(*filter);
    *filter = NULL;
}

size_t key_filter_count(const struct key_filter *filter) { return filter ? filter->keys_n : 0; }
size_t key_filter_bytes(const struct key_filter *filter) { return filter ? sizeof *filter + (size_t)filter->blocks_n * 8 + (size_t)filter->lines_n * 64 : 0; }

/* ---- confirmation ---- */

enum status cache_frame(struct stream_log *log, struct segment *segment, uint32_t at, struct err *err) {
    struct frame_cache *c = &log->cache;
    log_position position = position_make(segment->number, at);
    must(at % 8 == 0 && at < segment->end);
    if (c->position == position) return OK;
    c->position = 0;
    if (c->cap > CACHE_KEPT) { /* a very large record is not kept for ever */
        free(c->p);
        c->p = NULL;
        c->cap = 0;
    }
    size_t want = 4096, got = 0;
    struct frame_header h;
    for (int round = 0; round < 2; round++) { /* most frames fit the first read */
        if (want > segment->end - at) want = segment->end - at;
        if (c->cap < want) c->p = mem_realloc(c->p, c->cap = want);
        enum status s = segment->fs->pread(segment->fs->self, segment->file, c->p, want, at, &got, err);
        if (s != OK) return s;
        if (got < FRAME_HEADER_BYTES || !frame_peek(c->p, segment->end - at, &h))
            return err_set(err, E_CORRUPT, "segment %u is damaged at byte %u", segment->number, at);
        if (h.length <= got) break;
        want = h.length;
    }
    if (h.length > got || !frame_crc_good(c->p, &h, segment->salt))
        return err_set(err, E_CORRUPT, "segment %u is damaged at byte %u: wrong checksum", segment->number, at);
    c->header = h;
    c->position = position;
    return OK;
}

/* What is known of a frame whose checksum was verified: a batch sent again asks the same few frames thousands of times. */
static enum status verified_frame(struct stream_log *log, struct segment *segment, uint32_t at, const struct verified_frame **out, struct err *err) {
    log_position position = position_make(segment->number, at);
    struct verified_frame *v = &log->verified[(position / 8 ^ position >> 32) % VERIFIED_FRAMES];
    if (v->position != position) {
        enum status s = cache_frame(log, segment, at, err);
        if (s != OK) return s;
        const struct frame_header *h = &log->cache.header;
        if (h->kind != FRAME_RECORDS) return err_set(err, E_CORRUPT, "a key of segment %u leads to no record", segment->number);
        *v = (struct verified_frame){position, h->base_offset, h->received_ms, h->count, h->raw_length, h->stream, h->partition};
    }
    must(v->position == position);
    *out = v;
    return OK;
}

static void confirm(struct stream_log *log, struct segment *segment, const struct key_entry *e, struct candidate *candidate) {
    uint32_t frame_at = (uint32_t)(e->place >> 35) * 8, index = e->place >> 19 & 0xFFFF, raw_at = e->place & 0x7FFFF;
    char record[RECORD_HEADER_BYTES + sizeof candidate->hash];
    const struct verified_frame *v = NULL;
    size_t got = 0;
    must(!candidate->found);
    if (frame_at >= segment->end) return;
    enum status s = verified_frame(log, segment, frame_at, &v, NULL);
    must(s != OK || v != NULL);
    if (s == OK && (v->stream != candidate->stream || v->received_ms <= candidate->not_before_ms || index >= v->count || raw_at >= v->raw_length)) return;
    if (s == OK) s = segment->fs->pread(segment->fs->self, segment->file, record, sizeof record, frame_at + FRAME_HEADER_BYTES + raw_at, &got, NULL);
    if (s == E_CORRUPT) return; /* the first one is lost: this one is new */
    if (s != OK) {
        candidate->failed = s;
        return;
    }
    if (got != sizeof record || !record_has_dedupe(record) || memcmp(record + RECORD_HEADER_BYTES, &candidate->hash, sizeof candidate->hash) != 0) return;
    candidate->found = true;
    candidate->first = event_id_make((struct event_address){v->received_ms, v->stream, v->partition, v->base_offset + index});
}

static void probe_table(struct stream_log *log, struct segment *segment, struct candidate *candidate) {
    const struct key_table *t = segment->keys;
    uint64_t key = key_of(candidate->hash);
    for (size_t at = key & (t->cap - 1); t->entries[at].key && !candidate->found; at = (at + 1) & (t->cap - 1))
        if (t->entries[at].key == key) confirm(log, segment, &t->entries[at], candidate);
}

static enum status read_block(const struct key_filter *f, uint32_t number, struct key_block *block) {
    size_t got = 0;
    enum status s = f->fs->pread(f->fs->self, f->file, block, sizeof *block, f->blocks_at + (uint64_t)number * sizeof *block, &got, NULL);
    if (s != OK) return s;
    if (got != sizeof *block || block->n > KEYS_PER_BLOCK || block->crc != crc32c(block->n, block->entries, sizeof block->entries)) return E_CORRUPT;
    return OK;
}

static uint32_t block_lower_bound(const struct key_block *block, uint64_t key) {
    must(block->n <= KEYS_PER_BLOCK);
    uint32_t low = 0, high = block->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (block->entries[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void probe_filter(struct stream_log *log, struct segment *segment, struct candidate *candidate) {
    const struct key_filter *f = segment->filter;
    uint64_t key = key_of(candidate->hash);
    uint32_t low = 0, high = f->blocks_n; /* first block that begins at or beyond the key */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (f->fences[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    struct key_block block;
    for (uint32_t b = low ? low - 1 : 0; b < f->blocks_n && f->fences[b] <= key && !candidate->found; b++) {
        enum status s = read_block(f, b, &block);
        if (s != OK) {
            candidate->failed = s;
            return;
        }
        for (uint32_t i = block_lower_bound(&block, key); i < block.n && block.entries[i].key == key && !candidate->found; i++)
            confirm(log, segment, &block.entries[i], candidate);
    }
}

/* The loop over candidates is inside: the loads of one filter's lines do not depend on each other and run ahead together. */
static void probe_segment(struct stream_log *log, struct segment *segment, struct candidate *candidates, size_t n) {
    must(segment->filter || segment->keys);
    const struct key_filter *f = segment->filter;
    if (f ? f->keys_n == 0 : segment->keys->n == 0) return;
    for (size_t i = 0; i < n; i++) {
        struct candidate *c = &candidates[i];
        if (c->found || c->failed != OK || segment->last_ms <= c->not_before_ms) continue;
        if (!f) {
            probe_table(log, segment, c);
        } else if (line_has(filter_line(f->lines, f->lines_n, key_of(c->hash)), key_of(c->hash))) {
            probe_filter(log, segment, c);
        }
    }
}

void dedupe_probe(struct stream_log *log, struct candidate *candidates, size_t n) {
    if (!n) return;
    must(candidates != NULL);
    for (size_t i = log->segments_n; i-- > 0;) probe_segment(log, log->segment[i], candidates, n);
}
