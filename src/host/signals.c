#include "host/signals.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/assert.h"

static void waited(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void host_ignore_broken_pipes(void) { must(signal(SIGPIPE, SIG_IGN) != SIG_ERR); }

void host_signals_block(void) {
    sigset_t set;
    waited(&set);
    must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    host_ignore_broken_pipes();
}

enum host_signal host_signal_wait(int64_t timeout_ms) {
    sigset_t set;
    waited(&set);
    for (;;) {
        struct timespec limit = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};
        int got = timeout_ms < 0 ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &limit);
        if (got > 0) return got == SIGHUP ? HOST_SIGNAL_RELOAD : got == SIGINT ? HOST_SIGNAL_INTERRUPT : HOST_SIGNAL_TERMINATE;
        if (errno == EAGAIN) return HOST_SIGNAL_NONE;
        must(errno == EINTR);
    }
}

static volatile sig_atomic_t interrupted;
static struct sigaction before;

static void on_interrupt(int number) { interrupted = 1; }

void host_interrupts_begin(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    must(sigaction(SIGINT, &action, &before) == 0);
    interrupted = 0;
}

void host_interrupts_end(void) { must(sigaction(SIGINT, &before, NULL) == 0); }

bool host_interrupted(void) { return interrupted != 0; }

void host_interrupts_clear(void) { interrupted = 0; }
