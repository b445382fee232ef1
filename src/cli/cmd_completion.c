/* cupel completion bash|zsh, and the hidden `cupel names KIND` that the scripts call.
 *
 * Names of streams, tables, sources and consumers are asked from a running server only: opening a node of our own while somebody presses Tab would take the
 * project's lock for nothing. Whatever goes wrong there stays silent; a shell has no place to show it. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/output.h"
#include "cli/reach.h"

static int run(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(text);
    if (str_is(STR("bash"), cli->args[0]))
        completion_bash(&text);
    else if (str_is(STR("zsh"), cli->args[0]))
        completion_zsh(&text);
    else
        return cli_usage(cli, "'%s' is not one of bash, zsh", cli->args[0]);
    print_text(buf_view(&text));
    return 0;
}

static const struct command commands[] = {{
    .arguments = "bash|zsh",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "print a completion script",
    .examples = "source <(cupel completion bash)\ncupel completion zsh > ~/.zfunc/_cupel",
    .run = run,
}};

const struct command_group cmd_completion = {
    .name = "completion", .summary = "print a completion script for bash or zsh", .commands = commands, .commands_n = 1};

/* ---- names ---- */

static const struct names_row {
    const char *kind, *path, *rows, *member;
} names[] = {
    {"streams", "/v1/streams", "streams", "name"},
    {"tables", "/v1/tables", "tables", "name"},
    {"sources", "/v1/sources", "sources", "name"},
    {"consumers", "/v1/consumers", "consumers", "consumer"},
};

static void print_names(json_t *answer, const struct names_row *row) {
    json_t *rows = json_is_array(answer) ? answer : json_object_get(answer, row->rows), *item;
    size_t i;
    json_array_foreach(rows, i, item) {
        const char *schema = json_string_value(json_object_get(item, "schema")), *name = json_string_value(json_object_get(item, row->member));
        if (name) printf("%s%s%s\n", schema ? schema : "", schema ? "." : "", name);
    }
}

/* Silent on every failure: a shell asks while somebody types. */
static int run_names(struct cli *cli) {
    must(cli->command != NULL);
    struct reach *reach;
    if (str_is(STR("commands"), cli->args[0])) {
        for (size_t i = 0; command_groups()[i]; i++) {
            if (!command_groups()[i]->hidden) printf("%s\n", command_groups()[i]->name);
        }
        return 0;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *answer;
        if (!str_is(str_of(cli->args[0]), names[i].kind)) continue;
        if (reach_open(cli, &(struct reach_options){.only_running = true}, &reach, NULL) != OK) return 1;
        if (reach_json(reach, &(struct ask){.path = names[i].path, .timeout_ms = 2000}, &answer, NULL) == OK) {
            print_names(answer, &names[i]);
            json_decref(answer);
        }
        reach_close(&reach);
        return 0;
    }
    return 1;
}

static const struct command names_commands[] = {{
    .arguments = "KIND",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "names for completion",
    .run = run_names,
}};

const struct command_group cmd_names = {.name = "names", .summary = "names for completion", .commands = names_commands, .commands_n = 1, .hidden = true};
