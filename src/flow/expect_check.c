/* A suite against the columns of its model; and the table of expectations as a document. */
#include <string.h>

#include "base/assert.h"
#include "flow/expect_priv.h"

struct checking {
    struct arena *arena;
    const struct flow_column *columns;
    size_t columns_n;
    struct config_problems *problems;
};

static const struct flow_column *find_column(const struct checking *c, struct str name) {
    for (size_t i = 0; i < c->columns_n; i++) {
        if (str_ieq(name, str_of(c->columns[i].name))) return &c->columns[i];
    }
    return NULL;
}

static void check_column(const struct checking *c, const struct expectation *e, const struct yaml_node *node) {
    if (find_column(c, node->text)) return;
    const char **names = arena_new_array(c->arena, const char *, c->columns_n + 1);
    for (size_t i = 0; i < c->columns_n; i++) names[i] = c->columns[i].name;
    config_problem_add(c->problems, false, node->line, node->column, "%s: the table has no column \"" STR_FMT "\"%s", e->type, STR_ARG(node->text),
        expect_suggest(c->arena, node->text.p, names, c->columns_n));
}

/* Only what is certain without an engine: a text beside numbers. */
static void check_value(const struct checking *c, const struct flow_column *column, const struct yaml_node *value) {
    if (!column || !column->type || value->is_null || value->kind != YAML_TEXT || !type_is_number(column->type) || text_is_number(value->text)) return;
    config_problem_add(c->problems, false, value->line, value->column, "\"" STR_FMT "\" is no number, %s is %s", STR_ARG(str_head(value->raw, 60)),
        column->name, column->type);
}

static void check_values(const struct checking *c, const struct expectation *e, enum argument_type type, const struct yaml_node *node) {
    const struct flow_column *column = find_column(c, argument_text(e, "column"));
    if (type == ARGUMENT_VALUE) check_value(c, column, node);
    for (size_t i = 0; type == ARGUMENT_VALUES && i < node->n; i++) check_value(c, column, node->items[i]);
    for (size_t i = 0; type == ARGUMENT_PAIRS && i < node->n; i++) {
        check_value(c, find_column(c, argument_text(e, "column_A")), node->items[i]->items[0]);
        check_value(c, find_column(c, argument_text(e, "column_B")), node->items[i]->items[1]);
    }
    const struct yaml_node *ranges = type == ARGUMENT_QUANTILES ? yaml_get(node, "value_ranges") : NULL;
    for (size_t i = 0; ranges && i < ranges->n; i++) {
        check_value(c, column, ranges->items[i]->items[0]);
        check_value(c, column, ranges->items[i]->items[1]);
    }
}

static void check_one(const struct checking *c, const struct expectation *e) {
    for (size_t i = 0; i < EXPECT_ARGUMENTS_MAX && e->kind->arguments[i].name; i++) {
        const struct expect_argument *a = &e->kind->arguments[i];
        const struct yaml_node *node = argument(e, a->name);
        if (!node) continue;
        if (a->type == ARGUMENT_COLUMN) check_column(c, e, node);
        for (size_t k = 0; a->type == ARGUMENT_COLUMNS && k < node->n; k++) check_column(c, e, node->items[k]);
        check_values(c, e, a->type, node);
    }
}

bool expect_check_columns(
    struct arena *arena, const struct expect_suite *suite, const struct flow_column *columns, size_t columns_n, struct config_problems *problems) {
    must(arena && suite && problems && (columns || !columns_n));
    size_t errors = problems->errors;
    struct checking c = {arena, columns, columns_n, problems};
    for (size_t i = 0; i < suite->n; i++) check_one(&c, &suite->list[i]);
    return problems->errors == errors;
}

/* ---- the document ---- */

static void write_arguments(const struct expectation_kind *kind, struct buf *out) {
    for (size_t i = 0; i < EXPECT_ARGUMENTS_MAX && kind->arguments[i].name; i++) {
        const struct expect_argument *a = &kind->arguments[i];
        buf_printf(out, "%s%s`%s`", i ? ", " : "", a->required ? "" : "*", a->name);
        if (a->choices) {
            struct str rest = str_of(a->choices);
            buf_text(out, " (");
            for (bool first = true; rest.p; first = false) {
                struct str one = str_cut(&rest, '|');
                buf_printf(out, "%s`" STR_FMT "`", first ? "" : ", ", STR_ARG(one));
            }
            buf_char(out, ')');
        }
        buf_text(out, a->required ? "" : "*");
    }
}

void expect_write_md(struct buf *out) {
    static const char *const titles[] = {"about single rows", "about rows among others", "about the table"};
    for (int scope = EXPECT_ROWS; scope <= EXPECT_TABLE; scope++) {
        buf_printf(out, "### Expectations %s\n| expectation | arguments | passes when |\n|---|---|---|\n", titles[scope]);
        for (size_t i = 0; i < expectation_kinds_n; i++) {
            const struct expectation_kind *kind = &expectation_kinds[i];
            if ((int)kind->scope != scope) continue;
            buf_printf(out, "| `%s` | ", kind->type);
            write_arguments(kind, out);
            buf_printf(out, " | %s |\n", kind->help);
        }
        buf_text(out, scope == EXPECT_TABLE ? "" : "\n");
    }
}
