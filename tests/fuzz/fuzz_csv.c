/* CSV: cutting in one piece and byte by byte gives the same records; every record ends; nothing is read twice for ever. First bytes pick the dialect. */
#include "connect/csv.h"
#include "fuzz.h"

enum { LIMIT = 256, CELLS = 16, RECORDS = 4096 };

struct cut {
    size_t at, n, cells;
    bool bad;
};

/* Gives the parser `step` more bytes each time it asks. */
static size_t cut_all(struct csv_dialect dialect, const char *text, size_t size, size_t step, struct cut *cuts) {
    struct csv_parser parser;
    csv_begin(&parser, dialect, LIMIT, CELLS);
    size_t at = 0, given = step < size ? step : size, n = 0;
    while (at < size && n < RECORDS) {
        if (given <= at) given = at + step < size ? at + step : size;
        struct csv_record record = {0};
        enum csv_step result = csv_parse(&parser, text + at, text + given, given == size, &record);
        if (result == CSV_MORE) {
            must(given < size && given - at <= LIMIT + 2);
            given = given + step < size ? given + step : size;
            continue;
        }
        must(record.used > 0 && record.used <= given - at);
        if (result == CSV_RECORD) {
            must(record.raw.n <= record.used);
            cuts[n++] = (struct cut){.at = at, .n = record.raw.n, .cells = record.cells_n, .bad = record.problem != NULL};
            ARENA_SCOPE(arena);
            for (size_t i = 0; !record.problem && i < record.cells_n && i < CELLS; i++) csv_text(&parser, arena, parser.cells[i], parser.flags[i]);
        }
        at += record.used;
    }
    csv_end(&parser);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct cut whole[RECORDS], piecewise[RECORDS];
    struct csv_dialect dialect = {.delimiter = ",;\t|"[fuzz_take(data, &size, 4)], .quote = "\"'\0\""[fuzz_take(data, &size, 4)]};
    dialect.escape = fuzz_take(data, &size, 2) ? '\\' : 0;
    char *text = fuzz_copy(data, size, CSV_PADDING);
    if (size) {
        const struct csv_wishes wishes = {-1, -1, -1, true};
        csv_detect(str_make(text, size), true, &wishes);
        line_ends_detect(str_make(text, size));
        size_t a = cut_all(dialect, text, size, size, whole), b = cut_all(dialect, text, size, 1, piecewise);
        must(a == b);
        for (size_t i = 0; i < a; i++) {
            must(whole[i].at == piecewise[i].at && whole[i].bad == piecewise[i].bad);
            must(whole[i].bad || (whole[i].n == piecewise[i].n && whole[i].cells == piecewise[i].cells));
        }
    }
    free(text);
    return 0;
}
