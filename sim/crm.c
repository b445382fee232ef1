/* Customer interactions: calls, chats, loyalty, and cases that are opened, updated and mostly resolved. */
#include "sim.h"

#include <stdio.h>

enum { INTERACTIONS_PER_DAY = 1100 };

static const char *const types[] = {"inquiry", "complaint", "feedback", "loyalty", "loyalty", "return", "delivery"};
static const char *const channels[] = {"phone", "email", "chat", "store", "Chat", "whatsapp"};
static const char *const words[] = {
    "Where is my order?",
    "Kargom nerede?",
    "Love the fabric \\u2764",
    "Größe passt nicht",
    "Points missing on my card",
    "Çok teşekkürler!",
    "Box arrived \\\"damaged\\\"",
};

struct interaction {
    int customer;
    const char *type, *channel;
    char case_id[24];
    const char *status;
    int rating; /* 0: none */
    int64_t at_us;
};

static void put_interaction(const struct day *day, struct feed *f, struct rng *r, const struct interaction *x) {
    size_t start = f->text.n;
    buf_printf(&f->text, "{\"customer_id\":%d,\"interaction_type\":\"%s\"", x->customer, x->type);
    if (!day->dirt || !rng_chance(r, 0.03)) buf_printf(&f->text, ",\"channel\":\"%s\"", x->channel);
    if (x->rating)
        buf_printf(&f->text, day->dirt && rng_chance(r, 0.3) ? ",\"rating\":\"%d\"" : ",\"rating\":%d", day->dirt && rng_chance(r, 0.01) ? 9 : x->rating);
    if (rng_chance(r, 0.4)) buf_printf(&f->text, ",\"message_excerpt\":\"%s\"", words[rng_below(r, 7)]);
    if (x->case_id[0]) buf_printf(&f->text, ",\"case_id\":\"%s\",\"case_status\":\"%s\"", x->case_id, x->status);
    buf_printf(&f->text, ",\"timestamp\":%lld.%03lld}", (long long)(x->at_us / 1000000), (long long)(x->at_us / 1000 % 1000));
    feed_add(f, x->at_us, start);
}

static void case_steps(const struct day *day, struct feed *f, struct rng *r, struct interaction x, int number) {
    snprintf(x.case_id, sizeof x.case_id, "C%lld-%04d", (long long)day->number, number);
    x.status = "opened";
    x.rating = 0;
    put_interaction(day, f, r, &x);
    for (uint32_t i = rng_below(r, 3); i > 0; i--) {
        x.at_us += (int64_t)(600 + rng_below(r, 7200)) * 1000000;
        x.status = "updated";
        put_interaction(day, f, r, &x);
    }
    if (!rng_chance(r, 0.8)) return;
    x.at_us += (int64_t)(900 + rng_below(r, 14400)) * 1000000;
    x.status = day->dirt && rng_chance(r, 0.1) ? "Resolved " : "resolved";
    x.rating = (int)(1 + rng_below(r, 5));
    put_interaction(day, f, r, &x);
}

void crm_day(const struct day *day, struct feed *feed) {
    struct rng r = rng_make(day->world->seed, "crm", day->number);
    int n = (int)(INTERACTIONS_PER_DAY * weekday_factor(day->number));
    for (int i = 0; i < n; i++) {
        struct interaction x = {.customer = (int)(1 + rng_below(&r, 6000)), .type = types[rng_below(&r, 7)], .channel = channels[rng_below(&r, 6)]};
        x.at_us = day->number * DAY_US + hour_of(&r, 'c') * HOUR_US + (int64_t)rng_below(&r, 3600000) * 1000;
        x.rating = rng_chance(&r, 0.4) ? (int)(2 + rng_below(&r, 4)) : 0;
        if (rng_chance(&r, 0.15))
            case_steps(day, feed, &r, x, i + 1);
        else
            put_interaction(day, feed, &r, &x);
    }
    feed_sort(feed);
}
