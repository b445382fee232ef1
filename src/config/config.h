/* Config: cupel.yaml of a project folder, read into one typed, immutable value.
 *
 * Every option is one row of a table (options.c: name, type, where it is kept, default, limits, description); the parser, docs/options.md and
 * docs/cupel.schema.json come from the same rows. One reading reports all that is wrong, each with line and column. `${NAME}`, `${NAME:-default}` and
 * `${file:/run/secrets/x}` are expanded inside scalars; a value that came from one of them is never quoted in a message.
 *
 * Ownership: a config and all it points to live until config_free; nothing is changed after loading, so any thread may read it. Lists have a count (`_n`).
 * Texts that were not given are NULL unless the table has a default. Paths are already joined to the project folder when they were relative. */
#ifndef CUPEL_CONFIG_CONFIG_H
#define CUPEL_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "host/host.h"

#define CONFIG_FILE "cupel.yaml"
#define CONFIG_FILE_BYTES_MAX (1u << 20) /* of cupel.yaml; one secret file: 64 KiB */
#define CONFIG_NAME_MAX 63 /* of streams and sources: [a-z][a-z0-9_]{0,62} */

struct yaml_node; /* yaml.h */

/* ---- what the options mean ---- */

enum config_loopback { LOOPBACK_TOKEN, LOOPBACK_OPEN };
enum config_tls_mode { TLS_UNSET, TLS_OFF, TLS_ON }; /* UNSET: plain, loopback only; OFF: plain, anywhere, said in words */
enum config_store { STORE_LOCAL, STORE_S3 };
enum config_accept { ACCEPT_JSON, ACCEPT_ANY };
enum config_dedupe { DEDUPE_NONE, DEDUPE_PATH, DEDUPE_HEADER, DEDUPE_BODY };
enum config_policy { PROTECT_ENCRYPT, PROTECT_TOKENISE, PROTECT_MASK };
enum config_source_type { SOURCE_WEBHOOK, SOURCE_LANDING, SOURCE_POLL };
enum config_scheme { SCHEME_SHOPIFY, SCHEME_STANDARD_WEBHOOKS, SCHEME_HMAC_SHA256, SCHEME_TOKEN, SCHEME_BASIC, SCHEME_NONE };
enum config_signature_encoding { SIGNATURE_HEX, SIGNATURE_BASE64 };
enum config_format { FORMAT_AUTO, FORMAT_CSV, FORMAT_TSV, FORMAT_JSON, FORMAT_NDJSON, FORMAT_PARQUET, FORMAT_LINES };
enum config_ready { READY_QUIET, READY_RENAME };
enum config_tristate { TRI_AUTO, TRI_YES, TRI_NO };
enum config_log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR }; /* numbers equal enum log_level */
enum config_log_format { LOG_FORMAT_HUMAN, LOG_FORMAT_JSON };
enum config_catch_up { CATCH_UP_NONE, CATCH_UP_LAST, CATCH_UP_ALL };

struct config_auth {
    enum config_loopback loopback;
};

struct config_tls {
    enum config_tls_mode mode;
    const char *cert, *key; /* PEM files; both or none */
};

struct config_flush {
    uint64_t bytes;
    uint64_t seconds;
};

struct config_lake {
    enum config_store store;
    const char *path; /* local: the folder */
    const char *bucket, *prefix, *endpoint, *region, *access_key, *secret_key; /* s3 */
    struct config_flush flush; /* of streams that give none */
    int64_t snapshot_retention_ms;
    uint64_t publish_seconds; /* of lake copies of warehouse tables */
    uint64_t target_file_bytes;
};

struct config_log {
    int64_t retention_ms;
    uint64_t max_bytes, segment_bytes, reserve_bytes;
};

struct config_limits {
    uint64_t body_bytes, decompressed_bytes, bodies_bytes, record_bytes, records_per_request;
    uint64_t connections, queue_requests, queue_bytes;
    int64_t header_time_ms, idle_time_ms;
    uint64_t http_threads, http_workers; /* http_threads 0: one per core */
};

struct config_sql {
    uint64_t memory_bytes;
    uint64_t threads; /* 0: one per core */
    uint64_t queries, query_seconds, wait_seconds, stall_seconds;
    uint64_t queries_per_token; /* 0: a third of queries */
};

struct config_flow_settings { /* `flow:` */
    int64_t tick_ms;
    uint64_t concurrency;
    int64_t history_ms; /* how long runs are kept */
    int64_t backoff_max_ms; /* of models that fail by themselves */
};

struct config_logging {
    enum config_log_level level;
    enum config_log_format format;
    uint64_t file_bytes, files; /* data/logs: size of one file and how many are kept */
};

struct config_protect { /* one path with its policy */
    const char *path; /* JSON path in the payload; a column of landing tables */
    enum config_policy policy;
    int line;
};

struct config_protection {
    const struct config_protect *paths;
    size_t paths_n;
    const char *subject; /* JSON path of whom it is about; NULL */
};

struct config_dedupe_key {
    enum config_dedupe kind;
    const char *name; /* the JSON path, or the header's name in lower case; else NULL */
};

struct config_stream {
    const char *name;
    int line; /* where it stands in cupel.yaml; 0: made by default */
    uint64_t partitions;
    const char *key; /* JSON path, NULL: no key but Cupel-Key */
    struct config_dedupe_key dedupe;
    int64_t dedupe_window_ms; /* given or default; meaningful when dedupe.kind is not DEDUPE_NONE */
    enum config_accept accept;
    struct config_protection protect;
    int64_t retention_ms; /* of bronze; 0: for ever */
    struct config_flush flush; /* effective: the lake's when not given */
    const char *description;
    const struct yaml_node *node; /* private: its settings; NULL: made by default */
};

struct config_source {
    const char *name;
    int line;
    enum config_source_type type;
    const char *stream; /* target stream; NULL for landing sources with `table` */
    const char *description;

    /* webhook */
    enum config_scheme scheme;
    const char *const *secrets; /* `secret` and `secrets` together, newest first as written */
    size_t secrets_n;
    const char *header; /* of the signature (hmac-sha256); default X-Signature */
    enum config_signature_encoding encoding;
    const char *prefix; /* before the signature, as in "sha256="; default "" */
    const char *timestamp_header; /* the signed text is then "<timestamp>.<body>"; NULL: the body alone */
    const char *signed_text; /* "v0:{timestamp}:{body}": what is signed instead; NULL */
    const char *verify_token; /* of set-up questions; NULL: they are refused */
    int64_t tolerance_ms; /* of timestamps */
    const char *token_header, *token_query; /* scheme token: where it stands */
    const char *user, *password; /* scheme basic */
    enum config_accept accept;
    const char *const *keep_headers; /* lower case; kept with the event besides the standard ones */
    size_t keep_headers_n;
    uint64_t answer; /* HTTP code of success */

    /* landing */
    const char *path; /* folder */
    const char *table; /* "bronze.pos", or NULL when `stream` is given */
    enum config_format format;
    const char *delimiter, *quote, *escape; /* NULL: detected; "" (quote, escape): none; else one character */
    enum config_tristate has_header;
    const char *file_encoding; /* NULL: detected */
    const char *const *nulls; /* texts that are NULL besides the empty unquoted cell */
    size_t nulls_n;
    uint64_t record_bytes_max, columns_max, file_bytes_max;
    const char *const *columns; /* that the table has from the start */
    size_t columns_n;
    enum config_ready ready;
    int64_t quiet_ms; /* unchanged for so long = complete */
    struct config_protection protect;

    /* poll */
    const char *url;
    int64_t every_ms, timeout_ms, backoff_max_ms;
    const char *const *request_headers; /* "Name: value" */
    size_t request_headers_n;
    const char *items; /* JSON path of the list in the answer; NULL: the answer itself */

    const struct yaml_node *node; /* private: where it stands */
};

struct config_step {
    const char *name;
    const char *const *models; /* selectors; exactly one of models, sql, flow is given */
    size_t models_n;
    const char *sql; /* one SELECT: fails when its first value is false */
    const char *flow; /* runs that flow and waits for it */
    const char *const *needs; /* steps that must be done (or skipped by skip_if) first */
    size_t needs_n;
    uint64_t retries;
    int64_t backoff_ms; /* before the first retry; doubles */
    int64_t timeout_ms; /* of one attempt; 0: none */
    const char *on_failure; /* step that runs only when this one failed */
    const char *skip_if; /* one SELECT: skipped when its first value is true */
    const struct yaml_node *node; /* private */
};

struct config_flow {
    const char *name;
    int line;
    const char *schedule; /* cron, or NULL */
    const char *timezone; /* of the schedule; the project's when not given */
    const char *after; /* runs when that flow is done */
    const char *const *on; /* tables whose advance starts it */
    size_t on_n;
    const char *const *models; /* selectors; empty when there are steps */
    size_t models_n;
    const struct config_step *steps; /* a flow with models has one, called "models" */
    size_t steps_n;
    enum config_catch_up catch_up;
    bool exclusive; /* its models do not run by themselves */
    const char *description;
    const struct yaml_node *node; /* private */
};

/* A main key that is known and belongs to a later version: kept as it stands. */
struct config_later {
    const char *key; /* "handlers" */
    const struct yaml_node *node; /* expanded like everything else */
    size_t entries;
    int line;
};

struct config {
    const char *dir; /* project folder as given */
    const char *file; /* "<dir>/cupel.yaml" */
    const char *data_dir; /* "<dir>/data" */
    const char *project, *timezone, *listen;
    struct config_auth auth;
    struct config_tls tls;
    struct config_lake lake;
    struct config_log log;
    struct config_limits limits;
    struct config_sql sql;
    struct config_logging logging;
    struct config_flow_settings flow;
    const struct config_stream *streams;
    size_t streams_n;
    const struct config_source *sources;
    size_t sources_n;
    const struct config_flow *flows;
    size_t flows_n;
    const struct config_later *later;
    size_t later_n;
    struct arena *arena; /* private: all memory of this value */
};

/* ---- problems ---- */

struct config_problem {
    int line, column; /* from 1; 0: the file as a whole */
    bool warning; /* true: said by `check`, does not stop anything */
    char *file; /* where it stands; NULL: the file that config_problems_write is given */
    char *text; /* one sentence without the place */
};

struct config_problems { /* zero-initialised by the caller; freed with config_problems_free */
    struct config_problem *list; /* sorted by file, line and column after loading */
    size_t n, cap;
    size_t errors; /* how many are not warnings */
    bool cut; /* more than CONFIG_PROBLEMS_MAX were found */
    const char *file; /* what is being read: copied into each problem that is added; NULL: cupel.yaml */
};

#define CONFIG_PROBLEMS_MAX 200

void config_problems_free(struct config_problems *problems);
/* One line each, "cupel.yaml:12:5: unknown key …", warnings as "cupel.yaml:3:1: warning: …"; `file` is the name to print. */
void config_problems_write(const struct config_problems *problems, const char *file, struct buf *out);
/* For other checks of the same run (models, connectors): set problems->file first. Threads: one at a time. */
void config_problems_sort(struct config_problems *problems);
void config_problem_add(struct config_problems *problems, bool warning, int line, int column, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* ---- loading ---- */

/* Where `${…}` comes from. NULL functions: nothing is defined. */
struct config_environment {
    void *context;
    const char *(*variable)(void *context, const char *name); /* NULL: not set */
    enum status (*file)(void *context, struct arena *arena, const char *path, struct str *out, struct err *err); /* content of a secret file */
};

/* Reads <dir>/cupel.yaml with the process' environment. E_NOT_FOUND: no such file (says how to make one); E_CONFIG: at least one error, all of them in
 * *problems, and err->text has the first one as a line. Warnings are in *problems also when OK. */
enum status config_load(const struct host *host, const char *dir, struct config **out, struct config_problems *problems, struct err *err);
/* The same from memory: for tests, fuzzing and editors. */
enum status config_parse(
    struct str text, const char *dir, const struct config_environment *environment, struct config **out, struct config_problems *problems, struct err *err);
/* A project without any file: all defaults, no streams, no sources. Never fails. */
struct config *config_defaults(const char *dir);
void config_free(struct config **config);

const struct config_stream *config_find_stream(const struct config *config, struct str name); /* NULL when absent */
const struct config_source *config_find_source(const struct config *config, struct str name);
const struct config_flow *config_find_flow(const struct config *config, struct str name);
/* True for 127.0.0.0/8, ::1, localhost and unix: sockets. `listen` as in cupel.yaml. */
bool config_listen_is_loopback(const char *listen);
bool config_name_valid(struct str name); /* [a-z][a-z0-9_]{0,62} */

/* ---- from the option table ---- */

/* Effective settings of a stream as a JSON object, without secrets: what ledger_stream_ensure keeps and /v1/streams shows. */
void config_stream_json(const struct config_stream *stream, struct buf *out);
/* The same of a source (secrets as "***"). */
void config_source_json(const struct config_source *source, struct buf *out);
void config_flow_json(const struct config_flow *flow, struct buf *out);
/* All effective settings (secrets as "***"): `cupel check --json`. */
void config_json(const struct config *config, struct buf *out);
/* For SIGHUP: dotted names of the options that differ and need a restart, one per line; empty when the new one can be taken over as it is. */
void config_needs_restart(const struct config *old_config, const struct config *new_config, struct buf *out);
void config_write_options_md(struct buf *out); /* docs/options.md */
void config_write_json_schema(struct buf *out); /* docs/cupel.schema.json, draft 2020-12 */

/* Values as people write them, for messages: "retail" … */
const char *config_scheme_name(enum config_scheme scheme); /* "shopify" */
const char *config_source_type_name(enum config_source_type type);

/* ---- scaffold: the files of `cupel init DIR` ---- */

struct config_scaffold_file {
    const char *path; /* below DIR; ends in '/': a folder */
    const char *text;
};
/* template: "retail" or "empty"; the list is in the arena, its texts are static. E_INVALID names the templates. The project's name goes where a text has
 * "@PROJECT@", in quotes. */
enum status config_scaffold(struct arena *arena, const char *template_name, const struct config_scaffold_file **out, size_t *n, struct err *err);
/* Makes DIR and the files; E_CONFLICT when DIR already has a cupel.yaml; other files that exist stay as they are. The project's name is DIR's last part. */
enum status config_init(const struct host *host, const char *dir, const char *template_name, struct err *err);

#endif
