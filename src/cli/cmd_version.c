/* cupel version: one line, or JSON. */
#include <stdio.h>

#include "cli/command.h"

static int run(struct cli *cli) {
    printf(cli->json ? "{\"version\":\"%s\"}\n" : "cupel %s\n", CUPEL_VERSION);
    return 0;
}

static const struct command commands[] = {{.arguments = "", .summary = "show the version", .examples = "cupel version", .run = run}};

const struct command_group cmd_version = {.name = "version", .summary = "show the version", .commands = commands, .commands_n = 1};
