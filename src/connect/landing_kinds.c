/* The landing row sources of the engine child: "landing" reads the rows of a file by its plan, "landing_bad" gives the bad rows that this put aside.
 *
 * Columns are called c0, c1, … so that nothing from a file becomes part of a statement; the statement names them. */
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "connect/landing.h"
#include "connect/landing_rows.h"

struct source_reader {
    struct arena *arena;
    struct landing_plan plan;
    int64_t id; /* of the file in the ledger: tells the reports of one statement apart */
    struct landing_rows *rows;
};

static void source_close(void *self) {
    struct source_reader *s = self;
    landing_rows_close(&s->rows);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static enum status source_open(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err) {
    struct arena *arena = arena_new();
    struct source_reader *s = arena_new_one(arena, struct source_reader);
    const char *spool = NULL;
    s->arena = arena;
    enum status st = landing_plan_read(arena, spec, &s->plan, &s->id, &spool, err);
    struct landing_rows_options options = {.host = host, .plan = &s->plan, .spool = spool};
    if (st == OK) st = landing_rows_open(&options, &s->rows, err);
    if (st != OK) {
        source_close(s);
        return st;
    }
    struct str *names = arena_new_array(arena, struct str, s->plan.columns_n);
    for (size_t i = 0; i < s->plan.columns_n; i++) names[i] = str_of(arena_printf(arena, "c%zu", i));
    *self = s;
    *columns = names;
    *columns_n = s->plan.columns_n;
    return OK;
}

static enum status source_next(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    struct source_reader *s = self;
    enum status st = landing_rows_next(s->rows, rows, rows_max, n, err);
    /* On its way through DuckDB only the text survives; landing_table.c looks for the status in it. */
    return st == OK ? OK : err_prefix(err, "[%s]", status_name(st));
}

static bool source_next_bad(void *self, struct bad_row *out) {
    struct source_reader *s = self;
    return landing_rows_next_bad(s->rows, out);
}

static void source_report(void *self, struct buf *out) {
    struct source_reader *s = self;
    struct landing_counts counts = landing_rows_counts(s->rows);
    buf_printf(out, "{\"id\":%lld,\"read\":%llu,\"good\":%llu,\"bad\":%llu,\"blank_lines\":%llu}", (long long)s->id, (unsigned long long)counts.read,
        (unsigned long long)counts.good, (unsigned long long)counts.bad, (unsigned long long)counts.blank_lines);
}

const struct row_source_kind landing_row_source = {
    .name = "landing",
    .open = source_open,
    .next = source_next,
    .next_bad = source_next_bad,
    .report = source_report,
    .close = source_close,
};

/* ---- landing_bad: {"spool": path}; no good rows, so that the bad ones are there at once, in another engine call than the one that found them ---- */

struct bad_reader {
    struct arena *arena;
    struct bad_spool *spool;
    struct err failure; /* next_bad cannot say it; the report does, and the row count then differs from what was announced */
    uint64_t rows;
};

static void bad_close(void *self) {
    struct bad_reader *s = self;
    bad_spool_free(&s->spool);
    struct arena *arena = s->arena;
    arena_free(&arena);
}

static enum status bad_open(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err) {
    static const struct str none = {"none", 4};
    json_t *object = json_loadb(spec.p, spec.n, 0, NULL);
    const char *path = json_string_value(json_object_get(object, "spool"));
    struct bad_spool *spool = NULL;
    enum status st = path ? bad_spool_open(host, path, &spool, err) : err_set(err, E_INVALID, "the landing specification names no spool");
    json_decref(object);
    if (st != OK) return st;
    struct arena *arena = arena_new();
    struct bad_reader *s = arena_new_one(arena, struct bad_reader);
    s->arena = arena;
    s->spool = spool;
    *self = s;
    *columns = &none;
    *columns_n = 1;
    return OK;
}

static enum status bad_next(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    *n = 0;
    return OK;
}

static bool bad_next_bad(void *self, struct bad_row *out) {
    struct bad_reader *s = self;
    bool got = false;
    if (s->failure.status == OK && bad_spool_next(s->spool, out, &got, &s->failure) != OK) got = false;
    s->rows += got;
    return got;
}

static void bad_report(void *self, struct buf *out) {
    struct bad_reader *s = self;
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
