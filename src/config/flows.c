/* `flows:`: reading them and their steps, and the rules that hold between them. */
#include <string.h>

#include "base/assert.h"
#include "config/config_priv.h"

#define FLOWS_MAX 1000
#define STEPS_MAX 200

/* ---- reading ---- */

static bool read_list(struct option_reader *r, const struct option *option, const struct yaml_node *node, size_t most) {
    if (node->is_null) return false;
    if (node->kind == YAML_LIST && node->n <= most) return true;
    config_error_at(r->problems, node, "%s must be a list of at most %zu", option->name, most);
    return false;
}

bool config_read_steps(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at) {
    must(r->config);
    struct config_flow *flow = (struct config_flow *)(void *)((char *)at - option->offset);
    if (!read_list(r, option, node, STEPS_MAX)) return node->is_null;
    struct config_step *list = arena_new_array(r->arena, struct config_step, node->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < node->n; i++) {
        if (node->items[i]->kind != YAML_MAP) {
            config_error_at(r->problems, node->items[i], "a step must be a map with a name");
            continue;
        }
        list[n] = (struct config_step){.node = node->items[i]};
        config_set_defaults(r, &config_step_section, &list[n]);
        config_read_section(r, &config_step_section, node->items[i], &list[n], 0);
        if (list[n].name) n++;
    }
    flow->steps = list;
    flow->steps_n = n;
    return true;
}

/* `models` alone is one step. */
static void step_of_models(struct option_reader *r, struct config_flow *flow) {
    if (flow->models_n == 0 || flow->steps_n > 0) return;
    struct config_step *step = arena_new_one(r->arena, struct config_step);
    config_set_defaults(r, &config_step_section, step);
    step->name = "models";
    step->models = flow->models;
    step->models_n = flow->models_n;
    step->node = flow->node;
    flow->steps = step;
    flow->steps_n = 1;
}

bool config_read_flows(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at) {
    must(r->config);
    (void)at;
    if (!read_list(r, option, node, FLOWS_MAX)) return node->is_null;
    struct config_flow *list = arena_new_array(r->arena, struct config_flow, node->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < node->n; i++) {
        if (node->items[i]->kind != YAML_MAP) {
            config_error_at(r->problems, node->items[i], "a flow must be a map with a name");
            continue;
        }
        list[n] = (struct config_flow){.node = node->items[i], .line = node->items[i]->line};
        config_set_defaults(r, &config_flow_section, &list[n]);
        config_read_section(r, &config_flow_section, node->items[i], &list[n], 0);
        step_of_models(r, &list[n]);
        if (list[n].name) n++;
    }
    r->config->flows = list;
    r->config->flows_n = n;
    return true;
}

void config_show_steps(struct json_writer *w, const struct option *option, const void *at, bool reveal) {
    const struct config_flow *flow = (const struct config_flow *)(const void *)((const char *)at - option->offset);
    json_begin_array(w);
    for (size_t i = 0; i < flow->steps_n; i++) {
        json_begin_object(w);
        config_show_section(w, &config_step_section, &flow->steps[i], 0, reveal);
        json_end_object(w);
    }
    json_end_array(w);
}

void config_show_flows(struct json_writer *w, const struct option *option, const void *at, bool reveal) {
    const struct config *config = (const struct config *)(const void *)((const char *)at - option->offset);
    json_begin_array(w);
    for (size_t i = 0; i < config->flows_n; i++) {
        json_begin_object(w);
        config_show_section(w, &config_flow_section, &config->flows[i], 0, reveal);
        json_end_object(w);
    }
    json_end_array(w);
}

/* ---- rules ---- */

static const char *const *flow_names(struct option_reader *r, struct arena *scratch) {
    const char **names = arena_new_array(scratch, const char *, r->config->flows_n + 1);
    for (size_t i = 0; i < r->config->flows_n; i++) names[i] = r->config->flows[i].name;
    return names;
}

static const char *const *step_names(const struct config_flow *flow, struct arena *scratch) {
    const char **names = arena_new_array(scratch, const char *, flow->steps_n + 1);
    for (size_t i = 0; i < flow->steps_n; i++) names[i] = flow->steps[i].name;
    return names;
}

static void need_flow(struct option_reader *r, struct arena *scratch, const struct yaml_node *node, const char *name) {
    if (!name || config_find_flow(r->config, str_of(name))) return;
    config_error_at(r->problems, node, "there is no flow \"%s\"%s", name, config_suggest(scratch, str_of(name), flow_names(r, scratch)));
}

static long step_index(const struct config_flow *flow, const char *name) {
    for (size_t i = 0; i < flow->steps_n; i++) {
        if (strcmp(flow->steps[i].name, name) == 0) return (long)i;
    }
    return -1;
}

static void need_step(struct option_reader *r, struct arena *scratch, const struct config_flow *flow, const struct yaml_node *node, const char *name) {
    if (step_index(flow, name) >= 0) return;
    config_error_at(r->problems, node, "flow %s has no step \"%s\"%s", flow->name, name, config_suggest(scratch, str_of(name), step_names(flow, scratch)));
}

static void check_step(struct option_reader *r, struct arena *scratch, const struct config_flow *flow, size_t index) {
    const struct config_step *step = &flow->steps[index];
    must(step->name && step->node);
    int kinds = (step->models_n > 0) + (step->sql != NULL) + (step->flow != NULL);
    if (step_index(flow, step->name) != (long)index)
        config_error_at(r->problems, config_place(step->node, "name"), "flow %s has two steps \"%s\"", flow->name, step->name);
    if (kinds != 1 && step->node != flow->node) config_error_at(r->problems, step->node, "step %s: give one of \"models\", \"sql\" and \"flow\"", step->name);
    need_flow(r, scratch, config_place(step->node, "flow"), step->flow);
    const struct yaml_pair *backoff = step->node == flow->node ? NULL : yaml_pair_of(step->node, "backoff");
    if (backoff && step->retries == 0)
        config_problem_add(r->problems, true, backoff->line, backoff->column, "step %s: backoff has no effect without retries", step->name);
    for (size_t i = 0; i < step->needs_n; i++) need_step(r, scratch, flow, config_place(step->node, "needs"), step->needs[i]);
    if (!step->on_failure) return;
    need_step(r, scratch, flow, config_place(step->node, "on_failure"), step->on_failure);
    if (strcmp(step->on_failure, step->name) == 0)
        config_error_at(r->problems, config_place(step->node, "on_failure"), "step %s cannot be its own on_failure", step->name);
}

/* Depth first; marks: 0 new, 1 on the way, 2 done. A step comes behind what it needs, an on_failure step behind the one that failed. */
static bool steps_circle(const struct config_flow *flow, size_t index, char *marks) {
    if (marks[index]) return marks[index] == 1;
    marks[index] = 1;
    const struct config_step *step = &flow->steps[index];
    for (size_t i = 0; i < step->needs_n; i++) {
        long other = step_index(flow, step->needs[i]);
        if (other >= 0 && steps_circle(flow, (size_t)other, marks)) return true;
    }
    for (size_t i = 0; i < flow->steps_n; i++) {
        const char *handler = flow->steps[i].on_failure;
        if (i != index && handler && strcmp(handler, step->name) == 0 && steps_circle(flow, i, marks)) return true;
    }
    marks[index] = 2;
    return false;
}

/* A flow runs behind the one of its `after`, and ends behind those that its steps run. */
static bool flows_circle(const struct config *config, size_t index, char *marks) {
    if (marks[index]) return marks[index] == 1;
    marks[index] = 1;
    const struct config_flow *flow = &config->flows[index];
    for (size_t i = 0; i <= flow->steps_n; i++) {
        const char *name = i < flow->steps_n ? flow->steps[i].flow : flow->after;
        const struct config_flow *other = name ? config_find_flow(config, str_of(name)) : NULL;
        if (other && flows_circle(config, (size_t)(other - config->flows), marks)) return true;
    }
    marks[index] = 2;
    return false;
}

/* The schedule reads it when the server starts; said here rather than there. */
static void check_zone(struct option_reader *r, struct arena *scratch, const struct config_flow *flow) {
    if (!r->host || !flow->schedule || !flow->timezone || strcmp(flow->timezone, "UTC") == 0) return;
    if (config_zone_readable(r->host, scratch, flow->timezone)) return;
    config_error_at(r->problems, config_place(flow->node, yaml_get(flow->node, "timezone") ? "timezone" : "schedule"),
        "flow %s: the time zone %s cannot be read from /usr/share/zoneinfo (package tzdata?)", flow->name, flow->timezone);
}

static void check_triggers(struct option_reader *r, struct arena *scratch, const struct config_flow *flow) {
    const struct config *config = r->config;
    need_flow(r, scratch, config_place(flow->node, "after"), flow->after);
    if (!flow->schedule && yaml_get(flow->node, "catch_up"))
        config_error_at(r->problems, config_place(flow->node, "catch_up"), "flow %s: catch_up needs a schedule", flow->name);
    if (!flow->schedule && yaml_get(flow->node, "timezone"))
        config_error_at(r->problems, config_place(flow->node, "timezone"), "flow %s: timezone needs a schedule", flow->name);
    check_zone(r, scratch, flow);
    for (size_t i = 0; i < flow->on_n; i++) {
        struct str table = str_of(flow->on[i]);
        if (!str_starts(table, STR("bronze.")) || config_find_stream(config, str_from(table, 7))) continue;
        bool found = false;
        for (size_t k = 0; k < config->sources_n; k++) found = found || (config->sources[k].table && str_is(table, config->sources[k].table));
        if (!found) config_error_at(r->problems, config_place(flow->node, "on"), "flow %s: there is no stream or landing table %s", flow->name, flow->on[i]);
    }
}

static bool is_empty(const struct yaml_node *node) { return node && (node->is_null || (node->kind == YAML_LIST && node->n == 0)); }

/* A flow that does nothing is a mistake, not a wish. */
static void check_something(struct option_reader *r, const struct config_flow *flow) {
    const struct yaml_node *models = yaml_get(flow->node, "models"), *steps = yaml_get(flow->node, "steps");
    if (!models == !steps)
        config_error_at(r->problems, flow->node, "flow %s: give either \"models\" or \"steps\"", flow->name);
    else if (is_empty(models))
        config_error_at(r->problems, models, "flow %s: \"models\" is empty; name what it runs, as silver.* or *", flow->name);
    else if (is_empty(steps))
        config_error_at(r->problems, steps, "flow %s: \"steps\" is empty; a flow has at least one step", flow->name);
}

static void check_flow(struct option_reader *r, struct arena *scratch, size_t index) {
    const struct config_flow *flow = &r->config->flows[index];
    must(flow->name && flow->node);
    if (config_find_flow(r->config, str_of(flow->name)) != flow)
        config_error_at(r->problems, config_place(flow->node, "name"), "flow \"%s\" is given twice", flow->name);
    check_something(r, flow);
    check_triggers(r, scratch, flow);
    for (size_t i = 0; i < flow->steps_n; i++) check_step(r, scratch, flow, i);
    char *marks = arena_new_array(scratch, char, flow->steps_n + 1);
    for (size_t i = 0; i < flow->steps_n; i++) {
        if (!steps_circle(flow, i, marks)) continue;
        config_error_at(r->problems, config_place(flow->node, "steps"), "flow %s: its steps wait for each other in a circle", flow->name);
        break;
    }
    char *flow_marks = arena_new_array(scratch, char, r->config->flows_n + 1);
    if (flows_circle(r->config, index, flow_marks))
        config_error_at(r->problems, config_place(flow->node, "after"), "flow %s: flows wait for each other in a circle", flow->name);
}

void config_check_flows(struct option_reader *r, struct arena *scratch) {
    must(r && scratch);
    struct config_flow *flows = (struct config_flow *)(uintptr_t)r->config->flows; /* still being made: not const yet */
    for (size_t i = 0; i < r->config->flows_n; i++) {
        if (!flows[i].timezone) flows[i].timezone = r->config->timezone;
        check_flow(r, scratch, i);
    }
}
