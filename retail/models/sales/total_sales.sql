/* cupel
kind: incremental
by: [day]
key: [day, region, store_id, product_id]
time: day
store: both
description: "KPI 1: sales by day, region, store and product, net of returns"
columns:
  day: Day in the project's time zone
  region: Region of the store
  store_id: Store
  product_id: Product
  net_revenue: What was paid, returns taken off
  gross_revenue: net_revenue before discounts
  discount: Discounts
  units: Units, returns taken off
  returns_units: Units that came back
  returns_value: What was paid back for them
  transactions: Different transactions
owner: sales
tags: [kpi, sales]
*/
SELECT
    day, region, store_id, product_id,
    sum(net_revenue) AS net_revenue, sum(gross_revenue) AS gross_revenue, sum(discount) AS discount,
    CAST(sum(quantity) AS BIGINT) AS units,
    CAST(coalesce(-sum(quantity) FILTER (quantity < 0), 0) AS BIGINT) AS returns_units,
    coalesce(-sum(net_revenue) FILTER (quantity < 0), 0) AS returns_value,
    count(DISTINCT transaction_id) AS transactions
FROM silver.pos_sales
GROUP BY day, region, store_id, product_id
