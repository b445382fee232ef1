/* Where an event went: model tables that keep its id, quarantines, and the tables that are made from those. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "serve/flow_glue.h"

struct trace {
    struct node *node;
    const struct flow_model *const *models;
    size_t n;
    bool *reached; /* per model: reads the event's table, directly or through others */
    const char *id;
};

static bool reads_any(const struct trace *t, const struct flow_model *model, const char *table) {
    for (size_t i = 0; i < model->inputs_n; i++) {
        if (model->inputs[i].lookup) continue;
        if (strcmp(model->inputs[i].full, table) == 0) return true;
        for (size_t k = 0; k < t->n; k++) {
            if (t->reached[k] && strcmp(t->models[k]->full, model->inputs[i].full) == 0) return true;
        }
    }
    return false;
}

static bool keeps_id(const struct flow_model *model) {
    for (size_t i = 0; i < model->columns_n; i++) {
        if (strcmp(model->columns[i].name, "_event_id") == 0) return true;
    }
    return false;
}

static void put_select(struct buf *sql, const struct trace *t, const char *schema, const char *name, const char *full, const char *reason) {
    if (sql->n) buf_text(sql, " UNION ALL ");
    buf_text(sql, "SELECT ");
    sql_quote_text(sql, str_of(full));
    buf_printf(sql, " AS \"table\", count(*) AS rows, %s AS reason FROM ", reason);
    sql_quote_name(sql, str_of(schema));
    buf_char(sql, '.');
    sql_quote_name(sql, str_of(name));
    buf_printf(sql, " WHERE _event_id = '%.36s'", t->id);
}

/* Names of the quarantine tables that exist, quoted, in a text. */
static enum status quarantines(struct trace *t, struct buf *out, struct err *err) {
    BUF_SCOPE(tables);
    struct str *list = NULL, raw;
    size_t n = 0;
    enum status status = engine_tables(t->node->engine, &tables, err);
    if (status == OK) status = json_split_array(str_trim(buf_view(&tables)), 100000, &list, &n, err);
    for (size_t i = 0; status == OK && i < n; i++) {
        if (!json_raw_at(list[i], STR("schema"), &raw) || !str_is(raw, "\"quarantine\"") || !json_raw_at(list[i], STR("name"), &raw)) continue;
        buf_str(out, raw);
        buf_char(out, ' ');
    }
    free(list);
    return status;
}

static enum status landed_in(struct trace *t, struct buf *rows, struct err *err) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(sql);
    BUF_SCOPE(names);
    enum status status = quarantines(t, &names, err);
    for (size_t i = 0; status == OK && i < t->n; i++) {
        const struct flow_model *model = t->models[i];
        if (!t->reached[i]) continue;
        if (keeps_id(model)) put_select(&sql, t, model->schema, model->name, model->full, "NULL");
        const char *bad = arena_printf(arena, "%s__%s", model->schema, model->name);
        if (str_find(buf_view(&names), str_of(arena_printf(arena, "\"%s\"", bad))) >= 0)
            put_select(&sql, t, "quarantine", bad, arena_printf(arena, "quarantine.%s", bad), "max(_reason)");
    }
    if (status != OK || sql.n == 0) {
        buf_text(rows, "[]");
        return status;
    }
    BUF_SCOPE(all);
    buf_printf(&all, "SELECT * FROM (%s) WHERE rows > 0", buf_cstr(&sql));
    return node_rows(t->node, buf_cstr(&all), rows, err);
}

/* Models below those that keep the id: they are made from its row among others. None when the event was left out or quarantined on the way there. */
static void put_feeds(struct json_writer *w, const struct trace *t, struct str rows) {
    bool some_keep = false, landed = str_find(rows, STR("\"reason\":null")) >= 0;
    for (size_t i = 0; i < t->n; i++) some_keep = some_keep || (t->reached[i] && keeps_id(t->models[i]));
    json_name(w, "feeds");
    json_begin_array(w);
    for (size_t i = 0; i < t->n && (landed || !some_keep); i++) {
        if (t->reached[i] && !keeps_id(t->models[i]) && t->models[i]->kind != FLOW_REFERENCE) json_text(w, t->models[i]->full);
    }
    json_end_array(w);
}

enum status event_trace(struct node *node, const char *table, const char *id, struct buf *out, struct err *err) {
    must(node && table && id && out->n > 0 && out->p[out->n - 1] == '}');
    ARENA_SCOPE(arena);
    BUF_SCOPE(rows);
    struct flow *flow;
    struct trace t = {.node = node, .id = id};
    enum status status = node_flow(node, &flow, NULL, err);
    if (status != OK) return status;
    t.n = flow_models(flow, &t.models);
    if (t.n == 0) return OK;
    t.reached = arena_new_array(arena, bool, t.n);
    for (size_t i = 0; i < t.n; i++) t.reached[i] = reads_any(&t, t.models[i], table); /* topological order: what it reads stands before */
    status = landed_in(&t, &rows, err);
    if (status != OK) return status;
    BUF_SCOPE(feeds);
    struct json_writer w = json_write_to(&feeds);
    json_begin_object(&w);
    put_feeds(&w, &t, buf_view(&rows));
    json_end_object(&w);
    out->n--; /* the object goes on */
    buf_text(out, ",\"models\":");
    buf_str(out, str_trim(buf_view(&rows)));
    buf_char(out, ',');
    buf_put(out, feeds.p + 1, feeds.n - 1);
    return OK;
}
