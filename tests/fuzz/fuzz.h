/* What every fuzzer shares. A target returns 0; what must never happen is a must(). */
#ifndef CUPEL_TESTS_FUZZ_H
#define CUPEL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input in heap memory of exactly its size plus `padding` zero bytes, so that reading further is seen. free() it. */
static inline char *fuzz_copy(const uint8_t *data, size_t size, size_t padding) {
    char *copy = malloc(size + padding + 1);
    must(copy);
    if (size) memcpy(copy, data, size);
    memset(copy + size, 0, padding + 1);
    return copy;
}

/* Takes one number below n off the input's end. */
static inline unsigned fuzz_take(const uint8_t *data, size_t *size, unsigned n) { return *size ? data[--*size] % n : 0; }

#endif
