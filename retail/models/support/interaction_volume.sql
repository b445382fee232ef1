/* cupel
kind: incremental
by: [day, interaction_type, channel]
key: [day, interaction_type, channel]
time: day
store: both
description: "KPI 11: contacts by day, type and channel"
columns:
  day: Day in the project's time zone
  interaction_type: Kind of contact
  channel: Channel
  interactions: Contacts
  unique_customers: Different customers
owner: support
tags: [kpi, crm]
*/
SELECT day, interaction_type, channel, CAST(sum(interactions) AS BIGINT) AS interactions, count(DISTINCT customer_id) AS unique_customers
FROM mart.crm_customer_days
GROUP BY day, interaction_type, channel
