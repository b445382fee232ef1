/* Ledger: tokens, protection keys, backup and check. */
#include "base/assert.h"
#include "base/mem.h"
#include "ledger/ledger_priv.h"

#include <stdlib.h>

#define SECRET_BYTES 32

/* ---- tokens ---- */

enum status ledger_token_list(struct ledger *ledger, struct arena *arena, struct ledger_token **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct ledger_token *list = NULL;
    size_t count = 0, cap = 0;
    struct query q = ledger_query_read(ledger, SQL_TOKEN_LIST, err, "");
    while (query_next(&q)) {
        struct ledger_token *item = ledger_grow(arena, (void **)&list, count, &cap, sizeof *list);
        struct str hash = query_blob(&q, arena, 2);
        must(hash.n == SECRET_BYTES);
        *item = (struct ledger_token){
            query_text(&q, arena, 0), query_text(&q, arena, 1), (const uint8_t *)hash.p, query_int(&q, 3), query_int(&q, 4), query_int(&q, 5)};
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}

enum status ledger_token_add(struct ledger *ledger, const char *name, const char *role, const uint8_t hash[32], int64_t expires_ms, struct err *err) {
    int64_t changed = 0;
    must(name && role && hash);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_TOKEN_ADD, "ssbii", name, role, str_make(hash, SECRET_BYTES), host_wall_ms(ledger->host), expires_ms);
    if (status == OK && changed == 0) {
        status = err_set(err, E_CONFLICT, "there is a token named %s already", name);
    }
    return ledger_write_end(ledger, status, err);
}

enum status ledger_token_revoke(struct ledger *ledger, const char *name, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_TOKEN_REVOKE, "s", name);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no token named %s", name);
    }
    return ledger_write_end(ledger, status, err);
}

/* A token that was revoked meanwhile, or used later already, is no error. */
enum status ledger_token_used(struct ledger *ledger, const char *name, int64_t at_ms, struct err *err) {
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, NULL, SQL_TOKEN_USED, "si", name, at_ms);
    return ledger_write_end(ledger, status, err);
}

/* ---- protection keys ---- */

/* Over the read connection, or, between write_begin and write_end, over the writing one. */
static enum status find_key(
    struct ledger *ledger, struct arena *arena, const char *kind, const char *subject, bool *found, struct protection_key *out, struct err *err) {
    struct query q = ledger_query_read(ledger, SQL_KEY_GET, err, "ss", kind, subject);
    *found = query_next(&q);
    if (*found) {
        struct str secret = query_blob(&q, arena, 3);
        must(secret.n == SECRET_BYTES && query_int(&q, 0) <= UINT32_MAX);
        *out = (struct protection_key){(uint32_t)query_int(&q, 0), query_text(&q, arena, 1), query_text(&q, arena, 2), (const uint8_t *)secret.p};
    }
    return query_end(&q);
}

enum status ledger_protection_key(
    struct ledger *ledger, struct arena *arena, const char *kind, const char *subject, struct protection_key *out, struct err *err) {
    struct protection_key key = {0};
    bool found = false;
    must(kind);
    subject = subject ? subject : "";
    enum status status = find_key(ledger, arena, kind, subject, &found, &key, err); /* the usual case takes no write lock */
    if (status == OK && !found) {
        status = ledger_write_begin(ledger, err);
        if (status != OK) {
            return status;
        }
        status = find_key(ledger, arena, kind, subject, &found, &key, err); /* another thread may have made it */
        if (status == OK && !found) {
            uint8_t secret[SECRET_BYTES];
            host_random(secret, sizeof secret);
            status = ledger_run(ledger, err, NULL, SQL_KEY_INSERT, "ssbi", kind, subject, str_make(secret, sizeof secret), host_wall_ms(ledger->host));
        }
        if (status == OK && !found) {
            status = find_key(ledger, arena, kind, subject, &found, &key, err);
            must(status != OK || found);
        }
        status = ledger_write_end(ledger, status, err);
    }
    if (status == OK) {
        *out = key;
    }
    return status;
}

/* ---- backup and check ---- */

/* SQLite's online backup in one step. A source that others write to meanwhile is read as it was at the start. */
static enum status copy_database(struct ledger *ledger, sqlite3 *from, sqlite3 *to, struct err *err) {
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup) {
        return ledger_sqlite_error(ledger, to, sqlite3_errcode(to), "starting the backup", err);
    }
    int code = sqlite3_backup_step(backup, -1); /* one read transaction: one point in time, writers go on (WAL) */
    int finish = sqlite3_backup_finish(backup);
    code = code == SQLITE_DONE ? finish : code;
    return code == SQLITE_OK ? OK : ledger_sqlite_error(ledger, to, code, "copying", err);
}

enum status ledger_backup(struct ledger *ledger, const char *path, struct err *err) {
    must(ledger && path);
    const struct fs *fs = ledger->host->fs;
    sqlite3 *from = NULL, *to = NULL;
    AUTO_FREE char *temporary = mem_printf("%s.tmp", path);
    int file = -1;
    enum status status = fs->open(fs->self, temporary, FS_WRITE | FS_CREATE | FS_TRUNCATE | FS_PRIVATE, &file, err);
    if (status != OK) {
        return err_prefix(err, "backup of the ledger");
    }
    fs->close(fs->self, file);
    int code = sqlite3_open_v2(ledger->path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_open_v2(temporary, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    }
    status = code == SQLITE_OK ? copy_database(ledger, from, to, err) : ledger_sqlite_error(ledger, to ? to : from, code, "opening for backup", err);
    sqlite3_close(from);
    sqlite3_close(to);
    if (status == OK) {
        status = fs_sync_path(fs, temporary, err);
    }
    if (status == OK) {
        status = fs->rename(fs->self, temporary, path, err);
    }
    if (status == OK) {
        status = fs_sync_path(fs, path, err);
    }
    if (status != OK) {
        struct err ignored;
        (void)fs->unlink(fs->self, temporary, &ignored);
    }
    return status;
}

/* Every row whose text is not "ok" is a problem. */
static enum status check_with(struct ledger *ledger, sqlite3 *db, const char *sql, struct buf *problems, struct err *err) {
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(stmt);
        const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
        if (text && strcmp(text, "ok") != 0) {
            buf_printf(problems, "ledger: %s\n", text);
        }
    }
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? OK : ledger_sqlite_error(ledger, db, code, "checking", err);
}

/* On a connection of its own, so that nobody waits for it. */
enum status ledger_check(struct ledger *ledger, struct buf *problems, struct err *err) {
    must(ledger && problems);
    sqlite3 *db = NULL;
    int code = sqlite3_open_v2(ledger->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    enum status status = code == SQLITE_OK ? OK : ledger_sqlite_error(ledger, db, code, "opening for the check", err);
    if (status == OK) {
        status = check_with(ledger, db, "PRAGMA integrity_check(100)", problems, err);
    }
    if (status == OK) {
        status = check_with(ledger, db,
            "SELECT 'foreign key of ' || \"table\" || ' row ' || rowid || ' points to nothing in ' || parent FROM pragma_foreign_key_check", problems, err);
    }
    sqlite3_close(db);
    return status;
}
