#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/map.h"
#include "connect/landing_priv.h"
#include "ingest/protect.h"

/* Columns that every landing table begins with. */
const struct engine_column landing_own_columns[LANDING_OWN_COLUMNS] = {
    {.name = "_event_id", .type = "UUID"},
    {.name = "_file", .type = "VARCHAR"},
    {.name = "_file_hash", .type = "VARCHAR"},
    {.name = "_row", .type = "BIGINT"},
    {.name = "_received_at", .type = "TIMESTAMP WITH TIME ZONE"},
};
#define OWN_COLUMNS LANDING_OWN_COLUMNS

static const struct engine_column quarantine_columns[] = {
    {.name = "_event_id", .type = "UUID"},
    {.name = "_file", .type = "VARCHAR"},
    {.name = "_file_hash", .type = "VARCHAR"},
    {.name = "_row", .type = "BIGINT"},
    {.name = "_reason", .type = "VARCHAR"},
    {.name = "_raw", .type = "BLOB"},
    {.name = "_run_id", .type = "VARCHAR"},
    {.name = "_quarantined_at", .type = "TIMESTAMP WITH TIME ZONE"},
};
#define QUARANTINE_COLUMNS (sizeof quarantine_columns / sizeof *quarantine_columns)

/* The union of the columns of a batch, under the names that the table has for them. */
struct wide {
    struct arena *arena;
    struct map *by_name; /* lower-case name -> number + 1 */
    struct engine_column *columns; /* own ones first */
    size_t n, cap;
    struct map *table_names; /* lower-case name -> the table's spelling */
    size_t **of_file; /* per file and column: its number in columns */
};

static struct str folded(struct arena *arena, struct str name) {
    char *copy = arena_strndup(arena, name.p, name.n);
    for (size_t i = 0; i < name.n; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z') copy[i] = (char)(copy[i] | 32);
    return (struct str){copy, name.n};
}

static void split_table(struct arena *arena, const char *table, const char **schema, const char **name) {
    const char *dot = strchr(table, '.');
    *schema = dot ? arena_strndup(arena, table, (size_t)(dot - table)) : "bronze";
    *name = dot ? dot + 1 : table;
}

/* ---- columns ---- */

static enum status read_table_names(struct source_state *s, struct wide *w, const char *schema, const char *name, struct err *err) {
    struct lake_pin *pin;
    enum status st = lake_pin(s->landing->options.lake, &pin, err);
    if (st != OK) return st;
    const struct engine_view *view = lake_pin_view(pin);
    for (size_t i = 0; i < view->tables_n; i++) {
        const struct engine_table *t = &view->tables[i];
        if (strcmp(t->schema, schema) != 0 || strcmp(t->name, name) != 0) continue;
        for (size_t c = 0; c < t->columns_n; c++) {
            const char *spelling = arena_strdup(w->arena, t->columns[c].name);
            map_put(w->table_names, folded(w->arena, str_of(spelling)), (void *)(uintptr_t)spelling);
        }
    }
    lake_unpin(&pin);
    return OK;
}

static size_t add_column(struct wide *w, const char *name, const char *type) {
    struct str key = folded(w->arena, str_of(name));
    size_t number = (size_t)(uintptr_t)map_get(w->by_name, key);
    if (number) return number - 1;
    if (w->n == w->cap) {
        struct engine_column *more = arena_new_array(w->arena, struct engine_column, w->cap ? w->cap * 2 : 64);
        if (w->n) memcpy(more, w->columns, w->n * sizeof *more);
        w->columns = more;
        w->cap = w->cap ? w->cap * 2 : 64;
    }
    const char *spelling = map_get(w->table_names, key);
    w->columns[w->n] = (struct engine_column){.name = spelling ? spelling : name, .type = type};
    map_put(w->by_name, key, (void *)(uintptr_t)++w->n);
    return w->n - 1;
}

static void unite_columns(struct wide *w, struct work_file **files, size_t n) {
    for (size_t i = 0; i < OWN_COLUMNS; i++) add_column(w, landing_own_columns[i].name, landing_own_columns[i].type);
    w->of_file = arena_new_array(w->arena, size_t *, n);
    for (size_t i = 0; i < n; i++) {
        const struct landing_plan *plan = &files[i]->plan;
        w->of_file[i] = arena_new_array(w->arena, size_t, plan->columns_n + 1);
        for (size_t c = 0; c < plan->columns_n; c++)
            w->of_file[i][c] = add_column(w, plan->columns[c].name, files[i]->types ? files[i]->types[c].type : "VARCHAR");
    }
}

/* ---- the statement ---- */

static void put_own(struct source_state *s, struct arena *arena, const struct work_file *f, const char *row, struct buf *sql) {
    const struct landing_file *file = &f->row;
    buf_printf(sql, "SELECT cupel_event_id(%lld::BIGINT, %u::INTEGER, 0::INTEGER, %lld + %s), %s, %s, %s, %s", (long long)file->received_ms, s->number,
        (long long)file->first_offset - 1, row, sql_literal(arena, str_of(f->plan.name)), sql_literal(arena, str_of(file->hash)), row,
        sql_timestamp(arena, file->received_ms));
}

/* Text is protected by the row source, values of Parquet files here. */
static const char *parquet_value(struct arena *arena, const struct work_file *f, size_t column) {
    if (f->plan.columns[column].policy == COLUMN_KEPT) return f->sql[column];
    must(f->plan.columns[column].policy == COLUMN_MASKED);
    return arena_printf(arena, "CASE WHEN %s IS NOT NULL THEN %s END", f->sql[column], sql_literal(arena, STR(PROTECT_MASKED)));
}

static void put_file(struct source_state *s, struct wide *w, struct work_file *f, const size_t *numbers, const struct engine_column *planned, struct buf *sql) {
    bool parquet = f->plan.format == LANDING_PARQUET;
    const char **expressions = arena_new_array(w->arena, const char *, w->n);
    for (size_t c = 0; c < f->plan.columns_n; c++) expressions[numbers[c]] = parquet ? parquet_value(w->arena, f, c) : arena_printf(w->arena, "c%zu", c);
    put_own(s, w->arena, f, parquet ? "(file_row_number + 1)" : "_row", sql);
    for (size_t i = OWN_COLUMNS; i < w->n; i++) {
        if (!expressions[i])
            buf_printf(sql, ", NULL::%s", planned[i].type);
        else if (parquet)
            buf_printf(sql, ", CAST(%s AS %s)", expressions[i], planned[i].type);
        else
            buf_printf(sql, ", %s", expressions[i]);
    }
    if (parquet) {
        buf_printf(sql, " FROM %s", sql_parquet(w->arena, f->unpacked ? f->unpacked : f->plan.path));
        return;
    }
    BUF_SCOPE(spec);
    landing_plan_write(&f->plan, f->row.id, f->spool, &spec);
    buf_printf(sql, " FROM cupel_rows('landing', %s)", sql_literal(w->arena, buf_view(&spec)));
}

/* What the row sources counted: [{"id":…,"read":…,"good":…,"bad":…}…] in any order. */
static uint64_t number_behind(struct str text, const char *name) {
    long at = str_find(text, str_of(name));
    uint64_t n = 0;
    if (at < 0) return 0;
    for (const char *p = text.p + at + strlen(name); p < text.p + text.n && *p >= '0' && *p <= '9'; p++) n = n * 10 + (uint64_t)(*p - '0');
    return n;
}

static enum status read_reports(struct str sources, struct work_file **files, size_t n, struct err *err) {
    for (struct str rest = sources; rest.n;) {
        struct str report = str_cut(&rest, '}');
        int64_t id = (int64_t)number_behind(report, "\"id\":");
        for (size_t i = 0; i < n && id; i++) {
            if (files[i]->row.id != id) continue;
            files[i]->read = number_behind(report, "\"read\":");
            files[i]->good = number_behind(report, "\"good\":");
            files[i]->bad = number_behind(report, "\"bad\":");
            if (files[i]->read != files[i]->good + files[i]->bad) return err_set(err, E_INTERNAL, "%s: rows do not add up", files[i]->plan.name);
        }
    }
    return OK;
}

static enum status check_counts(struct work_file **files, size_t n, uint64_t rows, struct err *err) {
    uint64_t good = 0;
    for (size_t i = 0; i < n; i++) {
        if (files[i]->plan.format == LANDING_PARQUET) files[i]->read = files[i]->good = rows;
        good += files[i]->good;
        if (files[i]->read > files[i]->row.reserved) /* taken by a process with other options, which died: refused, and may come again */
            return err_set(err, E_LIMIT, "%s has %llu rows where %llu were expected", files[i]->plan.name, (unsigned long long)files[i]->read,
                (unsigned long long)files[i]->row.reserved);
    }
    return good == rows ? OK : err_set(err, E_INTERNAL, "%llu rows were read and %llu written", (unsigned long long)good, (unsigned long long)rows);
}

static bool is_stopping(void *landing) { return landing_stopping(landing); }

static enum status copy(struct source_state *s, struct arena *arena, const char *sql, const struct engine_column *columns, size_t columns_n, const char *path,
    struct lake_file *file, struct str *sources, struct err *err) {
    struct engine_copied copied;
    struct engine_copy request = {
        .sql = sql, .path = path, .columns = columns, .columns_n = columns_n, .cancelled = is_stopping, .cancelled_context = s->landing};
    enum status st = engine_copy(s->landing->options.engine, arena, &request, &copied, err);
    if (st != OK) return st;
    *file = (struct lake_file){
        .temporary_path = path, .rows = copied.rows, .size_bytes = copied.size_bytes, .columns = copied.columns, .columns_n = copied.columns_n};
    *sources = copied.sources;
    return OK;
}

/* ---- quarantine ---- */

static void put_bad(struct source_state *s, struct arena *arena, const struct work_file *f, struct buf *sql) {
    const struct landing_file *file = &f->row;
    BUF_SCOPE(spec);
    struct json_writer w = json_write_to(&spec);
    json_begin_object(&w);
    json_put_text(&w, "spool", f->spool);
    json_end_object(&w);
    /* Rows of a file for a stream never got an address: their offsets are given by the log. */
    const char *id = s->config->stream ? "NULL::UUID"
                                       : arena_printf(arena, "cupel_event_id(%lld::BIGINT, %u::INTEGER, 0::INTEGER, %lld + row)", (long long)file->received_ms,
                                             s->number, (long long)file->first_offset - 1);
    buf_printf(sql, "SELECT %s, %s, %s, row, reason, raw, 'landing:%lld', %s FROM cupel_bad_rows('landing_bad', %s)", id,
        sql_literal(arena, str_of(f->plan.name)), sql_literal(arena, str_of(file->hash)), (long long)file->id, sql_timestamp(arena, file->received_ms),
        sql_literal(arena, buf_view(&spec)));
}

enum status landing_quarantine(
    struct source_state *s, struct arena *arena, struct work_file **files, size_t n, struct lake_append *out, bool *made, struct err *err) {
    BUF_SCOPE(sql);
    const char *schema, *name;
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        if (files[i]->bad == 0) continue;
        if (sql.n) buf_text(&sql, " UNION ALL ");
        put_bad(s, arena, files[i], &sql);
        bad += files[i]->bad;
    }
    *made = bad != 0;
    if (bad == 0) return OK;
    split_table(arena, s->config->table ? s->config->table : arena_printf(arena, "bronze.%s", s->config->stream), &schema, &name);
    const char *table = arena_printf(arena, "%s__%s", schema, name);
    struct engine_column *planned;
    enum status st = lake_plan_columns(s->landing->options.lake, arena, "quarantine", table, quarantine_columns, QUARANTINE_COLUMNS, &planned, err);
    struct lake_file *file = arena_new_one(arena, struct lake_file);
    struct str sources = STR_NULL;
    const char *path = lake_temporary_path(s->landing->options.lake, arena, ".parquet");
    if (st == OK) st = copy(s, arena, buf_cstr(&sql), planned, QUARANTINE_COLUMNS, path, file, &sources, err);
    if (st == OK && file->rows != bad)
        st = err_set(err, E_INTERNAL, "%llu bad rows were put aside and %llu written", (unsigned long long)bad, (unsigned long long)file->rows);
    if (st != OK) {
        s->landing->options.host->fs->unlink(s->landing->options.host->fs->self, path, NULL);
        return st;
    }
    *out = (struct lake_append){.schema = "quarantine", .name = table, .columns = planned, .columns_n = QUARANTINE_COLUMNS, .files = file, .files_n = 1};
    return OK;
}

/* ---- commit ---- */

enum status landing_finish_files(struct source_state *s, struct ledger *ledger, struct work_file **files, size_t n, struct err *err) {
    for (size_t i = 0; i < n; i++) {
        const struct work_file *f = files[i];
        BUF_SCOPE(report);
        struct json_writer w = json_write_to(&report);
        json_begin_object(&w);
        landing_plan_describe(&f->plan, &w);
        json_end_object(&w);
        int64_t hour_ms = f->row.received_ms / HOUR_MS * HOUR_MS;
        enum status st = ledger_landing_finish(ledger, f->row.id, LANDING_LANDED, f->read, f->good, f->bad, NULL, buf_cstr(&report), err);
        if (st == OK) st = ledger_account_add(ledger, "file", s->config->name, hour_ms, "read", (int64_t)f->read, err);
        if (st == OK) st = ledger_account_add(ledger, "file", s->config->name, hour_ms, "landed", (int64_t)f->good, err);
        if (st == OK) st = ledger_account_add(ledger, "file", s->config->name, hour_ms, "quarantined", (int64_t)f->bad, err);
        if (st != OK) return st;
    }
    return OK;
}

struct finishing {
    struct source_state *s;
    struct work_file **files;
    size_t n;
};

static enum status finish(void *context, struct ledger *ledger, struct err *err) {
    struct finishing *f = context;
    for (size_t i = 0; i < f->n; i++) { /* the last look: what is committed is what was planned */
        enum status st = landing_plan_unchanged(f->s->landing->options.host, &f->files[i]->plan, err);
        if (st != OK) return st;
    }
    return landing_finish_files(f->s, ledger, f->files, f->n, err);
}

static enum status commit(struct source_state *s, struct arena *arena, struct work_file **files, size_t n, struct wide *w, const struct engine_column *planned,
    struct lake_file *file, struct err *err) {
    const char *schema, *name;
    struct lake_append appends[2];
    bool bad;
    split_table(arena, s->config->table, &schema, &name);
    file->hour_ms = files[0]->row.received_ms / HOUR_MS * HOUR_MS;
    const char *const *properties = (const char *const[]){"cupel.stream", arena_printf(arena, "%u", s->number), NULL};
    appends[0] = (struct lake_append){
        .schema = schema, .name = name, .columns = planned, .columns_n = w->n, .files = file, .files_n = file->rows ? 1 : 0, .properties = properties};
    enum status st = landing_quarantine(s, arena, files, n, &appends[1], &bad, err);
    if (st != OK) return st;
    struct finishing finishing = {s, files, n};
    st = lake_commit(s->landing->options.lake, appends, bad ? 2 : 1, finish, &finishing, err);
    if (st != OK && bad) s->landing->options.host->fs->unlink(s->landing->options.host->fs->self, appends[1].files[0].temporary_path, NULL);
    return st;
}

static void drop_spools(struct source_state *s, struct work_file **files, size_t n) {
    const struct fs *fs = s->landing->options.host->fs;
    for (size_t i = 0; i < n; i++)
        if (files[i]->spool) fs->unlink(fs->self, files[i]->spool, NULL);
}

/* A row source's own status, which came through DuckDB as text: trouble of the disk is not the file's fault. */
static enum status true_status(enum status st, struct err *err) {
    static const enum status known[] = {E_IO, E_NO_SPACE, E_BUSY, E_LIMIT, E_NOT_FOUND, E_CORRUPT};
    for (size_t i = 0; st == E_INVALID && err && i < sizeof known / sizeof *known; i++) {
        char tag[40];
        snprintf(tag, sizeof tag, "[%s]", status_name(known[i]));
        if (strstr(err->text, tag)) return err->status = known[i];
    }
    return st;
}

static enum status make_rows(struct source_state *s, struct wide *w, struct work_file **files, size_t n, const struct engine_column *planned, const char *path,
    struct lake_file *file, struct err *err) {
    BUF_SCOPE(sql);
    struct str sources = STR_NULL;
    for (size_t i = 0; i < n; i++) {
        if (i) buf_text(&sql, " UNION ALL ");
        put_file(s, w, files[i], w->of_file[i], planned, &sql);
    }
    enum status st = true_status(copy(s, w->arena, buf_cstr(&sql), planned, w->n, path, file, &sources, err), err);
    if (st == OK) st = read_reports(sources, files, n, err);
    if (st == OK) st = check_counts(files, n, file->rows, err);
    return st;
}

enum status landing_to_table(struct source_state *s, struct arena *arena, struct work_file **files, size_t n, struct err *err) {
    must(n > 0 && s->config->table && s->number);
    struct lake *lake = s->landing->options.lake;
    const struct fs *fs = s->landing->options.host->fs;
    const char *schema, *name, *path = lake_temporary_path(lake, arena, ".parquet");
    struct wide w = {.arena = arena, .by_name = map_new(), .table_names = map_new()};
    struct engine_column *planned = NULL;
    struct lake_file file = {0};
    split_table(arena, s->config->table, &schema, &name);
    for (size_t i = 0; i < n; i++) files[i]->spool = lake_temporary_path(lake, arena, ".bad");
    enum status st = read_table_names(s, &w, schema, name, err);
    if (st == OK) {
        unite_columns(&w, files, n);
        st = lake_plan_columns(lake, arena, schema, name, w.columns, w.n, &planned, err);
    }
    if (st == OK) st = make_rows(s, &w, files, n, planned, path, &file, err);
    if (st == OK) st = commit(s, arena, files, n, &w, planned, &file, err);
    for (size_t i = 0; i < n && st == OK; i++) files[i]->kind = WORK_LANDED;
    if (st != OK || file.rows == 0) fs->unlink(fs->self, path, NULL);
    drop_spools(s, files, n);
    map_free(&w.by_name);
    map_free(&w.table_names);
    return st;
}
