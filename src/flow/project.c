/* Loading: the files of models/, expectations/ and reference/ into a set of models. */
#include <ctype.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "flow/expect.h"
#include "flow/flow_priv.h"

struct loading {
    struct flow *flow;
    const struct config *config; /* NULL: only models are looked at */
    int64_t until_ms; /* monotonic; 0: no limit */
    struct model_reader reader;
    struct model_set *set;
    size_t cap;
    size_t errors; /* problems that were there before */
    bool usable; /* the models are good, whatever the flows are */
};

static const char *dir_of(const struct loading *l, const char *below) { return arena_printf(l->reader.arena, "%s/%s", l->flow->options.dir, below); }

/* The name of a file without its ending; NULL: not such a file. */
static const char *stem(struct arena *arena, const char *name, const char *ending) {
    size_t n = strlen(name), e = strlen(ending);
    return n > e && name[0] != '.' && strcmp(name + n - e, ending) == 0 ? arena_strndup(arena, name, n - e) : NULL;
}

static bool add_model(struct loading *l, struct model *m) {
    if (l->set->n == MODELS_MAX) {
        config_problem_add(l->reader.problems, false, 0, 0, "more than %d models", MODELS_MAX);
        return false;
    }
    if (l->set->n == l->cap) {
        struct model **old = l->set->models;
        l->cap = l->cap ? l->cap * 2 : 64;
        l->set->models = arena_new_array(l->reader.arena, struct model *, l->cap);
        if (old) memcpy(l->set->models, old, l->set->n * sizeof *old);
    }
    l->set->models[l->set->n++] = m;
    (void)map_put(l->set->by_name, str_of(m->pub.full), m);
    return true;
}

static enum status read_file(struct loading *l, const char *path, size_t max, struct str *out, struct err *err) {
    const struct fs *fs = l->flow->options.host->fs;
    return fs_read_all(fs, l->reader.arena, path, max, out, err);
}

/* A file of the user's: that it is too large or cannot be opened is said among the other problems, and *out stays empty. */
static enum status read_users(struct loading *l, const char *file, size_t max, struct str *out, struct err *err) {
    struct err local;
    enum status st = read_file(l, dir_of(l, file), max, out, &local);
    if (st == OK || st == E_NO_SPACE || st == E_CANCELLED) return st == OK ? OK : err_set(err, st, "%s", local.text);
    const struct fs *fs = l->flow->options.host->fs;
    struct fs_stat stat = {0};
    l->reader.problems->file = file;
    if (st == E_LIMIT && fs->stat(fs->self, dir_of(l, file), &stat, NULL) == OK)
        config_problem_add(l->reader.problems, false, 0, 0, "the file has %llu bytes, at most %zu are read", (unsigned long long)stat.size_bytes, max);
    else
        config_problem_add(l->reader.problems, false, 0, 0, "the file cannot be read: %s", local.text);
    *out = STR_NULL;
    return OK;
}

/* A folder that is not there has no files. */
static enum status list_dir(struct loading *l, const char *path, struct fs_entry **entries, size_t *n, struct err *err) {
    const struct fs *fs = l->flow->options.host->fs;
    *n = 0;
    if (!fs_exists(fs, path)) return OK;
    return fs->list(fs->self, l->reader.arena, path, entries, n, err);
}

/* ---- models/<schema>/<name>.sql ---- */

static bool name_problem(struct loading *l, const char *schema, const char *name) {
    static const char *const ours[] = {
        "bronze", "ref", "cupel", "cupel_old", "quarantine", "this", "warehouse", "temp", "main", "information_schema", "pg_catalog", "memory", "system"};
    if (!config_name_valid(str_of(schema)) || !config_name_valid(str_of(name))) {
        config_problem_add(l->reader.problems, false, 0, 0, "schema and model are named with small letters, digits and _");
        return true;
    }
    /* <schema>__<name> and <name>__next name the tables beside a model's own: two models must not share them. */
    if (strstr(schema, "__") || strstr(name, "__") || str_ends(str_of(schema), STR("_"))) {
        config_problem_add(l->reader.problems, false, 0, 0, "names have no __ in them, and a schema does not end in _: tables beside the model's are named so");
        return true;
    }
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(schema, ours[i]) != 0) continue;
        config_problem_add(l->reader.problems, false, 0, 0, "the schema %s is Cupel's own; put the model into another folder", schema);
        return true;
    }
    return false;
}

/* It may be a good model but for this: what is said about it elsewhere is not said to be wrong. */
static void note_unread(struct loading *l, const char *schema, const char *name) {
    l->set->unread = true;
    (void)map_put(l->set->unread_names, str_of(arena_printf(l->reader.arena, "%s.%s", schema, name)), l->set);
}

static enum status load_schema(struct loading *l, const char *schema, struct err *err) {
    struct fs_entry *entries;
    size_t n;
    enum status st = list_dir(l, dir_of(l, arena_printf(l->reader.arena, "models/%s", schema)), &entries, &n, err);
    for (size_t i = 0; i < n && st == OK; i++) {
        const char *name = stem(l->reader.arena, entries[i].name, ".sql");
        if (!name || !entries[i].stat.is_file) continue; /* a pipe would wait for ever */
        const char *file = arena_printf(l->reader.arena, "models/%s/%s.sql", schema, name);
        struct str text;
        l->reader.problems->file = file;
        if (name_problem(l, schema, name)) continue;
        st = read_users(l, file, MODEL_FILE_BYTES_MAX, &text, err);
        if (st != OK) return err_prefix(err, "%s", file);
        struct model *m = text.p ? model_read(&l->reader, file, schema, name, text) : NULL;
        if (m && !add_model(l, m)) return OK;
        if (!m) note_unread(l, schema, name);
    }
    return st;
}

static enum status load_models(struct loading *l, struct err *err) {
    struct fs_entry *entries;
    size_t n;
    enum status st = list_dir(l, dir_of(l, "models"), &entries, &n, err);
    for (size_t i = 0; i < n && st == OK; i++) {
        if (entries[i].stat.is_dir && entries[i].name[0] != '.') st = load_schema(l, entries[i].name, err);
        if (entries[i].stat.is_file && stem(l->reader.arena, entries[i].name, ".sql")) {
            l->reader.problems->file = arena_printf(l->reader.arena, "models/%s", entries[i].name);
            config_problem_add(l->reader.problems, false, 0, 0, "models stand in the folder of their schema: models/<schema>/%s", entries[i].name);
        }
    }
    return st;
}

/* ---- reference/<name>.csv ---- */

static enum status load_reference(struct loading *l, const char *name, struct err *err) {
    struct arena *arena = l->reader.arena;
    struct model *m = arena_new_one(arena, struct model);
    const char *file = arena_printf(arena, "reference/%s.csv", name), *settings = dir_of(l, arena_printf(arena, "reference/%s.yaml", name));
    m->pub = (struct flow_model){
        .schema = "ref", .name = name, .full = arena_printf(arena, "ref.%s", name), .file = file, .kind = FLOW_REFERENCE, .sql = "", .sql_line = 1};
    m->source_path = dir_of(l, file);
    m->settings_path = settings;
    struct str yaml = STR_NULL;
    const char *yaml_file = arena_printf(arena, "reference/%s.yaml", name);
    enum status st = OK;
    if (fs_exists(l->flow->options.host->fs, settings)) {
        st = read_users(l, yaml_file, MODEL_FILE_BYTES_MAX, &yaml, err);
        l->reader.problems->file = yaml_file;
        if (st == OK && yaml.p) reference_read_types(&l->reader, m, yaml);
    }
    if (st != OK) return err_prefix(err, "%s", file);
    l->reader.problems->file = file;
    reference_note_loaded(m, l->flow->options.host->fs, yaml);
    m->broken = !reference_fits(&l->reader, l->flow->options.host->fs, m);
    if (!config_name_valid(str_of(name))) {
        config_problem_add(l->reader.problems, false, 0, 0, "a reference is named with small letters, digits and _");
        return OK;
    }
    add_model(l, m);
    return OK;
}

static enum status load_references(struct loading *l, struct err *err) {
    struct fs_entry *entries;
    size_t n;
    enum status st = list_dir(l, dir_of(l, "reference"), &entries, &n, err);
    for (size_t i = 0; i < n && st == OK; i++) {
        const char *name = stem(l->reader.arena, entries[i].name, ".csv");
        if (name && entries[i].stat.is_file) st = load_reference(l, name, err);
    }
    return st;
}

/* ---- expectations/<schema>.<name>.yaml ---- */

static enum status load_suite(struct loading *l, const char *file, const char *table, struct err *err) {
    struct model *m = map_get(l->set->by_name, str_of(table));
    struct str text;
    l->reader.problems->file = file;
    if (!m && map_get(l->set->unread_names, str_of(table))) return OK;
    if (!m || m->pub.kind == FLOW_VIEW) {
        const char **names = arena_new_array(l->reader.arena, const char *, l->set->n + 1);
        for (size_t i = 0; i < l->set->n; i++) names[i] = l->set->models[i]->pub.full;
        const char *near = m ? "; a view has no rows of its own" : flow_suggest(l->reader.arena, table, names, l->set->n);
        config_problem_add(l->reader.problems, false, 0, 0, "there is no table %s to expect something of%s", table, near);
        return OK;
    }
    enum status st = read_users(l, file, EXPECT_FILE_BYTES_MAX, &text, err);
    if (st != OK) return err_prefix(err, "%s", file);
    if (!text.p) return OK;
    struct err local;
    l->reader.problems->file = file;
    st = expect_parse(l->reader.arena, file, table, text, &m->suite, l->reader.problems, &local);
    if (st != OK && st != E_CONFIG) return err_set(err, st, "%s: %s", file, local.text);
    m->pub.suite = m->suite;
    return OK;
}

static enum status load_expectations(struct loading *l, struct err *err) {
    static const char *const endings[] = {".yaml", ".yml", ".json"};
    struct fs_entry *entries;
    size_t n;
    enum status st = list_dir(l, dir_of(l, "expectations"), &entries, &n, err);
    for (size_t i = 0; i < n && st == OK; i++) {
        for (size_t k = 0; k < sizeof endings / sizeof *endings && st == OK; k++) {
            const char *table = stem(l->reader.arena, entries[i].name, endings[k]);
            if (table && entries[i].stat.is_file) st = load_suite(l, arena_printf(l->reader.arena, "expectations/%s", entries[i].name), table, err);
        }
    }
    return st;
}

static void add_more(struct loading *l, struct model *m, struct model *other) {
    if (!other || other == m) return;
    struct model **longer = arena_new_array(l->reader.arena, struct model *, m->more_n + 1);
    if (m->more_n) memcpy(longer, m->more, m->more_n * sizeof *longer);
    longer[m->more_n++] = other;
    m->more = longer;
}

/* Tables that expectations look at: foreign keys, row counts, queries. */
static void find_more(struct loading *l, struct model *m) {
    struct model *scratch = arena_new_one(l->reader.arena, struct model);
    scratch->pub.sql = "";
    for (size_t i = 0; m->suite && i < m->suite->tables_n; i++) add_more(l, m, map_get(l->set->by_name, str_of(m->suite->tables[i])));
    for (size_t i = 0; m->suite && i < m->suite->queries_n; i++) graph_scan_words(l->reader.arena, scratch, m->suite->queries[i], NULL);
    for (size_t i = 0; i < scratch->mentions_n; i++) {
        add_more(l, m, map_get(l->set->by_name, str_of(arena_printf(l->reader.arena, "%s.%s", scratch->mentions[i].schema, scratch->mentions[i].name))));
    }
}

static void check_suites(struct loading *l) {
    for (size_t i = 0; i < l->set->n; i++) {
        struct model *m = l->set->models[i];
        find_more(l, m);
        if (!m->suite || !m->pub.bound) continue;
        l->reader.problems->file = m->suite->file;
        (void)expect_check_columns(l->reader.arena, m->suite, m->pub.columns, m->pub.columns_n, l->reader.problems);
    }
}

/* ---- syntax trees ---- */

static enum status in_time(const struct loading *l, struct err *err) {
    if (!l->until_ms || host_monotonic_ms(l->flow->options.host) < l->until_ms) return OK;
    return err_set(err, E_TIMEOUT, "reading and binding the models took longer than its limit");
}

static enum status read_tree(struct loading *l, struct engine_work *work, struct model *m, const char *sql, const struct name_at *at, struct err *err) {
    BUF_SCOPE(text);
    buf_text(&text, "SELECT CAST(json_serialize_sql(");
    sql_text(&text, sql);
    buf_text(&text, ") AS VARCHAR) AS tree");
    json_t *rows;
    struct err local;
    enum status st = work_rows(work, buf_cstr(&text), &rows, err);
    if (st != OK) return st;
    const char *tree = cell_text(json_array_get(rows, 0), "tree");
    size_t error_at = 0;
    st = graph_read_tree(l->reader.arena, m, str_of(tree ? tree : ""), at, &error_at, &local);
    json_decref(rows);
    if (st == E_UNSUPPORTED) graph_scan_words(l->reader.arena, m, sql, at);
    if (st != E_INVALID) return OK;
    int line, column;
    if (at)
        yaml_text_place(yaml_get(m->header, at->name), error_at, &line, &column);
    else
        model_place(m, error_at, &line, &column);
    l->reader.problems->file = m->pub.file;
    config_problem_add(l->reader.problems, false, line, column, "%s", local.text);
    m->broken = true;
    return OK;
}

/* Without an engine the words must do. */
static enum status read_trees(struct loading *l, struct engine_work *work, struct err *err) {
    enum status st = OK;
    for (size_t i = 0; i < l->set->n && st == OK; i++) {
        struct model *m = l->set->models[i];
        if (m->pub.kind == FLOW_REFERENCE) continue;
        const struct yaml_node *rows = yaml_get(m->header, "rows");
        struct name_at rows_at = {"rows", m->pub.rows_line, rows ? rows->column : 1};
        st = in_time(l, err);
        if (st != OK) return st;
        if (!work) {
            graph_scan_words(l->reader.arena, m, m->pub.sql, NULL);
            if (m->pub.rows) graph_scan_words(l->reader.arena, m, m->pub.rows, &rows_at);
            continue;
        }
        st = read_tree(l, work, m, m->pub.sql, NULL, err);
        if (st == OK && m->pub.rows) st = read_tree(l, work, m, m->pub.rows, &rows_at, err);
    }
    return st;
}

/* ---- what is derived once ---- */

static const char *table_name(struct arena *arena, const char *schema, const char *name) {
    BUF_SCOPE(out);
    buf_text(&out, "warehouse.");
    sql_table(&out, schema, name);
    return arena_strdup(arena, buf_cstr(&out));
}

static void add_names(struct buf *out, const char *what, const char *const *names, size_t n) {
    buf_printf(out, "%s:", what);
    for (size_t i = 0; i < n; i++) buf_printf(out, "%s,", names[i]);
    buf_char(out, '\n');
}

/* What decides the content of the table. Descriptions, owners and tags do not. */
static void meaning(const struct model *m, const char *timezone, struct buf *out) {
    const struct flow_model *p = &m->pub;
    buf_printf(out, "kind:%d bucket:%d merge:%d expands:%d within:%lld lookback:%lld zone:%s\n", (int)p->kind, (int)p->bucket, p->merge, p->expands,
        (long long)p->within_time_ms, (long long)p->lookback_ms, timezone);
    buf_printf(out, "macros:%llx %llx\n", (unsigned long long)macros_used(str_of(p->sql)), (unsigned long long)macros_used(str_of(p->rows)));
    if (p->together) buf_text(out, "together:2\n"); /* 2: rows that ended a group are noted; tables from before have no such notes and are built again */
    if (m->order_given) buf_text(out, "order:2\n"); /* 2: among equal ones arrival decides */
    add_names(out, "key", p->key, p->key_n);
    add_names(out, "order", p->order, p->order_n);
    add_names(out, "within", p->within, p->within_n);
    add_names(out, "by", p->by, p->by_n);
    add_names(out, "state", p->state, p->state_n);
    const char *texts[] = {p->together, p->time, p->rows, p->deletes, p->sql, m->types_sql};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) buf_printf(out, "%zu:%s\n", i, texts[i] ? texts[i] : "");
    for (size_t i = 0; i < p->columns_n; i++) buf_printf(out, "column:%s %s\n", p->columns[i].name, p->columns[i].type ? p->columns[i].type : "");
    for (size_t i = 0; i < p->inputs_n; i++) {
        const struct flow_input *in = &p->inputs[i];
        buf_printf(out, "input:%s %d %lld %d %s\n", in->full, in->lookup, (long long)in->reads_ms, in->reads_until_next,
            in->model && in->model->kind == FLOW_VIEW ? in->model->fingerprint : "");
    }
}

static void columns_json(const struct model *m, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_array(&w);
    for (size_t i = 0; i < m->pub.columns_n; i++) {
        const struct flow_column *c = &m->pub.columns[i];
        json_begin_object(&w);
        json_put_text(&w, "name", c->name);
        json_put_text(&w, "type", c->type);
        if (c->description) json_put_text(&w, "comment", c->description);
        if (c->hidden) json_put_bool(&w, "hidden", true);
        json_end_object(&w);
    }
    json_end_array(&w);
}

void model_finish(struct arena *arena, struct model *m, const char *timezone) {
    must(arena && m);
    const char *schema = m->pub.schema, *name = m->pub.name, *below = arena_printf(arena, "%s__%s", schema, name);
    m->table = table_name(arena, schema, name);
    m->next_table = table_name(arena, schema, arena_printf(arena, "%s__next", name));
    m->old_table = table_name(arena, "cupel_old", below);
    m->gone_table = table_name(arena, "cupel_old", arena_printf(arena, "%s__gone", below));
    m->quarantine_table = table_name(arena, "quarantine", below);
    m->next_gone = table_name(arena, "cupel_old", arena_printf(arena, "%s__next_gone", below));
    m->next_quarantine = table_name(arena, "cupel_old", arena_printf(arena, "%s__next_quarantine", below));
    BUF_SCOPE(text);
    meaning(m, timezone, &text);
    struct hash128 hash = hash128_keyed(1, text.p, text.n);
    m->pub.fingerprint = arena_printf(arena, "%016llx%016llx", (unsigned long long)hash.hi, (unsigned long long)hash.lo);
    buf_clear(&text);
    columns_json(m, &text);
    m->columns_json = arena_strdup(arena, buf_cstr(&text));
}

/* ---- all of it ---- */

/* Errors of flows, and rows of references that do not fit, keep no models from being used for the first time: they need no flow, and go on with the table that
 * is there. */
static enum status look_at_flows(struct loading *l, struct binder *binder, bool *usable, struct err *err) {
    *usable = l->reader.problems->errors == l->errors + binder->rejects;
    enum status st = l->config ? in_time(l, err) : OK;
    if (st == OK && l->config) st = check_flows(binder, err);
    *usable = *usable && flow_set(l->flow)->n == 0;
    return st;
}

static enum status look_at_models(struct loading *l, struct engine_work *work, const struct engine_view *bronze, struct err *err) {
    enum status st = read_trees(l, work, err);
    if (st != OK) return st;
    graph_resolve(&l->reader, l->set, bronze);
    struct binder binder = {.r = &l->reader,
        .set = l->set,
        .work = work,
        .bronze = bronze,
        .engine = l->flow->options.engine,
        .config = l->config,
        .until_ms = l->until_ms,
        .host = l->flow->options.host};
    if (work) st = bind_models(&binder, err);
    if (st == OK) check_suites(l);
    if (st == OK && work && l->reader.problems->errors == l->errors + binder.rejects) st = bind_suites(&binder, err);
    l->set->pub = arena_new_array(l->reader.arena, const struct flow_model *, l->set->n + 1);
    for (size_t i = 0; i < l->set->n && st == OK; i++) {
        model_finish(l->reader.arena, l->set->models[i], l->flow->options.timezone);
        l->set->pub[i] = &l->set->models[i]->pub;
    }
    return st == OK ? look_at_flows(l, &binder, &l->usable, err) : st;
}

static bool asks_sql(const struct config *config) {
    for (size_t i = 0; config && i < config->flows_n; i++) {
        for (size_t k = 0; k < config->flows[i].steps_n; k++) {
            if (config->flows[i].steps[k].sql || config->flows[i].steps[k].skip_if) return true;
        }
    }
    return false;
}

static enum status with_engine(struct loading *l, struct err *err) {
    const struct flow_options *o = &l->flow->options;
    if (!o->engine || (!l->set->n && !asks_sql(l->config))) return look_at_models(l, NULL, NULL, err); /* without SQL the engine need not start */
    struct lake_pin *pin = NULL;
    struct engine_work *work = NULL;
    int64_t left_ms = l->until_ms ? l->until_ms - host_monotonic_ms(o->host) : 0;
    enum status st = o->lake ? lake_pin(o->lake, &pin, err) : OK;
    const struct engine_view *view = pin ? lake_pin_view(pin) : NULL;
    if (st == OK) st = in_time(l, err);
    if (st == OK) st = engine_work_begin(o->engine, view, NULL, 0, left_ms, &work, err);
    if (st == OK) {
        ARENA_SCOPE(scratch);
        st = work_rows(work, arena_printf(scratch, "SET TimeZone = '%s'", o->timezone), NULL, err);
    }
    if (st == OK) st = look_at_models(l, work, view_with_declared(l->reader.arena, view, l->config), err);
    if (work) engine_work_end(&work);
    if (pin) lake_unpin(&pin);
    return st;
}

static void put_in_place(struct flow *flow, struct model_set *set) {
    WITH_LOCK(&flow->lock);
    set->older = flow->set;
    flow->set = set;
    flow->state_known = false; /* positions of models that were not loaded may have been given up meanwhile (diff_apply) */
}

static void free_set(struct model_set *set) {
    map_free(&set->by_name);
    struct arena *arena = set->arena;
    arena_free(&arena);
}

enum status flow_load_project(struct flow *flow, const struct config *config, int64_t time_ms, struct config_problems *problems, struct err *err) {
    must(flow && problems && time_ms >= 0);
    WITH_LOCK(&flow->load_lock);
    struct arena *arena = arena_new();
    struct model_set *set = arena_new_one(arena, struct model_set);
    set->arena = arena;
    set->by_name = map_new();
    set->unread_names = map_new();
    const char *file = problems->file;
    struct loading l = {.flow = flow, .config = config, .reader = {arena, problems}, .set = set, .errors = problems->errors};
    if (time_ms) l.until_ms = host_monotonic_ms(flow->options.host) + time_ms;
    enum status st = load_references(&l, err);
    if (st == OK) st = load_models(&l, err);
    if (st == OK) st = load_expectations(&l, err);
    if (st == OK) st = with_engine(&l, err);
    map_free(&set->unread_names);
    problems->file = file;
    config_problems_sort(problems);
    bool usable = st == OK && (problems->errors == l.errors || l.usable);
    if (st == OK && problems->errors > l.errors)
        st = err_set(err, E_CONFIG, "%zu errors in models, expectations, references or flows", problems->errors - l.errors);
    if (usable) {
        put_in_place(flow, set);
    } else {
        free_set(set);
    }
    return st;
}

enum status flow_load(struct flow *flow, struct config_problems *problems, struct err *err) { return flow_load_project(flow, NULL, 0, problems, err); }
