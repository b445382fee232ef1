/* HTTP: server and client mechanics, TLS. Knows no route, no stream, no table.
 *
 * Server: libmicrohttpd, epoll with a thread per core. A handler is called once per request when its body is complete (or refused before: too large, too
 * slow, bad encoding). It answers at once with http_answer*, or keeps the request and answers later from any thread (the connection is suspended
 * meanwhile). A handler must not block for long: work that waits (SQL) goes to http_offload. */
#ifndef CUPEL_HTTP_HTTP_H
#define CUPEL_HTTP_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "host/host.h"

struct http_server;
struct http_request; /* one request; owned by the server; lives until it was answered */

typedef void (*http_handler)(void *context, struct http_request *request);

struct http_route {
    const char *method; /* "GET", "POST", "*" */
    const char *pattern; /* "/v1/streams/{stream}/events"; the last part may be "{rest...}" */
    http_handler handler;
    void *context;
    uint64_t body_bytes_max; /* before decompression; 0: the server's */
    bool decompress; /* Content-Encoding gzip, deflate, zstd are undone before the handler, up to decompressed_bytes_max */
    bool decompress_later; /* with decompress: not before the handler asks for it (http_decompress), so that nobody unknown makes work */
    bool raw_body; /* keep the received bytes too (signatures) */
    const char *summary; /* for /v1/openapi.json */
    const char *operation; /* operationId for openapi */
    uint32_t access; /* passed to the server's `authorise`: ACCESS_* of the room that registered it */
};

struct http_server_options {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0", "unix:/path" ; port 0 = any free */
    const char *tls_cert, *tls_key; /* PEM file paths; NULL: plain */
    uint32_t threads; /* default: cores */
    uint32_t connections_max; /* default 12,000; more are refused */
    uint64_t body_bytes_max; /* default 16 MiB */
    uint64_t decompressed_bytes_max; /* default 64 MiB */
    uint64_t bodies_bytes_max; /* all bodies in memory together; beyond it 503 with Retry-After; default 512 MiB */
    int64_t header_time_ms; /* a request's head must be complete in this time; default 10 s */
    int64_t idle_time_ms; /* keep-alive; default 60 s */
    uint32_t workers; /* threads of http_offload, and as many that fill streamed answers; default 8 */
    /* Called before a body is taken and before the handler. OK lets it through; other statuses are answered as problem+json. May be NULL. */
    enum status (*authorise)(void *context, struct http_request *request, const struct http_route *route, struct err *err);
    void *authorise_context;
    const struct host *host;
};

enum status http_server_start(const struct http_server_options *options, const struct http_route *routes, size_t n, struct http_server **out, struct err *err);
const char *http_server_address(const struct http_server *server); /* "127.0.0.1:8080" with the real port */
/* Stops taking connections, waits up to timeout for requests under way, closes. */
void http_server_stop(struct http_server **server, int64_t timeout_ms);

/* ---- the request, as a handler sees it (views live as long as the request) ---- */
struct str http_method(struct http_request *r);
struct str http_path(struct http_request *r); /* decoded, without query */
struct str http_part(struct http_request *r, const char *name); /* of the pattern, percent-decoded; n 0 when absent */
struct str http_query(struct http_request *r, const char *name); /* p NULL when absent */
struct str http_header(struct http_request *r, const char *name); /* p NULL when absent; several are joined by ", " */
void http_headers_each(struct http_request *r, void (*f)(void *context, struct str name, struct str value), void *context);
struct str http_body(struct http_request *r); /* decompressed when the route asks; JSON_PADDING readable bytes behind it */
/* For routes with decompress_later, once: http_body is then the decompressed one. E_MEDIA_TYPE, E_INVALID, E_LIMIT, E_BUSY otherwise. */
enum status http_decompress(struct http_request *r, struct err *err);
struct str http_raw_body(struct http_request *r); /* as received (routes with raw_body) */
struct str http_content_type(struct http_request *r); /* lower case, without parameters */
struct arena *http_arena(struct http_request *r);
bool http_peer_is_loopback(struct http_request *r);
bool http_is_proxied(struct http_request *r); /* Forwarded, X-Forwarded-*, Via, X-Real-IP */
void http_set_user(struct http_request *r, void *user); /* by authorise; arena memory */
void *http_user(struct http_request *r);

/* ---- answers: exactly one per request ---- */
void http_answer(struct http_request *r, int code, const char *content_type, struct str body); /* body is copied */
/* The same without copies: content_type is a literal and body lives as long as the request (its arena). */
void http_answer_arena(struct http_request *r, int code, const char *content_type, struct str body);
void http_answer_take(struct http_request *r, int code, const char *content_type, struct buf *body); /* takes the buffer's memory */
/* By a handler that keeps the request: the answer will come within a millisecond or so (a sync of the disk). Its connection then waits in a cheaper way and
 * may end meanwhile: nothing that http_header, http_query and http_part gave may be used once the handler has returned. */
void http_answer_is_near(struct http_request *r);
void http_add_header(struct http_request *r, const char *name, const char *value); /* before the answer */
/* RFC 9457. Retry-After is added for E_BUSY, E_NO_SPACE, E_UNAVAILABLE. `extra`: further JSON members ("\"errors\":[…]"), or empty. */
void http_answer_problem(struct http_request *r, const struct err *err, struct str extra);
/* 405 for handlers of all methods ("*"): `allow` lists those that it takes (RFC 9110 section 15.5.6). */
void http_answer_wrong_method(struct http_request *r, const char *allow, const struct err *err);
/* Streams a body: `next` is called on a worker thread until *got is 0 or it fails. When the very first call fails, its error is answered as problem+json; a
 * later failure breaks the connection off, so that the client sees it. `end` is called exactly once, also when the client goes away; a call-back of
 * http_on_disconnect stays in force until then. */
void http_answer_stream(struct http_request *r, int code, const char *content_type,
    enum status (*next)(void *context, void *bytes, size_t n, size_t *got, struct err *err), void (*end)(void *context), void *context);
/* Before http_answer_stream: breaks the answer off (and calls `end`) when the client takes nothing for so long. */
void http_limit_stall(struct http_request *r, int64_t stall_ms);
/* Runs f(context) on a worker thread; E_BUSY when all are taken and the line is long. */
enum status http_offload(struct http_server *server, void (*f)(void *context), void *context, struct err *err);
/* Goes on with a request on a worker of its own kind (not those of http_offload, which may all be waiting). Never refused: the request was let in before. Not
 * for work that waits; one at a time per request. */
void http_continue(struct http_request *r, void (*f)(void *context), void *context);
struct http_server *http_server_of(struct http_request *r);
/* Calls f once when the client of a suspended request has gone away (cancel). NULL removes it. */
void http_on_disconnect(struct http_request *r, void (*f)(void *context), void *context);
/* Calls f once, after_ms from now, unless the request was answered before. NULL removes it. Both call-backs run on the watcher's thread: they may answer or
 * http_offload, must not block, and whoever answers or removes them waits until they have returned. When the server stops both are called at once. */
void http_on_deadline(struct http_request *r, int64_t after_ms, void (*f)(void *context), void *context);

#endif
