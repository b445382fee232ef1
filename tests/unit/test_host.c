/* host: files, the faulty disk, locks, processes, sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "host/faulty.h"
#include "host/host.h"
#include "host/thread.h"
#include "host/watch.h"

static char folder[64];

static int make_folder(void **state) {
    snprintf(folder, sizeof folder, "/tmp/cupel-host-XXXXXX");
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) { return fs_remove_tree(fs_real(), folder, NULL) == OK ? 0 : 1; }

static char *in_folder(struct arena *arena, const char *name) { return arena_printf(arena, "%s/%s", folder, name); }

static void errors_name_the_path(void **state) {
    ARENA_SCOPE(arena);
    const struct fs *fs = fs_real();
    struct err err;
    int file;
    struct str text;
    assert_int_equal(fs->open(fs->self, in_folder(arena, "none"), FS_READ, &file, &err), E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/none: No such file"));
    assert_int_equal(fs_write_atomic(fs, in_folder(arena, "a"), STR("hello"), &err), OK);
    assert_int_equal(fs->open(fs->self, in_folder(arena, "a"), FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file, &err), E_CONFLICT);
    assert_int_equal(fs_read_all(fs, arena, in_folder(arena, "a"), 4, &text, &err), E_LIMIT);
    assert_int_equal(fs_read_all(fs, arena, in_folder(arena, "a"), 5, &text, &err), OK);
    assert_true(str_is(text, "hello"));
}

static void trees_and_listings(void **state) {
    ARENA_SCOPE(arena);
    const struct fs *fs = fs_real();
    assert_int_equal(fs_mkdirs(fs, in_folder(arena, "x/y/z"), NULL), OK);
    assert_int_equal(fs_write_atomic(fs, in_folder(arena, "x/b"), STR("2"), NULL), OK);
    assert_int_equal(fs_write_atomic(fs, in_folder(arena, "x/a"), STR("1"), NULL), OK);
    struct fs_entry *entries;
    size_t n;
    assert_int_equal(fs->list(fs->self, arena, in_folder(arena, "x"), &entries, &n, NULL), OK);
    assert_int_equal(n, 3);
    assert_string_equal(entries[0].name, "a");
    assert_string_equal(entries[2].name, "y");
    assert_true(entries[2].stat.is_dir);
    assert_int_equal(fs_remove_tree(fs, in_folder(arena, "x"), NULL), OK);
    assert_false(fs_exists(fs, in_folder(arena, "x")));
}

static void second_lock_names_the_holder(void **state) {
    ARENA_SCOPE(arena);
    int lock = -1, other = -1;
    struct err err;
    assert_int_equal(host_lock(in_folder(arena, "lock"), &lock, &err), OK);
    assert_int_equal(host_lock(in_folder(arena, "lock"), &other, &err), E_BUSY);
    assert_non_null(strstr(err.text, arena_printf(arena, "process %ld", (long)getpid())));
    host_unlock(&lock);
    assert_int_equal(host_lock(in_folder(arena, "lock"), &lock, &err), OK);
    host_unlock(&lock);
}

/* In a child: the faulty disk is one per process and must die with it. Returns by exit status which files have what. */
static void faulty_child(const char *synced, const char *unsynced) {
    const struct fs *fs = fs_faulty(fs_real(), "seed=3,early=0");
    int a, b;
    char back[8] = "";
    size_t got = 0;
    if (fs->open(fs->self, synced, FS_READ | FS_WRITE | FS_CREATE, &a, NULL) != OK) _exit(2);
    if (fs->open(fs->self, unsynced, FS_READ | FS_WRITE | FS_CREATE, &b, NULL) != OK) _exit(2);
    fs->pwrite(fs->self, a, "kept", 4, 0, NULL);
    fs->pwrite(fs->self, b, "lost", 4, 0, NULL);
    if (fs->pread(fs->self, b, back, 8, 0, &got, NULL) != OK || got != 4 || memcmp(back, "lost", 4) != 0) _exit(3); /* this process sees it */
    if (fs->sync_data(fs->self, a, NULL) != OK) _exit(4);
    fs->pwrite(fs->self, a, "late", 4, 4, NULL);
    raise(SIGKILL);
}

static void faulty_disk_forgets_what_was_not_synced(void **state) {
    ARENA_SCOPE(arena);
    char *synced = in_folder(arena, "synced"), *unsynced = in_folder(arena, "unsynced");
    pid_t pid = fork();
    if (pid == 0) faulty_child(synced, unsynced);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct str text;
    assert_int_equal(fs_read_all(fs_real(), arena, synced, 100, &text, NULL), OK);
    assert_true(str_is(text, "kept"));
    assert_int_equal(fs_read_all(fs_real(), arena, unsynced, 100, &text, NULL), OK);
    assert_int_equal(text.n, 0);
}

static void faulty_errors_child(const char *path) {
    const struct fs *fs = fs_faulty(fs_real(), "seed=11,eio=0.3,enospc=0.3,early=0.5");
    int file, eio = 0, full = 0, fine = 0;
    if (fs->open(fs->self, path, FS_READ | FS_WRITE | FS_CREATE, &file, NULL) != OK) _exit(2);
    for (int i = 0; i < 200; i++) {
        enum status w = fs->pwrite(fs->self, file, "0123456789", 10, (uint64_t)i * 10, NULL);
        enum status s = fs->sync_data(fs->self, file, NULL);
        full += w == E_NO_SPACE;
        eio += s == E_IO;
        fine += w == OK && s == OK;
    }
    _exit(eio > 20 && full > 20 && fine > 20 ? 0 : 5);
}

static void faulty_disk_injects_errors(void **state) {
    ARENA_SCOPE(arena);
    pid_t pid = fork();
    if (pid == 0) faulty_errors_child(in_folder(arena, "errors"));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void descriptors_pass_between_processes(void **state) {
    int pair[2], passed[2];
    char text[6] = "";
    struct err err;
    assert_int_equal(host_socketpair(pair, &err), OK);
    assert_int_equal(host_socketpair(passed, &err), OK);
    pid_t pid = fork();
    if (pid == 0) {
        int got = -1;
        char head[4];
        if (host_recv_with_fd(pair[1], head, 4, &got, NULL) != OK || memcmp(head, "head", 4) != 0) _exit(2);
        _exit(host_send(got, "hello", 5, NULL) == OK ? 0 : 3);
    }
    assert_int_equal(host_send_with_fd(pair[0], "head", 4, passed[1], &err), OK);
    host_close(&passed[1]);
    assert_true(host_wait_readable(passed[0], 5000));
    assert_int_equal(host_recv(passed[0], text, 5, &err), OK);
    assert_string_equal(text, "hello");
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_true(host_peer_gone(passed[0]));
    assert_int_equal(host_recv(passed[0], text, 1, &err), E_UNAVAILABLE);
    assert_int_equal(host_send(passed[0], "x", 1, &err), E_UNAVAILABLE); /* and no SIGPIPE */
    host_close(&passed[0]);
    host_close(&pair[0]);
    host_close(&pair[1]);
}

static void processes_are_waited_for(void **state) {
    struct host_process p;
    struct err err;
    int status = -1;
    static char program[] = "/bin/sleep", seconds[] = "30", nowhere[] = "/nonexistent/binary";
    char *argv[] = {program, seconds, NULL};
    assert_int_equal(host_spawn(argv, NULL, 0, &p, &err), OK);
    pid_t pid = p.pid;
    assert_false(host_process_wait(&p, 50, &status));
    assert_true(host_resident_bytes(pid) > 0);
    host_process_kill(&p, SIGKILL);
    assert_true(host_process_wait(&p, 60000, &status));
    assert_true(WIFSIGNALED(status));
    char *missing[] = {nowhere, NULL};
    assert_int_equal(host_spawn(missing, NULL, 0, &p, &err), OK);
    assert_true(host_process_wait(&p, 60000, &status));
    assert_int_equal(WEXITSTATUS(status), 127);
}

struct waiting {
    mutex lock;
    condition changed;
    int value;
};

static void *raise_value(void *argument) {
    struct waiting *w = argument;
    WITH_LOCK(&w->lock);
    w->value = 1;
    condition_signal(&w->changed);
    return NULL;
}

static void conditions_time_out_and_wake(void **state) {
    struct waiting w = {.lock = MUTEX_INIT};
    condition_init(&w.changed);
    mutex_lock(&w.lock);
    assert_false(condition_wait_ms(&w.changed, &w.lock, 20));
    struct thread t = {0};
    thread_start(&t, "raise", raise_value, &w);
    while (!w.value) assert_true(condition_wait_ms(&w.changed, &w.lock, 60000));
    mutex_unlock(&w.lock);
    thread_join(&t);
    condition_destroy(&w.changed);
}

static void *wake_soon(void *watch) {
    clock_real()->sleep_us(clock_real()->self, 50000);
    folder_watch_wake(watch);
    return NULL;
}

static void watch_sees_renames(void **state) {
    ARENA_SCOPE(arena);
    const struct fs *fs = fs_real();
    struct folder_watch *watch;
    struct folder_event event;
    struct err err;
    int number;
    const char *in = in_folder(arena, "watched");
    assert_int_equal(fs->mkdir(fs->self, in, &err), OK);
    assert_int_equal(folder_watch_new(&watch, &err), OK);
    assert_int_equal(folder_watch_add(watch, in_folder(arena, "not there"), &number, &err), E_NOT_FOUND);
    assert_int_equal(folder_watch_add(watch, in, &number, &err), OK);
    assert_int_equal(fs_write_atomic(fs, in_folder(arena, "outside"), STR("x"), &err), OK);
    assert_false(folder_watch_next(watch, &event));
    assert_int_equal(fs->rename(fs->self, in_folder(arena, "outside"), in_folder(arena, "watched/inside"), &err), OK);
    folder_watch_wait(watch, 60000);
    assert_true(folder_watch_next(watch, &event));
    assert_int_equal(event.folder, number);
    assert_string_equal(event.name, "inside");
    assert_false(event.gone);
    struct thread waker = {0};
    int64_t began_us = clock_real()->monotonic_us(clock_real()->self);
    thread_start(&waker, "waker", wake_soon, watch);
    folder_watch_wait(watch, 60000);
    thread_join(&waker);
    assert_true(clock_real()->monotonic_us(clock_real()->self) - began_us < 30000000);
    assert_int_equal(fs_remove_tree(fs, in, &err), OK);
    folder_watch_wait(watch, 60000);
    assert_true(folder_watch_next(watch, &event));
    assert_true(event.gone);
    folder_watch_free(&watch);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(watch_sees_renames), cmocka_unit_test(errors_name_the_path), cmocka_unit_test(trees_and_listings),
        cmocka_unit_test(second_lock_names_the_holder), cmocka_unit_test(faulty_disk_forgets_what_was_not_synced), cmocka_unit_test(faulty_disk_injects_errors),
        cmocka_unit_test(descriptors_pass_between_processes), cmocka_unit_test(processes_are_waited_for), cmocka_unit_test(conditions_time_out_and_wake)};
    return cmocka_run_group_tests_name("host", tests, make_folder, remove_folder);
}
