/* cupel source list|run|test: where data comes from.
 *
 * `run` takes what waits without the wait for quiet; `test` changes nothing and tells how a file would be read, which is the fastest way to a working
 * configuration. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

static void print_list(struct cli *cli, json_t *answer) {
    must(cli->command != NULL);
    static const struct column columns[] = {{"SOURCE", "name", COLUMN_TEXT}, {"TYPE", "type", COLUMN_TEXT}, {"TARGET", "target", COLUMN_TEXT},
        {"FROM", "folder", COLUMN_TEXT}, {"WAITING", "waiting", COLUMN_NUMBER}};
    json_t *rows = json_object_get(answer, "sources"), *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        if (json_object_get(row, "folder") && !json_object_get(row, "type")) json_object_set_new(row, "type", json_string("landing"));
        if (!json_object_get(row, "folder")) json_object_set(row, "folder", json_object_get(row, "url"));
        if (!json_object_get(row, "target")) json_object_set(row, "target", json_object_get(row, json_object_get(row, "table") ? "table" : "stream"));
    }
    print_rows(cli, rows, columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/sources", .landing = true}, print_list); }

static int post(struct cli *cli, const char *verb) {
    must(cli->command != NULL);
    BUF_SCOPE(path);
    buf_text(&path, "/v1/sources/");
    url_escape(&path, str_of(cli->args[0]));
    buf_printf(&path, "/%s", verb);
    if (cli->args_n > 1) {
        buf_text(&path, "?path=");
        url_escape(&path, str_of(cli->args[1]));
    }
    return reach_print(cli, &(struct ask){.method = "POST", .path = buf_cstr(&path), .landing = true}, print_object);
}

static int run(struct cli *cli) { return post(cli, "run"); }

static int test(struct cli *cli) { return post(cli, "test"); }

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "sources, and what waits in watched folders", .examples = "cupel source list", .run = list},
    {.verb = "run",
        .arguments = "SOURCE",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "take the files that wait now, or ask the address now",
        .complete = COMPLETE_SOURCE,
        .examples = "cupel source run pos",
        .run = run},
    {.verb = "test",
        .arguments = "SOURCE [FILE]",
        .arguments_min = 1,
        .arguments_max = 2,
        .summary = "how a file would be read, or what the address answers; changes nothing",
        .description = "Shows what is found out about the first waiting file, or about FILE: format, encoding, dialect, columns, the first rows, and which "
                       "rows are bad and why.",
        .complete = COMPLETE_SOURCE,
        .examples = "cupel source test pos\ncupel source test pos landing/pos/day.csv",
        .run = test},
};

const struct command_group cmd_source = {.name = "source", .summary = "sources and connectors", .commands = commands, .commands_n = 3};
