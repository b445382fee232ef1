/* cupel
kind: incremental
by: [day, channel]
merge: true
key: [day, channel]
time: day
rows: >
  SELECT day, channel, count(*) AS ratings, sum(rating) AS rating_sum, count(*) FILTER (rating >= 4) AS satisfied
  FROM silver.crm_interactions WHERE rating IS NOT NULL GROUP BY day, channel
state: [rating_sum, satisfied]
store: both
description: "KPI 10: ratings by day and channel"
columns:
  day: Day in the project's time zone
  channel: Channel
  ratings: Contacts with a rating
  avg_rating: Average rating
  csat_pct: Share of ratings of 4 and 5
  rating_sum: Sum of the ratings
  satisfied: Ratings of 4 and 5
owner: support
tags: [kpi, crm]
*/
SELECT
    day, channel, CAST(sum(ratings) AS BIGINT) AS ratings,
    safe_ratio(sum(rating_sum), sum(ratings)) AS avg_rating,
    safe_percent(sum(satisfied), sum(ratings)) AS csat_pct,
    CAST(sum(rating_sum) AS BIGINT) AS rating_sum, CAST(sum(satisfied) AS BIGINT) AS satisfied
FROM this.pieces
GROUP BY day, channel
