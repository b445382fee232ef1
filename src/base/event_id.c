#include "base/event_id.h"

#include "base/assert.h"

struct event_id event_id_make(struct event_address a) {
    must(a.received_ms >= 0 && a.received_ms < INT64_C(1) << 48);
    must(a.stream <= EVENT_STREAM_MAX && a.partition < EVENT_PARTITIONS_MAX && a.offset <= EVENT_OFFSET_MAX);
    uint64_t hi = (uint64_t)a.received_ms << 16 | UINT64_C(7) << 12 | a.stream;
    uint64_t lo = UINT64_C(2) << 62 | (uint64_t)a.partition << 52 | a.offset << 6;
    hi = __builtin_bswap64(hi);
    lo = __builtin_bswap64(lo);
    struct event_id id;
    memcpy(id.bytes, &hi, 8);
    memcpy(id.bytes + 8, &lo, 8);
    return id;
}

bool event_id_read(struct event_id id, struct event_address *out) {
    uint64_t hi, lo;
    memcpy(&hi, id.bytes, 8);
    memcpy(&lo, id.bytes + 8, 8);
    hi = __builtin_bswap64(hi);
    lo = __builtin_bswap64(lo);
    if ((hi >> 12 & 15) != 7 || lo >> 62 != 2 || (lo & 63) != 0) return false;
    *out =
        (struct event_address){.received_ms = (int64_t)(hi >> 16), .stream = hi & 0xFFF, .partition = lo >> 52 & 0x3FF, .offset = lo >> 6 & EVENT_OFFSET_MAX};
    return true;
}

void event_id_text(struct event_id id, char out[EVENT_ID_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
        out[at++] = digits[id.bytes[i] >> 4];
        out[at++] = digits[id.bytes[i] & 15];
    }
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool event_id_parse(struct str text, struct event_id *out) {
    if (text.n != EVENT_ID_TEXT) return false;
    struct event_id id;
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            if (text.p[at++] != '-') return false;
        int hi = hex_value(text.p[at]), lo = hex_value(text.p[at + 1]);
        if (hi < 0 || lo < 0) return false;
        id.bytes[i] = (uint8_t)(hi << 4 | lo);
        at += 2;
    }
    *out = id;
    return true;
}
