/* cupel
kind: incremental
by: [session_id]
merge: true
within_time: 30m           # a piece reaches sessions that ended up to 30 minutes before it, or later
time: ended_at
rows: >
  SELECT session_id, event_time AS started_at, event_time AS ended_at, CAST(1 AS BIGINT) AS events, CAST(is_engagement AS BIGINT) AS engagement_events,
         CAST(is_mobile AS BIGINT) AS mobile_events, CAST(path_depth AS BIGINT) AS path_depths, CASE WHEN user_id IS NOT NULL THEN [user_id] END AS users
  FROM silver.web_events
store: warehouse
description: Sessions; events of one session_id with gaps of at most 30 minutes. A late event can join two of them
columns:
  session_id: Browser session
  started_at: Time of the first event
  ended_at: Time of the last event
  day: Day of the first event in the project's time zone; the whole session counts there
  duration_us: From first to last event, microseconds
  events: Number of events; one is a bounce
  engagement_events: Those that are engagement
  mobile_events: Those from mobile devices
  path_depths: Sum of the events' path depths
  users: Signed-in users seen in it, ascending; null when none
owner: marketing
tags: [web, state]
*/
SELECT
    session_id, min(started_at) AS started_at, max(ended_at) AS ended_at, CAST(min(started_at) AS DATE) AS day,
    epoch_us(max(ended_at)) - epoch_us(min(started_at)) AS duration_us,
    CAST(sum(events) AS BIGINT) AS events, CAST(sum(engagement_events) AS BIGINT) AS engagement_events,
    CAST(sum(mobile_events) AS BIGINT) AS mobile_events, CAST(sum(path_depths) AS BIGINT) AS path_depths,
    list_sort(list_distinct(flatten(list(users) FILTER (users IS NOT NULL)))) AS users
FROM (
    SELECT *, sum(opens) OVER (PARTITION BY session_id ORDER BY started_at, ended_at, opens DESC ROWS UNBOUNDED PRECEDING) AS part
    FROM (
        SELECT *, CASE WHEN epoch_us(started_at) - epoch_us(max(ended_at) OVER (
                               PARTITION BY session_id ORDER BY started_at, ended_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) <= 1800000000
                       THEN 0 ELSE 1 END AS opens
        FROM this.pieces
    )
)
GROUP BY session_id, part
