/* Which models have something to do: asked several times a second, so from memory, the log's ends and the lake's table versions only. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

struct asking {
    struct flow *flow;
    struct arena *arena;
    struct lake_pin *pin;
};

static const struct engine_table *table_of(const struct asking *a, const struct flow_input *in) {
    const struct engine_view *view = a->pin ? lake_pin_view(a->pin) : NULL;
    for (size_t i = 0; view && i < view->tables_n; i++) {
        if (strcmp(view->tables[i].schema, in->schema) == 0 && strcmp(view->tables[i].name, in->name) == 0) return &view->tables[i];
    }
    return NULL;
}

/* The log's durable ends against the offsets that were read. */
static bool stream_moved(const struct asking *a, const struct engine_table *table, const struct position *at) {
    struct stream_state state;
    if (!a->flow->options.log || !table->has_log || stream_state(a->flow->options.log, a->arena, table->stream, &state, NULL) != OK) return false;
    for (uint16_t p = 0; p < state.partitions_n; p++) {
        if (state.partitions[p].end_offset > (p < at->offsets_n ? at->offsets[p] : 0)) return true;
    }
    return false;
}

static bool table_moved(const struct asking *a, const char *model, const struct flow_input *in, const struct engine_table *table) {
    struct seen_table seen;
    uint64_t before = 0;
    if (!state_seen(a->flow, model, in->full, &seen) || seen.version != table->version) return true;
    return landing_watermark(a->flow, table, &before, NULL) == OK && before != seen.before;
}

static bool bronze_moved(const struct asking *a, const char *model, const struct flow_input *in) {
    struct position at = {0};
    const struct engine_table *table = table_of(a, in);
    if (!table) return false;
    if (!state_position(a->flow, a->arena, model, in->full, &at)) return true;
    if (in->kind == FLOW_INPUT_EVENTS && a->flow->options.log && table->has_log) return stream_moved(a, table, &at);
    return table_moved(a, model, in, table);
}

static bool input_moved(const struct asking *a, const char *model, const struct flow_input *in) {
    struct position at = {0};
    struct table_state t;
    if (in->kind == FLOW_INPUT_EVENTS || in->kind == FLOW_INPUT_LANDING) return bronze_moved(a, model, in);
    if (in->model->kind == FLOW_VIEW) return false; /* what it reads is in the list too */
    if (!state_table(a->flow, in->full, &t)) return false;
    return !state_position(a->flow, a->arena, model, in->full, &at) || t.version > at.version;
}

static bool inputs_exist(const struct asking *a, const struct flow_model *p) {
    for (size_t i = 0; i < p->inputs_n; i++) {
        struct table_state t;
        const struct flow_input *in = &p->inputs[i];
        if (in->model && in->model->kind != FLOW_VIEW && !state_table(a->flow, in->full, &t)) return false;
    }
    return true;
}

/* Its size and time are looked at; the content is read only when they moved. */
static bool reference_moved(const struct asking *a, const struct model *m, const char *built) {
    const struct fs *fs = a->flow->options.host->fs;
    struct fs_stat csv = {0}, settings = {0};
    struct seen_table seen, now;
    if (fs->stat(fs->self, m->source_path, &csv, NULL) != OK) return false;
    (void)fs->stat(fs->self, m->settings_path, &settings, NULL);
    now = (struct seen_table){(uint64_t)(csv.mtime_ns ^ settings.mtime_ns), csv.size_bytes};
    if (built && state_seen(a->flow, m->pub.full, "", &seen) && seen.version == now.version && seen.before == now.before) return false;
    const char *content;
    if (reference_content(a->flow, a->arena, m, &content, NULL) != OK) return false;
    if (!built || strcmp(built, arena_printf(a->arena, "%s:%s", m->pub.fingerprint, content)) != 0) return true;
    state_note_seen(a->flow, m->pub.full, "", now);
    return false;
}

static bool is_due(const struct asking *a, const struct model *m) {
    const struct flow_model *p = &m->pub;
    if (!p->bound) return false;
    const char *built = state_built(a->flow, a->arena, p->full);
    if (p->kind == FLOW_REFERENCE) return reference_moved(a, m, built);
    bool changed = !built || strcmp(built, p->fingerprint) != 0;
    if (p->kind == FLOW_VIEW) return changed;
    if (!inputs_exist(a, p)) return false;
    if (changed) return true;
    for (size_t i = 0; i < p->inputs_n; i++) {
        if (input_moved(a, p->full, &p->inputs[i])) return true;
    }
    return false;
}

enum status flow_due(struct flow *flow, struct arena *arena, const char *const **names, size_t *n, struct err *err) {
    must(flow && arena && names && n);
    *n = 0;
    *names = NULL;
    if (!flow_set(flow)->n) return OK; /* and the engine need not start for the answer */
    enum status st = state_load(flow, err);
    struct asking a = {.flow = flow, .arena = arena};
    if (st == OK && flow->options.lake) st = lake_pin(flow->options.lake, &a.pin, err);
    if (st != OK) return st;
    const struct model_set *set = flow_set(flow);
    const char **due = arena_new_array(arena, const char *, set->n + 1);
    size_t found = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (is_due(&a, set->models[i])) due[found++] = set->models[i]->pub.full;
    }
    if (a.pin) lake_unpin(&a.pin);
    *names = due;
    *n = found;
    return OK;
}
