/* Recovery: from the files back to the state. Sealed segments are loaded from their .idx; the others are walked frame by frame.
 *
 * A place where no valid frame stands is either the torn tail of the last group (nothing valid claims that it was synced: it is cut, and zeroed on disk so that
 * it cannot come back) or damage (a later group or segment says that the log was durable beyond it: the bytes are copied to damaged/, a hole frame takes their
 * place, valid frames around stay). After recovery every segment is an unbroken chain of frames up to its end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "stream/stream_priv.h"

struct scan {
    struct stream_log *log;
    struct segment *segment;
    struct stream_recovery *report;
    struct host_map map;
    uint64_t limit; /* nothing at or behind it counts */
    uint64_t durable; /* all below is known to have been synced */
    uint64_t at;
    uint32_t *frames; /* where valid frames begin */
    size_t frames_n, frames_cap, next;
    bool end_known; /* the next segment says where this one ends */
    bool last;
    uint64_t hole_bytes, hole_at;
    uint64_t unproven; /* where the last group begins that nothing proves to have been synced; 0: none */
};

/* ---- finding frames ---- */

/* Where the zeros of the preallocated rest begin. */
static uint64_t used_bytes(const struct host_map *map) {
    static const char zeros[4096];
    uint64_t n = map->n;
    while (n > 0) {
        size_t part = n % 4096 ? n % 4096 : 4096;
        if (memcmp(map->p + n - part, zeros, part) != 0) break;
        n -= part;
    }
    while (n > 0 && map->p[n - 1] == 0) n--;
    return n;
}

static void add_frame_at(struct scan *s, uint64_t at) {
    if (s->frames_n == s->frames_cap) {
        s->frames_cap = s->frames_cap ? s->frames_cap * 2 : 1024;
        s->frames = mem_realloc(s->frames, s->frames_cap * sizeof *s->frames);
    }
    s->frames[s->frames_n++] = (uint32_t)at;
}

static void find_frames(struct scan *s) {
    uint64_t at = SEGMENT_HEADER_BYTES, group = 0;
    const uint32_t number = s->segment->number;
    uint64_t room = s->end_known ? s->limit : s->map.n; /* a frame may end in zeros that look unused */
    must(s->limit <= s->map.n);
    while (at < s->limit) {
        struct frame_header h;
        bool valid = frame_read(s->map.p + at, room - at, s->segment->salt, &h);
        if (valid && h.group >= group) {
            group = h.group;
            bool told = position_segment(h.durable_to) == number && (position_at(h.durable_to) <= at || h.kind == FRAME_HOLE);
            if (told && position_at(h.durable_to) > s->durable) s->durable = position_at(h.durable_to);
            add_frame_at(s, at);
            at += h.length;
        } else {
            at = frame_resync(s->map.p, at + 8, s->limit, s->segment->salt);
        }
    }
    if (at > s->limit) s->limit = at;
}

static void header_at(const struct scan *s, size_t i, struct frame_header *h) { memcpy(h, s->map.p + s->frames[i], sizeof *h); }

/* Is the group that begins with frame i whole? Then *end is the index behind its trailer. */
static bool group_whole(const struct scan *s, size_t i, size_t *end) {
    struct frame_header h, first;
    header_at(s, i, &first);
    must(i < s->frames_n);
    uint32_t crcs = 0;
    uint64_t at = s->frames[i];
    for (size_t k = i; k < s->frames_n && s->frames[k] == at; k++) {
        header_at(s, k, &h);
        if (h.group != first.group || h.index != k - i || h.kind == FRAME_HOLE) return false;
        at += h.length;
        if (h.kind == FRAME_TRAILER) {
            *end = k + 1;
            return h.count == k - i && h.base_offset == at - s->frames[i] && h.key_id == crcs;
        }
        crcs = crc32c(crcs, &h.crc, 4);
    }
    return false;
}

/* ---- applying frames ---- */

static void apply_records(struct scan *s, uint64_t at, const struct frame_header *h, const char *frame) {
    struct stream_info *info = stream_make(s->log, h->stream);
    const struct partition *p = partition_make(info, h->partition);
    if (p->extents_n && h->base_offset < p->extents[p->extents_n - 1]->end_offset) return; /* never written by us: do not make offsets ambiguous */
    struct record_walk walk;
    struct stored_record record;
    struct hash128 dedupe;
    uint64_t payload_bytes = 0;
    record_walk_begin(&walk, frame, h);
    struct key_place place = {.frame_at = (uint32_t)at};
    while (record_walk_next(&walk, h, &record, &dedupe)) {
        payload_bytes += record.payload.n;
        place.index = walk.index - 1;
        bool fits = place.index < 1u << 16 && place.raw_at < FRAME_RAW_MAX; /* else never written by us */
        if (record.flags & RECORD_DEDUPE && fits) key_table_put(s->segment->keys, dedupe.lo, place);
        place.raw_at = (uint32_t)(walk.at - (frame + FRAME_HEADER_BYTES));
    }
    index_frame(s->log, s->segment, at, h, payload_bytes);
    s->report->records += h->count;
}

static void apply_frame(struct scan *s, size_t i) {
    struct frame_header h;
    header_at(s, i, &h);
    uint64_t at = s->frames[i];
    const char *frame = s->map.p + at;
    struct stream_log *log = s->log;
    must(at + h.length <= s->limit);
    struct str raw = {frame + FRAME_HEADER_BYTES, h.raw_length};
    if (h.kind == FRAME_RECORDS) apply_records(s, at, &h, frame);
    if (h.kind == FRAME_IDEMPOTENCY) (void)idempotency_index_frame(log, s->segment, at, frame, &h);
    if (h.kind == FRAME_FORGET && h.stream > 0 && h.stream <= EVENT_STREAM_MAX) {
        (void)stream_make(log, h.stream);
        stream_forget_mark(log, h.stream);
    }
    if (h.kind == FRAME_CHECKPOINT || h.kind == FRAME_EPOCH) (void)checkpoint_apply(log, raw, NULL);
    if (h.group >= log->next_group) log->next_group = h.group + 1;
    if (h.received_ms > log->last_received_ms) log->last_received_ms = h.received_ms;
    if (!s->segment->first_group) s->segment->first_group = h.group;
    s->segment->last_group = h.group;
    if (!s->segment->first_ms) s->segment->first_ms = h.received_ms;
    s->segment->last_ms = h.received_ms;
    s->report->frames++;
}

/* ---- damage ---- */

static enum status copy_aside(const struct scan *s, uint64_t from, uint64_t to, struct err *err) {
    const struct fs *fs = log_fs(s->log);
    char folder[PATH_MAX_BYTES - 64], path[PATH_MAX_BYTES];
    int n = snprintf(folder, sizeof folder, "%s/damaged", s->log->dir);
    must(n > 0 && n < (int)sizeof folder);
    enum status status = fs->mkdir(fs->self, folder, err);
    if (status != OK) return status;
    snprintf(path, sizeof path, "%s/%016" PRIu32 "-%010" PRIu64 ".bin", folder, s->segment->number, from);
    return fs_write_atomic(fs, path, str_make(s->map.p + from, to - from), err);
}

/* Counts it; true: nobody has described damage yet (one sentence for people: the first place). */
static bool first_damage(struct stream_recovery *report) { return report->damaged_groups++ == 0; }

/* Sets [from, to) aside and closes the chain with a hole frame. */
static enum status set_aside(struct scan *s, uint64_t from, uint64_t to, struct err *err) {
    must(from < to && from % 8 == 0);
    if (to - from < FRAME_HEADER_BYTES || to % 8 != 0)
        return err_set(err, E_CORRUPT, "segment %u: the damage at byte %" PRIu64 " cannot be set aside", s->segment->number, from);
    if (first_damage(s->report))
        snprintf(s->report->damage, sizeof s->report->damage,
            "log segment %016" PRIu32 " was damaged at byte %" PRIu64 " (%" PRIu64 " bytes); they were set aside in damaged/, the rest is readable",
            s->segment->number, from, to - from);
    enum status status = copy_aside(s, from, to, err);
    if (status != OK) return status;
    /* It also says how far the log was durable: the frame that says so now may be cut with the torn tail. */
    struct frame_header h = {.kind = FRAME_HOLE,
        .group = s->segment->last_group,
        .received_ms = s->log->last_received_ms,
        .durable_to = position_make(s->segment->number, s->durable)};
    AUTO_FREE char *hole = mem_alloc(to - from);
    memset(hole, 0xFF, to - from); /* not zeros: the file's unused rest is told by these */
    frame_seal(hole, &h, (uint32_t)(to - from), s->segment->salt);
    const struct fs *fs = log_fs(s->log);
    status = fs->pwrite(fs->self, s->segment->file, hole, to - from, from, err);
    if (status == OK) status = fs->sync_data(fs->self, s->segment->file, err);
    if (status == OK) status = host_map_refresh(fs, s->segment->file, &s->map, from, to, err);
    s->hole_bytes += to - from;
    s->hole_at = from;
    return status;
}

/* Cuts the torn tail and makes the rest of the file zeros again, durably. */
static enum status cut(struct scan *s, uint64_t used, struct err *err) {
    struct segment *segment = s->segment;
    must(s->last && s->at >= SEGMENT_HEADER_BYTES);
    if (used <= s->at) return OK;
    s->report->cut_bytes += used - s->at;
    const struct fs *fs = log_fs(s->log);
    uint64_t capacity = segment->capacity;
    enum status status = fs->truncate(fs->self, segment->file, s->at, err);
    if (status == OK) status = fs->sync_data(fs->self, segment->file, err);
    if (status != OK) return status;
    segment->capacity = s->at; /* when there is no room for it any more, the next group starts a new segment */
    if (capacity <= s->at || fs->allocate(fs->self, segment->file, capacity, NULL) != OK) return OK;
    status = fs->sync_data(fs->self, segment->file, err);
    if (status == OK) segment->capacity = capacity;
    return status;
}

/* The last whole group may stand in the page cache only: its sync may have failed in a process that ended without a power cut. Written again, it is dirty
 * again, and the sync means something. */
static enum status write_again(struct scan *s, struct err *err) {
    if (!s->unproven) return OK;
    uint64_t from = s->unproven == SEGMENT_HEADER_BYTES ? 0 : s->unproven;
    must(from < s->at && s->at <= s->map.n);
    AUTO_FREE char *copy = mem_strndup(s->map.p + from, s->at - from);
    const struct fs *fs = log_fs(s->log);
    enum status status = fs->pwrite(fs->self, s->segment->file, copy, s->at - from, from, err);
    return status == OK ? fs->sync_data(fs->self, s->segment->file, err) : status;
}

/* ---- one segment ---- */

/* From frame to frame in order: whole groups are applied, damage below `durable` is healed, the torn tail ends the walk. */
static enum status walk_groups(struct scan *s, struct err *err) {
    while (s->at < s->limit) {
        struct frame_header h;
        size_t end = 0;
        must(s->next == s->frames_n || s->frames[s->next] >= s->at);
        bool here = s->next < s->frames_n && s->frames[s->next] == s->at;
        if (here) header_at(s, s->next, &h);
        if (here && group_whole(s, s->next, &end)) {
            s->report->groups++;
            s->segment->groups++;
            if (s->at >= s->durable) s->unproven = s->at;
        } else if (s->at >= s->durable && !(here && h.kind == FRAME_HOLE)) {
            return OK; /* the torn tail */
        } else if (here) {
            end = s->next + 1; /* what is left of a damaged group */
        } else {
            uint64_t to = s->next < s->frames_n ? s->frames[s->next] : s->limit;
            enum status status = set_aside(s, s->at, to, err);
            if (status != OK) return status;
            s->at = to;
            continue;
        }
        for (; s->next < end; s->next++) {
            header_at(s, s->next, &h);
            apply_frame(s, s->next);
            s->at = s->frames[s->next] + h.length;
        }
    }
    return OK;
}

/* Offsets that may have been given to records in holes are not given again: an upper bound of how many fitted. */
static void skip_lost_offsets(struct scan *s) {
    if (!s->hole_bytes || !s->last) return;
    uint64_t lost = s->hole_bytes / RECORD_HEADER_BYTES + 1;
    for (uint32_t i = 1; i <= EVENT_STREAM_MAX; i++) {
        struct stream_info *info = stream_get(s->log, (uint16_t)i);
        for (uint32_t k = 0; info && k < info->partitions_n; k++) {
            struct partition *p = info->partitions[k];
            const struct extent *e = p->extents_n ? p->extents[p->extents_n - 1] : NULL;
            if (e && e->segment == s->segment && e->end_at > s->hole_at) continue; /* a later frame says where it goes on */
            if (p->end_offset + lost > EVENT_OFFSET_MAX) continue;
            must(p->next_offset == p->end_offset);
            p->end_offset += lost;
            p->next_offset = p->end_offset;
        }
    }
}

/* known_end: what the next segment's header says, 0 unknown. */
static enum status scan_segment(
    struct stream_log *log, struct segment *segment, uint32_t known_end, bool last, struct stream_recovery *report, struct err *err) {
    struct scan s = {.log = log, .segment = segment, .report = report, .last = last, .at = SEGMENT_HEADER_BYTES};
    must(segment->capacity >= SEGMENT_HEADER_BYTES);
    segment->keys = key_table_new();
    enum status status = segment_bytes(segment, segment->capacity, &s.map, err);
    if (status != OK) return status;
    uint64_t used = used_bytes(&s.map);
    s.limit = align8(used) + FRAME_HEADER_BYTES; /* the last trailer may end in zeros */
    if (s.limit > s.map.n) s.limit = s.map.n;
    s.end_known = known_end != 0 && known_end <= s.map.n;
    if (s.end_known) s.limit = s.durable = known_end;
    if (known_end > s.map.n && first_damage(report))
        snprintf(
            report->damage, sizeof report->damage, "log segment %016" PRIu32 " has %zu bytes, it ended at byte %" PRIu32, segment->number, s.map.n, known_end);
    find_frames(&s);
    status = walk_groups(&s, err);
    segment->end = s.at;
    if (status == OK && last) status = write_again(&s, err);
    if (status == OK && last) status = cut(&s, used, err);
    if (status == OK) skip_lost_offsets(&s);
    report->segments++;
    host_map_close(&s.map);
    free(s.frames);
    return status;
}

/* ---- all segments ---- */

struct found {
    uint32_t number;
    int file;
    uint64_t size;
    struct segment_header header;
    bool header_valid;
};

static bool segment_number(const char *name, uint32_t *out) {
    uint64_t number = 0;
    struct str s = str_of(name);
    if (s.n != 20 || !str_ends(s, STR(".seg")) || !str_to_u64(str_head(s, 16), &number) || number == 0 || number >= UINT32_MAX) return false;
    *out = (uint32_t)number;
    return true;
}

static enum status open_segment_file(struct stream_log *log, uint32_t number, struct found *out, struct err *err) {
    const struct fs *fs = log_fs(log);
    char path[PATH_MAX_BYTES];
    struct fs_stat stat;
    size_t got = 0;
    segment_path(log->dir, number, ".seg", path);
    *out = (struct found){.number = number, .file = -1};
    enum status s = fs->open(fs->self, path, FS_READ | FS_WRITE, &out->file, err);
    if (s != OK) return s;
    s = fs->stat_file(fs->self, out->file, &stat, err);
    if (s == OK) s = fs->pread(fs->self, out->file, &out->header, sizeof out->header, 0, &got, err);
    out->size = stat.size_bytes;
    out->header_valid = s == OK && got == sizeof out->header && segment_header_valid(&out->header, log->log_id, number);
    return s;
}

static enum status list_segments(struct stream_log *log, struct arena *arena, struct found **out, size_t *n, struct err *err) {
    const struct fs *fs = log_fs(log);
    struct fs_entry *entries = NULL;
    size_t entries_n = 0;
    enum status s = fs->list(fs->self, arena, log->dir, &entries, &entries_n, err);
    if (s != OK) return s;
    *out = arena_new_array(arena, struct found, entries_n + 1);
    for (size_t i = 0; i < entries_n; i++) {
        uint32_t number;
        if (!segment_number(entries[i].name, &number)) continue;
        must(*n == 0 || (*out)[*n - 1].number < number); /* list is by name, and names are of one length */
        s = open_segment_file(log, number, &(*out)[*n], err);
        if ((*out)[*n].file >= 0) ++*n;
        if (s != OK) return s;
    }
    return OK;
}

/* Header and first group come with one write. A last file without a valid header, in which no frame says that something of this segment was synced before,
 * was being made when the power went: nothing in it was answered. */
static bool never_begun(struct stream_log *log, const struct found *f) {
    if (f->header_valid) return false;
    struct host_map map;
    uint32_t salt = segment_salt(log->log_id, f->number);
    if (f->size <= SEGMENT_HEADER_BYTES) return true;
    if (host_map_open(log_fs(log), f->file, f->size, &map, NULL) != OK) return false;
    bool empty = host_map_refresh(log_fs(log), f->file, &map, 0, f->size, NULL) == OK;
    uint64_t used = empty ? align8(used_bytes(&map)) : 0;
    if (used > f->size) used = f->size;
    for (size_t at = 0; empty && (at = frame_resync(map.p, at, used, salt)) < used; at += FRAME_HEADER_BYTES) {
        struct frame_header h;
        memcpy(&h, map.p + at, sizeof h);
        if (position_segment(h.durable_to) == f->number) empty = false;
    }
    host_map_close(&map);
    return empty;
}

static enum status remove_file(struct stream_log *log, struct found *f, struct err *err) {
    const struct fs *fs = log_fs(log);
    char path[PATH_MAX_BYTES];
    fs->close(fs->self, f->file);
    f->file = -1;
    segment_path(log->dir, f->number, ".seg", path);
    enum status s = fs->unlink(fs->self, path, err);
    return s == OK ? fs->sync_dir(fs->self, log->dir, err) : s;
}

/* The header is derived too: with it damaged, the frames still prove the segment. */
static enum status heal_header(
    struct stream_log *log, const struct segment *segment, const struct segment *previous, struct stream_recovery *report, struct err *err) {
    struct segment_header h = {.number = segment->number,
        .log_id = log->log_id,
        .first_group = segment->first_group,
        .previous = previous ? previous->number : 0,
        .previous_end = previous ? (uint32_t)previous->end : 0,
        .created_ms = segment->first_ms};
    segment_header_seal(&h);
    if (first_damage(report))
        snprintf(report->damage, sizeof report->damage, "the header of log segment %016" PRIu32 " was damaged and is written again", segment->number);
    const struct fs *fs = log_fs(log);
    enum status s = fs->pwrite(fs->self, segment->file, &h, sizeof h, 0, err);
    return s == OK ? fs->sync_data(fs->self, segment->file, err) : s;
}

/* What the memory holds now is the state as of this segment's end: for its index. */
static void keep_end_state(struct stream_log *log, struct segment *segment) {
    BUF_SCOPE(state);
    checkpoint_put(log, &state);
    must(!state.failed && segment->end_state == NULL);
    segment->end_state_n = state.n;
    segment->end_state = buf_take(&state);
}

static enum status recover_segment(struct stream_log *log, struct found *f, const struct found *next, struct stream_recovery *report, struct err *err) {
    must(f->file >= 0);
    struct segment *previous = active_segment(log);
    struct segment *segment = segment_new(log, f->number, f->file);
    f->file = -1; /* the segment's now */
    segments_push(log, segment);
    segment->capacity = f->size;
    if (f->size < SEGMENT_HEADER_BYTES) {
        enum status s = log_fs(log)->truncate(log_fs(log)->self, segment->file, segment->capacity = SEGMENT_HEADER_BYTES, err);
        if (s != OK) return s;
    }
    if (seal_load(log, segment, NULL) != OK) {
        bool told = next && next->header_valid && next->header.previous == f->number;
        extents_drop(log, segment); /* of an index that was read in part */
        enum status s = scan_segment(log, segment, told ? next->header.previous_end : 0, next == NULL, report, err);
        if (s != OK) return s;
        if (!f->header_valid) s = heal_header(log, segment, previous, report, err);
        if (s != OK) return s;
        if (next) keep_end_state(log, segment);
    }
    if (segment->last_group >= log->next_group) log->next_group = segment->last_group + 1;
    if (segment->last_ms > log->last_received_ms) log->last_received_ms = segment->last_ms;
    return OK;
}

enum status recover(struct stream_log *log, struct stream_recovery *report, struct err *err) {
    int64_t begin_us = host_monotonic_us(&log->host);
    ARENA_SCOPE(arena);
    struct found *found = NULL;
    size_t n = 0;
    enum status s = list_segments(log, arena, &found, &n, err);
    while (s == OK && n && never_begun(log, &found[n - 1])) s = remove_file(log, &found[--n], err);
    for (size_t i = 0; s == OK && i < n; i++) s = recover_segment(log, &found[i], i + 1 < n ? &found[i + 1] : NULL, report, err);
    if (s == OK) s = log_fs(log)->sync_dir(log_fs(log)->self, log->dir, err); /* a file that the last run removed must not come back after this one wrote on */
    for (size_t i = 0; i < n; i++)
        if (found[i].file >= 0) log_fs(log)->close(log_fs(log)->self, found[i].file);
    if (s != OK) return s;
    const struct segment *active = active_segment(log);
    if (active) atomic_store(&log->durable, position_make(active->number, active->end));
    log->need_segment = !active || active->sealed;
    must(log->need_segment || active->keys != NULL);
    report->took_us = host_monotonic_us(&log->host) - begin_us;
    return OK;
}
