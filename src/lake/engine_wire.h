/* Engine wire: the messages between the server and the engine child, and their bytes. Private to the engine files.
 *
 * Control socket, server to child, in order: CONTROL_TABLE (one table at one version, under a number), CONTROL_FORGET (numbers no longer used),
 * CONTROL_CALL (a statement naming the table numbers it sees; the call's own socket comes with it). Child to server: CONTROL_READY once (its number: OK, or
 * why the warehouse cannot be opened), CONTROL_ENDED after each call. A call's socket, child to server: frames until ANSWER_END or ANSWER_ERROR; the server
 * sends nothing, closing cancels. The socket of a CALL_WORK goes both ways: the child answers ANSWER_END when its views are made; then each WORK_RUN of the
 * server gets ANSWER_DATA frames and ANSWER_END, or ANSWER_ERROR, and the session goes on until the server closes.
 *
 * Every message is a header of two u32, kind and length of the payload, then the payload. Both ends are the same binary on the same machine, so there is
 * no version; integers are little endian, texts are a u32 length and bytes. */
#ifndef CUPEL_LAKE_ENGINE_WIRE_H
#define CUPEL_LAKE_ENGINE_WIRE_H

#include "lake/engine.h"

#define WIRE_PAYLOAD_MAX (256u << 20)
#define ENGINE_INTERNAL_CALLS_MAX 4u /* internal statements at once, besides user queries */

enum wire_kind {
    CONTROL_TABLE = 1,
    CONTROL_FORGET,
    CONTROL_CALL,
    CONTROL_READY,
    CONTROL_ENDED,
    ANSWER_HEAD = 16, /* JSON of the columns */
    ANSWER_DATA, /* bytes of the result */
    ANSWER_COPIED, /* struct engine_copied */
    ANSWER_END, /* u64 rows; of a WORK_RUN: rows changed */
    ANSWER_ERROR, /* u32 status, text */
    WORK_RUN = 32, /* u32: the rows are wanted; text of the statements */
    WORK_COPY, /* a request of CALL_COPY: run in the session's transaction, answered as such a call is */
};

struct wire_header {
    uint32_t kind, length;
};

/* Reading a payload: sticky failure, zero values after it. Texts point into the payload. */
struct wire_in {
    const char *p;
    size_t n;
    bool failed;
};

uint32_t wire_u32(struct wire_in *in);
uint64_t wire_u64(struct wire_in *in);
struct str wire_str(struct wire_in *in); /* p NULL when the writer's was */
char *wire_cstr(struct wire_in *in, struct arena *arena);
void wire_put_str(struct buf *out, struct str s);
void wire_put_cstr(struct buf *out, const char *text);
void wire_begin(struct buf *out, enum wire_kind kind); /* starts a message in an empty buffer */
void wire_end(struct buf *out); /* sets its length */

/* A statement as it travels. */
enum engine_call_kind { CALL_QUERY = 1, CALL_COPY = 2, CALL_WORK = 3 };

/* A table of a work session: its definition travels with the call, since what a delta leaves of it is of use to nobody else. */
struct work_table {
    struct engine_table table; /* only the files that can hold wanted rows; log_offsets: where the log's part begins */
    int64_t from_us; /* rows received at or after; 0: all */
    const uint64_t *starts, *ends; /* per partition: offsets in [start, end) */
    uint16_t starts_n, ends_n;
    uint64_t id_start, id_before; /* landing tables: offsets of _event_id in [start, before); 0: no limit */
};

struct engine_request {
    uint64_t id;
    enum engine_call_kind kind;
    bool internal;
    bool stand_ins;
    int64_t time_ms; /* 0: none */
    log_position durable, index_from;
    const uint32_t *tables; /* numbers told before by CONTROL_TABLE */
    uint32_t tables_n;
    struct str sql;
    /* queries */
    const struct str *params;
    size_t params_n;
    enum result_format format;
    uint32_t rows_max, width_max;
    /* work sessions */
    const struct work_table *work;
    size_t work_n;
    /* copies */
    const char *path;
    const struct engine_column *columns;
    size_t columns_n;
    uint32_t row_group_rows;
};

void wire_put_request(struct buf *out, const struct engine_request *request);
bool wire_get_request(struct wire_in *in, struct arena *arena, struct engine_request *out);
void wire_put_table(struct buf *out, uint32_t number, const struct engine_table *table);
bool wire_get_table(struct wire_in *in, struct arena *arena, uint32_t *number, struct engine_table *out);
void wire_put_copied(struct buf *out, const struct engine_copied *copied);
bool wire_get_copied(struct wire_in *in, struct arena *arena, struct engine_copied *out);

#endif
