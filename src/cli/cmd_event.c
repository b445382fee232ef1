/* cupel event show ID…, cupel events: single events by their address, and the newest ones as a list.
 *
 * The payload is printed last, into files and pipes byte for byte; everything before it is the envelope. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

/* ---- event show ---- */

/* Everything but the payload as lines, the payload last. */
static void print_event(struct cli *cli, json_t *event) {
    must(cli->command != NULL);
    json_t *payload = json_object_get(event, "payload");
    json_incref(payload);
    json_object_del(event, "payload");
    make_shown(event);
    print_object(cli, event);
    if (json_is_string(payload)) {
        printf("%spayload%s\n", color_bold(cli), color_off(cli));
        print_payload(cli, str_make(json_string_value(payload), json_string_length(payload)));
        putchar('\n');
    }
    json_decref(payload);
}

static enum status show_one(struct cli *cli, struct reach *reach, const char *id, struct err *err) {
    must(reach != NULL && id != NULL);
    BUF_SCOPE(path);
    BUF_SCOPE(answer);
    json_error_t unused;
    buf_text(&path, "/v1/events/");
    url_escape(&path, str_of(id));
    buf_text(&path, "?trace=true");
    enum status status = reach_ask(reach, &(struct ask){.path = buf_cstr(&path)}, &answer, NULL, err);
    if (status != OK) return status;
    if (cli->json) {
        print_text(buf_view(&answer));
        return OK;
    }
    json_t *event = json_loadb(answer.p, answer.n, JSON_ALLOW_NUL, &unused);
    if (!event) return err_set(err, E_INTERNAL, "the answer is not JSON");
    print_event(cli, event);
    json_decref(event);
    return OK;
}

/* Where it went, one line per place. */
static enum status trace_one(struct cli *cli, struct reach *reach, const char *id, struct err *err) {
    must(reach != NULL && id != NULL);
    BUF_SCOPE(path);
    json_t *event, *row;
    size_t i;
    buf_text(&path, "/v1/events/");
    url_escape(&path, str_of(id));
    buf_text(&path, "?trace=true");
    enum status status = reach_json(reach, &(struct ask){.path = buf_cstr(&path)}, &event, err);
    if (status != OK) return status;
    if (cli->json) {
        print_json(event);
        json_decref(event);
        return OK;
    }
    make_shown(event);
    const char *stream = json_string_value(json_object_get(event, "stream")), *table = json_string_value(json_object_get(event, "table"));
    const char *state = json_string_value(json_object_get(event, "state"));
    printf("%s%s%s\n", color_bold(cli), id, color_off(cli));
    printf("  %-36s %s, received %s\n", stream ? stream : table ? table : "", state ? state : "", json_string_value(json_object_get(event, "received_at")));
    json_array_foreach(json_object_get(event, "tables"), i, row) printf("  %-36s\n", json_string_value(row));
    json_array_foreach(json_object_get(event, "models"), i, row) {
        const char *reason = json_string_value(json_object_get(row, "reason"));
        json_int_t rows = json_integer_value(json_object_get(row, "rows"));
        printf("  %-36s %" JSON_INTEGER_FORMAT " %s%s%s\n", json_string_value(json_object_get(row, "table")), rows, rows == 1 ? "row" : "rows",
            reason ? ": " : "", reason ? reason : "");
    }
    json_array_foreach(json_object_get(event, "feeds"), i, row)
        printf("  %s%-36s made from it among others%s\n", color_dim(cli), json_string_value(row), color_off(cli));
    json_decref(event);
    return OK;
}

static int each(struct cli *cli, enum status (*one)(struct cli *cli, struct reach *reach, const char *id, struct err *err)) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    int code = 0;
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    for (size_t i = 0; i < cli->args_n; i++) {
        if (i > 0 && !cli->json) putchar('\n');
        if (one(cli, reach, cli->args[i], &err) != OK) code = cli_failed(&err);
    }
    reach_close(&reach);
    return code;
}

static int show(struct cli *cli) { return each(cli, show_one); }

static int trace(struct cli *cli) { return each(cli, trace_one); }

static const struct command event_commands[] = {{.verb = "trace",
                                                    .arguments = "ID…",
                                                    .arguments_min = 1,
                                                    .arguments_max = -1,
                                                    .summary = "where an event went: tables, quarantine, and what is made from it",
                                                    .examples = "cupel event trace 019e2c1a-7d00-7001-8000-000000000040",
                                                    .run = trace},
    {
        .verb = "show",
        .arguments = "ID…",
        .arguments_min = 1,
        .arguments_max = -1,
        .summary = "an event, its payload and where it landed",
        .description = "Looks the event up by its id, in the log or, when it is no longer there, in its bronze table. An id is its own address: no search is "
                       "needed. Rows of landing files have ids "
                       "too.",
        .examples = "cupel event show 019e2c1a-7d00-7001-8000-000000000040\ncupel event show 019e2c1a-7d00-7001-8000-000000000040 --json",
        .run = show,
    }};

const struct command_group cmd_event = {.name = "event", .summary = "look an event up by its id", .commands = event_commands, .commands_n = 2};

/* ---- events ---- */

static void add_parameter(struct buf *path, const char *name, const char *value) {
    if (!value) return;
    buf_printf(path, "&%s=", name);
    url_escape(path, str_of(value));
}

static int list(struct cli *cli) {
    must(cli->command != NULL);
    static const struct column columns[] = {{"ID", "id", COLUMN_TEXT}, {"STREAM", "stream", COLUMN_TEXT}, {"RECEIVED", "received_at", COLUMN_TIME},
        {"STATUS", "status", COLUMN_TEXT}, {"SOURCE", "source", COLUMN_TEXT}, {"KEY", "key", COLUMN_TEXT}, {"SIZE", "size_bytes", COLUMN_BYTES}};
    struct err err = {0};
    struct reach *reach;
    int64_t limit;
    if (cli_number(cli, "limit", 20, 1, 1000, &limit, &err) != OK) return cli_fail(&err);
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    BUF_SCOPE(path);
    json_t *answer;
    buf_printf(&path, "/v1/events?limit=%lld", (long long)limit);
    add_parameter(&path, "stream", cli_value(cli, "stream"));
    add_parameter(&path, "status", cli_value(cli, "status"));
    add_parameter(&path, "since", cli_value(cli, "since"));
    add_parameter(&path, "cursor", cli_value(cli, "cursor"));
    enum status status = reach_json(reach, &(struct ask){.path = buf_cstr(&path)}, &answer, &err);
    if (status == OK) {
        print_answer(cli, answer, "events", columns, sizeof columns / sizeof columns[0]);
        json_decref(answer);
    }
    reach_close(&reach);
    return status == OK ? 0 : cli_failed(&err);
}

static const struct cli_option list_options[] = {
    {.name = "stream", .value = "STREAM", .help = "only of this stream", .complete = COMPLETE_STREAM},
    {.name = "status", .value = "STATUS", .choices = "in_log|landed", .help = "only those in the log, or those in their table"},
    {.name = "since", .letter = 's', .value = "TIME", .help = "from this time on: RFC 3339, a date, or a duration back from now (2h)"},
    {.name = "limit", .letter = 'n', .value = "N", .help = "at most N, newest first (default 20, up to 1000)"},
    {.name = "cursor", .value = "ID", .help = "go on behind this event (cursor of --json)"},
    {.name = NULL},
};

static const struct command list_commands[] = {{
    .arguments = "",
    .summary = "list the newest events",
    .examples = "cupel events --stream orders --since 1h\ncupel events --json --limit 1000",
    .options = list_options,
    .run = list,
}};

const struct command_group cmd_events = {.name = "events", .summary = "list the newest events", .commands = list_commands, .commands_n = 1};
