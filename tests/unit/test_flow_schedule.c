/* The schedule against a fake flow room: what runs when, in which order, what a failure holds up and what it does not, and what a stop leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/times.h"
#include "flow/schedule.h"
#include "flow/select.h"
#include "host/thread.h"

/* ---- a clock that can be moved ---- */

static atomic_llong moved_us;
static int64_t base_us;

static int64_t fake_wall(void *self) { return base_us + clock_real()->monotonic_us(NULL) + atomic_load(&moved_us); }
static int64_t fake_monotonic(void *self) { return clock_real()->monotonic_us(NULL) + atomic_load(&moved_us); }
static const struct host_clock fake_clock = {.wall_us = fake_wall, .monotonic_us = fake_monotonic};

static int64_t at(const char *text) {
    int64_t us;
    assert_true(time_parse_us(str_of(text), &us));
    return us;
}

static void set_wall(const char *text) { base_us = at(text) - clock_real()->monotonic_us(NULL) - atomic_load(&moved_us); }

/* ---- a fake flow room: models a -> b -> c, d alone; "ref" is read by d ---- */

#define MODELS 5
static struct flow_input b_inputs[] = {{.full = "s.a"}}, c_inputs[] = {{.full = "s.b"}}, d_inputs[] = {{.full = "ref.r"}};
static const char *const web_tag[] = {"web"};
static struct flow_model models[MODELS] = {
    {.schema = "ref", .name = "r", .full = "ref.r"},
    {.schema = "s", .name = "a", .full = "s.a", .tags = web_tag, .tags_n = 1},
    {.schema = "s", .name = "b", .full = "s.b", .inputs = b_inputs, .inputs_n = 1},
    {.schema = "s", .name = "c", .full = "s.c", .inputs = c_inputs, .inputs_n = 1},
    {.schema = "t", .name = "d", .full = "t.d", .inputs = d_inputs, .inputs_n = 1},
};
static const struct flow_model *const model_list[MODELS] = {&models[0], &models[1], &models[2], &models[3], &models[4]};

struct fake {
    mutex lock;
    bool due[MODELS], always[MODELS], fails[MODELS];
    bool chains; /* a run makes what reads it due */
    int64_t takes_ms;
    int running, most_running;
    char trace[4096]; /* "s.a s.b " … */
    unsigned runs[MODELS];
    unsigned asked;
    uint64_t mark;
    unsigned marks_asked;
};

struct fixture {
    char dir[64];
    struct host host;
    struct ledger *ledger;
    struct schedule *schedule;
    struct config *config;
    struct fake fake;
    bool passive;
};

static int index_of(const char *name) {
    for (int i = 0; i < MODELS; i++) {
        if (strcmp(models[i].full, name) == 0) return i;
    }
    fail_msg("no model %s", name);
    return -1;
}

static size_t fake_models(void *context, const struct flow_model *const **out) {
    *out = model_list;
    return MODELS;
}

static enum status fake_due(void *context, struct arena *arena, const char *const **names, size_t *n, struct err *err) {
    struct fake *fake = context;
    const char **list = arena_new_array(arena, const char *, MODELS);
    size_t count = 0;
    WITH_LOCK(&fake->lock);
    for (int i = 0; i < MODELS; i++) {
        if (fake->due[i] || fake->always[i]) list[count++] = models[i].full;
    }
    *names = list;
    *n = count;
    return OK;
}

static bool sleep_cancelled(const struct flow_run_options *options, int64_t ms) {
    for (int64_t slept = 0; slept < ms; slept += 2) {
        if (options->cancelled && options->cancelled(options->context)) return true;
        clock_real()->sleep_us(NULL, 2000);
    }
    return options->cancelled && options->cancelled(options->context);
}

static enum flow_status run_one(struct fake *fake, const struct flow_run_options *options, int i, struct flow_model_result *out) {
    mutex_lock(&fake->lock);
    fake->due[i] = false;
    fake->running++;
    if (fake->running > fake->most_running) fake->most_running = fake->running;
    int64_t takes_ms = fake->takes_ms;
    mutex_unlock(&fake->lock);
    bool cancelled = sleep_cancelled(options, takes_ms);
    WITH_LOCK(&fake->lock);
    fake->running--;
    fake->runs[i]++;
    size_t n = strlen(fake->trace);
    if (options->from_us)
        snprintf(fake->trace + n, sizeof fake->trace - n, "%s@%lld ", models[i].full, (long long)(options->from_us / 86400000000));
    else
        snprintf(fake->trace + n, sizeof fake->trace - n, "%s%s ", models[i].full, cancelled ? "!" : "");
    bool failed = fake->fails[i];
    for (int k = 0; !failed && fake->chains && k < MODELS; k++) {
        if (models[k].inputs_n && strcmp(models[k].inputs[0].full, models[i].full) == 0) fake->due[k] = true;
    }
    *out = (struct flow_model_result){.model = models[i].full,
        .status = cancelled    ? FLOW_SKIPPED
            : failed           ? FLOW_FAILED
            : options->dry_run ? FLOW_PLANNED
                               : FLOW_DONE,
        .strategy = "full",
        .run_id = "x",
        .rows_in = 3,
        .ms = 1.5,
        .error = failed ? "it was told to" : NULL};
    return out->status;
}

static enum status fake_run(
    void *context, struct arena *arena, const struct flow_run_options *options, struct flow_model_result **out, size_t *n, struct err *err) {
    struct flow_model_result *results = arena_new_array(arena, struct flow_model_result, options->n + 1);
    for (size_t i = 0; i < options->n; i++) {
        if (run_one(context, options, index_of(options->models[i]), &results[i]) == FLOW_SKIPPED) return err_set(err, E_CANCELLED, "cancelled");
        if (options->progress) options->progress(options->context, &results[i]);
    }
    *out = results;
    *n = options->n;
    return OK;
}

/* "true", "false", "none", "error", "once" (false the first time), "slow" */
static enum status fake_ask(
    void *context, const char *sql, int64_t time_ms, bool (*cancelled)(void *), void *cancelled_context, bool *rows, bool *truth, struct err *err) {
    struct fake *fake = context;
    mutex_lock(&fake->lock);
    unsigned before = fake->asked++;
    mutex_unlock(&fake->lock);
    while (strcmp(sql, "slow") == 0 && !cancelled(cancelled_context)) clock_real()->sleep_us(NULL, 2000);
    if (strcmp(sql, "slow") == 0) return err_set(err, E_CANCELLED, "cancelled");
    if (strcmp(sql, "error") == 0) return err_set(err, E_INVALID, "no such column");
    *rows = strcmp(sql, "none") != 0;
    *truth = strcmp(sql, "true") == 0 || (strcmp(sql, "once") == 0 && before > 0);
    return OK;
}

static enum status fake_mark(void *context, const char *table, uint64_t *out, struct err *err) {
    struct fake *fake = context;
    WITH_LOCK(&fake->lock);
    *out = fake->mark;
    fake->marks_asked++;
    return OK;
}

/* ---- life ---- */

static void take_config(struct fixture *f, const char *yaml) {
    struct config_problems problems = {0};
    struct err err = {0};
    static const struct config_environment none;
    if (f->config) config_free(&f->config);
    if (config_parse(str_of(yaml), f->dir, &none, &f->config, &problems, &err) != OK) fail_msg("%s", err.text);
    config_problems_free(&problems);
}

static void start(struct fixture *f, const char *yaml) {
    struct err err = {0};
    if (yaml) take_config(f, yaml);
    struct schedule_options options = {.host = &f->host,
        .ledger = f->ledger,
        .config = f->config,
        .passive = f->passive,
        .driver = {.context = &f->fake, .models = fake_models, .due = fake_due, .run = fake_run, .ask = fake_ask, .mark = fake_mark}};
    if (schedule_open(&options, &f->schedule, &err) != OK) fail_msg("%s", err.text);
    schedule_start(f->schedule);
}

static void stop(struct fixture *f) { schedule_close(&f->schedule); }

static int setup(void **state) {
    struct fixture *f = mem_zalloc(sizeof *f);
    struct err err = {0};
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true, .process = "test"});
    memcpy(f->dir, "/tmp/test_schedule_XXXXXX", 26);
    assert_non_null(mkdtemp(f->dir));
    f->host = (struct host){.fs = fs_real(), .clock = &fake_clock};
    atomic_store(&moved_us, 0);
    set_wall("2026-11-20T10:00:30Z");
    mutex_init(&f->fake.lock);
    b_inputs[0].model = &models[1];
    c_inputs[0].model = &models[2];
    d_inputs[0].model = &models[0];
    AUTO_FREE char *path = mem_printf("%s/ledger.db", f->dir);
    if (ledger_open(path, &f->host, &f->ledger, &err) != OK) fail_msg("%s", err.text);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    schedule_close(&f->schedule);
    ledger_close(&f->ledger);
    config_free(&f->config);
    fs_remove_tree(fs_real(), f->dir, NULL);
    free(f);
    return 0;
}

static void move_clock(struct fixture *f, int64_t ms) {
    atomic_fetch_add(&moved_us, ms * 1000);
    schedule_wake(f->schedule);
}

#define EVENTUALLY(f, condition) \
    do { \
        bool good_ = false; \
        for (int try_ = 0; try_ < 30000 && !good_; try_++) { \
            mutex_lock(&(f)->fake.lock); \
            good_ = (condition); \
            mutex_unlock(&(f)->fake.lock); \
            if (!good_) clock_real()->sleep_us(NULL, 2000); \
        } \
        if (!good_) fail_msg("not: %s; ran: %s", #condition, (f)->fake.trace); \
    } while (0)

static void settle(void) { clock_real()->sleep_us(NULL, 150000); }

static struct ledger_run run_row(struct fixture *f, struct arena *arena, const char *id) {
    struct ledger_run row;
    struct err err = {0};
    if (ledger_run_get(f->ledger, arena, id, &row, &err) != OK) fail_msg("%s", err.text);
    return row;
}

static void wait_ended(struct fixture *f, const char *id, const char *wanted) {
    for (int i = 0; i < 30000; i++) {
        ARENA_SCOPE(arena);
        struct ledger_run row = run_row(f, arena, id);
        if (row.finished_ms) {
            if (strcmp(row.status, wanted) != 0) fail_msg("%s is %s (%s), wanted %s; %s", id, row.status, row.error ? row.error : "", wanted, row.detail);
            return;
        }
        clock_real()->sleep_us(NULL, 2000);
    }
    fail_msg("%s does not end", id);
}

static void run_flow(struct fixture *f, const char *flow, char id[SCHEDULE_RUN_ID_MAX]) {
    struct err err = {0};
    if (schedule_run_flow(f->schedule, flow, "hand", id, &err) != OK) fail_msg("%s", err.text);
}

static size_t rows_of(struct fixture *f, const char *flow) {
    ARENA_SCOPE(arena);
    struct ledger_run *rows;
    size_t n;
    assert_int_equal(ledger_run_list(f->ledger, arena, flow, 10000, &rows, &n, NULL), OK);
    return n;
}

#define FAST "flow: {tick: 20ms}\n"

/* ---- models by themselves ---- */

static void test_a_chain_runs_in_order(void **state) {
    struct fixture *f = *state;
    f->fake.chains = true;
    f->fake.due[1] = f->fake.due[2] = f->fake.due[3] = true;
    start(f, FAST);
    EVENTUALLY(f, f->fake.runs[3] >= 1 && f->fake.runs[1] >= 1);
    settle();
    assert_int_equal(strncmp(f->fake.trace, "s.a s.b s.c ", 12), 0);
    assert_int_equal(f->fake.runs[4], 0);
}

static void test_nobody_starves_below_a_busy_model(void **state) {
    struct fixture *f = *state;
    f->fake.chains = true;
    f->fake.always[1] = true;
    start(f, FAST);
    EVENTUALLY(f, f->fake.runs[1] >= 5 && f->fake.runs[3] >= 5);
}

static struct schedule_model_state state_of(struct fixture *f, const char *model) {
    struct schedule_model_state seen;
    assert_true(schedule_model_state(f->schedule, model, &seen));
    return seen;
}

/* The state after so many failures in a row, or more. */
static struct schedule_model_state wait_failures(struct fixture *f, const char *model, unsigned failures) {
    struct schedule_model_state seen = state_of(f, model);
    for (int i = 0; i < 30000 && seen.failures < failures; i++) {
        clock_real()->sleep_us(NULL, 2000);
        seen = state_of(f, model);
    }
    assert_true(seen.failures >= failures);
    return seen;
}

/* The clock also goes on by itself, so it is looked at where the waits are long: 1 s after the first failure, 32 s after the sixth. */
static void test_a_failing_model_backs_off_and_others_go_on(void **state) {
    struct fixture *f = *state;
    f->fake.always[1] = f->fake.always[4] = f->fake.fails[1] = true;
    start(f, FAST);
    EVENTUALLY(f, f->fake.runs[1] >= 1 && f->fake.runs[4] >= 10);
    struct schedule_model_state seen = wait_failures(f, "s.a", 1);
    assert_string_equal(seen.error, "it was told to");
    while (seen.failures < 6) {
        assert_true(seen.retry_at_ms > 0);
        move_clock(f, 1000 << (seen.failures - 1));
        seen = wait_failures(f, "s.a", seen.failures + 1);
    }
    assert_int_equal(seen.failures, 6);
    int64_t left_ms = seen.retry_at_ms - fake_wall(NULL) / 1000;
    assert_in_range(left_ms, 16000, 32000);
    settle();
    move_clock(f, left_ms / 2);
    settle();
    assert_int_equal(f->fake.runs[1], 6);
    move_clock(f, left_ms / 2 + 1);
    seen = wait_failures(f, "s.a", 7);
    mutex_lock(&f->fake.lock);
    f->fake.fails[1] = f->fake.always[1] = false;
    f->fake.due[1] = true;
    mutex_unlock(&f->fake.lock);
    move_clock(f, 300001);
    EVENTUALLY(f, f->fake.runs[1] == 8);
    for (int i = 0; i < 30000 && (seen.failures || seen.due); i++) {
        clock_real()->sleep_us(NULL, 2000);
        seen = state_of(f, "s.a");
    }
    assert_true(seen.failures == 0 && seen.error[0] == '\0' && !seen.due);
}

static void test_never_more_at_once_than_allowed(void **state) {
    struct fixture *f = *state;
    f->fake.takes_ms = 20;
    for (int i = 0; i < MODELS; i++) f->fake.always[i] = true;
    start(f, "flow: {tick: 20ms, concurrency: 3}\nflows: [{name: all, models: \"*\"}]\n");
    char id[SCHEDULE_RUN_ID_MAX];
    run_flow(f, "all", id);
    EVENTUALLY(f, f->fake.runs[0] + f->fake.runs[4] > 10);
    wait_ended(f, id, "done");
    assert_true(f->fake.most_running <= 3 && f->fake.most_running >= 2);
}

static void test_exclusive_models_wait_for_their_flow(void **state) {
    struct fixture *f = *state;
    f->fake.due[1] = f->fake.due[4] = true;
    start(f, FAST "flows: [{name: x, models: s.*, exclusive: true}]\n");
    EVENTUALLY(f, f->fake.runs[4] == 1);
    settle();
    assert_int_equal(f->fake.runs[1], 0);
    char id[SCHEDULE_RUN_ID_MAX];
    run_flow(f, "x", id);
    wait_ended(f, id, "done");
    assert_true(f->fake.runs[1] == 1 && f->fake.runs[3] == 1);
}

/* ---- steps ---- */

static void expect_steps(struct fixture *f, const char *id, const char *wanted) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(got);
    struct ledger_run row = run_row(f, arena, id);
    struct str *list, name, status;
    size_t n;
    assert_int_equal(json_split_array(str_of(row.detail), 100, &list, &n, NULL), OK);
    for (size_t i = 0; i < n; i++) {
        assert_true(json_raw_at(list[i], STR("name"), &name) && json_raw_at(list[i], STR("status"), &status));
        buf_printf(&got, "%s" STR_FMT ":" STR_FMT, i ? " " : "", (int)name.n - 2, name.p + 1, (int)status.n - 2, status.p + 1);
    }
    assert_string_equal(buf_cstr(&got), wanted);
    free(list);
}

static void test_branches_conditions_and_handlers(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    start(f,
        FAST "flows:\n  - name: x\n    steps:\n"
             "      - {name: look, sql: \"true\"}\n"
             "      - {name: left, models: s.a, needs: look}\n"
             "      - {name: right, models: t.d, needs: look}\n"
             "      - {name: end, models: s.c, needs: [left, right, not_now]}\n"
             "      - {name: not_now, models: s.b, skip_if: \"true\"}\n"
             "      - {name: check, sql: \"false\", needs: end, on_failure: tell}\n"
             "      - {name: behind, models: s.b, needs: check}\n"
             "      - {name: tell, sql: none}\n"
             "      - {name: never, sql: \"error\"}\n"
             "      - {name: wrong, sql: \"true\", on_failure: never}\n");
    run_flow(f, "x", id);
    wait_ended(f, id, "failed");
    expect_steps(f, id, "look:done left:done right:done end:done not_now:skipped check:failed behind:left tell:done never:left wrong:done");
    assert_int_equal(f->fake.runs[2], 0);
    ARENA_SCOPE(arena);
    assert_string_equal(run_row(f, arena, id).error, "the SELECT gave false");
}

static void test_retries_and_timeouts(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    start(f,
        FAST "flows:\n  - {name: again, steps: [{name: a, sql: once, retries: 2, backoff: 10ms}]}\n"
             "  - {name: wrong, steps: [{name: a, sql: \"error\", retries: 2, backoff: 10ms}]}\n"
             "  - {name: late, steps: [{name: a, sql: slow, timeout: 100ms}]}\n"
             "  - {name: bad_skip, steps: [{name: a, sql: \"true\", skip_if: \"error\"}]}\n");
    run_flow(f, "again", id);
    wait_ended(f, id, "done");
    assert_int_equal(f->fake.asked, 2);
    run_flow(f, "wrong", id);
    wait_ended(f, id, "failed");
    assert_int_equal(f->fake.asked, 5);
    run_flow(f, "late", id);
    wait_ended(f, id, "failed");
    ARENA_SCOPE(arena);
    assert_string_equal(run_row(f, arena, id).error, "not done within its timeout of 100 ms");
    run_flow(f, "bad_skip", id);
    wait_ended(f, id, "failed");
    assert_string_equal(run_row(f, arena, id).error, "skip_if: no such column");
}

static void test_flows_of_flows_and_behind_flows(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    start(f,
        FAST "flows:\n  - {name: inner, models: s.a}\n  - {name: broken, steps: [{name: a, sql: \"false\"}]}\n"
             "  - {name: outer, steps: [{name: one, flow: inner}, {name: two, models: t.d, needs: one}]}\n"
             "  - {name: unhappy, steps: [{name: one, flow: broken}]}\n"
             "  - {name: behind, models: s.c, after: outer}\n  - {name: not_behind, models: s.c, after: unhappy}\n"
             "  - {name: skipped, steps: [{name: one, flow: broken, skip_if: \"true\"}]}\n");
    run_flow(f, "outer", id);
    wait_ended(f, id, "done");
    EVENTUALLY(f, f->fake.runs[3] == 1);
    assert_int_equal(strncmp(f->fake.trace, "s.a t.d s.c ", 12), 0);
    run_flow(f, "unhappy", id);
    wait_ended(f, id, "failed");
    ARENA_SCOPE(arena);
    assert_string_equal(run_row(f, arena, id).error, "flow broken: the SELECT gave false");
    run_flow(f, "skipped", id);
    wait_ended(f, id, "done");
    settle();
    assert_int_equal(rows_of(f, "not_behind"), 0);
    assert_int_equal(rows_of(f, "broken"), 1);
}

static void test_cancel(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    f->fake.takes_ms = 100000;
    start(f, FAST "flows: [{name: inner, models: s.a}, {name: x, steps: [{name: one, flow: inner}, {name: two, sql: \"true\", needs: one}]}]\n");
    run_flow(f, "x", id);
    EVENTUALLY(f, f->fake.running == 1);
    assert_int_equal(schedule_cancel(f->schedule, id, NULL), OK);
    wait_ended(f, id, "cancelled");
    EVENTUALLY(f, strcmp(f->fake.trace, "s.a! ") == 0);
    assert_int_equal(schedule_cancel(f->schedule, "run-x", NULL), E_NOT_FOUND);
}

/* ---- times and tables ---- */

#define HOURLY(policy) FAST "flows: [{name: h, schedule: \"0 * * * *\", models: s.a, catch_up: " policy "}]\n"

static void test_schedule_fires_once(void **state) {
    struct fixture *f = *state;
    start(f, HOURLY("last"));
    settle();
    assert_int_equal(f->fake.runs[1], 0);
    move_clock(f, 3600000);
    EVENTUALLY(f, f->fake.runs[1] == 1);
    settle();
    assert_int_equal(f->fake.runs[1], 1);
    ARENA_SCOPE(arena);
    struct ledger_run *rows;
    size_t n;
    assert_int_equal(ledger_run_list(f->ledger, arena, "h", 10, &rows, &n, NULL), OK);
    assert_true(n == 1 && strcmp(rows[0].cause, "cron") == 0 && rows[0].scheduled_ms == at("2026-11-20T11:00:00Z") / 1000);
    stop(f);
    start(f, NULL); /* the same hour again does not fire again */
    settle();
    assert_int_equal(f->fake.runs[1], 1);
}

static void catch_up(struct fixture *f, const char *yaml, size_t wanted) {
    start(f, yaml);
    settle();
    stop(f);
    atomic_fetch_add(&moved_us, (int64_t)(5 * 3600 + 300) * 1000000);
    start(f, NULL);
    EVENTUALLY(f, f->fake.runs[1] >= wanted);
    settle();
    settle();
    assert_int_equal(rows_of(f, "h"), wanted);
    assert_int_equal(f->fake.runs[1], wanted);
}

static void test_missed_none(void **state) { catch_up(*state, HOURLY("none"), 0); }
static void test_missed_last(void **state) { catch_up(*state, HOURLY("last"), 1); }
static void test_missed_all(void **state) { catch_up(*state, HOURLY("all"), 5); }

static void test_a_changed_schedule_misses_nothing(void **state) {
    struct fixture *f = *state;
    start(f, HOURLY("all"));
    stop(f);
    atomic_fetch_add(&moved_us, (int64_t)(5 * 3600 + 300) * 1000000);
    start(f, FAST "flows: [{name: h, schedule: \"0 3 * * *\", models: s.a, catch_up: all}]\n");
    settle();
    assert_int_equal(rows_of(f, "h"), 0);
}

static void test_far_behind(void **state) {
    struct fixture *f = *state;
    start(f, FAST "flows: [{name: h, schedule: \"* * * * *\", models: s.a}]\n");
    stop(f);
    atomic_fetch_add(&moved_us, (int64_t)3 * 365 * 86400 * 1000000);
    start(f, NULL);
    EVENTUALLY(f, f->fake.runs[1] == 1);
    settle();
    assert_int_equal(rows_of(f, "h"), 1);
}

static void test_tables_start_flows(void **state) {
    struct fixture *f = *state;
    start(f, FAST "flows: [{name: t, on: [silver.x, s.a], models: t.d}]\n");
    EVENTUALLY(f, f->fake.marks_asked > 2); /* it has begun its second look at both */
    settle();
    assert_int_equal(f->fake.runs[4], 0);
    mutex_lock(&f->fake.lock);
    f->fake.mark = 7;
    mutex_unlock(&f->fake.lock);
    EVENTUALLY(f, f->fake.runs[4] == 1);
    settle();
    assert_int_equal(f->fake.runs[4], 1);
    stop(f);
    f->fake.mark = 8; /* while it was down */
    start(f, NULL);
    EVENTUALLY(f, f->fake.runs[4] == 2);
}

/* ---- stops ---- */

static void test_interrupted_runs_are_repeated(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX], asked[SCHEDULE_RUN_ID_MAX], looked[SCHEDULE_RUN_ID_MAX];
    const char *const names[] = {"t.d"};
    f->fake.takes_ms = 100000;
    start(f, FAST "flows: [{name: inner, models: s.a}, {name: x, steps: [{name: one, flow: inner}, {name: two, models: s.b, needs: one}]}]\n");
    run_flow(f, "x", id);
    EVENTUALLY(f, f->fake.running == 1);
    assert_int_equal(schedule_run_models(f->schedule, &(struct schedule_request){.models = names, .models_n = 1}, "api", asked, NULL), OK);
    assert_int_equal(schedule_run_models(f->schedule, &(struct schedule_request){.models = names, .models_n = 1, .dry_run = true}, "api", looked, NULL), OK);
    stop(f);
    f->fake.takes_ms = 0;
    f->fake.trace[0] = '\0';
    start(f, NULL);
    wait_ended(f, id, "done");
    wait_ended(f, asked, "done");
    wait_ended(f, looked, "cancelled");
    assert_true(strstr(f->fake.trace, "s.a ") && strstr(f->fake.trace, "s.b ") && strstr(f->fake.trace, "t.d "));
}

static void test_a_command_leaves_nothing_behind(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    f->passive = true;
    f->fake.takes_ms = 100000;
    f->fake.due[4] = true;
    start(f, FAST "flows: [{name: x, models: s.a}]\n");
    run_flow(f, "x", id);
    EVENTUALLY(f, f->fake.running == 1);
    stop(f);
    wait_ended(f, id, "cancelled");
    assert_int_equal(f->fake.runs[4], 0);
}

/* ---- backfill ---- */

static void test_backfill_goes_on_where_it_stopped(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    int64_t day_us = INT64_C(86400000000), from_us = 100 * day_us;
    start(f, FAST);
    mutex_lock(&f->fake.lock);
    f->fake.fails[2] = true;
    mutex_unlock(&f->fake.lock);
    assert_int_equal(schedule_backfill(f->schedule, "s.a+", from_us, from_us + 3 * day_us - 5, day_us, false, "hand", id, NULL), OK);
    wait_ended(f, id, "failed");
    assert_string_equal(f->fake.trace, "s.a@100 s.b@100 s.c@100 ");
    mutex_lock(&f->fake.lock);
    f->fake.fails[2] = false;
    f->fake.trace[0] = '\0';
    mutex_unlock(&f->fake.lock);
    assert_int_equal(schedule_backfill(f->schedule, "s.a", from_us, from_us + 4 * day_us, day_us, false, "hand", id, NULL), OK);
    wait_ended(f, id, "done");
    assert_string_equal(f->fake.trace, "s.a@100 s.a@101 s.a@102 s.a@103 ");
    f->fake.trace[0] = '\0';
    f->fake.takes_ms = 30;
    assert_int_equal(schedule_backfill(f->schedule, "t.d", from_us, from_us + 4 * day_us, day_us, false, "hand", id, NULL), OK);
    EVENTUALLY(f, strlen(f->fake.trace) >= 8);
    stop(f); /* and on from there */
    f->fake.takes_ms = 0;
    start(f, NULL);
    wait_ended(f, id, "done");
    mutex_lock(&f->fake.lock);
    unsigned first = 0;
    for (const char *p = f->fake.trace; (p = strstr(p, "t.d@100")); p++) first++;
    assert_true(first == 1 && strstr(f->fake.trace, "t.d@103"));
    mutex_unlock(&f->fake.lock);
    assert_int_equal(schedule_backfill(f->schedule, "t.d", 5, 5, 1, false, "hand", id, NULL), E_INVALID);
    assert_int_equal(schedule_backfill(f->schedule, "t.x", 5, 6, 1, false, "hand", id, NULL), E_NOT_FOUND);
}

/* ---- selections and what is shown ---- */

static void expect_selected(const char *selector, const char *wanted) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(got);
    const char *const *names;
    size_t n;
    struct err err = {0};
    if (flow_select(model_list, MODELS, &selector, 1, arena, &names, &n, &err) != OK) {
        assert_string_equal(err.text, wanted);
        return;
    }
    for (size_t i = 0; i < n; i++) buf_printf(&got, "%s%s", i ? " " : "", names[i]);
    assert_string_equal(buf_cstr(&got), wanted);
}

static void test_selections(void **state) {
    expect_selected("*", "ref.r s.a s.b s.c t.d");
    expect_selected("s.*", "s.a s.b s.c");
    expect_selected("s.b", "s.b");
    expect_selected("b", "s.b");
    expect_selected("s.b+", "s.b s.c");
    expect_selected("+s.b", "s.a s.b");
    expect_selected("+s.b+", "s.a s.b s.c");
    expect_selected("+t.d", "ref.r t.d");
    expect_selected("tag:web", "s.a");
    expect_selected("tag:web+", "s.a s.b s.c");
    expect_selected("tag:no", "no model fits \"tag:no\"");
    expect_selected("s.d", "no model fits \"s.d\"; did you mean s.a?");
    expect_selected("x.*", "no model fits \"x.*\"; did you mean s.a?");
    expect_selected("", "no model fits \"\"; did you mean s.a?");
}

static void test_what_is_shown_is_json(void **state) {
    struct fixture *f = *state;
    char id[SCHEDULE_RUN_ID_MAX];
    BUF_SCOPE(out);
    start(f, HOURLY("all"));
    run_flow(f, "h", id);
    wait_ended(f, id, "done");
    assert_int_equal(schedule_flows_json(f->schedule, &out, NULL), OK);
    assert_int_equal(json_validate(buf_view(&out), 64, NULL), OK);
    assert_non_null(strstr(buf_cstr(&out), "\"next_at\":\"2026-11-20T11:00:00.000Z\""));
    buf_clear(&out);
    assert_int_equal(schedule_run_json(f->schedule, id, &out, NULL), OK);
    assert_int_equal(json_validate(buf_view(&out), 64, NULL), OK);
    assert_non_null(strstr(buf_cstr(&out), "\"model\":\"s.a\",\"status\":\"done\""));
    buf_clear(&out);
    assert_int_equal(schedule_runs_json(f->schedule, NULL, 10, &out, NULL), OK);
    assert_int_equal(json_validate(buf_view(&out), 64, NULL), OK);
    struct err err;
    assert_int_equal(schedule_run_flow(f->schedule, "hh", "hand", id, &err), E_NOT_FOUND);
    assert_string_equal(err.text, "there is no flow hh; did you mean h?");
    assert_int_equal(schedule_run_json(f->schedule, "run-1", &out, &err), E_NOT_FOUND);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_selections),
        T(test_a_chain_runs_in_order),
        T(test_nobody_starves_below_a_busy_model),
        T(test_a_failing_model_backs_off_and_others_go_on),
        T(test_never_more_at_once_than_allowed),
        T(test_exclusive_models_wait_for_their_flow),
        T(test_branches_conditions_and_handlers),
        T(test_retries_and_timeouts),
        T(test_flows_of_flows_and_behind_flows),
        T(test_cancel),
        T(test_schedule_fires_once),
        T(test_missed_none),
        T(test_missed_last),
        T(test_missed_all),
        T(test_a_changed_schedule_misses_nothing),
        T(test_far_behind),
        T(test_tables_start_flows),
        T(test_interrupted_runs_are_repeated),
        T(test_a_command_leaves_nothing_behind),
        T(test_backfill_goes_on_where_it_stopped),
        T(test_what_is_shown_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
