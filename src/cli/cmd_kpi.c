/* cupel kpi [TEAM]: a team's numbers by day, each as a sparkline with its newest value; tables without days as bars.
 *
 * Width: the sparkline gives way first, then columns are cut. Without a terminal 80 columns and the same characters: they are text. */
#include <math.h>
#include <stdio.h>

#include "base/assert.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "host/terminal.h"
#include "http/http_client.h"

#define NAME_WIDTH 28
#define SPARK_MAX 60
#define BARS_MAX 10

/* Exact decimals come as text. */
static bool number_of(json_t *value, double *out) {
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    return json_is_string(value) && str_to_double(str_of(json_string_value(value)), out);
}

/* ---- sparklines ---- */

static const char *const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

static void print_spark(json_t *rows, const char *column, size_t width) {
    double least = INFINITY, most = -INFINITY, value;
    size_t n = json_array_size(rows), first = n > width ? n - width : 0;
    for (size_t i = first; i < n; i++) {
        if (!number_of(json_object_get(json_array_get(rows, i), column), &value)) continue;
        least = fmin(least, value);
        most = fmax(most, value);
    }
    if (least > 0) least = 0; /* bars from zero: half the height is half the value */
    for (size_t i = first; i < n; i++) {
        bool known = number_of(json_object_get(json_array_get(rows, i), column), &value);
        int level = !known ? 0 : most > least ? (int)((value - least) / (most - least) * 7.999) : 0;
        fputs(known ? levels[level] : " ", stdout);
    }
    for (size_t i = n - first; i < width; i++) putchar(' ');
}

static void print_value(double value) {
    char text[32];
    if (value == floor(value) && fabs(value) < 1e15)
        printf("%14s", with_commas((int64_t)value, text));
    else if (fabs(value) >= 1000)
        printf("%14s", with_commas((int64_t)llround(value), text));
    else
        printf("%14.4g", value);
}

static bool newest(json_t *rows, const char *column, double *out) {
    for (size_t i = json_array_size(rows); i-- > 0;) {
        if (number_of(json_object_get(json_array_get(rows, i), column), out)) return true;
    }
    return false;
}

static void print_by_day(struct cli *cli, json_t *rows, size_t width) {
    json_t *last = json_array_get(rows, json_array_size(rows) - 1), *value;
    const char *name;
    size_t room = width > NAME_WIDTH + 20 ? width - NAME_WIDTH - 20 : 8;
    if (room > SPARK_MAX) room = SPARK_MAX;
    if (room > json_array_size(rows)) room = json_array_size(rows);
    json_object_foreach(last, name, value) {
        double number;
        if (strcmp(name, "day") == 0) continue;
        printf("  %-*.*s ", NAME_WIDTH, NAME_WIDTH, name);
        print_spark(rows, name, room);
        if (newest(rows, name, &number))
            print_value(number);
        else
            printf("%14s", "–");
        putchar('\n');
    }
}

/* ---- bars: tables without days ---- */

/* The first text or id columns name a row, the first other number is drawn. */
static const char *drawn_column(json_t *columns) {
    for (size_t i = 0; i < json_array_size(columns); i++) {
        json_t *column = json_array_get(columns, i);
        struct str name = str_of(text_at(column, "name")), type = str_of(text_at(column, "type"));
        bool number = str_find(type, STR("INT")) >= 0 || str_starts(type, STR("DECIMAL")) || str_is(type, "DOUBLE");
        if (number && !str_ends(name, STR("_id"))) return name.p;
    }
    return NULL;
}

static void print_row_name(json_t *columns, json_t *row, const char *drawn) {
    BUF_SCOPE(text);
    for (size_t i = 0; i < json_array_size(columns) && text.n < NAME_WIDTH; i++) {
        const char *name = text_at(json_array_get(columns, i), "name");
        json_t *value = json_object_get(row, name);
        if (drawn && strcmp(name, drawn) == 0) break;
        if (json_is_string(value)) buf_printf(&text, "%s%s", text.n ? " " : "", json_string_value(value));
        if (json_is_integer(value)) buf_printf(&text, "%s%s %" JSON_INTEGER_FORMAT, text.n ? ", " : "", name, json_integer_value(value));
    }
    printf("  %-*.*s ", NAME_WIDTH, NAME_WIDTH, buf_cstr(&text));
}

static void print_bars(struct cli *cli, json_t *table, size_t width) {
    json_t *rows = json_object_get(table, "sample"), *columns = json_object_get(table, "columns");
    const char *drawn = drawn_column(columns);
    size_t n = json_array_size(rows), room = width > NAME_WIDTH + 24 ? width - NAME_WIDTH - 24 : 8;
    double most = 0, value;
    for (size_t i = 0; drawn && i < n; i++) {
        if (number_of(json_object_get(json_array_get(rows, i), drawn), &value)) most = fmax(most, value);
    }
    for (size_t i = 0; i < n && i < BARS_MAX; i++) {
        json_t *row = json_array_get(rows, i);
        print_row_name(columns, row, drawn);
        bool known = drawn && number_of(json_object_get(row, drawn), &value);
        size_t length = known && most > 0 && value > 0 ? (size_t)(value / most * (double)(room > 40 ? 40 : room) + 0.5) : 0;
        for (size_t k = 0; k < length; k++) fputs("█", stdout);
        if (known) printf(" %g %s%s%s", value, color_dim(cli), drawn, color_off(cli));
        putchar('\n');
    }
    json_int_t all = json_integer_value(json_object_get(table, "rows"));
    if (all > BARS_MAX) printf("  … %" JSON_INTEGER_FORMAT " rows\n", all);
}

/* ---- a team ---- */

static void print_table(struct cli *cli, json_t *team, json_t *table, size_t width) {
    json_t *fresh = json_array_get(json_object_get(table, "freshness"), 0), *run = json_array_get(json_object_get(table, "last_run"), 0);
    json_t *by_day = json_object_get(table, "by_day");
    printf("%s%s.%s%s", color_bold(cli), text_at(team, "team"), text_at(table, "name"), color_off(cli));
    if (*text_at(fresh, "as_of_event")) printf("  %snewest event %s%s", color_dim(cli), text_at(fresh, "as_of_event"), color_off(cli));
    putchar('\n');
    if (strcmp(text_at(run, "status"), "failed") == 0) printf("  %slast run failed: %s%s\n", color_red(cli), text_at(run, "error"), color_off(cli));
    if (json_array_size(by_day)) {
        json_t *first = json_array_get(by_day, 0), *last = json_array_get(by_day, json_array_size(by_day) - 1);
        printf("  %s%.10s to %.10s%s\n", color_dim(cli), text_at(first, "day"), text_at(last, "day"), color_off(cli));
        print_by_day(cli, by_day, width);
    } else if (json_array_size(json_object_get(table, "sample"))) {
        print_bars(cli, table, width);
    } else {
        printf("  no data yet\n");
    }
    putchar('\n');
}

static void print_team(struct cli *cli, json_t *team) {
    size_t i, width = cli->out_terminal ? host_terminal_columns(1) : 80;
    json_t *table;
    json_array_foreach(json_object_get(team, "tables"), i, table) print_table(cli, team, table, width);
    bool good = json_is_true(json_object_get(team, "ok"));
    printf("%s%s%s\n", good ? color_green(cli) : color_red(cli),
        good ? "The accounts of the models add up." : "THE ACCOUNTS OF THE MODELS DO NOT ADD UP: cupel conservation", color_off(cli));
}

static enum status ask_team(struct reach *reach, const char *team, int64_t days, json_t **out, struct err *err) {
    BUF_SCOPE(path);
    buf_text(&path, "/v1/kpi/");
    url_escape(&path, str_of(team));
    buf_printf(&path, "?days=%lld", (long long)days);
    return reach_json(reach, &(struct ask){.path = buf_cstr(&path)}, out, err);
}

static enum status show_teams(struct cli *cli, struct reach *reach, json_t *names, int64_t days, json_t *all, struct err *err) {
    size_t i;
    json_t *name, *team;
    json_array_foreach(names, i, name) {
        enum status status = ask_team(reach, json_string_value(name), days, &team, err);
        if (status != OK) return status;
        if (!cli->json) {
            make_shown(team);
            print_team(cli, team);
        }
        json_array_append_new(all, team);
    }
    return OK;
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    int64_t days;
    json_t *teams = NULL, *names = NULL, *all = json_array();
    if (cli_number(cli, "days", 14, 1, 3660, &days, &err) != OK) return cli_fail(&err);
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    enum status status = OK;
    if (cli->args_n > 0) {
        names = json_pack("[s]", cli->args[0]);
    } else {
        status = reach_json(reach, &(struct ask){.path = "/v1/kpi"}, &teams, &err);
        names = json_incref(json_object_get(teams, "teams"));
    }
    if (status == OK) status = show_teams(cli, reach, names, days, all, &err);
    reach_close(&reach);
    if (status == OK && cli->json) print_json(cli->args_n > 0 ? json_array_get(all, 0) : all);
    if (status == OK && !cli->json && json_array_size(all) == 0) printf("No team has tables yet: a model in models/TEAM/NAME.sql makes TEAM.NAME.\n");
    json_decref(all);
    json_decref(names);
    json_decref(teams);
    return status == OK ? 0 : cli_failed(&err);
}

static const struct cli_option options[] = {
    {.name = "days", .letter = 'd', .value = "N", .help = "so many days up to the last one that has data (default 14)"}, {.name = NULL}};

static const struct command commands[] = {{
    .arguments = "[TEAM]",
    .arguments_max = 1,
    .summary = "the KPIs, with sparklines",
    .description = "A team is a schema of models. Tables with a column `day` are shown by day: counts and sums are added up over the other columns, rates and "
                   "averages are averaged. Others are shown as they are, with bars.",
    .examples = "cupel kpi\ncupel kpi sales --days 30\ncupel kpi marketing --json",
    .options = options,
    .run = run,
}};

const struct command_group cmd_kpi = {.name = "kpi", .summary = "the KPIs, with sparklines", .commands = commands, .commands_n = 1};
