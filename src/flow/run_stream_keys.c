/* Stream models over tables of models. When such a table lost rows, what they had made must go, and what they had replaced may come back: the touched keys
 * are made again from all rows. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

static bool can_restate_keys(const struct run *run) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (!run->inputs[i].model && !run->inputs[i].in->lookup) return false; /* bronze: its old rows are not at hand */
    }
    return run->m->pub.key_n > 0;
}

static void put_output(struct buf *out, const struct run *run) {
    buf_text(out, " SELECT ");
    sql_columns(out, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(out, " FROM (\n%s\n) AS o_", run->m->pub.sql);
}

static enum status read_keys(struct run *run, struct err *err) {
    enum status st = run_views(run, SHOW_DELTA_AND_OLD, NULL, err);
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _keys AS SELECT DISTINCT ");
    sql_names(&sql, "", run->m->pub.key, run->m->pub.key_n);
    buf_text(&sql, " FROM (");
    put_output(&sql, run);
    buf_char(&sql, ')');
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _batch AS");
    put_output(&sql, run);
    buf_text(&sql, " WHERE ");
    sql_has_key(&sql, "temp._keys", "o_", run->m->pub.key, run->m->pub.key_n, true);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    return st == OK ? run_expect_rows(run, "temp._batch", err) : st;
}

/* All rows of the touched keys were at hand, so what ended them is known anew. */
static enum status restate_ends(struct run *run, struct err *err) {
    if (!model_keeps_ends(run->m)) return OK;
    BUF_SCOPE(sql);
    buf_printf(&sql, "DELETE FROM %s AS t_ WHERE ", run->target_gone);
    sql_has_key(&sql, "temp._keys", "t_", run->m->pub.key, run->m->pub.key_n, true);
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? stream_note_ends(run, err) : st;
}

static enum status write_keys(struct run *run, struct err *err) {
    run_take_version(run);
    enum status st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_expect_quarantine(run, "temp._batch", err);
    if (st == OK) st = stream_winners(run, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->rows_out, err);
    BUF_SCOPE(where);
    sql_has_key(&where, "temp._keys", "t_", run->m->pub.key, run->m->pub.key_n, true);
    if (st == OK) st = diff_make(run, "temp._new", buf_cstr(&where), err);
    if (st == OK) st = diff_apply(run, err);
    if (st == OK) st = restate_ends(run, err);
    bool changed = run->result->inserted || run->result->deleted;
    if (st == OK && changed) st = run_expect_table(run, "temp._batch", err);
    return st == OK ? run_commit(run, changed, err) : st;
}

enum status run_stream_keys(struct run *run, bool *done, struct err *err) {
    must(run && done);
    bool old = false;
    enum status st = run_session(run, true, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_read_versions(run, err);
    if (st == OK) st = run_has_old(run, &old, err);
    *done = st == OK && old && can_restate_keys(run);
    if (*done) {
        run->result->strategy = "stream by keys";
        st = read_keys(run, err);
        return st == OK && !run->options->dry_run ? write_keys(run, err) : st;
    }
    if (st == OK) st = run_sql(run, "ROLLBACK", NULL, err);
    run_session_end(run);
    if (old) {
        run->restate_all = true;
        run->why = "an input lost rows";
        run->result->strategy = "rebuild";
    }
    return st;
}
