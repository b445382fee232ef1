/* The keeper thread: prepares the next segment ahead, and seals finished ones by writing their .idx file: everything that opening needs to know about a segment
 * without reading it. The .idx is derived: lost or damaged, recovery scans the segment and it is written again. Layout: docs/formats/log.md. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

#define INDEX_MAGIC UINT64_C(0x3158444950555043) /* "CPUPIDX1" */
#define INDEX_HEAD_MAX (UINT64_C(1) << 30)
#define RETRY_MS 1000
#define ZERO_STEP_BYTES (1u << 20)
#define ZERO_PAUSE_US 4000
#define SMALL_GROUP_BYTES (64u << 10)
#define BUSY_HALF_MS 600000

struct index_header {
    uint64_t magic;
    uint32_t version, number;
    uint64_t log_id;
    uint64_t head_bytes; /* sections behind this header */
    uint64_t keys_head_bytes; /* key filter, behind the head; padded so that the key blocks begin at a multiple of 4096 */
    uint64_t blocks_at;
    uint32_t head_crc, keys_head_crc;
    uint32_t reserved, crc; /* of the bytes before */
};
_Static_assert(sizeof(struct index_header) == 64, "the header is its own layout");

struct index_segment {
    uint64_t end, first_group, last_group, records, groups;
    int64_t first_ms, last_ms;
    uint32_t hours_n, extents_n, idempotency_n, state_bytes;
};

struct index_extent {
    uint16_t stream, partition;
    uint32_t spots_n;
    uint64_t first_offset, end_offset, records, bytes, duplicates;
    int64_t first_ms, last_ms;
    uint32_t first_at, end_at;
};

/* ---- writing ---- */

static void put_extent(struct buf *out, const struct partition *p, const struct extent *e) {
    must(e->spots_n > 0 && e->first_offset <= e->end_offset && e->end_at <= e->segment->end);
    struct index_extent x = {.stream = p->stream,
        .partition = p->number,
        .spots_n = e->spots_n,
        .first_offset = e->first_offset,
        .end_offset = e->end_offset,
        .records = e->records,
        .bytes = e->bytes,
        .duplicates = e->duplicates,
        .first_ms = e->first_ms,
        .last_ms = e->last_ms,
        .first_at = e->first_at,
        .end_at = e->end_at};
    buf_put(out, &x, sizeof x);
    buf_put(out, e->spots, e->spots_n * sizeof *e->spots);
}

/* Over all streams: an index is written once per segment, a list per segment would cost every group. */
static uint32_t put_extents(const struct stream_log *log, const struct segment *segment, struct buf *out) {
    uint32_t n = 0;
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        const struct stream_info *info = stream_get(log, (uint16_t)i);
        for (uint32_t k = 0; info && k < info->partitions_n; k++)
            for (size_t x = 0; x < info->partitions[k]->extents_n; x++) {
                if (info->partitions[k]->extents[x]->segment != segment) continue;
                put_extent(out, info->partitions[k], info->partitions[k]->extents[x]);
                n++;
            }
    }
    return n;
}

/* All that changes under `state`, copied under it in one go; the segment takes no frames any more, so this is its last word. */
static void put_head(struct stream_log *log, struct segment *segment, struct buf *out) {
    BUF_SCOPE(extents);
    WITH_LOCK(&log->state);
    must(segment->end_state != NULL);
    struct index_segment x = {.end = segment->end,
        .first_group = segment->first_group,
        .last_group = segment->last_group,
        .records = segment->records,
        .groups = segment->groups,
        .first_ms = segment->first_ms,
        .last_ms = segment->last_ms,
        .hours_n = (uint32_t)segment->hours_n,
        .idempotency_n = (uint32_t)segment->idempotency_n,
        .state_bytes = (uint32_t)segment->end_state_n};
    x.extents_n = put_extents(log, segment, &extents);
    buf_put(out, &x, sizeof x);
    buf_put(out, segment->hours, segment->hours_n * sizeof *segment->hours);
    buf_put(out, segment->idempotency, segment->idempotency_n * sizeof *segment->idempotency);
    buf_put(out, segment->end_state, segment->end_state_n);
    buf_str(out, buf_view(&extents));
}

static void put_file(struct stream_log *log, struct segment *segment, struct buf *file) {
    BUF_SCOPE(keys_head);
    BUF_SCOPE(blocks);
    buf_zero(file, sizeof(struct index_header));
    put_head(log, segment, file);
    key_filter_encode(segment->keys, &keys_head, &blocks);
    struct index_header h = {.magic = INDEX_MAGIC,
        .version = FRAME_VERSION,
        .number = segment->number,
        .log_id = log->log_id,
        .head_bytes = file->n - sizeof(struct index_header),
        .keys_head_bytes = keys_head.n};
    h.head_crc = crc32c(segment->salt, file->p + sizeof h, h.head_bytes);
    h.keys_head_crc = crc32c(segment->salt, keys_head.p, keys_head.n);
    buf_str(file, buf_view(&keys_head));
    h.blocks_at = (file->n + 4095) & ~(uint64_t)4095;
    buf_zero(file, h.blocks_at - file->n);
    buf_str(file, buf_view(&blocks));
    h.crc = crc32c(segment->salt, &h, sizeof h - 4);
    must(!file->failed);
    memcpy(file->p, &h, sizeof h);
}

static enum status open_filter(struct stream_log *log, const char *path, uint64_t blocks_at, struct str head, struct key_filter **out, struct err *err) {
    int file = -1;
    must(*out == NULL && blocks_at % 4096 == 0);
    const struct fs *fs = log_fs(log);
    enum status s = fs->open(fs->self, path, FS_READ, &file, err);
    if (s != OK) return s;
    s = key_filter_open(fs, file, blocks_at, head, out, err);
    if (s != OK) fs->close(fs->self, file);
    return s;
}

enum status seal_write(struct stream_log *log, struct segment *segment, struct err *err) {
    must(!segment->sealed && segment->keys != NULL);
    const struct fs *fs = log_fs(log);
    char path[PATH_MAX_BYTES];
    segment_path(log->dir, segment->number, ".idx", path);
    BUF_SCOPE(file);
    put_file(log, segment, &file);
    /* What lies behind the end is void: give the space back. When it cannot, the .idx still says where the segment ends. */
    (void)fs->truncate(fs->self, segment->file, segment->end, NULL);
    enum status s = fs_write_atomic(fs, path, buf_view(&file), err);
    if (s != OK) return s;
    struct index_header h;
    struct key_filter *filter = NULL;
    memcpy(&h, file.p, sizeof h);
    s = open_filter(log, path, h.blocks_at, str_make(file.p + sizeof h + h.head_bytes, h.keys_head_bytes), &filter, err);
    if (s != OK) return s;
    WITH_LOCK(&log->segments);
    key_table_free(&segment->keys);
    segment->filter = filter;
    segment->sealed = true;
    free(segment->end_state);
    free(segment->idempotency); /* only the index needed them */
    segment->end_state = NULL;
    segment->idempotency = NULL;
    segment->idempotency_n = segment->idempotency_cap = 0;
    return OK;
}

/* ---- loading ---- */

struct section {
    const char *p;
    size_t n;
    bool bad;
};

static const void *section_take(struct section *s, size_t n) {
    if (s->bad || s->n < n) {
        s->bad = true;
        return NULL;
    }
    const char *p = s->p;
    s->p += n;
    s->n -= n;
    return p;
}

static bool spots_sound(const struct index_extent *x, const char *spots) {
    struct spot before = {0}, s;
    for (uint32_t i = 0; i < x->spots_n; i++, before = s) {
        memcpy(&s, spots + i * sizeof s, sizeof s);
        if (s.at < x->first_at || s.at >= x->end_at || s.offset < x->first_offset || s.offset > x->end_offset) return false;
        if (i && (s.at <= before.at || s.offset < before.offset)) return false;
    }
    return true;
}

/* Checksums were right, so what is checked here is only what would lead readers out of the segment. */
static bool load_extent(struct stream_log *log, struct segment *segment, struct section *in) {
    struct index_extent x;
    const void *p = section_take(in, sizeof x);
    if (!p) return false;
    memcpy(&x, p, sizeof x);
    const void *spots = section_take(in, (size_t)x.spots_n * sizeof(struct spot));
    if (!spots || x.spots_n == 0 || x.stream == 0 || x.stream > EVENT_STREAM_MAX || x.partition >= EVENT_PARTITIONS_MAX || x.end_at > segment->end ||
        x.first_at < SEGMENT_HEADER_BYTES || x.first_at >= x.end_at || !spots_sound(&x, spots))
        return false;
    struct partition *partition = partition_make(stream_make(log, x.stream), x.partition);
    struct extent *e = extent_add(partition, segment);
    *e = (struct extent){.segment = segment,
        .first_offset = x.first_offset,
        .end_offset = x.end_offset,
        .records = x.records,
        .bytes = x.bytes,
        .duplicates = x.duplicates,
        .first_ms = x.first_ms,
        .last_ms = x.last_ms,
        .first_at = x.first_at,
        .end_at = x.end_at,
        .spots_n = x.spots_n,
        .spots_cap = x.spots_n};
    e->spots = mem_alloc(x.spots_n * sizeof *e->spots);
    memcpy(e->spots, spots, x.spots_n * sizeof *e->spots);
    if (!partition->unlanded_ms && e->records) {
        partition->unlanded_ms = e->first_ms;
        partition->unlanded_from = position_make(segment->number, e->first_at);
    }
    return true;
}

static void *copy_rows(const void *p, size_t bytes) {
    void *copy = mem_alloc(bytes ? bytes : 1);
    if (bytes) memcpy(copy, p, bytes);
    return copy;
}

/* Enters a segment as if it had just been walked: counts, checkpoint, extents, answers. */
static enum status load_head(struct stream_log *log, struct segment *segment, struct str head, struct err *err) {
    struct section in = {head.p, head.n, false};
    struct index_segment x;
    const void *p = section_take(&in, sizeof x);
    if (p)
        memcpy(&x, p, sizeof x);
    else
        return err_set(err, E_CORRUPT, "the index of segment %u is cut", segment->number);
    const void *hours = section_take(&in, (size_t)x.hours_n * sizeof *segment->hours);
    const void *idempotency = section_take(&in, (size_t)x.idempotency_n * sizeof *segment->idempotency);
    const char *state = section_take(&in, x.state_bytes);
    if (in.bad || x.end > segment->capacity) return err_set(err, E_CORRUPT, "the index of segment %u does not fit its file", segment->number);
    segment->end = x.end;
    segment->first_group = x.first_group;
    segment->last_group = x.last_group;
    segment->records = x.records;
    segment->groups = x.groups;
    segment->first_ms = x.first_ms;
    segment->last_ms = x.last_ms;
    segment->hours = copy_rows(hours, x.hours_n * sizeof *segment->hours);
    segment->hours_n = segment->hours_cap = x.hours_n;
    enum status s = checkpoint_apply(log, str_make(state, x.state_bytes), err);
    if (s != OK) return s;
    for (uint32_t i = 0; i < x.extents_n; i++)
        if (!load_extent(log, segment, &in)) return err_set(err, E_CORRUPT, "the index of segment %u is not as written", segment->number);
    for (size_t i = 0; i < x.idempotency_n; i++) {
        struct idempotency_entry e;
        memcpy(&e, (const char *)idempotency + i * sizeof e, sizeof e);
        if (position_segment(e.frame) != segment->number) return err_set(err, E_CORRUPT, "the index of segment %u is not as written", segment->number);
        idempotency_put(log->idempotency, e);
    }
    return OK;
}

/* Both heads in memory, checksums verified. */
static enum status read_heads(
    struct stream_log *log, struct segment *segment, struct arena *arena, const char *path, struct index_header *h, struct str *heads, struct err *err) {
    const struct fs *fs = log_fs(log);
    int file = -1;
    size_t got = 0;
    enum status s = fs->open(fs->self, path, FS_READ, &file, err);
    if (s != OK) return s;
    s = fs->pread(fs->self, file, h, sizeof *h, 0, &got, err);
    if (s == OK &&
        (got != sizeof *h || h->magic != INDEX_MAGIC || h->version != FRAME_VERSION || h->number != segment->number || h->log_id != log->log_id ||
            h->crc != crc32c(segment->salt, h, sizeof *h - 4) || h->head_bytes > INDEX_HEAD_MAX || h->keys_head_bytes > INDEX_HEAD_MAX))
        s = err_set(err, E_CORRUPT, "%s has a wrong header", path);
    if (s == OK) {
        size_t n = h->head_bytes + h->keys_head_bytes;
        char *p = arena_alloc(arena, n + 1);
        s = fs->pread(fs->self, file, p, n, sizeof *h, &got, err);
        if (s == OK &&
            (got != n || h->head_crc != crc32c(segment->salt, p, h->head_bytes) ||
                h->keys_head_crc != crc32c(segment->salt, p + h->head_bytes, h->keys_head_bytes)))
            s = err_set(err, E_CORRUPT, "%s has a wrong checksum", path);
        *heads = str_make(p, n);
    }
    fs->close(fs->self, file);
    return s;
}

enum status seal_load(struct stream_log *log, struct segment *segment, struct err *err) {
    must(!segment->sealed && segment->filter == NULL);
    char path[PATH_MAX_BYTES];
    segment_path(log->dir, segment->number, ".idx", path);
    ARENA_SCOPE(arena);
    struct index_header h;
    struct str heads;
    enum status s = read_heads(log, segment, arena, path, &h, &heads, err);
    if (s != OK) return s;
    struct key_filter *filter = NULL;
    s = open_filter(log, path, h.blocks_at, str_from(heads, h.head_bytes), &filter, err);
    if (s != OK) return s;
    s = load_head(log, segment, str_head(heads, h.head_bytes), err);
    if (s != OK) {
        key_filter_free(&filter);
        return s;
    }
    segment->filter = filter;
    segment->sealed = true;
    return OK;
}

/* ---- the keeper ---- */

void keeper_wake(struct stream_log *log) {
    WITH_LOCK(&log->keep);
    log->keep_work = true;
    condition_signal(&log->keep_wanted);
}

int keeper_take_prepared(struct stream_log *log, uint32_t number, uint64_t bytes, uint64_t *capacity) {
    WITH_LOCK(&log->keep);
    int file = log->prepared_file;
    must(number >= log->taken_number);
    log->taken_number = number; /* from here on the file of that number is the committer's alone */
    if (file < 0) return -1;
    log->prepared_file = -1;
    if (log->prepared_number != number || log->prepared_bytes < bytes) { /* too small for a very large group: made anew under the same name */
        log_fs(log)->close(log_fs(log)->self, file);
        return -1;
    }
    *capacity = log->prepared_bytes;
    return file;
}

/* The lock is held over the file's making: the committer that comes meanwhile waits for it instead of making the same file. */
static bool prepare_file(struct stream_log *log, uint32_t number) {
    WITH_LOCK(&log->keep);
    if (log->prepared_file >= 0 || number <= log->taken_number) return false;
    uint64_t bytes = log->options.segment_bytes + 1024 + atomic_load(&log->checkpoint_bytes) * 5 / 4; /* the checkpoint may have grown by then */
    int file = -1;
    if (segment_room(log, bytes, NULL) != OK || segment_create(log, number, bytes, &file, NULL) != OK) return false; /* the committer will say why */
    log->prepared_file = file;
    log->prepared_number = number;
    log->prepared_bytes = bytes;
    return true;
}

/* Do syncs, and not bytes, limit the log at the moment? */
static bool groups_are_small_and_many(struct stream_log *log, const struct segment *active) {
    WITH_LOCK(&log->state);
    return active->groups > 0 && active->end / active->groups < SMALL_GROUP_BYTES && active->last_ms - active->first_ms < BUSY_HALF_MS;
}

/* One step; false: done, taken, or in vain. */
static bool zero_step(struct stream_log *log, uint32_t number, uint64_t at, const char *zeros) {
    WITH_LOCK(&log->keep);
    if (log->keep_stop || log->prepared_file < 0 || log->prepared_number != number || at >= log->prepared_bytes) return false;
    const struct fs *fs = log_fs(log);
    uint64_t n = log->prepared_bytes - at < ZERO_STEP_BYTES ? log->prepared_bytes - at : ZERO_STEP_BYTES;
    enum status s = fs->pwrite(fs->self, log->prepared_file, zeros, n, at, NULL);
    if (s == OK) s = fs->sync_data(fs->self, log->prepared_file, NULL);
    if (s == OK) return true;
    fs->close(fs->self, log->prepared_file); /* the committer makes it anew */
    log->prepared_file = -1;
    return false;
}

/* Space that was only allocated has to be marked as written by the file system at each first write: a sync then writes metadata too and takes half as long
 * again. So the next segment is written with zeros ahead, in steps between which the committer's syncs have their turn. */
static void zero_prepared(struct stream_log *log, uint32_t number) {
    char *zeros = mem_zalloc(ZERO_STEP_BYTES);
    for (uint64_t at = 0; zero_step(log, number, at, zeros); at += ZERO_STEP_BYTES) log->host.clock->sleep_us(log->host.clock->self, ZERO_PAUSE_US);
    free(zeros);
}

static void prepare_next(struct stream_log *log) {
    mutex_lock(&log->segments);
    const struct segment *active = active_segment(log);
    uint32_t number = active ? active->number + 1 : 0;
    bool wanted = active && active->end > active->capacity / 2, zeroed = wanted && groups_are_small_and_many(log, active);
    mutex_unlock(&log->segments);
    if (wanted && prepare_file(log, number) && zeroed) zero_prepared(log, number);
}

/* The oldest segment that is finished and not sealed, referenced; NULL: none. */
static struct segment *next_to_seal(struct stream_log *log) {
    WITH_LOCK(&log->segments);
    for (size_t i = 0; i + 1 < log->segments_n; i++) {
        struct segment *s = log->segment[i];
        if (s->sealed || !s->end_state || s->seal_failed) continue;
        must(s != log->active && s->keys != NULL);
        segment_ref(s);
        return s;
    }
    return NULL;
}

/* false: a file could not be written (full disk); tried again later, until then recovery would have to walk that segment. */
static bool seal_all(struct stream_log *log) {
    bool failed = false;
    for (struct segment *s; (s = next_to_seal(log)) != NULL;) {
        if (seal_write(log, s, NULL) != OK) {
            mutex_lock(&log->segments);
            s->seal_failed = failed = true;
            mutex_unlock(&log->segments);
        }
        segment_unref(s);
    }
    WITH_LOCK(&log->segments);
    for (size_t i = 0; i < log->segments_n; i++) log->segment[i]->seal_failed = false; /* tried again at the next round */
    return !failed;
}

void *keeper_run(void *argument) {
    struct stream_log *log = argument;
    bool sound = true;
    while (true) {
        {
            WITH_LOCK(&log->keep);
            while (!log->keep_work && !log->keep_stop) {
                if (sound)
                    condition_wait(&log->keep_wanted, &log->keep);
                else if (!condition_wait_ms(&log->keep_wanted, &log->keep, RETRY_MS))
                    break;
            }
            if (log->keep_stop) return NULL;
            log->keep_work = false;
        }
        prepare_next(log);
        sound = seal_all(log);
    }
}
