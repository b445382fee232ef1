/* Avro: what is written comes back; what others write (zstandard, unknown fields, negative run lengths) is read; damage and bombs are errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "lake/avro.h"

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"all\",\"fields\":["
    "{\"name\":\"n\",\"type\":\"null\",\"field-id\":1},{\"name\":\"b\",\"type\":\"boolean\",\"field-id\":2},{\"name\":\"i\",\"type\":\"int\",\"field-id\":3},"
    "{\"name\":\"l\",\"type\":\"long\",\"field-id\":4},{\"name\":\"f\",\"type\":\"float\",\"field-id\":5},{\"name\":\"d\",\"type\":\"double\",\"field-id\":6},"
    "{\"name\":\"y\",\"type\":\"bytes\",\"field-id\":7},{\"name\":\"s\",\"type\":\"string\",\"field-id\":8},"
    "{\"name\":\"e\",\"type\":{\"type\":\"enum\",\"name\":\"suit\",\"symbols\":[\"A\",\"B\"]},\"field-id\":9},"
    "{\"name\":\"x\",\"type\":{\"type\":\"fixed\",\"name\":\"two\",\"size\":2},\"field-id\":10},"
    "{\"name\":\"a\",\"type\":{\"type\":\"array\",\"items\":\"long\"},\"field-id\":11},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":\"string\"},"
    "\"field-id\":12},"
    "{\"name\":\"u\",\"type\":[\"null\",\"two\",\"long\"],\"field-id\":13},{\"name\":\"plain\",\"type\":\"long\"}]}";

static void put_record(struct buf *b, int64_t n) {
    float f = 1.5f;
    double d = -2.25;
    avro_put_bool(b, true);
    avro_put_long(b, -7);
    avro_put_long(b, INT64_MIN + n);
    buf_put(b, &f, 4);
    buf_put(b, &d, 8);
    avro_put_bytes(b, STR("\0\1"));
    avro_put_text(b, "väter");
    avro_put_long(b, 1);
    buf_put(b, "xy", 2);
    avro_put_long(b, 2); /* array: two items, then a run of one with its size, then the end */
    avro_put_long(b, 10);
    avro_put_long(b, 11);
    avro_put_long(b, -1);
    avro_put_long(b, 1);
    avro_put_long(b, 12);
    avro_put_long(b, 0);
    avro_put_long(b, 1);
    avro_put_text(b, "k");
    avro_put_text(b, "v");
    avro_put_long(b, 0);
    avro_put_long(b, 2);
    avro_put_long(b, n);
    avro_put_long(b, 99);
}

static void check_record(const struct avro_value *v, int64_t n) {
    assert_true(avro_is_null(avro_field(v, 1, NULL)));
    assert_true(avro_field(v, 2, NULL)->boolean);
    assert_int_equal(avro_field(v, 3, NULL)->integer, -7);
    assert_true(avro_field(v, 4, NULL)->integer == INT64_MIN + n);
    assert_true(avro_field(v, 5, NULL)->real == 1.5 && avro_field(v, 6, NULL)->real == -2.25);
    assert_true(str_eq(avro_field(v, 7, NULL)->bytes, STR("\0\1")));
    assert_true(str_is(avro_field(v, 8, NULL)->bytes, "väter"));
    assert_int_equal(avro_field(v, 9, NULL)->integer, 1);
    assert_true(str_is(avro_field(v, 10, NULL)->bytes, "xy"));
    const struct avro_value *a = avro_field(v, 11, NULL), *m = avro_field(v, 12, NULL);
    assert_int_equal(a->n, 3);
    assert_int_equal(a->values[2].integer, 12);
    assert_int_equal(m->n, 2);
    assert_true(str_is(m->values[1].bytes, "v"));
    assert_int_equal(avro_field(v, 13, NULL)->integer, n);
    assert_int_equal(avro_field(v, 555, "plain")->integer, 99); /* without an id: by name */
    assert_null(avro_field(v, 555, "n")); /* with another id: not by name */
}

static void make_file(struct buf *out, bool deflated, int records_a_block, int blocks) {
    const struct str meta[] = {STR("who"), STR("test")};
    struct avro_writer writer;
    avro_begin(&writer, out, schema, deflated, meta, 1);
    int64_t n = 0;
    for (int k = 0; k < blocks; k++) {
        BUF_SCOPE(block);
        for (int i = 0; i < records_a_block; i++) put_record(&block, n++);
        avro_put_block(&writer, buf_view(&block), records_a_block);
    }
}

/* Reads all; the status of the first failure, or OK and *records. */
static enum status read_all(struct str bytes, struct avro_limits limits, int64_t *records, bool check, struct err *err) {
    ARENA_SCOPE(arena);
    struct avro_reader reader;
    enum status s = avro_open(&reader, arena, bytes, limits, err);
    if (s) return s;
    if (check) assert_true(str_is(avro_meta(&reader, "who"), "test") && !avro_meta(&reader, "nothing").p);
    for (*records = 0;; ++*records) {
        struct avro_value v;
        bool got;
        if ((s = avro_next(&reader, &v, &got, err)) || !got) return s;
        if (check) check_record(&v, *records);
    }
}

static void round_trip(void **state) {
    for (int deflated = 0; deflated < 2; deflated++) {
        BUF_SCOPE(file);
        make_file(&file, deflated, 50, 3);
        int64_t records;
        struct err err = {0};
        if (read_all(buf_view(&file), (struct avro_limits){0}, &records, true, &err)) fail_msg("%s", err.text);
        assert_int_equal(records, 150);
    }
}

/* Every cut and every changed byte is an error or other records, never a crash (run under ASan) and never more memory than the limits. */
static void damage(void **state) {
    for (int deflated = 0; deflated < 2; deflated++) {
        BUF_SCOPE(file);
        make_file(&file, deflated, 2, 2);
        struct avro_limits limits = {.block_bytes = 1 << 20, .values = 10000};
        int64_t records;
        size_t whole = 0;
        for (size_t n = 0; n < file.n; n++) {
            char *copy = malloc(n ? n : 1); /* exactly n bytes: a read beyond is seen */
            memcpy(copy, file.p, n);
            whole += read_all(str_make(copy, n), limits, &records, false, NULL) == OK;
            free(copy);
        }
        assert_in_range(whole, 0, 2); /* only cuts between blocks look like an end */
        for (size_t i = 0; i < file.n; i++) {
            for (int bit = 0; bit < 8; bit++) {
                file.p[i] = (char)(file.p[i] ^ (1 << bit));
                read_all(buf_view(&file), limits, &records, false, NULL);
                file.p[i] = (char)(file.p[i] ^ (1 << bit));
            }
        }
    }
}

static void put_header(struct buf *out, const char *schema_json, const char *codec) {
    buf_put(out, "Obj\1", 4);
    avro_put_long(out, 2);
    avro_put_text(out, "avro.schema");
    avro_put_text(out, schema_json);
    avro_put_text(out, "avro.codec");
    avro_put_text(out, codec);
    avro_put_long(out, 0);
    buf_put(out, "0123456789abcdef", 16);
}

static void put_packed(struct buf *out, int64_t records, const void *bytes, size_t n) {
    avro_put_long(out, records);
    avro_put_bytes(out, str_make(bytes, n));
    buf_put(out, "0123456789abcdef", 16);
}

static void zstandard(void **state) {
    BUF_SCOPE(plain);
    for (int i = 0; i < 1000; i++) avro_put_long(&plain, i);
    size_t room = ZSTD_compressBound(plain.n);
    char *packed = malloc(room);
    size_t n = ZSTD_compress(packed, room, plain.p, plain.n, 3);
    BUF_SCOPE(file);
    put_header(&file, "\"long\"", "zstandard");
    put_packed(&file, 1000, packed, n);
    free(packed);
    int64_t records;
    struct err err = {0};
    if (read_all(buf_view(&file), (struct avro_limits){0}, &records, false, &err)) fail_msg("%s", err.text);
    assert_int_equal(records, 1000);
}

static void bombs(void **state) {
    struct err err = {0};
    int64_t records;
    struct avro_limits limits = {.block_bytes = 1 << 20, .values = 100000};
    { /* 64 MiB of zeros in a few KiB of deflate */
        size_t n = 64 << 20;
        char *zeros = calloc(1, n);
        z_stream z = {0};
        deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
        size_t room = deflateBound(&z, n);
        char *packed = malloc(room);
        z.next_in = (Bytef *)zeros;
        z.avail_in = (uInt)n;
        z.next_out = (Bytef *)packed;
        z.avail_out = (uInt)room;
        deflate(&z, Z_FINISH);
        size_t size = room - z.avail_out;
        deflateEnd(&z);
        BUF_SCOPE(file);
        put_header(&file, "\"long\"", "deflate");
        put_packed(&file, 10, packed, size);
        free(zeros);
        free(packed);
        assert_int_equal(read_all(buf_view(&file), limits, &records, false, &err), E_LIMIT);
        assert_non_null(strstr(err.text, "1048576"));
    }
    { /* a list of 2^40 nulls takes no bytes */
        BUF_SCOPE(block);
        avro_put_long(&block, INT64_C(1) << 40);
        BUF_SCOPE(file);
        put_header(&file, "{\"type\":\"array\",\"items\":\"null\"}", "null");
        put_packed(&file, 1, block.p, block.n);
        assert_int_equal(read_all(buf_view(&file), limits, &records, false, &err), E_LIMIT);
    }
    { /* 2^40 records of nothing */
        BUF_SCOPE(file);
        put_header(&file, "{\"type\":\"record\",\"name\":\"r\",\"fields\":[]}", "null");
        put_packed(&file, INT64_C(1) << 40, "", 0);
        assert_int_equal(read_all(buf_view(&file), limits, &records, false, &err), E_LIMIT);
    }
}

static void wrong_schemas(void **state) {
    static const struct {
        const char *json;
        enum status status;
        const char *says;
    } cases[] = {
        {"{", E_CORRUPT, "not JSON"},
        {"42", E_CORRUPT, "neither"},
        {"\"decimal\"", E_CORRUPT, "unknown type decimal"},
        {"[]", E_CORRUPT, "without branches"},
        {"[[\"null\"]]", E_CORRUPT, "within a union"},
        {"{\"type\":\"record\",\"name\":\"r\"}", E_CORRUPT, "without fields"},
        {"{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"x\",\"type\":\"r\"}]}", E_CORRUPT, "unknown type r"}, /* recursion */
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":-1}", E_CORRUPT, "fixed"},
        {"{\"type\":\"fixed\",\"name\":\"f\",\"size\":99999999999}", E_CORRUPT, "fixed"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ARENA_SCOPE(arena);
        struct avro_schema *out = NULL;
        struct err err = {0};
        assert_int_equal(avro_schema_parse(arena, str_of(cases[i].json), &out, &err), cases[i].status);
        assert_null(out);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s: %s", cases[i].json, err.text);
    }
    BUF_SCOPE(deep);
    for (int i = 0; i < 100; i++) buf_text(&deep, "{\"type\":\"array\",\"items\":");
    buf_text(&deep, "\"int\"");
    for (int i = 0; i < 100; i++) buf_text(&deep, "}");
    ARENA_SCOPE(arena);
    struct avro_schema *out;
    assert_int_equal(avro_schema_parse(arena, buf_view(&deep), &out, NULL), E_LIMIT);
}

static void unknown_codec(void **state) {
    BUF_SCOPE(file);
    put_header(&file, "\"long\"", "snappy");
    struct err err = {0};
    int64_t records;
    assert_int_equal(read_all(buf_view(&file), (struct avro_limits){0}, &records, false, &err), E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "snappy"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(damage),
        cmocka_unit_test(zstandard),
        cmocka_unit_test(bombs),
        cmocka_unit_test(wrong_schemas),
        cmocka_unit_test(unknown_codec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
