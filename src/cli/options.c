/* The command line: global options anywhere, then the command, its verb, its options and arguments in any order. */
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/output.h"

const struct cli_option cli_global_options[] = {
    {.name = "dir",
        .letter = 'C',
        .value = "DIR",
        .help = "project folder (default: this folder or the nearest one above with a cupel.yaml)",
        .complete = COMPLETE_DIR},
    {.name = "json", .help = "print JSON instead of a table for people"},
    {.name = "no-color", .help = "no colours (also: NO_COLOR in the environment)"},
    {.name = "help", .letter = 'h', .help = "show help for the command"},
    {.name = "version", .help = "show the version"},
    {.name = NULL},
};

/* Where the parser stands. */
struct parse {
    struct cli *cli;
    int argc, at;
    char **argv;
    bool only_arguments; /* behind "--" */
};

static const struct cli_option *find_in(const struct cli_option *options, struct str name, char letter) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        if (letter ? o->letter == letter : str_is(name, o->name)) return o;
    }
    return NULL;
}

static const struct cli_option *find_option(const struct cli *cli, struct str name, char letter) {
    const struct cli_option *found = find_in(cli_global_options, name, letter);
    return !found && cli->command ? find_in(cli->command->options, name, letter) : found;
}

static void nearest_in(const struct cli_option *options, struct str name, const char **found, int *best) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        int distance = str_distance(name, str_of(o->name));
        if (distance < *best) {
            *best = distance;
            *found = o->name;
        }
    }
}

static enum status unknown_option(const struct cli *cli, const char *typed, struct str name, struct err *err) {
    const char *found = NULL;
    int best = 4;
    nearest_in(cli_global_options, name, &found, &best);
    if (cli->command) nearest_in(cli->command->options, name, &found, &best);
    if (found) return err_set(err, E_INVALID, "unknown option %s; did you mean --%s?", typed, found);
    return err_set(err, E_INVALID, "unknown option %s", typed);
}

static bool choice_ok(const char *choices, const char *value) {
    struct str rest = str_of(choices);
    while (rest.p) {
        if (str_is(str_cut(&rest, '|'), value)) return true;
    }
    return false;
}

static enum status add_given(struct cli *cli, const struct cli_option *option, const char *value, struct err *err) {
    if (option->choices && value && !choice_ok(option->choices, value))
        return err_set(err, E_INVALID, "--%s: '%s' is not one of %s", option->name, value, option->choices);
    if (!option->repeat) {
        for (size_t i = 0; i < cli->given_n; i++) {
            if (cli->given[i].option == option && option->value) return err_set(err, E_INVALID, "--%s is given twice", option->name);
        }
    }
    cli->given[cli->given_n++] = (struct cli_given){.option = option, .value = value};
    return OK;
}

/* `inline_value`: what stood behind '=' or the letter, or NULL. */
static enum status take_option(struct parse *p, const struct cli_option *option, const char *inline_value, struct err *err) {
    if (!option->value) return inline_value ? err_set(err, E_INVALID, "--%s takes no value", option->name) : add_given(p->cli, option, NULL, err);
    if (inline_value) return add_given(p->cli, option, inline_value, err);
    if (p->at >= p->argc) return err_set(err, E_INVALID, "--%s needs a value: %s", option->name, option->value);
    return add_given(p->cli, option, p->argv[p->at++], err);
}

static enum status take_long(struct parse *p, const char *typed, struct err *err) {
    struct str rest = str_of(typed + 2);
    struct str name = str_cut(&rest, '=');
    const struct cli_option *option = find_option(p->cli, name, 0);
    if (!option) return unknown_option(p->cli, typed, name, err);
    return take_option(p, option, rest.p, err);
}

static enum status take_short(struct parse *p, const char *typed, struct err *err) {
    const struct cli_option *option = find_option(p->cli, STR_NULL, typed[1]);
    if (!option) return unknown_option(p->cli, typed, str_of(typed + 1), err);
    if (!option->value && typed[2]) return err_set(err, E_INVALID, "-%c takes no value", typed[1]);
    return take_option(p, option, typed[2] ? typed + 2 : NULL, err);
}

static enum status take_group(struct cli *cli, const char *name, struct err *err) {
    cli->group = command_find(str_of(name));
    if (!cli->group) {
        const char *near = command_nearest(str_of(name));
        if (near) return err_set(err, E_INVALID, "unknown command '%s'; did you mean '%s'?", name, near);
        return err_set(err, E_INVALID, "unknown command '%s'; `cupel help` lists all", name);
    }
    if (cli->group->commands_n == 1 && !cli->group->commands[0].verb) cli->command = &cli->group->commands[0];
    return OK;
}

static enum status take_verb(struct cli *cli, const char *name, struct err *err) {
    cli->command = command_verb(cli->group, str_of(name));
    if (cli->command) return OK;
    const char *near = command_nearest_verb(cli->group, str_of(name));
    if (near) return err_set(err, E_INVALID, "unknown command '%s %s'; did you mean '%s %s'?", cli->group->name, name, cli->group->name, near);
    return err_set(err, E_INVALID, "unknown command '%s %s'; `cupel help %s` lists all", cli->group->name, name, cli->group->name);
}

static enum status take_word(struct parse *p, const char *word, struct err *err) {
    struct cli *cli = p->cli;
    if (!p->only_arguments && word[0] == '-' && word[1] == '-' && !word[2]) {
        p->only_arguments = true;
        return OK;
    }
    if (!p->only_arguments && word[0] == '-' && word[1] == '-') return take_long(p, word, err);
    if (!p->only_arguments && word[0] == '-' && word[1]) return take_short(p, word, err);
    if (!cli->group) return take_group(cli, word, err);
    if (!cli->command) return take_verb(cli, word, err);
    cli->args[cli->args_n++] = word;
    return OK;
}

static enum status check_counts(const struct cli *cli, struct err *err) {
    const struct command *c = cli->command;
    if ((int)cli->args_n < c->arguments_min)
        return err_set(err, E_INVALID, "an argument is missing: %s%s%s %s", cli->group->name, c->verb ? " " : "", c->verb ? c->verb : "", c->arguments);
    if (c->arguments_max >= 0 && (int)cli->args_n > c->arguments_max)
        return err_set(err, E_INVALID, "one argument too many: '%s'", cli->args[c->arguments_max]);
    return OK;
}

enum status cli_parse(struct cli *cli, int argc, char **argv, struct err *err) {
    must(cli->arena);
    struct parse p = {.cli = cli, .argc = argc, .at = 1, .argv = argv};
    cli->args = arena_new_array(cli->arena, const char *, (size_t)argc + 1);
    cli->given = arena_new_array(cli->arena, struct cli_given, (size_t)argc + 1);
    cli->argc = argc;
    cli->argv = argv;
    while (p.at < argc) {
        enum status s = take_word(&p, argv[p.at++], err);
        if (s != OK) return s;
        if (cli->group && cli->group->raw) {
            while (p.at < argc) cli->args[cli->args_n++] = argv[p.at++];
        }
    }
    cli->dir = cli_value(cli, "dir");
    cli->json = cli_flag(cli, "json");
    if (cli_flag(cli, "help") || cli_flag(cli, "version") || !cli->group) return OK;
    if (!cli->command) return err_set(err, E_INVALID, "'%s' needs one of its commands; `cupel help %s` lists them", cli->group->name, cli->group->name);
    return check_counts(cli, err);
}

bool cli_flag(const struct cli *cli, const char *name) {
    for (size_t i = 0; i < cli->given_n; i++) {
        if (strcmp(cli->given[i].option->name, name) == 0) return true;
    }
    return false;
}

const char *cli_value(const struct cli *cli, const char *name) {
    for (size_t i = cli->given_n; i > 0; i--) {
        if (strcmp(cli->given[i - 1].option->name, name) == 0) return cli->given[i - 1].value;
    }
    return NULL;
}

enum status cli_number(const struct cli *cli, const char *name, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err) {
    const char *text = cli_value(cli, name);
    int64_t value = fallback;
    if (text && (!str_to_i64(str_of(text), &value) || value < min || value > max))
        return err_set(err, E_INVALID, "--%s: '%s' is not a number from %lld to %lld", name, text, (long long)min, (long long)max);
    *out = value;
    return OK;
}

static void say_error(const char *text) {
    fputs("cupel: ", stderr);
    print_error_text(str_of(text));
    fputc('\n', stderr);
}

int cli_fail(const struct err *err) {
    must(err->status != OK);
    say_error(err->text);
    return status_exit_code(err->status) ? status_exit_code(err->status) : 1;
}

int cli_failed(const struct err *err) {
    (void)cli_fail(err);
    return 1;
}

int cli_usage(const struct cli *cli, const char *format, ...) {
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say_error(text);
    if (cli->group)
        fprintf(stderr, "`cupel %s%s%s --help` tells more.\n", cli->group->name, cli->command && cli->command->verb ? " " : "",
            cli->command && cli->command->verb ? cli->command->verb : "");
    return 2;
}
