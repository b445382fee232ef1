/* Binding: every model's SQL is bound in topological order against empty tables with its inputs' columns, so that unknown columns, functions and wrong types
 * are found with file and line before anything runs, and every model knows the columns of its output. */
#include <string.h>

#include "base/assert.h"
#include "flow/expect.h"
#include "flow/flow_priv.h"

#define PIECE_ROUNDS_MAX 4

#define says(b, m, line, column, ...) \
    ((b)->r->problems->file = (m)->pub.file, (m)->broken = true, config_problem_add((b)->r->problems, false, line, column, __VA_ARGS__))

/* The SQL is wrong, as opposed to the machine. */
static bool is_users_fault(enum status st) { return st == E_INVALID || st == E_UNSUPPORTED || st == E_DENIED || st == E_NOT_FOUND; }

/* ---- columns of a SELECT ---- */

static enum status describe(struct binder *b, const char *sql, struct flow_column **out, size_t *n, struct err *err) {
    BUF_SCOPE(text);
    buf_text(&text, "SELECT column_name, column_type FROM (DESCRIBE\n");
    buf_text(&text, sql);
    buf_text(&text, "\n)");
    json_t *rows;
    enum status st = work_rows(b->work, buf_cstr(&text), &rows, err);
    if (st != OK) return st;
    *n = json_array_size(rows);
    *out = arena_new_array(b->r->arena, struct flow_column, *n + 1);
    for (size_t i = 0; i < *n; i++) {
        const json_t *row = json_array_get(rows, i);
        const char *type = cell_text(row, "column_type"), *name = cell_text(row, "column_name");
        if (!type || !name) {
            json_decref(rows);
            return err_set(err, E_INVALID, "this is not one SELECT");
        }
        (*out)[i].name = arena_strdup(b->r->arena, name);
        (*out)[i].type = strcmp(type, "\"NULL\"") == 0 ? "INTEGER" : arena_strdup(b->r->arena, type);
    }
    json_decref(rows);
    return OK;
}

/* Says the engine's message at its place. The SELECT stood in a statement of its own, one line down. first_line: of the SQL in the file. */
static void say_error(struct binder *b, struct model *m, const char *what, const char *sql, int first_line, int first_column, const struct err *err) {
    const char *message;
    int line = 2, column = 1;
    BUF_SCOPE(shifted);
    buf_char(&shifted, '\n');
    buf_text(&shifted, sql);
    if (!engine_error_place(b->r->arena, buf_cstr(&shifted), err->text, &message, &line, &column)) line = 2, column = 1;
    bool first = line <= 2;
    says(b, m, first_line + (first ? 0 : line - 2), first ? first_column + column - 1 : column, "%s%s", what, message);
}

/* A text of the header and what the engine says about the statement made of it, in which the text begins at byte `begin`. */
static void say_of_text(
    struct binder *b, struct model *m, const char *what, const struct yaml_node *node, const char *sql, size_t begin, const struct err *err) {
    const char *message;
    int line = m->header_line, column = 1;
    if (node) yaml_text_place(node, 0, &line, &column);
    int sql_line, sql_column;
    if (engine_error_place(b->r->arena, sql, err->text, &message, &sql_line, &sql_column) && node) {
        size_t at = text_offset(sql, sql_line, sql_column);
        if (at >= begin) yaml_text_place(node, at - begin, &line, &column);
    }
    says(b, m, line, column, "%s%s", what, message);
}

/* Where a key of the header has its value; the header's first line when it is not there. */
static void place_of_key(const struct model *m, const char *key, const char *below, int *line, int *column) {
    const struct yaml_node *node = yaml_get(m->header, key);
    if (below && yaml_get(node, below)) node = yaml_get(node, below);
    *line = node ? node->line : m->header_line;
    *column = node ? node->column : 1;
}

static const struct flow_column *column_of(const struct flow_column *columns, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(str_of(columns[i].name), str_of(name))) return &columns[i];
    }
    return NULL;
}

static const char *suggest_column(struct binder *b, const struct flow_column *columns, size_t n, const char *name) {
    const char **names = arena_new_array(b->r->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) names[i] = columns[i].name;
    return flow_suggest(b->r->arena, name, names, n);
}

/* ---- stand-ins ---- */

static enum status make_table(
    struct binder *b, const char *schema, const char *name, const struct flow_column *columns, size_t n, bool hidden_too, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS ");
    sql_name(&sql, schema);
    buf_text(&sql, "; CREATE OR REPLACE TABLE ");
    sql_table(&sql, schema, name);
    buf_text(&sql, " (");
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (columns[i].hidden && !hidden_too) continue;
        if (any) buf_text(&sql, ", ");
        any = true;
        sql_name(&sql, columns[i].name);
        buf_printf(&sql, " %s", columns[i].type);
    }
    buf_char(&sql, ')');
    return any ? work_rows(b->work, buf_cstr(&sql), NULL, err) : OK;
}

static enum status make_bronze(struct binder *b, struct err *err) {
    for (size_t i = 0; b->bronze && i < b->bronze->tables_n; i++) {
        const struct engine_table *t = &b->bronze->tables[i];
        if (strcmp(t->schema, "bronze") != 0 || !t->columns_n) continue;
        struct flow_column *columns = arena_new_array(b->r->arena, struct flow_column, t->columns_n);
        for (size_t k = 0; k < t->columns_n; k++) columns[k] = (struct flow_column){.name = t->columns[k].name, .type = t->columns[k].type};
        enum status st = make_table(b, t->schema, t->name, columns, t->columns_n, true, err);
        if (st != OK) return st;
    }
    return OK;
}

/* ---- pieces of merge models ---- */

static enum status piece_types(
    struct binder *b, struct model *m, const struct flow_column *out, size_t out_n, struct flow_column **pieces, size_t *n, struct err *err) {
    enum status st = make_table(b, "this", "result", out, out_n, true, err);
    if (st != OK) return st;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT * FROM this.pieces UNION ALL BY NAME SELECT ");
    sql_columns(&sql, "", *pieces, *n);
    buf_text(&sql, " FROM this.result");
    return describe(b, buf_cstr(&sql), pieces, n, err);
}

static bool same_types(const struct flow_column *a, const struct flow_column *b, size_t n, const char **differs) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(a[i].type, b[i].type) == 0) continue;
        *differs = a[i].name;
        return false;
    }
    return true;
}

static bool pieces_fit(struct binder *b, struct model *m, const struct flow_column *pieces, size_t n, const struct flow_column *out, size_t out_n) {
    for (size_t i = 0; i < n; i++) {
        if (column_of(out, out_n, pieces[i].name)) continue;
        says(b, m, m->pub.rows_line, 1,
            "rows gives a column %s that the SELECT does not: its rows could not become pieces again (name it, and list it under state)", pieces[i].name);
        return false;
    }
    return true;
}

/* Types of pieces and result depend on each other (a sum is wider than what it adds up): repeated until they hold still. */
static enum status bind_merge(struct binder *b, struct model *m, struct flow_column **out, size_t *out_n, struct err *err) {
    struct err local;
    struct flow_column *pieces;
    size_t n;
    enum status st = describe(b, m->pub.rows, &pieces, &n, &local);
    if (is_users_fault(st)) say_of_text(b, m, "rows: ", yaml_get(m->header, "rows"), arena_printf(b->r->arena, "\n%s", m->pub.rows), 1, &local);
    if (st != OK) return is_users_fault(st) ? OK : err_set(err, st, "%s", local.text);
    for (int round = 0;; round++) {
        st = make_table(b, "this", "pieces", pieces, n, true, err);
        if (st != OK) return st;
        st = describe(b, m->pub.sql, out, out_n, &local);
        if (is_users_fault(st)) say_error(b, m, "", m->pub.sql, m->pub.sql_line, m->sql_column, &local);
        if (st != OK) return is_users_fault(st) ? OK : err_set(err, st, "%s", local.text);
        if (!pieces_fit(b, m, pieces, n, *out, *out_n)) return OK;
        struct flow_column *wider = pieces;
        size_t wider_n = n;
        st = piece_types(b, m, *out, *out_n, &wider, &wider_n, &local);
        const char *differs = NULL;
        if (is_users_fault(st)) says(b, m, m->pub.rows_line, 1, "rows and the SELECT do not fit together: %s", local.text);
        if (st != OK) return is_users_fault(st) ? OK : err_set(err, st, "%s", local.text);
        if (same_types(wider, pieces, n, &differs)) break;
        if (round == PIECE_ROUNDS_MAX) {
            says(b, m, m->pub.rows_line, 1, "the type of %s changes every time rows are merged; cast it in the SELECT", differs);
            return OK;
        }
        pieces = wider;
    }
    m->piece_columns = pieces;
    m->piece_columns_n = n;
    return OK;
}

/* ---- names of the header ---- */

static void check_names(struct binder *b, struct model *m, const char *what, const struct names_at *names) {
    for (size_t i = 0; i < names->n; i++) {
        const struct name_at *at = &names->list[i];
        if (column_of(m->pub.columns, m->pub.columns_n, at->name)) continue;
        if (at->line) {
            says(b, m, at->line, at->column, "%s: the SELECT gives no column %s%s", what, at->name,
                suggest_column(b, m->pub.columns, m->pub.columns_n, at->name));
        } else {
            says(b, m, m->header_line, 1, "the newest row of a key is found by %s, which the SELECT does not give: add it, or say order", at->name);
        }
    }
}

static void check_header_names(struct binder *b, struct model *m) {
    struct names_at time = {&m->time_at, m->time_at.name != NULL}, together = {&m->together_at, m->together_at.name != NULL};
    check_names(b, m, "key", &m->key);
    check_names(b, m, "time", &time);
    check_names(b, m, "together", &together);
    check_names(b, m, "within", &m->within);
    check_names(b, m, "by", &m->by);
    check_names(b, m, "state", &m->state);
    bool event_key = m->key.n == 1 && strcmp(m->key.list[0].name, "_event_id") == 0; /* one row per event: nothing to choose from */
    if (m->pub.kind == FLOW_STREAM && m->key.n && (m->order_given || !event_key)) check_names(b, m, "order", &m->order);
    for (size_t i = 0; i < m->notes_n; i++) {
        const struct name_at *at = &m->notes[i].column;
        if (!column_of(m->pub.columns, m->pub.columns_n, at->name)) {
            says(b, m, at->line, at->column, "columns: the SELECT gives no column %s%s", at->name,
                suggest_column(b, m->pub.columns, m->pub.columns_n, at->name));
        }
    }
}

/* DuckDB's parser decides: texts of users that go into statements must not end them. */
static enum status one_select(struct binder *b, const char *text, size_t *error_at, struct err *err) {
    *error_at = 0;
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT CAST(json_serialize_sql(");
    sql_text(&sql, text);
    buf_text(&sql, ") AS VARCHAR) AS tree");
    json_t *rows;
    enum status st = work_rows(b->work, buf_cstr(&sql), &rows, err);
    if (st != OK) return st;
    const char *tree = cell_text(json_array_get(rows, 0), "tree");
    struct model *scratch = arena_new_one(b->r->arena, struct model);
    struct name_at at = {"", 1, 1};
    scratch->pub.sql = "";
    st = graph_read_tree(b->r->arena, scratch, str_of(tree ? tree : ""), &at, error_at, err);
    json_decref(rows);
    return st;
}

/* *error_at: of the expression. */
static enum status one_expression(struct binder *b, const char *text, size_t *error_at, struct err *err) {
    static const char head[] = "SELECT (";
    BUF_SCOPE(sql);
    buf_printf(&sql, "%s%s\n)", head, text);
    enum status st = one_select(b, buf_cstr(&sql), error_at, err);
    *error_at = *error_at > strlen(head) ? *error_at - strlen(head) : 0;
    return st;
}

/* A condition of the header, of which `node` is the text, over rows of `from`. */
static enum status check_condition(struct binder *b, struct model *m, const char *what, const struct yaml_node *node, const char *from,
    const char *sql_condition, const char *behind, struct err *err) {
    BUF_SCOPE(sql);
    struct err local;
    struct flow_column *columns;
    size_t n;
    buf_printf(&sql, "SELECT 1 AS one FROM %s WHERE (", from);
    size_t begin = sql.n;
    buf_printf(&sql, "%s)%s", sql_condition, behind);
    size_t error_at;
    enum status st = one_expression(b, sql_condition, &error_at, &local);
    bool alone = st != OK;
    if (st == OK) st = describe(b, buf_cstr(&sql), &columns, &n, &local);
    if (st == OK || !is_users_fault(st)) return st == OK ? OK : err_set(err, st, "%s", local.text);
    int line = m->header_line, column = 1;
    if (node) yaml_text_place(node, error_at, &line, &column);
    if (alone)
        says(b, m, line, column, "%s: %s", what, local.text);
    else
        say_of_text(b, m, arena_printf(b->r->arena, "%s: ", what), node, arena_printf(b->r->arena, "\n%s", buf_cstr(&sql)), begin + 1, &local);
    return OK;
}

static enum status check_emit_columns(struct binder *b, struct model *m, const char *from, struct err *err) {
    const struct yaml_node *list = yaml_get(yaml_get(m->header, "emit"), "columns");
    enum status st = OK;
    for (size_t i = 0; i < m->emit_columns_n && st == OK; i++) {
        const struct emit_column *column = &m->emit_columns[i];
        const struct yaml_node *node = list->kind == YAML_LIST ? list->items[i] : list->pairs[i].value;
        if (column->sql) {
            st = check_condition(b, m, arena_printf(b->r->arena, "emit.columns, %s", column->name), node, from, column->sql, " IS NULL", err);
        } else if (!column_of(m->pub.columns, m->pub.columns_n, column->name)) {
            says(b, m, node->line, node->column, "emit.columns: the SELECT gives no column %s%s", column->name,
                suggest_column(b, m->pub.columns, m->pub.columns_n, column->name));
        }
    }
    return st;
}

static bool is_made_from(const struct model *m, const char *stream) {
    for (size_t i = 0; i < m->pub.inputs_n; i++) {
        if (strcmp(m->pub.inputs[i].schema, "bronze") == 0 && strcmp(m->pub.inputs[i].name, stream) == 0) return true;
    }
    bool found = false; /* as deep as the graph, which has no circles here */
    for (size_t i = 0; i < m->needs_n && !found; i++) found = is_made_from(m->needs[i], stream);
    return found;
}

static void check_emit_stream(struct binder *b, struct model *m) {
    int line, column;
    const char *stream = m->pub.emit.stream;
    place_of_key(m, "emit", "stream", &line, &column);
    if (b->config && !config_find_stream(b->config, str_of(stream))) {
        const char **names = arena_new_array(b->r->arena, const char *, b->config->streams_n + 1);
        for (size_t i = 0; i < b->config->streams_n; i++) names[i] = b->config->streams[i].name;
        says(b, m, line, column, "emit: there is no stream %s%s; its events need one under streams: in " CONFIG_FILE, stream,
            flow_suggest(b->r->arena, stream, names, b->config->streams_n));
    }
    if (!is_made_from(m, stream)) return;
    b->r->problems->file = m->pub.file;
    config_problem_add(b->r->problems, true, line, column,
        "emit: %s is made from the stream %s itself; without a condition that ends it, its events go round for ever", m->pub.full, stream);
}

/* What a stream model leaves out: a condition is counted over its inputs. A sentence is taken at its word, which is said; what is SQL and does not fit is more
 * likely a mistake than a sentence. */
static enum status check_drops(struct binder *b, struct model *m, struct err *err) {
    struct err local;
    m->drops_is_sql = m->pub.drops != NULL;
    if (!m->pub.drops || m->pub.kind != FLOW_STREAM) return OK;
    const struct yaml_node *node = yaml_get(m->header, "drops");
    size_t error_at;
    enum status st = one_expression(b, m->pub.drops, &error_at, &local);
    if (st != OK && !is_users_fault(st)) return err_set(err, st, "%s", local.text);
    if (st == E_INVALID) {
        m->drops_is_sql = false;
        m->pub.drops_by_word = true;
        b->r->problems->file = m->pub.file;
        config_problem_add(b->r->problems, true, node->line, node->column,
            "drops is a sentence: whatever is missing is put down to it, and a loss would not show; a condition over the inputs would be counted");
        return OK;
    }
    st = OK;
    for (size_t i = 0; st == OK && !m->broken && i < m->pub.inputs_n; i++) {
        const struct flow_input *in = &m->pub.inputs[i];
        if (in->lookup || (in->model && in->model->kind == FLOW_VIEW)) continue;
        BUF_SCOPE(from);
        sql_table(&from, in->schema, in->name);
        st = check_condition(b, m, arena_printf(b->r->arena, "drops, over %s", in->full), node, buf_cstr(&from), m->pub.drops, "", err);
    }
    return st;
}

static enum status check_conditions(struct binder *b, struct model *m, struct err *err) {
    enum status st = OK;
    const struct yaml_node *emit = yaml_get(m->header, "emit");
    BUF_SCOPE(self);
    sql_table(&self, m->pub.schema, m->pub.name);
    if (m->pub.deletes) st = check_condition(b, m, "deletes", yaml_get(m->header, "deletes"), buf_cstr(&self), m->pub.deletes, "", err);
    if (st == OK) st = check_drops(b, m, err);
    if (st == OK && m->pub.emit.stream) {
        buf_text(&self, " AS old, ");
        sql_table(&self, m->pub.schema, m->pub.name);
        buf_text(&self, " AS new");
        if (m->pub.emit.when) st = check_condition(b, m, "emit.when", yaml_get(emit, "when"), buf_cstr(&self), m->pub.emit.when, "", err);
        if (st == OK) st = check_emit_columns(b, m, buf_cstr(&self), err);
        check_emit_stream(b, m);
    }
    return st;
}

/* ---- what strategies need of the inputs ---- */

static void check_by(struct binder *b, struct model *m) {
    for (size_t k = 0; k < m->by.n; k++) {
        const struct name_at *at = &m->by.list[k];
        if (m->pub.merge) {
            if (!column_of(m->piece_columns, m->piece_columns_n, at->name)) says(b, m, at->line, at->column, "by: rows gives no column %s", at->name);
            continue;
        }
        for (size_t i = 0; i < m->pub.inputs_n; i++) {
            const struct flow_input *in = &m->pub.inputs[i];
            if (in->lookup || !in->model || in->model->kind == FLOW_VIEW || !in->model->bound) continue;
            if (column_of(in->model->columns, in->model->columns_n, at->name)) continue;
            says(b, m, at->line, at->column, "by: %s has no column %s; list it under lookups, or restate by other columns", in->full, at->name);
        }
    }
}

/* ---- one model ---- */

/* A column rowid would hide the one by which rows are found and deleted. */
static bool is_own_name(const char *name) {
    static const char *const own[] = {"_version", "rowid", "cupel_row_", "cupel_rows_", "cupel_n_", "cupel_is_"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (str_ieq(str_of(name), str_of(own[i]))) return true;
    }
    return false;
}

static void take_columns(struct binder *b, struct model *m, struct flow_column *columns, size_t n) {
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < m->notes_n; k++) {
            if (str_ieq(str_of(m->notes[k].column.name), str_of(columns[i].name))) columns[i].description = m->notes[k].text;
        }
        for (size_t k = 0; k < m->state.n; k++) {
            if (str_ieq(str_of(m->state.list[k].name), str_of(columns[i].name))) columns[i].hidden = true;
        }
        for (size_t k = 0; k < i; k++) {
            if (str_ieq(str_of(columns[k].name), str_of(columns[i].name)))
                says(b, m, m->pub.sql_line, 1, "two columns of the SELECT are named %s", columns[i].name);
        }
        if (is_own_name(columns[i].name)) says(b, m, m->pub.sql_line, 1, "%s is a column of Cupel's own; name yours otherwise", columns[i].name);
    }
    m->pub.columns = columns;
    m->pub.columns_n = n;
    m->pub.bound = !m->broken;
}

static bool inputs_bound(const struct model *m) {
    for (size_t i = 0; i < m->needs_n; i++) {
        if (!m->needs[i]->pub.bound) return false;
    }
    return true;
}

/* ---- references ---- */

#define REJECTS_SHOWN 5

static void say_rejects(struct binder *b, struct model *m, const json_t *rows) {
    size_t i;
    json_t *row;
    b->r->problems->file = m->pub.file;
    json_array_foreach(rows, i, row) {
        const char *text = cell_text(row, "error_message");
        int line = (int)cell_int(row, "line");
        if (i == 0) m->rejects = arena_printf(b->r->arena, "%s, line %d: %s", m->pub.file, line, text ? text : "the row does not fit");
        config_problem_add(b->r->problems, false, line, 1, "%s", text ? text : "the row does not fit");
        b->rejects++;
    }
}

/* Every row is read: what does not fit would fail the run, or change what the columns are. *sql: what the columns are told by. */
static enum status check_rows(struct binder *b, struct model *m, const char **sql, struct err *err) {
    struct arena *arena = b->r->arena;
    const char *rejects = arena_printf(arena, "rejects_%zu", m->place), *telling = reference_sql_telling(arena, m, rejects);
    struct err local;
    json_t *rows = NULL;
    enum status st = work_rows(b->work, arena_printf(arena, "SELECT count(COLUMNS(*)) FROM (%s)", telling), NULL, &local);
    if (is_users_fault(st) || st == E_IO || st == E_LIMIT) return OK; /* said by who asks for the columns */
    if (st == OK) {
        BUF_SCOPE(select);
        buf_printf(&select, "SELECT line, first(error_message) AS error_message FROM %s GROUP BY line ORDER BY line LIMIT %d", rejects, REJECTS_SHOWN);
        st = work_rows(b->work, buf_cstr(&select), &rows, &local);
    }
    if (st != OK) return err_set(err, st, "%s", local.text);
    if (json_array_size(rows)) {
        say_rejects(b, m, rows);
        *sql = telling;
    }
    json_decref(rows);
    return OK;
}

static enum status bind_select(struct binder *b, struct model *m, struct flow_column **columns, size_t *n, struct err *err) {
    struct err local;
    const char *sql = m->pub.kind == FLOW_REFERENCE ? reference_sql(b->r->arena, m) : m->pub.sql;
    enum status st = m->pub.kind == FLOW_REFERENCE ? check_rows(b, m, &sql, err) : OK;
    if (st != OK) return st;
    st = describe(b, sql, columns, n, &local);
    if (st == OK) return OK;
    bool of_file = m->pub.kind == FLOW_REFERENCE && (st == E_IO || st == E_CORRUPT || st == E_LIMIT);
    if (!is_users_fault(st) && !of_file) return err_set(err, st, "%s", local.text);
    if (m->pub.kind == FLOW_REFERENCE) {
        const char *message;
        int line, column;
        (void)engine_error_place(b->r->arena, sql, local.text, &message, &line, &column);
        says(b, m, 0, 0, "%s", message);
    } else {
        say_error(b, m, "", sql, m->pub.sql_line, m->sql_column, &local);
    }
    return OK;
}

static enum status bind_model(struct binder *b, struct model *m, struct err *err) {
    if (m->broken || !inputs_bound(m)) return OK; /* said already, or said of what it reads */
    struct flow_column *columns = NULL;
    size_t n = 0;
    enum status st = m->pub.merge ? bind_merge(b, m, &columns, &n, err) : bind_select(b, m, &columns, &n, err);
    if (st != OK || m->broken) return st;
    take_columns(b, m, columns, n);
    if (m->broken) return OK;
    check_header_names(b, m);
    if (m->pub.kind == FLOW_INCREMENTAL && !m->broken) check_by(b, m);
    st = make_table(b, m->pub.schema, m->pub.name, columns, n, true, err); /* conditions may look at state */
    if (st == OK && !m->broken) st = check_conditions(b, m, err);
    if (st == OK && m->state.n) st = make_table(b, m->pub.schema, m->pub.name, columns, n, false, err);
    return st;
}

static enum status bind_in_time(const struct binder *b, struct err *err) {
    if (!b->until_ms || host_monotonic_ms(b->host) < b->until_ms) return OK;
    return err_set(err, E_TIMEOUT, "binding the models took longer than its limit");
}

enum status bind_models(struct binder *b, struct err *err) {
    must(b && b->work && b->set);
    const char *file = b->r->problems->file;
    enum status st = make_bronze(b, err);
    for (size_t i = 0; i < b->set->n && st == OK; i++) {
        st = bind_in_time(b, err);
        if (st == OK) st = bind_model(b, b->set->models[i], err);
    }
    b->r->problems->file = file;
    return st;
}

/* ---- expectations ---- */

#define FAILURES_HEAD "INSERT INTO this.failures (row, expectation)\n"

/* Its statement as a run makes it, over a stand-in of the batch. */
static void expectation_sql(const struct model *m, const struct expectation *e, struct buf *out) {
    struct expect_suite one = *m->suite;
    one.list = e;
    one.n = 1;
    struct expect_batch batch = {
        .part = EXPECT_ONLY_TABLE, .rows = "this.batch", .failures = "this.failures", .columns = m->pub.columns, .columns_n = m->pub.columns_n};
    if (e->scope == EXPECT_TABLE)
        expect_results_sql(&one, &batch, out);
    else
        expect_failures_sql(&one, &batch, out);
}

static enum status bind_expectation(struct binder *b, struct model *m, const struct expectation *e, struct err *err) {
    BUF_SCOPE(sql);
    struct err local;
    struct flow_column *columns;
    size_t n, head = strlen(FAILURES_HEAD);
    expectation_sql(m, e, &sql);
    while (sql.n && strchr("; \n", sql.p[sql.n - 1])) sql.n--;
    const char *select = buf_cstr(&sql);
    if (strncmp(select, FAILURES_HEAD, head) == 0) select += head;
    size_t error_at;
    enum status st = e->row_condition ? one_expression(b, e->row_condition, &error_at, &local) : OK;
    if (st == OK) st = one_select(b, select, &error_at, &local);
    if (st == OK) st = describe(b, select, &columns, &n, &local);
    if (st == OK || !is_users_fault(st)) return st == OK ? OK : err_set(err, st, "%s", local.text);
    const char *message;
    int line, column;
    (void)engine_error_place(b->r->arena, select, local.text, &message, &line, &column);
    b->r->problems->file = m->suite->file;
    config_problem_add(b->r->problems, false, e->line, e->column_at, "%s: %s", e->type, message);
    return OK;
}

enum status bind_suites(struct binder *b, struct err *err) {
    must(b && b->work && b->set);
    const char *file = b->r->problems->file;
    enum status st = OK;
    for (size_t i = 0; i < b->set->n && st == OK; i++) {
        struct model *m = b->set->models[i];
        if (!m->suite || !m->pub.bound) continue;
        st = bind_in_time(b, err);
        if (st == OK) st = make_table(b, "this", "batch", m->pub.columns, m->pub.columns_n, true, err);
        for (size_t k = 0; k < m->suite->n && st == OK; k++) st = bind_expectation(b, m, &m->suite->list[k], err);
    }
    b->r->problems->file = file;
    return st;
}
