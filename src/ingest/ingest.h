/* Ingest: in, pushed. Event API and webhooks; who may call what; protection of personal fields. Every event ends in one stream_submit.
 *
 * A request's way: authorise (before its body is taken) -> body complete -> records cut and validated -> key, dedupe hash, protection -> stream_submit ->
 * group commit -> 202. All or nothing; the answer is sent after the records are durable.
 *
 * Ownership: an `ingest` belongs to the server process and outlives its http_server. Threads: all functions from any thread unless said otherwise. */
#ifndef CUPEL_INGEST_INGEST_H
#define CUPEL_INGEST_INGEST_H

#include "base/json.h"
#include "config/config.h"
#include "host/host.h"
#include "http/http.h"
#include "ledger/ledger.h"
#include "stream/stream.h"

struct ingest;

/* ---- access levels of routes (http_route.access), for routes of this room and of `serve` ---- */
enum access {
    ACCESS_ADMIN, /* 0, so that a route that forgets to say is closed */
    ACCESS_WRITE, /* append events, redrive, replay */
    ACCESS_READ, /* queries, lists, reads */
    ACCESS_OPEN, /* health: no token needed */
    ACCESS_SELF, /* webhooks: the handler checks the source's own scheme */
};

enum role { ROLE_NONE, ROLE_READ, ROLE_WRITE, ROLE_ADMIN }; /* each may do what the one before may */

/* Who a request comes from; set by ingest_authorise, read with http_user(). */
struct caller {
    enum role role;
    const char *token; /* its name; "loopback" under auth.loopback: open; "" without one */
};

/* ---- setting up ---- */

struct ingest_stream {
    uint16_t number; /* in the ledger and the log */
    const struct config_stream *config; /* copied */
};

struct ingest_source {
    const struct config_source *config; /* type webhook; copied */
};

struct ingest_options {
    const struct host *host;
    struct stream_log *log;
    struct ledger *ledger; /* tokens, protection keys */
    enum config_loopback loopback;
    uint64_t record_bytes_max; /* default 1 MiB */
    uint32_t records_max; /* of one request; default 10,000 */
    int64_t wait_ms_max; /* of a long poll; default 60 s */
    /* A read begins before what the log still has: takes the request over and answers it from bronze. NULL: 410 with start_offset. */
    void (*read_older)(void *context, struct http_request *r, const char *stream, uint16_t number, uint16_t partition, uint64_t offset, uint32_t limit);
    void *read_older_context;
};

/* E_CONFIG: a policy that this version does not have (encrypt), a source without its stream or secret: the text names it. */
enum status ingest_open(const struct ingest_options *options, const struct ingest_stream *streams, size_t streams_n, const struct ingest_source *sources,
    size_t sources_n, struct ingest **out, struct err *err);
/* Takes over other streams and sources (SIGHUP). On failure the old ones stay. Requests under way end with what they began with. */
enum status ingest_configure(
    struct ingest *ingest, const struct ingest_stream *streams, size_t streams_n, const struct ingest_source *sources, size_t sources_n, struct err *err);
/* After the http_server was stopped. */
void ingest_close(struct ingest **ingest);

/* Routes to be given to http_server_start; `out` has room for INGEST_ROUTES_MAX. Returns how many. */
#define INGEST_ROUTES_MAX 12
size_t ingest_routes(struct ingest *ingest, struct http_route *out);

/* For http_server_options.authorise, context = ingest. Looks at the bearer token (or basic password), its role and the route's level. */
enum status ingest_authorise(void *ingest, struct http_request *r, const struct http_route *route, struct err *err);

/* ---- tokens ---- */

#define TOKEN_TEXT_MAX 80

/* Makes data/cli.token (mode 0600, admin) when it is missing or its token is not in the ledger any more. */
enum status ingest_cli_token(const struct host *host, struct ledger *ledger, const char *path, struct err *err);
/* New token; its text is given once and only its SHA-256 is kept. role: admin | write | read. expires_ms 0: never. E_CONFLICT: name taken. */
enum status ingest_token_create(struct ingest *ingest, struct str name, struct str role, int64_t expires_ms, char text[TOKEN_TEXT_MAX], struct err *err);
/* In force for every request that begins after it returns. */
enum status ingest_token_revoke(struct ingest *ingest, struct str name, struct err *err);

/* ---- for other rooms ---- */

/* Payloads from inside the server (landing files that feed a stream), treated like a request over HTTP: key, dedupe, protection, all or nothing. */
struct ingest_append {
    const char *stream, *source;
    const struct str *payloads;
    size_t n;
    struct hash128 idempotency_key, body_hash; /* both 0: none */
};
/* Waits until it is durable. *accepted: new ones. When a payload is refused (E_INVALID, E_LIMIT) *bad is its number from 0 and nothing was appended. */
enum status ingest_append(struct ingest *ingest, const struct ingest_append *request, uint32_t *accepted, size_t *bad, struct err *err);

/* One stored record as the event API shows it: the columns of bronze; payload as a string with exactly its bytes, or _body (base64) when not UTF-8. */
void ingest_write_event(struct json_writer *w, const struct stored_record *record, const char *stream);
/* Name of a stream by number, NULL when not configured. */
const char *ingest_stream_name(struct ingest *ingest, uint16_t number);

#endif
