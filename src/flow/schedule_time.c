/* What starts flows by itself: times, tables, other flows. How far each is stands in the ledger, so that a stop loses nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/schedule_priv.h"

/* ---- what the ledger keeps: "<cron> @ <zone>\n<table>=<mark>\n…" ---- */

static void write_mark(const struct trigger *t, struct buf *out) {
    if (t->timed) buf_printf(out, "%s @ %s", t->config->schedule, t->config->timezone);
    buf_char(out, '\n');
    for (size_t i = 0; i < t->config->on_n; i++) {
        if (t->marked[i]) buf_printf(out, "%s=%llu\n", t->config->on[i], (unsigned long long)t->marks[i]);
    }
}

/* false: the schedule has changed since, so that times before now mean nothing. */
static bool read_mark(struct trigger *t, const char *text) {
    struct str rest = str_of(text);
    struct str schedule = str_cut(&rest, '\n');
    BUF_SCOPE(wanted);
    if (t->timed) buf_printf(&wanted, "%s @ %s", t->config->schedule, t->config->timezone);
    while (rest.n > 0) {
        struct str value = str_cut(&rest, '\n');
        struct str table = str_cut(&value, '=');
        uint64_t number;
        for (size_t i = 0; i < t->config->on_n; i++) {
            if (!str_is(table, t->config->on[i]) || !str_to_u64(value, &number)) continue;
            t->marks[i] = number;
            t->marked[i] = true;
        }
    }
    return str_eq(schedule, buf_view(&wanted));
}

struct acceptance { /* of one transaction */
    const struct trigger *trigger;
    const struct ledger_run *run; /* NULL: only the mark */
};

static enum status keep_in_ledger(void *context, struct ledger *ledger, struct err *err) {
    const struct acceptance *a = context;
    BUF_SCOPE(mark);
    write_mark(a->trigger, &mark);
    enum status status =
        ledger_schedule_put(ledger, a->trigger->config->name, &(struct ledger_schedule){.fired_ms = a->trigger->fired_ms, .mark = buf_cstr(&mark)}, err);
    return status == OK && a->run ? ledger_run_add(ledger, a->run, err) : status;
}

static void keep(struct schedule *s, const struct trigger *t) {
    struct err err = {0};
    struct acceptance acceptance = {.trigger = t};
    if (s->options.passive) return;
    if (ledger_transaction(s->options.ledger, keep_in_ledger, &acceptance, &err) != OK)
        log_error("flow", "the ledger does not take the state of a schedule", LOG_STR("flow", t->config->name), LOG_STR("error", err.text), NULL);
}

/* The run and how far the trigger is, in one transaction: a time fires once. */
static bool start_run(struct schedule *s, struct trigger *t, const char *cause, int64_t scheduled_ms) {
    struct err err = {0};
    if (runs_of(s, t->config->name) >= RUNS_WAITING_MAX) {
        log_error("flow", "too many runs of a flow wait", LOG_STR("flow", t->config->name), NULL);
        return false;
    }
    struct run *run = run_new(s, t->config, cause);
    run->scheduled_ms = scheduled_ms;
    const struct ledger_run row = {.id = run->id, .flow = run->flow, .cause = run->cause, .created_ms = run->created_ms, .scheduled_ms = scheduled_ms};
    struct acceptance acceptance = {t, &row};
    enum status status = ledger_transaction(s->options.ledger, keep_in_ledger, &acceptance, &err);
    if (status != OK) {
        log_error("flow", "a flow cannot start", LOG_STR("flow", t->config->name), LOG_STR("error", err.text), NULL);
        run_free(&run);
        return false;
    }
    struct run **end = &s->runs;
    while (*end) end = &(*end)->next;
    *end = run;
    log_info("flow", "a flow starts", LOG_STR("flow", run->flow), LOG_STR("cause", cause), LOG_STR("run", run->id), NULL);
    return true;
}

/* ---- configuration ---- */

static enum status open_zone(struct schedule *s, const char *name, struct zone **out, struct err *err) {
    const char *dir = s->options.zone_dir ? s->options.zone_dir : "/usr/share/zoneinfo";
    if (strcmp(name, "UTC") == 0) {
        *out = zone_utc();
        return OK;
    }
    ARENA_SCOPE(arena);
    struct str bytes;
    enum status status = fs_read_all(s->options.host->fs, arena, arena_printf(arena, "%s/%s", dir, name), ZONE_FILE_BYTES_MAX, &bytes, err);
    if (status == OK) status = zone_parse(bytes, out, err);
    return status == OK ? OK : err_set(err, E_CONFIG, "the time zone %s cannot be read (package tzdata?)", name);
}

static enum status open_trigger(struct schedule *s, const struct config_flow *config, struct trigger *out, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_schedule kept = {0};
    struct trigger t = {.config = config, .timed = config->schedule != NULL};
    int64_t now_ms = host_wall_ms(s->options.host);
    enum status status = OK;
    if (t.timed) status = cron_parse(str_of(config->schedule), &t.cron, err);
    if (status == OK && t.timed) status = open_zone(s, config->timezone, &t.zone, err);
    if (status != OK) return err_prefix(err, "flow %s", config->name);
    t.marks = mem_zalloc((config->on_n + 1) * sizeof *t.marks);
    t.marked = mem_zalloc(config->on_n + 1);
    status = ledger_schedule_get(s->options.ledger, arena, config->name, &kept, NULL);
    t.fired_ms = now_ms;
    if (status == OK && read_mark(&t, kept.mark)) t.fired_ms = kept.fired_ms;
    if (t.timed) t.next_ms = cron_next_ms(&t.cron, t.zone, t.fired_ms);
    if (status != OK || t.fired_ms == now_ms) keep(s, &t);
    *out = t;
    return OK;
}

static void free_triggers(struct trigger *triggers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        zone_free(&triggers[i].zone);
        free(triggers[i].marks);
        free(triggers[i].marked);
    }
    free(triggers);
}

void triggers_free(struct schedule *s) { free_triggers(s->triggers, s->triggers_n); }

enum status triggers_take(struct schedule *s, const struct config *config, struct err *err) {
    struct trigger *triggers = mem_zalloc((config->flows_n + 1) * sizeof *triggers);
    for (size_t i = 0; i < config->flows_n; i++) {
        enum status status = open_trigger(s, &config->flows[i], &triggers[i], err);
        if (status == OK) continue;
        free_triggers(triggers, i);
        return status;
    }
    triggers_free(s);
    s->triggers = triggers;
    s->triggers_n = config->flows_n;
    return OK;
}

/* ---- times ---- */

static bool one_waits(const struct schedule *s, const char *flow) {
    for (const struct run *run = s->runs; run; run = run->next) {
        if (!run->started && !run->backfill && strcmp(run->flow, flow) == 0) return true;
    }
    return false;
}

/* The last time at or before wall_ms; there is one. */
static int64_t last_time(const struct trigger *t, int64_t wall_ms) {
    static const int64_t windows_h[] = {2, 48, 24 * 40, 24 * 400, 24 * 366 * 41};
    int64_t at_ms = INT64_MAX;
    for (size_t i = 0; i < sizeof windows_h / sizeof windows_h[0] && at_ms > wall_ms; i++)
        at_ms = cron_next_ms(&t->cron, t->zone, wall_ms - windows_h[i] * 3600000);
    must(at_ms <= wall_ms);
    for (int64_t next_ms = at_ms; next_ms <= wall_ms; next_ms = cron_next_ms(&t->cron, t->zone, next_ms)) at_ms = next_ms;
    return at_ms;
}

static bool fire_all(struct schedule *s, struct trigger *t, int64_t wall_ms) {
    for (int passed = 0; t->next_ms <= wall_ms; passed++) {
        if (passed == CATCH_UP_MAX) {
            log_warn("flow", "more times of a schedule were missed than are made up", LOG_STR("flow", t->config->name), LOG_INT("made_up", passed), NULL);
            t->fired_ms = last_time(t, wall_ms);
            keep(s, t);
            break;
        }
        int64_t before_ms = t->fired_ms;
        t->fired_ms = t->next_ms;
        if (!start_run(s, t, "cron", t->next_ms)) {
            t->fired_ms = before_ms;
            return false;
        }
        t->next_ms = cron_next_ms(&t->cron, t->zone, t->fired_ms);
    }
    return true;
}

/* What came while a run of the flow still waits is that run's matter. */
static bool fire_last(struct schedule *s, struct trigger *t, int64_t wall_ms) {
    int64_t before_ms = t->fired_ms, last_ms = last_time(t, wall_ms);
    t->fired_ms = last_ms;
    if (t->config->catch_up == CATCH_UP_NONE && wall_ms - last_ms > LATE_MS) {
        log_warn("flow", "a time of the schedule was missed", LOG_STR("flow", t->config->name), NULL);
        keep(s, t);
    } else if (one_waits(s, t->config->name)) {
        keep(s, t);
    } else if (!start_run(s, t, "cron", last_ms)) {
        t->fired_ms = before_ms;
        return false;
    }
    return true;
}

/* All times in (fired, now], by the policy. */
static void fire(struct schedule *s, struct trigger *t, int64_t wall_ms) {
    must(t->timed && t->next_ms <= wall_ms);
    if (wall_ms < t->hold_ms && wall_ms > t->hold_ms - HOLD_MS) return;
    if (!(t->config->catch_up == CATCH_UP_ALL ? fire_all(s, t, wall_ms) : fire_last(s, t, wall_ms))) t->hold_ms = wall_ms + HOLD_MS;
    t->next_ms = cron_next_ms(&t->cron, t->zone, t->fired_ms);
}

void triggers_times(struct schedule *s, int64_t wall_ms) {
    for (size_t i = 0; i < s->triggers_n; i++) {
        if (s->triggers[i].timed && s->triggers[i].next_ms <= wall_ms) fire(s, &s->triggers[i], wall_ms);
    }
}

/* ---- flows behind flows ---- */

void triggers_after(struct schedule *s, const char *flow) {
    if (s->options.passive) return;
    for (size_t i = 0; i < s->triggers_n; i++) {
        struct trigger *t = &s->triggers[i];
        if (t->config->after && strcmp(t->config->after, flow) == 0 && !one_waits(s, t->config->name)) (void)start_run(s, t, "after", 0);
    }
}

/* ---- tables ---- */

static void look_at_tables(struct schedule *s, size_t index, const struct config_flow *config) {
    uint64_t *now = mem_zalloc((config->on_n + 1) * sizeof *now);
    bool *known = mem_zalloc(config->on_n + 1), moved = false, fresh = false;
    mutex_unlock(&s->lock);
    for (size_t i = 0; i < config->on_n; i++) known[i] = s->options.driver.mark(s->options.driver.context, config->on[i], &now[i], NULL) == OK;
    mutex_lock(&s->lock);
    struct trigger *t = index < s->triggers_n && s->triggers[index].config == config ? &s->triggers[index] : NULL; /* not replaced meanwhile */
    for (size_t i = 0; t && i < config->on_n; i++) {
        if (!known[i]) continue;
        moved = moved || (t->marked[i] && t->marks[i] != now[i]);
        fresh = fresh || !t->marked[i];
    }
    if (t && (fresh || moved) && !one_waits(s, config->name)) { /* what moves while a run waits is seen by that run; while it runs: by the next one */
        for (size_t i = 0; i < config->on_n; i++) {
            uint64_t before = t->marks[i];
            if (!known[i]) continue;
            t->marks[i] = now[i];
            now[i] = t->marked[i] ? before : now[i];
            t->marked[i] = true;
        }
        if (!moved)
            keep(s, t);
        else if (!start_run(s, t, "input", 0))
            for (size_t i = 0; i < config->on_n; i++) t->marks[i] = known[i] ? now[i] : t->marks[i]; /* looked at again */
    }
    free(now);
    free(known);
}

void triggers_tables(struct schedule *s) {
    for (size_t i = 0; i < s->triggers_n && !atomic_load(&s->stopping); i++) {
        if (s->triggers[i].config->on_n > 0) look_at_tables(s, i, s->triggers[i].config);
    }
}
