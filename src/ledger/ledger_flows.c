/* Runs of flows and their schedules. */
#include "base/assert.h"
#include "ledger/ledger_priv.h"

static struct ledger_run run_of(const struct query *q, struct arena *arena) {
    return (struct ledger_run){.id = query_text(q, arena, 0),
        .flow = query_text(q, arena, 1),
        .cause = query_text(q, arena, 2),
        .status = query_text(q, arena, 3),
        .created_ms = query_int(q, 4),
        .scheduled_ms = query_int(q, 5),
        .started_ms = query_int(q, 6),
        .finished_ms = query_int(q, 7),
        .request = query_text(q, arena, 8),
        .detail = query_text(q, arena, 9),
        .error = query_text(q, arena, 10)};
}

static enum status collect(struct query q, struct arena *arena, struct ledger_run **out, size_t *n) {
    struct ledger_run *list = NULL;
    size_t count = 0, cap = 0;
    while (query_next(&q)) *(struct ledger_run *)ledger_grow(arena, (void **)&list, count, &cap, sizeof *list) = run_of(&q, arena), count++;
    enum status status = query_end(&q);
    if (status != OK) return status;
    *out = list;
    *n = count;
    return OK;
}

enum status ledger_run_add(struct ledger *ledger, const struct ledger_run *run, struct err *err) {
    must(run && run->id && run->flow && run->cause);
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) return status;
    status = ledger_run(
        ledger, err, &changed, SQL_RUN_ADD, "sssiis", run->id, run->flow, run->cause, run->created_ms, run->scheduled_ms, run->request ? run->request : "{}");
    if (status == OK && changed == 0) status = err_set(err, E_CONFLICT, "there is a run %s already", run->id);
    return ledger_write_end(ledger, status, err);
}

enum status ledger_run_update(struct ledger *ledger, const struct ledger_run *run, struct err *err) {
    must(run && run->id && run->status);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) return status;
    status = ledger_run(
        ledger, err, NULL, SQL_RUN_UPDATE, "ssiisss", run->id, run->status, run->started_ms, run->finished_ms, run->request, run->detail, run->error);
    return ledger_write_end(ledger, status, err);
}

enum status ledger_run_get(struct ledger *ledger, struct arena *arena, const char *id, struct ledger_run *out, struct err *err) {
    must(id && out);
    struct query q = ledger_query_read(ledger, SQL_RUN_GET, err, "s", id);
    struct ledger_run run;
    bool found = query_next(&q);
    if (found) run = run_of(&q, arena);
    enum status status = query_end(&q);
    if (status != OK) return status;
    if (!found) return err_set(err, E_NOT_FOUND, "there is no run %.80s", id);
    *out = run;
    return OK;
}

enum status ledger_run_open(struct ledger *ledger, struct arena *arena, struct ledger_run **out, size_t *n, struct err *err) {
    must(out && n);
    return collect(ledger_query_read(ledger, SQL_RUN_OPEN, err, ""), arena, out, n);
}

enum status ledger_run_list(struct ledger *ledger, struct arena *arena, const char *flow, size_t limit, struct ledger_run **out, size_t *n, struct err *err) {
    must(out && n && limit > 0);
    return collect(ledger_query_read(ledger, SQL_RUN_LIST, err, "si", flow, (int64_t)limit), arena, out, n);
}

enum status ledger_run_prune(struct ledger *ledger, int64_t before_ms, struct err *err) {
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) return status;
    status = ledger_run(ledger, err, NULL, SQL_RUN_PRUNE, "i", before_ms);
    return ledger_write_end(ledger, status, err);
}

enum status ledger_schedule_get(struct ledger *ledger, struct arena *arena, const char *flow, struct ledger_schedule *out, struct err *err) {
    must(flow && out);
    struct query q = ledger_query_read(ledger, SQL_SCHEDULE_GET, err, "s", flow);
    struct ledger_schedule schedule = {0};
    bool found = query_next(&q);
    if (found) schedule = (struct ledger_schedule){query_int(&q, 0), query_text(&q, arena, 1)};
    enum status status = query_end(&q);
    if (status != OK) return status;
    if (!found) return err_set(err, E_NOT_FOUND, "flow %s has no schedule yet", flow);
    *out = schedule;
    return OK;
}

enum status ledger_schedule_put(struct ledger *ledger, const char *flow, const struct ledger_schedule *schedule, struct err *err) {
    must(flow && schedule);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) return status;
    status = ledger_run(ledger, err, NULL, SQL_SCHEDULE_PUT, "sis", flow, schedule->fired_ms, schedule->mark);
    return ledger_write_end(ledger, status, err);
}
