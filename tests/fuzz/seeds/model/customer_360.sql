/* cupel
kind: view
description: What is known of each customer from web and CRM (user_id and customer_id are the same number). Put together when it is asked for, so it is never behind and costs intake nothing
columns:
  customer_id: Customer
  web_events: Web events while signed in
  engagement_events: Those that are engagement
  engagement_score_pct: engagement_events / web_events x 100
  mobile_event_pct: Share of the web events from mobile devices
  purchases: Web events of type purchase
  sessions: Sessions in which the customer was signed in
  avg_session_s: Their average length, seconds
  interactions: Contacts
  loyalty_interactions: Those of type loyalty
  is_loyal: Whether there was any
  ratings: Contacts with a rating
  avg_rating: Average rating
  cases_opened: Contacts that opened a support case
  first_seen_at: First event or contact
  last_seen_at: Last event or contact
owner: marketing
tags: [customer, web, crm]
*/
SELECT
    customer_id, coalesce(w.events, 0) AS web_events, coalesce(w.engagement_events, 0) AS engagement_events,
    safe_percent(w.engagement_events, w.events) AS engagement_score_pct,
    safe_percent(w.mobile_events, w.events) AS mobile_event_pct,
    coalesce(w.purchases, 0) AS purchases, coalesce(s.sessions, 0) AS sessions,
    safe_ratio(s.duration_us, s.sessions * 1000000) AS avg_session_s,
    coalesce(c.interactions, 0) AS interactions, coalesce(c.loyalty_interactions, 0) AS loyalty_interactions,
    coalesce(c.loyalty_interactions, 0) > 0 AS is_loyal, coalesce(c.ratings, 0) AS ratings,
    safe_ratio(c.rating_sum, c.ratings) AS avg_rating, coalesce(c.cases_opened, 0) AS cases_opened,
    least(w.first_seen_at, c.first_contact_at) AS first_seen_at, greatest(w.last_seen_at, c.last_contact_at) AS last_seen_at
FROM mart.customer_web w
FULL JOIN mart.customer_crm c USING (customer_id)
LEFT JOIN (
    SELECT customer_id, count(*) AS sessions, sum(duration_us) AS duration_us
    FROM (SELECT unnest(users) AS customer_id, duration_us FROM silver.sessions) GROUP BY customer_id
) s USING (customer_id)
