#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "host/host.h"

enum status host_lock(const char *path, int *lock, struct err *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return err_set_errno(err, errno, "opening lock file %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int why = errno;
        char holder[32] = "";
        ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
        holder[n > 0 ? n : 0] = 0;
        holder[strcspn(holder, "\n")] = 0;
        close(fd);
        if (why != EWOULDBLOCK) return err_set_errno(err, why, "locking %s", path);
        return err_set(err, E_BUSY, "%s is held by process %s: another cupel works on this project", path, *holder ? holder : "?");
    }
    char self[32];
    int n = snprintf(self, sizeof self, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, self, (size_t)n, 0) != n) {
        int why = errno;
        close(fd);
        return err_set_errno(err, why, "writing lock file %s", path);
    }
    *lock = fd;
    return OK;
}

void host_unlock(int *lock) { host_close(lock); }

/* Runs in the child between fork and exec: async-signal-safe calls only. */
static void child_exec(char *const argv[], const int *keep, size_t keep_n, pid_t parent, bool die_with_parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (die_with_parent) prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127); /* the parent died before prctl */
    for (size_t i = 0; i < keep_n; i++) fcntl(keep[i], F_SETFD, 0);
    execv(argv[0], argv);
    _exit(127);
}

enum status host_spawn(char *const argv[], const int *keep, size_t keep_n, struct host_process *out, struct err *err) {
    must(argv && argv[0]);
    pid_t self = getpid();
    bool from_main_thread = gettid() == self; /* PDEATHSIG follows the thread that forked, not the process */
    pid_t pid = fork(); /* all our descriptors are close-on-exec: nothing else leaks into the child */
    if (pid < 0) return err_set_errno(err, errno, "starting %s", argv[0]);
    if (pid == 0) child_exec(argv, keep, keep_n, self, from_main_thread);
    out->pid = pid;
    return OK;
}

bool host_process_ended(struct host_process *process, int *exit_status) {
    if (process->pid <= 0) return true;
    int status;
    pid_t r = waitpid(process->pid, &status, WNOHANG);
    if (r == 0) return false;
    if (exit_status) *exit_status = r > 0 ? status : 0;
    process->pid = 0;
    return true;
}

void host_process_kill(struct host_process *process, int signal_number) {
    if (process->pid > 0) kill(process->pid, signal_number);
}

void host_process_end_text(int exit_status, char *out, size_t n) {
    _Static_assert(HOST_SIGNAL_KILL == SIGKILL, "the number is the system's");
    if (!WIFSIGNALED(exit_status)) {
        snprintf(out, n, "it ended with exit status %d", WEXITSTATUS(exit_status));
        return;
    }
    int number = WTERMSIG(exit_status);
    snprintf(out, n, "killed by signal %d%s", number, number == SIGKILL ? " (often: the system ran out of memory)" : "");
}

bool host_process_wait(struct host_process *process, int64_t timeout_ms, int *exit_status) {
    const struct host_clock *clock = clock_real();
    int64_t until = clock->monotonic_us(clock->self) + timeout_ms * 1000;
    while (!host_process_ended(process, exit_status)) {
        if (timeout_ms >= 0 && clock->monotonic_us(clock->self) >= until) return false;
        clock->sleep_us(clock->self, 2000);
    }
    return true;
}

char *host_self_path(struct arena *arena) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    must(n > 0);
    struct str found = str_make(path, (size_t)n);
    if (str_ends(found, STR(" (deleted)"))) return arena_strdup(arena, "/proc/self/exe"); /* replaced by an upgrade while it runs: this one still can be run */
    return arena_strndup(arena, path, (size_t)n);
}

/* What the kernel says of a process in one of its small files, as text. */
static bool read_proc(pid_t pid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/%s", (long)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return n > 0;
}

uint64_t host_resident_bytes(pid_t pid) {
    char text[128];
    unsigned long size, resident;
    if (!read_proc(pid, "statm", text, sizeof text)) return 0;
    return sscanf(text, "%lu %lu", &size, &resident) == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* RLIMIT_DATA counts private writable memory, used or not: the sanitizers' shadow is of that kind and far beyond any limit. */
bool host_limit_memory(uint64_t bytes) {
    struct rlimit limit;
    unsigned long data = 0;
    must(bytes > 0);
    char text[128];
    if (!read_proc(getpid(), "statm", text, sizeof text) || sscanf(text, "%*u %*u %*u %*u %*u %lu", &data) != 1 ||
        (uint64_t)data * (uint64_t)sysconf(_SC_PAGESIZE) >= bytes)
        return false;
    if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur <= bytes) return false;
    limit.rlim_cur = bytes;
    return setrlimit(RLIMIT_DATA, &limit) == 0;
}

double host_cpu_seconds(pid_t pid) {
    char text[1024];
    if (!read_proc(pid, "stat", text, sizeof text)) return 0;
    const char *rest = strrchr(text, ')'); /* the name may hold blanks */
    unsigned long user, system_time;
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system_time) != 2) return 0;
    return (double)(user + system_time) / (double)sysconf(_SC_CLK_TCK);
}

int host_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}
