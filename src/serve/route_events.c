/* One event by its id, and lists of events.
 *
 * An id is its own address (stream, partition, offset, time), so that a look-up needs no index: first the log, then bronze by its statistics. Rows of landing
 * files have ids too and are found in their table or its quarantine. Lists are SQL over all streams, newest first by id, which begins with the time. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/times.h"
#include "serve/node_priv.h"

/* ---- GET /v1/events/{id} ---- */

static void put_headers(struct json_writer *w, struct str headers) {
    must(w->depth > 0);
    struct str name, value;
    json_name(w, "headers");
    json_begin_object(w);
    while (stream_headers_next(&headers, &name, &value)) {
        char text[256];
        size_t n = name.n < sizeof text ? name.n : sizeof text - 1;
        memcpy(text, name.p, n);
        text[n] = '\0';
        json_put_str(w, text, value);
    }
    json_end_object(w);
}

static void put_body(struct json_writer *w, const struct stored_record *record) {
    must(w->depth > 0);
    json_put_bool(w, "valid_json", (record->flags & RECORD_JSON_VALID) != 0);
    if (record->flags & RECORD_UTF8_VALID) {
        json_put_str(w, "payload", record->payload);
        return;
    }
    BUF_SCOPE(base64);
    buf_base64(&base64, record->payload);
    json_name(w, "payload");
    json_null(w);
    json_put_str(w, "body_base64", buf_view(&base64));
}

static void put_places(struct json_writer *w, const char *table, bool landed, const char *found_in) {
    must(w->depth > 0);
    json_put_text(w, "state", landed ? "landed" : "in_log");
    json_put_text(w, "found_in", found_in);
    json_name(w, "tables");
    json_begin_array(w);
    if (landed) json_text(w, table);
    json_end_array(w);
    json_name(w, "deliveries"); /* handlers come later; a stream that just flows has none */
    json_begin_array(w);
    json_end_array(w);
}

static void put_id(struct json_writer *w, struct event_id id) {
    char text[EVENT_ID_TEXT];
    event_id_text(id, text);
    json_put_str(w, "id", str_make(text, sizeof text));
}

static void put_logged(struct node *node, struct arena *arena, const struct ledger_stream *stream, const struct stored_record *record, struct buf *out) {
    must(node->ledger != NULL && node->lake != NULL);
    struct stream_state state;
    bool landed = stream_state(node->log, arena, stream->number, &state, NULL) == OK && record->partition < state.partitions_n &&
        record->offset < state.partitions[record->partition].landed_offset;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    put_id(&w, record->id);
    json_put_text(&w, "stream", stream->name);
    json_put_int(&w, "partition", record->partition);
    json_put_int(&w, "offset", (int64_t)record->offset);
    json_put_time_ms(&w, "received_at", record->received_ms);
    json_put_str(&w, "source", record->source);
    json_put_str(&w, "key", record->flags & RECORD_NO_KEY ? STR_NULL : record->key);
    put_headers(&w, record->headers);
    json_put_str(&w, "content_type", record->content_type);
    json_put_bool(&w, "protected", (record->flags & RECORD_PROTECTED) != 0);
    put_body(&w, record);
    put_places(&w, arena_printf(arena, "bronze.%s", stream->name), landed, "log");
    json_end_object(&w);
}

/* Members of the envelope and the bronze columns that they come from. */
static const struct envelope_row {
    const char *member, *column;
} envelope[] = {
    {"source", "_source"},
    {"key", "_key"},
    {"headers", "_headers"},
    {"content_type", "_content_type"},
    {"valid_json", "_valid_json"},
    {"payload", "payload"},
    {"body_base64", "_body"},
};

static void put_bronze(
    struct arena *arena, const struct ledger_stream *stream, struct event_id id, struct event_address address, struct str row, struct buf *out) {
    struct json_writer w = json_write_to(out);
    struct str raw;
    json_begin_object(&w);
    put_id(&w, id);
    json_put_text(&w, "stream", stream->name);
    json_put_int(&w, "partition", address.partition);
    json_put_int(&w, "offset", (int64_t)address.offset);
    json_put_time_ms(&w, "received_at", address.received_ms);
    for (size_t i = 0; i < sizeof envelope / sizeof envelope[0]; i++) {
        bool there = json_raw_at(row, str_of(envelope[i].column), &raw);
        if (!there || (str_is(raw, "null") && str_is(str_of(envelope[i].member), "body_base64"))) continue;
        json_name(&w, envelope[i].member);
        json_raw(&w, raw);
    }
    put_places(&w, arena_printf(arena, "bronze.%s", stream->name), true, "lake");
    json_end_object(&w);
}

static enum status find_stream_event(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct event_id id,
    struct event_address address, struct buf *out, struct err *err) {
    struct stored_record record;
    enum status status = stream_find(node->log, arena, address, &record, err);
    if (status == OK) {
        put_logged(node, arena, stream, &record, out);
        return OK;
    }
    if (status != E_NOT_FOUND) return status;
    BUF_SCOPE(row);
    status = lake_find_event(node->lake, address, &row, err);
    if (status == OK) put_bronze(arena, stream, id, address, str_trim(buf_view(&row)), out);
    return status;
}

/* The first element of a JSON array of objects; false when it is empty. */
static bool first_row(struct str rows, struct str *out) { return json_raw_at(rows, STR("0"), out); }

/* A row that came with a file: it stands in its landing table, or in the quarantine of that table. */
static enum status find_landing_row(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct event_id id,
    struct event_address address, struct buf *out, struct err *err) {
    const char *schema, *name;
    enum status status = table_split(arena, str_of(stream->name), &schema, &name, err);
    if (status != OK) return status;
    char text[EVENT_ID_TEXT];
    event_id_text(id, text);
    BUF_SCOPE(rows);
    struct str row;
    const char *table = stream->name;
    char *sql = arena_printf(arena, "SELECT * FROM \"%s\".\"%s\" WHERE _event_id = '%.36s'", schema, name, text);
    status = node_rows(node, sql, &rows, err);
    if (status == OK && !first_row(buf_view(&rows), &row)) {
        buf_clear(&rows);
        table = arena_printf(arena, "quarantine.%s__%s", schema, name);
        sql = arena_printf(arena, "SELECT * FROM quarantine.\"%s__%s\" WHERE _event_id = '%.36s'", schema, name, text);
        if (node_rows(node, sql, &rows, NULL) != OK || !first_row(buf_view(&rows), &row))
            status = err_set(err, E_NOT_FOUND, "no row %.36s in %s or its quarantine", text, stream->name);
    }
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    put_id(&w, id);
    json_put_text(&w, "table", stream->name);
    json_put_int(&w, "offset", (int64_t)address.offset);
    json_put_time_ms(&w, "received_at", address.received_ms);
    json_name(&w, "row");
    json_raw(&w, row);
    put_places(&w, table, true, "lake");
    json_end_object(&w);
    return OK;
}

static enum status show_event(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct str text = http_part(r, "id");
    struct event_id id;
    struct event_address address;
    struct ledger_stream *streams;
    size_t n;
    if (!event_id_parse(text, &id)) return err_set(err, E_INVALID, "'" STR_FMT "' is not an event id (a UUID)", STR_ARG(str_head(text, 80)));
    if (!event_id_read(id, &address)) return err_set(err, E_NOT_FOUND, STR_FMT " is a UUID, but no event id of Cupel", STR_ARG(text));
    enum status status = ledger_stream_list(node->ledger, arena, true, &streams, &n, err);
    if (status != OK) return status;
    for (size_t i = 0; i < n; i++) {
        if (streams[i].number != address.stream) continue;
        bool stream = streams[i].kind == KIND_STREAM;
        status =
            stream ? find_stream_event(node, arena, &streams[i], id, address, out, err) : find_landing_row(node, arena, &streams[i], id, address, out, err);
        if (status != OK || !query_flag(r, "trace")) return status;
        return event_trace(node, stream ? arena_printf(arena, "bronze.%s", streams[i].name) : streams[i].name, arena_strndup(arena, text.p, text.n), out, err);
    }
    return err_set(err, E_NOT_FOUND, STR_FMT ": no stream has its number %u", STR_ARG(text), address.stream);
}

/* ---- GET /v1/events ---- */

#define LIST_MAX 1000

struct listing {
    struct str stream; /* n 0: all */
    bool want_landed, want_logged;
    int64_t since_us, limit;
    struct event_id before; /* only older ones; all bytes 0: none */
    bool has_before;
};

static enum status read_listing(struct node *node, struct http_request *r, struct listing *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct str status_text = http_query(r, "status"), cursor = http_query(r, "cursor");
    *out = (struct listing){.stream = http_query(r, "stream"), .want_landed = true, .want_logged = true};
    enum status status = query_number(r, "limit", 100, 1, LIST_MAX, &out->limit, err);
    if (status == OK) status = query_time(node, r, "since", &out->since_us, err);
    if (status != OK) return status;
    if (status_text.n) {
        out->want_landed = str_is(status_text, "landed");
        out->want_logged = str_is(status_text, "in_log");
        if (!out->want_landed && !out->want_logged)
            return err_set(err, E_INVALID, "status: '" STR_FMT "' is not one of in_log, landed", STR_ARG(str_head(status_text, 60)));
    }
    out->has_before = cursor.n > 0;
    if (out->has_before && !event_id_parse(cursor, &out->before)) return err_set(err, E_INVALID, "cursor: not one that this route gave");
    return OK;
}

/* Whether a row is landed: its offset against the landed offset of its partition. */
static void landed_sql(struct buf *sql, const struct stream_state *state) {
    buf_text(sql, "(CASE _partition");
    for (uint16_t p = 0; p < state->partitions_n; p++)
        buf_printf(sql, " WHEN %u THEN _offset < %llu", p, (unsigned long long)state->partitions[p].landed_offset);
    buf_text(sql, " ELSE true END)");
}

static void stream_sql(struct buf *sql, const struct listing *listing, const struct ledger_stream *stream, const struct stream_state *state) {
    struct event_address address;
    if (sql->n) buf_text(sql, " UNION ALL ");
    buf_text(sql, "(SELECT _event_id, _received_at, ");
    sql_quote_text(sql, str_of(stream->name));
    buf_text(sql, " AS stream, _partition, _offset, _source, _key, ");
    landed_sql(sql, state);
    buf_text(sql, " AS landed, coalesce(strlen(payload), octet_length(_body)) AS size_bytes FROM bronze.");
    sql_quote_name(sql, str_of(stream->name));
    buf_printf(sql, " WHERE _received_at >= make_timestamptz(%lld)", (long long)listing->since_us);
    if (listing->has_before && event_id_read(listing->before, &address)) {
        char text[EVENT_ID_TEXT];
        event_id_text(listing->before, text);
        buf_printf(sql, " AND _received_at <= make_timestamptz(%lld) AND _event_id < '%.36s'::UUID", (long long)address.received_ms * 1000, text);
    }
    if (!listing->want_landed || !listing->want_logged) {
        buf_text(sql, listing->want_landed ? " AND " : " AND NOT ");
        landed_sql(sql, state);
    }
    buf_printf(sql, " ORDER BY _event_id DESC LIMIT %lld)", (long long)listing->limit);
}

static void put_listed(struct json_writer *w, struct str row, struct str *last) {
    must(w->depth > 0);
    static const struct envelope_row members[] = {{"id", "_event_id"}, {"stream", "stream"}, {"partition", "_partition"}, {"offset", "_offset"},
        {"received_at", "received_at"}, {"source", "_source"}, {"key", "_key"}, {"status", "status"}, {"size_bytes", "size_bytes"}};
    struct str raw;
    json_begin_object(w);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (!json_raw_at(row, str_of(members[i].column), &raw)) continue;
        json_name(w, members[i].member);
        json_raw(w, raw);
        if (i == 0) *last = raw;
    }
    json_end_object(w);
}

static enum status write_list(const struct listing *listing, struct str rows, struct buf *out, struct err *err) {
    struct str *list, last = STR_NULL;
    size_t n;
    enum status status = json_split_array(rows, LIST_MAX, &list, &n, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "events");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) put_listed(&w, list[i], &last);
    json_end_array(&w);
    json_name(&w, "cursor"); /* of the next page, null at the end */
    if ((int64_t)n == listing->limit && last.n > 2)
        json_raw(&w, last);
    else
        json_null(&w);
    json_end_object(&w);
    free(list);
    return OK;
}

static enum status list_events(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct listing listing;
    struct ledger_stream *streams, one;
    size_t n;
    enum status status = read_listing(node, r, &listing, err);
    if (status == OK && listing.stream.n) status = node_stream(node, arena, listing.stream, &one, err);
    if (status == OK) status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    if (status != OK) return status;
    BUF_SCOPE(parts);
    for (size_t i = 0; i < n; i++) {
        struct stream_state state;
        if (streams[i].kind != KIND_STREAM || (listing.stream.n && !str_is(listing.stream, streams[i].name))) continue;
        status = stream_state(node->log, arena, streams[i].number, &state, err);
        if (status != OK) return status;
        stream_sql(&parts, &listing, &streams[i], &state);
    }
    BUF_SCOPE(rows);
    if (parts.n == 0) {
        buf_text(&rows, "[]");
    } else {
        BUF_SCOPE(sql);
        buf_text(&sql,
            "SELECT _event_id, stream, _partition, _offset, strftime(_received_at AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%gZ') AS received_at, _source, _key, "
            "CASE WHEN landed THEN 'landed' ELSE 'in_log' END AS status, size_bytes FROM (");
        buf_str(&sql, buf_view(&parts));
        buf_printf(&sql, ") ORDER BY _event_id DESC LIMIT %lld", (long long)listing.limit);
        status = node_rows(node, buf_cstr(&sql), &rows, err);
        if (status != OK) return status;
    }
    return write_list(&listing, str_trim(buf_view(&rows)), out, err);
}

JSON_HANDLER(on_show, show_event)
JSON_HANDLER(on_list, list_events)

void routes_events(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){
            "GET", "/v1/events", on_list, node, .operation = "listEvents", .access = ACCESS_READ, .summary = "The newest events first, of one stream or all"});
    route_add(routes,
        (struct http_route){"GET", "/v1/events/{id}", on_show, node, .operation = "showEvent", .access = ACCESS_READ,
            .summary = "One event: envelope, payload, where it landed"});
}
