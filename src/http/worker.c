#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/http_priv.h"

static struct job *take(struct worker_pool *pool) {
    WITH_LOCK(&pool->lock);
    while (!pool->jobs && !pool->end) condition_wait(&pool->wake, &pool->lock);
    struct job *job = pool->jobs;
    if (!job) return NULL;
    pool->jobs = job->next;
    if (!pool->jobs) pool->tail = &pool->jobs;
    pool->jobs_n--;
    return job;
}

static void *work(void *argument) {
    struct worker_pool *pool = argument;
    for (struct job *job; (job = take(pool));) {
        bool owned = job->owned; /* a job that is part of a request may be gone after it ran */
        job->run(job->context);
        if (owned) free(job);
    }
    return NULL;
}

/* The lock is held. */
static void push(struct worker_pool *pool, struct job *job) {
    must(!pool->end);
    job->next = NULL;
    *pool->tail = job;
    pool->tail = &job->next;
    pool->jobs_n++;
    condition_signal(&pool->wake);
}

void worker_push(struct http_server *server, enum pool_name name, struct job *job) {
    must(name < POOLS);
    struct worker_pool *pool = &server->pools[name];
    WITH_LOCK(&pool->lock);
    push(pool, job);
}

enum status http_offload(struct http_server *server, void (*f)(void *context), void *context, struct err *err) {
    must(f);
    struct worker_pool *pool = &server->pools[POOL_HANDLERS];
    WITH_LOCK(&pool->lock);
    if (pool->end) return err_set(err, E_UNAVAILABLE, "the server stops");
    if (pool->jobs_n >= JOBS_WAITING_MAX) return err_set(err, E_BUSY, "%zu requests wait for one of %u workers already", pool->jobs_n, pool->threads_n);
    struct job *job = mem_alloc(sizeof *job);
    *job = (struct job){.run = f, .context = context, .owned = true};
    push(pool, job);
    return OK;
}

void http_continue(struct http_request *r, void (*f)(void *context), void *context) {
    must(f);
    r->job = (struct job){.run = f, .context = context};
    worker_push(r->server, POOL_BODIES, &r->job);
}

static void pool_start(struct worker_pool *pool, const char *name, uint32_t threads) {
    must(threads > 0);
    mutex_init(&pool->lock);
    condition_init(&pool->wake);
    pool->tail = &pool->jobs;
    pool->threads_n = threads;
    pool->threads = mem_zalloc(threads * sizeof *pool->threads);
    for (uint32_t i = 0; i < threads; i++) thread_start(&pool->threads[i], name, work, pool);
}

static void pool_stop(struct worker_pool *pool) {
    mutex_lock(&pool->lock);
    pool->end = true;
    condition_broadcast(&pool->wake);
    mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->threads_n; i++) thread_join(&pool->threads[i]);
    free(pool->threads);
    condition_destroy(&pool->wake);
    mutex_destroy(&pool->lock);
}

void workers_start(struct http_server *server) {
    pool_start(&server->pools[POOL_HANDLERS], "http-worker", server->options.workers);
    pool_start(&server->pools[POOL_CHUNKS], "http-chunks", server->options.workers);
    pool_start(&server->pools[POOL_BODIES], "http-bodies", server->options.threads);
}

/* Each pool before those that its jobs push to. */
void workers_stop(struct http_server *server) {
    pool_stop(&server->pools[POOL_BODIES]);
    pool_stop(&server->pools[POOL_HANDLERS]);
    pool_stop(&server->pools[POOL_CHUNKS]);
}
