/* Schedule, inside. One lock guards everything; it is never held while models run, SQL is asked or inputs are looked at. */
#ifndef CUPEL_FLOW_SCHEDULE_PRIV_H
#define CUPEL_FLOW_SCHEDULE_PRIV_H

#include <stdatomic.h>

#include "base/cron.h"
#include "base/json.h"
#include "base/map.h"
#include "base/metrics.h"
#include "flow/schedule.h"
#include "host/thread.h"

#define RUNS_WAITING_MAX 1000 /* of one flow */
#define CATCH_UP_MAX 1000
#define HOLD_MS 10000 /* after a run that could not be accepted */
#define LATE_MS 60000 /* a time of the schedule that is older counts as missed */
#define RETRY_BACKOFF_MAX_MS INT64_C(3600000)
#define ANCESTOR_WAIT_MS 2000 /* a reader waits so long for a model that is being run */
#define MODELS_FLOW "-" /* runs of models without a flow */
#define WORKERS_MAX 64

/* ---- models by themselves (schedule_models.c) ---- */

struct model_state {
    char *name;
    const struct flow_model *model; /* NULL: gone */
    size_t index; /* in schedule.order */
    bool *above; /* per index: is it (directly or not) read by this one */
    bool due, running, exclusive;
    uint64_t last_turn; /* 0: never */
    int64_t started_ms, retry_at_ms; /* monotonic */
    int64_t due_since_ms, last_start_ms, retry_wall_ms; /* wall */
    unsigned failures;
    char error[ERR_TEXT_MAX];
    bool lag_known; /* since this process began */
    struct series *lag; /* NULL: not shown yet */
    struct series *failing, *seconds, *runs_done, *runs_failed, *rows_in, *rows_out, *rows_quarantined;
};

/* ---- runs (schedule_run.c) ---- */

enum step_state { STEP_WAITING, STEP_READY, STEP_RUNNING, STEP_RETRY, STEP_CHILD, STEP_DONE, STEP_SKIPPED, STEP_FAILED, STEP_LEFT };

struct outcome { /* of one model in a step; the newest counts */
    struct outcome *next;
    char *model, *strategy, *run_id, *detail, *error; /* may be NULL but model */
    enum flow_status status;
    int64_t version, rows_in, rows_out, filtered, superseded, quarantined, inserted, deleted, differences;
    double ms;
};

struct step {
    const struct config_step *config;
    enum step_state state;
    bool handler; /* on_failure of another one: waits for a failure */
    bool looked; /* skip_if was asked */
    unsigned attempts;
    int64_t retry_at_ms, deadline_ms; /* monotonic */
    int64_t started_ms, finished_ms; /* wall */
    char error[ERR_TEXT_MAX];
    struct outcome *outcomes;
    char child[SCHEDULE_RUN_ID_MAX];
};

struct run {
    struct run *next; /* in the order in which they were accepted */
    struct arena *arena; /* of what does not change */
    char id[SCHEDULE_RUN_ID_MAX];
    const char *flow, *cause;
    const struct config_flow *config; /* NULL: models that were asked for */
    struct schedule_request request; /* config NULL, or backfill */
    bool backfill;
    int64_t done_us; /* backfill: waves up to here are committed */
    struct step *steps;
    size_t steps_n;
    int64_t created_ms, scheduled_ms, started_ms; /* wall */
    bool started, cancelled;
    struct run *parent; /* whose step waits for this one */
    size_t parent_step;
};

/* ---- times (schedule_time.c) ---- */

struct trigger { /* of one flow of the configuration */
    const struct config_flow *config;
    bool timed;
    struct cron cron;
    struct zone *zone;
    int64_t fired_ms, next_ms, hold_ms; /* wall; hold: not tried again before */
    uint64_t *marks; /* per table of `on` */
    bool *marked;
};

struct schedule {
    struct schedule_options options;
    const struct config *config;
    mutex lock;
    condition work, look; /* something may be picked; the looking thread is to look */
    atomic_bool stopping;
    bool started, hurry; /* hurry: look at once */
    struct thread looker, workers[WORKERS_MAX];
    size_t workers_n;
    struct map *states; /* name -> model_state */
    struct model_state **order; /* topological */
    size_t order_n;
    uint64_t turn;
    struct run *runs; /* accepted and not ended */
    size_t steps_running, models_running;
    struct trigger *triggers;
    size_t triggers_n;
    int64_t pruned_ms, gauged_ms; /* monotonic */
};

/* All of these with the lock held, unless they say otherwise. */

/* schedule_models.c */
void models_take(struct schedule *s); /* names and graph of driver.models */
void models_free(struct schedule *s);
void models_set_due(struct schedule *s, const char *const *names, size_t n);
struct model_state *models_pick(struct schedule *s, int64_t now_ms); /* marked as running; NULL: none */
void models_run(struct schedule *s, struct model_state *state); /* gives the lock up meanwhile */
void models_declare_metrics(void);
void runs_declare_metrics(void);
void models_exclude(struct schedule *s); /* those of exclusive flows */
void models_count(struct schedule *s, const struct flow_model_result *result); /* metrics of one run, whoever asked for it */

/* schedule_run.c */
struct run *run_new(struct schedule *s, const struct config_flow *flow, const char *cause);
void run_free(struct run **run);
enum status run_accept(struct schedule *s, struct run *run, struct err *err); /* ledger and list; on failure the run is freed */
struct run *run_find(struct schedule *s, const char *id);
size_t runs_of(const struct schedule *s, const char *flow);
bool steps_pick(struct schedule *s, struct run **run, struct step **step);
void step_run(struct schedule *s, struct run *run, struct step *step); /* gives the lock up meanwhile */
void runs_advance(struct schedule *s); /* retries whose time has come, steps that became ready, runs that ended */
enum status runs_recover(struct schedule *s, struct err *err);
void run_write_request(const struct run *run, struct buf *out);
bool run_read_request(struct run *run, const char *json);

/* schedule_show.c */
void run_write_steps(const struct run *run, struct buf *out);

/* schedule_time.c */
enum status triggers_take(struct schedule *s, const struct config *config, struct err *err);
void triggers_free(struct schedule *s);
void triggers_times(struct schedule *s, int64_t wall_ms);
void triggers_after(struct schedule *s, const char *flow); /* that flow is done */
void triggers_tables(struct schedule *s); /* gives the lock up meanwhile */

#endif
