/* Content-Encoding: never more than the limit, never outside the input. The last byte picks the coding. */
#include "http/decode.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const enum coding codings[] = {CODING_GZIP, CODING_DEFLATE, CODING_ZSTD};
    enum coding coding = codings[fuzz_take(data, &size, 3)];
    char *in = fuzz_copy(data, size, 0), *out = NULL;
    size_t n = 0, limit = 1 << 16;
    struct err err;
    enum status status = coding_decode(coding, str_make(in, size), limit, 64, &out, &n, &err);
    must(status != OK || n <= limit);
    must(status == OK || out == NULL);
    for (size_t i = 0; status == OK && i < 64; i++) must(out[n + i] == 0);
    free(out);
    free(in);
    return 0;
}
