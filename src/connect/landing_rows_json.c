#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/landing_rows_priv.h"

/* ---- documents: one value after the other ---- */

static uint64_t line_feeds(const char *p, size_t n) {
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) count += p[i] == '\n';
    return count;
}

static void consume(struct landing_rows *r, size_t n) {
    r->json_line += line_feeds(r->window.p + r->window.at, n);
    r->window.at += n;
}

static void skip_blanks(struct landing_rows *r) {
    struct text_window *w = &r->window;
    size_t n = 0;
    while (w->at + n < w->end && strchr(" \t\r\n", w->p[w->at + n]) && w->p[w->at + n]) n++;
    consume(r, n);
}

static enum status broken(struct landing_rows *r, struct err *err, const char *what) {
    return err_set(err, E_INVALID, "line %llu: %s", (unsigned long long)r->json_line, what);
}

/* A value begins at window.at. */
static enum status find_value(struct landing_rows *r, struct csv_record *record, enum csv_step *step, struct err *err) {
    struct text_window *w = &r->window;
    struct str text = {w->p + w->at, w->end - w->at};
    size_t length;
    if (!json_find_end(&r->json_end, text, &length)) {
        if (!w->final && text.n > r->plan->record_bytes_max)
            return err_set(
                err, E_LIMIT, "line %llu: this value is longer than record_bytes_max %zu", (unsigned long long)r->json_line, r->plan->record_bytes_max);
        if (!w->final) return OK;
        if (r->json_end.depth || r->json_end.in_string) return broken(r, err, "the file ends in the middle of the value that begins here");
        length = text.n;
    }
    must(length > 0 && length <= text.n);
    *record = (struct csv_record){.cells_n = 1, .raw = {text.p, length}, .used = length, .line = r->json_line};
    r->json_line += line_feeds(text.p, length);
    r->json_end = (struct json_end){0};
    *step = CSV_RECORD;
    if (r->place != JSON_VALUES) r->place = JSON_AFTER_ELEMENT;
    return OK;
}

/* Punctuation in front of the next value. *value: one may begin here. */
static enum status before_value(struct landing_rows *r, bool *value, struct err *err) {
    char c = r->window.p[r->window.at];
    *value = false;
    switch (r->place) {
    case JSON_START:
        r->place = c == '[' ? JSON_FIRST_ELEMENT : JSON_VALUES;
        if (c == '[') consume(r, 1);
        return OK;
    case JSON_FIRST_ELEMENT:
    case JSON_ELEMENT:
        if (c == ']' && r->place == JSON_FIRST_ELEMENT) {
            r->place = JSON_END;
            consume(r, 1);
            return OK;
        }
        if (c == ',' || c == ']') return broken(r, err, "a value is missing in the array");
        *value = true;
        return OK;
    case JSON_AFTER_ELEMENT:
        if (c != ',' && c != ']') return broken(r, err, "a comma is missing between the elements of the array");
        r->place = c == ',' ? JSON_ELEMENT : JSON_END;
        consume(r, 1);
        return OK;
    case JSON_VALUES: *value = true; return OK;
    case JSON_END: return broken(r, err, "something follows the array");
    }
    must_not();
}

enum status landing_json_step(struct landing_rows *r, struct csv_record *record, enum csv_step *step, bool *ended, struct err *err) {
    struct text_window *w = &r->window;
    *ended = false;
    *step = CSV_MORE;
    for (;;) {
        if (r->json_end.at == 0) skip_blanks(r);
        if (w->at == w->end) {
            if (!w->final) return OK;
            *ended = true;
            return r->place == JSON_FIRST_ELEMENT || r->place == JSON_ELEMENT || r->place == JSON_AFTER_ELEMENT ? broken(r, err, "the array is not closed")
                                                                                                                : OK;
        }
        bool value = r->json_end.at > 0;
        enum status st = value ? OK : before_value(r, &value, err);
        if (st != OK) return st;
        if (value) return find_value(r, record, step, err);
    }
}

/* ---- rows ---- */

struct row_making {
    struct landing_rows *r;
    struct str *cells;
    struct str *seen; /* keys_only: keys of this row, kept when it turns out good */
    size_t seen_n, seen_cap;
    bool unknown;
};

static size_t key_number(struct landing_rows *r, struct str key) { return (size_t)(uintptr_t)map_get(r->keys, key); }

static bool take_cell(void *context, struct str key, struct str value) {
    struct row_making *m = context;
    size_t number = key_number(m->r, key);
    if (number)
        m->cells[number - 1] = value;
    else
        m->unknown = true;
    return true;
}

static bool take_key(void *context, struct str key, struct str value) {
    struct row_making *m = context;
    if (key_number(m->r, key)) return true;
    if (m->seen_n == m->seen_cap) {
        m->seen_cap = m->seen_cap ? m->seen_cap * 2 : 16;
        m->seen = mem_realloc(m->seen, m->seen_cap * sizeof *m->seen);
    }
    m->seen[m->seen_n++] = key;
    return true;
}

static bool take_nothing(void *context, struct str key, struct str value) { return true; }

static void add_key(struct landing_rows *r, struct str key) {
    if (key_number(r, key)) return;
    if (r->keys_n == r->keys_cap) {
        r->keys_cap = r->keys_cap ? r->keys_cap * 2 : 64;
        r->key_list = mem_realloc(r->key_list, r->keys_cap * sizeof *r->key_list);
    }
    r->key_list[r->keys_n++] = arena_str(r->lasting, key);
    map_put(r->keys, key, (void *)(uintptr_t)r->keys_n);
}

enum status landing_json_begin(struct landing_rows *r, struct err *err) {
    r->keys = map_new();
    for (size_t i = 0; !r->keys_only && i < r->plan->columns_n; i++) add_key(r, r->plan->columns[i].key);
    if (!r->keys_only && r->keys_n != r->plan->columns_n) return err_set(err, E_INVALID, "the landing specification names a key twice");
    return OK;
}

static enum status put_fault(struct landing_rows *r, const struct csv_record *record, struct str text, const struct json_fault *fault, struct err *err) {
    size_t line_start = 0;
    uint64_t line = record->line;
    for (size_t i = 0; i < fault->at && i < text.n; i++)
        if (text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    return landing_rows_put_bad(
        r, r->counts.read, record->raw, err, "line %llu, column %zu: %s", (unsigned long long)line, fault->at - line_start + 1, fault->what);
}

enum status landing_json_row(struct landing_rows *r, const struct csv_record *record, struct str *cells, enum row_outcome *outcome, struct err *err) {
    struct row_making making = {.r = r, .cells = cells};
    struct json_fault fault = {0};
    struct str text;
    size_t bad_at = 0;
    *outcome = ROW_BAD;
    if (record->problem || record->raw.n > r->plan->record_bytes_max)
        return landing_rows_put_bad(r, r->counts.read, str_head(record->raw, r->plan->record_bytes_max), err,
            "line %llu: the row is longer than record_bytes_max %zu", (unsigned long long)record->line, r->plan->record_bytes_max);
    bool fine = landing_rows_decode(r, record->raw, &text, &bad_at);
    if (!fine) {
        fault = (struct json_fault){"a byte that means nothing in the encoding", bad_at};
        return put_fault(r, record, record->raw, &fault, err);
    }
    for (size_t i = 0; !r->keys_only && !r->whole_json && i < r->plan->columns_n; i++) cells[i] = STR_NULL;
    json_member member = r->keys_only ? take_key : r->whole_json ? take_nothing : take_cell;
    fine = json_flat(r->batch, text, member, &making, &fault);
    for (size_t i = 0; fine && i < making.seen_n; i++) add_key(r, making.seen[i]);
    free(making.seen);
    if (fine && making.unknown)
        return err_set(err, E_BUSY, "%s changed while it was read: line %llu has a new key", r->plan->path, (unsigned long long)record->line);
    if (!fine) return put_fault(r, record, text, &fault, err);
    if (r->keys_n > r->plan->columns_max)
        return err_set(err, E_LIMIT, "line %llu: more than columns_max %zu different keys; documents like these belong into a stream",
            (unsigned long long)record->line, r->plan->columns_max);
    if (r->whole_json) cells[0] = str_trim(text);
    *outcome = ROW_GOOD;
    return OK;
}
