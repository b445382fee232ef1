#include "cli/sql_split.h"

#include <ctype.h>

/* Each skips what begins at `at` and returns the index behind it; text.n when it does not end. */

static size_t skip_quoted(struct str text, size_t at) {
    char quote = text.p[at++];
    while (at < text.n) {
        if (text.p[at++] != quote) continue;
        if (at < text.n && text.p[at] == quote)
            at++; /* doubled: part of the text */
        else
            return at;
    }
    return text.n;
}

static size_t skip_line_comment(struct str text, size_t at) {
    while (at < text.n && text.p[at] != '\n') at++;
    return at;
}

static size_t skip_block_comment(struct str text, size_t at) {
    long end = str_find(str_from(text, at + 2), STR("*/"));
    return end < 0 ? text.n : at + 2 + (size_t)end + 2;
}

/* $tag$ … $tag$; a `$` that opens no tag ($1) is skipped alone. */
static size_t skip_dollar(struct str text, size_t at) {
    size_t i = at + 1;
    while (i < text.n && (isalpha((unsigned char)text.p[i]) || text.p[i] == '_' || (i > at + 1 && isdigit((unsigned char)text.p[i])))) i++;
    if (i >= text.n || text.p[i] != '$') return at + 1;
    struct str tag = str_make(text.p + at, i + 1 - at);
    long end = str_find(str_from(text, i + 1), tag);
    return end < 0 ? text.n : i + 1 + (size_t)end + tag.n;
}

/* The index behind the token at `at`; *comment tells whether it was one. */
static size_t skip_token(struct str text, size_t at, bool *comment) {
    char c = text.p[at], next = at + 1 < text.n ? text.p[at + 1] : '\0';
    *comment = (c == '-' && next == '-') || (c == '/' && next == '*');
    if (c == '-' && next == '-') return skip_line_comment(text, at);
    if (c == '/' && next == '*') return skip_block_comment(text, at);
    if (c == '\'' || c == '"') return skip_quoted(text, at);
    if (c == '$') return skip_dollar(text, at);
    return at + 1;
}

bool sql_statement_end(struct str text, size_t *end) {
    bool comment;
    for (size_t at = 0; at < text.n;) {
        if (text.p[at] == ';') {
            *end = at;
            return true;
        }
        at = skip_token(text, at, &comment);
    }
    return false;
}

bool sql_is_blank(struct str text) {
    for (size_t at = 0; at < text.n;) {
        bool comment, blank = isspace((unsigned char)text.p[at]) != 0 || text.p[at] == ';';
        at = skip_token(text, at, &comment);
        if (!comment && !blank) return false;
    }
    return true;
}
