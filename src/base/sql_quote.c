#include "base/sql_quote.h"

static void quoted(struct buf *out, struct str text, char quote) {
    buf_char(out, quote);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == quote) buf_char(out, quote);
        buf_char(out, text.p[i]);
    }
    buf_char(out, quote);
}

void sql_quote_name(struct buf *out, struct str name) { quoted(out, name, '"'); }

void sql_quote_text(struct buf *out, struct str text) { quoted(out, text, '\''); }
