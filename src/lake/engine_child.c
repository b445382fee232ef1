/* The engine process: its start, the control loop, one thread per statement, the watcher. */
#include "lake/engine_child.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "host/signals.h"

#define WATCH_MS 50 /* how soon a gone caller is noticed */
#define FLUSH_BYTES 65536u
#define FRAME_BYTES (1u << 20)
#define TABLES_MAX (1u << 20) /* numbers that a server uses */

static int64_t now_ms(const struct child *child) { return host_monotonic_ms(&child->host); }

/* ---- answers ---- */

static enum status send_frame(struct statement *s, enum wire_kind kind, struct str payload, struct err *err) {
    struct wire_header header = {kind, (uint32_t)payload.n};
    enum status st = host_send(s->fd, &header, sizeof header, err);
    return st == OK && payload.n ? host_send(s->fd, payload.p, payload.n, err) : st;
}

enum status statement_send(struct statement *s, enum wire_kind kind, struct str payload, struct err *err) {
    must(payload.n <= WIRE_PAYLOAD_MAX);
    WITH_LOCK(&s->lock);
    if (send_frame(s, kind, payload, NULL) != OK) {
        return err_set(err, E_CANCELLED, "the caller is gone");
    }
    return OK;
}

enum status statement_flush(struct statement *s, bool all, struct err *err) {
    if (s->out.n < FLUSH_BYTES && !(all && s->out.n)) {
        return OK;
    }
    enum status st = OK;
    for (size_t at = 0; st == OK && at < s->out.n; at += FRAME_BYTES) { /* a single row can be larger than a frame */
        st = statement_send(s, ANSWER_DATA, str_head(str_from(buf_view(&s->out), at), FRAME_BYTES), err);
    }
    buf_clear(&s->out);
    return st;
}

static void tell_server(struct child *child, enum wire_kind kind, uint64_t id) {
    BUF_SCOPE(message);
    wire_begin(&message, kind);
    buf_u64(&message, id);
    wire_end(&message);
    WITH_LOCK(&child->send_lock);
    host_send(child->control, message.p, message.n, NULL); /* a server that is gone ends this process from the control loop */
}

/* ---- statements ---- */

static void table_release(struct child_table *table) { /* with child->lock */
    must(table->references > 0);
    if (--table->references == 0) {
        struct arena *arena = table->arena;
        arena_free(&arena);
    }
}

/* The last ones are for work sessions alone: queries leave views behind that a model must not see. */
static struct session *session_take(struct child *child, bool work) {
    WITH_LOCK(&child->lock);
    uint32_t first_work = child->sessions_n - ENGINE_WORK_MAX;
    for (;;) {
        for (uint32_t i = work ? first_work : 0; i < (work ? child->sessions_n : first_work); i++) {
            if (!child->sessions[i].busy) {
                child->sessions[i].busy = true;
                return &child->sessions[i];
            }
        }
        condition_wait(&child->changed, &child->lock); /* the server lets in only as many; a cancelled one may still be ending */
    }
}

struct session *child_session(struct child *child, uint64_t connection_id) {
    WITH_LOCK(&child->lock);
    for (uint32_t i = 0; i < child->sessions_n; i++) {
        if (child->sessions[i].ready && child->sessions[i].connection_id == connection_id) {
            return &child->sessions[i];
        }
    }
    return NULL;
}

static void session_bind(struct session *session, struct statement *statement) {
    WITH_LOCK(&session->child->lock);
    session->statement = statement;
    if (statement) {
        statement->session = session;
    }
}

/* Ends what DuckDB's vectors may have pointed into; the result is destroyed by now. */
void statement_end_scans(struct statement *s) {
    rows_scan_end(s);
    for (size_t i = 0; i < s->scans_n; i++) {
        log_scan_end(&s->scans[i]);
    }
    s->scans_n = 0;
}

static void statement_release(struct statement *s) {
    statement_end_scans(s);
    free(s->scans);
    buf_free(&s->out);
    buf_free(&s->warnings);
}

static void *statement_run(void *argument) {
    struct statement *s = argument;
    struct child *child = s->child;
    struct session *session = session_take(child, s->request.kind == CALL_WORK);
    struct err err = {0};
    must(session->busy && !session->statement);
    enum status st = session_begin(session, &err);
    session_bind(session, s);
    if (st == OK) {
        st = s->request.kind == CALL_COPY ? copy_run(s, &err) : s->request.kind == CALL_WORK ? work_run(s, &err) : query_run(s, &err);
    }
    session_bind(session, NULL);
    statement_release(s);
    if (st != OK) {
        BUF_SCOPE(payload);
        buf_u32(&payload, st);
        wire_put_cstr(&payload, err.text);
        statement_send(s, ANSWER_ERROR, buf_view(&payload), NULL);
    }
    if (child->broken) {
        log_error("engine", "DuckDB can no longer be used", LOG_STR("error", err.text), NULL);
        _Exit(70);
    }
    mutex_lock(&child->lock);
    session->busy = false;
    if (s->prev) {
        s->prev->next = s->next;
    } else {
        child->statements = s->next;
    }
    if (s->next) {
        s->next->prev = s->prev;
    }
    for (uint32_t i = 0; i < s->request.tables_n; i++) {
        table_release(s->tables[i]);
    }
    condition_broadcast(&child->changed);
    mutex_unlock(&child->lock);
    host_close(&s->fd);
    uint64_t id = s->request.id;
    mutex_destroy(&s->lock);
    struct arena *arena = s->arena;
    arena_free(&arena);
    tell_server(child, CONTROL_ENDED, id);
    return NULL;
}

/* ---- watcher ---- */

static void watch_one(struct statement *s, int64_t now) { /* with child->lock */
    if (s->stop == STOP_NONE && host_peer_gone(s->fd)) {
        s->stop = STOP_CANCELLED;
    }
    if (s->stop == STOP_NONE && s->deadline_ms && now > s->deadline_ms) {
        s->stop = STOP_TIMEOUT;
    }
    if (s->stop != STOP_NONE && s->session && s->session->statement == s && s->session->ready) {
        duckdb_interrupt(s->session->connection); /* again and again: one that comes between two steps of a statement is lost */
    }
}

static void *watcher_run(void *argument) {
    struct child *child = argument;
    mutex_lock(&child->lock);
    for (;;) {
        if (!child->statements) {
            condition_wait(&child->changed, &child->lock);
            continue;
        }
        int64_t now = now_ms(child);
        for (struct statement *s = child->statements; s; s = s->next) {
            if (pthread_mutex_trylock(&s->lock) == 0) { /* held: its thread is sending, and sees a gone caller by itself */
                watch_one(s, now);
                mutex_unlock(&s->lock);
            } else if (s->deadline_ms && now > s->deadline_ms && s->stop == STOP_NONE) {
                s->stop = STOP_TIMEOUT;
            }
        }
        condition_wait_ms(&child->changed, &child->lock, WATCH_MS);
    }
    return NULL;
}

/* ---- control loop ---- */

static bool take_table(struct child *child, struct str payload) {
    struct wire_in in = {payload.p, payload.n, false};
    struct arena *arena = arena_new();
    struct child_table *table = arena_new_one(arena, struct child_table);
    if (!wire_get_table(&in, arena, &table->number, &table->definition) || table->number >= TABLES_MAX) {
        arena_free(&arena);
        return false;
    }
    table->arena = arena;
    table->references = 1;
    WITH_LOCK(&child->lock);
    if (table->number >= child->tables_n) {
        uint32_t n = table->number + 64;
        child->tables = mem_realloc(child->tables, n * sizeof *child->tables);
        memset(child->tables + child->tables_n, 0, (n - child->tables_n) * sizeof *child->tables);
        child->tables_n = n;
    }
    must(!child->tables[table->number]);
    table->serial = ++child->table_serials;
    child->tables[table->number] = table;
    return true;
}

static bool forget_table(struct child *child, struct str payload) {
    struct wire_in in = {payload.p, payload.n, false};
    uint32_t number = wire_u32(&in);
    WITH_LOCK(&child->lock);
    if (in.failed || number >= child->tables_n || !child->tables[number]) {
        return false;
    }
    table_release(child->tables[number]);
    child->tables[number] = NULL;
    return true;
}

static bool start_statement(struct child *child, struct str payload, int fd) {
    struct arena *arena = arena_new();
    struct statement *s = arena_new_one(arena, struct statement);
    struct wire_in in = {payload.p, payload.n, false};
    if (fd < 0 || !wire_get_request(&in, arena, &s->request)) {
        arena_free(&arena);
        return false;
    }
    s->arena = arena;
    s->child = child;
    s->fd = fd;
    s->deadline_ms = s->request.time_ms ? now_ms(child) + s->request.time_ms : 0;
    mutex_init(&s->lock);
    s->tables = arena_new_array(arena, struct child_table *, s->request.tables_n);
    mutex_lock(&child->lock);
    for (uint32_t i = 0; i < s->request.tables_n; i++) {
        uint32_t number = s->request.tables[i];
        must(number < child->tables_n && child->tables[number]); /* the server tells a table before it names it */
        s->tables[i] = child->tables[number];
        s->tables[i]->references++;
    }
    s->visible = s->tables;
    s->visible_n = s->request.tables_n;
    s->next = child->statements;
    if (s->next) {
        s->next->prev = s;
    }
    child->statements = s;
    condition_broadcast(&child->changed);
    mutex_unlock(&child->lock);
    struct thread thread = {0};
    thread_start(&thread, "engine-call", statement_run, s);
    pthread_detach(thread.handle);
    return true;
}

/* Until the server closes the control socket or dies. */
static void control_loop(struct child *child) {
    BUF_SCOPE(payload);
    for (;;) {
        struct wire_header header;
        int fd = -1;
        if (host_recv_with_fd(child->control, &header, sizeof header, &fd, NULL) != OK) {
            return;
        }
        buf_clear(&payload);
        bool sound = header.length <= WIRE_PAYLOAD_MAX && buf_reserve(&payload, header.length + 1);
        if (!sound || (header.length && host_recv(child->control, payload.p, header.length, NULL) != OK)) {
            return;
        }
        struct str body = str_make(payload.p, header.length);
        switch (header.kind) {
        case CONTROL_TABLE: sound = take_table(child, body); break;
        case CONTROL_FORGET: sound = forget_table(child, body); break;
        case CONTROL_CALL: sound = start_statement(child, body, fd); break;
        default: sound = false;
        }
        if (!sound) {
            log_error("engine", "a message of the server could not be read", LOG_INT("kind", header.kind), LOG_INT("bytes", header.length), NULL);
            return;
        }
        if (payload.cap > (1u << 20)) {
            buf_free(&payload);
        }
    }
}

/* ---- the log ---- */

enum status child_log_scan(struct child *child, const struct statement *s, struct log_range range, struct log_scan **out, struct err *err) {
    WITH_LOCK(&child->log_lock); /* over both steps: another statement may forget what this one needs indexed */
    enum status st = OK;
    must(range.stream <= EVENT_STREAM_MAX);
    if (!child->log) {
        AUTO_FREE char *dir = mem_printf("%s/log", child->data_dir);
        st = log_view_open(dir, &child->host, &child->log, err);
    }
    if (range.to > s->request.durable) {
        range.to = s->request.durable; /* nothing beyond the durable position is ever seen */
    }
    log_position from = range.from < s->request.index_from ? range.from : s->request.index_from;
    if (st == OK) {
        st = log_view_advance(child->log, from, s->request.durable, err);
    }
    return st == OK ? log_scan_begin(child->log, &range, out, err) : st;
}

/* ---- opening DuckDB ---- */

static enum status configure(const char *name, const char *value, duckdb_config config, struct err *err) {
    if (duckdb_set_config(config, name, value) != DuckDBSuccess) {
        return err_set(err, E_INTERNAL, "DuckDB does not take %s = %s", name, value);
    }
    return OK;
}

static enum status open_database(struct child *child, struct err *err) {
    duckdb_config config;
    must(duckdb_create_config(&config) == DuckDBSuccess);
    char threads[16], memory[32];
    snprintf(threads, sizeof threads, "%u", child->threads);
    snprintf(memory, sizeof memory, "%lluB", (unsigned long long)child->memory_bytes);
    const char *settings[][2] = {
        {"threads", threads}, {"memory_limit", memory}, {"autoinstall_known_extensions", "false"}, {"autoload_known_extensions", "false"},
        {"allow_community_extensions", "false"}, {"allow_unsigned_extensions", "false"}, {"allow_persistent_secrets", "false"},
        {"checkpoint_threshold", "64MB"}, /* of the warehouse's WAL: a COMMIT that reaches it waits for the checkpoint, about 0.6 s; so long takes a restart */
    };
    enum status st = OK;
    for (size_t i = 0; i < sizeof settings / sizeof *settings && st == OK; i++) {
        st = configure(settings[i][0], settings[i][1], config, err);
    }
    char *why = NULL;
    if (st == OK && duckdb_open_ext(NULL, &child->db, config, &why) != DuckDBSuccess) {
        st = err_set(err, E_INTERNAL, "opening DuckDB: %s", why ? why : "no reason given");
    }
    duckdb_free(why);
    duckdb_destroy_config(&config);
    return st;
}

/* After this no statement reaches a file outside the folders given, and none changes a setting. */
static enum status lock_down(struct child *child, duckdb_connection connection, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SET GLOBAL allowed_directories = [");
    const char *below_data[] = {"lake", "tmp"}; /* the log is read by our own code */
    for (size_t i = 0; i < 2; i++) {
        AUTO_FREE char *dir = mem_printf("%s/%s/", child->data_dir, below_data[i]);
        buf_text(&sql, i ? ", " : "");
        sql_quote_text(&sql, str_of(dir));
    }
    for (size_t i = 0; i < child->read_dirs_n; i++) {
        AUTO_FREE char *dir = mem_printf("%s/", child->read_dirs[i]);
        buf_text(&sql, ", ");
        sql_quote_text(&sql, str_of(dir));
    }
    buf_text(&sql, "]; SET GLOBAL temp_directory = ");
    AUTO_FREE char *tmp = mem_printf("%s/tmp/engine", child->data_dir);
    sql_quote_text(&sql, str_of(tmp));
    buf_text(&sql, "; SET GLOBAL TimeZone = 'UTC'; SET GLOBAL Calendar = 'gregorian'; SET GLOBAL max_temp_directory_size = '20GB'");
    buf_text(&sql, "; SET GLOBAL parquet_metadata_cache = true"); /* data files never change under their name */
    buf_text(&sql, "; SET GLOBAL allowed_configs = ['TimeZone', 'search_path']"); /* of a session; users have no SET */
    buf_text(&sql, "; SET GLOBAL enable_external_access = false; SET GLOBAL lock_configuration = true");
    duckdb_result result;
    enum status st = OK;
    if (duckdb_query(connection, buf_cstr(&sql), &result) != DuckDBSuccess) {
        st = err_set(err, E_INTERNAL, "locking DuckDB down: %s", duckdb_result_error(&result));
    }
    duckdb_destroy_result(&result);
    return st;
}

/* What an engine that was killed left in data/tmp: spilled blocks and results on their way. */
static enum status clean_temporary(struct child *child, struct err *err) {
    ARENA_SCOPE(arena);
    const struct fs *fs = child->host.fs;
    char *tmp = arena_printf(arena, "%s/tmp", child->data_dir), *spilled = arena_printf(arena, "%s/engine", tmp);
    enum status st = fs_mkdirs(fs, tmp, err);
    if (st == OK && fs_exists(fs, spilled)) {
        st = fs_remove_tree(fs, spilled, err);
    }
    struct fs_entry *entries;
    size_t n = 0;
    st = st == OK ? fs->list(fs->self, arena, tmp, &entries, &n, err) : st;
    for (size_t i = 0; st == OK && i < n; i++) {
        if (strncmp(entries[i].name, QUERY_FILE, strlen(QUERY_FILE)) == 0) {
            st = fs->unlink(fs->self, arena_printf(arena, "%s/%s", tmp, entries[i].name), err);
        }
    }
    return st;
}

static enum status open_engine(struct child *child, struct err *err) {
    enum status st = clean_temporary(child, err);
    if (st == OK) {
        st = open_database(child, err);
    }
    duckdb_connection connection = NULL;
    if (st == OK && duckdb_connect(child->db, &connection) != DuckDBSuccess) {
        st = err_set(err, E_INTERNAL, "connecting to DuckDB");
    }
    if (st == OK) {
        st = scalar_register(connection, err);
    }
    if (st == OK) {
        st = log_scan_register(child, connection, err);
    }
    if (st == OK) {
        st = rows_scan_register(child, connection, err);
    }
    if (st == OK) {
        st = macros_open(connection, err);
    }
    if (st == OK) {
        warehouse_open(child, connection);
        st = lock_down(child, connection, err);
    }
    duckdb_disconnect(&connection);
    return st;
}

/* The kernel, short of memory, takes this process before the server. */
static void offer_to_oom_killer(void) {
    const struct fs *fs = fs_real();
    int file;
    if (fs->open(fs->self, "/proc/self/oom_score_adj", FS_WRITE, &file, NULL) == OK) {
        fs->pwrite(fs->self, file, "800", 3, 0, NULL);
        fs->close(fs->self, file);
    }
}

/* DuckDB's own limit does not see what its functions take from malloc (printf('%2000000000d', 1), range(2000000000) as a list). With this one the
 * allocation fails and with it the query, not the machine. Twice the limit is what DuckDB itself was seen to peak at. */
static void limit_memory(const struct child *child) {
    uint64_t stacks = (uint64_t)(child->threads + child->sessions_n) * (16u << 20);
    (void)host_limit_memory(2 * child->memory_bytes + stacks + (1ull << 30));
}

static bool read_arguments(struct child *child, int argc, char **argv) {
    child->control = -1;
    child->read_dirs = mem_zalloc((size_t)(argc + 1) * sizeof *child->read_dirs);
    for (int i = 1; i < argc; i++) {
        uint64_t number = 0;
        if (str_is(str_of(argv[i]), "--trusted")) {
            child->trusted = true;
            continue;
        }
        if (i + 1 >= argc) {
            return false;
        }
        struct str name = str_of(argv[i]), value = str_of(argv[++i]);
        bool is_number = str_to_u64(value, &number);
        if (str_is(name, "--data")) {
            child->data_dir = argv[i];
        } else if (str_is(name, "--read-dir")) {
            child->read_dirs[child->read_dirs_n++] = argv[i];
        } else if (str_is(name, "--timezone")) {
            child->timezone = argv[i];
        } else if (!is_number) {
            return false;
        } else if (str_is(name, "--fd")) {
            child->control = (int)number;
        } else if (str_is(name, "--memory")) {
            child->memory_bytes = number;
        } else if (str_is(name, "--threads")) {
            child->threads = (uint32_t)number;
        } else if (str_is(name, "--sessions")) {
            child->sessions_n = (uint32_t)number;
        } else {
            return false;
        }
    }
    return child->control >= 0 && child->data_dir && child->memory_bytes && child->threads && child->sessions_n > ENGINE_WORK_MAX;
}

int engine_main(int argc, char **argv, const struct row_source_kind *const *kinds) {
    struct child *child = mem_zalloc(sizeof *child);
    child->host = host_default();
    child->kinds = kinds;
    if (!read_arguments(child, argc, argv)) {
        fputs("cupel engine is started by the server, not by hand\n", stderr);
        return 2;
    }
    host_signals_block(); /* Ctrl-C and service managers signal the whole group: the server still needs us for its last flush, and we end with it */
    log_configure((struct log_options){.level = LOG_INFO, .process = "engine"});
    offer_to_oom_killer();
    limit_memory(child);
    mutex_init(&child->lock);
    mutex_init(&child->send_lock);
    mutex_init(&child->log_lock);
    condition_init(&child->changed);
    child->sessions = mem_zalloc(child->sessions_n * sizeof *child->sessions);
    for (uint32_t i = 0; i < child->sessions_n; i++) {
        child->sessions[i].child = child;
        child->sessions[i].catalog = child->catalogs++;
        child->sessions[i].views = map_new();
    }
    struct err err = {0};
    if (open_engine(child, &err) != OK) {
        log_error("engine", "did not start", LOG_STR("error", err.text), NULL);
        return 1;
    }
    struct thread watcher = {0};
    thread_start(&watcher, "engine-watcher", watcher_run, child);
    tell_server(child, CONTROL_READY, child->warehouse_why ? child->warehouse_status : OK);
    control_loop(child);
    _Exit(0); /* the server is gone: nothing here needs an orderly end, and statements under way must not finish their files */
}
