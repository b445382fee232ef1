/* One reader, one writer and one schema per option type. A reader that finds the value wrong says so with its place and leaves the target as it is. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/cron.h"
#include "base/shown.h"
#include "config/config_priv.h"

#define READ_ARGS struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at
#define SHOW_ARGS struct json_writer *w, const struct option *option, const void *at, bool reveal
#define SCHEMA_ARGS struct json_writer *w, const struct option *option

/* ---- words: how values stand in messages ---- */

const char *config_quote(struct arena *arena, const struct yaml_node *node) {
    must(node);
    if (node->kind == YAML_MAP) return "a map";
    if (node->kind == YAML_LIST) return "a list";
    struct str shown = str_head(node->raw, 60);
    for (size_t i = 0; i < shown.n; i++) {
        if ((unsigned char)shown.p[i] < 0x20) shown.n = i; /* one line, no control characters */
    }
    return arena_printf(arena, "\"" STR_FMT "%s\"", STR_ARG(shown), shown.n < node->raw.n ? "…" : "");
}

const char *config_suggest(struct arena *arena, struct str given, const char *const *names) {
    must(names);
    const char *best = NULL;
    int best_distance = 8;
    for (; *names; names++) {
        int distance = str_distance(given, str_of(*names));
        if (distance < best_distance) {
            best = *names;
            best_distance = distance;
        }
    }
    bool near = best && best_distance <= (given.n <= 3 ? 1 : given.n <= 6 ? 2 : 3);
    return near ? arena_printf(arena, " (did you mean \"%s\"?)", best) : "";
}

/* `choices` as a NULL-ended list. */
static const char **split_choices(struct arena *arena, const char *choices) {
    must(choices);
    struct str rest = str_of(choices);
    size_t n = 0;
    const char **list = arena_zalloc(arena, (strlen(choices) + 2) * sizeof *list);
    while (rest.p) {
        struct str one = str_cut(&rest, '|');
        list[n++] = arena_strndup(arena, one.p, one.n);
    }
    return list;
}

static const char *joined_choices(struct arena *arena, const char *const *list) {
    const char *text = *list;
    for (size_t i = 1; list[i]; i++) text = arena_printf(arena, list[i + 1] ? "%s, %s" : "%s or %s", text, list[i]);
    return text;
}

/* In the largest unit that divides it, so that 128MB stays 128MB and 128MiB stays 128MiB. */
static const char *show_bytes(struct arena *arena, uint64_t n) {
    static const struct {
        uint64_t size; /* falling */
        const char *unit;
    } units[] = {{UINT64_C(1) << 30, "GiB"}, {1000000000, "GB"}, {1 << 20, "MiB"}, {1000000, "MB"}, {1024, "KiB"}, {1000, "KB"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (n && n % units[i].size == 0) return arena_printf(arena, "%llu%s", (unsigned long long)(n / units[i].size), units[i].unit);
    }
    return arena_printf(arena, "%llu", (unsigned long long)n);
}

static const char *show_duration(struct arena *arena, int64_t ms) {
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ms && ms % units[i].ms == 0) return arena_printf(arena, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
    }
    return "0";
}

const char *config_show_limit(struct arena *arena, const struct option *option, int64_t n) {
    if (option->type == OPTION_BYTES) return show_bytes(arena, (uint64_t)n);
    if (option->type == OPTION_DURATION) return show_duration(arena, n);
    return arena_printf(arena, "%lld", (long long)n);
}

/* A scalar that is there; else the problem is said. */
static bool need_text(READ_ARGS) {
    must(r && option && node);
    (void)at;
    ARENA_SCOPE(scratch);
    if (node->broken) return false;
    if (node->kind != YAML_TEXT) {
        config_error_at(r->problems, node, "%s must be one value, not %s", option->name, config_quote(scratch, node));
        return false;
    }
    if (node->is_null) {
        config_error_at(r->problems, node, "%s has no value; leave the line out to get the default", option->name);
        return false;
    }
    return true;
}

/* The usual problem. Returns false, so that a reader can end with it. */
static bool wrong(struct option_reader *r, const struct option *option, const struct yaml_node *node, const char *wanted) {
    must(wanted);
    ARENA_SCOPE(scratch);
    config_error_at(r->problems, node, "%s must be %s, not %s", option->name, wanted, config_quote(scratch, node));
    return false;
}

/* ---- texts: every one is copied into the configuration's arena, with a NUL behind it ---- */

static bool store_text(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at) {
    must(option->max >= option->min);
    size_t n = node->text.n;
    if (n < (size_t)option->min) {
        config_error_at(r->problems, node, "%s may not be empty", option->name);
        return false;
    }
    if (n > (size_t)option->max) {
        config_error_at(r->problems, node, "%s is %zu bytes long, the limit is %lld", option->name, n, (long long)option->max);
        return false;
    }
    *(const char **)at = arena_str(r->arena, node->text).p;
    return true;
}

static bool read_text(READ_ARGS) { return need_text(r, option, node, at) && store_text(r, option, node, at); }

/* Relative paths belong to the project folder, wherever the process was started. */
static bool read_path(READ_ARGS) {
    if (!read_text(r, option, node, at)) return false;
    const char *path = *(const char **)at;
    if (*path != '/') *(const char **)at = arena_printf(r->arena, "%s/%s", r->config->dir, path);
    return true;
}

bool config_name_valid(struct str name) {
    if (name.n == 0 || name.n > CONFIG_NAME_MAX || name.p[0] < 'a' || name.p[0] > 'z') return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
    }
    return true;
}

static bool read_name(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    if (!config_name_valid(node->text)) return wrong(r, option, node, "a name of small letters, digits and _ that begins with a letter, at most 63");
    return store_text(r, option, node, at);
}

/* "customer.id", "items.0.sku", with an optional "$." in front. */
static bool field_valid(struct str path) {
    must(path.p || path.n == 0);
    if (str_starts(path, STR("$."))) path = str_from(path, 2);
    if (path.n == 0 || path.n > 256) return false;
    while (path.p) {
        struct str part = str_cut(&path, '.');
        if (part.n == 0) return false;
        for (size_t i = 0; i < part.n; i++) {
            if ((unsigned char)part.p[i] <= 0x20 || part.p[i] == 0x7f) return false;
        }
    }
    return true;
}

static bool read_field(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    if (!field_valid(node->text)) return wrong(r, option, node, "a JSON path such as customer.id");
    return store_text(r, option, node, at);
}

static bool header_name_valid(struct str name) { /* RFC 9110 section 5.6.2: token */
    if (name.n == 0) return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!isalnum((unsigned char)name.p[i]) && !(name.p[i] && strchr("!#$%&'*+-.^_`|~", name.p[i]))) return false;
    }
    return true;
}

static bool read_header(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    if (!header_name_valid(node->text)) return wrong(r, option, node, "the name of an HTTP header");
    return store_text(r, option, node, at);
}

/* The text is valid UTF-8 already: libyaml refuses everything else. */
static size_t utf8_length_of_first(struct str s) {
    unsigned char c = (unsigned char)s.p[0];
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

static bool read_character(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    struct str text = node->text;
    if (str_is(text, "auto")) return true; /* the default: detected */
    if (str_is(text, "tab") || str_is(text, "\\t")) text = STR("\t");
    if (str_is(text, "none") && option->min == 0) text = STR("");
    if (text.n == 0 ? option->min > 0 : text.n != utf8_length_of_first(text) || text.p[0] == '\n' || text.p[0] == '\r') {
        return wrong(r, option, node, option->min > 0 ? "one character, tab, or auto" : "one character, none, or auto");
    }
    *(const char **)at = arena_str(r->arena, text).p;
    return true;
}

/* host:port, [v6]:port, unix:/path */
static bool listen_valid(struct str text) {
    if (str_starts(text, STR("unix:"))) return text.n > 5;
    long colon = -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ':') colon = (long)i;
        if ((unsigned char)text.p[i] <= 0x20) return false;
    }
    uint64_t port;
    if (colon < 1 || !str_to_u64(str_from(text, (size_t)colon + 1), &port) || port > 65535) return false;
    struct str host = str_head(text, (size_t)colon);
    if (host.p[0] == '[') return host.n > 2 && host.p[host.n - 1] == ']';
    return !memchr(host.p, ':', host.n);
}

static bool read_listen(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    if (!listen_valid(node->text)) return wrong(r, option, node, "an address such as 127.0.0.1:8080, [::1]:8080 or unix:/run/cupel.sock");
    return store_text(r, option, node, at);
}

/* The name must look like one, and be one where the machine has the list. */
#define ZONE_DIR "/usr/share/zoneinfo"

bool config_zone_readable(const struct host *host, struct arena *scratch, const char *name) {
    must(host && name);
    struct str bytes;
    struct zone *zone = NULL;
    bool good = fs_read_all(host->fs, scratch, arena_printf(scratch, ZONE_DIR "/%s", name), ZONE_FILE_BYTES_MAX, &bytes, NULL) == OK &&
        zone_parse(bytes, &zone, NULL) == OK;
    zone_free(&zone);
    return good;
}

static bool read_zone(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    struct str text = node->text;
    bool good = text.n > 0 && isalpha((unsigned char)text.p[0]) && str_find(text, STR("..")) < 0;
    for (size_t i = 0; i < text.n; i++) good = good && (isalnum((unsigned char)text.p[i]) || (text.p[i] && strchr("_+-/", text.p[i])));
    if (good && r->host && fs_exists(r->host->fs, ZONE_DIR "/UTC")) {
        ARENA_SCOPE(scratch);
        good = config_zone_readable(r->host, scratch, arena_strndup(scratch, text.p, text.n));
    }
    return good ? store_text(r, option, node, at) : wrong(r, option, node, "a time zone such as UTC or Europe/Istanbul");
}

static bool read_table(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    if (!str_starts(node->text, STR("bronze.")) || !config_name_valid(str_from(node->text, 7))) {
        return wrong(r, option, node, "a table in bronze, as bronze.pos");
    }
    return store_text(r, option, node, at);
}

static bool read_url(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    struct str rest = str_starts(node->text, STR("https://")) ? str_from(node->text, 8)
        : str_starts(node->text, STR("http://"))              ? str_from(node->text, 7)
                                                              : STR("");
    bool good = rest.n > 0 && rest.p[0] != '/';
    for (size_t i = 0; i < rest.n; i++) good = good && (unsigned char)rest.p[i] > 0x20;
    return good ? store_text(r, option, node, at) : wrong(r, option, node, "an address that begins with http:// or https://");
}

/* ---- numbers: the row's limits hold for every one of them ---- */

static bool in_range(struct option_reader *r, const struct option *option, const struct yaml_node *node, uint64_t value) {
    must(option->max >= option->min && option->min >= 0);
    ARENA_SCOPE(scratch);
    if (value == 0 && (option->flags & OPTION_ZERO_OK)) return true;
    if (value < (uint64_t)option->min) {
        config_error_at(
            r->problems, node, "%s: %s is less than %s", option->name, config_quote(scratch, node), config_show_limit(scratch, option, option->min));
        return false;
    }
    if (value > (uint64_t)option->max) {
        config_error_at(
            r->problems, node, "%s: %s is more than %s", option->name, config_quote(scratch, node), config_show_limit(scratch, option, option->max));
        return false;
    }
    return true;
}

static bool read_number(READ_ARGS) {
    uint64_t value;
    if (!need_text(r, option, node, at)) return false;
    if (!str_to_u64(node->text, &value)) return wrong(r, option, node, "a whole number");
    if (!in_range(r, option, node, value)) return false;
    *(uint64_t *)at = value;
    return true;
}

static bool read_bytes(READ_ARGS) {
    uint64_t value;
    if (!need_text(r, option, node, at)) return false;
    if (!str_to_bytes(node->text, &value)) return wrong(r, option, node, "a size such as 128MB or 64KiB");
    if (!in_range(r, option, node, value)) return false;
    *(uint64_t *)at = value;
    return true;
}

/* A bare number is refused: nobody remembers whether it would be seconds or milliseconds. */
static bool read_duration(READ_ARGS) {
    int64_t value = 0;
    if (!need_text(r, option, node, at)) return false;
    if (!str_is(node->text, "0") && !str_to_duration_ms(node->text, &value)) {
        return wrong(r, option, node, "a time with its unit, such as 300s, 24h or 7d");
    }
    if (!in_range(r, option, node, (uint64_t)value)) return false;
    *(int64_t *)at = value;
    return true;
}

static bool read_choice(READ_ARGS) {
    must(option->choices);
    ARENA_SCOPE(scratch);
    if (!need_text(r, option, node, at)) return false;
    const char **choices = split_choices(scratch, option->choices);
    for (int i = 0; choices[i]; i++) {
        if (str_is(node->text, choices[i])) {
            *(int *)at = i; /* enums are ints in the ABI that we build for */
            return true;
        }
    }
    config_error_at(r->problems, node, "%s must be %s, not %s%s", option->name, joined_choices(scratch, choices), config_quote(scratch, node),
        node->expanded ? "" : config_suggest(scratch, node->text, choices));
    return false;
}
_Static_assert(sizeof(enum config_scheme) == sizeof(int) && sizeof(enum config_accept) == sizeof(int), "choices are stored as int");

/* ---- lists ---- */

struct texts { /* as two neighbouring fields of the config structs */
    const char *const *list;
    size_t n;
};

/* Behind what is there already: `secret` and `secrets` fill one list. */
static bool read_list_of(READ_ARGS, bool (*read_one)(READ_ARGS)) {
    must(read_one);
    struct texts *texts = at;
    bool good = true;
    size_t n = node->kind == YAML_LIST ? node->n : 1;
    if (node->kind == YAML_MAP) return wrong(r, option, node, "one value or a list");
    size_t most = option->type == OPTION_COLUMNS ? 1000 : 64;
    if (n > most) {
        config_error_at(r->problems, node, "%s has %zu entries, the limit is %zu", option->name, n, most);
        return false;
    }
    const char **list = arena_new_array(r->arena, const char *, texts->n + n + 1);
    for (size_t i = 0; i < texts->n; i++) list[i] = texts->list[i];
    for (size_t i = 0; i < n; i++) good = read_one(r, option, node->kind == YAML_LIST ? node->items[i] : node, &list[texts->n + i]) && good;
    if (good) *texts = (struct texts){list, texts->n + n};
    return good;
}

static bool read_texts(READ_ARGS) { return read_list_of(r, option, node, at, read_text); }

static bool read_lower_header(READ_ARGS) {
    if (!read_header(r, option, node, at)) return false;
    char *name = arena_strdup(r->arena, *(const char **)at);
    for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
    *(const char **)at = name;
    return true;
}

static bool read_names(READ_ARGS) { return read_list_of(r, option, node, at, read_name); }

/* "schema.name" */
static bool table_name_valid(struct str text) {
    struct str schema = str_cut(&text, '.');
    return config_name_valid(schema) && config_name_valid(text);
}

static bool read_any_table(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    return table_name_valid(node->text) ? store_text(r, option, node, at) : wrong(r, option, node, "a table, as silver.pos_sales");
}

static bool read_tables(READ_ARGS) { return read_list_of(r, option, node, at, read_any_table); }

/* silver.pos_sales, marketing.*, tag:web, *; + before and behind. */
static bool read_selector(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    struct str text = node->text;
    if (str_starts(text, STR("+"))) text = str_from(text, 1);
    if (str_ends(text, STR("+"))) text.n--;
    struct str name = text;
    struct str schema = str_cut(&name, '.');
    bool good = str_is(text, "*") || table_name_valid(text) || (config_name_valid(schema) && str_is(name, "*")) ||
        (str_starts(text, STR("tag:")) && text.n > 4 && str_find(text, STR(" ")) < 0);
    return good ? store_text(r, option, node, at)
                : wrong(r, option, node, "a selection such as silver.pos_sales, marketing.*, silver.pos_sales+, tag:web or *");
}

static bool read_selectors(READ_ARGS) { return read_list_of(r, option, node, at, read_selector); }

static bool read_cron(READ_ARGS) {
    struct cron cron;
    struct err err = {0};
    if (!need_text(r, option, node, at)) return false;
    if (cron_parse(node->text, &cron, &err) == OK) return store_text(r, option, node, at);
    config_error_at(r->problems, node, "%s: %s", option->name, node->expanded ? "not a schedule" : err.text);
    return false;
}

static bool read_flag(READ_ARGS) {
    if (!need_text(r, option, node, at)) return false;
    bool yes = str_is(node->text, "true") || str_is(node->text, "yes"), no = str_is(node->text, "false") || str_is(node->text, "no");
    if (!yes && !no) return wrong(r, option, node, "true or false");
    *(bool *)at = yes;
    return true;
}

static bool read_headers(READ_ARGS) { return read_list_of(r, option, node, at, read_lower_header); }

/* ---- those with a form of their own ---- */

/* none, body, header:<name>, or a JSON path. A field that is called body or none is written as $.body. */
static bool read_dedupe(READ_ARGS) {
    struct config_dedupe_key *out = at;
    if (!need_text(r, option, node, at)) return false;
    struct str text = node->text;
    if (str_is(text, "none") || str_is(text, "body")) {
        *out = (struct config_dedupe_key){.kind = str_is(text, "body") ? DEDUPE_BODY : DEDUPE_NONE};
        return true;
    }
    bool header = str_starts(text, STR("header:"));
    struct str name = header ? str_trim(str_from(text, 7)) : text;
    if (header ? !header_name_valid(name) || name.n > 128 : !field_valid(name)) {
        return wrong(r, option, node, "a JSON path such as event_id, header:<name>, body, or none");
    }
    char *copy = arena_strndup(r->arena, name.p, name.n);
    for (char *c = copy; header && *c; c++) *c = (char)tolower((unsigned char)*c);
    *out = (struct config_dedupe_key){.kind = header ? DEDUPE_HEADER : DEDUPE_PATH, .name = copy};
    return true;
}

/* One entry of `protect`. */
static bool read_policy(struct option_reader *r, const struct yaml_pair *pair, struct config_protect *out) {
    must(pair->value);
    static const struct option policy = {.name = "policy", .type = OPTION_CHOICE, .choices = "encrypt|tokenise|mask"};
    const struct yaml_node key = {.kind = YAML_TEXT, .raw = pair->key, .text = pair->key, .line = pair->line, .column = pair->column};
    int value = 0;
    if (!field_valid(pair->key)) return wrong(r, &(struct option){.name = "protect"}, &key, "a map of JSON paths to policies");
    if (!read_choice(r, &policy, pair->value, &value)) return false;
    if (value == PROTECT_ENCRYPT) { /* storing it unprotected would be worse than refusing */
        config_error_at(r->problems, pair->value, "policy \"encrypt\" comes with a later version; use tokenise or mask");
        return false;
    }
    *out = (struct config_protect){.path = arena_str(r->arena, pair->key).p, .policy = (enum config_policy)value, .line = pair->line};
    return true;
}

/* A map of paths to policies; the key `subject` is the path of the person's id (a field of that name is written as $.subject). */
static bool read_protect(READ_ARGS) {
    struct config_protection *out = at;
    struct config_protection result = {0};
    bool good = true;
    if (node->kind == YAML_TEXT && node->is_null) return true;
    if (node->kind != YAML_MAP) return wrong(r, option, node, "a map of JSON paths to tokenise or mask");
    if (node->n > 256) {
        config_error_at(r->problems, node, "protect has %zu entries, the limit is 256", node->n);
        return false;
    }
    struct config_protect *paths = arena_new_array(r->arena, struct config_protect, node->n + 1);
    for (size_t i = 0; i < node->n; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        static const struct option subject = {.name = "subject", .type = OPTION_FIELD, .min = 1, .max = 256};
        if (str_is(pair->key, "subject")) {
            good = read_field(r, &subject, pair->value, &result.subject) && good;
        } else if (read_policy(r, pair, &paths[result.paths_n])) {
            result.paths_n++;
        } else {
            good = false;
        }
    }
    result.paths = paths;
    if (good) *out = result;
    return good;
}

static bool read_section(READ_ARGS) {
    must(option->section);
    size_t before = r->problems->errors;
    if (node->kind != YAML_MAP && !node->is_null) return wrong(r, option, node, "a map");
    config_read_section(r, option->section, node, at, 0);
    return r->problems->errors == before;
}

/* `off` in words, or a section; the mode says which. YAML 1.1 readers make false of a plain off, so that is taken as well. */
static bool read_tls(READ_ARGS) {
    must(option->section);
    struct config_tls *tls = at;
    if (node->kind == YAML_TEXT && !node->is_null && (str_is(node->text, "off") || str_is(node->text, "false"))) {
        tls->mode = TLS_OFF;
        return true;
    }
    if (node->kind != YAML_MAP) return wrong(r, option, node, "off, or a map with cert and key");
    if (!read_section(r, option, node, at)) return false;
    tls->mode = TLS_ON;
    return true;
}

/* Kept with its nodes, so that a later version's reader, or `check`, can look at it. */
static bool read_later(READ_ARGS) {
    must(r->config);
    (void)at;
    size_t entries = node->kind == YAML_TEXT ? !node->is_null : node->n;
    struct config *config = r->config;
    if (node->kind == YAML_TEXT && !node->is_null) return wrong(r, option, node, "a list or a map");
    struct config_later *list = arena_new_array(r->arena, struct config_later, config->later_n + 1);
    if (config->later_n) memcpy(list, config->later, config->later_n * sizeof *list);
    list[config->later_n] = (struct config_later){.key = option->name, .node = node, .entries = entries, .line = node->line};
    config->later = list;
    config->later_n++;
    if (entries > 0) {
        config_problem_add(r->problems, true, node->line, node->column, "%s: this version knows the key and does not run it yet (%zu %s)", option->name,
            entries, entries == 1 ? "entry" : "entries");
    }
    return true;
}

/* ---- showing: as JSON, in the form in which it would be written in the file ---- */

static void show_text(SHOW_ARGS) { json_text(w, *(const char *const *)at); }
static void show_secret(SHOW_ARGS) {
    const char *text = *(const char *const *)at;
    json_text(w, text && !reveal ? "***" : text);
}
static void show_url(SHOW_ARGS) {
    const char *text = *(const char *const *)at;
    BUF_SCOPE(url);
    if (text) shown_put_url(&url, text);
    json_text(w, text && !reveal ? buf_cstr(&url) : text);
}
static void show_number(SHOW_ARGS) { json_uint(w, *(const uint64_t *)at); }
static void show_milliseconds(SHOW_ARGS) {
    ARENA_SCOPE(scratch);
    json_text(w, show_duration(scratch, *(const int64_t *)at));
}
static void show_choice(SHOW_ARGS) {
    ARENA_SCOPE(scratch);
    json_text(w, split_choices(scratch, option->choices)[*(const int *)at]);
}
static void show_list(struct json_writer *w, const struct texts *texts, bool hidden) {
    must(texts);
    json_begin_array(w);
    for (size_t i = 0; i < texts->n; i++) json_text(w, hidden ? "***" : texts->list[i]);
    json_end_array(w);
}
static void show_texts(SHOW_ARGS) { show_list(w, at, false); }
static void show_secrets(SHOW_ARGS) { show_list(w, at, !reveal); }
static void show_flag(SHOW_ARGS) { json_bool(w, *(const bool *)at); }
static void show_dedupe(SHOW_ARGS) {
    must(at);
    const struct config_dedupe_key *dedupe = at;
    ARENA_SCOPE(scratch);
    static const char *const names[] = {[DEDUPE_NONE] = "none", [DEDUPE_BODY] = "body"};
    json_text(w,
        dedupe->kind == DEDUPE_PATH         ? dedupe->name
            : dedupe->kind == DEDUPE_HEADER ? arena_printf(scratch, "header:%s", dedupe->name)
                                            : names[dedupe->kind]);
}
static void show_protect(SHOW_ARGS) {
    must(at);
    static const char *const policies[] = {[PROTECT_ENCRYPT] = "encrypt", [PROTECT_TOKENISE] = "tokenise", [PROTECT_MASK] = "mask"};
    const struct config_protection *protection = at;
    json_begin_object(w);
    for (size_t i = 0; i < protection->paths_n; i++) json_put_text(w, protection->paths[i].path, policies[protection->paths[i].policy]);
    if (protection->subject) json_put_text(w, "subject", protection->subject);
    json_end_object(w);
}
static void show_section(SHOW_ARGS) {
    json_begin_object(w);
    config_show_section(w, option->section, at, 0, reveal);
    json_end_object(w);
}
static void show_tls(SHOW_ARGS) {
    must(at);
    const struct config_tls *tls = at;
    if (tls->mode == TLS_ON)
        show_section(w, option, at, reveal);
    else
        json_text(w, tls->mode == TLS_OFF ? "off" : NULL);
}

/* ---- JSON Schema ---- */

static void schema_text(SCHEMA_ARGS) { json_put_text(w, "type", "string"); }
static void schema_name(SCHEMA_ARGS) {
    json_put_text(w, "type", "string");
    json_put_text(w, "pattern", option->type == OPTION_TABLE ? "^(bronze\\.[a-z][a-z0-9_]{0,62}|.*\\$\\{.*)$" : "^([a-z][a-z0-9_]{0,62}|.*\\$\\{.*)$");
}
/* Numbers, sizes and times may also come from the environment: texts. */
static void schema_number(SCHEMA_ARGS) {
    must(option->max > option->min);
    json_name(w, "anyOf");
    json_begin_array(w);
    json_begin_object(w);
    json_put_text(w, "type", "integer");
    json_put_int(w, "minimum", option->flags & OPTION_ZERO_OK ? 0 : option->min);
    json_put_int(w, "maximum", option->max);
    json_end_object(w);
    json_begin_object(w);
    json_put_text(w, "type", "string");
    json_put_text(w, "pattern", option->type == OPTION_NUMBER ? "^([0-9]+|.*\\$\\{.*)$" : "^([0-9]+ ?[A-Za-z]+|0|.*\\$\\{.*)$");
    json_end_object(w);
    json_end_array(w);
}
static void schema_quantity(SCHEMA_ARGS) {
    if (option->type == OPTION_BYTES) {
        schema_number(w, option);
        return;
    }
    json_put_text(w, "type", "string");
    json_put_text(w, "pattern", "^([0-9]+ ?(ms|s|m|min|h|d)|0|.*\\$\\{.*)$");
}
static void schema_choice(SCHEMA_ARGS) {
    must(option->choices);
    ARENA_SCOPE(scratch);
    json_name(w, "enum");
    json_begin_array(w);
    for (const char **choices = split_choices(scratch, option->choices); *choices; choices++) {
        if (strcmp(*choices, "true") == 0 || strcmp(*choices, "false") == 0) json_bool(w, strcmp(*choices, "true") == 0);
        json_text(w, *choices);
    }
    json_end_array(w);
}
static void schema_texts(SCHEMA_ARGS) {
    json_name(w, "type");
    json_begin_array(w);
    json_text(w, "string");
    json_text(w, "array");
    json_end_array(w);
    json_name(w, "items");
    json_begin_object(w);
    json_put_text(w, "type", "string");
    json_end_object(w);
}
static void schema_protect(SCHEMA_ARGS) {
    json_put_text(w, "type", "object");
    json_name(w, "additionalProperties");
    json_begin_object(w);
    json_put_text(w, "type", "string");
    json_end_object(w);
}
static void schema_section(SCHEMA_ARGS) { config_schema_section(w, option->section); }
static void schema_tls(SCHEMA_ARGS) {
    json_name(w, "anyOf");
    json_begin_array(w);
    json_begin_object(w);
    json_name(w, "enum");
    json_begin_array(w);
    json_text(w, "off");
    json_bool(w, false);
    json_end_array(w);
    json_end_object(w);
    json_begin_object(w);
    config_schema_section(w, option->section);
    json_end_object(w);
    json_end_array(w);
}
static void schema_streams(SCHEMA_ARGS) {
    json_put_text(w, "type", "object");
    json_name(w, "patternProperties");
    json_begin_object(w);
    json_name(w, "^[a-z][a-z0-9_]{0,62}$");
    json_begin_object(w);
    config_schema_section(w, option->section);
    json_end_object(w);
    json_end_object(w);
    json_put_bool(w, "additionalProperties", false);
}
static void schema_sources(SCHEMA_ARGS) {
    json_put_text(w, "type", "array");
    json_name(w, "items");
    json_begin_object(w);
    config_schema_section(w, option->section);
    json_end_object(w);
}
static void schema_flag(SCHEMA_ARGS) { json_put_text(w, "type", "boolean"); }
static void schema_later(SCHEMA_ARGS) {
    json_name(w, "type");
    json_begin_array(w);
    json_text(w, "array");
    json_text(w, "object");
    json_text(w, "null");
    json_end_array(w);
}

const struct option_type_row config_option_types[OPTION_TYPES] = {
    [OPTION_TEXT] = {"text", read_text, show_text, schema_text},
    [OPTION_SECRET] = {"secret", read_text, show_secret, schema_text},
    [OPTION_PATH] = {"path", read_path, show_text, schema_text},
    [OPTION_NAME] = {"name", read_name, show_text, schema_name},
    [OPTION_FIELD] = {"JSON path", read_field, show_text, schema_text},
    [OPTION_HEADER] = {"header name", read_header, show_text, schema_text},
    [OPTION_CHARACTER] = {"character", read_character, show_text, schema_text},
    [OPTION_LISTEN] = {"address", read_listen, show_text, schema_text},
    [OPTION_ZONE] = {"time zone", read_zone, show_text, schema_text},
    [OPTION_TABLE] = {"table", read_table, show_text, schema_name},
    [OPTION_URL] = {"address", read_url, show_url, schema_text},
    [OPTION_NUMBER] = {"number", read_number, show_number, schema_number},
    [OPTION_BYTES] = {"size", read_bytes, show_number, schema_quantity},
    [OPTION_DURATION] = {"time", read_duration, show_milliseconds, schema_quantity},
    [OPTION_CHOICE] = {"choice", read_choice, show_choice, schema_choice},
    [OPTION_TEXTS] = {"texts", read_texts, show_texts, schema_texts},
    [OPTION_SECRETS] = {"secrets", read_texts, show_secrets, schema_texts},
    [OPTION_HEADERS] = {"header names", read_headers, show_texts, schema_texts},
    [OPTION_DEDUPE] = {"dedupe key", read_dedupe, show_dedupe, schema_text},
    [OPTION_PROTECT] = {"map", read_protect, show_protect, schema_protect},
    [OPTION_SECTION] = {"section", read_section, show_section, schema_section},
    [OPTION_TLS] = {"section", read_tls, show_tls, schema_tls},
    [OPTION_STREAMS] = {"map", config_read_streams, config_show_streams, schema_streams},
    [OPTION_SOURCES] = {"list", config_read_sources, config_show_sources, schema_sources},
    [OPTION_FLAG] = {"flag", read_flag, show_flag, schema_flag},
    [OPTION_CRON] = {"schedule", read_cron, show_text, schema_text},
    [OPTION_SELECTORS] = {"selections", read_selectors, show_texts, schema_texts},
    [OPTION_TABLES] = {"tables", read_tables, show_texts, schema_texts},
    [OPTION_COLUMNS] = {"names", read_texts, show_texts, schema_texts},
    [OPTION_NAMES] = {"names", read_names, show_texts, schema_texts},
    [OPTION_FLOWS] = {"list", config_read_flows, config_show_flows, schema_sources},
    [OPTION_STEPS] = {"list", config_read_steps, config_show_steps, schema_sources},
    [OPTION_LATER] = {"list", read_later, NULL, schema_later},
};
