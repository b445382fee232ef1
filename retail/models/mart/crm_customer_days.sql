/* cupel
kind: incremental
by: [day, interaction_type, channel, customer_id]
merge: true
key: [day, interaction_type, channel, customer_id]
time: day
rows: >
  SELECT day, interaction_type, channel, customer_id, count(*) AS interactions, count(rating) AS ratings, coalesce(sum(rating), 0) AS rating_sum
  FROM silver.crm_interactions GROUP BY ALL
store: warehouse
description: Who had contact on which day, how, and how often; distinct customers are counted over it
columns:
  day: Day in the project's time zone
  interaction_type: Kind of contact
  channel: Channel
  customer_id: Customer
  interactions: Contacts
  ratings: Those with a rating
  rating_sum: Sum of the ratings
owner: support
tags: [crm, state]
*/
SELECT day, interaction_type, channel, customer_id, CAST(sum(interactions) AS BIGINT) AS interactions,
       CAST(sum(ratings) AS BIGINT) AS ratings, CAST(sum(rating_sum) AS BIGINT) AS rating_sum
FROM this.pieces
GROUP BY day, interaction_type, channel, customer_id
