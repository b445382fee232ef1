/* Accounts that do not believe the runs: the events of a stream model's bronze inputs are followed by their ids into table and quarantine.
 *
 * Exact where nothing may take an event's place: no key, or the event is the key, one row for one. Elsewhere an event may be superseded by another of its key,
 * which only a recompute can tell (`cupel flow run --verify`); what can be told is that no row is of an event that never came, and none is in table and
 * quarantine both. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

static bool is_bronze(const struct run_input *in) { return in->in->kind == FLOW_INPUT_EVENTS || in->in->kind == FLOW_INPUT_LANDING; }

static bool can_follow(const struct run *run) {
    const struct flow_column *id = model_column(run->m, "_event_id");
    if (run->m->pub.kind != FLOW_STREAM || !run->exists || run->swap || !id || strcmp(id->type, "UUID") != 0) return false;
    size_t driving = 0;
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (run->inputs[i].in->lookup) continue;
        if (!is_bronze(&run->inputs[i]) || !run->inputs[i].stored) return false; /* events of models: those are counted where they came in */
        driving++;
    }
    return driving > 0;
}

static bool is_exact(const struct flow_model *p) {
    bool by_event = p->key_n == 0 || (p->key_n == 1 && strcmp(p->key[0], "_event_id") == 0);
    return by_event && !p->expands && !p->deletes && !p->together;
}

/* SELECT of ids from the driving inputs, of rows where `where` holds. */
static void put_ids(struct buf *out, const struct run *run, const char *where) {
    bool any = false;
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup) continue;
        buf_text(out, any ? " UNION ALL SELECT _event_id AS id FROM " : "SELECT _event_id AS id FROM ");
        sql_table(out, in->in->schema, in->in->name);
        buf_printf(out, " WHERE (%s)", where);
        any = true;
    }
}

/* Retention may have taken what is before the first event that bronze has; of an input without any, nothing can be told. */
static void put_begin(struct buf *out, const struct run *run) {
    buf_text(out, "(SELECT CASE WHEN count(*) = count(m) THEN max(m) END FROM (SELECT '00000000-0000-0000-0000-000000000000'::UUID AS m");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->in->lookup) continue;
        buf_text(out, " UNION ALL SELECT min(_event_id) FROM ");
        sql_table(out, in->in->schema, in->in->name);
    }
    buf_text(out, "))");
}

static enum status has_quarantine(struct run *run, bool *out, struct err *err) {
    int64_t n = 0;
    BUF_SCOPE(sql);
    ARENA_SCOPE(arena);
    buf_text(&sql, "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'warehouse' AND schema_name = 'quarantine' AND table_name = ");
    sql_text(&sql, arena_printf(arena, "%s__%s", run->m->pub.schema, run->m->pub.name));
    enum status st = run_count(run, buf_cstr(&sql), &n, err);
    *out = n > 0;
    return st;
}

static enum status count(struct run *run, struct flow_account *a, struct err *err) {
    bool quarantine = false;
    enum status st = has_quarantine(run, &quarantine, err);
    if (st != OK) return st;
    BUF_SCOPE(sql);
    buf_printf(&sql, "WITH t_ AS (SELECT _event_id AS id, count(*) AS n FROM %s GROUP BY ALL), q_ AS (SELECT DISTINCT _event_id AS id FROM ", run->m->table);
    buf_text(&sql, quarantine ? run->m->quarantine_table : "(SELECT NULL::UUID AS _event_id)");
    buf_text(&sql, " WHERE _event_id IS NOT NULL), d_ AS (SELECT DISTINCT id FROM (");
    put_ids(&sql, run, run->m->drops_is_sql && run->m->pub.drops ? run->m->pub.drops : "false");
    buf_text(&sql, ")), b_ AS (SELECT id FROM (");
    put_ids(&sql, run, "true");
    buf_text(&sql,
        ")), f_ AS (SELECT b_.id, t_.id IS NOT NULL AS kept, q_.id IS NOT NULL AS bad, d_.id IS NOT NULL AS out FROM b_ LEFT JOIN t_ ON t_.id = b_.id "
        "LEFT JOIN q_ ON q_.id = b_.id LEFT JOIN d_ ON d_.id = b_.id) "
        "SELECT count(*) AS came, count(*) FILTER (kept) AS kept, count(*) FILTER (bad AND NOT kept) AS quarantined, "
        "count(*) FILTER (out AND NOT kept AND NOT bad) AS dropped, count(*) FILTER (NOT kept AND NOT bad AND NOT out) AS rest, "
        "count(*) FILTER (kept AND bad) AS both_, (SELECT coalesce(sum(n - 1), 0)::BIGINT FROM t_) AS twice, "
        "(SELECT count(*) FROM t_ ANTI JOIN b_ ON t_.id = b_.id WHERE t_.id >= ");
    put_begin(&sql, run);
    buf_text(&sql, ") AS unknown FROM f_");
    json_t *rows;
    st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    const json_t *row = json_array_get(rows, 0);
    *a = (struct flow_account){.came = cell_int(row, "came"),
        .kept = cell_int(row, "kept"),
        .quarantined = cell_int(row, "quarantined"),
        .dropped = cell_int(row, "dropped"),
        .rest = cell_int(row, "rest"),
        .both = cell_int(row, "both_"),
        .twice = cell_int(row, "twice"),
        .unknown = cell_int(row, "unknown")};
    json_decref(rows);
    return OK;
}

/* As verify looks: bronze up to the model's positions. No run of the model is under way. */
enum status run_account(struct run *run, struct err *err) {
    must(run && run->options->account);
    if (!can_follow(run)) return OK;
    struct position *ends = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    for (size_t i = 0; i < run->inputs_n; i++) {
        ends[i] = run->inputs[i].from;
        run->inputs[i].known = false;
    }
    struct flow_account *a = arena_new_one(run->arena, struct flow_account);
    enum status st = run_session(run, false, ends, err);
    if (st == OK) st = run_sql(run, "BEGIN", NULL, err);
    if (st == OK) st = run_views(run, SHOW_ALL, NULL, err);
    if (st == OK) st = count(run, a, err);
    if (st == OK) st = run_sql(run, "COMMIT", NULL, err);
    if (st != OK) return st;
    const struct flow_model *p = &run->m->pub;
    a->exact = is_exact(p);
    bool left_out = p->drops && !run->m->drops_is_sql; /* a sentence: how many, nobody can tell */
    a->good = !a->unknown && (p->expands || !a->both) && (!a->exact || (!a->twice && (left_out || !a->rest)));
    run->result->account = a;
    return OK;
}
