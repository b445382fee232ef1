/* Schemas: columns of a table, and their evolution (spec: "Schema Evolution"): fields added as optional, types widened, names matched without case. */
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "lake/iceberg.h"

struct evolve {
    struct arena *arena;
    struct err *err;
    int64_t last_id;
    bool changed;
};

enum status ice_schema_fields(struct arena *arena, const json_t *schema, struct ice_field **out, size_t *n, struct err *err) {
    must(schema && out && n);
    json_t *typed = json_pack("{s:s, s:O}", "type", "struct", "fields", json_object_get(schema, "fields"));
    struct ice_type type;
    enum status s = ice_type_from_json(arena, typed, &type, err);
    json_decref(typed);
    if (s) return s;
    *out = type.fields;
    *n = type.n;
    return OK;
}

/* Gives ids to all parts of a new type, breadth first within each struct, as the specification's reference implementation does. */
static void assign_ids(struct evolve *e, struct ice_type *type) {
    for (size_t i = 0; i < type->n; i++) type->fields[i].id = (int)++e->last_id;
    for (size_t i = 0; i < type->n; i++) assign_ids(e, &type->fields[i].type);
}

static enum status refuse(struct evolve *e, const char *name, const struct ice_type *have, const struct ice_type *want) {
    BUF_SCOPE(have_text);
    BUF_SCOPE(want_text);
    ice_type_to_duckdb(&have_text, have);
    ice_type_to_duckdb(&want_text, want);
    return err_set(e->err, E_UNPROCESSABLE,
        "column %.100s is %.80s in the table and %.80s in the new data: Iceberg cannot change it (only INTEGER to BIGINT, FLOAT to DOUBLE, more DECIMAL "
        "digits); "
        "give the column another name, or land it as text in a new table",
        name, buf_cstr(&have_text), buf_cstr(&want_text));
}

/* Which primitive holds both: *result. false when none may follow `have` by the specification. A narrower wanted type is kept as the table has it. */
static bool widen(const struct ice_type *have, const struct ice_type *want, struct ice_type *result) {
    *result = *have;
    if (have->kind == want->kind && have->kind != ICE_DECIMAL && have->kind != ICE_FIXED) return true;
    switch (have->kind) {
    case ICE_STRING: /* everything can be written as text */ return true;
    case ICE_INT: result->kind = ICE_LONG; return want->kind == ICE_LONG;
    case ICE_LONG: return want->kind == ICE_INT;
    case ICE_FLOAT: result->kind = ICE_DOUBLE; return want->kind == ICE_DOUBLE;
    case ICE_DOUBLE: return want->kind == ICE_FLOAT || want->kind == ICE_INT;
    case ICE_DECIMAL: {
        int digits = want->kind == ICE_DECIMAL ? want->precision - want->scale : want->kind == ICE_INT ? 10 : 19;
        if ((want->kind != ICE_DECIMAL && want->kind != ICE_INT && want->kind != ICE_LONG) || (want->kind == ICE_DECIMAL && want->scale > have->scale))
            return false;
        if (digits + have->scale > result->precision) result->precision = digits + have->scale;
        return result->precision <= 38;
    }
    case ICE_BINARY: return want->kind == ICE_FIXED;
    case ICE_FIXED: return want->kind == ICE_FIXED && want->precision == have->precision;
    default: return false;
    }
}

static enum status evolve_struct(struct evolve *e, json_t *fields, const struct ice_field *wanted, size_t n);

/* Evolves the type stored in `holder` under `slot` towards `want`. */
static enum status evolve_type(struct evolve *e, json_t *holder, const char *slot, const char *name, const struct ice_type *want) {
    json_t *json = json_object_get(holder, slot);
    struct ice_type have, result;
    enum status s = ice_type_from_json(e->arena, json, &have, e->err);
    if (s) return s;
    if (have.kind == ICE_STRUCT && want->kind == ICE_STRUCT) return evolve_struct(e, json_object_get(json, "fields"), want->fields, want->n);
    if (have.kind == ICE_LIST && want->kind == ICE_LIST) return evolve_type(e, json, "element", name, &want->fields[0].type);
    if (have.kind == ICE_MAP && want->kind == ICE_MAP) {
        if ((s = evolve_type(e, json, "key", name, &want->fields[0].type))) return s;
        return evolve_type(e, json, "value", name, &want->fields[1].type);
    }
    if (have.kind >= ICE_STRUCT || !widen(&have, want, &result)) return refuse(e, name, &have, want);
    if (result.kind == have.kind && result.precision == have.precision) return OK;
    json_object_set_new(holder, slot, ice_type_to_json(&result));
    e->changed = true;
    return OK;
}

static json_t *find_field(json_t *fields, const char *name) {
    json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(fields); i++) {
        json_t *field = json_array_get(fields, i);
        const char *have = ice_text(field, "name");
        if (have && !strcmp(have, name)) return field;
        if (have && !strcasecmp(have, name)) found = field;
    }
    return found;
}

/* Ids go to all new columns first, then to the parts of nested ones. */
static void add_fields(struct evolve *e, json_t *fields, const struct ice_field *const *added, size_t n) {
    json_int_t id = e->last_id;
    e->last_id += (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        struct ice_type type = added[i]->type;
        assign_ids(e, &type);
        json_array_append_new(fields, json_pack("{s:I, s:s, s:b, s:o}", "id", ++id, "name", added[i]->name, "required", 0, "type", ice_type_to_json(&type)));
        e->changed = true;
    }
}

static enum status evolve_struct(struct evolve *e, json_t *fields, const struct ice_field *wanted, size_t n) {
    const struct ice_field **added = arena_new_array(e->arena, const struct ice_field *, n + 1);
    size_t added_n = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *field = find_field(fields, wanted[i].name);
        enum status s = field ? evolve_type(e, field, "type", wanted[i].name, &wanted[i].type) : OK;
        if (s) return s;
        if (!field) added[added_n++] = &wanted[i];
    }
    add_fields(e, fields, added, added_n);
    if (json_array_size(fields) > ICE_COLUMNS_MAX) return err_set(e->err, E_LIMIT, "more than %d columns", ICE_COLUMNS_MAX);
    return OK;
}

/* Two columns of the wanted list may not be the same without case: DuckDB could not tell them apart. */
static enum status wanted_fields(struct evolve *e, const struct engine_column *columns, size_t n, struct ice_field **out) {
    struct ice_field *fields = arena_new_array(e->arena, struct ice_field, n + 1);
    for (size_t i = 0; i < n; i++) {
        if (!columns[i].name || !columns[i].name[0]) return err_set(e->err, E_INVALID, "column %zu has no name", i + 1);
        if (!utf8_valid(str_of(columns[i].name))) return err_set(e->err, E_INVALID, "the name of column %zu is not UTF-8", i + 1);
        for (size_t k = 0; k < i; k++)
            if (!strcasecmp(columns[i].name, columns[k].name)) return err_set(e->err, E_INVALID, "column %.100s is there twice", columns[i].name);
        fields[i].name = columns[i].name;
        enum status s = ice_type_from_duckdb(e->arena, str_of(columns[i].type), &fields[i].type, e->err);
        if (s) return err_prefix(e->err, "column %.100s", columns[i].name), s;
    }
    *out = fields;
    return OK;
}

static enum status check_ids(struct evolve *e, json_t *fields, const struct engine_column *columns, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const json_t *field = find_field(fields, columns[i].name);
        if (columns[i].field_id && ice_int(field, "id", 0) != columns[i].field_id)
            return err_set(e->err, E_CONFLICT, "column %.100s was planned with id %d and has %lld now: the schema changed meanwhile", columns[i].name,
                columns[i].field_id, (long long)ice_int(field, "id", 0));
    }
    return OK;
}

static void install_schema(json_t *metadata, json_t *schema, int64_t last_id) {
    json_t *schemas = json_object_get(metadata, "schemas");
    int64_t id = 0;
    for (size_t i = 0; i < json_array_size(schemas); i++) {
        int64_t have = ice_int(json_array_get(schemas, i), "schema-id", 0);
        if (have >= id) id = have + 1;
    }
    json_object_set_new(schema, "schema-id", json_integer(id));
    json_array_append(schemas, schema);
    json_object_set_new(metadata, "current-schema-id", json_integer(id));
    json_object_set_new(metadata, "last-column-id", json_integer(last_id));
}

enum status ice_evolve(json_t *metadata, const struct engine_column *columns, size_t columns_n, bool *changed, struct err *err) {
    must(metadata && changed);
    ARENA_SCOPE(arena);
    struct evolve e = {.arena = arena, .err = err, .last_id = ice_int(metadata, "last-column-id", 0)};
    struct ice_field *wanted = NULL;
    enum status s = wanted_fields(&e, columns, columns_n, &wanted);
    if (s) return s;
    must(wanted);
    json_t *schema = json_deep_copy(ice_schema(metadata));
    json_t *fields = json_object_get(schema, "fields");
    if (!(s = evolve_struct(&e, fields, wanted, columns_n)) && !(s = check_ids(&e, fields, columns, columns_n))) {
        if (e.changed) install_schema(metadata, schema, e.last_id);
        *changed = e.changed;
    }
    json_decref(schema);
    return s;
}

static void to_column(struct arena *arena, const struct ice_field *field, struct engine_column *out) {
    BUF_SCOPE(text);
    ice_type_to_duckdb(&text, &field->type);
    *out = (struct engine_column){.name = field->name, .type = arena_strdup(arena, buf_cstr(&text)), .field_id = field->id};
    if (!field->type.n) return;
    buf_clear(&text);
    ice_field_ids(&text, field);
    out->field_ids = arena_strdup(arena, buf_cstr(&text));
}

enum status ice_columns(
    struct arena *arena, const json_t *schema, const struct engine_column *wanted, size_t wanted_n, struct engine_column **out, size_t *n, struct err *err) {
    struct ice_field *fields = NULL;
    size_t fields_n;
    enum status s = ice_schema_fields(arena, schema, &fields, &fields_n, err);
    if (s) return s;
    size_t total = wanted ? wanted_n : fields_n;
    struct engine_column *columns = arena_new_array(arena, struct engine_column, total + 1);
    for (size_t i = 0; i < total; i++) {
        size_t at = i;
        if (wanted) {
            for (at = 0; at < fields_n && strcmp(fields[at].name, wanted[i].name) != 0; at++) {}
            if (at == fields_n)
                for (at = 0; at < fields_n && strcasecmp(fields[at].name, wanted[i].name) != 0; at++) {}
            if (at == fields_n) return err_set(err, E_NOT_FOUND, "no column %.100s", wanted[i].name);
        }
        to_column(arena, &fields[at], &columns[i]);
    }
    *out = columns;
    *n = total;
    return OK;
}
