/* Structured logs: one line per record on stderr (human) or JSON, and into data/logs/ when a sink is set. Any thread.
 *
 * Fields are given as alternating name and typed value, ended by NULL:
 *     log_info("stream", "group committed", LOG_INT("records", n), LOG_STR("stream", name), NULL);
 * Secrets and payloads never go into a log. Field names are snake_case with the unit last. */
#ifndef CUPEL_BASE_LOG_H
#define CUPEL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *name;
    enum { LOG_FIELD_INT, LOG_FIELD_TEXT, LOG_FIELD_DOUBLE } kind;
    int64_t i;
    double d;
    struct str s;
};

#define LOG_INT(name_, v) (&(struct log_field){.name = (name_), .kind = LOG_FIELD_INT, .i = (int64_t)(v)})
#define LOG_STR(name_, v) (&(struct log_field){.name = (name_), .kind = LOG_FIELD_TEXT, .s = str_of(v)})
#define LOG_VIEW(name_, v) (&(struct log_field){.name = (name_), .kind = LOG_FIELD_TEXT, .s = (v)})
#define LOG_DBL(name_, v) (&(struct log_field){.name = (name_), .kind = LOG_FIELD_DOUBLE, .d = (v)})

struct log_options {
    enum log_level level; /* records below are dropped */
    bool json; /* JSON lines on stderr instead of human lines */
    bool quiet; /* nothing on stderr below LOG_ERROR (interactive commands) */
    const char *process; /* "server" or "engine", put into each record; not copied */
};

void log_configure(struct log_options options);
/* Also hands each record, as one JSON line with newline, to `write` (a file sink with rotation, set by main). May be called from any thread. */
void log_set_sink(void (*write)(void *context, struct str line), void *context);

void log_record(enum log_level level, const char *room, const char *message, ...) __attribute__((sentinel));
bool log_enabled(enum log_level level);
enum log_level log_level_parse(struct str name, bool *ok); /* debug, info, warn, error */

#define log_debug(room, ...) (log_enabled(LOG_DEBUG) ? log_record(LOG_DEBUG, room, __VA_ARGS__) : (void)0)
#define log_info(room, ...) log_record(LOG_INFO, room, __VA_ARGS__)
#define log_warn(room, ...) log_record(LOG_WARN, room, __VA_ARGS__)
#define log_error(room, ...) log_record(LOG_ERROR, room, __VA_ARGS__)

#endif
