/* Tables whose models are gone: noted in the warehouse when models are loaded, so that whoever reads such a table is told. */
#include "base/assert.h"
#include "flow/run_priv.h"

static void put_loaded(struct buf *out, const struct model_set *set) {
    buf_text(out, "(''");
    for (size_t i = 0; i < set->n; i++) {
        buf_text(out, ", ");
        sql_text(out, set->models[i]->pub.full);
    }
    buf_char(out, ')');
}

/* What models made: tables of their schemas, and views, which stand only in the list of models. */
#define MADE \
    "(SELECT schema_name || '.' || table_name AS name FROM duckdb_tables() WHERE database_name = 'warehouse' AND schema_name NOT IN ('main', 'cupel', " \
    "'cupel_old', 'quarantine') AND NOT ends_with(table_name, '__next') UNION SELECT model FROM warehouse.cupel.models WHERE kind = 'view')"

enum status flow_note_absent(struct flow *flow, struct err *err) {
    must(flow);
    const struct model_set *set = flow_set(flow);
    if (!flow->options.engine || !set->n) return OK; /* without models the engine need not start */
    BUF_SCOPE(loaded);
    put_loaded(&loaded, set);
    BUF_SCOPE(sql);
    const char *names = buf_cstr(&loaded);
    buf_printf(&sql,
        "BEGIN; DELETE FROM warehouse.cupel.without_model WHERE name IN %s OR name NOT IN " MADE
        "; INSERT INTO warehouse.cupel.without_model SELECT name, now() FROM " MADE
        " WHERE name NOT IN %s AND name NOT IN (SELECT name FROM warehouse.cupel.without_model); COMMIT",
        names, names);
    struct engine_work *work = NULL;
    enum status st = engine_work_begin(flow->options.engine, NULL, NULL, 0, 0, &work, err);
    if (st == OK) st = work_rows(work, buf_cstr(&sql), NULL, err);
    if (work) engine_work_end(&work);
    return st;
}
