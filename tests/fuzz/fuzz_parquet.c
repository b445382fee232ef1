/* Parquet files that lie in the lake: a look-up by id finds a row that is whole, or says that it cannot; memory stays in bounds. */
#include "../unit/memory_file.h"
#include "fuzz.h"
#include "lake/parquet_event.h"

/* Columns as the seeds have them: tests/unit/test_parquet.c makes them. */
static const struct engine_column columns[] = {{.name = "_event_id", .type = "UUID", .field_id = 1}, {.name = "_stream", .type = "VARCHAR", .field_id = 2},
    {.name = "_partition", .type = "INTEGER", .field_id = 3}, {.name = "_offset", .type = "BIGINT", .field_id = 4},
    {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE", .field_id = 5}, {.name = "_source", .type = "VARCHAR", .field_id = 6},
    {.name = "_key", .type = "VARCHAR", .field_id = 7}, {.name = "_headers", .type = "MAP(VARCHAR, VARCHAR)", .field_id = 8},
    {.name = "_content_type", .type = "VARCHAR", .field_id = 9}, {.name = "payload", .type = "VARCHAR", .field_id = 10},
    {.name = "_body", .type = "BLOB", .field_id = 11}, {.name = "_valid_json", .type = "BOOLEAN", .field_id = 12}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct parquet_readers readers;
    static bool ready;
    if (!ready) parquet_readers_init(&readers);
    ready = true;
    char *bytes = fuzz_copy(data, size, 0);
    struct str content = str_make(bytes, size);
    struct fs fs = memory_file(&content);
    struct err err;
    for (uint64_t i = 0; i < 4; i++) {
        struct event_address address = {.received_ms = 1763632800000, .stream = 5, .partition = (uint16_t)(i % 3), .offset = i};
        BUF_SCOPE(row);
        enum status s = parquet_read_event(&fs, &readers, "file", columns, sizeof columns / sizeof *columns, address, &row, &err);
        must(s == OK ? row.n > 2 && row.p[0] == '{' && row.p[row.n - 1] == '}' : !row.n);
    }
    ARENA_SCOPE(arena);
    struct parquet_footer footer;
    parquet_footer_read(arena, content, &footer, &err);
    free(bytes);
    return 0;
}
