/* Flushes from a real log: every offset lands exactly once, whatever fails in between; the accounts say the same. The engine is a fake that counts the records
 * of the range it is asked for by reading them from the log. */
#include "lake_fixture.h"

#include "stream/stream.h"

enum { STREAM = 5, PARTITIONS = 3 };

static uint64_t number_after(const char *sql, const char *name) {
    const char *at = strstr(sql, name);
    assert_non_null(at);
    return strtoull(at + strlen(name), NULL, 10);
}

static uint64_t element(const char *sql, const char *name, int index) {
    const char *at = strstr(sql, name);
    assert_non_null(at);
    at += strlen(name);
    for (int i = 0; i < index; i++) at = strchr(at, ',') + 1;
    return strtoull(at, NULL, 10);
}

/* Records in [start, end) of each partition received in [from_ms, to_ms). */
static uint64_t count_range(struct fixture *f, const char *sql) {
    assert_non_null(strstr(sql, "FROM cupel_log_range('{\"stream\":5,\"name\":\"web\","));
    uint64_t from_ms = number_after(sql, "\"from_ms\":"), to_ms = number_after(sql, "\"to_ms\":"), n = 0;
    assert_true(number_after(sql, "\"from\":") < number_after(sql, "\"to\":"));
    for (int p = 0; p < PARTITIONS; p++) {
        uint64_t at = element(sql, "\"start\":[", p), end = element(sql, "\"end\":[", p);
        while (at < end) {
            ARENA_SCOPE(arena);
            struct stream_batch batch = {0};
            ok(stream_read(f->log, arena, STREAM, (uint16_t)p, at, 1000, 1 << 20, &batch, &f->err));
            for (size_t i = 0; i < batch.n; i++)
                if (batch.records[i].offset < end) n += (uint64_t)batch.records[i].received_ms >= from_ms && (uint64_t)batch.records[i].received_ms < to_ms;
            at = batch.next_offset;
        }
    }
    return n;
}

/* ---- a clock that the test turns ---- */
static int64_t now_us;
static int64_t test_wall(void *self) { return now_us; }
static int64_t test_monotonic(void *self) { return clock_real()->monotonic_us(NULL); }
static void test_sleep(void *self, int64_t us) { clock_real()->sleep_us(NULL, us); }
static const struct host_clock test_clock = {NULL, test_wall, test_monotonic, test_sleep};

static void open_log_and_lake(struct fixture *f, uint64_t segment_bytes) {
    char path[128];
    snprintf(path, sizeof(path), "%s/log", f->dir);
    struct stream_log_options options = {.dir = path, .host = &f->plain_host, .segment_bytes = segment_bytes, .retention_ms = HOUR_MS};
    struct stream_definition definition = {.number = STREAM, .name = "web", .partitions = PARTITIONS};
    struct stream_recovery recovery;
    f->plain_host = (struct host){.fs = fs_real(), .clock = &test_clock};
    f->host.clock = &test_clock;
    ok(stream_log_open(&options, &definition, 1, &f->log, &recovery, &f->err));
    fixture_open(f);
}

static void open_all(struct fixture *f, uint64_t segment_bytes) {
    open_log_and_lake(f, segment_bytes);
    ok(lake_add_stream(f->lake, STREAM, "web", &(struct lake_stream_options){0}, &f->err));
}

static void close_all(struct fixture *f) {
    fixture_close(f);
    stream_log_close(&f->log);
}

static int setup(void **state) {
    struct fixture *f = fixture_new();
    *state = f;
    now_us = INT64_C(1763600000) * 1000000;
    now_us -= now_us % (HOUR_MS * 1000);
    fake_engine.count = count_range;
    ARENA_SCOPE(arena);
    struct ledger_stream stream;
    char path[128];
    f->plain_host = (struct host){.fs = fs_real(), .clock = &test_clock};
    snprintf(path, sizeof(path), "%s/ledger.db", f->dir);
    ok(ledger_open(path, &f->plain_host, &f->ledger, &f->err));
    for (int i = 1; i <= STREAM; i++) /* numbers come from one sequence: the fifth is ours */
        ok(ledger_stream_ensure(f->ledger, arena, KIND_STREAM, i == STREAM ? "web" : arena_printf(arena, "s%d", i), PARTITIONS, "{}", &stream, &f->err));
    assert_int_equal(stream.number, STREAM);
    ledger_close(&f->ledger);
    open_all(f, 1 << 20);
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    close_all(f);
    fixture_free(f);
    return 0;
}

static void put_events(struct fixture *f, int n, size_t payload_bytes) {
    char *payload = malloc(payload_bytes + 1);
    memset(payload, 'x', payload_bytes);
    for (int i = 0; i < n; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        struct stream_record record = {.payload = str_make(payload, payload_bytes), .key = str_of(key), .flags = RECORD_UTF8_VALID};
        struct event_id id;
        struct stream_append request = {.stream = STREAM, .records = &record, .n = 1, .ids = &id};
        struct stream_result result;
        ok(stream_append_wait(f->log, &request, &result, &f->err));
        assert_int_equal(result.status, OK);
    }
    free(payload);
}

static int64_t account(struct fixture *f, const char *field) {
    ARENA_SCOPE(arena);
    struct account *list;
    size_t n;
    int64_t sum = 0;
    ok(ledger_account_list(f->ledger, arena, "stream", "web", &list, &n, &f->err));
    for (size_t i = 0; i < n; i++) sum += !strcmp(list[i].field, field) ? list[i].n : 0;
    return sum;
}

static uint64_t unlanded(struct fixture *f) {
    ARENA_SCOPE(arena);
    struct stream_state state;
    ok(stream_state(f->log, arena, STREAM, &state, &f->err));
    return state.unlanded_records;
}

static void check_landed(struct fixture *f, uint64_t rows) {
    assert_int_equal(rows_of(f, "bronze", "web"), rows);
    assert_int_equal(account(f, "landed"), rows);
    assert_int_equal(unlanded(f), 0);
}

/* ---- tests ---- */

static void flushes_land_everything_once(void **state) {
    struct fixture *f = *state;
    ok(lake_flush(f->lake, NULL, &f->err)); /* nothing there: nothing done */
    assert_int_equal(fake_engine.copies, 0);
    put_events(f, 100, 10);
    ok(lake_flush(f->lake, "web", &f->err));
    check_landed(f, 100);
    ok(lake_flush(f->lake, "web", &f->err));
    check_landed(f, 100);
    put_events(f, 50, 10);
    close_all(f); /* the log forgets what landed; the table knows */
    open_all(f, 1 << 20);
    ok(lake_flush(f->lake, "web", &f->err));
    check_landed(f, 150);
    assert_int_equal(lake_flush(f->lake, "nothing", &f->err), E_NOT_FOUND);
}

static void hours_become_files_of_one_commit(void **state) {
    struct fixture *f = *state;
    for (int hour = 0; hour < 3; hour++) {
        put_events(f, 10 + hour, 10);
        now_us += HOUR_MS * 1000 * (hour == 1 ? 30 : 1); /* thirty idle hours cost nothing */
    }
    fake_engine.copies = 0;
    ok(lake_flush(f->lake, NULL, &f->err));
    check_landed(f, 33);
    assert_int_equal(fake_engine.copies, 3);
    struct table_version *v = version_of(f, "bronze", "web");
    assert_int_equal(v->files_n, 3);
    assert_int_equal(json_array_size(json_object_get(v->metadata, "snapshots")), 1);
    table_unref(&v);
}

static void failures_repeat_and_never_double(void **state) {
    struct fixture *f = *state;
    put_events(f, 40, 10);
    fake_engine.fail_next = 1;
    assert_int_equal(lake_flush(f->lake, NULL, &f->err), E_UNAVAILABLE);
    assert_int_equal(rows_of(f, "bronze", "web"), 0);
    f->disk.only_once = true;
    for (long k = 1;; k++) { /* one failure at every call of the disk, then again */
        put_events(f, 3, 10);
        uint64_t before = rows_of(f, "bronze", "web");
        f->disk.fail_at = f->disk.calls + k;
        enum status s = lake_flush(f->lake, NULL, &f->err);
        bool failed = test_disk_failed(&f->disk);
        f->disk.fail_at = 0;
        if (s) assert_int_equal(rows_of(f, "bronze", "web"), before);
        if (s) ok(lake_flush(f->lake, NULL, &f->err));
        check_landed(f, 40 + 3 * (uint64_t)k);
        if (!failed) break;
        assert_true(k < 200);
    }
}

static void lost_properties_do_not_double(void **state) {
    struct fixture *f = *state;
    put_events(f, 30, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    /* a foreign writer throws all properties away */
    struct table_version *v = version_of(f, "bronze", "web");
    json_t *m = json_deep_copy(v->metadata);
    json_object_set_new(m, "properties", json_pack("{s:s}", "cupel.stream", "5"));
    ARENA_SCOPE(arena);
    BUF_SCOPE(text);
    ice_metadata_write(m, &text);
    json_decref(m);
    char *path = arena_printf(arena, "%s/metadata/00077-foreign.metadata.json", v->dir), *uri = table_uri(arena, v, "metadata/00077-foreign.metadata.json");
    ok(fs_write_atomic(fs_real(), path, buf_view(&text), &f->err));
    ok(ledger_catalog_swap(f->ledger, "bronze", "web", v->pointer, uri, &f->err));
    table_unref(&v);
    close_all(f);
    open_all(f, 1 << 20);
    assert_int_equal(unlanded(f), 0);
    put_events(f, 5, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    check_landed(f, 35);
}

static void pins_see_the_table_and_its_tail(void **state) {
    struct fixture *f = *state;
    put_events(f, 30, 10);
    struct lake_pin *before, *after;
    ok(lake_pin(f->lake, &before, &f->err));
    ok(lake_flush(f->lake, NULL, &f->err));
    ok(lake_pin(f->lake, &after, &f->err));
    const struct engine_table *a = &lake_pin_view(before)->tables[0], *b = &lake_pin_view(after)->tables[0];
    assert_true(a->has_log && b->has_log && a->stream == STREAM);
    assert_int_equal(a->files_n, 0);
    assert_int_equal(a->log_offsets_n, 0);
    assert_int_equal(b->files_n, 1);
    uint64_t landed = 0;
    for (uint16_t i = 0; i < b->log_offsets_n; i++) landed += b->log_offsets[i];
    assert_int_equal(landed, 30);
    assert_true(b->version != a->version);
    assert_true(b->log_from >= a->log_from);
    assert_true(lake_pin_view(after)->index_from <= a->log_from); /* the older pin still needs its part of the log */
    assert_true(lake_pin_view(after)->durable >= lake_pin_view(before)->durable);
    lake_unpin(&before);
    lake_unpin(&after);
}

static void trimming_counts_once_and_waits_for_pins(void **state) {
    struct fixture *f = *state;
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err)); /* sees the log from its beginning */
    for (int i = 0; i < 40; i++) put_events(f, 5, 50000); /* about ten segments */
    ok(lake_flush(f->lake, NULL, &f->err));
    now_us += 3 * HOUR_MS * 1000;
    uint64_t segments = stream_log_stats(f->log).segments;
    assert_true(segments > 5);
    ok(maintain_trim(f->lake, &f->err));
    assert_int_equal(stream_log_stats(f->log).segments, segments);
    lake_unpin(&pin);
    ok(maintain_trim(f->lake, &f->err));
    assert_true(stream_log_stats(f->log).segments < segments);
    ARENA_SCOPE(arena);
    struct stream_hour *hours;
    size_t n;
    int64_t in_log = 0;
    ok(stream_hours(f->log, arena, STREAM, &hours, &n, &f->err));
    for (size_t i = 0; i < n; i++) in_log += (int64_t)hours[i].received;
    assert_int_equal(account(f, "received") + in_log, 200);
    check_landed(f, 200);
    ok(maintain_trim(f->lake, &f->err));
    assert_int_equal(account(f, "received") + in_log, 200);
}

static void retention_takes_old_hours_out(void **state) {
    struct fixture *f = *state;
    struct lake_stream_options options = {.retention_ms = 24 * HOUR_MS};
    ok(lake_add_stream(f->lake, STREAM, "web", &options, &f->err));
    put_events(f, 10, 10);
    now_us += 30 * HOUR_MS * 1000;
    put_events(f, 5, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    maintain_all_retention(f->lake);
    assert_int_equal(rows_of(f, "bronze", "web"), 5);
    assert_int_equal(account(f, "landed"), 15);
    put_events(f, 5, 10);
    ok(lake_flush(f->lake, NULL, &f->err)); /* positions are kept: nothing comes again */
    assert_int_equal(rows_of(f, "bronze", "web"), 10);
}

static void a_stream_of_the_same_name_starts_anew(void **state) {
    struct fixture *f = *state;
    put_events(f, 10, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    ok(lake_drop_stream(f->lake, "web", false, &f->err));
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err));
    assert_false(lake_pin_view(pin)->tables[0].has_log);
    lake_unpin(&pin);
    struct stream_definition definition = {.number = 9, .name = "web", .partitions = 1};
    ok(stream_define(f->log, &definition, &f->err));
    ok(lake_add_stream(f->lake, 9, "web", &(struct lake_stream_options){0}, &f->err));
    ok(lake_pin(f->lake, &pin, &f->err));
    const struct engine_table *t = &lake_pin_view(pin)->tables[0];
    assert_true(t->has_log && t->stream == 9 && t->files_n == 1 && t->log_offsets_n == 0);
    lake_unpin(&pin);
    ok(lake_drop_stream(f->lake, "web", true, &f->err));
    struct table_version *v;
    assert_int_equal(table_get(f->lake, "bronze", "web", &v, &f->err), E_NOT_FOUND);
}

static void a_table_dropped_by_others_is_made_anew(void **state) {
    struct fixture *f = *state;
    put_events(f, 10, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    ok(ledger_catalog_drop(f->ledger, "bronze", "web", &f->err));
    put_events(f, 7, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    assert_int_equal(rows_of(f, "bronze", "web"), 7); /* not the ten again */
    assert_int_equal(account(f, "landed"), 17);
    assert_int_equal(unlanded(f), 0);
}

/* Offsets that would be given twice are noticed before the first event comes in. */
static void a_log_older_than_the_lake_is_refused(void **state) {
    struct fixture *f = *state;
    put_events(f, 10, 10);
    ok(lake_flush(f->lake, NULL, &f->err));
    close_all(f);
    char path[128];
    snprintf(path, sizeof(path), "%s/log", f->dir);
    ok(fs_remove_tree(fs_real(), path, &f->err));
    open_log_and_lake(f, 1 << 20);
    assert_int_equal(lake_add_stream(f->lake, STREAM, "web", &(struct lake_stream_options){0}, &f->err), E_CORRUPT);
    assert_non_null(strstr(f->err.text, "older than the lake"));
}

static void the_writer_flushes_by_time(void **state) {
    struct fixture *f = *state;
    struct lake_stream_options options = {.flush_ms = 5000};
    ok(lake_add_stream(f->lake, STREAM, "web", &options, &f->err));
    put_events(f, 10, 10);
    lake_start(f->lake);
    clock_real()->sleep_us(NULL, 600000);
    assert_int_equal(rows_of(f, "bronze", "web"), 0); /* not due */
    now_us += 6000000;
    fake_engine.fail_next = 1; /* the first attempt fails and is repeated by itself */
    for (int i = 0; i < 600 && rows_of(f, "bronze", "web") != 10; i++) clock_real()->sleep_us(NULL, 100000);
    check_landed(f, 10);
    put_events(f, 3, 10);
    lake_stop(f->lake, true);
    check_landed(f, 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(flushes_land_everything_once, setup, teardown),
        cmocka_unit_test_setup_teardown(hours_become_files_of_one_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(failures_repeat_and_never_double, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_properties_do_not_double, setup, teardown),
        cmocka_unit_test_setup_teardown(pins_see_the_table_and_its_tail, setup, teardown),
        cmocka_unit_test_setup_teardown(trimming_counts_once_and_waits_for_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(retention_takes_old_hours_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_of_the_same_name_starts_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_dropped_by_others_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_older_than_the_lake_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(the_writer_flushes_by_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
