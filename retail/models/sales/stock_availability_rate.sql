/* cupel
kind: incremental
by: [product_id]
key: [product_id]
store: both
description: "KPI 2: share of a product's warehouses that have it in stock"
columns:
  product_id: Product
  pairs: Warehouses where it was ever observed
  in_stock: Those with stock above 0
  availability_pct: in_stock / pairs x 100
owner: sales
tags: [kpi, inventory]
*/
SELECT
    product_id, count(*) AS pairs, count(*) FILTER (stock_level > 0) AS in_stock,
    safe_percent(count(*) FILTER (stock_level > 0), count(*)) AS availability_pct
FROM sales.stock_availability
GROUP BY product_id
