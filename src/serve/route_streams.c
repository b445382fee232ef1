/* Stream administration and consumers. Reading and writing streams is the business of `ingest`.
 *
 * Changes of streams and reloads exclude each other (reload_lock): both write the ledger, the log and the lake, in that order of truth. */
#include <stdlib.h>

#include "base/assert.h"
#include "serve/node_priv.h"

/* ---- POST /v1/streams/{stream}/partitions {"partitions": n} ---- */

static enum status grow(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct ledger_stream stream;
    struct body *body;
    int64_t partitions = 0;
    enum status status = body_open(r, &body, err);
    if (status != OK) return status;
    status = body_number(body, "partitions", 0, 1, EVENT_PARTITIONS_MAX, &partitions, err);
    body_close(&body);
    if (status != OK) return status;
    if (partitions == 0) return err_set(err, E_INVALID, "partitions: is missing; the body is {\"partitions\": 4}");
    WITH_LOCK(&node->reload_lock);
    status = node_stream(node, arena, http_part(r, "stream"), &stream, err);
    if (status != OK) return status;
    if (partitions <= stream.partitions)
        return err_set(err, E_CONFLICT, "%s has %u partitions already; partitions can be added, never taken away", stream.name, stream.partitions);
    uint16_t before = stream.partitions;
    stream.partitions = (uint16_t)partitions;
    status =
        node_apply_stream(node, node->config, &stream, err); /* the log first: its control frame decides; a crash in between is caught up at the next start */
    if (status == OK) status = ledger_stream_update(node->ledger, stream.number, stream.partitions, stream.settings, err);
    if (status != OK) return status;
    log_info("serve", "partitions added", LOG_STR("stream", stream.name), LOG_INT("before", before), LOG_INT("partitions", partitions), NULL);
    buf_printf(out, "{\"stream\":\"%s\",\"partitions\":%u,\"before\":%u}", stream.name, stream.partitions, before);
    return OK;
}

/* ---- DELETE /v1/streams/{stream} ---- */

/* A stream that cupel.yaml still names would come back empty at the next start: the file is the truth. */
static enum status delete_stream(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct ledger_stream stream;
    bool data = query_flag(r, "data");
    WITH_LOCK(&node->reload_lock);
    enum status status = node_stream(node, http_arena(r), http_part(r, "stream"), &stream, err);
    if (status != OK) return status;
    const struct config_stream *wanted = config_find_stream(node->config, str_of(stream.name));
    if (wanted) return err_set(err, E_CONFLICT, "%s stands in cupel.yaml (line %d): take it out there and reload first", stream.name, wanted->line);
    if (!data) status = lake_flush(node->lake, stream.name, err); /* nothing acknowledged is dropped unless the data is to go too */
    if (status == OK && data) status = accounts_delete_stream(node, http_arena(r), &stream, err);
    if (status == OK) status = lake_drop_stream(node->lake, stream.name, data, err);
    if (status == OK) status = stream_forget(node->log, stream.number, err);
    if (status == OK && !data) status = ledger_stream_delete(node->ledger, stream.number, err);
    if (status != OK) return status;
    log_info("serve", "stream deleted", LOG_STR("stream", stream.name), LOG_STR("data", data ? "deleted" : "kept"), NULL);
    buf_printf(out, "{\"stream\":\"%s\",\"deleted\":true,\"data\":%s}", stream.name, data ? "\"deleted\"" : "\"kept in the lake\"");
    return OK;
}

/* ---- consumers ---- */

static enum status list_consumers(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct consumer_position *list;
    struct ledger_stream *streams;
    size_t n, streams_n;
    enum status status = ledger_consumer_list(node->ledger, arena, NULL, &list, &n, err);
    if (status == OK) status = ledger_stream_list(node->ledger, arena, false, &streams, &streams_n, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "consumers");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        const char *name = NULL;
        struct stream_state state;
        for (size_t k = 0; k < streams_n; k++) {
            if (streams[k].number == list[i].stream) name = streams[k].name;
        }
        if (!name) continue; /* of a deleted stream */
        json_begin_object(&w);
        json_put_text(&w, "consumer", list[i].consumer);
        json_put_text(&w, "stream", name);
        json_put_int(&w, "partition", list[i].partition);
        json_put_int(&w, "offset", (int64_t)list[i].offset);
        if (stream_state(node->log, arena, list[i].stream, &state, NULL) == OK && list[i].partition < state.partitions_n) {
            uint64_t end = state.partitions[list[i].partition].end_offset;
            json_put_int(&w, "end_offset", (int64_t)end);
            json_put_int(&w, "behind", (int64_t)(end > list[i].offset ? end - list[i].offset : 0));
        }
        json_put_time_ms(&w, "updated_at", list[i].updated_ms);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    return OK;
}

/* What a reset wants: "start", "end" or an offset, of one partition or all. */
struct reset {
    struct str to;
    uint64_t offset;
    int64_t partition; /* -1: all */
};

static enum status read_reset(struct http_request *r, struct str *stream, struct reset *out, struct err *err) {
    struct body *body;
    enum status status = body_open(r, &body, err);
    if (status != OK) return status;
    if (!body_text(body, "stream", stream)) status = err_set(err, E_INVALID, "stream: is missing");
    if (status == OK && !body_text(body, "to", &out->to)) status = err_set(err, E_INVALID, "to: is missing; \"start\", \"end\" or an offset");
    if (status == OK && !str_is(out->to, "start") && !str_is(out->to, "end") && !str_to_u64(out->to, &out->offset))
        status = err_set(err, E_INVALID, "to: '" STR_FMT "' is neither \"start\", \"end\" nor an offset", STR_ARG(str_head(out->to, 60)));
    if (status == OK) status = body_number(body, "partition", -1, 0, EVENT_PARTITIONS_MAX - 1, &out->partition, err);
    body_close(&body);
    return status;
}

static enum status reset_consumer(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct ledger_stream stream;
    struct stream_state state;
    struct reset reset = {.partition = -1};
    struct str name, consumer = http_part(r, "consumer");
    enum status status = read_reset(r, &name, &reset, err);
    if (status == OK) status = node_stream(node, arena, name, &stream, err);
    if (status == OK) status = stream_state(node->log, arena, stream.number, &state, err);
    if (status != OK) return status;
    if (reset.partition >= (int64_t)state.partitions_n) return err_set(err, E_INVALID, "partition: %s has %u partitions", stream.name, state.partitions_n);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_str(&w, "consumer", consumer);
    json_put_text(&w, "stream", stream.name);
    json_name(&w, "offsets");
    json_begin_array(&w);
    for (uint16_t p = 0; p < state.partitions_n && status == OK; p++) {
        if (reset.partition >= 0 && p != reset.partition) continue;
        uint64_t to = str_is(reset.to, "start") ? 0 : str_is(reset.to, "end") ? state.partitions[p].end_offset : reset.offset;
        status = ledger_consumer_set(node->ledger, arena_strndup(arena, consumer.p, consumer.n), stream.number, p, to, err);
        json_uint(&w, to);
    }
    json_end_array(&w);
    json_end_object(&w);
    return status;
}

JSON_HANDLER(on_grow, grow)
JSON_HANDLER(on_delete, delete_stream)
JSON_HANDLER(on_list, list_consumers)
JSON_HANDLER(on_reset, reset_consumer)

void routes_streams(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"POST", "/v1/streams/{stream}/partitions", on_grow, node, .operation = "addPartitions", .access = ACCESS_ADMIN,
            .summary = "Give a stream more partitions; a new epoch starts"});
    route_add(routes,
        (struct http_route){"DELETE", "/v1/streams/{stream}", on_delete, node, .operation = "deleteStream", .access = ACCESS_ADMIN,
            .summary = "Delete a stream that cupel.yaml no longer names; its bronze table stays unless data=true"});
    route_add(routes,
        (struct http_route){
            "GET", "/v1/consumers", on_list, node, .operation = "listConsumers", .access = ACCESS_READ, .summary = "Who reads which stream, and how far"});
    route_add(routes,
        (struct http_route){"POST", "/v1/consumers/{consumer}/reset", on_reset, node, .operation = "resetConsumer", .access = ACCESS_ADMIN,
            .summary = "Move a consumer to the start, the end or an offset of a stream"});
}
