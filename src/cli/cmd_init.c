/* cupel init DIR: the one command besides `check` and `logs` that touches a project folder without a node.
 *
 * The scaffold's texts are those of `config`. The data folder is made private and gets its format, its ledger and the token that commands use, so that the
 * first `serve` and the first `put` find everything in place. Repeating it is refused: nothing of an existing project is ever changed. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "config/config.h"
#include "host/terminal.h"
#include "serve/node.h"

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    const char *dir = cli->args[0], *template_name = cli_value(cli, "template");
    enum status status = config_init(&cli->host, dir, template_name ? template_name : "empty", &err);
    char *data_dir = arena_printf(cli->arena, "%s/data", dir);
    if (status == OK) status = fs_mkdirs(cli->host.fs, data_dir, &err);
    if (status == OK) status = host_make_private(data_dir, true, &err);
    if (status == OK) status = data_format_ensure(&cli->host, data_dir, &err);
    if (status == OK) status = node_make_token(&cli->host, data_dir, &err);
    if (status != OK) return cli_fail(&err);
    if (cli->json)
        printf("{\"project\":\"%s\"}\n", dir);
    else
        printf("%s is a new project. Next:\n  cupel -C %s check\n  cupel -C %s serve\n", dir, dir, dir);
    return 0;
}

static const struct cli_option options[] = {
    {.name = "template", .value = "NAME", .choices = "retail|empty", .help = "what to begin with (default: empty)"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "DIR",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "scaffold a project",
    .description = "Makes DIR with a cupel.yaml, folders for models and landing files, and data/ with an access token that only you can read. A folder that "
                   "has a cupel.yaml already is "
                   "left alone.",
    .examples = "cupel init shop\ncupel init shop --template retail",
    .options = options,
    .complete = COMPLETE_DIR,
    .run = run,
}};

const struct command_group cmd_init = {.name = "init", .summary = "scaffold a project", .commands = commands, .commands_n = 1};
