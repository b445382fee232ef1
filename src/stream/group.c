/* One group: from the list of waiting requests to the bytes of one write. Two passes: planning decides everything (replayed, duplicate, partition, offset, id,
 * sizes), encoding copies each payload once to its final place. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

#define NONE UINT32_MAX
#define GROUP_MEMORY_KEPT (12u << 20)

struct group *group_new(void) {
    return mem_zalloc(sizeof(struct group));
}

void group_free(struct group **group) {
    struct group *g = *group;
    if (!g) return;
    free(g->answers);
    free(g->frames);
    free(g->planned);
    free(g->candidates);
    free(g->fresh.slots);
    free(g->keys.slots);
    buf_free(&g->control);
    buf_free(&g->idempotency);
    free(g->bytes);
    free(g);
    *group = NULL;
}

#define GROW(array, cap, need) \
    do { \
        if ((need) > (cap)) { \
            (cap) = (need) > (cap)*2 ? (need) : (cap)*2; \
            (array) = mem_realloc((array), (cap) * sizeof *(array)); \
        } \
    } while (0)

static void set_reset(struct slot_set *set, size_t n) {
    size_t cap = 16;
    while (cap < n * 2) cap *= 2;
    if (set->allocated < cap) {
        free(set->slots);
        set->slots = mem_alloc(cap * sizeof *set->slots);
        set->allocated = cap;
    }
    must(cap >= n * 2 && (cap & (cap - 1)) == 0);
    set->cap = cap; /* of a larger array only the beginning is used, and cleared */
    memset(set->slots, 0, cap * sizeof *set->slots);
}

void group_begin(struct stream_log *log, struct group *g) {
    g->stamp++;
    int64_t now = host_wall_ms(&log->host);
    g->received_ms = now > log->last_received_ms ? now : log->last_received_ms;
    must(g->received_ms >= 0 && g->received_ms < INT64_C(1) << 48);
    g->answers_n = g->frames_n = g->planned_n = g->candidates_n = g->bytes_n = 0;
    g->idempotency_n = 0;
    g->records = 0;
    buf_clear(&g->control);
    buf_clear(&g->idempotency);
}

static struct frame_plan *add_frame(struct group *g, uint8_t kind) {
    GROW(g->frames, g->frames_cap, g->frames_n + 1);
    struct frame_plan *f = &g->frames[g->frames_n];
    *f = (struct frame_plan){.header = {.kind = kind, .received_ms = g->received_ms, .index = (uint32_t)g->frames_n}};
    g->frames_n++;
    return f;
}

void group_add_control(struct group *g, uint8_t kind, uint16_t stream, struct str raw) {
    must(kind != FRAME_RECORDS && raw.n <= REQUEST_BYTES_MAX);
    struct frame_plan *f = add_frame(g, kind);
    f->header.stream = stream;
    f->header.raw_length = (uint32_t)raw.n;
    f->control_at = g->control.n;
    buf_str(&g->control, raw);
}

bool group_empty(const struct group *g) { return g->frames_n == 0; }

size_t group_size(const struct group *g) {
    size_t n = FRAME_HEADER_BYTES; /* trailer */
    for (size_t i = 0; i < g->frames_n; i++) n += FRAME_HEADER_BYTES + align8(g->frames[i].header.raw_length);
    return n;
}

/* ---- planning ---- */

static void answer_fails(struct answer *a, enum status status, const char *text) {
    a->result.status = err_set(&a->result.err, status, "%s", text);
    a->planned = false;
}

/* From the end: what is asked for again is mostly recent. */
static const struct segment *segment_by_number(const struct stream_log *log, uint32_t number) {
    for (size_t i = log->segments_n; i-- > 0;)
        if (log->segment[i]->number == number) return log->segment[i];
    return NULL;
}

/* An earlier answer from the log. false: none (any more). */
static bool replay_stored(struct stream_log *log, struct group *g, struct answer *a) {
    struct stream_append *r = a->request;
    must(r->has_idempotency);
    const struct idempotency_entry *e = idempotency_find(log->idempotency, r->stream, r->idempotency_key);
    struct segment *segment = e ? (struct segment *)segment_by_number(log, position_segment(e->frame)) : NULL;
    if (!segment) return false;
    enum status s = cache_frame(log, segment, position_at(e->frame), &a->result.err);
    if (s == E_CORRUPT) return false; /* the answer is lost with its group */
    if (s != OK) {
        answer_fails(a, s, "the earlier answer to this idempotency key cannot be read");
        return true;
    }
    const struct frame_header *h = &log->cache.header;
    if (h->received_ms <= g->received_ms - IDEMPOTENCY_WINDOW_MS) return false;
    struct str raw = {log->cache.p + FRAME_HEADER_BYTES, h->raw_length};
    struct idempotency_answer stored;
    struct hash128 key;
    uint16_t stream;
    size_t at = e->at;
    if (at > raw.n || !idempotency_decode(raw, &at, h->received_ms, &stream, &key, &stored, NULL, 0)) return false;
    at = e->at;
    if (!hash128_eq(stored.body, r->body_hash) || stored.n != r->n) {
        answer_fails(a, E_UNPROCESSABLE, "this idempotency key was used with another body");
        return true;
    }
    if (!idempotency_decode(raw, &at, h->received_ms, &stream, &key, &stored, r->ids, r->n)) return false;
    a->result.accepted = stored.accepted;
    a->result.duplicates = stored.duplicates;
    a->result.replayed = true;
    return true;
}

/* The same key earlier in this very group. */
static bool replay_in_group(struct group *g, struct answer *a) {
    struct stream_append *r = a->request;
    must(g->keys.cap > 0);
    size_t mask = g->keys.cap - 1, at = (r->idempotency_key.lo ^ r->stream) & mask;
    for (; g->keys.slots[at]; at = (at + 1) & mask) {
        struct answer *earlier = &g->answers[g->keys.slots[at] - 1];
        struct stream_append *e = earlier->request;
        if (e->stream != r->stream || !hash128_eq(e->idempotency_key, r->idempotency_key)) continue;
        if (!hash128_eq(e->body_hash, r->body_hash) || e->n != r->n)
            answer_fails(a, E_UNPROCESSABLE, "this idempotency key was used with another body");
        else
            a->replay_of = g->keys.slots[at];
        if (a->replay_of) memcpy(r->ids, e->ids, r->n * sizeof *r->ids); /* the earlier request may be gone once it was answered */
        return true;
    }
    g->keys.slots[at] = (uint32_t)(a - g->answers) + 1;
    return false;
}

/* The candidate of this group with the same hash that was stored, or NULL; then `index` takes its place. */
static struct candidate *fresh_find_or_add(struct group *g, uint32_t index) {
    must(index < g->candidates_n && g->fresh.cap > g->candidates_n);
    const struct candidate *c = &g->candidates[index];
    size_t mask = g->fresh.cap - 1, at = (c->hash.lo ^ c->stream) & mask;
    for (; g->fresh.slots[at]; at = (at + 1) & mask) {
        struct candidate *other = &g->candidates[g->fresh.slots[at] - 1];
        if (other->stream == c->stream && hash128_eq(other->hash, c->hash)) return other;
    }
    g->fresh.slots[at] = index + 1;
    return NULL;
}

/* The partition's frame in this group; a new one when there is none or the last has grown large enough. Its base offset is where the partition goes on, but
 * never below what the lake has of it. */
static struct frame_plan *plan_frame(struct group *g, struct partition *p) {
    if (p->plan_stamp == g->stamp && g->frames[p->plan].header.raw_length < FRAME_RAW_MAX) return &g->frames[p->plan];
    uint64_t floor = atomic_load_explicit(&p->landed_offset, memory_order_relaxed);
    if (p->next_offset < floor) p->next_offset = floor;
    must(p->next_offset <= EVENT_OFFSET_MAX && p->next_offset >= p->end_offset);
    struct frame_plan *f = add_frame(g, FRAME_RECORDS);
    f->partition = p;
    f->header.stream = p->stream;
    f->header.partition = p->number;
    f->header.base_offset = p->next_offset;
    p->plan_stamp = g->stamp;
    p->plan = (uint32_t)g->frames_n - 1;
    return f;
}

/* Gives the record its place: frame, index, byte, and the flags that shorten it on disk. */
static void plan_stored(struct group *g, struct frame_plan *f, const struct stream_record *record, uint32_t flags, struct planned *planned) {
    struct partition *p = f->partition;
    must(f->header.raw_length < FRAME_RAW_MAX && p->next_offset == f->header.base_offset + f->header.count);
    uint32_t wire = flags & RECORD_PUBLIC_FLAGS;
    if (f->header.count == 0)
        f->header.key_id = record->key_id;
    else if (str_eq(f->source, record->source) && str_eq(f->content_type, record->content_type))
        wire |= RECORD_SAME_ORIGIN;
    if (record->key_id != f->header.key_id) wire |= RECORD_OWN_KEY_ID;
    f->source = record->source;
    f->content_type = record->content_type;
    planned->frame = (uint32_t)(f - g->frames);
    planned->index = f->header.count;
    planned->raw_at = f->header.raw_length;
    planned->wire_flags = wire;
    f->header.count++;
    f->header.raw_length += (uint32_t)record_size(record, wire);
    f->payload_bytes += record->payload.n;
    p->next_offset++;
    g->records++;
}

/* Stable for ever within an epoch: the hash of a key decides on disk, see docs/formats/log.md. */
static struct partition *choose_partition(struct stream_info *info, const struct stream_record *record, uint16_t keyless) {
    uint16_t partitions = info->def.partitions;
    uint16_t number = record->flags & RECORD_NO_KEY ? keyless : (uint16_t)(hash64_str(record->key) % partitions);
    must(number < info->partitions_n);
    return info->partitions[number];
}

/* The request is accepted from here on; nothing below can refuse one of its records, so it is stored as a whole. */
static void plan_records(struct stream_log *log, struct group *g, struct answer *a, struct stream_info *info, uint32_t candidate) {
    struct stream_append *r = a->request;
    uint16_t keyless = (uint16_t)(info->round_robin++ % info->def.partitions);
    a->first_planned = (uint32_t)g->planned_n;
    a->planned = true;
    GROW(g->planned, g->planned_cap, g->planned_n + r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        const struct stream_record *record = &r->records[i];
        struct partition *p = choose_partition(info, record, keyless);
        struct frame_plan *f = plan_frame(g, p);
        struct planned *planned = &g->planned[g->planned_n++];
        *planned = (struct planned){.frame = NONE, .candidate = NONE};
        bool asks = record->flags & RECORD_DEDUPE && info->def.dedupe_window_ms > 0;
        struct candidate *c = asks ? &g->candidates[candidate] : NULL;
        struct candidate *first = !c ? NULL : c->found ? c : fresh_find_or_add(g, candidate);
        if (first) {
            r->ids[i] = first->first;
            f->header.duplicates++;
            a->result.duplicates++;
        } else {
            r->ids[i] = event_id_make((struct event_address){g->received_ms, p->stream, p->number, p->next_offset});
            if (c) {
                c->first = r->ids[i];
                planned->candidate = candidate;
            }
            plan_stored(g, f, record, asks ? record->flags : record->flags & ~(uint32_t)RECORD_DEDUPE, planned);
            a->result.accepted++;
        }
        candidate += asks;
    }
    must(a->result.accepted + a->result.duplicates == r->n);
}

static bool stream_takes(const struct stream_info *info) { return info && info->defined && !info->forgotten; }

static void plan_answer(struct stream_log *log, struct group *g, struct answer *a, uint32_t candidate, uint32_t candidates) {
    struct stream_append *r = a->request;
    must(candidate + candidates <= g->candidates_n);
    struct stream_info *info = stream_get(log, r->stream);
    if (!stream_takes(info)) {
        answer_fails(a, E_NOT_FOUND, "the stream is gone");
        return;
    }
    if (r->has_idempotency && replay_stored(log, g, a)) return;
    for (uint32_t i = 0; i < candidates; i++)
        if (g->candidates[candidate + i].failed != OK) {
            answer_fails(a, E_IO, "the disk cannot say whether this event is a duplicate");
            return;
        }
    if (r->has_idempotency && replay_in_group(g, a)) return;
    plan_records(log, g, a, info, candidate);
    if (!r->has_idempotency) return;
    struct idempotency_answer answer = {.body = r->body_hash, .n = r->n, .accepted = a->result.accepted, .duplicates = a->result.duplicates};
    idempotency_encode(&g->idempotency, r->stream, r->idempotency_key, &answer, r->ids, g->received_ms);
    g->idempotency_n++;
}

/* Which records of the request have to be looked up. How many: the caller passes on that many candidates, whatever becomes of the request. */
static uint32_t gather_candidates(struct stream_log *log, struct group *g, const struct stream_append *r) {
    const struct stream_info *info = stream_get(log, r->stream);
    if (!stream_takes(info) || info->def.dedupe_window_ms <= 0) return 0;
    uint32_t n = 0;
    int64_t not_before_ms = g->received_ms - info->def.dedupe_window_ms;
    GROW(g->candidates, g->candidates_cap, g->candidates_n + r->n);
    for (uint32_t i = 0; i < r->n; i++) {
        if (!(r->records[i].flags & RECORD_DEDUPE)) continue;
        g->candidates[g->candidates_n++] = (struct candidate){.hash = r->records[i].dedupe, .stream = r->stream, .not_before_ms = not_before_ms};
        n++;
    }
    return n;
}

void group_plan(struct stream_log *log, struct group *g, struct stream_append *list) {
    uint32_t with_keys = 0;
    for (struct stream_append *r = list; r; r = r->next) {
        GROW(g->answers, g->answers_cap, g->answers_n + 1);
        struct answer *a = &g->answers[g->answers_n++];
        a->request = r;
        a->replay_of = 0;
        a->planned = false;
        a->result.status = OK;
        a->result.accepted = a->result.duplicates = 0;
        a->result.replayed = false;
        a->result.ids = r->ids;
        a->result.replayed_answer = STR_NULL;
        a->first_planned = gather_candidates(log, g, r); /* until planned: how many candidates */
        with_keys += r->has_idempotency;
    }
    set_reset(&g->fresh, g->candidates_n);
    set_reset(&g->keys, with_keys);
    mutex_lock(&log->segments);
    dedupe_probe(log, g->candidates, g->candidates_n);
    uint32_t candidate = 0;
    for (size_t i = 0; i < g->answers_n; i++) {
        uint32_t n = g->answers[i].first_planned;
        plan_answer(log, g, &g->answers[i], candidate, n);
        candidate += n;
    }
    mutex_unlock(&log->segments);
    must(candidate == g->candidates_n);
    if (g->idempotency_n) {
        group_add_control(g, FRAME_IDEMPOTENCY, 0, buf_view(&g->idempotency));
        g->frames[g->frames_n - 1].header.count = g->idempotency_n;
    }
}

/* ---- encoding ---- */

/* Fixes number, places and durable_to; makes room for the bytes. Large memory of a rare large group is given back. */
static void layout(struct stream_log *log, struct group *g) {
    size_t size = group_size(g);
    must(size < UINT32_MAX);
    if (g->bytes_cap < size || (g->bytes_cap > GROUP_MEMORY_KEPT && size < GROUP_MEMORY_KEPT)) {
        free(g->bytes);
        g->bytes_cap = size < (1u << 20) ? 1u << 20 : size;
        g->bytes = mem_alloc(g->bytes_cap);
    }
    g->bytes_n = size;
    uint64_t durable = atomic_load(&log->durable);
    g->number = log->next_group++;
    size_t at = 0;
    for (size_t i = 0; i < g->frames_n; i++) {
        struct frame_plan *f = &g->frames[i];
        f->at = at;
        f->cursor = g->bytes + at + FRAME_HEADER_BYTES;
        f->header.group = g->number;
        f->header.durable_to = durable;
        at += FRAME_HEADER_BYTES + align8(f->header.raw_length);
    }
    must(at + FRAME_HEADER_BYTES == size);
}

static void encode_records(struct group *g) {
    for (size_t i = 0; i < g->answers_n; i++) {
        const struct answer *a = &g->answers[i];
        if (!a->planned) continue;
        for (uint32_t k = 0; k < a->request->n; k++) {
            const struct planned *p = &g->planned[a->first_planned + k];
            if (p->frame == NONE) continue;
            must(p->frame < g->frames_n);
            struct frame_plan *f = &g->frames[p->frame];
            f->cursor = record_write(f->cursor, &a->request->records[k], p->wire_flags);
        }
    }
}

void group_encode(struct stream_log *log, struct group *g, uint32_t salt) {
    must(g->frames_n > 0);
    layout(log, g);
    encode_records(g);
    uint32_t crcs = 0;
    for (size_t i = 0; i < g->frames_n; i++) {
        struct frame_plan *f = &g->frames[i];
        char *frame = g->bytes + f->at;
        uint32_t raw = f->header.raw_length, length = FRAME_HEADER_BYTES + (uint32_t)align8(raw);
        if (f->header.kind != FRAME_RECORDS) {
            if (raw) memcpy(f->cursor, g->control.p + f->control_at, raw);
            f->cursor += raw;
        }
        must(f->cursor == frame + FRAME_HEADER_BYTES + raw);
        memset(f->cursor, 0, length - FRAME_HEADER_BYTES - raw);
        frame_seal(frame, &f->header, length, salt);
        crcs = crc32c(crcs, frame + offsetof(struct frame_header, crc), 4);
    }
    struct frame_header trailer = {.kind = FRAME_TRAILER,
        .group = g->number,
        .durable_to = atomic_load(&log->durable),
        .count = (uint32_t)g->frames_n,
        .base_offset = g->bytes_n,
        .key_id = crcs,
        .received_ms = g->received_ms,
        .index = (uint32_t)g->frames_n};
    frame_seal(g->bytes + g->bytes_n - FRAME_HEADER_BYTES, &trailer, FRAME_HEADER_BYTES, salt);
}

void group_undo(struct stream_log *log, struct group *g) {
    for (size_t i = 0; i < g->frames_n; i++) {
        struct partition *p = g->frames[i].partition;
        if (p) p->next_offset = p->end_offset; /* only the committer changes it: no lock */
    }
    must(log->next_group >= g->number); /* a failed group's number is never used again */
}
