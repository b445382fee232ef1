/* Tables that a model's SQL mentions, from DuckDB's own syntax tree. Names of WITH shadow tables where they are visible: in the query that has the WITH
 * and below. */
#include <ctype.h>
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"

#define SCOPE_MAX 256

struct cte_name {
    const char *name;
    size_t body_from, body_to;
};

struct walk {
    struct arena *arena;
    struct model *model;
    const struct name_at *sql_at; /* NULL: the model's SQL */
    struct cte_name scope[SCOPE_MAX];
    size_t scope_n;
    bool nested;
};

static void walk_value(struct walk *w, const json_t *node);

static const char *text_of(const json_t *node, const char *name) {
    const char *text = json_string_value(json_object_get(node, name));
    return text ? text : "";
}

static struct mention *new_mention(struct arena *arena, struct model *m) {
    if (m->mentions_n == m->mentions_cap) {
        struct mention *old = m->mentions;
        m->mentions_cap = m->mentions_cap ? m->mentions_cap * 2 : 16;
        m->mentions = arena_new_array(arena, struct mention, m->mentions_cap);
        if (old) memcpy(m->mentions, old, m->mentions_n * sizeof *old);
    }
    return &m->mentions[m->mentions_n++];
}

static void add_join(struct arena *arena, struct model *m, struct join_sides join) {
    if (m->joins_n == m->joins_cap) {
        struct join_sides *old = m->joins;
        m->joins_cap = m->joins_cap ? m->joins_cap * 2 : 8;
        m->joins = arena_new_array(arena, struct join_sides, m->joins_cap);
        if (old) memcpy(m->joins, old, m->joins_n * sizeof *old);
    }
    m->joins[m->joins_n++] = join;
}

/* "No place" is the greatest number of 64 bits, so all numbers are read as reals. */
static void place_of(struct walk *w, const json_t *node, int *line, int *column) {
    const json_t *at = json_object_get(node, "query_location");
    double byte = json_is_number(at) && json_number_value(at) < MODEL_FILE_BYTES_MAX ? json_number_value(at) : 0;
    if (w->sql_at) {
        *line = w->sql_at->line;
        *column = w->sql_at->column;
    } else {
        model_place(w->model, (size_t)byte, line, column);
    }
}

static void walk_table(struct walk *w, const json_t *node) {
    struct mention found = {
        .schema = arena_strdup(w->arena, text_of(node, "schema_name")), .name = arena_strdup(w->arena, text_of(node, "table_name")), .nested = w->nested};
    const char *catalog = text_of(node, "catalog_name");
    if (*catalog) found.schema = arena_printf(w->arena, "%s.%s", catalog, found.schema);
    place_of(w, node, &found.line, &found.column);
    for (size_t i = w->scope_n; i-- > 0 && !*found.schema && !found.is_cte;) {
        if (!str_ieq(str_of(w->scope[i].name), str_of(found.name))) continue;
        found.is_cte = true;
        found.body_from = w->scope[i].body_from;
        found.body_to = w->scope[i].body_to;
    }
    *new_mention(w->arena, w->model) = found;
}

static void push_name(struct walk *w, const char *name, size_t from, size_t to) {
    if (w->scope_n < SCOPE_MAX) w->scope[w->scope_n++] = (struct cte_name){arena_strdup(w->arena, name), from, to};
}

/* {"map":[{"key":…,"value":{"query":{…}}}…]}: each is visible to those behind it and to the query itself. */
static void walk_ctes(struct walk *w, const json_t *cte_map) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(cte_map, "map"), i, entry) {
        size_t from = w->model->mentions_n;
        walk_value(w, json_object_get(entry, "value"));
        push_name(w, text_of(entry, "key"), from, w->model->mentions_n);
    }
}

static void walk_join(struct walk *w, const json_t *node) {
    struct join_sides join = {.from = w->model->mentions_n};
    walk_value(w, json_object_get(node, "left"));
    join.middle = w->model->mentions_n;
    walk_value(w, json_object_get(node, "right"));
    join.to = w->model->mentions_n;
    add_join(w->arena, w->model, join);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)node, name, value) {
        if (strcmp(name, "left") != 0 && strcmp(name, "right") != 0) walk_value(w, value);
    }
}

static void walk_object(struct walk *w, const json_t *node) {
    const char *type = text_of(node, "type"), *name;
    json_t *value;
    size_t scope_n = w->scope_n;
    bool nested = w->nested;
    if (strcmp(type, "BASE_TABLE") == 0) walk_table(w, node);
    if (strcmp(text_of(node, "class"), "SUBQUERY") == 0) w->nested = true;
    if (strcmp(type, "RECURSIVE_CTE_NODE") == 0) push_name(w, text_of(node, "cte_name"), w->model->mentions_n, w->model->mentions_n);
    walk_ctes(w, json_object_get(node, "cte_map"));
    if (strcmp(type, "JOIN") == 0) {
        walk_join(w, node);
    } else {
        json_object_foreach((json_t *)node, name, value) {
            if (strcmp(name, "cte_map") != 0) walk_value(w, value);
        }
    }
    w->scope_n = scope_n;
    w->nested = nested;
}

static void walk_value(struct walk *w, const json_t *node) {
    size_t i;
    json_t *item;
    if (json_is_object(node)) walk_object(w, node);
    if (json_is_array(node)) {
        json_array_foreach(node, i, item) walk_value(w, item);
    }
}

enum status graph_read_tree(struct arena *arena, struct model *m, struct str tree, const struct name_at *sql_at, size_t *error_at, struct err *err) {
    must(arena && m && error_at);
    json_t *root = json_loadb(tree.p, tree.n, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    if (!root) return err_set(err, E_UNSUPPORTED, "the syntax tree cannot be read");
    enum status st = OK;
    if (json_is_true(json_object_get(root, "error"))) {
        uint64_t at;
        const char *text = text_of(root, "error_message");
        *error_at = str_to_u64(str_of(text_of(root, "position")), &at) ? (size_t)at : 0;
        bool no_tree = strstr(text, "serialized") != NULL;
        st = err_set(err, no_tree ? E_UNSUPPORTED : E_INVALID, "%s", text);
    } else if (json_array_size(json_object_get(root, "statements")) != 1) {
        st = err_set(err, E_INVALID, "a model is one SELECT");
    } else {
        struct walk *w = arena_new_one(arena, struct walk);
        *w = (struct walk){.arena = arena, .model = m, .sql_at = sql_at};
        walk_value(w, json_object_get(root, "statements"));
    }
    json_decref(root);
    return st;
}

/* ---- without a tree ---- */

static size_t skip_text(const char *sql, size_t i, char quote) {
    for (i++; sql[i]; i++) {
        if (sql[i] != quote) continue;
        if (sql[i + 1] != quote) return i + 1;
        i++;
    }
    return i;
}

/* Blanks, comments and texts at i; returns the first byte behind them. */
static size_t skip_between(const char *sql, size_t i) {
    for (;;) {
        size_t before = i;
        if (sql[i] == '\'') i = skip_text(sql, i, '\'');
        if (sql[i] == '-' && sql[i + 1] == '-') i += strcspn(sql + i, "\n");
        if (sql[i] == '/' && sql[i + 1] == '*') {
            const char *close = strstr(sql + i + 2, "*/");
            i = close ? (size_t)(close - sql) + 2 : strlen(sql);
        }
        while (isspace((unsigned char)sql[i])) i++;
        if (i == before) return i;
    }
}

static bool is_name_byte(char c, bool first) {
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80 || (!first && (isdigit((unsigned char)c) || c == '$'));
}

/* A name at i, quoted or not; NULL when there is none. */
static const char *take_name(struct arena *arena, const char *sql, size_t *i) {
    size_t start = *i;
    if (sql[start] == '"') {
        *i = skip_text(sql, start, '"');
        return *i > start + 2 ? arena_strndup(arena, sql + start + 1, *i - start - 2) : NULL;
    }
    if (!is_name_byte(sql[start], true)) return NULL;
    while (is_name_byte(sql[*i], false)) (*i)++;
    char *name = arena_strndup(arena, sql + start, *i - start);
    for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
    return name;
}

void graph_scan_words(struct arena *arena, struct model *m, const char *sql, const struct name_at *sql_at) {
    must(arena && m && sql);
    for (size_t i = skip_between(sql, 0); sql[i]; i = skip_between(sql, i)) {
        size_t start = i;
        const char *first = take_name(arena, sql, &i);
        if (!first) {
            i = start + 1;
            continue;
        }
        if (sql[i] != '.') continue;
        i++;
        const char *second = take_name(arena, sql, &i);
        if (!second || sql[i] == '.' || sql[skip_between(sql, i)] == '(') continue;
        struct mention found = {.schema = first, .name = second, .scanned = true};
        if (sql_at) {
            found.line = sql_at->line;
            found.column = sql_at->column;
        } else {
            model_place(m, start, &found.line, &found.column);
        }
        *new_mention(arena, m) = found;
    }
}
