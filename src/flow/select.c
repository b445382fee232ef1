#include "flow/select.h"

#include <string.h>

#include "base/assert.h"

struct selection {
    const struct flow_model *const *models;
    size_t n;
    bool *chosen;
};

static long index_of(const struct selection *s, const struct flow_model *model) {
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->models[i]->full, model->full) == 0) return (long)i;
    }
    return -1;
}

static bool fits(const struct flow_model *model, struct str text) {
    if (str_is(text, "*") || str_is(text, model->full) || str_is(text, model->name)) return true;
    if (str_starts(text, STR("tag:"))) {
        for (size_t i = 0; i < model->tags_n; i++) {
            if (str_is(str_from(text, 4), model->tags[i])) return true;
        }
        return false;
    }
    return text.n > 2 && str_ends(text, STR(".*")) && str_is(str_head(text, text.n - 2), model->schema);
}

static bool reads(const struct flow_model *reader, const struct flow_model *read) {
    for (size_t i = 0; i < reader->inputs_n; i++) {
        if (reader->inputs[i].model && strcmp(reader->inputs[i].model->full, read->full) == 0) return true;
    }
    return false;
}

/* Models are in topological order: one pass forwards finds all readers, one backwards all that is read. */
static void add_readers(const struct selection *s, bool *set) {
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < i && !set[i]; k++) set[i] = set[k] && reads(s->models[i], s->models[k]);
    }
}

static void add_read(const struct selection *s, bool *set) {
    for (size_t i = s->n; i-- > 0;) {
        if (!set[i]) continue;
        for (size_t k = 0; k < s->models[i]->inputs_n; k++) {
            const struct flow_model *model = s->models[i]->inputs[k].model;
            long at = model ? index_of(s, model) : -1;
            if (at >= 0) set[at] = true;
        }
    }
}

static enum status nothing_fits(const struct selection *s, struct str text, struct err *err) {
    const char *nearest = NULL;
    int best = 4;
    for (size_t i = 0; i < s->n; i++) {
        int distance = str_distance(text, str_of(s->models[i]->full));
        if (distance >= best) continue;
        best = distance;
        nearest = s->models[i]->full;
    }
    if (nearest) return err_set(err, E_NOT_FOUND, "no model fits \"" STR_FMT "\"; did you mean %s?", STR_ARG(str_head(text, 100)), nearest);
    return err_set(err, E_NOT_FOUND, "no model fits \"" STR_FMT "\"", STR_ARG(str_head(text, 100)));
}

static enum status choose(struct selection *s, struct arena *arena, struct str selector, struct err *err) {
    struct str text = selector;
    bool upwards = str_starts(text, STR("+")), any = false;
    if (upwards) text = str_from(text, 1);
    bool downwards = str_ends(text, STR("+"));
    if (downwards) text.n--;
    bool *set = arena_new_array(arena, bool, s->n + 1);
    for (size_t i = 0; i < s->n; i++) any = (set[i] = fits(s->models[i], text)) || any;
    if (!any && !str_is(text, "*")) return nothing_fits(s, text, err);
    bool *behind = arena_new_array(arena, bool, s->n + 1);
    memcpy(behind, set, s->n * sizeof *set);
    if (downwards) add_readers(s, behind);
    if (upwards) add_read(s, set);
    for (size_t i = 0; i < s->n; i++) s->chosen[i] = s->chosen[i] || set[i] || behind[i];
    return OK;
}

enum status flow_select(const struct flow_model *const *models, size_t models_n, const char *const *selectors, size_t selectors_n, struct arena *arena,
    const char *const **out, size_t *n, struct err *err) {
    must(out && n && (models || models_n == 0));
    struct selection s = {models, models_n, arena_new_array(arena, bool, models_n + 1)};
    for (size_t i = 0; i < selectors_n; i++) {
        enum status status = choose(&s, arena, str_of(selectors[i]), err);
        if (status != OK) return status;
    }
    const char **names = arena_new_array(arena, const char *, models_n + 1);
    size_t count = 0;
    for (size_t i = 0; i < models_n; i++) {
        if (s.chosen[i] || selectors_n == 0) names[count++] = models[i]->full;
    }
    *out = names;
    *n = count;
    return OK;
}
