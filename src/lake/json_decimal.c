/* Scalar functions of our own:
 *
 *   json_decimal(payload VARCHAR, path VARCHAR) -> DECIMAL(38,9)   the number at the path, no double in between. A string that holds a number counts. NULL
 *       when there is none (missing, null, other text, object, array, payload not JSON). More than 9 digits behind the point that are not zero, or more
 *       than 29 before it, are an error: no digit is lost in silence.
 *   json_number_text(payload VARCHAR, path VARCHAR) -> VARCHAR     the same number exactly as it is written.
 *   cupel_event_time(id UUID) -> TIMESTAMP WITH TIME ZONE          the time in an event id; NULL when the id is not one of ours.
 *   cupel_event_id(received_ms BIGINT, stream INTEGER, partition INTEGER, "offset" BIGINT) -> UUID */
#include <stdio.h>

#include "base/assert.h"
#include "base/event_id.h"
#include "base/json.h"
#include "lake/engine_child.h"

#define DECIMAL_SCALE 9
#define DECIMAL_WIDTH 38

static struct str string_at(const duckdb_string_t *strings, idx_t row) {
    duckdb_string_t *s = (duckdb_string_t *)(uintptr_t)&strings[row];
    return str_make(duckdb_string_t_data(s), duckdb_string_t_length(*s));
}

/* The rows of the inputs that are all there, as a mask of its own; the others become NULL. */
struct inputs {
    uint64_t *masks[4];
    idx_t columns;
    uint64_t *result_mask;
};

static struct inputs inputs_of(duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = {.columns = duckdb_data_chunk_get_column_count(input)};
    must(in.columns <= 4);
    for (idx_t i = 0; i < in.columns; i++) {
        in.masks[i] = duckdb_vector_get_validity(duckdb_data_chunk_get_vector(input, i));
    }
    duckdb_vector_ensure_validity_writable(output);
    in.result_mask = duckdb_vector_get_validity(output);
    return in;
}

static bool row_present(const struct inputs *in, idx_t row) {
    for (idx_t i = 0; i < in->columns; i++) {
        if (!duckdb_validity_row_is_valid(in->masks[i], row)) {
            return false;
        }
    }
    return true;
}

/* ---- decimals ---- */

enum parsed { PARSED, NOT_A_NUMBER, TOO_PRECISE, TOO_LARGE };

static bool push_digit(__int128 *value, int digit) {
    const __int128 most = (__int128)9999999999999999999ULL * 10000000000000000000ULL + 9999999999999999999ULL; /* 38 nines */
    if (*value > (most - digit) / 10) {
        return false;
    }
    *value = *value * 10 + digit;
    return true;
}

/* JSON number text, exponent included, as an integer of 10^-9. */
static enum parsed parse_decimal(struct str text, __int128 *out) {
    size_t at = 0;
    bool negative = text.n && text.p[0] == '-';
    at += negative || (text.n && text.p[0] == '+');
    __int128 value = 0;
    int64_t scale = 0, exponent = 0; /* digits behind the point so far */
    bool point = false, any = false, too_large = false;
    int zeros = 0; /* trailing zeros kept back, so that 1.50000000000 fits */
    for (; at < text.n && ((text.p[at] >= '0' && text.p[at] <= '9') || (text.p[at] == '.' && !point)); at++) {
        if (text.p[at] == '.') {
            point = true;
            continue;
        }
        any = true;
        scale += point;
        zeros++;
        if (text.p[at] != '0') {
            for (; zeros > 1; zeros--) {
                too_large |= !push_digit(&value, 0);
            }
            too_large |= !push_digit(&value, text.p[at] - '0');
            zeros = 0;
        }
    }
    if (!any) {
        return NOT_A_NUMBER;
    }
    if (at < text.n && (text.p[at] == 'e' || text.p[at] == 'E')) {
        struct str digits = str_from(text, at + 1);
        digits = digits.n && digits.p[0] == '+' ? str_from(digits, 1) : digits;
        if (!str_to_i64(digits, &exponent)) {
            return NOT_A_NUMBER;
        }
    } else if (at < text.n) {
        return NOT_A_NUMBER;
    }
    if (value == 0 && !too_large) {
        *out = 0;
        return PARSED;
    }
    if (too_large || exponent > 1000 || exponent < -1000) {
        return exponent < 0 ? TOO_PRECISE : TOO_LARGE;
    }
    int64_t shift = DECIMAL_SCALE + exponent - scale + zeros;
    for (; shift > 0; shift--) {
        if (!push_digit(&value, 0)) {
            return TOO_LARGE;
        }
    }
    for (; shift < 0; shift++) {
        if (value % 10) {
            return TOO_PRECISE;
        }
        value /= 10;
    }
    *out = negative ? -value : value;
    return PARSED;
}

static void json_decimal(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = inputs_of(input, output);
    must(in.columns == 2);
    const duckdb_string_t *payloads = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    const duckdb_string_t *paths = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1));
    __int128 *results = duckdb_vector_get_data(output);
    BUF_SCOPE(number);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++) {
        buf_clear(&number);
        enum parsed parsed = NOT_A_NUMBER;
        __int128 value = 0;
        if (row_present(&in, row) && json_number_at(string_at(payloads, row), string_at(paths, row), &number)) {
            parsed = parse_decimal(buf_view(&number), &value);
        }
        if (parsed == PARSED) {
            results[row] = value;
            continue;
        }
        duckdb_validity_set_row_invalid(in.result_mask, row);
        if (parsed != NOT_A_NUMBER) {
            char text[200];
            snprintf(text, sizeof text, "json_decimal: %.80s does not fit DECIMAL(%d,%d) exactly; json_number_text gives it as text", buf_cstr(&number),
                DECIMAL_WIDTH, DECIMAL_SCALE);
            duckdb_scalar_function_set_error(info, text);
            return;
        }
    }
}

static void json_number_text(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = inputs_of(input, output);
    const duckdb_string_t *payloads = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    const duckdb_string_t *paths = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1));
    BUF_SCOPE(number);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++) {
        buf_clear(&number);
        if (row_present(&in, row) && json_number_at(string_at(payloads, row), string_at(paths, row), &number)) {
            duckdb_vector_assign_string_element_len(output, row, number.n ? number.p : "", number.n);
        } else {
            duckdb_validity_set_row_invalid(in.result_mask, row);
        }
    }
}

/* ---- event ids ---- */

static bool read_address(duckdb_uhugeint value, struct event_address *out) {
    struct event_id id;
    uint64_t high = __builtin_bswap64(value.upper ^ (UINT64_C(1) << 63)), low = __builtin_bswap64(value.lower);
    memcpy(id.bytes, &high, sizeof high);
    memcpy(id.bytes + 8, &low, sizeof low);
    return event_id_read(id, out);
}

static void event_time(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = inputs_of(input, output);
    const duckdb_uhugeint *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    int64_t *results = duckdb_vector_get_data(output);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++) {
        struct event_address address;
        if (row_present(&in, row) && read_address(ids[row], &address)) {
            results[row] = address.received_ms * 1000;
        } else {
            duckdb_validity_set_row_invalid(in.result_mask, row);
        }
    }
}

static void event_offset(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = inputs_of(input, output);
    const duckdb_uhugeint *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    int64_t *results = duckdb_vector_get_data(output);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++) {
        struct event_address address;
        if (row_present(&in, row) && read_address(ids[row], &address)) {
            results[row] = (int64_t)address.offset;
        } else {
            duckdb_validity_set_row_invalid(in.result_mask, row);
        }
    }
}

static void event_id(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    struct inputs in = inputs_of(input, output);
    must(in.columns == 4);
    const int64_t *times = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 0));
    const int32_t *streams = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 1));
    const int32_t *partitions = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 2));
    const int64_t *offsets = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 3));
    duckdb_uhugeint *results = duckdb_vector_get_data(output);
    idx_t n = duckdb_data_chunk_get_size(input);
    for (idx_t row = 0; row < n; row++) {
        if (!row_present(&in, row)) {
            duckdb_validity_set_row_invalid(in.result_mask, row);
            continue;
        }
        bool fits = times[row] >= 0 && times[row] < (INT64_C(1) << 48) && streams[row] >= 0 && streams[row] <= EVENT_STREAM_MAX && partitions[row] >= 0 &&
            partitions[row] < EVENT_PARTITIONS_MAX && offsets[row] >= 0 && (uint64_t)offsets[row] <= EVENT_OFFSET_MAX;
        if (!fits) {
            duckdb_scalar_function_set_error(info, "cupel_event_id: a part is outside its range");
            return;
        }
        struct event_id id = event_id_make((struct event_address){times[row], (uint16_t)streams[row], (uint16_t)partitions[row], (uint64_t)offsets[row]});
        uint64_t high, low;
        memcpy(&high, id.bytes, sizeof high);
        memcpy(&low, id.bytes + 8, sizeof low);
        results[row] = (duckdb_uhugeint){.lower = __builtin_bswap64(low), .upper = __builtin_bswap64(high) ^ (UINT64_C(1) << 63)};
    }
}

/* ---- registration ---- */

static enum status register_one(duckdb_connection connection, const char *name, const duckdb_type *parameters, size_t n, duckdb_logical_type result,
    duckdb_scalar_function_t f, struct err *err) {
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_scalar_function_set_name(function, name);
    for (size_t i = 0; i < n; i++) {
        duckdb_logical_type type = duckdb_create_logical_type(parameters[i]);
        duckdb_scalar_function_add_parameter(function, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_scalar_function_set_return_type(function, result);
    duckdb_scalar_function_set_special_handling(function); /* nulls are ours: else a constant NULL result would skip us, and a row's NULL not */
    duckdb_scalar_function_set_function(function, f);
    duckdb_state state = duckdb_register_scalar_function(connection, function);
    duckdb_destroy_logical_type(&result);
    duckdb_destroy_scalar_function(&function);
    return state == DuckDBSuccess ? OK : err_set(err, E_INTERNAL, "registering %s", name);
}

enum status scalar_register(duckdb_connection connection, struct err *err) {
    static const duckdb_type texts[] = {DUCKDB_TYPE_VARCHAR, DUCKDB_TYPE_VARCHAR}, uuid[] = {DUCKDB_TYPE_UUID};
    static const duckdb_type address[] = {DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_INTEGER, DUCKDB_TYPE_INTEGER, DUCKDB_TYPE_BIGINT};
    enum status st = register_one(connection, "json_decimal", texts, 2, duckdb_create_decimal_type(DECIMAL_WIDTH, DECIMAL_SCALE), json_decimal, err);
    if (st == OK) {
        st = register_one(connection, "json_number_text", texts, 2, duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR), json_number_text, err);
    }
    if (st == OK) {
        st = register_one(connection, "cupel_event_time", uuid, 1, duckdb_create_logical_type(DUCKDB_TYPE_TIMESTAMP_TZ), event_time, err);
    }
    if (st == OK) {
        st = register_one(connection, "cupel_event_offset", uuid, 1, duckdb_create_logical_type(DUCKDB_TYPE_BIGINT), event_offset, err);
    }
    if (st == OK) {
        st = register_one(connection, "cupel_event_id", address, 4, duckdb_create_logical_type(DUCKDB_TYPE_UUID), event_id, err);
    }
    return st;
}
