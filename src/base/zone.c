/* TZif: a list of transitions, and behind the last one a rule in POSIX TZ form that goes on for ever. https://www.rfc-editor.org/rfc/rfc9636 */
#include "base/zone.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"

#define TRANSITIONS_MAX 5000
#define TYPES_MAX 256
#define OFFSET_MAX_S (26 * 3600) /* RFC 9636 section 3.2 allows -25:59:59 to 25:59:59 */
#define HEADER_BYTES 44

struct rule_day { /* when one half of the year begins */
    enum { RULE_MONTH, RULE_JULIAN, RULE_DAY } kind; /* Mm.w.d; Jn (1..365, never 29 February); n (0..365) */
    int month, week, day;
    int32_t time_s; /* on the clock on the wall that is in force before */
};

struct rule { /* POSIX TZ: what holds after the last transition */
    bool known, saving; /* saving: there are two halves */
    int32_t standard_s, summer_s;
    struct rule_day start, end; /* of summer time */
};

struct zone {
    int64_t *at_s; /* rising */
    int32_t *offset_s; /* from at_s[i] on */
    size_t n;
    int32_t first_s; /* before the first transition */
    struct rule rule;
};

/* ---- the rule ---- */

static bool take(struct str *s, char c) {
    if (s->n == 0 || *s->p != c) return false;
    *s = str_from(*s, 1);
    return true;
}

static bool take_number(struct str *s, int max, int *out) {
    int value = 0;
    size_t i = 0;
    while (i < s->n && i < 4 && isdigit((unsigned char)s->p[i])) value = value * 10 + (s->p[i++] - '0');
    if (i == 0 || value > max) return false;
    *s = str_from(*s, i);
    *out = value;
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct str *s, int hours_max, int32_t *out) {
    int hours, minutes = 0, seconds = 0;
    bool minus = take(s, '-');
    if (!minus) (void)take(s, '+');
    if (!take_number(s, hours_max, &hours)) return false;
    if (take(s, ':') && !take_number(s, 59, &minutes)) return false;
    if (minutes >= 0 && take(s, ':') && !take_number(s, 59, &seconds)) return false;
    int32_t value = hours * 3600 + minutes * 60 + seconds;
    *out = minus ? -value : value;
    return true;
}

static bool take_name(struct str *s) {
    size_t n = 0;
    if (take(s, '<')) {
        while (n < s->n && s->p[n] != '>') n++;
        *s = str_from(*s, n);
        return n > 0 && take(s, '>');
    }
    while (n < s->n && isalpha((unsigned char)s->p[n])) n++;
    *s = str_from(*s, n);
    return n >= 3;
}

static bool take_day(struct str *s, struct rule_day *out) {
    struct rule_day day = {.kind = RULE_DAY, .time_s = 7200};
    bool good;
    if (take(s, 'M')) {
        day.kind = RULE_MONTH;
        good = take_number(s, 12, &day.month) && day.month >= 1 && take(s, '.') && take_number(s, 5, &day.week) && day.week >= 1 && take(s, '.') &&
            take_number(s, 6, &day.day);
    } else {
        day.kind = take(s, 'J') ? RULE_JULIAN : RULE_DAY;
        good = take_number(s, 365, &day.day) && (day.kind == RULE_DAY || day.day >= 1);
    }
    if (good && take(s, '/')) good = take_time(s, 167, &day.time_s);
    *out = day;
    return good;
}

static bool read_rule(struct str text, struct rule *out) {
    struct rule rule = {.known = true};
    int32_t west;
    if (!take_name(&text) || !take_time(&text, 24, &west)) return false;
    rule.standard_s = -west;
    if (text.n > 0) {
        rule.saving = true;
        rule.summer_s = rule.standard_s + 3600;
        if (!take_name(&text)) return false;
        if (text.n > 0 && *text.p != ',') {
            if (!take_time(&text, 24, &west)) return false;
            rule.summer_s = -west;
        }
        if (!take(&text, ',') || !take_day(&text, &rule.start) || !take(&text, ',') || !take_day(&text, &rule.end)) return false;
    }
    *out = rule;
    return text.n == 0;
}

static bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

/* The day of the rule in that year, on the clock on the wall. */
static int64_t rule_local_s(const struct rule_day *day, int year) {
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t first = time_days(year, 1, 1);
    if (day->kind == RULE_DAY) return (first + day->day) * 86400 + day->time_s;
    if (day->kind == RULE_JULIAN) return (first + day->day - 1 + (is_leap(year) && day->day > 59)) * 86400 + day->time_s;
    int64_t month = time_days(year, day->month, 1);
    int length = month_days[day->month - 1] + (day->month == 2 && is_leap(year));
    int64_t weekday = (((month + 4) % 7) + 7) % 7; /* 1970-01-01 was a Thursday */
    int64_t at = (day->day - weekday + 7) % 7 + (day->week - 1) * 7;
    while (at >= length) at -= 7; /* week 5: the last one */
    return (month + at) * 86400 + day->time_s;
}

static int32_t rule_offset_s(const struct rule *rule, int64_t at_s) {
    must(rule->known);
    if (!rule->saving) return rule->standard_s;
    int year = time_civil_ms((at_s + rule->standard_s) * 1000).year;
    int64_t start = rule_local_s(&rule->start, year) - rule->standard_s, end = rule_local_s(&rule->end, year) - rule->summer_s;
    bool summer = start < end ? at_s >= start && at_s < end : at_s >= start || at_s < end; /* the second: south of the equator */
    return summer ? rule->summer_s : rule->standard_s;
}

/* ---- the file ---- */

static int64_t big_endian(const char *p, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | (unsigned char)p[i];
    return bytes == 4 ? (int64_t)(int32_t)(uint32_t)value : (int64_t)value;
}

struct counts {
    uint32_t utc, standard, leap, times, types, chars;
};

static bool read_header(struct str *s, char *version, struct counts *out) {
    if (s->n < HEADER_BYTES || !str_starts(*s, STR("TZif"))) return false;
    const char *p = s->p + 20;
    *version = s->p[4];
    *out = (struct counts){(uint32_t)big_endian(p, 4), (uint32_t)big_endian(p + 4, 4), (uint32_t)big_endian(p + 8, 4), (uint32_t)big_endian(p + 12, 4),
        (uint32_t)big_endian(p + 16, 4), (uint32_t)big_endian(p + 20, 4)};
    *s = str_from(*s, HEADER_BYTES);
    return out->times <= TRANSITIONS_MAX && out->types >= 1 && out->types <= TYPES_MAX && out->chars <= 4096 && out->leap <= 1000 && out->utc <= TYPES_MAX &&
        out->standard <= TYPES_MAX;
}

static size_t block_bytes(const struct counts *c, size_t time_bytes) {
    return c->times * time_bytes + c->times + (size_t)c->types * 6 + c->chars + c->leap * (time_bytes + 4) + c->standard + c->utc;
}

static bool read_block(struct str *s, const struct counts *c, int time_bytes, struct zone *zone) {
    size_t size = block_bytes(c, (size_t)time_bytes);
    if (s->n < size) return false;
    const char *times = s->p, *indexes = times + (size_t)c->times * (size_t)time_bytes, *types = indexes + c->times;
    zone->at_s = mem_alloc((c->times + 1) * sizeof *zone->at_s);
    zone->offset_s = mem_alloc((c->times + 1) * sizeof *zone->offset_s);
    zone->first_s = (int32_t)big_endian(types, 4);
    if (abs(zone->first_s) > OFFSET_MAX_S) return false;
    for (uint32_t i = 0; i < c->times; i++) {
        unsigned char type = (unsigned char)indexes[i];
        if (type >= c->types) return false;
        zone->at_s[i] = big_endian(times + (size_t)i * (size_t)time_bytes, time_bytes);
        zone->offset_s[i] = (int32_t)big_endian(types + (size_t)type * 6, 4);
        if ((i > 0 && zone->at_s[i] <= zone->at_s[i - 1]) || abs(zone->offset_s[i]) > OFFSET_MAX_S) return false;
    }
    zone->n = c->times;
    *s = str_from(*s, size);
    return true;
}

static bool read_all(struct str s, struct zone *zone) {
    char version;
    struct counts counts;
    if (!read_header(&s, &version, &counts)) return false;
    if (version == '\0') return read_block(&s, &counts, 4, zone);
    size_t skipped = block_bytes(&counts, 4);
    if (s.n < skipped) return false;
    s = str_from(s, skipped);
    if (!read_header(&s, &version, &counts) || !read_block(&s, &counts, 8, zone) || !take(&s, '\n')) return false;
    struct str text = str_cut(&s, '\n');
    return text.n == 0 || read_rule(text, &zone->rule);
}

enum status zone_parse(struct str tzif, struct zone **out, struct err *err) {
    must(out);
    struct zone *zone = mem_zalloc(sizeof *zone);
    if (tzif.n > ZONE_FILE_BYTES_MAX || !read_all(tzif, zone)) {
        zone_free(&zone);
        return err_set(err, E_CORRUPT, "not a time zone file (TZif)");
    }
    *out = zone;
    return OK;
}

struct zone *zone_utc(void) {
    struct zone *zone = mem_zalloc(sizeof *zone);
    zone->rule.known = true;
    return zone;
}

void zone_free(struct zone **zone) {
    if (!*zone) return;
    free((*zone)->at_s);
    free((*zone)->offset_s);
    free(*zone);
    *zone = NULL;
}

/* ---- asking ---- */

int32_t zone_offset_s(const struct zone *zone, int64_t at_s) {
    must(zone);
    size_t low = 0, high = zone->n; /* the first transition after at_s */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (zone->at_s[middle] <= at_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == zone->n && zone->rule.known) return rule_offset_s(&zone->rule, at_s);
    return low == 0 ? zone->first_s : zone->offset_s[low - 1];
}

/* The first instant in (low, high] with another offset than at low. */
static int64_t change_between(const struct zone *zone, int64_t low, int64_t high) {
    must(low < high);
    int32_t before = zone_offset_s(zone, low);
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (zone_offset_s(zone, middle) == before)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* Two changes of one zone within two days do not happen: the offsets a day before and a day after are all that can be in force. */
int zone_instants(const struct zone *zone, int64_t local_s, int64_t out[2]) {
    must(zone && out);
    int32_t before = zone_offset_s(zone, local_s - OFFSET_MAX_S), after = zone_offset_s(zone, local_s + OFFSET_MAX_S);
    int n = 0;
    if (zone_offset_s(zone, local_s - before) == before) out[n++] = local_s - before;
    if (after != before && zone_offset_s(zone, local_s - after) == after) out[n++] = local_s - after;
    if (n == 0) out[0] = after == before ? local_s - before : change_between(zone, local_s - OFFSET_MAX_S, local_s + OFFSET_MAX_S);
    if (n == 2 && out[0] > out[1]) {
        int64_t first = out[1];
        out[1] = out[0];
        out[0] = first;
    }
    return n;
}
