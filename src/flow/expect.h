/* Expectations: what rows and tables must be like, under Great Expectations' names and arguments (docs/expectations.md). Text in, SQL out; no engine here.
 *
 * A file expectations/<schema>.<name>.yaml (or .json, a Great Expectations suite) is parsed into a suite. For a batch that a run has computed into a table
 * the suite gives statements that find failing rows, judge every expectation, and write the quarantine. The order of use:
 *
 *     expect_parse, expect_check_columns                     when models are loaded
 *     CREATE TEMP TABLE failures (row BIGINT, expectation INTEGER)
 *     expect_failures_sql                                    fills it: one scan of the batch for all expectations about single rows
 *     expect_results_sql                                     one row per expectation; expect_verdict says what it means
 *     expect_quarantine_sql, expect_remove_sql               rows of the batch go to quarantine and leave the batch
 *
 * Semantics are Great Expectations': NULL values are left out of everything but the expectations about NULL; `mostly` is a share of the rows looked at;
 * nothing to look at is a success. Different: of rows that should be unique the first stays, the others are unexpected (there: all of them).
 *
 * Ownership: everything is in the caller's arena and immutable after expect_parse. Threads: any. Sources: great_expectations/expectations/core, version 1. */
#ifndef CUPEL_FLOW_EXPECT_H
#define CUPEL_FLOW_EXPECT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "flow/flow.h"

#define EXPECT_FILE_BYTES_MAX (1u << 20)
#define EXPECT_SUITE_MAX 500 /* expectations of one table */

enum expect_on_fail { EXPECT_QUARANTINE, EXPECT_FAIL, EXPECT_WARN };
enum expect_severity { EXPECT_CRITICAL, EXPECT_WARNING, EXPECT_INFO };

/* How an expectation is judged. */
enum expect_scope {
    EXPECT_ROWS, /* each row by itself: a predicate, all of them in one scan */
    EXPECT_SET, /* rows among others (unique, increasing, in another table, a query): a query that gives the failing rows */
    EXPECT_TABLE, /* the table as a whole: one value; no row can be quarantined for it */
};

struct expectation_kind; /* a row of the table of expectations, expect_priv.h */
struct yaml_node;

struct expectation {
    const struct expectation_kind *kind;
    const char *type; /* "expect_column_values_to_be_between" */
    const char *column; /* the column that it is about; several: "a, b"; "" when it is about the table */
    const char *label; /* unique in the suite, for people: "expect_column_values_to_be_between(quantity, min_value: 1)" */
    enum expect_scope scope;
    enum expect_on_fail on_fail;
    enum expect_severity severity;
    bool mostly_given;
    double mostly; /* 0..1; 1 when not given */
    const char *row_condition; /* SQL over the row's columns; NULL */
    const char *notes; /* NULL */
    const char *arguments; /* JSON object as given, without the common ones */
    int line, column_at; /* in the file */
    const struct yaml_node *values; /* private: the map of arguments */
};

struct expect_suite {
    const char *table; /* "silver.pos_sales" */
    const char *file; /* as messages name it */
    enum expect_on_fail on_fail;
    const struct expectation *list;
    size_t n;
    const char *const *tables; /* other tables that expectations read by name (foreign keys, row counts): full names, each once */
    size_t tables_n;
    const char *const *queries; /* bodies of unexpected_rows_query: their tables are for the caller to find */
    size_t queries_n;
};

/* Reads a file. `table` is what its name says ("silver.pos_sales"); a `table:` inside must agree. Problems get line and column; E_CONFIG when there was an error
 * (then *out is untouched), OK otherwise, warnings or not. */
enum status expect_parse(
    struct arena *arena, const char *file, const char *table, struct str text, struct expect_suite **out, struct config_problems *problems, struct err *err);

/* Against the bound columns of the model: columns exist, values can be of the column's type. Adds problems; false: there were errors. */
bool expect_check_columns(
    struct arena *arena, const struct expect_suite *suite, const struct flow_column *columns, size_t columns_n, struct config_problems *problems);

/* ---- statements ---- */

enum expect_part { EXPECT_ALL, EXPECT_NOT_TABLE, EXPECT_ONLY_TABLE }; /* which results are wanted: expectations about rows, or about the table */

struct expect_batch {
    enum expect_part part;
    const char *rows; /* the batch: a table as SQL names it (it must have a rowid) */
    const char *table; /* what expectations about the table look at; NULL: the batch */
    const char *failures; /* table (row BIGINT, expectation INTEGER): rowid of the batch, index in the suite */
    const char *order; /* "a, b" of the batch: what comes first; NULL: rowid */
    const char *existing; /* rows that the table keeps (SQL of a relation with the same columns), for uniqueness beyond the batch; NULL: the batch alone */
    const char *const *key; /* with existing: rows of the same key are replaced by the batch, so they do not count */
    size_t key_n;
    const struct flow_column *columns; /* of the batch, bound */
    size_t columns_n;
};

/* INSERT INTO failures …; nothing is appended when no expectation is about rows. A row of NULL is a failure that no single row stands for. The part of the
 * batch makes no difference. */
void expect_failures_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out);
/* A SELECT over batch, table and failures with a row per expectation of the batch's part, in order: expectation INTEGER, unexpected BIGINT, total BIGINT
 * (rows looked at; 0, and 1 unexpected, for a failed expectation about the table), nameless BIGINT (failures that no single row stands for), observed
 * VARCHAR. Nothing is appended when the part is empty. */
void expect_results_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out);

enum expect_verdict { EXPECT_PASSED, EXPECT_WARNED, EXPECT_FAILED, EXPECT_QUARANTINED };
/* What a result means. EXPECT_FAILED: the run must fail. With on_fail quarantine a run fails only when `mostly` is given and more rows failed than that
 * allows, or when no rows stand for failures; and only with severity critical. */
enum expect_verdict expect_verdict(const struct expectation *e, uint64_t unexpected, uint64_t total, uint64_t nameless);
const char *expect_verdict_name(enum expect_verdict verdict); /* "passed" */
const char *expect_severity_name(enum expect_severity severity); /* "critical" */

/* ---- quarantine ---- */

struct expect_quarantine {
    const char *table; /* as SQL names it: warehouse.quarantine."silver__pos_sales" */
    const char *run_id;
    const char *raw; /* SQL of a relation (_event_id UUID, raw VARCHAR) with what came; NULL: not known */
    bool event_id; /* the batch has a column _event_id; else it is NULL in quarantine */
};

/* The DDL: CREATE TABLE IF NOT EXISTS <table> (_event_id, _reason, _raw, _run_id, _quarantined_at, _row): _row is the row as JSON text. */
void expect_quarantine_ddl(const char *table, struct buf *out);
/* INSERT of the rows of the batch that fail an expectation with on_fail quarantine: one row per event id (or batch row without one) with all its reasons,
 * joined by "; ". What the table had for the same event ids goes first: a repeated run leaves the same quarantine. Nothing is appended when no expectation
 * quarantines. */
void expect_quarantine_sql(const struct expect_suite *suite, const struct expect_batch *batch, const struct expect_quarantine *quarantine, struct buf *out);
/* DELETE of those rows from the batch. */
void expect_remove_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out);

/* The table of all expectations as Markdown, for docs/expectations.md. */
void expect_write_md(struct buf *out);

#endif
