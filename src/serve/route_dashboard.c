/* The dashboard: one page, one script, one style sheet, made from web/ at build time. It holds no data and needs no token: what it shows it asks the API
 * for. */
#include <stdio.h>

#include "base/assert.h"
#include "base/embedded.h"
#include "serve/node_priv.h"

extern const struct embedded_file dashboard_files[]; /* made by tools/build-web */

static const char *content_type(const char *path) {
    struct str name = str_of(path);
    if (str_ends(name, STR(".html"))) return "text/html; charset=utf-8";
    if (str_ends(name, STR(".js"))) return "text/javascript; charset=utf-8";
    if (str_ends(name, STR(".css"))) return "text/css; charset=utf-8";
    return "application/octet-stream";
}

static void answer_file(struct http_request *r, const struct embedded_file *file) {
    must(file->path && file->hash);
    char tag[48];
    snprintf(tag, sizeof tag, "\"%s\"", file->hash);
    http_add_header(r, "ETag", tag);
    http_add_header(r, "Cache-Control", "no-cache"); /* asked every time, answered with 304 until the program is another one */
    http_add_header(r, "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'");
    http_add_header(r, "X-Content-Type-Options", "nosniff");
    http_add_header(r, "Referrer-Policy", "no-referrer");
    struct str known = http_header(r, "If-None-Match");
    if (known.p && str_find(known, str_of(tag)) >= 0) {
        http_answer(r, 304, content_type(file->path), STR(""));
    } else {
        http_answer(r, 200, content_type(file->path), str_make((const char *)file->bytes, file->n));
    }
}

static void answer_path(struct http_request *r, struct str path) {
    for (const struct embedded_file *file = dashboard_files; file->path; file++) {
        if (str_eq(str_of(file->path), path)) {
            answer_file(r, file);
            return;
        }
    }
    struct err err = {0};
    err_set(&err, E_NOT_FOUND, "there is no such page");
    node_problem(r, &err);
}

static void on_page(void *context, struct http_request *r) { answer_path(r, STR("index.html")); }

static void on_file(void *context, struct http_request *r) { answer_path(r, str_from(http_path(r), 1)); }

void routes_dashboard(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes, (struct http_route){"GET", "/", on_page, node, .operation = "dashboard", .access = ACCESS_OPEN, .summary = "The dashboard (HTML)"});
    route_add(
        routes, (struct http_route){"GET", "/dashboard.js", on_file, node, .operation = "dashboardScript", .access = ACCESS_OPEN, .summary = "Its script"});
    route_add(routes,
        (struct http_route){"GET", "/dashboard.css", on_file, node, .operation = "dashboardStyle", .access = ACCESS_OPEN, .summary = "Its style sheet"});
}
