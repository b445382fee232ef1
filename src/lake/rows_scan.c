/* The table functions over row sources (row_source.h): cupel_rows(kind, spec), cupel_bad_rows(kind, spec).
 *
 * A source belongs to the statement, not to DuckDB's bind or scan: DuckDB may bind a statement more than once, and the report is wanted after the end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "lake/engine_child.h"

#define BLOCK 2048

struct rows_bind {
    struct statement_source *source;
    idx_t columns_n; /* those of the source, without _row */
    struct row rows[BLOCK];
};

struct rows_init {
    idx_t columns_n;
    idx_t columns[]; /* of the output: index in the source, columns_n of the source for _row */
};

/* ---- finding and opening ---- */

static const struct row_source_kind *find_kind(const struct child *child, const char *name) {
    for (const struct row_source_kind *const *k = child->kinds; k && *k; k++) {
        if (strcmp((*k)->name, name) == 0) {
            return *k;
        }
    }
    return NULL;
}

static struct statement *statement_of_bind(duckdb_bind_info info) {
    struct child *child = duckdb_bind_get_extra_info(info);
    duckdb_client_context context;
    duckdb_table_function_get_client_context(info, &context);
    struct session *session = child_session(child, duckdb_client_context_get_connection_id(context));
    duckdb_destroy_client_context(&context);
    return session ? session->statement : NULL;
}

/* The statement's source with this kind and spec: for cupel_rows one that nobody reads yet, opened when there is none. */
static enum status find_source(struct statement *s, const char *kind_name, const char *spec, bool fresh, struct statement_source **out, struct err *err) {
    must(s && kind_name && spec);
    const struct row_source_kind *kind = find_kind(s->child, kind_name);
    if (!kind) {
        return err_set(err, E_INVALID, "there is no row source of the kind %s", kind_name);
    }
    for (struct statement_source *source = s->sources; source; source = source->next) {
        if (source->kind == kind && str_is(source->spec, spec) && !(fresh && source->taken)) {
            *out = source;
            return OK;
        }
    }
    struct statement_source *source = arena_new_one(s->arena, struct statement_source);
    source->kind = kind;
    source->spec = arena_str(s->arena, str_of(spec));
    enum status st = kind->open(&s->child->host, source->spec, &source->self, &source->columns, &source->columns_n, err);
    if (st != OK) {
        return st;
    }
    source->next = s->sources;
    s->sources = source;
    *out = source;
    return OK;
}

static struct statement_source *source_of_bind(duckdb_bind_info info, bool fresh) {
    duckdb_value kind_value = duckdb_bind_get_parameter(info, 0), spec_value = duckdb_bind_get_parameter(info, 1);
    char *kind = duckdb_get_varchar(kind_value), *spec = duckdb_get_varchar(spec_value);
    struct statement *s = statement_of_bind(info);
    struct statement_source *source = NULL;
    struct err err = {0};
    if (!s || !kind || !spec) {
        duckdb_bind_set_error(info, "cupel_rows: kind and spec may not be NULL");
    } else {
        WITH_LOCK(&s->lock);
        if (find_source(s, kind, spec, fresh, &source, &err) != OK) {
            duckdb_bind_set_error(info, err.text);
        }
    }
    duckdb_free(kind);
    duckdb_free(spec);
    duckdb_destroy_value(&kind_value);
    duckdb_destroy_value(&spec_value);
    return source;
}

static void add_column(duckdb_bind_info info, struct str name, duckdb_type type) {
    duckdb_logical_type logical = duckdb_create_logical_type(type);
    AUTO_FREE char *text = mem_strndup(name.p, name.n);
    duckdb_bind_add_result_column(info, text, logical);
    duckdb_destroy_logical_type(&logical);
}

/* ---- good rows ---- */

static void bind_rows(duckdb_bind_info info) {
    struct statement_source *source = source_of_bind(info, true);
    if (!source) {
        return;
    }
    for (size_t i = 0; i < source->columns_n; i++) {
        add_column(info, source->columns[i], DUCKDB_TYPE_VARCHAR);
    }
    add_column(info, STR("_row"), DUCKDB_TYPE_BIGINT);
    struct rows_bind *bind = mem_zalloc(sizeof *bind);
    bind->source = source;
    bind->columns_n = source->columns_n;
    duckdb_bind_set_bind_data(info, bind, free);
}

static void init_rows(duckdb_init_info info) {
    struct rows_bind *bind = duckdb_init_get_bind_data(info);
    idx_t n = duckdb_init_get_column_count(info);
    struct rows_init *init = mem_zalloc(sizeof *init + n * sizeof *init->columns);
    init->columns_n = n;
    for (idx_t i = 0; i < n; i++) {
        init->columns[i] = duckdb_init_get_column_index(info, i);
    }
    if (bind->source->taken) {
        duckdb_init_set_error(info, "cupel_rows: the source was already read");
    }
    bind->source->taken = true;
    duckdb_init_set_max_threads(info, 1);
    duckdb_init_set_init_data(info, init, free);
}

static void put_column(duckdb_vector vector, const struct row *rows, size_t n, idx_t column) {
    uint64_t *mask = NULL;
    for (size_t i = 0; i < n; i++) {
        struct str cell = rows[i].cells[column];
        if (cell.p) {
            duckdb_unsafe_vector_assign_string_element_len(vector, i, cell.p, cell.n); /* the source promises UTF-8 */
            continue;
        }
        if (!mask) {
            duckdb_vector_ensure_validity_writable(vector);
            mask = duckdb_vector_get_validity(vector);
        }
        duckdb_validity_set_row_invalid(mask, i);
    }
}

static void scan_rows(duckdb_function_info info, duckdb_data_chunk output) {
    struct rows_bind *bind = duckdb_function_get_bind_data(info);
    struct rows_init *init = duckdb_function_get_init_data(info);
    struct statement_source *source = bind->source;
    size_t n = 0;
    struct err err = {0};
    if (!source->ended && source->kind->next(source->self, bind->rows, BLOCK, &n, &err) != OK) {
        duckdb_function_set_error(info, err.text);
        return;
    }
    must(n <= BLOCK);
    source->ended = n == 0;
    for (idx_t i = 0; i < init->columns_n; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(output, i);
        if (init->columns[i] < bind->columns_n) {
            put_column(vector, bind->rows, n, init->columns[i]);
        } else if (init->columns[i] == bind->columns_n) {
            int64_t *numbers = duckdb_vector_get_data(vector);
            for (size_t r = 0; r < n; r++) {
                numbers[r] = (int64_t)bind->rows[r].number;
            }
        }
    }
    duckdb_data_chunk_set_size(output, n);
}

/* ---- bad rows ---- */

static void bind_bad(duckdb_bind_info info) {
    struct statement_source *source = source_of_bind(info, false);
    if (!source) {
        return;
    }
    add_column(info, STR("row"), DUCKDB_TYPE_BIGINT);
    add_column(info, STR("reason"), DUCKDB_TYPE_VARCHAR);
    add_column(info, STR("raw"), DUCKDB_TYPE_BLOB);
    struct rows_bind *bind = mem_zalloc(sizeof *bind);
    bind->source = source;
    duckdb_bind_set_bind_data(info, bind, free);
}

static void init_bad(duckdb_init_info info) { duckdb_init_set_max_threads(info, 1); }

/* The bad rows are known once the good ones were read: reads those, when no cupel_rows of this statement did. */
static enum status read_to_end(struct rows_bind *bind, struct err *err) {
    struct statement_source *source = bind->source;
    source->taken = true;
    while (!source->ended) {
        size_t n = 0;
        enum status st = source->kind->next(source->self, bind->rows, BLOCK, &n, err);
        if (st != OK) {
            return st;
        }
        source->ended = n == 0;
    }
    return OK;
}

static void scan_bad(duckdb_function_info info, duckdb_data_chunk output) {
    struct rows_bind *bind = duckdb_function_get_bind_data(info);
    struct err err = {0};
    if (read_to_end(bind, &err) != OK) {
        duckdb_function_set_error(info, err.text);
        return;
    }
    int64_t *numbers = duckdb_vector_get_data(duckdb_data_chunk_get_vector(output, 0));
    duckdb_vector reasons = duckdb_data_chunk_get_vector(output, 1), raws = duckdb_data_chunk_get_vector(output, 2);
    idx_t n = 0;
    struct bad_row bad;
    while (n < BLOCK && bind->source->kind->next_bad(bind->source->self, &bad)) {
        numbers[n] = (int64_t)bad.number;
        duckdb_vector_assign_string_element(reasons, n, bad.reason);
        duckdb_vector_assign_string_element_len(raws, n, bad.raw.p ? bad.raw.p : "", bad.raw.n);
        n++;
    }
    duckdb_data_chunk_set_size(output, n);
}

/* ---- end ---- */

void rows_scan_report(struct statement *s, struct buf *out) {
    buf_char(out, '[');
    bool first = true;
    for (struct statement_source *source = s->sources; source; source = source->next) {
        if (source->taken) {
            buf_text(out, first ? "" : ",");
            source->kind->report(source->self, out);
            first = false;
        }
    }
    buf_char(out, ']');
}

void rows_scan_end(struct statement *s) {
    for (struct statement_source *source = s->sources; source; source = source->next) {
        source->kind->close(source->self);
    }
    s->sources = NULL;
}

static enum status register_one(struct child *child, duckdb_connection connection, const char *name, duckdb_table_function_bind_t bind,
    duckdb_table_function_init_t init, duckdb_table_function_t scan, bool projection, struct err *err) {
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_table_function_set_name(function, name);
    duckdb_table_function_add_parameter(function, text);
    duckdb_table_function_add_parameter(function, text);
    duckdb_table_function_set_extra_info(function, child, NULL);
    duckdb_table_function_set_bind(function, bind);
    duckdb_table_function_set_init(function, init);
    duckdb_table_function_set_function(function, scan);
    duckdb_table_function_supports_projection_pushdown(function, projection);
    duckdb_state state = duckdb_register_table_function(connection, function);
    duckdb_destroy_logical_type(&text);
    duckdb_destroy_table_function(&function);
    return state == DuckDBSuccess ? OK : err_set(err, E_INTERNAL, "registering %s", name);
}

enum status rows_scan_register(struct child *child, duckdb_connection connection, struct err *err) {
    enum status st = register_one(child, connection, "cupel_rows", bind_rows, init_rows, scan_rows, true, err);
    return st == OK ? register_one(child, connection, "cupel_bad_rows", bind_bad, init_bad, scan_bad, false, err) : st;
}
