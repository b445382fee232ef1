/* Reading a stream from before what the log still has: the same rows in the same order from bronze (invariant 7: no consumer is a hostage of retention). */
#include <stdlib.h>

#include "base/assert.h"
#include "serve/node_priv.h"

struct older {
    struct node *node;
    struct http_request *r;
    const char *stream;
    uint16_t number, partition;
    uint64_t offset;
    uint32_t limit;
};

/* The events' own offsets say where to go on; when bronze has none of them either (its retention is over), at the log's beginning. */
static enum status next_offset(struct str rows, uint64_t start_offset, uint64_t *out, struct err *err) {
    struct str *list, text;
    size_t n;
    uint64_t last;
    enum status status = json_split_array(rows, 100000, &list, &n, err);
    if (status != OK) return status;
    *out = start_offset;
    if (n > 0 && json_raw_at(list[n - 1], STR("_offset"), &text) && str_to_u64(text, &last)) *out = last + 1;
    free(list);
    return OK;
}

static void write_sql(const struct older *older, struct buf *sql) {
    buf_text(sql, "SELECT _event_id, _stream, _partition, _offset, strftime(_received_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') AS _received_at, _source, _key, _headers, "
                  "_content_type, payload, CASE WHEN payload IS NULL THEN base64(_body) END AS _body, _valid_json FROM bronze.");
    put_sql_name(sql, str_of(older->stream));
    buf_printf(sql, " WHERE _partition = %u AND _offset >= %llu ORDER BY _offset LIMIT %u", older->partition, (unsigned long long)older->offset, older->limit);
}

static enum status read_bronze(struct older *older, struct buf *out, struct err *err) {
    struct stream_state state;
    uint64_t next;
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    enum status status = stream_state(older->node->log, http_arena(older->r), older->number, &state, err);
    if (status != OK) return status;
    if (older->partition >= state.partitions_n) return err_set(err, E_NOT_FOUND, "%s has no partition %u", older->stream, older->partition);
    const struct partition_state *p = &state.partitions[older->partition];
    write_sql(older, &sql);
    status = node_rows(older->node, buf_cstr(&sql), &rows, err);
    if (status == OK) status = next_offset(str_trim(buf_view(&rows)), p->start_offset, &next, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "events");
    json_raw(&w, str_trim(buf_view(&rows)));
    json_put_int(&w, "next_offset", (int64_t)next);
    json_put_int(&w, "start_offset", (int64_t)p->start_offset);
    json_put_int(&w, "end_offset", (int64_t)p->end_offset);
    json_end_object(&w);
    return OK;
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
