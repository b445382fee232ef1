/* A view of bytes: pointer and length, owned by somebody else, not NUL-terminated unless its maker says so. */
#ifndef CUPEL_BASE_STR_H
#define CUPEL_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NULL ((struct str){NULL, 0})
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

static inline struct str str_of(const char *text) { return text ? (struct str){text, strlen(text)} : STR_NULL; }
static inline struct str str_make(const void *p, size_t n) { return (struct str){(const char *)p, n}; }
static inline bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool str_is(struct str a, const char *text) { return str_eq(a, str_of(text)); }

bool str_ieq(struct str a, struct str b); /* ASCII letters without case */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* bytewise order */
struct str str_trim(struct str s); /* without ASCII blanks at both ends */
struct str str_from(struct str s, size_t start); /* the rest from `start`, empty when beyond */
struct str str_head(struct str s, size_t n); /* the first n bytes at most */
/* Cuts at the first `sep`: returns what is before it and moves *s behind it. Without one: returns all, *s becomes empty with p NULL. */
struct str str_cut(struct str *s, char sep);
long str_find(struct str s, struct str needle); /* index or -1 */
bool str_to_u64(struct str s, uint64_t *out); /* decimal digits only, whole string */
bool str_to_i64(struct str s, int64_t *out); /* optional minus sign */
bool str_to_double(struct str s, double *out); /* C locale, whole string */
bool utf8_valid(struct str s); /* RFC 3629: no surrogates, no overlong forms; NUL is a valid character */

/* Sizes and durations as people write them: "128MB" (decimal), "20GB", "64KiB", "300" -> bytes; "24h", "7d", "300s", "250ms", "3650d" -> ms. */
bool str_to_bytes(struct str s, uint64_t *out);
bool str_to_duration_ms(struct str s, int64_t *out);

/* Constant-time comparison for secrets: time depends on lengths only. */
bool str_eq_secret(struct str a, struct str b);

/* Levenshtein distance, cut at 8; for "did you mean". */
int str_distance(struct str a, struct str b);

#endif
