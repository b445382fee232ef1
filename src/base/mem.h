/* Heap memory that is never NULL: out of memory aborts with a message (see arena.h for why). Freed with free(). */
#ifndef CUPEL_BASE_MEM_H
#define CUPEL_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *text);
char *mem_strndup(const char *bytes, size_t n);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For `AUTO_FREE char *p = …;` */
void mem_auto_free(void *pointer_to_pointer);
#define AUTO_FREE __attribute__((cleanup(mem_auto_free)))

#endif
