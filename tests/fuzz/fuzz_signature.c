/* Signature headers: nothing but the right one passes. The input is the header; the right one is known, so what passes must mean the same bytes. */
#include "base/buf.h"
#include "http/signature.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str body = STR("{\"id\":1}"), secret = STR("secret"), whsec = STR("whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
    char *text = fuzz_copy(data, size, 0);
    struct str header = str_trim(str_make(text, size)); /* blanks around a header mean nothing */
    uint8_t right[SIGNATURE_BYTES];
    struct err err;
    hmac_sha256(secret, &body, 1, right);
    BUF_SCOPE(got);
    if (signature_check((struct secrets){&secret, 1}, &body, 1, header, ENCODING_HEX, STR("sha256="), &err) == OK) {
        must(str_starts(header, STR("sha256=")) && buf_unhex(&got, str_trim(str_from(header, 7))));
        must(got.n == SIGNATURE_BYTES && memcmp(got.p, right, SIGNATURE_BYTES) == 0);
    }
    buf_clear(&got);
    if (signature_check_shopify((struct secrets){&secret, 1}, header, body, &err) == OK) {
        must(buf_unbase64(&got, str_trim(header)));
        must(got.n == SIGNATURE_BYTES && memcmp(got.p, right, SIGNATURE_BYTES) == 0);
    }
    /* id, timestamp and signature cut out of the input */
    struct str rest = header, id = str_cut(&rest, '\n'), timestamp = str_cut(&rest, '\n');
    const struct standard_webhook parts = {.id = id, .timestamp = timestamp, .signature = rest};
    if (signature_check_standard((struct secrets){&whsec, 1}, &parts, body, 1700000000000, 300000, &err) == OK) must(rest.n >= 44);
    signature_check_time(header, 1700000000000, 300000, &err);
    free(text);
    return 0;
}
