/* CSV: cuts bytes into records and cells, without reading anything itself (RFC 4180, and what people call CSV).
 *
 * A pure function over memory, so that it can be tested and fuzzed as it is. Line ends are LF, CRLF and bare CR in any mixture. A quote counts only at the
 * start of a cell; inside, a doubled quote stands for one, and when the dialect has another escape character, that one and what follows stands for the
 * latter. What does not fit is not guessed at: the record is returned with `problem`, cut at the end of its first line, and reading goes on behind it. */
#ifndef CUPEL_CONNECT_CSV_H
#define CUPEL_CONNECT_CSV_H

#include "base/arena.h"
#include "base/str.h"

#define CSV_PADDING 16 /* readable bytes needed behind `end` */

struct csv_dialect {
    char delimiter; /* any byte but CR, LF, NUL and the quote */
    char quote; /* 0: quotes are ordinary characters */
    char escape; /* the quote itself: doubled quotes only; another byte: that one too; 0: same as the quote */
};

enum { CSV_QUOTED = 1, CSV_ESCAPED = 2 }; /* flags of a cell */

struct csv_parser {
    struct csv_dialect dialect;
    size_t record_bytes_max;
    size_t cells_max; /* cells kept per record; more are counted only */
    struct str *cells; /* of the last record: views without the quotes, escapes still in them; see csv_text */
    uint8_t *flags;
    size_t cells_cap;
    uint64_t line; /* where the next record starts, from 1 */
    bool skipping; /* behind a record over the limit: up to the next line end */
    uint64_t consumed, rescanned; /* bytes; bound the work of resynchronising */
};

struct csv_record {
    size_t cells_n; /* may be over cells_max */
    struct str raw; /* without its line end */
    size_t used; /* bytes to go on behind */
    uint64_t line;
    const char *problem; /* NULL: sound. Static text, "%zu" stands for problem_limit */
    uint64_t problem_line; /* line and column (bytes, from 1) of what is wrong */
    size_t problem_column;
};

enum csv_step {
    CSV_RECORD, /* *record is filled */
    CSV_MORE, /* the record is not complete: give more bytes from the same start. Never when record_bytes_max + 2 are there, nor with `final` */
    CSV_SKIP, /* nothing but record->used bytes to go on behind (the rest of an overlong record) */
};

void csv_begin(struct csv_parser *parser, struct csv_dialect dialect, size_t record_bytes_max, size_t cells_max);
void csv_end(struct csv_parser *parser);
/* The record at the start of [at, end), at < end. final: nothing follows. */
enum csv_step csv_parse(struct csv_parser *parser, const char *at, const char *end, bool final, struct csv_record *record);
/* The cell's text with escapes undone, in the arena when there were any. */
struct str csv_text(const struct csv_parser *parser, struct arena *arena, struct str cell, uint8_t flags);
static inline bool csv_is_blank(const struct csv_parser *parser, const struct csv_record *record) {
    return record->raw.n == 0 && !record->problem && parser->flags[0] == 0;
}

/* ---- lines: the same shape for line-based formats ---- */

enum line_ends { LINES_LF, LINES_CR }; /* LF or CRLF; or bare CR */

struct line_parser {
    enum line_ends ends;
    size_t record_bytes_max;
    uint64_t line;
    bool skipping;
};
enum csv_step line_parse(struct line_parser *parser, const char *at, const char *end, bool final, struct csv_record *record);

/* ---- detection from a sample ---- */

struct csv_wishes { /* what the configuration fixes; -1: to be detected */
    int delimiter, quote, escape;
    bool header;
};
/* The dialect whose cuts fit the sample best: most records with as many cells as the first one, then more cells. whole: the sample is the whole file. */
struct csv_dialect csv_detect(struct str sample, bool whole, const struct csv_wishes *wishes);
enum line_ends line_ends_detect(struct str sample);

#endif
