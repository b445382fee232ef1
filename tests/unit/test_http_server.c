/* The HTTP server against a real client and raw sockets: routes, bodies, limits, late and streamed answers, hang-ups, slow clients, stop, TLS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "host/thread.h"
#include "http/http.h"
#include "http/http_client.h"

static struct host host;
static struct http_server *server;
static _Atomic int disconnected, ended, deadlines;

/* ---- handlers ---- */

static void echo(void *context, struct http_request *r) {
    struct str body = http_body(r);
    for (int i = 0; i < 64; i++) assert_int_equal(body.n ? body.p[body.n + (size_t)i] : 0, 0); /* padding */
    http_add_header(r, "X-Raw-Bytes", arena_printf(http_arena(r), "%zu", http_raw_body(r).n));
    http_answer(r, 200, "application/octet-stream", body);
}

static void show(void *context, struct http_request *r) {
    char *text = arena_printf(http_arena(r), "%.*s|%.*s|%.*s|%.*s|%.*s", STR_ARG(http_path(r)), STR_ARG(http_part(r, "name")), STR_ARG(http_part(r, "rest")),
        STR_ARG(http_query(r, "q")), STR_ARG(http_header(r, "X-Two")));
    http_answer(r, 200, "text/plain", str_of(text));
}

static void answer_late(void *context) {
    struct http_request *r = context;
    host.clock->sleep_us(host.clock->self, 20000);
    http_answer(r, 202, "text/plain", STR("late"));
}

static void late(void *context, struct http_request *r) {
    struct err err;
    if (http_offload(http_server_of(r), answer_late, r, &err) != OK) http_answer_problem(r, &err, STR_NULL);
}

/* Answers from another thread as fast as it can: races with the suspension. */
static void answer_now(void *context) { http_answer(context, 200, "text/plain", STR("ok")); }
static void race(void *context, struct http_request *r) {
    if (http_offload(http_server_of(r), answer_now, r, NULL) != OK) http_answer(r, 200, "text/plain", STR("ok"));
}

/* The answer comes after ?us=, from another thread; the connection lingers meanwhile. */
static _Atomic int near_answered;
static void answer_near(void *context) {
    struct http_request *r = context;
    host.clock->sleep_us(host.clock->self, (intptr_t)http_user(r));
    atomic_fetch_add(&near_answered, 1);
    http_answer(r, 202, "text/plain", STR("near"));
}
static void near(void *context, struct http_request *r) {
    http_set_user(r, (void *)(intptr_t)strtol(http_query(r, "us").p, NULL, 10));
    http_answer_is_near(r);
    if (http_offload(http_server_of(r), answer_near, r, NULL) != OK) http_answer(r, 202, "text/plain", STR("near"));
}

/* Holds up the polling thread. */
static _Atomic int blocking;
static void block(void *context, struct http_request *r) {
    atomic_fetch_add(&blocking, 1);
    host.clock->sleep_us(host.clock->self, 1000000);
    http_answer(r, 200, "text/plain", STR("done"));
}

static void on_gone(void *context) { atomic_fetch_add(&disconnected, 1); }

static void answer_waiting(void *context) {
    struct http_request *r = context;
    int before = atomic_load(&disconnected);
    for (int i = 0; i < 6000 && atomic_load(&disconnected) == before; i++) host.clock->sleep_us(host.clock->self, 10000);
    http_answer(r, 200, "text/plain", STR("nobody reads this"));
}

static void wait_for_hangup(void *context, struct http_request *r) {
    http_on_disconnect(r, on_gone, NULL);
    http_offload(http_server_of(r), answer_waiting, r, NULL);
}

static void on_deadline(void *context) {
    atomic_fetch_add(&deadlines, 1);
    http_answer(context, 200, "text/plain", STR("time is up"));
}
static void wait_for_deadline(void *context, struct http_request *r) { http_on_deadline(r, strtol(http_query(r, "ms").p, NULL, 10), on_deadline, r); }

struct flow {
    uint64_t left, fail_at;
    bool endless;
};

static enum status flow_next(void *context, void *bytes, size_t n, size_t *got, struct err *err) {
    struct flow *flow = context;
    if (flow->left == flow->fail_at) return err_set(err, E_UNPROCESSABLE, "the flow dries up");
    *got = flow->left < n ? flow->left : n;
    if (flow->fail_at && flow->left > flow->fail_at && *got > flow->left - flow->fail_at) *got = flow->left - flow->fail_at;
    memset(bytes, 'x', *got);
    flow->left -= flow->endless ? 0 : *got;
    return OK;
}

static void flow_end(void *context) {
    atomic_fetch_add(&ended, 1);
    free(context);
}

static void stream(void *context, struct http_request *r) {
    struct flow *flow = mem_zalloc(sizeof *flow);
    flow->left = strtoul(http_query(r, "bytes").p, NULL, 10);
    flow->fail_at = http_query(r, "fail_at").p ? strtoul(http_query(r, "fail_at").p, NULL, 10) : UINT64_MAX;
    flow->endless = http_query(r, "endless").p != NULL;
    http_answer_stream(r, 200, "text/plain", flow_next, flow_end, flow);
}

static void who(void *context, struct http_request *r) {
    http_answer(r, 200, "text/plain",
        str_of(arena_printf(http_arena(r), "%s %s", http_peer_is_loopback(r) ? "here" : "far", http_is_proxied(r) ? "proxied" : "direct")));
}

static enum status authorise(void *context, struct http_request *r, const struct http_route *route, struct err *err) {
    return route->access == 7 && !str_is(http_header(r, "Authorization"), "open sesame") ? err_set(err, E_UNAUTHENTICATED, "say the word") : OK;
}

static const struct http_route routes[] = {
    {"POST", "/echo", echo, .decompress = true, .raw_body = true},
    {"POST", "/plain", echo},
    {"POST", "/small", echo, .body_bytes_max = 100},
    {"GET", "/show/{name}", show},
    {"GET", "/show/fixed", late},
    {"GET", "/show/{name}/deep/{rest...}", show},
    {"POST", "/late", late},
    {"GET", "/race", race},
    {"GET", "/block", block},
    {"GET", "/near", near},
    {"GET", "/hangup", wait_for_hangup},
    {"GET", "/deadline", wait_for_deadline},
    {"GET", "/stream", stream},
    {"GET", "/who", who},
    {"POST", "/closed", echo, .access = 7},
};

static void start(struct http_server_options options) {
    struct err err;
    options.listen = options.listen ? options.listen : "127.0.0.1:0";
    options.host = &host;
    options.authorise = authorise;
    options.threads = 2;
    options.workers = 4;
    options.body_bytes_max = options.body_bytes_max ? options.body_bytes_max : 4 << 20;
    if (http_server_start(&options, routes, sizeof routes / sizeof *routes, &server, &err) != OK) fail_msg("%s", err.text);
}

static int set_up(void **state) {
    host = host_default();
    start((struct http_server_options){.decompressed_bytes_max = 1 << 20});
    return 0;
}

static int tear_down(void **state) {
    http_server_stop(&server, 5000);
    return 0;
}

/* ---- asking ---- */

struct answer {
    struct arena *arena;
    struct http_result result;
    enum status status;
    struct err err;
};

static struct answer ask_with(struct http_call call, const char *path) {
    struct answer a = {.arena = arena_new()};
    struct http_client *client = http_client_new();
    call.url = arena_printf(a.arena, "http://%s%s", http_server_address(server), path);
    a.status = http_client_call(client, a.arena, &call, &a.result, &a.err);
    http_client_free(&client);
    return a;
}

static struct answer ask(const char *method, const char *path, struct str body) { return ask_with((struct http_call){.method = method, .body = body}, path); }

static void expect(struct answer a, int code, const char *body_part) {
    if (a.status != OK) fail_msg("%s", a.err.text);
    if (a.result.code != code || str_find(a.result.body, str_of(body_part)) < 0) fail_msg("%d %.*s", a.result.code, STR_ARG(a.result.body));
    if (code >= 400) assert_true(str_is(a.result.content_type, "application/problem+json"));
    arena_free(&a.arena);
}

static int connect_raw(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *colon = strrchr(http_server_address(server), ':');
    a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval t = {.tv_sec = 10};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void send_raw(int fd, const char *text) { assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text)); }

/* All the server sends until it closes (or ten seconds are over: then *closed is false). */
static char *read_all(int fd, bool *closed) {
    static char text[8192];
    size_t n = 0;
    ssize_t got = 1;
    while (n < sizeof text - 1 && (got = recv(fd, text + n, sizeof text - 1 - n, 0)) > 0) n += (size_t)got;
    text[n] = 0;
    if (closed) *closed = got == 0 || (got < 0 && errno == ECONNRESET);
    close(fd);
    return text;
}

/* ---- routes ---- */

static void routing(void **state) {
    expect(ask("GET", "/show/abc", STR_NULL), 200, "/show/abc|abc|||");
    expect(ask("GET", "/show/fixed", STR_NULL), 202, "late"); /* a literal wins over a name */
    expect(ask("GET", "/show/a%20b?q=x%26y+z", STR_NULL), 200, "/show/a b|a b||x&y z|");
    expect(ask("GET", "/show/a/deep/b/c%2Fd", STR_NULL), 200, "|a|b/c/d||");
    expect(ask("GET", "/show/..%2f..%2fetc", STR_NULL), 200, "|../../etc|"); /* one part: a value, never a path */
    expect(ask("GET", "/show/%00x", STR_NULL), 400, "NUL");
    expect(ask("GET", "/show/%zz", STR_NULL), 400, "hex");
    expect(ask("GET", "/show/x%2", STR_NULL), 400, "hex");
    expect(ask("GET", "/show", STR_NULL), 404, "no such path");
    expect(ask("GET", "/show/", STR_NULL), 404, "no such path");
    expect(ask("GET", "/show/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u", STR_NULL), 404, "no such path");
    struct answer a = ask("DELETE", "/late", STR_NULL);
    assert_true(str_is(http_result_header(&a.result, "Allow"), "POST"));
    expect(a, 405, "method not allowed");
}

static void headers_are_joined(void **state) {
    const char *headers[] = {"X-Two: one", "x-two: two"};
    expect(ask_with((struct http_call){.headers = headers, .headers_n = 2}, "/show/n"), 200, "|one, two");
}

static void peers(void **state) {
    expect(ask("GET", "/who", STR_NULL), 200, "here direct");
    const char *marks[] = {"X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4", "Via: 1.1 x", "X-Real-IP: 1.2.3.4", "x-forwarded-host: a"};
    for (size_t i = 0; i < 5; i++) expect(ask_with((struct http_call){.headers = &marks[i], .headers_n = 1}, "/who"), 200, "here proxied");
}

/* ---- bodies ---- */

static void bodies(void **state) {
    size_t sizes[] = {0, 1, 4031, 4032, 4033, 65536, 1 << 20, (1 << 20) + 1, 4 << 20};
    char *text = malloc(4 << 20);
    for (size_t i = 0; i < 4 << 20; i++) text[i] = (char)(i * 31 + i / 251);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct answer a = ask("POST", "/echo", str_make(text, sizes[i]));
        assert_int_equal(a.result.code, 200);
        assert_true(str_eq(a.result.body, str_make(text, sizes[i])));
        arena_free(&a.arena);
    }
    expect(ask("POST", "/echo", str_make(text, (4 << 20) - 1)), 200, "");
    free(text);
}

static void body_too_large(void **state) {
    char *text = calloc(1, 6 << 20);
    expect(ask("POST", "/echo", str_make(text, (4 << 20) + 1)), 413, "4194304");
    expect(ask("POST", "/small", str_make(text, 101)), 413, "100");
    expect(ask("POST", "/small", str_make(text, 100)), 200, "");
    free(text);
    int fd = connect_raw(); /* no declared length: refused when the limit is passed */
    send_raw(fd, "POST /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n");
    for (int i = 0; i < 10; i++) send_raw(fd, "0123456789");
    send_raw(fd, "\r\n1\r\nx\r\n0\r\n\r\n");
    assert_non_null(strstr(read_all(fd, NULL), "413"));
    fd = connect_raw(); /* a petabyte announced: answered without waiting for it */
    send_raw(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1125899906842624\r\n\r\n");
    bool closed;
    assert_non_null(strstr(read_all(fd, &closed), "application/problem+json"));
    assert_true(closed);
}

static struct str gzip(const char *text, size_t n, size_t *memory) {
    static char out[1 << 17];
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)text, .avail_in = (unsigned)n, .next_out = (unsigned char *)out, .avail_out = sizeof out};
    deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    *memory = sizeof out - z.avail_out;
    return str_make(out, *memory);
}

static void compressed_bodies(void **state) {
    const char *header = "Content-Encoding: gzip";
    size_t n;
    struct str body = gzip("hello hello hello", 17, &n);
    struct http_call call = {.body = body, .headers = &header, .headers_n = 1};
    struct answer a = ask_with(call, "/echo");
    assert_int_equal(strtoul(http_result_header(&a.result, "X-Raw-Bytes").p, NULL, 10), n); /* what was received is there too */
    expect(a, 200, "hello hello hello");
    expect(ask_with(call, "/plain"), 415, "not taken here");
    call.body.n -= 3;
    expect(ask_with(call, "/echo"), 400, "cut off");
    char *zeros = calloc(1, 8 << 20);
    call.body = gzip(zeros, 8 << 20, &n);
    expect(ask_with(call, "/echo"), 413, "1048576 bytes after decompression");
    free(zeros);
    const char *other = "Content-Encoding: br";
    expect(ask_with((struct http_call){.body = STR("x"), .headers = &other, .headers_n = 1}, "/echo"), 415, "br");
}

static void refused_before_the_body(void **state) {
    expect(ask("POST", "/closed", STR("x")), 401, "say the word");
    const char *word = "Authorization: open sesame";
    expect(ask_with((struct http_call){.body = STR("x"), .headers = &word, .headers_n = 1}, "/closed"), 200, "x");
    int fd = connect_raw();
    send_raw(fd, "POST /closed HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"); /* waits for leave: told at once */
    char *text = read_all(fd, NULL);
    assert_non_null(strstr(text, "HTTP/1.1 401"));
    assert_null(strstr(text, "100 Continue"));
}

static void smuggling_is_refused(void **state) {
    int fd = connect_raw();
    send_raw(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    char *text = read_all(fd, NULL);
    assert_non_null(strstr(text, "HTTP/1.1 400"));
    assert_null(strstr(text, "200 OK"));
}

static void broken_requests_close(void **state) {
    const char *broken[] = {"NONSENSE\r\n\r\n", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "GET /who HTTP/1.1\r\n\r\n", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\nx"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        bool closed;
        int fd = connect_raw();
        send_raw(fd, broken[i]);
        char *text = read_all(fd, &closed);
        if (!closed || strstr(text, "200 OK")) fail_msg("case %zu: %s", i, text);
    }
    expect(ask("GET", "/who", STR_NULL), 200, "here");
}

/* ---- late answers ---- */

static void answers_from_other_threads(void **state) {
    expect(ask("POST", "/late", STR("x")), 202, "late");
    struct http_client *client = http_client_new();
    for (int i = 0; i < 2000; i++) { /* one connection, answers that race with the suspension */
        ARENA_SCOPE(arena);
        struct http_result result;
        struct http_call call = {.url = arena_printf(arena, "http://%s/race", http_server_address(server))};
        assert_int_equal(http_client_call(client, arena, &call, &result, NULL), OK);
        assert_true(str_is(result.body, "ok"));
    }
    http_client_free(&client);
}

static void near_answers(void **state) {
    for (int i = 0; i < 300; i++) expect(ask("GET", "/near?us=0", STR_NULL), 202, "near");
    expect(ask("GET", "/near?us=500", STR_NULL), 202, "near");
    expect(ask("GET", "/near?us=60000", STR_NULL), 202, "near"); /* longer than a connection may linger */
}

/* The request is the answerer's until it has answered, whatever becomes of the connection. */
static void near_answers_to_nobody(void **state) {
    for (int round = 0; round < 40; round++) {
        int before = atomic_load(&near_answered);
        int fds[8];
        for (int i = 0; i < 8; i++) {
            fds[i] = connect_raw();
            send_raw(fds[i], i % 2 ? "GET /near?us=3000 HTTP/1.1\r\nHost: x\r\n\r\n" : "GET /near?us=30000 HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        if (round % 2) host.clock->sleep_us(host.clock->self, 1000);
        for (int i = 0; i < 8; i++) {
            struct linger reset = {.l_onoff = 1};
            if (i % 4 < 2) setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close(fds[i]);
        }
        if (round % 8 == 7)
            for (int i = 0; i < 200 && atomic_load(&near_answered) < before + 4; i++) host.clock->sleep_us(host.clock->self, 1000);
    }
    expect(ask("GET", "/near?us=100", STR_NULL), 202, "near");
}

static void wait_count(_Atomic int *counter, int wanted) {
    for (int i = 0; i < 6000 && atomic_load(counter) < wanted; i++) usleep(10000);
    assert_int_equal(atomic_load(counter), wanted);
}

static void hang_up_is_noticed(void **state) {
    int before = atomic_load(&disconnected), fd = connect_raw();
    send_raw(fd, "GET /hangup HTTP/1.1\r\nHost: x\r\n\r\n");
    usleep(50000);
    assert_int_equal(atomic_load(&disconnected), before);
    close(fd);
    wait_count(&disconnected, before + 1);
    expect(ask("GET", "/who", STR_NULL), 200, "here");
}

static void deadline_answers(void **state) {
    int64_t began_ms = host_monotonic_ms(&host);
    expect(ask("GET", "/deadline?ms=250", STR_NULL), 200, "time is up");
    int64_t took_ms = host_monotonic_ms(&host) - began_ms;
    assert_in_range(took_ms, 240, 60000);
}

/* ---- streams ---- */

static void streamed_answers(void **state) {
    const size_t sizes[] = {1, 131072, 131073, 5000000};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        int before = atomic_load(&ended);
        snprintf(path, sizeof path, "/stream?bytes=%zu", sizes[i]);
        struct answer a = ask("GET", path, STR_NULL);
        assert_int_equal(a.status, OK);
        assert_int_equal(a.result.body.n, sizes[i]);
        arena_free(&a.arena);
        wait_count(&ended, before + 1);
    }
}

static void streams_that_fail(void **state) {
    int before = atomic_load(&ended);
    expect(ask("GET", "/stream?bytes=10&fail_at=10", STR_NULL), 422, "dries up"); /* before the first byte: a proper problem */
    struct answer a = ask("GET", "/stream?bytes=1000000&fail_at=10", STR_NULL); /* later: the client must see that it is not whole */
    assert_int_equal(a.status, E_IO);
    arena_free(&a.arena);
    wait_count(&ended, before + 2);
}

static void stream_whose_reader_leaves(void **state) {
    int before = atomic_load(&ended);
    for (int i = 0; i < 5; i++) {
        int fd = connect_raw();
        char some[5000];
        send_raw(fd, "GET /stream?bytes=1&endless=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(recv(fd, some, sizeof some, 0) > 0);
        close(fd);
    }
    wait_count(&ended, before + 5);
}

/* ---- clients that stall ---- */

static void slow_clients_are_closed(void **state) {
    http_server_stop(&server, 1000);
    start((struct http_server_options){.header_time_ms = 600, .idle_time_ms = 20000});
    int head = connect_raw(), body = connect_raw(), idle = connect_raw(), second = connect_raw();
    char got[4096];
    send_raw(second, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"); /* its second head trickles */
    assert_true(recv(second, got, sizeof got, 0) > 0);
    usleep(400000);
    send_raw(body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    const char *trickle = "GET /who HTTP/1.1\r\nHost: x\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    for (size_t i = 0; i < 40; i++) {
        (void)!send(head, trickle + i, 1, MSG_NOSIGNAL);
        (void)!send(second, trickle + i, 1, MSG_NOSIGNAL);
        (void)!send(body, "x", 1, MSG_NOSIGNAL);
        usleep(100000);
    }
    bool closed = false;
    read_all(head, &closed);
    assert_true(closed);
    read_all(second, &closed);
    assert_true(closed);
    read_all(body, &closed);
    assert_true(closed);
    send_raw(idle, "GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); /* sent nothing for four seconds: welcome */
    assert_non_null(strstr(read_all(idle, &closed), "here"));
}

/* A connection that was silent for longer than a head may take sends its first one whole while the server is busy: that is no slow client. */
static void heads_that_wait_for_us_are_not_slow(void **state) {
    http_server_stop(&server, 1000);
    start((struct http_server_options){.header_time_ms = 200, .idle_time_ms = 60000, .threads = 1});
    int early = connect_raw(), busy = connect_raw(), before = atomic_load(&blocking);
    usleep(400000);
    send_raw(busy, "GET /block HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_count(&blocking, before + 1);
    send_raw(early, "GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    bool closed = false;
    assert_non_null(strstr(read_all(early, &closed), "here"));
    assert_non_null(strstr(read_all(busy, &closed), "done"));
}

static void bodies_together_are_limited(void **state) {
    http_server_stop(&server, 1000);
    start((struct http_server_options){.bodies_bytes_max = 100000});
    char *text = calloc(1, 200000);
    struct answer a = ask("POST", "/echo", str_make(text, 200000));
    assert_true(str_is(http_result_header(&a.result, "Retry-After"), "1"));
    expect(a, 503, "100000 bytes");
    for (int i = 0; i < 50; i++) expect(ask("POST", "/echo", str_make(text, 30000)), 200, ""); /* nothing leaks from the budget */
    free(text);
}

/* ---- stop, addresses ---- */

static void *ask_late(void *argument) {
    struct answer *a = argument;
    *a = ask("POST", "/late", STR("x"));
    return NULL;
}

static void *ask_deadline(void *argument) {
    struct answer *a = argument;
    *a = ask("GET", "/deadline?ms=60000", STR_NULL);
    return NULL;
}

static void stop_lets_requests_end(void **state) {
    http_server_stop(&server, 1000);
    start((struct http_server_options){0});
    struct answer first = {0}, second = {0};
    struct thread one = {0}, two = {0};
    thread_start(&one, "late", ask_late, &first);
    thread_start(&two, "deadline", ask_deadline, &second);
    usleep(10000);
    int64_t began_ms = host_monotonic_ms(&host);
    usleep(5000);
    struct http_server *stopping = server;
    http_server_stop(&stopping, 5000);
    thread_join(&one);
    thread_join(&two);
    assert_true(host_monotonic_ms(&host) - began_ms < 30000); /* long polls do not hold it up */
    if (first.status == OK) assert_int_equal(first.result.code, 202);
    if (second.status == OK) assert_int_equal(second.result.code, 200);
    arena_free(&first.arena);
    arena_free(&second.arena);
    server = NULL;
    start((struct http_server_options){0});
}

static void addresses(void **state) {
    struct err err;
    struct http_server *other = NULL;
    struct http_server_options options = {.listen = http_server_address(server), .host = &host};
    assert_int_equal(http_server_start(&options, routes, 1, &other, &err), E_CONFLICT);
    assert_non_null(strstr(err.text, "in use"));
    const char *bad[] = {"nonsense", "127.0.0.1:99999", "::1:80", "unix:", ":80"};
    for (size_t i = 0; i < 5; i++) {
        options.listen = bad[i];
        assert_int_equal(http_server_start(&options, routes, 1, &other, &err), E_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
    }
    options = (struct http_server_options){.listen = "127.0.0.1:0", .host = &host, .tls_cert = "/dev/null"};
    assert_int_equal(http_server_start(&options, routes, 1, &other, &err), E_CONFIG);
    options.tls_key = "/nowhere/key.pem";
    assert_int_not_equal(http_server_start(&options, routes, 1, &other, &err), OK);
    assert_null(other);
}

static void unix_socket(void **state) {
    char path[64], listen[80];
    snprintf(path, sizeof path, "/tmp/cupel-http-test-%d.sock", (int)getpid());
    snprintf(listen, sizeof listen, "unix:%s", path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0); /* what a killed server leaves behind */
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    assert_int_equal(bind(stale, (struct sockaddr *)&name, sizeof name), 0);
    close(stale);
    http_server_stop(&server, 1000);
    start((struct http_server_options){.listen = listen});
    ARENA_SCOPE(arena);
    struct http_client *client = http_client_new();
    struct http_result result;
    struct http_call call = {.url = "http://localhost/who", .unix_path = path};
    assert_int_equal(http_client_call(client, arena, &call, &result, NULL), OK);
    assert_true(str_is(result.body, "here direct"));
    http_client_free(&client);
    http_server_stop(&server, 1000);
    assert_int_not_equal(access(path, F_OK), 0);
    start((struct http_server_options){0});
}

static void client_errors(void **state) {
    ARENA_SCOPE(arena);
    struct http_client *client = http_client_new();
    struct http_result result;
    struct err err;
    struct http_call call = {.url = "http://127.0.0.1:1/"};
    assert_int_equal(http_client_call(client, arena, &call, &result, &err), E_UNAVAILABLE);
    call.url = "gopher://127.0.0.1/";
    assert_int_equal(http_client_call(client, arena, &call, &result, &err), E_INVALID);
    call = (struct http_call){.url = arena_printf(arena, "http://%s/deadline?ms=5000", http_server_address(server)), .total_ms = 100};
    assert_int_equal(http_client_call(client, arena, &call, &result, &err), E_TIMEOUT);
    call = (struct http_call){.url = arena_printf(arena, "http://%s/stream?bytes=100000", http_server_address(server)), .answer_bytes_max = 1000};
    assert_int_equal(http_client_call(client, arena, &call, &result, &err), E_LIMIT);
    http_client_free(&client);
    BUF_SCOPE(escaped);
    url_escape(&escaped, STR("a b/\xc3\xa9~"));
    assert_true(str_is(buf_view(&escaped), "a%20b%2F%C3%A9~"));
}

static void metrics_count_routes(void **state) {
    expect(ask("GET", "/who", STR_NULL), 200, "here");
    BUF_SCOPE(text);
    for (int i = 0; i < 6000; i++) { /* it is counted after the answer */
        buf_clear(&text);
        metrics_write(&text);
        if (strstr(buf_cstr(&text), "cupel_http_requests_total{route=\"/who\",code=\"200\"}")) break;
        usleep(10000);
    }
    assert_non_null(strstr(buf_cstr(&text), "cupel_http_requests_total{route=\"/who\",code=\"200\"}"));
    assert_non_null(strstr(buf_cstr(&text), "cupel_http_requests_total{route=\"(none)\",code=\"404\"}"));
    assert_null(strstr(buf_cstr(&text), "etc")); /* label values come from patterns, never from what clients send */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routing),
        cmocka_unit_test(headers_are_joined),
        cmocka_unit_test(peers),
        cmocka_unit_test(bodies),
        cmocka_unit_test(body_too_large),
        cmocka_unit_test(compressed_bodies),
        cmocka_unit_test(refused_before_the_body),
        cmocka_unit_test(smuggling_is_refused),
        cmocka_unit_test(broken_requests_close),
        cmocka_unit_test(answers_from_other_threads),
        cmocka_unit_test(near_answers),
        cmocka_unit_test(near_answers_to_nobody),
        cmocka_unit_test(hang_up_is_noticed),
        cmocka_unit_test(deadline_answers),
        cmocka_unit_test(streamed_answers),
        cmocka_unit_test(streams_that_fail),
        cmocka_unit_test(stream_whose_reader_leaves),
        cmocka_unit_test(slow_clients_are_closed),
        cmocka_unit_test(heads_that_wait_for_us_are_not_slow),
        cmocka_unit_test(bodies_together_are_limited),
        cmocka_unit_test(stop_lets_requests_end),
        cmocka_unit_test(addresses),
        cmocka_unit_test(unix_socket),
        cmocka_unit_test(client_errors),
        cmocka_unit_test(metrics_count_routes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
