/* What the routes share: offloading, parameters, JSON bodies, SQL texts.
 *
 * Parameters are checked where they are read, with the name and the limit in the message; what a caller gets is in range. Memory of a request is its arena and
 * goes with the answer. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"
#include "serve/node_priv.h"

/* ---- running and answering ---- */

struct work {
    struct node *node;
    struct http_request *r;
    node_handler f;
    node_maker make; /* f NULL */
};

static void answer_made(struct node *node, struct http_request *r, node_maker make) {
    struct buf out = BUF_INIT;
    struct err err = {0};
    if (make(node, r, &out, &err) != OK) {
        buf_free(&out);
        node_problem(r, &err);
        return;
    }
    node_answer_json(r, 200, &out);
}

static void run_work(void *context) {
    struct work *work = context;
    if (work->f)
        work->f(work->node, work->r);
    else
        answer_made(work->node, work->r, work->make);
}

static void offload(struct http_request *r, struct work content) {
    struct work *work = arena_new_one(http_arena(r), struct work);
    *work = content;
    struct err err = {0};
    if (http_offload(http_server_of(r), run_work, work, &err) != OK) node_problem(r, &err);
}

void node_offload(struct node *node, struct http_request *r, node_handler f) {
    must(node && r && f);
    offload(r, (struct work){.node = node, .r = r, .f = f});
}

void node_offload_json(struct node *node, struct http_request *r, node_maker make) {
    must(node && r && make);
    offload(r, (struct work){.node = node, .r = r, .make = make});
}

void node_problem(struct http_request *r, const struct err *err) {
    must(err->status != OK);
    http_answer_problem(r, err, STR_NULL);
}

void node_answer_json(struct http_request *r, int code, struct buf *json) {
    buf_char(json, '\n');
    http_answer_take(r, code, "application/json", json);
}

/* ---- parameters ---- */

enum status query_number(struct http_request *r, const char *name, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err) {
    struct str text = http_query(r, name);
    int64_t value = fallback;
    if (text.p && (!str_to_i64(text, &value) || value < min || value > max))
        return err_set(err, E_INVALID, "%s: '" STR_FMT "' is not a number from %lld to %lld", name, STR_ARG(text), (long long)min, (long long)max);
    *out = value;
    return OK;
}

enum status query_time(struct node *node, struct http_request *r, const char *name, int64_t *out_us, struct err *err) {
    struct str text = http_query(r, name);
    int64_t value;
    if (!text.p) return OK;
    if (str_to_duration_ms(text, &value)) {
        *out_us = host_wall_us(&node->host) - value * 1000;
        return OK;
    }
    if (!time_parse_us(text, &value))
        return err_set(
            err, E_INVALID, "%s: '" STR_FMT "' is neither a time (2026-11-20T10:00:00Z), a date nor a duration back from now (2h)", name, STR_ARG(text));
    *out_us = value;
    return OK;
}

bool query_flag(struct http_request *r, const char *name) {
    struct str text = http_query(r, name);
    return text.p && (text.n == 0 || str_is(text, "true") || str_is(text, "1") || str_is(text, "yes"));
}

enum status node_stream(struct node *node, struct arena *arena, struct str name, struct ledger_stream *out, struct err *err) {
    struct ledger_stream *list;
    size_t n;
    enum status status = ledger_stream_list(node->ledger, arena, false, &list, &n, err);
    if (status != OK) return status;
    const char *nearest = NULL;
    int best = 4;
    for (size_t i = 0; i < n; i++) {
        if (list[i].kind != KIND_STREAM) continue;
        if (str_is(name, list[i].name)) {
            *out = list[i];
            return OK;
        }
        int distance = str_distance(name, str_of(list[i].name));
        if (distance < best) {
            best = distance;
            nearest = list[i].name;
        }
    }
    if (nearest) return err_set(err, E_NOT_FOUND, "no stream '" STR_FMT "'; did you mean '%s'?", STR_ARG(str_head(name, 100)), nearest);
    return err_set(err, E_NOT_FOUND, "no stream '" STR_FMT "'; add it to cupel.yaml under streams: and reload", STR_ARG(str_head(name, 100)));
}

enum status table_split(struct arena *arena, struct str full, const char **schema, const char **name, struct err *err) {
    struct str rest = full;
    struct str first = str_cut(&rest, '.');
    if (first.n == 0 || rest.n == 0 || memchr(rest.p, '.', rest.n) || memchr(full.p, '\0', full.n))
        return err_set(err, E_INVALID, "'" STR_FMT "' is not a table name like bronze.orders", STR_ARG(str_head(full, 200)));
    *schema = arena_strndup(arena, first.p, first.n);
    *name = arena_strndup(arena, rest.p, rest.n);
    return OK;
}

/* ---- JSON bodies ---- */

struct body {
    struct json_scanner *scanner; /* NULL: the body was empty */
    struct arena *arena;
};

enum status body_open(struct http_request *r, struct body **out, struct err *err) {
    struct str text = http_body(r);
    struct body *body = arena_new_one(http_arena(r), struct body);
    body->arena = http_arena(r);
    if (str_trim(text).n == 0) {
        *out = body;
        return OK;
    }
    body->scanner = json_scanner_new(text.n + JSON_PADDING);
    enum status status = json_scan(body->scanner, text, err);
    if (status == OK && json_scan_kind(body->scanner) != '{') status = err_set(err, E_INVALID, "the body must be one JSON object");
    if (status != OK) {
        json_scanner_free(&body->scanner);
        return status;
    }
    *out = body;
    return OK;
}

void body_close(struct body **body) {
    if (*body && (*body)->scanner) json_scanner_free(&(*body)->scanner);
    *body = NULL;
}

bool body_text(struct body *body, const char *path, struct str *out) {
    struct str value;
    if (!body->scanner || !json_scan_path(body->scanner, str_of(path), &value)) return false;
    *out = arena_str(body->arena, value);
    return true;
}

enum status body_number(struct body *body, const char *path, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err) {
    struct str text;
    int64_t value = fallback;
    if (body_text(body, path, &text) && (!str_to_i64(text, &value) || value < min || value > max))
        return err_set(
            err, E_INVALID, "%s: '" STR_FMT "' is not a number from %lld to %lld", path, STR_ARG(str_head(text, 60)), (long long)min, (long long)max);
    *out = value;
    return OK;
}

/* ---- SQL ---- */

enum status node_rows(struct node *node, const char *sql, struct buf *out, struct err *err) {
    struct lake_pin *pin;
    enum status status = lake_pin(node->lake, &pin, err);
    if (status != OK) return status;
    status = engine_rows(node->engine, lake_pin_view(pin), sql, out, err);
    lake_unpin(&pin);
    return status;
}

void route_add(struct route_list *routes, struct http_route route) {
    must(route.method && route.pattern && route.handler && route.operation && route.summary);
    if (routes->n == routes->cap) {
        routes->cap = routes->cap ? routes->cap * 2 : 64;
        routes->list = mem_realloc(routes->list, routes->cap * sizeof *routes->list);
    }
    routes->list[routes->n++] = route;
}
