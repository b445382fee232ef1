/* Parser of Avro schemas (JSON) into nodes. Named types may be referred to after their definition; recursion into a type that is still being defined is
 * refused: manifests have none, and it would let a small schema describe unbounded nesting. */
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "lake/avro.h"

struct parse {
    struct arena *arena;
    struct err *err;
    size_t nodes;
    struct avro_schema **named;
    size_t named_n, named_cap;
};

static const struct {
    const char *name;
    enum avro_kind kind;
} primitives[] = {{"null", AVRO_NULL}, {"boolean", AVRO_BOOLEAN}, {"int", AVRO_INT}, {"long", AVRO_LONG}, {"float", AVRO_FLOAT}, {"double", AVRO_DOUBLE},
    {"bytes", AVRO_BYTES}, {"string", AVRO_STRING}};

static enum status parse_node(struct parse *p, const json_t *json, int depth, struct avro_schema **out);

static enum status new_node(struct parse *p, enum avro_kind kind, struct avro_schema **out) {
    if (++p->nodes > AVRO_SCHEMA_NODES_MAX) return err_set(p->err, E_LIMIT, "avro schema has more than %d types", AVRO_SCHEMA_NODES_MAX);
    struct avro_schema *node = arena_new_one(p->arena, struct avro_schema);
    node->kind = kind;
    *out = node;
    return OK;
}

static enum status parse_name(struct parse *p, const char *name, struct avro_schema **out) {
    for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++)
        if (!strcmp(primitives[i].name, name)) return new_node(p, primitives[i].kind, out);
    for (size_t i = 0; i < p->named_n; i++) {
        if (strcmp(p->named[i]->name, name) != 0) continue;
        *out = p->named[i];
        return OK;
    }
    return err_set(p->err, E_CORRUPT, "avro schema names the unknown type %.100s", name);
}

static void remember(struct parse *p, const json_t *json, struct avro_schema *node) {
    const char *name = json_string_value(json_object_get(json, "name"));
    if (!name) return;
    node->name = arena_strdup(p->arena, name);
    if (p->named_n == p->named_cap) {
        size_t cap = p->named_cap ? p->named_cap * 2 : 16;
        struct avro_schema **grown = arena_new_array(p->arena, struct avro_schema *, cap);
        if (p->named_n) memcpy(grown, p->named, p->named_n * sizeof(*grown));
        p->named = grown;
        p->named_cap = cap;
    }
    p->named[p->named_n++] = node;
}

static enum status parse_record(struct parse *p, const json_t *json, int depth, struct avro_schema **out) {
    const json_t *fields = json_object_get(json, "fields");
    if (!json_is_array(fields)) return err_set(p->err, E_CORRUPT, "avro record without fields");
    struct avro_schema *node = NULL;
    enum status s = new_node(p, AVRO_RECORD, &node);
    if (s) return s;
    node->n = json_array_size(fields);
    node->items = arena_new_array(p->arena, struct avro_schema *, node->n + 1);
    node->names = arena_new_array(p->arena, const char *, node->n + 1);
    node->field_ids = arena_new_array(p->arena, int, node->n + 1);
    for (size_t i = 0; i < node->n; i++) {
        const json_t *field = json_array_get(fields, i), *id = json_object_get(field, "field-id");
        const char *name = json_string_value(json_object_get(field, "name"));
        if (!name) return err_set(p->err, E_CORRUPT, "avro field without name");
        node->names[i] = arena_strdup(p->arena, name);
        node->field_ids[i] = json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) <= INT32_MAX ? (int)json_integer_value(id) : -1;
        if ((s = parse_node(p, json_object_get(field, "type"), depth + 1, &node->items[i]))) return s;
    }
    remember(p, json, node);
    *out = node;
    return OK;
}

static enum status parse_branches(struct parse *p, const json_t *json, int depth, struct avro_schema **out) {
    struct avro_schema *node = NULL;
    enum status s = new_node(p, AVRO_UNION, &node);
    if (s) return s;
    node->n = json_array_size(json);
    if (!node->n) return err_set(p->err, E_CORRUPT, "avro union without branches");
    node->items = arena_new_array(p->arena, struct avro_schema *, node->n);
    for (size_t i = 0; i < node->n; i++) {
        if ((s = parse_node(p, json_array_get(json, i), depth + 1, &node->items[i]))) return s;
        if (node->items[i]->kind == AVRO_UNION) return err_set(p->err, E_CORRUPT, "avro union within a union");
    }
    *out = node;
    return OK;
}

static enum status parse_container(struct parse *p, const json_t *json, enum avro_kind kind, int depth, struct avro_schema **out) {
    struct avro_schema *node = NULL;
    enum status s = new_node(p, kind, &node);
    if (s) return s;
    node->n = 1;
    node->items = arena_new_array(p->arena, struct avro_schema *, 1);
    if ((s = parse_node(p, json_object_get(json, kind == AVRO_ARRAY ? "items" : "values"), depth + 1, &node->items[0]))) return s;
    *out = node;
    return OK;
}

static enum status parse_fixed_or_enum(struct parse *p, const json_t *json, bool fixed, struct avro_schema **out) {
    struct avro_schema *node = NULL;
    enum status s = new_node(p, fixed ? AVRO_FIXED : AVRO_ENUM, &node);
    if (s) return s;
    if (fixed) {
        json_int_t size = json_integer_value(json_object_get(json, "size"));
        if (size < 0 || size > (1 << 20)) return err_set(p->err, E_CORRUPT, "avro fixed of %lld bytes", (long long)size);
        node->size_bytes = (size_t)size;
    } else {
        const json_t *symbols = json_object_get(json, "symbols");
        node->n = json_array_size(symbols);
        node->names = arena_new_array(p->arena, const char *, node->n + 1);
        for (size_t i = 0; i < node->n; i++) {
            const char *symbol = json_string_value(json_array_get(symbols, i));
            if (!symbol) return err_set(p->err, E_CORRUPT, "avro enum symbol is not a string");
            node->names[i] = arena_strdup(p->arena, symbol);
        }
    }
    remember(p, json, node);
    *out = node;
    return OK;
}

static enum status parse_node(struct parse *p, const json_t *json, int depth, struct avro_schema **out) {
    if (depth > AVRO_SCHEMA_DEPTH_MAX) return err_set(p->err, E_LIMIT, "avro schema is nested deeper than %d", AVRO_SCHEMA_DEPTH_MAX);
    if (json_is_string(json)) return parse_name(p, json_string_value(json), out);
    if (json_is_array(json)) return parse_branches(p, json, depth, out);
    if (!json_is_object(json)) return err_set(p->err, E_CORRUPT, "avro schema has a type that is neither text, list nor object");
    const json_t *type = json_object_get(json, "type");
    if (!json_is_string(type)) return parse_node(p, type, depth + 1, out);
    const char *name = json_string_value(type);
    if (!strcmp(name, "record")) return parse_record(p, json, depth, out);
    if (!strcmp(name, "array")) return parse_container(p, json, AVRO_ARRAY, depth, out);
    if (!strcmp(name, "map")) return parse_container(p, json, AVRO_MAP, depth, out);
    if (!strcmp(name, "fixed")) return parse_fixed_or_enum(p, json, true, out);
    if (!strcmp(name, "enum")) return parse_fixed_or_enum(p, json, false, out);
    return parse_name(p, name, out);
}

enum status avro_schema_parse(struct arena *arena, struct str json, struct avro_schema **out, struct err *err) {
    must(arena && out);
    json_error_t problem;
    json_t *root = json_loadb(json.p ? json.p : "", json.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &problem);
    if (!root) return err_set(err, E_CORRUPT, "avro schema is not JSON: line %d: %s", problem.line, problem.text);
    struct parse p = {.arena = arena, .err = err};
    struct avro_schema *schema = NULL;
    enum status s = parse_node(&p, root, 0, &schema);
    json_decref(root);
    if (!s) *out = schema;
    return s;
}
