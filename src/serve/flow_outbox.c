/* Events that models emit: from the warehouse's outbox into streams. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "serve/flow_glue.h"

#define BATCH 500
#define BATCH_TEXT "500"
#define RETRY_MS 5000
#define KEY_SEED UINT64_C(0x63757065) /* keys must be the same ones after a restart */

static struct metric metric_published = {
    .name = "cupel_outbox_events_total", .help = "Events of models that were appended to their stream.", .kind = METRIC_COUNTER, .labels = "stream"};
static struct metric metric_failing = {
    .name = "cupel_outbox_failing", .help = "1 while events of models cannot be published; they wait in the warehouse.", .kind = METRIC_GAUGE, .labels = ""};

void outbox_declare_metrics(void) {
    metric_register(&metric_published);
    metric_register(&metric_failing);
}

struct outbox {
    struct node *node;
    mutex lock;
    condition wake;
    bool awake, stopping;
    struct thread thread;
};

/* A JSON string without its quotes and escapes. */
static enum status text_of(struct arena *arena, struct str raw, struct str *out, struct err *err) {
    struct json_scanner *scanner = json_scanner_new(raw.n + 16);
    size_t cap = raw.n + 16 + JSON_PADDING;
    char *wrapped = arena_zalloc(arena, cap);
    size_t n = (size_t)snprintf(wrapped, cap, "{\"v\":" STR_FMT "}", STR_ARG(raw));
    struct str value;
    enum status status = json_scan(scanner, str_make(wrapped, n), err);
    if (status == OK && !json_scan_path(scanner, STR("v"), &value)) status = err_set(err, E_INTERNAL, "a row of the outbox is not readable");
    if (status == OK) *out = arena_str(arena, value);
    json_scanner_free(&scanner);
    return status;
}

static enum status member(struct arena *arena, struct str row, const char *name, struct str *out, struct err *err) {
    struct str raw;
    if (!json_raw_at(row, str_of(name), &raw)) return err_set(err, E_INTERNAL, "a row of the outbox has no %s", name);
    return text_of(arena, raw, out, err);
}

/* A stream that is gone, or an event that the stream refuses, must not hold up the others for ever: said and taken out. */
static bool hopeless(enum status status) { return status == E_NOT_FOUND || status == E_INVALID || status == E_LIMIT || status == E_UNPROCESSABLE; }

static enum status publish_one(struct node *node, struct str row, struct err *err) {
    ARENA_SCOPE(arena);
    struct str stream, key, event;
    uint32_t accepted = 0;
    size_t bad = 0;
    enum status status = member(arena, row, "target", &stream, err);
    if (status == OK) status = member(arena, row, "key", &key, err);
    if (status == OK) status = member(arena, row, "event", &event, err);
    if (status != OK) return status;
    struct ingest_append request = {.stream = arena_strndup(arena, stream.p, stream.n),
        .source = "model",
        .payloads = &event,
        .n = 1,
        .idempotency_key = hash128_keyed(KEY_SEED, key.p, key.n),
        .body_hash = hash128_keyed(KEY_SEED + 1, event.p, event.n)};
    status = ingest_append(node->ingest, &request, &accepted, &bad, err);
    if (hopeless(status)) {
        log_error("flow", "an event of a model cannot be published and is dropped", LOG_VIEW("stream", stream), LOG_VIEW("key", key),
            LOG_STR("error", err ? err->text : ""), NULL);
        return OK;
    }
    if (status == OK) series_add(metric_series(&metric_published, request.stream), accepted);
    return status;
}

static enum status publish_rows(struct node *node, struct str *rows, size_t n, struct buf *done, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        struct str id;
        if (!json_raw_at(rows[i], STR("id"), &id)) return err_set(err, E_INTERNAL, "a row of the outbox has no id");
        enum status status = publish_one(node, rows[i], err);
        if (status != OK) return status;
        buf_printf(done, "%s" STR_FMT, done->n ? ", " : "", STR_ARG(id));
    }
    return OK;
}

static enum status publish_batch(struct node *node, size_t *published, struct err *err) {
    BUF_SCOPE(text);
    BUF_SCOPE(done);
    struct str *rows = NULL;
    size_t n = 0;
    enum status status = node_warehouse_run(node,
        "SELECT id, target, payload->>'$.key' AS key, CAST(payload->'$.event' AS VARCHAR) AS event FROM warehouse.cupel.outbox WHERE kind = 'event'"
        " ORDER BY id LIMIT " BATCH_TEXT,
        &text, err);
    if (status == OK) status = json_split_array(str_trim(buf_view(&text)), BATCH, &rows, &n, err);
    if (status == OK) status = publish_rows(node, rows, n, &done, err);
    free(rows);
    *published = 0;
    if (done.n > 0) { /* what was appended goes, also when a later one failed */
        BUF_SCOPE(sql);
        struct err second = {0};
        buf_printf(&sql, "DELETE FROM warehouse.cupel.outbox WHERE kind = 'event' AND id IN (%s)", buf_cstr(&done));
        enum status removed = node_warehouse_run(node, buf_cstr(&sql), NULL, &second);
        if (removed == OK) *published = n;
        if (status == OK && removed != OK) status = err_set(err, removed, "%s", second.text);
    }
    return status;
}

enum status outbox_publish(struct node *node, size_t *published, struct err *err) {
    size_t n = 0;
    enum status status;
    struct err local = {0}; /* why an event is dropped is told in the log also when the caller does not ask */
    if (!err) err = &local;
    *published = 0;
    do {
        status = publish_batch(node, &n, err);
        *published += n;
    } while (status == OK && n == BATCH);
    return status;
}

/* ---- the thread ---- */

static bool wait_for_work(struct outbox *outbox, bool failed) {
    WITH_LOCK(&outbox->lock);
    if (failed && !outbox->stopping) (void)condition_wait_ms(&outbox->wake, &outbox->lock, RETRY_MS);
    while (!failed && !outbox->awake && !outbox->stopping) condition_wait(&outbox->wake, &outbox->lock);
    outbox->awake = false;
    return !outbox->stopping;
}

static void *outbox_loop(void *argument) {
    struct outbox *outbox = argument;
    bool failed = false;
    while (wait_for_work(outbox, failed)) {
        struct err err = {0};
        size_t published;
        bool before = failed;
        failed = outbox_publish(outbox->node, &published, &err) != OK;
        series_set(metric_series(&metric_failing), failed);
        if (failed && !before) log_warn("flow", "events of models cannot be published yet", LOG_STR("error", err.text), NULL);
    }
    return NULL;
}

struct outbox *outbox_start(struct node *node) {
    struct outbox *outbox = mem_zalloc(sizeof *outbox);
    outbox->node = node;
    mutex_init(&outbox->lock);
    condition_init(&outbox->wake);
    thread_start(&outbox->thread, "flow-outbox", outbox_loop, outbox);
    return outbox;
}

void outbox_wake(struct outbox *outbox) {
    WITH_LOCK(&outbox->lock);
    outbox->awake = true;
    condition_signal(&outbox->wake);
}

void outbox_stop(struct outbox **outbox) {
    struct outbox *o = *outbox;
    if (!o) return;
    mutex_lock(&o->lock);
    o->stopping = true;
    condition_signal(&o->wake);
    mutex_unlock(&o->lock);
    thread_join(&o->thread);
    condition_destroy(&o->wake);
    mutex_destroy(&o->lock);
    free(o);
    *outbox = NULL;
}
