/* Lake: tables at rest. Iceberg v2 on the local object store, the flush of streams into bronze, maintenance, and the query handle.
 *
 * One owner per table: every commit of a table goes through its lake_table under its lock, and ends in one compare-and-swap of the metadata pointer in
 * the ledger. Foreign commits through the same catalog are noticed before each commit and each pin, and merged by re-reading. Threads: any. */
#ifndef CUPEL_LAKE_LAKE_H
#define CUPEL_LAKE_LAKE_H

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"
#include "lake/engine.h"
#include "ledger/ledger.h"
#include "stream/stream.h"

struct lake;

struct lake_options {
    const struct host *host;
    const char *dir; /* data/lake; the warehouse location of the catalog is its absolute path as file:// URI */
    struct ledger *ledger;
    struct engine *engine;
    struct stream_log *log; /* NULL in commands that only look at tables */
    uint64_t flush_bytes; /* default 128 MB of payload and envelope per stream */
    int64_t flush_ms; /* default 300 s since the oldest unlanded record */
    int64_t snapshot_retention_ms; /* default 5 d; at least 10 snapshots stay */
    int64_t publish_ms; /* lake copies of warehouse tables are brought up to date this often; default 30 s */
    uint64_t target_file_bytes; /* bin-packing of closed hours; default 128 MB */
};

enum status lake_open(const struct lake_options *options, struct lake **out, struct err *err);
void lake_close(struct lake **lake);

/* ---- streams to bronze ---- */

struct lake_stream_options {
    uint64_t flush_bytes; /* 0: the lake's */
    int64_t flush_ms;
    int64_t retention_ms; /* of bronze; 0: for ever */
};
/* Makes bronze.<name> when missing (id of the stream as table property), so that it can be queried from the first event on. */
enum status lake_add_stream(struct lake *lake, uint16_t number, const char *name, const struct lake_stream_options *options, struct err *err);
enum status lake_drop_stream(struct lake *lake, const char *name, bool delete_data, struct err *err);

/* The writer thread: flushes what is due, compacts closed hours, expires snapshots, removes orphans, trims the log. A flush that fails is repeated with
 * backoff and shown in metrics; nothing is lost by it. */
void lake_start(struct lake *lake);
void lake_stop(struct lake *lake, bool flush_all);
enum status lake_flush(struct lake *lake, const char *stream, struct err *err); /* now; NULL: all */

/* ---- commits by other writers in this process (landing, models) ---- */

struct lake_file { /* a Parquet file already made, still under its temporary name */
    const char *temporary_path;
    int64_t hour_ms; /* partition value: receipt hour; for tables without partitioning ignored */
    uint64_t rows, size_bytes;
    const struct engine_column_stats *columns;
    size_t columns_n;
};

struct lake_append { /* one table's part of a commit */
    const char *schema, *name;
    const struct engine_column *columns; /* wanted columns: new ones are added to the schema, narrower types widened; field_id 0 = by name */
    size_t columns_n;
    const struct lake_file *files;
    size_t files_n;
    const char *const *properties; /* name, value, …, NULL: table properties set in the same metadata */
};

/* Syncs the files, checks their footers, moves them to their final names, writes manifests and metadata, and swaps the pointers of all tables in ONE ledger
 * transaction, together with `also` (may be NULL), which runs inside it. All or nothing, durable when it returns. Tables that do not
 * exist are made. E_CONFLICT after repeated foreign commits. */
enum status lake_commit(struct lake *lake, const struct lake_append *appends, size_t n,
    enum status (*also)(void *context, struct ledger *ledger, struct err *err), void *context, struct err *err);

/* `columns` as the table would have them: one for one in the given order, with the table's names, types (the SELECT must be castable to them) and field ids;
 * for engine_copy.columns and lake_append.columns. In the arena. E_UNPROCESSABLE: a column whose type the table cannot take. A commit with a plan that has
 * become old meanwhile gives E_CONFLICT: plan and copy again. */
enum status lake_plan_columns(struct lake *lake, struct arena *arena, const char *schema, const char *name, const struct engine_column *columns,
    size_t columns_n, struct engine_column **out, struct err *err);
/* A fresh temporary path below data/lake/tmp on the same disk as the tables. */
char *lake_temporary_path(struct lake *lake, struct arena *arena, const char *suffix);

/* ---- lake copies of warehouse tables ---- */

struct lake_published {
    int64_t version; /* of the warehouse, that the copy shows now */
    uint64_t rows, files_added, files_removed;
};
/* Brings the Iceberg table schema.name up to the warehouse's table of that name, when cupel.outbox says that it changed (kind `lake`), and takes those rows off
 * the outbox. The copy has the visible columns; its property cupel.version makes repeating harmless. The lake's own thread (lake_start) does this for every
 * table that changed, each publish_ms, while the engine runs; commands that run models by themselves call lake_publish_due at their end.
 * E_CONFLICT: the lake has a table of that name that is no copy; E_CORRUPT: the warehouse cannot be opened. */
enum status lake_publish(struct lake *lake, const char *schema, const char *name, struct lake_published *out, struct err *err);
enum status lake_publish_due(struct lake *lake, struct err *err); /* all that changed; the first failure, the others are done all the same */

/* Names of all lake copies, "schema.name". */
enum status lake_copies(struct lake *lake, struct arena *arena, const char *const **names, size_t *n, struct err *err);
/* Drops a copy with its files. E_NOT_FOUND: there is no such table; E_CONFLICT: it is no copy. The warehouse's table is not touched. */
enum status lake_drop_copy(struct lake *lake, const char *schema, const char *name, struct err *err);

/* ---- reading ---- */

struct lake_pin; /* keeps the files of its view from expiry until released */
enum status lake_pin(struct lake *lake, struct lake_pin **out, struct err *err);
const struct engine_view *lake_pin_view(const struct lake_pin *pin);
void lake_unpin(struct lake_pin **pin);

/* One bronze event that is no longer in the log, by address: prunes files by their bounds, reads one row group. E_NOT_FOUND. JSON object in `out` with all
 * bronze columns. */
enum status lake_find_event(struct lake *lake, struct event_address address, struct buf *out, struct err *err);

/* JSON for /v1/tables and `cupel table …`. `kind` is lake, warehouse or view; a warehouse table with a lake copy is one entry with `lake_copy`. A warehouse
 * that cannot be read now is `warehouse_error` beside the lake's tables. */
enum status lake_tables_json(struct lake *lake, struct buf *out, struct err *err);
enum status lake_table_json(
    struct lake *lake, const char *schema, const char *name, struct buf *out, struct err *err); /* schema, snapshots, files, properties */

/* ---- maintenance ---- */
struct lake_maintained {
    uint64_t files_before, files_after, bytes, snapshots_expired, files_deleted;
};
/* Small files of closed hours (or of all) into few large ones, ordered by (_received_at, _event_id). E_CONFLICT: others took files away meanwhile; E_CANCELLED:
 * the lake is being closed; E_UNSUPPORTED: delete files. What was packed before an error stays packed. */
enum status lake_compact(struct lake *lake, const char *schema, const char *name, bool open_hours_too, struct lake_maintained *out, struct err *err);
/* older_than_ms 0: by the lake's retention, and the newest 10 stay; else all older ones but the current one go. Branches and tags keep theirs. Files are
 * deleted when no pin needs them any more; files_deleted counts those. */
enum status lake_expire(struct lake *lake, const char *schema, const char *name, int64_t older_than_ms, struct lake_maintained *out, struct err *err);
/* Rebuilds the catalog's pointers from the newest whole metadata files in the lake's folders; tables whose folder was moved get metadata that names the new
 * place. For a lost or damaged ledger: a commit that never reached the catalog may be taken for the newest. */
enum status lake_register_recover(struct lake *lake, struct buf *report_json, struct err *err);
/* Checks that every file of every current snapshot is there with the size the manifest says and a sound Parquet footer, and reads all of the warehouse's
 * tables, whose blocks have checksums. */
enum status lake_verify(struct lake *lake, struct buf *report_json, uint64_t *problems, struct err *err);

#endif
