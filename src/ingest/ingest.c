#include "ingest/ingest.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "ingest/ingest_priv.h"

static struct metric records_total = {
    .name = "cupel_ingest_records_total", .help = "Records made durable, duplicates not counted.", .kind = METRIC_COUNTER, .labels = "stream"};
static struct metric duplicates_total = {
    .name = "cupel_ingest_duplicates_total", .help = "Records recognised as duplicates and not stored again.", .kind = METRIC_COUNTER, .labels = "stream"};
static struct metric bytes_total = {
    .name = "cupel_ingest_bytes_total", .help = "Payload bytes of accepted requests.", .kind = METRIC_COUNTER, .labels = "stream"};
static struct metric refused_total = {
    .name = "cupel_ingest_refused_total", .help = "Requests of which nothing was stored because of their content.", .kind = METRIC_COUNTER, .labels = "stream"};
static struct metric undeduped_total = {.name = "cupel_ingest_undeduped_total",
    .help = "Records stored without deduplication because the stream's dedupe value was missing in them.",
    .kind = METRIC_COUNTER,
    .labels = "stream"};
static struct metric rejected_total = {
    .name = "cupel_hook_rejected_total", .help = "Webhook calls whose signature or credentials did not fit.", .kind = METRIC_COUNTER, .labels = "source"};
static struct metric challenges_total = {
    .name = "cupel_hook_challenges_total", .help = "Set-up questions of webhook senders that were answered.", .kind = METRIC_COUNTER, .labels = "source"};

/* ---- table ---- */

static enum status load_secret(struct ingest *ingest, struct table *table, struct stream_rules *rules, struct err *err) {
    struct protection_key key;
    if (!rules->protect.tokenises && !rules->key_protected) return OK;
    enum status st = ledger_protection_key(ingest->options.ledger, table->arena, "tokenise", "", &key, err);
    if (st != OK) return st;
    rules->secret = arena_str(table->arena, str_make(key.secret, 32));
    rules->key_id = key.id;
    return OK;
}

static enum status add_stream(struct ingest *ingest, struct table *table, const struct ingest_stream *from, struct err *err) {
    const struct config_stream *c = from->config;
    struct arena *arena = table->arena;
    struct stream_rules *rules = arena_new_one(arena, struct stream_rules);
    must(c->name && from->number > 0 && from->number <= EVENT_STREAM_MAX);
    rules->name = arena_strdup(arena, c->name);
    rules->number = from->number;
    rules->key = c->key ? str_of(arena_strdup(arena, c->key)) : STR_NULL;
    rules->dedupe = c->dedupe.kind;
    rules->dedupe_name = c->dedupe.name ? arena_strdup(arena, c->dedupe.name) : NULL;
    rules->accept = c->accept;
    enum status st = protect_compile(c->protect.paths, c->protect.paths_n, arena, &rules->protect, err);
    if (st != OK) return err_prefix(err, "streams.%s.protect", c->name);
    rules->key_protected = rules->key.n && protect_covers(&rules->protect, rules->key);
    st = load_secret(ingest, table, rules, err);
    if (st != OK) return err_prefix(err, "streams.%s.protect", c->name);
    rules->m_records = metric_series(&records_total, rules->name);
    rules->m_duplicates = metric_series(&duplicates_total, rules->name);
    rules->m_bytes = metric_series(&bytes_total, rules->name);
    rules->m_refused = metric_series(&refused_total, rules->name);
    rules->m_undeduped = metric_series(&undeduped_total, rules->name);
    if (map_put(table->streams, str_of(rules->name), rules)) return err_set(err, E_CONFIG, "streams.%s: defined twice", c->name);
    table->by_number[rules->number] = rules->name;
    return OK;
}

static struct secrets copy_secrets(struct arena *arena, const struct config_source *c) {
    struct str *list = arena_new_array(arena, struct str, c->secrets_n + 1);
    for (size_t i = 0; i < c->secrets_n; i++) list[i] = str_of(arena_strdup(arena, c->secrets[i]));
    return (struct secrets){list, c->secrets_n};
}

static const char *copy(struct arena *arena, const char *text) { return text ? arena_strdup(arena, text) : NULL; }

static void copy_keep_headers(struct arena *arena, const struct config_source *c, struct source_rules *rules) {
    const char **list = arena_new_array(arena, const char *, c->keep_headers_n + 1);
    for (size_t i = 0; i < c->keep_headers_n; i++) list[i] = arena_strdup(arena, c->keep_headers[i]);
    rules->keep_headers = list;
    rules->keep_headers_n = c->keep_headers_n;
}

/* A timestamp that is not signed could be anybody's, and one that is signed must be known. */
static enum status check_signed_text(const struct source_rules *rules, struct err *err) {
    if (!rules->signed_text.p) return OK;
    if (str_find(rules->signed_text, STR("{body}")) < 0) return err_set(err, E_CONFIG, "sources.%s: signed must hold {body}", rules->name);
    bool timed = str_find(rules->signed_text, STR("{timestamp}")) >= 0;
    if (timed != (rules->timestamp_header != NULL))
        return err_set(err, E_CONFIG, "sources.%s: {timestamp} in signed and timestamp_header go together", rules->name);
    return OK;
}

/* What a scheme cannot work without. */
static enum status check_source(const struct source_rules *rules, struct err *err) {
    bool by_secret =
        rules->scheme == SCHEME_SHOPIFY || rules->scheme == SCHEME_STANDARD_WEBHOOKS || rules->scheme == SCHEME_HMAC_SHA256 || rules->scheme == SCHEME_TOKEN;
    if (by_secret && !rules->secrets.n) return err_set(err, E_CONFIG, "sources.%s: the scheme needs a secret", rules->name);
    for (size_t i = 0; i < rules->secrets.n; i++)
        if (!rules->secrets.list[i].n) return err_set(err, E_CONFIG, "sources.%s: a secret is empty", rules->name);
    if (rules->scheme == SCHEME_BASIC && (!rules->user.n || !rules->password.n))
        return err_set(err, E_CONFIG, "sources.%s: basic needs user and password", rules->name);
    if (rules->scheme == SCHEME_TOKEN && !rules->token_header && !rules->token_query)
        return err_set(err, E_CONFIG, "sources.%s: token needs token_header or token_query", rules->name);
    return check_signed_text(rules, err);
}

static enum status add_source(struct table *table, const struct config_source *c, struct err *err) {
    struct arena *arena = table->arena;
    struct source_rules *rules = arena_new_one(arena, struct source_rules);
    rules->name = arena_strdup(arena, c->name);
    rules->stream = c->stream ? map_get(table->streams, str_of(c->stream)) : NULL;
    if (!rules->stream) return err_set(err, E_CONFIG, "sources.%s: there is no stream %s", c->name, c->stream ? c->stream : "(none given)");
    rules->scheme = c->scheme;
    rules->accept = c->accept;
    rules->secrets = copy_secrets(arena, c);
    rules->header = c->header ? arena_strdup(arena, c->header) : "X-Signature";
    rules->timestamp_header = copy(arena, c->timestamp_header);
    rules->token_header = copy(arena, c->token_header);
    rules->token_query = copy(arena, c->token_query);
    rules->prefix = str_of(copy(arena, c->prefix));
    rules->user = str_of(copy(arena, c->user));
    rules->password = str_of(copy(arena, c->password));
    rules->verify_token = str_of(copy(arena, c->verify_token));
    rules->signed_text = str_of(copy(arena, c->signed_text));
    rules->encoding = c->encoding == SIGNATURE_BASE64 ? ENCODING_BASE64 : ENCODING_HEX;
    rules->tolerance_ms = c->tolerance_ms;
    rules->answer = c->answer ? (int)c->answer : 202;
    copy_keep_headers(arena, c, rules);
    rules->m_rejected = metric_series(&rejected_total, rules->name);
    rules->m_challenges = metric_series(&challenges_total, rules->name);
    enum status st = check_source(rules, err);
    if (st == OK && map_put(table->sources, str_of(rules->name), rules)) st = err_set(err, E_CONFIG, "sources.%s: defined twice", c->name);
    return st;
}

static void table_free(struct table *table) {
    map_free(&table->streams);
    map_free(&table->sources);
    arena_free(&table->arena);
    free(table);
}

static enum status table_new(struct ingest *ingest, const struct ingest_stream *streams, size_t streams_n, const struct ingest_source *sources,
    size_t sources_n, struct table **out, struct err *err) {
    struct table *table = mem_zalloc(sizeof *table);
    enum status st = OK;
    table->arena = arena_new();
    table->streams = map_new();
    table->sources = map_new();
    for (size_t i = 0; i < streams_n && st == OK; i++) st = add_stream(ingest, table, &streams[i], err);
    for (size_t i = 0; i < sources_n && st == OK; i++) st = add_source(table, sources[i].config, err);
    if (st != OK) {
        table_free(table);
        return st;
    }
    *out = table;
    return OK;
}

enum status ingest_configure(
    struct ingest *ingest, const struct ingest_stream *streams, size_t streams_n, const struct ingest_source *sources, size_t sources_n, struct err *err) {
    WITH_LOCK(&ingest->configure_lock);
    struct table *table;
    enum status st = table_new(ingest, streams, streams_n, sources, sources_n, &table, err);
    if (st != OK) return st;
    table->retired = atomic_load(&ingest->table);
    atomic_store_explicit(&ingest->table, table, memory_order_release);
    return OK;
}

static struct table *current(struct ingest *ingest) { return atomic_load_explicit(&ingest->table, memory_order_acquire); }
struct stream_rules *find_stream(struct ingest *ingest, struct str name) {
    return map_get(current(ingest)->streams, name);
}
struct source_rules *find_source(struct ingest *ingest, struct str name) {
    return map_get(current(ingest)->sources, name);
}
const char *ingest_stream_name(struct ingest *ingest, uint16_t number) { return number <= EVENT_STREAM_MAX ? current(ingest)->by_number[number] : NULL; }

enum status no_such_stream(struct str name, struct err *err) {
    return err_set(err, E_NOT_FOUND, "there is no stream %.*s; streams are named in cupel.yaml", STR_ARG(str_head(name, 64)));
}

/* ---- scanners ---- */

struct scanner_slot *scanner_take(struct ingest *ingest) {
    mutex_lock(&ingest->scanners_lock);
    struct scanner_slot *slot = ingest->scanners;
    if (slot) ingest->scanners = slot->next;
    mutex_unlock(&ingest->scanners_lock);
    if (slot) return slot;
    slot = mem_zalloc(sizeof *slot);
    slot->scanner = json_scanner_new(ingest->limits.record_bytes_max);
    return slot;
}

void scanner_give(struct ingest *ingest, struct scanner_slot *slot) {
    if (slot->grown) { /* it holds several times the size of its largest text, for ever */
        json_scanner_free(&slot->scanner);
        free(slot);
        return;
    }
    WITH_LOCK(&ingest->scanners_lock);
    slot->next = ingest->scanners;
    ingest->scanners = slot;
}

/* ---- opening ---- */

enum status ingest_open(const struct ingest_options *options, const struct ingest_stream *streams, size_t streams_n, const struct ingest_source *sources,
    size_t sources_n, struct ingest **out, struct err *err) {
    must(options && options->host && options->log && options->ledger && out);
    struct ingest *ingest = mem_zalloc(sizeof *ingest);
    ingest->options = *options;
    ingest->limits.record_bytes_max = options->record_bytes_max ? options->record_bytes_max : 1u << 20;
    ingest->limits.records_max = options->records_max ? options->records_max : 10000;
    if (ingest->limits.record_bytes_max > STREAM_RECORD_BYTES_MAX) ingest->limits.record_bytes_max = STREAM_RECORD_BYTES_MAX;
    if (!ingest->options.wait_ms_max) ingest->options.wait_ms_max = 60000;
    mutex_init(&ingest->configure_lock);
    mutex_init(&ingest->scanners_lock);
    enum status st = auth_new(options, &ingest->auth, err);
    if (st == OK) st = ingest_configure(ingest, streams, streams_n, sources, sources_n, err);
    if (st != OK) {
        ingest_close(&ingest);
        return st;
    }
    *out = ingest;
    return OK;
}

void ingest_close(struct ingest **pointer) {
    if (!pointer || !*pointer) return;
    struct ingest *ingest = *pointer;
    *pointer = NULL;
    for (struct table *t = atomic_load(&ingest->table); t;) {
        struct table *older = t->retired;
        table_free(t);
        t = older;
    }
    while (ingest->scanners) {
        struct scanner_slot *slot = ingest->scanners;
        ingest->scanners = slot->next;
        json_scanner_free(&slot->scanner);
        free(slot);
    }
    auth_free(&ingest->auth);
    mutex_destroy(&ingest->configure_lock);
    mutex_destroy(&ingest->scanners_lock);
    free(ingest);
}

size_t ingest_routes(struct ingest *ingest, struct http_route *out) {
    const struct http_route routes[] = {
        {.method = "POST",
            .pattern = "/v1/streams/{stream}",
            .handler = post_stream,
            .decompress = true,
            .access = ACCESS_WRITE,
            .summary = "Append one event, an array or NDJSON; all or nothing; answered when durable",
            .operation = "appendEvents"},
        {.method = "GET",
            .pattern = "/v1/streams",
            .handler = get_streams,
            .access = ACCESS_READ,
            .summary = "All streams with their state",
            .operation = "listStreams"},
        {.method = "GET",
            .pattern = "/v1/streams/{stream}",
            .handler = get_stream,
            .access = ACCESS_READ,
            .summary = "State of one stream",
            .operation = "getStream"},
        {.method = "GET",
            .pattern = "/v1/streams/{stream}/events",
            .handler = get_events,
            .access = ACCESS_READ,
            .summary = "Read a partition from an offset on; wait= makes it a long poll",
            .operation = "readEvents"},
        {.method = "*",
            .pattern = "/hooks/{source}",
            .handler = hook,
            .decompress_later = true,
            .decompress = true,
            .raw_body = true,
            .access = ACCESS_SELF,
            .summary = "Webhook, checked by the source's own signature scheme",
            .operation = "receiveWebhook"},
        {.method = "GET",
            .pattern = "/v1/tokens",
            .handler = get_tokens,
            .access = ACCESS_ADMIN,
            .summary = "Names and roles of all tokens",
            .operation = "listTokens"},
        {.method = "POST",
            .pattern = "/v1/tokens",
            .handler = post_token,
            .access = ACCESS_ADMIN,
            .body_bytes_max = 16384,
            .summary = "New token; its text is given only here",
            .operation = "createToken"},
        {.method = "DELETE",
            .pattern = "/v1/tokens/{name}",
            .handler = delete_token,
            .access = ACCESS_ADMIN,
            .summary = "Revoke a token at once",
            .operation = "revokeToken"},
    };
    size_t n = sizeof routes / sizeof *routes;
    must(n <= INGEST_ROUTES_MAX);
    for (size_t i = 0; i < n; i++) {
        out[i] = routes[i];
        out[i].context = ingest;
    }
    return n;
}

enum status ingest_authorise(void *ingest, struct http_request *r, const struct http_route *route, struct err *err) {
    return auth_check(((struct ingest *)ingest)->auth, r, route->access, err);
}
