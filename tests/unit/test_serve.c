/* Small files of the data folder, log files with rotation, the API description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "serve/node_priv.h"

static struct host host;
static char *dir;

static int set_up(void **state) {
    uint64_t random;
    host = host_default();
    host_random(&random, sizeof random);
    const char *parent = getenv("TMPDIR");
    dir = mem_printf("%s/cupel-test-serve-%016llx", parent ? parent : "/tmp", (unsigned long long)random);
    return fs_mkdirs(host.fs, dir, NULL) == OK ? 0 : -1;
}

static int tear_down(void **state) {
    fs_remove_tree(host.fs, dir, NULL);
    free(dir);
    return 0;
}

static void put_file(const char *name, const char *text) {
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    assert_int_equal(fs_write_atomic(host.fs, path, str_of(text), NULL), OK);
}

static bool has_file(const char *name) {
    AUTO_FREE char *path = mem_printf("%s/%s", dir, name);
    return fs_exists(host.fs, path);
}

static void server_file_comes_back(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    struct server_file file, written = {.address = "127.0.0.1:8080", .version = "1.2.3", .tls = true, .pid = 4711, .started_ms = 1700000000123};
    assert_int_equal(server_file_read(&host, arena, dir, &file, &err), E_NOT_FOUND);
    assert_int_equal(server_file_write(&host, dir, &written, &err), OK);
    assert_int_equal(server_file_read(&host, arena, dir, &file, &err), OK);
    assert_string_equal(file.address, "127.0.0.1:8080");
    assert_string_equal(file.version, "1.2.3");
    assert_true(file.tls);
    assert_int_equal(file.pid, 4711);
    assert_int_equal(file.started_ms, 1700000000123);
    put_file("server.json", "{\"address\": 7");
    assert_int_equal(server_file_read(&host, arena, dir, &file, &err), E_CORRUPT);
    assert_string_equal(file.version, "1.2.3"); /* untouched */
    server_file_remove(&host, dir);
    assert_false(has_file("server.json"));
}

static void data_format_is_checked(void **state) {
    struct err err;
    assert_int_equal(data_format_ensure(&host, dir, &err), OK);
    assert_true(has_file("format"));
    assert_int_equal(data_format_ensure(&host, dir, &err), OK);
    put_file("format", "99\n");
    assert_int_equal(data_format_ensure(&host, dir, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "format 99"));
    put_file("format", "one\n");
    assert_int_equal(data_format_ensure(&host, dir, &err), E_CORRUPT);
    put_file("format", "0\n");
    assert_int_equal(data_format_ensure(&host, dir, &err), E_CORRUPT);
    AUTO_FREE char *path = mem_printf("%s/format", dir);
    assert_int_equal(host.fs->unlink(host.fs->self, path, NULL), OK);
    put_file("ledger.db", "x");
    assert_int_equal(data_format_ensure(&host, dir, &err), E_CORRUPT); /* a folder in use without its version */
}

static struct log_sink *open_sink(uint64_t file_bytes, uint64_t files) {
    struct log_sink *sink = NULL;
    struct err err;
    struct log_sink_options options = {.host = &host, .data_dir = dir, .file_bytes = file_bytes, .files = files};
    assert_int_equal(log_sink_open(&options, &sink, &err), OK);
    log_configure((struct log_options){.level = LOG_DEBUG, .quiet = true, .process = "test"});
    log_sink_attach(sink);
    return sink;
}

static size_t count_lines(struct log_query query, struct buf *out) {
    struct err err;
    size_t n = 0;
    buf_clear(out);
    assert_int_equal(log_sink_read(&host, dir, &query, out, &err), OK);
    for (size_t i = 0; i < out->n; i++) n += out->p[i] == '\n';
    return n;
}

static void logs_are_found_again(void **state) {
    BUF_SCOPE(out);
    struct log_sink *sink = open_sink(1u << 20, 3);
    log_debug("test", "one", LOG_INT("n", 1), NULL);
    log_info("test", "two", LOG_STR("event", "019e2c1a-7d00-7001-8000-000000000040"), NULL);
    log_warn("test", "three", LOG_STR("text", "a \"quoted\"\nline"), NULL);
    log_sink_close(&sink);
    log_warn("test", "nobody listens any more", NULL);
    assert_int_equal(count_lines((struct log_query){0}, &out), 3);
    assert_int_equal(count_lines((struct log_query){.level = LOG_WARN}, &out), 1);
    assert_int_equal(count_lines((struct log_query){.event = "019e2c1a-7d00-7001-8000-000000000040"}, &out), 1);
    assert_int_equal(count_lines((struct log_query){.since_us = host_wall_us(&host) + 3600000000}, &out), 0);
    assert_int_equal(count_lines((struct log_query){.since_us = host_wall_us(&host) - 3600000000}, &out), 3);
    assert_int_equal(count_lines((struct log_query){.limit = 2}, &out), 2);
    assert_true(str_find(buf_view(&out), STR("\"one\"")) < 0); /* the last two */
    sink = open_sink(1u << 20, 3);
    log_info("test", "four", NULL);
    log_sink_close(&sink);
    assert_int_equal(count_lines((struct log_query){0}, &out), 4); /* appended, not begun anew */
}

static void logs_rotate_by_size(void **state) {
    BUF_SCOPE(out);
    struct log_sink *sink = open_sink(2000, 2);
    for (int i = 0; i < 100; i++) log_info("test", "line", LOG_INT("number", i), NULL);
    log_sink_close(&sink);
    assert_true(has_file("logs/cupel.ndjson") && has_file("logs/cupel.ndjson.1") && has_file("logs/cupel.ndjson.2"));
    assert_false(has_file("logs/cupel.ndjson.3"));
    size_t n = count_lines((struct log_query){0}, &out);
    assert_in_range(n, 20, 80); /* old ones went */
    struct str rest = buf_view(&out), last = STR_NULL;
    int64_t before = -1;
    while (rest.n > 0) { /* oldest first, without gaps, up to the newest */
        struct str number;
        int64_t value;
        last = str_cut(&rest, '\n');
        assert_true(json_raw_at(last, STR("number"), &number) && str_to_i64(number, &value));
        assert_true(before < 0 || value == before + 1);
        before = value;
    }
    assert_int_equal(before, 99);
}

static void nothing_handles(void *context, struct http_request *r) {}

static void openapi_has_every_route(void **state) {
    static const struct http_route routes[] = {
        {"GET", "/v1/things/{thing}", nothing_handles, NULL, .operation = "showThing", .summary = "A \"thing\"", .access = ACCESS_READ},
        {"DELETE", "/v1/things/{thing}", nothing_handles, NULL, .operation = "deleteThing", .summary = "Gone", .access = ACCESS_ADMIN},
        {"GET", "/v1/events", nothing_handles, NULL, .operation = "listEvents", .summary = "Events", .access = ACCESS_OPEN},
    };
    BUF_SCOPE(out);
    struct str raw;
    struct err err;
    openapi_write(routes, 3, &out);
    assert_int_equal(json_validate(buf_view(&out), JSON_DEPTH_MAX, &err), OK);
    assert_true(json_raw_at(buf_view(&out), STR("paths./v1/things/{thing}.get.parameters.0.name"), &raw) && str_is(raw, "\"thing\""));
    assert_true(json_raw_at(buf_view(&out), STR("paths./v1/things/{thing}.delete.operationId"), &raw) && str_is(raw, "\"deleteThing\""));
    assert_true(json_raw_at(buf_view(&out), STR("paths./v1/events.get.parameters.0.in"), &raw) && str_is(raw, "\"query\""));
    assert_true(json_raw_at(buf_view(&out), STR("paths./v1/events.get.security"), &raw) && str_is(raw, "[]"));
    assert_true(json_raw_at(buf_view(&out), STR("components.schemas.Problem.type"), &raw));
}

static void names_are_quoted_for_sql(void **state) {
    BUF_SCOPE(out);
    sql_quote_text(&out, STR("it's"));
    sql_quote_name(&out, STR("a\"b"));
    assert_string_equal(buf_cstr(&out), "'it''s'\"a\"\"b\"");
}

static void table_names_are_split(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    const char *schema, *name;
    static const char *const wrong[] = {"", "orders", ".orders", "bronze.", "a.b.c", "."};
    assert_int_equal(table_split(arena, STR("bronze.orders"), &schema, &name, &err), OK);
    assert_string_equal(schema, "bronze");
    assert_string_equal(name, "orders");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) assert_int_equal(table_split(arena, str_of(wrong[i]), &schema, &name, &err), E_INVALID);
    assert_int_equal(table_split(arena, str_make("bronze.a\0b", 10), &schema, &name, &err), E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(server_file_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(data_format_is_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logs_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(logs_rotate_by_size, set_up, tear_down),
        cmocka_unit_test(openapi_has_every_route),
        cmocka_unit_test(names_are_quoted_for_sql),
        cmocka_unit_test(table_names_are_split),
    };
    return cmocka_run_group_tests_name("serve", tests, NULL, NULL);
}
