#include "connect/csv.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/assert.h"
#include "base/mem.h"

#define RESCANS_FREE 16 /* records' worth of bytes that may be read twice before a stretch is given up as one bad record */
#define RESCAN_SHARE 4 /* and so many times what was consumed */

void csv_begin(struct csv_parser *parser, struct csv_dialect dialect, size_t record_bytes_max, size_t cells_max) {
    must(record_bytes_max > 0 && cells_max > 0);
    must(dialect.delimiter != '\n' && dialect.delimiter != '\r' && dialect.delimiter != dialect.quote);
    if (dialect.escape == 0) dialect.escape = dialect.quote;
    *parser = (struct csv_parser){.dialect = dialect, .record_bytes_max = record_bytes_max, .cells_max = cells_max, .line = 1};
    parser->cells_cap = cells_max < 64 ? cells_max : 64;
    parser->cells = mem_alloc(parser->cells_cap * sizeof *parser->cells);
    parser->flags = mem_zalloc(parser->cells_cap);
}

void csv_end(struct csv_parser *parser) {
    free(parser->cells);
    free(parser->flags);
    *parser = (struct csv_parser){0};
}

/* ---- finding bytes: cells are short, so 16 at a time beats both memchr and a loop ---- */

#ifdef __SSE2__
static inline const char *find4(const char *p, const char *end, char a, char b, char c, char d) {
    __m128i va = _mm_set1_epi8(a), vb = _mm_set1_epi8(b), vc = _mm_set1_epi8(c), vd = _mm_set1_epi8(d);
    for (; p < end; p += 16) { /* reads up to 15 bytes behind end: CSV_PADDING */
        __m128i v = _mm_loadu_si128((const __m128i *)p);
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, va), _mm_cmpeq_epi8(v, vb)), _mm_or_si128(_mm_cmpeq_epi8(v, vc), _mm_cmpeq_epi8(v, vd)));
        int mask = _mm_movemask_epi8(hit);
        if (mask) {
            p += __builtin_ctz((unsigned)mask);
            return p < end ? p : end;
        }
    }
    return end;
}
#else
static inline const char *find4(const char *p, const char *end, char a, char b, char c, char d) {
    while (p < end && *p != a && *p != b && *p != c && *p != d) p++;
    return p;
}
#endif

static inline const char *find_line_end(const char *p, const char *end) { return find4(p, end, '\n', '\r', '\n', '\r'); }

/* ---- cells ---- */

struct scan { /* one record under way */
    const char *at, *p, *end;
    bool final;
    bool full; /* record_bytes_max + 2 bytes are there: all that is ever looked at, so that results do not depend on how bytes arrive */
    size_t cells;
    uint64_t line; /* of p */
    const char *line_start; /* of p's line; for columns */
    const char *problem, *problem_at;
    uint64_t problem_line;
    size_t problem_column;
};

enum cell_end { CELL_NEXT, CELL_LAST, CELL_MORE, CELL_BAD };

static void add_cell(struct csv_parser *c, struct scan *s, const char *from, const char *to, uint8_t flags) {
    if (s->cells < c->cells_max) {
        if (s->cells == c->cells_cap) {
            c->cells_cap = c->cells_cap * 2 < c->cells_max ? c->cells_cap * 2 : c->cells_max;
            c->cells = mem_realloc(c->cells, c->cells_cap * sizeof *c->cells);
            c->flags = mem_realloc(c->flags, c->cells_cap);
        }
        c->cells[s->cells] = (struct str){from, (size_t)(to - from)};
        c->flags[s->cells] = flags;
    }
    s->cells++;
}

static enum cell_end bad(struct scan *s, const char *problem, const char *at, uint64_t line, const char *line_start) {
    s->problem = problem;
    s->problem_line = line;
    s->problem_column = (size_t)(at - line_start) + 1;
    s->p = at;
    return CELL_BAD;
}

/* p stands behind a cell: on the delimiter, on a line end, or at the end of the bytes. Moves behind it. */
static enum cell_end end_cell(struct csv_parser *c, struct scan *s) {
    if (s->p == s->end) return s->final ? CELL_LAST : CELL_MORE;
    if (*s->p == c->dialect.delimiter) {
        s->p++;
        return CELL_NEXT;
    }
    must(*s->p == '\n' || *s->p == '\r');
    if (*s->p == '\r') { /* whether LF follows decides where the next record starts */
        if (s->p + 1 == s->end && !s->final) return CELL_MORE;
        if (s->p + 1 < s->end && s->p[1] == '\n') s->p++;
    }
    s->p++;
    s->line++;
    return CELL_LAST;
}

static enum cell_end plain_cell(struct csv_parser *c, struct scan *s) {
    const char *from = s->p, *to = find4(from, s->end, c->dialect.delimiter, '\n', '\r', '\n');
    if (to == s->end && !s->final) return CELL_MORE;
    s->p = to;
    enum cell_end e = end_cell(c, s);
    if (e != CELL_MORE) add_cell(c, s, from, to, 0);
    return e;
}

/* Counts the line end at p inside quotes. */
static const char *quoted_line_end(struct scan *s, const char *p) {
    if (*p == '\r' && p + 1 < s->end && p[1] == '\n') p++;
    s->line++;
    s->line_start = p + 1;
    return p + 1;
}

static enum cell_end quoted_cell(struct csv_parser *c, struct scan *s) {
    const char quote = c->dialect.quote, escape = c->dialect.escape;
    const char *open = s->p, *open_line_start = s->line_start, *p = open + 1;
    uint64_t open_line = s->line;
    uint8_t flags = CSV_QUOTED;
    for (;;) {
        p = find4(p, s->end, quote, escape, '\n', '\r');
        if (p == s->end) break;
        if (*p == '\n' || *p == '\r') {
            p = quoted_line_end(s, p);
        } else if (*p == escape && escape != quote) {
            flags |= CSV_ESCAPED;
            if (p + 1 == s->end) break;
            p += p[1] == '\n' || p[1] == '\r' ? 1 : 2; /* an escaped line end is still counted */
        } else if (p + 1 < s->end && p[1] == quote) {
            flags |= CSV_ESCAPED;
            p += 2;
        } else if (p + 1 == s->end && !s->final) {
            return CELL_MORE;
        } else {
            s->p = p + 1;
            if (s->p < s->end && *s->p != c->dialect.delimiter && *s->p != '\n' && *s->p != '\r')
                return bad(s, "text follows a closing quote", s->p, s->line, s->line_start);
            enum cell_end e = end_cell(c, s);
            if (e != CELL_MORE) add_cell(c, s, open + 1, p, flags);
            return e;
        }
    }
    if (!s->final && !s->full) return CELL_MORE;
    enum cell_end e =
        bad(s, s->final ? "a quote is opened and not closed before the end of the file" : "a quote is opened and not closed within the record limit", open,
            open_line, open_line_start);
    s->p = s->end; /* what was read in vain */
    return e;
}

/* ---- records ---- */

static void fill_record(struct csv_record *record, const struct scan *s, const char *raw_end, const char *next, uint64_t line) {
    *record = (struct csv_record){.cells_n = s->cells,
        .raw = {s->at, (size_t)(raw_end - s->at)},
        .used = (size_t)(next - s->at),
        .line = line,
        .problem = s->problem,
        .problem_line = s->problem_line,
        .problem_column = s->problem_column};
}

/* Behind the line end at p (or at the end). false: it cannot be told yet whether LF follows CR. */
static bool behind_line_end(const char *p, const char *end, bool final, const char **next) {
    if (p == end) {
        *next = end;
        return true;
    }
    if (*p == '\r' && p + 1 == end && !final) return false;
    *next = p + (*p == '\r' && p + 1 < end && p[1] == '\n' ? 2 : 1);
    return true;
}

static enum csv_step too_long(struct csv_parser *c, struct scan *s, uint64_t line, struct csv_record *record) {
    const char *stop = s->at + c->record_bytes_max, *line_end = find_line_end(stop, s->end), *next;
    s->problem = "the record is longer than the limit";
    s->problem_line = line;
    s->problem_column = 1;
    if (line_end == s->end || !behind_line_end(line_end, s->end, s->final, &next)) {
        next = line_end; /* the line end is still to come */
        c->skipping = !s->final;
    } else
        c->line = line + 1;
    fill_record(record, s, stop, next, line);
    return CSV_RECORD;
}

/* The first line of a record that does not hold together is the bad record; reading goes on at the next line. In hostile files nearly every line can
 * fail like this after a long scan, so the work is budgeted: beyond it all that was scanned is one bad record. */
static enum csv_step cut_bad(struct csv_parser *c, struct scan *s, uint64_t line, struct csv_record *record) {
    const char *scanned = s->p, *line_end = find_line_end(s->at, s->end), *next;
    if ((size_t)(line_end - s->at) > c->record_bytes_max) return too_long(c, s, line, record);
    if ((line_end == s->end && !s->final) || !behind_line_end(line_end, s->end, s->final, &next)) {
        must(!s->full);
        return CSV_MORE;
    }
    uint64_t lines = line_end < s->end;
    uint64_t again = scanned > next ? (uint64_t)(scanned - next) : 0;
    if (c->rescanned + again > (uint64_t)RESCANS_FREE * c->record_bytes_max + RESCAN_SHARE * c->consumed) {
        size_t most = (size_t)(scanned - s->at) < c->record_bytes_max ? (size_t)(scanned - s->at) : c->record_bytes_max;
        const char *stop = s->at + most;
        for (const char *p = next, *e; p < stop && (e = find_line_end(p, stop)) < stop; p = next) {
            if (!behind_line_end(e, s->end, true, &next)) break;
            line_end = e;
            lines++;
        }
        if (stop == s->end && s->final) line_end = next = s->end;
    } else
        c->rescanned += again;
    c->line = line + lines;
    fill_record(record, s, line_end, next, line);
    return CSV_RECORD;
}

static enum csv_step skip_rest(struct csv_parser *c, const char *at, const char *end, bool final, struct csv_record *record) {
    const char *line_end = find_line_end(at, end), *next;
    *record = (struct csv_record){.used = (size_t)(line_end - at)};
    if (line_end == end) {
        if (final) c->skipping = false;
        return CSV_SKIP;
    }
    if (!behind_line_end(line_end, end, final, &next)) return record->used ? CSV_SKIP : CSV_MORE;
    record->used = (size_t)(next - at);
    c->skipping = false;
    c->line++;
    return CSV_SKIP;
}

enum csv_step csv_parse(struct csv_parser *c, const char *at, const char *end, bool final, struct csv_record *record) {
    must(at < end);
    if (c->skipping) return skip_rest(c, at, end, final, record);
    struct scan s = {.at = at, .p = at, .end = end, .final = final, .line = c->line, .line_start = at};
    if ((size_t)(end - at) >= c->record_bytes_max + 2) {
        s.full = true;
        s.final = final && (size_t)(end - at) == c->record_bytes_max + 2;
        s.end = end = at + c->record_bytes_max + 2;
    }
    uint64_t line = c->line;
    const char quote = c->dialect.quote;
    enum cell_end e = CELL_NEXT;
    const char *last = at;
    while (e == CELL_NEXT) {
        last = s.p;
        e = quote && s.p < end && *s.p == quote ? quoted_cell(c, &s) : plain_cell(c, &s);
    }
    enum csv_step step = CSV_RECORD;
    if (e == CELL_MORE) {
        if (!s.full) return CSV_MORE;
        step = too_long(c, &s, line, record);
    } else if (e == CELL_BAD) {
        step = cut_bad(c, &s, line, record);
    } else {
        const char *raw_end = s.p;
        if (raw_end > last && raw_end[-1] == '\n' && s.line != line) raw_end--;
        if (raw_end > last && raw_end[-1] == '\r' && s.line != line) raw_end--;
        if ((size_t)(raw_end - at) > c->record_bytes_max) {
            s.problem = "the record is longer than the limit";
            s.problem_line = line;
            s.problem_column = 1;
        }
        c->line = s.line;
        fill_record(record, &s, raw_end, s.p, line);
    }
    if (step == CSV_RECORD) c->consumed += record->used;
    return step;
}

struct str csv_text(const struct csv_parser *parser, struct arena *arena, struct str cell, uint8_t flags) {
    if (!(flags & CSV_ESCAPED)) return cell;
    const char quote = parser->dialect.quote, escape = parser->dialect.escape;
    char *out = arena_alloc(arena, cell.n);
    size_t n = 0;
    for (size_t i = 0; i < cell.n; i++) {
        bool pair = i + 1 < cell.n && ((cell.p[i] == escape && escape != quote) || (cell.p[i] == quote && cell.p[i + 1] == quote));
        if (pair) i++;
        out[n++] = cell.p[i];
    }
    return (struct str){out, n};
}

/* ---- lines ---- */

enum csv_step line_parse(struct line_parser *l, const char *at, const char *end, bool final, struct csv_record *record) {
    must(at < end);
    char stop = l->ends == LINES_CR ? '\r' : '\n';
    const char *line_end = memchr(at, stop, (size_t)(end - at));
    size_t n = line_end ? (size_t)(line_end - at) : (size_t)(end - at);
    if (!line_end && !final && !l->skipping && n <= l->record_bytes_max + 1) return CSV_MORE; /* one more: it may be the CR of CRLF */
    size_t used = line_end ? n + 1 : n;
    uint64_t line = l->line;
    if (line_end) l->line++;
    if (l->skipping) {
        l->skipping = !line_end && !final;
        *record = (struct csv_record){.used = used};
        return CSV_SKIP;
    }
    if (l->ends == LINES_LF && line_end && n && at[n - 1] == '\r') n--;
    *record = (struct csv_record){.cells_n = 1, .raw = {at, n}, .used = used, .line = line};
    if (n > l->record_bytes_max) {
        record->raw.n = l->record_bytes_max;
        record->problem = "the line is longer than the limit";
        record->problem_line = line;
        record->problem_column = 1;
        l->skipping = !line_end && !final;
    }
    return CSV_RECORD;
}
