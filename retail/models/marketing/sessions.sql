/* cupel
kind: incremental
by: [day]
key: [day]
time: day
store: both
description: "KPI 5: sessions by the day on which they began, with all of their events"
columns:
  day: Day of the sessions' first events
  sessions: Sessions
  avg_duration_s: Average time from first to last event, seconds
  median_duration_s: Median of it
  bounce_rate_pct: Share of sessions with exactly one event
  unique_users: Different signed-in users
  avg_path_depth: Average path depth of the events
  mobile_event_pct: Share of the events from mobile devices
owner: marketing
tags: [kpi, web]
*/
SELECT
    s.day, sessions,
    safe_ratio(duration_us, sessions * 1000000) AS avg_duration_s,
    safe_ratio(twice_median_us, 2000000) AS median_duration_s,
    safe_percent(bounces, sessions) AS bounce_rate_pct,
    coalesce(unique_users, 0) AS unique_users,
    safe_ratio(path_depths, events) AS avg_path_depth,
    safe_percent(mobile_events, events) AS mobile_event_pct
FROM (
    -- The median of whole microseconds is a whole or a half one, exact in a double.
    SELECT day, count(*) AS sessions, sum(duration_us) AS duration_us, CAST(2 * quantile_cont(duration_us, 0.5) AS BIGINT) AS twice_median_us,
           count(*) FILTER (events = 1) AS bounces, sum(path_depths) AS path_depths, sum(events) AS events, sum(mobile_events) AS mobile_events
    FROM silver.sessions GROUP BY day
) s
LEFT JOIN (
    SELECT day, count(DISTINCT user_id) AS unique_users FROM (SELECT day, unnest(users) AS user_id FROM silver.sessions) GROUP BY day
) u ON u.day = s.day
