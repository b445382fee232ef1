/* cupel
kind: incremental
by: [product_id, warehouse_id]
key: [product_id, warehouse_id]
time: observed_at
store: warehouse
emit:
  stream: alerts
  type: stockout
  columns: [product_id, warehouse_id, status, since, stock_level, restock_threshold]
  # The same status again with a later begin than all that was known: it was left and came back between two runs. Late observations cannot do that.
  when: >
    (new.status IN ('out_of_stock', 'low_stock') AND (old.status IS DISTINCT FROM new.status OR new.since > old.observed_at))
    OR (new.status = 'recovered' AND old.status IN ('out_of_stock', 'low_stock'))
description: The present status of each product in each warehouse and since when it is unbroken. A change of it is an event of the stream alerts
columns:
  product_id: Product
  warehouse_id: Warehouse
  status: out_of_stock, low_stock, or `recovered` for anything better
  since: First observation of the present unbroken status
  stock_level: Units in stock
  restock_threshold: Threshold of the newest observation
  observed_at: The newest observation
owner: operations
tags: [inventory, state, alerts]
*/
SELECT
    product_id, warehouse_id, CASE arg_max(status, day) WHEN 'ok' THEN 'recovered' ELSE arg_max(status, day) END AS status,
    arg_max(status_since, day) FILTER (begins) AS since, arg_max(closing_stock, day) AS stock_level,
    arg_max(restock_threshold, day) AS restock_threshold, max(last_at) AS observed_at
FROM (
    -- A day begins a new run when its status changed inside it, or it began with another one than the day before ended with.
    SELECT *, status_since > first_at OR status IS DISTINCT FROM lag(status) OVER (PARTITION BY product_id, warehouse_id ORDER BY day) AS begins
    FROM mart.stock_days
)
GROUP BY product_id, warehouse_id
