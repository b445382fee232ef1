/* Schedules and time zones: compared with the C library's zones, and with a clock that is watched minute by minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/cron.h"
#include "base/times.h"
#include "host/host.h"

/* ---- help ---- */

static struct zone *zone_named(const char *name) {
    ARENA_SCOPE(arena);
    struct err err = {0};
    struct str bytes;
    struct zone *zone = NULL;
    const char *path = arena_printf(arena, "/usr/share/zoneinfo/%s", name);
    if (fs_read_all(fs_real(), arena, path, ZONE_FILE_BYTES_MAX, &bytes, &err) != OK) return NULL;
    if (zone_parse(bytes, &zone, &err) != OK) fail_msg("%s: %s", name, err.text);
    return zone;
}

static int64_t at(const char *text) {
    int64_t us;
    if (!time_parse_us(str_of(text), &us)) fail_msg("%s", text);
    return us / 1000;
}

static void expect_next(const char *cron_text, const char *zone_name, const char *after, const char *wanted) {
    struct cron cron;
    struct err err = {0};
    char got[RFC3339_MAX];
    struct zone *zone = strcmp(zone_name, "UTC") == 0 ? zone_utc() : zone_named(zone_name);
    if (!zone) return; /* a machine without the list of zones */
    if (cron_parse(str_of(cron_text), &cron, &err) != OK) fail_msg("%s: %s", cron_text, err.text);
    time_format_ms(cron_next_ms(&cron, zone, at(after)), got);
    char with_ms[RFC3339_MAX];
    time_format_ms(at(wanted), with_ms);
    if (strcmp(got, with_ms) != 0) fail_msg("%s in %s after %s: %s, wanted %s", cron_text, zone_name, after, got, with_ms);
    zone_free(&zone);
}

static void expect_error(const char *text, const char *wanted) {
    struct cron cron;
    struct err err = {0};
    assert_int_equal(cron_parse(str_of(text), &cron, &err), E_INVALID);
    if (!strstr(err.text, wanted)) fail_msg("%s: %s, wanted %s", text, err.text, wanted);
}

/* ---- the text ---- */

static void test_wrong_texts(void **state) {
    expect_error("", "the minute is missing");
    expect_error("* * * *", "the day of week is missing");
    expect_error("* * * * * *", "there are more");
    expect_error("60 * * * *", "minute: 60 is not from 0 to 59");
    expect_error("* 24 * * *", "hour: 24");
    expect_error("* * 0 * *", "day of month: 0");
    expect_error("* * * 13 *", "month: 13");
    expect_error("* * * * 8", "day of week: 8");
    expect_error("*/0 * * * *", "step \"0\"");
    expect_error("*/x * * * *", "step \"x\"");
    expect_error("5-1 * * * *", "runs backwards");
    expect_error("1,,2 * * * *", "minute: \"\"");
    expect_error("a * * * *", "minute: \"a\" is not a number");
    expect_error("* * * foo *", "or a name");
    expect_error("0 0 30 2 *", "never fire");
    expect_error("0 0 31 4,6,9,11 *", "never fire");
    expect_error("@reboot", "@hourly");
    expect_error("99999999999999999999 * * * *", "not a number");
}

static void test_next_in_utc(void **state) {
    expect_next("* * * * *", "UTC", "2026-11-20T10:00:00Z", "2026-11-20T10:01:00Z");
    expect_next("* * * * *", "UTC", "2026-11-20T10:00:59.999Z", "2026-11-20T10:01:00Z");
    expect_next("0 3 * * *", "UTC", "2026-11-20T03:00:00Z", "2026-11-21T03:00:00Z");
    expect_next("0 3 * * *", "UTC", "2026-11-20T02:59:59.999Z", "2026-11-20T03:00:00Z");
    expect_next("*/15 9-17 * * mon-fri", "UTC", "2026-11-20T17:45:00Z", "2026-11-23T09:00:00Z");
    expect_next("5/20 * * * *", "UTC", "2026-11-20T10:45:00Z", "2026-11-20T11:05:00Z");
    expect_next("0 0 1,15 * *", "UTC", "2026-12-15T00:00:00Z", "2027-01-01T00:00:00Z");
    expect_next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
    expect_next("0 0 29 feb mon", "UTC", "2026-01-30T00:00:00Z", "2026-02-02T00:00:00Z"); /* either day field */
    expect_next("0 0 13 * fri", "UTC", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z");
    expect_next("0 0 */2 * fri", "UTC", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"); /* both: one begins with a star */
    expect_next("0 0 * * 7", "UTC", "2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z");
    expect_next("0 0 * * sat-sun", "UTC", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z");
    expect_next("@hourly", "UTC", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z");
    expect_next("@Daily", "UTC", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z");
    expect_next("@weekly", "UTC", "2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z");
    expect_next("@monthly", "UTC", "2026-11-20T00:00:00Z", "2026-12-01T00:00:00Z");
    expect_next("@yearly", "UTC", "2026-11-20T00:00:00Z", "2027-01-01T00:00:00Z");
    expect_next("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"); /* 2100 is no leap year */
    expect_next("59 23 31 12 *", "UTC", "1969-06-01T00:00:00Z", "1969-12-31T23:59:00Z");
}

/* Berlin 2027: clocks go from 02:00 to 03:00 on 28 March (01:00Z) and from 03:00 to 02:00 on 31 October (01:00Z). */
static void test_when_clocks_change(void **state) {
    expect_next("30 2 * * *", "Europe/Berlin", "2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z"); /* left out: at the jump */
    expect_next("30 2 * * *", "Europe/Berlin", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z");
    expect_next("0,30 2 * * *", "Europe/Berlin", "2027-03-28T01:00:00Z", "2027-03-29T00:00:00Z"); /* both at once count once */
    expect_next("30 2 * * *", "Europe/Berlin", "2027-10-30T00:30:00Z", "2027-10-31T00:30:00Z"); /* doubled: the first one */
    expect_next("30 2 * * *", "Europe/Berlin", "2027-10-31T00:30:00Z", "2027-11-01T01:30:00Z");
    expect_next("30 * * * *", "Europe/Berlin", "2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"); /* by the clock: both */
    expect_next("30 * * * *", "Europe/Berlin", "2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z");
    expect_next("*/10 * * * *", "Europe/Berlin", "2027-10-31T00:40:00Z", "2027-10-31T00:50:00Z");
    expect_next("*/10 * * * *", "Europe/Berlin", "2027-10-31T00:50:00Z", "2027-10-31T01:00:00Z");
    expect_next("0 9 * * *", "Europe/Istanbul", "2026-11-20T06:00:00Z", "2026-11-21T06:00:00Z");
    expect_next("0 0 * * *", "Asia/Kolkata", "2026-11-20T10:00:00Z", "2026-11-20T18:30:00Z");
    expect_next("15 2 * * *", "Australia/Lord_Howe", "2027-04-03T15:00:00Z", "2027-04-03T15:45:00Z"); /* half an hour back at 02:00 */
    expect_next("0 0 * * *", "America/Santiago", "2027-09-04T12:00:00Z", "2027-09-05T04:00:00Z"); /* midnight itself is left out */
    expect_next("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2011-12-30T10:00:00Z"); /* a whole day was left out: at the jump */
    expect_next("0 3 * * *", "Europe/Berlin", "2060-07-01T01:00:00Z", "2060-07-02T01:00:00Z"); /* behind the last transition: by the rule */
}

/* ---- zones against the C library ---- */

static void test_offsets_as_the_c_library(void **state) {
    static const char *const names[] = {"Europe/Berlin", "America/New_York", "Europe/Istanbul", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Dublin",
        "Africa/Casablanca", "America/Santiago", "Pacific/Chatham", "Antarctica/Troll", "UTC"};
    for (size_t z = 0; z < sizeof names / sizeof names[0]; z++) {
        struct zone *zone = zone_named(names[z]);
        if (!zone) continue;
        setenv("TZ", names[z], 1);
        tzset();
        for (int64_t s = -500000000; s < 4000000000; s += 40000 + s % 77777) {
            time_t t = (time_t)s;
            struct tm tm;
            localtime_r(&t, &tm);
            if (zone_offset_s(zone, s) != tm.tm_gmtoff) fail_msg("%s at %lld: %d, wanted %ld", names[z], (long long)s, zone_offset_s(zone, s), tm.tm_gmtoff);
            int64_t both[2];
            int n = zone_instants(zone, s + tm.tm_gmtoff, both);
            assert_true(n >= 1 && (both[0] == s || (n == 2 && both[1] == s)));
        }
        zone_free(&zone);
    }
    unsetenv("TZ");
    tzset();
}

/* Watches the clock minute by minute over the change of clocks: by-clock schedules fire exactly when it shows their time. */
static void test_against_a_watched_clock(void **state) {
    static const char *const texts[] = {"* * * * *", "*/7 * * * *", "30 */2 * * *", "13,47 */3 * * sun", "0 * 28-31 3,10 *"};
    struct zone *zone = zone_named("Europe/Berlin");
    if (!zone) return;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct cron cron;
        assert_int_equal(cron_parse(str_of(texts[i]), &cron, NULL), OK);
        for (int turn = 0; turn < 2; turn++) {
            int64_t start_ms = at(turn ? "2027-10-30T20:00:00Z" : "2027-03-27T20:00:00Z"), next_ms = cron_next_ms(&cron, zone, start_ms);
            for (int64_t ms = start_ms + 60000; ms < start_ms + 20 * 3600000; ms += 60000) {
                struct civil c = time_civil_ms(ms + zone_offset_s(zone, ms / 1000) * 1000);
                int64_t day = time_days(c.year, c.month, c.day);
                bool by_date = cron.days >> c.day & 1, by_weekday = cron.weekdays >> ((day + 4) % 7) & 1;
                bool fires = (cron.minutes >> c.minute & 1) && (cron.hours >> c.hour & 1) && (cron.months >> c.month & 1) && by_date && by_weekday;
                if (fires != (next_ms == ms)) fail_msg("%s at minute %lld", texts[i], (long long)((ms - start_ms) / 60000));
                if (fires) next_ms = cron_next_ms(&cron, zone, ms);
            }
        }
    }
    zone_free(&zone);
}

static void test_damaged_zone_files(void **state) {
    ARENA_SCOPE(arena);
    struct str bytes;
    struct zone *zone = NULL;
    if (fs_read_all(fs_real(), arena, "/usr/share/zoneinfo/Europe/Berlin", ZONE_FILE_BYTES_MAX, &bytes, NULL) != OK) return;
    for (size_t n = 0; n < bytes.n; n += 1 + n / 50) {
        if (zone_parse(str_head(bytes, n), &zone, NULL) == OK) {
            assert_true(n + 2 >= bytes.n);
            zone_free(&zone);
        }
    }
    assert_int_equal(zone_parse(STR("TZif"), &zone, NULL), E_CORRUPT);
    assert_int_equal(zone_parse(STR_NULL, &zone, NULL), E_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_texts),
        cmocka_unit_test(test_next_in_utc),
        cmocka_unit_test(test_when_clocks_change),
        cmocka_unit_test(test_offsets_as_the_c_library),
        cmocka_unit_test(test_against_a_watched_clock),
        cmocka_unit_test(test_damaged_zone_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
