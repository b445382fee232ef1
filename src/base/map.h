/* Hash map from byte strings to pointers. Keys are copied. Insertion order is kept for iteration. One thread at a time. */
#ifndef CUPEL_BASE_MAP_H
#define CUPEL_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct map;

struct map *map_new(void);
void map_free(struct map **map); /* values are not freed */
size_t map_count(const struct map *map);
void *map_get(const struct map *map, struct str key); /* NULL when absent */
void *map_put(struct map *map, struct str key, void *value); /* value not NULL; returns the value replaced, or NULL */
void *map_remove(struct map *map, struct str key); /* the value removed, or NULL */
/* Iteration in insertion order: `size_t at = 0; struct str k; void *v; while (map_next(map, &at, &k, &v))`. The map may not change meanwhile. */
bool map_next(const struct map *map, size_t *at, struct str *key, void **value);

#endif
