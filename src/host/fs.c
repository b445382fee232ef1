#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "host/host.h"

static enum status real_open(void *self, const char *path, int flags, int *file, struct err *err) {
    int mode = (flags & FS_READ) && (flags & FS_WRITE) ? O_RDWR : flags & FS_WRITE ? O_WRONLY : O_RDONLY;
    if (flags & FS_CREATE) mode |= O_CREAT;
    if (flags & FS_EXCLUSIVE) mode |= O_EXCL;
    if (flags & FS_TRUNCATE) mode |= O_TRUNC;
    int fd;
    do fd = open(path, mode | O_CLOEXEC, flags & FS_PRIVATE ? 0600 : 0644);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && errno == EEXIST) return err_set(err, E_CONFLICT, "%s exists already", path);
    if (fd < 0) return err_set_errno(err, errno, "opening %s", path);
    *file = fd;
    return OK;
}

static void real_close(void *self, int file) {
    if (file >= 0) close(file);
}

static enum status real_pread(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    char *p = bytes;
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(file, p + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_set_errno(err, errno, "reading %zu bytes at %llu", n, (unsigned long long)offset);
        if (r == 0) break;
        done += (size_t)r;
    }
    *got = done;
    return OK;
}

static enum status real_pwrite(void *self, int file, const void *bytes, size_t n, uint64_t offset, struct err *err) {
    const char *p = bytes;
    size_t done = 0;
    while (done < n) {
        ssize_t r = pwrite(file, p + done, n - done, (off_t)(offset + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_set_errno(err, errno, "writing %zu bytes at %llu", n, (unsigned long long)offset);
        done += (size_t)r;
    }
    return OK;
}

static enum status real_sync_data(void *self, int file, struct err *err) { return fdatasync(file) == 0 ? OK : err_set_errno(err, errno, "fdatasync"); }

static enum status real_allocate(void *self, int file, uint64_t size_bytes, struct err *err) {
    int e;
    do e = posix_fallocate(file, 0, (off_t)size_bytes);
    while (e == EINTR);
    return e == 0 ? OK : err_set_errno(err, e, "allocating %llu bytes", (unsigned long long)size_bytes);
}

static enum status real_truncate(void *self, int file, uint64_t size_bytes, struct err *err) {
    return ftruncate(file, (off_t)size_bytes) == 0 ? OK : err_set_errno(err, errno, "setting a file's size to %llu", (unsigned long long)size_bytes);
}

static struct fs_stat stat_of(const struct stat *s) {
    return (struct fs_stat){.size_bytes = (uint64_t)s->st_size,
        .mtime_ns = (int64_t)s->st_mtim.tv_sec * 1000000000 + s->st_mtim.tv_nsec,
        .inode = s->st_ino,
        .device = s->st_dev,
        .is_dir = S_ISDIR(s->st_mode),
        .is_file = S_ISREG(s->st_mode)};
}

static enum status real_stat(void *self, const char *path, struct fs_stat *out, struct err *err) {
    struct stat s;
    if (stat(path, &s) != 0) return err_set_errno(err, errno, "looking at %s", path);
    *out = stat_of(&s);
    return OK;
}

static enum status real_stat_file(void *self, int file, struct fs_stat *out, struct err *err) {
    struct stat s;
    if (fstat(file, &s) != 0) return err_set_errno(err, errno, "looking at an open file");
    *out = stat_of(&s);
    return OK;
}

static enum status real_rename(void *self, const char *from, const char *to, struct err *err) {
    return rename(from, to) == 0 ? OK : err_set_errno(err, errno, "renaming %s to %s", from, to);
}

static enum status real_unlink(void *self, const char *path, struct err *err) {
    return unlink(path) == 0 ? OK : err_set_errno(err, errno, "removing %s", path);
}

static enum status real_mkdir(void *self, const char *path, struct err *err) {
    return mkdir(path, 0755) == 0 || errno == EEXIST ? OK : err_set_errno(err, errno, "making folder %s", path);
}

static enum status real_rmdir(void *self, const char *path, struct err *err) {
    return rmdir(path) == 0 ? OK : err_set_errno(err, errno, "removing folder %s", path);
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct fs_entry *)a)->name, ((const struct fs_entry *)b)->name); }

static enum status real_list(void *self, struct arena *arena, const char *path, struct fs_entry **out, size_t *n, struct err *err) {
    DIR *dir = opendir(path);
    if (!dir) return err_set_errno(err, errno, "listing %s", path);
    BUF_SCOPE(entries);
    struct dirent *d;
    while (errno = 0, (d = readdir(dir))) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        struct stat s;
        if (fstatat(dirfd(dir), d->d_name, &s, 0) != 0) continue; /* gone meanwhile, or a dangling link */
        struct fs_entry entry = {arena_strdup(arena, d->d_name), stat_of(&s)};
        struct stat link;
        entry.stat.is_link =
            d->d_type == DT_LNK || (d->d_type == DT_UNKNOWN && fstatat(dirfd(dir), d->d_name, &link, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(link.st_mode));
        buf_put(&entries, &entry, sizeof entry);
    }
    int why = errno;
    closedir(dir);
    if (why) return err_set_errno(err, why, "listing %s", path);
    size_t count = entries.n / sizeof(struct fs_entry);
    struct fs_entry *list = arena_new_array(arena, struct fs_entry, count ? count : 1);
    if (count) memcpy(list, entries.p, entries.n);
    qsort(list, count, sizeof *list, by_name);
    *out = list;
    *n = count;
    return OK;
}

static enum status real_sync_dir(void *self, const char *path, struct err *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_set_errno(err, errno, "opening folder %s", path);
    enum status st = fsync(fd) == 0 ? OK : err_set_errno(err, errno, "syncing folder %s", path);
    close(fd);
    return st;
}

static enum status real_free_bytes(void *self, const char *path, uint64_t *out, struct err *err) {
    struct statvfs v;
    if (statvfs(path, &v) != 0) return err_set_errno(err, errno, "free space of %s", path);
    *out = (uint64_t)v.f_bavail * v.f_frsize;
    return OK;
}

const struct fs *fs_real(void) {
    static const struct fs real = {.open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwrite = real_pwrite,
        .sync_data = real_sync_data,
        .allocate = real_allocate,
        .truncate = real_truncate,
        .stat = real_stat,
        .stat_file = real_stat_file,
        .rename = real_rename,
        .unlink = real_unlink,
        .mkdir = real_mkdir,
        .rmdir = real_rmdir,
        .list = real_list,
        .sync_dir = real_sync_dir,
        .free_bytes = real_free_bytes};
    return &real;
}

/* ---- helpers over any fs ---- */

static char *parent_of(struct arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return arena_strdup(arena, ".");
    return slash == path ? arena_strdup(arena, "/") : arena_strndup(arena, path, (size_t)(slash - path));
}

enum status fs_mkdirs(const struct fs *fs, const char *path, struct err *err) {
    ARENA_SCOPE(arena);
    char *copy = arena_strdup(arena, path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        enum status st = fs->mkdir(fs->self, copy, err);
        if (st != OK) return st;
        *p = '/';
    }
    return fs->mkdir(fs->self, copy, err);
}

enum status fs_read_all(const struct fs *fs, struct arena *arena, const char *path, size_t size_max, struct str *out, struct err *err) {
    int file;
    struct fs_stat stat;
    enum status st = fs->open(fs->self, path, FS_READ, &file, err);
    if (st != OK) return st;
    st = fs->stat_file(fs->self, file, &stat, err);
    if (st == OK && stat.size_bytes > size_max)
        st = err_set(err, E_LIMIT, "%s has %llu bytes, the limit is %zu", path, (unsigned long long)stat.size_bytes, size_max);
    if (st == OK) {
        char *p = arena_alloc(arena, stat.size_bytes + 1);
        size_t got = 0;
        st = fs->pread(fs->self, file, p, stat.size_bytes, 0, &got, err);
        if (st == OK) {
            p[got] = 0;
            *out = str_make(p, got);
        }
    }
    fs->close(fs->self, file);
    return st;
}

static enum status write_synced(const struct fs *fs, const char *path, int flags, struct str content, struct err *err) {
    int file;
    enum status st = fs->open(fs->self, path, FS_WRITE | FS_CREATE | FS_TRUNCATE | flags, &file, err);
    if (st != OK) return st;
    st = fs->pwrite(fs->self, file, content.p, content.n, 0, err);
    if (st == OK) st = fs->sync_data(fs->self, file, err);
    fs->close(fs->self, file);
    return st;
}

static enum status write_atomic(const struct fs *fs, const char *path, int flags, struct str content, struct err *err) {
    ARENA_SCOPE(arena);
    char *temporary = arena_printf(arena, "%s.tmp", path);
    enum status st = write_synced(fs, temporary, flags, content, err);
    if (st == OK) st = fs->rename(fs->self, temporary, path, err);
    if (st == OK) return fs->sync_dir(fs->self, parent_of(arena, path), err);
    fs->unlink(fs->self, temporary, NULL);
    return st == E_IO || st == E_NO_SPACE || st == E_NOT_FOUND ? err_prefix(err, "writing %s", path) : st;
}

enum status fs_sync_path(const struct fs *fs, const char *path, struct err *err) {
    ARENA_SCOPE(arena);
    int file;
    enum status st = fs->open(fs->self, path, FS_READ | FS_WRITE, &file, err);
    if (st != OK) return st;
    st = fs->sync_data(fs->self, file, err);
    fs->close(fs->self, file);
    return st == OK ? fs->sync_dir(fs->self, parent_of(arena, path), err) : st;
}

enum status fs_write_atomic(const struct fs *fs, const char *path, struct str content, struct err *err) { return write_atomic(fs, path, 0, content, err); }

enum status fs_write_secret(const struct fs *fs, const char *path, struct str content, struct err *err) {
    return write_atomic(fs, path, FS_PRIVATE, content, err);
}

bool fs_exists(const struct fs *fs, const char *path) {
    struct fs_stat stat;
    return fs->stat(fs->self, path, &stat, NULL) == OK;
}

enum status fs_remove_tree(const struct fs *fs, const char *path, struct err *err) {
    ARENA_SCOPE(arena);
    struct fs_entry *entries;
    size_t n;
    enum status st = fs->list(fs->self, arena, path, &entries, &n, err);
    if (st != OK) return st;
    for (size_t i = 0; i < n && st == OK; i++) {
        char *child = arena_printf(arena, "%s/%s", path, entries[i].name);
        st = entries[i].stat.is_dir ? fs_remove_tree(fs, child, err) : fs->unlink(fs->self, child, err);
    }
    return st == OK ? fs->rmdir(fs->self, path, err) : st;
}
