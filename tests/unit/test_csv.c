/* connect: CSV splitting and dialects, encodings, JSON rows; all over memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/mem.h"
#include "connect/csv.h"
#include "connect/encoding.h"
#include "connect/json_flat.h"
#include "connect/landing_plan.h"

#define LIMIT 64

/* Records as text: cells joined by '/', records ended by '\n'; bad ones as "!line:column". NULL dialect: comma, quotes doubled. */
static char *cut(const char *text, size_t n, const struct csv_dialect *dialect, size_t step) {
    static char out[4096];
    struct csv_parser parser;
    struct csv_record record;
    AUTO_FREE char *bytes = mem_zalloc(n + CSV_PADDING);
    memcpy(bytes, text, n);
    size_t made = 0, given = step < n ? step : n;
    csv_begin(&parser, dialect ? *dialect : (struct csv_dialect){',', '"', 0}, LIMIT, 16);
    for (size_t at = 0; at < n;) {
        if (given <= at) given = at + step < n ? at + step : n;
        enum csv_step result = csv_parse(&parser, bytes + at, bytes + given, given == n, &record);
        if (result == CSV_MORE) {
            given = given + step < n ? given + step : n;
            continue;
        }
        ARENA_SCOPE(arena);
        if (result == CSV_RECORD && record.problem)
            made += (size_t)snprintf(out + made, sizeof out - made, "!%llu:%zu\n", (unsigned long long)record.problem_line, record.problem_column);
        for (size_t i = 0; result == CSV_RECORD && !record.problem && i < record.cells_n; i++) {
            struct str cell = csv_text(&parser, arena, parser.cells[i], parser.flags[i]);
            made += (size_t)snprintf(out + made, sizeof out - made, STR_FMT "%c", STR_ARG(cell), i + 1 < record.cells_n ? '/' : '\n');
        }
        at += record.used;
    }
    csv_end(&parser);
    out[made] = 0;
    return out;
}

static const struct csv_case {
    const char *name, *text, *cells;
} cases[] = {
    {"plain", "a,b\n1,2\n", "a/b\n1/2\n"},
    {"no last line end", "a,b\n1,2", "a/b\n1/2\n"},
    {"CRLF", "a,b\r\n1,2\r\n", "a/b\n1/2\n"},
    {"bare CR", "a,b\r1,2\r3,4", "a/b\n1/2\n3/4\n"},
    {"mixed line ends", "a\rb\nc\r\nd", "a\nb\nc\nd\n"},
    {"empty cells", ",,\n", "//\n"},
    {"blank line", "a\n\nb\n", "a\n\nb\n"},
    {"quoted", "\"a,b\",c\n", "a,b/c\n"},
    {"quoted last cell", "a,\"b\"\nc,\"d\"", "a/b\nc/d\n"},
    {"doubled quotes", "\"a \"\"b\"\" c\",\"\"\"\"\n", "a \"b\" c/\"\n"},
    {"empty quoted", "\"\",\"\"\n", "/\n"},
    {"line end in quotes", "\"a\nb\",\"c\r\nd\"\ne,f\n", "a\nb/c\r\nd\ne/f\n"},
    {"quote in the middle", "5\" tube,6\"\n", "5\" tube/6\"\n"},
    {"blank before quote", "a, \"b\"\n", "a/ \"b\"\n"},
    {"text behind quote", "\"a\"b,c\nd,e\n", "!1:4\nd/e\n"},
    {"quote not closed: rest is read line by line", "a,\"b\nc,d\ne,f\n", "!1:3\nc/d\ne/f\n"},
    {"quote not closed in the last line", "a,b\nc,\"d", "a/b\n!2:3\n"},
    {"wrong quote swallows no good rows", "1,a\n2,\"b\n3,c\n4,\"d\"\n5,e\n", "1/a\n!4:4\n3/c\n4/d\n5/e\n"},
    {"only line ends", "\n\r\n\r", "\n\n\n"},
};

static void cases_are_cut(void **state) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t step = 1; step < 40; step += 6) { /* bytes arrive in pieces of any size */
            const char *got = cut(cases[i].text, strlen(cases[i].text), NULL, step);
            if (strcmp(got, cases[i].cells)) fail_msg("%s (pieces of %zu): got %s", cases[i].name, step, got);
        }
    }
}

static void backslash_escapes(void **state) {
    const struct csv_dialect dialect = {'|', '"', '\\'};
    const char *text = "\"a \\\"b\\\" c\"|\"back\\\\slash\"\n\"two \"\"kinds\"\"\"|x\n";
    assert_string_equal(cut(text, strlen(text), &dialect, 3), "a \"b\" c/back\\slash\ntwo \"kinds\"/x\n");
    const struct csv_dialect none = {',', 0, 0};
    assert_string_equal(cut("\"a,b\"\n", 6, &none, 6), "\"a/b\"\n");
}

/* A record over the limit is one bad record, however long, and the next line is read again. */
static void long_records(void **state) {
    BUF_SCOPE(text);
    for (int i = 0; i < 1000; i++) buf_char(&text, 'x');
    buf_text(&text, "\na,b\n");
    for (size_t step = 1; step < 1100; step += 83) assert_string_equal(cut(text.p, text.n, NULL, step), "!1:1\na/b\n");
    buf_clear(&text); /* a quote that never closes, then good lines */
    buf_text(&text, "\"a");
    for (int i = 0; i < 100; i++) buf_text(&text, "\nb,c");
    char *got = cut(text.p, text.n, NULL, 1000);
    assert_int_equal(strncmp(got, "!1:1\nb/c\nb/c\n", 13), 0);
    buf_clear(&text); /* exactly the limit is fine */
    for (int i = 0; i < LIMIT; i++) buf_char(&text, 'y');
    buf_text(&text, "\r\n");
    assert_int_equal(strlen(cut(text.p, text.n, NULL, 7)), LIMIT + 1);
}

/* Lines that fail after a long scan each: the work stays linear, see csv.c. Takes minutes when it is not. */
static void hostile_quotes_are_linear(void **state) {
    static const char line[] = "b\",x,\"\n";
    size_t n = 4u << 20, used = 0;
    AUTO_FREE char *text = mem_zalloc(n + CSV_PADDING);
    for (size_t i = 0; i < n; i++) text[i] = line[i % (sizeof line - 1)];
    struct csv_parser parser;
    struct csv_record record;
    csv_begin(&parser, (struct csv_dialect){',', '"', 0}, 1u << 20, 16);
    while (used < n) {
        assert_int_equal(csv_parse(&parser, text + used, text + n, true, &record), CSV_RECORD);
        used += record.used;
    }
    assert_true(parser.rescanned < 64u << 20);
    csv_end(&parser);
}

static void lines_are_cut(void **state) {
    struct line_parser lines = {.ends = LINES_LF, .record_bytes_max = LIMIT, .line = 1};
    struct csv_record record;
    const char *text = "one\r\ntwo\n\nend";
    assert_int_equal(line_parse(&lines, text, text + 13, true, &record), CSV_RECORD);
    assert_true(str_is(record.raw, "one"));
    assert_int_equal(record.used, 5);
    assert_int_equal(line_parse(&lines, text + 9, text + 13, true, &record), CSV_RECORD);
    assert_int_equal(record.raw.n, 0);
    assert_int_equal(line_parse(&lines, text + 10, text + 13, false, &record), CSV_MORE);
    assert_int_equal(line_parse(&lines, text + 10, text + 13, true, &record), CSV_RECORD);
    assert_true(str_is(record.raw, "end"));
    assert_int_equal(line_ends_detect(STR("a\rb\rc")), LINES_CR);
    assert_int_equal(line_ends_detect(STR("a\r\nb")), LINES_LF);
}

static void dialects_are_found(void **state) {
    static const struct {
        const char *text;
        char delimiter, escape;
    } samples[] = {
        {"a,b,c\n1,2,3\n", ',', '"'},
        {"a;b;c\n1,5;2,5;3\n4,0;5;6,1\n", ';', '"'},
        {"a\tb\n1, 2\t3\n4\t5\n", '\t', '"'},
        {"a|b|c\r1|2|3\r", '|', '"'},
        {"name\nfoo\nbar\n", ',', '"'},
        {"id;text\n1;\"a, b, c\"\n2;\"d; e\"\n", ';', '"'},
        {"id,text\n1,\"say \\\"hi\\\", you\"\n2,\"x\"\n", ',', '\\'},
        {"id,text\n1,\"C:\\\"\n2,\"a \"\"b\"\"\"\n", ',', '"'},
        {"day,text\n1,\"a\nb;c;d\ne\"\n2,f\n", ',', '"'},
    };
    const struct csv_wishes free_choice = {-1, -1, -1, true}, wish = {'x', -1, -1, true};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct csv_dialect d = csv_detect(str_of(samples[i].text), true, &free_choice);
        if (d.delimiter != samples[i].delimiter || d.escape != samples[i].escape) fail_msg("sample %zu: delimiter %c escape %c", i, d.delimiter, d.escape);
    }
    assert_int_equal(csv_detect(STR("a,b\n"), true, &wish).delimiter, 'x');
}

/* ---- encodings ---- */

static void utf8_is_checked(void **state) {
    static const char *const bad[] = {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFC"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        int n = snprintf(text, sizeof text, "0123456789012345678901234567890123456789%s", bad[i]);
        assert_int_equal(utf8_valid_prefix(text, (size_t)n), 40);
    }
    const char *good = "\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80 abc";
    assert_int_equal(utf8_valid_prefix(good, strlen(good)), strlen(good));
    assert_true(utf8_may_continue("\xE2\x82", 2));
    assert_true(utf8_may_continue("\xF0", 1));
    assert_true(utf8_may_continue("\xE0", 1));
    assert_false(utf8_may_continue("\xFC", 1));
    assert_false(utf8_may_continue("\xE0\x80", 2));
    assert_false(utf8_may_continue("\xED\xA0", 2));
}

static void single_bytes_are_decoded(void **state) {
    ARENA_SCOPE(arena);
    struct encoding encoding;
    struct encoding_table table;
    struct str out;
    size_t bad_at;
    struct err err;
    assert_int_equal(encoding_parse(STR("Windows-1254"), &encoding, &err), OK);
    assert_int_equal(encoding_table_make(&encoding, &table, &err), OK);
    assert_true(encoding_decode(&table, arena, STR("\xDDstanbul \xFE\xF0\xFD"), &out, &bad_at));
    assert_true(str_is(out, "\xC4\xB0stanbul \xC5\x9F\xC4\x9F\xC4\xB1")); /* İstanbul şğı */
    assert_false(encoding_decode(&table, arena, STR("ab\x81"), &out, &bad_at));
    assert_int_equal(bad_at, 2);
    assert_int_equal(encoding_parse(STR("latin-1"), &encoding, &err), OK);
    assert_int_equal(encoding_table_make(&encoding, &table, &err), OK);
    assert_true(encoding_decode(&table, arena, STR("\xDD\xA3\x81"), &out, &bad_at));
    assert_true(str_is(out, "\xC3\x9D\xC2\xA3\xC2\x81")); /* Ý £ U+0081 */
    assert_int_equal(encoding_parse(STR("windows-1252"), &encoding, &err), OK);
    assert_int_equal(encoding_table_make(&encoding, &table, &err), OK);
    assert_true(encoding_decode(&table, arena, STR("\x80"), &out, &bad_at));
    assert_true(str_is(out, "\xE2\x82\xAC")); /* € */
    assert_int_equal(encoding_parse(STR("shift_jis"), &encoding, &err), E_INVALID);
    assert_int_equal(encoding_parse(STR("ebcdic-us"), &encoding, &err), E_INVALID);
    assert_int_equal(encoding_parse(STR("no-such-thing"), &encoding, &err), E_INVALID);
    assert_non_null(strstr(err.text, "windows-1254"));
    assert_int_equal(encoding_parse(STR("UTF-8//IGNORE"), &encoding, &err), E_INVALID);
}

static void utf16_goes_there_and_back(void **state) {
    static const unsigned char le[] = {'a', 0, 0xFC, 0, 0xAC, 0x20, 0x3D, 0xD8, 0x00, 0xDE, 0x00, 0xD8, 'b', 0, 0x00, 0xDC, 'z'};
    for (size_t step = 1; step <= sizeof le; step++) {
        struct utf16_decoder d;
        char out[100];
        size_t n = 0;
        utf16_begin(&d, false);
        for (size_t at = 0; at < sizeof le; at += step) n += utf16_decode(&d, le + at, sizeof le - at < step ? sizeof le - at : step, out + n);
        n += utf16_end(&d, out + n);
        assert_true(str_is((struct str){out, n},
            "a\xC3\xBC\xE2\x82\xAC\xF0\x9F\x98\x80\xED\xA0\x80"
            "b\xED\xB0\x80\xFF"));
        assert_int_equal(utf8_valid_prefix(out, n), 10); /* the lone surrogate is not valid: its row is bad */
        BUF_SCOPE(back);
        utf16_restore(&d, (struct str){out, n}, &back);
        assert_int_equal(back.n, sizeof le);
        assert_memory_equal(back.p, le, sizeof le);
    }
}

static void encodings_are_guessed(void **state) {
    struct encoding_guess g;
    struct err err;
    assert_int_equal(encoding_guess(STR("\xEF\xBB\xBFid"), &g, &err), OK);
    assert_true(g.known && g.encoding.kind == ENCODING_UTF8 && g.bom_bytes == 3);
    assert_int_equal(encoding_guess(STR("\xFE\xFF\0a"), &g, &err), OK);
    assert_true(g.known && g.encoding.kind == ENCODING_UTF16BE && g.bom_bytes == 2);
    assert_int_equal(encoding_guess(STR("i\0d\0,\0x\0\n\0"), &g, &err), OK);
    assert_true(g.known && g.encoding.kind == ENCODING_UTF16LE && g.bom_bytes == 0);
    assert_int_equal(encoding_guess(STR("\0i\0d\0,\0x\0\n"), &g, &err), OK);
    assert_true(g.known && g.encoding.kind == ENCODING_UTF16BE);
    assert_int_equal(encoding_guess(STR("id,x\n"), &g, &err), OK);
    assert_false(g.known);
    assert_int_equal(encoding_guess(STR("\xFF\xFE\0\0i\0\0\0"), &g, &err), E_UNSUPPORTED);
}

/* ---- JSON rows ---- */

struct members {
    char text[1024];
    size_t n;
};

static bool take(void *context, struct str key, struct str value) {
    struct members *m = context;
    m->n += (size_t)snprintf(m->text + m->n, sizeof m->text - m->n, STR_FMT "=" STR_FMT ";", STR_ARG(key), STR_ARG(value.p ? value : STR("NULL")));
    return true;
}

static void json_objects_are_flattened(void **state) {
    static const struct {
        const char *text, *members;
    } good[] = {
        {"{}", ""},
        {" { \"a\" : 1.50 , \"b\":\"x\\ny\" } ", "a=1.50;b=x\ny;"},
        {"{\"big\":12345678901234567890,\"e\":-1.5E+10,\"z\":0}", "big=12345678901234567890;e=-1.5E+10;z=0;"},
        {"{\"n\":null,\"t\":true,\"f\":false}", "n=NULL;t=true;f=false;"},
        {"{\"o\":{\"x\":[1,{\"y\":\"}\"}]},\"l\":[ ]}", "o={\"x\":[1,{\"y\":\"}\"}]};l=[ ];"},
        {"{\"\\u0131\":\"\\ud83d\\ude00\\u20ac\\/\"}", "\xC4\xB1=\xF0\x9F\x98\x80\xE2\x82\xAC/;"},
        {"{\"s\":\"\"}", "s=;"},
    };
    static const char *const bad[] = {"", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}",
        "{\"a\":nul}", "{\"a\":\"x}", "{\"a\":\"\\x\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\udc00\"}", "{\"a\":\"\t\"}", "{\"a\":1}x", "{\"a\":[1,]}",
        "{\"a\":[}", "{a:1}", "{'a':1}", "{\"a\":\"\xFC\"}", "{\"a\":1 \"b\":2}", "{\"a\":{\"b\":1]}", "{\"a\":NaN}"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ARENA_SCOPE(arena);
        struct members m = {0};
        struct json_fault fault;
        if (!json_flat(arena, str_of(good[i].text), take, &m, &fault)) fail_msg("%s: %s", good[i].text, fault.what);
        assert_string_equal(m.text, good[i].members);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ARENA_SCOPE(arena);
        struct members m = {0};
        struct json_fault fault = {0};
        if (json_flat(arena, str_of(bad[i]), take, &m, &fault)) fail_msg("%s passed", bad[i]);
        assert_non_null(fault.what);
        assert_true(fault.at <= strlen(bad[i]));
    }
}

static void json_depth_is_limited(void **state) {
    for (int depth = 127; depth <= 129; depth++) {
        ARENA_SCOPE(arena);
        BUF_SCOPE(text);
        struct members m = {0};
        struct json_fault fault;
        buf_text(&text, "{\"a\":");
        for (int i = 0; i < depth; i++) buf_char(&text, '[');
        for (int i = 0; i < depth; i++) buf_char(&text, ']');
        buf_char(&text, '}');
        assert_int_equal(json_flat(arena, buf_view(&text), take, &m, &fault), depth <= 128);
    }
}

static void json_ends_are_found_in_pieces(void **state) {
    static const char *const values[] = {"{\"a\":\"}\\\"]\"}", "[1,[2,3],\"]\"]", "\"x\\\"y\"", "123"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[64];
        size_t length = 0, whole = strlen(values[i]);
        int n = snprintf(text, sizeof text, "%s ,", values[i]);
        struct json_end end = {0};
        for (size_t given = 1; given <= (size_t)n && !length; given++) json_find_end(&end, (struct str){text, given}, &length);
        assert_int_equal(length, whole);
    }
}

/* ---- column names ---- */

static void columns_are_named(void **state) {
    ARENA_SCOPE(arena);
    const struct str keys[] = {STR(""), STR(" Id "), STR("ID"), STR("_event_id"), STR("_ROW"), STR("two\r\nlines"), STR("\t"), STR("id_2"), STR("\xC3\xBC")};
    static const char *const names[] = {"column_1", "Id", "ID_2", "_event_id_2", "_ROW_2", "two lines", "column_7", "id_2_2", "\xC3\xBC"};
    struct landing_column *columns = landing_columns_name(arena, keys, 9);
    for (size_t i = 0; i < 9; i++) assert_string_equal(columns[i].name, names[i]);
    char longest[400];
    memset(longest, 'x', sizeof longest);
    memcpy(longest + 254, "\xC3\xBC", 2);
    const struct str pair[] = {{longest, 400}, {longest, 400}};
    columns = landing_columns_name(arena, pair, 2);
    assert_int_equal(strlen(columns[0].name), 254); /* not in the middle of a character */
    assert_true(strlen(columns[1].name) <= LANDING_COLUMN_NAME_MAX);
    assert_string_not_equal(columns[0].name, columns[1].name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_are_cut),
        cmocka_unit_test(backslash_escapes),
        cmocka_unit_test(long_records),
        cmocka_unit_test(hostile_quotes_are_linear),
        cmocka_unit_test(lines_are_cut),
        cmocka_unit_test(dialects_are_found),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(single_bytes_are_decoded),
        cmocka_unit_test(utf16_goes_there_and_back),
        cmocka_unit_test(encodings_are_guessed),
        cmocka_unit_test(json_objects_are_flattened),
        cmocka_unit_test(json_depth_is_limited),
        cmocka_unit_test(json_ends_are_found_in_pieces),
        cmocka_unit_test(columns_are_named),
    };
    return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}
