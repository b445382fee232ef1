/* Streams over HTTP: list, state, read from an offset on with a long poll. Reading touches files, so workers do it. */
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "ingest/ingest_priv.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define READ_BYTES_MAX (4u << 20)

/* ---- one event ---- */

static void put_headers(struct json_writer *w, struct str headers) {
    struct str name, value;
    json_name(w, "_headers");
    json_begin_object(w);
    while (stream_headers_next(&headers, &name, &value)) {
        char text[256];
        size_t n = name.n < sizeof text - 1 ? name.n : sizeof text - 1;
        memcpy(text, name.p, n);
        text[n] = 0;
        json_put_str(w, text, value);
    }
    json_end_object(w);
}

static void put_payload(struct json_writer *w, const struct stored_record *record) {
    bool text = (record->flags & RECORD_UTF8_VALID) != 0;
    json_name(w, "payload");
    if (text)
        json_str(w, record->payload.p ? record->payload : STR(""));
    else
        json_null(w);
    if (text) return;
    BUF_SCOPE(encoded);
    buf_base64(&encoded, record->payload);
    json_put_str(w, "_body", encoded.n ? buf_view(&encoded) : STR(""));
}

void ingest_write_event(struct json_writer *w, const struct stored_record *record, const char *stream) {
    char id[EVENT_ID_TEXT];
    must(w && record);
    event_id_text(record->id, id);
    json_begin_object(w);
    json_put_str(w, "_event_id", str_make(id, sizeof id));
    json_put_text(w, "_stream", stream);
    json_put_int(w, "_partition", record->partition);
    json_put_int(w, "_offset", (int64_t)record->offset);
    json_put_time_ms(w, "_received_at", record->received_ms);
    json_put_str(w, "_source", record->source);
    json_put_str(w, "_key", record->flags & RECORD_NO_KEY ? STR_NULL : record->key.p ? record->key : STR(""));
    put_headers(w, record->headers);
    json_put_str(w, "_content_type", record->content_type);
    put_payload(w, record);
    json_put_bool(w, "_valid_json", (record->flags & RECORD_JSON_VALID) != 0);
    if (record->flags & RECORD_PROTECTED) json_put_bool(w, "_protected", true);
    json_end_object(w);
}

/* ---- state ---- */

static void put_time(struct json_writer *w, const char *name, int64_t at_ms) {
    if (at_ms) {
        json_put_time_ms(w, name, at_ms);
    } else {
        json_name(w, name);
        json_null(w);
    }
}

static void put_partition(struct json_writer *w, int64_t number, const struct partition_state *p) {
    json_begin_object(w);
    json_put_int(w, "partition", number);
    json_put_int(w, "start_offset", (int64_t)p->start_offset);
    json_put_int(w, "end_offset", (int64_t)p->end_offset);
    json_put_int(w, "landed_offset", (int64_t)p->landed_offset);
    json_put_int(w, "duplicates", (int64_t)p->duplicates);
    put_time(w, "last_received_at", p->last_received_ms);
    json_end_object(w);
}

static void put_state(struct json_writer *w, const struct stream_rules *rules, const struct stream_state *state) {
    must(rules && state);
    static const char *const dedupe[] = {"none", "path", "header", "body"};
    json_begin_object(w);
    json_put_text(w, "name", rules->name);
    json_put_int(w, "number", rules->number);
    json_put_int(w, "partitions", state->definition.partitions);
    json_put_str(w, "key", rules->key);
    json_put_text(w, "dedupe", dedupe[rules->dedupe]);
    json_put_text(w, "dedupe_name", rules->dedupe_name);
    json_put_text(w, "accept", rules->accept == ACCEPT_ANY ? "any" : "json");
    json_put_int(w, "protected_paths", (int64_t)rules->protect.n);
    json_put_int(w, "epoch", state->epochs_n ? state->epochs[state->epochs_n - 1].number : 0);
    json_put_int(w, "unlanded_records", (int64_t)state->unlanded_records);
    json_put_int(w, "unlanded_bytes", (int64_t)state->unlanded_bytes);
    put_time(w, "oldest_unlanded_at", state->oldest_unlanded_ms);
    json_name(w, "state");
    json_begin_array(w);
    for (uint16_t p = 0; p < state->partitions_n; p++) put_partition(w, p, &state->partitions[p]);
    json_end_array(w);
    json_end_object(w);
}

void get_streams(void *context, struct http_request *r) {
    struct ingest *ingest = context;
    struct map *streams = atomic_load_explicit(&ingest->table, memory_order_acquire)->streams;
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    struct str name;
    void *value;
    json_begin_object(&w);
    json_name(&w, "streams");
    json_begin_array(&w);
    for (size_t at = 0; map_next(streams, &at, &name, &value);) {
        struct stream_rules *rules = value;
        struct stream_state state;
        if (stream_state(ingest->options.log, http_arena(r), rules->number, &state, NULL) == OK) put_state(&w, rules, &state);
    }
    json_end_array(&w);
    json_end_object(&w);
    http_answer_take(r, 200, "application/json", &out);
}

void get_stream(void *context, struct http_request *r) {
    struct ingest *ingest = context;
    struct str name = http_part(r, "stream");
    struct stream_rules *rules = find_stream(ingest, name);
    struct stream_state state;
    struct err err;
    enum status st = rules ? stream_state(ingest->options.log, http_arena(r), rules->number, &state, &err) : no_such_stream(name, &err);
    if (st != OK) {
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    put_state(&w, rules, &state);
    http_answer_take(r, 200, "application/json", &out);
}

/* ---- reading ---- */

/* A read under way, in the request's arena. A long poll has three ends: records came, the time is up, the client left. The first of them starts the
 * finishing job; `open` makes sure that the job does not start before the watch's ticket is stored. */
struct poll {
    struct ingest *ingest;
    struct http_request *request;
    const struct stream_rules *stream;
    uint16_t partition;
    uint64_t offset;
    uint32_t limit;
    int64_t wait_ms;
    uint64_t ticket;
    _Atomic bool ended;
    _Atomic int open;
};

static void answer_gone(struct poll *poll, uint64_t start_offset) {
    struct err err;
    struct http_request *r = poll->request;
    const struct ingest_options *o = &poll->ingest->options;
    if (o->read_older) {
        o->read_older(o->read_older_context, r, poll->stream->name, poll->stream->number, poll->partition, poll->offset, poll->limit);
        return;
    }
    BUF_SCOPE(body);
    err_set(&err, E_NOT_FOUND, "offset %llu is no longer in the log; it begins at %llu, older events are in bronze.%s", (unsigned long long)poll->offset,
        (unsigned long long)start_offset, poll->stream->name);
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_text(&w, "type", "urn:cupel:problem:gone");
    json_put_text(&w, "title", "gone");
    json_put_int(&w, "status", 410);
    json_put_text(&w, "detail", err.text);
    json_put_int(&w, "start_offset", (int64_t)start_offset);
    json_end_object(&w);
    http_answer(r, 410, "application/problem+json", buf_view(&body));
}

static void answer_batch(struct poll *poll, const struct stream_batch *batch) {
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_name(&w, "events");
    json_begin_array(&w);
    for (size_t i = 0; i < batch->n; i++) ingest_write_event(&w, &batch->records[i], poll->stream->name);
    json_end_array(&w);
    json_put_int(&w, "next_offset", (int64_t)batch->next_offset);
    json_put_int(&w, "start_offset", (int64_t)batch->start_offset);
    json_put_int(&w, "end_offset", (int64_t)batch->end_offset);
    json_end_object(&w);
    http_answer_take(poll->request, 200, "application/json", &out);
}

static void wait_for_more(struct poll *poll);

static void run_read(void *context) {
    struct poll *poll = context;
    struct stream_batch batch = {0};
    struct err err;
    enum status st = stream_read(
        poll->ingest->options.log, http_arena(poll->request), poll->stream->number, poll->partition, poll->offset, poll->limit, READ_BYTES_MAX, &batch, &err);
    if (st == E_NOT_FOUND && poll->offset < batch.start_offset)
        answer_gone(poll, batch.start_offset);
    else if (st != OK)
        http_answer_problem(poll->request, &err, STR_NULL);
    else if (!batch.n && poll->wait_ms > 0)
        wait_for_more(poll);
    else
        answer_batch(poll, &batch);
}

static void run_finish(void *context) {
    struct poll *poll = context;
    stream_unwatch(poll->ingest->options.log, poll->ticket);
    http_on_deadline(poll->request, 0, NULL, NULL);
    http_on_disconnect(poll->request, NULL, NULL);
    poll->wait_ms = 0;
    run_read(poll);
}

static void let_go(struct poll *poll) {
    if (atomic_fetch_sub(&poll->open, 1) == 1) http_continue(poll->request, run_finish, poll);
}

static void wake(void *context) {
    struct poll *poll = context;
    if (!atomic_exchange(&poll->ended, true)) let_go(poll);
}

static void wait_for_more(struct poll *poll) {
    struct http_request *r = poll->request;
    atomic_store(&poll->open, 2); /* this function and the first of the ends */
    http_on_deadline(r, poll->wait_ms, wake, poll);
    http_on_disconnect(r, wake, poll);
    poll->ticket = stream_watch(poll->ingest->options.log, poll->stream->number, poll->partition, poll->offset, wake, poll);
    let_go(poll);
}

/* ---- parameters ---- */

static enum status number_of(struct http_request *r, const char *name, uint64_t fallback, uint64_t max, uint64_t *out, struct err *err) {
    struct str text = http_query(r, name);
    *out = fallback;
    if (!text.p) return OK;
    if (!str_to_u64(text, out)) return err_set(err, E_INVALID, "%s: %.*s is not a number", name, STR_ARG(str_head(text, 40)));
    return *out <= max ? OK : err_set(err, E_INVALID, "%s: %llu, at most %llu", name, (unsigned long long)*out, (unsigned long long)max);
}

/* wait=10 (seconds), wait=10s, wait=500ms */
static enum status wait_of(struct http_request *r, int64_t max_ms, int64_t *out, struct err *err) {
    struct str text = http_query(r, "wait");
    uint64_t seconds;
    *out = 0;
    if (!text.p) return OK;
    if (str_to_u64(text, &seconds) && seconds < 1u << 30)
        *out = (int64_t)seconds * 1000;
    else if (!str_to_duration_ms(text, out) || *out < 0)
        return err_set(err, E_INVALID, "wait: %.*s is not a duration such as 10s", STR_ARG(str_head(text, 40)));
    if (*out > max_ms) *out = max_ms;
    return OK;
}

static enum status offset_of(struct http_request *r, const struct partition_state *p, uint64_t *out, struct err *err) {
    struct str text = http_query(r, "offset");
    if (!text.p || str_is(text, "earliest")) {
        *out = p->start_offset;
        return OK;
    }
    if (str_is(text, "latest")) {
        *out = p->end_offset;
        return OK;
    }
    return number_of(r, "offset", 0, EVENT_OFFSET_MAX, out, err);
}

static enum status read_parameters(struct poll *poll, struct err *err) {
    struct http_request *r = poll->request;
    struct str name = http_part(r, "stream");
    struct stream_state state;
    uint64_t partition, limit;
    poll->stream = find_stream(poll->ingest, name);
    if (!poll->stream) return no_such_stream(name, err);
    enum status st = stream_state(poll->ingest->options.log, http_arena(r), poll->stream->number, &state, err);
    if (st == OK) st = number_of(r, "partition", 0, EVENT_PARTITIONS_MAX, &partition, err);
    if (st != OK) return st;
    if (partition >= state.partitions_n) return err_set(err, E_NOT_FOUND, "partition: stream %s has 0 to %u", poll->stream->name, state.partitions_n - 1u);
    st = offset_of(r, &state.partitions[partition], &poll->offset, err);
    if (st == OK) st = number_of(r, "limit", LIMIT_DEFAULT, LIMIT_MAX, &limit, err);
    if (st == OK) st = wait_of(r, poll->ingest->options.wait_ms_max, &poll->wait_ms, err);
    if (st != OK) return st;
    if (!limit) return err_set(err, E_INVALID, "limit: at least 1");
    poll->partition = (uint16_t)partition;
    poll->limit = (uint32_t)limit;
    return OK;
}

void get_events(void *context, struct http_request *r) {
    struct poll *poll = arena_new_one(http_arena(r), struct poll);
    struct err err;
    poll->ingest = context;
    poll->request = r;
    enum status st = read_parameters(poll, &err);
    if (st != OK) {
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    http_continue(r, run_read, poll);
}
