/* stream: the log's promises one by one, on a disk in memory that fails when told. */
#include "stream_fixture.h"

#include "base/assert.h"
#include "base/buf.h"

/* ---- append and read ---- */

static void what_was_appended_is_read_back(void **state) {
    struct fixture f;
    fixture_begin(&f, 1);
    fixture_open(&f);
    BUF_SCOPE(headers);
    assert_true(stream_headers_put(&headers, STR("X-Shop"), STR("a\0b")));
    assert_true(stream_headers_put(&headers, STR("etag"), STR("")));
    struct stream_record records[3] = {record_of("k1", "{\"a\":1}"), record_of("k1", ""), record_of(NULL, "bytes \xFF")};
    records[0].headers = buf_view(&headers);
    records[0].flags |= RECORD_JSON_VALID | RECORD_PROTECTED;
    records[0].key_id = 7;
    records[1].key_id = 9;
    records[1].source = STR("hook");
    records[2].flags = RECORD_NO_KEY;
    struct event_id ids[3];
    struct stream_result result;
    assert_int_equal(append(&f, 2, records, 3, ids, &result), OK);
    assert_int_equal(result.accepted, 3);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) {
            struct stored_record r;
            struct event_address a = address_of(ids[i]);
            assert_int_equal(a.received_ms, NOW_MS);
            assert_int_equal(stream_find(f.log, f.arena, a, &r, &f.err), OK);
            assert_true(str_eq(r.payload, records[i].payload) && str_eq(r.key, records[i].key) && str_eq(r.headers, records[i].headers));
            assert_true(str_eq(r.source, records[i].source) && str_eq(r.content_type, records[i].content_type));
            assert_int_equal(r.flags, records[i].flags);
            assert_int_equal(r.key_id, records[i].key_id);
        }
        fixture_reopen(&f);
        assert_int_equal(f.recovery.cut_bytes, 0);
        assert_int_equal(f.recovery.damaged_groups, 0);
    }
    struct str rest = buf_view(&headers), name, value;
    assert_true(stream_headers_next(&rest, &name, &value) && str_is(name, "x-shop") && value.n == 3);
    assert_true(stream_headers_next(&rest, &name, &value) && str_is(name, "etag") && value.n == 0);
    assert_false(stream_headers_next(&rest, &name, &value));
    struct event_address wrong = address_of(ids[0]);
    wrong.received_ms++;
    struct stored_record r;
    assert_int_equal(stream_find(f.log, f.arena, wrong, &r, &f.err), E_NOT_FOUND);
    fixture_end(&f);
}

static void a_key_stays_in_its_partition_in_order(void **state) {
    struct fixture f;
    fixture_begin(&f, 2);
    fixture_open(&f);
    char payload[32], key[8];
    struct event_id last[10];
    int partitions_seen = 0;
    for (int i = 0; i < 400; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        snprintf(key, sizeof key, "k%d", i % 10);
        struct event_id id = append_one(&f, 2, key, payload);
        struct event_address a = address_of(id);
        partitions_seen |= 1 << a.partition;
        if (i >= 10) {
            struct event_address before = address_of(last[i % 10]);
            assert_int_equal(a.partition, before.partition);
            assert_true(a.offset > before.offset);
            assert_true(memcmp(id.bytes, last[i % 10].bytes, 16) > 0);
        }
        last[i % 10] = id;
    }
    assert_int_equal(partitions_seen, 7);
    int keyless = 0;
    for (int i = 0; i < 9; i++) keyless |= 1 << address_of(append_one(&f, 2, NULL, "x")).partition;
    assert_int_equal(keyless, 7);
    assert_int_equal(count_all(&f, 2), 409);
    fixture_end(&f);
}

static void time_never_goes_back(void **state) {
    struct fixture f;
    fixture_begin(&f, 3);
    fixture_open(&f);
    struct event_id a = append_one(&f, 1, "k", "1");
    atomic_store(&f.wall_us, (NOW_MS - 5000) * 1000);
    struct event_id b = append_one(&f, 1, "k", "2");
    fixture_reopen(&f);
    struct event_id c = append_one(&f, 1, "k", "3");
    assert_int_equal(address_of(a).received_ms, NOW_MS);
    assert_int_equal(address_of(b).received_ms, NOW_MS);
    assert_int_equal(address_of(c).received_ms, NOW_MS);
    assert_true(memcmp(b.bytes, a.bytes, 16) > 0 && memcmp(c.bytes, b.bytes, 16) > 0);
    fixture_end(&f);
}

static void limits_are_named(void **state) {
    struct fixture f;
    fixture_begin(&f, 4);
    fixture_open(&f);
    char *big = mem_zalloc(70000);
    struct event_id id;
    struct stream_result result;
    struct stream_record r = record_of("k", "x");
    r.key = str_make(big, STREAM_KEY_BYTES_MAX + 1);
    assert_int_equal(append(&f, 1, &r, 1, &id, &result), E_LIMIT);
    assert_non_null(strstr(f.err.text, "1024"));
    r = record_of("k", "x");
    r.headers = str_make(big, STREAM_HEADERS_BYTES_MAX + 1);
    assert_int_equal(append(&f, 1, &r, 1, &id, &result), E_LIMIT);
    r = record_of("k", "x");
    r.source = str_make(big, 256);
    assert_int_equal(append(&f, 1, &r, 1, &id, &result), E_LIMIT);
    r = record_of("k", "x");
    r.payload.n = STREAM_RECORD_BYTES_MAX + 1; /* only its length is looked at */
    assert_int_equal(append(&f, 1, &r, 1, &id, &result), E_LIMIT);
    r = record_of("k", "x");
    assert_int_equal(append(&f, 99, &r, 1, &id, &result), E_NOT_FOUND);
    assert_int_equal(append(&f, 1, &r, 0, &id, &result), E_INVALID);
    free(big);
    assert_int_equal(count_all(&f, 1), 0);
    fixture_end(&f);
}

static void a_record_larger_than_a_segment_fits(void **state) {
    struct fixture f;
    fixture_begin(&f, 5);
    fixture_open(&f);
    size_t n = 300000;
    char *big = mem_alloc(n);
    memset(big, 'b', n);
    struct stream_record r = record_of("k", "");
    r.payload = str_make(big, n);
    struct event_id id, before = append_one(&f, 1, "k", "before");
    struct stream_result result;
    assert_int_equal(append(&f, 1, &r, 1, &id, &result), OK);
    struct event_id after = append_one(&f, 1, "k", "after");
    for (int round = 0; round < 2; round++) {
        struct stored_record out;
        assert_int_equal(stream_find(f.log, f.arena, address_of(id), &out, &f.err), OK);
        assert_true(str_eq(out.payload, r.payload));
        assert_true(finds(&f, before, "before") && finds(&f, after, "after"));
        fixture_reopen(&f);
    }
    free(big);
    fixture_end(&f);
}

/* ---- dedupe and idempotency ---- */

static struct stream_record dedupe_record(struct fixture *f, uint16_t stream, const char *key, const char *payload) {
    struct stream_record r = record_of(key, payload);
    r.flags |= RECORD_DEDUPE;
    r.dedupe = stream_dedupe_hash(f->log, stream, str_of(payload));
    return r;
}

static uint32_t append_dedupe(struct fixture *f, const char *payload, struct event_id *id) {
    struct stream_record r = dedupe_record(f, 1, "k", payload);
    struct stream_result result;
    if (append(f, 1, &r, 1, id, &result) != OK) fail_msg("append: %s", f->err.text);
    assert_int_equal(result.accepted + result.duplicates, 1);
    return result.duplicates;
}

static void duplicates_get_the_first_id(void **state) {
    struct fixture f;
    fixture_begin(&f, 6);
    fixture_open(&f);
    struct event_id first, again, ids[4];
    struct stream_result result;
    assert_int_equal(append_dedupe(&f, "a", &first), 0);
    struct stream_record records[4] = {
        dedupe_record(&f, 1, "x", "b"), dedupe_record(&f, 1, "y", "a"), dedupe_record(&f, 1, "z", "b"), dedupe_record(&f, 1, "z", "c")};
    assert_int_equal(append(&f, 1, records, 4, ids, &result), OK);
    assert_int_equal(result.accepted, 2);
    assert_int_equal(result.duplicates, 2);
    assert_memory_equal(&ids[1], &first, 16);
    assert_memory_equal(&ids[2], &ids[0], 16);
    /* through many segments, and after a restart */
    char payload[2000];
    memset(payload, 'p', sizeof payload);
    payload[sizeof payload - 1] = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(payload, 20, "%018d", i);
        payload[18] = 'p';
        struct event_id id;
        assert_int_equal(append_dedupe(&f, payload, &id), 0);
    }
    assert_true(stream_log_stats(f.log).segments > 4);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(append_dedupe(&f, "a", &again), 1);
        assert_memory_equal(&again, &first, 16);
        assert_int_equal(append_dedupe(&f, "b", &again), 1);
        assert_memory_equal(&again, &ids[0], 16);
        fixture_reopen(&f);
    }
    assert_int_equal(count_all(&f, 1), 203);
    struct stream_hour *hours;
    size_t n;
    assert_int_equal(stream_hours(f.log, f.arena, 1, &hours, &n, &f.err), OK);
    assert_int_equal(n, 1);
    assert_int_equal(hours[0].received, 203);
    assert_int_equal(hours[0].duplicates, 6);
    struct stream_state s;
    assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), OK);
    assert_int_equal(s.partitions[0].duplicates + s.partitions[1].duplicates, 6);
    fixture_end(&f);
}

static void the_dedupe_window_ends(void **state) {
    struct fixture f;
    fixture_begin(&f, 7);
    fixture_open(&f);
    struct event_id first, second, third;
    assert_int_equal(append_dedupe(&f, "a", &first), 0);
    atomic_fetch_add(&f.wall_us, INT64_C(3599999) * 1000);
    assert_int_equal(append_dedupe(&f, "a", &second), 1);
    atomic_fetch_add(&f.wall_us, INT64_C(1000));
    assert_int_equal(append_dedupe(&f, "a", &second), 0);
    assert_memory_not_equal(&first, &second, 16);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(append_dedupe(&f, "a", &third), 1);
        assert_memory_equal(&third, &second, 16);
        fixture_reopen(&f);
    }
    fixture_end(&f);
}

static void streams_do_not_share_keys(void **state) {
    struct fixture f;
    fixture_begin(&f, 8);
    f.streams[1].dedupe_window_ms = 3600000;
    fixture_open(&f);
    struct event_id a, b;
    struct stream_result result;
    assert_int_equal(append_dedupe(&f, "same", &a), 0);
    struct stream_record r = dedupe_record(&f, 2, "k", "same");
    r.dedupe = stream_dedupe_hash(f.log, 1, STR("same")); /* even with the very same hash */
    assert_int_equal(append(&f, 2, &r, 1, &b, &result), OK);
    assert_int_equal(result.accepted, 1);
    fixture_end(&f);
}

static enum status append_keyed(struct fixture *f, const char *idempotency, const char *body, struct event_id ids[3], struct stream_result *result) {
    struct stream_record records[3] = {record_of("x", body), dedupe_record(f, 1, "y", body), record_of(NULL, "tail")};
    struct stream_append request = {.stream = 1,
        .records = records,
        .n = 3,
        .ids = ids,
        .has_idempotency = true,
        .idempotency_key = hash128_keyed(1, idempotency, strlen(idempotency)),
        .body_hash = hash128_keyed(1, body, strlen(body))};
    return stream_append_wait(f->log, &request, result, &f->err);
}

static void an_idempotency_key_replays_the_first_answer(void **state) {
    struct fixture f;
    fixture_begin(&f, 9);
    fixture_open(&f);
    struct event_id first[3], again[3], dup[3];
    struct stream_result result;
    assert_int_equal(append_keyed(&f, "one", "body", first, &result), OK);
    assert_int_equal(result.accepted, 3);
    assert_false(result.replayed);
    assert_int_equal(append_keyed(&f, "two", "body", dup, &result), OK); /* with a duplicate inside, from another time */
    assert_int_equal(result.duplicates, 1);
    atomic_fetch_add(&f.wall_us, INT64_C(1000000));
    for (int round = 0; round < 3; round++) {
        assert_int_equal(append_keyed(&f, "one", "body", again, &result), OK);
        assert_true(result.replayed);
        assert_int_equal(result.accepted, 3);
        assert_memory_equal(first, again, sizeof first);
        assert_int_equal(append_keyed(&f, "two", "body", again, &result), OK);
        assert_true(result.replayed);
        assert_int_equal(result.accepted, 2);
        assert_int_equal(result.duplicates, 1);
        assert_memory_equal(dup, again, sizeof dup);
        assert_int_equal(append_keyed(&f, "one", "other", again, &result), E_UNPROCESSABLE);
        char filler[5000];
        memset(filler, 'f', sizeof filler);
        filler[sizeof filler - 1] = 0;
        for (int i = 0; i < 30; i++) (void)append_one(&f, 2, "k", filler); /* beyond its segment */
        fixture_reopen(&f);
    }
    assert_int_equal(count_all(&f, 1), 5);
    atomic_fetch_add(&f.wall_us, INT64_C(24) * 3600 * 1000000);
    assert_int_equal(append_keyed(&f, "one", "body", again, &result), OK);
    assert_false(result.replayed);
    fixture_end(&f);
}

struct async {
    struct stream_append request;
    struct stream_record record;
    struct event_id id;
    struct stream_result result;
    atomic_int finished;
};

static void async_done(void *context, const struct stream_result *result) {
    struct async *a = context;
    a->result = *result;
    atomic_store(&a->finished, 1);
}

static bool async_finished(void *context) { return atomic_load(&((struct async *)context)->finished); }

static void the_same_key_twice_in_one_group(void **state) {
    struct fixture f;
    fixture_begin(&f, 10);
    fixture_open(&f);
    faulty_fs_hold(f.disk, true);
    struct async a[4];
    memset(a, 0, sizeof a);
    for (int i = 0; i < 4; i++) { /* the first makes the committer busy: the others meet in one group */
        a[i].record = record_of("k", "p");
        a[i].request = (struct stream_append){.stream = 1, .records = &a[i].record, .n = 1, .ids = &a[i].id, .done = async_done, .context = &a[i]};
        if (i > 0) {
            a[i].request.has_idempotency = true;
            a[i].request.idempotency_key = (struct hash128){5, 5};
            a[i].request.body_hash = (struct hash128){i == 3, 6};
        }
        assert_int_equal(stream_submit(f.log, &a[i].request, &f.err), OK);
        if (i == 0) wait_until(faulty_fs_held, f.disk);
    }
    faulty_fs_hold(f.disk, false);
    for (int i = 0; i < 4; i++) wait_until(async_finished, &a[i]);
    assert_false(a[1].result.replayed);
    assert_true(a[2].result.replayed);
    assert_memory_equal(&a[1].id, &a[2].id, 16);
    assert_int_equal(a[3].result.status, E_UNPROCESSABLE);
    assert_int_equal(count_all(&f, 1), 2);
    fixture_end(&f);
}

/* ---- definitions ---- */

static void partitions_can_only_grow_and_start_an_epoch(void **state) {
    struct fixture f;
    fixture_begin(&f, 11);
    fixture_open(&f);
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        (void)append_one(&f, 1, key, "x");
    }
    struct stream_definition more = {1, "orders", 5, 3600 * 1000};
    assert_int_equal(stream_define(f.log, &more, &f.err), OK);
    int seen = 0;
    for (int i = 0; i < 60; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        seen |= 1 << address_of(append_one(&f, 1, key, "x")).partition;
    }
    assert_int_equal(seen, 31);
    more.partitions = 4;
    assert_int_equal(stream_define(f.log, &more, &f.err), E_INVALID);
    for (int round = 0; round < 2; round++) {
        struct stream_state s;
        assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), OK);
        assert_int_equal(s.partitions_n, 5);
        assert_int_equal(s.definition.partitions, 5);
        assert_int_equal(s.epochs_n, 2);
        assert_int_equal(s.epochs[0].partitions, 2);
        assert_int_equal(s.epochs[1].partitions, 5);
        assert_int_equal(s.epochs[1].start_offsets[0] + s.epochs[1].start_offsets[1], 20);
        assert_int_equal(s.epochs[1].start_offsets[4], 0);
        fixture_reopen(&f); /* the ledger still says 2: the log knows better */
    }
    struct stream_definition fresh = {3, "late", 1, 0};
    struct event_id id;
    struct stream_record r = record_of("k", "x");
    struct stream_result result;
    assert_int_equal(append(&f, 3, &r, 1, &id, &result), E_NOT_FOUND);
    assert_int_equal(stream_define(f.log, &fresh, &f.err), OK);
    assert_int_equal(append(&f, 3, &r, 1, &id, &result), OK);
    fixture_end(&f);
}

static void a_forgotten_stream_is_gone(void **state) {
    struct fixture f;
    fixture_begin(&f, 12);
    fixture_open(&f);
    (void)append_one(&f, 1, "k", "x");
    assert_int_equal(stream_forget(f.log, 1, &f.err), OK);
    for (int round = 0; round < 2; round++) {
        struct stream_record r = record_of("k", "x");
        struct stream_state s;
        struct event_id id;
        struct stream_result result;
        struct stream_batch batch;
        assert_int_equal(append(&f, 1, &r, 1, &id, &result), E_NOT_FOUND);
        assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), E_NOT_FOUND);
        assert_int_equal(stream_read(f.log, f.arena, 1, 0, 0, 1, 1, &batch, &f.err), E_NOT_FOUND);
        assert_int_equal(stream_define(f.log, &f.streams[0], &f.err), E_CONFLICT);
        assert_int_equal(stream_forget(f.log, 1, &f.err), E_NOT_FOUND);
        (void)append_one(&f, 2, "k", "x");
        fixture_reopen(&f);
    }
    fixture_end(&f);
}

/* ---- retention ---- */

struct gone {
    uint64_t received;
    int calls, fail_after;
};

static enum status count_gone(void *context, const struct stream_hour *hours, size_t n, struct err *err) {
    struct gone *g = context;
    if (g->fail_after && g->calls >= g->fail_after) return err_set(err, E_IO, "the ledger is away");
    g->calls++;
    for (size_t i = 0; i < n; i++) {
        assert_true(hours[i].segment > 0);
        g->received += hours[i].received;
    }
    return OK;
}

static void append_filler(struct fixture *f, uint16_t stream, int n) {
    char filler[4000];
    memset(filler, 'f', sizeof filler);
    filler[sizeof filler - 1] = 0;
    for (int i = 0; i < n; i++) (void)append_one(f, stream, NULL, filler);
}

static bool all_sealed(void *context) { /* stream_verify sees finished segments; an .idx stands beside each */
    struct fixture *f = context;
    char path[64];
    struct log_stats stats = stream_log_stats(f->log);
    uint32_t sealed = 0;
    for (uint32_t i = 1; i < 200; i++) {
        struct fs_stat stat;
        snprintf(path, sizeof path, DIR "/%016u.idx", i);
        sealed += f->host.fs->stat(f->host.fs->self, path, &stat, NULL) == OK;
    }
    return sealed + 1 >= stats.segments;
}

static void landed_segments_go_after_their_time(void **state) {
    struct fixture f;
    fixture_begin(&f, 13);
    f.options.retention_ms = 1000;
    fixture_open(&f);
    append_filler(&f, 1, 50);
    append_filler(&f, 2, 50);
    wait_until(all_sealed, &f);
    struct gone gone = {0};
    uint64_t deleted, before = stream_log_stats(f.log).segments;
    assert_int_equal(stream_trim(f.log, NOW_MS + 5000, count_gone, &gone, &deleted, &f.err), OK);
    assert_int_equal(deleted, 0); /* nothing has landed */
    uint64_t all[3] = {25, 25, 0};
    stream_landed(f.log, 1, all, 2);
    assert_int_equal(stream_trim(f.log, NOW_MS, count_gone, &gone, &deleted, &f.err), OK);
    assert_int_equal(deleted, 0); /* not old enough */
    gone.fail_after = 1;
    assert_int_equal(stream_trim(f.log, NOW_MS + 5000, count_gone, &gone, &deleted, &f.err), E_IO);
    assert_int_equal(deleted, 1);
    gone.fail_after = 0;
    assert_int_equal(stream_trim(f.log, NOW_MS + 5000, count_gone, &gone, &deleted, &f.err), OK);
    assert_true(deleted > 0);
    struct log_stats stats = stream_log_stats(f.log);
    assert_true(stats.segments < before && stats.segments > 3); /* stream 2 holds its own */
    for (int round = 0; round < 2; round++) {
        struct stream_hour *hours;
        size_t n;
        uint64_t left = 0;
        assert_int_equal(stream_hours(f.log, f.arena, 1, &hours, &n, &f.err), OK);
        for (size_t i = 0; i < n; i++) left += hours[i].received;
        assert_int_equal(left + gone.received, 50);
        struct stream_batch batch;
        assert_int_equal(stream_read(f.log, f.arena, 1, 0, 0, 1, 1, &batch, &f.err), E_NOT_FOUND);
        assert_true(batch.start_offset > 0);
        fixture_reopen(&f);
        stream_landed(f.log, 1, all, 2);
    }
    stream_forget(f.log, 2, &f.err);
    uint64_t more[2] = {1000, 1000};
    stream_landed(f.log, 1, more, 2);
    assert_int_equal(stream_trim(f.log, NOW_MS + 5000, count_gone, &gone, &deleted, &f.err), OK);
    assert_int_equal(stream_log_stats(f.log).segments, 1); /* a forgotten stream holds nothing */
    assert_true(address_of(append_one(&f, 1, "k", "x")).offset >= 1000); /* ids that the lake has are never given again */
    fixture_end(&f);
}

struct writing {
    struct fixture *f;
    _Atomic bool end;
    uint64_t written;
};

static void *write_on(void *argument) {
    struct writing *w = argument;
    struct err err;
    static char filler[8 << 10];
    memset(filler, 'x', sizeof filler - 1);
    struct stream_record r = record_of(NULL, filler);
    while (!w->end) {
        struct event_id id;
        struct stream_result result;
        struct stream_append request = {.stream = 1, .records = &r, .n = 1, .ids = &id};
        if (stream_log_stats(w->f->log).segments > 20) { /* the disk in memory knows few names */
            usleep(100);
            continue;
        }
        must(stream_append_wait(w->f->log, &request, &result, &err) == OK);
        w->written++;
    }
    return NULL;
}

/* The list of segments moves up while the committer writes to its last one: seen in the bench as a server that was gone a second after its start. */
static void segments_go_while_others_are_written(void **state) {
    struct fixture f;
    fixture_begin(&f, 31);
    f.options.retention_ms = 1;
    fixture_open(&f);
    struct writing w = {.f = &f};
    struct thread thread = {0};
    thread_start(&thread, "writer", write_on, &w);
    uint64_t gone = 0;
    for (int i = 0; i < 120000 && gone < 60; i++) {
        struct stream_state now;
        assert_int_equal(stream_state(f.log, f.arena, 1, &now, &f.err), OK);
        uint64_t deleted, landed[2] = {now.partitions[0].end_offset, now.partitions[1].end_offset};
        stream_landed(f.log, 1, landed, 2);
        assert_int_equal(stream_trim(f.log, NOW_MS + 5000, NULL, NULL, &deleted, &f.err), OK);
        gone += deleted;
        usleep(500);
    }
    w.end = true;
    thread_join(&thread);
    assert_true(gone >= 60);
    fixture_reopen(&f);
    assert_int_equal(f.recovery.damaged_groups, 0);
    assert_true(w.written >= 60);
    fixture_end(&f);
}

static void offsets_go_on_when_all_was_trimmed(void **state) {
    struct fixture f;
    fixture_begin(&f, 14);
    f.options.retention_ms = 1;
    f.streams[0].partitions = 1;
    fixture_open(&f);
    append_filler(&f, 1, 40);
    uint64_t landed[1] = {40}, deleted;
    append_filler(&f, 2, 40);
    stream_landed(f.log, 1, landed, 1);
    uint64_t clicks[3] = {14, 13, 13};
    stream_landed(f.log, 2, clicks, 3);
    wait_until(all_sealed, &f);
    assert_int_equal(stream_trim(f.log, NOW_MS + 5000, NULL, NULL, &deleted, &f.err), OK);
    assert_true(deleted > 2);
    fixture_reopen(&f);
    struct event_address a = address_of(append_one(&f, 1, "k", "x"));
    assert_int_equal(a.offset, 40);
    fixture_end(&f);
}

static bool takes_events(void *context) {
    struct fixture *f = context;
    struct stream_record r = record_of("k", "probe");
    struct event_id id;
    struct stream_result result;
    return append(f, 1, &r, 1, &id, &result) == OK;
}

/* The log was emptied, the lake was not: what the lake has is never given again, also in partitions that the log does not know yet. */
static void the_lake_knows_more_than_the_log(void **state) {
    struct fixture f;
    fixture_begin(&f, 20);
    fixture_open(&f);
    uint64_t landed[4] = {10, 20, 30, 40};
    stream_landed(f.log, 1, landed, 4);
    (void)append_one(&f, 1, "k", "x");
    struct stream_definition more = {1, "orders", 4, 3600 * 1000};
    assert_int_equal(stream_define(f.log, &more, &f.err), OK);
    for (int i = 0; i < 40; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        struct event_address a = address_of(append_one(&f, 1, key, "x"));
        assert_true(a.offset >= landed[a.partition]);
    }
    assert_int_equal(count_all(&f, 1), 41);
    fixture_reopen(&f);
    assert_int_equal(count_all(&f, 1), 41);
    fixture_end(&f);
}

static void a_full_budget_refuses_and_comes_back(void **state) {
    struct fixture f;
    fixture_begin(&f, 15);
    f.options.max_bytes = 400 << 10;
    f.options.retention_ms = 1000000;
    f.streams[0].partitions = 1;
    fixture_open(&f);
    char filler[4000];
    memset(filler, 'f', sizeof filler);
    filler[sizeof filler - 1] = 0;
    struct stream_record r = record_of("k", filler);
    struct event_id id;
    struct stream_result result;
    uint64_t taken = 0;
    enum status s = OK;
    while (taken < 1000 && (s = append(&f, 1, &r, 1, &id, &result)) == OK) taken++;
    assert_int_equal(s, E_BUSY);
    assert_true(taken > 50 && taken < 110);
    assert_true(stream_log_stats(f.log).full);
    assert_non_null(strstr(stream_log_stats(f.log).full_reason, "max_bytes"));
    assert_int_equal(count_all(&f, 1), taken); /* reads go on */
    wait_until(all_sealed, &f);
    uint64_t landed[1] = {taken}, deleted;
    stream_landed(f.log, 1, landed, 1);
    assert_int_equal(stream_trim(f.log, NOW_MS, NULL, NULL, &deleted, &f.err), OK);
    assert_true(deleted > 0);
    wait_until(takes_events, &f);
    assert_false(stream_log_stats(f.log).full);
    fixture_end(&f);
}

/* ---- state ---- */

static void state_says_what_is_not_landed(void **state) {
    struct fixture f;
    fixture_begin(&f, 16);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    struct stream_state s;
    assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), OK);
    assert_int_equal(s.unlanded_records, 0);
    assert_int_equal(s.unlanded_from, stream_durable(f.log));
    for (int i = 0; i < 30; i++) {
        (void)append_one(&f, 1, "k", "payload");
        atomic_fetch_add(&f.wall_us, 1000);
    }
    for (uint64_t landed = 0; landed <= 30; landed++) {
        stream_landed(f.log, 1, &landed, 1);
        assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), OK);
        assert_int_equal(s.unlanded_records, 30 - landed);
        assert_int_equal(s.partitions[0].landed_offset, landed);
        assert_int_equal(s.oldest_unlanded_ms, landed == 30 ? 0 : NOW_MS + (int64_t)landed);
        if (landed == 30) assert_int_equal(s.unlanded_from, stream_durable(f.log));
        if (landed < 30) {
            struct stream_batch batch;
            assert_int_equal(stream_read(f.log, f.arena, 1, 0, landed, 1, 1, &batch, &f.err), OK);
            assert_int_equal(batch.records[0].position, s.unlanded_from);
            assert_int_equal(batch.records[0].received_ms, s.oldest_unlanded_ms);
        }
    }
    (void)append_one(&f, 1, "k", "payload");
    assert_int_equal(stream_state(f.log, f.arena, 1, &s, &f.err), OK);
    assert_int_equal(s.oldest_unlanded_ms, NOW_MS + 30);
    assert_int_equal(s.unlanded_records, 1);
    assert_int_equal(s.unlanded_bytes, 7);
    fixture_end(&f);
}

static void reading_pages_through(void **state) {
    struct fixture f;
    fixture_begin(&f, 17);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    for (int i = 0; i < 300; i++) {
        char payload[600];
        memset(payload, 'a' + i % 26, sizeof payload);
        snprintf(payload, sizeof payload, "%d", i);
        payload[strlen(payload)] = ' ';
        payload[sizeof payload - 1] = 0;
        (void)append_one(&f, 1, "k", payload);
        append_filler(&f, 2, i % 7 == 0);
    }
    uint64_t offset = 0;
    while (offset < 300) {
        struct stream_batch batch;
        assert_int_equal(stream_read(f.log, f.arena, 1, 0, offset, 7, 2000, &batch, &f.err), OK);
        assert_true(batch.n > 0 && batch.n <= 4);
        for (size_t i = 0; i < batch.n; i++) {
            assert_int_equal(batch.records[i].offset, offset + i);
            struct str text = batch.records[i].payload;
            uint64_t number = 0;
            assert_true(str_to_u64(str_cut(&text, ' '), &number));
            assert_int_equal(number, offset + i);
        }
        assert_int_equal(batch.end_offset, 300);
        assert_int_equal(batch.next_offset, offset + batch.n);
        offset = batch.next_offset;
    }
    struct stream_batch batch;
    assert_int_equal(stream_read(f.log, f.arena, 1, 0, 300, 7, 2000, &batch, &f.err), OK);
    assert_int_equal(batch.n, 0);
    assert_int_equal(batch.next_offset, 300);
    assert_int_equal(stream_read(f.log, f.arena, 1, 9, 0, 7, 2000, &batch, &f.err), E_NOT_FOUND);
    fixture_end(&f);
}

/* ---- watch ---- */

static void note(void *context) { atomic_fetch_add((atomic_int *)context, 1); }
static bool noted(void *context) { return atomic_load((atomic_int *)context) > 0; }

static void watchers_are_called_once(void **state) {
    struct fixture f;
    fixture_begin(&f, 18);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    atomic_int a = 0, b = 0, c = 0;
    (void)stream_watch(f.log, 1, 0, 0, note, &a);
    (void)stream_watch(f.log, 1, 0, 1, note, &b);
    uint64_t gone = stream_watch(f.log, 1, 0, 0, note, &c);
    assert_true(stream_unwatch(f.log, gone));
    assert_false(stream_unwatch(f.log, gone));
    (void)append_one(&f, 1, "k", "x");
    wait_until(noted, &a);
    assert_int_equal(b, 0);
    (void)append_one(&f, 1, "k", "x");
    wait_until(noted, &b);
    (void)append_one(&f, 1, "k", "x");
    assert_int_equal(a, 1);
    assert_int_equal(b, 1);
    assert_int_equal(c, 0);
    uint64_t late = stream_watch(f.log, 1, 0, 1, note, &c); /* has grown already */
    wait_until(noted, &c);
    assert_false(stream_unwatch(f.log, late));
    fixture_end(&f);
}

/* ---- the view ---- */

/* Records up to the first frame that cannot be read; *failed: there was one. */
static uint64_t view_read(struct log_view *view, struct log_range range, bool *failed) {
    struct log_scan *scan = NULL;
    struct log_chunk chunk;
    uint64_t n = 0;
    *failed = false;
    assert_int_equal(log_scan_begin(view, &range, &scan, NULL), OK);
    while (!*failed && log_scan_chunk(scan, &chunk)) {
        struct log_cursor cursor;
        struct stored_record r;
        bool got = true;
        log_cursor_begin(&cursor, chunk);
        while (!*failed && got) {
            *failed = log_cursor_next(scan, &cursor, &r, &got, NULL) != OK;
            n += !*failed && got;
        }
    }
    log_scan_end(&scan);
    return n;
}

/* What was checked lately is not checked again, but what was never good is found bad each time. */
static void the_view_never_trusts_what_it_has_not_checked(void **state) {
    struct fixture f;
    fixture_begin(&f, 20);
    fixture_open(&f);
    append_filler(&f, 1, 5);
    log_position middle = stream_durable(f.log);
    append_filler(&f, 1, 5);
    log_position end = stream_durable(f.log);
    assert_int_equal(position_segment(middle), position_segment(end));
    struct log_range first_half = {.stream = 1, .to = middle, .checked_lately = true}, all = {.stream = 1, .to = end, .checked_lately = true};
    struct log_view *view = NULL;
    bool failed;
    assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
    assert_int_equal(log_view_advance(view, 0, end, &f.err), OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(view_read(view, i ? all : first_half, &failed), i ? 10 : 5);
        assert_false(failed);
    }
    log_view_close(&view);
    char path[128];
    int file;
    snprintf(path, sizeof path, "%s/%016u.seg", DIR, position_segment(middle));
    assert_int_equal(f.host.fs->open(f.host.fs->self, path, FS_READ | FS_WRITE, &file, &f.err), OK);
    assert_int_equal(f.host.fs->pwrite(f.host.fs->self, file, "?", 1, position_at(middle) + 100, &f.err), OK); /* within the next group's first record */
    f.host.fs->close(f.host.fs->self, file);
    assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
    assert_int_equal(log_view_advance(view, 0, end, &f.err), OK);
    for (int i = 0; i < 3; i++) {
        uint64_t n = view_read(view, all, &failed);
        assert_true(failed && n == 5);
    }
    log_view_close(&view);
    fixture_end(&f);
}

static uint64_t view_count(struct fixture *f, struct log_view *view, struct log_range range) {
    struct log_scan *scan = NULL;
    struct log_chunk chunk;
    uint64_t n = 0;
    assert_int_equal(log_scan_begin(view, &range, &scan, &f->err), OK);
    while (log_scan_chunk(scan, &chunk)) {
        struct log_cursor cursor;
        log_cursor_begin(&cursor, chunk);
        struct stored_record r;
        bool got = true;
        while (true) {
            if (log_cursor_next(scan, &cursor, &r, &got, &f->err) != OK) fail_msg("cursor: %s", f->err.text);
            if (!got) break;
            assert_int_equal(r.stream, range.stream);
            n++;
        }
    }
    assert_true(n <= log_scan_records(scan));
    log_scan_end(&scan);
    return n;
}

static void the_view_sees_what_is_durable(void **state) {
    struct fixture f;
    fixture_begin(&f, 19);
    fixture_open(&f);
    struct log_view *view = NULL;
    assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
    log_position before = stream_durable(f.log);
    append_filler(&f, 1, 60);
    log_position middle = stream_durable(f.log);
    atomic_fetch_add(&f.wall_us, 1000000);
    append_filler(&f, 1, 60);
    append_filler(&f, 2, 10);
    log_position end = stream_durable(f.log);
    assert_int_equal(log_view_advance(view, before, middle, &f.err), OK);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = before, .to = end}), 60);
    assert_int_equal(log_view_advance(view, before, end, &f.err), OK);
    assert_int_equal(log_view_advance(view, before, end, &f.err), OK);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = before, .to = end}), 120);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = before, .to = middle}), 60);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = middle, .to = end}), 60);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 2, .from = before, .to = end}), 10);
    uint64_t starts[2] = {10, 20};
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = before, .to = end, .start_offsets = starts, .start_offsets_n = 2}), 90);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = before, .to = end, .from_ms = NOW_MS + 1000, .to_ms = NOW_MS + 1001}), 60);
    /* deleted meanwhile: what was mapped stays */
    struct log_scan *scan = NULL;
    struct log_range range = {.stream = 1, .from = before, .to = end};
    assert_int_equal(log_scan_begin(view, &range, &scan, &f.err), OK);
    wait_until(all_sealed, &f);
    uint64_t landed[3] = {60, 60, 60}, deleted;
    stream_landed(f.log, 1, landed, 2);
    stream_landed(f.log, 2, landed, 3);
    assert_int_equal(stream_trim(f.log, NOW_MS + INT64_C(30) * 24 * 3600 * 1000, NULL, NULL, &deleted, &f.err), OK);
    assert_true(deleted > 3);
    assert_int_equal(log_view_advance(view, end, end, &f.err), OK);
    uint64_t n = 0;
    struct log_chunk chunk;
    while (log_scan_chunk(scan, &chunk)) {
        struct log_cursor cursor;
        log_cursor_begin(&cursor, chunk);
        struct stored_record r;
        bool got = true;
        while (log_cursor_next(scan, &cursor, &r, &got, &f.err) == OK && got) n++;
    }
    assert_int_equal(n, 120);
    log_scan_end(&scan);
    assert_int_equal(view_count(&f, view, (struct log_range){.stream = 1, .from = end, .to = end}), 0);
    log_view_close(&view);
    assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
    assert_int_equal(log_view_advance(view, before, end, &f.err), E_NOT_FOUND);
    assert_int_equal(log_view_advance(view, 0, stream_durable(f.log), &f.err), OK);
    log_view_close(&view);
    fixture_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_appended_is_read_back),
        cmocka_unit_test(a_key_stays_in_its_partition_in_order),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(a_record_larger_than_a_segment_fits),
        cmocka_unit_test(duplicates_get_the_first_id),
        cmocka_unit_test(the_dedupe_window_ends),
        cmocka_unit_test(streams_do_not_share_keys),
        cmocka_unit_test(an_idempotency_key_replays_the_first_answer),
        cmocka_unit_test(the_same_key_twice_in_one_group),
        cmocka_unit_test(partitions_can_only_grow_and_start_an_epoch),
        cmocka_unit_test(a_forgotten_stream_is_gone),
        cmocka_unit_test(landed_segments_go_after_their_time),
        cmocka_unit_test(segments_go_while_others_are_written),
        cmocka_unit_test(offsets_go_on_when_all_was_trimmed),
        cmocka_unit_test(the_lake_knows_more_than_the_log),
        cmocka_unit_test(a_full_budget_refuses_and_comes_back),
        cmocka_unit_test(state_says_what_is_not_landed),
        cmocka_unit_test(reading_pages_through),
        cmocka_unit_test(watchers_are_called_once),
        cmocka_unit_test(the_view_never_trusts_what_it_has_not_checked),
        cmocka_unit_test(the_view_sees_what_is_durable),
    };
    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
