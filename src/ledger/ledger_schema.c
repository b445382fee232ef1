/* Ledger schema: one step per version, applied in one transaction, so that a crash in the middle leaves the old version. */
#include "base/assert.h"
#include "ledger/ledger_priv.h"

/* Version 1. The two iceberg_ tables have the layout of Iceberg's JDBC catalog, schema version V1 (iceberg_type is NULL or TABLE for tables):
 * https://github.com/apache/iceberg/blob/main/core/src/main/java/org/apache/iceberg/jdbc/JdbcUtil.java */
static const char STEP_1[] =
    "CREATE TABLE iceberg_tables ("
    " catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,"
    " metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),"
    " PRIMARY KEY (catalog_name, table_namespace, table_name));"
    "CREATE TABLE iceberg_namespace_properties ("
    " catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000),"
    " PRIMARY KEY (catalog_name, namespace, property_key));"
    /* AUTOINCREMENT: a number is never given twice, also after its row is gone */
    "CREATE TABLE streams ("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL CHECK (kind IN (0, 1)), name TEXT NOT NULL,"
    " partitions INTEGER NOT NULL CHECK (partitions BETWEEN 1 AND 1024), created_ms INTEGER NOT NULL, deleted_ms INTEGER NOT NULL DEFAULT 0,"
    " settings TEXT NOT NULL DEFAULT '{}', next_offset INTEGER NOT NULL DEFAULT 0, last_received_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE UNIQUE INDEX streams_living ON streams(kind, name) WHERE deleted_ms = 0;"
    "CREATE TABLE consumers ("
    " consumer TEXT NOT NULL, stream INTEGER NOT NULL REFERENCES streams(number), partition INTEGER NOT NULL, position INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL, PRIMARY KEY (consumer, stream, partition)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tokens ("
    " name TEXT PRIMARY KEY, role TEXT NOT NULL, hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32), created_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL DEFAULT 0, last_used_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE accounts ("
    " hop TEXT NOT NULL, name TEXT NOT NULL, hour_ms INTEGER NOT NULL, field TEXT NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (hop, name, hour_ms, field)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE kv (tbl TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, updated_ms INTEGER NOT NULL, PRIMARY KEY (tbl, key)) STRICT;";

/* Version 2: landing files and protection keys. `forgotten` is 0 for the row that counts, its own id for one that may be taken again. */
static const char STEP_2[] =
    "CREATE TABLE landing_files ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, path TEXT NOT NULL, hash TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
    " stream INTEGER NOT NULL REFERENCES streams(number), first_offset INTEGER NOT NULL, reserved INTEGER NOT NULL, received_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), rejected INTEGER NOT NULL DEFAULT 0, rows_read INTEGER NOT NULL DEFAULT 0,"
    " rows_landed INTEGER NOT NULL DEFAULT 0, rows_quarantined INTEGER NOT NULL DEFAULT 0, reason TEXT, report TEXT, moved_to TEXT,"
    " finished_ms INTEGER NOT NULL DEFAULT 0, forgotten INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE UNIQUE INDEX landing_files_content ON landing_files(source, hash, forgotten);"
    "CREATE INDEX landing_files_open ON landing_files(state) WHERE state < 3;"
    "CREATE TABLE protection_keys ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL, secret BLOB NOT NULL CHECK (length(secret) = 32),"
    " created_ms INTEGER NOT NULL, UNIQUE (kind, subject)) STRICT;";

/* Version 3: runs of flows and how far their schedules are. What models did stands in the warehouse, in the same transaction as their rows. */
static const char STEP_3[] =
    "CREATE TABLE flow_runs ("
    " id TEXT PRIMARY KEY, flow TEXT NOT NULL, cause TEXT NOT NULL, status TEXT NOT NULL, created_ms INTEGER NOT NULL, scheduled_ms INTEGER NOT NULL DEFAULT 0,"
    " started_ms INTEGER NOT NULL DEFAULT 0, finished_ms INTEGER NOT NULL DEFAULT 0, request TEXT NOT NULL DEFAULT '{}', detail TEXT, error TEXT) STRICT;"
    "CREATE INDEX flow_runs_time ON flow_runs(created_ms);"
    "CREATE INDEX flow_runs_flow ON flow_runs(flow, created_ms);"
    "CREATE INDEX flow_runs_open ON flow_runs(created_ms) WHERE finished_ms = 0;"
    "CREATE TABLE flow_schedules (flow TEXT PRIMARY KEY, fired_ms INTEGER NOT NULL, mark TEXT) STRICT;";

const char *const ledger_schema_steps[] = {STEP_1, STEP_2, STEP_3};
const int ledger_schema_version = sizeof ledger_schema_steps / sizeof *ledger_schema_steps;

static enum status read_pragma(struct ledger *ledger, const char *sql, int64_t *out, struct err *err) {
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(ledger->write.db, sql, -1, &stmt, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(stmt);
    }
    int64_t value = code == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_finalize(stmt);
    if (code != SQLITE_ROW) {
        return ledger_sqlite_error(ledger, ledger->write.db, code, "reading the schema version", err);
    }
    *out = value;
    return OK;
}

/* A file that is a database of something else is left alone. */
static enum status check_is_ours(struct ledger *ledger, int64_t version, struct err *err) {
    int64_t application = 0, objects = 0;
    enum status status = read_pragma(ledger, "PRAGMA application_id", &application, err);
    if (status == OK) {
        status = read_pragma(ledger, "SELECT count(*) FROM sqlite_schema", &objects, err);
    }
    if (status != OK) {
        return status;
    }
    if (application != LEDGER_APPLICATION_ID && (objects > 0 || version != 0)) {
        return err_set(err, E_CONFLICT, "%s is an SQLite database of another program; move it away", ledger->path);
    }
    if (version > ledger_schema_version) {
        return err_set(err, E_UNSUPPORTED, "%s has schema version %lld, made by a newer cupel; this one knows versions up to %d", ledger->path,
            (long long)version, ledger_schema_version);
    }
    return OK;
}

static enum status apply_steps(struct ledger *ledger, int64_t from, struct err *err) {
    must(from >= 0 && from < ledger_schema_version);
    for (int64_t i = from; i < ledger_schema_version; i++) {
        int code = sqlite3_exec(ledger->write.db, ledger_schema_steps[i], NULL, NULL, NULL);
        if (code != SQLITE_OK) {
            return ledger_sqlite_error(ledger, ledger->write.db, code, "upgrading the schema", err);
        }
    }
    char *sql = sqlite3_mprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", LEDGER_APPLICATION_ID, ledger_schema_version);
    int code = sqlite3_exec(ledger->write.db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return code == SQLITE_OK ? OK : ledger_sqlite_error(ledger, ledger->write.db, code, "setting the schema version", err);
}

enum status ledger_schema_upgrade(struct ledger *ledger, struct err *err) {
    int64_t version = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = read_pragma(ledger, "PRAGMA user_version", &version, err);
    if (status == OK) {
        status = check_is_ours(ledger, version, err);
    }
    if (status == OK && version < ledger_schema_version) {
        status = apply_steps(ledger, version, err);
    }
    return ledger_write_end(ledger, status, err);
}
