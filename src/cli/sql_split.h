/* Where a SQL statement ends, as far as a shell has to know: quotes, dollar quotes and comments are skipped. */
#ifndef CUPEL_CLI_SQL_SPLIT_H
#define CUPEL_CLI_SQL_SPLIT_H

#include <stdbool.h>

#include "base/str.h"

/* The first `;` that ends a statement: *end is its index. false: there is none yet (a quote or comment may be open). */
bool sql_statement_end(struct str text, size_t *end);
/* Nothing but blanks and comments. */
bool sql_is_blank(struct str text);

#endif
