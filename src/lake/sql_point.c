/* Statements that want one event of a stream by its id.
 *
 * DuckDB skips row groups by the time of receipt, but not by a UUID: it decodes every id of the table. An id of ours holds that time, so the view of such a
 * statement can be limited to it: half the processor time and more. Only what cannot be misread is taken: one SELECT from the table itself, without other
 * tables, subqueries or samples, and the id compared with a constant at the top of its WHERE. */
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "lake/engine_child.h"

#define DEPTH_MAX 64

static bool is_text(const json_t *object, const char *name, const char *value) {
    const char *text = json_string_value(json_object_get(object, name));
    return text && strcmp(text, value) == 0;
}

/* Not given: NULL, null, "", [] or {}. */
static bool is_blank(const json_t *value) {
    const char *text = json_string_value(value);
    return text ? !*text : json_is_array(value) ? !json_array_size(value) : json_is_object(value) ? !json_object_size(value) : !value || json_is_null(value);
}

/* The SELECT with a FROM; *n counts all of them. */
static const json_t *find_select(const json_t *tree, unsigned *n, int depth) {
    const json_t *found = NULL, *inner;
    size_t i;
    json_t *value;
    const char *key;
    if (depth > DEPTH_MAX) {
        *n += 2; /* not looked at: as if there were others */
        return NULL;
    }
    if (json_is_object(tree) && json_object_get(tree, "from_table")) {
        ++*n;
        found = tree;
    }
    json_array_foreach((json_t *)(uintptr_t)tree, i, value) {
        inner = find_select(value, n, depth + 1);
        found = found ? found : inner;
    }
    json_object_foreach((json_t *)(uintptr_t)tree, key, value) {
        inner = find_select(value, n, depth + 1);
        found = found ? found : inner;
    }
    return found;
}

static bool is_plainly(const json_t *from, const struct engine_table *t) {
    const char *name = json_string_value(json_object_get(from, "table_name")), *schema = json_string_value(json_object_get(from, "schema_name"));
    return is_text(from, "type", "BASE_TABLE") && name && schema && str_ieq(str_of(name), str_of(t->name)) && str_ieq(str_of(schema), str_of(t->schema)) &&
        is_blank(json_object_get(from, "sample")) && is_blank(json_object_get(from, "column_name_alias")) && is_blank(json_object_get(from, "at_clause")) &&
        is_blank(json_object_get(from, "catalog_name"));
}

static bool is_id_column(const json_t *e) {
    const json_t *names = json_object_get(e, "column_names");
    const char *name = json_string_value(json_array_get(names, 0));
    return is_text(e, "class", "COLUMN_REF") && json_array_size(names) == 1 && name && strcmp(name, "_event_id") == 0;
}

/* A text, or one that is cast to UUID. */
static bool is_id(const json_t *e, struct event_id *out) {
    if (is_text(e, "type", "OPERATOR_CAST") && is_text(json_object_get(e, "cast_type"), "id", "UUID")) {
        e = json_object_get(e, "child");
    }
    const json_t *value = json_object_get(e, "value");
    const char *text = json_string_value(json_object_get(value, "value"));
    return is_text(e, "class", "CONSTANT") && is_text(json_object_get(value, "type"), "id", "VARCHAR") && text && event_id_parse(str_of(text), out);
}

static bool compares_id(const json_t *e, struct event_id *out) {
    const json_t *left = json_object_get(e, "left"), *right = json_object_get(e, "right");
    return is_text(e, "type", "COMPARE_EQUAL") && ((is_id_column(left) && is_id(right, out)) || (is_id_column(right) && is_id(left, out)));
}

static bool demands_id(const json_t *where, struct event_id *out) {
    size_t i;
    json_t *child;
    if (!is_text(where, "type", "CONJUNCTION_AND")) {
        return compares_id(where, out);
    }
    json_array_foreach(json_object_get(where, "children"), i, child) {
        if (compares_id(child, out)) {
            return true;
        }
    }
    return false;
}

static bool has_column(const struct engine_table *t, const char *name, const char *type) {
    for (size_t i = 0; i < t->columns_n; i++) {
        if (strcmp(t->columns[i].name, name) == 0) {
            return strcmp(t->columns[i].type, type) == 0;
        }
    }
    return false;
}

bool sql_wants_one_event(const json_t *tree, const struct engine_table *t, int64_t *received_ms) {
    must(t->schema && t->name);
    struct event_id id;
    struct event_address address;
    unsigned selects = 0;
    if (!t->has_log || !has_column(t, "_event_id", "UUID") || !has_column(t, "_received_at", "TIMESTAMP WITH TIME ZONE")) {
        return false; /* ids of other tables say nothing of their rows' times */
    }
    const json_t *select = find_select(tree, &selects, 0);
    if (selects != 1 || !is_text(select, "type", "SELECT_NODE") || !is_blank(json_object_get(select, "sample")) ||
        !is_plainly(json_object_get(select, "from_table"), t) || !demands_id(json_object_get(select, "where_clause"), &id)) {
        return false;
    }
    if (!event_id_read(id, &address) || address.stream != t->stream) {
        return false;
    }
    *received_ms = address.received_ms;
    return true;
}
