/* Work sessions, the server's side: what a delta leaves of a table, statements in and results out over the call's socket. */
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/sql_quote.h"
#include "lake/engine_server.h"

#define ROWS_BYTES_MAX (64u << 20)
#define READ_BYTES 65536u
#define DYING_MS 3000 /* call_lost waits for the death to be noticed */

struct engine_work {
    struct engine_call *call;
    int64_t time_ms;
    _Atomic bool cancelled;
};

/* ---- which files can hold wanted rows ---- */

static uint64_t start_of(const struct engine_work_table *w, int64_t partition) {
    return w->delta && partition >= 0 && partition < w->offsets_n ? w->offsets[partition] : 0;
}

static uint64_t end_of(const struct engine_work_table *w, int64_t partition) {
    return w->ends && partition >= 0 && partition < w->ends_n ? w->ends[partition] : UINT64_MAX;
}

static bool may_hold(const struct engine_file_bounds *b, const struct engine_work_table *w) {
    if (w->delta && b->received_known && b->received_us[1] < w->received_us) {
        return false;
    }
    if (!b->partition_known || !b->offset_known || b->partition[1] - b->partition[0] > EVENT_PARTITIONS_MAX) {
        return true;
    }
    for (int64_t p = b->partition[0]; p <= b->partition[1]; p++) {
        if (b->offset[1] >= 0 && (uint64_t)b->offset[1] >= start_of(w, p) && (uint64_t)b->offset[0] < end_of(w, p)) {
            return true;
        }
    }
    return false;
}

static void keep_files(struct arena *arena, const struct engine_table *from, const struct engine_work_table *w, struct engine_table *to) {
    const char **files = arena_new_array(arena, const char *, from->files_n);
    size_t n = 0;
    for (size_t i = 0; i < from->files_n; i++) {
        if (!from->bounds || may_hold(&from->bounds[i], w)) {
            files[n++] = from->files[i];
        }
    }
    to->files = files;
    to->files_n = n;
    to->bounds = NULL;
}

/* The log's part begins where both the lake and the reader end. */
static void raise_offsets(struct arena *arena, const struct engine_table *from, const struct engine_work_table *w, struct engine_table *to) {
    uint16_t n = from->log_offsets_n;
    if (w->delta && w->offsets_n > n) {
        n = w->offsets_n;
    }
    uint64_t *offsets = arena_new_array(arena, uint64_t, n);
    for (uint16_t p = 0; p < n; p++) {
        offsets[p] = p < from->log_offsets_n ? from->log_offsets[p] : 0;
        if (start_of(w, p) > offsets[p]) {
            offsets[p] = start_of(w, p);
        }
    }
    to->log_offsets = offsets;
    to->log_offsets_n = n;
}

static bool is_stream(const struct engine_table *table) {
    for (size_t i = 0; i < table->columns_n; i++) {
        if (strcmp(table->columns[i].name, "_offset") == 0) {
            return true;
        }
    }
    return false;
}

static struct work_table define(struct arena *arena, const struct engine_table *table, const struct engine_work_table *w) {
    must(w->offsets || !w->offsets_n);
    struct work_table out = {.table = *table, .from_us = w->delta ? w->received_us : 0};
    keep_files(arena, table, w, &out.table);
    if (!is_stream(table)) {
        out.id_start = w->delta && w->offsets_n ? w->offsets[0] : 0;
        out.id_before = w->before;
        return out;
    }
    raise_offsets(arena, table, w, &out.table);
    out.starts = w->delta ? w->offsets : NULL;
    out.starts_n = w->delta ? w->offsets_n : 0;
    out.ends = w->ends;
    out.ends_n = w->ends ? w->ends_n : 0;
    return out;
}

static const struct engine_table *find(const struct engine_view *view, const struct engine_work_table *wanted) {
    for (size_t i = 0; view && i < view->tables_n; i++) {
        if (strcmp(view->tables[i].schema, wanted->schema) == 0 && strcmp(view->tables[i].name, wanted->name) == 0) {
            return &view->tables[i];
        }
    }
    return NULL;
}

/* ---- sessions ---- */

/* Reads the answer to its end; the bytes of the result go to `rows` (NULL: nowhere). */
static enum status read_answer(struct engine_call *call, struct buf *rows, struct err *err) {
    AUTO_FREE char *block = mem_alloc(READ_BYTES);
    for (;;) {
        size_t got = 0;
        enum status st = engine_call_read(call, block, READ_BYTES, &got, err);
        if (st != OK || !got) {
            return st;
        }
        if (rows) {
            buf_put(rows, block, got);
        }
    }
}

static void set_limit(struct engine_work *work, bool on) {
    struct engine *engine = work->call->engine;
    WITH_LOCK(&engine->lock);
    work->call->give_up_ms = on && work->time_ms ? host_monotonic_ms(engine->options.host) + work->time_ms + engine->options.stuck_ms : 0;
}

/* Until the views are made. */
static enum status open_session(struct engine *engine, struct engine_request *request, struct engine_call **out, struct err *err) {
    struct engine_call *call;
    enum status st = engine_call_start(engine, request, NULL, &call, err);
    if (st != OK) {
        return st;
    }
    st = read_answer(call, NULL, err);
    if (st != OK) {
        engine_call_end(&call);
        return st;
    }
    *out = call;
    return OK;
}

enum status engine_work_begin(struct engine *engine, const struct engine_view *view, const struct engine_work_table *tables, size_t n, int64_t time_ms,
    struct engine_work **out, struct err *err) {
    must(engine && out && (tables || !n) && time_ms >= 0);
    ARENA_SCOPE(arena);
    struct work_table *work = arena_new_array(arena, struct work_table, n);
    for (size_t i = 0; i < n; i++) {
        const struct engine_table *table = find(view, &tables[i]);
        if (!table) {
            return err_set(err, E_NOT_FOUND, "there is no table %s.%s", tables[i].schema, tables[i].name);
        }
        work[i] = define(arena, table, &tables[i]);
    }
    struct engine_request request = {.kind = CALL_WORK,
        .internal = true,
        .time_ms = time_ms,
        .durable = view ? view->durable : 0,
        .index_from = view ? view->index_from : 0,
        .sql = STR(""),
        .work = work,
        .work_n = n};
    struct engine_call *call;
    struct engine_request again = request;
    int64_t started_ms = host_monotonic_ms(engine->options.host);
    enum status st = open_session(engine, &request, &call, err);
    if (st == E_UNAVAILABLE && host_monotonic_ms(engine->options.host) - started_ms < DYING_MS) { /* a child that was killed still takes calls for a moment */
        st = open_session(engine, &again, &call, err);
    }
    if (st != OK) {
        return st;
    }
    struct engine_work *made = mem_zalloc(sizeof *made);
    made->call = call;
    made->time_ms = time_ms;
    *out = made;
    return OK;
}

static enum status send(struct engine_work *work, struct buf *message, struct err *err) {
    wire_end(message);
    if (message->failed) {
        return err_set(err, E_LIMIT, "the statements of a model run are over %u MB", WIRE_PAYLOAD_MAX >> 20);
    }
    (void)host_send(work->call->fd, message->p, message->n, NULL); /* a child that is gone shows in the answer that does not come */
    return OK;
}

/* Whether a next message makes sense. */
static enum status usable(struct engine_work *work, struct err *err) {
    if (work->cancelled) {
        return err_set(err, E_CANCELLED, "the run was cancelled");
    }
    if (work->call->lost) {
        return err_set(err, work->call->err.status, "%s", work->call->err.text);
    }
    work->call->finished = false;
    work->call->err = (struct err){0};
    return OK;
}

enum status engine_work_run(struct engine_work *work, const char *sql, struct buf *rows_json, uint64_t *changed, struct err *err) {
    must(work && sql);
    BUF_SCOPE(rows);
    BUF_SCOPE(message);
    rows.limit = ROWS_BYTES_MAX;
    wire_begin(&message, WORK_RUN);
    buf_u32(&message, rows_json != NULL);
    wire_put_cstr(&message, sql);
    enum status st = usable(work, err);
    set_limit(work, true);
    st = st == OK ? send(work, &message, err) : st;
    st = st == OK ? read_answer(work->call, rows_json ? &rows : NULL, err) : st;
    set_limit(work, false);
    if (work->cancelled) {
        return err_set(err, E_CANCELLED, "the run was cancelled");
    }
    if (st == OK && rows.failed) {
        return err_set(err, E_LIMIT, "a statement of a model run gave more than %u MB", ROWS_BYTES_MAX >> 20);
    }
    if (st != OK) {
        return st;
    }
    if (rows_json) {
        buf_str(rows_json, buf_view(&rows));
    }
    if (changed) {
        *changed = work->call->rows;
    }
    return OK;
}

enum status engine_work_copy(struct engine_work *work, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err) {
    must(work && copy->sql && copy->path && !copy->view);
    struct engine_request request = {.kind = CALL_COPY,
        .internal = true,
        .sql = str_of(copy->sql),
        .path = copy->path,
        .columns = copy->columns,
        .columns_n = copy->columns_n,
        .row_group_rows = copy->row_group_rows ? copy->row_group_rows : 20480};
    BUF_SCOPE(message);
    wire_begin(&message, WORK_COPY);
    wire_put_request(&message, &request);
    enum status st = usable(work, err);
    set_limit(work, true);
    st = st == OK ? send(work, &message, err) : st;
    st = st == OK ? engine_call_copied(work->call, arena, copy, out, err) : st;
    set_limit(work, false);
    return work->cancelled ? err_set(err, E_CANCELLED, "the run was cancelled") : st;
}

/* ---- the list of tables ---- */

static bool is_table(const json_t *entry) {
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    return kind && strcmp(kind, "table") == 0;
}

/* DuckDB's own number of rows has deleted ones among it until a checkpoint: they are counted. A table that is swapped meanwhile keeps that number. */
static void count_rows(struct engine *engine, json_t *list) {
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    json_t *entry;
    size_t i;
    bool any = false;
    json_array_foreach(list, i, entry) {
        if (is_table(entry)) {
            buf_printf(&sql, "%s SELECT %zu AS i, count(*) AS n FROM warehouse.", any ? " UNION ALL" : "", i);
            sql_quote_name(&sql, str_of(json_string_value(json_object_get(entry, "schema"))));
            buf_char(&sql, '.');
            sql_quote_name(&sql, str_of(json_string_value(json_object_get(entry, "name"))));
            any = true;
        }
    }
    if (!any || engine_rows(engine, NULL, buf_cstr(&sql), &rows, NULL) != OK) {
        return;
    }
    json_t *counts = json_loadb(rows.p, rows.n, 0, NULL), *row;
    json_array_foreach(counts, i, row) {
        json_object_set(json_array_get(list, (size_t)json_integer_value(json_object_get(row, "i"))), "rows", json_object_get(row, "n"));
    }
    json_decref(counts);
}

enum status engine_tables(struct engine *engine, struct buf *json, struct err *err) {
    AUTO_FREE char *sql =
        mem_printf("SELECT schema, name, kind, list_transform(list_filter(columns, lambda c: NOT c.hidden), "
                   "lambda c: {'name': c.name, 'type': c.type, 'comment': c.comment}) AS columns, rows, without_model FROM (%s) ORDER BY schema, name",
            engine_tables_sql);
    BUF_SCOPE(rows);
    enum status st = engine_rows(engine, NULL, sql, &rows, err);
    if (st != OK) {
        return st;
    }
    json_t *list = json_loadb(rows.p, rows.n, 0, NULL);
    if (!json_is_array(list)) {
        json_decref(list);
        return err_set(err, E_INTERNAL, "the list of the warehouse's tables cannot be read");
    }
    count_rows(engine, list);
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        if (!json_is_true(json_object_get(entry, "without_model"))) json_object_del(entry, "without_model");
    }
    AUTO_FREE char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    buf_text(json, text);
    return OK;
}

void engine_work_end(struct engine_work **pointer) {
    struct engine_work *work = *pointer;
    *pointer = NULL;
    if (!work) {
        return;
    }
    engine_call_end(&work->call);
    free(work);
}

bool engine_work_cancel(struct engine_work *work) {
    must(work && work->call);
    if (atomic_exchange(&work->cancelled, true)) {
        return false;
    }
    host_hang_up(work->call->fd); /* the child sees its caller gone and interrupts the statement */
    return true;
}
