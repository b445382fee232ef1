/* cupel demo: a simulated shop goes through the whole of Cupel, as anybody would run it: a project folder, `cupel serve`, senders outside, SQL, accounts.
 *
 * Nothing is read from inside: the server is a process of its own, asked over HTTP; cupel-sim says what it sent, and the tables are compared with that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "config/config.h"
#include "host/signals.h"
#include "host/terminal.h"
#include "serve/node.h"

#define START_MS 30000
#define LAND_MS 120000
#define BAR_WIDTH 40

struct demo {
    struct cli *cli;
    int64_t days, seed;
    bool keep;
    char *dir, *summary_path;
    struct host_process server;
    bool serving;
    struct reach *reach;
    json_t *truth; /* what cupel-sim counted */
    unsigned differences; /* between that and the tables */
    int64_t step_us;
};

static double seconds_since(const struct demo *d, int64_t from_us) { return (double)(host_monotonic_us(&d->cli->host) - from_us) / 1e6; }

/* ---- processes ---- */

/* cupel-sim of this build or this installation. */
static enum status find_sim(struct demo *d, char **out, struct err *err) {
    static const char *const places[] = {"../sim/cupel-sim", "../libexec/cupel/cupel-sim", "cupel-sim"};
    char *self = host_self_path(d->cli->arena), *slash = strrchr(self, '/');
    must(slash);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = arena_printf(d->cli->arena, "%.*s/%s", (int)(slash - self), self, places[i]);
        if (fs_exists(d->cli->host.fs, path)) {
            *out = path;
            return OK;
        }
    }
    return err_set(err, E_NOT_FOUND, "cupel-sim is neither beside %s nor in ../libexec/cupel", self);
}

static enum status make_project(struct demo *d, struct err *err) {
    const char *parent = getenv("TMPDIR");
    uint32_t number;
    host_random(&number, sizeof number);
    d->dir = arena_printf(d->cli->arena, "%s/cupel-demo-%08x", parent && parent[0] ? parent : "/tmp", number);
    d->summary_path = arena_printf(d->cli->arena, "%s/data/demo.json", d->dir);
    char *data_dir = arena_printf(d->cli->arena, "%s/data", d->dir);
    enum status status = config_init(&d->cli->host, d->dir, "retail", err);
    if (status == OK) status = fs_mkdirs(d->cli->host.fs, data_dir, err);
    if (status == OK) status = host_make_private(d->dir, true, err);
    if (status == OK) printf("Project    %s (template retail)\n", d->dir);
    return status;
}

static enum status start_server(struct demo *d, struct err *err) {
    const char *argv[] = {host_self_path(d->cli->arena), "-C", d->dir, "serve", "--quiet", "--listen", "127.0.0.1:0", NULL};
    enum status status = host_spawn((char *const *)argv, NULL, 0, &d->server, err);
    if (status != OK) return status;
    d->serving = true;
    d->cli->dir = d->dir; /* from here on we are a client of it */
    for (int64_t began_us = host_monotonic_us(&d->cli->host);;) {
        int exit_status;
        if (reach_open(d->cli, &(struct reach_options){.only_running = true}, &d->reach, err) == OK) break;
        if (host_process_ended(&d->server, &exit_status)) {
            d->serving = false;
            return err_set(err, E_UNAVAILABLE, "cupel serve ended before it was ready; see %s/data/logs", d->dir);
        }
        if (seconds_since(d, began_us) * 1000 > START_MS) return err_set(err, E_TIMEOUT, "cupel serve was not ready after %d s", START_MS / 1000);
        d->cli->host.clock->sleep_us(d->cli->host.clock->self, 20000);
    }
    printf("Server     http://%s, ready after %.2f s\n", reach_address(d->reach), seconds_since(d, d->step_us));
    return OK;
}

static void stop_server(struct demo *d) {
    int exit_status;
    if (d->reach) reach_close(&d->reach);
    if (!d->serving) return;
    host_process_kill(&d->server, 15);
    if (!host_process_wait(&d->server, START_MS, &exit_status)) host_process_kill(&d->server, 9);
    host_process_wait(&d->server, -1, &exit_status);
    d->serving = false;
}

static enum status read_truth(struct demo *d, struct err *err) {
    struct str text;
    enum status status = fs_read_all(d->cli->host.fs, d->cli->arena, d->summary_path, 1 << 20, &text, err);
    if (status != OK) return status;
    json_error_t error;
    d->truth = json_loadb(text.p, text.n, 0, &error);
    return d->truth ? OK : err_set(err, E_CORRUPT, "%s: %s", d->summary_path, error.text);
}

static int64_t truth(const struct demo *d, const char *name) { return json_integer_value(json_object_get(d->truth, name)); }

static enum status send_the_day(struct demo *d, struct err *err) {
    struct arena *arena = d->cli->arena;
    char *sim = NULL;
    enum status status = find_sim(d, &sim, err);
    if (status != OK) return status;
    const char *argv[] = {sim, "--dir", d->dir, "--url", arena_printf(arena, "http://%s", reach_address(d->reach)), "--token-file",
        arena_printf(arena, "%s/data/cli.token", d->dir), "--days", arena_printf(arena, "%lld", (long long)d->days), "--seed",
        arena_printf(arena, "%lld", (long long)d->seed), "--summary", d->summary_path, NULL};
    struct host_process process;
    status = host_spawn((char *const *)argv, NULL, 0, &process, err);
    if (status != OK) return status;
    int exit_status;
    host_process_wait(&process, -1, &exit_status);
    if (exit_status != 0) return err_set(err, E_INTERNAL, "cupel-sim failed");
    status = read_truth(d, err);
    if (status != OK) return status;
    char a[32], b[32], c[32];
    printf("The shop   %lld day%s from %s: %s web events, %s customer interactions, %lld stock alerts in %s requests,\n", (long long)d->days,
        d->days == 1 ? "" : "s", json_string_value(json_object_get(d->truth, "date")), with_commas(truth(d, "web_events"), a),
        with_commas(truth(d, "crm_events"), b), (long long)truth(d, "inventory_events"), with_commas(truth(d, "requests"), c));
    printf("           %lld files of sales and %lld of inventory; sent in %.1f s\n", (long long)(truth(d, "pos_files") + truth(d, "pos_files_again")),
        (long long)truth(d, "inventory_files"), seconds_since(d, d->step_us));
    return OK;
}

/* Files that still lie in a watched folder. */
static enum status files_waiting(struct demo *d, const char *feed, size_t *out, struct err *err) {
    ARENA_SCOPE(arena);
    struct fs_entry *entries;
    size_t n;
    enum status status = d->cli->host.fs->list(d->cli->host.fs->self, arena, arena_printf(arena, "%s/landing/%s", d->dir, feed), &entries, &n, err);
    for (size_t i = 0; status == OK && i < n; i++) *out += entries[i].stat.is_file && entries[i].name[0] != '.';
    return status;
}

static enum status wait_landed(struct demo *d, struct err *err) {
    for (;;) {
        size_t waiting = 0;
        enum status listed = files_waiting(d, "pos", &waiting, err);
        if (listed == OK) listed = files_waiting(d, "inventory", &waiting, err);
        if (listed != OK) return listed;
        if (waiting == 0) break;
        if (seconds_since(d, d->step_us) * 1000 > LAND_MS)
            return err_set(err, E_TIMEOUT, "%zu files have not landed after %d s; see %s/data/logs", waiting, LAND_MS / 1000, d->dir);
        progress(d->cli, false, "%zu files to land", waiting);
        d->cli->host.clock->sleep_us(d->cli->host.clock->self, 50000);
    }
    BUF_SCOPE(answer);
    enum status status =
        reach_ask(d->reach, &(struct ask){.method = "POST", .path = "/v1/flush"}, &answer, NULL, err); /* events wait for 128 MB or 300 s otherwise */
    if (status != OK) return status;
    printf("Landed     all files and events in the lake after another %.1f s\n", seconds_since(d, d->step_us));
    return OK;
}

/* ---- questions ---- */

/* Rows as an array of objects; *out is a new reference. */
static enum status ask_sql(struct demo *d, const char *sql, json_t **out, struct err *err) {
    BUF_SCOPE(text);
    enum status status = reach_ask(d->reach,
        &(struct ask){.method = "POST", .path = "/v1/sql", .body = str_of(sql), .content_type = "application/sql", .accept = "application/x-ndjson"}, &text,
        NULL, err);
    if (status != OK) return err_prefix(err, "%s", sql);
    json_t *rows = json_array();
    struct str rest = buf_view(&text);
    while (rest.n > 0) {
        struct str line = str_cut(&rest, '\n');
        json_error_t error;
        json_t *row = line.n ? json_loadb(line.p, line.n, JSON_DECODE_ANY, &error) : NULL;
        if (row) json_array_append_new(rows, row);
    }
    *out = rows;
    return OK;
}

/* Decimals come as text, so that nothing is rounded on the way. */
static double number_of(const json_t *value) {
    double number = 0;
    if (json_is_string(value)) return str_to_double(str_of(json_string_value(value)), &number) ? number : 0;
    return json_number_value(value);
}

static void bar(double share) {
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int steps = (int)(share * BAR_WIDTH * 8 + 0.5);
    for (int i = 0; i < steps / 8; i++) fputs("█", stdout);
    fputs(eighths[steps % 8], stdout);
}

struct question {
    const char *title, *sql; /* columns: label, value */
    bool money;
};

static const struct question questions[] = {
    {"Sales by hour of the day, from files in four dialects", .money = true,
        .sql = "SELECT printf('%02d:00', (CAST(CAST(\"timestamp\" AS DOUBLE) AS BIGINT) // 3600) % 24) AS label, sum(CAST(revenue AS DECIMAL(18,2))) AS value "
               "FROM bronze.pos GROUP BY 1 ORDER BY 1"},
    {"Web events by kind, seconds after they were sent",
        .sql = "SELECT lower(payload->>'$.event_type') AS label, count(*) AS value FROM bronze.web_traffic GROUP BY 1 ORDER BY 2 DESC"},
    {"Customer interactions by channel",
        .sql = "SELECT coalesce(lower(trim(payload->>'$.channel')), 'unknown') AS label, count(*) AS value FROM bronze.crm_interactions GROUP BY 1 ORDER BY 2 "
               "DESC"},
    {"Pairs of product and warehouse at or below their threshold, by warehouse",
        .sql = "SELECT 'warehouse ' || warehouse_id AS label, count(*) AS value FROM (SELECT product_id, warehouse_id, arg_max(TRY_CAST(stock_level AS "
               "INTEGER), CAST(last_updated AS BIGINT)) AS stock, "
               "max(TRY_CAST(restock_threshold AS INTEGER)) AS threshold FROM bronze.inventory_files GROUP BY 1, 2) WHERE stock <= threshold GROUP BY 1 ORDER "
               "BY 1"},
};

static enum status ask_one(struct demo *d, const struct question *q, struct err *err) {
    json_t *rows = NULL, *row;
    size_t i;
    int64_t began_us = host_monotonic_us(&d->cli->host);
    enum status status = ask_sql(d, q->sql, &rows, err);
    if (status != OK) return status;
    double took_ms = seconds_since(d, began_us) * 1000, most = 0;
    json_array_foreach(rows, i, row) {
        double value = number_of(json_object_get(row, "value"));
        if (value > most) most = value;
    }
    printf("\n%s%s%s %s(%.0f ms)%s\n", color_bold(d->cli), q->title, color_off(d->cli), color_dim(d->cli), took_ms, color_off(d->cli));
    json_array_foreach(rows, i, row) {
        double value = number_of(json_object_get(row, "value"));
        char text[32];
        const char *label = json_string_value(json_object_get(row, "label"));
        printf("  %-14s %12s  ", label ? label : "-", with_commas((int64_t)(value + (value < 0 ? -0.5 : 0.5)), text));
        if (most > 0 && value > 0) bar(value / most);
        putchar('\n');
    }
    json_decref(rows);
    return OK;
}

static enum status ask_questions(struct demo *d, struct err *err) {
    enum status status = OK;
    for (size_t i = 0; i < sizeof questions / sizeof questions[0] && status == OK; i++) status = ask_one(d, &questions[i], err);
    return status;
}

/* ---- does it add up ---- */

static void compare(struct demo *d, const char *what, const char *sent, const char *stored) {
    bool same = strcmp(sent, stored) == 0;
    d->differences += !same;
    printf("  %-34s %16s %16s  %s%s%s\n", what, sent, stored, same ? color_green(d->cli) : color_red(d->cli), same ? "✓" : "differs", color_off(d->cli));
}

struct tally {
    const char *what, *truth_name, *sql;
};

static const struct tally tallies[] = {
    {"rows in sales files", "pos_rows", "SELECT count(*) AS n FROM bronze.pos"},
    {"rows in inventory files", "inventory_rows", "SELECT count(*) AS n FROM bronze.inventory_files"},
    {"web events", "web_events", "SELECT count(*) AS n FROM bronze.web_traffic"},
    {"customer interactions", "crm_events", "SELECT count(*) AS n FROM bronze.crm_interactions"},
    {"stock alerts", "inventory_events", "SELECT count(*) AS n FROM bronze.inventory"},
};

static enum status one_value(struct demo *d, const char *sql, char *out, size_t size, struct err *err) {
    json_t *rows = NULL;
    enum status status = ask_sql(d, sql, &rows, err);
    if (status != OK) return status;
    json_t *value = json_object_get(json_array_get(rows, 0), "n");
    if (json_is_integer(value))
        snprintf(out, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else
        status = err_set(err, E_INTERNAL, "%s: no value", sql);
    json_decref(rows);
    return status;
}

static enum status compare_with_the_shop(struct demo *d, struct err *err) {
    printf("\n%s%-36s %16s %16s%s\n", color_bold(d->cli), "What the shop sent, and what is here", "sent", "stored", color_off(d->cli));
    char stored[64], sent[64];
    for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++) {
        enum status status = one_value(d, tallies[i].sql, stored, sizeof stored, err);
        if (status != OK) return status;
        snprintf(sent, sizeof sent, "%lld", (long long)truth(d, tallies[i].truth_name));
        compare(d, tallies[i].what, sent, stored);
    }
    enum status status = one_value(d, "SELECT CAST(sum(CAST(revenue AS DECIMAL(18,2))) AS VARCHAR) AS n FROM bronze.pos", stored, sizeof stored, err);
    if (status != OK) return status;
    int64_t cents = truth(d, "pos_revenue_cents");
    snprintf(sent, sizeof sent, "%lld.%02lld", (long long)(cents / 100), (long long)(cents % 100));
    compare(d, "revenue, to the cent", sent, stored);
    printf("  %ssent twice and stored once: %lld events, %lld file; %lld broken lines are in quarantine; %lld broken bodies were refused%s\n",
        color_dim(d->cli), (long long)(truth(d, "web_duplicates") + truth(d, "crm_duplicates")), (long long)truth(d, "pos_files_again"),
        (long long)truth(d, "pos_broken_rows"), (long long)truth(d, "refused_expected"), color_off(d->cli));
    return OK;
}

static enum status show_accounts(struct demo *d, struct err *err) {
    json_t *answer, *hop;
    size_t i;
    enum status status = reach_json(d->reach, &(struct ask){.path = "/v1/conservation?deep=true"}, &answer, err);
    if (status != OK) return status;
    printf("\n%sThe accounts%s\n", color_bold(d->cli), color_off(d->cli));
    json_array_foreach(json_object_get(answer, "hops"), i, hop) {
        const char *name = json_string_value(json_object_get(hop, "name"));
        bool file = json_object_get(hop, "read") != NULL;
        char a[32], b[32], c[32];
        printf("  %-6s %-18s %s %10s = landed %10s + %s %8s  %s\n", file ? "file" : "stream", name ? name : "-", file ? "read    " : "received",
            with_commas(json_integer_value(json_object_get(hop, file ? "read" : "received")), a),
            with_commas(json_integer_value(json_object_get(hop, "landed")), b), file ? "quarantined" : "in the log ",
            with_commas(json_integer_value(json_object_get(hop, file ? "quarantined" : "in_log")), c),
            json_is_true(json_object_get(hop, "ok")) ? "✓" : "does not add up");
    }
    if (!json_is_true(json_object_get(answer, "ok"))) d->differences++;
    json_decref(answer);
    return OK;
}

static void show_places(const struct demo *d) {
    printf("\n%sWhere things are%s\n", color_bold(d->cli), color_off(d->cli));
    printf("  %s/cupel.yaml       what flows where\n", d->dir);
    printf("  %s/landing          files; taken ones are in done/ below each folder\n", d->dir);
    printf("  %s/data/lake        Iceberg tables (Parquet); the catalog is data/ledger.db, PyIceberg's SqlCatalog can be pointed at it\n", d->dir);
    printf("  %s/data/log         the durable log\n", d->dir);
}

/* ---- the steps ---- */

static const struct step {
    const char *name;
    enum status (*run)(struct demo *demo, struct err *err);
} steps[] = {
    {"making the project", make_project},
    {"starting the server", start_server},
    {"the shop's day", send_the_day},
    {"landing", wait_landed},
    {"questions", ask_questions},
    {"comparing", compare_with_the_shop},
    {"the accounts", show_accounts},
};

static enum status run_steps(struct demo *d, struct err *err) {
    enum status status = OK;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status == OK; i++) {
        d->step_us = host_monotonic_us(&d->cli->host);
        status = steps[i].run(d, err);
        fflush(stdout);
        if (status != OK) err_prefix(err, "%s", steps[i].name);
    }
    return status;
}

static void stay(struct demo *d) {
    int exit_status;
    printf("\nServing at http://%s until Ctrl-C. Try:\n  cupel -C %s sql\n  cupel -C %s stream list\n", reach_address(d->reach), d->dir, d->dir);
    fflush(stdout);
    host_process_wait(&d->server, -1, &exit_status);
    d->serving = false;
}

static int run(struct cli *cli) {
    struct err err = {0};
    struct demo demo = {.cli = cli, .keep = cli_flag(cli, "keep")};
    if (cli_number(cli, "days", 1, 1, 365, &demo.days, &err) != OK || cli_number(cli, "seed", 1, 0, INT64_MAX, &demo.seed, &err) != OK) return cli_fail(&err);
    int64_t began_us = host_monotonic_us(&cli->host);
    host_interrupts_begin(); /* Ctrl-C ends the server, which is in our process group, and then us */
    enum status status = run_steps(&demo, &err);
    if (status == OK) {
        show_places(&demo);
        printf("\n%s in %.1f s.\n", demo.differences ? "Something differs" : "Everything adds up", seconds_since(&demo, began_us));
        if (demo.keep) stay(&demo);
    }
    stop_server(&demo);
    host_interrupts_end();
    if (demo.truth) json_decref(demo.truth);
    if (status == OK && !demo.keep && !demo.differences && demo.dir) {
        struct err ignored; /* what stays lies in a temporary folder */
        fs_remove_tree(cli->host.fs, demo.dir, &ignored);
        printf("The project was removed again; `cupel demo --keep` leaves it and goes on serving.\n");
    }
    if (status != OK) return cli_fail(&err);
    return demo.differences ? 1 : 0;
}

static const struct cli_option options[] = {
    {.name = "days", .value = "N", .help = "how many days of the shop (default: 1)"},
    {.name = "seed", .value = "N", .help = "another shop: the same number gives the same files and events (default: 1)"},
    {.name = "keep", .help = "go on serving afterwards, and keep the project"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "a simulated shop, from its tills to SQL",
    .description = "Makes a project in a temporary folder, starts a server on it, lets a simulated shop send a day of sales files, inventory files, web "
                   "traffic and customer interactions "
                   "with the disorder that real ones have, asks a few questions in SQL, and compares the tables with what the shop says it sent.",
    .examples = "cupel demo\ncupel demo --days 7 --seed 42 --keep",
    .options = options,
    .run = run,
}};

const struct command_group cmd_demo = {.name = "demo", .summary = "a simulated shop, from its tills to SQL", .commands = commands, .commands_n = 1};
