/* The table of commands. */
#include "base/assert.h"
#include "cli/command.h"

static const struct command_group *const groups[] = {
    &cmd_init,
    &cmd_check,
    &cmd_serve,
    &cmd_demo,
    &cmd_put,
    &cmd_event,
    &cmd_events,
    &cmd_sql,
    &cmd_stream,
    &cmd_consumer,
    &cmd_source,
    &cmd_table,
    &cmd_flow,
    &cmd_model,
    &cmd_kpi,
    &cmd_docs,
    &cmd_profile,
    &cmd_conservation,
    &cmd_quarantine,
    &cmd_token,
    &cmd_logs,
    &cmd_verify,
    &cmd_completion,
    &cmd_version,
    &cmd_help,
    &cmd_engine,
    &cmd_names,
    &cmd_generate,
    NULL,
};

const struct command_group *const *command_groups(void) { return groups; }

const struct command_group *command_find(struct str name) {
    for (size_t i = 0; groups[i]; i++) {
        if (str_is(name, groups[i]->name)) return groups[i];
    }
    return NULL;
}

const struct command *command_verb(const struct command_group *group, struct str verb) {
    must(group);
    for (size_t i = 0; i < group->commands_n; i++) {
        if (group->commands[i].verb && str_is(verb, group->commands[i].verb)) return &group->commands[i];
    }
    return NULL;
}

/* Near enough to be a slip of the hand: fewer changes than half of the word. */
static bool near(struct str typed, const char *name, int *best) {
    int distance = str_distance(typed, str_of(name));
    if (distance >= *best || distance > 3 || (size_t)distance * 2 > strlen(name) + 1) return false;
    *best = distance;
    return true;
}

const char *command_nearest(struct str name) {
    const char *found = NULL;
    int best = 8;
    for (size_t i = 0; groups[i]; i++) {
        if (!groups[i]->hidden && near(name, groups[i]->name, &best)) found = groups[i]->name;
    }
    return found;
}

const char *command_nearest_verb(const struct command_group *group, struct str verb) {
    must(group);
    const char *found = NULL;
    int best = 8;
    for (size_t i = 0; i < group->commands_n; i++) {
        if (group->commands[i].verb && near(verb, group->commands[i].verb, &best)) found = group->commands[i].verb;
    }
    return found;
}
