#include "connect/landing_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing_rows_priv.h"
#include "ingest/protect.h"

#define CELLS_PER_CALL (64u << 10) /* bounds the cell array of very wide files */
#define WINDOW_SLACK (64u << 10) /* room behind a record of the greatest size */
#define REASON_MAX 400

enum status landing_rows_open(const struct landing_rows_options *options, struct landing_rows **out, struct err *err) {
    const struct landing_plan *plan = options->plan;
    must(plan->format != LANDING_PARQUET && plan->format != LANDING_AUTO && plan->format != LANDING_TSV && plan->record_bytes_max > 0);
    struct text_window window;
    struct file_bytes_options file = {.host = options->host, .path = plan->path};
    enum status st = text_window_open(&file, &plan->encoding, plan->bom_bytes, plan->record_bytes_max + WINDOW_SLACK, &window, err);
    if (st != OK) return st;
    struct landing_rows *r = mem_zalloc(sizeof *r);
    r->window = window;
    r->host = options->host;
    r->plan = plan;
    r->whole_json = options->whole_json;
    r->keys_only = options->keys_only;
    r->batch = arena_new();
    r->lasting = arena_new();
    r->bad = bad_spool_new(options->host, options->spool);
    r->header_pending = plan->format == LANDING_CSV && plan->header;
    r->lines = (struct line_parser){.ends = plan->ends, .record_bytes_max = plan->record_bytes_max, .line = 1};
    r->json_line = 1;
    if (plan->format == LANDING_CSV) csv_begin(&r->csv, plan->dialect, plan->record_bytes_max, plan->columns_n + 1);
    if (plan->encoding.kind == ENCODING_SINGLE) {
        r->table = mem_alloc(sizeof *r->table);
        st = encoding_table_make(&plan->encoding, r->table, err);
    }
    if (st == OK && (plan->format == LANDING_JSON || plan->format == LANDING_NDJSON)) st = landing_json_begin(r, err);
    if (st != OK) {
        landing_rows_close(&r);
        return st;
    }
    *out = r;
    return OK;
}

void landing_rows_close(struct landing_rows **rows) {
    struct landing_rows *r = *rows;
    if (!r) return;
    text_window_close(&r->window);
    if (r->csv.cells) csv_end(&r->csv);
    bad_spool_free(&r->bad);
    map_free(&r->keys);
    arena_free(&r->batch);
    arena_free(&r->lasting);
    free(r->key_list);
    free(r->table);
    free(r);
    *rows = NULL;
}

struct landing_counts landing_rows_counts(const struct landing_rows *r) {
    return r->counts;
}

const struct str *landing_rows_keys(const struct landing_rows *r, size_t *n) {
    *n = r->keys_n;
    return r->key_list;
}

/* ---- bad rows ---- */

enum status landing_rows_put_bad(struct landing_rows *r, uint64_t number, struct str raw, struct err *err, const char *format, ...) {
    char reason[REASON_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    r->counts.bad++;
    if (r->keys_only) return OK;
    BUF_SCOPE(restored);
    if (r->window.utf16) {
        utf16_restore(&r->window.decoder, raw, &restored);
        raw = buf_view(&restored);
    }
    if (r->plan->protects) { /* where a personal value stands in a row that does not parse cannot be said */
        raw = STR("");
        size_t n = strlen(reason);
        snprintf(reason + n, sizeof reason - n, " (bytes left out: the source has protected columns)");
    }
    return bad_spool_put(r->bad, number, str_of(reason), raw, err);
}

bool landing_rows_next_bad(struct landing_rows *r, struct bad_row *out) {
    bool got = false;
    if (bad_spool_finish(r->bad, NULL) != OK) return false;
    return bad_spool_next(r->bad, out, &got, NULL) == OK && got;
}

/* ---- cells ---- */

bool landing_rows_decode(struct landing_rows *r, struct str raw, struct str *out, size_t *bad_at) {
    if (r->table) return encoding_decode(r->table, r->batch, raw, out, bad_at);
    *out = raw;
    return true;
}

/* Line and column (bytes, from 1) of a place in a record that may span lines. */
static void place_of(const struct csv_record *record, size_t at, unsigned long long *line, unsigned long long *column) {
    *line = record->line;
    size_t start = 0;
    for (size_t i = 0; i < at; i++) {
        bool ends = record->raw.p[i] == '\n' || (record->raw.p[i] == '\r' && (i + 1 == record->raw.n || record->raw.p[i + 1] != '\n'));
        if (ends) {
            ++*line;
            start = i + 1;
        }
    }
    *column = at - start + 1;
}

static enum status put_bad_bytes(struct landing_rows *r, const struct csv_record *record, size_t at, struct err *err) {
    unsigned long long line, column;
    place_of(record, at, &line, &column);
    unsigned char byte = (unsigned char)record->raw.p[at];
    if (byte == 0) return landing_rows_put_bad(r, r->counts.read, record->raw, err, "line %llu, column %llu: a NUL byte", line, column);
    if (r->window.utf16)
        return landing_rows_put_bad(r, r->counts.read, record->raw, err, "line %llu, column %llu: an unpaired surrogate or half a character in %s", line,
            column, r->plan->encoding.name);
    return landing_rows_put_bad(
        r, r->counts.read, record->raw, err, "line %llu, column %llu: byte 0x%02X means nothing in %s", line, column, byte, r->plan->encoding.name);
}

static bool is_null_text(const struct landing_plan *plan, struct str text) {
    if (text.n == 0) return true;
    for (size_t i = 0; i < plan->nulls_n; i++)
        if (str_is(text, plan->nulls[i])) return true;
    return false;
}

static enum status csv_row(struct landing_rows *r, const struct csv_record *record, struct str *cells, enum row_outcome *outcome, struct err *err) {
    const struct landing_plan *plan = r->plan;
    *outcome = ROW_BAD;
    if (record->problem)
        return landing_rows_put_bad(r, r->counts.read, record->raw, err, "line %llu, column %zu: %s (record_bytes_max %zu)",
            (unsigned long long)record->problem_line, record->problem_column, record->problem, plan->record_bytes_max);
    if (record->cells_n != plan->columns_n)
        return landing_rows_put_bad(r, r->counts.read, record->raw, err, "line %llu: expected %zu fields, found %zu", (unsigned long long)record->line,
            plan->columns_n, record->cells_n);
    const char *nul = memchr(record->raw.p, 0, record->raw.n);
    if (nul) return put_bad_bytes(r, record, (size_t)(nul - record->raw.p), err);
    if (!r->table) {
        size_t valid = utf8_valid_prefix(record->raw.p, record->raw.n);
        if (valid < record->raw.n) return put_bad_bytes(r, record, valid, err);
    }
    for (size_t i = 0; i < plan->columns_n; i++) {
        struct str text = r->csv.cells[i];
        size_t bad_at = 0;
        if (r->csv.flags[i]) text = csv_text(&r->csv, r->batch, text, r->csv.flags[i]);
        if (r->table && !encoding_decode(r->table, r->batch, text, &text, &bad_at)) {
            const char *cell = r->csv.cells[i].p; /* the place in the record: the first such byte from this cell on */
            while (r->table->to[(unsigned char)*cell].n) cell++;
            return put_bad_bytes(r, record, (size_t)(cell - record->raw.p), err);
        }
        cells[i] = !(r->csv.flags[i] & CSV_QUOTED) && is_null_text(plan, text) ? STR_NULL : text;
    }
    *outcome = ROW_GOOD;
    return OK;
}

static enum status line_row(struct landing_rows *r, const struct csv_record *record, struct str *cells, enum row_outcome *outcome, struct err *err) {
    *outcome = ROW_BAD;
    if (record->problem)
        return landing_rows_put_bad(r, r->counts.read, record->raw, err, "line %llu: %s (record_bytes_max %zu)", (unsigned long long)record->line,
            record->problem, r->plan->record_bytes_max);
    const char *nul = record->raw.n ? memchr(record->raw.p, 0, record->raw.n) : NULL;
    size_t bad_at = r->table ? record->raw.n : utf8_valid_prefix(record->raw.p, record->raw.n);
    if (nul) bad_at = (size_t)(nul - record->raw.p);
    bool fine = bad_at == record->raw.n && landing_rows_decode(r, record->raw, &cells[0], &bad_at);
    if (!fine) return put_bad_bytes(r, record, bad_at, err);
    *outcome = ROW_GOOD;
    return OK;
}

/* The cells of a good row as they may be written. */
static void protect(struct landing_rows *r, struct str *cells) {
    for (size_t i = 0; i < r->plan->columns_n; i++) {
        enum column_policy policy = r->plan->columns[i].policy;
        if (policy == COLUMN_KEPT || !cells[i].p) continue;
        BUF_SCOPE(token);
        if (policy == COLUMN_TOKENISED) protect_token(str_make(r->plan->secret, LANDING_SECRET_BYTES), cells[i], &token);
        cells[i] = policy == COLUMN_MASKED ? STR(PROTECT_MASKED) : arena_str(r->batch, buf_view(&token));
    }
}

/* ---- records ---- */

static enum csv_step parse(struct landing_rows *r, struct csv_record *record) {
    struct text_window *w = &r->window;
    const char *at = w->p + w->at, *end = w->p + w->end;
    return r->plan->format == LANDING_CSV ? csv_parse(&r->csv, at, end, w->final, record) : line_parse(&r->lines, at, end, w->final, record);
}

/* One step: a record is turned into a row, or set aside, or is none (header, blank line). */
static enum status take_record(struct landing_rows *r, const struct csv_record *record, struct str *cells, enum row_outcome *outcome, struct err *err) {
    enum landing_format format = r->plan->format;
    bool blank = !record->problem && (format == LANDING_CSV ? csv_is_blank(&r->csv, record) : format == LANDING_NDJSON && str_trim(record->raw).n == 0);
    *outcome = ROW_NONE;
    if (blank) r->counts.blank_lines++;
    if (blank) return OK;
    if (r->header_pending) {
        r->header_pending = false;
        return OK;
    }
    r->counts.read++;
    enum status st = format == LANDING_CSV ? csv_row(r, record, cells, outcome, err)
        : format == LANDING_LINES          ? line_row(r, record, cells, outcome, err)
                                           : landing_json_row(r, record, cells, outcome, err);
    if (st == OK && *outcome == ROW_GOOD) {
        r->counts.good++;
        if (r->plan->protects && !r->keys_only) {
            must(!r->whole_json);
            protect(r, cells);
        }
    }
    return st;
}

/* A record, or *ended, or CSV_MORE when the window holds no whole one. */
static enum status next_record(struct landing_rows *r, struct csv_record *record, enum csv_step *step, bool *ended, struct err *err) {
    struct text_window *w = &r->window;
    *ended = false;
    *step = CSV_MORE;
    if (r->plan->format == LANDING_JSON) return landing_json_step(r, record, step, ended, err);
    if (w->at < w->end) {
        *step = parse(r, record);
        if (*step == CSV_MORE) must(!w->final);
    } else
        *ended = w->final;
    return OK;
}

enum status landing_rows_next(struct landing_rows *r, struct row *rows, size_t rows_max, size_t *n, struct err *err) {
    size_t columns = r->whole_json || r->plan->format == LANDING_LINES ? 1 : r->plan->columns_n;
    size_t most = columns ? CELLS_PER_CALL / columns : CELLS_PER_CALL, made = 0;
    if (most > rows_max && !r->keys_only) most = rows_max;
    if (most == 0) most = 1;
    arena_reset(r->batch);
    struct str *cells = arena_alloc(r->batch, (r->keys_only ? 1 : most * columns) * sizeof *cells); /* every cell of a good row is set */
    while (made < most) {
        struct csv_record record;
        enum csv_step step;
        enum row_outcome outcome = ROW_NONE;
        bool ended;
        enum status st = next_record(r, &record, &step, &ended, err);
        if (st != OK) return st;
        if (ended) break;
        if (step == CSV_MORE) {
            if (made) break; /* filling would invalidate the rows of this call */
            st = text_window_fill(&r->window, err);
            if (st != OK) return st;
            continue;
        }
        if (step == CSV_RECORD) st = take_record(r, &record, r->keys_only ? cells : cells + made * columns, &outcome, err);
        if (st != OK) return st;
        r->window.at += record.used;
        if (outcome != ROW_GOOD) continue;
        if (!r->keys_only) rows[made] = (struct row){.number = r->counts.read, .cells = cells + made * columns};
        made++;
    }
    if (made == 0) {
        enum status st = bad_spool_finish(r->bad, err);
        if (st != OK) return st;
    }
    *n = made;
    return OK;
}
