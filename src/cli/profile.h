/* Profile of a table: what its columns hold, found by queries that any reader may ask, as one JSON tree; and two ways to show it.
 *
 * The tree: {table, rows, profiled (rows looked at), sampled, columns: [{name, type, class: number|time|text|boolean|other, values, nulls, distinct, min, max,
 * mean, stdev, zeros, negatives, quantiles: {"1": …}, outliers: {below, above, low, high}, lengths: {min, max, mean}, blanks, reads_as: {type, share},
 * histogram: [counts], top: [{value, count}], patterns: [{pattern, count}], long_numbers}], keys: [["a"], ["b", "c"]], warnings: ["…"]}. Members that mean
 * nothing for a column are missing. Threads: one. */
#ifndef CUPEL_CLI_PROFILE_H
#define CUPEL_CLI_PROFILE_H

#include "base/buf.h"
#include "cli/reach.h"

#define PROFILE_BINS 24
#define PROFILE_TOP 10
#define PROFILE_SAMPLE_DEFAULT 1000000 /* rows; tables with twice as many are sampled unless told otherwise */

struct profile_options {
    const char *table; /* "bronze.pos" */
    int64_t sample; /* rows; 0: all; -1: not said */
    void (*progress)(void *context, const char *what);
    void *context;
};

/* *out: a new reference. E_INVALID: no such table. */
enum status profile_collect(struct reach *reach, const struct profile_options *options, json_t **out, struct err *err);

/* For a terminal of `width` columns. Control characters of data do not get through. */
void profile_write_text(struct cli *cli, const json_t *profile, size_t width, struct buf *out);
/* One file without requests to anywhere: no script, no font, no image. Light and dark. */
void profile_write_html(const json_t *profile, struct buf *out);

/* ---- for both ---- */

/* "12,345.68": as short as reading allows. */
void profile_number(double value, struct buf *out);
/* "37%", "0.02%", "<0.01%" */
void profile_share(double part, double whole, struct buf *out);
double profile_at(const json_t *object, const char *name); /* 0 when it is no number */

#endif
