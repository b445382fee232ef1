/* cupel
kind: incremental
by: [hour, status]
merge: true
key: [hour, status]
time: hour
rows: >
  SELECT date_trunc('hour', requested_at) AS hour, status, count(*) AS requests, count(*) FILTER (is_bot) AS bot_requests, coalesce(sum(bytes), 0) AS bytes
  FROM silver.access_log GROUP BY ALL
store: both
description: Requests to the web servers by hour and status
columns:
  hour: Begin of the hour
  status: Status code of the answers
  requests: Requests
  bot_requests: Those of bots, crawlers and spiders
  bytes: Bytes sent
owner: operations
tags: [web]
*/
SELECT hour, status, CAST(sum(requests) AS BIGINT) AS requests, CAST(sum(bot_requests) AS BIGINT) AS bot_requests, CAST(sum(bytes) AS BIGINT) AS bytes
FROM this.pieces
GROUP BY hour, status
