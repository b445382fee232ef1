/* Threads: thin names over pthreads, aborting on misuse. */
#ifndef CUPEL_HOST_THREAD_H
#define CUPEL_HOST_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
typedef pthread_rwlock_t rwlock;

#define MUTEX_INIT PTHREAD_MUTEX_INITIALIZER

void mutex_init(mutex *m);
void mutex_lock(mutex *m);
void mutex_unlock(mutex *m);
void mutex_destroy(mutex *m);
void condition_init(condition *c); /* on the monotonic clock */
void condition_wait(condition *c, mutex *m);
bool condition_wait_ms(condition *c, mutex *m, int64_t timeout_ms); /* false: timed out */
void condition_signal(condition *c);
void condition_broadcast(condition *c);
void condition_destroy(condition *c);
void rwlock_init(rwlock *l);
void rwlock_read(rwlock *l);
void rwlock_write(rwlock *l);
void rwlock_unlock(rwlock *l);
void rwlock_destroy(rwlock *l);

struct thread {
    pthread_t handle;
    bool started;
};
/* name: up to 15 characters, shown by ps and gdb. Signals are blocked in the new thread. */
void thread_start(struct thread *t, const char *name, void *(*run)(void *), void *argument);
void thread_join(struct thread *t); /* fine when never started */

/* For `WITH_LOCK(&m);` — held to the end of the block. */
static inline void mutex_scope_end(mutex **m) { mutex_unlock(*m); }
#define WITH_LOCK(m) __attribute__((cleanup(mutex_scope_end), unused)) mutex *lock_scope_ = (mutex_lock(m), (m))

#endif
