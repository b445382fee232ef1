/* Avro object container files (Apache Avro 1.11 specification, "Object Container Files" and "Binary Encoding"), as far as Iceberg needs them.
 *
 * Reading is driven by the writer's schema in the file's header: whatever record it describes becomes a tree of avro_value in the caller's arena, and fields
 * are found by Iceberg's `field-id` (or by name). Codecs read: null, deflate, zstandard; written: null, deflate. Everything that a file claims is checked
 * against the limits before memory is taken. Threads: no shared state; one reader or writer belongs to one thread. */
#ifndef CUPEL_LAKE_AVRO_H
#define CUPEL_LAKE_AVRO_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum avro_kind {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_RECORD,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_UNION,
    AVRO_FIXED,
};

#define AVRO_SCHEMA_DEPTH_MAX 24
#define AVRO_SCHEMA_NODES_MAX 20000
#define AVRO_HEADER_BYTES_MAX (16u << 20)

/* A node of the writer's schema. Lives in the arena given to avro_schema_parse. */
struct avro_schema {
    enum avro_kind kind;
    const char *name; /* of named types, else NULL */
    size_t n; /* record: fields, union: branches, enum: symbols, array and map: 1 */
    struct avro_schema **items; /* record, union, array, map */
    const char **names; /* record: field names, enum: symbols */
    int *field_ids; /* record: Iceberg ids, -1 without */
    size_t size_bytes; /* fixed */
};

enum status avro_schema_parse(struct arena *arena, struct str json, struct avro_schema **out, struct err *err);

/* A decoded value. Unions are unwrapped: the value is that of the branch. */
struct avro_value {
    const struct avro_schema *schema;
    union {
        bool boolean;
        int64_t integer; /* int, long, enum (index) */
        double real;
        struct str bytes; /* bytes, string, fixed; view into the block's memory (the reader's arena) */
        struct {
            struct avro_value *values; /* record: in field order; array; map: key, value, key, value, … */
            size_t n; /* number of values */
        };
    };
};

static inline bool avro_is_null(const struct avro_value *v) { return v == NULL || v->schema->kind == AVRO_NULL; }
/* The field of a record by id, or by name where the writer gave no ids; NULL when missing or not a record. */
const struct avro_value *avro_field(const struct avro_value *record, int field_id, const char *name);

struct avro_limits {
    uint64_t block_bytes; /* decompressed; 0: 256 MiB */
    uint64_t values; /* decoded values in all; 0: 16 million */
};

struct avro_reader {
    struct arena *arena;
    struct str rest; /* bytes behind what was read */
    const struct avro_schema *schema;
    const char *codec;
    char sync[16];
    struct avro_limits limits;
    uint64_t values;
    struct str block; /* decompressed block, what is left of it */
    int64_t block_left; /* records */
    struct str *meta; /* name, value, … */
    size_t meta_n; /* pairs */
};

/* `bytes` is the whole file and must outlive the reader and its values. E_CORRUPT, E_LIMIT, E_UNSUPPORTED (codec) name what is wrong. */
enum status avro_open(struct avro_reader *reader, struct arena *arena, struct str bytes, struct avro_limits limits, struct err *err);
/* Next record; *got false at the end. */
enum status avro_next(struct avro_reader *reader, struct avro_value *out, bool *got, struct err *err);
struct str avro_meta(const struct avro_reader *reader, const char *name); /* p NULL when missing */

/* ---- writing: encode into buffers, then frame ---- */
void avro_put_long(struct buf *out, int64_t v); /* also int, enum index, union branch */
void avro_put_bytes(struct buf *out, struct str v);
static inline void avro_put_text(struct buf *out, const char *v) { avro_put_bytes(out, str_of(v)); }
static inline void avro_put_bool(struct buf *out, bool v) { buf_char(out, v ? 1 : 0); }

struct avro_writer {
    struct buf *out;
    char sync[16];
    bool deflate;
};
/* meta: name, value, … pairs beside avro.schema and avro.codec. */
void avro_begin(struct avro_writer *writer, struct buf *out, const char *schema_json, bool deflate, const struct str *meta, size_t meta_pairs);
/* One block of n records, already encoded one after the other. n must be over 0. */
void avro_put_block(struct avro_writer *writer, struct str records, int64_t n);

#endif
