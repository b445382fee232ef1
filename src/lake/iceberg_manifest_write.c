/* Writing manifest lists and manifests, version 2, for partition specs that we know (none, or hour of one column). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "lake/iceberg.h"

/* Entries per Avro block: bounds the memory that a reader needs for one. */
#define BLOCK_ENTRIES 1000

/* clang-format off */
#define OPTIONAL(type) "[\"null\"," type "]"
#define PAIRS(key_id, value_id, value_type) \
    "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"k" #key_id "_v" #value_id "\",\"fields\":[" \
    "{\"name\":\"key\",\"type\":\"int\",\"field-id\":" #key_id \
    "},{\"name\":\"value\",\"type\":\"" value_type "\",\"field-id\":" #value_id "}]},\"logicalType\":\"map\"}"
#define FIELD(name, id, type) "{\"name\":\"" name "\",\"type\":" type ",\"field-id\":" #id "}"
#define OPTIONAL_FIELD(name, id, type) "{\"name\":\"" name "\",\"type\":" OPTIONAL(type) ",\"default\":null,\"field-id\":" #id "}"

static const char list_schema[] = "{\"type\":\"record\",\"name\":\"manifest_file\",\"fields\":["
    FIELD("manifest_path", 500, "\"string\"") "," FIELD("manifest_length", 501, "\"long\"") "," FIELD("partition_spec_id", 502, "\"int\"") ","
    FIELD("content", 517, "\"int\"") "," FIELD("sequence_number", 515, "\"long\"") "," FIELD("min_sequence_number", 516, "\"long\"") ","
    FIELD("added_snapshot_id", 503, "\"long\"") "," FIELD("added_files_count", 504, "\"int\"") "," FIELD("existing_files_count", 505, "\"int\"") ","
    FIELD("deleted_files_count", 506, "\"int\"") "," FIELD("added_rows_count", 512, "\"long\"") "," FIELD("existing_rows_count", 513, "\"long\"") ","
    FIELD("deleted_rows_count", 514, "\"long\"") ","
    OPTIONAL_FIELD("partitions", 507, "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"r508\",\"fields\":["
        FIELD("contains_null", 509, "\"boolean\"") "," OPTIONAL_FIELD("contains_nan", 518, "\"boolean\"") "," OPTIONAL_FIELD("lower_bound", 510, "\"bytes\"") ","
        OPTIONAL_FIELD("upper_bound", 511, "\"bytes\"") "]},\"element-id\":508}") ","
    OPTIONAL_FIELD("key_metadata", 519, "\"bytes\"") "]}";

static const char manifest_schema_head[] = "{\"type\":\"record\",\"name\":\"manifest_entry\",\"fields\":["
    FIELD("status", 0, "\"int\"") "," OPTIONAL_FIELD("snapshot_id", 1, "\"long\"") "," OPTIONAL_FIELD("sequence_number", 3, "\"long\"") ","
    OPTIONAL_FIELD("file_sequence_number", 4, "\"long\"") ","
    "{\"name\":\"data_file\",\"type\":{\"type\":\"record\",\"name\":\"r2\",\"fields\":["
    FIELD("content", 134, "\"int\"") "," FIELD("file_path", 100, "\"string\"") "," FIELD("file_format", 101, "\"string\"") ","
    "{\"name\":\"partition\",\"type\":{\"type\":\"record\",\"name\":\"r102\",\"fields\":[";

static const char manifest_schema_tail[] = "]},\"field-id\":102}," FIELD("record_count", 103, "\"long\"") "," FIELD("file_size_in_bytes", 104, "\"long\"") ","
    OPTIONAL_FIELD("column_sizes", 108, PAIRS(117, 118, "long")) "," OPTIONAL_FIELD("value_counts", 109, PAIRS(119, 120, "long")) ","
    OPTIONAL_FIELD("null_value_counts", 110, PAIRS(121, 122, "long")) "," OPTIONAL_FIELD("nan_value_counts", 137, PAIRS(138, 139, "long")) ","
    OPTIONAL_FIELD("lower_bounds", 125, PAIRS(126, 127, "bytes")) "," OPTIONAL_FIELD("upper_bounds", 128, PAIRS(129, 130, "bytes")) ","
    OPTIONAL_FIELD("key_metadata", 131, "\"bytes\"") "," OPTIONAL_FIELD("split_offsets", 132, "{\"type\":\"array\",\"items\":\"long\",\"element-id\":133}") ","
    OPTIONAL_FIELD("sort_order_id", 140, "\"int\"") "]},\"field-id\":2}]}";
/* clang-format on */

/* Union branch: 0 null, 1 the value. */
static void put_optional_bytes(struct buf *b, struct str v) {
    avro_put_long(b, v.p ? 1 : 0);
    if (v.p) avro_put_bytes(b, v);
}

static void put_optional_long(struct buf *b, bool has, int64_t v) {
    avro_put_long(b, has ? 1 : 0);
    if (has) avro_put_long(b, v);
}

static struct str meta_int(struct arena *arena, int64_t v) { return str_of(arena_printf(arena, "%" PRId64, v)); }

/* ---- manifest list ---- */

static void put_summaries(struct buf *b, const struct ice_manifest *m) {
    avro_put_long(b, m->has_summaries ? 1 : 0);
    if (!m->has_summaries) return;
    if (m->summaries_n) avro_put_long(b, (int64_t)m->summaries_n);
    for (size_t i = 0; i < m->summaries_n; i++) {
        const struct ice_summary *s = &m->summaries[i];
        avro_put_bool(b, s->contains_null);
        avro_put_long(b, s->has_nan ? 1 : 0);
        if (s->has_nan) avro_put_bool(b, s->contains_nan);
        put_optional_bytes(b, s->lower);
        put_optional_bytes(b, s->upper);
    }
    avro_put_long(b, 0);
}

/* Counts that a version 1 writer left out are written as 1: "there may be some". */
static int64_t known(int64_t count) { return count < 0 ? 1 : count; }

static void put_manifest_file(struct buf *b, const struct ice_manifest *m) {
    avro_put_text(b, m->path);
    avro_put_long(b, m->length);
    avro_put_long(b, m->spec_id);
    avro_put_long(b, m->content);
    avro_put_long(b, m->sequence_number);
    avro_put_long(b, m->min_sequence_number);
    avro_put_long(b, m->added_snapshot_id);
    avro_put_long(b, known(m->added_files));
    avro_put_long(b, known(m->existing_files));
    avro_put_long(b, known(m->deleted_files));
    avro_put_long(b, known(m->added_rows));
    avro_put_long(b, known(m->existing_rows));
    avro_put_long(b, known(m->deleted_rows));
    put_summaries(b, m);
    put_optional_bytes(b, m->key_metadata);
}

void ice_manifest_list_write(struct buf *out, const struct ice_manifest *manifests, size_t n, int64_t snapshot_id, int64_t parent_id, int64_t sequence_number) {
    must(out && snapshot_id > 0 && sequence_number > 0);
    ARENA_SCOPE(arena);
    const struct str meta[] = {STR("snapshot-id"), meta_int(arena, snapshot_id), STR("parent-snapshot-id"),
        parent_id < 0 ? STR("null") : meta_int(arena, parent_id), STR("sequence-number"), meta_int(arena, sequence_number), STR("format-version"), STR("2")};
    struct avro_writer writer;
    avro_begin(&writer, out, list_schema, true, meta, 4);
    BUF_SCOPE(block);
    for (size_t i = 0; i < n; i++) {
        put_manifest_file(&block, &manifests[i]);
        if ((i + 1) % BLOCK_ENTRIES && i + 1 < n) continue;
        avro_put_block(&writer, buf_view(&block), (int64_t)(i % BLOCK_ENTRIES) + 1);
        buf_clear(&block);
    }
}

/* ---- manifest ---- */

static void put_counts(struct buf *b, const struct ice_count *list, size_t n) {
    avro_put_long(b, list ? 1 : 0);
    if (!list) return;
    if (n) avro_put_long(b, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        avro_put_long(b, list[i].id);
        avro_put_long(b, list[i].n);
    }
    avro_put_long(b, 0);
}

static void put_bounds(struct buf *b, const struct ice_bytes *list, size_t n) {
    avro_put_long(b, list ? 1 : 0);
    if (!list) return;
    if (n) avro_put_long(b, (int64_t)n);
    for (size_t i = 0; i < n; i++) {
        avro_put_long(b, list[i].id);
        avro_put_bytes(b, list[i].v);
    }
    avro_put_long(b, 0);
}

static void put_file(struct buf *b, const struct ice_file *f, bool partitioned) {
    avro_put_long(b, f->content);
    avro_put_text(b, f->path);
    avro_put_text(b, f->format);
    if (partitioned) put_optional_long(b, !f->partition_null, f->partition);
    avro_put_long(b, f->records);
    avro_put_long(b, f->size_bytes);
    put_counts(b, f->column_sizes, f->column_sizes_n);
    put_counts(b, f->value_counts, f->value_counts_n);
    put_counts(b, f->null_counts, f->null_counts_n);
    put_counts(b, f->nan_counts, f->nan_counts_n);
    put_bounds(b, f->lower, f->lower_n);
    put_bounds(b, f->upper, f->upper_n);
    put_optional_bytes(b, f->key_metadata);
    avro_put_long(b, f->split_offsets_n ? 1 : 0);
    if (f->split_offsets_n) {
        avro_put_long(b, (int64_t)f->split_offsets_n);
        for (size_t i = 0; i < f->split_offsets_n; i++) avro_put_long(b, f->split_offsets[i]);
        avro_put_long(b, 0);
    }
    put_optional_long(b, f->has_sort_order, f->sort_order_id);
}

static void put_entry(struct buf *b, const struct ice_entry *e, bool partitioned) {
    must(e->file.partition_known && (e->status == ICE_ADDED || e->sequence_number >= 0));
    avro_put_long(b, e->status);
    put_optional_long(b, true, e->snapshot_id);
    put_optional_long(b, e->sequence_number >= 0, e->sequence_number);
    put_optional_long(b, e->file_sequence_number >= 0, e->file_sequence_number);
    put_file(b, &e->file, partitioned);
}

static void count_entry(struct ice_manifest *m, const struct ice_entry *e) {
    int64_t *files = e->status == ICE_ADDED ? &m->added_files : e->status == ICE_EXISTING ? &m->existing_files : &m->deleted_files;
    int64_t *rows = e->status == ICE_ADDED ? &m->added_rows : e->status == ICE_EXISTING ? &m->existing_rows : &m->deleted_rows;
    ++*files;
    *rows += e->file.records;
    int64_t sequence = e->sequence_number < 0 ? m->sequence_number : e->sequence_number;
    if (e->status != ICE_DELETED && sequence < m->min_sequence_number) m->min_sequence_number = sequence;
}

static void summarise(struct arena *arena, const struct ice_entry *entries, size_t n, struct ice_manifest *m) {
    struct ice_summary *s = arena_new_one(arena, struct ice_summary);
    int32_t low = INT32_MAX, high = INT32_MIN;
    s->has_nan = true;
    for (size_t i = 0; i < n; i++) {
        const struct ice_file *f = &entries[i].file;
        if (f->partition_null) {
            s->contains_null = true;
            continue;
        }
        if (f->partition < low) low = (int32_t)f->partition;
        if (f->partition > high) high = (int32_t)f->partition;
    }
    if (low <= high) {
        s->lower = arena_str(arena, str_make(&low, sizeof(low)));
        s->upper = arena_str(arena, str_make(&high, sizeof(high)));
    }
    m->summaries = s;
    m->summaries_n = 1;
}

/* Avro names allow letters, digits and underscores only; others are written as _xHH (as Iceberg's own writers do). */
static void put_avro_name(struct buf *out, const char *name) {
    for (size_t i = 0; name[i]; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_', digit = c >= '0' && c <= '9';
        if (letter || (digit && i)) {
            buf_char(out, c);
        } else if (digit) {
            buf_printf(out, "_%c", c);
        } else {
            buf_printf(out, "_x%X", (unsigned)(uint8_t)c);
        }
    }
}

static void put_manifest_schema(struct buf *out, const json_t *field) {
    buf_text(out, manifest_schema_head);
    if (field) {
        buf_text(out, "{\"name\":\"");
        put_avro_name(out, ice_text(field, "name"));
        buf_printf(out, "\",\"type\":[\"null\",\"int\"],\"default\":null,\"field-id\":%" PRId64 "}", ice_int(field, "field-id", 1000));
    }
    buf_text(out, manifest_schema_tail);
}

static struct str meta_json(struct arena *arena, const json_t *json) {
    char *text = json_dumps(json, JSON_COMPACT);
    must(text);
    struct str s = str_of(arena_strdup(arena, text));
    free(text);
    return s;
}

void ice_manifest_write(struct arena *arena, struct buf *out, const json_t *schema, const json_t *spec, const struct ice_entry *entries, size_t n,
    int64_t sequence_number, struct ice_manifest *manifest) {
    int source;
    must(n && ice_spec_known(spec, &source));
    const json_t *fields = json_object_get(spec, "fields");
    const struct str meta[] = {STR("schema"), meta_json(arena, schema), STR("schema-id"), meta_int(arena, ice_int(schema, "schema-id", 0)),
        STR("partition-spec"), meta_json(arena, fields), STR("partition-spec-id"), meta_int(arena, ice_int(spec, "spec-id", 0)), STR("format-version"),
        STR("2"), STR("content"), STR("data")};
    BUF_SCOPE(avro_schema);
    put_manifest_schema(&avro_schema, source ? json_array_get(fields, 0) : NULL);
    size_t start = out->n;
    struct avro_writer writer;
    avro_begin(&writer, out, buf_cstr(&avro_schema), true, meta, 6);
    struct ice_manifest m = {.path = manifest->path,
        .added_snapshot_id = manifest->added_snapshot_id,
        .spec_id = (int)ice_int(spec, "spec-id", 0),
        .sequence_number = sequence_number,
        .min_sequence_number = sequence_number,
        .has_summaries = true};
    BUF_SCOPE(block);
    for (size_t i = 0; i < n; i++) {
        put_entry(&block, &entries[i], source != 0);
        count_entry(&m, &entries[i]);
        if ((i + 1) % BLOCK_ENTRIES && i + 1 < n) continue;
        avro_put_block(&writer, buf_view(&block), (int64_t)(i % BLOCK_ENTRIES) + 1);
        buf_clear(&block);
    }
    if (source) summarise(arena, entries, n, &m);
    m.length = (int64_t)(out->n - start);
    *manifest = m;
}
