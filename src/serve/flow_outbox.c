/* Events that models emit: from the warehouse's outbox into streams.
 *
 * What a stream refuses (it is gone, the event is larger than it takes) moves to quarantine.cupel__outbox in one transaction and holds up nothing; `cupel
 * quarantine redrive cupel.outbox` puts it back with the key that it had. */
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

static struct metric metric_refused = {.name = "cupel_outbox_refused_total",
    .help = "Events of models that their stream refused; they stand in quarantine (cupel.outbox).",
    .kind = METRIC_COUNTER,
    .labels = "stream"};

void outbox_declare_metrics(void) {
    metric_register(&metric_published);
    metric_register(&metric_refused);
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

/* A stream that is gone, or an event that the stream refuses, must not hold up the others for ever. */
static bool is_refusal(enum status status) { return status == E_NOT_FOUND || status == E_INVALID || status == E_LIMIT || status == E_UNPROCESSABLE; }

/* What became of a batch, as SQL: ids that went out, and (id, 'reason') of those that were refused. */
struct outcome {
    struct buf done, refused;
    size_t refused_n;
};

static void note_refusal(struct outcome *outcome, const char *stream, struct str key, struct str id, const struct err *err) {
    log_error("flow", "an event of a model was refused by its stream and is in quarantine: cupel quarantine show cupel.outbox", LOG_STR("stream", stream),
        LOG_VIEW("key", key), LOG_STR("error", err->text), NULL);
    series_add(metric_series(&metric_refused, stream), 1);
    buf_printf(&outcome->refused, "%s(" STR_FMT ", ", outcome->refused_n++ ? ", " : "", STR_ARG(id));
    sql_quote_text(&outcome->refused, str_of(err->text));
    buf_char(&outcome->refused, ')');
}

static enum status publish_one(struct node *node, struct str row, struct str id, struct outcome *outcome, struct err *err) {
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
    if (is_refusal(status)) {
        note_refusal(outcome, request.stream, key, id, err);
        return OK;
    }
    if (status != OK) return status;
    series_add(metric_series(&metric_published, request.stream), accepted);
    buf_printf(&outcome->done, "%s" STR_FMT, outcome->done.n ? ", " : "", STR_ARG(id));
    return OK;
}

static enum status publish_rows(struct node *node, struct str *rows, size_t n, struct outcome *outcome, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        struct str id;
        if (!json_raw_at(rows[i], STR("id"), &id)) return err_set(err, E_INTERNAL, "a row of the outbox has no id");
        enum status status = publish_one(node, rows[i], id, outcome, err);
        if (status != OK) return status;
    }
    return OK;
}

#define QUARANTINE "warehouse.quarantine.cupel__outbox"

static void put_outcome(struct buf *sql, const struct outcome *outcome) {
    if (outcome->refused_n)
        buf_printf(sql,
            "CREATE TABLE IF NOT EXISTS " QUARANTINE " (_event_id UUID, _reason VARCHAR, _raw VARCHAR, _run_id VARCHAR, _quarantined_at TIMESTAMP WITH TIME "
            "ZONE, _row VARCHAR, _stream VARCHAR, _id BIGINT, _payload VARCHAR, _version BIGINT); CREATE OR REPLACE TEMP TABLE _refused AS SELECT * FROM "
            "(VALUES %s) AS r(id, reason); BEGIN; INSERT INTO " QUARANTINE
            " SELECT NULL, r.reason, CAST(payload->'$.event' AS VARCHAR), NULL, now(), json_object('stream', target, 'key', payload->>'$.key'), target, o.id,"
            " payload, version FROM warehouse.cupel.outbox AS o JOIN temp._refused AS r ON o.id = r.id WHERE kind = 'event';"
            " DELETE FROM warehouse.cupel.outbox WHERE kind = 'event' AND id IN (SELECT id FROM temp._refused); COMMIT; ",
            buf_cstr((struct buf *)&outcome->refused));
    if (outcome->done.n) buf_printf(sql, "DELETE FROM warehouse.cupel.outbox WHERE kind = 'event' AND id IN (%s)", buf_cstr((struct buf *)&outcome->done));
}

static enum status publish_batch(struct node *node, size_t *published, struct err *err) {
    BUF_SCOPE(text);
    BUF_SCOPE(sql);
    struct outcome outcome = {.done = BUF_INIT, .refused = BUF_INIT};
    struct str *rows = NULL;
    size_t n = 0;
    enum status status = node_warehouse_run(node,
        "SELECT id, target, payload->>'$.key' AS key, CAST(payload->'$.event' AS VARCHAR) AS event FROM warehouse.cupel.outbox WHERE kind = 'event'"
        " ORDER BY id LIMIT " BATCH_TEXT,
        &text, err);
    if (status == OK) status = json_split_array(str_trim(buf_view(&text)), BATCH, &rows, &n, err);
    if (status == OK) status = publish_rows(node, rows, n, &outcome, err);
    free(rows);
    *published = 0;
    put_outcome(&sql, &outcome);
    buf_free(&outcome.done);
    buf_free(&outcome.refused);
    if (sql.n > 0) { /* what was appended goes, also when a later one failed */
        struct err second = {0};
        enum status removed = node_warehouse_run(node, buf_cstr(&sql), NULL, &second);
        if (removed == OK) *published = n;
        if (status == OK && removed != OK) status = err_set(err, removed, "%s", second.text);
    }
    return status;
}

static enum status count_refused(struct node *node, int64_t *n, struct err *err) {
    BUF_SCOPE(rows);
    struct str value;
    *n = 0;
    enum status status = node_warehouse_run(node,
        "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = 'warehouse' AND schema_name = 'quarantine' AND table_name = 'cupel__outbox'", &rows,
        err);
    if (status != OK || !json_raw_at(str_trim(buf_view(&rows)), STR("0.n"), &value) || !str_to_i64(value, n) || *n == 0) return status;
    buf_clear(&rows);
    status = node_warehouse_run(node, "SELECT count(*) AS n FROM " QUARANTINE, &rows, err);
    if (status != OK) return status;
    bool read = json_raw_at(str_trim(buf_view(&rows)), STR("0.n"), &value) && str_to_i64(value, n);
    return read ? OK : err_set(err, E_INTERNAL, "the number of refused events is not readable");
}

enum status outbox_redrive(struct node *node, int64_t *before, int64_t *after, struct err *err) {
    size_t published;
    enum status status = count_refused(node, before, err);
    *after = *before;
    if (status != OK || *before == 0) return status;
    status = node_warehouse_run(node,
        "BEGIN; INSERT INTO warehouse.cupel.outbox SELECT _id, 'event', _stream, _payload, _version, now() FROM " QUARANTINE "; DELETE FROM " QUARANTINE
        "; COMMIT",
        NULL, err);
    if (status == OK) status = outbox_publish(node, &published, err);
    return status == OK ? count_refused(node, after, err) : status;
}

enum status outbox_publish(struct node *node, size_t *published, struct err *err) {
    size_t n = 0;
    enum status status;
    struct err local = {0}; /* why an event is refused is kept also when the caller does not ask */
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
