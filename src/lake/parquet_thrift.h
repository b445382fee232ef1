/* Thrift's compact protocol, as far as Parquet's footers and page headers need it: read in place, with a sticky failure. */
#ifndef CUPEL_LAKE_PARQUET_THRIFT_H
#define CUPEL_LAKE_PARQUET_THRIFT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum thrift_type {
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_BYTE = 3, /* 4 to 6: wider integers */
    THRIFT_DOUBLE = 7,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_SET = 10,
    THRIFT_MAP = 11,
    THRIFT_STRUCT = 12
};

struct thrift {
    struct str in; /* what is left */
    bool failed; /* it does not end where it should, or is no thrift; all later reads give zeros */
};

/* A field of the struct under way. Begin with id 0; false at the struct's end or a failure. */
struct thrift_field {
    int id;
    enum thrift_type type;
};
bool thrift_next(struct thrift *t, struct thrift_field *field);

int64_t thrift_int(struct thrift *t, enum thrift_type type); /* of any width; fails when the field is no integer */
struct str thrift_binary(struct thrift *t, enum thrift_type type); /* points into the input */
/* Number of a list's items, each of which takes at least one byte; fails when they are of another type. */
size_t thrift_list(struct thrift *t, enum thrift_type type, enum thrift_type items);
void thrift_skip(struct thrift *t, enum thrift_type type);

#endif
