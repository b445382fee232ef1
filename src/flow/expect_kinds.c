/* The table of expectations, and the SQL of those that are about rows. */
#include <string.h>

#include "base/assert.h"
#include "flow/expect_priv.h"

/* ---- single rows: what good rows fulfil ---- */

static void write_null(struct expect_sql *s) {
    write_column(s, "column");
    buf_text(s->out, " IS NULL");
}

static void write_not_null(struct expect_sql *s) {
    write_column(s, "column");
    buf_text(s->out, " IS NOT NULL");
}

static void write_value_between(struct expect_sql *s) {
    BUF_SCOPE(column);
    struct expect_sql inner = {s->e, s->batch, &column};
    write_column(&inner, "column");
    write_between(s, buf_cstr(&column), column_type(s->batch, argument_text(s->e, "column")));
}

static void write_set(struct expect_sql *s, const char *operator) {
    write_column(s, "column");
    buf_printf(s->out, " %s (", operator);
    write_values(s, argument(s->e, "value_set"), column_type(s->batch, argument_text(s->e, "column")));
    buf_char(s->out, ')');
}

static void write_in_set(struct expect_sql *s) { write_set(s, "IN"); }
static void write_not_in_set(struct expect_sql *s) { write_set(s, "NOT IN"); }

/* CAST(column AS VARCHAR): patterns and lengths are about the text of a value. */
static void write_as_text(struct expect_sql *s) {
    buf_text(s->out, "CAST(");
    write_column(s, "column");
    buf_text(s->out, " AS VARCHAR)");
}

static void write_match(struct expect_sql *s, struct str pattern, bool like) {
    buf_text(s->out, like ? "(" : "regexp_matches(");
    write_as_text(s);
    buf_text(s->out, like ? " LIKE " : ", ");
    write_text(s, pattern);
    buf_char(s->out, ')');
}

/* Patterns of a list joined by AND or OR; `none`: no pattern matches. */
static void write_match_list(struct expect_sql *s, const char *name, bool like, bool none) {
    const struct yaml_node *list = argument(s->e, name);
    must(list && list->kind == YAML_LIST);
    bool all = argument_is(s->e, "match_on", "all", "any") && !none;
    buf_text(s->out, none ? "NOT (" : "(");
    for (size_t i = 0; i < list->n; i++) {
        buf_text(s->out, !i ? "" : all ? " AND " : " OR ");
        write_match(s, list->items[i]->text, like);
    }
    buf_char(s->out, ')');
}

static void write_regex(struct expect_sql *s) { write_match(s, argument_text(s->e, "regex"), false); }
static void write_like(struct expect_sql *s) { write_match(s, argument_text(s->e, "like_pattern"), true); }
static void write_regex_list(struct expect_sql *s) { write_match_list(s, "regex_list", false, false); }
static void write_like_list(struct expect_sql *s) { write_match_list(s, "like_pattern_list", true, false); }
static void write_not_regex_list(struct expect_sql *s) { write_match_list(s, "regex_list", false, true); }
static void write_not_like_list(struct expect_sql *s) { write_match_list(s, "like_pattern_list", true, true); }

static void write_not_regex(struct expect_sql *s) {
    buf_text(s->out, "NOT ");
    write_regex(s);
}

static void write_not_like(struct expect_sql *s) {
    buf_text(s->out, "NOT ");
    write_like(s);
}

static void write_length_between(struct expect_sql *s) {
    BUF_SCOPE(length);
    struct expect_sql inner = {s->e, s->batch, &length};
    buf_text(&length, "length(");
    write_as_text(&inner);
    buf_char(&length, ')');
    write_between(s, buf_cstr(&length), NULL);
}

static void write_length_equal(struct expect_sql *s) {
    buf_text(s->out, "length(");
    write_as_text(s);
    buf_printf(s->out, ") = " STR_FMT, STR_ARG(argument_text(s->e, "value")));
}

static void write_json(struct expect_sql *s) {
    buf_text(s->out, "json_valid(");
    write_as_text(s);
    buf_char(s->out, ')');
}

static void write_strftime(struct expect_sql *s) {
    buf_text(s->out, "try_strptime(");
    write_as_text(s);
    buf_text(s->out, ", ");
    write_text(s, argument_text(s->e, "strftime_format"));
    buf_text(s->out, ") IS NOT NULL");
}

static void write_pair(struct expect_sql *s, const char *operator) {
    write_column(s, "column_A");
    buf_text(s->out, operator);
    write_column(s, "column_B");
}

static void write_greater(struct expect_sql *s) {
    bool or_equal = argument_flag(s->e, "or_equal", false);
    write_pair(s, or_equal ? " >= " : " > ");
    if (or_equal) {
        buf_text(s->out, " OR ");
        write_pair(s, " IS NOT DISTINCT FROM ");
    }
}

static void write_equal_pair(struct expect_sql *s) { write_pair(s, " = "); }

static void write_pair_set(struct expect_sql *s) {
    const struct yaml_node *pairs = argument(s->e, "value_pairs_set");
    const char *const columns[] = {"column_A", "column_B"};
    must(pairs && pairs->kind == YAML_LIST);
    for (size_t i = 0; i < pairs->n; i++) {
        buf_text(s->out, i ? " OR (" : "(");
        for (size_t k = 0; k < 2; k++) {
            const struct yaml_node *value = pairs->items[i]->items[k];
            buf_text(s->out, k ? " AND " : "");
            write_column(s, columns[k]);
            buf_text(s->out, value->is_null ? " IS NULL" : " = ");
            if (!value->is_null) write_value(s, value, column_type(s->batch, argument_text(s->e, columns[k])));
        }
        buf_char(s->out, ')');
    }
}

static void write_listed(struct expect_sql *s, const struct yaml_node *list, size_t i) {
    buf_text(s->out, "t.");
    write_name(s, list->items[i]->text);
}

static void write_sum_of_columns(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_list");
    for (size_t i = 0; i < list->n; i++) {
        buf_text(s->out, i ? " + " : "");
        write_listed(s, list, i);
    }
    buf_printf(s->out, " = " STR_FMT, STR_ARG(argument_text(s->e, "sum_total")));
}

static void write_all_equal(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_list");
    buf_text(s->out, "TRUE");
    for (size_t i = 1; i < list->n; i++) {
        buf_text(s->out, " AND ");
        write_listed(s, list, 0);
        buf_text(s->out, " IS NOT DISTINCT FROM ");
        write_listed(s, list, i);
    }
}

static void write_unlike_each_other(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_list");
    buf_text(s->out, "TRUE");
    for (size_t i = 0; i < list->n; i++) {
        for (size_t k = i + 1; k < list->n; k++) {
            buf_text(s->out, " AND ");
            write_listed(s, list, i);
            buf_text(s->out, " IS DISTINCT FROM ");
            write_listed(s, list, k);
        }
    }
}

/* ---- rows among others: the failing ones ---- */

static void write_order(struct expect_sql *s) {
    if (s->batch->order) buf_printf(s->out, "%s, ", s->batch->order);
    buf_text(s->out, EXPECT_ROW);
}

static void write_considered_rows(struct expect_sql *s) {
    buf_text(s->out, " FROM ");
    write_rows_of_batch(s);
    buf_text(s->out, " AS t WHERE ");
    write_considered(s);
}

/* All columns of the model's key are among the unique ones: a kept row with the same values has the same key, so the batch replaces it. */
static bool holds_key(const struct expect_sql *s, const struct yaml_node *list) {
    const struct expect_batch *b = s->batch;
    for (size_t i = 0; i < b->key_n; i++) {
        bool found = !list && str_is(argument_text(s->e, "column"), b->key[i]);
        for (size_t k = 0; list && k < list->n; k++) found = found || str_is(list->items[k]->text, b->key[i]);
        if (!found) return false;
    }
    return b->key_n > 0;
}

/* In what the table keeps: a row of another key with the same values. */
static void write_in_existing(struct expect_sql *s, const struct yaml_node *list) {
    const struct expect_batch *b = s->batch;
    if (!b->existing || holds_key(s, list)) return;
    buf_printf(s->out, " OR EXISTS (SELECT 1 FROM %s AS kept WHERE TRUE", b->existing);
    for (size_t i = 0; i < (list ? list->n : 1); i++) {
        struct str name = list ? list->items[i]->text : argument_text(s->e, "column");
        buf_text(s->out, " AND kept.");
        write_name(s, name);
        buf_text(s->out, " IS NOT DISTINCT FROM ranked.");
        write_name(s, name);
    }
    if (b->key_n) buf_text(s->out, " AND NOT EXISTS (SELECT 1 FROM ");
    if (b->key_n) buf_printf(s->out, "%s AS again WHERE TRUE", b->rows);
    for (size_t i = 0; i < b->key_n; i++) {
        buf_text(s->out, " AND again.");
        write_name(s, str_of(b->key[i]));
        buf_text(s->out, " IS NOT DISTINCT FROM kept.");
        write_name(s, str_of(b->key[i]));
    }
    buf_text(s->out, b->key_n ? "))" : ")");
}

/* Unique columns with t. in front, separated by commas. */
static void write_unique_columns(struct expect_sql *s, const struct yaml_node *list) {
    for (size_t i = 0; list && i < list->n; i++) {
        buf_text(s->out, i ? ", " : "");
        write_listed(s, list, i);
    }
    if (!list) write_column(s, "column");
}

static void write_repeated(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_list");
    buf_text(s->out, "SELECT " EXPECT_ROW " AS row FROM (SELECT t." EXPECT_ROW ", ");
    write_unique_columns(s, list);
    buf_text(s->out, ", row_number() OVER (PARTITION BY ");
    write_unique_columns(s, list);
    buf_text(s->out, " ORDER BY ");
    write_order(s);
    buf_text(s->out, ") AS \"_cupel_place\"");
    write_considered_rows(s);
    buf_text(s->out, ") AS ranked WHERE \"_cupel_place\" > 1");
    write_in_existing(s, list);
}

static void write_direction(struct expect_sql *s, const char *bad, const char *bad_strictly) {
    buf_text(s->out, "SELECT " EXPECT_ROW " AS row FROM (SELECT t." EXPECT_ROW ", ");
    write_column(s, "column");
    buf_text(s->out, " AS here, lag(");
    write_column(s, "column");
    buf_text(s->out, ") OVER (ORDER BY ");
    write_order(s);
    buf_text(s->out, ") AS before");
    write_considered_rows(s);
    buf_printf(s->out, ") WHERE here %s before", argument_flag(s->e, "strictly", false) ? bad_strictly : bad);
}

/* Rows beside figures of all rows that are looked at: `here`, and what `figures` computes over (). */
static void write_beside_figures(struct expect_sql *s, const char *const figures[][2], size_t n, const char *bad) {
    buf_text(s->out, "SELECT " EXPECT_ROW " AS row FROM (SELECT t." EXPECT_ROW ", ");
    write_column(s, "column");
    buf_text(s->out, " AS here");
    for (size_t i = 0; i < n; i++) {
        buf_text(s->out, figures[i][0]);
        write_column(s, "column");
        buf_text(s->out, figures[i][1]);
    }
    write_considered_rows(s);
    buf_printf(s->out, ") WHERE %s", bad);
}

static void write_outliers(struct expect_sql *s) {
    static const char *const quartiles[][2] = {{", quantile_cont(", ", 0.25) OVER () AS q1"}, {", quantile_cont(", ", 0.75) OVER () AS q3"}};
    static const char *const moments[][2] = {{", avg(", ") OVER () AS mean"}, {", stddev_samp(", ") OVER () AS deviation"}};
    struct str given = argument_text(s->e, "multiplier");
    bool quartile = argument_is(s->e, "method", "iqr", "iqr");
    BUF_SCOPE(bad);
    if (!given.p) given = STR("1.5");
    if (quartile)
        buf_printf(&bad, "here < q1 - " STR_FMT " * (q3 - q1) OR here > q3 + " STR_FMT " * (q3 - q1)", STR_ARG(given), STR_ARG(given));
    else
        buf_printf(&bad, "abs(here - mean) >= " STR_FMT " * deviation AND here <> mean", STR_ARG(given));
    write_beside_figures(s, quartile ? quartiles : moments, 2, buf_cstr(&bad));
}

static void write_z_scores(struct expect_sql *s) {
    static const char *const moments[][2] = {{", avg(", ") OVER () AS mean"}, {", stddev_samp(", ") OVER () AS deviation"}};
    BUF_SCOPE(bad);
    buf_printf(&bad,
        argument_flag(s->e, "double_sided", false) ? "abs((here - mean) / deviation) >= abs(" STR_FMT ")" : "(here - mean) / deviation >= " STR_FMT,
        STR_ARG(argument_text(s->e, "threshold")));
    write_beside_figures(s, moments, 2, buf_cstr(&bad));
}

static void write_increasing(struct expect_sql *s) { write_direction(s, "<", "<="); }
static void write_decreasing(struct expect_sql *s) { write_direction(s, ">", ">="); }

/* schema.name as SQL names it. */
static void write_table(struct expect_sql *s, struct str full) {
    struct str schema = str_cut(&full, '.');
    write_name(s, schema);
    buf_char(s->out, '.');
    write_name(s, full);
}

static void write_missing_elsewhere(struct expect_sql *s) {
    struct str column = argument(s->e, "table_column") ? argument_text(s->e, "table_column") : argument_text(s->e, "column");
    buf_text(s->out, "SELECT " EXPECT_ROW " AS row");
    write_considered_rows(s);
    buf_text(s->out, " AND NOT EXISTS (SELECT 1 FROM ");
    write_table(s, argument_text(s->e, "table"));
    buf_text(s->out, " AS other WHERE other.");
    write_name(s, column);
    buf_text(s->out, " = ");
    write_column(s, "column");
    buf_char(s->out, ')');
}

/* {table} and {batch} of the query become the batch with its row numbers. What comes out without a row number counts, but stands for no row. */
static void write_query(struct expect_sql *s) {
    struct str rest = str_trim(argument_text(s->e, "unexpected_rows_query"));
    while (rest.n && (rest.p[rest.n - 1] == ';' || rest.p[rest.n - 1] == ' ' || rest.p[rest.n - 1] == '\n')) rest.n--;
    buf_text(s->out, "SELECT TRY_CAST(json_extract_string(to_json(found), '$._cupel_row') AS BIGINT) AS row FROM (");
    while (rest.n) {
        bool table = str_starts(rest, STR("{table}")), batch = str_starts(rest, STR("{batch}"));
        if (table || batch) {
            write_rows_of_batch(s);
            rest = str_from(rest, 7);
        } else {
            buf_char(s->out, rest.p[0]);
            rest = str_from(rest, 1);
        }
    }
    buf_text(s->out, "\n) AS found");
}

/* ---- the table ---- */

#define COLUMN \
    { "column", ARGUMENT_COLUMN, true }
#define COLUMN_LIST \
    { "column_list", ARGUMENT_COLUMNS, true }
#define BOUNDS \
    {"min_value", ARGUMENT_VALUE}, {"max_value", ARGUMENT_VALUE}, {"strict_min", ARGUMENT_FLAG}, { "strict_max", ARGUMENT_FLAG }
#define NUMBERS \
    {"min_value", ARGUMENT_NUMBER}, {"max_value", ARGUMENT_NUMBER}, {"strict_min", ARGUMENT_FLAG}, { "strict_max", ARGUMENT_FLAG }
#define VALUE_SET \
    { "value_set", ARGUMENT_VALUES, true }
#define MATCH_ON \
    { "match_on", ARGUMENT_CHOICE, false, "any|all" }
#define PAIR \
    {"column_A", ARGUMENT_COLUMN, true}, {"column_B", ARGUMENT_COLUMN, true}, { \
        "ignore_row_if", ARGUMENT_CHOICE, false, "both_values_are_missing|either_value_is_missing|neither" \
    }
#define IGNORE_ROW_IF \
    { "ignore_row_if", ARGUMENT_CHOICE, false, "all_values_are_missing|any_value_is_missing|never" }

/* clang-format off */
const struct expectation_kind expectation_kinds[] = {
    {"expect_column_values_to_not_be_null", EXPECT_ROWS, {COLUMN}, .nulls_too = true, .write = write_not_null, .help = "no value is NULL"},
    {"expect_column_values_to_be_null", EXPECT_ROWS, {COLUMN}, .nulls_too = true, .write = write_null, .help = "every value is NULL"},
    {"expect_column_values_to_be_unique", EXPECT_SET, {COLUMN}, .write = write_repeated, .help = "no value comes twice; the first row by the model's order stays"},
    {"expect_compound_columns_to_be_unique", EXPECT_SET, {COLUMN_LIST, IGNORE_ROW_IF}, .write = write_repeated, .help = "the columns together never come twice"},
    {"expect_select_column_values_to_be_unique_within_record", EXPECT_ROWS, {COLUMN_LIST, IGNORE_ROW_IF}, .write = write_unlike_each_other, .help = "the columns of a row all differ"},
    {"expect_column_values_to_be_between", EXPECT_ROWS, {COLUMN, BOUNDS}, .needs_bound = true, .write = write_value_between, .help = "values lie within the bounds"},
    {"expect_column_values_to_be_in_set", EXPECT_ROWS, {COLUMN, VALUE_SET}, .write = write_in_set, .help = "values are of the set"},
    {"expect_column_values_to_not_be_in_set", EXPECT_ROWS, {COLUMN, VALUE_SET}, .write = write_not_in_set, .help = "values are not of the set"},
    {"expect_column_values_to_match_regex", EXPECT_ROWS, {COLUMN, {"regex", ARGUMENT_TEXT, true}}, .write = write_regex, .help = "the expression (RE2) is found in the value; ^ and $ tie it to its ends"},
    {"expect_column_values_to_not_match_regex", EXPECT_ROWS, {COLUMN, {"regex", ARGUMENT_TEXT, true}}, .write = write_not_regex, .help = "the expression is not found in the value"},
    {"expect_column_values_to_match_regex_list", EXPECT_ROWS, {COLUMN, {"regex_list", ARGUMENT_TEXTS, true}, MATCH_ON}, .write = write_regex_list, .help = "any or all of the expressions are found"},
    {"expect_column_values_to_not_match_regex_list", EXPECT_ROWS, {COLUMN, {"regex_list", ARGUMENT_TEXTS, true}}, .write = write_not_regex_list, .help = "none of the expressions is found"},
    {"expect_column_values_to_match_like_pattern", EXPECT_ROWS, {COLUMN, {"like_pattern", ARGUMENT_TEXT, true}}, .write = write_like, .help = "the whole value is LIKE the pattern"},
    {"expect_column_values_to_not_match_like_pattern", EXPECT_ROWS, {COLUMN, {"like_pattern", ARGUMENT_TEXT, true}}, .write = write_not_like, .help = "the value is not LIKE the pattern"},
    {"expect_column_values_to_match_like_pattern_list", EXPECT_ROWS, {COLUMN, {"like_pattern_list", ARGUMENT_TEXTS, true}, MATCH_ON}, .write = write_like_list, .help = "the value is LIKE any or all of the patterns"},
    {"expect_column_values_to_not_match_like_pattern_list", EXPECT_ROWS, {COLUMN, {"like_pattern_list", ARGUMENT_TEXTS, true}}, .write = write_not_like_list, .help = "the value is LIKE none of the patterns"},
    {"expect_column_values_to_match_strftime_format", EXPECT_ROWS, {COLUMN, {"strftime_format", ARGUMENT_TEXT, true}}, .write = write_strftime, .help = "the text reads as a time in the format"},
    {"expect_column_values_to_be_json_parseable", EXPECT_ROWS, {COLUMN}, .write = write_json, .help = "the text is JSON"},
    {"expect_column_value_lengths_to_be_between", EXPECT_ROWS, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_length_between, .help = "values have so many characters"},
    {"expect_column_value_lengths_to_equal", EXPECT_ROWS, {COLUMN, {"value", ARGUMENT_COUNT, true}}, .write = write_length_equal, .help = "values have exactly so many characters"},
    {"expect_column_values_to_be_of_type", EXPECT_TABLE, {COLUMN, {"type_", ARGUMENT_TEXT, true}}, .write = write_type, .help = "the column has the type, under any of its usual names"},
    {"expect_column_type_to_be", EXPECT_TABLE, {COLUMN, {"type_", ARGUMENT_TEXT, true}}, .write = write_type, .help = "the same"},
    {"expect_column_values_to_be_in_type_list", EXPECT_TABLE, {COLUMN, {"type_list", ARGUMENT_TEXTS, true}}, .write = write_type_list, .help = "the column has one of the types"},
    {"expect_column_values_to_be_increasing", EXPECT_SET, {COLUMN, {"strictly", ARGUMENT_FLAG}}, .write = write_increasing, .help = "no value is below the one before it in the model's order"},
    {"expect_column_values_to_be_decreasing", EXPECT_SET, {COLUMN, {"strictly", ARGUMENT_FLAG}}, .write = write_decreasing, .help = "no value is above the one before it in the model's order"},
    {"expect_column_values_to_not_be_outliers", EXPECT_SET, {COLUMN, {"method", ARGUMENT_CHOICE, false, "iqr|std"}, {"multiplier", ARGUMENT_NUMBER}}, .write = write_outliers, .help = "values lie within multiplier (1.5) quartile distances beyond the quartiles, or with std multiplier standard deviations of the mean"},
    {"expect_column_value_z_scores_to_be_less_than", EXPECT_SET, {COLUMN, {"threshold", ARGUMENT_NUMBER, true}, {"double_sided", ARGUMENT_FLAG}}, .write = write_z_scores, .help = "distance from the mean in standard deviations, upwards or with double_sided both ways"},
    {"expect_column_values_to_exist_in_table", EXPECT_SET, {COLUMN, {"table", ARGUMENT_TABLE, true}, {"table_column", ARGUMENT_TEXT}}, .write = write_missing_elsewhere, .help = "every value stands in a column of another table (ours; a foreign key). table_column: the same name when not given"},
    {"expect_column_pair_values_a_to_be_greater_than_b", EXPECT_ROWS, {PAIR, {"or_equal", ARGUMENT_FLAG}}, .write = write_greater, .help = "column_A is above column_B, or equal to it with or_equal"},
    {"expect_column_pair_values_to_be_equal", EXPECT_ROWS, {PAIR}, .write = write_equal_pair, .help = "column_A equals column_B"},
    {"expect_column_pair_values_to_be_in_set", EXPECT_ROWS, {PAIR, {"value_pairs_set", ARGUMENT_PAIRS, true}}, .write = write_pair_set, .help = "the two values together are one of the pairs"},
    {"expect_multicolumn_sum_to_equal", EXPECT_ROWS, {COLUMN_LIST, {"sum_total", ARGUMENT_NUMBER, true}, IGNORE_ROW_IF}, .write = write_sum_of_columns, .help = "the columns of a row add up to sum_total"},
    {"expect_multicolumn_values_to_be_equal", EXPECT_ROWS, {COLUMN_LIST, IGNORE_ROW_IF}, .write = write_all_equal, .help = "the columns of a row are all equal"},
    {"expect_multicolumn_values_to_be_unique", EXPECT_ROWS, {COLUMN_LIST, IGNORE_ROW_IF}, .write = write_unlike_each_other, .help = "older name of expect_select_column_values_to_be_unique_within_record"},
    {"unexpected_rows_expectation", EXPECT_SET, {{"unexpected_rows_query", ARGUMENT_QUERY, true}}, .nulls_too = true, .write = write_query, .help = "the query gives no row; {batch} and {table} are the batch. Rows that it selects with * can be quarantined"},
    {"expect_column_mean_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_mean, .help = "mean of the values"},
    {"expect_column_median_to_be_between", EXPECT_TABLE, {COLUMN, BOUNDS}, .needs_bound = true, .write = write_median, .help = "median of the values"},
    {"expect_column_sum_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_sum, .help = "sum of the values"},
    {"expect_column_min_to_be_between", EXPECT_TABLE, {COLUMN, BOUNDS}, .needs_bound = true, .write = write_min, .help = "smallest value"},
    {"expect_column_max_to_be_between", EXPECT_TABLE, {COLUMN, BOUNDS}, .needs_bound = true, .write = write_max, .help = "largest value"},
    {"expect_column_stdev_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_stdev, .help = "standard deviation of the sample"},
    {"expect_column_quantile_values_to_be_between", EXPECT_TABLE, {COLUMN, {"quantile_ranges", ARGUMENT_QUANTILES, true}, {"allow_relative_error", ARGUMENT_TEXT}}, .write = write_quantiles, .help = "each quantile (a value of the column) lies in its range; null is no bound"},
    {"expect_column_unique_value_count_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_distinct_count, .help = "number of distinct values"},
    {"expect_column_proportion_of_unique_values_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_distinct_share, .help = "distinct values over values"},
    {"expect_column_proportion_of_non_null_values_to_be_between", EXPECT_TABLE, {COLUMN, NUMBERS}, .needs_bound = true, .write = write_filled_share, .help = "values that are not NULL over rows"},
    {"expect_column_distinct_values_to_be_in_set", EXPECT_TABLE, {COLUMN, VALUE_SET}, .write = write_distinct_in_set, .help = "no distinct value lies outside of the set"},
    {"expect_column_distinct_values_to_contain_set", EXPECT_TABLE, {COLUMN, VALUE_SET}, .write = write_distinct_contain_set, .help = "every value of the set comes"},
    {"expect_column_distinct_values_to_equal_set", EXPECT_TABLE, {COLUMN, VALUE_SET}, .write = write_distinct_equal_set, .help = "the distinct values are the set"},
    {"expect_column_most_common_value_to_be_in_set", EXPECT_TABLE, {COLUMN, VALUE_SET, {"ties_okay", ARGUMENT_FLAG}}, .write = write_most_common, .help = "the most common value is of the set; of several, with ties_okay, one"},
    {"expect_table_row_count_to_be_between", EXPECT_TABLE, {NUMBERS}, .needs_bound = true, .write = write_row_count_between, .help = "number of rows"},
    {"expect_table_row_count_to_equal", EXPECT_TABLE, {{"value", ARGUMENT_COUNT, true}}, .write = write_row_count_equal, .help = "number of rows"},
    {"expect_table_row_count_to_equal_other_table", EXPECT_TABLE, {{"other_table_name", ARGUMENT_TABLE, true}}, .write = write_row_count_equal_other, .help = "as many rows as another table"},
    {"expect_table_column_count_to_be_between", EXPECT_TABLE, {NUMBERS}, .needs_bound = true, .write = write_column_count_between, .help = "number of columns"},
    {"expect_table_column_count_to_equal", EXPECT_TABLE, {{"value", ARGUMENT_COUNT, true}}, .write = write_column_count_equal, .help = "number of columns"},
    {"expect_column_to_exist", EXPECT_TABLE, {{"column", ARGUMENT_TEXT, true}, {"column_index", ARGUMENT_COUNT}}, .write = write_column_exists, .help = "the column is there, with column_index (from 0) at that place"},
    {"expect_table_columns_to_match_ordered_list", EXPECT_TABLE, {{"column_list", ARGUMENT_NAMES, true}}, .write = write_columns_ordered, .help = "the columns are these, in this order"},
    {"expect_table_columns_to_match_set", EXPECT_TABLE, {{"column_set", ARGUMENT_NAMES, true}, {"exact_match", ARGUMENT_FLAG}}, .write = write_columns_set, .help = "the columns are these, others too with exact_match: false"},
    {"expect_table_freshness_to_be_within", EXPECT_TABLE, {COLUMN, {"max_age", ARGUMENT_DURATION, true}}, .write = write_freshness, .help = "the newest time in the column is at most max_age old (ours)"},
};
/* clang-format on */
const size_t expectation_kinds_n = sizeof expectation_kinds / sizeof *expectation_kinds;

const struct expectation_kind *expectation_kind_find(struct str type) {
    for (size_t i = 0; i < expectation_kinds_n; i++) {
        if (str_is(type, expectation_kinds[i].type)) return &expectation_kinds[i];
    }
    return NULL;
}
