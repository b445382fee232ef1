/* Names and texts as SQL writes them. */
#include <string.h>

#include "base/assert.h"
#include "base/sql_quote.h"
#include "flow/flow_priv.h"

void sql_name(struct buf *out, const char *name) { sql_quote_name(out, str_of(name)); }

void sql_text(struct buf *out, const char *text) { sql_quote_text(out, str_of(text)); }

void sql_table(struct buf *out, const char *schema, const char *name) {
    sql_name(out, schema);
    buf_char(out, '.');
    sql_name(out, name);
}

void sql_names(struct buf *out, const char *prefix, const char *const *names, size_t n) {
    must(prefix && (names || !n));
    for (size_t i = 0; i < n; i++) {
        buf_text(out, i ? ", " : "");
        buf_text(out, prefix);
        sql_name(out, names[i]);
    }
}

void sql_columns(struct buf *out, const char *prefix, const struct flow_column *columns, size_t n) {
    must(prefix && (columns || !n));
    for (size_t i = 0; i < n; i++) {
        buf_text(out, i ? ", " : "");
        buf_text(out, prefix);
        sql_name(out, columns[i].name);
    }
}
