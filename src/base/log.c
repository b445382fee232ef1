#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/shown.h"
#include "base/times.h"

static struct log_options options = {.level = LOG_INFO, .process = "cupel"};
static void (*sink)(void *context, struct str line);
static void *sink_context;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(struct log_options o) {
    if (!o.process) o.process = "cupel";
    options = o;
}

void log_set_sink(void (*write_line)(void *context, struct str line), void *context) {
    sink_context = context;
    __atomic_store_n(&sink, write_line, __ATOMIC_RELEASE);
}

bool log_enabled(enum log_level level) { return level >= options.level; }

enum log_level log_level_parse(struct str name, bool *ok) {
    for (int i = 0; i < 4; i++)
        if (str_ieq(name, str_of(level_names[i]))) {
            *ok = true;
            return (enum log_level)i;
        }
    *ok = false;
    return LOG_INFO;
}

static void json_line(
    struct buf *out, const char *at, enum log_level level, const char *room, const char *message, const struct log_field *const *fields, size_t n) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "at", at);
    json_put_text(&w, "level", level_names[level]);
    json_put_text(&w, "process", options.process);
    json_put_text(&w, "room", room);
    json_put_text(&w, "message", message);
    for (size_t i = 0; i < n; i++) {
        json_name(&w, fields[i]->name);
        switch (fields[i]->kind) {
        case LOG_FIELD_INT: json_int(&w, fields[i]->i); break;
        case LOG_FIELD_DOUBLE: json_double(&w, fields[i]->d); break;
        case LOG_FIELD_TEXT: json_str(&w, fields[i]->s); break;
        }
    }
    json_end_object(&w);
    buf_char(out, '\n');
}

/* A field must not forge a line. */
static void human_text(struct buf *out, struct str s) {
    bool quote = s.n == 0 || memchr(s.p, ' ', s.n);
    if (quote) buf_char(out, '"');
    shown_put(out, s, 0);
    if (quote) buf_char(out, '"');
}

static void human_line(
    struct buf *out, const char *at, enum log_level level, const char *room, const char *message, const struct log_field *const *fields, size_t n) {
    buf_printf(out, "%s %-5s %-7s ", at, level_names[level], room);
    buf_text(out, message);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, " %s=", fields[i]->name);
        switch (fields[i]->kind) {
        case LOG_FIELD_INT: buf_printf(out, "%lld", (long long)fields[i]->i); break;
        case LOG_FIELD_DOUBLE: buf_printf(out, "%g", fields[i]->d); break;
        case LOG_FIELD_TEXT: human_text(out, fields[i]->s); break;
        }
    }
    buf_char(out, '\n');
}

void log_record(enum log_level level, const char *room, const char *message, ...) {
    enum { FIELDS_MAX = 24 };
    if (!log_enabled(level)) return;
    const struct log_field *fields[FIELDS_MAX];
    size_t n = 0;
    va_list args;
    va_start(args, message);
    const struct log_field *f;
    while (n < FIELDS_MAX && (f = va_arg(args, const struct log_field *))) fields[n++] = f;
    va_end(args);

    struct timeval now;
    gettimeofday(&now, NULL);
    char at[RFC3339_MAX];
    time_format_ms((int64_t)now.tv_sec * 1000 + now.tv_usec / 1000, at);

    void (*write_line)(void *, struct str) = __atomic_load_n(&sink, __ATOMIC_ACQUIRE);
    BUF_SCOPE(line);
    if (write_line || options.json) json_line(&line, at, level, room, message, fields, n);
    if (write_line) write_line(sink_context, buf_view(&line));
    if (options.quiet && level < LOG_ERROR) return;
    if (!options.json) {
        buf_clear(&line);
        human_line(&line, at, level, room, message, fields, n);
    }
    ssize_t ignored = write(STDERR_FILENO, line.p, line.n); /* one write: lines of several processes do not mix */
    (void)ignored;
}
