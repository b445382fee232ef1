/* Signatures of webhooks: HMAC-SHA256 in its usual dresses. Any thread; nothing is kept.
 *
 * All comparisons take the same time wherever the difference is. Several secrets may be given (rotation): any one that fits is enough. */
#ifndef CUPEL_HTTP_SIGNATURE_H
#define CUPEL_HTTP_SIGNATURE_H

#include "base/err.h"
#include "base/str.h"

#define SIGNATURE_BYTES 32
#define SIGNATURE_LIST_MAX 32 /* entries of a webhook-signature header that are looked at */

struct secrets {
    const struct str *list; /* as the signer uses them: text, or "whsec_…" for standard webhooks */
    size_t n;
};

/* HMAC-SHA256 (RFC 2104) over the parts one after the other. */
void hmac_sha256(struct str key, const struct str *parts, size_t n, uint8_t out[SIGNATURE_BYTES]);
/* SHA-256 of the bytes. */
void sha256(struct str bytes, uint8_t out[SIGNATURE_BYTES]);

enum signature_encoding { ENCODING_HEX, ENCODING_BASE64 };

/* A header that holds `prefix` and then the encoded HMAC of all parts. Hex in any case. E_UNAUTHENTICATED with the reason otherwise. */
enum status signature_check(
    struct secrets secrets, const struct str *parts, size_t n, struct str header, enum signature_encoding encoding, struct str prefix, struct err *err);
/* X-Shopify-Hmac-Sha256: base64(HMAC-SHA256(client secret, body)). shopify.dev/docs/apps/build/webhooks */
enum status signature_check_shopify(struct secrets secrets, struct str header, struct str body, struct err *err);

struct standard_webhook { /* headers webhook-id, webhook-timestamp, webhook-signature */
    struct str id, timestamp, signature;
};
/* Standard Webhooks 1.0.0 (standardwebhooks.com): HMAC over "id.timestamp.body" with the decoded "whsec_" secret; entries of other versions are skipped. */
enum status signature_check_standard(
    struct secrets secrets, const struct standard_webhook *headers, struct str body, int64_t now_ms, int64_t tolerance_ms, struct err *err);
/* Unix seconds in `text`, at most tolerance_ms before or after now. E_UNAUTHENTICATED says how far off. */
enum status signature_check_time(struct str text, int64_t now_ms, int64_t tolerance_ms, struct err *err);

#endif
