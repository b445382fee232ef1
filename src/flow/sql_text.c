/* Names and texts as SQL writes them. */
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"

static void quoted(struct buf *out, const char *text, char quote) {
    must(out && text);
    buf_char(out, quote);
    for (; *text; text++) {
        if (*text == quote) buf_char(out, quote);
        buf_char(out, *text);
    }
    buf_char(out, quote);
}

void sql_name(struct buf *out, const char *name) { quoted(out, name, '"'); }

void sql_text(struct buf *out, const char *text) { quoted(out, text, '\''); }

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
