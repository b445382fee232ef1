#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "http/http_priv.h"

void answer_publish(struct http_request *r) {
    must(r->code >= 100 && r->code < 1000);
    if (r->watched && !r->stream) watch_forget(r);
    struct MHD_Connection *mhd = r->mhd;
    struct http_loop *loop = r->loop;
    int before = atomic_exchange_explicit(&r->state, REQUEST_ANSWERED, memory_order_acq_rel);
    must(before != REQUEST_ANSWERED);
    if (before == REQUEST_SUSPENDED) loop_resume(loop, mhd);
    if (before == REQUEST_LINGERING) loop_answered(loop);
    if (before == REQUEST_ORPHANED) request_orphan_end(r);
}

/* On the connection's thread. */
enum MHD_Result answer_queue(struct http_request *r) {
    must(!r->queued);
    struct MHD_Response *response;
    if (r->stream) {
        response = stream_answer_response(r->stream);
    } else if (r->answer_memory) {
        response = MHD_create_response_from_buffer(r->answer.n, r->answer_memory, MHD_RESPMEM_MUST_FREE);
        if (response) r->answer_memory = NULL;
    } else { /* in the request's arena, which lives until the answer was sent */
        response = MHD_create_response_from_buffer(r->answer.n, (void *)(uintptr_t)(r->answer.p ? r->answer.p : ""), MHD_RESPMEM_PERSISTENT);
    }
    if (!response) return MHD_NO;
    if (r->content_type) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->content_type);
    for (struct answer_header *h = r->headers; h; h = h->next) MHD_add_response_header(response, h->name, h->value);
    if (r->close_after) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = MHD_queue_response(r->mhd, (unsigned)r->code, response);
    MHD_destroy_response(response);
    r->queued = true;
    return result;
}

static bool is_header_text(const char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

void http_add_header(struct http_request *r, const char *name, const char *value) {
    must(name && value);
    if (!is_header_text(value)) return; /* a value from outside never ends a header line */
    struct answer_header *h = arena_new_one(r->arena, struct answer_header);
    h->name = arena_strdup(r->arena, name);
    h->value = arena_strdup(r->arena, value);
    h->next = r->headers;
    r->headers = h;
}

void http_answer(struct http_request *r, int code, const char *content_type, struct str body) {
    r->answer = arena_str(r->arena, body);
    r->code = code;
    r->content_type = content_type ? arena_strdup(r->arena, content_type) : NULL;
    answer_publish(r);
}

void http_answer_arena(struct http_request *r, int code, const char *content_type, struct str body) {
    must(content_type && body.p);
    r->answer = body;
    r->code = code;
    r->content_type = content_type;
    answer_publish(r);
}

void http_answer_take(struct http_request *r, int code, const char *content_type, struct buf *body) {
    must(!body->failed);
    r->answer.n = body->n;
    r->answer_memory = buf_take(body);
    r->answer.p = r->answer_memory;
    r->code = code;
    r->content_type = content_type ? arena_strdup(r->arena, content_type) : NULL;
    answer_publish(r);
}

/* "E_NOT_FOUND" -> "urn:cupel:problem:not-found" */
static void problem_type(enum status status, struct buf *out) {
    buf_text(out, "urn:cupel:problem:");
    for (const char *s = status_name(status) + 2; *s; s++) buf_char(out, *s == '_' ? '-' : (char)tolower((unsigned char)*s));
}

void http_answer_problem(struct http_request *r, const struct err *err, struct str extra) {
    must(err && err->status != OK);
    int code = r->code == 405 ? 405 : status_http(err->status);
    BUF_SCOPE(type);
    BUF_SCOPE(body);
    problem_type(err->status, &type);
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_str(&w, "type", buf_view(&type));
    json_put_text(&w, "title", code == 405 ? "method not allowed" : status_title(err->status));
    json_put_int(&w, "status", code);
    json_put_text(&w, "detail", err->text);
    json_end_object(&w);
    if (extra.n) {
        body.n--; /* further members go before the closing brace */
        buf_char(&body, ',');
        buf_str(&body, extra);
        buf_char(&body, '}');
    }
    if (err->status == E_BUSY || err->status == E_NO_SPACE || err->status == E_UNAVAILABLE)
        http_add_header(r, "Retry-After", err->status == E_BUSY ? "1" : "5");
    if (err->status == E_UNAUTHENTICATED) http_add_header(r, "WWW-Authenticate", "Bearer realm=\"cupel\"");
    http_answer(r, code, "application/problem+json", buf_view(&body));
}

void http_answer_wrong_method(struct http_request *r, const char *allow, const struct err *err) {
    must(allow);
    r->code = 405;
    http_add_header(r, "Allow", allow);
    http_answer_problem(r, err, STR_NULL);
}
