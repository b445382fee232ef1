/* Expectations in a run: failing rows are found while reading, judged, quarantined and taken out while writing; what is about the whole table is looked
 * at last. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

static bool has_column(const struct run *run, const char *name) { return model_column(run->m, name) != NULL; }

static bool is_about(const struct expect_suite *suite, enum expect_scope scope) {
    for (size_t i = 0; i < suite->n; i++) {
        if (suite->list[i].scope == scope) return true;
    }
    return false;
}

/* What the rows are compared with, for uniqueness: the rows that stay. */
static const char *existing_rows(struct run *run) {
    if (run->m->pub.kind != FLOW_STREAM || !run->exists || run->target_empty || run->restate_all) return NULL;
    BUF_SCOPE(sql);
    buf_text(&sql, "(SELECT ");
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, " FROM %s)", run->target);
    return arena_strdup(run->arena, buf_cstr(&sql));
}

static struct expect_batch batch_of(struct run *run, const char *rows, const char *table, enum expect_part part) {
    const struct flow_model *p = &run->m->pub;
    struct expect_batch b = {.part = part,
        .rows = rows,
        .table = table,
        .failures = "temp._failures",
        .key = p->key,
        .key_n = p->key_n,
        .columns = p->columns,
        .columns_n = p->columns_n};
    BUF_SCOPE(order);
    for (size_t i = 0; p->kind == FLOW_STREAM && i < p->order_n; i++) {
        if (!has_column(run, p->order[i])) continue;
        buf_text(&order, order.n ? ", " : "");
        sql_name(&order, p->order[i]);
    }
    if (order.n) b.order = arena_strdup(run->arena, buf_cstr(&order));
    b.existing = existing_rows(run);
    return b;
}

/* ---- results ---- */

static void take_result(struct run *run, const json_t *row, bool tables_only) {
    const struct expect_suite *suite = run->m->pub.suite;
    size_t i = (size_t)cell_int(row, "expectation");
    if (i >= suite->n || (suite->list[i].scope == EXPECT_TABLE) != tables_only) return;
    struct run_check *check = &run->checks[i];
    check->looked = true;
    check->unexpected += cell_int(row, "unexpected");
    check->total += cell_int(row, "total");
    check->nameless += cell_int(row, "nameless");
    const char *observed = cell_text(row, "observed");
    if (observed) check->observed = arena_strdup(run->arena, observed);
}

static enum status read_results(struct run *run, const struct expect_batch *batch, bool tables_only, struct err *err) {
    struct expect_batch part = *batch;
    part.part = tables_only ? EXPECT_ONLY_TABLE : EXPECT_NOT_TABLE;
    BUF_SCOPE(sql);
    expect_results_sql(run->m->pub.suite, &part, &sql);
    if (!sql.n) return OK;
    json_t *rows, *row;
    size_t k;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    json_array_foreach(rows, k, row) take_result(run, row, tables_only);
    json_decref(rows);
    return OK;
}

static enum status judge(struct run *run, bool tables_only, struct err *err) {
    const struct expect_suite *suite = run->m->pub.suite;
    for (size_t i = 0; i < suite->n; i++) {
        struct run_check *check = &run->checks[i];
        const struct expectation *e = &suite->list[i];
        if (!check->looked || (e->scope == EXPECT_TABLE) != tables_only) continue;
        check->verdict = expect_verdict(e, (uint64_t)check->unexpected, (uint64_t)check->total, (uint64_t)check->nameless);
        if (check->verdict != EXPECT_FAILED) continue;
        return err_set(err, E_UNPROCESSABLE, "expectation failed: %.200s: %lld of %lld%s%.120s", e->label, (long long)check->unexpected,
            (long long)check->total, check->observed ? ", observed " : "", check->observed ? check->observed : "");
    }
    return OK;
}

/* ---- the steps ---- */

enum status run_expect_rows(struct run *run, const char *rows, struct err *err) {
    const struct expect_suite *suite = run->m->pub.suite;
    if (!suite || !suite->n) return OK;
    if (!run->checks) run->checks = arena_new_array(run->arena, struct run_check, suite->n);
    struct expect_batch batch = batch_of(run, rows, NULL, EXPECT_NOT_TABLE);
    enum status st = run_sql(run, "CREATE OR REPLACE TEMP TABLE _failures (row BIGINT, expectation INTEGER)", NULL, err);
    BUF_SCOPE(sql);
    expect_failures_sql(suite, &batch, &sql);
    if (st == OK && sql.n) st = run_buf(run, &sql, NULL, err);
    return st == OK ? read_results(run, &batch, false, err) : st;
}

enum status run_expect_judge(struct run *run, struct err *err) { return run->checks ? judge(run, false, err) : OK; }

/* (_event_id, raw) of what came. */
static const char *raw_rows(struct run *run) {
    BUF_SCOPE(sql);
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->model || in->in->lookup) continue;
        buf_text(&sql, sql.n ? " UNION ALL " : "(");
        buf_text(
            &sql, in->in->kind == FLOW_INPUT_EVENTS ? "SELECT _event_id, payload AS raw FROM " : "SELECT _event_id, CAST(to_json(r_) AS VARCHAR) AS raw FROM ");
        sql_table(&sql, in->in->schema, in->in->name);
        buf_text(&sql, " AS r_");
    }
    if (!sql.n) return NULL;
    buf_char(&sql, ')');
    return arena_strdup(run->arena, buf_cstr(&sql));
}

/* All rows are looked at again, and those without an event id could not be told apart. */
static enum status empty_quarantine(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    expect_quarantine_ddl(run->target_quarantine, &sql);
    buf_printf(&sql, " DELETE FROM %s", run->target_quarantine);
    return run_buf(run, &sql, NULL, err);
}

enum status run_expect_quarantine(struct run *run, const char *rows, struct err *err) {
    const struct expect_suite *suite = run->m->pub.suite;
    if (!suite || !suite->n) return OK;
    bool waves = run->target != run->m->table;
    enum status st = waves ? OK : run_expect_judge(run, err);
    int64_t failing = 0, before = 0, after = 0;
    if (st == OK && run->restate_all && !waves) st = empty_quarantine(run, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._failures", &failing, err);
    if (st != OK || !failing) return st;
    const struct flow_column *id = model_column(run->m, "_event_id");
    bool event_id = id && strcmp(id->type, "UUID") == 0;
    struct expect_batch batch = batch_of(run, rows, NULL, EXPECT_NOT_TABLE);
    struct expect_quarantine quarantine = {
        .table = run->target_quarantine, .run_id = run->result->run_id, .raw = event_id ? raw_rows(run) : NULL, .event_id = event_id};
    BUF_SCOPE(sql);
    expect_quarantine_ddl(quarantine.table, &sql);
    st = run_buf(run, &sql, NULL, err);
    expect_quarantine_sql(suite, &batch, &quarantine, &sql);
    if (st == OK && sql.n) st = run_buf(run, &sql, NULL, err);
    const char *count = arena_printf(run->arena, "SELECT count(*) AS n FROM %s", rows);
    if (st == OK) st = run_count(run, count, &before, err);
    expect_remove_sql(suite, &batch, &sql);
    if (st == OK && sql.n) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, count, &after, err);
    run->result->quarantined += before - after;
    return st;
}

/* Looking at the whole table costs more the larger it is. Where nothing hangs on the answer, runs that follow their input every second look once a minute. */
static enum status looked_lately(struct run *run, bool *out, struct err *err) {
    const struct expect_suite *suite = run->m->pub.suite;
    *out = false;
    if (run->restate_all || !run->options->trigger || strcmp(run->options->trigger, "input") != 0) return OK;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n FROM warehouse.cupel.checks WHERE at > now() - INTERVAL 1 MINUTE AND model = ");
    sql_text(&sql, run->m->pub.full);
    buf_text(&sql, " AND expectation IN (''");
    for (size_t i = 0; i < suite->n; i++) {
        if (suite->list[i].scope != EXPECT_TABLE) continue;
        if (suite->list[i].on_fail == EXPECT_FAIL) return OK; /* this one decides about every run */
        buf_text(&sql, ", ");
        sql_text(&sql, suite->list[i].label);
    }
    buf_char(&sql, ')');
    int64_t n = 0;
    enum status st = run_count(run, buf_cstr(&sql), &n, err);
    *out = n > 0;
    return st;
}

enum status run_expect_table(struct run *run, const char *rows, struct err *err) {
    const struct expect_suite *suite = run->m->pub.suite;
    if (!suite || !suite->n || !is_about(suite, EXPECT_TABLE)) return OK;
    bool lately;
    enum status st = looked_lately(run, &lately, err);
    if (st != OK || lately) return st;
    if (!run->checks) run->checks = arena_new_array(run->arena, struct run_check, suite->n);
    struct expect_batch batch = batch_of(run, rows, run->m->table, EXPECT_ONLY_TABLE);
    st = run_sql(run, "CREATE TEMP TABLE IF NOT EXISTS _failures (row BIGINT, expectation INTEGER)", NULL, err);
    if (st == OK) st = read_results(run, &batch, true, err);
    return st == OK ? judge(run, true, err) : st;
}

static void put_labels(struct buf *out, const struct run *run, bool looked_only) {
    buf_text(out, "(''");
    for (size_t i = 0; i < run->m->pub.suite->n; i++) {
        if (looked_only && !run->checks[i].looked) continue;
        buf_text(out, ", ");
        sql_text(out, run->m->pub.suite->list[i].label);
    }
    buf_char(out, ')');
}

static void put_check(struct buf *out, const struct run *run, size_t i) {
    const struct run_check *check = &run->checks[i];
    const struct expectation *e = &run->m->pub.suite->list[i];
    const char *texts[] = {run->result->run_id, run->m->pub.full, e->label, e->column, expect_severity_name(e->severity), expect_verdict_name(check->verdict)};
    buf_char(out, '(');
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        sql_text(out, texts[k]);
        buf_text(out, ", ");
    }
    buf_printf(out, "%lld, %lld, ", (long long)check->unexpected, (long long)check->total);
    if (check->observed) {
        sql_text(out, check->observed);
    } else {
        buf_text(out, "NULL");
    }
    buf_text(out, ", now())");
}

/* The newest result of each expectation that is still there, and the history of failures. */
void run_put_checks(struct buf *out, const struct run *run) {
    const struct expect_suite *suite = run->m->pub.suite;
    if (!suite || !run->checks) return;
    bool any = false;
    buf_text(out, "DELETE FROM warehouse.cupel.checks WHERE status <> 'failed' AND model = ");
    sql_text(out, run->m->pub.full);
    buf_text(out, " AND (expectation IN ");
    put_labels(out, run, true);
    buf_text(out, " OR expectation NOT IN ");
    put_labels(out, run, false);
    buf_text(out, ");\n");
    for (size_t i = 0; i < suite->n; i++) {
        if (!run->checks[i].looked) continue;
        buf_text(out, any ? ", " : "INSERT INTO warehouse.cupel.checks VALUES ");
        put_check(out, run, i);
        any = true;
    }
    buf_text(out, any ? ";\n" : "");
}
