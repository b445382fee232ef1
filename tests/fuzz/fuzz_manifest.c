/* Manifests and manifest lists of other writers: refused, or read within limits; what was read can be written and comes back the same. */
#include "fuzz.h"
#include "lake/iceberg.h"

static void read_list(struct str bytes) {
    ARENA_SCOPE(arena);
    struct ice_manifest *list, *again;
    size_t n, m;
    struct err err;
    if (ice_manifest_list_read(arena, bytes, &list, &n, &err)) return;
    BUF_SCOPE(out);
    ice_manifest_list_write(&out, list, n, 5, 4, 3);
    must(ice_manifest_list_read(arena, buf_view(&out), &again, &m, &err) == OK && m == n);
    for (size_t i = 0; i < n; i++) must(!strcmp(list[i].path, again[i].path) && list[i].sequence_number == again[i].sequence_number);
}

static void read_manifest(struct str bytes, const json_t *metadata) {
    ARENA_SCOPE(arena);
    struct ice_manifest manifest = {.path = "file:///m", .sequence_number = 4, .added_snapshot_id = 2};
    struct ice_entry *entries, *again;
    size_t n, kept = 0, m;
    struct err err;
    if (ice_manifest_read(arena, bytes, &manifest, &entries, &n, &err)) return;
    for (size_t i = 0; i < n; i++) {
        struct ice_entry e = entries[i];
        int64_t bound;
        ice_bound_int(e.file.lower, e.file.lower_n, 3, &bound);
        if (!e.file.partition_known || e.sequence_number < 0 || e.status == ICE_DELETED) continue;
        e.status = ICE_EXISTING;
        entries[kept++] = e;
    }
    if (!kept) return;
    BUF_SCOPE(out);
    ice_manifest_write(arena, &out, ice_schema(metadata), ice_spec(metadata, 0), entries, kept, 9, &manifest);
    must(ice_manifest_read(arena, buf_view(&out), &manifest, &again, &m, &err) == OK && m == kept);
    for (size_t i = 0; i < kept; i++) must(!strcmp(entries[i].file.path, again[i].file.path) && entries[i].file.records == again[i].file.records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static json_t *metadata;
    if (!metadata) {
        static const struct engine_column columns[] = {{.name = "_received_at", .type = "TIMESTAMPTZ"}};
        struct ice_new_table t = {.location = "file:///t", .columns = columns, .columns_n = 1, .partition_by = "_received_at"};
        must(ice_metadata_new(&t, &metadata, NULL) == OK);
    }
    char *bytes = fuzz_copy(data, size, 0);
    read_list(str_make(bytes, size));
    read_manifest(str_make(bytes, size), metadata);
    free(bytes);
    return 0;
}
