/* cupel
kind: full
key: [day]
time: day
store: both
description: "KPI 12: time from a case's first opened to its last resolved, by the day of that, and cases open at the end of each day"
columns:
  day: Every day from the first to the last contact
  resolved: Cases resolved on the day and not opened again since
  median_hours: Median time to resolution, hours
  p90_hours: 90th percentile of it
  avg_hours: Average of it
  open_backlog: Cases open at the end of the day
owner: support
tags: [kpi, crm]
*/
SELECT
    d.day, coalesce(s.resolved, 0) AS resolved, s.median_hours, s.p90_hours, s.avg_hours,
    CAST(sum(coalesce(s.opened_less_closed, 0)) OVER (ORDER BY d.day) AS BIGINT) AS open_backlog
FROM (
    SELECT CAST(unnest(generate_series(CAST(min(day) AS TIMESTAMP), CAST(max(day) AS TIMESTAMP), INTERVAL 1 DAY)) AS DATE) AS day FROM support.interaction_volume
) d
LEFT JOIN mart.support_days s ON s.day = d.day
