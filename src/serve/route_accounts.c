/* Conservation: what came in is somewhere, per hop and receipt hour.
 *
 *   stream: received = landed + in the log + deleted. Three sources that do not know each other:
 *           received: the frames in the log, and the ledger's account of segments that are gone;
 *           landed: the ledger's account, written in the same transaction as the commit;
 *           in the log: counted by the log itself from positions.
 *           deleted: with the data of a stream of this name, on purpose.
 *           missing: offsets that bronze was given without their records, because the log lost them (damage set aside). Said by the flush, not made good.
 *   file:   rows read = landed + quarantined.
 *   model:  rows in = out + superseded + filtered + quarantined, per run (route_kpi.c).
 *   deep:   besides, the rows of each bronze table are counted per hour by SQL, and the events of stream models are followed by their ids into table and
 *           quarantine (flow/account.c). */
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"
#include "serve/node_priv.h"

#define TRIES 20

struct hour {
    int64_t at_ms;
    int64_t received, duplicates, landed, deleted; /* deleted: with the stream's data, on purpose */
    int64_t rows; /* counted in bronze (deep), -1 otherwise */
    int64_t received_after; /* deep: read again behind the count */
};

struct stream_account {
    struct hour *hours; /* arena, by time */
    size_t n, cap;
    int64_t received, duplicates, landed, in_log, deleted, missing, rows;
    bool settled; /* read without anything moving meanwhile */
};

static struct hour *hour_at(struct arena *arena, struct stream_account *a, int64_t at_ms) {
    must(arena != NULL);
    size_t i = a->n;
    while (i > 0 && a->hours[i - 1].at_ms > at_ms) i--;
    if (i > 0 && a->hours[i - 1].at_ms == at_ms) return &a->hours[i - 1];
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 64;
        struct hour *grown = arena_new_array(arena, struct hour, cap);
        if (a->n) memcpy(grown, a->hours, a->n * sizeof *grown);
        a->hours = grown;
        a->cap = cap;
    }
    memmove(a->hours + i + 1, a->hours + i, (a->n - i) * sizeof *a->hours);
    a->hours[i] = (struct hour){.at_ms = at_ms, .rows = -1};
    a->n++;
    return &a->hours[i];
}

/* What the log's frames say. Streams deleted before that had the same name count too: the account goes by name, as the bronze table does. */
static enum status add_log_hours(struct node *node, struct arena *arena, const char *name, struct stream_account *a, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct ledger_stream *streams;
    struct stream_hour *hours;
    size_t streams_n, n;
    enum status status = ledger_stream_list(node->ledger, arena, true, &streams, &streams_n, err);
    for (size_t s = 0; s < streams_n && status == OK; s++) {
        if (streams[s].kind != KIND_STREAM || strcmp(streams[s].name, name) != 0) continue;
        status = stream_hours(node->log, arena, streams[s].number, &hours, &n, err);
        for (size_t i = 0; i < n && status == OK; i++) {
            struct hour *hour = hour_at(arena, a, hours[i].hour_ms);
            hour->received += (int64_t)hours[i].received;
            hour->duplicates += (int64_t)hours[i].duplicates;
        }
    }
    return status;
}

static enum status read_once(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct stream_account *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct stream_account a = {.rows = -1};
    struct account *accounts;
    struct stream_state state;
    size_t n;
    enum status status = ledger_account_list(node->ledger, arena, "stream", stream->name, &accounts, &n, err);
    if (status != OK) return status;
    for (size_t i = 0; i < n; i++) {
        struct hour *hour = hour_at(arena, &a, accounts[i].hour_ms);
        if (str_is(STR("received"), accounts[i].field)) hour->received += accounts[i].n;
        if (str_is(STR("duplicates"), accounts[i].field)) hour->duplicates += accounts[i].n;
        if (str_is(STR("landed"), accounts[i].field)) hour->landed += accounts[i].n;
        if (str_is(STR("deleted"), accounts[i].field)) hour->deleted += accounts[i].n;
        if (str_is(STR("missing"), accounts[i].field)) a.missing += accounts[i].n;
    }
    status = add_log_hours(node, arena, stream->name, &a, err);
    if (status == OK) status = stream_state(node->log, arena, stream->number, &state, err);
    if (status != OK) return status;
    for (size_t i = 0; i < a.n; i++) {
        a.received += a.hours[i].received;
        a.duplicates += a.hours[i].duplicates;
        a.landed += a.hours[i].landed;
        a.deleted += a.hours[i].deleted;
    }
    a.in_log = (int64_t)state.unlanded_records;
    *out = a;
    return OK;
}

/* The three sources are not read at one instant: read until two readings agree. */
static enum status read_settled(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct stream_account *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct stream_account before, now;
    enum status status = read_once(node, arena, stream, &before, err);
    for (int i = 0; status == OK && i < TRIES; i++) {
        status = read_once(node, arena, stream, &now, err);
        if (status != OK) break;
        now.settled = now.received == before.received && now.landed == before.landed && now.in_log == before.in_log;
        if (now.settled || now.received == now.landed + now.in_log + now.deleted) break;
        before = now;
        node->host.clock->sleep_us(node->host.clock->self, 5000);
    }
    if (status == OK) *out = now;
    return status;
}

/* ---- deep ---- */

static enum status take_counts(struct arena *arena, struct stream_account *a, struct str rows, struct err *err) {
    must(arena != NULL);
    struct str *list, hour_text, count_text;
    size_t n;
    enum status status = json_split_array(rows, 10000000, &list, &n, err);
    if (status != OK) return status;
    a->rows = 0;
    for (size_t i = 0; i < a->n; i++) a->hours[i].rows = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t hour_ms, count;
        if (!json_raw_at(list[i], STR("hour_ms"), &hour_text) || !str_to_i64(hour_text, &hour_ms) || !json_raw_at(list[i], STR("n"), &count_text) ||
            !str_to_i64(count_text, &count)) {
            status = err_set(err, E_INTERNAL, "the count per hour is not readable: " STR_FMT, STR_ARG(str_head(list[i], 100)));
            break;
        }
        hour_at(arena, a, hour_ms)->rows = count;
        a->rows += count;
    }
    free(list);
    return status;
}

static enum status count_bronze(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct stream_account *a, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    buf_text(&sql, "SELECT CAST(epoch_ms(date_trunc('hour', _received_at AT TIME ZONE 'UTC')) AS BIGINT) AS hour_ms, count(*) AS n FROM bronze.");
    sql_quote_name(&sql, str_of(stream->name));
    buf_text(&sql, " GROUP BY 1 ORDER BY 1");
    enum status status = node_rows(node, buf_cstr(&sql), &rows, err);
    if (status == OK) status = take_counts(arena, a, str_trim(buf_view(&rows)), err);
    struct stream_account after;
    if (status == OK) status = read_once(node, arena, stream, &after, err);
    for (size_t i = 0; status == OK && i < a->n; i++) a->hours[i].received_after = hour_at(arena, &after, a->hours[i].at_ms)->received;
    return status;
}

/* Events may arrive while SQL counts: the count lies between what was received before and after. */
static bool hour_good(const struct hour *hour) {
    int64_t wanted = hour->received - hour->deleted;
    return hour->landed <= wanted && (hour->rows < 0 || (hour->rows >= wanted && hour->rows <= hour->received_after - hour->deleted));
}

/* Retention of bronze deletes whole hours: those below the first row are not missing. */
static bool before_first_row(const struct stream_account *a, size_t i, bool keeps_for_ever) {
    if (keeps_for_ever || a->hours[i].rows != 0) return false;
    for (size_t k = 0; k < i; k++) {
        if (a->hours[k].rows > 0) return false;
    }
    return true;
}

static bool stream_good(const struct stream_account *a, bool keeps_for_ever) {
    bool good = a->received == a->landed + a->in_log + a->deleted && a->missing == 0;
    for (size_t i = 0; i < a->n; i++)
        good =
            good && (hour_good(&a->hours[i]) || (a->hours[i].landed <= a->hours[i].received - a->hours[i].deleted && before_first_row(a, i, keeps_for_ever)));
    return good;
}

static void write_stream(struct json_writer *w, const struct ledger_stream *stream, const struct stream_account *a, bool good) {
    must(w->depth > 0);
    json_begin_object(w);
    json_put_text(w, "hop", "stream");
    json_put_text(w, "name", stream->name);
    json_put_int(w, "received", a->received);
    json_put_int(w, "duplicates", a->duplicates);
    json_put_int(w, "landed", a->landed);
    json_put_int(w, "in_log", a->in_log);
    json_put_int(w, "deleted", a->deleted);
    json_put_int(w, "missing", a->missing);
    if (a->rows >= 0) json_put_int(w, "rows", a->rows);
    json_put_int(w, "difference", a->received - a->landed - a->in_log - a->deleted);
    json_put_bool(w, "ok", good);
    json_put_bool(w, "settled", a->settled || good);
    json_name(w, "hours");
    json_begin_array(w);
    for (size_t i = 0; i < a->n; i++) {
        const struct hour *hour = &a->hours[i];
        json_begin_object(w);
        json_put_time_ms(w, "hour", hour->at_ms);
        json_put_int(w, "received", hour->received);
        json_put_int(w, "duplicates", hour->duplicates);
        json_put_int(w, "landed", hour->landed);
        json_put_int(w, "in_log", hour->received - hour->landed - hour->deleted);
        if (hour->rows >= 0) json_put_int(w, "rows", hour->rows);
        json_put_bool(w, "ok", hour_good(hour));
        json_end_object(w);
    }
    json_end_array(w);
    json_end_object(w);
}

static enum status account_stream(
    struct node *node, struct arena *arena, const struct ledger_stream *stream, bool deep, struct json_writer *w, bool *all_good, struct err *err) {
    struct stream_account a;
    const struct config_stream *settings = config_find_stream(node_config(node), str_of(stream->name));
    enum status status = read_settled(node, arena, stream, &a, err);
    if (status == OK && deep) status = count_bronze(node, arena, stream, &a, err);
    if (status != OK) return status;
    bool good = stream_good(&a, !settings || settings->retention_ms == 0);
    *all_good = *all_good && good;
    write_stream(w, stream, &a, good);
    return OK;
}

/* ---- deleting a stream with its data ---- */

struct closing {
    const struct ledger_stream *stream;
    const struct stream_account *account;
};

static enum status close_in_ledger(void *context, struct ledger *ledger, struct err *err) {
    const struct closing *c = context;
    enum status status = ledger_stream_delete(ledger, c->stream->number, err);
    for (size_t i = 0; i < c->account->n && status == OK; i++) {
        const struct hour *hour = &c->account->hours[i];
        status = ledger_account_add(ledger, "stream", c->stream->name, hour->at_ms, "deleted", hour->received - hour->deleted, err);
        if (status == OK) status = ledger_account_add(ledger, "stream", c->stream->name, hour->at_ms, "landed", -hour->landed, err);
    }
    return status;
}

enum status accounts_delete_stream(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct err *err) {
    struct stream_account account;
    enum status status = read_settled(node, arena, stream, &account, err);
    struct closing closing = {.stream = stream, .account = &account};
    return status != OK ? status : ledger_transaction(node->ledger, close_in_ledger, &closing, err);
}

/* ---- files ---- */

struct file_account {
    int64_t read, landed, quarantined;
};

static void add_field(struct file_account *a, const struct account *from) {
    if (str_is(STR("read"), from->field)) a->read += from->n;
    if (str_is(STR("landed"), from->field)) a->landed += from->n;
    if (str_is(STR("quarantined"), from->field)) a->quarantined += from->n;
}

static void write_file_account(struct json_writer *w, const char *name, const struct file_account *a, bool *all_good) {
    must(w->depth > 0);
    bool good = a->read == a->landed + a->quarantined;
    *all_good = *all_good && good;
    json_begin_object(w);
    json_put_text(w, "hop", "file");
    json_put_text(w, "name", name);
    json_put_int(w, "read", a->read);
    json_put_int(w, "landed", a->landed);
    json_put_int(w, "quarantined", a->quarantined);
    json_put_int(w, "difference", a->read - a->landed - a->quarantined);
    json_put_bool(w, "ok", good);
    json_end_object(w);
}

static enum status account_files(struct node *node, struct arena *arena, struct json_writer *w, bool *all_good, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct account *list;
    size_t n;
    enum status status = ledger_account_list(node->ledger, arena, "file", NULL, &list, &n, err);
    if (status != OK) return status;
    bool *done = arena_new_array(arena, bool, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct file_account a = {0};
        if (done[i]) continue;
        for (size_t k = i; k < n; k++) {
            if (strcmp(list[k].name, list[i].name) != 0) continue;
            add_field(&a, &list[k]);
            done[k] = true;
        }
        write_file_account(w, list[i].name, &a, all_good);
    }
    return OK;
}

static enum status conservation(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    must(node->ledger != NULL && node->lake != NULL);
    struct arena *arena = http_arena(r);
    struct str wanted = http_query(r, "stream");
    struct ledger_stream *streams, one;
    size_t n;
    bool good = true, deep = query_flag(r, "deep");
    enum status status = wanted.n ? node_stream(node, arena, wanted, &one, err) : OK;
    if (status == OK) status = ledger_stream_list(node->ledger, arena, false, &streams, &n, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_time_ms(&w, "at", host_wall_ms(&node->host));
    json_put_bool(&w, "deep", deep);
    json_name(&w, "hops");
    json_begin_array(&w);
    for (size_t i = 0; i < n && status == OK; i++) {
        if (streams[i].kind != KIND_STREAM || (wanted.n && !str_is(wanted, streams[i].name))) continue;
        status = account_stream(node, arena, &streams[i], deep, &w, &good, err);
    }
    if (status == OK && !wanted.n) status = account_files(node, arena, &w, &good, err);
    if (status == OK && !wanted.n) status = accounts_models(node, &w, deep, &good, err);
    json_end_array(&w);
    json_put_bool(&w, "ok", good);
    json_end_object(&w);
    return status;
}

JSON_HANDLER(on_conservation, conservation)

void routes_accounts(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(routes,
        (struct http_route){"GET", "/v1/conservation", on_conservation, node, .operation = "conservation", .access = ACCESS_READ,
            .summary = "The accounts per hop and receipt hour: what came in is somewhere"});
}
