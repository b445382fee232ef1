/* Iceberg types from and to JSON and DuckDB's type texts. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/sql_quote.h"
#include "lake/iceberg.h"

static const struct {
    enum ice_kind kind;
    const char *iceberg, *duckdb;
} names[] = {
    {ICE_BOOLEAN, "boolean", "BOOLEAN"},
    {ICE_INT, "int", "INTEGER"},
    {ICE_LONG, "long", "BIGINT"},
    {ICE_FLOAT, "float", "FLOAT"},
    {ICE_DOUBLE, "double", "DOUBLE"},
    {ICE_DECIMAL, "decimal", "DECIMAL"},
    {ICE_DATE, "date", "DATE"},
    {ICE_TIME, "time", "TIME"},
    {ICE_TIMESTAMP, "timestamp", "TIMESTAMP"},
    {ICE_TIMESTAMPTZ, "timestamptz", "TIMESTAMP WITH TIME ZONE"},
    {ICE_STRING, "string", "VARCHAR"},
    {ICE_UUID, "uuid", "UUID"},
    {ICE_FIXED, "fixed", "BLOB"},
    {ICE_BINARY, "binary", "BLOB"},
    {ICE_STRUCT, "struct", "STRUCT"},
    {ICE_LIST, "list", NULL},
    {ICE_MAP, "map", "MAP"},
};

const char *ice_kind_name(enum ice_kind kind) {
    must(kind >= 0 && (size_t)kind < sizeof(names) / sizeof(names[0]) && names[kind].kind == kind);
    return names[kind].iceberg;
}

/* ---- JSON ---- */

static enum status from_json(struct arena *arena, const json_t *json, int depth, struct ice_type *out, struct err *err);

static enum status primitive_from_text(const char *text, struct ice_type *out, struct err *err) {
    struct ice_type type = {0};
    int used = 0;
    if (sscanf(text, "decimal( %d , %d )%n", &type.precision, &type.scale, &used) == 2 && used && !text[used]) {
        type.kind = ICE_DECIMAL;
        if (type.precision < 1 || type.precision > 38 || type.scale < 0 || type.scale > type.precision)
            return err_set(err, E_CORRUPT, "wrong type %.60s", text);
        *out = type;
        return OK;
    }
    used = 0;
    if (sscanf(text, "fixed[ %d ]%n", &type.precision, &used) == 1 && used && !text[used]) {
        type.kind = ICE_FIXED;
        if (type.precision < 0) return err_set(err, E_CORRUPT, "wrong type %.60s", text);
        *out = type;
        return OK;
    }
    for (size_t i = 0; i <= ICE_BINARY; i++) {
        if (i == ICE_DECIMAL || i == ICE_FIXED || strcmp(names[i].iceberg, text) != 0) continue;
        *out = (struct ice_type){.kind = names[i].kind};
        return OK;
    }
    return err_set(err, E_UNSUPPORTED, "column type %.60s is not known to this version", text);
}

static enum status part_from_json(struct arena *arena, const json_t *json, const char *prefix, int depth, struct ice_field *out, struct err *err) {
    char id_name[24], required_name[24];
    snprintf(id_name, sizeof(id_name), "%s-id", prefix);
    snprintf(required_name, sizeof(required_name), "%s-required", prefix);
    out->id = (int)ice_int(json, id_name, 0);
    out->name = prefix;
    out->required = !strcmp(prefix, "key") || json_is_true(json_object_get(json, required_name));
    return from_json(arena, json_object_get(json, prefix), depth, &out->type, err);
}

static enum status struct_from_json(struct arena *arena, const json_t *json, int depth, struct ice_type *out, struct err *err) {
    const json_t *fields = json_object_get(json, "fields");
    if (!json_is_array(fields)) return err_set(err, E_CORRUPT, "struct type without fields");
    if (json_array_size(fields) > ICE_COLUMNS_MAX) return err_set(err, E_LIMIT, "more than %d columns", ICE_COLUMNS_MAX);
    struct ice_type type = {.kind = ICE_STRUCT, .n = json_array_size(fields)};
    type.fields = arena_new_array(arena, struct ice_field, type.n + 1);
    for (size_t i = 0; i < type.n; i++) {
        const json_t *field = json_array_get(fields, i);
        struct ice_field *f = &type.fields[i];
        const char *name = ice_text(field, "name");
        if (!name) return err_set(err, E_CORRUPT, "column %zu has no name", i + 1);
        f->name = arena_strdup(arena, name);
        f->id = (int)ice_int(field, "id", 0);
        f->required = json_is_true(json_object_get(field, "required"));
        if (f->id <= 0) return err_set(err, E_CORRUPT, "column %.100s has no id", name);
        enum status s = from_json(arena, json_object_get(field, "type"), depth + 1, &f->type, err);
        if (s) return err_prefix(err, "column %.100s", name), s;
    }
    *out = type;
    return OK;
}

static enum status from_json(struct arena *arena, const json_t *json, int depth, struct ice_type *out, struct err *err) {
    if (depth > ICE_TYPE_DEPTH_MAX) return err_set(err, E_LIMIT, "types are nested deeper than %d", ICE_TYPE_DEPTH_MAX);
    if (json_is_string(json)) return primitive_from_text(json_string_value(json), out, err);
    const char *kind = ice_text(json, "type");
    if (!kind) return err_set(err, E_CORRUPT, "a column has no type");
    if (!strcmp(kind, "struct")) return struct_from_json(arena, json, depth, out, err);
    bool map = !strcmp(kind, "map");
    if (!map && strcmp(kind, "list") != 0) return err_set(err, E_UNSUPPORTED, "column type %.60s is not known to this version", kind);
    struct ice_type type = {.kind = map ? ICE_MAP : ICE_LIST, .n = map ? 2 : 1, .fields = arena_new_array(arena, struct ice_field, 2)};
    enum status s = part_from_json(arena, json, map ? "key" : "element", depth + 1, &type.fields[0], err);
    if (!s && map) s = part_from_json(arena, json, "value", depth + 1, &type.fields[1], err);
    if (!s) *out = type;
    return s;
}

enum status ice_type_from_json(struct arena *arena, const json_t *json, struct ice_type *out, struct err *err) { return from_json(arena, json, 0, out, err); }

json_t *ice_type_to_json(const struct ice_type *type) {
    switch (type->kind) {
    case ICE_DECIMAL: return json_sprintf("decimal(%d, %d)", type->precision, type->scale);
    case ICE_FIXED: return json_sprintf("fixed[%d]", type->precision);
    case ICE_LIST:
        return json_pack("{s:s, s:i, s:o, s:b}", "type", "list", "element-id", type->fields[0].id, "element", ice_type_to_json(&type->fields[0].type),
            "element-required", type->fields[0].required);
    case ICE_MAP:
        return json_pack("{s:s, s:i, s:o, s:i, s:o, s:b}", "type", "map", "key-id", type->fields[0].id, "key", ice_type_to_json(&type->fields[0].type),
            "value-id", type->fields[1].id, "value", ice_type_to_json(&type->fields[1].type), "value-required", type->fields[1].required);
    case ICE_STRUCT: {
        json_t *fields = json_array();
        for (size_t i = 0; i < type->n; i++) {
            const struct ice_field *f = &type->fields[i];
            json_array_append_new(
                fields, json_pack("{s:i, s:s, s:b, s:o}", "id", f->id, "name", f->name, "required", f->required, "type", ice_type_to_json(&f->type)));
        }
        return json_pack("{s:s, s:o}", "type", "struct", "fields", fields);
    }
    default: return json_string(ice_kind_name(type->kind));
    }
}

/* ---- DuckDB ---- */

static enum status from_duckdb(struct arena *arena, struct str text, int depth, struct ice_type *out, struct err *err);

/* Cuts at the next comma outside of brackets and quotes. */
static struct str next_part(struct str *rest) {
    int depth = 0;
    char quote = 0;
    for (size_t i = 0; i < rest->n; i++) {
        char c = rest->p[i];
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '(' || c == '[') {
            depth++;
        } else if (c == ')' || c == ']') {
            depth--;
        } else if (c == ',' && depth == 0) {
            struct str head = str_trim(str_head(*rest, i));
            *rest = str_from(*rest, i + 1);
            return head;
        }
    }
    struct str head = str_trim(*rest);
    *rest = STR_NULL;
    return head;
}

/* A possibly quoted name at the start of `part`; the type behind it is left in *part. */
static const char *take_name(struct arena *arena, struct str *part) {
    if (!part->n || part->p[0] != '"') {
        struct str name = str_cut(part, ' ');
        *part = str_trim(*part);
        return arena_strndup(arena, name.p, name.n);
    }
    char *name = arena_alloc(arena, part->n + 1);
    size_t n = 0, i = 1;
    for (; i < part->n; i++) {
        if (part->p[i] == '"') {
            if (i + 1 >= part->n || part->p[i + 1] != '"') break;
            i++;
        }
        name[n++] = part->p[i];
    }
    name[n] = 0;
    *part = str_trim(str_from(*part, i + 1));
    return name;
}

static enum status struct_from_duckdb(struct arena *arena, struct str inner, int depth, struct ice_type *out, struct err *err) {
    struct ice_type type = {.kind = ICE_STRUCT};
    struct str count = inner;
    size_t parts = 0;
    while (count.n) {
        next_part(&count);
        parts++;
    }
    if (!parts || parts > ICE_COLUMNS_MAX) return err_set(err, E_INVALID, "struct of %zu fields", parts);
    type.fields = arena_new_array(arena, struct ice_field, parts);
    while (inner.n) {
        struct str part = next_part(&inner);
        struct ice_field *f = &type.fields[type.n++];
        f->name = take_name(arena, &part);
        enum status s = from_duckdb(arena, part, depth + 1, &f->type, err);
        if (s) return s;
    }
    *out = type;
    return OK;
}

static bool inner_of(struct str text, const char *name, struct str *inner) {
    size_t n = strlen(name);
    if (text.n < n + 2 || strncasecmp(text.p, name, n) != 0 || text.p[text.n - 1] != ')') return false;
    struct str rest = str_trim(str_from(text, n));
    if (!rest.n || rest.p[0] != '(') return false;
    *inner = str_trim(str_head(str_from(rest, 1), rest.n - 2));
    return true;
}

static const struct {
    const char *duckdb;
    enum ice_kind kind;
    int precision;
} duckdb_names[] = {
    {"BOOLEAN", ICE_BOOLEAN, 0},
    {"BOOL", ICE_BOOLEAN, 0},
    {"TINYINT", ICE_INT, 0},
    {"SMALLINT", ICE_INT, 0},
    {"UTINYINT", ICE_INT, 0},
    {"USMALLINT", ICE_INT, 0},
    {"INTEGER", ICE_INT, 0},
    {"INT", ICE_INT, 0},
    {"UINTEGER", ICE_LONG, 0},
    {"BIGINT", ICE_LONG, 0},
    {"UBIGINT", ICE_DECIMAL, 20},
    {"HUGEINT", ICE_DECIMAL, 38},
    {"UHUGEINT", ICE_DECIMAL, 38},
    {"FLOAT", ICE_FLOAT, 0},
    {"REAL", ICE_FLOAT, 0},
    {"DOUBLE", ICE_DOUBLE, 0},
    {"DATE", ICE_DATE, 0},
    {"TIME", ICE_TIME, 0},
    {"TIMESTAMP", ICE_TIMESTAMP, 0},
    {"DATETIME", ICE_TIMESTAMP, 0},
    {"TIMESTAMP_S", ICE_TIMESTAMP, 0},
    {"TIMESTAMP_MS", ICE_TIMESTAMP, 0},
    {"TIMESTAMP_NS", ICE_TIMESTAMP, 0},
    {"TIMESTAMP WITH TIME ZONE", ICE_TIMESTAMPTZ, 0},
    {"TIMESTAMPTZ", ICE_TIMESTAMPTZ, 0},
    {"UUID", ICE_UUID, 0},
    {"BLOB", ICE_BINARY, 0},
    {"BYTEA", ICE_BINARY, 0},
    {"DECIMAL", ICE_DECIMAL, 18},
};

static enum status decimal_from_duckdb(struct str inner, struct ice_type *out, struct err *err) {
    struct str first = next_part(&inner), second = next_part(&inner);
    uint64_t precision, scale = 0;
    if (!str_to_u64(first, &precision) || (second.n && !str_to_u64(second, &scale)) || precision < 1 || precision > 38 || scale > precision)
        return err_set(err, E_INVALID, "wrong type DECIMAL(" STR_FMT ")", STR_ARG(first));
    *out = (struct ice_type){.kind = ICE_DECIMAL, .precision = (int)precision, .scale = (int)scale};
    return OK;
}

static enum status nested_from_duckdb(struct arena *arena, struct str text, int depth, struct ice_type *out, bool *found, struct err *err) {
    struct str inner;
    enum status s;
    *found = true;
    if (text.n > 2 && text.p[text.n - 1] == ']') { /* T[] and T[3] */
        size_t open = text.n - 1;
        while (open && text.p[open] != '[') open--;
        struct ice_type type = {.kind = ICE_LIST, .n = 1, .fields = arena_new_array(arena, struct ice_field, 1)};
        type.fields[0].name = "element";
        if ((s = from_duckdb(arena, str_head(text, open), depth + 1, &type.fields[0].type, err))) return s;
        *out = type;
        return OK;
    }
    if (inner_of(text, "MAP", &inner)) {
        struct ice_type type = {.kind = ICE_MAP, .n = 2, .fields = arena_new_array(arena, struct ice_field, 2)};
        type.fields[0].name = "key";
        type.fields[0].required = true;
        type.fields[1].name = "value";
        if ((s = from_duckdb(arena, next_part(&inner), depth + 1, &type.fields[0].type, err))) return s;
        if ((s = from_duckdb(arena, next_part(&inner), depth + 1, &type.fields[1].type, err))) return s;
        *out = type;
        return OK;
    }
    if (inner_of(text, "STRUCT", &inner)) return struct_from_duckdb(arena, inner, depth, out, err);
    if (inner_of(text, "DECIMAL", &inner) || inner_of(text, "NUMERIC", &inner)) return decimal_from_duckdb(inner, out, err);
    *found = false;
    return OK;
}

static enum status from_duckdb(struct arena *arena, struct str text, int depth, struct ice_type *out, struct err *err) {
    text = str_trim(text);
    if (depth > ICE_TYPE_DEPTH_MAX) return err_set(err, E_LIMIT, "types are nested deeper than %d", ICE_TYPE_DEPTH_MAX);
    if (!text.n) return err_set(err, E_INVALID, "empty column type");
    bool found;
    enum status s = nested_from_duckdb(arena, text, depth, out, &found, err);
    if (s || found) return s;
    struct ice_type type = {.kind = ICE_STRING};
    for (size_t i = 0; i < sizeof(duckdb_names) / sizeof(duckdb_names[0]); i++) {
        if (!str_ieq(text, str_of(duckdb_names[i].duckdb))) continue;
        type.kind = duckdb_names[i].kind;
        type.precision = duckdb_names[i].precision;
        if (str_ieq(text, STR("DECIMAL"))) type.scale = 3;
    }
    *out = type;
    return OK;
}

enum status ice_type_from_duckdb(struct arena *arena, struct str text, struct ice_type *out, struct err *err) { return from_duckdb(arena, text, 0, out, err); }

void ice_type_to_duckdb(struct buf *out, const struct ice_type *type) {
    switch (type->kind) {
    case ICE_DECIMAL: buf_printf(out, "DECIMAL(%d,%d)", type->precision, type->scale); return;
    case ICE_LIST:
        ice_type_to_duckdb(out, &type->fields[0].type);
        buf_text(out, "[]");
        return;
    case ICE_MAP:
        buf_text(out, "MAP(");
        ice_type_to_duckdb(out, &type->fields[0].type);
        buf_text(out, ", ");
        ice_type_to_duckdb(out, &type->fields[1].type);
        buf_char(out, ')');
        return;
    case ICE_STRUCT:
        buf_text(out, "STRUCT(");
        for (size_t i = 0; i < type->n; i++) {
            if (i) buf_text(out, ", ");
            sql_quote_name(out, str_of(type->fields[i].name));
            buf_char(out, ' ');
            ice_type_to_duckdb(out, &type->fields[i].type);
        }
        buf_char(out, ')');
        return;
    default: buf_text(out, names[type->kind].duckdb);
    }
}

void ice_field_ids(struct buf *out, const struct ice_field *field) {
    if (!field->type.n) {
        buf_printf(out, "%d", field->id);
        return;
    }
    buf_printf(out, "{__duckdb_field_id: %d", field->id);
    for (size_t i = 0; i < field->type.n; i++) {
        buf_text(out, ", ");
        sql_quote_name(out, str_of(field->type.fields[i].name));
        buf_text(out, ": ");
        ice_field_ids(out, &field->type.fields[i]);
    }
    buf_char(out, '}');
}
