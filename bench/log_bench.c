/* log_bench: measures the log alone, without HTTP. Not installed; `make bench` and people run it.
 *
 *   log_bench DIR single CLIENTS SECONDS      closed loop, one event of 370 bytes per request, 4 streams of 2 partitions, keys and dedupe on;
 *                                             beside it plain pwrite + fdatasync with blocks of the groups' mean size (DIR should be empty)
 *   log_bench DIR batch EVENTS SECONDS        2 clients, EVENTS per request; beside it plain pwrite + fdatasync with blocks of the same size
 *   log_bench DIR fill EVENTS                 appends EVENTS in batches of 1,000, then prints bytes and memory per key, and ends like kill -9
 *   log_bench DIR open                        opens what is there, prints the time
 *   log_bench DIR scan                        indexes and scans stream 1 to 4 through the log view on one thread, prints CPU
 *   log_bench DIR find N                      N random look-ups by id, then reads forward
 *
 * One line of JSON per measurement. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "host/thread.h"
#include "stream/log_view.h"
#include "stream/stream.h"

#define STREAMS 4
#define PAYLOAD_BYTES 370

static const struct stream_definition definitions[STREAMS] = {
    {1, "one", 2, 24 * 3600 * 1000},
    {2, "two", 2, 24 * 3600 * 1000},
    {3, "three", 2, 24 * 3600 * 1000},
    {4, "four", 2, 24 * 3600 * 1000},
};
static struct host host;

static double seconds_now(void) { return (double)host_monotonic_us(&host) / 1e6; }

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void check(enum status s, const struct err *err) {
    if (s == OK) return;
    fprintf(stderr, "log_bench: %s\n", err->text);
    exit(1);
}

static struct stream_log *open_log(const char *dir, struct stream_recovery *recovery) {
    struct stream_log *log = NULL;
    struct err err;
    struct stream_log_options options = {.dir = dir, .host = &host, .max_bytes = UINT64_C(60) << 30, .reserve_bytes = 1 << 20};
    check(stream_log_open(&options, definitions, STREAMS, &log, recovery, &err), &err);
    return log;
}

/* ---- closed-loop clients: `done` submits the next request, as a client does when its answer came ---- */

struct client {
    struct stream_log *log;
    struct stream_append request;
    struct stream_record *records;
    char (*payloads)[PAYLOAD_BYTES];
    char (*keys)[24];
    struct event_id *ids;
    uint64_t seed, sent, submitted_us, worst_us;
    uint64_t *latency_us; /* histogram, 10 us steps */
    double until;
    bool finished;
};
#define LATENCY_STEPS 20000

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void refill(struct client *c) {
    for (uint32_t i = 0; i < c->request.n; i++) {
        uint64_t r = next_random(&c->seed);
        int n = snprintf(c->payloads[i], PAYLOAD_BYTES, "{\"event_id\":\"%016" PRIx64 "\",\"session_id\":\"%08" PRIx64 "\",\"text\":\"", r, r & 0xFFFFF);
        c->payloads[i][n] = 'x';
        int k = snprintf(c->keys[i], sizeof c->keys[i], "%08" PRIx64, r & 0xFFFFF);
        struct stream_record *record = &c->records[i];
        record->key = str_make(c->keys[i], (size_t)k);
        record->dedupe = stream_dedupe_hash(c->log, c->request.stream, str_make(&r, sizeof r));
    }
}

static void submit(struct client *c) {
    struct err err;
    refill(c);
    c->submitted_us = (uint64_t)host_monotonic_us(&host);
    check(stream_submit(c->log, &c->request, &err), &err);
}

static void client_done(void *context, const struct stream_result *result) {
    struct client *c = context;
    check(result->status, &result->err);
    c->sent += result->accepted;
    uint64_t took = (uint64_t)host_monotonic_us(&host) - c->submitted_us;
    c->latency_us[took / 10 < LATENCY_STEPS ? took / 10 : LATENCY_STEPS - 1]++;
    if (seconds_now() < c->until)
        submit(c);
    else
        __atomic_store_n(&c->finished, true, __ATOMIC_RELEASE);
}

static void client_start(struct client *c, struct stream_log *log, int number, uint32_t events, double until, uint64_t *latency) {
    *c = (struct client){.log = log, .seed = UINT64_C(88172645463325252) * (uint64_t)(number + 1), .until = until, .latency_us = latency};
    c->records = mem_zalloc(events * sizeof *c->records);
    c->payloads = mem_zalloc(events * sizeof *c->payloads);
    c->keys = mem_zalloc(events * sizeof *c->keys);
    c->ids = mem_zalloc(events * sizeof *c->ids);
    for (uint32_t i = 0; i < events; i++) {
        memset(c->payloads[i], 'x', PAYLOAD_BYTES);
        memcpy(c->payloads[i] + PAYLOAD_BYTES - 2, "\"}", 2);
        c->records[i] = (struct stream_record){.payload = {c->payloads[i], PAYLOAD_BYTES},
            .source = STR("http"),
            .content_type = STR("application/json"),
            .flags = RECORD_JSON_VALID | RECORD_UTF8_VALID | RECORD_DEDUPE};
    }
    c->request = (struct stream_append){
        .stream = (uint16_t)(number % STREAMS + 1), .records = c->records, .n = events, .ids = c->ids, .done = client_done, .context = c};
}

static double quantile_ms(const uint64_t *histogram, double q) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < LATENCY_STEPS; i++) all += histogram[i];
    for (int i = 0; i < LATENCY_STEPS; i++)
        if ((double)(seen += histogram[i]) >= q * (double)all) return (i + 1) / 100.0;
    return 0;
}

static void run_clients(struct stream_log *log, const char *what, int clients, uint32_t events, double seconds) {
    struct client *c = mem_zalloc((size_t)clients * sizeof *c);
    uint64_t *latency = mem_zalloc(LATENCY_STEPS * sizeof *latency), sent = 0;
    struct log_stats before = stream_log_stats(log);
    double begin = seconds_now(), cpu = cpu_now();
    for (int i = 0; i < clients; i++) client_start(&c[i], log, i, events, begin + seconds, latency);
    for (int i = 0; i < clients; i++) submit(&c[i]);
    for (int i = 0; i < clients; i++) {
        while (!__atomic_load_n(&c[i].finished, __ATOMIC_ACQUIRE)) usleep(1000);
        sent += c[i].sent;
    }
    double took = seconds_now() - begin;
    struct log_stats after = stream_log_stats(log);
    printf("{\"what\":\"%s\",\"clients\":%d,\"events_per_request\":%u,\"events_per_s\":%.0f,\"requests_per_s\":%.0f,\"payload_mb_per_s\":%.1f,\"groups_per_s\":"
           "%.0f,"
           "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"cpu_s\":%.2f}\n",
        what, clients, events, (double)sent / took, (double)sent / events / took, (double)sent * PAYLOAD_BYTES / took / 1e6,
        (double)(after.groups - before.groups) / took, quantile_ms(latency, 0.5), quantile_ms(latency, 0.99), cpu_now() - cpu);
    fflush(stdout);
}

/* The other side of the batch figure: one writer, the same block, plain write and fdatasync into a preallocated file. */
static void plain(const char *dir, size_t block, double seconds) {
    char path[4096];
    snprintf(path, sizeof path, "%s/plain.tmp", dir);
    const struct fs *fs = fs_real();
    int file = -1;
    struct err err;
    char *bytes = mem_zalloc(block);
    memset(bytes, 'x', block);
    check(fs->open(fs->self, path, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, &err), &err);
    uint64_t size = UINT64_C(256) << 20, at = 0, written = 0;
    check(fs->allocate(fs->self, file, size, &err), &err);
    double begin = seconds_now();
    while (seconds_now() - begin < seconds) {
        if (at + block > size) {
            at = 0;
            check(fs->truncate(fs->self, file, 0, &err), &err);
            check(fs->allocate(fs->self, file, size, &err), &err);
        }
        check(fs->pwrite(fs->self, file, bytes, block, at, &err), &err);
        check(fs->sync_data(fs->self, file, &err), &err);
        at += block;
        written += block;
    }
    double took = seconds_now() - begin;
    printf("{\"what\":\"plain write and fdatasync\",\"block_bytes\":%zu,\"mb_per_s\":%.1f,\"syncs_per_s\":%.0f}\n", block, (double)written / took / 1e6,
        (double)written / (double)block / took);
    fs->close(fs->self, file);
    (void)fs->unlink(fs->self, path, NULL);
    free(bytes);
}

static void fill(const char *dir, uint64_t events) {
    struct stream_log *log = open_log(dir, NULL);
    uint64_t *latency = mem_zalloc(LATENCY_STEPS * sizeof *latency), sent = 0;
    struct client c[4];
    double begin = seconds_now();
    for (int i = 0; i < 4; i++) client_start(&c[i], log, i + 100, 1000, 0, latency);
    while (sent < events) {
        for (int i = 0; i < 4; i++) {
            c[i].finished = false;
            submit(&c[i]);
        }
        for (int i = 0; i < 4; i++)
            while (!__atomic_load_n(&c[i].finished, __ATOMIC_ACQUIRE)) usleep(50);
        sent += 4000;
    }
    struct log_stats stats = stream_log_stats(log);
    usleep(300000); /* the keeper seals what is finished */
    struct log_stats sealed = stream_log_stats(log);
    printf("{\"what\":\"fill\",\"events\":%" PRIu64 ",\"seconds\":%.2f,\"log_bytes\":%" PRIu64 ",\"segments\":%" PRIu64 ",\"keys\":%" PRIu64
           ",\"key_memory_bytes\":%" PRIu64 ",\"resident_mb\":%.0f}\n",
        sent, seconds_now() - begin, stats.bytes, stats.segments, sealed.dedupe_keys, sealed.dedupe_memory_bytes, (double)host_resident_bytes(getpid()) / 1e6);
    fflush(stdout);
    _exit(0); /* like kill -9: nothing is closed */
}

static void scan(const char *dir) {
    struct stream_recovery r;
    struct stream_log *log = open_log(dir, &r);
    log_position durable = stream_durable(log);
    struct log_view *view = NULL;
    struct err err;
    double cpu = cpu_now();
    check(log_view_open(dir, &host, &view, &err), &err);
    check(log_view_advance(view, 0, durable, &err), &err);
    double indexed = cpu_now();
    uint64_t records = 0, bytes = 0, offsets = 0;
    for (uint16_t stream = 1; stream <= STREAMS; stream++) {
        struct log_range range = {.stream = stream, .from = 0, .to = durable};
        struct log_scan *s = NULL;
        check(log_scan_begin(view, &range, &s, &err), &err);
        struct log_chunk chunk;
        while (log_scan_chunk(s, &chunk)) {
            struct log_cursor cursor;
            struct stored_record record;
            bool got = true;
            log_cursor_begin(&cursor, chunk);
            while (true) {
                check(log_cursor_next(s, &cursor, &record, &got, &err), &err);
                if (!got) break;
                records++;
                bytes += record.payload.n;
                offsets += record.offset;
            }
        }
        log_scan_end(&s);
    }
    printf("{\"what\":\"view\",\"records\":%" PRIu64 ",\"payload_bytes\":%" PRIu64 ",\"index_cpu_s\":%.3f,\"scan_cpu_s\":%.3f,\"sum\":%" PRIu64 "}\n", records,
        bytes, indexed - cpu, cpu_now() - indexed, offsets);
    log_view_close(&view);
    stream_log_close(&log);
}

static void find(const char *dir, int n) {
    struct stream_recovery r;
    struct stream_log *log = open_log(dir, &r);
    struct arena *arena = arena_new();
    struct err err;
    uint64_t seed = 12345, worst = 0, all = 0;
    for (int i = 0; i < n; i++) {
        uint16_t stream = (uint16_t)(next_random(&seed) % STREAMS + 1), partition = (uint16_t)(next_random(&seed) & 1);
        struct stream_state state;
        struct stream_batch batch;
        check(stream_state(log, arena, stream, &state, &err), &err);
        uint64_t offset = next_random(&seed) % state.partitions[partition].end_offset;
        uint64_t begin = (uint64_t)host_monotonic_us(&host);
        check(stream_read(log, arena, stream, partition, offset, 1, SIZE_MAX, &batch, &err), &err);
        uint64_t took = (uint64_t)host_monotonic_us(&host) - begin;
        if (batch.n != 1 || batch.records[0].offset != offset) exit(1);
        all += took;
        if (took > worst) worst = took;
        arena_reset(arena);
    }
    printf("{\"what\":\"find\",\"n\":%d,\"mean_us\":%.1f,\"worst_us\":%" PRIu64 "}\n", n, (double)all / n, worst);
    arena_free(&arena);
    stream_log_close(&log);
}

int main(int argc, char **argv) {
    host = host_default();
    if (argc < 3) {
        fprintf(stderr, "log_bench DIR single CLIENTS SECONDS | batch EVENTS SECONDS | fill EVENTS | open | scan | find N\n");
        return 2;
    }
    const char *dir = argv[1], *mode = argv[2];
    uint64_t number = 0;
    double b = 3;
    if ((argc > 3 && !str_to_u64(str_of(argv[3]), &number)) || (argc > 4 && !str_to_double(str_of(argv[4]), &b)) || number > INT32_MAX) return 2;
    int a = (int)number;
    if (strcmp(mode, "single") == 0 || strcmp(mode, "batch") == 0) {
        bool single = strcmp(mode, "single") == 0;
        struct stream_log *log = open_log(dir, NULL);
        run_clients(log, mode, single ? a : 2, single ? 1 : (uint32_t)a, b);
        struct log_stats stats = stream_log_stats(log);
        size_t block = single ? (size_t)((stats.bytes + stats.groups - 1) / stats.groups) : (size_t)a * PAYLOAD_BYTES;
        stream_log_close(&log);
        plain(dir, block, b); /* single: blocks as large as the groups were */
    } else if (strcmp(mode, "fill") == 0) {
        fill(dir, number);
    } else if (strcmp(mode, "open") == 0) {
        struct stream_recovery r;
        double begin = seconds_now(), cpu = cpu_now();
        struct stream_log *log = open_log(dir, &r);
        printf("{\"what\":\"open\",\"seconds\":%.3f,\"cpu_s\":%.3f,\"scanned_segments\":%" PRIu64 ",\"scanned_records\":%" PRIu64 ",\"cut_bytes\":%" PRIu64
               ",\"resident_mb\":%.0f}\n",
            seconds_now() - begin, cpu_now() - cpu, r.segments, r.records, r.cut_bytes, (double)host_resident_bytes(getpid()) / 1e6);
        stream_log_close(&log);
    } else if (strcmp(mode, "scan") == 0) {
        scan(dir);
    } else if (strcmp(mode, "find") == 0) {
        find(dir, a);
    } else {
        return 2;
    }
    return 0;
}
