#include "base/assert.h"
#include "ingest/ingest_priv.h"

#define SIGNED_PARTS_MAX 16

/* What is signed: the template with its {names} replaced. A part of the request is never looked at as a template. */
static size_t signed_parts(const struct source_rules *s, struct str at, struct str body, struct str parts[SIGNED_PARTS_MAX]) {
    struct str text = s->signed_text.p ? s->signed_text : s->timestamp_header ? STR("{timestamp}.{body}") : STR("{body}");
    size_t n = 0;
    while (text.n && n < SIGNED_PARTS_MAX) {
        if (str_starts(text, STR("{timestamp}"))) {
            parts[n++] = at;
            text = str_from(text, 11);
        } else if (str_starts(text, STR("{body}"))) {
            parts[n++] = body;
            text = str_from(text, 6);
        } else {
            long brace = str_find(str_from(text, 1), STR("{"));
            parts[n] = brace < 0 ? text : str_head(text, (size_t)brace + 1);
            text = str_from(text, parts[n++].n);
        }
    }
    return n;
}

static enum status check_hmac(const struct source_rules *s, struct http_request *r, int64_t now_ms, struct err *err) {
    struct str at = STR_NULL, parts[SIGNED_PARTS_MAX];
    if (s->timestamp_header) {
        at = http_header(r, s->timestamp_header);
        enum status st = signature_check_time(at, now_ms, s->tolerance_ms, err);
        if (st != OK) return st;
    }
    size_t n = signed_parts(s, at, http_raw_body(r), parts);
    return signature_check(s->secrets, parts, n, http_header(r, s->header), s->encoding, s->prefix, err);
}

static enum status check_standard(const struct source_rules *s, struct http_request *r, int64_t now_ms, struct err *err) {
    struct standard_webhook headers = {http_header(r, "webhook-id"), http_header(r, "webhook-timestamp"), http_header(r, "webhook-signature")};
    return signature_check_standard(s->secrets, &headers, http_raw_body(r), now_ms, s->tolerance_ms, err);
}

static bool any_secret_is(struct secrets secrets, struct str given) {
    bool fits = false;
    for (size_t i = 0; i < secrets.n; i++) fits |= secrets.list[i].n > 0 && str_eq_secret(secrets.list[i], given);
    return fits;
}

static enum status check_token(const struct source_rules *s, struct http_request *r, struct err *err) {
    struct str given = s->token_header ? http_header(r, s->token_header) : STR_NULL;
    if (!given.p && s->token_query) given = http_query(r, s->token_query);
    if (!given.p) return err_set(err, E_UNAUTHENTICATED, "the token is missing");
    if (s->token_header && str_ieq(str_head(given, 7), STR("Bearer "))) given = str_trim(str_from(given, 7));
    return any_secret_is(s->secrets, given) ? OK : err_set(err, E_UNAUTHENTICATED, "the token does not fit");
}

static enum status check_basic(const struct source_rules *s, struct http_request *r, struct err *err) {
    struct str given = http_header(r, "Authorization");
    BUF_SCOPE(plain);
    if (!given.p) return err_set(err, E_UNAUTHENTICATED, "user and password are missing");
    if (!str_ieq(str_head(given, 6), STR("Basic ")) || !buf_unbase64(&plain, str_trim(str_from(given, 6))))
        return err_set(err, E_UNAUTHENTICATED, "Authorization is not of the kind Basic");
    struct str rest = buf_view(&plain), user = str_cut(&rest, ':');
    bool fits = str_eq_secret(user, s->user);
    fits &= str_eq_secret(rest.p ? rest : STR(""), s->password);
    if (plain.n) explicit_bzero(plain.p, plain.n);
    return fits ? OK : err_set(err, E_UNAUTHENTICATED, "user or password do not fit");
}

enum status hook_check(const struct source_rules *source, struct http_request *r, int64_t now_ms, struct err *err) {
    must(source && r);
    switch (source->scheme) {
    case SCHEME_SHOPIFY: {
        struct str header = http_header(r, "X-Shopify-Hmac-Sha256");
        if (!header.p) header = http_header(r, "Shopify-Hmac-Sha256"); /* the newer "events" kind */
        return signature_check_shopify(source->secrets, header, http_raw_body(r), err);
    }
    case SCHEME_STANDARD_WEBHOOKS: return check_standard(source, r, now_ms, err);
    case SCHEME_HMAC_SHA256: return check_hmac(source, r, now_ms, err);
    case SCHEME_TOKEN: return check_token(source, r, err);
    case SCHEME_BASIC: return check_basic(source, r, err);
    case SCHEME_NONE: return OK;
    }
    must_not();
}
