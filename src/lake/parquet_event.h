/* One event out of a Parquet file of a bronze table, by its id: no engine, no index. */
#ifndef CUPEL_LAKE_PARQUET_EVENT_H
#define CUPEL_LAKE_PARQUET_EVENT_H

#include "base/buf.h"
#include "base/event_id.h"
#include "host/host.h"
#include "lake/engine.h"
#include "lake/parquet.h"

/* The row as a JSON object with all columns, as the engine writes it; its bytes are appended to `out`, or nothing is. `columns` are those of a bronze table,
 * the id first. E_NOT_FOUND: no row has the id. E_UNSUPPORTED, E_CORRUPT: see parquet.h. Any thread. */
enum status parquet_read_event(const struct fs *fs, struct parquet_readers *readers, const char *path, const struct engine_column *columns, size_t columns_n,
    struct event_address address, struct buf *out, struct err *err);

#endif
