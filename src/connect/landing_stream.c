/* Files whose rows become events of a stream: JSON rows as they are, cells of other formats as one JSON object per row. Batches are numbered, and each
 * is one request with an idempotency key made of the file's hash and its number: a crash in the middle repeats nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "connect/landing_priv.h"

#define BATCH_ROWS 1000
#define BATCH_BYTES (1u << 20)
#define KEY_SEED UINT64_C(0x637570656c616e64) /* fixed: the keys must be the same after a restart */
#define LINE_BYTES_MAX (64u << 20)

struct sending {
    struct source_state *s;
    struct work_file *file;
    struct bad_spool *bad;
    struct arena *arena; /* of the batch */
    struct str payloads[BATCH_ROWS];
    uint64_t numbers[BATCH_ROWS];
    size_t n, bytes;
    uint64_t batch;
};

static struct hash128 hash_payloads(const struct sending *b) {
    BUF_SCOPE(all);
    for (size_t i = 0; i < b->n; i++) {
        buf_u64(&all, b->payloads[i].n);
        struct hash128 h = hash128_keyed(KEY_SEED, b->payloads[i].p, b->payloads[i].n);
        buf_put(&all, &h, sizeof h);
    }
    return hash128_keyed(KEY_SEED, all.p, all.n);
}

/* What the stream refuses is a bad row: it goes to quarantine and the rest of the batch is sent again. */
static enum status drop_refused(struct sending *b, size_t i, const struct err *why, struct err *err) {
    enum status st = bad_spool_put(b->bad, b->numbers[i], str_of(why->text), b->payloads[i], err);
    if (st != OK) return st;
    b->file->bad++;
    b->n--;
    memmove(&b->payloads[i], &b->payloads[i + 1], (b->n - i) * sizeof *b->payloads);
    memmove(&b->numbers[i], &b->numbers[i + 1], (b->n - i) * sizeof *b->numbers);
    return OK;
}

static enum status send_batch(struct sending *b, struct err *err) {
    const struct landing_options *o = &b->s->landing->options;
    char key[100];
    int key_n = snprintf(key, sizeof key, "%s/%s/%llu", b->s->config->name, b->file->plan.hash, (unsigned long long)b->batch);
    struct landing_append append = {.stream = b->s->config->stream, .source = b->s->config->name, .payloads = b->payloads};
    append.idempotency_key = hash128_keyed(KEY_SEED, key, key_n < (int)sizeof key ? (size_t)key_n : sizeof key - 1);
    while (b->n) {
        struct err why = {0};
        uint32_t accepted;
        size_t bad_at = SIZE_MAX;
        append.n = b->n;
        append.body_hash = hash_payloads(b);
        enum status st = o->append(o->context, &append, &accepted, &bad_at, &why);
        if (st == OK) break;
        if (bad_at >= b->n) return err_set(err, st, "%s", why.text);
        st = drop_refused(b, bad_at, &why, err);
        if (st != OK) return st;
    }
    b->file->good += b->n;
    b->batch++;
    b->n = b->bytes = 0;
    arena_reset(b->arena);
    return landing_stopping(b->s->landing) ? err_set(err, E_CANCELLED, "stopping") : OK;
}

static enum status add_payload(struct sending *b, uint64_t number, struct str payload, struct err *err) {
    b->payloads[b->n] = arena_str(b->arena, payload);
    b->numbers[b->n++] = number;
    b->bytes += payload.n;
    return b->n == BATCH_ROWS || b->bytes >= BATCH_BYTES ? send_batch(b, err) : OK;
}

static void write_object(const struct landing_plan *plan, const struct row *row, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    for (size_t i = 0; i < plan->columns_n; i++) json_put_str(&w, plan->columns[i].name, row->cells[i]);
    json_end_object(&w);
}

/* ---- where rows come from ---- */

static enum status send_text_rows(struct sending *b, struct err *err) {
    const struct landing_plan *plan = &b->file->plan;
    bool json = plan->format == LANDING_JSON || plan->format == LANDING_NDJSON;
    struct landing_rows *rows;
    struct landing_rows_options options = {.host = b->s->landing->options.host, .plan = plan, .spool = b->file->spool, .whole_json = json};
    enum status st = landing_rows_open(&options, &rows, err);
    if (st != OK) return st;
    AUTO_FREE struct row *list = mem_alloc(BATCH_ROWS * sizeof *list);
    BUF_SCOPE(object);
    for (size_t n = 1; st == OK && n;) {
        st = landing_rows_next(rows, list, BATCH_ROWS, &n, err);
        for (size_t i = 0; i < n && st == OK; i++) {
            buf_clear(&object);
            if (!json) write_object(plan, &list[i], &object);
            st = add_payload(b, list[i].number, json ? list[i].cells[0] : buf_view(&object), err);
        }
    }
    struct bad_row bad;
    while (st == OK && landing_rows_next_bad(rows, &bad)) {
        st = bad_spool_put(b->bad, bad.number, str_of(bad.reason), bad.raw, err);
        b->file->bad++;
    }
    b->file->read = landing_rows_counts(rows).read;
    landing_rows_close(&rows);
    return st;
}

/* Parquet rows arrive from the engine as NDJSON. */
static enum status send_parquet_rows(struct sending *b, struct err *err) {
    const struct work_file *f = b->file;
    const char *sql = arena_printf(b->arena, "SELECT * EXCLUDE (file_row_number) FROM %s", sql_parquet(b->arena, f->unpacked ? f->unpacked : f->plan.path));
    struct engine_query query = {.sql = str_of(sql), .format = RESULT_NDJSON, .internal = true};
    struct engine_call *call;
    enum status st = engine_query_start(b->s->landing->options.engine, &query, &call, err);
    if (st != OK) return st;
    BUF_SCOPE(text);
    text.limit = LINE_BYTES_MAX;
    uint64_t number = 0;
    for (size_t got = 1; st == OK && got;) {
        if (!buf_reserve(&text, 64u << 10))
            st = err_set(err, E_LIMIT, "row %llu is longer than %u bytes as JSON", (unsigned long long)number + 1, LINE_BYTES_MAX);
        if (st == OK) st = engine_call_read(call, text.p + text.n, 64u << 10, &got, err);
        if (st != OK) break;
        text.n += got;
        size_t used = 0;
        for (char *end; st == OK && (end = memchr(text.p + used, '\n', text.n - used)); used = (size_t)(end - text.p) + 1)
            st = add_payload(b, ++number, (struct str){text.p + used, (size_t)(end - text.p) - used}, err);
        memmove(text.p, text.p + used, text.n - used);
        text.n -= used;
    }
    engine_call_end(&call);
    b->file->read = number;
    return st;
}

/* ---- the end: bad rows and outcome in one transaction ---- */

struct finishing {
    struct source_state *s;
    struct work_file *file;
};

static enum status finish(void *context, struct ledger *ledger, struct err *err) {
    struct finishing *f = context;
    return landing_finish_files(f->s, ledger, &f->file, 1, err);
}

static enum status finish_file(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    struct finishing finishing = {s, file};
    struct lake_append append;
    bool bad;
    if (file->read != file->good + file->bad) return err_set(err, E_INTERNAL, "%s: rows do not add up", file->plan.name);
    enum status st = landing_quarantine(s, arena, &file, 1, &append, &bad, err);
    if (st != OK) return st;
    if (!bad) return ledger_transaction(s->landing->options.ledger, finish, &finishing, err);
    st = lake_commit(s->landing->options.lake, &append, 1, finish, &finishing, err);
    if (st != OK) s->landing->options.host->fs->unlink(s->landing->options.host->fs->self, append.files[0].temporary_path, NULL);
    return st;
}

enum status landing_to_stream(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err) {
    const struct landing_options *o = &s->landing->options;
    must(s->config->stream && s->number);
    if (!o->append) return err_set(err, E_UNSUPPORTED, "source %s: no streams here", s->config->name);
    file->read = file->good = file->bad = 0;
    file->spool = lake_temporary_path(o->lake, arena, ".bad");
    const char *all_bad = lake_temporary_path(o->lake, arena, ".bad"); /* the reader's and those that the stream refused */
    struct sending *b = mem_zalloc(sizeof *b);
    b->s = s;
    b->file = file;
    b->arena = arena_new();
    b->bad = bad_spool_new(o->host, all_bad);
    enum status st = file->plan.format == LANDING_PARQUET ? send_parquet_rows(b, err) : send_text_rows(b, err);
    if (st == OK && b->n) st = send_batch(b, err);
    if (st == OK) st = bad_spool_finish(b->bad, err);
    bad_spool_free(&b->bad);
    arena_free(&b->arena);
    free(b);
    o->host->fs->unlink(o->host->fs->self, file->spool, NULL);
    file->spool = all_bad;
    if (st == OK) st = landing_plan_unchanged(o->host, &file->plan, err);
    if (st == OK) st = finish_file(s, arena, file, err);
    if (st == OK) file->kind = WORK_LANDED;
    o->host->fs->unlink(o->host->fs->self, all_bad, NULL);
    return st;
}
