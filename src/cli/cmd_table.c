/* cupel table …: lake tables and their maintenance.
 *
 * The server does the work, also the long one: a compaction that is under way ends even when this command is interrupted. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

/* "/v1/tables/<name>" with what follows; a name without a schema means bronze. */
static char *table_path(struct cli *cli, const char *name, const char *rest) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/tables/");
    if (!strchr(name, '.')) buf_text(&path, "bronze.");
    url_escape(&path, str_of(name));
    buf_text(&path, rest);
    return arena_strdup(cli->arena, buf_cstr(&path));
}

static void print_tables(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"SCHEMA", "schema", COLUMN_TEXT}, {"TABLE", "name", COLUMN_TEXT}, {"KIND", "kind", COLUMN_TEXT},
        {"ROWS", "rows", COLUMN_NUMBER}, {"FILES", "files", COLUMN_NUMBER}, {"SIZE", "bytes", COLUMN_BYTES}, {"SNAPSHOTS", "snapshots", COLUMN_NUMBER},
        {"CHANGED", "updated_at", COLUMN_TIME}};
    print_rows(cli, json_is_array(answer) ? answer : json_object_get(answer, "tables"), columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/tables"}, print_tables); }

static void print_table(struct cli *cli, json_t *answer) {
    must(cli->command != NULL);
    static const struct column lake[] = {
        {"COLUMN", "name", COLUMN_TEXT}, {"TYPE", "type", COLUMN_TEXT}, {"FIELD", "field_id", COLUMN_NUMBER}, {"REQUIRED", "required", COLUMN_BOOL}};
    static const struct column warehouse[] = {{"COLUMN", "name", COLUMN_TEXT}, {"TYPE", "type", COLUMN_TEXT}, {"COMMENT", "comment", COLUMN_TEXT}};
    static const char *const lists[] = {"history", "file_list"}; /* `table history` and --json show them */
    const char *kind = json_string_value(json_object_get(answer, "kind"));
    bool in_lake = !kind || strcmp(kind, "lake") == 0;
    json_t *schema = json_incref(json_object_get(answer, "columns"));
    json_object_del(answer, "columns");
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) json_object_del(answer, lists[i]);
    print_object(cli, answer);
    putchar('\n');
    print_rows(cli, schema, in_lake ? lake : warehouse, in_lake ? 4 : 3);
    json_decref(schema);
}

static int show(struct cli *cli) { return reach_print(cli, &(struct ask){.path = table_path(cli, cli->args[0], "")}, print_table); }

static void print_history(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"SNAPSHOT", "snapshot_id", COLUMN_ID}, {"AT", "at", COLUMN_TIME}, {"OPERATION", "summary.operation", COLUMN_TEXT},
        {"ROWS ADDED", "summary.added-records", COLUMN_NUMBER}, {"ROWS", "summary.total-records", COLUMN_NUMBER},
        {"FILES", "summary.total-data-files", COLUMN_NUMBER}};
    print_rows(cli, json_object_get(answer, "history"), columns, sizeof columns / sizeof columns[0]);
}

static int history(struct cli *cli) { return reach_print(cli, &(struct ask){.path = table_path(cli, cli->args[0], "")}, print_history); }

static int compact(struct cli *cli) {
    char *path = table_path(cli, cli->args[0], cli_flag(cli, "open-hours") ? "/compact?open_hours=true" : "/compact");
    return reach_print(cli, &(struct ask){.method = "POST", .path = path}, print_object);
}

static int expire(struct cli *cli) {
    BUF_SCOPE(rest);
    buf_text(&rest, "/expire");
    if (cli_value(cli, "older-than")) {
        buf_text(&rest, "?older_than=");
        url_escape(&rest, str_of(cli_value(cli, "older-than")));
    }
    return reach_print(cli, &(struct ask){.method = "POST", .path = table_path(cli, cli->args[0], buf_cstr(&rest))}, print_object);
}

static int flush(struct cli *cli) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/flush");
    if (cli->args_n) {
        buf_text(&path, "?stream=");
        url_escape(&path, str_of(strncmp(cli->args[0], "bronze.", 7) == 0 ? cli->args[0] + 7 : cli->args[0]));
    }
    return reach_print(cli, &(struct ask){.method = "POST", .path = buf_cstr(&path)}, print_object);
}

static int do_register(struct cli *cli) {
    if (!cli_flag(cli, "recover")) return cli_usage(cli, "say --recover: the catalog's pointers are rebuilt from the metadata files in the lake");
    return reach_print(cli, &(struct ask){.method = "POST", .path = "/v1/tables/recover"}, print_object);
}

static const struct cli_option compact_options[] = {{.name = "open-hours", .help = "pack the hour under way too"}, {.name = NULL}};
static const struct cli_option expire_options[] = {
    {.name = "older-than", .value = "TIME", .help = "a time, a date or a duration back from now (default: lake.snapshot_retention)"},
    {.name = NULL},
};
static const struct cli_option register_options[] = {{.name = "recover", .help = "rebuild the pointers"}, {.name = NULL}};

#define ONE_TABLE .arguments = "TABLE", .arguments_min = 1, .arguments_max = 1, .complete = COMPLETE_TABLE

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "all tables of lake and warehouse", .examples = "cupel table list", .run = list},
    {.verb = "show", ONE_TABLE, .summary = "schema, size and properties", .examples = "cupel table show bronze.orders", .run = show},
    {.verb = "history", ONE_TABLE, .summary = "snapshots", .examples = "cupel table history bronze.orders", .run = history},
    {.verb = "compact",
        ONE_TABLE,
        .summary = "pack the small files of closed hours into large ones",
        .options = compact_options,
        .examples = "cupel table compact bronze.orders",
        .run = compact},
    {.verb = "expire",
        ONE_TABLE,
        .summary = "forget old snapshots and delete files that only they used",
        .options = expire_options,
        .examples = "cupel table expire bronze.orders --older-than 7d",
        .run = expire},
    {.verb = "flush",
        .arguments = "[STREAM]",
        .arguments_max = 1,
        .complete = COMPLETE_STREAM,
        .summary = "write the tail that is only in the log to bronze now",
        .examples = "cupel table flush\ncupel table flush orders",
        .run = flush},
    {.verb = "register",
        .arguments = "",
        .summary = "rebuild the catalog from the lake",
        .description = "With --recover: for every table folder in the lake the newest valid metadata file becomes the current one in the catalog. For a lost "
                       "or damaged data/ledger.db.",
        .options = register_options,
        .examples = "cupel table register --recover",
        .run = do_register},
};

const struct command_group cmd_table = {.name = "table", .summary = "lake tables", .commands = commands, .commands_n = sizeof commands / sizeof commands[0]};
