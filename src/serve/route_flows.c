/* Flows and runs: what is asked for, what is under way, what was. Runs of flows are the schedule's; runs of single models stand in the warehouse. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "serve/flow_glue.h"

#define SELECTIONS_MAX 64

/* ---- asking for runs ---- */

static const char *cause_of(struct http_request *r) { return str_is(http_query(r, "cause"), "hand") ? "hand" : "api"; }

static void answer_run(struct http_request *r, const char *id) {
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_put_text(&w, "run", id);
    json_end_object(&w);
    node_answer_json(r, 202, &out);
}

static void run_flow(struct node *node, struct http_request *r) {
    struct err err = {0};
    struct schedule *schedule;
    char id[SCHEDULE_RUN_ID_MAX];
    struct str name = http_part(r, "name");
    enum status status = node_flow_good(node, NULL, &schedule, &err);
    if (status == OK) status = schedule_run_flow(schedule, arena_strndup(http_arena(r), name.p, name.n), cause_of(r), id, &err);
    if (status != OK)
        node_problem(r, &err);
    else
        answer_run(r, id);
}

static enum status body_time(struct node *node, struct body *body, const char *name, int64_t *out_us, struct err *err) {
    struct str text;
    int64_t value;
    if (!body_text(body, name, &text)) return OK;
    if (str_to_duration_ms(text, &value)) {
        *out_us = host_wall_us(&node->host) - value * 1000;
        return OK;
    }
    return time_parse_us(text, out_us)
        ? OK
        : err_set(err, E_INVALID, "%s: '" STR_FMT "' is neither a time (2026-11-20T10:00:00Z), a date nor a duration back from now (30d)", name,
              STR_ARG(str_head(text, 60)));
}

static bool body_flag(struct body *body, const char *name) {
    struct str text;
    return body_text(body, name, &text) && str_is(text, "true");
}

static enum status body_wave(struct body *body, int64_t *out_us, struct err *err) {
    struct str text;
    int64_t ms;
    if (!body_text(body, "wave", &text)) return OK;
    if (!str_to_duration_ms(text, &ms) || ms < 1000)
        return err_set(err, E_INVALID, "wave: '" STR_FMT "' is not a time such as 1d or 6h", STR_ARG(str_head(text, 60)));
    *out_us = ms * 1000;
    return OK;
}

static enum status read_request(struct node *node, struct http_request *r, struct body *body, struct schedule_request *out, struct err *err) {
    const char **models = arena_new_array(http_arena(r), const char *, SELECTIONS_MAX + 1);
    struct schedule_request request = {
        .models = models, .full_refresh = body_flag(body, "full_refresh"), .dry_run = body_flag(body, "dry_run"), .verify = body_flag(body, "verify")};
    char path[32];
    struct str text;
    for (; request.models_n <= SELECTIONS_MAX; request.models_n++) {
        snprintf(path, sizeof path, "models.%zu", request.models_n);
        if (!body_text(body, path, &text)) break;
        if (request.models_n == SELECTIONS_MAX) return err_set(err, E_LIMIT, "more than %d selections", SELECTIONS_MAX);
        models[request.models_n] = text.p;
    }
    enum status status = body_time(node, body, "from", &request.from_us, err);
    if (status == OK) status = body_time(node, body, "to", &request.to_us, err);
    if (status == OK) status = body_wave(body, &request.wave_us, err);
    if (status == OK && request.from_us && !request.to_us) request.to_us = host_wall_us(&node->host);
    if (status == OK) *out = request;
    return status;
}

/* {"models":["silver.pos_sales+"],"full_refresh":…,"dry_run":…,"verify":…}, or {"backfill":NAME,"from":…,"to":…,"wave":"1d","anew":…}. */
static void make_run(struct node *node, struct http_request *r) {
    struct err err = {0};
    struct schedule *schedule;
    struct schedule_request request;
    struct body *body = NULL;
    struct str name;
    char id[SCHEDULE_RUN_ID_MAX];
    enum status status = node_flow_good(node, NULL, &schedule, &err);
    if (status == OK) status = body_open(r, &body, &err);
    if (status == OK) status = read_request(node, r, body, &request, &err);
    if (status == OK && body_text(body, "backfill", &name)) {
        int64_t wave_us = request.wave_us ? request.wave_us : INT64_C(86400000000);
        if (!request.from_us || !request.to_us)
            status = err_set(&err, E_INVALID, "a backfill needs \"from\" and \"to\"");
        else
            status = schedule_backfill(schedule, name.p, request.from_us, request.to_us, wave_us, body_flag(body, "anew"), cause_of(r), id, &err);
    } else if (status == OK) {
        status = schedule_run_models(schedule, &request, cause_of(r), id, &err);
    }
    if (body) body_close(&body);
    if (status != OK)
        node_problem(r, &err);
    else
        answer_run(r, id);
}

static enum status cancel_run(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct schedule *schedule;
    struct str id = http_part(r, "id");
    enum status status = node_flow(node, NULL, &schedule, err);
    if (status == OK) status = schedule_cancel(schedule, arena_strndup(http_arena(r), id.p, id.n), err);
    if (status == OK) buf_text(out, "{\"cancelled\":true}");
    return status;
}

/* ---- looking ---- */

static enum status list_flows(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct schedule *schedule;
    enum status status = node_flow(node, NULL, &schedule, err);
    return status != OK ? status : schedule_flows_json(schedule, out, err);
}

#define RUN_COLUMNS \
    "run_id, version, model, flow, \"trigger\", strategy, status, started_at, duration_ms, rows_in, rows_out, filtered, superseded, quarantined, inserted, " \
    "deleted, error"

/* Runs of models; none where no model ever ran. */
static enum status model_runs(struct node *node, struct str model, int64_t limit, struct buf *out, struct err *err) {
    const struct flow_model *const *models;
    struct flow *flow;
    enum status status = node_flow(node, &flow, NULL, err);
    if (status != OK) return status;
    if (flow_models(flow, &models) == 0) {
        buf_text(out, "[]");
        return OK;
    }
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT " RUN_COLUMNS " FROM cupel.runs");
    if (model.n) {
        buf_text(&sql, " WHERE model = ");
        sql_quote_text(&sql, model);
    }
    buf_printf(&sql, " ORDER BY started_at DESC, version DESC LIMIT %lld", (long long)limit);
    return node_rows(node, buf_cstr(&sql), out, err);
}

static enum status list_runs(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct schedule *schedule;
    struct str flow = http_query(r, "flow"), model = http_query(r, "model");
    int64_t limit;
    BUF_SCOPE(runs);
    BUF_SCOPE(models);
    enum status status = query_number(r, "limit", 50, 1, 1000, &limit, err);
    if (status == OK) status = node_flow(node, NULL, &schedule, err);
    if (status == OK && !model.n)
        status = schedule_runs_json(schedule, flow.n ? arena_strndup(http_arena(r), flow.p, flow.n) : NULL, (size_t)limit, &runs, err);
    if (status == OK && !flow.n) status = model_runs(node, model, limit, &models, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "runs");
    json_raw(&w, runs.n ? buf_view(&runs) : STR("[]"));
    json_name(&w, "model_runs");
    json_raw(&w, models.n ? str_trim(buf_view(&models)) : STR("[]"));
    json_end_object(&w);
    return OK;
}

static enum status show_model_run(struct node *node, struct str id, struct buf *out, struct err *err) {
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    BUF_SCOPE(checks);
    struct str row;
    buf_text(&sql, "SELECT " RUN_COLUMNS ", sql FROM cupel.runs WHERE run_id = ");
    sql_quote_text(&sql, id);
    enum status status = node_rows(node, buf_cstr(&sql), &rows, err);
    if (status != OK) return status;
    if (!json_raw_at(str_trim(buf_view(&rows)), STR("0"), &row)) return err_set(err, E_NOT_FOUND, "there is no run " STR_FMT, STR_ARG(str_head(id, 80)));
    buf_clear(&sql);
    buf_text(&sql, "SELECT * FROM cupel.checks WHERE run_id = ");
    sql_quote_text(&sql, id);
    buf_text(&sql, " ORDER BY expectation, column_name");
    status = node_rows(node, buf_cstr(&sql), &checks, err);
    if (status != OK) return status;
    buf_put(out, row.p, row.n - 1); /* without the brace */
    buf_text(out, ",\"checks\":");
    buf_str(out, str_trim(buf_view(&checks)));
    buf_char(out, '}');
    return OK;
}

static enum status show_run(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct schedule *schedule;
    struct str id = http_part(r, "id");
    enum status status = node_flow(node, NULL, &schedule, err);
    if (status != OK) return status;
    if (!str_starts(id, STR("run-"))) return show_model_run(node, id, out, err);
    return schedule_run_json(schedule, arena_strndup(http_arena(r), id.p, id.n), out, err);
}

/* ---- tables of models that are gone ---- */

static void put_copies(struct buf *sql, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        buf_text(sql, " UNION SELECT ");
        sql_quote_text(sql, str_of(names[i]));
    }
}

/* Names of tables and views of the warehouse that no model makes any more, and of lake copies of such, as a JSON array. */
static enum status orphans(struct node *node, struct buf *out, size_t *n, struct err *err) {
    struct flow *flow;
    const struct flow_model *const *models;
    BUF_SCOPE(sql);
    enum status status = node_flow_good(node, &flow, NULL, err);
    if (status != OK) return status;
    const char *const *copies;
    size_t copies_n, models_n = flow_models(flow, &models);
    ARENA_SCOPE(arena);
    status = lake_copies(node->lake, arena, &copies, &copies_n, err);
    if (status != OK) return status;
    buf_text(&sql, "SELECT model FROM (SELECT model FROM warehouse.cupel.models UNION SELECT name FROM warehouse.cupel.without_model");
    put_copies(&sql, copies, copies_n);
    buf_text(&sql, ") WHERE model NOT IN (''");
    for (size_t i = 0; i < models_n; i++) {
        buf_text(&sql, ", ");
        sql_quote_text(&sql, str_of(models[i]->full));
    }
    buf_text(&sql, ") ORDER BY model");
    status = node_rows(node, buf_cstr(&sql), out, err);
    struct str *rows = NULL;
    if (status == OK) status = json_split_array(str_trim(buf_view(out)), 100000, &rows, n, err);
    free(rows);
    return status;
}

static void drop_table(struct buf *sql, const char *schema, const char *name) {
    buf_text(sql, "DROP TABLE IF EXISTS warehouse.");
    sql_quote_name(sql, str_of(schema));
    buf_char(sql, '.');
    sql_quote_name(sql, str_of(name));
    buf_text(sql, ";\n");
}

/* The table, what a rebuild left beside it, its images and removed keys, its quarantine. */
static void drop_tables(struct buf *sql, struct arena *arena, struct str schema, struct str name) {
    static const char *const images[] = {"", "__gone", "__next_gone", "__next_quarantine"};
    const char *of = arena_strndup(arena, schema.p, schema.n), *table = arena_strndup(arena, name.p, name.n);
    drop_table(sql, of, table);
    drop_table(sql, of, arena_printf(arena, "%s__next", table));
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) drop_table(sql, "cupel_old", arena_printf(arena, "%s__%s%s", of, table, images[i]));
    drop_table(sql, "quarantine", arena_printf(arena, "%s__%s", of, table));
}

static enum status drop_copies(struct node *node, struct arena *arena, struct str list, size_t n, struct err *err) {
    enum status status = OK;
    for (size_t i = 0; i < n && status == OK; i++) {
        struct str raw, name;
        if (!json_raw_at(list, str_of(arena_printf(arena, "%zu.model", i)), &raw) || raw.n < 4) continue;
        name = str_make(raw.p + 1, raw.n - 2);
        struct str schema = str_cut(&name, '.');
        struct err why = {0};
        status = lake_drop_copy(node->lake, arena_strndup(arena, schema.p, schema.n), arena_strndup(arena, name.p, name.n), &why);
        if (status == E_NOT_FOUND || status == E_CONFLICT) status = OK; /* it had none */
        if (status != OK) (void)err_set(err, status, "%s", why.text);
    }
    return status;
}

/* One transaction: the tables, what is kept about them, and their quarantine. Then their lake copies: asked for once more, those that are left go. */
static enum status drop_orphans(struct node *node, struct arena *arena, struct str list, size_t n, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "BEGIN;\n");
    for (size_t i = 0; i < n; i++) {
        char path[40];
        struct str raw, schema, name;
        snprintf(path, sizeof path, "%zu.model", i);
        if (!json_raw_at(list, str_of(path), &raw) || raw.n < 4) return err_set(err, E_INTERNAL, "a model's name is not readable");
        name = str_make(raw.p + 1, raw.n - 2); /* names of models need no escapes */
        struct str full = name;
        schema = str_cut(&name, '.');
        drop_tables(&sql, arena, schema, name);
        static const char *const kept[][2] = {{"positions", "model"}, {"models", "model"}, {"checks", "model"}, {"changes", "table_name"},
            {"freshness", "\"table\""}, {"without_model", "name"}, {"outbox", "kind = 'lake' AND target"}};
        for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++) {
            buf_printf(&sql, "DELETE FROM warehouse.cupel.%s WHERE %s = ", kept[k][0], kept[k][1]);
            sql_quote_text(&sql, full);
            buf_text(&sql, ";\n");
        }
    }
    buf_text(&sql, "COMMIT");
    enum status status = node_warehouse_run(node, buf_cstr(&sql), NULL, err);
    return status == OK ? drop_copies(node, arena, list, n, err) : status;
}

static enum status prune(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct body *body;
    BUF_SCOPE(rows);
    size_t n = 0;
    enum status status = body_open(r, &body, err);
    if (status != OK) return status;
    bool yes = body_flag(body, "yes");
    body_close(&body);
    status = orphans(node, &rows, &n, err);
    struct flow *flow;
    if (status == OK && yes && n > 0) status = drop_orphans(node, http_arena(r), str_trim(buf_view(&rows)), n, err);
    if (yes && n > 0 && node_flow(node, &flow, NULL, NULL) == OK) flow_forget(flow);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_bool(&w, "dropped", yes && n > 0);
    json_name(&w, "tables");
    json_raw(&w, str_trim(buf_view(&rows)));
    json_end_object(&w);
    return OK;
}

JSON_HANDLER(on_flows, list_flows)
JSON_HANDLER(on_runs, list_runs)
JSON_HANDLER(on_run, show_run)
JSON_HANDLER(on_cancel, cancel_run)
JSON_HANDLER(on_prune, prune)
static void on_run_flow(void *context, struct http_request *r) { node_offload(context, r, run_flow); }
static void on_make_run(void *context, struct http_request *r) { node_offload(context, r, make_run); }

void routes_flows(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){
            "GET", "/v1/flows", on_flows, node, .operation = "listFlows", .access = ACCESS_READ, .summary = "Flows: when they run next, how they ran last"});
    route_add(routes,
        (struct http_route){"POST", "/v1/flows/{name}/run", on_run_flow, node, .operation = "runFlow", .access = ACCESS_WRITE,
            .summary = "Run a flow now; answers with the id of the run"});
    route_add(routes,
        (struct http_route){
            "GET", "/v1/runs", on_runs, node, .operation = "listRuns", .access = ACCESS_READ, .summary = "Runs of flows and of models, newest first"});
    route_add(routes,
        (struct http_route){"POST", "/v1/runs", on_make_run, node, .operation = "makeRun", .access = ACCESS_WRITE,
            .summary = "Run models: {\"models\":[\"silver.pos_sales+\"],\"full_refresh\":…,\"dry_run\":…,\"verify\":…}, or backfill: "
                       "{\"backfill\":NAME,\"from\":…,\"to\":…,\"wave\":\"1d\"}"});
    route_add(routes,
        (struct http_route){"GET", "/v1/runs/{id}", on_run, node, .operation = "showRun", .access = ACCESS_READ,
            .summary = "One run: steps and models, or the SQL and checks of one model's run"});
    route_add(routes,
        (struct http_route){
            "POST", "/v1/runs/{id}/cancel", on_cancel, node, .operation = "cancelRun", .access = ACCESS_WRITE, .summary = "Cancel a run that is under way"});
    route_add(routes,
        (struct http_route){"POST", "/v1/prune", on_prune, node, .operation = "pruneModels", .access = ACCESS_ADMIN,
            .summary = "Tables of models that are gone; with {\"yes\":true} they are dropped"});
}
