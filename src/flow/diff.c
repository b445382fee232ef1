/* From a result to the table: the rows that differ, and the way they take into the table. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

static void columns_of(struct buf *out, const struct run *run, const char *prefix) { sql_columns(out, prefix, run->m->pub.columns, run->m->pub.columns_n); }

/* Equal rows are counted, so that tables with equal rows come out right too; NULLs are equal here. */
enum status diff_make_from(struct run *run, const char *rows, const char *select, struct err *err) {
    must(run && rows && select);
    BUF_SCOPE(columns);
    columns_of(&columns, run, "");
    const char *c = buf_cstr(&columns);
    BUF_SCOPE(sql);
    buf_printf(&sql,
        "CREATE OR REPLACE TEMP TABLE _diff AS SELECT %s, count(*) FILTER (cupel_row_ IS NULL) AS cupel_n_, list(cupel_row_) FILTER (cupel_row_ IS NOT NULL) "
        "AS cupel_rows_ "
        "FROM (SELECT %s, cupel_row_ FROM (%s) UNION ALL SELECT %s, NULL FROM %s) GROUP BY %s "
        "HAVING count(*) FILTER (cupel_row_ IS NULL) <> count(*) FILTER (cupel_row_ IS NOT NULL)",
        c, c, select, c, rows, c);
    enum status st = run_buf(run, &sql, NULL, err);
    buf_printf(&sql,
        "CREATE OR REPLACE TEMP TABLE _del AS SELECT %s, unnest(cupel_rows_[cupel_n_ + 1:]) AS cupel_row_ FROM temp._diff WHERE len(cupel_rows_) > cupel_n_",
        c);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    buf_printf(&sql,
        "CREATE OR REPLACE TEMP TABLE _ins AS SELECT %s FROM (SELECT *, unnest(range(cupel_n_ - coalesce(len(cupel_rows_), 0))) FROM temp._diff "
        "WHERE cupel_n_ > coalesce(len(cupel_rows_), 0))",
        c);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    return st;
}

enum status diff_make(struct run *run, const char *rows, const char *where, struct err *err) {
    must(run && rows && where);
    BUF_SCOPE(select);
    buf_text(&select, "SELECT ");
    columns_of(&select, run, "");
    buf_printf(&select, ", t_.rowid AS cupel_row_ FROM %s AS t_ WHERE %s", run->target, where);
    return diff_make_from(run, rows, buf_cstr(&select), err);
}

/* ---- tables ---- */

static void create_table(struct buf *out, const struct run *run, const char *table) {
    buf_printf(out, "CREATE TABLE IF NOT EXISTS %s (", table);
    for (size_t i = 0; i < run->m->pub.columns_n; i++) {
        sql_name(out, run->m->pub.columns[i].name);
        buf_printf(out, " %s, ", run->m->pub.columns[i].type);
    }
    buf_text(out, "_version BIGINT); ");
}

enum status table_ensure(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS warehouse.");
    sql_name(&sql, run->m->pub.schema);
    buf_text(&sql, "; ");
    create_table(&sql, run, run->m->table);
    create_table(&sql, run, run->m->old_table);
    if (model_keeps_ends(run->m)) create_table(&sql, run, run->m->gone_table);
    return run_buf(run, &sql, NULL, err);
}

/* ---- events of the difference ---- */

static void event_value(struct buf *out, const struct run *run, const struct emit_column *column) {
    if (column->sql) {
        buf_printf(out, "(%s)", column->sql);
        return;
    }
    BUF_SCOPE(value);
    const struct flow_column *c = model_column(run->m, column->name);
    bool instant = c && strcmp(c->type, "TIMESTAMP WITH TIME ZONE") == 0;
    buf_text(&value, "CASE WHEN new.cupel_is_ THEN new.");
    sql_name(&value, column->name);
    buf_text(&value, " ELSE old.");
    sql_name(&value, column->name);
    buf_text(&value, " END");
    buf_printf(out, instant ? "strftime(timezone('UTC', %s), '%%Y-%%m-%%dT%%H:%%M:%%S.%%fZ')" : "%s", buf_cstr(&value));
}

static void event_object(struct buf *out, const struct run *run) {
    const struct flow_emit *emit = &run->m->pub.emit;
    buf_text(out, "json_object(");
    if (emit->type) {
        buf_text(out, "'type', ");
        sql_text(out, emit->type);
    }
    for (size_t i = 0; i < run->m->emit_columns_n; i++) {
        buf_text(out, i || emit->type ? ", " : "");
        sql_text(out, run->m->emit_columns[i].name);
        buf_text(out, ", ");
        event_value(out, run, &run->m->emit_columns[i]);
    }
    buf_char(out, ')');
}

/* Old and new row of a key are paired. The event's idempotency key names warehouse, model, version, key and number, as keys may come twice: published twice
 * it is one event, and a warehouse made anew, whose versions begin again, makes others. */
static enum status emit_events(struct run *run, struct err *err) {
    const struct flow_model *p = &run->m->pub;
    BUF_SCOPE(sql);
    buf_printf(&sql,
        "INSERT INTO warehouse.cupel.outbox SELECT greatest(%lld, (SELECT coalesce(max(id), 0) FROM warehouse.cupel.outbox WHERE kind = 'event')) + "
        "row_number() OVER (), 'event', ",
        (long long)run->version * 1000000); /* a run may give more than a million */
    sql_text(&sql, p->emit.stream);
    buf_text(&sql, ", json_object('key', concat_ws(':', (SELECT max(id) FROM warehouse.cupel.identity), "); /* NULL is left out */
    sql_text(&sql, p->full);
    buf_printf(&sql, ", %lld, CAST(json_array(", (long long)run->version); /* a:b and c are another key than a and b:c, and NULL than '' */
    for (size_t i = 0; i < p->key_n; i++) {
        buf_text(&sql, i ? ", CAST(CASE WHEN new.cupel_is_ THEN new." : "CAST(CASE WHEN new.cupel_is_ THEN new.");
        sql_name(&sql, p->key[i]);
        buf_text(&sql, " ELSE old.");
        sql_name(&sql, p->key[i]);
        buf_text(&sql, " END AS VARCHAR)");
    }
    buf_text(&sql, ") AS VARCHAR), row_number() OVER ()), 'event', ");
    event_object(&sql, run);
    buf_printf(&sql,
        "), %lld, now() FROM (SELECT true AS cupel_is_, * FROM temp._del) AS old FULL JOIN (SELECT true AS cupel_is_, * FROM temp._ins) AS new ON ",
        (long long)run->version);
    for (size_t i = 0; i < p->key_n; i++) {
        buf_text(&sql, i ? " AND old." : "old.");
        sql_name(&sql, p->key[i]);
        buf_text(&sql, " IS NOT DISTINCT FROM new.");
        sql_name(&sql, p->key[i]);
    }
    if (p->emit.when) buf_printf(&sql, " WHERE (%s)", p->emit.when);
    return run_buf(run, &sql, NULL, err);
}

/* ---- apply ---- */

static enum status count_changes(struct run *run, struct err *err) {
    json_t *rows;
    enum status st = run_sql(run, "SELECT (SELECT count(*) FROM temp._ins) AS i, (SELECT count(*) FROM temp._del) AS d", &rows, err);
    if (st != OK) return st;
    run->result->inserted += cell_int(json_array_get(rows, 0), "i");
    run->result->deleted += cell_int(json_array_get(rows, 0), "d");
    json_decref(rows);
    return OK;
}

/* Between which times rows changed, for readers of cupel.changes. */
static enum status note_buckets(struct run *run, struct err *err) {
    const char *type = run->m->pub.time ? time_type(run->m) : NULL;
    if (!type || (strcmp(type, "DATE") != 0 && strncmp(type, "TIMESTAMP", 9) != 0)) return OK;
    BUF_SCOPE(sql);
    BUF_SCOPE(time);
    sql_name(&time, run->m->pub.time);
    buf_printf(&sql,
        "SELECT epoch_us(CAST(min(%s) AS TIMESTAMPTZ)) AS a, epoch_us(CAST(max(%s) AS TIMESTAMPTZ)) AS b, count(%s) AS n FROM (SELECT %s FROM temp._ins UNION "
        "ALL SELECT %s FROM temp._del)",
        buf_cstr(&time), buf_cstr(&time), buf_cstr(&time), buf_cstr(&time), buf_cstr(&time));
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    run->bucket_known = cell_int(json_array_get(rows, 0), "n") > 0;
    run->bucket_min_us = cell_int(json_array_get(rows, 0), "a");
    run->bucket_max_us = cell_int(json_array_get(rows, 0), "b");
    json_decref(rows);
    return OK;
}

/* Images that every loaded reader has passed go. Models that are not loaded now and have not passed them lose their position: should they come back, they
 * read all. */
static void forget_images(struct buf *sql, const struct run *run, int64_t slowest) {
    buf_printf(sql, "DELETE FROM %s WHERE _version <= %lld; DELETE FROM warehouse.cupel.positions WHERE input = ", run->m->old_table, (long long)slowest);
    sql_text(sql, run->m->pub.full);
    buf_text(sql, " AND model NOT IN (''");
    const struct model_set *set = flow_set(run->flow); /* as state_slowest_reader looks at it */
    for (size_t i = 0; i < set->n; i++) {
        buf_text(sql, ", ");
        sql_text(sql, set->models[i]->pub.full);
    }
    buf_text(sql, "); ");
}

enum status diff_apply(struct run *run, struct err *err) {
    must(run && run->version);
    int64_t inserted = run->result->inserted, deleted = run->result->deleted;
    enum status st = count_changes(run, err);
    inserted = run->result->inserted - inserted;
    deleted = run->result->deleted - deleted;
    if (st != OK || inserted + deleted == 0) return st;
    bool in_place = run->target == run->m->table; /* not while it is rebuilt beside it */
    BUF_SCOPE(columns);
    columns_of(&columns, run, "");
    BUF_SCOPE(sql);
    if (deleted) {
        int64_t slowest = state_slowest_reader(run->flow, run->m);
        if (slowest != INT64_MAX && in_place)
            buf_printf(&sql, "INSERT INTO %s SELECT %s, %lld FROM temp._del; ", run->m->old_table, buf_cstr(&columns), (long long)run->version);
        if (in_place) forget_images(&sql, run, slowest);
        buf_printf(&sql, "DELETE FROM %s WHERE rowid IN (SELECT cupel_row_ FROM temp._del); ", run->target);
    }
    if (inserted) buf_printf(&sql, "INSERT INTO %s SELECT %s, %lld FROM temp._ins", run->target, buf_cstr(&columns), (long long)run->version);
    st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = note_buckets(run, err);
    if (st == OK && run->m->pub.emit.stream && in_place) st = emit_events(run, err);
    return st;
}

/* ---- a whole table against whole rows ---- */

/* What may be different in all rows: the event, the key, or the key that rows are restated by. false: nothing is. */
static bool put_identity(struct buf *out, const struct run *run) {
    const struct flow_model *p = &run->m->pub;
    if (model_column(run->m, "_event_id")) {
        buf_text(out, "_event_id");
        return true;
    }
    if (!p->key_n && !p->by_n) return false;
    buf_text(out, "row(");
    sql_names(out, "", p->key_n ? p->key : p->by, p->key_n ? p->key_n : p->by_n);
    buf_char(out, ')');
    return true;
}

/* Whether there are as many of the rows as the table has, and no two of them are alike. */
static enum status may_be_same(struct run *run, const char *rows, bool *may, struct err *err) {
    BUF_SCOPE(identity);
    *may = put_identity(&identity, run);
    if (!*may) return OK;
    BUF_SCOPE(sql);
    buf_printf(&sql, "SELECT CAST(count(*) = count(DISTINCT %s) AND count(*) = (SELECT count(*) FROM %s) AS INTEGER) AS n FROM %s", buf_cstr(&identity),
        run->target, rows);
    int64_t n = 0;
    enum status st = run_count(run, buf_cstr(&sql), &n, err);
    *may = n == 1;
    return st;
}

/* Whether the table has exactly these rows: each has its like in the table, no two have the same one, and the table has no more. It costs half of what
 * finding differences does. */
static enum status is_same(struct run *run, const char *rows, bool *same, struct err *err) {
    enum status st = may_be_same(run, rows, same, err);
    if (st != OK || !*same) return st;
    BUF_SCOPE(sql);
    buf_printf(&sql, "SELECT count(*) AS n FROM %s AS n_ WHERE NOT EXISTS (SELECT 1 FROM %s AS t_ WHERE true", rows, run->target);
    for (size_t i = 0; i < run->m->pub.columns_n; i++) {
        BUF_SCOPE(name);
        sql_name(&name, run->m->pub.columns[i].name);
        buf_printf(&sql, " AND t_.%s IS NOT DISTINCT FROM n_.%s", buf_cstr(&name), buf_cstr(&name));
    }
    buf_char(&sql, ')');
    int64_t n = 0;
    st = run_count(run, buf_cstr(&sql), &n, err);
    *same = n == 0;
    return st;
}

enum status diff_whole(struct run *run, const char *rows, struct err *err) {
    must(run && rows);
    bool same = false;
    enum status st = run->restate_all ? is_same(run, rows, &same, err) : OK;
    if (st != OK || same) return st;
    st = diff_make(run, rows, "true", err);
    return st == OK ? diff_apply(run, err) : st;
}
