/* Frames: the bytes of the log. Shared by the writer (stream) and the readers (stream, log_view). Layout: docs/formats/log.md.
 *
 * All numbers are little endian; frames begin at multiples of 8 bytes. Nothing here allocates or keeps state; any thread. */
#ifndef CUPEL_STREAM_FRAME_H
#define CUPEL_STREAM_FRAME_H

#include "stream/stream.h"

#define SEGMENT_MAGIC UINT64_C(0x3147455350555043) /* "CPUPSEG1" */
#define FRAME_MAGIC 0x314D5243u /* "CRM1" */
#define FRAME_VERSION 1
#define FRAME_HEADER_BYTES 72u
#define SEGMENT_HEADER_BYTES 64u
#define RECORD_HEADER_BYTES 12u
#define FRAME_RAW_MAX (256u << 10) /* a frame takes no further record beyond this: single reads stay small, and a place fits 64 bits (dedupe.c) */

enum frame_kind {
    FRAME_RECORDS = 1, /* records of one partition; count 0: only duplicates to be counted */
    FRAME_TRAILER = 2, /* closes a group */
    FRAME_CHECKPOINT = 3, /* state of all streams (checkpoint.c) */
    FRAME_EPOCH = 4, /* state of one stream after a change of its partitions */
    FRAME_FORGET = 5, /* u16 stream number */
    FRAME_IDEMPOTENCY = 6, /* answers by idempotency key (idempotency.c) */
    FRAME_HOLE = 7, /* where recovery set damage aside */
};

struct frame_header {
    uint32_t magic;
    uint32_t length; /* header and padding included; a multiple of 8 */
    uint32_t crc; /* CRC32C over all other bytes of the frame, begun with the segment's salt */
    uint8_t version, kind, codec, reserved;
    uint64_t group; /* grows strictly along the log, over all segments */
    uint64_t durable_to; /* log position up to which all was synced before this group was written */
    uint16_t stream, partition;
    uint32_t count; /* records; trailer: frames of the group without itself */
    uint64_t base_offset; /* trailer: bytes of the group with itself */
    uint32_t duplicates;
    uint32_t key_id; /* of the records that do not carry their own; trailer: CRC32C over the crc fields of the group's frames */
    int64_t received_ms;
    uint32_t raw_length; /* bytes of records before padding */
    uint32_t index; /* frame's place in its group, from 0 */
};
_Static_assert(sizeof(struct frame_header) == FRAME_HEADER_BYTES, "the header is its own layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are copied as they are");

struct segment_header {
    uint64_t magic;
    uint32_t version, number;
    uint64_t log_id; /* random, one per log */
    uint64_t first_group; /* no group below it is in this segment */
    uint32_t previous; /* number of the segment before, 0: none */
    uint32_t previous_end; /* where that one's last good group ends: bytes behind it are void */
    int64_t created_ms;
    uint64_t reserved;
    uint32_t reserved2, crc; /* CRC32C over the 60 bytes before */
};
_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_BYTES, "the header is its own layout");

static inline size_t align8(size_t n) { return (n + 7) & ~(size_t)7; }
static inline log_position position_make(uint32_t segment, uint64_t at) { return (uint64_t)segment << 32 | at; }
static inline uint32_t position_segment(log_position p) { return (uint32_t)(p >> 32); }
static inline uint32_t position_at(log_position p) { return (uint32_t)p; }

/* The salt follows from the log's random id and the segment's number: bytes of another log, of another segment, or of an event's payload never pass. */
uint32_t segment_salt(uint64_t log_id, uint32_t number);
void segment_header_seal(struct segment_header *header); /* sets magic, version, crc */
bool segment_header_valid(const struct segment_header *header, uint64_t log_id, uint32_t number);

/* Sets magic, version, length, crc of the frame whose records already stand behind the header; bytes up to `length` are there, padding zeroed. */
void frame_seal(char *frame, const struct frame_header *fields, uint32_t length, uint32_t salt);
/* Plausible without the checksum: magic, version, known kind and codec, length within `available`. Copies the header out. */
bool frame_peek(const char *bytes, size_t available, struct frame_header *out);
bool frame_crc_good(const char *frame, const struct frame_header *header, uint32_t salt);
/* Both. */
bool frame_read(const char *bytes, size_t available, uint32_t salt, struct frame_header *out);
/* First place at or behind `from` (rounded up to 8) and below `end` where a whole valid frame begins; `end` when there is none. */
size_t frame_resync(const char *bytes, size_t from, size_t end, uint32_t salt);

/* ---- records ---- */

enum { /* flags on disk beyond the RECORD_… of stream.h */
    RECORD_OWN_KEY_ID = 32, /* u32 key id follows */
    RECORD_SAME_ORIGIN = 64, /* source and content type as in the record before, in this frame */
    RECORD_PUBLIC_FLAGS = 31,
};

size_t record_size(const struct stream_record *record, uint32_t wire_flags);
char *record_write(char *at, const struct stream_record *record, uint32_t wire_flags); /* returns the place behind it */

bool record_has_dedupe(const char *record); /* then the 16 bytes stand behind the record's header */

/* Walks the records of one frame. */
struct record_walk {
    const char *at, *end;
    uint32_t index, count, key_id;
    struct str source, content_type; /* of the record before */
};
void record_walk_begin(struct record_walk *walk, const char *frame, const struct frame_header *header);
/* false at the end, or when the bytes make no sense (then walk->index < walk->count). Views into the frame. `dedupe` may be NULL. */
bool record_walk_next(struct record_walk *walk, const struct frame_header *header, struct stored_record *out, struct hash128 *dedupe);

#endif
