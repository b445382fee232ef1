/* The schedule's threads: one looks what has become due, the others work. */
#include "flow/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/schedule_priv.h"
#include "flow/select.h"

#define PRUNE_EVERY_MS INT64_C(3600000)
#define GAUGES_EVERY_MS 5000
#define LOOK_APART_MS 20 /* between two looks, however much happens */

/* ---- looking ---- */

/* Only a server runs models by themselves. */
static void look_for_models(struct schedule *s) {
    ARENA_SCOPE(arena);
    const char *const *names = NULL;
    size_t n = 0;
    struct err err = {0};
    mutex_unlock(&s->lock);
    enum status status = s->options.driver.due(s->options.driver.context, arena, &names, &n, &err);
    mutex_lock(&s->lock);
    if (status == OK)
        models_set_due(s, names, n);
    else if (!atomic_load(&s->stopping))
        log_warn("flow", "the inputs of models cannot be looked at", LOG_STR("error", err.text), NULL);
}

static void prune_history(struct schedule *s) {
    int64_t now_ms = host_monotonic_ms(s->options.host), before_ms = host_wall_ms(s->options.host) - s->config->flow.history_ms;
    struct err err = {0};
    if (s->pruned_ms && now_ms - s->pruned_ms < PRUNE_EVERY_MS) return;
    s->pruned_ms = now_ms;
    mutex_unlock(&s->lock);
    enum status status = ledger_run_prune(s->options.ledger, before_ms, &err);
    if (status == OK && s->options.driver.prune) status = s->options.driver.prune(s->options.driver.context, before_ms, &err);
    mutex_lock(&s->lock);
    if (status != OK && !atomic_load(&s->stopping)) log_warn("flow", "old runs cannot be removed", LOG_STR("error", err.text), NULL);
}

static void look_at_gauges(struct schedule *s) {
    int64_t now_ms = host_monotonic_ms(s->options.host);
    if (!s->options.driver.gauges || (s->gauged_ms && now_ms - s->gauged_ms < GAUGES_EVERY_MS)) return;
    s->gauged_ms = now_ms;
    mutex_unlock(&s->lock);
    s->options.driver.gauges(s->options.driver.context);
    mutex_lock(&s->lock);
}

static void look(struct schedule *s) {
    s->hurry = false;
    if (!s->options.passive) {
        triggers_times(s, host_wall_ms(s->options.host));
        triggers_tables(s);
        look_for_models(s);
        prune_history(s);
        look_at_gauges(s);
    }
    runs_advance(s);
    condition_broadcast(&s->work);
}

static void *look_loop(void *argument) {
    struct schedule *s = argument;
    mutex_lock(&s->lock);
    while (!atomic_load(&s->stopping)) {
        int64_t began_ms = host_monotonic_ms(s->options.host), until_ms = began_ms + s->config->flow.tick_ms;
        look(s);
        for (;;) {
            int64_t now_ms = host_monotonic_ms(s->options.host), wake_ms = s->hurry ? began_ms + LOOK_APART_MS : until_ms;
            if (atomic_load(&s->stopping) || now_ms >= wake_ms) break;
            (void)condition_wait_ms(&s->look, &s->lock, wake_ms - now_ms);
        }
    }
    mutex_unlock(&s->lock);
    return NULL;
}

/* ---- working ---- */

/* A long run of a flow never takes the last worker: models by themselves go on beside it. */
static bool work_once(struct schedule *s) {
    size_t most = s->workers_n > 1 ? s->workers_n - 1 : 1;
    struct run *run;
    struct step *step;
    if (s->steps_running < most && steps_pick(s, &run, &step)) {
        step_run(s, run, step);
        return true;
    }
    struct model_state *state = s->options.passive ? NULL : models_pick(s, host_monotonic_ms(s->options.host));
    if (!state) return false;
    models_run(s, state);
    return true;
}

static void *work_loop(void *argument) {
    struct schedule *s = argument;
    mutex_lock(&s->lock);
    while (!atomic_load(&s->stopping)) {
        if (!work_once(s)) condition_wait(&s->work, &s->lock);
    }
    mutex_unlock(&s->lock);
    return NULL;
}

/* ---- life ---- */

enum status schedule_open(const struct schedule_options *options, struct schedule **out, struct err *err) {
    must(options && options->host && options->ledger && options->config && options->driver.models && out);
    struct schedule *s = mem_zalloc(sizeof *s);
    s->options = *options;
    s->config = options->config;
    s->states = map_new();
    mutex_init(&s->lock);
    condition_init(&s->work);
    condition_init(&s->look);
    mutex_lock(&s->lock);
    enum status status = triggers_take(s, s->config, err);
    if (status == OK) models_take(s);
    if (status == OK && !options->passive) status = runs_recover(s, err);
    mutex_unlock(&s->lock);
    if (status != OK) {
        schedule_close(&s);
        return status;
    }
    *out = s;
    return OK;
}

void schedule_start(struct schedule *s) {
    must(s && !s->started);
    s->started = true;
    s->workers_n = s->config->flow.concurrency < WORKERS_MAX ? (size_t)s->config->flow.concurrency : WORKERS_MAX;
    thread_start(&s->looker, "flow-look", look_loop, s);
    for (size_t i = 0; i < s->workers_n; i++) thread_start(&s->workers[i], "flow-work", work_loop, s);
}

/* Nobody repeats what a command leaves behind. */
static void give_up(struct schedule *s, const struct run *run) {
    const struct ledger_run row = {
        .id = run->id, .status = "cancelled", .started_ms = run->started_ms, .finished_ms = host_wall_ms(s->options.host), .error = "the command ended before"};
    (void)ledger_run_update(s->options.ledger, &row, NULL);
}

void schedule_close(struct schedule **schedule) {
    struct schedule *s = *schedule;
    if (!s) return;
    mutex_lock(&s->lock);
    atomic_store(&s->stopping, true);
    condition_broadcast(&s->work);
    condition_broadcast(&s->look);
    mutex_unlock(&s->lock);
    thread_join(&s->looker);
    for (size_t i = 0; i < s->workers_n; i++) thread_join(&s->workers[i]);
    while (s->runs) {
        struct run *run = s->runs;
        s->runs = run->next;
        if (s->options.passive) give_up(s, run);
        run_free(&run);
    }
    triggers_free(s);
    models_free(s);
    condition_destroy(&s->work);
    condition_destroy(&s->look);
    mutex_destroy(&s->lock);
    free(s);
    *schedule = NULL;
}

enum status schedule_configure(struct schedule *s, const struct config *config, struct err *err) {
    must(s && config);
    WITH_LOCK(&s->lock);
    enum status status = triggers_take(s, config, err);
    if (status != OK) return status;
    s->config = config;
    models_exclude(s);
    s->hurry = true;
    condition_signal(&s->look);
    return OK;
}

void schedule_models_changed(struct schedule *s) {
    must(s);
    WITH_LOCK(&s->lock);
    models_take(s);
    s->hurry = true;
    condition_signal(&s->look);
}

void schedule_wake(struct schedule *s) {
    must(s);
    WITH_LOCK(&s->lock);
    s->hurry = true;
    condition_signal(&s->look);
}

void schedule_declare_metrics(void) {
    models_declare_metrics();
    runs_declare_metrics();
}

/* ---- asking for runs ---- */

static enum status accept(struct schedule *s, struct run *run, char id[SCHEDULE_RUN_ID_MAX], struct err *err) {
    char made[SCHEDULE_RUN_ID_MAX];
    memcpy(made, run->id, sizeof made);
    enum status status = run_accept(s, run, err);
    if (status == OK) memcpy(id, made, sizeof made);
    return status;
}

static enum status no_flow(const struct schedule *s, const char *name, struct err *err) {
    const char *nearest = NULL;
    int best = 4;
    for (size_t i = 0; i < s->config->flows_n; i++) {
        int distance = str_distance(str_of(name), str_of(s->config->flows[i].name));
        if (distance >= best) continue;
        best = distance;
        nearest = s->config->flows[i].name;
    }
    if (nearest) return err_set(err, E_NOT_FOUND, "there is no flow %.100s; did you mean %s?", name, nearest);
    return err_set(err, E_NOT_FOUND, "there is no flow %.100s under `flows:` in cupel.yaml", name);
}

enum status schedule_run_flow(struct schedule *s, const char *flow, const char *cause, char id[SCHEDULE_RUN_ID_MAX], struct err *err) {
    must(s && flow && cause);
    WITH_LOCK(&s->lock);
    const struct config_flow *config = config_find_flow(s->config, str_of(flow));
    return config ? accept(s, run_new(s, config, cause), id, err) : no_flow(s, flow, err);
}

/* A selection that fits nothing is said at once. */
static enum status check_selection(struct schedule *s, const char *const *selectors, size_t n, struct err *err) {
    ARENA_SCOPE(arena);
    const struct flow_model *const *models = NULL;
    const char *const *names;
    size_t models_n = s->options.driver.models(s->options.driver.context, &models), names_n;
    if (n > 64) return err_set(err, E_LIMIT, "%zu selections, the limit is 64", n);
    return flow_select(models, models_n, selectors, n, arena, &names, &names_n, err);
}

static struct run *run_of_request(struct schedule *s, const struct schedule_request *request, const char *cause) {
    struct run *run = run_new(s, NULL, cause);
    const char **models = arena_new_array(run->arena, const char *, request->models_n + 1);
    for (size_t i = 0; i < request->models_n; i++) models[i] = arena_strdup(run->arena, request->models[i]);
    run->request = *request;
    run->request.models = models;
    return run;
}

enum status schedule_run_models(struct schedule *s, const struct schedule_request *request, const char *cause, char id[SCHEDULE_RUN_ID_MAX], struct err *err) {
    must(s && request && cause);
    enum status status = check_selection(s, request->models, request->models_n, err);
    if (status != OK) return status;
    WITH_LOCK(&s->lock);
    return accept(s, run_of_request(s, request, cause), id, err);
}

/* Where an earlier backfill of the same range stopped; from_us when there is none, or it is whole. */
static int64_t resume_at(struct schedule *s, const char *flow, const struct run *wanted) {
    ARENA_SCOPE(arena);
    struct ledger_run *rows;
    size_t n;
    if (ledger_run_list(s->options.ledger, arena, flow, 1000, &rows, &n, NULL) != OK) return wanted->request.from_us;
    for (size_t i = 0; i < n; i++) {
        struct run old = {.arena = arena};
        if (strcmp(rows[i].cause, "backfill") != 0 || !run_read_request(&old, rows[i].request)) continue;
        bool same =
            old.request.from_us == wanted->request.from_us && old.request.to_us == wanted->request.to_us && old.request.models_n == wanted->request.models_n;
        for (size_t k = 0; same && k < old.request.models_n; k++) same = strcmp(old.request.models[k], wanted->request.models[k]) == 0;
        if (!same) continue;
        bool whole = old.done_us >= old.request.to_us;
        return whole || old.done_us < old.request.from_us ? wanted->request.from_us : old.done_us;
    }
    return wanted->request.from_us;
}

enum status schedule_backfill(struct schedule *s, const char *name, int64_t from_us, int64_t to_us, int64_t wave_us, bool anew, const char *cause,
    char id[SCHEDULE_RUN_ID_MAX], struct err *err) {
    must(s && name && cause);
    const struct schedule_request request = {.models = &name, .models_n = 1, .from_us = from_us, .to_us = to_us, .wave_us = wave_us};
    if (from_us >= to_us) return err_set(err, E_INVALID, "the range is empty: it ends before it begins");
    mutex_lock(&s->lock);
    const struct config_flow *flow = config_find_flow(s->config, str_of(name));
    mutex_unlock(&s->lock);
    enum status status = flow ? OK : check_selection(s, &name, 1, err);
    if (status == E_NOT_FOUND) return err_set(err, E_NOT_FOUND, "there is neither a flow nor a model %.100s", name);
    if (status != OK) return status;
    WITH_LOCK(&s->lock);
    struct run *run = flow ? run_new(s, flow, "backfill") : run_of_request(s, &request, "backfill");
    if (flow) {
        run->request = request;
        run->request.models = NULL;
        run->request.models_n = 0;
    }
    run->backfill = true;
    run->done_us = anew ? from_us : resume_at(s, run->flow, run);
    return accept(s, run, id, err);
}

enum status schedule_cancel(struct schedule *s, const char *id, struct err *err) {
    must(s && id);
    WITH_LOCK(&s->lock);
    struct run *run = run_find(s, id);
    if (!run) return err_set(err, E_NOT_FOUND, "no run %.80s is under way", id);
    __atomic_store_n(&run->cancelled, true, __ATOMIC_RELAXED);
    for (struct run *child = s->runs; child; child = child->next) {
        for (const struct run *p = child->parent; p; p = p->parent) {
            if (p == run) __atomic_store_n(&child->cancelled, true, __ATOMIC_RELAXED);
        }
    }
    s->hurry = true;
    condition_signal(&s->look);
    return OK;
}
