#include "connect/landing.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "connect/landing_priv.h"

static struct metric files_total = {.name = "cupel_landing_files_total",
    .kind = METRIC_COUNTER,
    .labels = "source,outcome",
    .help = "Landing files that came to an end: landed, rejected, or already taken before."};
static struct metric rows_total = {.name = "cupel_landing_rows_total",
    .kind = METRIC_COUNTER,
    .labels = "source,outcome",
    .help = "Rows of landing files: landed in the table or stream, or quarantined."};
static struct metric bytes_total = {
    .name = "cupel_landing_bytes_total", .kind = METRIC_COUNTER, .labels = "source", .help = "Bytes of landed files, after decompression."};
static struct metric file_seconds = {.name = "cupel_landing_file_seconds",
    .kind = METRIC_HISTOGRAM,
    .labels = "source",
    .help = "Time from taking a file to its place in done/ or rejected/; files of one commit share theirs equally."};
static struct metric waiting_files = {
    .name = "cupel_landing_waiting_files", .kind = METRIC_GAUGE, .labels = "source", .help = "Files in the folder that were not taken yet."};
static struct metric oldest_seconds = {.name = "cupel_landing_oldest_waiting_seconds",
    .kind = METRIC_GAUGE,
    .labels = "source",
    .help = "How long the file that waits longest has been in the folder, as far as this process knows."};
static struct metric failures_total = {
    .name = "cupel_landing_failures_total", .kind = METRIC_COUNTER, .labels = "source", .help = "Passes over a landing folder that failed and are repeated."};

#define RUN_PAUSE_US 100000
#define RUN_QUIETS 3 /* how many times the quiet time a run waits for a file that keeps changing */

/* ---- making ---- */

static void source_begin(struct source_state *s, struct landing *landing, const struct landing_source *config) {
    s->landing = landing;
    s->config = config;
    s->watched = -1;
    mutex_init(&s->busy);
    s->files_landed = metric_series(&files_total, config->name, "landed");
    s->files_rejected = metric_series(&files_total, config->name, "rejected");
    s->files_already = metric_series(&files_total, config->name, "already");
    s->rows_landed = metric_series(&rows_total, config->name, "landed");
    s->rows_quarantined = metric_series(&rows_total, config->name, "quarantined");
    s->bytes = metric_series(&bytes_total, config->name);
    s->seconds = metric_series(&file_seconds, config->name);
    s->waiting_files = metric_series(&waiting_files, config->name);
    s->oldest_seconds = metric_series(&oldest_seconds, config->name);
    s->failures = metric_series(&failures_total, config->name);
}

static enum status check_source(const struct landing_source *c, struct err *err) {
    must(c->name && c->folder);
    if (!c->table == !c->stream) return err_set(err, E_CONFIG, "source %s: one of table and stream is needed", c->name);
    for (size_t i = 0; c->protect && i < c->protect->paths_n; i++) {
        const struct config_protect *p = &c->protect->paths[i];
        if (c->stream) return err_set(err, E_CONFIG, "source %s: protect belongs to the stream %s, not to the source", c->name, c->stream);
        if (p->policy == PROTECT_ENCRYPT)
            return err_set(err, E_CONFIG, "source %s: protect: %s: encrypt is not supported yet; use tokenise or mask", c->name, p->path);
    }
    return landing_reading_check(&c->reading, err) == OK ? OK : err_prefix(err, "source %s", c->name);
}

enum status landing_open(const struct landing_options *options, struct landing **out, struct err *err) {
    must(options->host && options->ledger && options->engine && options->lake);
    for (size_t i = 0; i < options->sources_n; i++) {
        enum status st = check_source(&options->sources[i], err);
        if (st != OK) return st;
    }
    struct landing *landing = mem_zalloc(sizeof *landing);
    landing->options = *options;
    mutex_init(&landing->lock);
    condition_init(&landing->wake);
    landing->sources = mem_zalloc((options->sources_n + 1) * sizeof *landing->sources);
    for (size_t i = 0; i < options->sources_n; i++) source_begin(&landing->sources[i], landing, &options->sources[i]);
    *out = landing;
    return OK;
}

bool landing_stopping(struct landing *landing) {
    WITH_LOCK(&landing->lock);
    return landing->stopping;
}

/* ---- passes ---- */

static void failed(struct source_state *s, const struct err *err) {
    s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : LANDING_POLL_MS;
    if (s->backoff_ms > LANDING_BACKOFF_MS_MAX) s->backoff_ms = LANDING_BACKOFF_MS_MAX;
    s->retry_at_ms = host_monotonic_ms(s->landing->options.host) + s->backoff_ms;
    series_add(s->failures, 1);
    log_warn("connect", "landing pass failed, it is repeated", LOG_STR("source", s->config->name), LOG_STR("error", err->text),
        LOG_INT("retry_ms", s->backoff_ms), NULL);
}

/* Under s->busy. */
static enum status pass(struct source_state *s, struct landing_outcome *outcome, struct pass_left *left, struct err *err) {
    enum status st = landing_pass(s, outcome, left, err);
    if (st == OK) s->backoff_ms = s->retry_at_ms = 0;
    return st;
}

static void poll_source(struct source_state *s) {
    WITH_LOCK(&s->busy);
    if (host_monotonic_ms(s->landing->options.host) < s->retry_at_ms) return;
    struct landing_outcome outcome = {0};
    struct err err = {0};
    struct pass_left left;
    if (pass(s, &outcome, &left, &err) != OK && !landing_stopping(s->landing)) failed(s, &err);
}

/* ---- the watcher's thread ---- */

static void watch_folders(struct landing *landing) {
    for (size_t i = 0; landing->watch && i < landing->options.sources_n; i++) {
        struct source_state *s = &landing->sources[i];
        WITH_LOCK(&s->busy);
        if (s->watched < 0 && s->reconciled) folder_watch_add(landing->watch, s->config->folder, &s->watched, NULL); /* without it: polled only */
    }
}

/* Waits for the next poll, or for a file that is renamed in. */
static void wait_for_files(struct landing *landing, int64_t poll_ms) {
    if (!landing->watch) {
        WITH_LOCK(&landing->lock);
        if (!landing->stopping) condition_wait_ms(&landing->wake, &landing->lock, poll_ms);
        return;
    }
    folder_watch_wait(landing->watch, poll_ms);
    struct folder_event event;
    while (folder_watch_next(landing->watch, &event)) {
        for (size_t i = 0; i < landing->options.sources_n; i++) {
            struct source_state *s = &landing->sources[i];
            if (s->watched != event.folder) continue; /* only this thread changes it */
            WITH_LOCK(&s->busy);
            if (event.gone)
                s->watched = -1;
            else
                landing_moved_in(s, event.name);
        }
    }
}

static void *run(void *argument) {
    struct landing *landing = argument;
    int64_t poll_ms = landing->options.poll_ms ? landing->options.poll_ms : LANDING_POLL_MS;
    while (!landing_stopping(landing)) {
        for (size_t i = 0; i < landing->options.sources_n && !landing_stopping(landing); i++) poll_source(&landing->sources[i]);
        watch_folders(landing);
        if (!landing_stopping(landing)) wait_for_files(landing, poll_ms);
    }
    return NULL;
}

void landing_start(struct landing *landing) {
    struct err err;
    if (landing->options.sources_n == 0) return;
    if (folder_watch_new(&landing->watch, &err) != OK) log_warn("connect", "landing folders are polled only", LOG_STR("error", err.text), NULL);
    thread_start(&landing->thread, "landing", run, landing);
}

void landing_stop(struct landing **landing_at) {
    struct landing *landing = *landing_at;
    if (!landing) return;
    mutex_lock(&landing->lock);
    landing->stopping = true;
    condition_broadcast(&landing->wake);
    if (landing->watch) folder_watch_wake(landing->watch);
    mutex_unlock(&landing->lock);
    thread_join(&landing->thread);
    for (size_t i = 0; i < landing->options.sources_n; i++) {
        mutex_lock(&landing->sources[i].busy); /* a run_once under way */
        landing_forget_seen(&landing->sources[i]);
        mutex_unlock(&landing->sources[i].busy);
        mutex_destroy(&landing->sources[i].busy);
    }
    folder_watch_free(&landing->watch);
    condition_destroy(&landing->wake);
    mutex_destroy(&landing->lock);
    free(landing->sources);
    free(landing);
    *landing_at = NULL;
}

struct source_state *landing_find(struct landing *landing, const char *name) {
    for (size_t i = 0; i < landing->options.sources_n; i++)
        if (!strcmp(landing->options.sources[i].name, name)) return &landing->sources[i];
    return NULL;
}

/* Passes until nothing waits. Files that never become complete end it too. */
static enum status run_until_empty(struct source_state *s, struct landing_outcome *outcome, struct pass_left *left, struct err *err) {
    const struct host *host = s->landing->options.host;
    int64_t quiet_ms = s->config->quiet_ms ? s->config->quiet_ms : LANDING_QUIET_MS;
    int64_t give_up_at_ms = 0;
    uint64_t files = 0;
    for (int failures = 0; !landing_stopping(s->landing);) {
        mutex_lock(&s->busy);
        enum status st = pass(s, outcome, left, err);
        if (st != OK) failed(s, err);
        mutex_unlock(&s->busy);
        /* A batch that failed is tried again file by file, and a poisonous file is refused in the end: a few failures in a row are still progress. */
        if (st != OK && (++failures > LANDING_ATTEMPTS_MAX || st == E_CONFIG || st == E_UNSUPPORTED)) return st;
        if (st == OK) failures = 0;
        if (st == OK && left->waiting == 0) return OK;
        int64_t now_ms = host_monotonic_ms(host);
        if (give_up_at_ms == 0 || outcome->files != files) give_up_at_ms = now_ms + RUN_QUIETS * quiet_ms + LANDING_POLL_MS;
        files = outcome->files;
        if (st == OK && now_ms > give_up_at_ms) return OK;
        host->clock->sleep_us(host->clock->self, RUN_PAUSE_US);
    }
    return err_set(err, E_CANCELLED, "stopping");
}

enum status landing_run_once(struct landing *landing, const char *name, struct landing_outcome *out, struct err *err) {
    struct source_state *s = landing_find(landing, name);
    if (!s) return err_set(err, E_NOT_FOUND, "there is no landing source %s", name);
    struct landing_outcome outcome = {0};
    struct pass_left left = {0};
    enum status st = run_until_empty(s, &outcome, &left, err);
    if (st != OK) return st;
    if (left.stuck)
        return err_set(
            err, E_IO, "%s: %zu files cannot be read, see the log; %llu others are done", s->config->folder, left.stuck, (unsigned long long)outcome.files);
    *out = outcome;
    return OK;
}
