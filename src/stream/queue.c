/* The queue between submitters and the committer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "stream/stream_priv.h"

static enum status check_record(const struct stream_record *r, uint32_t i, struct err *err) {
    if (r->payload.n > STREAM_RECORD_BYTES_MAX)
        return err_set(err, E_LIMIT, "record %u has %zu bytes, a record may have %u", i + 1, r->payload.n, STREAM_RECORD_BYTES_MAX);
    if (r->key.n > STREAM_KEY_BYTES_MAX)
        return err_set(err, E_LIMIT, "the key of record %u has %zu bytes, a key may have %u", i + 1, r->key.n, STREAM_KEY_BYTES_MAX);
    if (r->headers.n > STREAM_HEADERS_BYTES_MAX)
        return err_set(err, E_LIMIT, "the headers of record %u have %zu bytes, they may have %u", i + 1, r->headers.n, STREAM_HEADERS_BYTES_MAX);
    if (r->source.n > 255 || r->content_type.n > 255) return err_set(err, E_LIMIT, "source and content type of record %u may have 255 bytes each", i + 1);
    return OK;
}

static enum status check_request(const struct stream_log *log, const struct stream_append *request, size_t *bytes, struct err *err) {
    if (request->n == 0) return err_set(err, E_INVALID, "a request needs at least one record");
    const struct stream_info *info = stream_get(log, request->stream);
    if (!info) return err_set(err, E_NOT_FOUND, "there is no stream number %u", request->stream);
    uint64_t total = 0;
    for (uint32_t i = 0; i < request->n; i++) {
        const struct stream_record *r = &request->records[i];
        enum status s = check_record(r, i, err);
        if (s != OK) return s;
        total += r->payload.n + r->key.n + r->headers.n + r->source.n + r->content_type.n + 64;
    }
    if (total > REQUEST_BYTES_MAX)
        return err_set(err, E_LIMIT, "the request has %" PRIu64 " bytes, one request may have %" PRIu64, total, (uint64_t)REQUEST_BYTES_MAX);
    *bytes = (size_t)total;
    return OK;
}

enum status queue_trouble(const struct stream_log *log, struct err *err) {
    enum status s = (enum status)atomic_load(&log->trouble);
    if (s == E_IO) s = E_UNAVAILABLE; /* nothing of this request was tried: it may come again */
    return s == OK ? OK : err_set(err, s, "the log takes no events at the moment: %s", log->trouble_reason);
}

enum status stream_submit(struct stream_log *log, struct stream_append *request, struct err *err) {
    must(request->done != NULL && request->ids != NULL);
    size_t bytes = 0;
    enum status s = check_request(log, request, &bytes, err);
    if (s != OK) return s;
    request->bytes = bytes;
    request->next = NULL;
    WITH_LOCK(&log->queue);
    if (atomic_load(&log->trouble) != OK) return queue_trouble(log, err);
    if (log->stop) return err_set(err, E_UNAVAILABLE, "the log is closing");
    if (log->queued >= log->options.queue_max || (log->queued && log->queued_bytes + bytes > log->options.queue_bytes_max))
        return err_set(err, E_BUSY, "%u requests wait for the disk, the queue is full", log->queued);
    *log->last = request;
    log->last = &request->next;
    log->queued++;
    log->queued_bytes += bytes;
    if (log->committer_waits) {
        log->committer_waits = false;
        condition_signal(&log->queue_filled);
    }
    return OK;
}

/* ---- waiting callers ---- */

struct wait {
    mutex lock;
    condition finished;
    bool done;
    struct stream_result result;
};

static void wait_done(void *context, const struct stream_result *result) {
    struct wait *w = context;
    mutex_lock(&w->lock);
    w->result = *result;
    w->done = true;
    condition_signal(&w->finished);
    mutex_unlock(&w->lock);
}

enum status stream_append_wait(struct stream_log *log, struct stream_append *request, struct stream_result *result, struct err *err) {
    struct wait w = {.done = false};
    mutex_init(&w.lock);
    condition_init(&w.finished);
    request->done = wait_done;
    request->context = &w; /* cppcheck-suppress autoVariables ; the request is answered before this returns */
    enum status s = stream_submit(log, request, err);
    if (s == OK) {
        mutex_lock(&w.lock);
        while (!w.done) condition_wait(&w.finished, &w.lock);
        mutex_unlock(&w.lock);
        s = w.result.status;
        w.result.replayed_answer = STR_NULL; /* was valid during done only */
        if (s != OK && err) *err = w.result.err;
        if (s == OK && result) *result = w.result;
    }
    condition_destroy(&w.finished);
    mutex_destroy(&w.lock);
    return s;
}

enum status queue_command(struct stream_log *log, struct command *command, struct err *err) {
    must(!command->finished);
    WITH_LOCK(&log->queue);
    if (log->stop) return err_set(err, E_UNAVAILABLE, "the log is closing");
    command->next = log->commands;
    log->commands = command;
    log->committer_waits = false;
    condition_signal(&log->queue_filled);
    while (!command->finished) condition_wait(&log->command_finished, &log->queue);
    if (command->status != OK && err) *err = command->err;
    return command->status;
}

/* ---- the committer's side ---- */

/* The oldest requests, up to the size of a group; a single one may be larger than that. The rest waits: its turn comes with the next sync. */
static struct stream_append *take_requests(struct stream_log *log) {
    struct stream_append *first = log->first, **end = &log->first;
    uint64_t bytes = 0;
    while (*end && (bytes == 0 || bytes + (*end)->bytes <= log->options.group_bytes_max)) {
        bytes += (*end)->bytes;
        log->queued--;
        end = &(*end)->next;
    }
    must(bytes <= log->queued_bytes);
    log->queued_bytes -= bytes;
    struct stream_append *rest = *end;
    if (first) *end = NULL;
    log->first = rest;
    if (!rest) log->last = &log->first;
    return first;
}

bool queue_take(struct stream_log *log, struct taken *out) {
    WITH_LOCK(&log->queue);
    while (!log->first && !log->commands && !log->stop && !log->watchers_ready) {
        log->committer_waits = true;
        if (atomic_load(&log->trouble) == OK) {
            condition_wait(&log->queue_filled, &log->queue);
        } else if (!condition_wait_ms(&log->queue_filled, &log->queue, log->options.probe_ms)) {
            break;
        }
    }
    log->committer_waits = false;
    log->watchers_ready = false;
    must(log->first != NULL || (log->queued == 0 && log->queued_bytes == 0));
    *out = (struct taken){.requests = take_requests(log), .commands = log->commands, .stop = log->stop};
    log->commands = NULL;
    return out->requests || out->commands || !out->stop;
}

void queue_finish_commands(struct stream_log *log, struct command *commands, enum status status, const struct err *err) {
    if (!commands) return;
    WITH_LOCK(&log->queue);
    for (struct command *c = commands, *next; c; c = next) {
        next = c->next;
        must(!c->finished);
        if (c->status == OK) {
            c->status = status;
            if (status != OK) c->err = *err;
        }
        c->finished = true;
    }
    condition_broadcast(&log->command_finished);
}

void queue_set_trouble(struct stream_log *log, enum status status, const char *reason) {
    WITH_LOCK(&log->queue);
    must(reason != NULL);
    snprintf(log->trouble_reason, sizeof log->trouble_reason, "%s", reason);
    atomic_store(&log->trouble, (int)status);
}

void queue_wake(struct stream_log *log) {
    WITH_LOCK(&log->queue);
    log->watchers_ready = true;
    log->committer_waits = false;
    condition_signal(&log->queue_filled);
}
