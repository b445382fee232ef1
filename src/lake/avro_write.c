/* Writer of Avro object container files. */
#include <string.h>
#include <zlib.h>

#include "base/assert.h"
#include "host/host.h"
#include "lake/avro.h"

void avro_put_long(struct buf *out, int64_t v) {
    uint64_t z = ((uint64_t)v << 1) ^ (v < 0 ? UINT64_MAX : 0);
    while (z >= 0x80) {
        buf_char(out, (char)(uint8_t)(z | 0x80));
        z >>= 7;
    }
    buf_char(out, (char)(uint8_t)z);
}

void avro_put_bytes(struct buf *out, struct str v) {
    avro_put_long(out, (int64_t)v.n);
    buf_str(out, v);
}

void avro_begin(struct avro_writer *writer, struct buf *out, const char *schema_json, bool deflate, const struct str *meta, size_t meta_pairs) {
    must(out && schema_json);
    *writer = (struct avro_writer){.out = out, .deflate = deflate};
    host_random(writer->sync, sizeof(writer->sync));
    buf_put(out, "Obj\1", 4);
    avro_put_long(out, (int64_t)meta_pairs + 2);
    avro_put_text(out, "avro.schema");
    avro_put_text(out, schema_json);
    avro_put_text(out, "avro.codec");
    avro_put_text(out, deflate ? "deflate" : "null");
    for (size_t i = 0; i < 2 * meta_pairs; i++) avro_put_bytes(out, meta[i]);
    avro_put_long(out, 0);
    buf_put(out, writer->sync, sizeof(writer->sync));
}

/* Raw deflate (no zlib header), as the specification asks. Memory for the bound is taken at once: blocks are small. */
static void put_deflated(struct buf *out, struct str plain) {
    z_stream z = {0};
    must(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    size_t bound = deflateBound(&z, plain.n);
    BUF_SCOPE(packed);
    buf_reserve(&packed, bound);
    z.next_in = (Bytef *)(uintptr_t)plain.p;
    z.avail_in = (uInt)plain.n;
    z.next_out = (Bytef *)packed.p;
    z.avail_out = (uInt)bound;
    must(deflate(&z, Z_FINISH) == Z_STREAM_END);
    packed.n = bound - z.avail_out;
    deflateEnd(&z);
    avro_put_bytes(out, buf_view(&packed));
}

void avro_put_block(struct avro_writer *writer, struct str records, int64_t n) {
    must(n > 0 && records.n < UINT32_MAX);
    avro_put_long(writer->out, n);
    if (writer->deflate) {
        put_deflated(writer->out, records);
    } else {
        avro_put_bytes(writer->out, records);
    }
    buf_put(writer->out, writer->sync, sizeof(writer->sync));
}
