/* The warehouse among the lake's tables: in lists and descriptions, and in verification. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/sql_quote.h"
#include "lake/lake_priv.h"

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_table(const json_t *entry, const char *schema, const char *name) {
    return !strcmp(text_of(entry, "schema"), schema) && !strcmp(text_of(entry, "name"), name);
}

json_t *warehouse_tables(struct lake *lake, const char **unreadable, struct arena *arena) {
    *unreadable = NULL;
    if (!lake->o.engine) return json_array();
    BUF_SCOPE(text);
    struct err err = {0};
    enum status s = engine_tables(lake->o.engine, &text, &err);
    json_t *list = s ? NULL : json_loadb(text.p, text.n, 0, NULL);
    if (json_is_array(list)) return list;
    json_decref(list);
    *unreadable = arena_strdup(arena, s ? err.text : "the list of the warehouse's tables cannot be read");
    return json_array();
}

/* `warehouse` for tables, `view` for models that are views. */
static void set_kind(json_t *out, const json_t *entry) {
    json_object_set_new(out, "kind", json_string(strcmp(text_of(entry, "kind"), "view") == 0 ? "view" : "warehouse"));
    if (json_is_integer(json_object_get(entry, "rows"))) json_object_set(out, "rows", json_object_get(entry, "rows"));
}

static void add_to_list(json_t *tables, const json_t *entry) {
    json_t *item;
    size_t i;
    json_array_foreach(tables, i, item) {
        if (!is_table(item, text_of(entry, "schema"), text_of(entry, "name"))) continue;
        set_kind(item, entry); /* what stands there already is its lake copy */
        json_object_set_new(item, "lake_copy", json_true());
        return;
    }
    item = json_pack("{s:s, s:s, s:I}", "schema", text_of(entry, "schema"), "name", text_of(entry, "name"), "columns",
        (json_int_t)json_array_size(json_object_get(entry, "columns")));
    set_kind(item, entry);
    json_array_append_new(tables, item);
}

const char *warehouse_add_tables(struct lake *lake, struct arena *arena, json_t *tables) {
    must(json_is_array(tables));
    const char *unreadable;
    json_t *list = warehouse_tables(lake, &unreadable, arena), *entry;
    size_t i;
    json_array_foreach(list, i, entry) { add_to_list(tables, entry); }
    json_decref(list);
    return unreadable;
}

bool warehouse_describe(struct lake *lake, const char *schema, const char *name, json_t *out) {
    ARENA_SCOPE(arena);
    const char *unreadable;
    json_t *list = warehouse_tables(lake, &unreadable, arena), *entry;
    bool found = false;
    size_t i;
    json_array_foreach(list, i, entry) {
        if (!is_table(entry, schema, name)) continue;
        found = true;
        bool copy = json_object_get(out, "files") != NULL;
        if (copy) json_object_set_new(out, "lake_copy", json_true());
        set_kind(out, entry);
        json_object_set_new(out, "schema", json_string(schema));
        json_object_set_new(out, "name", json_string(name));
        json_object_set(out, "columns", json_object_get(entry, "columns"));
    }
    json_decref(list);
    return found;
}

/* ---- verify ---- */

static void add_problem(json_t *problems, const char *schema, const char *name, const char *text) {
    json_array_append_new(problems, json_pack("{s:s, s:s, s:s, s:s}", "schema", schema, "name", name, "kind", "warehouse", "problem", text));
}

/* Every block of a table has a checksum, which DuckDB checks as it reads it. */
static uint64_t verify_table(struct lake *lake, const json_t *row, json_t *problems) {
    BUF_SCOPE(sql);
    BUF_SCOPE(out);
    struct err err = {0};
    buf_text(&sql, "SELECT bit_xor(hash(t))::VARCHAR AS h FROM warehouse.");
    sql_quote_name(&sql, str_of(text_of(row, "schema")));
    buf_char(&sql, '.');
    sql_quote_name(&sql, str_of(text_of(row, "name")));
    buf_text(&sql, " AS t");
    if (!engine_rows(lake->o.engine, NULL, buf_cstr(&sql), &out, &err)) return 0;
    add_problem(problems, text_of(row, "schema"), text_of(row, "name"), err.text);
    return 1;
}

uint64_t warehouse_verify(struct lake *lake, json_t *problems, size_t *tables) {
    must(json_is_array(problems) && tables);
    *tables = 0;
    if (!lake->o.engine) return 0;
    BUF_SCOPE(text);
    struct err err = {0};
    enum status s = engine_rows(lake->o.engine, NULL,
        "SELECT schema_name AS schema, table_name AS name FROM duckdb_tables() WHERE database_name = 'warehouse' "
        "AND (SELECT count(*) FROM warehouse.cupel.format) >= 0 ORDER BY ALL",
        &text, &err);
    if (s) {
        add_problem(problems, "", "warehouse", err.text);
        return 1;
    }
    json_t *rows = json_loadb(text.p, text.n, 0, NULL);
    uint64_t found = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) found += verify_table(lake, json_array_get(rows, i), problems);
    *tables = json_array_size(rows);
    json_decref(rows);
    return found;
}
