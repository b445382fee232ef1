/* Host: the only system calls of our own code, as tables, so that tests can put a faulty disk or a scripted clock under the rest.
 *
 * DuckDB, SQLite, libcurl and libmicrohttpd make their own system calls; the rooms that use them state their sync points. */
#ifndef CUPEL_HOST_HOST_H
#define CUPEL_HOST_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* ---- files ---- */

enum { /* flags of fs->open */
    FS_READ = 1,
    FS_WRITE = 2,
    FS_CREATE = 4,
    FS_EXCLUSIVE = 8, /* with FS_CREATE: E_CONFLICT when it exists */
    FS_TRUNCATE = 16,
    FS_PRIVATE = 32, /* with FS_CREATE: mode 0600 from the first moment */
};

struct fs_stat {
    uint64_t size_bytes;
    int64_t mtime_ns;
    uint64_t inode, device;
    bool is_dir, is_file;
    bool is_link; /* fs->list only: a symbolic link; the rest is about what it leads to */
};

struct fs_entry {
    char *name;
    struct fs_stat stat;
};

/* A file system. Functions may be called from any thread; one file handle by several threads at once (pread/pwrite). Paths are absolute or relative to
 * the process' folder. Handles are small non-negative numbers that mean something only to the same fs (for the real one: file descriptors). */
struct fs {
    void *self;
    enum status (*open)(void *self, const char *path, int flags, int *file, struct err *err);
    void (*close)(void *self, int file);
    /* Reads up to n bytes at offset; *got < n only at the end of the file. */
    enum status (*pread)(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err);
    /* Writes all n bytes or fails (E_NO_SPACE, E_IO); after a failure what is on disk in that range is unknown. */
    enum status (*pwrite)(void *self, int file, const void *bytes, size_t n, uint64_t offset, struct err *err);
    enum status (*sync_data)(void *self, int file, struct err *err); /* fdatasync */
    enum status (*allocate)(void *self, int file, uint64_t size_bytes, struct err *err); /* real space for [0,size); zeros where unwritten */
    enum status (*truncate)(void *self, int file, uint64_t size_bytes, struct err *err);
    enum status (*stat)(void *self, const char *path, struct fs_stat *out, struct err *err);
    enum status (*stat_file)(void *self, int file, struct fs_stat *out, struct err *err);
    enum status (*rename)(void *self, const char *from, const char *to, struct err *err); /* durable after sync_dir of both folders */
    enum status (*unlink)(void *self, const char *path, struct err *err);
    enum status (*mkdir)(void *self, const char *path, struct err *err); /* one level, fine when it exists */
    enum status (*rmdir)(void *self, const char *path, struct err *err);
    enum status (*list)(void *self, struct arena *arena, const char *path, struct fs_entry **out, size_t *n, struct err *err); /* by name; no . and .. */
    enum status (*sync_dir)(void *self, const char *path, struct err *err);
    enum status (*free_bytes)(void *self, const char *path, uint64_t *out, struct err *err);
};

const struct fs *fs_real(void);

/* A disk that fails from a seed, over a real folder: writes reach the real files only when synced; kill -9 drops the rest. See host/faulty.h.
 * Taken by host_default() when the environment variable CUPEL_FAULTY_DISK is set (builds with -Dfaulty_disk=true only). */

/* Helpers over any fs. */
enum status fs_mkdirs(const struct fs *fs, const char *path, struct err *err);
enum status fs_read_all(const struct fs *fs, struct arena *arena, const char *path, size_t size_max, struct str *out, struct err *err);
/* Writes to "<path>.tmp", syncs it, renames it over path, syncs the folder: readers see the old or the new content, also after a crash. */
enum status fs_write_atomic(const struct fs *fs, const char *path, struct str content, struct err *err);
/* The same for a file that only its owner may read. */
enum status fs_write_secret(const struct fs *fs, const char *path, struct str content, struct err *err);
enum status fs_sync_path(const struct fs *fs, const char *path, struct err *err); /* opens, fdatasyncs, closes; then syncs the folder that holds it */
bool fs_exists(const struct fs *fs, const char *path);
enum status fs_remove_tree(const struct fs *fs, const char *path, struct err *err);

/* ---- clock and randomness ---- */
struct host_clock {
    void *self;
    int64_t (*wall_us)(void *self); /* since 1970; may jump */
    int64_t (*monotonic_us)(void *self); /* never goes back */
    void (*sleep_us)(void *self, int64_t us);
};
const struct host_clock *clock_real(void);

/* What a room needs of the machine. Made once in main; passed down; never a global. */
struct host {
    const struct fs *fs;
    const struct host_clock *clock;
};
struct host host_default(void);
static inline int64_t host_wall_us(const struct host *h) { return h->clock->wall_us(h->clock->self); }
static inline int64_t host_wall_ms(const struct host *h) { return h->clock->wall_us(h->clock->self) / 1000; }
static inline int64_t host_monotonic_us(const struct host *h) { return h->clock->monotonic_us(h->clock->self); }
static inline int64_t host_monotonic_ms(const struct host *h) { return h->clock->monotonic_us(h->clock->self) / 1000; }

void host_random(void *bytes, size_t n); /* getrandom(2); aborts when the kernel has none */

/* ---- lock file ---- */
/* Takes an exclusive lock (flock) on path, created when missing, and writes the process id into it. E_BUSY names the holder. Held until the process ends
 * or host_unlock. */
enum status host_lock(const char *path, int *lock, struct err *err);
void host_unlock(int *lock);

/* ---- processes ---- */
struct host_process {
    pid_t pid;
};
/* Starts argv[0] (a path) with the file descriptors in `keep` (n of them, given the same numbers as in the parent) left open, all others closed but
 * 0..2. When called on the main thread the child gets SIGKILL as the parent dies; otherwise it must notice the end of its control socket by itself. */
enum status host_spawn(char *const argv[], const int *keep, size_t keep_n, struct host_process *out, struct err *err);
/* false while it runs. *exit_status as of waitpid. */
bool host_process_ended(struct host_process *process, int *exit_status);
#define HOST_SIGNAL_KILL 9
void host_process_kill(struct host_process *process, int signal_number);
/* How a process ended, by its exit status of waitpid, for people: "killed by signal 9 (…)", "it ended with exit status 1". */
void host_process_end_text(int exit_status, char *out, size_t n);
bool host_process_wait(struct host_process *process, int64_t timeout_ms, int *exit_status); /* false: still running */
char *host_self_path(struct arena *arena); /* the running binary's path */
uint64_t host_resident_bytes(pid_t pid); /* 0 when it cannot be read */
/* From now on this process gets no memory beyond that: malloc fails. false: it has more already (sanitizers), or a smaller limit. */
bool host_limit_memory(uint64_t bytes);
double host_cpu_seconds(pid_t pid); /* user + system, 0 when it cannot be read */
int host_cores(void);

/* ---- sockets between our own processes ---- */
enum status host_socketpair(int fds[2], struct err *err); /* stream, close-on-exec */
enum status host_send(int fd, const void *bytes, size_t n, struct err *err); /* all of it; E_UNAVAILABLE when the peer is gone */
enum status host_recv(int fd, void *bytes, size_t n, struct err *err); /* exactly n; E_UNAVAILABLE at the end */
enum status host_recv_some(int fd, void *bytes, size_t n, size_t *got, struct err *err); /* at least one; *got 0 at the end */
enum status host_send_with_fd(int fd, const void *bytes, size_t n, int passed, struct err *err); /* SCM_RIGHTS with the first byte */
enum status host_recv_with_fd(int fd, void *bytes, size_t n, int *passed, struct err *err); /* *passed -1 when none came */
void host_hang_up(int fd); /* both ends see the end of the stream, also those that wait for it; fd stays open */
void host_close(int *fd); /* sets -1; -1 is fine */
bool host_wait_readable(int fd, int64_t timeout_ms); /* also true at hang-up; timeout -1 = for ever */
bool host_peer_gone(int fd); /* POLLHUP or POLLERR now */

#endif
