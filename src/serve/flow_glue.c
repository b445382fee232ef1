/* Life of models and schedule inside the node. */
#include "serve/flow_glue.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#define LOAD_WAIT_MS 120000
#define LOAD_AGAIN_MS 5000

struct flow_glue {
    mutex lock;
    mutex again_lock; /* one loading in the middle of runs at a time; before `lock` */
    condition changed;
    struct flow *flow;
    struct schedule *schedule;
    struct outbox *outbox;
    bool loading, stopping;
    struct err failure; /* status OK: loaded, or nothing tried yet */
    struct buf problems; /* of the last loading */
    size_t errors; /* for which the models were not put in use; those in flows and references alone are the matter of whoever runs these */
    atomic_uint_fast64_t changes; /* from 1 on */
    struct map *marks; /* table -> struct mark */
    struct thread loader;
};

struct mark {
    uint64_t changes, value;
};

/* ---- loading ---- */

static void say_problems(const struct config_problems *problems, const struct buf *text) {
    struct str rest = buf_view(text);
    for (size_t shown = 0; rest.n > 0 && shown < 20; shown++) {
        struct str line = str_cut(&rest, '\n');
        if (problems->errors)
            log_error("flow", "models or flows are wrong", LOG_VIEW("problem", line), NULL);
        else
            log_warn("flow", "models", LOG_VIEW("problem", line), NULL);
    }
}

/* E_CONFIG: something is wrong; what was loaded before stays, unless nothing was and the models themselves are good. config NULL: only models are looked at. */
static enum status load_models(struct node *node, struct flow *flow, const struct config *config, struct err *err) {
    struct flow_glue *glue = node->flow;
    struct config_problems problems = {0};
    const struct flow_model *const *before, *const *after;
    BUF_SCOPE(text);
    (void)flow_models(flow, &before);
    enum status status = flow_load_project(flow, config, 0, &problems, err);
    (void)flow_models(flow, &after);
    config_problems_write(&problems, CONFIG_FILE, &text);
    mutex_lock(&glue->lock);
    bool again = str_eq(buf_view(&glue->problems), buf_view(&text)); /* said before: a reference is tried again and again */
    mutex_unlock(&glue->lock);
    if (!node->options.command && (config || !again)) say_problems(&problems, &text);
    mutex_lock(&glue->lock);
    buf_clear(&glue->problems);
    buf_str(&glue->problems, buf_view(&text));
    glue->errors = before == after ? problems.errors : 0;
    mutex_unlock(&glue->lock);
    config_problems_free(&problems);
    struct err why = {0};
    if (status == OK && flow_note_absent(flow, &why) != OK) log_warn("flow", "tables without a model are not noted", LOG_STR("error", why.text), NULL);
    return status;
}

static enum status open_flow(struct node *node, struct flow **flow, struct err *err) {
    const struct config *config = node_config(node);
    struct flow_options options = {.host = &node->host,
        .dir = node->dir,
        .timezone = config->timezone,
        .ledger = node->ledger,
        .engine = node->engine,
        .lake = node->lake,
        .log = node->log};
    return flow_open(&options, flow, err);
}

static enum status open_schedule(struct node *node, struct schedule **schedule, struct err *err) {
    struct schedule_options options = {
        .host = &node->host, .ledger = node->ledger, .driver = node_flow_driver(node), .config = node_config(node), .passive = node->options.command};
    return schedule_open(&options, schedule, err);
}

/* With nobody else loading. Wrong models are no failure of this. */
static void load(struct node *node) {
    struct flow_glue *glue = node->flow;
    struct err err = {0};
    struct flow *flow = glue->flow;
    struct schedule *schedule = NULL;
    enum status status = flow ? OK : open_flow(node, &flow, &err);
    glue->flow = flow;
    if (status == OK) status = load_models(node, flow, node_config(node), &err);
    if (status == OK || status == E_CONFIG) status = open_schedule(node, &schedule, &err);
    if (status == OK) err = (struct err){0}; /* models were wrong: their problems say so */
    mutex_lock(&glue->lock);
    glue->failure = err;
    glue->schedule = schedule;
    glue->loading = false;
    bool start = schedule && !glue->stopping;
    condition_broadcast(&glue->changed);
    mutex_unlock(&glue->lock);
    if (start) schedule_start(schedule);
    if (start) node_flow_changed(node); /* events may have been left by a crash */
    if (status != OK) log_error("flow", "models cannot be loaded", LOG_STR("error", err.text), NULL);
}

/* A server: tries again until it works. */
static void *load_loop(void *argument) {
    struct node *node = argument;
    struct flow_glue *glue = node->flow;
    for (;;) {
        load(node);
        WITH_LOCK(&glue->lock);
        if (!glue->schedule && !glue->stopping) (void)condition_wait_ms(&glue->changed, &glue->lock, LOAD_AGAIN_MS);
        if (glue->schedule || glue->stopping) return NULL;
        glue->loading = true;
    }
}

enum status node_flow(struct node *node, struct flow **flow, struct schedule **schedule, struct err *err) {
    must(node->flow);
    struct flow_glue *glue = node->flow;
    int64_t until_ms = host_monotonic_ms(&node->host) + LOAD_WAIT_MS, left_ms;
    mutex_lock(&glue->lock);
    while (glue->loading && (left_ms = until_ms - host_monotonic_ms(&node->host)) > 0) (void)condition_wait_ms(&glue->changed, &glue->lock, left_ms);
    bool mine = !glue->schedule && !glue->loading && node->options.command;
    glue->loading = glue->loading || mine;
    mutex_unlock(&glue->lock);
    if (mine) load(node);
    WITH_LOCK(&glue->lock);
    if (!glue->schedule && glue->failure.status != OK) return err_set(err, glue->failure.status, "%s", glue->failure.text);
    if (!glue->schedule) return err_set(err, E_UNAVAILABLE, "the models are being loaded");
    if (flow) *flow = glue->flow;
    if (schedule) *schedule = glue->schedule;
    return OK;
}

enum status node_flow_good(struct node *node, struct flow **flow, struct schedule **schedule, struct err *err) {
    enum status status = node_flow(node, flow, schedule, err);
    if (status != OK) return status;
    WITH_LOCK(&node->flow->lock);
    if (node->flow->errors == 0) return OK;
    struct str rest = buf_view(&node->flow->problems), line = str_cut(&rest, '\n');
    while (rest.n > 0 && (str_find(line, STR(": warning: ")) >= 0)) line = str_cut(&rest, '\n');
    return err_set(
        err, E_UNPROCESSABLE, "models are wrong: " STR_FMT "%s", STR_ARG(str_head(line, 400)), node->flow->errors > 1 ? " (and more: `cupel check`)" : "");
}

void node_flow_problems(struct node *node, struct buf *out) {
    must(node->flow);
    WITH_LOCK(&node->flow->lock);
    buf_str(out, buf_view(&node->flow->problems));
}

uint64_t node_flow_changes(struct node *node) { return atomic_load(&node->flow->changes); }

bool node_flow_emits(struct node *node) {
    const struct flow_model *const *models;
    size_t n = flow_models(node_flow_handle(node), &models);
    for (size_t i = 0; i < n; i++) {
        if (models[i]->emit.stream) return true;
    }
    return false;
}

void node_flow_changed(struct node *node) {
    atomic_fetch_add(&node->flow->changes, 1);
    if (node->flow->outbox && node_flow_emits(node)) outbox_wake(node->flow->outbox);
}

struct flow *node_flow_handle(struct node *node) {
    must(node->flow && node->flow->flow);
    return node->flow->flow;
}

enum status node_flow_mark(struct node *node, const char *table, enum status (*read)(struct node *node, const char *table, uint64_t *out, struct err *err),
    uint64_t *out, struct err *err) {
    struct flow_glue *glue = node->flow;
    uint64_t changes = node_flow_changes(node), value;
    mutex_lock(&glue->lock);
    struct mark *mark = map_get(glue->marks, str_of(table));
    bool known = mark && mark->changes == changes;
    if (known) *out = mark->value;
    mutex_unlock(&glue->lock);
    if (known) return OK;
    enum status status = read(node, table, &value, err);
    if (status != OK) return status;
    WITH_LOCK(&glue->lock);
    mark = map_get(glue->marks, str_of(table));
    if (!mark) map_put(glue->marks, str_of(table), mark = mem_zalloc(sizeof *mark));
    *mark = (struct mark){changes, value};
    *out = value;
    return OK;
}

enum status node_warehouse_run(struct node *node, const char *sql, struct buf *rows, struct err *err) {
    struct lake_pin *pin;
    struct engine_work *work = NULL;
    enum status status = lake_pin(node->lake, &pin, err);
    if (status != OK) return status;
    status = engine_work_begin(node->engine, lake_pin_view(pin), NULL, 0, 0, &work, err);
    if (status == OK) status = engine_work_run(work, sql, rows, NULL, err);
    if (work) engine_work_end(&work);
    lake_unpin(&pin);
    return status;
}

/* ---- steps of node.c ---- */

enum status node_open_flow(struct node *node, struct err *err) {
    struct flow_glue *glue = mem_zalloc(sizeof *glue);
    mutex_init(&glue->lock);
    mutex_init(&glue->again_lock);
    condition_init(&glue->changed);
    glue->marks = map_new();
    schedule_declare_metrics();
    outbox_declare_metrics();
    node_flow_declare_metrics();
    atomic_store(&glue->changes, 1);
    node->flow = glue;
    if (node->options.command) return OK;
    glue->outbox = outbox_start(node);
    glue->loading = true;
    thread_start(&glue->loader, "flow-load", load_loop, node);
    return OK;
}

void node_close_flow(struct node *node) {
    struct flow_glue *glue = node->flow;
    mutex_lock(&glue->lock);
    glue->stopping = true;
    condition_broadcast(&glue->changed);
    mutex_unlock(&glue->lock);
    thread_join(&glue->loader);
    schedule_close(&glue->schedule);
    outbox_stop(&glue->outbox);
    flow_close(&glue->flow);
    buf_free(&glue->problems);
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(glue->marks, &at, &key, &value)) free(value);
    map_free(&glue->marks);
    condition_destroy(&glue->changed);
    mutex_destroy(&glue->lock);
    mutex_destroy(&glue->again_lock);
    free(glue);
    node->flow = NULL;
}

/* Models that are wrong refuse the reload: what runs goes on with the old ones. Where they were never loaded, the loader goes on trying. */
enum status node_reload_flow(struct node *node, const struct config *config, struct err *err) {
    struct flow *flow;
    struct schedule *schedule;
    struct err why = {0};
    if (node_flow(node, &flow, &schedule, &why) != OK) {
        log_warn("flow", "the models are not reloaded", LOG_STR("error", why.text), NULL);
        return OK;
    }
    enum status status = load_models(node, flow, config, err);
    if (status == OK) status = schedule_configure(schedule, config, err);
    if (status == OK) schedule_models_changed(schedule);
    return status;
}

void node_flow_load_again(struct node *node) {
    struct schedule *schedule = NULL;
    struct err err = {0};
    WITH_LOCK(&node->flow->again_lock);
    enum status status = load_models(node, node_flow_handle(node), NULL, &err);
    if (status != OK) log_warn("flow", "a reference has other columns, and the models cannot be bound again", LOG_STR("error", err.text), NULL);
    if (status != OK) return;
    log_info("flow", "a reference has other columns: the models were bound again", NULL);
    mutex_lock(&node->flow->lock);
    schedule = node->flow->schedule;
    mutex_unlock(&node->flow->lock);
    if (schedule) schedule_models_changed(schedule);
}

void node_revert_flow(struct node *node) {
    struct schedule *schedule = NULL;
    if (node_flow(node, NULL, &schedule, NULL) == OK) (void)schedule_configure(schedule, node->config, NULL);
}
