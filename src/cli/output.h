/* Output for people: tables, numbers, colours, progress. */
#ifndef CUPEL_CLI_OUTPUT_H
#define CUPEL_CLI_OUTPUT_H

#include "base/buf.h"
#include "cli/command.h"
#include "cli/tree.h"

enum column_kind { COLUMN_TEXT, COLUMN_NUMBER, COLUMN_BYTES, COLUMN_TIME, COLUMN_BOOL, COLUMN_ID /* a number without thousands */ };

struct column {
    const char *title, *member; /* member of each row's object; "a.b" for nested ones */
    enum column_kind kind;
};

/* Aligned columns with a head line; numbers to the right; says "none" for no rows. */
void print_rows(struct cli *cli, json_t *rows, const struct column *columns, size_t n);
/* One object as "name  value" lines; nested values as JSON. */
void print_object(struct cli *cli, json_t *object);
void print_json(json_t *value); /* indented, newline at the end */
void print_text(struct str text); /* to stdout as it is */
void print_error_text(struct str text); /* to stderr, lines as they are, what could steer the terminal as escapes */
/* A text member of an object; "" when it is missing or something else. Lives as long as the object. */
const char *text_at(const json_t *object, const char *name);
/* A payload: byte for byte into files and pipes; on a terminal as print_error_text shows texts. */
void print_payload(const struct cli *cli, struct str text);
/* Replaces every text of an answer by how it may be shown (base/shown.h, line feeds and tabs stay), before it is printed for people. reach_print does so. */
void make_shown(json_t *tree);
/* The answer to --json or to a table: prints `rows` of `answer` (a member; NULL: the answer itself is the list). */
void print_answer(struct cli *cli, json_t *answer, const char *rows, const struct column *columns, size_t n);
/* "12,345,678" */
const char *with_commas(int64_t value, char out[32]);
/* "1.3 MB" */
const char *as_bytes(uint64_t value, char out[32]);
/* ANSI sequences, empty without colour. */
const char *color_bold(const struct cli *cli);
const char *color_red(const struct cli *cli);
const char *color_green(const struct cli *cli);
const char *color_dim(const struct cli *cli);
const char *color_off(const struct cli *cli);
/* Rewrites one line on a terminal's stderr, at most four times a second unless `last`; elsewhere prints only the last. */
void progress(struct cli *cli, bool last, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Flushes stdout; E_IO when the results could not be written (a full disk, a closed pipe). */
enum status output_finish(struct err *err);

#endif
