/* The end of a writing transaction: positions, change feed, checks, freshness, outbox and history, then COMMIT. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

void run_take_version(struct run *run) {
    must(run);
    if (!run->version) run->version = state_next_version(run->flow);
    run->result->version = run->version;
}

static void instant(struct buf *out, bool known, int64_t us) {
    if (known) {
        buf_printf(out, "make_timestamptz(%lld)", (long long)us);
    } else {
        buf_text(out, "NULL");
    }
}

static void text_or_null(struct buf *out, const char *text) {
    if (text) {
        sql_text(out, text);
    } else {
        buf_text(out, "NULL");
    }
}

static void put_change(struct buf *out, const struct run *run) {
    const struct flow_model_result *r = run->result;
    buf_printf(out, "INSERT INTO warehouse.cupel.changes VALUES (%lld, ", (long long)run->version);
    sql_text(out, run->m->pub.full);
    buf_printf(out, ", %lld, %lld, %s, ", (long long)r->inserted, (long long)r->deleted, run->swap || !run->exists ? "true" : "false");
    instant(out, run->bucket_known, run->bucket_min_us);
    buf_text(out, ", ");
    instant(out, run->bucket_known, run->bucket_max_us);
    buf_text(out, ", now());\n");
}

/* Rows are updated in place: tables that are written every second must not grow. */
static void put_positions(struct buf *out, const struct run *run) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->stored && position_same(&in->from, &in->to)) continue;
        BUF_SCOPE(json);
        position_json(in, &json);
        if (in->stored) {
            buf_text(out, "UPDATE warehouse.cupel.positions SET position = ");
            sql_text(out, buf_cstr(&json));
            buf_printf(out, ", version = %lld WHERE model = ", (long long)run->version);
            sql_text(out, run->m->pub.full);
            buf_text(out, " AND input = ");
            sql_text(out, in->in->full);
        } else {
            buf_text(out, "INSERT INTO warehouse.cupel.positions VALUES (");
            sql_text(out, run->m->pub.full);
            buf_text(out, ", ");
            sql_text(out, in->in->full);
            buf_text(out, ", ");
            sql_text(out, buf_cstr(&json));
            buf_printf(out, ", %lld)", (long long)run->version);
        }
        buf_text(out, ";\n");
    }
}

static void put_model(struct buf *out, const struct run *run) {
    ARENA_SCOPE(arena);
    const char *built = state_built(run->flow, arena, run->m->pub.full);
    if (built && strcmp(built, run->fingerprint) == 0) return;
    buf_text(out, "DELETE FROM warehouse.cupel.models WHERE model = ");
    sql_text(out, run->m->pub.full);
    buf_text(out, "; INSERT INTO warehouse.cupel.models VALUES (");
    const char *texts[] = {run->m->pub.full, flow_kind_name(run->m->pub.kind), run->fingerprint, run->m->pub.sql, run->m->columns_json};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sql_text(out, texts[i]);
        buf_text(out, ", ");
    }
    buf_text(out, "now());\n");
}

/* The newest times of what went in: a stream model's own, others take the greatest of their inputs'. */
static void put_freshness(struct buf *out, const struct run *run) {
    if (run->m->pub.kind == FLOW_VIEW || run->m->pub.kind == FLOW_REFERENCE) return;
    BUF_SCOPE(times);
    buf_text(&times, "SELECT max(e) AS e, max(r) AS r FROM (SELECT ");
    instant(&times, run->as_of_event_us != 0, run->as_of_event_us);
    buf_text(&times, "::TIMESTAMPTZ AS e, ");
    instant(&times, run->as_of_received_us != 0, run->as_of_received_us);
    buf_text(&times, "::TIMESTAMPTZ AS r UNION ALL SELECT as_of_event, as_of_received FROM warehouse.cupel.freshness WHERE \"table\" IN (");
    sql_text(&times, run->m->pub.full);
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (!run->inputs[i].model || run->inputs[i].in->lookup) continue;
        buf_text(&times, ", ");
        sql_text(&times, run->inputs[i].in->full);
    }
    buf_text(&times, "))");
    buf_printf(out,
        "UPDATE warehouse.cupel.freshness SET as_of_event = x_.e, as_of_received = x_.r, run_version = %lld, \"at\" = now() FROM (%s) AS x_ WHERE \"table\" = ",
        (long long)run->version, buf_cstr(&times));
    sql_text(out, run->m->pub.full);
    buf_text(out, ";\nINSERT INTO warehouse.cupel.freshness SELECT ");
    sql_text(out, run->m->pub.full);
    buf_printf(out, ", e, r, %lld, now() FROM (%s) WHERE NOT EXISTS (SELECT 1 FROM warehouse.cupel.freshness WHERE \"table\" = ", (long long)run->version,
        buf_cstr(&times));
    sql_text(out, run->m->pub.full);
    buf_text(out, ");\n");
}

static void put_lake_copy(struct buf *out, const struct run *run) {
    if (run->m->pub.store == FLOW_STORE_WAREHOUSE || run->m->pub.kind == FLOW_REFERENCE) return;
    buf_printf(out, "INSERT INTO warehouse.cupel.outbox VALUES (%lld, 'lake', ", (long long)run->version * 1000000);
    sql_text(out, run->m->pub.full);
    buf_printf(out, ", '{\"rebuilt\":%s,\"deleted\":%lld}', %lld, now());\n", run->swap || !run->exists ? "true" : "false", (long long)run->result->deleted,
        (long long)run->version);
}

void run_put_history(struct buf *out, const struct run *run, const char *status) {
    const struct flow_model_result *r = run->result;
    int64_t ms = (host_wall_us(run->flow->options.host) - run->started_us) / 1000;
    buf_text(out, "INSERT INTO warehouse.cupel.runs VALUES (");
    sql_text(out, r->run_id);
    buf_printf(out, ", %lld, ", (long long)run->version);
    const char *texts[] = {run->m->pub.full, run->options->flow, run->options->trigger, r->strategy, status};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        text_or_null(out, texts[i]);
        buf_text(out, ", ");
    }
    buf_printf(out, "make_timestamptz(%lld), %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, ", (long long)run->started_us, (long long)ms,
        (long long)r->rows_in, (long long)r->rows_out, (long long)r->filtered, (long long)r->superseded, (long long)r->quarantined, (long long)r->inserted,
        (long long)r->deleted);
    text_or_null(out, r->error);
    buf_text(out, ", ");
    sql_text(out, run->log.n ? buf_cstr((struct buf *)&run->log) : "");
    buf_text(out, ");\n");
}

enum status run_commit(struct run *run, bool changed, struct err *err) {
    must(run && run->work && run->version);
    BUF_SCOPE(sql);
    if (changed) {
        put_change(&sql, run);
        put_lake_copy(&sql, run);
    }
    put_positions(&sql, run);
    put_model(&sql, run);
    put_freshness(&sql, run);
    run_put_checks(&sql, run);
    if (changed || run->result->rows_in || run->result->quarantined || run->restate_all) run_put_history(&sql, run, "done");
    enum status st = sql.n ? work_rows(run->work, buf_cstr(&sql), NULL, err) : OK;
    if (st != OK) return st;
    st = work_rows(run->work, "COMMIT", NULL, err);
    if (st != OK) {
        state_forget(run->flow); /* whether it is there is not known */
        return st;
    }
    state_note_run(run, changed, run->swap || !run->exists);
    return OK;
}
