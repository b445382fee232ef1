/* Help texts and the man page, made from the table of commands. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/command.h"

#define WRAP_COLUMNS 80

static void pad_to(struct buf *out, size_t line_start, size_t column) {
    while (out->n - line_start < column) buf_char(out, ' ');
}

/* Two columns; a long left side takes a line of its own. */
static void row(struct buf *out, const char *left, const char *right, size_t column) {
    size_t start = out->n;
    buf_printf(out, "  %s", left);
    if (out->n - start + 2 > column) {
        buf_char(out, '\n');
        start = out->n;
    }
    pad_to(out, start, column);
    buf_printf(out, "%s\n", right);
}

/* Wraps paragraphs at spaces; lines that begin with a blank stay as they are. */
static void wrapped(struct buf *out, const char *text) {
    struct str rest = str_of(text);
    while (rest.p) {
        struct str line = str_cut(&rest, '\n');
        while (line.n > WRAP_COLUMNS && line.p[0] != ' ') {
            size_t cut = WRAP_COLUMNS;
            while (cut > 0 && line.p[cut] != ' ') cut--;
            if (cut == 0) break;
            buf_str(out, str_head(line, cut));
            buf_char(out, '\n');
            line = str_from(line, cut + 1);
        }
        buf_str(out, line);
        buf_char(out, '\n');
    }
}

static void option_left(const struct cli_option *option, struct buf *out) {
    if (option->letter)
        buf_printf(out, "-%c, ", option->letter);
    else
        buf_text(out, "    ");
    buf_printf(out, "--%s", option->name);
    if (option->value) buf_printf(out, " %s", option->value);
}

static void option_rows(const struct cli_option *options, struct buf *out) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        BUF_SCOPE(left);
        BUF_SCOPE(right);
        option_left(o, &left);
        buf_text(&right, o->help);
        if (o->choices) buf_printf(&right, " (%s)", o->choices);
        row(out, buf_cstr(&left), buf_cstr(&right), 28);
    }
}

void help_overview(struct buf *out) {
    buf_text(out, "Cupel: a self-hosted retail data pipeline in one program\n\nUsage: cupel [-C DIR] COMMAND [OPTION…] [ARGUMENT…]\n\nCommands:\n");
    const struct command_group *const *groups = command_groups();
    for (size_t i = 0; groups[i]; i++) {
        if (!groups[i]->hidden) row(out, groups[i]->name, groups[i]->summary, 17);
    }
    buf_text(out, "\nOptions of every command:\n");
    option_rows(cli_global_options, out);
    buf_text(out, "\nStart with:\n  cupel init shop && cupel -C shop serve\n`cupel help COMMAND` shows a command with examples.\n");
}

void help_group(const struct command_group *group, struct buf *out) {
    must(group);
    if (group->commands_n == 1 && !group->commands[0].verb) {
        help_command(group, &group->commands[0], out);
        return;
    }
    buf_printf(out, "cupel %s: %s\n\n", group->name, group->summary);
    for (size_t i = 0; i < group->commands_n; i++) {
        const struct command *c = &group->commands[i];
        BUF_SCOPE(left);
        buf_printf(&left, "%s %s %s", group->name, c->verb, c->arguments);
        row(out, buf_cstr(&left), c->summary, 44);
    }
    buf_printf(out, "\n`cupel %s COMMAND --help` shows its options and examples.\n", group->name);
}

void help_command(const struct command_group *group, const struct command *command, struct buf *out) {
    must(group && command);
    buf_printf(out, "cupel %s%s%s: %s\n\nUsage: cupel [-C DIR] %s%s%s", group->name, command->verb ? " " : "", command->verb ? command->verb : "",
        command->summary, group->name, command->verb ? " " : "", command->verb ? command->verb : "");
    if (command->options && command->options->name) buf_text(out, " [OPTION…]");
    if (command->arguments[0]) buf_printf(out, " %s", command->arguments);
    buf_text(out, "\n");
    if (command->description) {
        buf_char(out, '\n');
        wrapped(out, command->description);
    }
    if (command->options && command->options->name) {
        buf_text(out, "\nOptions:\n");
        option_rows(command->options, out);
    }
    buf_text(out, "\nOptions of every command:\n");
    option_rows(cli_global_options, out);
    if (command->examples) {
        buf_text(out, "\nExamples:\n");
        struct str rest = str_of(command->examples);
        while (rest.p) {
            struct str line = str_cut(&rest, '\n');
            buf_printf(out, "  " STR_FMT "\n", STR_ARG(line));
        }
    }
}

/* ---- man page ---- */

/* roff text: backslashes and hyphens escaped, a leading dot or quote made harmless. */
static void roff(struct buf *out, const char *text) {
    bool line_start = true;
    for (const char *p = text; *p; p++) {
        if (line_start && (*p == '.' || *p == '\'')) buf_text(out, "\\&");
        if (*p == '\\')
            buf_text(out, "\\e");
        else if (*p == '-')
            buf_text(out, "\\-");
        else
            buf_char(out, *p);
        line_start = *p == '\n';
    }
}

static void man_options(const struct cli_option *options, struct buf *out) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        buf_text(out, ".TP\n");
        BUF_SCOPE(left);
        option_left(o, &left);
        struct str text = str_trim(buf_view(&left));
        BUF_SCOPE(copy);
        buf_str(&copy, text);
        buf_text(out, ".B ");
        roff(out, buf_cstr(&copy));
        buf_char(out, '\n');
        roff(out, o->help);
        if (o->choices) {
            buf_text(out, " (");
            roff(out, o->choices);
            buf_char(out, ')');
        }
        buf_text(out, ".\n");
    }
}

static void man_command(const struct command_group *group, const struct command *c, struct buf *out) {
    buf_text(out, ".SS ");
    roff(out, group->name);
    if (c->verb) {
        buf_char(out, ' ');
        roff(out, c->verb);
    }
    if (c->arguments[0]) {
        buf_char(out, ' ');
        roff(out, c->arguments);
    }
    buf_char(out, '\n');
    roff(out, c->summary);
    buf_text(out, ".\n");
    if (c->description) {
        buf_text(out, ".PP\n");
        roff(out, c->description);
        buf_char(out, '\n');
    }
    man_options(c->options, out);
    if (c->examples) {
        buf_text(out, ".PP\n.nf\n.RS\n");
        roff(out, c->examples);
        buf_text(out, "\n.RE\n.fi\n");
    }
}

void help_man(struct buf *out) {
    buf_text(
        out, ".\\\" Made by `cupel generate man` from the table of commands. Do not edit.\n.TH CUPEL 1 \"\" \"cupel " CUPEL_VERSION "\" \"User Commands\"\n");
    buf_text(out,
        ".SH NAME\ncupel \\- self\\-hosted retail data pipeline in one program\n.SH SYNOPSIS\n.B cupel\n[\\-C DIR] COMMAND [OPTION...] [ARGUMENT...]\n.SH "
        "DESCRIPTION\n");
    roff(out,
        "Cupel takes events over HTTP and files from watched folders, has them on disk before it acknowledges them, lands them in Iceberg tables and answers "
        "SQL over all of "
        "them at once. Commands talk to the running server of the project folder; when none runs, a command does its work itself under the same lock.\n");
    buf_text(out, ".SH OPTIONS\n");
    man_options(cli_global_options, out);
    buf_text(out, ".SH COMMANDS\n");
    const struct command_group *const *groups = command_groups();
    for (size_t i = 0; groups[i]; i++) {
        for (size_t k = 0; !groups[i]->hidden && k < groups[i]->commands_n; k++) man_command(groups[i], &groups[i]->commands[k], out);
    }
    buf_text(out,
        ".SH EXIT STATUS\n0 done, 1 the work failed, 2 wrong usage or configuration.\n.SH FILES\n.TP\n.B cupel.yaml\nThe project: streams, sources, limits.\n"
        ".TP\n.B data/\nEverything that Cupel writes.\n.TP\n.B data/cli.token\nThe access token that commands use (mode 0600).\n"
        ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nNo colours when set and not empty.\n");
}
