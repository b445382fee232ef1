/* A new snapshot: manifests for what was added and removed, merged ones where there are too many, and the manifest list. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "lake/lake_priv.h"

#define MERGE_COUNT_DEFAULT 100
#define MANIFEST_TARGET_BYTES (8 << 20)
#define MANIFEST_ENTRIES_MAX 10000

struct manifest_set {
    struct ice_manifest *list;
    size_t n, cap;
};

enum status snapshot_put_file(struct snapshot_work *work, const char *relative, struct str bytes, struct err *err) {
    const struct fs *fs = work->lake->o.host->fs;
    char *path = arena_printf(work->arena, "%s/%s", work->dir, relative);
    int file;
    enum status s = fs->open(fs->self, path, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file, err);
    if (s) return s;
    struct written *w = &work->written;
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 8;
        char **grown = arena_new_array(work->arena, char *, w->cap);
        if (w->n) memcpy(grown, w->paths, w->n * sizeof(*grown));
        w->paths = grown;
    }
    w->paths[w->n++] = path;
    s = fs->pwrite(fs->self, file, bytes.p, bytes.n, 0, err);
    if (!s) s = fs->sync_data(fs->self, file, err);
    fs->close(fs->self, file);
    return s;
}

char *snapshot_uri(struct snapshot_work *work, const char *relative) {
    const char *location = ice_location(work->metadata);
    size_t n = strlen(location);
    while (n && location[n - 1] == '/') n--;
    return arena_printf(work->arena, "%.*s/%s", (int)n, location, relative);
}

static bool writes_by(const json_t *metadata, const json_t *spec) {
    int source;
    if (!spec || !ice_spec_known(spec, &source)) return false;
    if (!source) return true;
    const json_t *fields = json_object_get(ice_schema(metadata), "fields");
    for (size_t i = 0; i < json_array_size(fields); i++)
        if (ice_int(json_array_get(fields, i), "id", 0) == source) return !strcmp(ice_text(json_array_get(fields, i), "name"), "_received_at");
    return false;
}

const json_t *table_write_spec(const json_t *metadata) {
    const json_t *spec = ice_spec(metadata, ice_default_spec(metadata));
    if (writes_by(metadata, spec)) return spec;
    const json_t *specs = json_object_get(metadata, "partition-specs");
    for (size_t i = json_array_size(specs); i-- > 0;)
        if (writes_by(metadata, json_array_get(specs, i))) return json_array_get(specs, i);
    return NULL;
}

static struct ice_manifest *more(struct snapshot_work *work, struct manifest_set *set) {
    if (set->n == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 64;
        struct ice_manifest *grown = arena_new_array(work->arena, struct ice_manifest, set->cap);
        if (set->n) memcpy(grown, set->list, set->n * sizeof(*grown));
        set->list = grown;
    }
    return &set->list[set->n++];
}

/* ---- one manifest ---- */

static enum status put_manifest(struct snapshot_work *work, struct manifest_set *set, const json_t *spec, const struct ice_entry *entries, size_t n,
    int64_t snapshot_id, int64_t sequence, struct err *err) {
    must(n > 0);
    char *relative = arena_printf(work->arena, "metadata/%s-m%zu.avro", new_uuid_text(work->arena), set->n);
    struct ice_manifest m = {.path = snapshot_uri(work, relative), .added_snapshot_id = snapshot_id};
    BUF_SCOPE(bytes);
    ice_manifest_write(work->arena, &bytes, ice_schema(work->metadata), spec, entries, n, sequence, &m);
    enum status s = snapshot_put_file(work, relative, buf_view(&bytes), err);
    if (!s) *more(work, set) = m;
    return s;
}

static void add_stats(struct arena *arena, const struct new_file *from, struct ice_file *to) {
    size_t n = from->columns_n;
    to->column_sizes = arena_new_array(arena, struct ice_count, n + 1);
    to->value_counts = arena_new_array(arena, struct ice_count, n + 1);
    to->null_counts = arena_new_array(arena, struct ice_count, n + 1);
    to->lower = arena_new_array(arena, struct ice_bytes, n + 1);
    to->upper = arena_new_array(arena, struct ice_bytes, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct engine_column_stats *c = &from->columns[i];
        if (c->field_id <= 0) continue;
        to->column_sizes[to->column_sizes_n++] = (struct ice_count){c->field_id, c->size_bytes};
        to->value_counts[to->value_counts_n++] = (struct ice_count){c->field_id, c->values};
        to->null_counts[to->null_counts_n++] = (struct ice_count){c->field_id, c->nulls};
        if (!c->has_bounds) continue;
        to->lower[to->lower_n++] = (struct ice_bytes){c->field_id, c->lower};
        to->upper[to->upper_n++] = (struct ice_bytes){c->field_id, c->upper};
    }
}

static enum status put_added(struct snapshot_work *work, struct manifest_set *set, int64_t snapshot_id, int64_t sequence, struct err *err) {
    const struct table_change *c = work->change;
    if (!c->files_n) return OK;
    const json_t *spec = table_write_spec(work->metadata);
    if (!spec) return err_set(err, E_UNSUPPORTED, "its partition specs are all by other rules than none or the hour of _received_at");
    struct ice_entry *entries = arena_new_array(work->arena, struct ice_entry, c->files_n);
    for (size_t i = 0; i < c->files_n; i++) {
        const struct new_file *from = &c->files[i];
        struct ice_entry *e = &entries[i];
        *e = (struct ice_entry){.status = ICE_ADDED, .snapshot_id = snapshot_id, .sequence_number = -1, .file_sequence_number = -1};
        e->file = (struct ice_file){.path = snapshot_uri(work, from->relative),
            .format = "PARQUET",
            .records = (int64_t)from->rows,
            .size_bytes = (int64_t)from->size_bytes,
            .partition_known = true,
            .partition = from->hour_ms / HOUR_MS,
            .has_sort_order = true};
        add_stats(work->arena, from, &e->file);
    }
    return put_manifest(work, set, spec, entries, c->files_n, snapshot_id, sequence, err);
}

/* ---- manifests that lose files, and merging ---- */

static bool is_removed(const struct table_change *c, const char *uri) { return c->removed && map_get(c->removed, str_of(uri)); }

static size_t count_removed(const struct table_change *c, const struct table_part *part) {
    size_t n = 0;
    for (size_t i = 0; c->removed && i < part->n; i++) n += is_removed(c, part->files[i].uri);
    return n;
}

static enum status read_entries(struct snapshot_work *work, const struct ice_manifest *m, struct ice_entry **out, size_t *n, struct err *err) {
    struct str bytes;
    enum status s = table_read(work->lake, work->arena, work->base, m->path, ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_read(work->arena, bytes, m, out, n, err);
    if (s) err_prefix(err, "%.200s", m->path);
    return s;
}

/* Live entries become existing, removed ones deleted; deletions of earlier snapshots fall away. */
static size_t carry_entries(struct snapshot_work *work, struct ice_entry *entries, size_t n, int64_t snapshot_id, bool *all_known) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].status == ICE_DELETED) continue;
        struct ice_entry e = entries[i];
        if (!e.file.partition_known || e.sequence_number < 0) *all_known = false;
        e.status = is_removed(work->change, e.file.path) ? ICE_DELETED : ICE_EXISTING;
        if (e.status == ICE_DELETED) e.snapshot_id = snapshot_id;
        entries[kept++] = e;
    }
    return kept;
}

static enum status rewrite_one(
    struct snapshot_work *work, struct manifest_set *set, const struct ice_manifest *m, int64_t snapshot_id, int64_t sequence, struct err *err) {
    struct ice_entry *entries = NULL;
    size_t n = 0;
    enum status s = read_entries(work, m, &entries, &n, err);
    if (s) return s;
    bool all_known = true;
    n = carry_entries(work, entries, n, snapshot_id, &all_known);
    const json_t *spec = ice_spec(work->metadata, m->spec_id);
    int source;
    if (!all_known || !spec || !ice_spec_known(spec, &source))
        return err_set(err, E_UNSUPPORTED, "manifest %.200s has a partition spec that this version does not write", m->path);
    return put_manifest(work, set, spec, entries, n, snapshot_id, sequence, err);
}

static bool is_empty(const struct ice_manifest *m) { return m->added_files == 0 && m->existing_files == 0; }

static bool may_merge(const struct snapshot_work *work, const struct ice_manifest *m) {
    int source;
    const json_t *spec = ice_spec(work->metadata, m->spec_id);
    return m->content == 0 && m->length < MANIFEST_TARGET_BYTES / 2 && spec && ice_spec_known(spec, &source) && !m->key_metadata.p;
}

/* Merges the small manifests of one spec: `chosen` flags those that were. */
static enum status merge_spec(struct snapshot_work *work, struct manifest_set *set, int spec_id, const bool *mergeable, bool *chosen, int64_t snapshot_id,
    int64_t sequence, struct err *err) {
    const struct table_version *base = work->base;
    struct ice_entry *all = arena_new_array(work->arena, struct ice_entry, base->files_n + 1);
    size_t n = 0;
    bool all_known = true;
    for (size_t i = 0; i < base->manifests_n; i++) {
        if (!mergeable[i] || base->manifests[i].spec_id != spec_id) continue;
        struct ice_entry *entries;
        size_t entries_n;
        enum status s = read_entries(work, &base->manifests[i], &entries, &entries_n, err);
        if (s) return s;
        entries_n = carry_entries(work, entries, entries_n, snapshot_id, &all_known);
        must(n + entries_n <= base->files_n);
        if (entries_n) memcpy(all + n, entries, entries_n * sizeof(*all));
        n += entries_n;
    }
    if (!all_known) return OK; /* left as they are */
    for (size_t i = 0; i < base->manifests_n; i++)
        if (mergeable[i] && base->manifests[i].spec_id == spec_id) chosen[i] = true;
    for (size_t at = 0; at < n; at += MANIFEST_ENTRIES_MAX) {
        size_t count = n - at < MANIFEST_ENTRIES_MAX ? n - at : MANIFEST_ENTRIES_MAX;
        enum status s = put_manifest(work, set, ice_spec(work->metadata, spec_id), all + at, count, snapshot_id, sequence, err);
        if (s) return s;
    }
    return OK;
}

static enum status merge(struct snapshot_work *work, struct manifest_set *set, bool *done, int64_t snapshot_id, int64_t sequence, struct err *err) {
    const struct table_version *base = work->base;
    int64_t at_least = ice_property_int(work->metadata, "commit.manifest.min-count-to-merge", MERGE_COUNT_DEFAULT);
    const char *enabled = ice_property(work->metadata, "commit.manifest-merge.enabled");
    if (enabled && !strcmp(enabled, "false")) return OK;
    bool *mergeable = arena_new_array(work->arena, bool, base->manifests_n + 1);
    for (size_t i = 0; i < base->manifests_n; i++) mergeable[i] = !done[i] && may_merge(work, &base->manifests[i]);
    const json_t *specs = json_object_get(work->metadata, "partition-specs");
    for (size_t k = 0; k < json_array_size(specs); k++) {
        int spec_id = (int)ice_int(json_array_get(specs, k), "spec-id", 0);
        int64_t small = 0;
        for (size_t i = 0; i < base->manifests_n; i++) small += mergeable[i] && base->manifests[i].spec_id == spec_id;
        if (small + 1 < (at_least < 2 ? 2 : at_least)) continue;
        enum status s = merge_spec(work, set, spec_id, mergeable, done, snapshot_id, sequence, err);
        if (s) return s;
    }
    return OK;
}

static enum status carry_manifests(struct snapshot_work *work, struct manifest_set *set, int64_t snapshot_id, int64_t sequence, struct err *err) {
    const struct table_version *base = work->base;
    if (!base) return OK;
    bool *done = arena_new_array(work->arena, bool, base->manifests_n + 1);
    size_t removed = 0;
    enum status s = OK;
    for (size_t i = 0; i < base->manifests_n && !s; i++) {
        size_t n = count_removed(work->change, base->parts[i]);
        removed += n;
        done[i] = n || is_empty(&base->manifests[i]);
        if (n) s = rewrite_one(work, set, &base->manifests[i], snapshot_id, sequence, err);
    }
    if (s) return s;
    if (work->change->removed && removed != map_count(work->change->removed))
        return err_set(err, E_CONFLICT, "%zu of %zu files to replace are not in the table any more", map_count(work->change->removed) - removed,
            map_count(work->change->removed));
    if ((s = merge(work, set, done, snapshot_id, sequence, err))) return s;
    for (size_t i = 0; i < base->manifests_n; i++)
        if (!done[i]) *more(work, set) = base->manifests[i];
    return OK;
}

/* ---- summary ---- */

struct summary {
    struct arena *arena;
    const char **items;
    size_t n;
};

static void put_text(struct summary *s, const char *name, const char *value) {
    s->items[s->n++] = name;
    s->items[s->n++] = value;
}

static void put_count(struct summary *s, const char *name, uint64_t value, bool always) {
    if (value || always) put_text(s, name, arena_printf(s->arena, "%" PRIu64, value));
}

struct totals {
    uint64_t files, records, bytes;
};

static void removed_totals(const struct snapshot_work *work, struct totals *out) {
    for (size_t i = 0; work->base && work->change->removed && i < work->base->manifests_n; i++) {
        const struct table_part *part = work->base->parts[i];
        for (size_t k = 0; k < part->n; k++) {
            if (!is_removed(work->change, part->files[k].uri)) continue;
            out->files++;
            out->records += (uint64_t)part->files[k].records;
            out->bytes += (uint64_t)part->files[k].size_bytes;
        }
    }
}

/* Positions of the streams stand in each summary too, for people; the property is what counts. */
static void put_positions(struct summary *s, const json_t *metadata) {
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(metadata, "properties"), name, value) {
        if (!strncmp(name, POSITION_PREFIX, strlen(POSITION_PREFIX)) && json_is_string(value)) put_text(s, name, json_string_value(value));
    }
}

static const char *const *make_summary(struct snapshot_work *work) {
    const struct table_version *base = work->base;
    struct totals added = {.files = work->change->files_n}, gone = {0};
    for (size_t i = 0; i < work->change->files_n; i++) {
        added.records += work->change->files[i].rows;
        added.bytes += work->change->files[i].size_bytes;
    }
    removed_totals(work, &gone);
    size_t room = 2 * (16 + json_object_size(json_object_get(work->metadata, "properties"))) + 1;
    struct summary s = {.arena = work->arena, .items = arena_new_array(work->arena, const char *, room)};
    put_count(&s, "added-data-files", added.files, false);
    put_count(&s, "added-records", added.records, false);
    put_count(&s, "added-files-size", added.bytes, false);
    put_count(&s, "deleted-data-files", gone.files, false);
    put_count(&s, "deleted-records", gone.records, false);
    put_count(&s, "removed-files-size", gone.bytes, false);
    put_count(&s, "total-records", (base ? base->records : 0) + added.records - gone.records, true);
    put_count(&s, "total-files-size", (base ? base->bytes : 0) + added.bytes - gone.bytes, true);
    put_count(&s, "total-data-files", (base ? base->files_n : 0) + added.files - gone.files, true);
    if (!base || !base->unreadable) {
        put_count(&s, "total-delete-files", 0, true);
        put_count(&s, "total-position-deletes", 0, true);
        put_count(&s, "total-equality-deletes", 0, true);
    }
    put_positions(&s, work->metadata);
    must(s.n < room);
    return s.items;
}

enum status snapshot_write(struct snapshot_work *work, struct err *err) {
    must(work->metadata && work->change->operation);
    int64_t snapshot_id = ice_new_snapshot_id(work->metadata), sequence = ice_int(work->metadata, "last-sequence-number", 0) + 1;
    const json_t *parent = ice_current_snapshot(work->metadata);
    struct manifest_set set = {0};
    enum status s = put_added(work, &set, snapshot_id, sequence, err);
    if (!s) s = carry_manifests(work, &set, snapshot_id, sequence, err);
    if (s) return s;
    char *relative = arena_printf(work->arena, "metadata/snap-%" PRId64 "-1-%s.avro", snapshot_id, new_uuid_text(work->arena));
    BUF_SCOPE(bytes);
    ice_manifest_list_write(&bytes, set.list, set.n, snapshot_id, parent ? ice_int(parent, "snapshot-id", -1) : -1, sequence);
    if ((s = snapshot_put_file(work, relative, buf_view(&bytes), err))) return s;
    ice_add_snapshot(work->metadata,
        &(struct ice_new_snapshot){.snapshot_id = snapshot_id,
            .sequence_number = sequence,
            .manifest_list = snapshot_uri(work, relative),
            .operation = work->change->operation,
            .summary = make_summary(work),
            .now_ms = work->now_ms});
    return OK;
}
