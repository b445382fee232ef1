/* HTTP client: one request, its answer in memory or streamed to a call-back. Over libcurl.
 *
 * A client keeps its connection for the next request; it belongs to one thread at a time. Nothing follows redirects, no proxy is taken from the environment
 * for unix sockets and loopback addresses. */
#ifndef CUPEL_HTTP_CLIENT_H
#define CUPEL_HTTP_CLIENT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct http_client;

struct http_call {
    const char *method; /* default "GET", or "POST" when there is a body */
    const char *url; /* "http://127.0.0.1:8080/v1/streams"; with unix_path the host part is only for the Host header */
    const char *unix_path; /* talk to this unix socket instead of the URL's host; NULL: no */
    const char *const *headers; /* "Name: value" */
    size_t headers_n;
    struct str body; /* p NULL: none */
    /* Body that is read while it is sent (chunked): gives at most n bytes, 0 at the end; fails with E_CANCELLED to break off. NULL: `body` is used. */
    enum status (*read)(void *context, void *bytes, size_t n, size_t *got, struct err *err);
    void *read_context;
    int64_t connect_ms; /* default 5 s */
    int64_t total_ms; /* 0: no limit */
    int64_t stall_ms; /* give up when not a byte moved for so long; 0: never */
    uint64_t answer_bytes_max; /* of an answer in memory; default 64 MiB */
    const char *ca_file; /* PEM to trust besides nothing else; NULL: the system's */
    bool insecure; /* do not check the server's certificate */
    /* The answer's bytes as they come, called only for 2xx codes (others are kept in memory, up to 1 MiB, as they carry a problem). NULL: all in memory. */
    enum status (*write)(void *context, struct str bytes, struct err *err);
    void *write_context;
    /* Asked about every 100 ms: true breaks the call off with E_CANCELLED. May be NULL. */
    bool (*cancelled)(void *context);
    void *cancelled_context;
};

struct http_result {
    int code;
    struct str content_type; /* in the arena, like the rest */
    struct str body;
    struct str *headers; /* "Name: value" */
    size_t headers_n;
};

struct http_client *http_client_new(void);
void http_client_free(struct http_client **client);
/* OK: an answer came, whatever its code. E_UNAVAILABLE: nobody there; E_TIMEOUT; E_CANCELLED; E_LIMIT: answer too large; E_IO: broken off in the middle. */
enum status http_client_call(struct http_client *client, struct arena *arena, const struct http_call *call, struct http_result *out, struct err *err);
struct str http_result_header(const struct http_result *result, const char *name); /* p NULL when absent */

/* Adds %XX for everything but unreserved characters (RFC 3986 section 2.3): for parts of paths and queries. */
void url_escape(struct buf *out, struct str text);

#endif
