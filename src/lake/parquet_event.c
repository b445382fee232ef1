/* One event out of a Parquet file: its row is looked for among the ids, then read column by column. */
#include "lake/parquet_event.h"

#include <string.h>

#include "base/assert.h"
#include "base/json.h"

/* A row of a file, as far as it was found. */
struct found {
    struct parquet_file file;
    struct arena *arena;
    size_t group;
    int64_t row;
};

static bool group_may_hold(const struct parquet_chunk *ids, struct event_id id) {
    bool known = ids->min.n == sizeof id.bytes && ids->max.n == sizeof id.bytes;
    return !known || (memcmp(ids->min.p, id.bytes, sizeof id.bytes) <= 0 && memcmp(ids->max.p, id.bytes, sizeof id.bytes) >= 0);
}

/* E_NOT_FOUND: no row has the id. */
static enum status find_row(struct found *f, int64_t id_field, struct event_id id, struct err *err) {
    const struct parquet_footer *footer = &f->file.footer;
    size_t leaf;
    if (parquet_leaves_of(footer, id_field, &leaf) != 1) return err_set(err, E_UNSUPPORTED, "no column of ids");
    f->row = -1;
    for (size_t i = 0; i < footer->groups_n; i++) {
        if (!group_may_hold(&footer->groups[i].chunks[leaf], id)) continue;
        enum status s = parquet_find_row(&f->file, i, leaf, id.bytes, &f->row, err);
        if (s) return s;
        f->group = i;
        if (f->row >= 0) return OK;
    }
    return err_set(err, E_NOT_FOUND, "no row has this id");
}

static enum status read_leaf(struct found *f, size_t leaf, struct parquet_entry **entries, size_t *n, struct err *err) {
    return parquet_read_row(&f->file, f->group, leaf, f->row, f->arena, entries, n, err);
}

static enum status put_text_value(struct json_writer *w, struct str text, struct err *err) {
    if (text.p && !utf8_valid(text)) return err_set(err, E_CORRUPT, "a text that is not UTF-8");
    json_str(w, text);
    return OK;
}

/* A map of texts: keys are never NULL, values may be. One entry that is no item stands for a map without any, or for none at all. */
static enum status put_map(struct found *f, struct json_writer *w, size_t leaf, struct err *err) {
    const struct parquet_leaf *keys = &f->file.footer.leaves[leaf], *values = keys + 1;
    struct parquet_entry *key, *value;
    size_t n, values_n;
    uint8_t item = keys->field_optional + 1; /* defined so far: there is an item */
    if (keys->depth != 3 || values->depth != 3 || keys->repetition_max != 1 || values->repetition_max != 1 || keys->definition_max != item ||
        keys->type != PARQUET_BYTES || values->type != PARQUET_BYTES)
        return err_set(err, E_UNSUPPORTED, "no map of texts");
    enum status s = read_leaf(f, leaf, &key, &n, err);
    if (!s) s = read_leaf(f, leaf + 1, &value, &values_n, err);
    if (!s && n != values_n) s = err_set(err, E_CORRUPT, "a map with more keys than values, or fewer");
    if (s) return s;
    if (n == 1 && key[0].definition < keys->field_optional) {
        json_null(w);
        return OK;
    }
    json_begin_object(w);
    for (size_t i = 0; !s && i < n && key[i].definition == item; i++) {
        if (!utf8_valid(key[i].bytes) || memchr(key[i].bytes.p, 0, key[i].bytes.n)) return err_set(err, E_UNSUPPORTED, "a name that is no text");
        json_name(w, arena_strndup(f->arena, key[i].bytes.p, key[i].bytes.n));
        s = put_text_value(w, value[i].bytes, err);
    }
    if (!s) json_end_object(w);
    return s;
}

static enum status put_flat(struct found *f, struct json_writer *w, size_t leaf, const char *type, struct err *err) {
    const struct parquet_leaf *l = &f->file.footer.leaves[leaf];
    struct parquet_entry *entry;
    size_t n;
    bool flag = !strcmp(type, "BOOLEAN"), bytes = !strcmp(type, "BLOB");
    if (l->depth != 1 || l->repetition_max || l->type != (flag ? PARQUET_BOOLEAN : PARQUET_BYTES))
        return err_set(err, E_UNSUPPORTED, "another type than %s", type);
    enum status s = read_leaf(f, leaf, &entry, &n, err);
    if (s) return s;
    must(n == 1);
    if (!entry->bytes.p) {
        json_null(w);
    } else if (flag) {
        json_bool(w, entry->bytes.p[0] != 0);
    } else if (bytes) {
        BUF_SCOPE(base64);
        buf_base64(&base64, entry->bytes);
        json_str(w, str_make(base64.n ? base64.p : "", base64.n));
    } else {
        s = put_text_value(w, entry->bytes, err);
    }
    return s;
}

/* What the id says by itself is not read: it is the address, and the row was found by it. */
static bool put_addressed(struct json_writer *w, const char *name, struct event_address a) {
    char text[EVENT_ID_TEXT];
    if (!strcmp(name, "_event_id")) {
        event_id_text(event_id_make(a), text);
        json_put_str(w, name, str_make(text, sizeof text));
    } else if (!strcmp(name, "_partition")) {
        json_put_int(w, name, a.partition);
    } else if (!strcmp(name, "_offset")) {
        json_put_int(w, name, (int64_t)a.offset);
    } else if (!strcmp(name, "_received_at")) {
        json_put_time_ms(w, name, a.received_ms);
    } else {
        return false;
    }
    return true;
}

static enum status put_row(struct found *f, const struct engine_column *columns, size_t columns_n, struct event_address a, struct buf *out, struct err *err) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    for (size_t i = 0; i < columns_n; i++) {
        const struct engine_column *c = &columns[i];
        size_t leaf, leaves = parquet_leaves_of(&f->file.footer, c->field_id, &leaf);
        bool map = !strncmp(c->type, "MAP", 3);
        if (leaves != (map ? 2 : 1)) return err_set(err, E_UNSUPPORTED, "%s is not there, or of another shape", c->name);
        if (put_addressed(&w, c->name, a)) continue;
        json_name(&w, c->name);
        enum status s = map ? put_map(f, &w, leaf, err) : put_flat(f, &w, leaf, c->type, err);
        if (s) return s;
    }
    json_end_object(&w);
    return OK;
}

enum status parquet_read_event(const struct fs *fs, struct parquet_readers *readers, const char *path, const struct engine_column *columns, size_t columns_n,
    struct event_address address, struct buf *out, struct err *err) {
    must(columns_n && out);
    ARENA_SCOPE(tmp);
    BUF_SCOPE(row);
    struct found f = {.arena = tmp};
    enum status s = parquet_open(&f.file, fs, readers, tmp, path, err);
    if (!s) s = find_row(&f, columns[0].field_id, event_id_make(address), err);
    if (!s) s = put_row(&f, columns, columns_n, address, &row, err);
    parquet_close(&f.file);
    if (!s) buf_str(out, buf_view(&row));
    return s;
}
