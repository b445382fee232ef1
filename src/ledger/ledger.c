/* Ledger: opening, transactions, and the query helper. What is stored stands in the other files of this room. */
#include "ledger/ledger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "ledger/ledger_priv.h"

#define BUSY_TIMEOUT_MS 10000 /* how long another process (a catalog client) may hold the write lock */

static const char *const STATEMENT_SQL[SQL_COUNT] = {
#define X(name, sql) [SQL_##name] = sql,
    STATEMENT_TABLE(X)
#undef X
};

/* ---- errors ---- */

/* Result codes: https://www.sqlite.org/rescode.html. A full disk comes as SQLITE_FULL from the pager, or as an I/O error with its errno from below. */
static enum status status_of_sqlite(int code, int system_error) {
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return OK;
    case SQLITE_FULL: return E_NO_SPACE;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return system_error == ENOSPC || system_error == EDQUOT ? E_NO_SPACE : E_IO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT: return E_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return E_BUSY;
    case SQLITE_CONSTRAINT: return E_CONFLICT;
    case SQLITE_TOOBIG: return E_LIMIT;
    default: return E_INTERNAL;
    }
}

enum status ledger_sqlite_error(struct ledger *ledger, sqlite3 *db, int code, const char *doing, struct err *err) {
    int system_error = db ? sqlite3_system_errno(db) : 0;
    enum status status = status_of_sqlite(code, system_error);
    const char *text = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    must(status != OK);
    if (status == E_CORRUPT) {
        return err_set(err, status,
            "the ledger %s is damaged (%s): stop cupel, put a backup in its place (cupel restore), or move the file away and run `cupel table register "
            "--recover`",
            ledger->path, text);
    }
    if (status == E_BUSY) {
        return err_set(err, status, "ledger %s: another program holds its write lock for more than %d s", ledger->path, BUSY_TIMEOUT_MS / 1000);
    }
    if (system_error != 0 && (status == E_IO || status == E_NO_SPACE)) {
        return err_set(err, status, "ledger %s: %s: %s: %s", ledger->path, doing, text, strerror(system_error));
    }
    return err_set(err, status, "ledger %s: %s: %s", ledger->path, doing, text);
}

/* ---- statements ---- */

/* Prepared at first use, because most processes use few of the statements; kept until the connection closes. */
static int prepare(struct connection *connection, enum statement statement) {
    if (connection->statements[statement]) {
        return SQLITE_OK;
    }
    return sqlite3_prepare_v3(connection->db, STATEMENT_SQL[statement], -1, SQLITE_PREPARE_PERSISTENT, &connection->statements[statement], NULL);
}

/* SQLITE_TRANSIENT copies: callers' texts may live shorter than the statement's bindings. */
static int bind_all(sqlite3_stmt *stmt, const char *formats, va_list args) {
    int code = SQLITE_OK;
    for (int i = 1; *formats && code == SQLITE_OK; formats++, i++) {
        switch (*formats) {
        case 's': code = sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT); break;
        case 'i': code = sqlite3_bind_int64(stmt, i, va_arg(args, int64_t)); break;
        case 'b': {
            struct str blob = va_arg(args, struct str);
            code = sqlite3_bind_blob64(stmt, i, blob.n ? blob.p : "", blob.n, SQLITE_TRANSIENT);
            break;
        }
        default: must_not();
        }
    }
    return code;
}

/* A failure is kept in the query: next then gives no rows, and end returns it. */
static void query_open(struct query *q, enum statement statement, const char *formats, va_list args) {
    int code = prepare(q->connection, statement);
    if (code == SQLITE_OK) {
        q->stmt = q->connection->statements[statement];
        code = bind_all(q->stmt, formats, args);
    }
    if (code != SQLITE_OK) {
        q->status = ledger_sqlite_error(q->ledger, q->connection->db, code, "preparing a statement", q->err);
    }
}

/* Its address tells threads apart without a system call. */
static _Thread_local char thread_mark;

static bool owns_write(struct ledger *ledger) { return atomic_load_explicit(&ledger->owner, memory_order_relaxed) == &thread_mark; }

struct query ledger_query_read(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...) {
    bool inside = owns_write(ledger);
    struct query q = {.ledger = ledger, .connection = inside ? &ledger->write : &ledger->read, .err = err, .locked = !inside};
    if (q.locked) {
        mutex_lock(&q.connection->lock);
    }
    va_list args;
    va_start(args, formats);
    query_open(&q, statement, formats, args);
    va_end(args);
    return q;
}

struct query ledger_query_committed(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...) {
    struct query q = {.ledger = ledger, .connection = &ledger->read, .err = err};
    va_list args;
    va_start(args, formats);
    query_open(&q, statement, formats, args);
    va_end(args);
    return q;
}

struct query ledger_query_write(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...) {
    must(owns_write(ledger));
    struct query q = {.ledger = ledger, .connection = &ledger->write, .err = err};
    va_list args;
    va_start(args, formats);
    query_open(&q, statement, formats, args);
    va_end(args);
    return q;
}

bool query_next(struct query *q) {
    must(q && q->connection);
    if (q->status != OK || !q->stmt) {
        return false;
    }
    int code = sqlite3_step(q->stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        q->status = ledger_sqlite_error(q->ledger, q->connection->db, code, "running a statement", q->err);
    }
    return code == SQLITE_ROW;
}

/* Resetting ends the statement's read transaction: a statement left open would keep the WAL from being checkpointed. */
enum status query_end(struct query *q) {
    if (q->stmt) {
        sqlite3_reset(q->stmt);
        sqlite3_clear_bindings(q->stmt);
        q->stmt = NULL;
    }
    if (q->locked) {
        mutex_unlock(&q->connection->lock);
        q->locked = false;
    }
    return q->status;
}

enum status ledger_run(struct ledger *ledger, struct err *err, int64_t *changed, enum statement statement, const char *formats, ...) {
    must(owns_write(ledger));
    struct query q = {.ledger = ledger, .connection = &ledger->write, .err = err};
    va_list args;
    va_start(args, formats);
    query_open(&q, statement, formats, args);
    va_end(args);
    while (query_next(&q)) {}
    enum status status = query_end(&q);
    if (status == OK && changed) {
        *changed = sqlite3_changes(ledger->write.db);
    }
    return status;
}

int64_t query_int(const struct query *q, int column) { return sqlite3_column_int64(q->stmt, column); }

const char *query_text(const struct query *q, struct arena *arena, int column) {
    const char *text = (const char *)sqlite3_column_text(q->stmt, column);
    return text ? arena_strndup(arena, text, (size_t)sqlite3_column_bytes(q->stmt, column)) : NULL;
}

struct str query_blob(const struct query *q, struct arena *arena, int column) {
    const void *bytes = sqlite3_column_blob(q->stmt, column);
    return arena_str(arena, str_make(bytes ? bytes : "", (size_t)sqlite3_column_bytes(q->stmt, column)));
}

void *ledger_grow(struct arena *arena, void **list, size_t n, size_t *cap, size_t size) {
    if (n == *cap) {
        size_t bigger = *cap ? *cap * 2 : 16;
        char *copy = arena_zalloc(arena, bigger * size);
        if (n) {
            memcpy(copy, *list, n * size);
        }
        *list = copy;
        *cap = bigger;
    }
    return (char *)*list + n * size;
}

/* ---- transactions ---- */

enum status ledger_write_begin(struct ledger *ledger, struct err *err) {
    bool outer = !owns_write(ledger);
    if (outer) {
        mutex_lock(&ledger->write.lock);
        atomic_store(&ledger->owner, (const void *)&thread_mark);
        must(ledger->depth == 0);
        ledger->doomed = false;
    } else if (ledger->doomed) { /* SQLite has left the transaction: a write now would commit alone */
        if (err) {
            *err = ledger->doom;
        }
        return ledger->doom.status;
    }
    enum status status = ledger_run(ledger, err, NULL, outer ? SQL_BEGIN : SQL_SAVEPOINT, "");
    if (status == OK) {
        ledger->depth++;
    } else if (outer) {
        atomic_store(&ledger->owner, (const void *)NULL);
        mutex_unlock(&ledger->write.lock);
    }
    return status;
}

/* After some failures (disk full, I/O) SQLite rolls the whole transaction back by itself. */
static void note_doom(struct ledger *ledger, enum status status, const struct err *err) {
    if (!sqlite3_get_autocommit(ledger->write.db) || ledger->doomed) {
        return;
    }
    ledger->doomed = true;
    if (status != OK && err) {
        ledger->doom = *err;
    } else {
        err_set(&ledger->doom, status != OK ? status : E_IO, "ledger %s: the transaction was rolled back by the database", ledger->path);
    }
}

/* End of a savepoint. */
static enum status end_inner(struct ledger *ledger, enum status status, struct err *err) {
    struct err ignored;
    note_doom(ledger, status, err);
    if (ledger->doomed) {
        return status;
    }
    if (status != OK) {
        if (ledger_run(ledger, &ignored, NULL, SQL_SAVEPOINT_BACK, "") == OK) {
            (void)ledger_run(ledger, &ignored, NULL, SQL_SAVEPOINT_RELEASE, "");
        }
        note_doom(ledger, status, err);
        return status;
    }
    return ledger_run(ledger, err, NULL, SQL_SAVEPOINT_RELEASE, "");
}

/* End of the transaction: commit, or everything back. A commit that fails leaves it open, and then it is rolled back too. */
static enum status end_outer(struct ledger *ledger, enum status status, struct err *err) {
    struct err ignored;
    if (ledger->doomed) {
        if (status == OK) { /* the caller went on after a failure that took everything back */
            status = ledger->doom.status;
            if (err) {
                *err = ledger->doom;
            }
        }
    } else if (status == OK) {
        status = ledger_run(ledger, err, NULL, SQL_COMMIT, "");
    }
    if (!sqlite3_get_autocommit(ledger->write.db)) {
        (void)ledger_run(ledger, &ignored, NULL, SQL_ROLLBACK, "");
    }
    must(sqlite3_get_autocommit(ledger->write.db));
    return status;
}

enum status ledger_write_end(struct ledger *ledger, enum status status, struct err *err) {
    must(owns_write(ledger) && ledger->depth > 0);
    ledger->depth--;
    if (ledger->depth > 0) {
        return end_inner(ledger, status, err);
    }
    status = end_outer(ledger, status, err);
    atomic_store(&ledger->owner, (const void *)NULL);
    mutex_unlock(&ledger->write.lock);
    return status;
}

enum status ledger_transaction(struct ledger *ledger, enum status (*f)(void *context, struct ledger *ledger, struct err *err), void *context, struct err *err) {
    must(f != NULL);
    struct err own = {0};
    err = err ? err : &own;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    return ledger_write_end(ledger, f(context, ledger, err), err);
}

/* ---- opening ---- */

static enum status connection_open(struct ledger *ledger, struct connection *connection, int flags, struct err *err) {
    /* WAL is kept in the file; FULL syncs the WAL at each commit. trusted_schema off: a foreign writer cannot plant functions in views or triggers.
     * secure_delete: a protection key that was deleted is gone from the file too. */
    static const char PRAGMAS[] = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                                  "PRAGMA journal_size_limit = 67108864; PRAGMA cell_size_check = ON; PRAGMA secure_delete = ON;";
    int code = sqlite3_open_v2(ledger->path, &connection->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (code == SQLITE_OK) {
        sqlite3_busy_timeout(connection->db, BUSY_TIMEOUT_MS);
        code = sqlite3_exec(connection->db, PRAGMAS, NULL, NULL, NULL);
    }
    return code == SQLITE_OK ? OK : ledger_sqlite_error(ledger, connection->db, code, "opening it", err);
}

/* sqlite3_close refuses while a statement is left: that would be a leak of ours. */
static void connection_close(struct connection *connection) {
    for (int i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(connection->statements[i]);
    }
    if (connection->db) {
        must(sqlite3_close(connection->db) == SQLITE_OK);
    }
    mutex_destroy(&connection->lock);
}

/* The file is made by the host, not by SQLite: private, because it holds secrets (SQLite gives the WAL the same mode), and with its name synced. */
static enum status make_file(const struct host *host, const char *path, struct err *err) {
    if (fs_exists(host->fs, path)) {
        return OK;
    }
    int file = -1;
    enum status status = host->fs->open(host->fs->self, path, FS_WRITE | FS_CREATE | FS_PRIVATE, &file, err);
    if (status != OK) {
        return status;
    }
    host->fs->close(host->fs->self, file);
    return fs_sync_path(host->fs, path, err);
}

enum status ledger_open(const char *path, const struct host *host, struct ledger **out, struct err *err) {
    must(path && host && out);
    enum status status = make_file(host, path, err);
    if (status != OK) {
        return err_prefix(err, "ledger");
    }
    struct ledger *ledger = mem_zalloc(sizeof *ledger);
    ledger->host = host;
    ledger->path = mem_strdup(path);
    mutex_init(&ledger->write.lock);
    mutex_init(&ledger->read.lock);
    status = connection_open(ledger, &ledger->write, SQLITE_OPEN_READWRITE, err);
    if (status == OK) {
        status = ledger_schema_upgrade(ledger, err);
    }
    if (status == OK) {
        status = connection_open(ledger, &ledger->read, SQLITE_OPEN_READWRITE, err);
    }
    if (status != OK) {
        ledger_close(&ledger);
        return status;
    }
    *out = ledger;
    return OK;
}

void ledger_close(struct ledger **ledger) {
    if (!*ledger) {
        return;
    }
    must((*ledger)->depth == 0);
    connection_close(&(*ledger)->read);
    connection_close(&(*ledger)->write);
    free((*ledger)->path);
    free(*ledger);
    *ledger = NULL;
}
