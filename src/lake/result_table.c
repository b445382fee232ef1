/* A result as a table for people: box lines, numbers to the right, NULL shown, cells cut to the terminal's width.
 *
 * The widths are decided on the first rows (up to 2,000, or 4 MB); later cells that do not fit are cut, so memory stays bounded whatever comes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/shown.h"
#include "lake/result.h"

#define SAMPLE_ROWS 2000u
#define SAMPLE_BYTES (4u << 20)
#define COLUMN_WIDTH_MIN 8u /* narrower ones are not squeezed */
#define BORDER_WIDTH 3u /* "│ " and " " per column */

struct table_writer {
    const struct result_columns *columns;
    uint32_t rows_max, width_max;
    uint32_t *widths;
    size_t shown; /* columns that fit */
    bool decided;
    struct buf cells; /* texts of the sample, each ended by NUL, NULL as \1 */
    uint64_t sample_rows, rows;
    struct buf cell, clean;
};

struct table_writer *table_new(struct arena *arena, const struct result_columns *columns, uint32_t rows_max, uint32_t width_max) {
    struct table_writer *t = arena_new_one(arena, struct table_writer);
    t->columns = columns;
    t->rows_max = rows_max;
    t->width_max = width_max;
    t->widths = arena_new_array(arena, uint32_t, columns->n);
    return t;
}

void table_free(struct table_writer *t) {
    buf_free(&t->cells);
    buf_free(&t->cell);
    buf_free(&t->clean);
}

/* ---- widths of text on a terminal ---- */

/* The character at p of text that shown.h let through: it is valid. */
static uint32_t code_point(const char *p, const char *end, size_t *n) {
    unsigned char c = (unsigned char)*p;
    size_t length = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    must(length <= (size_t)(end - p));
    uint32_t v = length == 1 ? c : c & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        v = v << 6 | ((unsigned char)p[i] & 0x3F);
    }
    *n = length;
    return v;
}

/* Columns on a terminal: combining marks none, East Asian wide and emoji two (Unicode UAX 11, main ranges). */
static uint32_t width_of(uint32_t c) {
    if ((c >= 0x300 && c <= 0x36F) || c == 0x200B || c == 0x200D || (c >= 0xFE00 && c <= 0xFE0F)) {
        return 0;
    }
    bool wide = (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
        (c >= 0xFE30 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF60) || (c >= 0x1F300 && c <= 0x1FAFF) || (c >= 0x20000 && c <= 0x3FFFD);
    return wide ? 2 : 1;
}

static uint32_t text_width(struct str s) {
    uint32_t width = 0;
    for (size_t i = 0, n; i < s.n; i += n) {
        width += width_of(code_point(s.p + i, s.p + s.n, &n));
    }
    return width;
}

/* The text on one line as it may be shown; not much longer than `most` columns (0: all of it). */
static struct str clean(struct table_writer *t, struct str s, uint32_t most) {
    char room[SHOWN_ESCAPE_MAX];
    struct str shown;
    uint32_t width = 0;
    buf_clear(&t->clean);
    for (size_t at = 0; at < s.n && (!most || width <= most);) {
        at += shown_next(str_from(s, at), &shown, room);
        width += text_width(shown);
        buf_str(&t->clean, shown);
    }
    return str_make(t->clean.p ? t->clean.p : "", t->clean.n);
}

/* ---- lines ---- */

static void put_line(struct table_writer *t, struct buf *out, const char *left, const char *middle, const char *right) {
    buf_text(out, left);
    for (size_t i = 0; i < t->shown; i++) {
        buf_text(out, i ? middle : "");
        for (uint32_t k = 0; k < t->widths[i] + 2; k++) {
            buf_text(out, "─");
        }
    }
    buf_text(out, right);
    buf_char(out, '\n');
}

static void put_cell(struct buf *out, struct str text, uint32_t width, bool right) {
    must(width > 0);
    uint32_t have = text_width(text);
    size_t end = text.n;
    bool cut = have > width;
    if (cut) {
        have = 0;
        end = 0;
        for (size_t n; end < text.n; end += n) {
            uint32_t w = width_of(code_point(text.p + end, text.p + text.n, &n));
            if (have + w > width - 1) {
                break;
            }
            have += w;
        }
        have++;
    }
    buf_char(out, ' ');
    for (uint32_t k = have; right && k < width; k++) {
        buf_char(out, ' ');
    }
    buf_put(out, text.p, end);
    buf_text(out, cut ? "…" : "");
    for (uint32_t k = have; !right && k < width; k++) {
        buf_char(out, ' ');
    }
    buf_char(out, ' ');
}

static void put_row(struct table_writer *t, struct buf *out, const struct str *(*next)(void *context, size_t column), void *context, bool header) {
    for (size_t i = 0; i < t->columns->n; i++) {
        const struct str *text = next(context, i);
        if (i < t->shown) {
            buf_text(out, "│");
            put_cell(out, *text, t->widths[i], !header && value_is_number(&t->columns->types[i]));
        }
    }
    buf_text(out, "│\n");
}

/* ---- deciding ---- */

/* Takes from the widest columns until the table fits; when even narrow ones do not, only the first columns are shown. */
static void fit(struct table_writer *t) {
    t->shown = t->columns->n;
    if (!t->width_max) {
        return;
    }
    uint64_t total = 1;
    for (size_t i = 0; i < t->shown; i++) {
        total += t->widths[i] + BORDER_WIDTH;
    }
    while (total > t->width_max) {
        size_t widest = 0;
        uint32_t second = COLUMN_WIDTH_MIN;
        for (size_t i = 1; i < t->shown; i++) {
            widest = t->widths[i] > t->widths[widest] ? i : widest;
        }
        for (size_t i = 0; i < t->shown; i++) {
            second = i != widest && t->widths[i] > second && t->widths[i] < t->widths[widest] ? t->widths[i] : second;
        }
        if (t->widths[widest] <= COLUMN_WIDTH_MIN) {
            if (t->shown == 1) {
                return;
            }
            t->shown--;
            total -= t->widths[t->shown] + BORDER_WIDTH;
            continue;
        }
        uint64_t over = total - t->width_max, room = t->widths[widest] - second;
        uint32_t take = (uint32_t)(over < room ? over : room ? room : 1);
        t->widths[widest] -= take;
        total -= take;
    }
}

struct sample {
    const char *at;
    struct str text;
};

static const struct str *sample_next(void *context, size_t column) {
    struct sample *s = context;
    s->text = str_of(s->at);
    s->at += s->text.n + 1;
    if (s->text.n == 1 && *s->text.p == '\1') {
        s->text = STR("NULL");
    }
    return &s->text;
}

struct header {
    struct table_writer *t;
    struct str text;
};

static const struct str *header_next(void *context, size_t column) {
    struct header *h = context;
    h->text = clean(h->t, str_of(h->t->columns->names[column]), 0);
    return &h->text;
}

static void decide(struct table_writer *t, struct buf *out) {
    if (t->decided) {
        return;
    }
    t->decided = true;
    struct header header = {.t = t};
    for (size_t i = 0; i < t->columns->n; i++) {
        uint32_t width = text_width(*header_next(&header, i));
        t->widths[i] = width > t->widths[i] ? width : t->widths[i];
        t->widths[i] = t->widths[i] ? t->widths[i] : 1;
    }
    fit(t);
    must(t->shown > 0 || t->columns->n == 0);
    put_line(t, out, "┌", "┬", "┐");
    put_row(t, out, header_next, &header, true);
    put_line(t, out, "├", "┼", "┤");
    struct sample sample = {.at = t->cells.p};
    for (uint64_t i = 0; i < t->sample_rows; i++) {
        put_row(t, out, sample_next, &sample, false);
    }
    buf_free(&t->cells);
}

/* ---- rows ---- */

struct chunk_row {
    struct table_writer *t;
    duckdb_data_chunk chunk;
    idx_t row;
    struct str text;
};

static const struct str *chunk_next(void *context, size_t column) {
    struct chunk_row *r = context;
    buf_clear(&r->t->cell);
    if (value_put_text(&r->t->cell, &r->t->columns->types[column], duckdb_data_chunk_get_vector(r->chunk, column), r->row)) {
        r->text = clean(r->t, str_make(r->t->cell.p ? r->t->cell.p : "", r->t->cell.n), r->t->width_max);
    } else {
        r->text = STR("NULL");
    }
    return &r->text;
}

static void sample_row(struct table_writer *t, struct chunk_row *r) {
    for (size_t i = 0; i < t->columns->n; i++) {
        struct str text = *chunk_next(r, i);
        bool null = text.p != t->clean.p && str_is(text, "NULL");
        uint32_t width = text_width(text);
        t->widths[i] = width > t->widths[i] ? width : t->widths[i];
        if (null) {
            buf_char(&t->cells, '\1');
        } else {
            buf_str(&t->cells, text);
        }
        buf_char(&t->cells, 0);
    }
    t->sample_rows++;
}

bool table_put(struct table_writer *t, struct buf *out, duckdb_data_chunk chunk, idx_t *row) {
    must(duckdb_data_chunk_get_column_count(chunk) == t->columns->n);
    struct chunk_row r = {.t = t, .chunk = chunk};
    idx_t n = duckdb_data_chunk_get_size(chunk);
    for (; *row < n && out->n < RESULT_PIECE_BYTES; (*row)++) {
        r.row = *row;
        if (t->rows_max && t->rows == t->rows_max) {
            return false;
        }
        if (!t->decided) {
            sample_row(t, &r);
            if (t->sample_rows == SAMPLE_ROWS || t->cells.n > SAMPLE_BYTES) {
                decide(t, out);
            }
        } else {
            put_row(t, out, chunk_next, &r, false);
        }
        t->rows++;
    }
    return true;
}

void table_end(struct table_writer *t, struct buf *out, bool cut) {
    decide(t, out);
    put_line(t, out, "└", "┴", "┘");
    if (cut) {
        buf_printf(out, "first %" PRIu64 " rows, there are more", t->rows);
    } else {
        buf_printf(out, "%" PRIu64 " row%s", t->rows, t->rows == 1 ? "" : "s");
    }
    if (t->shown < t->columns->n) {
        buf_printf(out, "; %zu of %zu columns fit", t->shown, t->columns->n);
    }
    buf_char(out, '\n');
}

uint64_t table_rows(const struct table_writer *t) { return t->rows; }
