/* Output for people. Everything that comes from data passes through base/shown.h: a payload must not be able to move the cursor, set a title or turn a line
 * around. */
#include "cli/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/shown.h"

#define CELL_COLUMNS_MAX 60

const char *color_bold(const struct cli *cli) { return cli->color ? "\033[1m" : ""; }
const char *color_red(const struct cli *cli) { return cli->color ? "\033[31m" : ""; }
const char *color_green(const struct cli *cli) { return cli->color ? "\033[32m" : ""; }
const char *color_dim(const struct cli *cli) { return cli->color ? "\033[2m" : ""; }
const char *color_off(const struct cli *cli) { return cli->color ? "\033[0m" : ""; }

const char *with_commas(int64_t value, char out[32]) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value), at = 0;
    if (value < 0) out[at++] = '-';
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *as_bytes(uint64_t value, char out[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double scaled = (double)value;
    size_t unit = 0;
    while (scaled >= 1000 && unit < 4) {
        scaled /= 1000;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", scaled, units[unit]);
    return out;
}

/* Terminal columns of UTF-8 text, counting characters: wide ones are rare in names and numbers. */
static size_t width_of(struct str text) {
    size_t width = 0;
    for (size_t i = 0; i < text.n; i++) width += ((unsigned char)text.p[i] & 0xC0) != 0x80;
    return width;
}

static json_t *member_of(json_t *row, const char *path) {
    struct str rest = str_of(path);
    while (row && rest.p) {
        struct str name = str_cut(&rest, '.');
        char text[64];
        snprintf(text, sizeof text, STR_FMT, STR_ARG(name));
        row = json_object_get(row, text);
    }
    return row;
}

static void cell_number(struct buf *out, json_t *value, enum column_kind kind) {
    char text[32];
    if (json_is_real(value))
        buf_printf(out, "%g", json_real_value(value));
    else if (kind == COLUMN_ID)
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (kind == COLUMN_BYTES)
        buf_text(out, as_bytes((uint64_t)json_integer_value(value), text));
    else
        buf_text(out, with_commas(json_integer_value(value), text));
}

static void cell(struct buf *out, json_t *value, enum column_kind kind) {
    if (!value || json_is_null(value))
        buf_text(out, "–");
    else if (json_is_number(value))
        cell_number(out, value, kind);
    else if (json_is_boolean(value))
        buf_text(out, json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        shown_put(out, str_make(json_string_value(value), json_string_length(value)), CELL_COLUMNS_MAX);
    else {
        char *text = json_dumps(value, JSON_COMPACT);
        shown_put(out, str_of(text), CELL_COLUMNS_MAX);
        free(text);
    }
}

static void put_cell(struct str text, size_t width, bool right, bool last) {
    size_t pad = width > width_of(text) ? width - width_of(text) : 0;
    for (size_t i = 0; right && i < pad; i++) putchar(' ');
    printf(STR_FMT, STR_ARG(text));
    for (size_t i = 0; !right && !last && i < pad; i++) putchar(' ');
    if (!last) printf("  ");
}

static bool is_right(enum column_kind kind) { return kind == COLUMN_NUMBER || kind == COLUMN_BYTES; }

void print_rows(struct cli *cli, json_t *rows, const struct column *columns, size_t n) {
    must(columns && n > 0);
    size_t rows_n = json_array_size(rows);
    if (rows_n == 0) {
        printf("none\n");
        return;
    }
    struct str *cells = arena_new_array(cli->arena, struct str, rows_n * n);
    size_t *widths = arena_new_array(cli->arena, size_t, n);
    for (size_t c = 0; c < n; c++) widths[c] = width_of(str_of(columns[c].title));
    for (size_t i = 0; i < rows_n * n; i++) {
        BUF_SCOPE(text);
        cell(&text, member_of(json_array_get(rows, i / n), columns[i % n].member), columns[i % n].kind);
        cells[i] = arena_str(cli->arena, buf_view(&text));
        if (width_of(cells[i]) > widths[i % n]) widths[i % n] = width_of(cells[i]);
    }
    fputs(color_bold(cli), stdout);
    for (size_t c = 0; c < n; c++) put_cell(str_of(columns[c].title), widths[c], is_right(columns[c].kind), c + 1 == n);
    printf("%s\n", color_off(cli));
    for (size_t i = 0; i < rows_n * n; i++) {
        put_cell(cells[i], widths[i % n], is_right(columns[i % n].kind), i % n + 1 == n);
        if (i % n + 1 == n) putchar('\n');
    }
}

void print_object(struct cli *cli, json_t *object) {
    const char *name;
    json_t *value;
    size_t width = 0;
    json_object_foreach(object, name, value) {
        if (strlen(name) > width) width = strlen(name);
    }
    json_object_foreach(object, name, value) {
        printf("%s%-*s%s  ", color_bold(cli), (int)width, name, color_off(cli));
        BUF_SCOPE(shown);
        if (json_is_string(value)) {
            shown_put(&shown, str_make(json_string_value(value), json_string_length(value)), 0);
        } else {
            char *text = json_dumps(value, JSON_ENCODE_ANY | (json_is_object(value) || json_is_array(value) ? JSON_COMPACT : 0));
            shown_put(&shown, str_of(text), 0);
            free(text);
        }
        printf("%s\n", buf_cstr(&shown));
    }
}

const char *text_at(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static json_t *shown_string(json_t *value) {
    BUF_SCOPE(text);
    shown_put_lines(&text, str_make(json_string_value(value), json_string_length(value)));
    return json_string(buf_cstr(&text));
}

void make_shown(json_t *tree) {
    size_t i;
    const char *name;
    json_t *value;
    json_object_foreach(tree, name, value) {
        if (json_is_string(value))
            json_object_set_new(tree, name, shown_string(value));
        else
            make_shown(value);
    }
    json_array_foreach(tree, i, value) {
        if (json_is_string(value))
            json_array_set_new(tree, i, shown_string(value));
        else
            make_shown(value);
    }
}

void print_payload(const struct cli *cli, struct str text) {
    BUF_SCOPE(shown);
    if (cli->out_terminal) shown_put_lines(&shown, text);
    print_text(cli->out_terminal ? buf_view(&shown) : text);
}

void print_json(json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    printf("%s\n", text ? text : "null");
    free(text);
}

void print_text(struct str text) {
    if (text.n) fwrite(text.p, 1, text.n, stdout);
}

void print_error_text(struct str text) {
    BUF_SCOPE(shown);
    shown_put_lines(&shown, text);
    if (shown.n) fwrite(shown.p, 1, shown.n, stderr);
}

void print_answer(struct cli *cli, json_t *answer, const char *rows, const struct column *columns, size_t n) {
    if (cli->json)
        print_json(answer);
    else
        print_rows(cli, rows ? json_object_get(answer, rows) : answer, columns, n);
}

void progress(struct cli *cli, bool last, const char *format, ...) {
    static int64_t shown_ms;
    int64_t now_ms = host_monotonic_ms(&cli->host);
    if (!last && (!cli->err_terminal || now_ms - shown_ms < 250)) return;
    shown_ms = now_ms;
    va_list args;
    va_start(args, format);
    if (cli->err_terminal) fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    if (last) fputc('\n', stderr);
    fflush(stderr);
    va_end(args);
}

enum status output_finish(struct err *err) {
    if (fflush(stdout) != 0 || ferror(stdout)) return err_set(err, E_IO, "writing the results to standard output failed");
    return OK;
}
