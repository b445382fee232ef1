#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/csv.h"

#define RECORDS_MAX 1000 /* of the sample are looked at */
#define CELLS_MAX 4096
#define SAMPLE_RECORD_MAX (256u << 10)

/* In the order of preference between equals: a decimal comma makes commas regular in files cut by something else, hardly ever the other way round. */
static const char delimiters[] = {'\t', ';', '|', ','};

struct score {
    size_t records, same, bad; /* same: as many cells as the first one */
    size_t cells; /* of the first record */
    size_t escaped; /* escape character before a quote, inside quotes */
};

static struct score try_dialect(const char *bytes, size_t n, bool whole, struct csv_dialect dialect) {
    struct score score = {0};
    struct csv_parser parser;
    struct csv_record record;
    csv_begin(&parser, dialect, SAMPLE_RECORD_MAX, CELLS_MAX);
    for (size_t at = 0; at < n && score.records < RECORDS_MAX;) {
        enum csv_step step = csv_parse(&parser, bytes + at, bytes + n, whole, &record);
        if (step == CSV_MORE) break;
        at += record.used;
        if (step == CSV_SKIP || (record.cells_n == 1 && record.raw.n == 0 && !record.problem)) continue;
        score.records++;
        if (score.records == 1) score.cells = record.cells_n;
        if (record.problem)
            score.bad++;
        else if (record.cells_n == score.cells)
            score.same++;
    }
    csv_end(&parser);
    return score;
}

/* Twentieths of the records that fit: one odd record among hundreds does not decide. */
static int fit(const struct score *s) { return s->records == 0 ? 0 : (int)(s->same * 20 / s->records); }

static bool better(const struct score *a, const struct score *b) {
    bool a_cuts = a->cells > 1, b_cuts = b->cells > 1;
    if (a_cuts != b_cuts) return a_cuts && fit(a) >= 10;
    if (fit(a) != fit(b)) return fit(a) > fit(b);
    return a->cells > b->cells;
}

/* A backslash is an escape when reading it so makes records fit that do not fit otherwise. */
static char detect_escape(const char *bytes, size_t n, bool whole, struct csv_dialect dialect) {
    if (!memchr(bytes, '\\', n) || !dialect.quote) return dialect.quote;
    struct csv_dialect other = dialect;
    other.escape = '\\';
    struct score doubled = try_dialect(bytes, n, whole, dialect), backslash = try_dialect(bytes, n, whole, other);
    return backslash.bad < doubled.bad || (backslash.bad == doubled.bad && backslash.same * doubled.records > doubled.same * backslash.records) ? '\\'
                                                                                                                                                : dialect.quote;
}

struct csv_dialect csv_detect(struct str sample, bool whole, const struct csv_wishes *wishes) {
    char *bytes = mem_alloc(sample.n + CSV_PADDING);
    memcpy(bytes, sample.p, sample.n);
    memset(bytes + sample.n, 0, CSV_PADDING);
    struct csv_dialect best = {.delimiter = ',', .quote = wishes->quote >= 0 ? (char)wishes->quote : '"'};
    best.escape = wishes->escape >= 0 && wishes->escape != 0 ? (char)wishes->escape : best.quote;
    if (wishes->delimiter >= 0)
        best.delimiter = (char)wishes->delimiter;
    else {
        struct score best_score = {0};
        struct csv_dialect candidate = best;
        for (size_t i = 0; i < sizeof delimiters; i++) {
            candidate.delimiter = delimiters[i];
            if (candidate.delimiter == candidate.quote) continue;
            /* With the escape still unknown both readings count, or a file full of \" would look ragged under its own delimiter. */
            struct score score = try_dialect(bytes, sample.n, whole, candidate);
            if (wishes->escape < 0 && memchr(bytes, '\\', sample.n)) {
                struct csv_dialect backslash = candidate;
                backslash.escape = '\\';
                struct score other = try_dialect(bytes, sample.n, whole, backslash);
                if (better(&other, &score)) score = other;
            }
            if (better(&score, &best_score)) {
                best_score = score;
                best = candidate;
            }
        }
        if (best_score.cells <= 1) best.delimiter = ',';
    }
    if (wishes->escape < 0) best.escape = detect_escape(bytes, sample.n, whole, best);
    mem_auto_free(&bytes);
    must(best.delimiter != best.quote);
    return best;
}

enum line_ends line_ends_detect(struct str sample) {
    bool cr = sample.n && memchr(sample.p, '\r', sample.n), lf = sample.n && memchr(sample.p, '\n', sample.n);
    return cr && !lf ? LINES_CR : LINES_LF;
}
