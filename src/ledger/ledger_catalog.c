/* Ledger: catalog pointers in Iceberg's JDBC layout. The compare-and-swap here is the commit point of every lake table. */
#include "base/assert.h"
#include "base/hash.h"
#include "ledger/ledger_priv.h"

/* Columns in the order of CATALOG_LIST and CATALOG_GET. */
static void read_entry(const struct query *q, struct arena *arena, struct catalog_entry *out) {
    *out = (struct catalog_entry){query_text(q, arena, 0), query_text(q, arena, 1), query_text(q, arena, 2), query_text(q, arena, 3)};
}

enum status ledger_catalog_list(struct ledger *ledger, struct arena *arena, struct catalog_entry **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct catalog_entry *list = NULL;
    size_t count = 0, cap = 0;
    struct query q = ledger_query_read(ledger, SQL_CATALOG_LIST, err, "s", LEDGER_CATALOG_NAME);
    while (query_next(&q)) {
        read_entry(&q, arena, ledger_grow(arena, (void **)&list, count, &cap, sizeof *list));
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}

enum status ledger_catalog_get(struct ledger *ledger, struct arena *arena, const char *schema, const char *name, struct catalog_entry *out, struct err *err) {
    must(schema && name && out);
    struct query q = ledger_query_read(ledger, SQL_CATALOG_GET, err, "sss", LEDGER_CATALOG_NAME, schema, name);
    bool found = query_next(&q);
    struct catalog_entry entry = {0};
    if (found) {
        read_entry(&q, arena, &entry);
    }
    enum status status = query_end(&q);
    if (status != OK) {
        return status;
    }
    if (!found) {
        return err_set(err, E_NOT_FOUND, "there is no table %s.%s in the catalog", schema, name);
    }
    *out = entry;
    return OK;
}

/* A new table. The namespace row comes with it: PyIceberg refuses to make tables in a namespace that it does not find. */
static enum status insert_entry(struct ledger *ledger, const char *schema, const char *name, const char *location, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_run(ledger, err, NULL, SQL_CATALOG_NAMESPACE, "ss", LEDGER_CATALOG_NAME, schema);
    if (status == OK) {
        status = ledger_run(ledger, err, &changed, SQL_CATALOG_INSERT, "ssss", LEDGER_CATALOG_NAME, schema, name, location);
    }
    if (status == OK && changed == 0) {
        return err_set(err, E_CONFLICT, "table %s.%s exists already", schema, name);
    }
    return status;
}

/* The compare-and-swap. Zero rows changed means that the pointer is another one by now, or that the table is gone; the caller reads it again either way. */
static enum status swap_entry(struct ledger *ledger, const char *schema, const char *name, const char *expected, const char *location, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_run(ledger, err, &changed, SQL_CATALOG_SWAP, "sssss", LEDGER_CATALOG_NAME, schema, name, expected, location);
    must(changed <= 1);
    if (status == OK && changed == 0) {
        return err_set(err, E_CONFLICT, "table %s.%s was changed by another commit meanwhile", schema, name);
    }
    return status;
}

enum status ledger_catalog_swap(struct ledger *ledger, const char *schema, const char *name, const char *expected, const char *location, struct err *err) {
    must(schema && name && location);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = expected ? swap_entry(ledger, schema, name, expected, location, err) : insert_entry(ledger, schema, name, location, err);
    return ledger_write_end(ledger, status, err);
}

enum status ledger_catalog_drop(struct ledger *ledger, const char *schema, const char *name, struct err *err) {
    must(schema && name);
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_CATALOG_DROP, "sss", LEDGER_CATALOG_NAME, schema, name);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no table %s.%s in the catalog", schema, name);
    }
    return ledger_write_end(ledger, status, err);
}

/* Names and current pointers, each ended by NUL so that no two catalogs run together into the same bytes. The caller holds read.lock. */
static enum status hash_catalog(struct ledger *ledger, uint64_t *out, struct err *err) {
    BUF_SCOPE(all);
    struct query q = ledger_query_committed(ledger, SQL_CATALOG_LIST, err, "s", LEDGER_CATALOG_NAME);
    while (query_next(&q)) {
        for (int column = 0; column < 3; column++) {
            buf_put(&all, sqlite3_column_text(q.stmt, column), (size_t)sqlite3_column_bytes(q.stmt, column));
            buf_char(&all, '\0');
        }
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = hash64(all.p ? all.p : "", all.n);
    }
    return status;
}

/* SQLite's data_version of the read connection moves with every commit of any other connection; only then the pointers are read and hashed, so that a
 * commit to another table of the ledger does not look like one to the catalog. */
enum status ledger_catalog_version(struct ledger *ledger, uint64_t *out, struct err *err) {
    WITH_LOCK(&ledger->read.lock);
    struct query q = ledger_query_committed(ledger, SQL_DATA_VERSION, err, "");
    int64_t version = query_next(&q) ? query_int(&q, 0) : 0;
    enum status status = query_end(&q);
    if (status != OK) {
        return status;
    }
    if (!ledger->version_known || ledger->version_seen != version) {
        uint64_t hash = 0;
        status = hash_catalog(ledger, &hash, err); /* read after the version: at worst it is newer than the version says */
        if (status != OK) {
            return status;
        }
        ledger->version_hash = hash;
        ledger->version_seen = version;
        ledger->version_known = true;
    }
    *out = ledger->version_hash;
    return OK;
}
