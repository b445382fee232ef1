/* stream: full and failing disks, damage below and above the durable position, many threads at once, a real kill -9. */
#include "stream_fixture.h"

#include <signal.h>
#include <poll.h>
#include <sys/wait.h>

static void append_filler(struct fixture *f, uint16_t stream, int n) {
    char filler[3000];
    memset(filler, 'f', sizeof filler);
    filler[sizeof filler - 1] = 0;
    for (int i = 0; i < n; i++) (void)append_one(f, stream, "k", filler);
}

static enum status try_append(struct fixture *f, const char *payload, struct event_id *id) {
    struct stream_record r = record_of("k", payload);
    struct stream_result result;
    return append(f, 1, &r, 1, id, &result);
}

static bool takes_events(void *context) {
    struct event_id id;
    return try_append(context, "probe", &id) == OK;
}

static void segment_file(uint32_t number, const char *suffix, char out[64]) { snprintf(out, 64, DIR "/%016u%s", number, suffix); }

/* ---- full and failing ---- */

static void a_full_disk_refuses_and_comes_back(void **state) {
    struct fixture f;
    fixture_begin(&f, 1);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    faulty_fs_set(f.disk, (struct faulty_knobs){.space_bytes = 300 << 10});
    struct event_id id, last;
    char filler[3000];
    memset(filler, 'f', sizeof filler);
    filler[sizeof filler - 1] = 0;
    uint64_t taken = 0;
    enum status s = OK;
    while (taken < 1000 && (s = try_append(&f, filler, &id)) == OK) {
        last = id;
        taken++;
    }
    assert_int_equal(s, E_NO_SPACE);
    assert_true(taken > 20 && taken < 100);
    assert_int_equal(try_append(&f, "x", &id), E_NO_SPACE);
    assert_true(stream_log_stats(f.log).full);
    assert_non_null(strstr(stream_log_stats(f.log).full_reason, "free"));
    assert_true(finds(&f, last, filler)); /* reads go on */
    assert_int_equal(count_all(&f, 1), taken);
    fixture_reopen(&f); /* also a restart on the full disk lets people read */
    assert_int_equal(count_all(&f, 1), taken);
    faulty_fs_set(f.disk, (struct faulty_knobs){0});
    wait_until(takes_events, &f); /* by itself */
    assert_false(stream_log_stats(f.log).full);
    fixture_end(&f);
}

static bool is_refused(void *context) {
    struct event_id id;
    enum status s = try_append(context, "x", &id);
    assert_true(s == OK || s == E_NO_SPACE);
    return s == E_NO_SPACE;
}

static void the_reserve_is_left_alone(void **state) {
    struct fixture f;
    fixture_begin(&f, 2);
    f.options.reserve_bytes = 1 << 20;
    fixture_open(&f);
    faulty_fs_set(f.disk, (struct faulty_knobs){.space_bytes = 1 << 20});
    wait_until(is_refused, &f); /* looked at four times a second */
    assert_true(stream_log_stats(f.log).full);
    faulty_fs_set(f.disk, (struct faulty_knobs){0});
    wait_until(takes_events, &f);
    fixture_end(&f);
}

static void failing(struct faulty_knobs knobs, enum status expected) {
    struct fixture f;
    fixture_begin(&f, 3);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    struct event_id before = append_one(&f, 1, "k", "before"), id;
    log_position durable = stream_durable(f.log);
    faulty_fs_set(f.disk, knobs);
    assert_int_equal(try_append(&f, "lost", &id), expected);
    assert_int_equal(try_append(&f, "lost too", &id), expected == E_IO ? E_UNAVAILABLE : expected);
    assert_true(stream_log_stats(f.log).full);
    assert_int_equal(stream_durable(f.log), durable);
    assert_int_equal(count_all(&f, 1), 1);
    faulty_fs_set(f.disk, (struct faulty_knobs){0});
    wait_until(takes_events, &f);
    assert_true(finds(&f, before, "before"));
    uint64_t n = count_all(&f, 1);
    struct stored_record r;
    assert_int_equal(stream_find(f.log, f.arena, (struct event_address){NOW_MS, 1, 0, 1}, &r, &f.err), OK);
    assert_true(str_is(r.payload, "probe")); /* the offset of what failed went to the next one */
    fixture_close(&f);
    faulty_fs_crash(f.disk);
    fixture_open(&f);
    assert_int_equal(f.recovery.damaged_groups, 0);
    assert_int_equal(count_all(&f, 1), n); /* what was refused does not come back */
    fixture_end(&f);
}

static void a_failed_write_or_sync_is_never_trusted(void **state) {
    failing((struct faulty_knobs){.write_eio = 1}, E_IO);
    failing((struct faulty_knobs){.sync_eio = 1}, E_IO);
    failing((struct faulty_knobs){.write_enospc = 1}, E_NO_SPACE);
    failing((struct faulty_knobs){.sync_eio = 1, .open_eio = 1}, E_IO);
}

static void sealing_is_tried_again(void **state) {
    struct fixture f;
    fixture_begin(&f, 4);
    fixture_open(&f);
    faulty_fs_set(f.disk, (struct faulty_knobs){.rename_eio = 1});
    append_filler(&f, 1, 60);
    char path[64];
    struct fs_stat stat;
    segment_file(1, ".idx", path);
    usleep(50000);
    assert_int_equal(f.host.fs->stat(f.host.fs->self, path, &stat, NULL), E_NOT_FOUND);
    faulty_fs_set(f.disk, (struct faulty_knobs){0});
    for (int i = 0; i < 6000 && f.host.fs->stat(f.host.fs->self, path, &stat, NULL) != OK; i++) usleep(10000);
    assert_int_equal(f.host.fs->stat(f.host.fs->self, path, &stat, NULL), OK);
    assert_int_equal(count_all(&f, 1), 60);
    fixture_end(&f);
}

/* ---- the queue ---- */

struct async {
    struct stream_append request;
    struct stream_record record;
    struct event_id id;
    atomic_int finished;
    enum status status;
};

static void async_done(void *context, const struct stream_result *result) {
    struct async *a = context;
    a->status = result->status;
    atomic_store(&a->finished, 1);
}

static void a_full_queue_is_busy_and_nothing_is_lost(void **state) {
    struct fixture f;
    fixture_begin(&f, 5);
    f.options.queue_max = 10;
    fixture_open(&f);
    faulty_fs_hold(f.disk, true);
    struct async a[40];
    memset(a, 0, sizeof a);
    int taken = 0, busy = 0;
    bool submitted[40] = {false};
    for (int i = 0; i < 40; i++) {
        a[i].record = record_of("k", "x");
        a[i].request = (struct stream_append){.stream = 1, .records = &a[i].record, .n = 1, .ids = &a[i].id, .done = async_done, .context = &a[i]};
        enum status s = stream_submit(f.log, &a[i].request, &f.err);
        if (s == OK)
            taken++;
        else
            busy++;
        assert_true(s == OK || s == E_BUSY);
        submitted[i] = s == OK;
        if (i == 0) wait_until(faulty_fs_held, f.disk); /* the committer has this one, the others wait in the queue */
    }
    faulty_fs_hold(f.disk, false);
    assert_true(taken == 11 && busy == 29);
    stream_log_close(&f.log); /* commits what waits */
    for (int i = 0; i < 40; i++)
        if (submitted[i]) assert_true(atomic_load(&a[i].finished) && a[i].status == OK);
    faulty_fs_crash(f.disk);
    fixture_open(&f);
    assert_int_equal(count_all(&f, 1), (uint64_t)taken);
    fixture_end(&f);
}

/* ---- damage ---- */

/* Flips one bit of the frame that holds the event. */
static void flip(struct fixture *f, struct event_id id, uint64_t into_frame) {
    struct stored_record r;
    char path[64], byte;
    assert_int_equal(stream_find(f->log, f->arena, address_of(id), &r, &f->err), OK);
    segment_file((uint32_t)(r.position >> 32), ".seg", path);
    uint64_t at = (uint32_t)r.position + into_frame;
    assert_true(faulty_fs_peek(f->disk, path, at, &byte, 1));
    byte ^= 4;
    assert_true(faulty_fs_poke(f->disk, path, at, &byte, 1));
}

static void damage_below_durable_is_set_aside(void **state) {
    for (uint64_t into = 0; into < 120; into += 7) {
        struct fixture f;
        fixture_begin(&f, 6);
        f.streams[0].partitions = 1;
        fixture_open(&f);
        struct event_id a = append_one(&f, 1, "k", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                        b = append_one(&f, 1, "k", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
        struct event_id c = append_one(&f, 1, "k", "c"), other = append_one(&f, 2, "k", "other");
        flip(&f, b, into);
        struct stored_record r;
        assert_int_equal(stream_find(f.log, f.arena, address_of(b), &r, &f.err), E_CORRUPT); /* nothing corrupt is served */
        for (int round = 0; round < 2; round++) {
            fixture_close(&f);
            if (round == 1) faulty_fs_crash(f.disk);
            fixture_open(&f);
            assert_int_equal(f.recovery.damaged_groups, round == 0 ? 1 : 0); /* reported once */
            if (round == 0) assert_non_null(strstr(f.recovery.damage, "set aside"));
            assert_int_equal(f.recovery.cut_bytes, 0);
            assert_true(finds(&f, a, NULL) && finds(&f, c, "c") && finds(&f, other, "other"));
            assert_int_equal(stream_find(f.log, f.arena, address_of(b), &r, &f.err), E_NOT_FOUND);
            assert_int_equal(count_all(&f, 1), 2);
            struct fs_entry *entries;
            size_t n;
            assert_int_equal(f.host.fs->list(f.host.fs->self, f.arena, DIR "/damaged", &entries, &n, &f.err), OK);
            assert_int_equal(n, 1);
            struct log_view *view = NULL; /* the engine's view goes over the hole too */
            assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
            assert_int_equal(log_view_advance(view, 0, stream_durable(f.log), &f.err), OK);
            struct log_range range = {.stream = 1, .from = 0, .to = stream_durable(f.log)};
            struct log_scan *scan;
            assert_int_equal(log_scan_begin(view, &range, &scan, &f.err), OK);
            assert_int_equal(log_scan_records(scan), 2);
            log_scan_end(&scan);
            log_view_close(&view);
        }
        assert_true(address_of(append_one(&f, 1, "k", "d")).offset >= 3);
        fixture_end(&f);
    }
}

/* Offsets of records that were lost must not be given again, even when no later frame of that partition tells how far it had come. */
static void lost_offsets_are_not_given_again(void **state) {
    struct fixture f;
    fixture_begin(&f, 7);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    (void)append_one(&f, 1, "k", "a");
    struct event_id b = append_one(&f, 1, "k", "b");
    (void)append_one(&f, 2, "k", "later, of another stream");
    flip(&f, b, 80);
    fixture_reopen(&f);
    assert_int_equal(f.recovery.damaged_groups, 1);
    assert_true(address_of(append_one(&f, 1, "k", "c")).offset > address_of(b).offset);
    assert_int_equal(count_all(&f, 1), 2);
    fixture_end(&f);
}

static void a_torn_tail_is_cut_for_ever(void **state) {
    struct fixture f;
    fixture_begin(&f, 8);
    f.streams[0].partitions = 1;
    fixture_open(&f);
    struct event_id a = append_one(&f, 1, "k", "a"), b = append_one(&f, 1, "k", "b");
    flip(&f, b, 80); /* the last group: nothing says that it was synced */
    fixture_reopen(&f);
    assert_true(f.recovery.cut_bytes > 0);
    assert_int_equal(f.recovery.damaged_groups, 0);
    assert_true(finds(&f, a, "a"));
    assert_int_equal(count_all(&f, 1), 1);
    fixture_close(&f);
    faulty_fs_crash(f.disk);
    fixture_open(&f);
    assert_int_equal(f.recovery.cut_bytes, 0); /* the old bytes are gone from the disk */
    assert_int_equal(address_of(append_one(&f, 1, "k", "c")).offset, 1);
    fixture_end(&f);
}

/* What is left of a damaged group must not look like a torn tail at the next start, when the frames that proved it durable were cut. */
static void damage_just_before_a_torn_tail(void **state) {
    struct fixture f;
    fixture_begin(&f, 13);
    f.streams[0].partitions = 1;
    f.streams[1].partitions = 1;
    fixture_open(&f);
    (void)append_one(&f, 1, "k", "a");
    struct stream_record pair[1] = {record_of("k", "b")};
    struct async both[3];
    memset(both, 0, sizeof both);
    faulty_fs_hold(f.disk, true);
    for (int i = 0; i < 3; i++) { /* the second and third meet in one group, with a frame for each stream */
        both[i].record = pair[0];
        both[i].request = (struct stream_append){
            .stream = (uint16_t)(i == 2 ? 2 : 1), .records = &both[i].record, .n = 1, .ids = &both[i].id, .done = async_done, .context = &both[i]};
        assert_int_equal(stream_submit(f.log, &both[i].request, &f.err), OK);
        if (i == 0) wait_until(faulty_fs_held, f.disk);
    }
    faulty_fs_hold(f.disk, false);
    for (int i = 0; i < 3; i++)
        while (!atomic_load(&both[i].finished)) usleep(1000);
    struct event_id last = append_one(&f, 2, "k", "torn");
    flip(&f, both[1].id, 80);
    flip(&f, last, 80);
    for (int round = 0; round < 3; round++) {
        fixture_reopen(&f);
        assert_int_equal(f.recovery.damaged_groups, round == 0);
        assert_int_equal(f.recovery.cut_bytes > 0, round == 0);
        assert_int_equal(count_all(&f, 1), 2);
        assert_true(finds(&f, both[2].id, "b"));
        assert_int_equal(count_all(&f, 2), 1);
    }
    fixture_end(&f);
}

static void flip_byte(struct fixture *f, const char *path, uint64_t at) {
    char byte;
    assert_true(faulty_fs_peek(f->disk, path, at, &byte, 1));
    byte ^= 0x10;
    assert_true(faulty_fs_poke(f->disk, path, at, &byte, 1));
}

static bool first_sealed(void *context) {
    struct fixture *f = context;
    struct fs_stat stat;
    char path[64];
    segment_file(1, ".idx", path);
    return f->host.fs->stat(f->host.fs->self, path, &stat, NULL) == OK;
}

static void a_damaged_index_is_made_again(void **state) {
    struct fixture f;
    fixture_begin(&f, 9);
    fixture_open(&f);
    append_filler(&f, 1, 60);
    wait_until(first_sealed, &f);
    char path[64];
    segment_file(1, ".idx", path);
    for (uint64_t at = 0; at < 400; at += 13) {
        fixture_close(&f);
        flip_byte(&f, path, at);
        fixture_open(&f);
        assert_true(f.recovery.records > 0);
        assert_int_equal(f.recovery.damaged_groups, 0);
        assert_int_equal(count_all(&f, 1), 60);
        for (int i = 0; i < 1000; i++) { /* the keeper writes it again */
            fixture_reopen(&f);
            if (f.recovery.segments == 1) break;
            usleep(5000 + i * 100);
        }
        assert_int_equal(f.recovery.segments, 1); /* the active one alone was walked */
    }
    assert_int_equal(count_all(&f, 1), 60);
    fixture_end(&f);
}

static void damage_of_sealed_segments_is_found_by_verify(void **state) {
    struct fixture f;
    fixture_begin(&f, 10);
    fixture_open(&f);
    struct event_id early = append_one(&f, 1, "k", "early");
    append_filler(&f, 1, 60);
    wait_until(first_sealed, &f);
    struct stream_recovery found;
    assert_int_equal(stream_verify(f.log, f.arena, &found, &f.err), OK);
    assert_int_equal(found.damaged_groups, 0);
    assert_true(found.segments > 0 && found.records > 10);
    flip(&f, early, 90);
    assert_int_equal(stream_verify(f.log, f.arena, &found, &f.err), OK);
    assert_int_equal(found.damaged_groups, 1);
    assert_non_null(strstr(found.damage, "segment 1"));
    struct stored_record r;
    assert_int_equal(stream_find(f.log, f.arena, address_of(early), &r, &f.err), E_CORRUPT);
    fixture_end(&f);
}

static void damage_of_the_newest_segment_is_found_by_verify(void **state) {
    struct fixture f;
    fixture_begin(&f, 10);
    fixture_open(&f);
    struct event_id only = append_one(&f, 1, "k", "only");
    struct stream_recovery found;
    assert_int_equal(stream_verify(f.log, f.arena, &found, &f.err), OK);
    assert_true(found.segments == 1 && found.records == 1 && found.damaged_groups == 0);
    flip(&f, only, 90);
    assert_int_equal(stream_verify(f.log, f.arena, &found, &f.err), OK);
    assert_int_equal(found.damaged_groups, 1);
    fixture_end(&f);
}

static void a_segment_cut_short_costs_only_its_own(void **state) {
    for (uint64_t left = 0; left < 9000; left += 1777) {
        struct fixture f;
        fixture_begin(&f, 14);
        f.streams[0].partitions = 1;
        fixture_open(&f);
        append_filler(&f, 1, 60);
        wait_until(first_sealed, &f);
        fixture_close(&f);
        char path[64];
        int file;
        segment_file(1, ".seg", path);
        assert_int_equal(f.host.fs->open(f.host.fs->self, path, FS_READ | FS_WRITE, &file, &f.err), OK);
        assert_int_equal(f.host.fs->truncate(f.host.fs->self, file, left, &f.err), OK);
        assert_int_equal(f.host.fs->sync_data(f.host.fs->self, file, &f.err), OK);
        f.host.fs->close(f.host.fs->self, file);
        fixture_open(&f);
        assert_true(f.recovery.damaged_groups > 0);
        uint64_t n = count_all(&f, 1);
        assert_true(n > 30 && n < 60);
        fixture_end(&f);
    }
}

static void damaged_headers_and_secrets(void **state) {
    struct fixture f;
    fixture_begin(&f, 11);
    fixture_open(&f);
    append_filler(&f, 1, 10);
    char path[64];
    segment_file(1, ".seg", path);
    fixture_close(&f);
    flip_byte(&f, path, 20);
    fixture_open(&f);
    assert_int_equal(f.recovery.damaged_groups, 1);
    assert_int_equal(count_all(&f, 1), 10);
    fixture_reopen(&f);
    assert_int_equal(f.recovery.damaged_groups, 0); /* healed */
    fixture_close(&f);
    flip_byte(&f, DIR "/secret", 9);
    assert_int_equal(fixture_try_open(&f), E_CORRUPT);
    assert_non_null(strstr(f.err.text, "backup"));
    flip_byte(&f, DIR "/secret", 9);
    fixture_open(&f);
    assert_int_equal(count_all(&f, 1), 10);
    fixture_close(&f);
    assert_int_equal(f.host.fs->unlink(f.host.fs->self, DIR "/secret", &f.err), OK);
    assert_int_equal(fixture_try_open(&f), E_CORRUPT);
    fixture_end(&f);
}

/* ---- many threads ---- */

struct crowd {
    struct fixture *f;
    int number;
    uint64_t accepted;
    atomic_bool *stop;
    struct log_view *view; /* shared by the readers */
};

static void *writer(void *argument) {
    struct crowd *c = argument;
    struct fixture *f = c->f;
    for (int i = 0; i < 300; i++) {
        char payload[64], key[16];
        snprintf(payload, sizeof payload, "%d-%d", c->number, i);
        snprintf(key, sizeof key, "k%d", i % 7);
        struct stream_record records[2] = {record_of(key, payload), record_of(NULL, payload)};
        records[0].flags |= RECORD_DEDUPE;
        records[0].dedupe = stream_dedupe_hash(f->log, 1, str_of(payload));
        struct event_id ids[2];
        struct stream_result result;
        struct err err;
        struct stream_append request = {.stream = 1, .records = records, .n = 2, .ids = ids};
        if (stream_append_wait(f->log, &request, &result, &err) != OK) abort();
        c->accepted += result.accepted;
    }
    return NULL;
}

static void woken(void *context) { atomic_fetch_add((atomic_int *)context, 1); }

static void scan_shared(struct log_view *view, log_position durable) {
    struct log_range range = {.stream = 1, .from = 0, .to = durable};
    struct log_scan *scan = NULL;
    struct log_chunk chunk;
    uint64_t n = 0;
    if (log_scan_begin(view, &range, &scan, NULL) != OK) abort();
    while (log_scan_chunk(scan, &chunk)) {
        struct log_cursor cursor;
        struct stored_record r;
        bool got = true;
        log_cursor_begin(&cursor, chunk);
        while (log_cursor_next(scan, &cursor, &r, &got, NULL) == OK && got) n++;
    }
    if (n != log_scan_records(scan)) abort();
    log_scan_end(&scan);
}

static void *reader(void *argument) {
    struct crowd *c = argument;
    struct fixture *f = c->f;
    struct arena *arena = arena_new();
    struct err err;
    atomic_int calls = 0;
    while (!atomic_load(c->stop)) {
        struct stream_state state;
        struct stream_batch batch;
        struct stream_hour *hours;
        size_t n;
        arena_reset(arena);
        if (stream_state(f->log, arena, 1, &state, &err) != OK) abort();
        uint64_t from = state.partitions[0].end_offset / 2;
        if (stream_read(f->log, arena, 1, 0, from, 50, 10000, &batch, &err) != OK) abort();
        for (size_t i = 0; i < batch.n; i++)
            if (batch.records[i].offset != from + i) abort();
        if (stream_hours(f->log, arena, 1, &hours, &n, &err) != OK) abort();
        (void)stream_log_stats(f->log);
        uint64_t ticket = stream_watch(f->log, 1, 0, state.partitions[0].end_offset, woken, &calls);
        log_position durable = stream_durable(f->log);
        if (log_view_advance(c->view, 0, durable, &err) != OK) abort();
        scan_shared(c->view, durable);
        uint64_t landed[2] = {from / 2, 0};
        stream_landed(f->log, 1, landed, 1);
        (void)stream_unwatch(f->log, ticket);
    }
    arena_free(&arena);
    return NULL;
}

static void many_threads_at_once(void **state) {
    struct fixture f;
    fixture_begin(&f, 12);
    fixture_open(&f);
    struct crowd crowd[6];
    struct thread threads[6];
    atomic_bool stop = false;
    uint64_t accepted = 0;
    struct log_view *view = NULL;
    assert_int_equal(log_view_open(DIR, &f.host, &view, &f.err), OK);
    for (int i = 0; i < 6; i++) {
        crowd[i] = (struct crowd){.f = &f, .number = i % 3, .stop = &stop, .view = view}; /* two writers send the same */
        threads[i] = (struct thread){0};
        thread_start(&threads[i], "crowd", i < 4 ? writer : reader, &crowd[i]);
    }
    for (int i = 0; i < 4; i++) thread_join(&threads[i]);
    atomic_store(&stop, true);
    for (int i = 4; i < 6; i++) thread_join(&threads[i]);
    log_view_close(&view);
    for (int i = 0; i < 4; i++) accepted += crowd[i].accepted;
    assert_int_equal(accepted, 3 * 300 + 4 * 300); /* keyed ones once, the others each time */
    assert_int_equal(count_all(&f, 1), accepted);
    fixture_reopen(&f);
    assert_int_equal(count_all(&f, 1), accepted);
    fixture_end(&f);
}

/* ---- a real process on a real disk ---- */

static void child_appends(const char *dir, int report) {
    struct host host = host_default();
    struct stream_definition streams[1] = {{1, "orders", 2, 3600000}};
    struct stream_log_options options = {.dir = dir, .host = &host, .segment_bytes = 256 << 10, .max_bytes = UINT64_C(1) << 30, .reserve_bytes = 1};
    struct stream_log *log = NULL;
    struct err err;
    if (stream_log_open(&options, streams, 1, &log, NULL, &err) != OK) _exit(3);
    for (int i = 0;; i++) {
        char payload[300];
        memset(payload, 'x', sizeof payload);
        snprintf(payload, sizeof payload, "%d", i);
        struct stream_record r = record_of("k", "");
        r.payload = str_make(payload, sizeof payload);
        struct event_id id;
        struct stream_append request = {.stream = 1, .records = &r, .n = 1, .ids = &id};
        if (stream_append_wait(log, &request, NULL, &err) != OK) _exit(4);
        if (write(report, &id, sizeof id) != sizeof id) _exit(5);
    }
}

static void kill_9_loses_nothing(void **state) {
    char dir[64];
    snprintf(dir, sizeof dir, "/tmp/cupel-stream-XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct host host = host_default();
    struct event_id *acknowledged = mem_alloc(200000 * sizeof *acknowledged);
    size_t n = 0;
    for (int cycle = 0; cycle < 6; cycle++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            close(ends[0]);
            child_appends(dir, ends[1]);
        }
        close(ends[1]);
        if (cycle > 0) assert_int_equal(poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, 60000), 1); /* it is at work; the first one dies whenever */
        usleep(30000 + (useconds_t)cycle * 37000);
        kill(child, SIGKILL);
        while (n < 200000 && read(ends[0], &acknowledged[n], sizeof *acknowledged) == (ssize_t)sizeof *acknowledged) n++;
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
    }
    assert_true(n > 6);
    struct stream_definition streams[1] = {{1, "orders", 2, 3600000}};
    struct stream_log_options options = {.dir = dir, .host = &host, .segment_bytes = 256 << 10, .max_bytes = UINT64_C(1) << 30, .reserve_bytes = 1};
    struct stream_log *log = NULL;
    struct stream_recovery recovery;
    struct err err;
    assert_int_equal(stream_log_open(&options, streams, 1, &log, &recovery, &err), OK);
    assert_int_equal(recovery.damaged_groups, 0);
    ARENA_SCOPE(arena);
    for (size_t i = 0; i < n; i++) {
        struct stored_record r;
        if (stream_find(log, arena, address_of(acknowledged[i]), &r, &err) != OK) fail_msg("event %zu: %s", i, err.text);
        if (i) assert_true(memcmp(&acknowledged[i], &acknowledged[i - 1], 16) > 0);
        if (i % 1000 == 0) arena_reset(arena);
    }
    stream_log_close(&log);
    assert_int_equal(fs_remove_tree(fs_real(), dir, NULL), OK);
    free(acknowledged);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_refuses_and_comes_back),
        cmocka_unit_test(the_reserve_is_left_alone),
        cmocka_unit_test(a_failed_write_or_sync_is_never_trusted),
        cmocka_unit_test(sealing_is_tried_again),
        cmocka_unit_test(a_full_queue_is_busy_and_nothing_is_lost),
        cmocka_unit_test(damage_below_durable_is_set_aside),
        cmocka_unit_test(lost_offsets_are_not_given_again),
        cmocka_unit_test(a_torn_tail_is_cut_for_ever),
        cmocka_unit_test(damage_just_before_a_torn_tail),
        cmocka_unit_test(a_damaged_index_is_made_again),
        cmocka_unit_test(damage_of_sealed_segments_is_found_by_verify),
        cmocka_unit_test(damage_of_the_newest_segment_is_found_by_verify),
        cmocka_unit_test(a_segment_cut_short_costs_only_its_own),
        cmocka_unit_test(damaged_headers_and_secrets),
        cmocka_unit_test(many_threads_at_once),
        cmocka_unit_test(kill_9_loses_nothing),
    };
    return cmocka_run_group_tests_name("stream_faults", tests, NULL, NULL);
}
