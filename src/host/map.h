/* Read-only view of a file's bytes in memory. On the real file system it is a shared mapping, coherent with pwrite of other processes (Linux); over any
 * other fs table it is private memory that host_map_refresh fills. The file may be unlinked or closed meanwhile.
 *
 * Touching bytes behind the file's end is a SIGBUS on a mapping: callers read only below a size that they know to exist. */
#ifndef CUPEL_HOST_MAP_H
#define CUPEL_HOST_MAP_H

#include "host/host.h"

struct host_map {
    const char *p;
    size_t n;
    bool shared; /* a real mapping: refresh has nothing to do */
};

/* Maps bytes [0, n) of an open file; n > 0. The file's length may be smaller than n. */
enum status host_map_open(const struct fs *fs, int file, size_t n, struct host_map *out, struct err *err);
/* Makes bytes [from, to) as they are in the file now visible in the map. */
enum status host_map_refresh(const struct fs *fs, int file, struct host_map *map, size_t from, size_t to, struct err *err);
/* Tells the kernel that [from, to) will be read soon, in order. Only advice. */
void host_map_will_read(const struct host_map *map, size_t from, size_t to);
void host_map_close(struct host_map *map); /* zeroed is fine */

#endif
