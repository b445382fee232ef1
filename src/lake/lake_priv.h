/* What the files of the lake's table side share: table versions, the publish step, pins, the writer's state.
 *
 * Locks, in this order: commit_lock (one commit at a time; held over the writing of manifests and the ledger's swap), then lock (tables, view, deletions; held
 * shortly, and over the loading of changed tables). Versions and parts are immutable and counted; whoever holds a reference may read without a lock. */
#ifndef CUPEL_LAKE_LAKE_PRIV_H
#define CUPEL_LAKE_LAKE_PRIV_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/metrics.h"
#include "host/thread.h"
#include "lake/iceberg.h"
#include "lake/parquet.h"
#include "lake/lake.h"

#define HOUR_MS INT64_C(3600000)
#define HOUR_NONE INT64_MIN
#define POSITION_PREFIX "cupel.position."
#define STREAM_PROPERTY "cupel.stream"
#define COPY_PROPERTY "cupel.version" /* of lake copies: the version of the warehouse that they show */
#define COPY_ORIGIN "cupel.warehouse" /* and its identity; missing: of a warehouse that has none */

/* A live data file, as far as planning needs it. Bounds are those of the manifest; `known` flags say whether there are any. */
struct table_file {
    const char *path; /* absolute */
    const char *uri;
    int64_t hour; /* partition, hours since 1970; HOUR_NONE: null or another spec */
    int spec_id;
    int64_t records, size_bytes, sequence_number;
    struct engine_file_bounds bounds;
};

/* The live files of one manifest. Manifests never change, so parts are shared by all versions that name them. */
struct table_part {
    atomic_uint refs;
    struct arena *arena;
    const char *uri;
    struct table_file *files;
    size_t n;
    uint64_t records, bytes;
    const char *unreadable; /* or NULL */
};

struct table_version {
    atomic_uint refs;
    struct arena *arena;
    uint64_t number;
    const char *schema, *name;
    const char *pointer; /* metadata URI as the catalog has it */
    const char *dir; /* folder where the table really is */
    json_t *metadata; /* NULL: could not be loaded, see unreadable */
    struct ice_manifest *manifests;
    struct table_part **parts; /* one per manifest */
    size_t manifests_n;
    const char **files; /* paths of all parts */
    struct engine_file_bounds *bounds; /* one per file */
    size_t files_n;
    uint64_t records, bytes;
    struct engine_column *columns;
    size_t columns_n;
    const char *unreadable; /* why it cannot be read, or NULL */
};

/* A stream that flushes into this table. */
struct lake_stream {
    uint16_t number;
    char *name;
    struct lake_stream_options options;
    int64_t retry_at_ms, backoff_ms; /* after a failed flush; monotonic */
    uint32_t short_flushes; /* flushes in a row that found fewer rows than offsets */
    bool gone; /* dropped; entries stay until the lake is closed, since others may hold a pointer */
    struct series *lag_ms, *flush_rows, *flush_bytes, *flush_failures, *flush_seconds;
};

struct lake_table {
    char *schema, *name;
    struct table_version *current; /* never NULL */
    bool seen; /* during refresh */
    /* what the last view said of it, so that its version moves only when something changed */
    uint64_t shown_number, shown_version;
    bool shown_has_log;
    log_position shown_log_from;
    uint64_t *shown_offsets;
    uint16_t shown_offsets_n;
};

/* One consistent read, shared by all pins until something changes. */
struct shared_view {
    unsigned refs; /* under lock */
    uint64_t epoch;
    struct arena *arena;
    struct engine_table *tables;
    struct table_version **versions;
    size_t n;
    log_position log_from; /* smallest */
    struct shared_view *next;
};

struct doomed {
    char *path;
    uint64_t epoch;
    struct doomed *next;
};

struct lake {
    struct lake_options o;
    char *dir; /* absolute */
    char *root_uri;
    mutex commit_lock, lock;
    struct map *tables; /* "schema.name" -> struct lake_table */
    struct map *streams; /* name -> struct lake_stream; entries live until close */
    bool loaded, dirty;
    uint64_t catalog_version, next_number, epoch;
    struct shared_view *view, *views; /* current (holds a reference), and all that live */
    struct doomed *doomed;
    /* writer */
    struct thread writer, publisher;
    mutex writer_lock;
    condition writer_wake;
    bool writer_stop;
    mutex flush_lock; /* one flush at a time */
    int64_t next_maintenance_ms, next_trim_ms;
    uint64_t maintenance_rounds;
    struct parquet_readers parquet_readers; /* of look-ups by id */
};

/* ---- table.c: versions ---- */
/* Loads what the pointer names. Parts of `previous` (may be NULL) are shared where the manifests are the same. A table that cannot be loaded gives a version
 * with `unreadable` and without metadata. Caller holds lock. */
void table_load(struct lake *lake, const char *schema, const char *name, const char *pointer, const struct table_version *previous, struct table_version **out);
struct table_version *table_ref(struct table_version *version);
void table_unref(struct table_version **version);
/* Where a URI of this table is on this machine: the recorded location is replaced by the real folder. E_UNSUPPORTED: another scheme. */
enum status table_path(struct arena *arena, const struct table_version *version, const char *uri, char **out, struct err *err);
/* The same by its parts. */
enum status table_resolve(struct arena *arena, const char *location, const char *dir, const char *uri, char **out, struct err *err);
/* The URI by which this table's metadata names a path below its folder. */
char *table_uri(struct arena *arena, const struct table_version *version, const char *relative);
enum status table_read(
    struct lake *lake, struct arena *arena, const struct table_version *version, const char *uri, size_t size_max, struct str *out, struct err *err);
/* Landed offset of a partition of stream `number`: the table's property, or, when a foreign writer has removed it, the highest that a snapshot's summary
 * says. */
uint64_t table_position(const struct table_version *version, uint16_t number, uint16_t partition);
/* Partitions that have a position. */
uint16_t table_positions_n(const struct table_version *version, uint16_t number);
enum status table_check_name(const char *schema, const char *name, struct err *err);

/* ---- table_registry.c: the set of tables, pins ---- */
/* Follows the catalog: loads changed tables. Caller holds lock. */
enum status tables_refresh(struct lake *lake, struct err *err);
/* A reference to the newest version; E_NOT_FOUND. Takes lock. */
enum status table_get(struct lake *lake, const char *schema, const char *name, struct table_version **out, struct err *err);
/* References to all tables' newest versions, in the arena. Takes lock. */
enum status table_all(struct lake *lake, struct arena *arena, struct table_version ***out, size_t *n, struct err *err);
void lake_mark_dirty(struct lake *lake); /* takes lock */
void views_close(struct lake *lake); /* at the end; caller holds lock */
/* The file goes as soon as no pin of a view up to now is left. Takes lock; copies the path. */
void lake_delete_later(struct lake *lake, const char *path);
void lake_delete_due(struct lake *lake);
/* No view older than the epoch is pinned. */
bool lake_views_newer(struct lake *lake, uint64_t epoch);

/* ---- table_commit.c: the publish step ---- */
struct new_file {
    const char *relative; /* below the table's folder, final name */
    int64_t hour_ms;
    uint64_t rows, size_bytes;
    const struct engine_column_stats *columns;
    size_t columns_n;
};

struct table_change {
    const char *schema, *name;
    bool make; /* when it does not exist */
    const char *partition_by; /* of a table that is made */
    const struct engine_column *columns; /* evolve to hold these; NULL: leave the schema */
    size_t columns_n;
    const struct new_file *files;
    size_t files_n;
    const struct map *removed; /* URIs of data files that go; E_CONFLICT when one is not live any more. NULL: none */
    const char *operation; /* append | replace | delete; NULL: no snapshot */
    const char *const *properties; /* name, value (NULL: remove is not offered), …, NULL */
    int64_t expire_older_than_ms; /* 0: no expiry */
    size_t expire_keep;
    /* Looks at the version that the commit builds on; a failure ends the commit. May be NULL. */
    enum status (*check)(void *context, const struct table_version *base, struct err *err);
    void *check_context;
    /* out: the snapshots taken out of the metadata (a JSON array owned by the caller), or NULL */
    json_t *expired;
};
typedef enum status (*commit_also)(void *context, struct ledger *ledger, struct err *err);
/* Commits all changes or none. *uncertain is set when the ledger failed at its commit point, so that the files may be named after all: the caller must not
 * delete what it moved into place. */
#define COMMIT_ATTEMPTS_MAX 10
enum status table_commit(struct lake *lake, struct table_change *changes, size_t n, commit_also also, void *context, bool *uncertain, struct err *err);

/* ---- table_snapshot.c: manifests and manifest list of a new snapshot ---- */
struct written { /* files of one attempt, for its cleanup */
    char **paths;
    size_t n, cap;
};
struct snapshot_work {
    struct lake *lake;
    struct arena *arena;
    const struct table_version *base; /* NULL: the table is being made */
    const char *dir;
    json_t *metadata; /* the new one: gets the snapshot */
    const struct table_change *change;
    int64_t now_ms;
    struct written written;
};
enum status snapshot_write(struct snapshot_work *work, struct err *err);
/* Creates dir/relative with these bytes, synced (not its folder's entry); noted in work->written. */
enum status snapshot_put_file(struct snapshot_work *work, const char *relative, struct str bytes, struct err *err);
char *snapshot_uri(struct snapshot_work *work, const char *relative);
/* The spec that new files are written by: the default one, or the newest other that we know. NULL: none. */
const json_t *table_write_spec(const json_t *metadata);

/* ---- table_files.c: data files ---- */
/* Size and both magics of a Parquet file, and that its footer fits. */
enum status parquet_check(const struct fs *fs, const char *path, uint64_t size_bytes, struct err *err);
/* Makes all folders that dir/relative needs (dir is the table's) and syncs each one's entry. */
enum status table_make_folders(struct lake *lake, const char *dir, const char *relative, struct err *err);
/* Relative final name for a new data file. */
char *table_data_name(struct arena *arena, const char *partition_field, int64_t hour_ms);
char *new_uuid_text(struct arena *arena);

/* ---- lake.c ---- */
struct commit_check {
    enum status (*f)(void *context, const struct table_version *base, struct err *err);
    void *context;
};
/* lake_commit, looking at each version that it builds on. */
enum status lake_commit_checked(
    struct lake *lake, const struct lake_append *appends, size_t n, const struct commit_check *check, commit_also also, void *context, struct err *err);
/* One new file in place of `removed` (URIs), operation replace. */
enum status lake_replace(struct lake *lake, const char *schema, const char *name, const struct lake_file *file, const struct map *removed, struct err *err);

/* ---- lake_warehouse.c ---- */
/* What engine_tables says, as an array owned by the caller; empty with *unreadable set when the warehouse cannot be read now. */
json_t *warehouse_tables(struct lake *lake, const char **unreadable, struct arena *arena);
/* Adds them to the list of lake_tables_json; a lake copy and its original become one entry. Returns why the warehouse cannot be read, or NULL. */
const char *warehouse_add_tables(struct lake *lake, struct arena *arena, json_t *tables);
/* Adds what the warehouse says of the table. false: it has none of that name. */
bool warehouse_describe(struct lake *lake, const char *schema, const char *name, json_t *out);
/* Reads all of its tables; adds what is wrong and returns how much. */
uint64_t warehouse_verify(struct lake *lake, json_t *problems, size_t *tables);

/* ---- publish.c ---- */
void publisher_start(struct lake *lake);

/* ---- table_find.c, table_json.c ---- */
/* read_parquet(…) of these files as the table sees them: columns by field id, missing ones NULL. */
void table_put_files(struct buf *sql, const struct table_version *version, const struct table_file *const *files, size_t n);
/* One event out of Parquet files, without the engine. Any other result than OK says nothing about whether it is there: ask the engine then. */
enum status table_read_event(struct lake *lake, const struct table_version *version, const struct table_file *const *files, size_t n,
    struct event_address address, struct buf *out, struct err *err);
void table_put_json(json_t *json, struct buf *out); /* takes the reference */

/* ---- writer.c, maintain*.c ---- */
void writer_series(struct lake_stream *stream); /* looks its metrics up */
/* After a table was dropped: all files below its folder go, pins respected. */
void delete_table_files(struct lake *lake, const struct table_version *version);
extern const struct engine_column bronze_columns[];
extern const size_t bronze_columns_n;
enum status lake_flush_stream(struct lake *lake, struct lake_stream *stream, struct err *err);
enum status maintain_orphans(struct lake *lake, int64_t older_than_ms, uint64_t *deleted, struct err *err);
bool maintain_has_too_many_snapshots(const struct table_version *version);
enum status maintain_trim(struct lake *lake, struct err *err);
/* lake_compact, at most bins_max files made; *more: there is work left. */
enum status maintain_compact(
    struct lake *lake, const char *schema, const char *name, bool open_hours_too, size_t bins_max, struct lake_maintained *out, bool *more, struct err *err);
/* One round over all tables, called by the writer thread. true: packing is not done yet, come again soon (flushes go first). */
bool maintain_run(struct lake *lake);
bool lake_stopping(struct lake *lake);
enum status maintain_retention(struct lake *lake, const struct lake_stream *stream, struct err *err);
void maintain_all_retention(struct lake *lake);
/* New metadata for a table whose folder was moved; *pointer is its URI, nothing is swapped yet. */
enum status table_relocate(struct lake *lake, struct arena *arena, struct table_version *version, const char **pointer, struct err *err);

extern struct metric metric_commits, metric_conflicts, metric_files, metric_snapshots, metric_table_bytes;

#endif
