/* What the files of expectations share: the table of expectations, and reading and writing of their arguments. */
#ifndef CUPEL_FLOW_EXPECT_PRIV_H
#define CUPEL_FLOW_EXPECT_PRIV_H

#include "config/yaml.h"
#include "flow/expect.h"

enum argument_type {
    ARGUMENT_COLUMN, /* a column of the table */
    ARGUMENT_COLUMNS, /* a list of at least one */
    ARGUMENT_NAMES, /* a list of names that need not exist */
    ARGUMENT_VALUE, /* a value of the column's type */
    ARGUMENT_VALUES, /* a list of them */
    ARGUMENT_PAIRS, /* a list of lists of two values, of column_A and column_B */
    ARGUMENT_NUMBER,
    ARGUMENT_COUNT, /* a whole number from 0 */
    ARGUMENT_FLAG,
    ARGUMENT_TEXT,
    ARGUMENT_TEXTS, /* a list of at least one */
    ARGUMENT_CHOICE,
    ARGUMENT_QUANTILES, /* {quantiles: [0.5], value_ranges: [[1, 2]]} */
    ARGUMENT_DURATION,
    ARGUMENT_TABLE, /* schema.name */
    ARGUMENT_QUERY,
};

struct expect_argument {
    const char *name; /* NULL ends a list */
    enum argument_type type;
    bool required;
    const char *choices; /* "any|all" */
};

#define EXPECT_ARGUMENTS_MAX 8
#define EXPECT_COLUMNS_MAX 64 /* columns of one expectation */

/* A statement under construction. */
struct expect_sql {
    const struct expectation *e;
    const struct expect_batch *batch;
    struct buf *out;
};

struct expectation_kind {
    const char *type;
    enum expect_scope scope;
    struct expect_argument arguments[EXPECT_ARGUMENTS_MAX];
    bool needs_bound; /* min_value or max_value must be given */
    bool nulls_too; /* rows where the column is NULL are looked at */
    /* ROWS: appends a condition that good rows fulfil (NULL counts as bad). SET: appends a SELECT of the failing rows as `row`. TABLE: appends a SELECT of
     * (success BOOLEAN, observed VARCHAR) in one row. */
    void (*write)(struct expect_sql *s);
    const char *help; /* one sentence for the documents */
};

extern const struct expectation_kind expectation_kinds[];
extern const size_t expectation_kinds_n;

const struct expectation_kind *expectation_kind_find(struct str type); /* NULL: unknown */

/* ` (did you mean "x"?)` or "". */
const char *expect_suggest(struct arena *arena, const char *given, const char *const *names, size_t n);

/* ---- arguments of a parsed expectation ---- */

const struct yaml_node *argument(const struct expectation *e, const char *name); /* NULL: not given, or null */
bool argument_flag(const struct expectation *e, const char *name, bool fallback);
struct str argument_text(const struct expectation *e, const char *name); /* p NULL: not given */
/* true: the choice was made, or is the default when nothing was said. */
bool argument_is(const struct expectation *e, const char *name, const char *choice, const char *fallback);
bool yaml_is_true(const struct yaml_node *node);
bool yaml_is_false(const struct yaml_node *node);
bool text_is_number(struct str text); /* as SQL and JSON write it, finite */

/* ---- writing ---- */

const char *column_type(const struct expect_batch *batch, struct str column); /* NULL: not known */
bool type_is_number(const char *type); /* of DuckDB */
/* One type under all the names that DuckDB, SQLAlchemy, pandas and Spark give it: "VARCHAR" for text, str, StringType; without what stands in brackets. */
struct str type_family(struct arena *arena, struct str type);
void write_name(struct expect_sql *s, struct str name); /* "quoted" */
void write_text(struct expect_sql *s, struct str text); /* 'quoted' */
void write_column(struct expect_sql *s, const char *argument_name); /* t."quantity" */
void write_value(struct expect_sql *s, const struct yaml_node *value, const char *type); /* a literal that compares well with a column of the type */
void write_values(struct expect_sql *s, const struct yaml_node *list, const char *type); /* a, b, c */
/* `value` between min_value and max_value of the arguments, by strict_min and strict_max; TRUE when no bound is given. type: of the value, NULL: a number. */
void write_between(struct expect_sql *s, const char *value, const char *type);
void write_considered(struct expect_sql *s); /* the rows that are looked at, a condition over t */
void write_rows_of_batch(struct expect_sql *s); /* (SELECT rowid AS "_cupel_row", * FROM the batch WHERE row_condition) */

#define EXPECT_ROW "\"_cupel_row\""

/* expect_table.c: SELECTs of expectations about the table. */
void write_mean(struct expect_sql *s);
void write_median(struct expect_sql *s);
void write_sum(struct expect_sql *s);
void write_min(struct expect_sql *s);
void write_max(struct expect_sql *s);
void write_stdev(struct expect_sql *s);
void write_quantiles(struct expect_sql *s);
void write_distinct_count(struct expect_sql *s);
void write_distinct_share(struct expect_sql *s);
void write_filled_share(struct expect_sql *s);
void write_distinct_in_set(struct expect_sql *s);
void write_distinct_contain_set(struct expect_sql *s);
void write_distinct_equal_set(struct expect_sql *s);
void write_most_common(struct expect_sql *s);
void write_row_count_between(struct expect_sql *s);
void write_row_count_equal(struct expect_sql *s);
void write_row_count_equal_other(struct expect_sql *s);
void write_column_count_between(struct expect_sql *s);
void write_column_count_equal(struct expect_sql *s);
void write_column_exists(struct expect_sql *s);
void write_columns_ordered(struct expect_sql *s);
void write_columns_set(struct expect_sql *s);
void write_type(struct expect_sql *s);
void write_type_list(struct expect_sql *s);
void write_freshness(struct expect_sql *s);

#endif
