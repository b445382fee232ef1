/* The set of tables as the catalog has it, and pins: consistent reads that are shared until something changes. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "lake/lake_priv.h"

struct lake_pin {
    struct lake *lake;
    struct shared_view *shared;
    struct engine_view view;
};

/* ---- following the catalog ---- */

static void refresh_table(struct lake *lake, const struct catalog_entry *entry) {
    ARENA_SCOPE(tmp);
    struct str key = str_of(arena_printf(tmp, "%s.%s", entry->schema, entry->name));
    struct lake_table *t = map_get(lake->tables, key);
    if (t && t->current->metadata && !strcmp(t->current->pointer, entry->metadata_location)) {
        t->seen = true;
        return;
    }
    struct table_version *next;
    table_load(lake, entry->schema, entry->name, entry->metadata_location, t ? t->current : NULL, &next);
    if (next->unreadable) log_warn("lake", "a table cannot be read", LOG_STR("why", next->unreadable), NULL);
    if (!t) {
        t = mem_zalloc(sizeof(*t));
        t->schema = mem_strdup(entry->schema);
        t->name = mem_strdup(entry->name);
        map_put(lake->tables, key, t);
    }
    t->seen = true;
    table_unref(&t->current);
    t->current = next;
}

static void forget_unseen(struct lake *lake) {
    for (;;) {
        size_t at = 0;
        struct str key;
        void *value;
        struct lake_table *gone = NULL;
        while (map_next(lake->tables, &at, &key, &value) && !gone)
            if (!((struct lake_table *)value)->seen) gone = value;
        if (!gone) return;
        ARENA_SCOPE(tmp);
        map_remove(lake->tables, str_of(arena_printf(tmp, "%s.%s", gone->schema, gone->name)));
        table_unref(&gone->current);
        free(gone->schema);
        free(gone->name);
        free(gone->shown_offsets);
        free(gone);
    }
}

static void view_unref(struct lake *lake, struct shared_view *v) {
    must(v->refs > 0);
    if (--v->refs) return;
    struct shared_view **at = &lake->views;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
    for (size_t i = 0; i < v->n; i++) table_unref(&v->versions[i]);
    arena_free(&v->arena);
    free(v);
}

static void drop_view(struct lake *lake) {
    if (lake->view) view_unref(lake, lake->view);
    lake->view = NULL;
}

enum status tables_refresh(struct lake *lake, struct err *err) {
    uint64_t version;
    enum status s = ledger_catalog_version(lake->o.ledger, &version, err);
    if (s) return s;
    if (lake->loaded && !lake->dirty && version == lake->catalog_version) return OK;
    ARENA_SCOPE(tmp);
    struct catalog_entry *entries;
    size_t n;
    if ((s = ledger_catalog_list(lake->o.ledger, tmp, &entries, &n, err))) return s;
    lake->dirty = false;
    drop_view(lake);
    lake->epoch++;
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(lake->tables, &at, &key, &value)) ((struct lake_table *)value)->seen = false;
    for (size_t i = 0; i < n; i++) refresh_table(lake, &entries[i]);
    forget_unseen(lake);
    lake->catalog_version = version; /* read before the list: at worst we look once more */
    lake->loaded = true;
    return OK;
}

void views_close(struct lake *lake) {
    drop_view(lake);
    must(!lake->views); /* a pin that outlives the lake would read freed memory */
}

void lake_mark_dirty(struct lake *lake) {
    WITH_LOCK(&lake->lock);
    lake->dirty = true;
}

enum status table_get(struct lake *lake, const char *schema, const char *name, struct table_version **out, struct err *err) {
    must(schema && name && out);
    WITH_LOCK(&lake->lock);
    enum status s = tables_refresh(lake, err);
    if (s) return s;
    ARENA_SCOPE(tmp);
    struct lake_table *t = map_get(lake->tables, str_of(arena_printf(tmp, "%s.%s", schema, name)));
    if (!t) return err_set(err, E_NOT_FOUND, "there is no table %s.%s", schema, name);
    *out = table_ref(t->current);
    return OK;
}

enum status table_all(struct lake *lake, struct arena *arena, struct table_version ***out, size_t *n, struct err *err) {
    WITH_LOCK(&lake->lock);
    enum status s = tables_refresh(lake, err);
    if (s) return s;
    struct table_version **list = arena_new_array(arena, struct table_version *, map_count(lake->tables) + 1);
    size_t at = 0, count = 0;
    struct str key;
    void *value;
    while (map_next(lake->tables, &at, &key, &value)) list[count++] = table_ref(((struct lake_table *)value)->current);
    *out = list;
    *n = count;
    return OK;
}

/* ---- pins ---- */

static const struct lake_stream *stream_of(struct lake *lake, const struct table_version *v) {
    if (strcmp(v->schema, "bronze") != 0 || !v->metadata) return NULL;
    const struct lake_stream *stream = map_get(lake->streams, str_of(v->name));
    return stream && !stream->gone && ice_property_int(v->metadata, STREAM_PROPERTY, 0) == stream->number ? stream : NULL;
}

static enum status add_log(struct lake *lake, struct shared_view *view, const struct table_version *v, struct engine_table *t, struct err *err) {
    const struct lake_stream *stream = stream_of(lake, v);
    if (!stream || !lake->o.log) return OK;
    ARENA_SCOPE(tmp);
    struct stream_state state;
    enum status s = stream_state(lake->o.log, tmp, stream->number, &state, err);
    if (s == E_NOT_FOUND) return OK; /* dropped from the log a moment ago */
    if (s) return s;
    uint16_t landed_n = table_positions_n(v, stream->number);
    uint64_t *landed = arena_new_array(view->arena, uint64_t, (size_t)landed_n + 1);
    for (uint16_t i = 0; i < landed_n; i++) landed[i] = table_position(v, stream->number, i);
    t->has_log = true;
    t->stream = stream->number;
    t->log_from = state.unlanded_from;
    t->log_offsets = landed;
    t->log_offsets_n = landed_n;
    if (t->log_from < view->log_from) view->log_from = t->log_from;
    return OK;
}

/* A table keeps its version over views as long as nothing of it changed, so that the engine keeps what it made of it. */
static void give_version(struct lake *lake, struct lake_table *table, struct engine_table *t) {
    size_t offsets_size = t->log_offsets_n * sizeof(uint64_t);
    bool same = table->shown_version && table->shown_number == table->current->number && table->shown_has_log == t->has_log &&
        table->shown_log_from == t->log_from && table->shown_offsets_n == t->log_offsets_n &&
        (!offsets_size || !memcmp(table->shown_offsets, t->log_offsets, offsets_size));
    if (!same) {
        free(table->shown_offsets);
        table->shown_offsets = offsets_size ? memcpy(mem_alloc(offsets_size), t->log_offsets, offsets_size) : NULL;
        table->shown_offsets_n = t->log_offsets_n;
        table->shown_has_log = t->has_log;
        table->shown_log_from = t->log_from;
        table->shown_number = table->current->number;
        table->shown_version = ++lake->next_number;
    }
    t->version = table->shown_version;
}

static enum status build_view(struct lake *lake, struct shared_view **out, struct err *err) {
    struct shared_view *v = mem_zalloc(sizeof(*v));
    v->arena = arena_new();
    v->refs = 1;
    v->epoch = lake->epoch;
    v->log_from = UINT64_MAX;
    v->tables = arena_new_array(v->arena, struct engine_table, map_count(lake->tables) + 1);
    v->versions = arena_new_array(v->arena, struct table_version *, map_count(lake->tables) + 1);
    v->next = lake->views;
    lake->views = v;
    size_t at = 0;
    struct str key;
    void *value;
    while (map_next(lake->tables, &at, &key, &value)) {
        struct lake_table *table = value;
        const struct table_version *version = table->current;
        struct engine_table *t = &v->tables[v->n];
        v->versions[v->n++] = table_ref(table->current);
        *t = (struct engine_table){.schema = version->schema,
            .name = version->name,
            .columns = version->columns,
            .columns_n = version->columns_n,
            .files = version->files,
            .files_n = version->files_n,
            .bounds = version->bounds,
            .unreadable = version->unreadable,
            .is_copy = version->metadata && ice_property(version->metadata, COPY_PROPERTY)};
        enum status s = add_log(lake, v, version, t, err);
        if (s) {
            view_unref(lake, v);
            return s;
        }
        give_version(lake, table, t);
    }
    *out = v;
    return OK;
}

enum status lake_pin(struct lake *lake, struct lake_pin **out, struct err *err) {
    must(lake && out);
    WITH_LOCK(&lake->lock);
    enum status s = tables_refresh(lake, err);
    if (!s && !lake->view) s = build_view(lake, &lake->view, err);
    if (s) return s;
    struct lake_pin *pin = mem_zalloc(sizeof(*pin));
    pin->lake = lake;
    pin->shared = lake->view;
    pin->shared->refs++;
    pin->view = (struct engine_view){.tables = lake->view->tables, .tables_n = lake->view->n};
    if (lake->o.log) pin->view.durable = stream_durable(lake->o.log);
    pin->view.index_from = pin->view.durable;
    for (const struct shared_view *v = lake->views; v; v = v->next)
        if (v->log_from < pin->view.index_from) pin->view.index_from = v->log_from;
    *out = pin;
    return OK;
}

const struct engine_view *lake_pin_view(const struct lake_pin *pin) { return &pin->view; }

void lake_unpin(struct lake_pin **pin) {
    struct lake_pin *p = *pin;
    *pin = NULL;
    if (!p) return;
    mutex_lock(&p->lake->lock);
    view_unref(p->lake, p->shared);
    mutex_unlock(&p->lake->lock);
    free(p);
}

/* ---- deletions ---- */

static uint64_t oldest_epoch(const struct lake *lake) {
    uint64_t oldest = UINT64_MAX;
    for (const struct shared_view *v = lake->views; v; v = v->next)
        if (v != lake->view || v->refs > 1) oldest = v->epoch < oldest ? v->epoch : oldest;
    return oldest;
}

bool lake_views_newer(struct lake *lake, uint64_t epoch) {
    WITH_LOCK(&lake->lock);
    return oldest_epoch(lake) > epoch;
}

void lake_delete_later(struct lake *lake, const char *path) {
    struct doomed *d = mem_zalloc(sizeof(*d));
    d->path = mem_strdup(path);
    WITH_LOCK(&lake->lock);
    d->epoch = lake->epoch;
    d->next = lake->doomed;
    lake->doomed = d;
}

void lake_delete_due(struct lake *lake) {
    struct doomed *due = NULL;
    mutex_lock(&lake->lock);
    uint64_t oldest = oldest_epoch(lake);
    for (struct doomed **at = &lake->doomed; *at;) {
        struct doomed *d = *at;
        if (d->epoch >= oldest) {
            at = &d->next;
            continue;
        }
        *at = d->next;
        d->next = due;
        due = d;
    }
    mutex_unlock(&lake->lock);
    const struct fs *fs = lake->o.host->fs;
    while (due) {
        struct doomed *d = due;
        due = d->next;
        struct err err = {0};
        enum status s = fs->unlink(fs->self, d->path, &err);
        if (s && s != E_NOT_FOUND) log_warn("lake", "a file that is no longer needed could not be deleted", LOG_STR("error", err.text), NULL);
        free(d->path);
        free(d);
    }
}
