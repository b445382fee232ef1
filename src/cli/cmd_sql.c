/* cupel sql [QUERY]: statements from the command line, from a pipe, or typed.
 *
 * Results are streamed from the server to where they belong, in the format that the server made: this command never holds a result. With -o the file appears
 * under its name when the result is complete; a query that fails leaves what was there before. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "cli/shell.h"
#include "cli/sql_split.h"
#include "host/signals.h"
#include "host/terminal.h"

#define QUERY_BYTES_MAX (1u << 20)

struct sql {
    struct cli *cli;
    struct reach *reach;
    const char *format;
    const char *output; /* -o, or NULL */
    int file; /* -1: standard output */
    uint64_t written;
    int64_t rows_max;
};

static enum status take_part(void *context, struct str bytes, struct err *err) {
    struct sql *sql = context;
    const struct fs *fs = sql->cli->host.fs;
    if (sql->file < 0) {
        if (fwrite(bytes.p, 1, bytes.n, stdout) != bytes.n) return err_set(err, E_IO, "writing the result to standard output failed");
        sql->written += bytes.n;
        return OK;
    }
    enum status status = fs->pwrite(fs->self, sql->file, bytes.p, bytes.n, sql->written, err);
    if (status == OK) sql->written += bytes.n;
    return status;
}

/* A parameter as it was typed: JSON where it is JSON, otherwise a string. */
static void put_param(struct json_writer *w, const char *text) {
    json_error_t unused;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &unused);
    if (value)
        json_raw(w, str_of(text));
    else
        json_text(w, text);
    json_decref(value);
}

static void write_request(struct sql *sql, struct str query, struct buf *out) {
    must(sql->reach != NULL && sql->format != NULL);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_str(&w, "query", query);
    json_put_text(&w, "format", sql->format);
    if (strcmp(sql->format, "table") == 0) {
        json_put_int(&w, "rows_max", sql->rows_max);
        json_put_int(&w, "width_max", sql->cli->out_terminal && sql->file < 0 ? (int64_t)host_terminal_columns(1) : 0);
    }
    json_name(&w, "params");
    json_begin_array(&w);
    for (size_t i = 0; i < sql->cli->given_n; i++) {
        if (strcmp(sql->cli->given[i].option->name, "param") == 0) put_param(&w, sql->cli->given[i].value);
    }
    json_end_array(&w);
    json_end_object(&w);
}

static enum status run_query(struct sql *sql, struct str query, struct err *err) {
    BUF_SCOPE(body);
    write_request(sql, query, &body);
    struct ask ask = {.method = "POST", .path = "/v1/sql", .body = buf_view(&body), .accept = "*/*", .part = take_part, .context = sql, .interruptible = true};
    return reach_ask(sql->reach, &ask, NULL, NULL, err);
}

/* ---- to a file ---- */

static enum status run_to_file(struct sql *sql, struct str query, struct err *err) {
    must(sql->reach != NULL && sql->format != NULL);
    const struct fs *fs = sql->cli->host.fs;
    char *part = arena_printf(sql->cli->arena, "%s.part", sql->output);
    enum status status = fs->open(fs->self, part, FS_WRITE | FS_CREATE | FS_TRUNCATE, &sql->file, err);
    if (status != OK) return status;
    status = run_query(sql, query, err);
    if (status == OK) status = fs->sync_data(fs->self, sql->file, err);
    fs->close(fs->self, sql->file);
    sql->file = -1;
    if (status == OK) status = fs->rename(fs->self, part, sql->output, err);
    if (status != OK) (void)fs->unlink(fs->self, part, NULL);
    return status;
}

/* ---- the shell ---- */

static void run_statement(void *context, struct str statement) {
    struct sql *sql = context;
    struct err err = {0};
    int64_t started_us = host_monotonic_us(&sql->cli->host);
    if (run_query(sql, statement, &err) != OK) {
        fflush(stdout);
        fputs(color_red(sql->cli), stderr);
        print_error_text(str_of(err.text));
        fprintf(stderr, "%s\n", color_off(sql->cli));
        return;
    }
    printf("%s%.3f s%s\n", color_dim(sql->cli), (double)(host_monotonic_us(&sql->cli->host) - started_us) / 1e6, color_off(sql->cli));
    fflush(stdout);
}

/* ---- statements from a pipe ---- */

static enum status read_input(struct buf *out, struct err *err) {
    for (;;) {
        size_t got;
        if (!buf_reserve(out, 65536)) return err_set(err, E_LIMIT, "the input is too large");
        enum status status = host_read_some(0, out->p + out->n, 65536, &got, err);
        if (status != OK) return status;
        if (got == 0) return OK;
        out->n += got;
        if (out->n > QUERY_BYTES_MAX) return err_set(err, E_LIMIT, "the input is larger than %u bytes", QUERY_BYTES_MAX);
    }
}

/* Every statement of a text; the last one needs no `;`. */
static enum status run_all(struct sql *sql, struct str text, struct err *err) {
    size_t end;
    enum status status = OK;
    while (status == OK && !sql_is_blank(text)) {
        bool more = sql_statement_end(text, &end);
        struct str statement = more ? str_head(text, end) : text;
        text = more ? str_from(text, end + 1) : STR_NULL;
        if (sql_is_blank(statement)) continue;
        status = sql->output ? run_to_file(sql, statement, err) : run_query(sql, statement, err);
    }
    return status;
}

static int run_text(struct sql *sql) {
    struct err err = {0};
    enum status status = OK;
    BUF_SCOPE(input);
    host_interrupts_begin();
    if (sql->cli->args_n)
        status = run_all(sql, str_of(sql->cli->args[0]), &err);
    else if ((status = read_input(&input, &err)) == OK)
        status = run_all(sql, buf_view(&input), &err);
    host_interrupts_end();
    return status == OK ? 0 : cli_failed(&err);
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct sql sql = {.cli = cli, .file = -1, .output = cli_value(cli, "output"), .format = cli_value(cli, "format")};
    bool interactive = cli->args_n == 0 && host_is_terminal(0) && cli->out_terminal;
    if (!sql.format) sql.format = cli->json ? "json" : "table";
    if (cli_number(cli, "rows", interactive ? 100 : 0, 0, 1000000000, &sql.rows_max, &err) != OK) return cli_fail(&err);
    if (strcmp(sql.format, "parquet") == 0 && !sql.output && cli->out_terminal)
        return cli_usage(cli, "parquet on a terminal is no help to anybody: name a file with -o FILE");
    if (interactive) setlocale(LC_CTYPE, ""); /* how wide characters are; before other threads exist */
    if (reach_open(cli, &(struct reach_options){.writer = interactive}, &sql.reach, &err) != OK) return cli_fail(&err);
    int code;
    if (interactive)
        code = shell_loop(cli, &(struct shell_options){.reach = sql.reach, .run = run_statement, .context = &sql, .format = &sql.format});
    else
        code = run_text(&sql);
    reach_close(&sql.reach);
    return code;
}

static const struct cli_option options[] = {
    {.name = "format", .letter = 'f', .value = "FORMAT", .choices = "table|csv|json|ndjson|parquet", .help = "of the result (default: table)"},
    {.name = "output", .letter = 'o', .value = "FILE", .help = "write the result to FILE, complete or not at all", .complete = COMPLETE_FILE},
    {.name = "param", .letter = 'p', .value = "VALUE", .help = "value of $1, $2, … in this order; JSON, or else text", .repeat = true},
    {.name = "rows", .value = "N", .help = "rows shown as a table at most; 0: all (default: 100 in the shell)"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "[QUERY]",
    .arguments_max = 1,
    .summary = "query; without a query an interactive shell",
    .description = "Runs SELECT statements over all tables, the newest events included: bronze.<stream> holds an event as soon as it was acknowledged. Without "
                   "QUERY statements are read from a pipe, "
                   "or typed in a shell with history and completion. Works with and without a running server.",
    .examples = "cupel sql \"SELECT count(*) FROM bronze.orders\"\ncupel sql \"SELECT * FROM bronze.orders WHERE _key = \\$1\" --param 4711 --format csv -o "
                "orders.csv\n"
                "cupel sql < report.sql\ncupel sql",
    .options = options,
    .run = run,
}};

const struct command_group cmd_sql = {.name = "sql", .summary = "query; without a query an interactive shell", .commands = commands, .commands_n = 1};
