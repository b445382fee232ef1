/* Event bodies: cutting gives views inside the body; what passes the check is JSON, stays JSON when its personal fields are replaced, and no masked value
 * is left. */
#include "ingest/protect.h"
#include "ingest/records.h"
#include "fuzz.h"

static void protect_one(const struct protect_rules *rules, struct str record) {
    BUF_SCOPE(out);
    bool changed = false;
    struct str secret = STR("0123456789abcdef0123456789abcdef"), raw;
    must(protect_apply(rules, record, secret, &out, &changed, NULL) == OK); /* it was valid before */
    must(changed || str_eq(buf_view(&out), record));
    must(json_validate(buf_view(&out), JSON_DEPTH_MAX, NULL) == OK);
    if (json_raw_at(buf_view(&out), STR("email"), &raw)) must(str_is(raw, "null") || str_is(raw, "\"" PROTECT_MASKED "\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_scanner *scanner;
    static struct arena *fixed;
    static struct protect_rules rules;
    if (!scanner) {
        scanner = json_scanner_new(1 << 20);
        fixed = arena_new();
        static const struct config_protect paths[] = {
            {.path = "email", .policy = PROTECT_MASK}, {.path = "a.*.b", .policy = PROTECT_TOKENISE}, {.path = "items.0", .policy = PROTECT_MASK}};
        must(protect_compile(paths, 3, fixed, &rules, NULL) == OK);
    }
    static const enum body_kind kinds[] = {BODY_JSON, BODY_NDJSON, BODY_NDJSON, BODY_RAW};
    enum body_kind kind = kinds[fuzz_take(data, &size, 4)];
    char *body = fuzz_copy(data, size, JSON_PADDING);
    const struct record_limits limits = {.record_bytes_max = 2048, .records_max = 200};
    ARENA_SCOPE(arena);
    struct record_list list = {0};
    struct err err;
    if (records_cut(kind, str_make(body, size), &limits, arena, &list, &err) == OK) {
        must(list.n <= limits.records_max);
        for (uint32_t i = 0; i < list.n; i++) {
            struct str text = list.list[i].text;
            must(text.p >= body && text.p + text.n <= body + size);
            if (kind == BODY_RAW || record_check(scanner, text, &limits, false, &err) != OK) continue;
            must(json_validate(text, JSON_DEPTH_MAX, NULL) == OK);
            protect_one(&rules, text);
        }
    }
    free(body);
    return 0;
}
