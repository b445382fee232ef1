/* Landing plan: how one file is to be read, found out in one pass over it: hash, size, compression, encoding, dialect, columns.
 *
 * What decides about the file as a whole is decided here, so that reading its rows later fails only when the disk does or the file changes meanwhile. The plan
 * of a file depends on its bytes and the options only. */
#ifndef CUPEL_CONNECT_LANDING_PLAN_H
#define CUPEL_CONNECT_LANDING_PLAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "connect/csv.h"
#include "connect/encoding.h"
#include "connect/file_bytes.h"

enum landing_format { LANDING_AUTO, LANDING_CSV, LANDING_TSV, LANDING_JSON, LANDING_NDJSON, LANDING_PARQUET, LANDING_LINES };
const char *landing_format_name(enum landing_format format); /* "csv" */
bool landing_format_parse(struct str name, enum landing_format *out);

#define LANDING_RECORD_BYTES_DEFAULT (4u << 20)
#define LANDING_RECORD_BYTES_MAX (64u << 20)
#define LANDING_COLUMNS_DEFAULT 2000
#define LANDING_COLUMNS_MAX 20000
#define LANDING_COLUMN_NAME_MAX 255 /* bytes; longer header cells are cut */
#define LANDING_SECRET_BYTES 32
#define LANDING_SAMPLE_BYTES (256u << 10) /* decides encoding, format and dialect; the header must end within it */

/* How the files of a source are read. Zero-initialised: everything detected, defaults. */
struct landing_reading {
    enum landing_format format;
    const char *delimiter, *quote, *escape; /* NULL: detected; "" (quote, escape): none; else one byte */
    bool no_header; /* columns are then column_1, column_2, … */
    const char *encoding; /* NULL: detected */
    const char *const *nulls; /* texts of unquoted cells that are NULL, besides the empty one */
    size_t nulls_n;
    size_t record_bytes_max; /* 0: default */
    size_t columns_max; /* 0: default */
    uint64_t file_bytes_max; /* after decompression; 0: no limit */
};
enum status landing_reading_check(const struct landing_reading *reading, struct err *err); /* E_CONFIG names the option */

/* Personal columns never reach the disk as they came (design.md, invariant 10). */
enum column_policy { COLUMN_KEPT, COLUMN_MASKED, COLUMN_TOKENISED };

struct landing_column {
    const char *name; /* cleaned and unique in the file */
    enum column_policy policy;
    struct str key; /* as it stands in the file: header cell or JSON key, in UTF-8 */
};

struct landing_plan {
    const char *path, *name; /* name: last part of the path */
    const char *rejection; /* NULL, or why the file as a whole cannot be taken; then only hash and size below count */
    char hash[65]; /* hex SHA-256 of the file as it stands on disk */
    uint64_t size_bytes, text_bytes; /* on disk, after decompression */
    uint64_t rows_max; /* upper bound of its rows, whatever the options: offsets to reserve. Parquet: 0, ask the engine */
    enum landing_format format; /* never LANDING_AUTO or LANDING_TSV */
    enum compression compression;
    struct encoding encoding;
    size_t bom_bytes;
    struct csv_dialect dialect;
    bool header;
    enum line_ends ends;
    struct landing_column *columns;
    size_t columns_n;
    bool protects; /* some column is not kept; bad rows then have no raw bytes */
    const uint8_t *secret; /* 32 bytes, when one is tokenised */
    const char *const *nulls;
    size_t nulls_n;
    size_t record_bytes_max, columns_max;
    uint64_t mtime_ns, inode; /* while it was read; see landing_plan_unchanged */
};

/* OK also when the file is rejected. Other statuses: it could not be read (disk) or it changed meanwhile (E_BUSY); try again later. */
enum status landing_plan_make(
    const struct host *host, struct arena *arena, const char *path, const struct landing_reading *reading, struct landing_plan *out, struct err *err);
/* E_BUSY when the file is not the one that was planned any more. */
enum status landing_plan_unchanged(const struct host *host, const struct landing_plan *plan, struct err *err);

/* For people: format, compression, encoding, dialect, header, columns as members of an open JSON object. */
struct json_writer;
void landing_plan_describe(const struct landing_plan *plan, struct json_writer *w);
/* As spec of the row source (landing_kinds.c): everything needed to read the rows. `id` comes back in its report, bad rows go to the file `spool`. */
void landing_plan_write(const struct landing_plan *plan, int64_t id, const char *spool, struct buf *out);
enum status landing_plan_read(struct arena *arena, struct str spec, struct landing_plan *out, int64_t *id, const char **spool, struct err *err);

/* Column names of a file from what stands in it: blanks trimmed, empty ones column_<n>, control characters removed, repeated ones (without case) and those that
 * cupel adds itself (_event_id …) numbered: name_2. */
struct landing_column *landing_columns_name(struct arena *arena, const struct str *keys, size_t n);
bool landing_column_reserved(struct str name);

#endif
