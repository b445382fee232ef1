/* Seeded numbers: splitmix64, one generator per purpose and day, so that changing one feed leaves the others as they were. */
#include "base/assert.h"
#include "sim.h"

uint64_t rng_next(struct rng *r) {
    uint64_t z = (r->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

struct rng rng_make(uint64_t seed, const char *purpose, int64_t day) {
    struct rng r = {.state = seed ^ UINT64_C(0xC0FFEE)};
    for (const char *p = purpose; *p; p++) r.state = rng_next(&r) ^ (uint8_t)*p;
    r.state = rng_next(&r) ^ (uint64_t)day;
    rng_next(&r);
    return r;
}

double rng_unit(struct rng *r) { return (double)(rng_next(r) >> 11) / 9007199254740992.0; }

uint32_t rng_below(struct rng *r, uint32_t n) {
    must(n > 0);
    return (uint32_t)(rng_unit(r) * n);
}

bool rng_chance(struct rng *r, double probability) { return rng_unit(r) < probability; }

uint32_t rng_geometric(struct rng *r, double mean, uint32_t max) {
    must(mean >= 1 && max >= 1);
    uint32_t n = 1;
    while (n < max && rng_chance(r, 1 - 1 / mean)) n++;
    return n;
}

uint32_t rng_weighted(struct rng *r, const double *weights, uint32_t n, double total) {
    must(n > 0 && total > 0);
    double left = rng_unit(r) * total;
    for (uint32_t i = 0; i < n; i++) {
        left -= weights[i];
        if (left < 0) return i;
    }
    return n - 1;
}
