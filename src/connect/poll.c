#include "connect/poll.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/shown.h"
#include "base/times.h"
#include "host/thread.h"
#include "http/http_client.h"

#define ANSWER_BYTES (UINT64_C(64) << 20)
#define RECORDS_MAX 1000000u
#define BATCH_RECORDS 1000u
#define BATCH_BYTES (4u << 20)
#define SHOWN_RECORDS 5u
#define RETRY_AFTER_MAX_S 86400

static struct metric m_requests = {.name = "cupel_poll_requests_total",
    .help = "Questions to poll sources by outcome: new, empty (nothing new), failed.",
    .kind = METRIC_COUNTER,
    .labels = "source,outcome"};
static struct metric m_records = {
    .name = "cupel_poll_records_total", .help = "Records in the answers of poll sources.", .kind = METRIC_COUNTER, .labels = "source"};
static struct metric m_refused = {.name = "cupel_poll_refused_total",
    .help = "Records of poll sources that their stream refused; each is in the log with its beginning.",
    .kind = METRIC_COUNTER,
    .labels = "source"};

struct asker { /* one source */
    struct poll *poll;
    const struct poll_source *source;
    struct thread thread;
    struct http_client *client; /* by the holder of `asking` */
    mutex asking; /* one question at a time: the thread's or a command's */
    mutex lock; /* what follows */
    condition changed;
    int64_t next_ms, last_ms; /* wall clock; 0: never */
    char etag[200], last_error[ERR_TEXT_MAX];
    int last_code;
    uint64_t asked, failed, records, accepted, refused, failures_in_row;
};

struct poll {
    struct poll_options options;
    struct asker *askers;
    atomic_bool stopping;
};

/* ---- the answer ---- */

/* The list (or the one object) in an answer. */
static enum status find_items(struct str body, const char *items, struct str *out, struct err *err) {
    *out = str_trim(body);
    if (out->n >= 3 && memcmp(out->p, "\xEF\xBB\xBF", 3) == 0) *out = str_trim(str_from(*out, 3));
    if (!out->n) return OK;
    if (out->p[0] != '{' && out->p[0] != '[') return err_set(err, E_INVALID, "the answer is neither a JSON object nor a list");
    enum status st = json_validate(*out, JSON_DEPTH_MAX, err);
    if (st != OK) return err_prefix(err, "the answer is not JSON");
    if (!items) return OK;
    struct str found;
    if (!json_raw_at(*out, str_of(items), &found)) return err_set(err, E_INVALID, "the answer has no \"%s\"", items);
    *out = str_is(found, "null") ? STR("") : found;
    return OK;
}

enum status poll_cut(struct str body, const char *items, struct str **records, size_t *n, struct err *err) {
    must(records && n);
    *records = NULL;
    *n = 0;
    struct str list;
    enum status st = find_items(body, items, &list, err);
    if (st != OK || !list.n) return st;
    if (list.p[0] == '[') return json_split_array(list, RECORDS_MAX, records, n, err);
    if (list.p[0] != '{') return err_set(err, E_INVALID, "\"%s\" of the answer is neither an object nor a list", items);
    *records = mem_alloc(sizeof **records);
    (*records)[0] = list;
    *n = 1;
    return OK;
}

/* ---- asking ---- */

static bool stopping(void *context) { return atomic_load(&((struct asker *)context)->poll->stopping); }

/* "120" or an HTTP date; only seconds are obeyed. */
static int64_t retry_after_ms(const struct http_result *result) {
    struct str text = http_result_header(result, "Retry-After");
    int64_t seconds = 0;
    for (size_t i = 0; i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && seconds < RETRY_AFTER_MAX_S; i++) seconds = seconds * 10 + (text.p[i] - '0');
    return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * 1000;
}

static enum status ask(struct asker *a, struct arena *arena, bool conditional, struct http_result *out, struct err *err) {
    const struct poll_source *s = a->source;
    const char **headers = arena_alloc(arena, (s->headers_n + 2) * sizeof *headers);
    size_t n = 0;
    for (; n < s->headers_n; n++) headers[n] = s->headers[n];
    headers[n++] = "Accept: application/json";
    mutex_lock(&a->lock);
    if (conditional && a->etag[0]) headers[n++] = arena_printf(arena, "If-None-Match: %s", a->etag);
    mutex_unlock(&a->lock);
    struct http_call call = {.url = s->url,
        .headers = headers,
        .headers_n = n,
        .connect_ms = s->timeout_ms,
        .total_ms = s->timeout_ms,
        .answer_bytes_max = s->answer_bytes_max ? s->answer_bytes_max : ANSWER_BYTES,
        .cancelled = stopping,
        .cancelled_context = a};
    enum status st = http_client_call(a->client, arena, &call, out, err);
    if (st != OK) return st;
    if ((out->code >= 200 && out->code < 300) || out->code == 304) return OK;
    BUF_SCOPE(url);
    shown_put_url(&url, s->url);
    return err_set(err, E_UNAVAILABLE, "%s answered %d: %.*s", buf_cstr(&url), out->code, STR_ARG(str_head(str_trim(out->body), 200)));
}

/* ---- into the stream ---- */

static void refuse(struct asker *a, struct str record, const struct err *why, struct poll_outcome *out) {
    AUTO_FREE char *head =
        a->source->confidential ? mem_printf("(not shown: fields of this stream are protected)") : mem_strndup(record.p, record.n < 500 ? record.n : 500);
    log_error("poll", "the stream refused a record", LOG_STR("source", a->source->name), LOG_STR("why", why->text), LOG_STR("record", head), NULL);
    series_add(metric_series(&m_refused, a->source->name), 1);
    out->refused++;
}

/* One request to the stream; what it refuses is taken out and the rest is sent again. */
static enum status send_some(struct asker *a, struct str *records, size_t n, struct poll_outcome *out, struct err *err) {
    const struct poll_options *o = &a->poll->options;
    struct landing_append append = {.stream = a->source->stream, .source = a->source->name, .payloads = records};
    while (n) {
        struct err why = {0};
        uint32_t accepted = 0;
        size_t bad = SIZE_MAX;
        append.n = n;
        enum status st = o->append(o->context, &append, &accepted, &bad, &why);
        if (st == OK) {
            out->accepted += accepted;
            return OK;
        }
        if (bad >= n) return err_set(err, st, "%s", why.text);
        refuse(a, records[bad], &why, out);
        memmove(&records[bad], &records[bad + 1], (--n - bad) * sizeof *records);
    }
    return OK;
}

static enum status send_all(struct asker *a, struct str *records, size_t n, struct poll_outcome *out, struct err *err) {
    enum status st = OK;
    for (size_t at = 0; at < n && st == OK;) {
        size_t take = 0, bytes = 0;
        while (at + take < n && take < BATCH_RECORDS && bytes < BATCH_BYTES) bytes += records[at + take++].n;
        st = send_some(a, records + at, take, out, err);
        at += take;
    }
    out->records = n;
    return st;
}

/* ---- one question with all that follows ---- */

static void remember_tag(struct asker *a, const struct http_result *result) {
    struct str tag = http_result_header(result, "ETag");
    WITH_LOCK(&a->lock);
    a->etag[0] = '\0';
    if (tag.n && tag.n < sizeof a->etag) snprintf(a->etag, sizeof a->etag, "%.*s", STR_ARG(tag));
}

static enum status exchange(struct asker *a, struct poll_outcome *out, int64_t *retry_ms, struct err *err) {
    ARENA_SCOPE(arena);
    struct http_result result = {0};
    enum status st = ask(a, arena, true, &result, err);
    out->code = result.code;
    if (st != OK) {
        *retry_ms = result.code ? retry_after_ms(&result) : 0;
        return st;
    }
    AUTO_FREE struct str *records = NULL;
    size_t n = 0;
    if (result.code != 304) st = poll_cut(result.body, a->source->items, &records, &n, err);
    if (st == OK) st = send_all(a, records, n, out, err);
    if (st == OK && result.code != 304) remember_tag(a, &result); /* not before its records are durable */
    return st;
}

static int64_t wait_after(const struct asker *a, bool failed, int64_t retry_ms) {
    const struct poll_source *s = a->source;
    if (!failed) return s->every_ms;
    int64_t wait = s->every_ms;
    for (uint64_t i = 1; i < a->failures_in_row && wait < s->backoff_max_ms; i++) wait *= 2;
    if (wait > s->backoff_max_ms) wait = s->backoff_max_ms > s->every_ms ? s->backoff_max_ms : s->every_ms;
    uint32_t chance;
    host_random(&chance, sizeof chance);
    wait += (int64_t)(chance % 1000) * wait / 4000; /* up to a quarter more, so that many sources of one partner do not come back together */
    return wait > retry_ms ? wait : retry_ms;
}

static void account(struct asker *a, enum status st, const struct poll_outcome *done, int64_t retry_ms, const struct err *err) {
    const char *outcome = st != OK ? "failed" : done->records ? "new" : "empty";
    series_add(metric_series(&m_requests, a->source->name, outcome), 1);
    series_add(metric_series(&m_records, a->source->name), (int64_t)done->records);
    int64_t now = host_wall_ms(a->poll->options.host);
    WITH_LOCK(&a->lock);
    bool was_failing = a->failures_in_row > 0;
    a->asked++;
    a->failed += st != OK;
    a->failures_in_row = st == OK ? 0 : a->failures_in_row + 1;
    a->records += done->records;
    a->accepted += done->accepted;
    a->refused += done->refused;
    a->last_ms = now;
    a->last_code = done->code;
    a->next_ms = now + wait_after(a, st != OK, retry_ms);
    snprintf(a->last_error, sizeof a->last_error, "%s", st == OK ? "" : err->text);
    if (st != OK && !was_failing) {
        log_warn("poll", "a source cannot be read; it is asked less often until it can", LOG_STR("source", a->source->name), LOG_STR("why", err->text), NULL);
    } else if (st == OK && was_failing) {
        log_info("poll", "a source can be read again", LOG_STR("source", a->source->name), NULL);
    }
}

static enum status ask_once(struct asker *a, struct poll_outcome *out, struct err *err) {
    WITH_LOCK(&a->asking);
    int64_t retry_ms = 0;
    *out = (struct poll_outcome){0};
    enum status st = exchange(a, out, &retry_ms, err);
    if (st != E_CANCELLED) account(a, st, out, retry_ms, err);
    return st;
}

static void *run(void *argument) {
    struct asker *a = argument;
    mutex_lock(&a->lock);
    while (!atomic_load(&a->poll->stopping)) {
        int64_t wait = a->next_ms - host_wall_ms(a->poll->options.host);
        if (wait > a->source->every_ms + a->source->backoff_max_ms + RETRY_AFTER_MAX_S * 1000) wait = 0; /* the clock was set back */
        if (wait > 0) {
            condition_wait_ms(&a->changed, &a->lock, wait);
            continue;
        }
        mutex_unlock(&a->lock);
        struct poll_outcome outcome;
        struct err err = {0};
        ask_once(a, &outcome, &err);
        mutex_lock(&a->lock);
    }
    mutex_unlock(&a->lock);
    return NULL;
}

/* ---- life ---- */

struct poll *poll_open(const struct poll_options *options) {
    must(options && options->append && options->host);
    struct poll *poll = mem_zalloc(sizeof *poll);
    poll->options = *options;
    poll->askers = mem_zalloc((options->sources_n + 1) * sizeof *poll->askers);
    metric_register(&m_requests);
    metric_register(&m_records);
    metric_register(&m_refused);
    for (size_t i = 0; i < options->sources_n; i++) {
        struct asker *a = &poll->askers[i];
        a->poll = poll;
        a->source = &options->sources[i];
        a->client = http_client_new();
        a->next_ms = host_wall_ms(options->host) + a->source->every_ms * (int64_t)i / (int64_t)options->sources_n;
        mutex_init(&a->asking);
        mutex_init(&a->lock);
        condition_init(&a->changed);
    }
    return poll;
}

void poll_start(struct poll *poll) {
    for (size_t i = 0; i < poll->options.sources_n; i++) thread_start(&poll->askers[i].thread, "poll", run, &poll->askers[i]);
}

void poll_stop(struct poll **poll) {
    if (!poll || !*poll) return;
    atomic_store(&(*poll)->stopping, true);
    for (size_t i = 0; i < (*poll)->options.sources_n; i++) {
        struct asker *a = &(*poll)->askers[i];
        mutex_lock(&a->lock);
        condition_broadcast(&a->changed);
        mutex_unlock(&a->lock);
        thread_join(&a->thread);
        http_client_free(&a->client);
        condition_destroy(&a->changed);
        mutex_destroy(&a->lock);
        mutex_destroy(&a->asking);
    }
    free((*poll)->askers);
    free(*poll);
    *poll = NULL;
}

/* ---- for commands ---- */

static void put_url(struct json_writer *w, const struct poll_source *source) {
    BUF_SCOPE(url);
    shown_put_url(&url, source->url);
    json_put_str(w, "url", buf_view(&url));
}

static enum status find_asker(struct poll *poll, const char *source, struct asker **out, struct err *err) {
    for (size_t i = 0; i < poll->options.sources_n; i++) {
        *out = &poll->askers[i];
        if (strcmp((*out)->source->name, source) == 0) return OK;
    }
    return err_set(err, E_NOT_FOUND, "no poll source '%s'", source);
}

enum status poll_run_once(struct poll *poll, const char *source, struct poll_outcome *out, struct err *err) {
    struct asker *a;
    enum status st = find_asker(poll, source, &a, err);
    if (st != OK) return st;
    st = ask_once(a, out, err);
    WITH_LOCK(&a->lock);
    condition_broadcast(&a->changed);
    return st;
}

enum status poll_test(struct poll *poll, const char *source, struct buf *out, struct err *err) {
    struct asker *a;
    ARENA_SCOPE(arena);
    struct http_result result = {0};
    enum status st = find_asker(poll, source, &a, err);
    if (st != OK) return st;
    mutex_lock(&a->asking);
    st = ask(a, arena, false, &result, err);
    mutex_unlock(&a->asking);
    AUTO_FREE struct str *records = NULL;
    size_t n = 0;
    if (st == OK) st = poll_cut(result.body, a->source->items, &records, &n, err);
    if (st != OK) return st;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "source", source);
    put_url(&w, a->source);
    json_put_int(&w, "code", result.code);
    json_put_int(&w, "records", (int64_t)n);
    json_name(&w, "first");
    json_begin_array(&w);
    for (size_t i = 0; i < n && i < SHOWN_RECORDS; i++) json_raw(&w, records[i]);
    json_end_array(&w);
    json_end_object(&w);
    return OK;
}

static void write_asker(struct json_writer *w, struct asker *a) {
    WITH_LOCK(&a->lock);
    json_begin_object(w);
    json_put_text(w, "name", a->source->name);
    json_put_text(w, "type", "poll");
    put_url(w, a->source);
    json_put_text(w, "stream", a->source->stream);
    json_put_int(w, "every_ms", a->source->every_ms);
    json_put_int(w, "asked", (int64_t)a->asked);
    json_put_int(w, "failed", (int64_t)a->failed);
    json_put_int(w, "records", (int64_t)a->records);
    json_put_int(w, "accepted", (int64_t)a->accepted);
    json_put_int(w, "refused", (int64_t)a->refused);
    json_put_int(w, "last_code", a->last_code);
    if (a->last_ms) json_put_time_ms(w, "last_at", a->last_ms);
    json_put_time_ms(w, "next_at", a->next_ms);
    if (a->last_error[0]) json_put_text(w, "last_error", a->last_error);
    json_end_object(w);
}

void poll_list_json(struct poll *poll, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_array(&w);
    for (size_t i = 0; i < poll->options.sources_n; i++) write_asker(&w, &poll->askers[i]);
    json_end_array(&w);
}
