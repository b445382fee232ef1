/* Configuration: what is right is taken over, what is wrong is said with its place, all in one run, and secrets are never printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/config_priv.h"

/* ---- help ---- */

static const char *variable(void *context, const char *name) {
    if (strcmp(name, "SECRET") == 0) return "swordfish-of-the-environment";
    if (strcmp(name, "EMPTY") == 0) return "";
    if (strcmp(name, "THREE") == 0) return "3";
    if (strcmp(name, "HUGE_NUMBER") == 0) return "swordfish99999";
    return NULL;
}

static enum status secret_file(void *context, struct arena *arena, const char *path, struct str *out, struct err *err) {
    if (strcmp(path, "/run/secrets/x") != 0) return err_set(err, E_NOT_FOUND, "opening %s: No such file or directory", path);
    *out = STR("swordfish-of-the-file\n");
    return OK;
}

static const struct config_environment environment = {.variable = variable, .file = secret_file};

static struct config *parse(const char *yaml, struct config_problems *problems) {
    struct config *config = NULL;
    struct err err;
    enum status status = config_parse(str_of(yaml), "/p", &environment, &config, problems, &err);
    assert_true((status == OK) == (config != NULL));
    assert_true((status == OK) == (problems->errors == 0));
    assert_true(status == OK || status == E_CONFIG);
    return config;
}

static struct config *good(const char *yaml) {
    struct config_problems problems = {0};
    struct config *config = parse(yaml, &problems);
    if (!config) {
        BUF_SCOPE(text);
        config_problems_write(&problems, CONFIG_FILE, &text);
        fail_msg("%s", buf_cstr(&text));
    }
    config_problems_free(&problems);
    return config;
}

/* The problems, one per line, are exactly these. */
static void expect(const char *yaml, const char *wanted) {
    struct config_problems problems = {0};
    struct config *config = parse(yaml, &problems);
    BUF_SCOPE(text);
    config_problems_write(&problems, CONFIG_FILE, &text);
    assert_string_equal(buf_cstr(&text), wanted);
    assert_null(strstr(buf_cstr(&text), "swordfish"));
    config_problems_free(&problems);
    config_free(&config);
}

/* ---- what is right ---- */

static void test_defaults(void **state) {
    struct config *config = config_defaults("/somewhere/shop");
    assert_string_equal(config->project, "shop");
    assert_string_equal(config->listen, "127.0.0.1:8080");
    assert_string_equal(config->timezone, "UTC");
    assert_string_equal(config->data_dir, "/somewhere/shop/data");
    assert_string_equal(config->lake.path, "/somewhere/shop/data/lake");
    assert_int_equal(config->auth.loopback, LOOPBACK_TOKEN);
    assert_int_equal(config->tls.mode, TLS_UNSET);
    assert_true(config->log.retention_ms == INT64_C(7) * 86400000 && config->log.max_bytes == 20000000000u && config->log.segment_bytes == 128u << 20);
    assert_true(config->lake.flush.bytes == 128000000 && config->lake.flush.seconds == 300);
    assert_true(config->limits.body_bytes == 16u << 20 && config->limits.connections == 12000);
    assert_true(config->sql.memory_bytes == 1u << 30 && config->sql.queries == 8);
    assert_int_equal(config->streams_n, 0);
    config_free(&config);
    assert_null(config);
}

static void test_interface_example(void **state) {
    struct config *config = good("project: shop\n"
                                 "timezone: UTC                     # business day of the KPIs\n"
                                 "listen: 127.0.0.1:8080\n"
                                 "auth: {loopback: token}\n"
                                 "lake: {store: local, path: data/lake}\n"
                                 "streams:\n"
                                 "  web_traffic:\n"
                                 "    partitions: 2\n"
                                 "    key: session_id\n"
                                 "    dedupe: event_id\n"
                                 "    dedupe_window: 24h\n"
                                 "    accept: json\n"
                                 "    protect: {email: tokenise, subject: customer_id}\n"
                                 "    retention: 3650d\n"
                                 "    flush: {bytes: 128MB, seconds: 300}\n"
                                 "  orders:\n"
                                 "sources:\n"
                                 "  - {name: orders_hook, type: webhook, stream: orders, scheme: shopify, secret: \"${SECRET}\"}\n"
                                 "  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n"
                                 "log: {retention: 7d, max_bytes: 20GB}\n");
    const struct config_stream *web = config_find_stream(config, STR("web_traffic"));
    assert_non_null(web);
    assert_true(web->partitions == 2 && web->dedupe.kind == DEDUPE_PATH && web->dedupe_window_ms == 86400000);
    assert_string_equal(web->key, "session_id");
    assert_string_equal(web->dedupe.name, "event_id");
    assert_int_equal(web->protect.paths_n, 1);
    assert_string_equal(web->protect.paths[0].path, "email");
    assert_int_equal(web->protect.paths[0].policy, PROTECT_TOKENISE);
    assert_string_equal(web->protect.subject, "customer_id");
    assert_true(config_find_stream(config, STR("orders"))->partitions == 1);
    assert_null(config_find_stream(config, STR("order")));
    const struct config_source *hook = config_find_source(config, STR("orders_hook"));
    assert_true(hook->type == SOURCE_WEBHOOK && hook->secrets_n == 1 && hook->accept == ACCEPT_ANY && hook->answer == 200);
    assert_string_equal(hook->secrets[0], "swordfish-of-the-environment");
    const struct config_source *pos = config_find_source(config, STR("pos"));
    assert_string_equal(pos->path, "/p/landing/pos");
    assert_string_equal(pos->table, "bronze.pos");
    assert_true(pos->quiet_ms == 2000 && pos->has_header == TRI_AUTO && !pos->delimiter && !pos->stream);
    config_free(&config);
}

static void test_empty_file(void **state) {
    static const char *const texts[] = {"", "\n", "# only a comment\n", "---\n", "~\n", "streams:\nsources:\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct config *config = good(texts[i]);
        assert_int_equal(config->streams_n, 0);
        config_free(&config);
    }
}

static void test_stream_settings(void **state) {
    struct config *config = good("streams:\n"
                                 "  a: {dedupe: \"header:X-Event-Id\", flush: {seconds: 5}, retention: 0}\n"
                                 "  b: {dedupe: body, accept: any, protect: {customer.email: mask}}\n"
                                 "  c: {dedupe: $.order.id}\n"
                                 "lake: {flush: {bytes: 1MB, seconds: 60}}\n" /* after the streams: still their default */
                                 "log: {retention: 2h}\n");
    const struct config_stream *a = &config->streams[0], *b = &config->streams[1], *c = &config->streams[2];
    assert_true(a->dedupe.kind == DEDUPE_HEADER && a->retention_ms == 0 && a->flush.seconds == 5 && a->flush.bytes == 1000000);
    assert_string_equal(a->dedupe.name, "x-event-id");
    assert_true(b->dedupe.kind == DEDUPE_BODY && b->accept == ACCEPT_ANY && b->flush.seconds == 60);
    assert_int_equal(b->protect.paths[0].policy, PROTECT_MASK);
    assert_string_equal(c->dedupe.name, "$.order.id");
    assert_true(c->dedupe_window_ms == 7200000); /* the default gives way to the log's retention */
    config_free(&config);
}

static void test_source_settings(void **state) {
    struct config *config = good("streams: {s: {}}\n"
                                 "sources:\n"
                                 "  - name: h1\n"
                                 "    type: webhook\n"
                                 "    stream: s\n"
                                 "    scheme: hmac-sha256\n"
                                 "    secret: one\n"
                                 "    secrets: [two, three]\n"
                                 "    header: X-Hub-Signature-256\n"
                                 "    encoding: base64\n"
                                 "    prefix: sha256=\n"
                                 "    timestamp_header: X-Time\n"
                                 "    tolerance: 1m\n"
                                 "    keep_headers: [X-Topic, x-shop]\n"
                                 "    answer: 204\n"
                                 "  - {name: h2, type: webhook, stream: s, scheme: standard-webhooks, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}\n"
                                 "  - {name: h3, type: webhook, stream: s, scheme: token, secret: t, token_query: key}\n"
                                 "  - {name: h4, type: webhook, stream: s, scheme: basic, user: u, password: \"${file:/run/secrets/x}\"}\n"
                                 "  - {name: l1, type: landing, path: /abs/in, stream: s, format: csv, delimiter: tab, quote: none, escape: '\\', header: "
                                 "true, encoding: windows-1254,\n"
                                 "     nulls: [NULL, '\\N'], record_bytes_max: 1MiB, columns_max: 10, quiet: 500ms}\n"
                                 "  - {name: l2, type: landing, path: in2, table: bronze.l2, delimiter: \"§\"}\n");
    const struct config_source *h1 = &config->sources[0];
    assert_int_equal(h1->secrets_n, 3);
    assert_string_equal(h1->secrets[2], "three");
    assert_string_equal(h1->header, "X-Hub-Signature-256");
    assert_string_equal(h1->keep_headers[0], "x-topic");
    assert_true(h1->keep_headers_n == 2 && h1->encoding == SIGNATURE_BASE64 && h1->tolerance_ms == 60000 && h1->answer == 204);
    assert_string_equal(h1->prefix, "sha256=");
    assert_string_equal(config->sources[3].password, "swordfish-of-the-file");
    const struct config_source *l1 = &config->sources[4];
    assert_string_equal(l1->path, "/abs/in");
    assert_string_equal(l1->delimiter, "\t");
    assert_string_equal(l1->quote, "");
    assert_string_equal(l1->escape, "\\");
    assert_string_equal(l1->file_encoding, "windows-1254");
    assert_string_equal(l1->nulls[1], "\\N");
    assert_true(l1->nulls_n == 2 && l1->has_header == TRI_YES && l1->format == FORMAT_CSV && l1->quiet_ms == 500 && l1->columns_max == 10);
    assert_string_equal(config->sources[5].delimiter, "§");
    config_free(&config);
}

static void test_expansion(void **state) {
    struct config *config =
        good("project: \"a ${EMPTY:-b}-${THREE}-${NOTHING:-d:-e}-$${THREE}-$5-$\"\n"
             "streams: {s: {partitions: \"${THREE}\"}}\n"
             "sources: [{name: h, type: webhook, stream: s, scheme: token, token_header: X, secret: 'a${EMPTY}${file:/run/secrets/x}z'}]\n");
    assert_string_equal(config->project, "a b-3-d:-e-${THREE}-$5-$");
    assert_true(config->streams[0].partitions == 3);
    assert_string_equal(config->sources[0].secrets[0], "aswordfish-of-the-filez");
    config_free(&config);
}

static void test_tls_and_listen(void **state) {
    struct config *config = good("listen: 0.0.0.0:80\ntls: off\n");
    assert_int_equal(config->tls.mode, TLS_OFF);
    config_free(&config);
    config = good("listen: '[::]:443'\ntls: {cert: a.pem, key: /b.pem}\n");
    assert_int_equal(config->tls.mode, TLS_ON);
    assert_string_equal(config->tls.cert, "/p/a.pem");
    assert_string_equal(config->tls.key, "/b.pem");
    config_free(&config);
    assert_true(config_listen_is_loopback("127.0.0.1:0") && config_listen_is_loopback("127.8.9.1:80") && config_listen_is_loopback("[::1]:80"));
    assert_true(config_listen_is_loopback("localhost:80") && config_listen_is_loopback("unix:/x"));
    assert_false(config_listen_is_loopback("0.0.0.0:80") || config_listen_is_loopback("127.evil.org:80") || config_listen_is_loopback("[::]:80"));
}

static void test_aliases(void **state) {
    struct config *config = good("streams:\n  a: &usual {partitions: 4, dedupe: body}\n  b: *usual\n");
    assert_true(config->streams[1].partitions == 4 && config->streams[1].dedupe.kind == DEDUPE_BODY);
    assert_string_equal(config->streams[1].name, "b");
    config_free(&config);
}

/* ---- what is wrong ---- */

static void test_unknown_keys(void **state) {
    expect("streams:\n  orders:\n    partition: 2\n", "cupel.yaml:3:5: unknown key \"partition\" (did you mean \"partitions\"?)\n");
    expect("sream: 1\nxyzzy: 2\n", "cupel.yaml:1:1: unknown key \"sream\" (did you mean \"streams\"?)\ncupel.yaml:2:1: unknown key \"xyzzy\"\n");
    expect("log: {retentoin: 7d}\n", "cupel.yaml:1:7: unknown key \"retentoin\" (did you mean \"retention\"?)\n");
}

static void test_wrong_values(void **state) {
    expect("streams: {s: {partitions: 0}}", "cupel.yaml:1:27: partitions: \"0\" is less than 1\n");
    expect("streams: {s: {partitions: 1025}}", "cupel.yaml:1:27: partitions: \"1025\" is more than 1024\n");
    expect("streams: {s: {partitions: two}}", "cupel.yaml:1:27: partitions must be a whole number, not \"two\"\n");
    expect("streams: {s: {partitions: [1]}}", "cupel.yaml:1:27: partitions must be one value, not a list\n");
    expect("streams: {s: {partitions: }}", "cupel.yaml:1:27: partitions has no value; leave the line out to get the default\n");
    expect("streams: {s: 5}", "cupel.yaml:1:14: a stream's settings must be a map, not \"5\"\n");
    expect("streams: [s]", "cupel.yaml:1:10: streams must be a map of at most 1000 names to settings\n");
    expect("sources: {s: 1}", "cupel.yaml:1:10: sources must be a list of at most 1000 sources\n");
    expect("log: {retention: 7}", "cupel.yaml:1:18: retention must be a time with its unit, such as 300s, 24h or 7d, not \"7\"\n");
    expect("log: {max_bytes: 20XB}", "cupel.yaml:1:18: max_bytes must be a size such as 128MB or 64KiB, not \"20XB\"\n");
    expect(
        "log: {max_bytes: 99999999999999999999999GB}", "cupel.yaml:1:18: max_bytes must be a size such as 128MB or 64KiB, not \"99999999999999999999999GB\"\n");
    expect("auth: {loopback: opne}", "cupel.yaml:1:18: loopback must be token or open, not \"opne\" (did you mean \"open\"?)\n");
    expect("listen: 8080", "cupel.yaml:1:9: listen must be an address such as 127.0.0.1:8080, [::1]:8080 or unix:/run/cupel.sock, not \"8080\"\n");
    expect("listen: 127.0.0.1:99999",
        "cupel.yaml:1:9: listen must be an address such as 127.0.0.1:8080, [::1]:8080 or unix:/run/cupel.sock, not \"127.0.0.1:99999\"\n");
    expect("timezone: ../etc/passwd", "cupel.yaml:1:11: timezone must be a time zone such as UTC or Europe/Istanbul, not \"../etc/passwd\"\n");
    expect("- a\n", "cupel.yaml:1:1: the file must be a map, as `project: shop`\n");
    expect("just text", "cupel.yaml:1:1: the file must be a map, as `project: shop`\n");
}

static void test_stream_names(void **state) {
    static const char *const bad[] = {"Orders", "1st", "_x", "a-b", "a.b", "../x", "é"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ARENA_SCOPE(arena);
        expect(arena_printf(arena, "streams: {\"%s\": {}}", bad[i]),
            arena_printf(
                arena, "cupel.yaml:1:11: a stream's name must be small letters, digits and _, begin with a letter, at most 63 long, not \"%s\"\n", bad[i]));
    }
    char name[66] = {0};
    memset(name, 'a', 64);
    assert_false(config_name_valid(str_of(name)));
    name[63] = '\0';
    assert_true(config_name_valid(str_of(name)));
    assert_false(config_name_valid(str_of("")));
}

static void test_protection(void **state) {
    expect("streams: {s: {protect: {email: encrypt}}}", "cupel.yaml:1:32: policy \"encrypt\" comes with a later version; use tokenise or mask\n");
    expect("streams: {s: {protect: {email: masc}}}", "cupel.yaml:1:32: policy must be encrypt, tokenise or mask, not \"masc\" (did you mean \"mask\"?)\n");
    expect("streams: {s: {protect: {'a..b': mask}}}", "cupel.yaml:1:25: protect must be a map of JSON paths to policies, not \"a..b\"\n");
    expect("streams: {s: {protect: mask}}", "cupel.yaml:1:24: protect must be a map of JSON paths to tokenise or mask, not \"mask\"\n");
}

static void test_dangling_and_twice(void **state) {
    expect("streams: {orders: {}}\nsources:\n  - {name: h, type: webhook, stream: order, scheme: shopify, secret: x}\n",
        "cupel.yaml:3:38: source h feeds stream \"order\", which is not under `streams:` (did you mean \"orders\"?)\n");
    expect("streams: {s: {}}\nsources:\n  - {name: h, type: webhook, stream: s, scheme: token, token_query: t, secret: x}\n"
           "  - {name: h, type: webhook, stream: s, scheme: token, token_query: t, secret: x}\n",
        "cupel.yaml:4:12: source \"h\" is given twice, first in line 3\n");
    expect("streams:\n  a: {}\n  b: {}\n  a: {}\n", "cupel.yaml:4:3: key \"a\" is given twice, first in line 2\n");
    expect("sources:\n  - {name: a, type: landing, path: in, table: bronze.a}\n  - {name: b, type: landing, path: in/deeper, table: bronze.b}\n",
        "cupel.yaml:3:36: sources a and b watch the same folder, or one inside of the other\n");
    expect("streams: {pos: {}}\nsources:\n  - {name: a, type: landing, path: in, table: bronze.pos}\n",
        "cupel.yaml:3:47: table bronze.pos is that of the stream of the same name; take another name, or feed the stream with `stream:`\n");
}

static void test_sources(void **state) {
    expect("sources:\n  - {name: a}\n", "cupel.yaml:2:5: \"type\" is missing\n");
    expect("sources:\n  - {name: a, type: landng}\n", "cupel.yaml:2:21: type must be webhook, landing or poll, not \"landng\" (did you mean \"landing\"?)\n");
    expect("sources:\n  - {type: landing, table: bronze.x}\n", "cupel.yaml:2:5: \"name\" is missing\ncupel.yaml:2:5: \"path\" is missing\n");
    expect("sources:\n  - {name: a, type: landing, path: in}\n", "cupel.yaml:2:5: source a: give either \"table\" or \"stream\"\n");
    expect("sources:\n  - {name: a, type: landing, path: in, table: silver.x}\n",
        "cupel.yaml:2:47: table must be a table in bronze, as bronze.pos, not \"silver.x\"\n");
    expect("streams: {s: {}}\nsources:\n  - {name: a, type: landing, path: in, table: bronze.x, stream: s}\n",
        "cupel.yaml:3:5: source a: give either \"table\" or \"stream\"\n");
}

/* Which settings a scheme or a format needs and which it does not have. */
static void test_source_rules(void **state) {
#define HOOK "streams: {s: {}}\nsources:\n  - {name: h, type: webhook, stream: s, "
    expect(HOOK "scheme: hmac-sha256}\n", "cupel.yaml:3:5: source h: scheme hmac-sha256 needs \"secret\"\n");
    expect(HOOK "scheme: token, secret: x}\n",
        "cupel.yaml:3:5: source h: scheme token needs either \"token_header\" or \"token_query\": where the token stands\n");
    expect(HOOK "scheme: basic, user: x}\n", "cupel.yaml:3:5: source h: scheme basic needs \"user\" and \"password\"\n");
    expect(HOOK "scheme: none, secret: x}\n",
        "cupel.yaml:3:5: warning: source h: scheme none takes requests from anybody who reaches it\n"
        "cupel.yaml:3:63: source h: scheme none has no secret\n");
    expect(HOOK "scheme: standard-webhooks, secret: '${SECRET}!'}\n",
        "cupel.yaml:3:76: source h: a secret of standard-webhooks is base64, with or without whsec_ in front; one given here is not\n");
    expect(HOOK "scheme: shopify, secret: x, delimiter: ';'}\n", "cupel.yaml:3:69: \"delimiter\" is for sources of type landing\n");
    expect(HOOK "scheme: shopify, secret: x, answer: 500}\n", "cupel.yaml:3:77: answer: \"500\" is more than 299\n");
    expect(HOOK "scheme: shopify, secret: x, keep_headers: ['a b']}\n", "cupel.yaml:3:84: keep_headers must be the name of an HTTP header, not \"a b\"\n");
#define FOLDER "sources:\n  - {name: l, type: landing, table: bronze.l, "
    expect(FOLDER "path: data/in}\n", "cupel.yaml:2:53: source l: its folder may not be inside of data/, which only cupel writes\n");
    expect(FOLDER "path: in, delimiter: ',', quote: ','}\n", "cupel.yaml:2:80: source l: delimiter and quote are the same character\n");
    expect(FOLDER "path: in, delimiter: ab}\n", "cupel.yaml:2:68: delimiter must be one character, tab, or auto, not \"ab\"\n");
    expect(FOLDER "path: in, format: parquet, header: true}\n", "cupel.yaml:2:74: source l: \"header\" is for csv and tsv\n");
}

static void test_rules_across(void **state) {
    expect("listen: 0.0.0.0:80\n",
        "cupel.yaml:1:9: listen: 0.0.0.0:80 can be reached from other machines: give tls: {cert: …, key: …}, or say `tls: off` when something in front of it "
        "does "
        "TLS\n");
    expect("streams: {s: {dedupe: body, dedupe_window: 8d}}\n",
        "cupel.yaml:1:44: dedupe_window is longer than the log's retention: an event that is gone from the log cannot be recognised\n");
    expect("streams: {s: {dedupe_window: 1d}}\n", "cupel.yaml:1:30: warning: dedupe_window has no effect without dedupe\n");
    expect("log: {max_bytes: 256MiB}\n", "cupel.yaml:1:18: log: max_bytes must be at least four times segment_bytes (268435456 and 134217728)\n");
    expect("tls: {cert: a}\n", "cupel.yaml:1:6: \"key\" is missing\n");
    expect("tls: on\n", "cupel.yaml:1:6: tls must be off, or a map with cert and key, not \"on\"\n");
    expect("lake: {store: s3, bucket: b}\n", "cupel.yaml:1:15: lake: store s3 comes with a later version; this one has local\n");
    expect("lake: {bucket: b}\n", "cupel.yaml:1:8: lake: \"bucket\" belongs to store s3\n");
    expect("sql: {memory: 1GiB, query_memory: 2GiB}\n",
        "cupel.yaml:1:21: warning: unknown key \"query_memory\": removed; it never had an effect; `memory` is for all queries together, and "
        "`queries_per_token` keeps one user from taking it all\n");
    expect("limits: {record_bytes: 2MiB, decompressed_bytes: 1MiB}\n",
        "cupel.yaml:1:9: limits: record_bytes is more than decompressed_bytes, so such an event can never come in\n");
}

static void test_later(void **state) {
    struct config_problems problems = {0};
    struct config *config = parse("handlers: [{name: x, url: \"${THREE}\"}, b]\nroles:\nalerts: {}\n", &problems);
    assert_non_null(config);
    assert_int_equal(problems.n, 1);
    assert_true(problems.list[0].warning);
    assert_string_equal(problems.list[0].text, "handlers: this version knows the key and does not run it yet (2 entries)");
    assert_int_equal(config->later_n, 3);
    assert_string_equal(config->later[0].key, "handlers");
    assert_true(str_is(yaml_get(config->later[0].node->items[0], "url")->text, "3"));
    config_problems_free(&problems);
    config_free(&config);
    expect("alerts: 5\n", "cupel.yaml:1:9: alerts must be a list or a map, not \"5\"\n");
    expect("streams: {s: {}}\nsources: [{name: p, type: poll, url: 'https://x/y', every: 3s, stream: s, headers: 'A: b'}]\n", "");
    expect("streams: {s: {}}\nsources: [{name: p, type: poll, url: 'https://x/y', stream: s, headers: [\"A: b\", secret]}]\n",
        "cupel.yaml:2:11: source p: header 2 is not of the form \"Name: value\" on one line\n");
}

/* ---- secrets ---- */

static void test_expansion_errors(void **state) {
    expect("project: ${NOTHING}\n", "cupel.yaml:1:10: environment variable NOTHING is not set; write ${NOTHING:-…} to give a default\n");
    expect("project: ${file:/none}\n", "cupel.yaml:1:10: ${file:/none}: opening /none: No such file or directory\n");
    expect("project: ${a-b}\n", "cupel.yaml:1:10: ${a-b} is not a variable's name; write ${NAME}, ${NAME:-default} or ${file:/path}, and $${ for a plain ${\n");
    expect("project: '${SECRET'\n", "cupel.yaml:1:10: ${ without a closing }; write $${ for a plain ${\n");
}

/* The value of a variable shows neither in messages (the text as written does) nor in what is shown of a configuration. */
static void test_secrets_are_not_printed(void **state) {
    expect("streams: {s: {partitions: \"${HUGE_NUMBER}\"}}\n", "cupel.yaml:1:27: partitions must be a whole number, not \"${HUGE_NUMBER}\"\n");
    expect("auth: {loopback: \"${SECRET}\"}\n", "cupel.yaml:1:18: loopback must be token or open, not \"${SECRET}\"\n");
    expect("sources: [{name: h, type: webhook, stream: \"${SECRET}\", scheme: token, token_query: t, secret: \"${SECRET}\"}]\n",
        "cupel.yaml:1:44: stream must be a name of small letters, digits and _ that begins with a letter, at most 63, not \"${SECRET}\"\n");
}

static void test_shown_json(void **state) {
    struct config *config = good("streams: {s: {protect: {a: mask}, dedupe: 'header:Id'}}\n"
                                 "sources: [{name: h, type: webhook, stream: s, scheme: basic, user: u, password: '${SECRET}'},\n"
                                 " {name: i, type: webhook, stream: s, scheme: token, token_query: t, secrets: ['${SECRET}', b]}]\n");
    BUF_SCOPE(all);
    config_json(config, &all);
    assert_null(strstr(buf_cstr(&all), "swordfish"));
    assert_non_null(strstr(buf_cstr(&all), "\"password\":\"***\""));
    assert_non_null(strstr(buf_cstr(&all), "\"secret\":[\"***\",\"***\"]"));
    BUF_SCOPE(stream);
    config_stream_json(&config->streams[0], &stream);
    assert_string_equal(buf_cstr(&stream),
        "{\"partitions\":1,\"key\":null,\"dedupe\":\"header:id\",\"dedupe_window\":\"1d\",\"accept\":\"json\",\"protect\":{\"a\":\"mask\"},"
        "\"retention\":\"3650d\",\"flush\":{\"bytes\":128000000,\"seconds\":300},\"description\":null}");
    config_free(&config);
}

/* ---- hostile YAML ---- */

static void test_syntax(void **state) {
    struct config_problems problems = {0};
    struct config *config = parse("streams:\n  a: [1\n  b: 2\n", &problems);
    assert_null(config);
    assert_true(problems.n == 1 && problems.list[0].line >= 2);
    assert_non_null(strstr(problems.list[0].text, "not valid YAML"));
    config_problems_free(&problems);
    expect("a\xff: 1\n", "cupel.yaml:1:2: not valid YAML: invalid leading UTF-8 octet\n");
    expect("project: !!int 5\n", "cupel.yaml:1:10: tags (tag:yaml.org,2002:int) are not used here\n");
    expect("project: *x\n", "cupel.yaml:1:10: alias *x has no anchor &x before it\n");
    expect("a: &x {b: *x}\n", "cupel.yaml:1:11: alias *x has no anchor &x before it\n");
    expect("project: a\n---\nproject: b\n", "cupel.yaml:2:1: only one YAML document is read; `---` may not start another one\n");
    expect("? [a, b]\n: 1\n", "cupel.yaml:1:3: a key must be a plain text\n");
    expect("streams: {a: {<<: {partitions: 2}}}\n",
        "cupel.yaml:1:15: merge keys (<<) are not supported; write the settings out, or use an alias for the whole value\n");
    expect("project: \"a\\0b\"\n", "cupel.yaml:1:10: a text may not hold a NUL character\n");
}

static void test_depth_and_bombs(void **state) {
    BUF_SCOPE(deep);
    for (int i = 0; i < 200; i++) buf_text(&deep, "[");
    expect(buf_cstr(&deep), "cupel.yaml:1:33: nested too deeply: more than 32 levels\n");
    BUF_SCOPE(bomb);
    buf_text(&bomb, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&bomb, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) buf_printf(&bomb, "%s*a%d", k ? ", " : "", i - 1);
        buf_text(&bomb, "]\n");
    }
    struct config_problems problems = {0};
    assert_null(parse(buf_cstr(&bomb), &problems));
    assert_non_null(strstr(problems.list[0].text, "too large: more than 100000 values"));
    config_problems_free(&problems);
}

static void test_many_problems(void **state) {
    BUF_SCOPE(text);
    for (int i = 0; i < 500; i++) buf_printf(&text, "x%d: 1\n", i);
    struct config_problems problems = {0};
    assert_null(parse(buf_cstr(&text), &problems));
    assert_true(problems.n == CONFIG_PROBLEMS_MAX && problems.errors == 500 && problems.cut);
    BUF_SCOPE(out);
    config_problems_write(&problems, CONFIG_FILE, &out);
    assert_non_null(strstr(buf_cstr(&out), "more than 200 problems"));
    config_problems_free(&problems);
}

static void test_first_error_in_err(void **state) {
    struct config_problems problems = {0};
    struct config *config = NULL;
    struct err err;
    assert_int_equal(config_parse(STR("xyzzy: 1\nabcde: 2\n"), "/p", NULL, &config, &problems, &err), E_CONFIG);
    assert_string_equal(err.text, "cupel.yaml:1:1: unknown key \"xyzzy\" (and 1 more)");
    config_problems_free(&problems);
}

/* ---- flows ---- */

static void test_flows(void **state) {
    struct config *config =
        good("timezone: Europe/Berlin\nstreams: {web: {}}\nsources: [{name: pos, type: landing, path: in, table: bronze.pos, columns: [a, b]}]\n"
             "flow: {tick: 100ms, concurrency: 4}\nflows:\n"
             "  - {name: nightly, schedule: \"0 3 * * mon-fri\", models: [silver.*, +tag:web, sales.total+], catch_up: all, exclusive: true}\n"
             "  - name: report\n    after: nightly\n    on: [bronze.pos, bronze.web, silver.x]\n    steps:\n"
             "      - {name: look, sql: SELECT true, retries: 3, backoff: 1s, timeout: 5m, on_failure: tell}\n"
             "      - {name: run, models: sales.*, needs: look, skip_if: SELECT false}\n"
             "      - {name: tell, flow: nightly}\n");
    const struct config_flow *nightly = &config->flows[0], *report = config_find_flow(config, STR("report"));
    assert_int_equal(config->flows_n, 2);
    assert_true(config->flow.tick_ms == 100 && config->flow.concurrency == 4 && config->flow.backoff_max_ms == 300000);
    assert_true(nightly->exclusive && nightly->catch_up == CATCH_UP_ALL && nightly->steps_n == 1 && nightly->steps[0].models_n == 3 && nightly->line == 6);
    assert_string_equal(nightly->steps[0].name, "models");
    assert_string_equal(nightly->timezone, "Europe/Berlin");
    assert_true(report && report->on_n == 3 && report->steps_n == 3 && report->catch_up == CATCH_UP_LAST && !report->exclusive);
    assert_true(report->steps[0].retries == 3 && report->steps[0].timeout_ms == 300000 && report->steps[1].backoff_ms == 10000);
    assert_string_equal(report->steps[1].needs[0], "look");
    assert_string_equal(config->sources[0].columns[1], "b");
    BUF_SCOPE(json);
    config_json(config, &json);
    assert_int_equal(json_validate(buf_view(&json), 64, NULL), OK);
    config_free(&config);
}

static void test_wrong_flows(void **state) {
    expect("flows: {}\n", "cupel.yaml:1:8: flows must be a list of at most 1000\n");
    expect("flows: [x]\n", "cupel.yaml:1:9: a flow must be a map with a name\n");
    expect("flows: [{name: a, schedule: \"61 * * * *\", models: [x]}]\n",
        "cupel.yaml:1:29: schedule: minute: 61 is not from 0 to 59\n"
        "cupel.yaml:1:52: models must be a selection such as silver.pos_sales, marketing.*, silver.pos_sales+, tag:web or *, not \"x\"\n");
    expect("flows: [{name: a}]\n", "cupel.yaml:1:9: flow a: give either \"models\" or \"steps\"\n");
    expect("flows: [{name: a, models: \"*\", catch_up: all, timezone: UTC}]\n",
        "cupel.yaml:1:42: flow a: catch_up needs a schedule\ncupel.yaml:1:57: flow a: timezone needs a schedule\n");
    expect("flows: [{name: a, models: \"*\", after: b}, {name: b, models: \"*\", after: a}]\n",
        "cupel.yaml:1:39: flow a: flows wait for each other in a circle\ncupel.yaml:1:73: flow b: flows wait for each other in a circle\n");
    expect("flows: [{name: aaaa, models: \"*\", after: aaab}]\n", "cupel.yaml:1:42: there is no flow \"aaab\" (did you mean \"aaaa\"?)\n");
    expect("flows: [{name: a, models: \"*\"}, {name: a, models: \"*\"}]\n", "cupel.yaml:1:40: flow \"a\" is given twice\n");
    expect("flows: [{name: a, on: [bronze.z, q], steps: [{name: s}, {name: s, sql: x, needs: t}, {name: u, flow: no, on_failure: u}]}]\n",
        "cupel.yaml:1:34: on must be a table, as silver.pos_sales, not \"q\"\n"
        "cupel.yaml:1:46: step s: give one of \"models\", \"sql\" and \"flow\"\n"
        "cupel.yaml:1:64: flow a has two steps \"s\"\n"
        "cupel.yaml:1:82: flow a has no step \"t\" (did you mean \"s\"?)\n"
        "cupel.yaml:1:102: there is no flow \"no\"\n"
        "cupel.yaml:1:118: step u cannot be its own on_failure\n");
    expect("flows: [{name: a, on: bronze.z, steps: [{name: s, sql: x, needs: t}, {name: t, sql: x, needs: s}]}]\n",
        "cupel.yaml:1:23: flow a: there is no stream or landing table bronze.z\n"
        "cupel.yaml:1:40: flow a: its steps wait for each other in a circle\n");
}

/* ---- reload, documents, scaffold ---- */

static void test_needs_restart(void **state) {
    struct config *a = good("streams: {s: {}}\nlogging: {level: info}\n");
    struct config *b = good("streams: {s: {partitions: 2}, t: {}}\nlogging: {level: debug}\n");
    struct config *c = good("streams: {s: {}}\nlisten: 127.0.0.1:9\nlog: {retention: 8d}\ntls: {cert: a, key: b}\n");
    BUF_SCOPE(live);
    config_needs_restart(a, b, &live);
    assert_int_equal(live.n, 0);
    BUF_SCOPE(dead);
    config_needs_restart(a, c, &dead);
    assert_string_equal(buf_cstr(&dead), "listen\ntls\nlog.retention\n");
    config_free(&a);
    config_free(&b);
    config_free(&c);
}

static void check_document(const char *name, void (*write)(struct buf *out)) {
    ARENA_SCOPE(arena);
    struct err err;
    struct str stored = STR_NULL;
    const char *path = arena_printf(arena, "%s/docs/%s", CUPEL_SOURCE_DIR, name);
    BUF_SCOPE(text);
    write(&text);
    if (fs_read_all(fs_real(), arena, path, 1 << 20, &stored, &err) != OK) fail_msg("%s", err.text);
    if (!str_eq(stored, buf_view(&text))) fail_msg("docs/%s is not what the option table says: run `cupel generate` for it", name);
}

static void test_documents_are_current(void **state) {
    check_document("options.md", config_write_options_md);
    check_document("cupel.schema.json", config_write_json_schema);
}

static void test_scaffolds(void **state) {
    static const char *const names[] = {"retail", "empty"};
    char dir[] = "/tmp/test_config_XXXXXX";
    struct host host = {.fs = fs_real(), .clock = clock_real()};
    struct err err;
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        ARENA_SCOPE(arena);
        struct config *config = NULL;
        struct config_problems problems = {0};
        const char *project = arena_printf(arena, "%s/my \"%s\" ${shop}", dir, names[i]);
        assert_int_equal(config_init(&host, project, names[i], &err), OK);
        assert_int_equal(config_init(&host, project, names[i], &err), E_CONFLICT);
        if (config_load(&host, project, &config, &problems, &err) != OK) fail_msg("%s", err.text);
        assert_int_equal(problems.n, 0);
        assert_string_equal(config->project, arena_printf(arena, "my \"%s\" ${shop}", names[i]));
        assert_int_equal(config->streams_n, i == 0 ? 4 : 0);
        if (i == 0) {
            assert_int_equal(config_find_stream(config, STR("web_traffic"))->dedupe.kind, DEDUPE_BODY);
            assert_true(fs_exists(host.fs, config_find_source(config, STR("pos"))->path));
            assert_true(fs_exists(host.fs, arena_printf(arena, "%s/reference/stores.csv", project)));
            assert_true(fs_exists(host.fs, arena_printf(arena, "%s/models/silver/pos_sales.sql", project)));
            assert_false(fs_exists(host.fs, arena_printf(arena, "%s/examples", project)));
        }
        config_free(&config);
    }
    assert_int_equal(config_init(&host, dir, "bakery", &err), E_INVALID);
    assert_non_null(strstr(err.text, "retail"));
    fs_remove_tree(host.fs, dir, &err);
}

static void test_load(void **state) {
    char dir[] = "/tmp/test_config_XXXXXX";
    struct host host = {.fs = fs_real(), .clock = clock_real()};
    struct err err;
    struct config *config = NULL;
    struct config_problems problems = {0};
    ARENA_SCOPE(arena);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(config_load(&host, dir, &config, &problems, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.text, "cupel init"));
    const char *file = arena_printf(arena, "%s/cupel.yaml", dir);
    assert_int_equal(fs_write_atomic(host.fs, arena_printf(arena, "%s/s.txt", dir), STR("from a file\r\n"), &err), OK);
    setenv("CUPEL_TEST_NAME", "from the environment", 1);
    assert_int_equal(fs_write_atomic(host.fs, file, STR("project: ${CUPEL_TEST_NAME}, ${file:s.txt}\n"), &err), OK);
    assert_int_equal(config_load(&host, dir, &config, &problems, &err), OK);
    assert_string_equal(config->project, "from the environment, from a file");
    config_free(&config);
    assert_int_equal(fs_write_atomic(host.fs, file, STR("tls: {cert: none.pem, key: s.txt}\ntimezone: Europe/Nowhere\n"), &err), OK);
    assert_int_equal(config_load(&host, dir, &config, &problems, &err), E_CONFIG);
    assert_int_equal(problems.errors, fs_exists(host.fs, "/usr/share/zoneinfo/UTC") ? 2 : 1);
    assert_non_null(strstr(problems.list[0].text, "there is no file"));
    config_problems_free(&problems);
    char *large = calloc(1, CONFIG_FILE_BYTES_MAX + 1);
    memset(large, '#', CONFIG_FILE_BYTES_MAX + 1);
    assert_int_equal(fs_write_atomic(host.fs, file, str_make(large, CONFIG_FILE_BYTES_MAX + 1), &err), OK);
    assert_int_equal(config_load(&host, dir, &config, &problems, &err), E_LIMIT);
    free(large);
    fs_remove_tree(host.fs, dir, &err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_interface_example),
        cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_stream_settings),
        cmocka_unit_test(test_source_settings),
        cmocka_unit_test(test_expansion),
        cmocka_unit_test(test_tls_and_listen),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_stream_names),
        cmocka_unit_test(test_protection),
        cmocka_unit_test(test_dangling_and_twice),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_source_rules),
        cmocka_unit_test(test_rules_across),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_flows),
        cmocka_unit_test(test_wrong_flows),
        cmocka_unit_test(test_expansion_errors),
        cmocka_unit_test(test_secrets_are_not_printed),
        cmocka_unit_test(test_shown_json),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_depth_and_bombs),
        cmocka_unit_test(test_many_problems),
        cmocka_unit_test(test_first_error_in_err),
        cmocka_unit_test(test_needs_restart),
        cmocka_unit_test(test_documents_are_current),
        cmocka_unit_test(test_scaffolds),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
