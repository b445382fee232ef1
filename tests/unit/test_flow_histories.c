/* Random histories: events that are late, corrected, deleted, sent twice and shuffled, over chains of models of every kind, with runs cut at random places,
 * look-ups that change, rebuilds and an engine that is killed. Whatever came before, every table must equal its full recompute (verify), and the first ones
 * an independent account kept here.
 *
 * A round holds HISTORIES of them side by side: each has a number h, its own keys and its own days, so that they touch nothing of each other but share runs.
 * CUPEL_HISTORIES: how many rounds (default 3). CUPEL_SEED: where to begin; a failure prints its seed. */
#include "flow_fixture.h"

#include "host/thread.h"

#define HISTORIES 100
#define IDS 6
#define DOCS 3
#define LINES 4
#define LINES_MAX 5 /* of a request */
#define FILES 3
#define STEPS 10

/* ---- a seeded generator (splitmix64) ---- */

static uint64_t random_state;

static uint64_t next_random(void) {
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int below_n(int n) { return (int)(next_random() % (uint64_t)n); }
static bool chance(int percent) { return below_n(100) < percent; }

/* ---- models ---- */

#define EVENT_COLUMNS \
    "CAST(payload->>'$.h' AS INTEGER) AS h, CAST(payload->>'$.id' AS INTEGER) AS id, payload->>'$.k' AS k, make_timestamptz(CAST(payload->>'$.t' AS BIGINT) " \
    "* 1000000) AS ts, " \
    "CAST(payload->>'$.v' AS INTEGER) AS v, payload->>'$.op' AS op, _received_at, _event_id FROM bronze.ev"

static const char *const model_files[][2] = {
    {"silver/ev", "/* cupel\nkind: stream\nkey: [h, id]\ntime: ts\ndeletes: op = 'd'\n*/\nSELECT " EVENT_COLUMNS},
    {"silver/every",
        "/* cupel\nkind: stream\nkey: [_event_id]\ntime: ts\ndrops: payload->>'$.op' = 'd'\n*/\nSELECT " EVENT_COLUMNS " WHERE op IS DISTINCT FROM 'd'"},
    {"silver/doc",
        "/* cupel\nkind: stream\nkey: [h, doc]\ntogether: file\nwithin: [line]\norder: [n]\ndeletes: op = 'd'\n*/\nSELECT CAST(payload->>'$.h' AS INTEGER) AS "
        "h, "
        "CAST(payload->>'$.doc' AS "
        "INTEGER) AS doc, "
        "CAST(payload->>'$.file' AS INTEGER) AS file, CAST(payload->>'$.line' AS INTEGER) AS line, CAST(payload->>'$.v' AS INTEGER) AS v, payload->>'$.op' "
        "AS op, CAST(payload->>'$.n' AS INTEGER) AS n, _received_at, _event_id FROM bronze.doc"},
    {"silver/named",
        "/* cupel\nkind: stream\nkey: [h, id]\n*/\nSELECT e.h, e.id, n.name, e.v, e._received_at, e._event_id FROM silver.ev e JOIN ref.names n ON n.k = e.k "
        "WHERE e.v % 5 <> 0"},
    {"silver/grouped", "/* cupel\nkind: stream\nkey: [h, k]\ntogether: id\ndeletes: v % 7 = 0\n*/\nSELECT h, k, id, v, _received_at, _event_id FROM silver.ev"},
    {"silver/tied",
        "/* cupel\nkind: stream\nkey: [h, k]\ntogether: id\norder: [day]\n*/\nSELECT CAST(payload->>'$.h' AS INTEGER) AS h, CAST(payload->>'$.id' AS INTEGER) "
        "AS id, payload->>'$.k' AS k, CAST(payload->>'$.t' AS BIGINT) // 86400 AS day, CAST(payload->>'$.v' AS INTEGER) AS v, _received_at, _event_id FROM "
        "bronze.ev"},
    {"gold/merged",
        "/* cupel\nkind: incremental\nby: [h, day]\nmerge: true\ntime: day\nrows: SELECT h, CAST(ts AS DATE) AS day, v AS total, CAST(1 AS BIGINT) AS n, v AS "
        "low, [k] AS ks FROM silver.ev\nstate: [ks]\n*/\n"
        "SELECT h, day, CAST(sum(total) AS BIGINT) AS total, CAST(sum(n) AS BIGINT) AS n, min(low) AS low, list_sort(list_distinct(flatten(list(ks)))) AS ks, "
        "CAST(len(list_distinct(flatten(list(ks)))) AS BIGINT) AS k_count FROM this.pieces GROUP BY h, day"},
    {"gold/sessions",
        "/* cupel\nkind: incremental\nby: [h, k]\nmerge: true\nwithin_time: 30m\ntime: ended\nrows: SELECT h, k, ts AS started, ts AS ended, CAST(1 AS BIGINT) "
        "AS n FROM silver.every\n*/\n"
        "SELECT h, k, min(started) AS started, max(ended) AS ended, CAST(sum(n) AS BIGINT) AS n FROM (SELECT *, sum(opens) OVER (PARTITION BY h, k ORDER BY "
        "started, ended, opens DESC ROWS UNBOUNDED "
        "PRECEDING) AS part FROM (SELECT *, CASE WHEN started - max(ended) OVER (PARTITION BY h, k ORDER BY started, ended ROWS BETWEEN UNBOUNDED PRECEDING "
        "AND 1 PRECEDING) <= INTERVAL "
        "30 MINUTE THEN 0 ELSE 1 END AS opens FROM this.pieces)) GROUP BY h, k, part"},
    {"gold/days",
        "/* cupel\nkind: incremental\nbucket: day\ntime: day\n*/\nSELECT h, CAST(ts AS DATE) AS day, sum(v) AS total, count(*) AS n FROM silver.ev GROUP BY "
        "ALL"},
    {"gold/hours",
        "/* cupel\nkind: incremental\nbucket: hour\ntime: hour\n*/\nSELECT h, k, date_trunc('hour', ts) AS hour, max(v) AS high FROM silver.ev GROUP BY ALL"},
    {"gold/windows",
        "/* cupel\nkind: incremental\nbucket: day\ntime: day\nreads: {gold.days: 3d, silver.lv: until_next}\n*/\nSELECT d.h, d.day, (SELECT sum(total) FROM "
        "gold.days w WHERE w.h = d.h AND "
        "w.day > d.day - 3 AND w.day <= d.day) AS three, (SELECT arg_max(level, ts) FROM silver.lv l WHERE l.h = d.h AND l.ts < d.day + 1) AS level FROM "
        "gold.days d"},
    {"silver/lv",
        "/* cupel\nkind: stream\nkey: [h, ts]\ntime: ts\n*/\nSELECT CAST(payload->>'$.h' AS INTEGER) AS h, make_timestamptz(CAST(payload->>'$.t' AS BIGINT) * "
        "1000000) AS ts, "
        "CAST(payload->>'$.level' AS INTEGER) AS level, _received_at, _event_id FROM bronze.lv"},
    {"gold/keys",
        "/* cupel\nkind: incremental\nby: [h, k]\nkey: [h, k]\n*/\nSELECT e.h, e.k, n.name, count(*) AS n, max(v) AS high FROM silver.ev e LEFT JOIN ref.names "
        "n USING (k) GROUP BY ALL"},
    {"gold/seen", "/* cupel\nkind: view\n*/\nSELECT h, day, total, n FROM gold.merged WHERE n > 1"},
    {"gold/over", "/* cupel\nkind: incremental\nby: [h]\n*/\nSELECT h, sum(total) AS total, max(day) AS last FROM gold.seen GROUP BY h"},
    {"gold/all", "/* cupel\nkind: full\n*/\nSELECT count(*) AS n, sum(total) AS total FROM gold.over"},
};
#define MODELS (sizeof model_files / sizeof *model_files)

static void put_models(struct fixture *f) {
    for (size_t i = 0; i < MODELS; i++) {
        ARENA_SCOPE(arena);
        put_file(f, arena_printf(arena, "models/%s.sql", model_files[i][0]), model_files[i][1]);
    }
}

static void put_names(struct fixture *f, int version) {
    ARENA_SCOPE(arena);
    put_file(f, "reference/names.csv", arena_printf(arena, "k,name\na,Anna\nb,%s\n%s", version % 2 ? "Bo" : "Bea", version % 3 ? "c,Cem\n" : ""));
}

/* ---- the account of what must be ---- */

struct event {
    bool live;
    int64_t t;
    int v;
};

struct line {
    bool gone; /* removes the document */
    int file, number, v; /* number 0: none */
};

struct doc {
    int lines_n;
    struct line lines[STEPS * LINES_MAX]; /* all, in their order n, which is not that of sending */
};

struct history {
    struct event events[IDS];
    struct doc docs[DOCS];
};

static struct history histories[HISTORIES];

static int64_t day_of(int h) { return INT64_C(1767225600) + (int64_t)h * 20 * 86400; } /* 2026-01-01 and on */

/* ---- steps ---- */

struct batch_texts {
    const char *texts[HISTORIES * STEPS * LINES_MAX];
    size_t n;
};

static struct batch_texts events, levels, docs;

static void one_event(struct fixture *f, int h) {
    int id = below_n(IDS);
    struct event *e = &histories[h].events[id];
    if (chance(15)) {
        events.texts[events.n++] = arena_printf(f->arena, "{\"h\":%d,\"id\":%d,\"op\":\"d\",\"t\":%lld,\"v\":0,\"k\":\"a\"}", h, id, (long long)day_of(h));
        e->live = false;
        return;
    }
    if (!e->live || chance(50)) e->t = day_of(h) + below_n(6) * 86400 + (chance(50) ? below_n(7200) : below_n(86400));
    e->v = below_n(100);
    e->live = true;
    const char *text = arena_printf(f->arena, "{\"h\":%d,\"id\":%d,\"t\":%lld,\"v\":%d,\"k\":\"%c\"}", h, id, (long long)e->t, e->v, 'a' + below_n(4));
    events.texts[events.n++] = text;
    if (chance(10)) events.texts[events.n++] = text; /* sent twice */
}

static void one_level(struct fixture *f, int h) {
    levels.texts[levels.n++] =
        arena_printf(f->arena, "{\"h\":%d,\"t\":%lld,\"level\":%d}", h, (long long)(day_of(h) - 86400 + below_n(7) * 86400 + below_n(4) * 3600), below_n(50));
}

/* Lines of a few files, which come back and mix, and removals in between: of a document the last unbroken stretch of one file counts. */
static void one_file(struct fixture *f, int h) {
    int file = below_n(FILES), number = below_n(DOCS);
    struct doc *d = &histories[h].docs[number];
    for (int i = 1 + below_n(LINES_MAX); i > 0; i--) {
        if (chance(10)) file = below_n(FILES);
        struct line line = {chance(8), file, chance(60) ? 1 + below_n(LINES) : 0, below_n(100)};
        d->lines[d->lines_n++] = line;
        const char *op = line.gone ? ",\"op\":\"d\"" : "";
        docs.texts[docs.n++] = line.number
            ? arena_printf(f->arena, "{\"h\":%d,\"doc\":%d,\"file\":%d,\"line\":%d,\"v\":%d,\"n\":%d%s}", h, number, file, line.number, line.v, d->lines_n, op)
            : arena_printf(f->arena, "{\"h\":%d,\"doc\":%d,\"file\":%d,\"v\":%d,\"n\":%d%s}", h, number, file, line.v, d->lines_n, op);
    }
}

static void new_input(struct fixture *f) {
    events.n = levels.n = 0;
    for (int h = 0; h < HISTORIES; h++) {
        if (chance(40)) continue;
        for (int i = below_n(4); i > 0; i--) one_event(f, h);
        if (chance(40)) one_level(f, h);
        if (chance(30)) one_file(f, h);
    }
}

static uint16_t ev_stream, lv_stream, doc_stream;

/* Some wait for a later request: what the model takes as newer has come before. */
static void send_docs(struct fixture *f, bool all) {
    struct batch_texts now = {.n = 0}, later = {.n = 0};
    for (size_t i = 0; i < docs.n; i++) {
        struct batch_texts *to = !all && chance(25) ? &later : &now;
        to->texts[to->n++] = docs.texts[i];
    }
    if (now.n) append(f, doc_stream, now.texts, now.n);
    docs = later;
}

/* Events without a stream key go to any partition, a request to one; between partitions time is the order, and that counts in milliseconds. So each
 * request has one of its own: within the same one it is not defined which of two is newer. */
static void send_all(struct fixture *f) {
    f->host.clock->sleep_us(f->host.clock->self, 2000);
    if (events.n) append(f, ev_stream, events.texts, events.n);
    if (levels.n) append(f, lv_stream, levels.texts, levels.n);
    send_docs(f, false);
}

/* ---- an engine that dies ---- */

struct killer {
    struct fixture *f;
    int64_t after_us;
};

static void *kill_later(void *argument) {
    struct killer *k = argument;
    k->f->host.clock->sleep_us(k->f->host.clock->self, k->after_us);
    pid_t pid = engine_pid(k->f->engine);
    if (pid > 0) kill(pid, SIGKILL);
    return NULL;
}

static void check_results(const struct flow_model_result *r, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (r[i].status == FLOW_FAILED && !strstr(r[i].error, "died")) fail_msg("%s: %s\n%s", r[i].model, r[i].error, r[i].sql ? r[i].sql : "");
        int64_t out = r[i].rows_out + r[i].superseded + r[i].filtered + r[i].quarantined;
        bool rebuilt = strcmp(r[i].strategy, "rebuild") == 0 && strncmp(r[i].model, "silver.", 7) == 0;
        bool counted = rebuilt || strcmp(r[i].strategy, "stream") == 0;
        if (r[i].status == FLOW_DONE && counted && r[i].rows_in != out && strcmp(r[i].model, "silver.named") != 0) {
            fail_msg("%s: %lld rows in, %lld accounted for", r[i].model, (long long)r[i].rows_in, (long long)out);
        }
    }
}

/* Some of the models, in one call or two: readers see their inputs move by several runs at once, or not at all. */
static void run_some(struct fixture *f) {
    const struct flow_model *const *models;
    const char *names[64];
    size_t n = flow_models(f->flow, &models), chosen = 0;
    for (size_t i = 0; i < n; i++) {
        if (chance(60)) names[chosen++] = models[i]->full;
    }
    if (!chosen) return;
    struct thread thread = {0};
    struct killer killer = {f, below_n(300000)};
    if (chance(8)) thread_start(&thread, "killer", kill_later, &killer);
    struct flow_run_options options = {.models = names, .n = chosen, .full_refresh = chance(4)};
    size_t done;
    struct flow_model_result *results = run_with(f, options, &done);
    check_results(results, done);
    thread_join(&thread);
}

/* ---- comparisons ---- */

static void check_events(struct fixture *f) {
    long long n = 0, total = 0, times = 0;
    for (int h = 0; h < HISTORIES; h++) {
        for (int id = 0; id < IDS; id++) {
            const struct event *e = &histories[h].events[id];
            if (!e->live) continue;
            n++;
            total += (long long)e->v * (h * IDS + id + 1);
            times += e->t - day_of(0);
        }
    }
    rows_are(f,
        "SELECT count(*) AS n, CAST(sum(v * (h * 6 + id + 1)) AS BIGINT) AS total, CAST(sum(epoch_us(ts) // 1000000 - 1767225600) AS BIGINT) AS times FROM "
        "warehouse.silver.ev",
        arena_printf(f->arena, "[{\"n\":%lld,\"total\":%lld,\"times\":%lld}]", n, total, times));
}

/* Backwards to the first line of another file or removal; of each number the last. */
static void add_doc(const struct doc *d, int64_t weight, long long *n, long long *total) {
    bool seen[LINES + 1] = {false};
    for (int i = d->lines_n - 1; i >= 0; i--) {
        const struct line *line = &d->lines[i];
        if (line->gone || line->file != d->lines[d->lines_n - 1].file) return;
        bool used = !line->number || !seen[line->number];
        seen[line->number] = true;
        *n += used;
        *total += used ? line->v * weight : 0;
    }
}

static void check_docs(struct fixture *f) {
    long long n = 0, total = 0;
    for (int h = 0; h < HISTORIES; h++) {
        for (int d = 0; d < DOCS; d++) add_doc(&histories[h].docs[d], (int64_t)(h + 1) * (d + 1), &n, &total);
    }
    rows_are(f, "SELECT count(*) AS n, CAST(sum(v * (h + 1) * (doc + 1)) AS BIGINT) AS total FROM warehouse.silver.doc",
        arena_printf(f->arena, "[{\"n\":%lld,\"total\":%lld}]", n, total));
}

static void one_round(struct fixture *f) {
    memset(histories, 0, sizeof histories);
    docs.n = 0;
    ev_stream = add_stream(f, "ev", 2);
    lv_stream = add_stream(f, "lv", 1);
    doc_stream = add_stream(f, "doc", 2);
    static const char *const zones[] = {"UTC", "Europe/Istanbul", "Europe/Berlin", "Asia/Kolkata", "America/New_York"}; /* half hours, clocks that change */
    f->timezone = zones[below_n(5)];
    put_models(f);
    put_names(f, 1);
    open_flow(f);
    load_well(f);
    if (chance(50)) f->flow->wave_rows = (uint64_t)(20 + below_n(200)); /* rebuilds in many waves */
    for (int step = 0; step < STEPS; step++) {
        new_input(f);
        send_all(f);
        if (chance(10)) {
            put_names(f, below_n(6));
            load_well(f);
        }
        run_some(f);
    }
    send_docs(f, true);
    size_t n;
    struct flow_model_result *results = run_all(f, &n);
    check_results(results, n);
    check_events(f);
    check_docs(f);
    verify_all(f);
    results = run_all(f, &n);
    for (size_t i = 0; i < n; i++) {
        if (results[i].inserted || results[i].deleted) fail_msg("%s: a second run changed something", results[i].model);
    }
}

static void every_history_ends_in_the_same_tables(void **unused) {
    (void)unused;
    const char *rounds = getenv("CUPEL_HISTORIES"), *seed = getenv("CUPEL_SEED");
    uint64_t n = 3, first = 1;
    if (rounds) (void)str_to_u64(str_of(rounds), &n);
    if (seed) (void)str_to_u64(str_of(seed), &first);
    for (uint64_t round = 0; round < n; round++) {
        random_state = first + round;
        print_message("histories with CUPEL_SEED=%llu\n", (unsigned long long)(first + round));
        void *state;
        set_up(&state);
        one_round(state);
        tear_down(&state);
    }
    print_message("%llu histories\n", (unsigned long long)n * HISTORIES);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "engine") == 0) return engine_main(argc - 1, argv + 1, no_kinds);
    log_configure((struct log_options){.level = LOG_ERROR, .quiet = true});
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_history_ends_in_the_same_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
