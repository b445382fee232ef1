#include "base/str.h"

#include <stdlib.h>

static inline char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v'; }

bool str_ieq(struct str a, struct str b) {
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i])) return false;
    return true;
}

bool str_starts(struct str s, struct str prefix) { return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0); }
bool str_ends(struct str s, struct str suffix) { return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0); }

int str_cmp(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

struct str str_trim(struct str s) {
    while (s.n && blank(s.p[0])) s.p++, s.n--;
    while (s.n && blank(s.p[s.n - 1])) s.n--;
    return s;
}

struct str str_from(struct str s, size_t start) {
    return start >= s.n ? (struct str){s.p + s.n, 0} : (struct str){s.p + start, s.n - start};
}
struct str str_head(struct str s, size_t n) {
    return (struct str){s.p, n < s.n ? n : s.n};
}

struct str str_cut(struct str *s, char sep) {
    const char *at = s->n ? memchr(s->p, sep, s->n) : NULL;
    struct str before = *s;
    if (!at) {
        *s = STR_NULL;
        return before;
    }
    before.n = (size_t)(at - s->p);
    *s = (struct str){at + 1, s->n - before.n - 1};
    return before;
}

long str_find(struct str s, struct str needle) {
    if (needle.n == 0) return 0;
    const char *at = s.n ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
    return at ? (long)(at - s.p) : -1;
}

bool str_to_u64(struct str s, uint64_t *out) {
    if (s.n == 0 || s.n > 20) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *out) {
    bool minus = s.n && s.p[0] == '-';
    uint64_t v;
    if (!str_to_u64(minus ? str_from(s, 1) : s, &v)) return false;
    if (v > (uint64_t)INT64_MAX + (minus ? 1 : 0)) return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool str_to_double(struct str s, double *out) {
    char text[64];
    if (s.n == 0 || s.n >= sizeof text || blank(s.p[0])) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    char *end;
    double v = strtod(text, &end); /* main() never calls setlocale for LC_NUMERIC */
    if (end != text + s.n) return false;
    *out = v;
    return true;
}

/* Length of the valid character at p, 0 when none. */
static size_t utf8_char(const unsigned char *p, size_t left) {
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) return left >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (left < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
        if (p[0] == 0xED && p[1] > 0x9F) return 0;
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (left < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
        if (p[0] == 0xF0 && p[1] < 0x90) return 0;
        if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
        return 4;
    }
    return 0;
}

bool utf8_valid(struct str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t eight;
        if (s.n - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t n = utf8_char(p + i, s.n - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool scaled(struct str s, const struct unit *units, uint64_t *out) {
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9') digits++;
    uint64_t v;
    if (!str_to_u64(str_head(s, digits), &v)) return false;
    struct str name = str_trim(str_from(s, digits));
    for (const struct unit *u = units; u->name; u++)
        if (str_ieq(name, str_of(u->name))) return !__builtin_mul_overflow(v, u->factor, out);
    return false;
}

bool str_to_bytes(struct str s, uint64_t *out) {
    static const struct unit units[] = {{"", 1}, {"B", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}, {"KiB", 1024},
        {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 1099511627776}, {0}};
    return scaled(s, units, out);
}

bool str_to_duration_ms(struct str s, int64_t *out) {
    static const struct unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {0}};
    uint64_t v;
    if (!scaled(s, units, &v) || v > INT64_MAX) return false;
    *out = (int64_t)v;
    return true;
}

bool str_eq_secret(struct str a, struct str b) {
    if (a.n != b.n) return false;
    volatile unsigned char diff = 0;
    for (size_t i = 0; i < a.n; i++) diff |= (unsigned char)a.p[i] ^ (unsigned char)b.p[i];
    return diff == 0;
}

int str_distance(struct str a, struct str b) {
    enum { MAX = 64, FAR = 8 };
    if (a.n > MAX || b.n > MAX) return FAR;
    int row[MAX + 1];
    for (size_t j = 0; j <= b.n; j++) row[j] = (int)j;
    for (size_t i = 1; i <= a.n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b.n; j++) {
            int best = diagonal + (lower(a.p[i - 1]) != lower(b.p[j - 1]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.n] < FAR ? row[b.n] : FAR;
}
