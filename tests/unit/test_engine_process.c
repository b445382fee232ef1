/* engine: what happens when the child dies, hangs, is cancelled, or has more to do than it may. */
#include "engine_fixture.h"

#include <stdatomic.h>

/* ---- death, cancel, limits ---- */

static const char endless[] = "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range";

struct endless_call {
    struct fixture *f;
    const char *sql, *path;
    enum status status;
    struct err err;
};

static void *run_endless(void *argument) {
    struct endless_call *e = argument;
    if (e->path) {
        ARENA_SCOPE(arena);
        struct engine_copied copied;
        e->status = engine_copy(e->f->engine, arena, &(struct engine_copy){.sql = e->sql, .path = e->path}, &copied, &e->err);
        return NULL;
    }
    struct engine_query query = {.sql = str_of(e->sql), .format = RESULT_JSON};
    struct engine_call *call;
    e->status = engine_query_start(e->f->engine, &query, &call, &e->err);
    if (e->status == OK) {
        engine_call_end(&call);
    }
    return NULL;
}

/* Until the child works on that many statements: each has a thread of its own. */
static void wait_running(struct fixture *f, size_t calls) {
    for (int i = 0; i < 12000; i++) {
        ARENA_SCOPE(arena);
        struct fs_entry *threads;
        size_t n = 0, working = 0;
        fs_real()->list(fs_real()->self, arena, arena_printf(arena, "/proc/%d/task", (int)engine_pid(f->engine)), &threads, &n, NULL);
        for (size_t k = 0; k < n; k++) {
            char name[32] = "";
            FILE *file = fopen(arena_printf(arena, "/proc/%d/task/%s/comm", (int)engine_pid(f->engine), threads[k].name), "r");
            working += file && fgets(name, sizeof name, file) && strcmp(name, "engine-call\n") == 0;
            if (file) {
                fclose(file);
            }
        }
        if (working >= calls) {
            f->host.clock->sleep_us(f->host.clock->self, 500000); /* beyond the moment in which a query is given once more */
            return;
        }
        f->host.clock->sleep_us(f->host.clock->self, 10000);
    }
    fail_msg("%zu statements did not start", calls);
}

static void a_dead_engine_fails_its_calls_and_starts_again(void **state) {
    struct fixture *f = *state;
    struct endless_call calls[] = {{.f = f, .sql = endless}, {.f = f, .sql = "SELECT * FROM range(100000000000)", .path = lake_path(f, "endless.parquet")}};
    struct thread threads[2] = {0};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            calls[i].status = OK;
            thread_start(&threads[i], "endless", run_endless, &calls[i]);
        }
        wait_running(f, 2);
        assert_int_equal(kill(engine_pid(f->engine), SIGKILL), 0);
        for (int i = 0; i < 2; i++) {
            thread_join(&threads[i]);
            assert_int_equal(calls[i].status, E_UNAVAILABLE);
            assert_non_null(strstr(calls[i].err.text, "the engine died: killed by signal 9"));
        }
        assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
    }
    assert_int_equal(engine_stats(f->engine).died, 3);
    assert_int_equal(engine_stats(f->engine).started, 4);
}

static void a_closed_call_stops(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {.sql = STR("SELECT a.range FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range"), .format = RESULT_NDJSON};
    struct engine_call *call;
    char block[65536];
    size_t got;
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    assert_int_equal(engine_call_read(call, block, sizeof block, &got, &f->err), OK);
    engine_call_end(&call);
    double spent = 1;
    for (int i = 0; i < 120 && spent >= 0.1; i++) { /* a second suffices where nothing else is going on */
        double before = engine_stats(f->engine).cpu_seconds;
        f->host.clock->sleep_us(f->host.clock->self, 500000);
        spent = engine_stats(f->engine).cpu_seconds - before;
    }
    assert_true(spent < 0.1); /* it is idle */
    assert_int_equal(engine_stats(f->engine).died, 0);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
}

static void a_query_over_its_time_is_stopped(void **state) {
    struct fixture *f = *state;
    enum status status;
    int64_t start = now_ms(f);
    char *text = ask(f, (struct engine_query){.sql = str_of(endless), .format = RESULT_JSON, .time_ms = 300}, &status);
    assert_int_equal(status, E_TIMEOUT);
    assert_string_equal(text, "the query took longer than its limit of 300 ms");
    assert_true(now_ms(f) - start < 60000);
    assert_int_equal(engine_stats(f->engine).died, 0);
}

/* duckdb_interrupt does not reach everything; a stopped process stands for a loop that does not look. */
static void a_child_that_does_not_react_is_killed(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {.sql = STR("SELECT range FROM range(100000000000)"), .format = RESULT_NDJSON};
    struct engine_call *call;
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    pid_t pid = engine_pid(f->engine);
    f->host.clock->sleep_us(f->host.clock->self, 200000); /* until it waits for its reader */
    assert_int_equal(kill(pid, SIGSTOP), 0);
    f->host.clock->sleep_us(f->host.clock->self, 200000); /* until all its threads have stopped */
    engine_call_end(&call);
    int64_t start = now_ms(f);
    while (engine_pid(f->engine) == pid && now_ms(f) - start < 60000) {
        f->host.clock->sleep_us(f->host.clock->self, 20000);
    }
    assert_int_equal(engine_stats(f->engine).died, 1);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
}

/* The one whose statement it was is told that it took too long, not that something died. */
static void a_query_that_cannot_be_interrupted_is_over_its_time(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {.sql = STR("SELECT range FROM range(100000000000)"), .format = RESULT_NDJSON, .time_ms = 1000};
    struct engine_call *call;
    char block[65536];
    size_t got = 1;
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    assert_int_equal(kill(engine_pid(f->engine), SIGSTOP), 0);
    enum status st = OK;
    while (st == OK && got) {
        st = engine_call_read(call, block, sizeof block, &got, &f->err);
    }
    assert_int_equal(st, E_TIMEOUT);
    assert_non_null(strstr(f->err.text, "within its time limit"));
    engine_call_end(&call);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
}

/* Ctrl-C in a terminal and service managers signal the engine too; the server ends it when it needs it no more. */
static void signals_to_the_group_do_not_end_it(void **state) {
    struct fixture *f = *state;
    ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON);
    pid_t pid = engine_pid(f->engine);
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(kill(pid, SIGHUP), 0);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
    assert_int_equal(engine_pid(f->engine), pid);
}

/* Rows of 10 MB: 2,048 of them make one block of DuckDB; the text goes out piece by piece. */
static void large_rows_do_not_pile_up(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {
        .sql = STR("SELECT array_to_string(list_transform(range(10), lambda i: repeat('x\"', 500000)), '') AS t FROM range(40)"), .format = RESULT_NDJSON};
    struct engine_call *call;
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    static char block[1 << 20];
    size_t got;
    uint64_t all = 0, most = 0;
    while (engine_call_read(call, block, sizeof block, &got, &f->err) == OK && got) {
        all += got;
        uint64_t resident = engine_stats(f->engine).resident_bytes;
        most = resident > most ? resident : most;
    }
    assert_int_equal(engine_call_rows(call), 40);
    assert_int_equal(all, 40u * (15000000u + 9));
    engine_call_end(&call);
    assert_true(most < 700u << 20); /* DuckDB's own 400 MB, and little more */
}

static bool always(void *context) { return true; }

static void a_query_is_cancelled_before_its_first_row(void **state) {
    struct fixture *f = *state;
    enum status status;
    int64_t start = now_ms(f);
    ask(f, (struct engine_query){.sql = str_of(endless), .format = RESULT_JSON, .cancelled = always}, &status);
    assert_int_equal(status, E_CANCELLED);
    assert_true(now_ms(f) - start < 60000);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
}

/* A reader that stops reading is not taken for an engine that stopped answering. */
static void a_slow_reader_harms_nobody(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {.sql = STR("SELECT repeat('x', 1000) AS t FROM range(1000000)"), .format = RESULT_NDJSON};
    struct engine_call *call;
    assert_int_equal(engine_query_start(f->engine, &query, &call, &f->err), OK);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
    f->host.clock->sleep_us(f->host.clock->self, 300000);
    assert_true(engine_stats(f->engine).resident_bytes < 300u << 20); /* a gigabyte of result waits outside */
    static char block[1 << 20];
    size_t got;
    uint64_t all = 0;
    while (engine_call_read(call, block, sizeof block, &got, &f->err) == OK && got) {
        all += got;
    }
    assert_int_equal(engine_call_rows(call), 1000000);
    assert_int_equal(all, 1000000u * 1009u);
    engine_call_end(&call);
}

static void memory_has_a_limit(void **state) {
    struct fixture *f = *state;
    assert_int_equal(fails(f, "SELECT list(repeat(range::VARCHAR, 100)) FROM range(5000000)", "Out of Memory"), E_LIMIT);
    assert_int_equal(engine_stats(f->engine).died, 0);
}

/* What does not fit goes to data/tmp and leaves nothing there. */
static void sorts_larger_than_memory_go_to_disk(void **state) {
    struct fixture *f = *state;
    assert_string_equal(ask_sql(f,
                            "SELECT count(*) AS n, max(length(t)) AS t FROM (SELECT * FROM (SELECT hash(range) AS h, repeat('x', 90) || range AS t FROM "
                            "range(3000000)) ORDER BY h OFFSET 1)",
                            RESULT_NDJSON),
        "{\"n\":2999999,\"t\":97}\n");
    struct fs_entry *left = NULL;
    size_t n = 0;
    fs_real()->list(fs_real()->self, f->arena, arena_printf(f->arena, "%s/tmp/engine", f->data), &left, &n, NULL);
    assert_int_equal(n, 0);
}

static void queries_wait_in_line_for_a_while(void **state) {
    struct fixture *f = *state;
    struct engine_query query = {.sql = STR("SELECT repeat('x', 1000) AS t FROM range(1000000)"), .format = RESULT_NDJSON};
    struct engine_call *calls[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(engine_query_start(f->engine, &query, &calls[i], &f->err), OK);
    }
    assert_int_equal(fails(f, "SELECT 1", "2 queries are running, and it was not this one's turn within 200 ms"), E_BUSY);
    struct buf out = BUF_INIT;
    assert_int_equal(engine_rows(f->engine, NULL, "SELECT 1 AS a", &out, &f->err), OK); /* our own statements have places of their own */
    buf_free(&out);
    engine_call_end(&calls[0]);
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
    engine_call_end(&calls[1]);
}

static int set_up_two(void **state) { return set_up_with(state, (struct engine_options){.queries_max = 2}); }

struct client {
    struct fixture *f;
    int wrong;
};

static void *run_client(void *argument) {
    struct client *c = argument;
    for (int i = 0; i < 20; i++) {
        char sql[128], block[256];
        snprintf(sql, sizeof sql, "SELECT sum(range) AS s FROM range(%d)", 1000 + i);
        struct engine_query query = {.sql = str_of(sql), .format = RESULT_NDJSON};
        struct engine_call *call;
        struct err err;
        size_t got = 0;
        if (engine_query_start(c->f->engine, &query, &call, &err) != OK) {
            c->wrong++;
            continue;
        }
        engine_call_read(call, block, sizeof block - 1, &got, &err);
        block[got] = 0;
        int64_t n = 1000 + i;
        char expected[64];
        snprintf(expected, sizeof expected, "{\"s\":%lld}\n", (long long)(n * (n - 1) / 2));
        c->wrong += strcmp(block, expected) != 0;
        engine_call_end(&call);
    }
    return NULL;
}

static void eight_clients_at_once(void **state) {
    struct fixture *f = *state;
    struct client clients[12];
    struct thread threads[12] = {0};
    for (int i = 0; i < 12; i++) {
        clients[i] = (struct client){.f = f};
        thread_start(&threads[i], "client", run_client, &clients[i]);
    }
    for (int i = 0; i < 12; i++) {
        thread_join(&threads[i]);
        assert_int_equal(clients[i].wrong, 0);
    }
    assert_int_equal(engine_stats(f->engine).died, 0);
}

#define GREEDY 16
#define GREEDY_QUERIES 480

struct greedy {
    struct fixture *f;
    _Atomic int *left;
    int served, refused;
};

/* Asks again at once. */
static void *run_greedy(void *argument) {
    struct greedy *g = argument;
    struct engine_query query = {.sql = STR("SELECT count(*) AS n FROM range(20000) a, range(20) b"), .format = RESULT_NDJSON};
    while (atomic_fetch_sub(g->left, 1) > 0) {
        struct engine_call *call;
        struct err err;
        char block[64];
        size_t got;
        if (engine_query_start(g->f->engine, &query, &call, &err) != OK) {
            g->refused++;
            continue;
        }
        g->served += engine_call_read(call, block, sizeof block, &got, &err) == OK;
        engine_call_end(&call);
    }
    return NULL;
}

/* Whoever was just served goes to the end of the line: with more clients than places, nobody waits longer than the others. */
static void places_go_to_whoever_waits_longest(void **state) {
    struct fixture *f = *state;
    _Atomic int left = GREEDY_QUERIES;
    struct greedy clients[GREEDY];
    struct thread threads[GREEDY] = {0};
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n"); /* the engine is up */
    for (int i = 0; i < GREEDY; i++) {
        clients[i] = (struct greedy){.f = f, .left = &left};
        thread_start(&threads[i], "greedy", run_greedy, &clients[i]);
    }
    for (int i = 0; i < GREEDY; i++) {
        thread_join(&threads[i]);
    }
    for (int i = 0; i < GREEDY; i++) {
        assert_int_equal(clients[i].refused, 0);
        assert_in_range(clients[i].served, GREEDY_QUERIES / GREEDY - 20, GREEDY_QUERIES / GREEDY + 20);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) {
        return engine_main(argc - 1, argv + 1, kinds);
    }
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dead_engine_fails_its_calls_and_starts_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_closed_call_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_query_over_its_time_is_stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_that_does_not_react_is_killed, set_up_impatient, tear_down),
        cmocka_unit_test_setup_teardown(a_query_that_cannot_be_interrupted_is_over_its_time, set_up_impatient, tear_down),
        cmocka_unit_test_setup_teardown(large_rows_do_not_pile_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signals_to_the_group_do_not_end_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_query_is_cancelled_before_its_first_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_reader_harms_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_has_a_limit, set_up_small, tear_down),
        cmocka_unit_test_setup_teardown(sorts_larger_than_memory_go_to_disk, set_up_small, tear_down),
        cmocka_unit_test_setup_teardown(queries_wait_in_line_for_a_while, set_up_small, tear_down),
        cmocka_unit_test_setup_teardown(places_go_to_whoever_waits_longest, set_up_two, tear_down),
        cmocka_unit_test_setup_teardown(eight_clients_at_once, set_up_eight, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
