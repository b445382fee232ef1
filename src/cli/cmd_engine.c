/* cupel engine: the child process that owns DuckDB. Started by the server, never by people.
 *
 * The command line is handed over unparsed: its options are a contract between the two sides of `lake`, not part of the interface. */
#include "cli/command.h"

static int run(struct cli *cli) { return engine_main(cli->argc - 1, cli->argv + 1, cli->kinds); }

static const struct command commands[] = {{.arguments = "", .arguments_max = -1, .summary = "the engine process (internal)", .run = run}};

const struct command_group cmd_engine = {
    .name = "engine", .summary = "the engine process (internal)", .commands = commands, .commands_n = 1, .hidden = true, .raw = true};
