/* Quarantine again: after the model or its expectations were corrected, quarantined events are read once more from bronze by their ids, through the present
 * SQL and expectations, and go into the table by the rules of every run: of a key the newest row stays, so an older one never replaces a newer one. What is
 * good now leaves quarantine in the same transaction, what is not stays with its present reasons.
 *
 * Models whose quarantined rows have no event id, or that read tables without one, are rebuilt instead. So are models whose SQL changed: the next run would
 * do it. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

/* ---- one run ---- */

static bool is_bronze(const struct run_input *in) { return in->in->kind == FLOW_INPUT_EVENTS || in->in->kind == FLOW_INPUT_LANDING; }

/* The ids to read, and the times that stand in them: bronze finds its files by time. */
static enum status take_ids(struct run *run, int64_t *from_us, int64_t *to_us, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE _ids AS SELECT DISTINCT _event_id AS id FROM %s WHERE _event_id IS NOT NULL", run->m->quarantine_table);
    enum status st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, "SELECT coalesce(epoch_us(min(cupel_event_time(id))), 0) AS n FROM temp._ids", from_us, err);
    return st == OK ? run_count(run, "SELECT coalesce(epoch_us(max(cupel_event_time(id))), 0) AS n FROM temp._ids", to_us, err) : st;
}

/* The view of a driving input shows those events only. */
static enum status restrict_input(struct run *run, const struct run_input *in, int64_t from_us, int64_t to_us, struct err *err) {
    ARENA_SCOPE(arena);
    const char *all = arena_printf(arena, "%s__all", in->in->name);
    BUF_SCOPE(sql);
    buf_text(&sql, "ALTER VIEW ");
    sql_table(&sql, in->in->schema, in->in->name);
    buf_text(&sql, " RENAME TO ");
    sql_name(&sql, all);
    buf_text(&sql, "; CREATE VIEW ");
    sql_table(&sql, in->in->schema, in->in->name);
    buf_text(&sql, " AS SELECT * FROM ");
    sql_table(&sql, in->in->schema, all);
    buf_text(&sql, " WHERE _event_id IN (SELECT id FROM temp._ids)");
    if (is_bronze(in))
        buf_printf(&sql, " AND _received_at >= make_timestamptz(%lld) AND _received_at <= make_timestamptz(%lld + 999)", (long long)from_us, (long long)to_us);
    return run_buf(run, &sql, NULL, err);
}

/* Ids that no input has any more (retention) stay in quarantine. */
static enum status count_found(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _found AS SELECT id FROM (SELECT CAST(NULL AS UUID) AS id WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (run->inputs[i].in->lookup) continue;
        buf_text(&sql, " UNION ALL SELECT _event_id FROM ");
        sql_table(&sql, run->inputs[i].in->schema, run->inputs[i].in->name);
    }
    buf_char(&sql, ')');
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? run_count(run, "SELECT count(*) AS n FROM temp._found", &run->result->rows_in, err) : st;
}

static enum status read_again(struct run *run, struct err *err) {
    int64_t from_us = 0, to_us = 0;
    enum status st = run_session(run, false, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    if (st == OK) st = take_ids(run, &from_us, &to_us, err);
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        if (!run->inputs[i].in->lookup) st = restrict_input(run, &run->inputs[i], from_us, to_us, err);
    }
    if (st == OK) st = count_found(run, err);
    if (st == OK) st = stream_compute(run, run->result->rows_in, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    return st == OK ? run_expect_rows(run, "temp._batch", err) : st;
}

enum status run_redrive(struct run *run, struct err *err) {
    must(run && run->m->pub.kind == FLOW_STREAM && !run->restate_all);
    run->result->strategy = "redrive";
    enum status st = read_again(run, err);
    if (st != OK) return st;
    run_take_version(run);
    BUF_SCOPE(sql);
    buf_printf(&sql, "DELETE FROM %s WHERE _event_id IN (SELECT id FROM temp._found)", run->m->quarantine_table);
    st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = table_ensure(run, err);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = stream_write(run, err);
    bool changed = run->result->inserted || run->result->deleted;
    if (st == OK && changed) st = run_expect_table(run, "temp._batch", err);
    return st == OK ? run_commit(run, changed, err) : st; /* positions stay where they are: nothing new was read */
}

/* ---- from outside ---- */

struct in_quarantine {
    int64_t rows, nameless; /* nameless: without event id */
};

static enum status look(struct flow *flow, const struct model *m, struct in_quarantine *out, struct err *err) {
    *out = (struct in_quarantine){0};
    struct engine_work *work = NULL;
    enum status st = engine_work_begin(flow->options.engine, NULL, NULL, 0, 0, &work, err);
    if (st != OK) return st;
    BUF_SCOPE(sql);
    json_t *rows = NULL;
    buf_text(&sql, "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'warehouse' AND schema_name = 'quarantine' AND table_name = ");
    ARENA_SCOPE(arena);
    sql_text(&sql, arena_printf(arena, "%s__%s", m->pub.schema, m->pub.name));
    st = work_rows(work, buf_cstr(&sql), &rows, err);
    bool there = st == OK && cell_int(json_array_get(rows, 0), "n") > 0;
    json_decref(rows);
    rows = NULL;
    buf_clear(&sql);
    buf_printf(&sql, "SELECT count(*) AS n, count(*) - count(_event_id) AS nameless FROM %s", m->quarantine_table);
    if (there) st = work_rows(work, buf_cstr(&sql), &rows, err);
    if (there && st == OK) *out = (struct in_quarantine){cell_int(json_array_get(rows, 0), "n"), cell_int(json_array_get(rows, 0), "nameless")};
    json_decref(rows);
    engine_work_end(&work);
    return st;
}

static bool has_column(const struct flow_model *m, const char *name) {
    for (size_t i = 0; i < m->columns_n; i++) {
        if (strcmp(m->columns[i].name, name) == 0) return true;
    }
    return false;
}

/* Every driving input can be asked for events by id. */
static bool by_id(const struct model *m, const struct in_quarantine *found) {
    if (m->pub.kind != FLOW_STREAM || found->nameless) return false;
    for (size_t i = 0; i < m->pub.inputs_n; i++) {
        const struct flow_input *in = &m->pub.inputs[i];
        if (in->lookup || (in->model && in->model->kind == FLOW_VIEW)) continue;
        if (in->model && !has_column(in->model, "_event_id")) return false;
    }
    return true;
}

static enum status run_again(struct flow *flow, struct arena *arena, const struct model *m, bool ids, const struct flow_redrive_options *options,
    struct flow_redriven *out, struct err *err) {
    const char *const names[] = {m->pub.full};
    const struct flow_run_options run = {.models = names,
        .n = 1,
        .redrive = ids,
        .full_refresh = !ids,
        .force = true,
        .trigger = "redrive",
        .cancelled = options ? options->cancelled : NULL,
        .context = options ? options->context : NULL};
    struct flow_model_result *results;
    size_t n;
    enum status st = flow_run(flow, arena, &run, &results, &n, err);
    if (st != OK) return st;
    must(n == 1);
    out->result = results[0];
    if (results[0].status == FLOW_DONE || results[0].status == FLOW_UNCHANGED) return OK;
    return err_set(err, E_UNPROCESSABLE, "%s: %s", m->pub.full, results[0].error ? results[0].error : "the run did not end");
}

enum status flow_redrive(
    struct flow *flow, struct arena *arena, const char *model, const struct flow_redrive_options *options, struct flow_redriven *out, struct err *err) {
    must(flow && arena && model && out);
    if (!flow->options.engine) return err_set(err, E_UNAVAILABLE, "there is no engine: models cannot run");
    const struct model *m = map_get(flow_set(flow)->by_name, str_of(model));
    if (!m) return err_set(err, E_NOT_FOUND, "there is no model %s", model);
    if (m->pub.kind == FLOW_VIEW || m->pub.kind == FLOW_REFERENCE)
        return err_set(err, E_INVALID, "%s has no quarantine: it is a %s", model, flow_kind_name(m->pub.kind));
    struct in_quarantine before, after;
    struct flow_redriven done = {.model = m->pub.full};
    enum status st = look(flow, m, &before, err);
    if (st == OK && before.rows) st = run_again(flow, arena, m, by_id(m, &before), options, &done, err);
    if (st == OK) st = look(flow, m, &after, err);
    if (st != OK) return st;
    done.before = before.rows;
    done.after = after.rows;
    *out = done;
    return OK;
}
