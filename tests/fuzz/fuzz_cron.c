/* Schedules and time zone files: any text and any bytes give an error or something that fires in the future. Input: the schedule, a NUL, a TZif file. */
#include "base/cron.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size, 0);
    struct str rest = str_make(text, size);
    struct str schedule = str_cut(&rest, '\0');
    struct zone *zone = NULL;
    struct cron cron;
    bool zoned = zone_parse(rest, &zone, NULL) == OK;
    if (!zoned) zone = zone_utc();
    int64_t local[2];
    for (int64_t at_s = -4000000000; at_s < 9000000000; at_s += 777777777) {
        int32_t offset = zone_offset_s(zone, at_s);
        must(offset >= -26 * 3600 && offset <= 26 * 3600);
        int n = zone_instants(zone, at_s, local);
        must(n >= 0 && n <= 2 && (n < 2 || local[0] < local[1]));
    }
    if (cron_parse(schedule, &cron, NULL) == OK && !zoned) { /* a zone of rubbish may jump about: only its reading is tested */
        int64_t at_ms = 1763632800000;
        for (int i = 0; i < 4; i++) {
            int64_t next_ms = cron_next_ms(&cron, zone, at_ms);
            must(next_ms > at_ms && next_ms % 60000 == 0);
            at_ms = next_ms;
        }
    }
    zone_free(&zone);
    free(text);
    return 0;
}
