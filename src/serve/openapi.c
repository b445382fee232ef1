/* /v1/openapi.json: OpenAPI 3.1, made from the routes that are registered. https://spec.openapis.org/oas/v3.1.0
 *
 * Paths and path parameters come from the patterns, so that nothing can be missing; query parameters stand in the table below, by operation. */
#include <ctype.h>

#include "base/assert.h"
#include "serve/node_priv.h"

/* Query parameters of operations; the path's own come from the pattern. */
static const struct parameter_row {
    const char *operation, *name, *type, *text;
} parameters[] = {
    {"listEvents", "stream", "string", "only of this stream"},
    {"listEvents", "status", "string", "in_log or landed"},
    {"listEvents", "since", "string", "RFC 3339 time, date, or a duration back from now (2h)"},
    {"listEvents", "limit", "integer", "1 to 1000, default 100"},
    {"listEvents", "cursor", "string", "of the previous page"},
    {"showEvent", "trace", "boolean", "name the tables of models that it went to"},
    {"readEvents", "partition", "integer", "default 0"},
    {"readEvents", "offset", "string", "first offset to read, or earliest, latest"},
    {"readEvents", "limit", "integer", "records at most"},
    {"readEvents", "wait", "string", "how long to wait for a first record (10s)"},
    {"conservation", "stream", "string", "only this stream"},
    {"conservation", "deep", "boolean", "count the rows of bronze too"},
    {"compactTable", "open_hours", "boolean", "pack the hour under way too"},
    {"expireTable", "older_than", "string", "time, date or duration back from now"},
    {"deleteStream", "data", "boolean", "delete the bronze table too"},
    {"flush", "stream", "string", "only this stream"},
    {"logs", "level", "string", "debug, info, warn or error"},
    {"logs", "since", "string", "time, date or duration back from now"},
    {"logs", "event", "string", "an event id that the line names"},
    {"logs", "limit", "integer", "the last so many lines"},
    {"listRuns", "flow", "string", "only runs of this flow"},
    {"listRuns", "model", "string", "only runs of this model"},
    {"listRuns", "limit", "integer", "1 to 1000, default 50"},
    {"showKpi", "days", "integer", "1 to 3660, default 14: so many days up to the last one that has data"},
    {"showQuarantine", "limit", "integer", "1 to 10000, default 100"},
};

static void put_parameter(struct json_writer *w, const char *name, const char *in, const char *type, const char *text) {
    must(w->depth > 0);
    json_begin_object(w);
    json_put_text(w, "name", name);
    json_put_text(w, "in", in);
    json_put_bool(w, "required", strcmp(in, "path") == 0);
    if (text) json_put_text(w, "description", text);
    json_name(w, "schema");
    json_begin_object(w);
    json_put_text(w, "type", type);
    json_end_object(w);
    json_end_object(w);
}

static void put_parameters(struct json_writer *w, const struct http_route *route) {
    must(w->depth > 0);
    json_name(w, "parameters");
    json_begin_array(w);
    struct str rest = str_of(route->pattern);
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        char name[64];
        if (part.n < 3 || part.p[0] != '{' || part.n >= sizeof name) continue;
        part = str_make(part.p + 1, part.n - 2);
        if (str_ends(part, STR("..."))) part.n -= 3;
        memcpy(name, part.p, part.n);
        name[part.n] = '\0';
        put_parameter(w, name, "path", "string", NULL);
    }
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        if (route->operation && strcmp(parameters[i].operation, route->operation) == 0)
            put_parameter(w, parameters[i].name, "query", parameters[i].type, parameters[i].text);
    }
    json_end_array(w);
}

static void put_operation(struct json_writer *w, const struct http_route *route) {
    must(w->depth > 0);
    json_begin_object(w);
    json_put_text(w, "operationId", route->operation ? route->operation : route->pattern);
    if (route->summary) json_put_text(w, "summary", route->summary);
    put_parameters(w, route);
    if (strcmp(route->method, "POST") == 0 || strcmp(route->method, "PUT") == 0)
        json_name(w, "requestBody"), json_raw(w, STR("{\"content\":{\"application/json\":{}},\"required\":false}"));
    json_name(w, "responses");
    json_raw(w,
        STR("{\"2XX\":{\"description\":\"done\"},\"default\":{\"description\":\"a "
            "problem\",\"content\":{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/"
            "Problem\"}}}}}"));
    json_name(w, "security");
    json_raw(w, route->access == ACCESS_OPEN ? STR("[]") : STR("[{\"token\":[]}]"));
    json_end_object(w);
}

static bool described_before(const struct http_route *routes, size_t i) {
    for (size_t k = 0; k < i; k++) {
        if (strcmp(routes[k].pattern, routes[i].pattern) == 0) return true;
    }
    return false;
}

static void put_path(struct json_writer *w, const struct http_route *routes, size_t n, size_t i) {
    must(w->depth > 0);
    json_name(w, routes[i].pattern);
    json_begin_object(w);
    for (size_t k = i; k < n; k++) {
        if (strcmp(routes[k].pattern, routes[i].pattern) != 0) continue;
        char method[16] = "get";
        bool any = strcmp(routes[k].method, "*") == 0;
        for (size_t c = 0; !any && c < sizeof method - 1 && (method[c] = (char)tolower((unsigned char)routes[k].method[c])); c++) continue;
        json_name(w, any ? "post" : method);
        put_operation(w, &routes[k]);
    }
    json_end_object(w);
}

void openapi_write(const struct http_route *routes, size_t n, struct buf *out) {
    must(routes && out);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "openapi", "3.1.0");
    json_name(&w, "info");
    json_begin_object(&w);
    json_put_text(&w, "title", "Cupel");
    json_put_text(&w, "version", CUPEL_VERSION);
    json_put_text(&w, "description", "Self-hosted retail data pipeline. Times are RFC 3339 UTC; errors are application/problem+json (RFC 9457).");
    json_end_object(&w);
    json_name(&w, "paths");
    json_begin_object(&w);
    for (size_t i = 0; i < n; i++) {
        if (!described_before(routes, i)) put_path(&w, routes, n, i);
    }
    json_end_object(&w);
    json_name(&w, "components");
    json_raw(&w,
        STR("{\"securitySchemes\":{\"token\":{\"type\":\"http\",\"scheme\":\"bearer\"}},\"schemas\":{\"Problem\":{\"type\":\"object\",\"required\":[\"type\","
            "\"title\",\"status\"],"
            "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},"
            "\"errors\":{\"type\":"
            "\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"detail\":{\"type\":\"string\"},\"line\":{\"type\":\"integer\"},\"column\":{\"type\":"
            "\"integer\"}}}}}}}}"));
    json_end_object(&w);
}
