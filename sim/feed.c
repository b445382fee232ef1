/* Events of a feed in one buffer, sorted by time before they are sent. */
#include "base/assert.h"
#include "base/mem.h"
#include "sim.h"

#include <stdlib.h>

void feed_free(struct feed *f) {
    buf_free(&f->text);
    free(f->events);
    *f = (struct feed){0};
}

void feed_clear(struct feed *f) {
    buf_clear(&f->text);
    f->n = 0;
}

void feed_add(struct feed *f, int64_t at_us, size_t start) {
    must(start < f->text.n && f->text.n < UINT32_MAX);
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 1024;
        f->events = mem_realloc(f->events, f->cap * sizeof *f->events);
    }
    f->events[f->n++] = (struct event){.at_us = at_us, .start = (uint32_t)start, .n = (uint32_t)(f->text.n - start)};
}

static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    if (x->at_us != y->at_us) return x->at_us < y->at_us ? -1 : 1;
    return x->start < y->start ? -1 : x->start > y->start;
}

void feed_sort(struct feed *f) {
    if (f->n) qsort(f->events, f->n, sizeof *f->events, by_time);
}
