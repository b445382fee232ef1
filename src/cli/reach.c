/* How a command finds a node. Three situations, looked at until one holds:
 *
 *   server.json names a process that lives and answers      -> ask it
 *   nobody holds data/lock                                   -> open a node of our own, private socket, same lock
 *   somebody holds it and does not answer (starting, ending) -> look again for a while, then say who it is
 *
 * A node of our own writes server.json too, so that commands side by side share it. */
#include "cli/reach.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cli/output.h"
#include "config/config.h"
#include "host/signals.h"
#include "host/terminal.h"
#include "http/http_client.h"
#include "serve/node.h"

#define OPEN_WAIT_MS 30000 /* for a node that starts or ends just now */
#define UNIX_PATH_MAX_BYTES 100 /* sockaddr_un takes 107 */

struct reach {
    struct cli *cli;
    char *project_dir, *data_dir;
    struct node *node; /* NULL: a server of its own process */
    struct http_client *client;
    char *base; /* "http://127.0.0.1:8080" */
    char *unix_path; /* NULL: TCP */
    char *authorization; /* header line */
    char *address;
    bool insecure;
    struct arena *arena; /* of the answer under way */
};

/* ---- the project folder ---- */

static bool has_project(struct cli *cli, const char *dir) { return fs_exists(cli->host.fs, arena_printf(cli->arena, "%s/%s", dir, CONFIG_FILE)); }

enum status project_find(struct cli *cli, char **out, struct err *err) {
    if (cli->dir) {
        if (!has_project(cli, cli->dir)) return err_set(err, E_CONFIG, "%s has no %s: `cupel init %s` makes a project there", cli->dir, CONFIG_FILE, cli->dir);
        *out = arena_strdup(cli->arena, cli->dir);
        return OK;
    }
    char *dir = host_current_dir(cli->arena);
    for (;;) {
        if (has_project(cli, dir)) {
            *out = dir;
            return OK;
        }
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir) break;
        *slash = '\0';
    }
    return err_set(err, E_CONFIG, "no %s here or in a folder above: run `cupel init DIR`, or name the project folder with -C DIR", CONFIG_FILE);
}

/* ---- opening ---- */

/* 0.0.0.0 and [::] are all addresses: from here, loopback. */
static char *dial_address(const char *listen) {
    if (strncmp(listen, "0.0.0.0:", 8) == 0) return mem_printf("127.0.0.1:%s", listen + 8);
    if (strncmp(listen, "[::]:", 5) == 0) return mem_printf("[::1]:%s", listen + 5);
    return mem_strdup(listen);
}

static void set_address(struct reach *reach, const char *address, bool tls) {
    free(reach->address);
    free(reach->base);
    free(reach->unix_path);
    reach->address = mem_strdup(address);
    reach->unix_path = NULL;
    if (strncmp(address, "unix:", 5) == 0) {
        reach->unix_path = mem_strdup(address + 5);
        reach->base = mem_strdup("http://localhost");
        return;
    }
    AUTO_FREE char *dial = dial_address(address);
    reach->base = mem_printf("%s://%s", tls ? "https" : "http", dial);
    reach->insecure = tls && config_listen_is_loopback(dial); /* our own machine, found by our own file: its name is not in the certificate */
}

static enum status read_token(struct reach *reach, struct err *err) {
    struct cli *cli = reach->cli;
    struct str text;
    char *path = arena_printf(cli->arena, "%s/cli.token", reach->data_dir);
    enum status status = fs_read_all(cli->host.fs, cli->arena, path, 4096, &text, err);
    if (status != OK) return err_prefix(err, "the token that commands use");
    text = str_trim(text);
    free(reach->authorization);
    reach->authorization = mem_printf("Authorization: Bearer " STR_FMT, STR_ARG(text));
    return OK;
}

/* Whether a node answers at the address of data/server.json. */
static bool find_running(struct reach *reach) {
    struct cli *cli = reach->cli;
    struct server_file file;
    struct err err;
    if (server_file_read(&cli->host, cli->arena, reach->data_dir, &file, NULL) != OK || !host_process_alive((int)file.pid) || read_token(reach, &err) != OK)
        return false;
    set_address(reach, file.address, file.tls);
    BUF_SCOPE(answer);
    return reach_ask(reach, &(struct ask){.path = "/health/live", .timeout_ms = 5000}, &answer, NULL, NULL) == OK;
}

/* A private place for the socket, in the data folder where its path is short enough. */
static enum status socket_path(struct reach *reach, char **out, struct err *err) {
    struct cli *cli = reach->cli;
    char *dir = arena_printf(cli->arena, "%s/run", reach->data_dir);
    if (dir[0] != '/') dir = arena_printf(cli->arena, "%s/%s", host_current_dir(cli->arena), dir);
    if (strlen(dir) > UNIX_PATH_MAX_BYTES - 10) {
        uint64_t random;
        host_random(&random, sizeof random);
        dir = arena_printf(cli->arena, "/tmp/cupel-%016llx", (unsigned long long)random);
    }
    enum status status = fs_mkdirs(cli->host.fs, dir, err);
    if (status == OK) status = host_make_private(dir, true, err);
    if (status == OK) *out = arena_printf(cli->arena, "%s/cli.sock", dir);
    return status;
}

static enum status open_own(struct reach *reach, const struct reach_options *options, struct err *err) {
    struct cli *cli = reach->cli;
    char *path;
    BUF_SCOPE(problems);
    enum status status = socket_path(reach, &path, err);
    if (status != OK) return status;
    struct node_options own = {.host = &cli->host,
        .dir = reach->project_dir,
        .listen = arena_printf(cli->arena, "unix:%s", path),
        .command = true,
        .writer = options->writer,
        .landing = options->landing};
    status = node_open(&own, &reach->node, &problems, err);
    print_error_text(buf_view(&problems));
    if (status != OK && problems.n) return err_set(err, status, "nothing was done: %s is wrong, as said above", CONFIG_FILE);
    if (status != OK) return status;
    set_address(reach, node_address(reach->node), false);
    return read_token(reach, err);
}

static enum status open_any(struct reach *reach, const struct reach_options *options, struct err *err) {
    struct host *host = &reach->cli->host;
    int64_t until_ms = host_monotonic_ms(host) + OPEN_WAIT_MS;
    for (;;) {
        if (find_running(reach)) return OK;
        if (options->only_running) return err_set(err, E_UNAVAILABLE, "no server runs on %s", reach->project_dir);
        enum status status = open_own(reach, options, err);
        if (status != E_BUSY || host_monotonic_ms(host) > until_ms) return status;
        host->clock->sleep_us(host->clock->self, 50000); /* somebody starts or ends just now */
    }
}

enum status reach_open(struct cli *cli, const struct reach_options *options, struct reach **out, struct err *err) {
    must(cli && options && out);
    char *dir;
    enum status status = project_find(cli, &dir, err);
    if (status != OK) return status;
    host_ignore_broken_pipes();
    struct reach *reach = mem_zalloc(sizeof *reach);
    reach->cli = cli;
    reach->arena = arena_new();
    reach->client = http_client_new();
    reach->project_dir = mem_strdup(dir);
    reach->data_dir = mem_printf("%s/data", dir);
    status = open_any(reach, options, err);
    if (status != OK) {
        reach_close(&reach);
        return status;
    }
    *out = reach;
    return OK;
}

void reach_close(struct reach **reach_p) {
    struct reach *reach = *reach_p;
    if (!reach) return;
    http_client_free(&reach->client);
    if (reach->node) node_close(&reach->node, false);
    arena_free(&reach->arena);
    free(reach->project_dir);
    free(reach->data_dir);
    free(reach->base);
    free(reach->unix_path);
    free(reach->authorization);
    free(reach->address);
    free(reach);
    *reach_p = NULL;
}

bool reach_is_server(const struct reach *reach) { return reach->node == NULL; }

const char *reach_address(const struct reach *reach) { return reach->address; }

const char *reach_project_dir(const struct reach *reach) { return reach->project_dir; }

/* ---- asking ---- */

static enum status status_of_code(int code) {
    switch (code) {
    case 400: return E_INVALID;
    case 401: return E_UNAUTHENTICATED;
    case 403: return E_DENIED;
    case 404: return E_NOT_FOUND;
    case 409: return E_CONFLICT;
    case 413: return E_LIMIT;
    case 415: return E_MEDIA_TYPE;
    case 422: return E_UNPROCESSABLE;
    case 499: return E_CANCELLED;
    case 501: return E_UNSUPPORTED;
    case 429:
    case 503: return E_UNAVAILABLE;
    case 504: return E_TIMEOUT;
    default: return E_INTERNAL;
    }
}

static enum status take_problem(const struct http_result *result, struct err *err) {
    json_error_t unused;
    json_t *problem = json_loadb(result->body.p, result->body.n, JSON_ALLOW_NUL, &unused);
    const char *detail = json_string_value(json_object_get(problem, "detail")), *title = json_string_value(json_object_get(problem, "title"));
    enum status status = err_set(err, status_of_code(result->code), "%s", detail ? detail : title ? title : "the server refused");
    if (!detail && !title && err) err_set(err, status, "the server answered with code %d", result->code);
    json_decref(problem);
    return status;
}

static bool was_interrupted(void *context) { return host_interrupted(); }

static size_t fill_headers(struct reach *reach, const struct ask *ask, const char **headers, size_t max) {
    size_t n = 0;
    headers[n++] = reach->authorization;
    headers[n++] = arena_printf(reach->arena, "Content-Type: %s", ask->content_type ? ask->content_type : "application/json");
    headers[n++] = arena_printf(reach->arena, "Accept: %s", ask->accept ? ask->accept : "application/json");
    for (const char *const *h = ask->headers; h && h[0] && n < max; h += 2) headers[n++] = arena_printf(reach->arena, "%s: %s", h[0], h[1]);
    return n;
}

enum status reach_ask(struct reach *reach, const struct ask *ask, struct buf *out, int64_t *retry_after_ms, struct err *err) {
    must(reach && ask && ask->path && ask->path[0] == '/');
    const char *headers[16];
    arena_reset(reach->arena);
    struct http_call call = {
        .method = ask->method ? ask->method : "GET",
        .url = arena_printf(reach->arena, "%s%s", reach->base, ask->path),
        .unix_path = reach->unix_path,
        .headers = headers,
        .body = ask->body,
        .total_ms = ask->timeout_ms,
        .insecure = reach->insecure,
        .write = ask->part,
        .write_context = ask->context,
        .cancelled = ask->interruptible ? was_interrupted : NULL,
        .answer_bytes_max = UINT64_C(1) << 30,
    };
    call.headers_n = fill_headers(reach, ask, headers, 16);
    struct http_result result;
    enum status status = http_client_call(reach->client, reach->arena, &call, &result, err);
    if (status != OK) return status == E_UNAVAILABLE ? err_prefix(err, "the server at %s", reach->address) : status;
    uint64_t seconds;
    if (retry_after_ms && str_to_u64(http_result_header(&result, "Retry-After"), &seconds)) *retry_after_ms = (int64_t)seconds * 1000;
    if (result.code < 200 || result.code > 299) return take_problem(&result, err);
    for (size_t i = 0; i < result.headers_n; i++) {
        struct str text = result.headers[i], name = str_cut(&text, ':');
        if (str_ieq(name, STR("Cupel-Warning"))) fprintf(stderr, "cupel: warning: " STR_FMT "\n", STR_ARG(str_trim(text)));
    }
    if (out) buf_str(out, result.body);
    return OK;
}

enum status reach_json(struct reach *reach, const struct ask *ask, json_t **out, struct err *err) {
    BUF_SCOPE(text);
    json_error_t error;
    enum status status = reach_ask(reach, ask, &text, NULL, err);
    if (status != OK) return status;
    json_t *tree = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!tree) return err_set(err, E_INTERNAL, "%s answered with something that is not JSON: %s", ask->path, error.text);
    *out = tree;
    return OK;
}

int reach_print(struct cli *cli, const struct ask *ask, void (*print)(struct cli *cli, json_t *answer)) {
    must(cli->command != NULL);
    struct err err = {0};
    struct reach *reach;
    json_t *answer;
    if (reach_open(cli, &(struct reach_options){.landing = ask->landing}, &reach, &err) != OK) return cli_fail(&err);
    enum status status = reach_json(reach, ask, &answer, &err);
    reach_close(&reach);
    if (status != OK) return cli_failed(&err);
    if (cli->json) {
        print_json(answer);
    } else {
        make_shown(answer);
        print(cli, answer);
    }
    int code = ask->verdict && !json_is_true(json_object_get(answer, "ok")) ? 1 : 0;
    json_decref(answer);
    return code;
}
