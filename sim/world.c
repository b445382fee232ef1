/* The shop: what it sells, where, from which stock, and when people come. */
#include "base/assert.h"
#include "sim.h"

#include <stdio.h>

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

int hour_of(struct rng *r, char curve) {
    const double *hours = curve == 's' ? shop_hours : curve == 'w' ? web_hours : call_hours;
    double total = 0;
    for (int i = 0; i < HOURS; i++) total += hours[i];
    return (int)rng_weighted(r, hours, HOURS, total);
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
    w->popularity[index] = 1.0 / (1.0 + rng_below(r, PRODUCTS)); /* few sell a lot, many a little */
    w->popularity_total += w->popularity[index];
}

void world_make(struct world *w, uint64_t seed) {
    *w = (struct world){.seed = seed};
    struct rng r = rng_make(seed, "world", 0);
    for (int i = 0; i < PRODUCTS; i++) make_product(w, i, &r);
    for (int i = 0; i < STORES; i++) w->stores[i] = stores[i];
    for (int i = 0; i < PRODUCTS; i++) {
        for (int k = 0; k < WAREHOUSES; k++) {
            w->threshold[i][k] = 5 + (int)(w->popularity[i] * 60) + (int)rng_below(&r, 10);
            w->stock[i][k] = w->threshold[i][k] * 2 + (int)rng_below(&r, 120);
        }
    }
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
    for (int i = 0; i < PRODUCTS; i++) {
        const struct product *p = &w->products[i];
        buf_printf(products_csv, "%d,%s,", p->id, p->sku);
        cell(products_csv, p->name, ',');
        buf_printf(products_csv, "%s,%lld.%02lld\n", category_name(p->category), (long long)(p->cost_cents / 100), (long long)(p->cost_cents % 100));
    }
    buf_text(categories_csv, "segment,category\nc,category\np,product\ncart,checkout\ncheckout,checkout\nsearch,search\naccount,account\nblog,content\n");
}
