/* Parquet files: types are kept; the engine tells what is inside. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing_priv.h"

#define UNPACK_PIECE (256u << 10)

/* What the lake can store: DuckDB type of the file -> type of the table, and how a value gets there. Decimals, and what is not listed, below. */
static const struct {
    const char *from, *to;
} kept[] = {
    {"BOOLEAN", "BOOLEAN"},
    {"TINYINT", "INTEGER"},
    {"SMALLINT", "INTEGER"},
    {"INTEGER", "INTEGER"},
    {"UTINYINT", "INTEGER"},
    {"USMALLINT", "INTEGER"},
    {"UINTEGER", "BIGINT"},
    {"BIGINT", "BIGINT"},
    {"UBIGINT", "DECIMAL(20,0)"},
    {"HUGEINT", "DECIMAL(38,0)"},
    {"FLOAT", "FLOAT"},
    {"DOUBLE", "DOUBLE"},
    {"DATE", "DATE"},
    {"TIME", "TIME"},
    {"TIMESTAMP", "TIMESTAMP"},
    {"TIMESTAMP_S", "TIMESTAMP"},
    {"TIMESTAMP_MS", "TIMESTAMP"},
    {"TIMESTAMP_NS", "TIMESTAMP"},
    {"TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"},
    {"VARCHAR", "VARCHAR"},
    {"BLOB", "BLOB"},
    {"UUID", "UUID"},
};

static void type_of(struct arena *arena, const char *type, const char *name, const char **to, const char **sql) {
    *sql = landing_sql_name(arena, str_of(name));
    bool list = str_ends(str_of(type), STR("]")), nested = list || !strncmp(type, "STRUCT", 6) || !strncmp(type, "MAP", 3) || !strncmp(type, "UNION", 5);
    for (size_t i = 0; i < sizeof kept / sizeof *kept && !nested; i++)
        if (!strcmp(type, kept[i].from)) {
            *to = kept[i].to;
            return;
        }
    if (!nested && !strncmp(type, "DECIMAL(", 8)) {
        *to = arena_strdup(arena, type);
        return;
    }
    *to = "VARCHAR"; /* nested: its JSON text; others (ENUM, INTERVAL): as DuckDB prints them */
    if (nested) *sql = arena_printf(arena, "to_json(%s)", *sql);
}

static enum status rows_of(struct source_state *s, const char *sql, json_t **out, struct err *err) {
    BUF_SCOPE(text);
    enum status st = engine_rows(s->landing->options.engine, NULL, sql, &text, err);
    if (st != OK) return st;
    *out = json_loadb(text.p, text.n, 0, NULL);
    return *out ? OK : err_set(err, E_INTERNAL, "the engine's answer cannot be read");
}

static enum status read_schema(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    json_t *rows = NULL;
    const char *sql = arena_printf(arena, "SELECT column_name, column_type FROM (DESCRIBE SELECT * EXCLUDE (file_row_number) FROM %s)",
        sql_parquet(arena, file->unpacked ? file->unpacked : file->plan.path));
    enum status st = rows_of(s, sql, &rows, err);
    if (st != OK) return st;
    size_t n = json_array_size(rows);
    struct str *keys = arena_new_array(arena, struct str, n + 1);
    file->types = arena_new_array(arena, struct engine_column, n + 1);
    file->sql = arena_new_array(arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(row, "column_name")), *type = json_string_value(json_object_get(row, "column_type"));
        if (!name || !type)
            st = err_set(err, E_INTERNAL, "the engine's answer about a Parquet file cannot be read");
        else {
            keys[i] = str_of(arena_strdup(arena, name));
            file->types[i].name = keys[i].p;
            type_of(arena, type, name, &file->types[i].type, &file->sql[i]);
        }
    }
    json_decref(rows);
    if (st != OK) return st;
    file->plan.columns = landing_columns_name(arena, keys, n);
    file->plan.columns_n = n;
    if (n > file->plan.columns_max) file->plan.rejection = arena_printf(arena, "%zu columns are over columns_max %zu", n, file->plan.columns_max);
    return OK;
}

static enum status read_count(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    json_t *rows = NULL;
    const char *sql = arena_printf(arena, "SELECT count(*)::BIGINT AS n FROM %s", sql_parquet(arena, file->unpacked ? file->unpacked : file->plan.path));
    enum status st = rows_of(s, sql, &rows, err);
    if (st != OK) return st;
    json_t *n = json_object_get(json_array_get(rows, 0), "n");
    if (json_is_integer(n))
        file->plan.rows_max = (uint64_t)json_integer_value(n);
    else if (json_is_string(n))
        file->plan.rows_max = strtoull(json_string_value(n), NULL, 10);
    else
        st = err_set(err, E_INTERNAL, "the engine's answer about a Parquet file cannot be read");
    json_decref(rows);
    return st;
}

/* Parquet is read from its end, so one that came in gzip or zstd is written out first. */
static enum status unpack(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    const struct host *host = s->landing->options.host;
    const char *path = lake_temporary_path(s->landing->options.lake, arena, ".unpacked.parquet");
    struct file_bytes *from = NULL;
    struct file_bytes_options options = {.host = host, .path = file->plan.path, .bytes_max = s->config->reading.file_bytes_max};
    int to;
    enum status st = file_bytes_open(&options, &from, err);
    if (st == OK) st = host->fs->open(host->fs->self, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &to, err);
    if (st != OK) {
        file_bytes_close(&from);
        return st;
    }
    file->unpacked = path;
    AUTO_FREE char *piece = mem_alloc(UNPACK_PIECE);
    uint64_t at = 0;
    for (size_t got = 1; st == OK && got;) {
        st = file_bytes_read(from, piece, UNPACK_PIECE, &got, err);
        if (st == OK && got) st = host->fs->pwrite(host->fs->self, to, piece, got, at, err);
        at += got;
    }
    if (st == OK) st = host->fs->sync_data(host->fs->self, to, err); /* for the engine's eyes, see bad_spool_finish */
    file_bytes_close(&from);
    host->fs->close(host->fs->self, to);
    return st;
}

static bool may_pass(enum status st) {
    return st == E_UNAVAILABLE || st == E_BUSY || st == E_TIMEOUT || st == E_NO_SPACE || st == E_CANCELLED || st == E_NOT_FOUND || st == E_IO || st == E_LIMIT;
}

enum status landing_probe_parquet(struct source_state *s, struct arena *arena, struct work_file *file, unsigned failures, struct err *err) {
    struct err problem = {0};
    must(file->plan.format == LANDING_PARQUET);
    enum status st = file->plan.compression == COMPRESSION_NONE ? OK : unpack(s, arena, file, &problem);
    if (st == OK) st = read_schema(s, arena, file, &problem);
    if (st == OK) st = read_count(s, arena, file, &problem);
    if (st == OK) return OK;
    if (may_pass(st) && failures < LANDING_ATTEMPTS_MAX) return err_set(err, st, "%s", problem.text);
    file->plan.rejection = arena_printf(arena, "not a sound Parquet file: %s", problem.text);
    return OK;
}
