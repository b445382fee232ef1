/* cupel token create|list|revoke: access for other programs.
 *
 * The new token's text is the only thing on stdout, so that `TOKEN=$(cupel token create shop)` works; the advice goes to stderr. */
#include <stdio.h>

#include "base/assert.h"
#include "base/json.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "http/http_client.h"

/* The text is printed this once; only its hash is kept. */
static void print_token(struct cli *cli, json_t *answer) {
    printf("%s\n", json_string_value(json_object_get(answer, "token")));
    fprintf(stderr, "Keep it: it is not shown again. Use it as `Authorization: Bearer …`.\n");
}

static int create(struct cli *cli) {
    must(cli->command != NULL);
    const char *role = cli_value(cli, "role"), *expires_in = cli_value(cli, "expires-in");
    BUF_SCOPE(body);
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_text(&w, "name", cli->args[0]);
    json_put_text(&w, "role", role ? role : "write");
    if (expires_in) json_put_text(&w, "expires_in", expires_in);
    json_end_object(&w);
    return reach_print(cli, &(struct ask){.method = "POST", .path = "/v1/tokens", .body = buf_view(&body)}, print_token);
}

static void print_tokens(struct cli *cli, json_t *answer) {
    static const struct column columns[] = {{"NAME", "name", COLUMN_TEXT}, {"ROLE", "role", COLUMN_TEXT}, {"CREATED", "created_at", COLUMN_TIME},
        {"EXPIRES", "expires_at", COLUMN_TIME}, {"LAST USED", "last_used_at", COLUMN_TIME}};
    print_rows(cli, json_object_get(answer, "tokens"), columns, sizeof columns / sizeof columns[0]);
}

static int list(struct cli *cli) { return reach_print(cli, &(struct ask){.path = "/v1/tokens"}, print_tokens); }

static int revoke(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    BUF_SCOPE(path);
    BUF_SCOPE(nothing);
    buf_text(&path, "/v1/tokens/");
    url_escape(&path, str_of(cli->args[0]));
    if (reach_open(cli, &(struct reach_options){0}, &reach, &err) != OK) return cli_fail(&err);
    enum status status = reach_ask(reach, &(struct ask){.method = "DELETE", .path = buf_cstr(&path)}, &nothing, NULL, &err);
    reach_close(&reach);
    if (status != OK) return cli_failed(&err);
    printf(cli->json ? "{\"revoked\":\"%s\"}\n" : "%s is revoked.\n", cli->args[0]);
    return 0;
}

static const struct cli_option create_options[] = {
    {.name = "role", .value = "ROLE", .choices = "admin|write|read", .help = "what it may do (default: write)"},
    {.name = "expires-in", .value = "TIME", .help = "how long it is good for, for example 30d (default: until revoked)"},
    {.name = NULL},
};

static const struct command commands[] = {
    {.verb = "create",
        .arguments = "NAME",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "make a token; its text is shown this once",
        .options = create_options,
        .examples = "cupel token create shop-backend\ncupel token create grafana --role read --expires-in 365d",
        .run = create},
    {.verb = "list", .arguments = "", .summary = "names, roles and last use", .examples = "cupel token list", .run = list},
    {.verb = "revoke",
        .arguments = "NAME",
        .arguments_min = 1,
        .arguments_max = 1,
        .summary = "end a token at once",
        .examples = "cupel token revoke shop-backend",
        .run = revoke},
};

const struct command_group cmd_token = {.name = "token", .summary = "access tokens", .commands = commands, .commands_n = 3};
