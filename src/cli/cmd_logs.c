/* cupel logs: reads data/logs directly, so that it also works when the server cannot start.
 *
 * Records are JSON, one per line, oldest first over all kept files. For people they are shown as they stood on the server's terminal; --json gives them as
 * they are, for jq and for shipping. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/times.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "serve/log_sink.h"

static enum status read_query(struct cli *cli, struct log_query *out, struct err *err) {
    must(cli->command != NULL);
    const char *level = cli_value(cli, "level"), *since = cli_value(cli, "since");
    int64_t limit, ms;
    bool known = true;
    *out = (struct log_query){.event = cli_value(cli, "event"), .level = level ? log_level_parse(str_of(level), &known) : LOG_DEBUG};
    enum status status = cli_number(cli, "limit", 0, 1, 10000000, &limit, err);
    if (status != OK) return status;
    out->limit = (size_t)limit;
    if (since && str_to_duration_ms(str_of(since), &ms))
        out->since_us = host_wall_us(&cli->host) - ms * 1000;
    else if (since && !time_parse_us(str_of(since), &out->since_us))
        return err_set(err, E_INVALID, "--since: '%s' is neither a time (2026-11-20T10:00:00Z), a date nor a duration back from now (2h)", since);
    return OK;
}

/* {"at":…,"level":…,"process":…,"room":…,"message":…, fields} -> the line as it stood on the terminal. */
static void print_line(struct cli *cli, struct str line) {
    json_error_t error;
    json_t *record = json_loadb(line.p, line.n, 0, &error), *value;
    const char *name;
    if (!record) return;
    make_shown(record);
    const char *level = json_string_value(json_object_get(record, "level"));
    bool bad = level && (strcmp(level, "error") == 0 || strcmp(level, "warn") == 0);
    printf("%s %s%-5s%s %-7s %s", json_string_value(json_object_get(record, "at")), bad ? color_red(cli) : "", level ? level : "", bad ? color_off(cli) : "",
        json_string_value(json_object_get(record, "room")), json_string_value(json_object_get(record, "message")));
    json_object_foreach(record, name, value) {
        if (strcmp(name, "at") == 0 || strcmp(name, "level") == 0 || strcmp(name, "process") == 0 || strcmp(name, "room") == 0 || strcmp(name, "message") == 0)
            continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        printf(" %s=%s", name, text);
        free(text);
    }
    putchar('\n');
    json_decref(record);
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct log_query query;
    char *dir;
    if (read_query(cli, &query, &err) != OK || project_find(cli, &dir, &err) != OK) return cli_fail(&err);
    BUF_SCOPE(text);
    if (log_sink_read(&cli->host, arena_printf(cli->arena, "%s/data", dir), &query, &text, &err) != OK) return cli_fail(&err);
    if (cli->json) {
        print_text(buf_view(&text));
        return 0;
    }
    struct str rest = buf_view(&text);
    while (rest.n > 0) print_line(cli, str_cut(&rest, '\n'));
    return 0;
}

static const struct cli_option options[] = {
    {.name = "since", .letter = 's', .value = "TIME", .help = "from this time on: RFC 3339, a date, or a duration back from now (2h)"},
    {.name = "level", .letter = 'l', .value = "LEVEL", .choices = "debug|info|warn|error", .help = "at least this level"},
    {.name = "event", .letter = 'e', .value = "ID", .help = "only lines that name this event"},
    {.name = "limit", .letter = 'n', .value = "N", .help = "only the last N lines"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "own structured logs",
    .description = "Shows what the server and commands logged into data/logs, oldest first. With --json the records as they are, one per line.",
    .examples = "cupel logs --since 1h --level warn\ncupel logs --event 019e2c1a-7d00-7001-8000-000000000040\ncupel logs --json | tail",
    .options = options,
    .run = run,
}};

const struct command_group cmd_logs = {.name = "logs", .summary = "own structured logs", .commands = commands, .commands_n = 1};
