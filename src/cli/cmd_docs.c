/* cupel docs: a static site about the data: tables, columns, where they come from, what is expected of them and how fresh they are.
 *
 * The page and its script are embedded (web/site, web/src/docs.ts); this command writes the one file with content, data.js. The site works from a folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/embedded.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/times.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "config/config.h"
#include "http/http_client.h"

extern const struct embedded_file dashboard_files[]; /* made by tools/build-web */

#define SITE_PREFIX "site/"

/* ---- what a table's page shows ---- */

static json_t *names_of(const json_t *rows) {
    json_t *out = json_array(), *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *name = text_at(row, "name");
        if (*name) json_array_append_new(out, json_string(name));
    }
    return out;
}

static json_t *shown_columns(const json_t *columns) {
    json_t *out = json_array(), *column;
    size_t i;
    json_array_foreach(columns, i, column) {
        if (!json_is_true(json_object_get(column, "hidden"))) json_array_append(out, column);
    }
    return out;
}

/* Members that the page takes as they are; missing ones stay missing. */
static json_t *picked(const json_t *from, const char *const *names) {
    json_t *out = json_object();
    for (; *names; names++) {
        json_t *value = json_object_get(from, *names);
        if (value) json_object_set(out, *names, value);
    }
    return out;
}

static json_t *model_page(const json_t *model) {
    static const char *const plain[] = {"name", "kind", "description", "owner", "file", "sql", "checks", "freshness", NULL};
    json_t *page = picked(model, plain), *run = json_object_get(model, "last_run"), *tags = json_object_get(model, "tags");
    json_t *rows = json_object_get(json_object_get(model, "table"), "rows");
    must(page);
    json_object_set_new(page, "tags", tags ? json_incref(tags) : json_array());
    json_object_set_new(page, "inputs", names_of(json_object_get(model, "inputs")));
    json_object_set_new(page, "columns", shown_columns(json_object_get(model, "columns")));
    if (!json_object_get(page, "checks")) json_object_set_new(page, "checks", json_array());
    if (rows) json_object_set(page, "rows", rows);
    if (!json_is_object(run)) return page;
    json_t *last = json_object();
    json_object_set(last, "status", json_object_get(run, "status"));
    json_object_set(last, "at", json_object_get(run, "started_at"));
    json_object_set(last, "error", json_object_get(run, "error"));
    json_object_set_new(page, "last_run", last);
    return page;
}

/* A table that no model makes: bronze, quarantine, copies made by others. */
static json_t *table_page(const json_t *table) {
    json_t *page = json_object();
    const char *schema = text_at(table, "schema"), *name = text_at(table, "name");
    AUTO_FREE char *full = mem_printf("%s.%s", schema, name);
    json_object_set_new(page, "name", json_string(full));
    json_object_set_new(page, "kind", json_string(strcmp(schema, "bronze") == 0 ? "bronze" : "table"));
    json_object_set_new(page, "tags", json_array());
    json_object_set_new(page, "inputs", json_array());
    json_object_set_new(page, "checks", json_array());
    json_object_set(page, "columns", json_object_get(table, "columns"));
    json_object_set(page, "rows", json_object_get(table, "rows"));
    return page;
}

/* ---- collecting ---- */

static enum status get_json(struct reach *reach, const char *path, json_t **out, struct err *err) {
    return reach_json(reach, &(struct ask){.path = path}, out, err);
}

static enum status get_named(struct reach *reach, const char *prefix, const char *name, json_t **out, struct err *err) {
    BUF_SCOPE(path);
    buf_text(&path, prefix);
    url_escape(&path, str_of(name));
    return get_json(reach, buf_cstr(&path), out, err);
}

static enum status add_models(struct reach *reach, json_t *pages, json_t *known, struct err *err) {
    json_t *list, *row;
    size_t i;
    enum status status = get_json(reach, "/v1/models", &list, err);
    if (status != OK) return status;
    json_array_foreach(json_object_get(list, "models"), i, row) {
        json_t *model;
        const char *name = text_at(row, "name");
        if (!*name) continue;
        status = get_named(reach, "/v1/models/", name, &model, err);
        if (status != OK) break;
        json_array_append_new(pages, model_page(model));
        json_object_set_new(known, name, json_true());
        json_decref(model);
    }
    json_decref(list);
    return status;
}

static enum status add_tables(struct reach *reach, json_t *pages, const json_t *known, struct err *err) {
    json_t *list, *row;
    size_t i;
    enum status status = get_json(reach, "/v1/tables", &list, err);
    if (status != OK) return status;
    json_array_foreach(json_object_get(list, "tables"), i, row) {
        json_t *table;
        const char *schema = text_at(row, "schema"), *name = text_at(row, "name");
        AUTO_FREE char *full = mem_printf("%s.%s", schema, name);
        if (json_object_get(known, full) || strcmp(schema, "cupel") == 0) continue;
        status = get_named(reach, "/v1/tables/", full, &table, err);
        if (status == E_NOT_FOUND) { /* gone meanwhile */
            status = OK;
            continue;
        }
        if (status != OK) break;
        json_array_append_new(pages, table_page(table));
        json_decref(table);
    }
    json_decref(list);
    return status;
}

/* ---- writing ---- */

static enum status write_data(struct cli *cli, const char *dir, json_t *site, struct err *err) {
    BUF_SCOPE(out);
    char *text = json_dumps(site, JSON_INDENT(1) | JSON_ENSURE_ASCII);
    must(text);
    buf_text(&out, "window.cupelDocs = ");
    buf_text(&out, text);
    buf_text(&out, ";\n");
    free(text);
    AUTO_FREE char *path = mem_printf("%s/data.js", dir);
    return fs_write_atomic(cli->host.fs, path, buf_view(&out), err);
}

static enum status write_site(struct cli *cli, const char *dir, json_t *site, struct err *err) {
    enum status status = fs_mkdirs(cli->host.fs, dir, err);
    for (const struct embedded_file *file = dashboard_files; status == OK && file->path; file++) {
        if (strncmp(file->path, SITE_PREFIX, strlen(SITE_PREFIX)) != 0) continue;
        AUTO_FREE char *path = mem_printf("%s/%s", dir, file->path + strlen(SITE_PREFIX));
        status = fs_write_atomic(cli->host.fs, path, str_make((const char *)file->bytes, file->n), err);
    }
    return status == OK ? write_data(cli, dir, site, err) : status;
}

/* ---- the command ---- */

static enum status collect(struct cli *cli, json_t *site, struct err *err) {
    char *dir;
    struct reach *reach = NULL;
    struct config *config = NULL;
    struct config_problems problems = {0};
    enum status status = project_find(cli, &dir, err);
    if (status == OK) status = config_load(&cli->host, dir, &config, &problems, err);
    config_problems_free(&problems);
    if (status == OK) status = reach_open(cli, &(struct reach_options){0}, &reach, err);
    if (status != OK) {
        config_free(&config);
        return status;
    }
    char now[RFC3339_MAX];
    time_format_ms(host_wall_ms(&cli->host), now);
    json_object_set_new(site, "project", json_string(config->project));
    json_object_set_new(site, "timezone", json_string(config->timezone));
    json_object_set_new(site, "version", json_string(CUPEL_VERSION));
    json_object_set_new(site, "made_at", json_string(now));
    json_t *pages = json_array(), *known = json_object();
    json_object_set_new(site, "tables", pages);
    status = add_models(reach, pages, known, err);
    if (status == OK) status = add_tables(reach, pages, known, err);
    json_decref(known);
    reach_close(&reach);
    config_free(&config);
    return status;
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    const char *dir = cli_value(cli, "output") ? cli_value(cli, "output") : "docs-site";
    json_t *site = json_object();
    enum status status = collect(cli, site, &err);
    if (status == OK) status = write_site(cli, dir, site, &err);
    size_t tables = json_array_size(json_object_get(site, "tables"));
    json_decref(site);
    if (status != OK) return status == E_CONFIG || status == E_NOT_FOUND ? cli_fail(&err) : cli_failed(&err);
    AUTO_FREE char *page = mem_printf("%s/index.html", dir);
    if (cli->json) {
        struct buf out = BUF_INIT;
        struct json_writer w = json_write_to(&out);
        json_begin_object(&w);
        json_put_int(&w, "tables", (int64_t)tables);
        json_put_text(&w, "page", page);
        json_end_object(&w);
        print_text(buf_view(&out));
        putchar('\n');
        buf_free(&out);
    } else {
        printf("%zu tables: %s\n", tables, page);
    }
    return 0;
}

static const struct cli_option options[] = {
    {.name = "output", .letter = 'o', .value = "DIR", .help = "folder to write (docs-site)", .complete = COMPLETE_DIR}, {0}};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "write the data documentation site",
    .description =
        "Writes a folder with a static page about every table: meaning and columns from the models' headers, the graph of tables (and of columns where the "
        "SQL tells), expectations with their last results, freshness and row counts. It needs no server to be looked at.",
    .examples = "cupel docs\ncupel docs -o /srv/www/data",
    .options = options,
    .run = run,
}};

const struct command_group cmd_docs = {.name = "docs", .summary = "data documentation site", .commands = commands, .commands_n = 1};
