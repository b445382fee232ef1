/* What this process knows of the warehouse: read once from its schema cupel, then kept up to date by every commit. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "flow/run_priv.h"

static void position_free(struct position *p) {
    if (p) free(p->offsets);
    free(p);
}

static void clear(struct map **map, bool positions) {
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(*map, &at, &key, &value)) {
        if (positions) {
            position_free(value);
        } else {
            free(value);
        }
    }
    map_free(map);
    *map = map_new();
}

static void clear_locked(struct flow *flow) {
    clear(&flow->positions, true);
    clear(&flow->versions, false);
    clear(&flow->built, false);
}

void state_clear(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    clear_locked(flow);
    flow->state_known = false;
}

/* What is there stays until it is read again: another model's run may be looking at its own, and nothing would mean to it that it has no table. */
void state_forget(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    flow->state_known = false;
}

static char *pair_key(struct arena *arena, const char *model, const char *input) { return arena_printf(arena, "%s %s", model, input); }

/* ---- positions as JSON ---- */

void position_json(const struct run_input *in, struct buf *out) {
    must(in && out);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    if (in->model) {
        json_put_int(&w, "version", in->to.version);
    } else {
        json_name(&w, "offsets");
        json_begin_array(&w);
        for (uint16_t p = 0; p < in->to.offsets_n; p++) json_uint(&w, in->to.offsets[p]);
        json_end_array(&w);
        json_put_int(&w, "received_us", in->to.received_us);
    }
    if (*in->to.hash) json_put_text(&w, "hash", in->to.hash);
    json_end_object(&w);
}

bool position_same(const struct position *a, const struct position *b) {
    if (a->version != b->version || strcmp(a->hash, b->hash) != 0) return false;
    for (uint16_t p = 0; p < a->offsets_n || p < b->offsets_n; p++) {
        uint64_t x = p < a->offsets_n ? a->offsets[p] : 0, y = p < b->offsets_n ? b->offsets[p] : 0;
        if (x != y) return false;
    }
    return true;
}

static struct position *position_parse(const char *text) {
    struct position *p = mem_zalloc(sizeof *p);
    json_t *root = text ? json_loads(text, 0, NULL) : NULL, *offsets = json_object_get(root, "offsets");
    size_t n = json_array_size(offsets);
    if (n > POSITION_PARTITIONS_MAX) n = POSITION_PARTITIONS_MAX;
    p->offsets = mem_zalloc((n + 1) * sizeof *p->offsets);
    p->offsets_n = (uint16_t)n;
    for (size_t i = 0; i < n; i++) p->offsets[i] = (uint64_t)json_integer_value(json_array_get(offsets, i));
    p->received_us = cell_int(root, "received_us");
    p->version = cell_int(root, "version");
    const char *hash = cell_text(root, "hash");
    if (hash) memcpy(p->hash, hash, strnlen(hash, sizeof p->hash - 1));
    json_decref(root);
    return p;
}

static struct position *position_copy(const struct position *from) {
    struct position *p = mem_alloc(sizeof *p);
    *p = *from;
    p->offsets = mem_zalloc((from->offsets_n + 1u) * sizeof *p->offsets);
    if (from->offsets_n) memcpy(p->offsets, from->offsets, from->offsets_n * sizeof *p->offsets);
    return p;
}

/* ---- reading ---- */

static void take_positions(struct flow *flow, const json_t *rows) {
    size_t i;
    json_t *row;
    ARENA_SCOPE(arena);
    json_array_foreach(rows, i, row) {
        const char *model = cell_text(row, "model"), *input = cell_text(row, "input");
        if (model && input) position_free(map_put(flow->positions, str_of(pair_key(arena, model, input)), position_parse(cell_text(row, "position"))));
    }
}

static void take_versions(struct flow *flow, const json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        struct table_state *t = mem_alloc(sizeof *t);
        *t = (struct table_state){cell_int(row, "v"), cell_int(row, "r")};
        if (cell_text(row, "table_name")) {
            free(map_put(flow->versions, str_of(cell_text(row, "table_name")), t));
        } else {
            free(t);
        }
    }
}

static void take_built(struct flow *flow, const json_t *rows) {
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const char *model = cell_text(row, "model"), *fingerprint = cell_text(row, "fingerprint");
        if (model && fingerprint) free(map_put(flow->built, str_of(model), mem_strdup(fingerprint)));
    }
}

static uint64_t notes_of(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    return flow->notes;
}

/* *again: a run committed meanwhile, and what was read may be from before that; it was not taken. */
static enum status read_state(struct flow *flow, struct engine_work *work, bool *again, struct err *err) {
    uint64_t notes = notes_of(flow);
    json_t *positions = NULL, *versions = NULL, *built = NULL, *last = NULL;
    /* The feed keeps a week, and of each table its newest change and newest rebuild. */
    enum status st = work_rows(work,
        "DELETE FROM warehouse.cupel.changes WHERE \"at\" < now() - INTERVAL 7 DAY AND version NOT IN (SELECT max(version) FROM warehouse.cupel.changes GROUP "
        "BY table_name, rebuilt)",
        NULL, err);
    if (st == OK) st = work_rows(work, "SELECT model, input, position FROM warehouse.cupel.positions", &positions, err);
    if (st == OK) {
        st = work_rows(work, "SELECT table_name, max(version) AS v, coalesce(max(version) FILTER (rebuilt), 0) AS r FROM warehouse.cupel.changes GROUP BY ALL",
            &versions, err);
    }
    if (st == OK) st = work_rows(work, "SELECT model, fingerprint FROM warehouse.cupel.models", &built, err);
    if (st == OK) {
        st = work_rows(work,
            "SELECT greatest((SELECT coalesce(max(version), 0) FROM warehouse.cupel.changes), (SELECT coalesce(max(version), 0) FROM warehouse.cupel.runs), "
            "(SELECT coalesce(max(version), 0) FROM warehouse.cupel.positions)) AS v",
            &last, err);
    }
    if (st == OK) {
        WITH_LOCK(&flow->lock); /* in a block of its own: the rows are freed outside */
        *again = flow->notes != notes;
        if (!*again) {
            clear_locked(flow);
            take_positions(flow, positions);
            take_versions(flow, versions);
            take_built(flow, built);
            flow->state_known = true;
        }
        int64_t version = cell_int(json_array_get(last, 0), "v");
        if (version > flow->version) flow->version = version;
    }
    json_decref(positions);
    json_decref(versions);
    json_decref(built);
    json_decref(last);
    return st;
}

static bool is_known(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    return flow->state_known;
}

enum status state_load(struct flow *flow, struct err *err) {
    must(flow);
    if (!flow->options.engine) return err_set(err, E_UNAVAILABLE, "there is no engine: models cannot run");
    WITH_LOCK(&flow->state_lock); /* one reader; others wait for what it finds */
    if (is_known(flow)) return OK;
    struct engine_work *work;
    enum status st = engine_work_begin(flow->options.engine, NULL, NULL, 0, 0, &work, err);
    if (st != OK) return st;
    for (bool again = true; st == OK && again;) {
        again = false;
        st = read_state(flow, work, &again, err);
    }
    engine_work_end(&work);
    return st;
}

/* ---- looking up ---- */

bool state_position(struct flow *flow, struct arena *arena, const char *model, const char *input, struct position *out) {
    must(flow && arena && model && input && out);
    WITH_LOCK(&flow->lock);
    const struct position *p = map_get(flow->positions, str_of(pair_key(arena, model, input)));
    if (!p) return false;
    *out = *p;
    out->offsets = arena_new_array(arena, uint64_t, p->offsets_n + 1u);
    if (p->offsets_n) memcpy(out->offsets, p->offsets, p->offsets_n * sizeof *p->offsets);
    return true;
}

bool state_table(struct flow *flow, const char *table, struct table_state *out) {
    WITH_LOCK(&flow->lock);
    const struct table_state *t = map_get(flow->versions, str_of(table));
    if (t) *out = *t;
    return t != NULL;
}

const char *state_built(struct flow *flow, struct arena *arena, const char *model) {
    WITH_LOCK(&flow->lock);
    const char *fingerprint = map_get(flow->built, str_of(model));
    return fingerprint ? arena_strdup(arena, fingerprint) : NULL;
}

int64_t state_next_version(struct flow *flow) {
    WITH_LOCK(&flow->lock);
    return ++flow->version;
}

int64_t state_slowest_reader(struct flow *flow, const struct model *m) {
    ARENA_SCOPE(arena);
    const struct model_set *set = flow_set(flow);
    int64_t slowest = INT64_MAX;
    for (size_t i = 0; i < set->n; i++) {
        const struct flow_model *reader = &set->models[i]->pub;
        for (size_t k = 0; k < reader->inputs_n; k++) {
            struct position at;
            if (reader->kind == FLOW_VIEW || reader->inputs[k].lookup || strcmp(reader->inputs[k].full, m->pub.full) != 0) continue;
            if (reader->kind == FLOW_FULL) continue; /* reads all of it every time */
            if (!state_position(flow, arena, reader->full, m->pub.full, &at)) continue; /* begins with all of it */
            if (at.version < slowest) slowest = at.version;
        }
    }
    return slowest;
}

/* ---- after a commit ---- */

void state_note_run(struct run *run, bool changed, bool rebuilt) {
    must(run);
    struct flow *flow = run->flow;
    ARENA_SCOPE(arena);
    WITH_LOCK(&flow->lock);
    flow->notes++;
    for (size_t i = 0; i < run->inputs_n; i++) {
        const struct run_input *in = &run->inputs[i];
        position_free(map_put(flow->positions, str_of(pair_key(arena, run->m->pub.full, in->in->full)), position_copy(&in->to)));
    }
    free(map_put(flow->built, str_of(run->m->pub.full), mem_strdup(run->fingerprint)));
    if (!changed) return;
    struct table_state *t = map_get(flow->versions, str_of(run->m->pub.full));
    if (!t) {
        t = mem_zalloc(sizeof *t);
        (void)map_put(flow->versions, str_of(run->m->pub.full), t);
    }
    t->version = run->version;
    if (rebuilt) t->rebuilt = run->version;
}

void state_note_seen(struct flow *flow, const char *model, const char *input, struct seen_table seen) {
    ARENA_SCOPE(arena);
    WITH_LOCK(&flow->lock);
    struct seen_table *copy = mem_alloc(sizeof *copy);
    *copy = seen;
    free(map_put(flow->seen, str_of(pair_key(arena, model, input)), copy));
}

bool state_seen(struct flow *flow, const char *model, const char *input, struct seen_table *out) {
    ARENA_SCOPE(arena);
    WITH_LOCK(&flow->lock);
    const struct seen_table *seen = map_get(flow->seen, str_of(pair_key(arena, model, input)));
    if (seen) *out = *seen;
    return seen != NULL;
}
