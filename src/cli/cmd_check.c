/* cupel check: reads cupel.yaml, models and expectations, and says everything that is wrong with them in one run.
 *
 * cupel.yaml is read here, so that a wrong one is said before anything is opened; models are bound by a node, the running server's or one of our own. It is
 * what people run before `serve`, in editors and in CI. Problems go to stderr as file:line:column, the summary (or with --json the effective settings, secrets
 * as ***) to stdout. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "config/config.h"

/* false: something is wrong with the configuration itself. */
static bool say_problems(struct cli *cli, const struct config_problems *problems, enum status status) {
    BUF_SCOPE(text);
    config_problems_write(problems, CONFIG_FILE, &text);
    print_error_text(buf_view(&text));
    if (status != OK && problems->errors)
        fprintf(stderr, "%s%zu %s%s in %s\n", color_red(cli), problems->errors, problems->errors == 1 ? "error" : "errors", color_off(cli), CONFIG_FILE);
    return status == OK;
}

/* ---- models ---- */

static bool has_models(struct cli *cli, const char *dir) {
    static const char *const folders[] = {"models", "expectations"};
    const struct fs *fs = cli->host.fs;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        struct fs_entry *entries;
        size_t n = 0;
        if (fs->list(fs->self, cli->arena, arena_printf(cli->arena, "%s/%s", dir, folders[i]), &entries, &n, NULL) == OK && n > 0) return true;
    }
    return false;
}

/* Models are bound against the tables that are there: a node is asked, the server's or one of our own. */
static enum status check_models(struct cli *cli, json_t **out, struct err *err) {
    struct reach *reach;
    enum status status = reach_open(cli, &(struct reach_options){0}, &reach, err);
    if (status != OK) return status;
    status = reach_json(reach, &(struct ask){.method = "POST", .path = "/v1/check"}, out, err);
    reach_close(&reach);
    return status;
}

static int report(struct cli *cli, const struct config *config, json_t *models) {
    json_t *problems = json_object_get(models, "problems"), *line;
    json_int_t errors = json_integer_value(json_object_get(models, "errors")), n = json_integer_value(json_object_get(models, "models"));
    size_t i;
    json_array_foreach(problems, i, line) {
        print_error_text(str_of(json_string_value(line)));
        fputc('\n', stderr);
    }
    if (errors > 0) {
        fprintf(stderr, "%s%" JSON_INTEGER_FORMAT " %s%s in the project\n", color_red(cli), errors, errors == 1 ? "error" : "errors", color_off(cli));
        return 2;
    }
    if (cli->json) {
        BUF_SCOPE(json);
        config_json(config, &json);
        print_text(buf_view(&json));
        putchar('\n');
        return 0;
    }
    printf("%s%s%s: %zu %s, %zu %s", color_green(cli), CONFIG_FILE, color_off(cli), config->streams_n, config->streams_n == 1 ? "stream" : "streams",
        config->sources_n, config->sources_n == 1 ? "source" : "sources");
    if (config->flows_n) printf(", %zu %s", config->flows_n, config->flows_n == 1 ? "flow" : "flows");
    if (models) printf(", %" JSON_INTEGER_FORMAT " %s", n, n == 1 ? "model" : "models");
    printf(", nothing wrong\n");
    return 0;
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    char *dir;
    struct config *config = NULL;
    struct config_problems problems = {0};
    json_t *models = NULL;
    if (project_find(cli, &dir, &err) != OK) return cli_fail(&err);
    enum status status = config_load(&cli->host, dir, &config, &problems, &err);
    bool good = say_problems(cli, &problems, status);
    if (!good && problems.errors == 0) (void)cli_fail(&err);
    config_problems_free(&problems);
    if (!good) return 2;
    if ((config->flows_n || has_models(cli, dir)) && check_models(cli, &models, &err) != OK) {
        config_free(&config);
        return cli_failed(&err);
    }
    int code = report(cli, config, models);
    json_decref(models);
    config_free(&config);
    return code;
}

static const struct command commands[] = {{
    .arguments = "",
    .summary = "validate configuration, models and expectations",
    .description = "Reads cupel.yaml, and the models, expectations and reference tables beside it, and reports everything that is wrong in one run, each with "
                   "file, line and column and the nearest right name. Models, expectations and the SQL of flows are bound against the tables that are there. "
                   "Exit code 2 when something is wrong. "
                   "With --json the effective settings are printed, secrets as ***.",
    .examples = "cupel check\ncupel -C shop check --json",
    .run = run,
}};

const struct command_group cmd_check = {.name = "check", .summary = "validate configuration, models and expectations", .commands = commands, .commands_n = 1};
