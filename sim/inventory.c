/* Inventory: every hour all pairs of product and warehouse in a file; at once, by push, what ran low. */
#include "sim.h"

#include <stdio.h>

static void inventory_json(struct buf *b, const struct day *day, struct rng *r, int id, int product, int warehouse, int stock, int64_t at_us) {
    const char *quote = day->dirt && rng_chance(r, 0.1) ? "\"" : "";
    buf_printf(b, "{\"inventory_id\":%d,\"product_id\":%d,\"warehouse_id\":%d,\"stock_level\":%s%d%s,\"restock_threshold\":", id,
        day->world->products[product].id, warehouse + 1, quote, stock, quote);
    if (day->dirt && rng_chance(r, 0.05))
        buf_text(b, "null");
    else
        buf_printf(b, "%d", day->world->threshold[product][warehouse]);
    buf_printf(b, ",\"last_updated\":%lld}", (long long)(at_us / 1000000));
}

static void inventory_csv(struct buf *b, const struct day *day, struct rng *r, int id, int product, int warehouse, int stock, int64_t at_us) {
    buf_printf(b, "%d,%d,%d,%d,", id, day->world->products[product].id, warehouse + 1, stock);
    if (!day->dirt || !rng_chance(r, 0.05)) buf_printf(b, "%d", day->world->threshold[product][warehouse]);
    buf_printf(b, ",%lld\n", (long long)(at_us / 1000000));
}

/* Sells what the hour sold, receives goods at five in the morning. Returns true when the pair has just fallen to its threshold. */
static bool move_stock(struct world *w, struct rng *r, int hour, int product, int warehouse) {
    int *stock = &w->stock[product][warehouse], threshold = w->threshold[product][warehouse], before = *stock;
    *stock -= w->sold[hour][product][warehouse];
    if (*stock < 0) *stock = 0;
    if (hour == 5 && *stock <= threshold && rng_chance(r, 0.8)) *stock += threshold * 2 + (int)rng_below(r, 80);
    return before > threshold && *stock <= threshold;
}

enum status inventory_hour(const struct day *day, int hour, struct out *out, struct feed *pushes, struct truth *truth, struct err *err) {
    struct rng r = rng_make(day->world->seed, "inventory", day->number * HOURS + hour);
    bool as_json = hour % 3 == 2;
    int64_t at_us = day->number * DAY_US + (hour + 1) * HOUR_US - 1000000;
    BUF_SCOPE(text);
    if (!as_json) buf_text(&text, "inventory_id,product_id,warehouse_id,stock_level,restock_threshold,last_updated\n");
    for (int p = 0; p < PRODUCTS; p++) {
        for (int k = 0; k < WAREHOUSES; k++) {
            bool low = move_stock(day->world, &r, hour, p, k);
            int id = p * WAREHOUSES + k + 1, stock = day->world->stock[p][k];
            if (as_json) {
                inventory_json(&text, day, &r, id, p, k, stock, at_us);
                buf_text(&text, "\n");
            } else {
                inventory_csv(&text, day, &r, id, p, k, stock, at_us);
            }
            truth->inventory_rows++;
            if (low) {
                size_t start = pushes->text.n;
                int64_t seen_us = at_us - (int64_t)rng_below(&r, 3500) * 1000000;
                inventory_json(&pushes->text, day, &r, id, p, k, stock, seen_us);
                feed_add(pushes, seen_us, start);
            }
        }
    }
    char name[64];
    snprintf(name, sizeof name, "inventory_%sT%02d.%s", day->date, hour, as_json ? "ndjson" : "csv");
    enum status st = out_file(out, "inventory", name, buf_view(&text), err);
    if (st == OK) truth->inventory_files++;
    return st;
}
