/* cupel check: reads cupel.yaml and says everything that is wrong with it in one run.
 *
 * Works without a node on purpose: it is what people run before `serve`, in editors and in CI, also while a server holds the folder. Problems go to stderr as
 * file:line:column, the summary (or with --json the effective settings, secrets as ***) to stdout. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "config/config.h"

static int report(struct cli *cli, const struct config *config, const struct config_problems *problems, const struct err *err, bool failed) {
    must(cli->command != NULL);
    BUF_SCOPE(text);
    config_problems_write(problems, CONFIG_FILE, &text);
    print_error_text(buf_view(&text));
    if (failed) {
        if (problems->errors == 0) return cli_fail(err);
        fprintf(stderr, "%s%zu %s%s in %s\n", color_red(cli), problems->errors, problems->errors == 1 ? "error" : "errors", color_off(cli), CONFIG_FILE);
        return 2;
    }
    if (cli->json) {
        BUF_SCOPE(json);
        config_json(config, &json);
        print_text(buf_view(&json));
        putchar('\n');
    } else {
        printf("%s%s%s: %zu %s, %zu %s, nothing wrong\n", color_green(cli), CONFIG_FILE, color_off(cli), config->streams_n,
            config->streams_n == 1 ? "stream" : "streams", config->sources_n, config->sources_n == 1 ? "source" : "sources");
    }
    return 0;
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    char *dir;
    struct config *config = NULL;
    struct config_problems problems = {0};
    if (project_find(cli, &dir, &err) != OK) return cli_fail(&err);
    enum status status = config_load(&cli->host, dir, &config, &problems, &err);
    int code = report(cli, config, &problems, &err, status != OK);
    config_problems_free(&problems);
    config_free(&config);
    return code;
}

static const struct command commands[] = {{
    .arguments = "",
    .summary = "validate the configuration",
    .description = "Reads cupel.yaml and reports everything that is wrong in one run, each with file, line and column and the nearest right name. Exit code 2 "
                   "when something is wrong. "
                   "With --json the effective settings are printed, secrets as ***.",
    .examples = "cupel check\ncupel -C shop check --json",
    .run = run,
}};

const struct command_group cmd_check = {.name = "check", .summary = "validate the configuration", .commands = commands, .commands_n = 1};
