/* A lake over a real engine in a folder of its own; no log. The engine's child is the test's own binary. */
#ifndef CUPEL_TESTS_REAL_LAKE_FIXTURE_H
#define CUPEL_TESTS_REAL_LAKE_FIXTURE_H

#pragma GCC diagnostic ignored "-Wunused-function" /* not every test uses every helper */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "lake/lake_priv.h"
#include "lake/row_source.h"

struct fixture {
    char dir[64];
    struct host host;
    struct ledger *ledger;
    struct engine *engine;
    struct lake *lake;
    struct arena *arena;
    struct err err;
    int64_t version; /* of the warehouse, where a test counts it */
};

#define ok(call) \
    do { \
        if (call) fail_msg("%s:%d %s: %s", __FILE__, __LINE__, #call, f->err.text); \
    } while (0)

static int setup(void **state) {
    struct fixture *f = mem_zalloc(sizeof(*f));
    *state = f;
    snprintf(f->dir, sizeof(f->dir), "/tmp/cupel_real_lake_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->host = (struct host){fs_real(), clock_real()};
    f->arena = arena_new();
    ok(fs_mkdirs(f->host.fs, arena_printf(f->arena, "%s/log", f->dir), &f->err));
    ok(ledger_open(arena_printf(f->arena, "%s/ledger.db", f->dir), &f->host, &f->ledger, &f->err));
    ok(engine_new(&(struct engine_options){.host = &f->host, .data_dir = f->dir}, &f->engine, &f->err));
    ok(lake_open(&(struct lake_options){.host = &f->host, .dir = arena_printf(f->arena, "%s/lake", f->dir), .ledger = f->ledger, .engine = f->engine}, &f->lake,
        &f->err));
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    lake_close(&f->lake);
    engine_free(&f->engine);
    ledger_close(&f->ledger);
    arena_free(&f->arena);
    assert_int_equal(fs_remove_tree(fs_real(), f->dir, NULL), OK);
    free(f);
    return 0;
}

#define REAL_LAKE_TEST_MAIN(tests) \
    int main(int argc, char **argv) { \
        static const struct row_source_kind *const none[] = {NULL}; \
        if (argc > 1 && !strcmp(argv[1], "engine")) return engine_main(argc - 1, argv + 1, none); \
        log_configure((struct log_options){.level = LOG_ERROR, .quiet = true}); \
        return cmocka_run_group_tests(tests, NULL, NULL); \
    }

#endif
