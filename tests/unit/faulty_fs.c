#include "faulty_fs.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "host/thread.h"

#define NAMES_MAX 512
#define HANDLES_MAX 512
#define SECTOR 512

struct pending {
    struct pending *next;
    enum { PENDING_WRITE, PENDING_SIZE } kind;
    uint64_t offset, n; /* size: offset is the new size */
    char bytes[];
};

struct content {
    char *p;
    uint64_t n, cap;
};

struct inode {
    struct inode *next;
    uint64_t number;
    struct content seen, durable;
    struct pending *first, **last;
};

struct name {
    char path[256];
    struct inode *inode;
};

struct names {
    struct name rows[NAMES_MAX];
    size_t n;
};

struct name_change { /* inode NULL: the name goes */
    struct name_change *next;
    struct name name;
};

struct faulty_fs {
    struct fs table;
    mutex lock;
    uint64_t random, inodes_n;
    struct faulty_knobs knobs;
    bool dead;
    long calls;
    struct inode *inodes;
    struct names seen, durable;
    struct name_change *changes, **changes_last;
    struct inode *handles[HANDLES_MAX];
    atomic_bool hold;
    atomic_int held;
};

/* ---- small parts ---- */

static uint64_t next_random(struct faulty_fs *f) {
    f->random ^= f->random >> 12;
    f->random ^= f->random << 25;
    f->random ^= f->random >> 27;
    return f->random * UINT64_C(2685821657736338717);
}

void faulty_fs_hold(struct faulty_fs *f, bool hold) { atomic_store(&f->hold, hold); }

bool faulty_fs_held(void *fs) {
    struct faulty_fs *f = fs;
    return atomic_load(&f->hold) && atomic_load(&f->held) > 0;
}

uint64_t faulty_fs_random(struct faulty_fs *f) {
    WITH_LOCK(&f->lock);
    return next_random(f);
}

static bool chance(struct faulty_fs *f, double p) { return p > 0 && (double)(next_random(f) >> 11) / 9007199254740992.0 < p; }

static void content_resize(struct content *c, uint64_t n) {
    if (n > c->cap) {
        c->p = mem_realloc(c->p, n * 2);
        c->cap = n * 2;
    }
    if (n > c->n) memset(c->p + c->n, 0, n - c->n);
    c->n = n;
}

static void content_write(struct content *c, const char *bytes, uint64_t n, uint64_t offset) {
    if (n == 0) return;
    if (offset + n > c->n) content_resize(c, offset + n);
    memcpy(c->p + offset, bytes, n);
}

static struct name *name_find(struct names *names, const char *path) {
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->rows[i].path, path) == 0) return &names->rows[i];
    return NULL;
}

static void name_set(struct names *names, const char *path, struct inode *inode) {
    struct name *row = name_find(names, path);
    if (!inode) {
        if (row) *row = names->rows[--names->n];
        return;
    }
    if (!row) {
        must(names->n < NAMES_MAX && strlen(path) < sizeof row->path);
        row = &names->rows[names->n++];
        memcpy(row->path, path, strlen(path) + 1);
    }
    row->inode = inode;
}

static void name_change(struct faulty_fs *f, const char *path, struct inode *inode) {
    name_set(&f->seen, path, inode);
    struct name_change *c = mem_zalloc(sizeof *c);
    must(strlen(path) < sizeof c->name.path);
    memcpy(c->name.path, path, strlen(path) + 1);
    c->name.inode = inode;
    *f->changes_last = c;
    f->changes_last = &c->next;
}

static struct pending *add_pending(struct inode *inode, int kind, uint64_t offset, const void *bytes, uint64_t n) {
    struct pending *p = mem_alloc(sizeof *p + n);
    *p = (struct pending){.kind = kind, .offset = offset, .n = n};
    if (n) memcpy(p->bytes, bytes, n);
    *inode->last = p;
    inode->last = &p->next;
    return p;
}

static void apply_whole(struct inode *inode, const struct pending *p) {
    if (p->kind == PENDING_SIZE)
        content_resize(&inode->durable, p->offset);
    else
        content_write(&inode->durable, p->bytes, p->n, p->offset);
}

static void apply_torn(struct faulty_fs *f, struct inode *inode, const struct pending *p) {
    uint64_t end = p->offset + p->n;
    for (uint64_t at = p->offset; at < end;) {
        uint64_t sector_end = (at / SECTOR + 1) * SECTOR, to = sector_end < end ? sector_end : end;
        if (next_random(f) & 1) content_write(&inode->durable, p->bytes + (at - p->offset), to - at, at);
        at = to;
    }
}

static void drop_pending(struct inode *inode) {
    for (struct pending *p = inode->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    inode->first = NULL;
    inode->last = &inode->first;
}

static void flush_some(struct faulty_fs *f, struct inode *inode) {
    for (struct pending *p = inode->first; p; p = p->next) {
        unsigned dice = (unsigned)(next_random(f) % 4);
        if (dice == 0 && p->kind == PENDING_WRITE) apply_torn(f, inode, p);
        if (dice == 1 || dice == 2) apply_whole(inode, p);
    }
    drop_pending(inode);
}

/* Every changing call goes through here. */
static enum status power(struct faulty_fs *f, const char *what, struct err *err) {
    if (!f->dead && f->knobs.power_after && ++f->calls >= f->knobs.power_after) f->dead = true;
    return f->dead ? err_set(err, E_IO, "%s: the power is off", what) : OK;
}

static struct inode *inode_new(struct faulty_fs *f) {
    struct inode *inode = mem_zalloc(sizeof *inode);
    inode->number = ++f->inodes_n;
    inode->last = &inode->first;
    inode->next = f->inodes;
    f->inodes = inode;
    return inode;
}

static struct inode *inode_of(struct faulty_fs *f, int file) {
    must(file >= 0 && file < HANDLES_MAX && f->handles[file]);
    return f->handles[file];
}

static uint64_t space_used(struct faulty_fs *f) {
    uint64_t used = 0;
    for (size_t i = 0; i < f->seen.n; i++) used += f->seen.rows[i].inode->seen.n;
    return used;
}

/* ---- the table ---- */

static enum status faulty_open(void *self, const char *path, int flags, int *file, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    if (f->dead) return err_set(err, E_IO, "opening %s: the power is off", path);
    if (chance(f, f->knobs.open_eio)) return err_set(err, E_IO, "opening %s (injected)", path);
    struct name *row = name_find(&f->seen, path);
    if (!row && !(flags & FS_CREATE)) return err_set(err, E_NOT_FOUND, "opening %s: no such file", path);
    if (row && flags & FS_EXCLUSIVE) return err_set(err, E_CONFLICT, "%s exists already", path);
    struct inode *inode = row ? row->inode : NULL;
    if (!inode) {
        enum status s = power(f, "create", err);
        if (s != OK) return s;
        inode = inode_new(f);
        name_change(f, path, inode);
    }
    if (flags & FS_TRUNCATE && inode->seen.n) {
        content_resize(&inode->seen, 0);
        add_pending(inode, PENDING_SIZE, 0, NULL, 0);
    }
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (f->handles[i]) continue;
        f->handles[i] = inode;
        *file = i;
        return OK;
    }
    must_not();
}

static void faulty_close(void *self, int file) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    (void)inode_of(f, file);
    f->handles[file] = NULL;
}

static enum status faulty_pread(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    const struct content *c = &inode_of(f, file)->seen;
    if (f->dead) return err_set(err, E_IO, "read: the power is off");
    size_t part = offset >= c->n ? 0 : c->n - offset < n ? c->n - offset : n;
    if (part) memcpy(bytes, c->p + offset, part);
    *got = part;
    return OK;
}

static enum status faulty_pwrite(void *self, int file, const void *bytes, size_t n, uint64_t offset, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    struct inode *inode = inode_of(f, file);
    if (f->dead) return err_set(err, E_IO, "write: the power is off");
    bool failed = chance(f, f->knobs.write_eio), full = !failed && chance(f, f->knobs.write_enospc);
    if (offset + n > inode->seen.n && f->knobs.space_bytes && space_used(f) + (offset + n - inode->seen.n) > f->knobs.space_bytes) full = true;
    size_t written = failed || full ? (size_t)(next_random(f) % (n + 1)) : n;
    content_write(&inode->seen, bytes, written, offset);
    if (written) add_pending(inode, PENDING_WRITE, offset, bytes, written);
    if (full) return err_set(err, E_NO_SPACE, "write: no space left (injected)");
    if (failed) return err_set(err, E_IO, "write (injected)");
    return power(f, "write", err);
}

static enum status faulty_sync(void *self, int file, struct err *err) {
    struct faulty_fs *f = self;
    atomic_fetch_add(&f->held, 1);
    while (atomic_load(&f->hold)) usleep(200);
    atomic_fetch_sub(&f->held, 1);
    WITH_LOCK(&f->lock);
    struct inode *inode = inode_of(f, file);
    enum status s = power(f, "sync", err);
    if (s != OK) return s;
    if (chance(f, f->knobs.sync_eio)) {
        flush_some(f, inode);
        return err_set(err, E_IO, "sync (injected)");
    }
    for (struct pending *p = inode->first; p; p = p->next) apply_whole(inode, p);
    drop_pending(inode);
    return OK;
}

static enum status faulty_allocate(void *self, int file, uint64_t size, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    struct inode *inode = inode_of(f, file);
    enum status s = power(f, "allocate", err);
    if (s != OK) return s;
    bool full = chance(f, f->knobs.allocate_enospc);
    if (f->knobs.space_bytes && size > inode->seen.n && space_used(f) + (size - inode->seen.n) > f->knobs.space_bytes) full = true;
    if (full) return err_set(err, E_NO_SPACE, "allocate: no space left (injected)");
    if (size > inode->seen.n) {
        content_resize(&inode->seen, size);
        add_pending(inode, PENDING_SIZE, size, NULL, 0);
    }
    return OK;
}

static enum status faulty_truncate(void *self, int file, uint64_t size, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    struct inode *inode = inode_of(f, file);
    enum status s = power(f, "truncate", err);
    if (s != OK) return s;
    content_resize(&inode->seen, size);
    add_pending(inode, PENDING_SIZE, size, NULL, 0);
    return OK;
}

static void fill_stat(const struct inode *inode, struct fs_stat *out) {
    *out = (struct fs_stat){.size_bytes = inode->seen.n, .inode = inode->number, .device = 1, .is_file = true};
}

static enum status faulty_stat(void *self, const char *path, struct fs_stat *out, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    const struct name *row = name_find(&f->seen, path);
    if (row) {
        fill_stat(row->inode, out);
        return OK;
    }
    *out = (struct fs_stat){.is_dir = true}; /* folders are simply there */
    return strchr(path, '.') ? err_set(err, E_NOT_FOUND, "%s: no such file", path) : OK;
}

static enum status faulty_stat_file(void *self, int file, struct fs_stat *out, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    fill_stat(inode_of(f, file), out);
    return OK;
}

static enum status faulty_rename(void *self, const char *from, const char *to, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    enum status s = power(f, "rename", err);
    if (s != OK) return s;
    if (chance(f, f->knobs.rename_eio)) return err_set(err, E_IO, "rename (injected)");
    struct name *row = name_find(&f->seen, from);
    if (!row) return err_set(err, E_NOT_FOUND, "%s: no such file", from);
    struct inode *inode = row->inode;
    name_change(f, to, inode);
    name_change(f, from, NULL);
    return OK;
}

static enum status faulty_unlink(void *self, const char *path, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    enum status s = power(f, "unlink", err);
    if (s != OK) return s;
    if (!name_find(&f->seen, path)) return err_set(err, E_NOT_FOUND, "%s: no such file", path);
    name_change(f, path, NULL);
    return OK;
}

static enum status faulty_mkdir(void *self, const char *path, struct err *err) { return OK; }
static enum status faulty_rmdir(void *self, const char *path, struct err *err) { return OK; }

static int by_name(const void *a, const void *b) { return strcmp(((const struct fs_entry *)a)->name, ((const struct fs_entry *)b)->name); }

static enum status faulty_list(void *self, struct arena *arena, const char *path, struct fs_entry **out, size_t *n, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    if (f->dead) return err_set(err, E_IO, "list: the power is off");
    *out = arena_new_array(arena, struct fs_entry, f->seen.n + 1);
    *n = 0;
    size_t prefix = strlen(path);
    for (size_t i = 0; i < f->seen.n; i++) {
        const char *p = f->seen.rows[i].path;
        if (strncmp(p, path, prefix) != 0 || p[prefix] != '/' || strchr(p + prefix + 1, '/')) continue;
        (*out)[*n].name = arena_strdup(arena, p + prefix + 1);
        fill_stat(f->seen.rows[i].inode, &(*out)[(*n)++].stat);
    }
    qsort(*out, *n, sizeof **out, by_name);
    return OK;
}

static bool in_dir(const char *path, const char *dir) {
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static enum status faulty_sync_dir(void *self, const char *path, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    enum status s = power(f, "sync of a folder", err);
    if (s != OK) return s;
    if (chance(f, f->knobs.sync_eio)) return err_set(err, E_IO, "sync of a folder (injected)");
    struct name_change **at = &f->changes;
    while (*at) {
        struct name_change *c = *at;
        if (!in_dir(c->name.path, path)) {
            at = &c->next;
            continue;
        }
        name_set(&f->durable, c->name.path, c->name.inode);
        *at = c->next;
        free(c);
    }
    f->changes_last = at;
    return OK;
}

static enum status faulty_free_bytes(void *self, const char *path, uint64_t *out, struct err *err) {
    struct faulty_fs *f = self;
    WITH_LOCK(&f->lock);
    uint64_t used = space_used(f), space = f->knobs.space_bytes ? f->knobs.space_bytes : UINT64_C(1) << 50;
    *out = space > used ? space - used : 0;
    return f->dead ? err_set(err, E_IO, "the power is off") : OK;
}

/* ---- for tests ---- */

struct faulty_fs *faulty_fs_new(uint64_t seed) {
    struct faulty_fs *f = mem_zalloc(sizeof *f);
    f->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    f->changes_last = &f->changes;
    mutex_init(&f->lock);
    f->table = (struct fs){.self = f,
        .open = faulty_open,
        .close = faulty_close,
        .pread = faulty_pread,
        .pwrite = faulty_pwrite,
        .sync_data = faulty_sync,
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
    return f;
}

static void drop_changes(struct faulty_fs *f) {
    for (struct name_change *c = f->changes, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    f->changes = NULL;
    f->changes_last = &f->changes;
}

void faulty_fs_free(struct faulty_fs **handle) {
    struct faulty_fs *f = *handle;
    for (struct inode *i = f->inodes, *next; i; i = next) {
        next = i->next;
        drop_pending(i);
        free(i->seen.p);
        free(i->durable.p);
        free(i);
    }
    drop_changes(f);
    mutex_destroy(&f->lock);
    free(f);
    *handle = NULL;
}

const struct fs *faulty_fs_table(struct faulty_fs *f) { return &f->table; }

void faulty_fs_set(struct faulty_fs *f, struct faulty_knobs knobs) {
    WITH_LOCK(&f->lock);
    f->knobs = knobs;
    f->calls = 0;
}

bool faulty_fs_dead(struct faulty_fs *f) {
    WITH_LOCK(&f->lock);
    return f->dead;
}

void faulty_fs_crash(struct faulty_fs *f) {
    WITH_LOCK(&f->lock);
    size_t changes = 0;
    for (struct name_change *c = f->changes; c; c = c->next) changes++;
    size_t kept = changes ? next_random(f) % (changes + 1) : 0;
    for (struct name_change *c = f->changes; c && kept--; c = c->next) name_set(&f->durable, c->name.path, c->name.inode);
    drop_changes(f);
    f->seen = f->durable;
    for (struct inode *i = f->inodes; i; i = i->next) {
        flush_some(f, i);
        content_resize(&i->seen, 0);
        content_write(&i->seen, i->durable.p, i->durable.n, 0);
    }
    for (int i = 0; i < HANDLES_MAX; i++) must(!f->handles[i]); /* everything was closed by its owner */
    f->knobs = (struct faulty_knobs){0};
    f->calls = 0;
    f->dead = false;
}

bool faulty_fs_poke(struct faulty_fs *f, const char *path, uint64_t offset, const void *bytes, size_t n) {
    WITH_LOCK(&f->lock);
    struct name *row = name_find(&f->seen, path);
    if (!row || offset + n > row->inode->seen.n || offset + n > row->inode->durable.n) return false;
    memcpy(row->inode->seen.p + offset, bytes, n);
    memcpy(row->inode->durable.p + offset, bytes, n);
    return true;
}

bool faulty_fs_peek(struct faulty_fs *f, const char *path, uint64_t offset, void *bytes, size_t n) {
    WITH_LOCK(&f->lock);
    struct name *row = name_find(&f->seen, path);
    if (!row || offset + n > row->inode->seen.n) return false;
    memcpy(bytes, row->inode->seen.p + offset, n);
    return true;
}
