/* One event by its address: files are pruned by what the manifests say, then one or two row groups are read.
 *
 * Files that we wrote are read here (parquet.h); what that reader does not know, or finds nothing in, is asked of the engine. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/sql_quote.h"
#include "base/times.h"
#include "lake/lake_priv.h"
#include "lake/parquet_event.h"

static bool within(bool known, const int64_t bounds[2], int64_t value) { return !known || (value >= bounds[0] && value <= bounds[1]); }

static bool may_hold(const struct table_file *f, struct event_address a, bool has_offsets) {
    if (f->hour != HOUR_NONE && f->hour != a.received_ms / HOUR_MS) return false;
    if (!within(f->bounds.received_known, f->bounds.received_us, a.received_ms * 1000)) return false;
    return !has_offsets ||
        (within(f->bounds.partition_known, f->bounds.partition, a.partition) && within(f->bounds.offset_known, f->bounds.offset, (int64_t)a.offset));
}

void table_put_files(struct buf *sql, const struct table_version *v, const struct table_file *const *files, size_t n) {
    must(n && v->columns_n);
    buf_text(sql, "read_parquet([");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_char(sql, ',');
        sql_quote_text(sql, str_of(files[i]->path));
    }
    buf_text(sql, "], schema => MAP {");
    for (size_t i = 0; i < v->columns_n; i++) {
        buf_printf(sql, "%s%d: {name: ", i ? ", " : "", v->columns[i].field_id);
        sql_quote_text(sql, str_of(v->columns[i].name));
        buf_text(sql, ", type: ");
        sql_quote_text(sql, str_of(v->columns[i].type));
        buf_text(sql, ", default_value: NULL}");
    }
    buf_text(sql, "})");
}

static bool has_column(const struct table_version *v, const char *name) {
    for (size_t i = 0; i < v->columns_n; i++)
        if (!strcmp(v->columns[i].name, name)) return true;
    return false;
}

static void put_query(
    struct buf *sql, const struct table_version *v, const struct table_file *const *files, size_t n, struct event_address a, bool has_offsets) {
    char at[RFC3339_MAX], id[EVENT_ID_TEXT + 1] = {0};
    time_format_ms(a.received_ms, at);
    event_id_text(event_id_make(a), id);
    buf_text(sql, "SELECT * FROM ");
    table_put_files(sql, v, files, n);
    buf_printf(sql, " WHERE _event_id = '%s'::UUID AND _received_at = '%s'::TIMESTAMPTZ", id, at);
    if (has_offsets) buf_printf(sql, " AND _partition = %u AND _offset = %" PRIu64, a.partition, a.offset);
    buf_text(sql, " LIMIT 1");
}

/* ---- without the engine ---- */

static bool has_bronze_columns(const struct table_version *v) {
    bool same = v->columns_n == bronze_columns_n;
    for (size_t i = 0; same && i < bronze_columns_n; i++)
        same = !strcmp(v->columns[i].name, bronze_columns[i].name) && !strcmp(v->columns[i].type, bronze_columns[i].type);
    return same;
}

/* OK: the row is in `out`. Else nothing is said about whether there is one. */
enum status table_read_event(struct lake *lake, const struct table_version *v, const struct table_file *const *files, size_t n, struct event_address a,
    struct buf *out, struct err *err) {
    must(v && out);
    if (!has_bronze_columns(v)) return err_set(err, E_UNSUPPORTED, "%s.%s has other columns than a stream's table", v->schema, v->name);
    enum status s = err_set(err, E_NOT_FOUND, "no file has the row");
    for (size_t i = 0; i < n; i++) {
        s = parquet_read_event(lake->o.host->fs, &lake->parquet_readers, files[i]->path, v->columns, v->columns_n, a, out, err);
        if (!s) return OK;
        if (s != E_NOT_FOUND) return s;
    }
    return s;
}

/* ---- both ways ---- */

static enum status find_in(struct lake *lake, const struct table_version *v, struct event_address a, struct buf *out, struct err *err) {
    must(v);
    if (v->unreadable) return err_set(err, E_UNSUPPORTED, "%s", v->unreadable);
    ARENA_SCOPE(tmp);
    const struct table_file **files = arena_new_array(tmp, const struct table_file *, v->files_n + 1);
    bool has_offsets = has_column(v, "_partition") && has_column(v, "_offset");
    size_t n = 0;
    for (size_t i = 0; i < v->manifests_n; i++)
        for (size_t k = 0; k < v->parts[i]->n; k++)
            if (may_hold(&v->parts[i]->files[k], a, has_offsets)) files[n++] = &v->parts[i]->files[k];
    if (!n) return err_set(err, E_NOT_FOUND, "no such event in %s.%s", v->schema, v->name);
    if (table_read_event(lake, v, files, n, a, out, NULL) == OK) return OK;
    BUF_SCOPE(sql);
    BUF_SCOPE(rows);
    put_query(&sql, v, files, n, a, has_offsets);
    enum status s = engine_rows(lake->o.engine, NULL, buf_cstr(&sql), &rows, err);
    if (s) return s;
    struct str row = str_trim(buf_view(&rows));
    if (row.n < 2 || row.p[0] != '[') return err_set(err, E_INTERNAL, "the engine answered with something else than rows");
    row = str_trim(str_make(row.p + 1, row.n - 2));
    if (!row.n) return err_set(err, E_NOT_FOUND, "no such event in %s.%s", v->schema, v->name);
    buf_str(out, row);
    return OK;
}

/* The table that a number belongs to: streams carry it as a property (which survives the stream), landing tables stand in the ledger. */
static enum status table_of(struct lake *lake, struct arena *arena, uint16_t number, struct table_version **out, struct err *err) {
    struct table_version **all;
    size_t n;
    enum status s = table_all(lake, arena, &all, &n, err);
    if (s) return s;
    *out = NULL;
    for (size_t i = 0; i < n; i++) {
        bool match = !*out && all[i]->metadata && (ice_property_int(all[i]->metadata, STREAM_PROPERTY, 0) == number || table_positions_n(all[i], number));
        if (match) {
            *out = all[i];
        } else {
            table_unref(&all[i]);
        }
    }
    if (*out) return OK;
    struct ledger_stream *streams;
    if ((s = ledger_stream_list(lake->o.ledger, arena, true, &streams, &n, err))) return s;
    for (size_t i = 0; i < n; i++) {
        if (streams[i].number != number || streams[i].kind != KIND_LANDING) continue;
        struct str rest = str_of(streams[i].name), schema = str_cut(&rest, '.');
        if (rest.p) return table_get(lake, arena_strndup(arena, schema.p, schema.n), arena_strndup(arena, rest.p, rest.n), out, err);
    }
    return err_set(err, E_NOT_FOUND, "no stream or landing table has number %u", number);
}

enum status lake_find_event(struct lake *lake, struct event_address address, struct buf *out, struct err *err) {
    must(lake && out);
    ARENA_SCOPE(tmp);
    struct lake_pin *pin; /* keeps the files from being deleted meanwhile */
    struct table_version *v = NULL;
    enum status s = lake_pin(lake, &pin, err);
    if (s) return s;
    s = table_of(lake, tmp, address.stream, &v, err);
    if (!s) s = find_in(lake, v, address, out, err);
    table_unref(&v);
    lake_unpin(&pin);
    return s;
}
