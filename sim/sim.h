/* Simulated shop: one seeded world and its four retail feeds. The same seed gives the same files and the same events, byte for byte, on every machine.
 *
 * Depends on base, libc, libcurl, libmicrohttpd and libcrypto only; it talks to cupel like any other sender. One thread, and the HTTP server's own (api.c).
 * Money is kept in cents, times in microseconds since 1970 (UTC). */
#ifndef CUPEL_SIM_SIM_H
#define CUPEL_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define DAY_US INT64_C(86400000000)
#define HOUR_US INT64_C(3600000000)
#define SECOND_US INT64_C(1000000)

/* ---- chance (rng.c) ---- */

struct rng {
    uint64_t state;
};
struct rng rng_make(uint64_t seed, const char *purpose, int64_t day); /* independent streams of numbers per feed and day */
uint64_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* 0..n-1 */
double rng_unit(struct rng *r); /* [0, 1) */
bool rng_chance(struct rng *r, double probability);
uint32_t rng_geometric(struct rng *r, double mean, uint32_t max); /* at least 1 */
/* Index drawn by weight; `total` is the weights' sum. */
uint32_t rng_weighted(struct rng *r, const double *weights, uint32_t n, double total);

/* ---- what was sent: the truth that the other side is compared with (truth.c) ---- */

/* Every kind of disorder: feed, name, what must become of it, and what it is. One of a row at most. */
#define DIRT_KINDS(X) \
    X(NONE, "", "", "", "") \
    X(POS_HEADERS, "pos", "header order and case", "read", "files with semicolons, upper-case headers in another order, UTF-16") \
    X(POS_EXTRA_COLUMN, "pos", "extra column", "read", "files with a column that nobody asked for") \
    X(POS_NO_DISCOUNT, "pos", "missing optional column", "read", "files without discount_applied: discount 0") \
    X(POS_FILE_AGAIN, "pos", "file sent again", "ignored", "the same bytes under another name") \
    X(POS_FILE_REJECTED, "pos", "not UTF-8", "rejected", "files in windows-1254 that do not say so; sent again as UTF-8") \
    X(POS_BROKEN, "pos", "broken line", "reader quarantine", "lines cut in the middle") \
    X(POS_ROW_AGAIN, "pos", "row sent again", "superseded", "the same line_no twice in a file") \
    X(POS_ROW_TWICE, "pos", "equal rows without line_no", "kept", "two equal lines are two sales") \
    X(POS_CORRECTED, "pos", "corrected rows", "kept", "rows of a newer file, which replace those of their transaction") \
    X(POS_CORRECTION_INVALID, "pos", "invalid correction", "quarantined", "rows of a newer file that are not valid: the old ones stay") \
    X(POS_NULL_WORD, "pos", "words for null", "read", "discount null, NULL, NaN, \\N or empty: 0") \
    X(POS_QUOTED, "pos", "number as string, blanks", "read", "quantity in quotes or with blanks around it") \
    X(POS_POINT_ZERO, "pos", "3.0 for an integer", "read", "product_id with .0") \
    X(POS_OPTIONAL_UNREADABLE, "pos", "unreadable optional field", "read", "discount n/a: 0, with a warning") \
    X(POS_LATE, "pos", "late time", "kept", "rows of three days ago") \
    X(POS_UNKNOWN_STORE, "pos", "unknown store", "kept", "region unknown, with a warning") \
    X(POS_UNKNOWN_PRODUCT, "pos", "unknown product", "kept", "products that products.csv does not have") \
    X(POS_FRACTION, "pos", "3.5 for an integer", "quarantined", "quantity with a half") \
    X(POS_QUANTITY_ZERO, "pos", "quantity 0", "quarantined", "") \
    X(POS_QUANTITY_LIMIT, "pos", "quantity over its limit", "quarantined", "1001 pieces") \
    X(POS_REVENUE_LIMIT, "pos", "revenue over its limit", "quarantined", "100000.01") \
    X(POS_SIGN, "pos", "revenue of another sign", "quarantined", "minus sign before revenue only") \
    X(POS_REQUIRED_MISSING, "pos", "required field missing", "quarantined", "no product_id, or NaN") \
    X(POS_REQUIRED_UNREADABLE, "pos", "required field unreadable", "quarantined", "store_id x") \
    X(POS_FUTURE, "pos", "future time", "quarantined", "ten years ahead") \
    X(STOCK_HEADERS, "inventory", "header order and case", "read", "files with headers in another order and case, with an extra column") \
    X(STOCK_NO_THRESHOLD, "inventory", "missing optional column", "read", "files without restock_threshold: 50") \
    X(STOCK_FILE_AGAIN, "inventory", "file sent again", "ignored", "the same bytes under another name") \
    X(STOCK_ROW_AGAIN, "inventory", "row sent again", "superseded", "the same pair and time twice in a file") \
    X(STOCK_NULL_THRESHOLD, "inventory", "words for null", "read", "restock_threshold empty, NaN or null: the median of its warehouse") \
    X(STOCK_QUOTED, "inventory", "number as string, blanks, 3.0", "read", "") \
    X(STOCK_OPTIONAL_UNREADABLE, "inventory", "unreadable optional field", "read", "restock_threshold n/a") \
    X(STOCK_LATE, "inventory", "late time", "kept", "observations of three days ago") \
    X(STOCK_UNKNOWN_PRODUCT, "inventory", "unknown product", "kept", "") \
    X(STOCK_FRACTION, "inventory", "3.5 for an integer", "quarantined", "stock_level with a half") \
    X(STOCK_NEGATIVE, "inventory", "stock below 0", "quarantined", "") \
    X(STOCK_LIMIT, "inventory", "stock over its limit", "quarantined", "100001") \
    X(STOCK_REQUIRED_MISSING, "inventory", "required field missing", "quarantined", "no warehouse_id") \
    X(STOCK_FUTURE, "inventory", "future time", "quarantined", "") \
    X(WEB_USER_NULL, "web_traffic", "user_id \"null\"", "read", "also NaN and empty: null") \
    X(WEB_USER_QUOTED, "web_traffic", "number as string, 3.0", "read", "") \
    X(WEB_USER_UNREADABLE, "web_traffic", "unreadable optional field", "read", "user_id guest: null, with a warning") \
    X(WEB_NO_OPTIONAL, "web_traffic", "missing optional fields", "read", "no device_type, no browser") \
    X(WEB_EXTRA, "web_traffic", "extra fields", "read", "nested campaign data") \
    X(WEB_CASE, "web_traffic", "mixed case and blanks", "read", "\" Add_To_Cart\", \"MOBİLE\"") \
    X(WEB_WHOLE_URL, "web_traffic", "whole addresses", "read", "scheme, host, query, fragment, trailing slash") \
    X(WEB_TIME_TEXT, "web_traffic", "time as string", "read", "") \
    X(WEB_LATE, "web_traffic", "late time", "kept", "") \
    X(WEB_TWICE, "web_traffic", "event sent again", "duplicate", "the same body in another request") \
    X(WEB_NO_SESSION, "web_traffic", "session_id missing", "quarantined", "session_id empty or null") \
    X(WEB_NO_PAGE, "web_traffic", "page missing", "quarantined", "no page") \
    X(WEB_TIME_UNREADABLE, "web_traffic", "required field unreadable", "quarantined", "timestamp yesterday") \
    X(WEB_FUTURE, "web_traffic", "future time", "quarantined", "") \
    X(WEB_REFUSED, "web_traffic", "not JSON, not UTF-8", "refused", "the sender is told") \
    X(CRM_RATING_TEXT, "crm_interactions", "rating \"5\"", "read", "") \
    X(CRM_RATING_RANGE, "crm_interactions", "rating outside 1..5", "read", "null, with a warning") \
    X(CRM_RATING_FRACTION, "crm_interactions", "3.5 for an integer", "read", "null, with a warning") \
    X(CRM_NO_CHANNEL, "crm_interactions", "missing channel", "read", "unknown") \
    X(CRM_CASE, "crm_interactions", "mixed case and blanks", "read", "") \
    X(CRM_LONG, "crm_interactions", "long message", "read", "cut at 1000 characters") \
    X(CRM_LATE, "crm_interactions", "late time", "kept", "") \
    X(CRM_TWICE, "crm_interactions", "event sent again", "duplicate", "the same body in another request") \
    X(CRM_NO_CUSTOMER, "crm_interactions", "required field missing", "quarantined", "customer_id null") \
    X(CRM_CUSTOMER_UNREADABLE, "crm_interactions", "required field unreadable", "quarantined", "customer_id 17.5") \
    X(CRM_FUTURE, "crm_interactions", "future time", "quarantined", "")

enum dirt {
#define DIRT_ENUM(name, feed, title, becomes, what) DIRT_##name,
    DIRT_KINDS(DIRT_ENUM)
#undef DIRT_ENUM
        DIRT_COUNT
};
bool dirt_quarantines(enum dirt kind); /* the row must end in the model's quarantine */

struct truth {
    uint64_t dirt[DIRT_COUNT];
    uint64_t pos_files, pos_files_again, pos_files_rejected, pos_rows, pos_broken_rows; /* broken: records with a wrong number of fields */
    uint64_t pos_quarantined, pos_superseded;
    int64_t pos_revenue_cents, pos_net_cents; /* revenue of all rows as written, of the rows that stay */
    uint64_t inventory_files, inventory_rows, inventory_quarantined, inventory_superseded;
    uint64_t web_events, web_quarantined, crm_events, crm_quarantined, inventory_events; /* events: each counted once, however often it was sent */
    uint64_t web_duplicates, crm_duplicates; /* as the server answered */
    uint64_t polled, hooked; /* of the events: fetched from our API, sent as signed webhooks */
    uint64_t requests, refused, refused_expected, retried, api_requests, api_errors;
    uint64_t lost_sales; /* what was out of stock */
};
struct truth_place {
    const char *date, *delivery;
    uint64_t days, seed;
};
void truth_write(const struct truth *t, const struct truth_place *place, struct buf *out);

/* ---- out (out.c) ---- */

struct out;
struct out_options {
    const char *url; /* "http://127.0.0.1:8080"; NULL: events go into files below `dir` as <stream>.ndjson */
    const char *token; /* bearer token or NULL */
    const char *dir; /* project folder: files go to <dir>/landing/<feed>/ */
    const char *hook, *hook_secret; /* webhook source (hmac-sha256, X-Hub-Signature-256: sha256=<hex>) and its secret, or NULL */
    int retry_s; /* how long a request is repeated while the server is away or says 503 */
    struct truth *truth;
};
enum status out_open(const struct out_options *options, struct out **out, struct err *err);
void out_close(struct out **out);
/* A complete file: written beside the folder and renamed in. */
enum status out_file(struct out *out, const char *feed, const char *name, struct str content, struct err *err);
/* One request; body is NDJSON, or one JSON text when `single`. *accepted and *duplicates as answered. A 4xx is E_INVALID with the server's words. The same
 * `request` number is the same request (Idempotency-Key), 0: without one. */
enum status out_events(
    struct out *out, const char *stream, struct str body, bool single, uint64_t request, uint64_t *accepted, uint64_t *duplicates, struct err *err);
/* One event as a signed webhook. */
enum status out_hook(struct out *out, struct str body, struct err *err);

/* ---- the two APIs that are polled (api.c): a thread of their own ---- */

enum api_feed { API_WEB, API_CRM, API_FEEDS };
struct api;
enum status api_open(uint16_t port, uint64_t seed, struct truth *truth, struct api **out, struct err *err);
void api_close(struct api **api);
void api_offer(struct api *api, enum api_feed feed, struct str event); /* copied; handed out in order, in two answers at least unless one was lost */
/* Waits until all that was offered was fetched; false when that took longer than wait_s. */
bool api_drain(struct api *api, int wait_s);

/* ---- delivery (delivery.c): what happened, and when it is sent ---- */

enum channel { TO_WEB, TO_CRM, TO_STOCK, TO_POS_FILE, TO_STOCK_FILE, CHANNELS };
enum order { IN_ORDER, SHUFFLED, TWICE, LATE, REPLAY };
struct delivery;
struct delivery_options {
    struct out *out;
    struct api *api; /* NULL: everything is pushed */
    struct truth *truth;
    uint64_t seed;
    enum order order;
    bool dirt; /* some requests are sent twice */
    int64_t start_us, end_us; /* of the simulated days */
    double api_share, hook_share; /* of web and crm events */
    double speed, rate; /* simulated seconds per second, events per second; 0: as fast as possible */
    size_t batch_max; /* events of a request */
};
struct delivery *delivery_new(const struct delivery_options *options);
void delivery_free(struct delivery **d);
/* An event that happens at `at_us`: appended to delivery_text() since `start`. */
struct buf *delivery_text(struct delivery *d);
void delivery_event(struct delivery *d, enum channel to, int64_t at_us, size_t start, enum dirt dirt);
void delivery_file(struct delivery *d, enum channel to, int64_t at_us, const char *name, struct str content);
/* Sends what is due before `until_us`, hour by hour. */
enum status delivery_until(struct delivery *d, int64_t until_us, struct err *err);
/* Sends all that is left of what happened before the end; then the replay of a day. */
enum status delivery_finish(struct delivery *d, struct err *err);

/* ---- world (world.c) ---- */

enum { PRODUCTS_MAX = 120, STORES = 12, WAREHOUSES = 4, HOURS = 24, CATEGORIES = 8, DEPOT = 9, DEPOT_PRODUCTS = 5 };

struct product {
    int id;
    char sku[16], name[48];
    int category;
    int64_t cost_cents, price_cents;
};
struct store {
    int id;
    const char *name, *region;
    int warehouse_id;
    double weight; /* of its sales */
};
struct line {
    int64_t at_us;
    int transaction, line_no, store, product, quantity;
    int64_t revenue_cents, discount_cents;
};
struct lines {
    struct line *at;
    size_t n, cap;
};
struct world {
    uint64_t seed;
    double scale;
    uint32_t products_n;
    struct product products[PRODUCTS_MAX];
    double popularity[PRODUCTS_MAX]; /* all the year */
    struct store stores[STORES]; /* the last one is the web shop */
    int stock[PRODUCTS_MAX][WAREHOUSES], threshold[PRODUCTS_MAX][WAREHOUSES], lot[PRODUCTS_MAX][WAREHOUSES];
    int64_t due_day[PRODUCTS_MAX][WAREHOUSES]; /* goods that were ordered come on that day, 0: none ordered */
    int level[HOURS][PRODUCTS_MAX][WAREHOUSES]; /* stock at the end of each hour of the day that was simulated last */
    struct lines corrections; /* transactions of yesterday that are sent again today */
    unsigned dirt_turn[CHANNELS]; /* the kinds of dirt take turns, so that each comes up */
};
struct campaign {
    bool on;
    int category, discount_pct;
    char name[32];
};
struct day {
    struct world *world;
    struct delivery *delivery;
    struct truth *truth;
    int64_t number; /* days since 1970 */
    char date[16], yesterday[16]; /* 2025-03-03 */
    bool dirt; /* the disorder of real feeds */
    bool late; /* some receipts come in late files */
    struct campaign campaign;
    double weights[PRODUCTS_MAX], weights_total; /* what people want on this day: popularity, season, campaign */
};
void world_make(struct world *w, uint64_t seed, double scale);
void world_free(struct world *w);
void day_begin(struct day *day); /* campaign and weights */
const char *category_name(int category);
double weekday_factor(int64_t day); /* day: days since 1970 */
/* Moment of the day by the feed's curve: 's' shops, 'w' web, 'c' call centre. */
int64_t moment_of(const struct day *day, struct rng *r, char curve);
uint32_t product_of(const struct day *day, struct rng *r);
uint32_t scaled(const struct day *day, double per_day); /* by scale and weekday */
void world_reference(const struct world *w, struct buf *stores, struct buf *products, struct buf *categories); /* reference/<name>.csv */
/* DIRT_NONE, or with that probability the next of the kinds. */
enum dirt dirt_draw(const struct day *day, struct rng *r, enum channel feed, double probability, const enum dirt *kinds, size_t n);

/* ---- feeds: each makes one day ---- */

void lines_add(struct lines *lines, struct line line);
/* Sales of the day, in order of time, as far as the stock lasts; moves the stock; pushes to stream `inventory` when a pair runs low, out or is filled. */
void shop_day(const struct day *day, struct lines *sales);
void pos_day(const struct day *day, const struct lines *sales);
void inventory_day(const struct day *day);
void inventory_push(const struct day *day, struct rng *r, int product, int warehouse, int64_t at_us);
void web_day(const struct day *day);
void crm_day(const struct day *day);

#endif
