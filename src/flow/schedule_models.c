/* Models by themselves: whose turn it is, and what happens when one fails.
 *
 * A model that reads others waits for them while they are due and have not run since its own last run: so a change goes through a chain in order and each model
 * runs once for it, and a model above that is always due (its input never stops) holds nobody up for ever. Among those that may run, the one that has waited
 * longest goes first. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/schedule_priv.h"
#include "flow/select.h"

static struct metric metric_lag = {.name = "cupel_model_lag_seconds",
    .help = "Age of the oldest input of a model that it has not processed; 0: it is up to date. Missing after a start until that is known: the model is up "
            "to date, or its first run went well.",
    .kind = METRIC_GAUGE,
    .labels = "model"};
static struct metric metric_failing = {
    .name = "cupel_model_failing", .help = "Failures of a model in a row; 0: its last run went well.", .kind = METRIC_GAUGE, .labels = "model"};
static struct metric metric_seconds = {
    .name = "cupel_model_run_seconds", .help = "Duration of runs of a model that did something.", .kind = METRIC_HISTOGRAM, .labels = "model"};
static struct metric metric_runs = {.name = "cupel_model_runs_total", .help = "Runs of a model.", .kind = METRIC_COUNTER, .labels = "model,status"};
static struct metric metric_rows = {.name = "cupel_model_rows_total",
    .help = "Rows of a model: in (of its inputs), out (of its SQL), quarantined.",
    .kind = METRIC_COUNTER,
    .labels = "model,kind"};

void models_declare_metrics(void) {
    struct metric *const all[] = {&metric_lag, &metric_failing, &metric_seconds, &metric_runs, &metric_rows};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) metric_register(all[i]);
}

/* ---- the set of models ---- */

static struct model_state *state_new(struct schedule *s, const char *name) {
    struct model_state *state = mem_zalloc(sizeof *state);
    state->name = mem_strdup(name);
    state->failing = metric_series(&metric_failing, name);
    state->seconds = metric_series(&metric_seconds, name);
    state->runs_done = metric_series(&metric_runs, name, "done");
    state->runs_failed = metric_series(&metric_runs, name, "failed");
    state->rows_in = metric_series(&metric_rows, name, "in");
    state->rows_out = metric_series(&metric_rows, name, "out");
    state->rows_quarantined = metric_series(&metric_rows, name, "quarantined");
    map_put(s->states, str_of(name), state);
    return state;
}

/* What this model reads, through others too: those stand before it and have their set already. */
static void find_above(struct schedule *s, struct model_state *state) {
    must(state->index < s->order_n);
    free(state->above);
    state->above = mem_zalloc(s->order_n + 1);
    for (size_t i = 0; i < state->model->inputs_n; i++) {
        const struct flow_model *read = state->model->inputs[i].model;
        struct model_state *other = read ? map_get(s->states, str_of(read->full)) : NULL;
        if (!other || !other->model || other->index >= state->index) continue;
        state->above[other->index] = true;
        for (size_t k = 0; k < other->index; k++) state->above[k] = state->above[k] || other->above[k];
    }
}

void models_take(struct schedule *s) {
    const struct flow_model *const *models = NULL;
    size_t n = s->options.driver.models(s->options.driver.context, &models), at = 0;
    struct str key;
    void *value;
    while (map_next(s->states, &at, &key, &value)) ((struct model_state *)value)->model = NULL;
    free(s->order);
    s->order = mem_zalloc((n + 1) * sizeof *s->order);
    s->order_n = n;
    for (size_t i = 0; i < n; i++) {
        struct model_state *state = map_get(s->states, str_of(models[i]->full));
        if (!state) state = state_new(s, models[i]->full);
        state->model = models[i];
        state->index = i;
        s->order[i] = state;
        find_above(s, state);
    }
    at = 0;
    while (map_next(s->states, &at, &key, &value)) {
        struct model_state *state = value;
        if (state->model) continue;
        state->due = false;
        state->due_since_ms = 0;
        state->failures = 0;
        if (state->lag) series_set(state->lag, 0);
        series_set(state->failing, 0);
    }
    models_exclude(s);
}

void models_free(struct schedule *s) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(s->states, &at, &key, &value)) {
        struct model_state *state = value;
        free(state->name);
        free(state->above);
        free(state);
    }
    map_free(&s->states);
    free(s->order);
}

void models_exclude(struct schedule *s) {
    for (size_t i = 0; i < s->order_n; i++) s->order[i]->exclusive = false;
    ARENA_SCOPE(arena);
    const struct flow_model **models = arena_new_array(arena, const struct flow_model *, s->order_n + 1);
    for (size_t i = 0; i < s->order_n; i++) models[i] = s->order[i]->model;
    for (size_t f = 0; f < s->config->flows_n; f++) {
        const struct config_flow *flow = &s->config->flows[f];
        for (size_t k = 0; flow->exclusive && k < flow->steps_n; k++) {
            const char *const *names;
            size_t n;
            if (flow->steps[k].models_n == 0 || flow_select(models, s->order_n, flow->steps[k].models, flow->steps[k].models_n, arena, &names, &n, NULL) != OK)
                continue; /* `check` says it; the run too */
            for (size_t i = 0; i < n; i++) ((struct model_state *)map_get(s->states, str_of(names[i])))->exclusive = true;
        }
    }
}

/* ---- due ---- */

/* What was waiting when this process began may have waited for long: the lag is not shown before the model was seen without anything to do, or ran well. */
static void show_lag(struct model_state *state, int64_t now_ms) {
    if (!state->lag_known) return;
    if (!state->lag) state->lag = metric_series(&metric_lag, state->name);
    int64_t lag_ms = state->due_since_ms ? now_ms - state->due_since_ms : 0;
    series_set(state->lag, lag_ms > 0 ? (lag_ms + 500) / 1000 : 0);
}

void models_set_due(struct schedule *s, const char *const *names, size_t n) {
    int64_t now_ms = host_wall_ms(s->options.host);
    for (size_t i = 0; i < s->order_n; i++) s->order[i]->due = false;
    for (size_t i = 0; i < n; i++) {
        struct model_state *state = map_get(s->states, str_of(names[i]));
        if (!state || !state->model) continue;
        state->due = !state->running; /* a run under way: its end makes us look again */
        if (state->due_since_ms == 0) state->due_since_ms = now_ms;
    }
    for (size_t i = 0; i < s->order_n; i++) {
        struct model_state *state = s->order[i];
        if (!state->due && !state->running) {
            state->due_since_ms = 0;
            state->lag_known = true;
        }
        show_lag(state, now_ms);
    }
}

static bool waits_for(const struct schedule *s, const struct model_state *state, int64_t now_ms) {
    for (size_t i = 0; i < state->index; i++) {
        const struct model_state *other = s->order[i];
        if (!state->above[i] || other->exclusive) continue;
        if (other->running && now_ms - other->started_ms < ANCESTOR_WAIT_MS) return true;
        if (!other->running && other->due && now_ms >= other->retry_at_ms && other->last_turn <= state->last_turn) return true;
    }
    return false;
}

struct model_state *models_pick(struct schedule *s, int64_t now_ms) {
    struct model_state *best = NULL;
    for (size_t i = 0; i < s->order_n; i++) {
        struct model_state *state = s->order[i];
        if (!state->due || state->running || state->exclusive || now_ms < state->retry_at_ms) continue;
        if (state->last_turn > 0 && now_ms - state->started_ms < s->config->flow.tick_ms) continue;
        if ((best && best->last_turn <= state->last_turn) || waits_for(s, state, now_ms)) continue;
        best = state;
    }
    if (!best) return NULL;
    best->running = true;
    best->due = false; /* until the inputs were looked at again */
    best->last_turn = ++s->turn;
    best->started_ms = now_ms;
    best->last_start_ms = host_wall_ms(s->options.host);
    return best;
}

/* ---- running ---- */

static bool stopping(void *context) { return atomic_load(&((struct schedule *)context)->stopping); }

void models_count(struct schedule *s, const struct flow_model_result *result) {
    struct model_state *state = map_get(s->states, str_of(result->model));
    if (!state) return;
    bool ran = result->status == FLOW_DONE || result->status == FLOW_FAILED;
    if (ran) series_observe(state->seconds, result->ms / 1000);
    if (ran) series_add(result->status == FLOW_DONE ? state->runs_done : state->runs_failed, 1);
    if (result->status != FLOW_DONE) return;
    series_add(state->rows_in, result->rows_in);
    series_add(state->rows_out, result->rows_out);
    series_add(state->rows_quarantined, result->quarantined);
}

static void went_well(struct schedule *s, struct model_state *state) {
    if (state->failures > 0) log_info("flow", "the model runs again", LOG_STR("model", state->name), LOG_INT("failures", state->failures), NULL);
    state->failures = 0;
    state->retry_at_ms = state->retry_wall_ms = 0;
    state->error[0] = '\0';
    state->lag_known = true;
    state->due_since_ms = state->last_start_ms; /* what came since then is all that can be unprocessed; cleared when nothing is due */
    series_set(state->failing, 0);
}

static void went_wrong(struct schedule *s, struct model_state *state, const char *error) {
    int64_t wait_ms = 1000, most_ms = s->config->flow.backoff_max_ms;
    for (unsigned i = 0; i < state->failures && wait_ms < most_ms; i++) wait_ms *= 2;
    if (wait_ms > most_ms) wait_ms = most_ms;
    bool first = state->failures++ == 0 || strcmp(state->error, error) != 0;
    state->retry_at_ms = host_monotonic_ms(s->options.host) + wait_ms;
    state->retry_wall_ms = host_wall_ms(s->options.host) + wait_ms;
    size_t n = strlen(error);
    if (n >= sizeof state->error) n = sizeof state->error - 1;
    memcpy(state->error, error, n);
    state->error[n] = '\0';
    series_set(state->failing, state->failures);
    if (first)
        log_error("flow", "a model failed; its table stays as it was", LOG_STR("model", state->name), LOG_STR("error", state->error),
            LOG_INT("failures", state->failures), LOG_INT("retry_in_ms", wait_ms), NULL);
    else
        log_debug("flow", "a model failed again", LOG_STR("model", state->name), LOG_INT("failures", state->failures), NULL);
}

void models_run(struct schedule *s, struct model_state *state) {
    must(state->running);
    ARENA_SCOPE(arena);
    struct err err = {0};
    struct flow_model_result *results = NULL;
    size_t n = 0;
    const char *names[] = {state->name};
    const struct flow_run_options options = {.models = names, .n = 1, .flow = NULL, .trigger = "input", .cancelled = stopping, .context = s};
    s->models_running++;
    mutex_unlock(&s->lock);
    enum status status = s->options.driver.run(s->options.driver.context, arena, &options, &results, &n, &err);
    mutex_lock(&s->lock);
    s->models_running--;
    state->running = false;
    s->hurry = true; /* its readers may be due now */
    condition_signal(&s->look);
    if (atomic_load(&s->stopping) || status == E_CANCELLED) return;
    const struct flow_model_result *result = status == OK && n > 0 ? &results[0] : NULL;
    if (result) models_count(s, result);
    if (!result || result->status == FLOW_FAILED)
        went_wrong(s, state, result ? result->error ? result->error : "it failed" : status != OK ? err.text : "it was not run");
    else if (result->status == FLOW_DONE || result->status == FLOW_UNCHANGED)
        went_well(s, state);
}
