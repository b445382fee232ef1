/* The walk carries the set of (path, next step) pairs that lead to the current value; it is small and lives on the stack, one per level. */
#include "ingest/protect.h"

#include <string.h>

#include "base/assert.h"
#include "http/signature.h"

#define TOKEN_HASH_BYTES 20 /* 32 characters of base32 */

struct lead {
    uint8_t path, step;
};

struct leads {
    struct lead list[PROTECT_PATHS_MAX];
    uint8_t n;
};

struct walk {
    const struct protect_rules *rules;
    struct str text, secret;
    struct buf *out;
    size_t at; /* next byte */
    size_t copied; /* bytes below are in `out` */
    bool changed;
    struct err *err;
};

/* ---- paths ---- */

static enum status compile_step(struct protect_path *path, struct str name, struct err *err) {
    if (!name.n) return err_set(err, E_CONFIG, STR_FMT ": a path has no empty steps", STR_ARG(path->text));
    if (path->steps_n == PROTECT_STEPS_MAX) return err_set(err, E_CONFIG, STR_FMT ": more than %d steps", STR_ARG(path->text), PROTECT_STEPS_MAX);
    struct protect_step *step = &path->steps[path->steps_n++];
    *step = (struct protect_step){.name = name, .any = str_is(name, "*")};
    step->is_index = str_to_u64(name, &step->index);
    return OK;
}

static enum status compile_path(const struct config_protect *from, struct arena *arena, struct protect_path *out, struct err *err) {
    *out = (struct protect_path){.text = str_of(arena_strdup(arena, from->path)), .policy = from->policy};
    if (from->policy == PROTECT_ENCRYPT)
        return err_set(err, E_UNSUPPORTED, "%s: encrypt is not supported yet; use tokenise (equal values stay equal) or mask", from->path);
    struct str rest = out->text;
    if (str_starts(rest, STR("$."))) rest = str_from(rest, 2);
    while (rest.p) {
        enum status st = compile_step(out, str_cut(&rest, '.'), err);
        if (st != OK) return st;
    }
    return OK;
}

enum status protect_compile(const struct config_protect *paths, size_t n, struct arena *arena, struct protect_rules *out, struct err *err) {
    if (n > PROTECT_PATHS_MAX) return err_set(err, E_CONFIG, "more than %d protected paths", PROTECT_PATHS_MAX);
    struct protect_rules rules = {.paths = arena_new_array(arena, struct protect_path, n + 1), .n = n};
    for (size_t i = 0; i < n; i++) {
        enum status st = compile_path(&paths[i], arena, &rules.paths[i], err);
        if (st != OK) return st;
        rules.tokenises |= paths[i].policy == PROTECT_TOKENISE;
    }
    *out = rules;
    return OK;
}

static bool step_covers(const struct protect_step *step, struct str name) { return step->any || str_eq(step->name, name); }

/* The rule reaches the path or something above it. A number in the path may be an array's index, which the rule need not have. */
static bool path_covers(const struct protect_path *rule, struct str path) {
    uint8_t at = 0;
    uint64_t index;
    if (str_starts(path, STR("$."))) path = str_from(path, 2);
    while (path.p && at < rule->steps_n) {
        struct str name = str_cut(&path, '.');
        if (step_covers(&rule->steps[at], name))
            at++;
        else if (!str_to_u64(name, &index))
            return false;
    }
    return at == rule->steps_n;
}

bool protect_covers(const struct protect_rules *rules, struct str path) {
    for (size_t i = 0; i < rules->n; i++)
        if (path_covers(&rules->paths[i], path)) return true;
    return false;
}

/* ---- replacing ---- */

void protect_token(struct str secret, struct str value, struct buf *out) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* RFC 4648 section 6, lower case */
    uint8_t mac[SIGNATURE_BYTES];
    must(secret.n == 32);
    hmac_sha256(secret, &value, 1, mac);
    buf_text(out, "tok_");
    uint32_t bits = 0;
    int have = 0;
    for (int i = 0; i < TOKEN_HASH_BYTES; i++) {
        bits = bits << 8 | mac[i];
        for (have += 8; have >= 5; have -= 5) buf_char(out, letters[bits >> (have - 5) & 31]);
    }
}

static enum status broken(struct walk *w) {
    return err_set(w->err, E_INVALID, "a protected stream takes only payloads that can be read; broken at byte %zu", w->at);
}

static void blanks(struct walk *w) {
    while (w->at < w->text.n && strchr(" \t\r\n", w->text.p[w->at]) && w->text.p[w->at]) w->at++;
}

static char peek(const struct walk *w) { return w->at < w->text.n ? w->text.p[w->at] : 0; }

/* Moves behind the string at `at`; *raw is what is between the quotes. */
static bool take_string(struct walk *w, struct str *raw) {
    size_t begin = w->at + 1;
    if (peek(w) != '"') return false;
    for (size_t i = begin; i < w->text.n; i++) {
        if (w->text.p[i] == '\\') {
            i++;
        } else if (w->text.p[i] == '"') {
            *raw = (struct str){w->text.p + begin, i - begin};
            w->at = i + 1;
            return true;
        }
    }
    return false;
}

static unsigned hex4(const char *p) {
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        v = v << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return v & 0xffff;
}

static void put_utf8(struct buf *out, unsigned c) {
    if (c < 0x80) {
        buf_char(out, (char)c);
    } else if (c < 0x800) {
        buf_char(out, (char)(0xc0 | c >> 6));
        buf_char(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_char(out, (char)(0xe0 | c >> 12));
        buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_char(out, (char)(0x80 | (c & 63)));
    } else {
        buf_char(out, (char)(0xf0 | c >> 18));
        buf_char(out, (char)(0x80 | (c >> 12 & 63)));
        buf_char(out, (char)(0x80 | (c >> 6 & 63)));
        buf_char(out, (char)(0x80 | (c & 63)));
    }
}

/* What an escaped string means. The text was validated, so escapes are whole. */
static void unescape(struct str raw, struct buf *out) {
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c != '\\' || i + 1 >= raw.n) {
            buf_char(out, c);
            continue;
        }
        c = raw.p[++i];
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *found = strchr(from, c);
        if (c == 'u' && raw.n - i > 4) {
            unsigned u = hex4(raw.p + i + 1);
            i += 4;
            if (u >= 0xd800 && u < 0xdc00 && raw.n - i > 6 && raw.p[i + 1] == '\\' && raw.p[i + 2] == 'u') {
                u = 0x10000 + ((u - 0xd800) << 10) + (hex4(raw.p + i + 3) - 0xdc00);
                i += 6;
            }
            put_utf8(out, u & 0x1fffff);
        } else {
            buf_char(out, found && c ? to[found - from] : c);
        }
    }
}

static bool skip_value(struct walk *w);

/* Puts the replacement of the value from `begin` to the current place. */
static void replace(struct walk *w, size_t begin, enum config_policy policy) {
    struct str raw = {w->text.p + begin, w->at - begin};
    if (raw.p[0] == 'n') return;
    buf_put(w->out, w->text.p + w->copied, begin - w->copied);
    w->copied = w->at;
    w->changed = true;
    buf_char(w->out, '"');
    if (policy == PROTECT_MASK) {
        buf_text(w->out, PROTECT_MASKED);
    } else {
        BUF_SCOPE(value);
        if (raw.p[0] == '"')
            unescape((struct str){raw.p + 1, raw.n - 2}, &value);
        else
            buf_str(&value, raw);
        protect_token(w->secret, buf_view(&value), w->out);
        if (value.n) explicit_bzero(value.p, value.n);
    }
    buf_char(w->out, '"');
}

/* ---- walking ---- */

static enum status walk_value(struct walk *w, const struct leads *leads, int depth);

static void add_lead(struct leads *to, struct lead lead) {
    for (uint8_t i = 0; i < to->n; i++)
        if (to->list[i].path == lead.path && to->list[i].step == lead.step) return;
    if (to->n < PROTECT_PATHS_MAX) to->list[to->n++] = lead;
}

static void leads_of_member(const struct walk *w, const struct leads *leads, struct str raw_name, struct leads *out) {
    BUF_SCOPE(name);
    bool escaped = memchr(raw_name.p, '\\', raw_name.n) != NULL;
    if (escaped) unescape(raw_name, &name);
    struct str plain_name = escaped ? buf_view(&name) : raw_name;
    out->n = 0;
    for (uint8_t i = 0; i < leads->n; i++) {
        const struct protect_step *step = &w->rules->paths[leads->list[i].path].steps[leads->list[i].step];
        if (step->any || str_eq(step->name, plain_name)) add_lead(out, (struct lead){leads->list[i].path, (uint8_t)(leads->list[i].step + 1)});
    }
}

static void leads_of_element(const struct walk *w, const struct leads *leads, uint64_t index, struct leads *out) {
    out->n = 0;
    for (uint8_t i = 0; i < leads->n; i++) {
        struct lead lead = leads->list[i];
        const struct protect_step *step = &w->rules->paths[lead.path].steps[lead.step];
        if (step->any || (step->is_index && step->index == index))
            add_lead(out, (struct lead){lead.path, (uint8_t)(lead.step + 1)});
        else if (!step->is_index)
            add_lead(out, lead); /* a name reaches through arrays */
    }
}

static enum status walk_object(struct walk *w, const struct leads *leads, int depth) {
    w->at++;
    blanks(w);
    while (peek(w) != '}') {
        struct str name;
        struct leads inner;
        if (!take_string(w, &name)) return broken(w);
        blanks(w);
        if (peek(w) != ':') return broken(w);
        w->at++;
        blanks(w);
        leads_of_member(w, leads, name, &inner);
        enum status st = walk_value(w, &inner, depth + 1);
        if (st != OK) return st;
        blanks(w);
        if (peek(w) == ',') {
            w->at++;
            blanks(w);
        } else if (peek(w) != '}') {
            return broken(w);
        }
    }
    w->at++;
    return OK;
}

static enum status walk_array(struct walk *w, const struct leads *leads, int depth) {
    w->at++;
    blanks(w);
    for (uint64_t index = 0; peek(w) != ']'; index++) {
        struct leads inner;
        leads_of_element(w, leads, index, &inner);
        enum status st = walk_value(w, &inner, depth + 1);
        if (st != OK) return st;
        blanks(w);
        if (peek(w) == ',') {
            w->at++;
            blanks(w);
        } else if (peek(w) != ']') {
            return broken(w);
        }
    }
    w->at++;
    return OK;
}

/* Moves behind the value without looking inside. */
static bool skip_value(struct walk *w) {
    struct str ignored;
    char c = peek(w);
    if (c == '"') return take_string(w, &ignored);
    if (c != '{' && c != '[') {
        size_t begin = w->at;
        while (w->at < w->text.n && !strchr(",]} \t\r\n", w->text.p[w->at])) w->at++;
        return w->at > begin;
    }
    int depth = 0;
    do {
        c = peek(w);
        if (!c) return false;
        if (c == '"') {
            if (!take_string(w, &ignored)) return false;
            continue;
        }
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        w->at++;
    } while (depth);
    return true;
}

static enum status walk_value(struct walk *w, const struct leads *leads, int depth) {
    if (depth > JSON_DEPTH_MAX) return broken(w);
    const struct protect_path *hit = NULL;
    for (uint8_t i = 0; i < leads->n; i++) {
        const struct protect_path *path = &w->rules->paths[leads->list[i].path];
        if (leads->list[i].step < path->steps_n) continue;
        if (!hit || path->policy == PROTECT_MASK) hit = path; /* the stronger of two */
    }
    size_t begin = w->at;
    if (hit || !leads->n) {
        if (!skip_value(w)) return broken(w);
        if (hit) replace(w, begin, hit->policy);
        return OK;
    }
    if (peek(w) == '{') return walk_object(w, leads, depth);
    if (peek(w) == '[') return walk_array(w, leads, depth);
    return skip_value(w) ? OK : broken(w);
}

enum status protect_apply(const struct protect_rules *rules, struct str json, struct str secret, struct buf *out, bool *changed, struct err *err) {
    must(rules && out && (secret.n == 32 || !rules->tokenises));
    struct walk w = {.rules = rules, .text = json, .secret = secret, .out = out, .err = err};
    struct leads all = {.n = 0};
    for (size_t i = 0; i < rules->n; i++) add_lead(&all, (struct lead){(uint8_t)i, 0});
    blanks(&w);
    enum status st = walk_value(&w, &all, 0);
    if (st != OK) return st;
    blanks(&w);
    if (w.at != json.n) return broken(&w);
    buf_put(out, json.p + w.copied, json.n - w.copied);
    *changed = w.changed;
    return OK;
}
