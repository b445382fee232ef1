/* cupel
kind: incremental
by: [product_id, warehouse_id]
key: [product_id, warehouse_id]
lookups: [mart.calendar]
store: both
description: "KPI 8: restocks (stock went up between two observations) of each product in each warehouse, in the 30 days that end with the newest day that has a valid sale or observation"
columns:
  product_id: Product
  warehouse_id: Warehouse
  restocks_30d: Restocks in the window
  avg_days_between: Average days between consecutive restocks of the window; null for fewer than two
  last_restock_at: The last restock ever; null when there was none
owner: operations
tags: [kpi, inventory]
*/
WITH restocks AS (
    -- A day's own restocks, and the one between its first observation and the last one of the day before.
    SELECT product_id, warehouse_id, day, restocks + CASE WHEN first_level > before THEN 1 ELSE 0 END AS restocks,
           CASE WHEN first_level > before THEN first_at ELSE first_restock_at END AS first_at,
           coalesce(last_restock_at, CASE WHEN first_level > before THEN first_at END) AS last_at
    FROM (SELECT *, lag(closing_stock) OVER (PARTITION BY product_id, warehouse_id ORDER BY day) AS before FROM mart.stock_days)
),
pairs AS (
    SELECT product_id, warehouse_id,
           CAST(coalesce(sum(restocks) FILTER (day > last_day - 30), 0) AS BIGINT) AS restocks_30d,
           epoch_us(max(last_at) FILTER (day > last_day - 30)) - epoch_us(min(first_at) FILTER (day > last_day - 30)) AS between_us,
           max(last_at) AS last_restock_at
    FROM restocks, (SELECT max(day) AS last_day FROM mart.calendar)
    GROUP BY product_id, warehouse_id
)
SELECT product_id, warehouse_id, restocks_30d,
       CASE WHEN restocks_30d > 1 THEN safe_ratio(between_us, (restocks_30d - 1) * 86400000000) END AS avg_days_between,
       last_restock_at
FROM pairs
