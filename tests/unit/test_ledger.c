/* Ledger: what is stored comes back, transactions are all or nothing, numbers are never reused, other processes and crashes do no harm. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/event_id.h"
#include "ledger/ledger.h"
#include "ledger/ledger_priv.h"

struct fixture {
    char dir[64], path[96];
    struct host host;
    struct ledger *ledger;
    struct arena *arena;
    struct err err;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/test_ledger_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/ledger.db", f->dir);
    f->host = (struct host){.fs = fs_real(), .clock = clock_real()};
    f->arena = arena_new();
    *state = f;
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), OK);
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    ledger_close(&f->ledger);
    arena_free(&f->arena);
    assert_int_equal(fs_remove_tree(f->host.fs, f->dir, &f->err), OK);
    free(f);
    return 0;
}

static void reopen(struct fixture *f) {
    ledger_close(&f->ledger);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), OK);
}

#define ok(f, call) \
    do { \
        enum status status_ = (call); \
        if (status_ != OK) fail_msg("%s: %s", #call, (f)->err.text); \
    } while (0)

/* ---- catalog ---- */

static void test_catalog_swap(void **state) {
    struct fixture *f = *state;
    struct catalog_entry entry;
    uint64_t v0, v1, v2;
    ok(f, ledger_catalog_version(f->ledger, &v0, &f->err));
    assert_int_equal(ledger_catalog_get(f->ledger, f->arena, "bronze", "orders", &entry, &f->err), E_NOT_FOUND);
    ok(f, ledger_catalog_swap(f->ledger, "bronze", "orders", NULL, "file:///a/1.json", &f->err));
    assert_int_equal(ledger_catalog_swap(f->ledger, "bronze", "orders", NULL, "file:///a/x.json", &f->err), E_CONFLICT);
    ok(f, ledger_catalog_version(f->ledger, &v1, &f->err));
    assert_true(v0 != v1);
    ok(f, ledger_kv_put(f->ledger, "t", "k", STR("not the catalog"), &f->err));
    ok(f, ledger_catalog_version(f->ledger, &v2, &f->err));
    assert_true(v1 == v2);
    ok(f, ledger_catalog_swap(f->ledger, "bronze", "orders", "file:///a/1.json", "file:///a/2.json", &f->err));
    ok(f, ledger_catalog_version(f->ledger, &v2, &f->err));
    assert_true(v1 != v2);
    assert_int_equal(ledger_catalog_swap(f->ledger, "bronze", "orders", "file:///a/1.json", "file:///a/3.json", &f->err), E_CONFLICT);
    assert_int_equal(ledger_catalog_swap(f->ledger, "bronze", "other", "file:///a/1.json", "file:///a/3.json", &f->err), E_CONFLICT);
    reopen(f);
    ok(f, ledger_catalog_get(f->ledger, f->arena, "bronze", "orders", &entry, &f->err));
    assert_string_equal(entry.metadata_location, "file:///a/2.json");
    assert_string_equal(entry.previous_location, "file:///a/1.json");
    struct catalog_entry *list;
    size_t n;
    ok(f, ledger_catalog_swap(f->ledger, "bronze", "a", NULL, "file:///a/a.json", &f->err));
    ok(f, ledger_catalog_list(f->ledger, f->arena, &list, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "a");
    assert_null(list[0].previous_location);
    ok(f, ledger_catalog_drop(f->ledger, "bronze", "a", &f->err));
    assert_int_equal(ledger_catalog_drop(f->ledger, "bronze", "a", &f->err), E_NOT_FOUND);
}

/* The pointer is moved by another program (as PyIceberg does it): our next swap fails, and the version shows it. */
static void test_catalog_foreign_commit(void **state) {
    struct fixture *f = *state;
    uint64_t v0, v1;
    sqlite3 *other;
    ok(f, ledger_catalog_swap(f->ledger, "bronze", "orders", NULL, "1", &f->err));
    ok(f, ledger_catalog_version(f->ledger, &v0, &f->err));
    assert_int_equal(sqlite3_open(f->path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                         "UPDATE iceberg_tables SET metadata_location = '2', previous_metadata_location = '1' WHERE catalog_name = 'cupel'"
                         " AND table_namespace = 'bronze' AND table_name = 'orders' AND metadata_location = '1'",
                         NULL, NULL, NULL),
        SQLITE_OK);
    /* a row as PyIceberg makes it: no iceberg_type; and a view of another engine, which is no table */
    assert_int_equal(sqlite3_exec(other,
                         "INSERT INTO iceberg_tables(catalog_name, table_namespace, table_name, metadata_location) VALUES ('cupel', 'ext', 't', 'x');"
                         "INSERT INTO iceberg_tables VALUES ('cupel', 'ext', 'v', 'x', NULL, 'VIEW');"
                         "INSERT INTO iceberg_tables VALUES ('another', 'ext', 'w', 'x', NULL, 'TABLE')",
                         NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(other);
    ok(f, ledger_catalog_version(f->ledger, &v1, &f->err));
    assert_true(v0 != v1);
    assert_int_equal(ledger_catalog_swap(f->ledger, "bronze", "orders", "1", "3", &f->err), E_CONFLICT);
    struct catalog_entry *list;
    size_t n;
    ok(f, ledger_catalog_list(f->ledger, f->arena, &list, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].metadata_location, "2");
    assert_string_equal(list[1].name, "t");
}

/* ---- streams, consumers ---- */

static void test_streams(void **state) {
    struct fixture *f = *state;
    struct ledger_stream a, b, again, *list;
    size_t n;
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "orders", 2, "{\"x\":1}", &a, &f->err));
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_LANDING, "bronze.pos", 1, NULL, &b, &f->err));
    assert_int_equal(a.number, 1);
    assert_int_equal(b.number, 2);
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "orders", 9, "{}", &again, &f->err));
    assert_int_equal(again.number, 1);
    assert_int_equal(again.partitions, 2);
    assert_string_equal(again.settings, "{\"x\":1}");
    ok(f, ledger_stream_update(f->ledger, 1, 4, NULL, &f->err));
    ok(f, ledger_consumer_set(f->ledger, "c", 1, 3, 77, &f->err));
    ok(f, ledger_stream_delete(f->ledger, 1, &f->err));
    assert_int_equal(ledger_stream_delete(f->ledger, 1, &f->err), E_NOT_FOUND);
    assert_int_equal(ledger_stream_update(f->ledger, 1, 5, NULL, &f->err), E_NOT_FOUND);
    struct consumer_position *positions;
    ok(f, ledger_consumer_list(f->ledger, f->arena, NULL, &positions, &n, &f->err));
    assert_int_equal(n, 0);
    reopen(f);
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "orders", 1, NULL, &again, &f->err));
    assert_int_equal(again.number, 3); /* same name, new number */
    ok(f, ledger_stream_list(f->ledger, f->arena, false, &list, &n, &f->err));
    assert_int_equal(n, 2);
    ok(f, ledger_stream_list(f->ledger, f->arena, true, &list, &n, &f->err));
    assert_int_equal(n, 3);
    assert_true(list[0].deleted_ms > 0);
    assert_int_equal(list[0].partitions, 4);
}

static enum status make_all_numbers(void *context, struct ledger *ledger, struct err *err) {
    struct fixture *f = context;
    for (int i = 1; i <= EVENT_STREAM_MAX; i++) {
        struct ledger_stream s;
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        enum status status = ledger_stream_ensure(ledger, f->arena, KIND_STREAM, name, 1, NULL, &s, err);
        if (status != OK) return status;
        assert_int_equal(s.number, i);
    }
    return OK;
}

static void test_stream_numbers_end(void **state) {
    struct fixture *f = *state;
    struct ledger_stream s = {.number = 9};
    ok(f, ledger_transaction(f->ledger, make_all_numbers, f, &f->err));
    assert_int_equal(ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "more", 1, NULL, &s, &f->err), E_LIMIT);
    assert_int_equal(s.number, 9); /* outputs untouched on failure */
    assert_non_null(strstr(f->err.text, "4095"));
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "s4095", 1, NULL, &s, &f->err));
    assert_int_equal(s.number, 4095);
}

static void test_consumers(void **state) {
    struct fixture *f = *state;
    struct ledger_stream s;
    struct consumer_position *list;
    size_t n;
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "orders", 2, NULL, &s, &f->err));
    ok(f, ledger_consumer_set(f->ledger, "b", s.number, 1, 5, &f->err));
    ok(f, ledger_consumer_set(f->ledger, "a", s.number, 0, EVENT_OFFSET_MAX, &f->err));
    ok(f, ledger_consumer_set(f->ledger, "b", s.number, 1, 6, &f->err));
    assert_int_equal(ledger_consumer_set(f->ledger, "b", 99, 0, 6, &f->err), E_NOT_FOUND);
    ok(f, ledger_consumer_list(f->ledger, f->arena, NULL, &list, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(list[0].consumer, "a");
    assert_true(list[0].offset == EVENT_OFFSET_MAX);
    assert_true(list[1].offset == 6);
    ok(f, ledger_consumer_delete(f->ledger, "b", s.number, &f->err));
    assert_int_equal(ledger_consumer_delete(f->ledger, "b", s.number, &f->err), E_NOT_FOUND);
}

/* ---- tokens, keys, kv, accounts ---- */

static void test_tokens(void **state) {
    struct fixture *f = *state;
    uint8_t hash[32];
    struct ledger_token *list;
    size_t n;
    memset(hash, 0, sizeof hash); /* NUL bytes are content */
    hash[31] = 7;
    ok(f, ledger_token_add(f->ledger, "cli", "admin", hash, 0, &f->err));
    assert_int_equal(ledger_token_add(f->ledger, "cli", "read", hash, 0, &f->err), E_CONFLICT);
    ok(f, ledger_token_used(f->ledger, "cli", 500, &f->err));
    ok(f, ledger_token_used(f->ledger, "cli", 400, &f->err));
    ok(f, ledger_token_used(f->ledger, "gone", 400, &f->err));
    ok(f, ledger_token_list(f->ledger, f->arena, &list, &n, &f->err));
    assert_int_equal(n, 1);
    assert_memory_equal(list[0].hash, hash, 32);
    assert_string_equal(list[0].role, "admin");
    assert_true(list[0].last_used_ms == 500 && list[0].expires_ms == 0);
    ok(f, ledger_token_revoke(f->ledger, "cli", &f->err));
    assert_int_equal(ledger_token_revoke(f->ledger, "cli", &f->err), E_NOT_FOUND);
}

static void test_kv_and_accounts(void **state) {
    struct fixture *f = *state;
    struct str value;
    struct account *list;
    size_t n;
    ok(f, ledger_kv_put(f->ledger, "t", "k", str_make("a\0b", 3), &f->err));
    ok(f, ledger_kv_put(f->ledger, "t", "empty", STR_NULL, &f->err));
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "k", &value, &f->err));
    assert_true(str_eq(value, str_make("a\0b", 3)));
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "empty", &value, &f->err));
    assert_int_equal(value.n, 0);
    ok(f, ledger_kv_delete(f->ledger, "t", "k", &f->err));
    assert_int_equal(ledger_kv_get(f->ledger, f->arena, "t", "k", &value, &f->err), E_NOT_FOUND);
    for (int i = 0; i < 3; i++) ok(f, ledger_account_add(f->ledger, "stream", "orders", 3600000, "received", 10, &f->err));
    ok(f, ledger_account_add(f->ledger, "stream", "orders", 3600000, "landed", -5, &f->err));
    ok(f, ledger_account_add(f->ledger, "file", "pos", 0, "read", 1, &f->err));
    ok(f, ledger_account_list(f->ledger, f->arena, "stream", NULL, &list, &n, &f->err));
    assert_int_equal(n, 2);
    assert_true(list[0].n == -5 && list[1].n == 30 && list[1].hour_ms == 3600000);
    ok(f, ledger_account_list(f->ledger, f->arena, NULL, "pos", &list, &n, &f->err));
    assert_int_equal(n, 1);
}

static void test_protection_keys(void **state) {
    struct fixture *f = *state;
    struct protection_key a, b, c;
    struct stat st;
    ok(f, ledger_protection_key(f->ledger, f->arena, "tokenise", "", &a, &f->err));
    ok(f, ledger_protection_key(f->ledger, f->arena, "subject", "42", &b, &f->err));
    reopen(f);
    ok(f, ledger_protection_key(f->ledger, f->arena, "tokenise", NULL, &c, &f->err));
    assert_true(a.id == c.id && a.id != b.id && a.id != 0);
    assert_memory_equal(a.secret, c.secret, 32);
    assert_memory_not_equal(a.secret, b.secret, 32);
    assert_int_equal(stat(f->path, &st), 0); /* secrets: nobody else may read them */
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* ---- landing files ---- */

static void test_landing(void **state) {
    struct fixture *f = *state;
    struct ledger_stream pos;
    struct landing_file one, two, again, *list;
    bool already = true;
    size_t n;
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_LANDING, "bronze.pos", 1, NULL, &pos, &f->err));
    struct landing_file file = {.source = "pos", .path = "landing/pos/a.csv", .hash = "aa", .size_bytes = 10, .stream = pos.number, .received_ms = 5000};
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 100, &already, &one, &f->err));
    assert_false(already);
    assert_true(one.first_offset == 0 && one.reserved == 100 && one.state == LANDING_TAKEN && one.received_ms == 5000);
    file.hash = "bb";
    file.received_ms = 4000; /* the clock went back: the receipt time does not */
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 7, &already, &two, &f->err));
    assert_true(!already && two.first_offset == 100 && two.received_ms == 5000);
    reopen(f);
    file.hash = "aa";
    file.path = "landing/pos/copy of a.csv";
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 100, &already, &again, &f->err));
    assert_true(already && again.id == one.id && again.first_offset == 0);
    assert_string_equal(again.path, "landing/pos/a.csv");
    ok(f, ledger_landing_finish(f->ledger, one.id, LANDING_LANDED, 90, 88, 2, NULL, "{}", &f->err));
    ok(f, ledger_landing_moved(f->ledger, one.id, "landing/pos/done/a.csv", &f->err));
    ok(f, ledger_landing_finish(f->ledger, two.id, LANDING_REJECTED, 0, 0, 0, "encoding", NULL, &f->err));
    assert_int_equal(ledger_landing_moved(f->ledger, 999, "x", &f->err), E_NOT_FOUND);
    ok(f, ledger_landing_list(f->ledger, f->arena, "pos", -1, 10, &list, &n, &f->err));
    assert_int_equal(n, 2);
    assert_true(list[0].id == two.id && list[0].rejected && list[0].state == LANDING_REJECTED);
    assert_true(list[1].state == LANDING_MOVED && !list[1].rejected && list[1].rows_read == 90 && list[1].rows_quarantined == 2);
    ok(f, ledger_landing_list(f->ledger, f->arena, NULL, LANDING_MOVED, 0, &list, &n, &f->err));
    assert_int_equal(n, 1);
    /* a redrive may take the content again, with new offsets */
    ok(f, ledger_landing_forget(f->ledger, two.id, &f->err));
    file.hash = "bb";
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 7, &already, &again, &f->err));
    assert_true(!already && again.first_offset == 107);
    /* the same content in another source is another file */
    file.source = "other";
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 7, &already, &again, &f->err));
    assert_false(already);
    file.hash = "cc";
    file.stream = 77;
    assert_int_equal(ledger_landing_take(f->ledger, f->arena, &file, 7, &already, &again, &f->err), E_NOT_FOUND);
    file.stream = pos.number;
    assert_int_equal(ledger_landing_take(f->ledger, f->arena, &file, EVENT_OFFSET_MAX, &already, &again, &f->err), E_LIMIT);
    file.hash = "dd"; /* the refused reservation took nothing */
    ok(f, ledger_landing_take(f->ledger, f->arena, &file, 1, &already, &again, &f->err));
    assert_true(again.first_offset == 121);
}

/* ---- transactions ---- */

static enum status put_then_fail(void *context, struct ledger *ledger, struct err *err) {
    struct fixture *f = context;
    struct str value;
    assert_int_equal(ledger_kv_put(ledger, "t", "inner", STR("1"), err), OK);
    assert_int_equal(ledger_kv_get(ledger, f->arena, "t", "inner", &value, err), OK); /* sees its own change */
    return err_set(err, E_UNPROCESSABLE, "no");
}

static enum status outer_survives_inner(void *context, struct ledger *ledger, struct err *err) {
    struct fixture *f = context;
    struct err inner;
    assert_int_equal(ledger_kv_put(ledger, "t", "outer", STR("1"), err), OK);
    assert_int_equal(ledger_transaction(ledger, put_then_fail, f, &inner), E_UNPROCESSABLE);
    assert_int_equal(ledger_catalog_swap(ledger, "s", "t", "nothing", "x", &inner), E_CONFLICT);
    struct str value;
    assert_int_equal(ledger_kv_get(ledger, f->arena, "t", "inner", &value, &inner), E_NOT_FOUND);
    return ledger_kv_put(ledger, "t", "last", STR("1"), err);
}

static void test_transactions(void **state) {
    struct fixture *f = *state;
    struct str value;
    assert_int_equal(ledger_transaction(f->ledger, put_then_fail, f, &f->err), E_UNPROCESSABLE);
    assert_string_equal(f->err.text, "no");
    assert_int_equal(ledger_kv_get(f->ledger, f->arena, "t", "inner", &value, &f->err), E_NOT_FOUND);
    ok(f, ledger_transaction(f->ledger, outer_survives_inner, f, &f->err));
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "outer", &value, &f->err));
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "last", &value, &f->err));
    assert_int_equal(ledger_kv_get(f->ledger, f->arena, "t", "inner", &value, &f->err), E_NOT_FOUND);
}

/* Money moves between two accounts while readers add them up: the sum they see is always the same. */
enum { MOVES = 120, WRITERS = 3 };

static enum status move_one(void *context, struct ledger *ledger, struct err *err) {
    enum status status = ledger_account_add(ledger, "h", "a", 0, "n", -1, err);
    return status == OK ? ledger_account_add(ledger, "h", "b", 0, "n", 1, err) : status;
}

static void *write_moves(void *context) {
    struct fixture *f = context;
    for (int i = 0; i < MOVES; i++) {
        struct err err;
        if (ledger_transaction(f->ledger, move_one, f, &err) != OK) return (void *)1;
    }
    return NULL;
}

static void *read_sums(void *context) {
    struct fixture *f = context;
    for (int i = 0; i < 2 * MOVES; i++) {
        ARENA_SCOPE(arena);
        struct account *list;
        size_t n;
        struct err err;
        if (ledger_account_list(f->ledger, arena, "h", NULL, &list, &n, &err) != OK || n != 2 || list[0].n + list[1].n != 1000) return (void *)1;
    }
    return NULL;
}

static void test_threads(void **state) {
    struct fixture *f = *state;
    pthread_t threads[WRITERS + 2];
    ok(f, ledger_account_add(f->ledger, "h", "a", 0, "n", 1000, &f->err));
    ok(f, ledger_account_add(f->ledger, "h", "b", 0, "n", 0, &f->err));
    for (int i = 0; i < WRITERS + 2; i++) pthread_create(&threads[i], NULL, i < WRITERS ? write_moves : read_sums, f);
    for (int i = 0; i < WRITERS + 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    struct account *list;
    size_t n;
    ok(f, ledger_account_list(f->ledger, f->arena, "h", "b", &list, &n, &f->err));
    assert_int_equal(list[0].n, MOVES * WRITERS);
}

/* ---- runs of flows ---- */

static void test_runs(void **state) {
    struct fixture *f = *state;
    struct ledger_run *list, run = {.id = "r1", .flow = "nightly", .cause = "cron", .created_ms = 1000, .scheduled_ms = 900, .request = "{\"a\":1}"};
    struct ledger_schedule schedule;
    size_t n;
    ok(f, ledger_run_add(f->ledger, &run, &f->err));
    assert_int_equal(ledger_run_add(f->ledger, &run, &f->err), E_CONFLICT);
    run.id = "r2";
    run.created_ms = 2000;
    ok(f, ledger_run_add(f->ledger, &run, &f->err));
    run.status = "running";
    run.started_ms = 2001;
    run.request = NULL;
    run.detail = "{}";
    ok(f, ledger_run_update(f->ledger, &run, &f->err));
    reopen(f);
    ok(f, ledger_run_open(f->ledger, f->arena, &list, &n, &f->err));
    assert_true(n == 2 && strcmp(list[0].id, "r1") == 0 && strcmp(list[1].status, "running") == 0 && list[1].started_ms == 2001);
    assert_string_equal(list[1].request, "{\"a\":1}");
    run.status = "failed";
    run.finished_ms = 3000;
    run.error = "why";
    ok(f, ledger_run_update(f->ledger, &run, &f->err));
    ok(f, ledger_run_open(f->ledger, f->arena, &list, &n, &f->err));
    assert_int_equal(n, 1);
    ok(f, ledger_run_list(f->ledger, f->arena, "nightly", 10, &list, &n, &f->err));
    assert_true(n == 2 && strcmp(list[0].id, "r2") == 0 && strcmp(list[0].error, "why") == 0);
    ok(f, ledger_run_prune(f->ledger, 5000, &f->err));
    ok(f, ledger_run_list(f->ledger, f->arena, NULL, 10, &list, &n, &f->err));
    assert_true(n == 1 && strcmp(list[0].id, "r1") == 0); /* not finished: it stays */
    assert_int_equal(ledger_run_get(f->ledger, f->arena, "r2", &run, &f->err), E_NOT_FOUND);
    assert_int_equal(ledger_schedule_get(f->ledger, f->arena, "nightly", &schedule, &f->err), E_NOT_FOUND);
    ok(f, ledger_schedule_put(f->ledger, "nightly", &(struct ledger_schedule){77, NULL}, &f->err));
    ok(f, ledger_schedule_put(f->ledger, "nightly", &(struct ledger_schedule){78, "m"}, &f->err));
    ok(f, ledger_schedule_get(f->ledger, f->arena, "nightly", &schedule, &f->err));
    assert_true(schedule.fired_ms == 78 && strcmp(schedule.mark, "m") == 0);
}

/* ---- crashes and failures ---- */

static enum status put_pair_and_tell(void *context, struct ledger *ledger, struct err *err) {
    int i = *(int *)context;
    char key[16];
    snprintf(key, sizeof key, "%d", i);
    enum status status = ledger_kv_put(ledger, "left", key, STR("1"), err);
    return status == OK ? ledger_kv_put(ledger, "right", key, STR("1"), err) : status;
}

/* A child writes pairs and tells each finished one; it is killed somewhere in the middle. All that it told is there, and never half a pair. */
static void kill_once(struct fixture *f, int round) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger *ledger = NULL;
        struct err err;
        if (ledger_open(f->path, &f->host, &ledger, &err) != OK) _exit(1);
        for (int i = round * 100000;; i++) {
            if (ledger_transaction(ledger, put_pair_and_tell, &i, &err) != OK || write(pipes[1], &i, sizeof i) != sizeof i) _exit(2);
        }
    }
    close(pipes[1]);
    int told = -1, count = 0;
    while (count < 5 + round * 3 && read(pipes[0], &told, sizeof told) == sizeof told) count++;
    kill(child, SIGKILL);
    while (read(pipes[0], &told, sizeof told) == sizeof told) count++;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    close(pipes[0]);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), OK);
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                         "SELECT count(*) FILTER (WHERE tbl = 'left' AND CAST(key AS INT) >= ?1), count(*) FILTER (WHERE tbl = 'left'), count(*) FILTER (WHERE "
                         "tbl = 'right') FROM kv",
                         -1, &stmt, NULL),
        SQLITE_OK);
    sqlite3_bind_int(stmt, 1, round * 100000);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int stored = sqlite3_column_int(stmt, 0);
    assert_true(stored == count || stored == count + 1); /* the last one may be in without having been told */
    assert_int_equal(sqlite3_column_int(stmt, 1), sqlite3_column_int(stmt, 2));
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    BUF_SCOPE(problems);
    ok(f, ledger_check(f->ledger, &problems, &f->err));
    assert_int_equal(problems.n, 0);
    ledger_close(&f->ledger);
}

static void test_kill(void **state) {
    struct fixture *f = *state;
    ledger_close(&f->ledger);
    for (int round = 0; round < 6; round++) kill_once(f, round);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), OK);
}

static enum status fill(void *context, struct ledger *ledger, struct err *err) {
    struct str big = str_make(context, 1 << 20);
    for (int i = 0; i < 64; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        if (ledger_kv_put(ledger, "big", key, big, err) != OK) return OK; /* goes on as if nothing were: the end must still fail */
    }
    return OK;
}

/* No room: a file size limit stands in for the full disk (SQLite sees a failing write). */
static void test_no_space(void **state) {
    struct fixture *f = *state;
    struct rlimit old, small;
    struct str value;
    char *big = calloc(1, 1 << 20);
    ok(f, ledger_kv_put(f->ledger, "t", "before", STR("1"), &f->err));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){4 << 20, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status status = ledger_transaction(f->ledger, fill, big, &f->err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_true(status == E_IO || status == E_NO_SPACE);
    assert_non_null(strstr(f->err.text, f->path));
    free(big);
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "before", &value, &f->err));
    assert_int_equal(ledger_kv_get(f->ledger, f->arena, "big", "0", &value, &f->err), E_NOT_FOUND);
    ok(f, ledger_kv_put(f->ledger, "t", "after", STR("1"), &f->err)); /* goes on by itself */
}

static void test_database_full(void **state) {
    struct fixture *f = *state;
    char *big = calloc(1, 1 << 20);
    struct str value;
    assert_int_equal(sqlite3_exec(f->ledger->write.db, "PRAGMA max_page_count = 500", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(ledger_transaction(f->ledger, fill, big, &f->err), E_NO_SPACE);
    assert_int_equal(ledger_kv_get(f->ledger, f->arena, "big", "0", &value, &f->err), E_NOT_FOUND);
    assert_int_equal(sqlite3_exec(f->ledger->write.db, "PRAGMA max_page_count = 100000", NULL, NULL, NULL), SQLITE_OK);
    ok(f, ledger_kv_put(f->ledger, "t", "after", STR("1"), &f->err));
    free(big);
}

static void overwrite(const char *path, long at, const char *bytes, size_t n) {
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fwrite(bytes, 1, n, file);
    fclose(file);
}

static void test_damage(void **state) {
    struct fixture *f = *state;
    char garbage[4096];
    memset(garbage, 'x', sizeof garbage);
    ledger_close(&f->ledger);
    overwrite(f->path, 0, garbage, sizeof garbage);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), E_CORRUPT);
    assert_null(f->ledger);
    assert_non_null(strstr(f->err.text, "register --recover"));
}

static void test_damaged_page(void **state) {
    struct fixture *f = *state;
    char garbage[4096];
    memset(garbage, 0xA5, sizeof garbage);
    ok(f, ledger_kv_put(f->ledger, "t", "k", STR("1"), &f->err));
    ledger_close(&f->ledger); /* checkpoints the WAL into the file */
    struct stat st;
    stat(f->path, &st);
    for (long at = 4096; at < st.st_size; at += 4096) overwrite(f->path, at, garbage, sizeof garbage);
    enum status status = ledger_open(f->path, &f->host, &f->ledger, &f->err);
    if (status == OK) {
        struct str value;
        status = ledger_kv_get(f->ledger, f->arena, "t", "k", &value, &f->err);
    }
    assert_int_equal(status, E_CORRUPT);
}

static void test_foreign_file(void **state) {
    struct fixture *f = *state;
    ledger_close(&f->ledger);
    unlink(f->path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE somebody_elses(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), E_CONFLICT);
}

static void test_upgrade(void **state) {
    struct fixture *f = *state;
    ledger_close(&f->ledger);
    unlink(f->path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, ledger_schema_steps[0], NULL, NULL, NULL), SQLITE_OK);
    char *sql = sqlite3_mprintf("PRAGMA application_id = %d; PRAGMA user_version = 1; INSERT INTO streams(kind, name, partitions, created_ms)"
                                " VALUES (0, 'orders', 2, 1); INSERT INTO kv VALUES ('t', 'k', x'31', 1)",
        LEDGER_APPLICATION_ID);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_free(sql);
    sqlite3_close(db);
    ok(f, ledger_open(f->path, &f->host, &f->ledger, &f->err));
    struct str value;
    struct ledger_stream s;
    struct protection_key key;
    ok(f, ledger_kv_get(f->ledger, f->arena, "t", "k", &value, &f->err));
    ok(f, ledger_stream_ensure(f->ledger, f->arena, KIND_STREAM, "orders", 1, NULL, &s, &f->err));
    assert_int_equal(s.number, 1);
    ok(f, ledger_protection_key(f->ledger, f->arena, "tokenise", "", &key, &f->err)); /* a table of version 2 */
    ledger_close(&f->ledger);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 999", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(ledger_open(f->path, &f->host, &f->ledger, &f->err), E_UNSUPPORTED);
    assert_non_null(strstr(f->err.text, "999"));
}

static void test_backup(void **state) {
    struct fixture *f = *state;
    char path[128];
    struct ledger *copy = NULL;
    struct str value;
    pthread_t writer;
    snprintf(path, sizeof path, "%s/copy.db", f->dir);
    ok(f, ledger_account_add(f->ledger, "h", "a", 0, "n", 1000, &f->err));
    ok(f, ledger_account_add(f->ledger, "h", "b", 0, "n", 0, &f->err));
    ok(f, ledger_kv_put(f->ledger, "t", "k", STR("v"), &f->err));
    pthread_create(&writer, NULL, write_moves, f);
    for (int i = 0; i < 5; i++) ok(f, ledger_backup(f->ledger, path, &f->err));
    pthread_join(writer, NULL);
    ok(f, ledger_open(path, &f->host, &copy, &f->err));
    ok(f, ledger_kv_get(copy, f->arena, "t", "k", &value, &f->err));
    struct account *list;
    size_t n;
    ok(f, ledger_account_list(copy, f->arena, "h", NULL, &list, &n, &f->err));
    assert_int_equal(list[0].n + list[1].n, 1000); /* one point in time */
    ledger_close(&copy);
    assert_int_equal(ledger_backup(f->ledger, "/nonexistent/dir/x.db", &f->err), E_NOT_FOUND);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_catalog_swap),
        T(test_catalog_foreign_commit),
        T(test_streams),
        T(test_stream_numbers_end),
        T(test_consumers),
        T(test_tokens),
        T(test_kv_and_accounts),
        T(test_protection_keys),
        T(test_landing),
        T(test_transactions),
        T(test_threads),
        T(test_runs),
        T(test_kill),
        T(test_no_space),
        T(test_database_full),
        T(test_damage),
        T(test_damaged_page),
        T(test_foreign_file),
        T(test_upgrade),
        T(test_backup),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
