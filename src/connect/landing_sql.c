#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/times.h"
#include "connect/landing_priv.h"

static const char *quoted(struct arena *arena, struct str text, char quote) {
    char *out = arena_alloc(arena, text.n * 2 + 3), *p = out;
    *p++ = quote;
    for (size_t i = 0; i < text.n; i++) {
        must(text.p[i] != 0);
        if (text.p[i] == quote) *p++ = quote;
        *p++ = text.p[i];
    }
    *p++ = quote;
    *p = 0;
    return out;
}

const char *sql_literal(struct arena *arena, struct str text) { return quoted(arena, text, '\''); }
const char *landing_sql_name(struct arena *arena, struct str name) { return quoted(arena, name, '"'); }

const char *sql_timestamp(struct arena *arena, int64_t at_ms) {
    struct civil c = time_civil_ms(at_ms);
    return arena_printf(arena, "TIMESTAMPTZ '%04d-%02d-%02d %02d:%02d:%02d.%03d+00'", c.year, c.month, c.day, c.hour, c.minute, c.second, (int)(at_ms % 1000));
}

const char *sql_parquet(struct arena *arena, const char *path) {
    BUF_SCOPE(pattern);
    for (const char *p = path; *p; p++) {
        if (*p == '*' || *p == '?' || *p == '[')
            buf_printf(&pattern, "[%c]", *p);
        else
            buf_char(&pattern, *p);
    }
    return arena_printf(arena, "read_parquet(%s, file_row_number = true, hive_partitioning = false)", sql_literal(arena, buf_view(&pattern)));
}
