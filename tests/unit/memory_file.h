/* A file system of one file that lies in memory and can only be read. */
#ifndef CUPEL_TESTS_MEMORY_FILE_H
#define CUPEL_TESTS_MEMORY_FILE_H

#include <string.h>

#include "host/host.h"

static inline enum status memory_open(void *self, const char *path, int flags, int *file, struct err *err) {
    *file = 1;
    return OK;
}

static inline void memory_close(void *self, int file) {}

static inline enum status memory_pread(void *self, int file, void *bytes, size_t n, uint64_t offset, size_t *got, struct err *err) {
    const struct str *content = self;
    size_t left = offset < content->n ? content->n - offset : 0;
    *got = n < left ? n : left;
    if (*got) memcpy(bytes, content->p + offset, *got);
    return OK;
}

static inline enum status memory_stat(void *self, int file, struct fs_stat *out, struct err *err) {
    *out = (struct fs_stat){.size_bytes = ((const struct str *)self)->n, .is_file = true};
    return OK;
}

static inline struct fs memory_file(struct str *content) {
    return (struct fs){.self = content, .open = memory_open, .close = memory_close, .pread = memory_pread, .stat_file = memory_stat};
}

#endif
