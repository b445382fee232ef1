/* What users may ask: one SELECT over the tables they were given, no files, no settings. Decided on DuckDB's own syntax tree (json_serialize_sql), so
 * that comments, quoting and dialect cannot hide anything from us that DuckDB would see.
 *
 * Everything is refused that is not known here: node kinds, table references, expression classes and table functions are lists of what is allowed. Scalar
 * functions compute on values and are allowed but for a list of those that reach settings, the catalog, other statements or raw memory. The locked
 * configuration of DuckDB (engine_child.c) is the second line behind this one. */
#include <jansson.h>
#include <stdio.h>
#include <strings.h>

#include "base/assert.h"
#include "lake/engine_child.h"

#define SQL_BYTES_MAX (1u << 20)
#define TREE_DEPTH_MAX 1500

/* Names that a table reference without a schema may mean. */
struct scope {
    const char *name;
    const struct scope *up;
};

struct check {
    struct str sql;
    const struct child_table *const *tables;
    size_t tables_n;
    int depth;
    struct err *err;
};

static const char *const node_types[] = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", NULL};
static const char *const reference_types[] = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT", "SHOW_REF", NULL};
static const char *const expression_classes[] = {"CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "DEFAULT", "FUNCTION", "OPERATOR",
    "STAR", "SUBQUERY", "WINDOW", "PARAMETER", "COLLATE", "LAMBDA", "LAMBDA_REF", "POSITIONAL_REFERENCE", "BETWEEN", "TYPE", NULL};
/* histogram and histogram_values are not here: macros that hand a name to query_table, which opens files too. */
static const char *const table_functions[] = {"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "summary",
    "regexp_split_to_table", "generate_subscripts", "unnest_json" /* of macros.sql */, NULL};
/* The views of DuckDB's catalog that a bare name reaches all begin like this (duckdb_views, sqlite_master, pg_settings, pragma_database_list). */
static const char *const catalog_prefixes[] = {"duckdb_", "pragma_", "sqlite_", "pg_", NULL};
/* What only tables, functions and queries have: an object with one of these that is none of them is not known here. */
static const char *const telling_keys[] = {
    "table_name", "function_name", "function", "from_table", "select_list", "subquery", "show_type", "left", "right", "children", "child", NULL};
static const char *const denied_prefixes[] = {"duckdb_", "pragma_", "read_", "json_serialize", "json_deserialize", "json_execute", "__internal", "parquet_",
    "pg_get", "arrow_", "test_", "sniff_", "icu_sort", "has_", "inet_", "icu_collate", NULL};
static const char *const denied_functions[] = {"current_setting", "getvariable", "getenv", "current_query", "current_query_id", "current_connection_id",
    "current_transaction_id", "txid_current", "write_log", "setseed", "nextval", "currval", "sleep_ms", "pg_sleep", "in_search_path", "current_schemas",
    "query", "query_table", "which_secret", "glob", "add_parquet_key", "vector_type", "stats", "create_sort_key", "finalize", "combine", "constant_or_null",
    "variant_bytes_to_variant", "variant_normalize", "variant_to_parquet_variant", "remap_struct", "seq_scan", "cupel_log", "cupel_log_range", "cupel_rows",
    "cupel_bad_rows", "checkpoint", "force_checkpoint", "timetz_byte_comparable", "get_block_size", "format_type", NULL};

/* Macros of ours stand before these (macros.sql), with limits; a longer name would get around them. */
static const char *const limited_functions[] = {
    "repeat", "lpad", "rpad", "levenshtein", "editdist3", "damerau_levenshtein", "jaro_similarity", "jaro_winkler_similarity", NULL};

static bool listed(const char *const *list, const char *name) {
    for (; *list; list++) {
        if (strcasecmp(*list, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool starts_with_listed(const char *const *list, const char *name) {
    for (; *list; list++) {
        if (strncasecmp(*list, name, strlen(*list)) == 0) {
            return true;
        }
    }
    return false;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- places in messages ---- */

/* "\n\nLINE 2: … \n        ^" for the byte where `object` stands in the SQL; empty when the tree does not say. */
static void place_of(const struct check *check, const json_t *object, char *out, size_t n) {
    const json_t *location = json_object_get(object, "query_location");
    *out = 0;
    double position = json_is_number(location) ? json_number_value(location) : -1; /* 2^64 - 1: not known */
    if (position < 0 || position >= (double)check->sql.n) {
        return;
    }
    size_t at = (size_t)position, start = at, end = at;
    int line = 1;
    for (size_t i = 0; i < at; i++) {
        line += check->sql.p[i] == '\n';
    }
    while (start && check->sql.p[start - 1] != '\n' && at - start < 60) {
        start--;
    }
    while (end < check->sql.n && check->sql.p[end] != '\n' && end - at < 40) {
        end++;
    }
    char head[16];
    int indent = snprintf(head, sizeof head, "LINE %d: ", line);
    int columns = 0; /* what stands before the caret, in characters */
    for (size_t i = start; i < at; i++) {
        columns += ((unsigned char)check->sql.p[i] & 0xC0) != 0x80;
    }
    snprintf(out, n, "\n\n%s%.*s\n%*s^", head, (int)(end - start), check->sql.p + start, indent + columns, "");
}

static enum status refuse(const struct check *check, const json_t *object, enum status status, const char *text) {
    char place[200];
    place_of(check, object, place, sizeof place);
    return err_set(check->err, status, "%.280s%s", text, place);
}

/* ---- tables ---- */

static bool looks_like_file(const char *name) { return strpbrk(name, "/\\.*?[:") != NULL; }

static enum status unknown_table(const struct check *check, const json_t *object, const char *schema, const char *name) {
    char wanted[256], near[256] = "", text[700];
    snprintf(wanted, sizeof wanted, "%s%s%s", schema, *schema ? "." : "", name);
    int best = 4;
    for (size_t i = 0; i < check->tables_n; i++) {
        const struct engine_table *t = &check->tables[i]->definition;
        char full[256];
        snprintf(full, sizeof full, "%s.%s", t->schema, t->name);
        int distance = str_distance(str_of(full), str_of(wanted));
        if (!*schema && strcasecmp(t->name, name) == 0) {
            distance = 0;
        }
        if (distance < best) {
            best = distance;
            snprintf(near, sizeof near, "%s", full);
        }
    }
    snprintf(text, sizeof text, "There is no table %s%s%s%s", wanted, *near ? ". Did you mean " : " (SHOW TABLES lists them)", near, *near ? "?" : "");
    return refuse(check, object, E_INVALID, text);
}

static enum status check_table(const struct check *check, const json_t *object, const struct scope *scope) {
    const char *schema = text_of(object, "schema_name"), *name = text_of(object, "table_name"), *catalog = text_of(object, "catalog_name");
    if (!*catalog && !*schema) {
        for (const struct scope *s = scope; s; s = s->up) {
            if (strcasecmp(s->name, name) == 0) {
                return OK;
            }
        }
    }
    if (!*catalog && *schema) {
        for (size_t i = 0; i < check->tables_n; i++) {
            const struct engine_table *t = &check->tables[i]->definition;
            if (strcasecmp(t->schema, schema) == 0 && strcasecmp(t->name, name) == 0) {
                return OK;
            }
        }
    }
    char text[300];
    if (looks_like_file(name)) {
        snprintf(text, sizeof text, "Files cannot be read here, only tables: \"%.200s\"", name);
        return refuse(check, object, E_DENIED, text);
    }
    if (*catalog || starts_with_listed((const char *const[]){"information_schema", "pg_catalog", "main", "system", "temp", NULL}, schema) ||
        starts_with_listed(catalog_prefixes, name)) {
        snprintf(text, sizeof text, "The table %.60s%s%.60s%s%.80s is not open to queries; SHOW TABLES and DESCRIBE <table> say what is there", catalog,
            *catalog ? "." : "", schema, *schema ? "." : "", name);
        return refuse(check, object, E_DENIED, text);
    }
    return unknown_table(check, object, schema, name);
}

/* ---- functions ---- */

static enum status check_function(const struct check *check, const json_t *object, bool table) {
    const char *name = text_of(object, "function_name"), *schema = text_of(object, "schema"), *catalog = text_of(object, "catalog");
    bool place_fine = (!*schema || strcasecmp(schema, "main") == 0) && (!*catalog || strcasecmp(catalog, "system") == 0);
    bool around = !table && (*schema || *catalog) && listed(limited_functions, name);
    bool name_fine = table ? listed(table_functions, name) : *name && !listed(denied_functions, name) && !starts_with_listed(denied_prefixes, name);
    if (place_fine && name_fine && !around && !json_is_true(json_object_get(object, "export_state"))) {
        return OK;
    }
    char text[300];
    snprintf(text, sizeof text, "The %sfunction %.60s%s%.100s is not allowed here", table ? "table " : "", schema, *schema ? "." : "", name);
    return refuse(check, object, E_DENIED, text);
}

/* ---- the walk ---- */

static enum status walk(struct check *check, const json_t *tree, const struct scope *scope);

static enum status walk_members(struct check *check, const json_t *object, const char *except, const struct scope *scope) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        if (except && strcmp(key, except) == 0) {
            continue;
        }
        enum status st = walk(check, value, scope);
        if (st != OK) {
            return st;
        }
    }
    return OK;
}

/* A recursive query knows its own name on the right of UNION only; on the left DuckDB takes it for a table. */
static enum status walk_body(struct check *check, const json_t *object, const struct scope *scope) {
    if (strcmp(text_of(object, "type"), "RECURSIVE_CTE_NODE") != 0) {
        return walk_members(check, object, "cte_map", scope);
    }
    struct scope inner = {text_of(object, "cte_name"), scope};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        enum status st = strcmp(key, "cte_map") == 0 ? OK : walk(check, value, strcmp(key, "right") == 0 ? &inner : scope);
        if (st != OK) {
            return st;
        }
    }
    return OK;
}

/* The names of WITH come into force one after the other. */
static enum status walk_ctes(struct check *check, const json_t *object, const json_t *map, size_t at, const struct scope *scope) {
    const json_t *entry = json_array_get(map, at);
    if (!entry) {
        return walk_body(check, object, scope);
    }
    const char *name = text_of(entry, "key");
    if (looks_like_file(name) || starts_with_listed(catalog_prefixes, name)) { /* could be taken for that where the name is not in force */
        return refuse(
            check, object, E_DENIED, "The name of a WITH query may not look like a file or a table of DuckDB's catalog (duckdb_, pg_, pragma_, sqlite_)");
    }
    struct scope inner = {name, scope};
    enum status st = walk(check, json_object_get(entry, "value"), scope);
    return st == OK ? walk_ctes(check, object, map, at + 1, &inner) : st;
}

static enum status walk_node(struct check *check, const json_t *object, const struct scope *scope) {
    const char *type = text_of(object, "type");
    if (!listed(node_types, type)) {
        return refuse(check, object, E_DENIED, "Only SELECT is allowed here");
    }
    if (strcmp(type, "CTE_NODE") == 0) {
        struct scope inner = {text_of(object, "cte_name"), scope};
        enum status st = walk(check, json_object_get(object, "query"), scope);
        return st == OK ? walk_members(check, object, "query", &inner) : st;
    }
    return walk_ctes(check, object, json_object_get(json_object_get(object, "cte_map"), "map"), 0, scope);
}

static enum status walk_reference(struct check *check, const json_t *object, const struct scope *scope) {
    const char *type = text_of(object, "type");
    if (!listed(reference_types, type)) {
        return refuse(check, object, E_DENIED, "This kind of FROM is not allowed here");
    }
    enum status st = OK;
    if (strcmp(type, "BASE_TABLE") == 0) {
        st = check_table(check, object, scope);
    } else if (strcmp(type, "TABLE_FUNCTION") == 0) {
        const json_t *function = json_object_get(object, "function");
        st = check_function(check, function, true);
        return st == OK ? walk_members(check, function, NULL, scope) : st;
    } else if (strcmp(type, "SHOW_REF") == 0 && !json_is_object(json_object_get(object, "query"))) {
        st = refuse(check, object, E_DENIED, "Of SHOW only SHOW TABLES is allowed here, and DESCRIBE and SUMMARIZE of a table or SELECT");
    }
    return st == OK ? walk_members(check, object, NULL, scope) : st;
}

static enum status walk_expression(struct check *check, const json_t *object, const char *class, const struct scope *scope) {
    if (!listed(expression_classes, class)) {
        return refuse(check, object, E_DENIED, "This kind of expression is not allowed here");
    }
    if (strcmp(class, "CONSTANT") == 0) {
        return OK;
    }
    if (json_object_get(object, "function_name")) {
        enum status st = check_function(check, object, false);
        if (st != OK) {
            return st;
        }
    }
    return walk_members(check, object, NULL, scope);
}

/* What stands beside queries, tables and expressions: lists, types, ORDER BY, LIMIT. */
static enum status walk_other(struct check *check, const json_t *object, const struct scope *scope) {
    const char *type = text_of(object, "type");
    bool known = !listed(node_types, type) && !listed(reference_types, type);
    for (size_t i = 0; known && telling_keys[i]; i++) {
        known = !json_object_get(object, telling_keys[i]);
    }
    return known ? walk_members(check, object, NULL, scope) : refuse(check, object, E_DENIED, "This part of the statement is not allowed here");
}

static enum status walk(struct check *check, const json_t *tree, const struct scope *scope) {
    must(check->depth >= 0 && check->depth <= TREE_DEPTH_MAX);
    if (!json_is_object(tree) && !json_is_array(tree)) {
        return OK;
    }
    if (check->depth >= TREE_DEPTH_MAX) {
        return err_set(check->err, E_LIMIT, "The statement is nested deeper than %d levels", TREE_DEPTH_MAX);
    }
    check->depth++;
    enum status st = OK;
    if (json_is_array(tree)) {
        for (size_t i = 0; st == OK && i < json_array_size(tree); i++) {
            st = walk(check, json_array_get(tree, i), scope);
        }
    } else {
        const char *class = json_string_value(json_object_get(tree, "class"));
        if (class) {
            st = walk_expression(check, tree, class, scope);
        } else if (json_object_get(tree, "cte_map") || json_object_get(tree, "cte_name")) {
            st = walk_node(check, tree, scope);
        } else if (json_object_get(tree, "query_location") && json_object_get(tree, "alias")) {
            st = walk_reference(check, tree, scope);
        } else {
            st = walk_other(check, tree, scope);
        }
    }
    check->depth--;
    return st;
}

enum status sql_check(const json_t *tree, struct str sql, const struct child_table *const *tables, size_t tables_n, struct err *err) {
    must(json_is_object(tree));
    const json_t *statement = json_array_get(json_object_get(tree, "statements"), 0);
    const json_t *node = json_object_get(statement, "node");
    struct check check = {.sql = sql, .tables = tables, .tables_n = tables_n, .err = err};
    if (!json_object_get(node, "cte_map")) {
        return err_set(err, E_DENIED, "Only SELECT is allowed here");
    }
    return walk_node(&check, node, NULL);
}

/* ---- parsing ---- */

static struct str skip_blanks_and_comments(struct str s) {
    for (;;) {
        s = str_from(s, 0);
        size_t blanks = 0;
        while (blanks < s.n && strchr(" \t\r\n\f\v", s.p[blanks])) {
            blanks++;
        }
        s = str_from(s, blanks);
        if (str_starts(s, STR("--"))) {
            const char *end = memchr(s.p, '\n', s.n);
            s = end ? str_from(s, (size_t)(end - s.p) + 1) : str_from(s, s.n);
        } else {
            return s;
        }
    }
}

static bool cut_word(struct str *s, const char *word) {
    size_t n = strlen(word);
    if (s->n <= n || strncasecmp(s->p, word, n) != 0 || !strchr(" \t\r\n\f\v(", s->p[n])) {
        return false;
    }
    *s = skip_blanks_and_comments(str_from(*s, n));
    return true;
}

const char *sql_cut_explain(struct str *sql) {
    struct str rest = skip_blanks_and_comments(*sql);
    if (!cut_word(&rest, "EXPLAIN")) {
        return "";
    }
    bool analyze = cut_word(&rest, "ANALYZE");
    *sql = rest;
    return analyze ? "EXPLAIN ANALYZE " : "EXPLAIN ";
}

/* DuckDB's own words for a text that does not parse: with LINE and caret, where json_serialize_sql gives neither. */
static enum status syntax_error(struct session *session, struct str sql, const char *otherwise, struct err *err) {
    BUF_SCOPE(text);
    buf_str(&text, sql);
    duckdb_extracted_statements statements;
    enum status st = err_set(err, E_INVALID, "%.400s", otherwise);
    if (duckdb_extract_statements(session->connection, buf_cstr(&text), &statements) == 0) {
        duckdb_failed(NULL, DUCKDB_ERROR_PARSER, duckdb_extract_statements_error(statements), err);
    }
    duckdb_destroy_extracted(&statements);
    return st;
}

static enum status serialize(struct session *session, struct str sql, json_t **tree, struct err *err) {
    duckdb_result result;
    duckdb_bind_varchar_length(session->parse, 1, sql.p, sql.n);
    enum status st = OK;
    *tree = NULL;
    if (duckdb_execute_prepared(session->parse, &result) != DuckDBSuccess) {
        st = duckdb_failed(session->statement, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        must(chunk && duckdb_data_chunk_get_size(chunk) == 1);
        duckdb_string_t *text = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        json_error_t error;
        *tree = json_loadb(duckdb_string_t_data(text), duckdb_string_t_length(*text), JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
        if (!*tree) {
            st = err_set(
                err, json_error_code(&error) == json_error_stack_overflow ? E_LIMIT : E_INTERNAL, "The statement's tree cannot be read: %s", error.text);
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return st;
}

enum status sql_parse(struct session *session, struct str sql, json_t **out, struct err *err) {
    must(session->ready && session->parse);
    bool internal = session->statement && session->statement->request.internal; /* ours may list thousands of files */
    if (sql.n > SQL_BYTES_MAX && !internal) {
        return err_set(err, E_LIMIT, "The statement has %zu bytes, the limit is %u", sql.n, SQL_BYTES_MAX);
    }
    if (memchr(sql.p, 0, sql.n) || !utf8_valid(sql)) {
        return err_set(err, E_INVALID, "The statement is not UTF-8 text without NUL characters");
    }
    json_t *tree;
    enum status st = serialize(session, sql, &tree, err);
    if (st != OK) {
        return st;
    }
    const json_t *statements = json_object_get(tree, "statements");
    if (json_is_true(json_object_get(tree, "error"))) {
        const char *message = text_of(tree, "error_message");
        if (strstr(message, "Only SELECT statements")) {
            st = err_set(err, E_DENIED,
                "Only one SELECT is allowed here (also WITH, VALUES, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN; PIVOT with its values listed in IN)");
        } else {
            st = syntax_error(session, sql, message, err);
        }
    } else if (json_array_size(statements) == 0) {
        st = err_set(err, E_INVALID, "There is no statement");
    } else if (json_array_size(statements) > 1) {
        st = err_set(err, E_DENIED, "Only one statement at a time, got %zu", json_array_size(statements));
    }
    if (st != OK) {
        json_decref(tree);
        return st;
    }
    *out = tree;
    return OK;
}

bool sql_is_show_tables(const json_t *tree) {
    const json_t *node = json_object_get(json_array_get(json_object_get(tree, "statements"), 0), "node");
    const json_t *from = json_object_get(node, "from_table");
    const char *name = text_of(from, "table_name");
    return strcmp(text_of(from, "type"), "SHOW_REF") == 0 && !json_is_object(json_object_get(from, "query")) &&
        (strcmp(name, "\"tables\"") == 0 || strcmp(name, "__show_tables_expanded") == 0);
}
