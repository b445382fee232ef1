/* Whole recomputes: full models, references, views, and every rebuild but those of stream models. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

/* The result as a SELECT whose rows are the table's columns, in order. */
static void put_select(struct buf *out, const struct run *run) {
    buf_text(out, "SELECT ");
    sql_columns(out, "", run->m->pub.columns, run->m->pub.columns_n);
    ARENA_SCOPE(arena);
    buf_printf(out, " FROM (\n%s\n)", run->m->pub.kind == FLOW_REFERENCE ? reference_sql(arena, run->m) : run->m->pub.sql);
}

/* Merge models read pieces: here, of everything. */
static enum status make_pieces(struct run *run, struct err *err) {
    if (!run->m->pub.merge) return OK;
    BUF_SCOPE(sql);
    buf_printf(&sql, "CREATE SCHEMA IF NOT EXISTS this; CREATE OR REPLACE VIEW this.pieces AS\n%s", run->m->pub.rows);
    return run_buf(run, &sql, NULL, err);
}

/* Reading: the snapshot's versions, views over everything, and (when the table is compared) the result. */
static enum status read_whole(struct run *run, struct err *err) {
    enum status st = run_session(run, false, NULL, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_read_versions(run, err);
    if (st == OK) st = run_bronze_ends(run, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    if (st == OK) st = make_pieces(run, err);
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE OR REPLACE TEMP TABLE _new AS ");
    put_select(&sql, run);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->rows_out, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    return st == OK ? run_expect_rows(run, "temp._new", err) : st;
}

/* The old table goes, the new one takes its name, in one transaction. */
enum status table_replace(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s; DROP TABLE IF EXISTS %s", run->m->table, run->m->old_table, run->m->gone_table);
    enum status st = run_buf(run, &sql, NULL, err); /* also where none is known of: rows must never be added to those of a table nobody knew */
    return st == OK ? table_ensure(run, err) : st;
}

static enum status write_swap(struct run *run, struct err *err) {
    enum status st = table_replace(run, err);
    BUF_SCOPE(sql);
    buf_printf(&sql, "INSERT INTO %s SELECT ", run->m->table);
    sql_columns(&sql, "", run->m->pub.columns, run->m->pub.columns_n);
    buf_printf(&sql, ", %lld FROM temp._new", (long long)run->version);
    if (st == OK) st = run_buf(run, &sql, NULL, err);
    if (st == OK) st = run_count(run, "SELECT count(*) AS n FROM temp._new", &run->result->inserted, err);
    return st;
}

static enum status write_whole(struct run *run, struct err *err) {
    run_take_version(run);
    enum status st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_expect_quarantine(run, "temp._new", err);
    if (st == OK && run->swap && !run->m->pub.emit.stream) {
        st = write_swap(run, err);
    } else if (st == OK) {
        st = run->swap ? table_replace(run, err) : table_ensure(run, err);
        if (st == OK) st = diff_whole(run, "temp._new", err);
    }
    bool changed = run->swap || !run->exists || run->result->inserted || run->result->deleted;
    if (st == OK) st = run_expect_table(run, "temp._new", err);
    return st == OK ? run_commit(run, changed, err) : st;
}

enum status run_whole(struct run *run, struct err *err) {
    must(run);
    enum status st = read_whole(run, err);
    if (st == OK && !run->options->dry_run) st = write_whole(run, err);
    return st;
}

/* What is there when the model had another kind before; its lake copy goes with the outbox. */
static enum status drop_table_of_view(struct run *run, struct err *err) {
    int64_t there = 0;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'warehouse' AND schema_name = ");
    sql_text(&sql, run->m->pub.schema);
    buf_text(&sql, " AND table_name = ");
    sql_text(&sql, run->m->pub.name);
    enum status st = run_count(run, buf_cstr(&sql), &there, err);
    if (st != OK || !there) return st;
    buf_clear(&sql);
    const char *const tables[] = {run->m->table, run->m->old_table, run->m->gone_table, run->m->quarantine_table};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) buf_printf(&sql, "DROP TABLE IF EXISTS %s; ", tables[i]);
    buf_printf(&sql, "INSERT INTO warehouse.cupel.outbox VALUES (%lld, 'lake', ", (long long)run->version * 1000000);
    sql_text(&sql, run->m->pub.full);
    buf_printf(&sql, ", '{}', %lld, now())", (long long)run->version);
    return run_buf(run, &sql, NULL, err);
}

/* A view has no table: its text is noted, for readers. */
enum status run_view(struct run *run, struct err *err) {
    must(run);
    enum status st = run_session(run, false, NULL, err);
    run_take_version(run);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = drop_table_of_view(run, err);
    return st == OK ? run_commit(run, true, err) : st;
}
