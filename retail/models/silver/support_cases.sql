/* cupel
kind: view
description: One row per support case that was opened
columns:
  case_id: Support case
  first_opened_at: When it was first opened
  resolved_at: Its last resolved; null while it is open
  resolution_us: Microseconds between the two
owner: support
tags: [crm]
*/
SELECT case_id, min(happened_at) FILTER (status = 'opened') AS first_opened_at, max(happened_at) FILTER (resolution_us IS NOT NULL) AS resolved_at, max(resolution_us) AS resolution_us
FROM silver.case_events
GROUP BY case_id
HAVING count(*) FILTER (status = 'opened') > 0
