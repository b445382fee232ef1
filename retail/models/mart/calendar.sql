/* cupel
kind: full
key: [day]
time: day
store: warehouse
description: Every day from the first to the last that has a valid sale or observation. Windows end on its last day, never on the clock's
columns:
  day: Day
owner: operations
tags: [state]
*/
SELECT CAST(unnest(generate_series(CAST(min(first_day) AS TIMESTAMP), CAST(max(last_day) AS TIMESTAMP), INTERVAL 1 DAY)) AS DATE) AS day
FROM (
    SELECT min(day) AS first_day, max(day) AS last_day FROM sales.total_sales
    UNION ALL
    SELECT min(day), max(day) FROM mart.stock_days
)
