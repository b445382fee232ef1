/* cupel verify: every checksum, every file, every index; exit code 1 when something is wrong. Reads a lot, changes nothing. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    json_t *answer;
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    enum status status = reach_json(reach, &(struct ask){.method = "POST", .path = "/v1/verify"}, &answer, &err);
    reach_close(&reach);
    if (status != OK) return cli_failed(&err);
    bool good = json_is_true(json_object_get(answer, "ok"));
    if (cli->json)
        print_json(answer);
    else
        print_object(cli, answer);
    json_decref(answer);
    return good ? 0 : 1;
}

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
