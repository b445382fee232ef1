/* The small files of the data folder: server.json, format, cli.token. Each is written whole, beside, and renamed over: readers and crashes see old or new. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/times.h"
#include "ingest/ingest.h"
#include "ledger/ledger.h"
#include "serve/node.h"

#define SMALL_FILE_BYTES_MAX (64u << 10)

enum status server_file_read(const struct host *host, struct arena *arena, const char *data_dir, struct server_file *out, struct err *err) {
    must(host && out);
    char *path = arena_printf(arena, "%s/server.json", data_dir);
    struct str text;
    enum status status = fs_read_all(host->fs, arena, path, SMALL_FILE_BYTES_MAX, &text, err);
    if (status != OK) return status;
    char *padded = arena_zalloc(arena, text.n + JSON_PADDING);
    memcpy(padded, text.p, text.n);
    struct json_scanner *scanner = json_scanner_new(SMALL_FILE_BYTES_MAX);
    struct server_file file = {0};
    struct str value;
    bool good = json_scan(scanner, str_make(padded, text.n), NULL) == OK;
    good = good && json_scan_path(scanner, STR("address"), &value);
    if (good) file.address = arena_strndup(arena, value.p, value.n);
    good = good && json_scan_path(scanner, STR("version"), &value);
    if (good) file.version = arena_strndup(arena, value.p, value.n);
    good = good && json_scan_path(scanner, STR("pid"), &value) && str_to_i64(value, &file.pid);
    if (good && json_scan_path(scanner, STR("tls"), &value)) file.tls = str_is(value, "true");
    int64_t started_us = 0;
    if (good && json_scan_path(scanner, STR("started_at"), &value) && time_parse_us(value, &started_us)) file.started_ms = started_us / 1000;
    json_scanner_free(&scanner);
    if (!good) return err_set(err, E_CORRUPT, "%s: not a server file", path);
    *out = file;
    return OK;
}

enum status server_file_write(const struct host *host, const char *data_dir, const struct server_file *file, struct err *err) {
    must(host && file->address);
    AUTO_FREE char *path = mem_printf("%s/server.json", data_dir);
    BUF_SCOPE(text);
    struct json_writer w = json_write_to(&text);
    json_begin_object(&w);
    json_put_text(&w, "address", file->address);
    AUTO_FREE char *url =
        str_starts(str_of(file->address), STR("unix:")) ? mem_strdup(file->address) : mem_printf("%s://%s", file->tls ? "https" : "http", file->address);
    json_put_text(&w, "url", url);
    json_put_bool(&w, "tls", file->tls);
    json_put_int(&w, "pid", file->pid);
    json_put_text(&w, "version", file->version);
    json_put_time_ms(&w, "started_at", file->started_ms);
    json_end_object(&w);
    buf_char(&text, '\n');
    return fs_write_atomic(host->fs, path, buf_view(&text), err);
}

void server_file_remove(const struct host *host, const char *data_dir) {
    AUTO_FREE char *path = mem_printf("%s/server.json", data_dir);
    (void)host->fs->unlink(host->fs->self, path, NULL); /* gone already is fine */
}

enum status node_make_token(const struct host *host, const char *data_dir, struct err *err) {
    must(host && data_dir);
    ARENA_SCOPE(arena);
    struct ledger *ledger;
    enum status status = ledger_open(arena_printf(arena, "%s/ledger.db", data_dir), host, &ledger, err);
    if (status != OK) return status;
    status = ingest_cli_token(host, ledger, arena_printf(arena, "%s/cli.token", data_dir), err);
    ledger_close(&ledger);
    return status;
}

enum status data_format_ensure(const struct host *host, const char *data_dir, struct err *err) {
    must(host && data_dir);
    ARENA_SCOPE(arena);
    char *path = arena_printf(arena, "%s/format", data_dir);
    struct str text;
    uint64_t version = 0;
    enum status status = fs_read_all(host->fs, arena, path, SMALL_FILE_BYTES_MAX, &text, err);
    if (status == E_NOT_FOUND) {
        char *ledger = arena_printf(arena, "%s/ledger.db", data_dir);
        if (fs_exists(host->fs, ledger))
            return err_set(err, E_CORRUPT, "%s is missing although %s exists: restore it from a backup, or write %d into it", path, ledger, DATA_FORMAT);
        char now[16];
        int n = snprintf(now, sizeof now, "%d\n", DATA_FORMAT);
        return fs_write_atomic(host->fs, path, str_make(now, (size_t)n), err);
    }
    if (status != OK) return status;
    if (!str_to_u64(str_trim(text), &version) || version == 0) return err_set(err, E_CORRUPT, "%s: not a version number", path);
    if (version > DATA_FORMAT)
        return err_set(err, E_UNSUPPORTED, "%s: the data folder has format %llu, this cupel %s knows up to %d: use a newer cupel", path,
            (unsigned long long)version, CUPEL_VERSION, DATA_FORMAT);
    return OK; /* 1 is the first: there is nothing older to upgrade yet */
}
