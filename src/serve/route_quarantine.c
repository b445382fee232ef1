/* Quarantine: rows that could not be taken, of files (in the lake) and of models (in the warehouse), and the way back for those of models. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "serve/flow_glue.h"

static struct str unquoted(struct str raw) { return raw.n >= 2 && raw.p[0] == '"' ? str_make(raw.p + 1, raw.n - 2) : raw; }

/* "silver__pos_sales" is the quarantine of silver.pos_sales. */
static const char *meant_for(struct arena *arena, struct str name) {
    long at = str_find(name, STR("__"));
    if (at < 0) return arena_strndup(arena, name.p, name.n);
    struct str rest = str_from(name, (size_t)at + 2);
    return arena_printf(arena, STR_FMT "." STR_FMT, (int)at, name.p, STR_ARG(rest));
}

/* One table's entry: what the store says of it, and the table its rows were meant for. */
static void put_entry(struct arena *arena, struct json_writer *w, struct str table) {
    struct str name, raw;
    if (!json_raw_at(table, STR("name"), &name)) return;
    json_begin_object(w);
    json_put_text(w, "table", meant_for(arena, unquoted(name)));
    json_name(w, "name");
    json_raw(w, name);
    static const char *const members[] = {"rows", "bytes", "files"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (json_raw_at(table, str_of(members[i]), &raw)) json_name(w, members[i]), json_raw(w, raw);
    }
    json_end_object(w);
}

static enum status put_tables(struct arena *arena, struct json_writer *w, struct buf *text, struct map *seen, struct err *err) {
    struct str all, raw, name, *list = NULL;
    size_t n = 0;
    struct str outer = str_trim(buf_view(text));
    if (!json_raw_at(outer, STR("tables"), &all)) all = outer;
    enum status status = json_split_array(all, 100000, &list, &n, err);
    for (size_t i = 0; status == OK && i < n; i++) {
        if (!json_raw_at(list[i], STR("schema"), &raw) || !str_is(raw, "\"quarantine\"") || !json_raw_at(list[i], STR("name"), &name)) continue;
        if (map_put(seen, name, seen)) continue;
        put_entry(arena, w, list[i]);
    }
    free(list);
    return status;
}

/* Models' tables need the engine: it is not started for a project without models. */
static enum status warehouse_tables(struct node *node, struct buf *out, struct err *err) {
    const struct flow_model *const *models;
    struct flow *flow;
    enum status status = node_flow(node, &flow, NULL, err);
    if (status != OK || flow_models(flow, &models) == 0) {
        buf_text(out, "[]");
        return status;
    }
    return engine_tables(node->engine, out, err);
}

static enum status list_quarantine(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    BUF_SCOPE(lake);
    BUF_SCOPE(warehouse);
    struct map *seen = map_new();
    enum status status = lake_tables_json(node->lake, &lake, err);
    if (status == OK) status = warehouse_tables(node, &warehouse, err);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "tables");
    json_begin_array(&w);
    if (status == OK) status = put_tables(http_arena(r), &w, &lake, seen, err);
    if (status == OK) status = put_tables(http_arena(r), &w, &warehouse, seen, err);
    json_end_array(&w);
    json_end_object(&w);
    map_free(&seen);
    return status;
}

/* Both names of a quarantine: that of the table the rows were meant for, and its own. */
static enum status quarantine_name(struct http_request *r, const char **out, struct err *err) {
    const char *schema, *name;
    enum status status = table_split(http_arena(r), http_part(r, "table"), &schema, &name, err);
    if (status == OK) *out = strcmp(schema, "quarantine") == 0 ? name : arena_printf(http_arena(r), "%s__%s", schema, name);
    return status;
}

/* The query did not find the table: nothing was ever quarantined. An empty list where a model of that name is, else not found. */
static enum status no_rows(struct node *node, struct http_request *r, const char *table, struct buf *rows, struct err *err) {
    struct flow *flow;
    struct str name = http_part(r, "table");
    if (node_flow(node, &flow, NULL, NULL) != OK || !flow_find(flow, arena_strndup(http_arena(r), name.p, name.n)))
        return err_set(err, E_NOT_FOUND, "there is no table quarantine.%.200s", table);
    buf_clear(rows);
    buf_text(rows, "[]");
    return OK;
}

static enum status show_quarantine(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    const char *name;
    int64_t limit;
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    enum status status = quarantine_name(r, &name, err);
    if (status == OK) status = query_number(r, "limit", 100, 1, 10000, &limit, err);
    if (status != OK) return status;
    buf_text(&sql, "SELECT * FROM quarantine.");
    sql_quote_name(&sql, str_of(name));
    buf_printf(&sql, " ORDER BY _quarantined_at DESC, _event_id DESC LIMIT %lld", (long long)limit);
    status = node_rows(node, buf_cstr(&sql), &rows, err);
    if (status == E_INVALID) status = no_rows(node, r, name, &rows, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_str(&w, "table", http_part(r, "table"));
    json_name(&w, "rows");
    json_raw(&w, str_trim(buf_view(&rows)));
    json_end_object(&w);
    return OK;
}

static void put_redriven(struct json_writer *w, struct str table, int64_t before, int64_t after) {
    json_put_str(w, "table", table);
    json_put_int(w, "before", before);
    json_put_int(w, "after", after);
    json_put_int(w, "taken", before - after);
}

/* Events of models that their stream refused. */
static enum status redrive_outbox(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    int64_t before, after;
    enum status status = outbox_redrive(node, &before, &after, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    put_redriven(&w, http_part(r, "table"), before, after);
    json_end_object(&w);
    return OK;
}

/* After a rule or the SQL was mended: the events are read again from bronze. */
static enum status redrive(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    if (str_is(http_part(r, "table"), "cupel.outbox")) return redrive_outbox(node, r, out, err);
    struct flow *flow;
    struct flow_redriven done = {0};
    struct str table = http_part(r, "table");
    enum status status = node_flow_good(node, &flow, NULL, err);
    if (status == OK && str_starts(table, STR("bronze.")))
        status = err_set(err, E_UNSUPPORTED, "rows of files are taken again by dropping the mended file into the folder");
    if (status == OK) status = flow_redrive(flow, http_arena(r), arena_strndup(http_arena(r), table.p, table.n), NULL, &done, err);
    if (status != OK) return status;
    node_flow_changed(node);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    put_redriven(&w, table, done.before, done.after);
    if (done.result.model) {
        json_put_text(&w, "run_id", done.result.run_id);
        json_put_int(&w, "inserted", done.result.inserted);
        json_put_int(&w, "deleted", done.result.deleted);
    }
    json_end_object(&w);
    return OK;
}

JSON_HANDLER(on_list, list_quarantine)
JSON_HANDLER(on_show, show_quarantine)
JSON_HANDLER(on_redrive, redrive)

void routes_quarantine(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"GET", "/v1/quarantine", on_list, node, .operation = "listQuarantine", .access = ACCESS_READ,
            .summary = "Tables of rows that could not be taken, of files and of models"});
    route_add(routes,
        (struct http_route){"GET", "/v1/quarantine/{table}", on_show, node, .operation = "showQuarantine", .access = ACCESS_READ,
            .summary = "Rows of one of them, newest first, with reason and raw bytes"});
    route_add(routes,
        (struct http_route){"POST", "/v1/quarantine/{table}/redrive", on_redrive, node, .operation = "redriveQuarantine", .access = ACCESS_WRITE,
            .summary = "Take a model's quarantined rows again, after the rule or the SQL was mended"});
}
