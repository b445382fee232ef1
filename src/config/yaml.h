/* YAML text as a tree of nodes that know where they stand. Built on libyaml's events, with limits, because configuration is input too.
 *
 * Scalars are expanded while reading: `${NAME}`, `${NAME:-default}` (also when NAME is empty), `${file:/path}` (one newline at the end is cut), `$${` for
 * a literal `${`. Keys are not expanded. Aliases share the node of their anchor. All memory is in the arena. Problems are added to the list, each with its
 * place; syntax errors end the reading. Duplicate keys, tags, merge keys (<<), several documents and keys that are no plain text are problems. */
#ifndef CUPEL_CONFIG_YAML_H
#define CUPEL_CONFIG_YAML_H

#include "base/arena.h"
#include "base/str.h"
#include "config/config.h"

#define YAML_DEPTH_MAX 32
#define YAML_NODES_MAX 100000 /* aliases counted as what they stand for: stops "billion laughs" */
#define YAML_SCALAR_BYTES_MAX (64u << 10) /* after expansion; also the size of a secret file */

enum yaml_kind { YAML_TEXT, YAML_MAP, YAML_LIST };

struct yaml_pair;

struct yaml_node {
    enum yaml_kind kind;
    int line, column; /* from 1 */
    struct str text; /* YAML_TEXT: expanded, NUL behind it */
    struct str raw; /* YAML_TEXT: without quotes and indentation; this is what messages quote */
    struct str source; /* YAML_TEXT: the bytes of the file from its begin to its end */
    bool expanded; /* text came (partly) from the environment or a file: never printed */
    bool broken; /* its expansion failed: already said, so nothing more is said about the value */
    bool is_null; /* plain and empty, ~ or null */
    struct yaml_pair *pairs; /* YAML_MAP */
    struct yaml_node **items; /* YAML_LIST */
    size_t n;
    size_t weight; /* nodes below and including this one, aliases counted each time */
};

struct yaml_pair {
    struct str key;
    int line, column; /* of the key */
    struct yaml_node *value;
};

/* NULL when the text could not be read at all (then there is an error in problems). An empty text gives an empty map. */
struct yaml_node *yaml_read(struct arena *arena, struct str text, const struct config_environment *environment, struct config_problems *problems);

const struct yaml_pair *yaml_pair_of(const struct yaml_node *map, const char *key); /* NULL when absent or node NULL or no map */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* Where byte `at` of a text stands in the file, whatever quotes, folds or indents it; the text's own place when it was expanded or is none. */
void yaml_text_place(const struct yaml_node *node, size_t at, int *line, int *column);

#endif
