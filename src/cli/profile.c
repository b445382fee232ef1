/* The queries behind a profile. One over the table for all columns at a time (in groups), then a few per column. */
#include "cli/profile.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/sql_quote.h"
#include "cli/output.h"

#define GROUP_COLUMNS 12 /* per query: bounds its memory and its text */
#define PAIR_COLUMNS 8 /* columns that are tried in pairs */
#define PAIR_ROWS 200000
#define KEYS_MAX 8
#define COLUMNS_MAX 1000

enum class { NUMBER, TIME, TEXT, BOOLEAN, OTHER };
static const char *const class_names[] = {"number", "time", "text", "boolean", "other"};

struct column_of {
    char *name;
    const char *type;
    enum class class;
    json_t *out; /* its object of the tree (borrowed) */
};

struct collect {
    struct reach *reach;
    const struct profile_options *options;
    struct arena *arena;
    struct buf rows_of; /* the relation that is looked at, as SQL */
    struct column_of *columns;
    size_t n;
    double rows; /* of the relation */
    json_t *tree;
};

/* ---- small things ---- */

double profile_at(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    double number;
    if (json_is_number(value)) return json_number_value(value);
    return json_is_string(value) && str_to_double(str_of(json_string_value(value)), &number) ? number : 0;
}

static enum status ask(struct collect *c, struct buf *sql, json_t **rows, struct err *err) {
    BUF_SCOPE(body);
    struct json_writer w = json_write_to(&body);
    json_begin_object(&w);
    json_put_str(&w, "query", buf_view(sql));
    json_put_text(&w, "format", "json");
    json_end_object(&w);
    buf_clear(sql);
    return reach_json(c->reach, &(struct ask){.method = "POST", .path = "/v1/sql", .body = buf_view(&body), .interruptible = true}, rows, err);
}

static void tell(struct collect *c, const char *what) {
    if (c->options->progress) c->options->progress(c->options->context, what);
}

static void warn(struct collect *c, char *text) { json_array_append_new(json_object_get(c->tree, "warnings"), json_string(text)); }

/* ---- columns ---- */

static bool begins(const char *type, const char *const *names) {
    for (; *names; names++) {
        if (strncmp(type, *names, strlen(*names)) == 0) return true;
    }
    return false;
}

static enum class class_of(const char *type) {
    static const char *const numbers[] = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
        "DECIMAL", "DOUBLE", "FLOAT", NULL};
    static const char *const times[] = {"DATE", "TIMESTAMP", NULL};
    static const char *const texts[] = {"VARCHAR", "UUID", "ENUM", "JSON", NULL};
    size_t n = strlen(type);
    if (n && type[n - 1] == ']') return OTHER; /* lists */
    if (begins(type, numbers)) return NUMBER;
    if (begins(type, times)) return TIME;
    if (begins(type, texts)) return TEXT;
    return strcmp(type, "BOOLEAN") == 0 ? BOOLEAN : OTHER;
}

static void put_table(struct collect *c, struct buf *out) {
    struct str rest = str_of(c->options->table), schema = str_cut(&rest, '.');
    sql_quote_name(out, schema);
    buf_char(out, '.');
    sql_quote_name(out, rest);
}

static enum status read_columns(struct collect *c, struct err *err) {
    BUF_SCOPE(sql);
    json_t *rows, *row;
    size_t i;
    buf_text(&sql, "DESCRIBE ");
    put_table(c, &sql);
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    c->n = json_array_size(rows) < COLUMNS_MAX ? json_array_size(rows) : COLUMNS_MAX;
    c->columns = arena_new_array(c->arena, struct column_of, c->n + 1);
    json_array_foreach(rows, i, row) {
        if (i >= c->n) break;
        struct column_of *column = &c->columns[i];
        column->name = arena_strdup(c->arena, text_at(row, "column_name"));
        column->type = arena_strdup(c->arena, text_at(row, "column_type"));
        column->class = class_of(column->type);
        column->out = json_pack("{s:s, s:s, s:s}", "name", column->name, "type", column->type, "class", class_names[column->class]);
        json_array_append_new(json_object_get(c->tree, "columns"), column->out);
    }
    json_decref(rows);
    return OK;
}

static enum status count_rows(struct collect *c, struct err *err) {
    BUF_SCOPE(sql);
    json_t *rows;
    buf_text(&sql, "SELECT count(*) AS n FROM ");
    put_table(c, &sql);
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    double all = profile_at(json_array_get(rows, 0), "n");
    json_decref(rows);
    int64_t sample = c->options->sample >= 0 ? c->options->sample : all > 2 * PROFILE_SAMPLE_DEFAULT ? PROFILE_SAMPLE_DEFAULT : 0;
    bool sampled = sample > 0 && (double)sample < all;
    c->rows = sampled ? (double)sample : all;
    buf_text(&c->rows_of, "(SELECT * FROM ");
    put_table(c, &c->rows_of);
    if (sampled) buf_printf(&c->rows_of, " USING SAMPLE reservoir(%lld ROWS) REPEATABLE (1)", (long long)sample);
    buf_text(&c->rows_of, ") AS t");
    json_object_set_new(c->tree, "rows", json_integer((json_int_t)all));
    json_object_set_new(c->tree, "profiled", json_integer((json_int_t)c->rows));
    json_object_set_new(c->tree, "sampled", json_boolean(sampled));
    return OK;
}

/* ---- figures of all columns ---- */

/* The column as a number line: DOUBLE without what is not finite, seconds of times. */
static void put_axis(struct buf *out, const struct column_of *column) {
    BUF_SCOPE(name);
    sql_quote_name(&name, str_of(column->name));
    const char *q = buf_cstr(&name);
    if (column->class == TIME)
        buf_printf(out, "CAST(epoch(%s) AS DOUBLE)", q);
    else if (strcmp(column->type, "DOUBLE") == 0 || strcmp(column->type, "FLOAT") == 0)
        buf_printf(out, "CASE WHEN isfinite(%s) THEN CAST(%s AS DOUBLE) END", q, q);
    else
        buf_printf(out, "CAST(%s AS DOUBLE)", q);
}

static void put_text_figures(struct buf *sql, const char *q, const char *type, size_t i) {
    buf_printf(sql, ", min(length(CAST(%s AS VARCHAR))) AS lmin%zu, max(length(CAST(%s AS VARCHAR))) AS lmax%zu, avg(length(CAST(%s AS VARCHAR))) AS lavg%zu",
        q, i, q, i, q, i);
    if (strcmp(type, "VARCHAR") != 0) return;
    buf_printf(sql, ", count(*) FILTER (WHERE %s IS NOT NULL AND null_if_blank(%s) IS NULL) AS blank%zu", q, q, i);
    static const char *const macros[] = {"parse_integer", "parse_decimal", "parse_boolean", "parse_timestamp_any"};
    for (size_t k = 0; k < 4; k++) buf_printf(sql, ", count(%s(%s)) AS r%zu_%zu", macros[k], q, k, i);
    buf_printf(sql, ", count(*) FILTER (WHERE left(ltrim(%s), 1) IN ('{', '[')) AS json%zu", q, i);
}

static void put_figures(struct collect *c, struct buf *sql, size_t i) {
    const struct column_of *column = &c->columns[i];
    BUF_SCOPE(name);
    BUF_SCOPE(axis);
    sql_quote_name(&name, str_of(column->name));
    put_axis(&axis, column);
    const char *q = buf_cstr(&name), *x = buf_cstr(&axis);
    buf_printf(sql, "%scount(%s) AS n%zu, count(DISTINCT %s) AS d%zu", sql->n > 7 ? ", " : "", q, i, q, i);
    if (column->class == OTHER) return;
    buf_printf(sql, ", left(CAST(min(%s) AS VARCHAR), 200) AS min%zu, left(CAST(max(%s) AS VARCHAR), 200) AS max%zu", q, i, q, i);
    if (column->class == NUMBER || column->class == TIME) {
        buf_printf(sql, ", min(%s) AS lo%zu, max(%s) AS hi%zu, quantile_cont(%s, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS q%zu", x, i, x, i, x, i);
    }
    if (column->class == TIME) buf_printf(sql, ", CAST(quantile_disc(%s, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS VARCHAR[]) AS qt%zu", q, i);
    if (column->class == NUMBER)
        buf_printf(sql, ", avg(%s) AS avg%zu, stddev_samp(%s) AS sd%zu, count(*) FILTER (WHERE %s = 0) AS zero%zu, count(*) FILTER (WHERE %s < 0) AS neg%zu", x,
            i, x, i, q, i, q, i);
    if (column->class == TEXT) put_text_figures(sql, q, column->type, i);
}

static json_t *cell(const json_t *row, const char *name, size_t i) {
    char text[32];
    snprintf(text, sizeof text, "%s%zu", name, i);
    return json_object_get(row, text);
}

static double cell_number(const json_t *row, const char *name, size_t i) {
    char text[32];
    snprintf(text, sizeof text, "%s%zu", name, i);
    return profile_at(row, text);
}

static void keep(json_t *out, const char *as, json_t *value) {
    if (value && !json_is_null(value)) json_object_set(out, as, value);
}

static const char *const quantile_names[] = {"1", "5", "25", "50", "75", "95", "99"};

static void take_quantiles(json_t *out, const json_t *values) {
    if (!json_is_array(values)) return;
    json_t *quantiles = json_object();
    for (size_t i = 0; i < 7; i++) json_object_set(quantiles, quantile_names[i], json_array_get(values, i));
    json_object_set_new(out, "quantiles", quantiles);
}

/* What a text column mostly holds, when nearly all of its values read as it. */
static void take_reading(json_t *out, const json_t *row, size_t i, double values, double blanks) {
    static const char *const types[] = {"BIGINT", "DECIMAL(18,4)", "BOOLEAN", "TIMESTAMP WITH TIME ZONE"};
    double told = values - blanks;
    for (size_t k = 0; k < 4 && told > 0; k++) {
        char name[8];
        snprintf(name, sizeof name, "r%zu_", k);
        double share = cell_number(row, name, i) / told;
        if (share < 0.95) continue;
        if (k == 3 && json_object_get(out, "reads_as")) continue; /* numbers are times too: epochs */
        json_object_set_new(out, "reads_as", json_pack("{s:s, s:f}", "type", types[k], "share", share));
        return;
    }
}

static void take_figures(struct collect *c, const json_t *row, size_t i) {
    const struct column_of *column = &c->columns[i];
    json_t *out = column->out;
    double values = cell_number(row, "n", i);
    json_object_set_new(out, "values", json_integer((json_int_t)values));
    json_object_set_new(out, "nulls", json_integer((json_int_t)(c->rows - values)));
    keep(out, "distinct", cell(row, "d", i));
    keep(out, "min", cell(row, "min", i));
    keep(out, "max", cell(row, "max", i));
    keep(out, "mean", cell(row, "avg", i));
    keep(out, "stdev", cell(row, "sd", i));
    keep(out, "zeros", cell(row, "zero", i));
    keep(out, "negatives", cell(row, "neg", i));
    take_quantiles(out, column->class == TIME ? cell(row, "qt", i) : cell(row, "q", i));
    if (column->class != TEXT) return;
    if (values > 0) {
        json_object_set_new(
            out, "lengths", json_pack("{s:O, s:O, s:O}", "min", cell(row, "lmin", i), "max", cell(row, "lmax", i), "mean", cell(row, "lavg", i)));
    }
    keep(out, "blanks", cell(row, "blank", i));
    take_reading(out, row, i, values, cell_number(row, "blank", i));
}

/* ---- per column ---- */

static enum status read_histogram(struct collect *c, size_t i, double lo, double hi, const json_t *quantiles, struct err *err) {
    const struct column_of *column = &c->columns[i];
    if (!(hi > lo) || !isfinite(lo) || !isfinite(hi)) return OK;
    double q1 = json_number_value(json_array_get(quantiles, 2)), q3 = json_number_value(json_array_get(quantiles, 4)), reach = 1.5 * (q3 - q1);
    BUF_SCOPE(axis);
    BUF_SCOPE(sql);
    json_t *rows, *row;
    size_t k;
    put_axis(&axis, column);
    buf_printf(&sql,
        "SELECT least(%d, greatest(0, CAST(floor((x - %.17g) / %.17g) AS INTEGER))) AS bin, count(*) AS n, count(*) FILTER (WHERE x < %.17g) AS below, "
        "count(*) FILTER (WHERE x > %.17g) AS above FROM (SELECT %s AS x FROM %s) WHERE x IS NOT NULL GROUP BY bin",
        PROFILE_BINS - 1, lo, (hi - lo) / PROFILE_BINS, q1 - reach, q3 + reach, buf_cstr(&axis), buf_cstr(&c->rows_of));
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    double counts[PROFILE_BINS] = {0}, below = 0, above = 0;
    json_array_foreach(rows, k, row) {
        size_t bin = (size_t)profile_at(row, "bin");
        if (bin < PROFILE_BINS) counts[bin] = profile_at(row, "n");
        below += profile_at(row, "below");
        above += profile_at(row, "above");
    }
    json_decref(rows);
    json_t *histogram = json_array();
    for (k = 0; k < PROFILE_BINS; k++) json_array_append_new(histogram, json_integer((json_int_t)counts[k]));
    json_object_set_new(column->out, "histogram", histogram);
    if (reach > 0 && column->class == NUMBER) {
        json_object_set_new(column->out, "outliers",
            json_pack("{s:I, s:I, s:f, s:f}", "below", (json_int_t)below, "above", (json_int_t)above, "low", q1 - reach, "high", q3 + reach));
    }
    return OK;
}

/* Groups by an expression, the most frequent first. */
static enum status read_groups(struct collect *c, size_t i, const char *expression, const char *name, const char *into, struct err *err) {
    BUF_SCOPE(sql);
    json_t *rows;
    buf_printf(&sql, "SELECT %s AS %s, count(*) AS count FROM %s WHERE ", expression, name, buf_cstr(&c->rows_of));
    sql_quote_name(&sql, str_of(c->columns[i].name));
    buf_printf(&sql, " IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT %d", PROFILE_TOP);
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    json_object_set_new(c->columns[i].out, into, rows);
    return OK;
}

static enum status read_top(struct collect *c, size_t i, struct err *err) {
    const struct column_of *column = &c->columns[i];
    double distinct = profile_at(column->out, "distinct"), values = profile_at(column->out, "values");
    if (column->class == OTHER || values == 0 || (distinct == values && values > 1)) return OK; /* each value once: nothing is frequent */
    BUF_SCOPE(expression);
    buf_text(&expression, "left(CAST(");
    sql_quote_name(&expression, str_of(column->name));
    buf_text(&expression, " AS VARCHAR), 120)");
    return read_groups(c, i, buf_cstr(&expression), "value", "top", err);
}

/* Shapes: digits as 9, letters as A and a with + for runs. */
static enum status read_patterns(struct collect *c, size_t i, struct err *err) {
    const struct column_of *column = &c->columns[i];
    if (strcmp(column->type, "VARCHAR") != 0 || profile_at(column->out, "values") == 0 || profile_at(json_object_get(column->out, "lengths"), "mean") > 60)
        return OK;
    BUF_SCOPE(expression);
    buf_text(&expression, "regexp_replace(regexp_replace(regexp_replace(left(");
    sql_quote_name(&expression, str_of(column->name));
    buf_text(&expression, ", 60), '\\p{Lu}+', 'A+', 'g'), '\\p{Ll}+', 'a+', 'g'), '\\d', '9', 'g')");
    return read_groups(c, i, buf_cstr(&expression), "pattern", "patterns", err);
}

/* Numbers of JSON that a reader with doubles would change. What stands in strings does not count. */
static enum status read_long_numbers(struct collect *c, size_t i, struct err *err) {
    BUF_SCOPE(sql);
    BUF_SCOPE(name);
    json_t *rows;
    sql_quote_name(&name, str_of(c->columns[i].name));
    buf_printf(&sql,
        "SELECT count(found) AS n, left(any_value(found), 60) AS example FROM (SELECT nullif(regexp_extract(regexp_replace(CAST(%s AS VARCHAR), "
        "'\"(\\\\.|[^\"\\\\])*\"', '\"\"', 'g'), "
        "'[1-9](\\.?[0-9]){15,}', 0), '') AS found FROM %s WHERE left(ltrim(CAST(%s AS VARCHAR)), 1) IN ('{', '['))",
        buf_cstr(&name), buf_cstr(&c->rows_of), buf_cstr(&name));
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    double n = profile_at(json_array_get(rows, 0), "n");
    if (n > 0) {
        json_object_set_new(c->columns[i].out, "long_numbers", json_integer((json_int_t)n));
        warn(c,
            arena_printf(c->arena,
                "%s: %.0f rows have a JSON number with more than 15 digits (such as %s): a reader that makes a double of it loses some; use json_decimal or "
                "json_number_text",
                c->columns[i].name, n, text_at(json_array_get(rows, 0), "example")));
    }
    json_decref(rows);
    return OK;
}

static enum status read_column(struct collect *c, const json_t *row, size_t i, struct err *err) {
    const struct column_of *column = &c->columns[i];
    tell(c, column->name);
    enum status st = OK;
    if (column->class == NUMBER || column->class == TIME)
        st = read_histogram(c, i, cell_number(row, "lo", i), cell_number(row, "hi", i), cell(row, "q", i), err);
    if (st == OK) st = read_top(c, i, err);
    if (st == OK) st = read_patterns(c, i, err);
    bool json = strcmp(column->type, "JSON") == 0 || cell_number(row, "json", i) > 0;
    return st == OK && json ? read_long_numbers(c, i, err) : st;
}

static enum status read_group(struct collect *c, size_t from, size_t to, struct err *err) {
    BUF_SCOPE(sql);
    json_t *rows;
    buf_text(&sql, "SELECT ");
    for (size_t i = from; i < to; i++) put_figures(c, &sql, i);
    buf_printf(&sql, " FROM %s", buf_cstr(&c->rows_of));
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    const json_t *row = json_array_get(rows, 0);
    for (size_t i = from; i < to && st == OK; i++) {
        take_figures(c, row, i);
        st = read_column(c, row, i, err);
    }
    json_decref(rows);
    return st;
}

/* ---- keys ---- */

static bool is_key(const struct collect *c, const struct column_of *column) {
    return c->rows > 1 && column->class != OTHER && profile_at(column->out, "distinct") == c->rows && profile_at(column->out, "nulls") == 0;
}

/* Columns worth trying in pairs: filled, and with many values, the most first. */
static size_t pair_candidates(const struct collect *c, const struct column_of **list) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct column_of *column = &c->columns[i];
        bool fine = column->class != OTHER && column->class != BOOLEAN && profile_at(column->out, "nulls") == 0 && profile_at(column->out, "distinct") > 1;
        bool floating = strcmp(column->type, "DOUBLE") == 0 || strcmp(column->type, "FLOAT") == 0;
        bool nearly_key = profile_at(column->out, "distinct") > 0.9 * c->rows; /* with anything beside it that is one: says nothing */
        if (!fine || floating || nearly_key || column->name[0] == '_') continue;
        size_t at = n < PAIR_COLUMNS ? n++ : n;
        for (; at > 0 && profile_at(list[at - 1]->out, "distinct") < profile_at(column->out, "distinct"); at--) {
            if (at < PAIR_COLUMNS) list[at] = list[at - 1];
        }
        if (at < PAIR_COLUMNS) list[at] = column;
    }
    return n;
}

static enum status read_pair_keys(struct collect *c, json_t *keys, struct err *err) {
    const struct column_of *list[PAIR_COLUMNS];
    size_t n = pair_candidates(c, list), pairs = 0, of[PAIR_COLUMNS * PAIR_COLUMNS][2];
    BUF_SCOPE(sql);
    json_t *rows;
    buf_text(&sql, "SELECT count(*) AS n");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            if (profile_at(list[i]->out, "distinct") * profile_at(list[k]->out, "distinct") < c->rows) continue;
            buf_text(&sql, ", count(DISTINCT (");
            sql_quote_name(&sql, str_of(list[i]->name));
            buf_text(&sql, ", ");
            sql_quote_name(&sql, str_of(list[k]->name));
            buf_printf(&sql, ")) AS p%zu", pairs);
            of[pairs][0] = i;
            of[pairs++][1] = k;
        }
    }
    if (!pairs) return OK;
    buf_printf(&sql, " FROM (SELECT * FROM %s LIMIT %d)", buf_cstr(&c->rows_of), PAIR_ROWS);
    tell(c, "keys");
    enum status st = ask(c, &sql, &rows, err);
    if (st != OK) return st;
    const json_t *row = json_array_get(rows, 0);
    for (size_t i = 0; i < pairs && json_array_size(keys) < KEYS_MAX; i++) {
        if (cell_number(row, "p", i) == profile_at(row, "n")) json_array_append_new(keys, json_pack("[s, s]", list[of[i][0]]->name, list[of[i][1]]->name));
    }
    json_decref(rows);
    return OK;
}

static enum status read_keys(struct collect *c, struct err *err) {
    json_t *keys = json_object_get(c->tree, "keys");
    for (size_t i = 0; i < c->n && json_array_size(keys) < KEYS_MAX; i++) {
        if (is_key(c, &c->columns[i])) json_array_append_new(keys, json_pack("[s]", c->columns[i].name));
    }
    return c->rows > 1 ? read_pair_keys(c, keys, err) : OK;
}

/* Columns of our own (_source, _body) are what they are. */
static void general_warnings(struct collect *c) {
    for (size_t i = 0; i < c->n; i++) {
        const struct column_of *column = &c->columns[i];
        if (column->name[0] == '_' || c->rows < 2) continue;
        double distinct = profile_at(column->out, "distinct"), nulls = profile_at(column->out, "nulls");
        if (nulls == c->rows)
            warn(c, arena_printf(c->arena, "%s: every value is NULL", column->name));
        else if (distinct == 1 && nulls == 0 && column->class != OTHER)
            warn(c, arena_printf(c->arena, "%s: one and the same value in every row", column->name));
    }
}

/* ---- all of it ---- */

static enum status collect(struct collect *c, struct err *err) {
    enum status st = read_columns(c, err);
    if (st == OK) st = count_rows(c, err);
    for (size_t i = 0; i < c->n && st == OK; i += GROUP_COLUMNS) st = read_group(c, i, i + GROUP_COLUMNS < c->n ? i + GROUP_COLUMNS : c->n, err);
    if (st == OK) st = read_keys(c, err);
    if (st == OK) general_warnings(c);
    return st;
}

enum status profile_collect(struct reach *reach, const struct profile_options *options, json_t **out, struct err *err) {
    must(reach && options && options->table && out);
    ARENA_SCOPE(arena);
    struct collect c = {.reach = reach, .options = options, .arena = arena, .rows_of = BUF_INIT};
    c.tree = json_pack("{s:s, s:[], s:[], s:[]}", "table", options->table, "columns", "keys", "warnings");
    enum status st = collect(&c, err);
    buf_free(&c.rows_of);
    if (st == OK)
        *out = c.tree;
    else
        json_decref(c.tree);
    return st;
}
