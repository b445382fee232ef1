/* JSON: a writer with sticky failure, and a scanner that validates and finds paths without building a tree for the caller.
 *
 * Trees (configuration answers, Iceberg metadata) use jansson directly, in the rooms that need them. */
#ifndef CUPEL_BASE_JSON_H
#define CUPEL_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* ---- writer: commas are put by itself; nesting up to 64 ---- */
struct json_writer {
    struct buf *out;
    uint64_t has_item; /* bit per depth */
    int depth;
    bool after_name;
};

struct json_writer json_write_to(struct buf *out);
void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_name(struct json_writer *w, const char *name);
void json_str(struct json_writer *w, struct str value); /* invalid UTF-8 becomes U+FFFD; p NULL gives null */
void json_text(struct json_writer *w, const char *value);
void json_int(struct json_writer *w, int64_t value);
void json_uint(struct json_writer *w, uint64_t value);
void json_double(struct json_writer *w, double value); /* not finite gives null */
void json_bool(struct json_writer *w, bool value);
void json_null(struct json_writer *w);
void json_raw(struct json_writer *w, struct str json); /* already valid JSON */
/* name and value in one step */
void json_put_str(struct json_writer *w, const char *name, struct str value);
void json_put_text(struct json_writer *w, const char *name, const char *value);
void json_put_int(struct json_writer *w, const char *name, int64_t value);
void json_put_bool(struct json_writer *w, const char *name, bool value);
void json_put_time_ms(struct json_writer *w, const char *name, int64_t at_ms);

/* ---- scanner (simdjson) ---- */
struct json_scanner; /* one per thread; reuses its memory */

#define JSON_DEPTH_MAX 128
#define JSON_PADDING 64 /* readable bytes needed behind the text given to json_scan */

struct json_scanner *json_scanner_new(size_t size_max);
void json_scanner_free(struct json_scanner **scanner);

/* Validates one whole JSON text (RFC 8259, UTF-8, depth up to JSON_DEPTH_MAX, numbers of any size). `text.p` must have JSON_PADDING readable bytes behind
 * it: keep the body in a buffer with that much reserve. The document stays loaded in the scanner until the next call. E_INVALID with byte position
 * otherwise. */
enum status json_scan(struct json_scanner *scanner, struct str text, struct err *err);
/* Kind of the loaded document: '{', '[', '"', '0' (number), 't', 'f', 'n'. */
char json_scan_kind(struct json_scanner *scanner);
/* The scalar at a path ("customer.id", "items.0.sku"; optional leading "$.") of the loaded document as text: strings unescaped, numbers as written,
 * true/false. Result valid until the next call of json_scan. false: missing, null, object or array. */
bool json_scan_path(struct json_scanner *scanner, struct str path, struct str *out);

/* Cuts a text whose outer value is an array into the raw slices of its elements (blanks around them trimmed). Works on structure only (strings, escapes,
 * nesting): each element must still be validated. E_INVALID names the position; E_LIMIT when there are more than `max`. *out is malloc'ed. */
enum status json_split_array(struct str text, size_t max, struct str **out, size_t *n, struct err *err);

/* The raw slice of the value at a path of a valid JSON text (strings with their quotes). Member names with escapes do not match. false: missing. */
bool json_raw_at(struct str text, struct str path, struct str *out);
/* RFC 8259 by the letter, without a tree: depth up to depth_max, numbers of any size, UTF-8. E_INVALID names the byte. Slower than json_scan; used for what
 * simdjson refuses (integers over 64 bits) and to name the place of an error. */
enum status json_validate(struct str text, size_t depth_max, struct err *err);

/* The decimal number at a path, exactly as written (no double in between): "12.30" stays "12.30"; strings holding a number count too. For json_decimal.
 * Does its own scan of the text (no padding needed). */
bool json_number_at(struct str text, struct str path, struct buf *out);

#endif
