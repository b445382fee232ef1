/* cupel conservation: the accounts as tables; exit code 1 when they do not add up, so that cron and CI notice.
 *
 * Hours are shown for streams that do not add up, or all with --hours: a difference has a time, and the logs of that time say why. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

static const struct column stream_columns[] = {{"STREAM", "name", COLUMN_TEXT}, {"RECEIVED", "received", COLUMN_NUMBER}, {"LANDED", "landed", COLUMN_NUMBER},
    {"IN LOG", "in_log", COLUMN_NUMBER}, {"DELETED", "deleted", COLUMN_NUMBER}, {"DUPLICATES", "duplicates", COLUMN_NUMBER},
    {"DIFFERENCE", "difference", COLUMN_NUMBER}, {"OK", "ok", COLUMN_BOOL}};
static const struct column deep_columns[] = {{"STREAM", "name", COLUMN_TEXT}, {"RECEIVED", "received", COLUMN_NUMBER}, {"LANDED", "landed", COLUMN_NUMBER},
    {"IN LOG", "in_log", COLUMN_NUMBER}, {"ROWS", "rows", COLUMN_NUMBER}, {"DELETED", "deleted", COLUMN_NUMBER}, {"DUPLICATES", "duplicates", COLUMN_NUMBER},
    {"DIFFERENCE", "difference", COLUMN_NUMBER}, {"OK", "ok", COLUMN_BOOL}};
static const struct column file_columns[] = {{"SOURCE", "name", COLUMN_TEXT}, {"READ", "read", COLUMN_NUMBER}, {"LANDED", "landed", COLUMN_NUMBER},
    {"QUARANTINED", "quarantined", COLUMN_NUMBER}, {"DIFFERENCE", "difference", COLUMN_NUMBER}, {"OK", "ok", COLUMN_BOOL}};
static const struct column hour_columns[] = {{"HOUR", "hour", COLUMN_TIME}, {"RECEIVED", "received", COLUMN_NUMBER}, {"LANDED", "landed", COLUMN_NUMBER},
    {"IN LOG", "in_log", COLUMN_NUMBER}, {"ROWS", "rows", COLUMN_NUMBER}, {"DUPLICATES", "duplicates", COLUMN_NUMBER}, {"OK", "ok", COLUMN_BOOL}};
static const struct column model_columns[] = {{"MODEL", "name", COLUMN_TEXT}, {"IN", "rows_in", COLUMN_NUMBER}, {"OUT", "rows_out", COLUMN_NUMBER},
    {"SUPERSEDED", "superseded", COLUMN_NUMBER}, {"FILTERED", "filtered", COLUMN_NUMBER}, {"QUARANTINED", "quarantined", COLUMN_NUMBER},
    {"DIFFERENCE", "difference", COLUMN_NUMBER}, {"OK", "ok", COLUMN_BOOL}};
static const struct column model_hour_columns[] = {{"HOUR", "hour", COLUMN_TIME}, {"IN", "rows_in", COLUMN_NUMBER}, {"OUT", "rows_out", COLUMN_NUMBER},
    {"SUPERSEDED", "superseded", COLUMN_NUMBER}, {"FILTERED", "filtered", COLUMN_NUMBER}, {"QUARANTINED", "quarantined", COLUMN_NUMBER},
    {"OK", "ok", COLUMN_BOOL}};
static const struct column followed_columns[] = {{"FOLLOWED BY ID", "name", COLUMN_TEXT}, {"EVENTS", "followed.events", COLUMN_NUMBER},
    {"IN TABLE", "followed.kept", COLUMN_NUMBER}, {"QUARANTINED", "followed.quarantined", COLUMN_NUMBER}, {"DROPPED", "followed.dropped", COLUMN_NUMBER},
    {"REST", "followed.rest", COLUMN_NUMBER}, {"BOTH", "followed.both", COLUMN_NUMBER}, {"TWICE", "followed.twice", COLUMN_NUMBER},
    {"UNKNOWN", "followed.unknown", COLUMN_NUMBER}, {"EXACT", "followed.exact", COLUMN_BOOL}, {"OK", "followed.ok", COLUMN_BOOL}};
#define COLUMNS(list) list, sizeof(list) / sizeof((list)[0])

static void print_hop(struct cli *cli, json_t *hops, const char *kind, const struct column *columns, size_t n) {
    must(cli->command != NULL);
    json_t *rows = json_array(), *hop;
    size_t i;
    json_array_foreach(hops, i, hop) {
        const char *name = json_string_value(json_object_get(hop, "hop"));
        if (name && strcmp(name, kind) == 0) json_array_append(rows, hop);
    }
    if (json_array_size(rows)) {
        print_rows(cli, rows, columns, n);
        putchar('\n');
    }
    json_decref(rows);
}

/* Rows that no condition was counted by. */
static void print_words(json_t *hops) {
    json_t *hop;
    size_t i;
    json_array_foreach(hops, i, hop) {
        json_int_t n = json_integer_value(json_object_get(hop, "left_out_by_word"));
        if (n <= 0) continue;
        printf("%s: %" JSON_INTEGER_FORMAT " of its filtered rows were left out by the model's word, not counted by a condition: \"%s\"\n",
            json_string_value(json_object_get(hop, "name")), n, json_string_value(json_object_get(hop, "drops")));
    }
}

/* Models whose events can be followed. */
static void print_followed(struct cli *cli, json_t *hops) {
    json_t *rows = json_array(), *hop;
    size_t i;
    json_array_foreach(hops, i, hop) {
        if (json_is_object(json_object_get(hop, "followed"))) json_array_append(rows, hop);
    }
    if (json_array_size(rows)) {
        print_rows(cli, rows, COLUMNS(followed_columns));
        putchar('\n');
    }
    json_decref(rows);
}

static void print_accounts(struct cli *cli, json_t *answer) {
    must(cli->command != NULL);
    json_t *hops = json_object_get(answer, "hops"), *hop;
    size_t i;
    if (json_is_true(json_object_get(answer, "deep")))
        print_hop(cli, hops, "stream", COLUMNS(deep_columns));
    else
        print_hop(cli, hops, "stream", COLUMNS(stream_columns));
    print_hop(cli, hops, "file", COLUMNS(file_columns));
    print_hop(cli, hops, "model", COLUMNS(model_columns));
    print_followed(cli, hops);
    json_array_foreach(hops, i, hop) {
        json_t *hours = json_object_get(hop, "hours");
        if (!json_array_size(hours) || (!cli_flag(cli, "hours") && json_is_true(json_object_get(hop, "ok")))) continue;
        printf("%s%s%s\n", color_bold(cli), json_string_value(json_object_get(hop, "name")), color_off(cli));
        if (strcmp(json_string_value(json_object_get(hop, "hop")), "model") == 0)
            print_rows(cli, hours, COLUMNS(model_hour_columns));
        else
            print_rows(cli, hours, COLUMNS(hour_columns));
        putchar('\n');
    }
    json_array_foreach(hops, i, hop) {
        json_int_t missing = json_integer_value(json_object_get(hop, "missing"));
        if (missing > 0)
            printf("%s: %" JSON_INTEGER_FORMAT " events were lost with damaged parts of the log; see data/log/damaged and `cupel logs --level error`\n",
                json_string_value(json_object_get(hop, "name")), missing);
    }
    print_words(hops);
    bool good = json_is_true(json_object_get(answer, "ok"));
    printf("%s%s%s\n", good ? color_green(cli) : color_red(cli), good ? "The accounts add up." : "THE ACCOUNTS DO NOT ADD UP.", color_off(cli));
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(path);
    buf_printf(&path, "/v1/conservation?deep=%s", cli_flag(cli, "deep") ? "true" : "false");
    if (cli_value(cli, "stream")) {
        buf_text(&path, "&stream=");
        url_escape(&path, str_of(cli_value(cli, "stream")));
    }
    return reach_print(cli, &(struct ask){.path = buf_cstr(&path), .verdict = true}, print_accounts);
}

static const struct cli_option options[] = {
    {.name = "stream", .value = "STREAM", .help = "only this stream", .complete = COMPLETE_STREAM},
    {.name = "deep", .help = "count the rows of every bronze table by SQL too, and follow the events of stream models by their ids"},
    {.name = "hours", .help = "show every receipt hour, not only those of streams that do not add up"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "the accounts; exit code 1 when they do not add up",
    .description =
        "Nothing is dropped in silence. Streams: events received = landed + in the log. Files: rows read = landed + quarantined. Stream models: rows in = out "
        "+ superseded + filtered + quarantined. Received is counted from the "
        "log's frames, landed by "
        "the commits to the lake, the rest of the log from positions: three counts that do not know each other. --deep counts the tables' rows as well, and "
        "follows each event of a stream model by its id into table and quarantine: where the event is the key, every one of them must be there once; elsewhere "
        "REST are those that another row of their key superseded or the SQL left out, which cupel flow run --verify can judge.",
    .examples = "cupel conservation\ncupel conservation --deep --hours --stream orders\ncupel conservation --json",
    .options = options,
    .run = run,
}};

const struct command_group cmd_conservation = {
    .name = "conservation", .summary = "the accounts; exit code 1 when they do not add up", .commands = commands, .commands_n = 1};
