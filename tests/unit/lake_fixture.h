/* For tests of the lake's tables: a lake in a folder of its own over a disk that can be told to fail, files that look like Parquet from outside, and an engine
 * that only counts. */
#ifndef CUPEL_TESTS_LAKE_FIXTURE_H
#define CUPEL_TESTS_LAKE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "lake/lake_priv.h"

/* A disk that loses what was not synced. Calls that change something are counted; from the `fail_at`-th on all fail (the power is out), or only that one. */
struct test_disk {
    struct fs fs;
    const struct fs *below;
    mutex lock;
    long calls, fail_at; /* 0: never */
    bool only_once;
    struct map *unsynced; /* path -> itself: content not synced */
    struct map *unnamed; /* path -> itself: entry of its folder not synced */
    char *paths[1024]; /* by handle */
};

void test_disk_init(struct test_disk *disk);
void test_disk_free(struct test_disk *disk);
void test_disk_note_unsynced(struct test_disk *disk, const char *path); /* written past the disk, as DuckDB does */
bool test_disk_failed(const struct test_disk *disk);
/* What a power cut does: unsynced content is torn, unsynced names are gone. */
void test_disk_power_cut(struct test_disk *disk);

struct fixture {
    char dir[64];
    struct test_disk disk;
    struct host host, plain_host; /* over the test's disk, over the real one */
    struct ledger *ledger;
    struct lake *lake;
    struct stream_log *log; /* NULL unless the test opens one */
    struct err err;
};

struct fixture *fixture_new(void);
void fixture_free(struct fixture *f);
void fixture_open(struct fixture *f); /* ledger and lake */
void fixture_close(struct fixture *f);

/* A file that passes the publish step's check; its size depends on `rows`. Returns its path (arena). */
struct lake_file fake_file(struct fixture *f, struct arena *arena, int64_t hour, uint64_t rows);
void fake_parquet(const char *path, uint64_t rows, uint64_t *size_bytes);

/* One commit of `n` files (rows each) in hours hour, hour + 1, …; position property `at`. */
enum status append_rows(struct fixture *f, const char *name, size_t n, int64_t hour, uint64_t rows, const char *at);
uint64_t rows_of(struct fixture *f, const char *schema, const char *name);
struct table_version *version_of(struct fixture *f, const char *schema, const char *name);

#define ok(call) \
    do { \
        enum status status_ = (call); \
        if (status_ != OK) fail_msg("%s:%d %s: %s", __FILE__, __LINE__, #call, f->err.text); \
    } while (0)

/* The fake engine: how often it was called, and a failure to give next. */
struct fake_engine {
    struct fixture *fixture;
    int copies;
    int fail_next;
    uint64_t (*count)(struct fixture *f, const char *sql); /* rows that a copy gives */
};
extern struct fake_engine fake_engine;

#endif
