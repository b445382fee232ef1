/* The table functions over the log: cupel_log(stream), the tail of a stream as the running statement sees it, and cupel_log_range(spec), any range.
 *
 * The strings that go into DuckDB's vectors point into the log's mapped segments: no byte of a payload is copied here. The scan keeps the segments mapped
 * and is ended by the statement after its result is destroyed. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "lake/engine_child.h"

enum column { EVENT_ID, STREAM, PARTITION, OFFSET, RECEIVED_AT, SOURCE, KEY, HEADERS, CONTENT_TYPE, PAYLOAD, BODY, VALID_JSON, COLUMNS };

#define BLOCK 2048 /* rows of a DuckDB vector */
#define HEADER_PAIRS_MAX 256 /* of one record: the format allows 65,535 bytes, pairs take at least 3 */

/* What is to be read, fixed when the statement is bound. */
struct range_spec {
    struct arena *arena;
    struct statement *statement; /* that it was bound in */
    char *name; /* of the stream */
    struct log_range range;
    uint64_t *starts, *ends; /* per partition; ends: UINT64_MAX none */
    uint16_t starts_n, ends_n;
};

/* One scan, shared by DuckDB's threads. */
struct scan_global {
    struct log_scan *scan;
    const struct range_spec *spec;
    duckdb_value name;
    idx_t columns_n;
    enum column columns[COLUMNS];
};

struct scan_local {
    struct log_cursor cursor;
    bool in_chunk;
};

/* Where the rows of the current block go; NULL: the column is not asked for. */
struct block {
    duckdb_hugeint *event_id;
    int32_t *partition;
    int64_t *offset, *received_at;
    duckdb_string_t *source, *key, *content_type, *payload, *body;
    bool *valid_json;
    duckdb_vector headers;
    duckdb_list_entry *headers_entries;
    idx_t headers_n;
    uint64_t *key_set, *source_set, *content_type_set, *payload_set, *body_set; /* validity masks */
};

/* ---- spec ---- */

static void spec_free(void *pointer) {
    struct range_spec *spec = pointer;
    struct arena *arena = spec->arena;
    arena_free(&arena);
}

static uint64_t *copy_offsets(struct arena *arena, const uint64_t *offsets, uint16_t n) {
    uint64_t *copy = arena_new_array(arena, uint64_t, n ? n : 1);
    memcpy(copy, offsets ? offsets : copy, n * sizeof *copy);
    return copy;
}

static struct range_spec *spec_new(void) {
    struct arena *arena = arena_new();
    struct range_spec *spec = arena_new_one(arena, struct range_spec);
    spec->arena = arena;
    return spec;
}

/* The tail of a table of the statement. */
static struct range_spec *spec_of_table(const struct statement *s, uint64_t stream) {
    for (uint32_t i = 0; s && i < s->request.tables_n; i++) {
        const struct engine_table *t = &s->tables[i]->definition;
        if (!t->has_log || t->stream != stream) {
            continue;
        }
        struct range_spec *spec = spec_new();
        spec->name = arena_strdup(spec->arena, t->name);
        spec->range = (struct log_range){.stream = t->stream, .from = t->log_from, .to = s->request.durable, .checked_lately = true};
        spec->starts = copy_offsets(spec->arena, t->log_offsets, t->log_offsets_n);
        spec->starts_n = t->log_offsets_n;
        return spec;
    }
    for (size_t i = 0; s && i < s->request.work_n; i++) {
        const struct work_table *w = &s->request.work[i];
        if (!w->table.has_log || w->table.stream != stream) {
            continue;
        }
        struct range_spec *spec = spec_new();
        spec->name = arena_strdup(spec->arena, w->table.name);
        spec->range = (struct log_range){.stream = w->table.stream, .from = w->table.log_from, .to = s->request.durable};
        if (w->from_us > 0) {
            spec->range.from_ms = w->from_us / 1000;
            spec->range.to_ms = INT64_MAX;
        }
        spec->starts = copy_offsets(spec->arena, w->table.log_offsets, w->table.log_offsets_n);
        spec->starts_n = w->table.log_offsets_n;
        spec->ends = copy_offsets(spec->arena, w->ends, w->ends_n);
        spec->ends_n = w->ends_n;
        return spec;
    }
    return NULL;
}

static bool get_u64(const json_t *root, const char *name, uint64_t most, uint64_t *out) {
    const json_t *value = json_object_get(root, name);
    if (!value) {
        return true;
    }
    if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > most) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool get_offsets(struct arena *arena, const json_t *root, const char *name, uint64_t **out, uint16_t *n) {
    const json_t *list = json_object_get(root, name);
    if (!list) {
        return true;
    }
    if (!json_is_array(list) || json_array_size(list) > EVENT_PARTITIONS_MAX) {
        return false;
    }
    *n = (uint16_t)json_array_size(list);
    *out = arena_new_array(arena, uint64_t, *n ? *n : 1);
    for (uint16_t i = 0; i < *n; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0) {
            return false;
        }
        (*out)[i] = (uint64_t)json_integer_value(item);
    }
    return true;
}

/* {"stream":3, "name":"orders", "from":…, "to":…, "start":[…], "end":[…], "from_ms":…, "to_ms":…}, see engine.h. */
static struct range_spec *spec_of_json(const char *text) {
    json_t *root = json_loads(text, 0, NULL);
    struct range_spec *spec = spec_new();
    const char *name = json_string_value(json_object_get(root, "name"));
    uint64_t stream = 0, from_ms = 0, to_ms = 0;
    bool sound = name && get_u64(root, "stream", EVENT_STREAM_MAX, &stream) && get_u64(root, "from", INT64_MAX, &spec->range.from) &&
        get_u64(root, "to", INT64_MAX, &spec->range.to) && get_u64(root, "from_ms", INT64_MAX, &from_ms) && get_u64(root, "to_ms", INT64_MAX, &to_ms) &&
        get_offsets(spec->arena, root, "start", &spec->starts, &spec->starts_n) && get_offsets(spec->arena, root, "end", &spec->ends, &spec->ends_n);
    if (sound) {
        spec->name = arena_strdup(spec->arena, name);
        spec->range.stream = (uint16_t)stream;
        spec->range.from_ms = (int64_t)from_ms;
        spec->range.to_ms = (int64_t)to_ms;
    }
    json_decref(root);
    if (!sound) {
        spec_free(spec);
        return NULL;
    }
    return spec;
}

/* ---- bind ---- */

static void add_column(duckdb_bind_info info, const char *name, duckdb_type type) {
    duckdb_logical_type logical = duckdb_create_logical_type(type);
    duckdb_bind_add_result_column(info, name, logical);
    duckdb_destroy_logical_type(&logical);
}

static void add_columns(duckdb_bind_info info) {
    add_column(info, "_event_id", DUCKDB_TYPE_UUID);
    add_column(info, "_stream", DUCKDB_TYPE_VARCHAR);
    add_column(info, "_partition", DUCKDB_TYPE_INTEGER);
    add_column(info, "_offset", DUCKDB_TYPE_BIGINT);
    add_column(info, "_received_at", DUCKDB_TYPE_TIMESTAMP_TZ);
    add_column(info, "_source", DUCKDB_TYPE_VARCHAR);
    add_column(info, "_key", DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR), map = duckdb_create_map_type(text, text);
    duckdb_bind_add_result_column(info, "_headers", map);
    duckdb_destroy_logical_type(&map);
    duckdb_destroy_logical_type(&text);
    add_column(info, "_content_type", DUCKDB_TYPE_VARCHAR);
    add_column(info, "payload", DUCKDB_TYPE_VARCHAR);
    add_column(info, "_body", DUCKDB_TYPE_BLOB);
    add_column(info, "_valid_json", DUCKDB_TYPE_BOOLEAN);
}

static struct statement *statement_of_bind(duckdb_bind_info info) {
    struct child *child = duckdb_bind_get_extra_info(info);
    duckdb_client_context context;
    duckdb_table_function_get_client_context(info, &context);
    struct session *session = child_session(child, duckdb_client_context_get_connection_id(context));
    duckdb_destroy_client_context(&context);
    return session ? session->statement : NULL;
}

static void bind_common(duckdb_bind_info info, struct statement *s, struct range_spec *spec) {
    spec->statement = s;
    add_columns(info);
    duckdb_bind_set_bind_data(info, spec, spec_free);
}

static void bind_tail(duckdb_bind_info info) {
    duckdb_value value = duckdb_bind_get_parameter(info, 0);
    int64_t stream = duckdb_get_int64(value);
    duckdb_destroy_value(&value);
    struct statement *s = statement_of_bind(info);
    struct range_spec *spec = spec_of_table(s, (uint64_t)stream);
    if (!spec) {
        duckdb_bind_set_error(info, "cupel_log: the statement has no table with this stream");
        return;
    }
    bind_common(info, s, spec);
}

static void bind_range(duckdb_bind_info info) {
    duckdb_value value = duckdb_bind_get_parameter(info, 0);
    char *text = duckdb_get_varchar(value);
    struct statement *s = statement_of_bind(info);
    struct range_spec *spec = text && s ? spec_of_json(text) : NULL;
    duckdb_free(text);
    duckdb_destroy_value(&value);
    if (!spec) {
        duckdb_bind_set_error(info, "cupel_log_range: the range is not a JSON object with stream, name, from, to and lists of offsets");
        return;
    }
    bind_common(info, s, spec);
}

/* ---- init ---- */

static void global_free(void *pointer) {
    struct scan_global *global = pointer;
    duckdb_destroy_value(&global->name);
    free(global); /* the scan is the statement's */
}

static void keep_scan(struct statement *s, struct log_scan *scan) {
    WITH_LOCK(&s->lock);
    if (s->scans_n == s->scans_cap) {
        s->scans_cap = s->scans_cap ? 2 * s->scans_cap : 4;
        s->scans = mem_realloc(s->scans, s->scans_cap * sizeof(struct log_scan *));
    }
    s->scans[s->scans_n++] = scan;
}

static enum status begin_scan(struct child *child, struct statement *s, const struct range_spec *spec, struct log_scan **out, struct err *err) {
    struct log_range range = spec->range;
    range.start_offsets = spec->starts_n ? spec->starts : NULL;
    range.start_offsets_n = spec->starts_n;
    enum status st = child_log_scan(child, s, range, out, err);
    if (st == OK) {
        keep_scan(s, *out);
    }
    return st;
}

static void init_global(duckdb_init_info info) {
    struct child *child = duckdb_init_get_extra_info(info);
    struct range_spec *spec = duckdb_init_get_bind_data(info);
    struct statement *s = spec->statement;
    struct err err = {0};
    struct log_scan *scan = NULL;
    if (begin_scan(child, s, spec, &scan, &err) != OK) {
        duckdb_init_set_error(info, err.text);
        return;
    }
    struct scan_global *global = mem_zalloc(sizeof *global);
    global->scan = scan;
    global->spec = spec;
    global->name = duckdb_create_varchar(spec->name);
    global->columns_n = duckdb_init_get_column_count(info);
    must(global->columns_n <= COLUMNS);
    for (idx_t i = 0; i < global->columns_n; i++) {
        global->columns[i] = (enum column)duckdb_init_get_column_index(info, i);
    }
    uint64_t threads = 1 + log_scan_records(scan) / 50000;
    duckdb_init_set_max_threads(info, threads < child->threads ? threads : child->threads);
    duckdb_init_set_init_data(info, global, global_free);
}

static void init_local(duckdb_init_info info) { duckdb_init_set_init_data(info, mem_zalloc(sizeof(struct scan_local)), free); }

/* ---- rows ---- */

static uint64_t *mask_of(duckdb_vector vector) {
    duckdb_vector_ensure_validity_writable(vector);
    return duckdb_vector_get_validity(vector);
}

static void block_begin(struct block *b, const struct scan_global *global, duckdb_data_chunk chunk) {
    *b = (struct block){0};
    for (idx_t i = 0; i < global->columns_n; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
        void *data = duckdb_vector_get_data(vector);
        switch (global->columns[i]) {
        case EVENT_ID: b->event_id = data; break;
        case STREAM: duckdb_vector_reference_value(vector, global->name); break;
        case PARTITION: b->partition = data; break;
        case OFFSET: b->offset = data; break;
        case RECEIVED_AT: b->received_at = data; break;
        case SOURCE: b->source = data, b->source_set = mask_of(vector); break;
        case KEY: b->key = data, b->key_set = mask_of(vector); break;
        case HEADERS: b->headers = vector, b->headers_entries = data; break;
        case CONTENT_TYPE: b->content_type = data, b->content_type_set = mask_of(vector); break;
        case PAYLOAD: b->payload = data, b->payload_set = mask_of(vector); break;
        case BODY: b->body = data, b->body_set = mask_of(vector); break;
        case VALID_JSON: b->valid_json = data; break;
        case COLUMNS:
        default: break; /* a column that only counts rows */
        }
    }
}

/* DuckDB's string: up to 12 bytes inside, else a prefix and a pointer, which here goes into the log's memory. */
static inline void set_string(duckdb_string_t *out, struct str s) {
    uint32_t n = (uint32_t)s.n;
    if (n <= 12) {
        memset(out, 0, sizeof *out);
        out->value.inlined.length = n;
        memcpy(out->value.inlined.inlined, s.p ? s.p : "", n);
    } else {
        out->value.pointer.length = n;
        memcpy(out->value.pointer.prefix, s.p, 4);
        out->value.pointer.ptr = (char *)(uintptr_t)s.p;
    }
}

static inline void set_or_null(duckdb_string_t *strings, uint64_t *set, idx_t row, struct str s, bool present) {
    if (present) {
        set_string(&strings[row], s);
    } else {
        duckdb_validity_set_row_invalid(set, row);
    }
}

static uint64_t big_endian_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

static void put_headers(struct block *b, idx_t row, struct str headers) {
    struct str names[HEADER_PAIRS_MAX], values[HEADER_PAIRS_MAX];
    idx_t n = 0;
    while (n < HEADER_PAIRS_MAX && stream_headers_next(&headers, &names[n], &values[n])) {
        idx_t same = 0; /* a map has a key once; of a repeated header the last stays */
        while (same < n && !str_eq(names[same], names[n])) {
            same++;
        }
        if (same < n) {
            values[same] = values[n];
        } else {
            n++;
        }
    }
    b->headers_entries[row] = (duckdb_list_entry){b->headers_n, n};
    if (!n) {
        return;
    }
    duckdb_list_vector_reserve(b->headers, b->headers_n + n);
    duckdb_vector pairs = duckdb_list_vector_get_child(b->headers);
    duckdb_string_t *keys = duckdb_vector_get_data(duckdb_struct_vector_get_child(pairs, 0));
    duckdb_vector values_vector = duckdb_struct_vector_get_child(pairs, 1);
    for (idx_t i = 0; i < n; i++) {
        set_string(&keys[b->headers_n + i], names[i]);
        if (utf8_valid(values[i])) {
            set_string((duckdb_string_t *)duckdb_vector_get_data(values_vector) + b->headers_n + i, values[i]);
        } else { /* header bytes are not checked on receipt; text in a table must be UTF-8 */
            duckdb_validity_set_row_invalid(mask_of(values_vector), b->headers_n + i);
        }
    }
    b->headers_n += n;
}

static void put_row(struct block *b, idx_t row, const struct stored_record *r) {
    bool text = r->flags & RECORD_UTF8_VALID;
    must(row < BLOCK);
    if (b->event_id) { /* DuckDB orders UUIDs as signed 128-bit numbers: the top bit is flipped */
        b->event_id[row] = (duckdb_hugeint){.lower = big_endian_u64(r->id.bytes + 8), .upper = (int64_t)(big_endian_u64(r->id.bytes) ^ (UINT64_C(1) << 63))};
    }
    if (b->partition) {
        b->partition[row] = r->partition;
    }
    if (b->offset) {
        b->offset[row] = (int64_t)r->offset;
    }
    if (b->received_at) {
        b->received_at[row] = r->received_ms * 1000;
    }
    if (b->source) {
        set_or_null(b->source, b->source_set, row, r->source, r->source.n > 0);
    }
    if (b->key) {
        set_or_null(b->key, b->key_set, row, r->key, !(r->flags & RECORD_NO_KEY) && utf8_valid(r->key));
    }
    if (b->headers) {
        put_headers(b, row, r->headers);
    }
    if (b->content_type) {
        set_or_null(b->content_type, b->content_type_set, row, r->content_type, r->content_type.n > 0 && utf8_valid(r->content_type));
    }
    if (b->payload) {
        set_or_null(b->payload, b->payload_set, row, r->payload, text);
    }
    if (b->body) {
        set_or_null(b->body, b->body_set, row, r->payload, !text);
    }
    if (b->valid_json) {
        b->valid_json[row] = r->flags & RECORD_JSON_VALID;
    }
}

static bool wanted(const struct range_spec *spec, const struct stored_record *r) {
    return r->partition >= spec->ends_n || r->offset < spec->ends[r->partition];
}

static void scan_rows(duckdb_function_info info, duckdb_data_chunk output) {
    struct scan_global *global = duckdb_function_get_init_data(info);
    struct scan_local *local = duckdb_function_get_local_init_data(info);
    struct block block;
    block_begin(&block, global, output);
    struct err err = {0};
    idx_t rows = 0;
    while (rows < BLOCK) {
        if (!local->in_chunk) {
            struct log_chunk chunk;
            if (!log_scan_chunk(global->scan, &chunk)) {
                break;
            }
            log_cursor_begin(&local->cursor, chunk);
            local->in_chunk = true;
        }
        struct stored_record record;
        bool got;
        if (log_cursor_next(global->scan, &local->cursor, &record, &got, &err) != OK) {
            duckdb_function_set_error(info, err.text);
            return;
        }
        if (!got) {
            local->in_chunk = false;
        } else if (!global->spec->ends_n || wanted(global->spec, &record)) {
            put_row(&block, rows++, &record);
        }
    }
    if (block.headers) {
        duckdb_list_vector_set_size(block.headers, block.headers_n);
    }
    duckdb_data_chunk_set_size(output, rows);
}

/* ---- registration ---- */

static enum status register_one(
    struct child *child, duckdb_connection connection, const char *name, duckdb_type parameter, duckdb_table_function_bind_t bind, struct err *err) {
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_logical_type type = duckdb_create_logical_type(parameter);
    duckdb_table_function_set_name(function, name);
    duckdb_table_function_add_parameter(function, type);
    duckdb_table_function_set_extra_info(function, child, NULL);
    duckdb_table_function_set_bind(function, bind);
    duckdb_table_function_set_init(function, init_global);
    duckdb_table_function_set_local_init(function, init_local);
    duckdb_table_function_set_function(function, scan_rows);
    duckdb_table_function_supports_projection_pushdown(function, true);
    duckdb_state state = duckdb_register_table_function(connection, function);
    duckdb_destroy_logical_type(&type);
    duckdb_destroy_table_function(&function);
    return state == DuckDBSuccess ? OK : err_set(err, E_INTERNAL, "registering %s", name);
}

enum status log_scan_register(struct child *child, duckdb_connection connection, struct err *err) {
    must(duckdb_vector_size() == BLOCK);
    enum status st = register_one(child, connection, "cupel_log", DUCKDB_TYPE_BIGINT, bind_tail, err);
    return st == OK ? register_one(child, connection, "cupel_log_range", DUCKDB_TYPE_VARCHAR, bind_range, err) : st;
}
