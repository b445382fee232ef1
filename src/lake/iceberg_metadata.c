/* Table metadata (spec: "Table Metadata and Snapshots"). */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "host/host.h"
#include "lake/iceberg.h"

#define PREVIOUS_VERSIONS_MAX_DEFAULT 100

int64_t ice_int(const json_t *object, const char *name, int64_t otherwise) {
    const json_t *v = json_object_get(object, name);
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

const char *ice_text(const json_t *object, const char *name) { return json_string_value(json_object_get(object, name)); }

int ice_version(const json_t *metadata) { return (int)ice_int(metadata, "format-version", 0); }
const char *ice_location(const json_t *metadata) { return ice_text(metadata, "location"); }
const char *ice_property(const json_t *metadata, const char *name) { return ice_text(json_object_get(metadata, "properties"), name); }
int64_t ice_default_spec(const json_t *metadata) { return ice_int(metadata, "default-spec-id", 0); }

int64_t ice_property_int(const json_t *metadata, const char *name, int64_t otherwise) {
    const char *text = ice_property(metadata, name);
    int64_t v;
    return text && str_to_i64(str_of(text), &v) ? v : otherwise;
}

static const json_t *by_id(const json_t *list, const char *name, int64_t id) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (ice_int(item, name, INT64_MIN) == id) return item;
    }
    return NULL;
}

const json_t *ice_schema(const json_t *metadata) { return by_id(json_object_get(metadata, "schemas"), "schema-id", ice_int(metadata, "current-schema-id", 0)); }
const json_t *ice_spec(const json_t *metadata, int64_t spec_id) { return by_id(json_object_get(metadata, "partition-specs"), "spec-id", spec_id); }
const json_t *ice_snapshot(const json_t *metadata, int64_t snapshot_id) { return by_id(json_object_get(metadata, "snapshots"), "snapshot-id", snapshot_id); }

const json_t *ice_current_snapshot(const json_t *metadata) {
    int64_t id = ice_int(metadata, "current-snapshot-id", -1);
    return id == -1 ? NULL : ice_snapshot(metadata, id);
}

bool ice_spec_known(const json_t *spec, int *source_id) {
    const json_t *fields = json_object_get(spec, "fields");
    if (!json_is_array(fields) || json_array_size(fields) > 1) return false;
    *source_id = 0;
    if (!json_array_size(fields)) return true;
    const json_t *field = json_array_get(fields, 0);
    const char *transform = ice_text(field, "transform");
    *source_id = (int)ice_int(field, "source-id", 0);
    return transform && !strcmp(transform, "hour") && *source_id > 0 && ice_text(field, "name");
}

/* ---- reading ---- */

/* Version 1 files may name one schema and one spec only: they are put into the lists that later code uses. */
static void lift_version_1(json_t *m) {
    if (!json_is_array(json_object_get(m, "schemas")) && json_is_object(json_object_get(m, "schema"))) {
        json_t *schema = json_deep_copy(json_object_get(m, "schema"));
        if (!json_object_get(schema, "schema-id")) json_object_set_new(schema, "schema-id", json_integer(0));
        json_object_set_new(m, "schemas", json_pack("[o]", schema));
        json_object_set_new(m, "current-schema-id", json_integer(ice_int(schema, "schema-id", 0)));
    }
    if (!json_is_array(json_object_get(m, "partition-specs")) && json_is_array(json_object_get(m, "partition-spec"))) {
        json_object_set_new(m, "partition-specs", json_pack("[{s:i, s:O}]", "spec-id", 0, "fields", json_object_get(m, "partition-spec")));
        json_object_set_new(m, "default-spec-id", json_integer(0));
    }
}

static enum status check_snapshots(const json_t *m, struct err *err) {
    const json_t *snapshots = json_object_get(m, "snapshots");
    if (snapshots && !json_is_array(snapshots)) return err_set(err, E_CORRUPT, "snapshots is not a list");
    for (size_t i = 0; i < json_array_size(snapshots); i++) {
        const json_t *snapshot = json_array_get(snapshots, i);
        if (!json_is_integer(json_object_get(snapshot, "snapshot-id"))) return err_set(err, E_CORRUPT, "snapshot %zu has no snapshot-id", i + 1);
        if (!ice_text(snapshot, "manifest-list"))
            return err_set(err, E_CORRUPT, "snapshot %lld has no manifest-list", (long long)ice_int(snapshot, "snapshot-id", 0));
    }
    int64_t current = ice_int(m, "current-snapshot-id", -1);
    if (current != -1 && !ice_snapshot(m, current)) return err_set(err, E_CORRUPT, "current-snapshot-id %lld is not among the snapshots", (long long)current);
    return OK;
}

static enum status check(const json_t *m, struct err *err) {
    int version = ice_version(m);
    if (!json_is_object(m) || version < 1) return err_set(err, E_CORRUPT, "no format-version");
    if (version > 3) return err_set(err, E_UNSUPPORTED, "format version %d (versions 1 to 3 can be read)", version);
    if (!ice_location(m)) return err_set(err, E_CORRUPT, "no location");
    if (version >= 2 && !ice_text(m, "table-uuid")) return err_set(err, E_CORRUPT, "no table-uuid");
    if (version >= 2 && !json_is_integer(json_object_get(m, "last-sequence-number"))) return err_set(err, E_CORRUPT, "no last-sequence-number");
    if (!json_is_integer(json_object_get(m, "last-column-id"))) return err_set(err, E_CORRUPT, "no last-column-id");
    if (!json_is_array(json_object_get(ice_schema(m), "fields"))) return err_set(err, E_CORRUPT, "current-schema-id names no schema with fields");
    if (!ice_spec(m, ice_default_spec(m))) return err_set(err, E_CORRUPT, "default-spec-id names no partition spec");
    const json_t *properties = json_object_get(m, "properties");
    if (properties && !json_is_object(properties)) return err_set(err, E_CORRUPT, "properties is not an object");
    ARENA_SCOPE(arena);
    struct ice_field *fields;
    size_t n;
    enum status s = ice_schema_fields(arena, ice_schema(m), &fields, &n, err);
    return s == E_UNSUPPORTED ? check_snapshots(m, err) : s ? s : check_snapshots(m, err);
}

enum status ice_metadata_parse(struct str bytes, json_t **out, struct err *err) {
    must(out);
    if (bytes.n > ICE_METADATA_BYTES_MAX) return err_set(err, E_LIMIT, "metadata is over %u bytes", ICE_METADATA_BYTES_MAX);
    json_error_t problem;
    json_t *m = json_loadb(bytes.p ? bytes.p : "", bytes.n, JSON_REJECT_DUPLICATES, &problem);
    if (!m) return err_set(err, E_CORRUPT, "metadata is not JSON: line %d: %s", problem.line, problem.text);
    lift_version_1(m);
    enum status s = check(m, err);
    if (s) {
        json_decref(m);
        return err_prefix(err, "table metadata"), s;
    }
    *out = m;
    return OK;
}

static int append_json(const char *bytes, size_t n, void *out) {
    buf_put(out, bytes, n);
    return 0;
}

void ice_metadata_write(const json_t *metadata, struct buf *out) { must(json_dump_callback(metadata, append_json, out, JSON_COMPACT) == 0); }

const char *ice_unreadable(const json_t *metadata) {
    ARENA_SCOPE(arena);
    struct ice_field *fields;
    size_t n;
    if (ice_schema_fields(arena, ice_schema(metadata), &fields, &n, NULL)) return "a column has a type that this version does not know";
    if (ice_version(metadata) < 3) return NULL;
    const json_t *list = json_object_get(ice_schema(metadata), "fields");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_object_get(json_array_get(list, i), "initial-default"))
            return "a column has a default value for old rows (format version 3), which this version does not apply";
    if (json_array_size(json_object_get(metadata, "encryption-keys"))) return "the table is encrypted (format version 3)";
    return NULL;
}

/* ---- writing ---- */

static void new_uuid(char out[EVENT_ID_TEXT + 1]) {
    struct event_id id;
    host_random(id.bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    event_id_text(id, out);
    out[EVENT_ID_TEXT] = 0;
}

static enum status new_spec(json_t *m, const char *partition_by, struct err *err) {
    json_t *fields = json_array();
    int64_t last = 999;
    if (partition_by) {
        const json_t *columns = json_object_get(ice_schema(m), "fields");
        int64_t source = 0;
        for (size_t i = 0; i < json_array_size(columns) && !source; i++)
            if (!strcmp(ice_text(json_array_get(columns, i), "name"), partition_by)) source = ice_int(json_array_get(columns, i), "id", 0);
        if (!source) {
            json_decref(fields);
            return err_set(err, E_INVALID, "no column %.100s to partition by", partition_by);
        }
        last = 1000;
        json_array_append_new(fields,
            json_pack("{s:I, s:I, s:o, s:s}", "source-id", (json_int_t)source, "field-id", (json_int_t)last, "name", json_sprintf("%s_hour", partition_by),
                "transform", "hour"));
    }
    json_object_set_new(m, "default-spec-id", json_integer(0));
    json_object_set_new(m, "partition-specs", json_pack("[{s:i, s:o}]", "spec-id", 0, "fields", fields));
    json_object_set_new(m, "last-partition-id", json_integer(last));
    return OK;
}

enum status ice_metadata_new(const struct ice_new_table *table, json_t **out, struct err *err) {
    must(table->location && out);
    char uuid[EVENT_ID_TEXT + 1];
    new_uuid(uuid);
    json_t *m = json_pack("{s:i, s:s, s:s, s:i, s:I, s:i, s:i, s:[{s:s, s:i, s:[]}]}", "format-version", 2, "table-uuid", uuid, "location", table->location,
        "last-sequence-number", 0, "last-updated-ms", (json_int_t)table->now_ms, "last-column-id", 0, "current-schema-id", 0, "schemas", "type", "struct",
        "schema-id", 0, "fields");
    must(m);
    bool changed;
    enum status s = ice_evolve(m, table->columns, table->columns_n, &changed, err);
    if (!s && json_array_size(json_object_get(m, "schemas")) == 2) { /* the empty start is not a schema of the table */
        json_t *schemas = json_object_get(m, "schemas");
        json_array_remove(schemas, 0);
        json_object_set_new(json_array_get(schemas, 0), "schema-id", json_integer(0));
        json_object_set_new(m, "current-schema-id", json_integer(0));
    }
    if (!s) s = new_spec(m, table->partition_by, err);
    if (s) {
        json_decref(m);
        return s;
    }
    json_object_set_new(m, "default-sort-order-id", json_integer(0));
    json_object_set_new(m, "sort-orders", json_pack("[{s:i, s:[]}]", "order-id", 0, "fields"));
    json_object_set_new(m, "properties", json_object());
    for (const char *const *p = table->properties; p && *p; p += 2) ice_set_property(m, p[0], p[1]);
    json_object_set_new(m, "current-snapshot-id", json_integer(-1));
    json_object_set_new(m, "refs", json_object());
    json_object_set_new(m, "snapshots", json_array());
    json_object_set_new(m, "statistics", json_array());
    json_object_set_new(m, "snapshot-log", json_array());
    json_object_set_new(m, "metadata-log", json_array());
    *out = m;
    return OK;
}

static json_t *own(json_t *object, const char *name, json_t *(*make)(void)) {
    json_t *v = json_object_get(object, name);
    if (v && !json_is_null(v)) return v;
    json_object_set_new(object, name, make());
    return json_object_get(object, name);
}

json_t *ice_metadata_next(const json_t *metadata, const char *old_location, int64_t now_ms, json_t **dropped) {
    must(metadata && dropped);
    json_t *m = json_deep_copy(metadata);
    must(m);
    int64_t before = ice_int(m, "last-updated-ms", 0);
    *dropped = NULL;
    if (old_location) {
        json_t *log = own(m, "metadata-log", json_array);
        json_array_append_new(log, json_pack("{s:I, s:s}", "timestamp-ms", (json_int_t)before, "metadata-file", old_location));
        int64_t max = ice_property_int(m, "write.metadata.previous-versions-max", PREVIOUS_VERSIONS_MAX_DEFAULT);
        while ((int64_t)json_array_size(log) > (max < 1 ? 1 : max)) {
            if (!*dropped) *dropped = json_array();
            const char *file = ice_text(json_array_get(log, 0), "metadata-file");
            if (file) json_array_append_new(*dropped, json_string(file));
            json_array_remove(log, 0);
        }
    }
    json_object_set_new(m, "last-updated-ms", json_integer(now_ms > before ? now_ms : before));
    return m;
}

void ice_set_property(json_t *metadata, const char *name, const char *value) {
    json_t *properties = own(metadata, "properties", json_object);
    if (value) {
        json_object_set_new(properties, name, json_string(value));
    } else {
        json_object_del(properties, name);
    }
}

int64_t ice_new_snapshot_id(const json_t *metadata) {
    for (;;) {
        int64_t id;
        host_random(&id, sizeof(id));
        id &= INT64_MAX;
        if (id && !ice_snapshot(metadata, id)) return id;
    }
}

void ice_add_snapshot(json_t *metadata, const struct ice_new_snapshot *snapshot) {
    must(snapshot->manifest_list && snapshot->operation);
    const json_t *parent = ice_current_snapshot(metadata);
    json_t *summary = json_pack("{s:s}", "operation", snapshot->operation);
    for (const char *const *p = snapshot->summary; p && *p; p += 2) json_object_set_new(summary, p[0], json_string(p[1]));
    int64_t at_ms = ice_int(metadata, "last-updated-ms", snapshot->now_ms);
    json_t *s = json_pack("{s:I, s:I}", "sequence-number", (json_int_t)snapshot->sequence_number, "snapshot-id", (json_int_t)snapshot->snapshot_id);
    if (parent) json_object_set_new(s, "parent-snapshot-id", json_integer(ice_int(parent, "snapshot-id", 0)));
    json_object_set_new(s, "timestamp-ms", json_integer(at_ms));
    json_object_set_new(s, "summary", summary);
    json_object_set_new(s, "manifest-list", json_string(snapshot->manifest_list));
    json_object_set_new(s, "schema-id", json_integer(ice_int(metadata, "current-schema-id", 0)));
    json_array_append_new(own(metadata, "snapshots", json_array), s);
    json_object_set_new(metadata, "current-snapshot-id", json_integer(snapshot->snapshot_id));
    json_object_set_new(metadata, "last-sequence-number", json_integer(snapshot->sequence_number));
    json_array_append_new(own(metadata, "snapshot-log", json_array),
        json_pack("{s:I, s:I}", "timestamp-ms", (json_int_t)at_ms, "snapshot-id", (json_int_t)snapshot->snapshot_id));
    json_t *refs = own(metadata, "refs", json_object), *main_ref = json_object_get(refs, "main");
    if (main_ref) { /* retention settings of the branch stay */
        json_object_set_new(main_ref, "snapshot-id", json_integer(snapshot->snapshot_id));
    } else {
        json_object_set_new(refs, "main", json_pack("{s:I, s:s}", "snapshot-id", (json_int_t)snapshot->snapshot_id, "type", "branch"));
    }
}

/* ---- expiry ---- */

static bool named_by_ref(const json_t *metadata, int64_t id) {
    const char *name;
    json_t *ref;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(metadata, "refs"), name, ref) if (ice_int(ref, "snapshot-id", -1) == id) return true;
    return false;
}

/* Is the snapshot one of the newest `keep` of main? */
static bool among_newest(const json_t *metadata, int64_t id, size_t keep) {
    const json_t *s = ice_current_snapshot(metadata);
    for (size_t i = 0; s && i < keep; i++) {
        if (ice_int(s, "snapshot-id", -1) == id) return true;
        int64_t parent = ice_int(s, "parent-snapshot-id", -1);
        s = parent == -1 ? NULL : ice_snapshot(metadata, parent);
    }
    return false;
}

/* The log may not have entries before one of a removed snapshot (spec: "snapshot-log"). */
static void cut_snapshot_log(json_t *metadata) {
    json_t *log = json_object_get(metadata, "snapshot-log");
    size_t cut = 0;
    for (size_t i = 0; i < json_array_size(log); i++)
        if (!ice_snapshot(metadata, ice_int(json_array_get(log, i), "snapshot-id", -1))) cut = i + 1;
    for (size_t i = 0; i < cut; i++) json_array_remove(log, 0);
}

static void drop_statistics(json_t *metadata, const char *list_name) {
    json_t *list = json_object_get(metadata, list_name);
    for (size_t i = json_array_size(list); i-- > 0;)
        if (!ice_snapshot(metadata, ice_int(json_array_get(list, i), "snapshot-id", -1))) json_array_remove(list, i);
}

size_t ice_expire_snapshots(json_t *metadata, int64_t older_than_ms, size_t keep, json_t **removed) {
    json_t *snapshots = json_object_get(metadata, "snapshots"), *gone = json_array(), *kept = json_array();
    int64_t current = ice_int(metadata, "current-snapshot-id", -1);
    for (size_t i = 0; i < json_array_size(snapshots); i++) {
        json_t *s = json_array_get(snapshots, i);
        int64_t id = ice_int(s, "snapshot-id", -1);
        bool stays = ice_int(s, "timestamp-ms", 0) >= older_than_ms || id == current || named_by_ref(metadata, id) || among_newest(metadata, id, keep);
        json_array_append(stays ? kept : gone, s);
    }
    size_t n = json_array_size(gone);
    *removed = gone;
    json_object_set_new(metadata, "snapshots", kept);
    if (!n) return 0;
    cut_snapshot_log(metadata);
    drop_statistics(metadata, "statistics");
    drop_statistics(metadata, "partition-statistics");
    return n;
}
