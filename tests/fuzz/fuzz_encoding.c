/* Encodings: UTF-16 in any pieces decodes to the same text and can be restored to the same bytes; guesses stay inside the sample. */
#include "connect/encoding.h"
#include "fuzz.h"

static size_t decode(bool big, const char *bytes, size_t n, size_t step, char *out, struct utf16_decoder *d) {
    utf16_begin(d, big);
    size_t written = 0;
    for (size_t at = 0; at < n; at += step) written += utf16_decode(d, bytes + at, n - at < step ? n - at : step, out + written);
    return written + utf16_end(d, out + written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bool big = fuzz_take(data, &size, 2);
    size_t step = 1 + fuzz_take(data, &size, 9);
    char *bytes = fuzz_copy(data, size, 0), *one = malloc(size * 4 + 64), *two = malloc(size * 4 + 64);
    must(one && two);
    struct utf16_decoder a, b;
    size_t n = decode(big, bytes, size, size + 1, one, &a), m = decode(big, bytes, size, step, two, &b);
    must(n == m && memcmp(one, two, n) == 0);
    BUF_SCOPE(back);
    utf16_restore(&a, str_make(one, n), &back);
    must(str_eq(buf_view(&back), str_make(bytes, size)));
    struct encoding_guess guess;
    struct err err;
    if (encoding_guess(str_make(bytes, size), &guess, &err) == OK) must(guess.bom_bytes <= size);
    must(utf8_valid_prefix(bytes, size) <= size);
    must((utf8_valid_prefix(bytes, size) == size) == utf8_valid(str_make(bytes, size)));
    free(two);
    free(one);
    free(bytes);
    return 0;
}
