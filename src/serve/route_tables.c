/* Lake tables and their maintenance: thin, because the answers are made by `lake`.
 *
 * Compaction, expiry and recovery take as long as they take; they run on a worker and hold no lock of ours. */
#include "base/assert.h"
#include "serve/node_priv.h"

static enum status list_tables(struct node *node, struct http_request *r, struct buf *out, struct err *err) { return lake_tables_json(node->lake, out, err); }

/* The table of the path's {table}. */
static enum status named_table(struct http_request *r, const char **schema, const char **name, struct err *err) {
    return table_split(http_arena(r), http_part(r, "table"), schema, name, err);
}

static enum status show_table(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    const char *schema, *name;
    enum status status = named_table(r, &schema, &name, err);
    return status != OK ? status : lake_table_json(node->lake, schema, name, out, err);
}

static void write_maintained(const struct lake_maintained *m, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_int(&w, "files_before", (int64_t)m->files_before);
    json_put_int(&w, "files_after", (int64_t)m->files_after);
    json_put_int(&w, "size_bytes", (int64_t)m->bytes);
    json_put_int(&w, "snapshots_expired", (int64_t)m->snapshots_expired);
    json_put_int(&w, "files_deleted", (int64_t)m->files_deleted);
    json_end_object(&w);
}

static enum status compact_table(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    const char *schema, *name;
    struct lake_maintained done = {0};
    enum status status = named_table(r, &schema, &name, err);
    if (status == OK) status = lake_compact(node->lake, schema, name, query_flag(r, "open_hours"), &done, err);
    if (status == OK) write_maintained(&done, out);
    return status;
}

static enum status expire_table(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    const char *schema, *name;
    struct lake_maintained done = {0};
    int64_t before_us = host_wall_us(&node->host) - node_config(node)->lake.snapshot_retention_ms * 1000;
    enum status status = named_table(r, &schema, &name, err);
    if (status == OK) status = query_time(node, r, "older_than", &before_us, err);
    if (status == OK) status = lake_expire(node->lake, schema, name, before_us / 1000, &done, err);
    if (status == OK) write_maintained(&done, out);
    return status;
}

static enum status recover_tables(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    return lake_register_recover(node->lake, out, err);
}

static enum status flush_streams(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    struct ledger_stream stream = {0};
    struct str wanted = http_query(r, "stream");
    enum status status = wanted.n ? node_stream(node, http_arena(r), wanted, &stream, err) : OK;
    if (status == OK) status = lake_flush(node->lake, stream.name, err);
    if (status == OK) buf_text(out, "{\"flushed\":true}");
    return status;
}

JSON_HANDLER(on_list, list_tables)
JSON_HANDLER(on_show, show_table)
JSON_HANDLER(on_compact, compact_table)
JSON_HANDLER(on_expire, expire_table)
JSON_HANDLER(on_recover, recover_tables)
JSON_HANDLER(on_flush, flush_streams)

void routes_tables(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes, (struct http_route){"GET", "/v1/tables", on_list, node, .operation = "listTables", .access = ACCESS_READ, .summary = "All lake tables"});
    route_add(routes,
        (struct http_route){"POST", "/v1/tables/recover", on_recover, node, .operation = "recoverTables", .access = ACCESS_ADMIN,
            .summary = "Rebuild the catalog's pointers from the metadata files in the lake"});
    route_add(routes,
        (struct http_route){"GET", "/v1/tables/{table}", on_show, node, .operation = "showTable", .access = ACCESS_READ,
            .summary = "One table: schema, snapshots, files, properties"});
    route_add(routes,
        (struct http_route){"POST", "/v1/tables/{table}/compact", on_compact, node, .operation = "compactTable", .access = ACCESS_ADMIN,
            .summary = "Pack the small files of closed hours into large ones"});
    route_add(routes,
        (struct http_route){"POST", "/v1/tables/{table}/expire", on_expire, node, .operation = "expireTable", .access = ACCESS_ADMIN,
            .summary = "Forget old snapshots and delete files that only they used"});
    route_add(routes,
        (struct http_route){"POST", "/v1/flush", on_flush, node, .operation = "flush", .access = ACCESS_ADMIN,
            .summary = "Write the unlanded tail of one stream, or of all, to bronze now"});
}
