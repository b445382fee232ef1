/* Who may do what. Tokens are looked up by the SHA-256 of their text in a map that mirrors the ledger; a revocation replaces the map before it returns. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "ingest/ingest_priv.h"

#define USED_EVERY_MS (60 * 60 * 1000) /* last_used in the ledger is that exact */

struct token {
    const char *name;
    enum role role;
    int64_t expires_ms;
    _Atomic int64_t last_used_ms;
};

struct token_table {
    struct arena *arena;
    struct map *by_hash;
};

struct auth {
    const struct host *host;
    struct ledger *ledger;
    enum config_loopback loopback;
    rwlock lock; /* of `table` */
    struct token_table *table;
};

static struct metric denied_total = {.name = "cupel_auth_denied_total",
    .help = "Requests refused for lack of a token, a wrong token or too small a role.",
    .kind = METRIC_COUNTER,
    .labels = "reason"};

enum role role_parse(struct str text) {
    return str_is(text, "admin") ? ROLE_ADMIN : str_is(text, "write") ? ROLE_WRITE : str_is(text, "read") ? ROLE_READ : ROLE_NONE;
}

const char *role_name(enum role role) {
    static const char *const names[] = {"none", "read", "write", "admin"};
    return names[role];
}

/* ---- the mirror of the ledger ---- */

static void table_free(struct token_table *table) {
    if (!table) return;
    map_free(&table->by_hash);
    arena_free(&table->arena);
    free(table);
}

static enum status table_load(struct ledger *ledger, struct token_table **out, struct err *err) {
    struct token_table *table = mem_zalloc(sizeof *table);
    struct ledger_token *tokens = NULL;
    size_t n = 0;
    table->arena = arena_new();
    table->by_hash = map_new();
    enum status st = ledger_token_list(ledger, table->arena, &tokens, &n, err);
    if (st != OK) {
        table_free(table);
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        struct token *token = arena_new_one(table->arena, struct token);
        token->name = tokens[i].name;
        token->role = role_parse(str_of(tokens[i].role));
        token->expires_ms = tokens[i].expires_ms;
        atomic_store(&token->last_used_ms, tokens[i].last_used_ms);
        map_put(table->by_hash, str_make(tokens[i].hash, SIGNATURE_BYTES), token);
    }
    *out = table;
    return OK;
}

enum status auth_reload(struct auth *auth, struct err *err) {
    struct token_table *table, *old;
    enum status st = table_load(auth->ledger, &table, err);
    if (st != OK) return st;
    rwlock_write(&auth->lock);
    old = auth->table;
    auth->table = table;
    rwlock_unlock(&auth->lock);
    table_free(old);
    return OK;
}

enum status auth_new(const struct ingest_options *options, struct auth **out, struct err *err) {
    struct auth *auth = mem_zalloc(sizeof *auth);
    auth->host = options->host;
    auth->ledger = options->ledger;
    auth->loopback = options->loopback;
    rwlock_init(&auth->lock);
    metric_register(&denied_total);
    enum status st = auth_reload(auth, err);
    if (st != OK) {
        auth_free(&auth);
        return st;
    }
    *out = auth;
    return OK;
}

void auth_free(struct auth **auth) {
    if (!auth || !*auth) return;
    table_free((*auth)->table);
    rwlock_destroy(&(*auth)->lock);
    free(*auth);
    *auth = NULL;
}

/* ---- direct requests from this machine ---- */

static bool is_loopback_name(struct str host) {
    if (host.n && host.p[0] == '[') { /* [::1]:8080 */
        long end = str_find(host, STR("]"));
        struct str port = end > 0 ? str_from(host, (size_t)end + 1) : STR_NULL;
        return end > 0 && str_is(str_head(host, (size_t)end + 1), "[::1]") && (!port.n || port.p[0] == ':');
    }
    struct str name = str_cut(&host, ':');
    return str_ieq(name, STR("localhost")) || str_is(name, "127.0.0.1");
}

/* A page of another site can make a browser on this machine send requests here; Origin, Sec-Fetch-Site and (for rebound DNS names) Host tell. NULL: none
 * of that. */
static const char *why_not_open(struct http_request *r) {
    struct str host = http_header(r, "Host"), origin = http_header(r, "Origin"), site = http_header(r, "Sec-Fetch-Site");
    if (!http_peer_is_loopback(r)) return "it comes from another machine";
    if (http_is_proxied(r)) return "it came through a proxy";
    if (!host.p || !is_loopback_name(host)) return "its Host is not a name of this machine";
    if (site.p && !str_is(site, "same-origin") && !str_is(site, "none")) return "a page of another site sent it (Sec-Fetch-Site)";
    if (!origin.p) return NULL;
    struct str rest = origin;
    long scheme = str_find(origin, STR("://"));
    if (scheme >= 0) rest = str_from(origin, (size_t)scheme + 3);
    return scheme >= 0 && str_ieq(rest, host) ? NULL : "a page of another site sent it (Origin)";
}

/* ---- one request ---- */

static void set_caller(struct http_request *r, enum role role, const char *name) {
    struct caller *caller = arena_new_one(http_arena(r), struct caller);
    caller->role = role;
    caller->token = name;
    http_set_user(r, caller);
}

static enum status deny(enum status status, const char *reason, const char *text, struct err *err) {
    series_add(metric_series(&denied_total, reason), 1);
    return err_set(err, status, "%s", text);
}

struct used {
    struct auth *auth;
    char *name;
};

static void note_used(void *context) {
    struct used *used = context;
    struct err err;
    if (ledger_token_used(used->auth->ledger, used->name, host_wall_ms(used->auth->host), &err) != OK)
        log_warn("ingest", "token use not noted", LOG_STR("reason", err.text), NULL);
    free(used->name);
    free(used);
}

static void maybe_note_used(struct auth *auth, struct http_request *r, struct token *token, int64_t now_ms) {
    int64_t last = atomic_load_explicit(&token->last_used_ms, memory_order_relaxed);
    if (now_ms - last < USED_EVERY_MS || !atomic_compare_exchange_strong(&token->last_used_ms, &last, now_ms)) return;
    struct used *used = mem_alloc(sizeof *used);
    *used = (struct used){auth, mem_strdup(token->name)};
    if (http_offload(http_server_of(r), note_used, used, NULL) == OK) return;
    free(used->name);
    free(used);
}

static bool look_up(struct auth *auth, struct http_request *r, struct str text) {
    uint8_t hash[SIGNATURE_BYTES];
    int64_t now_ms = host_wall_ms(auth->host);
    sha256(text, hash);
    rwlock_read(&auth->lock);
    struct token *token = map_get(auth->table->by_hash, str_make(hash, sizeof hash));
    bool good = token && (!token->expires_ms || now_ms < token->expires_ms);
    if (good) {
        set_caller(r, token->role, arena_strdup(http_arena(r), token->name));
        maybe_note_used(auth, r, token, now_ms);
    }
    rwlock_unlock(&auth->lock);
    return good;
}

static bool given_token(struct str header, struct buf *basic, struct str *out) {
    if (str_ieq(str_head(header, 7), STR("Bearer "))) {
        *out = str_trim(str_from(header, 7));
        return true;
    }
    if (!str_ieq(str_head(header, 6), STR("Basic ")) || !buf_unbase64(basic, str_trim(str_from(header, 6)))) return false;
    struct str rest = buf_view(basic);
    str_cut(&rest, ':');
    *out = rest;
    return rest.p != NULL;
}

static enum status identify(struct auth *auth, struct http_request *r, struct err *err) {
    struct str header = http_header(r, "Authorization"), text = STR_NULL;
    if (header.p) {
        BUF_SCOPE(basic);
        if (!given_token(header, &basic, &text))
            return deny(E_UNAUTHENTICATED, "malformed", "Authorization: expected Bearer TOKEN, or Basic with the token as password", err);
        return look_up(auth, r, text) ? OK : deny(E_UNAUTHENTICATED, "unknown", "the token is unknown, expired or revoked", err);
    }
    if (auth->loopback != LOOPBACK_OPEN)
        return deny(E_UNAUTHENTICATED, "missing", "a token is needed: Authorization: Bearer TOKEN (cupel token create; data/cli.token)", err);
    const char *why = why_not_open(r);
    if (why) {
        series_add(metric_series(&denied_total, "not_direct"), 1);
        return err_set(err, E_DENIED, "auth.loopback: open is for direct requests from this machine only, and %s; send a token", why);
    }
    set_caller(r, ROLE_ADMIN, "loopback");
    return OK;
}

enum status auth_check(struct auth *auth, struct http_request *r, uint32_t access, struct err *err) {
    must(access <= ACCESS_SELF);
    if (access == ACCESS_OPEN || access == ACCESS_SELF) {
        set_caller(r, ROLE_NONE, "");
        return OK;
    }
    enum status st = identify(auth, r, err);
    if (st != OK) return st;
    const struct caller *caller = http_user(r);
    enum role needed = access == ACCESS_ADMIN ? ROLE_ADMIN : access == ACCESS_WRITE ? ROLE_WRITE : ROLE_READ;
    if (caller->role >= needed) return OK;
    series_add(metric_series(&denied_total, "role"), 1);
    return err_set(err, E_DENIED, "this needs the role %s; token %s has %s", role_name(needed), caller->token, role_name(caller->role));
}
