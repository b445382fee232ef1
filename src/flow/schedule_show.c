/* What a schedule shows: flows, runs, states of models. */
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "flow/schedule_priv.h"
#include "flow/select.h"

static const char *step_state_name(enum step_state state) {
    static const char *const names[] = {"waiting", "ready", "running", "retrying", "running", "done", "skipped", "failed", "left"};
    must((size_t)state < sizeof names / sizeof names[0]);
    return names[state];
}

const char *flow_status_name(enum flow_status status) {
    static const char *const names[] = {"done", "unchanged", "failed", "skipped", "planned"};
    must((size_t)status < sizeof names / sizeof names[0]);
    return names[status];
}

static void put_time(struct json_writer *w, const char *name, int64_t at_ms) {
    if (at_ms > 0)
        json_put_time_ms(w, name, at_ms);
    else
        json_put_text(w, name, NULL);
}

static void write_outcome(struct json_writer *w, const struct outcome *o) {
    must(o->model);
    json_begin_object(w);
    json_put_text(w, "model", o->model);
    json_put_text(w, "status", flow_status_name(o->status));
    json_put_text(w, "strategy", o->strategy);
    json_put_text(w, "run_id", o->run_id);
    json_put_int(w, "version", o->version);
    json_put_int(w, "rows_in", o->rows_in);
    json_put_int(w, "rows_out", o->rows_out);
    json_put_int(w, "filtered", o->filtered);
    json_put_int(w, "superseded", o->superseded);
    json_put_int(w, "quarantined", o->quarantined);
    json_put_int(w, "inserted", o->inserted);
    json_put_int(w, "deleted", o->deleted);
    if (o->differences) json_put_int(w, "differences", o->differences);
    json_name(w, "duration_ms");
    json_double(w, o->ms);
    if (o->detail) json_put_text(w, "detail", o->detail);
    if (o->error) json_put_text(w, "error", o->error);
    json_end_object(w);
}

static void write_step(struct json_writer *w, const struct step *step) {
    const struct config_step *config = step->config;
    json_begin_object(w);
    json_put_text(w, "name", config->name);
    json_put_text(w, "kind", config->sql ? "sql" : config->flow ? "flow" : "models");
    json_put_text(w, "status", step_state_name(step->state));
    json_put_int(w, "attempts", step->attempts);
    put_time(w, "started_at", step->started_ms);
    if (step->finished_ms) json_put_int(w, "duration_ms", step->finished_ms - step->started_ms);
    if (step->child[0]) json_put_text(w, "run", step->child);
    if (step->error[0]) json_put_text(w, "error", step->error);
    json_name(w, "models");
    json_begin_array(w);
    for (const struct outcome *o = step->outcomes; o; o = o->next) write_outcome(w, o);
    json_end_array(w);
    json_end_object(w);
}

void run_write_steps(const struct run *run, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_array(&w);
    for (size_t i = 0; i < run->steps_n; i++) write_step(&w, &run->steps[i]);
    json_end_array(&w);
}

/* ---- runs ---- */

static void write_row(struct json_writer *w, const struct ledger_run *row, struct str steps) {
    json_begin_object(w);
    json_put_text(w, "id", row->id);
    json_put_text(w, "flow", row->flow);
    json_put_text(w, "cause", row->cause);
    json_put_text(w, "status", row->status);
    put_time(w, "created_at", row->created_ms);
    put_time(w, "scheduled_at", row->scheduled_ms);
    put_time(w, "started_at", row->started_ms);
    put_time(w, "finished_at", row->finished_ms);
    if (row->finished_ms && row->started_ms) json_put_int(w, "duration_ms", row->finished_ms - row->started_ms);
    json_name(w, "request");
    json_raw(w, row->request && *row->request ? str_of(row->request) : STR("{}"));
    json_name(w, "steps");
    json_raw(w, steps.n ? steps : STR("[]"));
    json_put_text(w, "error", row->error);
    json_end_object(w);
}

enum status schedule_run_json(struct schedule *s, const char *id, struct buf *out, struct err *err) {
    must(s && id && out);
    ARENA_SCOPE(arena);
    BUF_SCOPE(steps);
    struct ledger_run row;
    enum status status = ledger_run_get(s->options.ledger, arena, id, &row, err);
    if (status != OK) return status;
    WITH_LOCK(&s->lock);
    const struct run *run = run_find(s, id);
    if (run) run_write_steps(run, &steps); /* newer than what the ledger has */
    struct json_writer w = json_write_to(out);
    write_row(&w, &row, run ? buf_view(&steps) : str_of(row.detail));
    return OK;
}

enum status schedule_runs_json(struct schedule *s, const char *flow, size_t limit, struct buf *out, struct err *err) {
    must(s && out);
    ARENA_SCOPE(arena);
    struct ledger_run *rows;
    size_t n;
    enum status status = ledger_run_list(s->options.ledger, arena, flow, limit, &rows, &n, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) write_row(&w, &rows[i], str_of(rows[i].detail));
    json_end_array(&w);
    return OK;
}

/* ---- flows ---- */

static void write_names(struct json_writer *w, const char *name, const char *const *list, size_t n) {
    json_name(w, name);
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) json_text(w, list[i]);
    json_end_array(w);
}

/* All models that its steps name, in the order in which they run. */
static void write_models(struct schedule *s, struct json_writer *w, const struct config_flow *flow) {
    ARENA_SCOPE(arena);
    const struct flow_model *const *models = NULL;
    const char *const *names = NULL;
    size_t models_n = s->options.driver.models(s->options.driver.context, &models), n = 0, selectors_n = 0, cap = 1;
    for (size_t i = 0; i < flow->steps_n; i++) cap += flow->steps[i].models_n;
    const char **selectors = arena_new_array(arena, const char *, cap);
    for (size_t i = 0; i < flow->steps_n; i++) {
        for (size_t k = 0; k < flow->steps[i].models_n; k++) selectors[selectors_n++] = flow->steps[i].models[k];
    }
    struct err err = {0};
    if (selectors_n > 0 && flow_select(models, models_n, selectors, selectors_n, arena, &names, &n, &err) != OK) json_put_text(w, "problem", err.text);
    write_names(w, "models", names, n);
}

static void write_flow(struct schedule *s, struct json_writer *w, const struct trigger *t, const struct ledger_run *last) {
    const struct config_flow *flow = t->config;
    size_t running = 0, queued = 0;
    for (const struct run *run = s->runs; run; run = run->next) {
        if (strcmp(run->flow, flow->name) != 0) continue;
        running += run->started;
        queued += !run->started;
    }
    json_begin_object(w);
    json_put_text(w, "name", flow->name);
    json_put_text(w, "description", flow->description);
    json_put_text(w, "schedule", flow->schedule);
    json_put_text(w, "timezone", flow->schedule ? flow->timezone : NULL);
    json_put_text(w, "after", flow->after);
    write_names(w, "on", flow->on, flow->on_n);
    json_put_bool(w, "exclusive", flow->exclusive);
    put_time(w, "next_at", t->timed ? t->next_ms : 0);
    json_put_text(w, "status", running ? "running" : queued ? "queued" : last ? last->status : "");
    json_put_int(w, "running", (int64_t)running);
    json_put_int(w, "queued", (int64_t)queued);
    json_name(w, "steps");
    json_begin_array(w);
    for (size_t i = 0; i < flow->steps_n; i++) json_text(w, flow->steps[i].name);
    json_end_array(w);
    write_models(s, w, flow);
    json_name(w, "last_run");
    if (last)
        write_row(w, last, STR_NULL);
    else
        json_null(w);
    json_end_object(w);
}

enum status schedule_flows_json(struct schedule *s, struct buf *out, struct err *err) {
    must(s && out);
    ARENA_SCOPE(arena);
    WITH_LOCK(&s->lock);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "flows");
    json_begin_array(&w);
    for (size_t i = 0; i < s->triggers_n; i++) {
        struct ledger_run *last;
        size_t n;
        enum status status = ledger_run_list(s->options.ledger, arena, s->triggers[i].config->name, 1, &last, &n, err);
        if (status != OK) return status;
        write_flow(s, &w, &s->triggers[i], n ? last : NULL);
    }
    json_end_array(&w);
    json_end_object(&w);
    return OK;
}

bool schedule_model_state(struct schedule *s, const char *model, struct schedule_model_state *out) {
    must(s && model && out);
    WITH_LOCK(&s->lock);
    const struct model_state *state = map_get(s->states, str_of(model));
    if (!state || !state->model) return false;
    *out = (struct schedule_model_state){.due = state->due,
        .running = state->running,
        .exclusive = state->exclusive,
        .due_since_ms = state->due_since_ms,
        .lag_known = state->lag_known,
        .last_start_ms = state->last_start_ms,
        .failures = state->failures,
        .retry_at_ms = state->retry_wall_ms};
    memcpy(out->error, state->error, sizeof out->error);
    return true;
}
