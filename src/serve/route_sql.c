/* POST /v1/sql: one SELECT over one consistent view, streamed.
 *
 * The view is pinned before the statement is parsed and released after the last byte. The engine writes the result in the format asked for; here it only passes
 * through. A client that goes away is noticed both before the first row and between parts, and its query is cancelled in the engine. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "serve/node_priv.h"

#define PARAMS_MAX 1000
#define SQL_BYTES_MAX (1u << 20)
#define WARNINGS_MAX 5

static struct metric queries = {.name = "cupel_sql_queries_total", .help = "Queries of users by how they ended.", .kind = METRIC_COUNTER, .labels = "outcome"};
static struct metric first_row_time = {
    .name = "cupel_sql_first_row_seconds", .help = "Time from a query's arrival to its first result bytes.", .kind = METRIC_HISTOGRAM, .labels = ""};

static const struct format_row {
    const char *name, *content_type;
    enum result_format format;
} formats[] = {
    {"json", "application/json", RESULT_JSON},
    {"ndjson", "application/x-ndjson", RESULT_NDJSON},
    {"csv", "text/csv; charset=utf-8", RESULT_CSV},
    {"table", "text/plain; charset=utf-8", RESULT_TABLE},
    {"parquet", "application/vnd.apache.parquet", RESULT_PARQUET},
};
#define FORMATS_N (sizeof formats / sizeof formats[0])

/* One query under way, from its start to the last byte; heap, because the stream outlives the handler. */
struct query_run {
    struct node *node;
    struct http_request *r;
    struct lake_pin *pin;
    struct engine_call *call;
    struct query_place *place; /* of its token; NULL: an admin's */
    bool failed, finished;
    atomic_bool gone; /* the client went away */
};

static bool is_gone(void *context) { return atomic_load(&((struct query_run *)context)->gone); }

static void client_gone(void *context) { atomic_store(&((struct query_run *)context)->gone, true); }

static enum status next_bytes(void *context, void *bytes, size_t n, size_t *got, struct err *err) {
    struct query_run *run = context;
    while (!run->finished && !host_wait_readable(engine_call_fd(run->call), 100)) {
        if (is_gone(run)) return err_set(err, E_CANCELLED, "the client went away");
    }
    enum status status = engine_call_read(run->call, bytes, n, got, err);
    run->failed = status != OK && status != E_CANCELLED;
    run->finished = status == OK && *got == 0;
    return status;
}

static void end_query(void *context) {
    struct query_run *run = context;
    series_add(metric_series(&queries, run->finished ? "done" : run->failed ? "failed" : "cancelled"), 1);
    engine_call_end(&run->call);
    lake_unpin(&run->pin);
    query_place_give(run->node->query_places, &run->place);
    free(run);
}

static const struct format_row *format_named(struct str name) {
    for (size_t i = 0; i < FORMATS_N; i++) {
        if (str_is(name, formats[i].name)) return &formats[i];
    }
    return NULL;
}

/* By Accept, the first of ours that stands in it; quality values do not matter to a client that names one format. */
static const struct format_row *format_accepted(struct str accept) {
    long best_at = -1;
    const struct format_row *best = &formats[0];
    for (size_t i = 0; i < FORMATS_N && accept.p; i++) {
        struct str type = str_of(formats[i].content_type);
        type = str_cut(&type, ';');
        long at = str_find(accept, type);
        if (at >= 0 && (best_at < 0 || at < best_at)) {
            best_at = at;
            best = &formats[i];
        }
    }
    return best;
}

/* "params": the raw JSON text of each, so that numbers and nested values reach the engine as they were written. */
static enum status read_params(struct http_request *r, struct engine_query *query, struct err *err) {
    struct str raw, *list;
    size_t n;
    if (!json_raw_at(http_body(r), STR("params"), &raw) || str_is(raw, "null")) return OK;
    if (raw.n == 0 || raw.p[0] != '[') return err_set(err, E_INVALID, "params: must be an array, one value per $1, $2, …");
    enum status status = json_split_array(raw, PARAMS_MAX, &list, &n, err);
    if (status != OK) return status;
    struct str *params = arena_new_array(http_arena(r), struct str, n + 1);
    for (size_t i = 0; i < n; i++) params[i] = list[i];
    free(list);
    query->params = params;
    query->params_n = n;
    return OK;
}

static enum status read_json_request(struct http_request *r, struct engine_query *query, const struct format_row **format, struct err *err) {
    struct body *body;
    struct str name;
    int64_t rows = 0, width = 0, time_ms = 0;
    enum status status = body_open(r, &body, err);
    if (status != OK) return status;
    if (!body_text(body, "query", &query->sql)) status = err_set(err, E_INVALID, "query: is missing; the body is {\"query\": \"SELECT …\"}");
    if (status == OK && body_text(body, "format", &name) && !(*format = format_named(name)))
        status = err_set(err, E_INVALID, "format: '" STR_FMT "' is not one of json, ndjson, csv, table, parquet", STR_ARG(str_head(name, 60)));
    if (status == OK) status = body_number(body, "rows_max", 0, 0, 1000000000, &rows, err);
    if (status == OK) status = body_number(body, "width_max", 0, 0, 100000, &width, err);
    if (status == OK) status = body_number(body, "time_ms", 0, 0, INT64_C(86400000), &time_ms, err);
    body_close(&body);
    if (status != OK) return status;
    query->rows_max = (uint32_t)rows;
    query->width_max = (uint32_t)width;
    query->time_ms = time_ms;
    return read_params(r, query, err);
}

/* The body is JSON, or the bare SQL text as application/sql or text/plain. */
static enum status read_request(struct http_request *r, struct engine_query *query, const struct format_row **format, struct err *err) {
    struct str type = http_content_type(r);
    *format = format_accepted(http_header(r, "Accept"));
    if (http_body(r).n > SQL_BYTES_MAX) return err_set(err, E_LIMIT, "the query is larger than %u bytes", SQL_BYTES_MAX);
    if (str_is(type, "application/sql") || str_is(type, "text/plain")) {
        query->sql = http_body(r);
        return utf8_valid(query->sql) ? OK : err_set(err, E_INVALID, "the query is not valid UTF-8");
    }
    return read_json_request(r, query, format, err);
}

/* A query's time never goes beyond what cupel.yaml allows. */
static void limit_time(struct node *node, struct engine_query *query) {
    int64_t most_ms = (int64_t)node_config(node)->sql.query_seconds * 1000;
    if (most_ms > 0 && query->time_ms > most_ms) query->time_ms = most_ms;
}

/* Other tokens than an admin's have a share of the engine only. */
static enum status take_place(struct query_run *run, struct err *err) {
    const struct config_sql *sql = &node_config(run->node)->sql;
    const struct caller *caller = http_user(run->r);
    if (!caller || caller->role == ROLE_ADMIN) return OK;
    uint32_t third = sql->queries < 3 ? 1 : (uint32_t)(sql->queries / 3);
    struct query_place_wish wish = {.token = caller->token,
        .limit = sql->queries_per_token ? (uint32_t)sql->queries_per_token : third,
        .wait_ms = (int64_t)sql->wait_seconds * 1000,
        .cancelled = is_gone,
        .context = run};
    return query_place_take(run->node->query_places, &wish, &run->place, err);
}

static enum status start(struct query_run *run, struct engine_query *query, struct err *err) {
    enum status status = lake_pin(run->node->lake, &run->pin, err);
    if (status != OK) return status;
    query->view = lake_pin_view(run->pin);
    status = engine_query_start(run->node->engine, query, &run->call, err);
    if (status != OK) lake_unpin(&run->pin);
    return status;
}

/* DuckDB ends a message with the place: "LINE 2: …" and a caret under it. Long lines are cut with dots in front, which hides the column. */
static struct str error_place(struct arena *arena, const struct err *err) {
    must(arena != NULL);
    struct str rest = str_of(err->text), number;
    struct str detail = str_cut(&rest, '\n');
    long at = str_find(rest, STR("LINE "));
    uint64_t line;
    if (!rest.p || at < 0) return STR_NULL;
    rest = str_from(rest, (size_t)at);
    struct str text = str_cut(&rest, '\n'), caret = str_cut(&rest, '\n');
    number = str_from(text, 5);
    number = str_cut(&number, ':');
    size_t head = 5 + number.n + 2;
    long column = str_find(caret, STR("^"));
    if (!str_to_u64(number, &line) || column < (long)head) return STR_NULL;
    BUF_SCOPE(out);
    buf_text(&out, "\"errors\":[");
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_put_str(&w, "detail", detail);
    json_put_int(&w, "line", (int64_t)line);
    if (!str_starts(str_from(text, head), STR("..."))) json_put_int(&w, "column", column - (long)head + 1);
    json_end_object(&w);
    buf_char(&out, ']');
    return arena_str(arena, buf_view(&out));
}

/* Rows may be older than they look (a lake copy in place of a warehouse that cannot be opened, a table whose model is gone): said beside the result. */
static void add_warnings(struct http_request *r, struct str head) {
    struct str raw, *list;
    size_t n = 0;
    if (!json_raw_at(head, STR("warnings"), &raw) || json_split_array(raw, 1000, &list, &n, NULL) != OK) return;
    for (size_t i = 0; i < n && i < WARNINGS_MAX; i++) { /* escaped as in JSON, so that nothing in it ends the line */
        struct str text = list[i].n >= 2 ? str_make(list[i].p + 1, list[i].n - 2) : list[i];
        http_add_header(r, "Cupel-Warning", arena_strndup(http_arena(r), text.p, text.n));
    }
    free(list);
}

static void run_query(struct node *node, struct http_request *r) {
    must(node->ledger != NULL && node->lake != NULL);
    struct engine_query query = {0};
    const struct format_row *format = NULL;
    struct err err = {0};
    int64_t started_us = host_monotonic_us(&node->host);
    enum status status = read_request(r, &query, &format, &err);
    struct query_run *run = mem_zalloc(sizeof *run);
    run->node = node;
    run->r = r;
    query.cancelled = is_gone;
    query.cancelled_context = run;
    if (status == OK) {
        query.format = format->format;
        http_on_disconnect(r, client_gone, run);
        limit_time(node, &query);
        status = take_place(run, &err);
        if (status == OK) status = start(run, &query, &err);
    }
    if (status != OK) {
        http_on_disconnect(r, NULL, NULL);
        series_add(metric_series(&queries, status == E_INVALID || status == E_DENIED ? "refused" : status == E_CANCELLED ? "cancelled" : "failed"), 1);
        query_place_give(node->query_places, &run->place);
        free(run);
        http_answer_problem(r, &err, error_place(http_arena(r), &err));
        return;
    }
    add_warnings(r, engine_call_head(run->call));
    series_observe(metric_series(&first_row_time), (double)(host_monotonic_us(&node->host) - started_us) / 1e6);
    http_limit_stall(r, (int64_t)node_config(node)->sql.stall_seconds * 1000);
    http_answer_stream(r, 200, format->content_type, next_bytes, end_query, run);
}

static void post_sql(void *context, struct http_request *r) { node_offload(context, r, run_query); }

void routes_sql(struct node *node, struct route_list *routes) {
    metric_register(&queries);
    metric_register(&first_row_time);
    route_add(routes,
        (struct http_route){"POST", "/v1/sql", post_sql, node, .decompress = true, .operation = "query", .access = ACCESS_READ,
            .summary = "Run one SELECT over all tables and the newest events; the result is streamed"});
}
