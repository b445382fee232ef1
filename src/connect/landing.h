/* Landing: files that appear in watched folders become rows of a bronze table, or events of a stream, once each.
 *
 * A file is taken once per source by the SHA-256 of its content. What happens to it is one state machine in the ledger (ledger.h, landing_state); every
 * step can be repeated after a crash with the same event ids. How files are read: docs/landing.md. A watched folder belongs to us below done/ and rejected/.
 *
 * Threads: all functions from any thread; one pass per source at a time. */
#ifndef CUPEL_CONNECT_LANDING_H
#define CUPEL_CONNECT_LANDING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "connect/landing_plan.h"
#include "host/host.h"
#include "lake/engine.h"
#include "lake/lake.h"
#include "lake/row_source.h"
#include "ledger/ledger.h"

/* Row sources for engine_main. */
extern const struct row_source_kind landing_row_source, landing_bad_row_source;

struct config_protection;

struct landing_source { /* not copied: lives until landing_stop */
    const char *name;
    const char *folder;
    const char *table; /* "bronze.pos"; or NULL and */
    const char *stream; /* "orders" */
    struct landing_reading reading;
    const struct config_protection *protect; /* of tables: columns by name, without case; NULL: none. For streams: the stream's own rules hold */
    bool ready_when_renamed; /* `ready: rename`: every visible file is complete; else unchanged for quiet_ms, or renamed in from an ignored name */
    int64_t quiet_ms; /* 0: 2 s */
};

/* Appends payloads of one file to a stream as one request: all or nothing, durable when OK, and once only per idempotency key. The way of events from HTTP
 * is taken (keys, dedupe, protection). */
struct landing_append {
    const char *stream, *source;
    const struct str *payloads;
    size_t n;
    struct hash128 idempotency_key, body_hash;
};

struct landing_options {
    const struct host *host;
    struct ledger *ledger;
    struct engine *engine;
    struct lake *lake;
    const char *tmp_dir; /* on the lake's disk; for what the lake gives no temporary path for. NULL: beside the lake's */
    const struct landing_source *sources;
    size_t sources_n;
    int64_t poll_ms; /* 0: 1 s */
    /* For sources with `stream`. *accepted: those that were new. E_BUSY, E_NO_SPACE, E_UNAVAILABLE are tried again; E_INVALID names the payload from 0 on by
     * *bad (then nothing was appended). number: the stream's. */
    enum status (*append)(void *context, const struct landing_append *append, uint32_t *accepted, size_t *bad, struct err *err);
    enum status (*stream_number)(void *context, const char *stream, uint16_t *number, struct err *err);
    void *context;
};

struct landing;

/* Makes the folders, reconciles what a crash left, and (start) watches in a thread of its own. A source whose folder cannot be used is logged and tried again
 * with every poll. E_CONFIG: an option of a source is wrong. */
enum status landing_open(const struct landing_options *options, struct landing **out, struct err *err);
void landing_start(struct landing *landing);
void landing_stop(struct landing **landing); /* waits for the file under way; NULL is fine */

struct landing_outcome {
    uint64_t files, landed, rejected, already, rows, quarantined;
};
/* `cupel source run NAME`: takes what waits, also what still has to be quiet for a while. Files that keep changing are left;
 * E_IO when some cannot be read; E_NOT_FOUND: no such source. */
enum status landing_run_once(struct landing *landing, const char *source, struct landing_outcome *out, struct err *err);

/* [{"name","folder","target","waiting","oldest_waiting_s","files":{…},"last":[…]}…]: for `source list` and /v1/sources. */
enum status landing_list_json(struct landing *landing, struct buf *out, struct err *err);

/* `cupel source test NAME`: how the first waiting file (or `path` below the folder, when not NULL; E_DENIED elsewhere) would be read. Changes nothing.
 * JSON object: what was detected, the first rows, how many rows are good and bad, the first bad ones with their reasons, or the reason of a rejection. */
enum status landing_test(struct landing *landing, const char *source, const char *path, struct buf *out, struct err *err);

/* Makes the table ("bronze.pos") with these columns, as text, or adds those that it lacks; its number as of ledger_stream_ensure. For sources that say what their
 * files will have. */
enum status landing_declare(struct lake *lake, const char *table, uint16_t number, const char *const *columns, size_t n, struct err *err);

#endif
