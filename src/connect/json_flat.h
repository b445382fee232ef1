/* JSON flat: one JSON object as a row of text cells, and the ends of JSON values in a longer text (RFC 8259).
 *
 * Strict: what passes here is valid JSON with valid UTF-8. Strings are given unescaped, numbers exactly as written, true and false as these words, null as
 * NULL, nested objects and arrays as their JSON text. Pure functions over memory. */
#ifndef CUPEL_CONNECT_JSON_FLAT_H
#define CUPEL_CONNECT_JSON_FLAT_H

#include "base/arena.h"
#include "base/str.h"

#define JSON_FLAT_DEPTH_MAX 128

struct json_fault {
    const char *what; /* static text */
    size_t at; /* byte position from 0 */
};

/* Called once per member in order. value.p NULL: null. Unescaped text is in the arena, everything else a view. false stops (json_flat then gives false
 * with fault->what NULL). */
typedef bool (*json_member)(void *context, struct str key, struct str value);

/* false: not one valid JSON object; *fault says what and where. Blanks around it are fine. */
bool json_flat(struct arena *arena, struct str text, json_member member, void *context, struct json_fault *fault);

/* Where a top-level value ends, by structure only (strings, escapes, nesting): state carries over from piece to piece. */
struct json_end {
    size_t at; /* bytes looked at so far */
    unsigned depth;
    bool in_string, escaped, begun;
};
/* Looks at text[end->at…]. true: the value that begins at text[0] (not blank) ends before *length. false: more is needed (or nothing is left). */
bool json_find_end(struct json_end *end, struct str text, size_t *length);

#endif
