/* The watcher: one thread that looks where libmicrohttpd does not.
 *
 * - A head that trickles in: libmicrohttpd's time-out starts anew with every byte. The kernel's count of received bytes tells when a head has begun.
 * - A body that trickles in: less than BODY_RATE_MIN on average after three header times.
 * - A client that closed in the middle and was not noticed (see left_behind).
 * - The client of a suspended request hanging up: its descriptor is not in the epoll set meanwhile.
 * - Deadlines of suspended requests.
 * - A client that does not read its streamed answer. */
#include <malloc.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "http/http_priv.h"

#define BODY_RATE_MIN 512 /* bytes per second */
#define TRIM_CONNECTIONS_MIN 1000
#define WATCH_TICK_MS 100 /* while requests are watched */

static void connection_started(struct http_server *server, struct MHD_Connection *mhd, void **socket_context) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    must(info);
    struct http_conn *conn = mem_zalloc(sizeof *conn);
    conn->fd = info->connect_fd;
    atomic_store(&conn->since_ms, host_monotonic_ms(&server->host));
    *socket_context = conn;
    mutex_lock(&server->watch_lock);
    conn->next = server->conns;
    if (conn->next) conn->next->prev = conn;
    server->conns = conn;
    server->conns_n++;
    mutex_unlock(&server->watch_lock);
    series_add(server->m_connections, 1);
}

void watch_connection(void *cls, struct MHD_Connection *mhd, void **socket_context, enum MHD_ConnectionNotificationCode code) {
    struct http_server *server = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(server, mhd, socket_context);
        return;
    }
    struct http_conn *conn = *socket_context;
    if (!conn) return;
    *socket_context = NULL;
    mutex_lock(&server->watch_lock); /* libmicrohttpd closes the descriptor after this call: the watcher never touches a number that was given away */
    if (conn->prev) conn->prev->next = conn->next;
    if (conn->next) conn->next->prev = conn->prev;
    if (server->conns == conn) server->conns = conn->next;
    server->conns_n--;
    mutex_unlock(&server->watch_lock);
    free(conn);
    series_add(server->m_connections, -1);
}

/* Between requests, or a head coming in. A connection may be old when its first head comes. While we have not read what came, we are slow, not the client. */
static bool head_too_slow(struct http_server *server, struct http_conn *conn, uint64_t bytes, uint64_t unread, int64_t now_ms) {
    uint32_t turn = atomic_load_explicit(&conn->turn, memory_order_relaxed);
    if (turn != conn->seen_turn) { /* first look since its last request: what came until now is the base line */
        conn->seen_turn = turn;
        conn->base_bytes = bytes;
        conn->head_since_ms = 0;
        return false;
    }
    if (bytes == conn->base_bytes || unread) return false;
    if (!conn->head_since_ms) conn->head_since_ms = now_ms;
    return now_ms - conn->head_since_ms > server->options.header_time_ms;
}

static bool body_too_slow(struct http_server *server, struct http_conn *conn, int64_t now_ms) {
    int64_t took_ms = now_ms - atomic_load_explicit(&conn->since_ms, memory_order_relaxed);
    if (took_ms <= 3 * server->options.header_time_ms) return false;
    return atomic_load_explicit(&conn->body_bytes, memory_order_relaxed) < (uint64_t)took_ms * BODY_RATE_MIN / 1000;
}

/* The peer has closed and nothing more came since the last look. libmicrohttpd misses this when the end was already there at its last read: its epoll is edge
 * triggered, and no further edge comes. */
static bool left_behind(struct http_conn *conn, uint64_t bytes, bool peer_ended) {
    bool same = conn->seen_bytes == bytes;
    conn->seen_bytes = bytes;
    return peer_ended && same;
}

static bool stalled(struct http_conn *conn, int64_t now_ms) {
    int64_t since_ms = atomic_load(&conn->unread_since_ms);
    if (!since_ms || now_ms - since_ms <= atomic_load_explicit(&conn->stall_ms, memory_order_relaxed)) return false;
    atomic_store(&conn->unread_since_ms, 0); /* told once */
    return true;
}

/* The lock is held. */
static void check_connections(struct http_server *server, int64_t now_ms) {
    for (struct http_conn *conn = server->conns; conn; conn = conn->next) {
        int phase = atomic_load_explicit(&conn->phase, memory_order_acquire);
        uint64_t bytes, unread;
        bool peer_ended, tcp = phase != CONN_HANDLING && host_socket_received(conn->fd, &bytes, &unread, &peer_ended);
        bool stands = stalled(conn, now_ms);
        if (stands) series_add(server->m_stalled, 1);
        bool slow = phase == CONN_BODY ? body_too_slow(server, conn, now_ms) : tcp && head_too_slow(server, conn, bytes, unread, now_ms);
        if (!slow && !stands && !(tcp && left_behind(conn, bytes, peer_ended))) continue;
        host_socket_shutdown(conn->fd); /* libmicrohttpd sees the end and closes */
        if (slow) series_add(server->m_slow, 1);
    }
}

/* Thousands of connections went: their memory goes back to the system, which malloc does not do by itself. The lock is held. */
static bool memory_is_idle(struct http_server *server) {
    if (server->conns_n > server->conns_peak) server->conns_peak = server->conns_n;
    if (server->conns_peak < TRIM_CONNECTIONS_MIN || server->conns_n > server->conns_peak / 4) return false;
    server->conns_peak = server->conns_n;
    return true;
}

/* ---- requests that are watched: a list, the lock is held ---- */

static void unlink_watched(struct http_request *r) {
    struct http_server *server = r->server;
    if (r->watch_prev) r->watch_prev->watch_next = r->watch_next;
    if (r->watch_next) r->watch_next->watch_prev = r->watch_prev;
    if (server->watched == r) server->watched = r->watch_next;
    if (server->watched_tail == r) server->watched_tail = r->watch_prev;
    r->watch_next = r->watch_prev = NULL;
}

static void append_watched(struct http_request *r) {
    struct http_server *server = r->server;
    r->watch_prev = server->watched_tail;
    r->watch_next = NULL;
    if (r->watch_prev) r->watch_prev->watch_next = r;
    server->watched_tail = r;
    if (!server->watched) server->watched = r;
}

/* ---- what is due ---- */

enum due_mode { DUE_NOW, DUE_DEADLINES, DUE_ALL };

/* What r has to be told now, taken from it; false: nothing. */
static bool take_due(struct http_request *r, int64_t now_ms, enum due_mode mode, void (**f)(void *), void **context) {
    if (r->on_gone && (mode == DUE_ALL || (mode == DUE_NOW && host_peer_gone(r->conn->fd)))) {
        *f = r->on_gone;
        *context = r->gone_context;
        r->on_gone = NULL;
        if (mode == DUE_NOW) series_add(r->server->m_gone, 1);
        return true;
    }
    if (r->on_deadline && (mode != DUE_NOW || now_ms >= r->deadline_ms)) {
        *f = r->on_deadline;
        *context = r->deadline_context;
        r->on_deadline = NULL;
        return true;
    }
    return false;
}

/* The next request of this pass with something to do. The lock is given up between two, so the list changes meanwhile: what was looked at goes to the end,
 * and the pass is over when such a one is met again. */
static struct http_request *due(struct http_server *server, int64_t now_ms, enum due_mode mode, void (**f)(void *), void **context) {
    for (struct http_request *r; (r = server->watched) && r->watch_round != server->watch_round;) {
        if (take_due(r, now_ms, mode, f, context)) return r;
        unlink_watched(r);
        r->watch_round = server->watch_round;
        append_watched(r);
    }
    return NULL;
}

/* The lock is held at the call and at the return, not during the call-backs. */
static void call_due(struct http_server *server, enum due_mode mode) {
    int64_t now_ms = host_monotonic_ms(&server->host);
    void (*f)(void *) = NULL;
    void *context = NULL;
    while (server->calling) condition_wait(&server->watch_called, &server->watch_lock);
    server->watch_round++;
    for (;;) {
        while (server->calling) condition_wait(&server->watch_called, &server->watch_lock); /* one call-back at a time */
        if (!(server->calling = due(server, now_ms, mode, &f, &context))) break;
        server->caller = pthread_self();
        mutex_unlock(&server->watch_lock);
        f(context);
        mutex_lock(&server->watch_lock);
        server->calling = NULL;
        condition_broadcast(&server->watch_called);
    }
}

static void *watch(void *argument) {
    struct http_server *server = argument;
    int64_t slow_tick_ms = server->options.header_time_ms / 4 < 1000 ? server->options.header_time_ms / 4 : 1000, next_check_ms = 0;
    if (slow_tick_ms < 50) slow_tick_ms = 50;
    WITH_LOCK(&server->watch_lock);
    while (!server->watch_end) {
        condition_wait_ms(&server->watch_wake, &server->watch_lock, server->watched && slow_tick_ms > WATCH_TICK_MS ? WATCH_TICK_MS : slow_tick_ms);
        int64_t now_ms = host_monotonic_ms(&server->host);
        if (now_ms >= next_check_ms) {
            check_connections(server, now_ms);
            series_set(server->m_bodies, (int64_t)atomic_load(&server->bodies_bytes));
            next_check_ms = now_ms + slow_tick_ms;
            if (memory_is_idle(server)) {
                mutex_unlock(&server->watch_lock);
                malloc_trim(0);
                mutex_lock(&server->watch_lock);
            }
        }
        if (server->watched) call_due(server, DUE_NOW);
    }
    return NULL;
}

void watch_start(struct http_server *server) {
    mutex_init(&server->watch_lock);
    condition_init(&server->watch_wake);
    condition_init(&server->watch_called);
    thread_start(&server->watcher, "http-watch", watch, server);
}

void watch_stop(struct http_server *server) {
    mutex_lock(&server->watch_lock);
    server->watch_end = true;
    condition_broadcast(&server->watch_wake);
    mutex_unlock(&server->watch_lock);
    thread_join(&server->watcher);
    condition_destroy(&server->watch_wake);
    condition_destroy(&server->watch_called);
    mutex_destroy(&server->watch_lock);
}

void watch_call_all(struct http_server *server, bool gone_too) {
    mutex_lock(&server->watch_lock);
    call_due(server, gone_too ? DUE_ALL : DUE_DEADLINES);
    mutex_unlock(&server->watch_lock);
}

/* ---- requests that are watched ---- */

/* The lock is held. New ones come first: the pass under way, if any, looks at them too. */
static void enlist(struct http_request *r) {
    struct http_server *server = r->server;
    if (r->watched) return;
    bool was_empty = !server->watched;
    r->watched = true;
    r->watch_round = server->watch_round - 1;
    r->watch_prev = NULL;
    r->watch_next = server->watched;
    if (r->watch_next) r->watch_next->watch_prev = r;
    server->watched = r;
    if (!server->watched_tail) server->watched_tail = r;
    if (was_empty) condition_broadcast(&server->watch_wake);
}

static bool on_caller(const struct http_server *server) { return pthread_equal(pthread_self(), server->caller) != 0; }

void watch_forget(struct http_request *r) {
    struct http_server *server = r->server;
    WITH_LOCK(&server->watch_lock);
    while (server->calling == r && !on_caller(server)) condition_wait(&server->watch_called, &server->watch_lock);
    if (!r->watched) return;
    unlink_watched(r);
    r->watched = false;
    r->on_gone = r->on_deadline = NULL;
}

void watch_gone(struct http_request *r) {
    mutex_lock(&r->server->watch_lock);
    void (*f)(void *) = r->on_gone;
    r->on_gone = NULL;
    mutex_unlock(&r->server->watch_lock);
    if (f) f(r->gone_context);
}

void http_on_disconnect(struct http_request *r, void (*f)(void *context), void *context) {
    if (!f && !r->watched) return;
    WITH_LOCK(&r->server->watch_lock);
    while (!f && r->server->calling == r && !on_caller(r->server)) condition_wait(&r->server->watch_called, &r->server->watch_lock);
    r->on_gone = f;
    r->gone_context = context;
    if (f) enlist(r);
}

void http_on_deadline(struct http_request *r, int64_t after_ms, void (*f)(void *context), void *context) {
    must(after_ms >= 0);
    if (!f && !r->watched) return;
    WITH_LOCK(&r->server->watch_lock);
    while (!f && r->server->calling == r && !on_caller(r->server)) condition_wait(&r->server->watch_called, &r->server->watch_lock);
    r->on_deadline = f;
    r->deadline_context = context;
    r->deadline_ms = host_monotonic_ms(&r->server->host) + after_ms;
    if (f) enlist(r);
}
