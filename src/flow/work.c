/* Talking to a session of the engine: rows as JSON values, messages with their place. */
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"

enum status work_rows(struct engine_work *work, const char *sql, json_t **rows, struct err *err) {
    must(work && sql);
    BUF_SCOPE(text);
    enum status st = engine_work_run(work, sql, rows ? &text : NULL, NULL, err);
    if (st != OK || !rows) return st;
    json_t *array = text.n ? json_loadb(text.p, text.n, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL) : json_array();
    if (!json_is_array(array)) {
        json_decref(array);
        return err_set(err, E_INTERNAL, "the engine's rows are not a JSON array");
    }
    *rows = array;
    return OK;
}

const char *cell_text(const json_t *row, const char *name) { return json_string_value(json_object_get(row, name)); }

/* Integers over 32 bits may come as texts. */
int64_t cell_int(const json_t *row, const char *name) {
    const json_t *cell = json_object_get(row, name);
    int64_t n = 0;
    if (json_is_integer(cell)) return json_integer_value(cell);
    if (json_is_real(cell)) return (int64_t)json_real_value(cell);
    if (json_is_string(cell)) (void)str_to_i64(str_of(json_string_value(cell)), &n);
    return n;
}

/* "LINE 3: …shown text…" and below it the caret. DuckDB cuts long lines at both ends with dots. */
static bool find_caret(const char *sql, const char *place, int *line, int *column) {
    char *end;
    long number = strtol(place + 5, &end, 10);
    const char *shown = end + 2, *shown_end = strchr(shown, '\n');
    if (number < 1 || end[0] != ':' || end[1] != ' ' || !shown_end) return false;
    const char *caret = strchr(shown_end + 1, '^');
    if (!caret) return false;
    long at = (caret - (shown_end + 1)) - (shown - place);
    struct str text = str_make(shown, (size_t)(shown_end - shown));
    const char *begin = sql;
    for (long i = 1; i < number && begin; i++) begin = strchr(begin, '\n') ? strchr(begin, '\n') + 1 : NULL;
    if (!begin || at < 0) return false;
    if (str_starts(text, STR("..."))) text = str_from(text, 3), at -= 3;
    if (str_ends(text, STR("..."))) text.n -= 3;
    struct str whole = str_make(begin, strcspn(begin, "\n"));
    long offset = str_find(whole, text);
    *line = (int)number;
    *column = (int)((offset > 0 ? offset : 0) + at) + 1;
    return true;
}

size_t text_offset(const char *text, int line, int column) {
    must(text);
    const char *p = text;
    for (int i = 1; i < line && strchr(p, '\n'); i++) p = strchr(p, '\n') + 1;
    size_t in_line = strcspn(p, "\n"), at = column > 1 ? (size_t)column - 1 : 0;
    return (size_t)(p - text) + (at < in_line ? at : in_line);
}

bool engine_error_place(struct arena *arena, const char *sql, const char *text, const char **message, int *line, int *column) {
    must(arena && sql && text && message);
    const char *place = strstr(text, "\nLINE ");
    struct str head = str_trim(str_make(text, place ? (size_t)(place - text) : strlen(text)));
    static const char *const prefixes[] = {"Binder Error: ", "Catalog Error: ", "Parser Error: ", "Conversion Error: ", "Invalid Input Error: "};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (str_starts(head, str_of(prefixes[i]))) head = str_from(head, strlen(prefixes[i]));
    }
    char *one_line = arena_strndup(arena, head.p, head.n);
    for (char *c = one_line; *c; c++) *c = *c == '\n' ? ' ' : *c;
    *message = one_line;
    return place && find_caret(sql, place + 1, line, column);
}
