/* Pages of a Parquet column, read in order and only as far as needed.
 *
 * Two windows follow each other: `window` over the file's bytes, `plain` over the page's bytes after decompression. */
#include <string.h>
#include <zstd.h>

#include "base/assert.h"
#include "lake/parquet.h"
#include "lake/parquet_thrift.h"

#define WINDOW_BYTES PARQUET_WINDOW_BYTES
#define PAGE_VALUES_MAX (INT64_C(1) << 22)
#define DICTIONARY_BYTES_MAX (INT64_C(16) << 20)
#define VALUE_BYTES_MAX (UINT64_C(64) << 20) /* an event is smaller by far */

enum codec { CODEC_NONE = 0, CODEC_ZSTD = 6 };
enum page_type { PAGE_DATA = 0, PAGE_DICTIONARY = 2 };
enum encoding { ENCODING_PLAIN = 0, ENCODING_PLAIN_DICTIONARY = 2, ENCODING_RLE = 3, ENCODING_RLE_DICTIONARY = 8 };

struct page_header {
    int64_t type, plain_bytes, packed_bytes, values, encoding, definition_encoding, repetition_encoding;
};

struct column_reader {
    const struct parquet_file *file;
    const struct parquet_leaf *leaf;
    const struct parquet_chunk *chunk;
    struct arena *arena, *scratch; /* of what is given away; of what is needed until the column's end */
    char *window, *plain; /* WINDOW_BYTES each, of the file's reader */
    size_t window_at, window_n, plain_at, plain_n;
    uint64_t file_at, chunk_left; /* behind the window */
    uint64_t packed_left, plain_left; /* of the page: not taken from the window, not put into `plain` */
    struct page_header page;
    struct str dictionary; /* its page, decompressed */
    int64_t dictionary_values;
    uint32_t *definitions, *repetitions; /* of the page under way; NULL: all are the maximum, or 0 */
};

/* ---- the file's bytes ---- */

/* Fills the window as far as there is something to fill it with. */
static enum status window_fill(struct column_reader *r, struct err *err) {
    const struct fs *fs = r->file->fs;
    must(r->window_at <= r->window_n && r->window_n <= WINDOW_BYTES);
    memmove(r->window, r->window + r->window_at, r->window_n - r->window_at);
    r->window_n -= r->window_at;
    r->window_at = 0;
    size_t n = WINDOW_BYTES - r->window_n, got = 0;
    if (n > r->chunk_left) n = (size_t)r->chunk_left;
    if (!n) return OK;
    enum status s = fs->pread(fs->self, r->file->file, r->window + r->window_n, n, r->file_at, &got, err);
    if (s) return s;
    if (got != n) return err_set(err, E_CORRUPT, "the file ends within a column");
    r->window_n += n;
    r->file_at += n;
    r->chunk_left -= n;
    return OK;
}

/* ---- a page's bytes ---- */

static enum status inflate(struct column_reader *r, struct err *err) {
    ZSTD_inBuffer in = {r->window + r->window_at, r->window_n - r->window_at, 0};
    ZSTD_outBuffer out = {r->plain, WINDOW_BYTES, 0};
    if (in.size > r->packed_left) in.size = (size_t)r->packed_left;
    size_t code = ZSTD_decompressStream(r->file->reader->zstd, &out, &in);
    if (ZSTD_isError(code)) return err_set(err, E_CORRUPT, "a page cannot be decompressed: %s", ZSTD_getErrorName(code));
    if (!in.pos && !out.pos) return err_set(err, E_CORRUPT, "a page is shorter than it says");
    r->window_at += in.pos;
    r->packed_left -= in.pos;
    r->plain_n = out.pos;
    return OK;
}

/* More bytes into `plain`, which is used up. At least one, or the page is damaged. */
static enum status plain_fill(struct column_reader *r, struct err *err) {
    must(r->plain_at == r->plain_n);
    r->plain_at = r->plain_n = 0;
    while (!r->plain_n) {
        if (!r->plain_left) return err_set(err, E_CORRUPT, "a value goes beyond its page");
        if (r->window_at == r->window_n && r->packed_left) {
            enum status s = window_fill(r, err);
            if (s) return s;
        }
        if (r->chunk->codec == CODEC_ZSTD) {
            enum status s = inflate(r, err);
            if (s) return s;
        } else {
            size_t n = r->window_n - r->window_at;
            if (n > r->packed_left) n = (size_t)r->packed_left;
            if (!n) return err_set(err, E_CORRUPT, "a page is shorter than it says");
            memcpy(r->plain, r->window + r->window_at, n);
            r->window_at += n;
            r->packed_left -= n;
            r->plain_n = n;
        }
        if (r->plain_n > r->plain_left) return err_set(err, E_CORRUPT, "a page is longer than it says");
        r->plain_left -= r->plain_n;
    }
    return OK;
}

/* `bytes` NULL: over them. */
static enum status take(struct column_reader *r, void *bytes, uint64_t n, struct err *err) {
    uint8_t *to = bytes;
    while (n) {
        if (r->plain_at == r->plain_n) {
            enum status s = plain_fill(r, err);
            if (s) return s;
        }
        size_t some = r->plain_n - r->plain_at;
        if (some > n) some = (size_t)n;
        if (to) {
            memcpy(to, r->plain + r->plain_at, some);
            to += some;
        }
        r->plain_at += some;
        n -= some;
    }
    return OK;
}

static uint64_t page_left(const struct column_reader *r) { return r->plain_left + (r->plain_n - r->plain_at); }

static enum status take_text(struct column_reader *r, struct arena *arena, uint64_t n, struct str *out, struct err *err) {
    if (n > page_left(r)) return err_set(err, E_CORRUPT, "a value goes beyond its page");
    if (n > VALUE_BYTES_MAX) return err_set(err, E_UNSUPPORTED, "more than %llu bytes in one piece", (unsigned long long)VALUE_BYTES_MAX);
    char *bytes = arena_alloc(arena, n + 1);
    enum status s = take(r, bytes, n, err);
    if (!s) *out = str_make(bytes, n);
    return s;
}

static uint32_t little_u32(const uint8_t b[4]) { return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }

static enum status take_u32(struct column_reader *r, uint32_t *out, struct err *err) {
    uint8_t b[4] = {0};
    enum status s = take(r, b, sizeof b, err);
    *out = little_u32(b);
    return s;
}

/* ---- page headers ---- */

static void read_data_header(struct thrift *t, struct page_header *out) {
    struct thrift_field f = {0};
    while (thrift_next(t, &f)) {
        switch (f.id) {
        case 1: out->values = thrift_int(t, f.type); break;
        case 2: out->encoding = thrift_int(t, f.type); break;
        case 3: out->definition_encoding = thrift_int(t, f.type); break;
        case 4: out->repetition_encoding = thrift_int(t, f.type); break;
        default: thrift_skip(t, f.type);
        }
    }
}

static bool read_header(struct thrift *t, struct page_header *out) {
    struct thrift_field f = {0};
    *out = (struct page_header){.type = -1, .values = -1, .encoding = -1, .definition_encoding = ENCODING_RLE, .repetition_encoding = ENCODING_RLE};
    while (thrift_next(t, &f)) {
        if (f.id == 1) {
            out->type = thrift_int(t, f.type);
        } else if (f.id == 2) {
            out->plain_bytes = thrift_int(t, f.type);
        } else if (f.id == 3) {
            out->packed_bytes = thrift_int(t, f.type);
        } else if ((f.id == 5 || f.id == 7) && f.type == THRIFT_STRUCT) { /* a dictionary's begins with the same two fields */
            read_data_header(t, out);
        } else {
            thrift_skip(t, f.type);
        }
    }
    return !t->failed && out->plain_bytes >= 0 && out->plain_bytes <= INT32_MAX && out->packed_bytes >= 0 && out->packed_bytes <= INT32_MAX;
}

static enum status page_begin(struct column_reader *r, struct err *err) {
    enum status s = window_fill(r, err);
    if (s) return s;
    struct thrift t = {.in = str_make(r->window + r->window_at, r->window_n - r->window_at)};
    if (!read_header(&t, &r->page)) return err_set(err, E_CORRUPT, "a page's header cannot be read");
    r->window_at = r->window_n - t.in.n;
    r->packed_left = (uint64_t)r->page.packed_bytes;
    r->plain_left = (uint64_t)r->page.plain_bytes;
    r->plain_at = r->plain_n = 0;
    if (r->packed_left > r->chunk_left + (r->window_n - r->window_at)) return err_set(err, E_CORRUPT, "a page goes beyond its column");
    if (r->chunk->codec == CODEC_ZSTD) ZSTD_DCtx_reset(r->file->reader->zstd, ZSTD_reset_session_only);
    return OK;
}

/* Over what is left of the page, without decompressing it. */
static enum status page_leave(struct column_reader *r, struct err *err) {
    while (r->packed_left) {
        size_t some = r->window_n - r->window_at;
        if (!some) {
            enum status s = window_fill(r, err);
            if (s) return s;
            continue; /* page_begin saw that the column has as many bytes */
        }
        if (some > r->packed_left) some = (size_t)r->packed_left;
        r->window_at += some;
        r->packed_left -= some;
    }
    return OK;
}

/* ---- runs of small numbers: levels, and indexes into a dictionary ---- */

static bool bit_packed(struct str *in, unsigned width, uint64_t groups, uint32_t *out, size_t n, size_t *at) {
    if (groups > in->n || groups * width > in->n) return false;
    uint64_t bits = 0;
    unsigned have = 0;
    size_t byte = 0;
    for (uint64_t i = 0; i < groups * 8 && *at < n; i++) {
        for (; have < width; have += 8) bits |= (uint64_t)(uint8_t)in->p[byte++] << have;
        out[(*at)++] = (uint32_t)(bits & ((UINT64_C(1) << width) - 1));
        bits >>= width;
        have -= width;
    }
    *in = str_from(*in, (size_t)(groups * width));
    return true;
}

static bool run_head(struct str *in, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; in->n && shift < 35; shift += 7) {
        uint8_t b = (uint8_t)in->p[0];
        *in = str_from(*in, 1);
        *out |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return true;
    }
    return false;
}

/* n numbers of `width` bits, all at most `max`. */
static bool take_runs(struct str in, unsigned width, uint32_t max, uint32_t *out, size_t n) {
    must(width >= 1 && width <= 32);
    size_t at = 0, bytes = (width + 7) / 8;
    while (at < n) {
        uint64_t head;
        if (!run_head(&in, &head) || !(head >> 1)) return false;
        if (head & 1) {
            if (!bit_packed(&in, width, head >> 1, out, n, &at)) return false;
            continue;
        }
        if (bytes > in.n) return false;
        uint32_t value = 0;
        for (size_t i = 0; i < bytes; i++) value |= (uint32_t)(uint8_t)in.p[i] << (8 * i);
        in = str_from(in, bytes);
        for (uint64_t i = 0; i < head >> 1 && at < n; i++) out[at++] = value;
    }
    for (size_t i = 0; i < n; i++)
        if (out[i] > max) return false;
    return true;
}

static enum status take_levels(struct column_reader *r, unsigned max, int64_t encoding, uint32_t **out, struct err *err) {
    uint32_t bytes = 0;
    struct str runs;
    *out = NULL;
    if (!max) return OK;
    if (encoding != ENCODING_RLE) return err_set(err, E_UNSUPPORTED, "levels in encoding %lld", (long long)encoding);
    enum status s = take_u32(r, &bytes, err);
    if (!s) s = take_text(r, r->scratch, bytes, &runs, err);
    if (s) return s;
    uint32_t *levels = arena_new_array(r->scratch, uint32_t, (size_t)r->page.values + 1);
    unsigned width = max == 1 ? 1 : max < 4 ? 2 : max < 8 ? 3 : 8;
    if (max >= 8 || !take_runs(runs, width, max, levels, (size_t)r->page.values)) return err_set(err, E_CORRUPT, "a page's levels cannot be read");
    *out = levels;
    return OK;
}

/* ---- the column ---- */

static enum status read_dictionary(struct column_reader *r, struct err *err) {
    if (r->dictionary.p) return err_set(err, E_CORRUPT, "a second dictionary");
    if (r->page.plain_bytes > DICTIONARY_BYTES_MAX) return err_set(err, E_UNSUPPORTED, "a dictionary of %lld bytes", (long long)r->page.plain_bytes);
    if (r->page.encoding != ENCODING_PLAIN && r->page.encoding != ENCODING_PLAIN_DICTIONARY)
        return err_set(err, E_UNSUPPORTED, "a dictionary in encoding %lld", (long long)r->page.encoding);
    r->dictionary_values = r->page.values;
    return take_text(r, r->scratch, (uint64_t)r->page.plain_bytes, &r->dictionary, err);
}

/* The next data page: header, dictionary before it, levels. */
static enum status next_page(struct column_reader *r, struct err *err) {
    enum status s;
    for (;;) {
        if (!r->chunk_left && r->window_at == r->window_n) return err_set(err, E_CORRUPT, "a column has fewer rows than its row group");
        if ((s = page_begin(r, err))) return s;
        if (r->page.type == PAGE_DATA) break;
        if (r->page.type != PAGE_DICTIONARY) return err_set(err, E_UNSUPPORTED, "a page of type %lld", (long long)r->page.type);
        if ((s = read_dictionary(r, err)) || (s = page_leave(r, err))) return s;
    }
    if (r->page.values < 0 || r->page.values > PAGE_VALUES_MAX) return err_set(err, E_UNSUPPORTED, "a page of %lld values", (long long)r->page.values);
    s = take_levels(r, r->leaf->repetition_max, r->page.repetition_encoding, &r->repetitions, err);
    return s ? s : take_levels(r, r->leaf->definition_max, r->page.definition_encoding, &r->definitions, err);
}

static enum status column_open(struct column_reader *r, const struct parquet_file *file, size_t group, size_t leaf, struct arena *scratch, struct err *err) {
    must(group < file->footer.groups_n && leaf < file->footer.leaves_n);
    const struct parquet_chunk *chunk = &file->footer.groups[group].chunks[leaf];
    *r = (struct column_reader){.file = file, .leaf = &file->footer.leaves[leaf], .chunk = chunk, .arena = scratch, .scratch = scratch};
    if (chunk->codec != CODEC_NONE && chunk->codec != CODEC_ZSTD) return err_set(err, E_UNSUPPORTED, "compression %lld", (long long)chunk->codec);
    if (chunk->offset > file->size_bytes || chunk->bytes > file->size_bytes - chunk->offset) return err_set(err, E_CORRUPT, "a column goes beyond its file");
    r->file_at = chunk->offset;
    r->chunk_left = chunk->bytes;
    r->window = file->reader->windows;
    r->plain = r->window + WINDOW_BYTES;
    return OK;
}

static uint32_t definition_at(const struct column_reader *r, size_t i) { return r->definitions ? r->definitions[i] : r->leaf->definition_max; }

static bool is_value(const struct column_reader *r, size_t i) { return definition_at(r, i) == r->leaf->definition_max; }

static size_t values_before(const struct column_reader *r, size_t entry) {
    size_t n = 0;
    for (size_t i = 0; i < entry; i++) n += is_value(r, i);
    return n;
}

/* ---- values ---- */

/* Bytes of a value of fixed size; 0: each says its own. */
static enum status value_size(const struct parquet_leaf *leaf, size_t *out, struct err *err) {
    switch (leaf->type) {
    case PARQUET_INT32: *out = 4; return OK;
    case PARQUET_INT64: *out = 8; return OK;
    case PARQUET_BYTES: *out = 0; return OK;
    case PARQUET_FIXED:
        if (leaf->length <= 0 || leaf->length > 1024) break;
        *out = (size_t)leaf->length;
        return OK;
    default: break;
    }
    return err_set(err, E_UNSUPPORTED, "a column of type %lld", (long long)leaf->type);
}

static enum status take_value(struct column_reader *r, size_t size, struct str *out, struct err *err) {
    uint32_t n = (uint32_t)size;
    enum status s = size ? OK : take_u32(r, &n, err);
    return s ? s : take_text(r, r->arena, n, out, err);
}

/* `n` values behind the first `before`, one after the other in `out`. */
static enum status take_plain(struct column_reader *r, size_t before, size_t n, struct str *out, struct err *err) {
    size_t size;
    enum status s = value_size(r->leaf, &size, err);
    if (!s && size) s = take(r, NULL, (uint64_t)before * size, err);
    for (size_t i = 0; !s && !size && i < before; i++) {
        uint32_t bytes;
        if (!(s = take_u32(r, &bytes, err))) s = take(r, NULL, bytes, err);
    }
    for (size_t i = 0; !s && i < n; i++) s = take_value(r, size, &out[i], err);
    return s;
}

/* A bit each; the value is one byte, 0 or 1. */
static enum status take_booleans(struct column_reader *r, size_t before, size_t n, struct str *out, struct err *err) {
    enum status s = take(r, NULL, before / 8, err);
    uint8_t bits = 0;
    for (size_t i = 0; !s && i < n; i++) {
        size_t bit = (before + i) % 8;
        if (!i || !bit) s = take(r, &bits, 1, err);
        out[i] = (bits >> bit) & 1 ? STR("\1") : STR("\0");
    }
    return s;
}

static enum status dictionary_value(const struct column_reader *r, uint32_t index, struct str *out, struct err *err) {
    size_t size;
    enum status s = value_size(r->leaf, &size, err);
    if (s) return s;
    struct str in = r->dictionary;
    for (uint32_t i = 0;; i++) {
        size_t n = size, head = size ? 0 : 4;
        if (in.n < head) break;
        if (!size) n = little_u32((const uint8_t *)in.p);
        if (n > in.n - head) break;
        if (i == index) {
            *out = arena_str(r->arena, str_make(in.p + head, n));
            return OK;
        }
        in = str_from(in, head + n);
    }
    return err_set(err, E_CORRUPT, "a dictionary is shorter than it says");
}

static enum status take_indexed(struct column_reader *r, size_t before, size_t n, struct str *out, struct err *err) {
    uint8_t width = 0;
    struct str runs;
    if (!n) return OK;
    if (!r->dictionary.p || r->dictionary_values <= 0) return err_set(err, E_CORRUPT, "a page without its dictionary");
    enum status s = take(r, &width, 1, err);
    if (!s) s = take_text(r, r->scratch, page_left(r), &runs, err);
    if (s) return s;
    uint32_t *indexes = arena_new_array(r->scratch, uint32_t, before + n);
    if (width > 32 || (width && !take_runs(runs, width, UINT32_MAX, indexes, before + n))) return err_set(err, E_CORRUPT, "a page's indexes cannot be read");
    for (size_t i = 0; !s && i < n; i++) {
        if (indexes[before + i] >= r->dictionary_values) return err_set(err, E_CORRUPT, "an index beyond its dictionary");
        s = dictionary_value(r, indexes[before + i], &out[i], err);
    }
    return s;
}

static enum status take_values(struct column_reader *r, size_t before, size_t n, struct str *out, struct err *err) {
    switch (r->page.encoding) {
    case ENCODING_PLAIN: return r->leaf->type == PARQUET_BOOLEAN ? take_booleans(r, before, n, out, err) : take_plain(r, before, n, out, err);
    case ENCODING_PLAIN_DICTIONARY:
    case ENCODING_RLE_DICTIONARY: return take_indexed(r, before, n, out, err);
    default: return err_set(err, E_UNSUPPORTED, "a page in encoding %lld", (long long)r->page.encoding);
    }
}

/* ---- a row by its number ---- */

/* Entries [*from, *to) of the page are the row; false: it is in a later page. *row counts down by the page's rows. */
static bool row_entries(const struct column_reader *r, int64_t *row, size_t *from, size_t *to) {
    size_t n = (size_t)r->page.values;
    if (!r->repetitions) {
        *from = (size_t)*row;
        *to = *from + 1;
        if (*row < r->page.values) return true;
        *row -= r->page.values;
        return false;
    }
    size_t i = 0;
    for (; i < n; i++)
        if (!r->repetitions[i] && (*row)-- == 0) break;
    *from = i;
    for (i++; i < n && r->repetitions[i]; i++) {}
    *to = i;
    return *from < n;
}

static enum status read_row(struct column_reader *r, int64_t row, struct parquet_entry **out, size_t *n, struct err *err) {
    size_t from, to;
    enum status s;
    for (;;) {
        if ((s = next_page(r, err))) return s;
        if (row_entries(r, &row, &from, &to)) break;
        if ((s = page_leave(r, err))) return s;
    }
    if (r->repetitions && to == (size_t)r->page.values && r->packed_left < r->chunk_left + (r->window_n - r->window_at))
        return err_set(err, E_UNSUPPORTED, "a row that may go on in the next page");
    struct parquet_entry *entries = arena_new_array(r->arena, struct parquet_entry, to - from);
    struct str *values = arena_new_array(r->scratch, struct str, to - from);
    size_t values_n = 0;
    for (size_t i = from; i < to; i++) values_n += is_value(r, i);
    if (values_n && (s = take_values(r, values_before(r, from), values_n, values, err))) return s;
    for (size_t i = from, at = 0; i < to; i++) {
        entries[i - from].definition = (uint8_t)definition_at(r, i);
        if (is_value(r, i)) entries[i - from].bytes = values[at++];
    }
    *out = entries;
    *n = to - from;
    return OK;
}

enum status parquet_read_row(
    const struct parquet_file *file, size_t group, size_t leaf, int64_t row, struct arena *arena, struct parquet_entry **out, size_t *n, struct err *err) {
    must(row >= 0 && row < file->footer.groups[group].rows);
    ARENA_SCOPE(scratch);
    struct column_reader r;
    enum status s = column_open(&r, file, group, leaf, scratch, err);
    r.arena = arena;
    if (!s) s = read_row(&r, row, out, n, err);
    return s;
}

/* ---- a row by its value ---- */

static enum status find_in_page(struct column_reader *r, const uint8_t value[16], int64_t first_row, int64_t *row, struct err *err) {
    enum status s = OK;
    uint8_t found[16];
    for (int64_t i = 0; !s && *row < 0 && i < r->page.values; i++) {
        if (!is_value(r, (size_t)i)) continue;
        s = take(r, found, sizeof found, err);
        if (!s && !memcmp(found, value, sizeof found)) *row = first_row + i;
    }
    return s;
}

static enum status find_row(struct column_reader *r, int64_t rows, const uint8_t value[16], int64_t *row, struct err *err) {
    const struct parquet_leaf *leaf = r->leaf;
    if (leaf->type != PARQUET_FIXED || leaf->length != 16 || leaf->repetition_max) return err_set(err, E_UNSUPPORTED, "the ids are not flat UUIDs");
    enum status s = OK;
    for (int64_t first = 0; !s && *row < 0 && first < rows; first += r->page.values) {
        if ((s = next_page(r, err))) return s;
        if (r->page.encoding != ENCODING_PLAIN) return err_set(err, E_UNSUPPORTED, "ids in encoding %lld", (long long)r->page.encoding);
        s = find_in_page(r, value, first, row, err);
        if (!s && *row < 0) s = page_leave(r, err);
    }
    if (!s && *row >= rows) s = err_set(err, E_CORRUPT, "a column has more rows than its row group");
    return s;
}

enum status parquet_find_row(const struct parquet_file *file, size_t group, size_t leaf, const uint8_t value[16], int64_t *row, struct err *err) {
    ARENA_SCOPE(tmp);
    must(value && row);
    struct column_reader r;
    int64_t found = -1;
    enum status s = column_open(&r, file, group, leaf, tmp, err);
    if (!s) s = find_row(&r, file->footer.groups[group].rows, value, &found, err);
    if (!s) *row = found;
    return s;
}
