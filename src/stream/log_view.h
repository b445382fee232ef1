/* Log view: the engine's read-only side of the log. Opens the same files, indexes frames per stream as the durable position advances, and scans the
 * not yet landed tail of one stream in chunks that several threads can take. Never reads beyond the position it was told. */
#ifndef CUPEL_STREAM_LOG_VIEW_H
#define CUPEL_STREAM_LOG_VIEW_H

#include "stream/frame.h"
#include "stream/stream.h"

struct log_view;
struct log_scan;

enum status log_view_open(const char *dir, const struct host *host, struct log_view **out, struct err *err);
void log_view_close(struct log_view **view);

/* Indexes frames in [from, durable): `from` is the smallest unlanded_from that any coming scan will use (a frame's position, or 0: all that is there);
 * index entries below it are dropped. Thread-safe; cheap when nothing advanced. E_NOT_FOUND: retention has deleted the segment of `from`. */
enum status log_view_advance(struct log_view *view, log_position from, log_position durable, struct err *err);

struct log_range {
    uint16_t stream;
    log_position from, to; /* frames in [from, to) */
    const uint64_t *start_offsets; /* per partition: records below are left out (they are in the lake). NULL: none */
    uint16_t start_offsets_n;
    int64_t from_ms, to_ms; /* received_at in [from_ms, to_ms); 0, 0: all */
    bool checked_lately; /* a frame whose checksum was found good within the last half minute is not checked again; for queries, not for what lands */
};

/* A scan fixes its list of frames at once; segments stay open until it ends even when they are deleted meanwhile. */
enum status log_scan_begin(struct log_view *view, const struct log_range *range, struct log_scan **out, struct err *err);
uint64_t log_scan_records(const struct log_scan *scan); /* upper bound */
/* Takes the next chunk of frames (about 2,048 records or more). Any thread. false: no more. */
struct log_chunk {
    size_t first_frame, end_frame;
};
bool log_scan_chunk(struct log_scan *scan, struct log_chunk *out);

/* Iterates the records of one chunk, views into mapped memory, valid until log_scan_end. One thread at a time. */
struct log_cursor {
    struct log_chunk chunk;
    size_t frame; /* next to enter; the rest is private */
    bool inside;
    struct frame_header header;
    struct record_walk walk;
    log_position position;
};
void log_cursor_begin(struct log_cursor *cursor, struct log_chunk chunk);
/* OK and *got false at the chunk's end; E_CORRUPT when a frame's checksum fails. */
enum status log_cursor_next(struct log_scan *scan, struct log_cursor *cursor, struct stored_record *out, bool *got, struct err *err);
void log_scan_end(struct log_scan **scan);

#endif
