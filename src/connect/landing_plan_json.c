#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "connect/landing_plan.h"

static void put_char(struct json_writer *w, const char *name, char c) { json_put_str(w, name, (struct str){&c, c != 0}); }

static const char *delimiter_name(char c) { return c == '\t' ? "tab" : c == ',' ? "comma" : c == ';' ? "semicolon" : c == '|' ? "pipe" : "other"; }

void landing_plan_describe(const struct landing_plan *plan, struct json_writer *w) {
    json_put_text(w, "format", landing_format_name(plan->format));
    json_put_text(w, "compression", compression_name(plan->compression));
    json_put_int(w, "bytes", (int64_t)plan->text_bytes);
    if (plan->format == LANDING_PARQUET) return;
    json_put_text(w, "encoding", plan->encoding.name);
    json_put_bool(w, "bom", plan->bom_bytes != 0);
    if (plan->format == LANDING_CSV) {
        put_char(w, "delimiter", plan->dialect.delimiter);
        json_put_text(w, "delimiter_name", delimiter_name(plan->dialect.delimiter));
        put_char(w, "quote", plan->dialect.quote);
        put_char(w, "escape", plan->dialect.escape);
        json_put_bool(w, "header", plan->header);
    }
    json_name(w, "columns");
    json_begin_array(w);
    for (size_t i = 0; i < plan->columns_n; i++) json_text(w, plan->columns[i].name);
    json_end_array(w);
}

void landing_plan_write(const struct landing_plan *plan, int64_t id, const char *spool, struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_int(&w, "id", id);
    json_put_text(&w, "path", plan->path);
    json_put_text(&w, "spool", spool);
    json_put_int(&w, "format", plan->format);
    json_put_int(&w, "encoding", plan->encoding.kind);
    json_put_text(&w, "encoding_name", plan->encoding.name);
    json_put_int(&w, "bom_bytes", (int64_t)plan->bom_bytes);
    json_put_int(&w, "delimiter", (unsigned char)plan->dialect.delimiter);
    json_put_int(&w, "quote", (unsigned char)plan->dialect.quote);
    json_put_int(&w, "escape", (unsigned char)plan->dialect.escape);
    json_put_bool(&w, "header", plan->header);
    json_put_int(&w, "ends", plan->ends);
    json_put_int(&w, "record_bytes_max", (int64_t)plan->record_bytes_max);
    json_put_int(&w, "columns_n", (int64_t)plan->columns_n);
    bool json = plan->format == LANDING_JSON || plan->format == LANDING_NDJSON;
    json_name(&w, "keys"); /* hex: a JSON key may hold anything, NUL too */
    json_begin_array(&w);
    for (size_t i = 0; json && i < plan->columns_n; i++) {
        BUF_SCOPE(hex);
        buf_hex(&hex, plan->columns[i].key);
        json_str(&w, hex.p ? buf_view(&hex) : STR(""));
    }
    json_end_array(&w);
    json_name(&w, "policies");
    json_begin_array(&w);
    for (size_t i = 0; plan->protects && i < plan->columns_n; i++) json_int(&w, plan->columns[i].policy);
    json_end_array(&w);
    if (plan->secret) {
        BUF_SCOPE(hex);
        buf_hex(&hex, str_make(plan->secret, LANDING_SECRET_BYTES));
        json_put_str(&w, "secret", buf_view(&hex));
    }
    json_name(&w, "nulls");
    json_begin_array(&w);
    for (size_t i = 0; i < plan->nulls_n; i++) json_text(&w, plan->nulls[i]);
    json_end_array(&w);
    json_end_object(&w);
}
