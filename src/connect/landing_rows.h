/* Landing rows: the records of one text file by its plan, good ones as cells, bad ones aside, in bounded memory. One thread at a time. */
#ifndef CUPEL_CONNECT_LANDING_ROWS_H
#define CUPEL_CONNECT_LANDING_ROWS_H

#include "connect/landing_plan.h"
#include "lake/row_source.h"

struct landing_rows;

struct landing_rows_options {
    const struct host *host;
    const struct landing_plan *plan; /* not Parquet; must outlive the reader */
    const char *spool; /* file for the bad rows, made when there are any; NULL: the first ones are kept in memory, the rest counted only */
    bool whole_json; /* JSON: one cell per row, the object as it stands (for streams) */
    bool keys_only; /* JSON: rows are not made; landing_rows_keys tells the union of the keys at the end */
};

struct landing_counts {
    uint64_t read, good, bad, blank_lines;
};

enum status landing_rows_open(const struct landing_rows_options *options, struct landing_rows **out, struct err *err);
void landing_rows_close(struct landing_rows **rows);
/* Up to rows_max rows; cells: one per column of the plan (whole_json, lines: one). *n 0 at the end. E_INVALID: a JSON document is broken in its structure. */
enum status landing_rows_next(struct landing_rows *r, struct row *rows, size_t rows_max, size_t *n, struct err *err);
bool landing_rows_next_bad(struct landing_rows *r, struct bad_row *out); /* after the end */
struct landing_counts landing_rows_counts(const struct landing_rows *r);
const struct str *landing_rows_keys(const struct landing_rows *r, size_t *n); /* in the order of their first appearance */

/* ---- bad rows, written once and read in order (docs/landing.md: they go to quarantine) ---- */

struct bad_spool;
struct bad_spool *bad_spool_new(const struct host *host, const char *path); /* path NULL: memory only, bounded */
void bad_spool_free(struct bad_spool **spool); /* the file stays */
enum status bad_spool_put(struct bad_spool *spool, uint64_t number, struct str reason, struct str raw, struct err *err);
enum status bad_spool_finish(struct bad_spool *spool, struct err *err); /* everything is in the file */
enum status bad_spool_open(const struct host *host, const char *path, struct bad_spool **out, struct err *err);
enum status bad_spool_next(struct bad_spool *spool, struct bad_row *out, bool *got, struct err *err); /* views until the next call */

#endif
