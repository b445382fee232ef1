/* The shop: what it sells, where, from which stock, and when people come: hours, weekdays, seasons and campaigns. */
#include "base/assert.h"
#include "base/times.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define UNITS_PER_DAY 16000.0 /* at scale 1 */

static const char *const categories[CATEGORIES] = {"dresses", "shirts", "trousers", "shoes", "bags", "jewellery", "outdoor", "home"};
static const char *const articles[CATEGORIES][4] = {
    {"Wrap Dress", "Shirt Dress", "Evening Dress", "Summer Dress"},
    {"Oxford Shirt", "Linen Shirt", "Polo", "Silk Blouse"},
    {"Chinos", "Jeans", "Wool Trousers", "Shorts"},
    {"Loafers", "Sneakers", "Ankle Boots", "Sandals"},
    {"Tote", "Backpack", "Clutch", "Weekender"},
    {"Earrings", "Bracelet", "Necklace", "Ring"},
    {"Parka", "Rain Jacket", "Fleece", "Hiking Boots"},
    {"Cushion", "Throw", "Vase", "Candle"},
};
static const char *const looks[] = {
    "Ecru", "Black", "Navy", "Rosé", "Olive", "Sand", "Crème", "Burgundy", "Grey", "Ivory", "Teal", "Indigo", "Rust", "Sage", "Plum"};
/* Price of the cheapest article of a category, and of the dearest. */
static const int64_t price_range[CATEGORIES][2] = {
    {4900, 39900},
    {2900, 14900},
    {3900, 18900},
    {5900, 34900},
    {3900, 59900},
    {1900, 89900},
    {5900, 44900},
    {990, 12900},
};
static const struct store stores[STORES] = {
    {1, "Istanbul Nisantasi", "marmara", 1, 1.9},
    {2, "İstanbul Kadıköy", "marmara", 1, 1.5},
    {3, "Bursa", "marmara", 1, 0.8},
    {4, "Izmir Alsancak", "aegean", 2, 1.2},
    {5, "Muğla Bodrum", "aegean", 2, 0.7},
    {6, "Ankara Çankaya", "anatolia", 3, 1.3},
    {7, "Eskisehir", "anatolia", 3, 0.6},
    {8, "Antalya", "mediterranean", 4, 1.0},
    {9, "Adana", "mediterranean", 4, 0.7},
    {10, "Airport Kiosk", "marmara", 1, 0.5},
    {11, "Köln Ehrenstraße", "abroad", 2, 0.6},
    {12, "Web Shop", "online", 1, 2.4},
};
/* Share of the day's visits per hour. */
static const double shop_hours[HOURS] = {0, 0, 0, 0, 0, 0, 0, 0, 0.1, 1, 3, 5, 7, 6.5, 5, 5, 6, 8, 9, 7, 4, 1.5, 0, 0};
static const double web_hours[HOURS] = {2, 1, 0.6, 0.4, 0.3, 0.4, 1, 2, 3, 4, 4.5, 5, 6, 5.5, 5, 5, 5, 5.5, 6, 7, 9, 10, 8, 4};
static const double call_hours[HOURS] = {0, 0, 0, 0, 0, 0, 0, 1, 4, 9, 11, 10, 7, 8, 9, 9, 8, 7, 5, 3, 1, 0.5, 0, 0};

const char *category_name(int category) {
    must(category >= 0 && category < CATEGORIES);
    return categories[category];
}

double weekday_factor(int64_t day) {
    static const double factors[7] = {1.0, 1.0, 1.15, 1.35, 1.25, 0.8, 0.85}; /* 1970-01-01 was a Thursday: Thu … Wed */
    return factors[day % 7];
}

/* How much a category is wanted, by month. */
static const double seasons[CATEGORIES][12] = {
    {0.7, 0.8, 1.0, 1.2, 1.5, 1.6, 1.5, 1.3, 1.0, 0.8, 0.8, 1.1},
    {0.9, 0.9, 1.0, 1.1, 1.2, 1.2, 1.1, 1.0, 1.1, 1.0, 0.9, 1.0},
    {1.0, 1.0, 1.1, 1.0, 0.9, 0.8, 0.8, 0.9, 1.2, 1.2, 1.1, 1.0},
    {0.9, 0.9, 1.1, 1.2, 1.2, 1.1, 1.0, 1.0, 1.3, 1.2, 1.1, 1.1},
    {0.9, 1.0, 1.0, 1.0, 1.1, 1.0, 0.9, 0.9, 1.1, 1.0, 1.1, 1.5},
    {0.8, 1.4, 1.0, 0.9, 1.2, 1.0, 0.9, 0.9, 0.9, 0.9, 1.2, 2.0},
    {1.5, 1.4, 1.1, 0.8, 0.6, 0.5, 0.5, 0.6, 1.1, 1.5, 1.7, 1.6},
    {1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 1.0, 1.1, 1.3, 1.7},
};

int64_t moment_of(const struct day *day, struct rng *r, char curve) {
    const double *hours = curve == 's' ? shop_hours : curve == 'w' ? web_hours : call_hours;
    double total = 0;
    for (int i = 0; i < HOURS; i++) total += hours[i];
    int64_t hour = rng_weighted(r, hours, HOURS, total);
    return day->number * DAY_US + hour * HOUR_US + (int64_t)rng_below(r, 3600000) * 1000;
}

uint32_t product_of(const struct day *day, struct rng *r) { return rng_weighted(r, day->weights, day->world->products_n, day->weights_total); }

uint32_t scaled(const struct day *day, double per_day) {
    double n = per_day * day->world->scale * weekday_factor(day->number) * (day->campaign.on ? 1.2 : 1.0);
    return n < 1 ? 1 : (uint32_t)n;
}

/* In every nine days three or four belong to a campaign for one category. */
static struct campaign campaign_of(const struct world *w, int64_t day) {
    struct rng r = rng_make(w->seed, "campaign", day / 9);
    int64_t from = day / 9 * 9 + rng_below(&r, 5), days = 3 + rng_below(&r, 2);
    struct campaign c = {.on = day >= from && day < from + days, .category = (int)rng_below(&r, CATEGORIES), .discount_pct = 10 + 5 * (int)rng_below(&r, 4)};
    snprintf(c.name, sizeof c.name, "%s-%lld", categories[c.category], (long long)(day / 9));
    return c;
}

void day_begin(struct day *day) {
    const struct world *w = day->world;
    struct civil civil = time_civil_ms(day->number * (DAY_US / 1000));
    must(civil.month >= 1 && civil.month <= 12);
    day->campaign = campaign_of(w, day->number);
    day->weights_total = 0;
    for (uint32_t i = 0; i < w->products_n; i++) {
        int category = w->products[i].category;
        day->weights[i] = w->popularity[i] * seasons[category][civil.month - 1] * (day->campaign.on && day->campaign.category == category ? 2.2 : 1.0);
        day->weights_total += day->weights[i];
    }
}

enum dirt dirt_draw(const struct day *day, struct rng *r, enum channel feed, double probability, const enum dirt *kinds, size_t n) {
    must(feed < CHANNELS && n > 0);
    if (!day->dirt || !rng_chance(r, probability)) return DIRT_NONE;
    return kinds[day->world->dirt_turn[feed]++ % n];
}

static void make_product(struct world *w, int index, struct rng *r) {
    struct product *p = &w->products[index];
    p->id = 1001 + index;
    p->category = index % CATEGORIES;
    int article = index / CATEGORIES % 4, look = index % 15;
    snprintf(p->sku, sizeof p->sku, "%.2s-%04d", categories[p->category], p->id);
    snprintf(p->name, sizeof p->name, "%s %s", articles[p->category][article], looks[look]);
    const int64_t *range = price_range[p->category];
    int64_t price = range[0] + (int64_t)((double)(range[1] - range[0]) * rng_unit(r) * rng_unit(r));
    p->price_cents = price / 1000 * 1000 + 990; /* prices end in 9.90 */
    p->cost_cents = (int64_t)((double)p->price_cents * (0.32 + 0.25 * rng_unit(r)));
    w->popularity[index] = 1.0 / (4.0 + rng_below(r, w->products_n)); /* few sell a lot, many a little */
}

/* Goods are ordered when two days' demand is left and come after one to four days, so the shelf is empty now and then. */
static void make_stock(struct world *w, struct rng *r) {
    double popularity = 0, weight = 0, share[WAREHOUSES] = {0};
    for (uint32_t i = 0; i < w->products_n; i++) popularity += w->popularity[i];
    for (int i = 0; i < STORES; i++) {
        weight += w->stores[i].weight;
        share[w->stores[i].warehouse_id - 1] += w->stores[i].weight;
    }
    for (uint32_t i = 0; i < w->products_n; i++) {
        for (int k = 0; k < WAREHOUSES; k++) {
            double daily = UNITS_PER_DAY * w->scale * w->popularity[i] / popularity * share[k] / weight;
            w->threshold[i][k] = 4 + (int)(daily * 2.2) + (int)rng_below(r, 6);
            w->lot[i][k] = 10 + (int)(daily * 6);
            w->stock[i][k] = w->threshold[i][k] + (int)(daily * (1 + 4 * rng_unit(r)));
        }
    }
}

void world_make(struct world *w, uint64_t seed, double scale) {
    *w = (struct world){.seed = seed,
        .scale = scale,
        .products_n = scale >= 1 ? PRODUCTS_MAX
            : scale <= 0.2       ? PRODUCTS_MAX / 5
                                 : (uint32_t)(PRODUCTS_MAX * scale)};
    struct rng r = rng_make(seed, "world", 0);
    for (uint32_t i = 0; i < w->products_n; i++) make_product(w, (int)i, &r);
    for (int i = 0; i < STORES; i++) w->stores[i] = stores[i];
    make_stock(w, &r);
}

void world_free(struct world *w) {
    free(w->corrections.at);
    w->corrections = (struct lines){0};
}

/* A CSV cell: quoted when it has to be. */
static void cell(struct buf *b, const char *text, char end) {
    bool quote = text[0] == 0;
    for (const char *p = text; *p; p++) quote = quote || *p == ',' || *p == '"';
    if (quote) buf_char(b, '"');
    buf_text(b, text);
    if (quote) buf_char(b, '"');
    buf_char(b, end);
}

void world_reference(const struct world *w, struct buf *stores_csv, struct buf *products_csv, struct buf *categories_csv) {
    buf_text(stores_csv, "store_id,name,region,warehouse_id\n");
    for (int i = 0; i < STORES; i++) {
        buf_printf(stores_csv, "%d,", w->stores[i].id);
        cell(stores_csv, w->stores[i].name, ',');
        buf_printf(stores_csv, "%s,%d\n", w->stores[i].region, w->stores[i].warehouse_id);
    }
    buf_text(products_csv, "product_id,sku,name,category,unit_cost\n");
    for (uint32_t i = 0; i < w->products_n; i++) {
        const struct product *p = &w->products[i];
        buf_printf(products_csv, "%d,%s,", p->id, p->sku);
        cell(products_csv, p->name, ',');
        buf_printf(products_csv, "%s,%lld.%02lld\n", category_name(p->category), (long long)(p->cost_cents / 100), (long long)(p->cost_cents % 100));
    }
    buf_text(categories_csv, "segment,category\nc,category\np,product\ncart,checkout\ncheckout,checkout\nsearch,search\naccount,account\nblog,content\n");
}
