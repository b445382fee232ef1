#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t size) {
    if (!p) {
        fprintf(stderr, "cupel: out of memory asking for %zu bytes\n", size);
        abort();
    }
    return p;
}

void *mem_alloc(size_t size) { return checked(malloc(size ? size : 1), size); }
void *mem_zalloc(size_t size) { return checked(calloc(1, size ? size : 1), size); }
void *mem_realloc(void *p, size_t size) { return checked(realloc(p, size ? size : 1), size); }

char *mem_strndup(const char *bytes, size_t n) {
    char *p = mem_alloc(n + 1);
    if (n) memcpy(p, bytes, n);
    p[n] = 0;
    return p;
}

char *mem_strdup(const char *text) { return mem_strndup(text, strlen(text)); }

char *mem_printf(const char *format, ...) {
    va_list args;
    char *p = NULL;
    va_start(args, format);
    int n = vasprintf(&p, format, args);
    va_end(args);
    return checked(n < 0 ? NULL : p, 0);
}

void mem_auto_free(void *pointer_to_pointer) { free(*(void **)pointer_to_pointer); }
