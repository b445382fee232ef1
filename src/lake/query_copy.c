/* COPY to a Parquet file, and what Iceberg wants to know of it: rows, size, and per column size, nulls and bounds as single-value binary (Iceberg
 * specification, appendix D "Single-value serialization"). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "base/mem.h"
#include "base/times.h"
#include "lake/engine_child.h"

#define BOUND_CHARACTERS 16 /* of strings; the default of the format's writers */

/* ---- the statement ---- */

static void put_copy(struct buf *sql, const struct engine_request *r) {
    buf_text(sql, "COPY (SELECT ");
    for (size_t i = 0; i < r->columns_n; i++) { /* names and types as the table has them, whatever the SELECT calls them */
        buf_printf(sql, "%sCAST(#%zu AS %s) AS ", i ? ", " : "", i + 1, r->columns[i].type);
        sql_quote_name(sql, str_of(r->columns[i].name));
    }
    buf_printf(sql, "%s FROM (" STR_FMT "\n)) TO ", r->columns_n ? "" : "*", STR_ARG(r->sql));
    sql_quote_text(sql, str_of(r->path));
    buf_printf(sql, " (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE %u, USE_TMP_FILE false, RETURN_STATS", r->row_group_rows);
    bool any = false;
    for (size_t i = 0; i < r->columns_n; i++) {
        if (!r->columns[i].field_id && !r->columns[i].field_ids) {
            continue;
        }
        buf_text(sql, any ? ", " : ", FIELD_IDS {");
        any = true;
        sql_quote_text(sql, str_of(r->columns[i].name));
        if (r->columns[i].field_ids) {
            buf_printf(sql, ": %s", r->columns[i].field_ids);
        } else {
            buf_printf(sql, ": %d", r->columns[i].field_id);
        }
    }
    buf_text(sql, any ? "})" : ")");
}

/* ---- field ids of nested parts ---- */

/* Splits a path of RETURN_STATS, "a"."b", into its next part (without quotes). */
static struct str next_part(struct str *path, struct buf *part) {
    buf_clear(part);
    size_t i = 1;
    for (; i < path->n; i++) {
        if (path->p[i] == '"') {
            if (i + 1 < path->n && path->p[i + 1] == '"') {
                i++;
            } else {
                break;
            }
        }
        buf_char(part, path->p[i]);
    }
    *path = str_from(*path, i + 1);
    if (path->n && path->p[0] == '.') {
        *path = str_from(*path, 1);
    }
    return str_make(part->p ? part->p : "", part->n);
}

/* In the text of FIELD_IDS of one column, {__duckdb_field_id: 8, key: 13, value: {…}}: what stands for `name`, empty when nothing does. */
static struct str field_entry(struct str ids, struct str name) {
    ids = str_trim(ids);
    if (ids.n < 2 || ids.p[0] != '{') {
        return STR_NULL;
    }
    struct str rest = str_make(ids.p + 1, ids.n - 2);
    while (rest.n) {
        size_t colon = 0, end;
        bool quoted = false;
        for (; colon < rest.n && (quoted || rest.p[colon] != ':'); colon++) {
            quoted ^= rest.p[colon] == '"' || rest.p[colon] == '\'';
        }
        struct str key = str_trim(str_head(rest, colon));
        if (key.n >= 2 && (key.p[0] == '"' || key.p[0] == '\'')) {
            key = str_make(key.p + 1, key.n - 2);
        }
        int depth = 0;
        for (end = colon + 1; end < rest.n && (depth || rest.p[end] != ','); end++) {
            depth += rest.p[end] == '{' ? 1 : rest.p[end] == '}' ? -1 : 0;
        }
        if (str_ieq(key, name)) {
            return str_trim(str_make(rest.p + colon + 1, end - colon - 1));
        }
        rest = str_from(rest, end + 1);
    }
    return STR_NULL;
}

static int entry_id(struct str entry) {
    uint64_t id = 0;
    struct str own = field_entry(entry, STR("__duckdb_field_id"));
    return str_to_u64(own.p ? own : entry, &id) ? (int)id : 0;
}

/* The column and field id that a path of RETURN_STATS means; 0: none. */
static int field_of_path(const struct engine_request *r, struct str path, const struct engine_column **column) {
    BUF_SCOPE(part);
    struct str name = next_part(&path, &part);
    *column = NULL;
    for (size_t i = 0; i < r->columns_n; i++) {
        if (str_is(name, r->columns[i].name)) {
            *column = &r->columns[i];
        }
    }
    if (!*column || !path.n) {
        return *column ? (*column)->field_id : 0;
    }
    struct str entry = str_of((*column)->field_ids);
    while (path.n && entry.p) {
        entry = field_entry(entry, next_part(&path, &part));
    }
    return entry.p ? entry_id(entry) : 0;
}

/* ---- bounds ---- */

static void put_little(struct buf *out, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        buf_char(out, (char)(v >> (8 * i)));
    }
}

/* Unscaled value, big-endian two's complement, as few bytes as hold it. */
static bool put_decimal(struct buf *out, struct str text, unsigned scale) {
    __int128 v = 0;
    bool negative = text.n && text.p[0] == '-', point = false;
    unsigned behind = 0;
    for (size_t i = negative; i < text.n; i++) {
        if (text.p[i] == '.') {
            point = true;
            continue;
        }
        if (text.p[i] < '0' || text.p[i] > '9') {
            return false;
        }
        v = v * 10 + (text.p[i] - '0');
        behind += point;
    }
    if (behind > scale) {
        return false;
    }
    for (; behind < scale; behind++) {
        v *= 10;
    }
    v = negative ? -v : v;
    int bytes = 16;
    while (bytes > 1 && v >> (8 * (bytes - 1) - 1) == (v < 0 ? -1 : 0)) {
        bytes--;
    }
    for (int i = bytes - 1; i >= 0; i--) {
        buf_char(out, (char)(v >> (8 * i)));
    }
    return true;
}

static size_t character_bytes(unsigned char c) { return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4; }

/* The next code point as UTF-8, over the surrogates. false: there is none. */
static bool put_next_character(struct buf *out, const char *p, size_t n) {
    uint32_t c = n == 1 ? (unsigned char)*p : (unsigned char)*p & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        c = c << 6 | ((unsigned char)p[i] & 0x3F);
    }
    c = c == 0xD7FF ? 0xE000 : c + 1;
    if (c > 0x10FFFF) {
        return false;
    }
    if (c < 0x80) {
        buf_char(out, (char)c);
    } else if (c < 0x800) {
        buf_char(out, (char)(0xC0 | c >> 6));
    } else if (c < 0x10000) {
        buf_char(out, (char)(0xE0 | c >> 12));
        buf_char(out, (char)(0x80 | (c >> 6 & 0x3F)));
    } else {
        buf_char(out, (char)(0xF0 | c >> 18));
        buf_char(out, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_char(out, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    if (c >= 0x80) {
        buf_char(out, (char)(0x80 | (c & 0x3F)));
    }
    return true;
}

/* Cut to 16 characters; an upper bound that is cut has its last character raised, so that it is not below any value. */
static bool put_text_bound(struct buf *out, struct str text, bool upper) {
    size_t starts[BOUND_CHARACTERS + 1], n = 0, at = 0;
    while (at < text.n && n < BOUND_CHARACTERS) {
        starts[n++] = at;
        at += character_bytes((unsigned char)text.p[at]);
    }
    must(n <= BOUND_CHARACTERS);
    if (at >= text.n) {
        buf_str(out, text);
        return true;
    }
    if (!upper) {
        buf_put(out, text.p, at);
        return true;
    }
    starts[n] = at;
    for (; n; n--) {
        BUF_SCOPE(raised);
        if (put_next_character(&raised, text.p + starts[n - 1], starts[n] - starts[n - 1])) {
            buf_put(out, text.p, starts[n - 1]);
            buf_str(out, buf_view(&raised));
            return true;
        }
    }
    return false;
}

static bool put_number_bound(struct buf *out, const char *type, struct str text) {
    int64_t i;
    double d;
    if (strcmp(type, "INTEGER") == 0 || strcmp(type, "SMALLINT") == 0 || strcmp(type, "TINYINT") == 0) {
        bool sound = str_to_i64(text, &i);
        put_little(out, (uint64_t)i, 4);
        return sound;
    }
    if (strcmp(type, "BIGINT") == 0) {
        bool sound = str_to_i64(text, &i);
        put_little(out, (uint64_t)i, 8);
        return sound;
    }
    if (!str_to_double(text, &d)) {
        return false;
    }
    if (strcmp(type, "FLOAT") == 0) {
        float f = (float)d;
        buf_put(out, &f, sizeof f);
    } else {
        buf_put(out, &d, sizeof d);
    }
    return true;
}

/* "2026-11-20 10:43:48.010964+00", "2024-01-01" as RETURN_STATS writes them. */
static bool put_time_bound(struct buf *out, const char *type, struct str text) {
    char copy[64];
    if (text.n >= sizeof copy - 2) {
        return false;
    }
    int64_t us;
    bool date = strcmp(type, "DATE") == 0;
    struct str stamp = str_ends(text, STR("+00")) ? str_head(text, text.n - 3) : text;
    snprintf(copy, sizeof copy, STR_FMT "%s", STR_ARG(stamp), date ? "" : "Z");
    if (!date && stamp.n > 10) {
        copy[10] = 'T';
    }
    if (!time_parse_us(str_of(copy), &us)) {
        return false;
    }
    if (date) {
        put_little(out, (uint64_t)(us / 86400000000), 4);
    } else {
        put_little(out, (uint64_t)us, 8);
    }
    return true;
}

static bool put_bound(struct buf *out, const char *type, struct str text, bool upper) {
    unsigned width, scale;
    struct event_id id;
    if (strcmp(type, "VARCHAR") == 0) {
        return put_text_bound(out, text, upper);
    }
    if (strcmp(type, "UUID") == 0) {
        bool sound = event_id_parse(text, &id);
        buf_put(out, id.bytes, sizeof id.bytes);
        return sound;
    }
    if (strcmp(type, "BOOLEAN") == 0) {
        buf_char(out, str_is(text, "1") || str_is(text, "true"));
        return true;
    }
    if (sscanf(type, "DECIMAL(%u,%u)", &width, &scale) == 2) {
        return put_decimal(out, text, scale);
    }
    if (strncmp(type, "TIMESTAMP", 9) == 0 || strcmp(type, "DATE") == 0) {
        return put_time_bound(out, type, text);
    }
    static const char *const numbers[] = {"INTEGER", "SMALLINT", "TINYINT", "BIGINT", "FLOAT", "DOUBLE"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(type, numbers[i]) == 0) {
            return put_number_bound(out, type, text);
        }
    }
    return false; /* blobs and nested values: no bounds */
}

/* ---- reading RETURN_STATS ---- */

static struct str string_at(duckdb_vector vector, idx_t row) {
    duckdb_string_t *s = (duckdb_string_t *)duckdb_vector_get_data(vector) + row;
    return str_make(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

/* One column's MAP(VARCHAR, VARCHAR) of statistics. */
static void read_column(
    const struct engine_request *r, struct arena *arena, struct str path, duckdb_vector stats, duckdb_list_entry entry, struct engine_column_stats *out) {
    const struct engine_column *column;
    struct engine_column_stats c = {.field_id = field_of_path(r, path, &column)};
    duckdb_vector pairs = duckdb_list_vector_get_child(stats);
    duckdb_vector names = duckdb_struct_vector_get_child(pairs, 0), values = duckdb_struct_vector_get_child(pairs, 1);
    struct str low = STR_NULL, high = STR_NULL;
    bool has_nan = false;
    for (idx_t i = entry.offset; i < entry.offset + entry.length; i++) {
        struct str name = string_at(names, i), value = string_at(values, i);
        if (str_is(name, "column_size_bytes")) {
            str_to_i64(value, &c.size_bytes);
        } else if (str_is(name, "num_values")) {
            str_to_i64(value, &c.values);
        } else if (str_is(name, "null_count")) {
            str_to_i64(value, &c.nulls);
        } else if (str_is(name, "min")) {
            low = value;
        } else if (str_is(name, "max")) {
            high = value;
        } else if (str_is(name, "has_nan")) {
            has_nan = str_is(value, "true");
        }
    }
    bool nested = column && column->field_id != c.field_id;
    if (column && !nested && low.p && high.p && !has_nan && c.values > c.nulls) {
        BUF_SCOPE(lower);
        BUF_SCOPE(upper);
        if (put_bound(&lower, column->type, low, false) && put_bound(&upper, column->type, high, true)) {
            c.has_bounds = true;
            c.lower = arena_str(arena, str_make(lower.p ? lower.p : "", lower.n));
            c.upper = arena_str(arena, str_make(upper.p ? upper.p : "", upper.n));
        }
    }
    *out = c;
}

/* Columns of the result: filename, count, file_size_bytes, footer_size_bytes, column_statistics MAP(VARCHAR, MAP(VARCHAR, VARCHAR)), partition_keys. */
static void read_stats(const struct engine_request *r, struct arena *arena, duckdb_data_chunk chunk, struct engine_copied *out) {
    must(duckdb_data_chunk_get_column_count(chunk) >= 5 && duckdb_data_chunk_get_size(chunk) == 1);
    out->rows = ((uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1)))[0];
    out->size_bytes = ((uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2)))[0];
    duckdb_vector map = duckdb_data_chunk_get_vector(chunk, 4);
    duckdb_list_entry columns = ((duckdb_list_entry *)duckdb_vector_get_data(map))[0];
    duckdb_vector pairs = duckdb_list_vector_get_child(map);
    duckdb_vector paths = duckdb_struct_vector_get_child(pairs, 0), stats = duckdb_struct_vector_get_child(pairs, 1);
    const duckdb_list_entry *entries = duckdb_vector_get_data(stats);
    out->columns = arena_new_array(arena, struct engine_column_stats, columns.length);
    for (idx_t i = columns.offset; i < columns.offset + columns.length; i++) {
        struct engine_column_stats *c = &out->columns[out->columns_n];
        read_column(r, arena, string_at(paths, i), stats, entries[i], c);
        out->columns_n += c->field_id != 0;
    }
}

/* ---- all of it ---- */

static enum status read_copied(struct statement *s, duckdb_result result, struct engine_copied *copied, struct err *err) {
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    if (!chunk) {
        return err_set(err, E_INTERNAL, "COPY gave no statistics");
    }
    read_stats(&s->request, s->arena, chunk, copied);
    duckdb_destroy_data_chunk(&chunk);
    return OK;
}

static enum status run_copy(struct statement *s, const char *sql, struct engine_copied *copied, struct err *err) {
    duckdb_prepared_statement prepared = NULL;
    duckdb_pending_result pending = NULL;
    duckdb_result result = {0};
    enum status st = OK;
    if (s->stop != STOP_NONE) {
        return duckdb_failed(s, DUCKDB_ERROR_INTERRUPT, NULL, err);
    }
    if (duckdb_prepare(s->session->connection, sql, &prepared) != DuckDBSuccess) {
        st = duckdb_refused(s, duckdb_prepare_error(prepared), err);
    } else if (duckdb_pending_prepared(prepared, &pending) != DuckDBSuccess) {
        st = duckdb_refused(s, duckdb_pending_error(pending), err);
    } else {
        st = session_execute(s->session, pending, &result, err);
        st = st == OK ? read_copied(s, result, copied, err) : st;
        duckdb_destroy_result(&result);
    }
    duckdb_destroy_pending(&pending);
    duckdb_destroy_prepare(&prepared);
    return st;
}

enum status copy_run(struct statement *s, struct err *err) {
    must(s->session && s->request.path);
    json_t *tree;
    enum status st = sql_parse(s->session, s->request.sql, &tree, err);
    if (st != OK) {
        return st;
    }
    st = session_make_views(s->session, s, tree, err);
    json_decref(tree);
    struct engine_copied copied = {0};
    BUF_SCOPE(sources);
    if (st == OK) {
        BUF_SCOPE(sql);
        put_copy(&sql, &s->request);
        st = run_copy(s, buf_cstr(&sql), &copied, err);
    }
    if (st != OK) {
        return st;
    }
    rows_scan_report(s, &sources);
    copied.sources = buf_view(&sources);
    BUF_SCOPE(payload);
    wire_put_copied(&payload, &copied);
    st = statement_send(s, ANSWER_COPIED, buf_view(&payload), err);
    buf_clear(&payload);
    buf_u64(&payload, copied.rows);
    return st == OK ? statement_send(s, ANSWER_END, buf_view(&payload), err) : st;
}
