/* cupel
kind: incremental
by: [day]
key: [day, warehouse_id, product_id]
time: day
store: warehouse
description: Net units per day, product and the warehouse that serves the store. Sales of unknown stores, and of stores without a warehouse, are not in it
columns:
  day: Day
  warehouse_id: Warehouse
  product_id: Product
  units: Units, returns taken off
owner: operations
tags: [pos, state]
*/
SELECT t.day, s.warehouse_id, t.product_id, CAST(sum(t.units) AS BIGINT) AS units
FROM sales.total_sales t
JOIN (SELECT TRY_CAST(store_id AS BIGINT) AS store_id, min(TRY_CAST(warehouse_id AS BIGINT)) AS warehouse_id FROM ref.stores GROUP BY 1) s
  ON s.store_id = t.store_id AND s.warehouse_id IS NOT NULL
GROUP BY t.day, s.warehouse_id, t.product_id
