/* Inside of the HTTP server: what its files share.
 *
 * Life of a request: taken from the pool when its head is complete (begin) -> body chunks (accept_chunk) -> decoded -> handler -> answer published ->
 * given to libmicrohttpd on the connection's own thread -> completed, back to the pool. `state` decides who wakes whom:
 *
 *     RUNNING --handler returned without an answer--> SUSPENDED --answer from any thread--> ANSWERED (resumes the connection)
 *     RUNNING --answer while the handler runs-------> ANSWERED  (nobody sleeps)
 *     RUNNING --the same, but the answer is near----> LINGERING --answer from any thread--> ANSWERED (wakes the loop if it sleeps)
 *     LINGERING --it takes too long-----------------> SUSPENDED
 *     LINGERING --the connection ends---------------> ORPHANED  --answer--> back to the pool, by who answers
 *
 * Locks: pool_lock (free requests), watch_lock (connections, watched requests), and one per worker pool. None is held while another is taken, none across a
 * call-back. */
#ifndef CUPEL_HTTP_PRIV_H
#define CUPEL_HTTP_PRIV_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/metrics.h"
#include "host/net.h"
#include "host/thread.h"
#include "host/wake.h"
#include "http/http.h"

#define ROUTE_PARTS_MAX 8
#define ROUTE_CODES_MAX 24
#define BODY_SLACK 64 /* readable bytes behind every body: JSON_PADDING */
#define BODY_KEEP_BYTES (16u << 10) /* a pooled request keeps its body buffer up to this size, */
#define ARENA_KEEP_BYTES (32u << 10) /* its arena up to that */
#define POOL_MAX 512
#define DISCARD_BYTES_MAX (64u << 20) /* of a refused body, read and dropped so that the client sees the answer */
#define OFFLOAD_BODY_BYTES (1u << 20) /* larger bodies are decoded and handled on a worker, not on the polling thread */
#define JOBS_WAITING_MAX 1024

struct route_part {
    struct str text; /* literal, or the name in {name} */
    bool is_name, is_rest;
};

struct route_code {
    _Atomic int code;
    struct series *series;
};

struct route {
    struct http_route spec;
    struct route_part parts[ROUTE_PARTS_MAX];
    size_t parts_n, literals;
    struct series *seconds;
    struct route_code codes[ROUTE_CODES_MAX];
};

struct job {
    void (*run)(void *context);
    void *context;
    struct job *next;
    bool owned; /* freed after it ran */
};

/* Three lines of work that must not wait for each other: a handler that waits for its turn (as queries do) may keep neither the chunk from being filled
 * that would end another query, nor large bodies from being taken in. */
enum pool_name {
    POOL_HANDLERS, /* http_offload */
    POOL_CHUNKS, /* http_answer_stream */
    POOL_BODIES, /* large bodies: decoding, and the handler itself */
    POOLS
};

struct worker_pool {
    mutex lock;
    condition wake;
    struct job *jobs, **tail;
    size_t jobs_n;
    bool end;
    struct thread *threads;
    uint32_t threads_n;
};

enum conn_phase { CONN_HEAD, CONN_BODY, CONN_HANDLING };

struct http_conn {
    struct http_conn *next, *prev; /* server->conns, under watch_lock */
    int fd;
    _Atomic int phase;
    _Atomic uint32_t turn; /* requests begun on this connection */
    _Atomic int64_t since_ms; /* of the phase */
    _Atomic uint64_t body_bytes; /* of the body that is coming in */
    _Atomic int64_t unread_since_ms; /* bytes of a streamed answer wait for the client since; 0: none do */
    _Atomic int64_t stall_ms; /* how long they may */
    /* the watcher's own */
    uint32_t seen_turn;
    uint64_t base_bytes, seen_bytes; /* received until the last request ended; at the last look */
    int64_t head_since_ms;
};

struct answer_header {
    struct answer_header *next;
    const char *name, *value;
};

struct stream_answer;

/* Headers that every request is asked for: found in one pass over the head, instead of one pass each. Their names differ in length. */
#define KNOWN_HEADERS(X) \
    X(KNOWN_EXPECT, "Expect") \
    X(KNOWN_CUPEL_KEY, "Cupel-Key") \
    X(KNOWN_CONTENT_TYPE, "Content-Type") \
    X(KNOWN_AUTHORIZATION, "Authorization") \
    X(KNOWN_CONTENT_LENGTH, "Content-Length") \
    X(KNOWN_IDEMPOTENCY_KEY, "Idempotency-Key") \
    X(KNOWN_CONTENT_ENCODING, "Content-Encoding") \
    X(KNOWN_TRANSFER_ENCODING, "Transfer-Encoding")
enum known_header {
#define X(id, name) id,
    KNOWN_HEADERS(X)
#undef X
        KNOWN_N
};

enum request_state { REQUEST_RUNNING, REQUEST_LINGERING, REQUEST_SUSPENDED, REQUEST_ORPHANED, REQUEST_ANSWERED };

/* One polling thread with its libmicrohttpd daemon (loop.c). */
enum loop_wish { LOOP_RUN, LOOP_QUIET, LOOP_END }; /* QUIET: no new connections */
struct http_loop {
    struct http_server *server;
    struct MHD_Daemon *daemon;
    int epoll_fd; /* the daemon's */
    struct host_waker waker;
    struct thread thread;
    _Atomic int wish;
    _Atomic bool asleep, answered; /* answered: since this round began */
    /* the thread's own, of this round */
    uint32_t lingering;
    bool busy; /* something was done: there may be more */
    int64_t now_us;
};

struct http_request {
    struct http_server *server;
    struct http_loop *loop;
    struct MHD_Connection *mhd;
    struct http_conn *conn;
    struct route *route;
    struct http_request *next_free;
    _Atomic int state;
    struct arena *arena;
    int64_t started_us;
    const char *method;
    struct str url; /* as received, without query */
    struct str parts[ROUTE_PARTS_MAX]; /* values of the route's {names}, decoded */
    struct str path; /* decoded; made on demand */
    struct str known[KNOWN_N];
    void *user;
    /* body */
    char *body;
    size_t body_n, body_cap, counted; /* counted: what this request holds of server->bodies_bytes */
    struct str decoded; /* after decompression; p NULL: the body as received */
    char *decoded_memory;
    struct err refused; /* status not OK: the body is dropped and this is answered at its end */
    uint64_t dropped;
    bool handled; /* the handler was started */
    bool near; /* http_answer_is_near */
    /* answer */
    int code;
    const char *content_type;
    struct str answer;
    char *answer_memory; /* malloc'ed: given to libmicrohttpd, which frees it */
    struct answer_header *headers;
    struct stream_answer *stream;
    int64_t stall_ms; /* of a streamed answer; 0: no limit */
    bool close_after, queued;
    struct job job;
    /* watch, under watch_lock */
    bool watched;
    uint32_t watch_round; /* of the pass that looked at it last */
    struct http_request *watch_next, *watch_prev;
    void (*on_gone)(void *context);
    void *gone_context;
    void (*on_deadline)(void *context);
    void *deadline_context;
    int64_t deadline_ms;
};

struct http_server {
    struct http_server_options options;
    struct host host;
    struct route *routes;
    size_t routes_n;
    struct route unmatched; /* metrics of requests without a route */
    struct http_loop *loops; /* options.threads */
    int listen_fd;
    char address[HOST_ADDRESS_MAX];
    char *tls_cert, *tls_key;
    _Atomic bool stopping;
    _Atomic int64_t begun, handling; /* requests whose head came / whose handler was started, and that are not completed */
    _Atomic uint64_t bodies_bytes;
    /* pool */
    mutex pool_lock;
    struct http_request *free_requests;
    size_t free_n;
    /* watch */
    mutex watch_lock;
    condition watch_wake, watch_called;
    struct http_conn *conns;
    struct http_request *watched, *watched_tail;
    uint32_t watch_round;
    struct http_request *calling; /* its call-back runs now, on the thread `caller` */
    pthread_t caller;
    struct thread watcher;
    size_t conns_n, conns_peak; /* open now; most since memory was last given back */
    bool watch_end;
    struct worker_pool pools[POOLS];
    /* metrics */
    struct series *m_connections, *m_body_bytes, *m_bodies, *m_slow, *m_gone, *m_stalled;
};

/* route.c */
enum status route_compile(struct route *route, const struct http_route *spec, struct err *err);
/* Finds the route for method and path (path as received: parts are cut before they are decoded, so %2f never makes a new part). E_NOT_FOUND, E_INVALID (bad
 * percent-encoding, NUL), E_UNSUPPORTED with *allow filled: other methods exist for this path. */
enum status route_find(struct http_server *server, struct str method, struct str path, struct arena *arena, struct route **out,
    struct str parts[ROUTE_PARTS_MAX], struct buf *allow, struct err *err);
bool percent_decode(struct str s, struct arena *arena, struct str *out); /* false: bad escape or a NUL */
void route_count(struct route *route, int code, double seconds);
void route_metrics_init(struct route *route, const char *pattern);

/* loop.c */
enum status loop_start(struct http_loop *loop, struct err *err); /* server and daemon are set */
void loop_wish(struct http_loop *loop, enum loop_wish wish);
void loop_end(struct http_loop *loop); /* fine when it never started; no connection of it may be suspended */
/* The loop's thread, in each round: r is not answered yet; may it wait without being suspended? */
bool loop_may_linger(struct http_loop *loop, const struct http_request *r);
void loop_resume(struct http_loop *loop, struct MHD_Connection *mhd); /* any thread: MHD_resume_connection that is noticed */
void loop_answered(struct http_loop *loop); /* any thread: a lingering request of it was answered */

/* request.c */
enum MHD_Result request_access(
    void *loop, struct MHD_Connection *mhd, const char *url, const char *method, const char *version, const char *upload, size_t *upload_n, void **con_cls);
void request_completed(void *loop, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode code);
void request_pool_free(struct http_server *server);
void request_orphan_end(struct http_request *r); /* whose connection ended before it was answered */

/* answer.c */
void answer_publish(struct http_request *r); /* hands the prepared answer over; r may be gone when it returns */
enum MHD_Result answer_queue(struct http_request *r);

/* stream_answer.c */
struct MHD_Response *stream_answer_response(struct stream_answer *s);

/* worker.c */
void workers_start(struct http_server *server);
void workers_stop(struct http_server *server);
void worker_push(struct http_server *server, enum pool_name pool, struct job *job); /* never refuses: for work that a request already waits for */

/* watch.c */
void watch_start(struct http_server *server);
void watch_stop(struct http_server *server);
void watch_connection(void *server, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code);
void watch_forget(struct http_request *r); /* after it returns no call-back of r runs or will run (unless called from that call-back) */
void watch_gone(struct http_request *r); /* libmicrohttpd noticed the hang-up before the watcher did */
void watch_call_all(struct http_server *server, bool gone_too); /* the server stops: every on_deadline, later every on_gone */

#endif
