/* Data files on their way into a table: names, folders, the check of the Parquet footer. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "base/times.h"
#include "lake/lake_priv.h"

enum status parquet_check(const struct fs *fs, const char *path, uint64_t size_bytes, struct err *err) {
    int file;
    enum status s = fs->open(fs->self, path, FS_READ, &file, err);
    if (s) return s;
    struct fs_stat st = {0};
    uint8_t head[4] = {0}, tail[8] = {0};
    size_t got = 0, got_tail = 0;
    s = fs->stat_file(fs->self, file, &st, err);
    if (!s) s = fs->pread(fs->self, file, head, sizeof(head), 0, &got, err);
    if (!s && st.size_bytes >= 12) s = fs->pread(fs->self, file, tail, sizeof(tail), st.size_bytes - 8, &got_tail, err);
    fs->close(fs->self, file);
    if (s) return s;
    if (st.size_bytes != size_bytes)
        return err_set(
            err, E_CORRUPT, "%.200s has %llu bytes where %llu were written", path, (unsigned long long)st.size_bytes, (unsigned long long)size_bytes);
    uint32_t footer = (uint32_t)tail[0] | (uint32_t)tail[1] << 8 | (uint32_t)tail[2] << 16 | (uint32_t)tail[3] << 24;
    if (got != 4 || got_tail != 8 || memcmp(head, "PAR1", 4) != 0 || memcmp(tail + 4, "PAR1", 4) != 0)
        return err_set(err, E_CORRUPT, "%.200s is not a whole Parquet file", path);
    if (!footer || footer > st.size_bytes - 12)
        return err_set(err, E_CORRUPT, "%.200s has a footer of %u bytes in %llu", path, footer, (unsigned long long)st.size_bytes);
    return OK;
}

/* Each folder's entry is synced in its parent every time: that it exists does not say that an earlier attempt got as far as syncing it. */
static enum status make_chain(const struct fs *fs, struct arena *tmp, const char *from, const char *parts, struct err *err) {
    const char *at = from;
    char *rest = arena_strdup(tmp, parts), *save = NULL;
    for (char *part = strtok_r(rest, "/", &save); part;) {
        char *next = strtok_r(NULL, "/", &save);
        if (!next) break; /* the last part is the file */
        char *dir = arena_printf(tmp, "%s/%s", at, part);
        enum status s = fs->mkdir(fs->self, dir, err);
        if (!s) s = fs->sync_dir(fs->self, at, err);
        if (s) return s;
        at = dir;
        part = next;
    }
    return OK;
}

enum status table_make_folders(struct lake *lake, const char *dir, const char *relative, struct err *err) {
    must(lake->dir && dir[0] == '/' && relative);
    ARENA_SCOPE(tmp);
    size_t n = strlen(lake->dir);
    if (!strncmp(dir, lake->dir, n) && dir[n] == '/')
        return make_chain(lake->o.host->fs, tmp, lake->dir, arena_printf(tmp, "%s/%s", dir + n + 1, relative), err);
    return make_chain(lake->o.host->fs, tmp, dir, relative, err); /* a registered table elsewhere: its folder is there */
}

char *new_uuid_text(struct arena *arena) {
    struct event_id id;
    host_random(id.bytes, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    char *text = arena_zalloc(arena, EVENT_ID_TEXT + 1);
    event_id_text(id, text);
    return text;
}

char *table_data_name(struct arena *arena, const char *partition_field, int64_t hour_ms) {
    if (!partition_field) return arena_printf(arena, "data/%s.parquet", new_uuid_text(arena));
    struct civil c = time_civil_ms(hour_ms);
    return arena_printf(arena, "data/%s=%04d-%02d-%02d-%02d/%s.parquet", partition_field, c.year, c.month, c.day, c.hour, new_uuid_text(arena));
}
