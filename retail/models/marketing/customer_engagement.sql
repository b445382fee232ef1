/* cupel
kind: incremental
by: [user_id, day]
merge: true
key: [user_id, day]
time: day
rows: >
  SELECT user_id, day, count(*) AS total_events, count(*) FILTER (is_engagement) AS engagement_events
  FROM silver.web_events WHERE user_id IS NOT NULL GROUP BY user_id, day
store: warehouse
description: "KPI 4 by signed-in user"
columns:
  user_id: Signed-in user
  day: Day in the project's time zone
  total_events: Events
  engagement_events: Those that are engagement
  engagement_score_pct: engagement_events / total_events x 100
owner: marketing
tags: [kpi, web]
*/
SELECT
    user_id, day, CAST(sum(total_events) AS BIGINT) AS total_events, CAST(sum(engagement_events) AS BIGINT) AS engagement_events,
    safe_percent(sum(engagement_events), sum(total_events)) AS engagement_score_pct
FROM this.pieces
GROUP BY user_id, day
