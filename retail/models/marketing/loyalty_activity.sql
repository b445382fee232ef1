/* cupel
kind: incremental
by: [day]
key: [day]
time: day
store: both
description: "KPI 6: how many of the day's customers used the loyalty programme"
columns:
  day: Day in the project's time zone
  loyalty_interactions: Contacts of type loyalty
  loyalty_customers: Different customers who had one
  interactions: All contacts
  customers: Different customers of the day
  loyalty_activity_rate_pct: loyalty_customers / customers x 100
  avg_rating: Average rating of the rated loyalty contacts
owner: marketing
tags: [kpi, crm]
*/
SELECT
    day, loyalty_interactions, loyalty_customers, interactions, customers,
    safe_percent(loyalty_customers, customers) AS loyalty_activity_rate_pct,
    safe_ratio(rating_sum, ratings) AS avg_rating
FROM (
    SELECT
        day, CAST(coalesce(sum(interactions) FILTER (interaction_type = 'loyalty'), 0) AS BIGINT) AS loyalty_interactions,
        count(DISTINCT customer_id) FILTER (interaction_type = 'loyalty') AS loyalty_customers,
        CAST(sum(interactions) AS BIGINT) AS interactions, count(DISTINCT customer_id) AS customers,
        sum(rating_sum) FILTER (interaction_type = 'loyalty') AS rating_sum, sum(ratings) FILTER (interaction_type = 'loyalty') AS ratings
    FROM mart.crm_customer_days
    GROUP BY day
)
