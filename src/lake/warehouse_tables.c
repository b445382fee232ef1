/* Which tables of the warehouse queries see: read from its own catalog and the list of models, kept until a model run may have changed either.
 *
 * A session shows a table as a view over it without the hidden columns, a model of kind view by its SQL. Both are made only when a statement names them. */
#include <jansson.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "lake/engine_child.h"

/* Rows (schema, name, kind, columns, rows, sql). Tables under construction (…__next) and those that only runs need are left out. */
const char engine_tables_sql[] =
    "WITH described AS (SELECT model, c->>'name' AS name, c->>'type' AS type, c->>'comment' AS comment, coalesce(c->>'hidden' = 'true', false) AS hidden, "
    "place "
    "FROM (SELECT model, unnest(columns::JSON->'$[*]') AS c, generate_subscripts(columns::JSON->'$[*]', 1) AS place FROM warehouse.cupel.models "
    "WHERE json_valid(columns) AND json_type(columns) = 'ARRAY')) "
    "SELECT c.schema_name AS schema, c.table_name AS name, 'table' AS kind, list({'name': c.column_name, 'type': c.data_type, "
    "'comment': coalesce(c.comment, d.comment), 'hidden': c.column_name = '_version' OR coalesce(d.hidden, false)} ORDER BY c.column_index) AS columns, "
    "any_value(t.estimated_size) AS rows, NULL::VARCHAR AS sql, "
    "c.schema_name || '.' || c.table_name IN (SELECT name FROM warehouse.cupel.without_model) AS without_model "
    "FROM duckdb_columns() AS c JOIN duckdb_tables() AS t ON c.table_oid = t.table_oid AND c.database_oid = t.database_oid "
    "LEFT JOIN described AS d ON d.model = c.schema_name || '.' || c.table_name AND d.name = c.column_name "
    "WHERE c.database_name = 'warehouse' AND c.schema_name NOT IN ('cupel_old', 'main') AND NOT ends_with(c.table_name, '__next') "
    "AND (c.schema_name <> 'cupel' OR c.table_name IN ('changes', 'runs', 'checks', 'freshness', 'models')) GROUP BY ALL "
    "UNION ALL SELECT split_part(m.model, '.', 1), substr(m.model, strpos(m.model, '.') + 1), 'view', coalesce((SELECT list({'name': d.name, 'type': d.type, "
    "'comment': d.comment, 'hidden': d.hidden} ORDER BY d.place) FROM described AS d WHERE d.model = m.model), []), NULL, m.sql, "
    "m.model IN (SELECT name FROM warehouse.cupel.without_model) "
    "FROM warehouse.cupel.models AS m WHERE m.kind = 'view' AND m.sql IS NOT NULL";

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- reading ---- */

static enum status read_json(struct session *session, json_t **out, struct err *err) {
    AUTO_FREE char *sql = mem_printf("SELECT coalesce(to_json(list(t)), '[]')::VARCHAR FROM (%s) AS t", engine_tables_sql);
    duckdb_result result;
    enum status st = OK;
    *out = NULL;
    if (duckdb_query(session->connection, sql, &result) != DuckDBSuccess) {
        st = duckdb_failed(session->statement, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        must(chunk && duckdb_data_chunk_get_size(chunk) == 1);
        duckdb_string_t *text = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        *out = json_loadb(duckdb_string_t_data(text), duckdb_string_t_length(*text), 0, NULL);
        duckdb_destroy_data_chunk(&chunk);
        st = json_is_array(*out) ? OK : err_set(err, E_INTERNAL, "the list of the warehouse's tables cannot be read");
    }
    duckdb_destroy_result(&result);
    return st;
}

/* The view's text: what stands in the session for the table. */
static void put_body(struct buf *sql, const json_t *row) {
    if (strcmp(text_of(row, "kind"), "view") == 0) {
        buf_text(sql, text_of(row, "sql"));
        return;
    }
    buf_text(sql, "SELECT ");
    const json_t *columns = json_object_get(row, "columns");
    bool any = false;
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const json_t *column = json_array_get(columns, i);
        if (!json_is_true(json_object_get(column, "hidden"))) {
            buf_text(sql, any ? ", " : "");
            sql_quote_name(sql, str_of(text_of(column, "name")));
            any = true;
        }
    }
    buf_text(sql, any ? " FROM warehouse." : "NULL AS nothing FROM warehouse.");
    sql_quote_name(sql, str_of(text_of(row, "schema")));
    buf_char(sql, '.');
    sql_quote_name(sql, str_of(text_of(row, "name")));
}

static void read_columns(struct arena *arena, const json_t *list, struct engine_table *table) {
    struct engine_column *columns = arena_new_array(arena, struct engine_column, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *column = json_array_get(list, i);
        if (!json_is_true(json_object_get(column, "hidden"))) {
            columns[table->columns_n++] =
                (struct engine_column){.name = arena_strdup(arena, text_of(column, "name")), .type = arena_strdup(arena, text_of(column, "type"))};
        }
    }
    table->columns = columns;
}

static const struct child_table *find(const struct warehouse_set *set, const char *schema, const char *name) {
    for (size_t i = 0; set && i < set->n; i++) {
        if (strcmp(set->tables[i].definition.schema, schema) == 0 && strcmp(set->tables[i].definition.name, name) == 0) {
            return &set->tables[i];
        }
    }
    return NULL;
}

static bool same_columns(const struct engine_table *a, const struct engine_table *b) {
    bool same = a->columns_n == b->columns_n;
    for (size_t i = 0; same && i < a->columns_n; i++) {
        same = strcmp(a->columns[i].name, b->columns[i].name) == 0 && strcmp(a->columns[i].type, b->columns[i].type) == 0;
    }
    return same;
}

static void read_table(struct child *child, const struct warehouse_set *old, struct arena *arena, const json_t *row, struct child_table *out) {
    BUF_SCOPE(body);
    put_body(&body, row);
    *out = (struct child_table){.body = arena_strdup(arena, buf_cstr(&body)), .is_model_view = strcmp(text_of(row, "kind"), "view") == 0};
    out->definition.schema = arena_strdup(arena, text_of(row, "schema"));
    out->definition.name = arena_strdup(arena, text_of(row, "name"));
    read_columns(arena, json_object_get(row, "columns"), &out->definition);
    const struct child_table *before = find(old, out->definition.schema, out->definition.name);
    out->without_model = json_is_true(json_object_get(row, "without_model"));
    bool same = before && strcmp(before->body, out->body) == 0 && same_columns(&before->definition, &out->definition);
    out->serial = same ? before->serial : ++child->table_serials;
}

/* ---- sets ---- */

static void set_release(struct warehouse_set *set) { /* with child->lock */
    if (set && --set->references == 0) {
        struct arena *arena = set->arena;
        arena_free(&arena);
    }
}

void warehouse_set_release(struct child *child, struct warehouse_set *set) {
    WITH_LOCK(&child->lock);
    set_release(set);
}

static struct warehouse_set *current(struct child *child) {
    WITH_LOCK(&child->lock);
    struct warehouse_set *set = child->warehouse_set;
    if (!set || set->serial != child->warehouse_serial) {
        return NULL;
    }
    set->references++;
    return set;
}

static struct warehouse_set *make_set(struct child *child, const json_t *rows, uint64_t serial) {
    struct arena *arena = arena_new();
    struct warehouse_set *set = arena_new_one(arena, struct warehouse_set);
    *set = (struct warehouse_set){.references = 2, .serial = serial, .arena = arena, .n = json_array_size(rows)};
    set->tables = arena_new_array(arena, struct child_table, set->n);
    WITH_LOCK(&child->lock);
    for (size_t i = 0; i < set->n; i++) {
        read_table(child, child->warehouse_set, arena, json_array_get(rows, i), &set->tables[i]);
    }
    set_release(child->warehouse_set);
    child->warehouse_set = set;
    return set;
}

enum status warehouse_set_take(struct session *session, struct warehouse_set **out, struct err *err) {
    struct child *child = session->child;
    *out = NULL;
    if (child->warehouse_why) {
        return OK;
    }
    *out = current(child);
    if (*out) {
        return OK;
    }
    uint64_t serial = child->warehouse_serial; /* read first: at worst we look once more */
    json_t *rows = NULL;
    enum status st = read_json(session, &rows, err);
    if (st == OK) {
        *out = make_set(child, rows, serial);
    }
    json_decref(rows);
    return st;
}
