/* cupel quarantine list|show: rows that could not be taken, with the reason and the raw bytes (base64, they may be anything). */
#include <stdio.h>

#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

static void print_list(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"QUARANTINE", "name", COLUMN_TEXT}, {"ROWS", "rows", COLUMN_NUMBER}, {"SIZE", "bytes", COLUMN_BYTES}};
    print_rows(cli, json_object_get(answer, "tables"), columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/quarantine"}, print_list); }

static void print_bad_rows(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"EVENT", "_event_id", COLUMN_TEXT}, {"FILE", "_file", COLUMN_TEXT}, {"ROW", "_row", COLUMN_NUMBER},
        {"REASON", "_reason", COLUMN_TEXT}, {"RAW", "_raw", COLUMN_TEXT}};
    print_rows(cli, json_object_get(answer, "rows"), columns, sizeof columns / sizeof columns[0]);
}

static int show(struct cli *cli) {
    struct err err = {0};
    int64_t limit;
    BUF_SCOPE(path);
    if (cli_number(cli, "limit", 20, 1, 10000, &limit, &err) != OK) return cli_fail(&err);
    buf_text(&path, "/v1/quarantine/");
    url_escape(&path, str_of(cli->args[0]));
    buf_printf(&path, "?limit=%lld", (long long)limit);
    return reach_print(cli, &(struct ask){.path = buf_cstr(&path)}, print_bad_rows);
}

static const struct cli_option show_options[] = {
    {.name = "limit", .letter = 'n', .value = "N", .help = "at most N, newest first (default 20)"}, {.name = NULL}};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "tables of rows that could not be taken", .examples = "cupel quarantine list", .run = list},
    {.verb = "show",
        .arguments = "TABLE",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "the rows, with the reason and the raw bytes",
        .options = show_options,
        .complete = COMPLETE_TABLE,
        .examples = "cupel quarantine show bronze.pos",
        .run = show},
};

const struct command_group cmd_quarantine = {.name = "quarantine", .summary = "rows that could not be taken", .commands = commands, .commands_n = 2};
