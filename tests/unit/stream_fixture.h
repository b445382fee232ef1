/* A log on a faulty disk in memory with a scripted clock. Shared by the tests of the stream room. */
#ifndef CUPEL_TESTS_STREAM_FIXTURE_H
#define CUPEL_TESTS_STREAM_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "faulty_fs.h"
#include "host/thread.h"
#include "stream/log_view.h"
#include "stream/stream.h"

#define NOW_MS INT64_C(1760000000000)
#define DIR "/log"

struct fixture {
    struct faulty_fs *disk;
    struct host host;
    struct host_clock clock;
    _Atomic int64_t wall_us;
    struct stream_log_options options;
    struct stream_definition streams[8];
    size_t streams_n;
    struct stream_log *log;
    struct stream_recovery recovery;
    struct arena *arena;
    struct err err;
};

static int64_t fixture_wall(void *self) { return atomic_load(&((struct fixture *)self)->wall_us); }
static int64_t fixture_monotonic(void *self) { return clock_real()->monotonic_us(clock_real()->self); }
static void fixture_sleep(void *self, int64_t us) { usleep((useconds_t)us); }

static inline void fixture_begin(struct fixture *f, uint64_t seed) {
    memset(f, 0, sizeof *f);
    f->disk = faulty_fs_new(seed);
    f->clock = (struct host_clock){f, fixture_wall, fixture_monotonic, fixture_sleep};
    f->host = (struct host){faulty_fs_table(f->disk), &f->clock};
    atomic_store(&f->wall_us, NOW_MS * 1000);
    f->options = (struct stream_log_options){.dir = DIR, .host = &f->host, .segment_bytes = 64 << 10, .max_bytes = 64 << 20, .reserve_bytes = 1, .probe_ms = 1};
    f->streams[0] = (struct stream_definition){1, "orders", 2, 3600 * 1000};
    f->streams[1] = (struct stream_definition){2, "clicks", 3, 0};
    f->streams_n = 2;
    f->arena = arena_new();
}

static inline enum status fixture_try_open(struct fixture *f) { return stream_log_open(&f->options, f->streams, f->streams_n, &f->log, &f->recovery, &f->err); }

static inline void fixture_open(struct fixture *f) {
    if (fixture_try_open(f) != OK) fail_msg("open: %s", f->err.text);
}

static inline void fixture_close(struct fixture *f) { stream_log_close(&f->log); }

static inline void fixture_reopen(struct fixture *f) {
    fixture_close(f);
    fixture_open(f);
}

static inline void fixture_end(struct fixture *f) {
    fixture_close(f);
    faulty_fs_free(&f->disk);
    arena_free(&f->arena);
}

static inline struct stream_record record_of(const char *key, const char *payload) {
    return (struct stream_record){.payload = str_of(payload),
        .key = str_of(key),
        .source = STR("http"),
        .content_type = STR("application/json"),
        .flags = RECORD_UTF8_VALID | (key ? 0 : RECORD_NO_KEY)};
}

/* Appends n records in one request; ids into `ids`. */
static inline enum status append(
    struct fixture *f, uint16_t stream, const struct stream_record *records, uint32_t n, struct event_id *ids, struct stream_result *result) {
    struct stream_append request = {.stream = stream, .records = records, .n = n, .ids = ids};
    return stream_append_wait(f->log, &request, result, &f->err);
}

static inline struct event_id append_one(struct fixture *f, uint16_t stream, const char *key, const char *payload) {
    struct event_id id = {{0}};
    struct stream_record r = record_of(key, payload);
    struct stream_result result;
    if (append(f, stream, &r, 1, &id, &result) != OK) fail_msg("append: %s", f->err.text);
    return id;
}

static inline struct event_address address_of(struct event_id id) {
    struct event_address a;
    assert_true(event_id_read(id, &a));
    return a;
}

static inline bool finds(struct fixture *f, struct event_id id, const char *payload) {
    struct stored_record r;
    if (stream_find(f->log, f->arena, address_of(id), &r, &f->err) != OK) return false;
    assert_memory_equal(r.id.bytes, id.bytes, 16);
    return payload == NULL || str_is(r.payload, payload);
}

static inline uint64_t count_all(struct fixture *f, uint16_t stream) {
    struct stream_state state;
    uint64_t n = 0;
    assert_int_equal(stream_state(f->log, f->arena, stream, &state, &f->err), OK);
    for (uint16_t p = 0; p < state.partitions_n; p++) {
        struct stream_batch batch = {.next_offset = state.partitions[p].start_offset};
        do {
            if (stream_read(f->log, f->arena, stream, p, batch.next_offset, 100, 1 << 20, &batch, &f->err) != OK) fail_msg("read: %s", f->err.text);
            n += batch.n;
        } while (batch.next_offset < batch.end_offset);
    }
    return n;
}

static inline void wait_until(bool (*f)(void *), void *context) {
    for (int i = 0; i < 60000; i++) {
        if (f(context)) return;
        usleep(1000);
    }
    fail_msg("waited a minute in vain");
}

#endif
