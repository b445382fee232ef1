/* A query: parsed, checked, its views made, bound, run, and its result sent in the format asked for. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/result.h"

/* What a query holds on its way. */
struct run {
    struct statement *s;
    duckdb_connection connection;
    json_t *tree;
    const char *explain; /* "EXPLAIN " and the like in front; "" else */
    struct str sql; /* behind it */
    duckdb_prepared_statement prepared;
    duckdb_pending_result pending;
    duckdb_result result;
    bool has_result;
    bool answered; /* the head was sent */
    struct result_columns columns;
    struct result_writer *writer;
};

/* ---- text of the statement ---- */

/* SHOW TABLES: DuckDB knows only the views that were needed so far. */
static struct str show_tables(struct statement *s) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT * FROM (VALUES ");
    for (uint32_t i = 0; i < s->visible_n; i++) {
        const struct engine_table *t = &s->visible[i]->definition;
        buf_text(&sql, i ? ", (" : "(");
        sql_quote_text(&sql, str_of(t->schema));
        buf_text(&sql, ", ");
        sql_quote_text(&sql, str_of(t->name));
        buf_text(&sql, ", [");
        for (size_t c = 0; c < t->columns_n; c++) {
            buf_text(&sql, c ? ", " : "");
            sql_quote_text(&sql, str_of(t->columns[c].name));
        }
        buf_text(&sql, "])");
    }
    if (!s->visible_n) {
        buf_text(&sql, "('', '', [''])");
    }
    buf_text(&sql, ") AS tables(\"schema\", \"name\", \"columns\") ");
    buf_text(&sql, s->visible_n ? "ORDER BY ALL" : "WHERE false");
    return arena_str(s->arena, buf_view(&sql));
}

static enum status check_text(struct run *run, const json_t *tree, struct str sql, struct err *err) {
    struct statement *s = run->s;
    if (s->request.internal || s->child->trusted) {
        return OK;
    }
    struct err why;
    enum status st = sql_check(tree, sql, (const struct child_table *const *)s->visible, s->visible_n, &why);
    if (st == E_INVALID && s->child->warehouse_why) {
        return err_set(err, st, "%.300s (%.180s)", why.text, s->child->warehouse_why);
    }
    return st == OK ? OK : err_set(err, st, "%s", why.text);
}

/* DuckDB writes some names without their quotes ("x".*, $"x"), and a name can hold anything: what it wrote is checked like what the user wrote. One
 * complete SELECT by itself cannot close the brackets that it is put in. */
static enum status check_again(struct run *run, const char *text, struct err *err) {
    json_t *tree;
    struct err why;
    enum status st = sql_parse(run->s->session, str_of(text), &tree, &why);
    if (st == OK) {
        st = check_text(run, tree, str_of(text), &why);
        json_decref(tree);
    }
    return st == OK ? OK : err_set(err, st == E_DENIED ? E_DENIED : E_UNSUPPORTED, "the statement cannot be wrapped for this output; simpler names may help");
}

/* The statement as DuckDB itself writes it: no semicolon at its end, so that it can stand in brackets. */
static enum status canonical(struct run *run, char **out, struct err *err) {
    duckdb_prepared_statement prepared;
    duckdb_result result = {0};
    enum status st = OK;
    if (duckdb_prepare(run->connection, "SELECT json_deserialize_sql(json_serialize_sql($1::VARCHAR))", &prepared) != DuckDBSuccess ||
        duckdb_bind_varchar_length(prepared, 1, run->sql.p, run->sql.n) != DuckDBSuccess || duckdb_execute_prepared(prepared, &result) != DuckDBSuccess) {
        st = err_set(err, E_UNSUPPORTED, "the statement cannot be wrapped for this output");
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        must(chunk);
        duckdb_string_t *text = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        *out = arena_strndup(run->s->arena, duckdb_string_t_data(text), duckdb_string_t_length(*text));
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&prepared);
    return st == OK ? check_again(run, *out, err) : st;
}

static enum status prepare_text(struct run *run, const char *text, struct err *err) {
    duckdb_destroy_prepare(&run->prepared);
    if (duckdb_prepare(run->connection, text, &run->prepared) != DuckDBSuccess) {
        return duckdb_refused(run->s, duckdb_prepare_error(run->prepared), err);
    }
    return OK;
}

/* ---- parameters ---- */

/* A JSON number as DuckDB's exact type: BIGINT, HUGEINT, DECIMAL; with an exponent or too many digits DOUBLE. */
static duckdb_value number_value(struct str text) {
    int64_t small;
    double approximate = 0;
    if (str_to_i64(text, &small)) {
        return duckdb_create_int64(small);
    }
    bool negative = text.n && text.p[0] == '-', exact = true;
    unsigned digits = 0;
    __int128 value = 0;
    for (size_t i = negative; i < text.n && exact; i++) {
        if (text.p[i] == '.') continue;
        exact = text.p[i] >= '0' && text.p[i] <= '9' && ++digits <= 38;
        value = value * 10 + (text.p[i] - '0');
    }
    const char *point = memchr(text.p, '.', text.n);
    unsigned scale = point ? (unsigned)(text.p + text.n - point - 1) : 0;
    if (!exact) {
        str_to_double(text, &approximate);
        return duckdb_create_double(approximate);
    }
    value = negative ? -value : value;
    duckdb_hugeint huge = {.lower = (uint64_t)value, .upper = (int64_t)(value >> 64)};
    return scale ? duckdb_create_decimal((duckdb_decimal){.width = (uint8_t)(digits > scale ? digits : scale), .scale = (uint8_t)scale, .value = huge})
                 : duckdb_create_hugeint(huge);
}

static enum status param_value(struct str json, duckdb_value *out, struct err *err) {
    AUTO_FREE char *text = mem_strndup(json.p ? json.p : "", json.n);
    json_error_t error;
    json_t *value = json_loadb(text, json.n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    if (!value) {
        return err_set(err, E_INVALID, "a parameter is not JSON: %s", error.text);
    }
    switch (json_typeof(value)) {
    case JSON_NULL: *out = duckdb_create_null_value(); break;
    case JSON_TRUE:
    case JSON_FALSE: *out = duckdb_create_bool(json_is_true(value)); break;
    case JSON_STRING: *out = duckdb_create_varchar_length(json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
    case JSON_REAL: *out = number_value(str_trim(json)); break;
    default: *out = duckdb_create_varchar_length(text, json.n); break; /* lists and objects: as JSON text */
    }
    json_decref(value);
    return OK;
}

static enum status bind_params(struct run *run, struct err *err) {
    const struct engine_request *r = &run->s->request;
    must(run->prepared);
    idx_t wanted = duckdb_nparams(run->prepared);
    if (wanted != r->params_n) {
        return err_set(err, E_INVALID, "the statement has %llu parameters, %zu were given", (unsigned long long)wanted, r->params_n);
    }
    for (size_t i = 0; i < r->params_n; i++) {
        duckdb_value value;
        enum status st = param_value(r->params[i], &value, err);
        if (st != OK) {
            return err_prefix(err, "parameter %zu", i + 1);
        }
        duckdb_state state = duckdb_bind_value(run->prepared, i + 1, value);
        duckdb_destroy_value(&value);
        if (state != DuckDBSuccess) {
            return err_set(err, E_INVALID, "parameter %zu does not fit", i + 1);
        }
    }
    return OK;
}

/* ---- running ---- */

static enum status execute(struct run *run, struct err *err) {
    if (run->s->stop != STOP_NONE) {
        return duckdb_failed(run->s, DUCKDB_ERROR_INTERRUPT, NULL, err);
    }
    if (duckdb_pending_prepared_streaming(run->prepared, &run->pending) != DuckDBSuccess) {
        return duckdb_refused(run->s, duckdb_pending_error(run->pending), err);
    }
    run->has_result = true;
    return session_execute(run->s->session, run->pending, &run->result, err);
}

/* ---- columns ---- */

static void close_result(struct run *run) {
    if (run->has_result) {
        duckdb_destroy_result(&run->result);
    }
    run->has_result = false;
    duckdb_destroy_pending(&run->pending);
    duckdb_destroy_prepare(&run->prepared);
}

/* Of the result, not of the prepared statement: there the types of parameters are not known. false in `plain` where only DuckDB knows the text of a type. */
static bool read_columns(struct run *run, bool **plain) {
    struct arena *arena = run->s->arena;
    idx_t n = duckdb_column_count(&run->result);
    run->columns = (struct result_columns){.n = n, .names = arena_new_array(arena, const char *, n), .types = arena_new_array(arena, struct value_type, n)};
    *plain = arena_new_array(arena, bool, n);
    bool all = true;
    for (idx_t i = 0; i < n; i++) {
        run->columns.names[i] = arena_strdup(arena, duckdb_column_name(&run->result, i));
        duckdb_logical_type type = duckdb_column_logical_type(&run->result, i);
        (*plain)[i] = value_type_read(arena, type, &run->columns.types[i]);
        all = all && (*plain)[i];
        duckdb_destroy_logical_type(&type);
    }
    return all;
}

/* The statement with the columns of such types cast to VARCHAR. */
static enum status wrap(struct run *run, const bool *plain, struct err *err) {
    char *text;
    enum status st = canonical(run, &text, err);
    if (st != OK) {
        return st;
    }
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT ");
    for (size_t i = 0; i < run->columns.n; i++) {
        buf_printf(&sql, plain[i] ? "%s#%zu AS " : "%sCAST(#%zu AS VARCHAR) AS ", i ? ", " : "", i + 1);
        sql_quote_name(&sql, str_of(run->columns.names[i]));
    }
    buf_printf(&sql, " FROM (%s\n)", text);
    run->sql = arena_str(run->s->arena, buf_view(&sql));
    return OK;
}

#define TRIES_MAX 5

/* When one of DuckDB's threads fails, it interrupts the others, and a streamed result sometimes has their "Interrupted!" as its error. Runs the statement
 * once more, not streamed, for the error that it really has. */
static enum status real_error(struct run *run, struct err *err) {
    struct statement *s = run->s;
    enum status st = E_CANCELLED;
    for (int i = 0; i < TRIES_MAX && st == E_CANCELLED && s->stop == STOP_NONE; i++) {
        close_result(run);
        AUTO_FREE char *text = mem_printf("%s" STR_FMT, run->explain, STR_ARG(run->sql));
        st = prepare_text(run, text, err);
        st = st == OK ? bind_params(run, err) : st;
        if (st == OK && duckdb_pending_prepared(run->prepared, &run->pending) != DuckDBSuccess) {
            st = duckdb_refused(s, duckdb_pending_error(run->pending), err);
        } else if (st == OK) {
            run->has_result = true;
            st = session_execute(s->session, run->pending, &run->result, err);
        }
    }
    return st == OK ? err_set(err, E_INTERNAL, "the query failed inside DuckDB for a reason that did not show again; please repeat it") : st;
}

static enum status open_once(struct run *run, struct err *err) {
    AUTO_FREE char *text = mem_printf("%s" STR_FMT, run->explain, STR_ARG(run->sql));
    enum status st = prepare_text(run, text, err);
    st = st == OK ? bind_params(run, err) : st;
    st = st == OK ? execute(run, err) : st;
    return st == E_CANCELLED && run->s->stop == STOP_NONE ? real_error(run, err) : st;
}

/* Runs the statement up to where its columns are known and shown as text. */
static enum status open_result(struct run *run, struct err *err) {
    bool *plain;
    enum status st = open_once(run, err);
    if (st != OK || read_columns(run, &plain)) {
        return st;
    }
    close_result(run);
    st = wrap(run, plain, err);
    st = st == OK ? open_once(run, err) : st;
    if (st == OK && !read_columns(run, &plain)) {
        st = err_set(err, E_UNSUPPORTED, "a column of the result has a type that cannot be shown; cast it to VARCHAR");
    }
    return st;
}

/* ---- sending ---- */

/* *chunk NULL at the end. */
static enum status fetch(struct run *run, duckdb_data_chunk *chunk, struct err *err) {
    *chunk = duckdb_fetch_chunk(run->result);
    if (!*chunk && duckdb_result_error_type(&run->result) != DUCKDB_ERROR_INVALID) {
        enum status st = duckdb_failed(run->s, duckdb_result_error_type(&run->result), duckdb_result_error(&run->result), err);
        return st == E_CANCELLED && run->s->stop == STOP_NONE ? real_error(run, err) : st;
    }
    if (!*chunk && run->s->stop != STOP_NONE) {
        return duckdb_failed(run->s, DUCKDB_ERROR_INTERRUPT, NULL, err);
    }
    return OK;
}

static enum status send_head(struct run *run, struct err *err) {
    BUF_SCOPE(head);
    result_head(&run->columns, &head);
    if (run->s->warnings.n) {
        head.n--; /* its brace */
        buf_printf(&head, ",\"warnings\":[" STR_FMT "]}", STR_ARG(buf_view(&run->s->warnings)));
    }
    run->answered = true;
    return statement_send(run->s, ANSWER_HEAD, buf_view(&head), err);
}

/* An EXPLAIN's drawing has lines of its own: no box around it. */
static void put_plan(struct run *run, duckdb_data_chunk chunk) {
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
        value_put_text(&run->s->out, &run->columns.types[1], duckdb_data_chunk_get_vector(chunk, 1), row);
    }
}

/* One chunk, sent in pieces: 2,048 rows of large payloads are more than memory should hold as text. */
static enum status send_chunk(struct run *run, duckdb_data_chunk chunk, bool *more, struct err *err) {
    idx_t row = 0, n = duckdb_data_chunk_get_size(chunk);
    enum status st = OK;
    while (st == OK && *more && row < n) {
        *more = result_put(run->writer, &run->s->out, chunk, &row);
        st = statement_flush(run->s, false, err);
    }
    return st;
}

static enum status send_rows(struct run *run, duckdb_data_chunk chunk, struct err *err) {
    struct statement *s = run->s;
    must(run->writer && run->has_result);
    bool plan = *run->explain && s->request.format == RESULT_TABLE && run->columns.n == 2, more = true;
    enum status st = OK;
    while (st == OK && chunk && more) {
        if (plan) {
            put_plan(run, chunk);
        } else {
            st = send_chunk(run, chunk, &more, err);
        }
        duckdb_destroy_data_chunk(&chunk);
        if (st == OK && more) {
            st = fetch(run, &chunk, err);
        }
    }
    duckdb_destroy_data_chunk(&chunk);
    if (st == OK && !plan) {
        result_end(run->writer, &s->out, !more);
        s->rows = result_rows(run->writer);
    }
    return st == OK ? statement_flush(s, true, err) : st;
}

static enum status send_end(struct statement *s, struct err *err) {
    BUF_SCOPE(payload);
    buf_u64(&payload, s->rows);
    return statement_send(s, ANSWER_END, buf_view(&payload), err);
}

static enum status run_text(struct run *run, struct err *err) {
    struct statement *s = run->s;
    enum status st = open_result(run, err);
    duckdb_data_chunk chunk = NULL;
    if (st == OK) {
        run->writer = result_new(s->arena, s->request.format, &run->columns, s->request.rows_max, s->request.width_max);
        st = fetch(run, &chunk, err); /* so that an error of the first rows is the query's answer, not a cut result */
    }
    if (st == OK) {
        st = send_head(run, err);
    }
    if (st != OK) {
        duckdb_destroy_data_chunk(&chunk);
        return st;
    }
    st = send_rows(run, chunk, err);
    return st == OK ? send_end(s, err) : st;
}

/* ---- Parquet: to a temporary file, then sent ---- */

static enum status send_file(struct statement *s, const char *path, struct err *err) {
    const struct fs *fs = s->child->host.fs;
    int file;
    enum status st = fs->open(fs->self, path, FS_READ, &file, err);
    if (st != OK) {
        return st;
    }
    AUTO_FREE char *block = mem_alloc(1 << 18);
    uint64_t at = 0;
    for (size_t got = 1; st == OK && got;) {
        st = fs->pread(fs->self, file, block, 1 << 18, at, &got, err);
        at += got;
        if (st == OK && got) {
            st = statement_send(s, ANSWER_DATA, str_make(block, got), err);
        }
    }
    fs->close(fs->self, file);
    return st;
}

static enum status run_parquet(struct run *run, struct err *err) {
    struct statement *s = run->s;
    char *text;
    if (*run->explain) {
        return err_set(err, E_INVALID, "EXPLAIN has no Parquet form");
    }
    enum status st = open_result(run, err); /* for the columns, and for errors that name the user's own text */
    close_result(run);
    st = st == OK ? canonical(run, &text, err) : st;
    if (st != OK) {
        return st;
    }
    char *path = arena_printf(s->arena, "%s/tmp/" QUERY_FILE "%llu-%llu.parquet", s->child->data_dir, (unsigned long long)s->session->connection_id,
        (unsigned long long)s->request.id);
    BUF_SCOPE(sql);
    buf_printf(&sql, "COPY (%s\n) TO ", text);
    sql_quote_text(&sql, str_of(path));
    buf_text(&sql, " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)");
    st = prepare_text(run, buf_cstr(&sql), err);
    st = st == OK ? bind_params(run, err) : st;
    st = st == OK ? execute(run, err) : st;
    duckdb_data_chunk chunk = NULL;
    st = st == OK ? fetch(run, &chunk, err) : st;
    if (st == OK && chunk) {
        s->rows = (uint64_t)((int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
    }
    duckdb_destroy_data_chunk(&chunk);
    st = st == OK ? send_head(run, err) : st;
    st = st == OK ? send_file(s, path, err) : st;
    s->child->host.fs->unlink(s->child->host.fs->self, path, NULL);
    return st == OK ? send_end(s, err) : st;
}

/* ---- all of it ---- */

static bool in_warehouse(const struct warehouse_set *set, const struct engine_table *t) {
    for (size_t i = 0; set && i < set->n; i++) {
        const struct engine_table *w = &set->tables[i].definition;
        if (str_ieq(str_of(w->name), str_of(t->name)) && str_ieq(str_of(w->schema), str_of(t->schema))) {
            return true;
        }
    }
    return false;
}

static bool in_request(const struct statement *s, const struct engine_table *table) {
    for (uint32_t i = 0; i < s->request.tables_n; i++) {
        const struct engine_table *t = &s->tables[i]->definition;
        if (strcmp(t->schema, table->schema) == 0 && strcmp(t->name, table->name) == 0) {
            return true;
        }
    }
    return false;
}

/* What the statement may name. A lake copy of a warehouse table has its name: the original is read, it is never behind. */
static enum status find_tables(struct statement *s, struct err *err) {
    warehouse_set_release(s->child, s->warehouse);
    s->warehouse = NULL;
    s->visible_n = 0;
    struct err why = {0};
    if (warehouse_set_take(s->session, &s->warehouse, &why) != OK) {
        if (s->stop != STOP_NONE) {
            return err_set(err, why.status, "%s", why.text);
        }
        log_error("engine", "the warehouse's tables cannot be listed", LOG_STR("error", why.text), NULL); /* those of the lake can be read all the same */
    }
    size_t n = s->warehouse ? s->warehouse->n : 0;
    s->visible = arena_new_array(s->arena, struct child_table *, n + s->request.tables_n);
    for (size_t i = 0; i < n; i++) {
        if (!s->request.stand_ins || !in_request(s, &s->warehouse->tables[i].definition)) {
            s->visible[s->visible_n++] = &s->warehouse->tables[i];
        }
    }
    for (uint32_t i = 0; i < s->request.tables_n; i++) {
        if (s->request.stand_ins || !in_warehouse(s->warehouse, &s->tables[i]->definition)) {
            s->visible[s->visible_n++] = s->tables[i];
        }
    }
    return OK;
}

static enum status start(struct run *run, struct err *err) {
    struct statement *s = run->s;
    run->sql = s->request.sql;
    run->explain = sql_cut_explain(&run->sql);
    if (s->request.internal && s->child->warehouse_why && memmem(s->request.sql.p, s->request.sql.n, "warehouse.", 10)) {
        return err_set(err, s->child->warehouse_status, "%s", s->child->warehouse_why);
    }
    buf_clear(&s->warnings);
    enum status st = find_tables(s, err);
    st = st != OK ? st : sql_parse(s->session, run->sql, &run->tree, err);
    if (st != OK) {
        return st;
    }
    if (sql_is_show_tables(run->tree) && !*run->explain) {
        run->sql = show_tables(s);
        return OK;
    }
    st = check_text(run, run->tree, run->sql, err);
    return st == OK ? session_make_views(s->session, s, run->tree, err) : st;
}

static enum status run_once(struct statement *s, bool *answered, struct err *err) {
    struct run run = {.s = s, .connection = s->session->connection, .explain = ""};
    enum status st = start(&run, err);
    if (st == OK) {
        st = s->request.format == RESULT_PARQUET ? run_parquet(&run, err) : run_text(&run, err);
    }
    *answered = run.answered;
    if (run.writer) {
        result_free(run.writer);
    }
    close_result(&run);
    json_decref(run.tree);
    return st;
}

/* A model run may put another table in the place of one between the making of a view and its use: then once more, with what is there now. */
enum status query_run(struct statement *s, struct err *err) {
    must(s->session && s->request.sql.p);
    enum status st = OK;
    bool again = true;
    for (int i = 0; i < TRIES_MAX && again; i++) {
        bool answered;
        st = run_once(s, &answered, err);
        again = st == E_INVALID && !answered && s->warehouse && s->warehouse->serial != s->child->warehouse_serial;
    }
    warehouse_set_release(s->child, s->warehouse);
    s->warehouse = NULL;
    return st;
}
