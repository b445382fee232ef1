/* Log files: data/logs/cupel.ndjson, one JSON record per line, rotated by size (cupel.ndjson.1 is the youngest old one).
 *
 * Logs are a help for people, not an account: they are not synced, and a full disk only makes them shorter (counted in cupel_log_lines_lost_total). */
#ifndef CUPEL_SERVE_LOG_SINK_H
#define CUPEL_SERVE_LOG_SINK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "host/host.h"

struct log_sink;

struct log_sink_options {
    const struct host *host;
    const char *data_dir;
    uint64_t file_bytes; /* a file is put aside when it would grow beyond */
    uint64_t files; /* old files kept */
};

/* Opens or makes the file. log_sink_attach hands it the records of the process, from any thread, until log_sink_close. */
enum status log_sink_open(const struct log_sink_options *options, struct log_sink **out, struct err *err);
void log_sink_attach(struct log_sink *sink);
void log_sink_close(struct log_sink **sink);

struct log_query {
    enum log_level level; /* at least */
    int64_t since_us; /* 0: from the beginning */
    const char *event; /* a text that the line must hold (an event id); NULL: any */
    size_t limit; /* the last so many; 0: all */
};

/* Lines of all kept files that match, oldest first, each with its newline. No lock is needed: the files are only appended to. */
enum status log_sink_read(const struct host *host, const char *data_dir, const struct log_query *query, struct buf *out, struct err *err);

#endif
