/* A run's session: the pin, the bronze views, the shadow views of models, and the SQL parts that say which rows they show. */
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "flow/run_priv.h"

#define LOG_BYTES_MAX (256u << 10) /* of a run's SQL in the history */

/* ---- statements ---- */

enum status run_sql(struct run *run, const char *sql, json_t **rows, struct err *err) {
    must(run && run->work && sql);
    if (run->options->cancelled && run->options->cancelled(run->options->context)) return err_set(err, E_CANCELLED, "the run was cancelled");
    if (run->log.n + strlen(sql) < LOG_BYTES_MAX) {
        buf_text(&run->log, sql);
        buf_text(&run->log, ";\n");
    }
    return cancellable_rows(run->flow->canceller, run->options, run->work, sql, rows, err);
}

enum status run_buf(struct run *run, struct buf *sql, json_t **rows, struct err *err) {
    enum status st = run_sql(run, buf_cstr(sql), rows, err);
    buf_clear(sql);
    return st;
}

enum status run_count(struct run *run, const char *sql, int64_t *n, struct err *err) {
    json_t *rows;
    enum status st = run_sql(run, sql, &rows, err);
    if (st != OK) return st;
    *n = cell_int(json_array_get(rows, 0), "n");
    json_decref(rows);
    return OK;
}

/* ---- columns and buckets ---- */

const struct flow_column *model_column(const struct model *m, const char *name) {
    for (size_t i = 0; name && i < m->pub.columns_n; i++) {
        if (str_ieq(str_of(m->pub.columns[i].name), str_of(name))) return &m->pub.columns[i];
    }
    return NULL;
}

const char *time_type(const struct model *m) {
    const struct flow_column *column = model_column(m, m->pub.time);
    return column ? column->type : NULL;
}

static bool is_instant(const char *type) { return strcmp(type, "TIMESTAMP WITH TIME ZONE") == 0; }

static const char *unit_name(const struct run *run) { return run->m->pub.bucket == FLOW_BUCKET_HOUR ? "hour" : "day"; }

void sql_label(struct buf *out, const struct run *run, const char *column, const char *type) {
    BUF_SCOPE(name);
    sql_name(&name, column);
    buf_printf(out, "epoch_us(CAST(date_trunc('%s', ", unit_name(run));
    if (is_instant(type)) {
        buf_printf(out, "timezone('%s', %s)", run->flow->options.timezone, buf_cstr(&name));
    } else {
        buf_printf(out, "CAST(%s AS TIMESTAMP)", buf_cstr(&name));
    }
    buf_text(out, ") AS TIMESTAMP))");
}

void sql_label_constant(struct buf *out, const struct run *run, int64_t label_us, const char *type) {
    struct civil c = time_civil_ms(label_us / 1000);
    char text[64];
    bool date = strcmp(type, "DATE") == 0 && c.hour == 0;
    if (c.year < 1 || c.year > 9999) { /* one event may say anything, and SQL's texts end here */
        snprintf(text, sizeof text, date ? "CAST(make_timestamp(%lld) AS DATE)" : "make_timestamp(%lld)", (long long)label_us);
    } else if (date) {
        snprintf(text, sizeof text, "DATE '%04d-%02d-%02d'", c.year, c.month, c.day);
    } else {
        snprintf(text, sizeof text, "TIMESTAMP '%04d-%02d-%02d %02d:%02d:%02d'", c.year, c.month, c.day, c.hour, c.minute, c.second);
    }
    buf_printf(out, is_instant(type) ? "timezone('%s', %s)" : "%.0s%s", run->flow->options.timezone, text);
}

void sql_interval(struct buf *out, const struct run *run, const char *column, const char *type, struct interval interval) {
    bool any = false;
    if (interval.from != INT64_MIN) {
        sql_name(out, column);
        buf_text(out, " >= ");
        sql_label_constant(out, run, interval.from, type);
        any = true;
    }
    if (interval.to != INT64_MAX) {
        buf_text(out, any ? " AND " : "");
        sql_name(out, column);
        buf_text(out, " < ");
        sql_label_constant(out, run, interval.to, type);
        any = true;
    }
    if (any) return;
    sql_name(out, column);
    buf_text(out, " IS NOT NULL"); /* rows without a time belong to no bucket */
}

/* DuckDB 1.5 leaves no row groups out for a semi-join; it does for a comparison with one value, also when that comes from a subquery. */
static void put_bounds(struct buf *out, const char *table, const char *alias, const char *key) {
    BUF_SCOPE(name);
    sql_name(&name, key);
    buf_printf(out, "%s.%s >= (SELECT min(%s) FROM %s) AND %s.%s <= (SELECT max(%s) FROM %s) AND ", alias, buf_cstr(&name), buf_cstr(&name), table, alias,
        buf_cstr(&name), buf_cstr(&name), table);
}

void sql_has_key(struct buf *out, const char *table, const char *alias, const char *const *keys, size_t n, bool nulls) {
    must(n > 0);
    for (size_t i = 0; i < n && !nulls; i++) put_bounds(out, table, alias, keys[i]);
    buf_printf(out, "EXISTS (SELECT 1 FROM %s AS k_ WHERE ", table);
    for (size_t i = 0; i < n; i++) {
        buf_text(out, i ? " AND k_." : "k_.");
        sql_name(out, keys[i]);
        buf_printf(out, nulls ? " IS NOT DISTINCT FROM %s." : " = %s.", alias);
        sql_name(out, keys[i]);
    }
    buf_char(out, ')');
}

void sql_rows_since(struct buf *out, const struct run_input *in, bool old) {
    must(in->model);
    buf_printf(out, "FROM %s WHERE _version > %lld", old ? in->model->old_table : in->model->table, (long long)in->from.version);
}

/* ---- the session ---- */

static const struct engine_table *find_table(const struct engine_view *view, const char *schema, const char *name) {
    for (size_t i = 0; view && i < view->tables_n; i++) {
        if (strcmp(view->tables[i].schema, schema) == 0 && strcmp(view->tables[i].name, name) == 0) return &view->tables[i];
    }
    return NULL;
}

/* Watermarks are read before the pin: files that are taken in between lie beyond them, and are not seen yet. */
static enum status read_watermarks(struct run *run, uint64_t *before, struct err *err) {
    struct lake_pin *pin;
    enum status st = lake_pin(run->flow->options.lake, &pin, err);
    if (st != OK) return st;
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        if (run->inputs[i].in->kind != FLOW_INPUT_LANDING) continue;
        const struct engine_table *table = find_table(lake_pin_view(pin), run->inputs[i].in->schema, run->inputs[i].in->name);
        if (table) st = landing_watermark(run->flow, table, &before[i], err);
    }
    lake_unpin(&pin);
    return st;
}

static bool is_bronze(const struct run_input *in) { return in->in->kind == FLOW_INPUT_EVENTS || in->in->kind == FLOW_INPUT_LANDING; }

static enum status pin_bronze(struct run *run, struct err *err) {
    uint64_t *before = arena_new_array(run->arena, uint64_t, run->inputs_n + 1);
    bool any = false;
    for (size_t i = 0; i < run->inputs_n; i++) any = any || is_bronze(&run->inputs[i]);
    if (!any || run->pin) return OK; /* waves go on with the pin they began with */
    if (!run->flow->options.lake) return err_set(err, E_UNAVAILABLE, "there is no lake: bronze tables cannot be read");
    enum status st = read_watermarks(run, before, err);
    if (st == OK) st = lake_pin(run->flow->options.lake, &run->pin, err);
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        struct run_input *in = &run->inputs[i];
        if (!is_bronze(in)) continue;
        in->before = before[i];
        in->table = find_table(lake_pin_view(run->pin), in->in->schema, in->in->name);
        if (in->table) in->seen_version = in->table->version;
        if (!in->table) st = err_set(err, E_NOT_FOUND, "there is no table %s", in->in->full);
    }
    return st;
}

static struct engine_work_table work_table(const struct run_input *in, bool delta, const struct position *ends) {
    struct engine_work_table t = {.schema = in->in->schema, .name = in->in->name, .before = in->before};
    if (delta && !in->in->lookup && in->known) {
        t.delta = true;
        t.offsets = in->from.offsets;
        t.offsets_n = in->from.offsets_n;
        t.received_us = in->from.received_us;
    }
    if (ends && in->in->kind == FLOW_INPUT_EVENTS) {
        t.ends = ends->offsets;
        t.ends_n = ends->offsets_n;
    } else if (ends && ends->offsets_n && (!t.before || ends->offsets[0] < t.before)) {
        t.before = ends->offsets[0];
    }
    return t;
}

enum status run_session(struct run *run, bool delta, const struct position *ends, struct err *err) {
    must(run && (!run->work || ends));
    enum status st = pin_bronze(run, err);
    if (st != OK) return st;
    ARENA_SCOPE(arena);
    struct engine_work_table *tables = arena_new_array(arena, struct engine_work_table, run->inputs_n + 1);
    size_t n = 0;
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (is_bronze(&run->inputs[i])) tables[n++] = work_table(&run->inputs[i], delta, ends ? &ends[i] : NULL);
    }
    st = engine_work_begin(run->flow->options.engine, run->pin ? lake_pin_view(run->pin) : NULL, tables, n, 0, &run->work, err);
    if (st != OK) return st;
    return run_sql(run,
        arena_printf(arena, "SET TimeZone = '%s'; SET VARIABLE cupel_timezone = '%s'", run->flow->options.timezone, run->flow->options.timezone), NULL, err);
}

/* Rows of each partition that the log has beyond the position; 0 in all: nothing that could be told. */
static uint64_t waiting(struct run *run, const struct run_input *in, struct position *ends) {
    struct stream_state state;
    uint64_t n = 0;
    if (in->in->kind != FLOW_INPUT_EVENTS || in->in->lookup || !in->known || !in->table || !run->flow->options.log) return 0;
    if (stream_state(run->flow->options.log, run->arena, in->table->stream, &state, NULL) != OK) return 0;
    *ends = (struct position){.offsets = arena_new_array(run->arena, uint64_t, state.partitions_n + 1u), .offsets_n = state.partitions_n};
    for (uint16_t p = 0; p < state.partitions_n; p++) {
        uint64_t from = p < in->from.offsets_n ? in->from.offsets[p] : 0, end = state.partitions[p].end_offset;
        ends->offsets[p] = end > from ? end : from;
        n += ends->offsets[p] - from;
    }
    return n;
}

/* A backlog is taken in waves, so that a run needs no more memory after a long stop than a rebuild does. */
enum status run_delta_ends(struct run *run, const struct position **out, bool *more, struct err *err) {
    struct position *ends = arena_new_array(run->arena, struct position, run->inputs_n + 1);
    uint64_t n = 0, wave = run->flow->wave_rows;
    *out = NULL;
    *more = false;
    enum status st = pin_bronze(run, err);
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) n += waiting(run, &run->inputs[i], &ends[i]);
    if (st != OK || n <= wave) return st;
    for (size_t i = 0; i < run->inputs_n; i++) {
        for (uint16_t p = 0; p < ends[i].offsets_n; p++) {
            uint64_t from = p < run->inputs[i].from.offsets_n ? run->inputs[i].from.offsets[p] : 0, here = ends[i].offsets[p] - from;
            uint64_t share = (uint64_t)((double)here / (double)n * (double)wave) + 1;
            ends[i].offsets[p] = from + (share < here ? share : here);
        }
    }
    *out = ends;
    *more = true;
    return OK;
}

void run_session_end(struct run *run) {
    if (run->work) engine_work_end(&run->work);
    if (run->pin) lake_unpin(&run->pin);
}

/* Bronze tables show only rows where a condition holds, under the same names. */
enum status run_narrow_bronze(struct run *run, const char *where, struct err *err) {
    enum status st = OK;
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        const struct flow_input *in = run->inputs[i].in;
        if (!is_bronze(&run->inputs[i]) || in->lookup) continue;
        BUF_SCOPE(sql);
        BUF_SCOPE(name);
        sql_table(&name, in->schema, in->name);
        buf_printf(&sql, "ALTER VIEW %s RENAME TO \"%s__all\"; CREATE VIEW %s AS SELECT * FROM \"%s\".\"%s__all\" WHERE %s", buf_cstr(&name), in->name,
            buf_cstr(&name), in->schema, in->name, where);
        st = run_buf(run, &sql, NULL, err);
    }
    return st;
}

/* ---- shadow views ---- */

static void select_visible(struct buf *out, const struct model *m) {
    buf_text(out, "SELECT ");
    bool any = false;
    for (size_t i = 0; i < m->pub.columns_n; i++) {
        if (m->pub.columns[i].hidden) continue;
        buf_text(out, any ? ", " : "");
        sql_name(out, m->pub.columns[i].name);
        any = true;
    }
}

static void view_body(struct buf *out, const struct run *run, const struct run_input *in, enum shown shown, const struct interval *interval) {
    const struct model *m = in->model;
    select_visible(out, m);
    if (in->in->lookup || shown == SHOW_ALL || (!in->known && shown != SHOW_INTERVAL && shown != SHOW_KEYS)) {
        buf_printf(out, " FROM %s", m->table);
        return;
    }
    switch (shown) {
    case SHOW_DELTA:
    case SHOW_DELTA_AND_OLD:
        buf_char(out, ' ');
        sql_rows_since(out, in, false);
        if (shown == SHOW_DELTA) return;
        buf_text(out, " UNION ALL ");
        select_visible(out, m);
        buf_char(out, ' ');
        sql_rows_since(out, in, true);
        return;
    case SHOW_KEYS:
        buf_printf(out, " FROM %s AS t_ WHERE ", m->table);
        sql_has_key(out, "temp._keys", "t_", run->m->pub.by, run->m->pub.by_n, run->keys_nulls);
        return;
    case SHOW_INTERVAL:
        buf_printf(out, " FROM %s WHERE ", m->table);
        sql_interval(out, run, m->pub.time, time_type(m), *interval);
        return;
    case SHOW_ALL: return;
    }
}

/* What of an input the buckets of `interval` need. With reads the upper end stays open: the SQL may carry forward, or look for the last day. */
static struct interval needed(const struct run *run, const struct run_input *in, struct interval interval) {
    const struct flow_model *p = &run->m->pub;
    bool reaches = false;
    for (size_t i = 0; i < run->inputs_n; i++) reaches = reaches || run->inputs[i].in->reads_ms || run->inputs[i].in->reads_until_next;
    struct interval out = interval;
    if (in->in->reads_until_next) {
        out.from = INT64_MIN;
    } else if (out.from != INT64_MIN) {
        out.from -= in->in->reads_ms * 1000;
    }
    if (reaches) {
        out.to = INT64_MAX;
    } else if (out.to != INT64_MAX) {
        out.to += p->lookback_ms * 1000;
    }
    return out;
}

static enum status make_view(struct run *run, const char *schema, const char *name, struct buf *body, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS ");
    sql_name(&sql, schema);
    buf_text(&sql, "; CREATE OR REPLACE VIEW ");
    sql_table(&sql, schema, name);
    buf_printf(&sql, " AS\n%s", buf_cstr(body));
    return run_buf(run, &sql, NULL, err);
}

/* Models of kind view that this one reads, over the shadows: their own order is the set's. */
static enum status make_view_models(struct run *run, struct err *err) {
    enum status st = OK;
    for (size_t i = 0; i < run->set->n && st == OK; i++) {
        const struct model *other = run->set->models[i];
        bool read = false;
        for (size_t k = 0; k < run->m->pub.inputs_n; k++) read = read || run->m->pub.inputs[k].model == &other->pub;
        if (!read || other->pub.kind != FLOW_VIEW) continue;
        BUF_SCOPE(body);
        buf_text(&body, other->pub.sql);
        st = make_view(run, other->pub.schema, other->pub.name, &body, err);
    }
    return st;
}

/* Tables that expectations look at and the SQL does not; those without a table are missing where they are looked at. */
static enum status make_more_views(struct run *run, struct err *err) {
    enum status st = OK;
    for (size_t i = 0; i < run->m->more_n && st == OK; i++) {
        const struct model *other = run->m->more[i];
        struct table_state t;
        bool input = false;
        for (size_t k = 0; k < run->m->pub.inputs_n; k++) input = input || run->m->pub.inputs[k].model == &other->pub;
        if (input || !state_table(run->flow, other->pub.full, &t)) continue;
        BUF_SCOPE(body);
        if (other->pub.kind == FLOW_VIEW) {
            buf_text(&body, other->pub.sql);
        } else {
            select_visible(&body, other);
            buf_printf(&body, " FROM %s", other->table);
        }
        st = make_view(run, other->pub.schema, other->pub.name, &body, err);
    }
    return st;
}

enum status run_views(struct run *run, enum shown driving, const struct interval *interval, struct err *err) {
    must(run && (driving != SHOW_INTERVAL || interval));
    enum status st = OK;
    for (size_t i = 0; i < run->inputs_n && st == OK; i++) {
        struct run_input *in = &run->inputs[i];
        if (!in->model) continue; /* bronze: the engine made it */
        if (run->views_made && (in->in->lookup || driving == run->views_shown) && driving != SHOW_INTERVAL) continue;
        struct interval its = interval ? needed(run, in, *interval) : (struct interval){0};
        BUF_SCOPE(body);
        view_body(&body, run, in, driving, &its);
        st = make_view(run, in->in->schema, in->in->name, &body, err);
    }
    if (st == OK && !run->views_made) st = make_view_models(run, err);
    if (st == OK && !run->views_made) st = make_more_views(run, err);
    run->views_made = true;
    run->views_shown = driving;
    return st;
}

/* ---- positions ---- */

enum status run_read_versions(struct run *run, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(
        &sql, "SELECT table_name, max(version) AS v, coalesce(max(version) FILTER (rebuilt), 0) AS r FROM warehouse.cupel.changes WHERE table_name IN (''");
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (!run->inputs[i].model) continue;
        buf_text(&sql, ", ");
        sql_text(&sql, run->inputs[i].in->full);
    }
    buf_text(&sql, ") GROUP BY table_name");
    json_t *rows, *row;
    enum status st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    size_t k;
    json_array_foreach(rows, k, row) {
        for (size_t i = 0; i < run->inputs_n; i++) {
            struct run_input *in = &run->inputs[i];
            const char *name = cell_text(row, "table_name");
            if (!name || strcmp(name, in->in->full) != 0) continue;
            in->to.version = cell_int(row, "v");
            if (in->known && !run->restate_all && cell_int(row, "r") > in->from.version)
                st = err_set(err, E_CONFLICT, "%s was rebuilt meanwhile", in->in->full);
        }
    }
    json_decref(rows);
    return st;
}

enum status run_has_old(struct run *run, bool *old, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT count(*) AS n FROM (SELECT 1 WHERE false");
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (!in->model || in->in->lookup || !in->known) continue;
        buf_text(&sql, " UNION ALL SELECT 1 ");
        sql_rows_since(&sql, in, true);
    }
    buf_char(&sql, ')');
    int64_t n = 0;
    enum status st = run_count(run, buf_cstr(&sql), &n, err);
    *old = n > 0;
    return st;
}
