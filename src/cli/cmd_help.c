/* cupel help [COMMAND [VERB]]: the same texts as --help, for those who ask in words. */
#include "base/assert.h"
#include "base/buf.h"
#include "cli/output.h"

static int run(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(text);
    if (cli->args_n == 0) {
        help_overview(&text);
        print_text(buf_view(&text));
        return 0;
    }
    const struct command_group *group = command_find(str_of(cli->args[0]));
    if (!group) {
        const char *near = command_nearest(str_of(cli->args[0]));
        return near ? cli_usage(cli, "unknown command '%s'; did you mean '%s'?", cli->args[0], near) : cli_usage(cli, "unknown command '%s'", cli->args[0]);
    }
    const struct command *command = cli->args_n > 1 ? command_verb(group, str_of(cli->args[1])) : NULL;
    if (cli->args_n > 1 && !command) return cli_usage(cli, "unknown command '%s %s'", cli->args[0], cli->args[1]);
    if (command)
        help_command(group, command, &text);
    else
        help_group(group, &text);
    print_text(buf_view(&text));
    return 0;
}

static const struct command commands[] = {{
    .arguments = "[COMMAND [VERB]]",
    .arguments_max = 2,
    .summary = "show help",
    .examples = "cupel help\ncupel help sql\ncupel help stream tail",
    .complete = COMPLETE_COMMAND,
    .run = run,
}};

const struct command_group cmd_help = {.name = "help", .summary = "show help", .commands = commands, .commands_n = 1};
