/* One row of a Parquet file, without DuckDB: what a look-up by id needs, and no more.
 *
 * Read are files as our own writer makes them: zstd or no compression, version 1 data pages, PLAIN or dictionary encoding, flat columns and maps of text. All
 * else is E_UNSUPPORTED, what does not fit together E_CORRUPT; callers then ask the engine, which knows more and says what is wrong. A page is decompressed
 * only as far as the row, through a window: memory is bounded by the window of zstd (8 MB at most) and the page's levels, not by the page.
 *
 * Any thread; a file belongs to one. Bytes on disk are not trusted (fuzz_parquet). */
#ifndef CUPEL_LAKE_PARQUET_H
#define CUPEL_LAKE_PARQUET_H

#include "base/arena.h"
#include "host/host.h"
#include "host/thread.h"

enum parquet_type { PARQUET_BOOLEAN = 0, PARQUET_INT32 = 1, PARQUET_INT64 = 2, PARQUET_BYTES = 6, PARQUET_FIXED = 7 };

/* A column of values; several belong to one field when that is nested. */
struct parquet_leaf {
    int64_t field_id; /* of the field that it belongs to; -1: none */
    int64_t type, length; /* enum parquet_type, others occur; bytes of PARQUET_FIXED */
    uint8_t depth; /* 1: the field itself */
    uint8_t definition_max, repetition_max;
    bool field_optional; /* the field itself may be NULL */
};

/* The pages of one leaf in one row group. */
struct parquet_chunk {
    uint64_t offset, bytes;
    int64_t codec, values;
    struct str min, max; /* p NULL: not known */
};

struct parquet_group {
    int64_t rows;
    struct parquet_chunk *chunks; /* one per leaf */
};

struct parquet_footer {
    struct parquet_leaf *leaves;
    struct parquet_group *groups;
    size_t leaves_n, groups_n;
};

/* What reading needs besides the file: some 2.5 MB each. They are kept and shared, so that a thread that looked something up holds no memory afterwards;
 * whoever finds none free waits the few milliseconds that a look-up takes. */
#define PARQUET_READERS_MAX 4
#define PARQUET_WINDOW_BYTES 65536u
struct parquet_reader {
    struct ZSTD_DCtx_s *zstd; /* NULL: not used yet */
    char *windows; /* two of PARQUET_WINDOW_BYTES */
    bool taken;
};
struct parquet_readers {
    mutex lock; /* guards `taken` */
    condition given;
    struct parquet_reader readers[PARQUET_READERS_MAX];
};
void parquet_readers_init(struct parquet_readers *readers);
void parquet_readers_destroy(struct parquet_readers *readers); /* none is taken */

struct parquet_file {
    const struct fs *fs;
    int file;
    uint64_t size_bytes;
    struct parquet_footer footer; /* in the arena given to parquet_open */
    struct parquet_readers *readers;
    struct parquet_reader *reader; /* taken */
};

/* An entry of a row: the value, or how far down it is defined. */
struct parquet_entry {
    uint8_t definition;
    struct str bytes; /* p NULL when definition is below the leaf's */
};

/* `bytes`: the footer alone, as it stands between the last column and its length. Texts point into it. */
enum status parquet_footer_read(struct arena *arena, struct str bytes, struct parquet_footer *out, struct err *err);

/* Closed with parquet_close, also after a failure. */
enum status parquet_open(
    struct parquet_file *file, const struct fs *fs, struct parquet_readers *readers, struct arena *arena, const char *path, struct err *err);
void parquet_close(struct parquet_file *file);

/* Leaves of the field with this id: the first in *leaf, their number as the result. */
size_t parquet_leaves_of(const struct parquet_footer *footer, int64_t field_id, size_t *leaf);

/* The row of the group at which a flat PARQUET_FIXED leaf of 16 bytes has this value; -1: none has. */
enum status parquet_find_row(const struct parquet_file *file, size_t group, size_t leaf, const uint8_t value[16], int64_t *row, struct err *err);

/* The row's entries: one for a flat leaf, of a list or map one per item (one that is not defined when it is empty or NULL). */
enum status parquet_read_row(
    const struct parquet_file *file, size_t group, size_t leaf, int64_t row, struct arena *arena, struct parquet_entry **out, size_t *n, struct err *err);

#endif
