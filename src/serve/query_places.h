/* How many queries each token has under way: one user must not take all places of the engine. Any thread. */
#ifndef CUPEL_SERVE_QUERY_PLACES_H
#define CUPEL_SERVE_QUERY_PLACES_H

#include "base/err.h"
#include "host/host.h"

struct query_places;
struct query_place; /* of one token */

struct query_places *query_places_new(const struct host *host);
void query_places_free(struct query_places **places); /* all were given back */

struct query_place_wish {
    const char *token;
    uint32_t limit; /* running at once; as many more may wait */
    int64_t wait_ms; /* 0: not at all */
    bool (*cancelled)(void *context); /* asked about every 100 ms; may be NULL */
    void *context;
};
/* E_BUSY names the limit; E_CANCELLED. */
enum status query_place_take(struct query_places *places, const struct query_place_wish *wish, struct query_place **out, struct err *err);
void query_place_give(struct query_places *places, struct query_place **place); /* fine with NULL in it */

#endif
