/* Iceberg tables, format version 2 (https://iceberg.apache.org/spec/): types and schemas, table metadata, manifest lists and manifests, as values in memory
 * and as bytes. Knows nothing of files, folders, locks or the catalog: that is table.h.
 *
 * The JSON tree of the metadata file stays the truth: changes are made to a deep copy, so that fields that we do not know survive. Threads: values are not
 * shared between threads while they are changed. JSON trees are counted references of jansson; who calls a function that returns json_t * owns one. */
#ifndef CUPEL_LAKE_ICEBERG_H
#define CUPEL_LAKE_ICEBERG_H

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "lake/avro.h"
#include "lake/engine.h"

#define ICE_METADATA_BYTES_MAX (64u << 20)
#define ICE_MANIFEST_BYTES_MAX (256u << 20)
#define ICE_COLUMNS_MAX 5000
#define ICE_TYPE_DEPTH_MAX 32

/* ---- types (spec: "Schemas and Data Types") ---- */

enum ice_kind {
    ICE_BOOLEAN,
    ICE_INT,
    ICE_LONG,
    ICE_FLOAT,
    ICE_DOUBLE,
    ICE_DECIMAL,
    ICE_DATE,
    ICE_TIME,
    ICE_TIMESTAMP,
    ICE_TIMESTAMPTZ,
    ICE_STRING,
    ICE_UUID,
    ICE_FIXED,
    ICE_BINARY,
    ICE_STRUCT,
    ICE_LIST,
    ICE_MAP,
};

struct ice_type {
    enum ice_kind kind;
    int precision, scale; /* decimal; fixed: precision is the length */
    struct ice_field *fields; /* struct: its fields; list: element; map: key, value */
    size_t n;
};

struct ice_field {
    int id; /* 0: not given yet */
    const char *name;
    bool required;
    struct ice_type type;
};

enum status ice_type_from_json(struct arena *arena, const json_t *json, struct ice_type *out, struct err *err);
json_t *ice_type_to_json(const struct ice_type *type);
/* DuckDB type text ("DECIMAL(18,4)", "MAP(VARCHAR, VARCHAR)", "STRUCT(a INTEGER, b VARCHAR[])") to the Iceberg type that holds all its values; types
 * without a counterpart (ENUM, INTERVAL, JSON …) become string. */
enum status ice_type_from_duckdb(struct arena *arena, struct str text, struct ice_type *out, struct err *err);
void ice_type_to_duckdb(struct buf *out, const struct ice_type *type);
/* The value of DuckDB's FIELD_IDS entry for a nested column, see engine_column.field_ids. */
void ice_field_ids(struct buf *out, const struct ice_field *field);
const char *ice_kind_name(enum ice_kind kind);

/* ---- metadata ---- */

/* Parses and checks a metadata file: format version 1 to 3, all fields that we rely on. E_CORRUPT names the field. */
enum status ice_metadata_parse(struct str bytes, json_t **out, struct err *err);
void ice_metadata_write(const json_t *metadata, struct buf *out);

struct ice_new_table {
    const char *location; /* URI without slash at the end */
    const struct engine_column *columns;
    size_t columns_n;
    int64_t now_ms;
    const char *partition_by; /* name of a timestamptz column, by hour; NULL: not partitioned */
    const char *const *properties; /* name, value, …, NULL; may be NULL */
};
enum status ice_metadata_new(const struct ice_new_table *table, json_t **out, struct err *err);

int ice_version(const json_t *metadata);
const char *ice_location(const json_t *metadata);
const char *ice_property(const json_t *metadata, const char *name); /* NULL when missing */
int64_t ice_property_int(const json_t *metadata, const char *name, int64_t otherwise);
const json_t *ice_schema(const json_t *metadata); /* the current one */
const json_t *ice_spec(const json_t *metadata, int64_t spec_id); /* NULL when missing */
int64_t ice_default_spec(const json_t *metadata);
/* Columns of a schema as fields, in the arena. */
enum status ice_schema_fields(struct arena *arena, const json_t *schema, struct ice_field **out, size_t *n, struct err *err);
const json_t *ice_snapshot(const json_t *metadata, int64_t snapshot_id); /* NULL when missing */
const json_t *ice_current_snapshot(const json_t *metadata); /* NULL: none yet */
int64_t ice_int(const json_t *object, const char *name, int64_t otherwise);
const char *ice_text(const json_t *object, const char *name); /* NULL when missing */
/* Is this spec "hour of one column", or without fields? (the kinds that we write). *source_id 0 for the latter. */
bool ice_spec_known(const json_t *spec, int *source_id);
/* What of the newest v3 features stands in the way of reading with the rules of v2: NULL or a sentence. */
const char *ice_unreadable(const json_t *metadata);

/* Deep copy to change: last-updated-ms set, `old_location` added to the metadata log. The URIs that fell out of the log are put into *dropped (a JSON array;
 * NULL when none). */
json_t *ice_metadata_next(const json_t *metadata, const char *old_location, int64_t now_ms, json_t **dropped);
void ice_set_property(json_t *metadata, const char *name, const char *value); /* value NULL removes */

/* Makes the current schema able to hold `columns`: new ones are added (optional), types widened. Names match without case. *changed tells whether a new
 * schema was added. field_id of a column, when given, must be the one that the schema has or gives (else E_CONFLICT: the schema changed since the plan).
 * Impossible changes are E_UNPROCESSABLE and name column and both types. */
enum status ice_evolve(json_t *metadata, const struct engine_column *columns, size_t columns_n, bool *changed, struct err *err);
/* The columns as the table has them, in the order of `wanted` (all of them when wanted is NULL). */
enum status ice_columns(
    struct arena *arena, const json_t *schema, const struct engine_column *wanted, size_t wanted_n, struct engine_column **out, size_t *n, struct err *err);

struct ice_new_snapshot {
    int64_t snapshot_id, sequence_number;
    const char *manifest_list; /* URI */
    const char *operation; /* append | replace | delete */
    const char *const *summary; /* name, value, …, NULL */
    int64_t now_ms;
};
void ice_add_snapshot(json_t *metadata, const struct ice_new_snapshot *snapshot);
int64_t ice_new_snapshot_id(const json_t *metadata);
/* Removes snapshots older than the time from the metadata (never the current one, one that a branch or tag names, nor the newest `keep` of main). Returns how
 * many. The removed snapshot objects are put into *removed (array). */
size_t ice_expire_snapshots(json_t *metadata, int64_t older_than_ms, size_t keep, json_t **removed);

/* ---- manifests ---- */

struct ice_summary { /* field_summary of a manifest's partition values */
    bool contains_null, has_nan, contains_nan;
    struct str lower, upper; /* p NULL: missing */
};

struct ice_manifest { /* an entry of a manifest list */
    const char *path; /* URI */
    int64_t length;
    int spec_id, content; /* content 1: delete files */
    int64_t sequence_number, min_sequence_number, added_snapshot_id;
    int64_t added_files, existing_files, deleted_files; /* -1: not given (v1) */
    int64_t added_rows, existing_rows, deleted_rows;
    struct ice_summary *summaries;
    size_t summaries_n;
    bool has_summaries;
    struct str key_metadata;
};

struct ice_count {
    int id;
    int64_t n;
};
struct ice_bytes {
    int id;
    struct str v;
};

enum ice_status { ICE_EXISTING = 0, ICE_ADDED = 1, ICE_DELETED = 2 };

struct ice_file { /* data_file */
    int content; /* 0 data */
    const char *path, *format; /* path: URI */
    bool partition_known; /* the tuple has no value, or one int (hour) */
    bool partition_null; /* … which is null, or there is none */
    int64_t partition;
    int64_t records, size_bytes;
    struct ice_count *column_sizes, *value_counts, *null_counts, *nan_counts;
    size_t column_sizes_n, value_counts_n, null_counts_n, nan_counts_n;
    struct ice_bytes *lower, *upper;
    size_t lower_n, upper_n;
    struct str key_metadata;
    int64_t *split_offsets;
    size_t split_offsets_n;
    bool has_sort_order;
    int sort_order_id;
};

struct ice_entry {
    enum ice_status status;
    int64_t snapshot_id;
    int64_t sequence_number, file_sequence_number; /* after inheritance; -1: to be inherited from the manifest (new files) */
    struct ice_file file;
};

enum status ice_manifest_list_read(struct arena *arena, struct str bytes, struct ice_manifest **out, size_t *n, struct err *err);
void ice_manifest_list_write(struct buf *out, const struct ice_manifest *manifests, size_t n, int64_t snapshot_id, int64_t parent_id, int64_t sequence_number);
/* All entries, inheritance applied from `manifest`. */
enum status ice_manifest_read(struct arena *arena, struct str bytes, const struct ice_manifest *manifest, struct ice_entry **out, size_t *n, struct err *err);
/* Writes a manifest of data files for a known spec (ice_spec_known) and fills counts, summaries, sequence numbers and length of *manifest (path and
 * added_snapshot_id are the caller's). The summaries are in the arena. n must be over 0. */
void ice_manifest_write(struct arena *arena, struct buf *out, const json_t *schema, const json_t *spec, const struct ice_entry *entries, size_t n,
    int64_t sequence_number, struct ice_manifest *manifest);
const struct ice_bytes *ice_bytes_of(const struct ice_bytes *list, size_t n, int id); /* NULL when missing */
/* A bound of an int, long, timestamp or timestamptz column. false: missing or of another size. */
bool ice_bound_int(const struct ice_bytes *list, size_t n, int id, int64_t *out);

#endif
