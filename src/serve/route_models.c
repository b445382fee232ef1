/* Models and the graph between tables: what each is, what it reads, how it is doing. Headers come from the loaded models, states from the schedule, and what
 * runs left (rows, freshness, checks) from the warehouse. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "flow/column_sources.h"
#include "serve/flow_glue.h"

/* ---- what the warehouse knows, by model ---- */

struct known { /* texts of JSON objects, by full name; all in one buffer each */
    struct buf runs, freshness, tables;
    struct map *last_run, *fresh, *table; /* name -> struct str * in the arena */
};

static void forget_known(struct known *k) {
    buf_free(&k->runs);
    buf_free(&k->freshness);
    buf_free(&k->tables);
    map_free(&k->last_run);
    map_free(&k->fresh);
    map_free(&k->table);
}

static struct str unquoted(struct str raw) { return raw.n >= 2 && raw.p[0] == '"' ? str_make(raw.p + 1, raw.n - 2) : raw; }

/* `name`: the member that has the full name; NULL: "schema" and "name". */
static enum status index_rows(struct arena *arena, struct buf *text, const char *name, struct map *out, struct err *err) {
    struct str *rows = NULL, raw, schema;
    size_t n = 0;
    enum status status = json_split_array(str_trim(buf_view(text)), 1000000, &rows, &n, err);
    for (size_t i = 0; status == OK && i < n; i++) {
        if (!json_raw_at(rows[i], str_of(name ? name : "name"), &raw)) continue;
        struct str key = unquoted(raw);
        if (!name && json_raw_at(rows[i], STR("schema"), &schema)) {
            schema = unquoted(schema);
            key = str_of(arena_printf(arena, STR_FMT "." STR_FMT, STR_ARG(schema), STR_ARG(key)));
        }
        struct str *row = arena_new_one(arena, struct str);
        *row = rows[i];
        map_put(out, key, row);
    }
    free(rows);
    return status;
}

static enum status look_up_known(struct node *node, struct arena *arena, struct known *k, struct err *err) {
    *k = (struct known){.last_run = map_new(), .fresh = map_new(), .table = map_new()};
    enum status status = node_rows(node,
        "SELECT run_id, version, model, flow, \"trigger\", strategy, status, started_at, duration_ms, rows_in, rows_out, filtered, superseded, quarantined,"
        " inserted, deleted, error FROM cupel.runs QUALIFY row_number() OVER (PARTITION BY model ORDER BY started_at DESC, version DESC) = 1",
        &k->runs, err);
    if (status == OK) status = index_rows(arena, &k->runs, "model", k->last_run, err);
    if (status == OK) status = node_rows(node, "SELECT * FROM cupel.freshness", &k->freshness, err);
    if (status == OK) status = index_rows(arena, &k->freshness, "table", k->fresh, err);
    if (status == OK) status = engine_tables(node->engine, &k->tables, err);
    if (status == OK) status = index_rows(arena, &k->tables, NULL, k->table, err);
    if (status != OK) forget_known(k);
    return status;
}

static void put_known(struct json_writer *w, const char *name, const struct map *map, const char *model) {
    const struct str *row = map_get(map, str_of(model));
    json_name(w, name);
    if (row)
        json_raw(w, *row);
    else
        json_null(w);
}

/* ---- one model ---- */

static void put_list(struct json_writer *w, const char *name, const char *const *list, size_t n) {
    if (n == 0) return;
    json_name(w, name);
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) json_text(w, list[i]);
    json_end_array(w);
}

static const char *input_kind(const struct flow_input *input) {
    static const char *const names[] = {"stream", "landing", "model", "reference"};
    must((size_t)input->kind < sizeof names / sizeof names[0]);
    return names[input->kind];
}

static void put_inputs(struct json_writer *w, const struct flow_model *model) {
    json_name(w, "inputs");
    json_begin_array(w);
    for (size_t i = 0; i < model->inputs_n; i++) {
        const struct flow_input *input = &model->inputs[i];
        json_begin_object(w);
        json_put_text(w, "name", input->full);
        json_put_text(w, "kind", input_kind(input));
        if (input->lookup) json_put_bool(w, "lookup", true);
        if (input->reads_until_next) json_put_text(w, "reads", "until_next");
        if (input->reads_ms) json_put_int(w, "reads_ms", input->reads_ms);
        json_end_object(w);
    }
    json_end_array(w);
}

/* ---- what columns are made from ---- */

static enum status syntax_tree(struct node *node, const char *sql, struct buf *out, struct str *tree, struct err *err) {
    BUF_SCOPE(text);
    buf_text(&text, "SELECT json_serialize_sql(");
    sql_quote_text(&text, str_of(sql));
    buf_text(&text, ") AS tree");
    enum status status = node_rows(node, buf_cstr(&text), out, err);
    if (status == OK && !json_raw_at(str_trim(buf_view(out)), STR("0.tree"), tree)) status = err_set(err, E_INTERNAL, "no syntax tree");
    return status;
}

/* Columns of a table that no model makes. One that cannot be described has none: its columns are then not traced. */
static void lake_columns(struct node *node, struct arena *arena, const struct flow_input *input, struct source_table *out) {
    BUF_SCOPE(text);
    struct str list, *columns = NULL, name;
    size_t n = 0;
    if (lake_table_json(node->lake, input->schema, input->name, &text, NULL) != OK || !json_raw_at(buf_view(&text), STR("columns"), &list)) return;
    if (json_split_array(list, 100000, &columns, &n, NULL) != OK) return;
    struct source_column *found = arena_new_array(arena, struct source_column, n);
    for (size_t i = 0; i < n; i++) {
        if (!json_raw_at(columns[i], STR("name"), &name)) continue;
        name = unquoted(name);
        found[out->columns_n++].name = arena_strndup(arena, name.p, name.n);
    }
    out->columns = found;
    free(columns);
}

static void input_columns(struct node *node, struct arena *arena, const struct flow_input *input, struct source_table *out) {
    *out = (struct source_table){.schema = input->schema, .name = input->name};
    if (!input->model) {
        lake_columns(node, arena, input, out);
        return;
    }
    struct source_column *found = arena_new_array(arena, struct source_column, input->model->columns_n + 1);
    for (size_t i = 0; i < input->model->columns_n; i++) found[i].name = input->model->columns[i].name;
    out->columns = found;
    out->columns_n = input->model->columns_n;
}

/* Sources of the model's columns as far as its SQL tells; of merge models through `rows:`. */
static enum status trace_columns(
    struct node *node, struct arena *arena, const struct flow_model *model, struct source_column **out, size_t *n, struct err *err) {
    struct source_table *tables = arena_new_array(arena, struct source_table, model->inputs_n + 1);
    size_t tables_n = model->inputs_n;
    struct source_column *pieces;
    struct str tree;
    enum status status = OK;
    for (size_t i = 0; i < model->inputs_n; i++) input_columns(node, arena, &model->inputs[i], &tables[i]);
    if (model->merge && model->rows) {
        BUF_SCOPE(rows);
        size_t pieces_n = 0;
        status = syntax_tree(node, model->rows, &rows, &tree, err);
        if (status == OK) status = column_sources(arena, tree, tables, tables_n, &pieces, &pieces_n, err);
        if (status == OK) tables[tables_n++] = (struct source_table){.schema = "this", .name = "pieces", .columns = pieces, .columns_n = pieces_n};
    }
    BUF_SCOPE(text);
    if (status == OK) status = syntax_tree(node, model->sql, &text, &tree, err);
    return status == OK ? column_sources(arena, tree, tables, tables_n, out, n, err) : status;
}

static void put_sources(struct json_writer *w, const char *column, const struct source_column *sources, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!sources[i].from_n || strcmp(sources[i].name, column) != 0) continue;
        put_list(w, "from", sources[i].from, sources[i].from_n);
        return;
    }
}

static void put_columns(struct json_writer *w, struct node *node, const struct flow_model *model) {
    ARENA_SCOPE(arena);
    struct source_column *sources = NULL;
    size_t sources_n = 0;
    if (model->kind != FLOW_REFERENCE && trace_columns(node, arena, model, &sources, &sources_n, NULL) != OK) sources_n = 0; /* SQL that has no tree (PIVOT) */
    json_name(w, "columns");
    json_begin_array(w);
    for (size_t i = 0; i < model->columns_n; i++) {
        const struct flow_column *column = &model->columns[i];
        json_begin_object(w);
        json_put_text(w, "name", column->name);
        json_put_text(w, "type", column->type);
        json_put_text(w, "description", column->description);
        if (column->hidden) json_put_bool(w, "hidden", true);
        put_sources(w, column->name, sources, sources_n);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_header(struct json_writer *w, const struct flow_model *model) {
    static const char *const stores[] = {"warehouse", "lake", "both"}, *const buckets[] = {NULL, "hour", "day"};
    json_put_text(w, "name", model->full);
    json_put_text(w, "kind", flow_kind_name(model->kind));
    json_put_text(w, "file", model->file);
    json_put_text(w, "description", model->description);
    json_put_text(w, "owner", model->owner);
    put_list(w, "tags", model->tags, model->tags_n);
    put_list(w, "key", model->key, model->key_n);
    put_list(w, "by", model->by, model->by_n);
    if (model->time) json_put_text(w, "time", model->time);
    if (buckets[model->bucket]) json_put_text(w, "bucket", buckets[model->bucket]);
    if (model->merge) json_put_bool(w, "merge", true);
    json_put_text(w, "store", stores[model->store]);
    if (model->emit.stream) json_put_text(w, "emits", model->emit.stream);
}

static void put_state(struct json_writer *w, struct node *node, struct schedule *schedule, const char *model) {
    struct schedule_model_state state;
    if (!schedule_model_state(schedule, model, &state)) return;
    int64_t lag_ms = state.due_since_ms ? host_wall_ms(&node->host) - state.due_since_ms : 0;
    json_name(w, "state");
    json_begin_object(w);
    json_put_bool(w, "due", state.due);
    json_put_bool(w, "running", state.running);
    if (state.lag_known) json_name(w, "lag_seconds"), json_double(w, lag_ms > 0 ? (double)lag_ms / 1000 : 0);
    json_put_int(w, "failures", state.failures);
    if (state.retry_at_ms) json_put_time_ms(w, "retry_at", state.retry_at_ms);
    if (state.error[0]) json_put_text(w, "error", state.error);
    if (state.exclusive) json_put_bool(w, "exclusive", true);
    json_end_object(w);
}

static bool reads_model(const struct flow_model *reader, const char *name) {
    for (size_t i = 0; i < reader->inputs_n; i++) {
        if (strcmp(reader->inputs[i].full, name) == 0) return true;
    }
    return false;
}

static void put_problems(struct json_writer *w, struct node *node) {
    BUF_SCOPE(text);
    node_flow_problems(node, &text);
    struct str rest = buf_view(&text);
    json_name(w, "problems");
    json_begin_array(w);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n');
        if (line.n) json_str(w, line);
    }
    json_end_array(w);
}

/* Tables that models left behind: they stand still until `cupel flow prune`. */
static void put_left_behind(struct json_writer *w, const struct known *known) {
    struct str *rows = NULL, raw;
    size_t n = 0;
    json_name(w, "without_model");
    json_begin_array(w);
    if (!known->tables.n || json_split_array(str_trim(buf_view(&known->tables)), 1000000, &rows, &n, NULL) != OK) n = 0;
    for (size_t i = 0; i < n; i++) {
        if (!json_raw_at(rows[i], STR("without_model"), &raw) || !str_is(raw, "true")) continue;
        json_begin_object(w);
        static const char *const members[] = {"schema", "name", "kind", "rows"};
        for (size_t k = 0; k < sizeof members / sizeof members[0]; k++) {
            if (json_raw_at(rows[i], str_of(members[k]), &raw)) json_name(w, members[k]), json_raw(w, raw);
        }
        json_end_object(w);
    }
    json_end_array(w);
    free(rows);
}

static enum status list_models(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct flow *flow;
    struct schedule *schedule;
    struct known known = {0};
    const struct flow_model *const *models;
    enum status status = node_flow(node, &flow, &schedule, err);
    if (status != OK) return status;
    size_t n = flow_models(flow, &models);
    if (n > 0) status = look_up_known(node, http_arena(r), &known, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "models");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        struct str rows;
        const struct str *table = map_get(known.table, str_of(models[i]->full));
        json_begin_object(&w);
        put_header(&w, models[i]);
        put_inputs(&w, models[i]);
        if (table && json_raw_at(*table, STR("rows"), &rows)) json_name(&w, "rows"), json_raw(&w, rows);
        put_state(&w, node, schedule, models[i]->full);
        put_known(&w, "freshness", known.fresh, models[i]->full);
        put_known(&w, "last_run", known.last_run, models[i]->full);
        json_end_object(&w);
    }
    json_end_array(&w);
    put_left_behind(&w, &known);
    put_problems(&w, node);
    json_end_object(&w);
    if (n > 0) forget_known(&known);
    return OK;
}

static enum status put_rows(struct node *node, struct json_writer *w, const char *name, const char *sql, const char *model, const char *end, struct err *err) {
    BUF_SCOPE(text);
    BUF_SCOPE(rows);
    buf_text(&text, sql);
    sql_quote_text(&text, str_of(model));
    buf_text(&text, end);
    enum status status = node_rows(node, buf_cstr(&text), &rows, err);
    if (status != OK) return status;
    json_name(w, name);
    json_raw(w, str_trim(buf_view(&rows)));
    return OK;
}

/* Everything about one model; `compiled` is the SQL as it ran last. */
static enum status write_model(struct node *node, struct schedule *schedule, struct flow *flow, const struct flow_model *model, const struct known *known,
    struct json_writer *w, struct err *err) {
    const struct flow_model *const *models;
    size_t n = flow_models(flow, &models);
    BUF_SCOPE(compiled);
    put_header(w, model);
    put_columns(w, node, model);
    put_inputs(w, model);
    json_name(w, "readers");
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        if (reads_model(models[i], model->full)) json_text(w, models[i]->full);
    }
    json_end_array(w);
    json_put_text(w, "sql", model->sql);
    if (model->rows) json_put_text(w, "rows_sql", model->rows);
    json_put_text(w, "fingerprint", model->fingerprint);
    put_state(w, node, schedule, model->full);
    put_known(w, "freshness", known->fresh, model->full);
    put_known(w, "table", known->table, model->full);
    put_known(w, "last_run", known->last_run, model->full);
    enum status status = put_rows(node, w, "checks", "SELECT * FROM cupel.checks WHERE model = ", model->full,
        " QUALIFY row_number() OVER (PARTITION BY expectation, column_name ORDER BY \"at\" DESC) = 1 ORDER BY expectation, column_name", err);
    if (status == OK)
        status = put_rows(node, w, "runs",
            "SELECT run_id, version, flow, \"trigger\", strategy, status, started_at, duration_ms, rows_in, rows_out, filtered, superseded, quarantined, "
            "inserted,"
            " deleted, error FROM cupel.runs WHERE model = ",
            model->full, " ORDER BY started_at DESC, version DESC LIMIT 20", err);
    if (status != OK) return status;
    BUF_SCOPE(sql);
    struct str text;
    buf_text(&sql, "SELECT sql FROM cupel.runs WHERE sql <> '' AND model = ");
    sql_quote_text(&sql, str_of(model->full));
    buf_text(&sql, " ORDER BY started_at DESC, version DESC LIMIT 1");
    status = node_rows(node, buf_cstr(&sql), &compiled, err);
    if (status != OK) return status;
    json_name(w, "compiled");
    json_raw(w, json_raw_at(str_trim(buf_view(&compiled)), STR("0.sql"), &text) ? text : STR("null"));
    return OK;
}

static enum status show_model(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct flow *flow;
    struct schedule *schedule;
    struct known known;
    struct str name = http_part(r, "model");
    enum status status = node_flow(node, &flow, &schedule, err);
    if (status != OK) return status;
    const struct flow_model *model = flow_find(flow, arena_strndup(http_arena(r), name.p, name.n));
    if (!model) return err_set(err, E_NOT_FOUND, "there is no model " STR_FMT "; `cupel model list` shows them", STR_ARG(str_head(name, 100)));
    status = look_up_known(node, http_arena(r), &known, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    status = write_model(node, schedule, flow, model, &known, &w, err);
    json_end_object(&w);
    forget_known(&known);
    return status;
}

/* ---- lineage ---- */

static void put_source_node(struct json_writer *w, struct map *seen, const struct flow_input *input) {
    if (input->model || map_get(seen, str_of(input->full))) return;
    map_put(seen, str_of(input->full), seen);
    json_begin_object(w);
    json_put_text(w, "id", input->full);
    json_put_text(w, "kind", input_kind(input));
    json_end_object(w);
}

static void put_model_node(struct json_writer *w, struct node *node, struct schedule *schedule, const struct flow_model *model, const struct known *known) {
    struct str raw;
    struct schedule_model_state state = {0};
    const struct str *table = map_get(known->table, str_of(model->full)), *run = map_get(known->last_run, str_of(model->full));
    (void)schedule_model_state(schedule, model->full, &state);
    int64_t lag_ms = state.due_since_ms ? host_wall_ms(&node->host) - state.due_since_ms : 0;
    json_begin_object(w);
    json_put_text(w, "id", model->full);
    json_put_text(w, "kind", flow_kind_name(model->kind));
    json_name(w, "status");
    if (state.failures > 0)
        json_text(w, "failed");
    else if (run && json_raw_at(*run, STR("status"), &raw))
        json_raw(w, raw);
    else
        json_text(w, "");
    json_name(w, "rows");
    json_raw(w, table && json_raw_at(*table, STR("rows"), &raw) ? raw : STR("null"));
    json_put_bool(w, "running", state.running);
    if (state.lag_known) json_name(w, "lag_seconds"), json_double(w, lag_ms > 0 ? (double)lag_ms / 1000 : 0);
    if (state.error[0]) json_put_text(w, "error", state.error);
    json_end_object(w);
}

static void put_edges(struct json_writer *w, const struct flow_model *const *models, size_t n) {
    json_name(w, "edges");
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < models[i]->inputs_n; k++) {
            json_begin_object(w);
            json_put_text(w, "from", models[i]->inputs[k].full);
            json_put_text(w, "to", models[i]->full);
            if (models[i]->inputs[k].lookup) json_put_bool(w, "lookup", true);
            json_end_object(w);
        }
        if (!models[i]->emit.stream) continue;
        ARENA_SCOPE(arena);
        json_begin_object(w);
        json_put_text(w, "from", models[i]->full);
        json_put_text(w, "to", arena_printf(arena, "bronze.%s", models[i]->emit.stream));
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_emitted_node(struct json_writer *w, struct map *seen, const struct flow_model *model) {
    if (!model->emit.stream) return;
    ARENA_SCOPE(arena);
    const char *full = arena_printf(arena, "bronze.%s", model->emit.stream);
    const struct flow_input stream = {.full = full, .kind = FLOW_INPUT_EVENTS};
    put_source_node(w, seen, &stream);
}

static enum status lineage(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct flow *flow;
    struct schedule *schedule;
    struct known known = {0};
    const struct flow_model *const *models;
    enum status status = node_flow(node, &flow, &schedule, err);
    if (status != OK) return status;
    size_t n = flow_models(flow, &models);
    if (n > 0) status = look_up_known(node, http_arena(r), &known, err);
    if (status != OK) return status;
    struct map *seen = map_new();
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "nodes");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < models[i]->inputs_n; k++) put_source_node(&w, seen, &models[i]->inputs[k]);
        put_model_node(&w, node, schedule, models[i], &known);
    }
    for (size_t i = 0; i < n; i++) put_emitted_node(&w, seen, models[i]);
    json_end_array(&w);
    put_edges(&w, models, n);
    json_end_object(&w);
    map_free(&seen);
    if (n > 0) forget_known(&known);
    return OK;
}

JSON_HANDLER(on_models, list_models)
JSON_HANDLER(on_model, show_model)
JSON_HANDLER(on_lineage, lineage)

void routes_models(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"GET", "/v1/models", on_models, node, .operation = "listModels", .access = ACCESS_READ,
            .summary = "Models with their state, freshness and last run; and what is wrong with their files"});
    route_add(routes,
        (struct http_route){"GET", "/v1/models/{model}", on_model, node, .operation = "showModel", .access = ACCESS_READ,
            .summary = "One model: header, SQL, columns, inputs, readers, checks, runs, freshness"});
    route_add(routes,
        (struct http_route){"GET", "/v1/lineage", on_lineage, node, .operation = "lineage", .access = ACCESS_READ,
            .summary = "Tables and what they are made from, with live state"});
    routes_kpi(node, routes);
}
