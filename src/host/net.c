#include "host/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/str.h"

#define TCP_CLOSE_WAIT_STATE 8 /* TCP_CLOSE_WAIT of the kernel's include/net/tcp_states.h, whose header cannot be had together with <linux/tcp.h> */

static enum status listen_failed(int fd, const char *address, const char *what, struct err *err) {
    int e = errno;
    if (fd >= 0) close(fd);
    if (e == EADDRINUSE) return err_set(err, E_CONFLICT, "listen: %s is in use by another program", address);
    return err_set_errno(err, e, "listen: %s %s", what, address);
}

static bool somebody_listens(const struct sockaddr_un *name) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return true; /* cannot tell: leave the file alone */
    bool yes = connect(fd, (const struct sockaddr *)name, sizeof *name) == 0 || errno == EAGAIN;
    close(fd);
    return yes;
}

static enum status listen_unix(const char *address, const char *path, int backlog, int *out, char actual[HOST_ADDRESS_MAX], struct err *err) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (!n || n >= sizeof name.sun_path)
        return err_set(err, E_INVALID, "listen: %s: the path of a unix socket has 1 to %zu bytes", address, sizeof name.sun_path - 1);
    memcpy(name.sun_path, path, n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return listen_failed(fd, address, "making a socket for", err);
    struct stat st;
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && !somebody_listens(&name)) unlink(path);
    mode_t before = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&name, sizeof name);
    umask(before);
    if (rc != 0) return listen_failed(fd, address, "binding", err);
    if (listen(fd, backlog) != 0) return listen_failed(fd, address, "listening on", err);
    snprintf(actual, HOST_ADDRESS_MAX, "unix:%s", path);
    *out = fd;
    return OK;
}

static void describe(int fd, char actual[HOST_ADDRESS_MAX]) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } s = {0};
    socklen_t n = sizeof s;
    char text[INET6_ADDRSTRLEN] = "?";
    if (getsockname(fd, &s.any, &n) == 0 && s.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &s.v6.sin6_addr, text, sizeof text);
        snprintf(actual, HOST_ADDRESS_MAX, "[%s]:%u", text, (unsigned)ntohs(s.v6.sin6_port));
        return;
    }
    inet_ntop(AF_INET, &s.v4.sin_addr, text, sizeof text);
    snprintf(actual, HOST_ADDRESS_MAX, "%s:%u", text, (unsigned)ntohs(s.v4.sin_port));
}

/* "host:port" and "[v6]:port" into two texts; false when it is neither. */
static bool split_address(const char *address, char host[HOST_ADDRESS_MAX], char port[8]) {
    const char *colon = strrchr(address, ':');
    uint64_t number;
    if (!colon || !str_to_u64(str_of(colon + 1), &number) || number > 65535) return false;
    struct str h = {address, (size_t)(colon - address)};
    if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
        h = (struct str){h.p + 1, h.n - 2};
    else if (memchr(h.p, ':', h.n))
        return false;
    if (!h.n || h.n >= HOST_ADDRESS_MAX) return false;
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    snprintf(port, 8, "%u", (unsigned)number);
    return true;
}

enum status host_listen(const char *address, int backlog, int *fd, char actual[HOST_ADDRESS_MAX], struct err *err) {
    must(address && fd && actual);
    if (strncmp(address, "unix:", 5) == 0) return listen_unix(address, address + 5, backlog, fd, actual, err);
    char host[HOST_ADDRESS_MAX], port[8];
    if (!split_address(address, host, port)) return err_set(err, E_INVALID, "listen: %s: expected host:port, [v6]:port or unix:/path", address);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    int rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, &found);
    if (rc != 0) return err_set(err, E_INVALID, "listen: %s: %s", address, gai_strerror(rc));
    int s = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    rc = s < 0 ? -1 : setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (rc == 0) rc = bind(s, found->ai_addr, found->ai_addrlen);
    if (rc == 0) rc = listen(s, backlog);
    freeaddrinfo(found);
    if (rc != 0) return listen_failed(s, address, "listening on", err);
    describe(s, actual);
    *fd = s;
    return OK;
}

enum status host_duplicate(int fd, int *out, struct err *err) {
    must(fd >= 0);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return err_set_errno(err, errno, "one more descriptor of a socket");
    *out = copy;
    return OK;
}

bool host_socket_received(int fd, uint64_t *bytes, uint64_t *unread, bool *peer_ended) {
    struct tcp_info info;
    socklen_t n = sizeof info;
    int waiting = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0) return false;
    if (n < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received) return false;
    *bytes = info.tcpi_bytes_received;
    *unread = ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0 ? (uint64_t)waiting : 0;
    *peer_ended = info.tcpi_state == TCP_CLOSE_WAIT_STATE;
    return true;
}

void host_socket_shutdown(int fd) { (void)shutdown(fd, SHUT_RDWR); }

uint64_t host_files_raise(uint64_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    if (limit.rlim_cur >= wanted) return limit.rlim_cur;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}
