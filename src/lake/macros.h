/* The SQL macros that models and queries may use (docs/macros.md). */
#ifndef CUPEL_LAKE_MACROS_H
#define CUPEL_LAKE_MACROS_H

/* macros.sql: statements that make all macros in the current catalog. They name each other without a catalog, so whoever calls one needs that catalog in the
 * search path. `cupel_day(ts)` reads the variable cupel_timezone of the session, and its TimeZone when that is not set. Static memory. */
extern const char *const lake_macros_sql;

#endif
