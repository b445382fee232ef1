/* Whether a table's files are read as they are, or column by column through field ids.
 *
 * read_parquet with `schema =>` can read any file of the table, but does not open one when it is bound: DuckDB then neither knows how many row groups there
 * are (a single file is read by one thread) nor answers minima and counts from the footer. So few files that all have exactly the table's columns are read
 * plainly. */
#include "base/assert.h"
#include "lake/engine_child.h"

#define FILES_MAX 8 /* with more of them the ways differ by nothing: files are shared out among threads */

static void put_list(struct buf *sql, const struct engine_table *t, size_t n) {
    buf_char(sql, '[');
    for (size_t i = 0; i < n; i++) {
        buf_text(sql, i ? ", " : "");
        sql_quote_text(sql, str_of(t->files[i]));
    }
    buf_char(sql, ']');
}

/* One BOOLEAN. Names, order and types are compared as DuckDB describes them, so that any spelling of a type will do; an id belongs to a name, never twice; the
 * other files must look like the first down to their inner fields. */
static void put_question(struct buf *sql, const struct engine_table *t) {
    buf_text(sql, "SELECT (SELECT list((column_name, column_type)) FROM (DESCRIBE SELECT * FROM read_parquet(");
    put_list(sql, t, 1);
    buf_text(sql, ", hive_partitioning = false))) = (SELECT list((column_name, column_type)) FROM (DESCRIBE SELECT ");
    for (size_t i = 0; i < t->columns_n; i++) {
        buf_printf(sql, "%sCAST(NULL AS %s) AS ", i ? ", " : "", t->columns[i].type);
        sql_quote_name(sql, str_of(t->columns[i].name));
    }
    buf_printf(sql, ")) AND (SELECT count(*) = %zu FROM parquet_schema(", t->columns_n);
    put_list(sql, t, 1);
    buf_text(sql, ") WHERE (name, field_id) IN (");
    for (size_t i = 0; i < t->columns_n; i++) {
        buf_text(sql, i ? ", (" : "(");
        sql_quote_text(sql, str_of(t->columns[i].name));
        buf_printf(sql, ", %d)", t->columns[i].field_id);
    }
    buf_text(sql,
        ")) AND (SELECT count(DISTINCT shape) = 1 FROM (SELECT list((name, num_children, field_id, converted_type, logical_type, duckdb_type)"
        " ORDER BY column_id) AS shape FROM parquet_schema(");
    put_list(sql, t, t->files_n);
    buf_text(sql, ") GROUP BY file_name))");
}

/* A question that fails (a file that is no longer there, a type that is not known) is answered no: the other way says what is wrong. */
static bool ask(struct session *session, const char *sql) {
    duckdb_result result;
    bool yes = false;
    if (duckdb_query(session->connection, sql, &result) == DuckDBSuccess) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, 0);
            uint64_t *valid = duckdb_vector_get_validity(vector);
            yes = (!valid || duckdb_validity_row_is_valid(valid, 0)) && *(bool *)duckdb_vector_get_data(vector);
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return yes;
}

bool files_are_plain(struct session *session, struct child_table *table) {
    const struct engine_table *t = &table->definition;
    must(session->ready && t->columns_n);
    if (!t->files_n || t->files_n > FILES_MAX) {
        return false;
    }
    enum file_shape shape = atomic_load(&table->shape);
    if (shape == SHAPE_UNKNOWN) { /* two statements may ask at once; the answer is the same */
        BUF_SCOPE(sql);
        put_question(&sql, t);
        shape = ask(session, buf_cstr(&sql)) ? SHAPE_PLAIN : SHAPE_OTHER;
        if (session->statement->stop == STOP_NONE) { /* else it may have been interrupted */
            atomic_store(&table->shape, shape);
        }
    }
    return shape == SHAPE_PLAIN;
}
