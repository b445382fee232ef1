#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "http/http_priv.h"

static struct metric requests_total = {
    .name = "cupel_http_requests_total", .help = "Requests answered, by route pattern and status code.", .kind = METRIC_COUNTER, .labels = "route,code"};
static struct metric request_seconds = {
    .name = "cupel_http_request_seconds", .help = "Time from a complete request head to the end of its answer.", .kind = METRIC_HISTOGRAM, .labels = "route"};

enum status route_compile(struct route *route, const struct http_route *spec, struct err *err) {
    must(spec->pattern && spec->pattern[0] == '/');
    memset(route, 0, sizeof *route);
    route->spec = *spec;
    struct str rest = str_of(spec->pattern + 1);
    while (rest.p) {
        struct str piece = str_cut(&rest, '/');
        if (route->parts_n == ROUTE_PARTS_MAX) return err_set(err, E_LIMIT, "route %s: more than %d parts", spec->pattern, ROUTE_PARTS_MAX);
        struct route_part *part = &route->parts[route->parts_n++];
        part->is_name = piece.n > 2 && piece.p[0] == '{' && piece.p[piece.n - 1] == '}';
        if (part->is_name) piece = (struct str){piece.p + 1, piece.n - 2};
        part->is_rest = part->is_name && str_ends(piece, STR("..."));
        if (part->is_rest) piece.n -= 3;
        if (part->is_rest && rest.p) return err_set(err, E_INVALID, "route %s: {...} must be the last part", spec->pattern);
        part->text = piece;
        route->literals += !part->is_name;
    }
    route_metrics_init(route, spec->pattern);
    return OK;
}

void route_metrics_init(struct route *route, const char *pattern) {
    if (!route->spec.pattern) route->spec.pattern = pattern;
    metric_register(&requests_total);
    route->seconds = metric_series(&request_seconds, pattern);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool percent_decode(struct str s, struct arena *arena, struct str *out) {
    if (s.n == 0 || !memchr(s.p, '%', s.n)) {
        *out = s;
        return s.n == 0 || !memchr(s.p, 0, s.n);
    }
    char *p = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int high = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1, low = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
            if (high < 0 || low < 0) return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (!c) return false;
        p[n++] = c;
    }
    p[n] = 0;
    *out = (struct str){p, n};
    return true;
}

/* Compares the pieces as received; names match any non-empty piece. */
static bool matches(const struct route *route, const struct str *pieces, size_t n, struct str path, struct str values[ROUTE_PARTS_MAX]) {
    if (n < route->parts_n || (n > route->parts_n && !route->parts[route->parts_n - 1].is_rest)) return false;
    for (size_t i = 0; i < route->parts_n; i++) {
        const struct route_part *part = &route->parts[i];
        if (part->is_rest) {
            values[i] = str_from(path, (size_t)(pieces[i].p - path.p));
            return true;
        }
        if (part->is_name ? pieces[i].n == 0 : !str_eq(part->text, pieces[i])) return false;
        values[i] = part->is_name ? pieces[i] : STR_NULL;
    }
    return true;
}

static bool method_matches(const struct route *route, struct str method) {
    return str_is(method, route->spec.method) || strcmp(route->spec.method, "*") == 0 || (str_is(method, "HEAD") && strcmp(route->spec.method, "GET") == 0);
}

static enum status decode_values(const struct route *route, struct str parts[ROUTE_PARTS_MAX], struct arena *arena, struct err *err) {
    for (size_t i = 0; i < route->parts_n; i++)
        if (parts[i].p && !percent_decode(parts[i], arena, &parts[i]))
            return err_set(err, E_INVALID, "path: part %zu has a NUL or a %% that is not followed by two hex digits", i + 1);
    return OK;
}

static enum status wrong_method(
    struct http_server *server, struct str method, const struct str *pieces, size_t n, struct str path, struct buf *allow, struct err *err) {
    struct str values[ROUTE_PARTS_MAX];
    for (size_t i = 0; i < server->routes_n; i++) {
        if (!matches(&server->routes[i], pieces, n, path, values)) continue;
        if (allow->n) buf_text(allow, ", ");
        buf_text(allow, server->routes[i].spec.method);
    }
    return err_set(err, E_UNSUPPORTED, "%.*s is not answered here; allowed: %.*s", STR_ARG(str_head(method, 32)), (int)allow->n, allow->p);
}

enum status route_find(struct http_server *server, struct str method, struct str path, struct arena *arena, struct route **out,
    struct str parts[ROUTE_PARTS_MAX], struct buf *allow, struct err *err) {
    must(path.n > 0);
    struct str pieces[ROUTE_PARTS_MAX * 2], rest = str_from(path, 1), values[ROUTE_PARTS_MAX];
    size_t n = 0;
    if (path.p[0] != '/') return err_set(err, E_INVALID, "path: must begin with /");
    for (rest.p = path.p + 1; rest.p && n < ROUTE_PARTS_MAX * 2;) pieces[n++] = str_cut(&rest, '/');
    struct route *best = NULL;
    size_t others = 0; /* routes of this path with another method */
    for (size_t i = 0; i < server->routes_n; i++) {
        struct route *route = &server->routes[i];
        if (!matches(route, pieces, n, path, values)) continue;
        if (!method_matches(route, method)) {
            others++;
            continue;
        }
        if (best && best->literals >= route->literals) continue;
        best = route;
        memcpy(parts, values, sizeof values[0] * route->parts_n);
    }
    if (!best && others) return wrong_method(server, method, pieces, n, path, allow, err);
    if (!best) return err_set(err, E_NOT_FOUND, "no such path: %.*s", STR_ARG(str_head(path, 200)));
    enum status st = decode_values(best, parts, arena, err);
    if (st == OK) *out = best;
    return st;
}

void route_count(struct route *route, int code, double seconds) {
    must(code >= 100 && code < 1000);
    series_observe(route->seconds, seconds);
    for (size_t i = 0; i < ROUTE_CODES_MAX; i++) {
        struct route_code *slot = &route->codes[i];
        int seen = atomic_load_explicit(&slot->code, memory_order_acquire);
        if (seen == code) {
            series_add(slot->series, 1);
            return;
        }
        if (seen == 0) { /* first of its code here: the registry hands the same series to everyone who asks at the same time */
            char text[16];
            snprintf(text, sizeof text, "%d", code);
            struct series *series = metric_series(&requests_total, route->spec.pattern, text);
            series_add(series, 1);
            int expected = 0;
            if (atomic_compare_exchange_strong(&slot->code, &expected, -1)) { /* -1: being filled */
                slot->series = series;
                atomic_store_explicit(&slot->code, code, memory_order_release);
            }
            return;
        }
    }
    char text[16];
    snprintf(text, sizeof text, "%d", code);
    series_add(metric_series(&requests_total, route->spec.pattern, text), 1);
}
