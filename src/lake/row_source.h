/* Row source: rows of text made by another room (landing files in `connect`), read by the engine as the table functions
 *
 *   cupel_rows(kind VARCHAR, spec VARCHAR)      the good rows: one VARCHAR column per row_source column
 *   cupel_bad_rows(kind VARCHAR, spec VARCHAR)  after cupel_rows of the same spec was read in the same engine call: (row BIGINT, reason VARCHAR, raw BLOB)
 *
 * The kinds are registered once in main (engine_main). A source is used by one thread. `lake` knows nothing of what is inside. */
#ifndef CUPEL_LAKE_ROW_SOURCE_H
#define CUPEL_LAKE_ROW_SOURCE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "host/host.h"

struct row {
    uint64_t number; /* the record's number in its file, from 1, bad ones counted */
    const struct str *cells; /* as many as columns; p NULL is SQL NULL. Valid UTF-8 */
};

struct bad_row {
    uint64_t number;
    const char *reason;
    struct str raw; /* bytes as they stood in the file */
};

struct row_source_kind {
    const char *name; /* "landing" */
    /* spec: JSON text, meaning known to the kind. columns: names, in the source's memory. */
    enum status (*open)(const struct host *host, struct str spec, void **self, const struct str **columns, size_t *columns_n, struct err *err);
    /* Up to rows_max rows into `rows` (views valid until the next call). *n 0 at the end. An error ends the statement. */
    enum status (*next)(void *self, struct row *rows, size_t rows_max, size_t *n, struct err *err);
    /* After the end of next: the rows that were bad, in order; false at the end. */
    bool (*next_bad)(void *self, struct bad_row *out);
    /* JSON object put into engine_copied.sources: counts, dialect, encoding. */
    void (*report)(void *self, struct buf *out);
    void (*close)(void *self);
};

/* main() of the child: `cupel engine --fd N …`. kinds is NULL-ended. Returns the exit status. */
int engine_main(int argc, char **argv, const struct row_source_kind *const *kinds);

#endif
