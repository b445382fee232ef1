/* Column lineage: from which columns of its inputs each output column of a SELECT is made, as far as the SQL tells.
 *
 * Pure function of a syntax tree (DuckDB's json_serialize_sql) and the inputs' columns. It follows aliases, WITH, subqueries, joins, set operations and stars;
 * what it does not know (table functions, PIVOT) has no sources rather than wrong ones. Sources say what values come from; columns that only filter or join
 * are not among them. Memory: the caller's arena. */
#ifndef CUPEL_FLOW_COLUMN_SOURCES_H
#define CUPEL_FLOW_COLUMN_SOURCES_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

struct source_column {
    const char *name;
    const char *const *from; /* "silver.web_events.page_path", each once, in the order of mention */
    size_t from_n;
};

struct source_table { /* what a name in the SQL stands for */
    const char *schema, *name;
    const struct source_column *columns; /* from_n 0 and from NULL: the column is itself a source, "schema.name.column" */
    size_t columns_n;
};

/* *out: one per output column, in order. E_INVALID: not a tree of one SELECT. */
enum status column_sources(
    struct arena *arena, struct str tree, const struct source_table *tables, size_t tables_n, struct source_column **out, size_t *n, struct err *err);

#endif
