/* Flow: models, the graph between them, and runs that keep their tables right.
 *
 * A project's models/<schema>/<name>.sql each make one table of the warehouse (docs/models.md). A run of a model finds what its inputs changed since the
 * positions that it stored, restates only what that touches, and commits table, quarantine, check results, positions, change feed, history and outbox in ONE
 * transaction of the warehouse. Repeating a run, or losing it to a crash, leaves the same tables.
 *
 * Ownership: a flow owns all it hands out; a loaded set of models lives until flow_close, also after a later flow_load. Results of a run are in the caller's
 * arena. Threads: all functions from any thread; two runs of the same model wait for each other. Errors: a call fails when nothing could be done; what went
 * wrong with one model stands in its result. */
#ifndef CUPEL_FLOW_FLOW_H
#define CUPEL_FLOW_FLOW_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "config/config.h"
#include "host/host.h"
#include "lake/engine.h"
#include "lake/lake.h"
#include "ledger/ledger.h"
#include "stream/stream.h"

struct flow;
struct expect_suite; /* expect.h */

struct flow_options {
    const struct host *host;
    const char *dir; /* project folder: models/, expectations/ and reference/ are below it */
    const char *timezone; /* of days and hours: the session's TimeZone in every run; NULL: UTC */
    struct ledger *ledger; /* which landing files are under way; NULL: none */
    struct engine *engine; /* NULL: models are parsed, not bound, and cannot be run */
    struct lake *lake; /* bronze tables; needed with engine */
    struct stream_log *log; /* ends of streams for flow_due; NULL: only what the lake shows */
};

enum status flow_open(const struct flow_options *options, struct flow **out, struct err *err);
void flow_close(struct flow **flow); /* no run may be under way */

/* ---- models ---- */

enum flow_kind { FLOW_STREAM, FLOW_INCREMENTAL, FLOW_FULL, FLOW_VIEW, FLOW_REFERENCE };
enum flow_store { FLOW_STORE_WAREHOUSE, FLOW_STORE_LAKE, FLOW_STORE_BOTH };
enum flow_bucket { FLOW_BUCKET_NONE, FLOW_BUCKET_HOUR, FLOW_BUCKET_DAY };
enum flow_input_kind { FLOW_INPUT_EVENTS, FLOW_INPUT_LANDING, FLOW_INPUT_MODEL, FLOW_INPUT_REFERENCE };
enum flow_schema_change { FLOW_SCHEMA_APPEND, FLOW_SCHEMA_FAIL }; /* changed columns: take them over (rebuild), or fail the run */

struct flow_input {
    const char *schema, *name, *full; /* "bronze", "pos", "bronze.pos" */
    enum flow_input_kind kind;
    const struct flow_model *model; /* FLOW_INPUT_MODEL, FLOW_INPUT_REFERENCE (also through views: those stand in the list too); else NULL */
    bool lookup; /* a change rebuilds the model (compared, so that only real differences go on) */
    int64_t reads_ms; /* `reads:`: a change reaches so far forward in the output; 0: its own bucket */
    bool reads_until_next; /* carried forward without end */
    int line; /* of the SQL's first mention in the file; 0: depends_on */
};

struct flow_column {
    const char *name, *type; /* type: DuckDB's text; NULL before binding */
    const char *description; /* from `columns:`; NULL */
    bool hidden; /* `state:`: kept in the table, not shown to readers */
};

struct flow_emit {
    const char *stream; /* NULL: emits nothing */
    const char *const *columns; /* of the row, into the event */
    size_t columns_n;
    const char *when; /* SQL over `old` and `new` rows paired by key; NULL: always */
    const char *type; /* the event's "type" member; NULL: none */
};

struct flow_model {
    const char *schema, *name, *full, *file; /* file relative to the project, as messages name it */
    enum flow_kind kind;
    const char *const *key; /* stream: rows of one key, the newest stays; others: identity of an output row (for emit); may be empty */
    size_t key_n;
    const char *const *order; /* what is newer; default _received_at, _event_id */
    size_t order_n;
    const char *together; /* rows of one key with the same value stay side by side */
    const char *const *within; /* inside such a group the last of equal, non-null values stays */
    size_t within_n;
    const char *time; /* output column of the event time; NULL: none */
    enum flow_bucket bucket;
    const char *const *by; /* restated keys */
    size_t by_n;
    bool merge; /* the SQL reads this.pieces */
    const char *rows; /* one piece per input row (SELECT); NULL */
    int rows_line;
    const char *const *state; /* columns of the table that only pieces need */
    size_t state_n;
    int64_t within_time_ms; /* merge: older rows than that before a piece's time cannot be touched; 0: no limit */
    int64_t lookback_ms; /* how long state is kept open; 0: not given */
    const char *drops; /* what the WHERE leaves out on purpose; NULL */
    bool drops_by_word; /* stream: it is a sentence, so that whatever is missing counts as left out */
    const char *deletes; /* such output rows remove their key; NULL */
    bool expands; /* one input row may give several */
    bool unvalidated; /* stream: bad rows are among its rows, so their times say nothing about freshness */
    enum flow_store store;
    enum flow_schema_change on_schema_change;
    struct flow_emit emit;
    const char *description, *owner;
    const char *const *tags;
    size_t tags_n;
    const struct flow_column *columns; /* of the output in order once bound (hidden ones included, _version not); before: those of the header */
    size_t columns_n;
    bool bound; /* columns have types */
    const char *sql; /* the SELECT, without header and closing semicolon */
    int sql_line; /* where it begins in the file, from 1 */
    const struct flow_input *inputs; /* every table that it reads, look-ups included */
    size_t inputs_n;
    const struct expect_suite *suite; /* NULL: no expectations */
    const char *fingerprint; /* hex; changes when header's meaning, SQL, or a view or macro that it uses changes */
};

/* Reads models/, expectations/ and reference/, makes the graph, and (with an engine) binds every model in topological order against empty tables of its
 * inputs' columns. All problems of all files in one run (file, line, column). E_CONFIG when there was an error: then the models loaded before stay in use. */
enum status flow_load(struct flow *flow, struct config_problems *problems, struct err *err);
/* The same for models among the streams, sources and flows of a configuration: streams that events go to must be in it, tables that it declares count as
 * there, and its flows are looked at. When only flows, or rows of references, are wrong and there are no models in use yet, the models are put in use all
 * the same. config: not kept. time_ms: all of it may take so long, then E_TIMEOUT; 0: no limit. */
enum status flow_load_project(struct flow *flow, const struct config *config, int64_t time_ms, struct config_problems *problems, struct err *err);
/* Whether the files of the references among these models (n 0: all) still have the columns that the models were bound with; the engine is asked only where a
 * file changed since. false: load again, or their runs fail with E_CONFIG. E_UNAVAILABLE (no engine). */
enum status flow_references_fit(struct flow *flow, const char *const *models, size_t n, bool *fit, struct err *err);
/* Notes in the warehouse which of its tables have no model any more (cupel.without_model): queries that read them say so. After a load that went well. */
enum status flow_note_absent(struct flow *flow, struct err *err);
/* In topological order. References come first (kind FLOW_REFERENCE, full "ref.stores"). Valid until flow_close. */
size_t flow_models(struct flow *flow, const struct flow_model *const **out);
const struct flow_model *flow_find(struct flow *flow, const char *full); /* NULL: no such model */
const char *flow_kind_name(enum flow_kind kind); /* "stream" */

/* ---- runs ---- */

enum flow_status {
    FLOW_DONE, /* ran; the table is up to date with what its inputs had at the start */
    FLOW_UNCHANGED, /* no input moved */
    FLOW_FAILED, /* the old table is in place; error says why */
    FLOW_SKIPPED, /* a model that it needs failed, or the run was cancelled */
    FLOW_PLANNED, /* dry run */
};

/* Where the events of a stream model's bronze inputs are, counted by _event_id without the runs' own figures, up to the model's positions. */
struct flow_account {
    int64_t came; /* events in bronze */
    int64_t kept, quarantined; /* of them in the table, in quarantine; one that is in both counts as kept */
    int64_t dropped; /* of the rest, those that `drops:` leaves out, when it is a condition */
    int64_t rest; /* in none of these: superseded by another row of their key, or left out by the SQL */
    int64_t both; /* in the table and in quarantine */
    int64_t twice; /* rows of the table beyond one per event */
    int64_t unknown; /* events of the table that bronze does not have, as far back as bronze goes */
    bool exact; /* each event must be one row or be named elsewhere: rest and twice must be 0 */
    bool good;
};

struct flow_model_result {
    const char *model;
    enum flow_status status;
    const char *strategy; /* stream, bucket, by, merge, full, rebuild, view, reference; verify */
    const char *run_id;
    int64_t version; /* of the warehouse; 0: nothing was written */
    int64_t rows_in, rows_out, filtered, superseded, quarantined, inserted, deleted;
    int64_t differences; /* verify: rows that are in one and not in the other */
    const struct flow_account *account; /* NULL: the model's events cannot be followed */
    const char *detail; /* dry run: what would be restated; verify: examples of differences as JSON; NULL */
    double ms;
    const char *error; /* NULL unless failed */
    const char *sql; /* the statements as they ran */
};

struct flow_run_options {
    const char *const *models; /* full names; n 0: all. Only these are run: selections such as "a+" are the caller's */
    size_t n;
    bool full_refresh; /* rebuilt from all inputs */
    bool dry_run; /* plan only: nothing is written */
    bool verify; /* nothing is written: tables are compared with a full recompute */
    bool account; /* nothing is written: events are followed by their ids (flow_account) */
    bool force; /* also when no input moved */
    bool redrive; /* stream models: the events in their quarantine, instead of what is new (flow_redrive) */
    const char *flow, *trigger; /* for the history: "nightly", "input|cron|hand|api|after|backfill" */
    int64_t from_us, to_us; /* both 0: everything; else restate the buckets of [from, to) (bucket models), or the input received then (stream models) */
    bool (*cancelled)(void *context); /* asked between statements and while they run; may be NULL */
    void (*progress)(void *context, const struct flow_model_result *result); /* after each model; may be NULL */
    void *context;
};

/* Runs the models in topological order, each on what its inputs have when its turn comes. A failed model skips the models that depend on it, no others.
 * When the engine dies a model is tried again, three times in all. E_CANCELLED, E_UNAVAILABLE (no engine), E_NOT_FOUND (a name that is no model). */
enum status flow_run(
    struct flow *flow, struct arena *arena, const struct flow_run_options *options, struct flow_model_result **out, size_t *n, struct err *err);

/* What is remembered of the warehouse is read again: somebody else has changed it (tables were dropped). */
void flow_forget(struct flow *flow);

/* Names of models whose inputs moved past their positions, in topological order, those behind such models not included until their inputs have moved.
 * Cheap: asks the log, the lake's table versions and what this process remembers of the warehouse; may be called several times a second. */
enum status flow_due(struct flow *flow, struct arena *arena, const char *const **names, size_t *n, struct err *err);

/* ---- quarantine ---- */

struct flow_redrive_options {
    bool (*cancelled)(void *context); /* as of runs; may be NULL */
    void *context;
};

struct flow_redriven {
    const char *model;
    int64_t before, after; /* rows in quarantine */
    struct flow_model_result result; /* of the run; model NULL: nothing was there */
};

/* Reads the events in a model's quarantine again from bronze, through the present SQL and expectations; what is good now goes into the table, an older row
 * never replacing a newer one. Models whose quarantined rows have no event id are rebuilt. E_NOT_FOUND, E_INVALID (a view), E_UNPROCESSABLE (the run
 * failed: nothing changed), E_UNAVAILABLE. options may be NULL. */
enum status flow_redrive(
    struct flow *flow, struct arena *arena, const char *model, const struct flow_redrive_options *options, struct flow_redriven *out, struct err *err);

/* ---- outbox: rows of warehouse.cupel.outbox ----
 * kind "lake":  target "<schema>.<name>", payload {"rebuilt":bool,"from":<version of the last publication or 0>}: bring the Iceberg table up to `version`.
 * kind "event": target a stream, payload {"key":"<idempotency key>","event":{…}}: append the event with that Idempotency-Key. */

#endif
