/* Time zones: the offset from UTC at an instant, and the instants that a clock on the wall shows.
 *
 * Read from TZif files (RFC 9636, what /usr/share/zoneinfo has) by ourselves: the C library knows one zone per process, schedules have one each.
 * A zone is immutable: any thread may read it. */
#ifndef CUPEL_BASE_ZONE_H
#define CUPEL_BASE_ZONE_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define ZONE_FILE_BYTES_MAX (256u << 10)

struct zone;

/* From the bytes of a TZif file. E_CORRUPT: not one. */
enum status zone_parse(struct str tzif, struct zone **out, struct err *err);
struct zone *zone_utc(void); /* a new one */
void zone_free(struct zone **zone);

/* Seconds east of UTC in force at the instant (seconds since 1970). */
int32_t zone_offset_s(const struct zone *zone, int64_t at_s);
/* When a clock on the wall shows local_s (seconds since 1970 as if it were UTC): 1 usually; 2 in an hour that comes twice, out[0] first; 0 in one that is
 * left out: out[0] is then the instant of the jump. */
int zone_instants(const struct zone *zone, int64_t local_s, int64_t out[2]);

#endif
