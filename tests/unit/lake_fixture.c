#include "lake_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

struct fake_engine fake_engine;

/* ---- the disk ---- */

static enum status step(struct test_disk *d, struct err *err) {
    WITH_LOCK(&d->lock);
    d->calls++;
    bool fails = d->fail_at && (d->only_once ? d->calls == d->fail_at : d->calls >= d->fail_at);
    return fails ? err_set(err, E_IO, "the test's disk fails at call %ld", d->calls) : OK;
}

static void note(struct test_disk *d, struct map *map, const char *path, bool add) {
    WITH_LOCK(&d->lock);
    char *old = map_remove(map, str_of(path));
    free(old);
    if (add) map_put(map, str_of(path), mem_strdup(path));
}

static void note_handle(struct test_disk *d, struct map *map, int file, bool add) {
    mutex_lock(&d->lock);
    char *path = file < 1024 && d->paths[file] ? mem_strdup(d->paths[file]) : NULL;
    mutex_unlock(&d->lock);
    if (path) note(d, map, path, add);
    free(path);
}

static enum status t_open(void *self, const char *path, int flags, int *file, struct err *err) {
    struct test_disk *d = self;
    bool makes = (flags & FS_CREATE) && !fs_exists(d->below, path);
    enum status s = flags & FS_CREATE ? step(d, err) : OK;
    if (!s) s = d->below->open(d->below->self, path, flags, file, err);
    if (s) return s;
    if (makes) note(d, d->unnamed, path, true);
    mutex_lock(&d->lock);
    if (*file < 1024) {
        free(d->paths[*file]);
        d->paths[*file] = mem_strdup(path);
    }
    mutex_unlock(&d->lock);
    return OK;
}
static void t_close(void *self, int file) {
    struct test_disk *d = self;
    d->below->close(d->below->self, file);
}
static enum status t_pread(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    struct test_disk *d = self;
    return d->below->pread(d->below->self, file, bytes, n, offset, got, err);
}
static enum status t_pwrite(void *self, int file, const void *bytes, size_t n, uint64_t offset, struct err *err) {
    struct test_disk *d = self;
    enum status s = step(d, err);
    note_handle(d, d->unsynced, file, true);
    if (s) { /* half of it may be there */
        d->below->pwrite(d->below->self, file, bytes, n / 2, offset, NULL);
        return s;
    }
    return d->below->pwrite(d->below->self, file, bytes, n, offset, err);
}
static enum status t_sync_data(void *self, int file, struct err *err) {
    struct test_disk *d = self;
    enum status s = step(d, err);
    if (!s) note_handle(d, d->unsynced, file, false); /* the power goes only in the test: no need to wait for the real disk */
    return s;
}
static enum status t_allocate(void *self, int file, uint64_t size, struct err *err) {
    struct test_disk *d = self;
    return d->below->allocate(d->below->self, file, size, err);
}
static enum status t_truncate(void *self, int file, uint64_t size, struct err *err) {
    struct test_disk *d = self;
    return d->below->truncate(d->below->self, file, size, err);
}
static enum status t_stat(void *self, const char *path, struct fs_stat *out, struct err *err) {
    struct test_disk *d = self;
    return d->below->stat(d->below->self, path, out, err);
}
static enum status t_stat_file(void *self, int file, struct fs_stat *out, struct err *err) {
    struct test_disk *d = self;
    return d->below->stat_file(d->below->self, file, out, err);
}
static enum status t_rename(void *self, const char *from, const char *to, struct err *err) {
    struct test_disk *d = self;
    enum status s = step(d, err);
    if (!s) s = d->below->rename(d->below->self, from, to, err);
    if (s) return s;
    mutex_lock(&d->lock);
    bool unsynced = map_get(d->unsynced, str_of(from));
    mutex_unlock(&d->lock);
    note(d, d->unsynced, from, false);
    note(d, d->unnamed, from, false);
    if (unsynced) note(d, d->unsynced, to, true);
    note(d, d->unnamed, to, true);
    return OK;
}
static enum status t_unlink(void *self, const char *path, struct err *err) {
    struct test_disk *d = self;
    enum status s = step(d, err);
    if (!s) s = d->below->unlink(d->below->self, path, err);
    if (!s) note(d, d->unsynced, path, false);
    if (!s) note(d, d->unnamed, path, false);
    return s;
}
static enum status t_mkdir(void *self, const char *path, struct err *err) {
    struct test_disk *d = self;
    bool makes = !fs_exists(d->below, path);
    enum status s = step(d, err);
    if (!s) s = d->below->mkdir(d->below->self, path, err);
    if (!s && makes) note(d, d->unnamed, path, true);
    return s;
}
static enum status t_rmdir(void *self, const char *path, struct err *err) {
    struct test_disk *d = self;
    return d->below->rmdir(d->below->self, path, err);
}
static enum status t_list(void *self, struct arena *arena, const char *path, struct fs_entry **out, size_t *n, struct err *err) {
    struct test_disk *d = self;
    return d->below->list(d->below->self, arena, path, out, n, err);
}
static enum status t_sync_dir(void *self, const char *path, struct err *err) {
    struct test_disk *d = self;
    enum status s = step(d, err);
    if (s) return s;
    WITH_LOCK(&d->lock);
    size_t length = strlen(path);
    for (bool again = true; again;) {
        again = false;
        size_t at = 0;
        struct str key;
        void *value;
        while (!again && map_next(d->unnamed, &at, &key, &value)) {
            if (key.n <= length + 1 || memcmp(key.p, path, length) || key.p[length] != '/' || memchr(key.p + length + 1, '/', key.n - length - 1)) continue;
            map_remove(d->unnamed, str_of(value));
            free(value);
            again = true;
        }
    }
    return OK;
}
static enum status t_free_bytes(void *self, const char *path, uint64_t *out, struct err *err) {
    struct test_disk *d = self;
    return d->below->free_bytes(d->below->self, path, out, err);
}

void test_disk_init(struct test_disk *d) {
    *d = (struct test_disk){.below = fs_real(), .unsynced = map_new(), .unnamed = map_new()};
    mutex_init(&d->lock);
    d->fs = (struct fs){.self = d,
        .open = t_open,
        .close = t_close,
        .pread = t_pread,
        .pwrite = t_pwrite,
        .sync_data = t_sync_data,
        .allocate = t_allocate,
        .truncate = t_truncate,
        .stat = t_stat,
        .stat_file = t_stat_file,
        .rename = t_rename,
        .unlink = t_unlink,
        .mkdir = t_mkdir,
        .rmdir = t_rmdir,
        .list = t_list,
        .sync_dir = t_sync_dir,
        .free_bytes = t_free_bytes};
}

static void free_values(struct map **map) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(*map, &at, &key, &value)) free(value);
    map_free(map);
}

void test_disk_free(struct test_disk *d) {
    free_values(&d->unsynced);
    free_values(&d->unnamed);
    for (int i = 0; i < 1024; i++) free(d->paths[i]);
    mutex_destroy(&d->lock);
}

void test_disk_note_unsynced(struct test_disk *d, const char *path) { note(d, d->unsynced, path, true); }
bool test_disk_failed(const struct test_disk *d) { return d->fail_at && d->calls >= d->fail_at; }

void test_disk_power_cut(struct test_disk *d) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(d->unsynced, &at, &key, &value)) {
        struct stat st;
        if (!stat(value, &st)) assert_int_equal(truncate(value, st.st_size / 2), 0);
    }
    at = 0;
    while (map_next(d->unnamed, &at, &key, &value))
        if (unlink(value) && fs_exists(d->below, value)) assert_int_equal(fs_remove_tree(d->below, value, NULL), OK);
    free_values(&d->unsynced);
    free_values(&d->unnamed);
    d->unsynced = map_new();
    d->unnamed = map_new();
    d->fail_at = 0;
}

/* ---- the engine ---- */

void fake_parquet(const char *path, uint64_t rows, uint64_t *size_bytes) {
    BUF_SCOPE(b);
    buf_text(&b, "PAR1");
    for (uint64_t i = 0; i < rows % 1000 + 5; i++) buf_char(&b, 'x');
    buf_text(&b, "footer");
    buf_u32(&b, 6);
    buf_text(&b, "PAR1");
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    assert_true(fd >= 0 && write(fd, b.p, b.n) == (ssize_t)b.n);
    close(fd);
    *size_bytes = b.n;
}

static struct engine_column_stats *fake_stats(struct arena *arena, const struct engine_column *columns, size_t n, uint64_t rows) {
    struct engine_column_stats *stats = arena_new_array(arena, struct engine_column_stats, n + 1);
    for (size_t i = 0; i < n; i++) stats[i] = (struct engine_column_stats){.field_id = columns[i].field_id, .size_bytes = 10, .values = (int64_t)rows};
    return stats;
}

enum status engine_copy(struct engine *engine, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err) {
    fake_engine.copies++;
    uint64_t rows = fake_engine.count ? fake_engine.count(fake_engine.fixture, copy->sql) : 0, size;
    fake_parquet(copy->path, rows, &size);
    test_disk_note_unsynced(&fake_engine.fixture->disk, copy->path);
    if (fake_engine.fail_next > 0 && !--fake_engine.fail_next) return err_set(err, E_UNAVAILABLE, "the engine died");
    *out = (struct engine_copied){
        .rows = rows, .size_bytes = size, .columns = fake_stats(arena, copy->columns, copy->columns_n, rows), .columns_n = copy->columns_n};
    return OK;
}

enum status engine_rows(struct engine *engine, const struct engine_view *view, const char *sql, struct buf *out, struct err *err) {
    buf_text(out, "[]");
    return OK;
}

/* No test over this engine has a warehouse. */
const char engine_tables_sql[] = "";
pid_t engine_pid(struct engine *engine) { return 0; }
enum status engine_tables(struct engine *engine, struct buf *json, struct err *err) {
    buf_text(json, "[]");
    return OK;
}
enum status engine_work_begin(struct engine *engine, const struct engine_view *view, const struct engine_work_table *tables, size_t n, int64_t time_ms,
    struct engine_work **out, struct err *err) {
    return err_set(err, E_UNAVAILABLE, "no warehouse");
}
enum status engine_work_run(struct engine_work *work, const char *sql, struct buf *rows_json, uint64_t *changed, struct err *err) {
    return err_set(err, E_UNAVAILABLE, "no warehouse");
}
enum status engine_work_copy(struct engine_work *work, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err) {
    return err_set(err, E_UNAVAILABLE, "no warehouse");
}
void engine_work_end(struct engine_work **work) { *work = NULL; }

/* ---- the lake ---- */

struct fixture *fixture_new(void) {
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/cupel_lake_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    test_disk_init(&f->disk);
    f->host = (struct host){.fs = &f->disk.fs, .clock = clock_real()};
    fake_engine = (struct fake_engine){.fixture = f};
    return f;
}

void fixture_open(struct fixture *f) {
    char path[128];
    if (!f->plain_host.fs) f->plain_host = (struct host){.fs = fs_real(), .clock = clock_real()};
    snprintf(path, sizeof(path), "%s/ledger.db", f->dir);
    ok(ledger_open(path, &f->plain_host, &f->ledger, &f->err));
    snprintf(path, sizeof(path), "%s/lake", f->dir);
    struct lake_options options = {.host = &f->host, .dir = path, .ledger = f->ledger, .engine = (struct engine *)f, .log = f->log};
    ok(lake_open(&options, &f->lake, &f->err));
}

void fixture_close(struct fixture *f) {
    lake_close(&f->lake);
    ledger_close(&f->ledger);
}

void fixture_free(struct fixture *f) {
    if (f->lake) fixture_close(f);
    assert_int_equal(fs_remove_tree(fs_real(), f->dir, NULL), OK);
    test_disk_free(&f->disk);
    free(f);
}

struct lake_file fake_file(struct fixture *f, struct arena *arena, int64_t hour, uint64_t rows) {
    struct lake_file file = {.temporary_path = lake_temporary_path(f->lake, arena, ".parquet"), .hour_ms = hour * HOUR_MS, .rows = rows};
    fake_parquet(file.temporary_path, rows, &file.size_bytes);
    test_disk_note_unsynced(&fake_engine.fixture->disk, file.temporary_path); /* `f` may be a copy with its own error record */
    return file;
}

static const struct engine_column fixture_columns[] = {
    {.name = "_event_id", .type = "UUID"}, {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"}, {.name = "n", .type = "INTEGER"}};

enum status append_rows(struct fixture *f, const char *name, size_t n, int64_t hour, uint64_t rows, const char *at) {
    ARENA_SCOPE(arena);
    struct lake_file *files = arena_new_array(arena, struct lake_file, n);
    for (size_t i = 0; i < n; i++) files[i] = fake_file(f, arena, hour + (int64_t)i, rows);
    const char *const properties[] = {POSITION_PREFIX "7.0", at, NULL};
    struct lake_append append = {
        .schema = "bronze", .name = name, .columns = fixture_columns, .columns_n = 3, .files = files, .files_n = n, .properties = at ? properties : NULL};
    return lake_commit(f->lake, &append, 1, NULL, NULL, &f->err);
}

struct table_version *version_of(struct fixture *f, const char *schema, const char *name) {
    struct table_version *v = NULL;
    ok(table_get(f->lake, schema, name, &v, &f->err));
    return v;
}

uint64_t rows_of(struct fixture *f, const char *schema, const char *name) {
    struct table_version *v = version_of(f, schema, name);
    uint64_t n = v->records;
    if (v->unreadable) fail_msg("%s", v->unreadable);
    table_unref(&v);
    return n;
}
