/* Engine child: what the files of the `cupel engine` process share. The only includer of duckdb.h.
 *
 * One in-memory DuckDB instance. Each session is a connection with a catalog of its own (an attached in-memory database) that holds the views of the
 * tables at the versions that its current statement sees; so statements with different pins run side by side. The control thread reads messages and starts
 * one thread per statement; the watcher interrupts statements whose caller is gone or whose time is over.
 *
 * Locks: child->lock guards sessions, tables and the list of statements. A statement and its session belong to the statement's thread, except
 * `stop` (watcher) and `lock`ed lists that DuckDB's own threads reach through table functions. */
#ifndef CUPEL_LAKE_ENGINE_CHILD_H
#define CUPEL_LAKE_ENGINE_CHILD_H

#include <duckdb.h>
#include <stdatomic.h>

#include "base/map.h"
#include "base/sql_quote.h"
#include "host/thread.h"
#include "lake/engine_wire.h"
#include "lake/row_source.h"
#include "stream/log_view.h"

/* In libduckdb since 1.5, not in the header that we build with: as duckdb_vector_assign_string_element_len without its second look at the UTF-8. */
void duckdb_unsafe_vector_assign_string_element_len(duckdb_vector vector, idx_t index, const char *str, idx_t str_len);

#define QUERY_FILE "query-" /* in data/tmp: Parquet results on their way */

struct child;
struct statement;

/* How a table's files are read: see file_shape.c. */
enum file_shape { SHAPE_UNKNOWN, SHAPE_PLAIN, SHAPE_OTHER };

/* One table at one version, as told by the server. */
struct child_table {
    uint32_t number; /* the server's, used again after CONTROL_FORGET */
    uint64_t serial; /* ours, never used again */
    int references; /* one for the child until CONTROL_FORGET, one per statement */
    struct arena *arena;
    struct engine_table definition;
    _Atomic enum file_shape shape;
    const struct work_table *work; /* what a work session sees of it; NULL: everything */
    bool without_model; /* a table of the warehouse whose model is gone */
    const char *body; /* tables of the warehouse: the SELECT that the session's view is; NULL: a table of the lake */
    bool is_model_view; /* the body is a model's own SQL, which may name other tables */
};

/* The warehouse's tables at one moment. Immutable, counted under child->lock. */
struct warehouse_set {
    int references;
    uint64_t serial; /* of child->warehouse_serial */
    struct arena *arena;
    struct child_table *tables;
    size_t n;
};

struct session {
    struct child *child;
    uint64_t catalog; /* number in the name of its in-memory catalog */
    bool busy, ready;
    duckdb_connection connection;
    uint64_t connection_id; /* DuckDB's, to find the session from a table function */
    duckdb_prepared_statement parse; /* SELECT json_serialize_sql($1) */
    struct map *views; /* "schema.name" -> struct view_state */
    bool warehouse_touched; /* its transaction may have changed which tables the warehouse has */
    struct statement *statement;
};

/* Why a statement is to end early. */
enum stop { STOP_NONE, STOP_CANCELLED, STOP_TIMEOUT };

/* A row source that the statement uses. */
struct statement_source {
    struct statement_source *next;
    const struct row_source_kind *kind;
    struct str spec;
    void *self;
    const struct str *columns;
    size_t columns_n;
    uint64_t row; /* number of the last row given */
    bool taken; /* cupel_rows reads it */
    bool ended; /* next gave its last row */
};

struct statement {
    struct child *child;
    struct session *session;
    struct statement *next, *prev; /* in child->statements */
    struct arena *arena;
    struct engine_request request;
    struct child_table **tables; /* request.tables_n */
    struct warehouse_set *warehouse; /* queries only; NULL: none, or it cannot be opened */
    struct child_table **visible; /* what the statement may name: the warehouse's tables, and those of the lake that it does not have */
    uint32_t visible_n;
    int fd;
    int64_t deadline_ms; /* monotonic; 0: none */
    _Atomic enum stop stop;
    mutex lock; /* the lists below, and sending on fd */
    struct log_scan **scans; /* ended only after the result is destroyed: DuckDB's vectors point into their memory */
    size_t scans_n, scans_cap;
    struct statement_source *sources;
    struct buf warnings; /* what a reader of the result should know: JSON texts with commas; ends with the statement */
    struct buf out; /* result bytes not sent yet */
    uint64_t rows;
    struct err send_err;
};

struct child {
    struct host host;
    const char *data_dir;
    const char *timezone; /* of the project; NULL: UTC */
    const char **read_dirs;
    size_t read_dirs_n;
    uint64_t memory_bytes;
    uint32_t threads, sessions_n;
    bool trusted;
    char *warehouse_why; /* NULL: the warehouse is attached; else why not */
    enum status warehouse_status;
    struct warehouse_set *warehouse_set; /* the newest */
    _Atomic uint64_t warehouse_serial; /* moves when tables or models of the warehouse may have changed */
    _Atomic bool broken; /* DuckDB declared itself invalid: nothing works any more, a new process will */
    const struct row_source_kind *const *kinds;
    int control;
    duckdb_database db;
    mutex send_lock; /* control socket, our side */
    mutex lock;
    condition changed;
    struct session *sessions;
    uint64_t catalogs; /* numbers given to them */
    struct child_table **tables; /* by number; NULL: forgotten */
    uint32_t tables_n;
    uint64_t table_serials;
    struct statement *statements;
    mutex log_lock;
    struct log_view *log;
};

/* ---- engine_child.c ---- */
/* Sends a frame of the answer. E_CANCELLED when the caller is gone. */
enum status statement_send(struct statement *statement, enum wire_kind kind, struct str payload, struct err *err);
/* Sends statement->out as data when it is over 64 KiB, or `all`. */
enum status statement_flush(struct statement *statement, bool all, struct err *err);
/* A scan of the log up to the statement's durable position; the log's index is opened at the first use. */
enum status child_log_scan(struct child *child, const struct statement *statement, struct log_range range, struct log_scan **out, struct err *err);
struct session *child_session(struct child *child, uint64_t connection_id);

void statement_end_scans(struct statement *statement); /* results that may point into the log are destroyed */

/* ---- warehouse.c ---- */
/* Attaches data/warehouse.duckdb as `warehouse`, made when missing; when that fails child->warehouse_why says so and all else goes on. */
void warehouse_open(struct child *child, duckdb_connection connection);
/* A statement of a work session ended well; its text names the warehouse, or the list of models in it. */
void warehouse_noted(struct session *session, duckdb_statement_type type, bool names_warehouse, bool names_models);

/* ---- warehouse_tables.c ---- */
/* The warehouse's tables as of now; NULL when it cannot be opened. To be released. */
enum status warehouse_set_take(struct session *session, struct warehouse_set **out, struct err *err);
void warehouse_set_release(struct child *child, struct warehouse_set *set);

/* ---- engine_session.c ---- */
/* One catalog of macros for all sessions: it is in their search path behind their own. Once per database, before the first session. */
enum status macros_open(duckdb_connection connection, struct err *err);
enum status session_begin(struct session *session, struct err *err); /* connects at the first use */
/* Makes the session's views those of the statement's tables that the tree (jansson, of json_serialize_sql) or text names. */
struct json_t;
enum status session_make_views(struct session *session, struct statement *statement, const struct json_t *tree, struct err *err);
enum status session_make_work_views(struct session *session, struct statement *statement, struct err *err); /* those of request.work */
/* Rolls back, and takes away all that a work session left: temporary tables, views, settings. */
void session_reset(struct session *session);
enum status session_run(struct session *session, const char *sql, struct err *err); /* a statement without result */
/* Runs a pending statement until its result is ready, without burning a core. The result is to be destroyed also on failure. */
enum status session_execute(struct session *session, duckdb_pending_result pending, duckdb_result *result, struct err *err);
/* The status and text of a DuckDB error, shortened with its LINE part kept; E_CANCELLED or E_TIMEOUT when the statement was stopped. */
enum status duckdb_failed(const struct statement *statement, duckdb_error_type type, const char *text, struct err *err);
/* The same where the API gives no type (prepare, pending): the head of the text tells. */
enum status duckdb_refused(const struct statement *statement, const char *text, struct err *err);

/* ---- file_shape.c ---- */
/* Whether the files have exactly the table's columns, and are few: then they are read without a map of field ids, which is faster. */
bool files_are_plain(struct session *session, struct child_table *table);

/* ---- sql_check.c ---- */
/* The parsed statement as DuckDB's JSON tree; E_INVALID for syntax errors, E_DENIED when it is not one SELECT (or DESCRIBE, SUMMARIZE, SHOW). */
enum status sql_parse(struct session *session, struct str sql, struct json_t **tree, struct err *err);
/* Refuses what users may not do. `tables` are those that may be named. */
enum status sql_check(const struct json_t *tree, struct str sql, const struct child_table *const *tables, size_t tables_n, struct err *err);
/* SHOW TABLES, SHOW ALL TABLES: answered by a statement of our own. */
bool sql_is_show_tables(const struct json_t *tree);
/* sql_point.c: whether the statement can only give one row of the stream's table, by an id that it names, which was received then. */
bool sql_wants_one_event(const struct json_t *tree, const struct engine_table *table, int64_t *received_ms);
/* EXPLAIN [ANALYZE] in front: returns "EXPLAIN " or "EXPLAIN ANALYZE " and moves *sql behind it; "" for others. */
const char *sql_cut_explain(struct str *sql);

/* ---- query.c, query_copy.c: run the statement and send its answer up to ANSWER_END ---- */
enum status query_run(struct statement *statement, struct err *err);
enum status copy_run(struct statement *statement, struct err *err);

/* ---- work.c: a session of statements, until the server closes it ---- */
enum status work_run(struct statement *statement, struct err *err);

/* ---- functions ---- */
enum status log_scan_register(struct child *child, duckdb_connection connection, struct err *err);
enum status rows_scan_register(struct child *child, duckdb_connection connection, struct err *err);
enum status scalar_register(duckdb_connection connection, struct err *err);
void rows_scan_report(struct statement *statement, struct buf *out); /* JSON array for engine_copied.sources */
void rows_scan_end(struct statement *statement);

#endif
