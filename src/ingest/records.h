/* A request body cut into records. Pure functions: no I/O, no state but the scanner's. */
#ifndef CUPEL_INGEST_RECORDS_H
#define CUPEL_INGEST_RECORDS_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

enum body_kind {
    BODY_JSON, /* application/json: one object, or an array of objects */
    BODY_NDJSON, /* application/x-ndjson, application/ndjson, application/jsonl: one object per line */
    BODY_RAW, /* anything else: one record as it is */
};

/* `content_type` in lower case without parameters. "…+json" counts as JSON; a missing type is JSON too. */
enum body_kind body_kind_of(struct str content_type);

struct record_limits {
    uint64_t record_bytes_max;
    uint32_t records_max;
};

struct cut_record {
    struct str text; /* view into the body, blanks around it removed (BODY_RAW: the whole body) */
    uint32_t line; /* from 1; 0 when not NDJSON */
};

struct record_list {
    struct cut_record *list; /* in the arena */
    uint32_t n;
};

/* Cuts only; whether each record is valid is up to record_check. Rules:
 *  - A UTF-8 byte order mark at the very beginning is skipped; anywhere else it is an error of its record. Not for BODY_RAW.
 *  - NDJSON: lines end in LF or CRLF, the last one needs no end; lines of blanks only are skipped but counted.
 *  - JSON array: its elements; an empty array has no records. Other JSON: one record.
 * E_INVALID: no record at all (empty body), or the array's structure is broken; E_LIMIT: too many records. Both name the place. */
enum status records_cut(
    enum body_kind kind, struct str body, const struct record_limits *limits, struct arena *arena, struct record_list *out, struct err *err);

/* Where an error is, for errors[] of problem+json. */
struct record_place {
    uint32_t record; /* number in the request, from 1 */
    uint32_t line; /* NDJSON, from 1; else 0 */
    uint64_t byte; /* of the body (after decompression): where the error is, or where the record begins when it is about the whole of it */
};

/* Validates one JSON record of an `accept: json` stream: an object, RFC 8259, at most JSON_DEPTH_MAX levels, size limit. The document stays loaded in the
 * scanner. The text needs JSON_PADDING readable bytes behind it. The error's text names the byte in the record. */
enum status record_check(struct json_scanner *scanner, struct str text, const struct record_limits *limits, bool any_kind, struct err *err);
/* The byte of the record that an error of record_check names; 0: none. */
uint64_t record_byte_named(const struct err *err);
/* "\"errors\":[{…}]" for http_answer_problem. */
struct str record_error(struct arena *arena, const struct record_place *place, const struct err *err);

#endif
