/* Results: DuckDB's vectors as text in the formats that users ask for. Private to the engine child.
 *
 * Values (docs/sql.md): integers and decimals with all their digits, as JSON numbers; doubles in the shortest text that reads back the same, not finite
 * ones null in JSON; times RFC 3339 (TIMESTAMP WITH TIME ZONE in UTC with Z, TIMESTAMP without zone); intervals ISO 8601; blobs base64; UUIDs as usual;
 * lists, structs and maps as JSON. */
#ifndef CUPEL_LAKE_RESULT_H
#define CUPEL_LAKE_RESULT_H

#include "lake/engine_child.h"

struct value_type {
    duckdb_type id;
    duckdb_type stored; /* DECIMAL, ENUM: the integer type in the vector */
    uint8_t width, scale; /* DECIMAL */
    bool is_json; /* VARCHAR that holds JSON */
    struct value_type *children; /* LIST, ARRAY: 1; MAP: key, value; STRUCT: its fields */
    const char **names; /* STRUCT: of the fields; ENUM: its values */
    idx_t children_n, array_n;
    const char *text; /* the SQL name of the type */
};

/* false: a type (UNION, BIT, …) whose text only DuckDB knows; the caller casts it to VARCHAR. */
bool value_type_read(struct arena *arena, duckdb_logical_type logical, struct value_type *out);
void value_put_json(struct buf *out, const struct value_type *type, duckdb_vector vector, idx_t row);
/* As plain text, nested values as JSON. false: NULL, nothing was put. */
bool value_put_text(struct buf *out, const struct value_type *type, duckdb_vector vector, idx_t row);
bool value_is_number(const struct value_type *type);

struct result_columns {
    size_t n;
    const char **names;
    struct value_type *types;
};

void result_head(const struct result_columns *columns, struct buf *out); /* {"columns":[{"name":…,"type":…}…]} */

/* One per statement; put rows, then end. Memory stays bounded: the caller sends `out` when it grew. */
struct result_writer;
struct result_writer *result_new(struct arena *arena, enum result_format format, const struct result_columns *columns, uint32_t rows_max, uint32_t width_max);
#define RESULT_PIECE_BYTES (1u << 20)
/* Puts the chunk's rows from *row on, up to its end or until `out` has RESULT_PIECE_BYTES and is to be sent; moves *row. false: no more rows are wanted
 * (RESULT_TABLE with rows_max). */
bool result_put(struct result_writer *writer, struct buf *out, duckdb_data_chunk chunk, idx_t *row);
void result_end(struct result_writer *writer, struct buf *out, bool cut); /* cut: there are more rows */
uint64_t result_rows(const struct result_writer *writer);
void result_free(struct result_writer *writer); /* what is not in the arena */

/* result_table.c */
struct table_writer;
struct table_writer *table_new(struct arena *arena, const struct result_columns *columns, uint32_t rows_max, uint32_t width_max);
bool table_put(struct table_writer *table, struct buf *out, duckdb_data_chunk chunk, idx_t *row);
void table_end(struct table_writer *table, struct buf *out, bool cut);
uint64_t table_rows(const struct table_writer *table);
void table_free(struct table_writer *table);

#endif
