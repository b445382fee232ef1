/* What is sold on a day, as far as the stock lasts, and what that does to the stock. */
#include "base/assert.h"
#include "base/mem.h"
#include "sim.h"

#include <stdlib.h>

enum { RECEIPTS_PER_DAY = 5200, LINES_MAX = 8, DELIVERY_HOUR = 5 };

void lines_add(struct lines *lines, struct line line) {
    if (lines->n == lines->cap) {
        lines->cap = lines->cap ? lines->cap * 2 : 1024;
        lines->at = mem_realloc(lines->at, lines->cap * sizeof *lines->at);
    }
    lines->at[lines->n++] = line;
}

static void wanted_line(const struct day *day, struct rng *r, struct line line, struct lines *wanted) {
    line.product = (int)product_of(day, r);
    line.quantity = (int)rng_geometric(r, 1.3, 6);
    const struct product *p = &day->world->products[line.product];
    bool campaign = day->campaign.on && day->campaign.category == p->category;
    int pct = campaign ? day->campaign.discount_pct : rng_chance(r, 0.12) ? 5 + 5 * (int)rng_below(r, 6) : 0;
    int64_t full = p->price_cents * line.quantity;
    line.discount_cents = full * pct / 100;
    line.revenue_cents = full - line.discount_cents;
    if (rng_chance(r, 0.03)) { /* brought back */
        line.quantity = -line.quantity;
        line.revenue_cents = -line.revenue_cents;
        line.discount_cents = -line.discount_cents;
    }
    lines_add(wanted, line);
}

static int by_time(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    if (x->at_us != y->at_us) return x->at_us < y->at_us ? -1 : 1;
    if (x->transaction != y->transaction) return x->transaction - y->transaction;
    return x->line_no - y->line_no;
}

static void receipts(const struct day *day, struct lines *wanted) {
    struct rng r = rng_make(day->world->seed, "pos", day->number);
    double weights[STORES], total = 0;
    for (int i = 0; i < STORES; i++) total += weights[i] = day->world->stores[i].weight;
    uint32_t n = scaled(day, RECEIPTS_PER_DAY);
    for (uint32_t i = 0; i < n; i++) {
        int store = (int)rng_weighted(&r, weights, STORES, total);
        struct line line = {.at_us = moment_of(day, &r, store == STORES - 1 ? 'w' : 's'), .transaction = (int)i + 1, .store = store};
        for (uint32_t k = rng_geometric(&r, 2.3, LINES_MAX); k > 0; k--) {
            line.line_no++;
            wanted_line(day, &r, line, wanted);
        }
    }
    if (wanted->n) qsort(wanted->at, wanted->n, sizeof *wanted->at, by_time);
}

static int status_of(int stock, int threshold) { return stock == 0 ? 0 : stock <= threshold ? 1 : stock <= 2 * threshold ? 2 : 3; }

static void move(const struct day *day, struct rng *r, int product, int warehouse, int units, int64_t at_us) {
    struct world *w = day->world;
    int *stock = &w->stock[product][warehouse], threshold = w->threshold[product][warehouse], before = status_of(*stock, threshold);
    must(*stock + units >= 0);
    *stock += units;
    if (*stock <= threshold && !w->due_day[product][warehouse]) w->due_day[product][warehouse] = day->number + 1 + rng_below(r, 4);
    if (status_of(*stock, threshold) != before || rng_chance(r, 0.02)) inventory_push(day, r, product, warehouse, at_us);
}

static void receive_goods(const struct day *day, struct rng *r) {
    struct world *w = day->world;
    for (uint32_t p = 0; p < w->products_n; p++) {
        for (int k = 0; k < WAREHOUSES; k++) {
            if (!w->due_day[p][k] || w->due_day[p][k] > day->number) continue;
            w->due_day[p][k] = 0;
            int64_t at_us = day->number * DAY_US + DELIVERY_HOUR * HOUR_US + (int64_t)rng_below(r, 3000000) * 1000;
            move(day, r, (int)p, k, w->lot[p][k] + (int)rng_below(r, 20), at_us);
        }
    }
}

/* What is there of it; nothing: the sale is lost. */
static bool fulfil(const struct day *day, struct rng *r, struct line *line) {
    int warehouse = day->world->stores[line->store].warehouse_id - 1, stock = day->world->stock[line->product][warehouse];
    if (line->quantity > stock) {
        day->truth->lost_sales++;
        if (stock == 0) return false;
        line->revenue_cents = line->revenue_cents / line->quantity * stock;
        line->discount_cents = line->discount_cents / line->quantity * stock;
        line->quantity = stock;
    }
    move(day, r, line->product, warehouse, -line->quantity, line->at_us + line->line_no * 1000); /* one after the other */
    return true;
}

static void keep_levels(struct world *w, int hour) {
    for (int p = 0; p < PRODUCTS_MAX; p++)
        for (int k = 0; k < WAREHOUSES; k++) w->level[hour][p][k] = w->stock[p][k];
}

void shop_day(const struct day *day, struct lines *sales) {
    struct rng r = rng_make(day->world->seed, "stock", day->number);
    struct lines wanted = {0};
    receipts(day, &wanted);
    size_t i = 0;
    sales->n = 0;
    for (int hour = 0; hour < HOURS; hour++) {
        if (hour == DELIVERY_HOUR) receive_goods(day, &r);
        int64_t end_us = day->number * DAY_US + (hour + 1) * HOUR_US;
        for (; i < wanted.n && wanted.at[i].at_us < end_us; i++)
            if (fulfil(day, &r, &wanted.at[i])) lines_add(sales, wanted.at[i]);
        keep_levels(day->world, hour);
    }
    free(wanted.at);
}
