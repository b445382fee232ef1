/* A file system in memory that fails from a seed and can lose its power. Deterministic for one thread; several threads see the same dice in another order.
 *
 * What was not synced is pending. faulty_fs_crash() keeps a random part of it: writes in any order, torn at 512-byte sectors; folder entries a random prefix
 * of what was done since the last sync of the folder. A failed sync forgets a random part of what was pending while readers go on seeing it, as Linux does. */
#ifndef CUPEL_TESTS_FAULTY_FS_H
#define CUPEL_TESTS_FAULTY_FS_H

#include "host/host.h"

struct faulty_fs;

struct faulty_knobs {
    double write_eio, write_enospc, sync_eio, allocate_enospc, open_eio, rename_eio; /* chance per call */
    uint64_t space_bytes; /* of the disk; 0: without end */
    long power_after; /* after so many changing calls all fails; 0: never */
};

struct faulty_fs *faulty_fs_new(uint64_t seed);
void faulty_fs_free(struct faulty_fs **fs);
const struct fs *faulty_fs_table(struct faulty_fs *fs);
void faulty_fs_set(struct faulty_fs *fs, struct faulty_knobs knobs);
void faulty_fs_crash(struct faulty_fs *fs); /* what stays of the files is what a machine finds after the power came back; knobs are cleared */
bool faulty_fs_dead(struct faulty_fs *fs); /* the power went */
void faulty_fs_hold(struct faulty_fs *fs, bool hold); /* sync_data waits until it is let go */
bool faulty_fs_held(void *fs); /* somebody waits in it; for wait_until */
/* Changes bytes of a file as it is on disk and in memory; false: no such file or place. */
bool faulty_fs_poke(struct faulty_fs *fs, const char *path, uint64_t offset, const void *bytes, size_t n);
bool faulty_fs_peek(struct faulty_fs *fs, const char *path, uint64_t offset, void *bytes, size_t n);
uint64_t faulty_fs_random(struct faulty_fs *fs);

#endif
