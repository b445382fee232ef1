#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/log.h"
#include "config/config.h"
#include "connect/landing_priv.h"

struct pass {
    struct source_state *s;
    struct arena *arena; /* of the batch */
    struct landing_outcome *outcome;
    struct work_file *files;
    size_t n;
    struct pass_left *left;
};

/* ---- plans ---- */

static enum status plan_file(struct pass *p, const struct ready_file *ready, struct work_file *out, struct err *err) {
    struct source_state *s = p->s;
    const struct landing_options *o = &s->landing->options;
    enum status st = landing_plan_make(o->host, p->arena, ready->path, &s->config->reading, &out->plan, err);
    if (st != OK) return st;
    const char *name = out->plan.name;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) out->plan.rejection = "the file's name has control characters";
    if (!utf8_valid(str_of(name))) out->plan.rejection = "the file's name is not valid UTF-8";
    if (!out->plan.rejection && out->plan.format == LANDING_PARQUET) st = landing_probe_parquet(s, p->arena, out, ready->seen->failures, err);
    return st == OK && !out->plan.rejection ? landing_protect(s, p->arena, out, err) : st;
}

/* Which columns are personal, and the key for their tokens. */
enum status landing_protect(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    const struct config_protection *protect = s->config->protect;
    bool tokenises = false;
    for (size_t i = 0; protect && i < file->plan.columns_n; i++) {
        struct landing_column *c = &file->plan.columns[i];
        for (size_t k = 0; k < protect->paths_n; k++)
            if (str_ieq(str_of(c->name), str_of(protect->paths[k].path)) || str_ieq(str_trim(c->key), str_of(protect->paths[k].path)))
                c->policy = protect->paths[k].policy == PROTECT_MASK ? COLUMN_MASKED : COLUMN_TOKENISED;
        file->plan.protects |= c->policy != COLUMN_KEPT;
        tokenises |= c->policy == COLUMN_TOKENISED;
    }
    if (!tokenises) return OK;
    if (file->plan.format == LANDING_PARQUET) {
        file->plan.rejection = "tokenise is not possible for columns of Parquet files in this version: use mask, or send text";
        return OK;
    }
    struct protection_key key;
    enum status st = ledger_protection_key(s->landing->options.ledger, arena, "tokenise", "", &key, err);
    if (st == OK) file->plan.secret = key.secret;
    return st;
}

/* It is tried again, less and less often. */
static void cannot_read(struct pass *p, const struct ready_file *f, enum status st, const struct err *err) {
    struct source_state *s = p->s;
    if (st == E_NOT_FOUND || st == E_BUSY) { /* gone, or still being written to */
        p->left->waiting++;
        return;
    }
    int64_t wait_ms = (int64_t)LANDING_POLL_MS << (f->seen->failures < 6 ? f->seen->failures : 6);
    f->seen->failures++;
    f->seen->retry_at_ms = host_monotonic_ms(s->landing->options.host) + wait_ms;
    p->left->stuck++;
    series_add(s->failures, 1);
    log_warn("connect", "a landing file cannot be read now", LOG_STR("source", s->config->name), LOG_STR("file", f->path), LOG_STR("error", err->text),
        LOG_INT("retry_ms", wait_ms), NULL);
}

/* Files for one batch, from *at on. Those that cannot be read now are left for another time. */
static void plan_batch(struct pass *p, const struct folder_state *folder, size_t *at, size_t files_max) {
    uint64_t bytes = 0;
    p->files = arena_new_array(p->arena, struct work_file, files_max);
    p->n = 0;
    while (*at < folder->n && p->n < files_max && !landing_stopping(p->s->landing)) {
        const struct ready_file *f = &folder->ready[*at];
        if (p->n && bytes + f->size_bytes > LANDING_BATCH_BYTES) break;
        struct work_file *work = &p->files[p->n];
        struct err err = {0};
        *work = (struct work_file){0};
        enum status st = plan_file(p, f, work, &err);
        ++*at;
        if (st != OK) {
            cannot_read(p, f, st, &err);
            continue;
        }
        f->seen->failures = 0;
        bytes += work->plan.text_bytes;
        p->n++;
        if (work->plan.format == LANDING_PARQUET && !work->plan.rejection) return; /* a statement of its own */
    }
}

/* ---- taking: one transaction ---- */

static bool in_batch_already(const struct pass *p, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (p->files[k].kind != WORK_NONE && p->files[k].row.id == p->files[i].row.id) return true;
    return false;
}

static enum status take_file(struct pass *p, struct ledger *ledger, size_t i, int64_t now_ms, struct err *err) {
    struct work_file *f = &p->files[i];
    struct landing_file wanted = {.source = p->s->config->name,
        .path = f->plan.path,
        .hash = f->plan.hash,
        .size_bytes = f->plan.size_bytes,
        .stream = p->s->number,
        .received_ms = now_ms};
    uint64_t reserve = f->plan.rejection || p->s->config->stream ? 0 : f->plan.rows_max;
    bool already;
    enum status st = ledger_landing_take(ledger, p->arena, &wanted, reserve, &already, &f->row, err);
    if (st != OK) return st;
    if (already && f->row.state == LANDING_MOVED && f->row.rejected) { /* refused before: options may have changed since */
        st = ledger_landing_forget(ledger, f->row.id, err);
        if (st == OK) st = ledger_landing_take(ledger, p->arena, &wanted, reserve, &already, &f->row, err);
        if (st != OK) return st;
    }
    if (already && in_batch_already(p, i))
        f->kind = WORK_LATER;
    else if (f->row.state == LANDING_MOVED)
        f->kind = WORK_ALREADY;
    else if (f->row.state == LANDING_LANDED) {
        f->kind = WORK_LANDED;
        f->good = f->row.rows_landed;
        f->bad = f->row.rows_quarantined;
    } else if (f->row.state == LANDING_REJECTED)
        f->kind = WORK_REJECTED;
    else
        f->kind = WORK_LAND;
    if (f->row.state == LANDING_REJECTED) f->reason = f->row.reason;
    if (f->kind != WORK_LAND || !f->plan.rejection) return OK;
    f->kind = WORK_REJECTED;
    f->reason = f->plan.rejection;
    return ledger_landing_finish(ledger, f->row.id, LANDING_REJECTED, 0, 0, 0, f->reason, NULL, err);
}

static enum status take_all(void *context, struct ledger *ledger, struct err *err) {
    struct pass *p = context;
    int64_t now_ms = host_wall_ms(p->s->landing->options.host);
    for (size_t i = 0; i < p->n; i++) {
        p->files[i].kind = WORK_NONE;
        enum status st = take_file(p, ledger, i, now_ms, err);
        if (st != OK) return st;
    }
    return OK;
}

/* ---- landing ---- */

/* A file that the engine cannot read whole, alone in its batch: refused instead of tried for ever. */
static enum status refuse(struct pass *p, struct work_file *f, const char *reason, struct err *err) {
    enum status st = ledger_landing_finish(p->s->landing->options.ledger, f->row.id, LANDING_REJECTED, 0, 0, 0, reason, NULL, err);
    if (st != OK) return st;
    f->kind = WORK_REJECTED;
    f->reason = reason;
    return OK;
}

static bool about_content(enum status st) { return st == E_INVALID || st == E_UNSUPPORTED || st == E_UNPROCESSABLE; }

/* May be the machine's fault (the engine was killed, memory is short) or the file's. Damaged Parquet can look like a disk that cannot be read. */
static bool about_engine(enum status st, const struct work_file *f) {
    return st == E_UNAVAILABLE || st == E_LIMIT || st == E_CORRUPT || st == E_INTERNAL || (st == E_IO && f->plan.format == LANDING_PARQUET);
}

/* It failed over this file alone, again and again: most likely because of it. */
static bool is_poison(struct source_state *s, const struct work_file *f) {
    if (strcmp(s->poison, f->plan.hash) != 0) s->deaths = 0;
    memcpy(s->poison, f->plan.hash, sizeof s->poison);
    return ++s->deaths >= LANDING_ATTEMPTS_MAX;
}

static enum status land_batch(struct pass *p, struct err *err) {
    struct source_state *s = p->s;
    struct work_file **work = arena_new_array(p->arena, struct work_file *, p->n + 1);
    size_t n = 0;
    /* One commit has one receipt hour (the partition); files taken before a crash may have another: they go first, the rest follow in the next pass. */
    for (size_t i = 0; i < p->n; i++) {
        struct work_file *f = &p->files[i];
        if (f->kind != WORK_LAND) continue;
        if (n && f->row.received_ms / HOUR_MS != work[0]->row.received_ms / HOUR_MS)
            p->left->waiting++;
        else
            work[n++] = f;
    }
    if (n == 0) return OK;
    enum status st = OK;
    if (s->config->stream)
        for (size_t i = 0; i < n && st == OK; i++) st = landing_to_stream(s, p->arena, work[i], err);
    else
        st = landing_to_table(s, p->arena, work, n, err);
    if (st == OK) {
        if (s->singles) s->singles--;
        return OK;
    }
    if (n > 1) {
        s->singles = n;
        return st;
    }
    struct err reason = err ? *err : (struct err){0};
    bool changed = landing_plan_unchanged(s->landing->options.host, &work[0]->plan, NULL) != OK;
    if (changed) return refuse(p, work[0], "the file changed while its rows were read", err);
    if (about_content(st)) return refuse(p, work[0], arena_strdup(p->arena, reason.text), err);
    if (about_engine(st, work[0]) && is_poison(s, work[0])) return refuse(p, work[0], arena_printf(p->arena, "%s, %u times", reason.text, s->deaths), err);
    return st;
}

/* ---- moving ---- */

static void count(struct pass *p, const struct work_file *f) {
    struct source_state *s = p->s;
    struct landing_outcome *o = p->outcome;
    o->files++;
    if (f->kind == WORK_LANDED) {
        o->landed++;
        o->rows += f->good;
        o->quarantined += f->bad;
        series_add(s->files_landed, 1);
        series_add(s->rows_landed, (int64_t)f->good);
        series_add(s->rows_quarantined, (int64_t)f->bad);
        series_add(s->bytes, (int64_t)f->plan.text_bytes);
        log_info("connect", "file landed", LOG_STR("source", s->config->name), LOG_STR("file", f->plan.name), LOG_INT("rows", f->good),
            LOG_INT("quarantined", f->bad), LOG_INT("size_bytes", f->plan.size_bytes), NULL);
    } else if (f->kind == WORK_REJECTED) {
        o->rejected++;
        series_add(s->files_rejected, 1);
        log_warn("connect", "file rejected", LOG_STR("source", s->config->name), LOG_STR("file", f->plan.name), LOG_STR("reason", f->reason), NULL);
    } else {
        o->already++;
        series_add(s->files_already, 1);
        log_info("connect", "file already taken, nothing changes", LOG_STR("source", s->config->name), LOG_STR("file", f->plan.name),
            LOG_STR("first", f->row.path), NULL);
    }
}

struct moved {
    struct pass *p;
    const char **to; /* per file; NULL: not moved */
};

static enum status mark_moved(void *context, struct ledger *ledger, struct err *err) {
    struct moved *m = context;
    enum status st = OK;
    for (size_t i = 0; i < m->p->n && st == OK; i++) {
        const struct work_file *f = &m->p->files[i];
        if (m->to[i] && (f->kind == WORK_LANDED || f->kind == WORK_REJECTED)) st = ledger_landing_moved(ledger, f->row.id, m->to[i], err);
    }
    return st;
}

/* WORK_LATER: whether its twin in this batch is through. */
static bool twin_landed(const struct pass *p, const struct work_file *f) {
    for (size_t i = 0; i < p->n; i++)
        if (p->files[i].row.id == f->row.id && p->files[i].kind == WORK_LANDED) return true;
    return false;
}

static enum status move_all(struct pass *p, struct err *err) {
    struct moved moved = {.p = p, .to = arena_new_array(p->arena, const char *, p->n + 1)};
    enum status st = OK;
    for (size_t i = 0; i < p->n && st == OK; i++) {
        struct work_file *f = &p->files[i];
        if (f->kind == WORK_LATER && twin_landed(p, f)) f->kind = WORK_ALREADY;
        if (f->kind == WORK_NONE || f->kind == WORK_LAND || f->kind == WORK_LATER) {
            p->left->waiting += f->kind != WORK_NONE;
            continue;
        }
        bool rejected = f->kind == WORK_REJECTED;
        st = landing_move(p->s, p->arena, &f->plan, rejected ? "rejected" : "done", rejected ? f->reason : NULL, &moved.to[i], err);
        if (st == OK) count(p, f);
    }
    enum status marked = ledger_transaction(p->s->landing->options.ledger, mark_moved, &moved, st == OK ? err : NULL);
    return st != OK ? st : marked;
}

/* ---- the pass ---- */

static enum status work_batch(struct pass *p, struct err *err) {
    const struct host *host = p->s->landing->options.host;
    int64_t began_us = host_monotonic_us(host);
    enum status st = ledger_transaction(p->s->landing->options.ledger, take_all, p, err);
    if (st != OK) return st;
    struct err failure = {0};
    enum status landed = land_batch(p, &failure);
    st = move_all(p, err);
    if (landed != OK) return err_set(err, landed, "%s", failure.text);
    if (st == OK) series_observe(p->s->seconds, (double)(host_monotonic_us(host) - began_us) / 1e6 / (double)p->n);
    return st;
}

static enum status one_batch(struct pass *p, const struct folder_state *folder, size_t *at, struct err *err) {
    const struct fs *fs = p->s->landing->options.host->fs;
    plan_batch(p, folder, at, p->s->singles ? 1 : LANDING_BATCH_FILES);
    enum status st = p->n ? work_batch(p, err) : OK;
    for (size_t i = 0; i < p->n; i++)
        if (p->files[i].unpacked) fs->unlink(fs->self, p->files[i].unpacked, NULL);
    return st;
}

static enum status ensure_number(struct source_state *s, struct err *err) {
    const struct landing_options *o = &s->landing->options;
    if (s->number) return OK;
    if (s->config->stream) {
        if (!o->stream_number) return err_set(err, E_UNSUPPORTED, "source %s: no streams here", s->config->name);
        return o->stream_number(o->context, s->config->stream, &s->number, err);
    }
    ARENA_SCOPE(arena);
    struct ledger_stream stream;
    enum status st = ledger_stream_ensure(o->ledger, arena, KIND_LANDING, s->config->table, 1, "{}", &stream, err);
    if (st == OK) s->number = stream.number;
    return st;
}

static enum status prepare(struct source_state *s, struct err *err) {
    const struct fs *fs = s->landing->options.host->fs;
    enum status st = ensure_number(s, err);
    if (st == OK && !s->reconciled) {
        st = fs_mkdirs(fs, s->config->folder, err);
        if (st == OK) st = landing_reconcile(s, err);
        if (st == OK) s->reconciled = true;
    }
    return st;
}

enum status landing_pass(struct source_state *s, struct landing_outcome *outcome, struct pass_left *left, struct err *err) {
    ARENA_SCOPE(arena);
    struct folder_state folder;
    size_t at = 0;
    enum status st = prepare(s, err);
    if (st == OK) st = landing_scan(s, arena, &folder, err);
    if (st != OK) return st;
    *left = (struct pass_left){.waiting = folder.incomplete, .stuck = folder.stuck};
    while (st == OK && at < folder.n && !landing_stopping(s->landing)) {
        ARENA_SCOPE(batch);
        struct pass p = {.s = s, .arena = batch, .outcome = outcome, .left = left};
        st = one_batch(&p, &folder, &at, err);
    }
    return st;
}
