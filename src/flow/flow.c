/* Opening, closing, looking up. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "flow/run_priv.h"

enum status flow_open(const struct flow_options *options, struct flow **out, struct err *err) {
    must(options && options->host && options->dir && out);
    (void)err;
    struct flow *flow = mem_zalloc(sizeof *flow);
    flow->arena = arena_new();
    flow->options = *options;
    flow->wave_rows = WAVE_ROWS;
    flow->options.dir = arena_strdup(flow->arena, options->dir);
    flow->options.timezone = arena_strdup(flow->arena, options->timezone ? options->timezone : "UTC");
    mutex_init(&flow->load_lock);
    mutex_init(&flow->state_lock);
    mutex_init(&flow->lock);
    condition_init(&flow->ended);
    struct arena *arena = arena_new();
    flow->set = arena_new_one(arena, struct model_set);
    flow->set->arena = arena;
    flow->set->by_name = map_new();
    flow->running = map_new();
    flow->positions = map_new();
    flow->versions = map_new();
    flow->built = map_new();
    flow->canceller = canceller_new();
    flow->seen = map_new();
    *out = flow;
    return OK;
}

static void free_values(struct map **map) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(*map, &at, &key, &value)) free(value);
    map_free(map);
}

void flow_close(struct flow **flow) {
    struct flow *f = flow ? *flow : NULL;
    if (!f) return;
    must(map_count(f->running) == 0);
    for (struct model_set *set = f->set, *older; set; set = older) {
        older = set->older;
        map_free(&set->by_name);
        struct arena *arena = set->arena;
        arena_free(&arena);
    }
    canceller_free(&f->canceller);
    buf_free(&f->unnoted);
    state_clear(f);
    map_free(&f->running);
    free_values(&f->positions);
    free_values(&f->versions);
    free_values(&f->built);
    free_values(&f->seen);
    condition_destroy(&f->ended);
    mutex_destroy(&f->lock);
    mutex_destroy(&f->state_lock);
    mutex_destroy(&f->load_lock);
    arena_free(&f->arena);
    free(f);
    *flow = NULL;
}

void flow_forget(struct flow *flow) {
    must(flow);
    state_forget(flow);
}

struct model_set *flow_set(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    return flow->set;
}

size_t flow_models(struct flow *flow, const struct flow_model *const **out) {
    must(flow && out);
    const struct model_set *set = flow_set(flow);
    *out = set->pub;
    return set->n;
}

const struct flow_model *flow_find(struct flow *flow, const char *full) {
    must(flow && full);
    const struct model *m = map_get(flow_set(flow)->by_name, str_of(full));
    return m ? &m->pub : NULL;
}
