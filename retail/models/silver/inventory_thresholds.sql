/* cupel
kind: stream
key: [_event_id]
time: observed_at
drops: rows whose warehouse_id, restock_threshold or last_updated is missing or unreadable
store: warehouse
description: Every readable restock threshold, from files and pushed, also of rows that are quarantined or superseded later. Medians for rows without one are taken over these
columns:
  warehouse_id: Warehouse
  observed_at: Time of the observation
  restock_threshold: The threshold as sent
owner: operations
tags: [inventory, state]
*/
SELECT * FROM (
    SELECT
        parse_integer(warehouse_id) AS warehouse_id,
        parse_epoch(last_updated) AS observed_at,
        parse_integer(restock_threshold) AS restock_threshold,
        _received_at, _event_id
    FROM bronze.inventory_files
    UNION ALL
    SELECT parse_integer(j[1]), parse_epoch(j[2]), parse_integer(j[3]), _received_at, _event_id
    FROM (SELECT TRY(json_extract_string(payload, ['$.warehouse_id', '$.last_updated', '$.restock_threshold'])) AS j, _received_at, _event_id FROM bronze.inventory)
)
WHERE warehouse_id IS NOT NULL AND observed_at IS NOT NULL AND restock_threshold IS NOT NULL
