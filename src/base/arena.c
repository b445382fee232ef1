#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define BLOCK_BYTES 8192
#define ALIGN 16

struct block {
    struct block *next;
    size_t size, used;
    _Alignas(ALIGN) char bytes[];
};

struct arena {
    struct block *head; /* the block that is being filled; older ones behind it */
    size_t total;
};

static struct block *block_new(size_t size) {
    struct block *block = mem_alloc(sizeof *block + size);
    block->next = NULL;
    block->size = size;
    block->used = 0;
    return block;
}

struct arena *arena_new(void) {
    struct arena *arena = mem_alloc(sizeof *arena);
    arena->head = NULL;
    arena->total = 0;
    return arena;
}

static void free_blocks(struct block *block) {
    while (block) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_free(struct arena **arena) {
    if (!arena || !*arena) return;
    free_blocks((*arena)->head);
    free(*arena);
    *arena = NULL;
}

void arena_reset(struct arena *arena) {
    must(arena);
    if (!arena->head) return;
    struct block *keep = arena->head;
    if (keep->size > 16 * BLOCK_BYTES) { /* one huge request must not pin its memory for ever */
        free_blocks(keep);
        arena->head = NULL;
        arena->total = 0;
        return;
    }
    free_blocks(keep->next);
    keep->next = NULL;
    keep->used = 0;
    arena->total = keep->size;
}

size_t arena_bytes(const struct arena *arena) { return arena->total; }

void *arena_alloc(struct arena *arena, size_t size) {
    must(arena);
    must(size < SIZE_MAX / 2);
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!arena->head || arena->head->size - arena->head->used < size) {
        size_t want = arena->head ? arena->head->size * 2 : BLOCK_BYTES;
        if (want > 1u << 20) want = 1u << 20;
        if (want < size) want = size;
        struct block *block = block_new(want);
        block->next = arena->head;
        arena->head = block;
        arena->total += want;
    }
    void *p = arena->head->bytes + arena->head->used;
    arena->head->used += size;
    return p;
}

void *arena_zalloc(struct arena *arena, size_t size) {
    void *p = arena_alloc(arena, size);
    memset(p, 0, size);
    return p;
}

char *arena_strndup(struct arena *arena, const char *bytes, size_t n) {
    char *p = arena_alloc(arena, n + 1);
    if (n) memcpy(p, bytes, n);
    p[n] = 0;
    return p;
}

char *arena_strdup(struct arena *arena, const char *text) { return arena_strndup(arena, text, strlen(text)); }

struct str arena_str(struct arena *arena, struct str s) {
    return (struct str){arena_strndup(arena, s.p, s.n), s.n};
}

char *arena_vprintf(struct arena *arena, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    must(n >= 0);
    char *p = arena_alloc(arena, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

char *arena_printf(struct arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *p = arena_vprintf(arena, format, args);
    va_end(args);
    return p;
}
