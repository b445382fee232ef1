/* The landing row sources of the engine child: "landing" reads the rows of a file by its plan, "landing_bad" the bad rows that this put aside.
 *
 * Columns are called c0, c1, … so that nothing from a file becomes part of a statement; the statement names them. "landing" adds the record's number. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing.h"
#include "connect/landing_rows.h"

struct source_reader {
    struct arena *arena, *batch;
    struct landing_plan plan;
    struct landing_rows *rows;
    size_t columns_n; /* with the number */
    uint64_t good;
};

static struct str *column_names(struct arena *arena, size_t n) {
    struct str *names = arena_new_array(arena, struct str, n);
    for (size_t i = 0; i < n; i++) names[i] = str_of(arena_printf(arena, "c%zu", i));
    return names;
}

static void source_close(void *self) {
    struct source_reader *s = self;
    landing_rows_close(&s->rows);
    arena_free(&s->batch);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static enum status source_open(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err) {
    struct arena *arena = arena_new();
    struct source_reader *s = arena_new_one(arena, struct source_reader);
    const char *spool = NULL;
    s->arena = arena;
    s->batch = arena_new();
    enum status st = landing_plan_read(arena, spec, &s->plan, &spool, err);
    struct landing_rows_options options = {.host = host, .plan = &s->plan, .spool = spool};
    if (st == OK) st = landing_rows_open(&options, &s->rows, err);
    if (st != OK) {
        source_close(s);
        return st;
    }
    s->columns_n = s->plan.columns_n + 1;
    struct str *names = column_names(arena, s->columns_n);
    names[s->plan.columns_n] = STR("row");
    *self = s;
    *columns = names;
    *columns_n = s->columns_n;
    return OK;
}

static struct str number_text(struct arena *arena, uint64_t number) {
    char *text = arena_alloc(arena, 24), *p = text + 24;
    do *--p = (char)('0' + number % 10);
    while (number /= 10);
    return (struct str){p, (size_t)(text + 24 - p)};
}

static enum status source_next(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    struct source_reader *s = self;
    size_t got;
    enum status st = landing_rows_next(s->rows, rows, rows_max, &got, err);
    if (st != OK) return st;
    arena_reset(s->batch);
    struct str *cells = arena_alloc(s->batch, (got * s->columns_n + 1) * sizeof *cells);
    for (size_t i = 0; i < got; i++) {
        struct str *row = cells + i * s->columns_n;
        memcpy(row, rows[i].cells, s->plan.columns_n * sizeof *row);
        row[s->plan.columns_n] = number_text(s->batch, rows[i].number);
        rows[i].cells = row;
    }
    s->good += got;
    *n = got;
    return OK;
}

static bool source_next_bad(void *self, struct bad_row *out) {
    struct source_reader *s = self;
    return landing_rows_next_bad(s->rows, out);
}

static void source_report(void *self, struct buf *out) {
    struct source_reader *s = self;
    struct landing_counts counts = landing_rows_counts(s->rows);
    buf_printf(out, "{\"read\":%llu,\"good\":%llu,\"bad\":%llu,\"blank_lines\":%llu}", (unsigned long long)counts.read, (unsigned long long)counts.good,
        (unsigned long long)counts.bad, (unsigned long long)counts.blank_lines);
}

const struct row_source_kind landing_row_source = {
    .name = "landing",
    .open = source_open,
    .next = source_next,
    .next_bad = source_next_bad,
    .report = source_report,
    .close = source_close,
};

/* ---- landing_bad: {"spool": path} -> row, reason, raw in base64 (cells must be UTF-8) ---- */

struct bad_source_reader {
    struct arena *arena, *batch;
    struct bad_spool *spool;
    uint64_t rows;
};

static void bad_close(void *self) {
    struct bad_source_reader *s = self;
    bad_spool_free(&s->spool);
    arena_free(&s->batch);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static enum status bad_open(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err) {
    json_t *object = json_loadb(spec.p, spec.n, 0, NULL);
    const char *path = json_string_value(json_object_get(object, "spool"));
    struct bad_spool *spool = NULL;
    enum status st = path ? bad_spool_open(host, path, &spool, err) : err_set(err, E_INVALID, "the landing specification names no spool");
    json_decref(object);
    if (st != OK) return st;
    struct arena *arena = arena_new();
    struct bad_source_reader *s = arena_new_one(arena, struct bad_source_reader);
    s->arena = arena;
    s->batch = arena_new();
    s->spool = spool;
    *self = s;
    *columns = column_names(arena, 3);
    *columns_n = 3;
    return OK;
}

#define BAD_BYTES_PER_CALL (4u << 20)

static enum status bad_next(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    struct bad_source_reader *s = self;
    size_t made = 0, bytes = 0;
    arena_reset(s->batch);
    while (made < rows_max && bytes < BAD_BYTES_PER_CALL) {
        struct bad_row bad;
        bool got;
        enum status st = bad_spool_next(s->spool, &bad, &got, err);
        if (st != OK) return st;
        if (!got) break;
        BUF_SCOPE(base64);
        buf_base64(&base64, bad.raw);
        struct str *cells = arena_new_array(s->batch, struct str, 3);
        cells[0] = number_text(s->batch, bad.number);
        cells[1] = arena_str(s->batch, str_of(bad.reason));
        cells[2] = arena_str(s->batch, base64.p ? buf_view(&base64) : STR(""));
        rows[made++] = (struct row){.number = bad.number, .cells = cells};
        bytes += base64.n;
    }
    s->rows += made;
    *n = made;
    return OK;
}

static bool bad_next_bad(void *self, struct bad_row *out) { return false; }

static void bad_report(void *self, struct buf *out) {
    struct bad_source_reader *s = self;
    buf_printf(out, "{\"rows\":%llu}", (unsigned long long)s->rows);
}

const struct row_source_kind landing_bad_row_source = {
    .name = "landing_bad",
    .open = bad_open,
    .next = bad_next,
    .next_bad = bad_next_bad,
    .report = bad_report,
    .close = bad_close,
};
