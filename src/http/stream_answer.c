/* An answer of unknown length. One chunk is in memory at a time: a worker fills it, the connection's thread sends it and then asks for the next. A slow
 * reader therefore holds one chunk and no worker.
 *
 * The first chunk is made before the head is sent, so that a failure at the beginning is still a proper problem+json.
 *
 * Who frees: the response's free call-back, or, when the client left while a worker was filling, that worker. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/http_priv.h"

#define CHUNK_BYTES (128u << 10)

enum chunk_state { CHUNK_FILLING, CHUNK_READY, CHUNK_END, CHUNK_FAILED };

struct stream_answer {
    struct http_request *request; /* until the answer is published */
    struct http_server *server;
    struct http_loop *loop;
    struct MHD_Connection *mhd;
    struct http_conn *conn; /* until the response is freed */
    int64_t stall_ms;
    enum status (*next)(void *context, void *bytes, size_t n, size_t *got, struct err *err);
    void (*end)(void *context);
    void *context;
    mutex lock;
    enum chunk_state state;
    bool first, asleep, abandoned;
    size_t n, at;
    struct job job;
    char bytes[CHUNK_BYTES];
};

/* For the watcher, which ends answers that nobody reads. The lock is held, and the response is not freed yet. */
static void note_unread(struct stream_answer *s, bool unread) {
    if (!s->stall_ms) return;
    atomic_store_explicit(&s->conn->stall_ms, s->stall_ms, memory_order_relaxed);
    atomic_store(&s->conn->unread_since_ms, unread ? host_monotonic_ms(&s->server->host) : 0);
}

static void stream_free(struct stream_answer *s) {
    s->end(s->context);
    mutex_destroy(&s->lock);
    free(s);
}

static void first_chunk_done(struct stream_answer *s, const struct err *err) {
    struct http_request *r = s->request;
    s->request = NULL;
    if (s->state != CHUNK_FAILED) {
        answer_publish(r);
        return;
    }
    struct err copy = *err;
    if (r->watched) watch_forget(r); /* before `end` takes away what its call-back points to */
    r->stream = NULL;
    stream_free(s);
    r->code = 0;
    http_answer_problem(r, &copy, STR_NULL);
}

static void fill(void *context) {
    struct stream_answer *s = context;
    struct err err = {.status = OK};
    size_t got = 0;
    enum status st = s->next(s->context, s->bytes, sizeof s->bytes, &got, &err);
    must(got <= sizeof s->bytes);
    mutex_lock(&s->lock);
    s->state = st != OK ? CHUNK_FAILED : got ? CHUNK_READY : CHUNK_END;
    s->n = got;
    s->at = 0;
    if (!s->abandoned) note_unread(s, true);
    bool first = s->first, abandoned = s->abandoned, asleep = s->asleep;
    struct MHD_Connection *mhd = s->mhd;
    struct http_loop *loop = s->loop;
    s->first = s->asleep = false;
    mutex_unlock(&s->lock);
    if (abandoned)
        stream_free(s);
    else if (first)
        first_chunk_done(s, &err);
    else if (asleep)
        loop_resume(loop, mhd);
}

static ssize_t send_chunk(void *context, uint64_t position, char *out, size_t max) {
    struct stream_answer *s = context;
    WITH_LOCK(&s->lock);
    switch (s->state) {
    case CHUNK_END: return MHD_CONTENT_READER_END_OF_STREAM;
    case CHUNK_FAILED: return MHD_CONTENT_READER_END_WITH_ERROR;
    case CHUNK_FILLING:
        MHD_suspend_connection(s->mhd);
        s->asleep = true;
        return 0;
    case CHUNK_READY: break;
    }
    size_t n = s->n - s->at < max ? s->n - s->at : max;
    memcpy(out, s->bytes + s->at, n);
    s->at += n;
    note_unread(s, s->at < s->n);
    if (s->at == s->n) {
        s->state = CHUNK_FILLING;
        worker_push(s->server, POOL_CHUNKS, &s->job);
    }
    return (ssize_t)n;
}

static void response_freed(void *context) {
    struct stream_answer *s = context;
    mutex_lock(&s->lock);
    bool filling = s->state == CHUNK_FILLING;
    s->abandoned = filling;
    note_unread(s, false);
    mutex_unlock(&s->lock);
    if (!filling) stream_free(s);
}

struct MHD_Response *stream_answer_response(struct stream_answer *s) {
    must(s && !s->request);
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32u << 10, send_chunk, s, response_freed);
}

void http_limit_stall(struct http_request *r, int64_t stall_ms) {
    must(stall_ms >= 0 && !r->stream);
    r->stall_ms = stall_ms;
}

void http_answer_stream(struct http_request *r, int code, const char *content_type,
    enum status (*next)(void *context, void *bytes, size_t n, size_t *got, struct err *err), void (*end)(void *context), void *context) {
    must(next && end && !r->stream);
    struct stream_answer *s = mem_alloc(sizeof *s);
    memset(s, 0, offsetof(struct stream_answer, bytes));
    s->request = r;
    s->server = r->server;
    s->mhd = r->mhd;
    s->loop = r->loop;
    s->conn = r->conn;
    s->stall_ms = r->stall_ms;
    s->next = next;
    s->end = end;
    s->context = context;
    s->first = true;
    s->state = CHUNK_FILLING;
    s->job = (struct job){.run = fill, .context = s};
    mutex_init(&s->lock);
    r->stream = s;
    r->code = code;
    r->content_type = content_type ? arena_strdup(r->arena, content_type) : NULL;
    worker_push(s->server, POOL_CHUNKS, &s->job);
}
