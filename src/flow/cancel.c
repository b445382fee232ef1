/* Cancelling statements under way: a thread asks the runs' call-backs while their statements run, because those threads wait for the engine. Started with the
 * first statement that can be cancelled. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "flow/run_priv.h"

#define LOOK_MS 100

struct statement { /* on the stack of the thread that waits for it */
    struct statement *next;
    struct engine_work *work;
    const struct flow_run_options *options;
    bool cancelled;
};

struct canceller {
    mutex lock;
    condition wake;
    struct statement *running;
    bool started, stopping;
    struct thread thread;
};

struct canceller *canceller_new(void) {
    struct canceller *c = mem_zalloc(sizeof *c);
    mutex_init(&c->lock);
    condition_init(&c->wake);
    return c;
}

/* The lock keeps statements from ending meanwhile. */
static void *look(void *argument) {
    struct canceller *c = argument;
    mutex_lock(&c->lock);
    while (!c->stopping) {
        for (struct statement *s = c->running; s; s = s->next) {
            if (s->cancelled || !s->options->cancelled(s->options->context)) continue;
            s->cancelled = true;
            (void)engine_work_cancel(s->work);
        }
        if (c->running)
            (void)condition_wait_ms(&c->wake, &c->lock, LOOK_MS);
        else
            condition_wait(&c->wake, &c->lock);
    }
    mutex_unlock(&c->lock);
    return NULL;
}

void canceller_free(struct canceller **canceller) {
    struct canceller *c = *canceller;
    if (!c) return;
    mutex_lock(&c->lock);
    must(!c->running);
    c->stopping = true;
    condition_signal(&c->wake);
    mutex_unlock(&c->lock);
    thread_join(&c->thread);
    condition_destroy(&c->wake);
    mutex_destroy(&c->lock);
    free(c);
    *canceller = NULL;
}

enum status cancellable_rows(
    struct canceller *c, const struct flow_run_options *options, struct engine_work *work, const char *sql, json_t **rows, struct err *err) {
    must(c && options && work && sql);
    if (!options->cancelled) return work_rows(work, sql, rows, err);
    struct statement statement = {.work = work, .options = options};
    mutex_lock(&c->lock);
    statement.next = c->running;
    c->running = &statement; /* cppcheck-suppress autoVariables ; taken out below, before it ends */
    if (!c->started) thread_start(&c->thread, "flow-cancel", look, c);
    if (!statement.next) condition_signal(&c->wake);
    c->started = true;
    mutex_unlock(&c->lock);
    enum status status = work_rows(work, sql, rows, err);
    WITH_LOCK(&c->lock);
    struct statement **at = &c->running;
    while (*at != &statement) at = &(*at)->next;
    *at = statement.next;
    return status;
}
