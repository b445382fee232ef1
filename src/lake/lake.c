/* The lake as others see it: opening, streams, commits of other writers. */
#include "lake/lake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "host/terminal.h"
#include "lake/lake_priv.h"

#define FLUSH_BYTES_DEFAULT UINT64_C(128000000)
#define FLUSH_MS_DEFAULT 300000
#define SNAPSHOT_RETENTION_MS_DEFAULT (INT64_C(5) * 24 * HOUR_MS)
#define FILE_BYTES_DEFAULT UINT64_C(128000000)
#define PUBLISH_MS_DEFAULT 30000

struct metric metric_files = {"cupel_lake_files", "Data files of the current snapshot.", METRIC_GAUGE, "table"};
struct metric metric_snapshots = {"cupel_lake_snapshots", "Snapshots kept.", METRIC_GAUGE, "table"};
struct metric metric_table_bytes = {"cupel_lake_table_bytes", "Bytes of the data files of the current snapshot.", METRIC_GAUGE, "table"};

const struct engine_column bronze_columns[] = {
    {.name = "_event_id", .type = "UUID"},
    {.name = "_stream", .type = "VARCHAR"},
    {.name = "_partition", .type = "INTEGER"},
    {.name = "_offset", .type = "BIGINT"},
    {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"},
    {.name = "_source", .type = "VARCHAR"},
    {.name = "_key", .type = "VARCHAR"},
    {.name = "_headers", .type = "MAP(VARCHAR, VARCHAR)"},
    {.name = "_content_type", .type = "VARCHAR"},
    {.name = "payload", .type = "VARCHAR"},
    {.name = "_body", .type = "BLOB"},
    {.name = "_valid_json", .type = "BOOLEAN"},
};
const size_t bronze_columns_n = sizeof(bronze_columns) / sizeof(bronze_columns[0]);

/* Absolute, without . and .. parts: the path becomes part of URIs that other programs compare as text. */
static char *absolute(const char *path) {
    ARENA_SCOPE(tmp);
    char *whole = path[0] == '/' ? arena_strdup(tmp, path) : arena_printf(tmp, "%s/%s", host_current_dir(tmp), path), *save = NULL;
    BUF_SCOPE(out);
    for (char *part = strtok_r(whole, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (!strcmp(part, ".")) continue;
        if (strcmp(part, "..") != 0) {
            buf_printf(&out, "/%s", part);
        } else {
            while (out.n && out.p[--out.n] != '/') {}
        }
    }
    return buf_take(&out);
}

static void set_defaults(struct lake_options *o) {
    if (!o->flush_bytes) o->flush_bytes = FLUSH_BYTES_DEFAULT;
    if (o->flush_ms <= 0) o->flush_ms = FLUSH_MS_DEFAULT;
    if (o->snapshot_retention_ms <= 0) o->snapshot_retention_ms = SNAPSHOT_RETENTION_MS_DEFAULT;
    if (o->publish_ms <= 0) o->publish_ms = PUBLISH_MS_DEFAULT;
    if (!o->target_file_bytes) o->target_file_bytes = FILE_BYTES_DEFAULT;
}

static enum status prepare_folders(struct lake *lake, struct err *err) {
    const struct fs *fs = lake->o.host->fs;
    ARENA_SCOPE(tmp);
    char *temporary = arena_printf(tmp, "%s/tmp", lake->dir);
    if (fs_exists(fs, temporary)) { /* left by a process that is gone: the lock file says that we are alone */
        enum status s = fs_remove_tree(fs, temporary, err);
        if (s) return s;
    }
    enum status s = fs_mkdirs(fs, temporary, err);
    if (!s) s = fs->sync_dir(fs->self, lake->dir, err);
    const char *slash = strrchr(lake->dir, '/');
    if (!s && slash && slash != lake->dir)
        s = fs->sync_dir(fs->self, arena_strndup(tmp, lake->dir, (size_t)(slash - lake->dir)), err); /* the lake's own entry */
    return s;
}

enum status lake_open(const struct lake_options *options, struct lake **out, struct err *err) {
    must(options->host && options->ledger && options->dir && out);
    struct lake *lake = mem_zalloc(sizeof(*lake));
    lake->o = *options;
    set_defaults(&lake->o);
    lake->dir = absolute(options->dir);
    lake->root_uri = mem_printf("file://%s", lake->dir);
    lake->o.dir = lake->dir;
    lake->tables = map_new();
    lake->streams = map_new();
    mutex_init(&lake->commit_lock);
    mutex_init(&lake->lock);
    mutex_init(&lake->writer_lock);
    mutex_init(&lake->flush_lock);
    parquet_readers_init(&lake->parquet_readers);
    condition_init(&lake->writer_wake);
    struct metric *const all[] = {&metric_commits, &metric_conflicts, &metric_files, &metric_snapshots, &metric_table_bytes};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) metric_register(all[i]);
    enum status s = prepare_folders(lake, err);
    if (!s) {
        WITH_LOCK(&lake->lock);
        s = tables_refresh(lake, err);
    }
    if (s) {
        lake_close(&lake);
        return err_prefix(err, "opening the lake"), s;
    }
    *out = lake;
    return OK;
}

static void free_tables(struct lake *lake) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(lake->tables, &at, &key, &value)) {
        struct lake_table *t = value;
        table_unref(&t->current);
        free(t->schema);
        free(t->name);
        free(t->shown_offsets);
        free(t);
    }
    map_free(&lake->tables);
    at = 0;
    while (map_next(lake->streams, &at, &key, &value)) {
        free(((struct lake_stream *)value)->name);
        free(value);
    }
    map_free(&lake->streams);
}

void lake_close(struct lake **lake) {
    struct lake *l = *lake;
    *lake = NULL;
    if (!l) return;
    lake_stop(l, false);
    mutex_lock(&l->lock);
    views_close(l);
    mutex_unlock(&l->lock);
    lake_delete_due(l);
    while (l->doomed) { /* still pinned by somebody: orphans of the next start */
        struct doomed *d = l->doomed;
        l->doomed = d->next;
        free(d->path);
        free(d);
    }
    free_tables(l);
    condition_destroy(&l->writer_wake);
    parquet_readers_destroy(&l->parquet_readers);
    mutex_destroy(&l->flush_lock);
    mutex_destroy(&l->writer_lock);
    mutex_destroy(&l->lock);
    mutex_destroy(&l->commit_lock);
    free(l->root_uri);
    free(l->dir);
    free(l);
}

char *lake_temporary_path(struct lake *lake, struct arena *arena, const char *suffix) {
    return arena_printf(arena, "%s/tmp/%s%s", lake->dir, new_uuid_text(arena), suffix ? suffix : "");
}

/* ---- streams ---- */

static enum status make_bronze(struct lake *lake, const char *name, const char *number, struct err *err) {
    const char *const properties[] = {STREAM_PROPERTY, number, NULL};
    struct table_change change = {.schema = "bronze",
        .name = name,
        .make = true,
        .partition_by = "_received_at",
        .columns = bronze_columns,
        .columns_n = bronze_columns_n,
        .properties = properties};
    bool uncertain;
    return table_commit(lake, &change, 1, NULL, NULL, &uncertain, err);
}

/* The table is there, but perhaps belongs to an earlier stream of this name: positions are by number, so the new one starts at 0 beside its rows. */
static enum status adopt_bronze(struct lake *lake, const char *name, const char *number, struct table_version *v, struct err *err) {
    if (!v->metadata) return err_set(err, E_CORRUPT, "%s", v->unreadable);
    const char *have = ice_property(v->metadata, STREAM_PROPERTY);
    if (have && !strcmp(have, number)) return OK;
    const char *const properties[] = {STREAM_PROPERTY, number, NULL};
    struct table_change change = {.schema = "bronze", .name = name, .columns = bronze_columns, .columns_n = bronze_columns_n, .properties = properties};
    bool uncertain;
    return table_commit(lake, &change, 1, NULL, NULL, &uncertain, err);
}

static void report_landed(struct lake *lake, const struct table_version *v, uint16_t number) {
    uint64_t offsets[EVENT_PARTITIONS_MAX];
    uint16_t n = table_positions_n(v, number);
    for (uint16_t i = 0; i < n; i++) offsets[i] = table_position(v, number, i);
    if (n && lake->o.log) stream_landed(lake->o.log, number, offsets, n);
}

/* A log that ends before what the table has would give offsets a second time, and the flush would take those records for landed. */
static enum status check_log_reaches(struct lake *lake, const struct table_version *v, uint16_t number, struct err *err) {
    if (!lake->o.log) return OK;
    ARENA_SCOPE(tmp);
    struct stream_state state;
    enum status s = stream_state(lake->o.log, tmp, number, &state, err);
    if (s) return s;
    uint16_t n = table_positions_n(v, number);
    for (uint16_t i = 0; i < n; i++) {
        uint64_t landed = table_position(v, number, i), end = i < state.partitions_n ? state.partitions[i].end_offset : 0;
        if (landed > end)
            return err_set(err, E_CORRUPT,
                "the table has partition %u up to offset %llu, the log ends at %llu: the log is older than the lake; restore both from the same backup", i,
                (unsigned long long)landed, (unsigned long long)end);
    }
    return OK;
}

static struct lake_stream *enter_stream(struct lake *lake, uint16_t number, const char *name) {
    struct lake_stream *stream = map_get(lake->streams, str_of(name));
    if (!stream) {
        stream = mem_zalloc(sizeof(*stream));
        stream->name = mem_strdup(name);
        writer_series(stream);
        map_put(lake->streams, str_of(name), stream);
    }
    stream->number = number;
    stream->gone = false;
    return stream;
}

enum status lake_add_stream(struct lake *lake, uint16_t number, const char *name, const struct lake_stream_options *options, struct err *err) {
    must(lake && number && name && options);
    ARENA_SCOPE(tmp);
    char *text = arena_printf(tmp, "%u", number);
    struct table_version *v = NULL;
    enum status s = table_check_name("bronze", name, err);
    if (!s) s = table_get(lake, "bronze", name, &v, err);
    if (s == E_NOT_FOUND) {
        s = make_bronze(lake, name, text, err);
    } else if (!s) {
        s = adopt_bronze(lake, name, text, v, err);
    }
    table_unref(&v);
    if (!s) s = table_get(lake, "bronze", name, &v, err);
    if (!s) s = check_log_reaches(lake, v, number, err);
    if (s) {
        table_unref(&v);
        return err_prefix(err, "bronze table of stream %s", name), s;
    }
    report_landed(lake, v, number); /* on restart the table wins */
    table_unref(&v);
    WITH_LOCK(&lake->lock);
    enter_stream(lake, number, name)->options = *options;
    lake->dirty = true;
    return OK;
}

enum status lake_drop_stream(struct lake *lake, const char *name, bool delete_data, struct err *err) {
    mutex_lock(&lake->flush_lock); /* not while it is being flushed */
    mutex_lock(&lake->lock);
    struct lake_stream *stream = map_get(lake->streams, str_of(name));
    bool known = stream && !stream->gone;
    if (known) stream->gone = true;
    lake->dirty = true;
    mutex_unlock(&lake->lock);
    enum status s = known ? OK : err_set(err, E_NOT_FOUND, "there is no stream %s", name);
    struct table_version *v;
    if (!s && delete_data && !(s = table_get(lake, "bronze", name, &v, err))) {
        mutex_lock(&lake->commit_lock);
        s = ledger_catalog_drop(lake->o.ledger, "bronze", name, err);
        if (!s) delete_table_files(lake, v);
        lake_mark_dirty(lake);
        mutex_unlock(&lake->commit_lock);
        table_unref(&v);
    }
    mutex_unlock(&lake->flush_lock);
    return s;
}

/* ---- commits by other writers ---- */

static const char *partition_column(const struct lake_append *a) {
    for (size_t i = 0; i < a->columns_n; i++) {
        if (strcmp(a->columns[i].name, "_received_at") != 0) continue;
        const char *type = a->columns[i].type;
        return !strcasecmp(type, "TIMESTAMP WITH TIME ZONE") || !strcasecmp(type, "TIMESTAMPTZ") ? "_received_at" : NULL;
    }
    return NULL;
}

struct target {
    const char *dir; /* of the table */
    const char *folder; /* partition field's name, NULL: no folders by partition */
};

/* Where new files go: by the spec that the table has, or will have. */
static enum status find_target(struct lake *lake, struct arena *arena, const struct lake_append *a, struct target *out, struct err *err) {
    struct table_version *v;
    enum status s = table_get(lake, a->schema, a->name, &v, err);
    if (s == E_NOT_FOUND) {
        const char *column = partition_column(a);
        *out = (struct target){arena_printf(arena, "%s/%s/%s", lake->dir, a->schema, a->name), column ? arena_printf(arena, "%s_hour", column) : NULL};
        return OK;
    }
    if (s) return s;
    if (!v->metadata) {
        s = err_set(err, E_CORRUPT, "%s", v->unreadable);
    } else {
        const json_t *spec = table_write_spec(v->metadata);
        const char *field = ice_text(json_array_get(json_object_get(spec, "fields"), 0), "name");
        *out = (struct target){arena_strdup(arena, v->dir), field && !strchr(field, '/') ? arena_strdup(arena, field) : NULL};
    }
    table_unref(&v);
    return s;
}

struct placed { /* files that are at their final names */
    struct arena *arena;
    char **paths;
    size_t n;
};

static enum status place_file(
    struct lake *lake, const struct lake_file *from, const struct target *target, struct placed *placed, struct new_file *to, struct err *err) {
    const struct fs *fs = lake->o.host->fs;
    *to = (struct new_file){.relative = table_data_name(placed->arena, target->folder, from->hour_ms),
        .hour_ms = from->hour_ms,
        .rows = from->rows,
        .size_bytes = from->size_bytes,
        .columns = from->columns,
        .columns_n = from->columns_n};
    char *path = arena_printf(placed->arena, "%s/%s", target->dir, to->relative);
    char *dir = arena_strndup(placed->arena, path, (size_t)(strrchr(path, '/') - path));
    enum status s = parquet_check(fs, from->temporary_path, from->size_bytes, err);
    if (!s) s = fs_sync_path(fs, from->temporary_path, err); /* DuckDB does not sync what COPY writes */
    if (!s) s = table_make_folders(lake, target->dir, to->relative, err);
    if (!s) s = fs->rename(fs->self, from->temporary_path, path, err);
    if (s) return s;
    placed->paths[placed->n++] = path;
    return fs->sync_dir(fs->self, dir, err);
}

static enum status place_all(struct lake *lake, const struct lake_append *a, struct placed *placed, struct table_change *change, struct err *err) {
    struct target target = {0};
    enum status s = table_check_name(a->schema, a->name, err);
    if (!s) s = find_target(lake, placed->arena, a, &target, err);
    if (s) return s;
    struct new_file *files = arena_new_array(placed->arena, struct new_file, a->files_n + 1);
    for (size_t i = 0; i < a->files_n; i++)
        if ((s = place_file(lake, &a->files[i], &target, placed, &files[i], err))) return err_prefix(err, "table %s.%s", a->schema, a->name), s;
    *change = (struct table_change){.schema = a->schema,
        .name = a->name,
        .make = true,
        .partition_by = partition_column(a),
        .columns = a->columns,
        .columns_n = a->columns_n,
        .files = files,
        .files_n = a->files_n,
        .operation = a->files_n ? "append" : NULL,
        .properties = a->properties};
    return OK;
}

enum status lake_commit_checked(
    struct lake *lake, const struct lake_append *appends, size_t n, const struct commit_check *check, commit_also also, void *context, struct err *err) {
    must(lake && n);
    ARENA_SCOPE(arena);
    struct table_change *changes = arena_new_array(arena, struct table_change, n);
    size_t files = 0;
    for (size_t i = 0; i < n; i++) files += appends[i].files_n;
    struct placed placed = {.arena = arena, .paths = arena_new_array(arena, char *, files + 1)};
    enum status s = OK;
    for (size_t i = 0; i < n && !s; i++) {
        s = place_all(lake, &appends[i], &placed, &changes[i], err);
        if (check) {
            changes[i].check = check->f;
            changes[i].check_context = check->context;
        }
    }
    bool uncertain = false;
    if (!s) s = table_commit(lake, changes, n, also, context, &uncertain, err);
    const struct fs *fs = lake->o.host->fs;
    for (size_t i = 0; s && !uncertain && i < placed.n; i++) fs->unlink(fs->self, placed.paths[i], NULL);
    return s;
}

enum status lake_replace(struct lake *lake, const char *schema, const char *name, const struct lake_file *file, const struct map *removed, struct err *err) {
    ARENA_SCOPE(arena);
    struct lake_append append = {.schema = schema, .name = name, .files = file, .files_n = 1};
    struct placed placed = {.arena = arena, .paths = arena_new_array(arena, char *, 2)};
    struct table_change change;
    bool uncertain = false;
    enum status s = place_all(lake, &append, &placed, &change, err);
    if (!s) {
        change.make = false;
        change.removed = removed;
        change.operation = "replace";
        s = table_commit(lake, &change, 1, NULL, NULL, &uncertain, err);
    }
    if (s && !uncertain && placed.n) lake->o.host->fs->unlink(lake->o.host->fs->self, placed.paths[0], NULL);
    return s;
}

enum status lake_commit(struct lake *lake, const struct lake_append *appends, size_t n,
    enum status (*also)(void *context, struct ledger *ledger, struct err *err), void *context, struct err *err) {
    return lake_commit_checked(lake, appends, n, NULL, also, context, err);
}

static enum status copy_columns(
    struct arena *arena, const json_t *metadata, const struct engine_column *columns, size_t columns_n, struct engine_column **out, struct err *err) {
    size_t n;
    return ice_columns(arena, ice_schema(metadata), columns, columns_n, out, &n, err);
}

enum status lake_plan_columns(struct lake *lake, struct arena *arena, const char *schema, const char *name, const struct engine_column *columns,
    size_t columns_n, struct engine_column **out, struct err *err) {
    struct table_version *v = NULL;
    json_t *metadata = NULL, *dropped = NULL;
    enum status s = table_get(lake, schema, name, &v, err);
    if (s == E_NOT_FOUND) {
        s = ice_metadata_new(&(struct ice_new_table){.location = "file:///", .columns = columns, .columns_n = columns_n}, &metadata, err);
    } else if (!s && !v->metadata) {
        s = err_set(err, E_CORRUPT, "%s", v->unreadable);
    } else if (!s) {
        bool changed;
        metadata = ice_metadata_next(v->metadata, NULL, 0, &dropped);
        s = ice_evolve(metadata, columns, columns_n, &changed, err);
    }
    if (!s) s = copy_columns(arena, metadata, columns, columns_n, out, err);
    json_decref(metadata);
    table_unref(&v);
    if (s) err_prefix(err, "table %s.%s", schema, name);
    return s;
}
