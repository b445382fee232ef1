/* Engine: the child process that owns DuckDB, seen from the server.
 *
 * The child (`cupel engine`) starts at the first call and again after it died. Each call has its own socket pair, passed to the child over a control
 * socket: the child writes the answer into it, already in the format asked for; closing our end cancels the call. When the child dies, every call under
 * way fails with E_UNAVAILABLE ("the engine died: …"); flushes and landings are repeated by their owners, queries by their users.
 *
 * Threads: all functions from any thread. An engine_call belongs to one thread at a time. */
#ifndef CUPEL_LAKE_ENGINE_H
#define CUPEL_LAKE_ENGINE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "host/host.h"
#include "stream/stream.h"

struct engine;

struct engine_options {
    const struct host *host;
    const char *data_dir; /* DuckDB may open files in <data>/lake and <data>/tmp, and in landing folders below */
    const char *const *read_dirs; /* further folders that internal statements may read (landing folders); NULL-ended or NULL */
    uint64_t memory_bytes; /* DuckDB memory_limit; default 1 GiB */
    uint32_t threads; /* default: cores */
    uint32_t queries_max; /* user queries at once; more wait up to query_wait_ms, then E_BUSY; default 8 */
    int64_t query_wait_ms; /* 0: 10 s; below 0: does not wait */
    int64_t query_time_ms; /* default 300 s; then E_TIMEOUT */
    int64_t stuck_ms; /* a cancelled or overdue call that does not end within this costs the child its life; default 10 s */
    const char *timezone; /* of business days, for the macro cupel_day: sessions have it as a variable; NULL: UTC. Times are shown in UTC all the same */
    bool trusted; /* tests only: user SQL is not checked */
};

enum status engine_new(const struct engine_options *options, struct engine **out, struct err *err); /* starts nothing yet */
/* Ends the child; no call may be under way. A warehouse with much WAL gets a checkpoint before: that may take a second, at most twice stuck_ms. */
void engine_free(struct engine **engine);
pid_t engine_pid(struct engine *engine); /* 0: not running */
/* Other folders to read (a reload). A child that runs is ended, as it keeps the ones it began with; calls under way fail with E_UNAVAILABLE. */
void engine_set_read_dirs(struct engine *engine, const char *const *read_dirs);

/* ---- what a statement sees ---- */

struct engine_column {
    const char *name;
    const char *type; /* DuckDB type text: VARCHAR, UUID, TIMESTAMP WITH TIME ZONE, MAP(VARCHAR, VARCHAR), BIGINT, DECIMAL(18,4), … */
    int field_id; /* Iceberg field id; 0: none */
    /* Nested types only, else NULL: the ids of the parts, as the value of DuckDB's FIELD_IDS entry of this column, its own id included, for example
     * {__duckdb_field_id: 8, key: 13, value: 14} or {__duckdb_field_id: 3, element: {__duckdb_field_id: 4, "sku": 5}}. */
    const char *field_ids;
};

/* Lowest and highest value in a data file. */
struct engine_file_bounds {
    bool received_known, partition_known, offset_known;
    int64_t received_us[2], partition[2], offset[2];
};

/* One table at one pinned version. `version` changes whenever anything below does, so the child keeps its view while it is the same. */
struct engine_table {
    const char *schema, *name;
    uint64_t version;
    const struct engine_column *columns;
    size_t columns_n;
    const char *const *files; /* data files (Parquet), absolute paths below the lake folder, in commit order */
    size_t files_n;
    const struct engine_file_bounds *bounds; /* one per file: what the manifests say is in it; NULL: not known. Stays on the server's side */
    const char *unreadable; /* not NULL: the table cannot be read now (delete files, newer format …); statements that name it fail with this sentence */
    bool is_copy; /* of a table of the warehouse: read where the warehouse does not have that, which is said */
    bool has_log; /* bronze.<stream>: the unlanded tail is part of the table */
    uint16_t stream;
    log_position log_from; /* unlanded_from at the pinned snapshot */
    const uint64_t *log_offsets; /* per partition: landed below */
    uint16_t log_offsets_n;
};

struct engine_view { /* one consistent read */
    const struct engine_table *tables;
    size_t tables_n;
    log_position durable;
    log_position index_from; /* smallest log_from of all tables of all views still in use: the child may forget index entries below it */
};

/* ---- user queries ---- */

enum result_format { RESULT_JSON, RESULT_NDJSON, RESULT_CSV, RESULT_TABLE, RESULT_PARQUET };

struct engine_query {
    struct str sql;
    const struct str *params; /* JSON texts, one per parameter ($1, $2, …) */
    size_t params_n;
    enum result_format format;
    const struct engine_view *view;
    bool internal; /* our own SQL: not checked, may use internal functions */
    bool stand_ins; /* tables of `view` stand before the warehouse's of the same name: how a statement would fare with them */
    int64_t time_ms; /* 0: the option's; internal: none */
    uint32_t rows_max; /* RESULT_TABLE only: rows shown; 0 = all */
    uint32_t width_max; /* RESULT_TABLE only: terminal columns; 0 = no limit */
    /* Asked about every 100 ms while engine_query_start waits for the head: true ends it with E_CANCELLED. May be NULL. */
    bool (*cancelled)(void *context);
    void *cancelled_context;
};

struct engine_call;

/* Starts the query and waits for its head (columns known, first rows on the way) or its error: E_INVALID (SQL errors, with line and column when DuckDB
 * tells), E_DENIED (not one SELECT, a function or table that users may not use), E_BUSY, E_TIMEOUT, E_LIMIT (memory), E_UNAVAILABLE. */
enum status engine_query_start(struct engine *engine, const struct engine_query *query, struct engine_call **out, struct err *err);
/* More bytes of the result; *got 0 at the end. After the end engine_call_rows tells the count. An error in the middle is returned here. */
enum status engine_call_read(struct engine_call *call, void *bytes, size_t n, size_t *got, struct err *err);
int engine_call_fd(struct engine_call *call); /* to wait on; readable when engine_call_read would not block */
uint64_t engine_call_rows(const struct engine_call *call);
struct str engine_call_head(const struct engine_call *call); /* JSON {"columns":[{"name","type"}…],"warnings":[text…]}; warnings: may be missing */
void engine_call_end(struct engine_call **call); /* also cancels when not read to the end */

/* Runs an internal SELECT and collects all rows as one JSON array text in `out` (up to 64 MB). */
enum status engine_rows(struct engine *engine, const struct engine_view *view, const char *sql, struct buf *out, struct err *err);

/* ---- the warehouse: sessions for model runs ---- */

/* The child attaches <data>/warehouse.duckdb as catalog `warehouse` (made when missing, with schema `cupel`; docs/formats/lake.md) before it locks itself
 * down, and nothing else opens that file. A work session is a DuckDB connection with a catalog of its own in memory, in which unqualified names and the
 * views of the inputs live (bronze.orders …); the warehouse's tables are written by their full name: warehouse.silver.orders. Temporary tables are the
 * session's own. One transaction can write to one catalog only: make views and temporary tables first, each by itself, then BEGIN … COMMIT over
 * warehouse tables (temporary tables may be written inside too). SET TimeZone works in a session; other settings are locked.
 *
 * What COMMIT answered OK is synced. When the child dies, what was not committed is gone and every call gives E_UNAVAILABLE: begin again. */

/* What the session's view of a lake table shows. */
struct engine_work_table {
    const char *schema, *name;
    bool delta; /* only what is new: */
    const uint64_t *offsets; /* per partition: rows at or above; partitions behind offsets_n: all */
    uint16_t offsets_n;
    int64_t received_us; /* no row of the delta is older: files and frames of the log before it are not even looked at */
    /* Delta or not: */
    uint64_t before; /* landing tables: offsets (of _event_id) below this; 0: no limit */
    const uint64_t *ends; /* streams, per partition: rows below; partitions behind ends_n: all. NULL: no limit */
    uint16_t ends_n;
};

struct engine_work; /* belongs to one thread at a time; but for engine_work_cancel */

/* A session with a view for each table named. `view` must stay pinned until engine_work_end. At most ENGINE_WORK_MAX sessions at once, apart from user
 * queries; more wait up to two minutes, then E_BUSY. time_ms: limit of each engine_work_run; 0: none. E_NOT_FOUND: the view has no such table; E_CORRUPT: the
 * warehouse cannot be opened (damaged, or of a newer version), the text says why, and queries over the lake go on working. */
#define ENGINE_WORK_MAX 3u /* two model runs, and the publisher of lake copies */
enum status engine_work_begin(struct engine *engine, const struct engine_view *view, const struct engine_work_table *tables, size_t n, int64_t time_ms,
    struct engine_work **out, struct err *err);
/* Runs one or more statements; stops at the first that fails. BEGIN, COMMIT and ROLLBACK are statements like others; after a failure inside a transaction
 * only ROLLBACK works. rows_json: appended is the last result as a JSON array of objects, up to 64 MB (E_LIMIT); NULL: not wanted. changed: rows that
 * INSERT, UPDATE and DELETE changed, all statements together; NULL: not wanted.
 * E_CONFLICT: another session changed the same rows: roll back and do it again. E_NO_SPACE: nothing of a failed COMMIT is there. E_CANCELLED, E_TIMEOUT,
 * E_LIMIT (memory), E_INVALID (the SQL, with LINE and caret), E_UNAVAILABLE (the child died; the session is of no use any more). */
enum status engine_work_run(struct engine_work *work, const char *sql, struct buf *rows_json, uint64_t *changed, struct err *err);
/* Rolls back what is open; temporary tables, views and settings of the session are gone. */
void engine_work_end(struct engine_work **work);
/* From any thread, while the session is not ended: the statement under way and all later ones fail with E_CANCELLED. false: it was cancelled before. */
bool engine_work_cancel(struct engine_work *work);

/* The warehouse's tables and views that users may read, as JSON: [{"schema","name","kind":"table|view","columns":[{"name","type","comment"}],"rows"}], sorted;
 * "without_model": true where the model is gone.
 * rows is null for views. Hidden columns (_version, state of models) are left out. */
enum status engine_tables(struct engine *engine, struct buf *json, struct err *err);
/* The SELECT behind it, for work sessions: rows (schema, name, kind, columns, rows, sql); columns have a `hidden` too, and hidden ones are among them. */
extern const char engine_tables_sql[];

/* ---- making Parquet files ---- */

/* Source of flushes: the table function cupel_log_range(spec VARCHAR) gives the bronze columns of a stream's records in log order. spec is JSON:
 *   {"stream":3, "name":"orders", "from":<log_position>, "to":<log_position>,     frames in [from, to)
 *    "start":[…], "end":[…],                                                      per partition: offsets in [start, end); missing ones: 0 and none
 *    "from_ms":…, "to_ms":…}                                                      received_at in [from_ms, to_ms)
 * Columns: _event_id UUID, _stream VARCHAR, _partition INTEGER, _offset BIGINT, _received_at TIMESTAMP WITH TIME ZONE, _source VARCHAR, _key VARCHAR,
 * _headers MAP(VARCHAR, VARCHAR), _content_type VARCHAR, payload VARCHAR, _body BLOB, _valid_json BOOLEAN. */

/* Statistics of one column of a written file, as Iceberg's data_file wants them. */
struct engine_column_stats {
    int field_id;
    int64_t size_bytes, values, nulls;
    bool has_bounds;
    struct str lower, upper; /* Iceberg single-value binary (spec appendix D); strings cut to 16 characters, upper rounded up */
};

struct engine_copy {
    const char *sql; /* internal SELECT; sources: cupel_log_range, cupel_rows, cupel_bad_rows, read_parquet, tables of `view` */
    const char *path; /* file to make (a temporary name); truncated when it exists. NOT synced: the caller syncs it before committing */
    const struct engine_column *columns; /* in the SELECT's order; give the field ids */
    size_t columns_n;
    uint32_t row_group_rows; /* default 20,480 */
    const struct engine_view *view; /* may be NULL */
    int64_t time_ms; /* 0: none */
    bool (*cancelled)(void *context); /* asked about every 100 ms: true ends it with E_CANCELLED. May be NULL */
    void *cancelled_context;
};

struct engine_copied {
    uint64_t rows, size_bytes;
    struct engine_column_stats *columns; /* in the arena */
    size_t columns_n;
    struct str sources; /* JSON array: what each row source used by the statement reports at its end (row_source.report) */
};

enum status engine_copy(struct engine *engine, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err);

/* The same inside a work session and its transaction: what is copied is of one state with what the session reads. copy->view and time_ms are not used. */
enum status engine_work_copy(struct engine_work *work, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err);

/* OK: the child opened the warehouse, or none was started yet; else why not: E_CORRUPT, E_UNSUPPORTED (a newer version), E_BUSY (another program has it
 * open), E_NO_SPACE. The last two are tried again by a new child. */
enum status engine_warehouse(struct engine *engine);

struct engine_stats {
    uint64_t started, died, calls_running, resident_bytes;
    double cpu_seconds; /* of all children so far */
};
struct engine_stats engine_stats(struct engine *engine);

#endif
