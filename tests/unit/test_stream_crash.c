/* stream: random histories with power cuts, failing writes and syncs, checked against a model of what was acknowledged.
 *
 * Arguments: how many histories (default 800), first seed (default 1). A failure names its seed: run it again with `test_stream_crash 1 SEED`. */
#include "stream_fixture.h"

#include "base/hash.h"

#define REQUESTS_MAX 600
#define RECORDS_MAX 6
#define FOUND_MAX 8192
#define STREAMS 2
#define KEYS 5
#define DEDUPE_KEYS 60

struct sent { /* one request; an idempotent one may be sent again */
    struct stream_append request;
    struct stream_record records[RECORDS_MAX];
    char payloads[RECORDS_MAX][3000];
    char keys[RECORDS_MAX][16];
    int dedupe[RECORDS_MAX]; /* -1: none */
    struct event_id ids[RECORDS_MAX], first_ids[RECORDS_MAX];
    uint32_t accepted;
    int submissions, round;
    bool acknowledged, unclear; /* unclear: some submission failed, its fate is not known */
    atomic_int finished;
    struct stream_result result;
    uint32_t found; /* of its own records, in the last check */
};

struct found {
    int request, record;
    struct event_id id;
};

struct history {
    struct fixture f;
    uint64_t seed, random;
    struct sent *sent[REQUESTS_MAX];
    int sent_n, round;
    struct found *found;
    int found_n;
    int seen_before[REQUESTS_MAX][RECORDS_MAX]; /* 0 never, else seen */
    struct event_id seen_id[REQUESTS_MAX][RECORDS_MAX];
    uint64_t landed[STREAMS + 1][8];
    bool trims;
};

#define CHECK(h, condition) \
    do { \
        if (!(condition)) fail_msg("seed %llu: %s:%d: %s", (unsigned long long)(h)->seed, __FILE__, __LINE__, #condition); \
    } while (0)

static uint64_t roll(struct history *h, uint64_t below) {
    h->random ^= h->random >> 12;
    h->random ^= h->random << 25;
    h->random ^= h->random >> 27;
    return (h->random * UINT64_C(2685821657736338717) >> 11) % below;
}

/* ---- sending ---- */

static void sent_done(void *context, const struct stream_result *result) {
    struct sent *s = context;
    s->result = *result;
    atomic_store(&s->finished, 1);
}

static struct sent *make_request(struct history *h) {
    struct sent *s = mem_zalloc(sizeof *s);
    int number = h->sent_n;
    h->sent[h->sent_n++] = s;
    uint16_t stream = (uint16_t)(1 + roll(h, STREAMS));
    uint32_t n = roll(h, 3) ? 1 : (uint32_t)(1 + roll(h, RECORDS_MAX));
    for (uint32_t i = 0; i < n; i++) {
        s->dedupe[i] = roll(h, 3) ? (int)roll(h, DEDUPE_KEYS) : -1;
        int k = (int)roll(h, KEYS);
        snprintf(s->keys[i], sizeof s->keys[i], "k%d", k);
        size_t length = roll(h, 20) ? 30 + roll(h, 200) : 30 + roll(h, sizeof s->payloads[0] - 40);
        memset(s->payloads[i], 'p', length);
        int at = snprintf(s->payloads[i], 30, "%d.%u;%d;", number, i, s->dedupe[i]);
        s->payloads[i][at] = 'p';
        s->records[i] = record_of(s->keys[i], "");
        s->records[i].payload = str_make(s->payloads[i], length);
        if (roll(h, 6) == 0) {
            s->records[i].flags |= RECORD_NO_KEY;
            s->records[i].key = STR_NULL;
        }
        if (s->dedupe[i] >= 0) s->records[i].flags |= RECORD_DEDUPE;
    }
    s->request = (struct stream_append){.stream = stream, .records = s->records, .n = n, .ids = s->ids, .done = sent_done, .context = s};
    if (roll(h, 3) == 0) {
        s->request.has_idempotency = true;
        s->request.idempotency_key = (struct hash128){(uint64_t)number, 77};
        s->request.body_hash = (struct hash128){(uint64_t)number, 78};
    }
    return s;
}

static bool submit(struct history *h, struct sent *s) {
    for (uint32_t i = 0; i < s->request.n; i++)
        if (s->dedupe[i] >= 0) s->records[i].dedupe = stream_dedupe_hash(h->f.log, s->request.stream, str_make(&s->dedupe[i], sizeof s->dedupe[i]));
    atomic_store(&s->finished, 0);
    s->submissions++;
    s->round = h->round;
    return stream_submit(h->f.log, &s->request, NULL) == OK;
}

static void settle(struct history *h, struct sent *s) {
    for (int i = 0; !atomic_load(&s->finished); i++) {
        if (i > 100000) fail_msg("seed %llu: a request is never answered", (unsigned long long)h->seed);
        usleep(i < 100 ? 10 : 200);
    }
    const struct stream_result *r = &s->result;
    if (r->status != OK) {
        CHECK(h, r->status == E_IO || r->status == E_NO_SPACE || r->status == E_UNAVAILABLE);
        s->unclear = true;
        return;
    }
    CHECK(h, r->accepted + r->duplicates == s->request.n);
    if (s->acknowledged) {
        CHECK(h, r->replayed && r->accepted == s->accepted);
        CHECK(h, memcmp(s->ids, s->first_ids, s->request.n * sizeof s->ids[0]) == 0);
    } else {
        CHECK(h, !r->replayed || s->unclear);
    }
    s->acknowledged = true;
    s->accepted = r->accepted;
    memcpy(s->first_ids, s->ids, sizeof s->ids);
}

static void one_round(struct history *h) {
    struct sent *batch[12];
    int n = 0, wanted = (int)(1 + roll(h, 12));
    h->round++;
    if (roll(h, 4) == 0) atomic_fetch_add(&h->f.wall_us, (int64_t)roll(h, 200000) - 90000);
    while (n < wanted && h->sent_n < REQUESTS_MAX) {
        struct sent *s = NULL;
        if (h->sent_n && !h->trims && roll(h, 4) == 0) { /* retention also ends what an idempotency key remembers */
            s = h->sent[roll(h, (uint64_t)h->sent_n)];
            for (int i = 0; i < n; i++)
                if (batch[i] == s) s = NULL;
            if (s && !s->request.has_idempotency) s = NULL;
        }
        if (!s) s = make_request(h);
        if (submit(h, s))
            batch[n++] = s;
        else
            wanted--;
    }
    for (int i = 0; i < n; i++) settle(h, batch[i]);
}

/* ---- checking ---- */

static void add_found(struct history *h, const struct stored_record *r) {
    CHECK(h, h->found_n < FOUND_MAX);
    struct found *found = &h->found[h->found_n++];
    int dedupe;
    found->id = r->id;
    CHECK(h, sscanf(r->payload.p, "%d.%d;%d;", &found->request, &found->record, &dedupe) == 3);
    CHECK(h, found->request < h->sent_n && found->record < (int)h->sent[found->request]->request.n);
    const struct sent *s = h->sent[found->request];
    CHECK(h, s->request.stream == r->stream && dedupe == s->dedupe[found->record]);
    CHECK(h, str_eq(r->payload, s->records[found->record].payload) && str_eq(r->key, s->records[found->record].key));
}

static uint64_t read_partition(struct history *h, uint16_t stream, uint16_t partition, const struct partition_state *state) {
    uint64_t offset = state->start_offset, sum = 0, last_offset = 0;
    int64_t last_ms = 0;
    bool any = false;
    while (offset < state->end_offset) {
        struct stream_batch batch;
        enum status s = stream_read(h->f.log, h->f.arena, stream, partition, offset, 1 + roll(h, 50), 20000, &batch, &h->f.err);
        if (s != OK) fail_msg("seed %llu: read: %s", (unsigned long long)h->seed, h->f.err.text);
        for (size_t i = 0; i < batch.n; i++) {
            const struct stored_record *r = &batch.records[i];
            CHECK(h, !any || r->offset > last_offset);
            CHECK(h, r->received_ms >= last_ms && r->offset >= offset);
            any = true;
            last_offset = r->offset;
            last_ms = r->received_ms;
            sum += hash64_str(r->payload) ^ r->offset;
            add_found(h, r);
        }
        CHECK(h, batch.next_offset > offset);
        offset = batch.next_offset;
    }
    return sum;
}

static uint64_t view_sum(struct history *h, struct log_view *view, uint16_t stream, const struct stream_state *state) {
    struct log_scan *scan = NULL;
    struct log_chunk chunk;
    uint64_t sum = 0, starts[8] = {0};
    for (uint16_t p = 0; p < state->partitions_n; p++) starts[p] = state->partitions[p].start_offset;
    struct log_range range = {.stream = stream, .from = 0, .to = stream_durable(h->f.log), .start_offsets = starts, .start_offsets_n = state->partitions_n};
    CHECK(h, log_scan_begin(view, &range, &scan, &h->f.err) == OK);
    while (log_scan_chunk(scan, &chunk)) {
        struct log_cursor cursor;
        struct stored_record r;
        bool got = true;
        log_cursor_begin(&cursor, chunk);
        while (true) {
            CHECK(h, log_cursor_next(scan, &cursor, &r, &got, &h->f.err) == OK);
            if (!got) break;
            sum += hash64_str(r.payload) ^ r.offset;
        }
    }
    log_scan_end(&scan);
    return sum;
}

/* A record of an acknowledged request, or one that was seen once, is missing: only retention may do that. */
static bool may_be_missing(struct history *h, struct event_id id) {
    struct event_address a = address_of(id);
    return h->trims && a.offset < h->landed[a.stream][a.partition];
}

static struct found *find_id(struct history *h, struct event_id id) {
    for (int i = 0; i < h->found_n; i++)
        if (memcmp(&h->found[i].id, &id, 16) == 0) return &h->found[i];
    return NULL;
}

static void check_found(struct history *h) {
    static int dedupe_seen[STREAMS + 1][DEDUPE_KEYS];
    memset(dedupe_seen, 0, sizeof dedupe_seen);
    for (int i = 0; i < h->sent_n; i++) h->sent[i]->found = 0;
    for (int i = 0; i < h->found_n; i++) {
        const struct found *x = &h->found[i];
        struct sent *s = h->sent[x->request];
        CHECK(h, !(s->found & 1u << x->record)); /* exactly once */
        s->found |= 1u << x->record;
        int d = s->dedupe[x->record];
        if (may_be_missing(h, x->id)) d = -1; /* its segment had been deleted, and came back because the power went before the folder was synced */
        if (d >= 0 && dedupe_seen[s->request.stream][d]++ > 0) {
            struct event_address a = address_of(x->id);
            fail_msg("seed %llu: dedupe key %d is twice in stream %u; here partition %u offset %llu, request %d, trims %d", (unsigned long long)h->seed, d,
                a.stream, a.partition, (unsigned long long)a.offset, x->request, h->trims);
        }
        if (h->seen_before[x->request][x->record]) CHECK(h, memcmp(&h->seen_id[x->request][x->record], &x->id, 16) == 0);
        h->seen_before[x->request][x->record] = 1;
        h->seen_id[x->request][x->record] = x->id;
    }
    for (int i = 0; i < h->sent_n; i++) {
        struct sent *s = h->sent[i];
        for (uint32_t k = 0; k < s->request.n; k++) {
            bool own = s->found & 1u << k;
            if (h->seen_before[i][k] && !own) CHECK(h, may_be_missing(h, h->seen_id[i][k]));
            if (s->acknowledged) {
                struct found *x = find_id(h, s->first_ids[k]);
                CHECK(h, x || may_be_missing(h, s->first_ids[k]));
                if (x && !(x->request == i && x->record == (int)k)) {
                    CHECK(h, s->dedupe[k] >= 0 && h->sent[x->request]->dedupe[x->record] == s->dedupe[k]);
                    CHECK(h, !own);
                }
            } else if (s->found && !own && !h->trims) { /* all or nothing: what is not there was a duplicate */
                CHECK(h, s->dedupe[k] >= 0 && dedupe_seen[s->request.stream][s->dedupe[k]]);
            }
        }
        if (s->acknowledged && !h->trims) CHECK(h, (uint32_t)__builtin_popcount(s->found) == s->accepted);
    }
}

/* What was sent after something was acknowledged stands behind it. */
static void check_order(struct history *h) {
    int last_round[STREAMS + 1][8] = {{0}};
    for (int i = 0; i < h->found_n; i++) { /* found is in order per partition */
        const struct sent *s = h->sent[h->found[i].request];
        if (s->submissions != 1) continue;
        struct event_address a = address_of(h->found[i].id);
        CHECK(h, s->round >= last_round[a.stream][a.partition]);
        last_round[a.stream][a.partition] = s->round;
    }
}

static void check_all(struct history *h) {
    struct log_view *view = NULL;
    h->found_n = 0;
    arena_reset(h->f.arena);
    CHECK(h, log_view_open(DIR, &h->f.host, &view, &h->f.err) == OK);
    if (log_view_advance(view, 0, stream_durable(h->f.log), &h->f.err) != OK) fail_msg("seed %llu: %s", (unsigned long long)h->seed, h->f.err.text);
    for (uint16_t stream = 1; stream <= STREAMS; stream++) {
        struct stream_state state;
        int before = h->found_n;
        uint64_t sum = 0, received = 0;
        CHECK(h, stream_state(h->f.log, h->f.arena, stream, &state, &h->f.err) == OK);
        for (uint16_t p = 0; p < state.partitions_n; p++) sum += read_partition(h, stream, p, &state.partitions[p]);
        CHECK(h, sum == view_sum(h, view, stream, &state));
        struct stream_hour *hours;
        size_t n;
        CHECK(h, stream_hours(h->f.log, h->f.arena, stream, &hours, &n, &h->f.err) == OK);
        for (size_t i = 0; i < n; i++) received += hours[i].received;
        CHECK(h, received == (uint64_t)(h->found_n - before));
    }
    log_view_close(&view);
    check_found(h);
    check_order(h);
    struct stream_recovery verified;
    CHECK(h, stream_verify(h->f.log, h->f.arena, &verified, &h->f.err) == OK && verified.damaged_groups == 0);
}

/* ---- histories ---- */

static void land_and_trim(struct history *h) {
    uint64_t deleted;
    for (uint16_t stream = 1; stream <= STREAMS; stream++) {
        struct stream_state state;
        CHECK(h, stream_state(h->f.log, h->f.arena, stream, &state, &h->f.err) == OK);
        uint64_t offsets[8] = {0};
        for (uint16_t p = 0; p < state.partitions_n; p++) {
            uint64_t end = state.partitions[p].end_offset;
            if (roll(h, 2) && h->landed[stream][p] < end) h->landed[stream][p] += roll(h, end - h->landed[stream][p] + 1);
            offsets[p] = h->landed[stream][p];
        }
        stream_landed(h->f.log, stream, offsets, state.partitions_n);
    }
    (void)stream_trim(h->f.log, NOW_MS * 2, NULL, NULL, &deleted, NULL);
}

static void grow(struct history *h) {
    struct stream_definition *d = &h->f.streams[roll(h, STREAMS)];
    struct stream_definition more = *d;
    if (more.partitions >= 6) return;
    more.partitions++;
    if (stream_define(h->f.log, &more, NULL) == OK)
        *d = more;
    else
        *d = roll(h, 2) ? more : *d; /* unclear: the ledger may say either */
}

/* Opens, if need be through more power cuts while recovering. */
static void open_again(struct history *h) {
    for (int tries = 0;; tries++) {
        CHECK(h, tries < 20);
        if (tries < 3 && roll(h, 3) == 0) faulty_fs_set(h->f.disk, (struct faulty_knobs){.power_after = 1 + (long)roll(h, 12)});
        bool opened = fixture_try_open(&h->f) == OK;
        faulty_fs_set(h->f.disk, (struct faulty_knobs){0}); /* from here on the power stays, unless it went already */
        if (opened && !faulty_fs_dead(h->f.disk)) break;
        if (opened) fixture_close(&h->f);
        CHECK(h, faulty_fs_dead(h->f.disk));
        faulty_fs_crash(h->f.disk);
    }
    if (h->f.recovery.damaged_groups) fail_msg("seed %llu: %s", (unsigned long long)h->seed, h->f.recovery.damage); /* a power cut is no damage */
    faulty_fs_set(h->f.disk, (struct faulty_knobs){0});
}

static void one_life(struct history *h) {
    struct faulty_knobs knobs = {0};
    bool cut = roll(h, 3) != 0;
    if (cut) knobs.power_after = 1 + (long)roll(h, 80);
    if (roll(h, 3) == 0) {
        knobs.write_eio = 0.03;
        knobs.sync_eio = 0.03;
        knobs.write_enospc = 0.02;
        knobs.allocate_enospc = 0.1;
        knobs.rename_eio = 0.1;
    }
    faulty_fs_set(h->f.disk, knobs);
    int rounds = (int)(1 + roll(h, 25));
    for (int i = 0; i < rounds && !faulty_fs_dead(h->f.disk); i++) {
        one_round(h);
        if (roll(h, 30) == 0) grow(h);
        if (h->trims && roll(h, 8) == 0) land_and_trim(h);
        if (stream_log_stats(h->f.log).full) usleep(2000); /* let it try the disk again */
    }
    if (!faulty_fs_dead(h->f.disk)) {
        knobs.power_after = 0;
        if (roll(h, 2)) {
            faulty_fs_set(h->f.disk, (struct faulty_knobs){0});
            if (!faulty_fs_dead(h->f.disk)) check_all(h); /* in the running process: nothing beyond the durable position is seen */
        }
    }
    bool crash = cut || roll(h, 2);
    fixture_close(&h->f);
    if (crash)
        faulty_fs_crash(h->f.disk);
    else
        faulty_fs_set(h->f.disk, (struct faulty_knobs){0});
    open_again(h);
    check_all(h);
}

static void run_history(uint64_t seed) {
    struct history *h = mem_zalloc(sizeof *h);
    h->seed = seed;
    h->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 7;
    h->found = mem_alloc(FOUND_MAX * sizeof *h->found);
    fixture_begin(&h->f, seed);
    h->f.streams[1].dedupe_window_ms = INT64_C(24) * 3600 * 1000;
    h->f.streams[0].dedupe_window_ms = INT64_C(24) * 3600 * 1000;
    h->trims = roll(h, 4) == 0;
    open_again(h);
    int lives = (int)(1 + roll(h, 4));
    for (int i = 0; i < lives; i++) one_life(h);
    fixture_end(&h->f);
    for (int i = 0; i < h->sent_n; i++) free(h->sent[i]);
    free(h->found);
    free(h);
}

static uint64_t histories = 800, first_seed = 1;

static void acknowledged_is_durable_exactly_once(void **state) {
    for (uint64_t i = 0; i < histories; i++) run_history(first_seed + i);
}

int main(int argc, char **argv) {
    if (argc > 1) histories = strtoull(argv[1], NULL, 10);
    if (argc > 2) first_seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(acknowledged_is_durable_exactly_once)};
    return cmocka_run_group_tests_name("stream_crash", tests, NULL, NULL);
}
