/* Cutting bodies into records, and protection of fields: pure functions over bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/json.h"
#include "ingest/protect.h"
#include "ingest/records.h"

static const struct record_limits limits = {.record_bytes_max = 1000, .records_max = 5};

static struct str padded(struct arena *arena, struct str text) {
    char *p = arena_zalloc(arena, text.n + JSON_PADDING);
    if (text.n) memcpy(p, text.p, text.n);
    return (struct str){p, text.n};
}

static enum status cut(struct arena *arena, enum body_kind kind, struct str body, struct record_list *out, struct err *err) {
    *out = (struct record_list){0};
    return records_cut(kind, padded(arena, body), &limits, arena, out, err);
}

static void kinds(void **state) {
    assert_int_equal(body_kind_of(STR("")), BODY_JSON);
    assert_int_equal(body_kind_of(STR("application/json")), BODY_JSON);
    assert_int_equal(body_kind_of(STR("application/cloudevents+json")), BODY_JSON);
    assert_int_equal(body_kind_of(STR("application/x-ndjson")), BODY_NDJSON);
    assert_int_equal(body_kind_of(STR("application/jsonl")), BODY_NDJSON);
    assert_int_equal(body_kind_of(STR("text/csv")), BODY_RAW);
}

static void lines(void **state) {
    ARENA_SCOPE(arena);
    struct record_list list;
    struct err err;
    assert_int_equal(cut(arena, BODY_NDJSON, STR("{\"a\":1}\n{\"a\":2}\r\n\n  \t \r\n  {\"a\" : 3}  \r\n{\"a\":4}"), &list, &err), OK);
    const char *texts[] = {"{\"a\":1}", "{\"a\":2}", "{\"a\" : 3}", "{\"a\":4}"};
    const uint32_t numbers[] = {1, 2, 5, 6};
    assert_int_equal(list.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(str_is(list.list[i].text, texts[i]));
        assert_int_equal(list.list[i].line, numbers[i]);
    }
    assert_int_equal(cut(arena, BODY_NDJSON, STR("\xEF\xBB\xBF{\"a\":1}\n"), &list, &err), OK); /* a mark at the very beginning is not content */
    assert_true(str_is(list.list[0].text, "{\"a\":1}"));
    assert_int_equal(cut(arena, BODY_NDJSON, STR(""), &list, &err), E_INVALID);
    assert_int_equal(cut(arena, BODY_NDJSON, STR("\n\r\n \n"), &list, &err), E_INVALID);
    assert_int_equal(cut(arena, BODY_NDJSON, STR("\xEF\xBB\xBF"), &list, &err), E_INVALID);
    assert_int_equal(cut(arena, BODY_NDJSON, STR("1\n2\n3\n4\n5\n"), &list, &err), OK);
    assert_int_equal(cut(arena, BODY_NDJSON, STR("1\n2\n3\n4\n5\n6"), &list, &err), E_LIMIT);
    assert_non_null(strstr(err.text, "5 records"));
}

static void arrays_and_objects(void **state) {
    ARENA_SCOPE(arena);
    struct record_list list;
    struct err err;
    assert_int_equal(cut(arena, BODY_JSON, STR(" [ {\"a\":\"],[\"} , {\"b\":[1,2]} ] \n"), &list, &err), OK);
    assert_int_equal(list.n, 2);
    assert_true(str_is(list.list[0].text, "{\"a\":\"],[\"}"));
    assert_true(str_is(list.list[1].text, "{\"b\":[1,2]}"));
    assert_int_equal(cut(arena, BODY_JSON, STR("[]"), &list, &err), OK);
    assert_int_equal(list.n, 0);
    assert_int_equal(cut(arena, BODY_JSON, STR("  {\"a\":1}\n"), &list, &err), OK);
    assert_true(str_is(list.list[0].text, "{\"a\":1}"));
    assert_int_equal(cut(arena, BODY_JSON, STR("[{},{},{},{},{},{}]"), &list, &err), E_LIMIT);
    const char *broken[] = {"[{}", "[{},]", "[{} {}]", "[{}] x", "[", "   "};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) assert_int_equal(cut(arena, BODY_JSON, str_of(broken[i]), &list, &err), E_INVALID);
    assert_int_equal(cut(arena, BODY_RAW, STR("\xEF\xBB\xBF\x00 raw\n"), &list, &err), OK); /* raw stays as it is, mark and all */
    assert_int_equal(list.list[0].text.n, 9);
}

static enum status check(struct arena *arena, struct str text, struct err *err) {
    struct json_scanner *scanner = json_scanner_new(1 << 20);
    enum status st = record_check(scanner, padded(arena, text), &limits, false, err);
    json_scanner_free(&scanner);
    return st;
}

static void records_are_checked(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    assert_int_equal(check(arena, STR("{\"a\":12345678901234567890123}"), &err), OK); /* numbers of any size */
    const struct {
        struct str text;
        const char *part;
    } bad[] = {
        {STR("[1]"), "an array"},
        {STR("\"x\""), "a string"},
        {STR("12"), "a number"},
        {STR("null"), "null"},
        {STR("{\"a\":}"), "byte 5"},
        {STR("{\"a\":1} x"), "byte 8"},
        {STR("{\"a\":\"\xff\"}"), "byte 6"},
        {STR("{\"a\":\"\xed\xa0\x80\"}"), "byte 6"},
        {STR("{\"a\":\"\x00\"}"), "byte 6"},
        {STR("{\"a\":\"\n\"}"), "byte 6"},
        {STR("\xEF\xBB\xBF{}"), "byte 0"},
        {STR("{'a':1}"), "byte 1"},
        {STR("{\"a\":NaN}"), "byte 5"},
        {STR("{\"a\":01}"), "byte"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(check(arena, bad[i].text, &err), E_INVALID);
        if (!strstr(err.text, bad[i].part)) fail_msg("case %zu: %s", i, err.text);
    }
    char deep[400];
    for (int levels = 128; levels <= 129; levels++) {
        memset(deep, '[', sizeof deep);
        size_t n = 5;
        memcpy(deep, "{\"a\":", 5);
        for (int i = 1; i < levels; i++) deep[n++] = '[';
        for (int i = 1; i < levels; i++) deep[n++] = ']';
        deep[n++] = '}';
        assert_int_equal(check(arena, str_make(deep, n), &err), levels == 128 ? OK : E_LIMIT);
    }
    assert_non_null(strstr(err.text, "128"));
    char *large = arena_alloc(arena, 1001);
    memset(large, ' ', 1001);
    assert_int_equal(check(arena, str_make(large, 1001), &err), E_LIMIT);
    assert_non_null(strstr(err.text, "1000"));
}

/* ---- protection ---- */

static const uint8_t secret_bytes[32] = "0123456789abcdef0123456789abcdef";
static const struct str secret = {(const char *)secret_bytes, 32};

static char *protect(struct arena *arena, const char *path, enum config_policy policy, const char *json) {
    struct config_protect paths[] = {{.path = path, .policy = policy}};
    struct protect_rules rules;
    struct err err;
    BUF_SCOPE(out);
    bool changed = false;
    if (protect_compile(paths, 1, arena, &rules, &err) != OK) fail_msg("%s", err.text);
    if (protect_apply(&rules, str_of(json), secret, &out, &changed, &err) != OK) fail_msg("%s", err.text);
    assert_int_equal(changed, !str_is(buf_view(&out), json));
    return arena_strndup(arena, out.p, out.n);
}

static void masks_only_what_is_named(void **state) {
    const struct {
        const char *path, *in, *out;
    } cases[] = {
        {"email", "{\"email\":\"a@b.c\",\"x\":1}", "{\"email\":\"***\",\"x\":1}"},
        {"$.email", " { \"email\" :\t\"a@b.c\" } ", " { \"email\" :\t\"***\" } "},
        {"email", "{\"x\":{\"email\":\"a\"}}", "{\"x\":{\"email\":\"a\"}}"},
        {"customer.email", "{\"customer\":{\"id\":1,\"email\":\"a\"},\"email\":\"b\"}", "{\"customer\":{\"id\":1,\"email\":\"***\"},\"email\":\"b\"}"},
        {"items.*.email", "{\"items\":[{\"email\":\"a\"},{\"email\":\"b\"},3]}", "{\"items\":[{\"email\":\"***\"},{\"email\":\"***\"},3]}"},
        {"items.email", "{\"items\":[{\"email\":\"a\"},[{\"email\":\"b\"}]]}", "{\"items\":[{\"email\":\"***\"},[{\"email\":\"***\"}]]}"},
        {"items.1.email", "{\"items\":[{\"email\":\"a\"},{\"email\":\"b\"}]}", "{\"items\":[{\"email\":\"a\"},{\"email\":\"***\"}]}"},
        {"*.email", "{\"a\":{\"email\":1},\"b\":{\"email\":2}}", "{\"a\":{\"email\":\"***\"},\"b\":{\"email\":\"***\"}}"},
        {"email", "[{\"email\":\"a\"},{\"email\":\"b\"}]", "[{\"email\":\"***\"},{\"email\":\"***\"}]"},
        {"email", "{\"email\":null,\"a\":2}", "{\"email\":null,\"a\":2}"},
        {"email", "{\"email\":12.50,\"a\":true}", "{\"email\":\"***\",\"a\":true}"},
        {"email", "{\"email\":{\"a\":[\"}\"]},\"b\":[]}", "{\"email\":\"***\",\"b\":[]}"},
        {"email", "{\"email\":\"a\",\"email\":\"b\"}", "{\"email\":\"***\",\"email\":\"***\"}"}, /* a name that comes twice */
        {"email", "{\"em\\u0061il\":\"a\"}", "{\"em\\u0061il\":\"***\"}"}, /* a name in disguise */
        {"email", "{\"email\":\"a\\\"}\",\"b\":1}", "{\"email\":\"***\",\"b\":1}"},
        {"a.b.c", "{\"a\":{\"b\":{\"c\":\"x\",\"d\":\"\xc3\xa9\"}}}", "{\"a\":{\"b\":{\"c\":\"***\",\"d\":\"\xc3\xa9\"}}}"},
        {"email", "\"email\"", "\"email\""},
        {"email", "{}", "{}"},
    };
    ARENA_SCOPE(arena);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = protect(arena, cases[i].path, PROTECT_MASK, cases[i].in);
        if (strcmp(out, cases[i].out) != 0) fail_msg("case %zu: %s", i, out);
    }
}

static void tokens_are_stable(void **state) {
    ARENA_SCOPE(arena);
    char *a = protect(arena, "e", PROTECT_TOKENISE, "{\"e\":\"a@b.c\"}"), *b = protect(arena, "e", PROTECT_TOKENISE, "{\"e\":\"a\\u0040b.c\"}");
    char *c = protect(arena, "e", PROTECT_TOKENISE, "{\"e\":\"a@b.d\"}"), *n = protect(arena, "e", PROTECT_TOKENISE, "{\"e\":42}");
    assert_string_equal(a, b); /* the same value written in two ways */
    assert_string_not_equal(a, c);
    assert_null(strstr(a, "a@b.c"));
    assert_true(str_starts(str_of(a), STR("{\"e\":\"tok_")));
    assert_int_equal(strlen(a), strlen("{\"e\":\"\"}") + 4 + 32);
    BUF_SCOPE(token);
    protect_token(secret, STR("42"), &token);
    assert_non_null(strstr(n, buf_cstr(&token)));
    uint8_t other[32] = {1};
    BUF_SCOPE(under_other_key);
    protect_token(str_make(other, 32), STR("42"), &under_other_key);
    assert_false(str_eq(buf_view(&token), buf_view(&under_other_key)));
    protect_token(secret, STR("\xf0\x9f\x98\x80"), &token);
    char *emoji = protect(arena, "e", PROTECT_TOKENISE, "{\"e\":\"\\ud83d\\ude00\"}");
    assert_non_null(strstr(emoji, buf_cstr(&token) + 36));
}

static void rules_are_checked(void **state) {
    ARENA_SCOPE(arena);
    struct protect_rules rules;
    struct err err;
    const struct config_protect encrypt = {.path = "email", .policy = PROTECT_ENCRYPT}, empty = {.path = "a..b", .policy = PROTECT_MASK};
    assert_int_equal(protect_compile(&encrypt, 1, arena, &rules, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "email: encrypt is not supported yet"));
    assert_int_equal(protect_compile(&empty, 1, arena, &rules, &err), E_CONFIG);
    const struct config_protect good[] = {{.path = "customer", .policy = PROTECT_MASK}, {.path = "items.*.mail", .policy = PROTECT_MASK}};
    assert_int_equal(protect_compile(good, 2, arena, &rules, &err), OK);
    assert_true(protect_covers(&rules, STR("customer")));
    assert_true(protect_covers(&rules, STR("$.customer.id"))); /* below a protected object */
    assert_true(protect_covers(&rules, STR("items.0.mail")));
    assert_false(protect_covers(&rules, STR("items.0.id")));
    assert_false(protect_covers(&rules, STR("custom")));
}

static void broken_payloads_are_refused(void **state) {
    ARENA_SCOPE(arena);
    const struct config_protect path = {.path = "a.b", .policy = PROTECT_MASK};
    struct protect_rules rules;
    assert_int_equal(protect_compile(&path, 1, arena, &rules, NULL), OK);
    const char *broken[] = {"", "{", "{\"a\"", "{\"a\":", "{\"a\":{\"b\":\"x", "{\"a\":{\"b\":\"x\"}", "{\"a\":1}}", "[1,", "{\"a\" 1}", "{\"a\":{\"b\":[}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        BUF_SCOPE(out);
        bool changed = false;
        struct err err;
        if (protect_apply(&rules, str_of(broken[i]), secret, &out, &changed, &err) != E_INVALID) fail_msg("case %zu was taken", i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(lines),
        cmocka_unit_test(arrays_and_objects),
        cmocka_unit_test(records_are_checked),
        cmocka_unit_test(masks_only_what_is_named),
        cmocka_unit_test(tokens_are_stable),
        cmocka_unit_test(rules_are_checked),
        cmocka_unit_test(broken_payloads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
