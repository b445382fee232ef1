/* Protection of personal fields before the append: the JSON values at given paths are replaced, every other byte stays.
 *
 * Paths: member names joined by ".", "*" for every element or member, digits for one element; "$." in front is allowed. A name also reaches through arrays:
 * "items.email" means "items.*.email", and a top-level array is walked. Names are compared after unescaping; a name that occurs twice is replaced twice.
 *
 * mask: the value becomes "***". tokenise: it becomes "tok_" and 32 letters of a keyed HMAC-SHA256 of the value's text, so that equal values stay equal
 * under one key and nothing can be guessed without it. null stays null; an object or array at the path is replaced as a whole. */
#ifndef CUPEL_INGEST_PROTECT_H
#define CUPEL_INGEST_PROTECT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

#define PROTECT_PATHS_MAX 64
#define PROTECT_STEPS_MAX 16
#define PROTECT_MASKED "***"

struct protect_step {
    struct str name;
    bool any; /* "*" */
    bool is_index;
    uint64_t index;
};

struct protect_path {
    struct str text;
    struct protect_step steps[PROTECT_STEPS_MAX];
    uint8_t steps_n;
    enum config_policy policy;
};

struct protect_rules {
    struct protect_path *paths;
    size_t n;
    bool tokenises;
};

/* Memory from the arena. E_UNSUPPORTED: encrypt; E_CONFIG: an empty step, too many paths or steps. The text begins with the path. */
enum status protect_compile(const struct config_protect *paths, size_t n, struct arena *arena, struct protect_rules *out, struct err *err);

/* Copies `json`, a valid JSON text, to `out` with the values replaced. *changed: at least one was. E_INVALID when the text is not well-formed after all:
 * nothing of it may be stored then. `secret` 32 bytes, used by tokenise. */
enum status protect_apply(const struct protect_rules *rules, struct str json, struct str secret, struct buf *out, bool *changed, struct err *err);

/* Whether the value at this path (as written in `key:`) is replaced, itself or as part of something above it. */
bool protect_covers(const struct protect_rules *rules, struct str path);
/* "tok_…" of a value's text. */
void protect_token(struct str secret, struct str value, struct buf *out);

#endif
