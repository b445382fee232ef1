/* Iceberg as values and bytes: types, schema evolution, metadata with fields that we do not know, manifests with bounds and inheritance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lake/iceberg.h"

static json_t *parse_json(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    return v;
}

/* ---- types ---- */

static void types(void **state) {
    static const struct {
        const char *duckdb, *iceberg, *back;
    } cases[] = {
        {"BOOLEAN", "\"boolean\"", "BOOLEAN"},
        {"tinyint", "\"int\"", "INTEGER"},
        {"UINTEGER", "\"long\"", "BIGINT"},
        {"UBIGINT", "\"decimal(20, 0)\"", "DECIMAL(20,0)"},
        {"DECIMAL(18,4)", "\"decimal(18, 4)\"", "DECIMAL(18,4)"},
        {"TIMESTAMP_NS", "\"timestamp\"", "TIMESTAMP"},
        {"TIMESTAMP WITH TIME ZONE", "\"timestamptz\"", "TIMESTAMP WITH TIME ZONE"},
        {"UUID", "\"uuid\"", "UUID"},
        {"BLOB", "\"binary\"", "BLOB"},
        {"INTERVAL", "\"string\"", "VARCHAR"},
        {"ENUM('a', 'b')", "\"string\"", "VARCHAR"},
        {"MAP(VARCHAR, VARCHAR)", "{\"type\":\"map\",\"key-id\":0,\"key\":\"string\",\"value-id\":0,\"value\":\"string\",\"value-required\":false}",
            "MAP(VARCHAR, VARCHAR)"},
        {"INTEGER[]", "{\"type\":\"list\",\"element-id\":0,\"element\":\"int\",\"element-required\":false}", "INTEGER[]"},
        {"STRUCT(\"a \"\"b\"\", c)\" DECIMAL(4,1), d VARCHAR[])[]", NULL, "STRUCT(\"a \"\"b\"\", c)\" DECIMAL(4,1), \"d\" VARCHAR[])[]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ARENA_SCOPE(arena);
        struct ice_type type;
        struct err err = {0};
        if (ice_type_from_duckdb(arena, str_of(cases[i].duckdb), &type, &err)) fail_msg("%s: %s", cases[i].duckdb, err.text);
        if (cases[i].iceberg) {
            json_t *have = ice_type_to_json(&type), *want = parse_json(cases[i].iceberg);
            if (!json_equal(have, want)) fail_msg("%s: %s", cases[i].duckdb, json_dumps(have, JSON_ENCODE_ANY));
            struct ice_type again;
            assert_int_equal(ice_type_from_json(arena, have, &again, &err), OK);
            assert_int_equal(again.kind, type.kind);
            json_decref(have);
            json_decref(want);
        }
        BUF_SCOPE(text);
        ice_type_to_duckdb(&text, &type);
        assert_string_equal(buf_cstr(&text), cases[i].back);
    }
}

static void wrong_types(void **state) {
    ARENA_SCOPE(arena);
    struct ice_type type;
    static const char *const duckdb[] = {"", "DECIMAL(39,0)", "DECIMAL(4,5)", "STRUCT()", "MAP(INTEGER)"};
    for (size_t i = 0; i < sizeof(duckdb) / sizeof(duckdb[0]); i++) assert_int_not_equal(ice_type_from_duckdb(arena, str_of(duckdb[i]), &type, NULL), OK);
    static const char *const iceberg[] = {"\"decimal(0, 0)\"", "\"fixed[-1]\"", "\"variant\"", "{}", "7", "{\"type\":\"struct\"}",
        "{\"type\":\"struct\",\"fields\":[{\"id\":1,\"type\":\"int\"}]}", "{\"type\":\"list\",\"element-id\":4}"};
    for (size_t i = 0; i < sizeof(iceberg) / sizeof(iceberg[0]); i++) {
        json_t *json = parse_json(iceberg[i]);
        assert_int_not_equal(ice_type_from_json(arena, json, &type, NULL), OK);
        json_decref(json);
    }
    BUF_SCOPE(deep);
    for (int i = 0; i < 500; i++) buf_text(&deep, "STRUCT(a ");
    buf_text(&deep, "INTEGER");
    for (int i = 0; i < 500; i++) buf_text(&deep, ")");
    assert_int_equal(ice_type_from_duckdb(arena, buf_view(&deep), &type, NULL), E_LIMIT);
}

/* ---- metadata ---- */

static json_t *new_table(const struct engine_column *columns, size_t n, const char *partition_by) {
    static const char *const properties[] = {"cupel.stream", "3", NULL};
    struct ice_new_table t = {
        .location = "file:///lake/bronze/x", .columns = columns, .columns_n = n, .now_ms = 1000, .partition_by = partition_by, .properties = properties};
    json_t *m = NULL;
    struct err err = {0};
    if (ice_metadata_new(&t, &m, &err)) fail_msg("%s", err.text);
    return m;
}

static const struct engine_column some_columns[] = {{.name = "id", .type = "INTEGER"}, {.name = "tags", .type = "MAP(VARCHAR, VARCHAR)"},
    {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"}, {.name = "price", .type = "DECIMAL(10,2)"}, {.name = "ratio", .type = "FLOAT"}};

static void new_metadata(void **state) {
    json_t *m = new_table(some_columns, 5, "_received_at");
    assert_int_equal(ice_version(m), 2);
    assert_int_equal(json_array_size(json_object_get(m, "schemas")), 1);
    assert_int_equal(ice_int(m, "current-schema-id", -1), 0);
    assert_int_equal(ice_int(m, "last-column-id", -1), 7); /* five columns, key and value of the map */
    int source;
    assert_true(ice_spec_known(ice_spec(m, 0), &source));
    assert_int_equal(source, 3);
    assert_int_equal(ice_int(m, "last-partition-id", 0), 1000);
    assert_string_equal(ice_property(m, "cupel.stream"), "3");
    BUF_SCOPE(text);
    ice_metadata_write(m, &text);
    json_t *again;
    struct err err = {0};
    if (ice_metadata_parse(buf_view(&text), &again, &err)) fail_msg("%s", err.text);
    assert_true(json_equal(m, again));
    json_decref(m);
    json_decref(again);
    m = new_table(some_columns, 5, NULL);
    assert_true(ice_spec_known(ice_spec(m, 0), &source) && source == 0);
    assert_int_equal(ice_int(m, "last-partition-id", 0), 999);
    json_decref(m);
}

/* Fields that this version has never heard of survive a change, at every level. */
static void unknown_fields_stay(void **state) {
    json_t *m = new_table(some_columns, 5, "_received_at");
    json_object_set_new(m, "x-future", parse_json("{\"deep\":[1,2.5,null,true]}"));
    json_object_set_new(json_array_get(json_object_get(json_array_get(json_object_get(m, "schemas"), 0), "fields"), 0), "x-note", json_string("keep"));
    json_object_set_new(m, "statistics", parse_json("[{\"snapshot-id\":5,\"statistics-path\":\"s\"}]"));
    BUF_SCOPE(text);
    ice_metadata_write(m, &text);
    json_t *read, *dropped;
    assert_int_equal(ice_metadata_parse(buf_view(&text), &read, NULL), OK);
    json_t *next = ice_metadata_next(read, "file:///old.json", 2000, &dropped);
    bool changed;
    const struct engine_column more[] = {{.name = "neu", .type = "VARCHAR"}};
    assert_int_equal(ice_evolve(next, more, 1, &changed, NULL), OK);
    assert_true(changed);
    assert_true(json_equal(json_object_get(next, "x-future"), json_object_get(m, "x-future")));
    assert_string_equal(ice_text(json_array_get(json_object_get(ice_schema(next), "fields"), 0), "x-note"), "keep");
    assert_int_equal(json_array_size(json_object_get(next, "statistics")), 1);
    assert_string_equal(ice_text(json_array_get(json_object_get(next, "metadata-log"), 0), "metadata-file"), "file:///old.json");
    assert_int_equal(json_array_size(json_object_get(read, "metadata-log")), 0); /* the source is untouched */
    json_decref(m);
    json_decref(read);
    json_decref(next);
}

static void metadata_log_is_limited(void **state) {
    json_t *m = new_table(some_columns, 5, NULL);
    ice_set_property(m, "write.metadata.previous-versions-max", "3");
    size_t gone = 0;
    for (int i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof(name), "file:///m%d", i);
        json_t *dropped, *next = ice_metadata_next(m, name, 1000 - i, &dropped); /* a clock that goes back */
        assert_true(ice_int(next, "last-updated-ms", 0) >= ice_int(m, "last-updated-ms", 0));
        gone += json_array_size(dropped);
        json_decref(dropped);
        json_decref(m);
        m = next;
    }
    assert_int_equal(json_array_size(json_object_get(m, "metadata-log")), 3);
    assert_int_equal(gone, 7);
    json_decref(m);
}

static void wrong_metadata(void **state) {
    static const struct {
        const char *path, *value, *says;
    } cases[] = {
        {"format-version", "null", "format-version"},
        {"format-version", "4", "version 4"},
        {"location", "null", "location"},
        {"table-uuid", "null", "table-uuid"},
        {"last-sequence-number", "null", "sequence"},
        {"last-column-id", "\"x\"", "last-column-id"},
        {"current-schema-id", "9", "schema"},
        {"default-spec-id", "9", "spec"},
        {"current-snapshot-id", "77", "77"},
        {"snapshots", "[{}]", "snapshot-id"},
        {"snapshots", "{}", "list"},
        {"properties", "[]", "properties"},
        {"schemas", "[]", "schema"},
        {"snapshots", "[{\"snapshot-id\":1}]", "manifest-list"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *m = new_table(some_columns, 5, NULL), *out = NULL;
        json_object_set_new(m, cases[i].path, parse_json(cases[i].value));
        BUF_SCOPE(text);
        ice_metadata_write(m, &text);
        struct err err = {0};
        assert_int_not_equal(ice_metadata_parse(buf_view(&text), &out, &err), OK);
        assert_null(out);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s=%s: %s", cases[i].path, cases[i].value, err.text);
        json_decref(m);
    }
    json_t *out = NULL;
    assert_int_equal(ice_metadata_parse(STR("{\"format-version\":2"), &out, NULL), E_CORRUPT);
    assert_int_equal(ice_metadata_parse(STR(""), &out, NULL), E_CORRUPT);
}

static void version_1_is_lifted(void **state) {
    static const char text[] =
        "{\"format-version\":1,\"location\":\"file:///t\",\"last-updated-ms\":1,\"last-column-id\":1,"
        "\"schema\":{\"type\":\"struct\",\"fields\":[{\"id\":1,\"name\":\"a\",\"required\":true,\"type\":\"long\"}]},\"partition-spec\":[],\"properties\":{}}";
    json_t *m;
    struct err err = {0};
    if (ice_metadata_parse(str_of(text), &m, &err)) fail_msg("%s", err.text);
    assert_non_null(ice_schema(m));
    assert_non_null(ice_spec(m, 0));
    assert_null(ice_unreadable(m));
    json_decref(m);
}

static void version_3_is_read_where_it_can_be(void **state) {
    json_t *m = new_table(some_columns, 5, NULL);
    json_object_set_new(m, "format-version", json_integer(3));
    assert_null(ice_unreadable(m));
    json_object_set_new(json_array_get(json_object_get(ice_schema(m), "fields"), 0), "initial-default", json_integer(7));
    assert_non_null(strstr(ice_unreadable(m), "default value"));
    json_decref(m);
}

/* ---- evolution ---- */

static enum status evolve_one(json_t *m, const char *name, const char *type, int id, bool *changed, struct err *err) {
    const struct engine_column c = {.name = name, .type = type, .field_id = id};
    return ice_evolve(m, &c, 1, changed, err);
}

static const char *type_now(struct arena *arena, json_t *m, const char *name) {
    const struct engine_column c = {.name = name};
    struct engine_column *out;
    size_t n;
    return ice_columns(arena, ice_schema(m), &c, 1, &out, &n, NULL) ? "none" : out[0].type;
}

static void evolution(void **state) {
    static const struct {
        const char *column, *wanted, *then; /* then NULL: refused */
        bool changed;
    } cases[] = {
        {"ID", "INTEGER", "INTEGER", false},
        {"id", "SMALLINT", "INTEGER", false},
        {"id", "BIGINT", "BIGINT", true},
        {"id", "INTEGER", "BIGINT", false},
        {"id", "DOUBLE", NULL, false},
        {"id", "VARCHAR", NULL, false},
        {"ratio", "DOUBLE", "DOUBLE", true},
        {"ratio", "INTEGER", "DOUBLE", false},
        {"ratio", "BIGINT", NULL, false},
        {"price", "DECIMAL(14,2)", "DECIMAL(14,2)", true},
        {"price", "DECIMAL(4,1)", "DECIMAL(14,2)", false},
        {"price", "DECIMAL(14,3)", NULL, false},
        {"price", "INTEGER", "DECIMAL(14,2)", false},
        {"price", "BIGINT", "DECIMAL(21,2)", true},
        {"_received_at", "DATE", NULL, false},
        {"tags", "VARCHAR", NULL, false},
        {"tags", "MAP(VARCHAR, VARCHAR)", "MAP(VARCHAR, VARCHAR)", false},
        {"text", "VARCHAR", "VARCHAR", true},
        {"text", "BIGINT", "VARCHAR", false},
        {"Nested", "STRUCT(a INTEGER)", "STRUCT(\"a\" INTEGER)", true},
        {"nested", "STRUCT(A BIGINT, b VARCHAR[])", "STRUCT(\"a\" BIGINT, \"b\" VARCHAR[])", true},
        {"nested", "STRUCT(b VARCHAR)", NULL, false},
    };
    json_t *m = new_table(some_columns, 5, "_received_at");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool changed = false;
        struct err err = {0};
        size_t schemas = json_array_size(json_object_get(m, "schemas"));
        json_t *before = json_deep_copy(m);
        enum status s = evolve_one(m, cases[i].column, cases[i].wanted, 0, &changed, &err);
        if (!cases[i].then) {
            assert_int_equal(s, E_UNPROCESSABLE);
            assert_non_null(strstr(err.text, "column"));
            assert_true(json_equal(before, m)); /* untouched on failure */
        } else {
            ARENA_SCOPE(arena);
            if (s) fail_msg("%s to %s: %s", cases[i].column, cases[i].wanted, err.text);
            assert_string_equal(type_now(arena, m, cases[i].column), cases[i].then);
            if (changed != cases[i].changed) fail_msg("%s to %s: changed %d", cases[i].column, cases[i].wanted, changed);
            assert_int_equal(json_array_size(json_object_get(m, "schemas")), schemas + changed);
        }
        json_decref(before);
    }
    json_decref(m);
}

static void planned_ids(void **state) {
    json_t *m = new_table(some_columns, 5, NULL);
    bool changed;
    assert_int_equal(evolve_one(m, "x", "VARCHAR", 8, &changed, NULL), OK); /* the next free id */
    assert_int_equal(evolve_one(m, "y", "VARCHAR", 8, &changed, NULL), E_CONFLICT);
    const struct engine_column twice[] = {{.name = "k", .type = "INTEGER"}, {.name = "K", .type = "INTEGER"}};
    assert_int_equal(ice_evolve(m, twice, 2, &changed, NULL), E_INVALID);
    ARENA_SCOPE(arena);
    struct engine_column *out;
    size_t n;
    assert_int_equal(ice_columns(arena, ice_schema(m), NULL, 0, &out, &n, NULL), OK);
    assert_int_equal(n, 6);
    assert_string_equal(out[1].field_ids, "{__duckdb_field_id: 2, \"key\": 6, \"value\": 7}");
    assert_null(out[0].field_ids);
    json_decref(m);
}

/* ---- snapshots ---- */

static void add_snapshot(json_t *m, int64_t id, int64_t at_ms) {
    json_object_set_new(m, "last-updated-ms", json_integer(at_ms));
    static const char *const summary[] = {"added-records", "1", NULL};
    ice_add_snapshot(m,
        &(struct ice_new_snapshot){.snapshot_id = id,
            .sequence_number = ice_int(m, "last-sequence-number", 0) + 1,
            .manifest_list = "file:///l",
            .operation = "append",
            .summary = summary,
            .now_ms = at_ms});
}

static void snapshots_and_expiry(void **state) {
    json_t *m = new_table(some_columns, 5, NULL), *removed;
    assert_null(ice_current_snapshot(m));
    for (int i = 1; i <= 10; i++) add_snapshot(m, i * 100, i * 1000);
    assert_int_equal(ice_int(ice_current_snapshot(m), "snapshot-id", 0), 1000);
    assert_int_equal(ice_int(ice_current_snapshot(m), "parent-snapshot-id", 0), 900);
    assert_int_equal(ice_int(m, "last-sequence-number", 0), 10);
    assert_int_equal(ice_int(json_object_get(json_object_get(m, "refs"), "main"), "snapshot-id", 0), 1000);
    json_object_set_new(json_object_get(m, "refs"), "audit", parse_json("{\"snapshot-id\":200,\"type\":\"tag\"}"));
    json_object_set_new(m, "statistics", parse_json("[{\"snapshot-id\":100},{\"snapshot-id\":1000}]"));
    assert_int_equal(ice_expire_snapshots(m, 9000, 4, &removed), 5); /* 1, 3, 4, 5, 6: the tag holds 2, the newest four stay */
    assert_int_equal(json_array_size(removed), 5);
    assert_int_equal(json_array_size(json_object_get(m, "snapshots")), 5);
    assert_non_null(ice_snapshot(m, 200));
    assert_null(ice_snapshot(m, 600));
    assert_int_equal(json_array_size(json_object_get(m, "statistics")), 1);
    const json_t *log = json_object_get(m, "snapshot-log");
    for (size_t i = 0; i < json_array_size(log); i++) assert_non_null(ice_snapshot(m, ice_int(json_array_get(log, i), "snapshot-id", 0)));
    json_decref(removed);
    assert_int_equal(ice_expire_snapshots(m, INT64_MAX, 1, &removed), 3); /* all but the current one and the tag */
    json_decref(removed);
    BUF_SCOPE(text);
    ice_metadata_write(m, &text);
    json_t *again;
    assert_int_equal(ice_metadata_parse(buf_view(&text), &again, NULL), OK);
    json_decref(again);
    json_decref(m);
}

/* ---- manifests ---- */

enum { MANY = 2500 }; /* three blocks */
static int64_t low = -5, high = 77, offsets[] = {4, 1000};
static struct ice_count sizes[] = {{1, 100}, {4, 200}}, nulls[] = {{1, 3}};

/* Every second file is new, number 7 is deleted, number 9 has no partition value. */
static void make_entries(struct arena *arena, struct ice_entry *entries) {
    struct ice_bytes *bounds = arena_new_array(arena, struct ice_bytes, 2);
    bounds[0] = (struct ice_bytes){4, str_make(&low, 8)};
    bounds[1] = (struct ice_bytes){4, str_make(&high, 8)};
    for (int i = 0; i < MANY; i++) {
        bool old = i % 2;
        struct ice_entry *e = &entries[i];
        e->status = i == 7 ? ICE_DELETED : old ? ICE_EXISTING : ICE_ADDED;
        e->snapshot_id = old ? 11 : 99;
        e->sequence_number = e->file_sequence_number = old ? 3 : -1;
        struct ice_file f = {.path = arena_printf(arena, "file:///d/%d.parquet", i), .format = "PARQUET", .records = 10, .size_bytes = 1234};
        f.partition_known = true;
        f.partition = 480000 + i % 5;
        f.partition_null = i == 9;
        f.column_sizes = sizes;
        f.column_sizes_n = 2;
        f.null_counts = nulls;
        f.null_counts_n = 1;
        f.lower = &bounds[0];
        f.upper = &bounds[1];
        f.lower_n = f.upper_n = 1;
        f.split_offsets = offsets;
        f.split_offsets_n = i == 3 ? 2 : 0;
        e->file = f;
    }
}

static void check_counts(const struct ice_manifest *m, size_t length) {
    assert_int_equal(m->added_files, MANY / 2);
    assert_int_equal(m->existing_files, MANY / 2 - 1);
    assert_int_equal(m->deleted_files, 1);
    assert_int_equal(m->added_rows, MANY / 2 * 10);
    assert_int_equal(m->min_sequence_number, 3);
    assert_int_equal(m->length, length);
    assert_true(m->summaries[0].contains_null);
    int32_t bound;
    memcpy(&bound, m->summaries[0].lower.p, 4);
    assert_int_equal(bound, 480000);
}

static void check_entries(const struct ice_entry *read) {
    assert_int_equal(read[0].sequence_number, 8); /* inherited */
    assert_int_equal(read[1].sequence_number, 3);
    assert_int_equal(read[7].status, ICE_DELETED);
    assert_true(read[9].file.partition_null && !read[8].file.partition_null);
    assert_int_equal(read[8].file.partition, 480003);
    assert_string_equal(read[MANY - 1].file.path, "file:///d/2499.parquet");
    assert_int_equal(read[3].file.split_offsets[1], 1000);
    int64_t value;
    assert_true(ice_bound_int(read[5].file.lower, read[5].file.lower_n, 4, &value) && value == -5);
    assert_true(ice_bound_int(read[5].file.upper, read[5].file.upper_n, 4, &value) && value == 77);
    assert_false(ice_bound_int(read[5].file.lower, read[5].file.lower_n, 1, &value));
}

static void manifests(void **state) {
    json_t *m = new_table(some_columns, 5, "_received_at");
    ARENA_SCOPE(arena);
    struct ice_entry *entries = arena_new_array(arena, struct ice_entry, MANY), *read;
    make_entries(arena, entries);
    BUF_SCOPE(bytes);
    struct ice_manifest manifest = {.path = "file:///m.avro", .added_snapshot_id = 99}, *list;
    ice_manifest_write(arena, &bytes, ice_schema(m), ice_spec(m, 0), entries, MANY, 8, &manifest);
    check_counts(&manifest, bytes.n);

    BUF_SCOPE(list_bytes);
    struct ice_manifest two[2] = {manifest, manifest};
    two[1].content = 1;
    two[1].has_summaries = false;
    two[1].key_metadata = STR("k");
    ice_manifest_list_write(&list_bytes, two, 2, 99, -1, 8);
    size_t n;
    struct err err = {0};
    if (ice_manifest_list_read(arena, buf_view(&list_bytes), &list, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n, 2);
    assert_int_equal(list[0].sequence_number, 8);
    assert_int_equal(list[0].deleted_rows, 10);
    assert_true(list[0].has_summaries && str_eq(list[0].summaries[0].upper, manifest.summaries[0].upper));
    assert_true(list[1].content == 1 && !list[1].has_summaries && str_is(list[1].key_metadata, "k"));

    if (ice_manifest_read(arena, buf_view(&bytes), &list[0], &read, &n, &err)) fail_msg("%s", err.text);
    assert_int_equal(n, MANY);
    check_entries(read);
    json_decref(m);
}

/* Spec, "Sequence Number Inheritance": an existing file must carry its own number. */
static void inheritance_is_for_added_files_only(void **state) {
    json_t *m = new_table(some_columns, 5, NULL);
    ARENA_SCOPE(arena);
    struct ice_entry e = {.status = ICE_EXISTING, .snapshot_id = 1, .sequence_number = 4, .file_sequence_number = -1};
    e.file = (struct ice_file){.path = "file:///a", .format = "PARQUET", .partition_known = true, .partition_null = true, .records = 1, .size_bytes = 1};
    BUF_SCOPE(bytes);
    struct ice_manifest manifest = {.path = "file:///m.avro", .added_snapshot_id = 99}, *list = &manifest;
    ice_manifest_write(arena, &bytes, ice_schema(m), ice_spec(m, 0), &e, 1, 8, &manifest);
    struct ice_entry *read;
    size_t n;
    assert_int_equal(ice_manifest_read(arena, buf_view(&bytes), list, &read, &n, NULL), OK);
    assert_int_equal(read[0].file_sequence_number, -1);
    assert_int_equal(read[0].sequence_number, 4);
    json_decref(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(wrong_types),
        cmocka_unit_test(new_metadata),
        cmocka_unit_test(unknown_fields_stay),
        cmocka_unit_test(metadata_log_is_limited),
        cmocka_unit_test(wrong_metadata),
        cmocka_unit_test(version_1_is_lifted),
        cmocka_unit_test(version_3_is_read_where_it_can_be),
        cmocka_unit_test(evolution),
        cmocka_unit_test(planned_ids),
        cmocka_unit_test(snapshots_and_expiry),
        cmocka_unit_test(manifests),
        cmocka_unit_test(inheritance_is_for_added_files_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
