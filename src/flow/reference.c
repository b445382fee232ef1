/* Small hand-kept tables: reference/<name>.csv becomes ref.<name>. Types are DuckDB's guess over the whole file unless reference/<name>.yaml says
 * otherwise. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "flow/flow_priv.h"

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
    const struct yaml_node *columns = yaml_get(root, "columns");
    if (!columns) return;
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

const char *reference_sql(struct arena *arena, const struct model *m) {
    must(arena && m && m->source_path);
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT * FROM read_csv(");
    sql_text(&sql, m->source_path);
    buf_text(&sql, ", header = true, sample_size = -1");
    if (m->types_sql) buf_printf(&sql, ", types = %s", m->types_sql);
    buf_char(&sql, ')');
    return arena_strdup(arena, buf_cstr(&sql));
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
