/* Shared by landing_rows.c and landing_rows_json.c. */
#ifndef CUPEL_CONNECT_LANDING_ROWS_PRIV_H
#define CUPEL_CONNECT_LANDING_ROWS_PRIV_H

#include "base/map.h"
#include "connect/json_flat.h"
#include "connect/landing_rows.h"
#include "connect/text_window.h"

enum json_place { JSON_START, JSON_FIRST_ELEMENT, JSON_ELEMENT, JSON_AFTER_ELEMENT, JSON_VALUES, JSON_END };

struct landing_rows {
    const struct host *host;
    const struct landing_plan *plan;
    bool whole_json, keys_only, header_pending;
    struct text_window window;
    struct csv_parser csv;
    struct line_parser lines;
    struct encoding_table *table; /* single-byte encodings; NULL otherwise */
    struct arena *batch, *lasting; /* of one call of next; of the reader */
    struct bad_spool *bad;
    struct landing_counts counts;
    enum json_place place; /* of a JSON document */
    struct json_end json_end;
    uint64_t json_line;
    struct map *keys; /* key -> its number + 1 */
    struct str *key_list;
    size_t keys_n, keys_cap;
};

enum row_outcome { ROW_GOOD, ROW_BAD, ROW_NONE };

/* Puts the record aside. `format` makes the reason. */
enum status landing_rows_put_bad(struct landing_rows *r, uint64_t number, struct str raw, struct err *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The record's bytes in UTF-8: E_INVALID with its place when they are not. For UTF-8 nothing is checked here. */
bool landing_rows_decode(struct landing_rows *r, struct str raw, struct str *out, size_t *bad_at);

/* The next JSON value of a document (LANDING_JSON), shape of csv_parse; *ended when there is none left. */
enum status landing_json_step(struct landing_rows *r, struct csv_record *record, enum csv_step *step, bool *ended, struct err *err);
/* One JSON record to cells (plan->columns_n of them, or one when whole_json, none when keys_only). */
enum status landing_json_row(struct landing_rows *r, const struct csv_record *record, struct str *cells, enum row_outcome *outcome, struct err *err);
enum status landing_json_begin(struct landing_rows *r, struct err *err);

#endif
