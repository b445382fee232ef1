#include "host/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

#define BUFFER_BYTES 16384 /* room for a few hundred events */

struct folder_watch {
    int events, wake;
    size_t n, at;
    char buffer[BUFFER_BYTES] __attribute__((aligned(__alignof__(struct inotify_event))));
};

enum status folder_watch_new(struct folder_watch **out, struct err *err) {
    int events = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (events < 0) return err_set_errno(err, errno, "inotify");
    int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake < 0) {
        int why = errno;
        close(events);
        return err_set_errno(err, why, "eventfd");
    }
    struct folder_watch *w = mem_alloc(sizeof *w);
    w->events = events;
    w->wake = wake;
    w->n = w->at = 0;
    *out = w;
    return OK;
}

void folder_watch_free(struct folder_watch **watch) {
    if (!*watch) return;
    close((*watch)->events);
    close((*watch)->wake);
    free(*watch);
    *watch = NULL;
}

enum status folder_watch_add(struct folder_watch *w, const char *path, int *folder, struct err *err) {
    int number = inotify_add_watch(w->events, path, IN_MOVED_TO | IN_ONLYDIR);
    if (number < 0) return err_set_errno(err, errno, "watching %s", path);
    *folder = number;
    return OK;
}

void folder_watch_wait(struct folder_watch *w, int64_t timeout_ms) {
    must(timeout_ms >= 0);
    if (w->at < w->n) return;
    struct pollfd fds[2] = {{.fd = w->events, .events = POLLIN}, {.fd = w->wake, .events = POLLIN}};
    int ready = poll(fds, 2, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
    uint64_t count;
    if (ready > 0 && fds[1].revents) must(read(w->wake, &count, sizeof count) == sizeof count || errno == EAGAIN);
}

bool folder_watch_next(struct folder_watch *w, struct folder_event *out) {
    for (;;) {
        if (w->at == w->n) {
            ssize_t got = read(w->events, w->buffer, sizeof w->buffer);
            if (got <= 0) return false;
            w->n = (size_t)got;
            w->at = 0;
        }
        const struct inotify_event *e = (const struct inotify_event *)(const void *)(w->buffer + w->at);
        must(w->at + sizeof *e + e->len <= w->n);
        w->at += sizeof *e + e->len;
        bool gone = e->mask & IN_IGNORED, moved = (e->mask & IN_MOVED_TO) && !(e->mask & IN_ISDIR);
        if (!gone && !moved) continue;
        *out = (struct folder_event){.folder = e->wd, .gone = gone, .name = moved ? e->name : ""};
        return true;
    }
}

void folder_watch_wake(struct folder_watch *w) {
    uint64_t one = 1;
    ssize_t put = write(w->wake, &one, sizeof one);
    must(put == sizeof one || errno == EAGAIN);
}
