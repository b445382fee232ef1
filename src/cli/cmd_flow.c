/* cupel flow list|run|status|backfill|prune: models and flows.
 *
 * `run` and `backfill` ask for a run, then follow it until it ends: each model as it is done. Ctrl-C cancels it; nothing half done stays, because every model
 * is one transaction. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/json.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "host/signals.h"
#include "http/http_client.h"

#define LOOK_FIRST_MS 50
#define LOOK_MS 300

/* ---- list ---- */

static void print_flows(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"FLOW", "name", COLUMN_TEXT}, {"STARTS", "starts", COLUMN_TEXT}, {"NEXT", "next_at", COLUMN_TIME},
        {"MODELS", "count", COLUMN_NUMBER}, {"STATUS", "status", COLUMN_TEXT}, {"LAST RUN", "last_run.started_at", COLUMN_TIME}};
    json_t *flows = json_object_get(answer, "flows"), *flow;
    size_t i;
    json_array_foreach(flows, i, flow) {
        BUF_SCOPE(starts);
        if (*text_at(flow, "schedule")) buf_printf(&starts, "%s %s", text_at(flow, "schedule"), text_at(flow, "timezone"));
        if (*text_at(flow, "after")) buf_printf(&starts, "%safter %s", starts.n ? ", " : "", text_at(flow, "after"));
        json_t *on = json_object_get(flow, "on");
        for (size_t k = 0; k < json_array_size(on); k++) buf_printf(&starts, "%son %s", starts.n ? ", " : "", json_string_value(json_array_get(on, k)));
        json_object_set_new(flow, "starts", json_string(starts.n ? buf_cstr(&starts) : "by hand"));
        json_object_set_new(flow, "count", json_integer((json_int_t)json_array_size(json_object_get(flow, "models"))));
    }
    print_rows(cli, flows, columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/flows"}, print_flows); }

/* ---- following a run ---- */

static void print_model(struct cli *cli, json_t *model) {
    char in[32], out[32], plus[32], minus[32];
    const char *status = text_at(model, "status");
    bool failed = strcmp(status, "failed") == 0;
    printf("%s%-9s%s %-36s %-9s",
        failed                            ? color_red(cli)
            : strcmp(status, "done") == 0 ? color_green(cli)
                                          : color_dim(cli),
        status, color_off(cli), text_at(model, "model"), text_at(model, "strategy"));
    json_int_t quarantined = json_integer_value(json_object_get(model, "quarantined")), differences = json_integer_value(json_object_get(model, "differences"));
    if (strcmp(status, "done") == 0) {
        printf(" %10s in %10s out  +%s -%s", with_commas(json_integer_value(json_object_get(model, "rows_in")), in),
            with_commas(json_integer_value(json_object_get(model, "rows_out")), out), with_commas(json_integer_value(json_object_get(model, "inserted")), plus),
            with_commas(json_integer_value(json_object_get(model, "deleted")), minus));
        if (quarantined) printf(", %s in quarantine", with_commas(quarantined, in));
        if (differences) printf(", %s%s rows differ%s", color_red(cli), with_commas(differences, in), color_off(cli));
        printf("  %.0f ms", json_number_value(json_object_get(model, "duration_ms")));
    }
    putchar('\n');
    if (*text_at(model, "detail") && (strcmp(status, "planned") == 0 || differences)) printf("          %s\n", text_at(model, "detail"));
    if (failed) printf("          %s\n", text_at(model, "error"));
}

/* On a terminal: that something goes on. */
static void show_progress(struct cli *cli, json_t *run, size_t printed) {
    size_t steps = json_array_size(json_object_get(run, "steps")), done = 0, i;
    json_t *step;
    json_array_foreach(json_object_get(run, "steps"), i, step) done += json_object_get(step, "duration_ms") != NULL;
    if (steps > 1)
        progress(cli, false, "%s: %zu of %zu steps", text_at(run, "status"), done, steps);
    else
        progress(cli, false, "%s: %zu models done", text_at(run, "status"), printed);
}

static void clear_progress(struct cli *cli) {
    if (cli->err_terminal) fputs("\r\033[K", stderr);
}

/* Models that were not printed before; *printed counts them. */
static void print_news(struct cli *cli, json_t *run, size_t *printed) {
    size_t seen = 0, i, k;
    json_t *steps = json_object_get(run, "steps"), *step, *model;
    json_array_foreach(steps, i, step) {
        json_array_foreach(json_object_get(step, "models"), k, model) {
            if (seen++ < *printed) continue;
            print_model(cli, model);
            ++*printed;
        }
    }
    fflush(stdout);
}

static bool has_ended(json_t *run) {
    const char *status = text_at(run, "status");
    return strcmp(status, "queued") != 0 && strcmp(status, "running") != 0;
}

static void cancel(struct reach *reach, const char *id) {
    BUF_SCOPE(path);
    BUF_SCOPE(nothing);
    buf_printf(&path, "/v1/runs/%s/cancel", id);
    (void)reach_ask(reach, &(struct ask){.method = "POST", .path = buf_cstr(&path)}, &nothing, NULL, NULL);
}

/* Only parallel steps print out of the order of the list: they are few, so the list is printed as it stands at the end when a step lies before another. */
static enum status follow(struct cli *cli, struct reach *reach, const char *id, json_t **out, struct err *err) {
    BUF_SCOPE(path);
    buf_printf(&path, "/v1/runs/%s", id);
    size_t printed = 0;
    bool cancelled = false;
    host_interrupts_begin();
    host_interrupts_clear();
    enum status status = OK;
    for (int64_t wait_ms = LOOK_FIRST_MS;; wait_ms = LOOK_MS) {
        json_t *run;
        status = reach_json(reach, &(struct ask){.path = buf_cstr(&path)}, &run, err);
        if (status != OK) break;
        if (!cli->json) make_shown(run);
        bool ended = has_ended(run), single = json_array_size(json_object_get(run, "steps")) <= 1;
        if (!cli->json) clear_progress(cli);
        if (!cli->json && (single || ended)) print_news(cli, run, &printed);
        if (!cli->json && !ended) show_progress(cli, run, printed);
        if (ended) {
            *out = run;
            break;
        }
        json_decref(run);
        if (host_interrupted() && !cancelled) {
            cancelled = true;
            cancel(reach, id);
        }
        cli->host.clock->sleep_us(cli->host.clock->self, wait_ms * 1000);
    }
    host_interrupts_end();
    return status;
}

static void print_steps(struct cli *cli, json_t *run) {
    json_t *steps = json_object_get(run, "steps"), *step;
    size_t i;
    if (json_array_size(steps) <= 1) return;
    json_array_foreach(steps, i, step) {
        const char *status = text_at(step, "status");
        printf("%s%-9s%s step %s", strcmp(status, "failed") == 0 ? color_red(cli) : "", status, color_off(cli), text_at(step, "name"));
        json_int_t attempts = json_integer_value(json_object_get(step, "attempts"));
        if (attempts > 1) printf(" (%" JSON_INTEGER_FORMAT " attempts)", attempts);
        if (*text_at(step, "error")) printf(": %s", text_at(step, "error"));
        putchar('\n');
    }
}

static int report(struct cli *cli, json_t *run) {
    const char *status = text_at(run, "status");
    bool good = strcmp(status, "done") == 0;
    if (cli->json) {
        print_json(run);
        return good ? 0 : 1;
    }
    print_steps(cli, run);
    double seconds = json_number_value(json_object_get(run, "duration_ms")) / 1000;
    if (good)
        fprintf(stderr, "%s%s%s in %.1f s (%s)\n", color_green(cli), status, color_off(cli), seconds, text_at(run, "id"));
    else
        fprintf(stderr, "%s%s%s: %s (%s)\n", color_red(cli), status, color_off(cli), text_at(run, "error"), text_at(run, "id"));
    return good ? 0 : 1;
}

/* Asks, and follows unless --no-wait. */
static int ask_and_follow(struct cli *cli, const char *path, struct str body) {
    struct err err = {0};
    struct reach *reach;
    json_t *answer, *run = NULL;
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    bool wait = !cli_flag(cli, "no-wait") || !reach_is_server(reach);
    enum status status = reach_json(reach, &(struct ask){.method = "POST", .path = path, .body = body}, &answer, &err);
    if (status == OK) {
        char *id = arena_strdup(cli->arena, text_at(answer, "run"));
        if (!wait) printf(cli->json ? "{\"run\":\"%s\"}\n" : "%s\n", id);
        if (wait) status = follow(cli, reach, id, &run, &err);
        json_decref(answer);
    }
    reach_close(&reach);
    if (status != OK) return cli_failed(&err);
    int code = run ? report(cli, run) : 0;
    json_decref(run);
    return code;
}

/* ---- run ---- */

static void put_selections(struct cli *cli, struct json_writer *w) {
    json_name(w, "models");
    json_begin_array(w);
    for (size_t i = 0; i < cli->given_n; i++) {
        if (strcmp(cli->given[i].option->name, "select") == 0) json_text(w, cli->given[i].value);
    }
    json_end_array(w);
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(path);
    BUF_SCOPE(body);
    bool of_models = cli_value(cli, "select") || cli_flag(cli, "full-refresh") || cli_flag(cli, "dry-run") || cli_flag(cli, "verify");
    if (cli->args_n > 0 && of_models)
        return cli_usage(cli, "a flow runs as it stands in cupel.yaml: --select, --full-refresh, --dry-run and --verify are for models");
    if (cli->args_n > 0) {
        buf_text(&path, "/v1/flows/");
        url_escape(&path, str_of(cli->args[0]));
        buf_text(&path, "/run?cause=hand");
        return ask_and_follow(cli, buf_cstr(&path), STR_NULL);
    }
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    put_selections(cli, &w);
    json_put_bool(&w, "full_refresh", cli_flag(cli, "full-refresh"));
    json_put_bool(&w, "dry_run", cli_flag(cli, "dry-run"));
    json_put_bool(&w, "verify", cli_flag(cli, "verify"));
    json_end_object(&w);
    return ask_and_follow(cli, "/v1/runs?cause=hand", buf_view(&body));
}

static int backfill(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(body);
    static const char *const names[] = {"from", "to", "wave"};
    if (!cli_value(cli, "from")) return cli_usage(cli, "--from says where to begin: --from 2026-10-01 --to 2026-11-01");
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_text(&w, "backfill", cli->args[0]);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (cli_value(cli, names[i])) json_put_text(&w, names[i], cli_value(cli, names[i]));
    }
    json_put_bool(&w, "anew", cli_flag(cli, "anew"));
    json_end_object(&w);
    return ask_and_follow(cli, "/v1/runs?cause=hand", buf_view(&body));
}

/* ---- status ---- */

static void print_runs(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"RUN", "id", COLUMN_TEXT}, {"FLOW", "flow", COLUMN_TEXT}, {"CAUSE", "cause", COLUMN_TEXT},
        {"STATUS", "status", COLUMN_TEXT}, {"STARTED", "started_at", COLUMN_TIME}, {"MS", "duration_ms", COLUMN_NUMBER}, {"ERROR", "error", COLUMN_TEXT}};
    static const struct column model_columns[] = {{"MODEL", "model", COLUMN_TEXT}, {"CAUSE", "trigger", COLUMN_TEXT}, {"STRATEGY", "strategy", COLUMN_TEXT},
        {"STATUS", "status", COLUMN_TEXT}, {"STARTED", "started_at", COLUMN_TIME}, {"MS", "duration_ms", COLUMN_NUMBER}, {"IN", "rows_in", COLUMN_NUMBER},
        {"OUT", "rows_out", COLUMN_NUMBER}, {"QUARANTINED", "quarantined", COLUMN_NUMBER}, {"ERROR", "error", COLUMN_TEXT}};
    json_t *runs = json_object_get(answer, "runs"), *models = json_object_get(answer, "model_runs");
    if (json_array_size(runs)) {
        print_rows(cli, runs, columns, sizeof columns / sizeof columns[0]);
        putchar('\n');
    }
    print_rows(cli, models, model_columns, sizeof model_columns / sizeof model_columns[0]);
}

static void print_one_run(struct cli *cli, json_t *run) {
    size_t printed = 0;
    if (!json_object_get(run, "steps")) { /* of one model */
        print_object(cli, run);
        return;
    }
    printf("%s%s%s  flow %s, %s, %s", color_bold(cli), text_at(run, "id"), color_off(cli), text_at(run, "flow"), text_at(run, "cause"), text_at(run, "status"));
    printf(*text_at(run, "error") ? ": %s\n" : "%s\n", text_at(run, "error"));
    print_steps(cli, run);
    print_news(cli, run, &printed);
}

static int status_of(struct cli *cli) {
    must(cli->command != NULL);
    BUF_SCOPE(path);
    int64_t limit;
    struct err err = {0};
    if (cli_number(cli, "limit", 20, 1, 1000, &limit, &err) != OK) return cli_fail(&err);
    buf_text(&path, "/v1/runs");
    if (cli->args_n > 0) {
        buf_char(&path, '/');
        url_escape(&path, str_of(cli->args[0]));
        return reach_print(cli, &(struct ask){.path = buf_cstr(&path)}, print_one_run);
    }
    buf_printf(&path, "?limit=%lld", (long long)limit);
    static const char *const names[] = {"flow", "model"};
    for (size_t i = 0; i < 2; i++) {
        if (!cli_value(cli, names[i])) continue;
        buf_printf(&path, "&%s=", names[i]);
        url_escape(&path, str_of(cli_value(cli, names[i])));
    }
    return reach_print(cli, &(struct ask){.path = buf_cstr(&path)}, print_runs);
}

/* ---- prune ---- */

static enum status ask_prune(struct reach *reach, bool yes, json_t **out, struct err *err) {
    struct str body = yes ? STR("{\"yes\":true}") : STR("{}");
    return reach_json(reach, &(struct ask){.method = "POST", .path = "/v1/prune", .body = body}, out, err);
}

static bool agreed(struct cli *cli, size_t n) {
    char line[16];
    if (cli_flag(cli, "yes")) return true;
    if (!cli->out_terminal || !cli->err_terminal) return false;
    fprintf(stderr, "Drop %s with quarantine and history of checks? [y/N] ", n == 1 ? "this table" : "these tables");
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static int prune(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    json_t *answer = NULL;
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    enum status status = ask_prune(reach, false, &answer, &err);
    size_t n = json_array_size(json_object_get(answer, "tables"));
    for (size_t i = 0; !cli->json && i < n; i++) printf("%s\n", text_at(json_array_get(json_object_get(answer, "tables"), i), "model"));
    fflush(stdout);
    if (status == OK && n > 0 && agreed(cli, n)) {
        json_decref(answer);
        answer = NULL;
        status = ask_prune(reach, true, &answer, &err);
    }
    reach_close(&reach);
    if (status != OK) return cli_failed(&err);
    bool dropped = json_is_true(json_object_get(answer, "dropped"));
    if (cli->json)
        print_json(answer);
    else if (n == 0)
        printf("Every table has its model.\n");
    else
        fprintf(stderr, dropped ? "dropped\n" : "Nothing was dropped; --yes drops without asking.\n");
    json_decref(answer);
    return 0;
}

/* ---- rows ---- */

static const struct cli_option run_options[] = {
    {.name = "select",
        .letter = 's',
        .value = "MODELS",
        .help = "models: silver.pos_sales, silver.pos_sales+ (and what reads it), +x, sales.*, tag:web",
        .repeat = true},
    {.name = "full-refresh", .help = "build the tables anew from all of their inputs, beside the old ones"},
    {.name = "dry-run", .help = "show what would be restated; change nothing"},
    {.name = "verify", .help = "compare the tables with a full recompute; change nothing, exit code 1 when they differ"},
    {.name = "no-wait", .help = "print the id of the run and leave it to the server"},
    {.name = NULL},
};
static const struct cli_option backfill_options[] = {
    {.name = "from", .value = "TIME", .help = "restate from here on: a date, a time, or a duration back from now (30d)"},
    {.name = "to", .value = "TIME", .help = "up to here (default: now)"},
    {.name = "wave", .value = "TIME", .help = "so much at once, each committed by itself (default 1d)"},
    {.name = "anew", .help = "from the beginning, although an earlier run of this range stopped in the middle"},
    {.name = "no-wait", .help = "print the id of the run and leave it to the server"},
    {.name = NULL},
};
static const struct cli_option status_options[] = {
    {.name = "flow", .value = "FLOW", .help = "only runs of this flow"},
    {.name = "model", .value = "MODEL", .help = "only runs of this model"},
    {.name = "limit", .letter = 'n', .value = "N", .help = "at most N, newest first (default 20)"},
    {.name = NULL},
};
static const struct cli_option prune_options[] = {{.name = "yes", .letter = 'y', .help = "drop without asking"}, {.name = NULL}};

static const struct command commands[] = {
    {.verb = "list", .arguments = "", .summary = "flows: when they run next, how they ran last", .examples = "cupel flow list", .run = list},
    {.verb = "run",
        .arguments = "[FLOW]",
        .arguments_max = 1,
        .summary = "run a flow, or models, now",
        .description = "Without a flow: the models of --select, or all. Each restates only what its inputs changed, unless --full-refresh. A model that fails "
                       "leaves its table as it was; those that read it are skipped, others go on, and the exit code is 1. With a server the run is the "
                       "server's, and goes on when this command is killed; Ctrl-C cancels it.",
        .options = run_options,
        .examples = "cupel flow run\ncupel flow run nightly\ncupel flow run --select silver.pos_sales+ --dry-run\ncupel flow run --verify --json",
        .run = run},
    {.verb = "status",
        .arguments = "[RUN]",
        .arguments_max = 1,
        .summary = "runs, newest first; or one of them",
        .options = status_options,
        .examples = "cupel flow status\ncupel flow status --model silver.web_events\ncupel flow status run-20261120T101500-1a2b3c4d",
        .run = status_of},
    {.verb = "backfill",
        .arguments = "FLOW|MODELS",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "restate a range of time, in waves",
        .description = "Waves are committed one by one: what is done stays done, and the same command goes on behind the last whole wave.",
        .options = backfill_options,
        .examples = "cupel flow backfill sales.total_sales --from 2026-10-01 --to 2026-11-01\ncupel flow backfill nightly --from 30d --wave 7d",
        .run = backfill},
    {.verb = "prune",
        .arguments = "",
        .summary = "drop tables of models that are gone",
        .options = prune_options,
        .examples = "cupel flow prune\ncupel flow prune --yes",
        .run = prune},
};

const struct command_group cmd_flow = {.name = "flow", .summary = "models and flows", .commands = commands, .commands_n = sizeof commands / sizeof commands[0]};
