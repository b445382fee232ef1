/* Commands as data. A group is what stands behind `cupel`; it has one command without a verb ("put") or several with one ("stream list").
 *
 * Rows are constant; a running command sees its parsed command line as a `struct cli`. One thread. */
#ifndef CUPEL_CLI_COMMAND_H
#define CUPEL_CLI_COMMAND_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "host/host.h"
#include "lake/row_source.h"

/* What completes a value: decides what the shell offers. */
enum cli_complete {
    COMPLETE_NONE,
    COMPLETE_FILE,
    COMPLETE_DIR,
    COMPLETE_STREAM,
    COMPLETE_TABLE,
    COMPLETE_SOURCE,
    COMPLETE_CONSUMER,
    COMPLETE_COMMAND,
};

struct cli_option {
    const char *name; /* "format", typed --format; NULL ends a list */
    char letter; /* 'f', typed -f; 0: none */
    const char *value; /* placeholder of the value ("FILE"); NULL: a flag */
    const char *choices; /* "csv|json": other values are refused; NULL: any */
    const char *help; /* one line, no full stop */
    enum cli_complete complete;
    bool repeat; /* may be given several times */
};

struct cli;

struct command {
    const char *verb; /* "list"; NULL in groups of one */
    const char *arguments; /* "STREAM [FILE…|-]", as shown in help; "" for none */
    int arguments_min, arguments_max; /* arguments_max -1: any number */
    const char *summary; /* one line, no full stop */
    const char *description; /* paragraphs for --help and the man page, or NULL */
    const char *examples; /* lines without indentation, or NULL */
    const struct cli_option *options; /* ended by name NULL, or NULL */
    enum cli_complete complete; /* of the arguments */
    int (*run)(struct cli *cli); /* returns the exit code */
};

struct command_group {
    const char *name; /* "stream" */
    const char *summary;
    const struct command *commands;
    size_t commands_n;
    bool hidden; /* not in help and completion */
    bool raw; /* the rest of the command line is handed over unparsed (args) */
};

/* All groups, in the order of help. NULL-ended. */
const struct command_group *const *command_groups(void);
const struct command_group *command_find(struct str name); /* NULL when unknown */
const struct command *command_verb(const struct command_group *group, struct str verb);
/* The nearest name at a distance of up to 3, or NULL. */
const char *command_nearest(struct str name);
const char *command_nearest_verb(const struct command_group *group, struct str verb);

/* Options that every command takes, ended by name NULL. */
extern const struct cli_option cli_global_options[];

/* ---- the parsed command line ---- */

struct cli_given {
    const struct cli_option *option;
    const char *value; /* NULL for flags */
};

struct cli {
    struct arena *arena; /* lives as long as the command */
    struct host host;
    const struct command_group *group;
    const struct command *command;
    const char *dir; /* of -C, or NULL */
    const char **args;
    size_t args_n;
    struct cli_given *given;
    size_t given_n;
    bool json; /* --json */
    bool out_terminal, err_terminal, color;
    const struct row_source_kind *const *kinds;
    int argc; /* as main got it, for raw groups */
    char **argv;
};

/* Fills *cli from the command line. E_INVALID with a "did you mean" where something is near. When help was asked for, cli->command may be NULL. */
enum status cli_parse(struct cli *cli, int argc, char **argv, struct err *err);
bool cli_flag(const struct cli *cli, const char *name);
const char *cli_value(const struct cli *cli, const char *name); /* the last one given, or NULL */
/* Number in [min, max]; `fallback` when not given. E_INVALID names the option. */
enum status cli_number(const struct cli *cli, const char *name, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err);

/* Prints "cupel: text" on stderr and returns the status' exit code. */
int cli_fail(const struct err *err);
/* The same for what a node answered: always exit code 1, the work failed. */
int cli_failed(const struct err *err);
/* The same for usage errors, with a pointer to the command's help. */
int cli_usage(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- made from the rows ---- */
struct buf;
void help_overview(struct buf *out);
void help_group(const struct command_group *group, struct buf *out);
void help_command(const struct command_group *group, const struct command *command, struct buf *out);
void help_man(struct buf *out); /* roff, man(7) */
void completion_bash(struct buf *out);
void completion_zsh(struct buf *out);

/* One per file cmd_<name>.c */
extern const struct command_group cmd_init, cmd_check, cmd_serve, cmd_demo, cmd_put, cmd_event, cmd_events, cmd_sql, cmd_stream, cmd_consumer, cmd_source,
    cmd_table, cmd_flow, cmd_model, cmd_kpi, cmd_docs, cmd_profile, cmd_conservation, cmd_quarantine, cmd_token, cmd_logs, cmd_verify, cmd_completion,
    cmd_version, cmd_help, cmd_engine, cmd_names, cmd_generate;

#endif
