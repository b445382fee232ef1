/* Reading manifest lists and manifests (spec: "Manifests", "Manifest Lists"). Fields are found by id, whatever the writer's order or names. */
#include <string.h>

#include "base/assert.h"
#include "lake/iceberg.h"

static int64_t int_of(const struct avro_value *v, int64_t otherwise) {
    if (avro_is_null(v)) return otherwise;
    return v->schema->kind == AVRO_INT || v->schema->kind == AVRO_LONG ? v->integer : otherwise;
}

static bool bool_of(const struct avro_value *v) { return !avro_is_null(v) && v->schema->kind == AVRO_BOOLEAN && v->boolean; }

static struct str bytes_of(const struct avro_value *v) {
    if (avro_is_null(v)) return STR_NULL;
    bool bytes = v->schema->kind == AVRO_BYTES || v->schema->kind == AVRO_STRING || v->schema->kind == AVRO_FIXED;
    return bytes ? (struct str){v->bytes.p ? v->bytes.p : "", v->bytes.n} : STR_NULL;
}

/* Paths go into file names and SQL: a NUL inside would cut them. */
static enum status text_of(struct arena *arena, const struct avro_value *v, const char *what, const char **out, struct err *err) {
    struct str s = bytes_of(v);
    if (!s.p || !s.n || memchr(s.p, 0, s.n)) return err_set(err, E_CORRUPT, "no %s", what);
    *out = arena_strndup(arena, s.p, s.n);
    return OK;
}

/* ---- manifest list ---- */

static void read_summaries(struct arena *arena, const struct avro_value *list, struct ice_manifest *m) {
    if (avro_is_null(list) || list->schema->kind != AVRO_ARRAY) return;
    m->has_summaries = true;
    m->summaries_n = list->n;
    m->summaries = arena_new_array(arena, struct ice_summary, list->n + 1);
    for (size_t i = 0; i < list->n; i++) {
        const struct avro_value *v = &list->values[i], *nan = avro_field(v, 518, "contains_nan");
        m->summaries[i] = (struct ice_summary){.contains_null = bool_of(avro_field(v, 509, "contains_null")),
            .has_nan = !avro_is_null(nan),
            .contains_nan = bool_of(nan),
            .lower = bytes_of(avro_field(v, 510, "lower_bound")),
            .upper = bytes_of(avro_field(v, 511, "upper_bound"))};
    }
}

static enum status read_manifest_file(struct arena *arena, const struct avro_value *v, struct ice_manifest *out, struct err *err) {
    struct ice_manifest m = {0};
    enum status s = text_of(arena, avro_field(v, 500, "manifest_path"), "manifest_path", &m.path, err);
    if (s) return s;
    m.length = int_of(avro_field(v, 501, "manifest_length"), 0);
    m.spec_id = (int)int_of(avro_field(v, 502, "partition_spec_id"), 0);
    m.content = (int)int_of(avro_field(v, 517, "content"), 0);
    m.sequence_number = int_of(avro_field(v, 515, "sequence_number"), 0);
    m.min_sequence_number = int_of(avro_field(v, 516, "min_sequence_number"), 0);
    m.added_snapshot_id = int_of(avro_field(v, 503, "added_snapshot_id"), 0);
    m.added_files = int_of(avro_field(v, 504, "added_files_count"), -1);
    m.existing_files = int_of(avro_field(v, 505, "existing_files_count"), -1);
    m.deleted_files = int_of(avro_field(v, 506, "deleted_files_count"), -1);
    m.added_rows = int_of(avro_field(v, 512, "added_rows_count"), -1);
    m.existing_rows = int_of(avro_field(v, 513, "existing_rows_count"), -1);
    m.deleted_rows = int_of(avro_field(v, 514, "deleted_rows_count"), -1);
    read_summaries(arena, avro_field(v, 507, "partitions"), &m);
    m.key_metadata = bytes_of(avro_field(v, 519, "key_metadata"));
    *out = m;
    return OK;
}

/* Room for one more; arrays in an arena grow by copying. */
static void *grow(struct arena *arena, void *list, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return list;
    size_t bigger = *cap ? *cap * 2 : 16;
    void *grown = arena_alloc(arena, bigger * size);
    if (n) memcpy(grown, list, n * size);
    *cap = bigger;
    return grown;
}

enum status ice_manifest_list_read(struct arena *arena, struct str bytes, struct ice_manifest **out, size_t *n, struct err *err) {
    must(arena && out && n);
    struct avro_reader reader;
    enum status s = avro_open(&reader, arena, bytes, (struct avro_limits){0}, err);
    if (s) return err_prefix(err, "manifest list"), s;
    struct ice_manifest *list = NULL;
    size_t count = 0, cap = 0;
    for (;;) {
        struct avro_value v;
        bool got;
        if ((s = avro_next(&reader, &v, &got, err))) return err_prefix(err, "manifest list"), s;
        if (!got) break;
        list = grow(arena, list, count, &cap, sizeof(*list));
        if ((s = read_manifest_file(arena, &v, &list[count], err))) return err_prefix(err, "manifest list, entry %zu", count + 1), s;
        count++;
    }
    *out = list;
    *n = count;
    return OK;
}

/* ---- manifest ---- */

/* Maps with int keys are arrays of key-value records in Avro. */
static const struct avro_value *pair(const struct avro_value *list, size_t i, int key_id, int value_id, int *key) {
    const struct avro_value *record = &list->values[i], *k = avro_field(record, key_id, "key");
    *key = (int)int_of(k, 0);
    return avro_field(record, value_id, "value");
}

static bool is_pairs(const struct avro_value *v) { return !avro_is_null(v) && v->schema->kind == AVRO_ARRAY; }

static void read_counts(struct arena *arena, const struct avro_value *v, int key_id, int value_id, struct ice_count **out, size_t *n) {
    if (!is_pairs(v)) return;
    struct ice_count *list = arena_new_array(arena, struct ice_count, v->n + 1);
    for (size_t i = 0; i < v->n; i++) list[i].n = int_of(pair(v, i, key_id, value_id, &list[i].id), 0);
    *out = list;
    *n = v->n;
}

static void read_bounds(struct arena *arena, const struct avro_value *v, int key_id, int value_id, struct ice_bytes **out, size_t *n) {
    if (!is_pairs(v)) return;
    struct ice_bytes *list = arena_new_array(arena, struct ice_bytes, v->n + 1);
    for (size_t i = 0; i < v->n; i++) list[i].v = bytes_of(pair(v, i, key_id, value_id, &list[i].id));
    *out = list;
    *n = v->n;
}

static void read_partition(const struct avro_value *v, struct ice_file *f) {
    if (avro_is_null(v) || v->schema->kind != AVRO_RECORD || v->n > 1) return;
    f->partition_null = true;
    f->partition_known = v->n == 0 || avro_is_null(&v->values[0]) || v->values[0].schema->kind == AVRO_INT || v->values[0].schema->kind == AVRO_LONG;
    if (v->n == 0 || avro_is_null(&v->values[0]) || !f->partition_known) return;
    f->partition = v->values[0].integer;
    f->partition_null = false;
}

static void read_split_offsets(struct arena *arena, const struct avro_value *v, struct ice_file *f) {
    if (!is_pairs(v)) return;
    f->split_offsets = arena_new_array(arena, int64_t, v->n + 1);
    f->split_offsets_n = v->n;
    for (size_t i = 0; i < v->n; i++) f->split_offsets[i] = int_of(&v->values[i], 0);
}

static enum status read_file(struct arena *arena, const struct avro_value *v, struct ice_file *out, struct err *err) {
    struct ice_file f = {0};
    enum status s = text_of(arena, avro_field(v, 100, "file_path"), "file_path", &f.path, err);
    if (!s) s = text_of(arena, avro_field(v, 101, "file_format"), "file_format", &f.format, err);
    if (s) return s;
    f.content = (int)int_of(avro_field(v, 134, "content"), 0);
    f.records = int_of(avro_field(v, 103, "record_count"), -1);
    f.size_bytes = int_of(avro_field(v, 104, "file_size_in_bytes"), -1);
    if (f.records < 0 || f.size_bytes < 0) return err_set(err, E_CORRUPT, "data file %.200s has no record_count or file_size_in_bytes", f.path);
    read_partition(avro_field(v, 102, "partition"), &f);
    read_counts(arena, avro_field(v, 108, "column_sizes"), 117, 118, &f.column_sizes, &f.column_sizes_n);
    read_counts(arena, avro_field(v, 109, "value_counts"), 119, 120, &f.value_counts, &f.value_counts_n);
    read_counts(arena, avro_field(v, 110, "null_value_counts"), 121, 122, &f.null_counts, &f.null_counts_n);
    read_counts(arena, avro_field(v, 137, "nan_value_counts"), 138, 139, &f.nan_counts, &f.nan_counts_n);
    read_bounds(arena, avro_field(v, 125, "lower_bounds"), 126, 127, &f.lower, &f.lower_n);
    read_bounds(arena, avro_field(v, 128, "upper_bounds"), 129, 130, &f.upper, &f.upper_n);
    f.key_metadata = bytes_of(avro_field(v, 131, "key_metadata"));
    read_split_offsets(arena, avro_field(v, 132, "split_offsets"), &f);
    const struct avro_value *order = avro_field(v, 140, "sort_order_id");
    f.has_sort_order = !avro_is_null(order);
    f.sort_order_id = (int)int_of(order, 0);
    *out = f;
    return OK;
}

/* Spec, "Sequence Number Inheritance": null is the manifest's number, but only for added files (and for version 1 manifests, numbered 0). */
static enum status inherit(const struct avro_value *v, const struct ice_manifest *m, struct ice_entry *e, struct err *err) {
    bool may = e->status == ICE_ADDED || m->sequence_number == 0;
    e->snapshot_id = int_of(avro_field(v, 1, "snapshot_id"), m->added_snapshot_id);
    e->sequence_number = int_of(avro_field(v, 3, "sequence_number"), may ? m->sequence_number : -1);
    e->file_sequence_number = int_of(avro_field(v, 4, "file_sequence_number"), may ? m->sequence_number : -1);
    if (e->sequence_number < 0 && e->status != ICE_DELETED) return err_set(err, E_CORRUPT, "an existing file has no sequence_number");
    return OK;
}

static enum status read_entry(struct arena *arena, const struct avro_value *v, const struct ice_manifest *m, struct ice_entry *out, struct err *err) {
    struct ice_entry e = {0};
    int64_t status = int_of(avro_field(v, 0, "status"), -1);
    if (status < 0 || status > 2) return err_set(err, E_CORRUPT, "an entry has no status");
    e.status = (enum ice_status)status;
    enum status s = inherit(v, m, &e, err);
    if (!s) s = read_file(arena, avro_field(v, 2, "data_file"), &e.file, err);
    if (!s) *out = e;
    return s;
}

enum status ice_manifest_read(struct arena *arena, struct str bytes, const struct ice_manifest *manifest, struct ice_entry **out, size_t *n, struct err *err) {
    must(arena && manifest && out && n);
    struct avro_reader reader;
    enum status s = avro_open(&reader, arena, bytes, (struct avro_limits){0}, err);
    if (s) return err_prefix(err, "manifest"), s;
    struct ice_entry *list = NULL;
    size_t count = 0, cap = 0;
    for (;;) {
        struct avro_value v;
        bool got;
        if ((s = avro_next(&reader, &v, &got, err))) return err_prefix(err, "manifest"), s;
        if (!got) break;
        list = grow(arena, list, count, &cap, sizeof(*list));
        if ((s = read_entry(arena, &v, manifest, &list[count], err))) return err_prefix(err, "manifest, entry %zu", count + 1), s;
        count++;
    }
    *out = list;
    *n = count;
    return OK;
}

const struct ice_bytes *ice_bytes_of(const struct ice_bytes *list, size_t n, int id) {
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id) return &list[i];
    return NULL;
}

bool ice_bound_int(const struct ice_bytes *list, size_t n, int id, int64_t *out) {
    const struct ice_bytes *b = ice_bytes_of(list, n, id);
    if (!b || !b->v.p) return false;
    if (b->v.n == 4) {
        int32_t v;
        memcpy(&v, b->v.p, 4);
        *out = v;
        return true;
    }
    if (b->v.n != 8) return false;
    memcpy(out, b->v.p, 8);
    return true;
}
