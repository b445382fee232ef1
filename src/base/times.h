/* Instants and their text. An instant is int64 microseconds or milliseconds since 1970-01-01T00:00:00Z, the unit is in each name. */
#ifndef CUPEL_BASE_TIMES_H
#define CUPEL_BASE_TIMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define RFC3339_MAX 40

/* "2026-11-20T10:22:33.123Z" (3 digits for ms, 6 for us when not a whole ms). Returns its length. */
size_t time_format_us(int64_t at_us, char out[RFC3339_MAX]);
size_t time_format_ms(int64_t at_ms, char out[RFC3339_MAX]);
/* RFC 3339 date-time with any zone and 0 to 9 fraction digits, or a date alone (midnight UTC). */
bool time_parse_us(struct str text, int64_t *out_us);
/* Civil fields of an instant in UTC. */
struct civil {
    int year, month, day, hour, minute, second;
};
struct civil time_civil_ms(int64_t at_ms);
int64_t time_days(int64_t year, int month, int day); /* since 1970-01-01, of a date */

#endif
