/* Web traffic: visitors that look, search, fill a cart and sometimes buy; some leave after a page, some go for lunch, some stay over midnight, some come back
 * the next day with the same session. */
#include "sim.h"

#include <stdio.h>

enum { SESSIONS_PER_DAY = 4200 };

struct visit {
    char id[24];
    int user; /* 0: not logged in */
    const char *device, *browser;
    int64_t at_us;
};

static const char *const devices[] = {"mobile", "mobile", "mobile", "iPhone", "desktop", "desktop", "tablet", "smart-tv"};
static const char *const browsers[] = {"Chrome", "Chrome", "Chrome", "Safari", "Safari", "Firefox", "Edge", "Samsung Internet"};
static const char *const looks[] = {
    "page_view", "page_view", "page_view", "page_view", "page_view", "click", "click", "scroll", "scroll", "form_submit", "share", "video_play"};
static const enum dirt turns[] = {DIRT_WEB_USER_NULL, DIRT_WEB_USER_QUOTED, DIRT_WEB_WHOLE_URL, DIRT_WEB_NO_SESSION, DIRT_WEB_CASE, DIRT_WEB_NO_OPTIONAL,
    DIRT_WEB_NO_PAGE, DIRT_WEB_WHOLE_URL, DIRT_WEB_USER_NULL, DIRT_WEB_EXTRA, DIRT_WEB_TIME_UNREADABLE, DIRT_WEB_USER_QUOTED, DIRT_WEB_USER_UNREADABLE,
    DIRT_WEB_LATE, DIRT_WEB_FUTURE, DIRT_WEB_TIME_TEXT};

static void put_user(struct buf *b, struct rng *r, const struct visit *v, enum dirt dirt) {
    static const char *const nulls[] = {"\"null\"", "\"NaN\"", "\"\"", "\" NULL \""};
    buf_text(b, ",\"user_id\":");
    if (dirt == DIRT_WEB_USER_NULL)
        buf_text(b, nulls[rng_below(r, 4)]);
    else if (dirt == DIRT_WEB_USER_UNREADABLE)
        buf_text(b, "\"guest\"");
    else if (!v->user)
        buf_text(b, "null");
    else
        buf_printf(b, dirt != DIRT_WEB_USER_QUOTED ? "%d" : rng_chance(r, 0.5) ? "\" %d\"" : "%d.0", v->user);
}

static void put_time(struct buf *b, const struct visit *v, enum dirt dirt) {
    int64_t at_us = v->at_us - (dirt == DIRT_WEB_LATE ? 2 * DAY_US : 0) + (dirt == DIRT_WEB_FUTURE ? 3650 * DAY_US : 0);
    const char *quote = dirt == DIRT_WEB_TIME_TEXT ? "\"" : "";
    if (dirt == DIRT_WEB_TIME_UNREADABLE)
        buf_text(b, ",\"timestamp\":\"yesterday\"}");
    else
        buf_printf(b, ",\"timestamp\":%s%lld.%03lld%s}", quote, (long long)(at_us / SECOND_US), (long long)(at_us / 1000 % 1000), quote);
}

static void put_event(const struct day *day, struct rng *r, const struct visit *v, const char *page, const char *type) {
    struct buf *b = delivery_text(day->delivery);
    size_t start = b->n;
    enum dirt dirt = dirt_draw(day, r, TO_WEB, 0.04, turns, sizeof turns / sizeof turns[0]);
    bool whole = dirt == DIRT_WEB_WHOLE_URL, odd = dirt == DIRT_WEB_CASE;
    buf_printf(b, "{\"session_id\":\"%s\"", dirt == DIRT_WEB_NO_SESSION ? (rng_chance(r, 0.5) ? "" : "null") : v->id);
    put_user(b, r, v, dirt);
    if (dirt != DIRT_WEB_NO_PAGE)
        buf_printf(b, ",\"page\":\"%s%s%s\"", whole ? "https://Shop.example" : "", page, !whole || strchr(page, '?') ? "" : "/?utm_source=mail#top");
    if (dirt != DIRT_WEB_NO_OPTIONAL) buf_printf(b, ",\"device_type\":\"%s\",\"browser\":\"%s\"", odd ? " MOBİLE" : v->device, v->browser);
    buf_printf(b, ",\"event_type\":\"%s\"", !odd ? type : rng_chance(r, 0.5) ? " Add_To_Cart" : "SCROLL\\t");
    if (day->campaign.on && rng_chance(r, 0.1)) buf_printf(b, ",\"campaign\":\"%s\"", day->campaign.name);
    if (dirt == DIRT_WEB_EXTRA) buf_printf(b, ",\"utm\":{\"source\":\"newsletter\",\"tags\":[\"spring\",\"ümlaut ✓\"]}");
    put_time(b, v, dirt);
    delivery_event(day->delivery, TO_WEB, v->at_us, start, dirt);
}

static void page_of(const struct day *day, struct rng *r, bool first, char *page, size_t size) {
    static const char *const words[] = {"elbise", "linen", "çanta", "black shoes", "gift"};
    const struct product *p = &day->world->products[product_of(day, r)];
    double x = rng_unit(r);
    if (first && x < 0.45)
        snprintf(page, size, "/");
    else if (x < 0.28)
        snprintf(page, size, "/c/%s?page=%u", category_name(p->category), 1 + rng_below(r, 4));
    else if (x < 0.38)
        snprintf(page, size, "/search?q=%s", words[rng_below(r, 5)]);
    else if (x < 0.42)
        snprintf(page, size, "/blog/%d/%s", 1 + p->id % 9, category_name(p->category));
    else if (x < 0.44)
        snprintf(page, size, "/about");
    else
        snprintf(page, size, "/p/%s", p->sku);
}

/* What follows a full cart. */
static void buy(const struct day *day, struct rng *r, struct visit *v) {
    static const char *const pages[] = {"/cart", "/checkout/address", "/checkout/payment", "/checkout/done"};
    for (int i = 0; i < 4; i++) {
        put_event(day, r, v, pages[i], i == 3 ? "purchase" : i == 1 ? "form_submit" : "page_view");
        if (i < 3 && rng_chance(r, 0.2)) return; /* left in the middle */
        v->at_us += (int64_t)(5000 + rng_below(r, 60000)) * 1000;
    }
}

static void session(const struct day *day, struct rng *r, int number) {
    struct visit v = {
        .user = rng_chance(r, 0.35) ? (int)(1 + rng_below(r, 6000)) : 0, .device = devices[rng_below(r, 8)], .browser = browsers[rng_below(r, 8)]};
    snprintf(v.id, sizeof v.id, "S%lld-%05d", (long long)(day->number - (number % 50 == 0)), number); /* every 50th has kept yesterday's cookie */
    v.at_us = moment_of(day, r, 'w');
    uint32_t steps = rng_chance(r, day->campaign.on ? 0.38 : 0.32) ? 1 : 1 + rng_geometric(r, 5.5, 60);
    char page[160];
    bool cart = false;
    for (uint32_t i = 0; i < steps; i++) {
        page_of(day, r, i == 0, page, sizeof page);
        bool add = page[1] == 'p' && rng_chance(r, 0.12);
        cart = cart || add;
        put_event(day, r, &v, page, add ? "add_to_cart" : looks[rng_below(r, 12)]);
        v.at_us += (int64_t)(2000 + rng_below(r, 90000)) * 1000;
        if (rng_chance(r, 0.01)) v.at_us += HOUR_US; /* lunch: a new session by the definition of 30 minutes */
        if (rng_chance(r, 0.01)) v.at_us += 29 * 60 * SECOND_US; /* a long call: perhaps the same one */
    }
    if (cart && rng_chance(r, 0.5)) buy(day, r, &v);
}

void web_day(const struct day *day) {
    struct rng r = rng_make(day->world->seed, "web", day->number);
    int sessions = (int)scaled(day, SESSIONS_PER_DAY);
    for (int i = 0; i < sessions; i++) session(day, &r, i + 1);
}
