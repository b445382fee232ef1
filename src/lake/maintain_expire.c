/* Expiry of snapshots, and the files that nothing names any more. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "lake/lake_priv.h"

#define KEEP_SNAPSHOTS 10
/* Beyond this many the oldest go before their time: each commit writes them all, and streams may be flushed every second. Holds the default retention (5 d) at
 * the default flush interval (300 s). */
#define SNAPSHOTS_MAX 1600
#define COPY_SNAPSHOTS_MAX 300 /* of lake copies: there are many of them, each with a commit every half minute */

/* Everything that a set of snapshots names, as local paths. */
struct reach {
    struct lake *lake;
    struct arena *arena;
    const struct table_version *version;
    struct map *lists, *manifests, *data; /* path -> itself; manifests: path -> struct ice_manifest */
};

static struct reach reach_begin(struct lake *lake, struct arena *arena, const struct table_version *v) {
    return (struct reach){.lake = lake, .arena = arena, .version = v, .lists = map_new(), .manifests = map_new(), .data = map_new()};
}

static void reach_end(struct reach *r) {
    map_free(&r->lists);
    map_free(&r->manifests);
    map_free(&r->data);
}

static enum status local(struct reach *r, const char *uri, char **path, struct err *err) { return table_path(r->arena, r->version, uri, path, err); }

static enum status add_manifests(struct reach *r, const json_t *snapshots, struct err *err) {
    for (size_t i = 0; i < json_array_size(snapshots); i++) {
        const char *uri = ice_text(json_array_get(snapshots, i), "manifest-list");
        char *path = NULL;
        struct str bytes = STR_NULL;
        struct ice_manifest *list = NULL;
        size_t n = 0;
        enum status s = uri ? local(r, uri, &path, err) : err_set(err, E_UNSUPPORTED, "a snapshot without manifest list");
        if (s) return s;
        map_put(r->lists, str_of(path), path);
        s = table_read(r->lake, r->arena, r->version, uri, ICE_MANIFEST_BYTES_MAX, &bytes, err);
        if (!s) s = ice_manifest_list_read(r->arena, bytes, &list, &n, err);
        for (size_t k = 0; !s && k < n; k++)
            if (!(s = local(r, list[k].path, &path, err)) && !map_get(r->manifests, str_of(path))) map_put(r->manifests, str_of(path), &list[k]);
        if (s) return err_prefix(err, "%.200s", uri), s;
    }
    return OK;
}

/* Data files of one manifest. live_only: without those that it says were deleted. */
static enum status add_data(struct reach *r, const struct ice_manifest *m, bool live_only, struct err *err) {
    ARENA_SCOPE(tmp);
    struct str bytes;
    struct ice_entry *entries;
    size_t n;
    enum status s = table_read(r->lake, tmp, r->version, m->path, ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_read(tmp, bytes, m, &entries, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        char *path;
        if (live_only && entries[i].status == ICE_DELETED) continue;
        if (!(s = local(r, entries[i].file.path, &path, err))) map_put(r->data, str_of(path), path);
    }
    if (s) err_prefix(err, "%.200s", m->path);
    return s;
}

static enum status add_all_data(struct reach *r, bool live_only, struct err *err) {
    size_t at = 0;
    struct str key;
    void *value;
    enum status s = OK;
    while (!s && map_next(r->manifests, &at, &key, &value)) s = add_data(r, value, live_only, err);
    return s;
}

static bool inside(const struct table_version *v, const char *path) {
    size_t n = strlen(v->dir);
    return !strncmp(path, v->dir, n) && path[n] == '/' && !strstr(path, "/../");
}

static uint64_t delete_unreached(const struct reach *gone, const struct map *files, const struct map *kept) {
    size_t at = 0;
    struct str key;
    void *value;
    uint64_t n = 0;
    while (map_next(files, &at, &key, &value)) {
        char path[4096];
        if (map_get(kept, key) || key.n >= sizeof(path)) continue;
        memcpy(path, key.p, key.n);
        path[key.n] = 0;
        if (!inside(gone->version, path)) continue;
        lake_delete_later(gone->lake, path);
        n++;
    }
    return n;
}

/* Two catalog entries may name one folder (a table registered under a second name): what one does not know may be the other's. */
static size_t names_of_folder(struct lake *lake, const char *dir) {
    WITH_LOCK(&lake->lock);
    size_t at = 0, n = 0;
    struct str key;
    void *value;
    while (map_next(lake->tables, &at, &key, &value)) {
        const struct table_version *v = ((struct lake_table *)value)->current;
        n += v->dir && !strcmp(v->dir, dir);
    }
    return n;
}

static bool shares_folder(struct lake *lake, const struct table_version *v) { return names_of_folder(lake, v->dir) > 1; }

/* What only the expired snapshots named goes, as soon as no pin is left that may read it. */
static enum status delete_expired(struct lake *lake, const struct table_version *now, const json_t *expired, uint64_t *deleted, struct err *err) {
    ARENA_SCOPE(arena);
    struct reach kept = reach_begin(lake, arena, now), gone = reach_begin(lake, arena, now);
    enum status s = add_manifests(&kept, json_object_get(now->metadata, "snapshots"), err);
    if (!s) s = add_manifests(&gone, expired, err);
    size_t at = 0;
    struct str key;
    void *value;
    bool any = false;
    while (!s && map_next(gone.manifests, &at, &key, &value)) {
        if (map_get(kept.manifests, key)) continue;
        any = true;
        s = add_data(&gone, value, false, err);
    }
    if (!s && any) s = add_all_data(&kept, true, err);
    if (!s)
        *deleted = delete_unreached(&gone, gone.lists, kept.lists) + delete_unreached(&gone, gone.manifests, kept.manifests) +
            delete_unreached(&gone, gone.data, kept.data);
    reach_end(&kept);
    reach_end(&gone);
    return s;
}

static size_t would_expire(const struct table_version *v, int64_t older_than_ms, size_t keep) {
    json_t *copy = json_deep_copy(v->metadata), *removed;
    size_t n = ice_expire_snapshots(copy, older_than_ms, keep, &removed);
    json_decref(removed);
    json_decref(copy);
    return n;
}

static size_t snapshots_max(const struct table_version *v) { return ice_property(v->metadata, COPY_PROPERTY) ? COPY_SNAPSHOTS_MAX : SNAPSHOTS_MAX; }

static int64_t default_limit_ms(struct lake *lake, const struct table_version *v) {
    int64_t limit_ms = host_wall_ms(lake->o.host) - lake->o.snapshot_retention_ms;
    const json_t *snapshots = json_object_get(v->metadata, "snapshots");
    size_t n = json_array_size(snapshots);
    size_t most = snapshots_max(v);
    if (n <= most) return limit_ms;
    int64_t oldest_kept_ms = ice_int(json_array_get(snapshots, n - most), "timestamp-ms", 0); /* appended in order of time */
    return oldest_kept_ms > limit_ms ? oldest_kept_ms : limit_ms;
}

bool maintain_has_too_many_snapshots(const struct table_version *v) {
    return json_array_size(json_object_get(v->metadata, "snapshots")) > snapshots_max(v) * 6 / 5;
}

enum status lake_expire(struct lake *lake, const char *schema, const char *name, int64_t older_than_ms, struct lake_maintained *out, struct err *err) {
    must(lake && out);
    size_t keep = older_than_ms ? 1 : KEEP_SNAPSHOTS; /* asked for by hand: only the current one is sacred */
    struct table_version *v;
    enum status s = table_get(lake, schema, name, &v, err);
    if (s) return s;
    if (!v->metadata) s = err_set(err, E_CORRUPT, "%s", v->unreadable);
    int64_t limit_ms = s ? 0 : older_than_ms ? older_than_ms : default_limit_ms(lake, v);
    size_t n = s ? 0 : would_expire(v, limit_ms, keep);
    table_unref(&v);
    struct lake_maintained done = {.snapshots_expired = n};
    if (s || !n) {
        if (!s) *out = done;
        return s;
    }
    struct table_change change = {.schema = schema, .name = name, .expire_older_than_ms = limit_ms, .expire_keep = keep};
    bool uncertain;
    if ((s = table_commit(lake, &change, 1, NULL, NULL, &uncertain, err))) return s;
    done.snapshots_expired = json_array_size(change.expired);
    if (change.expired && !(s = table_get(lake, schema, name, &v, err))) {
        if (v->metadata && !shares_folder(lake, v)) s = delete_expired(lake, v, change.expired, &done.files_deleted, err);
        table_unref(&v);
    }
    json_decref(change.expired);
    lake_delete_due(lake);
    if (!s) *out = done;
    return s;
}

/* ---- orphans ---- */

static void add_metadata_files(struct reach *r) {
    const json_t *m = r->version->metadata;
    char *path;
    if (!local(r, r->version->pointer, &path, NULL)) map_put(r->lists, str_of(path), path);
    const json_t *log = json_object_get(m, "metadata-log");
    for (size_t i = 0; i < json_array_size(log); i++) {
        const char *uri = ice_text(json_array_get(log, i), "metadata-file");
        if (uri && !local(r, uri, &path, NULL)) map_put(r->lists, str_of(path), path);
    }
    static const char *const statistics[] = {"statistics", "partition-statistics"};
    for (size_t k = 0; k < 2; k++) {
        const json_t *list = json_object_get(m, statistics[k]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *uri = ice_text(json_array_get(list, i), "statistics-path");
            if (uri && !local(r, uri, &path, NULL)) map_put(r->lists, str_of(path), path);
        }
    }
}

struct sweep {
    struct reach *reach;
    int64_t older_than_ms;
    uint64_t deleted;
};

static enum status sweep_folder(struct sweep *w, const char *dir, int depth, struct err *err) {
    const struct fs *fs = w->reach->lake->o.host->fs;
    ARENA_SCOPE(tmp);
    struct fs_entry *entries;
    size_t n;
    enum status s = fs->list(fs->self, tmp, dir, &entries, &n, err);
    if (s == E_NOT_FOUND) return OK;
    for (size_t i = 0; !s && i < n; i++) {
        char *path = arena_printf(tmp, "%s/%s", dir, entries[i].name);
        if (entries[i].stat.is_dir) {
            if (depth < 8) s = sweep_folder(w, path, depth + 1, err);
            continue;
        }
        if (!entries[i].stat.is_file || entries[i].stat.mtime_ns / 1000000 > w->older_than_ms) continue;
        struct str key = str_of(path);
        if (map_get(w->reach->lists, key) || map_get(w->reach->manifests, key) || map_get(w->reach->data, key)) continue;
        lake_delete_later(w->reach->lake, path);
        w->deleted++;
    }
    return s;
}

static enum status sweep_table(struct lake *lake, const struct table_version *v, int64_t older_than_ms, uint64_t *deleted, struct err *err) {
    ARENA_SCOPE(arena);
    struct reach r = reach_begin(lake, arena, v);
    struct sweep w = {.reach = &r, .older_than_ms = older_than_ms};
    enum status s = add_manifests(&r, json_object_get(v->metadata, "snapshots"), err);
    if (!s) s = add_all_data(&r, false, err);
    add_metadata_files(&r);
    if (!s) s = sweep_folder(&w, arena_printf(arena, "%s/data", v->dir), 0, err);
    if (!s) s = sweep_folder(&w, arena_printf(arena, "%s/metadata", v->dir), 0, err);
    reach_end(&r);
    *deleted += w.deleted;
    return s;
}

/* Folders that the catalog does not know and that have no metadata file either: left of a dropped table. With metadata they may be registered again. */
static bool has_metadata(const struct fs *fs, const char *dir) {
    ARENA_SCOPE(tmp);
    struct fs_entry *entries;
    size_t n;
    if (fs->list(fs->self, tmp, arena_printf(tmp, "%s/metadata", dir), &entries, &n, NULL)) return false;
    for (size_t i = 0; i < n; i++)
        if (str_ends(str_of(entries[i].name), STR(".metadata.json"))) return true;
    return false;
}

static void sweep_dropped(struct lake *lake, int64_t older_than_ms, uint64_t *deleted) {
    const struct fs *fs = lake->o.host->fs;
    ARENA_SCOPE(arena);
    struct fs_entry *schemas, *names;
    size_t schemas_n, names_n;
    if (fs->list(fs->self, arena, lake->dir, &schemas, &schemas_n, NULL)) return;
    for (size_t i = 0; i < schemas_n; i++) {
        char *folder = arena_printf(arena, "%s/%s", lake->dir, schemas[i].name);
        if (!schemas[i].stat.is_dir || !strcmp(schemas[i].name, "tmp") || fs->list(fs->self, arena, folder, &names, &names_n, NULL)) continue;
        for (size_t k = 0; k < names_n; k++) {
            char *dir = arena_printf(arena, "%s/%s", folder, names[k].name);
            struct table_version nothing = {.dir = dir};
            if (!names[k].stat.is_dir || has_metadata(fs, dir)) continue;
            struct reach none = reach_begin(lake, arena, &nothing);
            struct sweep w = {.reach = &none, .older_than_ms = older_than_ms};
            sweep_folder(&w, dir, 0, NULL);
            *deleted += w.deleted;
            reach_end(&none);
        }
    }
}

/* Under the commit lock: files of a commit under way are not named yet. Those of foreign writers are protected by the age. */
enum status maintain_orphans(struct lake *lake, int64_t older_than_ms, uint64_t *deleted, struct err *err) {
    ARENA_SCOPE(tmp);
    struct table_version **all;
    size_t n, own = strlen(lake->dir);
    enum status s = table_all(lake, tmp, &all, &n, err);
    for (size_t i = 0; i < (s ? 0 : n); i++) {
        mutex_lock(&lake->commit_lock);
        struct table_version *v = NULL;
        struct err why = {0};
        bool ours = !table_get(lake, all[i]->schema, all[i]->name, &v, &why) && v->metadata && !ice_unreadable(v->metadata) &&
            !strncmp(v->dir, lake->dir, own) && !shares_folder(lake, v);
        if (ours && sweep_table(lake, v, older_than_ms, deleted, &why))
            log_warn("lake", "orphans were not looked for", LOG_STR("table", v->name), LOG_STR("error", why.text), NULL);
        table_unref(&v);
        mutex_unlock(&lake->commit_lock);
        table_unref(&all[i]);
    }
    mutex_lock(&lake->commit_lock);
    if (!s) sweep_dropped(lake, older_than_ms, deleted);
    mutex_unlock(&lake->commit_lock);
    lake_delete_due(lake);
    return s;
}

/* Metadata files go at once: a table that was dropped is not to be found by `register --recover`. No reader needs them any more. */
static void doom_tree(struct lake *lake, const char *dir, int depth) {
    const struct fs *fs = lake->o.host->fs;
    ARENA_SCOPE(tmp);
    struct fs_entry *entries;
    size_t n;
    if (depth > 8 || fs->list(fs->self, tmp, dir, &entries, &n, NULL)) return;
    for (size_t i = 0; i < n; i++) {
        char *path = arena_printf(tmp, "%s/%s", dir, entries[i].name);
        if (entries[i].stat.is_dir) doom_tree(lake, path, depth + 1);
        if (!entries[i].stat.is_file) continue;
        if (str_ends(str_of(path), STR(".metadata.json"))) {
            fs->unlink(fs->self, path, NULL);
        } else {
            lake_delete_later(lake, path);
        }
    }
}

void delete_table_files(struct lake *lake, const struct table_version *version) {
    size_t n = strlen(lake->dir);
    if (!version->dir || strncmp(version->dir, lake->dir, n) != 0 || version->dir[n] != '/') return; /* not below our folder: not ours to delete */
    lake_mark_dirty(lake);
    struct table_version *still = NULL;
    if (!table_get(lake, version->schema, version->name, &still, NULL)) table_unref(&still); /* looks at the catalog again, without the dropped table */
    if (names_of_folder(lake, version->dir)) return;
    doom_tree(lake, version->dir, 0);
}
