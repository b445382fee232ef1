/* From a complete body to one stream_submit, and from the commit to the answer. Nothing here is printed with a format on the way of good requests. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "ingest/ingest_priv.h"

#define IDEMPOTENCY_KEY_MAX 255
#define SCANNER_KEEP_BYTES (1u << 20)

/* ---- records ---- */

static struct str copy_in(struct intake *in, struct str s) { return arena_str(in->arena, s); }

static enum status put_key(struct intake *in, struct json_scanner *scanner, struct stream_record *record, struct err *err) {
    const struct stream_rules *stream = in->stream;
    struct str key = in->key;
    bool found = key.p != NULL;
    if (!found && stream->key.n && scanner) {
        found = json_scan_path(scanner, stream->key, &key);
        if (found && !stream->key_protected) key = copy_in(in, key);
        if (found && stream->key_protected) {
            BUF_SCOPE(token);
            protect_token(stream->secret, key, &token);
            key = copy_in(in, buf_view(&token));
        }
    }
    if (!found) {
        record->flags |= RECORD_NO_KEY;
        return OK;
    }
    if (key.n > STREAM_KEY_BYTES_MAX) return err_set(err, E_LIMIT, "key of %zu bytes, at most %u are taken", key.n, STREAM_KEY_BYTES_MAX);
    record->key = key;
    return OK;
}

/* Each record of a request with a header for all is told apart by its number. */
static struct str numbered(struct intake *in, struct str value, uint32_t index) {
    if (!index) return value;
    return str_of(arena_printf(in->arena, "%.*s\n%u", STR_ARG(value), index));
}

static void put_dedupe(struct intake *in, struct json_scanner *scanner, uint32_t index, struct stream_record *record) {
    const struct stream_rules *stream = in->stream;
    struct str value = STR_NULL;
    switch (stream->dedupe) {
    case DEDUPE_NONE: return;
    case DEDUPE_BODY: value = record->payload; break;
    case DEDUPE_HEADER: value = in->dedupe_header.p ? numbered(in, in->dedupe_header, index) : STR_NULL; break;
    case DEDUPE_PATH:
        if (!scanner || !json_scan_path(scanner, str_of(stream->dedupe_name), &value)) value = STR_NULL;
        break;
    }
    if (!value.p) {
        in->undeduped++;
        return;
    }
    record->dedupe = stream_dedupe_hash(in->ingest->options.log, stream->number, value);
    record->flags |= RECORD_DEDUPE;
}

/* Last, because key and dedupe look at the value as it came. */
static enum status put_protected(struct intake *in, struct stream_record *record, struct err *err) {
    const struct stream_rules *stream = in->stream;
    if (!stream->protect.n) return OK;
    if (!(record->flags & RECORD_JSON_VALID)) return err_set(err, E_INVALID, "the stream protects fields, so it takes only payloads that are valid JSON");
    BUF_SCOPE(out);
    bool changed = false;
    enum status st = protect_apply(&stream->protect, record->payload, stream->secret, &out, &changed, err);
    if (st != OK || !changed) return st;
    record->payload = copy_in(in, buf_view(&out));
    record->flags |= RECORD_PROTECTED;
    record->key_id = stream->key_id;
    return OK;
}

/* Fills one record; `scanner` keeps its document loaded for key and dedupe. */
static enum status make_record(
    struct intake *in, struct json_scanner *scanner, struct str text, uint32_t index, struct stream_record *record, struct err *err) {
    const struct record_limits *limits = &in->ingest->limits;
    enum status st = OK;
    if (text.n > limits->record_bytes_max)
        return err_set(err, E_LIMIT, "record of %zu bytes, at most %llu are taken", text.n, (unsigned long long)limits->record_bytes_max);
    st = record_check(scanner, text, limits, in->whole_body || in->accept == ACCEPT_ANY, err);
    if (st != OK && in->accept == ACCEPT_JSON) return st;
    bool valid = st == OK;
    *record = (struct stream_record){.payload = text, .headers = in->headers, .source = str_of(in->source), .content_type = in->content_type};
    if (valid)
        record->flags = RECORD_JSON_VALID | RECORD_UTF8_VALID;
    else if (utf8_valid(text))
        record->flags = RECORD_UTF8_VALID;
    st = put_key(in, valid ? scanner : NULL, record, err);
    if (st != OK) return st;
    put_dedupe(in, valid ? scanner : NULL, index, record);
    in->bytes += text.n;
    return put_protected(in, record, err);
}

/* All records of a request, or none: `place` says which one failed (record 0: none did). */
static enum status check_records(struct intake *in, struct str body, const struct record_list *cut, struct record_place *place, struct err *err) {
    struct stream_record *records = arena_alloc(in->arena, (cut->n + 1) * sizeof *records);
    struct scanner_slot *slot = scanner_take(in->ingest);
    enum status st = OK;
    for (uint32_t i = 0; i < cut->n && st == OK; i++) {
        *place = (struct record_place){i + 1, cut->list[i].line, (uint64_t)(cut->list[i].text.p - body.p)};
        slot->grown |= cut->list[i].text.n > SCANNER_KEEP_BYTES;
        st = make_record(in, slot->scanner, cut->list[i].text, i, &records[i], err);
    }
    scanner_give(in->ingest, slot);
    if (st != OK) {
        place->byte += record_byte_named(err);
        return st;
    }
    place->record = 0;
    in->append.stream = in->stream->number;
    in->append.records = records;
    in->append.n = cut->n;
    in->append.ids = arena_alloc(in->arena, (cut->n + 1) * sizeof *in->append.ids);
    return OK;
}

static enum status make_records(struct intake *in, enum body_kind kind, struct str body, struct record_place *place, struct err *err) {
    struct record_list cut = {0};
    struct arena *arena = in->arena;
    enum status st = OK;
    if (in->whole_body && body.n)
        st = records_cut(BODY_RAW, body, &in->ingest->limits, arena, &cut, err);
    else
        st = records_cut(kind, body, &in->ingest->limits, arena, &cut, err);
    if (st == E_INVALID && kind == BODY_JSON && in->accept == ACCEPT_ANY && body.n) st = records_cut(BODY_RAW, body, &in->ingest->limits, arena, &cut, err);
    return st == OK ? check_records(in, body, &cut, place, err) : st;
}

/* ---- answer ---- */

static char *put_text(char *p, const char *text) { return mempcpy(p, text, strlen(text)); }

static char *put_number(char *p, uint32_t v) {
    char digits[10];
    int n = 0;
    do digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n) *p++ = digits[--n];
    return p;
}

static char *put_id(char *p, struct event_id id) {
    *p++ = '"';
    event_id_text(id, p);
    p[EVENT_ID_TEXT] = '"';
    return p + EVENT_ID_TEXT + 1;
}

static void answer_accepted(struct intake *in, const struct event_id *ids, uint32_t n, uint32_t accepted, uint32_t duplicates) {
    if (in->code == 204) { /* asked for by the source: no content */
        http_answer(in->request, 204, NULL, STR(""));
        return;
    }
    uint32_t shown = n < IDS_MAX ? n : IDS_MAX;
    size_t room = 200 + (size_t)(shown + 2) * (EVENT_ID_TEXT + 3);
    char *text = arena_alloc(http_arena(in->request), room), *p = text;
    p = put_number(put_text(p, "{\"accepted\":"), accepted);
    p = put_number(put_text(p, ",\"duplicates\":"), duplicates);
    p = put_text(p, ",\"first_id\":");
    p = n ? put_id(p, ids[0]) : put_text(p, "null");
    p = put_text(p, ",\"last_id\":");
    p = n ? put_id(p, ids[n - 1]) : put_text(p, "null");
    p = put_text(p, ",\"ids\":[");
    for (uint32_t i = 0; i < shown; i++) {
        if (i) *p++ = ',';
        p = put_id(p, ids[i]);
    }
    p = put_text(p, "]}\n");
    must((size_t)(p - text) <= room);
    http_answer_arena(in->request, in->code ? in->code : 202, "application/json", (struct str){text, (size_t)(p - text)});
}

static void count(const struct intake *in, const struct stream_result *result) {
    series_add(in->stream->m_records, result->accepted);
    series_add(in->stream->m_bytes, (int64_t)in->bytes);
    if (result->duplicates) series_add(in->stream->m_duplicates, result->duplicates);
    if (in->undeduped) series_add(in->stream->m_undeduped, in->undeduped);
}

/* On the committer's thread. */
static void committed(void *context, const struct stream_result *result) {
    struct intake *in = context;
    if (result->status != OK) {
        struct err err = result->err;
        err.status = result->status;
        http_answer_problem(in->request, &err, STR_NULL);
        return;
    }
    if (result->replayed) {
        http_add_header(in->request, "Idempotency-Replayed", "true");
    } else {
        count(in, result);
    }
    answer_accepted(in, result->ids, in->append.n, result->accepted, result->duplicates);
}

static void answer_refused(struct intake *in, const struct record_place *place, const struct err *err) {
    struct err named = *err;
    struct str extra = STR_NULL;
    if (err->status != E_BUSY && err->status != E_NO_SPACE) series_add(in->stream->m_refused, 1);
    if (place->record) {
        extra = record_error(http_arena(in->request), place, err);
        if (place->line)
            err_prefix(&named, "record %u, line %u", place->record, place->line);
        else
            err_prefix(&named, "record %u", place->record);
    }
    http_answer_problem(in->request, &named, extra);
}

/* ---- the request ---- */

/* The key is mixed with the log's secret, so that what is stored says nothing about it. */
static enum status put_idempotency(struct intake *in, struct str body, struct err *err) {
    struct str key = http_header(in->request, "Idempotency-Key");
    if (!key.p) return OK;
    if (!key.n || key.n > IDEMPOTENCY_KEY_MAX) return err_set(err, E_INVALID, "Idempotency-Key has %zu bytes, 1 to %d are taken", key.n, IDEMPOTENCY_KEY_MAX);
    struct str marked = str_of(arena_printf(http_arena(in->request), "idempotency\n%.*s", STR_ARG(key)));
    in->append.has_idempotency = true;
    in->append.idempotency_key = stream_dedupe_hash(in->ingest->options.log, in->stream->number, marked);
    in->append.body_hash = stream_dedupe_hash(in->ingest->options.log, in->stream->number, body);
    return OK;
}

/* curl -d says "form" when nobody tells it otherwise; a body that begins like JSON is then taken for what it is. */
static enum body_kind kind_of(const struct intake *in, struct str type, struct str body) {
    struct str text = str_trim(str_head(body, 64));
    bool mistaken = !in->whole_body && str_is(type, "application/x-www-form-urlencoded") && text.n && (text.p[0] == '{' || text.p[0] == '[');
    return mistaken ? BODY_JSON : body_kind_of(type);
}

void intake_run(struct intake *in) {
    struct http_request *r = in->request;
    struct str body = http_body(r), type = http_content_type(r);
    struct record_place place = {0};
    struct err err = {.status = OK};
    enum body_kind kind = kind_of(in, type, body);
    enum status st = OK;
    must(in->stream && in->source);
    in->content_type = kind == BODY_RAW || in->whole_body ? str_head(type, 255) : STR("application/json");
    if (in->stream->dedupe == DEDUPE_HEADER) in->dedupe_header = http_header(r, in->stream->dedupe_name);
    if (kind == BODY_RAW && in->accept == ACCEPT_JSON && !in->whole_body)
        st = err_set(
            &err, E_MEDIA_TYPE, "Content-Type %.*s: the stream takes application/json and application/x-ndjson (accept: json)", STR_ARG(str_head(type, 64)));
    if (st == OK) st = make_records(in, kind, body, &place, &err);
    if (st == OK) st = put_idempotency(in, body, &err);
    if (st != OK) {
        answer_refused(in, &place, &err);
        return;
    }
    if (!in->append.n) { /* an empty array: nothing to make durable */
        answer_accepted(in, NULL, 0, 0, 0);
        return;
    }
    in->append.done = committed;
    in->append.context = in;
    http_answer_is_near(r);
    if (stream_submit(in->ingest->options.log, &in->append, &err) != OK) answer_refused(in, &place, &err);
}

void post_stream(void *context, struct http_request *r) {
    struct ingest *ingest = context;
    struct str name = http_part(r, "stream");
    struct stream_rules *stream = find_stream(ingest, name);
    struct err err;
    if (!stream) {
        no_such_stream(name, &err);
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    struct intake *in = arena_new_one(http_arena(r), struct intake);
    in->ingest = ingest;
    in->arena = http_arena(r);
    in->stream = stream;
    in->request = r;
    in->source = SOURCE_OF_API;
    in->accept = stream->accept;
    in->key = http_header(r, "Cupel-Key");
    if (in->key.p) in->key = copy_in(in, in->key); /* the head may be gone before the record is written */
    in->headers = headers_keep(r, NULL);
    intake_run(in);
}

/* ---- without HTTP ---- */

/* The scanner reads beyond the end of a text, so each payload gets a copy with room behind it. */
static void copy_payloads(struct intake *in, const struct ingest_append *from, struct record_list *out) {
    size_t bytes = JSON_PADDING;
    for (size_t i = 0; i < from->n; i++) bytes += from->payloads[i].n;
    char *p = arena_zalloc(in->arena, bytes);
    out->list = arena_alloc(in->arena, (from->n + 1) * sizeof *out->list);
    out->n = (uint32_t)from->n;
    for (size_t i = 0; i < from->n; i++) {
        struct str payload = from->payloads[i];
        if (payload.n) memcpy(p, payload.p, payload.n);
        out->list[i] = (struct cut_record){.text = {p, payload.n}};
        p += payload.n;
    }
}

enum status ingest_append(struct ingest *ingest, const struct ingest_append *request, uint32_t *accepted, size_t *bad, struct err *err) {
    must(ingest && request && accepted && bad && request->n < UINT32_MAX);
    ARENA_SCOPE(arena);
    struct intake in = {.ingest = ingest, .arena = arena, .source = request->source, .content_type = STR("application/json")};
    struct record_list list = {0};
    struct record_place place = {0};
    struct stream_result result = {0};
    in.stream = find_stream(ingest, str_of(request->stream));
    if (!in.stream) return no_such_stream(str_of(request->stream), err);
    in.accept = in.stream->accept;
    for (size_t i = 0; i < request->n; i++) {
        if (request->payloads[i].n) continue;
        *bad = i;
        return err_set(err, E_INVALID, "empty record");
    }
    copy_payloads(&in, request, &list);
    enum status st = check_records(&in, list.n ? list.list[0].text : STR(""), &list, &place, err);
    if (st != OK) {
        if (place.record) *bad = place.record - 1;
        return st;
    }
    in.append.has_idempotency = request->idempotency_key.lo || request->idempotency_key.hi;
    in.append.idempotency_key = request->idempotency_key;
    in.append.body_hash = request->body_hash;
    if (list.n) st = stream_append_wait(ingest->options.log, &in.append, &result, err);
    if (st != OK) return st;
    if (!result.replayed) count(&in, &result);
    *accepted = result.accepted;
    return OK;
}
