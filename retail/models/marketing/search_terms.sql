/* cupel
kind: incremental
by: [day, search_source, search_term]
merge: true
key: [day, search_source, search_term]
time: day
rows: >
  SELECT day, search_source, search_term, count(*) AS searches FROM silver.access_log WHERE search_term IS NOT NULL GROUP BY ALL
store: both
description: What people searched for, in the shop and at search engines that they came from
columns:
  day: Day in the project's time zone
  search_source: site or engine
  search_term: What was searched, lower case
  searches: How often
owner: marketing
tags: [web]
*/
SELECT day, search_source, search_term, CAST(sum(searches) AS BIGINT) AS searches
FROM this.pieces
GROUP BY day, search_source, search_term
