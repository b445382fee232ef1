/* sql_check: what users may ask and what not, one row per way in that somebody could try. Parsed by the real DuckDB; nothing is run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lake/engine_child.h"

static struct child child;
static struct session session;
static const struct engine_column columns[] = {{.name = "a", .type = "VARCHAR", .field_id = 1}};
static struct child_table orders = {.definition = {.schema = "bronze", .name = "orders", .columns = columns, .columns_n = 1}};
static struct child_table strange = {.definition = {.schema = "ref", .name = "a \"b\".c", .columns = columns, .columns_n = 1}};
static const struct child_table *const tables[] = {&orders, &strange};

static int set_up(void **state) {
    child.host = host_default();
    mutex_init(&child.lock);
    session.child = &child;
    session.views = map_new();
    duckdb_connection connection;
    if (duckdb_open(NULL, &child.db) != DuckDBSuccess || duckdb_connect(child.db, &connection) != DuckDBSuccess || macros_open(connection, NULL) != OK) {
        return 1;
    }
    duckdb_disconnect(&connection);
    return session_begin(&session, NULL) == OK ? 0 : 1;
}

static enum status check(const char *text, struct err *err) {
    struct str sql = str_of(text);
    json_t *tree;
    sql_cut_explain(&sql);
    enum status st = sql_parse(&session, sql, &tree, err);
    if (st != OK) {
        return st;
    }
    st = sql_is_show_tables(tree) ? OK : sql_check(tree, sql, tables, 2, err);
    json_decref(tree);
    return st;
}

static const char *const allowed_list[] = {
    "SELECT clean_text(a), parse_decimal(b) FROM bronze.orders",
    "SELECT value FROM bronze.orders, unnest_json(payload, 'items')",
    "SELECT 1",
    "SELECT 1;",
    "  -- a comment\n SELECT 1 /* ; DROP TABLE x */ -- end",
    "FROM bronze.orders",
    "TABLE bronze.orders",
    "VALUES (1), (2)",
    "SELECT * FROM BRONZE.\"Orders\"",
    "SELECT * FROM ref.\"a \"\"b\"\".c\"",
    "WITH x AS (SELECT * FROM bronze.orders) SELECT * FROM x AS y JOIN x USING (a)",
    "WITH x AS (SELECT 1), y AS (SELECT * FROM x) SELECT * FROM y UNION ALL SELECT * FROM x",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT sum(n) FROM r",
    "WITH x AS MATERIALIZED (SELECT 1) SELECT (SELECT count(*) FROM x)",
    "SELECT (WITH x AS (SELECT 1 AS b) SELECT b FROM x) FROM bronze.orders o, LATERAL (SELECT o.a) l",
    "SELECT * FROM (SELECT 1) s WHERE EXISTS (SELECT 1 FROM bronze.orders)",
    "SELECT a, count(*) FILTER (WHERE a > 'x') OVER (PARTITION BY a ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM bronze.orders QUALIFY "
    "row_number() OVER () = 1",
    "SELECT * FROM range(10) r, generate_series(1, 3) g, unnest([1, 2]) u, json_each('{\"a\":1}') j",
    "SELECT unnest([1, 2]), [x + 1 FOR x IN [1, 2]], list_transform([1], lambda y: y * 2), {'a': 1}.a, MAP {'k': 1}['k'], a[1:2] FROM bronze.orders",
    "SELECT json_decimal(a, '$.x'), json_number_text(a, 'x'), a->>'$.b', cupel_event_time(uuid()), a::DECIMAL(18,4), TRY_CAST(a AS INTEGER[]) FROM "
    "bronze.orders",
    "SELECT CASE WHEN a IN ('x') THEN 1 END, a BETWEEN 'a' AND 'b', a COLLATE nocase, NOT a LIKE 'x%', -1, a IS NULL, $1 FROM bronze.orders",
    "SELECT * FROM bronze.orders TABLESAMPLE 10 PERCENT",
    "SELECT * EXCLUDE (a), COLUMNS('a') FROM bronze.orders ORDER BY ALL LIMIT 10 OFFSET 2",
    "SELECT date_trunc('hour', now()), timezone('Europe/Istanbul', now()), current_date, current_timestamp",
    "SELECT * FROM bronze.orders PIVOT (count(*) FOR a IN ('x', 'y'))",
    "UNPIVOT (SELECT 1 AS x, 2 AS y) ON x, y INTO NAME n VALUE v",
    "SELECT * FROM bronze.orders ASOF JOIN bronze.orders o2 USING (a)",
    "SELECT DISTINCT ON (a) a FROM bronze.orders GROUP BY GROUPING SETS ((a), ())",
    "DESCRIBE bronze.orders",
    "DESCRIBE SELECT * FROM bronze.orders",
    "SUMMARIZE bronze.orders",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "EXPLAIN SELECT * FROM bronze.orders",
    "explain analyze\nSELECT 1",
    "SELECT 'read_text(''/etc/passwd'')' AS harmless, \"a\" FROM bronze.orders -- FROM 'x.csv'",
};

static void allowed(void **state) {
    for (size_t i = 0; i < sizeof allowed_list / sizeof *allowed_list; i++) {
        struct err err = {0};
        enum status st = check(allowed_list[i], &err);
        if (st != OK) {
            fail_msg("%s: %s: %s", allowed_list[i], status_name(st), err.text);
        }
    }
}

static const char *const denied_list[] = {
    /* other statements */
    "ATTACH 'ledger.db'",
    "DETACH x",
    "USE memory",
    "COPY (SELECT 1) TO 'x'",
    "COPY x FROM 'y'",
    "CREATE TABLE x (a INTEGER)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MACRO m() AS TABLE SELECT * FROM read_text('/etc/passwd')",
    "CREATE SECRET s (TYPE s3)",
    "DROP VIEW bronze.orders",
    "INSERT INTO bronze.orders VALUES (1)",
    "UPDATE bronze.orders SET a = 1",
    "DELETE FROM bronze.orders",
    "TRUNCATE bronze.orders",
    "ALTER VIEW bronze.orders RENAME TO x",
    "PRAGMA database_list",
    "PRAGMA version",
    "SET threads = 1",
    "RESET threads",
    "SET VARIABLE x = 1",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE 'x'",
    "IMPORT DATABASE 'x'",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "CALL duckdb_settings()",
    "CALL enable_logging(storage_path='/tmp/x')",
    "MERGE INTO bronze.orders USING bronze.orders o ON true WHEN MATCHED THEN DELETE",
    "COMMENT ON VIEW bronze.orders IS 'x'",
    "EXPLAIN COPY (SELECT 1) TO 'x'",
    "EXPLAIN ANALYZE DELETE FROM bronze.orders",
    "EXPLAIN EXPLAIN SELECT 1",
    /* several */
    "SELECT 1; SELECT 2",
    "SELECT 1; ATTACH 'x'",
    "SELECT 1; COPY (SELECT 1) TO 'x'",
    "EXPLAIN SELECT 1; SELECT 2",
    /* files by name */
    "SELECT * FROM 'x.csv'",
    "SELECT * FROM \"x.parquet\"",
    "FROM 'data/lake/a.parquet'",
    "FROM '/etc/passwd'",
    "SELECT * FROM \"/etc/passwd.csv\"",
    "FROM 'https://host/x.parquet'",
    "FROM 's3://b/x.parquet'",
    "FROM 'a*.json'",
    "DESCRIBE 'x.csv'",
    "SUMMARIZE 'x.parquet'",
    "DESCRIBE SELECT * FROM 'x.csv'",
    "SELECT (SELECT count(*) FROM 'x.csv')",
    "SELECT * FROM bronze.orders WHERE a IN (FROM 'x.csv')",
    "WITH x AS (FROM 'x.csv') SELECT 1",
    "WITH x AS (SELECT 1) SELECT * FROM x, 'x.csv'",
    "SELECT 1 UNION ALL FROM 'x.csv'",
    "SELECT * FROM bronze.orders ORDER BY (SELECT max(a) FROM 'x.csv')",
    "SELECT 1 LIMIT (SELECT count(*) FROM 'x.csv')",
    "SELECT * FROM (VALUES ((SELECT min(a) FROM 'x.csv')))",
    "SELECT * FROM bronze.orders o JOIN 'x.csv' x ON o.a = x.a",
    "SELECT * FROM bronze.orders, LATERAL (FROM 'x.csv')",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM 'x.csv'))",
    "FROM bronze.orders PIVOT (max((SELECT max(a) FROM 'x.csv')) FOR a IN ('x'))",
    "SELECT CASE WHEN true THEN (FROM 'x.csv') END",
    "SELECT sum(1) OVER (PARTITION BY (FROM 'x.csv'))",
    "SELECT * FROM range((SELECT count(*) FROM 'x.csv'))",
    "SELECT sum(1) FILTER (WHERE EXISTS (FROM 'x.csv'))",
    "SELECT 1 GROUP BY (FROM 'x.csv')",
    "SELECT 1 HAVING EXISTS (FROM 'x.csv')",
    "UNPIVOT 'x.csv' ON a INTO NAME n VALUE v",
    "SELECT * FROM bronze.\"x.csv\"",
    "SELECT * FROM main.\"x.csv\"",
    /* a WITH name that would let a file through where the name is not in force */
    "SELECT (WITH \"x.csv\" AS (SELECT 1) SELECT 1) FROM \"x.csv\"",
    "WITH \"x.csv\" AS (SELECT 1) SELECT * FROM \"x.csv\"",
    "WITH a AS (FROM \"f.csv\"), \"f.csv\" AS (SELECT 1) SELECT * FROM a",
    /* a WITH name that is not in force where it is used: DuckDB's catalog would answer */
    "WITH RECURSIVE duckdb_views AS (SELECT sql FROM duckdb_views UNION ALL SELECT * FROM duckdb_views WHERE false) FROM duckdb_views",
    "WITH RECURSIVE pg_settings AS (SELECT setting FROM pg_settings UNION ALL SELECT * FROM pg_settings WHERE false) FROM pg_settings",
    "WITH RECURSIVE \"SQLITE_master\"(a) AS (SELECT sql FROM sqlite_master UNION SELECT a FROM sqlite_master) FROM sqlite_master",
    "WITH duckdb_tables AS (SELECT 1) FROM duckdb_tables",
    "WITH RECURSIVE r(n) AS (SELECT n FROM r UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
    "WITH RECURSIVE r(n) AS ((WITH y AS (SELECT n FROM r) FROM y) UNION ALL SELECT n + 1 FROM r) SELECT * FROM r",
    /* table functions */
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('x')",
    "SELECT * FROM read_csv('x')",
    "SELECT * FROM read_csv_auto('x')",
    "SELECT * FROM READ_PARQUET('x')",
    "SELECT * FROM \"read_parquet\"('x')",
    "SELECT * FROM main.read_parquet('x')",
    "SELECT * FROM system.main.read_parquet('x')",
    "SELECT * FROM parquet_scan('x')",
    "SELECT * FROM read_json('x')",
    "SELECT * FROM read_ndjson_objects('x')",
    "SELECT * FROM read_duckdb('x')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('x')",
    "SELECT * FROM parquet_metadata('x')",
    "SELECT * FROM parquet_schema('x')",
    "SELECT * FROM parquet_bloom_probe('x', 'a', 1)",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('x.csv')",
    "SELECT * FROM histogram('x.csv', a)",
    "FROM histogram_values('data/lake/x.parquet', a)",
    "SELECT get_block_size('x')",
    "SELECT * FROM query_table(['bronze.orders'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM ''x.csv'''))",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_variables()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM pragma_table_info('x')",
    "SELECT * FROM which_secret('x', 's3')",
    "SELECT * FROM seq_scan('x')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM test_all_types()",
    "SELECT * FROM sql_auto_complete('SEL')",
    "SELECT * FROM cupel_log(1)",
    "SELECT * FROM cupel_log_range('{}')",
    "SELECT * FROM cupel_rows('landing', '{\"path\":\"/etc/passwd\"}')",
    "SELECT * FROM cupel_bad_rows('a', 'b')",
    "SELECT * FROM bronze.orders, LATERAL read_text(a)",
    "WITH x AS (SELECT * FROM read_text('x')) SELECT 1",
    "SELECT (SELECT content FROM read_text('x'))",
    /* scalar functions */
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT getvariable('x')",
    "SELECT json_serialize_plan('FROM ''x.csv''')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT json_deserialize_sql('{}')",
    "SELECT nextval('s')",
    "SELECT setseed(0.5)",
    "SELECT write_log('x')",
    "SELECT txid_current()",
    "SELECT sleep_ms(100000)",
    "SELECT pg_sleep(10)",
    "SELECT finalize(sum(1) EXPORT_STATE)",
    "SELECT sum(1) EXPORT_STATE",
    "SELECT 'x'.read_text()",
    "SELECT main.getvariable('x')",
    "SELECT __internal_decompress_string(1::UBIGINT)",
    "SELECT current_query()",
    "SELECT 'a'.getenv()",
    "SELECT list_transform(['HOME'], lambda x: getenv(x))",
    "SELECT vector_type(1)",
    "SELECT create_sort_key(1)",
    /* the catalog, other databases, the ledger */
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM main.sqlite_master",
    "SELECT * FROM cupel3.bronze.orders",
    "SELECT * FROM memory.bronze.orders",
    "SELECT * FROM system.information_schema.tables",
    "SELECT * FROM temp.main.x",
    "SHOW DATABASES",
    "SHOW SCHEMAS",
    "SHOW VARIABLES",
    "SELECT * FROM (SHOW DATABASES)",
    "SELECT * FROM 'data/ledger.db'",
    "SELECT * FROM sqlite_scan('data/ledger.db', 'tokens')",
};

static void denied(void **state) {
    for (size_t i = 0; i < sizeof denied_list / sizeof *denied_list; i++) {
        struct err err = {0};
        enum status st = check(denied_list[i], &err);
        /* What DuckDB itself cannot parse is E_INVALID; what matters is that nothing comes through, and that what parses is named as forbidden. */
        bool parses = st != E_INVALID || !strstr(err.text, "Parser Error");
        if (st == OK || (parses && st != E_DENIED && !strstr(err.text, "There is no table"))) {
            fail_msg("%s: %s: %s", denied_list[i], status_name(st), err.text);
        }
    }
}

static void tables_must_be_named_with_their_schema(void **state) {
    static const char *const list[] = {"SELECT * FROM orders", "SELECT * FROM silver.orders", "SELECT * FROM bronze.order",
        "WITH x AS (SELECT 1) SELECT * FROM (SELECT 1), y", "SELECT (WITH x AS (SELECT 1) SELECT 1), * FROM x", "WITH x AS (SELECT * FROM x) SELECT 1",
        "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT 1", "SELECT * FROM range", "SELECT * FROM bronze.x.orders"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct err err = {0};
        enum status st = check(list[i], &err);
        if (st != E_INVALID && st != E_DENIED) {
            fail_msg("%s: %s: %s", list[i], status_name(st), err.text);
        }
    }
    struct err err = {0};
    check("SELECT a,\n  (SELECT 1 FROM orders)\nFROM bronze.orders", &err);
    assert_string_equal(err.text, "There is no table orders. Did you mean bronze.orders?\n\nLINE 2:   (SELECT 1 FROM orders)\n                         ^");
}

static void limits(void **state) {
    struct err err = {0};
    struct buf sql = BUF_INIT;
    buf_text(&sql, "SELECT '");
    while (sql.n < (1 << 20) + 10) {
        buf_char(&sql, 'x');
    }
    buf_char(&sql, '\'');
    assert_int_equal(check(buf_cstr(&sql), &err), E_LIMIT);
    buf_clear(&sql);
    buf_text(&sql, "SELECT ");
    for (int i = 0; i < 5000; i++) {
        buf_char(&sql, '(');
    }
    buf_char(&sql, '1');
    for (int i = 0; i < 5000; i++) {
        buf_char(&sql, ')');
    }
    assert_int_not_equal(check(buf_cstr(&sql), &err), E_INTERNAL);
    buf_clear(&sql);
    buf_text(&sql, "SELECT 1");
    for (int i = 0; i < 900; i++) {
        buf_text(&sql, " + (SELECT 1");
    }
    for (int i = 0; i < 900; i++) {
        buf_char(&sql, ')');
    }
    enum status st = check(buf_cstr(&sql), &err);
    assert_true(st == E_LIMIT || st == E_INVALID || st == OK);
    buf_free(&sql);
    json_t *tree;
    assert_int_equal(sql_parse(&session, str_make("SELECT '\0'", 10), &tree, &err), E_INVALID);
    assert_int_equal(sql_parse(&session, STR("SELECT '\xff'"), &tree, &err), E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed),
        cmocka_unit_test(denied),
        cmocka_unit_test(tables_must_be_named_with_their_schema),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
