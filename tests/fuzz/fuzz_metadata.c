/* Table metadata of other writers: refused, or read, changed and written so that it can be read again. */
#include "fuzz.h"
#include "lake/iceberg.h"

static void change(const json_t *m) {
    ARENA_SCOPE(arena);
    json_t *dropped, *removed, *next = ice_metadata_next(m, "file:///old.metadata.json", 5, &dropped), *again = NULL;
    static const struct engine_column columns[] = {{.name = "n", .type = "BIGINT"}, {.name = "Extra", .type = "MAP(VARCHAR, STRUCT(a INTEGER, b VARCHAR[]))"}};
    struct engine_column *out;
    size_t n;
    bool changed;
    struct err err;
    if (ice_evolve(next, columns, 2, &changed, &err) == OK) must(ice_columns(arena, ice_schema(next), columns, 2, &out, &n, &err) == OK && n == 2);
    ice_expire_snapshots(next, 1000, 2, &removed);
    must(!ice_snapshot(m, ice_int(m, "current-snapshot-id", -1)) || ice_current_snapshot(next)); /* the current one always stays */
    json_decref(removed);
    ice_add_snapshot(next,
        &(struct ice_new_snapshot){
            .snapshot_id = ice_new_snapshot_id(next), .sequence_number = 9, .manifest_list = "file:///l", .operation = "append", .now_ms = 6});
    BUF_SCOPE(text);
    ice_metadata_write(next, &text);
    must(ice_metadata_parse(buf_view(&text), &again, &err) == OK);
    json_decref(again);
    json_decref(next);
    json_decref(dropped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *bytes = fuzz_copy(data, size, 0);
    struct err err;
    json_t *m = NULL;
    if (ice_metadata_parse(str_make(bytes, size), &m, &err) == OK) {
        int source;
        ice_spec_known(ice_spec(m, ice_default_spec(m)), &source);
        if (!ice_unreadable(m)) change(m); /* others are never changed */
        json_decref(m);
    }
    free(bytes);
    return 0;
}
