/* JSON, NDJSON and CSV, row by row; tables are in result_table.c. */
#include <stdio.h>

#include "base/assert.h"
#include "base/json.h"
#include "lake/result.h"

struct result_writer {
    enum result_format format;
    const struct result_columns *columns;
    const struct str *json_names; /* "name": as they stand in each object */
    struct table_writer *table;
    duckdb_vector *vectors; /* of the chunk at hand */
    struct buf cell; /* reused */
    uint64_t rows;
};

void result_head(const struct result_columns *columns, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_name(&w, "columns");
    json_begin_array(&w);
    for (size_t i = 0; i < columns->n; i++) {
        json_begin_object(&w);
        json_put_text(&w, "name", columns->names[i]);
        json_put_text(&w, "type", columns->types[i].text);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
}

/* Names of JSON members must differ: a second `a` becomes `a_1`. */
static const struct str *json_names(struct arena *arena, const struct result_columns *columns) {
    struct str *names = arena_new_array(arena, struct str, columns->n);
    const char **plain = arena_new_array(arena, const char *, columns->n);
    for (size_t i = 0; i < columns->n; i++) {
        plain[i] = columns->names[i];
        for (size_t k = 0, copy = 1; k < i; k++) {
            if (strcmp(plain[k], plain[i]) == 0) {
                plain[i] = arena_printf(arena, "%s_%zu", columns->names[i], copy++);
                k = (size_t)-1; /* look at all again with the new name */
            }
        }
        BUF_SCOPE(text);
        struct json_writer w = json_write_to(&text);
        json_str(&w, str_of(plain[i]));
        buf_char(&text, ':');
        names[i] = arena_str(arena, buf_view(&text));
    }
    return names;
}

struct result_writer *result_new(struct arena *arena, enum result_format format, const struct result_columns *columns, uint32_t rows_max, uint32_t width_max) {
    must(format != RESULT_PARQUET);
    struct result_writer *w = arena_new_one(arena, struct result_writer);
    w->format = format;
    w->columns = columns;
    w->vectors = arena_new_array(arena, duckdb_vector, columns->n);
    if (format == RESULT_JSON || format == RESULT_NDJSON) {
        w->json_names = json_names(arena, columns);
    } else if (format == RESULT_TABLE) {
        w->table = table_new(arena, columns, rows_max, width_max);
    }
    return w;
}

static void put_object(struct result_writer *w, struct buf *out, idx_t row) {
    for (size_t i = 0; i < w->columns->n; i++) {
        buf_char(out, i ? ',' : '{');
        buf_str(out, w->json_names[i]);
        value_put_json(out, &w->columns->types[i], w->vectors[i], row);
    }
    buf_char(out, '}');
}

/* RFC 4180 section 2; an empty text is quoted, NULL is nothing. */
static void put_csv_cell(struct buf *out, struct str text) {
    bool quote = text.n == 0;
    for (size_t i = 0; i < text.n && !quote; i++) {
        quote = text.p[i] == ',' || text.p[i] == '"' || text.p[i] == '\n' || text.p[i] == '\r';
    }
    if (!quote) {
        buf_str(out, text);
        return;
    }
    buf_char(out, '"');
    while (text.n) { /* up to and with the next quote, which comes twice */
        const char *at = memchr(text.p, '"', text.n);
        size_t n = at ? (size_t)(at - text.p) + 1 : text.n;
        buf_put(out, text.p, n);
        buf_put(out, "\"", at != NULL);
        text = str_from(text, n);
    }
    buf_char(out, '"');
}

static void put_csv_row(struct result_writer *w, struct buf *out, idx_t row) {
    for (size_t i = 0; i < w->columns->n; i++) {
        if (i) {
            buf_char(out, ',');
        }
        buf_clear(&w->cell);
        if (value_put_text(&w->cell, &w->columns->types[i], w->vectors[i], row)) {
            put_csv_cell(out, str_make(w->cell.p ? w->cell.p : "", w->cell.n));
        }
    }
    buf_text(out, "\n");
}

static void put_start(struct result_writer *w, struct buf *out) {
    if (w->format == RESULT_JSON) {
        buf_char(out, '[');
    } else if (w->format == RESULT_CSV) {
        for (size_t i = 0; i < w->columns->n; i++) {
            buf_text(out, i ? "," : "");
            put_csv_cell(out, str_of(w->columns->names[i]));
        }
        buf_text(out, "\n");
    }
}

bool result_put(struct result_writer *w, struct buf *out, duckdb_data_chunk chunk, idx_t *row) {
    if (w->table) {
        return table_put(w->table, out, chunk, row);
    }
    must(duckdb_data_chunk_get_column_count(chunk) == w->columns->n);
    for (size_t i = 0; i < w->columns->n; i++) {
        w->vectors[i] = duckdb_data_chunk_get_vector(chunk, i);
    }
    if (!w->rows) {
        put_start(w, out);
    }
    idx_t n = duckdb_data_chunk_get_size(chunk);
    for (; *row < n && out->n < RESULT_PIECE_BYTES; (*row)++) {
        if (w->format == RESULT_CSV) {
            put_csv_row(w, out, *row);
        } else {
            if (w->format == RESULT_JSON && w->rows) {
                buf_text(out, ",\n");
            }
            put_object(w, out, *row);
            if (w->format == RESULT_NDJSON) {
                buf_char(out, '\n');
            }
        }
        w->rows++;
    }
    return true;
}

void result_end(struct result_writer *w, struct buf *out, bool cut) {
    if (w->table) {
        table_end(w->table, out, cut);
        return;
    }
    if (!w->rows) {
        put_start(w, out);
    }
    if (w->format == RESULT_JSON) {
        buf_text(out, "]\n");
    }
}

void result_free(struct result_writer *w) {
    buf_free(&w->cell);
    if (w->table) {
        table_free(w->table);
    }
}

uint64_t result_rows(const struct result_writer *w) { return w->table ? table_rows(w->table) : w->rows; }
