/* Lake copies: tables of the warehouse as Iceberg tables of the same name, for other programs.
 *
 * Rows of a warehouse table never change: a new version of a row is another row, with a higher _version. So each data file of a copy holds the rows of a range
 * of versions, which stands in its name, and a file is still right as long as the warehouse has as many rows in that range. A publication reads one state of
 * the warehouse (one transaction), writes the rows above what the copy has, writes anew the files that lost rows, and commits everything at once with the
 * version as a table property: repeating it after a crash changes nothing. Small files at the end are merged as in a binary counter, so that their number grows
 * with the logarithm of the rows.
 *
 * A copy may lag, is never ahead, and never shows half a run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/sql_quote.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/lake_priv.h"

#define MERGE_ROWS_MAX 4000000 /* a file with more is only written anew when it lost rows */
#define FILES_MANY 48 /* with more of them, small neighbours are merged wherever they stand */
#define SMALL_ROWS 200000
#define COPY_TIME_MS (60 * 60 * 1000)

static struct metric metric_lag = {
    "cupel_lake_copy_lag_seconds", "Age of the oldest change of a warehouse table that its lake copy does not have yet.", METRIC_GAUGE, "table"};
static struct metric metric_rows = {"cupel_lake_copy_rows_total", "Rows written into lake copies of warehouse tables.", METRIC_COUNTER, "table"};
static struct metric metric_failures = {"cupel_lake_copy_failures_total", "Publications of lake copies that failed and are repeated.", METRIC_COUNTER, "table"};

/* The rows of versions [from, to]. */
struct range {
    int64_t from, to;
    int64_t rows; /* that the warehouse has now */
    const struct table_file *file; /* that holds them; NULL: to be written */
    bool dirty; /* the file has rows that the warehouse has no more */
};

struct publication {
    struct lake *lake;
    struct arena *arena;
    struct engine_work *work;
    const char *schema, *name;
    struct table_version *base; /* NULL: there is no copy yet */
    int64_t have, version; /* of the copy, of the warehouse; have -1: nothing */
    const char *origin; /* identity of the warehouse; "": it has none */
    bool rebuilt, deleted; /* since the copy */
    struct engine_column *columns; /* as the copy has them */
    size_t columns_n;
    struct range *ranges; /* by version; those without a file are written */
    size_t ranges_n;
    struct map *removed;
    struct new_file *files;
    char **paths;
    size_t files_n;
    uint64_t rows;
};

/* ---- asking the warehouse ---- */

static void put_table(struct buf *sql, const struct publication *p) {
    buf_text(sql, "warehouse.");
    sql_quote_name(sql, str_of(p->schema));
    buf_char(sql, '.');
    sql_quote_name(sql, str_of(p->name));
}

static enum status ask(struct engine_work *work, const char *sql, json_t **rows, struct err *err) {
    BUF_SCOPE(text);
    enum status s = engine_work_run(work, sql, &text, NULL, err);
    if (s) return s;
    *rows = json_loadb(text.p, text.n, 0, NULL);
    return json_is_array(*rows) ? OK : err_set(err, E_INTERNAL, "the engine answered with something else than rows");
}

/* A copy of another warehouse, or of this one before it was put back to an older state, counts for nothing: its versions are not ours. */
static enum status ask_origin(struct publication *p, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql,
        "SELECT (SELECT max(id) FROM warehouse.cupel.identity) AS id, max(version) AS newest FROM warehouse.cupel.changes "
        "WHERE table_name = ");
    sql_quote_text(&sql, str_of(arena_printf(p->arena, "%s.%s", p->schema, p->name)));
    json_t *rows = NULL;
    enum status s = ask(p->work, buf_cstr(&sql), &rows, err);
    const json_t *row = json_array_get(rows, 0);
    const char *id = json_string_value(json_object_get(row, "id")), *of = p->base ? ice_property(p->base->metadata, COPY_ORIGIN) : NULL;
    p->origin = arena_strdup(p->arena, id ? id : "");
    const json_t *newest = json_object_get(row, "newest");
    bool ours = strcmp(of ? of : "", p->origin) == 0 && (!json_is_integer(newest) || p->have <= json_integer_value(newest));
    json_decref(rows);
    if (s || !p->base || ours) return s;
    log_info("lake", "a lake copy is of another warehouse and is written anew", LOG_STR("schema", p->schema), LOG_STR("table", p->name), NULL);
    p->have = -1;
    return OK;
}

static enum status ask_state(struct publication *p, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql,
        "SELECT coalesce(max(version), -1) AS version, coalesce(bool_or(payload->>'rebuilt' = 'true'), false) AS rebuilt, "
        "coalesce(bool_or((payload->>'deleted') IS NULL OR (payload->>'deleted')::BIGINT > 0), false) AS deleted "
        "FROM warehouse.cupel.outbox WHERE kind = 'lake' AND target = ");
    sql_quote_text(&sql, str_of(arena_printf(p->arena, "%s.%s", p->schema, p->name)));
    buf_printf(&sql, " AND version > %" PRId64, p->have);
    json_t *rows = NULL;
    enum status s = ask(p->work, buf_cstr(&sql), &rows, err);
    if (!s) {
        const json_t *row = json_array_get(rows, 0);
        p->version = json_integer_value(json_object_get(row, "version"));
        p->rebuilt = json_is_true(json_object_get(row, "rebuilt"));
        p->deleted = json_is_true(json_object_get(row, "deleted"));
    }
    json_decref(rows);
    return s;
}

/* The visible columns; E_NOT_FOUND: the warehouse has no such table any more. */
static enum status ask_columns(struct publication *p, struct engine_column **out, size_t *n, struct err *err) {
    BUF_SCOPE(sql);
    buf_printf(&sql, "SELECT columns FROM (%s) WHERE kind = 'table' AND schema = ", engine_tables_sql);
    sql_quote_text(&sql, str_of(p->schema));
    buf_text(&sql, " AND name = ");
    sql_quote_text(&sql, str_of(p->name));
    json_t *rows = NULL;
    enum status s = ask(p->work, buf_cstr(&sql), &rows, err);
    const json_t *list = json_object_get(json_array_get(rows, 0), "columns");
    if (!s && !list) s = err_set(err, E_NOT_FOUND, "the warehouse has no table %s.%s", p->schema, p->name);
    struct engine_column *columns = arena_new_array(p->arena, struct engine_column, json_array_size(list) + 1);
    *n = 0;
    for (size_t i = 0; !s && i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        if (json_is_true(json_object_get(c, "hidden"))) continue;
        columns[(*n)++] = (struct engine_column){.name = arena_strdup(p->arena, json_string_value(json_object_get(c, "name"))),
            .type = arena_strdup(p->arena, json_string_value(json_object_get(c, "type")))};
    }
    json_decref(rows);
    *out = columns;
    return s;
}

/* How many rows the warehouse has in each range. */
static enum status ask_counts(struct publication *p, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT r.i, coalesce(sum(g.n), 0)::BIGINT AS n FROM (VALUES ");
    for (size_t i = 0; i < p->ranges_n; i++) buf_printf(&sql, "%s(%zu, %" PRId64 ")", i ? ", " : "", i, p->ranges[i].from);
    buf_text(&sql, ") AS r(i, start) LEFT JOIN (SELECT v.n, max(b.i) AS i FROM (SELECT _version, count(*) AS n FROM ");
    put_table(&sql, p);
    buf_text(&sql, " GROUP BY ALL) AS v ASOF JOIN (VALUES ");
    for (size_t i = 0; i < p->ranges_n; i++) buf_printf(&sql, "%s(%zu, %" PRId64 ")", i ? ", " : "", i, p->ranges[i].from);
    buf_text(&sql, ") AS b(i, start) ON v._version >= b.start GROUP BY v._version, v.n) AS g ON g.i = r.i GROUP BY r.i");
    json_t *rows = NULL;
    enum status s = ask(p->work, buf_cstr(&sql), &rows, err);
    for (size_t i = 0; !s && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        size_t at = (size_t)json_integer_value(json_object_get(row, "i"));
        must(at < p->ranges_n);
        p->ranges[at].rows = json_integer_value(json_object_get(row, "n"));
    }
    json_decref(rows);
    return s;
}

/* ---- what the copy has ---- */

static bool range_of_name(const char *uri, int64_t *from, int64_t *to) {
    const char *base = strrchr(uri, '/');
    char dash;
    return base && sscanf(base, "/v%" SCNd64 "%c%" SCNd64 "-", from, &dash, to) == 3 && dash == '-' && *from <= *to;
}

static int by_version(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* false: some file is not one of ours, or ranges overlap: the copy is written anew. */
static bool read_ranges(struct publication *p) {
    const struct table_version *v = p->base;
    p->ranges = arena_new_array(p->arena, struct range, (v ? v->files_n : 0) + 1);
    for (size_t i = 0; v && i < v->manifests_n; i++) {
        for (size_t k = 0; k < v->parts[i]->n; k++) {
            struct range *r = &p->ranges[p->ranges_n];
            const struct table_file *f = &v->parts[i]->files[k];
            if (!range_of_name(f->uri, &r->from, &r->to) || r->to > p->have) return false;
            r->file = f;
            r->rows = f->records;
            p->ranges_n++;
        }
    }
    if (p->ranges_n) qsort(p->ranges, p->ranges_n, sizeof(*p->ranges), by_version);
    for (size_t i = 1; i < p->ranges_n; i++)
        if (p->ranges[i].from <= p->ranges[i - 1].to) return false;
    return true;
}

/* ---- plan ---- */

static void remove_file(struct publication *p, struct range *r) {
    if (r->file) map_put(p->removed, str_of(r->file->uri), (void *)(uintptr_t)r->file);
    r->file = NULL;
}

/* [at] takes in [at - 1]. */
static void merge_down(struct publication *p, size_t at) {
    must(at > 0 && at < p->ranges_n);
    struct range *low = &p->ranges[at - 1], *high = &p->ranges[at];
    remove_file(p, low);
    remove_file(p, high);
    low->to = high->to;
    low->rows += high->rows;
    low->dirty = false;
    memmove(high, high + 1, (p->ranges_n - at - 1) * sizeof(*high));
    p->ranges_n--;
}

static void plan_merges(struct publication *p) {
    while (p->ranges_n > 1) { /* the newest takes in its neighbour while that is not much larger */
        const struct range *last = &p->ranges[p->ranges_n - 1], *before = last - 1;
        if (last->file || before->rows > 2 * last->rows || before->rows + last->rows > MERGE_ROWS_MAX) break;
        merge_down(p, p->ranges_n - 1);
    }
    for (size_t i = p->ranges_n; p->ranges_n > FILES_MANY && i-- > 1;)
        if (i < p->ranges_n && p->ranges[i].rows + p->ranges[i - 1].rows <= SMALL_ROWS) merge_down(p, i);
}

static void plan_everything(struct publication *p) {
    for (size_t i = 0; p->base && i < p->base->manifests_n; i++)
        for (size_t k = 0; k < p->base->parts[i]->n; k++)
            map_put(p->removed, str_of(p->base->parts[i]->files[k].uri), (void *)(uintptr_t)&p->base->parts[i]->files[k]);
    p->ranges[0] = (struct range){.from = 0, .to = p->version};
    p->ranges_n = 1;
}

static enum status plan(struct publication *p, struct err *err) {
    bool known = read_ranges(p);
    if (!p->base || p->rebuilt || !known) {
        plan_everything(p);
        return ask_counts(p, err);
    }
    p->ranges[p->ranges_n++] = (struct range){.from = p->have + 1, .to = p->version};
    enum status s = ask_counts(p, err);
    if (s) return s;
    for (size_t i = 0; i + 1 < p->ranges_n; i++) {
        p->ranges[i].dirty = p->ranges[i].rows != p->ranges[i].file->records;
        if (p->ranges[i].dirty) remove_file(p, &p->ranges[i]);
    }
    plan_merges(p);
    return OK;
}

/* ---- files ---- */

static enum status place(struct publication *p, const char *from, const struct range *r, const struct engine_copied *copied, struct err *err) {
    const struct fs *fs = p->lake->o.host->fs;
    const char *dir = p->base ? p->base->dir : arena_printf(p->arena, "%s/%s/%s", p->lake->dir, p->schema, p->name);
    struct new_file *f = &p->files[p->files_n];
    *f = (struct new_file){.relative = arena_printf(p->arena, "data/v%" PRId64 "-%" PRId64 "-%s.parquet", r->from, r->to, new_uuid_text(p->arena)),
        .rows = copied->rows,
        .size_bytes = copied->size_bytes,
        .columns = copied->columns,
        .columns_n = copied->columns_n};
    char *path = arena_printf(p->arena, "%s/%s", dir, f->relative);
    enum status s = parquet_check(fs, from, copied->size_bytes, err);
    if (!s) s = fs_sync_path(fs, from, err); /* DuckDB does not sync what COPY writes */
    if (!s) s = table_make_folders(p->lake, dir, f->relative, err);
    if (!s) s = fs->rename(fs->self, from, path, err);
    if (s) return s;
    p->paths[p->files_n++] = path;
    return fs->sync_dir(fs->self, arena_printf(p->arena, "%s/data", dir), err);
}

static enum status write_range(struct publication *p, const struct range *r, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "SELECT ");
    for (size_t i = 0; i < p->columns_n; i++) {
        buf_text(&sql, i ? ", " : "");
        sql_quote_name(&sql, str_of(p->columns[i].name));
    }
    buf_text(&sql, " FROM ");
    put_table(&sql, p);
    buf_printf(&sql, " WHERE _version BETWEEN %" PRId64 " AND %" PRId64, r->from, r->to);
    char *path = lake_temporary_path(p->lake, p->arena, ".parquet");
    struct engine_copied copied;
    struct engine_copy copy = {.sql = buf_cstr(&sql), .path = path, .columns = p->columns, .columns_n = p->columns_n};
    enum status s = engine_work_copy(p->work, p->arena, &copy, &copied, err);
    if (!s && copied.rows != (uint64_t)r->rows)
        s = err_set(
            err, E_INTERNAL, "%" PRIu64 " rows were written of %" PRId64 " with versions %" PRId64 " to %" PRId64, copied.rows, r->rows, r->from, r->to);
    if (!s) s = place(p, path, r, &copied, err);
    if (s) p->lake->o.host->fs->unlink(p->lake->o.host->fs->self, path, NULL);
    p->rows += s ? 0 : copied.rows;
    return s;
}

static void unlink_files(struct publication *p) {
    const struct fs *fs = p->lake->o.host->fs;
    for (size_t i = 0; i < p->files_n; i++) fs->unlink(fs->self, p->paths[i], NULL);
}

static enum status write_files(struct publication *p, struct err *err) {
    p->files = arena_new_array(p->arena, struct new_file, p->ranges_n + 1);
    p->paths = arena_new_array(p->arena, char *, p->ranges_n + 1);
    enum status s = OK;
    for (size_t i = 0; i < p->ranges_n && !s; i++) {
        if (lake_stopping(p->lake)) s = err_set(err, E_CANCELLED, "the lake is being closed");
        if (!s && !p->ranges[i].file && p->ranges[i].rows) s = write_range(p, &p->ranges[i], err);
    }
    if (s) unlink_files(p);
    return s;
}

/* ---- columns ---- */

static bool has_column(const struct engine_column *columns, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(columns[i].name, name)) return true;
    return false;
}

static enum status delete_copy(struct lake *lake, const struct table_version *v, struct err *err) {
    mutex_lock(&lake->commit_lock);
    enum status s = ledger_catalog_drop(lake->o.ledger, v->schema, v->name, err);
    if (!s) delete_table_files(lake, v);
    lake_mark_dirty(lake);
    mutex_unlock(&lake->commit_lock);
    return s;
}

/* A rebuilt table may have lost columns, or have other types: then the copy begins anew under its name. Readers of old snapshots lose them. */
static enum status forget_copy(struct publication *p, struct err *err) {
    enum status s = delete_copy(p->lake, p->base, err);
    log_info("lake", "the columns of a table have changed: its lake copy begins anew", LOG_STR("schema", p->schema), LOG_STR("table", p->name), NULL);
    if (!s) table_unref(&p->base);
    return s;
}

static enum status plan_columns(struct publication *p, struct err *err) {
    struct engine_column *wanted;
    size_t n;
    enum status s = ask_columns(p, &wanted, &n, err);
    if (s) return s;
    bool lost = false;
    for (size_t i = 0; p->base && i < p->base->columns_n; i++) lost = lost || !has_column(wanted, n, p->base->columns[i].name);
    p->columns_n = n;
    s = lost ? E_UNPROCESSABLE : lake_plan_columns(p->lake, p->arena, p->schema, p->name, wanted, n, &p->columns, err);
    if (s != E_UNPROCESSABLE || !p->base) return s;
    s = forget_copy(p, err);
    return s ? s : lake_plan_columns(p->lake, p->arena, p->schema, p->name, wanted, n, &p->columns, err);
}

/* ---- all of it ---- */

static enum status commit(struct publication *p, struct err *err) {
    const char *const properties[] = {COPY_PROPERTY, arena_printf(p->arena, "%" PRId64, p->version), *p->origin ? COPY_ORIGIN : NULL, p->origin, NULL};
    bool removes = map_count(p->removed) > 0;
    struct table_change change = {.schema = p->schema,
        .name = p->name,
        .make = true,
        .columns = p->columns,
        .columns_n = p->columns_n,
        .files = p->files,
        .files_n = p->files_n,
        .removed = removes ? p->removed : NULL,
        .operation = removes ? (p->files_n ? "overwrite" : "delete")
            : p->files_n     ? "append"
                             : NULL,
        .properties = properties};
    bool uncertain = false;
    enum status s = table_commit(p->lake, &change, 1, NULL, NULL, &uncertain, err);
    if (s && !uncertain) unlink_files(p);
    return s;
}

static enum status open_copy(struct publication *p, struct err *err) {
    p->have = -1;
    enum status s = table_get(p->lake, p->schema, p->name, &p->base, err);
    if (s == E_NOT_FOUND) return OK;
    if (s) return s;
    if (!p->base->metadata) return err_set(err, E_CORRUPT, "%s", p->base->unreadable);
    if (!ice_property(p->base->metadata, COPY_PROPERTY))
        return err_set(err, E_CONFLICT, "the lake has a table %s.%s that is no copy of the warehouse's", p->schema, p->name);
    p->have = ice_property_int(p->base->metadata, COPY_PROPERTY, -1);
    return OK;
}

/* Rows of the outbox that are done with, or of a table that is gone. */
static enum status clear_outbox(struct publication *p, int64_t version, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "DELETE FROM warehouse.cupel.outbox WHERE kind = 'lake' AND target = ");
    sql_quote_text(&sql, str_of(arena_printf(p->arena, "%s.%s", p->schema, p->name)));
    buf_printf(&sql, " AND version <= %" PRId64, version);
    return engine_work_run(p->work, buf_cstr(&sql), NULL, NULL, err);
}

static enum status copy_state(struct publication *p, struct err *err) {
    enum status s = engine_work_run(p->work, "BEGIN TRANSACTION", NULL, NULL, err);
    if (!s) s = ask_origin(p, err);
    if (!s) s = ask_state(p, err);
    if (!s && p->version > p->have) {
        s = plan_columns(p, err);
        if (!s) s = plan(p, err);
        if (!s) s = write_files(p, err);
        if (!s) s = commit(p, err);
    }
    enum status ended = engine_work_run(p->work, "ROLLBACK", NULL, NULL, s ? NULL : err); /* it only read */
    return s ? s : ended;
}

static enum status publish(struct publication *p, struct lake_published *out, struct err *err) {
    enum status s = open_copy(p, err);
    if (!s) s = copy_state(p, err);
    int64_t done = p->version > p->have ? p->version : p->have;
    if (s == E_NOT_FOUND) { /* the table is gone: so is its copy */
        done = INT64_MAX;
        s = p->base ? delete_copy(p->lake, p->base, err) : OK;
    }
    if (!s) s = clear_outbox(p, done, err);
    if (s) return s;
    *out = (struct lake_published){.version = done, .rows = p->rows, .files_added = p->files_n, .files_removed = map_count(p->removed)};
    return OK;
}

enum status lake_publish(struct lake *lake, const char *schema, const char *name, struct lake_published *out, struct err *err) {
    must(lake && lake->o.engine && schema && name && out);
    ARENA_SCOPE(arena);
    struct publication p = {.lake = lake, .arena = arena, .schema = schema, .name = name, .removed = map_new()};
    enum status s = table_check_name(schema, name, err);
    if (!s) s = engine_work_begin(lake->o.engine, NULL, NULL, 0, COPY_TIME_MS, &p.work, err);
    if (!s) s = publish(&p, out, err);
    engine_work_end(&p.work);
    table_unref(&p.base);
    map_free(&p.removed);
    return s ? err_prefix(err, "lake copy of %s.%s", schema, name) : OK;
}

/* ---- copies whose tables are gone ---- */

enum status lake_copies(struct lake *lake, struct arena *arena, const char *const **names, size_t *n, struct err *err) {
    must(lake && arena && names && n);
    struct table_version **all;
    size_t count;
    enum status s = table_all(lake, arena, &all, &count, err);
    if (s) return s;
    const char **list = arena_new_array(arena, const char *, count + 1);
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i]->metadata && ice_property(all[i]->metadata, COPY_PROPERTY)) list[(*n)++] = arena_printf(arena, "%s.%s", all[i]->schema, all[i]->name);
        table_unref(&all[i]);
    }
    *names = list;
    return OK;
}

enum status lake_drop_copy(struct lake *lake, const char *schema, const char *name, struct err *err) {
    must(lake && schema && name);
    struct table_version *v;
    enum status s = table_get(lake, schema, name, &v, err);
    if (s) return s;
    bool copy = v->metadata && ice_property(v->metadata, COPY_PROPERTY);
    s = copy ? delete_copy(lake, v, err) : err_set(err, E_CONFLICT, "%s.%s is no copy of a table of the warehouse", schema, name);
    table_unref(&v);
    return s;
}

/* ---- the publisher ---- */

static void publish_one(struct lake *lake, const json_t *row, enum status *result, struct err *err) {
    const char *target = json_string_value(json_object_get(row, "target"));
    double waiting = json_number_value(json_object_get(row, "waiting"));
    const char *dot = target ? strchr(target, '.') : NULL;
    if (!dot) return;
    ARENA_SCOPE(tmp);
    struct lake_published done = {0};
    struct err why = {0};
    int64_t started = host_monotonic_ms(lake->o.host);
    enum status s = lake_publish(lake, arena_strndup(tmp, target, (size_t)(dot - target)), dot + 1, &done, &why);
    series_set(metric_series(&metric_lag, target), s ? (int64_t)waiting : 0);
    if (!s) {
        series_add(metric_series(&metric_rows, target), (int64_t)done.rows);
        log_debug("lake", "lake copy written", LOG_STR("table", target), LOG_INT("rows", done.rows), LOG_INT("files", done.files_added),
            LOG_INT("removed", done.files_removed), LOG_INT("ms", host_monotonic_ms(lake->o.host) - started), NULL);
        return;
    }
    series_add(metric_series(&metric_failures, target), 1);
    if (s != E_CANCELLED) log_warn("lake", "a lake copy could not be written; it is tried again", LOG_STR("error", why.text), NULL);
    if (!*result) *result = err_set(err, s, "%s", why.text);
}

/* All copies that lag; one that fails holds up no other. *asked: the warehouse could be asked which they are. */
static enum status publish_all(struct lake *lake, bool *asked, struct err *err) {
    BUF_SCOPE(text);
    enum status s = engine_rows(lake->o.engine, NULL,
        "SELECT target, date_diff('millisecond', min(\"at\"), now()) / 1000.0 AS waiting FROM warehouse.cupel.outbox WHERE kind = 'lake' GROUP BY ALL ORDER BY "
        "2 DESC",
        &text, err);
    *asked = s == OK;
    if (s) return s;
    json_t *rows = json_loadb(text.p, text.n, 0, NULL);
    for (size_t i = 0; i < json_array_size(rows) && !lake_stopping(lake); i++) publish_one(lake, json_array_get(rows, i), &s, err);
    json_decref(rows);
    return s;
}

enum status lake_publish_due(struct lake *lake, struct err *err) {
    must(lake && lake->o.engine);
    bool asked;
    return publish_all(lake, &asked, err);
}

static bool wait_for_turn(struct lake *lake) {
    WITH_LOCK(&lake->writer_lock);
    int64_t until = host_monotonic_ms(lake->o.host) + lake->o.publish_ms;
    for (;;) {
        int64_t left = until - host_monotonic_ms(lake->o.host);
        if (lake->writer_stop || left <= 0) return !lake->writer_stop;
        condition_wait_ms(&lake->writer_wake, &lake->writer_lock, left);
    }
}

/* Only while the engine runs: without it there is nothing new in the warehouse, and it is not started for this. */
static void *publisher_run(void *argument) {
    struct lake *lake = argument;
    while (wait_for_turn(lake)) {
        struct err err = {0};
        if (!engine_pid(lake->o.engine)) continue;
        bool asked;
        enum status s = publish_all(lake, &asked, &err);
        if (!asked && (s == E_CORRUPT || s == E_UNSUPPORTED)) return NULL; /* the warehouse cannot be opened; the engine has said why */
    }
    return NULL;
}

void publisher_start(struct lake *lake) {
    struct metric *const all[] = {&metric_lag, &metric_rows, &metric_failures};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) metric_register(all[i]);
    if (lake->o.engine) thread_start(&lake->publisher, "lake-publisher", publisher_run, lake);
}
