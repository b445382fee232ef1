/* cupel
kind: incremental
by: [product_id, warehouse_id, day]
key: [product_id, warehouse_id, day]
time: day
store: warehouse
description: One row per pair of product and warehouse and day on which it was observed. Days are put together across it (closing stock carried forward, restocks, unbroken status) without reading observations again
columns:
  product_id: Product
  warehouse_id: Warehouse
  day: Day in the project's time zone
  first_at: First observation of the day
  first_level: Its stock
  last_at: Last observation of the day
  closing_stock: Its stock
  restock_threshold: Its threshold
  status: Its status; `ok` for medium_stock and high_stock
  status_since: First observation of the day from which on status did not change
  restocks: Increases between two observations of the day
  first_restock_at: The first of them
  last_restock_at: The last of them
owner: operations
tags: [inventory, state]
*/
SELECT
    product_id, warehouse_id, day,
    min(observed_at) AS first_at, arg_min(stock_level, observed_at) AS first_level,
    max(observed_at) AS last_at, arg_max(stock_level, observed_at) AS closing_stock,
    arg_max(restock_threshold, observed_at) AS restock_threshold, arg_max(status, observed_at) AS status,
    max(observed_at) FILTER (status IS DISTINCT FROM status_before) AS status_since,
    count(*) FILTER (stock_level > level_before) AS restocks,
    min(observed_at) FILTER (stock_level > level_before) AS first_restock_at,
    max(observed_at) FILTER (stock_level > level_before) AS last_restock_at
FROM (
    SELECT *, lag(stock_level) OVER in_order AS level_before, lag(status) OVER in_order AS status_before
    FROM (
        SELECT product_id, warehouse_id, day, observed_at, stock_level, restock_threshold,
               CASE WHEN stock_status IN ('out_of_stock', 'low_stock') THEN stock_status ELSE 'ok' END AS status
        FROM silver.inventory_levels
    )
    WINDOW in_order AS (PARTITION BY product_id, warehouse_id, day ORDER BY observed_at)
)
GROUP BY product_id, warehouse_id, day
