/* A session of the engine: connection, own catalog, and the views of the tables at the versions that the current statement sees. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/engine_child.h"
#include "lake/macros.h"

/* Which version of a table the session's view shows. */
struct view_state {
    uint64_t serial; /* child_table.serial; 0: none yet */
    bool tail; /* with the log's part */
    bool schema_made;
    int64_t only_ms; /* limited to rows received then; -1: all */
};

/* ---- errors ---- */

static enum status status_of(duckdb_error_type type, const char *text) {
    switch (type) {
    case DUCKDB_ERROR_OUT_OF_MEMORY: return E_LIMIT;
    case DUCKDB_ERROR_PERMISSION: return E_DENIED;
    case DUCKDB_ERROR_INTERRUPT: return E_CANCELLED;
    case DUCKDB_ERROR_NOT_IMPLEMENTED: return E_UNSUPPORTED;
    case DUCKDB_ERROR_TRANSACTION: /* a COMMIT that failed; or another session wrote the same rows or catalog entry */
        return strstr(text, "No space left") ? E_NO_SPACE : strstr(text, "Could not") ? E_IO : strstr(text, "onflict") ? E_CONFLICT : E_INVALID;
    case DUCKDB_ERROR_IO: return strstr(text, "No space left") ? E_NO_SPACE : E_IO;
    case DUCKDB_ERROR_INTERNAL:
    case DUCKDB_ERROR_FATAL:
    case DUCKDB_ERROR_NULL_POINTER: return E_INTERNAL;
    default: return E_INVALID;
    }
}

/* DuckDB's message can be long (candidate functions); what counts is its first line and the place: "LINE 1: …" with the caret below. */
static void shorten(const char *text, char *out, size_t n) {
    const char *place = strstr(text, "\n\nLINE ");
    size_t all = strlen(text);
    if (all < n) {
        memcpy(out, text, all + 1);
        return;
    }
    size_t place_n = place ? strlen(place) : 0;
    if (place_n > n / 2) {
        place_n = 0;
    }
    size_t head_n = n - 1 - place_n - 3;
    const char *line = strchr(text, '\n');
    if (line && (size_t)(line - text) < head_n) {
        head_n = (size_t)(line - text);
    }
    while (head_n && ((unsigned char)text[head_n] & 0xC0) == 0x80) {
        head_n--;
    }
    snprintf(out, n, "%.*s%s%s", (int)head_n, text, head_n < all - place_n && !(line && line == text + head_n) ? "…" : "", place_n ? place : "");
}

enum status duckdb_failed(const struct statement *s, duckdb_error_type type, const char *text, struct err *err) {
    if (s && s->stop == STOP_TIMEOUT) {
        return err_set(err, E_TIMEOUT, "the query took longer than its limit of %lld ms", (long long)s->request.time_ms);
    }
    if (s && s->stop == STOP_CANCELLED) {
        return err_set(err, E_CANCELLED, "the query was cancelled");
    }
    if (type == DUCKDB_ERROR_FATAL && s) {
        s->child->broken = true;
    }
    char text_short[ERR_TEXT_MAX];
    shorten(text ? text : "DuckDB gave no reason", text_short, sizeof text_short);
    return err_set(err, status_of(type, text_short), "%s", text_short);
}

enum status duckdb_refused(const struct statement *s, const char *text, struct err *err) {
    static const struct {
        const char *head;
        duckdb_error_type type;
    } heads[] = {
        {"Permission Error", DUCKDB_ERROR_PERMISSION},
        {"IO Error", DUCKDB_ERROR_IO},
        {"Out of Memory Error", DUCKDB_ERROR_OUT_OF_MEMORY},
        {"INTERNAL Error", DUCKDB_ERROR_INTERNAL},
        {"FATAL Error", DUCKDB_ERROR_FATAL},
        {"INTERRUPT Error", DUCKDB_ERROR_INTERRUPT},
        {"Not implemented Error", DUCKDB_ERROR_NOT_IMPLEMENTED},
        {"TransactionContext Error", DUCKDB_ERROR_TRANSACTION},
    };
    for (size_t i = 0; text && i < sizeof heads / sizeof *heads; i++) {
        if (strncmp(text, heads[i].head, strlen(heads[i].head)) == 0) {
            return duckdb_failed(s, heads[i].type, text, err);
        }
    }
    return duckdb_failed(s, DUCKDB_ERROR_BINDER, text, err);
}

/* ---- connection ---- */

enum status session_run(struct session *session, const char *sql, struct err *err) {
    duckdb_result result;
    enum status st = OK;
    if (duckdb_query(session->connection, sql, &result) != DuckDBSuccess) {
        st = duckdb_failed(session->statement, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    }
    duckdb_destroy_result(&result);
    return st;
}

#define IDLE_US_MIN 20
#define IDLE_US_MAX 1000

/* duckdb_execute_pending would do, but it spins while DuckDB's other threads have all the work. Each sleep is an eighth of the time waited so far: a statement
 * loses that share at most, and one that waits long looks seldom. */
enum status session_execute(struct session *session, duckdb_pending_result pending, duckdb_result *result, struct err *err) {
    const struct host_clock *clock = session->child->host.clock;
    must(pending && session->ready);
    int64_t idle_since_us = 0; /* 0: it had work at the last look */
    for (;;) {
        duckdb_pending_state state = duckdb_pending_execute_task(pending);
        if (state == DUCKDB_PENDING_RESULT_READY) {
            break;
        }
        if (state == DUCKDB_PENDING_ERROR) {
            return duckdb_refused(session->statement, duckdb_pending_error(pending), err);
        }
        if (state == DUCKDB_PENDING_RESULT_NOT_READY) {
            idle_since_us = 0;
            continue;
        }
        int64_t now_us = clock->monotonic_us(clock->self);
        if (!idle_since_us) {
            idle_since_us = now_us;
        }
        int64_t idle_us = (now_us - idle_since_us) / 8;
        clock->sleep_us(clock->self, idle_us < IDLE_US_MIN ? IDLE_US_MIN : idle_us < IDLE_US_MAX ? idle_us : IDLE_US_MAX);
    }
    if (duckdb_execute_pending(pending, result) != DuckDBSuccess) {
        return duckdb_refused(session->statement, duckdb_result_error(result), err);
    }
    return OK;
}

enum status macros_open(duckdb_connection connection, struct err *err) {
    duckdb_result result;
    enum status st = OK;
    AUTO_FREE char *sql = mem_printf("ATTACH ':memory:' AS macros; USE macros; %s; USE memory", lake_macros_sql);
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess) {
        st = err_set(err, E_INTERNAL, "macros: %s", duckdb_result_error(&result));
    }
    duckdb_destroy_result(&result);
    return st;
}

enum status session_begin(struct session *session, struct err *err) {
    if (session->ready) {
        return OK;
    }
    if (!session->connection && duckdb_connect(session->child->db, &session->connection) != DuckDBSuccess) {
        return err_set(err, E_INTERNAL, "connecting to DuckDB");
    }
    BUF_SCOPE(sql); /* macros: see macros_open */
    unsigned long long number = session->catalog;
    buf_printf(
        &sql, "ATTACH IF NOT EXISTS ':memory:' AS cupel%llu; SET search_path = 'cupel%llu.main,macros.main'; SET VARIABLE cupel_timezone = ", number, number);
    sql_quote_text(&sql, str_of(session->child->timezone ? session->child->timezone : "UTC"));
    enum status st = session_run(session, buf_cstr(&sql), err);
    if (st != OK) {
        return st;
    }
    if (duckdb_prepare(session->connection, "SELECT json_serialize_sql($1::VARCHAR)", &session->parse) != DuckDBSuccess) {
        st = err_set(err, E_INTERNAL, "preparing the parser: %s", duckdb_prepare_error(session->parse));
        duckdb_destroy_prepare(&session->parse);
        return st;
    }
    duckdb_client_context context;
    duckdb_connection_get_client_context(session->connection, &context);
    mutex_lock(&session->child->lock);
    session->connection_id = duckdb_client_context_get_connection_id(context);
    session->ready = true;
    mutex_unlock(&session->child->lock);
    duckdb_destroy_client_context(&context);
    return OK;
}

static void forget_views(struct session *session) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(session->views, &at, &key, &value)) {
        free(value);
    }
    map_free(&session->views);
    session->views = map_new();
}

void session_reset(struct session *session) {
    mutex_lock(&session->child->lock);
    session->ready = false; /* nobody interrupts it from now on */
    uint64_t next = session->child->catalogs++;
    mutex_unlock(&session->child->lock);
    duckdb_destroy_prepare(&session->parse);
    duckdb_disconnect(&session->connection); /* rolls back; temporary tables and settings go with it */
    forget_views(session);
    struct err err = {0};
    char sql[64];
    snprintf(sql, sizeof sql, "DETACH DATABASE IF EXISTS cupel%llu", (unsigned long long)session->catalog);
    enum status st = duckdb_connect(session->child->db, &session->connection) == DuckDBSuccess ? OK : err_set(&err, E_INTERNAL, "connecting to DuckDB");
    if (st == OK) {
        st = session_run(session, sql, &err);
    }
    /* A name is never used again: a transaction that has seen the old catalog (duckdb_tables() looks at all of them) must not meet another of that name, DuckDB
     * would give up the whole database. */
    session->catalog = next;
    if (st != OK) {
        log_error("engine", "a session could not be put back", LOG_STR("error", err.text), NULL);
    }
}

/* ---- views ---- */

static const char *const bronze_columns[] = {
    "_event_id", "_stream", "_partition", "_offset", "_received_at", "_source", "_key", "_headers", "_content_type", "payload", "_body", "_valid_json"};

static bool is_bronze_column(const char *name) {
    for (size_t i = 0; i < sizeof bronze_columns / sizeof *bronze_columns; i++) {
        if (strcmp(bronze_columns[i], name) == 0) {
            return true;
        }
    }
    return false;
}

enum select_source { FROM_FILES, FROM_LOG, FROM_NOTHING };

/* One column of a source; NULL when the source lacks it. */
static void put_column(struct buf *sql, const struct engine_column *c, enum select_source source) {
    if (source == FROM_FILES) {
        sql_quote_name(sql, str_of(c->name));
        return;
    }
    buf_text(sql, "CAST(");
    if (source == FROM_LOG && is_bronze_column(c->name)) {
        sql_quote_name(sql, str_of(c->name));
    } else {
        buf_text(sql, "NULL");
    }
    buf_printf(sql, " AS %s) AS ", c->type);
    sql_quote_name(sql, str_of(c->name));
}

/* SELECT of the columns, `first` in front of the others (NULL: none). */
static void put_select(struct buf *sql, const struct engine_table *t, enum select_source source, const char *first) {
    buf_text(sql, "SELECT ");
    bool any = false;
    for (int round = first ? 0 : 1; round < 2; round++) {
        for (size_t i = 0; i < t->columns_n; i++) {
            bool is_first = first && strcmp(t->columns[i].name, first) == 0;
            if (is_first != (round == 0)) {
                continue;
            }
            buf_text(sql, any ? ", " : "");
            put_column(sql, &t->columns[i], source);
            any = true;
        }
    }
}

/* Files are read by field id, so that renamed and added columns come out right; what a file lacks is NULL. `plain`: all are as the table is. */
static void put_files(struct buf *sql, const struct engine_table *t, bool plain, const char *first) {
    put_select(sql, t, FROM_FILES, first);
    buf_text(sql, " FROM read_parquet([");
    for (size_t i = 0; i < t->files_n; i++) {
        buf_text(sql, i ? ", " : "");
        sql_quote_text(sql, str_of(t->files[i]));
    }
    if (plain) {
        buf_text(sql, "], hive_partitioning = false)");
        return;
    }
    buf_text(sql, "], schema => MAP {");
    for (size_t i = 0; i < t->columns_n; i++) {
        buf_printf(sql, "%s%d: {name: ", i ? ", " : "", t->columns[i].field_id);
        sql_quote_text(sql, str_of(t->columns[i].name));
        buf_text(sql, ", type: ");
        sql_quote_text(sql, str_of(t->columns[i].type));
        buf_text(sql, ", default_value: NULL}");
    }
    buf_text(sql, "})");
}

static void put_log(struct buf *sql, const struct engine_table *t, const char *first) {
    put_select(sql, t, FROM_LOG, first);
    buf_printf(sql, " FROM cupel_log(%u)", t->stream);
}

static void put_offset_limits(struct buf *sql, const struct work_table *w) {
    uint16_t n = w->starts_n > w->ends_n ? w->starts_n : w->ends_n;
    buf_text(sql, n ? " AND CASE _partition" : "");
    for (uint16_t p = 0; p < n; p++) {
        buf_printf(sql, " WHEN %u THEN _offset >= %llu", p, (unsigned long long)(p < w->starts_n ? w->starts[p] : 0));
        if (p < w->ends_n) {
            buf_printf(sql, " AND _offset < %llu", (unsigned long long)w->ends[p]);
        }
    }
    buf_text(sql, n ? " ELSE true END" : "");
}

/* Which rows of the files a work session sees. The time comes first: DuckDB skips row groups by it. The log's part is limited by its scan. */
static void put_limits(struct buf *sql, const struct work_table *w) {
    buf_text(sql, " WHERE true");
    if (w->from_us > 0) {
        buf_printf(sql, " AND _received_at >= make_timestamptz(%lld)", (long long)w->from_us);
    }
    put_offset_limits(sql, w);
    if (w->id_start) {
        buf_printf(sql, " AND cupel_event_offset(_event_id) >= %llu", (unsigned long long)w->id_start);
    }
    if (w->id_before) {
        buf_printf(sql, " AND cupel_event_offset(_event_id) < %llu", (unsigned long long)w->id_before);
    }
}

static void put_view(struct buf *sql, const struct child_table *table, bool plain, bool tail, int64_t only_ms) {
    const struct engine_table *t = &table->definition;
    const char *first = t->files_n && tail ? "_stream" : NULL; /* count(*) over a UNION reads its first column: let it be the constant one, not the ids */
    if (first) {
        put_select(sql, t, FROM_FILES, NULL);
        buf_text(sql, " FROM (");
    }
    if (t->files_n) {
        put_files(sql, t, plain, first);
        if (table->work) {
            put_limits(sql, table->work);
        } else if (only_ms >= 0) {
            buf_printf(sql, " WHERE _received_at = make_timestamptz(%lld)", (long long)only_ms * 1000);
        }
    }
    if (first) {
        buf_text(sql, " UNION ALL ");
        put_log(sql, t, first);
        buf_char(sql, ')');
    } else if (t->files_n) {
        return;
    } else if (tail) {
        put_log(sql, t, NULL);
    } else {
        put_select(sql, t, FROM_NOTHING, NULL);
        buf_text(sql, " WHERE false");
    }
}

/* Whether the statement sees records of the table in the log. Without them the view is the files alone, which DuckDB answers faster (counts from footers). */
static enum status has_tail(struct session *session, const struct child_table *table, bool *out, struct err *err) {
    const struct engine_table *t = &table->definition;
    struct log_scan *scan = NULL;
    struct log_range range = {.stream = t->stream, .from = t->log_from, .to = session->statement->request.durable};
    if (table->work && table->work->from_us > 0) {
        range.from_ms = table->work->from_us / 1000;
        range.to_ms = INT64_MAX;
    }
    *out = t->has_log;
    if (!t->has_log || !t->files_n) {
        return OK;
    }
    enum status st = child_log_scan(session->child, session->statement, range, &scan, err);
    if (st == OK) {
        *out = log_scan_records(scan) > 0;
        log_scan_end(&scan);
    }
    return st;
}

/* only_ms: see view_state. */
static enum status make_view(struct session *session, struct child_table *table, int64_t only_ms, struct err *err) {
    const struct engine_table *t = &table->definition;
    must(table->serial && session->statement);
    if (t->unreadable) {
        return err_set(err, E_UNSUPPORTED, "%s.%s cannot be read: %s", t->schema, t->name, t->unreadable);
    }
    if (!t->columns_n && !table->body) {
        return err_set(err, E_UNSUPPORTED, "%s.%s has no columns", t->schema, t->name);
    }
    BUF_SCOPE(key);
    buf_printf(&key, "%s.%s", t->schema, t->name);
    struct view_state *state = map_get(session->views, buf_view(&key));
    bool tail = false;
    enum status st = table->body ? OK : has_tail(session, table, &tail, err);
    if (st != OK || (state && state->serial == table->serial && state->tail == tail && state->only_ms == only_ms && !table->is_model_view)) {
        return st;
    }
    if (!state) {
        state = mem_zalloc(sizeof *state);
        map_put(session->views, buf_view(&key), state);
    }
    BUF_SCOPE(sql);
    if (!state->schema_made) {
        buf_text(&sql, "CREATE SCHEMA IF NOT EXISTS ");
        sql_quote_name(&sql, str_of(t->schema));
        buf_text(&sql, "; ");
    }
    state->serial = 0;
    buf_text(&sql, "CREATE OR REPLACE VIEW ");
    sql_quote_name(&sql, str_of(t->schema));
    buf_char(&sql, '.');
    sql_quote_name(&sql, str_of(t->name));
    buf_text(&sql, " AS ");
    if (table->body) {
        buf_text(&sql, table->body);
    } else {
        put_view(&sql, table, files_are_plain(session, table), tail, only_ms);
    }
    st = session_run(session, buf_cstr(&sql), err);
    if (st != OK) {
        return err_prefix(err, "%s.%s", t->schema, t->name);
    }
    state->schema_made = true;
    state->serial = table->serial;
    state->tail = tail;
    state->only_ms = only_ms;
    return OK;
}

/* Whether some object of the tree names the table. */
static bool tree_names(const json_t *tree, const struct engine_table *t) {
    must(t->schema && t->name);
    if (json_is_array(tree)) {
        size_t i;
        json_t *item;
        json_array_foreach(tree, i, item) {
            if (tree_names(item, t)) {
                return true;
            }
        }
        return false;
    }
    if (!json_is_object(tree)) {
        return false;
    }
    const char *name = json_string_value(json_object_get(tree, "table_name")), *schema = json_string_value(json_object_get(tree, "schema_name"));
    if (name && schema && str_ieq(str_of(name), str_of(t->name)) && str_ieq(str_of(schema), str_of(t->schema))) {
        return true;
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tree, key, value) {
        if (tree_names(value, t)) {
            return true;
        }
    }
    return false;
}

#define VIEWS_DEEP_MAX 32 /* models of kind view over each other */

static enum status make_views(struct session *session, struct statement *s, const json_t *tree, int depth, struct err *err);

/* The tables that a model's SQL names, then itself. */
static enum status make_model_view(struct session *session, struct statement *s, struct child_table *table, int depth, struct err *err) {
    if (depth >= VIEWS_DEEP_MAX) {
        return err_set(err, E_LIMIT, "%s.%s: views over views, deeper than %d", table->definition.schema, table->definition.name, VIEWS_DEEP_MAX);
    }
    json_t *tree;
    enum status st = sql_parse(session, str_of(table->body), &tree, err);
    if (st == OK) {
        st = make_views(session, s, tree, depth + 1, err);
        json_decref(tree);
    }
    if (st != OK) {
        return err_prefix(err, "%s.%s", table->definition.schema, table->definition.name);
    }
    return make_view(session, table, -1, err);
}

/* Rows that may be older than a reader would think. */
static void note_old(struct statement *s, const struct child_table *table) {
    const struct engine_table *t = &table->definition;
    bool copy = !table->body && t->is_copy;
    if (!copy && !table->without_model) {
        return;
    }
    BUF_SCOPE(text);
    if (table->without_model) {
        buf_printf(&text, "%s.%s is as its model left it: the model is gone (cupel flow prune drops the table)", t->schema, t->name);
    } else if (s->child->warehouse_why) {
        buf_printf(&text, "%s.%s is read from its lake copy, which may be behind: %s", t->schema, t->name, s->child->warehouse_why);
    } else {
        buf_printf(&text, "%s.%s is read from its lake copy, which may be behind: the warehouse has no such table at the moment", t->schema, t->name);
    }
    for (size_t i = 0; i < text.n; i++) { /* nothing that JSON would escape: it becomes a line of a header */
        bool odd = text.p[i] == '"' || text.p[i] == '\\' || (unsigned char)text.p[i] < 0x20;
        text.p[i] = odd ? '\'' : text.p[i];
    }
    buf_printf(&s->warnings, "%s\"%s\"", s->warnings.n ? "," : "", buf_cstr(&text));
}

static enum status make_views(struct session *session, struct statement *s, const json_t *tree, int depth, struct err *err) {
    for (uint32_t i = 0; i < s->visible_n; i++) {
        struct child_table *table = s->visible[i];
        if (!tree_names(tree, &table->definition)) {
            continue;
        }
        note_old(s, table);
        int64_t only_ms = -1;
        if (!depth && !table->body) {
            sql_wants_one_event(tree, &table->definition, &only_ms);
        }
        enum status st = table->is_model_view ? make_model_view(session, s, table, depth, err) : make_view(session, table, only_ms, err);
        if (st != OK) {
            return st;
        }
    }
    return OK;
}

enum status session_make_views(struct session *session, struct statement *s, const json_t *tree, struct err *err) {
    return make_views(session, s, tree, 0, err);
}

enum status session_make_work_views(struct session *session, struct statement *s, struct err *err) {
    must(session->ready && s->request.kind == CALL_WORK);
    for (size_t i = 0; i < s->request.work_n; i++) {
        const struct work_table *w = &s->request.work[i];
        struct child_table table = {.serial = 1, .definition = w->table, .work = w, .shape = w->from_us ? SHAPE_OTHER : SHAPE_UNKNOWN};
        enum status st = make_view(session, &table, -1, err);
        if (st != OK) {
            return st;
        }
    }
    return OK;
}
