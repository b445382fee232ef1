/* What libmicrohttpd alone can do: takes a POST of any size, answers 202 with a fixed text. No log, no JSON, no suspension. The measure for `make bench`.
 *
 *     bare_http [threads]      prints "127.0.0.1:PORT" and serves until SIGTERM or SIGINT */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char answer[] =
    "{\"accepted\":1,\"duplicates\":0,\"first_id\":\"019a9c00-0000-7001-8000-000000000000\",\"last_id\":\"019a9c00-0000-7001-8000-000000000000\","
    "\"ids\":[\"019a9c00-0000-7001-8000-000000000000\"]}\n";

static enum MHD_Result serve(
    void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version, const char *upload, size_t *upload_n, void **seen) {
    static int marker;
    if (!*seen) {
        *seen = &marker;
        return MHD_YES;
    }
    if (*upload_n) {
        *upload_n = 0;
        return MHD_YES;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(sizeof answer - 1, (void *)(size_t)answer, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    enum MHD_Result result = MHD_queue_response(connection, 202, response);
    MHD_destroy_response(response);
    return result;
}

int main(int argc, char **argv) {
    sigset_t ends;
    int got;
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO, 0, NULL, NULL, serve, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
            12000u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(16u << 10), MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0u, MHD_OPTION_END);
    if (!daemon) {
        fputs("bare_http: cannot start\n", stderr);
        return 1;
    }
    printf("127.0.0.1:%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    sigwait(&ends, &got);
    MHD_stop_daemon(daemon);
    return 0;
}
