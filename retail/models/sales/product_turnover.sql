/* cupel
kind: incremental
by: [product_id]
key: [product_id, day]
time: day
lookups: [mart.calendar]   # a new last day adds a row to every product
store: both
description: "KPI 3: how often a product's stock was sold in 30 days, per day from its first sale or observation on"
columns:
  product_id: Product
  day: Last day of the window
  units_sold_30d: Net units of the day and the 29 before
  avg_stock_30d: Average closing stock over the days of the window that have one; carried forward from the last observation
  turnover_rate: units_sold_30d / avg_stock_30d
owner: sales
tags: [kpi, sales, inventory]
*/
WITH sales AS (
    SELECT product_id, day, sum(units) AS units FROM sales.total_sales GROUP BY product_id, day
),
stock AS (
    -- What a day changes in the sum over warehouses; summed up it is the closing stock, each warehouse carried forward from its first observation.
    SELECT product_id, day, sum(closing_stock - before) AS change
    FROM (
        SELECT product_id, day, closing_stock, lag(closing_stock, 1, 0) OVER (PARTITION BY product_id, warehouse_id ORDER BY day) AS before
        FROM mart.stock_days
    )
    GROUP BY product_id, day
),
days AS (
    SELECT f.product_id, c.day
    FROM (SELECT product_id, min(day) AS day FROM (SELECT product_id, day FROM sales UNION ALL SELECT product_id, day FROM stock) GROUP BY product_id) f
    JOIN mart.calendar c ON c.day >= f.day
),
daily AS (
    SELECT d.product_id, d.day, coalesce(s.units, 0) AS units, sum(k.change) OVER (PARTITION BY d.product_id ORDER BY d.day) AS closing
    FROM days d
    LEFT JOIN sales s ON s.product_id = d.product_id AND s.day = d.day
    LEFT JOIN stock k ON k.product_id = d.product_id AND k.day = d.day
),
windows AS (
    SELECT product_id, day, sum(units) OVER last_30 AS units, sum(closing) OVER last_30 AS closings, count(closing) OVER last_30 AS closing_days
    FROM daily
    WINDOW last_30 AS (PARTITION BY product_id ORDER BY day ROWS BETWEEN 29 PRECEDING AND CURRENT ROW)
)
SELECT
    product_id, day, CAST(units AS BIGINT) AS units_sold_30d,
    safe_ratio(closings, closing_days) AS avg_stock_30d,
    safe_ratio(units * closing_days, closings) AS turnover_rate
FROM windows
