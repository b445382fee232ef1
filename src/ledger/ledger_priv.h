/* Ledger, inside: connections, cached statements, and the small query helper that every file of this room uses. */
#ifndef CUPEL_LEDGER_LEDGER_PRIV_H
#define CUPEL_LEDGER_LEDGER_PRIV_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "host/thread.h"
#include "ledger/ledger.h"

/* Every statement that runs more than once; prepared at first use on each connection and kept. */
#define STATEMENT_TABLE(X) \
    X(BEGIN, "BEGIN IMMEDIATE") \
    X(COMMIT, "COMMIT") \
    X(ROLLBACK, "ROLLBACK") \
    X(SAVEPOINT, "SAVEPOINT inner_step") \
    X(SAVEPOINT_BACK, "ROLLBACK TO inner_step") \
    X(SAVEPOINT_RELEASE, "RELEASE inner_step") \
    X(DATA_VERSION, "PRAGMA data_version") \
    X(CATALOG_LIST, \
        "SELECT table_namespace, table_name, metadata_location, previous_metadata_location FROM iceberg_tables" \
        " WHERE catalog_name = ?1 AND metadata_location IS NOT NULL AND (iceberg_type IS NULL OR iceberg_type = 'TABLE') ORDER BY 1, 2") \
    X(CATALOG_GET, \
        "SELECT table_namespace, table_name, metadata_location, previous_metadata_location FROM iceberg_tables" \
        " WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3 AND metadata_location IS NOT NULL") \
    X(CATALOG_INSERT, \
        "INSERT INTO iceberg_tables(catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location, iceberg_type)" \
        " VALUES (?1, ?2, ?3, ?4, NULL, 'TABLE') ON CONFLICT DO NOTHING") \
    X(CATALOG_NAMESPACE, \
        "INSERT INTO iceberg_namespace_properties(catalog_name, namespace, property_key, property_value) VALUES (?1, ?2, 'exists', 'true')" \
        " ON CONFLICT DO NOTHING") \
    X(CATALOG_SWAP, \
        "UPDATE iceberg_tables SET metadata_location = ?5, previous_metadata_location = ?4" \
        " WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3 AND metadata_location = ?4") \
    X(CATALOG_DROP, "DELETE FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2 AND table_name = ?3") \
    X(STREAM_LIST, "SELECT number, kind, name, partitions, created_ms, deleted_ms, settings FROM streams WHERE deleted_ms = 0 OR ?1 ORDER BY number") \
    X(STREAM_FIND, "SELECT number, kind, name, partitions, created_ms, deleted_ms, settings FROM streams WHERE kind = ?1 AND name = ?2 AND deleted_ms = 0") \
    X(STREAM_INSERT, "INSERT INTO streams(kind, name, partitions, created_ms, settings) VALUES (?1, ?2, ?3, ?4, ?5)") \
    X(STREAM_UPDATE, "UPDATE streams SET partitions = ?2, settings = coalesce(?3, settings) WHERE number = ?1 AND deleted_ms = 0") \
    X(STREAM_DELETE, "UPDATE streams SET deleted_ms = ?2 WHERE number = ?1 AND deleted_ms = 0") \
    X(STREAM_CONSUMERS_DELETE, "DELETE FROM consumers WHERE stream = ?1") \
    X(CONSUMER_LIST, "SELECT consumer, stream, partition, position, updated_ms FROM consumers WHERE ?1 IS NULL OR consumer = ?1 ORDER BY 1, 2, 3") \
    X(CONSUMER_SET, \
        "INSERT INTO consumers(consumer, stream, partition, position, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5)" \
        " ON CONFLICT DO UPDATE SET position = excluded.position, updated_ms = excluded.updated_ms") \
    X(CONSUMER_DELETE, "DELETE FROM consumers WHERE consumer = ?1 AND stream = ?2") \
    X(TOKEN_LIST, "SELECT name, role, hash, created_ms, expires_ms, last_used_ms FROM tokens ORDER BY name") \
    X(TOKEN_ADD, "INSERT INTO tokens(name, role, hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT(name) DO NOTHING") \
    X(TOKEN_REVOKE, "DELETE FROM tokens WHERE name = ?1") \
    X(TOKEN_USED, "UPDATE tokens SET last_used_ms = ?2 WHERE name = ?1 AND last_used_ms < ?2") \
    X(LANDING_FIND, LANDING_SELECT " WHERE source = ?1 AND hash = ?2 AND forgotten = 0") \
    X(LANDING_GET, LANDING_SELECT " WHERE id = ?1") \
    X(LANDING_LIST, LANDING_SELECT " WHERE (?1 IS NULL OR source = ?1) AND (?2 < 0 OR state = ?2) AND forgotten = 0 ORDER BY id DESC LIMIT ?3") \
    X(LANDING_RESERVE, \
        "UPDATE streams SET next_offset = next_offset + ?2, last_received_ms = max(last_received_ms, ?3) WHERE number = ?1 AND deleted_ms = 0" \
        " RETURNING next_offset - ?2, last_received_ms") \
    X(LANDING_INSERT, \
        "INSERT INTO landing_files(source, path, hash, size_bytes, stream, first_offset, reserved, received_ms, state)" \
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)") \
    X(LANDING_FINISH, \
        "UPDATE landing_files SET state = ?2, rejected = ?3, rows_read = ?4, rows_landed = ?5, rows_quarantined = ?6, reason = ?7, report = ?8," \
        " finished_ms = ?9 WHERE id = ?1") \
    X(LANDING_MOVED, "UPDATE landing_files SET state = 3, moved_to = ?2 WHERE id = ?1") \
    X(LANDING_FORGET, "UPDATE landing_files SET forgotten = id WHERE id = ?1 AND forgotten = 0") \
    X(ACCOUNT_ADD, "INSERT INTO accounts(hop, name, hour_ms, field, n) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET n = n + excluded.n") \
    X(ACCOUNT_LIST, "SELECT hop, name, field, hour_ms, n FROM accounts WHERE (?1 IS NULL OR hop = ?1) AND (?2 IS NULL OR name = ?2) ORDER BY 1, 2, 4, 3") \
    X(KV_GET, "SELECT value FROM kv WHERE tbl = ?1 AND key = ?2") \
    X(KV_PUT, \
        "INSERT INTO kv(tbl, key, value, updated_ms) VALUES (?1, ?2, ?3, ?4)" \
        " ON CONFLICT DO UPDATE SET value = excluded.value, updated_ms = excluded.updated_ms") \
    X(KV_DELETE, "DELETE FROM kv WHERE tbl = ?1 AND key = ?2") \
    X(RUN_ADD, \
        "INSERT INTO flow_runs(id, flow, cause, status, created_ms, scheduled_ms, request) VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6) ON CONFLICT DO NOTHING") \
    X(RUN_UPDATE, \
        "UPDATE flow_runs SET status = ?2, started_ms = ?3, finished_ms = ?4, request = coalesce(?5, request), detail = coalesce(?6, detail), error = ?7" \
        " WHERE id = ?1") \
    X(RUN_GET, RUN_SELECT " WHERE id = ?1") \
    X(RUN_OPEN, RUN_SELECT " WHERE finished_ms = 0 ORDER BY created_ms, rowid") \
    X(RUN_LIST, RUN_SELECT " WHERE (?1 IS NULL OR flow = ?1) ORDER BY created_ms DESC, rowid DESC LIMIT ?2") \
    X(RUN_PRUNE, "DELETE FROM flow_runs WHERE created_ms < ?1 AND finished_ms > 0") \
    X(SCHEDULE_GET, "SELECT fired_ms, mark FROM flow_schedules WHERE flow = ?1") \
    X(SCHEDULE_PUT, \
        "INSERT INTO flow_schedules(flow, fired_ms, mark) VALUES (?1, ?2, ?3)" \
        " ON CONFLICT DO UPDATE SET fired_ms = excluded.fired_ms, mark = excluded.mark") \
    X(KEY_GET, "SELECT id, kind, subject, secret FROM protection_keys WHERE kind = ?1 AND subject = ?2") \
    X(KEY_INSERT, "INSERT INTO protection_keys(kind, subject, secret, created_ms) VALUES (?1, ?2, ?3, ?4)")

#define RUN_SELECT "SELECT id, flow, cause, status, created_ms, scheduled_ms, started_ms, finished_ms, request, detail, error FROM flow_runs"

#define LANDING_SELECT \
    "SELECT id, source, path, hash, size_bytes, stream, first_offset, reserved, received_ms, state, rejected, rows_read, rows_landed, rows_quarantined," \
    " reason, report, moved_to, finished_ms FROM landing_files"

enum statement {
#define X(name, sql) SQL_##name,
    STATEMENT_TABLE(X)
#undef X
        SQL_COUNT
};

struct connection {
    sqlite3 *db;
    mutex lock;
    sqlite3_stmt *statements[SQL_COUNT];
};

struct ledger {
    const struct host *host;
    char *path;
    struct connection write, read;
    _Atomic(const void *) owner; /* thread that holds write.lock; see thread_mark() */
    int depth; /* transactions nested by the owner; 0: none */
    bool doomed; /* SQLite rolled the whole transaction back by itself; `doom` says why */
    struct err doom;
    int64_t version_seen; /* data_version at the last hash of the catalog; these three under read.lock */
    uint64_t version_hash;
    bool version_known;
};

/* One running statement. Begin, bind, then next until false, then end: end gives the connection back and returns the first failure. */
struct query {
    struct ledger *ledger;
    struct connection *connection;
    sqlite3_stmt *stmt;
    struct err *err;
    enum status status;
    bool locked; /* this query holds connection->lock */
};

/* Reads committed data over the read connection; inside a transaction of this thread, over the write connection, so that it sees its own changes.
 * formats: s text (NULL gives NULL), i int64_t, b struct str as blob. */
struct query ledger_query_read(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...);
/* Over the read connection in any case; the caller holds read.lock. */
struct query ledger_query_committed(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...);
/* Only between ledger_write_begin and ledger_write_end. */
struct query ledger_query_write(struct ledger *ledger, enum statement statement, struct err *err, const char *formats, ...);
bool query_next(struct query *q);
enum status query_end(struct query *q);
/* All in one for statements without rows. *changed (may be NULL): rows changed. */
enum status ledger_run(struct ledger *ledger, struct err *err, int64_t *changed, enum statement statement, const char *formats, ...);

int64_t query_int(const struct query *q, int column);
const char *query_text(const struct query *q, struct arena *arena, int column); /* NULL for NULL */
struct str query_blob(const struct query *q, struct arena *arena, int column);

/* A write of one function: a transaction of its own, or a savepoint of the running one. Every begin that gave OK has one end, which commits when
 * `status` is OK and takes everything back otherwise; it returns `status`, or why the commit failed. */
enum status ledger_write_begin(struct ledger *ledger, struct err *err);
enum status ledger_write_end(struct ledger *ledger, enum status status, struct err *err);

/* Fills err from a connection's last error. */
enum status ledger_sqlite_error(struct ledger *ledger, sqlite3 *db, int code, const char *doing, struct err *err);

/* Growing array in an arena: room for one more element of `size`; returns its address. */
void *ledger_grow(struct arena *arena, void **list, size_t n, size_t *cap, size_t size);

/* Schema steps: applying step i takes a database from user_version i to i + 1. */
extern const char *const ledger_schema_steps[];
extern const int ledger_schema_version;
#define LEDGER_APPLICATION_ID 0x4355504c /* "CUPL" */
enum status ledger_schema_upgrade(struct ledger *ledger, struct err *err);

#endif
