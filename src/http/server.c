#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/http_priv.h"

/* Of one connection: request head, read and write buffers. Small, because 10,000 connections hold one each. */
#define CONNECTION_BYTES (12u << 10)
#define TLS_FILE_BYTES_MAX (1u << 20)
#define STOP_GRACE_MS 10000

static struct metric connections = {.name = "cupel_http_connections", .help = "Open client connections.", .kind = METRIC_GAUGE, .labels = ""};
static struct metric body_bytes = {
    .name = "cupel_http_body_bytes_total", .help = "Bytes of request bodies received, before decompression.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric bodies_bytes = {
    .name = "cupel_http_bodies_bytes", .help = "Memory held by request bodies at the moment.", .kind = METRIC_GAUGE, .labels = ""};
static struct metric slow_total = {
    .name = "cupel_http_slow_clients_total", .help = "Connections closed because a head or body came in too slowly.", .kind = METRIC_COUNTER, .labels = ""};
static struct metric gone_total = {
    .name = "cupel_http_gone_clients_total", .help = "Waiting requests whose client hung up.", .kind = METRIC_COUNTER, .labels = ""};

static struct metric stalled_total = {.name = "cupel_http_stalled_clients_total",
    .help = "Streamed answers broken off because the client did not read (sql.stall_seconds).",
    .kind = METRIC_COUNTER,
    .labels = ""};

/* Paths and arguments stay as received: they are cut first and decoded afterwards (route.c). */
static size_t no_unescape(void *cls, struct MHD_Connection *mhd, char *s) { return strlen(s); }

static void mhd_log(void *cls, const char *format, va_list args) {
    char text[300];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\r\n")] = 0;
    log_debug("http", "libmicrohttpd", LOG_STR("text", text), NULL);
}

static void set_defaults(struct http_server_options *o) {
    if (!o->threads) o->threads = (uint32_t)host_cores();
    if (!o->connections_max) o->connections_max = 12000;
    if (!o->body_bytes_max) o->body_bytes_max = 16u << 20;
    if (!o->decompressed_bytes_max) o->decompressed_bytes_max = 64u << 20;
    if (!o->bodies_bytes_max) o->bodies_bytes_max = 512u << 20;
    if (!o->header_time_ms) o->header_time_ms = 10000;
    if (!o->idle_time_ms) o->idle_time_ms = 60000;
    if (!o->workers) o->workers = 8;
}

static enum status read_pem(struct http_server *server, const char *path, const char *what, char **out, struct err *err) {
    ARENA_SCOPE(arena);
    struct str text;
    enum status st = fs_read_all(server->host.fs, arena, path, TLS_FILE_BYTES_MAX, &text, err);
    if (st != OK) return err_prefix(err, "tls.%s", what);
    if (str_find(text, STR("-----BEGIN ")) < 0) return err_set(err, E_CONFIG, "tls.%s: %s is not a PEM file", what, path);
    *out = mem_strndup(text.p, text.n);
    return OK;
}

static enum status start_loop(struct http_server *server, struct http_loop *loop, struct err *err) {
    const struct http_server_options *o = &server->options;
    struct MHD_OptionItem extra[4];
    size_t n = 0;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
    int listen_fd = -1;
    enum status st = host_duplicate(server->listen_fd, &listen_fd, err);
    if (st != OK) return st;
    if (server->tls_cert) {
        flags |= MHD_USE_TLS;
        extra[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, server->tls_cert};
        extra[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, server->tls_key};
    }
    extra[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    unsigned idle_s = (unsigned)((o->idle_time_ms + 999) / 1000);
    unsigned share = (o->connections_max + o->threads - 1) / o->threads;
    loop->server = server;
    loop->waker.fd = -1;
    loop->daemon = MHD_start_daemon(flags, 0, NULL, NULL, request_access, loop, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, share, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, idle_s,
        MHD_OPTION_NOTIFY_COMPLETED, request_completed, loop, MHD_OPTION_NOTIFY_CONNECTION, watch_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape,
        NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, extra, MHD_OPTION_END);
    if (loop->daemon) return loop_start(loop, err);
    host_close(&listen_fd);
    if (server->tls_cert)
        return err_set(err, E_CONFIG, "listen: %s: cannot start TLS; do certificate %s and key %s belong together?", o->listen, o->tls_cert, o->tls_key);
    return err_set(err, E_INTERNAL, "listen: %s: libmicrohttpd cannot start", o->listen);
}

static void end_loops(struct http_server *server) {
    for (uint32_t i = 0; i < server->options.threads; i++)
        if (server->loops[i].server) loop_end(&server->loops[i]);
}

static enum status start_loops(struct http_server *server, struct err *err) {
    enum status st = OK;
    server->loops = mem_zalloc(server->options.threads * sizeof *server->loops);
    for (uint32_t i = 0; i < server->options.threads && st == OK; i++) st = start_loop(server, &server->loops[i], err);
    if (st != OK) end_loops(server);
    return st;
}

static void free_server(struct http_server *server) {
    request_pool_free(server);
    mutex_destroy(&server->pool_lock);
    if (server->tls_key) memset(server->tls_key, 0, strlen(server->tls_key));
    free(server->tls_cert);
    free(server->tls_key);
    free(server->routes);
    free(server->loops);
    free(server);
}

static enum status prepare(struct http_server *server, const struct http_route *routes, size_t n, struct err *err) {
    const struct http_server_options *o = &server->options;
    if ((o->tls_cert == NULL) != (o->tls_key == NULL)) return err_set(err, E_CONFIG, "tls: needs both cert and key");
    for (size_t i = 0; i < n; i++) {
        enum status st = route_compile(&server->routes[i], &routes[i], err);
        if (st != OK) return st;
        server->routes_n++;
    }
    route_metrics_init(&server->unmatched, "(none)");
    enum status st = o->tls_cert ? read_pem(server, o->tls_cert, "cert", &server->tls_cert, err) : OK;
    if (st == OK && o->tls_key) st = read_pem(server, o->tls_key, "key", &server->tls_key, err);
    if (st != OK) return st;
    uint64_t files = host_files_raise(o->connections_max + 512);
    if (files < o->connections_max + 256 && files > 512) server->options.connections_max = (uint32_t)(files - 256);
    return host_listen(o->listen, 1024, &server->listen_fd, server->address, err);
}

enum status http_server_start(const struct http_server_options *options, const struct http_route *routes, size_t n, struct http_server **out, struct err *err) {
    must(options && options->listen && options->host && out);
    struct http_server *server = mem_zalloc(sizeof *server);
    server->options = *options;
    server->host = *options->host;
    server->listen_fd = -1;
    set_defaults(&server->options);
    mutex_init(&server->pool_lock);
    server->routes = mem_zalloc((n ? n : 1) * sizeof *server->routes);
    server->m_connections = metric_series(&connections);
    server->m_body_bytes = metric_series(&body_bytes);
    server->m_bodies = metric_series(&bodies_bytes);
    server->m_slow = metric_series(&slow_total);
    server->m_gone = metric_series(&gone_total);
    server->m_stalled = metric_series(&stalled_total);
    enum status st = prepare(server, routes, n, err);
    if (st != OK) {
        host_close(&server->listen_fd);
        free_server(server);
        return st;
    }
    watch_start(server);
    workers_start(server);
    st = start_loops(server, err);
    if (st != OK) {
        workers_stop(server);
        watch_stop(server);
        host_close(&server->listen_fd);
        free_server(server);
        return st;
    }
    *out = server;
    return OK;
}

const char *http_server_address(const struct http_server *server) { return server->address; }

/* Waits until *count is 0. Long polls end at once: their deadlines are called. */
static bool wait_zero(struct http_server *server, _Atomic int64_t *count, int64_t timeout_ms) {
    for (int64_t until_ms = host_monotonic_ms(&server->host) + timeout_ms; atomic_load(count) > 0;) {
        watch_call_all(server, false);
        if (host_monotonic_ms(&server->host) >= until_ms) return false;
        server->host.clock->sleep_us(server->host.clock->self, 2000);
    }
    return true;
}

/* Requests still on their way when the time is up are cancelled; those that then do not end are left behind with the server's memory: libmicrohttpd cannot
 * stop while a connection is suspended, and freeing what a thread still uses would be worse than leaking at the end of the process. */
void http_server_stop(struct http_server **pointer, int64_t timeout_ms) {
    if (!pointer || !*pointer) return;
    struct http_server *server = *pointer;
    *pointer = NULL;
    atomic_store(&server->stopping, true);
    for (uint32_t i = 0; i < server->options.threads; i++) loop_wish(&server->loops[i], LOOP_QUIET);
    host_close(&server->listen_fd);
    if (strncmp(server->address, "unix:", 5) == 0) (void)server->host.fs->unlink(server->host.fs->self, server->address + 5, NULL);
    if (!wait_zero(server, &server->begun, timeout_ms)) watch_call_all(server, true);
    if (!wait_zero(server, &server->handling, STOP_GRACE_MS)) {
        log_error("http", "requests did not end in time; leaving them behind", LOG_INT("requests", atomic_load(&server->handling)), NULL);
        return;
    }
    end_loops(server);
    workers_stop(server);
    watch_stop(server);
    free_server(server);
}
