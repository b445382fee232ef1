/* Config: loading cupel.yaml, and what others ask of the result. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "config/config_priv.h"

/* ---- making the value ---- */

/* Name of a project that gives none: that of its folder. */
static const char *last_part(struct arena *arena, const char *dir) {
    struct str rest = str_of(dir);
    while (rest.n > 1 && rest.p[rest.n - 1] == '/') rest.n--;
    struct str last = rest;
    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] == '/') last = str_from(rest, i + 1);
    }
    bool usable = last.n > 0 && !str_is(last, ".") && !str_is(last, "..");
    return usable ? arena_strndup(arena, last.p, last.n) : "cupel";
}

/* A configuration with all defaults, whose arena the reader goes on to use. */
static struct config *config_new(const char *dir, struct option_reader *r) {
    struct arena *arena = arena_new();
    struct config *config = arena_new_one(arena, struct config);
    config->arena = arena;
    config->dir = arena_strdup(arena, dir);
    config->file = arena_printf(arena, "%s/" CONFIG_FILE, dir);
    config->data_dir = arena_printf(arena, "%s/data", dir);
    config->project = last_part(arena, config->dir);
    r->arena = arena;
    r->config = config;
    config_set_defaults(r, &config_root_section, config);
    return config;
}

struct config *config_defaults(const char *dir) {
    struct config_problems problems = {0};
    struct option_reader r = {.problems = &problems};
    struct config *config = config_new(dir, &r);
    must(problems.n == 0);
    return config;
}

void config_free(struct config **config) {
    must(config);
    if (!*config) return;
    struct arena *arena = (*config)->arena;
    *config = NULL;
    arena_free(&arena);
}

/* `lake` before `streams`, whose flush it is the default of, wherever they stand in the file. */
static void read_root(struct option_reader *r, const struct yaml_node *root) {
    must(root->kind == YAML_MAP);
    struct yaml_node *ordered = arena_new_one(r->arena, struct yaml_node);
    *ordered = *root;
    ordered->pairs = arena_new_array(r->arena, struct yaml_pair, root->n + 1);
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < root->n; i++) {
            bool is_lake = str_is(root->pairs[i].key, "lake");
            if (is_lake == (pass == 0)) ordered->pairs[n++] = root->pairs[i];
        }
    }
    must(n == root->n);
    config_read_section(r, &config_root_section, ordered, r->config, 0);
}

/* All of the work. host NULL: nothing outside of the text is looked at. */
static enum status parse(struct str text, const char *dir, const struct host *host, const struct config_environment *environment, struct config **out,
    struct config_problems *problems, struct err *err) {
    struct option_reader r = {.problems = problems, .host = host};
    struct config *config = config_new(dir, &r);
    const struct yaml_node *root = yaml_read(r.arena, text, environment, problems);
    if (root && root->kind != YAML_MAP) {
        config_error_at(problems, root, "the file must be a map, as `project: shop`");
    } else if (root) {
        read_root(&r, root);
        config_check(&r, root);
    }
    config_problems_sort(problems);
    enum status status = config_problems_status(problems, err);
    if (status == OK) {
        *out = config;
    } else {
        config_free(&config);
    }
    return status;
}

enum status config_parse(
    struct str text, const char *dir, const struct config_environment *environment, struct config **out, struct config_problems *problems, struct err *err) {
    must(problems && out);
    return parse(text, dir, NULL, environment, out, problems, err);
}

struct process_environment {
    const struct host *host;
    const char *dir;
};

static const char *process_variable(void *context, const char *name) {
    (void)context;
    return getenv(name);
}

/* `${file:…}`; relative names belong to the project folder. */
static enum status secret_file(void *context, struct arena *arena, const char *path, struct str *out, struct err *err) {
    must(path && out);
    const struct process_environment *e = context;
    const char *full = *path == '/' ? path : arena_printf(arena, "%s/%s", e->dir, path);
    return fs_read_all(e->host->fs, arena, full, YAML_SCALAR_BYTES_MAX, out, err);
}

enum status config_load(const struct host *host, const char *dir, struct config **out, struct config_problems *problems, struct err *err) {
    must(host && dir);
    ARENA_SCOPE(scratch);
    struct str text = STR_NULL;
    const char *path = arena_printf(scratch, "%s/" CONFIG_FILE, dir);
    enum status status = fs_read_all(host->fs, scratch, path, CONFIG_FILE_BYTES_MAX, &text, err);
    if (status == E_NOT_FOUND) return err_set(err, E_NOT_FOUND, "there is no %s; `cupel init %s` makes a project there", path, dir);
    if (status != OK) return status;
    struct process_environment context = {host, dir};
    const struct config_environment environment = {.context = &context, .variable = process_variable, .file = secret_file};
    return parse(text, dir, host, &environment, out, problems, err);
}

/* ---- asking ---- */

const struct config_stream *config_find_stream(const struct config *config, struct str name) {
    must(config);
    for (size_t i = 0; i < config->streams_n; i++) {
        if (str_is(name, config->streams[i].name)) return &config->streams[i];
    }
    return NULL;
}

const struct config_source *config_find_source(const struct config *config, struct str name) {
    must(config);
    for (size_t i = 0; i < config->sources_n; i++) {
        if (str_is(name, config->sources[i].name)) return &config->sources[i];
    }
    return NULL;
}

const struct config_flow *config_find_flow(const struct config *config, struct str name) {
    must(config);
    for (size_t i = 0; i < config->flows_n; i++) {
        if (str_is(name, config->flows[i].name)) return &config->flows[i];
    }
    return NULL;
}

bool config_listen_is_loopback(const char *listen) {
    must(listen);
    struct str text = str_of(listen);
    if (str_starts(text, STR("unix:")) || str_starts(text, STR("[::1]:")) || str_starts(text, STR("localhost:"))) return true;
    if (!str_starts(text, STR("127."))) return false;
    for (size_t i = 0; i < text.n && text.p[i] != ':'; i++) { /* 127.example.com is not */
        if (text.p[i] != '.' && (text.p[i] < '0' || text.p[i] > '9')) return false;
    }
    return true;
}

const char *config_scheme_name(enum config_scheme scheme) {
    static const char *const names[] = {"shopify", "standard-webhooks", "hmac-sha256", "token", "basic", "none"};
    must((size_t)scheme < sizeof names / sizeof *names);
    return names[scheme];
}

const char *config_source_type_name(enum config_source_type type) {
    static const char *const names[] = {"webhook", "landing", "poll"};
    must((size_t)type < sizeof names / sizeof *names);
    return names[type];
}

/* ---- showing ---- */

static void write_section(struct buf *out, const struct option_section *section, const void *target, unsigned kind) {
    must(target);
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    config_show_section(&w, section, target, kind, false);
    json_end_object(&w);
}

void config_stream_json(const struct config_stream *stream, struct buf *out) { write_section(out, &config_stream_section, stream, 0); }

void config_source_json(const struct config_source *source, struct buf *out) {
    write_section(out, &config_source_section, source, config_source_kind(source->type));
}

void config_flow_json(const struct config_flow *flow, struct buf *out) { write_section(out, &config_flow_section, flow, 0); }

void config_json(const struct config *config, struct buf *out) { write_section(out, &config_root_section, config, 0); }

/* Options are compared as they would be shown, secrets included; only their names come out. */
static void compare(const struct option_section *section, const char *prefix, const void *a, const void *b, struct buf *out) {
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i];
        const void *x = (const char *)a + option->offset, *y = (const char *)b + option->offset;
        if (option->type == OPTION_SECTION) {
            compare(option->section, option->name, x, y, out);
            continue;
        }
        if (!(option->flags & OPTION_RESTART)) continue;
        BUF_SCOPE(old_text);
        BUF_SCOPE(new_text);
        struct json_writer w = json_write_to(&old_text), v = json_write_to(&new_text);
        config_option_types[option->type].show(&w, option, x, true);
        config_option_types[option->type].show(&v, option, y, true);
        if (!str_eq(buf_view(&old_text), buf_view(&new_text))) buf_printf(out, "%s%s%s\n", prefix, *prefix ? "." : "", option->name);
    }
}

void config_needs_restart(const struct config *old_config, const struct config *new_config, struct buf *out) {
    must(old_config && new_config);
    compare(&config_root_section, "", old_config, new_config, out);
}
