#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/map.h"
#include "connect/landing_plan.h"

static const char *const reserved[] = {"_event_id", "_file", "_file_hash", "_row", "_received_at", NULL};

bool landing_column_reserved(struct str name) {
    for (const char *const *r = reserved; *r; r++)
        if (str_ieq(name, str_of(*r))) return true;
    return false;
}

/* Not in the middle of a character. */
static size_t cut_at(struct str s, size_t max) {
    if (s.n <= max) return s.n;
    while (max && ((unsigned char)s.p[max] & 0xC0) == 0x80) max--;
    return max;
}

static const char *clean(struct arena *arena, struct str key, size_t number) {
    struct str trimmed = str_trim(key);
    char *out = arena_alloc(arena, trimmed.n + 1);
    size_t n = 0;
    bool blank = false;
    for (size_t i = 0; i < trimmed.n; i++) { /* a line break in a header cell becomes one blank */
        bool control = (unsigned char)trimmed.p[i] < 0x20 || trimmed.p[i] == 0x7F;
        if (control && !blank) out[n++] = ' ';
        if (!control) out[n++] = trimmed.p[i];
        blank = control || trimmed.p[i] == ' ';
    }
    struct str text = str_trim((struct str){out, n});
    text.n = cut_at(text, LANDING_COLUMN_NAME_MAX);
    return text.n ? arena_strndup(arena, text.p, text.n) : arena_printf(arena, "column_%zu", number);
}

static struct str folded(struct arena *arena, const char *name) {
    char *copy = arena_strdup(arena, name);
    for (char *p = copy; *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p | 32);
    return str_of(copy);
}

struct landing_column *landing_columns_name(struct arena *arena, const struct str *keys, size_t n) {
    struct landing_column *columns = arena_new_array(arena, struct landing_column, n ? n : 1);
    struct map *taken = map_new();
    for (size_t i = 0; i < n; i++) {
        const char *base = clean(arena, keys[i], i + 1), *name = base;
        for (unsigned k = 2; landing_column_reserved(str_of(name)) || map_get(taken, folded(arena, name)); k++) {
            struct str head = str_of(base);
            head.n = cut_at(head, LANDING_COLUMN_NAME_MAX - 8);
            name = arena_printf(arena, STR_FMT "_%u", STR_ARG(head), k);
        }
        columns[i] = (struct landing_column){.name = name, .key = arena_str(arena, keys[i])};
        map_put(taken, folded(arena, name), &columns[i]);
    }
    map_free(&taken);
    return columns;
}
