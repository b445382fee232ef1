#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/http_priv.h"

static struct job *take(struct http_server *server) {
    WITH_LOCK (&server->jobs_lock)
        ;
    while (!server->jobs && !server->jobs_end) {
        server->workers_idle++;
        condition_wait(&server->jobs_wake, &server->jobs_lock);
        server->workers_idle--;
    }
    struct job *job = server->jobs;
    if (!job) return NULL;
    server->jobs = job->next;
    if (!server->jobs) server->jobs_tail = &server->jobs;
    server->jobs_n--;
    return job;
}

static void *work(void *argument) {
    struct http_server *server = argument;
    for (struct job *job; (job = take(server));) {
        bool owned = job->owned; /* a job that is part of a request may be gone after it ran */
        job->run(job->context);
        if (owned) free(job);
    }
    return NULL;
}

/* The lock is held. */
static void push(struct http_server *server, struct job *job) {
    must(!server->jobs_end);
    job->next = NULL;
    *server->jobs_tail = job;
    server->jobs_tail = &job->next;
    server->jobs_n++;
    condition_signal(&server->jobs_wake);
}

void worker_push(struct http_server *server, struct job *job) {
    WITH_LOCK (&server->jobs_lock)
        ;
    push(server, job);
}

enum status http_offload(struct http_server *server, void (*f)(void *context), void *context, struct err *err) {
    must(f);
    WITH_LOCK (&server->jobs_lock)
        ;
    if (server->jobs_end) return err_set(err, E_UNAVAILABLE, "the server stops");
    if (server->jobs_n >= JOBS_WAITING_MAX) return err_set(err, E_BUSY, "%zu requests wait for one of %u workers already", server->jobs_n, server->workers_n);
    struct job *job = mem_alloc(sizeof *job);
    *job = (struct job){.run = f, .context = context, .owned = true};
    push(server, job);
    return OK;
}

void workers_start(struct http_server *server) {
    mutex_init(&server->jobs_lock);
    condition_init(&server->jobs_wake);
    server->jobs_tail = &server->jobs;
    server->workers_n = server->options.workers;
    server->workers = mem_zalloc(server->workers_n * sizeof *server->workers);
    for (uint32_t i = 0; i < server->workers_n; i++) thread_start(&server->workers[i], "http-worker", work, server);
}

void workers_stop(struct http_server *server) {
    mutex_lock(&server->jobs_lock);
    server->jobs_end = true;
    condition_broadcast(&server->jobs_wake);
    mutex_unlock(&server->jobs_lock);
    for (uint32_t i = 0; i < server->workers_n; i++) thread_join(&server->workers[i]);
    free(server->workers);
    condition_destroy(&server->jobs_wake);
    mutex_destroy(&server->jobs_lock);
}
