/* Inventory: every hour all pairs of product and warehouse in a file, CSV, NDJSON or a JSON array; at once, by push, what changed its status. Warehouse 9 is a
 * depot that serves no store. */
#include "base/assert.h"
#include "sim.h"

#include <stdio.h>

enum format { CSV, UPPER_CSV, NO_THRESHOLD_CSV, NDJSON, JSON_ARRAY };
static const char *const headers[] = {
    "inventory_id,product_id,warehouse_id,stock_level,restock_threshold,last_updated\n",
    "LAST_UPDATED;Shelf;Stock_Level;WAREHOUSE_ID;Product_Id;Restock_Threshold;INVENTORY_ID\n",
    "inventory_id,product_id,warehouse_id,stock_level,last_updated\n",
    "",
    "[\n",
};

struct cells {
    char id[16], product[16], warehouse[16], stock[16], threshold[16], at[32];
};

static void put(char *out, const char *text) { snprintf(out, 16, "%s", text); }

static void stamp(struct cells *c, int64_t at_us) {
    if (at_us % SECOND_US)
        snprintf(c->at, sizeof c->at, "%lld.%03lld", (long long)(at_us / SECOND_US), (long long)(at_us / 1000 % 1000));
    else
        snprintf(c->at, sizeof c->at, "%lld", (long long)(at_us / SECOND_US));
}

static struct cells fill(int id, int product, int warehouse, int stock, int threshold, int64_t at_us) {
    struct cells c = {0};
    snprintf(c.id, sizeof c.id, "%d", id);
    snprintf(c.product, sizeof c.product, "%d", product);
    snprintf(c.warehouse, sizeof c.warehouse, "%d", warehouse);
    snprintf(c.stock, sizeof c.stock, "%d", stock);
    snprintf(c.threshold, sizeof c.threshold, "%d", threshold);
    stamp(&c, at_us);
    return c;
}

static const enum dirt turns[] = {DIRT_STOCK_NULL_THRESHOLD, DIRT_STOCK_QUOTED, DIRT_STOCK_FRACTION, DIRT_STOCK_NULL_THRESHOLD, DIRT_STOCK_NEGATIVE,
    DIRT_STOCK_ROW_AGAIN, DIRT_STOCK_NULL_THRESHOLD, DIRT_STOCK_LATE, DIRT_STOCK_LIMIT, DIRT_STOCK_OPTIONAL_UNREADABLE, DIRT_STOCK_UNKNOWN_PRODUCT,
    DIRT_STOCK_REQUIRED_MISSING, DIRT_STOCK_FUTURE};

static void soil(struct rng *r, enum dirt dirt, int64_t at_us, struct cells *c) {
    static const char *const nulls[] = {"", "null", "NaN", "\\N"};
    switch (dirt) {
    case DIRT_STOCK_NULL_THRESHOLD: put(c->threshold, nulls[rng_below(r, 4)]); break;
    case DIRT_STOCK_QUOTED: strncat(c->stock, rng_chance(r, 0.5) ? ".0" : "  ", 3); break;
    case DIRT_STOCK_OPTIONAL_UNREADABLE: put(c->threshold, "n/a"); break;
    case DIRT_STOCK_LATE: stamp(c, at_us - 3 * DAY_US - 1000 * SECOND_US); break;
    case DIRT_STOCK_UNKNOWN_PRODUCT: /* at a moment of its own: two of them in an hour are two observations */
        put(c->product, "99001");
        stamp(c, at_us - (int64_t)(1 + rng_below(r, 3599999)) * 1000);
        break;
    case DIRT_STOCK_FRACTION: put(c->stock, "3.5"); break;
    case DIRT_STOCK_NEGATIVE: put(c->stock, "-1"); break;
    case DIRT_STOCK_LIMIT: put(c->stock, "100001"); break;
    case DIRT_STOCK_REQUIRED_MISSING: put(c->warehouse, ""); break;
    case DIRT_STOCK_FUTURE: stamp(c, at_us + 3650 * DAY_US); break;
    default: break;
    }
}

static void json_cell(struct buf *b, const char *name, const char *text, const char *after) {
    bool plain = text[0] && strspn(text, "0123456789.-") == strlen(text);
    buf_printf(b, "\"%s\":", name);
    if (!text[0])
        buf_text(b, "null");
    else if (plain)
        buf_text(b, text);
    else
        buf_printf(b, "\"%s%s\"", text[0] == '\\' ? "\\" : "", text);
    buf_text(b, after);
}

static void json_row(struct buf *b, const struct cells *c) {
    buf_char(b, '{');
    json_cell(b, "inventory_id", c->id, ",");
    json_cell(b, "product_id", c->product, ",");
    json_cell(b, "warehouse_id", c->warehouse, ",");
    json_cell(b, "stock_level", c->stock, ",");
    json_cell(b, "restock_threshold", c->threshold, ",");
    json_cell(b, "last_updated", c->at, "}");
}

static void put_row(struct buf *b, enum format format, const struct cells *c) {
    if (format == CSV)
        buf_printf(b, "%s,%s,%s,%s,%s,%s\n", c->id, c->product, c->warehouse, c->stock, c->threshold, c->at);
    else if (format == UPPER_CSV)
        buf_printf(b, "%s;A-%s;%s;%s;%s;%s;%s\n", c->at, c->product, c->stock, c->warehouse, c->product, c->threshold, c->id);
    else if (format == NO_THRESHOLD_CSV)
        buf_printf(b, "%s,%s,%s,%s,%s\n", c->id, c->product, c->warehouse, c->stock, c->at);
    else {
        json_row(b, c);
        buf_text(b, format == NDJSON ? "\n" : ",\n");
    }
}

void inventory_push(const struct day *day, struct rng *r, int product, int warehouse, int64_t at_us) {
    const struct world *w = day->world;
    struct buf *b = delivery_text(day->delivery);
    size_t start = b->n;
    struct cells c = fill(
        product * WAREHOUSES + warehouse + 1, w->products[product].id, warehouse + 1, w->stock[product][warehouse], w->threshold[product][warehouse], at_us);
    enum dirt dirt = dirt_draw(day, r, TO_STOCK, 0.05, turns, sizeof turns / sizeof turns[0]);
    if (dirt == DIRT_STOCK_ROW_AGAIN) dirt = DIRT_STOCK_QUOTED; /* that is a matter of files */
    soil(r, dirt, at_us, &c);
    json_row(b, &c);
    delivery_event(day->delivery, TO_STOCK, at_us, start, dirt);
}

struct hour_file {
    const struct day *day;
    struct rng r;
    enum format format;
    int64_t at_us;
    int rows;
    struct buf text;
};

static void level_row(struct hour_file *f, int product, int warehouse, int stock, int threshold) {
    struct truth *t = f->day->truth;
    struct cells c = fill(++f->rows, product, warehouse, stock, threshold, f->at_us);
    enum dirt dirt = dirt_draw(f->day, &f->r, TO_STOCK_FILE, 0.02, turns, sizeof turns / sizeof turns[0]);
    soil(&f->r, dirt, f->at_us, &c);
    int times = dirt == DIRT_STOCK_ROW_AGAIN ? 2 : 1;
    for (int i = 0; i < times; i++) put_row(&f->text, f->format, &c);
    t->inventory_rows += (uint64_t)times;
    t->inventory_superseded += (uint64_t)times - 1;
    t->inventory_quarantined += dirt_quarantines(dirt);
    t->dirt[dirt]++;
}

static void send(struct hour_file *f, int hour) {
    static const char *const endings[] = {"csv", "csv", "csv", "ndjson", "json"};
    struct truth *t = f->day->truth;
    char name[64];
    if (f->format == JSON_ARRAY) {
        f->text.n -= 2; /* the last comma */
        buf_text(&f->text, "\n]\n");
    }
    snprintf(name, sizeof name, "inventory_%sT%02d.%s", f->day->date, hour, endings[f->format]);
    delivery_file(f->day->delivery, TO_STOCK_FILE, f->at_us, name, buf_view(&f->text));
    t->inventory_files++;
    t->dirt[DIRT_STOCK_HEADERS] += f->format == UPPER_CSV;
    t->dirt[DIRT_STOCK_NO_THRESHOLD] += f->format == NO_THRESHOLD_CSV;
    if (!f->day->dirt || hour != 17) return;
    snprintf(name, sizeof name, "inventory_%sT%02d_again.%s", f->day->date, hour, endings[f->format]);
    delivery_file(f->day->delivery, TO_STOCK_FILE, f->at_us + 5 * SECOND_US, name, buf_view(&f->text));
    t->dirt[DIRT_STOCK_FILE_AGAIN]++;
}

static enum format format_of(const struct day *day, int hour) {
    if (hour % 3 == 2) return NDJSON;
    if (!day->dirt) return CSV;
    return hour == 7 ? UPPER_CSV : hour == 10 ? NO_THRESHOLD_CSV : hour == 13 ? JSON_ARRAY : CSV;
}

static void inventory_hour(const struct day *day, int hour) {
    const struct world *w = day->world;
    struct hour_file f = {.day = day, .r = rng_make(w->seed, "inventory", day->number * HOURS + hour), .format = format_of(day, hour)};
    f.at_us = day->number * DAY_US + (hour + 1) * HOUR_US - SECOND_US;
    buf_text(&f.text, headers[f.format]);
    for (uint32_t p = 0; p < w->products_n; p++)
        for (int k = 0; k < WAREHOUSES; k++) level_row(&f, w->products[p].id, k + 1, w->level[hour][p][k], w->threshold[p][k]);
    for (uint32_t p = 0; p < DEPOT_PRODUCTS; p++) level_row(&f, w->products[p].id, DEPOT, 20 + (int)rng_below(&f.r, 4) + (int)(day->number % 3), 15);
    must(f.text.n > 2);
    send(&f, hour);
    buf_free(&f.text);
}

void inventory_day(const struct day *day) {
    for (int hour = 0; hour < HOURS; hour++) inventory_hour(day, hour);
}
