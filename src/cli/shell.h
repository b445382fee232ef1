/* Interactive SQL shell: editing, history, completion. */
#ifndef CUPEL_CLI_SHELL_H
#define CUPEL_CLI_SHELL_H

#include "cli/reach.h"

/* Runs one statement and shows its result; prints its own errors. */
typedef void (*shell_run)(void *context, struct str statement);

struct shell_options {
    struct reach *reach;
    shell_run run;
    void *context;
    const char **format; /* changed by .mode */
};

/* Until .quit or the end of input. Returns the exit code. */
int shell_loop(struct cli *cli, const struct shell_options *options);

#endif
