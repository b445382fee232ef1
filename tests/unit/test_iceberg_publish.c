/* The publish step: whatever fails and whenever the power goes, a table shows its old or its new state, and never names bytes that were not synced. */
#include "lake_fixture.h"

static int setup(void **state) {
    struct fixture *f = fixture_new();
    *state = f;
    fixture_open(f);
    return 0;
}

static int teardown(void **state) {
    fixture_free(*state);
    return 0;
}

static void check_sound(struct fixture *f) {
    BUF_SCOPE(report);
    uint64_t problems = 99;
    ok(lake_verify(f->lake, &report, &problems, &f->err));
    if (problems) fail_msg("%s", buf_cstr(&report));
}

static void appends_add_up(void **state) {
    struct fixture *f = *state;
    for (int i = 1; i <= 5; i++) {
        char at[16];
        snprintf(at, sizeof(at), "%d", i * 20);
        ok(append_rows(f, "t", 2, 500000 + i, 10, at));
        assert_int_equal(rows_of(f, "bronze", "t"), i * 20);
    }
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(v->files_n, 10);
    assert_int_equal(table_position(v, 7, 0), 100);
    assert_int_equal(table_positions_n(v, 7), 1);
    const json_t *summary = json_object_get(ice_current_snapshot(v->metadata), "summary");
    assert_string_equal(ice_text(summary, POSITION_PREFIX "7.0"), "100"); /* for people */
    assert_string_equal(ice_text(summary, "total-records"), "100");
    assert_string_equal(ice_text(summary, "added-data-files"), "2");
    assert_non_null(strstr(v->files[0], "/data/_received_at_hour=2027-01-15-09/")); /* oldest first */
    table_unref(&v);
    check_sound(f);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(rows_of(f, "bronze", "t"), 100);
    check_sound(f);
}

/* ---- faults at every call ---- */

static enum status two_tables(struct fixture *f, commit_also also) {
    ARENA_SCOPE(arena);
    static const struct engine_column columns[] = {{.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"}, {.name = "extra", .type = "VARCHAR[]"}};
    struct lake_file a[2] = {fake_file(f, arena, 500010, 30), fake_file(f, arena, 500011, 31)}, b = fake_file(f, arena, 500010, 5);
    const char *const properties[] = {POSITION_PREFIX "7.0", "81", NULL};
    struct lake_append appends[2] = {
        {.schema = "bronze", .name = "t", .columns = columns, .columns_n = 2, .files = a, .files_n = 2, .properties = properties},
        {.schema = "quarantine", .name = "made_now", .columns = columns, .columns_n = 2, .files = &b, .files_n = 1},
    };
    return lake_commit(f->lake, appends, 2, also, f, &f->err);
}

static enum status put_mark(void *context, struct ledger *ledger, struct err *err) { return ledger_kv_put(ledger, "test", "mark", STR("done"), err); }

static bool has_mark(struct fixture *f) {
    ARENA_SCOPE(arena);
    struct str value;
    return ledger_kv_get(f->ledger, arena, "test", "mark", &value, NULL) == OK;
}

static bool has_table(struct fixture *f, const char *schema, const char *name) {
    struct table_version *v = NULL;
    enum status s = table_get(f->lake, schema, name, &v, &f->err);
    table_unref(&v);
    assert_true(s == OK || s == E_NOT_FOUND);
    return s == OK;
}

/* All of the commit or nothing: rows, the second table, the position, and what ran inside the transaction. Returns whether it is there. */
static bool check_all_or_nothing(struct fixture *f) {
    uint64_t rows = rows_of(f, "bronze", "t");
    bool there = rows == 81;
    if (!there) assert_int_equal(rows, 20);
    assert_int_equal(has_table(f, "quarantine", "made_now"), there);
    if (there) assert_int_equal(rows_of(f, "quarantine", "made_now"), 5);
    assert_int_equal(has_mark(f), there);
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(table_position(v, 7, 0), there ? 81 : 20);
    assert_int_equal(v->columns_n, there ? 4 : 3);
    table_unref(&v);
    check_sound(f);
    return there;
}

/* The k-th call fails and all after it; then the power goes. */
static void power_cut_at_every_call(void **state) {
    long failures = 0;
    for (long k = 1;; k++) {
        struct fixture *f = fixture_new();
        fixture_open(f);
        ok(append_rows(f, "t", 2, 500000, 10, "20"));
        f->disk.fail_at = f->disk.calls + k;
        enum status s = two_tables(f, put_mark);
        bool failed = test_disk_failed(&f->disk);
        if (!failed) ok(s);
        lake_close(&f->lake); /* the process is gone: nothing of its memory counts */
        ledger_close(&f->ledger);
        test_disk_power_cut(&f->disk);
        fixture_open(f);
        bool there = check_all_or_nothing(f);
        if (s == OK) assert_true(there);
        if (!there) { /* and it can be done again */
            ok(two_tables(f, put_mark));
            assert_true(check_all_or_nothing(f));
        }
        fixture_free(f);
        if (!failed) break;
        failures += s != OK;
    }
    assert_true(failures > 20); /* the loop did meet the disk */
}

/* Only the k-th call fails; the process goes on and does it again. */
static void one_failure_at_every_call(void **state) {
    for (long k = 1;; k++) {
        struct fixture *f = fixture_new();
        fixture_open(f);
        ok(append_rows(f, "t", 2, 500000, 10, "20"));
        f->disk.only_once = true;
        f->disk.fail_at = f->disk.calls + k;
        enum status s = two_tables(f, put_mark);
        bool failed = test_disk_failed(&f->disk);
        bool there = check_all_or_nothing(f);
        assert_int_equal(there, s == OK);
        if (!there) ok(two_tables(f, put_mark));
        assert_true(check_all_or_nothing(f));
        fixture_free(f);
        if (!failed) break;
    }
}

static enum status refuse(void *context, struct ledger *ledger, struct err *err) {
    enum status s = ledger_kv_put(ledger, "test", "mark", STR("done"), err);
    return s ? s : err_set(err, E_UNPROCESSABLE, "no");
}

static size_t count_files(const char *dir) {
    ARENA_SCOPE(arena);
    struct fs_entry *entries;
    size_t n, files = 0;
    if (fs_real()->list(NULL, arena, dir, &entries, &n, NULL)) return 0;
    for (size_t i = 0; i < n; i++) files += entries[i].stat.is_dir ? count_files(arena_printf(arena, "%s/%s", dir, entries[i].name)) : 1;
    return files;
}

static void failing_callback_leaves_nothing(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 500000, 10, "20"));
    size_t before = count_files(f->lake->dir);
    assert_int_equal(two_tables(f, refuse), E_UNPROCESSABLE);
    assert_string_equal(f->err.text, "no");
    assert_false(check_all_or_nothing(f));
    assert_int_equal(count_files(f->lake->dir), before);
}

static void torn_files_are_refused(void **state) {
    struct fixture *f = *state;
    ARENA_SCOPE(arena);
    static const struct engine_column columns[] = {{.name = "n", .type = "INTEGER"}};
    struct lake_file good = fake_file(f, arena, 500000, 10);
    for (int kind = 0; kind < 4; kind++) {
        struct lake_file file = fake_file(f, arena, 500000, 10);
        if (kind == 0) file.size_bytes++;
        if (kind == 1) assert_int_equal(truncate(file.temporary_path, (off_t)--file.size_bytes), 0);
        if (kind == 2) file.temporary_path = "/nonexistent/file";
        if (kind == 3) assert_int_equal(truncate(file.temporary_path, (off_t)(file.size_bytes = 3)), 0);
        struct lake_file both[2] = {good, file};
        struct lake_append append = {.schema = "s", .name = "t", .columns = columns, .columns_n = 1, .files = both, .files_n = 2};
        assert_int_not_equal(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err), OK);
        assert_false(has_table(f, "s", "t"));
        good = fake_file(f, arena, 500000, 10);
    }
}

static void wrong_names_are_refused(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"", "..", ".x", "a/b", "a b", "a'b", "-x", "a#b", "a%2fb", "a\nb"};
    static const struct engine_column columns[] = {{.name = "n", .type = "INTEGER"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct lake_append append = {.schema = "s", .name = names[i], .columns = columns, .columns_n = 1};
        assert_int_equal(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err), E_INVALID);
    }
}

/* ---- other writers ---- */

struct rival {
    struct fixture other; /* a second process on the same catalog */
    int commits;
};

/* Each look at the base lets the rival commit once, up to three times: our swap then meets a moved pointer. */
static enum status rival_commits(void *context, const struct table_version *base, struct err *err) {
    struct rival *r = context;
    if (r->commits == 3) return OK;
    r->commits++;
    return append_rows(&r->other, "t", 1, 500050, 100, NULL);
}

static void foreign_commits_are_merged(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 500000, 10, "20"));
    struct rival rival = {.other = *f};
    rival.other.lake = NULL;
    struct lake_options options = f->lake->o;
    ok(lake_open(&options, &rival.other.lake, &f->err));
    ARENA_SCOPE(arena);
    struct lake_file file = fake_file(f, arena, 500001, 7);
    struct lake_append append = {.schema = "bronze", .name = "t", .files = &file, .files_n = 1};
    struct commit_check check = {rival_commits, &rival};
    ok(lake_commit_checked(f->lake, &append, 1, &check, NULL, NULL, &f->err));
    assert_int_equal(rival.commits, 3);
    assert_int_equal(rows_of(f, "bronze", "t"), 20 + 300 + 7);
    assert_int_equal(rows_of(&rival.other, "bronze", "t"), 20 + 300 + 7);
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(json_array_size(json_object_get(v->metadata, "snapshots")), 5);
    assert_int_equal(ice_int(v->metadata, "last-sequence-number", 0), 5);
    table_unref(&v);
    lake_close(&rival.other.lake);
    check_sound(f);
}

static void a_changed_schema_is_a_conflict(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 1, 500000, 10, NULL));
    ARENA_SCOPE(arena);
    const struct engine_column mine = {.name = "mine", .type = "VARCHAR"}, theirs = {.name = "theirs", .type = "DOUBLE"};
    struct engine_column *planned;
    ok(lake_plan_columns(f->lake, arena, "bronze", "t", &mine, 1, &planned, &f->err));
    assert_int_equal(planned[0].field_id, 4);
    struct lake_append other = {.schema = "bronze", .name = "t", .columns = &theirs, .columns_n = 1};
    ok(lake_commit(f->lake, &other, 1, NULL, NULL, &f->err)); /* takes id 4 */
    struct lake_file file = fake_file(f, arena, 500000, 3);
    struct lake_append append = {.schema = "bronze", .name = "t", .columns = planned, .columns_n = 1, .files = &file, .files_n = 1};
    assert_int_equal(lake_commit(f->lake, &append, 1, NULL, NULL, &f->err), E_CONFLICT);
    assert_int_equal(rows_of(f, "bronze", "t"), 10);
}

/* ---- many commits ---- */

static void manifests_stay_few(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 130; i++) ok(append_rows(f, "t", 1, 500000 + i / 60, 3, NULL));
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(v->records, 390);
    assert_int_equal(v->files_n, 130);
    assert_true(v->manifests_n <= 100);
    for (size_t i = 0; i < v->manifests_n; i++)
        for (size_t k = 0; k < v->parts[i]->n; k++) assert_true(v->parts[i]->files[k].sequence_number > 0 && v->parts[i]->files[k].hour >= 500000);
    assert_int_equal(json_array_size(json_object_get(v->metadata, "metadata-log")), 25);
    ARENA_SCOPE(arena);
    char *folder = arena_printf(arena, "%s/metadata", v->dir);
    table_unref(&v);
    lake_delete_due(f->lake);
    struct fs_entry *entries;
    size_t n, left = 0;
    ok(fs_real()->list(NULL, arena, folder, &entries, &n, &f->err));
    for (size_t i = 0; i < n; i++) left += str_ends(str_of(entries[i].name), STR(".metadata.json"));
    assert_in_range(left, 26, 30); /* the current one, those of the log, a few that may still be pinned */
    check_sound(f);
}

static uint64_t count_of_inputs(struct fixture *f, const char *sql) {
    uint64_t n = 0;
    for (const char *at = sql; (at = strstr(at, ".parquet'")); at++) n++;
    return n * 10; /* each test file has ten rows */
}

static void packing_and_expiry_respect_pins(void **state) {
    struct fixture *f = *state;
    fake_engine.count = count_of_inputs;
    for (int i = 0; i < 6; i++) ok(append_rows(f, "t", 2, 400000, 10, "5"));
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err));
    const struct engine_view *view = lake_pin_view(pin);
    assert_int_equal(view->tables_n, 1);
    assert_int_equal(view->tables[0].files_n, 12);
    uint64_t version = view->tables[0].version;

    struct lake_maintained done = {0};
    ok(lake_compact(f->lake, "bronze", "t", false, &done, &f->err));
    assert_int_equal(done.files_before, 12);
    assert_int_equal(done.files_after, 2); /* one per hour */
    assert_int_equal(rows_of(f, "bronze", "t"), 120);
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(v->files_n, 2);
    assert_int_equal(table_position(v, 7, 0), 5);
    assert_string_equal(ice_text(json_object_get(ice_current_snapshot(v->metadata), "summary"), "operation"), "replace");
    table_unref(&v);
    ok(lake_expire(f->lake, "bronze", "t", INT64_MAX, &done, &f->err));
    assert_int_equal(done.snapshots_expired, 7); /* six appends, the first of two replacements */
    assert_true(done.files_deleted >= 12);
    for (size_t i = 0; i < view->tables[0].files_n; i++) assert_true(fs_exists(fs_real(), view->tables[0].files[i])); /* still pinned */
    const char *old_file = view->tables[0].files[0];
    char path[512];
    snprintf(path, sizeof(path), "%s", old_file);
    lake_unpin(&pin);
    lake_delete_due(f->lake);
    assert_false(fs_exists(fs_real(), path));
    assert_int_equal(rows_of(f, "bronze", "t"), 120);
    ok(lake_pin(f->lake, &pin, &f->err));
    assert_true(lake_pin_view(pin)->tables[0].version != version);
    assert_int_equal(lake_pin_view(pin)->tables[0].files_n, 2);
    lake_unpin(&pin);
    check_sound(f);
}

static void pins_are_shared_while_nothing_changes(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "a", 1, 400000, 10, NULL));
    ok(append_rows(f, "b", 1, 400000, 10, NULL));
    struct lake_pin *one, *two, *three;
    ok(lake_pin(f->lake, &one, &f->err));
    ok(lake_pin(f->lake, &two, &f->err));
    assert_ptr_equal(lake_pin_view(one)->tables, lake_pin_view(two)->tables);
    uint64_t a = lake_pin_view(one)->tables[0].version, b = lake_pin_view(one)->tables[1].version;
    ok(append_rows(f, "b", 1, 400000, 10, NULL));
    ok(lake_pin(f->lake, &three, &f->err));
    assert_int_equal(lake_pin_view(three)->tables[0].version, a); /* untouched tables keep their version */
    assert_true(lake_pin_view(three)->tables[1].version != b);
    assert_int_equal(lake_pin_view(one)->tables[1].files_n, 1);
    assert_int_equal(lake_pin_view(three)->tables[1].files_n, 2);
    lake_unpin(&one);
    lake_unpin(&two);
    lake_unpin(&three);
}

static void orphans_go_when_old(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 400000, 10, NULL));
    ARENA_SCOPE(arena);
    char *data = arena_printf(arena, "%s/bronze/t/data/_received_at_hour=2015-08-19-16/orphan.parquet", f->lake->dir);
    char *metadata = arena_printf(arena, "%s/bronze/t/metadata/orphan-m0.avro", f->lake->dir);
    uint64_t size, deleted = 0;
    fake_parquet(data, 5, &size);
    fake_parquet(metadata, 5, &size);
    ok(maintain_orphans(f->lake, host_wall_ms(&f->host) - HOUR_MS, &deleted, &f->err));
    assert_int_equal(deleted, 0); /* young: perhaps of a commit under way elsewhere */
    ok(maintain_orphans(f->lake, host_wall_ms(&f->host) + HOUR_MS, &deleted, &f->err));
    assert_int_equal(deleted, 2);
    lake_mark_dirty(f->lake);
    assert_int_equal(rows_of(f, "bronze", "t"), 20);
    lake_delete_due(f->lake);
    assert_false(fs_exists(fs_real(), data));
    check_sound(f);
}

/* A table that somebody has flushed 2,000 times. */
static void add_snapshots(struct fixture *f, struct table_version *v) {
    json_t *m = json_deep_copy(v->metadata);
    int64_t now_ms = host_wall_ms(&f->host);
    const char *list = ice_text(ice_current_snapshot(m), "manifest-list");
    for (int i = 0; i < 1999; i++) {
        json_object_set_new(m, "last-updated-ms", json_integer(now_ms + 900 + i * 900));
        ice_add_snapshot(m, &(struct ice_new_snapshot){.snapshot_id = 1000 + i, .sequence_number = 2 + i, .manifest_list = list, .operation = "append"});
    }
    ARENA_SCOPE(arena);
    BUF_SCOPE(text);
    ice_metadata_write(m, &text);
    json_decref(m);
    ok(fs_write_atomic(fs_real(), arena_printf(arena, "%s/metadata/02000-many.metadata.json", v->dir), buf_view(&text), &f->err));
    ok(ledger_catalog_swap(f->ledger, "bronze", "t", v->pointer, table_uri(arena, v, "metadata/02000-many.metadata.json"), &f->err));
}

static void snapshots_are_limited_by_number(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 1, 400000, 10, NULL));
    struct table_version *v = version_of(f, "bronze", "t");
    add_snapshots(f, v);
    table_unref(&v);
    v = version_of(f, "bronze", "t");
    assert_true(maintain_has_too_many_snapshots(v));
    table_unref(&v);
    struct lake_maintained done;
    ok(lake_expire(f->lake, "bronze", "t", 0, &done, &f->err));
    assert_int_equal(done.snapshots_expired, 400);
    v = version_of(f, "bronze", "t");
    assert_int_equal(json_array_size(json_object_get(v->metadata, "snapshots")), 1600);
    table_unref(&v);
    assert_int_equal(rows_of(f, "bronze", "t"), 10);
    check_sound(f);
}

static void dropped_tables_leave_nothing(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 400000, 10, NULL));
    struct table_version *v = version_of(f, "bronze", "t");
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err));
    ok(ledger_catalog_drop(f->ledger, "bronze", "t", &f->err));
    delete_table_files(f->lake, v);
    assert_true(fs_exists(fs_real(), v->files[0])); /* pinned */
    ARENA_SCOPE(arena);
    struct table_version *gone;
    assert_int_equal(table_get(f->lake, "bronze", "t", &gone, &f->err), E_NOT_FOUND);
    lake_unpin(&pin); /* and now the power goes: the list of what is to be deleted is lost */
    char *file = arena_strdup(arena, v->files[0]);
    table_unref(&v);
    while (f->lake->doomed) {
        struct doomed *d = f->lake->doomed;
        f->lake->doomed = d->next;
        free(d->path);
        free(d);
    }
    BUF_SCOPE(report);
    ok(lake_register_recover(f->lake, &report, &f->err));
    assert_int_equal(table_get(f->lake, "bronze", "t", &gone, &f->err), E_NOT_FOUND); /* not brought back */
    uint64_t deleted = 0;
    ok(maintain_orphans(f->lake, host_wall_ms(&f->host) + HOUR_MS, &deleted, &f->err));
    assert_true(deleted >= 4);
    lake_mark_dirty(f->lake);
    assert_int_equal(table_get(f->lake, "bronze", "t", &gone, &f->err), E_NOT_FOUND);
    lake_delete_due(f->lake);
    assert_false(fs_exists(fs_real(), file));
}

/* The same folder under a second name: nothing in it is an orphan of the first. */
static void two_names_of_one_folder_delete_nothing(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 400000, 10, NULL));
    struct table_version *v = version_of(f, "bronze", "t");
    ok(ledger_catalog_swap(f->ledger, "bronze", "twin", NULL, v->pointer, &f->err));
    table_unref(&v);
    ok(append_rows(f, "t", 1, 400000, 10, NULL));
    struct lake_maintained done;
    uint64_t deleted = 0;
    ok(lake_expire(f->lake, "bronze", "t", INT64_MAX, &done, &f->err));
    ok(maintain_orphans(f->lake, host_wall_ms(&f->host) + HOUR_MS, &deleted, &f->err));
    assert_int_equal(done.files_deleted + deleted, 0);
    v = version_of(f, "bronze", "t");
    ok(ledger_catalog_drop(f->ledger, "bronze", "t", &f->err));
    delete_table_files(f->lake, v);
    table_unref(&v);
    lake_delete_due(f->lake);
    assert_int_equal(rows_of(f, "bronze", "twin"), 20);
    check_sound(f);
}

/* ---- threads ---- */

struct crowd {
    struct fixture *f;
    atomic_bool stop;
    atomic_int pins;
};

static void *crowd_append(void *argument) {
    struct crowd *c = argument;
    struct fixture mine = {.lake = c->f->lake}; /* its own error record */
    for (int i = 0; i < 40; i++)
        if (append_rows(&mine, "t", 2, 400000 + i % 3, 10, NULL)) abort();
    return NULL;
}

static void *crowd_read(void *argument) {
    struct crowd *c = argument;
    while (!atomic_load(&c->stop)) {
        struct lake_pin *pin;
        if (lake_pin(c->f->lake, &pin, NULL)) abort();
        const struct engine_view *view = lake_pin_view(pin);
        for (size_t i = 0; i < view->tables_n; i++)
            for (size_t k = 0; k < view->tables[i].files_n; k++)
                if (!fs_exists(fs_real(), view->tables[i].files[k])) abort(); /* a pinned file is there */
        lake_unpin(&pin);
        atomic_fetch_add(&c->pins, 1);
    }
    return NULL;
}

static void *crowd_maintain(void *argument) {
    struct crowd *c = argument;
    while (!atomic_load(&c->stop)) {
        struct lake_maintained done;
        enum status s = lake_compact(c->f->lake, "bronze", "t", true, &done, NULL);
        if (s && s != E_CONFLICT) abort();
        if (lake_expire(c->f->lake, "bronze", "t", INT64_MAX, &done, NULL)) abort();
        lake_delete_due(c->f->lake);
    }
    return NULL;
}

static uint64_t count_by_size(struct fixture *f, const char *sql);

static void writers_readers_and_maintenance_at_once(void **state) {
    struct fixture *f = *state;
    fake_engine.count = count_by_size;
    ok(append_rows(f, "t", 2, 400000, 10, NULL));
    struct crowd c = {.f = f};
    struct thread threads[5] = {0};
    void *(*const runs[5])(void *) = {crowd_append, crowd_append, crowd_read, crowd_read, crowd_maintain};
    for (int i = 0; i < 5; i++) thread_start(&threads[i], "crowd", runs[i], &c);
    thread_join(&threads[0]);
    thread_join(&threads[1]);
    atomic_store(&c.stop, true);
    for (int i = 2; i < 5; i++) thread_join(&threads[i]);
    assert_true(atomic_load(&c.pins) > 0);
    assert_int_equal(rows_of(f, "bronze", "t"), 20 + 2 * 40 * 20);
    lake_delete_due(f->lake);
    check_sound(f);
}

/* ---- what we cannot read ---- */

/* Rewrites the current manifest list with a delete manifest beside the data, as a merge-on-read writer would. */
static void add_delete_manifest(struct fixture *f) {
    struct table_version *v = version_of(f, "bronze", "t");
    ARENA_SCOPE(arena);
    struct ice_manifest list[8];
    size_t n = v->manifests_n;
    memcpy(list, v->manifests, n * sizeof(list[0]));
    struct ice_entry e = {.status = ICE_ADDED, .snapshot_id = 1, .sequence_number = -1, .file_sequence_number = -1};
    e.file = (struct ice_file){
        .content = 1, .path = "file:///x/deletes.parquet", .format = "PARQUET", .partition_known = true, .partition_null = true, .records = 1, .size_bytes = 1};
    BUF_SCOPE(bytes);
    list[n] = (struct ice_manifest){.path = arena_printf(arena, "file://%s/metadata/deletes.avro", v->dir), .added_snapshot_id = 1};
    ice_manifest_write(arena, &bytes, ice_schema(v->metadata), ice_spec(v->metadata, 0), &e, 1, 1, &list[n]);
    list[n++].content = 1;
    ok(fs_write_atomic(fs_real(), arena_printf(arena, "%s/metadata/deletes.avro", v->dir), buf_view(&bytes), &f->err));
    const json_t *snapshot = ice_current_snapshot(v->metadata);
    BUF_SCOPE(list_bytes);
    ice_manifest_list_write(&list_bytes, list, n, ice_int(snapshot, "snapshot-id", 0), -1, 1);
    char *path;
    ok(table_path(arena, v, ice_text(snapshot, "manifest-list"), &path, &f->err));
    ok(fs_write_atomic(fs_real(), path, buf_view(&list_bytes), &f->err));
    table_unref(&v);
}

static void delete_files_are_never_ignored(void **state) {
    struct fixture *f = *state;
    fake_engine.count = count_of_inputs;
    ok(append_rows(f, "t", 2, 400000, 10, NULL));
    add_delete_manifest(f);
    fixture_close(f);
    fixture_open(f);
    struct lake_pin *pin;
    ok(lake_pin(f->lake, &pin, &f->err));
    assert_non_null(lake_pin_view(pin)->tables[0].unreadable);
    assert_non_null(strstr(lake_pin_view(pin)->tables[0].unreadable, "delete files"));
    lake_unpin(&pin);
    struct lake_maintained done;
    assert_int_equal(lake_compact(f->lake, "bronze", "t", true, &done, &f->err), E_UNSUPPORTED);
    ok(append_rows(f, "t", 1, 400000, 10, NULL)); /* sound: deletes apply to older files only; the log is not held up */
    struct table_version *v = version_of(f, "bronze", "t");
    assert_int_equal(v->manifests_n, 3); /* the delete manifest is carried on */
    assert_non_null(v->unreadable);
    table_unref(&v);
}

static void damaged_tables_do_not_stop_others(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "good", 1, 400000, 10, NULL));
    ok(append_rows(f, "bad", 1, 400000, 10, NULL));
    struct table_version *v = version_of(f, "bronze", "bad");
    ARENA_SCOPE(arena);
    char *path;
    ok(table_path(arena, v, v->manifests[0].path, &path, &f->err));
    table_unref(&v);
    assert_int_equal(truncate(path, 100), 0);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(rows_of(f, "bronze", "good"), 10);
    v = version_of(f, "bronze", "bad");
    assert_non_null(v->unreadable);
    table_unref(&v);
    assert_int_equal(append_rows(f, "bad", 1, 400000, 10, NULL), E_CORRUPT);
    BUF_SCOPE(report);
    uint64_t problems;
    ok(lake_verify(f->lake, &report, &problems, &f->err));
    assert_int_equal(problems, 1);
}

/* ---- moving and recovering ---- */

static void a_moved_lake_works(void **state) {
    struct fixture *f = *state;
    ok(append_rows(f, "t", 2, 400000, 10, "20"));
    fixture_close(f);
    char moved[64];
    snprintf(moved, sizeof(moved), "%.40s_moved", f->dir);
    assert_int_equal(rename(f->dir, moved), 0);
    memcpy(f->dir, moved, sizeof(moved));
    fixture_open(f);
    assert_int_equal(rows_of(f, "bronze", "t"), 20);
    ok(append_rows(f, "t", 1, 400001, 10, "30"));
    assert_int_equal(rows_of(f, "bronze", "t"), 30);
    check_sound(f);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(rows_of(f, "bronze", "t"), 30);
    check_sound(f);
}

static void recover(struct fixture *f) {
    BUF_SCOPE(report);
    ok(lake_register_recover(f->lake, &report, &f->err));
}

static void the_catalog_is_rebuilt(void **state) {
    struct fixture *f = *state;
    for (int i = 1; i <= 12; i++) ok(append_rows(f, "t", 1, 400000, 10, "1"));
    ok(append_rows(f, "u", 1, 400000, 4, NULL));
    struct table_version *v = version_of(f, "bronze", "t");
    ARENA_SCOPE(arena);
    char *newest;
    ok(table_path(arena, v, v->pointer, &newest, &f->err));
    /* a torn newer one, one whose data is missing, and rubbish */
    char *folder = arena_printf(arena, "%s/metadata", v->dir);
    ok(fs_write_atomic(fs_real(), arena_printf(arena, "%s/00099-torn.metadata.json", folder), STR("{\"format-version\":2,\"loc"), &f->err));
    table_unref(&v);
    ok(append_rows(f, "t", 1, 400000, 10, "2"));
    v = version_of(f, "bronze", "t");
    char *lost = arena_strdup(arena, v->parts[0]->files[0].path);
    table_unref(&v);
    assert_int_equal(unlink(lost), 0);
    fixture_close(f);
    assert_int_equal(unlink(arena_printf(arena, "%s/ledger.db", f->dir)), 0);
    unlink(arena_printf(arena, "%s/ledger.db-wal", f->dir));
    unlink(arena_printf(arena, "%s/ledger.db-shm", f->dir));
    fixture_open(f);
    assert_false(has_table(f, "bronze", "t"));
    recover(f);
    assert_int_equal(rows_of(f, "bronze", "t"), 120); /* the newest that is whole: without the commit that lost its file */
    assert_int_equal(rows_of(f, "bronze", "u"), 4);
    check_sound(f);
    recover(f); /* again changes nothing */
    assert_int_equal(rows_of(f, "bronze", "t"), 120);
    ok(append_rows(f, "t", 1, 400000, 10, "3"));
    assert_int_equal(rows_of(f, "bronze", "t"), 130);
}

/* Rows of the inputs, by what the table says of each. */
static uint64_t count_by_size(struct fixture *f, const char *sql) {
    uint64_t n = 0;
    struct table_version *v = NULL;
    if (table_get(f->lake, "bronze", "t", &v, NULL)) abort();
    for (size_t i = 0; i < v->manifests_n; i++)
        for (size_t k = 0; k < v->parts[i]->n; k++)
            if (strstr(sql, v->parts[i]->files[k].path)) n += (uint64_t)v->parts[i]->files[k].records;
    table_unref(&v);
    return n;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(appends_add_up, setup, teardown),
        cmocka_unit_test(power_cut_at_every_call),
        cmocka_unit_test(one_failure_at_every_call),
        cmocka_unit_test_setup_teardown(failing_callback_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_names_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_commits_are_merged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_schema_is_a_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(manifests_stay_few, setup, teardown),
        cmocka_unit_test_setup_teardown(packing_and_expiry_respect_pins, setup, teardown),
        cmocka_unit_test_setup_teardown(pins_are_shared_while_nothing_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(orphans_go_when_old, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_are_limited_by_number, setup, teardown),
        cmocka_unit_test_setup_teardown(dropped_tables_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(two_names_of_one_folder_delete_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(writers_readers_and_maintenance_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(delete_files_are_never_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_tables_do_not_stop_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_moved_lake_works, setup, teardown),
        cmocka_unit_test_setup_teardown(the_catalog_is_rebuilt, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
