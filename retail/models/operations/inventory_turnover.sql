/* cupel
kind: incremental
by: [warehouse_id]
key: [warehouse_id, category, day]
time: day
lookups: [mart.calendar]
store: both
description: "KPI 7: cost of goods sold against stock at cost over 30 days, per warehouse, category and day"
columns:
  warehouse_id: Warehouse
  category: Category of the products (ref.products); products without cost stay out
  day: Last day of the window
  cogs_30d: Net units of the stores that it serves x today's unit cost, the day and the 29 before
  avg_inventory_value_30d: Average closing stock at cost over the days of the window that have one
  turnover: cogs_30d / avg_inventory_value_30d
  days_of_inventory: 30 / turnover
owner: operations
tags: [kpi, inventory]
*/
WITH products AS (
    SELECT TRY_CAST(product_id AS BIGINT) AS product_id, min(null_if_blank(CAST(category AS VARCHAR))) AS category, min(TRY_CAST(unit_cost AS DECIMAL(18, 4))) AS unit_cost
    FROM ref.products WHERE TRY_CAST(unit_cost AS DECIMAL(18, 4)) IS NOT NULL GROUP BY 1
),
sales AS (
    SELECT s.warehouse_id, p.category, s.day, sum(s.units * p.unit_cost) AS cogs
    FROM mart.warehouse_sales_days s JOIN products p ON p.product_id = s.product_id
    GROUP BY s.warehouse_id, p.category, s.day
),
stock AS (
    SELECT k.warehouse_id, p.category, k.day, sum((k.closing_stock - k.before) * p.unit_cost) AS change
    FROM (
        SELECT product_id, warehouse_id, day, closing_stock, lag(closing_stock, 1, 0) OVER (PARTITION BY product_id, warehouse_id ORDER BY day) AS before
        FROM mart.stock_days
    ) k
    JOIN products p ON p.product_id = k.product_id
    GROUP BY k.warehouse_id, p.category, k.day
),
days AS (
    SELECT f.warehouse_id, f.category, c.day
    FROM (
        SELECT warehouse_id, category, min(day) AS day
        FROM (SELECT warehouse_id, category, day FROM sales UNION ALL SELECT warehouse_id, category, day FROM stock)
        GROUP BY warehouse_id, category
    ) f
    JOIN mart.calendar c ON c.day >= f.day
),
daily AS (
    SELECT d.warehouse_id, d.category, d.day, coalesce(s.cogs, 0) AS cogs, sum(k.change) OVER (PARTITION BY d.warehouse_id, d.category ORDER BY d.day) AS value
    FROM days d
    LEFT JOIN sales s ON s.warehouse_id = d.warehouse_id AND s.category IS NOT DISTINCT FROM d.category AND s.day = d.day
    LEFT JOIN stock k ON k.warehouse_id = d.warehouse_id AND k.category IS NOT DISTINCT FROM d.category AND k.day = d.day
),
windows AS (
    SELECT warehouse_id, category, day, sum(cogs) OVER last_30 AS cogs, sum(value) OVER last_30 AS value, count(value) OVER last_30 AS value_days
    FROM daily
    WINDOW last_30 AS (PARTITION BY warehouse_id, category ORDER BY day ROWS BETWEEN 29 PRECEDING AND CURRENT ROW)
)
SELECT
    warehouse_id, category, day, CAST(cogs AS DECIMAL(18, 4)) AS cogs_30d,
    safe_ratio(value, value_days) AS avg_inventory_value_30d,
    safe_ratio(cogs * value_days, value) AS turnover,
    CASE WHEN value <> 0 THEN safe_ratio(30 * value, cogs * value_days) END AS days_of_inventory
FROM windows
