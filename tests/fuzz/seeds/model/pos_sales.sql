/* cupel
kind: stream
key: [transaction_id]
together: _file_hash       # a newer file replaces a transaction as a whole …
within: [line_no]          # … and inside a file the last line of a number stays
time: sold_at
store: both
description: Valid lines of sales and returns. A transaction is as its newest file has it
columns:
  transaction_id: The shop's number of the transaction
  line_no: Number of the line in the transaction; null where the feed has none (then equal lines are several sales)
  store_id: Store
  region: Region of the store; `unknown` when ref.stores does not have it
  product_id: Product
  quantity: Units; negative on returns
  net_revenue: What was paid, after discount; negative on returns
  discount: Discount of the line; 0 where the feed has none
  gross_revenue: net_revenue + discount
  sold_at: Time of the line
  day: Day of sold_at in the project's time zone
  unreadable: Optional fields that could not be read, comma separated; null when all could
  _file: File it came in
  _file_hash: Its SHA-256
  _row: Its row in the file
owner: sales
tags: [pos, silver]
*/
SELECT
    transaction_id, line_no, v.store_id,
    CASE WHEN v.store_id IS NOT NULL THEN coalesce(s.region, 'unknown') END AS region,
    product_id, quantity, net_revenue, coalesce(discount, 0) AS discount, net_revenue + coalesce(discount, 0) AS gross_revenue,
    sold_at, CAST(sold_at AS DATE) AS day,
    nullif(concat_ws(', ',
        CASE WHEN line_no IS NULL AND line_no_text IS NOT NULL THEN 'line_no' END,
        CASE WHEN discount IS NULL AND discount_text IS NOT NULL THEN 'discount_applied' END), '') AS unreadable,
    _file, _file_hash, _row, _received_at, _event_id
FROM (
    SELECT
        null_if_blank(transaction_id) AS transaction_id,
        null_if_blank(line_no) AS line_no_text, parse_integer(line_no) AS line_no,
        parse_integer(store_id) AS store_id,
        parse_integer(product_id) AS product_id,
        parse_integer(quantity) AS quantity,
        parse_decimal(revenue) AS net_revenue,
        null_if_blank(discount_applied) AS discount_text, parse_decimal(discount_applied) AS discount,
        parse_epoch("timestamp") AS sold_at,
        _file, _file_hash, _row, _received_at, _event_id
    FROM bronze.pos
) v
LEFT JOIN (
    SELECT TRY_CAST(store_id AS BIGINT) AS store_id, min(null_if_blank(CAST(region AS VARCHAR))) AS region FROM ref.stores GROUP BY 1
) s ON s.store_id = v.store_id
