/* libyaml's events into a tree. Recursion is bounded by YAML_DEPTH_MAX. */
#include "config/yaml.h"

#include <string.h>
#include <yaml.h>

#include "base/assert.h"
#include "base/map.h"
#include "config/config_priv.h"

struct reader {
    yaml_parser_t parser;
    struct arena *arena;
    const struct config_environment *environment;
    struct config_problems *problems;
    struct map *anchors;
    struct str source; /* a copy that lives as long as the nodes */
    const char *at; /* in it: where at_line and at_column are; places only grow while reading */
    size_t at_line, at_column;
    size_t weight; /* of the tree so far */
    bool stopped; /* a problem after which reading makes no sense */
};

/* The first such problem only: what comes after it would be guesses. */
static void stop(struct reader *r, int line, int column, const char *text) {
    must(text);
    if (!r->stopped) config_problem_add(r->problems, false, line, column, "%s", text);
    r->stopped = true;
}

/* Reader errors (bytes that are no UTF-8) come with a byte position only. */
static void stop_at_syntax(struct reader *r, struct str text) {
    const yaml_parser_t *p = &r->parser;
    int line = (int)p->problem_mark.line + 1, column = (int)p->problem_mark.column + 1;
    if (p->error == YAML_READER_ERROR) {
        line = column = 1;
        for (size_t i = 0; i < p->problem_offset && i < text.n; i++) {
            column = text.p[i] == '\n' ? 1 : column + 1;
            line += text.p[i] == '\n';
        }
    }
    ARENA_SCOPE(scratch);
    stop(r, line, column,
        arena_printf(scratch, "not valid YAML: %s%s%s", p->problem ? p->problem : "unreadable", p->context ? " " : "", p->context ? p->context : ""));
}

/* false: the end, by error or by an earlier stop. The caller deletes the event. */
static bool next_event(struct reader *r, yaml_event_t *event, struct str text) {
    if (r->stopped) return false;
    if (!yaml_parser_parse(&r->parser, event)) {
        stop_at_syntax(r, text);
        return false;
    }
    return true;
}

static struct yaml_node *new_node(struct reader *r, enum yaml_kind kind, const yaml_event_t *event) {
    struct yaml_node *node = arena_new_one(r->arena, struct yaml_node);
    *node = (struct yaml_node){.kind = kind, .line = (int)event->start_mark.line + 1, .column = (int)event->start_mark.column + 1, .weight = 1};
    return node;
}

/* Every node of the tree passes here once per place where it is used. */
static bool count_weight(struct reader *r, const struct yaml_node *node, size_t weight) {
    must(weight > 0);
    r->weight += weight;
    if (r->weight <= YAML_NODES_MAX) return true;
    stop(r, node->line, node->column, "the file is too large: more than 100000 values (aliases counted as what they stand for)");
    return false;
}

/* The byte behind `n` characters; line ends are characters too. */
static const char *skip_characters(const char *p, const char *end, size_t n) {
    for (; n > 0 && p < end; n--) {
        p++;
        while (p < end && ((unsigned char)*p & 0xC0) == 0x80) p++;
    }
    return p;
}

/* libyaml counts lines and characters. */
static const char *byte_of(struct reader *r, const yaml_mark_t *mark) {
    const char *end = r->source.p + r->source.n;
    for (; r->at_line < mark->line && r->at < end; r->at_line++) {
        const char *next = memchr(r->at, '\n', (size_t)(end - r->at));
        r->at = next ? next + 1 : end;
        r->at_column = 0;
    }
    if (r->at_line != mark->line || r->at_column > mark->column) return end;
    r->at = skip_characters(r->at, end, mark->column - r->at_column);
    r->at_column = mark->column;
    return r->at;
}

/* From its first byte on, as far as the line goes in which it ends; which lines those are decides its own text. */
static struct str source_of(struct reader *r, const yaml_event_t *event) {
    const char *begin = byte_of(r, &event->start_mark), *end = r->source.p + r->source.n, *stop = begin;
    for (size_t i = event->start_mark.line; i <= event->end_mark.line && stop < end; i++) {
        const char *next = memchr(stop, '\n', (size_t)(end - stop));
        stop = next ? next + 1 : end;
    }
    return str_make(begin, (size_t)(stop - begin));
}

/* Text of a scalar, expanded. Whether it is a number is the option's business, so quotes make no difference but for null. */
static struct yaml_node *read_scalar(struct reader *r, const yaml_event_t *event) {
    must(event->type == YAML_SCALAR_EVENT);
    struct yaml_node *node = new_node(r, YAML_TEXT, event);
    node->raw = arena_str(r->arena, str_make(event->data.scalar.value, event->data.scalar.length));
    node->source = source_of(r, event);
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->is_null = plain && (node->raw.n == 0 || str_is(node->raw, "~") || str_is(node->raw, "null"));
    config_expand(r->arena, node, r->environment, r->problems);
    if (memchr(node->text.p, '\0', node->text.n)) config_problem_add(r->problems, false, node->line, node->column, "a text may not hold a NUL character");
    return node;
}

static struct yaml_node *read_node(struct reader *r, const yaml_event_t *event, int depth, struct str text);

/* Room for one more element at doubling sizes. */
static void *grow(struct arena *arena, void *list, size_t n, size_t size) {
    if (n & (n - 1)) return list;
    char *bigger = arena_zalloc(arena, (n ? n * 2 : 1) * size);
    if (n) memcpy(bigger, list, n * size);
    return bigger;
}

static void read_list(struct reader *r, struct yaml_node *list, int depth, struct str text) {
    must(list->kind == YAML_LIST);
    yaml_event_t event;
    while (next_event(r, &event, text)) {
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        struct yaml_node *item = end ? NULL : read_node(r, &event, depth, text);
        yaml_event_delete(&event);
        if (!item) return;
        list->items = grow(r->arena, list->items, list->n, sizeof *list->items);
        list->items[list->n++] = item;
        list->weight += item->weight;
    }
}

static bool key_is_usable(struct reader *r, const struct yaml_node *map, const struct map *seen, const struct yaml_node *key) {
    must(map->kind == YAML_MAP);
    if (key->kind != YAML_TEXT || key->is_null) {
        config_error_at(r->problems, key, "a key must be a plain text");
        return false;
    }
    if (str_is(key->raw, "<<")) {
        config_error_at(r->problems, key, "merge keys (<<) are not supported; write the settings out, or use an alias for the whole value");
        return false;
    }
    const struct yaml_pair *first = map_get(seen, key->raw);
    must(!first || map->n > 0);
    if (first) {
        config_error_at(r->problems, key, "key \"" STR_FMT "\" is given twice, first in line %d", STR_ARG(key->raw), first->line);
        return false;
    }
    return true;
}

static void read_map(struct reader *r, struct yaml_node *map, int depth, struct str text) {
    must(map->kind == YAML_MAP);
    struct map *seen = map_new();
    yaml_event_t event;
    while (next_event(r, &event, text)) {
        bool end = event.type == YAML_MAPPING_END_EVENT;
        struct yaml_node *key = end ? NULL : read_node(r, &event, depth, text);
        yaml_event_delete(&event);
        if (!key || !next_event(r, &event, text)) break;
        struct yaml_node *value = read_node(r, &event, depth, text);
        yaml_event_delete(&event);
        if (!value) break;
        map->weight += key->weight + value->weight;
        if (!key_is_usable(r, map, seen, key)) continue;
        map->pairs = grow(r->arena, map->pairs, map->n, sizeof *map->pairs);
        map->pairs[map->n++] = (struct yaml_pair){key->raw, key->line, key->column, value};
        struct yaml_pair *remembered = arena_new_one(r->arena, struct yaml_pair); /* the array above may still move */
        *remembered = map->pairs[map->n - 1];
        (void)map_put(seen, key->raw, remembered);
    }
    map_free(&seen);
}

/* The node of the anchor itself, not a copy: nothing changes nodes after reading. */
static struct yaml_node *read_alias(struct reader *r, const yaml_event_t *event) {
    struct str name = str_of((const char *)event->data.alias.anchor);
    struct yaml_node *target = map_get(r->anchors, name);
    struct yaml_node place = {.line = (int)event->start_mark.line + 1, .column = (int)event->start_mark.column + 1};
    if (!target) {
        config_error_at(r->problems, &place, "alias *" STR_FMT " has no anchor &" STR_FMT " before it", STR_ARG(name), STR_ARG(name));
        r->stopped = true;
        return NULL;
    }
    return count_weight(r, &place, target->weight) ? target : NULL;
}

static const yaml_char_t *tag_of(const yaml_event_t *event) {
    if (event->type == YAML_SCALAR_EVENT) return event->data.scalar.tag;
    return event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.tag : event->data.sequence_start.tag;
}

static const yaml_char_t *anchor_of(const yaml_event_t *event) {
    if (event->type == YAML_SCALAR_EVENT) return event->data.scalar.anchor;
    return event->type == YAML_MAPPING_START_EVENT ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
}

/* depth: of the node that holds this one. */
static struct yaml_node *read_node(struct reader *r, const yaml_event_t *event, int depth, struct str text) {
    if (event->type == YAML_ALIAS_EVENT) return read_alias(r, event);
    must(event->type == YAML_SCALAR_EVENT || event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT);
    struct yaml_node *node =
        event->type == YAML_SCALAR_EVENT ? read_scalar(r, event) : new_node(r, event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST, event);
    if (depth >= YAML_DEPTH_MAX) {
        stop(r, node->line, node->column, "nested too deeply: more than 32 levels");
        return NULL;
    }
    if (!count_weight(r, node, 1)) return NULL;
    if (tag_of(event)) config_error_at(r->problems, node, "tags (%s) are not used here", (const char *)tag_of(event));
    if (node->kind == YAML_LIST) read_list(r, node, depth + 1, text);
    if (node->kind == YAML_MAP) read_map(r, node, depth + 1, text);
    if (r->stopped) return NULL;
    if (anchor_of(event)) (void)map_put(r->anchors, str_of((const char *)anchor_of(event)), node); /* after its content: it cannot hold itself */
    return node;
}

/* The root node of the only document; NULL when there is none, or after a stop. */
static struct yaml_node *read_document(struct reader *r, struct str text) {
    struct yaml_node *root = NULL;
    yaml_event_t event;
    int documents = 0;
    for (bool end = false; !end && next_event(r, &event, text); yaml_event_delete(&event)) {
        end = event.type == YAML_STREAM_END_EVENT;
        bool content = event.type == YAML_SCALAR_EVENT || event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT ||
            event.type == YAML_ALIAS_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            stop(r, (int)event.start_mark.line + 1, 1, "only one YAML document is read; `---` may not start another one");
        } else if (content) {
            root = read_node(r, &event, 0, text);
        }
    }
    return r->stopped ? NULL : root;
}

struct yaml_node *yaml_read(struct arena *arena, struct str text, const struct config_environment *environment, struct config_problems *problems) {
    struct reader r = {.arena = arena, .environment = environment, .problems = problems, .anchors = map_new(), .source = arena_str(arena, text)};
    r.at = r.source.p;
    must(yaml_parser_initialize(&r.parser));
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    struct yaml_node *root = read_document(&r, text);
    yaml_parser_delete(&r.parser);
    map_free(&r.anchors);
    bool empty = root && root->is_null;
    if (!r.stopped && (!root || empty)) {
        root = arena_new_one(arena, struct yaml_node);
        *root = (struct yaml_node){.kind = YAML_MAP, .line = 1, .column = 1, .weight = 1};
    }
    return root;
}

const struct yaml_pair *yaml_pair_of(const struct yaml_node *map, const char *key) {
    must(key);
    for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
        if (str_is(map->pairs[i].key, key)) return &map->pairs[i];
    }
    return NULL;
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key) {
    must(key);
    const struct yaml_pair *pair = yaml_pair_of(map, key);
    return pair ? pair->value : NULL;
}

/* Behind anchor and tag, and behind the sign that begins the text. */
static size_t skip_style(struct str source, char *style) {
    size_t i = 0;
    while (i < source.n && (source.p[i] == '&' || source.p[i] == '!')) {
        while (i < source.n && !strchr(" \t\r\n", source.p[i])) i++;
        while (i < source.n && strchr(" \t\r\n", source.p[i])) i++;
    }
    *style = i < source.n ? source.p[i] : '\0';
    if (*style == '|' || *style == '>') {
        while (i < source.n && source.p[i] != '\n') i++;
    } else if (*style == '\'' || *style == '"') {
        i++;
    }
    return i;
}

/* Whatever the style, the characters that are no blanks stand in the file in the text's order. */
void yaml_text_place(const struct yaml_node *node, size_t at, int *line, int *column) {
    must(node && line && column);
    *line = node->line;
    *column = node->column;
    if (node->kind != YAML_TEXT || node->expanded || !node->source.p || !node->text.n) return;
    struct str source = node->source, text = node->text;
    char style;
    size_t s = skip_style(source, &style);
    if (at >= text.n) at = text.n - 1;
    for (size_t i = 0; i <= at; i++) {
        if (strchr(" \t\r\n", text.p[i])) continue;
        while (s < source.n && source.p[s] != text.p[i]) s += style == '"' && source.p[s] == '\\' && s + 1 < source.n && source.p[s + 1] != text.p[i] ? 2 : 1;
        if (i < at) s++;
    }
    if (s >= source.n) return;
    for (size_t i = 0; i < s; i++) {
        if (source.p[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)source.p[i] & 0xC0) != 0x80) {
            ++*column;
        }
    }
}
