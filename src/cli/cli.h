/* CLI: `cupel [-C DIR] COMMAND …`. One file per command, one row per command; help, completion and the man page are made from the rows.
 *
 * Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration. Results go to stdout, everything else to stderr. */
#ifndef CUPEL_CLI_CLI_H
#define CUPEL_CLI_CLI_H

#include "lake/row_source.h"

/* main() of every process but the engine's: parses the command line, runs the command, returns the exit code. `kinds` is NULL-ended and handed to the
 * engine child (hidden command `engine`). Called once, from the main thread, before any other thread exists. */
int cli_main(int argc, char **argv, const struct row_source_kind *const *kinds);

#endif
