/* cupel
kind: incremental
by: [product_id, warehouse_id]
merge: true
key: [product_id, warehouse_id]
time: observed_at
rows: SELECT product_id, warehouse_id, stock_level, stock_status, needs_restock, observed_at FROM silver.inventory_levels
store: both
description: "KPI 2: the newest observation of each product in each warehouse"
columns:
  product_id: Product
  warehouse_id: Warehouse
  stock_level: Units in stock
  stock_status: out_of_stock, low_stock, medium_stock, high_stock
  needs_restock: At or below the threshold
  observed_at: Time of the observation
owner: sales
tags: [kpi, inventory]
*/
SELECT
    product_id, warehouse_id, arg_max(stock_level, observed_at) AS stock_level, arg_max(stock_status, observed_at) AS stock_status,
    arg_max(needs_restock, observed_at) AS needs_restock, max(observed_at) AS observed_at
FROM this.pieces
GROUP BY product_id, warehouse_id
