/* What the rest of the project says about models and tables: flows with the SQL of their steps, and tables that are declared and not made yet.
 *
 * A step's SQL is a user's statement. It is asked of the engine as the schedule asks it, with the same rules, over empty stand-ins: the models' tables as they
 * are bound now, which the warehouse may not have yet, or has with other columns. */
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"
#include "flow/select.h"

#define STEP_TIME_MS 30000 /* of describing one statement over empty tables */
#define STAND_IN_VERSIONS (UINT64_C(1) << 63) /* the lake counts from 1: no version of a stand-in is one of a table */

/* ---- tables that are declared ---- */

static const struct engine_column stream_columns[] = {{.name = "_event_id", .type = "UUID"}, {.name = "_stream", .type = "VARCHAR"},
    {.name = "_partition", .type = "INTEGER"}, {.name = "_offset", .type = "BIGINT"}, {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"},
    {.name = "_source", .type = "VARCHAR"}, {.name = "_key", .type = "VARCHAR"}, {.name = "_headers", .type = "MAP(VARCHAR, VARCHAR)"},
    {.name = "_content_type", .type = "VARCHAR"}, {.name = "payload", .type = "VARCHAR"}, {.name = "_body", .type = "BLOB"},
    {.name = "_valid_json", .type = "BOOLEAN"}};
static const struct engine_column landing_columns[] = {{.name = "_event_id", .type = "UUID"}, {.name = "_file", .type = "VARCHAR"},
    {.name = "_file_hash", .type = "VARCHAR"}, {.name = "_row", .type = "BIGINT"}, {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"}};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static bool has_table(const struct engine_view *view, const char *name) {
    for (size_t i = 0; i < view->tables_n; i++) {
        if (strcmp(view->tables[i].schema, "bronze") == 0 && strcmp(view->tables[i].name, name) == 0) return true;
    }
    return false;
}

static struct engine_table landing_table(struct arena *arena, const struct config_source *source) {
    struct engine_column *columns = arena_new_array(arena, struct engine_column, COUNT(landing_columns) + source->columns_n + 1);
    memcpy(columns, landing_columns, sizeof landing_columns);
    for (size_t i = 0; i < source->columns_n; i++) columns[COUNT(landing_columns) + i] = (struct engine_column){.name = source->columns[i], .type = "VARCHAR"};
    return (struct engine_table){
        .schema = "bronze", .name = source->table + strlen("bronze."), .columns = columns, .columns_n = COUNT(landing_columns) + source->columns_n};
}

const struct engine_view *view_with_declared(struct arena *arena, const struct engine_view *view, const struct config *config) {
    if (!view || !config) return view;
    struct engine_view *all = arena_new_one(arena, struct engine_view);
    struct engine_table *tables = arena_new_array(arena, struct engine_table, view->tables_n + config->streams_n + config->sources_n + 1);
    *all = *view;
    if (view->tables_n) memcpy(tables, view->tables, view->tables_n * sizeof *tables);
    all->tables = tables;
    for (size_t i = 0; i < config->streams_n; i++) {
        if (has_table(all, config->streams[i].name)) continue;
        tables[all->tables_n++] = (struct engine_table){
            .schema = "bronze", .name = config->streams[i].name, .columns = stream_columns, .columns_n = COUNT(stream_columns), .has_log = true};
    }
    for (size_t i = 0; i < config->sources_n; i++) {
        const struct config_source *source = &config->sources[i];
        if (source->type != SOURCE_LANDING || !source->table || has_table(all, source->table + strlen("bronze."))) continue;
        tables[all->tables_n++] = landing_table(arena, source);
    }
    return all;
}

/* ---- stand-ins for what a statement names ---- */

struct stand_ins {
    struct binder *b;
    struct engine_table *tables;
    size_t n;
    bool unbound; /* one of them has something wrong that was said: what follows from it is not */
};

static uint64_t next_version(void) {
    static _Atomic uint64_t number = STAND_IN_VERSIONS;
    return number++;
}

static void add(struct stand_ins *s, const char *schema, const char *name, const struct engine_column *columns, size_t n) {
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->tables[i].schema, schema) == 0 && strcmp(s->tables[i].name, name) == 0) return;
    }
    s->tables[s->n++] = (struct engine_table){.schema = schema, .name = name, .version = next_version(), .columns = columns, .columns_n = n};
}

static void add_model(struct stand_ins *s, const struct model *m) {
    struct engine_column *columns = arena_new_array(s->b->r->arena, struct engine_column, m->pub.columns_n + 1);
    size_t n = 0;
    s->unbound = s->unbound || !m->pub.bound;
    for (size_t i = 0; m->pub.bound && i < m->pub.columns_n; i++) {
        const struct flow_column *c = &m->pub.columns[i];
        if (!c->hidden) columns[n++] = (struct engine_column){.name = c->name, .type = c->type};
    }
    if (n) add(s, m->pub.schema, m->pub.name, columns, n);
}

/* Made with the first row that is set aside. */
static void add_quarantine(struct stand_ins *s, const char *name) {
    static const struct engine_column columns[] = {{.name = "_event_id", .type = "UUID"}, {.name = "_reason", .type = "VARCHAR"},
        {.name = "_raw", .type = "VARCHAR"}, {.name = "_run_id", .type = "VARCHAR"}, {.name = "_quarantined_at", .type = "TIMESTAMP WITH TIME ZONE"},
        {.name = "_row", .type = "VARCHAR"}};
    for (size_t i = 0; i < s->b->set->n; i++) {
        const struct model *m = s->b->set->models[i];
        const char *own = arena_printf(s->b->r->arena, "%s__%s", m->pub.schema, m->pub.name);
        if (m->pub.kind != FLOW_VIEW && m->pub.kind != FLOW_REFERENCE && str_ieq(str_of(own), str_of(name))) add(s, "quarantine", own, columns, COUNT(columns));
    }
}

static void add_named(struct stand_ins *s, const struct mention *found) {
    struct str schema = str_of(found->schema), name = str_of(found->name);
    for (size_t i = 0; i < s->b->set->n; i++) {
        const struct model *m = s->b->set->models[i];
        if (str_ieq(schema, str_of(m->pub.schema)) && str_ieq(name, str_of(m->pub.name))) add_model(s, m);
    }
    if (str_ieq(schema, STR("quarantine"))) add_quarantine(s, found->name);
    for (size_t i = 0; s->b->bronze && i < s->b->bronze->tables_n; i++) {
        const struct engine_table *t = &s->b->bronze->tables[i];
        if (strcmp(t->schema, "bronze") == 0 && t->columns_n && str_ieq(schema, str_of(t->schema)) && str_ieq(name, str_of(t->name)))
            add(s, t->schema, t->name, t->columns, t->columns_n);
    }
    if (map_get(s->b->set->unread_names, str_of(arena_printf(s->b->r->arena, "%s.%s", found->schema, found->name)))) s->unbound = true;
}

/* ---- the SQL of steps ---- */

struct step_sql {
    struct binder *b;
    const struct config_flow *flow;
    const char *what, *step;
    const struct yaml_node *node; /* the text in cupel.yaml */
    const char *sql;
};

static void say(const struct step_sql *s, size_t at, bool warning, const char *text) {
    int line = s->node->line, column = s->node->column;
    yaml_text_place(s->node, at, &line, &column);
    if (s->node->expanded && !warning) text = "what ${…} makes of this SQL is not valid here (it is not shown, as it may hold secrets)";
    config_problem_add(s->b->r->problems, warning, line, column, "flow %s, step %s, %s: %s", s->flow->name, s->step, s->what, text);
}

/* The engine knows the stand-ins of this statement only, so it cannot say what is near. */
static const char *name_tables(const struct step_sql *s, const char *message) {
    static const char head[] = "There is no table ", tail[] = " (SHOW TABLES lists them)";
    struct arena *arena = s->b->r->arena;
    struct str rest = str_of(message);
    if (!str_starts(rest, str_of(head)) || !str_ends(rest, str_of(tail))) return message;
    const char *name = arena_strndup(arena, rest.p + strlen(head), rest.n - strlen(head) - strlen(tail));
    size_t bronze_n = s->b->bronze ? s->b->bronze->tables_n : 0, n = 0;
    const char **names = arena_new_array(arena, const char *, s->b->set->n + bronze_n + 1);
    for (size_t i = 0; i < s->b->set->n; i++) names[n++] = s->b->set->models[i]->pub.full;
    for (size_t i = 0; i < bronze_n; i++) names[n++] = arena_printf(arena, "%s.%s", s->b->bronze->tables[i].schema, s->b->bronze->tables[i].name);
    const char *schema = strchr(name, '.') ? "" : "; tables are named with their schema";
    return arena_printf(arena, "there is no table %s%s%s", name, schema, flow_suggest(arena, name, names, n));
}

/* The engine's words about a statement in which the SQL begins at line `first`. */
static void say_engine(const struct step_sql *s, const char *statement, int first, const struct err *err) {
    const char *message;
    int line, column;
    bool placed = engine_error_place(s->b->r->arena, statement, err->text, &message, &line, &column) && line >= first;
    say(s, placed ? text_offset(s->sql, line - first + 1, column) : 0, false, name_tables(s, message));
}

static bool is_users_fault(enum status st) { return st == E_INVALID || st == E_UNSUPPORTED || st == E_DENIED || st == E_NOT_FOUND; }

/* By the rules of user SQL. A SELECT is described; what DuckDB has no tree for is asked itself: it is refused, or runs over empty tables. */
static enum status ask(const struct step_sql *s, const struct stand_ins *tables, bool has_tree, struct err *err) {
    struct err local;
    struct engine_call *call = NULL;
    struct engine_view view = {.tables = tables->tables, .tables_n = tables->n};
    const char *statement = has_tree ? arena_printf(s->b->r->arena, "DESCRIBE\n%s", s->sql) : s->sql;
    struct engine_query query = {.sql = str_of(statement), .format = RESULT_NDJSON, .view = &view, .stand_ins = true, .time_ms = STEP_TIME_MS};
    enum status st = engine_query_start(s->b->engine, &query, &call, &local);
    if (call) engine_call_end(&call);
    if (is_users_fault(st)) say_engine(s, statement, has_tree ? 2 : 1, &local);
    if (st == E_BUSY || st == E_TIMEOUT || st == E_LIMIT) say(s, 0, true, arena_printf(s->b->r->arena, "could not be looked at now: %s", local.text));
    return st == E_UNAVAILABLE || st == E_CANCELLED || st == E_INTERNAL ? err_set(err, st, "%s", local.text) : OK;
}

static enum status check_sql(struct step_sql s, struct err *err) {
    struct arena *arena = s.b->r->arena;
    struct model *scratch = arena_new_one(arena, struct model);
    struct name_at at = {"", 1, 1};
    struct stand_ins tables = {.b = s.b};
    struct err local;
    size_t error_at = 0;
    json_t *rows;
    scratch->pub.sql = "";
    BUF_SCOPE(text);
    buf_text(&text, "SELECT CAST(json_serialize_sql(");
    sql_text(&text, s.sql);
    buf_text(&text, ") AS VARCHAR) AS tree");
    enum status st = work_rows(s.b->work, buf_cstr(&text), &rows, err);
    if (st != OK) return st;
    const char *tree = cell_text(json_array_get(rows, 0), "tree");
    enum status parsed = graph_read_tree(arena, scratch, str_of(tree ? tree : ""), &at, &error_at, &local);
    json_decref(rows);
    if (parsed == E_INVALID) {
        say(&s, error_at, false, strcmp(local.text, "a model is one SELECT") == 0 ? "this is not one SELECT" : local.text);
        return OK;
    }
    if (parsed == E_UNSUPPORTED) graph_scan_words(arena, scratch, s.sql, &at);
    size_t bronze_n = s.b->bronze ? s.b->bronze->tables_n : 0;
    tables.tables = arena_new_array(arena, struct engine_table, s.b->set->n * 2 + bronze_n + 1);
    for (size_t i = 0; i < scratch->mentions_n; i++) {
        if (!scratch->mentions[i].is_cte) add_named(&tables, &scratch->mentions[i]);
    }
    return tables.unbound ? OK : ask(&s, &tables, parsed == OK, err);
}

static enum status check_step_sql(struct binder *b, const struct config_flow *flow, const struct config_step *step, struct err *err) {
    struct step_sql s = {.b = b, .flow = flow, .what = "sql", .step = step->name, .node = yaml_get(step->node, "sql"), .sql = step->sql};
    enum status st = step->sql ? check_sql(s, err) : OK;
    s.what = "skip_if", s.node = yaml_get(step->node, "skip_if"), s.sql = step->skip_if;
    return st == OK && step->skip_if ? check_sql(s, err) : st;
}

/* ---- models that flows name ---- */

/* What a selection means hangs on names, and on tags where it says so. */
static bool can_judge(const struct binder *b, const char *selector) {
    bool broken = false;
    for (size_t i = 0; i < b->set->n; i++) broken = broken || b->set->models[i]->broken;
    return !b->set->unread && !(broken && strstr(selector, "tag:"));
}

static void check_selections(struct binder *b, const struct config_flow *flow, const struct config_step *step) {
    ARENA_SCOPE(scratch);
    const struct yaml_node *list = yaml_get(step->node, "models");
    for (size_t i = 0; i < step->models_n; i++) {
        const char *const *names;
        size_t n;
        struct err err;
        const struct yaml_node *node = list && list->kind == YAML_LIST ? list->items[i] : list;
        if (!can_judge(b, step->models[i])) continue;
        if (flow_select(b->set->pub, b->set->n, &step->models[i], 1, scratch, &names, &n, &err) != OK)
            config_problem_add(b->r->problems, false, node ? node->line : flow->line, node ? node->column : 1, "flow %s: %s", flow->name, err.text);
        else if (n == 0)
            config_problem_add(
                b->r->problems, true, node ? node->line : flow->line, node ? node->column : 1, "flow %s: there are no models to run", flow->name);
    }
}

static const struct model *model_named(const struct binder *b, const char *full) { return map_get(b->set->by_name, str_of(full)); }

static void check_tables(struct binder *b, const struct config_flow *flow) {
    const struct yaml_node *list = yaml_get(flow->node, "on");
    const char **names = arena_new_array(b->r->arena, const char *, b->set->n + 1);
    for (size_t i = 0; i < b->set->n; i++) names[i] = b->set->models[i]->pub.full;
    for (size_t i = 0; i < flow->on_n; i++) {
        const struct model *m = model_named(b, flow->on[i]);
        const struct yaml_node *node = list && list->kind == YAML_LIST ? list->items[i] : list;
        int line = node ? node->line : flow->line, column = node ? node->column : 1;
        if (strncmp(flow->on[i], "bronze.", 7) == 0) continue; /* config has looked */
        if (!m && !map_get(b->set->unread_names, str_of(flow->on[i])))
            config_problem_add(b->r->problems, false, line, column, "flow %s: there is no model %s%s", flow->name, flow->on[i],
                flow_suggest(b->r->arena, flow->on[i], names, b->set->n));
        if (m && m->pub.kind == FLOW_VIEW)
            config_problem_add(b->r->problems, false, line, column, "flow %s: %s is a view, which gets nothing new of its own; name the tables that it reads",
                flow->name, flow->on[i]);
    }
}

enum status check_flows(struct binder *b, struct err *err) {
    must(b && b->set && b->config && b->set->unread_names);
    const struct config *config = b->config;
    const char *file = b->r->problems->file;
    enum status st = OK;
    b->r->problems->file = NULL; /* cupel.yaml */
    for (size_t i = 0; i < config->flows_n && st == OK; i++) {
        const struct config_flow *flow = &config->flows[i];
        check_tables(b, flow);
        for (size_t k = 0; k < flow->steps_n && st == OK; k++) {
            check_selections(b, flow, &flow->steps[k]);
            if (b->work) st = check_step_sql(b, flow, &flow->steps[k], err);
        }
    }
    b->r->problems->file = file;
    return st;
}
