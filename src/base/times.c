#include "base/times.h"

#include <stdio.h>

/* Days since 1970-01-01 of a civil date and back: Howard Hinnant's chrono algorithms (proleptic Gregorian). */
int64_t time_days(int64_t y, int m, int d) {
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct civil time_civil_ms(int64_t at_ms) {
    int64_t s = at_ms >= 0 ? at_ms / 1000 : -((-at_ms + 999) / 1000);
    int64_t days = s >= 0 ? s / 86400 : -((-s + 86399) / 86400);
    int rest = (int)(s - days * 86400);
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (struct civil){(int)(yoe + era * 400 + (month <= 2)), month, (int)(doy - (153 * mp + 2) / 5 + 1), rest / 3600, rest / 60 % 60, rest % 60};
}

size_t time_format_us(int64_t at_us, char out[RFC3339_MAX]) {
    int64_t ms = at_us >= 0 ? at_us / 1000 : -((-at_us + 999) / 1000);
    int64_t us = at_us - ms * 1000;
    size_t n = time_format_ms(ms, out);
    if (us == 0) return n;
    return n - 1 + (size_t)snprintf(out + n - 1, RFC3339_MAX - n + 1, "%03dZ", (int)us);
}

size_t time_format_ms(int64_t at_ms, char out[RFC3339_MAX]) {
    struct civil c = time_civil_ms(at_ms);
    int ms = (int)(((at_ms % 1000) + 1000) % 1000);
    int n = snprintf(out, RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", c.year, c.month, c.day, c.hour, c.minute, c.second, ms);
    return n < 0 ? 0 : n >= RFC3339_MAX ? RFC3339_MAX - 1 : (size_t)n;
}

static bool digits(struct str *s, int n, int *out) {
    if (s->n < (size_t)n) return false;
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = str_from(*s, (size_t)n);
    *out = v;
    return true;
}

static bool literal(struct str *s, const char *any) {
    if (!s->n || !strchr(any, s->p[0]) || !s->p[0]) return false;
    *s = str_from(*s, 1);
    return true;
}

static bool parse_zone(struct str *s, int *minutes) {
    if (literal(s, "Zz")) return true;
    if (!s->n || (s->p[0] != '+' && s->p[0] != '-')) return false;
    int sign = s->p[0] == '-' ? -1 : 1, h, m;
    *s = str_from(*s, 1);
    if (!digits(s, 2, &h)) return false;
    literal(s, ":");
    if (!digits(s, 2, &m) || h > 23 || m > 59) return false;
    *minutes = sign * (h * 60 + m);
    return true;
}

bool time_parse_us(struct str s, int64_t *out_us) {
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, mo, d, h = 0, mi = 0, sec = 0, zone = 0;
    int64_t us = 0;
    if (!digits(&s, 4, &y) || !literal(&s, "-") || !digits(&s, 2, &mo) || !literal(&s, "-") || !digits(&s, 2, &d)) return false;
    if (mo < 1 || mo > 12 || d < 1 || d > month_days[mo - 1]) return false;
    if (mo == 2 && d == 29 && !(y % 4 == 0 && (y % 100 != 0 || y % 400 == 0))) return false;
    if (s.n) {
        if (!literal(&s, "Tt ") || !digits(&s, 2, &h) || !literal(&s, ":") || !digits(&s, 2, &mi) || !literal(&s, ":") || !digits(&s, 2, &sec)) return false;
        if (h > 23 || mi > 59 || sec > 60) return false;
        if (literal(&s, ".")) {
            int64_t scale = 100000, n = 0;
            while (s.n && s.p[0] >= '0' && s.p[0] <= '9') {
                if (++n > 9) return false;
                us += (s.p[0] - '0') * scale;
                scale /= 10;
                s = str_from(s, 1);
            }
            if (n == 0) return false;
        }
        if (!parse_zone(&s, &zone)) return false;
    }
    if (s.n) return false;
    *out_us = ((time_days(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec) - (int64_t)zone * 60) * 1000000 + us;
    return true;
}
