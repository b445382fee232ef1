/* The landing watcher of `connect` inside the node, and /v1/sources.
 *
 * `connect` knows neither configuration nor HTTP: this file translates sources, lends it the way of events into streams (ingest_append), and replaces the whole
 * watcher at a reload. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing.h"
#include "serve/node_priv.h"

/* What the watcher works with; it does not copy its sources. Replaced as a whole by a reload. */
struct landing_glue {
    struct landing *landing;
    struct landing_source *sources;
    size_t sources_n;
};

static enum landing_format format_of(enum config_format format) {
    switch (format) {
    case FORMAT_AUTO: return LANDING_AUTO;
    case FORMAT_CSV: return LANDING_CSV;
    case FORMAT_TSV: return LANDING_TSV;
    case FORMAT_JSON: return LANDING_JSON;
    case FORMAT_NDJSON: return LANDING_NDJSON;
    case FORMAT_PARQUET: return LANDING_PARQUET;
    case FORMAT_LINES: return LANDING_LINES;
    }
    must_not();
}

static struct landing_source source_of(const struct config_source *c) {
    return (struct landing_source){.name = c->name,
        .folder = c->path,
        .table = c->table,
        .stream = c->table ? NULL : c->stream,
        .ready_when_renamed = c->ready == READY_RENAME,
        .quiet_ms = c->quiet_ms,
        .protect = c->protect.paths_n ? &c->protect : NULL,
        .reading = {.format = format_of(c->format),
            .delimiter = c->delimiter,
            .quote = c->quote,
            .escape = c->escape,
            .no_header = c->has_header == TRI_NO,
            .encoding = c->file_encoding,
            .nulls = c->nulls,
            .nulls_n = c->nulls_n,
            .record_bytes_max = c->record_bytes_max,
            .columns_max = c->columns_max,
            .file_bytes_max = c->file_bytes_max}};
}

/* ---- call-backs of the watcher ---- */

static enum status append(void *context, const struct landing_append *append, uint32_t *accepted, size_t *bad, struct err *err) {
    struct node *node = context;
    struct ingest_append request = {.stream = append->stream,
        .source = append->source,
        .payloads = append->payloads,
        .n = append->n,
        .idempotency_key = append->idempotency_key,
        .body_hash = append->body_hash};
    return ingest_append(node->ingest, &request, accepted, bad, err);
}

static enum status stream_number(void *context, const char *stream, uint16_t *number, struct err *err) {
    struct node *node = context;
    struct ledger_stream found;
    ARENA_SCOPE(arena);
    enum status status = node_stream(node, arena, str_of(stream), &found, err);
    if (status == OK) *number = found.number;
    return status;
}

/* ---- life ---- */

static void free_glue(struct landing_glue **glue) {
    if (!*glue) return;
    landing_stop(&(*glue)->landing);
    free((*glue)->sources);
    free(*glue);
    *glue = NULL;
}

static enum status make_glue(struct node *node, const struct config *config, struct landing_glue **out, struct err *err) {
    struct landing_glue *glue = mem_zalloc(sizeof *glue);
    glue->sources = mem_zalloc((config->sources_n + 1) * sizeof *glue->sources);
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type == SOURCE_LANDING) glue->sources[glue->sources_n++] = source_of(&config->sources[i]);
    }
    struct landing_options options = {.host = &node->host,
        .ledger = node->ledger,
        .engine = node->engine,
        .lake = node->lake,
        .sources = glue->sources,
        .sources_n = glue->sources_n,
        .append = append,
        .stream_number = stream_number,
        .context = node};
    enum status status = landing_open(&options, &glue->landing, err);
    if (status != OK) {
        free_glue(&glue);
        return status;
    }
    if (!node->options.command) landing_start(glue->landing);
    *out = glue;
    return OK;
}

/* A short command leaves the files to the server: reconciling them may take long. */
enum status node_open_landing(struct node *node, struct err *err) {
    if (node->options.command && !node->options.landing) return OK;
    return make_glue(node, node->config, &node->landing, err);
}

void node_close_landing(struct node *node) { free_glue(&node->landing); }

/* The old watcher ends its file first: two of them never look at one folder. */
enum status node_reload_landing(struct node *node, const struct config *config, struct err *err) {
    rwlock_write(&node->landing_lock);
    free_glue(&node->landing);
    enum status status = make_glue(node, config, &node->landing, err);
    if (status != OK && make_glue(node, node->config, &node->landing, NULL) != OK)
        log_error("serve", "no folder is watched any more until the next reload", NULL);
    rwlock_unlock(&node->landing_lock);
    return status;
}

/* ---- routes ---- */

static void put_other_sources(struct json_writer *w, const struct config *config, bool landing_too) {
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type == SOURCE_LANDING && !landing_too) continue;
        BUF_SCOPE(source);
        config_source_json(&config->sources[i], &source);
        json_raw(w, str_trim(buf_view(&source)));
    }
}

static enum status list_sources(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    BUF_SCOPE(landing);
    struct str *list = NULL;
    size_t n = 0;
    rwlock_read(&node->landing_lock);
    enum status status = node->landing ? landing_list_json(node->landing->landing, &landing, err) : OK;
    rwlock_unlock(&node->landing_lock);
    if (status == OK && landing.n) status = json_split_array(str_trim(buf_view(&landing)), 100000, &list, &n, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "sources");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) json_raw(&w, list[i]);
    put_other_sources(&w, node_config(node), landing.n == 0);
    json_end_array(&w);
    json_end_object(&w);
    free(list);
    return OK;
}

static enum status landing_named(struct node *node, struct http_request *r, const char **name, struct err *err) {
    struct str wanted = http_part(r, "source");
    const struct config_source *source = config_find_source(node_config(node), wanted);
    if (!source) return err_set(err, E_NOT_FOUND, "no source '" STR_FMT "' in cupel.yaml", STR_ARG(str_head(wanted, 100)));
    if (source->type != SOURCE_LANDING)
        return err_set(err, E_UNSUPPORTED, "%s is a %s source: only landing sources can be run or tested", source->name, config_source_type_name(source->type));
    *name = source->name;
    return OK;
}

static enum status run_source(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    const char *name;
    struct landing_outcome done = {0};
    enum status status = landing_named(node, r, &name, err);
    if (status != OK) return status;
    rwlock_read(&node->landing_lock);
    status = node->landing ? landing_run_once(node->landing->landing, name, &done, err) : err_set(err, E_UNAVAILABLE, "the watcher is not running");
    rwlock_unlock(&node->landing_lock);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "source", name);
    json_put_int(&w, "files", (int64_t)done.files);
    json_put_int(&w, "landed", (int64_t)done.landed);
    json_put_int(&w, "rejected", (int64_t)done.rejected);
    json_put_int(&w, "already", (int64_t)done.already);
    json_put_int(&w, "rows", (int64_t)done.rows);
    json_put_int(&w, "quarantined", (int64_t)done.quarantined);
    json_end_object(&w);
    return OK;
}

static enum status test_source(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    const char *name;
    struct str path = http_query(r, "path");
    enum status status = landing_named(node, r, &name, err);
    if (status != OK) return status;
    rwlock_read(&node->landing_lock);
    status = node->landing ? landing_test(node->landing->landing, name, path.n ? arena_strndup(http_arena(r), path.p, path.n) : NULL, out, err)
                           : err_set(err, E_UNAVAILABLE, "the watcher is not running");
    rwlock_unlock(&node->landing_lock);
    return status;
}

JSON_HANDLER(on_list, list_sources)
JSON_HANDLER(on_run, run_source)
JSON_HANDLER(on_test, test_source)

void routes_sources(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){
            "GET", "/v1/sources", on_list, node, .operation = "listSources", .access = ACCESS_READ, .summary = "Sources, and what waits in watched folders"});
    route_add(routes,
        (struct http_route){
            "POST", "/v1/sources/{source}/run", on_run, node, .operation = "runSource", .access = ACCESS_ADMIN, .summary = "Take the files that wait now"});
    route_add(routes,
        (struct http_route){"POST", "/v1/sources/{source}/test", on_test, node, .operation = "testSource", .access = ACCESS_ADMIN,
            .summary = "How the first waiting file would be read; changes nothing"});
}
