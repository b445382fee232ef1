/* Verify: the table against a full recompute, both ways. Nothing is written. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

#define EXAMPLES 5

/* Floating point sums depend on the order of their rows: ten digits are compared. */
static void put_compared(struct buf *out, const struct run *run) {
    for (size_t i = 0; i < run->m->pub.columns_n; i++) {
        const struct flow_column *c = &run->m->pub.columns[i];
        bool rough = strcmp(c->type, "DOUBLE") == 0 || strcmp(c->type, "FLOAT") == 0;
        buf_text(out, i ? ", " : "");
        if (!rough) {
            sql_name(out, c->name);
            continue;
        }
        buf_text(out, "format('{:.9e}', CAST(");
        sql_name(out, c->name);
        buf_text(out, " AS DOUBLE)) AS ");
        sql_name(out, c->name);
    }
}

/* What the model would hold if it were built now. */
static enum status recompute(struct run *run, struct err *err) {
    const struct flow_model *p = &run->m->pub;
    enum status st = OK;
    BUF_SCOPE(sql);
    if (p->merge) {
        buf_printf(&sql, "CREATE SCHEMA IF NOT EXISTS this; CREATE OR REPLACE VIEW this.pieces AS\n%s", p->rows);
        st = run_buf(run, &sql, NULL, err);
    }
    buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE %s AS SELECT ", p->kind == FLOW_STREAM ? "_batch" : "_new");
    sql_columns(&sql, "", p->columns, p->columns_n);
    buf_printf(&sql, " FROM (\n%s\n)", p->sql);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    const char *rows = p->kind == FLOW_STREAM ? "temp._batch" : "temp._new";
    if (st == OK) st = run_expect_rows(run, rows, err);
    if (st == OK && p->suite && p->suite->n) {
        struct expect_batch batch = {
            .rows = rows, .failures = "temp._failures", .key = p->key, .key_n = p->key_n, .columns = p->columns, .columns_n = p->columns_n};
        expect_remove_sql(p->suite, &batch, &sql);
        if (sql.n) st = run_buf(run, &sql, NULL, err);
    }
    if (st == OK && p->kind == FLOW_STREAM)
        st = p->key_n ? stream_winners(run, err) : run_sql(run, "CREATE OR REPLACE TEMP TABLE _new AS SELECT * FROM temp._batch", NULL, err);
    return st;
}

static enum status compare(struct run *run, struct err *err) {
    BUF_SCOPE(columns);
    put_compared(&columns, run);
    BUF_SCOPE(sql);
    const char *c = buf_cstr(&columns);
    buf_printf(&sql,
        "CREATE OR REPLACE TEMP TABLE _differs AS SELECT 'missing' AS cupel_side_, * FROM (SELECT %s FROM temp._new EXCEPT ALL SELECT %s FROM %s) "
        "UNION ALL SELECT 'extra', * FROM (SELECT %s FROM %s EXCEPT ALL SELECT %s FROM temp._new)",
        c, c, run->m->table, c, run->m->table, c);
    enum status st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._differs", &run->result->differences, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->rows_out, err);
    if (st != OK || !run->result->differences) return st;
    json_t *rows;
    buf_printf(&sql, "SELECT CAST(to_json(list(d_)) AS VARCHAR) AS examples FROM (SELECT * FROM temp._differs LIMIT %d) AS d_", EXAMPLES);
    st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    const char *examples = cell_text(json_array_get(rows, 0), "examples");
    run->result->detail = arena_strdup(run->arena, examples ? examples : "[]");
    json_decref(rows);
    return OK;
}

/* Bronze is shown only as far as the model has read it, so that events that came meanwhile are no difference; tables of models are one snapshot with
 * this one's. */
enum status run_verify(struct run *run, struct err *err) {
    must(run);
    enum flow_kind kind = run->m->pub.kind;
    if (kind == FLOW_VIEW || kind == FLOW_REFERENCE || !run->exists) return OK;
    struct position *ends = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    for (size_t i = 0; i < run->inputs_n; i++) {
        ends[i] = run->inputs[i].from;
        run->inputs[i].known = false;
    }
    enum status st = run_session(run, false, ends, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    if (st == OK) st = recompute(run, err);
    if (st == OK) st = compare(run, err);
    return st == OK ? run_sql(run, "COMMIT", NULL, err) : st;
}
