/* The wiring: rooms are opened in the order of `steps` and closed in the reverse one. */
#include "serve/node.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing.h"
#include "host/signals.h"
#include "host/terminal.h"
#include "serve/node_priv.h"

#define LOCK_WAIT_MS 3000 /* a server that is stopping just now */
#define DRAIN_MS 15000 /* requests under way get so long to end */

const struct config *node_config(struct node *node) { return __atomic_load_n(&node->config, __ATOMIC_ACQUIRE); }

/* ---- configuration, lock, logs ---- */

static enum status load_config(struct node *node, struct buf *problems_text, struct config **out, struct err *err) {
    struct config_problems problems = {0};
    enum status status = config_load(&node->host, node->dir, out, &problems, err);
    if (problems_text && problems.n) config_problems_write(&problems, CONFIG_FILE, problems_text);
    config_problems_free(&problems);
    return status;
}

static enum status open_config(struct node *node, struct err *err) {
    enum status status = load_config(node, node->problems, &node->config, err);
    if (status == OK && node->problems && node->options.command) buf_clear(node->problems); /* warnings are for `check` and `serve` */
    return status;
}

static void close_config(struct node *node) {
    for (size_t i = 0; i < node->config_old_n; i++) config_free(&node->config_old[i]);
    free(node->config_old);
    config_free(&node->config);
}

static enum status open_lock(struct node *node, struct err *err) {
    const struct fs *fs = node->host.fs;
    AUTO_FREE char *path = mem_printf("%s/lock", node->data_dir);
    bool is_new = !fs_exists(fs, node->data_dir);
    enum status status = fs_mkdirs(fs, node->data_dir, err);
    if (status == OK && is_new) status = host_make_private(node->data_dir, true, err); /* payloads are nobody else's business */
    if (status != OK) return status;
    int64_t until_ms = host_monotonic_ms(&node->host) + (node->options.command ? 0 : LOCK_WAIT_MS);
    for (;;) {
        status = host_lock(path, &node->lock, err);
        if (status != E_BUSY || host_monotonic_ms(&node->host) >= until_ms) return status;
        node->host.clock->sleep_us(node->host.clock->self, 50000);
    }
}

static void close_lock(struct node *node) { host_unlock(&node->lock); }

static enum status open_format(struct node *node, struct err *err) { return data_format_ensure(&node->host, node->data_dir, err); }

static enum status open_logs(struct node *node, struct err *err) {
    const struct config_logging *logging = &node->config->logging;
    log_configure((struct log_options){.level = (enum log_level)logging->level,
        .json = logging->format == LOG_FORMAT_JSON,
        .quiet = node->options.command || node->options.quiet,
        .process = node->options.command ? "command" : "server"});
    struct log_sink_options options = {.host = &node->host, .data_dir = node->data_dir, .file_bytes = logging->file_bytes, .files = logging->files};
    enum status status = log_sink_open(&options, &node->sink, err);
    if (status == OK) log_sink_attach(node->sink);
    return status;
}

static void close_logs(struct node *node) { log_sink_close(&node->sink); }

/* ---- ledger, streams, log ---- */

static enum status open_ledger(struct node *node, struct err *err) {
    AUTO_FREE char *path = mem_printf("%s/ledger.db", node->data_dir);
    AUTO_FREE char *token = mem_printf("%s/cli.token", node->data_dir);
    enum status status = ledger_open(path, &node->host, &node->ledger, err);
    return status != OK ? status : ingest_cli_token(&node->host, node->ledger, token, err);
}

static void close_ledger(struct node *node) { ledger_close(&node->ledger); }

static struct stream_definition definition_of(const struct config *config, const struct ledger_stream *stream) {
    const struct config_stream *wanted = config_find_stream(config, str_of(stream->name));
    bool dedupe = wanted && wanted->dedupe.kind != DEDUPE_NONE;
    return (struct stream_definition){
        .number = stream->number, .name = stream->name, .partitions = stream->partitions, .dedupe_window_ms = dedupe ? wanted->dedupe_window_ms : 0};
}

/* Streams and landing tables of cupel.yaml get their numbers. Partitions of a stream only grow: the larger of file and ledger counts. */
static enum status ensure_one(
    struct node *node, struct arena *arena, enum stream_kind kind, const char *name, uint16_t partitions, const struct buf *settings, struct err *err) {
    struct ledger_stream stream;
    BUF_SCOPE(text);
    buf_str(&text, buf_view(settings));
    enum status status = ledger_stream_ensure(node->ledger, arena, kind, name, partitions, buf_cstr(&text), &stream, err);
    if (status != OK) return err_prefix(err, "%s", name);
    if (stream.partitions > partitions)
        log_info("serve", "the stream keeps the partitions that it has", LOG_STR("stream", name), LOG_INT("partitions", stream.partitions),
            LOG_INT("in_cupel_yaml", partitions), NULL);
    uint16_t more = stream.partitions > partitions ? stream.partitions : partitions;
    if (more == stream.partitions && stream.settings && str_is(buf_view(settings), stream.settings)) return OK;
    return ledger_stream_update(node->ledger, stream.number, more, buf_cstr(&text), err);
}

static enum status ensure_streams(struct node *node, struct arena *arena, const struct config *config, struct err *err) {
    enum status status = OK;
    for (size_t i = 0; i < config->streams_n && status == OK; i++) {
        BUF_SCOPE(settings);
        config_stream_json(&config->streams[i], &settings);
        status = ensure_one(node, arena, KIND_STREAM, config->streams[i].name, (uint16_t)config->streams[i].partitions, &settings, err);
    }
    for (size_t i = 0; i < config->sources_n && status == OK; i++) {
        if (config->sources[i].type != SOURCE_LANDING || !config->sources[i].table) continue;
        BUF_SCOPE(settings);
        config_source_json(&config->sources[i], &settings);
        status = ensure_one(node, arena, KIND_LANDING, config->sources[i].table, 1, &settings, err);
    }
    return status;
}

static void log_recovery(const struct stream_recovery *r) {
    if (r->cut_bytes) log_warn("serve", "a torn tail was cut from the log: it was never acknowledged", LOG_INT("size_bytes", r->cut_bytes), NULL);
    if (r->damaged_groups)
        log_error(
            "serve", "the log is damaged: groups were set aside in data/log/damaged", LOG_INT("groups", r->damaged_groups), LOG_STR("damage", r->damage), NULL);
    log_info("serve", "log opened", LOG_INT("segments", r->segments), LOG_INT("groups", r->groups), LOG_INT("records", r->records),
        LOG_INT("took_us", r->took_us), NULL);
}

static enum status open_log(struct node *node, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_stream *streams;
    size_t n, used = 0;
    enum status status = ensure_streams(node, arena, node->config, err);
    if (status == OK) status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    if (status != OK) return status;
    struct stream_definition *definitions = arena_new_array(arena, struct stream_definition, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (streams[i].kind == KIND_STREAM) definitions[used++] = definition_of(node->config, &streams[i]);
    }
    const struct config *c = node->config;
    AUTO_FREE char *dir = mem_printf("%s/log", node->data_dir);
    struct stream_log_options options = {.dir = dir,
        .host = &node->host,
        .segment_bytes = c->log.segment_bytes,
        .max_bytes = c->log.max_bytes,
        .reserve_bytes = c->log.reserve_bytes,
        .retention_ms = c->log.retention_ms,
        .queue_max = (uint32_t)c->limits.queue_requests,
        .queue_bytes_max = c->limits.queue_bytes};
    status = stream_log_open(&options, definitions, used, &node->log, &node->recovery, err);
    if (status == OK) log_recovery(&node->recovery);
    return status;
}

static void close_log(struct node *node) { stream_log_close(&node->log); }

/* ---- engine and lake ---- */

/* Folders of landing sources and of reference tables; NULL-ended, in the arena. */
static const char *const *read_dirs(struct arena *arena, const struct config *config) {
    const char **dirs = arena_new_array(arena, const char *, config->sources_n + 2);
    size_t n = 0;
    dirs[n++] = arena_printf(arena, "%s/reference", config->dir);
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type == SOURCE_LANDING) dirs[n++] = config->sources[i].path;
    }
    return dirs;
}

static enum status open_engine(struct node *node, struct err *err) {
    ARENA_SCOPE(arena);
    const struct config *c = node->config;
    struct engine_options options = {.host = &node->host,
        .data_dir = node->data_dir,
        .read_dirs = read_dirs(arena, c),
        .timezone = c->timezone,
        .memory_bytes = c->sql.memory_bytes,
        .threads = (uint32_t)c->sql.threads,
        .queries_max = (uint32_t)c->sql.queries,
        .query_wait_ms = c->sql.wait_seconds ? (int64_t)c->sql.wait_seconds * 1000 : -1,
        .query_time_ms = (int64_t)c->sql.query_seconds * 1000};
    node->query_places = query_places_new(&node->host);
    return engine_new(&options, &node->engine, err);
}

static void close_engine(struct node *node) {
    engine_free(&node->engine);
    query_places_free(&node->query_places);
}

static enum status add_to_lake(struct node *node, const struct config *config, const struct ledger_stream *stream, struct err *err) {
    const struct config_stream *wanted = config_find_stream(config, str_of(stream->name));
    struct lake_stream_options options = {0};
    if (wanted)
        options = (struct lake_stream_options){
            .flush_bytes = wanted->flush.bytes, .flush_ms = (int64_t)wanted->flush.seconds * 1000, .retention_ms = wanted->retention_ms};
    return lake_add_stream(node->lake, stream->number, stream->name, &options, err);
}

static enum status add_all_to_lake(struct node *node, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_stream *streams;
    size_t n;
    enum status status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    for (size_t i = 0; i < n && status == OK; i++) {
        if (streams[i].kind == KIND_STREAM) status = add_to_lake(node, node->config, &streams[i], err);
    }
    return status;
}

/* Landing tables that say their columns are there from the start. */
static enum status declare_tables(struct node *node, const struct config *config, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_stream *streams;
    size_t n;
    enum status status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    for (size_t i = 0; i < config->sources_n && status == OK; i++) {
        const struct config_source *source = &config->sources[i];
        for (size_t k = 0; k < n && status == OK && source->table && source->columns_n; k++) {
            if (streams[k].kind == KIND_LANDING && strcmp(streams[k].name, source->table) == 0)
                status = landing_declare(node->lake, source->table, streams[k].number, source->columns, source->columns_n, err);
        }
    }
    return status;
}

static enum status open_lake(struct node *node, struct err *err) {
    const struct config *c = node->config;
    struct lake_options options = {.host = &node->host,
        .dir = c->lake.path,
        .ledger = node->ledger,
        .engine = node->engine,
        .log = node->log,
        .flush_bytes = c->lake.flush.bytes,
        .flush_ms = (int64_t)c->lake.flush.seconds * 1000,
        .snapshot_retention_ms = c->lake.snapshot_retention_ms,
        .publish_ms = (int64_t)c->lake.publish_seconds * 1000,
        .target_file_bytes = c->lake.target_file_bytes};
    enum status status = lake_open(&options, &node->lake, err);
    if (status == OK) status = add_all_to_lake(node, err);
    if (status == OK) status = declare_tables(node, node->config, err);
    if (status != OK) {
        lake_close(&node->lake);
        return status;
    }
    node->lake_started = !node->options.command || node->options.writer;
    if (node->lake_started) lake_start(node->lake);
    return OK;
}

static void close_lake(struct node *node) {
    if (node->lake_started) lake_stop(node->lake, node->flush_at_end);
    lake_close(&node->lake);
}

enum status node_apply_stream(struct node *node, const struct config *config, const struct ledger_stream *stream, struct err *err) {
    must(stream->kind == KIND_STREAM);
    struct stream_definition definition = definition_of(config, stream);
    enum status status = stream_define(node->log, &definition, err);
    return status != OK ? status : add_to_lake(node, config, stream, err);
}

/* ---- ingest ---- */

struct ingest_lists {
    struct ingest_stream *streams;
    struct ingest_source *sources;
    size_t streams_n, sources_n;
};

static enum status list_for_ingest(struct node *node, struct arena *arena, const struct config *config, struct ingest_lists *out, struct err *err) {
    struct ingest_lists lists = {.streams = arena_new_array(arena, struct ingest_stream, config->streams_n + 1),
        .sources = arena_new_array(arena, struct ingest_source, config->sources_n + 1)};
    for (size_t i = 0; i < config->streams_n; i++) {
        struct ledger_stream stream;
        enum status status = node_stream(node, arena, str_of(config->streams[i].name), &stream, err);
        if (status != OK) return status;
        lists.streams[lists.streams_n++] = (struct ingest_stream){.number = stream.number, .config = &config->streams[i]};
    }
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type == SOURCE_WEBHOOK) lists.sources[lists.sources_n++].config = &config->sources[i];
    }
    *out = lists;
    return OK;
}

static enum status open_ingest(struct node *node, struct err *err) {
    ARENA_SCOPE(arena);
    struct ingest_lists lists;
    const struct config *c = node->config;
    enum status status = list_for_ingest(node, arena, c, &lists, err);
    if (status != OK) return status;
    struct ingest_options options = {.host = &node->host,
        .log = node->log,
        .ledger = node->ledger,
        .loopback = c->auth.loopback,
        .record_bytes_max = c->limits.record_bytes,
        .records_max = (uint32_t)c->limits.records_per_request,
        .read_older = node_read_older,
        .read_older_context = node};
    return ingest_open(&options, lists.streams, lists.streams_n, lists.sources, lists.sources_n, &node->ingest, err);
}

static void close_ingest(struct node *node) { ingest_close(&node->ingest); }

/* ---- HTTP ---- */

static void list_routes(struct node *node) {
    struct route_list routes = {0};
    struct http_route own[INGEST_ROUTES_MAX];
    size_t n = ingest_routes(node->ingest, own);
    must(n <= INGEST_ROUTES_MAX);
    for (size_t i = 0; i < n; i++) route_add(&routes, own[i]);
    routes_streams(node, &routes);
    routes_events(node, &routes);
    routes_sql(node, &routes);
    routes_tables(node, &routes);
    routes_accounts(node, &routes);
    routes_sources(node, &routes);
    routes_flows(node, &routes);
    routes_models(node, &routes);
    routes_quarantine(node, &routes);
    routes_check(node, &routes);
    routes_admin(node, &routes);
    routes_health(node, &routes);
    routes_dashboard(node, &routes);
    node->routes = routes.list;
    node->routes_n = routes.n;
}

static enum status open_http(struct node *node, struct err *err) {
    const struct config *c = node->config;
    bool command = node->options.command;
    list_routes(node);
    struct http_server_options options = {.listen = node->options.listen ? node->options.listen : c->listen,
        .tls_cert = command ? NULL : c->tls.cert,
        .tls_key = command ? NULL : c->tls.key,
        .threads = command ? 1 : (uint32_t)c->limits.http_threads,
        .connections_max = (uint32_t)c->limits.connections,
        .body_bytes_max = c->limits.body_bytes,
        .decompressed_bytes_max = c->limits.decompressed_bytes,
        .bodies_bytes_max = c->limits.bodies_bytes,
        .header_time_ms = c->limits.header_time_ms,
        .idle_time_ms = c->limits.idle_time_ms,
        .workers = command ? 2 : (uint32_t)c->limits.http_workers,
        .authorise = ingest_authorise,
        .authorise_context = node->ingest,
        .host = &node->host};
    enum status status = http_server_start(&options, node->routes, node->routes_n, &node->server, err);
    if (status != OK) {
        free(node->routes);
        node->routes = NULL;
    }
    return status;
}

static void close_http(struct node *node) {
    http_server_stop(&node->server, DRAIN_MS);
    free(node->routes);
    node->routes = NULL;
}

static enum status open_server_file(struct node *node, struct err *err) {
    atomic_store(&node->ready, true);
    struct server_file file = {
        .address = http_server_address(node->server), .version = CUPEL_VERSION, .tls = node_tls(node), .pid = host_self_pid(), .started_ms = node->started_ms};
    return server_file_write(&node->host, node->data_dir, &file, err);
}

static void close_server_file(struct node *node) { server_file_remove(&node->host, node->data_dir); }

/* ---- the order ---- */

static const struct step {
    const char *name;
    enum status (*open)(struct node *node, struct err *err);
    void (*close)(struct node *node);
} steps[] = {
    {"configuration", open_config, close_config},
    {"lock file", open_lock, close_lock},
    {"data format", open_format, NULL},
    {"log files", open_logs, close_logs},
    {"ledger", open_ledger, close_ledger},
    {"log", open_log, close_log},
    {"engine", open_engine, close_engine},
    {"lake", open_lake, close_lake},
    {"ingest", open_ingest, close_ingest},
    {"landing", node_open_landing, node_close_landing},
    {"flow", node_open_flow, node_close_flow},
    {"http", open_http, close_http},
    {"server file", open_server_file, close_server_file},
};
#define STEPS_N (sizeof steps / sizeof steps[0])

static void close_steps(struct node *node) {
    while (node->opened > 0) {
        const struct step *step = &steps[--node->opened];
        int64_t started_us = host_monotonic_us(&node->host);
        bool log_is_open = node->sink != NULL;
        if (step->close) step->close(node);
        if (log_is_open && node->sink)
            log_info("serve", "closed", LOG_STR("step", step->name), LOG_INT("took_us", host_monotonic_us(&node->host) - started_us), NULL);
    }
    mutex_destroy(&node->reload_lock);
    rwlock_destroy(&node->landing_lock);
    free(node->dir);
    free(node->data_dir);
    free(node);
}

enum status node_open(const struct node_options *options, struct node **out, struct buf *problems, struct err *err) {
    must(options->host && options->dir && out);
    struct node *node = mem_zalloc(sizeof *node);
    node->host = *options->host;
    node->options = *options;
    node->lock = -1;
    node->dir = mem_strdup(options->dir);
    node->data_dir = mem_printf("%s/data", options->dir);
    node->started_ms = host_wall_ms(&node->host);
    node->problems = problems;
    mutex_init(&node->reload_lock);
    rwlock_init(&node->landing_lock);
    for (; node->opened < STEPS_N; node->opened++) {
        int64_t started_us = host_monotonic_us(&node->host);
        enum status status = steps[node->opened].open(node, err);
        if (status != OK) {
            if (node->sink) log_error("serve", "opening failed", LOG_STR("step", steps[node->opened].name), LOG_STR("error", err ? err->text : ""), NULL);
            close_steps(node);
            return status;
        }
        if (node->sink)
            log_info("serve", "opened", LOG_STR("step", steps[node->opened].name), LOG_INT("took_us", host_monotonic_us(&node->host) - started_us), NULL);
    }
    node->problems = NULL;
    *out = node;
    return OK;
}

void node_run(struct node *node) {
    log_info("serve", "ready", LOG_STR("address", node_address(node)), LOG_STR("version", CUPEL_VERSION), NULL);
    host_notify_manager("READY=1");
    for (;;) {
        enum host_signal signal = host_signal_wait(-1);
        if (signal != HOST_SIGNAL_RELOAD) {
            log_info("serve", "stopping", LOG_STR("signal", signal == HOST_SIGNAL_INTERRUPT ? "SIGINT" : "SIGTERM"), NULL);
            return;
        }
        BUF_SCOPE(report);
        struct err err = {0};
        host_notify_manager("RELOADING=1");
        if (node_reload(node, &report, &err) != OK) log_error("serve", "reload refused, the old configuration stays", LOG_STR("error", err.text), NULL);
        host_notify_manager("READY=1");
    }
}

void node_close(struct node **node, bool flush) {
    if (!*node) return;
    atomic_store(&(*node)->draining, true);
    (*node)->flush_at_end = flush;
    if (!(*node)->options.command) host_notify_manager("STOPPING=1");
    close_steps(*node);
    *node = NULL;
}

const char *node_address(const struct node *node) { return http_server_address(node->server); }

bool node_tls(const struct node *node) { return !node->options.command && node->config->tls.cert != NULL; }

/* ---- reload ---- */

/* What is in force is replaced, not freed: requests under way still look at it. A reload is rare and a configuration small. */
static void retire_config(struct node *node, struct config *config) {
    node->config_old = mem_realloc(node->config_old, (node->config_old_n + 1) * sizeof *node->config_old);
    node->config_old[node->config_old_n++] = config;
}

static void replace_config(struct node *node, struct config *config) {
    retire_config(node, node->config);
    __atomic_store_n(&node->config, config, __ATOMIC_RELEASE);
}

static enum status apply_streams(struct node *node, struct arena *arena, const struct config *config, struct err *err) {
    struct ledger_stream *streams;
    size_t n;
    enum status status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    for (size_t i = 0; i < n && status == OK; i++) {
        if (streams[i].kind == KIND_STREAM) status = node_apply_stream(node, config, &streams[i], err);
    }
    return status;
}

static enum status configure_ingest(struct node *node, struct arena *arena, const struct config *config, struct err *err) {
    struct ingest_lists lists;
    enum status status = list_for_ingest(node, arena, config, &lists, err);
    return status != OK ? status : ingest_configure(node->ingest, lists.streams, lists.streams_n, lists.sources, lists.sources_n, err);
}

/* Streams first, so that nothing is offered that could not take an event. What fails later leaves streams that nobody uses yet, which does no harm; the rest
 * goes back to the old configuration. */
static enum status take_over(struct node *node, struct config *config, struct err *err) {
    ARENA_SCOPE(arena);
    enum status status = ensure_streams(node, arena, config, err);
    if (status == OK) status = apply_streams(node, arena, config, err);
    if (status == OK) status = declare_tables(node, config, err);
    if (status == OK) status = node_reload_flow(node, config, err);
    if (status == OK) status = configure_ingest(node, arena, config, err);
    if (status != OK) {
        node_revert_flow(node);
        return status;
    }
    engine_set_read_dirs(node->engine, read_dirs(arena, config));
    status = node_reload_landing(node, config, err);
    if (status != OK) {
        node_revert_flow(node);
        (void)configure_ingest(node, arena, node->config, NULL);
        engine_set_read_dirs(node->engine, read_dirs(arena, node->config));
        return status;
    }
    replace_config(node, config);
    return OK;
}

enum status node_reload(struct node *node, struct buf *report, struct err *err) {
    struct config *config = NULL;
    BUF_SCOPE(problems);
    WITH_LOCK(&node->reload_lock);
    enum status status = load_config(node, &problems, &config, err);
    if (status != OK) return status;
    BUF_SCOPE(restart);
    config_needs_restart(node->config, config, &restart);
    status = take_over(node, config, err);
    if (status != OK) {
        retire_config(node, config); /* a flow that started meanwhile may look at it */
        return status;
    }
    struct str rest = buf_view(&restart);
    struct json_writer w = json_write_to(report);
    json_begin_object(&w);
    json_put_int(&w, "streams", (int64_t)config->streams_n);
    json_put_int(&w, "sources", (int64_t)config->sources_n);
    json_name(&w, "needs_restart");
    json_begin_array(&w);
    while (rest.n > 0) {
        struct str option = str_cut(&rest, '\n');
        if (option.n == 0) continue;
        json_str(&w, option);
        log_warn("serve", "this option changes with the next start only", LOG_VIEW("option", option), NULL);
    }
    json_end_array(&w);
    json_end_object(&w);
    log_info("serve", "configuration reloaded", LOG_INT("streams", config->streams_n), LOG_INT("sources", config->sources_n), NULL);
    return OK;
}
