/* Web traffic: sessions that look, search, fill a cart and sometimes buy. */
#include "sim.h"

#include <stdio.h>

enum { SESSIONS_PER_DAY = 4200 };

struct visit {
    char id[24];
    int user; /* 0: not logged in */
    const char *device, *browser;
    int64_t at_us;
};

static const char *const devices[] = {"mobile", "mobile", "mobile", "Mobile", "desktop", "desktop", "tablet", "smart-tv"};
static const char *const browsers[] = {"Chrome", "Chrome", "Chrome", "Safari", "Safari", "Firefox", "Edge", "Samsung Internet"};

static void put_event(const struct day *day, struct feed *f, struct rng *r, const struct visit *v, const char *page, const char *type) {
    size_t start = f->text.n;
    buf_printf(&f->text, "{\"session_id\":\"%s\",\"user_id\":", v->id);
    if (v->user)
        buf_printf(&f->text, day->dirt && v->user % 7 == 0 ? "\"%d\"" : "%d", v->user);
    else
        buf_text(&f->text, day->dirt && rng_chance(r, 0.1) ? "\"null\"" : "null");
    buf_printf(&f->text, ",\"page\":\"%s\"", page);
    if (!day->dirt || !rng_chance(r, 0.02)) buf_printf(&f->text, ",\"device_type\":\"%s\"", v->device);
    buf_printf(&f->text, ",\"browser\":\"%s\",\"event_type\":\"%s\"", v->browser, type);
    if (day->dirt && rng_chance(r, 0.05)) buf_printf(&f->text, ",\"utm\":{\"source\":\"newsletter\",\"tags\":[\"spring\",\"ümlaut ✓\"]}");
    buf_printf(&f->text, ",\"timestamp\":%lld.%03lld}", (long long)(v->at_us / 1000000), (long long)(v->at_us / 1000 % 1000));
    feed_add(f, v->at_us, start);
}

static void page_of(const struct day *day, struct rng *r, int step, char *page, size_t size) {
    static const char *const words[] = {"elbise", "linen", "çanta", "black shoes", "gift"};
    const struct world *w = day->world;
    int product = (int)rng_weighted(r, w->popularity, PRODUCTS, w->popularity_total);
    double x = rng_unit(r);
    if (step == 0 && x < 0.45)
        snprintf(page, size, "/");
    else if (x < 0.3)
        snprintf(page, size, "/c/%s?page=%u", category_name(w->products[product].category), 1 + rng_below(r, 4));
    else if (x < 0.4)
        snprintf(page, size, "/search?q=%s", words[rng_below(r, 5)]);
    else if (day->dirt && x < 0.45)
        snprintf(page, size, "https://shop.example/P/%s/", w->products[product].sku);
    else
        snprintf(page, size, "/p/%s", w->products[product].sku);
}

static void session(const struct day *day, struct feed *f, struct rng *r, int number) {
    struct visit v = {
        .user = rng_chance(r, 0.35) ? (int)(1 + rng_below(r, 6000)) : 0, .device = devices[rng_below(r, 8)], .browser = browsers[rng_below(r, 8)]};
    snprintf(v.id, sizeof v.id, "s%lld-%05d", (long long)day->number, number);
    v.at_us = day->number * DAY_US + hour_of(r, 'w') * HOUR_US + (int64_t)rng_below(r, 3600000) * 1000;
    uint32_t steps = rng_chance(r, 0.32) ? 1 : 1 + rng_geometric(r, 5.5, 60);
    char page[160];
    bool cart = false;
    for (uint32_t i = 0; i < steps; i++) {
        page_of(day, r, (int)i, page, sizeof page);
        const char *type = rng_chance(r, 0.62) ? "page_view" : rng_chance(r, 0.5) ? "click" : rng_chance(r, 0.7) ? "scroll" : "form_submit";
        if (page[1] == 'p' && rng_chance(r, 0.12)) {
            type = "add_to_cart";
            cart = true;
        }
        put_event(day, f, r, &v, page, type);
        v.at_us += (int64_t)(2000 + rng_below(r, 90000)) * 1000;
        if (rng_chance(r, 0.01)) v.at_us += HOUR_US; /* lunch: a new session by the definition of 30 minutes */
    }
    if (cart && rng_chance(r, 0.45)) {
        put_event(day, f, r, &v, "/cart", "page_view");
        v.at_us += (int64_t)(5000 + rng_below(r, 60000)) * 1000;
        put_event(day, f, r, &v, "/checkout/done", "purchase");
    }
}

void web_day(const struct day *day, struct feed *feed) {
    struct rng r = rng_make(day->world->seed, "web", day->number);
    int sessions = (int)(SESSIONS_PER_DAY * weekday_factor(day->number));
    for (int i = 0; i < sessions; i++) session(day, feed, &r, i + 1);
    feed_sort(feed);
}
