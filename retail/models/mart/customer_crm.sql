/* cupel
kind: incremental
by: [customer_id]
merge: true
key: [customer_id]
time: last_contact_at
rows: >
  SELECT customer_id, count(*) AS interactions, count(*) FILTER (interaction_type = 'loyalty') AS loyalty_interactions, count(rating) AS ratings,
         coalesce(sum(rating), 0) AS rating_sum, count(*) FILTER (case_status = 'opened') AS cases_opened, min(event_time) AS first_contact_at, max(event_time) AS last_contact_at
  FROM silver.crm_interactions GROUP BY customer_id
store: warehouse
description: Contacts of each customer, all time
columns:
  customer_id: Customer
  interactions: Contacts
  loyalty_interactions: Those of type loyalty
  ratings: Those with a rating
  rating_sum: Sum of the ratings
  cases_opened: Contacts that opened a support case
  first_contact_at: First contact
  last_contact_at: Last contact
owner: support
tags: [crm, state]
*/
SELECT
    customer_id, CAST(sum(interactions) AS BIGINT) AS interactions, CAST(sum(loyalty_interactions) AS BIGINT) AS loyalty_interactions,
    CAST(sum(ratings) AS BIGINT) AS ratings, CAST(sum(rating_sum) AS BIGINT) AS rating_sum, CAST(sum(cases_opened) AS BIGINT) AS cases_opened,
    min(first_contact_at) AS first_contact_at, max(last_contact_at) AS last_contact_at
FROM this.pieces
GROUP BY customer_id
