/* Event id: a UUIDv7 (RFC 9562 section 5.7) that is its own address.
 *
 *   bits    field
 *   48      received_at, ms since 1970 (equal to the record's _received_at)
 *    4      version 7
 *   12      stream number
 *    2      variant 10
 *   10      partition
 *   46      offset in the partition
 *    6      zero
 */
#ifndef CUPEL_BASE_EVENT_ID_H
#define CUPEL_BASE_EVENT_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define EVENT_STREAM_MAX 4095 /* highest stream number */
#define EVENT_PARTITIONS_MAX 1024 /* partitions of a stream */
#define EVENT_OFFSET_MAX ((UINT64_C(1) << 46) - 1)
#define EVENT_ID_TEXT 36

struct event_address {
    int64_t received_ms;
    uint16_t stream;
    uint16_t partition;
    uint64_t offset;
};

struct event_id {
    uint8_t bytes[16]; /* big endian: memcmp order is (received_ms, stream, partition, offset) */
};

struct event_id event_id_make(struct event_address address);
bool event_id_read(struct event_id id, struct event_address *out); /* false: not one of ours (version, variant, low bits) */
void event_id_text(struct event_id id, char out[EVENT_ID_TEXT]); /* lower-case with dashes, no NUL */
bool event_id_parse(struct str text, struct event_id *out); /* any case; false when not a UUID */

#endif
