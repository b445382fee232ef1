/* An engine over a folder of its own: the child is the test's own binary, started as `engine`. Shared by the tests of the engine. */
#ifndef CUPEL_TESTS_ENGINE_FIXTURE_H
#define CUPEL_TESTS_ENGINE_FIXTURE_H

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
#include "host/host.h"
#include "host/thread.h"
#include "lake/engine.h"
#include "lake/row_source.h"
#include "stream/stream.h"

/* ---- a row source: {"rows":n,"bad":m,"fail":k} ---- */

struct fake_source {
    uint64_t rows, bad, fail_at, next, next_bad;
    struct str columns[2];
    char text[2048][40];
    struct str cells[2048][2];
};

static uint64_t spec_number(struct str spec, const char *name) {
    const char *at = strstr(spec.p, name);
    return at ? strtoull(at + strlen(name) + 2, NULL, 10) : 0;
}

static enum status fake_open(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err) {
    if (strstr(spec.p, "missing")) {
        return err_set(err, E_NOT_FOUND, "no such file: missing");
    }
    struct fake_source *f = mem_zalloc(sizeof *f);
    f->rows = spec_number(spec, "rows");
    f->bad = spec_number(spec, "bad");
    f->fail_at = spec_number(spec, "fail");
    f->columns[0] = STR("name");
    f->columns[1] = STR("amount");
    *self = f;
    *columns = f->columns;
    *columns_n = 2;
    return OK;
}

static enum status fake_next(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    struct fake_source *f = self;
    *n = 0;
    while (*n < rows_max && *n < 2048 && f->next < f->rows) {
        size_t i = *n;
        if (f->fail_at && f->next == f->fail_at) {
            return err_set(err, E_CORRUPT, "row %llu is cut", (unsigned long long)f->next);
        }
        snprintf(f->text[i], sizeof f->text[i], "a longer name %llu", (unsigned long long)f->next);
        f->cells[i][0] = str_of(f->text[i]);
        f->cells[i][1] = f->next % 3 ? STR("1.5") : STR_NULL;
        rows[i] = (struct row){.number = ++f->next, .cells = f->cells[i]};
        (*n)++;
    }
    return OK;
}

static bool fake_next_bad(void *self, struct bad_row *out) {
    struct fake_source *f = self;
    if (f->next < f->rows || f->next_bad == f->bad) {
        return false;
    }
    *out = (struct bad_row){.number = f->rows + ++f->next_bad, .reason = "too few cells", .raw = str_make("\xff;", 2)};
    return true;
}

static void fake_report(void *self, struct buf *out) {
    struct fake_source *f = self;
    buf_printf(out, "{\"read\":%llu,\"bad\":%llu}", (unsigned long long)f->next, (unsigned long long)f->bad);
}

static const struct row_source_kind fake_kind = {"fake", fake_open, fake_next, fake_next_bad, fake_report, free};
static const struct row_source_kind *const kinds[] = {&fake_kind, NULL};

/* ---- fixture ---- */

struct fixture {
    struct host host;
    struct arena *arena;
    char *data;
    struct engine *engine;
    struct err err;
};

static void start_engine(struct fixture *f, struct engine_options options) {
    options.host = &f->host;
    options.data_dir = f->data;
    options.threads = 2;
    assert_int_equal(engine_new(&options, &f->engine, &f->err), OK);
}

static int set_up_with(void **state, struct engine_options options) {
    struct fixture *f = mem_zalloc(sizeof *f);
    f->host = host_default();
    f->arena = arena_new();
    char folder[] = "/tmp/cupel-test-engine-XXXXXX";
    assert_non_null(mkdtemp(folder));
    f->data = arena_strdup(f->arena, folder);
    assert_int_equal(fs_mkdirs(f->host.fs, arena_printf(f->arena, "%s/lake", folder), &f->err), OK);
    start_engine(f, options);
    *state = f;
    return 0;
}

static int set_up(void **state) { return set_up_with(state, (struct engine_options){0}); }
static int set_up_small(void **state) { return set_up_with(state, (struct engine_options){.queries_max = 2, .query_wait_ms = 200, .memory_bytes = 100 << 20}); }
static int set_up_eight(void **state) { return set_up_with(state, (struct engine_options){.queries_max = 8}); }

static int set_up_trusted(void **state) { return set_up_with(state, (struct engine_options){.trusted = true}); }
static int set_up_impatient(void **state) { return set_up_with(state, (struct engine_options){.stuck_ms = 300}); }

static int tear_down(void **state) {
    struct fixture *f = *state;
    engine_free(&f->engine);
    fs_remove_tree(f->host.fs, f->data, NULL);
    arena_free(&f->arena);
    free(f);
    return 0;
}

/* The whole result as text, or the error's text with its status in *status. */
static char *ask(struct fixture *f, struct engine_query query, enum status *status) {
    struct engine_call *call;
    struct buf out = BUF_INIT;
    *status = engine_query_start(f->engine, &query, &call, &f->err);
    if (*status != OK) {
        return f->err.text;
    }
    char block[4096];
    size_t got;
    while ((*status = engine_call_read(call, block, sizeof block, &got, &f->err)) == OK && got) {
        buf_put(&out, block, got);
    }
    engine_call_end(&call);
    char *text = *status == OK ? arena_strdup(f->arena, buf_cstr(&out)) : f->err.text;
    buf_free(&out);
    return text;
}

static char *ask_sql(struct fixture *f, const char *sql, enum result_format format) {
    enum status status;
    char *text = ask(f, (struct engine_query){.sql = str_of(sql), .format = format}, &status);
    if (status != OK) {
        fail_msg("%s: %s", sql, text);
    }
    return text;
}

static enum status fails(struct fixture *f, const char *sql, const char *with) {
    enum status status;
    char *text = ask(f, (struct engine_query){.sql = str_of(sql), .format = RESULT_NDJSON}, &status);
    if (status == OK || !strstr(text, with)) {
        fail_msg("%s: expected \"%s\", got %s: %s", sql, with, status_name(status), text);
    }
    return status;
}

static struct engine_copied copy(struct fixture *f, struct engine_copy c) {
    struct engine_copied copied;
    if (engine_copy(f->engine, f->arena, &c, &copied, &f->err) != OK) {
        fail_msg("%s", f->err.text);
    }
    return copied;
}

static char *lake_path(struct fixture *f, const char *name) { return arena_printf(f->arena, "%s/lake/%s", f->data, name); }

static int64_t now_ms(struct fixture *f) { return host_monotonic_ms(&f->host); }

/* ---- the log ---- */

static const struct engine_column bronze_columns[] = {
    {.name = "_event_id", .type = "UUID", .field_id = 1},
    {.name = "_stream", .type = "VARCHAR", .field_id = 2},
    {.name = "_partition", .type = "INTEGER", .field_id = 3},
    {.name = "_offset", .type = "BIGINT", .field_id = 4},
    {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE", .field_id = 5},
    {.name = "_source", .type = "VARCHAR", .field_id = 6},
    {.name = "_key", .type = "VARCHAR", .field_id = 7},
    {.name = "_headers", .type = "MAP(VARCHAR, VARCHAR)", .field_id = 8, .field_ids = "{__duckdb_field_id: 8, key: 13, value: 14}"},
    {.name = "_content_type", .type = "VARCHAR", .field_id = 9},
    {.name = "payload", .type = "VARCHAR", .field_id = 10},
    {.name = "_body", .type = "BLOB", .field_id = 11},
    {.name = "_valid_json", .type = "BOOLEAN", .field_id = 12},
};

static struct stream_log *open_log(struct fixture *f) {
    const struct stream_definition stream = {.number = 5, .name = "orders", .partitions = 2};
    struct stream_log_options options = {
        .dir = arena_printf(f->arena, "%s/log", f->data), .host = &f->host, .segment_bytes = 4 << 20, .max_bytes = 1 << 30, .reserve_bytes = 1};
    struct stream_log *log;
    struct stream_recovery recovery;
    if (stream_log_open(&options, &stream, 1, &log, &recovery, &f->err) != OK) {
        fail_msg("%s", f->err.text);
    }
    return log;
}

static void append(struct stream_log *log, const struct stream_record *records, uint32_t n, struct event_id *ids) {
    struct stream_append request = {.stream = 5, .records = records, .n = n, .ids = ids};
    struct stream_result result;
    struct err err;
    if (stream_append_wait(log, &request, &result, &err) != OK || result.status != OK) {
        fail_msg("append failed");
    }
}

/* bronze.orders as a pin of the lake would give it. */
static struct engine_view pin(struct fixture *f, struct stream_log *log, struct engine_table *table) {
    struct stream_state state;
    assert_int_equal(stream_state(log, f->arena, 5, &state, &f->err), OK);
    *table = (struct engine_table){.schema = "bronze",
        .name = "orders",
        .version = 1,
        .columns = bronze_columns,
        .columns_n = 12,
        .has_log = true,
        .stream = 5,
        .log_from = state.unlanded_from};
    return (struct engine_view){.tables = table, .tables_n = 1, .durable = stream_durable(log), .index_from = state.unlanded_from};
}

#endif
