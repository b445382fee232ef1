/* Tokens: making, listing, revoking; data/cli.token. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/times.h"
#include "ingest/ingest_priv.h"

#define TOKEN_NAME_MAX 63
#define CLI_TOKEN_NAME "cli"

static void make_text(char text[TOKEN_TEXT_MAX]) {
    uint8_t random[32];
    BUF_SCOPE(out);
    host_random(random, sizeof random);
    buf_text(&out, "cupel_");
    buf_hex(&out, str_make(random, sizeof random));
    must(out.n < TOKEN_TEXT_MAX);
    memcpy(text, buf_cstr(&out), out.n + 1);
    explicit_bzero(random, sizeof random);
}

static enum status check_name(struct str name, struct err *err) {
    bool good = name.n > 0 && name.n <= TOKEN_NAME_MAX;
    for (size_t i = 0; i < name.n && good; i++) {
        char c = name.p[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    }
    return good ? OK : err_set(err, E_INVALID, "name: 1 to %d letters, digits, '-', '_' or '.'", TOKEN_NAME_MAX);
}

enum status ingest_token_create(struct ingest *ingest, struct str name, struct str role, int64_t expires_ms, char text[TOKEN_TEXT_MAX], struct err *err) {
    uint8_t hash[SIGNATURE_BYTES];
    char made[TOKEN_TEXT_MAX], name_text[TOKEN_NAME_MAX + 1] = "";
    enum status st = check_name(name, err);
    if (st == OK && role_parse(role) == ROLE_NONE) st = err_set(err, E_INVALID, "role: admin, write or read");
    if (st != OK) return st;
    memcpy(name_text, name.p, name.n);
    make_text(made);
    sha256(str_of(made), hash);
    st = ledger_token_add(ingest->options.ledger, name_text, role_name(role_parse(role)), hash, expires_ms, err);
    if (st == OK) st = auth_reload(ingest->auth, err);
    if (st == OK) memcpy(text, made, sizeof made);
    explicit_bzero(made, sizeof made);
    return st;
}

enum status ingest_token_revoke(struct ingest *ingest, struct str name, struct err *err) {
    char name_text[TOKEN_NAME_MAX + 1] = "";
    if (check_name(name, err) != OK) return err_set(err, E_NOT_FOUND, "there is no such token");
    memcpy(name_text, name.p, name.n);
    enum status st = ledger_token_revoke(ingest->options.ledger, name_text, err);
    return st == OK ? auth_reload(ingest->auth, err) : st;
}

/* ---- data/cli.token ---- */

static bool is_known(const struct ledger_token *tokens, size_t n, struct str text, bool *name_taken) {
    uint8_t hash[SIGNATURE_BYTES];
    bool known = false;
    sha256(text, hash);
    *name_taken = false;
    for (size_t i = 0; i < n; i++) {
        known |= memcmp(tokens[i].hash, hash, sizeof hash) == 0;
        *name_taken |= strcmp(tokens[i].name, CLI_TOKEN_NAME) == 0;
    }
    return known;
}

/* Readable by its owner only from the first moment; old or new content, never a half. */
static enum status write_private(const struct fs *fs, struct arena *arena, const char *path, struct str text, struct err *err) {
    char *tmp = arena_printf(arena, "%s.tmp", path), *dir = arena_strdup(arena, path), *slash = strrchr(dir, '/');
    int file = -1;
    if (fs_exists(fs, tmp)) (void)fs->unlink(fs->self, tmp, NULL); /* a left-over may have other rights */
    enum status st = fs->open(fs->self, tmp, FS_WRITE | FS_CREATE | FS_EXCLUSIVE | FS_PRIVATE, &file, err);
    if (st != OK) return st;
    st = fs->pwrite(fs->self, file, text.p, text.n, 0, err);
    if (st == OK) st = fs->sync_data(fs->self, file, err);
    fs->close(fs->self, file);
    if (st == OK) st = fs->rename(fs->self, tmp, path, err);
    if (slash) *slash = 0;
    return st == OK ? fs->sync_dir(fs->self, slash ? dir : ".", err) : st;
}

enum status ingest_cli_token(const struct host *host, struct ledger *ledger, const char *path, struct err *err) {
    ARENA_SCOPE(arena);
    struct ledger_token *tokens = NULL;
    struct str present = STR_NULL;
    char text[TOKEN_TEXT_MAX];
    uint8_t hash[SIGNATURE_BYTES];
    size_t n = 0;
    bool name_taken;
    enum status st = ledger_token_list(ledger, arena, &tokens, &n, err);
    if (st != OK) return st;
    if (fs_exists(host->fs, path)) {
        st = fs_read_all(host->fs, arena, path, 4096, &present, err);
        if (st != OK) return st;
    }
    if (is_known(tokens, n, str_trim(present), &name_taken) && present.n) return OK;
    make_text(text);
    sha256(str_of(text), hash);
    if (name_taken) st = ledger_token_revoke(ledger, CLI_TOKEN_NAME, err);
    if (st == OK) st = ledger_token_add(ledger, CLI_TOKEN_NAME, "admin", hash, 0, err);
    /* The file after the ledger: a crash in between leaves an unknown file, and the next start makes both anew. */
    if (st == OK) st = write_private(host->fs, arena, path, str_of(arena_printf(arena, "%s\n", text)), err);
    explicit_bzero(text, sizeof text);
    return st;
}

/* ---- routes; SQLite syncs, so the work is done by a worker ---- */

struct token_call {
    struct ingest *ingest;
    struct http_request *request;
};

static void offload(struct ingest *ingest, struct http_request *r, void (*run)(void *)) {
    struct token_call *call = arena_new_one(http_arena(r), struct token_call);
    struct err err;
    *call = (struct token_call){ingest, r};
    if (http_offload(http_server_of(r), run, call, &err) != OK) http_answer_problem(r, &err, STR_NULL);
}

static void put_time(struct json_writer *w, const char *name, int64_t at_ms) {
    if (at_ms) {
        json_put_time_ms(w, name, at_ms);
    } else {
        json_name(w, name);
        json_null(w);
    }
}

static void run_list(void *context) {
    struct token_call *call = context;
    struct ledger_token *tokens = NULL;
    struct err err;
    size_t n = 0;
    if (ledger_token_list(call->ingest->options.ledger, http_arena(call->request), &tokens, &n, &err) != OK) {
        http_answer_problem(call->request, &err, STR_NULL);
        return;
    }
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_name(&w, "tokens");
    json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        json_begin_object(&w);
        json_put_text(&w, "name", tokens[i].name);
        json_put_text(&w, "role", tokens[i].role);
        put_time(&w, "created_at", tokens[i].created_ms);
        put_time(&w, "expires_at", tokens[i].expires_ms);
        put_time(&w, "last_used_at", tokens[i].last_used_ms);
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    http_answer_take(call->request, 200, "application/json", &out);
}

void get_tokens(void *ingest, struct http_request *r) { offload(ingest, r, run_list); }

/* "expires": RFC 3339, or "expires_in": a duration such as "30d". */
static enum status read_expiry(struct token_call *call, struct json_scanner *scanner, int64_t *out, struct err *err) {
    struct str text;
    int64_t us, ms;
    *out = 0;
    if (json_scan_path(scanner, STR("expires_at"), &text)) {
        if (!time_parse_us(text, &us)) return err_set(err, E_INVALID, "expires_at: not an RFC 3339 time");
        *out = us / 1000;
    } else if (json_scan_path(scanner, STR("expires_in"), &text)) {
        if (!str_to_duration_ms(text, &ms) || ms <= 0) return err_set(err, E_INVALID, "expires_in: not a duration such as 30d or 12h");
        *out = host_wall_ms(call->ingest->options.host) + ms;
    }
    return OK;
}

static enum status read_wish(struct token_call *call, struct str *name, struct str *role, int64_t *expires_ms, struct err *err) {
    struct arena *arena = http_arena(call->request);
    struct scanner_slot *slot = scanner_take(call->ingest);
    struct str body = http_body(call->request);
    enum status st = body.n ? json_scan(slot->scanner, body, err) : err_set(err, E_INVALID, "body: expected {\"name\":…,\"role\":…}");
    if (st == OK && !json_scan_path(slot->scanner, STR("name"), name)) st = err_set(err, E_INVALID, "name: missing");
    if (st == OK) *name = arena_str(arena, *name);
    if (st == OK && !json_scan_path(slot->scanner, STR("role"), role)) st = err_set(err, E_INVALID, "role: missing (admin, write or read)");
    if (st == OK) *role = arena_str(arena, *role);
    if (st == OK) st = read_expiry(call, slot->scanner, expires_ms, err);
    scanner_give(call->ingest, slot);
    return st;
}

static void run_create(void *context) {
    struct token_call *call = context;
    struct str name, role;
    struct err err;
    char text[TOKEN_TEXT_MAX];
    int64_t expires_ms = 0;
    enum status st = read_wish(call, &name, &role, &expires_ms, &err);
    if (st == OK) st = ingest_token_create(call->ingest, name, role, expires_ms, text, &err);
    if (st != OK) {
        http_answer_problem(call->request, &err, STR_NULL);
        return;
    }
    struct buf out = BUF_INIT;
    struct json_writer w = json_write_to(&out);
    json_begin_object(&w);
    json_put_str(&w, "name", name);
    json_put_str(&w, "role", role);
    json_put_text(&w, "token", text);
    put_time(&w, "expires_at", expires_ms);
    json_end_object(&w);
    log_info("ingest", "token created", LOG_VIEW("token", name), LOG_VIEW("role", role), NULL);
    http_add_header(call->request, "Cache-Control", "no-store");
    http_answer_take(call->request, 201, "application/json", &out);
}

void post_token(void *ingest, struct http_request *r) { offload(ingest, r, run_create); }

static void run_revoke(void *context) {
    struct token_call *call = context;
    struct str name = http_part(call->request, "name");
    struct err err;
    if (ingest_token_revoke(call->ingest, name, &err) != OK) {
        http_answer_problem(call->request, &err, STR_NULL);
        return;
    }
    log_info("ingest", "token revoked", LOG_VIEW("token", name), NULL);
    http_answer(call->request, 204, NULL, STR(""));
}

void delete_token(void *ingest, struct http_request *r) { offload(ingest, r, run_revoke); }
