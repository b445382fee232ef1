/* Ledger: landing files. One row per content of a source; the row and its reserved offsets are made in one transaction, before the first row of the file. */
#include "base/assert.h"
#include "base/event_id.h"
#include "ledger/ledger_priv.h"

/* Columns in the order of LANDING_SELECT. */
static void read_file(const struct query *q, struct arena *arena, struct landing_file *out) {
    *out = (struct landing_file){.id = query_int(q, 0),
        .source = query_text(q, arena, 1),
        .path = query_text(q, arena, 2),
        .hash = query_text(q, arena, 3),
        .size_bytes = (uint64_t)query_int(q, 4),
        .stream = (uint16_t)query_int(q, 5),
        .first_offset = (uint64_t)query_int(q, 6),
        .reserved = (uint64_t)query_int(q, 7),
        .received_ms = query_int(q, 8),
        .state = (enum landing_state)query_int(q, 9),
        .rejected = query_int(q, 10) != 0,
        .rows_read = (uint64_t)query_int(q, 11),
        .rows_landed = (uint64_t)query_int(q, 12),
        .rows_quarantined = (uint64_t)query_int(q, 13),
        .reason = query_text(q, arena, 14),
        .report = query_text(q, arena, 15),
        .moved_to = query_text(q, arena, 16),
        .finished_ms = query_int(q, 17)};
    must(out->state >= LANDING_TAKEN && out->state <= LANDING_MOVED);
}

/* Moves the table's next offset by `reserve` and its receipt time forward, never back: a clock that was set back may not bring ids out of order. */
static enum status reserve_offsets(
    struct ledger *ledger, const struct landing_file *file, uint64_t reserve, int64_t *first, int64_t *received_ms, struct err *err) {
    struct query q = ledger_query_write(ledger, SQL_LANDING_RESERVE, err, "iii", (int64_t)file->stream, (int64_t)reserve, file->received_ms);
    bool found = query_next(&q);
    if (found) {
        *first = query_int(&q, 0);
        *received_ms = query_int(&q, 1);
    }
    while (query_next(&q)) { /* RETURNING needs its statement run to the end */
    }
    enum status status = query_end(&q);
    if (status == OK && !found) {
        return err_set(err, E_NOT_FOUND, "there is no landing table number %u", file->stream);
    }
    if (status == OK && (uint64_t)*first + reserve > EVENT_OFFSET_MAX) {
        return err_set(err, E_LIMIT, "landing table number %u has no offsets left for %llu rows", file->stream, (unsigned long long)reserve);
    }
    return status;
}

/* Reservation and row are one transaction: after a crash there is either no trace of the file, or a row with its offsets to go on from. */
static enum status insert_file(
    struct ledger *ledger, struct arena *arena, const struct landing_file *file, uint64_t reserve, struct landing_file *out, struct err *err) {
    int64_t first = 0, received_ms = 0;
    enum status status = reserve_offsets(ledger, file, reserve, &first, &received_ms, err);
    if (status == OK) {
        status = ledger_run(ledger, err, NULL, SQL_LANDING_INSERT, "sssiiiii", file->source, file->path, file->hash, (int64_t)file->size_bytes,
            (int64_t)file->stream, first, (int64_t)reserve, received_ms);
    }
    if (status != OK) {
        return status;
    }
    struct query q = ledger_query_write(ledger, SQL_LANDING_GET, err, "i", (int64_t)sqlite3_last_insert_rowid(ledger->write.db));
    if (query_next(&q)) {
        read_file(&q, arena, out);
    }
    return query_end(&q);
}

enum status ledger_landing_take(
    struct ledger *ledger, struct arena *arena, const struct landing_file *file, uint64_t reserve, bool *already, struct landing_file *out, struct err *err) {
    must(file->source && file->path && file->hash);
    struct landing_file row = {0};
    if (reserve > EVENT_OFFSET_MAX) {
        return err_set(err, E_LIMIT, "%s: %llu rows are more than a landing table can number", file->path, (unsigned long long)reserve);
    }
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    struct query q = ledger_query_write(ledger, SQL_LANDING_FIND, err, "ss", file->source, file->hash);
    bool found = query_next(&q);
    if (found) {
        read_file(&q, arena, &row);
    }
    status = query_end(&q);
    if (status == OK && !found) {
        status = insert_file(ledger, arena, file, reserve, &row, err);
    }
    status = ledger_write_end(ledger, status, err);
    if (status == OK) {
        *already = found;
        *out = row;
    }
    return status;
}

/* Ends the write of an update by id: no row changed means that there is none. */
static enum status end_changed(struct ledger *ledger, enum status status, int64_t changed, int64_t id, struct err *err) {
    if (status == OK && changed == 0) {
        status = err_set(err, E_NOT_FOUND, "there is no landing file number %lld", (long long)id);
    }
    return ledger_write_end(ledger, status, err);
}

enum status ledger_landing_finish(struct ledger *ledger, int64_t id, enum landing_state state, uint64_t rows_read, uint64_t rows_landed,
    uint64_t rows_quarantined, const char *reason, const char *report, struct err *err) {
    int64_t changed = 0;
    must(state == LANDING_LANDED || state == LANDING_REJECTED);
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_LANDING_FINISH, "iiiiiissi", id, (int64_t)state, (int64_t)(state == LANDING_REJECTED), (int64_t)rows_read,
        (int64_t)rows_landed, (int64_t)rows_quarantined, reason, report, host_wall_ms(ledger->host));
    return end_changed(ledger, status, changed, id, err);
}

enum status ledger_landing_moved(struct ledger *ledger, int64_t id, const char *moved_to, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_LANDING_MOVED, "is", id, moved_to);
    return end_changed(ledger, status, changed, id, err);
}

enum status ledger_landing_forget(struct ledger *ledger, int64_t id, struct err *err) {
    int64_t changed = 0;
    enum status status = ledger_write_begin(ledger, err);
    if (status != OK) {
        return status;
    }
    status = ledger_run(ledger, err, &changed, SQL_LANDING_FORGET, "i", id);
    return end_changed(ledger, status, changed, id, err);
}

enum status ledger_landing_list(
    struct ledger *ledger, struct arena *arena, const char *source, int state, size_t limit, struct landing_file **out, size_t *n, struct err *err) {
    must(ledger && out && n);
    struct landing_file *list = NULL;
    size_t count = 0, cap = 0;
    int64_t rows_max = limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
    struct query q = ledger_query_read(ledger, SQL_LANDING_LIST, err, "sii", source, (int64_t)state, rows_max);
    while (query_next(&q)) {
        read_file(&q, arena, ledger_grow(arena, (void **)&list, count, &cap, sizeof *list));
        count++;
    }
    enum status status = query_end(&q);
    if (status == OK) {
        *out = list;
        *n = count;
    }
    return status;
}
