/* Inside of ingest: what its files share.
 *
 * Configuration is a `table` that never changes after it was made. A reload puts another one in place; the old ones are kept until ingest_close, because
 * requests under way still point into them and a reload costs a few kilobytes only.
 *
 * Locks: configure_lock (one reload at a time), scanners_lock, auth->lock. None is held while another is taken. */
#ifndef CUPEL_INGEST_PRIV_H
#define CUPEL_INGEST_PRIV_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/metrics.h"
#include "host/thread.h"
#include "http/signature.h"
#include "ingest/ingest.h"
#include "ingest/protect.h"
#include "ingest/records.h"

#define SOURCE_OF_API "http"
#define IDS_MAX 1000 /* in an answer */
#define HEADER_VALUE_MAX 1024 /* longer values of kept headers are cut */

struct stream_rules {
    const char *name;
    uint16_t number;
    struct str key; /* JSON path, n 0: none */
    enum config_dedupe dedupe;
    const char *dedupe_name; /* path or header name */
    enum config_accept accept;
    struct protect_rules protect;
    struct str secret; /* tokenise: 32 bytes */
    uint32_t key_id;
    bool key_protected;
    struct series *m_records, *m_duplicates, *m_bytes, *m_refused, *m_undeduped;
};

struct source_rules {
    const char *name;
    struct stream_rules *stream;
    enum config_scheme scheme;
    enum config_accept accept;
    struct secrets secrets;
    const char *header, *timestamp_header, *token_header, *token_query;
    struct str prefix, user, password, verify_token;
    struct str signed_text; /* "v0:{timestamp}:{body}"; p NULL: the body, or "{timestamp}.{body}" */
    enum signature_encoding encoding;
    int64_t tolerance_ms;
    const char *const *keep_headers;
    size_t keep_headers_n;
    int answer;
    struct series *m_rejected, *m_challenges;
};

struct table {
    struct arena *arena;
    struct map *streams, *sources; /* by name */
    const char *by_number[EVENT_STREAM_MAX + 1];
    struct table *retired; /* the one before */
};

struct scanner_slot {
    struct scanner_slot *next;
    struct json_scanner *scanner;
    bool grown; /* by a large record: not kept */
};

struct auth;

struct ingest {
    struct ingest_options options;
    struct record_limits limits;
    _Atomic(struct table *) table;
    mutex configure_lock;
    mutex scanners_lock;
    struct scanner_slot *scanners;
    struct auth *auth;
};

/* ingest.c */
struct stream_rules *find_stream(struct ingest *ingest, struct str name);
struct source_rules *find_source(struct ingest *ingest, struct str name);
enum status no_such_stream(struct str name, struct err *err);
struct scanner_slot *scanner_take(struct ingest *ingest);
void scanner_give(struct ingest *ingest, struct scanner_slot *slot);

/* append.c */

/* One request on its way into the log; in the request's arena. */
struct intake {
    struct ingest *ingest;
    struct arena *arena;
    struct stream_rules *stream;
    struct http_request *request; /* NULL: ingest_append */
    const char *source;
    struct str content_type; /* of records that are kept raw */
    struct str key; /* of all records (Cupel-Key), p NULL: by path */
    struct str dedupe_header; /* its value, p NULL: absent or not wanted */
    struct str headers; /* encoded */
    enum config_accept accept;
    bool whole_body; /* webhooks: the body is one record, kept byte for byte, of any JSON kind */
    int code; /* of success; 0: 202 with counts and ids */
    uint64_t bytes;
    uint32_t undeduped;
    struct stream_append append;
};
/* Cuts, checks and submits the request's body. Answers the request, now or later. */
void intake_run(struct intake *intake);
void post_stream(void *ingest, struct http_request *r); /* POST /v1/streams/{stream} */

/* headers.c */
/* Encodes the request's headers worth keeping: CloudEvents and trace headers, with `source` also those of known senders and its own list. Never credentials or
 * signatures. In the request's arena. */
struct str headers_keep(struct http_request *r, const struct source_rules *source);

/* hook.c, hook_check.c */
void hook(void *ingest, struct http_request *r); /* any method, /hooks/{source} */
enum status hook_check(const struct source_rules *source, struct http_request *r, int64_t now_ms, struct err *err);
/* hook_challenge.c: true when the request was one of the providers' set-up questions, and was answered. */
bool hook_question(const struct source_rules *source, struct http_request *r); /* before the signature: GET, OPTIONS, validationToken */
bool hook_question_signed(const struct source_rules *source, struct http_request *r, struct ingest *ingest); /* after it: url_verification */

/* read.c */
void get_streams(void *ingest, struct http_request *r);
void get_stream(void *ingest, struct http_request *r);
void get_events(void *ingest, struct http_request *r);

/* auth.c, token.c */
enum status auth_new(const struct ingest_options *options, struct auth **out, struct err *err);
void auth_free(struct auth **auth);
enum status auth_reload(struct auth *auth, struct err *err);
enum status auth_check(struct auth *auth, struct http_request *r, uint32_t access, struct err *err);
enum role role_parse(struct str text); /* ROLE_NONE when unknown */
const char *role_name(enum role role);
void get_tokens(void *ingest, struct http_request *r);
void post_token(void *ingest, struct http_request *r);
void delete_token(void *ingest, struct http_request *r);

#endif
