/* Runs: from the request to the end of the last step. What a run is to do stands in the ledger before anybody is told that it was accepted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/times.h"
#include "flow/schedule_priv.h"
#include "flow/select.h"

static struct metric metric_runs = {.name = "cupel_flow_runs_total", .help = "Runs of flows.", .kind = METRIC_COUNTER, .labels = "flow,status"};
static struct metric metric_seconds = {
    .name = "cupel_flow_run_seconds", .help = "Duration of runs of a flow from the first step to the last.", .kind = METRIC_HISTOGRAM, .labels = "flow"};

void runs_declare_metrics(void) {
    metric_register(&metric_runs);
    metric_register(&metric_seconds);
}

/* ---- making ---- */

static void make_id(const struct schedule *s, char out[SCHEDULE_RUN_ID_MAX]) {
    uint32_t random;
    struct civil c = time_civil_ms(host_wall_ms(s->options.host));
    host_random(&random, sizeof random);
    snprintf(out, SCHEDULE_RUN_ID_MAX, "run-%04d%02d%02dT%02d%02d%02d-%08x", c.year % 10000, c.month, c.day, c.hour, c.minute, c.second, random);
}

static bool is_handler(const struct config_flow *flow, const char *name) {
    for (size_t i = 0; i < flow->steps_n; i++) {
        if (flow->steps[i].on_failure && strcmp(flow->steps[i].on_failure, name) == 0) return true;
    }
    return false;
}

struct run *run_new(struct schedule *s, const struct config_flow *flow, const char *cause) {
    struct arena *arena = arena_new();
    struct run *run = arena_new_one(arena, struct run);
    run->arena = arena;
    run->flow = arena_strdup(arena, flow ? flow->name : MODELS_FLOW);
    run->cause = arena_strdup(arena, cause);
    run->config = flow;
    run->created_ms = host_wall_ms(s->options.host);
    run->steps_n = flow ? flow->steps_n : 1;
    run->steps = arena_new_array(arena, struct step, run->steps_n + 1);
    make_id(s, run->id);
    static const struct config_step models_step = {.name = "models"};
    for (size_t i = 0; i < run->steps_n; i++) {
        run->steps[i].config = flow ? &flow->steps[i] : &models_step;
        run->steps[i].handler = flow && is_handler(flow, flow->steps[i].name);
    }
    return run;
}

static void free_outcome(struct outcome **outcome) {
    struct outcome *o = *outcome;
    *outcome = o->next;
    free(o->model);
    free(o->strategy);
    free(o->run_id);
    free(o->detail);
    free(o->error);
    free(o);
}

void run_free(struct run **run) {
    if (!*run) return;
    for (size_t i = 0; i < (*run)->steps_n; i++) {
        while ((*run)->steps[i].outcomes) free_outcome(&(*run)->steps[i].outcomes);
    }
    struct arena *arena = (*run)->arena;
    *run = NULL;
    arena_free(&arena);
}

struct run *run_find(struct schedule *s, const char *id) {
    for (struct run *run = s->runs; run; run = run->next) {
        if (strcmp(run->id, id) == 0) return run;
    }
    return NULL;
}

size_t runs_of(const struct schedule *s, const char *flow) {
    size_t n = 0;
    for (const struct run *run = s->runs; run; run = run->next) n += strcmp(run->flow, flow) == 0;
    return n;
}

static void enlist(struct schedule *s, struct run *run) {
    struct run **end = &s->runs;
    while (*end) end = &(*end)->next;
    *end = run;
    s->hurry = true;
    condition_signal(&s->look);
}

enum status run_accept(struct schedule *s, struct run *run, struct err *err) {
    BUF_SCOPE(request);
    run_write_request(run, &request);
    enum status status = runs_of(s, run->flow) < RUNS_WAITING_MAX ? OK : err_set(err, E_BUSY, "%d runs of %s wait already", RUNS_WAITING_MAX, run->flow);
    const struct ledger_run row = {
        .id = run->id, .flow = run->flow, .cause = run->cause, .created_ms = run->created_ms, .scheduled_ms = run->scheduled_ms, .request = buf_cstr(&request)};
    if (status == OK) status = ledger_run_add(s->options.ledger, &row, err);
    if (status != OK) {
        run_free(&run);
        return status;
    }
    enlist(s, run);
    return OK;
}

/* ---- the request as JSON ---- */

void run_write_request(const struct run *run, struct buf *out) {
    must(run && out);
    const struct schedule_request *r = &run->request;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    if (r->models_n) {
        json_name(&w, "models");
        json_begin_array(&w);
        for (size_t i = 0; i < r->models_n; i++) json_text(&w, r->models[i]);
        json_end_array(&w);
    }
    if (r->full_refresh) json_put_bool(&w, "full_refresh", true);
    if (r->dry_run) json_put_bool(&w, "dry_run", true);
    if (r->verify) json_put_bool(&w, "verify", true);
    if (r->from_us || r->to_us) {
        json_put_int(&w, "from_us", r->from_us);
        json_put_int(&w, "to_us", r->to_us);
    }
    if (r->wave_us) json_put_int(&w, "wave_us", r->wave_us);
    if (run->backfill) json_put_int(&w, "done_us", run->done_us);
    if (run->parent) json_put_text(&w, "parent", run->parent->id);
    json_end_object(&w);
}

static int64_t number_at(struct json_scanner *scanner, const char *name) {
    struct str text;
    int64_t value = 0;
    return json_scan_path(scanner, str_of(name), &text) && str_to_i64(text, &value) ? value : 0;
}

static bool flag_at(struct json_scanner *scanner, const char *name) {
    struct str text;
    return json_scan_path(scanner, str_of(name), &text) && str_is(text, "true");
}

bool run_read_request(struct run *run, const char *json) {
    must(run && json);
    ARENA_SCOPE(scratch);
    size_t n = strlen(json), models = 0;
    char *padded = arena_zalloc(scratch, n + JSON_PADDING + 1), name[32];
    struct str text;
    memcpy(padded, json, n + 1);
    struct json_scanner *scanner = json_scanner_new(n + JSON_PADDING);
    bool good = json_scan(scanner, str_make(padded, n), NULL) == OK && json_scan_kind(scanner) == '{';
    if (good) {
        const char **list = arena_new_array(run->arena, const char *, 65);
        for (; models < 64 && (snprintf(name, sizeof name, "models.%zu", models), json_scan_path(scanner, str_of(name), &text)); models++)
            list[models] = arena_strndup(run->arena, text.p, text.n);
        run->request = (struct schedule_request){.models = list,
            .models_n = models,
            .full_refresh = flag_at(scanner, "full_refresh"),
            .dry_run = flag_at(scanner, "dry_run"),
            .verify = flag_at(scanner, "verify"),
            .from_us = number_at(scanner, "from_us"),
            .to_us = number_at(scanner, "to_us"),
            .wave_us = number_at(scanner, "wave_us")};
        run->backfill = json_scan_path(scanner, STR("done_us"), &text);
        run->done_us = number_at(scanner, "done_us");
    }
    json_scanner_free(&scanner);
    return good;
}

/* ---- the ledger ---- */

static void keep_run(struct schedule *s, struct run *run, const char *status, int64_t finished_ms, const char *error) {
    struct err err = {0};
    BUF_SCOPE(request);
    BUF_SCOPE(detail);
    run_write_request(run, &request);
    run_write_steps(run, &detail);
    const struct ledger_run row = {.id = run->id,
        .status = status,
        .started_ms = run->started_ms,
        .finished_ms = finished_ms,
        .request = buf_cstr(&request),
        .detail = buf_cstr(&detail),
        .error = error};
    if (ledger_run_update(s->options.ledger, &row, &err) != OK)
        log_error("flow", "the ledger does not take the state of a run", LOG_STR("run", run->id), LOG_STR("error", err.text), NULL);
}

static void close_row(struct schedule *s, const struct ledger_run *row, const char *why) {
    struct ledger_run closed = *row;
    closed.status = "cancelled";
    closed.finished_ms = host_wall_ms(s->options.host);
    closed.request = closed.detail = NULL;
    closed.error = why;
    (void)ledger_run_update(s->options.ledger, &closed, NULL);
}

/* What was interrupted is run again from its first step (models: they know themselves what is done); a backfill goes on behind its last whole wave. Runs that a
 * step had started are made anew by that step. */
enum status runs_recover(struct schedule *s, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_run *rows;
    size_t n;
    enum status status = ledger_run_open(s->options.ledger, arena, &rows, &n, err);
    for (size_t i = 0; status == OK && i < n; i++) {
        bool of_models = strcmp(rows[i].flow, MODELS_FLOW) == 0;
        const struct config_flow *flow = of_models ? NULL : config_find_flow(s->config, str_of(rows[i].flow));
        if (strcmp(rows[i].cause, "step") == 0) {
            close_row(s, &rows[i], "interrupted; the step that started it starts another one");
        } else if (!of_models && !flow) {
            close_row(s, &rows[i], "interrupted; there is no such flow any more");
        } else {
            struct run *run = run_new(s, flow, rows[i].cause);
            memcpy(run->id, rows[i].id, strnlen(rows[i].id, SCHEDULE_RUN_ID_MAX - 1) + 1);
            run->created_ms = rows[i].created_ms;
            run->scheduled_ms = rows[i].scheduled_ms;
            (void)run_read_request(run, rows[i].request);
            if (run->request.dry_run || run->request.verify) { /* for somebody who was looking */
                close_row(s, &rows[i], "interrupted");
                run_free(&run);
                continue;
            }
            enlist(s, run);
            log_info("flow", "a run that was interrupted is repeated", LOG_STR("run", run->id), LOG_STR("flow", run->flow), NULL);
        }
    }
    return status;
}

/* ---- from step to step ---- */

static bool ended(const struct step *step) { return step->state >= STEP_DONE; }

static struct step *step_named(struct run *run, const char *name) {
    for (size_t i = 0; i < run->steps_n; i++) {
        if (strcmp(run->steps[i].config->name, name) == 0) return &run->steps[i];
    }
    must_not(); /* config refuses names that point to nothing */
}

/* STEP_READY, STEP_LEFT, or STEP_WAITING still. */
static enum step_state next_state(struct run *run, const struct step *step) {
    bool waits = false, failed = false;
    if (run->cancelled) return STEP_LEFT;
    for (size_t i = 0; i < step->config->needs_n; i++) {
        const struct step *other = step_named(run, step->config->needs[i]);
        if (other->state == STEP_FAILED || other->state == STEP_LEFT) return STEP_LEFT;
        waits = waits || !ended(other);
    }
    for (size_t i = 0; step->handler && i < run->steps_n; i++) {
        const struct step *other = &run->steps[i];
        if (!other->config->on_failure || strcmp(other->config->on_failure, step->config->name) != 0) continue;
        failed = failed || other->state == STEP_FAILED;
        waits = waits || (!ended(other) && !failed);
    }
    if (step->handler && !failed) return waits ? STEP_WAITING : STEP_LEFT;
    return waits ? STEP_WAITING : STEP_READY;
}

/* A step that runs a flow: that one's run ends it. */
static void start_child(struct schedule *s, struct run *run, struct step *step) {
    struct err err = {0};
    const struct config_flow *flow = config_find_flow(s->config, str_of(step->config->flow));
    step->started_ms = host_wall_ms(s->options.host);
    step->attempts++;
    struct run *child = flow ? run_new(s, flow, "step") : NULL;
    if (child) {
        child->parent = run;
        child->parent_step = (size_t)(step - run->steps);
        memcpy(step->child, child->id, sizeof step->child);
        step->state = STEP_CHILD;
    }
    if (child && run_accept(s, child, &err) == OK) return;
    step->state = STEP_FAILED;
    step->finished_ms = step->started_ms;
    snprintf(step->error, sizeof step->error, "%s", child ? err.text : "there is no such flow any more");
}

static void end_attempt(struct schedule *s, struct step *step, enum status status, const char *error) {
    step->finished_ms = host_wall_ms(s->options.host);
    if (status == OK) {
        step->state = STEP_DONE;
        step->error[0] = '\0';
        return;
    }
    snprintf(step->error, sizeof step->error, "%s", error);
    if (step->attempts > step->config->retries) {
        step->state = STEP_FAILED;
        return;
    }
    int64_t wait_ms = step->config->backoff_ms;
    for (unsigned i = 1; i < step->attempts && wait_ms < RETRY_BACKOFF_MAX_MS; i++) wait_ms *= 2;
    if (wait_ms > RETRY_BACKOFF_MAX_MS) wait_ms = RETRY_BACKOFF_MAX_MS;
    step->retry_at_ms = host_monotonic_ms(s->options.host) + wait_ms;
    step->state = STEP_RETRY;
}

static void advance_steps(struct schedule *s, struct run *run) {
    bool moved = true;
    while (moved) { /* a step that is left takes others with it */
        moved = false;
        for (size_t i = 0; i < run->steps_n; i++) {
            struct step *step = &run->steps[i];
            if (step->state == STEP_RETRY && (run->cancelled || host_monotonic_ms(s->options.host) >= step->retry_at_ms))
                step->state = run->cancelled ? STEP_FAILED : STEP_READY, moved = true;
            if (step->state == STEP_READY && run->cancelled) step->state = STEP_LEFT, moved = true;
            if (step->state == STEP_WAITING && next_state(run, step) != STEP_WAITING) {
                step->state = next_state(run, step);
                moved = true;
            }
            if (step->state == STEP_READY && step->config->flow && (step->looked || !step->config->skip_if)) start_child(s, run, step);
        }
    }
}

static const char *first_error(const struct run *run) {
    for (size_t i = 0; i < run->steps_n; i++) {
        if (run->steps[i].state == STEP_FAILED) return run->steps[i].error;
    }
    return NULL;
}

static void end_run(struct schedule *s, struct run *run) {
    const char *error = first_error(run), *status = run->cancelled ? "cancelled" : error ? "failed" : "done";
    int64_t now_ms = host_wall_ms(s->options.host);
    if (!error && !run->cancelled && run->config) triggers_after(s, run->flow); /* first: after a crash in between this run is repeated, and none is lost */
    keep_run(s, run, status, now_ms, run->cancelled ? "cancelled" : error);
    series_add(metric_series(&metric_runs, run->flow, status), 1);
    series_observe(metric_series(&metric_seconds, run->flow), (double)(now_ms - run->started_ms) / 1000);
    if (error && !run->cancelled && !s->options.passive)
        log_error("flow", "a run failed", LOG_STR("flow", run->flow), LOG_STR("run", run->id), LOG_STR("error", error), NULL);
    else
        log_info("flow", "a run ended", LOG_STR("flow", run->flow), LOG_STR("run", run->id), LOG_STR("status", status),
            LOG_INT("took_ms", now_ms - run->started_ms), NULL);
    if (run->parent) {
        BUF_SCOPE(text);
        buf_printf(&text, "flow %s: %s", run->flow, run->cancelled ? "cancelled" : error ? error : "");
        end_attempt(s, &run->parent->steps[run->parent_step], error || run->cancelled ? E_UNPROCESSABLE : OK, buf_cstr(&text));
    }
}

static bool run_over(const struct run *run) {
    for (size_t i = 0; i < run->steps_n; i++) {
        if (!ended(&run->steps[i])) return false;
    }
    return true;
}

/* Runs of one flow go one after the other. */
static bool may_start(const struct schedule *s, const struct run *run) {
    for (const struct run *other = s->runs; other != run; other = other->next) {
        if (run->config && strcmp(other->flow, run->flow) == 0) return false;
    }
    return true;
}

void runs_advance(struct schedule *s) {
    for (struct run **at = &s->runs; *at;) {
        struct run *run = *at;
        if (!run->started && !run->cancelled && !may_start(s, run)) {
            at = &run->next;
            continue;
        }
        if (!run->started) {
            run->started = true;
            run->started_ms = host_wall_ms(s->options.host);
            keep_run(s, run, "running", 0, NULL);
        }
        advance_steps(s, run);
        if (!run_over(run)) {
            at = &run->next;
            continue;
        }
        end_run(s, run); /* may add runs at the end of the list */
        *at = run->next;
        run_free(&run);
        at = &s->runs; /* what waited for it goes on now */
    }
}

bool steps_pick(struct schedule *s, struct run **run, struct step **step) {
    for (struct run *r = s->runs; r; r = r->next) {
        for (size_t i = 0; r->started && !r->cancelled && i < r->steps_n; i++) {
            if (r->steps[i].state != STEP_READY) continue;
            r->steps[i].state = STEP_RUNNING;
            *run = r;
            *step = &r->steps[i];
            return true;
        }
    }
    return false;
}

/* ---- one attempt of a step ---- */

struct attempt { /* what call-backs see */
    struct schedule *s;
    struct run *run;
    struct step *step;
};

static bool attempt_cancelled(void *context) {
    const struct attempt *a = context;
    if (atomic_load(&a->s->stopping) || __atomic_load_n(&a->run->cancelled, __ATOMIC_RELAXED)) return true;
    return a->step->deadline_ms && host_monotonic_ms(a->s->options.host) >= a->step->deadline_ms;
}

static char *copy_of(const char *text) { return text ? mem_strndup(text, strnlen(text, 16384)) : NULL; }

static void note(void *context, const struct flow_model_result *r) {
    const struct attempt *a = context;
    WITH_LOCK(&a->s->lock);
    struct outcome **at = &a->step->outcomes;
    while (*at && strcmp((*at)->model, r->model) != 0) at = &(*at)->next;
    struct outcome *rest = NULL;
    if (*at) { /* an earlier attempt, or wave */
        rest = (*at)->next;
        struct outcome *old = *at;
        old->next = NULL;
        free_outcome(&old);
    }
    struct outcome *o = *at = mem_zalloc(sizeof *o);
    *o = (struct outcome){.next = rest,
        .model = mem_strdup(r->model),
        .strategy = copy_of(r->strategy),
        .run_id = copy_of(r->run_id),
        .detail = copy_of(r->detail),
        .error = copy_of(r->error),
        .status = r->status,
        .version = r->version,
        .rows_in = r->rows_in,
        .rows_out = r->rows_out,
        .filtered = r->filtered,
        .superseded = r->superseded,
        .quarantined = r->quarantined,
        .inserted = r->inserted,
        .deleted = r->deleted,
        .differences = r->differences,
        .ms = r->ms};
    models_count(a->s, r);
}

static enum status worst_result(const struct flow_model_result *results, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        if (results[i].status == FLOW_FAILED)
            return err_set(err, E_UNPROCESSABLE, "%s: %s", results[i].model, results[i].error ? results[i].error : "it failed");
        if (results[i].differences > 0)
            return err_set(err, E_UNPROCESSABLE, "%s differs from a full recompute: %lld rows", results[i].model, (long long)results[i].differences);
    }
    return OK;
}

static enum status run_models_once(struct attempt *a, const char *const *names, size_t n, int64_t from_us, int64_t to_us, struct err *err) {
    ARENA_SCOPE(arena);
    const struct schedule_request *request = &a->run->request;
    struct flow_model_result *results = NULL;
    size_t results_n = 0;
    const struct flow_run_options options = {.models = names,
        .n = n,
        .full_refresh = request->full_refresh,
        .dry_run = request->dry_run,
        .verify = request->verify,
        .flow = a->run->config ? a->run->flow : NULL,
        .trigger = a->run->backfill ? "backfill" : a->run->cause,
        .from_us = from_us,
        .to_us = to_us,
        .cancelled = attempt_cancelled,
        .progress = note,
        .context = a};
    enum status status = a->s->options.driver.run(a->s->options.driver.context, arena, &options, &results, &results_n, err);
    return status == OK ? worst_result(results, results_n, err) : status;
}

/* From the last whole wave on; each is committed, then remembered. */
static enum status run_waves(struct attempt *a, const char *const *names, size_t n, struct err *err) {
    const struct schedule_request *request = &a->run->request;
    int64_t from_us = a->run->backfill && a->run->done_us > request->from_us ? a->run->done_us : request->from_us;
    if (!request->wave_us) return run_models_once(a, names, n, from_us, request->to_us, err);
    while (from_us < request->to_us) {
        int64_t to_us = request->to_us - from_us > request->wave_us ? from_us + request->wave_us : request->to_us;
        enum status status = run_models_once(a, names, n, from_us, to_us, err);
        if (status != OK) return status;
        WITH_LOCK(&a->s->lock);
        from_us = a->run->done_us = to_us;
        keep_run(a->s, a->run, "running", 0, NULL);
    }
    return OK;
}

static enum status run_step_models(struct attempt *a, struct err *err) {
    ARENA_SCOPE(arena);
    const struct flow_model *const *models = NULL;
    const char *const *names;
    size_t n;
    const struct config_step *config = a->step->config;
    bool asked = a->run->config == NULL;
    size_t models_n = a->s->options.driver.models(a->s->options.driver.context, &models);
    enum status status = flow_select(
        models, models_n, asked ? a->run->request.models : config->models, asked ? a->run->request.models_n : config->models_n, arena, &names, &n, err);
    if (status != OK || n == 0) return status;
    return run_waves(a, names, n, err);
}

static enum status ask(struct attempt *a, const char *sql, bool *rows, bool *truth, struct err *err) {
    int64_t time_ms = a->step->config->timeout_ms;
    return a->s->options.driver.ask(a->s->options.driver.context, sql, time_ms, attempt_cancelled, a, rows, truth, err);
}

static enum status attempt_step(struct attempt *a, bool *skipped, struct err *err) {
    const struct config_step *config = a->step->config;
    bool rows = false, truth = false;
    *skipped = false;
    if (config->skip_if && !a->step->looked) {
        enum status status = ask(a, config->skip_if, &rows, &truth, err);
        if (status != OK) return err_prefix(err, "skip_if");
        *skipped = rows && truth;
        if (*skipped || config->flow) return OK;
    }
    if (!config->sql) return run_step_models(a, err);
    enum status status = ask(a, config->sql, &rows, &truth, err);
    if (status != OK) return status;
    return !rows || truth ? OK : err_set(err, E_UNPROCESSABLE, "the SELECT gave false");
}

void step_run(struct schedule *s, struct run *run, struct step *step) {
    must(step->state == STEP_RUNNING);
    struct attempt a = {s, run, step};
    struct err err = {0};
    bool skipped = false, only_looked = step->config->flow != NULL;
    int64_t now_ms = host_monotonic_ms(s->options.host);
    if (!step->started_ms) step->started_ms = host_wall_ms(s->options.host);
    step->deadline_ms = step->config->timeout_ms ? now_ms + step->config->timeout_ms : 0;
    s->steps_running++;
    mutex_unlock(&s->lock);
    enum status status = attempt_step(&a, &skipped, &err);
    mutex_lock(&s->lock);
    s->steps_running--;
    s->hurry = true;
    condition_signal(&s->look);
    if (!only_looked || status != OK) step->attempts++;
    if (atomic_load(&s->stopping)) return; /* the ledger has it as running: repeated at the next start */
    bool late = status != OK && !run->cancelled && step->deadline_ms && host_monotonic_ms(s->options.host) >= step->deadline_ms;
    if (late) status = err_set(&err, E_TIMEOUT, "not done within its timeout of %lld ms", (long long)step->config->timeout_ms);
    step->looked = step->looked || status == OK || !step->config->skip_if;
    if (status == OK && skipped) {
        step->state = STEP_SKIPPED;
        step->finished_ms = host_wall_ms(s->options.host);
    } else if (status == OK && only_looked) {
        step->state = STEP_READY; /* to be started as a run of its own */
    } else {
        end_attempt(s, step, status, err.text);
    }
    keep_run(s, run, "running", 0, NULL);
    runs_advance(s);
}
