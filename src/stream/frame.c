#include "stream/frame.h"

#include <string.h>

#include "base/assert.h"

uint32_t segment_salt(uint64_t log_id, uint32_t number) {
    uint64_t seed[2] = {log_id, number};
    return (uint32_t)(hash64(seed, sizeof seed) >> 16) | 1; /* never 0: zeroed bytes cannot pass */
}

void segment_header_seal(struct segment_header *header) {
    must(header->number > 0);
    header->magic = SEGMENT_MAGIC;
    header->version = FRAME_VERSION;
    header->crc = crc32c(0, header, SEGMENT_HEADER_BYTES - 4);
}

bool segment_header_valid(const struct segment_header *header, uint64_t log_id, uint32_t number) {
    return header->magic == SEGMENT_MAGIC && header->version == FRAME_VERSION && header->number == number && header->log_id == log_id &&
        header->crc == crc32c(0, header, SEGMENT_HEADER_BYTES - 4);
}

static uint32_t frame_crc(const char *frame, uint32_t length, uint32_t salt) { return crc32c(crc32c(salt, frame, 8), frame + 12, length - 12); }

void frame_seal(char *frame, const struct frame_header *fields, uint32_t length, uint32_t salt) {
    must(length >= FRAME_HEADER_BYTES && length % 8 == 0);
    must(fields->raw_length <= length - FRAME_HEADER_BYTES);
    struct frame_header h = *fields;
    h.magic = FRAME_MAGIC;
    h.version = FRAME_VERSION;
    h.length = length;
    memcpy(frame, &h, sizeof h);
    h.crc = frame_crc(frame, length, salt);
    memcpy(frame, &h, sizeof h);
}

/* What an event id can hold, so that no reader has to ask again. */
static bool records_plausible(const struct frame_header *h) {
    return h->stream >= 1 && h->stream <= EVENT_STREAM_MAX && h->partition < EVENT_PARTITIONS_MAX && h->base_offset <= EVENT_OFFSET_MAX - h->count &&
        h->count <= h->raw_length / RECORD_HEADER_BYTES;
}

bool frame_peek(const char *bytes, size_t available, struct frame_header *out) {
    if (available < FRAME_HEADER_BYTES) return false;
    struct frame_header h;
    memcpy(&h, bytes, sizeof h);
    if (h.magic != FRAME_MAGIC || h.version != FRAME_VERSION || h.codec != 0) return false;
    if (h.kind < FRAME_RECORDS || h.kind > FRAME_HOLE) return false;
    if (h.length < FRAME_HEADER_BYTES || h.length % 8 != 0 || h.length > available || h.raw_length > h.length - FRAME_HEADER_BYTES) return false;
    if (h.received_ms < 0 || h.received_ms >= INT64_C(1) << 48 || h.group >= UINT64_C(1) << 62) return false;
    if (h.kind == FRAME_RECORDS && !records_plausible(&h)) return false;
    *out = h;
    return true;
}

bool frame_crc_good(const char *frame, const struct frame_header *header, uint32_t salt) {
    must(header->length >= FRAME_HEADER_BYTES);
    return frame_crc(frame, header->length, salt) == header->crc;
}

bool frame_read(const char *bytes, size_t available, uint32_t salt, struct frame_header *out) {
    struct frame_header h;
    if (!frame_peek(bytes, available, &h) || !frame_crc_good(bytes, &h, salt)) return false;
    *out = h;
    return true;
}

size_t frame_resync(const char *bytes, size_t from, size_t end, uint32_t salt) {
    const uint32_t magic = FRAME_MAGIC;
    for (size_t at = align8(from); at + FRAME_HEADER_BYTES <= end; at += 8) {
        struct frame_header h;
        if (memcmp(bytes + at, &magic, sizeof magic) != 0) continue;
        if (frame_read(bytes + at, end - at, salt, &h)) return at;
    }
    return end;
}

/* ---- records ---- */

struct record_header {
    uint32_t payload_n;
    uint16_t key_n, headers_n;
    uint8_t source_n, content_type_n, flags, reserved;
};
_Static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "the header is its own layout");

size_t record_size(const struct stream_record *r, uint32_t wire_flags) {
    size_t origin = wire_flags & RECORD_SAME_ORIGIN ? 0 : r->source.n + r->content_type.n;
    size_t extra = (wire_flags & RECORD_DEDUPE ? 16 : 0) + (wire_flags & RECORD_OWN_KEY_ID ? 4 : 0);
    return RECORD_HEADER_BYTES + extra + r->key.n + r->headers.n + origin + r->payload.n;
}

static char *put_str(char *at, struct str s) {
    if (s.n) memcpy(at, s.p, s.n);
    return at + s.n;
}

char *record_write(char *at, const struct stream_record *r, uint32_t wire_flags) {
    must(r->key.n <= STREAM_KEY_BYTES_MAX && r->headers.n <= STREAM_HEADERS_BYTES_MAX);
    bool same = wire_flags & RECORD_SAME_ORIGIN;
    struct record_header h = {.payload_n = (uint32_t)r->payload.n,
        .key_n = (uint16_t)r->key.n,
        .headers_n = (uint16_t)r->headers.n,
        .source_n = same ? 0 : (uint8_t)r->source.n,
        .content_type_n = same ? 0 : (uint8_t)r->content_type.n,
        .flags = (uint8_t)wire_flags};
    memcpy(at, &h, sizeof h);
    at += sizeof h;
    if (wire_flags & RECORD_DEDUPE) {
        memcpy(at, &r->dedupe, 16);
        at += 16;
    }
    if (wire_flags & RECORD_OWN_KEY_ID) {
        memcpy(at, &r->key_id, 4);
        at += 4;
    }
    at = put_str(put_str(at, r->key), r->headers);
    if (!same) at = put_str(put_str(at, r->source), r->content_type);
    return put_str(at, r->payload);
}

bool record_has_dedupe(const char *record) {
    struct record_header h;
    memcpy(&h, record, sizeof h);
    return h.flags & RECORD_DEDUPE;
}

void record_walk_begin(struct record_walk *walk, const char *frame, const struct frame_header *header) {
    must(header->kind == FRAME_RECORDS);
    *walk = (struct record_walk){
        .at = frame + FRAME_HEADER_BYTES, .end = frame + FRAME_HEADER_BYTES + header->raw_length, .count = header->count, .key_id = header->key_id};
}

static struct str take_str(const char **at, size_t n) {
    struct str s = {*at, n};
    *at += n;
    return s;
}

bool record_walk_next(struct record_walk *walk, const struct frame_header *frame, struct stored_record *out, struct hash128 *dedupe) {
    struct record_header h;
    must(walk->at <= walk->end);
    if (walk->index >= walk->count || (size_t)(walk->end - walk->at) < sizeof h) return false;
    memcpy(&h, walk->at, sizeof h);
    bool same = h.flags & RECORD_SAME_ORIGIN;
    size_t extra = (h.flags & RECORD_DEDUPE ? 16u : 0u) + (h.flags & RECORD_OWN_KEY_ID ? 4u : 0u);
    size_t size = sizeof h + extra + h.key_n + h.headers_n + (same ? 0u : (size_t)h.source_n + h.content_type_n) + h.payload_n;
    if ((size_t)(walk->end - walk->at) < size) return false;

    const char *at = walk->at + sizeof h;
    if (h.flags & RECORD_DEDUPE) {
        if (dedupe) memcpy(dedupe, at, 16);
        at += 16;
    }
    uint32_t key_id = walk->key_id;
    if (h.flags & RECORD_OWN_KEY_ID) {
        memcpy(&key_id, at, 4);
        at += 4;
    }
    out->key = take_str(&at, h.key_n);
    out->headers = take_str(&at, h.headers_n);
    if (!same) {
        walk->source = take_str(&at, h.source_n);
        walk->content_type = take_str(&at, h.content_type_n);
    }
    out->source = walk->source;
    out->content_type = walk->content_type;
    out->payload = take_str(&at, h.payload_n);
    out->flags = h.flags & RECORD_PUBLIC_FLAGS;
    out->key_id = key_id;
    out->stream = frame->stream;
    out->partition = frame->partition;
    out->offset = frame->base_offset + walk->index;
    out->received_ms = frame->received_ms;
    out->id = event_id_make((struct event_address){frame->received_ms, frame->stream, frame->partition, out->offset});
    walk->at = at;
    walk->index++;
    return true;
}
