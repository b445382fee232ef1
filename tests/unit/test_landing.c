/* connect: plans and rows of whole files on a real disk: compression, encodings, pieces, limits, bad rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connect/landing_rows.h"
#include "host/host.h"

static char folder[64];
static struct host host;

static int make_folder(void **state) {
    host = host_default();
    snprintf(folder, sizeof folder, "/tmp/cupel-landing-XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) { return fs_remove_tree(fs_real(), folder, NULL) == OK ? 0 : 1; }

static const char *put_file(struct arena *arena, const char *name, struct str content) {
    char *path = arena_printf(arena, "%s/%s", folder, name);
    struct err err;
    if (fs_write_atomic(fs_real(), path, content, &err) != OK) fail_msg("%s", err.text);
    return path;
}

static struct landing_plan plan_of(struct arena *arena, const char *path, const struct landing_reading *reading) {
    struct landing_plan plan;
    struct err err;
    static const struct landing_reading none;
    if (landing_plan_make(&host, arena, path, reading ? reading : &none, &plan, &err) != OK) fail_msg("%s", err.text);
    return plan;
}

struct totals {
    uint64_t rows, hash, bad, nulls;
    struct landing_counts counts;
    char first_reason[300];
};

static uint64_t mix(uint64_t hash, struct str cell) { return (hash ^ (cell.p ? hash64_str(cell) + 1 : 0)) * UINT64_C(0x9E3779B97F4A7C15); }

static struct totals read_all(struct arena *arena, const struct landing_plan *plan, const char *spool) {
    struct totals t = {0};
    struct landing_rows *rows;
    struct err err;
    struct landing_rows_options options = {.host = &host, .plan = plan, .spool = spool};
    if (landing_rows_open(&options, &rows, &err) != OK) fail_msg("%s", err.text);
    struct row *list = arena_new_array(arena, struct row, 500);
    for (size_t n = 1; n;) {
        if (landing_rows_next(rows, list, 500, &n, &err) != OK) fail_msg("%s", err.text);
        for (size_t i = 0; i < n; i++) {
            t.rows++;
            for (size_t c = 0; c < plan->columns_n; c++) {
                t.hash = mix(t.hash, list[i].cells[c]);
                t.nulls += list[i].cells[c].p == NULL;
            }
        }
    }
    struct bad_row bad;
    while (landing_rows_next_bad(rows, &bad)) {
        if (t.bad++ == 0) snprintf(t.first_reason, sizeof t.first_reason, "%s", bad.reason);
    }
    t.counts = landing_rows_counts(rows);
    landing_rows_close(&rows);
    return t;
}

/* ---- the same random table in every dress ---- */

static uint32_t chance(uint64_t *seed, uint32_t n) {
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % n;
}

/* A table of random cells as CSV; *hash and *rows as read_all finds them. */
static void make_table(struct buf *csv, const char *line_end, size_t rows, uint64_t *hash) {
    static const char *const words[] = {
        "a", "42", "", "kırmızı", "İĞÜŞ", "plain text", "with, comma", "with; semicolon", "say \"hi\"", "two\nlines", "cr\r\nlf", " blank ", "x'y"};
    uint64_t seed = 7;
    buf_printf(csv, "one,two,three%s", line_end);
    *hash = 0;
    for (size_t i = 0; i < rows; i++) {
        for (int c = 0; c < 3; c++) {
            struct str word = str_of(words[chance(&seed, sizeof words / sizeof *words)]);
            if (i % 997 == 0 && c == 1) word = str_head(str_make("0123456789012345678901234567890123456789", 40), 40);
            bool quote = word.n == 0 ? false : chance(&seed, 4) == 0 || strpbrk(word.p, ",\"\n\r");
            if (quote) buf_char(csv, '"');
            for (size_t k = 0; k < word.n; k++) {
                if (word.p[k] == '"') buf_char(csv, '"');
                buf_char(csv, word.p[k]);
            }
            if (quote) buf_char(csv, '"');
            if (c < 2) buf_char(csv, ',');
            *hash = mix(*hash, word.n ? word : STR_NULL);
        }
        buf_text(csv, i + 1 < rows ? line_end : "");
    }
}

static void converted(const char *to, struct str text, struct buf *out) {
    iconv_t converter = iconv_open(to, "UTF-8");
    assert_true(converter != (iconv_t)-1);
    buf_reserve(out, text.n * 4 + 16);
    char *from = (char *)(uintptr_t)text.p, *at = out->p;
    size_t left = text.n, room = text.n * 4 + 16;
    assert_true(iconv(converter, &from, &left, &at, &room) != (size_t)-1);
    out->n = (size_t)(at - out->p);
    iconv_close(converter);
}

static void gzipped(struct str text, struct buf *out) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    buf_reserve(out, deflateBound(&z, text.n));
    z.next_in = (unsigned char *)(uintptr_t)text.p;
    z.avail_in = (uInt)text.n;
    z.next_out = (unsigned char *)out->p;
    z.avail_out = (uInt)deflateBound(&z, text.n);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->n = z.total_out;
    deflateEnd(&z);
}

static void random_table_in_every_dress(void **state) {
    static const char *const encodings[] = {NULL, "UTF-16LE", "UTF-16BE", "WINDOWS-1254", "ISO-8859-9"};
    static const char *const line_ends[] = {"\n", "\r\n", "\r"};
    enum { ROWS = 40000 };
    for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
        for (size_t l = 0; l < sizeof line_ends / sizeof *line_ends; l++) {
            ARENA_SCOPE(arena);
            BUF_SCOPE(csv);
            BUF_SCOPE(text);
            BUF_SCOPE(packed);
            uint64_t hash;
            make_table(&csv, line_ends[l], ROWS, &hash);
            if (encodings[e]) converted(encodings[e], buf_view(&csv), &text);
            struct str content = encodings[e] ? buf_view(&text) : buf_view(&csv);
            if (e % 2 == 0) gzipped(content, &packed);
            const char *path = put_file(arena, "table.csv", e % 2 == 0 ? buf_view(&packed) : content);
            struct landing_reading reading = {.encoding = e >= 3 ? encodings[e] : NULL};
            struct landing_plan plan = plan_of(arena, path, &reading);
            if (plan.rejection) fail_msg("encoding %zu, line end %zu: %s", e, l, plan.rejection);
            assert_int_equal(plan.columns_n, 3);
            assert_int_equal(plan.dialect.delimiter, ',');
            assert_int_equal(plan.text_bytes, content.n);
            struct totals t = read_all(arena, &plan, NULL);
            if (t.bad) fail_msg("encoding %zu, line end %zu: %s", e, l, t.first_reason);
            assert_int_equal(t.rows, ROWS);
            assert_true(t.hash == hash);
            assert_true(plan.rows_max >= ROWS);
        }
    }
}

/* ---- bad rows ---- */

static void many_bad_rows_go_through_a_file(void **state) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(csv);
    enum { ROWS = 60000 };
    buf_text(&csv, "a,b\n");
    for (int i = 0; i < ROWS; i++) buf_printf(&csv, i % 3 ? "row %d is bad, and, long enough to fill the memory of the spool\n" : "%d,good\n", i);
    const char *path = put_file(arena, "bad.csv", buf_view(&csv)), *spool = arena_printf(arena, "%s/spool", folder);
    struct landing_plan plan = plan_of(arena, path, NULL);
    struct totals t = read_all(arena, &plan, spool);
    assert_int_equal(t.rows, ROWS / 3);
    assert_int_equal(t.bad, ROWS / 3 * 2);
    assert_string_equal(t.first_reason, "line 3: expected 2 fields, found 3");
    assert_true(fs_exists(fs_real(), spool));
    /* and once more from the file, as the engine does for the quarantine */
    struct bad_spool *again;
    struct bad_row bad = {0};
    struct err err;
    bool got = true;
    uint64_t n = 0, last = 0;
    assert_int_equal(bad_spool_open(&host, spool, &again, &err), OK);
    while (bad_spool_next(again, &bad, &got, &err) == OK && got) {
        assert_true(bad.number > last);
        last = bad.number;
        assert_true(str_starts(bad.raw, STR("row ")));
        n++;
    }
    assert_false(got);
    assert_int_equal(n, t.bad);
    bad_spool_free(&again);
}

static void damaged_spool_is_noticed(void **state) {
    ARENA_SCOPE(arena);
    const char *path = put_file(arena, "cut.bad", STR("\1\0\0\0\0\0\0\0\5\0\0\0\377\0\0\0abc"));
    struct bad_spool *spool;
    struct bad_row bad;
    struct err err;
    bool got;
    assert_int_equal(bad_spool_open(&host, path, &spool, &err), OK);
    assert_int_equal(bad_spool_next(spool, &bad, &got, &err), E_CORRUPT);
    bad_spool_free(&spool);
}

static void records_over_the_limit(void **state) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(csv);
    buf_text(&csv, "a,b\n1,x\n2,");
    for (int i = 0; i < 300000; i++) buf_text(&csv, "0123456789");
    buf_text(&csv, "\n3,y\n");
    const char *path = put_file(arena, "long.csv", buf_view(&csv));
    struct landing_reading reading = {.record_bytes_max = 100000};
    struct landing_plan plan = plan_of(arena, path, &reading);
    struct totals t = read_all(arena, &plan, NULL);
    assert_int_equal(t.rows, 2);
    assert_int_equal(t.bad, 1);
    assert_string_equal(t.first_reason, "line 3, column 1: the record is longer than the limit (record_bytes_max 100000)");
    plan = plan_of(arena, path, NULL); /* 3 MB are within the default */
    t = read_all(arena, &plan, NULL);
    assert_int_equal(t.rows, 3);
    reading.file_bytes_max = 1000000;
    plan = plan_of(arena, path, &reading);
    assert_non_null(strstr(plan.rejection, "more than 1000000 bytes"));
}

static void nulls_are_only_unquoted(void **state) {
    ARENA_SCOPE(arena);
    static const char *const nulls[] = {"NULL", "-"};
    struct landing_reading reading = {.nulls = nulls, .nulls_n = 2};
    const char *path = put_file(arena, "nulls.csv", STR("a,b\nNULL,\"NULL\"\n-,\"\"\n,x-\n"));
    struct landing_plan plan = plan_of(arena, path, &reading);
    struct totals t = read_all(arena, &plan, NULL);
    assert_int_equal(t.rows, 3);
    assert_int_equal(t.nulls, 3);
}

/* ---- JSON documents larger than the window ---- */

static void large_json_array(void **state) {
    ARENA_SCOPE(arena);
    BUF_SCOPE(json);
    enum { ROWS = 30000 };
    uint64_t hash = 0;
    buf_text(&json, "\xEF\xBB\xBF [\n");
    for (int i = 0; i < ROWS; i++) {
        char number[20];
        int n = snprintf(number, sizeof number, "%d.50", i);
        buf_printf(&json, "%s {\"id\": %s,\r\n \"text\": \"x\\u0131, ]}{[\\\"\", \"list\": [1, {\"deep\": null}]}", i ? "," : "", number);
        hash = mix(mix(mix(hash, str_make(number, (size_t)n)), STR("x\xC4\xB1, ]}{[\"")), STR("[1, {\"deep\": null}]"));
    }
    buf_text(&json, "\n]\n");
    const char *path = put_file(arena, "array.json", buf_view(&json));
    struct landing_plan plan = plan_of(arena, path, NULL);
    assert_null(plan.rejection);
    assert_int_equal(plan.format, LANDING_JSON);
    assert_int_equal(plan.rows_max, ROWS);
    struct totals t = read_all(arena, &plan, NULL);
    assert_int_equal(t.rows, ROWS);
    assert_true(t.hash == hash);
}

/* ---- plans ---- */

static void detection(void **state) {
    static const struct {
        const char *name;
        struct str content;
        enum landing_format format;
        const char *rejection; /* part of it; NULL: accepted */
    } cases[] = {
        {"a.csv", {"a;b\n1;2\n", 8}, LANDING_CSV, NULL},
        {"a", {"{\"a\":1}\n{\"a\":2}\n", 16}, LANDING_NDJSON, NULL},
        {"a.dat", {"[{\"a\":1}]", 9}, LANDING_JSON, NULL},
        {"a.txt", {"plain\n", 6}, LANDING_CSV, NULL},
        {"a.log", {"1.2.3.4 - - \"GET\n", 17}, LANDING_LINES, NULL},
        {"a.jsonl.gz", {"{bad\n{\"a\":1}\n", 13}, LANDING_NDJSON, NULL},
        {"a.json", {"{\"a\":1}\n{bad\n{\"a\":2}\n", 21}, LANDING_NDJSON, NULL},
        {"a.parquet", {"PAR1....PAR1", 12}, LANDING_PARQUET, NULL},
        {"a.csv", {"a,b\n\xFC,\n", 7}, LANDING_CSV, "line 2, column 1: byte 0xFC is not UTF-8"},
        {"a.csv", {"a\r\xC3\xBC\rx\xE7", 7}, LANDING_CSV, "line 3, column 2: byte 0xE7"},
        {"a.csv", {"ab\xC3", 3}, LANDING_CSV, "line 1, column 3: byte 0xC3"},
        {"a.csv", {"", 0}, LANDING_CSV, "the file is empty"},
        {"a.json", {"  \n", 3}, LANDING_JSON, "the file is empty"},
        {"a.json", {"[1,2]", 5}, LANDING_JSON, "none of its rows is a JSON object"},
        {"a.json", {"[{\"a\":1}] x", 11}, LANDING_JSON, "something follows the array"},
        {"a.json", {"[{\"a\":1} {\"a\":2}]", 17}, LANDING_JSON, "a comma is missing"},
        {"a.json", {"{\n\"a\":[1,2", 10}, LANDING_JSON, "the file ends in the middle of the value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ARENA_SCOPE(arena);
        struct landing_plan plan = plan_of(arena, put_file(arena, cases[i].name, cases[i].content), NULL);
        if (!cases[i].rejection) {
            if (plan.rejection || plan.format != cases[i].format) fail_msg("case %zu: %s, %s", i, landing_format_name(plan.format), plan.rejection);
        } else if (!plan.rejection || !strstr(plan.rejection, cases[i].rejection))
            fail_msg("case %zu: %s", i, plan.rejection ? plan.rejection : "accepted");
    }
}

/* The place of the first wrong byte is right wherever pieces of the scan end. */
static void bad_byte_across_pieces(void **state) {
    for (int shift = -3; shift <= 3; shift++) {
        ARENA_SCOPE(arena);
        BUF_SCOPE(text);
        size_t target = (256u << 10) + (size_t)(shift + 3) - 3;
        while (text.n + 10 < target)
            buf_text(&text,
                "\xC3\xBC"
                "bcdefg\n");
        while (text.n < target) buf_char(&text, 'x');
        size_t lines = 0, start = 0;
        for (size_t i = 0; i < text.n; i++)
            if (text.p[i] == '\n') {
                lines++;
                start = i + 1;
            }
        buf_text(&text, "\xE2\x82\n\nmore");
        const char *path = put_file(arena, "pieces.csv", buf_view(&text));
        struct landing_plan plan = plan_of(arena, path, NULL);
        char want[80];
        snprintf(want, sizeof want, "line %zu, column %zu: byte 0xE2", lines + 1, target - start + 1);
        if (!plan.rejection || !strstr(plan.rejection, want)) fail_msg("shift %d: %s, not %s", shift, plan.rejection ? plan.rejection : "accepted", want);
    }
}

static void hash_and_change(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    const char *path = put_file(arena, "hash.csv", STR("abc"));
    struct landing_plan plan = plan_of(arena, path, NULL);
    assert_string_equal(plan.hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-2, appendix B.1 */
    assert_int_equal(landing_plan_unchanged(&host, &plan, &err), OK);
    put_file(arena, "hash.csv", STR("abd"));
    assert_int_equal(landing_plan_unchanged(&host, &plan, &err), E_BUSY);
    /* the hash of a damaged file is of the whole file all the same */
    BUF_SCOPE(packed);
    gzipped(STR("a,b\n1,2\n"), &packed);
    packed.p[packed.n / 2] ^= 0x55;
    path = put_file(arena, "damaged.gz", buf_view(&packed));
    plan = plan_of(arena, path, NULL);
    assert_non_null(plan.rejection);
    assert_int_equal(plan.size_bytes, packed.n);
    struct landing_plan twin = plan_of(arena, path, NULL);
    assert_string_equal(plan.hash, twin.hash);
}

static void options_are_checked(void **state) {
    struct err err;
    static const struct landing_reading wrong[] = {{.delimiter = ""}, {.delimiter = "ab"}, {.delimiter = "\n"}, {.quote = "''"},
        {.delimiter = "'", .quote = "'"}, {.delimiter = "\\", .escape = "\\"}, {.encoding = "klingon"}, {.record_bytes_max = LANDING_RECORD_BYTES_MAX + 1},
        {.columns_max = LANDING_COLUMNS_MAX + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(landing_reading_check(&wrong[i], &err), E_CONFIG);
    const struct landing_reading fine = {.delimiter = "\t", .quote = "", .escape = "", .encoding = "cp1254"};
    assert_int_equal(landing_reading_check(&fine, &err), OK);
}

static void wrong_specifications_are_refused(void **state) {
    static const char *const specs[] = {"", "{}", "[]", "{\"id\":1,\"path\":\"x\",\"spool\":null,\"format\":1,\"encoding\":99}"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        ARENA_SCOPE(arena);
        struct landing_plan plan;
        const char *spool;
        int64_t id;
        struct err err;
        assert_int_equal(landing_plan_read(arena, str_of(specs[i]), &plan, &id, &spool, &err), E_INVALID);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_table_in_every_dress),
        cmocka_unit_test(many_bad_rows_go_through_a_file),
        cmocka_unit_test(damaged_spool_is_noticed),
        cmocka_unit_test(records_over_the_limit),
        cmocka_unit_test(nulls_are_only_unquoted),
        cmocka_unit_test(large_json_array),
        cmocka_unit_test(detection),
        cmocka_unit_test(bad_byte_across_pieces),
        cmocka_unit_test(hash_and_change),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(wrong_specifications_are_refused),
    };
    return cmocka_run_group_tests_name("landing", tests, make_folder, remove_folder);
}
