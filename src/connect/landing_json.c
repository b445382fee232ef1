#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/mem.h"
#include "connect/landing_priv.h"

#define LAST_FILES 5
#define TEST_ROWS 5
#define TEST_BAD_ROWS 5
#define TEST_RAW_BYTES 200

/* ---- source list ---- */

static const char *outcome_name(const struct landing_file *f) {
    if (f->state == LANDING_TAKEN) return "taken";
    return f->rejected ? "rejected" : "landed";
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void write_file(struct json_writer *w, const struct landing_file *f) {
    json_begin_object(w);
    json_put_text(w, "file", file_name(f->path));
    json_put_text(w, "hash", f->hash);
    json_put_text(w, "outcome", outcome_name(f));
    json_put_time_ms(w, "received_at", f->received_ms);
    json_put_int(w, "rows_read", (int64_t)f->rows_read);
    json_put_int(w, "rows_landed", (int64_t)f->rows_landed);
    json_put_int(w, "rows_quarantined", (int64_t)f->rows_quarantined);
    if (f->reason) json_put_text(w, "reason", f->reason);
    if (f->moved_to && f->moved_to[0]) json_put_text(w, "moved_to", f->moved_to);
    json_end_object(w);
}

/* Nobody watches inside a command: the folder is looked at now. A folder that cannot be listed has nothing waiting; `source run` says why. */
static void look_now(struct landing *landing, struct source_state *s) {
    ARENA_SCOPE(arena);
    struct folder_state folder;
    if (landing->thread.started) return;
    WITH_LOCK(&s->busy);
    (void)landing_scan(s, arena, &folder, NULL);
}

static enum status write_source(struct landing *landing, struct source_state *s, struct json_writer *w, struct err *err) {
    ARENA_SCOPE(arena);
    struct landing_file *files;
    size_t n;
    enum status st = ledger_landing_list(landing->options.ledger, arena, s->config->name, -1, LAST_FILES, &files, &n, err);
    if (st != OK) return st;
    look_now(landing, s);
    json_begin_object(w);
    json_put_text(w, "name", s->config->name);
    json_put_text(w, "type", "landing");
    json_put_text(w, "folder", s->config->folder);
    json_put_text(w, s->config->table ? "table" : "stream", s->config->table ? s->config->table : s->config->stream);
    json_put_int(w, "waiting", (int64_t)atomic_load(&s->waiting));
    json_put_int(w, "oldest_waiting_s", (int64_t)(atomic_load(&s->oldest_ms) / 1000));
    json_put_int(w, "files_landed", series_value(s->files_landed));
    json_put_int(w, "files_rejected", series_value(s->files_rejected));
    json_put_int(w, "files_already", series_value(s->files_already));
    json_put_int(w, "rows_landed", series_value(s->rows_landed));
    json_put_int(w, "rows_quarantined", series_value(s->rows_quarantined));
    json_name(w, "last");
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) write_file(w, &files[i]);
    json_end_array(w);
    json_end_object(w);
    return OK;
}

enum status landing_list_json(struct landing *landing, struct buf *out, struct err *err) {
    struct json_writer w = json_write_to(out);
    enum status st = OK;
    json_begin_array(&w);
    for (size_t i = 0; i < landing->options.sources_n && st == OK; i++) st = write_source(landing, &landing->sources[i], &w, err);
    json_end_array(&w);
    return st;
}

/* ---- source test ---- */

/* Complete or not: looking at it does no harm. */
static enum status first_file(struct source_state *s, struct arena *arena, const char **path, struct err *err) {
    const struct fs *fs = s->landing->options.host->fs;
    struct fs_entry *entries;
    size_t n;
    enum status st = fs->list(fs->self, arena, s->config->folder, &entries, &n, err);
    if (st != OK) return st;
    for (size_t i = 0; i < n; i++) {
        if (!entries[i].stat.is_file || landing_name_ignored(str_of(entries[i].name))) continue;
        *path = arena_printf(arena, "%s/%s", s->config->folder, entries[i].name);
        return OK;
    }
    return err_set(err, E_NOT_FOUND, "%s has no files waiting", s->config->folder);
}

/* A path below the source's folder: nothing else is looked at for anybody. */
static enum status below_folder(struct source_state *s, struct arena *arena, const char *path, const char **out, struct err *err) {
    struct str folder = str_of(s->config->folder), rest = str_of(path);
    if (str_starts(rest, folder) && rest.n > folder.n && rest.p[folder.n] == '/') rest = str_from(rest, folder.n + 1);
    for (struct str left = rest; left.n;) {
        if (str_is(str_cut(&left, '/'), "..")) return err_set(err, E_DENIED, "%s leads out of the folder of source %s", path, s->config->name);
    }
    if (rest.n == 0 || rest.p[0] == '/') return err_set(err, E_DENIED, "%s is not below the folder of source %s", path, s->config->name);
    *out = arena_printf(arena, "%s/" STR_FMT, s->config->folder, STR_ARG(rest));
    return OK;
}

static void write_row(struct json_writer *w, const struct landing_plan *plan, const struct row *row) {
    json_begin_object(w);
    for (size_t i = 0; i < plan->columns_n; i++) json_put_str(w, plan->columns[i].name, row->cells[i]);
    json_end_object(w);
}

/* Reads all rows; keeps the first ones. */
static enum status write_rows(const struct host *host, const struct landing_plan *plan, struct json_writer *w, struct err *err) {
    struct landing_rows *rows;
    struct landing_rows_options options = {.host = host, .plan = plan};
    enum status st = landing_rows_open(&options, &rows, err);
    if (st != OK) return st;
    AUTO_FREE struct row *list = mem_alloc(1024 * sizeof *list);
    size_t shown = 0;
    json_name(w, "first_rows");
    json_begin_array(w);
    for (size_t n = 1; st == OK && n;) {
        st = landing_rows_next(rows, list, 1024, &n, err);
        for (size_t i = 0; i < n && st == OK && shown < TEST_ROWS; i++, shown++) write_row(w, plan, &list[i]);
    }
    json_end_array(w);
    struct landing_counts counts = landing_rows_counts(rows);
    json_put_int(w, "rows_read", (int64_t)counts.read);
    json_put_int(w, "rows_good", (int64_t)counts.good);
    json_put_int(w, "rows_bad", (int64_t)counts.bad);
    json_put_int(w, "blank_lines", (int64_t)counts.blank_lines);
    json_name(w, "first_bad_rows");
    json_begin_array(w);
    struct bad_row bad;
    for (int k = 0; k < TEST_BAD_ROWS && st == OK && landing_rows_next_bad(rows, &bad); k++) {
        json_begin_object(w);
        json_put_int(w, "row", (int64_t)bad.number);
        json_put_text(w, "reason", bad.reason);
        json_put_str(w, "raw", str_head(bad.raw, TEST_RAW_BYTES));
        json_end_object(w);
    }
    json_end_array(w);
    landing_rows_close(&rows);
    return st;
}

/* "REPLACE (…)" for the personal columns of a Parquet file. */
static const char *masked(struct arena *arena, const struct work_file *file) {
    BUF_SCOPE(list);
    for (size_t i = 0; i < file->plan.columns_n; i++) {
        if (file->plan.columns[i].policy == COLUMN_KEPT) continue;
        buf_printf(&list, "%s'***' AS %s", list.n ? ", " : "REPLACE (", landing_sql_name(arena, file->plan.columns[i].key));
    }
    if (list.n) buf_char(&list, ')');
    return arena_strdup(arena, buf_cstr(&list));
}

static enum status write_parquet(struct source_state *s, struct arena *arena, struct work_file *file, struct json_writer *w, struct err *err) {
    enum status st = landing_probe_parquet(s, arena, file, LANDING_ATTEMPTS_MAX, err);
    if (st != OK || file->plan.rejection) return st;
    json_name(w, "columns");
    json_begin_array(w);
    for (size_t i = 0; i < file->plan.columns_n; i++) json_text(w, file->plan.columns[i].name);
    json_end_array(w);
    st = landing_protect(s, arena, file, err);
    if (st != OK || file->plan.rejection) return st;
    BUF_SCOPE(rows);
    const char *sql = arena_printf(arena, "SELECT * EXCLUDE (file_row_number) %s FROM %s LIMIT %d", masked(arena, file),
        sql_parquet(arena, file->unpacked ? file->unpacked : file->plan.path), TEST_ROWS);
    st = engine_rows(s->landing->options.engine, NULL, sql, &rows, err);
    if (st != OK) return st;
    json_name(w, "first_rows");
    json_raw(w, buf_view(&rows));
    json_put_int(w, "rows_read", (int64_t)file->plan.rows_max);
    json_put_int(w, "rows_good", (int64_t)file->plan.rows_max);
    json_put_int(w, "rows_bad", 0);
    return OK;
}

enum status landing_test(struct landing *landing, const char *source, const char *path, struct buf *out, struct err *err) {
    ARENA_SCOPE(arena);
    struct source_state *s = landing_find(landing, source);
    if (!s) return err_set(err, E_NOT_FOUND, "there is no landing source %s", source);
    struct work_file file = {0};
    enum status st = path ? below_folder(s, arena, path, &path, err) : first_file(s, arena, &path, err);
    if (st == OK) st = landing_plan_make(landing->options.host, arena, path, &s->config->reading, &file.plan, err);
    if (st == OK && !file.plan.rejection && file.plan.format != LANDING_PARQUET) st = landing_protect(s, arena, &file, err);
    if (st != OK) return st;
    BUF_SCOPE(text);
    struct json_writer w = json_write_to(&text);
    json_begin_object(&w);
    json_put_text(&w, "source", source);
    json_put_text(&w, "file", path);
    json_put_text(&w, "hash", file.plan.hash);
    json_put_int(&w, "size_bytes", (int64_t)file.plan.size_bytes);
    if (!file.plan.rejection) landing_plan_describe(&file.plan, &w);
    if (!file.plan.rejection)
        st = file.plan.format == LANDING_PARQUET ? write_parquet(s, arena, &file, &w, err) : write_rows(landing->options.host, &file.plan, &w, err);
    if (file.plan.rejection) json_put_text(&w, "rejected", file.plan.rejection);
    json_end_object(&w);
    if (file.unpacked) landing->options.host->fs->unlink(landing->options.host->fs->self, file.unpacked, NULL);
    if (st == OK) buf_str(out, buf_view(&text));
    return st;
}
