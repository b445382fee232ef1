/* From the command line to the command. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "cli/output.h"
#include "host/terminal.h"

static int show_help(struct cli *cli) {
    BUF_SCOPE(text);
    if (cli->command)
        help_command(cli->group, cli->command, &text);
    else if (cli->group)
        help_group(cli->group, &text);
    else
        help_overview(&text);
    print_text(buf_view(&text));
    return 0;
}

static void set_up_output(struct cli *cli) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    cli->out_terminal = host_is_terminal(1);
    cli->err_terminal = host_is_terminal(2);
    cli->color = cli->out_terminal && !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0) && !cli_flag(cli, "no-color");
}

/* Behaviour without a command: an overview; on stderr, as wrong usage, when there was no question either. */
static int run_without_command(struct cli *cli) {
    if (cli_flag(cli, "help")) return show_help(cli);
    BUF_SCOPE(text);
    help_overview(&text);
    print_error_text(buf_view(&text));
    return 2;
}

static int run_command(struct cli *cli) {
    struct err err = {0};
    if (cli_flag(cli, "version")) return cmd_version.commands[0].run(cli);
    if (!cli->group) return run_without_command(cli);
    if (cli_flag(cli, "help")) return show_help(cli);
    int code = cli->command->run(cli);
    if (output_finish(&err) != OK && code == 0) return cli_fail(&err);
    return code;
}

int cli_main(int argc, char **argv, const struct row_source_kind *const *kinds) {
    must(argc > 0 && kinds);
    struct cli cli = {.arena = arena_new(), .host = host_default(), .kinds = kinds};
    struct err err = {0};
    int code;
    log_configure((struct log_options){.level = LOG_INFO, .quiet = true, .process = "command"});
    if (cli_parse(&cli, argc, argv, &err) != OK) {
        code = cli_usage(&cli, "%s", err.text);
    } else {
        set_up_output(&cli);
        code = run_command(&cli);
    }
    arena_free(&cli.arena);
    return code;
}
