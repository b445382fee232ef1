/* cupel profile TABLE: what the columns of a table hold. */
#include <stdio.h>

#include "cli/output.h"
#include "cli/profile.h"
#include "cli/reach.h"
#include "host/terminal.h"

static void on_progress(void *context, const char *what) { progress(context, false, "profiling %s", what); }

/* The file appears under its name when it is complete. */
static enum status write_file(struct cli *cli, const char *path, struct str text, struct err *err) {
    const struct fs *fs = cli->host.fs;
    int file;
    char *part = arena_printf(cli->arena, "%s.part", path);
    enum status status = fs->open(fs->self, part, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, err);
    if (status != OK) return status;
    status = fs->pwrite(fs->self, file, text.p, text.n, 0, err);
    fs->close(fs->self, file);
    if (status == OK) status = fs->rename(fs->self, part, path, err);
    if (status != OK) (void)fs->unlink(fs->self, part, NULL);
    return status;
}

static enum status show(struct cli *cli, json_t *profile, struct err *err) {
    BUF_SCOPE(out);
    const char *html = cli_value(cli, "html");
    if (html) {
        profile_write_html(profile, &out);
        enum status status = write_file(cli, html, buf_view(&out), err);
        if (status == OK && !cli->json) fprintf(stderr, "wrote %s\n", html);
        if (status != OK || !cli->json) return status;
        buf_clear(&out);
    }
    if (cli->json) {
        print_json(profile);
        return OK;
    }
    profile_write_text(cli, profile, cli->out_terminal ? host_terminal_columns(1) : 0, &out);
    print_text(buf_view(&out));
    return OK;
}

static int run(struct cli *cli) {
    struct err err = {0};
    struct reach *reach = NULL;
    json_t *profile = NULL;
    struct profile_options options = {.table = cli->args[0], .progress = cli->err_terminal ? on_progress : NULL, .context = cli};
    if (!strchr(options.table, '.')) return cli_usage(cli, "the table is named with its schema, as in bronze.pos");
    if (cli_number(cli, "sample", -1, 0, INT64_C(1000000000), &options.sample, &err) != OK) return cli_fail(&err);
    enum status status = reach_open(cli, &(struct reach_options){0}, &reach, &err);
    if (status != OK) return cli_fail(&err);
    status = profile_collect(reach, &options, &profile, &err);
    reach_close(&reach);
    if (cli->err_terminal) progress(cli, true, "%s", "");
    if (status == OK) status = show(cli, profile, &err);
    json_decref(profile);
    return status == OK ? 0 : cli_failed(&err);
}

static const struct cli_option options[] = {
    {.name = "html", .value = "FILE", .help = "write one HTML file instead", .complete = COMPLETE_FILE},
    {.name = "sample", .letter = 'n', .value = "N", .help = "look at N rows at random; 0: all (default: 1,000,000 of tables with more than twice as many)"},
    {.name = NULL},
};

static const struct command commands[] = {
    {.arguments = "TABLE",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "types, nulls, distinct values, quantiles, histograms, outliers, patterns and likely keys of a table",
        .description =
            "Warns where a JSON number has more than 15 digits, where a column holds nothing or one value only. With --html one file without requests to "
            "anywhere; with --json all figures.",
        .options = options,
        .complete = COMPLETE_TABLE,
        .examples = "cupel profile bronze.pos\ncupel profile silver.web_events --html web_events.html",
        .run = run},
};

const struct command_group cmd_profile = {.name = "profile", .summary = "what the columns of a table hold", .commands = commands, .commands_n = 1};
