/* engine: work sessions and the warehouse file, with a real child process: transactions, deltas, deaths, damage. */
#include "engine_fixture.h"

#include <sys/mount.h>

static struct engine_work *begin(struct fixture *f, const struct engine_view *view, const struct engine_work_table *tables, size_t n) {
    struct engine_work *work;
    if (engine_work_begin(f->engine, view, tables, n, 0, &work, &f->err) != OK) {
        fail_msg("%s", f->err.text);
    }
    return work;
}

/* The rows of the last statement, or the error's text. */
static char *try_work(struct fixture *f, struct engine_work *work, const char *sql, enum status *status) {
    struct buf out = BUF_INIT;
    *status = engine_work_run(work, sql, &out, NULL, &f->err);
    char *text = arena_strdup(f->arena, *status == OK ? buf_cstr(&out) : f->err.text);
    buf_free(&out);
    return text;
}

static char *do_work(struct fixture *f, struct engine_work *work, const char *sql) {
    enum status status;
    char *text = try_work(f, work, sql, &status);
    if (status != OK) {
        fail_msg("%s: %s", sql, text);
    }
    return text;
}

static char *one(struct fixture *f, const char *sql) {
    struct engine_work *work = begin(f, NULL, NULL, 0);
    char *text = do_work(f, work, sql);
    engine_work_end(&work);
    return text;
}

static char *warehouse_path(struct fixture *f) { return arena_printf(f->arena, "%s/warehouse.duckdb", f->data); }

/* ---- sessions ---- */

static void a_run_is_one_transaction(void **state) {
    struct fixture *f = *state;
    struct engine_work *work = begin(f, NULL, NULL, 0), *other = begin(f, NULL, NULL, 0);
    uint64_t changed;
    assert_int_equal(
        engine_work_run(work, "CREATE SCHEMA IF NOT EXISTS warehouse.silver; CREATE TABLE warehouse.silver.t(a BIGINT, _version BIGINT)", NULL, NULL, &f->err),
        OK);
    do_work(f, work, "CREATE TEMP TABLE batch AS SELECT range AS a FROM range(5000)");
    do_work(f, work, "CREATE SCHEMA ref; CREATE VIEW ref.shops AS SELECT 1 AS shop");
    do_work(f, work, "BEGIN");
    assert_int_equal(engine_work_run(work,
                         "INSERT INTO warehouse.silver.t SELECT a, 1 FROM batch; DELETE FROM warehouse.silver.t WHERE a < 10; INSERT INTO batch VALUES (-1)",
                         NULL, &changed, &f->err),
        OK);
    assert_int_equal(changed, 5000 + 10 + 1);
    assert_string_equal(do_work(f, other, "SELECT count(*) AS n FROM warehouse.silver.t"), "[{\"n\":0}]\n");
    assert_string_equal(
        do_work(f, work, "COMMIT; SELECT count(*) AS n, (SELECT shop FROM ref.shops) AS s FROM warehouse.silver.t"), "[{\"n\":4990,\"s\":1}]\n");
    assert_string_equal(do_work(f, other, "SELECT count(*) AS n FROM warehouse.silver.t"), "[{\"n\":4990}]\n");
    do_work(f, work, "BEGIN; DELETE FROM warehouse.silver.t");
    engine_work_end(&work); /* rolls back */
    assert_string_equal(do_work(f, other, "SELECT count(*) AS n FROM warehouse.silver.t"), "[{\"n\":4990}]\n");
    engine_work_end(&other);
    for (int i = 0; i < 4; i++) { /* whichever place it gets: nothing of the one before is there */
        work = begin(f, NULL, NULL, 0);
        assert_string_equal(
            do_work(f, work, "SELECT count(*) AS n FROM duckdb_tables() WHERE temporary OR database_name = current_database()"), "[{\"n\":0}]\n");
        assert_string_equal(
            do_work(f, work, "SELECT count(*) AS n FROM duckdb_views() WHERE view_name = 'shops' AND database_name = current_database()"), "[{\"n\":0}]\n");
        do_work(f, work, "CREATE TEMP TABLE batch AS SELECT 1 AS a; CREATE TABLE other AS SELECT 1 AS b; SET TimeZone = 'Europe/Istanbul'");
        assert_string_equal(do_work(f, work, "SELECT current_setting('TimeZone') AS z"), "[{\"z\":\"Europe/Istanbul\"}]\n");
        engine_work_end(&work);
    }
    assert_string_equal(one(f, "SELECT current_setting('TimeZone') AS z"), "[{\"z\":\"UTC\"}]\n");
}

static void errors_leave_the_session_usable(void **state) {
    struct fixture *f = *state;
    struct engine_work *work = begin(f, NULL, NULL, 0);
    enum status status;
    assert_non_null(strstr(try_work(f, work, "SELECT 1;\nSELEC 2", &status), "LINE"));
    assert_int_equal(status, E_INVALID);
    assert_non_null(strstr(try_work(f, work, "SELECT nope FROM range(3)", &status), "nope"));
    assert_int_equal(status, E_INVALID);
    try_work(f, work, "-- nothing", &status);
    assert_int_equal(status, E_INVALID);
    try_work(f, work, "SELECT * FROM read_text('/etc/hostname')", &status);
    assert_int_equal(status, E_DENIED);
    try_work(f, work, "SET threads = 9", &status);
    assert_int_equal(status, E_INVALID);
    do_work(f, work, "CREATE TABLE warehouse.cupel.t(a BIGINT)");
    try_work(f, work, "BEGIN; INSERT INTO warehouse.cupel.t SELECT 1; SELECT error('boom')", &status);
    assert_int_equal(status, E_INVALID);
    try_work(f, work, "COMMIT", &status); /* refused, or nothing left to commit */
    try_work(f, work, "ROLLBACK", &status);
    assert_string_equal(do_work(f, work, "SELECT count(*) AS n FROM warehouse.cupel.t"), "[{\"n\":0}]\n");
    assert_string_equal(
        do_work(f, work, "SELECT range AS r, 'x' || range AS t FROM range(3) WHERE range <> 1"), "[{\"r\":0,\"t\":\"x0\"},\n{\"r\":2,\"t\":\"x2\"}]\n");
    engine_work_end(&work);
    const struct engine_work_table none = {.schema = "bronze", .name = "nothing"};
    assert_int_equal(engine_work_begin(f->engine, NULL, &none, 1, 0, &work, &f->err), E_NOT_FOUND);
}

static void two_writers_of_one_row_are_a_conflict(void **state) {
    struct fixture *f = *state;
    struct engine_work *a = begin(f, NULL, NULL, 0), *b = begin(f, NULL, NULL, 0);
    enum status status;
    do_work(f, a, "CREATE TABLE warehouse.cupel.t AS SELECT 1 AS a");
    do_work(f, a, "BEGIN; UPDATE warehouse.cupel.t SET a = 2");
    do_work(f, b, "BEGIN");
    try_work(f, b, "UPDATE warehouse.cupel.t SET a = 3", &status);
    assert_int_equal(status, E_CONFLICT);
    try_work(f, b, "ROLLBACK", &status);
    do_work(f, a, "COMMIT");
    assert_string_equal(do_work(f, b, "SELECT a FROM warehouse.cupel.t"), "[{\"a\":2}]\n");
    engine_work_end(&a);
    engine_work_end(&b);
}

/* ---- cancel, limits ---- */

static const char endless[] = "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range";

struct cancel {
    struct fixture *f;
    struct engine_work *work;
    bool first, second;
};

static void *cancel_soon(void *argument) {
    struct cancel *c = argument;
    c->f->host.clock->sleep_us(c->f->host.clock->self, 300000);
    c->first = engine_work_cancel(c->work);
    c->second = engine_work_cancel(c->work);
    return NULL;
}

static void cancelled_from_another_thread(void **state) {
    struct fixture *f = *state;
    struct cancel c = {.f = f, .work = begin(f, NULL, NULL, 0)};
    struct thread thread = {0};
    enum status status;
    thread_start(&thread, "cancel", cancel_soon, &c);
    int64_t started = now_ms(f);
    try_work(f, c.work, endless, &status);
    thread_join(&thread);
    assert_int_equal(status, E_CANCELLED);
    assert_true(now_ms(f) - started < 60000);
    assert_true(c.first && !c.second);
    try_work(f, c.work, "SELECT 1", &status);
    assert_int_equal(status, E_CANCELLED);
    engine_work_end(&c.work);
    assert_string_equal(one(f, "SELECT 1 AS a"), "[{\"a\":1}]\n");
}

static void a_limit_is_of_one_run(void **state) {
    struct fixture *f = *state;
    struct engine_work *work;
    enum status status;
    assert_int_equal(engine_work_begin(f->engine, NULL, NULL, 0, 3000, &work, &f->err), OK);
    do_work(f, work, "BEGIN; CREATE TABLE warehouse.cupel.t(a BIGINT)");
    f->host.clock->sleep_us(f->host.clock->self, 3100000);
    do_work(f, work, "SELECT 1");
    try_work(f, work, endless, &status);
    assert_int_equal(status, E_TIMEOUT);
    try_work(f, work, "ROLLBACK", &status);
    assert_int_equal(status, OK);
    assert_string_equal(do_work(f, work, "SELECT 1 AS a"), "[{\"a\":1}]\n");
    engine_work_end(&work);
}

/* ---- death ---- */

static void what_was_committed_outlives_a_kill(void **state) {
    struct fixture *f = *state;
    one(f, "CREATE TABLE warehouse.cupel.t(a BIGINT)");
    for (int round = 0; round < 3; round++) {
        struct engine_work *work = begin(f, NULL, NULL, 0);
        enum status status;
        do_work(f, work, "BEGIN; INSERT INTO warehouse.cupel.t SELECT range FROM range(1000); COMMIT");
        do_work(f, work, "BEGIN; INSERT INTO warehouse.cupel.t SELECT range FROM range(77)");
        kill(engine_pid(f->engine), SIGKILL);
        try_work(f, work, "COMMIT", &status);
        assert_int_equal(status, E_UNAVAILABLE);
        try_work(f, work, "SELECT 1", &status);
        assert_int_equal(status, E_UNAVAILABLE);
        engine_work_end(&work);
        assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), arena_printf(f->arena, "[{\"n\":%d}]\n", (round + 1) * 1000));
    }
    one(f, "CHECKPOINT warehouse");
    one(f, "INSERT INTO warehouse.cupel.t VALUES (1)");
    engine_free(&f->engine);
    start_engine(f, (struct engine_options){0});
    assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), "[{\"n\":3001}]\n");
}

/* A clean end leaves nothing to be replayed. */
static void a_clean_end_folds_the_wal_in(void **state) {
    struct fixture *f = *state;
    struct fs_stat stat;
    char *wal = arena_printf(f->arena, "%s.wal", warehouse_path(f));
    one(f, "CREATE TABLE warehouse.cupel.t AS SELECT range AS a, md5(range::VARCHAR) AS s FROM range(100000)");
    assert_int_equal(f->host.fs->stat(f->host.fs->self, wal, &stat, &f->err), OK);
    assert_true(stat.size_bytes > 1 << 20);
    engine_free(&f->engine);
    assert_false(fs_exists(f->host.fs, wal));
    start_engine(f, (struct engine_options){0});
    assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), "[{\"n\":100000}]\n");
    engine_free(&f->engine);
    start_engine(f, (struct engine_options){.stuck_ms = 300});
    one(f, "INSERT INTO warehouse.cupel.t SELECT range, md5(range::VARCHAR) FROM range(100000)");
    kill(engine_pid(f->engine), SIGSTOP); /* one that does not answer is not waited for long */
    engine_free(&f->engine);
    start_engine(f, (struct engine_options){0});
    assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), "[{\"n\":200000}]\n");
}

static void overwrite(struct fixture *f, const char *path, uint64_t at, struct str bytes) {
    int file;
    assert_int_equal(f->host.fs->open(f->host.fs->self, path, FS_WRITE, &file, &f->err), OK);
    assert_int_equal(f->host.fs->pwrite(f->host.fs->self, file, bytes.p, bytes.n, at, &f->err), OK);
    f->host.fs->close(f->host.fs->self, file);
}

/* The engine goes on without its warehouse, and says why. */
static void warehouse_is_refused(struct fixture *f, enum status status, const char *with) {
    engine_free(&f->engine);
    start_engine(f, (struct engine_options){0});
    struct engine_work *work;
    assert_int_equal(engine_work_begin(f->engine, NULL, NULL, 0, 0, &work, &f->err), status);
    if (!strstr(f->err.text, with) || !strstr(f->err.text, "warehouse.duckdb")) {
        fail_msg("%s", f->err.text);
    }
    assert_string_equal(ask_sql(f, "SELECT 1 AS a", RESULT_NDJSON), "{\"a\":1}\n");
}

static void a_damaged_warehouse_is_told(void **state) {
    struct fixture *f = *state;
    one(f, "CREATE TABLE warehouse.cupel.t AS SELECT range AS a FROM range(100000); CHECKPOINT warehouse");
    engine_free(&f->engine);
    overwrite(f, warehouse_path(f), 0, STR("this is no database, and never was one; more text to fill a header"));
    warehouse_is_refused(f, E_CORRUPT, "cannot be opened");
}

static void a_newer_warehouse_is_told(void **state) {
    struct fixture *f = *state;
    one(f, "UPDATE warehouse.cupel.format SET version = 2; CHECKPOINT warehouse");
    warehouse_is_refused(f, E_UNSUPPORTED, "its format is 2");
    engine_free(&f->engine);
    overwrite(f, warehouse_path(f), 12, str_make("\xff\0\0\0\0\0\0\0", 8)); /* DuckDB's storage version, behind checksum and magic */
    warehouse_is_refused(f, E_CORRUPT, "cannot be opened");
}

/* A process that was killed while it made the file leaves only one under another name. */
static void a_warehouse_half_made_is_made_anew(void **state) {
    struct fixture *f = *state;
    assert_int_equal(fs_write_atomic(f->host.fs, arena_printf(f->arena, "%s.new", warehouse_path(f)), STR("half"), &f->err), OK);
    assert_int_equal(fs_write_atomic(f->host.fs, arena_printf(f->arena, "%s.new.wal", warehouse_path(f)), STR("half"), &f->err), OK);
    assert_string_equal(one(f, "SELECT version FROM warehouse.cupel.format"), "[{\"version\":1}]\n");
    assert_false(fs_exists(f->host.fs, arena_printf(f->arena, "%s.new", warehouse_path(f))));
}

/* The disk is full when the rows are inserted (large batches go to the file early), or when the WAL is written. */
static void a_full_disk_undoes_the_commit(void **state) {
    struct fixture *f = *state;
    engine_free(&f->engine);
    if (mount("none", f->data, "tmpfs", 0, "size=24m") != 0) {
        start_engine(f, (struct engine_options){0});
        skip();
    }
    start_engine(f, (struct engine_options){0});
    one(f, "CREATE TABLE warehouse.cupel.t(a BIGINT, s VARCHAR); INSERT INTO warehouse.cupel.t SELECT range, 'x' FROM range(1000)");
    const char *rows = "SELECT range, sha256(range::VARCHAR) || md5(range::VARCHAR)";
    char *filler_path = arena_printf(f->arena, "%s/filler", f->data);
    uint64_t left;
    assert_int_equal(f->host.fs->free_bytes(f->host.fs->self, f->data, &left, &f->err), OK);
    char *filler = mem_zalloc(left - (2 << 20));
    assert_int_equal(fs_write_atomic(f->host.fs, filler_path, str_make(filler, left - (2 << 20)), &f->err), OK);
    free(filler);
    for (int round = 0; round < 2; round++) {
        enum status status = OK;
        struct engine_work *work = begin(f, NULL, NULL, 0);
        char *sql = arena_printf(f->arena, "BEGIN; INSERT INTO warehouse.cupel.t %s FROM range(%d)", rows, round ? 1500000 : 60000), *text;
        text = try_work(f, work, sql, &status);
        assert_int_equal(status, round ? E_NO_SPACE : OK);
        text = status == OK ? try_work(f, work, "COMMIT", &status) : text;
        if (status != E_NO_SPACE && status != E_UNAVAILABLE) {
            fail_msg("%s: %s", status_name(status), text);
        }
        engine_work_end(&work);
        assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), arena_printf(f->arena, "[{\"n\":%d}]\n", 1000 + round));
        one(f, "INSERT INTO warehouse.cupel.t VALUES (-1, 'y')"); /* there is space for little ones */
        engine_free(&f->engine);
        f->host.fs->unlink(f->host.fs->self, filler_path, NULL);
        start_engine(f, (struct engine_options){0});
        assert_string_equal(one(f, "SELECT count(*) AS n FROM warehouse.cupel.t"), arena_printf(f->arena, "[{\"n\":%d}]\n", 1001 + round));
    }
    engine_free(&f->engine);
    assert_int_equal(umount(f->data), 0);
    assert_int_equal(fs_mkdirs(f->host.fs, arena_printf(f->arena, "%s/lake", f->data), &f->err), OK);
    start_engine(f, (struct engine_options){0});
}

/* ---- what a session sees of the lake ---- */

static void append_some(struct fixture *f, struct stream_log *log, int from, int n) {
    for (int at = from; at < from + n; at += 100) {
        struct stream_record records[100];
        struct event_id ids[100];
        for (int i = 0; i < 100; i++) {
            records[i] = (struct stream_record){.payload = str_of(arena_printf(f->arena, "%d", at + i)),
                .key = str_of(arena_printf(f->arena, "k%d", i % 10)),
                .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID};
        }
        append(log, records, 100, ids);
    }
}

/* Offsets and the newest time, as a model keeps them. */
static void position_of(struct fixture *f, const struct engine_view *view, uint64_t offsets[2], int64_t *received_us) {
    struct buf out = BUF_INIT;
    assert_int_equal(
        engine_rows(f->engine, view,
            "SELECT max(_offset) FILTER (_partition = 0) + 1 AS a, max(_offset) FILTER (_partition = 1) + 1 AS b, epoch_us(max(_received_at)) AS t "
            "FROM bronze.orders",
            &out, &f->err),
        OK);
    unsigned long long a, b, t;
    assert_int_equal(sscanf(buf_cstr(&out), "[{\"a\":%llu,\"b\":%llu,\"t\":%llu}]", &a, &b, &t), 3);
    offsets[0] = a;
    offsets[1] = b;
    *received_us = (int64_t)t;
    buf_free(&out);
}

static void a_delta_is_what_is_new(void **state) {
    struct fixture *f = *state;
    struct stream_log *log = open_log(f);
    append_some(f, log, 0, 1000);
    struct engine_table table;
    struct engine_view view = pin(f, log, &table);
    uint64_t old[2], at[2];
    int64_t old_us, at_us;
    position_of(f, &view, old, &old_us);
    f->host.clock->sleep_us(f->host.clock->self, 20000);
    append_some(f, log, 1000, 500);
    view = pin(f, log, &table);
    struct engine_work_table delta = {.schema = "bronze", .name = "orders", .delta = true, .offsets = old, .offsets_n = 2, .received_us = old_us};
    struct engine_work *work = begin(f, &view, &delta, 1);
    const char *question = "SELECT count(*) AS n, min(payload::INTEGER) AS a, max(payload::INTEGER) AS b, count(DISTINCT _event_id) AS d FROM bronze.orders";
    assert_string_equal(do_work(f, work, question), "[{\"n\":500,\"a\":1000,\"b\":1499,\"d\":500}]\n");
    engine_work_end(&work);
    /* the same with everything in a file, and with the file ending in the middle of the delta */
    position_of(f, &view, at, &at_us);
    const uint64_t middle[2] = {old[0] + 100, old[1]};
    for (int round = 0; round < 2; round++) {
        const uint64_t *end = round ? middle : at;
        char *path = lake_path(f, round ? "middle.parquet" : "all.parquet");
        char *sql = arena_printf(f->arena,
            "SELECT * FROM cupel_log_range('{\"stream\":5,\"name\":\"orders\",\"from\":%llu,\"to\":%llu,\"start\":[0,0],\"end\":[%llu,%llu]}')",
            (unsigned long long)table.log_from, (unsigned long long)view.durable, (unsigned long long)end[0], (unsigned long long)end[1]);
        copy(f, (struct engine_copy){.sql = sql, .path = path, .columns = bronze_columns, .columns_n = 12, .view = &view});
        struct engine_file_bounds bounds = {.received_known = true, .partition_known = true, .offset_known = true};
        bounds.partition[1] = 1;
        bounds.received_us[1] = at_us;
        bounds.offset[1] = INT64_C(1) << 40;
        struct engine_table landed = table;
        landed.version = 7 + (uint64_t)round;
        landed.files = (const char *const *)&path;
        landed.files_n = 1;
        landed.bounds = &bounds;
        landed.log_offsets = end;
        landed.log_offsets_n = 2;
        struct engine_view both = view;
        both.tables = &landed;
        work = begin(f, &both, &delta, 1);
        assert_string_equal(do_work(f, work, question), "[{\"n\":500,\"a\":1000,\"b\":1499,\"d\":500}]\n");
        engine_work_end(&work);
        struct engine_work_table all = {.schema = "bronze", .name = "orders"};
        work = begin(f, &both, &all, 1);
        assert_string_equal(do_work(f, work, question), "[{\"n\":1500,\"a\":0,\"b\":1499,\"d\":1500}]\n");
        engine_work_end(&work);
        struct engine_work_table wave = {.schema = "bronze", .name = "orders", .delta = true, .offsets = old, .offsets_n = 2, .ends = middle, .ends_n = 2};
        work = begin(f, &both, &wave, 1); /* ranges of offsets, for rebuilds in waves */
        assert_string_equal(do_work(f, work, "SELECT count(*) AS n, min(_partition) AS p FROM bronze.orders"), "[{\"n\":100,\"p\":0}]\n");
        engine_work_end(&work);
        bounds.received_us[1] = old_us - 1; /* a file that ends before the delta is not read: it need not even be there */
        const char *gone = lake_path(f, "gone.parquet");
        landed.files = &gone;
        landed.log_offsets_n = 0;
        work = begin(f, &both, &delta, 1);
        assert_string_equal(do_work(f, work, question), "[{\"n\":500,\"a\":1000,\"b\":1499,\"d\":500}]\n");
        engine_work_end(&work);
        bounds.received_us[1] = at_us;
        bounds.offset[1] = 3; /* nor one whose offsets are all below */
        work = begin(f, &both, &delta, 1);
        assert_string_equal(do_work(f, work, "SELECT count(*) AS n FROM bronze.orders"), "[{\"n\":500}]\n");
        engine_work_end(&work);
    }
    stream_log_close(&log);
}

static void landed_rows_go_by_their_ids(void **state) {
    struct fixture *f = *state;
    const struct engine_column columns[] = {{.name = "_event_id", .type = "UUID", .field_id = 1},
        {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE", .field_id = 2}, {.name = "v", .type = "VARCHAR", .field_id = 3}};
    const char *path = lake_path(f, "landed.parquet");
    copy(f,
        (struct engine_copy){.sql = "SELECT cupel_event_id(1700000000000 + range, 9, 0, range), cupel_event_time(cupel_event_id(1700000000000 + range, 9, 0, "
                                    "range)), range::VARCHAR FROM range(1000)",
            .path = path,
            .columns = columns,
            .columns_n = 3});
    struct engine_table table = {.schema = "bronze", .name = "pos", .version = 1, .columns = columns, .columns_n = 3, .files = &path, .files_n = 1};
    struct engine_view view = {.tables = &table, .tables_n = 1};
    const uint64_t from = 400;
    struct engine_work_table delta = {
        .schema = "bronze", .name = "pos", .delta = true, .offsets = &from, .offsets_n = 1, .received_us = INT64_C(1700000000300000), .before = 900};
    struct engine_work *work = begin(f, &view, &delta, 1);
    assert_string_equal(
        do_work(f, work, "SELECT count(*) AS n, min(v::INTEGER) AS a, max(v::INTEGER) AS b FROM bronze.pos"), "[{\"n\":500,\"a\":400,\"b\":899}]\n");
    engine_work_end(&work);
    struct engine_work_table whole = {.schema = "bronze", .name = "pos", .before = 900};
    work = begin(f, &view, &whole, 1);
    assert_string_equal(do_work(f, work, "SELECT count(*) AS n, max(cupel_event_offset(_event_id)) AS b FROM bronze.pos"), "[{\"n\":900,\"b\":899}]\n");
    engine_work_end(&work);
}

/* ---- what queries see of the warehouse ---- */

static const char some_models[] =
    "CREATE SCHEMA warehouse.silver; CREATE TABLE warehouse.silver.orders AS SELECT range AS id, range * 2 AS n, 'x' AS state, 1::BIGINT AS _version FROM "
    "range(10);"
    "CREATE TABLE warehouse.silver.orders__next AS SELECT 1 AS a; CREATE TABLE warehouse.quarantine.silver__orders AS SELECT 1 AS _reason;"
    "COMMENT ON COLUMN warehouse.silver.orders.n IS 'twice the id';"
    "INSERT INTO warehouse.cupel.models VALUES ('silver.orders', 'stream', 'f', 'SELECT 1', "
    "'[{\"name\":\"id\",\"type\":\"BIGINT\",\"comment\":\"the id\"},{\"name\":\"state\",\"hidden\":true}]', now()),"
    "('gold.late', 'view', 'f', 'SELECT count(*) AS n FROM gold.sums -- all', '[{\"name\":\"n\",\"type\":\"BIGINT\"}]', now()),"
    "('gold.sums', 'view', 'f', 'SELECT sum(n) AS n, parse_integer(''7'') AS seven FROM silver.orders', '[]', now())";

static void queries_see_tables_and_views(void **state) {
    struct fixture *f = *state;
    assert_int_equal(fails(f, "SELECT * FROM silver.orders", "There is no table silver.orders"), E_INVALID);
    one(f, some_models);
    assert_string_equal(ask_sql(f, "SELECT * FROM silver.orders ORDER BY id LIMIT 1", RESULT_NDJSON), "{\"id\":0,\"n\":0}\n");
    assert_string_equal(ask_sql(f, "SELECT * FROM gold.late", RESULT_NDJSON), "{\"n\":1}\n");
    assert_string_equal(ask_sql(f, "SELECT n, seven FROM gold.sums", RESULT_NDJSON), "{\"n\":90,\"seven\":7}\n");
    char *tables = ask_sql(f, "SHOW TABLES", RESULT_CSV);
    assert_non_null(strstr(tables, "gold,late,\"[\"\"n\"\"]\"\n"));
    assert_non_null(strstr(tables, "quarantine,silver__orders,\"[\"\"_reason\"\"]\"\nsilver,orders,\"[\"\"id\"\",\"\"n\"\"]\"\n"));
    assert_null(strstr(tables, "__next"));
    assert_string_equal(
        ask_sql(f, "DESCRIBE silver.orders", RESULT_CSV), "column_name,column_type,null,key,default,extra\nid,BIGINT,YES,,,\nn,BIGINT,YES,,,\n");
    assert_string_equal(ask_sql(f, "SELECT count(*) AS n FROM cupel.models", RESULT_NDJSON), "{\"n\":3}\n");
    assert_int_equal(fails(f, "SELECT _version FROM silver.orders", "_version"), E_INVALID);
    assert_int_equal(fails(f, "SELECT * FROM silver.order", "Did you mean silver.orders?"), E_INVALID);
    const char *const closed[] = {"SELECT * FROM warehouse.silver.orders", "SELECT * FROM silver.orders__next", "SELECT * FROM cupel.positions",
        "SELECT * FROM cupel_old.x", "SELECT * FROM macros.main.x", "INSERT INTO silver.orders VALUES (1, 2)"};
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        enum status status;
        ask(f, (struct engine_query){.sql = str_of(closed[i]), .format = RESULT_NDJSON}, &status);
        assert_int_not_equal(status, OK);
    }
    one(f, "DELETE FROM warehouse.silver.orders WHERE id > 7");
    struct buf out = BUF_INIT;
    assert_int_equal(engine_tables(f->engine, &out, &f->err), OK);
    assert_non_null(strstr(buf_cstr(&out),
        "{\"schema\":\"silver\",\"name\":\"orders\",\"kind\":\"table\",\"columns\":[{\"name\":\"id\",\"type\":\"BIGINT\",\"comment\":"
        "\"the id\"},{\"name\":\"n\",\"type\":\"BIGINT\",\"comment\":\"twice the id\"}],\"rows\":8}"));
    assert_non_null(strstr(buf_cstr(&out),
        "{\"schema\":\"gold\",\"name\":\"late\",\"kind\":\"view\",\"columns\":[{\"name\":\"n\",\"type\":\"BIGINT\",\"comment\":null}],\"rows\":null}"));
    assert_null(strstr(buf_cstr(&out), "__next"));
    buf_free(&out);
}

/* A table is swapped for one with other columns; the next query sees it, and what stands on it. */
static void a_swapped_table_is_seen_at_once(void **state) {
    struct fixture *f = *state;
    one(f, some_models);
    assert_string_equal(ask_sql(f, "SELECT * FROM gold.late", RESULT_NDJSON), "{\"n\":1}\n");
    struct engine_work *work = begin(f, NULL, NULL, 0);
    for (int round = 0; round < 5; round++) {
        do_work(f, work,
            arena_printf(f->arena, "CREATE OR REPLACE TABLE warehouse.silver.orders__next AS SELECT %d::%s AS n, 'y' AS c%d, 1::BIGINT AS _version", round,
                round % 2 ? "DECIMAL(9,2)" : "BIGINT", round));
        do_work(f, work, "BEGIN; DROP TABLE warehouse.silver.orders; ALTER TABLE warehouse.silver.orders__next RENAME TO orders");
        assert_non_null(strstr(ask_sql(f, "SELECT * FROM silver.orders", RESULT_NDJSON), round ? arena_printf(f->arena, "\"c%d\"", round - 1) : "\"id\""));
        do_work(f, work, "COMMIT");
        assert_string_equal(ask_sql(f, "SELECT * FROM silver.orders", RESULT_NDJSON),
            arena_printf(f->arena, round % 2 ? "{\"n\":%d.00,\"c%d\":\"y\"}\n" : "{\"n\":%d,\"c%d\":\"y\"}\n", round, round));
        assert_non_null(strstr(ask_sql(f, "SELECT n FROM gold.sums", RESULT_NDJSON), arena_printf(f->arena, "{\"n\":%d", round)));
    }
    engine_work_end(&work);
}

static void the_warehouse_wins_over_its_copy(void **state) {
    struct fixture *f = *state;
    one(f, some_models);
    const struct engine_column columns[] = {{.name = "id", .type = "BIGINT", .field_id = 1}};
    struct engine_table table = {.schema = "silver", .name = "orders", .version = 1, .columns = columns, .columns_n = 1};
    struct engine_view view = {.tables = &table, .tables_n = 1};
    enum status status;
    struct engine_query query = {.sql = STR("SELECT count(*) AS n FROM silver.orders"), .format = RESULT_NDJSON, .view = &view};
    assert_string_equal(ask(f, query, &status), "{\"n\":10}\n");
    one(f, "DROP TABLE warehouse.silver.orders");
    assert_string_equal(ask(f, query, &status), "{\"n\":0}\n");
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) {
        return engine_main(argc - 1, argv + 1, kinds);
    }
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_is_one_transaction, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_leave_the_session_usable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_writers_of_one_row_are_a_conflict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_from_another_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_limit_is_of_one_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_committed_outlives_a_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clean_end_folds_the_wal_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_warehouse_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newer_warehouse_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_warehouse_half_made_is_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_undoes_the_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_delta_is_what_is_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(landed_rows_go_by_their_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queries_see_tables_and_views, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_swapped_table_is_seen_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_warehouse_wins_over_its_copy, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
