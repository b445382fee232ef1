/* cupel
kind: incremental
by: [day]
merge: true
key: [day]
time: day
rows: >
  SELECT day, count(*) AS total_events, count(*) FILTER (is_engagement) AS engagement_events FROM silver.web_events GROUP BY day
store: both
description: "KPI 4: share of web events that are engagement"
columns:
  day: Day in the project's time zone
  total_events: Events
  engagement_events: Clicks, scrolls, forms, downloads, videos, shares, cart and purchases
  engagement_score_pct: engagement_events / total_events x 100
owner: marketing
tags: [kpi, web]
*/
SELECT
    day, CAST(sum(total_events) AS BIGINT) AS total_events, CAST(sum(engagement_events) AS BIGINT) AS engagement_events,
    safe_percent(sum(engagement_events), sum(total_events)) AS engagement_score_pct
FROM this.pieces
GROUP BY day
