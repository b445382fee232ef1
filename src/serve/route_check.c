/* POST /v1/check: the project as it lies in the folder: cupel.yaml, models, expectations and references, read and bound beside those in use.
 *
 * It costs what the models cost and can be asked with any token: one runs at a time, few wait for it, and it ends after the time that a query may take. */
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "serve/flow_glue.h"

#define BODY_BYTES_MAX 65536u /* it needs none */
#define WAITING_MAX 3u
#define LOOK_US 20000

static void write_report(struct json_writer *w, const struct config_problems *problems, size_t models) {
    BUF_SCOPE(text);
    config_problems_write(problems, CONFIG_FILE, &text);
    struct str rest = buf_view(&text);
    json_begin_object(w);
    json_put_int(w, "models", (int64_t)models);
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

/* As a reload would read it. Warnings about cupel.yaml itself are for whoever reads that file (`cupel check`). */
static enum status read_config(struct node *node, struct config **out, struct config_problems *problems, struct err *err) {
    struct config_problems found = {0};
    enum status status = config_load(&node->host, node->dir, out, &found, err);
    if (status == E_CONFIG) *problems = found;
    if (status != E_CONFIG) config_problems_free(&found);
    return status;
}

static enum status check_project(struct node *node, struct buf *out, struct err *err) {
    struct config *config = NULL;
    struct flow *flow = NULL;
    const struct flow_model *const *models;
    struct config_problems problems = {0};
    enum status status = read_config(node, &config, &problems, err);
    struct flow_options options = {.host = &node->host,
        .dir = node->dir,
        .timezone = config ? config->timezone : NULL,
        .ledger = node->ledger,
        .engine = node->engine,
        .lake = node->lake,
        .log = node->log};
    if (status == OK) status = flow_open(&options, &flow, err);
    if (status == OK) status = flow_load_project(flow, config, (int64_t)node_config(node)->sql.query_seconds * 1000, &problems, err);
    if (status == OK || status == E_CONFIG) {
        struct json_writer w = json_write_to(out);
        write_report(&w, &problems, flow ? flow_models(flow, &models) : 0);
        status = OK;
    }
    config_problems_free(&problems);
    flow_close(&flow);
    config_free(&config);
    return status;
}

/* ---- one at a time ---- */

static bool take_turn(struct node *node) {
    bool free_now = false;
    return atomic_compare_exchange_strong(&node->checking, &free_now, true);
}

static enum status wait_for_turn(struct node *node, struct err *err) {
    int64_t until_ms = host_monotonic_ms(&node->host) + (int64_t)node_config(node)->sql.wait_seconds * 1000;
    bool turn = take_turn(node);
    if (turn) return OK;
    if (atomic_fetch_add(&node->checks_waiting, 1) < WAITING_MAX) {
        while (!turn && host_monotonic_ms(&node->host) < until_ms && !atomic_load(&node->draining)) {
            node->host.clock->sleep_us(node->host.clock->self, LOOK_US);
            turn = take_turn(node);
        }
    }
    atomic_fetch_sub(&node->checks_waiting, 1);
    return turn ? OK : err_set(err, E_BUSY, "another check is under way, and one runs at a time; try again");
}

static enum status check(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    (void)r;
    enum status status = wait_for_turn(node, err);
    if (status != OK) return status;
    status = check_project(node, out, err);
    atomic_store(&node->checking, false);
    return status;
}

JSON_HANDLER(on_check, check)

void routes_check(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"POST", "/v1/check", on_check, node, .body_bytes_max = BODY_BYTES_MAX, .operation = "check", .access = ACCESS_READ,
            .summary = "Read and bind the project as it lies in the folder; changes nothing"});
}
