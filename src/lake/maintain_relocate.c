/* Writing the place where a table is now into all of its metadata, after its folder was moved. We ourselves resolve the recorded location (table_resolve);
 * other programs take URIs as they stand. Manifests and lists are written anew under new names, the old ones become orphans; no data file is touched. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "lake/lake_priv.h"

struct relocation {
    struct snapshot_work work; /* base: the table as it is, metadata: the new one */
    struct map *manifests; /* old URI -> struct ice_manifest, rewritten */
};

/* The same file under the new location. */
static enum status new_uri(struct relocation *r, const char *uri, const char **out, struct err *err) {
    char *path;
    enum status s = table_path(r->work.arena, r->work.base, uri, &path, err);
    if (!s) *out = arena_printf(r->work.arena, "file://%s", path);
    return s;
}

static enum status rewrite_manifest(struct relocation *r, const struct ice_manifest *old, struct ice_manifest **out, struct err *err) {
    struct arena *arena = r->work.arena;
    int source;
    const json_t *spec = ice_spec(r->work.metadata, old->spec_id);
    if (old->content || !spec || !ice_spec_known(spec, &source))
        return err_set(err, E_UNSUPPORTED, "%.200s has delete files or a partition spec of another kind", old->path);
    struct str bytes;
    struct ice_entry *entries;
    size_t n, kept = 0;
    enum status s = table_read(r->work.lake, arena, r->work.base, old->path, ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_read(arena, bytes, old, &entries, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        if (entries[i].sequence_number < 0) continue; /* a deletion that an old writer left without number: it says nothing any more */
        if (!entries[i].file.partition_known) return err_set(err, E_UNSUPPORTED, "%.200s has partition values of another kind", old->path);
        s = new_uri(r, entries[i].file.path, &entries[i].file.path, err);
        entries[kept++] = entries[i];
    }
    if (s) return err_prefix(err, "%.200s", old->path), s;
    struct ice_manifest *m = arena_new_one(arena, struct ice_manifest);
    *out = m;
    if (!kept) return OK; /* length 0: left out of the lists */
    char *relative = arena_printf(arena, "metadata/%s-m0.avro", new_uuid_text(arena));
    *m = (struct ice_manifest){.path = snapshot_uri(&r->work, relative), .added_snapshot_id = old->added_snapshot_id};
    BUF_SCOPE(written);
    ice_manifest_write(arena, &written, ice_schema(r->work.metadata), spec, entries, kept, old->sequence_number, m);
    return snapshot_put_file(&r->work, relative, buf_view(&written), err);
}

static enum status rewrite_list(struct relocation *r, json_t *snapshot, struct err *err) {
    struct arena *arena = r->work.arena;
    struct str bytes;
    struct ice_manifest *list, *made;
    size_t n, kept = 0;
    enum status s = table_read(r->work.lake, arena, r->work.base, ice_text(snapshot, "manifest-list"), ICE_MANIFEST_BYTES_MAX, &bytes, err);
    if (!s) s = ice_manifest_list_read(arena, bytes, &list, &n, err);
    for (size_t i = 0; !s && i < n; i++) {
        made = map_get(r->manifests, str_of(list[i].path));
        if (!made && (s = rewrite_manifest(r, &list[i], &made, err))) return s;
        map_put(r->manifests, str_of(list[i].path), made);
        if (made->length) list[kept++] = *made;
    }
    if (s) return s;
    int64_t id = ice_int(snapshot, "snapshot-id", 0);
    char *relative = arena_printf(arena, "metadata/snap-%" PRId64 "-1-%s.avro", id, new_uuid_text(arena));
    BUF_SCOPE(written);
    ice_manifest_list_write(&written, list, kept, id, ice_int(snapshot, "parent-snapshot-id", -1), ice_int(snapshot, "sequence-number", 1));
    json_object_set_new(snapshot, "manifest-list", json_string(snapshot_uri(&r->work, relative)));
    return snapshot_put_file(&r->work, relative, buf_view(&written), err);
}

static enum status rewrite_paths(struct relocation *r, const char *list_name, const char *field, struct err *err) {
    json_t *list = json_object_get(r->work.metadata, list_name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *uri = ice_text(json_array_get(list, i), field), *now;
        if (!uri) continue;
        enum status s = new_uri(r, uri, &now, err);
        if (s) return s;
        json_object_set_new(json_array_get(list, i), field, json_string(now));
    }
    return OK;
}

static enum status rewrite_all(struct relocation *r, struct err *err) {
    json_t *snapshots = json_object_get(r->work.metadata, "snapshots");
    enum status s = OK;
    for (size_t i = 0; !s && i < json_array_size(snapshots); i++) s = rewrite_list(r, json_array_get(snapshots, i), err);
    if (!s) s = rewrite_paths(r, "metadata-log", "metadata-file", err);
    if (!s) s = rewrite_paths(r, "statistics", "statistics-path", err);
    if (!s) s = rewrite_paths(r, "partition-statistics", "statistics-path", err);
    return s;
}

enum status table_relocate(struct lake *lake, struct arena *arena, struct table_version *v, const char **pointer, struct err *err) {
    must(v->metadata && v->dir);
    if (ice_version(v->metadata) != 2 || ice_unreadable(v->metadata)) return err_set(err, E_UNSUPPORTED, "only tables of format version 2 can be written anew");
    json_t *dropped;
    struct relocation r = {.work = {.lake = lake, .arena = arena, .base = v, .dir = v->dir}, .manifests = map_new()};
    r.work.metadata = ice_metadata_next(v->metadata, v->pointer, host_wall_ms(lake->o.host), &dropped);
    json_decref(dropped);
    json_object_set_new(r.work.metadata, "location", json_string(arena_printf(arena, "file://%s", v->dir)));
    enum status s = rewrite_all(&r, err);
    const char *file = strrchr(v->pointer, '/');
    char *relative =
        arena_printf(arena, "metadata/%05llu-%s.metadata.json", (unsigned long long)(file ? strtoull(file + 1, NULL, 10) + 1 : 0), new_uuid_text(arena));
    BUF_SCOPE(bytes);
    ice_metadata_write(r.work.metadata, &bytes);
    if (!s) s = snapshot_put_file(&r.work, relative, buf_view(&bytes), err);
    const struct fs *fs = lake->o.host->fs;
    if (!s) s = fs->sync_dir(fs->self, arena_printf(arena, "%s/metadata", v->dir), err);
    if (!s) *pointer = snapshot_uri(&r.work, relative);
    for (size_t i = 0; s && i < r.work.written.n; i++) fs->unlink(fs->self, r.work.written.paths[i], NULL);
    map_free(&r.manifests);
    json_decref(r.work.metadata);
    return s;
}
