/* A work session in the child: views of its inputs, then statements as they come over the call's socket, until the server closes it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/result.h"

/* One statement of a WORK_RUN. */
struct step {
    struct statement *s;
    duckdb_prepared_statement prepared;
    duckdb_pending_result pending;
    duckdb_result result;
    bool has_result;
};

static void step_end(struct step *step) {
    if (step->has_result) {
        duckdb_destroy_result(&step->result);
    }
    duckdb_destroy_pending(&step->pending);
    duckdb_destroy_prepare(&step->prepared);
    *step = (struct step){.s = step->s};
}

static enum status step_run(struct step *step, duckdb_extracted_statements statements, idx_t at, struct err *err) {
    struct statement *s = step->s;
    if (s->stop != STOP_NONE) {
        return duckdb_failed(s, DUCKDB_ERROR_INTERRUPT, NULL, err);
    }
    if (duckdb_prepare_extracted_statement(s->session->connection, statements, at, &step->prepared) != DuckDBSuccess) {
        return duckdb_refused(s, duckdb_prepare_error(step->prepared), err);
    }
    if (duckdb_pending_prepared(step->prepared, &step->pending) != DuckDBSuccess) {
        return duckdb_refused(s, duckdb_pending_error(step->pending), err);
    }
    step->has_result = true;
    return session_execute(s->session, step->pending, &step->result, err);
}

/* ---- results ---- */

static enum status read_columns(struct arena *arena, duckdb_result *result, struct result_columns *out, struct err *err) {
    idx_t n = duckdb_column_count(result);
    *out = (struct result_columns){.n = n, .names = arena_new_array(arena, const char *, n), .types = arena_new_array(arena, struct value_type, n)};
    for (idx_t i = 0; i < n; i++) {
        out->names[i] = arena_strdup(arena, duckdb_column_name(result, i));
        duckdb_logical_type type = duckdb_column_logical_type(result, i);
        bool plain = value_type_read(arena, type, &out->types[i]);
        duckdb_destroy_logical_type(&type);
        if (!plain) {
            return err_set(err, E_UNSUPPORTED, "column %.100s of the result has a type that cannot be shown; cast it to VARCHAR", out->names[i]);
        }
    }
    return OK;
}

static enum status send_rows(struct statement *s, duckdb_result *result, struct err *err) {
    ARENA_SCOPE(arena);
    struct result_columns columns;
    enum status st = read_columns(arena, result, &columns, err);
    if (st != OK) {
        return st;
    }
    struct result_writer *writer = result_new(arena, RESULT_JSON, &columns, 0, 0);
    duckdb_data_chunk chunk = NULL;
    while (st == OK && (chunk = duckdb_fetch_chunk(*result))) {
        idx_t row = 0, n = duckdb_data_chunk_get_size(chunk);
        while (st == OK && row < n) {
            result_put(writer, &s->out, chunk, &row);
            st = statement_flush(s, false, err);
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    if (st == OK) {
        result_end(writer, &s->out, false);
        st = statement_flush(s, true, err);
    }
    result_free(writer);
    return st;
}

/* ---- statements ---- */

/* Whether the text can make, change or drop something in the warehouse: its name behind TABLE, VIEW, SCHEMA, COLUMN or IF (NOT) EXISTS. Runs that only make
 * temporary tables out of the warehouse are far more frequent. */
static bool defines_in_warehouse(const char *sql) {
    static const char *const words[] = {"table", "view", "schema", "column", "exists"};
    for (const char *at = sql; (at = strcasestr(at, "warehouse")); at++) {
        const char *end = at;
        while (end > sql && strchr(" \t\r\n\"", end[-1])) {
            end--;
        }
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            size_t n = strlen(words[i]);
            if ((size_t)(end - sql) >= n && strncasecmp(end - n, words[i], n) == 0) {
                return true;
            }
        }
    }
    return false;
}

static enum status run_all(struct statement *s, const char *sql, duckdb_extracted_statements statements, idx_t n, bool rows, struct err *err) {
    struct step step = {.s = s};
    bool names_warehouse = defines_in_warehouse(sql), names_models = strcasestr(sql, "cupel.models") || strcasestr(sql, "cupel.without_model");
    enum status st = OK;
    s->rows = 0;
    for (idx_t i = 0; st == OK && i < n; i++) {
        st = step_run(&step, statements, i, err);
        if (st == OK) {
            s->rows += duckdb_rows_changed(&step.result);
            warehouse_noted(s->session, duckdb_prepared_statement_type(step.prepared), names_warehouse, names_models);
        }
        if (st == OK && rows && i + 1 == n) {
            st = send_rows(s, &step.result, err);
        }
        step_end(&step);
    }
    return st;
}

static enum status run_text(struct statement *s, const char *sql, bool rows, struct err *err) {
    duckdb_extracted_statements statements;
    idx_t n = duckdb_extract_statements(s->session->connection, sql, &statements);
    enum status st = OK;
    if (n == 0) {
        const char *why = duckdb_extract_statements_error(statements);
        st = why ? duckdb_failed(s, DUCKDB_ERROR_PARSER, why, err) : err_set(err, E_INVALID, "There is no statement");
    } else {
        st = run_all(s, sql, statements, n, rows, err);
    }
    duckdb_destroy_extracted(&statements);
    statement_end_scans(s); /* results are gone */
    return st;
}

static enum status send_answer(struct statement *s, enum status status, const struct err *why, struct err *err) {
    BUF_SCOPE(payload);
    buf_clear(&s->out);
    if (status == OK) {
        buf_u64(&payload, s->rows);
        return statement_send(s, ANSWER_END, buf_view(&payload), err);
    }
    buf_u32(&payload, status);
    wire_put_cstr(&payload, why->text);
    return statement_send(s, ANSWER_ERROR, buf_view(&payload), err);
}

/* The next message; false: the server closed. */
static bool receive(struct statement *s, enum wire_kind *kind, struct buf *payload) {
    struct wire_header header;
    buf_clear(payload);
    if (host_recv(s->fd, &header, sizeof header, NULL) != OK || header.length > WIRE_PAYLOAD_MAX || !buf_reserve(payload, header.length + 1) ||
        host_recv(s->fd, payload->p, header.length, NULL) != OK) {
        return false;
    }
    *kind = header.kind;
    payload->n = header.length;
    return true;
}

/* A limit is of one run: one that passed it must not end the ROLLBACK behind it. */
static void set_deadline(struct statement *s, bool on) {
    WITH_LOCK(&s->lock);
    enum stop timeout = STOP_TIMEOUT;
    s->deadline_ms = on && s->request.time_ms ? host_monotonic_ms(&s->child->host) + s->request.time_ms : 0;
    atomic_compare_exchange_strong(&s->stop, &timeout, STOP_NONE);
}

static enum status run_message(struct statement *s, struct wire_in *in, struct err *err) {
    bool rows = wire_u32(in) != 0;
    struct str sql = wire_str(in);
    must(!in->failed && sql.p);
    AUTO_FREE char *text = mem_strndup(sql.p, sql.n);
    return run_text(s, text, rows, err);
}

/* As the call would, but on this session's connection. */
static enum status run_copy(struct statement *s, struct wire_in *in, struct err *err) {
    struct engine_request session = s->request;
    must(wire_get_request(in, s->arena, &s->request));
    enum status st = copy_run(s, err);
    s->request = session;
    statement_end_scans(s);
    return st;
}

static enum status serve(struct statement *s, struct err *err) {
    BUF_SCOPE(payload);
    enum wire_kind kind;
    enum status st = OK;
    while (st == OK && receive(s, &kind, &payload)) {
        struct wire_in in = {payload.p, payload.n, false};
        struct err why = {0};
        must(kind == WORK_RUN || kind == WORK_COPY);
        set_deadline(s, true);
        enum status ran = kind == WORK_COPY ? run_copy(s, &in, &why) : run_message(s, &in, &why);
        set_deadline(s, false);
        if (ran != OK || kind == WORK_RUN) { /* a copy that went well has answered */
            st = send_answer(s, ran, &why, err);
        }
        if (s->child->broken) {
            return ran;
        }
    }
    return st;
}

enum status work_run(struct statement *s, struct err *err) {
    must(s->session && s->request.kind == CALL_WORK);
    if (s->child->warehouse_why) {
        return err_set(err, s->child->warehouse_status, "%s", s->child->warehouse_why);
    }
    enum status st = session_make_work_views(s->session, s, err);
    if (st == OK) {
        set_deadline(s, false);
        st = send_answer(s, OK, NULL, err);
    }
    if (st == OK) {
        st = serve(s, err);
    }
    session_reset(s->session);
    return st;
}
