/* cupel model list|show: what each model is, reads, and how it is doing. */
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

static void print_problems(struct cli *cli, json_t *answer) {
    json_t *problems = json_object_get(answer, "problems"), *line;
    size_t i;
    json_array_foreach(problems, i, line) fprintf(stderr, "%s%s%s\n", color_red(cli), json_string_value(line), color_off(cli));
}

/* On stderr, as problems are: the list itself is what runs. */
static void print_left_behind(struct cli *cli, json_t *answer) {
    json_t *table;
    size_t i;
    json_array_foreach(json_object_get(answer, "without_model"), i, table) {
        fprintf(stderr, "%s%s.%s has no model any more and stays as it is; cupel flow prune drops it%s\n", color_red(cli), text_at(table, "schema"),
            text_at(table, "name"), color_off(cli));
    }
}

static void print_models(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"MODEL", "name", COLUMN_TEXT}, {"KIND", "kind", COLUMN_TEXT}, {"ROWS", "rows", COLUMN_NUMBER},
        {"STATE", "word", COLUMN_TEXT}, {"LAST RUN", "last_run.started_at", COLUMN_TIME}, {"MS", "last_run.duration_ms", COLUMN_NUMBER},
        {"NEWEST EVENT", "freshness.as_of_event", COLUMN_TIME}, {"READS", "reads", COLUMN_TEXT}};
    json_t *models = json_object_get(answer, "models"), *model, *input;
    size_t i, k;
    json_array_foreach(models, i, model) {
        BUF_SCOPE(reads);
        json_t *state = json_object_get(model, "state");
        json_array_foreach(json_object_get(model, "inputs"), k, input) buf_printf(&reads, "%s%s", k ? " " : "", text_at(input, "name"));
        json_object_set_new(model, "reads", json_string(buf_cstr(&reads)));
        const char *last = text_at(json_object_get(model, "last_run"), "status");
        bool failing = json_integer_value(json_object_get(state, "failures")) > 0;
        bool view = strcmp(text_at(model, "kind"), "view") == 0;
        json_object_set_new(model, "word",
            json_string(json_is_true(json_object_get(state, "running")) ? "running"
                    : failing                                           ? "failed"
                    : view                                              ? ""
                    : *last                                             ? last
                                                                        : "never ran"));
    }
    print_rows(cli, models, columns, sizeof columns / sizeof columns[0]);
    print_left_behind(cli, answer);
    print_problems(cli, answer);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/models"}, print_models); }

static void print_names(const char *title, json_t *list, const char *member) {
    size_t i;
    json_t *one;
    if (json_array_size(list) == 0) return;
    printf("%-14s", title);
    json_array_foreach(list, i, one) printf("%s%s", i ? ", " : "", member ? text_at(one, member) : json_string_value(one));
    putchar('\n');
}

static void print_line(const char *title, const char *text) {
    if (*text) printf("%-14s%s\n", title, text);
}

static void print_model(struct cli *cli, json_t *model) {
    static const struct column column_columns[] = {{"COLUMN", "name", COLUMN_TEXT}, {"TYPE", "type", COLUMN_TEXT}, {"DESCRIPTION", "description", COLUMN_TEXT}};
    static const struct column check_columns[] = {{"EXPECTATION", "expectation", COLUMN_TEXT}, {"COLUMN", "column_name", COLUMN_TEXT},
        {"STATUS", "status", COLUMN_TEXT}, {"UNEXPECTED", "unexpected", COLUMN_NUMBER}, {"OF", "total", COLUMN_NUMBER}};
    static const struct column run_columns[] = {{"STARTED", "started_at", COLUMN_TIME}, {"STATUS", "status", COLUMN_TEXT},
        {"STRATEGY", "strategy", COLUMN_TEXT}, {"MS", "duration_ms", COLUMN_NUMBER}, {"IN", "rows_in", COLUMN_NUMBER}, {"OUT", "rows_out", COLUMN_NUMBER},
        {"QUARANTINED", "quarantined", COLUMN_NUMBER}, {"ERROR", "error", COLUMN_TEXT}};
    if (cli_flag(cli, "compiled")) {
        const char *compiled = text_at(model, "compiled");
        printf("%s\n", *compiled ? compiled : text_at(model, "sql"));
        return;
    }
    printf("%s%s%s\n", color_bold(cli), text_at(model, "name"), color_off(cli));
    print_line("kind", text_at(model, "kind"));
    print_line("file", text_at(model, "file"));
    print_line("description", text_at(model, "description"));
    print_line("owner", text_at(model, "owner"));
    print_line("time", text_at(model, "time"));
    print_line("bucket", text_at(model, "bucket"));
    print_names("tags", json_object_get(model, "tags"), NULL);
    print_names("key", json_object_get(model, "key"), NULL);
    print_names("by", json_object_get(model, "by"), NULL);
    print_names("reads", json_object_get(model, "inputs"), "name");
    print_names("is read by", json_object_get(model, "readers"), NULL);
    print_line("newest event", text_at(json_object_get(model, "freshness"), "as_of_event"));
    const char *error = text_at(json_object_get(model, "state"), "error");
    if (*error) printf("%s%-14s%s%s\n", color_red(cli), "failing", error, color_off(cli));
    putchar('\n');
    print_rows(cli, json_object_get(model, "columns"), column_columns, sizeof column_columns / sizeof column_columns[0]);
    if (json_array_size(json_object_get(model, "checks"))) {
        putchar('\n');
        print_rows(cli, json_object_get(model, "checks"), check_columns, sizeof check_columns / sizeof check_columns[0]);
    }
    putchar('\n');
    print_rows(cli, json_object_get(model, "runs"), run_columns, sizeof run_columns / sizeof run_columns[0]);
    printf("\n%s\n", text_at(model, "sql"));
}

static int show(struct cli *cli) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/models/");
    url_escape(&path, str_of(cli->args[0]));
    return reach_print(cli, &(struct ask){.path = buf_cstr(&path)}, print_model);
}

static const struct cli_option show_options[] = {{.name = "compiled", .help = "the statements of the last run, as they ran"}, {.name = NULL}};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "models, their state and freshness", .examples = "cupel model list\ncupel model list --json", .run = list},
    {.verb = "show",
        .arguments = "MODEL",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "header, columns, checks, runs and SQL of a model",
        .options = show_options,
        .complete = COMPLETE_TABLE,
        .examples = "cupel model show silver.pos_sales\ncupel model show silver.pos_sales --compiled",
        .run = show},
};

const struct command_group cmd_model = {.name = "model", .summary = "models: SQL files that make tables", .commands = commands, .commands_n = 2};
