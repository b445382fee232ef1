/* Health and metrics.
 *
 * Gauges that mirror a state are set when somebody asks for /metrics; nothing runs for them in between. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/times.h"
#include "host/terminal.h"
#include "serve/node_priv.h"

#define GAUGE(variable, name_, help_) static struct metric variable = {.name = name_, .help = help_, .kind = METRIC_GAUGE, .labels = ""}

GAUGE(m_up, "cupel_start_time_seconds", "When this server started, in seconds since 1970.");
GAUGE(m_ready, "cupel_ready", "1 while events are taken, 0 while not (see /health/ready for the reasons).");
GAUGE(m_log_bytes, "cupel_log_size_bytes", "Size of the log's segment files.");
GAUGE(m_log_segments, "cupel_log_segments", "Segment files of the log.");
GAUGE(m_log_full, "cupel_log_full", "1 while appends are refused for lack of room.");
GAUGE(m_dedupe_keys, "cupel_log_dedupe_keys", "Keys in the dedupe index.");
GAUGE(m_dedupe_bytes, "cupel_log_dedupe_memory_bytes", "Memory of the dedupe index.");
GAUGE(m_engine_running, "cupel_engine_running", "1 while the engine process runs.");
GAUGE(m_engine_bytes, "cupel_engine_resident_bytes", "Resident memory of the engine process.");
GAUGE(m_engine_died, "cupel_engine_deaths", "Times the engine process died unasked since this server started.");
GAUGE(m_engine_calls, "cupel_engine_calls_running", "Engine calls under way: queries, flushes, landings.");
GAUGE(m_server_bytes, "cupel_server_resident_bytes", "Resident memory of the server process.");
GAUGE(m_disk_free, "cupel_disk_free_bytes", "Free bytes of the disk that holds the data folder.");

GAUGE(m_warehouse, "cupel_warehouse_unavailable", "1 while the warehouse cannot be opened: models stand still, their tables are read from lake copies.");

static struct metric m_unlanded = {
    .name = "cupel_stream_unlanded_records", .help = "Events in the log that are not in bronze yet.", .kind = METRIC_GAUGE, .labels = "stream"};
static struct metric m_oldest = {.name = "cupel_stream_oldest_unlanded_age_seconds",
    .help = "Age of the oldest event that is not in bronze yet; 0 when there is none.",
    .kind = METRIC_GAUGE,
    .labels = "stream"};
static struct metric m_end = {
    .name = "cupel_stream_events", .help = "Events of a stream so far: the sum of its partitions' end offsets.", .kind = METRIC_GAUGE, .labels = "stream"};

static struct metric *const all_gauges[] = {&m_up, &m_ready, &m_log_bytes, &m_log_segments, &m_log_full, &m_dedupe_keys, &m_dedupe_bytes, &m_engine_running,
    &m_engine_bytes, &m_engine_died, &m_engine_calls, &m_server_bytes, &m_disk_free, &m_warehouse, &m_unlanded, &m_oldest, &m_end};

static void set(struct metric *metric, uint64_t value) { series_set(metric_series(metric), (int64_t)value); }

static void update_streams(struct node *node) {
    must(node->ledger != NULL && node->lake != NULL);
    ARENA_SCOPE(arena);
    struct ledger_stream *streams;
    size_t n;
    if (ledger_stream_list(node->ledger, arena, false, &streams, &n, NULL) != OK) return;
    for (size_t i = 0; i < n; i++) {
        struct stream_state state;
        if (streams[i].kind != KIND_STREAM || stream_state(node->log, arena, streams[i].number, &state, NULL) != OK) continue;
        uint64_t events = 0;
        for (uint16_t p = 0; p < state.partitions_n; p++) events += state.partitions[p].end_offset;
        int64_t age_ms = state.oldest_unlanded_ms ? host_wall_ms(&node->host) - state.oldest_unlanded_ms : 0;
        series_set(metric_series(&m_unlanded, streams[i].name), (int64_t)state.unlanded_records);
        series_set(metric_series(&m_oldest, streams[i].name), age_ms > 0 ? age_ms / 1000 : 0);
        series_set(metric_series(&m_end, streams[i].name), (int64_t)events);
    }
}

void node_update_gauges(struct node *node) {
    must(node->log && node->engine);
    struct log_stats log = stream_log_stats(node->log);
    struct engine_stats engine = engine_stats(node->engine);
    uint64_t free_bytes = 0;
    (void)node->host.fs->free_bytes(node->host.fs->self, node->data_dir, &free_bytes, NULL);
    set(&m_up, (uint64_t)node->started_ms / 1000);
    set(&m_ready, node_not_ready(node, NULL) ? 0 : 1);
    set(&m_log_bytes, log.bytes);
    set(&m_log_segments, log.segments);
    set(&m_log_full, log.full);
    set(&m_dedupe_keys, log.dedupe_keys);
    set(&m_dedupe_bytes, log.dedupe_memory_bytes);
    set(&m_engine_running, engine_pid(node->engine) != 0);
    set(&m_engine_bytes, engine.resident_bytes);
    set(&m_engine_died, engine.died);
    set(&m_engine_calls, engine.calls_running);
    set(&m_server_bytes, host_resident_bytes(host_self_pid()));
    set(&m_disk_free, free_bytes);
    set(&m_warehouse, engine_warehouse(node->engine) != OK);
    update_streams(node);
}

bool node_not_ready(struct node *node, struct buf *reasons) {
    must(node->ledger != NULL && node->lake != NULL);
    BUF_SCOPE(own);
    struct json_writer w = json_write_to(reasons ? reasons : &own);
    bool not_ready = false;
    json_begin_array(&w);
    if (!atomic_load(&node->ready)) {
        json_text(&w, "it is starting");
        not_ready = true;
    }
    if (atomic_load(&node->draining)) {
        json_text(&w, "it is stopping");
        not_ready = true;
    }
    struct log_stats stats = stream_log_stats(node->log);
    if (stats.full) {
        json_text(&w, stats.full_reason[0] ? stats.full_reason : "the log is full");
        not_ready = true;
    }
    json_end_array(&w);
    return not_ready;
}

static void on_live(void *context, struct http_request *r) { http_answer(r, 200, "application/json", STR("{\"status\":\"live\"}\n")); }

static void on_ready(void *context, struct http_request *r) {
    struct node *node = context;
    struct buf out = BUF_INIT;
    BUF_SCOPE(reasons);
    bool not_ready = node_not_ready(node, &reasons);
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_put_text(&w, "status", not_ready ? "not ready" : "ready");
    json_name(&w, "reasons");
    json_raw(&w, buf_view(&reasons));
    json_put_text(&w, "version", CUPEL_VERSION);
    json_put_int(&w, "uptime_seconds", (host_wall_ms(&node->host) - node->started_ms) / 1000);
    if (node->recovery.damage[0]) json_put_text(&w, "damage", node->recovery.damage);
    if (engine_warehouse(node->engine) != OK)
        json_put_text(&w, "warehouse", "cannot be opened: models stand still and their tables are read from lake copies; cupel verify says why and what to do");
    json_end_object(&w);
    if (not_ready) http_add_header(r, "Retry-After", "1");
    node_answer_json(r, not_ready ? 503 : 200, &out);
}

static void write_metrics(struct node *node, struct http_request *r) {
    struct buf out = BUF_INIT;
    node_update_gauges(node);
    metrics_write(&out);
    http_answer_take(r, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static void on_metrics(void *context, struct http_request *r) { node_offload(context, r, write_metrics); }

static void on_openapi(void *context, struct http_request *r) {
    struct node *node = context;
    struct buf out = BUF_INIT;
    openapi_write(node->routes, node->routes_n, &out);
    node_answer_json(r, 200, &out);
}

/* ---- docs/metrics.md ---- */

struct metric_list {
    const struct metric **list;
    size_t n, cap;
};

static void collect(void *context, const struct metric *metric) {
    struct metric_list *all = context;
    if (all->n == all->cap) {
        all->cap = all->cap ? all->cap * 2 : 128;
        all->list = mem_realloc(all->list, all->cap * sizeof *all->list);
    }
    all->list[all->n++] = metric;
}

static int by_name(const void *a, const void *b) { return strcmp((*(const struct metric *const *)a)->name, (*(const struct metric *const *)b)->name); }

void metrics_document(struct buf *out) {
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct metric_list all = {0};
    metrics_each(collect, &all);
    qsort(all.list, all.n, sizeof *all.list, by_name);
    buf_text(out,
        "# Metrics\n\nMade by `cupel generate metrics` from the declarations in the source; do not edit. `GET /metrics` answers in the Prometheus text "
        "format.\n\n"
        "| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < all.n; i++)
        buf_printf(out, "| `%s` | %s | %s | %s |\n", all.list[i]->name, kinds[all.list[i]->kind], all.list[i]->labels, all.list[i]->help);
    free(all.list);
}

void routes_health(struct node *node, struct route_list *routes) {
    must(node && routes);
    for (size_t i = 0; i < sizeof all_gauges / sizeof all_gauges[0]; i++) metric_register(all_gauges[i]);
    route_add(routes, (struct http_route){"GET", "/health/live", on_live, node, .operation = "live", .access = ACCESS_OPEN, .summary = "The process answers"});
    route_add(routes,
        (struct http_route){"GET", "/health/ready", on_ready, node, .operation = "ready", .access = ACCESS_OPEN,
            .summary = "Events are taken; 503 with the reasons otherwise"});
    route_add(routes,
        (struct http_route){
            "GET", "/metrics", on_metrics, node, .operation = "metrics", .access = ACCESS_READ, .summary = "Metrics in the Prometheus text format"});
    route_add(
        routes, (struct http_route){"GET", "/v1/openapi.json", on_openapi, node, .operation = "openapi", .access = ACCESS_OPEN, .summary = "This description"});
}
