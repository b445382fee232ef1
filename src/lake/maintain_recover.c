/* Rebuilding the catalog from the lake's folders, and checking that what the tables name is there. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "lake/lake_priv.h"

/* ---- verify ---- */

static uint64_t verify_table(struct lake *lake, const struct table_version *v, json_t *problems) {
    uint64_t n = 0;
    if (v->unreadable) {
        json_array_append_new(problems, json_pack("{s:s, s:s, s:s}", "schema", v->schema, "name", v->name, "problem", v->unreadable));
        n++;
    }
    for (size_t i = 0; i < v->manifests_n; i++) {
        for (size_t k = 0; k < v->parts[i]->n; k++) {
            const struct table_file *f = &v->parts[i]->files[k];
            struct err err = {0};
            if (!parquet_check(lake->o.host->fs, f->path, (uint64_t)f->size_bytes, &err)) continue;
            json_array_append_new(problems, json_pack("{s:s, s:s, s:s, s:s}", "schema", v->schema, "name", v->name, "file", f->path, "problem", err.text));
            n++;
        }
    }
    return n;
}

enum status lake_verify(struct lake *lake, struct buf *report_json, uint64_t *problems, struct err *err) {
    must(lake && report_json && problems);
    ARENA_SCOPE(tmp);
    struct lake_pin *pin;
    struct table_version **all;
    size_t n;
    enum status s = lake_pin(lake, &pin, err);
    if (s) return s;
    if (!(s = table_all(lake, tmp, &all, &n, err))) {
        json_t *list = json_array();
        uint64_t found = 0, files = 0;
        for (size_t i = 0; i < n; i++) {
            found += verify_table(lake, all[i], list);
            files += all[i]->files_n;
            table_unref(&all[i]);
        }
        size_t warehouse_n;
        found += warehouse_verify(lake, list, &warehouse_n);
        table_put_json(json_pack("{s:I, s:I, s:I, s:o}", "tables", (json_int_t)n, "files", (json_int_t)files, "warehouse_tables", (json_int_t)warehouse_n,
                           "problems", list),
            report_json);
        *problems = found;
    }
    lake_unpin(&pin);
    return s;
}

/* ---- recover ---- */

struct found {
    char *name; /* of the metadata file */
    uint64_t version; /* number in its name */
    int64_t updated_ms, sequence;
};

static int newest_first(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    if (x->version != y->version) return x->version > y->version ? -1 : 1;
    if (x->sequence != y->sequence) return x->sequence > y->sequence ? -1 : 1;
    if (x->updated_ms != y->updated_ms) return x->updated_ms > y->updated_ms ? -1 : 1;
    return strcmp(x->name, y->name);
}

struct recovery {
    struct lake *lake;
    struct arena *arena;
    const char *schema, *name, *dir;
    json_t *report; /* of this table */
};

/* Metadata files that parse, newest first. Torn ones are counted. */
static enum status list_metadata(struct recovery *r, struct found **out, size_t *n, struct err *err) {
    const struct fs *fs = r->lake->o.host->fs;
    struct fs_entry *entries;
    size_t entries_n, count = 0;
    json_int_t torn = 0;
    char *folder = arena_printf(r->arena, "%s/metadata", r->dir);
    enum status s = fs->list(fs->self, r->arena, folder, &entries, &entries_n, err);
    if (s) return s;
    struct found *list = arena_new_array(r->arena, struct found, entries_n + 1);
    for (size_t i = 0; i < entries_n; i++) {
        if (!str_ends(str_of(entries[i].name), STR(".metadata.json"))) continue;
        ARENA_SCOPE(tmp);
        struct str bytes;
        json_t *m;
        if (fs_read_all(fs, tmp, arena_printf(tmp, "%s/%s", folder, entries[i].name), ICE_METADATA_BYTES_MAX, &bytes, NULL) ||
            ice_metadata_parse(bytes, &m, NULL)) {
            torn++;
            continue;
        }
        const char *digits = entries[i].name + (entries[i].name[0] == 'v'); /* v12.metadata.json by Hadoop's tables */
        list[count++] = (struct found){entries[i].name, strtoull(digits, NULL, 10), ice_int(m, "last-updated-ms", 0), ice_int(m, "last-sequence-number", 0)};
        json_decref(m);
    }
    if (count) qsort(list, count, sizeof(*list), newest_first);
    if (torn) json_object_set_new(r->report, "damaged_metadata_files", json_integer(torn));
    *out = list;
    *n = count;
    return OK;
}

/* Whole: its manifests can be read and its data files are there with their sizes. */
static bool is_whole(struct recovery *r, const struct table_version *v) {
    if (!v->metadata) return false;
    for (size_t i = 0; i < v->manifests_n; i++)
        for (size_t k = 0; k < v->parts[i]->n; k++)
            if (parquet_check(r->lake->o.host->fs, v->parts[i]->files[k].path, (uint64_t)v->parts[i]->files[k].size_bytes, NULL)) return false;
    return true;
}

/* The pointer text for a metadata file here: by the location that the metadata itself names, so that a moved lake stays consistent in itself. */
static char *pointer_for(struct recovery *r, const char *file) {
    struct str bytes;
    json_t *m;
    char *path = arena_printf(r->arena, "%s/metadata/%s", r->dir, file), *pointer = NULL;
    if (fs_read_all(r->lake->o.host->fs, r->arena, path, ICE_METADATA_BYTES_MAX, &bytes, NULL) || ice_metadata_parse(bytes, &m, NULL)) return NULL;
    const char *location = ice_location(m);
    size_t n = strlen(location);
    while (n && location[n - 1] == '/') n--;
    char *base = arena_printf(r->arena, "%.*s", (int)n, location);
    pointer = arena_printf(r->arena, "%s/metadata/%s", base, file);
    json_object_set_new(r->report, "moved", json_boolean(strcmp(base, arena_printf(r->arena, "file://%s", r->dir)) != 0));
    json_decref(m);
    return pointer;
}

static struct table_version *load_pointer(struct lake *lake, const char *schema, const char *name, const char *pointer) {
    WITH_LOCK(&lake->lock);
    struct table_version *v;
    table_load(lake, schema, name, pointer, NULL, &v);
    return v;
}

static const char *newest_whole(struct recovery *r, const struct found *list, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *pointer = pointer_for(r, list[i].name);
        if (!pointer) continue;
        struct table_version *v = load_pointer(r->lake, r->schema, r->name, pointer);
        bool whole = is_whole(r, v);
        if (whole) json_object_set_new(r->report, "rows", json_integer((json_int_t)v->records));
        table_unref(&v);
        if (whole) return pointer;
        json_object_set_new(r->report, "skipped_incomplete", json_integer(ice_int(r->report, "skipped_incomplete", 0) + 1));
    }
    return NULL;
}

static const char *last_part(const char *uri) {
    const char *slash = strrchr(uri, '/');
    return slash ? slash + 1 : uri;
}

/* A table whose metadata names another place gets metadata that names this one. Where that cannot be done the old one is registered: we can read it. */
static enum status relocated(struct recovery *r, const char **pointer) {
    struct table_version *v = load_pointer(r->lake, r->schema, r->name, *pointer);
    struct err why = {0};
    enum status s = table_relocate(r->lake, r->arena, v, pointer, &why);
    json_object_set_new(r->report, "relocated", s ? json_string(why.text) : json_true());
    table_unref(&v);
    return s;
}

static enum status recover_table(struct recovery *r, struct err *err) {
    struct found *list;
    size_t n;
    enum status s = list_metadata(r, &list, &n, err);
    if (s) return s;
    const char *pointer = newest_whole(r, list, n);
    if (!pointer) {
        json_object_set_new(r->report, "result", json_string("no whole metadata file"));
        return OK;
    }
    bool moved = json_is_true(json_object_get(r->report, "moved")) && !relocated(r, &pointer);
    json_object_set_new(r->report, "metadata_location", json_string(pointer));
    struct catalog_entry entry;
    s = ledger_catalog_get(r->lake->o.ledger, r->arena, r->schema, r->name, &entry, err);
    if (s && s != E_NOT_FOUND) return s;
    if (!s && !strcmp(last_part(entry.metadata_location), last_part(pointer))) {
        json_object_set_new(r->report, "result", json_string("already registered"));
        return OK;
    }
    const char *expected = s ? NULL : entry.metadata_location;
    if ((s = ledger_catalog_swap(r->lake->o.ledger, r->schema, r->name, expected, pointer, err))) return s;
    json_object_set_new(r->report, "result",
        json_string(moved  ? "registered at its new place"
                : expected ? "moved to the newest whole version"
                           : "registered"));
    return OK;
}

static enum status recover_schema(struct lake *lake, const char *schema, json_t *tables, struct err *err) {
    const struct fs *fs = lake->o.host->fs;
    ARENA_SCOPE(arena);
    char *dir = arena_printf(arena, "%s/%s", lake->dir, schema);
    struct fs_entry *entries;
    size_t n;
    enum status s = fs->list(fs->self, arena, dir, &entries, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        struct recovery r = {
            .lake = lake, .arena = arena, .schema = schema, .name = entries[i].name, .dir = arena_printf(arena, "%s/%s", dir, entries[i].name)};
        if (!entries[i].stat.is_dir || !fs_exists(fs, arena_printf(arena, "%s/metadata", r.dir)) || table_check_name(schema, r.name, NULL)) continue;
        r.report = json_pack("{s:s, s:s}", "schema", schema, "name", r.name);
        struct err why = {0};
        if (recover_table(&r, &why)) json_object_set_new(r.report, "result", json_string(why.text));
        json_array_append_new(tables, r.report);
    }
    return s;
}

enum status lake_register_recover(struct lake *lake, struct buf *report_json, struct err *err) {
    must(lake && report_json);
    const struct fs *fs = lake->o.host->fs;
    ARENA_SCOPE(arena);
    struct fs_entry *entries;
    size_t n;
    json_t *tables = json_array();
    mutex_lock(&lake->commit_lock);
    enum status s = fs->list(fs->self, arena, lake->dir, &entries, &n, err);
    for (size_t i = 0; !s && i < n; i++)
        if (entries[i].stat.is_dir && strcmp(entries[i].name, "tmp") != 0) s = recover_schema(lake, entries[i].name, tables, err);
    lake_mark_dirty(lake);
    mutex_unlock(&lake->commit_lock);
    if (s) {
        json_decref(tables);
        return s;
    }
    table_put_json(json_pack("{s:o}", "tables", tables), report_json);
    return OK;
}
