/* JSON of tables, for people and programs. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "lake/lake_priv.h"

#define FILES_SHOWN_MAX 1000

static json_t *time_json(int64_t at_ms) {
    char text[RFC3339_MAX];
    return json_stringn(text, time_format_ms(at_ms, text));
}

static void describe(const struct table_version *v, json_t *out) {
    json_object_set_new(out, "schema", json_string(v->schema));
    json_object_set_new(out, "name", json_string(v->name));
    json_object_set_new(out, "kind", json_string("lake"));
    json_object_set_new(out, "rows", json_integer((json_int_t)v->records));
    json_object_set_new(out, "files", json_integer((json_int_t)v->files_n));
    json_object_set_new(out, "bytes", json_integer((json_int_t)v->bytes));
    if (v->unreadable) json_object_set_new(out, "unreadable", json_string(v->unreadable));
    if (!v->metadata) return;
    json_object_set_new(out, "format_version", json_integer(ice_version(v->metadata)));
    json_object_set_new(out, "snapshots", json_integer((json_int_t)json_array_size(json_object_get(v->metadata, "snapshots"))));
    json_object_set_new(out, "columns", json_integer((json_int_t)v->columns_n));
    json_object_set_new(out, "updated_at", time_json(ice_int(v->metadata, "last-updated-ms", 0)));
    json_object_set_new(out, "location", json_string(ice_location(v->metadata)));
    if (ice_property(v->metadata, STREAM_PROPERTY)) json_object_set_new(out, "stream", json_integer(ice_property_int(v->metadata, STREAM_PROPERTY, 0)));
}

static int put_bytes(const char *bytes, size_t n, void *out) {
    buf_put(out, bytes, n);
    return 0;
}

void table_put_json(json_t *json, struct buf *out) {
    must(json_dump_callback(json, put_bytes, out, JSON_COMPACT) == 0);
    json_decref(json);
}

static int by_name(const void *a, const void *b) {
    const struct table_version *x = *(struct table_version *const *)a, *y = *(struct table_version *const *)b;
    int c = strcmp(x->schema, y->schema);
    return c ? c : strcmp(x->name, y->name);
}

enum status lake_tables_json(struct lake *lake, struct buf *out, struct err *err) {
    ARENA_SCOPE(tmp);
    struct table_version **all;
    size_t n;
    enum status s = table_all(lake, tmp, &all, &n, err);
    if (s) return s;
    if (n) qsort(all, n, sizeof(struct table_version *), by_name);
    json_t *tables = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *t = json_object();
        describe(all[i], t);
        json_array_append_new(tables, t);
        table_unref(&all[i]);
    }
    json_t *answer = json_pack("{s:o}", "tables", tables);
    const char *unreadable = warehouse_add_tables(lake, tmp, tables);
    if (unreadable) json_object_set_new(answer, "warehouse_error", json_string(unreadable));
    table_put_json(answer, out);
    return OK;
}

static json_t *columns_json(const struct table_version *v) {
    json_t *list = json_array();
    const json_t *fields = json_object_get(ice_schema(v->metadata), "fields");
    for (size_t i = 0; i < v->columns_n; i++) {
        const json_t *field = json_array_get(fields, i);
        json_t *column = json_pack("{s:s, s:s, s:i, s:b}", "name", v->columns[i].name, "type", v->columns[i].type, "field_id", v->columns[i].field_id,
            "required", json_is_true(json_object_get(field, "required")));
        if (json_object_get(field, "doc")) json_object_set(column, "doc", json_object_get(field, "doc"));
        json_array_append_new(list, column);
    }
    return list;
}

static json_t *snapshots_json(const struct table_version *v) {
    json_t *list = json_array();
    const json_t *snapshots = json_object_get(v->metadata, "snapshots");
    for (size_t i = json_array_size(snapshots); i-- > 0;) { /* newest first */
        const json_t *s = json_array_get(snapshots, i), *summary = json_object_get(s, "summary");
        json_t *row = json_pack("{s:I, s:I, s:o}", "snapshot_id", (json_int_t)ice_int(s, "snapshot-id", 0), "sequence_number",
            (json_int_t)ice_int(s, "sequence-number", 0), "at", time_json(ice_int(s, "timestamp-ms", 0)));
        if (json_object_get(s, "parent-snapshot-id")) json_object_set(row, "parent_id", json_object_get(s, "parent-snapshot-id"));
        if (ice_text(summary, "operation")) json_object_set(row, "operation", json_object_get(summary, "operation"));
        if (summary) json_object_set(row, "summary", (json_t *)(uintptr_t)summary);
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *file_json(const struct table_version *v, const struct table_file *f) {
    const char *shown = f->path;
    size_t dir = strlen(v->dir);
    if (!strncmp(shown, v->dir, dir) && shown[dir] == '/') shown += dir + 1;
    json_t *row = json_pack("{s:s, s:I, s:I}", "path", shown, "rows", (json_int_t)f->records, "bytes", (json_int_t)f->size_bytes);
    if (f->hour != HOUR_NONE) json_object_set_new(row, "hour", time_json(f->hour * HOUR_MS));
    if (f->bounds.received_known) {
        json_object_set_new(row, "received_from", time_json(f->bounds.received_us[0] / 1000));
        json_object_set_new(row, "received_to", time_json(f->bounds.received_us[1] / 1000));
    }
    return row;
}

static json_t *files_json(const struct table_version *v) {
    json_t *list = json_array();
    for (size_t i = 0; i < v->manifests_n; i++)
        for (size_t k = 0; k < v->parts[i]->n && json_array_size(list) < FILES_SHOWN_MAX; k++)
            json_array_append_new(list, file_json(v, &v->parts[i]->files[k]));
    return list;
}

enum status lake_table_json(struct lake *lake, const char *schema, const char *name, struct buf *out, struct err *err) {
    struct table_version *v;
    json_t *t = json_object();
    enum status s = table_get(lake, schema, name, &v, err);
    if (s == E_NOT_FOUND && warehouse_describe(lake, schema, name, t)) {
        table_put_json(t, out);
        return OK;
    }
    if (s) {
        json_decref(t);
        return s;
    }
    describe(v, t);
    if (v->metadata) {
        json_object_set_new(t, "columns", columns_json(v));
        json_object_set_new(t, "history", snapshots_json(v));
        json_object_set_new(t, "file_list", files_json(v));
        json_object_set_new(t, "manifests", json_integer((json_int_t)v->manifests_n));
        json_object_set_new(t, "metadata_location", json_string(v->pointer));
        if (json_object_get(v->metadata, "properties")) json_object_set_new(t, "properties", json_deep_copy(json_object_get(v->metadata, "properties")));
        if (ice_property(v->metadata, COPY_PROPERTY)) (void)warehouse_describe(lake, schema, name, t);
    }
    table_put_json(t, out);
    table_unref(&v);
    return OK;
}
