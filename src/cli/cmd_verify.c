/* cupel verify: every checksum, every file, every index; exit code 1 when something is wrong. Reads a lot, changes nothing. */
#include "cli/output.h"
#include "cli/reach.h"

static int run(struct cli *cli) { return reach_print(cli, &(struct ask){.method = "POST", .path = "/v1/verify", .verdict = true}, print_object); }

static const struct command commands[] = {{
    .arguments = "",
    .summary = "check every checksum, file and index",
    .description = "Reads the whole log and checks its checksums, checks that every file of every current snapshot is there, has its size and a sound Parquet "
                   "footer, and checks the ledger. "
                   "Exit code 1 when something is wrong. Works while the server runs.",
    .examples = "cupel verify\ncupel verify --json",
    .run = run,
}};

const struct command_group cmd_verify = {.name = "verify", .summary = "check every checksum, file and index", .commands = commands, .commands_n = 1};
