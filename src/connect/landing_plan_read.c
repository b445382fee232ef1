/* Apart from landing_plan_json.c because base/json.h and jansson.h both have names that begin with json_. */
#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "connect/landing_plan.h"

static int64_t integer(json_t *spec, const char *name, int64_t min, int64_t max, bool *fine) {
    json_t *value = json_object_get(spec, name);
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max) return *fine = false, min;
    return json_integer_value(value);
}

static const char *text_of(struct arena *arena, json_t *value, bool *fine) {
    if (!json_is_string(value)) return *fine = false, "";
    return arena_strndup(arena, json_string_value(value), json_string_length(value));
}

static void read_lists(struct arena *arena, json_t *spec, struct landing_plan *plan, bool *fine) {
    json_t *keys = json_object_get(spec, "keys"), *nulls = json_object_get(spec, "nulls");
    plan->columns = arena_new_array(arena, struct landing_column, plan->columns_n + 1);
    bool json = plan->format == LANDING_JSON || plan->format == LANDING_NDJSON;
    if (!json_is_array(keys) || !json_is_array(nulls) || (json && json_array_size(keys) != plan->columns_n)) {
        *fine = false;
        return;
    }
    for (size_t i = 0; json && i < plan->columns_n; i++) {
        BUF_SCOPE(raw);
        const char *hex = text_of(arena, json_array_get(keys, i), fine);
        if (!buf_unhex(&raw, str_of(hex))) *fine = false;
        plan->columns[i].key = arena_str(arena, raw.p ? buf_view(&raw) : STR(""));
    }
    plan->nulls_n = json_array_size(nulls);
    const char **texts = arena_new_array(arena, const char *, plan->nulls_n + 1);
    for (size_t i = 0; i < plan->nulls_n; i++) texts[i] = text_of(arena, json_array_get(nulls, i), fine);
    plan->nulls = texts;
}

static void read_policies(struct arena *arena, json_t *spec, struct landing_plan *plan, bool *fine) {
    json_t *policies = json_object_get(spec, "policies"), *secret = json_object_get(spec, "secret");
    BUF_SCOPE(bytes);
    plan->protects = json_array_size(policies) > 0;
    if (plan->protects && json_array_size(policies) != plan->columns_n) *fine = false;
    if (secret && (!buf_unhex(&bytes, str_of(text_of(arena, secret, fine))) || bytes.n != LANDING_SECRET_BYTES)) *fine = false;
    if (secret && *fine) plan->secret = (const uint8_t *)arena_str(arena, buf_view(&bytes)).p;
    for (size_t i = 0; plan->protects && *fine && i < plan->columns_n; i++) {
        json_t *policy = json_array_get(policies, i);
        json_int_t value = json_integer_value(policy);
        if (!json_is_integer(policy) || value < COLUMN_KEPT || value > COLUMN_TOKENISED || (value == COLUMN_TOKENISED && !plan->secret)) *fine = false;
        plan->columns[i].policy = (enum column_policy)value;
    }
}

enum status landing_plan_read(struct arena *arena, struct str text, struct landing_plan *out, int64_t *id, const char **spool, struct err *err) {
    struct landing_plan plan = {0};
    json_t *spec = json_loadb(text.p, text.n, 0, NULL);
    bool fine = json_is_object(spec);
    int64_t file_id = integer(spec, "id", INT64_MIN, INT64_MAX, &fine);
    plan.path = text_of(arena, json_object_get(spec, "path"), &fine);
    json_t *spool_value = json_object_get(spec, "spool");
    const char *spool_path = json_is_null(spool_value) ? NULL : text_of(arena, spool_value, &fine);
    plan.format = (enum landing_format)integer(spec, "format", LANDING_CSV, LANDING_LINES, &fine);
    plan.encoding.kind = (enum encoding_kind)integer(spec, "encoding", ENCODING_UTF8, ENCODING_SINGLE, &fine);
    struct str name = str_of(text_of(arena, json_object_get(spec, "encoding_name"), &fine));
    if (name.n >= sizeof plan.encoding.name)
        fine = false;
    else if (name.n > 0)
        memcpy(plan.encoding.name, name.p, name.n);
    plan.bom_bytes = (size_t)integer(spec, "bom_bytes", 0, 3, &fine);
    plan.dialect.delimiter = (char)integer(spec, "delimiter", 0, 255, &fine);
    plan.dialect.quote = (char)integer(spec, "quote", 0, 255, &fine);
    plan.dialect.escape = (char)integer(spec, "escape", 0, 255, &fine);
    plan.header = json_is_true(json_object_get(spec, "header"));
    plan.ends = (enum line_ends)integer(spec, "ends", LINES_LF, LINES_CR, &fine);
    plan.record_bytes_max = (size_t)integer(spec, "record_bytes_max", 1, LANDING_RECORD_BYTES_MAX, &fine);
    plan.columns_n = (size_t)integer(spec, "columns_n", 0, LANDING_COLUMNS_MAX, &fine);
    plan.columns_max = LANDING_COLUMNS_MAX;
    if (fine) read_lists(arena, spec, &plan, &fine);
    if (fine) read_policies(arena, spec, &plan, &fine);
    json_decref(spec);
    if (!fine) return err_set(err, E_INVALID, "the landing specification cannot be read");
    *out = plan;
    *spool = spool_path;
    *id = file_id;
    return OK;
}
