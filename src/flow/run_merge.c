/* Merge models: the SELECT reads this.pieces. When inputs only gained rows, pieces are those rows and what the table has of their keys; a second's update
 * of a busy day does not read the day again. When inputs lost rows too, the touched keys are made again from all rows of the inputs. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

static void put_piece_columns(struct buf *out, const struct run *run) { sql_columns(out, "", run->m->piece_columns, run->m->piece_columns_n); }

/* Empty tables of the pieces' types first: the view over them keeps its types whatever they hold. */
static enum status make_pieces(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    for (int i = 0; i < 2; i++) {
        buf_printf(&sql, "CREATE OR REPLACE TEMP TABLE %s (", i ? "_pieces" : "_rows");
        for (size_t k = 0; k < run->m->piece_columns_n; k++) {
            buf_text(&sql, k ? ", " : "");
            sql_name(&sql, run->m->piece_columns[k].name);
            buf_printf(&sql, " %s", run->m->piece_columns[k].type);
        }
        buf_text(&sql, "); ");
    }
    buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS this; CREATE OR REPLACE VIEW this.pieces AS SELECT * FROM temp._rows UNION ALL SELECT * FROM temp._pieces");
    return run_buf(run, &sql, NULL, err);
}

static enum status fill_rows(struct run *run, const char *where, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "INSERT INTO temp._rows SELECT ");
    put_piece_columns(&sql, run);
    buf_printf(&sql, " FROM (\n%s\n) AS o_ WHERE %s", run->m->pub.rows, where);
    return run_buf(run, &sql, NULL, err);
}

static enum status make_keys(struct run *run, int64_t *keys, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _keys AS SELECT DISTINCT ");
    sql_names(&sql, "", run->m->pub.by, run->m->pub.by_n);
    buf_text(&sql, " FROM temp._rows");
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? run_count_keys(run, keys, err) : st;
}

/* Which rows of the table the new pieces can meet: those of their keys, and with within_time not the old ones. A constant, so that whole row groups are
 * left out. */
static enum status meets(struct run *run, struct buf *where, struct err *err) {
    sql_has_key(where, "temp._keys", "t_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
    const struct flow_column *time = run->m->pub.within_time_ms ? model_column(run->m, run->m->pub.time) : NULL;
    if (!time) return OK;
    BUF_SCOPE(name);
    BUF_SCOPE(sql);
    sql_name(&name, time->name);
    const char *c = buf_cstr(&name);
    buf_printf(&sql,
        "SELECT epoch_us(min(CAST(%s AS TIMESTAMPTZ))) AS a, count(*) - count(%s) + (SELECT count(*) FROM %s WHERE %s IS NULL) AS nulls, count(*) AS n FROM "
        "temp._rows",
        c, c, run->m->table, c);
    json_t *rows;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    const json_t *row = json_array_get(rows, 0);
    if (cell_int(row, "n") && !cell_int(row, "nulls")) {
        buf_printf(
            where, " AND t_.%s >= CAST(make_timestamptz(%lld) AS %s)", c, (long long)(cell_int(row, "a") - run->m->pub.within_time_ms * 1000), time->type);
    }
    json_decref(rows);
    return OK;
}

static enum status fill_pieces(struct run *run, const char *where, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "INSERT INTO temp._pieces SELECT ");
    put_piece_columns(&sql, run);
    buf_printf(&sql, " FROM %s AS t_ WHERE %s", run->m->table, where);
    return run_buf(run, &sql, NULL, err);
}

static enum status compute(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _new AS SELECT ");
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, " FROM (\n%s\n)", run->m->pub.sql);
    enum status st = run_buf(run, &sql, NULL, err);
    return st == OK ? run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->rows_out, err) : st;
}

/* Only new rows. */
static enum status read_gained(struct run *run, int64_t *keys, struct buf *where, struct err *err) {
    enum status st = run_views(run, SHOW_DELTA, NULL, err);
    if (st == OK) st = make_pieces(run, err);
    if (st == OK) st = fill_rows(run, "true", err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._rows", &run->result->rows_in, err);
    if (st == OK) st = make_keys(run, keys, err);
    if (st != OK || !*keys) return st;
    st = meets(run, where, err);
    if (st == OK) st = fill_pieces(run, buf_cstr(where), err);
    return st == OK ? compute(run, err) : st;
}

/* Old rows went too: their keys, and those of the new ones, from everything. */
static enum status read_touched(struct run *run, int64_t *keys, struct buf *where, struct err *err) {
    enum status st = run_views(run, SHOW_DELTA_AND_OLD, NULL, err);
    if (st == OK) st = make_pieces(run, err);
    if (st == OK) st = fill_rows(run, "true", err);
    if (st == OK) st = make_keys(run, keys, err);
    if (st == OK) st = run_sql(run, "DELETE FROM temp._rows", NULL, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    sql_has_key(where, "temp._keys", "o_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
    if (st == OK) st = fill_rows(run, buf_cstr(where), err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._rows", &run->result->rows_in, err);
    buf_clear(where);
    sql_has_key(where, "temp._keys", "t_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
    return st == OK ? compute(run, err) : st;
}

enum status run_merge(struct run *run, struct err *err) {
    must(run && run->m->pub.merge);
    bool old = false;
    int64_t keys = 0;
    BUF_SCOPE(where);
    enum status st = run_session(run, true, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_read_versions(run, err);
    if (st == OK) st = run_bronze_ends(run, err);
    if (st == OK) st = run_has_old(run, &old, err);
    for (size_t i = 0; i < run->inputs_n && st == OK && old; i++) {
        if (!run->inputs[i].model && !run->inputs[i].in->lookup) return run_become_whole(run, "an input lost rows, and others are bronze", err);
    }
    if (st == OK) st = old ? read_touched(run, &keys, &where, err) : read_gained(run, &keys, &where, err);
    if (st != OK) return st;
    if (old) run->result->strategy = "merge by keys";
    return keys ? run_write_restated(run, buf_cstr(&where), err) : run_write_nothing(run, err);
}
