/* The questions that senders ask when a webhook is set up. */
#include "base/assert.h"
#include "ingest/ingest_priv.h"

#define CHALLENGE_BYTES_MAX 4096

static void answer_text(const struct source_rules *source, struct http_request *r, struct str text) {
    series_add(source->m_challenges, 1);
    http_add_header(r, "X-Content-Type-Options", "nosniff"); /* it repeats what the asker sent: never to be taken for a page */
    http_answer(r, 200, "text/plain; charset=utf-8", text);
}

/* Meta (Facebook, WhatsApp, Instagram): GET ?hub.mode=subscribe&hub.verify_token=…&hub.challenge=…; the token is the source's verify_token. */
static bool meta_question(const struct source_rules *source, struct http_request *r) {
    struct str challenge = http_query(r, "hub.challenge"), token = http_query(r, "hub.verify_token");
    struct err err;
    if (!challenge.p || !str_is(http_query(r, "hub.mode"), "subscribe")) return false;
    bool fits = token.p && source->verify_token.n && str_eq_secret(token, source->verify_token);
    if (!fits || challenge.n > CHALLENGE_BYTES_MAX) {
        series_add(source->m_rejected, 1);
        err_set(&err, E_DENIED, source->verify_token.n ? "hub.verify_token does not fit" : "the source has no verify_token");
        http_answer_problem(r, &err, STR_NULL);
        return true;
    }
    answer_text(source, r, challenge);
    return true;
}

/* CloudEvents HTTP webhook, section 4 (abuse protection): may you send to me? */
static bool cloudevents_question(const struct source_rules *source, struct http_request *r) {
    struct str origin = http_header(r, "WebHook-Request-Origin"), rate = http_header(r, "WebHook-Request-Rate");
    struct arena *arena = http_arena(r);
    http_add_header(r, "Allow", "POST, PUT, GET, OPTIONS");
    if (origin.p) {
        series_add(source->m_challenges, 1);
        http_add_header(r, "WebHook-Allowed-Origin", arena_strndup(arena, origin.p, origin.n));
        if (rate.p) http_add_header(r, "WebHook-Allowed-Rate", arena_strndup(arena, rate.p, rate.n));
    }
    http_answer(r, origin.p ? 200 : 204, NULL, STR(""));
    return true;
}

bool hook_question(const struct source_rules *source, struct http_request *r) {
    struct str method = http_method(r);
    must(source);
    if (str_is(method, "OPTIONS")) return cloudevents_question(source, r);
    if (str_is(method, "GET")) return meta_question(source, r);
    if (source->scheme != SCHEME_NONE && !source->token_query) return false;
    struct str token = http_query(r, "validationToken"); /* Microsoft Graph, which can neither sign nor send headers: POST without a body, to be repeated */
    if (!str_is(method, "POST") || !token.n || token.n > CHALLENGE_BYTES_MAX || http_raw_body(r).n) return false;
    answer_text(source, r, token);
    return true;
}

/* Slack and others: a signed {"type":"url_verification","challenge":"…"}. */
bool hook_question_signed(const struct source_rules *source, struct http_request *r, struct ingest *ingest) {
    struct str body = http_body(r), value;
    if (body.n > CHALLENGE_BYTES_MAX || str_find(body, STR("url_verification")) < 0) return false;
    struct scanner_slot *slot = scanner_take(ingest);
    bool asks = json_scan(slot->scanner, body, NULL) == OK && json_scan_path(slot->scanner, STR("type"), &value) && str_is(value, "url_verification") &&
        json_scan_path(slot->scanner, STR("challenge"), &value);
    BUF_SCOPE(out);
    if (asks) {
        struct json_writer w = json_write_to(&out);
        json_begin_object(&w);
        json_put_str(&w, "challenge", value);
        json_end_object(&w);
    }
    scanner_give(ingest, slot);
    if (!asks) return false;
    series_add(source->m_challenges, 1);
    http_answer(r, 200, "application/json", buf_view(&out));
    return true;
}
