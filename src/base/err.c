#define CUPEL_ERR_C
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const struct {
    const char *name, *title;
    int http, exit_code;
} status_rows[] = {
#define X(name, number, http, exit_code, title) [number] = {#name, title, http, exit_code},
    STATUS_TABLE(X)
#undef X
};

static size_t status_index(enum status status) {
    must((size_t)status < sizeof status_rows / sizeof *status_rows);
    return (size_t)status;
}

const char *status_name(enum status status) { return status_rows[status_index(status)].name; }
const char *status_title(enum status status) { return status_rows[status_index(status)].title; }
int status_http(enum status status) { return status_rows[status_index(status)].http; }
int status_exit_code(enum status status) { return status_rows[status_index(status)].exit_code; }

/* A cut text ends in "…" and never in half a UTF-8 character. */
static void mark_cut(char *text) {
    size_t n = ERR_TEXT_MAX - 1 - 3;
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    memcpy(text + n, "…", 4);
}

static void put_text(struct err *err, const char *format, va_list args) {
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    if (n >= (int)sizeof err->text) mark_cut(err->text);
}

enum status err_set(struct err *err, enum status status, const char *format, ...) {
    must(status != OK);
    if (!err) return status;
    va_list args;
    va_start(args, format);
    put_text(err, format, args);
    va_end(args);
    err->status = status;
    return status;
}

enum status err_set_errno(struct err *err, int error_number, const char *format, ...) {
    enum status status = error_number == ENOSPC || error_number == EDQUOT ? E_NO_SPACE : error_number == ENOENT ? E_NOT_FOUND : E_IO;
    if (!err) return status;
    va_list args;
    va_start(args, format);
    put_text(err, format, args);
    va_end(args);
    char system_text[128];
    const char *text = strerror_r(error_number, system_text, sizeof system_text);
    size_t n = strlen(err->text);
    if (snprintf(err->text + n, sizeof err->text - n, ": %s", text) >= (int)(sizeof err->text - n)) mark_cut(err->text);
    err->status = status;
    return status;
}

enum status err_prefix(struct err *err, const char *format, ...) {
    if (!err) return E_INTERNAL;
    char old[ERR_TEXT_MAX];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    put_text(err, format, args);
    va_end(args);
    size_t n = strlen(err->text);
    if (snprintf(err->text + n, sizeof err->text - n, ": %s", old) >= (int)(sizeof err->text - n)) mark_cut(err->text);
    return err->status;
}
