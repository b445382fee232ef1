/* Cron: "minute hour day-of-month month day-of-week", as crontab(5) has it, and when it fires next on the clock of a time zone.
 *
 * Fields: numbers, names (jan…, mon…), `*`, ranges `1-5`, lists `1,15`, steps (`/15` behind `*`, behind a range, or behind the number to begin with). Sunday is
 * 0 and 7. When both day fields are restricted (neither begins with `*`), either is enough. @hourly, @daily (@midnight), @weekly, @monthly, @yearly
 * (@annually) stand for what they say.
 *
 * When clocks change: a schedule whose hours are given (`30 2 * * *`) fires once a day all the same: at the jump when its time is left out, at the first of
 * both when its time comes twice. One whose hour field begins with `*` goes by the clock: left-out times do not fire, doubled ones fire twice. */
#ifndef CUPEL_BASE_CRON_H
#define CUPEL_BASE_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "base/zone.h"

struct cron {
    uint64_t minutes; /* bit per value */
    uint32_t hours, days, months; /* days 1..31, months 1..12 */
    uint8_t weekdays; /* 0 Sunday … 6 */
    bool any_day, any_weekday; /* the field began with `*` */
    bool by_clock; /* the hour field began with `*` */
};

/* E_INVALID names the field; also for texts that never fire (30 February). */
enum status cron_parse(struct str text, struct cron *out, struct err *err);
/* The first instant after `after_ms` at which it fires. */
int64_t cron_next_ms(const struct cron *cron, const struct zone *zone, int64_t after_ms);

#endif
