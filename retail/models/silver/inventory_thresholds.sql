/* cupel
kind: stream
key: [_event_id]
time: observed_at
unvalidated: true
drops: >- # rows whose warehouse_id, restock_threshold or last_updated is missing or unreadable
  parse_integer(TRY(json_extract_string(payload, '$.warehouse_id'))) IS NULL
  OR parse_epoch(TRY(json_extract_string(payload, '$.last_updated'))) IS NULL
  OR parse_integer(TRY(json_extract_string(payload, '$.restock_threshold'))) IS NULL
store: warehouse
description: Every readable restock threshold that was pushed, also in rows that are quarantined or superseded. Medians for pushed rows without one are taken over these
columns:
  warehouse_id: Warehouse
  observed_at: Time of the observation
  restock_threshold: The threshold as sent
owner: operations
tags: [inventory, state]
*/
SELECT * FROM (
    SELECT parse_integer(j[1]) AS warehouse_id, parse_epoch(j[2]) AS observed_at, parse_integer(j[3]) AS restock_threshold, _received_at, _event_id
    FROM (SELECT TRY(json_extract_string(payload, ['$.warehouse_id', '$.last_updated', '$.restock_threshold'])) AS j, _received_at, _event_id FROM bronze.inventory)
)
WHERE warehouse_id IS NOT NULL AND observed_at IS NOT NULL AND restock_threshold IS NOT NULL
