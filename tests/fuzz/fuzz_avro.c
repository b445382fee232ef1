/* Avro: any bytes are refused or read within the limits. */
#include "lake/avro.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *bytes = fuzz_copy(data, size, 0);
    ARENA_SCOPE(arena);
    struct avro_reader reader;
    struct err err;
    struct avro_limits limits = {.block_bytes = 1 << 20, .values = 10000};
    if (avro_open(&reader, arena, str_make(bytes, size), limits, &err) == OK) {
        struct avro_value value;
        bool got = true;
        for (int i = 0; i < 20000 && got && avro_next(&reader, &value, &got, &err) == OK; i++) {
            if (!got) break;
            const struct avro_value *field = avro_field(&value, 500, "manifest_path");
            if (field && field->schema->kind == AVRO_STRING && field->bytes.n) must(field->bytes.p != NULL);
        }
        avro_meta(&reader, "schema");
    }
    free(bytes);
    return 0;
}
