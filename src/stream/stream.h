/* Stream: the durable log. One commit log per disk holds the frames of all streams in commit order; group commit; acknowledged is durable.
 *
 * Layout and recovery: docs/formats/log.md. Two views of the same files: `struct stream_log` in the server (the only writer) and `struct log_view`
 * (log_view.h) in the engine process, which reads up to a durable position that it is told.
 *
 * Ownership: a request and all it points to belong to the caller until its `done` was called. Threads: every function may be called from any thread
 * unless said otherwise; `done` runs on the committer thread (or the caller's, when submit fails no call is made) and must not block. */
#ifndef CUPEL_STREAM_STREAM_H
#define CUPEL_STREAM_STREAM_H

#include "base/arena.h"
#include "base/err.h"
#include "base/event_id.h"
#include "base/hash.h"
#include "base/str.h"
#include "host/host.h"

struct stream_log;

struct stream_log_options {
    const char *dir; /* data/log */
    const struct host *host;
    uint64_t segment_bytes; /* size of a segment file; default 128 MiB */
    uint64_t max_bytes; /* the log's disk budget; beyond it new events get E_BUSY; default 20 GB */
    uint64_t reserve_bytes; /* free space of the disk that is left alone; below it appends get E_NO_SPACE; default 256 MiB */
    int64_t retention_ms; /* how long landed segments stay; default 7 d */
    uint32_t queue_max; /* requests waiting for the committer; beyond: E_BUSY; default 8192 */
    uint64_t queue_bytes_max; /* bytes waiting; default 256 MiB */
    uint64_t group_bytes_max; /* one group at most (a single request may be larger); default 8 MiB */
    int64_t probe_ms; /* while appends are refused, the disk is tried again after so long; default 100 */
};

/* Limits of the format. */
#define STREAM_RECORD_BYTES_MAX (64u << 20)
#define STREAM_KEY_BYTES_MAX 1024u
#define STREAM_HEADERS_BYTES_MAX 65535u

/* What stands in the ledger about one stream (the log does not store names). */
struct stream_definition {
    uint16_t number; /* 1..4095, never reused; 0 is the log's own */
    const char *name;
    uint16_t partitions; /* of the current epoch */
    int64_t dedupe_window_ms; /* 0: no dedupe */
};

/* Position in the log: byte address over all segments (segment number << 32 | byte in the segment). Grows along the log. */
typedef uint64_t log_position;

struct stream_recovery { /* what opening found */
    uint64_t segments, groups, frames, records; /* of the part that was scanned */
    uint64_t cut_bytes; /* torn tail removed */
    uint64_t damaged_groups; /* below the durable position: set aside in data/log/damaged/, reported */
    int64_t took_us;
    char damage[256]; /* one sentence for people; empty when none */
};

enum status stream_log_open(const struct stream_log_options *options, const struct stream_definition *streams, size_t n, struct stream_log **out,
    struct stream_recovery *recovery, struct err *err);
/* Stops taking requests, commits what waits, joins the committer, closes. */
void stream_log_close(struct stream_log **log);

/* New stream, or changed window. Partitions may only grow: then a control frame starts a new epoch, durable before this returns. */
enum status stream_define(struct stream_log *log, const struct stream_definition *definition, struct err *err);
/* Forgets a stream: its frames no longer hold segments; appends give E_NOT_FOUND. */
enum status stream_forget(struct stream_log *log, uint16_t number, struct err *err);

/* ---- append ---- */

enum {
    RECORD_JSON_VALID = 1, /* the payload is one valid JSON text */
    RECORD_UTF8_VALID = 2, /* the payload is valid UTF-8 */
    RECORD_DEDUPE = 4, /* `dedupe` is set */
    RECORD_NO_KEY = 8, /* key absent (differs from an empty key): any partition */
    RECORD_PROTECTED = 16, /* personal fields were replaced before the append */
};

struct stream_record {
    struct str payload;
    struct str key;
    struct str headers; /* encoded by stream_headers_put, or empty */
    struct str source; /* up to 255 bytes: name of the source, "http" for the event API */
    struct str content_type; /* up to 255 bytes */
    struct hash128 dedupe; /* keyed hash of the dedupe key, by stream_dedupe_hash */
    uint32_t flags;
    uint32_t key_id; /* protection key used, 0 none */
};

struct stream_append; /* below */

struct stream_result {
    enum status status; /* OK, or why nothing of the request was stored */
    struct err err;
    uint32_t accepted, duplicates;
    bool replayed; /* answered from an earlier request with the same idempotency key */
    struct event_id *ids; /* one per record of the request; for duplicates the first one's; in memory the submitter gave (request->ids) */
    struct str replayed_answer; /* when replayed: the stored `answer` bytes, valid during done */
};

struct stream_append {
    uint16_t stream;
    const struct stream_record *records;
    uint32_t n;
    struct event_id *ids; /* caller's array of n */
    bool has_idempotency;
    struct hash128 idempotency_key, body_hash; /* same key, same body: first answer; same key, other body: E_UNPROCESSABLE */
    /* Called once. For requests with an idempotency key the log stores what `ids`, accepted and duplicates were and gives them again on replay. */
    void (*done)(void *context, const struct stream_result *result);
    void *context;
    struct stream_append *next; /* private */
    size_t bytes; /* private */
};

/* Hands a request to the committer. E_BUSY (queue full or log budget), E_NO_SPACE, E_UNAVAILABLE (the disk failed and is tried again), E_LIMIT, E_NOT_FOUND:
 * nothing happened and done is not called. In `done` E_IO or E_NO_SPACE say that this group's own write failed: nothing is visible, and after a crash the
 * request may be there as a whole or not at all. */
enum status stream_submit(struct stream_log *log, struct stream_append *request, struct err *err);
/* The same, waiting for the end. For CLI, landing and tests. */
enum status stream_append_wait(struct stream_log *log, struct stream_append *request, struct stream_result *result, struct err *err);

/* Keyed by the log's secret (data/log/secret, made at the first open); `stream` is mixed in. */
struct hash128 stream_dedupe_hash(const struct stream_log *log, uint16_t stream, struct str key);

/* Headers as stored: u8 name length, name (lower case), u16 value length, value; repeated. */
struct buf;
bool stream_headers_put(struct buf *out, struct str name, struct str value);
bool stream_headers_next(struct str *headers, struct str *name, struct str *value); /* false at the end or when damaged */

/* ---- read ---- */

struct stored_record {
    struct event_id id;
    int64_t received_ms;
    uint16_t stream, partition;
    uint64_t offset;
    uint32_t flags, key_id;
    struct str payload, key, headers, source, content_type; /* in the arena */
    log_position position; /* of its frame */
};

struct stream_batch {
    struct stored_record *records;
    size_t n;
    uint64_t next_offset; /* where to go on */
    uint64_t start_offset; /* first offset that the log still has */
    uint64_t end_offset; /* one behind the last durable record */
};

/* Records of one partition from `offset` on, at most max_records and about max_bytes. E_NOT_FOUND with out->start_offset set when the log no longer has
 * that offset (read on from bronze). Nothing beyond the durable position is ever seen. */
enum status stream_read(struct stream_log *log, struct arena *arena, uint16_t stream, uint16_t partition, uint64_t offset, size_t max_records, size_t max_bytes,
    struct stream_batch *out, struct err *err);
/* One event by its address. E_NOT_FOUND: not (or no longer) in the log. */
enum status stream_find(struct stream_log *log, struct arena *arena, struct event_address address, struct stored_record *out, struct err *err);

/* Calls f(context) once, on the committer thread, when the partition's end grows beyond `offset` (at once when it has). Returns a ticket for cancel. */
uint64_t stream_watch(struct stream_log *log, uint16_t stream, uint16_t partition, uint64_t offset, void (*f)(void *context), void *context);
/* After it returns f is not running and will not run. true: it had not run. */
bool stream_unwatch(struct stream_log *log, uint64_t ticket);

/* ---- state ---- */

struct stream_epoch {
    uint32_t number;
    uint16_t partitions;
    uint64_t *start_offsets; /* per partition of this epoch: the first offset that belongs to it */
    int64_t started_ms;
};

struct partition_state {
    uint64_t start_offset, end_offset; /* what the log has, durable */
    uint64_t landed_offset; /* records below are in bronze */
    uint64_t duplicates; /* dropped ones, since the log began keeping them */
    int64_t last_received_ms;
};

struct stream_state {
    struct stream_definition definition;
    uint16_t partitions_n; /* all that ever were */
    struct partition_state *partitions;
    struct stream_epoch *epochs;
    size_t epochs_n;
    uint64_t unlanded_records, unlanded_bytes;
    int64_t oldest_unlanded_ms; /* 0: none */
    log_position unlanded_from; /* no frame of this stream below it is unlanded */
};

enum status stream_state(struct stream_log *log, struct arena *arena, uint16_t stream, struct stream_state *out, struct err *err);
log_position stream_durable(struct stream_log *log);
struct log_stats {
    uint64_t bytes, segments, groups, records, syncs;
    uint64_t dedupe_keys, dedupe_memory_bytes;
    bool full; /* appends are refused at the moment */
    char full_reason[160];
};
struct log_stats stream_log_stats(struct stream_log *log);

/* Per receipt hour: what the log's frames say, for the accounts. Folded-in counts of deleted segments are the ledger's (see stream_on_segment_gone). */
struct stream_hour {
    uint16_t stream;
    int64_t hour_ms; /* start of the hour, UTC */
    uint64_t received, duplicates, received_bytes; /* bytes of payloads */
    uint32_t segment; /* in stream_trim's callback: the segment that goes, so that storing its hours twice can be told; else 0 */
};
enum status stream_hours(struct stream_log *log, struct arena *arena, uint16_t stream, struct stream_hour **out, size_t *n, struct err *err);

/* ---- landing and retention ---- */

/* The lake has committed everything of these partitions below these offsets. Only grows. */
void stream_landed(struct stream_log *log, uint16_t stream, const uint64_t *offsets, uint16_t partitions);
/* Deletes segments that are landed and over the retention (or over max_bytes), oldest first. Before each deletion `gone` gets the segment's hours, to be
 * stored; when it fails the segment stays. */
enum status stream_trim(struct stream_log *log, int64_t now_ms, enum status (*gone)(void *context, const struct stream_hour *hours, size_t n, struct err *err),
    void *context, uint64_t *deleted, struct err *err);
/* Checks all checksums up to the durable position; damage is counted and described, not changed. */
enum status stream_verify(struct stream_log *log, struct arena *arena, struct stream_recovery *out, struct err *err);

#endif
