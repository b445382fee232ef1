/* The publish step. Order of what reaches the disk: data files (moved and synced by the caller), manifests, manifest list, metadata file, their folders'
 * entries; only then the pointers move, all in one transaction of the ledger. Until then nothing names the new files; after a crash they are orphans. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "lake/lake_priv.h"

struct metric metric_commits = {"cupel_lake_commits_total", "Commits to lake tables (one per table and commit).", METRIC_COUNTER, "table"};
struct metric metric_conflicts = {
    "cupel_lake_commit_conflicts_total", "Attempts repeated because another writer had committed to the table.", METRIC_COUNTER, ""};

struct prepared {
    struct table_version *base;
    struct snapshot_work work;
    const char *pointer; /* URI of the new metadata file */
    json_t *dropped; /* metadata files that fell out of the log */
    json_t *expired;
};

enum stage { AT_SWAP, AT_ALSO, AT_COMMIT };

struct swap {
    struct table_change *changes;
    struct prepared *prepared;
    size_t n;
    commit_also also;
    void *context;
    enum stage stage;
};

static enum status swap_all(void *context, struct ledger *ledger, struct err *err) {
    struct swap *w = context;
    w->stage = AT_SWAP;
    for (size_t i = 0; i < w->n; i++) {
        const struct prepared *p = &w->prepared[i];
        enum status s = ledger_catalog_swap(ledger, w->changes[i].schema, w->changes[i].name, p->base ? p->base->pointer : NULL, p->pointer, err);
        if (s) return s;
    }
    w->stage = AT_ALSO;
    enum status s = w->also ? w->also(w->context, ledger, err) : OK;
    if (!s) w->stage = AT_COMMIT;
    return s;
}

static enum status may_change(const struct table_change *c, const struct table_version *base, struct err *err) {
    if (!base->metadata) return err_set(err, E_CORRUPT, "%s", base->unreadable);
    int version = ice_version(base->metadata);
    if (version != 2) return err_set(err, E_UNSUPPORTED, "table %s.%s has format version %d: only version 2 is written", c->schema, c->name, version);
    const char *why = ice_unreadable(base->metadata);
    if (why) return err_set(err, E_UNSUPPORTED, "table %s.%s: %s", c->schema, c->name, why);
    /* appending beside delete files is sound: they apply to older sequence numbers only */
    if (c->removed && base->unreadable) return err_set(err, E_UNSUPPORTED, "%s", base->unreadable);
    return OK;
}

/* Of tables that we make: old metadata files go, or a table with a commit per landing file would fill the disk with them. */
static const char *const default_properties[] = {
    "write.metadata.delete-after-commit.enabled", "true", "write.metadata.previous-versions-max", "25", "write.parquet.compression-codec", "zstd", NULL};

static enum status make_metadata(struct lake *lake, struct table_change *c, struct prepared *p, int64_t now_ms, struct err *err) {
    if (!c->make) return err_set(err, E_NOT_FOUND, "there is no table %s.%s", c->schema, c->name);
    enum status s = table_check_name(c->schema, c->name, err);
    if (s) return s;
    p->work.dir = arena_printf(p->work.arena, "%s/%s/%s", lake->dir, c->schema, c->name);
    struct ice_new_table t = {.location = arena_printf(p->work.arena, "%s/%s/%s", lake->root_uri, c->schema, c->name),
        .columns = c->columns,
        .columns_n = c->columns_n,
        .now_ms = now_ms,
        .partition_by = c->partition_by,
        .properties = c->properties};
    if ((s = ice_metadata_new(&t, &p->work.metadata, err))) return s;
    for (const char *const *property = default_properties; *property; property += 2)
        if (!ice_property(p->work.metadata, property[0])) ice_set_property(p->work.metadata, property[0], property[1]);
    return OK;
}

static enum status change_metadata(struct table_change *c, struct prepared *p, int64_t now_ms, struct err *err) {
    enum status s = may_change(c, p->base, err);
    if (!s && c->check) s = c->check(c->check_context, p->base, err);
    if (s) return s;
    p->work.dir = p->base->dir;
    p->work.metadata = ice_metadata_next(p->base->metadata, p->base->pointer, now_ms, &p->dropped);
    bool changed;
    if (c->columns && (s = ice_evolve(p->work.metadata, c->columns, c->columns_n, &changed, err))) return err_prefix(err, "table %s.%s", c->schema, c->name), s;
    for (const char *const *property = c->properties; property && *property; property += 2) ice_set_property(p->work.metadata, property[0], property[1]);
    if (c->expire_older_than_ms) ice_expire_snapshots(p->work.metadata, c->expire_older_than_ms, c->expire_keep, &p->expired);
    return OK;
}

static uint64_t version_of_name(const struct table_version *base) {
    const char *file = strrchr(base->pointer, '/');
    return file ? strtoull(file + 1, NULL, 10) : 0;
}

/* Writes everything that one table's new state needs. */
static enum status prepare(struct lake *lake, struct table_change *c, struct prepared *p, struct err *err) {
    int64_t now_ms = host_wall_ms(lake->o.host);
    struct snapshot_work *w = &p->work;
    w->lake = lake;
    w->base = p->base;
    w->change = c;
    w->now_ms = now_ms;
    enum status s = p->base ? change_metadata(c, p, now_ms, err) : make_metadata(lake, c, p, now_ms, err);
    if (s) return s;
    if (!p->base && (s = table_make_folders(lake, p->work.dir, "metadata/file", err))) return s;
    if (c->operation && (s = snapshot_write(w, err))) return err_prefix(err, "table %s.%s", c->schema, c->name), s;
    uint64_t number = p->base ? version_of_name(p->base) + 1 : 0;
    char *relative = arena_printf(w->arena, "metadata/%05llu-%s.metadata.json", (unsigned long long)number, new_uuid_text(w->arena));
    BUF_SCOPE(bytes);
    ice_metadata_write(w->metadata, &bytes);
    if (bytes.n > ICE_METADATA_BYTES_MAX)
        return err_set(err, E_LIMIT, "table %s.%s: metadata would be over %u bytes; expire snapshots", c->schema, c->name, ICE_METADATA_BYTES_MAX);
    p->pointer = snapshot_uri(w, relative);
    s = snapshot_put_file(w, relative, buf_view(&bytes), err);
    const struct fs *fs = lake->o.host->fs;
    if (!s) s = fs->sync_dir(fs->self, arena_printf(w->arena, "%s/metadata", w->dir), err);
    return s;
}

static void remove_written(struct lake *lake, struct prepared *prepared, size_t n) {
    const struct fs *fs = lake->o.host->fs;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < prepared[i].work.written.n; k++) fs->unlink(fs->self, prepared[i].work.written.paths[k], NULL);
}

static void release(struct prepared *prepared, size_t n) {
    for (size_t i = 0; i < n; i++) {
        table_unref(&prepared[i].base);
        json_decref(prepared[i].work.metadata);
        json_decref(prepared[i].dropped);
        json_decref(prepared[i].expired);
    }
}

static void delete_dropped(struct lake *lake, const struct prepared *p) {
    const char *wanted = ice_property(p->work.metadata, "write.metadata.delete-after-commit.enabled");
    if (!wanted || strcmp(wanted, "true") != 0 || !p->base) return;
    char *folder = arena_printf(p->work.arena, "%s/metadata/", p->work.dir);
    for (size_t i = 0; i < json_array_size(p->dropped); i++) {
        char *path;
        if (table_path(p->work.arena, p->base, json_string_value(json_array_get(p->dropped, i)), &path, NULL)) continue;
        if (!strncmp(path, folder, strlen(folder))) lake_delete_later(lake, path);
    }
}

static void committed(struct lake *lake, struct table_change *changes, struct prepared *prepared, size_t n) {
    for (size_t i = 0; i < n; i++) {
        delete_dropped(lake, &prepared[i]);
        if (prepared[i].expired && json_array_size(prepared[i].expired)) {
            changes[i].expired = prepared[i].expired;
            prepared[i].expired = NULL;
        }
        char table[300];
        snprintf(table, sizeof(table), "%s.%s", changes[i].schema, changes[i].name);
        series_add(metric_series(&metric_commits, table), 1);
    }
}

static enum status bases(struct lake *lake, struct table_change *changes, struct prepared *prepared, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        enum status s = table_get(lake, changes[i].schema, changes[i].name, &prepared[i].base, err);
        if (s && (s != E_NOT_FOUND || !changes[i].make)) return s;
        if (s) prepared[i].base = NULL;
    }
    return OK;
}

/* One attempt; *again when a foreign commit came in between. */
static enum status attempt(
    struct lake *lake, struct table_change *changes, size_t n, commit_also also, void *context, bool *uncertain, bool *again, struct err *err) {
    ARENA_SCOPE(arena);
    struct prepared *prepared = arena_new_array(arena, struct prepared, n);
    for (size_t i = 0; i < n; i++) prepared[i].work.arena = arena;
    struct swap w = {.changes = changes, .prepared = prepared, .n = n, .also = also, .context = context, .stage = AT_SWAP};
    enum status s = bases(lake, changes, prepared, n, err);
    bool in_ledger = false;
    for (size_t i = 0; i < n && !s; i++) s = prepare(lake, &changes[i], &prepared[i], err);
    if (!s) {
        in_ledger = true;
        s = ledger_transaction(lake->o.ledger, swap_all, &w, err);
    }
    *again = s == E_CONFLICT && in_ledger && w.stage == AT_SWAP;
    *uncertain = s && in_ledger && w.stage == AT_COMMIT;
    if (s && !*uncertain) remove_written(lake, prepared, n);
    if (!s) committed(lake, changes, prepared, n);
    release(prepared, n);
    return s;
}

enum status table_commit(struct lake *lake, struct table_change *changes, size_t n, commit_also also, void *context, bool *uncertain, struct err *err) {
    must(lake && n && uncertain);
    mutex_lock(&lake->commit_lock);
    enum status s = OK;
    bool again = true;
    *uncertain = false;
    for (int i = 0; i < COMMIT_ATTEMPTS_MAX && again; i++) {
        s = attempt(lake, changes, n, also, context, uncertain, &again, err);
        lake_mark_dirty(lake);
        if (again) series_add(metric_series(&metric_conflicts), 1);
    }
    mutex_unlock(&lake->commit_lock);
    return s;
}
