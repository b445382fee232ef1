/* A thread that waits for a descriptor and can be woken by others. */
#ifndef CUPEL_HOST_WAKE_H
#define CUPEL_HOST_WAKE_H

#include <stdint.h>

#include "base/err.h"

struct host_waker {
    int fd;
};

enum status host_waker_open(struct host_waker *out, struct err *err); /* E_IO when the system has no more of them */
void host_waker_close(struct host_waker *waker);
/* Waits until `fd` is readable, host_waker_wake was called (also before), or the time (below 0: none) is over. One thread. */
void host_waker_wait(const struct host_waker *waker, int fd, int64_t timeout_ms);
void host_waker_wake(const struct host_waker *waker); /* any thread */

#endif
