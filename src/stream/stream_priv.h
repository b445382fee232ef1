/* What the files of the stream room share. Reading tour: stream.c (open, close, definitions) -> group.c (plans one group) -> committer.c (writes, syncs,
 * publishes) -> index.c (what is where) -> reader.c; recovery.c and seal.c for the way back from disk; dedupe.c, idempotency.c, checkpoint.c, watch.c,
 * retention.c beside.
 *
 * Locks, taken in this order and never held over a sync:
 *   queue     the list of waiting requests and commands, stop, trouble text
 *   segments  the list of segments and their key filters: the committer holds it while it plans, trim and the sealer while they change it
 *   state     what is published: streams, partitions, extents, hours, ends, watchers
 * The committer alone changes streams, partitions and extents (trim drops extents), so it reads them without a lock. */
#ifndef CUPEL_STREAM_STREAM_PRIV_H
#define CUPEL_STREAM_STREAM_PRIV_H

#include <stdatomic.h>

#include "base/buf.h"
#include "host/map.h"
#include "host/thread.h"
#include "stream/frame.h"
#include "stream/stream.h"

#define SPOT_BYTES (64u << 10) /* a partition's index gets an entry after so many of its own bytes ... */
#define SPOT_DISTANCE (1u << 20) /* ... or so many bytes of the log, whatever is in them */
#define IDEMPOTENCY_WINDOW_MS (INT64_C(24) * 3600 * 1000)
#define REQUEST_BYTES_MAX (UINT64_C(1) << 30)
#define SEGMENT_BYTES_MIN (UINT64_C(64) << 10)
#define SEGMENT_BYTES_MAX (UINT64_C(2) << 30)
#define PATH_MAX_BYTES 4096

/* ---- index ---- */

struct spot { /* sparse index entry: the frame at `at` begins with this offset */
    uint64_t offset;
    uint32_t at, reserved;
};

/* What one segment has of one partition. Owned by the partition; gone when the segment is trimmed. */
struct extent {
    struct segment *segment;
    uint64_t first_offset, end_offset, records, bytes, duplicates; /* bytes: payloads */
    int64_t first_ms, last_ms;
    uint32_t first_at, end_at; /* first frame; behind the last one */
    struct spot *spots;
    uint32_t spots_n, spots_cap;
    uint64_t bytes_since; /* frame bytes since the last spot */
};

struct partition {
    uint16_t stream, number;
    uint64_t next_offset; /* the committer's: of the group it plans */
    uint64_t end_offset, duplicates;
    _Atomic uint64_t landed_offset; /* also a floor for next_offset: ids that the lake has are never given again, even by an emptied log */
    int64_t last_received_ms;
    int64_t unlanded_ms; /* received_ms of the first unlanded record, 0 none */
    log_position unlanded_from; /* its frame */
    struct extent **extents; /* by segment */
    size_t extents_n, extents_cap;
    uint64_t plan_stamp; /* the planning that `plan` belongs to */
    uint32_t plan;
    uint32_t watchers; /* first slot + 1, 0 none */
};

struct epoch {
    uint32_t number;
    uint16_t partitions;
    int64_t started_ms;
    uint64_t *start_offsets;
};

struct stream_info { /* changed by the committer under `state` */
    struct stream_definition def; /* name is owned */
    bool defined, forgotten;
    bool epoch_dirty; /* the newest epoch is not in the log yet */
    struct partition **partitions; /* room for all that can be: the committer reads it without a lock while others add */
    _Atomic uint16_t partitions_n; /* all that ever were */
    struct epoch *epochs;
    size_t epochs_n;
    uint32_t round_robin;
};

/* ---- segments ---- */

struct key_table; /* dedupe.c: keys of a segment that is not sealed */
struct key_filter; /* dedupe.c: keys of a sealed one */

struct idempotency_entry {
    uint64_t key_lo, key_hi;
    log_position frame;
    uint32_t at; /* byte in the frame */
    uint32_t stream;
};

struct segment {
    uint32_t number, salt;
    atomic_int refs; /* the list's one included; the file closes with the last */
    const struct fs *fs;
    int file;
    uint64_t capacity;
    _Atomic uint64_t end; /* behind the last good group */
    uint64_t first_group, last_group, records, groups;
    int64_t first_ms, last_ms;
    bool sealed; /* its .idx file is on disk */
    bool seal_failed;
    struct stream_hour *hours;
    size_t hours_n, hours_cap;
    struct key_table *keys;
    struct key_filter *filter;
    struct idempotency_entry *idempotency;
    size_t idempotency_n, idempotency_cap;
    char *end_state; /* checkpoint as of the end, made when the segment stops being the active one */
    size_t end_state_n;
};

/* ---- the log ---- */

struct command {
    enum { COMMAND_DEFINE, COMMAND_FORGET, COMMAND_FLUSH } kind;
    struct stream_definition definition;
    bool finished;
    enum status status;
    struct err err;
    struct command *next;
};

struct watcher {
    uint32_t generation, next; /* next slot + 1 in the partition's list, or in the free list */
    uint16_t stream, partition;
    uint64_t offset;
    void (*f)(void *context);
    void *context;
    enum { WATCH_FREE, WATCH_ARMED, WATCH_READY, WATCH_RUNNING } state;
};

struct group;
struct idempotency_table;

/* The frame read last for a dedupe or idempotency hit. */
struct frame_cache {
    char *p;
    size_t cap;
    log_position position; /* 0: empty */
    struct frame_header header;
};

#define VERIFIED_FRAMES 1024u
struct verified_frame { /* its checksum was right */
    log_position position; /* 0: empty */
    uint64_t base_offset;
    int64_t received_ms;
    uint32_t count, raw_length;
    uint16_t stream, partition;
};

struct series;
struct log_metrics {
    struct series *groups, *records, *bytes, *failures, *write;
};

struct stream_log {
    struct stream_log_options options;
    struct log_metrics metrics;
    char *dir;
    struct host host;
    uint64_t log_id, dedupe_seed;

    mutex queue;
    condition queue_filled, command_finished;
    struct stream_append *first, **last;
    struct command *commands;
    uint32_t queued;
    uint64_t queued_bytes;
    bool committer_waits, stop, watchers_ready;

    /* Trouble: appends are refused. Written by the committer under `queue`. */
    _Atomic int trouble; /* enum status; OK: none */
    char trouble_reason[160];

    mutex trim; /* one trim at a time; outermost */
    mutex segments;
    struct segment **segment; /* by number */
    size_t segments_n, segments_cap;
    struct segment *active; /* the last one, NULL: none; set by the committer under `segments`, never trimmed */

    mutex state;
    struct stream_info *_Atomic streams[EVENT_STREAM_MAX + 1];
    _Atomic log_position durable;
    uint64_t groups, records, syncs;
    struct watcher *watchers;
    uint32_t watchers_n, watchers_cap, watchers_free;
    uint32_t *ready; /* slots to be called by the committer */
    size_t ready_n, ready_cap;
    condition watcher_done;

    /* the committer's own */
    struct thread committer;
    struct group *group;
    struct idempotency_table *idempotency;
    uint64_t next_group;
    int64_t last_received_ms;
    int64_t space_checked_us;
    int64_t probed_us;
    bool need_segment; /* the active segment takes no further group */
    _Atomic uint64_t checkpoint_bytes; /* of the newest segment's first frame */
    uint32_t dirty_epochs; /* streams whose newest epoch is not in the log */
    _Atomic uint64_t active_keys, active_key_bytes; /* for others to read */
    struct frame_cache cache;
    struct verified_frame verified[VERIFIED_FRAMES];

    /* the keeper: prepares the next segment, seals finished ones */
    struct thread keeper;
    mutex keep;
    condition keep_wanted;
    bool keep_stop, keep_work;
    int prepared_file; /* -1 none */
    uint32_t prepared_number;
    uint32_t taken_number; /* highest number that the committer has made or tried to make */
    uint64_t prepared_bytes;
};

static inline const struct fs *log_fs(const struct stream_log *log) { return log->host.fs; }
static inline struct segment *active_segment(const struct stream_log *log) { return log->active; }

/* ---- segment.c ---- */
void segment_path(const char *dir, uint32_t number, const char *suffix, char out[PATH_MAX_BYTES]);
struct segment *segment_new(const struct stream_log *log, uint32_t number, int file);
void segment_ref(struct segment *segment);
void segment_unref(struct segment *segment); /* frees with the last one */
void segments_push(struct stream_log *log, struct segment *segment);
/* Room for one more segment? E_BUSY (budget) or E_NO_SPACE (reserve). */
enum status segment_room(struct stream_log *log, uint64_t bytes, struct err *err);
/* Creates and preallocates a file of that number, synced with its folder. */
enum status segment_create(struct stream_log *log, uint32_t number, uint64_t bytes, int *file, struct err *err);
/* The bytes [0, n) of a segment in memory. */
enum status segment_bytes(const struct segment *segment, uint64_t n, struct host_map *out, struct err *err);

/* ---- index.c ---- */
struct stream_info *stream_get(const struct stream_log *log, uint16_t number); /* NULL: unknown */
struct stream_info *stream_make(struct stream_log *log, uint16_t number); /* also when only the log knows it */
void stream_info_free(struct stream_info *info);
struct partition *partition_make(struct stream_info *info, uint16_t number); /* and all below it; under `state` once threads run */
/* Enters one frame at its position; the caller holds `state` once threads run. */
void index_frame(struct stream_log *log, struct segment *segment, uint64_t at, const struct frame_header *header, uint64_t payload_bytes);
struct extent *extent_add(struct partition *partition, struct segment *segment);
void extent_free(struct extent *extent);
void extents_drop(struct stream_log *log, const struct segment *segment); /* all of that segment */
struct stream_hour *hour_row(struct segment *segment, uint16_t stream, int64_t received_ms);
/* The last extent that begins at or below `offset`; NULL: none. */
struct extent *extent_for(const struct partition *partition, uint64_t offset);
const struct spot *spot_for(const struct extent *extent, uint64_t offset);

/* ---- checkpoint.c ---- */
void checkpoint_put(const struct stream_log *log, struct buf *out);
void checkpoint_put_stream(const struct stream_info *info, int64_t last_received_ms, struct buf *out);
/* Merges into the log's state; nothing ever goes back by it. */
enum status checkpoint_apply(struct stream_log *log, struct str bytes, struct err *err);
void stream_forget_mark(struct stream_log *log, uint16_t number);

/* ---- dedupe.c ---- */
struct candidate { /* one record of a group that asks whether its key is there */
    struct hash128 hash;
    uint16_t stream;
    int64_t not_before_ms; /* older first ones do not count */
    bool found;
    enum status failed; /* the disk could not say */
    struct event_id first;
};
struct key_table *key_table_new(void);
void key_table_free(struct key_table **table);
struct key_place {
    uint32_t frame_at; /* in the segment */
    uint32_t index; /* record in the frame */
    uint32_t raw_at; /* where it begins behind the frame's header */
};
void key_table_put(struct key_table *table, uint64_t key, struct key_place place);
size_t key_table_count(const struct key_table *table);
size_t key_table_bytes(const struct key_table *table);
/* Looks all of them up in all segments, newest first; the committer, holding `segments`. */
void dedupe_probe(struct stream_log *log, struct candidate *candidates, size_t n);
/* Reads a durable frame into the log's cache, checksum verified. The committer only. */
enum status cache_frame(struct stream_log *log, struct segment *segment, uint32_t at, struct err *err);
/* Sorted keys with filter, as they stand in the .idx file. */
void key_filter_encode(const struct key_table *table, struct buf *head, struct buf *blocks);
/* `head`: what key_filter_encode put there; file stays open for the filter's life. */
enum status key_filter_open(const struct fs *fs, int file, uint64_t blocks_at, struct str head, struct key_filter **out, struct err *err);
void key_filter_free(struct key_filter **filter);
size_t key_filter_count(const struct key_filter *filter);
size_t key_filter_bytes(const struct key_filter *filter);

/* ---- idempotency.c ---- */
struct idempotency_answer {
    struct hash128 body;
    uint32_t n, accepted, duplicates;
};
struct idempotency_table *idempotency_new(void);
void idempotency_free(struct idempotency_table **table);
void idempotency_put(struct idempotency_table *table, struct idempotency_entry entry);
const struct idempotency_entry *idempotency_find(const struct idempotency_table *table, uint16_t stream, struct hash128 key);
void idempotency_drop_below(struct idempotency_table *table, log_position position);
/* One entry of a FRAME_IDEMPOTENCY. */
void idempotency_encode(
    struct buf *out, uint16_t stream, struct hash128 key, const struct idempotency_answer *answer, const struct event_id *ids, int64_t received_ms);
/* Reads the entry at *at of a frame's raw bytes, moves *at behind it. ids: room for ids_max, NULL to skip them. */
bool idempotency_decode(struct str raw, size_t *at, int64_t received_ms, uint16_t *stream, struct hash128 *key, struct idempotency_answer *answer,
    struct event_id *ids, uint32_t ids_max);
void segment_add_idempotency(struct segment *segment, struct idempotency_entry entry);
/* Enters all answers of one frame; false: it makes no sense. */
bool idempotency_index_frame(struct stream_log *log, struct segment *segment, uint64_t at, const char *frame, const struct frame_header *header);

/* ---- group.c ---- */
struct frame_plan {
    struct partition *partition; /* NULL: control frame */
    struct frame_header header;
    size_t at; /* in the group's bytes */
    char *cursor;
    struct str source, content_type; /* of the last record */
    uint64_t payload_bytes;
    size_t control_at; /* raw bytes of a control frame, in group->control */
};

struct planned { /* one record of the group */
    uint32_t frame; /* UINT32_MAX: duplicate, not stored */
    uint32_t index;
    uint32_t raw_at;
    uint32_t wire_flags;
    uint32_t candidate; /* UINT32_MAX: none */
};

struct answer { /* one request of the group */
    struct stream_append *request;
    struct stream_result result;
    uint32_t replay_of; /* index + 1 of the request of this group with the same key, 0 none */
    uint32_t first_planned;
    bool planned; /* has records in the group */
};

struct slot_set { /* hash set of indices + 1, emptied for each group */
    uint32_t *slots;
    size_t cap, allocated;
};

struct group {
    uint64_t stamp; /* tells plannings apart */
    uint64_t number; /* given when the bytes are made: the segment's first group may come before */
    int64_t received_ms;
    struct answer *answers;
    size_t answers_n, answers_cap;
    struct frame_plan *frames;
    size_t frames_n, frames_cap;
    struct planned *planned;
    size_t planned_n, planned_cap;
    struct candidate *candidates;
    size_t candidates_n, candidates_cap;
    struct slot_set fresh; /* candidates stored by this group */
    struct slot_set keys; /* answers with an idempotency key */
    struct buf control; /* payloads of control frames */
    struct buf idempotency;
    uint32_t idempotency_n;
    char *bytes; /* the group as written */
    size_t bytes_n, bytes_cap;
    uint64_t records;
};

struct group *group_new(void);
void group_free(struct group **group);
/* Starts an empty group and fixes its time. */
void group_begin(struct stream_log *log, struct group *group);
void group_add_control(struct group *group, uint8_t kind, uint16_t stream, struct str raw);
/* Plans all requests of the list: idempotency, dedupe, partitions, offsets, ids. Holds `segments` inside. */
void group_plan(struct stream_log *log, struct group *group, struct stream_append *list);
bool group_empty(const struct group *group);
size_t group_size(const struct group *group); /* bytes it will take in the segment */
void group_encode(struct stream_log *log, struct group *group, uint32_t salt);
/* After a failure: takes the planned offsets back. */
void group_undo(struct stream_log *log, struct group *group);

/* ---- queue.c ---- */
struct taken { /* what the committer took from the queue */
    struct stream_append *requests;
    struct command *commands;
    bool stop;
};
/* Waits for work (in trouble not longer than until the next probe). false: stopped and nothing is left. */
bool queue_take(struct stream_log *log, struct taken *out);
void queue_finish_commands(struct stream_log *log, struct command *commands, enum status status, const struct err *err);
/* Why appends are refused at the moment; OK: they are not. The caller holds `queue` or is the committer. */
enum status queue_trouble(const struct stream_log *log, struct err *err);
void queue_set_trouble(struct stream_log *log, enum status status, const char *reason);
enum status queue_command(struct stream_log *log, struct command *command, struct err *err); /* hands over and waits */
void queue_wake(struct stream_log *log);

/* ---- committer.c ---- */
void *committer_run(void *log);
void committer_metrics(struct stream_log *log); /* looks the series up */
/* Makes a new active segment with its first group (checkpoint). The committer, or open before threads run. */
enum status committer_start_segment(struct stream_log *log, uint64_t bytes, struct err *err);
/* Merges a definition into the memory; a grown number of partitions starts an epoch. E_INVALID when they shrink. */
enum status define_apply(struct stream_log *log, const struct stream_definition *definition, struct err *err);

/* ---- seal.c ---- */
void *keeper_run(void *log);
void keeper_wake(struct stream_log *log);
/* Takes the prepared file of that number; -1: none. */
int keeper_take_prepared(struct stream_log *log, uint32_t number, uint64_t bytes, uint64_t *capacity);
enum status seal_write(struct stream_log *log, struct segment *segment, struct err *err);
/* Loads a sealed segment from its .idx; E_NOT_FOUND, E_CORRUPT: scan it instead. Enters its extents into the state. */
enum status seal_load(struct stream_log *log, struct segment *segment, struct err *err);

/* ---- recovery.c ---- */
enum status recover(struct stream_log *log, struct stream_recovery *out, struct err *err);

/* ---- watch.c ---- */
/* The caller holds `state`: moves watchers that the new end satisfies to the ready list. */
void watch_collect(struct stream_log *log, struct partition *partition);
void watch_run(struct stream_log *log); /* the committer: calls the ready ones */

/* ---- reader.c ---- */
/* Position and time of the frame that holds the first record at or behind `offset`. */
enum status locate_frame(
    struct stream_log *log, uint16_t stream, uint16_t partition, uint64_t offset, log_position *position, int64_t *received_ms, struct err *err);

#endif
