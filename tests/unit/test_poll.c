/* poll_cut: which records an answer holds. The rest of polling is tested against real servers in tests/e2e/test_poll.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "connect/poll.h"

/* "record|record" or "!part of the error". */
static void expect(const char *body, const char *items, const char *wanted) {
    struct str *records;
    size_t n;
    struct err err = {0};
    BUF_SCOPE(got);
    if (poll_cut(str_of(body), items, &records, &n, &err) == OK) {
        for (size_t i = 0; i < n; i++) buf_printf(&got, "%s%.*s", i ? "|" : "", STR_ARG(records[i]));
        assert_string_equal(buf_cstr(&got), wanted);
    } else {
        assert_int_equal(wanted[0], '!');
        assert_non_null(strstr(err.text, wanted + 1));
        assert_null(records);
    }
    free(records);
}

static void test_shapes(void **state) {
    expect("{\"a\": 1.50}", NULL, "{\"a\": 1.50}"); /* bytes stay as they are */
    expect(" [ {\"a\":1} , {\"a\":2} ]\n", NULL, "{\"a\":1}|{\"a\":2}");
    expect("[]", NULL, "");
    expect("", NULL, "");
    expect(" \n", NULL, "");
    expect("\xEF\xBB\xBF[1]", NULL, "1");
    expect("{\"data\":{\"items\":[{\"x\":1}]}}", "data.items", "{\"x\":1}");
    expect("{\"data\":{\"x\":1}}", "data", "{\"x\":1}");
    expect("{\"data\":null}", "data", "");
}

static void test_refused(void **state) {
    expect("<html>", NULL, "!neither a JSON object nor a list");
    expect("null", NULL, "!neither");
    expect("5", NULL, "!neither");
    expect("[{\"a\":1},", NULL, "!not JSON");
    expect("[{\"a\":1}] x", NULL, "!not JSON");
    expect("{\"a\":\"\xff\"}", NULL, "!not JSON");
    expect("{\"a\":1}", "b.c", "!has no \"b.c\"");
    expect("{\"a\":1}", "a", "!neither an object nor a list");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
