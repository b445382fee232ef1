/* From a suite to statements: failures, results, quarantine. */
#include <string.h>

#include "base/assert.h"
#include "base/sql_quote.h"
#include "flow/expect_priv.h"

/* ---- arguments ---- */

const struct yaml_node *argument(const struct expectation *e, const char *name) {
    const struct yaml_node *node = yaml_get(e->values, name);
    return node && node->is_null ? NULL : node;
}

struct str argument_text(const struct expectation *e, const char *name) {
    const struct yaml_node *node = argument(e, name);
    return node && node->kind == YAML_TEXT ? node->text : STR_NULL;
}

bool yaml_is_true(const struct yaml_node *node) { return node->kind == YAML_TEXT && (str_ieq(node->text, STR("true")) || str_ieq(node->text, STR("yes"))); }
bool yaml_is_false(const struct yaml_node *node) { return node->kind == YAML_TEXT && (str_ieq(node->text, STR("false")) || str_ieq(node->text, STR("no"))); }

bool argument_flag(const struct expectation *e, const char *name, bool fallback) {
    const struct yaml_node *node = argument(e, name);
    return node ? yaml_is_true(node) : fallback;
}

bool argument_is(const struct expectation *e, const char *name, const char *choice, const char *fallback) {
    const struct yaml_node *node = argument(e, name);
    return node ? str_is(node->text, choice) : strcmp(choice, fallback) == 0;
}

bool text_is_number(struct str text) {
    size_t at = text.n && text.p[0] == '-', digits = 0;
    bool point = false;
    for (; at < text.n && ((text.p[at] >= '0' && text.p[at] <= '9') || (text.p[at] == '.' && !point)); at++) {
        point = point || text.p[at] == '.';
        digits += text.p[at] != '.';
    }
    if (!digits || digits > 300) return false;
    if (at == text.n) return true;
    double value;
    return (text.p[at] == 'e' || text.p[at] == 'E') && str_to_double(text, &value) && value - value == 0; /* neither infinite nor no number */
}

/* ---- types ---- */

const char *column_type(const struct expect_batch *batch, struct str column) {
    for (size_t i = 0; i < batch->columns_n; i++) {
        if (str_ieq(column, str_of(batch->columns[i].name))) return batch->columns[i].type;
    }
    return NULL;
}

/* First is DuckDB's name; behind it what others call the same. */
static const char *const families[][12] = {
    {"VARCHAR", "TEXT", "STRING", "CHAR", "BPCHAR", "NVARCHAR", "str", "object", "StringType", "Unicode"},
    {"BIGINT", "INT8", "LONG", "int64", "LongType", "BigInteger", "BIG_INTEGER"},
    {"INTEGER", "INT", "INT4", "SIGNED", "int32", "IntegerType"},
    {"SMALLINT", "INT2", "SHORT", "int16", "ShortType", "SmallInteger"},
    {"TINYINT", "INT1", "ByteType"},
    {"DOUBLE", "FLOAT8", "float64", "DoubleType", "DOUBLE_PRECISION", "DOUBLE PRECISION"},
    {"FLOAT", "REAL", "FLOAT4", "float32", "FloatType"},
    {"DECIMAL", "NUMERIC", "DecimalType"},
    {"BOOLEAN", "BOOL", "LOGICAL", "BooleanType"},
    {"DATE", "DateType"},
    {"TIME", "datetime.time"},
    {"TIMESTAMP", "DATETIME", "datetime64", "datetime64[ns]", "TimestampType", "TIMESTAMP WITHOUT TIME ZONE"},
    {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ", "TIMESTAMP_TZ", "datetime64[ns, UTC]"},
    {"BLOB", "BYTEA", "BINARY", "VARBINARY", "bytes", "BinaryType"},
};

struct str type_family(struct arena *arena, struct str type) {
    must(arena);
    const char *bracket = type.n ? memchr(type.p, '(', type.n) : NULL;
    struct str head = str_trim(bracket ? str_head(type, (size_t)(bracket - type.p)) : type);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        for (size_t k = 0; k < 12 && families[i][k]; k++) {
            if (str_ieq(head, str_of(families[i][k]))) return str_of(families[i][0]);
        }
    }
    struct str upper = arena_str(arena, head);
    for (size_t i = 0; i < upper.n; i++) {
        if (upper.p[i] >= 'a' && upper.p[i] <= 'z') ((char *)(uintptr_t)upper.p)[i] -= 32;
    }
    return upper;
}

bool type_is_number(const char *type) {
    static const char *const names[] = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
        "DECIMAL", "DOUBLE", "FLOAT", "BIGNUM", NULL};
    for (const char *const *name = names; type && *name; name++) {
        size_t n = strlen(*name);
        if (strncmp(type, *name, n) == 0 && (type[n] == 0 || type[n] == '(')) return true;
    }
    return false;
}

/* ---- parts ---- */

void write_name(struct expect_sql *s, struct str name) { sql_quote_name(s->out, name); }
void write_text(struct expect_sql *s, struct str text) { sql_quote_text(s->out, text); }

void write_column(struct expect_sql *s, const char *argument_name) {
    buf_text(s->out, "t.");
    write_name(s, argument_text(s->e, argument_name));
}

/* Numbers stay numbers beside numbers, so that 2.5 is no 3 to an INTEGER column; all else is a text that DuckDB makes into the column's type. */
void write_value(struct expect_sql *s, const struct yaml_node *value, const char *type) {
    must(value->kind == YAML_TEXT);
    bool number = text_is_number(value->text) && (!type || type_is_number(type));
    if (number)
        buf_printf(s->out, "(" STR_FMT ")", STR_ARG(value->text));
    else if (!type || strncmp(type, "VARCHAR", 7) == 0)
        write_text(s, value->text);
    else {
        buf_text(s->out, "CAST(");
        write_text(s, value->text);
        buf_printf(s->out, " AS %s)", type);
    }
}

void write_values(struct expect_sql *s, const struct yaml_node *list, const char *type) {
    must(list && list->kind == YAML_LIST && list->n);
    for (size_t i = 0; i < list->n; i++) {
        buf_text(s->out, i ? ", " : "");
        if (list->items[i]->is_null)
            buf_text(s->out, "NULL");
        else
            write_value(s, list->items[i], type);
    }
}

void write_between(struct expect_sql *s, const char *value, const char *type) {
    const struct yaml_node *min = argument(s->e, "min_value"), *max = argument(s->e, "max_value");
    buf_text(s->out, min || max ? "" : "TRUE");
    if (min) {
        buf_printf(s->out, "%s %s ", value, argument_flag(s->e, "strict_min", false) ? ">" : ">=");
        write_value(s, min, type);
    }
    buf_text(s->out, min && max ? " AND " : "");
    if (max) {
        buf_printf(s->out, "%s %s ", value, argument_flag(s->e, "strict_max", false) ? "<" : "<=");
        write_value(s, max, type);
    }
}

/* t.a IS NOT NULL AND t.b IS NOT NULL, or with OR. */
static void write_present(struct expect_sql *s, const struct str *names, size_t n, bool all) {
    buf_char(s->out, '(');
    for (size_t i = 0; i < n; i++) {
        buf_text(s->out, !i ? "t." : all ? " AND t." : " OR t.");
        write_name(s, names[i]);
        buf_text(s->out, " IS NOT NULL");
    }
    buf_char(s->out, ')');
}

static void write_considered_columns(struct expect_sql *s) {
    struct str names[EXPECT_COLUMNS_MAX];
    size_t n = 0;
    const struct yaml_node *list = argument(s->e, "column_list");
    for (size_t i = 0; list && i < list->n && n < EXPECT_COLUMNS_MAX; i++) names[n++] = list->items[i]->text;
    if (!list && argument(s->e, "column_A")) {
        names[n++] = argument_text(s->e, "column_A");
        names[n++] = argument_text(s->e, "column_B");
    } else if (!list && argument(s->e, "column")) {
        names[n++] = argument_text(s->e, "column");
    }
    bool none = !n || argument_is(s->e, "ignore_row_if", "never", "") || argument_is(s->e, "ignore_row_if", "neither", "");
    bool all = argument_is(s->e, "ignore_row_if", "any_value_is_missing", "") || argument_is(s->e, "ignore_row_if", "either_value_is_missing", "");
    if (none)
        buf_text(s->out, "TRUE");
    else
        write_present(s, names, n, all);
}

void write_considered(struct expect_sql *s) {
    if (s->e->kind->nulls_too)
        buf_text(s->out, "TRUE");
    else
        write_considered_columns(s);
    if (s->e->row_condition) buf_printf(s->out, " AND (%s)", s->e->row_condition);
}

void write_rows_of_batch(struct expect_sql *s) {
    buf_printf(s->out, "(SELECT rowid AS " EXPECT_ROW ", * FROM %s", s->batch->rows);
    if (s->e->row_condition) buf_printf(s->out, " WHERE (%s)", s->e->row_condition);
    buf_char(s->out, ')');
}

/* ---- failures ---- */

static size_t scope_count(const struct expect_suite *suite, enum expect_scope scope) {
    size_t n = 0;
    for (size_t i = 0; i < suite->n; i++) n += suite->list[i].scope == scope;
    return n;
}

/* considered AND (good) IS NOT TRUE */
static void write_failing(struct expect_sql *s) {
    write_considered(s);
    buf_text(s->out, " AND (");
    s->e->kind->write(s);
    buf_text(s->out, ") IS NOT TRUE");
}

/* All expectations about single rows in one scan: of rows that fail any, the list of those that they fail. */
static void write_row_failures(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out) {
    BUF_SCOPE(any);
    buf_text(out, "SELECT t.rowid AS row, unnest(list_filter([");
    for (size_t i = 0; i < suite->n; i++) {
        struct expect_sql s = {&suite->list[i], batch, out}, either = {&suite->list[i], batch, &any};
        if (s.e->scope != EXPECT_ROWS) continue;
        buf_text(out, any.n ? ", CASE WHEN " : "CASE WHEN ");
        write_failing(&s);
        buf_printf(out, " THEN %zu END", i);
        buf_text(&any, any.n ? "\nOR " : "");
        write_failing(&either);
    }
    buf_printf(out, "], lambda e: e IS NOT NULL)) AS expectation FROM %s AS t WHERE %s", batch->rows, buf_cstr(&any));
}

void expect_failures_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out) {
    must(suite && batch && batch->rows && batch->failures);
    bool any = scope_count(suite, EXPECT_ROWS) > 0;
    if (!any && !scope_count(suite, EXPECT_SET)) return;
    buf_printf(out, "INSERT INTO %s (row, expectation)\n", batch->failures);
    if (any) write_row_failures(suite, batch, out);
    for (size_t i = 0; i < suite->n; i++) {
        struct expect_sql s = {&suite->list[i], batch, out};
        if (s.e->scope != EXPECT_SET) continue;
        bool unique_rows = s.e->kind->nulls_too; /* a query may give a row several times; a failure without a row counts each time */
        buf_printf(out, "%s SELECT row, %zu FROM (", any ? "\nUNION ALL" : "", i);
        if (unique_rows) buf_text(out, "SELECT row FROM (SELECT row, row_number() OVER (PARTITION BY row) AS again FROM (");
        s.e->kind->write(&s);
        if (unique_rows) buf_text(out, ")) WHERE row IS NULL OR again = 1");
        buf_char(out, ')');
        any = true;
    }
    buf_char(out, ';');
}

/* ---- results ---- */

/* Failures counted, beside the number of rows that were looked at: one scan of the batch. */
static void write_row_results(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out) {
    buf_text(out,
        "SELECT looked.expectation, coalesce(f.unexpected, 0) AS unexpected, looked.total, coalesce(f.nameless, 0) AS nameless, CAST(NULL AS VARCHAR) AS "
        "observed\n"
        "FROM (SELECT unnest([");
    bool any = false;
    for (size_t i = 0; i < suite->n; i++) {
        if (suite->list[i].scope == EXPECT_TABLE) continue;
        buf_printf(out, "%s%zu", any ? ", " : "", i);
        any = true;
    }
    buf_text(out, "]) AS expectation, unnest([");
    any = false;
    for (size_t i = 0; i < suite->n; i++) {
        struct expect_sql s = {&suite->list[i], batch, out};
        if (s.e->scope == EXPECT_TABLE) continue;
        buf_text(out, any ? ", count(*) FILTER (WHERE " : "count(*) FILTER (WHERE ");
        write_considered(&s);
        buf_char(out, ')');
        any = true;
    }
    buf_printf(out,
        "]) AS total FROM %s AS t) AS looked\nLEFT JOIN (SELECT expectation, count(*) AS unexpected, count(*) FILTER (WHERE row IS NULL) AS nameless FROM %s "
        "GROUP BY 1) AS f\n"
        "ON f.expectation = looked.expectation",
        batch->rows, batch->failures);
}

void expect_results_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out) {
    must(suite && batch && batch->rows && batch->failures);
    bool rows = batch->part != EXPECT_ONLY_TABLE && scope_count(suite, EXPECT_TABLE) < suite->n;
    bool table = batch->part != EXPECT_NOT_TABLE && scope_count(suite, EXPECT_TABLE) > 0;
    if (!rows && !table) return;
    buf_text(out, "SELECT * FROM (");
    if (rows) write_row_results(suite, batch, out);
    for (size_t i = 0; table && i < suite->n; i++) {
        struct expect_sql s = {&suite->list[i], batch, out};
        if (s.e->scope != EXPECT_TABLE) continue;
        buf_printf(out, "%sSELECT %zu AS expectation, CASE WHEN success THEN 0 ELSE 1 END AS unexpected, 0 AS total, 0 AS nameless, observed FROM (",
            rows ? "\nUNION ALL " : "", i);
        s.e->kind->write(&s);
        buf_char(out, ')');
        rows = true;
    }
    buf_text(out, ") ORDER BY expectation");
}

/* ---- verdicts ---- */

enum expect_verdict expect_verdict(const struct expectation *e, uint64_t unexpected, uint64_t total, uint64_t nameless) {
    must(e && nameless <= unexpected);
    if (!unexpected) return EXPECT_PASSED;
    bool table = e->scope == EXPECT_TABLE || !total;
    bool enough = !table && unexpected <= total && (double)(total - unexpected) / (double)total >= e->mostly;
    bool critical = e->severity == EXPECT_CRITICAL;
    switch (e->on_fail) {
    case EXPECT_WARN: return enough ? EXPECT_PASSED : EXPECT_WARNED;
    case EXPECT_FAIL: return enough ? EXPECT_PASSED : critical ? EXPECT_FAILED : EXPECT_WARNED;
    case EXPECT_QUARANTINE: break;
    }
    if (nameless || (e->mostly_given && !enough)) return critical ? EXPECT_FAILED : nameless == unexpected ? EXPECT_WARNED : EXPECT_QUARANTINED;
    return EXPECT_QUARANTINED;
}

const char *expect_verdict_name(enum expect_verdict verdict) {
    static const char *const names[] = {"passed", "warned", "failed", "quarantined"};
    must(verdict >= EXPECT_PASSED && verdict <= EXPECT_QUARANTINED);
    return names[verdict];
}

const char *expect_severity_name(enum expect_severity severity) {
    static const char *const names[] = {"critical", "warning", "info"};
    must(severity >= EXPECT_CRITICAL && severity <= EXPECT_INFO);
    return names[severity];
}

/* ---- quarantine ---- */

/* "0, 3": the expectations whose failing rows leave the batch. false: none. */
static bool quarantining(const struct expect_suite *suite, struct buf *out) {
    for (size_t i = 0; i < suite->n; i++) {
        if (suite->list[i].scope == EXPECT_TABLE || suite->list[i].on_fail != EXPECT_QUARANTINE) continue;
        buf_printf(out, "%s%zu", out->n ? ", " : "", i);
    }
    return out->n > 0;
}

void expect_quarantine_ddl(const char *table, struct buf *out) {
    must(table);
    buf_printf(out,
        "CREATE TABLE IF NOT EXISTS %s (_event_id UUID, _reason VARCHAR, _raw VARCHAR, _run_id VARCHAR, _quarantined_at TIMESTAMP WITH TIME ZONE, _row "
        "VARCHAR);",
        table);
}

static void write_labels(const struct expect_suite *suite, struct buf *out) {
    struct expect_sql s = {NULL, NULL, out};
    for (size_t i = 0; i < suite->n; i++) {
        buf_text(out, i ? ", " : "[");
        write_text(&s, str_of(suite->list[i].label));
    }
    buf_char(out, ']');
}

/* The row as JSON; numbers with all digits, because a double of a reader may lose some: DECIMAL and HUGEINT are texts. */
static void write_row_json(const struct expect_batch *batch, struct buf *out) {
    struct expect_sql s = {NULL, NULL, out};
    buf_text(out, "CAST(json_object(");
    for (size_t i = 0; i < batch->columns_n; i++) {
        const char *type = batch->columns[i].type;
        bool as_text = type &&
            (strncmp(type, "DECIMAL", 7) == 0 || strncmp(type, "HUGEINT", 7) == 0 || strncmp(type, "UHUGEINT", 8) == 0 || strncmp(type, "BLOB", 4) == 0);
        buf_text(out, i ? ", " : "");
        write_text(&s, str_of(batch->columns[i].name));
        buf_text(out, as_text ? ", CAST(b." : ", b.");
        write_name(&s, str_of(batch->columns[i].name));
        if (as_text) buf_text(out, " AS VARCHAR)");
    }
    buf_text(out, ") AS VARCHAR)");
}

void expect_quarantine_sql(const struct expect_suite *suite, const struct expect_batch *batch, const struct expect_quarantine *quarantine, struct buf *out) {
    must(suite && batch && quarantine && quarantine->table && quarantine->run_id);
    BUF_SCOPE(which);
    if (!quarantining(suite, &which)) return;
    const char *list = buf_cstr(&which);
    struct expect_sql s = {NULL, NULL, out};
    if (quarantine->event_id) {
        buf_printf(out,
            "DELETE FROM %s WHERE _event_id IN (SELECT b._event_id FROM %s AS b WHERE b.rowid IN (SELECT row FROM %s WHERE expectation IN (%s)));\n",
            quarantine->table, batch->rows, batch->failures, list);
    }
    buf_printf(out,
        "INSERT INTO %s (_event_id, _reason, _raw, _run_id, _quarantined_at, _row)\nWITH failed AS (SELECT DISTINCT row, expectation FROM %s WHERE expectation "
        "IN (%s) AND row IS NOT NULL),\n",
        quarantine->table, batch->failures, list);
    buf_printf(out, "bad AS (SELECT %s AS id, failed.expectation, b.rowid AS place, ", quarantine->event_id ? "b._event_id" : "CAST(NULL AS UUID)");
    write_row_json(batch, out);
    buf_printf(out, " AS json FROM %s AS b JOIN failed ON failed.row = b.rowid),\n", batch->rows);
    buf_text(out, "told AS (SELECT id, array_to_string(list_transform(which, lambda e: ");
    write_labels(suite, out);
    buf_text(out,
        "[e + 1]), '; ') AS reason, json\n    FROM (SELECT id, list_sort(list(DISTINCT expectation)) AS which, arg_min(json, place) AS json FROM bad GROUP BY "
        "id, CASE WHEN id IS NULL THEN place END))\n");
    buf_printf(out, "SELECT told.id, told.reason, %s, ", quarantine->raw ? "raw.raw" : "NULL");
    write_text(&s, str_of(quarantine->run_id));
    buf_text(out, ", now(), told.json FROM told");
    if (quarantine->raw) buf_printf(out, " LEFT JOIN %s AS raw ON raw._event_id = told.id", quarantine->raw);
    /* the same row without an id, from an earlier run: it is there already */
    buf_printf(out,
        "\nWHERE told.id IS NOT NULL OR NOT EXISTS (SELECT 1 FROM %s AS q WHERE q._event_id IS NULL AND q._row = told.json AND q._reason = told.reason);",
        quarantine->table);
}

void expect_remove_sql(const struct expect_suite *suite, const struct expect_batch *batch, struct buf *out) {
    must(suite && batch && batch->failures);
    BUF_SCOPE(which);
    if (!quarantining(suite, &which)) return;
    buf_printf(out, "DELETE FROM %s WHERE rowid IN (SELECT row FROM %s WHERE expectation IN (%s));", batch->rows, batch->failures, buf_cstr(&which));
}
