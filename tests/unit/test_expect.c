/* Expectations: every one of them on good and bad rows in the real engine; what the reader refuses and where; quarantine. */
#include "engine_fixture.h"

#define json_null jansson_null_not_used
#include <jansson.h>
#undef json_null

#include "flow/expect.h"

/* ---- the batch of most tests ---- */

static const struct flow_column columns[] = {{.name = "id", .type = "INTEGER"}, {.name = "name", .type = "VARCHAR"},
    {.name = "amount", .type = "DECIMAL(18,4)"}, {.name = "other", .type = "INTEGER"}, {.name = "seen", .type = "TIMESTAMP WITH TIME ZONE"}};
#define COLUMNS_N (sizeof columns / sizeof *columns)

/* Nine rows; amount and other have a NULL each, name comes twice once. */
static const char batch_sql[] =
    "CREATE OR REPLACE TEMP TABLE batch AS SELECT * FROM (VALUES "
    "(1, 'ab', 10.5::DECIMAL(18,4), 10, now() - INTERVAL 3 HOUR), (2, 'cd', 20, 20, now() - INTERVAL 2 HOUR), (3, 'ef', -1, 1, now() - INTERVAL 1 HOUR), "
    "(4, 'ab', 2.5, 3, now()), (5, '{\"a\":1}', 5, 5, now()), (6, '2026-11-20', 6, 6, now()), (7, 'gh', NULL, 7, now()), (8, 'ij', 8, NULL, now()), "
    "(9, NULL, 9, 9, now())) AS v(id, name, amount, other, seen)";

static const char others_sql[] = "CREATE SCHEMA IF NOT EXISTS ref; CREATE OR REPLACE TABLE ref.names AS SELECT unnest(['ab', 'cd', 'ef']) AS name; "
                                 "CREATE OR REPLACE TEMP TABLE failures (row BIGINT, expectation INTEGER)";

struct result {
    int64_t unexpected, total, nameless;
    char observed[200];
};

static void run(struct fixture *f, struct engine_work *work, const char *sql, struct buf *rows) {
    if (engine_work_run(work, sql, rows, NULL, &f->err) != OK) fail_msg("%s\n%s", f->err.text, sql);
}

static struct expect_suite *parse(struct fixture *f, const char *text) {
    struct config_problems problems = {0};
    struct expect_suite *suite = NULL;
    if (expect_parse(f->arena, "expectations/silver.t.yaml", "silver.t", str_of(text), &suite, &problems, &f->err) != OK) {
        struct buf said = BUF_INIT;
        config_problems_write(&problems, "e.yaml", &said);
        fail_msg("%s\n%s", text, buf_cstr(&said));
    }
    config_problems_free(&problems);
    return suite;
}

static struct engine_work *begin(struct fixture *f) {
    static const struct engine_view view;
    struct engine_work *work;
    if (engine_work_begin(f->engine, &view, NULL, 0, 60000, &work, &f->err) != OK) fail_msg("%s", f->err.text);
    run(f, work, others_sql, NULL);
    run(f, work, batch_sql, NULL);
    return work;
}

static int64_t number(json_t *row, const char *name) {
    json_t *cell = json_object_get(row, name);
    return json_is_string(cell) ? strtoll(json_string_value(cell), NULL, 10) : json_integer_value(cell);
}

/* Judges a suite: results in the order of its expectations. */
static void judge(struct fixture *f, struct engine_work *work, const struct expect_suite *suite, const struct expect_batch *batch, struct result *out) {
    struct buf sql = BUF_INIT, rows = BUF_INIT;
    buf_printf(&sql, "DELETE FROM %s;\n", batch->failures);
    expect_failures_sql(suite, batch, &sql);
    run(f, work, buf_cstr(&sql), NULL);
    buf_clear(&sql);
    expect_results_sql(suite, batch, &sql);
    run(f, work, buf_cstr(&sql), &rows);
    json_t *array = json_loadb(rows.p, rows.n, 0, NULL);
    assert_int_equal(json_array_size(array), suite->n);
    for (size_t i = 0; i < suite->n; i++) {
        json_t *row = json_array_get(array, i);
        assert_int_equal(number(row, "expectation"), i);
        const char *observed = json_string_value(json_object_get(row, "observed"));
        out[i] = (struct result){number(row, "unexpected"), number(row, "total"), number(row, "nameless"), ""};
        snprintf(out[i].observed, sizeof out[i].observed, "%s", observed ? observed : "");
    }
    json_decref(array);
    buf_free(&sql);
    buf_free(&rows);
}

/* Compares the rows of a query, as JSON without line ends. */
static void rows_are(struct fixture *f, struct engine_work **work, const char *sql, const char *wanted) {
    struct buf rows = BUF_INIT;
    run(f, *work, sql, &rows);
    size_t n = 0;
    for (size_t i = 0; i < rows.n; i++) {
        if (rows.p[i] != '\n') rows.p[n++] = rows.p[i];
    }
    bool same = str_is(str_make(rows.p, n), wanted);
    if (same) buf_free(&rows);
    if (same) return;
    engine_work_end(work);
    fail_msg("%s\ngot    %.*s\nwanted %s", sql, (int)n, rows.p, wanted);
}

static const struct expect_batch the_batch = {.rows = "temp.main.batch", .failures = "temp.main.failures", .columns = columns, .columns_n = COLUMNS_N};

/* ---- every expectation ---- */

static const struct {
    const char *yaml;
    int unexpected, total;
} cases[] = {
    {"expect_column_values_to_not_be_null: {column: id}", 0, 9},
    {"expect_column_values_to_not_be_null: {column: amount}", 1, 9},
    {"expect_column_values_to_be_null: {column: amount, row_condition: id = 7}", 0, 1},
    {"expect_column_values_to_be_null: {column: amount}", 8, 9},
    {"expect_column_values_to_be_unique: {column: id}", 0, 9},
    {"expect_column_values_to_be_unique: {column: name}", 1, 8},
    {"expect_compound_columns_to_be_unique: {column_list: [name, id]}", 0, 9},
    {"expect_compound_columns_to_be_unique: {column_list: [name]}", 1, 8},
    {"expect_compound_columns_to_be_unique: {column_list: [amount, other], ignore_row_if: any_value_is_missing}", 0, 7},
    {"expect_select_column_values_to_be_unique_within_record: {column_list: [amount, other], row_condition: 'id in (1, 3, 4)'}", 0, 3},
    {"expect_select_column_values_to_be_unique_within_record: {column_list: [amount, other]}", 4, 9},
    {"expect_column_values_to_be_between: {column: amount, min_value: -1, max_value: 20}", 0, 8},
    {"expect_column_values_to_be_between: {column: amount, min_value: -1, strict_min: true, max_value: 20, strict_max: true}", 2, 8},
    {"expect_column_values_to_be_between: {column: other, max_value: 2.5}", 7, 8},
    {"expect_column_values_to_be_between: {column: other, max_value: 9.5, mostly: 0.5}", 2, 8},
    {"expect_column_values_to_be_between: {column: seen, min_value: '2020-01-01'}", 0, 9},
    {"expect_column_values_to_be_between: {column: name, min_value: ab, row_condition: length(name) = 2}", 0, 6},
    {"expect_column_values_to_be_in_set: {column: id, value_set: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", 0, 9},
    {"expect_column_values_to_be_in_set: {column: name, value_set: [ab, cd]}", 5, 8},
    {"expect_column_values_to_be_in_set: {column: other, value_set: [10.5]}", 8, 8},
    {"expect_column_values_to_not_be_in_set: {column: name, value_set: [zz]}", 0, 8},
    {"expect_column_values_to_not_be_in_set: {column: name, value_set: [\"ab\"]}", 2, 8},
    {"expect_column_values_to_match_regex: {column: name, regex: '.'}", 0, 8},
    {"expect_column_values_to_match_regex: {column: name, regex: '^[a-z]{2}$'}", 2, 8},
    {"expect_column_values_to_not_match_regex: {column: name, regex: '^x'}", 0, 8},
    {"expect_column_values_to_not_match_regex: {column: name, regex: 'b'}", 2, 8},
    {"expect_column_values_to_match_regex_list: {column: name, regex_list: ['^[a-z]', '^[0-9{]']}", 0, 8},
    {"expect_column_values_to_match_regex_list: {column: name, regex_list: ['a', 'b'], match_on: all}", 6, 8},
    {"expect_column_values_to_not_match_regex_list: {column: name, regex_list: ['x', 'y']}", 0, 8},
    {"expect_column_values_to_not_match_regex_list: {column: name, regex_list: ['x', 'a']}", 3, 8},
    {"expect_column_values_to_match_like_pattern: {column: name, like_pattern: '%'}", 0, 8},
    {"expect_column_values_to_match_like_pattern: {column: name, like_pattern: 'a_'}", 6, 8},
    {"expect_column_values_to_not_match_like_pattern: {column: name, like_pattern: 'x%'}", 0, 8},
    {"expect_column_values_to_not_match_like_pattern: {column: name, like_pattern: 'a%'}", 2, 8},
    {"expect_column_values_to_match_like_pattern_list: {column: name, like_pattern_list: ['a%', '%']}", 0, 8},
    {"expect_column_values_to_match_like_pattern_list: {column: name, like_pattern_list: ['a%', '%b'], match_on: all}", 6, 8},
    {"expect_column_values_to_not_match_like_pattern_list: {column: name, like_pattern_list: ['x%']}", 0, 8},
    {"expect_column_values_to_not_match_like_pattern_list: {column: name, like_pattern_list: ['a%', 'c%']}", 3, 8},
    {"expect_column_values_to_match_strftime_format: {column: name, strftime_format: '%Y-%m-%d', row_condition: id = 6}", 0, 1},
    {"expect_column_values_to_match_strftime_format: {column: name, strftime_format: '%Y-%m-%d'}", 7, 8},
    {"expect_column_values_to_be_json_parseable: {column: name, row_condition: id = 5}", 0, 1},
    {"expect_column_values_to_be_json_parseable: {column: name}", 7, 8},
    {"expect_column_value_lengths_to_be_between: {column: name, min_value: 2, max_value: 10}", 0, 8},
    {"expect_column_value_lengths_to_be_between: {column: name, max_value: 7, strict_max: true}", 2, 8},
    {"expect_column_value_lengths_to_equal: {column: id, value: 1}", 0, 9},
    {"expect_column_value_lengths_to_equal: {column: name, value: 2}", 2, 8},
    {"expect_column_values_to_be_of_type: {column: amount, type_: DECIMAL}", 0, 0},
    {"expect_column_values_to_be_of_type: {column: amount, type_: 'DECIMAL(18,4)'}", 0, 0},
    {"expect_column_values_to_be_of_type: {column: amount, type_: 'DECIMAL(18,2)'}", 1, 0},
    {"expect_column_values_to_be_of_type: {column: name, type_: str}", 0, 0},
    {"expect_column_values_to_be_of_type: {column: name, type_: int}", 1, 0},
    {"expect_column_values_to_be_in_type_list: {column: id, type_list: [int32, int64]}", 0, 0},
    {"expect_column_values_to_be_in_type_list: {column: id, type_list: [TEXT, DATE]}", 1, 0},
    {"expect_column_values_to_be_increasing: {column: id}", 0, 9},
    {"expect_column_values_to_be_increasing: {column: id, strictly: true}", 0, 9},
    {"expect_column_values_to_be_increasing: {column: amount}", 1, 8},
    {"expect_column_values_to_be_decreasing: {column: id, row_condition: id = 1}", 0, 1},
    {"expect_column_values_to_be_decreasing: {column: id}", 8, 9},
    {"expect_column_values_to_exist_in_table: {column: name, table: ref.names, row_condition: id < 5}", 0, 4},
    {"expect_column_values_to_exist_in_table: {column: name, table: ref.names, table_column: name}", 4, 8},
    {"expect_column_pair_values_a_to_be_greater_than_b: {column_A: amount, column_B: other, or_equal: true, row_condition: 'id in (1, 2, 5, 6)'}", 0, 4},
    {"expect_column_pair_values_a_to_be_greater_than_b: {column_A: amount, column_B: other}", 8, 9},
    {"expect_column_pair_values_a_to_be_greater_than_b: {column_A: amount, column_B: other, ignore_row_if: either_value_is_missing}", 6, 7},
    {"expect_column_pair_values_to_be_equal: {column_A: amount, column_B: other, row_condition: 'id in (2, 5)'}", 0, 2},
    {"expect_column_pair_values_to_be_equal: {column_A: amount, column_B: other}", 5, 9},
    {"expect_column_pair_values_to_be_in_set: {column_A: id, column_B: name, value_pairs_set: [[1, ab], [2, cd]], row_condition: id < 3}", 0, 2},
    {"expect_column_pair_values_to_be_in_set: {column_A: id, column_B: name, value_pairs_set: [[1, ab], [2, xx], [9, null]]}", 7, 9},
    {"expect_multicolumn_sum_to_equal: {column_list: [id, other], sum_total: 10, row_condition: id = 5}", 0, 1},
    {"expect_multicolumn_sum_to_equal: {column_list: [id, other], sum_total: 10}", 8, 9},
    {"unexpected_rows_expectation: {unexpected_rows_query: 'SELECT * FROM {batch} WHERE amount > 1000'}", 0, 9},
    {"unexpected_rows_expectation: {unexpected_rows_query: \"SELECT * FROM {table} AS a WHERE amount > 5;\"}", 5, 9},
    {"unexpected_rows_expectation: {unexpected_rows_query: 'SELECT a.* FROM {table} a, {batch} b WHERE a.id = 1'}", 1, 9},
    {"expect_column_values_to_not_be_outliers: {column: id}", 0, 9},
    {"expect_column_values_to_not_be_outliers: {column: other, multiplier: 1}", 1, 8},
    {"expect_column_values_to_not_be_outliers: {column: other, method: std, multiplier: 1.5}", 1, 8},
    {"expect_column_value_z_scores_to_be_less_than: {column: id, threshold: 2}", 0, 9},
    {"expect_column_value_z_scores_to_be_less_than: {column: other, threshold: 1}", 1, 8},
    {"expect_column_value_z_scores_to_be_less_than: {column: other, threshold: 1, double_sided: true}", 2, 8},
    {"expect_multicolumn_values_to_be_equal: {column_list: [amount, other], row_condition: 'id in (2, 5)'}", 0, 2},
    {"expect_multicolumn_values_to_be_equal: {column_list: [amount, other]}", 5, 9},
    {"expect_multicolumn_values_to_be_unique: {column_list: [id, amount, other], row_condition: 'id in (1, 5)'}", 1, 2},
    {"expect_column_type_to_be: {column: id, type_: INTEGER}", 0, 0},
    {"expect_column_type_to_be: {column: id, type_: TEXT}", 1, 0},
    {"expect_column_proportion_of_non_null_values_to_be_between: {column: other, min_value: 0.8, max_value: 0.9}", 0, 0},
    {"expect_column_proportion_of_non_null_values_to_be_between: {column: other, min_value: 1}", 1, 0},
    {"expect_column_mean_to_be_between: {column: other, min_value: 7, max_value: 8}", 0, 0},
    {"expect_column_mean_to_be_between: {column: other, min_value: 8}", 1, 0},
    {"expect_column_median_to_be_between: {column: other, min_value: 6, max_value: 7}", 0, 0},
    {"expect_column_median_to_be_between: {column: other, max_value: 6}", 1, 0},
    {"expect_column_sum_to_be_between: {column: amount, min_value: 60, max_value: 60}", 0, 0},
    {"expect_column_sum_to_be_between: {column: amount, min_value: 60, strict_min: true}", 1, 0},
    {"expect_column_min_to_be_between: {column: amount, min_value: -1, max_value: -1}", 0, 0},
    {"expect_column_min_to_be_between: {column: amount, min_value: 0}", 1, 0},
    {"expect_column_max_to_be_between: {column: seen, min_value: '2026-01-01'}", 0, 0},
    {"expect_column_max_to_be_between: {column: id, max_value: 8}", 1, 0},
    {"expect_column_max_to_be_between: {column: id, max_value: 8, row_condition: id > 100}", 1, 0},
    {"expect_column_stdev_to_be_between: {column: id, min_value: 2.7, max_value: 2.8}", 0, 0},
    {"expect_column_stdev_to_be_between: {column: id, max_value: 1}", 1, 0},
    {"expect_column_quantile_values_to_be_between: {column: id, quantile_ranges: {quantiles: [0.1, 0.5, 0.9], value_ranges: [[1, 2], [5, 5], [null, 9]]}}", 0,
        0},
    {"expect_column_quantile_values_to_be_between: {column: id, quantile_ranges: {quantiles: [0.5], value_ranges: [[6, null]]}}", 1, 0},
    {"expect_column_unique_value_count_to_be_between: {column: name, min_value: 7, max_value: 7}", 0, 0},
    {"expect_column_unique_value_count_to_be_between: {column: name, min_value: 8}", 1, 0},
    {"expect_column_proportion_of_unique_values_to_be_between: {column: id, min_value: 1}", 0, 0},
    {"expect_column_proportion_of_unique_values_to_be_between: {column: name, min_value: 0.9}", 1, 0},
    {"expect_column_distinct_values_to_be_in_set: {column: other, value_set: [1, 3, 5, 6, 7, 9, 10, 20, 21]}", 0, 0},
    {"expect_column_distinct_values_to_be_in_set: {column: other, value_set: [1, 3]}", 1, 0},
    {"expect_column_distinct_values_to_contain_set: {column: name, value_set: [ab, cd]}", 0, 0},
    {"expect_column_distinct_values_to_contain_set: {column: name, value_set: [ab, zz]}", 1, 0},
    {"expect_column_distinct_values_to_equal_set: {column: name, value_set: [ab, cd], row_condition: id < 3}", 0, 0},
    {"expect_column_distinct_values_to_equal_set: {column: name, value_set: [ab, cd]}", 1, 0},
    {"expect_column_most_common_value_to_be_in_set: {column: name, value_set: [ab]}", 0, 0},
    {"expect_column_most_common_value_to_be_in_set: {column: id, value_set: [1]}", 1, 0},
    {"expect_column_most_common_value_to_be_in_set: {column: id, value_set: [1], ties_okay: true}", 0, 0},
    {"expect_table_row_count_to_be_between: {min_value: 9, max_value: 9}", 0, 0},
    {"expect_table_row_count_to_be_between: {min_value: 10}", 1, 0},
    {"expect_table_row_count_to_equal: {value: 9}", 0, 0},
    {"expect_table_row_count_to_equal: {value: 3, row_condition: id < 3}", 1, 0},
    {"expect_table_row_count_to_equal_other_table: {other_table_name: ref.names, row_condition: id < 4}", 0, 0},
    {"expect_table_row_count_to_equal_other_table: {other_table_name: ref.names}", 1, 0},
    {"expect_table_column_count_to_be_between: {min_value: 5, max_value: 5}", 0, 0},
    {"expect_table_column_count_to_be_between: {min_value: 6}", 1, 0},
    {"expect_table_column_count_to_equal: {value: 5}", 0, 0},
    {"expect_table_column_count_to_equal: {value: 4}", 1, 0},
    {"expect_column_to_exist: {column: name, column_index: 1}", 0, 0},
    {"expect_column_to_exist: {column: nix}", 1, 0},
    {"expect_column_to_exist: {column: name, column_index: 2}", 1, 0},
    {"expect_table_columns_to_match_ordered_list: {column_list: [id, name, amount, other, seen]}", 0, 0},
    {"expect_table_columns_to_match_ordered_list: {column_list: [name, id, amount, other, seen]}", 1, 0},
    {"expect_table_columns_to_match_set: {column_set: [seen, name, id, amount, other]}", 0, 0},
    {"expect_table_columns_to_match_set: {column_set: [seen, name], exact_match: false}", 0, 0},
    {"expect_table_columns_to_match_set: {column_set: [seen, name]}", 1, 0},
    {"expect_table_freshness_to_be_within: {column: seen, max_age: 1h}", 0, 0},
    {"expect_table_freshness_to_be_within: {column: seen, max_age: 30m, row_condition: id < 4}", 1, 0},
};
#define CASES_N (sizeof cases / sizeof *cases)

/* All in one suite, so that the statements are also tested for size and for standing side by side. */
static void every_expectation_on_good_and_bad_rows(void **state) {
    struct fixture *f = *state;
    struct buf yaml = BUF_INIT;
    buf_text(&yaml, "table: silver.t\non_fail: warn\nexpectations:\n");
    for (size_t i = 0; i < CASES_N; i++) buf_printf(&yaml, "  - %s\n", cases[i].yaml);
    struct expect_suite *suite = parse(f, buf_cstr(&yaml));
    assert_int_equal(suite->n, CASES_N);
    struct engine_work *work = begin(f);
    struct result results[CASES_N];
    int wrong = 0;
    judge(f, work, suite, &the_batch, results);
    for (size_t i = 0; i < CASES_N; i++) {
        if (results[i].unexpected == cases[i].unexpected && results[i].total == cases[i].total && !results[i].nameless) continue;
        print_error("%s: %lld of %lld (%s), expected %d of %d\n", cases[i].yaml, (long long)results[i].unexpected, (long long)results[i].total,
            results[i].observed, cases[i].unexpected, cases[i].total);
        wrong++;
    }
    engine_work_end(&work);
    buf_free(&yaml);
    assert_int_equal(wrong, 0);
}

static void an_empty_batch_is_fine(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f,
        "expectations:\n  - expect_column_values_to_be_unique: {column: id}\n  - expect_column_values_to_not_be_null: {column: id}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: 'SELECT 1 AS x FROM {batch}'}\n");
    struct engine_work *work = begin(f);
    run(f, work, "DELETE FROM batch", NULL);
    struct result results[3];
    judge(f, work, suite, &the_batch, results);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i].unexpected + results[i].total, 0);
        assert_int_equal(expect_verdict(&suite->list[i], 0, 0, 0), EXPECT_PASSED);
    }
    engine_work_end(&work);
}

/* ---- uniqueness ---- */

static void the_first_by_order_stays_and_kept_rows_count(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f, "expectations:\n  - expect_column_values_to_be_unique: {column: name}\n");
    struct engine_work *work = begin(f);
    run(f, work, "CREATE TEMP TABLE kept AS SELECT * FROM (VALUES (100, 'cd'), (3, 'ef')) AS v(id, name)", NULL);
    const char *key[] = {"id"};
    struct expect_batch batch = the_batch;
    batch.order = "id DESC";
    struct result result;
    judge(f, work, suite, &batch, &result);
    rows_are(f, &work, "SELECT id FROM batch WHERE rowid IN (SELECT row FROM failures)", "[{\"id\":1}]"); /* the second 'ab' by id DESC */
    batch.existing = "(SELECT * FROM kept)";
    batch.key = key;
    batch.key_n = 1;
    judge(f, work, suite, &batch, &result);
    assert_int_equal(result.unexpected, 2); /* 'cd' is kept under another key; 'ef' of key 3 is replaced by the batch's */
    engine_work_end(&work);
}

/* ---- verdicts ---- */

static enum expect_verdict verdict_of(struct fixture *f, const char *arguments, uint64_t unexpected, uint64_t total, uint64_t nameless) {
    struct expect_suite *suite = parse(f, arena_printf(f->arena, "expectations:\n  - expect_column_values_to_be_unique: {column: id%s}\n", arguments));
    return expect_verdict(&suite->list[0], unexpected, total, nameless);
}

static void verdicts(void **state) {
    struct fixture *f = *state;
    assert_int_equal(verdict_of(f, "", 0, 100, 0), EXPECT_PASSED);
    assert_int_equal(verdict_of(f, "", 99, 100, 0), EXPECT_QUARANTINED); /* quarantined whatever the share */
    assert_int_equal(verdict_of(f, ", mostly: 0.9", 10, 100, 0), EXPECT_QUARANTINED);
    assert_int_equal(verdict_of(f, ", mostly: 0.9", 11, 100, 0), EXPECT_FAILED);
    assert_int_equal(verdict_of(f, ", mostly: 0.9, severity: warning", 11, 100, 0), EXPECT_QUARANTINED);
    assert_int_equal(verdict_of(f, ", on_fail: fail", 1, 100, 0), EXPECT_FAILED);
    assert_int_equal(verdict_of(f, ", on_fail: fail, severity: info", 1, 100, 0), EXPECT_WARNED);
    assert_int_equal(verdict_of(f, ", on_fail: fail, mostly: 0.99", 1, 100, 0), EXPECT_PASSED);
    assert_int_equal(verdict_of(f, ", on_fail: warn", 1, 100, 0), EXPECT_WARNED);
    assert_int_equal(verdict_of(f, ", on_fail: warn, mostly: 0.5", 50, 100, 0), EXPECT_PASSED);
    assert_int_equal(verdict_of(f, "", 5, 100, 5), EXPECT_FAILED); /* no row to quarantine */
    assert_int_equal(verdict_of(f, ", severity: warning", 5, 100, 5), EXPECT_WARNED);
}

/* ---- quarantine ---- */

static void failing_rows_move_with_all_their_reasons(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f,
        "expectations:\n  - expect_column_values_to_be_between: {column: amount, min_value: 0}\n"
        "  - expect_column_values_to_not_be_null: {column: name, on_fail: warn}\n  - expect_column_values_to_be_unique: {column: name}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: \"SELECT * FROM {table} WHERE id in (3, 8)\"}\n");
    struct flow_column with_id[COLUMNS_N + 1];
    memcpy(with_id, columns, sizeof columns);
    with_id[COLUMNS_N] = (struct flow_column){.name = "_event_id", .type = "UUID"};
    struct expect_batch batch = the_batch;
    batch.columns = with_id;
    batch.columns_n = COLUMNS_N + 1;
    struct engine_work *work = begin(f);
    run(f, work, "ALTER TABLE batch ADD COLUMN _event_id UUID; UPDATE batch SET _event_id = ('00000000-0000-0000-0000-00000000000' || (id // 2))::UUID", NULL);
    struct result results[4];
    judge(f, work, suite, &batch, results);
    struct expect_quarantine quarantine = {
        .table = "ref.q", .run_id = "r'1", .raw = "(SELECT '00000000-0000-0000-0000-000000000001'::UUID AS _event_id, 'raw text' AS raw)", .event_id = true};
    struct buf sql = BUF_INIT;
    expect_quarantine_ddl("ref.q", &sql);
    expect_quarantine_sql(suite, &batch, &quarantine, &sql);
    expect_quarantine_sql(suite, &batch, &quarantine, &sql); /* again: nothing twice */
    expect_remove_sql(suite, &batch, &sql);
    run(f, work, buf_cstr(&sql), NULL);
    /* rows 2 and 3 have one event id: 3 fails two expectations, 2 none; 4 repeats a name; 8 is in the query; 9 only warns */
    rows_are(f, &work, "SELECT _event_id, _reason, _raw, _run_id, _row->>'$.id' AS id, _row->>'$.amount' AS amount FROM ref.q ORDER BY _event_id",
        "[{\"_event_id\":\"00000000-0000-0000-0000-000000000001\",\"_reason\":\"expect_column_values_to_be_between(amount, min_value: 0); "
        "unexpected_rows_expectation(unexpected_rows_query: SELECT * FROM {table} WHERE id in (3, 8))\",\"_raw\":\"raw "
        "text\",\"_run_id\":\"r'1\",\"id\":\"3\",\"amount\":\"-1.0000\"},"
        "{\"_event_id\":\"00000000-0000-0000-0000-000000000002\",\"_reason\":\"expect_column_values_to_be_unique(name)\",\"_raw\":null,\"_run_id\":\"r'1\","
        "\"id\":\"4\",\"amount\":\"2.5000\"},"
        "{\"_event_id\":\"00000000-0000-0000-0000-000000000004\",\"_reason\":\"unexpected_rows_expectation(unexpected_rows_query: SELECT * FROM {table} WHERE "
        "id in (3, "
        "8))\",\"_raw\":null,\"_run_id\":\"r'1\",\"id\":\"8\",\"amount\":\"8.0000\"}]");
    rows_are(f, &work, "SELECT list(id ORDER BY id)::VARCHAR AS left FROM batch", "[{\"left\":\"[1, 2, 5, 6, 7, 9]\"}]");
    engine_work_end(&work);
    buf_free(&sql);
}

static void rows_without_event_id_are_kept_one_by_one(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f, "expectations:\n  - expect_column_values_to_be_between: {column: id, min_value: 8}\n");
    struct engine_work *work = begin(f);
    struct result result;
    judge(f, work, suite, &the_batch, &result);
    struct buf sql = BUF_INIT;
    expect_quarantine_ddl("ref.q", &sql);
    expect_quarantine_sql(suite, &the_batch, &(struct expect_quarantine){.table = "ref.q", .run_id = "r"}, &sql);
    run(f, work, buf_cstr(&sql), NULL);
    rows_are(f, &work, "SELECT count(*) AS n, count(_event_id) AS ids FROM ref.q", "[{\"n\":7,\"ids\":0}]");
    engine_work_end(&work);
    buf_free(&sql);
}

static void failures_without_a_row_are_counted(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(
        f, "expectations:\n  - unexpected_rows_expectation: {unexpected_rows_query: 'SELECT name, count(*) FROM {batch} GROUP BY name HAVING count(*) > 1'}\n");
    struct engine_work *work = begin(f);
    struct result result;
    judge(f, work, suite, &the_batch, &result);
    assert_int_equal(result.unexpected, 1);
    assert_int_equal(result.nameless, 1);
    engine_work_end(&work);
}

/* ---- the reader ---- */

/* The problems as text; `columns` checks too. */
static char *problems_of(struct fixture *f, const char *text) {
    struct config_problems problems = {0};
    struct expect_suite *suite = NULL;
    enum status st = expect_parse(f->arena, "e.yaml", "silver.t", str_of(text), &suite, &problems, &f->err);
    assert_int_equal(st == OK, suite != NULL);
    if (st == OK) (void)expect_check_columns(f->arena, suite, columns, COLUMNS_N, &problems);
    struct buf out = BUF_INIT;
    config_problems_write(&problems, "e.yaml", &out);
    char *said = arena_strdup(f->arena, buf_cstr(&out));
    buf_free(&out);
    config_problems_free(&problems);
    return said;
}

static void refused(struct fixture *f, const char *text, const char *with) {
    const char *said = problems_of(f, text);
    if (!strstr(said, with)) fail_msg("%s\nexpected: %s\ngot: %s", text, with, said);
}

#define ONE(entry) "expectations:\n  - " entry "\n"

static void what_is_wrong_is_said_with_its_place(void **state) {
    struct fixture *f = *state;
    refused(f, "[1]", "e.yaml:1:1: the file must be a map");
    refused(f, "a: {", "not valid YAML");
    refused(f, "table: silver.u\nexpectations: []", "e.yaml:1:8: the file's name says silver.t, table: says silver.u");
    refused(f, "on_fail: quarantin\nexpectations: []", "e.yaml:1:10: on_fail must be one of quarantine,fail,warn (did you mean \"quarantine\"?)");
    refused(f, "expectation: []", "e.yaml:1:1: unknown key \"expectation\" (did you mean \"expectations\"?)");
    refused(f, "expectations: 5", "expectations must be a list");
    refused(f, "{}", "warning: no expectations");
    refused(f, ONE("expect_column_values_to_be_nul: {column: id}"),
        "e.yaml:2:5: there is no expectation \"expect_column_values_to_be_nul\" (did you mean \"expect_column_values_to_be_null\"?)");
    refused(f, ONE("expect_column_values_to_be_null: {colum: id}"), "has no argument \"colum\" (did you mean \"column\"?)");
    refused(f, ONE("expect_column_values_to_be_null: {colum: id}"), "e.yaml:2:5: expect_column_values_to_be_null needs column");
    refused(f, ONE("expect_column_values_to_be_null: id"), "must be a map");
    refused(f, ONE("expect_column_values_to_be_null"), "needs column");
    refused(f, ONE("expect_column_values_to_be_between: {column: id}"), "needs min_value, max_value or both");
    refused(f, ONE("expect_column_values_to_be_between: {column: id, min_value: 1, strict_min: maybe}"), "e.yaml:2:80: strict_min must be true or false");
    refused(f, ONE("expect_column_values_to_be_in_set: {column: id, value_set: []}"), "value_set is an empty list");
    refused(f, ONE("expect_column_values_to_be_in_set: {column: id, value_set: 5}"), "value_set must be a list");
    refused(f, ONE("expect_column_values_to_be_in_set: {column: id, value_set: [{a: 1}]}"), "an entry of value_set must be one value");
    refused(f, ONE("expect_column_value_lengths_to_equal: {column: id, value: 1.5}"), "value must be a whole number");
    refused(f, ONE("expect_column_mean_to_be_between: {column: id, min_value: low}"), "min_value must be a number");
    refused(f, ONE("expect_column_mean_to_be_between: {column: id, min_value: 1, mostly: 0.5}"), "there is no share of rows");
    refused(f, ONE("expect_column_mean_to_be_between: {column: id, min_value: 1, on_fail: quarantine}"), "no row can be quarantined for it");
    refused(f, ONE("expect_column_values_to_be_unique: {column: id, mostly: 1.5}"), "mostly must be a share from 0 to 1");
    refused(f, ONE("expect_column_values_to_be_unique: {column: id, severity: high}"), "severity must be one of critical,warning,info");
    refused(f, ONE("expect_column_values_to_be_unique: {column: id, row_condition: 'x', condition_parser: pandas}"), "row_condition must be SQL");
    refused(f, ONE("expect_column_values_to_be_unique: {column: idd}"),
        "e.yaml:2:49: expect_column_values_to_be_unique: the table has no column \"idd\" (did you mean \"id\"?)");
    refused(f, ONE("expect_compound_columns_to_be_unique: {column_list: [id, nix]}"),
        "e.yaml:2:62: expect_compound_columns_to_be_unique: the table has no column \"nix\"");
    refused(f, ONE("expect_column_values_to_be_in_set: {column: amount, value_set: [1, much]}"), "\"much\" is no number, amount is DECIMAL(18,4)");
    refused(f, ONE("expect_column_values_to_match_regex_list: {column: name, regex_list: [a], match_on: some}"), "match_on must be one of any,all");
    refused(f, ONE("expect_column_values_to_exist_in_table: {column: name, table: stores}"), "table must be a table with its schema");
    refused(f, ONE("expect_table_freshness_to_be_within: {column: seen, max_age: soon}"), "max_age must be a duration");
    refused(f, ONE("unexpected_rows_expectation: {unexpected_rows_query: SELECT 1}"), "warning: the query does not look at the batch");
    refused(f, ONE("expect_column_quantile_values_to_be_between: {column: id, quantile_ranges: {quantiles: [2], value_ranges: [[1, 2]]}}"),
        "a quantile must be a number from 0 to 1");
    refused(f, ONE("expect_column_quantile_values_to_be_between: {column: id, quantile_ranges: {quantiles: [0.5], value_ranges: []}}"),
        "value_ranges is an empty list");
    refused(f, ONE("{type: expect_column_to_exist, kwargs: {column: id}, colum: x}"), "unknown key \"colum\"; arguments stand in kwargs");
    assert_string_equal(problems_of(f, ONE("expect_column_values_to_be_unique: {column: id}")), "");
}

static void suites_of_great_expectations_are_read(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f,
        "{\"name\": \"t\", \"id\": \"x\", \"meta\": {\"great_expectations_version\": \"1.2.0\"}, \"notes\": null, \"expectations\": [\n"
        "\t{\"type\": \"expect_column_values_to_be_between\", \"kwargs\": {\"column\": \"amount\", \"min_value\": 0.5, \"max_value\": null, \"mostly\": 0.95},"
        "\t \"meta\": {\"notes\": {\"format\": \"markdown\", \"content\": [\"why\", \"not\"]}}, \"severity\": \"warning\", \"id\": \"1\"},"
        "\t{\"expectation_type\": \"expect_column_values_to_be_unique\", \"kwargs\": {\"column\": \"id\", \"row_condition\": \"col(\\\"name\\\") == "
        "\\\"a'b\\\"\",\n"
        "\t  \"condition_parser\": \"great_expectations__experimental__\", \"result_format\": \"BASIC\"}, \"meta\": {}}]}");
    assert_int_equal(suite->n, 2);
    assert_string_equal(suite->list[0].type, "expect_column_values_to_be_between");
    assert_string_equal(suite->list[0].notes, "why\nnot");
    assert_int_equal(suite->list[0].severity, EXPECT_WARNING);
    assert_true(suite->list[0].mostly_given && suite->list[0].mostly == 0.95);
    assert_string_equal(suite->list[0].arguments, "{\"column\":\"amount\",\"min_value\":0.5,\"max_value\":null}");
    assert_string_equal(suite->list[0].label, "expect_column_values_to_be_between(amount, min_value: 0.5)");
    assert_string_equal(suite->list[1].row_condition, "\"name\" == 'a''b'");
}

static void labels_are_unique_and_tables_are_listed(void **state) {
    struct fixture *f = *state;
    struct expect_suite *suite = parse(f,
        "expectations:\n  - expect_column_values_to_be_unique: {column: id}\n  - expect_column_values_to_be_unique: {column: id}\n"
        "  - expect_column_values_to_exist_in_table: {column: name, table: ref.names}\n  - expect_column_values_to_exist_in_table: {column: id, table: "
        "ref.names}\n"
        "  - unexpected_rows_expectation: {unexpected_rows_query: 'SELECT * FROM {table}', notes: \"never\\nbecause\"}\n");
    assert_string_equal(suite->list[4].label, "unexpected_rows_expectation(never)");
    assert_string_equal(suite->list[1].label, "expect_column_values_to_be_unique(id) #2");
    assert_int_equal(suite->tables_n, 1);
    assert_string_equal(suite->tables[0], "ref.names");
    assert_int_equal(suite->queries_n, 1);
}

static void the_document_has_all_of_them(void **state) {
    struct fixture *f = *state;
    struct str text;
    struct buf wanted = BUF_INIT;
    assert_int_equal(fs_read_all(f->host.fs, f->arena, CUPEL_SOURCE_DIR "/docs/expectations.md", 1 << 20, &text, &f->err), OK);
    expect_write_md(&wanted);
    if (str_find(text, buf_view(&wanted)) < 0) fail_msg("docs/expectations.md does not hold this:\n%s", buf_cstr(&wanted));
    buf_free(&wanted);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) return engine_main(argc - 1, argv + 1, kinds);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said_with_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(suites_of_great_expectations_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(labels_are_unique_and_tables_are_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_document_has_all_of_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verdicts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_expectation_on_good_and_bad_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_batch_is_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_by_order_stays_and_kept_rows_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_rows_move_with_all_their_reasons, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_without_event_id_are_kept_one_by_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_without_a_row_are_counted, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
