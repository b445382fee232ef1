/* cupel generate: documents that are made from the tables in the source.
 *
 * The committed ones in docs/ are what these commands print; a test compares them, so that an option, a command or a metric cannot change without its
 * description. Hidden, because users read the documents and do not make them. */
#include <stdio.h>

#include "base/buf.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "config/config.h"
#include "serve/node.h"

static int man(struct cli *cli) {
    BUF_SCOPE(text);
    help_man(&text);
    print_text(buf_view(&text));
    return 0;
}

static int options_md(struct cli *cli) {
    BUF_SCOPE(text);
    config_write_options_md(&text);
    print_text(buf_view(&text));
    return 0;
}

static int schema(struct cli *cli) {
    BUF_SCOPE(text);
    config_write_json_schema(&text);
    print_text(buf_view(&text));
    return 0;
}

/* Rooms declare their metrics when they first need them: takes a project folder that no server runs on, with a stream and a source of each kind. */
static int metrics(struct cli *cli) {
    struct err err = {0};
    struct reach *reach;
    if (reach_open(cli, &(struct reach_options){.writer = true, .landing = true}, &reach, &err) != OK) return cli_fail(&err);
    BUF_SCOPE(text);
    metrics_document(&text);
    print_text(buf_view(&text));
    reach_close(&reach);
    return 0;
}

static const struct command commands[] = {
    {.verb = "man", .arguments = "", .summary = "docs/cupel.1", .run = man},
    {.verb = "metrics", .arguments = "", .summary = "docs/metrics.md", .run = metrics},
    {.verb = "options", .arguments = "", .summary = "docs/options.md", .run = options_md},
    {.verb = "schema", .arguments = "", .summary = "docs/cupel.schema.json", .run = schema},
};

const struct command_group cmd_generate = {
    .name = "generate", .summary = "documents made from the source", .commands = commands, .commands_n = 4, .hidden = true};
