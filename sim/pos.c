/* Point of sale: the day's receipts as files. The big file is plain CSV; three stores send what their tills can: NDJSON with numbers in quotes, another order
 * of columns in UTF-16 with semicolons, and one without the discount column. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/times.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECEIPTS_PER_DAY = 5200, LINES_MAX = 8 };

struct line {
    int64_t at_us;
    int transaction, line_no, store, product, quantity;
    int64_t revenue_cents, discount_cents;
};
struct sales {
    struct line *lines;
    size_t n, cap;
};

static void add_line(struct sales *s, struct line line) {
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->lines = mem_realloc(s->lines, s->cap * sizeof *s->lines);
    }
    s->lines[s->n++] = line;
}

static void receipt(const struct day *day, struct rng *r, int number, int store, struct sales *sales) {
    const struct world *w = day->world;
    int64_t at_us = day->number * DAY_US + hour_of(r, store == STORES - 1 ? 'w' : 's') * HOUR_US + (int64_t)rng_below(r, 3600000) * 1000;
    uint32_t lines = rng_geometric(r, 2.3, LINES_MAX);
    for (uint32_t i = 0; i < lines; i++) {
        int product = (int)rng_weighted(r, w->popularity, PRODUCTS, w->popularity_total);
        int quantity = (int)rng_geometric(r, 1.3, 6);
        int64_t full = w->products[product].price_cents * quantity, discount = rng_chance(r, 0.14) ? full * (5 + 5 * (int64_t)rng_below(r, 6)) / 100 : 0;
        int sign = rng_chance(r, 0.03) ? -1 : 1; /* brought back */
        add_line(sales,
            (struct line){.at_us = at_us,
                .transaction = number,
                .line_no = (int)i + 1,
                .store = store,
                .product = product,
                .quantity = sign * quantity,
                .revenue_cents = sign * (full - discount),
                .discount_cents = sign * discount});
    }
}

static int by_store_and_time(const void *a, const void *b) {
    const struct line *x = a, *y = b;
    if (x->at_us != y->at_us) return x->at_us < y->at_us ? -1 : 1;
    if (x->transaction != y->transaction) return x->transaction - y->transaction;
    return x->line_no - y->line_no;
}

/* The same for every caller on the same day: the inventory of the hours and the file at the end agree. */
static struct sales plan(const struct day *day) {
    struct rng r = rng_make(day->world->seed, "pos", day->number);
    double weights[STORES], total = 0;
    for (int i = 0; i < STORES; i++) total += weights[i] = day->world->stores[i].weight;
    struct sales sales = {0};
    int receipts = (int)(RECEIPTS_PER_DAY * weekday_factor(day->number));
    for (int i = 0; i < receipts; i++) receipt(day, &r, i + 1, (int)rng_weighted(&r, weights, STORES, total), &sales);
    qsort(sales.lines, sales.n, sizeof *sales.lines, by_store_and_time);
    return sales;
}

void pos_plan(const struct day *day) {
    struct world *w = day->world;
    struct sales sales = plan(day);
    for (int h = 0; h < HOURS; h++)
        for (int p = 0; p < PRODUCTS; p++)
            for (int k = 0; k < WAREHOUSES; k++) w->sold[h][p][k] = 0;
    for (size_t i = 0; i < sales.n; i++) {
        const struct line *l = &sales.lines[i];
        int hour = (int)((l->at_us - day->number * DAY_US) / HOUR_US);
        must(hour >= 0 && hour < HOURS);
        w->sold[hour][l->product][w->stores[l->store].warehouse_id - 1] += l->quantity;
    }
    free(sales.lines);
}

static void money(struct buf *b, int64_t cents) {
    buf_printf(b, "%s%lld.%02lld", cents < 0 ? "-" : "", (long long)(llabs(cents) / 100), (long long)(llabs(cents) % 100));
}

static void transaction_id(struct buf *b, const struct day *day, const struct line *l) {
    buf_printf(b, "T%.4s%.2s%.2s-%02d-%06d", day->date, day->date + 5, day->date + 8, l->store + 1, l->transaction);
}

/* Seconds since 1970: some tills write fractions. Dirt: late by days, or ahead of the clock. */
static void stamp(struct buf *b, const struct day *day, struct rng *r, int64_t at_us) {
    if (day->dirt && rng_chance(r, 0.002)) at_us -= 3 * DAY_US;
    if (day->dirt && rng_chance(r, 0.0002)) at_us += 3650 * DAY_US;
    if (at_us / 1000 % 1000 == 0 || rng_chance(r, 0.5))
        buf_printf(b, "%lld", (long long)(at_us / 1000000));
    else
        buf_printf(b, "%lld.%03lld", (long long)(at_us / 1000000), (long long)(at_us / 1000 % 1000));
}

static void csv_line(struct buf *b, const struct day *day, struct rng *r, const struct line *l, bool with_discount) {
    transaction_id(b, day, l);
    buf_printf(b, ",%d,%d,%d,%d,", l->line_no, l->store + 1, day->world->products[l->product].id, l->quantity);
    money(b, l->revenue_cents);
    buf_char(b, ',');
    if (with_discount) {
        if (l->discount_cents)
            money(b, l->discount_cents);
        else if (day->dirt && rng_chance(r, 0.3))
            buf_text(b, rng_chance(r, 0.5) ? "null" : "NaN");
        buf_char(b, ',');
    }
    stamp(b, day, r, l->at_us);
    buf_text(b, "\n");
}

static void ndjson_line(struct buf *b, const struct day *day, struct rng *r, const struct line *l) {
    const char *quote = day->dirt && rng_chance(r, 0.5) ? "\"" : "";
    buf_text(b, "{\"transaction_id\":\"");
    transaction_id(b, day, l);
    buf_printf(b, "\",\"store_id\":%d,\"product_id\":%d,\"quantity\":%s%d%s,\"revenue\":\"", l->store + 1, day->world->products[l->product].id, quote,
        l->quantity, quote);
    money(b, l->revenue_cents);
    buf_text(b, "\",\"discount_applied\":");
    if (l->discount_cents)
        money(b, l->discount_cents);
    else
        buf_text(b, "null");
    buf_text(b, ",\"timestamp\":");
    stamp(b, day, r, l->at_us);
    buf_text(b, "}\n");
}

static void german_line(struct buf *b, const struct day *day, struct rng *r, const struct line *l) {
    static const char *const cashiers[] = {"Jürgen Groß", "Şule Yılmaz", "Zoë; die Neue", "Ağca \"Ali\""};
    stamp(b, day, r, l->at_us);
    buf_char(b, ';');
    const char *cashier = cashiers[rng_below(r, 4)];
    buf_char(b, '"');
    for (const char *p = cashier; *p; p++) {
        if (*p == '"') buf_char(b, '"');
        buf_char(b, *p);
    }
    buf_printf(b, "\";%d;%d;", l->quantity, day->world->products[l->product].id);
    money(b, l->discount_cents);
    buf_char(b, ';');
    money(b, l->revenue_cents);
    buf_printf(b, ";%d;", l->store + 1);
    transaction_id(b, day, l);
    buf_text(b, "\r\n");
}

/* UTF-8 to UTF-16LE with a byte order mark; the text has no characters beyond the basic plane. */
static void to_utf16(struct str text, struct buf *out) {
    buf_u16(out, 0xFEFF);
    for (size_t i = 0; i < text.n;) {
        uint8_t c = (uint8_t)text.p[i];
        size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : 3;
        must(i + n <= text.n);
        uint32_t v = n == 1 ? c : c & (0xFFu >> (n + 1));
        for (size_t k = 1; k < n; k++) v = v << 6 | ((uint8_t)text.p[i + k] & 0x3F);
        buf_u16(out, (uint16_t)v);
        i += n;
    }
}

/* Which of the four files a store's line goes to. */
static int file_of(int store) { return store == 9 ? 1 : store == 10 ? 2 : store == 11 ? 3 : 0; }

enum { FILES = 4 };

static void fill_files(const struct day *day, struct rng *r, const struct sales *sales, struct buf texts[FILES], struct truth *truth) {
    if (day->number % 2) buf_text(&texts[0], "\xEF\xBB\xBF");
    buf_text(&texts[0], "transaction_id,line_no,store_id,product_id,quantity,revenue,discount_applied,timestamp\n");
    buf_text(&texts[2], "TIMESTAMP;Cashier;QUANTITY;PRODUCT_ID;DISCOUNT_APPLIED;REVENUE;STORE_ID;TRANSACTION_ID\r\n");
    buf_text(&texts[3], "transaction_id,line_no,store_id,product_id,quantity,revenue,timestamp\n");
    for (size_t i = 0; i < sales->n; i++) {
        const struct line *l = &sales->lines[i];
        int file = file_of(l->store);
        int times = day->dirt && rng_chance(r, 0.002) ? 2 : 1; /* rows sent again inside the file */
        for (int k = 0; k < times; k++) {
            if (file == 1)
                ndjson_line(&texts[1], day, r, l);
            else if (file == 2)
                german_line(&texts[2], day, r, l);
            else
                csv_line(&texts[file], day, r, l, file == 0);
            truth->pos_rows++;
            truth->pos_revenue_cents += l->revenue_cents;
        }
        if (day->dirt && file == 0 && i % 4001 == 4000) { /* a till that lost its connection in the middle of a line */
            buf_text(&texts[0], "T-BROKEN,1,3,");
            buf_text(&texts[0], "\n");
            truth->pos_broken_rows++;
        }
    }
}

enum status pos_day(const struct day *day, struct out *out, struct truth *truth, struct err *err) {
    static const char *const endings[FILES] = {".csv", "_kiosk.ndjson", "_koeln.csv", "_web.csv"};
    struct rng r = rng_make(day->world->seed, "pos files", day->number);
    struct sales sales = plan(day);
    struct buf texts[FILES] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    fill_files(day, &r, &sales, texts, truth);
    free(sales.lines);
    BUF_SCOPE(wide);
    to_utf16(buf_view(&texts[2]), &wide);
    enum status st = OK;
    for (int i = 0; i < FILES && st == OK; i++) {
        char name[64];
        snprintf(name, sizeof name, "pos_%s%s", day->date, endings[i]);
        st = out_file(out, "pos", name, buf_view(i == 2 ? &wide : &texts[i]), err);
        if (st == OK) truth->pos_files++;
    }
    if (st == OK && day->dirt) { /* the operator is not sure and sends the day again */
        char name[64];
        snprintf(name, sizeof name, "pos_%s_again.csv", day->date);
        st = out_file(out, "pos", name, buf_view(&texts[0]), err);
        if (st == OK) truth->pos_files_again++;
    }
    for (int i = 0; i < FILES; i++) buf_free(&texts[i]);
    return st;
}
