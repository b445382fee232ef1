/* The landing watcher and the polls of `connect` inside the node, and /v1/sources.
 *
 * `connect` knows neither configuration nor HTTP: this file translates sources, lends it the way of events into streams (ingest_append), and replaces the whole
 * watcher at a reload. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing.h"
#include "connect/poll.h"
#include "serve/node_priv.h"

/* What the watcher works with; it does not copy its sources. Replaced as a whole by a reload. */
struct landing_glue {
    struct landing *landing;
    struct landing_source *sources;
    size_t sources_n;
    struct poll *poll;
    struct poll_source *polled;
    size_t polled_n;
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

static struct poll_source poll_of(const struct config *config, const struct config_source *c) {
    const struct config_stream *stream = config_find_stream(config, str_of(c->stream));
    return (struct poll_source){.name = c->name,
        .url = c->url,
        .stream = c->stream,
        .confidential = stream && stream->protect.paths_n > 0,
        .every_ms = c->every_ms,
        .timeout_ms = c->timeout_ms,
        .backoff_max_ms = c->backoff_max_ms,
        .headers = c->request_headers,
        .headers_n = c->request_headers_n,
        .items = c->items};
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
    poll_stop(&(*glue)->poll);
    landing_stop(&(*glue)->landing);
    free((*glue)->sources);
    free((*glue)->polled);
    free(*glue);
    *glue = NULL;
}

static enum status make_glue(struct node *node, const struct config *config, struct landing_glue **out, struct err *err) {
    struct landing_glue *glue = mem_zalloc(sizeof *glue);
    glue->sources = mem_zalloc((config->sources_n + 1) * sizeof *glue->sources);
    glue->polled = mem_zalloc((config->sources_n + 1) * sizeof *glue->polled);
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type == SOURCE_LANDING) glue->sources[glue->sources_n++] = source_of(&config->sources[i]);
        if (config->sources[i].type == SOURCE_POLL) glue->polled[glue->polled_n++] = poll_of(config, &config->sources[i]);
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
    struct poll_options polls = {.host = &node->host, .sources = glue->polled, .sources_n = glue->polled_n, .append = append, .context = node};
    glue->poll = poll_open(&polls);
    if (!node->options.command) {
        landing_start(glue->landing);
        poll_start(glue->poll);
    }
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

static void put_other_sources(struct json_writer *w, const struct config *config, bool watched_too) {
    for (size_t i = 0; i < config->sources_n; i++) {
        if (config->sources[i].type != SOURCE_WEBHOOK && !watched_too) continue;
        BUF_SCOPE(source);
        config_source_json(&config->sources[i], &source);
        json_raw(w, str_trim(buf_view(&source)));
    }
}

static enum status list_sources(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    BUF_SCOPE(landing);
    BUF_SCOPE(polled);
    struct str *list = NULL, *polls = NULL;
    size_t n = 0, polls_n = 0;
    rwlock_read(&node->landing_lock);
    enum status status = node->landing ? landing_list_json(node->landing->landing, &landing, err) : OK;
    if (node->landing) poll_list_json(node->landing->poll, &polled);
    rwlock_unlock(&node->landing_lock);
    if (status == OK && landing.n) status = json_split_array(str_trim(buf_view(&landing)), 100000, &list, &n, err);
    if (status == OK && polled.n) status = json_split_array(str_trim(buf_view(&polled)), 100000, &polls, &polls_n, err);
    if (status != OK) {
        free(list);
        return status;
    }
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "sources");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) json_raw(&w, list[i]);
    for (size_t i = 0; i < polls_n; i++) json_raw(&w, polls[i]);
    put_other_sources(&w, node_config(node), landing.n == 0);
    json_end_array(&w);
    json_end_object(&w);
    free(list);
    free(polls);
    return OK;
}

static enum status source_named(struct node *node, struct http_request *r, const struct config_source **out, struct err *err) {
    struct str wanted = http_part(r, "source");
    *out = config_find_source(node_config(node), wanted);
    if (!*out) return err_set(err, E_NOT_FOUND, "no source '" STR_FMT "' in cupel.yaml", STR_ARG(str_head(wanted, 100)));
    if ((*out)->type == SOURCE_WEBHOOK)
        return err_set(err, E_UNSUPPORTED, "%s is a webhook source: only landing and poll sources can be run or tested", (*out)->name);
    return OK;
}

static enum status run_landing(struct node *node, const char *name, struct json_writer *w, struct err *err) {
    struct landing_outcome done = {0};
    enum status status = landing_run_once(node->landing->landing, name, &done, err);
    if (status != OK) return status;
    json_put_int(w, "files", (int64_t)done.files);
    json_put_int(w, "landed", (int64_t)done.landed);
    json_put_int(w, "rejected", (int64_t)done.rejected);
    json_put_int(w, "already", (int64_t)done.already);
    json_put_int(w, "rows", (int64_t)done.rows);
    json_put_int(w, "quarantined", (int64_t)done.quarantined);
    return OK;
}

static enum status run_poll(struct node *node, const char *name, struct json_writer *w, struct err *err) {
    struct poll_outcome done;
    enum status status = poll_run_once(node->landing->poll, name, &done, err);
    if (status != OK) return status;
    json_put_int(w, "code", done.code);
    json_put_int(w, "records", (int64_t)done.records);
    json_put_int(w, "accepted", (int64_t)done.accepted);
    json_put_int(w, "refused", (int64_t)done.refused);
    return OK;
}

static enum status run_source(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    const struct config_source *source;
    enum status status = source_named(node, r, &source, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "source", source->name);
    rwlock_read(&node->landing_lock);
    if (!node->landing) {
        status = err_set(err, E_UNAVAILABLE, "the watcher is not running");
    } else if (source->type == SOURCE_POLL) {
        status = run_poll(node, source->name, &w, err);
    } else {
        status = run_landing(node, source->name, &w, err);
    }
    rwlock_unlock(&node->landing_lock);
    json_end_object(&w);
    return status;
}

static enum status test_source(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    const struct config_source *source;
    struct str path = http_query(r, "path");
    enum status status = source_named(node, r, &source, err);
    if (status != OK) return status;
    rwlock_read(&node->landing_lock);
    if (!node->landing) {
        status = err_set(err, E_UNAVAILABLE, "the watcher is not running");
    } else if (source->type == SOURCE_POLL) {
        status = poll_test(node->landing->poll, source->name, out, err);
    } else {
        status = landing_test(node->landing->landing, source->name, path.n ? arena_strndup(http_arena(r), path.p, path.n) : NULL, out, err);
    }
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
        (struct http_route){"POST", "/v1/sources/{source}/run", on_run, node, .operation = "runSource", .access = ACCESS_ADMIN,
            .summary = "Take the files that wait now, or ask the polled address now"});
    route_add(routes,
        (struct http_route){"POST", "/v1/sources/{source}/test", on_test, node, .operation = "testSource", .access = ACCESS_ADMIN,
            .summary = "How the first waiting file would be read, or what the polled address answers; changes nothing"});
}
