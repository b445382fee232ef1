/* POST /v1/check: the models as they lie in the folder, read and bound beside those in use, and what flows say about them. */
#include <string.h>

#include "base/assert.h"
#include "flow/select.h"
#include "serve/flow_glue.h"

static bool table_exists(const struct flow_model *const *models, size_t n, const char *table) {
    if (strncmp(table, "bronze.", 7) == 0) return true; /* config has looked */
    for (size_t i = 0; i < n; i++) {
        if (strcmp(models[i]->full, table) == 0) return true;
    }
    return false;
}

/* Selections that fit nothing, tables that are no model's. */
static void check_flows(const struct config *config, struct flow *flow, struct config_problems *problems) {
    ARENA_SCOPE(arena);
    const struct flow_model *const *models;
    size_t n = flow_models(flow, &models);
    problems->file = NULL;
    for (size_t i = 0; i < config->flows_n; i++) {
        const struct config_flow *f = &config->flows[i];
        for (size_t k = 0; k < f->steps_n; k++) {
            const char *const *names;
            size_t names_n;
            struct err err = {0};
            if (f->steps[k].models_n && flow_select(models, n, f->steps[k].models, f->steps[k].models_n, arena, &names, &names_n, &err) != OK)
                config_problem_add(problems, false, f->line, 1, "flow %s: %s", f->name, err.text);
        }
        for (size_t k = 0; k < f->on_n; k++) {
            if (!table_exists(models, n, f->on[k])) config_problem_add(problems, false, f->line, 1, "flow %s: there is no model %s", f->name, f->on[k]);
        }
    }
}

static void write_report(struct json_writer *w, const struct config_problems *problems, struct flow *flow) {
    const struct flow_model *const *models;
    BUF_SCOPE(text);
    config_problems_write(problems, CONFIG_FILE, &text);
    struct str rest = buf_view(&text);
    json_begin_object(w);
    json_put_int(w, "models", (int64_t)flow_models(flow, &models));
    json_put_int(w, "errors", (int64_t)problems->errors);
    json_name(w, "problems");
    json_begin_array(w);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n');
        if (line.n) json_str(w, line);
    }
    json_end_array(w);
    json_end_object(w);
}

static enum status check(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    const struct config *config = node_config(node);
    struct flow *flow = NULL;
    struct config_problems problems = {0};
    struct flow_options options = {.host = &node->host,
        .dir = node->dir,
        .timezone = config->timezone,
        .ledger = node->ledger,
        .engine = node->engine,
        .lake = node->lake,
        .log = node->log};
    enum status status = flow_open(&options, &flow, err);
    if (status == OK) status = flow_load(flow, &problems, err);
    if (status == OK) check_flows(config, flow, &problems);
    if (status == OK || status == E_CONFIG) {
        struct json_writer w = json_write_to(out);
        write_report(&w, &problems, flow);
        status = OK;
    }
    config_problems_free(&problems);
    flow_close(&flow);
    return status;
}

JSON_HANDLER(on_check, check)

void routes_check(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"POST", "/v1/check", on_check, node, .operation = "check", .access = ACCESS_READ,
            .summary = "Read and bind the models as they lie in the folder; changes nothing"});
}
