/* Frames of the log: any bytes are refused or walked inside their borders. The checksum is repaired in half of the runs, so that what lies behind it is
 * reached. */
#include "stream/frame.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bool seal = fuzz_take(data, &size, 2);
    if (size < FRAME_HEADER_BYTES) return 0;
    size_t length = size & ~(size_t)7;
    char *bytes = aligned_alloc(8, length);
    must(bytes);
    memcpy(bytes, data, length);
    struct frame_header header;
    const uint32_t salt = 7;
    if (seal) {
        memcpy(&header, bytes, sizeof header);
        header.kind = FRAME_RECORDS;
        header.codec = 0;
        header.raw_length = header.raw_length % (uint32_t)(length - FRAME_HEADER_BYTES + 1);
        frame_seal(bytes, &header, (uint32_t)length, salt);
    }
    must(frame_resync(bytes, 0, length, salt) <= length);
    if (frame_read(bytes, length, salt, &header)) {
        must(header.length <= length);
        struct record_walk walk;
        struct stored_record record;
        struct hash128 dedupe;
        record_walk_begin(&walk, bytes, &header);
        while (record_walk_next(&walk, &header, &record, &dedupe))
            must(record.payload.n == 0 || (record.payload.p >= bytes && record.payload.p + record.payload.n <= bytes + length));
    }
    free(bytes);
    return 0;
}
