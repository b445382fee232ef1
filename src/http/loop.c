/* The polling threads. libmicrohttpd's own would do, but for one thing: an answer that waits for the disk's next sync, a fraction of a millisecond away,
 * would suspend its connection, which costs two epoll_ctl and a write to an eventfd, under a lock, for each request. Here such a connection stays in its
 * thread's round (it "lingers") and is asked again in each; the thread sleeps as long as nothing came in and nobody answered. What has not been answered
 * after LINGER_US is suspended after all.
 *
 * A loop's daemon is touched by its own thread alone, but for MHD_resume_connection. */
#include "base/assert.h"
#include "http/http_priv.h"

#define LINGER_US 10000
#define LINGER_MAX 1024 /* per loop: each costs a look per round */
#define LINGER_SLEEP_MS 1 /* libmicrohttpd does not tell work of its own from lingering connections: none of it waits longer than this */

bool loop_may_linger(struct http_loop *loop, const struct http_request *r) {
    must(r->loop == loop);
    if (loop->lingering >= LINGER_MAX || loop->now_us - r->started_us > LINGER_US) return false;
    loop->lingering++;
    return true;
}

void loop_answered(struct http_loop *loop) {
    atomic_store(&loop->answered, true);
    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false)) host_waker_wake(&loop->waker);
}

void loop_resume(struct http_loop *loop, struct MHD_Connection *mhd) {
    MHD_resume_connection(mhd);
    loop_answered(loop); /* without threads of its own libmicrohttpd wakes nobody */
}

static void sleep_until_work(struct http_loop *loop) {
    MHD_UNSIGNED_LONG_LONG ms = 0;
    int64_t timeout_ms = -1;
    if (MHD_get_timeout(loop->daemon, &ms) == MHD_YES) timeout_ms = ms > 60000 ? 60000 : (int64_t)ms;
    if (timeout_ms == 0 && (loop->busy || !loop->lingering)) return;
    if (timeout_ms == 0) timeout_ms = LINGER_SLEEP_MS;
    atomic_store(&loop->asleep, true);
    if (!atomic_load(&loop->answered) && !atomic_load(&loop->wish)) host_waker_wait(&loop->waker, loop->epoll_fd, timeout_ms);
    atomic_store(&loop->asleep, false);
}

static void *loop_run(void *argument) {
    struct http_loop *loop = argument;
    bool quiet = false;
    for (int wish; (wish = atomic_load(&loop->wish)) != LOOP_END;) {
        if (wish == LOOP_QUIET && !quiet) {
            int fd = MHD_quiesce_daemon(loop->daemon);
            host_close(&fd);
            atomic_compare_exchange_strong(&loop->wish, &wish, LOOP_RUN);
            quiet = true;
        }
        loop->lingering = 0;
        loop->busy = false;
        loop->now_us = host_monotonic_us(&loop->server->host);
        atomic_store(&loop->answered, false);
        MHD_run(loop->daemon);
        sleep_until_work(loop);
    }
    return NULL;
}

enum status loop_start(struct http_loop *loop, struct err *err) {
    must(loop->server && loop->daemon);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || info->epoll_fd < 0) return err_set(err, E_INTERNAL, "libmicrohttpd has no epoll");
    loop->epoll_fd = info->epoll_fd;
    enum status st = host_waker_open(&loop->waker, err);
    if (st == OK) thread_start(&loop->thread, "http-loop", loop_run, loop);
    return st;
}

void loop_wish(struct http_loop *loop, enum loop_wish wish) {
    atomic_store(&loop->wish, (int)wish);
    if (loop->thread.started) host_waker_wake(&loop->waker);
}

void loop_end(struct http_loop *loop) {
    loop_wish(loop, LOOP_END);
    thread_join(&loop->thread);
    host_waker_close(&loop->waker);
    if (loop->daemon) MHD_stop_daemon(loop->daemon); /* closes its listening descriptor unless it was quiet before */
    loop->daemon = NULL;
}
