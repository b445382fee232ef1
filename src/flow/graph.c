/* The graph: who reads whom, in which order models run, and what is wrong with it. */
#include <ctype.h>
#include <string.h>

#include "base/assert.h"
#include "flow/flow_priv.h"

struct resolving {
    struct model_reader *r;
    struct model_set *set;
    const struct engine_view *bronze;
    const char **known; /* all names, for "did you mean" */
    size_t known_n;
};

#define says(g, m, line, column, ...) \
    ((g)->r->problems->file = (m)->pub.file, (m)->broken = true, config_problem_add((g)->r->problems, false, line, column, __VA_ARGS__))

static char *lower(struct arena *arena, const char *text) {
    char *copy = arena_strdup(arena, text);
    for (char *c = copy; *c; c++) *c = (char)tolower((unsigned char)*c);
    return copy;
}

static const char *full_name(struct arena *arena, const char *schema, const char *name) { return lower(arena, arena_printf(arena, "%s.%s", schema, name)); }

static const struct engine_table *bronze_table(const struct engine_view *view, const char *name) {
    for (size_t i = 0; view && i < view->tables_n; i++) {
        if (strcmp(view->tables[i].schema, "bronze") == 0 && strcmp(view->tables[i].name, name) == 0) return &view->tables[i];
    }
    return NULL;
}

static struct model *find_model(const struct resolving *g, const char *full) { return map_get(g->set->by_name, str_of(full)); }

/* ---- what is known ---- */

static void list_known(struct resolving *g) {
    size_t bronze_n = g->bronze ? g->bronze->tables_n : 0;
    g->known = arena_new_array(g->r->arena, const char *, g->set->n + bronze_n + 1);
    for (size_t i = 0; i < g->set->n; i++) g->known[g->known_n++] = g->set->models[i]->pub.full;
    for (size_t i = 0; i < bronze_n; i++) g->known[g->known_n++] = full_name(g->r->arena, g->bronze->tables[i].schema, g->bronze->tables[i].name);
}

/* The nearest full name, also when only the last part was given. */
static const char *nearest(struct resolving *g, const char *schema, const char *name) {
    for (size_t i = 0; !*schema && i < g->known_n; i++) {
        const char *dot = strchr(g->known[i], '.');
        if (dot && strcmp(dot + 1, name) == 0) return arena_printf(g->r->arena, " (did you mean \"%s\"?)", g->known[i]);
    }
    return flow_suggest(g->r->arena, *schema ? full_name(g->r->arena, schema, name) : name, g->known, g->known_n);
}

/* ---- needs ---- */

static void need(struct resolving *g, struct model *m, struct model *other) {
    for (size_t i = 0; i < m->needs_n; i++) {
        if (m->needs[i] == other) return;
    }
    struct model **longer = arena_new_array(g->r->arena, struct model *, m->needs_n + 1);
    if (m->needs_n) memcpy(longer, m->needs, m->needs_n * sizeof *longer);
    longer[m->needs_n++] = other;
    m->needs = longer;
}

enum named { NAMED_NOTHING, NAMED_MODEL, NAMED_BRONZE };

/* A model whose file could not be read, which was said: what reads it cannot be judged. */
static bool is_unread(const struct resolving *g, struct model *m, const char *full) {
    if (!g->set->unread || !map_get(g->set->unread_names, str_of(full))) return false;
    m->broken = true;
    return true;
}

static enum named what_is(struct resolving *g, const char *full, struct model **model, enum flow_input_kind *kind) {
    *model = find_model(g, full);
    if (*model) {
        *kind = (*model)->pub.kind == FLOW_REFERENCE ? FLOW_INPUT_REFERENCE : FLOW_INPUT_MODEL;
        return NAMED_MODEL;
    }
    if (strncmp(full, "bronze.", 7) != 0) return NAMED_NOTHING;
    const struct engine_table *table = bronze_table(g->bronze, full + 7);
    if (g->bronze && !table) return NAMED_NOTHING;
    *kind = table && !table->has_log ? FLOW_INPUT_LANDING : FLOW_INPUT_EVENTS;
    for (size_t i = 0; table && *kind == FLOW_INPUT_LANDING && i < table->columns_n; i++) {
        if (strcmp(table->columns[i].name, "_offset") == 0) *kind = FLOW_INPUT_EVENTS; /* a stream without a log here */
    }
    return NAMED_BRONZE;
}

static void resolve_mention(struct resolving *g, struct model *m, const struct mention *found) {
    if (found->is_cte || (strcmp(found->schema, "this") == 0 && m->pub.merge)) return;
    struct model *other;
    enum flow_input_kind kind;
    enum named named = *found->schema ? what_is(g, full_name(g->r->arena, found->schema, found->name), &other, &kind) : NAMED_NOTHING;
    if (named == NAMED_MODEL && other == m) {
        says(g, m, found->line, found->column, "%s reads itself", m->pub.full);
    } else if (named == NAMED_MODEL) {
        need(g, m, other);
    } else if (named == NAMED_NOTHING && !found->scanned && !is_unread(g, m, full_name(g->r->arena, found->schema, found->name))) {
        const char *dot = *found->schema ? "." : "";
        says(g, m, found->line, found->column, "there is no table %s%s%s%s%s", found->schema, dot, found->name,
            *found->schema ? "" : "; tables are named with their schema", nearest(g, found->schema, lower(g->r->arena, found->name)));
    }
}

static void resolve_needs(struct resolving *g, struct model *m) {
    for (size_t i = 0; i < m->mentions_n; i++) resolve_mention(g, m, &m->mentions[i]);
    for (size_t i = 0; i < m->depends_on.n; i++) {
        struct name_at *at = &m->depends_on.list[i];
        struct model *other;
        enum flow_input_kind kind;
        enum named named = what_is(g, lower(g->r->arena, at->name), &other, &kind);
        if (named == NAMED_MODEL && other != m) need(g, m, other);
        if (named == NAMED_NOTHING && !is_unread(g, m, lower(g->r->arena, at->name)))
            says(g, m, at->line, at->column, "depends_on: there is no table %s%s", at->name, nearest(g, "", at->name));
    }
}

/* ---- order and cycles ---- */

static void say_cycle(struct resolving *g, struct model **path, size_t from, size_t n) {
    const char *text = path[from]->pub.full;
    for (size_t i = from + 1; i < n; i++) text = arena_printf(g->r->arena, "%s, which reads %s", text, path[i]->pub.full);
    struct model *m = path[from];
    struct model *next = from + 1 < n ? path[from + 1] : m;
    int line = m->header_line, column = 1;
    for (size_t i = 0; i < m->mentions_n; i++) {
        if (strcmp(full_name(g->r->arena, m->mentions[i].schema, m->mentions[i].name), next->pub.full) != 0) continue;
        line = m->mentions[i].line;
        column = m->mentions[i].column;
        break;
    }
    says(g, m, line, column, "models read each other in a circle: %s, which reads %s", text, m->pub.full);
}

/* Depth first; depth is bounded by the number of models. */
static void visit(struct resolving *g, struct model *m, struct model **path, size_t depth, size_t *placed) {
    must(depth < g->set->n);
    m->mark = 1;
    path[depth] = m;
    for (size_t i = 0; i < m->needs_n; i++) {
        struct model *other = m->needs[i];
        if (other->mark == 0) visit(g, other, path, depth + 1, placed);
        if (other->mark != 1) continue;
        size_t from = depth;
        while (path[from] != other) from--;
        say_cycle(g, path, from, depth + 1);
    }
    m->mark = 2;
    m->place = *placed;
    g->set->models[(*placed)++] = m;
}

/* Models keep the order of their names where nothing else decides, so that runs are the same everywhere. References come first. */
static void order_models(struct resolving *g) {
    size_t n = g->set->n, placed = 0;
    struct model **all = arena_new_array(g->r->arena, struct model *, n + 1), **path = arena_new_array(g->r->arena, struct model *, n + 1);
    if (n) memcpy(all, g->set->models, n * sizeof *all);
    for (int references = 1; references >= 0; references--) {
        for (size_t i = 0; i < n; i++) {
            if ((all[i]->pub.kind == FLOW_REFERENCE) == references && all[i]->mark == 0) visit(g, all[i], path, 0, &placed);
        }
    }
    must(placed == n);
}

/* ---- inputs ---- */

struct input_list {
    struct flow_input *list;
    size_t n, cap;
};

static bool is_listed(struct arena *arena, const struct names_at *names, const char *full) {
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(lower(arena, names->list[i].name), full) == 0) return true;
    }
    return false;
}

static struct reads_row *reads_of(struct arena *arena, struct model *m, const char *full) {
    for (size_t i = 0; i < m->reads_n; i++) {
        if (strcmp(lower(arena, m->reads[i].input.name), full) == 0) return &m->reads[i];
    }
    return NULL;
}

static struct flow_input *find_input(struct input_list *inputs, const char *full) {
    for (size_t i = 0; i < inputs->n; i++) {
        if (strcmp(inputs->list[i].full, full) == 0) return &inputs->list[i];
    }
    return NULL;
}

/* A table of which a change says where it reaches: by its own time in bucket models. */
static bool can_drive(const struct model *m, enum flow_input_kind kind, const struct model *other) {
    must(other || kind != FLOW_INPUT_MODEL);
    if (kind == FLOW_INPUT_REFERENCE) return false;
    return !m->pub.bucket || m->pub.by_n || kind != FLOW_INPUT_MODEL || other->pub.kind == FLOW_VIEW || other->pub.time;
}

static void add_input(struct resolving *g, struct model *m, struct input_list *inputs, const char *full, enum flow_input_kind kind, struct model *other,
    int line, const struct reads_row *reads, bool lookup) {
    struct flow_input *in = find_input(inputs, full);
    if (!in) {
        if (inputs->n == inputs->cap) {
            struct flow_input *old = inputs->list;
            inputs->cap = inputs->cap ? inputs->cap * 2 : 8;
            inputs->list = arena_new_array(g->r->arena, struct flow_input, inputs->cap);
            if (old) memcpy(inputs->list, old, inputs->n * sizeof *old);
        }
        in = &inputs->list[inputs->n++];
        const char *dot = strchr(full, '.');
        *in = (struct flow_input){.schema = arena_strndup(g->r->arena, full, (size_t)(dot - full)),
            .name = arena_strdup(g->r->arena, dot + 1),
            .full = arena_strdup(g->r->arena, full),
            .kind = kind,
            .model = other ? &other->pub : NULL,
            .lookup = lookup,
            .line = line};
    }
    in->lookup = in->lookup && lookup;
    if (!reads) return;
    in->reads_until_next = in->reads_until_next || reads->until_next;
    if (reads->ms > in->reads_ms) in->reads_ms = reads->ms;
}

/* The table itself, and for a view all that it reads. */
static void add_named(struct resolving *g, struct model *m, struct input_list *inputs, const char *full, int line) {
    struct model *other;
    enum flow_input_kind kind;
    if (what_is(g, full, &other, &kind) == NAMED_NOTHING || other == m) return;
    struct reads_row *reads = reads_of(g->r->arena, m, full);
    if (reads) reads->used = true;
    bool lookup = is_listed(g->r->arena, &m->lookups, full) || !can_drive(m, kind, other);
    add_input(g, m, inputs, full, kind, other, line, reads, lookup);
    if (!other || other->pub.kind != FLOW_VIEW) return;
    for (size_t i = 0; i < other->pub.inputs_n; i++) {
        const struct flow_input *in = &other->pub.inputs[i];
        struct model *below = in->model ? find_model(g, in->full) : NULL;
        struct reads_row *own = reads_of(g->r->arena, m, in->full);
        if (own) own->used = true;
        bool below_lookup = lookup || is_listed(g->r->arena, &m->lookups, in->full) || !can_drive(m, in->kind, below);
        add_input(g, m, inputs, in->full, in->kind, below, line, own ? own : reads, below_lookup);
    }
}

static void say_unused(struct resolving *g, struct model *m) {
    for (size_t i = 0; i < m->reads_n; i++) {
        if (!m->reads[i].used) says(g, m, m->reads[i].input.line, m->reads[i].input.column, "reads: the SQL does not read %s", m->reads[i].input.name);
    }
    for (size_t i = 0; i < m->lookups.n; i++) {
        const struct name_at *at = &m->lookups.list[i];
        bool found = false;
        for (size_t k = 0; k < m->pub.inputs_n; k++) found = found || strcmp(m->pub.inputs[k].full, lower(g->r->arena, at->name)) == 0;
        if (!found) says(g, m, at->line, at->column, "lookups: the SQL does not read %s", at->name);
    }
}

static void list_inputs(struct resolving *g, struct model *m) {
    struct input_list inputs = {0};
    for (size_t i = 0; i < m->mentions_n; i++) {
        const struct mention *found = &m->mentions[i];
        if (!found->is_cte && *found->schema && !strchr(found->schema, '.'))
            add_named(g, m, &inputs, full_name(g->r->arena, found->schema, found->name), found->line);
    }
    for (size_t i = 0; i < m->depends_on.n; i++) {
        if (strchr(m->depends_on.list[i].name, '.')) add_named(g, m, &inputs, lower(g->r->arena, m->depends_on.list[i].name), 0);
    }
    m->pub.inputs = inputs.list;
    m->pub.inputs_n = inputs.n;
    if (!m->broken) say_unused(g, m);
}

/* ---- what a kind allows ---- */

#define VIEWS_DEEP_MAX 32

/* Whether something of the mentions [from, to) of `of` (the model itself, or a view that it reads) shows only new rows in runs of m. */
static bool drives(const struct resolving *g, const struct model *m, const struct model *of, size_t from, size_t to, int depth);

static bool mention_drives(const struct resolving *g, const struct model *m, const struct model *of, const struct mention *found, int depth) {
    if (depth >= VIEWS_DEEP_MAX) return false;
    if (found->is_cte) return drives(g, m, of, found->body_from, found->body_to, depth + 1);
    if (!*found->schema) return false;
    const char *full = full_name(g->r->arena, found->schema, found->name);
    const struct model *view = find_model(g, full);
    if (view && view->pub.kind == FLOW_VIEW) return !is_listed(g->r->arena, &m->lookups, full) && drives(g, m, view, 0, view->mentions_n, depth + 1);
    for (size_t k = 0; k < m->pub.inputs_n; k++) {
        if (strcmp(m->pub.inputs[k].full, full) == 0) return !m->pub.inputs[k].lookup;
    }
    return false;
}

static bool drives(const struct resolving *g, const struct model *m, const struct model *of, size_t from, size_t to, int depth) {
    for (size_t i = from; i < to; i++) {
        if (mention_drives(g, m, of, &of->mentions[i], depth)) return true;
    }
    return false;
}

/* A join of two driving inputs, or a subquery that looks at one, in the SQL of `of`; NULL: none. */
static const struct mention *misses_rows(const struct resolving *g, const struct model *m, const struct model *of, bool *nested) {
    for (size_t i = 0; i < of->joins_n; i++) {
        const struct join_sides *join = &of->joins[i];
        *nested = false;
        if (drives(g, m, of, join->from, join->middle, 0) && drives(g, m, of, join->middle, join->to, 0)) return &of->mentions[join->middle];
    }
    for (size_t i = 0; i < of->mentions_n; i++) {
        *nested = true;
        if (of->mentions[i].nested && mention_drives(g, m, of, &of->mentions[i], 0)) return &of->mentions[i];
    }
    return NULL;
}

/* The same in the views that it reads, at any depth; said where the model names the first of them. */
static bool check_views(struct resolving *g, struct model *m, const struct model *of, const struct mention *named, int depth) {
    must(of->mentions || !of->mentions_n);
    for (size_t i = 0; i < of->mentions_n && depth < VIEWS_DEEP_MAX; i++) {
        const struct mention *found = &of->mentions[i], *place = named ? named : found;
        const char *full = *found->schema && !found->is_cte ? full_name(g->r->arena, found->schema, found->name) : "";
        const struct model *view = find_model(g, full);
        bool nested;
        if (!view || view->pub.kind != FLOW_VIEW || is_listed(g->r->arena, &m->lookups, full)) continue;
        const struct mention *wrong = misses_rows(g, m, view, &nested);
        if (wrong) {
            says(g, m, place->line, place->column,
                "the view %s %s %s (%s:%d): a stream model sees each input's new rows alone; name one of them under lookups, or make the model incremental",
                full, nested ? "looks in a subquery at" : "joins two inputs, one of them", wrong->name, view->pub.file, wrong->line);
            return false;
        }
        if (!check_views(g, m, view, place, depth + 1)) return false;
    }
    return true;
}

/* A stream model sees only what is new of each input: rows of two of them would miss each other. */
static void check_stream(struct resolving *g, struct model *m) {
    bool nested;
    const struct mention *found = misses_rows(g, m, m, &nested);
    if (found && nested) {
        says(g, m, found->line, found->column,
            "a stream model cannot look at %s in a subquery: it sees only the new rows; name it under lookups, or make the model incremental", found->name);
    } else if (found) {
        says(g, m, found->line, found->column,
            "a stream model sees each input's new rows alone and cannot join two of them; name %s under lookups, or make the model incremental", found->name);
    } else {
        (void)check_views(g, m, m, NULL, 0);
    }
}

/* A view that is looked up is over the same tables as the rest of the SQL: one that drives would show its new rows there too. */
static void check_lookups(struct resolving *g, struct model *m) {
    for (size_t i = 0; i < m->lookups.n; i++) {
        const struct name_at *at = &m->lookups.list[i];
        const struct model *view = find_model(g, lower(g->r->arena, at->name));
        for (size_t k = 0; view && view->pub.kind == FLOW_VIEW && k < view->pub.inputs_n; k++) {
            const struct flow_input *below = &view->pub.inputs[k], *in = NULL;
            for (size_t j = 0; j < m->pub.inputs_n && !in; j++) {
                if (strcmp(m->pub.inputs[j].full, below->full) == 0) in = &m->pub.inputs[j];
            }
            if (!in || in->lookup || (in->model && in->model->kind == FLOW_VIEW)) continue;
            says(g, m, at->line, at->column, "lookups: %s reads %s, of which this model sees only what changed; look up a table that a model makes of it",
                at->name, in->full);
            break;
        }
    }
}

static void check_inputs(struct resolving *g, struct model *m) {
    size_t driving = 0;
    for (size_t i = 0; i < m->pub.inputs_n; i++) {
        const struct flow_input *in = &m->pub.inputs[i];
        bool bronze = in->kind == FLOW_INPUT_EVENTS || in->kind == FLOW_INPUT_LANDING;
        driving += !in->lookup && !(in->model && in->model->kind == FLOW_VIEW);
        if (m->pub.kind != FLOW_INCREMENTAL || !bronze || m->pub.merge) continue;
        says(g, m, in->line ? in->line : m->header_line, 1,
            "an incremental model reads tables of models (%s has no business time yet): make a stream model of it first", in->full);
        return;
    }
    if (!driving && (m->pub.kind == FLOW_STREAM || m->pub.kind == FLOW_INCREMENTAL)) {
        says(g, m, m->pub.sql_line, 1, "nothing drives this model: it reads only look-ups; kind full fits it");
    }
    if (m->pub.kind != FLOW_FULL && !m->broken) check_lookups(g, m);
    if (m->pub.kind == FLOW_STREAM && !m->broken) check_stream(g, m);
}

void graph_resolve(struct model_reader *r, struct model_set *set, const struct engine_view *bronze) {
    must(r && set);
    struct resolving g = {.r = r, .set = set, .bronze = bronze};
    const char *file = r->problems->file;
    list_known(&g);
    for (size_t i = 0; i < set->n; i++) resolve_needs(&g, set->models[i]);
    order_models(&g);
    for (size_t i = 0; i < set->n; i++) {
        if (set->models[i]->pub.kind == FLOW_REFERENCE) continue;
        list_inputs(&g, set->models[i]);
        if (!set->models[i]->broken) check_inputs(&g, set->models[i]);
    }
    r->problems->file = file;
}
