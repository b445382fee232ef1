/* Landing: any file is refused or read to its end. Rows add up and fit the reserved range, cells are UTF-8, a second reading gives the same, the plan survives
 * its way to the engine. The last bytes pick the options. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connect/landing_rows.h"
#include "fuzz.h"

/* A disk with one file, in memory. */
struct one_file {
    const char *bytes;
    size_t n;
};

static enum status open_one(void *self, const char *path, int flags, int *file, struct err *err) {
    must(flags == FS_READ);
    *file = 1;
    return OK;
}
static void close_one(void *self, int file) {}
static enum status pread_one(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    struct one_file *f = self;
    size_t left = offset < f->n ? f->n - (size_t)offset : 0;
    *got = left < n ? left : n;
    if (*got) memcpy(bytes, f->bytes + offset, *got);
    return OK;
}
static enum status stat_one(void *self, const char *path, struct fs_stat *out, struct err *err) {
    *out = (struct fs_stat){.size_bytes = ((struct one_file *)self)->n, .is_file = true};
    return OK;
}

/* Reads everything; a hash of all rows, good and bad. */
static uint64_t read_rows(const struct host *host, const struct landing_plan *plan, bool whole_json, struct landing_counts *counts) {
    struct landing_rows *rows;
    struct err err;
    uint64_t hash = 0;
    struct landing_rows_options options = {.host = host, .plan = plan, .whole_json = whole_json};
    must(landing_rows_open(&options, &rows, &err) == OK);
    static struct row list[64];
    size_t columns = whole_json ? 1 : plan->columns_n;
    for (size_t n = 1; n;) {
        enum status st = landing_rows_next(rows, list, 64, &n, &err);
        if (st != OK) fprintf(stderr, "%s\n", err.text);
        must(st == OK); /* what is wrong with a file as a whole was found by its plan */
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < columns; c++) {
                struct str cell = list[i].cells[c];
                must(!cell.p || utf8_valid_prefix(cell.p, cell.n) == cell.n);
                hash = hash * 31 + list[i].number + (cell.p ? hash64_str(cell) : 7);
            }
    }
    *counts = landing_rows_counts(rows);
    must(counts->read == counts->good + counts->bad && counts->read <= plan->rows_max);
    struct bad_row bad;
    while (landing_rows_next_bad(rows, &bad)) hash = hash * 31 + bad.number + hash64_str(bad.raw);
    landing_rows_close(&rows);
    return hash;
}

static void check(const struct host *host, struct arena *arena, const struct landing_plan *plan) {
    struct landing_counts first, second;
    uint64_t a = read_rows(host, plan, false, &first);
    BUF_SCOPE(spec);
    landing_plan_write(plan, 7, NULL, &spec);
    struct landing_plan again;
    struct err err;
    int64_t id;
    const char *spool = "";
    must(landing_plan_read(arena, buf_view(&spec), &again, &id, &spool, &err) == OK);
    must(id == 7 && !spool && again.columns_n == plan->columns_n);
    again.rows_max = plan->rows_max;
    must(read_rows(host, &again, false, &second) == a && first.read == second.read && first.bad == second.bad);
    if (plan->format == LANDING_JSON || plan->format == LANDING_NDJSON) {
        read_rows(host, plan, true, &second);
        must(first.read == second.read && first.bad == second.bad);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const encodings[] = {NULL, NULL, "utf-8", "utf-16", "utf-16be", "windows-1254", "latin-1"};
    static const char *const nulls[] = {"NULL", "-"};
    struct landing_reading reading = {.format = (enum landing_format)fuzz_take(data, &size, 7),
        .encoding = encodings[fuzz_take(data, &size, 7)],
        .no_header = fuzz_take(data, &size, 2),
        .record_bytes_max = fuzz_take(data, &size, 2) ? 100 : 0,
        .columns_max = fuzz_take(data, &size, 4) ? 0 : 5,
        .file_bytes_max = 1 << 20,
        .nulls = nulls,
        .nulls_n = 2};
    char *bytes = fuzz_copy(data, size, 0);
    struct one_file file = {bytes, size};
    const struct fs fs = {.self = &file, .open = open_one, .close = close_one, .pread = pread_one, .stat = stat_one};
    const struct host host = {.fs = &fs, .clock = clock_real()};
    ARENA_SCOPE(arena);
    struct landing_plan plan;
    struct err err;
    must(landing_plan_make(&host, arena, size % 2 ? "in/a" : "in/a.json", &reading, &plan, &err) == OK);
    must(strlen(plan.hash) == 64 && plan.size_bytes == size);
    if (!plan.rejection && plan.format != LANDING_PARQUET) check(&host, arena, &plan);
    free(bytes);
    return 0;
}
