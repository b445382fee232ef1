/* cupel
kind: incremental
bucket: hour
time: observed_at
reads: {silver.inventory_thresholds: 24h}      # a threshold counts for pushed rows of the 24 hours after it
key: [product_id, warehouse_id, observed_at]
store: both
description: Stock observations with threshold and status
columns:
  inventory_id: The feed's number of the record
  product_id: Product
  warehouse_id: Warehouse
  observed_at: Time of the observation (last_updated)
  day: Day of observed_at in the project's time zone
  stock_level: Units in stock
  restock_threshold: As sent; else the median of the warehouse (in the same file; for pushed rows over those pushed in the 24 hours before), else 50
  stock_status: out_of_stock (0), low_stock (up to the threshold), medium_stock (up to twice the threshold), high_stock
  needs_restock: stock_level is at or below the threshold
  pushed: Whether it came by the stream rather than in a file
owner: operations
tags: [inventory, silver]
*/
WITH without_threshold AS (
    SELECT DISTINCT warehouse_id, observed_at FROM silver.inventory_observations WHERE pushed AND sent_threshold IS NULL
),
medians AS (
    -- One pass over time: thresholds and the questions between them. Times in microseconds, so that no change of clocks moves the 24 hours.
    SELECT warehouse_id, observed_at, CAST(round(any_value(median)) AS BIGINT) AS median
    FROM (
        SELECT warehouse_id, observed_at, asked,
               quantile_cont(restock_threshold, 0.5) OVER (
                   PARTITION BY warehouse_id ORDER BY epoch_us(observed_at) RANGE BETWEEN 86400000000 PRECEDING AND CURRENT ROW) AS median
        FROM (
            SELECT warehouse_id, observed_at, restock_threshold, false AS asked FROM silver.inventory_thresholds
            WHERE warehouse_id IN (SELECT warehouse_id FROM without_threshold)
            UNION ALL
            SELECT warehouse_id, observed_at, NULL, true FROM without_threshold
        )
    )
    WHERE asked
    GROUP BY warehouse_id, observed_at
)
SELECT
    inventory_id, product_id, warehouse_id, observed_at, CAST(observed_at AS DATE) AS day, stock_level, restock_threshold,
    CASE WHEN stock_level = 0 THEN 'out_of_stock'
         WHEN stock_level <= restock_threshold THEN 'low_stock'
         WHEN stock_level <= 2 * restock_threshold THEN 'medium_stock'
         ELSE 'high_stock' END AS stock_status,
    stock_level <= restock_threshold AS needs_restock,
    pushed
FROM (
    SELECT o.inventory_id, o.product_id, o.warehouse_id, o.observed_at, o.stock_level, o.pushed,
           coalesce(o.sent_threshold, o.file_threshold, m.median, 50) AS restock_threshold
    FROM silver.inventory_observations o
    LEFT JOIN medians m ON o.pushed AND o.sent_threshold IS NULL AND m.warehouse_id = o.warehouse_id AND m.observed_at = o.observed_at
)
