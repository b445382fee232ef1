/* cupel demo: a simulated shop goes through the whole of Cupel, as anybody would run it: a project folder, `cupel serve`, senders outside, models, KPIs,
 * quarantine, accounts.
 *
 * Nothing is read from inside: the server is a process of its own, asked over HTTP; cupel-sim says what it sent and what must become of it, and the tables are
 * compared with that. */
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
#define SETTLE_MS 180000
#define QUIET_LOOKS 4 /* so often in a row nothing is due */

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

static enum status send_the_days(struct demo *d, struct err *err) {
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
    printf("The shop   %lld day%s from %s: %s web events, %s customer interactions, %lld stock levels in %s requests,\n", (long long)d->days,
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

/* ---- models ---- */

/* Models that are due or running; a failure ends the demo. */
static enum status models_busy(struct demo *d, size_t *out, struct err *err) {
    json_t *answer, *model;
    size_t i;
    enum status status = reach_json(d->reach, &(struct ask){.path = "/v1/models"}, &answer, err);
    if (status != OK) return status;
    json_t *problem = json_array_get(json_object_get(answer, "problems"), 0);
    if (problem) status = err_set(err, E_CONFIG, "%s", json_string_value(problem));
    *out = 0;
    json_array_foreach(json_object_get(answer, "models"), i, model) {
        json_t *state = json_object_get(model, "state");
        *out += json_is_true(json_object_get(state, "due")) || json_is_true(json_object_get(state, "running"));
        const char *error = json_string_value(json_object_get(state, "error"));
        if (status == OK && error && error[0]) status = err_set(err, E_INTERNAL, "model %s: %s", json_string_value(json_object_get(model, "name")), error);
    }
    json_decref(answer);
    return status;
}

static enum status wait_for_models(struct demo *d, struct err *err) {
    for (int quiet = 0; quiet < QUIET_LOOKS;) {
        size_t busy;
        enum status status = models_busy(d, &busy, err);
        if (status != OK) return status;
        quiet = busy ? 0 : quiet + 1;
        if (seconds_since(d, d->step_us) * 1000 > SETTLE_MS) return err_set(err, E_TIMEOUT, "%zu models are not done after %d s", busy, SETTLE_MS / 1000);
        progress(d->cli, false, "%zu models to run", busy);
        d->cli->host.clock->sleep_us(d->cli->host.clock->self, 150000);
    }
    printf("Models     silver tables and KPIs are up to date after another %.1f s\n", seconds_since(d, d->step_us));
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

/* One of our own commands on the demo's project; its output is ours. */
static enum status run_command(struct demo *d, const char *const *words, size_t n, int *exit_status, struct err *err) {
    const char *argv[8] = {host_self_path(d->cli->arena), "-C", d->dir};
    must(n + 4 <= sizeof argv / sizeof argv[0]);
    memcpy(argv + 3, words, n * sizeof *words);
    struct host_process process;
    fflush(stdout);
    enum status status = host_spawn((char *const *)argv, NULL, 0, &process, err);
    if (status == OK) host_process_wait(&process, -1, exit_status);
    return status;
}

static enum status show_kpis(struct demo *d, struct err *err) {
    static const char *const teams[] = {"sales", "marketing", "operations", "support"};
    for (size_t i = 0; i < sizeof teams / sizeof teams[0]; i++) {
        const char *words[] = {"kpi", teams[i], "--days", arena_printf(d->cli->arena, "%lld", (long long)d->days)};
        int exit_status = 0;
        putchar('\n');
        enum status status = run_command(d, words, 4, &exit_status, err);
        if (status != OK) return status;
        if (exit_status != 0) return err_set(err, E_INTERNAL, "cupel kpi %s failed", teams[i]);
    }
    return OK;
}

/* ---- does it add up ---- */

static void compare(struct demo *d, const char *what, const char *sent, const char *stored) {
    bool same = strcmp(sent, stored) == 0;
    d->differences += !same;
    printf("  %-34s %16s %16s  %s%s%s\n", what, sent, stored, same ? color_green(d->cli) : color_red(d->cli), same ? "✓" : "differs", color_off(d->cli));
}

struct tally {
    const char *what, *table, *member, *sql; /* table NULL: a count of the truth itself; otherwise of what must become of its rows */
};

static const struct tally tallies[] = {
    {"rows in sales files", NULL, "pos_rows", "SELECT count(*) AS n FROM bronze.pos"},
    {"  sales kept", "silver.pos_sales", "kept", "SELECT count(*) AS n FROM silver.pos_sales"},
    {"  in quarantine", "silver.pos_sales", "quarantined", "SELECT count(*) AS n FROM quarantine.silver__pos_sales"},
    {"rows in inventory files", NULL, "inventory_rows", "SELECT count(*) AS n FROM bronze.inventory_files"},
    {"stock levels pushed", NULL, "inventory_events", "SELECT count(*) AS n FROM bronze.inventory"},
    {"  levels kept", "silver.inventory_levels", "kept", "SELECT count(*) AS n FROM silver.inventory_levels"},
    {"  in quarantine", "silver.inventory_levels", "quarantined", "SELECT count(*) AS n FROM quarantine.silver__inventory_observations"},
    {"web events", NULL, "web_events", "SELECT count(*) AS n FROM bronze.web_traffic"},
    {"  in KPI 4, by day", "silver.web_events", "kept", "SELECT CAST(sum(total_events) AS BIGINT) AS n FROM marketing.engagement"},
    {"  in quarantine", "silver.web_events", "quarantined", "SELECT count(*) AS n FROM quarantine.silver__web_events"},
    {"customer interactions", NULL, "crm_events", "SELECT count(*) AS n FROM bronze.crm_interactions"},
    {"  in KPI 11, by day and channel", "silver.crm_interactions", "kept", "SELECT CAST(sum(interactions) AS BIGINT) AS n FROM support.interaction_volume"},
    {"  in quarantine", "silver.crm_interactions", "quarantined", "SELECT count(*) AS n FROM quarantine.silver__crm_interactions"},
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

static int64_t must_become(const struct demo *d, const struct tally *t) {
    if (!t->table) return truth(d, t->member);
    return json_integer_value(json_object_get(json_object_get(json_object_get(d->truth, "expected"), t->table), t->member));
}

static enum status compare_with_the_shop(struct demo *d, struct err *err) {
    printf("\n%s%-36s %16s %16s%s\n", color_bold(d->cli), "What the shop sent, and what is here", "sent", "stored", color_off(d->cli));
    char stored[64], sent[64];
    for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++) {
        enum status status = one_value(d, tallies[i].sql, stored, sizeof stored, err);
        if (status != OK) return status;
        snprintf(sent, sizeof sent, "%lld", (long long)must_become(d, &tallies[i]));
        compare(d, tallies[i].what, sent, stored);
    }
    enum status status =
        one_value(d, "SELECT CAST(CAST(sum(net_revenue) AS DECIMAL(18,2)) AS VARCHAR) AS n FROM sales.total_sales", stored, sizeof stored, err);
    if (status != OK) return status;
    int64_t cents = truth(d, "pos_net_cents");
    snprintf(sent, sizeof sent, "%lld.%02lld", (long long)(cents / 100), (long long)(cents % 100));
    compare(d, "revenue in KPI 1, to the cent", sent, stored);
    return OK;
}

/* What the shop got wrong on purpose: each kind with what must become of it. */
static enum status show_dirt(struct demo *d, struct err *err) {
    json_t *row;
    size_t i;
    must(d->truth && err);
    printf("\n%s%-18s %-32s %8s  %s%s\n", color_bold(d->cli), "What was wrong in it", "", "sent", "became", color_off(d->cli));
    json_array_foreach(json_object_get(d->truth, "dirt"), i, row) {
        const char *feed = json_string_value(json_object_get(row, "feed")), *kind = json_string_value(json_object_get(row, "kind"));
        const char *becomes = json_string_value(json_object_get(row, "becomes"));
        char n[32];
        int64_t sent = json_integer_value(json_object_get(row, "sent"));
        if (sent) printf("  %-16s %-32s %8s  %s%s%s\n", feed, kind, with_commas(sent, n), color_dim(d->cli), becomes, color_off(d->cli));
    }
    return OK;
}

static enum status show_quarantine(struct demo *d, struct err *err) {
    static const char *const names[] = {"bronze__pos", "silver__pos_sales", "silver__inventory_observations", "silver__web_events", "silver__crm_interactions"};
    printf("\n%sIn quarantine, with their raw bytes%s\n", color_bold(d->cli), color_off(d->cli));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *rows = NULL, *row;
        size_t k;
        char *sql = arena_printf(d->cli->arena,
            "SELECT regexp_replace(_reason, '^line [0-9]+: ', '') AS reason, count(*) AS n FROM quarantine.%s GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 4", names[i]);
        enum status status = ask_sql(d, sql, &rows, err);
        if (status != OK) return status;
        make_shown(rows);
        json_array_foreach(rows, k, row) {
            char n[32];
            const char *reason = json_string_value(json_object_get(row, "reason"));
            printf("  %-32s %8s  %.90s\n", k ? "" : names[i], with_commas(json_integer_value(json_object_get(row, "n")), n), reason ? reason : "-");
        }
        json_decref(rows);
    }
    return OK;
}

/* `cupel conservation` says it best; its exit status is the verdict. */
static enum status show_accounts(struct demo *d, struct err *err) {
    int exit_status = 0;
    printf("\n%sThe accounts%s\n", color_bold(d->cli), color_off(d->cli));
    enum status status = run_command(d, (const char *const[]){"conservation"}, 1, &exit_status, err);
    d->differences += exit_status != 0;
    return status;
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
    {"the shop's days", send_the_days},
    {"landing", wait_landed},
    {"models", wait_for_models},
    {"KPIs", show_kpis},
    {"dirt", show_dirt},
    {"quarantine", show_quarantine},
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
    printf("\nServing until Ctrl-C. The dashboard: http://%s/  (token: %s/data/cli.token)\nTry:\n  cupel -C %s kpi sales\n  cupel -C %s sql\n",
        reach_address(d->reach), d->dir, d->dir, d->dir);
    fflush(stdout);
    host_process_wait(&d->server, -1, &exit_status);
    d->serving = false;
}

static int run(struct cli *cli) {
    struct err err = {0};
    struct demo demo = {.cli = cli, .keep = cli_flag(cli, "keep")};
    if (cli_number(cli, "days", 30, 1, 365, &demo.days, &err) != OK || cli_number(cli, "seed", 1, 0, INT64_MAX, &demo.seed, &err) != OK) return cli_fail(&err);
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
    {.name = "days", .value = "N", .help = "how many days of the shop (default: 30)"},
    {.name = "seed", .value = "N", .help = "another shop: the same number gives the same files and events (default: 1)"},
    {.name = "keep", .help = "go on serving afterwards, and keep the project"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "",
    .summary = "a simulated shop, from its tills to the KPIs",
    .description = "Makes a project in a temporary folder, starts a server on it, lets a simulated shop send thirty days of sales files, inventory files, web "
                   "traffic and customer interactions with the disorder that real ones have, prints the KPIs that the models made of them and what is in "
                   "quarantine, and compares the tables with what the shop says it sent and what must become of it.",
    .examples = "cupel demo\ncupel demo --days 7 --seed 42 --keep",
    .options = options,
    .run = run,
}};

const struct command_group cmd_demo = {.name = "demo", .summary = "a simulated shop, from its tills to the KPIs", .commands = commands, .commands_n = 1};
