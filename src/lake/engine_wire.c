#include "lake/engine_wire.h"

#include "base/assert.h"

#define WIRE_NULL UINT32_MAX /* length of a text that is not there */

/* ---- primitives ---- */

static const char *wire_take(struct wire_in *in, size_t n) {
    if (in->failed || in->n < n) {
        in->failed = true;
        return NULL;
    }
    const char *p = in->p;
    in->p += n;
    in->n -= n;
    return p;
}

uint32_t wire_u32(struct wire_in *in) {
    uint32_t v = 0;
    const char *p = wire_take(in, sizeof v);
    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return v;
}

uint64_t wire_u64(struct wire_in *in) {
    uint64_t v = 0;
    const char *p = wire_take(in, sizeof v);
    if (p) {
        memcpy(&v, p, sizeof v);
    }
    return v;
}

struct str wire_str(struct wire_in *in) {
    uint32_t n = wire_u32(in);
    if (in->failed || n == WIRE_NULL) {
        return STR_NULL;
    }
    const char *p = wire_take(in, n);
    return p ? str_make(p, n) : STR_NULL;
}

/* A copy in the arena that keeps "not there". */
static struct str keep_str(struct wire_in *in, struct arena *arena) {
    struct str s = wire_str(in);
    return s.p ? arena_str(arena, s) : STR_NULL;
}

char *wire_cstr(struct wire_in *in, struct arena *arena) {
    struct str s = wire_str(in);
    return s.p ? arena_strndup(arena, s.p, s.n) : NULL;
}

void wire_put_str(struct buf *out, struct str s) {
    must(s.n < WIRE_NULL);
    buf_u32(out, s.p ? (uint32_t)s.n : WIRE_NULL);
    buf_put(out, s.p ? s.p : "", s.p ? s.n : 0);
}

void wire_put_cstr(struct buf *out, const char *text) { wire_put_str(out, str_of(text)); }

void wire_begin(struct buf *out, enum wire_kind kind) {
    must(out->n == 0);
    buf_u32(out, kind);
    buf_u32(out, 0);
}

void wire_end(struct buf *out) {
    must(out->n >= sizeof(struct wire_header));
    if (out->n - sizeof(struct wire_header) > WIRE_PAYLOAD_MAX) {
        out->failed = true;
        return;
    }
    uint32_t length = (uint32_t)(out->n - sizeof(struct wire_header));
    memcpy(out->p + sizeof(uint32_t), &length, sizeof length);
}

/* A count that the rest of the payload can hold (each item takes at least `item` bytes), so that a damaged count cannot ask for memory. */
static uint32_t wire_count(struct wire_in *in, size_t item) {
    uint32_t n = wire_u32(in);
    if (!in->failed && n > in->n / item) {
        in->failed = true;
    }
    return in->failed ? 0 : n;
}

/* ---- columns ---- */

static void put_columns(struct buf *out, const struct engine_column *columns, size_t n) {
    buf_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        wire_put_cstr(out, columns[i].name);
        wire_put_cstr(out, columns[i].type);
        buf_u32(out, (uint32_t)columns[i].field_id);
        wire_put_cstr(out, columns[i].field_ids);
    }
}

static struct engine_column *get_columns(struct wire_in *in, struct arena *arena, size_t *n) {
    uint32_t count = wire_count(in, 16);
    struct engine_column *columns = arena_new_array(arena, struct engine_column, count);
    for (uint32_t i = 0; i < count; i++) {
        columns[i].name = wire_cstr(in, arena);
        columns[i].type = wire_cstr(in, arena);
        columns[i].field_id = (int)wire_u32(in);
        columns[i].field_ids = wire_cstr(in, arena);
        if (!columns[i].name || !columns[i].type) {
            in->failed = true;
        }
    }
    *n = count;
    return columns;
}

/* ---- requests ---- */

static void put_offsets(struct buf *out, const uint64_t *offsets, uint16_t n) {
    buf_u32(out, n);
    for (uint16_t i = 0; i < n; i++) {
        buf_u64(out, offsets[i]);
    }
}

static const uint64_t *get_offsets(struct wire_in *in, struct arena *arena, uint16_t *n) {
    *n = (uint16_t)wire_count(in, sizeof(uint64_t));
    uint64_t *offsets = arena_new_array(arena, uint64_t, *n);
    for (uint16_t i = 0; i < *n; i++) {
        offsets[i] = wire_u64(in);
    }
    return offsets;
}

static void put_work(struct buf *out, const struct work_table *work, size_t n) {
    buf_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        BUF_SCOPE(table);
        wire_put_table(&table, 0, &work[i].table);
        out->failed = out->failed || table.failed;
        wire_put_str(out, buf_view(&table));
        buf_u64(out, (uint64_t)work[i].from_us);
        put_offsets(out, work[i].starts, work[i].starts_n);
        put_offsets(out, work[i].ends, work[i].ends_n);
        buf_u64(out, work[i].id_start);
        buf_u64(out, work[i].id_before);
    }
}

static const struct work_table *get_work(struct wire_in *in, struct arena *arena, size_t *n) {
    uint32_t count = wire_count(in, 36), number;
    struct work_table *work = arena_new_array(arena, struct work_table, count);
    for (uint32_t i = 0; i < count; i++) {
        struct str bytes = wire_str(in);
        struct wire_in table = {bytes.p, bytes.n, false};
        in->failed = in->failed || !wire_get_table(&table, arena, &number, &work[i].table);
        work[i].from_us = (int64_t)wire_u64(in);
        work[i].starts = get_offsets(in, arena, &work[i].starts_n);
        work[i].ends = get_offsets(in, arena, &work[i].ends_n);
        work[i].id_start = wire_u64(in);
        work[i].id_before = wire_u64(in);
    }
    *n = count;
    return work;
}

static bool kind_known(enum engine_call_kind kind) { return kind == CALL_QUERY || kind == CALL_COPY || kind == CALL_WORK; }

void wire_put_request(struct buf *out, const struct engine_request *request) {
    must(kind_known(request->kind));
    buf_u64(out, request->id);
    buf_u32(out, request->kind);
    buf_u32(out, request->internal);
    buf_u32(out, request->stand_ins);
    buf_u64(out, (uint64_t)request->time_ms);
    buf_u64(out, request->durable);
    buf_u64(out, request->index_from);
    buf_u32(out, request->tables_n);
    for (uint32_t i = 0; i < request->tables_n; i++) {
        buf_u32(out, request->tables[i]);
    }
    wire_put_str(out, request->sql);
    buf_u32(out, (uint32_t)request->params_n);
    for (size_t i = 0; i < request->params_n; i++) {
        wire_put_str(out, request->params[i]);
    }
    buf_u32(out, request->format);
    buf_u32(out, request->rows_max);
    buf_u32(out, request->width_max);
    put_work(out, request->work, request->work_n);
    wire_put_cstr(out, request->path);
    put_columns(out, request->columns, request->columns_n);
    buf_u32(out, request->row_group_rows);
}

bool wire_get_request(struct wire_in *in, struct arena *arena, struct engine_request *out) {
    struct engine_request r = {.id = wire_u64(in), .kind = wire_u32(in)};
    r.internal = wire_u32(in) != 0;
    r.stand_ins = wire_u32(in) != 0;
    r.time_ms = (int64_t)wire_u64(in);
    r.durable = wire_u64(in);
    r.index_from = wire_u64(in);
    r.tables_n = wire_count(in, sizeof(uint32_t));
    uint32_t *tables = arena_new_array(arena, uint32_t, r.tables_n);
    for (uint32_t i = 0; i < r.tables_n; i++) {
        tables[i] = wire_u32(in);
    }
    r.tables = tables;
    r.sql = keep_str(in, arena);
    r.params_n = wire_count(in, sizeof(uint32_t));
    struct str *params = arena_new_array(arena, struct str, r.params_n);
    for (size_t i = 0; i < r.params_n; i++) {
        params[i] = keep_str(in, arena);
    }
    r.params = params;
    r.format = wire_u32(in);
    r.rows_max = wire_u32(in);
    r.width_max = wire_u32(in);
    r.work = get_work(in, arena, &r.work_n);
    r.path = wire_cstr(in, arena);
    r.columns = get_columns(in, arena, &r.columns_n);
    r.row_group_rows = wire_u32(in);
    if (in->failed || in->n || !kind_known(r.kind)) {
        return false;
    }
    *out = r;
    return true;
}

/* ---- tables ---- */

void wire_put_table(struct buf *out, uint32_t number, const struct engine_table *table) {
    must(table->schema && table->name);
    buf_u32(out, number);
    wire_put_cstr(out, table->schema);
    wire_put_cstr(out, table->name);
    buf_u64(out, table->version);
    put_columns(out, table->columns, table->columns_n);
    buf_u32(out, (uint32_t)table->files_n);
    for (size_t i = 0; i < table->files_n; i++) {
        wire_put_cstr(out, table->files[i]);
    }
    wire_put_cstr(out, table->unreadable);
    buf_u32(out, (uint32_t)table->has_log | (uint32_t)table->is_copy << 1);
    buf_u32(out, table->stream);
    buf_u64(out, table->log_from);
    put_offsets(out, table->log_offsets, table->log_offsets_n);
}

bool wire_get_table(struct wire_in *in, struct arena *arena, uint32_t *number, struct engine_table *out) {
    uint32_t n = wire_u32(in);
    struct engine_table t = {.schema = wire_cstr(in, arena), .name = wire_cstr(in, arena), .version = wire_u64(in)};
    t.columns = get_columns(in, arena, &t.columns_n);
    t.files_n = wire_count(in, sizeof(uint32_t));
    const char **files = arena_new_array(arena, const char *, t.files_n);
    for (size_t i = 0; i < t.files_n; i++) {
        files[i] = wire_cstr(in, arena);
    }
    t.files = files;
    t.unreadable = wire_cstr(in, arena);
    uint32_t flags = wire_u32(in);
    t.has_log = (flags & 1) != 0;
    t.is_copy = (flags & 2) != 0;
    t.stream = (uint16_t)wire_u32(in);
    t.log_from = wire_u64(in);
    t.log_offsets = get_offsets(in, arena, &t.log_offsets_n);
    if (in->failed || in->n || !t.schema || !t.name) {
        return false;
    }
    *number = n;
    *out = t;
    return true;
}

/* ---- what a copy made ---- */

void wire_put_copied(struct buf *out, const struct engine_copied *copied) {
    buf_u64(out, copied->rows);
    buf_u64(out, copied->size_bytes);
    buf_u32(out, (uint32_t)copied->columns_n);
    for (size_t i = 0; i < copied->columns_n; i++) {
        const struct engine_column_stats *c = &copied->columns[i];
        buf_u32(out, (uint32_t)c->field_id);
        buf_u64(out, (uint64_t)c->size_bytes);
        buf_u64(out, (uint64_t)c->values);
        buf_u64(out, (uint64_t)c->nulls);
        buf_u32(out, c->has_bounds);
        wire_put_str(out, c->lower);
        wire_put_str(out, c->upper);
    }
    wire_put_str(out, copied->sources);
}

bool wire_get_copied(struct wire_in *in, struct arena *arena, struct engine_copied *out) {
    struct engine_copied copied = {.rows = wire_u64(in), .size_bytes = wire_u64(in)};
    copied.columns_n = wire_count(in, 40);
    copied.columns = arena_new_array(arena, struct engine_column_stats, copied.columns_n);
    for (size_t i = 0; i < copied.columns_n; i++) {
        struct engine_column_stats *c = &copied.columns[i];
        c->field_id = (int)wire_u32(in);
        c->size_bytes = (int64_t)wire_u64(in);
        c->values = (int64_t)wire_u64(in);
        c->nulls = (int64_t)wire_u64(in);
        c->has_bounds = wire_u32(in) != 0;
        c->lower = keep_str(in, arena);
        c->upper = keep_str(in, arena);
    }
    copied.sources = keep_str(in, arena);
    if (in->failed || in->n) {
        return false;
    }
    *out = copied;
    return true;
}
