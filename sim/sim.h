/* Simulated shop: one seeded world and its four retail feeds. The same seed gives the same files and the same events, byte for byte, on every machine.
 *
 * Depends on base, libc and libcurl only; it talks to cupel like any other sender: files renamed into a landing folder, HTTP requests. One thread.
 * Money is kept in cents, times in microseconds since 1970 (UTC). */
#ifndef CUPEL_SIM_SIM_H
#define CUPEL_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

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

/* ---- world (world.c) ---- */

enum { PRODUCTS = 120, STORES = 12, WAREHOUSES = 4, HOURS = 24, CATEGORIES = 8 };

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
struct world {
    uint64_t seed;
    struct product products[PRODUCTS];
    double popularity[PRODUCTS], popularity_total;
    struct store stores[STORES]; /* the last one is the web shop */
    int stock[PRODUCTS][WAREHOUSES], threshold[PRODUCTS][WAREHOUSES];
    /* Units sold per hour of the day that was simulated last. */
    int sold[HOURS][PRODUCTS][WAREHOUSES];
};
void world_make(struct world *w, uint64_t seed);
const char *category_name(int category);
double weekday_factor(int64_t day); /* day: days since 1970 */
/* Hour of the day by the feed's curve: 's' shops, 'w' web, 'c' call centre. */
int hour_of(struct rng *r, char curve);
void world_reference(const struct world *w, struct buf *stores, struct buf *products, struct buf *categories); /* reference/<name>.csv */

/* ---- what was sent: the truth that the other side is compared with ---- */

struct truth {
    uint64_t pos_files, pos_files_again, pos_rows, pos_broken_rows; /* broken: records with a wrong number of fields */
    int64_t pos_revenue_cents; /* over all rows that are not broken, as written in the files */
    uint64_t inventory_files, inventory_rows;
    uint64_t web_events, web_duplicates, crm_events, crm_duplicates, inventory_events;
    uint64_t requests, refused, refused_expected, retried;
};

/* ---- out (out.c) ---- */

struct out;
struct out_options {
    const char *url; /* "http://127.0.0.1:8080"; NULL: events go into files below `dir` as <stream>.ndjson */
    const char *token; /* bearer token or NULL */
    const char *dir; /* project folder: files go to <dir>/landing/<feed>/ */
    int retry_s; /* how long a request is repeated while the server is away or says 503 */
    struct truth *truth;
};
enum status out_open(const struct out_options *options, struct out **out, struct err *err);
void out_close(struct out **out);
/* A complete file: written beside the folder and renamed in. */
enum status out_file(struct out *out, const char *feed, const char *name, struct str content, struct err *err);
/* One request; body is NDJSON, or one JSON text when `single`. *accepted and *duplicates as answered. A 4xx is E_INVALID with the server's words. */
enum status out_events(struct out *out, const char *stream, struct str body, bool single, uint64_t *accepted, uint64_t *duplicates, struct err *err);

/* ---- events waiting to be sent, in the order of their time ---- */

struct event {
    int64_t at_us;
    uint32_t start, n; /* its text in the feed's buffer */
};
struct feed {
    struct buf text;
    struct event *events;
    size_t n, cap;
};
void feed_free(struct feed *f);
void feed_clear(struct feed *f);
/* What was appended to f->text since `start` is one event. */
void feed_add(struct feed *f, int64_t at_us, size_t start);
void feed_sort(struct feed *f); /* by time; equal times keep their order */

/* ---- feeds: each makes one day ---- */

struct day {
    struct world *world;
    int64_t number; /* days since 1970 */
    char date[16]; /* 2025-03-03 */
    bool dirt; /* the disorder of real feeds */
};
enum status pos_day(const struct day *day, struct out *out, struct truth *truth, struct err *err);
/* The file of one hour, and pushes for what ran low. */
enum status inventory_hour(const struct day *day, int hour, struct out *out, struct feed *pushes, struct truth *truth, struct err *err);
void pos_plan(const struct day *day); /* sales of the day: fills world->sold; called before the hours of a day */
void web_day(const struct day *day, struct feed *feed);
void crm_day(const struct day *day, struct feed *feed);

#define DAY_US INT64_C(86400000000)
#define HOUR_US INT64_C(3600000000)

#endif
