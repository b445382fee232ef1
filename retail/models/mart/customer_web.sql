/* cupel
kind: incremental
by: [customer_id]
merge: true
key: [customer_id]
time: last_seen_at
rows: >
  SELECT user_id AS customer_id, count(*) AS events, count(*) FILTER (is_engagement) AS engagement_events, count(*) FILTER (is_mobile) AS mobile_events,
         count(*) FILTER (event_type = 'purchase') AS purchases, min(event_time) AS first_seen_at, max(event_time) AS last_seen_at
  FROM silver.web_events WHERE user_id IS NOT NULL GROUP BY user_id
store: warehouse
description: Web activity of each signed-in user, all time
columns:
  customer_id: Customer (user_id of the web feed)
  events: Web events
  engagement_events: Those that are engagement
  mobile_events: Those from mobile devices
  purchases: Events of type purchase
  first_seen_at: First event
  last_seen_at: Last event
owner: marketing
tags: [web, state]
*/
SELECT
    customer_id, CAST(sum(events) AS BIGINT) AS events, CAST(sum(engagement_events) AS BIGINT) AS engagement_events, CAST(sum(mobile_events) AS BIGINT) AS mobile_events,
    CAST(sum(purchases) AS BIGINT) AS purchases, min(first_seen_at) AS first_seen_at, max(last_seen_at) AS last_seen_at
FROM this.pieces
GROUP BY customer_id
