/* cupel
kind: incremental
by: [product_id, warehouse_id]
key: [product_id, warehouse_id]
lookups: [mart.calendar]
store: both
description: "KPI 9: products that are out of stock or low in a warehouse now. The events are emitted by mart.stock_state"
columns:
  product_id: Product
  warehouse_id: Warehouse
  status: out_of_stock or low_stock
  since: First observation of the present unbroken status
  stock_level: Units in stock
  restock_threshold: Threshold
  days_of_cover: "stock_level / (net units of the stores it serves in the 30 days that end with the newest day of data / 30); null unless there were any"
owner: operations
tags: [kpi, inventory, alerts]
*/
WITH sold AS (
    SELECT product_id, warehouse_id, sum(units) AS units
    FROM mart.warehouse_sales_days
    WHERE day > (SELECT max(day) FROM mart.calendar) - 30
    GROUP BY product_id, warehouse_id
)
SELECT
    s.product_id, s.warehouse_id, s.status, s.since, s.stock_level, s.restock_threshold,
    CASE WHEN sold.units > 0 THEN safe_ratio(s.stock_level * 30, sold.units) END AS days_of_cover
FROM mart.stock_state s
LEFT JOIN sold ON sold.product_id = s.product_id AND sold.warehouse_id = s.warehouse_id
WHERE s.status IN ('out_of_stock', 'low_stock')
