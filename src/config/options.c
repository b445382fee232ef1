/* The option table: every key of cupel.yaml, once. Parser, documentation and schema are made from these rows, so they cannot drift apart. */
#include <stddef.h>

#include "config/config_priv.h"

#define KIB INT64_C(1024)
#define MIB (INT64_C(1024) * 1024)
#define GIB (INT64_C(1024) * 1024 * 1024)
#define SECOND INT64_C(1000)
#define HOUR (INT64_C(3600) * 1000)
#define DAY (INT64_C(24) * 3600 * 1000)
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* name, type, field, default, min, max, choices, flags, description */
#define ROW(owner, name_, type_, field_, fallback_, min_, max_, choices_, flags_, text_) \
    { \
        .name = (name_), .type = OPTION_##type_, .offset = offsetof(struct owner, field_), .fallback = (fallback_), .min = (min_), .max = (max_), \
        .choices = (choices_), .flags = (flags_), .description = (text_) \
    }
#define SECTION_ROW(owner, name_, field_, section_, flags_, text_) \
    { .name = (name_), .type = OPTION_SECTION, .offset = offsetof(struct owner, field_), .flags = (flags_), .section = (section_), .description = (text_) }

static const struct option AUTH[] = {
    ROW(config_auth, "loopback", CHOICE, loopback, "token", 0, 0, "token|open", OPTION_RESTART,
        "Whether requests from this machine need a token. `open` lets them in without one, but not those that came through a proxy or from a web page of "
        "another "
        "origin."),
};
static const struct option_section AUTH_SECTION = {"auth", "Access", AUTH, COUNT(AUTH)};

static const struct option TLS[] = {
    ROW(config_tls, "cert", PATH, cert, NULL, 1, 4096, NULL, OPTION_REQUIRED | OPTION_RESTART, "PEM file with the certificate and its chain."),
    ROW(config_tls, "key", PATH, key, NULL, 1, 4096, NULL, OPTION_REQUIRED | OPTION_RESTART, "PEM file with the private key."),
};
const struct option_section config_tls_section = {"tls", "TLS", TLS, COUNT(TLS)};

static const struct option FLUSH[] = {
    ROW(config_flush, "bytes", BYTES, bytes, "128MB", 64 * KIB, 4 * GIB, NULL, 0,
        "A stream is written to its bronze table when so much of it waits in the log."),
    ROW(config_flush, "seconds", NUMBER, seconds, "300", 1, 86400, NULL, 0, "Or when its oldest waiting event is so old."),
};
static const struct option_section FLUSH_SECTION = {"lake.flush", "Flush", FLUSH, COUNT(FLUSH)};
static const struct option_section STREAM_FLUSH_SECTION = {"streams.<name>.flush", "Flush of one stream", FLUSH, COUNT(FLUSH)};

static const struct option LAKE[] = {
    ROW(config_lake, "store", CHOICE, store, "local", 0, 0, "local|s3", OPTION_RESTART, "Where tables are kept. `s3` comes with a later version."),
    ROW(config_lake, "path", PATH, path, "data/lake", 1, 4096, NULL, OPTION_RESTART, "Folder of the tables (local)."),
    ROW(config_lake, "bucket", TEXT, bucket, NULL, 1, 255, NULL, OPTION_RESTART, "Bucket (s3)."),
    ROW(config_lake, "prefix", TEXT, prefix, NULL, 1, 1024, NULL, OPTION_RESTART, "Key prefix in the bucket (s3)."),
    ROW(config_lake, "endpoint", URL, endpoint, NULL, 1, 2048, NULL, OPTION_RESTART, "Address of the object store, when it is not AWS (s3)."),
    ROW(config_lake, "region", TEXT, region, NULL, 1, 64, NULL, OPTION_RESTART, "Region (s3)."),
    ROW(config_lake, "access_key", SECRET, access_key, NULL, 1, 1024, NULL, OPTION_RESTART, "Access key id (s3)."),
    ROW(config_lake, "secret_key", SECRET, secret_key, NULL, 1, 1024, NULL, OPTION_RESTART, "Secret access key (s3)."),
    SECTION_ROW(config_lake, "flush", flush, &FLUSH_SECTION, 0, "When waiting events are written to bronze, for streams that say nothing else."),
    ROW(config_lake, "snapshot_retention", DURATION, snapshot_retention_ms, "5d", HOUR, 3650 * DAY, NULL, OPTION_RESTART,
        "How long old table snapshots can be read. The newest 10 stay in any case."),
    ROW(config_lake, "publish_seconds", NUMBER, publish_seconds, "30", 1, 86400, NULL, OPTION_RESTART,
        "How often lake copies of the warehouse's tables (models with store: lake or both) are brought up to date."),
    ROW(config_lake, "target_file", BYTES, target_file_bytes, "128MB", MIB, 4 * GIB, NULL, OPTION_RESTART,
        "Size to which the files of closed hours are packed."),
};
static const struct option_section LAKE_SECTION = {"lake", "Lake", LAKE, COUNT(LAKE)};

static const struct option LOG[] = {
    ROW(config_log, "retention", DURATION, retention_ms, "7d", SECOND, 3650 * DAY, NULL, OPTION_RESTART,
        "How long events stay in the log after they are in bronze. Consumers that are slower read on from bronze."),
    ROW(config_log, "max_bytes", BYTES, max_bytes, "20GB", 16 * MIB, 1024 * 1024 * GIB, NULL, OPTION_RESTART,
        "Disk budget of the log. When it is full of events that are not in bronze yet, new ones get 503."),
    ROW(config_log, "segment_bytes", BYTES, segment_bytes, "128MiB", MIB, 2 * GIB, NULL, OPTION_RESTART, "Size of one file of the log."),
    ROW(config_log, "reserve_bytes", BYTES, reserve_bytes, "256MiB", MIB, 1024 * GIB, NULL, OPTION_RESTART,
        "Free space of the disk that the log leaves alone; below it new events get 503."),
};
static const struct option_section LOG_SECTION = {"log", "Log", LOG, COUNT(LOG)};

static const struct option LIMITS[] = {
    ROW(config_limits, "body_bytes", BYTES, body_bytes, "16MiB", KIB, GIB, NULL, OPTION_RESTART, "Largest request body as received."),
    ROW(config_limits, "decompressed_bytes", BYTES, decompressed_bytes, "64MiB", KIB, 2 * GIB, NULL, OPTION_RESTART,
        "Largest request body after decompression."),
    ROW(config_limits, "bodies_bytes", BYTES, bodies_bytes, "512MiB", MIB, 64 * GIB, NULL, OPTION_RESTART,
        "All request bodies in memory together; beyond it requests get 503."),
    ROW(config_limits, "record_bytes", BYTES, record_bytes, "8MiB", 256, 64 * MIB, NULL, OPTION_RESTART, "Largest single event."),
    ROW(config_limits, "records_per_request", NUMBER, records_per_request, "100000", 1, 1000000, NULL, OPTION_RESTART, "Most events in one request."),
    ROW(config_limits, "connections", NUMBER, connections, "12000", 16, 1000000, NULL, OPTION_RESTART, "Most connections at once; more are refused."),
    ROW(config_limits, "queue_requests", NUMBER, queue_requests, "8192", 16, 1000000, NULL, OPTION_RESTART,
        "Requests that wait for the log; beyond it requests get 503."),
    ROW(config_limits, "queue_bytes", BYTES, queue_bytes, "256MiB", MIB, 64 * GIB, NULL, OPTION_RESTART,
        "Bytes that wait for the log; beyond it requests get 503."),
    ROW(config_limits, "header_time", DURATION, header_time_ms, "10s", 100, HOUR, NULL, OPTION_RESTART, "Time for the head of a request to arrive."),
    ROW(config_limits, "idle_time", DURATION, idle_time_ms, "60s", 100, HOUR, NULL, OPTION_RESTART, "Time after which a silent connection is closed."),
    ROW(config_limits, "http_threads", NUMBER, http_threads, "0", 1, 256, NULL, OPTION_RESTART | OPTION_ZERO_OK,
        "Threads that serve connections; 0: one per core."),
    ROW(config_limits, "http_workers", NUMBER, http_workers, "32", 1, 256, NULL, OPTION_RESTART,
        "Threads for requests that take long or wait for their turn, as queries."),
};
static const struct option_section LIMITS_SECTION = {"limits", "Limits", LIMITS, COUNT(LIMITS)};

static const struct option SQL[] = {
    ROW(config_sql, "memory", BYTES, memory_bytes, "1GiB", 64 * MIB, 1024 * GIB, NULL, OPTION_RESTART,
        "Memory of the engine. It counts only part of what it uses: plan for the double."),
    ROW(config_sql, "threads", NUMBER, threads, "0", 1, 256, NULL, OPTION_RESTART | OPTION_ZERO_OK, "Threads of the engine; 0: one per core."),
    ROW(config_sql, "queries", NUMBER, queries, "8", 1, 256, NULL, OPTION_RESTART, "Queries at once; more wait."),
    ROW(config_sql, "query_seconds", NUMBER, query_seconds, "300", 1, 86400, NULL, OPTION_RESTART, "Time of one query; then it is cancelled."),
    ROW(config_sql, "queries_per_token", NUMBER, queries_per_token, "0", 1, 256, NULL, OPTION_ZERO_OK,
        "Of these, for one token that is not an admin's; 0: a third of `queries`, at least 1. As many more of it wait, further ones get 503 at once."),
    ROW(config_sql, "wait_seconds", NUMBER, wait_seconds, "10", 0, 3600, NULL, OPTION_RESTART, "How long a query waits for its turn; then 503. 0: not at all."),
    ROW(config_sql, "stall_seconds", NUMBER, stall_seconds, "30", 1, 86400, NULL, 0, "A result of which the client reads nothing for so long is broken off."),
};
static const struct option_section SQL_SECTION = {"sql", "SQL", SQL, COUNT(SQL)};

static const struct option LOGGING[] = {
    ROW(config_logging, "level", CHOICE, level, "info", 0, 0, "debug|info|warn|error", 0, "Records below it are dropped."),
    ROW(config_logging, "format", CHOICE, format, "human", 0, 0, "human|json", 0, "Form of the lines on stderr. Those in data/logs are always JSON."),
    ROW(config_logging, "file_bytes", BYTES, file_bytes, "16MiB", 64 * KIB, GIB, NULL, OPTION_RESTART, "Size at which a file in data/logs is ended."),
    ROW(config_logging, "files", NUMBER, files, "8", 1, 1000, NULL, OPTION_RESTART, "Files that are kept."),
};
static const struct option_section LOGGING_SECTION = {"logging", "Own logs", LOGGING, COUNT(LOGGING)};

static const struct option FLOW_SETTINGS[] = {
    ROW(config_flow_settings, "tick", DURATION, tick_ms, "250ms", 20, 60 * SECOND, NULL, 0, "How often inputs of models and schedules are looked at."),
    ROW(config_flow_settings, "concurrency", NUMBER, concurrency, "2", 1, 64, NULL, OPTION_RESTART, "Models and steps of flows that run at once."),
    ROW(config_flow_settings, "history", DURATION, history_ms, "30d", HOUR, 3650 * DAY, NULL, 0, "How long runs are kept for looking at."),
    ROW(config_flow_settings, "backoff_max", DURATION, backoff_max_ms, "5m", SECOND, DAY, NULL, 0,
        "A model that fails is tried again after 1 s, then 2 s, 4 s, … up to this."),
};
static const struct option_section FLOW_SETTINGS_SECTION = {"flow", "How flows run", FLOW_SETTINGS, COUNT(FLOW_SETTINGS)};

static const struct option STREAM[] = {
    ROW(config_stream, "partitions", NUMBER, partitions, "1", 1, 1024, NULL, 0,
        "Number of partitions: events of one key stay in one of them, in order. May grow, never shrink."),
    ROW(config_stream, "key", FIELD, key, NULL, 1, 256, NULL, 0, "JSON path of the key, as `customer.id`. The header Cupel-Key goes before it."),
    ROW(config_stream, "dedupe", DEDUPE, dedupe, "none", 0, 0, NULL, 0,
        "What makes two events the same one: a JSON path, `header:<name>`, `body`, or `none`. Events where the path is missing are kept and counted."),
    ROW(config_stream, "dedupe_window", DURATION, dedupe_window_ms, "24h", SECOND, 3650 * DAY, NULL, 0,
        "How long an event is remembered for that; at most the log's retention."),
    ROW(config_stream, "accept", CHOICE, accept, "json", 0, 0, "json|any", 0, "`json`: anything else is refused. `any`: kept as it came."),
    ROW(config_stream, "protect", PROTECT, protect, NULL, 0, 0, NULL, 0,
        "Personal fields, by JSON path: `tokenise` (the same value gives the same token), `mask` (gone), before anything is written. `subject:` is the path of "
        "the "
        "person's id. `encrypt` comes with a later version."),
    ROW(config_stream, "retention", DURATION, retention_ms, "3650d", DAY, 36500 * DAY, NULL, OPTION_ZERO_OK, "How long events stay in bronze; 0: for ever."),
    SECTION_ROW(config_stream, "flush", flush, &STREAM_FLUSH_SECTION, 0, "When waiting events are written to bronze; the lake's where not given."),
    ROW(config_stream, "description", TEXT, description, NULL, 0, 4096, NULL, 0, "A sentence for people."),
};
const struct option_section config_stream_section = {"streams.<name>", "Streams", STREAM, COUNT(STREAM)};

#define WEBHOOK OPTION_WEBHOOK
#define LANDING OPTION_LANDING
#define POLL OPTION_POLL
static const struct option SOURCE[] = {
    ROW(config_source, "name", NAME, name, NULL, 1, CONFIG_NAME_MAX, NULL, OPTION_REQUIRED,
        "Name of the source; of webhooks also the last part of their address."),
    ROW(config_source, "type", CHOICE, type, NULL, 0, 0, "webhook|landing|poll", OPTION_REQUIRED,
        "`webhook`: requests to /hooks/<name>. `landing`: files in a folder. `poll`: an address that is asked for JSON again and again."),
    ROW(config_source, "stream", NAME, stream, NULL, 1, CONFIG_NAME_MAX, NULL, 0, "The stream it feeds. Landing sources give this or `table`."),
    ROW(config_source, "description", TEXT, description, NULL, 0, 4096, NULL, 0, "A sentence for people."),

    ROW(config_source, "scheme", CHOICE, scheme, NULL, 0, 0, "shopify|standard-webhooks|hmac-sha256|token|basic|none", WEBHOOK | OPTION_REQUIRED,
        "How requests prove where they come from. `none` takes them from anybody."),
    ROW(config_source, "secret", SECRETS, secrets, NULL, 1, 1024, NULL, WEBHOOK, "The shared secret (of `token`: the token)."),
    ROW(config_source, "secrets", SECRETS, secrets, NULL, 1, 1024, NULL, WEBHOOK, "Several secrets, while one is being replaced; any of them is good."),
    ROW(config_source, "header", HEADER, header, "X-Signature", 1, 128, NULL, WEBHOOK, "Header with the signature (hmac-sha256)."),
    ROW(config_source, "encoding", CHOICE, encoding, "hex", 0, 0, "hex|base64", WEBHOOK, "How the signature is written (hmac-sha256)."),
    ROW(config_source, "prefix", TEXT, prefix, "", 0, 64, NULL, WEBHOOK, "Text before the signature, as `sha256=` (hmac-sha256)."),
    ROW(config_source, "timestamp_header", HEADER, timestamp_header, NULL, 1, 128, NULL, WEBHOOK,
        "Header with the time of sending; then `<timestamp>.<body>` is what is signed (hmac-sha256)."),
    ROW(config_source, "signed", TEXT, signed_text, NULL, 1, 128, NULL, WEBHOOK,
        "What is signed, with `{timestamp}` and `{body}`, as `v0:{timestamp}:{body}` (hmac-sha256); default: see `timestamp_header`."),
    ROW(config_source, "verify_token", SECRET, verify_token, NULL, 1, 256, NULL, WEBHOOK,
        "The token that a sender repeats when it sets the webhook up (`hub.verify_token`: Facebook, WhatsApp, Instagram)."),
    ROW(config_source, "tolerance", DURATION, tolerance_ms, "5m", SECOND, DAY, NULL, WEBHOOK, "How far a timestamp may be from now."),
    ROW(config_source, "token_header", HEADER, token_header, NULL, 1, 128, NULL, WEBHOOK, "Header with the token (token)."),
    ROW(config_source, "token_query", TEXT, token_query, NULL, 1, 128, NULL, WEBHOOK, "Query parameter with the token (token)."),
    ROW(config_source, "user", TEXT, user, NULL, 1, 256, NULL, WEBHOOK, "User name (basic)."),
    ROW(config_source, "password", SECRET, password, NULL, 1, 1024, NULL, WEBHOOK, "Password (basic)."),
    ROW(config_source, "accept", CHOICE, accept, "any", 0, 0, "json|any", WEBHOOK,
        "`json`: bodies that are no valid JSON are refused. `any`: kept as they came."),
    ROW(config_source, "keep_headers", HEADERS, keep_headers, NULL, 1, 128, NULL, WEBHOOK, "Further request headers that are kept with the event."),
    ROW(config_source, "answer", NUMBER, answer, "200", 200, 299, NULL, WEBHOOK, "HTTP code of success."),

    ROW(config_source, "path", PATH, path, NULL, 1, 4096, NULL, LANDING | OPTION_REQUIRED,
        "The folder. A file in it is complete when it was renamed in, or has not changed for `quiet`."),
    ROW(config_source, "table", TABLE, table, NULL, 1, 70, NULL, LANDING, "The table it fills: `bronze.<name>`."),
    ROW(config_source, "format", CHOICE, format, "auto", 0, 0, "auto|csv|tsv|json|ndjson|parquet|lines", LANDING,
        "What the files are; `auto` looks. `lines`: every line is a row with the one column `line`."),
    ROW(config_source, "delimiter", CHARACTER, delimiter, NULL, 1, 8, NULL, LANDING, "Between cells: one character or `tab`; detected when not given."),
    ROW(config_source, "quote", CHARACTER, quote, NULL, 0, 8, NULL, LANDING, "Around cells: one character or `none`; detected when not given."),
    ROW(config_source, "escape", CHARACTER, escape, NULL, 0, 8, NULL, LANDING,
        "Before a quote inside of quotes: one character or `none`; detected when not given."),
    ROW(config_source, "header", CHOICE, has_header, "auto", 0, 0, "auto|true|false", LANDING, "Whether the first record names the columns."),
    ROW(config_source, "encoding", TEXT, file_encoding, NULL, 1, 40, NULL, LANDING,
        "Character encoding as iconv names it, as `windows-1254`; detected when not given. What cannot be told apart is an error that asks for this."),
    ROW(config_source, "nulls", TEXTS, nulls, NULL, 0, 64, NULL, LANDING, "Texts that mean `no value`, besides the empty cell."),
    ROW(config_source, "record_bytes_max", BYTES, record_bytes_max, "4MiB", KIB, 64 * MIB, NULL, LANDING, "Largest record; larger ones go to quarantine."),
    ROW(config_source, "columns_max", NUMBER, columns_max, "2000", 1, 20000, NULL, LANDING, "Most columns of a file; files with more are rejected."),
    ROW(config_source, "file_bytes_max", BYTES, file_bytes_max, "100GB", KIB, 10 * 1024 * GIB, NULL, LANDING,
        "Largest file after decompression; larger ones are rejected, compression bombs among them."),
    ROW(config_source, "columns", COLUMNS, columns, NULL, 1, 255, NULL, LANDING,
        "Columns that the table has from the start, so that models can name them before the first file came. Files may have others."),
    ROW(config_source, "ready", CHOICE, ready, "quiet", 0, 0, "quiet|rename", LANDING,
        "`rename`: writers rename files in when they are complete, so every file with an ordinary name is taken at once."),
    ROW(config_source, "quiet", DURATION, quiet_ms, "2s", 100, DAY, NULL, LANDING, "A file that has not changed for so long is complete."),
    ROW(config_source, "protect", PROTECT, protect, NULL, 0, 0, NULL, LANDING, "Personal columns, by name; see streams."),

    ROW(config_source, "url", URL, url, NULL, 1, 2048, NULL, POLL | OPTION_REQUIRED, "The address."),
    ROW(config_source, "every", DURATION, every_ms, "60s", 100, 366 * DAY, NULL, POLL, "How often."),
    ROW(config_source, "headers", SECRETS, request_headers, NULL, 1, 4096, NULL, POLL,
        "Request headers, as `Authorization: Bearer ${TOKEN}`; they are shown nowhere."),
    ROW(config_source, "items", TEXT, items, NULL, 1, 255, NULL, POLL,
        "Where the list stands in the answer, as `data.items`; when not given the answer is the list, or one object."),
    ROW(config_source, "timeout", DURATION, timeout_ms, "10s", 100, HOUR, NULL, POLL, "An answer that takes longer counts as failed."),
    ROW(config_source, "backoff_max", DURATION, backoff_max_ms, "5m", 100, DAY, NULL, POLL,
        "While it fails it is asked less and less often, at least so often. `Retry-After` of the other side is obeyed besides."),
};
const struct option_section config_source_section = {"sources[]", "Sources", SOURCE, COUNT(SOURCE)};

static const struct option STEP[] = {
    ROW(config_step, "name", NAME, name, NULL, 1, CONFIG_NAME_MAX, NULL, OPTION_REQUIRED, "Name of the step."),
    ROW(config_step, "models", SELECTORS, models, NULL, 1, 255, NULL, 0, "Models to run, as of flows. A step has `models`, `sql` or `flow`."),
    ROW(config_step, "sql", TEXT, sql, NULL, 1, 65536, NULL, 0, "One SELECT. The step fails when it fails, or when the first value of its first row is false."),
    ROW(config_step, "flow", NAME, flow, NULL, 1, CONFIG_NAME_MAX, NULL, 0, "Another flow to run and wait for."),
    ROW(config_step, "needs", NAMES, needs, NULL, 1, CONFIG_NAME_MAX, NULL, 0, "Steps that come before. Steps that need nothing of each other run at once."),
    ROW(config_step, "retries", NUMBER, retries, "0", 0, 100, NULL, 0, "How often it is tried again after a failure."),
    ROW(config_step, "backoff", DURATION, backoff_ms, "10s", 10, DAY, NULL, 0, "Wait before the first retry; doubles with each, up to an hour."),
    ROW(config_step, "timeout", DURATION, timeout_ms, "0", 100, 7 * DAY, NULL, OPTION_ZERO_OK,
        "Time of one attempt; then it is cancelled and counts as failed."),
    ROW(config_step, "on_failure", NAME, on_failure, NULL, 1, CONFIG_NAME_MAX, NULL, 0,
        "Step that runs only when this one has failed for good. The flow has failed all the same."),
    ROW(config_step, "skip_if", TEXT, skip_if, NULL, 1, 65536, NULL, 0, "One SELECT: the step is left out when the first value of its first row is true."),
};
const struct option_section config_step_section = {"flows[].steps[]", "Steps of flows", STEP, COUNT(STEP)};

static const struct option FLOW[] = {
    ROW(config_flow, "name", NAME, name, NULL, 1, CONFIG_NAME_MAX, NULL, OPTION_REQUIRED, "Name of the flow."),
    ROW(config_flow, "schedule", CRON, schedule, NULL, 1, 255, NULL, 0,
        "When it runs: `minute hour day-of-month month day-of-week`, or @hourly, @daily, @weekly, @monthly, @yearly. `10 * * * *` is ten past every hour."),
    ROW(config_flow, "timezone", ZONE, timezone, NULL, 1, 64, NULL, 0, "Time zone of the schedule; the project's when not given."),
    ROW(config_flow, "after", NAME, after, NULL, 1, CONFIG_NAME_MAX, NULL, 0, "Runs each time when that flow is done."),
    ROW(config_flow, "on", TABLES, on, NULL, 3, 255, NULL, 0, "Tables, as `bronze.pos`: it runs when one of them got something new."),
    ROW(config_flow, "models", SELECTORS, models, NULL, 1, 255, NULL, 0,
        "Models to run: `silver.pos_sales`, `marketing.*`, `tag:web`, `*`; with `+` behind it all that read them too, with `+` in front all that they read."),
    {.name = "steps",
        .type = OPTION_STEPS,
        .offset = offsetof(struct config_flow, steps),
        .section = &config_step_section,
        .description = "In place of `models`: several steps, with retry, branches and conditions."},
    ROW(config_flow, "catch_up", CHOICE, catch_up, "last", 0, 0, "none|last|all", 0,
        "What happens with times of the schedule that passed while the server was down: nothing, one run for the last of them, or one run for each (1000 at "
        "most)."),
    ROW(config_flow, "exclusive", FLAG, exclusive, "false", 0, 0, "true|false", 0,
        "Its models run with it only, and not by themselves when their inputs move."),
    ROW(config_flow, "description", TEXT, description, NULL, 0, 4096, NULL, 0, "A sentence for people."),
};
const struct option_section config_flow_section = {"flows[]", "Flows", FLOW, COUNT(FLOW)};

#define LATER_ROW(name_, text_) \
    { .name = (name_), .type = OPTION_LATER, .description = (text_) }
static const struct option ROOT[] = {
    ROW(config, "project", TEXT, project, NULL, 1, 128, NULL, OPTION_RESTART, "Name of the project; that of the folder when not given."),
    ROW(config, "timezone", ZONE, timezone, "UTC", 1, 64, NULL, OPTION_RESTART, "Time zone of the business day, as `Europe/Istanbul`."),
    ROW(config, "listen", LISTEN, listen, "127.0.0.1:8080", 1, 256, NULL, OPTION_RESTART,
        "Address of the HTTP server: `host:port`, `[::1]:port`, or `unix:/path`. Others than this machine's own need `tls`."),
    SECTION_ROW(config, "auth", auth, &AUTH_SECTION, OPTION_RESTART, "Who may call."),
    {.name = "tls",
        .type = OPTION_TLS,
        .offset = offsetof(struct config, tls),
        .flags = OPTION_RESTART,
        .section = &config_tls_section,
        .description = "Certificate and key; or `off`, when something in front of Cupel does it."},
    SECTION_ROW(config, "lake", lake, &LAKE_SECTION, 0, "Tables at rest."),
    SECTION_ROW(config, "log", log, &LOG_SECTION, 0, "The durable log of events."),
    SECTION_ROW(config, "limits", limits, &LIMITS_SECTION, 0, "Limits of the HTTP server and of events."),
    SECTION_ROW(config, "sql", sql, &SQL_SECTION, 0, "The query engine."),
    SECTION_ROW(config, "logging", logging, &LOGGING_SECTION, 0, "Cupel's own logs."),
    {.name = "streams",
        .type = OPTION_STREAMS,
        .offset = offsetof(struct config, streams),
        .section = &config_stream_section,
        .description = "Streams of events, by name: `[a-z][a-z0-9_]{0,62}`. A stream that is taken out of the file stays; see `cupel stream delete`."},
    {.name = "sources",
        .type = OPTION_SOURCES,
        .offset = offsetof(struct config, sources),
        .section = &config_source_section,
        .description = "Where data comes from. The event API needs no source."},
    SECTION_ROW(config, "flow", flow, &FLOW_SETTINGS_SECTION, 0, "How models and flows are run."),
    {.name = "flows",
        .type = OPTION_FLOWS,
        .offset = offsetof(struct config, flows),
        .section = &config_flow_section,
        .description = "Schedules and triggers beyond those that models have by themselves: a model runs when its inputs moved."},
    LATER_ROW("handlers", "Work per event. Known, not run by this version."),
    LATER_ROW("exports", "Files for others. Known, not run by this version."),
    LATER_ROW("alerts", "Messages to people. Known, not run by this version."),
    LATER_ROW("roles", "Rights. Known, not applied by this version."),
};
const struct option_section config_root_section = {"", "Project", ROOT, COUNT(ROOT)};
