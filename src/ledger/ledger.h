/* Ledger: the control database (SQLite, WAL, synchronous=FULL): what happened, and what points where.
 *
 * Sync point: a function that writes has its change on disk when it returns OK (outside ledger_transaction), or when the transaction returns OK.
 * Threads: all functions from any thread; writes are serialised by one connection with a lock, reads go over a second connection and see committed data.
 * Inside ledger_transaction the same functions are called from the same thread and join the transaction.
 * The catalog pointers are kept in Iceberg's JDBC catalog layout (tables iceberg_tables, iceberg_namespace_properties), so PyIceberg's SqlCatalog and
 * Spark's JdbcCatalog can be pointed at data/ledger.db as it is. */
#ifndef CUPEL_LEDGER_LEDGER_H
#define CUPEL_LEDGER_LEDGER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "host/host.h"

struct ledger;

#define LEDGER_CATALOG_NAME "cupel"

enum status ledger_open(const char *path, const struct host *host, struct ledger **out, struct err *err); /* makes or upgrades it */
void ledger_close(struct ledger **ledger);

/* Runs f in one immediate transaction; rolled back when f fails. May nest (inner ones join). */
enum status ledger_transaction(struct ledger *ledger, enum status (*f)(void *context, struct ledger *ledger, struct err *err), void *context, struct err *err);

/* ---- catalog pointers ---- */
struct catalog_entry {
    const char *schema, *name;
    const char *metadata_location, *previous_location; /* previous may be NULL */
};
enum status ledger_catalog_list(struct ledger *ledger, struct arena *arena, struct catalog_entry **out, size_t *n, struct err *err);
enum status ledger_catalog_get(struct ledger *ledger, struct arena *arena, const char *schema, const char *name, struct catalog_entry *out, struct err *err);
/* expected NULL: the table must not exist yet. E_CONFLICT when the pointer is not `expected` any more. */
enum status ledger_catalog_swap(struct ledger *ledger, const char *schema, const char *name, const char *expected, const char *location, struct err *err);
enum status ledger_catalog_drop(struct ledger *ledger, const char *schema, const char *name, struct err *err);
/* Differs whenever a pointer differs, also after commits of other processes: a cheap check before pins (SQLite data_version; the pointers are read only when
 * it moved). Says what is committed, also inside a transaction. Equal values mean equal pointers; the number has no order. */
enum status ledger_catalog_version(struct ledger *ledger, uint64_t *out, struct err *err);

/* ---- streams and landing tables: numbers from one sequence, never reused ---- */
enum stream_kind { KIND_STREAM, KIND_LANDING };
struct ledger_stream {
    uint16_t number;
    enum stream_kind kind;
    const char *name; /* "orders"; for landing tables "bronze.pos" */
    uint16_t partitions;
    int64_t created_ms, deleted_ms; /* deleted_ms 0: alive */
    const char *settings; /* JSON text of the effective settings */
};
enum status ledger_stream_list(struct ledger *ledger, struct arena *arena, bool deleted_too, struct ledger_stream **out, size_t *n, struct err *err);
/* Finds by kind and name among the living or makes it with the next number. E_LIMIT beyond 4095. */
enum status ledger_stream_ensure(struct ledger *ledger, struct arena *arena, enum stream_kind kind, const char *name, uint16_t partitions, const char *settings,
    struct ledger_stream *out, struct err *err);
enum status ledger_stream_update(struct ledger *ledger, uint16_t number, uint16_t partitions, const char *settings, struct err *err);
enum status ledger_stream_delete(struct ledger *ledger, uint16_t number, struct err *err);

/* ---- consumers ---- */
struct consumer_position {
    const char *consumer;
    uint16_t stream, partition;
    uint64_t offset;
    int64_t updated_ms;
};
enum status ledger_consumer_list(
    struct ledger *ledger, struct arena *arena, const char *consumer /* NULL: all */, struct consumer_position **out, size_t *n, struct err *err);
enum status ledger_consumer_set(struct ledger *ledger, const char *consumer, uint16_t stream, uint16_t partition, uint64_t offset, struct err *err);
enum status ledger_consumer_delete(struct ledger *ledger, const char *consumer, uint16_t stream, struct err *err);

/* ---- tokens: only the SHA-256 of a token is kept ---- */
struct ledger_token {
    const char *name, *role; /* role: admin | write | read */
    const uint8_t *hash; /* 32 bytes */
    int64_t created_ms, expires_ms, last_used_ms; /* 0: never */
};
enum status ledger_token_list(struct ledger *ledger, struct arena *arena, struct ledger_token **out, size_t *n, struct err *err);
enum status ledger_token_add(
    struct ledger *ledger, const char *name, const char *role, const uint8_t hash[32], int64_t expires_ms, struct err *err); /* E_CONFLICT: name taken */
enum status ledger_token_revoke(struct ledger *ledger, const char *name, struct err *err);
enum status ledger_token_used(struct ledger *ledger, const char *name, int64_t at_ms, struct err *err);

/* ---- landing files ---- */
enum landing_state { LANDING_TAKEN, LANDING_LANDED, LANDING_REJECTED, LANDING_MOVED };
/* TAKEN: offsets reserved, work under way (repeated after a crash). LANDED: its rows are in the table, the file still has to move.
 * REJECTED: refused as a whole, the file still has to move. MOVED: at its end. */
struct landing_file {
    int64_t id;
    const char *source, *path; /* path as found */
    const char *hash; /* hex SHA-256 of the content */
    uint64_t size_bytes;
    uint16_t stream; /* number of the landing table (or stream) */
    uint64_t first_offset, reserved;
    int64_t received_ms; /* the _received_at of all its rows */
    enum landing_state state;
    bool rejected;
    uint64_t rows_read, rows_landed, rows_quarantined;
    const char *reason; /* of the rejection, or NULL */
    const char *report; /* JSON: dialect, encoding, header */
    const char *moved_to;
    int64_t finished_ms;
};
/* Takes a file: reserves `reserve` offsets of the landing table and stores the row. When a file of the same source with the same hash was taken before:
 * *already true and *out is that one. received_ms never goes back per landing table. */
enum status ledger_landing_take(
    struct ledger *ledger, struct arena *arena, const struct landing_file *file, uint64_t reserve, bool *already, struct landing_file *out, struct err *err);
enum status ledger_landing_finish(struct ledger *ledger, int64_t id, enum landing_state state, uint64_t rows_read, uint64_t rows_landed,
    uint64_t rows_quarantined, const char *reason, const char *report, struct err *err);
enum status ledger_landing_moved(struct ledger *ledger, int64_t id, const char *moved_to, struct err *err);
/* The content may be taken again (redrive of a rejected file): its row stays as history and no longer counts as `already`. */
enum status ledger_landing_forget(struct ledger *ledger, int64_t id, struct err *err);
/* Newest first; limit 0: all. */
enum status ledger_landing_list(struct ledger *ledger, struct arena *arena, const char *source /* NULL: all */, int state /* -1: all */, size_t limit,
    struct landing_file **out, size_t *n, struct err *err);

/* ---- accounts: per hop and receipt hour, added up ---- */
/* hop "stream": name = stream; fields received, duplicates (of segments that are gone from the log), landed.
 * hop "file": name = source; fields read, landed, quarantined. */
enum status ledger_account_add(struct ledger *ledger, const char *hop, const char *name, int64_t hour_ms, const char *field, int64_t n, struct err *err);
struct account {
    const char *hop, *name, *field;
    int64_t hour_ms, n;
};
enum status ledger_account_list(struct ledger *ledger, struct arena *arena, const char *hop /* NULL: all */, const char *name /* NULL: all */,
    struct account **out, size_t *n, struct err *err);

/* ---- runs of flows, and how far their schedules are ---- */
struct ledger_run {
    const char *id, *flow;
    const char *cause; /* cron, after, input, hand, api, backfill */
    const char *status; /* queued, running, done, failed, cancelled */
    int64_t created_ms, scheduled_ms, started_ms, finished_ms; /* 0: not (yet) */
    const char *request; /* JSON: what was asked for */
    const char *detail; /* JSON: steps and models; NULL */
    const char *error; /* NULL */
};
enum status ledger_run_add(struct ledger *ledger, const struct ledger_run *run, struct err *err); /* status queued; E_CONFLICT: the id is taken */
/* status, started_ms, finished_ms, error are taken over; request and detail too unless NULL. */
enum status ledger_run_update(struct ledger *ledger, const struct ledger_run *run, struct err *err);
enum status ledger_run_get(struct ledger *ledger, struct arena *arena, const char *id, struct ledger_run *out, struct err *err); /* E_NOT_FOUND */
enum status ledger_run_open(
    struct ledger *ledger, struct arena *arena, struct ledger_run **out, size_t *n, struct err *err); /* queued and running, oldest first */
enum status ledger_run_list(struct ledger *ledger, struct arena *arena, const char *flow /* NULL: all */, size_t limit, struct ledger_run **out, size_t *n,
    struct err *err); /* newest first */
enum status ledger_run_prune(struct ledger *ledger, int64_t before_ms, struct err *err); /* finished ones that were made before */
struct ledger_schedule {
    int64_t fired_ms; /* instants up to this one were dealt with */
    const char *mark; /* text of the caller; NULL */
};
enum status ledger_schedule_get(struct ledger *ledger, struct arena *arena, const char *flow, struct ledger_schedule *out, struct err *err); /* E_NOT_FOUND */
enum status ledger_schedule_put(struct ledger *ledger, const char *flow, const struct ledger_schedule *schedule, struct err *err);

/* ---- key-value, for small states of other rooms ---- */
enum status ledger_kv_get(struct ledger *ledger, struct arena *arena, const char *table, const char *key, struct str *out, struct err *err); /* E_NOT_FOUND */
enum status ledger_kv_put(struct ledger *ledger, const char *table, const char *key, struct str value, struct err *err);
enum status ledger_kv_delete(struct ledger *ledger, const char *table, const char *key, struct err *err);

/* ---- protection keys ---- */
struct protection_key {
    uint32_t id;
    const char *kind; /* "tokenise": one per project; "subject": one per person (later) */
    const char *subject;
    const uint8_t *secret; /* 32 bytes */
};
enum status ledger_protection_key(
    struct ledger *ledger, struct arena *arena, const char *kind, const char *subject, struct protection_key *out, struct err *err); /* makes it when missing */

/* Consistent copy while running (SQLite backup API), synced; path is replaced as a whole or left as it was. */
enum status ledger_backup(struct ledger *ledger, const char *path, struct err *err);
enum status ledger_check(struct ledger *ledger, struct buf *problems, struct err *err); /* integrity_check and foreign keys; a line per problem, none: sound */

#endif
