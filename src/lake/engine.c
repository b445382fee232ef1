/* The server's side of the engine: starts the child, hands it statements, reads answers, notices its death.
 *
 * Locks: `lock` guards the state and is never held over a blocking call; `send_lock` (taken first) keeps the order of the control socket, so that a table's
 * definition is always ahead of the statements that name it. One monitor thread per child reads what the child says and reaps it. */
#include "lake/engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/engine_server.h"

#define LOOK_MS 1000 /* how often the monitor looks for calls that do not end */
#define DYING_MS 250 /* from kill(2) to the end of a process with much memory */
#define WAREHOUSE_AGAIN_MS 5000
#define START_MS 30000 /* from spawn to CONTROL_READY */
#define BACKOFF_MS_MAX 10000
#define BACKOFF_WAIT_MS 2000 /* a call waits this long for a restart, else fails at once */
#define INTERNAL_WAIT_MS 120000 /* internal statements wait this long for a place */
#define ROWS_BYTES_MAX (64u << 20)
#define CHECKPOINT_BYTES_MIN (1u << 20) /* less WAL than this is replayed in 12 ms */

static int64_t now_ms(const struct engine *engine) { return host_monotonic_ms(engine->options.host); }

/* ---- making and freeing ---- */

static const char *const *copy_list(struct arena *arena, const char *const *list) {
    size_t n = 0;
    while (list && list[n]) {
        n++;
    }
    const char **copy = arena_new_array(arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        copy[i] = arena_strdup(arena, list[i]);
    }
    return copy;
}

enum status engine_new(const struct engine_options *options, struct engine **out, struct err *err) {
    must(options->host && options->data_dir);
    if (options->queries_max > 256) {
        return err_set(err, E_INVALID, "at most 256 queries at once, got %u", options->queries_max);
    }
    struct engine *engine = mem_zalloc(sizeof *engine);
    engine->arena = arena_new();
    engine->options = *options;
    struct engine_options *o = &engine->options;
    o->data_dir = arena_strdup(engine->arena, options->data_dir);
    o->timezone = options->timezone ? arena_strdup(engine->arena, options->timezone) : NULL;
    o->read_dirs = copy_list(engine->arena, options->read_dirs);
    o->memory_bytes = options->memory_bytes ? options->memory_bytes : 1u << 30;
    o->threads = options->threads ? options->threads : (uint32_t)host_cores();
    o->queries_max = options->queries_max ? options->queries_max : 8;
    o->query_wait_ms = options->query_wait_ms ? options->query_wait_ms : 10000;
    o->query_time_ms = options->query_time_ms ? options->query_time_ms : 300000;
    o->stuck_ms = options->stuck_ms ? options->stuck_ms : 10000;
    mutex_init(&engine->lock);
    mutex_init(&engine->send_lock);
    condition_init(&engine->changed);
    engine->control = -1;
    engine->told = map_new();
    *out = engine;
    return OK;
}

static bool same_list(const char *const *a, const char *const *b) {
    size_t i = 0;
    while (a[i] && b[i] && strcmp(a[i], b[i]) == 0) i++;
    return !a[i] && !b[i];
}

void engine_set_read_dirs(struct engine *engine, const char *const *read_dirs) {
    must(engine && read_dirs);
    WITH_LOCK(&engine->lock);
    if (same_list(engine->options.read_dirs, read_dirs)) return;
    engine->options.read_dirs = copy_list(engine->arena, read_dirs);
    if (engine->state == CHILD_NONE || engine->state == CHILD_GONE || engine->ending) return;
    engine->renewing = true;
    host_process_kill(&engine->process, HOST_SIGNAL_KILL);
}

static void forget_told(struct engine *engine) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(engine->told, &at, &key, &value)) {
        free(value);
    }
    map_free(&engine->told);
    engine->told = map_new();
}

/* Folds the warehouse's WAL into its file, so that neither the next start nor the next command has to replay it. Nothing is lost without it, nor when the
 * child is killed meanwhile. */
static void checkpoint_warehouse(struct engine *engine) {
    const struct fs *fs = engine->options.host->fs;
    AUTO_FREE char *wal = mem_printf("%s/warehouse.duckdb.wal", engine->options.data_dir);
    struct fs_stat stat;
    if (!engine_pid(engine) || fs->stat(fs->self, wal, &stat, NULL) != OK || stat.size_bytes < CHECKPOINT_BYTES_MIN) {
        return;
    }
    const struct engine_query query = {
        .sql = STR("SELECT * FROM checkpoint('warehouse')"), .format = RESULT_JSON, .internal = true, .time_ms = engine->options.stuck_ms};
    struct engine_call *call;
    struct err err = {0};
    char rows[256];
    size_t got = 1;
    enum status st = engine_query_start(engine, &query, &call, &err);
    if (st == OK) {
        while (st == OK && got) {
            st = engine_call_read(call, rows, sizeof rows, &got, &err);
        }
        engine_call_end(&call);
    }
    if (st != OK) {
        log_info("engine", "the warehouse's WAL stays for the next start", LOG_STR("error", err.text), NULL);
    }
}

void engine_free(struct engine **pointer) {
    struct engine *engine = *pointer;
    if (!engine) {
        return;
    }
    checkpoint_warehouse(engine);
    mutex_lock(&engine->lock);
    must(!engine->lines[LINE_USER].taken && !engine->lines[LINE_INTERNAL].taken && !engine->lines[LINE_WORK].taken);
    engine->ending = true;
    if (engine->state == CHILD_UP || engine->state == CHILD_STARTING) {
        host_process_kill(&engine->process, HOST_SIGNAL_KILL); /* what it holds now needs no orderly end */
    }
    mutex_unlock(&engine->lock);
    thread_join(&engine->monitor);
    must(!engine->calls);
    forget_told(engine);
    map_free(&engine->told);
    condition_destroy(&engine->changed);
    mutex_destroy(&engine->send_lock);
    mutex_destroy(&engine->lock);
    arena_free(&engine->arena);
    free(engine);
    *pointer = NULL;
}

pid_t engine_pid(struct engine *engine) {
    WITH_LOCK(&engine->lock);
    return engine->state == CHILD_UP ? engine->process.pid : 0;
}

/* ---- calls: their list and end ---- */

static void call_free(struct engine_call *call) {
    host_close(&call->fd);
    buf_free(&call->head);
    buf_free(&call->frame);
    free(call);
}

static void call_unlink(struct engine *engine, struct engine_call *call) {
    if (call->prev) {
        call->prev->next = call->next;
    } else if (engine->calls == call) {
        engine->calls = call->next;
    }
    if (call->next) {
        call->next->prev = call->prev;
    }
    call->next = call->prev = NULL;
    call->child = 0; /* no longer with the child */
}

/* ---- the monitor: one thread per child ---- */

/* Kills a child that holds on to a call which was cancelled, or is overdue, for too long: duckdb_interrupt does not reach every loop. */
static void kill_when_stuck(struct engine *engine) {
    WITH_LOCK(&engine->lock);
    int64_t now = now_ms(engine);
    for (struct engine_call *call = engine->calls; call; call = call->next) {
        bool overdue = call->give_up_ms && now > call->give_up_ms && engine->state == CHILD_UP;
        if (overdue && (call->closed || (call->fd >= 0 && !host_wait_readable(call->fd, 0)))) { /* readable: it is our reader that is slow */
            log_warn("engine", "killed: a call did not end after its interrupt", LOG_INT("call", call->id), LOG_INT("pid", engine->process.pid), NULL);
            host_process_kill(&engine->process, HOST_SIGNAL_KILL);
            call->give_up_ms = 0;
            call->overdue = true;
            return;
        }
    }
    engine->cpu_now = host_cpu_seconds(engine->process.pid);
}

static void call_ended(struct engine *engine, uint64_t id) {
    WITH_LOCK(&engine->lock);
    for (struct engine_call *call = engine->calls; call; call = call->next) {
        if (call->id != id) {
            continue;
        }
        call_unlink(engine, call);
        if (call->closed) {
            call_free(call);
        }
        return;
    }
}

/* Another program had the warehouse open, or there was no room to make it: that passes, and only a new child can try again. Not in the middle of calls. */
static void renew_for_warehouse(struct engine *engine, int64_t up_ms) {
    WITH_LOCK(&engine->lock);
    bool passes = engine->warehouse == E_BUSY || engine->warehouse == E_NO_SPACE;
    if (!passes || up_ms < WAREHOUSE_AGAIN_MS || engine->state != CHILD_UP || engine->calls || engine->ending || engine->renewing) {
        return;
    }
    engine->renewing = true;
    host_process_kill(&engine->process, HOST_SIGNAL_KILL);
}

/* Reads what the child says until it is gone. */
static void monitor_read(struct engine *engine, int control) {
    must(control >= 0);
    int64_t looked_ms = now_ms(engine), started_ms = looked_ms;
    for (;;) {
        renew_for_warehouse(engine, now_ms(engine) - started_ms);
        bool readable = host_wait_readable(control, LOOK_MS);
        if (now_ms(engine) - looked_ms >= LOOK_MS) {
            kill_when_stuck(engine);
            looked_ms = now_ms(engine);
        }
        if (!readable) {
            continue;
        }
        struct wire_header header;
        uint64_t id = 0;
        if (host_recv(control, &header, sizeof header, NULL) != OK || header.length > sizeof id ||
            (header.length && host_recv(control, &id, header.length, NULL) != OK)) {
            return;
        }
        if (header.kind == CONTROL_READY) {
            WITH_LOCK(&engine->lock);
            engine->state = CHILD_UP;
            engine->warehouse = (enum status)id;
            condition_broadcast(&engine->changed);
        } else if (header.kind == CONTROL_ENDED) {
            call_ended(engine, id);
        }
    }
}

static void *monitor_run(void *argument) {
    struct engine *engine = argument;
    monitor_read(engine, engine->control);
    mutex_lock(&engine->lock);
    struct host_process process = engine->process;
    mutex_unlock(&engine->lock);
    int exit_status = 0;
    pid_t pid = process.pid;
    double cpu = host_cpu_seconds(pid);
    if (!host_process_wait(&process, 2000, &exit_status)) {
        host_process_kill(&process, HOST_SIGNAL_KILL);
        host_process_wait(&process, -1, &exit_status);
    }
    mutex_lock(&engine->send_lock); /* nobody is sending any more */
    mutex_lock(&engine->lock);
    host_close(&engine->control);
    host_process_end_text(exit_status, engine->why_gone, sizeof engine->why_gone);
    engine->state = CHILD_GONE;
    engine->process.pid = 0;
    engine->cpu_before += cpu > engine->cpu_now ? cpu : engine->cpu_now;
    engine->cpu_now = 0;
    if (engine->renewing) snprintf(engine->why_gone, sizeof engine->why_gone, "it is started anew");
    if (!engine->ending && !engine->renewing) {
        engine->died++;
        int64_t backoff = engine->failures ? 100LL << (engine->failures < 8 ? engine->failures : 8) : 0;
        engine->failures++;
        engine->start_after_ms = now_ms(engine) + (backoff < BACKOFF_MS_MAX ? backoff : BACKOFF_MS_MAX);
        log_warn("engine", "the engine process ended", LOG_INT("pid", pid), LOG_STR("reason", engine->why_gone), NULL);
    }
    engine->renewing = false;
    while (engine->calls) {
        struct engine_call *call = engine->calls;
        call_unlink(engine, call); /* NOLINT(clang-analyzer-unix.Malloc): what was freed is not in the list any more */
        if (call->closed) {
            call_free(call);
        }
    }
    forget_told(engine);
    condition_broadcast(&engine->changed);
    mutex_unlock(&engine->lock);
    mutex_unlock(&engine->send_lock);
    return NULL;
}

/* ---- starting the child ---- */

static enum status spawn(struct engine *engine, struct err *err) {
    ARENA_SCOPE(arena);
    const struct engine_options *o = &engine->options;
    int fds[2];
    enum status st = host_socketpair(fds, err);
    if (st != OK) {
        return st;
    }
    size_t dirs = 0;
    while (o->read_dirs[dirs]) {
        dirs++;
    }
    char **argv = arena_new_array(arena, char *, 24 + 2 * dirs);
    size_t n = 0;
    argv[n++] = host_self_path(arena);
    argv[n++] = arena_strdup(arena, "engine");
    argv[n++] = arena_strdup(arena, "--fd");
    argv[n++] = arena_printf(arena, "%d", fds[1]);
    argv[n++] = arena_strdup(arena, "--data");
    argv[n++] = arena_strdup(arena, o->data_dir);
    argv[n++] = arena_strdup(arena, "--memory");
    argv[n++] = arena_printf(arena, "%llu", (unsigned long long)o->memory_bytes);
    argv[n++] = arena_strdup(arena, "--threads");
    argv[n++] = arena_printf(arena, "%u", o->threads);
    argv[n++] = arena_strdup(arena, "--sessions");
    argv[n++] = arena_printf(arena, "%u", o->queries_max + ENGINE_INTERNAL_CALLS_MAX + ENGINE_WORK_MAX);
    if (o->timezone) {
        argv[n++] = arena_strdup(arena, "--timezone");
        argv[n++] = arena_strdup(arena, o->timezone);
    }
    if (o->trusted) {
        argv[n++] = arena_strdup(arena, "--trusted");
    }
    for (size_t i = 0; i < dirs; i++) {
        argv[n++] = arena_strdup(arena, "--read-dir");
        argv[n++] = arena_strdup(arena, o->read_dirs[i]);
    }
    st = host_spawn(argv, &fds[1], 1, &engine->process, err);
    host_close(&fds[1]);
    if (st != OK) {
        host_close(&fds[0]);
        return err_prefix(err, "starting the engine");
    }
    engine->control = fds[0];
    return OK;
}

/* With `lock` held; gives it up while waiting. On OK the child is up. */
static enum status ensure_up(struct engine *engine, struct err *err) {
    int64_t until = now_ms(engine) + START_MS;
    for (;;) {
        if (engine->ending) {
            return err_set(err, E_UNAVAILABLE, "the engine is being stopped");
        }
        if (engine->state == CHILD_UP) {
            return OK;
        }
        int64_t now = now_ms(engine);
        if (engine->state == CHILD_STARTING) {
            if (now >= until) {
                host_process_kill(&engine->process, HOST_SIGNAL_KILL);
                return err_set(err, E_UNAVAILABLE, "the engine did not start within %d s", START_MS / 1000);
            }
            condition_wait_ms(&engine->changed, &engine->lock, 500);
            continue;
        }
        if (engine->start_after_ms - now > BACKOFF_WAIT_MS) {
            return err_set(err, E_UNAVAILABLE, "the engine ended (%s) and starts again in %lld s", engine->why_gone,
                (long long)(engine->start_after_ms - now + 999) / 1000);
        }
        if (engine->start_after_ms > now) {
            condition_wait_ms(&engine->changed, &engine->lock, engine->start_after_ms - now);
            continue;
        }
        struct thread old = engine->monitor; /* of the child before; it has nothing left to do */
        engine->state = CHILD_STARTING;
        engine->monitor = (struct thread){0};
        mutex_unlock(&engine->lock);
        thread_join(&old);
        mutex_lock(&engine->lock);
        enum status st = spawn(engine, err);
        if (st != OK) {
            engine->state = CHILD_GONE;
            engine->start_after_ms = now + 1000;
            condition_broadcast(&engine->changed);
            return st;
        }
        engine->child++;
        thread_start(&engine->monitor, "engine-monitor", monitor_run, engine);
    }
}

/* ---- sending ---- */

static char *table_key(struct arena *arena, const struct engine_table *table) { return arena_printf(arena, "%s.%s", table->schema, table->name); }

/* The child's number of this table at this version; appends the definition to `out` when the child does not have it, taking the place of the version that
 * was not used for longest. */
static uint32_t tell_table(struct engine *engine, struct arena *arena, const struct engine_table *table, struct buf *out) {
    struct str key = str_of(table_key(arena, table));
    struct told_table *told = map_get(engine->told, key);
    if (!told) {
        told = mem_zalloc(sizeof *told);
        map_put(engine->told, key, told);
    }
    size_t oldest = 0;
    for (size_t i = 0; i < VERSIONS_KEPT; i++) {
        if (told->versions[i].number && told->versions[i].version == table->version) {
            told->versions[i].used = engine->ticks;
            return told->versions[i].number;
        }
        if (told->versions[i].used < told->versions[oldest].used) {
            oldest = i;
        }
    }
    BUF_SCOPE(message);
    if (told->versions[oldest].number) {
        wire_begin(&message, CONTROL_FORGET);
        buf_u32(&message, told->versions[oldest].number);
        wire_end(&message);
        buf_str(out, buf_view(&message));
        buf_clear(&message);
    }
    uint32_t number = told->versions[oldest].number ? told->versions[oldest].number : ++engine->table_numbers;
    wire_begin(&message, CONTROL_TABLE);
    wire_put_table(&message, number, table);
    wire_end(&message);
    out->failed = out->failed || message.failed;
    buf_str(out, buf_view(&message));
    must(number);
    told->versions[oldest].version = table->version;
    told->versions[oldest].number = number;
    told->versions[oldest].used = engine->ticks;
    return number;
}

/* With `send_lock` held. Tells the tables that the child does not know yet, then the statement with its end of the call's socket. */
static enum status send_call(struct engine *engine, struct engine_request *request, const struct engine_view *view, int passed, struct err *err) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(tables);
    BUF_SCOPE(message);
    must(engine->control >= 0 && request->id);
    if (view) {
        engine->ticks++;
        uint32_t *numbers = arena_new_array(arena, uint32_t, view->tables_n);
        for (size_t i = 0; i < view->tables_n; i++) {
            numbers[i] = tell_table(engine, arena, &view->tables[i], &tables);
        }
        request->tables = numbers;
        request->tables_n = (uint32_t)view->tables_n;
        request->durable = view->durable;
        request->index_from = view->index_from;
    }
    wire_begin(&message, CONTROL_CALL);
    wire_put_request(&message, request);
    wire_end(&message);
    if (message.failed || tables.failed) {
        forget_told(engine); /* numbers were given out that the child will not hear of */
        return err_set(err, E_LIMIT, "the statement and its tables are over %u MB", WIRE_PAYLOAD_MAX >> 20);
    }
    enum status st = tables.n ? host_send(engine->control, tables.p, tables.n, err) : OK;
    return st == OK ? host_send_with_fd(engine->control, message.p, message.n, passed, err) : st;
}

/* One attempt. E_UNAVAILABLE: the child died before it had the whole statement; safe to try again. */
static enum status start_once(
    struct engine *engine, struct engine_call *call, struct engine_request *request, const struct engine_view *view, struct err *err) {
    mutex_lock(&engine->lock);
    enum status st = ensure_up(engine, err);
    mutex_unlock(&engine->lock);
    int fds[2];
    if (st != OK || (st = host_socketpair(fds, err)) != OK) {
        return st;
    }
    mutex_lock(&engine->send_lock);
    mutex_lock(&engine->lock);
    bool up = engine->state == CHILD_UP;
    if (up) {
        call->id = request->id = ++engine->call_ids;
        call->tried = call->child = engine->child;
        call->next = engine->calls;
        if (engine->calls) {
            engine->calls->prev = call;
        }
        engine->calls = call;
    }
    mutex_unlock(&engine->lock);
    st = up ? send_call(engine, request, view, fds[1], err) : err_set(err, E_UNAVAILABLE, "the engine ended");
    mutex_unlock(&engine->send_lock);
    host_close(&fds[1]);
    if (st != OK) {
        mutex_lock(&engine->lock);
        if (call->child) {
            call_unlink(engine, call);
        }
        mutex_unlock(&engine->lock);
        host_close(&fds[0]);
        return st;
    }
    mutex_lock(&engine->lock);
    call->fd = fds[0];
    mutex_unlock(&engine->lock);
    return OK;
}

static enum engine_line line_of(const struct engine_request *request) {
    return request->kind == CALL_WORK ? LINE_WORK : request->internal ? LINE_INTERNAL : LINE_USER;
}

static uint32_t places(const struct engine *engine, enum engine_line line) {
    return line == LINE_WORK ? ENGINE_WORK_MAX : line == LINE_INTERNAL ? ENGINE_INTERNAL_CALLS_MAX : engine->options.queries_max;
}

/* With `lock` held. A place that gets free goes to whoever waits longest: by chance, some would wait for ever under steady load. */
static void serve_line(struct engine *engine, enum engine_line which) {
    struct place_line *line = &engine->lines[which];
    while (line->first && line->taken < places(engine, which)) {
        struct place_waiter *waiter = line->first;
        line->first = waiter->next;
        waiter->served = true;
        line->taken++;
    }
}

static void quit_line(struct place_line *line, const struct place_waiter *waiter) {
    struct place_waiter **link = &line->first;
    while (*link != waiter) {
        must(*link);
        link = &(*link)->next;
    }
    *link = waiter->next;
}

/* Takes one of the places for statements at once, waiting in line. */
static enum status take_place(struct engine *engine, enum engine_line which, struct err *err) {
    WITH_LOCK(&engine->lock);
    struct place_line *line = &engine->lines[which];
    int64_t wait_ms = which == LINE_USER ? engine->options.query_wait_ms : INTERNAL_WAIT_MS;
    int64_t until = now_ms(engine) + wait_ms;
    struct place_waiter waiter = {0}, **link = &line->first;
    while (*link) link = &(*link)->next;
    *link = &waiter;
    serve_line(engine, which);
    while (!waiter.served) {
        int64_t left = until - now_ms(engine);
        if (left <= 0) {
            quit_line(line, &waiter);
            if (wait_ms < 0) {
                return err_set(err, E_BUSY, "%u queries are running", places(engine, which));
            }
            return err_set(err, E_BUSY, "%u queries are running, and it was not this one's turn within %lld ms", places(engine, which), (long long)wait_ms);
        }
        condition_wait_ms(&engine->changed, &engine->lock, left);
    }
    return OK;
}

static void leave_place(struct engine *engine, enum engine_line which) {
    WITH_LOCK(&engine->lock);
    must(engine->lines[which].taken > 0);
    engine->lines[which].taken--;
    serve_line(engine, which);
    condition_broadcast(&engine->changed);
}

/* The child's end of the control socket is gone, its death may not have been noticed yet: until then it would be tried again in vain. */
static void wait_for_end(struct engine *engine, uint64_t child) {
    WITH_LOCK(&engine->lock);
    for (int i = 0; i < 20 && engine->state == CHILD_UP && engine->child == child; i++) {
        condition_wait_ms(&engine->changed, &engine->lock, 100);
    }
}

enum status engine_call_start(
    struct engine *engine, struct engine_request *request, const struct engine_view *view, struct engine_call **out, struct err *err) {
    enum engine_line line = line_of(request);
    enum status st = take_place(engine, line, err);
    if (st != OK) {
        return st;
    }
    struct engine_call *call = mem_zalloc(sizeof *call);
    call->engine = engine;
    call->line = line;
    call->fd = -1;
    for (int attempt = 0; attempt < 3; attempt++) {
        st = start_once(engine, call, request, view, err);
        if (st != E_UNAVAILABLE) {
            break;
        }
        wait_for_end(engine, call->tried);
    }
    if (st != OK) {
        leave_place(engine, line);
        call_free(call);
        return st;
    }
    if (request->time_ms && request->kind != CALL_WORK) { /* of a session each run has its own time */
        WITH_LOCK(&engine->lock);
        call->give_up_ms = now_ms(engine) + request->time_ms + engine->options.stuck_ms;
    }
    *out = call;
    return OK;
}

/* ---- reading answers ---- */

/* The socket ended before the answer did: the child is dying or dead. */
static enum status call_lost(struct engine_call *call, struct err *err) {
    struct engine *engine = call->engine;
    mutex_lock(&engine->lock);
    for (int i = 0; i < 20 && engine->state == CHILD_UP && call->child; i++) {
        condition_wait_ms(&engine->changed, &engine->lock, 100);
    }
    if (call->overdue) {
        err_set(&call->err, E_TIMEOUT, "the query did not end within its time limit, nor when it was interrupted: the engine was started anew");
    } else {
        err_set(&call->err, E_UNAVAILABLE, "the engine died: %s", engine->why_gone[0] ? engine->why_gone : "its end of the call closed");
    }
    mutex_unlock(&engine->lock);
    call->finished = call->lost = true;
    if (err) {
        *err = call->err;
    }
    return call->err.status;
}

enum status engine_call_frame(struct engine_call *call, struct wire_header *header, struct err *err) {
    must(!call->finished && !call->data_left);
    if (host_recv(call->fd, header, sizeof *header, NULL) != OK || header->length > WIRE_PAYLOAD_MAX) {
        return call_lost(call, err);
    }
    if (header->kind == ANSWER_DATA) {
        call->data_left = header->length;
        return OK;
    }
    buf_clear(&call->frame);
    buf_reserve(&call->frame, header->length + 1);
    if (host_recv(call->fd, call->frame.p, header->length, NULL) != OK) {
        return call_lost(call, err);
    }
    call->frame.n = header->length;
    struct wire_in in = {call->frame.p, call->frame.n, false};
    if (header->kind == ANSWER_ERROR) {
        enum status st = wire_u32(&in);
        struct str text = wire_str(&in);
        call->finished = true;
        err_set(&call->err, st, STR_FMT, STR_ARG(text));
        if (err) {
            *err = call->err;
        }
        return st;
    }
    if (header->kind == ANSWER_END) {
        call->rows = wire_u64(&in);
        call->finished = true;
        WITH_LOCK(&call->engine->lock);
        call->engine->failures = 0;
    }
    return OK;
}

/* Waits for the call's next frame; true: the caller does not want it any more. */
static bool wait_unless_cancelled(struct engine_call *call, bool (*cancelled)(void *context), void *context) {
    while (cancelled && !host_wait_readable(call->fd, 100)) {
        if (cancelled(context)) {
            return true;
        }
    }
    return false;
}

/* Starts the query and waits for its head. */
static enum status query_once(
    struct engine *engine, const struct engine_query *query, struct engine_request *request, struct engine_call **out, struct err *err) {
    struct engine_call *call;
    enum status st = engine_call_start(engine, request, query->view, &call, err);
    if (st != OK) {
        return st;
    }
    if (wait_unless_cancelled(call, query->cancelled, query->cancelled_context)) {
        engine_call_end(&call);
        return err_set(err, E_CANCELLED, "the query was cancelled");
    }
    struct wire_header header = {0};
    st = engine_call_frame(call, &header, err);
    if (st == OK && header.kind != ANSWER_HEAD) {
        st = err_set(err, E_INTERNAL, "the engine answered with frame %u instead of a head", header.kind);
    }
    if (st != OK) {
        engine_call_end(&call);
        return st;
    }
    buf_str(&call->head, buf_view(&call->frame));
    *out = call;
    return OK;
}

/* A child that was killed still takes a statement for a moment. Within that moment it cannot have died of it, and a SELECT changes nothing: once more. */
enum status engine_query_start(struct engine *engine, const struct engine_query *query, struct engine_call **out, struct err *err) {
    must(query->sql.p && query->format <= RESULT_PARQUET);
    struct engine_request request = {
        .kind = CALL_QUERY,
        .internal = query->internal,
        .stand_ins = query->stand_ins,
        .time_ms = query->time_ms || query->internal ? query->time_ms : engine->options.query_time_ms,
        .sql = query->sql,
        .params = query->params,
        .params_n = query->params_n,
        .format = query->format,
        .rows_max = query->rows_max,
        .width_max = query->width_max,
    };
    struct engine_request again = request;
    int64_t started_ms = now_ms(engine);
    enum status st = query_once(engine, query, &request, out, err);
    if (st == E_UNAVAILABLE && now_ms(engine) - started_ms < DYING_MS) {
        st = query_once(engine, query, &again, out, err);
    }
    return st;
}

enum status engine_call_read(struct engine_call *call, void *bytes, size_t n, size_t *got, struct err *err) {
    must(n > 0);
    if (call->err.status != OK) {
        if (err) {
            *err = call->err;
        }
        return call->err.status;
    }
    while (!call->finished && !call->data_left) {
        struct wire_header header;
        enum status st = engine_call_frame(call, &header, err);
        if (st != OK) {
            return st;
        }
    }
    if (call->finished) {
        *got = 0;
        return OK;
    }
    size_t some = 0;
    enum status st = host_recv_some(call->fd, bytes, n < call->data_left ? n : call->data_left, &some, err);
    if (st != OK || !some) {
        return call_lost(call, err);
    }
    call->data_left -= some;
    *got = some;
    return OK;
}

int engine_call_fd(struct engine_call *call) { return call->fd; }

uint64_t engine_call_rows(const struct engine_call *call) { return call->rows; }

struct str engine_call_head(const struct engine_call *call) {
    return buf_view(&call->head);
}

void engine_call_end(struct engine_call **pointer) {
    struct engine_call *call = *pointer;
    if (!call) {
        return;
    }
    *pointer = NULL;
    struct engine *engine = call->engine;
    enum engine_line line = call->line;
    mutex_lock(&engine->lock);
    host_close(&call->fd); /* cancels when the child is still at it */
    call->closed = true;
    if (call->child) {
        call->give_up_ms = now_ms(engine) + engine->options.stuck_ms;
    } else {
        call_free(call);
    }
    mutex_unlock(&engine->lock);
    leave_place(engine, line);
}

/* ---- whole statements ---- */

enum status engine_rows(struct engine *engine, const struct engine_view *view, const char *sql, struct buf *out, struct err *err) {
    must(sql);
    struct engine_query query = {.sql = str_of(sql), .format = RESULT_JSON, .view = view, .internal = true, .time_ms = engine->options.query_time_ms};
    struct engine_call *call;
    enum status st = engine_query_start(engine, &query, &call, err);
    if (st != OK) {
        return st;
    }
    BUF_SCOPE(rows);
    rows.limit = ROWS_BYTES_MAX;
    while (st == OK && buf_reserve(&rows, 65536)) {
        size_t got = 0;
        st = engine_call_read(call, rows.p + rows.n, 65536, &got, err);
        if (st != OK || !got) {
            break;
        }
        rows.n += got;
    }
    engine_call_end(&call);
    if (st == OK && rows.failed) {
        return err_set(err, E_LIMIT, "an internal query gave more than %u MB", ROWS_BYTES_MAX >> 20);
    }
    if (st == OK) {
        buf_str(out, buf_view(&rows));
    }
    return st;
}

enum status engine_copy(struct engine *engine, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err) {
    must(copy->sql && copy->path);
    struct engine_request request = {
        .kind = CALL_COPY,
        .internal = true,
        .time_ms = copy->time_ms,
        .sql = str_of(copy->sql),
        .path = copy->path,
        .columns = copy->columns,
        .columns_n = copy->columns_n,
        .row_group_rows = copy->row_group_rows ? copy->row_group_rows : 20480,
    };
    struct engine_call *call;
    enum status st = engine_call_start(engine, &request, copy->view, &call, err);
    if (st != OK) {
        return st;
    }
    st = engine_call_copied(call, arena, copy, out, err);
    engine_call_end(&call);
    return st;
}

enum status engine_call_copied(struct engine_call *call, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err) {
    struct engine_copied copied = {0};
    enum status st = OK;
    bool got = false;
    while (st == OK && !call->finished) {
        struct wire_header header;
        if (wait_unless_cancelled(call, copy->cancelled, copy->cancelled_context)) {
            st = err_set(err, E_CANCELLED, "making a file was cancelled");
            break;
        }
        st = engine_call_frame(call, &header, err);
        struct wire_in in = {call->frame.p, call->frame.n, false};
        if (st == OK && header.kind == ANSWER_COPIED) {
            got = wire_get_copied(&in, arena, &copied);
        }
    }
    if (st == OK && !got) {
        st = err_set(err, E_INTERNAL, "the engine did not say what it copied");
    }
    if (st == OK) {
        *out = copied;
    }
    return st;
}

enum status engine_warehouse(struct engine *engine) {
    WITH_LOCK(&engine->lock);
    return engine->warehouse;
}

struct engine_stats engine_stats(struct engine *engine) {
    WITH_LOCK(&engine->lock);
    struct engine_stats stats = {.started = engine->child,
        .died = engine->died,
        .calls_running = engine->lines[LINE_USER].taken + engine->lines[LINE_INTERNAL].taken + engine->lines[LINE_WORK].taken,
        .cpu_seconds = engine->cpu_before};
    if (engine->state == CHILD_UP) {
        stats.resident_bytes = host_resident_bytes(engine->process.pid);
        stats.cpu_seconds += host_cpu_seconds(engine->process.pid);
    }
    return stats;
}
