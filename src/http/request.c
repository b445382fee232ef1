#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/decode.h"
#include "http/http_priv.h"

/* ---- pool ---- */

static struct http_request *pool_take(struct http_server *server) {
    mutex_lock(&server->pool_lock);
    struct http_request *r = server->free_requests;
    if (r) {
        server->free_requests = r->next_free;
        server->free_n--;
    }
    mutex_unlock(&server->pool_lock);
    if (r) return r;
    r = mem_zalloc(sizeof *r);
    r->server = server;
    r->arena = arena_new();
    return r;
}

static void request_free(struct http_request *r) {
    arena_free(&r->arena);
    free(r->body);
    free(r);
}

static void pool_give(struct http_request *r) {
    struct http_server *server = r->server;
    struct arena *arena = r->arena;
    char *body = r->body;
    size_t cap = r->body_cap;
    free(r->decoded_memory);
    free(r->answer_memory);
    if (r->counted) atomic_fetch_sub_explicit(&server->bodies_bytes, r->counted, memory_order_relaxed);
    if (cap > BODY_KEEP_BYTES) {
        free(body);
        body = NULL;
        cap = 0;
    }
    memset(r, 0, sizeof *r);
    arena_reset(arena);
    if (arena_bytes(arena) > ARENA_KEEP_BYTES) {
        arena_free(&arena);
        arena = arena_new();
    }
    r->server = server;
    r->arena = arena;
    r->body = body;
    r->body_cap = cap;
    mutex_lock(&server->pool_lock);
    bool keep = server->free_n < POOL_MAX;
    if (keep) {
        r->next_free = server->free_requests;
        server->free_requests = r;
        server->free_n++;
    }
    mutex_unlock(&server->pool_lock);
    if (!keep) request_free(r);
}

void request_pool_free(struct http_server *server) {
    while (server->free_requests) {
        struct http_request *r = server->free_requests;
        server->free_requests = r->next_free;
        request_free(r);
    }
}

/* ---- memory of bodies ---- */

/* Counts n more bytes against the budget of all bodies. */
static bool count_bytes(struct http_request *r, size_t n) {
    uint64_t before = atomic_fetch_add_explicit(&r->server->bodies_bytes, n, memory_order_relaxed);
    if (before + n > r->server->options.bodies_bytes_max) {
        atomic_fetch_sub_explicit(&r->server->bodies_bytes, n, memory_order_relaxed);
        return false;
    }
    r->counted += n;
    return true;
}

static enum status no_memory(struct http_request *r, struct err *err) {
    return err_set(err, E_BUSY, "bodies of requests under way hold %llu bytes (the limit); try again", (unsigned long long)r->server->options.bodies_bytes_max);
}

static enum status body_reserve(struct http_request *r, size_t more, struct err *err) {
    size_t want = r->body_n + more + BODY_SLACK;
    if (r->counted == 0 && r->body_cap && !count_bytes(r, r->body_cap)) return no_memory(r, err);
    if (want <= r->body_cap) return OK;
    size_t cap = r->body_cap ? r->body_cap * 2 : 4096;
    if (cap < want) cap = want;
    if (!count_bytes(r, cap - r->body_cap)) return no_memory(r, err);
    r->body = mem_realloc(r->body, cap);
    r->body_cap = cap;
    return OK;
}

static uint64_t body_limit(const struct http_request *r) {
    must(r->server);
    return r->route && r->route->spec.body_bytes_max ? r->route->spec.body_bytes_max : r->server->options.body_bytes_max;
}

static void refuse(struct http_request *r, const struct err *err) {
    must(err->status != OK);
    if (r->refused.status != OK) return;
    r->refused = *err;
    if (r->body_cap > BODY_KEEP_BYTES) { /* what came so far is not needed any more */
        atomic_fetch_sub_explicit(&r->server->bodies_bytes, r->counted, memory_order_relaxed);
        r->counted = 0;
        free(r->body);
        r->body = NULL;
        r->body_cap = 0;
    }
    r->body_n = 0;
}

/* ---- head ---- */

/* RFC 9110 section 5.3: a header that comes twice is a list. */
static struct str join(struct arena *arena, struct str before, struct str value) {
    return before.p ? str_of(arena_printf(arena, "%.*s, %.*s", STR_ARG(before), STR_ARG(value))) : value;
}

/* Which known header has a name of this length; KNOWN_N when none. */
static enum known_header known_by_length(size_t n) {
    switch (n) {
#define X(id, name) \
    case sizeof name - 1: return id;
        KNOWN_HEADERS(X)
#undef X
    default: return KNOWN_N;
    }
}

static const struct str known_names[] = {
#define X(id, name) {name, sizeof name - 1},
    KNOWN_HEADERS(X)
#undef X
};

static enum MHD_Result note_known(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value, size_t value_n) {
    struct http_request *r = cls;
    enum known_header known = known_by_length(key_n);
    if (known == KNOWN_N || !str_ieq((struct str){key, key_n}, known_names[known])) return MHD_YES;
    r->known[known] = join(r->arena, r->known[known], value ? (struct str){value, value_n} : STR(""));
    return MHD_YES;
}

static void check_framing(struct http_request *r, uint64_t *length) {
    struct str te = r->known[KNOWN_TRANSFER_ENCODING], cl = r->known[KNOWN_CONTENT_LENGTH];
    struct err err;
    if (cl.p && !str_to_u64(cl, length)) {
        err_set(&err, E_INVALID, "Content-Length: %.*s is not a number", STR_ARG(str_head(cl, 40)));
        refuse(r, &err);
        r->close_after = true; /* where the next request would begin is anybody's guess */
    }
    if (te.p && cl.p) { /* RFC 9112 section 6.3: the classic way to smuggle a second request past a proxy */
        err_set(&err, E_INVALID, "Transfer-Encoding and Content-Length exclude each other");
        refuse(r, &err);
        r->close_after = true;
    }
    if (te.p && !str_ieq(str_trim(te), STR("chunked"))) {
        err_set(&err, E_UNSUPPORTED, "Transfer-Encoding: %.*s; only chunked is understood", STR_ARG(str_head(te, 40)));
        refuse(r, &err);
        r->close_after = true;
    }
    if (*length > body_limit(r)) {
        err_set(&err, E_LIMIT, "body: %llu bytes, at most %llu are taken here", (unsigned long long)*length, (unsigned long long)body_limit(r));
        refuse(r, &err);
    }
}

static void find_route(struct http_request *r) {
    struct err err;
    struct buf allow = BUF_INIT;
    enum status st = route_find(r->server, str_of(r->method), r->url, r->arena, &r->route, r->parts, &allow, &err);
    if (st == E_UNSUPPORTED) {
        r->code = 405;
        http_add_header(r, "Allow", buf_cstr(&allow));
    }
    buf_free(&allow);
    if (st != OK) {
        r->route = &r->server->unmatched;
        refuse(r, &err);
    }
}

static void begin(struct http_loop *loop, struct MHD_Connection *mhd, const char *url, const char *method, void **con_cls) {
    struct http_server *server = loop->server;
    struct http_request *r = pool_take(server);
    *con_cls = r;
    r->loop = loop;
    atomic_fetch_add_explicit(&server->begun, 1, memory_order_relaxed);
    r->mhd = mhd;
    r->started_us = host_monotonic_us(&server->host);
    r->url = str_of(url);
    r->method = method;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->conn = info ? info->socket_context : NULL;
    must(r->conn);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, note_known, r);
    atomic_store_explicit(&r->conn->body_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&r->conn->since_ms, r->started_us / 1000, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->conn->turn, 1, memory_order_relaxed);
    atomic_store_explicit(&r->conn->phase, CONN_BODY, memory_order_release);
}

/* true: an answer was queued already, without reading the body. */
static bool head_complete(struct http_request *r) {
    struct err err;
    uint64_t length = 0;
    find_route(r);
    if (atomic_load_explicit(&r->server->stopping, memory_order_relaxed)) {
        err_set(&err, E_UNAVAILABLE, "the server stops");
        r->close_after = true;
        refuse(r, &err);
    }
    check_framing(r, &length);
    if (r->refused.status == OK && r->server->options.authorise) {
        err.status = OK;
        if (r->server->options.authorise(r->server->options.authorise_context, r, &r->route->spec, &err) != OK) refuse(r, &err);
    }
    /* A client that asks first (Expect) is told at once; one that sends anyway has its body dropped first, or it would never read the answer. */
    bool asks = r->known[KNOWN_EXPECT].p != NULL;
    if (r->refused.status == OK || (length <= DISCARD_BYTES_MAX && !asks)) return false;
    r->close_after = true;
    http_answer_problem(r, &r->refused, STR_NULL);
    return true;
}

/* ---- body ---- */

static enum MHD_Result accept_chunk(struct http_request *r, const char *bytes, size_t n) {
    atomic_fetch_add_explicit(&r->conn->body_bytes, n, memory_order_relaxed);
    series_add(r->server->m_body_bytes, (int64_t)n);
    struct err err;
    if (r->refused.status == OK && r->body_n + n > body_limit(r)) {
        err_set(&err, E_LIMIT, "body: more than %llu bytes, which is the most that is taken here", (unsigned long long)body_limit(r));
        refuse(r, &err);
    }
    if (r->refused.status == OK && body_reserve(r, n, &err) != OK) refuse(r, &err);
    if (r->refused.status != OK) {
        r->dropped += n;
        return r->dropped <= DISCARD_BYTES_MAX ? MHD_YES : MHD_NO;
    }
    memcpy(r->body + r->body_n, bytes, n);
    r->body_n += n;
    return MHD_YES;
}

enum status http_decompress(struct http_request *r, struct err *err) {
    must(!r->decoded_memory);
    enum coding coding;
    enum status st = coding_parse(r->known[KNOWN_CONTENT_ENCODING], &coding, err);
    if (st != OK || coding == CODING_NONE) return st;
    if (!r->route->spec.decompress) return err_set(err, E_MEDIA_TYPE, "Content-Encoding is not taken here");
    size_t n;
    st = coding_decode(coding, (struct str){r->body, r->body_n}, r->server->options.decompressed_bytes_max, BODY_SLACK, &r->decoded_memory, &n, err);
    if (st != OK) return st;
    r->decoded = (struct str){r->decoded_memory, n};
    return count_bytes(r, n) ? OK : no_memory(r, err);
}

/* The body is complete: on the connection's thread, or for large bodies on a worker. */
static void handle(void *context) {
    struct http_request *r = context;
    struct err err = r->refused;
    if (err.status == OK && r->body_n) {
        memset(r->body + r->body_n, 0, BODY_SLACK);
        if (!r->route->spec.decompress_later) http_decompress(r, &r->refused);
        err = r->refused;
    }
    if (err.status != OK) {
        if (err.status == E_MEDIA_TYPE) http_add_header(r, "Accept-Encoding", r->route->spec.decompress ? "gzip, deflate, zstd" : "identity");
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    r->route->spec.handler(r->route->spec.context, r);
}

static bool is_heavy(struct http_request *r) {
    if (r->refused.status != OK) return false;
    return r->body_n > OFFLOAD_BODY_BYTES || (r->body_n > OFFLOAD_BODY_BYTES / 16 && r->known[KNOWN_CONTENT_ENCODING].p);
}

void http_answer_is_near(struct http_request *r) {
    must(!r->watched);
    r->near = true;
}

/* Lets the connection wait when nothing was answered yet. r belongs to whoever answers from the exchange on. */
static enum MHD_Result wait_or_answer(struct http_request *r, bool near) {
    int expected = atomic_load_explicit(&r->state, memory_order_acquire);
    if (expected == REQUEST_ANSWERED) return answer_queue(r);
    must(expected == REQUEST_RUNNING || expected == REQUEST_LINGERING);
    if (near && loop_may_linger(r->loop, r)) {
        if (expected == REQUEST_LINGERING || atomic_compare_exchange_strong(&r->state, &expected, REQUEST_LINGERING)) return MHD_YES;
        return answer_queue(r);
    }
    struct MHD_Connection *mhd = r->mhd;
    struct http_loop *loop = r->loop;
    MHD_suspend_connection(mhd);
    if (!atomic_compare_exchange_strong(&r->state, &expected, REQUEST_SUSPENDED)) loop_resume(loop, mhd); /* answered in between */
    return MHD_YES;
}

enum MHD_Result request_access(
    void *cls, struct MHD_Connection *mhd, const char *url, const char *method, const char *version, const char *upload, size_t *upload_n, void **con_cls) {
    struct http_request *r = *con_cls;
    struct http_loop *loop = cls;
    if (r && r->handled) return wait_or_answer(r, true);
    loop->busy = true;
    if (!r) {
        begin(loop, mhd, url, method, con_cls);
        r = *con_cls;
        return head_complete(r) ? answer_queue(r) : MHD_YES;
    }
    if (*upload_n) {
        size_t n = *upload_n;
        *upload_n = 0;
        return accept_chunk(r, upload, n);
    }
    r->handled = true;
    atomic_fetch_add_explicit(&r->server->handling, 1, memory_order_relaxed);
    atomic_store_explicit(&r->conn->phase, CONN_HANDLING, memory_order_release);
    if (is_heavy(r)) {
        r->job = (struct job){.run = handle, .context = r};
        worker_push(r->server, POOL_BODIES, &r->job);
        return wait_or_answer(r, false);
    }
    handle(r);
    return wait_or_answer(r, r->near);
}

/* Counted and back to the pool. On the loop's thread, or for an orphan on any: there taking it from `handling` is the last that touches the server. */
static void finish(struct http_request *r, int64_t now_us) {
    struct http_server *server = r->server;
    if (r->code) route_count(r->route, r->code, (double)(now_us - r->started_us) / 1e6);
    bool handled = r->handled;
    pool_give(r);
    atomic_fetch_sub_explicit(&server->begun, 1, memory_order_release);
    if (handled) atomic_fetch_sub_explicit(&server->handling, 1, memory_order_release);
}

void request_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode code) {
    struct http_request *r = *con_cls;
    struct http_loop *loop = cls;
    loop->busy = true;
    if (!r) return;
    *con_cls = NULL;
    int waits = REQUEST_LINGERING;
    if (atomic_compare_exchange_strong(&r->state, &waits, REQUEST_ORPHANED)) return; /* whoever answers ends it */
    if (r->watched) {
        if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) watch_gone(r); /* a streamed answer whose reader left */
        watch_forget(r);
    }
    int64_t now_us = host_monotonic_us(&loop->server->host);
    atomic_store_explicit(&r->conn->since_ms, now_us / 1000, memory_order_relaxed);
    atomic_store_explicit(&r->conn->phase, CONN_HEAD, memory_order_release);
    finish(r, now_us);
}

void request_orphan_end(struct http_request *r) { finish(r, host_monotonic_us(&r->server->host)); }

/* ---- what a handler asks ---- */

struct str http_method(struct http_request *r) {
    return str_of(r->method);
}

struct str http_path(struct http_request *r) {
    if (!r->path.p && !percent_decode(r->url, r->arena, &r->path)) r->path = r->url;
    return r->path;
}

struct str http_part(struct http_request *r, const char *name) {
    for (size_t i = 0; i < r->route->parts_n; i++)
        if (r->route->parts[i].is_name && str_is(r->route->parts[i].text, name)) return r->parts[i];
    return STR_NULL;
}

struct str http_query(struct http_request *r, const char *name) {
    const char *value = NULL;
    size_t n = 0;
    if (MHD_lookup_connection_value_n(r->mhd, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, &n) != MHD_YES) return STR_NULL;
    struct str out;
    if (!value || !n) return STR("");
    return percent_decode((struct str){value, n}, r->arena, &out) ? out : (struct str){value, n};
}

struct lookup {
    struct str name, found;
    struct arena *arena;
};

static enum MHD_Result look(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value, size_t value_n) {
    struct lookup *l = cls;
    if (key_n != l->name.n || !str_ieq((struct str){key, key_n}, l->name)) return MHD_YES;
    l->found = join(l->arena, l->found, value ? (struct str){value, value_n} : STR(""));
    return MHD_YES;
}

struct str http_header(struct http_request *r, const char *name) {
    struct lookup l = {.name = str_of(name), .arena = r->arena};
    enum known_header known = known_by_length(l.name.n);
    if (known != KNOWN_N && str_ieq(l.name, known_names[known])) return r->known[known];
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, look, &l);
    return l.found;
}

struct visit {
    void (*f)(void *context, struct str name, struct str value);
    void *context;
};

static enum MHD_Result visit_one(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value, size_t value_n) {
    struct visit *v = cls;
    v->f(v->context, (struct str){key, key_n}, value ? (struct str){value, value_n} : STR(""));
    return MHD_YES;
}

void http_headers_each(struct http_request *r, void (*f)(void *context, struct str name, struct str value), void *context) {
    struct visit v = {f, context};
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, visit_one, &v);
}

struct str http_raw_body(struct http_request *r) {
    return r->body_n ? (struct str){r->body, r->body_n} : STR("");
}
struct str http_body(struct http_request *r) {
    return r->decoded.p ? r->decoded : http_raw_body(r);
}
struct arena *http_arena(struct http_request *r) {
    return r->arena;
}
void http_set_user(struct http_request *r, void *user) { r->user = user; }
void *http_user(struct http_request *r) { return r->user; }
struct http_server *http_server_of(struct http_request *r) {
    return r->server;
}

struct str http_content_type(struct http_request *r) {
    struct str type = r->known[KNOWN_CONTENT_TYPE];
    if (!type.p) return STR("");
    type = str_trim(str_cut(&type, ';'));
    char *lower = arena_strndup(r->arena, type.p, type.n);
    for (size_t i = 0; i < type.n; i++)
        if (lower[i] >= 'A' && lower[i] <= 'Z') lower[i] = (char)(lower[i] + ('a' - 'A'));
    return (struct str){lower, type.n};
}
