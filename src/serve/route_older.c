/* Reading a stream from before what the log still has: the same rows in the same order from bronze (invariant 7: no consumer is a hostage of retention). */
#include <stdlib.h>

#include "base/assert.h"
#include "serve/node_priv.h"

#define EVENTS_MAX 100000

struct older {
    struct node *node;
    struct http_request *r;
    const char *stream;
    uint16_t number, partition;
    uint64_t offset;
    uint32_t limit;
};

/* Members of an event, in the order of ingest_write_event. `_body` is left out where there is none, as there. */
static const char *const members[] = {
    "_event_id", "_stream", "_partition", "_offset", "_received_at", "_source", "_key", "_headers", "_content_type", "payload", "_body", "_valid_json"};

static void write_event(struct json_writer *w, struct str row) {
    struct str raw;
    json_begin_object(w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (!json_raw_at(row, str_of(members[i]), &raw) || (str_is(raw, "null") && strcmp(members[i], "_body") == 0)) continue;
        json_name(w, members[i]);
        json_raw(w, raw);
    }
    json_end_object(w);
}

/* The events' own offsets say where to go on; when bronze has none of them either (its retention is over), at the log's beginning. */
static enum status write_events(struct json_writer *w, struct str rows, uint64_t *next, struct err *err) {
    must(w->depth > 0);
    struct str *list, text;
    size_t n;
    uint64_t last;
    enum status status = json_split_array(rows, EVENTS_MAX, &list, &n, err);
    if (status != OK) return status;
    json_name(w, "events");
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) write_event(w, list[i]);
    json_end_array(w);
    if (n > 0 && json_raw_at(list[n - 1], STR("_offset"), &text) && str_to_u64(text, &last)) *next = last + 1;
    free(list);
    return OK;
}

static void write_sql(const struct older *older, struct buf *sql) {
    buf_text(sql,
        "SELECT _event_id, _stream, _partition, _offset, strftime(_received_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') AS _received_at, _source, _key, "
        "_headers, "
        "_content_type, payload, CASE WHEN payload IS NULL THEN base64(_body) END AS _body, _valid_json FROM bronze.");
    sql_quote_name(sql, str_of(older->stream));
    buf_printf(sql, " WHERE _partition = %u AND _offset >= %llu ORDER BY _offset LIMIT %u", older->partition, (unsigned long long)older->offset, older->limit);
}

static enum status read_bronze(struct older *older, struct buf *out, struct err *err) {
    struct stream_state state;
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    enum status status = stream_state(older->node->log, http_arena(older->r), older->number, &state, err);
    if (status != OK) return status;
    if (older->partition >= state.partitions_n) return err_set(err, E_NOT_FOUND, "%s has no partition %u", older->stream, older->partition);
    const struct partition_state *p = &state.partitions[older->partition];
    uint64_t next = p->start_offset;
    write_sql(older, &sql);
    status = node_rows(older->node, buf_cstr(&sql), &rows, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    status = write_events(&w, str_trim(buf_view(&rows)), &next, err);
    json_put_int(&w, "next_offset", (int64_t)next);
    json_put_int(&w, "start_offset", (int64_t)p->start_offset);
    json_put_int(&w, "end_offset", (int64_t)p->end_offset);
    json_end_object(&w);
    return status;
}

static void run_older(void *context) {
    struct older *older = context;
    struct buf out = BUF_INIT;
    struct err err = {0};
    if (read_bronze(older, &out, &err) != OK) {
        buf_free(&out);
        node_problem(older->r, &err);
        return;
    }
    node_answer_json(older->r, 200, &out);
}

void node_read_older(void *context, struct http_request *r, const char *stream, uint16_t number, uint16_t partition, uint64_t offset, uint32_t limit) {
    struct older *older = arena_new_one(http_arena(r), struct older);
    struct err err = {0};
    must(context && stream);
    *older = (struct older){.node = context, .r = r, .stream = stream, .number = number, .partition = partition, .offset = offset, .limit = limit};
    if (http_offload(http_server_of(r), run_older, older, &err) != OK) node_problem(r, &err);
}
