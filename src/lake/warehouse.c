/* The warehouse file in the child: data/warehouse.duckdb, attached as `warehouse` before the lock-down, and its schema `cupel`. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/engine_child.h"

#define FORMAT 1 /* of schema cupel; a warehouse with a higher one is refused */
#define ATTACH_TRIES 40 /* a child that was just killed may hold the file's lock for a moment */
#define ATTACH_WAIT_US 50000

/* Bytes on disk: docs/formats/lake.md. What stands here may only be added to: columns by ALTER TABLE … ADD COLUMN IF NOT EXISTS. */
static const char tables_sql[] =
    "CREATE SCHEMA IF NOT EXISTS warehouse.cupel;"
    "CREATE SCHEMA IF NOT EXISTS warehouse.cupel_old;"
    "CREATE SCHEMA IF NOT EXISTS warehouse.quarantine;"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.format(version INTEGER);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.identity(id VARCHAR);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.without_model(name VARCHAR, since TIMESTAMPTZ);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.changes(version BIGINT, table_name VARCHAR, inserted BIGINT, deleted BIGINT, rebuilt BOOLEAN, "
    "bucket_min TIMESTAMPTZ, bucket_max TIMESTAMPTZ, \"at\" TIMESTAMPTZ);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.positions(model VARCHAR, input VARCHAR, position VARCHAR, version BIGINT);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.models(model VARCHAR, kind VARCHAR, fingerprint VARCHAR, sql VARCHAR, columns VARCHAR, built_at TIMESTAMPTZ);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.runs(run_id VARCHAR, version BIGINT, model VARCHAR, flow VARCHAR, trigger VARCHAR, strategy VARCHAR, "
    "status VARCHAR, started_at TIMESTAMPTZ, duration_ms DOUBLE, rows_in BIGINT, rows_out BIGINT, filtered BIGINT, superseded BIGINT, quarantined BIGINT, "
    "inserted BIGINT, deleted BIGINT, error VARCHAR, sql VARCHAR);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.checks(run_id VARCHAR, model VARCHAR, expectation VARCHAR, column_name VARCHAR, severity VARCHAR, "
    "status VARCHAR, unexpected BIGINT, total BIGINT, observed VARCHAR, \"at\" TIMESTAMPTZ);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.outbox(id BIGINT, kind VARCHAR, target VARCHAR, payload VARCHAR, version BIGINT, \"at\" TIMESTAMPTZ);"
    "CREATE TABLE IF NOT EXISTS warehouse.cupel.freshness(\"table\" VARCHAR, as_of_event TIMESTAMPTZ, as_of_received TIMESTAMPTZ, run_version BIGINT, "
    "\"at\" TIMESTAMPTZ);";

static enum status run(duckdb_connection connection, const char *sql, struct err *err) {
    duckdb_result result;
    enum status st = OK;
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess) {
        st = duckdb_failed(NULL, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    }
    duckdb_destroy_result(&result);
    return st;
}

static enum status attach(struct child *child, duckdb_connection connection, const char *path, struct err *err) {
    BUF_SCOPE(sql);
    buf_text(&sql, "ATTACH ");
    sql_quote_text(&sql, str_of(path));
    buf_text(&sql, " AS warehouse");
    enum status st = run(connection, buf_cstr(&sql), err);
    for (int i = 0; st != OK && strstr(err->text, "Could not set lock") && i < ATTACH_TRIES; i++) {
        child->host.clock->sleep_us(child->host.clock->self, ATTACH_WAIT_US);
        st = run(connection, buf_cstr(&sql), err);
    }
    return st;
}

/* The first row's first column; -1: no row. */
static enum status number(duckdb_connection connection, const char *sql, int64_t *out, struct err *err) {
    duckdb_result result;
    enum status st = OK;
    *out = -1;
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess) {
        st = duckdb_failed(NULL, duckdb_result_error_type(&result), duckdb_result_error(&result), err);
    } else {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk && duckdb_data_chunk_get_size(chunk)) {
            *out = ((int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
        }
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return st;
}

static enum status make_tables(duckdb_connection connection, struct err *err) {
    int64_t version = -1;
    AUTO_FREE char *sql = mem_printf("BEGIN; %s", tables_sql);
    enum status st = run(connection, sql, err);
    if (st == OK) {
        st = number(connection, "SELECT max(version)::BIGINT FROM warehouse.cupel.format HAVING count(*) > 0", &version, err);
    }
    if (st == OK && version > FORMAT) {
        st = err_set(err, E_UNSUPPORTED, "its format is %lld, this version of cupel knows %d", (long long)version, FORMAT);
    }
    if (st == OK && version < 0) {
        /* The identity tells this warehouse from one before it whose versions were the same numbers. Those made before there was one go on without. */
        AUTO_FREE char *note = mem_printf(
            "INSERT INTO warehouse.cupel.format VALUES (%d); INSERT INTO warehouse.cupel.identity VALUES (replace(uuid()::VARCHAR, '-', ''))", FORMAT);
        st = run(connection, note, err);
    }
    if (st == OK) {
        st = run(connection, "COMMIT", err);
    }
    if (st != OK) {
        run(connection, "ROLLBACK", NULL);
    }
    return st;
}

static void give_up(struct child *child, duckdb_connection connection, const char *path, enum status status, const char *why) {
    run(connection, "DETACH DATABASE IF EXISTS warehouse", NULL);
    const char *end = strchr(why, '\n');
    int n = end ? (int)(end - why) : (int)strlen(why);
    bool locked = strstr(why, "Could not set lock") != NULL;
    child->warehouse_status = locked ? E_BUSY : status == E_NO_SPACE || status == E_UNSUPPORTED ? status : E_CORRUPT;
    bool damaged = child->warehouse_status == E_CORRUPT;
    child->warehouse_why = mem_printf("the warehouse %s cannot be opened: %.*s%s", path, n, why,
        damaged      ? "; when it is damaged, move it and its .wal away with Cupel stopped, and cupel flow run makes its tables again from bronze"
            : locked ? "; it is tried again"
                     : "");
    log_error("engine", "the warehouse cannot be opened; tables of the lake can be read all the same", LOG_STR("path", path), LOG_STR("error", why), NULL);
}

static enum status unlink_if_there(const struct fs *fs, const char *path, struct err *err) {
    return fs_exists(fs, path) ? fs->unlink(fs->self, path, err) : OK;
}

/* Under another name first: a process that is killed here leaves no file that looks like a damaged warehouse. */
static enum status make_file(struct child *child, duckdb_connection connection, const char *path, struct err *err) {
    const struct fs *fs = child->host.fs;
    AUTO_FREE char *fresh = mem_printf("%s.new", path), *wal = mem_printf("%s.new.wal", path);
    enum status st = unlink_if_there(fs, fresh, err);
    st = st == OK ? unlink_if_there(fs, wal, err) : st;
    st = st == OK ? attach(child, connection, fresh, err) : st;
    st = st == OK ? make_tables(connection, err) : st;
    st = st == OK ? run(connection, "CHECKPOINT warehouse; DETACH warehouse", err) : st;
    st = st == OK ? fs_sync_path(fs, fresh, err) : st;
    st = st == OK ? fs->rename(fs->self, fresh, path, err) : st;
    return st == OK ? fs->sync_dir(fs->self, child->data_dir, err) : st;
}

void warehouse_open(struct child *child, duckdb_connection connection) {
    AUTO_FREE char *path = mem_printf("%s/warehouse.duckdb", child->data_dir);
    struct err err = {0};
    enum status st = fs_exists(child->host.fs, path) ? OK : make_file(child, connection, path, &err);
    st = st == OK ? attach(child, connection, path, &err) : st;
    st = st == OK ? make_tables(connection, &err) : st;
    if (st != OK) {
        give_up(child, connection, path, st, err.text);
    }
}

void warehouse_noted(struct session *session, duckdb_statement_type type, bool names_warehouse, bool names_models) {
    bool makes = type == DUCKDB_STATEMENT_TYPE_CREATE || type == DUCKDB_STATEMENT_TYPE_ALTER || type == DUCKDB_STATEMENT_TYPE_DROP;
    bool writes = type == DUCKDB_STATEMENT_TYPE_INSERT || type == DUCKDB_STATEMENT_TYPE_UPDATE || type == DUCKDB_STATEMENT_TYPE_DELETE;
    bool ends = type == DUCKDB_STATEMENT_TYPE_TRANSACTION;
    session->warehouse_touched = session->warehouse_touched || (makes && names_warehouse) || (writes && names_models);
    if (session->warehouse_touched) {
        atomic_fetch_add(&session->child->warehouse_serial, 1);
        session->warehouse_touched = !ends;
    }
}
