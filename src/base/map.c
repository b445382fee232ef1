#include "base/map.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

/* Entries in insertion order; `index` is an open-addressing table of entry numbers + 1. Removed entries leave a hole that the next growth closes. */
struct entry {
    char *key;
    size_t key_n;
    uint64_t hash;
    void *value; /* NULL: removed */
};

struct map {
    struct entry *entries;
    size_t used, cap, live;
    uint32_t *index;
    size_t index_size; /* power of two, at least twice `cap` */
};

struct map *map_new(void) {
    return mem_zalloc(sizeof(struct map));
}

void map_free(struct map **map) {
    if (!map || !*map) return;
    for (size_t i = 0; i < (*map)->used; i++) free((*map)->entries[i].key);
    free((*map)->entries);
    free((*map)->index);
    free(*map);
    *map = NULL;
}

size_t map_count(const struct map *map) { return map->live; }

static void index_entry(struct map *map, size_t i) {
    size_t at = map->entries[i].hash & (map->index_size - 1);
    while (map->index[at]) at = (at + 1) & (map->index_size - 1);
    map->index[at] = (uint32_t)i + 1;
}

static void grow(struct map *map) {
    size_t cap = map->live * 2 < 8 ? 8 : map->live * 2;
    struct entry *entries = mem_alloc(cap * sizeof *entries);
    size_t n = 0;
    for (size_t i = 0; i < map->used; i++) {
        if (map->entries[i].value)
            entries[n++] = map->entries[i];
        else
            free(map->entries[i].key);
    }
    free(map->entries);
    free(map->index);
    map->entries = entries;
    map->used = n;
    map->cap = cap;
    map->index_size = 16;
    while (map->index_size < cap * 2) map->index_size *= 2;
    map->index = mem_zalloc(map->index_size * sizeof *map->index);
    for (size_t i = 0; i < n; i++) index_entry(map, i);
}

static struct entry *find(const struct map *map, struct str key, uint64_t hash) {
    if (!map->index) return NULL;
    for (size_t at = hash & (map->index_size - 1); map->index[at]; at = (at + 1) & (map->index_size - 1)) {
        struct entry *e = &map->entries[map->index[at] - 1];
        if (e->value && e->hash == hash && str_eq(key, str_make(e->key, e->key_n))) return e;
    }
    return NULL;
}

void *map_get(const struct map *map, struct str key) {
    struct entry *e = find(map, key, hash64_str(key));
    return e ? e->value : NULL;
}

void *map_put(struct map *map, struct str key, void *value) {
    must(value);
    uint64_t hash = hash64_str(key);
    struct entry *e = find(map, key, hash);
    if (e) {
        void *old = e->value;
        e->value = value;
        return old;
    }
    if (map->used == map->cap) grow(map);
    map->entries[map->used] = (struct entry){mem_strndup(key.p, key.n), key.n, hash, value};
    index_entry(map, map->used++);
    map->live++;
    return NULL;
}

void *map_remove(struct map *map, struct str key) {
    struct entry *e = find(map, key, hash64_str(key));
    if (!e) return NULL;
    void *old = e->value;
    e->value = NULL;
    map->live--;
    return old;
}

bool map_next(const struct map *map, size_t *at, struct str *key, void **value) {
    while (*at < map->used && !map->entries[*at].value) ++*at;
    if (*at >= map->used) return false;
    const struct entry *e = &map->entries[(*at)++];
    if (key) *key = str_make(e->key, e->key_n);
    if (value) *value = e->value;
    return true;
}
