/* Table versions: what one metadata pointer says, loaded once and shared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mem.h"
#include "lake/lake_priv.h"

static const char *strip_scheme(const char *uri) {
    if (!strncmp(uri, "file://", 7)) return uri + 7;
    if (!strncmp(uri, "file:", 5)) return uri + 5;
    if (uri[0] == '/') return uri;
    return NULL;
}

static bool below(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return n && !strncmp(path, dir, n) && (path[n] == '/' || dir[n - 1] == '/');
}

enum status table_resolve(struct arena *arena, const char *location, const char *dir, const char *uri, char **out, struct err *err) {
    must(uri && out);
    const char *path = strip_scheme(uri), *recorded = location ? strip_scheme(location) : NULL;
    if (!path || path[0] != '/') return err_set(err, E_UNSUPPORTED, "%.200s is not on the local disk", uri);
    if (strstr(path, "/../")) return err_set(err, E_CORRUPT, "%.200s leaves its folder", uri);
    if (recorded && dir && below(path, recorded)) {
        *out = arena_printf(arena, "%s/%s", dir, path + strlen(recorded) + (path[strlen(recorded)] == '/'));
    } else {
        *out = arena_strdup(arena, path);
    }
    return OK;
}

enum status table_path(struct arena *arena, const struct table_version *version, const char *uri, char **out, struct err *err) {
    return table_resolve(arena, version->metadata ? ice_location(version->metadata) : NULL, version->dir, uri, out, err);
}

char *table_uri(struct arena *arena, const struct table_version *version, const char *relative) {
    must(version->metadata);
    const char *location = ice_location(version->metadata);
    size_t n = strlen(location);
    while (n && location[n - 1] == '/') n--;
    return arena_printf(arena, "%.*s/%s", (int)n, location, relative);
}

enum status table_read(
    struct lake *lake, struct arena *arena, const struct table_version *version, const char *uri, size_t size_max, struct str *out, struct err *err) {
    char *path = NULL;
    enum status s = table_path(arena, version, uri, &path, err);
    if (s) return s;
    return fs_read_all(lake->o.host->fs, arena, path, size_max, out, err);
}

struct table_version *table_ref(struct table_version *version) {
    must(version && atomic_load(&version->refs) > 0);
    atomic_fetch_add(&version->refs, 1);
    return version;
}

static void part_unref(struct table_part *part) {
    if (!part || atomic_fetch_sub(&part->refs, 1) != 1) return;
    arena_free(&part->arena);
    free(part);
}

void table_unref(struct table_version **version) {
    struct table_version *v = *version;
    *version = NULL;
    if (!v || atomic_fetch_sub(&v->refs, 1) != 1) return;
    for (size_t i = 0; i < v->manifests_n; i++) part_unref(v->parts[i]);
    json_decref(v->metadata);
    arena_free(&v->arena);
    free(v);
}

/* ---- parts ---- */

struct bound_ids {
    int received, partition, offset;
};

static struct bound_ids find_bound_ids(const json_t *metadata) {
    struct bound_ids ids = {0};
    const json_t *fields = json_object_get(ice_schema(metadata), "fields");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        const char *name = ice_text(field, "name");
        int id = (int)ice_int(field, "id", 0);
        if (!strcmp(name, "_received_at")) ids.received = id;
        if (!strcmp(name, "_partition")) ids.partition = id;
        if (!strcmp(name, "_offset")) ids.offset = id;
    }
    return ids;
}

static bool both_bounds(const struct ice_file *f, int id, int64_t out[2]) {
    return id && ice_bound_int(f->lower, f->lower_n, id, &out[0]) && ice_bound_int(f->upper, f->upper_n, id, &out[1]);
}

static enum status add_file(struct table_version *v, struct table_part *part, const struct ice_manifest *m, const struct ice_entry *e, struct bound_ids ids,
    bool hourly, struct err *err) {
    if (e->file.content != 0) {
        part->unreadable = "has delete files (row-level deletes), which this version does not apply";
        return OK;
    }
    if (strcasecmp(e->file.format, "parquet") != 0) {
        part->unreadable = "has data files that are not Parquet";
        return OK;
    }
    char *path = NULL;
    enum status s = table_path(part->arena, v, e->file.path, &path, err);
    if (s == E_UNSUPPORTED) {
        part->unreadable = "has data files that are not on the local disk";
        return OK;
    }
    if (s) return s;
    struct table_file *f = &part->files[part->n++];
    *f = (struct table_file){.path = path,
        .uri = arena_strdup(part->arena, e->file.path),
        .records = e->file.records,
        .size_bytes = e->file.size_bytes,
        .sequence_number = e->sequence_number,
        .spec_id = m->spec_id};
    f->hour = hourly && e->file.partition_known && !e->file.partition_null ? e->file.partition : HOUR_NONE;
    f->bounds.received_known = both_bounds(&e->file, ids.received, f->bounds.received_us);
    f->bounds.partition_known = both_bounds(&e->file, ids.partition, f->bounds.partition);
    f->bounds.offset_known = both_bounds(&e->file, ids.offset, f->bounds.offset);
    part->records += (uint64_t)f->records;
    part->bytes += (uint64_t)f->size_bytes;
    return OK;
}

static enum status load_part(struct lake *lake, struct table_version *v, const struct ice_manifest *m, struct table_part **out, struct err *err) {
    ARENA_SCOPE(tmp);
    struct str bytes;
    struct ice_entry *entries;
    size_t n;
    enum status s = table_read(lake, tmp, v, m->path, ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_read(tmp, bytes, m, &entries, &n, err);
    if (s) return err_prefix(err, "%.200s", m->path), s;
    int source;
    bool hourly = ice_spec_known(ice_spec(v->metadata, m->spec_id), &source) && source;
    struct table_part *part = mem_zalloc(sizeof(*part));
    atomic_init(&part->refs, 1);
    part->arena = arena_new();
    part->uri = arena_strdup(part->arena, m->path);
    part->files = arena_new_array(part->arena, struct table_file, n + 1);
    struct bound_ids ids = find_bound_ids(v->metadata);
    for (size_t i = 0; i < n && !s; i++)
        if (entries[i].status != ICE_DELETED) s = add_file(v, part, m, &entries[i], ids, hourly, err);
    if (s) {
        part_unref(part);
        return s;
    }
    *out = part;
    return OK;
}

static struct table_part *shared_part(const struct table_version *previous, const struct table_version *v, const char *uri) {
    if (!previous || !previous->metadata || strcmp(previous->dir, v->dir) != 0) return NULL;
    for (size_t i = 0; i < previous->manifests_n; i++) {
        if (strcmp(previous->manifests[i].path, uri) != 0) continue;
        atomic_fetch_add(&previous->parts[i]->refs, 1);
        return previous->parts[i];
    }
    return NULL;
}

static struct ice_manifest *copy_manifests(struct arena *arena, const struct ice_manifest *from, size_t n) {
    struct ice_manifest *list = arena_new_array(arena, struct ice_manifest, n + 1);
    for (size_t i = 0; i < n; i++) {
        list[i] = from[i];
        list[i].path = arena_strdup(arena, from[i].path);
        list[i].summaries = arena_new_array(arena, struct ice_summary, from[i].summaries_n + 1);
        for (size_t k = 0; k < from[i].summaries_n; k++) {
            list[i].summaries[k] = from[i].summaries[k];
            if (from[i].summaries[k].lower.p) list[i].summaries[k].lower = arena_str(arena, from[i].summaries[k].lower);
            if (from[i].summaries[k].upper.p) list[i].summaries[k].upper = arena_str(arena, from[i].summaries[k].upper);
        }
        if (from[i].key_metadata.p) list[i].key_metadata = arena_str(arena, from[i].key_metadata);
    }
    return list;
}

static enum status load_manifests(struct lake *lake, struct table_version *v, const struct table_version *previous, struct err *err) {
    const json_t *snapshot = ice_current_snapshot(v->metadata);
    if (!snapshot) return OK;
    ARENA_SCOPE(tmp);
    struct str bytes;
    struct ice_manifest *list;
    size_t n;
    const char *uri = ice_text(snapshot, "manifest-list");
    enum status s = table_read(lake, tmp, v, uri, ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_list_read(tmp, bytes, &list, &n, err);
    if (s) return err_prefix(err, "%.200s", uri), s;
    v->manifests = copy_manifests(v->arena, list, n);
    v->parts = arena_new_array(v->arena, struct table_part *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct ice_manifest *m = &v->manifests[i];
        v->parts[i] = shared_part(previous, v, m->path);
        if (!v->parts[i] && (s = load_part(lake, v, m, &v->parts[i], err))) return s;
        v->manifests_n = i + 1;
    }
    return OK;
}

static void gather_files(struct table_version *v) {
    for (size_t i = 0; i < v->manifests_n; i++) {
        v->files_n += v->parts[i]->n;
        v->records += v->parts[i]->records;
        v->bytes += v->parts[i]->bytes;
        if (v->parts[i]->unreadable) v->unreadable = v->parts[i]->unreadable;
    }
    v->files = arena_new_array(v->arena, const char *, v->files_n + 1);
    v->bounds = arena_new_array(v->arena, struct engine_file_bounds, v->files_n + 1);
    size_t n = 0;
    for (size_t i = v->manifests_n; i-- > 0;) { /* newest manifests come first in the list */
        for (size_t k = 0; k < v->parts[i]->n; k++) {
            v->bounds[n] = v->parts[i]->files[k].bounds;
            v->files[n++] = v->parts[i]->files[k].path;
        }
    }
    must(n == v->files_n);
}

/* ---- the pointer ---- */

/* The lake's own folder comes first: a lake that was copied must not go on using the place that it was copied from. */
static enum status locate(struct lake *lake, struct table_version *v, char **metadata_path, struct err *err) {
    char *path = NULL;
    enum status s = table_resolve(v->arena, NULL, NULL, v->pointer, &path, err);
    if (s) return s;
    must(path);
    const char *base = strrchr(path, '/');
    char *dir = arena_printf(v->arena, "%s/%s/%s", lake->dir, v->schema, v->name);
    char *own = arena_printf(v->arena, "%s/metadata%s", dir, base);
    if (strcmp(own, path) != 0 && !fs_exists(lake->o.host->fs, own)) {
        size_t n = (size_t)(base - path);
        if (n < 10 || strncmp(path + n - 9, "/metadata", 9) != 0) return err_set(err, E_UNSUPPORTED, "metadata file %.200s is not in a folder metadata/", path);
        dir = arena_strndup(v->arena, path, n - 9);
        own = path;
    }
    v->dir = dir;
    *metadata_path = own;
    return OK;
}

static enum status load(struct lake *lake, struct table_version *v, const struct table_version *previous, struct err *err) {
    char *path = NULL;
    struct str bytes;
    enum status s = locate(lake, v, &path, err);
    ARENA_SCOPE(tmp);
    if (!s) s = fs_read_all(lake->o.host->fs, tmp, path, ICE_METADATA_BYTES_MAX, &bytes, err);
    if (!s) s = ice_metadata_parse(bytes, &v->metadata, err);
    if (s) return s;
    v->unreadable = ice_unreadable(v->metadata);
    if (v->unreadable) return OK;
    s = ice_columns(v->arena, ice_schema(v->metadata), NULL, 0, &v->columns, &v->columns_n, err);
    if (!s) s = load_manifests(lake, v, previous, err);
    if (!s) gather_files(v);
    return s;
}

void table_load(
    struct lake *lake, const char *schema, const char *name, const char *pointer, const struct table_version *previous, struct table_version **out) {
    must(lake && pointer && out);
    struct table_version *v = mem_zalloc(sizeof(*v));
    atomic_init(&v->refs, 1);
    v->arena = arena_new();
    v->schema = arena_strdup(v->arena, schema);
    v->name = arena_strdup(v->arena, name);
    v->pointer = arena_strdup(v->arena, pointer);
    v->number = ++lake->next_number;
    struct err why = {0};
    enum status s = load(lake, v, previous, &why);
    if (s) { /* told to whoever asks for this table; the others stay readable */
        v->unreadable = arena_printf(v->arena, "cannot be loaded: %s", why.text);
        json_decref(v->metadata);
        v->metadata = NULL;
        v->files_n = 0;
    }
    if (v->unreadable) v->unreadable = arena_printf(v->arena, "table %s.%s %s", schema, name, v->unreadable);
    if (s == E_IO) lake->dirty = true; /* may pass: looked at again with the next statement */
    *out = v;
}

/* ---- positions ---- */

static uint64_t position_in(const json_t *object, const char *name) {
    uint64_t v;
    const char *text = ice_text(object, name);
    return text && str_to_u64(str_of(text), &v) ? v : 0;
}

uint64_t table_position(const struct table_version *version, uint16_t number, uint16_t partition) {
    if (!version->metadata) return 0;
    char name[64];
    snprintf(name, sizeof(name), POSITION_PREFIX "%u.%u", number, partition);
    const json_t *properties = json_object_get(version->metadata, "properties");
    if (json_object_get(properties, name)) return position_in(properties, name);
    uint64_t highest = 0;
    const json_t *snapshots = json_object_get(version->metadata, "snapshots");
    for (size_t i = 0; i < json_array_size(snapshots); i++) {
        uint64_t at = position_in(json_object_get(json_array_get(snapshots, i), "summary"), name);
        if (at > highest) highest = at;
    }
    return highest;
}

static void count_positions(const json_t *object, const char *prefix, uint16_t *n) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        uint64_t partition;
        if (strncmp(name, prefix, strlen(prefix)) != 0 || !str_to_u64(str_of(name + strlen(prefix)), &partition) || partition >= EVENT_PARTITIONS_MAX) continue;
        if (partition + 1 > *n) *n = (uint16_t)(partition + 1);
    }
}

uint16_t table_positions_n(const struct table_version *version, uint16_t number) {
    if (!version->metadata) return 0;
    char prefix[64];
    snprintf(prefix, sizeof(prefix), POSITION_PREFIX "%u.", number);
    uint16_t n = 0;
    count_positions(json_object_get(version->metadata, "properties"), prefix, &n);
    const json_t *snapshots = json_object_get(version->metadata, "snapshots");
    for (size_t i = 0; i < json_array_size(snapshots); i++) count_positions(json_object_get(json_array_get(snapshots, i), "summary"), prefix, &n);
    return n;
}

/* Names become folders and parts of URIs. */
enum status table_check_name(const char *schema, const char *name, struct err *err) {
    const char *parts[2] = {schema, name};
    for (int i = 0; i < 2; i++) {
        const char *p = parts[i];
        if (!p || !*p || strlen(p) > 128 || *p == '.' || *p == '-')
            return err_set(err, E_INVALID, "table name %.60s.%.60s: empty, too long (128) or with a wrong start", schema, name);
        for (; *p; p++) {
            uint8_t c = (uint8_t)*p;
            bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c >= 0x80;
            if (!fine) return err_set(err, E_INVALID, "table name %.60s.%.60s: letters, digits, _ and - only", schema, name);
        }
    }
    return OK;
}
