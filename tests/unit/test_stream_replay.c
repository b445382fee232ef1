/* stream: the segment fuzzer as a plain test, over real segments changed at random. Argument: how many (default 1500). */
#include "stream_fixture.h"

#include "../fuzz/fuzz_segment.c"

static uint64_t changes = 1500;

/* A real segment of a log with the fuzzer's id. */
static size_t real_segment(char *out, size_t size) {
    struct fixture f;
    size_t n = 0;
    fixture_begin(&f, 1);
    write_secret(f.host.fs);
    fixture_open(&f);
    for (int i = 0; i < 30; i++) {
        struct stream_record records[3] = {record_of("a", "{\"x\":1}"), record_of("b", "some longer payload, to have other lengths"), record_of(NULL, "")};
        records[0].flags |= RECORD_DEDUPE;
        records[0].dedupe = stream_dedupe_hash(f.log, 1, str_make(&i, sizeof i));
        struct event_id ids[3];
        struct stream_append request = {.stream = (uint16_t)(1 + i % 2),
            .records = records,
            .n = 3,
            .ids = ids,
            .has_idempotency = i % 4 == 0,
            .idempotency_key = {(uint64_t)i, 1},
            .body_hash = {2, 3}};
        assert_int_equal(stream_append_wait(f.log, &request, NULL, &f.err), OK);
    }
    assert_int_equal(stream_forget(f.log, 2, &f.err), OK);
    (void)append_one(&f, 1, "k", "end");
    while (n < size && faulty_fs_peek(f.disk, SEGMENT, n, out + n, 1)) n++;
    while (n && !out[n - 1]) n--;
    fixture_end(&f);
    return (n + 7) & ~(size_t)7;
}

static uint64_t random_state = 99;
static size_t roll(size_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % below);
}

static void any_bytes_are_survived(void **state) {
    static char real[1 << 16], bytes[(1 << 16) + 1];
    size_t n = real_segment(real, sizeof real);
    assert_true(n > 2000);
    for (uint64_t i = 0; i < changes; i++) {
        size_t size = roll(4) ? n : SEGMENT_HEADER_BYTES + roll(n - SEGMENT_HEADER_BYTES);
        memcpy(bytes, real, size);
        for (size_t k = roll(6); k > 0; k--) bytes[roll(size)] = (char)(roll(3) ? roll(256) : (unsigned char)bytes[roll(size)]);
        if (roll(5) == 0) { /* a piece of it elsewhere */
            size_t length = 8 * (1 + roll(40)), from = 8 * roll((size - 1) / 8), to = 8 * roll((size - 1) / 8);
            if (from + length <= size && to + length <= size) memmove(bytes + to, bytes + from, length);
        }
        bytes[size] = (char)roll(REPAIRS);
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, size + 1);
    }
}

int main(int argc, char **argv) {
    if (argc > 1) changes = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_bytes_are_survived)};
    return cmocka_run_group_tests_name("stream_replay", tests, NULL, NULL);
}
