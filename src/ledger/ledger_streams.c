/* Ledger: streams and landing tables, consumers, accounts, key-value states. */
#include "base/assert.h"
#include "base/event_id.h"
#include "ledger/ledger_priv.h"

/* Columns in the order of STREAM_LIST and STREAM_FIND. */
static void read_stream(const struct query *q, struct arena *arena, struct ledger_stream *out) {
    int64_t number = query_int(q, 0);
    must(number > 0 && number <= EVENT_STREAM_MAX);
    *out = (struct ledger_stream){.number = (uint16_t)number,
        .kind = (enum stream_kind)query_int(q, 1),
        .name = query_text(q, arena, 2),
        .partitions = (uint16_t)query_int(q, 3),
        .created_ms = query_int(q, 4),
        .deleted_ms = query_int(q, 5),
        .settings = query_text(q, arena, 6)};
}

enum status ledger_stream_list(struct ledger *ledger, struct arena *arena, bool deleted_too, struct ledger_stream **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct ledger_stream *list = NULL;
    size_t count = 0, cap = 0;
    struct query q = ledger_query_read(ledger, SQL_STREAM_LIST, err, "i", (int64_t)deleted_too);
    while (query_next(&q)) {
        read_stream(&q, arena, ledger_grow(arena, (void **)&list, count, &cap, sizeof *list));
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}

/* Among the living. Inside of a write, so that nobody makes it between the look and the insert. */
static enum status find_stream(
    struct ledger *ledger, struct arena *arena, enum stream_kind kind, const char *name, bool *found, struct ledger_stream *out, struct err *err) {
    struct query q = ledger_query_write(ledger, SQL_STREAM_FIND, err, "is", (int64_t)kind, name);
    *found = query_next(&q);
    if (*found) {
        read_stream(&q, arena, out);
    }
    return query_end(&q);
}

enum status ledger_stream_ensure(struct ledger *ledger, struct arena *arena, enum stream_kind kind, const char *name, uint16_t partitions, const char *settings,
    struct ledger_stream *out, struct err *err) {
    must(name && partitions >= 1 && partitions <= EVENT_PARTITIONS_MAX);
    struct ledger_stream found = {0};
    bool is_there = false;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = find_stream(ledger, arena, kind, name, &is_there, &found, err);
    if (status == OK && !is_there) {
        status = ledger_run(
            ledger, err, NULL, SQL_STREAM_INSERT, "isiis", (int64_t)kind, name, (int64_t)partitions, host_wall_ms(ledger->host), settings ? settings : "{}");
        if (status == OK && sqlite3_last_insert_rowid(ledger->write.db) > EVENT_STREAM_MAX) {
            status = err_set(err, E_LIMIT, "no number is left for %s: %d streams and landing tables were made in this project, and numbers are never reused",
                name, EVENT_STREAM_MAX);
        }
        if (status == OK) {
            status = find_stream(ledger, arena, kind, name, &is_there, &found, err);
            must(status != OK || is_there);
        }
    }
    status = ledger_write_end(ledger, status, err);
    if (status == OK) {
        *out = found;
    }
    return status;
}

enum status ledger_stream_update(struct ledger *ledger, uint16_t number, uint16_t partitions, const char *settings, struct err *err) {
    int64_t changed = 0;
    must(partitions >= 1 && partitions <= EVENT_PARTITIONS_MAX);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_STREAM_UPDATE, "iis", (int64_t)number, (int64_t)partitions, settings);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no stream number %u", number);
    }
    return ledger_write_end(ledger, status, err);
}

enum status ledger_stream_delete(struct ledger *ledger, uint16_t number, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    int64_t now_ms = host_wall_ms(ledger->host); /* 0 would mean alive, so a clock that stands at 1970 gives 1 */
    status = ledger_run(ledger, err, &changed, SQL_STREAM_DELETE, "ii", (int64_t)number, now_ms > 0 ? now_ms : 1);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no stream number %u", number);
    }
    if (status == OK) {
        status = ledger_run(ledger, err, NULL, SQL_STREAM_CONSUMERS_DELETE, "i", (int64_t)number);
    }
    return ledger_write_end(ledger, status, err);
}

/* ---- consumers ---- */

enum status ledger_consumer_list(struct ledger *ledger, struct arena *arena, const char *consumer, struct consumer_position **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct consumer_position *list = NULL;
    size_t count = 0, cap = 0;
    struct query q = ledger_query_read(ledger, SQL_CONSUMER_LIST, err, "s", consumer);
    while (query_next(&q)) {
        struct consumer_position *item = ledger_grow(arena, (void **)&list, count, &cap, sizeof *list);
        *item = (struct consumer_position){
            query_text(&q, arena, 0), (uint16_t)query_int(&q, 1), (uint16_t)query_int(&q, 2), (uint64_t)query_int(&q, 3), query_int(&q, 4)};
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}

enum status ledger_consumer_set(struct ledger *ledger, const char *consumer, uint16_t stream, uint16_t partition, uint64_t offset, struct err *err) {
    must(consumer && offset <= EVENT_OFFSET_MAX);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status =
        ledger_run(ledger, err, NULL, SQL_CONSUMER_SET, "siiii", consumer, (int64_t)stream, (int64_t)partition, (int64_t)offset, host_wall_ms(ledger->host));
    if (status == E_CONFLICT) { /* the foreign key: the only constraint that an upsert by key can break */
        status = err_set(err, E_NOT_FOUND, "there is no stream number %u", stream);
    }
    return ledger_write_end(ledger, status, err);
}

enum status ledger_consumer_delete(struct ledger *ledger, const char *consumer, uint16_t stream, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_CONSUMER_DELETE, "si", consumer, (int64_t)stream);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "consumer %s has no position in stream number %u", consumer, stream);
    }
    return ledger_write_end(ledger, status, err);
}

/* ---- accounts ---- */

enum status ledger_account_add(struct ledger *ledger, const char *hop, const char *name, int64_t hour_ms, const char *field, int64_t n, struct err *err) {
    must(hop && name && field);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, NULL, SQL_ACCOUNT_ADD, "ssisi", hop, name, hour_ms, field, n);
    return ledger_write_end(ledger, status, err);
}

enum status ledger_account_list(
    struct ledger *ledger, struct arena *arena, const char *hop, const char *name, struct account **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct account *list = NULL;
    size_t count = 0, cap = 0;
    struct query q = ledger_query_read(ledger, SQL_ACCOUNT_LIST, err, "ss", hop, name);
    while (query_next(&q)) {
        struct account *item = ledger_grow(arena, (void **)&list, count, &cap, sizeof *list);
        *item = (struct account){query_text(&q, arena, 0), query_text(&q, arena, 1), query_text(&q, arena, 2), query_int(&q, 3), query_int(&q, 4)};
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}

/* ---- key-value: values are bytes, NUL and all ---- */

enum status ledger_kv_get(struct ledger *ledger, struct arena *arena, const char *table, const char *key, struct str *out, struct err *err) {
    must(table && key && out);
    struct query q = ledger_query_read(ledger, SQL_KV_GET, err, "ss", table, key);
    bool found = query_next(&q);
    struct str value = found ? query_blob(&q, arena, 0) : STR_NULL;
    enum status status = query_end(&q);
    if (status != OK) {
        return status;
    }
    if (!found) {
        return err_set(err, E_NOT_FOUND, "there is no key %s in %s", key, table);
    }
    *out = value;
    return OK;
}

enum status ledger_kv_put(struct ledger *ledger, const char *table, const char *key, struct str value, struct err *err) {
    must(table && key);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, NULL, SQL_KV_PUT, "ssbi", table, key, value, host_wall_ms(ledger->host));
    return ledger_write_end(ledger, status, err);
}

enum status ledger_kv_delete(struct ledger *ledger, const char *table, const char *key, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_KV_DELETE, "ss", table, key);
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no key %s in %s", key, table);
    }
    return ledger_write_end(ledger, status, err);
}
