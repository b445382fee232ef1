/* Small hand-kept tables: reference/<name>.csv becomes ref.<name>. Types are DuckDB's guess over the whole file unless reference/<name>.yaml says
 * otherwise.
 *
 * Models are bound with the columns that the file had when they were loaded. A file that comes with other ones later needs all models bound again: whoever
 * drives the runs asks flow_references_fit before them and loads; a run refuses where that was not possible. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "flow/run_priv.h"

void reference_read_types(struct model_reader *r, struct model *m, struct str yaml) {
    must(r && m);
    static const struct config_environment nothing;
    const struct yaml_node *root = yaml_read(r->arena, yaml, &nothing, r->problems);
    for (size_t i = 0; root && root->kind == YAML_MAP && i < root->n; i++) {
        const struct yaml_pair *pair = &root->pairs[i];
        bool known = str_is(pair->key, "columns") || str_is(pair->key, "description");
        if (!known) config_problem_add(r->problems, false, pair->line, pair->column, "unknown key %s (columns and description are known)", pair->key.p);
        if (str_is(pair->key, "description") && pair->value->kind == YAML_TEXT) m->pub.description = arena_str(r->arena, pair->value->text).p;
    }
    if (root && root->kind != YAML_MAP) config_problem_add(r->problems, false, root->line, root->column, "the settings are a map: columns, description");
    const struct yaml_node *columns = yaml_get(root, "columns");
    if (!columns) return;
    if (columns->kind != YAML_MAP)
        config_problem_add(r->problems, false, columns->line, columns->column, "columns is a map of names and types, as {code: VARCHAR}");
    BUF_SCOPE(out);
    buf_char(&out, '{');
    for (size_t i = 0; columns->kind == YAML_MAP && i < columns->n; i++) {
        const struct yaml_node *type = columns->pairs[i].value;
        if (type->kind != YAML_TEXT || !type->text.n) {
            config_problem_add(r->problems, false, type->line, type->column, "the type of column %s is one word such as VARCHAR", columns->pairs[i].key.p);
            continue;
        }
        buf_text(&out, out.n > 1 ? ", " : "");
        sql_text(&out, columns->pairs[i].key.p);
        buf_text(&out, ": ");
        sql_text(&out, type->text.p);
    }
    buf_char(&out, '}');
    if (out.n > 2) m->types_sql = arena_strdup(r->arena, buf_cstr(&out));
}

bool reference_fits(struct model_reader *r, const struct fs *fs, const struct model *m) {
    must(r && fs && m->source_path);
    struct fs_stat stat;
    if (fs->stat(fs->self, m->source_path, &stat, NULL) != OK || stat.size_bytes <= REFERENCE_BYTES_MAX) return true;
    config_problem_add(r->problems, false, 0, 0, "the file has %llu bytes, a reference at most %u; load it through a landing folder",
        (unsigned long long)stat.size_bytes, REFERENCE_BYTES_MAX);
    return false;
}

static const char *read_csv(struct arena *arena, const struct model *m, const char *more) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT * FROM read_csv(");
    sql_text(&sql, m->source_path);
    buf_text(&sql, ", header = true, sample_size = -1");
    if (m->types_sql) buf_printf(&sql, ", types = %s", m->types_sql);
    buf_printf(&sql, "%s)", more);
    return arena_strdup(arena, buf_cstr(&sql));
}

const char *reference_sql(struct arena *arena, const struct model *m) {
    must(arena && m && m->source_path);
    return read_csv(arena, m, "");
}

/* DuckDB takes a row with a cell too many for the header of another table, and leaves out all before it: read so that it tells instead. */
const char *reference_sql_telling(struct arena *arena, const struct model *m, const char *rejects) {
    must(arena && m && m->source_path && rejects);
    return read_csv(arena, m, arena_printf(arena, ", skip = 0, store_rejects = true, rejects_table = '%s', rejects_scan = '%s_scans'", rejects, rejects));
}

enum status reference_content(struct flow *flow, struct arena *arena, const struct model *m, const char **out, struct err *err) {
    must(flow && m->source_path && out);
    const struct fs *fs = flow->options.host->fs;
    struct str content = STR_NULL, settings = STR_NULL;
    enum status st = fs_read_all(fs, arena, m->source_path, REFERENCE_BYTES_MAX, &content, err);
    if (st == OK && fs_exists(fs, m->settings_path)) st = fs_read_all(fs, arena, m->settings_path, MODEL_FILE_BYTES_MAX, &settings, err);
    if (st != OK) return err_prefix(err, "%s", m->pub.file);
    struct hash128 a = hash128_keyed(1, content.p, content.n), b = hash128_keyed(2, settings.p, settings.n);
    *out = arena_printf(arena, "%016llx%016llx", (unsigned long long)(a.lo ^ b.hi), (unsigned long long)(a.hi ^ b.lo));
    return OK;
}

/* ---- columns that changed ---- */

static struct seen_table file_state(const struct fs *fs, const struct model *m) {
    struct fs_stat csv = {0}, settings = {0};
    (void)fs->stat(fs->self, m->source_path, &csv, NULL);
    (void)fs->stat(fs->self, m->settings_path, &settings, NULL);
    return (struct seen_table){(uint64_t)(csv.mtime_ns ^ settings.mtime_ns), csv.size_bytes};
}

void reference_note_loaded(struct model *m, const struct fs *fs, struct str settings) {
    must(m && fs);
    m->loaded = file_state(fs, m);
    m->settings_hash = hash128_keyed(2, settings.p, settings.n).lo;
}

static void put_columns(struct buf *out, const json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        if (i >= 20) {
            buf_text(out, ", …");
            return;
        }
        buf_printf(out, "%s%s %s", i ? ", " : "", cell_text(row, "column_name"), cell_text(row, "column_type"));
    }
}

static bool same_columns(const struct model *m, const json_t *rows) {
    bool same = json_array_size(rows) == m->pub.columns_n;
    for (size_t i = 0; same && i < m->pub.columns_n; i++) {
        const char *name = cell_text(json_array_get(rows, i), "column_name"), *type = cell_text(json_array_get(rows, i), "column_type");
        if (type && strcmp(type, "\"NULL\"") == 0) type = "INTEGER";
        same = name && type && strcmp(name, m->pub.columns[i].name) == 0 && strcmp(type, m->pub.columns[i].type) == 0;
    }
    return same;
}

static enum status settings_moved(struct flow *flow, const struct model *m, bool *moved, struct err *err) {
    ARENA_SCOPE(scratch);
    const struct fs *fs = flow->options.host->fs;
    struct str settings = STR_NULL;
    enum status st = fs_exists(fs, m->settings_path) ? fs_read_all(fs, scratch, m->settings_path, MODEL_FILE_BYTES_MAX, &settings, err) : OK;
    *moved = hash128_keyed(2, settings.p, settings.n).lo != m->settings_hash;
    return st;
}

/* Looks into the file. *columns: as they are now. */
static enum status describe_file(struct flow *flow, const struct model *m, bool *fits, struct buf *columns, struct err *err) {
    ARENA_SCOPE(scratch);
    struct engine_work *work = NULL;
    json_t *rows = NULL;
    bool moved;
    enum status st = settings_moved(flow, m, &moved, err);
    if (st == OK) st = engine_work_begin(flow->options.engine, NULL, NULL, 0, 0, &work, err);
    if (st == OK) st = work_rows(work, arena_printf(scratch, "SELECT column_name, column_type FROM (DESCRIBE %s)", reference_sql(scratch, m)), &rows, err);
    if (work) engine_work_end(&work);
    if (st != OK) return st;
    *fits = !moved && same_columns(m, rows);
    put_columns(columns, rows);
    json_decref(rows);
    return OK;
}

static bool is_as_loaded(const struct flow *flow, const struct model *m) {
    struct seen_table now = file_state(flow->options.host->fs, m);
    return now.version == m->loaded.version && now.before == m->loaded.before;
}

enum status reference_fits_models(struct flow *flow, const struct model *m, struct err *err) {
    must(flow && m && m->pub.kind == FLOW_REFERENCE);
    if (m->rejects) return err_set(err, E_CONFIG, "%s; its table stays as it was", m->rejects);
    struct seen_table now = file_state(flow->options.host->fs, m), seen = m->loaded;
    bool fits = true;
    BUF_SCOPE(columns);
    (void)state_seen(flow, m->pub.full, "columns", &seen);
    bool as_loaded = is_as_loaded(flow, m), as_seen = now.version == seen.version && now.before == seen.before;
    if (as_loaded || as_seen || !m->pub.bound || !flow->options.engine) return OK;
    enum status st = describe_file(flow, m, &fits, &columns, err);
    if (st != OK) return st;
    if (fits) {
        state_note_seen(flow, m->pub.full, "columns", now);
        return OK;
    }
    return err_set(err, E_CONFIG,
        "%s has other columns or settings than the models were bound with (now: %.200s), and they could not be bound again; `cupel check` says why",
        m->pub.file, buf_cstr(&columns));
}

enum status flow_references_fit(struct flow *flow, const char *const *models, size_t n, bool *fit, struct err *err) {
    must(flow && fit && (models || !n));
    const struct model_set *set = flow_set(flow);
    struct err why;
    *fit = true;
    for (size_t i = 0; i < (n ? n : set->n); i++) {
        const struct model *m = n ? map_get(set->by_name, str_of(models[i])) : set->models[i];
        enum status st = m && m->pub.kind == FLOW_REFERENCE && !(m->rejects && is_as_loaded(flow, m)) ? reference_fits_models(flow, m, &why) : OK;
        if (st == E_CONFIG) *fit = false;
        if (st == E_UNAVAILABLE || st == E_CANCELLED) return err_set(err, st, "%s", why.text);
    }
    return OK;
}
