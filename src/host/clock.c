#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"
#include "host/faulty.h"
#include "host/host.h"

static int64_t read_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t wall(void *self) { return read_us(CLOCK_REALTIME); }
static int64_t monotonic(void *self) { return read_us(CLOCK_MONOTONIC); }

static void sleep_for(void *self, int64_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

const struct host_clock *clock_real(void) {
    static const struct host_clock real = {NULL, wall, monotonic, sleep_for};
    return &real;
}

struct host host_default(void) {
    struct host host = {fs_real(), clock_real()};
#ifdef CUPEL_FAULTY_DISK_BUILT
    const char *spec = getenv("CUPEL_FAULTY_DISK");
    if (spec && *spec) host.fs = fs_faulty(fs_real(), spec);
#endif
    return host;
}

void host_random(void *bytes, size_t n) {
    char *p = bytes;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR) continue;
        must(got > 0);
        p += got;
        n -= (size_t)got;
    }
}
