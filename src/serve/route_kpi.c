/* A team's tables with their numbers by day; and the accounts of models, which stand beside them. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "serve/flow_glue.h"

#define SAMPLE_ROWS 50

/* ---- accounts ----
 *
 * A stream model's rows: in = out + superseded + filtered (declared by `drops:`) + quarantined, per run and so per hour of runs. A model with `expands: true`
 * may give several rows for one: its difference is shown and not judged. Where `drops:` is a sentence nobody counts what it leaves out: `filtered` is what
 * is missing, and stands in left_out_by_word too. Others make rows from many rows: nothing to add up. */

/* Deep: events followed by their ids, which does not ask the runs (flow/account.c). */
static enum status put_followed(struct node *node, struct json_writer *w, const struct flow_model *model, bool *good, struct err *err) {
    ARENA_SCOPE(arena);
    const char *const names[] = {model->full};
    const struct flow_run_options options = {.models = names, .n = 1, .account = true};
    struct flow_model_result *results;
    size_t n = 0;
    enum status status = flow_run(node_flow_handle(node), arena, &options, &results, &n, err);
    if (status != OK) return status;
    if (n == 1 && results[0].status == FLOW_FAILED) return err_set(err, E_UNAVAILABLE, "events of %s: %s", model->full, results[0].error);
    const struct flow_account *a = n == 1 ? results[0].account : NULL;
    json_name(w, "followed");
    if (!a) {
        json_null(w);
        return OK;
    }
    json_begin_object(w);
    json_put_int(w, "events", a->came);
    json_put_int(w, "kept", a->kept);
    json_put_int(w, "quarantined", a->quarantined);
    json_put_int(w, "dropped", a->dropped);
    json_put_int(w, "rest", a->rest);
    json_put_int(w, "both", a->both);
    json_put_int(w, "twice", a->twice);
    json_put_int(w, "unknown", a->unknown);
    json_put_bool(w, "exact", a->exact);
    json_put_bool(w, "ok", a->good);
    json_end_object(w);
    *good = *good && a->good;
    return OK;
}

static enum status put_account(
    struct node *node, struct json_writer *w, const struct flow_model *model, struct str row, bool deep, bool *all_good, struct err *err) {
    static const char *const fields[] = {"rows_in", "rows_out", "superseded", "filtered", "quarantined", "runs", "wrong_runs", "difference"};
    struct str raw;
    int64_t values[sizeof fields / sizeof fields[0]] = {0};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (json_raw_at(row, str_of(fields[i]), &raw)) (void)str_to_i64(raw, &values[i]);
    }
    bool good = model->expands || values[6] == 0;
    enum status status = OK;
    json_begin_object(w);
    json_put_text(w, "hop", "model");
    json_put_text(w, "name", model->full);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) json_put_int(w, fields[i], values[i]);
    if (model->expands) json_put_bool(w, "expands", true);
    if (model->drops_by_word) { /* nobody counted them: what is missing in `filtered` is what the model says it is */
        json_put_text(w, "drops", model->drops);
        json_put_int(w, "left_out_by_word", values[3]);
    }
    if (deep) status = put_followed(node, w, model, &good, err);
    *all_good = *all_good && good;
    json_put_bool(w, "ok", good);
    json_name(w, "hours");
    json_raw(w, json_raw_at(row, STR("hours"), &raw) && raw.p[0] == '[' ? raw : STR("[]"));
    json_end_object(w);
    return status;
}

enum status accounts_models(struct node *node, struct json_writer *w, bool deep, bool *all_good, struct err *err) {
    struct flow *flow;
    const struct flow_model *const *models;
    BUF_SCOPE(text);
    struct str *rows = NULL, raw;
    size_t rows_n = 0;
    enum status status = node_flow(node, &flow, NULL, err);
    if (status != OK) return status;
    size_t n = flow_models(flow, &models);
    if (n == 0) return OK;
    status = node_rows(node,
        "WITH hours AS (SELECT model, date_trunc('hour', started_at) AS hour, sum(rows_in)::BIGINT AS rows_in, sum(rows_out)::BIGINT AS rows_out,"
        " sum(superseded)::BIGINT AS superseded, sum(filtered)::BIGINT AS filtered, sum(quarantined)::BIGINT AS quarantined, count(*) AS runs,"
        " count(*) FILTER (WHERE rows_in <> rows_out + superseded + filtered + quarantined) AS wrong_runs"
        " FROM cupel.runs WHERE status = 'done' GROUP BY ALL)"
        " SELECT model, sum(rows_in)::BIGINT AS rows_in, sum(rows_out)::BIGINT AS rows_out, sum(superseded)::BIGINT AS superseded,"
        " sum(filtered)::BIGINT AS filtered, sum(quarantined)::BIGINT AS quarantined, sum(runs)::BIGINT AS runs, sum(wrong_runs)::BIGINT AS wrong_runs,"
        " sum(rows_in - rows_out - superseded - filtered - quarantined)::BIGINT AS difference,"
        " list({hour: hour, rows_in: rows_in, rows_out: rows_out, superseded: superseded, filtered: filtered, quarantined: quarantined, ok: wrong_runs = 0}"
        " ORDER BY hour) AS hours FROM hours GROUP BY model",
        &text, err);
    if (status == OK) status = json_split_array(str_trim(buf_view(&text)), 1000000, &rows, &rows_n, err);
    for (size_t i = 0; status == OK && i < n; i++) {
        if (models[i]->kind != FLOW_STREAM) continue;
        BUF_SCOPE(quoted);
        buf_printf(&quoted, "\"%s\"", models[i]->full);
        for (size_t k = 0; status == OK && k < rows_n; k++) {
            if (json_raw_at(rows[k], STR("model"), &raw) && str_eq(raw, buf_view(&quoted)))
                status = put_account(node, w, models[i], rows[k], deep, all_good, err);
        }
    }
    free(rows);
    return status;
}

/* ---- columns of a table ---- */

struct kpi_column {
    struct str name, type;
};

static struct str unquoted(struct str raw) { return raw.n >= 2 && raw.p[0] == '"' ? str_make(raw.p + 1, raw.n - 2) : raw; }

static enum status read_columns(struct arena *arena, struct str table, struct kpi_column **out, size_t *n, struct err *err) {
    struct str raw, *list = NULL;
    size_t count = 0;
    if (!json_raw_at(table, STR("columns"), &raw)) return err_set(err, E_INTERNAL, "a table without columns");
    enum status status = json_split_array(raw, 10000, &list, &count, err);
    if (status != OK) return status;
    struct kpi_column *columns = arena_new_array(arena, struct kpi_column, count + 1);
    for (size_t i = 0; i < count; i++) {
        if (json_raw_at(list[i], STR("name"), &raw)) columns[i].name = unquoted(raw);
        if (json_raw_at(list[i], STR("type"), &raw)) columns[i].type = unquoted(raw);
    }
    free(list);
    *out = columns;
    *n = count;
    return OK;
}

static bool is_number(struct str type) {
    static const char *const names[] = {"BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER", "DOUBLE", "FLOAT", NULL};
    for (const char *const *name = names; *name; name++) {
        if (str_is(type, *name)) return true;
    }
    return str_starts(type, STR("DECIMAL"));
}

static bool is_identity(struct str name) { return str_ends(name, STR("_id")) || str_is(name, "id") || str_is(name, "day"); }

/* Adding up rates would be nonsense: their mean is shown. */
static bool is_rate(struct str name) {
    static const char *const parts[] = {"_pct", "rate", "avg", "median", "p90", "turnover", "days_", "score", NULL};
    for (const char *const *part = parts; *part; part++) {
        if (str_find(name, str_of(*part)) >= 0) return true;
    }
    return false;
}

static const struct kpi_column *column_named(const struct kpi_column *columns, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++) {
        if (str_is(columns[i].name, name)) return &columns[i];
    }
    return NULL;
}

/* ---- one table ---- */

static void put_table_name(struct buf *sql, const char *team, struct str table) {
    sql_quote_name(sql, str_of(team));
    buf_char(sql, '.');
    sql_quote_name(sql, table);
}

/* The last days of data, not of the calendar: a demo of last year has numbers too. */
static void by_day_sql(struct buf *sql, const char *team, struct str table, const struct kpi_column *columns, size_t n, int64_t days) {
    buf_text(sql, "SELECT day");
    for (size_t i = 0; i < n; i++) {
        if (!is_number(columns[i].type) || is_identity(columns[i].name)) continue;
        buf_text(sql, is_rate(columns[i].name) ? ", round(avg(" : ", sum(");
        sql_quote_name(sql, columns[i].name);
        buf_text(sql, is_rate(columns[i].name) ? "), 4) AS " : ") AS ");
        sql_quote_name(sql, columns[i].name);
    }
    buf_text(sql, " FROM ");
    put_table_name(sql, team, table);
    buf_text(sql, " WHERE day > (SELECT max(day) FROM ");
    put_table_name(sql, team, table);
    buf_printf(sql, ") - INTERVAL %lld DAY GROUP BY day ORDER BY day", (long long)days);
}

static enum status put_query(struct node *node, struct json_writer *w, const char *name, struct buf *sql, struct err *err) {
    BUF_SCOPE(rows);
    enum status status = node_rows(node, buf_cstr(sql), &rows, err);
    if (status != OK) return status;
    json_name(w, name);
    json_raw(w, str_trim(buf_view(&rows)));
    return OK;
}

static enum status put_table(struct node *node, struct arena *arena, struct json_writer *w, const char *team, struct str table, int64_t days, struct err *err) {
    struct kpi_column *columns = NULL;
    struct str raw, name;
    size_t n = 0;
    BUF_SCOPE(sql);
    enum status status = read_columns(arena, table, &columns, &n, err);
    if (status != OK || !json_raw_at(table, STR("name"), &raw)) return status;
    name = unquoted(raw);
    const struct kpi_column *day = column_named(columns, n, "day");
    json_begin_object(w);
    json_put_str(w, "name", name);
    json_name(w, "columns");
    json_raw(w, json_raw_at(table, STR("columns"), &raw) ? raw : STR("[]"));
    json_name(w, "rows");
    json_raw(w, json_raw_at(table, STR("rows"), &raw) ? raw : STR("null"));
    const char *full = arena_printf(arena, "%s." STR_FMT, team, STR_ARG(name));
    BUF_SCOPE(fresh);
    buf_text(&fresh, "SELECT * FROM cupel.freshness WHERE \"table\" = ");
    sql_quote_text(&fresh, str_of(full));
    status = put_query(node, w, "freshness", &fresh, err);
    if (status == OK && day) {
        by_day_sql(&sql, team, name, columns, n, days);
        status = put_query(node, w, "by_day", &sql, err);
    }
    if (status == OK && !day) {
        buf_text(&sql, "SELECT * FROM ");
        put_table_name(&sql, team, name);
        buf_printf(&sql, " ORDER BY ALL LIMIT %d", SAMPLE_ROWS);
        status = put_query(node, w, "sample", &sql, err);
    }
    BUF_SCOPE(run);
    buf_text(&run, "SELECT run_id, status, started_at, duration_ms, error FROM cupel.runs WHERE model = ");
    sql_quote_text(&run, str_of(full));
    buf_text(&run, " ORDER BY started_at DESC, version DESC LIMIT 1");
    if (status == OK) status = put_query(node, w, "last_run", &run, err);
    json_end_object(w);
    return status;
}

/* Schemas that are no team's: layers, and what several teams' tables are made from (mart). */
static bool is_team(struct str schema) {
    static const char *const others[] = {"bronze", "silver", "quarantine", "cupel", "cupel_old", "ref", "mart", "main", "information_schema", NULL};
    for (const char *const *other = others; *other; other++) {
        if (str_is(schema, *other)) return false;
    }
    return true;
}

static enum status kpi_tables(struct node *node, struct str **tables, size_t *n, struct buf *text, struct err *err) {
    enum status status = engine_tables(node->engine, text, err);
    return status != OK ? status : json_split_array(str_trim(buf_view(text)), 100000, tables, n, err);
}

static enum status show_kpi(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    BUF_SCOPE(text);
    struct str *tables = NULL, raw, team = http_part(r, "team");
    size_t n = 0, found = 0;
    int64_t days;
    bool good = true;
    enum status status = query_number(r, "days", 14, 1, 3660, &days, err);
    if (status == OK) status = node_flow(node, NULL, NULL, err);
    if (status == OK) status = kpi_tables(node, &tables, &n, &text, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_str(&w, "team", team);
    json_put_int(&w, "days", days);
    json_name(&w, "tables");
    json_begin_array(&w);
    for (size_t i = 0; i < n && status == OK; i++) {
        if (!json_raw_at(tables[i], STR("schema"), &raw) || !str_eq(unquoted(raw), team) || (!is_team(team) && !str_is(team, "mart"))) continue;
        found++;
        status = put_table(node, http_arena(r), &w, arena_strndup(http_arena(r), team.p, team.n), tables[i], days, err);
    }
    json_end_array(&w);
    free(tables);
    if (status == OK && found == 0)
        return err_set(err, E_NOT_FOUND, "there is no team " STR_FMT ": no schema with tables of models", STR_ARG(str_head(team, 60)));
    json_name(&w, "conservation");
    json_begin_array(&w);
    if (status == OK) status = accounts_models(node, &w, false, &good, err);
    json_end_array(&w);
    json_put_bool(&w, "ok", good);
    json_end_object(&w);
    return status;
}

static enum status list_teams(struct node *node, struct http_request *r, struct buf *out, struct err *err) {
    BUF_SCOPE(text);
    struct str *tables = NULL, raw, last = STR_NULL;
    size_t n = 0;
    enum status status = node_flow(node, NULL, NULL, err);
    if (status == OK) status = kpi_tables(node, &tables, &n, &text, err);
    if (status != OK) return status;
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "teams");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) { /* sorted by schema */
        if (!json_raw_at(tables[i], STR("schema"), &raw) || str_eq(unquoted(raw), last) || !is_team(unquoted(raw))) continue;
        last = unquoted(raw);
        json_str(&w, last);
    }
    json_end_array(&w);
    json_end_object(&w);
    free(tables);
    return OK;
}

JSON_HANDLER(on_kpi, show_kpi)
JSON_HANDLER(on_teams, list_teams)

void routes_kpi(struct node *node, struct route_list *routes) {
    must(node && routes);
    route_add(
        routes, (struct http_route){"GET", "/v1/kpi", on_teams, node, .operation = "listTeams", .access = ACCESS_READ, .summary = "Teams that have tables"});
    route_add(routes,
        (struct http_route){"GET", "/v1/kpi/{team}", on_kpi, node, .operation = "showKpi", .access = ACCESS_READ,
            .summary = "A team's tables: numbers by day, freshness, last run, and whether the accounts add up"});
}
