#include "host/thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/assert.h"

void mutex_init(mutex *m) { must(pthread_mutex_init(m, NULL) == 0); }
void mutex_lock(mutex *m) { must(pthread_mutex_lock(m) == 0); }
void mutex_unlock(mutex *m) { must(pthread_mutex_unlock(m) == 0); }
void mutex_destroy(mutex *m) { must(pthread_mutex_destroy(m) == 0); }

void condition_init(condition *c) {
    pthread_condattr_t attributes;
    must(pthread_condattr_init(&attributes) == 0);
    must(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(c, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

void condition_wait(condition *c, mutex *m) { must(pthread_cond_wait(c, m) == 0); }

bool condition_wait_ms(condition *c, mutex *m, int64_t timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + (timeout_ms % 1000) * 1000000;
    until.tv_sec += timeout_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    int e = pthread_cond_timedwait(c, m, &until);
    must(e == 0 || e == ETIMEDOUT);
    return e == 0;
}

void condition_signal(condition *c) { must(pthread_cond_signal(c) == 0); }
void condition_broadcast(condition *c) { must(pthread_cond_broadcast(c) == 0); }
void condition_destroy(condition *c) { must(pthread_cond_destroy(c) == 0); }

void rwlock_init(rwlock *l) { must(pthread_rwlock_init(l, NULL) == 0); }
void rwlock_read(rwlock *l) { must(pthread_rwlock_rdlock(l) == 0); }
void rwlock_write(rwlock *l) { must(pthread_rwlock_wrlock(l) == 0); }
void rwlock_unlock(rwlock *l) { must(pthread_rwlock_unlock(l) == 0); }
void rwlock_destroy(rwlock *l) { must(pthread_rwlock_destroy(l) == 0); }

void thread_start(struct thread *t, const char *name, void *(*run)(void *), void *argument) {
    must(!t->started);
    sigset_t all, before;
    sigfillset(&all);
    /* Signals that a thread raises itself by a fault must still kill the process. */
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    must(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    must(pthread_create(&t->handle, NULL, run, argument) == 0);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    pthread_setname_np(t->handle, name);
    t->started = true;
}

void thread_join(struct thread *t) {
    if (!t->started) return;
    must(pthread_join(t->handle, NULL) == 0);
    t->started = false;
}
