/* engine: formats, errors, files, tables, row sources and the log, with a real child process and real Parquet files. */
#include "engine_fixture.h"

/* ---- formats ---- */

static void json_keeps_every_digit(void **state) {
    struct fixture *f = *state;
    assert_string_equal(
        ask_sql(
            f, "SELECT 9223372036854775807 AS big, 12345678901234567890.1234::DECIMAL(38,4) AS money, 0.1::DOUBLE AS d, -0.05::DECIMAL(4,2) AS c", RESULT_JSON),
        "[{\"big\":9223372036854775807,\"money\":12345678901234567890.1234,\"d\":0.1,\"c\":-0.05}]\n");
    assert_string_equal(
        ask_sql(f, "SELECT 'inf'::DOUBLE AS i, 1e100 AS e, 3.0::DOUBLE AS t, (-170141183460469231731687303715884105728)::HUGEINT AS h", RESULT_JSON),
        "[{\"i\":null,\"e\":1e+100,\"t\":3.0,\"h\":-170141183460469231731687303715884105728}]\n");
}

static void json_values_of_all_kinds(void **state) {
    struct fixture *f = *state;
    assert_string_equal(
        ask_sql(f,
            "SELECT TIMESTAMPTZ '2024-01-01 03:00:00.5+03' AS t, TIMESTAMP '2024-01-01 00:00:00.000001' AS l, DATE '0044-03-15' AS d, '\\xC3\\xBF'::BLOB AS b, "
            "'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID AS u, NULL AS n, INTERVAL '14 months 3 days 90 seconds' AS i, true AS y",
            RESULT_NDJSON),
        "{\"t\":\"2024-01-01T00:00:00.500Z\",\"l\":\"2024-01-01T00:00:00.000001\",\"d\":\"0044-03-15\",\"b\":\"w78=\",\"u\":\"f81d4fae-7dec-11d0-a765-"
        "00a0c91e6bf6\","
        "\"n\":null,\"i\":\"P1Y2M3DT1M30S\",\"y\":true}\n");
    assert_string_equal(
        ask_sql(f, "SELECT {'a': 1, 'b': [NULL, 'x\"y']} AS s, MAP {'k': 1.50, 'l': NULL} AS m, '{\"j\": 1}'::JSON AS j, [[1],[]] AS l, 1 AS s", RESULT_NDJSON),
        "{\"s\":{\"a\":1,\"b\":[null,\"x\\\"y\"]},\"m\":{\"k\":1.50,\"l\":null},\"j\":{\"j\": 1},\"l\":[[1],[]],\"s_1\":1}\n");
    assert_string_equal(ask_sql(f, "SELECT union_value(k := 1) AS u, '101'::BIT AS b, 'y'::ENUM('x', 'y') AS e, [1,2]::INTEGER[2] AS a", RESULT_NDJSON),
        "{\"u\":\"1\",\"b\":\"101\",\"e\":\"y\",\"a\":[1,2]}\n");
}

static void csv_quotes_as_rfc_4180(void **state) {
    struct fixture *f = *state;
    assert_string_equal(ask_sql(f, "SELECT 'a,b' AS x, '' AS y, NULL AS z, 'q\"' AS \"w,1\", E'l\\nm' AS v", RESULT_CSV),
        "x,y,z,\"w,1\",v\n\"a,b\",\"\",,\"q\"\"\",\"l\nm\"\n");
    assert_string_equal(ask_sql(f, "SELECT 1 AS x WHERE false", RESULT_CSV), "x\n");
    assert_string_equal(ask_sql(f, "SELECT 1 AS x WHERE false", RESULT_JSON), "[]\n");
}

static void table_aligns_and_cuts(void **state) {
    struct fixture *f = *state;
    assert_string_equal(ask_sql(f, "SELECT * FROM (VALUES ('ğş', 5, NULL), ('日本', 1000, 2.5)) AS t(name, n, d)", RESULT_TABLE),
        "┌──────┬──────┬──────┐\n"
        "│ name │ n    │ d    │\n"
        "├──────┼──────┼──────┤\n"
        "│ ğş   │    5 │ NULL │\n"
        "│ 日本 │ 1000 │  2.5 │\n"
        "└──────┴──────┴──────┘\n"
        "2 rows\n");
    enum status status;
    struct engine_query narrow = {
        .sql = STR("SELECT range AS i, repeat('x', 100) AS text FROM range(100)"), .format = RESULT_TABLE, .rows_max = 1, .width_max = 24};
    assert_string_equal(ask(f, narrow, &status),
        "┌───┬──────────────────┐\n"
        "│ i │ text             │\n"
        "├───┼──────────────────┤\n"
        "│ 0 │ xxxxxxxxxxxxxxx… │\n"
        "└───┴──────────────────┘\n"
        "first 1 rows, there are more\n");
    narrow = (struct engine_query){.sql = STR("SELECT 1 AS aaaaaaaa, 2 AS bbbbbbbb, E'x\\ny' AS cccccccc"), .format = RESULT_TABLE, .width_max = 25};
    assert_non_null(strstr(ask(f, narrow, &status), "1 row; 2 of 3 columns fit"));
}

static void parameters_are_exact(void **state) {
    struct fixture *f = *state;
    struct str params[] = {STR("9007199254740993"), STR("\"a'b\""), STR("12.3400"), STR("null"), STR("true"), STR("\"2024-01-01T00:00:00Z\""), STR("[1, 2]")};
    enum status status;
    struct engine_query query = {
        .sql = STR("SELECT $1 AS i, $2 AS s, $3 AS d, $4 AS n, $5 AS b, TIMESTAMPTZ '2024-01-01 00:00:00+00' = $6 AS t, json_array_length($7) AS l"),
        .params = params,
        .params_n = 7,
        .format = RESULT_NDJSON};
    assert_string_equal(ask(f, query, &status), "{\"i\":9007199254740993,\"s\":\"a'b\",\"d\":12.3400,\"n\":null,\"b\":true,\"t\":true,\"l\":2}\n");
    query.params_n = 6;
    assert_string_equal(ask(f, query, &status), "the statement has 7 parameters, 6 were given");
    assert_int_equal(status, E_INVALID);
    query = (struct engine_query){.sql = STR("SELECT $1"), .params = (struct str[]){STR("{oops")}, .params_n = 1};
    assert_non_null(strstr(ask(f, query, &status), "parameter 1: a parameter is not JSON"));
}

static void parquet_reads_back(void **state) {
    struct fixture *f = *state;
    struct engine_call *call;
    struct str param = STR("3");
    struct engine_query query = {.sql = STR("SELECT range * $1 AS v FROM range(100000) -- all\n;"), .params = &param, .params_n = 1, .format = RESULT_PARQUET};
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    assert_string_equal(arena_strndup(f->arena, engine_call_head(call).p, engine_call_head(call).n), "{\"columns\":[{\"name\":\"v\",\"type\":\"BIGINT\"}]}");
    char *path = lake_path(f, "got.parquet"), block[8192];
    FILE *file = fopen(path, "wb");
    size_t got;
    while (engine_call_read(call, block, sizeof block, &got, &f->err) == OK && got) {
        fwrite(block, 1, got, file);
    }
    fclose(file);
    assert_int_equal(engine_call_rows(call), 100000);
    engine_call_end(&call);
    struct buf out = BUF_INIT;
    assert_int_equal(
        engine_rows(f->engine, NULL, arena_printf(f->arena, "SELECT count(*) AS n, sum(v) AS s FROM read_parquet('%s')", path), &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"n\":100000,\"s\":14999850000}]\n");
    buf_free(&out);
    struct fs_entry *left;
    size_t left_n;
    fs_real()->list(fs_real()->self, f->arena, arena_printf(f->arena, "%s/tmp", f->data), &left, &left_n, NULL);
    for (size_t i = 0; i < left_n; i++) {
        assert_null(strstr(left[i].name, "parquet")); /* the temporary file is gone */
    }
}

/* ---- errors ---- */

static void errors_name_the_place(void **state) {
    struct fixture *f = *state;
    assert_int_equal(fails(f, "SELECT 1,\n  nope FROM range(3)", "LINE 2:   nope FROM range(3)\n          ^"), E_INVALID);
    assert_int_equal(fails(f, "SELEC 1", "LINE 1: SELEC 1\n        ^"), E_INVALID);
    assert_int_equal(fails(f, "SELECT 'x'::INTEGER", "Could not convert string 'x' to INT32"), E_INVALID);
    assert_int_equal(fails(f, "SELECT * FROM nothing", "There is no table nothing"), E_INVALID);
    assert_int_equal(fails(f, "   ", "There is no statement"), E_INVALID);
    for (int i = 0; i < 30; i++) { /* the thread that fails interrupts the others: its own error is to be told all the same */
        assert_int_equal(fails(f, "SELECT CASE WHEN range = 500000 THEN error('boom') END FROM range(1000000)", "boom"), E_INVALID);
    }
}

static void json_decimal_is_exact(void **state) {
    struct fixture *f = *state;
    assert_string_equal(ask_sql(f,
                            "SELECT json_decimal('{\"a\":{\"b\":[1,12.3400]}}', 'a.b.1') AS d, json_decimal('{\"a\":\"-1e-3\"}', '$.a') AS s, "
                            "json_decimal('{\"a\":true}', 'a') AS n, "
                            "json_decimal('{\"a\":1}', 'b') AS m, json_decimal(NULL, 'b') AS o, json_number_text('{\"a\":1.00}', 'a') AS t, "
                            "json_decimal('{\"a\":12345678901234567890123456789.123456789}', 'a') AS l, json_decimal('{\"a\":0.1000000000000}', 'a') AS z",
                            RESULT_NDJSON),
        "{\"d\":12.340000000,\"s\":-0.001000000,\"n\":null,\"m\":null,\"o\":null,\"t\":\"1.00\",\"l\":12345678901234567890123456789.123456789,\"z\":0."
        "100000000}\n");
    assert_string_equal(ask_sql(f, "SELECT sum(json_decimal('{\"p\":0.1}', 'p')) AS s FROM range(100000)", RESULT_NDJSON), "{\"s\":10000.000000000}\n");
    fails(f, "SELECT json_decimal('{\"a\":0.1234567891}', 'a')", "0.1234567891 does not fit DECIMAL(38,9) exactly");
    fails(f, "SELECT json_decimal('{\"a\":1e30}', 'a')", "1e30 does not fit");
}

static void event_ids_go_both_ways(void **state) {
    struct fixture *f = *state;
    enum status status;
    struct engine_query query = {
        .sql = STR("SELECT cupel_event_id(1700000000123, 7, 3, 42) AS id, cupel_event_time(cupel_event_id(1700000000123, 7, 3, 42)) AS t, "
                   "cupel_event_time('f81d4fae-7dec-11d0-a765-00a0c91e6bf6') AS n"),
        .format = RESULT_NDJSON,
        .internal = true};
    struct event_id id = event_id_make((struct event_address){1700000000123, 7, 3, 42});
    char text[EVENT_ID_TEXT];
    event_id_text(id, text);
    assert_string_equal(ask(f, query, &status), arena_printf(f->arena, "{\"id\":\"%.36s\",\"t\":\"2023-11-14T22:13:20.123Z\",\"n\":null}\n", text));
}

/* The second line: what DuckDB itself refuses when nobody looks at the statement first. */
static void duckdb_is_locked_down(void **state) {
    struct fixture *f = *state;
    const struct engine_column column = {.name = "v", .type = "BIGINT", .field_id = 1};
    copy(f, (struct engine_copy){.sql = "SELECT 1", .path = arena_printf(f->arena, "%s/lake/in.parquet", f->data), .columns = &column, .columns_n = 1});
    assert_int_equal(fs_write_atomic(fs_real(), arena_printf(f->arena, "%s/ledger.db", f->data), STR("secret"), &f->err), OK);
    assert_int_equal(fs_write_atomic(fs_real(), arena_printf(f->arena, "%s/log", f->data), STR("secret"), &f->err), OK);
    const char *const queries[] = {
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd.csv'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_blob('%s/ledger.db')",
        "SELECT * FROM read_text('%s/lake/../ledger.db')",
        "SELECT * FROM read_text('%s/log')",
        "SELECT * FROM read_csv('%s/lakes.csv')",
        "SELECT * FROM 'https://127.0.0.1:1/x.parquet'",
    };
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        struct buf sql = BUF_INIT;
        const char *hole = strstr(queries[i], "%s");
        buf_put(&sql, queries[i], hole ? (size_t)(hole - queries[i]) : strlen(queries[i]));
        buf_text(&sql, hole ? f->data : "");
        buf_text(&sql, hole ? hole + 2 : "");
        assert_int_equal(fails(f, buf_cstr(&sql), "Permission Error"), E_DENIED);
        buf_free(&sql);
    }
    struct engine_copied copied;
    struct engine_copy outside = {.sql = "SELECT 1", .path = arena_printf(f->arena, "%s/out.parquet", f->data)};
    assert_int_equal(engine_copy(f->engine, f->arena, &outside, &copied, &f->err), E_DENIED);
    assert_false(fs_exists(fs_real(), outside.path));
    assert_string_equal(ask_sql(f, arena_printf(f->arena, "SELECT v FROM '%s/lake/in.parquet'", f->data), RESULT_NDJSON), "{\"v\":1}\n");
}

/* ---- files and tables ---- */

static const struct engine_column order_columns[] = {
    {.name = "id", .type = "UUID", .field_id = 1},
    {.name = "at", .type = "TIMESTAMP WITH TIME ZONE", .field_id = 2},
    {.name = "n", .type = "BIGINT", .field_id = 3},
    {.name = "i", .type = "INTEGER", .field_id = 4},
    {.name = "note", .type = "VARCHAR", .field_id = 5},
    {.name = "tags", .type = "MAP(VARCHAR, VARCHAR)", .field_id = 6, .field_ids = "{__duckdb_field_id: 6, key: 7, value: 8}"},
    {.name = "price", .type = "DECIMAL(18,4)", .field_id = 9},
    {.name = "ok", .type = "BOOLEAN", .field_id = 10},
    {.name = "d", .type = "DATE", .field_id = 11},
    {.name = "x", .type = "DOUBLE", .field_id = 12},
    {.name = "none", .type = "VARCHAR", .field_id = 13},
};

static const char order_sql[] = "SELECT ('00000000-0000-7000-8000-' || lpad(range::VARCHAR, 12, '0'))::UUID, TIMESTAMPTZ '2024-01-01 00:00:00+00' + "
                                "to_milliseconds(range), range - 5, range::INTEGER, "
                                "'ğüşiöç a note longer than that ' || range, MAP {'k': 'v' || range}, (range - 2)::DECIMAL(18,4) / 4, range % 2 = 0, DATE "
                                "'1969-12-31' + range::INTEGER, range / 2, NULL "
                                "FROM range(10)";

static const struct engine_column_stats *stats_of(const struct engine_copied *copied, int field_id) {
    for (size_t i = 0; i < copied->columns_n; i++) {
        if (copied->columns[i].field_id == field_id) {
            return &copied->columns[i];
        }
    }
    fail_msg("no statistics of field %d", field_id);
    return NULL;
}

static void bounds_are(const struct engine_copied *copied, int field_id, const char *lower_hex, const char *upper_hex) {
    const struct engine_column_stats *c = stats_of(copied, field_id);
    assert_true(c->has_bounds);
    struct buf lower = BUF_INIT, upper = BUF_INIT;
    buf_hex(&lower, c->lower);
    buf_hex(&upper, c->upper);
    assert_string_equal(buf_cstr(&lower), lower_hex);
    assert_string_equal(buf_cstr(&upper), upper_hex);
    buf_free(&lower);
    buf_free(&upper);
}

static void copy_tells_icebergs_statistics(void **state) {
    struct fixture *f = *state;
    struct engine_copied copied = copy(f, (struct engine_copy){.sql = order_sql, .path = lake_path(f, "a.parquet"), .columns = order_columns, .columns_n = 11});
    assert_int_equal(copied.rows, 10);
    struct fs_stat stat;
    assert_int_equal(fs_real()->stat(fs_real()->self, lake_path(f, "a.parquet"), &stat, NULL), OK);
    assert_int_equal(copied.size_bytes, stat.size_bytes);
    assert_string_equal(arena_strndup(f->arena, copied.sources.p, copied.sources.n), "[]");
    bounds_are(&copied, 1, "00000000000070008000000000000000", "00000000000070008000000000000009");
    bounds_are(&copied, 2, "00202110d70d0600", "28432110d70d0600");
    bounds_are(&copied, 3, "fbffffffffffffff", "0400000000000000");
    bounds_are(&copied, 4, "00000000", "09000000");
    /* "ğüşiöç a note lo": 16 characters; the upper one ends in p, not o */
    bounds_are(&copied, 5, "c49fc3bcc59f69c3b6c3a72061206e6f7465206c6f", "c49fc3bcc59f69c3b6c3a72061206e6f7465206c70");
    bounds_are(&copied, 9, "ec78", "445c");
    bounds_are(&copied, 10, "00", "01");
    bounds_are(&copied, 11, "ffffffff", "08000000");
    bounds_are(&copied, 12, "0000000000000000", "0000000000001240");
    assert_false(stats_of(&copied, 7)->has_bounds);
    assert_int_equal(stats_of(&copied, 8)->values, 10);
    assert_int_equal(stats_of(&copied, 13)->nulls, 10);
    assert_false(stats_of(&copied, 13)->has_bounds);
    struct buf out = BUF_INIT;
    char *sql = arena_printf(
        f->arena, "SELECT string_agg(name || ':' || field_id, ' ') AS ids FROM parquet_schema('%s') WHERE field_id IS NOT NULL", lake_path(f, "a.parquet"));
    assert_int_equal(engine_rows(f->engine, NULL, sql, &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"ids\":\"id:1 at:2 n:3 i:4 note:5 tags:6 key:7 value:8 price:9 ok:10 d:11 x:12 none:13\"}]\n");
    buf_free(&out);
}

static void a_copy_of_nothing_is_a_file_without_rows(void **state) {
    struct fixture *f = *state;
    const struct engine_column column = {.name = "v", .type = "BIGINT", .field_id = 1};
    struct engine_copied copied =
        copy(f, (struct engine_copy){.sql = "SELECT range FROM range(0)", .path = lake_path(f, "n.parquet"), .columns = &column, .columns_n = 1});
    assert_int_equal(copied.rows, 0);
    for (size_t i = 0; i < copied.columns_n; i++) {
        assert_false(copied.columns[i].has_bounds);
    }
    struct buf out = BUF_INIT;
    assert_int_equal(
        engine_rows(f->engine, NULL, arena_printf(f->arena, "SELECT count(v) AS n FROM read_parquet('%s')", lake_path(f, "n.parquet")), &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"n\":0}]\n");
    buf_free(&out);
}

static void copy_keeps_the_order_of_rows(void **state) {
    struct fixture *f = *state;
    const struct engine_column column = {.name = "v", .type = "BIGINT", .field_id = 1};
    copy(f, (struct engine_copy){.sql = "SELECT range FROM range(500000)", .path = lake_path(f, "o.parquet"), .columns = &column, .columns_n = 1});
    struct buf out = BUF_INIT;
    char *sql = arena_printf(f->arena,
        "SELECT count(*) FILTER (v <> file_row_number) AS moved, count(*) AS n, (SELECT max(row_group_num_rows) FROM parquet_metadata('%s')) AS g "
        "FROM read_parquet('%s', file_row_number => true)",
        lake_path(f, "o.parquet"), lake_path(f, "o.parquet"));
    assert_int_equal(engine_rows(f->engine, NULL, sql, &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"moved\":0,\"n\":500000,\"g\":20480}]\n");
    buf_free(&out);
}

static void tables_are_read_by_field_id(void **state) {
    struct fixture *f = *state;
    char *a = lake_path(f, "a.parquet");
    copy(f, (struct engine_copy){.sql = order_sql, .path = a, .columns = order_columns, .columns_n = 11});
    const struct engine_column renamed[] = {{.name = "it's \"new\"", .type = "DECIMAL(20,4)", .field_id = 9},
        {.name = "added", .type = "BIGINT", .field_id = 20}, {.name = "tags", .type = "MAP(VARCHAR, VARCHAR)", .field_id = 6}};
    const struct engine_table tables[] = {
        {.schema = "bronze", .name = "orders", .version = 1, .columns = renamed, .columns_n = 3, .files = (const char *const[]){a}, .files_n = 1},
        {.schema = "bronze", .name = "empty", .version = 1, .columns = renamed, .columns_n = 3},
        {.schema = "bronze", .name = "locked", .version = 1, .columns = renamed, .columns_n = 3, .unreadable = "it has delete files"},
    };
    struct engine_view view = {.tables = tables, .tables_n = 3};
    enum status status;
    struct engine_query query = {
        .sql = STR("SELECT \"it's \"\"new\"\"\" AS p, added, tags FROM bronze.orders ORDER BY 1 LIMIT 1"), .format = RESULT_NDJSON, .view = &view};
    assert_string_equal(ask(f, query, &status), "{\"p\":-0.5000,\"added\":null,\"tags\":{\"k\":\"v0\"}}\n");
    query.sql = STR("SELECT count(*) AS n FROM Bronze.EMPTY");
    assert_string_equal(ask(f, query, &status), "{\"n\":0}\n");
    query.sql = STR("SELECT count(*) AS n FROM bronze.locked");
    assert_non_null(strstr(ask(f, query, &status), "bronze.locked cannot be read: it has delete files"));
    query.sql = STR("SELECT * FROM bronze.order");
    assert_non_null(strstr(ask(f, query, &status), "There is no table bronze.order. Did you mean bronze.orders?"));
    query.sql = STR("SELECT * FROM empty");
    assert_non_null(strstr(ask(f, query, &status), "Did you mean bronze.empty?"));
    query.sql = STR("SHOW TABLES");
    assert_non_null(strstr(ask(f, query, &status), "{\"schema\":\"bronze\",\"name\":\"orders\",\"columns\":[\"it's \\\"new\\\"\",\"added\",\"tags\"]}\n"));
    query.sql = STR("DESCRIBE bronze.orders");
    assert_non_null(strstr(ask(f, query, &status), "\"column_type\":\"DECIMAL(20,4)\""));
    view.tables_n = 1;
    query.sql = STR("SELECT * FROM bronze.empty"); /* no longer in the view: gone */
    assert_non_null(strstr(ask(f, query, &status), "There is no table bronze.empty"));
}

/* Two columns "a" and "b" of the types given, in this file. */
static void copy_pair(struct fixture *f, const char *path, const struct engine_column columns[2]) {
    char *sql = arena_printf(f->arena, "SELECT CAST(range AS %s) AS a, CAST(range + 100 AS %s) AS b FROM range(3)", columns[0].type, columns[1].type);
    copy(f, (struct engine_copy){.sql = sql, .path = path, .columns = columns, .columns_n = 2});
}

/* How the view over these files is made, and what comes out. */
static void pair_is_read(struct fixture *f, const struct engine_column columns[2], const char *const *files, size_t n, bool plain, const char *rows) {
    static uint64_t version;
    struct engine_table table = {.schema = "bronze", .name = "pair", .version = ++version, .columns = columns, .columns_n = 2, .files = files, .files_n = n};
    struct engine_view view = {.tables = &table, .tables_n = 1};
    struct buf out = BUF_INIT;
    const char *sql = "SELECT string_agg(a || ':' || b, ' ' ORDER BY a, b) AS rows, "
                      "(SELECT sql NOT LIKE '%schema%' FROM duckdb_views() WHERE view_name = 'pair' AND database_name = current_database()) AS plain "
                      "FROM bronze.pair";
    for (int i = 0; i < 2; i++) { /* the second time it is known */
        buf_clear(&out);
        if (engine_rows(f->engine, &view, sql, &out, &f->err) != OK) {
            fail_msg("%s", f->err.text);
        }
        assert_string_equal(buf_cstr(&out), arena_printf(f->arena, "[{\"rows\":\"%s\",\"plain\":%s}]\n", rows, plain ? "true" : "false"));
    }
    buf_free(&out);
}

static void files_that_are_as_the_table_is_are_read_plainly(void **state) {
    struct fixture *f = *state;
    const struct engine_column table[] = {{.name = "a", .type = "BIGINT", .field_id = 1}, {.name = "b", .type = "BIGINT", .field_id = 2}};
    const struct engine_column narrow[] = {{.name = "a", .type = "INTEGER", .field_id = 1}, {.name = "b", .type = "BIGINT", .field_id = 2}};
    const struct engine_column swapped[] = {{.name = "a", .type = "BIGINT", .field_id = 2}, {.name = "b", .type = "BIGINT", .field_id = 1}};
    const struct engine_column other[] = {{.name = "a", .type = "BIGINT", .field_id = 1}, {.name = "c", .type = "BIGINT", .field_id = 3}};
    char *same = lake_path(f, "b=7/same.parquet"), *again = lake_path(f, "again.parquet"), *narrower = lake_path(f, "narrow.parquet");
    assert_int_equal(fs_mkdirs(f->host.fs, lake_path(f, "b=7"), &f->err), OK);
    copy_pair(f, same, table);
    copy_pair(f, again, table);
    copy_pair(f, narrower, narrow);
    pair_is_read(f, table, (const char *const[]){same}, 1, true, "0:100 1:101 2:102"); /* a folder's name is no column */
    pair_is_read(f, table, (const char *const[]){same, again}, 2, true, "0:100 0:100 1:101 1:101 2:102 2:102");
    pair_is_read(f, table, (const char *const[]){same, narrower}, 2, false, "0:100 0:100 1:101 1:101 2:102 2:102");
    pair_is_read(f, narrow, (const char *const[]){narrower}, 1, true, "0:100 1:101 2:102");
    pair_is_read(f, swapped, (const char *const[]){again}, 1, false, "100:0 101:1 102:2");
    const struct engine_column renamed[] = {{.name = "a", .type = "BIGINT", .field_id = 1}, {.name = "b", .type = "BIGINT", .field_id = 3}};
    char *third = lake_path(f, "third.parquet");
    copy_pair(f, third, other);
    pair_is_read(f, renamed, (const char *const[]){third}, 1, false, "0:100 1:101 2:102");
}

/* Two pins of one table used in turn, and six versions: more than the child keeps. */
static void statements_see_their_own_version(void **state) {
    struct fixture *f = *state;
    const struct engine_column column = {.name = "v", .type = "BIGINT", .field_id = 1};
    const char *files[6];
    for (int i = 0; i < 6; i++) {
        files[i] = lake_path(f, arena_printf(f->arena, "%d.parquet", i));
        copy(f, (struct engine_copy){.sql = "SELECT range FROM range(10)", .path = files[i], .columns = &column, .columns_n = 1});
    }
    for (int round = 0; round < 3; round++) {
        for (size_t n = 1; n <= 6; n++) {
            size_t version = round == 1 ? 7 - n : n;
            struct engine_table table = {
                .schema = "silver", .name = "t", .version = version, .columns = &column, .columns_n = 1, .files = files, .files_n = version};
            struct engine_view view = {.tables = &table, .tables_n = 1};
            struct buf out = BUF_INIT;
            assert_int_equal(engine_rows(f->engine, &view, "SELECT count(*) AS n FROM silver.t", &out, &f->err), OK);
            assert_string_equal(buf_cstr(&out), arena_printf(f->arena, "[{\"n\":%zu}]\n", 10 * version));
            buf_free(&out);
        }
    }
}

/* ---- row sources ---- */

static void row_sources_become_files(void **state) {
    struct fixture *f = *state;
    const struct engine_column columns[] = {{.name = "name", .type = "VARCHAR", .field_id = 1}, {.name = "amount", .type = "VARCHAR", .field_id = 2},
        {.name = "_row", .type = "BIGINT", .field_id = 3}};
    struct engine_copied copied = copy(f,
        (struct engine_copy){
            .sql = "SELECT * FROM cupel_rows('fake', '{\"rows\":5000,\"bad\":3}')", .path = lake_path(f, "r.parquet"), .columns = columns, .columns_n = 3});
    assert_int_equal(copied.rows, 5000);
    assert_string_equal(arena_strndup(f->arena, copied.sources.p, copied.sources.n), "[{\"read\":5000,\"bad\":3}]");
    assert_int_equal(stats_of(&copied, 2)->nulls, 1667);
    struct buf out = BUF_INIT;
    char *sql = arena_printf(f->arena,
        "SELECT sum(_row) AS s, count(DISTINCT name) AS n, max(name) AS m, bool_and(_row = file_row_number + 1) AS o FROM read_parquet('%s', file_row_number "
        "=> true)",
        lake_path(f, "r.parquet"));
    assert_int_equal(engine_rows(f->engine, NULL, sql, &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"s\":12502500,\"n\":5000,\"m\":\"a longer name 999\",\"o\":true}]\n");
    buf_clear(&out);
    assert_int_equal(engine_rows(f->engine, NULL, "SELECT * FROM cupel_bad_rows('fake', '{\"rows\":5000,\"bad\":2}')", &out, &f->err), OK);
    assert_string_equal(
        buf_cstr(&out), "[{\"row\":5001,\"reason\":\"too few cells\",\"raw\":\"/zs=\"},\n{\"row\":5002,\"reason\":\"too few cells\",\"raw\":\"/zs=\"}]\n");
    buf_free(&out);
    assert_int_equal(engine_rows(f->engine, NULL, "SELECT * FROM cupel_rows('fake', '{\"rows\":9000,\"fail\":5000}')", &out, &f->err), E_INVALID);
    assert_non_null(strstr(f->err.text, "row 5000 is cut"));
    assert_int_equal(engine_rows(f->engine, NULL, "SELECT * FROM cupel_rows('fake', 'missing')", &out, &f->err), E_INVALID);
    assert_non_null(strstr(f->err.text, "no such file: missing"));
    assert_int_equal(engine_rows(f->engine, NULL, "SELECT * FROM cupel_rows('other', '{}')", &out, &f->err), E_INVALID);
    assert_non_null(strstr(f->err.text, "no row source of the kind other"));
}

/* ---- the log ---- */

static void events_are_in_sql_as_they_came(void **state) {
    struct fixture *f = *state;
    struct stream_log *log = open_log(f);
    struct buf headers = BUF_INIT;
    stream_headers_put(&headers, STR("x-shop"), STR("a.example"));
    stream_headers_put(&headers, STR("user-agent"), STR("curl/7.88.1 a longer value"));
    const struct stream_record records[] = {
        {.payload = STR("{\"total\": 12.30}"),
            .key = STR("k1"),
            .headers = buf_view(&headers),
            .source = STR("http"),
            .content_type = STR("application/json"),
            .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID},
        {.payload = STR("not json, and long enough to stay in the log's memory"), .flags = RECORD_UTF8_VALID | RECORD_NO_KEY},
        {.payload = STR("\xff\x00\xfe"), .key = STR(""), .source = STR("hook")},
    };
    struct event_id ids[3];
    append(log, records, 3, ids);
    struct engine_table table;
    struct engine_view view = pin(f, log, &table);
    enum status status;
    struct engine_query query = {
        .sql = STR("SELECT * EXCLUDE (_partition, _offset, _received_at) FROM bronze.orders ORDER BY _event_id"), .format = RESULT_NDJSON, .view = &view};
    char *got = ask(f, query, &status);
    struct buf expected = BUF_INIT;
    const char *rest[] = {
        "\"_source\":\"http\",\"_key\":\"k1\",\"_headers\":{\"x-shop\":\"a.example\",\"user-agent\":\"curl/7.88.1 a longer "
        "value\"},\"_content_type\":\"application/json\","
        "\"payload\":\"{\\\"total\\\": 12.30}\",\"_body\":null,\"_valid_json\":true}",
        "\"_source\":null,\"_key\":null,\"_headers\":{},\"_content_type\":null,\"payload\":\"not json, and long enough to stay in the log's "
        "memory\",\"_body\":null,\"_valid_json\":false}",
        "\"_source\":\"hook\",\"_key\":\"\",\"_headers\":{},\"_content_type\":null,\"payload\":null,\"_body\":\"/wD+\",\"_valid_json\":false}",
    };
    for (int i = 0; i < 3; i++) { /* ids order by time, stream, partition, offset; the three are of one millisecond or grow with time */
        int lowest = -1;
        for (int k = 0; k < 3; k++) {
            bool taken = false;
            char text[EVENT_ID_TEXT];
            event_id_text(ids[k], text);
            for (size_t at = 0; at + EVENT_ID_TEXT <= expected.n; at++) {
                taken = taken || memcmp(expected.p + at, text, EVENT_ID_TEXT) == 0;
            }
            if (!taken && (lowest < 0 || memcmp(ids[k].bytes, ids[lowest].bytes, 16) < 0)) {
                lowest = k;
            }
        }
        char text[EVENT_ID_TEXT];
        event_id_text(ids[lowest], text);
        buf_printf(&expected, "{\"_event_id\":\"%.36s\",\"_stream\":\"orders\",%s\n", text, rest[lowest]);
    }
    assert_string_equal(got, buf_cstr(&expected));
    query.sql =
        STR("SELECT count(*) AS n, bool_and(cupel_event_time(_event_id) = _received_at) AS t, sum(json_decimal(payload, 'total')) AS s FROM bronze.orders");
    assert_string_equal(ask(f, query, &status), "{\"n\":3,\"t\":true,\"s\":12.300000000}\n");
    query.sql = STR("SELECT * FROM bronze.orders WHERE _event_id = $1");
    char id[EVENT_ID_TEXT];
    event_id_text(ids[0], id);
    struct str param = str_of(arena_printf(f->arena, "\"%.36s\"", id));
    query.params = &param;
    query.params_n = 1;
    assert_non_null(strstr(ask(f, query, &status), "12.30"));
    buf_free(&headers);
    buf_free(&expected);
    stream_log_close(&log);
}

/* Flushes part of the log to a file: file and tail together are every event once, whatever the cut. */
static void a_flush_takes_exactly_its_range(void **state) {
    struct fixture *f = *state;
    struct stream_log *log = open_log(f);
    struct stream_record records[100];
    struct event_id ids[100];
    for (int batch = 0; batch < 50; batch++) {
        for (int i = 0; i < 100; i++) {
            records[i] = (struct stream_record){.payload = str_of(arena_printf(f->arena, "%d", batch * 100 + i)),
                .key = str_of(arena_printf(f->arena, "k%d", i)),
                .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID};
        }
        append(log, records, 100, ids);
    }
    struct engine_table table;
    struct engine_view view = pin(f, log, &table);
    char *path = lake_path(f, "flushed.parquet");
    char *sql = arena_printf(f->arena,
        "SELECT * FROM cupel_log_range('{\"stream\":5,\"name\":\"orders\",\"from\":%llu,\"to\":%llu,\"start\":[0,0],\"end\":[1200,700]}')",
        (unsigned long long)table.log_from, (unsigned long long)view.durable);
    struct engine_copied copied = copy(f, (struct engine_copy){.sql = sql, .path = path, .columns = bronze_columns, .columns_n = 12, .view = &view});
    assert_int_equal(copied.rows, 1900);
    const uint64_t offsets[] = {1200, 700};
    table.version = 2;
    table.files = (const char *const *)&path;
    table.files_n = 1;
    table.log_offsets = offsets;
    table.log_offsets_n = 2;
    enum status status;
    struct engine_query query = {
        .sql = STR("SELECT count(*) AS n, count(DISTINCT _event_id) AS d, sum(payload::INTEGER) AS s, count(DISTINCT _stream) AS z FROM bronze.orders"),
        .format = RESULT_NDJSON,
        .view = &view};
    assert_string_equal(ask(f, query, &status), "{\"n\":5000,\"d\":5000,\"s\":12497500,\"z\":1}\n");
    /* the log's part comes and goes with the durable position, the table staying as it is */
    table.version = 3;
    table.log_from = view.durable;
    query.sql = STR("SELECT count(*) AS n FROM bronze.orders");
    assert_string_equal(ask(f, query, &status), "{\"n\":1900}\n");
    append(log, records, 10, ids);
    log_position before = view.durable;
    view.durable = stream_durable(log);
    assert_string_equal(ask(f, query, &status), "{\"n\":1910}\n");
    view.durable = before;
    assert_string_equal(ask(f, query, &status), "{\"n\":1900}\n");
    /* the file keeps the log's order */
    struct buf out = BUF_INIT;
    sql = arena_printf(f->arena,
        "SELECT count(*) AS wrong FROM (SELECT _offset, lag(_offset) OVER (PARTITION BY _partition ORDER BY file_row_number) AS before FROM read_parquet('%s', "
        "file_row_number => true)) "
        "WHERE before IS NOT NULL AND _offset <> before + 1",
        path);
    assert_int_equal(engine_rows(f->engine, NULL, sql, &out, &f->err), OK);
    assert_string_equal(buf_cstr(&out), "[{\"wrong\":0}]\n");
    buf_free(&out);
    stream_log_close(&log);
}

struct appender {
    struct stream_log *log;
    _Atomic bool end;
};

static void *run_appender(void *argument) {
    struct appender *a = argument;
    struct stream_record records[10];
    struct event_id ids[10];
    char keys[10][8];
    for (uint32_t round = 0; !a->end; round++) {
        for (int i = 0; i < 10; i++) {
            snprintf(keys[i], sizeof keys[i], "k%d", i);
            records[i] =
                (struct stream_record){.payload = i == 9 ? STR("-9") : STR("1"), .key = str_of(keys[i]), .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID};
        }
        append(a->log, records, 10, ids);
    }
    return NULL;
}

/* Requests of ten records are atomic and sum up to nothing: each statement must see whole ones, the same in all its parts, and never less than before. */
static void a_view_is_one_consistent_read(void **state) {
    struct fixture *f = *state;
    struct appender appender = {.log = open_log(f)};
    struct thread thread = {0};
    thread_start(&thread, "appender", run_appender, &appender);
    uint64_t last = 0;
    for (int i = 0; i < 60; i++) {
        struct engine_table table;
        struct engine_view view = pin(f, appender.log, &table);
        struct engine_query query = {.sql = STR("SELECT count(*) % 10 AS part, coalesce(sum(payload::BIGINT), 0) AS s, count(*) - (SELECT count(*) FROM "
                                                "bronze.orders WHERE _offset >= 0) AS d, "
                                                "count(*) AS n FROM bronze.orders"),
            .format = RESULT_NDJSON,
            .view = &view};
        enum status status;
        char *text = ask(f, query, &status);
        unsigned long long n = 0;
        if (sscanf(text, "{\"part\":0,\"s\":0,\"d\":0,\"n\":%llu}", &n) != 1 || n < last) {
            fail_msg("%s after %llu", text, (unsigned long long)last);
        }
        last = n;
    }
    appender.end = true;
    thread_join(&thread);
    assert_true(last > 100);
    stream_log_close(&appender.log);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) {
        return engine_main(argc - 1, argv + 1, kinds);
    }
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json_keeps_every_digit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_values_of_all_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(csv_quotes_as_rfc_4180, set_up, tear_down),
        cmocka_unit_test_setup_teardown(table_aligns_and_cuts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parameters_are_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parquet_reads_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_name_the_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_decimal_is_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(event_ids_go_both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(duckdb_is_locked_down, set_up_trusted, tear_down),
        cmocka_unit_test_setup_teardown(copy_tells_icebergs_statistics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_copy_of_nothing_is_a_file_without_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(copy_keeps_the_order_of_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tables_are_read_by_field_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_as_the_table_is_are_read_plainly, set_up, tear_down),
        cmocka_unit_test_setup_teardown(statements_see_their_own_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(row_sources_become_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_are_in_sql_as_they_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flush_takes_exactly_its_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_view_is_one_consistent_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
