/* Poll: addresses that are asked again and again, whose answers become events of a stream.
 *
 * An answer is one JSON object (one event) or a list (one event each); an empty list, 204 and 304 are nothing new. The stream's own rules hold (key, dedupe,
 * protection), so an object that is seen again is a duplicate where the stream says so. Each record keeps its bytes.
 *
 * A source that fails is asked less often (doubling, with some chance in it, up to backoff_max_ms; Retry-After is obeyed), and never stops the others.
 * Threads: one per source, all functions from any thread. */
#ifndef CUPEL_CONNECT_POLL_H
#define CUPEL_CONNECT_POLL_H

#include "base/buf.h"
#include "base/err.h"
#include "connect/landing.h"
#include "host/host.h"

struct poll_source { /* not copied: lives until poll_stop */
    const char *name, *url, *stream; /* url: its query and user may be secrets, and are never shown */
    bool confidential; /* the stream protects fields: nothing of a refused record is logged */
    int64_t every_ms, timeout_ms, backoff_max_ms;
    const char *const *headers; /* "Name: value"; may hold secrets, never logged */
    size_t headers_n;
    const char *items; /* JSON path of the list in the answer; NULL: the answer itself */
    uint64_t answer_bytes_max; /* 0: 64 MiB */
};

struct poll_options {
    const struct host *host;
    const struct poll_source *sources;
    size_t sources_n;
    /* As landing_options.append: all or nothing, durable when OK; *bad names a refused payload. */
    enum status (*append)(void *context, const struct landing_append *append, uint32_t *accepted, size_t *bad, struct err *err);
    void *context;
};

struct poll;

struct poll *poll_open(const struct poll_options *options);
void poll_start(struct poll *poll); /* first questions are spread over `every` */
void poll_stop(struct poll **poll); /* breaks off a question under way; NULL is fine */

struct poll_outcome {
    int code; /* HTTP; 0: no answer */
    uint64_t records, accepted, refused;
};
/* `cupel source run NAME`: asks now, whatever the clock says. E_NOT_FOUND: no such source. E_UNAVAILABLE, E_TIMEOUT, E_INVALID (the answer): as it says. */
enum status poll_run_once(struct poll *poll, const char *source, struct poll_outcome *out, struct err *err);
/* `cupel source test NAME`: asks now and shows the first records; appends nothing. JSON object. */
enum status poll_test(struct poll *poll, const char *source, struct buf *out, struct err *err);
/* [{"name","type":"poll","url","stream","last_at","next_at","last_error",…}…] */
void poll_list_json(struct poll *poll, struct buf *out);

/* The records of an answer, as slices of `body`: for tests and fuzzing. *records is malloc'ed. E_INVALID says what is wrong with it. */
enum status poll_cut(struct str body, const char *items, struct str **records, size_t *n, struct err *err);

#endif
