/* cupel
kind: stream
key: [product_id, warehouse_id, observed_at]
time: observed_at
store: warehouse
description: Valid stock observations, one per product, warehouse and time. Rows of files without a threshold have the median of their warehouse in the same file; pushed ones get theirs in silver.inventory_levels
columns:
  inventory_id: The feed's number of the record
  product_id: Product
  warehouse_id: Warehouse
  observed_at: Time of the observation (last_updated)
  stock_level: Units in stock
  sent_threshold: Threshold as sent; null where the feed had none
  file_threshold: Median (half up) of the readable thresholds of the warehouse over all rows of the same file; null for pushed rows
  pushed: Whether it came by the stream rather than in a file
  unreadable: Optional fields that could not be read, comma separated; null when all could
  _file: File it came in; null when pushed
owner: operations
tags: [inventory, silver]
*/
SELECT
    inventory_id, product_id, warehouse_id, observed_at, stock_level, sent_threshold,
    CASE WHEN NOT pushed THEN CAST(round(quantile_cont(sent_threshold, 0.5) OVER (PARTITION BY _file_hash, warehouse_id)) AS BIGINT) END AS file_threshold,
    pushed,
    CASE WHEN sent_threshold IS NULL AND threshold_text IS NOT NULL THEN 'restock_threshold' END AS unreadable,
    _file, _received_at, _event_id
FROM (
    SELECT
        parse_integer(inventory_id) AS inventory_id,
        parse_integer(product_id) AS product_id,
        parse_integer(warehouse_id) AS warehouse_id,
        parse_epoch(last_updated) AS observed_at,
        parse_integer(stock_level) AS stock_level,
        parse_integer(restock_threshold) AS sent_threshold,
        null_if_blank(restock_threshold) AS threshold_text,
        false AS pushed, _file, _file_hash, _received_at, _event_id
    FROM bronze.inventory_files
    UNION ALL
    SELECT
        parse_integer(j[1]), parse_integer(j[2]), parse_integer(j[3]), parse_epoch(j[4]), parse_integer(j[5]), parse_integer(j[6]), null_if_blank(j[6]),
        true, NULL, NULL, _received_at, _event_id
    FROM (
        SELECT TRY(json_extract_string(payload,
                   ['$.inventory_id', '$.product_id', '$.warehouse_id', '$.last_updated', '$.stock_level', '$.restock_threshold'])) AS j,
               _received_at, _event_id
        FROM bronze.inventory
    )
)
