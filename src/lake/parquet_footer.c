/* A Parquet file's footer: leaves of its schema, and where their pages are. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "lake/parquet.h"
#include "lake/parquet_thrift.h"

#define DEPTH_MAX 16
#define ZSTD_WINDOW_LOG_MAX 23 /* 8 MB; our writer's files need 2 */
#define FOOTER_BYTES_MAX (UINT64_C(16) << 20)

enum repetition { REQUIRED = 0, OPTIONAL = 1, REPEATED = 2 };

struct element {
    int64_t type, length, repetition, children, field_id;
};

static struct element read_element(struct thrift *t) {
    struct element e = {.type = -1, .field_id = -1};
    struct thrift_field f = {0};
    while (thrift_next(t, &f)) {
        switch (f.id) {
        case 1: e.type = thrift_int(t, f.type); break;
        case 2: e.length = thrift_int(t, f.type); break;
        case 3: e.repetition = thrift_int(t, f.type); break;
        case 5: e.children = thrift_int(t, f.type); break;
        case 9: e.field_id = thrift_int(t, f.type); break;
        default: thrift_skip(t, f.type);
        }
    }
    return e;
}

/* ---- leaves: the tree is stored in preorder ---- */

struct tree {
    const struct element *elements;
    size_t n, at;
    struct parquet_footer *out;
};

static bool walk(struct tree *tree, struct parquet_leaf above) {
    if (tree->at >= tree->n || above.depth >= DEPTH_MAX) return false;
    const struct element *e = &tree->elements[tree->at++];
    struct parquet_leaf leaf = above;
    leaf.depth++;
    if (leaf.depth == 1) {
        leaf.field_id = e->field_id;
        leaf.field_optional = e->repetition == OPTIONAL;
    }
    if (e->repetition != REQUIRED) leaf.definition_max++;
    if (e->repetition == REPEATED) leaf.repetition_max++;
    if (e->repetition < REQUIRED || e->repetition > REPEATED || e->children < 0) return false;
    if (!e->children) {
        leaf.type = e->type;
        leaf.length = e->length;
        tree->out->leaves[tree->out->leaves_n++] = leaf; /* no more leaves than elements */
        return true;
    }
    for (int64_t i = 0; i < e->children; i++)
        if (!walk(tree, leaf)) return false;
    return true;
}

static void read_schema(struct arena *arena, struct thrift *t, enum thrift_type type, struct parquet_footer *out) {
    size_t n = thrift_list(t, type, THRIFT_STRUCT);
    struct element *elements = arena_new_array(arena, struct element, n + 1);
    for (size_t i = 0; i < n && !t->failed; i++) elements[i] = read_element(t);
    out->leaves = arena_new_array(arena, struct parquet_leaf, n + 1);
    out->leaves_n = 0;
    struct tree tree = {.elements = elements, .n = n, .at = 1, .out = out};
    for (int64_t i = 0; n && i < elements[0].children && !t->failed; i++)
        if (!walk(&tree, (struct parquet_leaf){.field_id = -1})) t->failed = true;
}

/* ---- row groups ---- */

static void read_statistics(struct thrift *t, struct parquet_chunk *out) {
    struct thrift_field f = {0};
    while (thrift_next(t, &f)) {
        switch (f.id) { /* 1 and 2 are of old writers, whose order of bytes is not sure */
        case 5: out->max = thrift_binary(t, f.type); break;
        case 6: out->min = thrift_binary(t, f.type); break;
        default: thrift_skip(t, f.type);
        }
    }
}

static void read_column(struct thrift *t, struct parquet_chunk *out) {
    struct thrift_field f = {0};
    int64_t data = 0, dictionary = 0, bytes = 0;
    while (thrift_next(t, &f)) {
        switch (f.id) {
        case 4: out->codec = thrift_int(t, f.type); break;
        case 5: out->values = thrift_int(t, f.type); break;
        case 7: bytes = thrift_int(t, f.type); break;
        case 9: data = thrift_int(t, f.type); break;
        case 11: dictionary = thrift_int(t, f.type); break;
        case 12:
            if (f.type == THRIFT_STRUCT) {
                read_statistics(t, out);
                break;
            }
            __attribute__((fallthrough));
        default: thrift_skip(t, f.type);
        }
    }
    int64_t first = dictionary > 0 && dictionary < data ? dictionary : data;
    if (first < 0 || bytes < 0 || out->values < 0) t->failed = true;
    out->offset = t->failed ? 0 : (uint64_t)first;
    out->bytes = t->failed ? 0 : (uint64_t)bytes;
}

static void read_chunk(struct thrift *t, struct parquet_chunk *out) {
    struct thrift_field f = {0};
    bool there = false;
    while (thrift_next(t, &f)) {
        if (f.id == 3 && f.type == THRIFT_STRUCT) {
            read_column(t, out);
            there = true;
        } else { /* 1 would name another file: a reader that does not know it reads garbage */
            if (f.id == 1) t->failed = true;
            thrift_skip(t, f.type);
        }
    }
    if (!there) t->failed = true;
}

static void read_group(struct arena *arena, struct thrift *t, const struct parquet_footer *footer, struct parquet_group *out) {
    struct thrift_field f = {0};
    while (thrift_next(t, &f)) {
        if (f.id == 1 && !out->chunks) {
            size_t n = thrift_list(t, f.type, THRIFT_STRUCT);
            if (n != footer->leaves_n) t->failed = true;
            if (t->failed) return;
            out->chunks = arena_new_array(arena, struct parquet_chunk, n + 1);
            for (size_t i = 0; i < n && !t->failed; i++) read_chunk(t, &out->chunks[i]);
        } else if (f.id == 3) {
            out->rows = thrift_int(t, f.type);
        } else {
            thrift_skip(t, f.type);
        }
    }
    if (!out->chunks || out->rows < 0) t->failed = true;
}

enum status parquet_footer_read(struct arena *arena, struct str bytes, struct parquet_footer *out, struct err *err) {
    must(arena && out);
    struct thrift t = {.in = bytes};
    struct thrift_field f = {0};
    *out = (struct parquet_footer){0};
    while (thrift_next(&t, &f)) {
        if (f.id == 2 && !out->leaves) {
            read_schema(arena, &t, f.type, out);
        } else if (f.id == 4 && out->leaves && !out->groups) {
            size_t n = thrift_list(&t, f.type, THRIFT_STRUCT);
            out->groups = arena_new_array(arena, struct parquet_group, n + 1);
            for (; out->groups_n < n && !t.failed; out->groups_n++) read_group(arena, &t, out, &out->groups[out->groups_n]);
        } else {
            thrift_skip(&t, f.type);
        }
    }
    if (t.failed || !out->groups) return err_set(err, E_CORRUPT, "the Parquet footer cannot be read");
    return OK;
}

/* ---- files ---- */

static enum status read_exactly(const struct parquet_file *f, void *bytes, size_t n, uint64_t at, struct err *err) {
    size_t got = 0;
    enum status s = f->fs->pread(f->fs->self, f->file, bytes, n, at, &got, err);
    return s || got == n ? s : err_set(err, E_CORRUPT, "the file ends early");
}

static enum status read_footer(struct parquet_file *file, struct arena *arena, struct err *err) {
    uint8_t tail[8];
    if (file->size_bytes < 12) return err_set(err, E_CORRUPT, "too short for a Parquet file");
    enum status s = read_exactly(file, tail, sizeof tail, file->size_bytes - 8, err);
    if (s) return s;
    uint64_t n = tail[0] | (uint64_t)tail[1] << 8 | (uint64_t)tail[2] << 16 | (uint64_t)tail[3] << 24;
    if (memcmp(tail + 4, "PAR1", 4) != 0 || n > file->size_bytes - 12) return err_set(err, E_CORRUPT, "no Parquet file");
    if (n > FOOTER_BYTES_MAX) return err_set(err, E_UNSUPPORTED, "a footer of more than %llu bytes", (unsigned long long)FOOTER_BYTES_MAX);
    char *bytes = arena_alloc(arena, n + 1);
    s = read_exactly(file, bytes, n, file->size_bytes - 8 - n, err);
    return s ? s : parquet_footer_read(arena, str_make(bytes, n), &file->footer, err);
}

/* ---- readers ---- */

void parquet_readers_init(struct parquet_readers *readers) {
    *readers = (struct parquet_readers){0};
    mutex_init(&readers->lock);
    condition_init(&readers->given);
}

void parquet_readers_destroy(struct parquet_readers *readers) {
    for (size_t i = 0; i < PARQUET_READERS_MAX; i++) {
        must(!readers->readers[i].taken);
        ZSTD_freeDStream(readers->readers[i].zstd);
        free(readers->readers[i].windows);
    }
    condition_destroy(&readers->given);
    mutex_destroy(&readers->lock);
}

/* One that was used before is taken first. */
static struct parquet_reader *reader_take(struct parquet_readers *readers) {
    WITH_LOCK(&readers->lock);
    for (;;) {
        for (size_t i = 0; i < PARQUET_READERS_MAX; i++) {
            if (readers->readers[i].taken) continue;
            readers->readers[i].taken = true;
            return &readers->readers[i];
        }
        condition_wait(&readers->given, &readers->lock);
    }
}

static void reader_give(struct parquet_readers *readers, struct parquet_reader *reader) {
    WITH_LOCK(&readers->lock);
    must(reader->taken);
    reader->taken = false;
    condition_signal(&readers->given);
}

static void reader_prepare(struct parquet_reader *reader) {
    if (reader->zstd) return;
    reader->windows = mem_alloc((size_t)2 * PARQUET_WINDOW_BYTES);
    reader->zstd = ZSTD_createDStream();
    must(reader->zstd);
    ZSTD_DCtx_setParameter(reader->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
}

enum status parquet_open(
    struct parquet_file *file, const struct fs *fs, struct parquet_readers *readers, struct arena *arena, const char *path, struct err *err) {
    must(fs && path);
    *file = (struct parquet_file){.fs = fs, .file = -1, .readers = readers, .reader = reader_take(readers)};
    reader_prepare(file->reader);
    struct fs_stat stat;
    enum status s = fs->open(fs->self, path, FS_READ, &file->file, err);
    if (!s) s = fs->stat_file(fs->self, file->file, &stat, err);
    if (s) return s;
    file->size_bytes = stat.size_bytes;
    return read_footer(file, arena, err);
}

void parquet_close(struct parquet_file *file) {
    if (file->file >= 0) file->fs->close(file->fs->self, file->file);
    reader_give(file->readers, file->reader);
    *file = (struct parquet_file){.file = -1};
}

size_t parquet_leaves_of(const struct parquet_footer *footer, int64_t field_id, size_t *leaf) {
    size_t n = 0;
    for (size_t i = 0; i < footer->leaves_n; i++) {
        if (footer->leaves[i].field_id != field_id) continue;
        if (!n++) *leaf = i;
    }
    return n;
}
