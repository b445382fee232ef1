/* Answers by idempotency key. They stand in control frames of the group that stored the request's events, so they are exactly as durable as these. In memory
 * only where they are; body hash and ids are read from the log on a hit. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

struct idempotency_table {
    struct idempotency_entry *entries; /* frame 0: empty */
    size_t cap, n;
};

struct idempotency_table *idempotency_new(void) {
    struct idempotency_table *t = mem_zalloc(sizeof *t);
    t->cap = 256;
    t->entries = mem_zalloc(t->cap * sizeof *t->entries);
    return t;
}

void idempotency_free(struct idempotency_table **table) {
    if (!*table) return;
    free((*table)->entries);
    free(*table);
    *table = NULL;
}

static size_t slot_of(uint64_t key_lo, uint32_t stream, size_t cap) { return (key_lo ^ (uint64_t)stream * UINT64_C(0x9E3779B97F4A7C15)) & (cap - 1); }

static bool same_key(const struct idempotency_entry *a, const struct idempotency_entry *b) {
    return a->key_lo == b->key_lo && a->key_hi == b->key_hi && a->stream == b->stream;
}

static bool place(struct idempotency_entry *entries, size_t cap, struct idempotency_entry e) {
    size_t at = slot_of(e.key_lo, e.stream, cap);
    for (; entries[at].frame; at = (at + 1) & (cap - 1))
        if (same_key(&entries[at], &e)) break; /* the key came again after its window: the newer answer counts */
    bool added = !entries[at].frame;
    entries[at] = e;
    return added;
}

static void rebuild(struct idempotency_table *t, size_t cap, log_position from) {
    struct idempotency_entry *fresh = mem_zalloc(cap * sizeof *fresh);
    size_t n = 0;
    for (size_t i = 0; i < t->cap; i++)
        if (t->entries[i].frame && t->entries[i].frame >= from) n += place(fresh, cap, t->entries[i]);
    free(t->entries);
    *t = (struct idempotency_table){fresh, cap, n};
}

void idempotency_put(struct idempotency_table *t, struct idempotency_entry entry) {
    must(entry.frame > 0);
    if ((t->n + 1) * 3 > t->cap * 2) rebuild(t, t->cap * 2, 0);
    t->n += place(t->entries, t->cap, entry);
}

const struct idempotency_entry *idempotency_find(const struct idempotency_table *t, uint16_t stream, struct hash128 key) {
    struct idempotency_entry wanted = {.key_lo = key.lo, .key_hi = key.hi, .stream = stream};
    for (size_t at = slot_of(key.lo, stream, t->cap); t->entries[at].frame; at = (at + 1) & (t->cap - 1))
        if (same_key(&t->entries[at], &wanted)) return &t->entries[at];
    return NULL;
}

void idempotency_drop_below(struct idempotency_table *t, log_position position) {
    size_t left = 0, cap = 256;
    for (size_t i = 0; i < t->cap; i++) left += t->entries[i].frame && t->entries[i].frame >= position;
    if (left == t->n) return;
    while (left * 2 > cap) cap *= 2;
    rebuild(t, cap, position);
}

/* ---- entries on disk ---- */

struct entry_header {
    uint32_t length; /* header included */
    uint16_t stream, reserved;
    struct hash128 key, body;
    uint32_t n, accepted, duplicates, reserved2;
};
_Static_assert(sizeof(struct entry_header) == 56, "the header is its own layout");

static void put_varint(struct buf *out, uint64_t v) {
    while (v >= 128) {
        buf_char(out, (char)(v | 128));
        v >>= 7;
    }
    buf_char(out, (char)v);
}

static uint64_t zigzag(int64_t v) { return (uint64_t)v << 1 ^ (v < 0 ? UINT64_MAX : 0); }
static int64_t unzigzag(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

static bool get_varint(const char **at, const char *end, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t b = (uint8_t) * (*at)++;
        v |= (uint64_t)(b & 127) << shift;
        if (b < 128) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Per id: partition and whether its time differs from the frame's, the difference then, the step from the partition's expected next offset. */
void idempotency_encode(
    struct buf *out, uint16_t stream, struct hash128 key, const struct idempotency_answer *answer, const struct event_id *ids, int64_t received_ms) {
    size_t begin = out->n;
    struct entry_header h = {
        .stream = stream, .key = key, .body = answer->body, .n = answer->n, .accepted = answer->accepted, .duplicates = answer->duplicates};
    buf_put(out, &h, sizeof h);
    uint64_t expected[EVENT_PARTITIONS_MAX] = {0};
    for (uint32_t i = 0; i < answer->n; i++) {
        struct event_address a;
        bool ours = event_id_read(ids[i], &a);
        must(ours && a.stream == stream);
        bool other_time = a.received_ms != received_ms;
        put_varint(out, (uint64_t)a.partition << 1 | other_time);
        if (other_time) put_varint(out, zigzag(a.received_ms - received_ms));
        put_varint(out, zigzag((int64_t)(a.offset - expected[a.partition])));
        expected[a.partition] = a.offset + 1;
    }
    uint32_t length = (uint32_t)(out->n - begin);
    memcpy(out->p + begin, &length, sizeof length);
}

static bool decode_ids(const char *at, const char *end, const struct entry_header *h, int64_t received_ms, struct event_id *ids) {
    uint64_t expected[EVENT_PARTITIONS_MAX] = {0};
    for (uint32_t i = 0; i < h->n; i++) {
        uint64_t partition, time = 0, step;
        if (!get_varint(&at, end, &partition) || (partition & 1 && !get_varint(&at, end, &time)) || !get_varint(&at, end, &step)) return false;
        struct event_address a = {.stream = h->stream, .received_ms = received_ms + unzigzag(time), .partition = (uint16_t)(partition >> 1)};
        if (partition >> 1 >= EVENT_PARTITIONS_MAX) return false;
        a.offset = expected[a.partition] + (uint64_t)unzigzag(step);
        if (a.offset > EVENT_OFFSET_MAX || a.received_ms < 0 || a.received_ms >= INT64_C(1) << 48 || a.stream > EVENT_STREAM_MAX) return false;
        ids[i] = event_id_make(a);
        expected[a.partition] = a.offset + 1;
    }
    return true;
}

bool idempotency_decode(struct str raw, size_t *at, int64_t received_ms, uint16_t *stream, struct hash128 *key, struct idempotency_answer *answer,
    struct event_id *ids, uint32_t ids_max) {
    struct entry_header h;
    must(*at <= raw.n);
    if (raw.n - *at < sizeof h) return false;
    memcpy(&h, raw.p + *at, sizeof h);
    if (h.length < sizeof h || h.length > raw.n - *at || h.n > h.length - sizeof h) return false;
    if (ids && (h.n > ids_max || !decode_ids(raw.p + *at + sizeof h, raw.p + *at + h.length, &h, received_ms, ids))) return false;
    *stream = h.stream;
    *key = h.key;
    *answer = (struct idempotency_answer){.body = h.body, .n = h.n, .accepted = h.accepted, .duplicates = h.duplicates};
    *at += h.length;
    return true;
}

void segment_add_idempotency(struct segment *segment, struct idempotency_entry entry) {
    must(position_segment(entry.frame) == segment->number);
    if (segment->idempotency_n == segment->idempotency_cap) {
        segment->idempotency_cap = segment->idempotency_cap ? segment->idempotency_cap * 2 : 16;
        segment->idempotency = mem_realloc(segment->idempotency, segment->idempotency_cap * sizeof *segment->idempotency);
    }
    segment->idempotency[segment->idempotency_n++] = entry;
}

bool idempotency_index_frame(struct stream_log *log, struct segment *segment, uint64_t at, const char *frame, const struct frame_header *header) {
    must(header->kind == FRAME_IDEMPOTENCY);
    struct str raw = {frame + FRAME_HEADER_BYTES, header->raw_length};
    size_t in = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        uint16_t stream;
        struct hash128 key;
        struct idempotency_answer answer;
        size_t begin = in;
        if (!idempotency_decode(raw, &in, header->received_ms, &stream, &key, &answer, NULL, 0)) return false;
        struct idempotency_entry e = {.key_lo = key.lo, .key_hi = key.hi, .stream = stream, .frame = position_make(segment->number, at), .at = (uint32_t)begin};
        segment_add_idempotency(segment, e);
        idempotency_put(log->idempotency, e);
    }
    return true;
}
