/* Column lineage, on trees that DuckDB itself makes of the SQL here. */
#include <duckdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "flow/column_sources.h"

static duckdb_database db;
static duckdb_connection connection;

static const struct source_column T[] = {{.name = "x"}, {.name = "y"}, {.name = "ts"}}, U[] = {{.name = "id"}, {.name = "w"}, {.name = "x"}};
static const char *const PIECE_N[] = {"s.t.y"};
static const struct source_column PIECES[] = {{.name = "n", .from = PIECE_N, .from_n = 1}};
static const struct source_table TABLES[] = {{.schema = "s", .name = "t", .columns = T, .columns_n = 3},
    {.schema = "s", .name = "u", .columns = U, .columns_n = 3}, {.schema = "this", .name = "pieces", .columns = PIECES, .columns_n = 1}};

/* "name<source,source name<…": what each output column comes from. */
static void expect(const char *sql, const char *wanted) {
    duckdb_prepared_statement prepared;
    duckdb_result result;
    struct source_column *columns;
    size_t n;
    struct err err = {0};
    ARENA_SCOPE(arena);
    BUF_SCOPE(got);
    assert_int_equal(duckdb_prepare(connection, "SELECT CAST(json_serialize_sql($1::VARCHAR) AS VARCHAR)", &prepared), DuckDBSuccess);
    duckdb_bind_varchar(prepared, 1, sql);
    assert_int_equal(duckdb_execute_prepared(prepared, &result), DuckDBSuccess);
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    duckdb_string_t *tree = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    assert_int_equal(column_sources(arena, str_make(duckdb_string_t_data(tree), duckdb_string_t_length(*tree)), TABLES, 3, &columns, &n, &err), OK);
    for (size_t i = 0; i < n; i++) {
        buf_printf(&got, "%s%s<", i ? " " : "", columns[i].name);
        for (size_t k = 0; k < columns[i].from_n; k++) buf_printf(&got, "%s%s", k ? "," : "", columns[i].from[k]);
    }
    assert_string_equal(buf_cstr(&got), wanted);
    duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&prepared);
}

static void test_plain(void **state) {
    expect("SELECT x, y + 1 AS z, 5 AS five FROM s.t WHERE ts IS NOT NULL", "x<s.t.x z<s.t.y five<");
    expect("SELECT a.x, sum(b.w) OVER (ORDER BY b.id) AS r FROM s.t a JOIN s.u b ON a.x = b.id", "x<s.t.x r<s.u.w,s.u.id");
    expect("SELECT coalesce(x, y) AS c, CASE WHEN ts > now() THEN x ELSE y END AS d FROM s.t", "c<s.t.x,s.t.y d<s.t.ts,s.t.x,s.t.y");
    expect("FROM s.t", "x<s.t.x y<s.t.y ts<s.t.ts");
    expect("SELECT n FROM this.pieces", "n<s.t.y");
}

static void test_stars(void **state) {
    expect("SELECT * EXCLUDE (ts) REPLACE (y + x AS y) FROM s.t", "x<s.t.x y<s.t.y,s.t.x");
    expect("SELECT b.* FROM s.t a JOIN s.u b USING (x)", "id<s.u.id w<s.u.w x<s.u.x");
    expect("SELECT * FROM s.t JOIN s.u USING (x)", "x<s.t.x y<s.t.y ts<s.t.ts id<s.u.id w<s.u.w");
}

static void test_nesting(void **state) {
    expect("WITH a AS (SELECT x, y AS k FROM s.t), b AS (SELECT k + x AS m FROM a) SELECT m FROM b", "m<s.t.y,s.t.x");
    expect("WITH a(p, q) AS (SELECT x, y FROM s.t) SELECT q, p FROM a", "q<s.t.y p<s.t.x");
    expect("WITH t AS (SELECT w FROM s.u) SELECT w FROM t", "w<s.u.w");
    expect("SELECT v.k FROM (SELECT y AS k FROM s.t) v", "k<s.t.y");
    expect("SELECT (SELECT max(w) FROM s.u WHERE u.id = t.x) AS m FROM s.t", "m<s.u.w");
    expect("SELECT x AS a, a + 1 AS b FROM s.t", "a<s.t.x b<s.t.x");
    expect("WITH RECURSIVE r AS (SELECT x AS k FROM s.t UNION ALL SELECT r.k + w FROM r JOIN s.u ON true) SELECT k FROM r", "k<s.t.x,s.u.w");
}

static void test_sets(void **state) {
    expect("SELECT x FROM s.t UNION ALL SELECT id FROM s.u", "x<s.t.x,s.u.id");
    expect("SELECT x, y FROM s.t UNION ALL BY NAME SELECT w AS y, id FROM s.u", "x<s.t.x y<s.t.y,s.u.w id<s.u.id");
}

static void test_unknown_has_no_sources(void **state) {
    expect("SELECT r FROM range(5) q(r)", "r<");
    expect("SELECT nothing FROM s.none", "nothing<");
    struct source_column *columns;
    size_t n;
    struct err err = {0};
    ARENA_SCOPE(arena);
    assert_int_equal(column_sources(arena, STR("{}"), NULL, 0, &columns, &n, &err), E_INVALID);
    assert_int_equal(column_sources(arena, STR("nonsense"), NULL, 0, &columns, &n, &err), E_INVALID);
}

int main(void) {
    if (duckdb_open(NULL, &db) != DuckDBSuccess || duckdb_connect(db, &connection) != DuckDBSuccess) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_stars), cmocka_unit_test(test_nesting), cmocka_unit_test(test_sets),
        cmocka_unit_test(test_unknown_has_no_sources)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    duckdb_disconnect(&connection);
    duckdb_close(&db);
    return failed;
}
