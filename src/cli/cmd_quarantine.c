/* cupel quarantine list|show|redrive: rows of files that could not be taken, with the reason and the raw bytes (base64, they may be anything), and rows of
 * models that failed an expectation. */
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
    static const struct column of_files[] = {{"EVENT", "_event_id", COLUMN_TEXT}, {"FILE", "_file", COLUMN_TEXT}, {"ROW", "_row", COLUMN_NUMBER},
        {"REASON", "_reason", COLUMN_TEXT}, {"RAW", "_raw", COLUMN_TEXT}};
    static const struct column of_models[] = {{"EVENT", "_event_id", COLUMN_TEXT}, {"AT", "_quarantined_at", COLUMN_TIME}, {"REASON", "_reason", COLUMN_TEXT},
        {"ROW", "_row", COLUMN_TEXT}, {"RAW", "_raw", COLUMN_TEXT}};
    json_t *rows = json_object_get(answer, "rows");
    bool model = json_object_get(json_array_get(rows, 0), "_file") == NULL;
    if (model)
        print_rows(cli, rows, of_models, sizeof of_models / sizeof of_models[0]);
    else
        print_rows(cli, rows, of_files, sizeof of_files / sizeof of_files[0]);
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

static void print_redriven(struct cli *cli, json_t *answer) {
    long long before = json_integer_value(json_object_get(answer, "before")), after = json_integer_value(json_object_get(answer, "after"));
    printf("%s: %lld in quarantine before, %lld after\n", json_string_value(json_object_get(answer, "table")), before, after);
    if (!before || !json_object_get(answer, "run_id")) return;
    printf("rows inserted %lld, deleted %lld\n", (long long)json_integer_value(json_object_get(answer, "inserted")),
        (long long)json_integer_value(json_object_get(answer, "deleted")));
}

static int redrive(struct cli *cli) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/quarantine/");
    url_escape(&path, str_of(cli->args[0]));
    buf_text(&path, "/redrive");
    return reach_print(cli, &(struct ask){.method = "POST", .path = buf_cstr(&path), .interruptible = true}, print_redriven);
}

static const struct cli_option show_options[] = {
    {.name = "limit", .letter = 'n', .value = "N", .help = "at most N, newest first (default 20)"}, {.name = NULL}};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "tables of rows in quarantine", .examples = "cupel quarantine list", .run = list},
    {.verb = "show",
        .arguments = "TABLE",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "the rows, with the reason and what came",
        .options = show_options,
        .complete = COMPLETE_TABLE,
        .examples = "cupel quarantine show bronze.pos\ncupel quarantine show silver.pos_sales",
        .run = show},
    {.verb = "redrive",
        .arguments = "MODEL",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "read the events in a model's quarantine again",
        .description = "After the model or its expectations were corrected: the quarantined events are read again from bronze, through the present SQL and "
                       "expectations. What is good now goes into the table, an older row never replacing a newer one; the rest stays with its present reason. "
                       "cupel.outbox: events of models that their stream refused are sent again.",
        .complete = COMPLETE_TABLE,
        .examples = "cupel quarantine redrive silver.pos_sales",
        .run = redrive},
};

const struct command_group cmd_quarantine = {.name = "quarantine",
    .summary = "rows that could not be taken or failed an expectation",
    .commands = commands,
    .commands_n = sizeof commands / sizeof commands[0]};
