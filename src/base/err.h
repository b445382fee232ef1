/* Error record: what went wrong, in one fixed-size value that the caller owns.
 *
 * Convention for every fallible function: it returns `enum status`, takes `struct err *err` as its last argument (may be NULL), leaves its
 * outputs untouched on failure, and does not log. The outermost caller logs once or answers the client. */
#ifndef CUPEL_BASE_ERR_H
#define CUPEL_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

/* The one numbered list of errors. Name, HTTP status, process exit code, title of problem+json. Numbers are stable: append only. */
#define STATUS_TABLE(X) \
    X(OK, 0, 200, 0, "ok") \
    X(E_INVALID, 1, 400, 2, "invalid input") \
    X(E_NOT_FOUND, 2, 404, 1, "not found") \
    X(E_CONFLICT, 3, 409, 1, "conflict") \
    X(E_LIMIT, 4, 413, 1, "limit exceeded") \
    X(E_IO, 5, 500, 1, "i/o error") \
    X(E_NO_SPACE, 6, 503, 1, "no space left") \
    X(E_CORRUPT, 7, 500, 1, "damaged data") \
    X(E_BUSY, 8, 503, 1, "busy") \
    X(E_CANCELLED, 9, 499, 1, "cancelled") \
    X(E_TIMEOUT, 10, 504, 1, "timed out") \
    X(E_UNAUTHENTICATED, 11, 401, 1, "authentication needed") \
    X(E_DENIED, 12, 403, 1, "not allowed") \
    X(E_UNAVAILABLE, 13, 503, 1, "unavailable") \
    X(E_INTERNAL, 14, 500, 1, "internal error") \
    X(E_CONFIG, 15, 500, 2, "wrong configuration") \
    X(E_UNSUPPORTED, 16, 501, 1, "not supported") \
    X(E_UNPROCESSABLE, 17, 422, 1, "cannot be processed") \
    X(E_MEDIA_TYPE, 18, 415, 1, "unsupported media type")

enum status {
#define X(name, number, http, exit_code, title) name = number,
    STATUS_TABLE(X)
#undef X
};

#define ERR_TEXT_MAX 512

struct err {
    enum status status;
    char text[ERR_TEXT_MAX]; /* one sentence, NUL-terminated, names the place and the limit; cut with "…" when longer */
};

/* Fills *err (when not NULL) and returns `status`, so that `return err_set(err, E_INVALID, "…")` reads as one step. */
enum status err_set(struct err *err, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, for errno-style numbers: appends ": " and the system's text. ENOSPC and EDQUOT give E_NO_SPACE, ENOENT E_NOT_FOUND, others E_IO. */
enum status err_set_errno(struct err *err, int error_number, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already there; status is kept and returned. */
enum status err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#if defined(__clang_analyzer__) && !defined(CUPEL_ERR_C) /* clang-tidy sees one file at a time: let it know that these never return OK */
void err_seen(struct err *err, int number, ...); /* fills it, and counts what the message is made of as used */
#define err_set(err, status, ...) (err_seen((err), (status), __VA_ARGS__), (status))
#define err_set_errno(err, error_number, ...) (err_seen((err), (error_number), __VA_ARGS__), E_IO)
#endif

const char *status_name(enum status status); /* "E_INVALID" */
const char *status_title(enum status status); /* "invalid input" */
int status_http(enum status status); /* 400 */
int status_exit_code(enum status status); /* 0, 1 or 2 */

#endif
