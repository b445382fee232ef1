/* What the files of the engine's server side share. Locks: see engine.c. */
#ifndef CUPEL_LAKE_ENGINE_SERVER_H
#define CUPEL_LAKE_ENGINE_SERVER_H

#include "base/map.h"
#include "host/thread.h"
#include "lake/engine_wire.h"

#define VERSIONS_KEPT 4 /* definitions of one table that the child keeps, for statements with older pins */

enum child_state { CHILD_NONE, CHILD_STARTING, CHILD_UP, CHILD_GONE };

/* Who waits with whom for a place among the statements that run at once. */
enum engine_line { LINE_USER, LINE_INTERNAL, LINE_WORK, LINES };

/* What the child was told about one table. */
struct told_table {
    struct {
        uint64_t version;
        uint32_t number; /* 0: free */
        uint64_t used; /* tick of the last statement that named it */
    } versions[VERSIONS_KEPT];
};

struct engine_call {
    struct engine *engine;
    struct engine_call *next, *prev; /* in engine->calls, until the child said that it ended */
    uint64_t id, child; /* child: which start of it; 0: no longer with it */
    uint64_t tried; /* the child of the last attempt to start */
    int fd;
    enum engine_line line; /* that its place is of */
    bool finished; /* answer read to its end, or to its error */
    bool closed; /* engine_call_end was called; memory goes when the child is done too */
    bool lost; /* the child's end closed before the answer's end: err says why */
    bool overdue; /* its child was killed because it did not end in time */
    int64_t give_up_ms; /* monotonic; 0: none. By then the child should have answered, or ended what was cancelled */
    uint64_t data_left; /* of the current ANSWER_DATA frame */
    uint64_t rows;
    struct buf head, frame;
    struct err err; /* why it failed, once it did */
};

/* Statements that may run at once, and those that wait for that, longest first. Under the engine's lock. */
struct place_waiter {
    struct place_waiter *next;
    bool served;
};

struct place_line {
    uint32_t taken;
    struct place_waiter *first;
};

struct engine {
    struct engine_options options;
    struct arena *arena;
    mutex lock, send_lock;
    condition changed;
    enum child_state state;
    uint64_t child; /* number of starts so far */
    struct host_process process;
    int control;
    struct thread monitor;
    enum status warehouse; /* as the newest child opened it */
    char why_gone[160];
    uint32_t failures; /* deaths in a row without one call that worked */
    int64_t start_after_ms;
    struct map *told; /* "schema.name" -> struct told_table, of this child */
    uint32_t table_numbers;
    uint64_t ticks, call_ids;
    struct engine_call *calls;
    struct place_line lines[LINES];
    bool ending, renewing; /* renewing: ended on purpose, the next call starts another */
    uint64_t died;
    double cpu_before; /* of children that are gone */
    double cpu_now;
};

/* Takes a place, starts the child when it is not up, and hands it the statement. On OK the call is the caller's, to be ended by engine_call_end. */
enum status engine_call_start(struct engine *engine, struct engine_request *request, const struct engine_view *view, struct engine_call **out, struct err *err);
/* Reads the next frame's header, and its payload unless it is data. A frame ANSWER_ERROR is returned as its status. */
enum status engine_call_frame(struct engine_call *call, struct wire_header *header, struct err *err);
/* Reads the answer to a COPY to its end. */
enum status engine_call_copied(struct engine_call *call, struct arena *arena, const struct engine_copy *copy, struct engine_copied *out, struct err *err);

#endif
