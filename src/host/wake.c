#include "host/wake.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

enum status host_waker_open(struct host_waker *out, struct err *err) {
    out->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return out->fd < 0 ? err_set_errno(err, errno, "eventfd") : OK;
}

void host_waker_close(struct host_waker *waker) {
    if (waker->fd >= 0) close(waker->fd);
    waker->fd = -1;
}

void host_waker_wait(const struct host_waker *waker, int fd, int64_t timeout_ms) {
    must(waker->fd >= 0 && fd >= 0);
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = waker->fd, .events = POLLIN}};
    int ready = poll(fds, 2, timeout_ms < 0 ? -1 : timeout_ms > 60000 ? 60000 : (int)timeout_ms);
    uint64_t count;
    if (ready > 0 && fds[1].revents) must(read(waker->fd, &count, sizeof count) == sizeof count || errno == EAGAIN);
}

void host_waker_wake(const struct host_waker *waker) {
    uint64_t one = 1;
    ssize_t put = write(waker->fd, &one, sizeof one);
    must(put == sizeof one || errno == EAGAIN);
}
