#include <string.h>

#include "base/assert.h"
#include "ingest/ingest_priv.h"

/* What senders of webhooks put into headers besides credentials: kept for every source. */
static const char *const sender_prefixes[] = {"x-shopify-", "shopify-", "webhook-", "x-github-", "x-gitlab-", "x-wc-", "x-event-", "x-webhook-", "x-amz-sns-",
    "x-goog-", "svix-", "x-trendyol-", "x-vtex-"};
static const char *const sender_names[] = {"content-type", "user-agent", "idempotency-key", "x-request-id", "x-topic"};
/* Never kept, whatever the configuration says. */
static const char *const forbidden_names[] = {"authorization", "proxy-authorization", "cookie", "set-cookie", "cupel-key"};
static const char *const forbidden_pieces[] = {"signature", "hmac", "secret", "token", "password", "api-key", "apikey", "authorization", "credential"};

struct keep {
    const struct source_rules *source;
    struct buf out;
    struct arena *arena;
};

static bool starts_any(struct str name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (str_starts(name, str_of(list[i]))) return true;
    return false;
}

static bool is_any(struct str name, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (str_is(name, list[i])) return true;
    return false;
}

static bool is_forbidden(const struct source_rules *source, struct str name) {
    if (is_any(name, forbidden_names, sizeof forbidden_names / sizeof *forbidden_names)) return true;
    for (size_t i = 0; i < sizeof forbidden_pieces / sizeof *forbidden_pieces; i++)
        if (str_find(name, str_of(forbidden_pieces[i])) >= 0) return true;
    return source && (str_ieq(name, str_of(source->header)) || (source->token_header && str_ieq(name, str_of(source->token_header))));
}

static bool is_wanted(const struct source_rules *source, struct str name) {
    if (str_starts(name, STR("ce-")) || str_is(name, "traceparent") || str_is(name, "tracestate")) return true;
    if (!source) return false;
    return starts_any(name, sender_prefixes, sizeof sender_prefixes / sizeof *sender_prefixes) ||
        is_any(name, sender_names, sizeof sender_names / sizeof *sender_names) || is_any(name, source->keep_headers, source->keep_headers_n);
}

static void keep_one(void *context, struct str name, struct str value) {
    struct keep *k = context;
    char lower[128];
    if (!name.n || name.n > sizeof lower) return;
    if (!k->source && (name.p[0] | 32) != 'c' && (name.p[0] | 32) != 't') return; /* the event API keeps few: most end here */
    for (size_t i = 0; i < name.n; i++) lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] + 32) : name.p[i];
    struct str low = {lower, name.n};
    if (!is_wanted(k->source, low) || is_forbidden(k->source, low)) return;
    if (k->out.n + name.n + HEADER_VALUE_MAX + 8 > STREAM_HEADERS_BYTES_MAX) return;
    stream_headers_put(&k->out, low, str_head(value, HEADER_VALUE_MAX));
}

struct str headers_keep(struct http_request *r, const struct source_rules *source) {
    struct keep k = {.source = source, .arena = http_arena(r)};
    http_headers_each(r, keep_one, &k);
    must(k.out.n <= STREAM_HEADERS_BYTES_MAX);
    struct str kept = k.out.n ? arena_str(k.arena, buf_view(&k.out)) : STR_NULL;
    buf_free(&k.out);
    return kept;
}
