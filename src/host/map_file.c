#include "host/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"

enum status host_map_open(const struct fs *fs, int file, size_t n, struct host_map *out, struct err *err) {
    must(n > 0);
    bool shared = fs == fs_real();
    void *p =
        shared ? mmap(NULL, n, PROT_READ, MAP_SHARED, file, 0) : mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return err_set_errno(err, errno, "cannot map %zu bytes of a file", n);
    *out = (struct host_map){p, n, shared};
    return OK;
}

enum status host_map_refresh(const struct fs *fs, int file, struct host_map *map, size_t from, size_t to, struct err *err) {
    must(from <= to && to <= map->n);
    if (map->shared || from == to) return OK;
    size_t got = 0;
    return fs->pread(fs->self, file, (void *)(map->p + from), to - from, from, &got, err); /* private memory: ours to write */
}

void host_map_will_read(const struct host_map *map, size_t from, size_t to) {
    must(from <= to && to <= map->n);
    size_t page = from & ~(size_t)4095;
    if (map->shared && from < to) (void)madvise((void *)(map->p + page), to - page, MADV_WILLNEED);
}

void host_map_close(struct host_map *map) {
    if (map->p) (void)munmap((void *)map->p, map->n);
    *map = (struct host_map){0};
}
