/* cupel put STREAM [FILE…|-]: NDJSON in batches. Each batch is one request with an Idempotency-Key of its own, so that repeating it after a broken connection
 * or a 503 stores nothing twice. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "host/terminal.h"
#include "http/http_client.h"

#define BATCH_RECORDS 1000
#define BATCH_BYTES (1u << 20)
#define LINE_BYTES_MAX (64u << 20)
#define READ_BYTES (256u << 10)
#define TRY_FOR_MS 120000 /* a server that restarts or waits for disk */

struct put {
    struct cli *cli;
    struct reach *reach;
    struct reach_options reach_options;
    char *path; /* /v1/streams/… */
    const char *key; /* --key, or NULL */
    char run_id[33]; /* begins every Idempotency-Key of this run */
    uint64_t batches, accepted, duplicates, lines, bytes;
    int64_t batch_records, started_ms;
    const char *name; /* of the file being read */
    struct buf batch;
    uint64_t batch_n, batch_line, line; /* records in it, line of its first record, lines of this file so far */
};

/* ---- sending ---- */

static bool worth_repeating(enum status status) { return status == E_UNAVAILABLE || status == E_IO || status == E_TIMEOUT; }

static enum status send_once(struct put *p, const char *idempotency_key, json_t **answer, int64_t *retry_after_ms, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    const char *headers[] = {"Idempotency-Key", idempotency_key, p->key ? "Cupel-Key" : NULL, p->key, NULL};
    json_error_t unused;
    BUF_SCOPE(text);
    struct ask ask = {
        .method = "POST", .path = p->path, .body = buf_view(&p->batch), .content_type = "application/x-ndjson", .headers = headers, .timeout_ms = 60000};
    enum status status = reach_ask(p->reach, &ask, &text, retry_after_ms, err);
    if (status != OK) return status;
    *answer = json_loadb(text.p, text.n, 0, &unused);
    return *answer ? OK : err_set(err, E_INTERNAL, "the answer is not JSON");
}

/* The server's address may be another one after a restart: it is looked up again between tries. */
static void reach_again(struct put *p) {
    struct reach *again;
    if (!reach_is_server(p->reach) || reach_open(p->cli, &p->reach_options, &again, NULL) != OK) return;
    reach_close(&p->reach);
    p->reach = again;
}

static enum status send_batch(struct put *p, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    const struct host *host = &p->cli->host;
    char key[64];
    json_t *answer = NULL;
    int64_t pause_ms = 50, until_ms = host_monotonic_ms(host) + TRY_FOR_MS;
    snprintf(key, sizeof key, "put-%s-%" PRIu64, p->run_id, p->batches);
    for (;;) {
        int64_t retry_after_ms = 0;
        enum status status = send_once(p, key, &answer, &retry_after_ms, err);
        if (status == OK) break;
        if (!worth_repeating(status) || host_monotonic_ms(host) > until_ms)
            return err_prefix(err, "%s: records from line %" PRIu64 " on", p->name, p->batch_line);
        int64_t wait_ms = retry_after_ms > pause_ms ? retry_after_ms : pause_ms;
        progress(p->cli, false, "waiting for the server: %s", err ? err->text : "");
        host->clock->sleep_us(host->clock->self, wait_ms * 1000);
        if (pause_ms < 2000) pause_ms *= 2;
        reach_again(p);
    }
    p->batches++;
    p->accepted += (uint64_t)json_integer_value(json_object_get(answer, "accepted"));
    p->duplicates += (uint64_t)json_integer_value(json_object_get(answer, "duplicates"));
    json_decref(answer);
    p->bytes += p->batch.n;
    buf_clear(&p->batch);
    p->batch_n = 0;
    return OK;
}

static void show_progress(struct put *p) {
    char events[32], bytes[32], rate[32];
    int64_t took_ms = host_monotonic_ms(&p->cli->host) - p->started_ms;
    uint64_t n = p->accepted + p->duplicates;
    progress(p->cli, false, "%s events, %s, %s/s", with_commas((int64_t)n, events), as_bytes(p->bytes, bytes),
        with_commas(took_ms > 0 ? (int64_t)n * 1000 / took_ms : 0, rate));
}

/* ---- reading ---- */

static enum status add_line(struct put *p, struct str line, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    p->line++;
    struct str record = str_trim(line);
    if (record.n == 0) return OK;
    if (p->batch_n > 0 && p->batch.n + record.n + 1 > BATCH_BYTES) {
        enum status status = send_batch(p, err);
        if (status != OK) return status;
        show_progress(p);
    }
    if (p->batch_n == 0) p->batch_line = p->line;
    buf_str(&p->batch, record);
    buf_char(&p->batch, '\n');
    p->batch_n++;
    if (p->batch_n < (uint64_t)p->batch_records) return OK;
    enum status status = send_batch(p, err);
    if (status == OK) show_progress(p);
    return status;
}

/* Cuts whole lines off the front; what is left is the beginning of the next one. */
static enum status take_lines(struct put *p, struct buf *text, bool at_end, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    size_t from = 0;
    for (;;) {
        const char *end = text->n > from ? memchr(text->p + from, '\n', text->n - from) : NULL;
        if (!end) break;
        enum status status = add_line(p, str_make(text->p + from, (size_t)(end - text->p) - from), err);
        if (status != OK) return status;
        from = (size_t)(end - text->p) + 1;
    }
    if (from > 0) memmove(text->p, text->p + from, text->n - from);
    text->n -= from;
    if (text->n > LINE_BYTES_MAX) return err_set(err, E_LIMIT, "%s: line %" PRIu64 " is longer than %u bytes", p->name, p->line + 1, LINE_BYTES_MAX);
    if (!at_end || text->n == 0) return OK;
    enum status status = add_line(p, buf_view(text), err);
    buf_clear(text);
    return status;
}

/* One input to its end. `file`: -1 is standard input. */
static enum status put_input(struct put *p, int file, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    const struct fs *fs = p->cli->host.fs;
    BUF_SCOPE(text);
    uint64_t offset = 0;
    p->line = 0;
    for (;;) {
        size_t got;
        if (!buf_reserve(&text, READ_BYTES)) return err_set(err, E_LIMIT, "%s: a line is too long", p->name);
        enum status status =
            file < 0 ? host_read_some(0, text.p + text.n, READ_BYTES, &got, err) : fs->pread(fs->self, file, text.p + text.n, READ_BYTES, offset, &got, err);
        if (status != OK) return status;
        text.n += got;
        offset += got;
        status = take_lines(p, &text, got == 0, err);
        if (status != OK) return status;
        if (got == 0) break;
    }
    return p->batch_n ? send_batch(p, err) : OK; /* a batch never spans two files: errors name lines of one */
}

static enum status put_file(struct put *p, const char *name, struct err *err) {
    must(p->reach != NULL && p->batch_records > 0);
    const struct fs *fs = p->cli->host.fs;
    int file;
    p->name = strcmp(name, "-") == 0 ? "standard input" : name;
    if (strcmp(name, "-") == 0) return put_input(p, -1, err);
    enum status status = fs->open(fs->self, name, FS_READ, &file, err);
    if (status != OK) return status;
    status = put_input(p, file, err);
    fs->close(fs->self, file);
    return status;
}

/* ---- the command ---- */

static void print_result(struct put *p) {
    must(p->reach != NULL && p->batch_records > 0);
    char accepted[32], duplicates[32];
    int64_t took_ms = host_monotonic_ms(&p->cli->host) - p->started_ms;
    if (p->cli->err_terminal) fprintf(stderr, "\r\033[K");
    if (p->cli->json)
        printf("{\"accepted\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"size_bytes\":%" PRIu64 ",\"took_ms\":%" PRId64 "}\n",
            p->accepted, p->duplicates, p->batches, p->bytes, took_ms);
    else
        printf("%s accepted, %s duplicates, %.2f s\n", with_commas((int64_t)p->accepted, accepted), with_commas((int64_t)p->duplicates, duplicates),
            (double)took_ms / 1000);
}

static void make_run_id(struct put *p) {
    uint8_t random[16];
    BUF_SCOPE(hex);
    host_random(random, sizeof random);
    buf_hex(&hex, str_make(random, sizeof random));
    snprintf(p->run_id, sizeof p->run_id, "%s", buf_cstr(&hex));
}

static int run(struct cli *cli) {
    must(cli->command != NULL);
    struct err err = {0};
    struct put put = {.cli = cli, .key = cli_value(cli, "key"), .reach_options = {.writer = true}};
    BUF_SCOPE(path);
    if (cli_number(cli, "batch", BATCH_RECORDS, 1, 10000, &put.batch_records, &err) != OK) return cli_fail(&err);
    buf_text(&path, "/v1/streams/");
    url_escape(&path, str_of(cli->args[0]));
    put.path = arena_strdup(cli->arena, buf_cstr(&path));
    make_run_id(&put);
    if (reach_open(cli, &put.reach_options, &put.reach, &err) != OK) return cli_fail(&err);
    put.started_ms = host_monotonic_ms(&cli->host);
    enum status status = OK;
    if (cli->args_n == 1) status = put_file(&put, "-", &err);
    for (size_t i = 1; i < cli->args_n && status == OK; i++) status = put_file(&put, cli->args[i], &err);
    print_result(&put);
    int code = status == OK ? 0 : cli_failed(&err);
    buf_free(&put.batch);
    reach_close(&put.reach);
    return code;
}

static const struct cli_option options[] = {
    {.name = "key", .letter = 'k', .value = "KEY", .help = "key of all events, instead of the stream's key: path"},
    {.name = "batch", .value = "N", .help = "records in one request at most (default 1000)"},
    {.name = NULL},
};

static const struct command commands[] = {{
    .arguments = "STREAM [FILE…|-]",
    .arguments_min = 1,
    .arguments_max = -1,
    .summary = "append NDJSON events",
    .description = "Sends one event per line, from files or standard input, in batches of up to 1000 records or 1 MB. What was counted as accepted is on disk. "
                   "A batch is stored as a whole or "
                   "not at all; one bad record ends the command and is named. A batch that has to be sent again, because the server restarted or had no room, "
                   "is never stored twice.",
    .examples = "cupel put web_traffic events.ndjson\nzcat day.ndjson.gz | cupel put orders\necho '{\"order_id\": 7}' | cupel put orders --key 7",
    .options = options,
    .complete = COMPLETE_FILE,
    .run = run,
}};

const struct command_group cmd_put = {.name = "put", .summary = "append NDJSON events to a stream", .commands = commands, .commands_n = 1};
