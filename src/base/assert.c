#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_fail(const char *file, int line, const char *func, const char *what) {
    fprintf(stderr, "cupel: %s:%d: %s: assertion failed: %s\n", file, line, func, what);
    fflush(stderr);
    abort();
}
