/* cupel consumer list|reset: who reads which stream, how far, and from where on it shall read again. */
#include <stdio.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "base/json.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

static void print_list(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"CONSUMER", "consumer", COLUMN_TEXT}, {"STREAM", "stream", COLUMN_TEXT}, {"PARTITION", "partition", COLUMN_NUMBER},
        {"OFFSET", "offset", COLUMN_NUMBER}, {"BEHIND", "behind", COLUMN_NUMBER}, {"MOVED", "updated_at", COLUMN_TIME}};
    print_rows(cli, json_object_get(answer, "consumers"), columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/consumers"}, print_list); }

static int reset(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    int64_t partition;
    const char *to = cli_value(cli, "to");
    BUF_SCOPE(path);
    BUF_SCOPE(body);
    if (!to) return cli_usage(cli, "say where to with --to start, --to end or --to OFFSET");
    if (cli_number(cli, "partition", -1, 0, EVENT_PARTITIONS_MAX - 1, &partition, &err) != OK) return cli_fail(&err);
    buf_text(&path, "/v1/consumers/");
    url_escape(&path, str_of(cli->args[0]));
    buf_text(&path, "/reset");
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_text(&w, "stream", cli->args[1]);
    json_put_text(&w, "to", to);
    if (partition >= 0) json_put_int(&w, "partition", partition);
    json_end_object(&w);
    return reach_print(cli, &(struct ask){.method = "POST", .path = buf_cstr(&path), .body = buf_view(&body)}, print_object);
}

static const struct cli_option reset_options[] = {
    {.name = "to", .value = "PLACE", .help = "start, end or an offset"},
    {.name = "partition", .value = "N", .help = "only this partition"},
    {.name = NULL},
};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "who reads which stream, and how far", .examples = "cupel consumer list", .run = list},
    {.verb = "reset",
        .arguments = "CONSUMER STREAM",
        .arguments_min = 2,
        .arguments_max = 2,
        .summary = "move a consumer",
        .options = reset_options,
        .complete = COMPLETE_CONSUMER,
        .examples = "cupel consumer reset mailer orders --to start",
        .run = reset},
};

const struct command_group cmd_consumer = {.name = "consumer", .summary = "who reads the streams", .commands = commands, .commands_n = 2};
