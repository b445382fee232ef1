#include "base/cron.h"

#include <ctype.h>

#include "base/assert.h"
#include "base/times.h"

#define DAYS_AHEAD (366 * 41) /* 29 February on one weekday comes every 28 years, 40 around 2100 */

struct field {
    const char *name;
    int min, max;
    const char *names; /* three letters each, for min, min + 1, … */
};

static const struct field fields[] = {{"minute", 0, 59, NULL}, {"hour", 0, 23, NULL}, {"day of month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"}, {"day of week", 0, 7, "sunmontuewedthufrisat"}};
#define FIELDS_N (sizeof fields / sizeof fields[0])

static enum status read_value(const struct field *field, struct str text, int *out, struct err *err) {
    uint64_t number;
    if (str_to_u64(text, &number)) {
        if (number < (uint64_t)field->min || number > (uint64_t)field->max)
            return err_set(err, E_INVALID, "%s: " STR_FMT " is not from %d to %d", field->name, STR_ARG(str_head(text, 20)), field->min, field->max);
        *out = (int)number;
        return OK;
    }
    for (size_t i = 0; field->names && text.n == 3 && field->names[i]; i += 3) {
        if (!str_ieq(text, str_make(field->names + i, 3))) continue;
        *out = field->min + (int)(i / 3);
        return OK;
    }
    return err_set(err, E_INVALID, "%s: \"" STR_FMT "\" is not a number%s", field->name, STR_ARG(str_head(text, 20)), field->names ? " or a name" : "");
}

/* "*", "3", "1-5", each with "/2". */
static enum status read_range(const struct field *field, struct str text, uint64_t *bits, struct err *err) {
    struct str steps = text;
    struct str range = str_cut(&steps, '/');
    uint64_t step = 1;
    int first = field->min, last = field->max;
    bool stepped = steps.p != NULL;
    if (stepped && (!str_to_u64(steps, &step) || step == 0 || step > (uint64_t)field->max))
        return err_set(err, E_INVALID, "%s: the step \"" STR_FMT "\" is not from 1 to %d", field->name, STR_ARG(str_head(steps, 20)), field->max);
    if (!str_is(range, "*")) {
        struct str end = range;
        struct str begin = str_cut(&end, '-');
        enum status status = read_value(field, begin, &first, err);
        if (status != OK) return status;
        last = end.p ? 0 : stepped ? field->max : first;
        if (end.p) status = read_value(field, end, &last, err);
        if (status != OK) return status;
        if (end.p && field->max == 7 && last == 0) last = 7; /* mon-sun */
    }
    if (first > last) return err_set(err, E_INVALID, "%s: the range " STR_FMT " runs backwards", field->name, STR_ARG(str_head(range, 20)));
    for (int value = first; value <= last; value += (int)step) *bits |= UINT64_C(1) << value;
    return OK;
}

static enum status read_field(const struct field *field, struct str text, uint64_t *bits, struct err *err) {
    *bits = 0;
    while (text.p) {
        enum status status = read_range(field, str_cut(&text, ','), bits, err);
        if (status != OK) return status;
    }
    must(*bits != 0);
    return OK;
}

static struct str next_word(struct str *rest) {
    size_t start = 0, n = 0;
    while (start < rest->n && isspace((unsigned char)rest->p[start])) start++;
    struct str word = str_from(*rest, start);
    while (n < word.n && !isspace((unsigned char)word.p[n])) n++;
    *rest = str_from(word, n);
    return str_head(word, n);
}

static struct str short_form(struct str text) {
    static const struct {
        const char *name, *text;
    } forms[] = {{"@hourly", "0 * * * *"}, {"@daily", "0 0 * * *"}, {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"}, {"@monthly", "0 0 1 * *"},
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (str_ieq(text, str_of(forms[i].name))) return str_of(forms[i].text);
    }
    return text;
}

static bool day_matches(const struct cron *cron, int64_t day) {
    struct civil date = time_civil_ms(day * 86400000);
    int weekday = (int)((((day + 4) % 7) + 7) % 7); /* 1970-01-01 was a Thursday */
    bool by_date = cron->days >> date.day & 1, by_weekday = cron->weekdays >> weekday & 1;
    if (!(cron->months >> date.month & 1)) return false;
    return cron->any_day || cron->any_weekday ? by_date && by_weekday : by_date || by_weekday;
}

enum status cron_parse(struct str text, struct cron *out, struct err *err) {
    must(out);
    struct str rest = short_form(str_trim(text));
    if (rest.n > 0 && *rest.p == '@')
        return err_set(err, E_INVALID, "there is no " STR_FMT "; there are @hourly, @daily, @weekly, @monthly, @yearly", STR_ARG(str_head(rest, 30)));
    uint64_t bits[FIELDS_N];
    struct str words[FIELDS_N];
    for (size_t i = 0; i < FIELDS_N; i++) {
        words[i] = next_word(&rest);
        if (words[i].n == 0) return err_set(err, E_INVALID, "a schedule has five fields (minute hour day month weekday), the %s is missing", fields[i].name);
        enum status status = read_field(&fields[i], words[i], &bits[i], err);
        if (status != OK) return status;
    }
    if (next_word(&rest).n > 0) return err_set(err, E_INVALID, "a schedule has five fields (minute hour day month weekday), there are more");
    struct cron cron = {.minutes = bits[0],
        .hours = (uint32_t)bits[1],
        .days = (uint32_t)bits[2],
        .months = (uint32_t)bits[3],
        .weekdays = (uint8_t)((bits[4] | bits[4] >> 7) & 0x7f),
        .by_clock = words[1].p[0] == '*',
        .any_day = words[2].p[0] == '*',
        .any_weekday = words[4].p[0] == '*'};
    for (int64_t day = 0; day < DAYS_AHEAD; day++) {
        if (!day_matches(&cron, day)) continue;
        *out = cron;
        return OK;
    }
    return err_set(err, E_INVALID, "there is no such day: it would never fire");
}

/* The first instant after after_s at which it fires on that (local) day; INT64_MAX: none. */
static int64_t first_of_day(const struct cron *cron, const struct zone *zone, int64_t day, int64_t after_s) {
    int64_t best = INT64_MAX, found_s = 0, from_s = after_s + zone_offset_s(zone, after_s) - 4 * 3600; /* clocks never move by more */
    for (int minute = 0; minute < 1440; minute++) {
        int64_t at[2], local_s = day * 86400 + minute * 60;
        if (local_s < from_s || !(cron->hours >> minute / 60 & 1) || !(cron->minutes >> minute % 60 & 1)) continue;
        int n = zone_instants(zone, local_s, at);
        if (cron->by_clock && n == 0) continue;
        for (int i = 0; i < (cron->by_clock ? n : 1); i++) {
            if (at[i] <= after_s || at[i] >= best) continue;
            best = at[i];
            found_s = local_s;
        }
        if (best != INT64_MAX && local_s > found_s + 4 * 3600) break; /* a first occurrence may come after the second one of an earlier time */
    }
    return best;
}

int64_t cron_next_ms(const struct cron *cron, const struct zone *zone, int64_t after_ms) {
    must(cron && zone && cron->minutes);
    int64_t after_s = after_ms >= 0 ? after_ms / 1000 : -((-after_ms + 999) / 1000);
    int64_t local_s = after_s + zone_offset_s(zone, after_s);
    int64_t day = local_s >= 0 ? local_s / 86400 : -((-local_s + 86399) / 86400);
    for (int64_t i = -1; i < DAYS_AHEAD; i++) {
        if (!day_matches(cron, day + i)) continue;
        int64_t at_s = first_of_day(cron, zone, day + i, after_s);
        if (at_s != INT64_MAX) return at_s * 1000;
    }
    must_not(); /* cron_parse made sure that there is one */
}
