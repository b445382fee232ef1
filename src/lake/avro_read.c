/* Reader of Avro object container files. */
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "lake/avro.h"

#define BLOCK_BYTES_DEFAULT (UINT64_C(256) << 20)
#define VALUES_DEFAULT UINT64_C(16000000)
#define META_MAX 1000

static const char magic[4] = {'O', 'b', 'j', 1};

static enum status truncated(struct err *err, const char *what) {
    err_set(err, E_CORRUPT, "avro file ends within %s", what);
    return E_CORRUPT;
}

/* Zig-zag variable-length integer, at most 10 bytes. */
static enum status take_long(struct str *in, int64_t *out, struct err *err) {
    uint64_t v = 0;
    for (size_t i = 0; i < 10; i++) {
        if (i >= in->n) return truncated(err, "a number");
        uint8_t b = (uint8_t)in->p[i];
        if (i == 9 && b > 1) break;
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (b & 0x80) continue;
        *in = str_from(*in, i + 1);
        *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
        return OK;
    }
    return err_set(err, E_CORRUPT, "avro number is longer than 64 bits");
}

static enum status take_raw(struct str *in, size_t n, struct str *out, const char *what, struct err *err) {
    if (n > in->n) return truncated(err, what);
    *out = str_head(*in, n);
    *in = str_from(*in, n);
    return OK;
}

static enum status take_bytes(struct str *in, struct str *out, struct err *err) {
    int64_t n = 0;
    enum status s = take_long(in, &n, err);
    if (s) return s;
    if (n < 0) return err_set(err, E_CORRUPT, "avro text of negative length");
    return take_raw(in, (uint64_t)n > in->n ? in->n + 1 : (size_t)n, out, "a text", err);
}

static enum status decode(struct avro_reader *r, const struct avro_schema *schema, struct avro_value *out, struct err *err);

static enum status decode_record(struct avro_reader *r, const struct avro_schema *schema, struct avro_value *out, struct err *err) {
    struct avro_value *values = arena_new_array(r->arena, struct avro_value, schema->n + 1);
    for (size_t i = 0; i < schema->n; i++) {
        enum status s = decode(r, schema->items[i], &values[i], err);
        if (s) return s;
    }
    out->values = values;
    out->n = schema->n;
    return OK;
}

/* Length of the next run of items of an array or map; 0 ends it. A negative count is followed by the run's size in bytes. */
static enum status run_length(struct avro_reader *r, int64_t *out, struct err *err) {
    int64_t count = 0, size = 0;
    enum status s = take_long(&r->block, &count, err);
    if (s) return s;
    if (count < 0) {
        if (count == INT64_MIN) return err_set(err, E_CORRUPT, "avro list of impossible length");
        if ((s = take_long(&r->block, &size, err))) return s;
        count = -count;
    }
    *out = count;
    return OK;
}

static enum status decode_items(struct avro_reader *r, const struct avro_schema *schema, struct avro_value *out, struct err *err) {
    bool map = schema->kind == AVRO_MAP;
    static const struct avro_schema key_schema = {.kind = AVRO_STRING};
    struct avro_value *values = NULL;
    size_t n = 0, cap = 0, width = map ? 2 : 1;
    for (;;) {
        int64_t count = 0;
        enum status s = run_length(r, &count, err);
        if (s) return s;
        if (!count) break;
        if ((uint64_t)count > r->limits.values - r->values)
            return err_set(err, E_LIMIT, "avro file has more than %llu values", (unsigned long long)r->limits.values);
        for (int64_t i = 0; i < count; i++) {
            if (n + width > cap) {
                size_t grown_cap = cap ? cap * 2 : 8;
                struct avro_value *grown = arena_alloc(r->arena, grown_cap * sizeof(*grown));
                if (n) memcpy(grown, values, n * sizeof(*grown));
                values = grown;
                cap = grown_cap;
            }
            if (map && (s = decode(r, &key_schema, &values[n], err))) return s;
            if ((s = decode(r, schema->items[0], &values[n + width - 1], err))) return s;
            n += width;
        }
    }
    out->values = values;
    out->n = n;
    return OK;
}

static enum status decode_real(struct avro_reader *r, bool is_float, struct avro_value *out, struct err *err) {
    struct str raw = STR_NULL;
    enum status s = take_raw(&r->block, is_float ? 4 : 8, &raw, "a number", err);
    if (s) return s;
    if (is_float) {
        float f;
        memcpy(&f, raw.p, 4);
        out->real = (double)f;
    } else {
        memcpy(&out->real, raw.p, 8);
    }
    return OK;
}

static enum status decode_integer(struct avro_reader *r, const struct avro_schema *schema, struct avro_value *out, struct err *err) {
    enum status s = take_long(&r->block, &out->integer, err);
    if (s) return s;
    if (schema->kind == AVRO_INT && (out->integer < INT32_MIN || out->integer > INT32_MAX)) return err_set(err, E_CORRUPT, "avro int is out of its range");
    if (schema->kind == AVRO_ENUM && (out->integer < 0 || (uint64_t)out->integer >= schema->n)) return err_set(err, E_CORRUPT, "avro enum is out of its range");
    return OK;
}

static enum status decode(struct avro_reader *r, const struct avro_schema *schema, struct avro_value *out, struct err *err) {
    if (++r->values > r->limits.values) return err_set(err, E_LIMIT, "avro file has more than %llu values", (unsigned long long)r->limits.values);
    struct str raw = STR_NULL;
    int64_t branch = 0;
    enum status s;
    out->schema = schema;
    switch (schema->kind) {
    case AVRO_NULL: return OK;
    case AVRO_BOOLEAN:
        if ((s = take_raw(&r->block, 1, &raw, "a boolean", err))) return s;
        out->boolean = raw.p[0] != 0;
        return OK;
    case AVRO_INT:
    case AVRO_LONG:
    case AVRO_ENUM: return decode_integer(r, schema, out, err);
    case AVRO_FLOAT:
    case AVRO_DOUBLE: return decode_real(r, schema->kind == AVRO_FLOAT, out, err);
    case AVRO_BYTES:
    case AVRO_STRING: return take_bytes(&r->block, &out->bytes, err);
    case AVRO_FIXED: return take_raw(&r->block, schema->size_bytes, &out->bytes, "a fixed", err);
    case AVRO_RECORD: return decode_record(r, schema, out, err);
    case AVRO_ARRAY:
    case AVRO_MAP: return decode_items(r, schema, out, err);
    case AVRO_UNION:
        if ((s = take_long(&r->block, &branch, err))) return s;
        if (branch < 0 || (uint64_t)branch >= schema->n) return err_set(err, E_CORRUPT, "avro union has no branch %lld", (long long)branch);
        return decode(r, schema->items[branch], out, err);
    }
    must_not();
}

static enum status inflate_block(struct avro_reader *r, struct str packed, struct str *out, struct err *err) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed.p, .avail_in = (uInt)packed.n};
    if (packed.n > UINT32_MAX || inflateInit2(&z, -15) != Z_OK) return err_set(err, E_CORRUPT, "avro block cannot be inflated");
    BUF_SCOPE(plain);
    int rc = Z_OK;
    while (rc == Z_OK) {
        if (plain.n > r->limits.block_bytes) break;
        buf_reserve(&plain, 65536);
        z.next_out = (Bytef *)plain.p + plain.n;
        z.avail_out = 65536;
        rc = inflate(&z, Z_NO_FLUSH);
        plain.n += 65536 - z.avail_out;
        if (rc == Z_BUF_ERROR) break;
    }
    inflateEnd(&z);
    if (plain.n > r->limits.block_bytes) return err_set(err, E_LIMIT, "avro block is over %llu bytes", (unsigned long long)r->limits.block_bytes);
    if (rc != Z_STREAM_END) return err_set(err, E_CORRUPT, "avro block is not valid deflate");
    *out = arena_str(r->arena, buf_view(&plain));
    return OK;
}

static enum status unzstd_block(struct avro_reader *r, struct str packed, struct str *out, struct err *err) {
    BUF_SCOPE(plain);
    ZSTD_DStream *z = ZSTD_createDStream();
    must(z);
    ZSTD_inBuffer in = {packed.p, packed.n, 0};
    size_t rc = 1;
    while (!ZSTD_isError(rc) && plain.n <= r->limits.block_bytes) {
        buf_reserve(&plain, 131072);
        ZSTD_outBuffer to = {plain.p + plain.n, 131072, 0};
        rc = ZSTD_decompressStream(z, &to, &in);
        plain.n += to.pos;
        if (in.pos == in.size && to.pos < to.size) break;
    }
    ZSTD_freeDStream(z);
    if (plain.n > r->limits.block_bytes) return err_set(err, E_LIMIT, "avro block is over %llu bytes", (unsigned long long)r->limits.block_bytes);
    if (rc != 0) return err_set(err, E_CORRUPT, "avro block is not valid zstandard");
    *out = arena_str(r->arena, buf_view(&plain));
    return OK;
}

static enum status unpack(struct avro_reader *r, struct str packed, struct str *out, struct err *err) {
    if (!strcmp(r->codec, "deflate")) return inflate_block(r, packed, out, err);
    if (!strcmp(r->codec, "zstandard")) return unzstd_block(r, packed, out, err);
    if (packed.n > r->limits.block_bytes) return err_set(err, E_LIMIT, "avro block is over %llu bytes", (unsigned long long)r->limits.block_bytes);
    *out = packed;
    return OK;
}

static enum status read_meta(struct avro_reader *r, struct err *err) {
    static const struct avro_schema bytes_schema = {.kind = AVRO_BYTES};
    static struct avro_schema *const item[1] = {(struct avro_schema *)(uintptr_t)&bytes_schema};
    static const struct avro_schema map_schema = {.kind = AVRO_MAP, .n = 1, .items = (struct avro_schema **)(uintptr_t)item};
    struct avro_value map = {0};
    size_t header_max = r->rest.n < AVRO_HEADER_BYTES_MAX ? r->rest.n : AVRO_HEADER_BYTES_MAX;
    r->block = str_head(r->rest, header_max);
    enum status s = decode_items(r, &map_schema, &map, err);
    if (s) return s;
    if (map.n / 2 > META_MAX) return err_set(err, E_LIMIT, "avro header has more than %d entries", META_MAX);
    r->rest = str_from(r->rest, header_max - r->block.n);
    r->block = STR_NULL;
    r->meta_n = map.n / 2;
    r->meta = arena_new_array(r->arena, struct str, map.n + 1);
    for (size_t i = 0; i < map.n; i++) r->meta[i] = map.values[i].bytes;
    return OK;
}

struct str avro_meta(const struct avro_reader *reader, const char *name) {
    for (size_t i = 0; i < reader->meta_n; i++)
        if (str_is(reader->meta[2 * i], name)) return reader->meta[2 * i + 1];
    return STR_NULL;
}

enum status avro_open(struct avro_reader *reader, struct arena *arena, struct str bytes, struct avro_limits limits, struct err *err) {
    must(reader && arena);
    if (bytes.n < 4 || memcmp(bytes.p, magic, 4) != 0) return err_set(err, E_CORRUPT, "not an avro file");
    struct avro_reader r = {.arena = arena, .rest = str_from(bytes, 4), .limits = limits};
    if (!r.limits.block_bytes) r.limits.block_bytes = BLOCK_BYTES_DEFAULT;
    if (!r.limits.values) r.limits.values = VALUES_DEFAULT;
    struct avro_schema *schema = NULL;
    struct str sync = STR_NULL;
    enum status s = read_meta(&r, err);
    if (s) return s;
    struct str codec = avro_meta(&r, "avro.codec");
    r.codec = codec.p && codec.n ? arena_strndup(arena, codec.p, codec.n) : "null";
    if (strcmp(r.codec, "null") != 0 && strcmp(r.codec, "deflate") != 0 && strcmp(r.codec, "zstandard") != 0)
        return err_set(err, E_UNSUPPORTED, "avro codec %.40s (known: null, deflate, zstandard)", r.codec);
    if ((s = avro_schema_parse(arena, avro_meta(&r, "avro.schema"), &schema, err))) return s;
    if ((s = take_raw(&r.rest, 16, &sync, "its header", err))) return s;
    memcpy(r.sync, sync.p, 16);
    r.schema = schema;
    *reader = r;
    return OK;
}

static enum status next_block(struct avro_reader *r, struct err *err) {
    int64_t records = 0, size = 0;
    struct str packed = STR_NULL, sync = STR_NULL;
    enum status s;
    if ((s = take_long(&r->rest, &records, err)) || (s = take_long(&r->rest, &size, err))) return s;
    if (records < 0 || size < 0) return err_set(err, E_CORRUPT, "avro block of negative size");
    if ((s = take_raw(&r->rest, (uint64_t)size > r->rest.n ? r->rest.n + 1 : (size_t)size, &packed, "a block", err))) return s;
    if ((s = take_raw(&r->rest, 16, &sync, "a block's end", err))) return s;
    if (memcmp(sync.p, r->sync, 16) != 0) return err_set(err, E_CORRUPT, "avro block ends with a wrong sync mark");
    if ((s = unpack(r, packed, &r->block, err))) return s;
    r->block_left = records;
    return OK;
}

enum status avro_next(struct avro_reader *reader, struct avro_value *out, bool *got, struct err *err) {
    must(reader->schema && out && got);
    while (!reader->block_left) {
        if (reader->block.n) return err_set(err, E_CORRUPT, "avro block has bytes behind its last record");
        if (!reader->rest.n) {
            *got = false;
            return OK;
        }
        enum status s = next_block(reader, err);
        if (s) return s;
    }
    struct avro_value value = {0};
    enum status s = decode(reader, reader->schema, &value, err);
    if (s) return s;
    reader->block_left--;
    *out = value;
    *got = true;
    return OK;
}

const struct avro_value *avro_field(const struct avro_value *record, int field_id, const char *name) {
    if (!record || record->schema->kind != AVRO_RECORD) return NULL;
    const struct avro_schema *schema = record->schema;
    for (size_t i = 0; i < schema->n; i++) {
        if (schema->field_ids[i] >= 0 ? schema->field_ids[i] == field_id : name && !strcmp(schema->names[i], name)) return &record->values[i];
    }
    return NULL;
}
