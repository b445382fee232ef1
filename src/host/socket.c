#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "host/host.h"

enum status host_socketpair(int fds[2], struct err *err) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return err_set_errno(err, errno, "making a socket pair");
    fds[0] = pair[0];
    fds[1] = pair[1];
    return OK;
}

static enum status peer_error(int error_number, struct err *err) {
    if (error_number == EPIPE || error_number == ECONNRESET) return err_set(err, E_UNAVAILABLE, "the peer process is gone");
    return err_set_errno(err, error_number, "talking to the peer process");
}

enum status host_send(int fd, const void *bytes, size_t n, struct err *err) {
    const char *p = bytes;
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return peer_error(errno, err);
        p += sent;
        n -= (size_t)sent;
    }
    return OK;
}

enum status host_recv_some(int fd, void *bytes, size_t n, size_t *got, struct err *err) {
    for (;;) {
        ssize_t r = recv(fd, bytes, n, 0);
        if (r < 0 && errno == EINTR) continue;
        if (r < 0 && errno == ECONNRESET) r = 0;
        if (r < 0) return peer_error(errno, err);
        *got = (size_t)r;
        return OK;
    }
}

enum status host_recv(int fd, void *bytes, size_t n, struct err *err) {
    char *p = bytes;
    while (n) {
        size_t got;
        enum status st = host_recv_some(fd, p, n, &got, err);
        if (st != OK) return st;
        if (!got) return err_set(err, E_UNAVAILABLE, "the peer process is gone");
        p += got;
        n -= got;
    }
    return OK;
}

enum status host_send_with_fd(int fd, const void *bytes, size_t n, int passed, struct err *err) {
    must(n > 0 && passed >= 0);
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec piece = {(void *)(uintptr_t)bytes, n};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &passed, sizeof passed);
    ssize_t sent;
    do sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) return peer_error(errno, err);
    return (size_t)sent < n ? host_send(fd, (const char *)bytes + sent, n - (size_t)sent, err) : OK;
}

enum status host_recv_with_fd(int fd, void *bytes, size_t n, int *passed, struct err *err) {
    must(n > 0);
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {bytes, n};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t got;
    do got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return peer_error(errno, err);
    if (got == 0) return err_set(err, E_UNAVAILABLE, "the peer process is gone");
    int received = -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&received, CMSG_DATA(head), sizeof received);
    if ((size_t)got < n) {
        enum status st = host_recv(fd, (char *)bytes + got, n - (size_t)got, err);
        if (st != OK) {
            host_close(&received);
            return st;
        }
    }
    *passed = received;
    return OK;
}

void host_hang_up(int fd) { shutdown(fd, SHUT_RDWR); }

void host_close(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static int poll_one(int fd, short events, int64_t timeout_ms) {
    struct pollfd p = {.fd = fd, .events = events};
    int n;
    do n = poll(&p, 1, timeout_ms < 0 ? -1 : (int)timeout_ms);
    while (n < 0 && errno == EINTR && timeout_ms < 0);
    return n > 0 ? p.revents : 0;
}

bool host_wait_readable(int fd, int64_t timeout_ms) { return poll_one(fd, POLLIN, timeout_ms) != 0; }
bool host_peer_gone(int fd) { return (poll_one(fd, POLLRDHUP, 0) & (POLLHUP | POLLERR | POLLRDHUP)) != 0; }
