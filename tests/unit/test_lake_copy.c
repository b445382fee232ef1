/* Lake copies of warehouse tables: random histories, crashes between commit and outbox, rebuilt and foreign tables. This program is its own engine child. */
#include "real_lake_fixture.h"

static void work(struct fixture *f, const char *sql) {
    struct engine_work *w;
    ok(engine_work_begin(f->engine, NULL, NULL, 0, 0, &w, &f->err));
    ok(engine_work_run(w, sql, NULL, NULL, &f->err));
    engine_work_end(&w);
}

/* A run: `sql` with %V for its version, and the outbox row beside it. */
static void run(struct fixture *f, const char *sql, bool rebuilt, int deleted) {
    BUF_SCOPE(text);
    f->version++;
    buf_text(&text, "BEGIN; ");
    for (const char *p = sql; *p; p++) {
        if (p[0] == '%' && p[1] == 'V') {
            buf_printf(&text, "%lld", (long long)f->version);
            p++;
        } else {
            buf_char(&text, *p);
        }
    }
    buf_printf(&text, "; INSERT INTO warehouse.cupel.outbox VALUES (%lld, 'lake', 'silver.t', '{\"rebuilt\":%s,\"deleted\":%d}', %lld, now()); COMMIT",
        (long long)f->version, rebuilt ? "true" : "false", deleted, (long long)f->version);
    work(f, buf_cstr(&text));
}

static char *rows(struct fixture *f, const char *sql) {
    BUF_SCOPE(out);
    ok(engine_rows(f->engine, NULL, sql, &out, &f->err));
    char *text = arena_strdup(f->arena, buf_cstr(&out));
    text[strcspn(text, "\n")] = 0;
    return text;
}

#define SUMS "count(*)::BIGINT AS n, bit_xor(hash(id, name, money))::VARCHAR AS h"

static size_t files(struct fixture *f, struct buf *list) {
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err));
    size_t n = 0;
    const struct engine_view *view = lake_pin_view(pin);
    for (size_t i = 0; i < view->tables_n; i++) {
        if (strcmp(view->tables[i].name, "t") != 0) continue;
        for (size_t k = 0; k < view->tables[i].files_n; k++) buf_printf(list, "%s'%s'", n++ ? ", " : "", view->tables[i].files[k]);
    }
    lake_unpin(&pin);
    return n;
}

static size_t copy_equals_warehouse(struct fixture *f) {
    BUF_SCOPE(list);
    size_t n = files(f, &list);
    char *want = rows(f, "SELECT " SUMS " FROM warehouse.silver.t");
    if (!n) {
        assert_non_null(strstr(want, "\"n\":0"));
        return 0;
    }
    assert_string_equal(rows(f, arena_printf(f->arena, "SELECT " SUMS " FROM read_parquet([%s])", buf_cstr(&list))), want);
    return n;
}

static struct lake_published publish(struct fixture *f) {
    struct lake_published done;
    ok(lake_publish(f->lake, "silver", "t", &done, &f->err));
    assert_string_equal(rows(f, "SELECT count(*) AS n FROM warehouse.cupel.outbox"), "[{\"n\":0}]");
    return done;
}

static void make_table(struct fixture *f) {
    work(f, "CREATE SCHEMA warehouse.silver; CREATE TABLE warehouse.silver.t(id BIGINT, name VARCHAR, money DECIMAL(18,4), big HUGEINT, _version BIGINT)");
}

#define ROWS(from, n) "SELECT range, 'row ' || range, range / 4, range, %V FROM range(" #from ", " #from " + " #n ")"

static void a_copy_follows_its_table(void **state) {
    struct fixture *f = *state;
    make_table(f);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 100000), true, 0);
    struct lake_published done = publish(f);
    assert_int_equal(done.rows, 100000);
    assert_int_equal(copy_equals_warehouse(f), 1);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(100000, 10), false, 0);
    done = publish(f);
    assert_int_equal(done.rows, 10); /* what is new, and nothing else */
    assert_int_equal(done.files_removed, 0);
    assert_int_equal(copy_equals_warehouse(f), 2);
    done = publish(f);
    assert_int_equal(done.version, 2);
    assert_int_equal(done.files_added + done.files_removed, 0);
    run(f, "DELETE FROM warehouse.silver.t WHERE id = 100003; INSERT INTO warehouse.silver.t " ROWS(100003, 1), false, 1);
    done = publish(f);
    assert_int_equal(done.rows, 10); /* the large file is right as it is */
    copy_equals_warehouse(f);
    run(f, "DELETE FROM warehouse.silver.t", false, 100010);
    publish(f);
    assert_int_equal(copy_equals_warehouse(f), 0);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 5), false, 0);
    publish(f);
    assert_int_equal(copy_equals_warehouse(f), 1);
}

static unsigned chance(void) { /* the same history every time */
    static uint64_t seed = 7;
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 40);
}

static void random_histories(void **state) {
    struct fixture *f = *state;
    make_table(f);
    size_t most = 0;
    for (int round = 0; round < 60; round++) {
        int n = 1 << chance() % 12, from = (int)(chance() % 3000);
        int runs = 1 + (int)(chance() % 3);
        for (int i = 0; i < runs; i++) {
            char *sql = chance() % 3 ? arena_printf(f->arena, "INSERT INTO warehouse.silver.t SELECT range, 'r', 1, 2, %%V FROM range(%d, %d)", from, from + n)
                                     : arena_printf(f->arena, "DELETE FROM warehouse.silver.t WHERE id BETWEEN %d AND %d", from, from + n);
            run(f, sql, false, strstr(sql, "DELETE") ? n : 0);
        }
        if (chance() % 9 == 0)
            run(f, "CREATE OR REPLACE TABLE warehouse.silver.t AS SELECT * REPLACE (%V::BIGINT AS _version) FROM warehouse.silver.t", true, 0);
        publish(f);
        size_t files_n = copy_equals_warehouse(f);
        most = files_n > most ? files_n : most;
    }
    assert_true(most < 20);
    BUF_SCOPE(report);
    uint64_t problems = 9;
    ok(lake_verify(f->lake, &report, &problems, &f->err));
    assert_int_equal(problems, 0);
}

/* The copy was committed, the outbox was not cleared: as after a crash between the two. */
static void repeating_changes_nothing(void **state) {
    struct fixture *f = *state;
    make_table(f);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 1000), true, 0);
    work(f, "CREATE TABLE warehouse.cupel.kept AS SELECT * FROM warehouse.cupel.outbox");
    publish(f);
    work(f, "INSERT INTO warehouse.cupel.outbox SELECT * FROM warehouse.cupel.kept");
    struct lake_published done = publish(f);
    assert_int_equal(done.rows, 0);
    assert_int_equal(copy_equals_warehouse(f), 1);
    kill(engine_pid(f->engine), 9);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(1000, 1000), false, 0);
    struct err err;
    assert_int_equal(lake_publish_due(f->lake, &err), OK);
    copy_equals_warehouse(f);
}

static void other_columns_begin_a_new_copy(void **state) {
    struct fixture *f = *state;
    make_table(f);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 10), true, 0);
    publish(f);
    run(f, "ALTER TABLE warehouse.silver.t ADD COLUMN note VARCHAR; UPDATE warehouse.silver.t SET note = 'x', _version = %V", true, 10);
    publish(f);
    copy_equals_warehouse(f);
    run(f, "CREATE OR REPLACE TABLE warehouse.silver.t AS SELECT id, name, money, 'text' AS big, %V::BIGINT AS _version FROM warehouse.silver.t", true, 10);
    publish(f);
    copy_equals_warehouse(f);
    BUF_SCOPE(json);
    ok(lake_table_json(f->lake, "silver", "t", &json, &f->err));
    assert_null(strstr(buf_cstr(&json), "note"));
    /* a copy whose files somebody packed is written anew */
    work(f, "DROP TABLE warehouse.silver.t");
    run(f, "SELECT 1", false, 0);
    struct lake_published done;
    ok(lake_publish(f->lake, "silver", "t", &done, &f->err)); /* the model is gone: its rows go from the outbox, the copy stays */
    assert_string_equal(rows(f, "SELECT count(*) AS n FROM warehouse.cupel.outbox"), "[{\"n\":0}]");
}

static void a_foreign_table_of_that_name_is_left_alone(void **state) {
    struct fixture *f = *state;
    make_table(f);
    static const struct engine_column columns[] = {{.name = "id", .type = "BIGINT"}};
    struct lake_append append = {.schema = "silver", .name = "t", .columns = columns, .columns_n = 1};
    ok(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err));
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 10), true, 0);
    struct lake_published done;
    assert_int_equal(lake_publish(f->lake, "silver", "t", &done, &f->err), E_CONFLICT);
    assert_non_null(strstr(f->err.text, "no copy"));
    assert_int_equal(lake_publish_due(f->lake, &f->err), E_CONFLICT);
}

static void wait_for_no_row_of(struct fixture *f, const char *table) {
    char *sql = arena_printf(f->arena, "SELECT count(*) AS n FROM warehouse.cupel.outbox WHERE target = '%s'", table);
    for (int i = 0; i < 3000 && strcmp(rows(f, sql), "[{\"n\":0}]") != 0; i++) f->host.clock->sleep_us(f->host.clock->self, 20000);
    assert_string_equal(rows(f, sql), "[{\"n\":0}]");
}

/* The thread that publishes goes on with the others, pass after pass. */
static void a_damaged_copy_holds_up_no_other(void **state) {
    struct fixture *f = *state;
    make_table(f);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(0, 10), true, 0);
    (void)publish(f);
    run(f, "INSERT INTO warehouse.silver.t " ROWS(10, 10), false, 0);
    lake_close(&f->lake);
    char *folder = arena_printf(f->arena, "%s/lake/silver/t/metadata", f->dir);
    struct fs_entry *entries;
    size_t n;
    ok(f->host.fs->list(f->host.fs->self, f->arena, folder, &entries, &n, &f->err));
    for (size_t i = 0; i < n; i++) ok(fs_write_atomic(f->host.fs, arena_printf(f->arena, "%s/%s", folder, entries[i].name), STR("damaged"), &f->err));
    ok(lake_open(
        &(struct lake_options){.host = &f->host, .dir = arena_printf(f->arena, "%s/lake", f->dir), .ledger = f->ledger, .engine = f->engine, .publish_ms = 20},
        &f->lake, &f->err));
    assert_int_equal(lake_publish_due(f->lake, &f->err), E_CORRUPT);
    work(f, "CREATE TABLE warehouse.silver.u(id BIGINT, _version BIGINT)");
    lake_start(f->lake);
    for (int pass = 1; pass <= 3; pass++) {
        work(f,
            arena_printf(f->arena,
                "BEGIN; INSERT INTO warehouse.silver.u VALUES (%d, %d); INSERT INTO warehouse.cupel.outbox VALUES "
                "(%d, 'lake', 'silver.u', '{\"rebuilt\":false,\"deleted\":0}', %d, now()); COMMIT",
                pass, 100 + pass, pass, 100 + pass));
        wait_for_no_row_of(f, "silver.u");
    }
    assert_string_equal(rows(f, "SELECT count(*) AS n FROM warehouse.cupel.outbox"), "[{\"n\":1}]");
    lake_stop(f->lake, false);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_copy_follows_its_table, setup, teardown),
    cmocka_unit_test_setup_teardown(random_histories, setup, teardown),
    cmocka_unit_test_setup_teardown(repeating_changes_nothing, setup, teardown),
    cmocka_unit_test_setup_teardown(other_columns_begin_a_new_copy, setup, teardown),
    cmocka_unit_test_setup_teardown(a_foreign_table_of_that_name_is_left_alone, setup, teardown),
    cmocka_unit_test_setup_teardown(a_damaged_copy_holds_up_no_other, setup, teardown),
};

REAL_LAKE_TEST_MAIN(tests)
