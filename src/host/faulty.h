/* Faulty disk: a file system over another one that loses what was not synced. For crash tests (builds with -Dfaulty_disk=true).
 *
 * Writes stay in this process' memory until sync_data: kill -9 is then a power cut. Some pending writes, or the first pages of them, reach the file early and
 * out of order, as a kernel's write-back does (torn, reordered). sync_data may fail with EIO and then throws away part of what was pending; pwrite and
 * allocate may fail with ENOSPC. Folder operations are done at once and written to a journal, by which the test driver can undo those that no sync_dir made
 * durable, and damage files that were renamed without having been synced (DuckDB writes Parquet files past this table).
 *
 * The journal must not exist: the first process makes it, others with the same spec (the engine child) write none.
 *
 * spec: "seed=7,journal=/path,eio=0.001,enospc=0.001,early=0.2" — probabilities per call; all but seed are optional. */
#ifndef CUPEL_HOST_FAULTY_H
#define CUPEL_HOST_FAULTY_H

#include "host/host.h"

const struct fs *fs_faulty(const struct fs *below, const char *spec); /* lives as long as the process; a wrong spec aborts */

#endif
