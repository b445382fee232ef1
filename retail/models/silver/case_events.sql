/* cupel
kind: incremental
by: [case_id]
merge: true
rows: >
  SELECT case_id, event_time AS happened_at, _event_id AS event_id, case_status AS status, day
  FROM silver.crm_interactions WHERE case_id IS NOT NULL AND case_status IN ('opened', 'resolved')
store: warehouse
description: What opened and resolved support cases, in order. `updated` changes nothing and is not here
columns:
  case_id: Support case
  happened_at: Time of the contact
  event_id: The contact
  status: opened or resolved
  day: Day of happened_at in the project's time zone
  change: 1 when it opened the case, -1 when it closed it, 0 when it changed nothing
  resolution_us: On the resolved that counts (the case's last event, of an opened case), microseconds since the case was first opened
owner: support
tags: [crm, state]
*/
SELECT
    case_id, happened_at, event_id, status, day,
    CASE WHEN status = 'opened' AND before IS DISTINCT FROM 'opened' THEN 1 WHEN status = 'resolved' AND before = 'opened' THEN -1 ELSE 0 END AS change,
    CASE WHEN status = 'resolved' AND behind IS NULL THEN epoch_us(happened_at) - epoch_us(first_opened) END AS resolution_us
FROM (
    SELECT *, lag(status) OVER in_order AS before, lead(status) OVER in_order AS behind,
           min(happened_at) FILTER (status = 'opened') OVER (PARTITION BY case_id) AS first_opened
    FROM this.pieces
    WINDOW in_order AS (PARTITION BY case_id ORDER BY happened_at, event_id)
)
