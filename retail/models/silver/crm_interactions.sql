/* cupel
kind: stream
key: [_event_id]
time: event_time
store: both
description: One row per contact with a customer
columns:
  customer_id: Customer
  interaction_type: Kind of contact, lower case
  channel: Channel, lower case; `unknown` where the feed has none
  rating: 1 to 5; null where there is none or it is outside
  message_excerpt: Beginning of the message, up to 1000 characters
  case_id: Support case, where it belongs to one
  case_status: opened, updated or resolved
  event_time: Time of the contact
  day: Day of event_time in the project's time zone
  unreadable: Optional fields that could not be read or were outside their limits, comma separated; null when all could
owner: support
tags: [crm, silver]
*/
SELECT
    customer_id, interaction_type, channel,
    CASE WHEN rating BETWEEN 1 AND 5 THEN rating END AS rating,
    message_excerpt, case_id, case_status, event_time, CAST(event_time AS DATE) AS day,
    CASE WHEN rating_text IS NOT NULL AND (rating IS NULL OR rating NOT BETWEEN 1 AND 5) THEN 'rating' END AS unreadable,
    _received_at, _event_id
FROM (
    SELECT
        parse_integer(j[1]) AS customer_id,
        category_text(j[2]) AS interaction_type,
        coalesce(category_text(j[3]), 'unknown') AS channel,
        parse_integer(j[4]) AS rating, null_if_blank(j[4]) AS rating_text,
        left(null_if_blank(j[5]), 1000) AS message_excerpt,
        null_if_blank(j[6]) AS case_id,
        category_text(j[7]) AS case_status,
        parse_epoch(j[8]) AS event_time,
        _received_at, _event_id
    FROM (
        SELECT TRY(json_extract_string(payload, ['$.customer_id', '$.interaction_type', '$.channel', '$.rating', '$.message_excerpt', '$.case_id', '$.case_status', '$.timestamp'])) AS j,
               _received_at, _event_id
        FROM bronze.crm_interactions
    )
)
