/* Names and texts as SQL writes them: between quotes, with quotes inside doubled. No other character means anything there. */
#ifndef CUPEL_BASE_SQL_QUOTE_H
#define CUPEL_BASE_SQL_QUOTE_H

#include "base/buf.h"

void sql_quote_name(struct buf *out, struct str name); /* "a""b" */
void sql_quote_text(struct buf *out, struct str text); /* 'it''s' */

#endif
