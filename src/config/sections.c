/* Maps of options against their tables: defaults, known and unknown keys, what is missing. */
#include <string.h>

#include "base/assert.h"
#include "config/config_priv.h"

unsigned config_source_kind(enum config_source_type type) {
    static const unsigned kinds[] = {[SOURCE_WEBHOOK] = OPTION_WEBHOOK, [SOURCE_LANDING] = OPTION_LANDING, [SOURCE_POLL] = OPTION_POLL};
    must((size_t)type < sizeof kinds / sizeof *kinds);
    return kinds[type];
}

/* kind 0: any type of source, or not a source at all. */
static bool applies(const struct option *option, unsigned kind) {
    unsigned types = option->flags & OPTION_SOURCE_TYPES;
    return types == 0 || kind == 0 || (types & kind);
}

static const char *kind_names(unsigned kinds) {
    static const char *const names[] = {"", "webhook", "landing", "webhook and landing", "poll", "webhook and poll", "landing and poll", "all"};
    _Static_assert(OPTION_WEBHOOK == 16 && OPTION_LANDING == 32 && OPTION_POLL == 64, "three neighbouring bits");
    return names[(kinds & OPTION_SOURCE_TYPES) / OPTION_WEBHOOK];
}

void config_set_defaults(struct option_reader *r, const struct option_section *section, void *target) {
    must(section && target);
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i];
        void *at = (char *)target + option->offset;
        if (option->type == OPTION_SECTION) config_set_defaults(r, option->section, at);
        if (!option->fallback) continue;
        struct str text = str_of(option->fallback);
        const struct yaml_node node = {.kind = YAML_TEXT, .text = text, .raw = text};
        bool read = config_option_types[option->type].read(r, option, &node, at);
        must(read); /* a default that its own row does not allow */
    }
}

/* Two rows may have one name for different types of sources (`header`, `encoding`): the one that applies goes before. */
static const struct option *find_option(const struct option_section *section, struct str name, unsigned kind) {
    const struct option *other = NULL; /* of that name, for other source types */
    for (size_t i = 0; i < section->n; i++) {
        if (!str_is(name, section->options[i].name)) continue;
        if (applies(&section->options[i], kind)) return &section->options[i];
        other = &section->options[i];
    }
    return other;
}

/* Keys of earlier versions: said, and passed over. */
static const struct removed_key {
    const char *section, *key, *why;
} removed_keys[] = {
    {"sql", "query_memory", "it never had an effect; `memory` is for all queries together, and `queries_per_token` keeps one user from taking it all"},
};

static bool was_removed(struct option_reader *r, const struct option_section *section, const struct yaml_pair *pair) {
    for (size_t i = 0; i < sizeof removed_keys / sizeof *removed_keys; i++) {
        const struct removed_key *removed = &removed_keys[i];
        if (strcmp(removed->section, section->name) != 0 || !str_is(pair->key, removed->key)) continue;
        config_problem_add(r->problems, true, pair->line, pair->column, "unknown key \"%s\": removed; %s", removed->key, removed->why);
        return true;
    }
    return false;
}

/* Only keys that would be good here are suggested. */
static void say_unknown(struct option_reader *r, const struct option_section *section, const struct yaml_pair *pair, unsigned kind) {
    ARENA_SCOPE(scratch);
    const char **names = arena_new_array(scratch, const char *, section->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < section->n; i++) {
        if (applies(&section->options[i], kind)) names[n++] = section->options[i].name;
    }
    const struct yaml_node key = {.kind = YAML_TEXT, .raw = pair->key, .line = pair->line, .column = pair->column};
    config_error_at(r->problems, &key, "unknown key %s%s", config_quote(scratch, &key), config_suggest(scratch, pair->key, names));
}

/* One key with its value. */
static void read_pair(struct option_reader *r, const struct option_section *section, const struct yaml_pair *pair, void *target, unsigned kind) {
    must(pair->value);
    const struct option *option = find_option(section, pair->key, kind);
    if (!option) {
        if (was_removed(r, section, pair)) return;
        say_unknown(r, section, pair, kind);
        return;
    }
    if (!applies(option, kind)) {
        config_problem_add(r->problems, false, pair->line, pair->column, "\"%s\" is for sources of type %s", option->name, kind_names(option->flags));
        return;
    }
    (void)config_option_types[option->type].read(r, option, pair->value, (char *)target + option->offset);
}

void config_read_section(struct option_reader *r, const struct option_section *section, const struct yaml_node *map, void *target, unsigned kind) {
    must(r && section && target);
    if (!map || map->kind != YAML_MAP) return;
    for (size_t i = 0; i < map->n; i++) read_pair(r, section, &map->pairs[i], target, kind);
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i];
        if ((option->flags & OPTION_REQUIRED) && applies(option, kind) && !yaml_get(map, option->name)) {
            config_error_at(r->problems, map, "\"%s\" is missing", option->name);
        }
    }
}

void config_show_section(struct json_writer *w, const struct option_section *section, const void *target, unsigned kind, bool reveal) {
    must(w && target);
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i];
        const struct option_type_row *type = &config_option_types[option->type];
        bool same_field = i > 0 && section->options[i - 1].offset == option->offset && option->type == section->options[i - 1].type;
        if (!type->show || !applies(option, kind) || same_field) continue; /* `secrets` was shown as `secret` */
        json_name(w, option->name);
        type->show(w, option, (const char *)target + option->offset, reveal);
    }
}

/* ---- streams ---- */

/* A stream with wrong settings is kept, so that sources that name it are not called dangling. */
static void read_stream(struct option_reader *r, const struct yaml_pair *pair, struct config_stream *out) {
    must(pair->value);
    ARENA_SCOPE(scratch);
    const struct yaml_node key = {.kind = YAML_TEXT, .raw = pair->key, .line = pair->line, .column = pair->column};
    config_set_defaults(r, &config_stream_section, out);
    out->name = arena_str(r->arena, pair->key).p;
    out->line = pair->line;
    out->node = pair->value;
    out->flush = r->config->lake.flush;
    if (!config_name_valid(pair->key)) {
        config_error_at(r->problems, &key, "a stream's name must be small letters, digits and _, begin with a letter, at most 63 long, not %s",
            config_quote(scratch, &key));
    }
    if (pair->value->kind != YAML_MAP && !pair->value->is_null) {
        config_error_at(r->problems, pair->value, "a stream's settings must be a map, not %s", config_quote(scratch, pair->value));
    }
    config_read_section(r, &config_stream_section, pair->value, out, 0);
}

#define STREAMS_MAX 1000
#define SOURCES_MAX 1000

/* Reads `streams`; runs after `lake`, whose flush is the default (config.c orders them). */
bool config_read_streams(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at) {
    (void)at;
    if (node->is_null) return true;
    if (node->kind != YAML_MAP || node->n > STREAMS_MAX) {
        config_error_at(r->problems, node, "%s must be a map of at most %d names to settings", option->name, STREAMS_MAX);
        return false;
    }
    must(r->config);
    struct config_stream *list = arena_new_array(r->arena, struct config_stream, node->n + 1);
    for (size_t i = 0; i < node->n; i++) read_stream(r, &node->pairs[i], &list[i]);
    r->config->streams = list;
    r->config->streams_n = node->n;
    return true;
}

void config_show_streams(struct json_writer *w, const struct option *option, const void *at, bool reveal) {
    const struct config *config = (const struct config *)(const void *)((const char *)at - option->offset);
    json_begin_object(w);
    for (size_t i = 0; i < config->streams_n; i++) {
        json_name(w, config->streams[i].name);
        json_begin_object(w);
        config_show_section(w, &config_stream_section, &config->streams[i], 0, reveal);
        json_end_object(w);
    }
    json_end_object(w);
}

/* ---- sources ---- */

/* false: it is left out of the list, because nothing can be checked about it. */
static bool read_source(struct option_reader *r, const struct yaml_node *map, struct config_source *out) {
    must(map && out);
    if (map->kind != YAML_MAP) {
        config_error_at(r->problems, map, "a source must be a map with name and type");
        return false;
    }
    unsigned kind = 0; /* as long as the type is not known, every key of any type is */
    const struct yaml_node *type = yaml_get(map, "type");
    config_set_defaults(r, &config_source_section, out);
    out->line = map->line;
    out->node = map;
    for (int i = SOURCE_WEBHOOK; type && type->kind == YAML_TEXT && i <= SOURCE_POLL; i++) {
        if (str_is(type->text, config_source_type_name((enum config_source_type)i))) kind = config_source_kind((enum config_source_type)i);
    }
    if (kind == 0) { /* say what is wrong with the type, and nothing that follows from it */
        const struct option *option = find_option(&config_source_section, STR("type"), 0);
        if (!type)
            config_error_at(r->problems, map, "\"type\" is missing");
        else
            (void)config_option_types[OPTION_CHOICE].read(r, option, type, &out->type);
        return false;
    }
    config_read_section(r, &config_source_section, map, out, kind);
    return out->name != NULL;
}

bool config_read_sources(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at) {
    must(r->config);
    (void)at;
    if (node->is_null) return true;
    if (node->kind != YAML_LIST || node->n > SOURCES_MAX) {
        config_error_at(r->problems, node, "%s must be a list of at most %d sources", option->name, SOURCES_MAX);
        return false;
    }
    struct config_source *list = arena_new_array(r->arena, struct config_source, node->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < node->n; i++) {
        list[n] = (struct config_source){0};
        if (read_source(r, node->items[i], &list[n])) n++;
    }
    r->config->sources = list;
    r->config->sources_n = n;
    return true;
}

void config_show_sources(struct json_writer *w, const struct option *option, const void *at, bool reveal) {
    const struct config *config = (const struct config *)(const void *)((const char *)at - option->offset);
    json_begin_array(w);
    for (size_t i = 0; i < config->sources_n; i++) {
        const struct config_source *source = &config->sources[i];
        json_begin_object(w);
        config_show_section(w, &config_source_section, source, config_source_kind(source->type), reveal);
        json_end_object(w);
    }
    json_end_array(w);
}
