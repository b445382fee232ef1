/* Expectations about a table as a whole: each a SELECT of (success BOOLEAN, observed VARCHAR) in one row. */
#include <string.h>

#include "base/assert.h"
#include "flow/expect_priv.h"

static const char *looked_at(const struct expect_sql *s) { return s->batch->table ? s->batch->table : s->batch->rows; }

/* FROM the table with the row condition. */
static void write_from(struct expect_sql *s) {
    buf_printf(s->out, " FROM %s AS t", looked_at(s));
    if (s->e->row_condition) buf_printf(s->out, " WHERE (%s)", s->e->row_condition);
}

static const char *type_of(const struct expect_sql *s) { return column_type(s->batch, argument_text(s->e, "column")); }

/* SELECT (observed within the bounds), observed FROM (SELECT value AS observed FROM …). `value` has one %s for the column. No value at all fails. */
static void write_bounded(struct expect_sql *s, const char *before, const char *after, const char *type) {
    buf_text(s->out, "SELECT coalesce(");
    write_between(s, "observed", type);
    buf_printf(s->out, ", false) AS success, CAST(observed AS VARCHAR) AS observed FROM (SELECT %s", before);
    if (after) write_column(s, "column");
    buf_printf(s->out, "%s AS observed", after ? after : "");
    write_from(s);
    buf_char(s->out, ')');
}

void write_mean(struct expect_sql *s) { write_bounded(s, "avg(", ")", NULL); }
void write_sum(struct expect_sql *s) { write_bounded(s, "sum(", ")", NULL); }
void write_min(struct expect_sql *s) { write_bounded(s, "min(", ")", type_of(s)); }
void write_max(struct expect_sql *s) { write_bounded(s, "max(", ")", type_of(s)); }
void write_median(struct expect_sql *s) { write_bounded(s, "median(", ")", type_of(s)); }
void write_stdev(struct expect_sql *s) { write_bounded(s, "stddev_samp(", ")", NULL); }
void write_distinct_count(struct expect_sql *s) { write_bounded(s, "count(DISTINCT ", ")", NULL); }
void write_row_count_between(struct expect_sql *s) { write_bounded(s, "count(*)", NULL, NULL); }

void write_distinct_share(struct expect_sql *s) {
    buf_text(s->out, "SELECT coalesce(");
    write_between(s, "observed", NULL);
    buf_text(s->out, ", false) AS success, CAST(observed AS VARCHAR) AS observed FROM (SELECT count(DISTINCT ");
    write_column(s, "column");
    buf_text(s->out, ") / nullif(count(");
    write_column(s, "column");
    buf_text(s->out, "), 0) AS observed");
    write_from(s);
    buf_char(s->out, ')');
}

void write_filled_share(struct expect_sql *s) {
    buf_text(s->out, "SELECT coalesce(");
    write_between(s, "observed", NULL);
    buf_text(s->out, ", false) AS success, CAST(observed AS VARCHAR) AS observed FROM (SELECT count(");
    write_column(s, "column");
    buf_text(s->out, ") / nullif(count(*), 0) AS observed");
    write_from(s);
    buf_char(s->out, ')');
}

/* ---- quantiles ---- */

/* One range of two; null is no bound. */
static void write_range(struct expect_sql *s, size_t i, const struct yaml_node *range, const char *type) {
    for (size_t k = 0; k < 2; k++) {
        if (range->items[k]->is_null) continue;
        buf_printf(s->out, " AND observed[%zu] %s ", i + 1, k ? "<=" : ">=");
        write_value(s, range->items[k], type);
    }
}

void write_quantiles(struct expect_sql *s) {
    const struct yaml_node *ranges = argument(s->e, "quantile_ranges");
    const struct yaml_node *quantiles = yaml_get(ranges, "quantiles"), *values = yaml_get(ranges, "value_ranges");
    must(quantiles && values && quantiles->n == values->n);
    buf_text(s->out, "SELECT coalesce(TRUE");
    for (size_t i = 0; i < values->n; i++) write_range(s, i, values->items[i], type_of(s));
    buf_text(s->out, ", false) AS success, CAST(observed AS VARCHAR) AS observed FROM (SELECT quantile_disc(");
    write_column(s, "column");
    buf_text(s->out, ", [");
    for (size_t i = 0; i < quantiles->n; i++) buf_printf(s->out, "%s" STR_FMT, i ? ", " : "", STR_ARG(quantiles->items[i]->text));
    buf_text(s->out, "]) AS observed");
    write_from(s);
    buf_char(s->out, ')');
}

/* ---- sets of values ---- */

/* Every element of the set as a row of a column `v`, each once. */
static void write_set_rows(struct expect_sql *s) {
    buf_text(s->out, "(SELECT DISTINCT v FROM unnest([");
    write_values(s, argument(s->e, "value_set"), type_of(s));
    buf_text(s->out, "]) AS wanted(v))");
}

/* Distinct values that the set lacks. At most ten are shown. */
static void write_outside(struct expect_sql *s) {
    buf_text(s->out,
        "SELECT count(*) AS n, string_agg(CAST(v AS VARCHAR), ', ' ORDER BY place) FILTER (WHERE place <= 10) AS shown FROM (SELECT v, row_number() OVER "
        "(ORDER BY v) AS place "
        "FROM (SELECT DISTINCT ");
    write_column(s, "column");
    buf_text(s->out, " AS v");
    write_from(s);
    buf_text(s->out, ") WHERE v NOT IN (");
    write_values(s, argument(s->e, "value_set"), type_of(s));
    buf_text(s->out, "))");
}

/* Values of the set that the column lacks. */
static void write_lacking(struct expect_sql *s) {
    buf_text(s->out, "SELECT count(*) AS n, string_agg(CAST(v AS VARCHAR), ', ' ORDER BY v) AS shown FROM ");
    write_set_rows(s);
    buf_text(s->out, " WHERE v NOT IN (SELECT ");
    write_column(s, "column");
    write_from(s);
    buf_text(s->out, s->e->row_condition ? " AND " : " WHERE ");
    write_column(s, "column");
    buf_text(s->out, " IS NOT NULL)");
}

void write_distinct_in_set(struct expect_sql *s) {
    buf_text(s->out, "SELECT n = 0 AS success, 'not in the set: ' || shown AS observed FROM (");
    write_outside(s);
    buf_char(s->out, ')');
}

void write_distinct_contain_set(struct expect_sql *s) {
    buf_text(s->out, "SELECT n = 0 AS success, 'missing: ' || shown AS observed FROM (");
    write_lacking(s);
    buf_char(s->out, ')');
}

void write_distinct_equal_set(struct expect_sql *s) {
    buf_text(s->out, "SELECT a.n + b.n = 0 AS success, nullif(concat_ws('; ', 'not in the set: ' || a.shown, 'missing: ' || b.shown), '') AS observed FROM (");
    write_outside(s);
    buf_text(s->out, ") AS a, (");
    write_lacking(s);
    buf_text(s->out, ") AS b");
}

void write_most_common(struct expect_sql *s) {
    bool ties = argument_flag(s->e, "ties_okay", false);
    buf_printf(s->out, "SELECT %s AS success, string_agg(CAST(v AS VARCHAR), ', ' ORDER BY v) AS observed FROM (SELECT v, v IN (",
        ties ? "coalesce(bool_or(listed), false)" : "count(*) = 1 AND coalesce(bool_or(listed), false)");
    write_values(s, argument(s->e, "value_set"), type_of(s));
    buf_text(s->out, ") AS listed FROM (SELECT ");
    write_column(s, "column");
    buf_text(s->out, " AS v, rank() OVER (ORDER BY count(*) DESC) AS place");
    write_from(s);
    buf_text(s->out, s->e->row_condition ? " AND " : " WHERE ");
    write_column(s, "column");
    buf_text(s->out, " IS NOT NULL GROUP BY ");
    write_column(s, "column");
    buf_text(s->out, ") WHERE place = 1)");
}

/* ---- rows and columns ---- */

void write_row_count_equal(struct expect_sql *s) {
    buf_printf(s->out, "SELECT count(*) = " STR_FMT " AS success, CAST(count(*) AS VARCHAR) AS observed", STR_ARG(argument_text(s->e, "value")));
    write_from(s);
}

void write_row_count_equal_other(struct expect_sql *s) {
    struct str name = argument_text(s->e, "other_table_name");
    struct str schema = str_cut(&name, '.');
    buf_text(s->out, "SELECT a.n = b.n AS success, a.n || ' and ' || b.n AS observed FROM (SELECT count(*) AS n");
    write_from(s);
    buf_text(s->out, ") AS a, (SELECT count(*) AS n FROM ");
    write_name(s, schema);
    buf_char(s->out, '.');
    write_name(s, name);
    buf_text(s->out, ") AS b");
}

/* What is known without looking at rows. */
static void write_known(struct expect_sql *s, bool success, const char *observed) {
    buf_printf(s->out, "SELECT %s AS success, ", success ? "true" : "false");
    write_text(s, str_of(observed));
    buf_text(s->out, " AS observed");
}

void write_column_count_between(struct expect_sql *s) {
    BUF_SCOPE(count);
    buf_printf(&count, "%zu", s->batch->columns_n);
    buf_text(s->out, "SELECT ");
    write_between(s, buf_cstr(&count), NULL);
    buf_printf(s->out, " AS success, '%s' AS observed", buf_cstr(&count));
}

void write_column_count_equal(struct expect_sql *s) {
    BUF_SCOPE(count);
    buf_printf(&count, "%zu", s->batch->columns_n);
    write_known(s, str_is(argument_text(s->e, "value"), buf_cstr(&count)), buf_cstr(&count));
}

static size_t place_of(const struct expect_batch *batch, struct str name) {
    size_t i = 0;
    while (i < batch->columns_n && !str_ieq(name, str_of(batch->columns[i].name))) i++;
    return i;
}

void write_column_exists(struct expect_sql *s) {
    size_t at = place_of(s->batch, argument_text(s->e, "column"));
    uint64_t wanted = at;
    if (argument(s->e, "column_index")) (void)str_to_u64(argument_text(s->e, "column_index"), &wanted);
    BUF_SCOPE(observed);
    if (at < s->batch->columns_n)
        buf_printf(&observed, "at place %zu", at);
    else
        buf_text(&observed, "not there");
    write_known(s, at < s->batch->columns_n && wanted == at, buf_cstr(&observed));
}

static void observed_columns(const struct expect_sql *s, struct buf *out) {
    for (size_t i = 0; i < s->batch->columns_n; i++) buf_printf(out, "%s%s", i ? ", " : "", s->batch->columns[i].name);
}

void write_columns_ordered(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_list");
    bool same = list->n == s->batch->columns_n;
    for (size_t i = 0; same && i < list->n; i++) same = str_ieq(list->items[i]->text, str_of(s->batch->columns[i].name));
    BUF_SCOPE(observed);
    observed_columns(s, &observed);
    write_known(s, same, buf_cstr(&observed));
}

void write_columns_set(struct expect_sql *s) {
    const struct yaml_node *list = argument(s->e, "column_set");
    bool exact = argument_flag(s->e, "exact_match", true), same = true;
    for (size_t i = 0; i < list->n; i++) same = same && place_of(s->batch, list->items[i]->text) < s->batch->columns_n;
    for (size_t i = 0; exact && i < s->batch->columns_n; i++) {
        bool found = false;
        for (size_t k = 0; k < list->n; k++) found = found || str_ieq(list->items[k]->text, str_of(s->batch->columns[i].name));
        same = same && found;
    }
    BUF_SCOPE(observed);
    observed_columns(s, &observed);
    write_known(s, same, buf_cstr(&observed));
}

/* A type with brackets must be the same, one without only of the same family. */
static bool type_matches(struct arena *arena, struct str wanted, const char *type) {
    if (!type) return false;
    return str_ieq(wanted, str_of(type)) || (!memchr(wanted.p, '(', wanted.n) && str_eq(type_family(arena, wanted), type_family(arena, str_of(type))));
}

void write_type(struct expect_sql *s) {
    ARENA_SCOPE(scratch);
    const char *type = type_of(s);
    write_known(s, type_matches(scratch, argument_text(s->e, "type_"), type), type ? type : "not there");
}

void write_type_list(struct expect_sql *s) {
    ARENA_SCOPE(scratch);
    const char *type = type_of(s);
    const struct yaml_node *list = argument(s->e, "type_list");
    bool found = false;
    for (size_t i = 0; i < list->n; i++) found = found || type_matches(scratch, list->items[i]->text, type);
    write_known(s, found, type ? type : "not there");
}

void write_freshness(struct expect_sql *s) {
    int64_t age_ms = 0;
    (void)str_to_duration_ms(argument_text(s->e, "max_age"), &age_ms);
    buf_printf(s->out, "SELECT coalesce(newest >= now() - to_milliseconds(%lld), false) AS success, CAST(newest AS VARCHAR) AS observed FROM (SELECT CAST(max(",
        (long long)age_ms);
    write_column(s, "column");
    buf_text(s->out, ") AS TIMESTAMPTZ) AS newest");
    write_from(s);
    buf_char(s->out, ')');
}
