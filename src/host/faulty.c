#include "host/faulty.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "host/thread.h"

/* A write that has not been synced yet. */
struct pending {
    struct pending *next;
    uint64_t offset;
    size_t n;
    char bytes[];
};

/* One file by inode: all handles on it share what is pending. */
struct node {
    struct node *next;
    uint64_t inode, device;
    struct pending *head, **tail; /* oldest first */
    uint64_t pending_end; /* size as readers of this process see it */
};

enum { FILES_MAX = 65536, PAGE = 4096 };

struct faulty {
    const struct fs *below;
    mutex lock;
    uint64_t random;
    double eio, enospc, early;
    int journal; /* handle below; -1: none */
    uint64_t journal_at;
    struct node *nodes;
    struct node *by_file[FILES_MAX];
    struct fs fs;
};

/* xorshift64*: good enough to pick faults, and the same on every machine. */
static double dice(struct faulty *f) {
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return (double)((f->random * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

static void journal(struct faulty *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void journal(struct faulty *f, const char *format, ...) {
    if (f->journal < 0) return;
    char line[8300];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    must(n >= 0 && n < (int)sizeof line);
    struct err err;
    must(f->below->pwrite(f->below->self, f->journal, line, (size_t)n, f->journal_at, &err) == OK);
    f->journal_at += (uint64_t)n;
}

static struct node *node_of(struct faulty *f, int file) {
    must(file >= 0 && file < FILES_MAX && f->by_file[file]);
    return f->by_file[file];
}

static enum status faulty_open(void *self, const char *path, int flags, int *file, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    bool existed = fs_exists(f->below, path);
    enum status st = f->below->open(f->below->self, path, flags, file, err);
    if (st != OK) return st;
    struct fs_stat stat;
    must(*file < FILES_MAX && f->below->stat_file(f->below->self, *file, &stat, err) == OK);
    struct node *node = f->nodes;
    while (node && (node->inode != stat.inode || node->device != stat.device)) node = node->next;
    if (!node) {
        node = mem_zalloc(sizeof *node);
        *node = (struct node){.next = f->nodes, .inode = stat.inode, .device = stat.device};
        node->tail = &node->head;
        f->nodes = node;
    }
    if (!existed || (flags & FS_TRUNCATE)) { /* also an inode that was freed and is used again */
        while (node->head) {
            struct pending *p = node->head;
            node->head = p->next;
            free(p);
        }
        node->tail = &node->head;
        node->pending_end = 0;
    }
    f->by_file[*file] = node;
    if (!existed) journal(f, "create %s\n", path);
    return OK;
}

static void faulty_close(void *self, int file) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    if (file >= 0 && file < FILES_MAX) f->by_file[file] = NULL; /* the node keeps its pending writes: closing is not syncing */
    f->below->close(f->below->self, file);
}

static enum status faulty_pread(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    struct node *node = node_of(f, file);
    size_t below = 0;
    enum status st = f->below->pread(f->below->self, file, bytes, n, offset, &below, err);
    if (st != OK) return st;
    size_t end = below;
    if (node->pending_end > offset && node->pending_end - offset > end) end = node->pending_end - offset < n ? node->pending_end - offset : n;
    if (end > below) memset((char *)bytes + below, 0, end - below);
    for (const struct pending *p = node->head; p; p = p->next) {
        uint64_t from = p->offset > offset ? p->offset : offset, to = p->offset + p->n < offset + n ? p->offset + p->n : offset + n;
        if (from < to) memcpy((char *)bytes + (from - offset), p->bytes + (from - p->offset), to - from);
    }
    *got = end;
    return OK;
}

/* The kernel writes back when it likes: one pending write, whole or its first pages, goes to the file; it stays pending, so a sync writes it again. */
static void write_back_some(struct faulty *f, struct node *node, int file) {
    size_t count = 0;
    for (const struct pending *p = node->head; p; p = p->next) count++;
    if (!count) return;
    size_t pick = (size_t)(dice(f) * (double)count);
    const struct pending *p = node->head;
    while (pick-- && p->next) p = p->next;
    size_t n = p->n;
    if (n > PAGE && dice(f) < 0.5) n = ((size_t)(dice(f) * (double)n) / PAGE) * PAGE;
    if (n) f->below->pwrite(f->below->self, file, p->bytes, n, p->offset, NULL);
}

static enum status faulty_pwrite(void *self, int file, const void *bytes, size_t n, uint64_t offset, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    struct node *node = node_of(f, file);
    if (dice(f) < f->enospc) return err_set(err, E_NO_SPACE, "writing %zu bytes at %llu: No space left on device (injected)", n, (unsigned long long)offset);
    struct pending *p = mem_alloc(sizeof *p + n);
    *p = (struct pending){.offset = offset, .n = n};
    if (n) memcpy(p->bytes, bytes, n);
    *node->tail = p;
    node->tail = &p->next;
    if (offset + n > node->pending_end) node->pending_end = offset + n;
    if (dice(f) < f->early) write_back_some(f, node, file);
    return OK;
}

/* Moves everything pending below; `share` of it when a failed sync loses the rest. */
static enum status flush_node(struct faulty *f, struct node *node, int file, double share, struct err *err) {
    enum status st = OK;
    while (node->head) {
        struct pending *p = node->head;
        if (st == OK && (share >= 1 || dice(f) < share)) st = f->below->pwrite(f->below->self, file, p->bytes, p->n, p->offset, err);
        node->head = p->next;
        free(p);
    }
    node->tail = &node->head;
    node->pending_end = 0;
    return st;
}

static enum status faulty_sync_data(void *self, int file, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    struct node *node = node_of(f, file);
    if (dice(f) < f->eio) {
        flush_node(f, node, file, 0.5, NULL);
        return err_set(err, E_IO, "fdatasync: Input/output error (injected)");
    }
    enum status st = flush_node(f, node, file, 1, err);
    if (st == OK) st = f->below->sync_data(f->below->self, file, err);
    if (st == OK) journal(f, "sync %llu\n", (unsigned long long)node->inode);
    return st;
}

static enum status faulty_allocate(void *self, int file, uint64_t size_bytes, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    if (dice(f) < f->enospc) return err_set(err, E_NO_SPACE, "allocating %llu bytes: No space left on device (injected)", (unsigned long long)size_bytes);
    return f->below->allocate(f->below->self, file, size_bytes, err);
}

static enum status faulty_truncate(void *self, int file, uint64_t size_bytes, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    struct node *node = node_of(f, file);
    for (struct pending **at = &node->head; *at;) {
        struct pending *p = *at;
        if (p->offset + p->n > size_bytes) p->n = p->offset < size_bytes ? size_bytes - p->offset : 0;
        if (p->n) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        free(p);
    }
    node->tail = &node->head;
    while (*node->tail) node->tail = &(*node->tail)->next;
    if (node->pending_end > size_bytes) node->pending_end = size_bytes;
    return f->below->truncate(f->below->self, file, size_bytes, err);
}

static void see_pending(struct faulty *f, struct fs_stat *out) {
    for (const struct node *node = f->nodes; node; node = node->next)
        if (node->inode == out->inode && node->device == out->device && node->pending_end > out->size_bytes) out->size_bytes = node->pending_end;
}

static enum status faulty_stat(void *self, const char *path, struct fs_stat *out, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    enum status st = f->below->stat(f->below->self, path, out, err);
    if (st == OK) see_pending(f, out);
    return st;
}

static enum status faulty_stat_file(void *self, int file, struct fs_stat *out, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    enum status st = f->below->stat_file(f->below->self, file, out, err);
    if (st == OK) see_pending(f, out);
    return st;
}

static enum status faulty_rename(void *self, const char *from, const char *to, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    struct fs_stat stat;
    enum status st = f->below->stat(f->below->self, from, &stat, err);
    if (st == OK) st = f->below->rename(f->below->self, from, to, err);
    if (st == OK) journal(f, "rename %llu %s\t%s\n", (unsigned long long)stat.inode, from, to);
    return st;
}

static enum status faulty_unlink(void *self, const char *path, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    enum status st = f->below->unlink(f->below->self, path, err);
    if (st == OK) journal(f, "unlink %s\n", path);
    return st;
}

static enum status faulty_mkdir(void *self, const char *path, struct err *err) {
    struct faulty *f = self;
    return f->below->mkdir(f->below->self, path, err);
}

static enum status faulty_rmdir(void *self, const char *path, struct err *err) {
    struct faulty *f = self;
    return f->below->rmdir(f->below->self, path, err);
}

static enum status faulty_list(void *self, struct arena *arena, const char *path, struct fs_entry **out, size_t *n, struct err *err) {
    struct faulty *f = self;
    return f->below->list(f->below->self, arena, path, out, n, err);
}

static enum status faulty_sync_dir(void *self, const char *path, struct err *err) {
    struct faulty *f = self;
    WITH_LOCK(&f->lock);
    if (dice(f) < f->eio) return err_set(err, E_IO, "syncing folder %s: Input/output error (injected)", path);
    enum status st = f->below->sync_dir(f->below->self, path, err);
    if (st == OK) journal(f, "syncdir %s\n", path);
    return st;
}

static enum status faulty_free_bytes(void *self, const char *path, uint64_t *out, struct err *err) {
    struct faulty *f = self;
    return f->below->free_bytes(f->below->self, path, out, err);
}

/* The server makes it; its engine child, which has the same environment, finds it there and writes none. */
static bool open_journal(struct faulty *f, const char *path) {
    enum status st = f->below->open(f->below->self, path, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &f->journal, NULL);
    if (st != OK) f->journal = -1;
    return st == OK || st == E_CONFLICT;
}

static void parse_spec(struct faulty *f, const char *spec) {
    struct str rest = str_of(spec);
    ARENA_SCOPE(arena);
    while (rest.n) {
        struct str value = str_cut(&rest, ','), name = str_cut(&value, '=');
        uint64_t seed = 0;
        bool ok = true;
        if (str_is(name, "seed"))
            ok = str_to_u64(value, &seed), f->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
        else if (str_is(name, "eio"))
            ok = str_to_double(value, &f->eio);
        else if (str_is(name, "enospc"))
            ok = str_to_double(value, &f->enospc);
        else if (str_is(name, "early"))
            ok = str_to_double(value, &f->early);
        else if (str_is(name, "journal"))
            ok = open_journal(f, arena_str(arena, value).p);
        else
            ok = false;
        if (!ok) fprintf(stderr, "cupel: CUPEL_FAULTY_DISK: cannot use \"" STR_FMT "\"\n", STR_ARG(name));
        must(ok);
    }
}

const struct fs *fs_faulty(const struct fs *below, const char *spec) {
    static mutex making = MUTEX_INIT;
    static struct faulty *made; /* one per process: pending writes must be seen by everyone in it */
    WITH_LOCK(&making);
    if (made) return &made->fs;
    struct faulty *f = mem_zalloc(sizeof *f);
    f->below = below;
    f->random = 1;
    f->early = 0.2;
    f->journal = -1;
    mutex_init(&f->lock);
    parse_spec(f, spec);
    f->fs = (struct fs){.self = f,
        .open = faulty_open,
        .close = faulty_close,
        .pread = faulty_pread,
        .pwrite = faulty_pwrite,
        .sync_data = faulty_sync_data,
        .allocate = faulty_allocate,
        .truncate = faulty_truncate,
        .stat = faulty_stat,
        .stat_file = faulty_stat_file,
        .rename = faulty_rename,
        .unlink = faulty_unlink,
        .mkdir = faulty_mkdir,
        .rmdir = faulty_rmdir,
        .list = faulty_list,
        .sync_dir = faulty_sync_dir,
        .free_bytes = faulty_free_bytes};
    made = f;
    return &f->fs;
}
