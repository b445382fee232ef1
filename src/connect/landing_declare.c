/* Tables of landing sources before their first file: `columns:` of the source, so that models can name them from the start. */
#include <string.h>

#include "base/assert.h"
#include "connect/landing_priv.h"

/* How many of the wanted columns the table has, by name without case; SIZE_MAX: there is no such table. */
static enum status count_present(
    struct lake *lake, const char *schema, const char *name, const struct engine_column *wanted, size_t n, size_t *out, struct err *err) {
    struct lake_pin *pin;
    enum status status = lake_pin(lake, &pin, err);
    if (status != OK) return status;
    const struct engine_view *view = lake_pin_view(pin);
    *out = SIZE_MAX;
    for (size_t t = 0; t < view->tables_n; t++) {
        const struct engine_table *table = &view->tables[t];
        if (strcmp(table->schema, schema) != 0 || strcmp(table->name, name) != 0) continue;
        *out = 0;
        for (size_t i = 0; i < n; i++) {
            bool found = false;
            for (size_t c = 0; c < table->columns_n; c++) found = found || str_ieq(str_of(table->columns[c].name), str_of(wanted[i].name));
            *out += found;
        }
    }
    lake_unpin(&pin);
    return OK;
}

enum status landing_declare(struct lake *lake, const char *table, uint16_t number, const char *const *columns, size_t n, struct err *err) {
    must(lake && table && columns && n > 0);
    ARENA_SCOPE(arena);
    const char *dot = strchr(table, '.');
    must(dot);
    const char *schema = arena_strndup(arena, table, (size_t)(dot - table)), *name = dot + 1;
    struct str *keys = arena_new_array(arena, struct str, n);
    for (size_t i = 0; i < n; i++) keys[i] = str_of(columns[i]);
    struct landing_column *named = landing_columns_name(arena, keys, n); /* as the header of a file would be read */
    struct engine_column *wanted = arena_new_array(arena, struct engine_column, LANDING_OWN_COLUMNS + n), *planned;
    memcpy(wanted, landing_own_columns, LANDING_OWN_COLUMNS * sizeof *wanted);
    for (size_t i = 0; i < n; i++) wanted[LANDING_OWN_COLUMNS + i] = (struct engine_column){.name = named[i].name, .type = "VARCHAR"};
    size_t all = LANDING_OWN_COLUMNS + n, present;
    enum status status = count_present(lake, schema, name, wanted, all, &present, err);
    if (status != OK || present == all) return status;
    const char *const *properties = (const char *const[]){"cupel.stream", arena_printf(arena, "%u", number), NULL};
    if (present != SIZE_MAX) { /* it keeps its types and spelling: only what is missing is added */
        size_t missing = 0;
        for (size_t i = 0; i < all; i++) {
            status = count_present(lake, schema, name, &wanted[i], 1, &present, err);
            if (status != OK) return status;
            if (present == 0) wanted[missing++] = wanted[i];
        }
        all = missing;
    }
    status = lake_plan_columns(lake, arena, schema, name, wanted, all, &planned, err);
    const struct lake_append append = {.schema = schema, .name = name, .columns = planned, .columns_n = all, .properties = properties};
    return status != OK ? status : lake_commit(lake, &append, 1, NULL, NULL, err);
}
