/* Lake and real engine together: nested types, widened columns, bin-packing over files of different schemas. This program is its own engine child. */
#include "real_lake_fixture.h"

static void land(struct fixture *f, const struct engine_column *columns, size_t n, const char *sql) {
    struct engine_column *planned;
    ok(lake_plan_columns(f->lake, f->arena, "silver", "nest", columns, n, &planned, &f->err));
    struct engine_copy copy = {.sql = sql, .path = lake_temporary_path(f->lake, f->arena, ".parquet"), .columns = planned, .columns_n = n};
    struct engine_copied copied;
    ok(engine_copy(f->engine, f->arena, &copy, &copied, &f->err));
    struct lake_file file = {
        .temporary_path = copy.path, .rows = copied.rows, .size_bytes = copied.size_bytes, .columns = copied.columns, .columns_n = copied.columns_n};
    struct lake_append append = {.schema = "silver", .name = "nest", .columns = planned, .columns_n = n, .files = &file, .files_n = 1};
    ok(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err));
}

static void check_rows(struct fixture *f, const char *sql, const char *want) {
    struct lake_pin *pin;
    BUF_SCOPE(rows);
    ok(lake_pin(f->lake, &pin, &f->err));
    ok(engine_rows(f->engine, lake_pin_view(pin), sql, &rows, &f->err));
    lake_unpin(&pin);
    char *text = arena_strdup(f->arena, buf_cstr(&rows));
    text[strcspn(text, "\n")] = 0;
    assert_string_equal(text, want);
}

static void check_all(struct fixture *f) {
    check_rows(f, "SELECT count(*)::INTEGER AS n, sum(id)::BIGINT AS id, sum(s.a)::BIGINT AS a, count(s.z)::INTEGER AS z FROM silver.nest",
        "[{\"n\":8,\"id\":3298534883341,\"a\":3298534883338,\"z\":3}]");
    check_rows(f, "SELECT id, s, l, m, f, d38 FROM silver.nest WHERE id = 4",
        "[{\"id\":4,\"s\":{\"a\":4,\"b c\":[\"x\",\"y\"],\"z\":null},\"l\":[{\"x\":1.25}],\"m\":{\"q\":{\"k\":4}},\"f\":0.5,\"d38\":12345.67891}]");
    check_rows(f, "SELECT s, l, m, f, d38 FROM silver.nest WHERE id = 1099511627776",
        "[{\"s\":{\"a\":1099511627776,\"b c\":null,\"z\":true},\"l\":null,\"m\":null,\"f\":0.25,\"d38\":null}]");
}

static void nested_types_are_widened_and_packed(void **state) {
    struct fixture *f = *state;
    static const struct engine_column narrow[] = {{.name = "id", .type = "INTEGER"}, {.name = "s", .type = "STRUCT(a INTEGER, \"b c\" VARCHAR[])"},
        {.name = "l", .type = "STRUCT(x DECIMAL(10,2))[]"}, {.name = "m", .type = "MAP(VARCHAR, STRUCT(k BIGINT))"}, {.name = "f", .type = "FLOAT"},
        {.name = "d38", .type = "DECIMAL(38,5)"}};
    static const struct engine_column wide[] = {{.name = "ID", .type = "BIGINT"}, {.name = "s", .type = "STRUCT(a BIGINT, \"b c\" VARCHAR[], z BOOLEAN)"},
        {.name = "f", .type = "DOUBLE"}, {.name = "added", .type = "UUID"}};
    land(f, narrow, 6,
        "SELECT i::INTEGER, {'a': i::INTEGER, 'b c': ['x','y']}, [{'x': 1.25::DECIMAL(10,2)}], MAP {'q': {'k': i::BIGINT}}, 0.5::FLOAT, "
        "12345.67891::DECIMAL(38,5) "
        "FROM range(5) r(i)");
    land(f, wide, 4,
        "SELECT (i + 1099511627776)::BIGINT, {'a': 1099511627776::BIGINT, 'b c': NULL::VARCHAR[], 'z': true}, 0.25::DOUBLE, uuid() FROM range(3) r(i)");
    check_all(f);
    struct lake_maintained done;
    ok(lake_compact(f->lake, "silver", "nest", true, &done, &f->err));
    assert_int_equal(done.files_before, 2);
    assert_int_equal(done.files_after, 1);
    check_all(f);
    BUF_SCOPE(report);
    uint64_t problems = 9;
    ok(lake_verify(f->lake, &report, &problems, &f->err));
    assert_int_equal(problems, 0);
}

/* A copy that fails half way leaves the table as it was. */
static void a_failing_copy_changes_nothing(void **state) {
    struct fixture *f = *state;
    static const struct engine_column columns[] = {{.name = "id", .type = "INTEGER"}};
    land(f, columns, 1, "SELECT i::INTEGER FROM range(10) r(i)");
    struct engine_column *planned;
    ok(lake_plan_columns(f->lake, f->arena, "silver", "nest", columns, 1, &planned, &f->err));
    struct engine_copy copy = {.sql = "SELECT (i * 1000000000)::INTEGER FROM range(100000) r(i)",
        .path = lake_temporary_path(f->lake, f->arena, ".parquet"),
        .columns = planned,
        .columns_n = 1};
    struct engine_copied copied;
    assert_int_not_equal(engine_copy(f->engine, f->arena, &copy, &copied, &f->err), OK);
    check_rows(f, "SELECT count(*)::INTEGER AS n FROM silver.nest", "[{\"n\":10}]");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(nested_types_are_widened_and_packed, setup, teardown),
    cmocka_unit_test_setup_teardown(a_failing_copy_changes_nothing, setup, teardown),
};

REAL_LAKE_TEST_MAIN(tests)
