/* Point of sale: the day's receipts as files, and yesterday's corrections. The big file is plain CSV; four stores send what their tills can: NDJSON with
 * numbers in quotes, another order of columns in UTF-16 with semicolons, CSV without the discount column, a JSON array (on some days first CSV in
 * windows-1254, which nobody can take, then in UTF-8). */
#include "base/assert.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

enum shape { PLAIN, KIOSK, GERMAN, WEB_SHOP, SOUTH, LATE_1, LATE_2, LATE_3, SHAPES };
static const char *const endings[SHAPES] = {".csv", "_kiosk.ndjson", "_koeln.csv", "_web.csv", "_south.json", "_late1.csv", "_late2.csv", "_late3.csv"};
static const char plain_header[] = "transaction_id,line_no,store_id,product_id,quantity,revenue,discount_applied,timestamp\n";
static const char *const cashiers[] = {"Jürgen Groß", "Şule Yılmaz", "Zoë; die Neue", "Ağca \"Ali\""};

/* One row as text, before it takes the shape of its file. */
struct cells {
    char transaction[40], line_no[16], store[16], product[16], quantity[16], revenue[24], discount[24], at[32];
};

static void money(char *out, size_t size, int64_t cents) {
    snprintf(out, size, "%s%lld.%02lld", cents < 0 ? "-" : "", (long long)(llabs(cents) / 100), (long long)(llabs(cents) % 100));
}

/* What money() wrote. */
static int64_t cents_of(const char *text) {
    int64_t whole = 0, cents = 0;
    struct str rest = str_of(text[0] == '-' ? text + 1 : text), units = str_cut(&rest, '.');
    must(str_to_i64(units, &whole) && str_to_i64(rest, &cents) && rest.n == 2);
    return (text[0] == '-' ? -1 : 1) * (whole * 100 + cents);
}

/* Seconds since 1970: some tills write fractions. */
static void stamp(char *out, size_t size, struct rng *r, int64_t at_us) {
    if (at_us / 1000 % 1000 == 0 || rng_chance(r, 0.5))
        snprintf(out, size, "%lld", (long long)(at_us / SECOND_US));
    else
        snprintf(out, size, "%lld.%03lld", (long long)(at_us / SECOND_US), (long long)(at_us / 1000 % 1000));
}

static void fill(const struct day *day, struct rng *r, const struct line *l, struct cells *c) {
    struct cells made = {0};
    snprintf(made.transaction, sizeof made.transaction, "T%.4s%.2s%.2s-%02d-%06d", day->date, day->date + 5, day->date + 8, l->store + 1, l->transaction);
    snprintf(made.line_no, sizeof made.line_no, "%d", l->line_no);
    snprintf(made.store, sizeof made.store, "%d", l->store + 1);
    snprintf(made.product, sizeof made.product, "%d", day->world->products[l->product].id);
    snprintf(made.quantity, sizeof made.quantity, "%d", l->quantity);
    money(made.revenue, sizeof made.revenue, l->revenue_cents);
    if (l->discount_cents) money(made.discount, sizeof made.discount, l->discount_cents);
    stamp(made.at, sizeof made.at, r, l->at_us);
    *c = made;
}

static void put(char *out, const char *text) { snprintf(out, 16, "%s", text); }

static void soil(struct rng *r, const struct line *l, enum dirt dirt, struct cells *c) {
    static const char *const nulls[] = {"null", "NULL", "NaN", "\\N", ""};
    char *minus = l->revenue_cents < 0 ? c->revenue + 1 : NULL;
    switch (dirt) {
    case DIRT_POS_QUOTED: snprintf(c->quantity, sizeof c->quantity, " %d ", l->quantity); break;
    case DIRT_POS_POINT_ZERO: strncat(c->product, ".0", 3); break;
    case DIRT_POS_NULL_WORD: put(c->discount, nulls[rng_below(r, 5)]); break;
    case DIRT_POS_OPTIONAL_UNREADABLE: put(c->discount, "n/a"); break;
    case DIRT_POS_LATE: stamp(c->at, sizeof c->at, r, l->at_us - 3 * DAY_US); break;
    case DIRT_POS_UNKNOWN_STORE: put(c->store, "77"); break;
    case DIRT_POS_UNKNOWN_PRODUCT: put(c->product, "99001"); break;
    case DIRT_POS_FRACTION: put(c->quantity, "3.5"); break;
    case DIRT_POS_QUANTITY_ZERO: put(c->quantity, "0"); break;
    case DIRT_POS_QUANTITY_LIMIT: put(c->quantity, l->quantity < 0 ? "-1001" : "1001"); break;
    case DIRT_POS_REVENUE_LIMIT: put(c->revenue, l->quantity < 0 ? "-100000.01" : "100000.01"); break;
    case DIRT_POS_SIGN:
        if (minus)
            memmove(c->revenue, minus, strlen(minus) + 1);
        else
            snprintf(c->revenue, sizeof c->revenue, "-1.00");
        break;
    case DIRT_POS_REQUIRED_MISSING: put(c->product, rng_chance(r, 0.5) ? "" : "NaN"); break;
    case DIRT_POS_REQUIRED_UNREADABLE: put(c->store, "x"); break;
    case DIRT_POS_FUTURE: stamp(c->at, sizeof c->at, r, l->at_us + 3650 * DAY_US); break;
    default: break;
    }
}

static void csv_row(struct buf *b, const struct cells *c, bool with_discount) {
    buf_printf(b, "%s,%s,%s,%s,%s,%s,", c->transaction, c->line_no, c->store, c->product, c->quantity, c->revenue);
    if (with_discount) buf_printf(b, "%s,", c->discount);
    buf_printf(b, "%s\n", c->at);
}

/* A number as number, or in quotes when that is how this till writes it, or it is none. */
static void json_cell(struct buf *b, const char *name, const char *text, bool quoted) {
    buf_printf(b, ",\"%s\":", name);
    bool plain = text[0] && strspn(text, "0123456789.-") == strlen(text);
    if (!text[0]) return buf_text(b, quoted ? "\"\"" : "null");
    if (plain && !quoted) return buf_text(b, text);
    buf_char(b, '"');
    if (text[0] == '\\') buf_char(b, '\\');
    buf_text(b, text);
    return buf_char(b, '"');
}

static void json_row(struct buf *b, const struct cells *c, bool quoted, const char *end) {
    buf_printf(b, "{\"transaction_id\":\"%s\"", c->transaction);
    json_cell(b, "store_id", c->store, false);
    json_cell(b, "product_id", c->product, quoted);
    json_cell(b, "quantity", c->quantity, quoted);
    json_cell(b, "revenue", c->revenue, true);
    json_cell(b, "discount_applied", c->discount, false);
    json_cell(b, "timestamp", c->at, false);
    buf_printf(b, "}%s", end);
}

static void german_row(struct buf *b, struct rng *r, const struct cells *c) {
    buf_printf(b, "%s;\"", c->at);
    for (const char *p = cashiers[rng_below(r, 4)]; *p; p++) {
        if (*p == '"') buf_char(b, '"');
        buf_char(b, *p);
    }
    buf_printf(b, "\";%s;%s;%s;%s;%s;%s\r\n", c->quantity, c->product, c->discount, c->revenue, c->store, c->transaction);
}

/* The south's CSV has its cashier's name last, in the bytes of windows-1254 or in UTF-8. */
static void south_row(struct buf *b, const struct cells *c, bool old) {
    buf_printf(b, "%s,%s,%s,%s,%s,%s,%s,%s\n", c->transaction, c->store, c->product, c->quantity, c->revenue, c->discount, c->at,
        old ? "Ay\xFE\x65 Da\xF0l\xFD" : "Ayşe Dağlı");
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

/* ---- the day's files ---- */

struct files {
    struct buf text[SHAPES], south_old;
    uint64_t rows[SHAPES];
    bool south_csv; /* today the south sends CSV */
    enum shape late; /* of the transaction that is written just now; PLAIN: it is on time */
    int last_transaction;
    bool clean_transaction; /* this one will be corrected tomorrow: no dirt in it */
    struct lines corrections;
};

static enum shape shape_of(int store) { return store == 7 ? SOUTH : store == 9 ? KIOSK : store == 10 ? GERMAN : store == 11 ? WEB_SHOP : PLAIN; }

static void put_row(struct files *f, enum shape shape, struct rng *r, const struct cells *c) {
    struct buf *b = &f->text[shape];
    if (shape == KIOSK)
        json_row(b, c, f->rows[shape] % 2, "\n");
    else if (shape == GERMAN)
        german_row(b, r, c);
    else if (shape == SOUTH && !f->south_csv)
        json_row(b, c, false, ",\n");
    else if (shape == SOUTH) {
        south_row(b, c, false);
        south_row(&f->south_old, c, true);
    } else
        csv_row(b, c, shape != WEB_SHOP);
    f->rows[shape]++;
}

static bool has_line_no(enum shape shape) { return shape == PLAIN || shape >= LATE_1 || shape == WEB_SHOP; }

static int64_t written_cents(const struct line *l, enum dirt dirt) { return dirt_quarantines(dirt) ? 0 : l->revenue_cents; }

static void write_line(const struct day *day, struct rng *r, const struct line *l, enum shape shape, enum dirt dirt, struct files *f) {
    struct truth *t = day->truth;
    struct cells c;
    fill(day, r, l, &c);
    soil(r, l, dirt, &c);
    int times = dirt == DIRT_POS_ROW_AGAIN ? 2 : 1;
    if (times == 2 && !has_line_no(shape)) dirt = DIRT_POS_ROW_TWICE;
    for (int i = 0; i < times; i++) {
        put_row(f, shape, r, &c);
        t->pos_rows++;
        t->pos_revenue_cents += cents_of(c.revenue);
        t->pos_net_cents += i == 0 || dirt == DIRT_POS_ROW_TWICE ? written_cents(l, dirt) : 0;
    }
    t->pos_superseded += dirt == DIRT_POS_ROW_AGAIN;
    t->pos_quarantined += dirt_quarantines(dirt);
    t->dirt[dirt]++;
}

/* At the first line of each transaction: is it late, will it be corrected? */
static void begin_transaction(const struct day *day, struct rng *r, const struct line *l, struct files *f) {
    if (l->transaction == f->last_transaction) return;
    f->last_transaction = l->transaction;
    f->late = day->late && rng_chance(r, 0.05) ? LATE_1 + rng_below(r, 3) : PLAIN;
    f->clean_transaction = day->dirt && shape_of(l->store) == PLAIN && f->late == PLAIN && rng_chance(r, 0.004);
}

static void headers(const struct day *day, struct files *f) {
    if (day->number % 2) buf_text(&f->text[PLAIN], "\xEF\xBB\xBF");
    buf_text(&f->text[PLAIN], plain_header);
    buf_text(&f->text[GERMAN], "TIMESTAMP;Cashier;QUANTITY;PRODUCT_ID;DISCOUNT_APPLIED;REVENUE;STORE_ID;TRANSACTION_ID\r\n");
    buf_text(&f->text[WEB_SHOP], "transaction_id,line_no,store_id,product_id,quantity,revenue,timestamp\n");
    for (int i = LATE_1; i <= LATE_3; i++) buf_text(&f->text[i], plain_header);
    const char south[] = "transaction_id,store_id,product_id,quantity,revenue,discount_applied,timestamp,cashier\n";
    buf_text(&f->text[SOUTH], f->south_csv ? south : "[\n");
    buf_text(&f->south_old, south);
}

static void write_lines(const struct day *day, struct rng *r, const struct lines *sales, struct files *f) {
    static const enum dirt turns[] = {DIRT_POS_QUOTED, DIRT_POS_FRACTION, DIRT_POS_NULL_WORD, DIRT_POS_ROW_AGAIN, DIRT_POS_POINT_ZERO, DIRT_POS_QUANTITY_ZERO,
        DIRT_POS_OPTIONAL_UNREADABLE, DIRT_POS_LATE, DIRT_POS_QUANTITY_LIMIT, DIRT_POS_UNKNOWN_STORE, DIRT_POS_REVENUE_LIMIT, DIRT_POS_NULL_WORD,
        DIRT_POS_UNKNOWN_PRODUCT, DIRT_POS_SIGN, DIRT_POS_ROW_AGAIN, DIRT_POS_REQUIRED_MISSING, DIRT_POS_QUOTED, DIRT_POS_REQUIRED_UNREADABLE, DIRT_POS_FUTURE};
    headers(day, f);
    for (size_t i = 0; i < sales->n; i++) {
        const struct line *l = &sales->at[i];
        begin_transaction(day, r, l, f);
        enum shape shape = f->late != PLAIN ? f->late : shape_of(l->store);
        enum dirt dirt = f->clean_transaction ? DIRT_NONE : dirt_draw(day, r, TO_POS_FILE, 0.012, turns, sizeof turns / sizeof turns[0]);
        write_line(day, r, l, shape, dirt, f);
        if (f->clean_transaction) lines_add(&f->corrections, *l);
        if (day->dirt && i % 1201 == 400) { /* a till that lost its connection in the middle of a line */
            buf_text(&f->text[PLAIN], "T-BROKEN,1,3,\n");
            day->truth->pos_broken_rows++;
            day->truth->dirt[DIRT_POS_BROKEN]++;
        }
    }
}

static void send(const struct day *day, const char *ending, int64_t at_us, struct str content) {
    char name[64];
    snprintf(name, sizeof name, "pos_%s%s", day->date, ending);
    delivery_file(day->delivery, TO_POS_FILE, at_us, name, content);
}

/* Yesterday's receipts with one piece more each; every fourth receipt comes with lines that nobody can use. */
static void correct(const struct day *day, struct rng *r, int64_t at_us) {
    struct lines *old = &day->world->corrections;
    struct day yesterday = *day;
    struct truth *t = day->truth;
    if (old->n == 0) return;
    snprintf(yesterday.date, sizeof yesterday.date, "%s", day->yesterday);
    BUF_SCOPE(text);
    buf_text(&text, plain_header);
    for (size_t i = 0; i < old->n; i++) {
        struct line l = old->at[i];
        bool invalid = l.transaction % 4 == 0;
        struct cells c;
        l.revenue_cents += l.revenue_cents / l.quantity * (l.quantity < 0 ? -1 : 1);
        l.quantity += l.quantity < 0 ? -1 : 1;
        fill(&yesterday, r, &l, &c);
        if (invalid) put(c.quantity, "0");
        csv_row(&text, &c, true);
        t->pos_rows++;
        t->pos_revenue_cents += cents_of(c.revenue);
        t->dirt[invalid ? DIRT_POS_CORRECTION_INVALID : DIRT_POS_CORRECTED]++;
        t->pos_quarantined += invalid;
        t->pos_superseded += !invalid;
        t->pos_net_cents += invalid ? 0 : l.revenue_cents - old->at[i].revenue_cents;
    }
    send(day, "_corrections.csv", at_us, buf_view(&text));
    t->pos_files++;
}

static void send_south(const struct day *day, struct files *f, int64_t at_us) {
    struct buf *b = &f->text[SOUTH];
    struct truth *t = day->truth;
    if (!f->south_csv) {
        must(b->n > 2);
        if (f->rows[SOUTH]) b->n -= 2; /* the last comma */
        buf_text(b, "\n]\n");
        return send(day, endings[SOUTH], at_us, buf_view(b));
    }
    if (day->dirt && f->rows[SOUTH]) {
        send(day, "_south_1254.csv", at_us - SECOND_US, buf_view(&f->south_old));
        t->pos_files_rejected++;
        t->dirt[DIRT_POS_FILE_REJECTED]++;
    }
    t->dirt[DIRT_POS_EXTRA_COLUMN]++;
    return send(day, "_south.csv", at_us, buf_view(b));
}

static void send_files(const struct day *day, struct files *f) {
    struct truth *t = day->truth;
    int64_t close_us = (day->number + 1) * DAY_US - 60 * SECOND_US;
    BUF_SCOPE(wide);
    to_utf16(buf_view(&f->text[GERMAN]), &wide);
    for (int i = 0; i < SHAPES; i++) {
        if (f->rows[i] == 0) continue;
        if (i == SOUTH)
            send_south(day, f, close_us + i * SECOND_US);
        else
            send(day, endings[i], close_us + i * SECOND_US + (i >= LATE_1 ? (i - LATE_1 + 1) * DAY_US - HOUR_US : 0),
                buf_view(i == GERMAN ? &wide : &f->text[i]));
        t->pos_files++;
        t->dirt[DIRT_POS_HEADERS] += i == GERMAN;
        t->dirt[DIRT_POS_EXTRA_COLUMN] += i == GERMAN;
        t->dirt[DIRT_POS_NO_DISCOUNT] += i == WEB_SHOP;
    }
    if (day->dirt) { /* the operator is not sure and sends the day again */
        send(day, "_again.csv", close_us + 20 * SECOND_US, buf_view(&f->text[PLAIN]));
        t->pos_files_again++;
        t->dirt[DIRT_POS_FILE_AGAIN]++;
    }
}

void pos_day(const struct day *day, const struct lines *sales) {
    struct rng r = rng_make(day->world->seed, "pos files", day->number);
    struct files f = {.south_csv = day->number % 3 == 1};
    write_lines(day, &r, sales, &f);
    correct(day, &r, day->number * DAY_US + 7 * HOUR_US);
    send_files(day, &f);
    free(day->world->corrections.at);
    day->world->corrections = f.corrections;
    buf_free(&f.south_old);
    for (int i = 0; i < SHAPES; i++) buf_free(&f.text[i]);
}
