/* Delivery: what happened waits here until it is sent: in order, shuffled over all days, everything twice, a part of it late, or one day once more at the end.
 *
 * Items lie in one array; their bytes in one text. After each day both are compacted to what is not yet due. Events go in requests of mixed sizes; the size
 * of a request is drawn when it begins. */
#include "base/assert.h"
#include "base/mem.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LATE_SHARE 0.05
#define LATE_DAYS 3

struct item {
    int64_t due_us, at_us;
    size_t start, n; /* in the text; a file begins with its name and NUL */
    uint32_t order; /* equal times keep it */
    uint8_t to, dirt;
};

struct batch { /* a request that is being filled */
    struct buf body;
    size_t n, goal;
};

struct delivery {
    struct delivery_options options;
    struct buf text;
    struct item *items;
    size_t n, cap;
    uint32_t order;
    struct rng r;
    struct batch batches[TO_STOCK + 1];
    struct buf replay_text; /* the day that is sent again */
    struct item *replay;
    size_t replay_n, replay_cap;
    bool replaying;
    uint64_t sent, request;
    struct timespec began;
};

static const char *const streams[] = {"web_traffic", "crm_interactions", "inventory"};
static const char *const feeds[] = {[TO_POS_FILE] = "pos", [TO_STOCK_FILE] = "inventory"};

struct delivery *delivery_new(const struct delivery_options *options) {
    must(options && options->out && options->truth && options->batch_max > 0);
    struct delivery *d = mem_zalloc(sizeof *d);
    d->options = *options;
    d->r = rng_make(options->seed, "delivery", 0);
    clock_gettime(CLOCK_MONOTONIC, &d->began);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    d->request = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec; /* no other run has these numbers */
    return d;
}

void delivery_free(struct delivery **d) {
    if (!*d) return;
    for (int i = 0; i <= TO_STOCK; i++) buf_free(&(*d)->batches[i].body);
    buf_free(&(*d)->text);
    buf_free(&(*d)->replay_text);
    free((*d)->items);
    free((*d)->replay);
    free(*d);
    *d = NULL;
}

struct buf *delivery_text(struct delivery *d) {
    return &d->text;
}

static void push(struct item **items, size_t *n, size_t *cap, struct item item) {
    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 4096;
        *items = mem_realloc(*items, *cap * sizeof **items);
    }
    (*items)[(*n)++] = item;
}

static int64_t due_of(struct delivery *d, int64_t at_us) {
    const struct delivery_options *o = &d->options;
    if (o->order == SHUFFLED) return o->start_us + (int64_t)(rng_unit(&d->r) * (double)(o->end_us - o->start_us));
    if (o->order == LATE && rng_chance(&d->r, LATE_SHARE)) return at_us + (int64_t)(rng_unit(&d->r) * LATE_DAYS * (double)DAY_US);
    return at_us;
}

static void keep_for_replay(struct delivery *d, struct item item) {
    int64_t day_us = d->options.start_us + (d->options.end_us - d->options.start_us) / DAY_US / 2 * DAY_US;
    if (d->options.order != REPLAY || item.at_us < day_us || item.at_us >= day_us + DAY_US) return;
    size_t start = d->replay_text.n;
    buf_put(&d->replay_text, d->text.p + item.start, item.n);
    item.start = start;
    push(&d->replay, &d->replay_n, &d->replay_cap, item);
}

static void queue(struct delivery *d, struct item item) {
    must(item.start + item.n == d->text.n && item.n > 0);
    item.order = d->order++;
    item.due_us = due_of(d, item.at_us);
    keep_for_replay(d, item);
    push(&d->items, &d->n, &d->cap, item);
}

void delivery_event(struct delivery *d, enum channel to, int64_t at_us, size_t start, enum dirt dirt) {
    must(to <= TO_STOCK && start < d->text.n);
    queue(d, (struct item){.at_us = at_us, .start = start, .n = d->text.n - start, .to = (uint8_t)to, .dirt = (uint8_t)dirt});
}

void delivery_file(struct delivery *d, enum channel to, int64_t at_us, const char *name, struct str content) {
    must(to == TO_POS_FILE || to == TO_STOCK_FILE);
    size_t start = d->text.n;
    buf_put(&d->text, name, strlen(name) + 1);
    buf_str(&d->text, content);
    /* Files written at the end of the last day belong to it. */
    if (at_us >= d->options.end_us) at_us = d->options.end_us - 1;
    queue(d, (struct item){.at_us = at_us, .start = start, .n = d->text.n - start, .to = (uint8_t)to});
}

/* ---- sending ---- */

static void count_event(struct delivery *d, enum channel to, enum dirt dirt) {
    struct truth *t = d->options.truth;
    uint64_t quarantined = dirt_quarantines(dirt);
    if (d->replaying) return;
    t->dirt[dirt]++;
    t->web_events += to == TO_WEB;
    t->crm_events += to == TO_CRM;
    t->inventory_events += to == TO_STOCK;
    t->web_quarantined += to == TO_WEB ? quarantined : 0;
    t->crm_quarantined += to == TO_CRM ? quarantined : 0;
    t->inventory_quarantined += to == TO_STOCK ? quarantined : 0;
}

static void sleep_until(const struct delivery *d, double seconds) {
    struct timespec at = d->began;
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) {}
}

static void pace(const struct delivery *d, int64_t due_us) {
    const struct delivery_options *o = &d->options;
    if (o->speed > 0 && due_us > o->start_us) sleep_until(d, (double)(due_us - o->start_us) / 1e6 / o->speed);
    if (o->rate > 0) sleep_until(d, (double)d->sent / o->rate);
}

static enum status post(struct delivery *d, enum channel to, struct str body, bool single, bool again, struct err *err) {
    struct truth *t = d->options.truth;
    uint64_t accepted = 0, duplicates = 0;
    /* Stock carries no number and its stream knows no duplicates: a request that is repeated after an answer was lost must say that it is the same one. */
    uint64_t request = to == TO_STOCK ? ++d->request : 0;
    enum status st = out_events(d->options.out, streams[to], body, single, request, &accepted, &duplicates, err);
    if (to == TO_WEB) t->web_duplicates += duplicates;
    if (to == TO_CRM) t->crm_duplicates += duplicates;
    if (st == OK && again) st = post(d, to, body, single, false, err);
    return st;
}

static enum status flush(struct delivery *d, enum channel to, struct err *err) {
    struct batch *b = &d->batches[to];
    if (b->n == 0) return OK;
    bool again = d->options.order == TWICE || (d->options.dirt && to != TO_STOCK && rng_chance(&d->r, 0.03)); /* the sender did not see the answer */
    if (again && to != TO_STOCK && !d->replaying) d->options.truth->dirt[to == TO_WEB ? DIRT_WEB_TWICE : DIRT_CRM_TWICE] += b->n;
    d->sent += b->n;
    struct str body = buf_view(&b->body);
    if (b->n == 1) body.n--; /* the line end */
    enum status st = post(d, to, body, b->n == 1, again, err);
    buf_clear(&b->body);
    b->n = 0;
    return st;
}

static enum status flush_all(struct delivery *d, struct err *err) {
    enum status st = OK;
    for (int to = TO_WEB; to <= TO_STOCK && st == OK; to++) st = flush(d, (enum channel)to, err);
    return st;
}

static enum status send_event(struct delivery *d, enum channel to, struct str text, struct err *err) {
    const struct delivery_options *o = &d->options;
    struct batch *b = &d->batches[to];
    if (to != TO_STOCK && o->api && rng_chance(&d->r, o->api_share)) {
        api_offer(o->api, to == TO_WEB ? API_WEB : API_CRM, text);
        o->truth->polled++;
        return OK;
    }
    if (to == TO_CRM && o->hook_share > 0 && rng_chance(&d->r, o->hook_share)) {
        o->truth->hooked++;
        return out_hook(o->out, text, err);
    }
    if (b->n == 0) b->goal = rng_chance(&d->r, 0.2) ? 1 : 1 + rng_below(&d->r, (uint32_t)o->batch_max);
    buf_str(&b->body, text);
    buf_char(&b->body, '\n');
    return ++b->n >= b->goal ? flush(d, to, err) : OK;
}

static enum status send_file(struct delivery *d, enum channel to, const char *bytes, size_t n, struct err *err) {
    const char *name = bytes;
    struct str content = str_make(bytes + strlen(name) + 1, n - strlen(name) - 1);
    enum status st = out_file(d->options.out, feeds[to], name, content, err);
    if (st != OK || d->options.order != TWICE) return st;
    AUTO_FREE char *second = mem_printf("%.*s_twice%s", (int)strcspn(name, "."), name, name + strcspn(name, "."));
    return out_file(d->options.out, feeds[to], second, content, err);
}

static enum status send_items(struct delivery *d, const struct item *items, size_t n, const struct buf *text, struct err *err) {
    enum status st = OK;
    int64_t hour = INT64_MIN;
    for (size_t i = 0; i < n && st == OK; i++) {
        const struct item *x = &items[i];
        if (x->due_us / HOUR_US != hour) { /* nobody holds an event back for more than an hour */
            st = flush_all(d, err);
            hour = x->due_us / HOUR_US;
            pace(d, x->due_us);
        }
        if (st != OK) break;
        if (d->options.rate > 0) pace(d, 0);
        if (x->to > TO_STOCK) {
            st = send_file(d, x->to, text->p + x->start, x->n, err);
        } else {
            count_event(d, x->to, x->dirt);
            st = send_event(d, x->to, str_make(text->p + x->start, x->n), err);
        }
    }
    return st == OK ? flush_all(d, err) : st;
}

static int by_due(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->due_us != y->due_us) return x->due_us < y->due_us ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void compact(struct delivery *d, size_t sent) {
    struct buf text = BUF_INIT;
    for (size_t i = sent; i < d->n; i++) {
        size_t start = text.n;
        buf_put(&text, d->text.p + d->items[i].start, d->items[i].n);
        d->items[i].start = start;
        d->items[i - sent] = d->items[i];
    }
    d->n -= sent;
    buf_free(&d->text);
    d->text = text;
}

enum status delivery_until(struct delivery *d, int64_t until_us, struct err *err) {
    if (d->options.order == SHUFFLED && until_us < INT64_MAX) return OK; /* all of it must be known before the first is sent */
    if (d->n) qsort(d->items, d->n, sizeof *d->items, by_due);
    size_t due = 0;
    while (due < d->n && d->items[due].due_us < until_us) due++;
    enum status st = send_items(d, d->items, due, &d->text, err);
    if (st == OK) compact(d, due);
    return st;
}

enum status delivery_finish(struct delivery *d, struct err *err) {
    size_t kept = 0;
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].at_us < d->options.end_us) d->items[kept++] = d->items[i]; /* the rest has not happened yet */
    d->n = kept;
    enum status st = delivery_until(d, INT64_MAX, err);
    if (st != OK || d->replay_n == 0) return st;
    d->replaying = true;
    qsort(d->replay, d->replay_n, sizeof *d->replay, by_due);
    return send_items(d, d->replay, d->replay_n, &d->replay_text, err);
}
