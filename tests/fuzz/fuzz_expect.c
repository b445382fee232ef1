/* Expectations: any text gives a suite or problems with a place, never both; what a suite says can always be written as SQL. */
#include "flow/expect.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size, 0);
    ARENA_SCOPE(arena);
    struct config_problems problems = {0};
    struct expect_suite *suite = NULL;
    struct err err;
    enum status status = expect_parse(arena, "e.yaml", "silver.t", str_make(text, size), &suite, &problems, &err);
    must((status == OK) == (suite != NULL));
    must((status == OK) == (problems.errors == 0));
    BUF_SCOPE(out);
    if (suite) {
        static const struct flow_column columns[] = {{.name = "id", .type = "INTEGER"}, {.name = "name", .type = "VARCHAR"}};
        static const char *const key[] = {"id"};
        const struct expect_batch batch = {.rows = "b", .failures = "f", .existing = "e", .key = key, .key_n = 1, .columns = columns, .columns_n = 2};
        (void)expect_check_columns(arena, suite, columns, 2, &problems);
        expect_failures_sql(suite, &batch, &out);
        expect_results_sql(suite, &batch, &out);
        expect_quarantine_sql(suite, &batch, &(struct expect_quarantine){.table = "q", .run_id = "r", .event_id = true}, &out);
        expect_remove_sql(suite, &batch, &out);
        for (size_t i = 0; i < suite->n; i++) (void)expect_verdict(&suite->list[i], 1, size, 0);
    }
    config_problems_write(&problems, "e.yaml", &out);
    config_problems_free(&problems);
    free(text);
    return 0;
}
