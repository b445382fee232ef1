/* Rules that need more than one option: names that point to nothing, settings that contradict each other, and what a version cannot do yet. */
#include <string.h>

#include "base/assert.h"
#include "config/config_priv.h"

struct checker {
    struct option_reader *r;
    struct config *config;
    struct arena *scratch;
};

const struct yaml_node *config_place(const struct yaml_node *map, const char *key) {
    must(map && key);
    const struct yaml_node *node = yaml_get(map, key);
    return node ? node : map;
}

/* ---- the project ---- */

/* Tokens and payloads in clear on a network only when somebody has written that down. */
static void check_listen(struct checker *c, const struct yaml_node *root) {
    must(c->config->listen);
    const struct config *config = c->config;
    if (config_listen_is_loopback(config->listen) || config->tls.mode != TLS_UNSET) return;
    config_error_at(c->r->problems, config_place(root, "listen"),
        "listen: %s can be reached from other machines: give tls: {cert: …, key: …}, or say `tls: off` when something in front of it does TLS", config->listen);
}

/* Said at `check` rather than when the server starts. */
static void check_tls(struct checker *c, const struct yaml_node *root) {
    const struct config_tls *tls = &c->config->tls;
    const struct yaml_node *map = yaml_get(root, "tls");
    if (!c->r->host || tls->mode != TLS_ON) return;
    if (!fs_exists(c->r->host->fs, tls->cert)) config_error_at(c->r->problems, config_place(map, "cert"), "tls: there is no file %s", tls->cert);
    if (!fs_exists(c->r->host->fs, tls->key)) config_error_at(c->r->problems, config_place(map, "key"), "tls: there is no file %s", tls->key);
}

static void check_lake(struct checker *c, const struct yaml_node *root) {
    must(c && root);
    const struct yaml_node *map = yaml_get(root, "lake");
    static const char *const s3_keys[] = {"bucket", "prefix", "endpoint", "region", "access_key", "secret_key", NULL};
    if (c->config->lake.store == STORE_S3) {
        config_error_at(c->r->problems, config_place(map, "store"), "lake: store s3 comes with a later version; this one has local");
        return;
    }
    for (const char *const *key = s3_keys; *key; key++) {
        const struct yaml_pair *pair = yaml_pair_of(map, *key);
        if (pair) config_problem_add(c->r->problems, false, pair->line, pair->column, "lake: \"%s\" belongs to store s3", *key);
    }
}

/* Retention works by whole segments: with fewer than four there would be nothing to give away. */
static void check_log(struct checker *c, const struct yaml_node *root) {
    must(c->config->log.segment_bytes > 0);
    const struct config_log *log = &c->config->log;
    if (log->segment_bytes > log->max_bytes / 4) {
        const struct yaml_node *map = yaml_get(root, "log");
        const struct yaml_node *node = yaml_get(map, "max_bytes") ? yaml_get(map, "max_bytes") : config_place(map, "segment_bytes");
        config_error_at(c->r->problems, node ? node : root, "log: max_bytes must be at least four times segment_bytes (%llu and %llu)",
            (unsigned long long)log->max_bytes, (unsigned long long)log->segment_bytes);
    }
}

static void check_limits(struct checker *c, const struct yaml_node *root) {
    must(c->config->limits.record_bytes > 0);
    const struct config_limits *limits = &c->config->limits;
    const struct yaml_node *map = yaml_get(root, "limits");
    const struct yaml_node *node = map ? map : root;
    if (limits->record_bytes > limits->decompressed_bytes) {
        config_error_at(c->r->problems, node, "limits: record_bytes is more than decompressed_bytes, so such an event can never come in");
    }
    if (limits->body_bytes > limits->bodies_bytes) {
        config_error_at(c->r->problems, node, "limits: body_bytes is more than bodies_bytes, so such a body can never come in");
    }
}

/* ---- streams ---- */

/* A window that the log cannot remember would let duplicates in without a word. */
static void check_stream(struct checker *c, struct config_stream *stream) {
    must(stream->partitions > 0);
    const struct yaml_node *given = yaml_get(stream->node, "dedupe_window");
    int64_t retention_ms = c->config->log.retention_ms;
    if (stream->dedupe_window_ms > retention_ms) {
        if (given) {
            config_error_at(c->r->problems, given, "dedupe_window is longer than the log's retention: an event that is gone from the log cannot be recognised");
        } else {
            stream->dedupe_window_ms = retention_ms; /* the default gives way */
        }
    }
    if (given && stream->dedupe.kind == DEDUPE_NONE) {
        config_problem_add(c->r->problems, true, given->line, given->column, "dedupe_window has no effect without dedupe");
    }
}

/* ---- sources ---- */

static const char *const *stream_names(struct checker *c) {
    const char **names = arena_new_array(c->scratch, const char *, c->config->streams_n + 1);
    for (size_t i = 0; i < c->config->streams_n; i++) names[i] = c->config->streams[i].name;
    return names;
}

/* Where a source's data goes must be there, and be one place. */
static void check_target(struct checker *c, const struct config_source *source) {
    must(source->name);
    struct config_problems *problems = c->r->problems;
    const struct yaml_node *stream = yaml_get(source->node, "stream"), *table = yaml_get(source->node, "table");
    if (source->stream && !config_find_stream(c->config, str_of(source->stream))) {
        config_error_at(problems, stream, "source %s feeds stream %s, which is not under `streams:`%s", source->name, config_quote(c->scratch, stream),
            config_suggest(c->scratch, str_of(source->stream), stream_names(c)));
    }
    if (source->type != SOURCE_LANDING) {
        if (!stream) config_error_at(problems, source->node, "source %s: \"stream\" is missing", source->name);
        return;
    }
    if (!stream == !table) config_error_at(problems, source->node, "source %s: give either \"table\" or \"stream\"", source->name);
    if (source->table && config_find_stream(c->config, str_of(source->table + strlen("bronze.")))) {
        config_error_at(
            problems, table, "table %s is that of the stream of the same name; take another name, or feed the stream with `stream:`", source->table);
    }
}

/* standard-webhooks section "Signature scheme": the secret is base64, usually behind whsec_. The secret itself is not shown. */
static void check_secret_form(struct checker *c, const struct config_source *source) {
    must(source->secrets_n > 0 || source->scheme == SCHEME_STANDARD_WEBHOOKS);
    const struct yaml_node *node = config_place(source->node, yaml_get(source->node, "secret") ? "secret" : "secrets");
    for (size_t i = 0; i < source->secrets_n; i++) {
        BUF_SCOPE(bytes);
        struct str text = str_of(source->secrets[i]);
        if (str_starts(text, STR("whsec_"))) text = str_from(text, 6);
        if (!buf_unbase64(&bytes, text) || bytes.n == 0) {
            config_error_at(c->r->problems, node, "source %s: a secret of standard-webhooks is base64, with or without whsec_ in front; one given here is not",
                source->name);
        }
    }
}

/* What each scheme needs. */
static void check_webhook(struct checker *c, const struct config_source *source) {
    must(source->type == SOURCE_WEBHOOK);
    struct config_problems *problems = c->r->problems;
    const struct yaml_node *node = source->node;
    const char *scheme = config_scheme_name(source->scheme);
    bool wants_secret = source->scheme != SCHEME_BASIC && source->scheme != SCHEME_NONE;
    if (wants_secret && source->secrets_n == 0 && !yaml_get(node, "secret") && !yaml_get(node, "secrets")) {
        config_error_at(problems, node, "source %s: scheme %s needs \"secret\"", source->name, scheme);
    }
    if (!wants_secret && source->secrets_n > 0) {
        config_error_at(problems, config_place(node, "secret"), "source %s: scheme %s has no secret", source->name, scheme);
    }
    if (source->scheme == SCHEME_TOKEN && !source->token_header == !source->token_query) {
        config_error_at(problems, node, "source %s: scheme token needs either \"token_header\" or \"token_query\": where the token stands", source->name);
    }
    if (source->scheme == SCHEME_BASIC && (!source->user || !source->password)) {
        config_error_at(problems, node, "source %s: scheme basic needs \"user\" and \"password\"", source->name);
    }
    if (source->scheme == SCHEME_STANDARD_WEBHOOKS) check_secret_form(c, source);
    if (source->scheme == SCHEME_NONE) {
        config_problem_add(problems, true, node->line, node->column, "source %s: scheme none takes requests from anybody who reaches it", source->name);
    }
}

static bool is_below(const char *path, const char *dir) {
    must(path && dir);
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Folders and dialects that cannot work. */
static void check_landing(struct checker *c, const struct config_source *source) {
    must(source->type == SOURCE_LANDING);
    const struct yaml_node *node = source->node;
    if (source->path && is_below(source->path, c->config->data_dir)) {
        config_error_at(c->r->problems, config_place(node, "path"), "source %s: its folder may not be inside of data/, which only cupel writes", source->name);
    }
    if (source->delimiter && source->quote && *source->quote && strcmp(source->delimiter, source->quote) == 0) {
        config_error_at(c->r->problems, config_place(node, "quote"), "source %s: delimiter and quote are the same character", source->name);
    }
    if (source->format != FORMAT_AUTO && source->format != FORMAT_CSV && source->format != FORMAT_TSV) {
        static const char *const csv_keys[] = {"delimiter", "quote", "escape", "header", NULL};
        for (const char *const *key = csv_keys; *key; key++) {
            const struct yaml_pair *pair = yaml_pair_of(node, *key);
            if (pair) config_problem_add(c->r->problems, false, pair->line, pair->column, "source %s: \"%s\" is for csv and tsv", source->name, *key);
        }
    }
}

/* Two sources on one folder would race for its files. */
static void check_unlike_others(struct checker *c, size_t index) {
    must(index < c->config->sources_n);
    const struct config_source *source = &c->config->sources[index];
    for (size_t i = 0; i < index; i++) {
        const struct config_source *other = &c->config->sources[i];
        if (strcmp(other->name, source->name) == 0) {
            config_error_at(c->r->problems, config_place(source->node, "name"), "source \"%s\" is given twice, first in line %d", source->name, other->line);
        }
        bool both_landing = source->type == SOURCE_LANDING && other->type == SOURCE_LANDING && source->path && other->path;
        if (both_landing && (is_below(source->path, other->path) || is_below(other->path, source->path))) {
            config_error_at(c->r->problems, config_place(source->node, "path"), "sources %s and %s watch the same folder, or one inside of the other",
                other->name, source->name);
        }
    }
}

/* A header is one line "Name: value"; the value may be a secret, so the message says only which one. */
static void check_poll(struct checker *c, const struct config_source *source) {
    for (size_t i = 0; i < source->request_headers_n; i++) {
        const char *header = source->request_headers[i], *colon = strchr(header, ':');
        if (colon && colon > header && !strpbrk(header, "\r\n") && strcspn(header, " \t") > (size_t)(colon - header)) continue;
        config_problem_add(c->r->problems, false, source->node->line, source->node->column,
            "source %s: header %zu is not of the form \"Name: value\" on one line", source->name, i + 1);
    }
}

static void check_source(struct checker *c, size_t index) {
    const struct config_source *source = &c->config->sources[index];
    must(source->name && source->node);
    check_unlike_others(c, index);
    check_target(c, source);
    if (source->type == SOURCE_WEBHOOK) check_webhook(c, source);
    if (source->type == SOURCE_LANDING) check_landing(c, source);
    if (source->type == SOURCE_POLL) check_poll(c, source);
}

void config_check(struct option_reader *r, const struct yaml_node *root) {
    ARENA_SCOPE(scratch);
    struct checker c = {.r = r, .config = r->config, .scratch = scratch};
    check_listen(&c, root);
    check_tls(&c, root);
    check_lake(&c, root);
    check_log(&c, root);
    check_limits(&c, root);
    struct config_stream *streams = (struct config_stream *)(uintptr_t)r->config->streams; /* still being made: not const yet */
    for (size_t i = 0; i < r->config->streams_n; i++) check_stream(&c, &streams[i]);
    for (size_t i = 0; i < r->config->sources_n; i++) check_source(&c, i);
    config_check_flows(r, scratch);
}
