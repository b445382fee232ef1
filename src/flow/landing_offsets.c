/* Offsets of landing tables: how far they may be read so that a file is seen whole and in order, and where files end. */
#include <string.h>

#include "base/assert.h"
#include "flow/run_priv.h"

#define NEWEST 256 /* files looked at before all are listed */

static enum status number_of(struct flow *flow, struct arena *arena, const struct engine_table *table, uint16_t *number, struct err *err) {
    struct ledger_stream *streams;
    size_t n;
    enum status st = ledger_stream_list(flow->options.ledger, arena, false, &streams, &n, err);
    const char *full = arena_printf(arena, "%s.%s", table->schema, table->name);
    *number = 0;
    for (size_t i = 0; st == OK && i < n; i++) {
        if (streams[i].kind == KIND_LANDING && strcmp(streams[i].name, full) == 0) *number = streams[i].number;
    }
    return st;
}

/* Where the next file of the table will begin: behind the newest one. 0: no file yet. */
static enum status next_offset(struct flow *flow, struct arena *arena, uint16_t number, uint64_t *next, struct err *err) {
    *next = 0;
    for (size_t limit = NEWEST; !*next; limit = 0) {
        struct landing_file *files;
        size_t n;
        enum status st = ledger_landing_list(flow->options.ledger, arena, NULL, -1, limit, &files, &n, err);
        if (st != OK) return st;
        for (size_t i = 0; i < n; i++) {
            if (files[i].stream == number && files[i].first_offset + files[i].reserved > *next) *next = files[i].first_offset + files[i].reserved;
        }
        if (limit == 0 || n < limit) break;
    }
    return OK;
}

enum status landing_watermark(struct flow *flow, const struct engine_table *table, uint64_t *before, struct err *err) {
    must(flow && table && before);
    *before = 0;
    if (!flow->options.ledger) return OK;
    ARENA_SCOPE(arena);
    uint16_t number;
    uint64_t limit = 0;
    struct landing_file *files;
    size_t n;
    enum status st = number_of(flow, arena, table, &number, err);
    if (st != OK || !number) return st;
    st = next_offset(flow, arena, number, &limit, err);
    if (st == OK) st = ledger_landing_list(flow->options.ledger, arena, NULL, LANDING_TAKEN, 0, &files, &n, err);
    for (size_t i = 0; st == OK && i < n; i++) {
        if (files[i].stream == number && files[i].first_offset < limit) limit = files[i].first_offset ? files[i].first_offset : 1; /* 0 would mean no limit */
    }
    if (st == OK) *before = limit;
    return st;
}

enum status landing_file_end(struct flow *flow, const struct engine_table *table, uint64_t *offset, struct err *err) {
    must(flow && table && offset);
    if (!flow->options.ledger) return OK;
    ARENA_SCOPE(arena);
    uint16_t number;
    struct landing_file *files;
    size_t n;
    enum status st = number_of(flow, arena, table, &number, err);
    if (st == OK && number) st = ledger_landing_list(flow->options.ledger, arena, NULL, -1, 0, &files, &n, err);
    if (st != OK || !number) return st;
    for (size_t i = 0; i < n; i++) {
        uint64_t end = files[i].first_offset + files[i].reserved;
        if (files[i].stream == number && files[i].first_offset < *offset && end > *offset) *offset = end;
    }
    return OK;
}
