/* Signatures against published vectors, and decompression with its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "http/decode.h"
#include "http/signature.h"

#define VECTOR_SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define VECTOR_SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define VECTOR_TIME INT64_C(1614265330)
#define MINUTES(n) ((int64_t)(n)*60000)

static const struct str vector_body = {"{\"test\": 2432232314}", 20};

static enum status standard(const char *secret, const char *time, const char *signature, int64_t now_s, struct err *err) {
    struct str list[] = {str_of(secret)};
    struct standard_webhook headers = {STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), str_of(time), str_of(signature)};
    return signature_check_standard((struct secrets){list, 1}, &headers, vector_body, now_s * 1000, MINUTES(5), err);
}

/* RFC 4231, test cases 1, 2 and 6 (a key longer than a block). */
static void hmac_vectors(void **state) {
    char key1[20], key6[131];
    memset(key1, 0x0b, sizeof key1);
    memset(key6, 0xaa, sizeof key6);
    const struct {
        struct str key, text;
        const char *hex;
    } cases[] = {
        {{key1, 20}, STR("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {STR("Jefe"), STR("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {{key6, 131}, STR("Test Using Larger Than Block-Size Key - Hash Key First"), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t mac[SIGNATURE_BYTES];
        struct str halves[] = {str_head(cases[i].text, 3), str_from(cases[i].text, 3)};
        BUF_SCOPE(hex);
        hmac_sha256(cases[i].key, halves, 2, mac);
        buf_hex(&hex, str_make(mac, sizeof mac));
        assert_true(str_is(buf_view(&hex), cases[i].hex));
    }
}

static void standard_webhooks_vector(void **state) {
    struct err err;
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME, &err), OK);
    assert_int_equal(standard(VECTOR_SECRET + 6, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME, &err), OK);
    const char *several = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= " VECTOR_SIGNATURE;
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", several, VECTOR_TIME, &err), OK);
}

static void standard_webhooks_refusals(void **state) {
    struct err err;
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=", VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", "", VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", "v1,", VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, "hello", VECTOR_SIGNATURE, VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_non_null(strstr(err.text, "hello"));
    assert_int_equal(standard("", "1614265330", VECTOR_SIGNATURE, VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, NULL, VECTOR_SIGNATURE, VECTOR_TIME, &err), E_UNAUTHENTICATED);
    assert_int_equal(standard(VECTOR_SECRET, "1614265331", VECTOR_SIGNATURE, VECTOR_TIME, &err), E_UNAUTHENTICATED); /* signed text differs */
}

static void timestamp_tolerance(void **state) {
    struct err err;
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME + 300, &err), OK);
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME - 300, &err), OK);
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME + 301, &err), E_UNAUTHENTICATED);
    assert_non_null(strstr(err.text, "301 s old"));
    assert_int_equal(standard(VECTOR_SECRET, "1614265330", VECTOR_SIGNATURE, VECTOR_TIME - 301, &err), E_UNAUTHENTICATED);
    assert_non_null(strstr(err.text, "ahead"));
    assert_int_equal(signature_check_time(STR("99999999999999999999"), 0, 1000, &err), E_UNAUTHENTICATED);
    assert_int_equal(signature_check_time(STR("-5"), 0, 1000, &err), E_UNAUTHENTICATED);
}

static void shopify_vector(void **state) {
    struct str secrets[] = {STR("old"), STR("hush")};
    struct str body = STR("{\"id\":1}"), good = STR("VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY=");
    struct err err;
    assert_int_equal(signature_check_shopify((struct secrets){secrets, 2}, good, body, &err), OK);
    assert_int_equal(signature_check_shopify((struct secrets){secrets, 1}, good, body, &err), E_UNAUTHENTICATED);
    assert_int_equal(signature_check_shopify((struct secrets){secrets, 2}, good, STR("{\"id\":2}"), &err), E_UNAUTHENTICATED);
    assert_int_equal(signature_check_shopify((struct secrets){secrets, 2}, STR_NULL, body, &err), E_UNAUTHENTICATED);
    assert_int_equal(
        signature_check_shopify((struct secrets){secrets, 2}, STR("VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY=AAAA"), body, &err), E_UNAUTHENTICATED);
}

static void hex_with_prefix(void **state) { /* docs.github.com/webhooks: secret "It's a Secret to Everybody", payload "Hello, World!" */
    struct str secret = STR("It's a Secret to Everybody"), body = STR("Hello, World!");
    struct secrets secrets = {&secret, 1};
    struct str good = STR("sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    struct err err;
    assert_int_equal(signature_check(secrets, &body, 1, good, ENCODING_HEX, STR("sha256="), &err), OK);
    assert_int_equal(signature_check(secrets, &body, 1, str_from(good, 7), ENCODING_HEX, STR("sha256="), &err), E_UNAUTHENTICATED);
    assert_int_equal(signature_check(secrets, &body, 1, STR("sha256=zz"), ENCODING_HEX, STR("sha256="), &err), E_UNAUTHENTICATED);
    struct str empty = STR("");
    assert_int_equal(signature_check((struct secrets){&empty, 1}, &body, 1, good, ENCODING_HEX, STR("sha256="), &err), E_UNAUTHENTICATED);
    assert_int_equal(signature_check((struct secrets){NULL, 0}, &body, 1, good, ENCODING_HEX, STR("sha256="), &err), E_UNAUTHENTICATED);
}

/* ---- decompression ---- */

static struct str packed(enum coding coding, struct str in, int level) {
    static char out[1 << 20];
    if (coding == CODING_ZSTD) return str_make(out, ZSTD_compress(out, sizeof out, in.p, in.n, level));
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)in.p, .avail_in = (unsigned)in.n, .next_out = (unsigned char *)out, .avail_out = sizeof out};
    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, coding == CODING_GZIP ? 31 : 15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = sizeof out - z.avail_out;
    deflateEnd(&z);
    return str_make(out, n);
}

static void decode_round_trip(void **state) {
    enum coding codings[] = {CODING_GZIP, CODING_DEFLATE, CODING_ZSTD};
    struct str texts[] = {STR("x"), STR("{\"a\":1}\n{\"a\":2}\n"), {calloc(300000, 1), 300000}};
    for (size_t i = 0; i < 3; i++)
        for (size_t t = 0; t < 3; t++) {
            char *out = NULL;
            size_t n = 0;
            struct err err;
            assert_int_equal(coding_decode(codings[i], packed(codings[i], texts[t], 6), 300000, 64, &out, &n, &err), OK);
            assert_true(str_eq((struct str){out, n}, texts[t]));
            for (int k = 0; k < 64; k++) assert_int_equal(out[n + (size_t)k], 0);
            free(out);
        }
    free((void *)(uintptr_t)texts[2].p);
}

static void decode_refuses_bombs(void **state) {
    enum coding codings[] = {CODING_GZIP, CODING_DEFLATE, CODING_ZSTD};
    struct str zeros = {calloc(8 << 20, 1), 8 << 20};
    for (size_t i = 0; i < 3; i++) {
        char *out = NULL;
        size_t n = 0;
        struct err err;
        assert_int_equal(coding_decode(codings[i], packed(codings[i], zeros, 9), 100000, 64, &out, &n, &err), E_LIMIT);
        assert_non_null(strstr(err.text, "100000"));
        assert_null(out);
    }
    free((void *)(uintptr_t)zeros.p);
}

static void decode_refuses_damage(void **state) {
    enum coding codings[] = {CODING_GZIP, CODING_DEFLATE, CODING_ZSTD};
    char text[4000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 23);
    for (size_t i = 0; i < 3; i++) {
        struct str good = packed(codings[i], str_make(text, sizeof text), 6);
        for (size_t cut = 0; cut < good.n; cut += good.n / 9 + 1) { /* cut off anywhere */
            char *out = NULL;
            size_t n;
            struct err err;
            assert_int_equal(coding_decode(codings[i], str_head(good, cut), 1 << 20, 64, &out, &n, &err), E_INVALID);
        }
        char *out = NULL;
        size_t n;
        struct err err;
        char *longer = malloc(good.n + 5);
        memcpy(longer, good.p, good.n);
        memcpy(longer + good.n, "trash", 5);
        assert_int_equal(coding_decode(codings[i], str_make(longer, good.n + 5), 1 << 20, 64, &out, &n, &err), E_INVALID);
        free(longer);
        assert_int_equal(coding_decode(codings[i], STR("not compressed at all"), 1 << 20, 64, &out, &n, &err), E_INVALID);
    }
}

static void decode_joins_members(void **state) {
    struct str one = packed(CODING_GZIP, STR("{\"a\":1}\n"), 6);
    char *twice = malloc(2 * one.n), *out = NULL;
    size_t n = 0;
    memcpy(twice, one.p, one.n);
    memcpy(twice + one.n, one.p, one.n);
    assert_int_equal(coding_decode(CODING_GZIP, str_make(twice, 2 * one.n), 1000, 0, &out, &n, NULL), OK);
    assert_true(str_is((struct str){out, n}, "{\"a\":1}\n{\"a\":1}\n"));
    free(twice);
    free(out);
}

static void coding_names(void **state) {
    enum coding coding;
    struct err err;
    assert_int_equal(coding_parse(STR(" GZip "), &coding, &err), OK);
    assert_int_equal(coding, CODING_GZIP);
    assert_int_equal(coding_parse(STR_NULL, &coding, &err), OK);
    assert_int_equal(coding, CODING_NONE);
    assert_int_equal(coding_parse(STR("br"), &coding, &err), E_MEDIA_TYPE);
    assert_int_equal(coding_parse(STR("gzip, gzip"), &coding, &err), E_MEDIA_TYPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hmac_vectors),
        cmocka_unit_test(standard_webhooks_vector),
        cmocka_unit_test(standard_webhooks_refusals),
        cmocka_unit_test(timestamp_tolerance),
        cmocka_unit_test(shopify_vector),
        cmocka_unit_test(hex_with_prefix),
        cmocka_unit_test(decode_round_trip),
        cmocka_unit_test(decode_refuses_bombs),
        cmocka_unit_test(decode_refuses_damage),
        cmocka_unit_test(decode_joins_members),
        cmocka_unit_test(coding_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
