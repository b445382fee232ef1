/* One run of one model, inside. Two transactions:
 *
 *   1. reading: BEGIN; what changed; shadow views under the names that the SQL uses, each showing what the strategy needs of its input; the SQL into
 *      temporary tables; COMMIT. All of it sees one snapshot of the warehouse, taken at the first statement that looks at it.
 *   2. writing: BEGIN; the difference to the table (its rowids are valid only here: a checkpoint between transactions may move rows); table, images of old
 *      rows, quarantine, checks, changes, positions, freshness, outbox, history; COMMIT.
 *
 * The model's own table cannot change in between (one run of a model at a time); inputs may: what they got later stands beyond the positions that are stored.
 *
 * Temporary tables: _batch (stream), _keys, _rows, _pieces (merge), _new (the result where it was restated), _old, _diff, _ins and _del (what changes). */
#ifndef CUPEL_FLOW_RUN_PRIV_H
#define CUPEL_FLOW_RUN_PRIV_H

#include "flow/expect.h"
#include "flow/flow_priv.h"

#define ATTEMPTS_MAX 3
#define INTERVALS_MAX 16

struct run_input {
    const struct flow_input *in;
    const struct model *model; /* NULL: bronze */
    const struct engine_table *table; /* bronze, at the pin */
    bool stored; /* the model has a position in it */
    bool known; /* and it counts: what is new stands beyond it */
    bool moved; /* there may be something new */
    struct position from, to;
    uint64_t before, seen_version; /* landing tables: watermark, 0: none; version of the lake's table */
    int64_t rows; /* of the delta */
};

struct interval { /* of bucket labels: local time without zone, microseconds */
    int64_t from, to; /* INT64_MIN, INT64_MAX: open */
};

struct run_check {
    bool looked;
    int64_t unexpected, total, nameless;
    const char *observed;
    enum expect_verdict verdict;
};

/* What the session's views of driving tables show. Tables that the model has not read before, and look-ups, show all (intervals and keys: restricted all
 * the same). */
enum shown { SHOW_ALL, SHOW_DELTA, SHOW_DELTA_AND_OLD, SHOW_INTERVAL, SHOW_KEYS };

struct run {
    struct flow *flow;
    const struct model *m;
    const struct model_set *set;
    const struct flow_run_options *options;
    struct arena *arena; /* of the results */
    struct flow_model_result *result;
    struct run_input *inputs; /* without views */
    size_t inputs_n;
    struct lake_pin *pin;
    struct engine_work *work;
    struct buf log; /* statements as they ran */
    const char *fingerprint; /* what the table is built by; of references with the content of their file */
    int64_t version; /* of this run; given out when it begins to write */
    int64_t started_us; /* wall */
    bool exists; /* the model has a table */
    bool restate_all; /* every input as a whole: the first time, changed SQL or look-up, asked for, rebuilt input */
    bool swap; /* the table is replaced, not compared */
    bool more; /* the input has more than this run took: another one follows at once */
    const char *target, *target_gone, *target_quarantine; /* the table's, or those of the one beside it while it is rebuilt in waves */
    bool target_empty;
    struct run_check *checks; /* one per expectation of the suite; NULL: not looked at */
    const char *why; /* restate_all: for the plan */
    bool keys_nulls; /* _keys has a key with a NULL in it */
    bool views_made;
    enum shown views_shown;
    int64_t as_of_event_us, as_of_received_us; /* 0: not known */
    bool bucket_known;
    int64_t bucket_min_us, bucket_max_us;
};

/* ---- statements ---- */

/* Runs SQL and keeps it for the history. rows may be NULL. E_CANCELLED when the caller wants the run to end. */
enum status run_sql(struct run *run, const char *sql, json_t **rows, struct err *err);
enum status run_buf(struct run *run, struct buf *sql, json_t **rows, struct err *err); /* clears the buffer */
/* One number: the column n of the only row. */
enum status run_count(struct run *run, const char *sql, int64_t *n, struct err *err);

/* ---- session ---- */

/* Pins the lake and begins a session whose bronze views show all, or only what is new. ends: one per input, up to there
 * only (waves, over the pin of the first one); may be NULL. */
enum status run_session(struct run *run, bool delta, const struct position *ends, struct err *err);
/* Where a delta is to end so that it is no larger than a wave: *out NULL when all of it fits. *more: something is left for a further run. */
enum status run_delta_ends(struct run *run, const struct position **out, bool *more, struct err *err);
void run_session_end(struct run *run);
enum status run_narrow_bronze(struct run *run, const char *where, struct err *err);
/* Session views under the names that the SQL uses. driving: what driving inputs show; look-ups show all. */
enum status run_views(struct run *run, enum shown driving, const struct interval *interval, struct err *err);
/* The part of the warehouse's positions that this transaction sees; to->version of every input. */
enum status run_read_versions(struct run *run, struct err *err);
/* Whether a driving table lost rows since the position. */
enum status run_has_old(struct run *run, bool *old, struct err *err);

/* ---- SQL parts ---- */

const char *time_type(const struct model *m); /* DuckDB type of the time column */
const struct flow_column *model_column(const struct model *m, const char *name);
/* epoch_us of the bucket of expression `sql` of that type. */
void sql_label(struct buf *out, const struct run *run, const char *column, const char *type);
/* The beginning of a bucket as a constant of that type. */
void sql_label_constant(struct buf *out, const struct run *run, int64_t label_us, const char *type);
/* "col >= … AND col < …", or TRUE. */
void sql_interval(struct buf *out, const struct run *run, const char *column, const char *type, struct interval interval);
/* EXISTS over a table of keys. nulls: keys may be NULL. */
void sql_has_key(struct buf *out, const char *table, const char *alias, const char *const *keys, size_t n, bool nulls);
void sql_rows_since(struct buf *out, const struct run_input *in, bool old); /* FROM … WHERE _version > … */

/* ---- the difference and its way into the table ---- */

/* _ins and _del from `rows` (a table, or a SELECT in parentheses) against the table's rows where `where` holds (alias t_). */
enum status diff_make(struct run *run, const char *rows, const char *where, struct err *err);
/* The same against the rows of a SELECT (the table's columns and cupel_row_). */
enum status diff_make_from(struct run *run, const char *rows, const char *select, struct err *err);
/* Inserts and deletes by _ins and _del; counts go into the result. */
enum status diff_apply(struct run *run, struct err *err);
/* Makes the table have exactly `rows`. Rebuilds look first whether it does: then nothing is made. */
enum status diff_whole(struct run *run, const char *rows, struct err *err);
/* Table, siblings and schemas, when they are missing. */
enum status table_ensure(struct run *run, struct err *err);
/* Everything else of the writing transaction, and COMMIT; then this process' knowledge. */
enum status run_commit(struct run *run, bool changed, struct err *err);
void run_take_version(struct run *run);
/* The row of cupel.runs. */
void run_put_history(struct buf *out, const struct run *run, const char *status);

enum status run_write_restated(struct run *run, const char *where, struct err *err); /* from _new, where it was restated; ends the reading transaction first */
enum status run_write_nothing(struct run *run, struct err *err); /* only positions move */
/* Starts over, restating everything. */
enum status run_become_whole(struct run *run, const char *why, struct err *err);
enum status run_count_keys(struct run *run, int64_t *keys, struct err *err); /* of _keys; also run->keys_nulls */
/* How far bronze is shown: to, rows, receipt times. */
enum status run_bronze_ends(struct run *run, struct err *err);
enum status table_replace(struct run *run, struct err *err); /* an empty one in place of the old one */
enum status stream_winners(struct run *run, struct err *err); /* _won and, without what ended keys and groups, _new: the winners of _batch alone */
enum status stream_note_ends(struct run *run, struct err *err); /* what ended keys and groups, from _won; inside the writing transaction */

/* ---- expectations ---- */

/* Finds failing rows of a temporary table; results add up over waves. After the reading transaction: a row gets the rowid that it keeps only when the
 * transaction that made it ends. */
enum status run_expect_rows(struct run *run, const char *rows, struct err *err);
/* E_UNPROCESSABLE: an expectation says that the run fails. */
enum status run_expect_judge(struct run *run, struct err *err);
/* Failing rows to quarantine and out of the batch (writing). */
enum status run_expect_quarantine(struct run *run, const char *rows, struct err *err);
/* Expectations about the table, on the table as it is now in this transaction. */
enum status run_expect_table(struct run *run, const char *rows, struct err *err);
void run_put_checks(struct buf *out, const struct run *run);

/* ---- strategies: from a session not yet begun to the commit ---- */

enum status run_stream(struct run *run, struct err *err);
enum status run_stream_keys(struct run *run, bool *done, struct err *err); /* done false: nothing was done, the other ways are open */
enum status stream_compute(struct run *run, int64_t rows_in, struct err *err); /* _batch of what the views show; inside the reading transaction */
enum status stream_write(struct run *run, struct err *err); /* _batch into quarantine and table; inside the writing transaction */
enum status run_redrive(struct run *run, struct err *err); /* the events in quarantine instead of what is new (stream models) */
enum status run_bucket(struct run *run, struct err *err);
enum status run_by(struct run *run, struct err *err);
enum status run_merge(struct run *run, struct err *err);
enum status run_whole(struct run *run, struct err *err); /* full; every rebuild but of streams */
enum status run_view(struct run *run, struct err *err);
enum status run_verify(struct run *run, struct err *err);
enum status run_account(struct run *run, struct err *err);

/* ---- knowledge of the warehouse ---- */

enum status state_load(struct flow *flow, struct err *err); /* fine when known */
void state_forget(struct flow *flow); /* it is read again before the next run */
void state_clear(struct flow *flow); /* frees it */
/* Copies; false: nothing is known of it. */
bool state_position(struct flow *flow, struct arena *arena, const char *model, const char *input, struct position *out);
bool state_table(struct flow *flow, const char *table, struct table_state *out);
const char *state_built(struct flow *flow, struct arena *arena, const char *model); /* fingerprint, NULL: never */
void state_note_run(struct run *run, bool changed, bool rebuilt);
void state_note_seen(struct flow *flow, const char *model, const char *input, struct seen_table seen);
bool state_seen(struct flow *flow, const char *model, const char *input, struct seen_table *out);
int64_t state_next_version(struct flow *flow);
/* The lowest position of all readers of a table that are loaded; INT64_MAX: nobody reads it. */
int64_t state_slowest_reader(struct flow *flow, const struct model *m);
void position_json(const struct run_input *in, struct buf *out);
bool position_same(const struct position *a, const struct position *b);

/* Offsets of a landing table below which nothing more can come: the first file under way, or where the next one will begin; 0: no limit. */
enum status landing_watermark(struct flow *flow, const struct engine_table *table, uint64_t *before, struct err *err);
/* Moves an offset inside a file to the file's end. */
enum status landing_file_end(struct flow *flow, const struct engine_table *table, uint64_t *offset, struct err *err);

#endif
