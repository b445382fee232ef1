/* A project folder with models, a log, a lake and a real engine: what runs of models need. The engine's child is the test's own binary. */
#ifndef CUPEL_TESTS_FLOW_FIXTURE_H
#define CUPEL_TESTS_FLOW_FIXTURE_H

#pragma GCC diagnostic ignored "-Wunused-function" /* not every test uses every helper */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/run_priv.h"
#include "lake/row_source.h"

struct fixture {
    struct host host;
    struct arena *arena;
    char dir[64];
    struct ledger *ledger;
    struct stream_log *log;
    struct engine *engine;
    struct lake *lake;
    struct flow *flow;
    const char *timezone;
    struct err err;
};

#define ok(call) \
    do { \
        if ((call) != OK) fail_msg("%s:%d %s: %s", __FILE__, __LINE__, #call, f->err.text); \
    } while (0)

static char *below(struct fixture *f, const char *path) { return arena_printf(f->arena, "%s/%s", f->dir, path); }

static void put_file(struct fixture *f, const char *path, const char *text) {
    char *full = below(f, path);
    char *folder = arena_strdup(f->arena, full);
    *strrchr(folder, '/') = 0;
    ok(fs_mkdirs(f->host.fs, folder, &f->err));
    ok(fs_write_atomic(f->host.fs, full, str_of(text), &f->err));
}

static uint16_t add_stream(struct fixture *f, const char *name, uint16_t partitions) {
    struct ledger_stream s;
    ok(ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, name, partitions, "{}", &s, &f->err));
    struct stream_definition d = {.number = s.number, .name = s.name, .partitions = partitions};
    ok(stream_define(f->log, &d, &f->err));
    ok(lake_add_stream(f->lake, s.number, name, &(struct lake_stream_options){0}, &f->err));
    return s.number;
}

static void open_flow(struct fixture *f) {
    struct flow_options o = {
        .host = &f->host, .dir = f->dir, .timezone = f->timezone, .ledger = f->ledger, .engine = f->engine, .lake = f->lake, .log = f->log};
    ok(flow_open(&o, &f->flow, &f->err));
}

static int set_up(void **state) {
    struct fixture *f = mem_zalloc(sizeof *f);
    f->host = host_default();
    f->arena = arena_new();
    snprintf(f->dir, sizeof f->dir, "%s/cupel-test-flow-XXXXXX", fs_exists(f->host.fs, "/dev/shm") ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    ok(fs_mkdirs(f->host.fs, below(f, "data/log"), &f->err));
    ok(fs_mkdirs(f->host.fs, below(f, "data/tmp"), &f->err));
    ok(fs_mkdirs(f->host.fs, below(f, "reference"), &f->err));
    ok(ledger_open(below(f, "data/ledger.db"), &f->host, &f->ledger, &f->err));
    struct stream_recovery recovery;
    ok(stream_log_open(
        &(struct stream_log_options){.dir = below(f, "data/log"), .host = &f->host, .segment_bytes = 4 << 20}, NULL, 0, &f->log, &recovery, &f->err));
    const char **dirs = arena_new_array(f->arena, const char *, 2);
    dirs[0] = below(f, "reference");
    ok(engine_new(&(struct engine_options){.host = &f->host, .data_dir = below(f, "data"), .read_dirs = dirs, .threads = 2}, &f->engine, &f->err));
    ok(lake_open(
        &(struct lake_options){.host = &f->host, .dir = below(f, "data/lake"), .ledger = f->ledger, .engine = f->engine, .log = f->log}, &f->lake, &f->err));
    f->timezone = "UTC";
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    flow_close(&f->flow);
    lake_close(&f->lake);
    stream_log_close(&f->log);
    engine_free(&f->engine);
    ledger_close(&f->ledger);
    fs_remove_tree(f->host.fs, f->dir, NULL);
    arena_free(&f->arena);
    free(f);
    return 0;
}

/* Events of a stream: JSON texts. */
static void append(struct fixture *f, uint16_t stream, const char *const *payloads, size_t n) {
    struct stream_record *records = mem_zalloc(n * sizeof *records);
    struct event_id *ids = mem_zalloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        records[i] = (struct stream_record){.payload = str_of(payloads[i]),
            .source = STR("test"),
            .content_type = STR("application/json"),
            .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID | RECORD_NO_KEY};
    struct stream_append request = {.stream = stream, .records = records, .n = (uint32_t)n, .ids = ids};
    struct stream_result result;
    ok(stream_append_wait(f->log, &request, &result, &f->err));
    free(records);
    free(ids);
}

static void append_one(struct fixture *f, uint16_t stream, const char *payload) { append(f, stream, &payload, 1); }

/* Problems as text; "" when it went well. */
static char *load(struct fixture *f) {
    struct config_problems problems = {0};
    BUF_SCOPE(text);
    enum status st = flow_load(f->flow, &problems, &f->err);
    config_problems_write(&problems, "?", &text);
    if (st != OK && !text.n) buf_text(&text, f->err.text);
    config_problems_free(&problems);
    return arena_strdup(f->arena, buf_cstr(&text));
}

static void load_well(struct fixture *f) {
    char *text = load(f);
    if (*text) fail_msg("%s", text);
}

static void open_well(struct fixture *f) {
    open_flow(f);
    load_well(f);
}

static struct flow_model_result *run_with(struct fixture *f, struct flow_run_options options, size_t *n) {
    struct flow_model_result *results;
    ok(flow_run(f->flow, f->arena, &options, &results, n, &f->err));
    return results;
}

static const struct flow_model_result *result_of(const struct flow_model_result *results, size_t n, const char *model) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(results[i].model, model) == 0) return &results[i];
    }
    fail_msg("%s was not run", model);
    return NULL;
}

/* All models; none may fail. */
static struct flow_model_result *run_all(struct fixture *f, size_t *n) {
    struct flow_model_result *results = run_with(f, (struct flow_run_options){.trigger = "test"}, n);
    for (size_t i = 0; i < *n; i++) {
        if (results[i].error) fail_msg("%s: %s\n%s", results[i].model, results[i].error, results[i].sql ? results[i].sql : "");
    }
    return results;
}

static void verify_all(struct fixture *f) {
    size_t n;
    struct flow_model_result *results = run_with(f, (struct flow_run_options){.verify = true}, &n);
    for (size_t i = 0; i < n; i++) {
        if (results[i].error) fail_msg("%s: %s\n%s", results[i].model, results[i].error, results[i].sql ? results[i].sql : "");
        if (results[i].differences) fail_msg("%s: %lld differences: %s", results[i].model, (long long)results[i].differences, results[i].detail);
    }
}

/* Rows of SQL over the warehouse, as JSON text without the newline. */
static char *rows_of(struct fixture *f, const char *sql) {
    struct engine_work *work;
    BUF_SCOPE(out);
    ok(engine_work_begin(f->engine, NULL, NULL, 0, 0, &work, &f->err));
    enum status st = engine_work_run(work, sql, &out, NULL, &f->err);
    engine_work_end(&work);
    if (st != OK) fail_msg("%s: %s", sql, f->err.text);
    char *text = arena_strdup(f->arena, buf_cstr(&out)), *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '\n') *to++ = *from;
    }
    *to = 0;
    return text;
}

static void rows_are(struct fixture *f, const char *sql, const char *want) {
    char *got = rows_of(f, sql);
    if (strcmp(got, want) != 0) fail_msg("%s\n  gives %s\n  not   %s", sql, got, want);
}

static const struct row_source_kind *const no_kinds[] = {NULL};

#define FLOW_TEST_MAIN(tests) \
    int main(int argc, char **argv) { \
        if (argc > 1 && strcmp(argv[1], "engine") == 0) return engine_main(argc - 1, argv + 1, no_kinds); \
        log_configure((struct log_options){.level = LOG_ERROR, .quiet = true}); \
        return cmocka_run_group_tests(tests, NULL, NULL); \
    }

#endif
