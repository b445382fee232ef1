/* Reader of thrift's compact protocol. */
#include "lake/parquet_thrift.h"

#include "base/assert.h"

#define DEPTH_MAX 32

static void fail(struct thrift *t) {
    t->failed = true;
    t->in = STR_NULL;
}

static uint8_t take_byte(struct thrift *t) {
    if (!t->in.n) {
        fail(t);
        return 0;
    }
    uint8_t b = (uint8_t)t->in.p[0];
    t->in = str_from(t->in, 1);
    return b;
}

static uint64_t take_varint(struct thrift *t) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint8_t b = take_byte(t);
        if (i == 9 && b > 1) break;
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80)) return v;
    }
    fail(t);
    return 0;
}

static int64_t take_zigzag(struct thrift *t) {
    uint64_t v = take_varint(t);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void take_raw(struct thrift *t, uint64_t n, struct str *out) {
    *out = STR_NULL;
    if (n > t->in.n) {
        fail(t);
        return;
    }
    *out = STR("");
    if (!n) return;
    *out = str_head(t->in, (size_t)n);
    t->in = str_from(t->in, (size_t)n);
}

bool thrift_next(struct thrift *t, struct thrift_field *field) {
    must(field->id >= 0);
    uint8_t head = take_byte(t);
    if (!head || t->failed) return false;
    int64_t id = head >> 4 ? field->id + (head >> 4) : take_zigzag(t);
    if (id <= 0 || id > 0x7fff) fail(t);
    field->type = head & 15;
    field->id = t->failed ? 0 : (int)id;
    return !t->failed;
}

int64_t thrift_int(struct thrift *t, enum thrift_type type) {
    if (type == THRIFT_BYTE) return (int8_t)take_byte(t);
    if (type > THRIFT_BYTE && type < THRIFT_DOUBLE) return take_zigzag(t);
    fail(t);
    return 0;
}

struct str thrift_binary(struct thrift *t, enum thrift_type type) {
    struct str out = STR_NULL;
    if (type == THRIFT_BINARY) {
        take_raw(t, take_varint(t), &out);
    } else {
        fail(t);
    }
    return out;
}

static size_t take_list_head(struct thrift *t, enum thrift_type *items) {
    uint8_t head = take_byte(t);
    uint64_t n = head >> 4 == 15 ? take_varint(t) : head >> 4;
    *items = head & 15;
    if (n > t->in.n) { /* each takes a byte at least: no count makes anybody reserve more than a multiple of the input */
        fail(t);
        return 0;
    }
    return (size_t)n;
}

size_t thrift_list(struct thrift *t, enum thrift_type type, enum thrift_type items) {
    enum thrift_type found = items;
    size_t n = type == THRIFT_LIST ? take_list_head(t, &found) : 0;
    if (type != THRIFT_LIST || (n && found != items)) {
        fail(t);
        return 0;
    }
    return n;
}

static void skip(struct thrift *t, enum thrift_type type, unsigned depth);

static void skip_items(struct thrift *t, unsigned depth) {
    enum thrift_type items;
    size_t n = take_list_head(t, &items);
    bool flag = items == THRIFT_TRUE || items == THRIFT_FALSE; /* a byte each here, none as fields */
    for (size_t i = 0; i < n && !t->failed; i++) skip(t, flag ? THRIFT_BYTE : items, depth);
}

static void skip_map(struct thrift *t, unsigned depth) {
    uint64_t n = take_varint(t);
    uint8_t types = n ? take_byte(t) : 0;
    if (n > t->in.n) fail(t);
    for (uint64_t i = 0; i < n && !t->failed; i++) {
        skip(t, types >> 4, depth);
        skip(t, types & 15, depth);
    }
}

static void skip_struct(struct thrift *t, unsigned depth) {
    struct thrift_field field = {0};
    while (thrift_next(t, &field)) skip(t, field.type, depth);
}

static void skip(struct thrift *t, enum thrift_type type, unsigned depth) {
    struct str raw;
    if (depth >= DEPTH_MAX) {
        fail(t);
        return;
    }
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE: return;
    case THRIFT_DOUBLE: take_raw(t, 8, &raw); return;
    case THRIFT_BINARY: thrift_binary(t, type); return;
    case THRIFT_LIST:
    case THRIFT_SET: skip_items(t, depth + 1); return;
    case THRIFT_MAP: skip_map(t, depth + 1); return;
    case THRIFT_STRUCT: skip_struct(t, depth + 1); return;
    default: thrift_int(t, type); return; /* fails on what is no type */
    }
}

void thrift_skip(struct thrift *t, enum thrift_type type) { skip(t, type, 0); }
