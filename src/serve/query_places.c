#include "serve/query_places.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "host/thread.h"

#define LOOK_MS 100 /* how often a waiting query looks whether its client is still there */

struct query_place {
    char *token;
    uint32_t running, waiting;
    struct query_place *next;
};

struct query_places {
    const struct host *host;
    mutex lock;
    condition changed;
    struct query_place *first; /* tokens with queries under way */
};

struct query_places *query_places_new(const struct host *host) {
    struct query_places *places = mem_zalloc(sizeof *places);
    places->host = host;
    mutex_init(&places->lock);
    condition_init(&places->changed);
    return places;
}

void query_places_free(struct query_places **at) {
    struct query_places *places = *at;
    if (!places) return;
    *at = NULL;
    must(!places->first);
    condition_destroy(&places->changed);
    mutex_destroy(&places->lock);
    free(places);
}

/* The lock is held. */
static struct query_place *place_of(struct query_places *places, const char *token) {
    struct query_place *p = places->first;
    while (p && strcmp(p->token, token) != 0) p = p->next;
    if (p) return p;
    p = mem_zalloc(sizeof *p);
    p->token = mem_strdup(token);
    p->next = places->first;
    places->first = p;
    return p;
}

/* The lock is held. */
static void forget_idle(struct query_places *places, struct query_place *p) {
    if (p->running || p->waiting) return;
    struct query_place **link = &places->first;
    while (*link != p) link = &(*link)->next;
    *link = p->next;
    free(p->token);
    free(p);
}

/* The lock is held; p->running is at its limit. */
static enum status wait_for_place(struct query_places *places, struct query_place *p, const struct query_place_wish *wish, struct err *err) {
    int64_t until_ms = host_monotonic_ms(places->host) + wish->wait_ms;
    if (wish->wait_ms <= 0 || p->waiting >= wish->limit)
        return err_set(err, E_BUSY, "token %s has %u queries running and %u waiting, its limit (sql.queries_per_token) is %u", p->token, p->running, p->waiting,
            wish->limit);
    enum status st = OK;
    p->waiting++;
    while (st == OK && p->running >= wish->limit) {
        int64_t left_ms = until_ms - host_monotonic_ms(places->host);
        if (left_ms <= 0)
            st = err_set(err, E_BUSY, "token %s has %u queries running, its limit (sql.queries_per_token), and none ended within %lld ms", p->token, p->running,
                (long long)wish->wait_ms);
        else if (wish->cancelled && wish->cancelled(wish->context))
            st = err_set(err, E_CANCELLED, "the query was cancelled");
        else
            condition_wait_ms(&places->changed, &places->lock, left_ms < LOOK_MS ? left_ms : LOOK_MS);
    }
    p->waiting--;
    return st;
}

enum status query_place_take(struct query_places *places, const struct query_place_wish *wish, struct query_place **out, struct err *err) {
    must(wish->token && wish->limit > 0);
    WITH_LOCK(&places->lock);
    struct query_place *p = place_of(places, wish->token);
    enum status st = p->running < wish->limit ? OK : wait_for_place(places, p, wish, err);
    if (st == OK) {
        p->running++;
        *out = p;
    }
    forget_idle(places, p);
    return st;
}

void query_place_give(struct query_places *places, struct query_place **at) {
    struct query_place *p = *at;
    if (!p) return;
    *at = NULL;
    WITH_LOCK(&places->lock);
    must(p->running > 0);
    p->running--;
    condition_broadcast(&places->changed);
    forget_idle(places, p);
}
