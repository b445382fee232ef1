/* cupel serve: a node in the foreground until a signal ends it.
 *
 * Signals are blocked before the first thread exists, so that every thread inherits the mask and only node_run sees them. Daemons are the business of the
 * service manager: readiness is told through NOTIFY_SOCKET, logs go to stderr and data/logs. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "host/signals.h"
#include "serve/node.h"

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    char *dir;
    struct node *node;
    BUF_SCOPE(problems);
    if (project_find(cli, &dir, &err) != OK) return cli_fail(&err);
    host_signals_block(); /* before any thread exists */
    struct node_options options = {.host = &cli->host, .dir = dir, .listen = cli_value(cli, "listen"), .quiet = cli_flag(cli, "quiet")};
    if (node_open(&options, &node, &problems, &err) != OK) {
        print_error_text(buf_view(&problems));
        return problems.n ? 2 : cli_fail(&err);
    }
    node_run(node);
    node_close(&node, cli_flag(cli, "flush-at-end"));
    return 0;
}

static const struct cli_option options[] = {
    {.name = "listen", .letter = 'l', .value = "ADDRESS", .help = "instead of cupel.yaml's listen:, for example 127.0.0.1:0 for any free port"},
    {.name = "quiet", .letter = 'q', .help = "only errors on stderr; data/logs has everything"},
    {.name = "flush-at-end", .help = "write what is only in the log to the lake before stopping"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "run everything",
    .description =
        "Runs the server of the project folder in the foreground: events over HTTP, watched folders, lake, SQL. SIGTERM and Ctrl-C answer what is under way "
        "and stop; SIGHUP reads "
        "cupel.yaml again and takes over new streams, sources and settings. The address is written to data/server.json, where the other commands find it.",
    .examples = "cupel serve\ncupel -C shop serve --listen 127.0.0.1:9000",
    .options = options,
    .run = run,
}};

const struct command_group cmd_serve = {.name = "serve", .summary = "run everything", .commands = commands, .commands_n = 1};
