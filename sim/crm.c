/* Customer interactions: calls, chats, loyalty, and cases that are opened, updated, mostly resolved after hours or days, and sometimes opened again. */
#include "sim.h"

#include <stdio.h>

enum { INTERACTIONS_PER_DAY = 1100 };

static const char *const types[] = {"inquiry", "complaint", "feedback", "loyalty", "loyalty", "return", "delivery"};
static const char *const channels[] = {"phone", "email", "chat", "store", "chat", "whatsapp"};
static const char *const words[] = {
    "Where is my order?",
    "Kargom nerede?",
    "Love the fabric \\u2764",
    "Größe passt nicht",
    "Points missing on my card",
    "Çok teşekkürler!",
    "Box arrived \\\"damaged\\\"",
};
static const enum dirt turns[] = {DIRT_CRM_RATING_TEXT, DIRT_CRM_NO_CHANNEL, DIRT_CRM_CASE, DIRT_CRM_RATING_RANGE, DIRT_CRM_NO_CUSTOMER, DIRT_CRM_LONG,
    DIRT_CRM_RATING_FRACTION, DIRT_CRM_LATE, DIRT_CRM_FUTURE, DIRT_CRM_CUSTOMER_UNREADABLE, DIRT_CRM_CASE};

struct interaction {
    int customer;
    const char *type, *channel;
    char case_id[24];
    const char *status;
    int rating; /* 0: none */
    int64_t at_us;
};

static void put_rating(struct buf *b, int rating, enum dirt dirt) {
    static const char *const odd[] = {"9", "0", "\"-1\""};
    if (dirt == DIRT_CRM_RATING_TEXT)
        buf_text(b, ",\"rating\":\"5\"");
    else if (dirt == DIRT_CRM_RATING_RANGE)
        buf_printf(b, ",\"rating\":%s", odd[rating % 3]);
    else if (dirt == DIRT_CRM_RATING_FRACTION)
        buf_text(b, ",\"rating\":3.5");
    else if (rating)
        buf_printf(b, ",\"rating\":%d", rating);
}

static void put_message(struct buf *b, struct rng *r, enum dirt dirt) {
    if (dirt != DIRT_CRM_LONG && !rng_chance(r, 0.4)) return;
    const char *text = words[rng_below(r, 7)];
    buf_printf(b, ",\"message_excerpt\":\"%s", text);
    for (int i = 0; dirt == DIRT_CRM_LONG && i < 90; i++) buf_printf(b, " ş%s", text);
    buf_char(b, '"');
}

static void put_interaction(const struct day *day, struct rng *r, const struct interaction *x) {
    struct buf *b = delivery_text(day->delivery);
    size_t start = b->n;
    enum dirt dirt = dirt_draw(day, r, TO_CRM, 0.06, turns, sizeof turns / sizeof turns[0]);
    bool odd = dirt == DIRT_CRM_CASE;
    int64_t at_us = x->at_us - (dirt == DIRT_CRM_LATE ? 3 * DAY_US : 0) + (dirt == DIRT_CRM_FUTURE ? 3650 * DAY_US : 0);
    if (dirt == DIRT_CRM_NO_CUSTOMER)
        buf_text(b, "{\"customer_id\":null");
    else
        buf_printf(b, "{\"customer_id\":%d%s", x->customer, dirt == DIRT_CRM_CUSTOMER_UNREADABLE ? ".5" : "");
    buf_printf(b, ",\"interaction_type\":\"%s\"", odd ? " Loyalty" : x->type);
    if (dirt != DIRT_CRM_NO_CHANNEL) buf_printf(b, ",\"channel\":\"%s\"", odd ? "WhatsApp " : x->channel);
    put_rating(b, x->rating, dirt);
    put_message(b, r, dirt);
    if (x->case_id[0]) buf_printf(b, ",\"case_id\":\"%s\",\"case_status\":\"%s%s\"", x->case_id, x->status, odd ? " " : "");
    buf_printf(b, ",\"timestamp\":%lld.%03lld}", (long long)(at_us / SECOND_US), (long long)(at_us / 1000 % 1000));
    delivery_event(day->delivery, TO_CRM, x->at_us, start, dirt);
}

static void step(const struct day *day, struct rng *r, struct interaction *x, const char *status, int64_t after_us) {
    x->at_us += after_us;
    x->status = status;
    x->rating = status[0] == 'r' && rng_chance(r, 0.7) ? (int)(1 + rng_below(r, 5)) : 0;
    put_interaction(day, r, x);
}

/* What happens later is queued now and sent on its day. */
static void case_steps(const struct day *day, struct rng *r, struct interaction x, int number) {
    snprintf(x.case_id, sizeof x.case_id, "C%lld-%04d", (long long)day->number, number);
    step(day, r, &x, "opened", 0);
    for (;;) {
        for (uint32_t i = rng_below(r, 3); i > 0; i--) step(day, r, &x, "updated", (int64_t)(600 + rng_below(r, 7200)) * SECOND_US);
        if (!rng_chance(r, 0.85)) return;
        bool slow = rng_chance(r, 0.25); /* days instead of hours */
        step(day, r, &x, "resolved", (int64_t)(900 + rng_below(r, slow ? 400000 : 14400)) * SECOND_US);
        if (!rng_chance(r, 0.1)) return;
        step(day, r, &x, "opened", (int64_t)(3600 + rng_below(r, 200000)) * SECOND_US);
    }
}

void crm_day(const struct day *day) {
    struct rng r = rng_make(day->world->seed, "crm", day->number);
    int n = (int)scaled(day, INTERACTIONS_PER_DAY);
    for (int i = 0; i < n; i++) {
        struct interaction x = {.customer = (int)(1 + rng_below(&r, 6000)), .type = types[rng_below(&r, 7)], .channel = channels[rng_below(&r, 6)]};
        x.at_us = moment_of(day, &r, 'c');
        x.rating = rng_chance(&r, 0.4) ? (int)(2 + rng_below(&r, 4)) : 0;
        if (rng_chance(&r, 0.15))
            case_steps(day, &r, x, i + 1);
        else
            put_interaction(day, &r, &x);
    }
}
