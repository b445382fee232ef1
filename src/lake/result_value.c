#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "base/json.h"
#include "base/times.h"
#include "lake/result.h"

/* ---- types ---- */

static bool read_children(struct arena *arena, duckdb_logical_type logical, struct value_type *t) {
    bool plain = true;
    t->children = arena_new_array(arena, struct value_type, t->children_n);
    for (idx_t i = 0; i < t->children_n; i++) {
        duckdb_logical_type child;
        switch (t->id) {
        case DUCKDB_TYPE_LIST: child = duckdb_list_type_child_type(logical); break;
        case DUCKDB_TYPE_ARRAY: child = duckdb_array_type_child_type(logical); break;
        case DUCKDB_TYPE_MAP: child = i ? duckdb_map_type_value_type(logical) : duckdb_map_type_key_type(logical); break;
        default: child = duckdb_struct_type_child_type(logical, i); break;
        }
        plain = value_type_read(arena, child, &t->children[i]) && plain;
        duckdb_destroy_logical_type(&child);
    }
    return plain;
}

static const char *scalar_name(duckdb_type id) {
    switch (id) {
    case DUCKDB_TYPE_BOOLEAN: return "BOOLEAN";
    case DUCKDB_TYPE_TINYINT: return "TINYINT";
    case DUCKDB_TYPE_SMALLINT: return "SMALLINT";
    case DUCKDB_TYPE_INTEGER: return "INTEGER";
    case DUCKDB_TYPE_BIGINT: return "BIGINT";
    case DUCKDB_TYPE_HUGEINT: return "HUGEINT";
    case DUCKDB_TYPE_UTINYINT: return "UTINYINT";
    case DUCKDB_TYPE_USMALLINT: return "USMALLINT";
    case DUCKDB_TYPE_UINTEGER: return "UINTEGER";
    case DUCKDB_TYPE_UBIGINT: return "UBIGINT";
    case DUCKDB_TYPE_UHUGEINT: return "UHUGEINT";
    case DUCKDB_TYPE_FLOAT: return "FLOAT";
    case DUCKDB_TYPE_DOUBLE: return "DOUBLE";
    case DUCKDB_TYPE_VARCHAR: return "VARCHAR";
    case DUCKDB_TYPE_BLOB: return "BLOB";
    case DUCKDB_TYPE_DATE: return "DATE";
    case DUCKDB_TYPE_TIME: return "TIME";
    case DUCKDB_TYPE_TIMESTAMP: return "TIMESTAMP";
    case DUCKDB_TYPE_TIMESTAMP_S: return "TIMESTAMP_S";
    case DUCKDB_TYPE_TIMESTAMP_MS: return "TIMESTAMP_MS";
    case DUCKDB_TYPE_TIMESTAMP_NS: return "TIMESTAMP_NS";
    case DUCKDB_TYPE_TIMESTAMP_TZ: return "TIMESTAMP WITH TIME ZONE";
    case DUCKDB_TYPE_INTERVAL: return "INTERVAL";
    case DUCKDB_TYPE_UUID: return "UUID";
    case DUCKDB_TYPE_SQLNULL: return "NULL";
    default: return NULL;
    }
}

static const char *struct_name(struct arena *arena, const struct value_type *t) {
    BUF_SCOPE(text);
    buf_text(&text, "STRUCT(");
    for (idx_t i = 0; i < t->children_n; i++) {
        buf_text(&text, i ? ", " : "");
        sql_quote_name(&text, str_of(t->names[i]));
        buf_printf(&text, " %s", t->children[i].text);
    }
    buf_char(&text, ')');
    return arena_strdup(arena, buf_cstr(&text));
}

static bool read_nested(struct arena *arena, duckdb_logical_type logical, struct value_type *t) {
    if (t->id == DUCKDB_TYPE_STRUCT) {
        t->children_n = duckdb_struct_type_child_count(logical);
        t->names = arena_new_array(arena, const char *, t->children_n);
        for (idx_t i = 0; i < t->children_n; i++) {
            char *name = duckdb_struct_type_child_name(logical, i);
            t->names[i] = arena_strdup(arena, name);
            duckdb_free(name);
        }
    } else {
        t->children_n = t->id == DUCKDB_TYPE_MAP ? 2 : 1;
        t->array_n = t->id == DUCKDB_TYPE_ARRAY ? duckdb_array_type_array_size(logical) : 0;
    }
    if (!read_children(arena, logical, t)) {
        return false;
    }
    switch (t->id) {
    case DUCKDB_TYPE_STRUCT: t->text = struct_name(arena, t); break;
    case DUCKDB_TYPE_MAP: t->text = arena_printf(arena, "MAP(%s, %s)", t->children[0].text, t->children[1].text); break;
    case DUCKDB_TYPE_ARRAY: t->text = arena_printf(arena, "%s[%" PRIu64 "]", t->children[0].text, (uint64_t)t->array_n); break;
    default: t->text = arena_printf(arena, "%s[]", t->children[0].text); break;
    }
    return true;
}

bool value_type_read(struct arena *arena, duckdb_logical_type logical, struct value_type *out) {
    struct value_type t = {.id = duckdb_get_type_id(logical)};
    switch (t.id) {
    case DUCKDB_TYPE_DECIMAL:
        t.stored = duckdb_decimal_internal_type(logical);
        t.width = duckdb_decimal_width(logical);
        t.scale = duckdb_decimal_scale(logical);
        t.text = arena_printf(arena, "DECIMAL(%u,%u)", t.width, t.scale);
        break;
    case DUCKDB_TYPE_ENUM:
        t.stored = duckdb_enum_internal_type(logical);
        t.text = "ENUM";
        t.children_n = duckdb_enum_dictionary_size(logical);
        t.names = arena_new_array(arena, const char *, t.children_n);
        for (idx_t i = 0; i < t.children_n; i++) {
            char *name = duckdb_enum_dictionary_value(logical, i);
            t.names[i] = arena_strdup(arena, name);
            duckdb_free(name);
        }
        break;
    case DUCKDB_TYPE_LIST:
    case DUCKDB_TYPE_ARRAY:
    case DUCKDB_TYPE_MAP:
    case DUCKDB_TYPE_STRUCT:
        if (!read_nested(arena, logical, &t)) {
            return false;
        }
        break;
    default: {
        char *alias = duckdb_logical_type_get_alias(logical);
        t.is_json = t.id == DUCKDB_TYPE_VARCHAR && alias && strcmp(alias, "JSON") == 0;
        duckdb_free(alias);
        t.text = t.is_json ? "JSON" : scalar_name(t.id);
        if (!t.text) {
            return false;
        }
    }
    }
    *out = t;
    return true;
}

bool value_is_number(const struct value_type *t) {
    switch (t->id) {
    case DUCKDB_TYPE_TINYINT:
    case DUCKDB_TYPE_SMALLINT:
    case DUCKDB_TYPE_INTEGER:
    case DUCKDB_TYPE_BIGINT:
    case DUCKDB_TYPE_HUGEINT:
    case DUCKDB_TYPE_UTINYINT:
    case DUCKDB_TYPE_USMALLINT:
    case DUCKDB_TYPE_UINTEGER:
    case DUCKDB_TYPE_UBIGINT:
    case DUCKDB_TYPE_UHUGEINT:
    case DUCKDB_TYPE_FLOAT:
    case DUCKDB_TYPE_DOUBLE:
    case DUCKDB_TYPE_DECIMAL: return true;
    default: return false;
    }
}

/* ---- numbers ---- */

static void put_u128(struct buf *out, unsigned __int128 v, unsigned scale, bool negative) {
    must(scale <= 38);
    char digits[48];
    size_t at = sizeof digits;
    unsigned n = 0;
    do {
        if (n == scale && n) {
            digits[--at] = '.';
        }
        digits[--at] = (char)('0' + (int)(v % 10));
        v /= 10;
        n++;
    } while (v || n <= scale);
    if (negative) {
        digits[--at] = '-';
    }
    buf_put(out, digits + at, sizeof digits - at);
}

static void put_i128(struct buf *out, __int128 v, unsigned scale) { put_u128(out, v < 0 ? -(unsigned __int128)v : (unsigned __int128)v, scale, v < 0); }

static __int128 stored_int(duckdb_type stored, const void *data, idx_t row) {
    switch (stored) {
    case DUCKDB_TYPE_TINYINT: return ((const int8_t *)data)[row];
    case DUCKDB_TYPE_SMALLINT: return ((const int16_t *)data)[row];
    case DUCKDB_TYPE_INTEGER: return ((const int32_t *)data)[row];
    case DUCKDB_TYPE_BIGINT: return ((const int64_t *)data)[row];
    case DUCKDB_TYPE_UTINYINT: return ((const uint8_t *)data)[row];
    case DUCKDB_TYPE_USMALLINT: return ((const uint16_t *)data)[row];
    case DUCKDB_TYPE_UINTEGER: return ((const uint32_t *)data)[row];
    case DUCKDB_TYPE_UBIGINT: return ((const uint64_t *)data)[row];
    case DUCKDB_TYPE_HUGEINT: return ((const __int128 *)data)[row];
    default: must_not();
    }
}

/* The shortest text that reads back as the same number. `precise` digits always do. */
static void put_double(struct buf *out, double v, int short_digits, int precise, bool single) {
    char text[40];
    for (int digits = short_digits; digits <= precise; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v) {
            break;
        }
    }
    buf_text(out, text);
    if (!strpbrk(text, ".en")) { /* tells it from an integer */
        buf_text(out, ".0");
    }
}

static double double_at(const struct value_type *t, const void *data, idx_t row) {
    return t->id == DUCKDB_TYPE_FLOAT ? (double)((const float *)data)[row] : ((const double *)data)[row];
}

static void put_number(struct buf *out, const struct value_type *t, const void *data, idx_t row) {
    if (t->id == DUCKDB_TYPE_FLOAT || t->id == DUCKDB_TYPE_DOUBLE) {
        bool single = t->id == DUCKDB_TYPE_FLOAT;
        double v = double_at(t, data, row);
        if (isfinite(v)) {
            put_double(out, v, single ? 6 : 15, single ? 9 : 17, single);
        } else {
            buf_text(out, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
        }
    } else if (t->id == DUCKDB_TYPE_DECIMAL) {
        put_i128(out, stored_int(t->stored, data, row), t->scale);
    } else if (t->id == DUCKDB_TYPE_UHUGEINT) {
        put_u128(out, ((const unsigned __int128 *)data)[row], 0, false);
    } else if (t->id == DUCKDB_TYPE_HUGEINT) {
        put_i128(out, ((const __int128 *)data)[row], 0);
    } else {
        char text[24];
        int64_t v = t->id == DUCKDB_TYPE_UBIGINT ? 0 : (int64_t)stored_int(t->id, data, row);
        int n =
            t->id == DUCKDB_TYPE_UBIGINT ? snprintf(text, sizeof text, "%" PRIu64, ((const uint64_t *)data)[row]) : snprintf(text, sizeof text, "%" PRId64, v);
        buf_put(out, text, (size_t)n);
    }
}

/* ---- times ---- */

static void put_date(struct buf *out, int32_t days) {
    if (days == INT32_MAX || days == -INT32_MAX) {
        buf_text(out, days > 0 ? "infinity" : "-infinity");
        return;
    }
    struct civil c = time_civil_ms((int64_t)days * 86400000);
    buf_printf(out, "%04d-%02d-%02d", c.year, c.month, c.day);
}

static void put_time(struct buf *out, int64_t us) {
    buf_printf(out, "%02d:%02d:%02d", (int)(us / 3600000000), (int)(us / 60000000 % 60), (int)(us / 1000000 % 60));
    if (us % 1000000) {
        buf_printf(out, ".%06d", (int)(us % 1000000));
    }
}

static void put_timestamp(struct buf *out, const struct value_type *t, int64_t v) {
    int64_t us = v, ns = 0;
    if (v == INT64_MAX || v == -INT64_MAX) {
        buf_text(out, v > 0 ? "infinity" : "-infinity");
        return;
    }
    switch (t->id) {
    case DUCKDB_TYPE_TIMESTAMP_S: us = v * 1000000; break;
    case DUCKDB_TYPE_TIMESTAMP_MS: us = v * 1000; break;
    case DUCKDB_TYPE_TIMESTAMP_NS:
        us = v >= 0 ? v / 1000 : -((-v + 999) / 1000);
        ns = v - us * 1000;
        break;
    default: break;
    }
    char text[RFC3339_MAX];
    size_t n = time_format_us(us, text);
    bool zone = t->id == DUCKDB_TYPE_TIMESTAMP_TZ;
    if (ns) {
        buf_printf(out, "%.*s%s%03d", (int)(n - 1), text, us % 1000 ? "" : "000", (int)ns);
        return;
    }
    buf_put(out, text, zone ? n : n - 1);
}

static void put_interval(struct buf *out, duckdb_interval v) { /* ISO 8601 duration */
    if (!v.months && !v.days && !v.micros) {
        buf_text(out, "PT0S");
        return;
    }
    buf_char(out, 'P');
    if (v.months / 12) {
        buf_printf(out, "%dY", v.months / 12);
    }
    if (v.months % 12) {
        buf_printf(out, "%dM", v.months % 12);
    }
    if (v.days) {
        buf_printf(out, "%dD", v.days);
    }
    int64_t us = v.micros;
    if (!us) {
        return;
    }
    buf_char(out, 'T');
    if (us / 3600000000) {
        buf_printf(out, "%" PRId64 "H", us / 3600000000);
    }
    if (us / 60000000 % 60) {
        buf_printf(out, "%dM", (int)(us / 60000000 % 60));
    }
    int64_t rest = us % 60000000;
    if (rest % 1000000) {
        buf_printf(out, "%s%d.%06dS", rest < 0 ? "-" : "", abs((int)(rest / 1000000)), abs((int)(rest % 1000000)));
    } else if (rest) {
        buf_printf(out, "%dS", (int)(rest / 1000000));
    }
}

/* ---- other scalars ---- */

static struct str string_at(const void *data, idx_t row) {
    duckdb_string_t *s = (duckdb_string_t *)(uintptr_t)data + row;
    return str_make(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

static void put_uuid(struct buf *out, duckdb_uhugeint v) {
    uint64_t high = __builtin_bswap64(v.upper ^ (UINT64_C(1) << 63)), low = __builtin_bswap64(v.lower);
    struct event_id id;
    memcpy(id.bytes, &high, sizeof high);
    memcpy(id.bytes + 8, &low, sizeof low);
    char text[EVENT_ID_TEXT];
    event_id_text(id, text);
    buf_put(out, text, sizeof text);
}

/* A scalar as plain text. */
static void put_scalar(struct buf *out, const struct value_type *t, const void *data, idx_t row) {
    switch (t->id) {
    case DUCKDB_TYPE_BOOLEAN: buf_text(out, ((const bool *)data)[row] ? "true" : "false"); break;
    case DUCKDB_TYPE_VARCHAR: buf_str(out, string_at(data, row)); break;
    case DUCKDB_TYPE_BLOB: buf_base64(out, string_at(data, row)); break;
    case DUCKDB_TYPE_DATE: put_date(out, ((const int32_t *)data)[row]); break;
    case DUCKDB_TYPE_TIME: put_time(out, ((const int64_t *)data)[row]); break;
    case DUCKDB_TYPE_TIMESTAMP:
    case DUCKDB_TYPE_TIMESTAMP_S:
    case DUCKDB_TYPE_TIMESTAMP_MS:
    case DUCKDB_TYPE_TIMESTAMP_NS:
    case DUCKDB_TYPE_TIMESTAMP_TZ: put_timestamp(out, t, ((const int64_t *)data)[row]); break;
    case DUCKDB_TYPE_INTERVAL: put_interval(out, ((const duckdb_interval *)data)[row]); break;
    case DUCKDB_TYPE_UUID: put_uuid(out, ((const duckdb_uhugeint *)data)[row]); break;
    case DUCKDB_TYPE_ENUM: buf_text(out, t->names[(idx_t)stored_int(t->stored, data, row)]); break;
    default: put_number(out, t, data, row); break;
    }
}

/* ---- nested values ---- */

static void put_json_text(struct buf *out, struct str text) {
    struct json_writer w = json_write_to(out);
    json_str(&w, text);
}

static void put_map(struct buf *out, const struct value_type *t, duckdb_vector vector, duckdb_list_entry entry) {
    duckdb_vector pairs = duckdb_list_vector_get_child(vector);
    duckdb_vector keys = duckdb_struct_vector_get_child(pairs, 0), values = duckdb_struct_vector_get_child(pairs, 1);
    BUF_SCOPE(key);
    buf_char(out, '{');
    for (idx_t i = 0; i < entry.length; i++) {
        buf_text(out, i ? "," : "");
        buf_clear(&key);
        value_put_text(&key, &t->children[0], keys, entry.offset + i);
        put_json_text(out, str_make(key.p ? key.p : "", key.n));
        buf_char(out, ':');
        value_put_json(out, &t->children[1], values, entry.offset + i);
    }
    buf_char(out, '}');
}

static void put_nested(struct buf *out, const struct value_type *t, duckdb_vector vector, idx_t row) {
    const duckdb_list_entry *entries = duckdb_vector_get_data(vector);
    if (t->id == DUCKDB_TYPE_STRUCT) {
        buf_char(out, '{');
        for (idx_t i = 0; i < t->children_n; i++) {
            buf_text(out, i ? "," : "");
            put_json_text(out, str_of(t->names[i]));
            buf_char(out, ':');
            value_put_json(out, &t->children[i], duckdb_struct_vector_get_child(vector, i), row);
        }
        buf_char(out, '}');
        return;
    }
    if (t->id == DUCKDB_TYPE_MAP) {
        put_map(out, t, vector, entries[row]);
        return;
    }
    bool array = t->id == DUCKDB_TYPE_ARRAY;
    duckdb_vector child = array ? duckdb_array_vector_get_child(vector) : duckdb_list_vector_get_child(vector);
    idx_t start = array ? row * t->array_n : entries[row].offset, n = array ? t->array_n : entries[row].length;
    buf_char(out, '[');
    for (idx_t i = 0; i < n; i++) {
        buf_text(out, i ? "," : "");
        value_put_json(out, &t->children[0], child, start + i);
    }
    buf_char(out, ']');
}

static bool is_nested(const struct value_type *t) { return t->children && t->id != DUCKDB_TYPE_ENUM; }

static bool is_null(const struct value_type *t, duckdb_vector vector, idx_t row) {
    return t->id == DUCKDB_TYPE_SQLNULL || !duckdb_validity_row_is_valid(duckdb_vector_get_validity(vector), row);
}

void value_put_json(struct buf *out, const struct value_type *t, duckdb_vector vector, idx_t row) {
    if (is_null(t, vector, row)) {
        buf_text(out, "null");
        return;
    }
    const void *data = duckdb_vector_get_data(vector);
    if (is_nested(t)) {
        put_nested(out, t, vector, row);
    } else if (value_is_number(t)) {
        bool not_finite = (t->id == DUCKDB_TYPE_DOUBLE || t->id == DUCKDB_TYPE_FLOAT) && !isfinite(double_at(t, data, row));
        if (not_finite) {
            buf_text(out, "null");
        } else {
            put_number(out, t, data, row);
        }
    } else if (t->id == DUCKDB_TYPE_BOOLEAN || t->is_json) {
        put_scalar(out, t, data, row);
    } else if (t->id == DUCKDB_TYPE_VARCHAR) {
        put_json_text(out, string_at(data, row));
    } else if (t->id == DUCKDB_TYPE_ENUM) {
        put_json_text(out, str_of(t->names[(idx_t)stored_int(t->stored, data, row)]));
    } else { /* nothing to escape in what is left */
        buf_char(out, '"');
        put_scalar(out, t, data, row);
        buf_char(out, '"');
    }
}

bool value_put_text(struct buf *out, const struct value_type *t, duckdb_vector vector, idx_t row) {
    if (is_null(t, vector, row)) {
        return false;
    }
    if (is_nested(t)) {
        put_nested(out, t, vector, row);
    } else {
        put_scalar(out, t, duckdb_vector_get_data(vector), row);
    }
    return true;
}
