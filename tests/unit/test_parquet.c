/* One event out of a Parquet file: the same row as the engine reads, and nothing worse than a refusal from a damaged file. This program is its own engine
 * child. With the arguments `seeds DIR` it makes the fuzzer's seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lake/lake_priv.h"
#include "lake/parquet_event.h"
#include "lake/row_source.h"
#include "memory_file.h"

struct fixture {
    char dir[64];
    struct host host;
    struct ledger *ledger;
    struct engine *engine;
    struct lake *lake;
    struct arena *arena;
    struct engine_column *columns;
    struct err err;
};

#define ok(call) \
    do { \
        if (call) fail_msg("%s: %s", #call, f->err.text); \
    } while (0)

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    snprintf(f->dir, sizeof(f->dir), "/tmp/cupel_parquet_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->host = (struct host){fs_real(), clock_real()};
    f->arena = arena_new();
    ok(fs_mkdirs(f->host.fs, arena_printf(f->arena, "%s/log", f->dir), &f->err));
    ok(fs_mkdirs(f->host.fs, arena_printf(f->arena, "%s/tmp", f->dir), &f->err));
    ok(ledger_open(arena_printf(f->arena, "%s/ledger.db", f->dir), &f->host, &f->ledger, &f->err));
    ok(engine_new(&(struct engine_options){.host = &f->host, .data_dir = f->dir}, &f->engine, &f->err));
    struct lake_options options = {.host = &f->host, .dir = arena_printf(f->arena, "%s/lake", f->dir), .ledger = f->ledger, .engine = f->engine};
    ok(lake_open(&options, &f->lake, &f->err));
    ok(lake_plan_columns(f->lake, f->arena, "bronze", "shop", bronze_columns, bronze_columns_n, &f->columns, &f->err));
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    lake_close(&f->lake);
    engine_free(&f->engine);
    ledger_close(&f->ledger);
    arena_free(&f->arena);
    assert_int_equal(fs_remove_tree(fs_real(), f->dir, NULL), OK);
    free(f);
    return 0;
}

/* ---- files ---- */

#define FIRST_MS INT64_C(1763632800000)

static struct event_address address_of(uint64_t i) {
    return (struct event_address){.received_ms = FIRST_MS + (int64_t)(i / 10), .stream = 5, .partition = (uint16_t)(i % 3), .offset = i};
}

/* Values few and many, NULL and empty, long and short, so that the writer takes every encoding that it has for them. */
static const char rows_sql[] =
    "SELECT format('{:012x}7{:03x}{:03x}{:013x}', 1763632800000 + i // 10, 5, 2048 + i %% 3, i * 64)::UUID, 'shop', (i %% 3)::INTEGER, i, "
    "make_timestamptz((1763632800000 + i // 10) * 1000), CASE i %% 5 WHEN 0 THEN 'hook' WHEN 1 THEN NULL ELSE 'http' END, "
    "CASE WHEN i %% 4 > 0 THEN 'key ' || hash(i) END, "
    "CASE i %% 4 WHEN 0 THEN NULL WHEN 1 THEN MAP {} WHEN 2 THEN MAP {'accept': '*/*'} ELSE MAP {'a\"b': 'ü', 'none': NULL, 'n' || i: i::VARCHAR} END, "
    "NULL::VARCHAR, CASE WHEN i %% 7 > 0 THEN '{\"n\":' || i || ',\"t\":\"é\\n' || repeat(md5(i::VARCHAR), (i %% %d)::INTEGER) || '\"}' END, "
    "CASE WHEN i %% 7 = 0 THEN encode('b' || i) END, i %% 3 = 0 FROM range(%d) r(i) ORDER BY i";

static const char *make_file(struct fixture *f, unsigned rows, unsigned long_text, uint32_t row_group_rows) {
    const char *path = lake_temporary_path(f->lake, f->arena, ".parquet");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const char *sql = arena_printf(f->arena, rows_sql, long_text, rows);
#pragma GCC diagnostic pop
    struct engine_copy copy = {.sql = sql, .path = path, .columns = f->columns, .columns_n = bronze_columns_n, .row_group_rows = row_group_rows};
    struct engine_copied copied;
    ok(engine_copy(f->engine, f->arena, &copy, &copied, &f->err));
    assert_int_equal(copied.rows, rows);
    return path;
}

static enum status read_event(struct fixture *f, const struct fs *fs, const char *path, struct event_address address, struct buf *out) {
    return parquet_read_event(fs, &f->lake->parquet_readers, path, f->columns, bronze_columns_n, address, out, &f->err);
}

/* ---- tests ---- */

static void every_row_is_as_the_engine_reads_it(void **state) {
    struct fixture *f = *state;
    enum { ROWS = 5000 };
    const char *path = make_file(f, ROWS, 97, 2048);
    BUF_SCOPE(theirs);
    const char *sql = arena_printf(f->arena, "SELECT * FROM read_parquet('%s') ORDER BY _offset", path);
    ok(engine_rows(f->engine, NULL, sql, &theirs, &f->err));
    json_t *rows = json_loadb(theirs.p, theirs.n, 0, NULL);
    assert_int_equal(json_array_size(rows), ROWS);
    for (unsigned i = 0; i < ROWS; i += i % 2048 < 40 || i > ROWS - 40 ? 1 : 37) { /* all at the edges of groups, some of the others */
        BUF_SCOPE(ours);
        ok(read_event(f, f->host.fs, path, address_of(i), &ours));
        json_t *row = json_loadb(ours.p, ours.n, 0, NULL);
        if (!json_equal(row, json_array_get(rows, i))) fail_msg("row %u: %s", i, buf_cstr(&ours));
        json_decref(row);
    }
    json_decref(rows);
}

/* A text that goes over many windows, before and at the row. */
static void long_texts_are_read_whole(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 60, 20000, 2048);
    for (unsigned i = 1; i < 60; i += i == 1 ? 57 : 1) {
        BUF_SCOPE(ours);
        ok(read_event(f, f->host.fs, path, address_of(i), &ours));
        json_t *row = json_loadb(ours.p, ours.n, 0, NULL);
        assert_true(json_string_length(json_object_get(row, "payload")) > (size_t)i * 32);
        json_decref(row);
    }
}

static void an_id_that_is_not_there_is_not_found(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 100, 5, 2048);
    struct event_address address = address_of(50), before = address_of(0);
    address.partition = 7;
    before.received_ms--;
    BUF_SCOPE(out);
    assert_int_equal(read_event(f, f->host.fs, path, address, &out), E_NOT_FOUND);
    assert_int_equal(read_event(f, f->host.fs, path, before, &out), E_NOT_FOUND);
    assert_int_equal(read_event(f, f->host.fs, path, address_of(100), &out), E_NOT_FOUND);
    assert_int_equal(out.n, 0);
}

static void other_shapes_are_left_to_the_engine(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 10, 5, 2048);
    BUF_SCOPE(out);
    f->columns[7].type = "VARCHAR"; /* two leaves, not one */
    assert_int_equal(read_event(f, f->host.fs, path, address_of(1), &out), E_UNSUPPORTED);
    f->columns[7].type = "MAP(VARCHAR, VARCHAR)";
    f->columns[9].field_id = 1000; /* added after the file was made */
    assert_int_equal(read_event(f, f->host.fs, path, address_of(1), &out), E_UNSUPPORTED);
    assert_int_equal(out.n, 0);
}

static void damaged_files_are_refused(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 12, 3, 2048);
    struct str whole;
    ok(fs_read_all(f->host.fs, f->arena, path, 1 << 20, &whole, &f->err));
    char *bytes = malloc(whole.n);
    for (size_t n = 0; n < whole.n; n++) { /* in memory of exactly that size */
        char *cut = malloc(n + 1);
        memcpy(cut, whole.p, n);
        struct str content = str_make(cut, n);
        struct fs fs = memory_file(&content);
        BUF_SCOPE(out);
        assert_int_not_equal(read_event(f, &fs, "cut", address_of(3), &out), OK);
        assert_int_equal(out.n, 0);
        free(cut);
    }
    unsigned refused = 0;
    for (size_t i = 0; i < whole.n * 4; i++) {
        memcpy(bytes, whole.p, whole.n);
        bytes[i / 4] = (char)(bytes[i / 4] ^ (1 << (i % 4 * 2)));
        struct str content = str_make(bytes, whole.n);
        struct fs fs = memory_file(&content);
        BUF_SCOPE(out);
        enum status s = read_event(f, &fs, "changed", address_of(3), &out);
        if (s) refused++;
        assert_true(s == OK ? out.n > 2 : out.n == 0);
    }
    assert_true(refused > whole.n / 10);
    free(bytes);
}

/* More look-ups at once than readers: some wait, all get their row. */
struct looker {
    struct fixture *f;
    const char *path;
    struct thread thread;
    unsigned found;
};

static void *look_up(void *argument) {
    struct looker *l = argument;
    for (unsigned i = 0; i < 200; i++) {
        BUF_SCOPE(out);
        l->found += parquet_read_event(l->f->host.fs, &l->f->lake->parquet_readers, l->path, l->f->columns, bronze_columns_n, address_of(i), &out, NULL) == OK;
    }
    return NULL;
}

static void many_look_up_at_once(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 200, 5, 2048);
    struct looker lookers[3 * PARQUET_READERS_MAX] = {0};
    for (size_t i = 0; i < sizeof lookers / sizeof *lookers; i++) {
        lookers[i].f = f;
        lookers[i].path = path;
        thread_start(&lookers[i].thread, "look", look_up, &lookers[i]);
    }
    for (size_t i = 0; i < sizeof lookers / sizeof *lookers; i++) {
        thread_join(&lookers[i].thread);
        assert_int_equal(lookers[i].found, 200);
    }
}

/* Through the table: the files that the manifests name. */
static void a_tables_event_is_read_without_the_engine(void **state) {
    struct fixture *f = *state;
    const char *path = make_file(f, 100, 5, 2048);
    struct fs_stat stat;
    ok(f->host.fs->stat(f->host.fs->self, path, &stat, &f->err));
    struct lake_file file = {.temporary_path = path, .rows = 100, .size_bytes = stat.size_bytes};
    struct lake_append append = {.schema = "bronze", .name = "shop", .columns = f->columns, .columns_n = bronze_columns_n, .files = &file, .files_n = 1};
    ok(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err));
    struct table_version *v;
    ok(table_get(f->lake, "bronze", "shop", &v, &f->err));
    const struct table_file *files = v->parts[0]->files;
    BUF_SCOPE(out);
    ok(table_read_event(f->lake, v, &files, 1, address_of(42), &out, &f->err));
    assert_non_null(memmem(out.p, out.n, "\"_offset\":42,", 13));
    table_unref(&v);
}

/* What the fuzzer begins with. */
static int make_seeds(const char *dir) {
    static const unsigned sizes[][2] = {{4, 3}, {12, 3}, {40, 1}};
    void *state;
    setup(&state);
    struct fixture *f = state;
    for (size_t i = 0; i < 3; i++) {
        struct str whole;
        ok(fs_read_all(f->host.fs, f->arena, make_file(f, sizes[i][0], sizes[i][1], 2048), 1 << 20, &whole, &f->err));
        ok(fs_write_atomic(f->host.fs, arena_printf(f->arena, "%s/rows_%u", dir, sizes[i][0]), whole, &f->err));
    }
    return teardown(&state);
}

int main(int argc, char **argv) {
    static const struct row_source_kind *const none[] = {NULL};
    if (argc > 1 && !strcmp(argv[1], "engine")) return engine_main(argc - 1, argv + 1, none);
    if (argc > 2 && !strcmp(argv[1], "seeds")) return make_seeds(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_row_is_as_the_engine_reads_it, setup, teardown),
        cmocka_unit_test_setup_teardown(long_texts_are_read_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_that_is_not_there_is_not_found, setup, teardown),
        cmocka_unit_test_setup_teardown(other_shapes_are_left_to_the_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(many_look_up_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tables_event_is_read_without_the_engine, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
