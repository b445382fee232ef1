/* Whole segments: recovery, reading, and the engine's view over any bytes. In two of three runs the checksums (and in one the trailers) are repaired, so that
 * what lies behind them is reached. The last byte of the input chooses. */
#include "../unit/faulty_fs.h"
#include "fuzz.h"
#include "stream/frame.h"
#include "stream/log_view.h"

#define LOG_ID UINT64_C(0x1122334455667788)
#define SEGMENT "/log/0000000000000001.seg"

enum { AS_IT_IS, REPAIR_FRAMES, REPAIR_GROUPS, REPAIRS };

static int64_t fixed_us(void *self) { return INT64_C(1760000000000000); }
static void no_sleep(void *self, int64_t us) {}

static void write_file(const struct fs *fs, const char *path, const void *bytes, size_t n) {
    int file = -1;
    must(fs->open(fs->self, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, NULL) == OK);
    must(fs->pwrite(fs->self, file, bytes, n, 0, NULL) == OK && fs->sync_data(fs->self, file, NULL) == OK);
    fs->close(fs->self, file);
}

static void write_secret(const struct fs *fs) {
    struct {
        uint64_t magic, log_id, seed;
        uint32_t reserved, crc;
    } secret = {UINT64_C(0x3143455350555043), LOG_ID, 42, 0, 0};
    secret.crc = crc32c(0, &secret, sizeof secret - 4);
    write_file(fs, "/log/secret", &secret, sizeof secret);
}

/* Makes a chain of frames out of the bytes: lengths are clipped, kinds folded, checksums set. */
static void repair(char *bytes, size_t size, bool groups) {
    uint32_t salt = segment_salt(LOG_ID, 1), crcs = 0, index = 0;
    size_t at = SEGMENT_HEADER_BYTES, group_at = at;
    uint64_t group = 1;
    while (at + FRAME_HEADER_BYTES <= size) {
        struct frame_header h;
        memcpy(&h, bytes + at, sizeof h);
        size_t left = (size - at) & ~(size_t)7, length = h.length & ~7u;
        if (length < FRAME_HEADER_BYTES) length = FRAME_HEADER_BYTES;
        if (length > left) length = left;
        h.kind = (uint8_t)(h.kind % 8);
        h.codec = 0;
        h.reserved = 0;
        if (h.raw_length > length - FRAME_HEADER_BYTES) h.raw_length = (uint32_t)(length - FRAME_HEADER_BYTES);
        if (groups) {
            h.group = group;
            h.index = index;
            h.durable_to = (uint64_t)1 << 32 | group_at;
            if (h.kind == FRAME_TRAILER) {
                h.count = index;
                h.base_offset = at + length - group_at;
                h.key_id = crcs;
            }
        }
        frame_seal(bytes + at, &h, (uint32_t)length, salt);
        crcs = crc32c(crcs, bytes + at + offsetof(struct frame_header, crc), 4);
        index++;
        at += length;
        if (h.kind != FRAME_TRAILER) continue;
        group++;
        index = crcs = 0;
        group_at = at;
    }
}

static void read_all(struct stream_log *log, uint16_t stream) {
    struct arena *arena = arena_new();
    struct stream_state state;
    if (stream_state(log, arena, stream, &state, NULL) == OK)
        for (uint16_t p = 0; p < state.partitions_n; p++) {
            uint64_t offset = state.partitions[p].start_offset;
            for (int rounds = 0; rounds < 50 && offset < state.partitions[p].end_offset; rounds++) {
                struct stream_batch batch;
                if (stream_read(log, arena, stream, p, offset, 20, 10000, &batch, NULL) != OK) break;
                must(batch.next_offset > offset);
                offset = batch.next_offset;
            }
        }
    arena_free(&arena);
}

static void view_all(const struct host *host, log_position durable, uint16_t stream) {
    struct log_view *view = NULL;
    struct log_scan *scan = NULL;
    struct log_range range = {.stream = stream, .from = 0, .to = durable};
    must(log_view_open("/log", host, &view, NULL) == OK);
    if (log_view_advance(view, 0, durable, NULL) == OK && log_scan_begin(view, &range, &scan, NULL) == OK) {
        struct log_chunk chunk;
        while (log_scan_chunk(scan, &chunk)) {
            struct log_cursor cursor;
            struct stored_record record;
            bool got = true;
            log_cursor_begin(&cursor, chunk);
            while (log_cursor_next(scan, &cursor, &record, &got, NULL) == OK && got) must(record.stream == stream);
        }
        log_scan_end(&scan);
    }
    log_view_close(&view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    unsigned mode = fuzz_take(data, &size, REPAIRS);
    if (size < SEGMENT_HEADER_BYTES || size > 1 << 16) return 0;
    char *bytes = fuzz_copy(data, size, 0);
    if (mode != AS_IT_IS) {
        struct segment_header header = {.number = 1, .log_id = LOG_ID};
        segment_header_seal(&header);
        memcpy(bytes, &header, sizeof header);
        repair(bytes, size, mode == REPAIR_GROUPS);
    }
    struct faulty_fs *disk = faulty_fs_new(1);
    const struct fs *fs = faulty_fs_table(disk);
    struct host_clock clock = {NULL, fixed_us, fixed_us, no_sleep};
    struct host host = {fs, &clock};
    write_secret(fs);
    write_file(fs, SEGMENT, bytes, size);
    must(fs->sync_dir(fs->self, "/log", NULL) == OK);
    view_all(&host, (uint64_t)1 << 32 | (size & ~(size_t)7), 1); /* before recovery: as if the server had said that all was durable */
    struct stream_definition streams[1] = {{1, "s", 1, 1000}};
    struct stream_log_options options = {.dir = "/log", .host = &host, .segment_bytes = 1 << 16, .max_bytes = 1 << 24, .reserve_bytes = 1};
    for (int round = 0; round < 2; round++) {
        struct stream_log *log = NULL;
        struct stream_recovery recovery;
        if (stream_log_open(&options, streams, 1, &log, &recovery, NULL) != OK) break;
        if (round == 1 && mode == AS_IT_IS) must(recovery.damaged_groups == 0); /* the first recovery left an unbroken chain */
        read_all(log, 1);
        read_all(log, 2);
        view_all(&host, stream_durable(log), 1);
        stream_log_close(&log);
    }
    faulty_fs_free(&disk);
    free(bytes);
    return 0;
}
