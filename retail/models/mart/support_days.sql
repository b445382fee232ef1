/* cupel
kind: incremental
by: [day]
key: [day]
time: day
store: warehouse
description: What happened to support cases on a day
columns:
  day: Day in the project's time zone
  resolved: Cases whose last resolved is on the day
  median_hours: Median time to resolution of them, hours
  p90_hours: 90th percentile of it
  avg_hours: Average of it
  opened_less_closed: By how much the day changed the number of open cases
owner: support
tags: [crm, state]
*/
SELECT
    day, resolved,
    safe_ratio(twice_median_us, 7200000000) AS median_hours,
    safe_ratio(ten_p90_us, 36000000000) AS p90_hours,
    safe_ratio(resolution_us, resolved * 3600000000) AS avg_hours,
    opened_less_closed
FROM (
    -- Between whole microseconds the median lies on halves and the 90th percentile on tenths: rounding the double to those makes it exact again.
    SELECT day, count(resolution_us) AS resolved, sum(resolution_us) AS resolution_us,
           CAST(round(2 * quantile_cont(resolution_us, 0.5)) AS BIGINT) AS twice_median_us, CAST(round(10 * quantile_cont(resolution_us, 0.9)) AS BIGINT) AS ten_p90_us,
           CAST(sum(change) AS BIGINT) AS opened_less_closed
    FROM silver.case_events
    GROUP BY day
)
