/* Ingest with a real log, ledger and server in one process: many clients at once, tokens and configuration changing under them. Also the run that looks for
 * races (thread sanitizer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "host/thread.h"
#include "http/http_client.h"
#include "ingest/ingest.h"

static char folder[64];
static struct host host;
static struct stream_log *log_;
static struct ledger *ledger;
static struct ingest *ingest;
static struct http_server *server;
static char token[TOKEN_TEXT_MAX];

static const struct config_protect email_mask = {.path = "email", .policy = PROTECT_MASK};
static const char *const hook_secrets[] = {"hush"};
static struct config_stream stream_configs[] = {
    {.name = "plain", .partitions = 2, .key = "k", .dedupe = {DEDUPE_PATH, "id"}, .dedupe_window_ms = 3600000},
    {.name = "masked", .partitions = 1},
};
static const struct config_source hook_config = {
    .name = "hook", .stream = "plain", .scheme = SCHEME_TOKEN, .secrets = hook_secrets, .secrets_n = 1, .token_header = "X-Token", .accept = ACCEPT_ANY};

static struct ingest_stream streams[] = {{1, &stream_configs[0]}, {2, &stream_configs[1]}};
static const struct ingest_source sources[] = {{&hook_config}};

static char *path_of(struct arena *arena, const char *name) { return arena_printf(arena, "%s/%s", folder, name); }

#define GOOD(call) \
    do { \
        if ((call) != OK) fail_msg("%s", err.text); \
    } while (0)

static int set_up(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    struct stream_recovery recovery;
    const struct stream_definition definitions[] = {{1, "plain", 2, 3600000}, {2, "masked", 1, 0}};
    struct http_route routes[INGEST_ROUTES_MAX];
    snprintf(folder, sizeof folder, "/tmp/cupel-ingest-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    host = host_default();
    log_configure((struct log_options){.level = LOG_ERROR, .process = "test"});
    GOOD(ledger_open(path_of(arena, "ledger.db"), &host, &ledger, &err));
    GOOD(fs_mkdirs(host.fs, path_of(arena, "log"), &err));
    struct stream_log_options log_options = {.dir = path_of(arena, "log"), .host = &host, .segment_bytes = 16 << 20};
    GOOD(stream_log_open(&log_options, definitions, 2, &log_, &recovery, &err));
    struct ingest_options options = {.host = &host, .log = log_, .ledger = ledger};
    GOOD(ingest_open(&options, streams, 2, sources, 1, &ingest, &err));
    GOOD(ingest_token_create(ingest, STR("test"), STR("admin"), 0, token, &err));
    struct http_server_options http = {
        .listen = "127.0.0.1:0", .threads = 2, .workers = 4, .authorise = ingest_authorise, .authorise_context = ingest, .host = &host};
    GOOD(http_server_start(&http, routes, ingest_routes(ingest, routes), &server, &err));
    return 0;
}

static int tear_down(void **state) {
    http_server_stop(&server, 5000);
    ingest_close(&ingest);
    stream_log_close(&log_);
    ledger_close(&ledger);
    return fs_remove_tree(host.fs, folder, NULL) == OK ? 0 : 1;
}

static int ask(struct http_client *client, struct arena *arena, const char *method, const char *path, const char *body, const char *type, struct str *answer) {
    const char *headers[] = {
        arena_printf(arena, "Authorization: Bearer %s", token), arena_printf(arena, "Content-Type: %s", type ? type : "application/json"), "X-Token: hush"};
    struct http_call call = {.method = method,
        .url = arena_printf(arena, "http://%s%s", http_server_address(server), path),
        .headers = headers,
        .headers_n = 3,
        .body = str_of(body),
        .total_ms = 60000};
    struct http_result result;
    struct err err;
    GOOD(http_client_call(client, arena, &call, &result, &err));
    if (answer) *answer = result.body;
    return result.code;
}

/* ---- many at once ---- */

enum { WRITERS = 4, ROUNDS = 60, BATCH = 20 };
static _Atomic bool writing;
static _Atomic int accepted, polls;

static void *write_events(void *argument) {
    int writer = (int)(intptr_t)argument;
    struct http_client *client = http_client_new();
    for (int round = 0; round < ROUNDS; round++) {
        ARENA_SCOPE(arena);
        BUF_SCOPE(lines);
        struct str answer;
        for (int i = 0; i < BATCH; i++) buf_printf(&lines, "{\"id\":\"%d-%d-%d\",\"k\":%d}\n", writer, round, i, i % 7);
        int code = ask(client, arena, "POST", "/v1/streams/plain", buf_cstr(&lines), "application/x-ndjson", &answer);
        assert_int_equal(code, 202);
        assert_true(str_starts(answer, STR("{\"accepted\":20,\"duplicates\":0,")));
        code = ask(client, arena, "POST", "/hooks/hook", arena_printf(arena, "{\"id\":\"h%d-%d\"}", writer, round), NULL, NULL);
        assert_int_equal(code, 202);
        assert_int_equal(ask(client, arena, "POST", "/v1/streams/plain", "{\"id\":", NULL, NULL), 400);
        atomic_fetch_add(&accepted, BATCH + 1);
    }
    http_client_free(&client);
    return NULL;
}

static void *poll_events(void *argument) {
    struct http_client *client = http_client_new();
    while (atomic_load(&writing)) {
        ARENA_SCOPE(arena);
        int code = ask(client, arena, "GET", "/v1/streams/plain/events?offset=latest&wait=200ms&partition=1", NULL, NULL, NULL);
        assert_int_equal(code, 200);
        atomic_fetch_add(&polls, 1);
    }
    http_client_free(&client);
    return NULL;
}

static void *change_things(void *argument) {
    struct http_client *client = http_client_new();
    for (int i = 0; atomic_load(&writing); i++) {
        ARENA_SCOPE(arena);
        struct err err;
        GOOD(ingest_configure(ingest, streams, 2, sources, 1, &err));
        char *body = arena_printf(arena, "{\"name\":\"n%d\",\"role\":\"read\",\"expires_in\":\"1h\"}", i);
        assert_int_equal(ask(client, arena, "POST", "/v1/tokens", body, NULL, NULL), 201);
        assert_int_equal(ask(client, arena, "GET", "/v1/streams", NULL, NULL, NULL), 200);
        assert_int_equal(ask(client, arena, "DELETE", arena_printf(arena, "/v1/tokens/n%d", i), NULL, NULL, NULL), 204);
    }
    http_client_free(&client);
    return NULL;
}

static void many_clients_at_once(void **state) {
    struct thread writers[WRITERS] = {0}, poller = {0}, changer = {0};
    ARENA_SCOPE(arena);
    struct stream_state end;
    struct err err;
    atomic_store(&writing, true);
    thread_start(&poller, "poll", poll_events, NULL);
    thread_start(&changer, "change", change_things, NULL);
    for (int i = 0; i < WRITERS; i++) thread_start(&writers[i], "write", write_events, (void *)(intptr_t)i);
    for (int i = 0; i < WRITERS; i++) thread_join(&writers[i]);
    atomic_store(&writing, false);
    thread_join(&poller);
    thread_join(&changer);
    GOOD(stream_state(log_, arena, 1, &end, &err));
    assert_int_equal(end.partitions[0].end_offset + end.partitions[1].end_offset, WRITERS * ROUNDS * (BATCH + 1));
    assert_int_equal(atomic_load(&accepted), WRITERS * ROUNDS * (BATCH + 1));
    assert_true(atomic_load(&polls) > 1);
}

/* ---- from inside the server ---- */

static void append_without_http(void **state) {
    struct str good[] = {STR("{\"id\":\"in-1\"}"), STR("{\"id\":\"in-2\"}")}, bad[] = {STR("{}"), STR("{\"id\":")}, empty[] = {STR("")};
    struct ingest_append request = {.stream = "plain", .source = "files", .payloads = good, .n = 2, .idempotency_key = {1, 2}, .body_hash = {3, 4}};
    uint32_t taken = 99;
    size_t which = 99;
    struct err err;
    GOOD(ingest_append(ingest, &request, &taken, &which, &err));
    assert_int_equal(taken, 2);
    GOOD(ingest_append(ingest, &request, &taken, &which, &err)); /* again after a crash: the first answer */
    assert_int_equal(taken, 2);
    request.body_hash.lo = 9;
    assert_int_equal(ingest_append(ingest, &request, &taken, &which, &err), E_UNPROCESSABLE);
    request = (struct ingest_append){.stream = "plain", .source = "files", .payloads = bad, .n = 2};
    assert_int_equal(ingest_append(ingest, &request, &taken, &which, &err), E_INVALID);
    assert_int_equal(which, 1);
    request = (struct ingest_append){.stream = "plain", .source = "files", .payloads = empty, .n = 1};
    assert_int_equal(ingest_append(ingest, &request, &taken, &which, &err), E_INVALID);
    assert_int_equal(which, 0);
    request = (struct ingest_append){.stream = "none", .source = "files", .payloads = good, .n = 1};
    assert_int_equal(ingest_append(ingest, &request, &taken, &which, &err), E_NOT_FOUND);
}

/* ---- configuration ---- */

static void refused_configuration_changes_nothing(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    struct config_protect encrypt = {.path = "email", .policy = PROTECT_ENCRYPT};
    struct config_stream later = {.name = "later", .protect = {.paths = &encrypt, .paths_n = 1}};
    struct ingest_stream with_later[] = {streams[0], {3, &later}};
    assert_int_equal(ingest_configure(ingest, with_later, 2, sources, 1, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "streams.later.protect: email: encrypt"));
    struct config_source lost = hook_config, bare = hook_config, template = hook_config;
    lost.stream = "nowhere";
    bare.secrets_n = 0;
    template.scheme = SCHEME_HMAC_SHA256;
    template.signed_text = "v0:{timestamp}:{body}"; /* with no header to take the time from */
    const struct config_source *wrong[] = {&lost, &bare, &template};
    const char *parts[] = {"nowhere", "needs a secret", "timestamp_header"};
    for (size_t i = 0; i < 3; i++) {
        const struct ingest_source one = {wrong[i]};
        assert_int_equal(ingest_configure(ingest, streams, 2, &one, 1, &err), E_CONFIG);
        if (!strstr(err.text, parts[i])) fail_msg("%s", err.text);
    }
    struct http_client *client = http_client_new();
    assert_int_equal(ask(client, arena, "POST", "/hooks/hook", "{\"id\":\"still\"}", NULL, NULL), 202);
    stream_configs[1].protect = (struct config_protection){.paths = &email_mask, .paths_n = 1};
    GOOD(ingest_configure(ingest, streams, 2, sources, 1, &err));
    assert_int_equal(ask(client, arena, "POST", "/v1/streams/masked", "{\"email\":\"a@b.c\"}", NULL, NULL), 202);
    struct str events;
    assert_int_equal(ask(client, arena, "GET", "/v1/streams/masked/events", NULL, NULL, &events), 200);
    assert_true(str_find(events, STR("{\\\"email\\\":\\\"***\\\"}")) > 0);
    http_client_free(&client);
}

/* ---- data/cli.token ---- */

static void cli_token_is_made_once(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    struct str first, second;
    struct stat st;
    char *path = path_of(arena, "cli.token");
    GOOD(ingest_cli_token(&host, ledger, path, &err));
    GOOD(fs_read_all(host.fs, arena, path, 1000, &first, &err));
    GOOD(ingest_cli_token(&host, ledger, path, &err));
    GOOD(fs_read_all(host.fs, arena, path, 1000, &second, &err));
    assert_true(str_eq(first, second));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    GOOD(fs_write_atomic(host.fs, path, STR("cupel_somebody_elses\n"), &err)); /* not in the ledger: made anew, the old one no longer works */
    GOOD(ingest_cli_token(&host, ledger, path, &err));
    GOOD(fs_read_all(host.fs, arena, path, 1000, &second, &err));
    assert_false(str_eq(first, second));
    struct ledger_token *tokens;
    size_t n, admins = 0;
    GOOD(ledger_token_list(ledger, arena, &tokens, &n, &err));
    for (size_t i = 0; i < n; i++) admins += strcmp(tokens[i].name, "cli") == 0;
    assert_int_equal(admins, 1);
}

static void token_names_and_roles(void **state) {
    char text[TOKEN_TEXT_MAX];
    struct err err;
    assert_int_equal(ingest_token_create(ingest, STR("test"), STR("read"), 0, text, &err), E_CONFLICT);
    assert_int_equal(ingest_token_create(ingest, STR(""), STR("read"), 0, text, &err), E_INVALID);
    assert_int_equal(ingest_token_create(ingest, STR("a b"), STR("read"), 0, text, &err), E_INVALID);
    assert_int_equal(ingest_token_create(ingest, STR("x"), STR("root"), 0, text, &err), E_INVALID);
    assert_int_equal(ingest_token_revoke(ingest, STR("nobody"), &err), E_NOT_FOUND);
    assert_int_equal(ingest_token_revoke(ingest, STR("../x"), &err), E_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_clients_at_once),
        cmocka_unit_test(append_without_http),
        cmocka_unit_test(refused_configuration_changes_nothing),
        cmocka_unit_test(cli_token_is_made_once),
        cmocka_unit_test(token_names_and_roles),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
