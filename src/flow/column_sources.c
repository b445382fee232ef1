#include "flow/column_sources.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

#define DEPTH_MAX 200
#define COLUMNS_MAX 5000
#define FROM_MAX 500

/* A growing set of names. */
struct names {
    const char **list;
    size_t n, cap;
};

/* Output columns of a relation, under the alias by which the query knows it. */
struct relation {
    const char *alias;
    struct source_column *columns;
    size_t n, cap;
};

/* What FROM brings, innermost query first. */
struct level {
    struct relation *relations;
    size_t n, cap;
    const struct level *up;
};

/* Names of WITH, the newest first. */
struct cte {
    const char *name;
    const struct relation *relation;
    const struct cte *up;
};

struct context {
    struct arena *arena;
    const struct source_table *tables;
    size_t tables_n;
    int depth;
};

static const struct relation *resolve_query(struct context *c, const json_t *node, const struct cte *ctes, const struct level *up);

static const char *text_of(const json_t *node, const char *name) {
    const char *text = json_string_value(json_object_get(node, name));
    return text ? text : "";
}

static const char *keep(struct context *c, const char *text) { return arena_strdup(c->arena, text); }

static void *grown(struct context *c, void *old, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return old;
    *cap = *cap ? *cap * 2 : 8;
    char *bigger = arena_zalloc(c->arena, *cap * size);
    if (n) memcpy(bigger, old, n * size);
    return bigger;
}

/* ---- names and columns ---- */

static void add_name(struct context *c, struct names *names, const char *name) {
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->list[i], name) == 0) return;
    }
    if (names->n >= FROM_MAX) return;
    names->list = grown(c, names->list, names->n, &names->cap, sizeof *names->list);
    names->list[names->n++] = name;
}

static void add_sources(struct context *c, struct names *names, const struct source_column *column) {
    for (size_t i = 0; i < column->from_n; i++) add_name(c, names, column->from[i]);
}

static void add_column(struct context *c, struct relation *r, const char *name, const struct names *from) {
    if (r->n >= COLUMNS_MAX) return;
    r->columns = grown(c, r->columns, r->n, &r->cap, sizeof *r->columns);
    r->columns[r->n++] = (struct source_column){.name = name, .from = from->list, .from_n = from->n};
}

static void copy_column(struct context *c, struct relation *r, const struct source_column *column) {
    struct names from = {0};
    add_sources(c, &from, column);
    add_column(c, r, column->name, &from);
}

static const struct source_column *find_column(const struct relation *r, const char *name) {
    for (size_t i = 0; i < r->n; i++) {
        if (strcasecmp(r->columns[i].name, name) == 0) return &r->columns[i];
    }
    return NULL;
}

/* ---- expressions ---- */

/* "x", "t.x", "schema.t.x", and "struct.field": the first that fits, from the innermost query outwards. */
static const struct source_column *find_reference(const json_t *parts, const struct level *level) {
    size_t n = json_array_size(parts);
    for (; level; level = level->up) {
        for (size_t i = 0; i < level->n; i++) {
            const struct relation *r = &level->relations[i];
            for (size_t k = 0; k < n && k < 3; k++) {
                bool qualified = k > 0;
                const char *table = qualified ? json_string_value(json_array_get(parts, k - 1)) : NULL, *name = json_string_value(json_array_get(parts, k));
                const struct source_column *found = name && (!qualified || strcasecmp(table, r->alias) == 0) ? find_column(r, name) : NULL;
                if (found) return found;
            }
        }
    }
    return NULL;
}

static void walk_expression(struct context *c, const json_t *node, const struct cte *ctes, const struct level *level, struct names *out);

static void walk_members(struct context *c, const json_t *node, const struct cte *ctes, const struct level *level, struct names *out) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)node, name, value) walk_expression(c, value, ctes, level, out);
}

static void walk_subquery(struct context *c, const json_t *node, const struct cte *ctes, const struct level *level, struct names *out) {
    walk_expression(c, json_object_get(node, "child"), ctes, level, out);
    const struct relation *inner = resolve_query(c, json_object_get(json_object_get(node, "subquery"), "node"), ctes, level);
    for (size_t i = 0; inner && i < inner->n; i++) add_sources(c, out, &inner->columns[i]);
}

/* Everything that an expression's value comes from. */
static void walk_expression(struct context *c, const json_t *node, const struct cte *ctes, const struct level *level, struct names *out) {
    if (c->depth >= DEPTH_MAX) return;
    c->depth++;
    size_t i;
    json_t *item;
    const char *class = text_of(node, "class");
    if (json_is_array(node)) {
        json_array_foreach(node, i, item) walk_expression(c, item, ctes, level, out);
    } else if (strcmp(class, "COLUMN_REF") == 0) {
        const struct source_column *found = find_reference(json_object_get(node, "column_names"), level);
        if (found) add_sources(c, out, found);
    } else if (strcmp(class, "SUBQUERY") == 0) {
        walk_subquery(c, node, ctes, level, out);
    } else if (json_is_object(node)) {
        walk_members(c, node, ctes, level, out);
    }
    c->depth--;
}

/* ---- select list ---- */

static bool excluded(const json_t *star, const char *name) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(star, "exclude_list"), i, item) {
        const char *text = json_string_value(item);
        if (text && strcasecmp(text, name) == 0) return true;
    }
    return false;
}

static const json_t *replacement(const json_t *star, const char *name) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(star, "replace_list"), i, item) {
        if (strcasecmp(text_of(item, "key"), name) == 0) return json_object_get(item, "value");
    }
    return NULL;
}

static bool seen_before(const struct relation *out, size_t from, const char *name) {
    for (size_t i = from; i < out->n; i++) {
        if (strcasecmp(out->columns[i].name, name) == 0) return true;
    }
    return false;
}

static void expand_star(struct context *c, const json_t *star, const struct cte *ctes, const struct level *level, struct relation *out) {
    const char *wanted = text_of(star, "relation_name");
    size_t first = out->n;
    for (size_t i = 0; i < level->n; i++) {
        const struct relation *r = &level->relations[i];
        if (*wanted && strcasecmp(wanted, r->alias) != 0) continue;
        for (size_t k = 0; k < r->n; k++) {
            const char *name = r->columns[k].name;
            const json_t *other = replacement(star, name);
            if (excluded(star, name) || seen_before(out, first, name)) continue; /* the second of a USING pair is the first one again */
            if (other) {
                struct names from = {0};
                walk_expression(c, other, ctes, level, &from);
                add_column(c, out, name, &from);
            } else {
                copy_column(c, out, &r->columns[k]);
            }
        }
    }
}

/* The name that DuckDB gives: the alias, or the last part of a plain column; others have none that could be read from. */
static const char *output_name(struct context *c, const json_t *expression) {
    const char *alias = text_of(expression, "alias");
    if (*alias) return keep(c, alias);
    const json_t *parts = json_object_get(expression, "column_names");
    const char *last = json_string_value(json_array_get(parts, json_array_size(parts) - (json_array_size(parts) > 0)));
    return keep(c, last ? last : "");
}

static void resolve_list(struct context *c, const json_t *list, const struct cte *ctes, const struct level *level, struct relation *out) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (strcmp(text_of(item, "class"), "STAR") == 0 && !json_is_true(json_object_get(item, "columns"))) {
            expand_star(c, item, ctes, level, out);
            continue;
        }
        struct names from = {0};
        /* an alias of the same list may be read by later columns: where the inputs have no such name */
        struct level here = {.up = level, .relations = &(struct relation){.alias = "", .columns = out->columns, .n = out->n}, .n = 1};
        const struct source_column *own = NULL;
        if (strcmp(text_of(item, "class"), "COLUMN_REF") == 0) own = find_reference(json_object_get(item, "column_names"), level);
        walk_expression(c, item, ctes, own ? level : &(struct level){.relations = level->relations, .n = level->n, .up = &here}, &from);
        add_column(c, out, output_name(c, item), &from);
    }
}

/* ---- FROM ---- */

static void add_relation(struct context *c, struct level *level, const struct relation *r, const char *alias, const json_t *renamed) {
    struct relation copy = {.alias = keep(c, alias)};
    for (size_t i = 0; i < r->n; i++) {
        copy_column(c, &copy, &r->columns[i]);
        const char *name = json_string_value(json_array_get(renamed, i));
        if (name) copy.columns[copy.n - 1].name = keep(c, name);
    }
    level->relations = grown(c, level->relations, level->n, &level->cap, sizeof *level->relations);
    level->relations[level->n++] = copy;
}

static const struct relation *table_relation(struct context *c, const char *schema, const char *name) {
    struct relation *r = arena_new_one(c->arena, struct relation);
    for (size_t i = 0; i < c->tables_n; i++) {
        const struct source_table *t = &c->tables[i];
        if (strcasecmp(t->schema, schema) != 0 || strcasecmp(t->name, name) != 0) continue;
        for (size_t k = 0; k < t->columns_n; k++) {
            struct names from = {0};
            add_sources(c, &from, &t->columns[k]);
            if (!t->columns[k].from) add_name(c, &from, arena_printf(c->arena, "%s.%s.%s", t->schema, t->name, t->columns[k].name));
            add_column(c, r, t->columns[k].name, &from);
        }
    }
    return r;
}

static void resolve_table(struct context *c, const json_t *node, const struct cte *ctes, struct level *level) {
    const char *schema = text_of(node, "schema_name"), *name = text_of(node, "table_name"), *alias = text_of(node, "alias");
    const struct relation *found = NULL;
    for (const struct cte *w = ctes; w && !*schema && !found; w = w->up) {
        if (strcasecmp(w->name, name) == 0) found = w->relation;
    }
    if (!found) found = table_relation(c, schema, name);
    add_relation(c, level, found, *alias ? alias : name, json_object_get(node, "column_name_alias"));
}

static void resolve_from(struct context *c, const json_t *node, const struct cte *ctes, struct level *level) {
    const char *type = text_of(node, "type");
    if (c->depth >= DEPTH_MAX) return;
    c->depth++;
    if (strcmp(type, "BASE_TABLE") == 0) {
        resolve_table(c, node, ctes, level);
    } else if (strcmp(type, "JOIN") == 0) {
        resolve_from(c, json_object_get(node, "left"), ctes, level);
        resolve_from(c, json_object_get(node, "right"), ctes, level);
    } else if (strcmp(type, "SUBQUERY") == 0) {
        const struct relation *inner = resolve_query(c, json_object_get(json_object_get(node, "subquery"), "node"), ctes, level);
        if (inner) add_relation(c, level, inner, text_of(node, "alias"), json_object_get(node, "column_name_alias"));
    }
    c->depth--;
}

/* ---- queries ---- */

static const struct relation *resolve_select(struct context *c, const json_t *node, const struct cte *ctes, const struct level *up) {
    struct relation *out = arena_new_one(c->arena, struct relation);
    struct level level = {.up = up};
    resolve_from(c, json_object_get(node, "from_table"), ctes, &level);
    resolve_list(c, json_object_get(node, "select_list"), ctes, &level, out);
    return out;
}

/* Columns by position; of UNION BY NAME by name. */
static void merge(struct context *c, struct relation *into, const struct relation *other, bool by_name) {
    for (size_t i = 0; i < other->n; i++) {
        const struct source_column *same = by_name ? find_column(into, other->columns[i].name) : i < into->n ? &into->columns[i] : NULL;
        if (!same) {
            if (by_name) copy_column(c, into, &other->columns[i]);
            continue;
        }
        struct source_column *target = &into->columns[same - into->columns];
        struct names from = {0};
        add_sources(c, &from, target);
        add_sources(c, &from, &other->columns[i]);
        target->from = from.list;
        target->from_n = from.n;
    }
}

static const struct relation *resolve_set(struct context *c, const json_t *node, const struct cte *ctes, const struct level *up) {
    struct relation *out = arena_new_one(c->arena, struct relation);
    bool by_name = strstr(text_of(node, "setop_type"), "BY_NAME") != NULL, first = true;
    const json_t *sides[2] = {json_object_get(node, "left"), json_object_get(node, "right")}, *children = json_object_get(node, "children");
    size_t n = json_array_size(children) ? json_array_size(children) : 2;
    for (size_t i = 0; i < n; i++) {
        const struct relation *side = resolve_query(c, children ? json_array_get(children, i) : sides[i], ctes, up);
        if (!side) continue;
        for (size_t k = 0; first && k < side->n; k++) copy_column(c, out, &side->columns[k]);
        if (!first) merge(c, out, side, by_name);
        first = false;
    }
    return out;
}

static const struct relation *resolve_body(struct context *c, const json_t *node, const struct cte *ctes, const struct level *up) {
    const char *type = text_of(node, "type");
    if (strcmp(type, "SELECT_NODE") == 0) return resolve_select(c, node, ctes, up);
    if (strcmp(type, "SET_OPERATION_NODE") == 0) return resolve_set(c, node, ctes, up);
    if (strcmp(type, "RECURSIVE_CTE_NODE") != 0) return NULL;
    /* the recursive side reads what the first side gave: its sources are the first one's and what it joins besides */
    const struct relation *first = resolve_query(c, json_object_get(node, "left"), ctes, up);
    struct cte *own = arena_new_one(c->arena, struct cte);
    *own = (struct cte){keep(c, text_of(node, "cte_name")), first, ctes};
    struct relation *out = arena_new_one(c->arena, struct relation);
    const struct relation *again = first ? resolve_query(c, json_object_get(node, "right"), own, up) : NULL;
    for (size_t k = 0; first && k < first->n; k++) copy_column(c, out, &first->columns[k]);
    if (again) merge(c, out, again, false);
    return out;
}

/* NULL: a kind of query that is not known here. */
static const struct relation *resolve_query(struct context *c, const json_t *node, const struct cte *ctes, const struct level *up) {
    if (c->depth >= DEPTH_MAX || !json_is_object(node)) return NULL;
    c->depth++;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(json_object_get(node, "cte_map"), "map"), i, entry) {
        const json_t *value = json_object_get(entry, "value");
        const struct relation *inner = resolve_query(c, json_object_get(json_object_get(value, "query"), "node"), ctes, up);
        struct level renamed = {0};
        struct cte *own = arena_new_one(c->arena, struct cte);
        if (inner) add_relation(c, &renamed, inner, "", json_object_get(value, "aliases"));
        *own = (struct cte){keep(c, text_of(entry, "key")), inner ? &renamed.relations[0] : arena_new_one(c->arena, struct relation), ctes};
        ctes = own;
    }
    const struct relation *out = resolve_body(c, node, ctes, up);
    c->depth--;
    return out;
}

enum status column_sources(
    struct arena *arena, struct str tree, const struct source_table *tables, size_t tables_n, struct source_column **out, size_t *n, struct err *err) {
    must(arena && out && n);
    json_t *root = json_loadb(tree.p, tree.n, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    const json_t *statement = json_array_get(json_object_get(root, "statements"), 0);
    struct context c = {.arena = arena, .tables = tables, .tables_n = tables_n};
    const struct relation *found = statement ? resolve_query(&c, json_object_get(statement, "node"), NULL, NULL) : NULL;
    json_decref(root);
    if (!found) return err_set(err, E_INVALID, "not the tree of one SELECT");
    *out = found->columns;
    *n = found->n;
    return OK;
}
