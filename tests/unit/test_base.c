/* base: error record, arena, strings, buffers, map, hashes, times, event ids, JSON, metrics, logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/event_id.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/shown.h"
#include "base/times.h"

static void error_text_is_cut_between_characters(void **state) {
    struct err err = {0};
    char longer[2 * ERR_TEXT_MAX];
    memset(longer, 'x', sizeof longer);
    for (size_t i = 400; i + 2 < sizeof longer; i += 2) memcpy(longer + i, "ı", 2);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(err_set(&err, E_INVALID, "%s", longer), E_INVALID);
    assert_true(strlen(err.text) < ERR_TEXT_MAX);
    assert_true(utf8_valid(str_of(err.text)));
    assert_true(str_ends(str_of(err.text), STR("…")));
}

static void errno_maps_to_status(void **state) {
    struct err err;
    assert_int_equal(err_set_errno(&err, ENOSPC, "writing %s", "x"), E_NO_SPACE);
    assert_int_equal(err_set_errno(&err, ENOENT, "opening y"), E_NOT_FOUND);
    assert_int_equal(err_set_errno(&err, EIO, "reading z"), E_IO);
    assert_string_equal(err.text, "reading z: Input/output error");
    assert_int_equal(err_prefix(&err, "segment %d", 3), E_IO);
    assert_string_equal(err.text, "segment 3: reading z: Input/output error");
    assert_int_equal(status_http(E_BUSY), 503);
    assert_int_equal(status_exit_code(E_CONFIG), 2);
    assert_string_equal(status_name(E_MEDIA_TYPE), "E_MEDIA_TYPE");
}

static void arena_keeps_what_it_gave(void **state) {
    ARENA_SCOPE(arena);
    char *all[500];
    for (int i = 0; i < 500; i++) all[i] = arena_printf(arena, "%0*d", i + 1, i);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(strlen(all[i]), i + 1);
        assert_int_equal(strtol(all[i], NULL, 10), i);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
    }
    arena_reset(arena);
    assert_true(arena_bytes(arena) <= 1u << 20);
    char *big = arena_zalloc(arena, 3u << 20);
    assert_int_equal(big[(3u << 20) - 1], 0);
}

static void numbers_refuse_what_is_not_one(void **state) {
    uint64_t u;
    int64_t i;
    assert_false(str_to_u64(STR(""), &u));
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("1 "), &u));
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_true(str_to_bytes(STR("128MB"), &u) && u == 128000000);
    assert_true(str_to_bytes(STR("64 KiB"), &u) && u == 65536);
    assert_false(str_to_bytes(STR("64XB"), &u));
    assert_false(str_to_bytes(STR("99999999999TB"), &u));
    assert_true(str_to_duration_ms(STR("7d"), &i) && i == 604800000);
    assert_true(str_to_duration_ms(STR("250ms"), &i) && i == 250);
    assert_false(str_to_duration_ms(STR("300"), &i));
}

static void utf8_by_the_letter(void **state) {
    assert_true(utf8_valid(STR("plain and İstanbul €𝄞")));
    assert_true(utf8_valid(str_make("a\0b", 3)));
    const char *bad[] = {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "abcdefgh\xC3", "\x80", "\xF0\x80\x80\x80"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) assert_false(utf8_valid(str_of(bad[k])));
}

static void cutting_and_comparing(void **state) {
    struct str s = STR("a,b,,c");
    assert_true(str_is(str_cut(&s, ','), "a") && str_is(str_cut(&s, ','), "b") && str_is(str_cut(&s, ','), ""));
    assert_true(str_is(str_cut(&s, ','), "c") && s.p == NULL);
    assert_true(str_ieq(STR("X-Shopify"), STR("x-sHOPIFY")));
    assert_false(str_ieq(STR("ı"), STR("I")));
    assert_int_equal(str_distance(STR("partition"), STR("partitions")), 1);
    assert_true(str_eq_secret(STR("abc"), STR("abc")) && !str_eq_secret(STR("abc"), STR("abd")) && !str_eq_secret(STR("abc"), STR("ab")));
    assert_true(str_is(str_trim(STR(" \t x y\r\n")), "x y"));
}

static void buffer_over_its_limit_fails_once_and_stays(void **state) {
    BUF_SCOPE(b);
    b.limit = 10;
    buf_text(&b, "12345678");
    buf_text(&b, "abc");
    assert_true(b.failed);
    assert_int_equal(b.n, 8);
    buf_char(&b, 'x');
    assert_int_equal(b.n, 8);
}

/* What data may hold and a terminal would obey. */
static void text_for_people_cannot_steer(void **state) {
    static const struct {
        const char *text, *line, *lines;
    } cases[] = {
        {"", "", ""}, {"İstanbul €𝄞 עברית \\u202E", "İstanbul €𝄞 עברית \\u202E", "İstanbul €𝄞 עברית \\u202E"},
        {"\033[2Jx\a\x7F", "\\u001B[2Jx\\u0007\\u007F", "\\u001B[2Jx\\u0007\\u007F"},
        {"\xC2\x9B"
         "31m\xC2\x85\xC2\xA0",
            "\\u009B31m\\u0085\xC2\xA0", "\\u009B31m\\u0085\xC2\xA0"},
        {"a\r\nb\rc\n\td", "a↵b↵c↵\\td", "a↵b↵c\n\td"}, {"a\u2028b\u2029c", "a↵b↵c", "a↵b↵c"},
        {"\u202Egnp.exe\u2066x\u2069", "\\u202Egnp.exe\\u2066x\\u2069", "\\u202Egnp.exe\\u2066x\\u2069"},
        {"\u061C\u200E\u200F\u202A\u202D\u2067", "\\u061C\\u200E\\u200F\\u202A\\u202D\\u2067", "\\u061C\\u200E\\u200F\\u202A\\u202D\\u2067"},
        {"\u2029", "↵", "↵"},
        {"\x9B\xFF"
         "a\xE2\x82",
            "\uFFFD\uFFFD"
            "a\uFFFD\uFFFD",
            "\uFFFD\uFFFD"
            "a\uFFFD\uFFFD"},
        {"\xC0\x9B", "\\u001B", "\\u001B"}, /* overlong */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        BUF_SCOPE(line);
        BUF_SCOPE(lines);
        shown_put(&line, str_of(cases[i].text), 0);
        shown_put_lines(&lines, str_of(cases[i].text));
        assert_string_equal(buf_cstr(&line), cases[i].line);
        assert_string_equal(buf_cstr(&lines), cases[i].lines);
    }
    static const char *const urls[][2] = {{"https://u:p@h:8/a/b?key=s#f", "https://h:8/a/b"}, {"http://h?x@y", "http://h"},
        {"http://a@b@h/c@d", "http://h/c@d"}, {"https://h/", "https://h/"}, {"", ""}};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        BUF_SCOPE(url);
        shown_put_url(&url, urls[i][0]);
        assert_string_equal(buf_cstr(&url), urls[i][1]);
    }
    BUF_SCOPE(nul);
    shown_put(&nul, str_make("a\0b", 3), 0);
    assert_string_equal(buf_cstr(&nul), "a\\u0000b");
    BUF_SCOPE(cut);
    shown_put(&cut, STR("ab\033cd"), 3);
    assert_string_equal(buf_cstr(&cut), "ab\\u001B…");
    buf_clear(&cut);
    shown_put(&cut, STR("äöü"), 3);
    assert_string_equal(buf_cstr(&cut), "äöü");
}

static void base64_and_hex(void **state) {
    const char *plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"}; /* RFC 4648 section 10 */
    const char *coded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (int i = 0; i < 7; i++) {
        BUF_SCOPE(b);
        buf_base64(&b, str_of(plain[i]));
        assert_string_equal(buf_cstr(&b), coded[i]);
        buf_clear(&b);
        assert_true(buf_unbase64(&b, str_of(coded[i])));
        assert_string_equal(buf_cstr(&b), plain[i]);
    }
    BUF_SCOPE(b);
    assert_false(buf_unbase64(&b, STR("Zm9*")));
    assert_false(buf_unbase64(&b, STR("Zm9vY")));
    assert_false(buf_unhex(&b, STR("abc")));
    assert_false(buf_unhex(&b, STR("zz")));
}

static void map_keeps_order_through_growth_and_removal(void **state) {
    struct map *map = map_new();
    static int values[2000];
    char key[16];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_null(map_put(map, str_of(key), &values[i]));
    }
    for (int i = 0; i < 2000; i += 2) {
        snprintf(key, sizeof key, "k%d", i);
        assert_ptr_equal(map_remove(map, str_of(key)), &values[i]);
    }
    assert_int_equal(map_count(map), 1000);
    assert_null(map_get(map, STR("k0")));
    assert_ptr_equal(map_put(map, STR("k1"), &values[0]), &values[1]);
    size_t at = 0, seen = 0;
    struct str k;
    void *v;
    while (map_next(map, &at, &k, &v)) seen++;
    assert_int_equal(seen, 1000);
    map_free(&map);
    assert_null(map);
}

static void crc32c_vectors(void **state) { /* RFC 3720 B.4 */
    unsigned char zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xFF, 32);
    for (int i = 0; i < 32; i++) rising[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, zeros, 32), 0x8A9136AA);
    assert_int_equal(crc32c(0, ones, 32), 0x62A8AB43);
    assert_int_equal(crc32c(0, rising, 32), 0x46DD794E);
    assert_int_equal(crc32c(crc32c(0, rising, 13), rising + 13, 19), 0x46DD794E);
}

static void times_read_and_write(void **state) {
    char text[RFC3339_MAX];
    int64_t us;
    assert_true(time_parse_us(STR("2026-11-20T10:22:33.123Z"), &us) && us == INT64_C(1795170153123000));
    time_format_us(us, text);
    assert_string_equal(text, "2026-11-20T10:22:33.123Z");
    time_format_us(us + 45, text);
    assert_string_equal(text, "2026-11-20T10:22:33.123045Z");
    time_format_ms(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    assert_true(time_parse_us(STR("2024-02-29"), &us) && us == INT64_C(1709164800000000));
    assert_true(time_parse_us(STR("2026-01-01T03:00:00+03:00"), &us) && us == INT64_C(1767225600000000));
    const char *bad[] = {"2023-02-29", "2026-13-01", "2026-01-01T25:00:00Z", "2026-01-01T10:00:00", "2026-01-01T10:00:00.Z", "", "2026-01-01x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(time_parse_us(str_of(bad[i]), &us));
    for (int64_t day = -800000; day < 800000; day += 37) {
        time_format_ms(day * 86400000, text);
        if (day >= -719162 && day < 719162) assert_true(time_parse_us(str_of(text), &us) && us == day * INT64_C(86400000000));
    }
}

static void event_id_is_its_own_address(void **state) {
    struct event_address edge[] = {
        {0, 0, 0, 0}, {(INT64_C(1) << 48) - 1, EVENT_STREAM_MAX, EVENT_PARTITIONS_MAX - 1, EVENT_OFFSET_MAX}, {1795170153123, 7, 3, 123456789}};
    for (int i = 0; i < 3; i++) {
        struct event_id id = event_id_make(edge[i]), again;
        char text[EVENT_ID_TEXT];
        event_id_text(id, text);
        assert_int_equal(text[14], '7');
        assert_true(event_id_parse(str_make(text, sizeof text), &again));
        assert_memory_equal(&id, &again, 16);
        struct event_address back;
        assert_true(event_id_read(again, &back));
        assert_true(
            back.received_ms == edge[i].received_ms && back.stream == edge[i].stream && back.partition == edge[i].partition && back.offset == edge[i].offset);
    }
    struct event_id id;
    struct event_address address;
    assert_false(event_id_parse(STR("0193-not-a-uuid"), &id));
    assert_true(event_id_parse(STR("b5f2c1a0-1111-4222-8333-444455556666"), &id));
    assert_false(event_id_read(id, &address)); /* version 4: a stranger's */
}

static void json_writer_escapes(void **state) {
    BUF_SCOPE(b);
    struct json_writer w = json_write_to(&b);
    json_begin_object(&w);
    json_put_str(&w, "a\"", str_make("x\0\n\\\xFFü", 7));
    json_name(&w, "list");
    json_begin_array(&w);
    json_int(&w, -5);
    json_double(&w, 0.1);
    json_null(&w);
    json_begin_object(&w);
    json_end_object(&w);
    json_end_array(&w);
    json_put_bool(&w, "t", true);
    json_end_object(&w);
    assert_string_equal(buf_cstr(&b), "{\"a\\\"\":\"x\\u0000\\n\\\\\xEF\xBF\xBDü\",\"list\":[-5,0.1,null,{}],\"t\":true}");
}

/* A copy with the padding that json_scan needs. */
static struct str padded(struct buf *b, struct str text) {
    buf_clear(b);
    buf_str(b, text);
    buf_reserve(b, JSON_PADDING);
    return buf_view(b);
}

static void scanner_of_small_texts(void **state) {
    struct json_scanner *s = json_scanner_new(8);
    char text[8 + JSON_PADDING] = "{\"v\":1}";
    struct str value;
    assert_int_equal(json_scan(s, str_of(text), NULL), OK);
    assert_true(json_scan_path(s, STR("v"), &value) && str_is(value, "1"));
    json_scanner_free(&s);
}

static void json_accepts_and_refuses_the_same_as_the_letter(void **state) {
    struct json_scanner *s = json_scanner_new(1 << 20);
    BUF_SCOPE(b);
    const char *good[] = {"{}", "[]", " [1, 2.50, -0, 1e9, \"x\\u00e9\"] ", "{\"a\":{\"b\":[true,false,null]}}", "123456789012345678901234567890",
        "\"\\ud83d\\ude00\"", "-1.5E-3", "{\"a\":1,\"a\":2}"};
    const char *wrong[] = {"", "{", "[1,]", "{\"a\":}", "{\"a\" 1}", "01", "1.", "+1", "nul", "[1 2]", "\"a", "\"\x01\"", "\"\\x\"", "{a:1}", "[1]]",
        "\"\xFF\"", "{\"a\":1,}", "-", "1 2", "123456789012345678901234567890x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct err err = {0};
        assert_int_equal(json_scan(s, padded(&b, str_of(good[i])), &err), OK);
        assert_int_equal(json_validate(str_of(good[i]), JSON_DEPTH_MAX, &err), OK);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err err = {0};
        assert_int_not_equal(json_scan(s, padded(&b, str_of(wrong[i])), &err), OK);
        assert_int_not_equal(json_validate(str_of(wrong[i]), JSON_DEPTH_MAX, &err), OK);
        assert_true(err.text[0]);
    }
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    struct err err;
    assert_int_equal(json_scan(s, padded(&b, str_make(deep, 400)), &err), E_LIMIT);
    assert_int_equal(json_validate(str_make(deep, 400), JSON_DEPTH_MAX, &err), E_LIMIT);
    json_scanner_free(&s);
}

static void json_paths(void **state) {
    struct json_scanner *s = json_scanner_new(1 << 20);
    BUF_SCOPE(b);
    struct str out;
    struct str text = padded(&b,
        STR("{\"id\":820982911946154508,\"price\":\"12.30\",\"n\":12.30,\"c\":{\"name\":\"\\u0130zmir\"},\"items\":[{\"sku\":\"A\"},{\"sku\":7}],\"x\":null,"
            "\"t\":true}"));
    assert_int_equal(json_scan(s, text, NULL), OK);
    assert_true(json_scan_path(s, STR("id"), &out) && str_is(out, "820982911946154508"));
    assert_true(json_scan_path(s, STR("n"), &out) && str_is(out, "12.30"));
    assert_true(json_scan_path(s, STR("$.c.name"), &out) && str_is(out, "İzmir"));
    assert_true(json_scan_path(s, STR("items.1.sku"), &out) && str_is(out, "7"));
    assert_true(json_scan_path(s, STR("t"), &out) && str_is(out, "true"));
    assert_false(json_scan_path(s, STR("x"), &out));
    assert_false(json_scan_path(s, STR("c"), &out));
    assert_false(json_scan_path(s, STR("items.2.sku"), &out));
    assert_false(json_scan_path(s, STR("id.deeper"), &out));
    /* the same through the slow way */
    text = padded(&b, STR("{\"big\":123456789012345678901234567890,\"c\":{\"name\":\"\\u0130zmir\"}}"));
    assert_int_equal(json_scan(s, text, NULL), OK);
    assert_int_equal(json_scan_kind(s), '{');
    assert_true(json_scan_path(s, STR("big"), &out) && str_is(out, "123456789012345678901234567890"));
    assert_true(json_scan_path(s, STR("c.name"), &out) && str_is(out, "İzmir"));
    json_scanner_free(&s);
}

static void json_arrays_are_cut_into_raw_slices(void **state) {
    struct str *parts;
    size_t n;
    struct err err;
    assert_int_equal(json_split_array(STR(" [ {\"a\":\"]},\"} , 2 ,\"x,\\\"y\" ] "), 10, &parts, &n, &err), OK);
    assert_int_equal(n, 3);
    assert_true(str_is(parts[0], "{\"a\":\"]},\"}") && str_is(parts[1], "2") && str_is(parts[2], "\"x,\\\"y\""));
    free(parts);
    assert_int_equal(json_split_array(STR("[]"), 10, &parts, &n, &err), OK);
    assert_int_equal(n, 0);
    free(parts);
    assert_int_equal(json_split_array(STR("[1,2,3]"), 2, &parts, &n, &err), E_LIMIT);
    const char *wrong[] = {"", "{}", "[", "[1", "[1,", "[1 2]", "[1]x", "[\"a]", "[,]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(json_split_array(str_of(wrong[i]), 9, &parts, &n, &err), E_INVALID);
}

static void money_never_passes_through_a_double(void **state) {
    BUF_SCOPE(b);
    assert_true(json_number_at(STR("{\"a\":[{\"p\":0.10000000000000000000001}]}"), STR("a.0.p"), &b));
    assert_string_equal(buf_cstr(&b), "0.10000000000000000000001");
    buf_clear(&b);
    assert_true(json_number_at(STR("{\"p\":\" 12.30 \"}"), STR("$.p"), &b));
    assert_string_equal(buf_cstr(&b), "12.30");
    assert_false(json_number_at(STR("{\"p\":\"12,30\"}"), STR("p"), &b));
    assert_false(json_number_at(STR("{\"p\":{}}"), STR("p"), &b));
    assert_false(json_number_at(STR("{\"p\":1"), STR("q"), &b));
}

static struct metric requests = {.name = "cupel_test_requests_total", .help = "Requests.", .kind = METRIC_COUNTER, .labels = "route,code"};
static struct metric latency = {.name = "cupel_test_seconds", .help = "Time.", .kind = METRIC_HISTOGRAM, .labels = ""};

static void metrics_in_prometheus_text(void **state) {
    series_add(metric_series(&requests, "/a\"b", "200"), 2);
    series_add(metric_series(&requests, "/a\"b", "200"), 1);
    struct series *l = metric_series(&latency);
    for (int i = 0; i < 100; i++) series_observe(l, 0.0007);
    BUF_SCOPE(b);
    metrics_write(&b);
    assert_non_null(strstr(buf_cstr(&b), "cupel_test_requests_total{route=\"/a\\\"b\",code=\"200\"} 3\n"));
    assert_non_null(strstr(buf_cstr(&b), "cupel_test_seconds_bucket{le=\"0.001\"} 100\n"));
    assert_non_null(strstr(buf_cstr(&b), "cupel_test_seconds_count 100\n"));
    double p50 = series_quantile(l, 0.5);
    assert_true(p50 > 0.0005 && p50 <= 0.001);
}

static void catch_line(void *context, struct str line) { buf_str(context, line); }

static void log_lines_cannot_be_forged(void **state) {
    BUF_SCOPE(b);
    log_configure((struct log_options){.level = LOG_INFO, .quiet = true, .process = "test"});
    log_set_sink(catch_line, &b);
    log_info("base", "hello", LOG_INT("rows", 3), LOG_STR("name", "a\nb\"c"), NULL);
    log_debug("base", "not shown", NULL);
    log_set_sink(NULL, NULL);
    assert_non_null(
        strstr(buf_cstr(&b), "\"level\":\"info\",\"process\":\"test\",\"room\":\"base\",\"message\":\"hello\",\"rows\":3,\"name\":\"a\\nb\\\"c\"}\n"));
    assert_null(strstr(buf_cstr(&b), "not shown"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(error_text_is_cut_between_characters), cmocka_unit_test(errno_maps_to_status),
        cmocka_unit_test(arena_keeps_what_it_gave), cmocka_unit_test(numbers_refuse_what_is_not_one), cmocka_unit_test(utf8_by_the_letter),
        cmocka_unit_test(cutting_and_comparing), cmocka_unit_test(buffer_over_its_limit_fails_once_and_stays), cmocka_unit_test(text_for_people_cannot_steer),
        cmocka_unit_test(base64_and_hex), cmocka_unit_test(map_keeps_order_through_growth_and_removal), cmocka_unit_test(crc32c_vectors),
        cmocka_unit_test(times_read_and_write), cmocka_unit_test(event_id_is_its_own_address), cmocka_unit_test(json_writer_escapes),
        cmocka_unit_test(scanner_of_small_texts), cmocka_unit_test(json_accepts_and_refuses_the_same_as_the_letter), cmocka_unit_test(json_paths),
        cmocka_unit_test(json_arrays_are_cut_into_raw_slices), cmocka_unit_test(money_never_passes_through_a_double),
        cmocka_unit_test(metrics_in_prometheus_text), cmocka_unit_test(log_lines_cannot_be_forged)};
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
