/* Which of Cupel's macros a model calls, and what these call: a new version of one of them is changed SQL. */
#include <ctype.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "flow/flow_priv.h"
#include "lake/macros.h"

#define MACROS_MAX 256
#define BEGINNING "CREATE OR REPLACE MACRO "

struct macro {
    struct str name, text;
    bool used;
};

static size_t split(struct macro *macros) {
    size_t n = 0;
    for (const char *at = strstr(lake_macros_sql, BEGINNING); at && n < MACROS_MAX;) {
        const char *name = at + strlen(BEGINNING), *next = strstr(name, BEGINNING);
        macros[n].name = str_make(name, strcspn(name, " (\n"));
        macros[n++].text = str_make(at, next ? (size_t)(next - at) : strlen(at));
        at = next;
    }
    return n;
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* The name, in any case, followed by an opening bracket. */
static bool calls(struct str text, struct str name) {
    for (size_t i = 0; i + name.n < text.n; i++) {
        if ((i && is_word(text.p[i - 1])) || !str_ieq(str_make(text.p + i, name.n), name)) continue;
        size_t k = i + name.n;
        while (k < text.n && isspace((unsigned char)text.p[k])) k++;
        if (k < text.n && text.p[k] == '(') return true;
    }
    return false;
}

static bool spread(struct macro *macros, size_t n, struct str text) {
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (macros[i].used || !calls(text, macros[i].name)) continue;
        macros[i].used = found = true;
    }
    return found;
}

uint64_t macros_used(struct str sql) {
    struct macro macros[MACROS_MAX] = {0};
    size_t n = split(macros);
    bool more = spread(macros, n, sql);
    while (more) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            if (macros[i].used) more = spread(macros, n, macros[i].text) || more;
        }
    }
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) {
        if (macros[i].used) hash = hash * 31 + hash64_str(macros[i].text);
    }
    return hash;
}
