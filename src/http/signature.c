#include "http/signature.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"

/* OpenSSL 3's one-shot SHA256() and HMAC() fetch the algorithm by name at each call, which costs more than hashing a small body: so the old calls, and HMAC
 * (RFC 2104) by hand over them. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
void sha256(struct str bytes, uint8_t out[SIGNATURE_BYTES]) {
    SHA256_CTX c;
    SHA256_Init(&c);
    if (bytes.n) SHA256_Update(&c, bytes.p, bytes.n);
    SHA256_Final(out, &c);
}

void hmac_sha256(struct str key, const struct str *parts, size_t n, uint8_t out[SIGNATURE_BYTES]) {
    uint8_t block[SHA256_CBLOCK] = {0}, inner[SIGNATURE_BYTES];
    must(n == 0 || parts);
    if (key.n > sizeof block)
        sha256(key, block);
    else if (key.n)
        memcpy(block, key.p, key.n);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36;
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    for (size_t i = 0; i < n; i++)
        if (parts[i].n) SHA256_Update(&c, parts[i].p, parts[i].n);
    SHA256_Final(inner, &c);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    SHA256_Update(&c, inner, sizeof inner);
    SHA256_Final(out, &c);
    explicit_bzero(block, sizeof block);
}
#pragma GCC diagnostic pop

static bool same(const uint8_t mac[SIGNATURE_BYTES], struct str given) {
    return given.n == SIGNATURE_BYTES && str_eq_secret(str_make(mac, SIGNATURE_BYTES), given);
}

enum status signature_check(
    struct secrets secrets, const struct str *parts, size_t n, struct str header, enum signature_encoding encoding, struct str prefix, struct err *err) {
    if (!header.p) return err_set(err, E_UNAUTHENTICATED, "signature: the header is missing");
    struct str text = str_trim(header);
    if (prefix.n && !str_starts(text, prefix)) return err_set(err, E_UNAUTHENTICATED, "signature: does not begin with %.*s", STR_ARG(prefix));
    text = str_from(text, prefix.n);
    BUF_SCOPE(given);
    bool readable = text.n <= 4 * SIGNATURE_BYTES && (encoding == ENCODING_HEX ? buf_unhex(&given, text) : buf_unbase64(&given, text));
    if (!readable || given.n != SIGNATURE_BYTES)
        return err_set(err, E_UNAUTHENTICATED, "signature: is not %d bytes of %s", SIGNATURE_BYTES, encoding == ENCODING_HEX ? "hex" : "base64");
    bool fits = false;
    for (size_t i = 0; i < secrets.n; i++) {
        uint8_t mac[SIGNATURE_BYTES];
        if (secrets.list[i].n == 0) continue; /* an empty secret never authenticates anybody */
        hmac_sha256(secrets.list[i], parts, n, mac);
        fits |= same(mac, buf_view(&given));
    }
    return fits ? OK : err_set(err, E_UNAUTHENTICATED, "signature: does not fit the body");
}

enum status signature_check_shopify(struct secrets secrets, struct str header, struct str body, struct err *err) {
    return signature_check(secrets, &body, 1, header, ENCODING_BASE64, STR_NULL, err);
}

enum status signature_check_time(struct str text, int64_t now_ms, int64_t tolerance_ms, struct err *err) {
    uint64_t seconds;
    must(tolerance_ms >= 0);
    if (!text.p) return err_set(err, E_UNAUTHENTICATED, "signature: the timestamp header is missing");
    if (!str_to_u64(str_trim(text), &seconds) || seconds > INT64_MAX / 1000)
        return err_set(err, E_UNAUTHENTICATED, "signature: the timestamp %.*s is not in Unix seconds", STR_ARG(str_head(text, 32)));
    int64_t off_ms = now_ms - (int64_t)seconds * 1000;
    if (off_ms > tolerance_ms + 999 || -off_ms > tolerance_ms) /* the sender's clock cut its second off */
        return err_set(err, E_UNAUTHENTICATED, "signature: the timestamp is %lld s %s; at most %lld s are allowed", (long long)(llabs(off_ms) / 1000),
            off_ms > 0 ? "old" : "ahead", (long long)(tolerance_ms / 1000));
    return OK;
}

/* The secret's bytes: base64 behind "whsec_". */
static bool standard_key(struct str secret, struct buf *out) {
    struct str prefix = STR("whsec_");
    if (str_starts(secret, prefix)) secret = str_from(secret, prefix.n);
    return buf_unbase64(out, secret) && out->n > 0;
}

static bool any_entry_fits(struct str list, const uint8_t mac[SIGNATURE_BYTES]) {
    bool fits = false;
    for (int i = 0; list.p && i < SIGNATURE_LIST_MAX; i++) {
        struct str entry = str_cut(&list, ' ');
        BUF_SCOPE(given);
        if (!str_starts(entry, STR("v1,")) || entry.n > 3 + 4 * SIGNATURE_BYTES) continue;
        if (buf_unbase64(&given, str_from(entry, 3))) fits |= same(mac, buf_view(&given));
    }
    return fits;
}

enum status signature_check_standard(
    struct secrets secrets, const struct standard_webhook *headers, struct str body, int64_t now_ms, int64_t tolerance_ms, struct err *err) {
    must(headers);
    if (!headers->id.n) return err_set(err, E_UNAUTHENTICATED, "signature: the header webhook-id is missing");
    if (!headers->signature.n) return err_set(err, E_UNAUTHENTICATED, "signature: the header webhook-signature is missing");
    enum status st = signature_check_time(headers->timestamp, now_ms, tolerance_ms, err);
    if (st != OK) return st;
    struct str parts[] = {headers->id, STR("."), headers->timestamp, STR("."), body};
    bool fits = false;
    for (size_t i = 0; i < secrets.n; i++) {
        BUF_SCOPE(key);
        uint8_t mac[SIGNATURE_BYTES];
        if (!standard_key(secrets.list[i], &key)) continue;
        hmac_sha256(buf_view(&key), parts, 5, mac);
        fits |= any_entry_fits(headers->signature, mac);
        explicit_bzero(key.p, key.n);
    }
    return fits ? OK : err_set(err, E_UNAUTHENTICATED, "signature: no v1 entry fits the body");
}
