/* cupel
kind: stream
key: [a]
deletes: op = 1
*/
{"error":false,"statements":[{"node":{"type":"SELECT_NODE","cte_map":{"map":[{"key":"c","value":{"query":{}}}]},"from_table":{"type":"JOIN","left":{"type":"BASE_TABLE","schema_name":"bronze","table_name":"x","query_location":14},"right":{"type":"BASE_TABLE","schema_name":"","table_name":"c"}}}}]}