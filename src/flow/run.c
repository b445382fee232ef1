/* Runs: which models, in which order, by which strategy, again when the engine died; and how a failure is noted. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "flow/run_priv.h"

/* ---- one run of a model at a time ---- */

static void lock_model(struct flow *flow, const char *full) {
    mutex_lock(&flow->lock);
    while (map_get(flow->running, str_of(full))) condition_wait(&flow->ended, &flow->lock);
    (void)map_put(flow->running, str_of(full), flow);
    mutex_unlock(&flow->lock);
}

static void unlock_model(struct flow *flow, const char *full) {
    mutex_lock(&flow->lock);
    (void)map_remove(flow->running, str_of(full));
    condition_broadcast(&flow->ended);
    mutex_unlock(&flow->lock);
}

/* ---- what moved ---- */

static struct position copy_position(struct arena *arena, const struct position *from) {
    struct position to = *from;
    to.offsets = arena_new_array(arena, uint64_t, from->offsets_n + 1u);
    if (from->offsets_n) memcpy(to.offsets, from->offsets, from->offsets_n * sizeof *to.offsets);
    return to;
}

/* Inputs without views: those stand in the list with all that they read. */
static void take_inputs(struct run *run) {
    const struct flow_model *p = &run->m->pub;
    run->inputs = arena_new_array(run->arena, struct run_input, p->inputs_n + 1);
    for (size_t i = 0; i < p->inputs_n; i++) {
        if (p->inputs[i].model && p->inputs[i].model->kind == FLOW_VIEW) continue;
        struct run_input *in = &run->inputs[run->inputs_n++];
        *in = (struct run_input){.in = &p->inputs[i], .model = p->inputs[i].model ? model_of(p->inputs[i].model) : NULL};
        in->stored = in->known = state_position(run->flow, run->arena, p->full, p->inputs[i].full, &in->from);
        in->to = copy_position(run->arena, &in->from);
    }
}

/* A model before the first run of what it reads can see nothing. */
static const char *missing_input(struct run *run) {
    for (size_t i = 0; i < run->inputs_n; i++) {
        struct table_state t;
        if (run->inputs[i].model && !state_table(run->flow, run->inputs[i].in->full, &t)) return run->inputs[i].in->full;
    }
    return NULL;
}

static void restate_all(struct run *run, bool swap, const char *why) {
    run->restate_all = true;
    run->swap = run->swap || swap;
    if (!run->why) run->why = why;
}

static void look_at_input(struct run *run, struct run_input *in) {
    struct table_state t = {0};
    if (!in->model) {
        in->moved = true; /* the log and the lake are asked by looking */
        return;
    }
    (void)state_table(run->flow, in->in->full, &t);
    in->moved = !in->known || t.version > in->from.version;
    if (!in->moved) return;
    if (in->in->lookup) restate_all(run, false, arena_printf(run->arena, "look-up %s changed", in->in->full));
    if (in->known && t.rebuilt > in->from.version) restate_all(run, false, arena_printf(run->arena, "%s was rebuilt", in->in->full));
}

/* How the model must be run. false: no input moved. */
static bool plan(struct run *run) {
    const char *built = state_built(run->flow, run->arena, run->m->pub.full);
    struct table_state t;
    run->exists = state_table(run->flow, run->m->pub.full, &t);
    bool moved = false;
    for (size_t i = 0; i < run->inputs_n; i++) {
        look_at_input(run, &run->inputs[i]);
        moved = moved || run->inputs[i].moved;
    }
    if (!run->exists) restate_all(run, true, "there is no table yet");
    if (built && strcmp(built, run->fingerprint) != 0) restate_all(run, true, "its SQL, settings or columns changed");
    if (run->options->full_refresh) restate_all(run, false, "asked for");
    bool by_hand = run->options->from_us || run->options->to_us;
    if (by_hand && run->m->pub.kind == FLOW_STREAM && !run->m->pub.key_n)
        restate_all(run, false, "it has no key, so rows of a stretch of time would be added to themselves");
    for (size_t i = 0; i < run->inputs_n; i++) {
        if (!run->inputs[i].known && run->exists) restate_all(run, false, "a new input");
    }
    return moved || run->restate_all || run->options->force || run->options->redrive || by_hand;
}

/* References have no inputs but their file. */
static enum status plan_reference(struct run *run, bool *moved, struct err *err) {
    struct table_state t;
    const char *content;
    enum status st = reference_content(run->flow, run->arena, run->m, &content, err);
    if (st != OK) return st;
    run->fingerprint = arena_printf(run->arena, "%s:%s", run->m->pub.fingerprint, content);
    const char *built = state_built(run->flow, run->arena, run->m->pub.full);
    run->exists = state_table(run->flow, run->m->pub.full, &t);
    size_t own = strlen(run->m->pub.fingerprint); /* before the content: columns and types */
    run->swap = !run->exists || !built || strncmp(built, run->fingerprint, own) != 0;
    run->restate_all = true;
    run->why = "its file changed";
    *moved = !built || strcmp(built, run->fingerprint) != 0 || run->options->full_refresh || run->options->force;
    return OK;
}

static bool plan_view(struct run *run) {
    const char *built = state_built(run->flow, run->arena, run->m->pub.full);
    return !built || strcmp(built, run->fingerprint) != 0;
}

static const char *strategy_of(const struct run *run) {
    const struct flow_model *p = &run->m->pub;
    if (p->kind == FLOW_VIEW) return "view";
    if (p->kind == FLOW_REFERENCE) return "reference";
    if (run->restate_all) return "rebuild";
    if (p->kind == FLOW_FULL) return "full";
    if (p->kind == FLOW_STREAM) return "stream";
    return p->merge ? "merge" : p->by_n ? "by" : "bucket";
}

static enum status dispatch(struct run *run, struct err *err) {
    const struct flow_model *p = &run->m->pub;
    if (p->kind == FLOW_VIEW) return run_view(run, err);
    if (p->kind == FLOW_STREAM && run->options->redrive && !run->restate_all) return run_redrive(run, err);
    if (p->kind == FLOW_STREAM) return run_stream(run, err);
    if (run->restate_all || p->kind == FLOW_FULL || p->kind == FLOW_REFERENCE) return run_whole(run, err);
    bool by_hand = run->options->from_us || run->options->to_us;
    if (by_hand && !p->bucket) return run_whole(run, err);
    return p->merge ? run_merge(run, err) : p->by_n ? run_by(run, err) : run_bucket(run, err);
}

/* ---- schema changes that the model refuses ---- */

static enum status refuse_schema_change(struct run *run, struct err *err) {
    if (!run->swap || !run->exists || run->m->pub.on_schema_change != FLOW_SCHEMA_FAIL || run->options->full_refresh) return OK;
    enum status st = run_session(run, false, NULL, err);
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT columns FROM warehouse.cupel.models WHERE model = ");
    sql_text(&sql, run->m->pub.full);
    json_t *rows = NULL;
    if (st == OK) st = run_buf(run, &sql, &rows, err);
    if (st != OK) return st;
    const char *columns = cell_text(json_array_get(rows, 0), "columns");
    bool same = columns && strcmp(columns, run->m->columns_json) == 0;
    json_decref(rows);
    run_session_end(run);
    return same ? OK : err_set(err, E_CONFLICT, "its columns changed and on_schema_change is fail; run it with --full-refresh to take them over");
}

/* ---- one attempt ---- */

static void new_run_id(struct arena *arena, struct flow *flow, const char **out) {
    uint64_t random;
    host_random(&random, sizeof random);
    *out = arena_printf(arena, "%012llx%08llx", (unsigned long long)host_wall_ms(flow->options.host), (unsigned long long)(random & 0xffffffff));
}

static struct run begin_run(struct flow *flow, const struct model_set *set, const struct model *m, const struct flow_run_options *options, struct arena *arena,
    struct flow_model_result *result) {
    const char *run_id;
    new_run_id(arena, flow, &run_id);
    *result = (struct flow_model_result){.model = m->pub.full, .status = FLOW_UNCHANGED, .run_id = run_id, .strategy = ""};
    return (struct run){.fingerprint = m->pub.fingerprint,
        .flow = flow,
        .set = set,
        .m = m,
        .options = options,
        .arena = arena,
        .result = result,
        .log = BUF_INIT,
        .started_us = host_wall_us(flow->options.host),
        .target = m->table,
        .target_gone = m->gone_table,
        .target_quarantine = m->quarantine_table};
}

static enum status attempt(struct run *run, bool *had_work, struct err *err) {
    enum flow_kind kind = run->m->pub.kind;
    enum status st = state_load(run->flow, err);
    if (st != OK) return st;
    if (!run->m->pub.bound) return err_set(err, E_CONFIG, "the model could not be bound; cupel check says why");
    take_inputs(run);
    const char *missing = kind == FLOW_VIEW || kind == FLOW_REFERENCE ? NULL : missing_input(run);
    if (missing) return err_set(err, E_NOT_FOUND, "%s has no table yet", missing);
    bool moved = false;
    if (kind == FLOW_REFERENCE) {
        st = plan_reference(run, &moved, err);
        if (st != OK) return st;
    } else {
        moved = kind == FLOW_VIEW ? plan_view(run) : plan(run);
    }
    *had_work = moved || run->options->verify || run->options->account;
    if (!*had_work) return OK;
    if (kind == FLOW_REFERENCE) st = reference_fits_models(run->flow, run->m, err);
    if (st != OK) return st;
    run->result->strategy = run->options->account ? "account" : run->options->verify ? "verify" : strategy_of(run);
    if (run->options->account) return run_account(run, err);
    if (run->options->verify) return run_verify(run, err);
    st = refuse_schema_change(run, err);
    return st == OK ? dispatch(run, err) : st;
}

/* Only where the run took all that the tables had: a model with something left must stay due. */
static void note_seen_tables(const struct run *run) {
    const struct flow_run_options *o = run->options;
    if (run->more || o->dry_run || o->verify || o->account || o->redrive || o->from_us || o->to_us) return;
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        if (in->table) state_note_seen(run->flow, run->m->pub.full, in->in->full, (struct seen_table){in->seen_version, in->before});
    }
}

#define UNNOTED_MAX (256u << 10)

static enum status write_history(struct flow *flow, const char *rows, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "BEGIN;\n%sCOMMIT", rows);
    struct engine_work *work = NULL;
    enum status st = engine_work_begin(flow->options.engine, NULL, NULL, 0, 0, &work, err);
    if (st == OK) st = work_rows(work, buf_cstr(&sql), NULL, err);
    if (work) engine_work_end(&work);
    return st;
}

static void keep_unnoted(struct flow *flow, const struct buf *rows) {
    WITH_LOCK(&flow->lock);
    if (flow->unnoted.n + rows->n <= UNNOTED_MAX) buf_str(&flow->unnoted, buf_view(rows));
}

/* What could not be noted when it happened. */
static void note_earlier(struct flow *flow) {
    struct buf rows;
    mutex_lock(&flow->lock);
    rows = flow->unnoted;
    flow->unnoted = (struct buf)BUF_INIT;
    mutex_unlock(&flow->lock);
    if (rows.n && write_history(flow, buf_cstr(&rows), NULL) != OK) keep_unnoted(flow, &rows);
    buf_free(&rows);
}

/* The failed run goes into the history, in a transaction of its own; when that fails too (no space left), it is noted after the next run that goes well. */
static void record_failure(struct run *run, const char *why) {
    run->result->error = arena_strdup(run->arena, why);
    if (run->work) engine_work_end(&run->work);
    if (run->options->dry_run || run->options->verify || run->options->account) return;
    run->version = 0;
    BUF_SCOPE(rows);
    run_put_history(&rows, run, "failed");
    run_put_checks(&rows, run);
    struct err err;
    if (write_history(run->flow, buf_cstr(&rows), &err) == OK) return;
    log_warn("flow", "a failed run could not be noted yet", LOG_STR("model", run->m->pub.full), LOG_STR("error", err.text), NULL);
    keep_unnoted(run->flow, &rows);
}

static void finish(struct run *run, enum status st, bool had_work, const struct err *err) {
    struct flow_model_result *r = run->result;
    if (run->log.n) r->sql = arena_strdup(run->arena, buf_cstr(&run->log));
    r->ms = (double)(host_wall_us(run->flow->options.host) - run->started_us) / 1000.0;
    if (st == OK) {
        r->status = !had_work ? FLOW_UNCHANGED : run->options->dry_run ? FLOW_PLANNED : FLOW_DONE;
        if (had_work && run->why && !r->detail) r->detail = run->why;
        if (had_work) note_seen_tables(run);
    } else if (st == E_CANCELLED || (st == E_NOT_FOUND && !run->work && !run->log.n)) {
        r->status = FLOW_SKIPPED;
        r->error = arena_strdup(run->arena, err->text);
    } else {
        r->status = FLOW_FAILED;
        record_failure(run, err->text);
        log_warn("flow", "a run failed", LOG_STR("model", run->m->pub.full), LOG_STR("error", err->text), NULL);
    }
    run_session_end(run);
    buf_free(&run->log);
    if (r->status == FLOW_DONE) note_earlier(run->flow);
}

/* The engine died, or another session was quicker: what is not committed is gone, so everything is done again. */
static bool may_repeat(enum status st) { return st == E_UNAVAILABLE || st == E_CONFLICT; }

static bool run_once(struct flow *flow, const struct model_set *set, const struct model *m, const struct flow_run_options *options, struct arena *arena,
    struct flow_model_result *result) {
    for (int tries = 1;; tries++) {
        struct err err = {0};
        bool had_work = false;
        struct run run = begin_run(flow, set, m, options, arena, result);
        enum status st = attempt(&run, &had_work, &err);
        bool again = may_repeat(st) && tries < ATTEMPTS_MAX && flow->options.engine, more = st == OK && run.more;
        if (!again) {
            finish(&run, st, had_work, &err);
            return more;
        }
        log_info("flow", "a run is repeated", LOG_STR("model", m->pub.full), LOG_STR("error", err.text), NULL);
        run_session_end(&run);
        buf_free(&run.log);
        state_forget(flow);
    }
}

/* Counts and time of the runs before it join those of the last one. */
static void add_earlier(struct flow_model_result *r, const struct flow_model_result *before) {
    r->rows_in += before->rows_in;
    r->rows_out += before->rows_out;
    r->filtered += before->filtered;
    r->superseded += before->superseded;
    r->quarantined += before->quarantined;
    r->inserted += before->inserted;
    r->deleted += before->deleted;
    r->ms += before->ms;
    if (r->status == FLOW_UNCHANGED) r->status = before->status;
}

/* A backlog takes several runs, each with its own commit. */
static void run_model(struct flow *flow, const struct model_set *set, const struct model *m, const struct flow_run_options *options, struct arena *arena,
    struct flow_model_result *result) {
    lock_model(flow, m->pub.full);
    bool more = run_once(flow, set, m, options, arena, result);
    while (more && !(options->cancelled && options->cancelled(options->context))) {
        struct flow_model_result before = *result;
        more = run_once(flow, set, m, options, arena, result);
        add_earlier(result, &before);
    }
    unlock_model(flow, m->pub.full);
}

/* ---- many ---- */

static enum status choose(const struct model_set *set, struct arena *arena, const struct flow_run_options *options, bool **chosen, struct err *err) {
    *chosen = arena_new_array(arena, bool, set->n + 1);
    for (size_t i = 0; i < set->n && !options->n; i++) (*chosen)[i] = true;
    for (size_t i = 0; i < options->n; i++) {
        const struct model *m = map_get(set->by_name, str_of(options->models[i]));
        if (!m) {
            const char **names = arena_new_array(arena, const char *, set->n + 1);
            for (size_t k = 0; k < set->n; k++) names[k] = set->models[k]->pub.full;
            return err_set(err, E_NOT_FOUND, "there is no model %s%s", options->models[i], flow_suggest(arena, options->models[i], names, set->n));
        }
        (*chosen)[m->place] = true;
    }
    return OK;
}

/* The model that it needs and that failed or was skipped because of that, in this call. */
static const struct flow_model_result *failed_need(const struct model *m, struct flow_model_result *const *by_place) {
    for (size_t i = 0; i < m->needs_n; i++) {
        const struct flow_model_result *r = by_place[m->needs[i]->place];
        if (r && (r->status == FLOW_FAILED || r->status == FLOW_SKIPPED)) return r;
    }
    return NULL;
}

enum status flow_run(
    struct flow *flow, struct arena *arena, const struct flow_run_options *options, struct flow_model_result **out, size_t *n, struct err *err) {
    must(flow && arena && options && out && n);
    if (!flow->options.engine) return err_set(err, E_UNAVAILABLE, "there is no engine: models cannot run");
    const struct model_set *set = flow_set(flow);
    bool *chosen;
    enum status st = choose(set, arena, options, &chosen, err);
    if (st != OK) return st;
    struct flow_model_result *results = arena_new_array(arena, struct flow_model_result, set->n + 1);
    struct flow_model_result **by_place = arena_new_array(arena, struct flow_model_result *, set->n + 1);
    size_t done = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct model *m = set->models[i];
        if (!chosen[i]) continue;
        struct flow_model_result *r = by_place[i] = &results[done++];
        const struct flow_model_result *failed = failed_need(m, by_place);
        if (failed) {
            *r = (struct flow_model_result){.model = m->pub.full,
                .status = FLOW_SKIPPED,
                .strategy = "",
                .error = arena_printf(arena, "%s %s", failed->model, failed->status == FLOW_FAILED ? "failed" : "was not run")};
        } else {
            run_model(flow, set, m, options, arena, r);
        }
        if (options->progress) options->progress(options->context, r);
    }
    *out = results;
    *n = done;
    bool cancelled = options->cancelled && options->cancelled(options->context);
    return cancelled ? err_set(err, E_CANCELLED, "the run was cancelled") : OK;
}
