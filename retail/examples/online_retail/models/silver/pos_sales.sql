/* cupel
kind: stream
key: [transaction_id]
together: _file_hash
within: [line_no]
time: sold_at
store: both
description: Lines of the UCI data set "Online Retail" as pos lines. Equal lines of an invoice are several sales; the data set has no line numbers
columns:
  transaction_id: InvoiceNo; C in front is a cancellation
  line_no: The data set has none
  store_id: The one web shop
  region: Country of the customer
  product_id: StockCode where it is a number; else a number made of it (it does not change)
  stock_code: StockCode as it stands, without blanks at its ends
  quantity: Units; negative on returns
  net_revenue: Quantity x UnitPrice
  discount: The data set has none
  gross_revenue: net_revenue + discount
  sold_at: InvoiceDate, taken as UTC
  day: Day of sold_at in the project's time zone
  unreadable: Optional fields that could not be read; there are none
  _file: File it came in
  _file_hash: Its SHA-256
  _row: Its row in the file
owner: sales
tags: [pos, silver, example]
*/
SELECT
    transaction_id, CAST(NULL AS BIGINT) AS line_no, CAST(1 AS BIGINT) AS store_id, region,
    coalesce(TRY_CAST(CASE WHEN regexp_full_match(stock_code, '[1-9][0-9]*') THEN stock_code END AS BIGINT), CAST(md5_number_lower(stock_code) >> 1 AS BIGINT)) AS product_id,
    stock_code, quantity, CAST(quantity * price AS DECIMAL(18, 4)) AS net_revenue, CAST(0 AS DECIMAL(18, 4)) AS discount, CAST(quantity * price AS DECIMAL(18, 4)) AS gross_revenue,
    sold_at, CAST(sold_at AS DATE) AS day, CAST(NULL AS VARCHAR) AS unreadable, _file, _file_hash, _row, _received_at, _event_id
FROM (
    SELECT
        null_if_blank("InvoiceNo") AS transaction_id, null_if_blank("StockCode") AS stock_code, parse_integer("Quantity") AS quantity, parse_decimal("UnitPrice") AS price,
        coalesce(null_if_blank("Country"), 'unknown') AS region, timezone('UTC', TRY_CAST(null_if_blank("InvoiceDate") AS TIMESTAMP)) AS sold_at, _file, _file_hash, _row, _received_at, _event_id
    FROM bronze.online_retail
)
