/* Arena: memory by lifetime. One per request, batch or run; freed as a whole.
 *
 * Not shared between threads without a lock. Memory is never NULL: running out of address space aborts the process (limits on input sizes are
 * what keeps memory bounded, not checks at each allocation). Allocations are 16-byte aligned. */
#ifndef CUPEL_BASE_ARENA_H
#define CUPEL_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/str.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena **arena); /* frees all, sets *arena to NULL; NULL is fine */
void arena_reset(struct arena *arena); /* forgets all allocations, keeps one block for reuse */
size_t arena_bytes(const struct arena *arena); /* bytes taken from the system */

void *arena_alloc(struct arena *arena, size_t size); /* not zeroed */
void *arena_zalloc(struct arena *arena, size_t size); /* zeroed */
char *arena_strdup(struct arena *arena, const char *text);
char *arena_strndup(struct arena *arena, const char *bytes, size_t n); /* adds a NUL */
struct str arena_str(struct arena *arena, struct str s); /* a copy, NUL behind it */
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list args);

#define arena_new_array(arena, type, n) ((type *)arena_zalloc((arena), (n) * sizeof(type)))
#define arena_new_one(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))

/* For `ARENA_SCOPE(tmp);` — an arena that goes with the block. */
#define ARENA_SCOPE(name) __attribute__((cleanup(arena_free))) struct arena *name = arena_new()

#endif
