#include "base/assert.h"
#include "base/log.h"
#include "ingest/ingest_priv.h"

static void reject(const struct source_rules *source, struct http_request *r, const struct err *err) {
    series_add(source->m_rejected, 1);
    log_debug("ingest", "webhook refused", LOG_STR("source", source->name), LOG_STR("reason", err->text), NULL);
    http_answer_problem(r, err, STR_NULL);
}

static void take(struct ingest *ingest, const struct source_rules *source, struct http_request *r) {
    struct intake *in = arena_new_one(http_arena(r), struct intake);
    in->ingest = ingest;
    in->arena = http_arena(r);
    in->stream = source->stream;
    in->request = r;
    in->source = source->name;
    in->accept = source->accept;
    in->headers = headers_keep(r, source);
    in->whole_body = true;
    in->code = source->answer;
    intake_run(in);
}

void hook(void *context, struct http_request *r) {
    struct ingest *ingest = context;
    struct str name = http_part(r, "source"), method = http_method(r);
    struct source_rules *source = find_source(ingest, name);
    struct err err;
    if (!source) {
        err_set(&err, E_NOT_FOUND, "there is no webhook source %.*s", STR_ARG(str_head(name, 64)));
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    if (hook_question(source, r)) return;
    if (!str_is(method, "POST") && !str_is(method, "PUT")) {
        err_set(&err, E_UNSUPPORTED, "%.*s without a challenge: events are sent with POST or PUT", STR_ARG(str_head(method, 16)));
        http_answer_wrong_method(r, "POST, PUT, OPTIONS", &err);
        return;
    }
    if (hook_check(source, r, host_wall_ms(ingest->options.host), &err) != OK) {
        reject(source, r, &err);
        return;
    }
    if (http_decompress(r, &err) != OK) {
        http_answer_problem(r, &err, STR_NULL);
        return;
    }
    if (!hook_question_signed(source, r, ingest)) take(ingest, source, r);
}
