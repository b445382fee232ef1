/* Events and load for bench/run.
 *
 * Every event is EVENT_BYTES long and a function of its number, so the same numbers are the same events whoever makes them.
 *
 * usage: bench_load write FIRST COUNT                      NDJSON to stdout
 *        bench_load post PORT FIRST COUNT BATCH CONNECTIONS STREAMS [IDS_FILE [EVENTS_PER_S]]
 *                                                          token in the environment (CUPEL_TOKEN); batches go over the connections, streams in turn; a line of
 *                                                          JSON with what the server said and how long it took. IDS_FILE: first id of each request.
 *        bench_load get PORT FILE                          one connection; a GET for each path of the file; a line of JSON with times */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_BYTES = 370, CONNECTIONS_MAX = 256, STREAMS_MAX = 16 };

static void fail(const char *what) {
    fprintf(stderr, "bench_load: %s\n", what);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- events ---- */

static uint64_t mix(uint64_t x) { /* splitmix64 */
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* BENCH_DAY in the environment: events of one day of a shop, 250 a second from midnight on, about 20 to a session of a few minutes. */
static bool one_day;

static uint64_t session_of(uint64_t number, uint64_t r) { return one_day ? number / 200000 * 10000 + r % 10000 : r % 50000; }

static uint64_t second_of(uint64_t number) { return one_day ? 1700006400 + number / 250 : 1700000000 + number / 50; }

static unsigned milliseconds_of(uint64_t number) { return (unsigned)(one_day ? number % 250 * 4 : number % 50 * 20); }

/* Writes EVENT_BYTES bytes without a newline. */
static void make_event(char *out, uint64_t number) {
    static const char *const devices[] = {"mobile", "desktop", "tablet"}, *const kinds[] = {"page_view", "click", "scroll", "add_to_cart", "purchase"};
    static const char *const pages[] = {"product", "category", "search", "cart", "checkout", "account"};
    uint64_t r = mix(number);
    char text[EVENT_BYTES + 1];
    int n = snprintf(text, sizeof text,
        "{\"event_id\":\"%016llx-%012llu\",\"session_id\":\"s%06llu\",\"user_id\":%u,\"page\":\"/%s/%u?ref=%08x\",\"device_type\":\"%s\",\"browser\":\"Firefox "
        "132\","
        "\"event_type\":\"%s\",\"timestamp\":%llu.%03u,\"amount\":%u.%02u,\"note\":\"",
        (unsigned long long)r, (unsigned long long)number, (unsigned long long)session_of(number, r), (unsigned)(r >> 20) % 100000, pages[(r >> 8) % 6],
        (unsigned)(r >> 12) % 20000, (unsigned)(r >> 32), devices[(r >> 5) % 3], kinds[(r >> 3) % 5], (unsigned long long)second_of(number),
        milliseconds_of(number), (unsigned)(r >> 40) % 500, (unsigned)(r >> 50) % 100);
    if (n < 0 || n > EVENT_BYTES - 2) fail("an event is longer than planned");
    static const char words[] =
        "free shipping over fifty, returned by post, gift wrapped, second visit this week, came from the newsletter of the autumn collection, ";
    for (size_t at = (size_t)(r >> 44) % (sizeof words - 1); n < EVENT_BYTES - 2; n++, at = (at + 1) % (sizeof words - 1)) text[n] = words[at];
    memcpy(out, text, EVENT_BYTES - 2);
    memcpy(out + EVENT_BYTES - 2, "\"}", 2);
}

static int write_events(uint64_t first, uint64_t count) {
    char line[EVENT_BYTES + 1];
    static char buffer[1 << 20];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    line[EVENT_BYTES] = '\n';
    for (uint64_t i = 0; i < count; i++) {
        make_event(line, first + i);
        if (fwrite(line, 1, sizeof line, stdout) != sizeof line) return 1;
    }
    return fflush(stdout) ? 1 : 0;
}

/* ---- HTTP client: one keep-alive connection per thread ---- */

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_all(int fd, struct iovec *parts, int n) {
    while (n > 0) {
        ssize_t sent = writev(fd, parts, n);
        if (sent < 0) fail("the connection broke while sending");
        for (; n > 0 && (size_t)sent >= parts->iov_len; parts++, n--) sent -= (ssize_t)parts->iov_len;
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
}

struct answer {
    int code;
    char *body; /* NUL-terminated, inside of buffer */
    size_t n, cap, used;
    char *buffer;
};

static void receive_more(int fd, struct answer *a) {
    if (a->cap - a->used < 65536) {
        a->cap = a->cap ? a->cap * 2 : 131072;
        a->buffer = realloc(a->buffer, a->cap);
        if (!a->buffer) fail("out of memory");
    }
    ssize_t got = recv(fd, a->buffer + a->used, a->cap - a->used - 1, 0);
    if (got <= 0) fail("the connection broke while receiving");
    a->used += (size_t)got;
    a->buffer[a->used] = '\0';
}

static void receive(int fd, struct answer *a) {
    char *end = NULL;
    a->used = 0;
    do receive_more(fd, a);
    while (!(end = strstr(a->buffer, "\r\n\r\n")));
    size_t head = (size_t)(end - a->buffer) + 4;
    char *length = strcasestr(a->buffer, "\r\ncontent-length:");
    if (sscanf(a->buffer, "HTTP/1.1 %d", &a->code) != 1 || !length || length > end) fail("an answer without Content-Length");
    a->n = strtoul(length + 17, NULL, 10);
    while (a->used < head + a->n) receive_more(fd, a);
    a->body = a->buffer + head;
}

/* ---- post ---- */

struct load {
    int port, connections;
    uint64_t first, count;
    unsigned batch;
    const char *streams[STREAMS_MAX];
    unsigned streams_n;
    const char *token;
    double events_per_s; /* 0: as fast as it goes */
    double began_s;
    atomic_uint_fast64_t next; /* request number */
    FILE *ids;
    pthread_mutex_t lock; /* ids */
    atomic_uint_fast64_t accepted, duplicates, bytes, refused;
    float *times_ms;
};

static uint64_t number_after(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void note_answer(struct load *load, const struct answer *answer) {
    if (answer->code != 202) {
        if (atomic_fetch_add(&load->refused, 1) == 0) fprintf(stderr, "bench_load: %d %.300s\n", answer->code, answer->body);
        return;
    }
    atomic_fetch_add(&load->accepted, number_after(answer->body, "\"accepted\":"));
    atomic_fetch_add(&load->duplicates, number_after(answer->body, "\"duplicates\":"));
    const char *id = load->ids ? strstr(answer->body, "\"first_id\":\"") : NULL;
    if (id) {
        pthread_mutex_lock(&load->lock);
        fprintf(load->ids, "%.36s\n", id + 12);
        pthread_mutex_unlock(&load->lock);
    }
}

static void *post_batches(void *context) {
    struct load *load = context;
    struct answer answer = {0};
    int fd = dial(load->port);
    char *body = malloc((size_t)load->batch * (EVENT_BYTES + 1)), head[512];
    if (!body) fail("out of memory");
    for (;;) {
        uint64_t request = atomic_fetch_add(&load->next, 1), from = request * load->batch;
        if (from >= load->count) break;
        uint64_t n = load->count - from < load->batch ? load->count - from : load->batch;
        for (uint64_t i = 0; i < n; i++) {
            make_event(body + i * (EVENT_BYTES + 1), load->first + from + i);
            body[i * (EVENT_BYTES + 1) + EVENT_BYTES] = '\n';
        }
        while (load->events_per_s > 0 && now_s() - load->began_s < (double)from / load->events_per_s) usleep(500);
        size_t size = n * (EVENT_BYTES + 1);
        int head_n = snprintf(head, sizeof head,
            "POST /v1/streams/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
            load->streams[request % load->streams_n], load->token, size);
        struct iovec parts[] = {{head, (size_t)head_n}, {body, size}};
        double start = now_s();
        send_all(fd, parts, 2);
        receive(fd, &answer);
        load->times_ms[request] = (float)((now_s() - start) * 1e3);
        atomic_fetch_add(&load->bytes, size);
        note_answer(load, &answer);
    }
    close(fd);
    free(body);
    free(answer.buffer);
    return NULL;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void print_times(float *ms, uint64_t n) {
    qsort(ms, n, sizeof *ms, compare);
    printf("\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", n ? ms[n / 2] : 0.0f, n ? ms[n * 9 / 10] : 0.0f, n ? ms[n * 99 / 100] : 0.0f,
        n ? ms[n - 1] : 0.0f);
}

static int post(int argc, char **argv) {
    struct load load = {.port = (int)strtol(argv[0], NULL, 10),
        .first = strtoull(argv[1], NULL, 10),
        .count = strtoull(argv[2], NULL, 10),
        .batch = (unsigned)strtoul(argv[3], NULL, 10),
        .connections = (int)strtol(argv[4], NULL, 10),
        .token = getenv("CUPEL_TOKEN"),
        .lock = PTHREAD_MUTEX_INITIALIZER};
    for (char *rest = argv[5], *name; (name = strsep(&rest, ",")) && load.streams_n < STREAMS_MAX;) load.streams[load.streams_n++] = name;
    if (argc > 6 && *argv[6] && !(load.ids = fopen(argv[6], "a"))) fail("cannot write the ids");
    load.events_per_s = argc > 7 ? strtod(argv[7], NULL) : 0;
    if (!load.token || load.batch == 0 || load.connections < 1 || load.connections > CONNECTIONS_MAX) fail("wrong arguments");
    uint64_t requests = (load.count + load.batch - 1) / load.batch;
    load.times_ms = calloc(requests + 1, sizeof *load.times_ms);
    pthread_t threads[CONNECTIONS_MAX];
    load.began_s = now_s();
    for (int i = 0; i < load.connections; i++) pthread_create(&threads[i], NULL, post_batches, &load);
    for (int i = 0; i < load.connections; i++) pthread_join(threads[i], NULL);
    double took = now_s() - load.began_s;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"seconds\":%.6f,\"requests\":%llu,\"accepted\":%llu,\"duplicates\":%llu,\"refused\":%llu,\"bytes\":%llu,\"client_cpu_s\":%.3f,", took,
        (unsigned long long)requests, (unsigned long long)load.accepted, (unsigned long long)load.duplicates, (unsigned long long)load.refused,
        (unsigned long long)load.bytes,
        (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6);
    print_times(load.times_ms, requests);
    printf("}\n");
    if (load.ids) fclose(load.ids);
    free(load.times_ms);
    return load.refused ? 1 : 0;
}

/* ---- get ---- */

static int get(char **argv) {
    FILE *file = fopen(argv[1], "r");
    const char *token = getenv("CUPEL_TOKEN");
    if (!file || !token) fail("wrong arguments");
    int fd = dial((int)strtol(argv[0], NULL, 10));
    struct answer answer = {0};
    char path[512], head[1024];
    float *times_ms = NULL;
    uint64_t n = 0, failed = 0;
    while (fgets(path, sizeof path, file)) {
        path[strcspn(path, "\n")] = '\0';
        if ((n & (n - 1)) == 0) times_ms = realloc(times_ms, (n ? n * 2 : 1) * sizeof *times_ms);
        if (!times_ms) fail("out of memory");
        int head_n = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", path, token);
        struct iovec part = {head, (size_t)head_n};
        double start = now_s();
        send_all(fd, &part, 1);
        receive(fd, &answer);
        times_ms[n++] = (float)((now_s() - start) * 1e3);
        if (answer.code != 200 && failed++ == 0) fprintf(stderr, "bench_load: %d %.300s\n", answer.code, answer.body);
    }
    printf("{\"requests\":%llu,\"failed\":%llu,", (unsigned long long)n, (unsigned long long)failed);
    print_times(times_ms, n);
    printf("}\n");
    fclose(file);
    close(fd);
    free(times_ms);
    free(answer.buffer);
    return failed ? 1 : 0;
}

int main(int argc, char **argv) {
    one_day = getenv("BENCH_DAY") != NULL;
    if (argc == 4 && strcmp(argv[1], "write") == 0) return write_events(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc >= 8 && strcmp(argv[1], "post") == 0) return post(argc - 2, argv + 2);
    if (argc == 4 && strcmp(argv[1], "get") == 0) return get(argv + 2);
    fprintf(stderr, "usage: bench_load write FIRST COUNT | post PORT FIRST COUNT BATCH CONNECTIONS STREAMS [IDS_FILE [EVENTS_PER_S]] | get PORT FILE\n");
    return 2;
}
