/* Poll answers: whatever comes, the records are slices of it, in order, and each is JSON by itself. */
#include <stdlib.h>

#include "base/json.h"
#include "connect/poll.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str body = {(const char *)data, size};
    static const char *const paths[] = {NULL, "data", "data.items"};
    for (size_t k = 0; k < 3; k++) {
        struct str *records;
        size_t n;
        if (poll_cut(body, paths[k], &records, &n, NULL) != OK) {
            must(!records && n == 0);
            continue;
        }
        const char *last = body.p;
        for (size_t i = 0; i < n; i++) {
            must(records[i].p >= last && records[i].p + records[i].n <= body.p + body.n);
            must(json_validate(records[i], JSON_DEPTH_MAX, NULL) == OK);
            last = records[i].p + records[i].n;
        }
        free(records);
    }
    return 0;
}
