#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "connect/landing_priv.h"

/* ---- what is in the folder ---- */

bool landing_name_ignored(struct str name) {
    static const char *const endings[] = {".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~"};
    if (name.n == 0 || name.p[0] == '.') return true;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        struct str ending = str_of(endings[i]);
        if (name.n > ending.n && str_ieq(str_from(name, name.n - ending.n), ending)) return true;
    }
    return false;
}

/* A file with this inode and size that had an ignored name: it was renamed when it was complete. */
static bool was_ignored(const struct source_state *s, const struct fs_stat *stat) {
    for (size_t i = 0; i < s->seen_n; i++)
        if (s->seen[i].ignored && s->seen[i].inode == stat->inode && s->seen[i].size_bytes == stat->size_bytes) return true;
    return false;
}

/* What is known of the entry: `before` is what the last scan saw under this name, or NULL. */
static struct seen_file look_at(const struct source_state *s, const struct fs_entry *entry, const struct seen_file *before, int64_t now_ms) {
    const struct fs_stat *stat = &entry->stat;
    bool same = before && before->size_bytes == stat->size_bytes && before->mtime_ns == stat->mtime_ns && before->inode == stat->inode;
    if (same) return *before;
    return (struct seen_file){.name = before ? before->name : mem_strdup(entry->name),
        .size_bytes = stat->size_bytes,
        .mtime_ns = stat->mtime_ns,
        .inode = stat->inode,
        .since_ms = now_ms,
        .ignored = landing_name_ignored(str_of(entry->name)),
        .renamed_in = !before && was_ignored(s, stat)};
}

/* The table of the folder's files becomes that of this listing. Both are in name order. */
static void take_listing(struct source_state *s, const struct fs_entry *entries, size_t n, int64_t now_ms) {
    struct seen_file *next = mem_alloc((n + 1) * sizeof *next);
    size_t next_n = 0, old = 0;
    for (size_t i = 0; i < n; i++) {
        if (!entries[i].stat.is_file || entries[i].stat.is_link) continue; /* a link could lead to files that its maker may not read */
        while (old < s->seen_n && strcmp(s->seen[old].name, entries[i].name) < 0) old++;
        bool known = old < s->seen_n && !strcmp(s->seen[old].name, entries[i].name);
        next[next_n] = look_at(s, &entries[i], known ? &s->seen[old] : NULL, now_ms);
        if (s->moved_in && map_get(s->moved_in, str_of(entries[i].name))) next[next_n].renamed_in = true;
        next_n++;
        if (known) s->seen[old].kept = true;
    }
    for (size_t i = 0; i < s->seen_n; i++)
        if (!s->seen[i].kept) free(s->seen[i].name);
    free(s->seen);
    s->seen = next;
    s->seen_n = next_n;
    for (size_t i = 0; i < next_n; i++) next[i].kept = false;
    map_free(&s->moved_in);
}

void landing_moved_in(struct source_state *s, const char *name) {
    if (!s->moved_in) s->moved_in = map_new();
    map_put(s->moved_in, str_of(name), s);
}

void landing_forget_seen(struct source_state *s) {
    take_listing(s, NULL, 0, 0);
    free(s->seen);
    s->seen = NULL;
}

/* Unchanged for long enough: by what we saw, or by its own time of change (when the clock can be believed). */
static bool is_complete(const struct source_state *s, const struct seen_file *f, int64_t now_ms) {
    const struct landing_source *c = s->config;
    int64_t quiet_ms = c->quiet_ms ? c->quiet_ms : LANDING_QUIET_MS;
    if (c->ready_when_renamed || f->renamed_in || now_ms - f->since_ms >= quiet_ms) return true;
    return host_wall_ms(s->landing->options.host) - f->mtime_ns / 1000000 >= quiet_ms;
}

enum status landing_scan(struct source_state *s, struct arena *arena, struct folder_state *out, struct err *err) {
    const struct host *host = s->landing->options.host;
    struct fs_entry *entries;
    size_t entries_n;
    enum status st = host->fs->list(host->fs->self, arena, s->config->folder, &entries, &entries_n, err);
    if (st != OK) return st;
    int64_t now_ms = host_monotonic_ms(host), oldest_ms = 0;
    take_listing(s, entries, entries_n, now_ms);
    struct folder_state folder = {.ready = arena_new_array(arena, struct ready_file, s->seen_n + 1)};
    for (size_t i = 0; i < s->seen_n; i++) {
        struct seen_file *f = &s->seen[i];
        if (f->ignored) continue;
        if (now_ms - f->since_ms > oldest_ms) oldest_ms = now_ms - f->since_ms;
        if (now_ms < f->retry_at_ms)
            folder.stuck++;
        else if (!is_complete(s, f, now_ms))
            folder.incomplete++;
        else
            folder.ready[folder.n++] =
                (struct ready_file){.path = arena_printf(arena, "%s/%s", s->config->folder, f->name), .size_bytes = f->size_bytes, .seen = f};
    }
    size_t waiting = folder.n + folder.incomplete + folder.stuck;
    atomic_store(&s->waiting, waiting);
    atomic_store(&s->oldest_ms, (uint64_t)oldest_ms);
    series_set(s->waiting_files, (int64_t)waiting);
    series_set(s->oldest_seconds, oldest_ms / 1000);
    *out = folder;
    return OK;
}

/* ---- moving ---- */

static const char *numbered(struct arena *arena, const char *folder, const char *name, unsigned k) {
    return k == 1 ? arena_printf(arena, "%s/%s", folder, name) : arena_printf(arena, "%s/%s.%u", folder, name, k);
}

static enum status is_free(const struct fs *fs, struct arena *arena, const char *folder, const char *name, unsigned k, bool *yes, struct err *err) {
    struct fs_stat stat;
    enum status st = fs->stat(fs->self, numbered(arena, folder, name, k), &stat, err);
    *yes = st == E_NOT_FOUND;
    return st == E_NOT_FOUND ? OK : st;
}

/* The name, or the lowest number behind it that is free: sought by halves, since the same name may come every day for years. */
static enum status free_name(const struct fs *fs, struct arena *arena, const char *folder, const char *name, const char **out, struct err *err) {
    unsigned taken = 0, free_one = 1;
    bool yes = false;
    enum status st;
    for (; (st = is_free(fs, arena, folder, name, free_one, &yes, err)) == OK && !yes; free_one *= 2) {
        if (free_one > 1u << 30) return err_set(err, E_LIMIT, "%s has too many files called %s", folder, name);
        taken = free_one;
    }
    while (st == OK && taken + 1 < free_one) {
        unsigned middle = taken + (free_one - taken) / 2;
        st = is_free(fs, arena, folder, name, middle, &yes, err);
        if (yes)
            free_one = middle;
        else
            taken = middle;
    }
    if (st != OK) return st;
    *out = numbered(arena, folder, name, free_one);
    return OK;
}

static void write_reason(const struct fs *fs, struct arena *arena, const char *to, const char *reason) {
    struct err problem;
    const char *note_path = arena_printf(arena, "%s.reason.txt", to);
    if (fs_write_atomic(fs, note_path, str_of(arena_printf(arena, "%s\n", reason)), &problem) != OK) /* the ledger has it too */
        log_warn("connect", "the reason cannot be written beside a rejected file", LOG_STR("file", note_path), LOG_STR("error", problem.text), NULL);
}

enum status landing_move(
    struct source_state *s, struct arena *arena, const struct landing_plan *plan, const char *sub, const char *reason, const char **moved_to, struct err *err) {
    const struct host *host = s->landing->options.host;
    const struct fs *fs = host->fs;
    const char *folder = arena_printf(arena, "%s/%s", s->config->folder, sub), *to = NULL;
    enum status st = landing_plan_unchanged(host, plan, NULL);
    if (st == E_BUSY || st == E_NOT_FOUND) { /* another file has come to this place, or somebody took it away: not ours to move */
        *moved_to = "";
        return OK;
    }
    st = fs->mkdir(fs->self, folder, err);
    if (st == OK) st = free_name(fs, arena, folder, plan->name, &to, err);
    if (st == OK && reason) write_reason(fs, arena, to, reason); /* before the file: whoever sees it there finds the reason too */
    if (st == OK) st = fs->rename(fs->self, plan->path, to, err);
    if (st == OK) st = fs->sync_dir(fs->self, folder, err);
    if (st == OK) st = fs->sync_dir(fs->self, s->config->folder, err);
    if (st != OK) return err_prefix(err, "moving %s to %s", plan->path, sub);
    *moved_to = to;
    return OK;
}

/* ---- after a crash ---- */

/* Where the file may have been moved before the ledger could say so: its name, with a number behind it perhaps, and its size. */
static const char *find_moved(struct source_state *s, struct arena *arena, const struct landing_file *row, const char *sub) {
    const struct fs *fs = s->landing->options.host->fs;
    const char *slash = strrchr(row->path, '/'), *name = slash ? slash + 1 : row->path, *folder = arena_printf(arena, "%s/%s", s->config->folder, sub);
    for (unsigned k = 1; k < 1000; k++) {
        const char *path = numbered(arena, folder, name, k);
        struct fs_stat stat;
        if (fs->stat(fs->self, path, &stat, NULL) != OK) return "";
        if (stat.size_bytes == row->size_bytes) return path;
    }
    return "";
}

static enum status reconcile_row(struct source_state *s, struct arena *arena, const struct landing_file *row, struct err *err) {
    const struct landing_options *o = &s->landing->options;
    struct fs_stat stat;
    enum status st = o->host->fs->stat(o->host->fs->self, row->path, &stat, NULL);
    if (st == OK && stat.size_bytes == row->size_bytes) return OK; /* the pass will meet it */
    if (st != OK && st != E_NOT_FOUND) return OK;
    const char *moved_to = find_moved(s, arena, row, row->state == LANDING_LANDED ? "done" : "rejected");
    if (row->state == LANDING_TAKEN) {
        const char *reason = "the file went away before its rows were read";
        st = ledger_landing_finish(o->ledger, row->id, LANDING_REJECTED, 0, 0, 0, reason, NULL, err);
        if (st != OK) return st;
        moved_to = "";
    }
    log_info("connect", "landing file reconciled after a crash", LOG_STR("source", s->config->name), LOG_STR("file", row->path), LOG_STR("moved_to", moved_to),
        NULL);
    return ledger_landing_moved(o->ledger, row->id, moved_to, err);
}

enum status landing_reconcile(struct source_state *s, struct err *err) {
    ARENA_SCOPE(arena);
    static const enum landing_state open_states[] = {LANDING_TAKEN, LANDING_LANDED, LANDING_REJECTED};
    for (size_t k = 0; k < sizeof open_states / sizeof *open_states; k++) {
        struct landing_file *rows;
        size_t n;
        enum status st = ledger_landing_list(s->landing->options.ledger, arena, s->config->name, open_states[k], 0, &rows, &n, err);
        for (size_t i = 0; i < n && st == OK; i++) st = reconcile_row(s, arena, &rows[i], err);
        if (st != OK) return st;
    }
    return OK;
}
