/* Logs, verification, reload. */
#include <stdlib.h>

#include "base/assert.h"
#include "serve/node_priv.h"

/* ---- logs ---- */

static enum status show_logs(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct str level = http_query(r, "level"), event = http_query(r, "event");
    bool known = true;
    int64_t limit;
    struct log_query query = {
        .level = level.n ? log_level_parse(level, &known) : LOG_INFO, .event = event.n ? arena_strndup(http_arena(r), event.p, event.n) : NULL};
    if (!known) return err_set(err, E_INVALID, "level: '" STR_FMT "' is not one of debug, info, warn, error", STR_ARG(str_head(level, 60)));
    enum status status = query_number(r, "limit", 1000, 1, 100000, &limit, err);
    if (status == OK) status = query_time(node, r, "since", &query.since_us, err);
    if (status != OK) return status;
    query.limit = (size_t)limit;
    BUF_SCOPE(lines);
    status = log_sink_read(&node->host, node->data_dir, &query, &lines, err);
    if (status != OK) return status;
    struct str rest = buf_view(&lines);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "records");
    json_begin_array(&w);
    while (rest.n > 0) json_raw(&w, str_cut(&rest, '\n'));
    json_end_array(&w);
    json_end_object(&w);
    return OK;
}

/* ---- verify ---- */

/* What recovery set aside stays there until somebody looked at it and took it away: so long the data folder is not sound. */
static size_t files_set_aside(struct node *node, struct arena *arena) {
    struct fs_entry *entries;
    size_t n = 0;
    char *dir = arena_printf(arena, "%s/log/damaged", node->data_dir);
    return node->host.fs->list(node->host.fs->self, arena, dir, &entries, &n, NULL) == OK ? n : 0;
}

static enum status verify(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct stream_recovery log = {0};
    BUF_SCOPE(lake);
    BUF_SCOPE(ledger);
    uint64_t problems = 0;
    enum status status = stream_verify(node->log, http_arena(r), &log, err);
    if (status == OK) status = lake_verify(node->lake, &lake, &problems, err);
    if (status == OK) status = ledger_check(node->ledger, &ledger, err);
    if (status != OK) return status;
    size_t set_aside = files_set_aside(node, http_arena(r));
    bool good = problems == 0 && log.damaged_groups == 0 && ledger.n == 0 && set_aside == 0;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_bool(&w, "ok", good);
    json_name(&w, "log");
    json_begin_object(&w);
    json_put_int(&w, "segments", (int64_t)log.segments);
    json_put_int(&w, "groups", (int64_t)log.groups);
    json_put_int(&w, "records", (int64_t)log.records);
    json_put_int(&w, "damaged_groups", (int64_t)log.damaged_groups);
    json_put_text(&w, "damage", log.damage);
    json_put_int(&w, "files_set_aside", (int64_t)set_aside);
    json_end_object(&w);
    json_name(&w, "lake");
    json_raw(&w, lake.n ? str_trim(buf_view(&lake)) : STR("{}"));
    json_put_int(&w, "lake_problems", (int64_t)problems);
    json_put_str(&w, "ledger_problems", str_make(ledger.n ? ledger.p : "", ledger.n));
    json_end_object(&w);
    if (!good) log_error("serve", "verification found problems", LOG_INT("lake_problems", problems), LOG_INT("damaged_groups", log.damaged_groups), NULL);
    return OK;
}

static enum status reload(struct node *node, struct http_request *r, struct buf *out, struct err *err) { return node_reload(node, out, err); }

JSON_HANDLER(on_logs, show_logs)
JSON_HANDLER(on_verify, verify)
JSON_HANDLER(on_reload, reload)

void routes_admin(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(
        routes, (struct http_route){"GET", "/v1/logs", on_logs, node, .operation = "logs", .access = ACCESS_ADMIN, .summary = "Structured logs of the server"});
    route_add(routes,
        (struct http_route){"POST", "/v1/verify", on_verify, node, .operation = "verify", .access = ACCESS_ADMIN,
            .summary = "Check all checksums of the log, all files of the lake and the ledger"});
    route_add(routes,
        (struct http_route){
            "POST", "/v1/reload", on_reload, node, .operation = "reload", .access = ACCESS_ADMIN, .summary = "Read cupel.yaml again, as SIGHUP does"});
}
