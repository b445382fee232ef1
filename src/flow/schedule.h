/* Schedule: what runs models and flows. Models whose inputs moved, times of schedules, flows behind flows, and what somebody asked for.
 *
 * One thread looks (every `flow.tick`), `flow.concurrency` threads work. A model that fails by itself is tried again after 1 s, 2 s, 4 s, … up to
 * `flow.backoff_max`; others go on. Runs of flows, and of models that were asked for, stand in the ledger from the moment they are accepted until they
 * end: what a crash or a stop interrupts is run again at the next start. Runs of models by themselves leave their trace in the warehouse only.
 *
 * Threads: all functions from any thread. A configuration given to it lives as long as the schedule. */
#ifndef CUPEL_FLOW_SCHEDULE_H
#define CUPEL_FLOW_SCHEDULE_H

#include "base/buf.h"
#include "config/config.h"
#include "flow/flow.h"

#define SCHEDULE_RUN_ID_MAX 40

struct schedule;

/* What it drives: the flow room; in tests a fake. Called from its threads, several at once. */
struct schedule_driver {
    void *context;
    size_t (*models)(void *context, const struct flow_model *const **out);
    enum status (*due)(void *context, struct arena *arena, const char *const **names, size_t *n, struct err *err);
    enum status (*run)(void *context, struct arena *arena, const struct flow_run_options *options, struct flow_model_result **out, size_t *n, struct err *err);
    /* Runs one SELECT; *truth: the first value of its first row is neither false nor 0; *rows false: it had none (then truth is false). */
    enum status (*ask)(
        void *context, const char *sql, int64_t time_ms, bool (*cancelled)(void *), void *cancelled_context, bool *rows, bool *truth, struct err *err);
    /* A number that differs whenever the table got something new. */
    enum status (*mark)(void *context, const char *table, uint64_t *out, struct err *err);
    void (*gauges)(void *context); /* called now and then, to bring metrics up to date that need a look at tables; NULL: none */
    enum status (*prune)(void *context, int64_t before_ms, struct err *err); /* history of models in the warehouse; NULL: none */
};

struct schedule_options {
    const struct host *host;
    struct ledger *ledger;
    struct schedule_driver driver;
    const struct config *config;
    const char *zone_dir; /* NULL: /usr/share/zoneinfo */
    bool passive; /* inside a command: nothing starts by itself, and what is not finished at the end is given up */
};

/* Reads what was interrupted; starts nothing. E_CONFIG: a time zone that cannot be read. */
enum status schedule_open(const struct schedule_options *options, struct schedule **out, struct err *err);
void schedule_start(struct schedule *schedule);
/* Cancels what runs and waits for it; interrupted runs stay in the ledger. */
void schedule_close(struct schedule **schedule);
/* A reload: other flows and settings. Runs under way end as they began. */
enum status schedule_configure(struct schedule *schedule, const struct config *config, struct err *err);
/* Models were loaded again. */
void schedule_models_changed(struct schedule *schedule);
/* Something arrived: look now rather than at the next tick. */
void schedule_wake(struct schedule *schedule);
void schedule_declare_metrics(void); /* so that they are listed before their first series */

/* ---- asking for runs ---- */

struct schedule_request { /* of models, without a flow */
    const char *const *models; /* selections; n 0: all */
    size_t models_n;
    bool full_refresh, dry_run, verify;
    int64_t from_us, to_us; /* both 0: everything */
    int64_t wave_us; /* 0: all at once; else in waves of so much time, each committed by itself */
};

/* E_NOT_FOUND: no such flow; E_BUSY: too many of its runs wait. cause: hand, api. */
enum status schedule_run_flow(struct schedule *schedule, const char *flow, const char *cause, char id[SCHEDULE_RUN_ID_MAX], struct err *err);
enum status schedule_run_models(
    struct schedule *schedule, const struct schedule_request *request, const char *cause, char id[SCHEDULE_RUN_ID_MAX], struct err *err);
/* Restates [from, to) of what the flow (or one model, or a selection) makes, in waves. The same range again goes on behind the last whole wave, unless
 * `anew`. */
enum status schedule_backfill(struct schedule *schedule, const char *name, int64_t from_us, int64_t to_us, int64_t wave_us, bool anew, const char *cause,
    char id[SCHEDULE_RUN_ID_MAX], struct err *err);
enum status schedule_cancel(struct schedule *schedule, const char *id, struct err *err); /* E_NOT_FOUND: it is not under way */

/* ---- looking ---- */

/* {"flows":[{name, schedule, timezone, next_at, last run, running, queued, models…}]} */
enum status schedule_flows_json(struct schedule *schedule, struct buf *out, struct err *err);
enum status schedule_run_json(struct schedule *schedule, const char *id, struct buf *out, struct err *err); /* E_NOT_FOUND */
enum status schedule_runs_json(struct schedule *schedule, const char *flow, size_t limit, struct buf *out, struct err *err); /* a JSON array, newest first */

struct schedule_model_state { /* of one model, as this process sees it */
    bool due, running, exclusive;
    int64_t due_since_ms; /* 0: not due */
    bool lag_known; /* false: what is due was due before this process began, nobody knows how long */
    int64_t last_start_ms; /* 0: not since the start */
    unsigned failures; /* in a row */
    int64_t retry_at_ms; /* 0: none */
    char error[ERR_TEXT_MAX]; /* of the last failure; "" */
};
const char *flow_status_name(enum flow_status status); /* "done" */
bool schedule_model_state(struct schedule *schedule, const char *model, struct schedule_model_state *out);

#endif
