/* cupel
kind: stream
key: [_event_id]
time: requested_at
store: both
description: One row per line of the web servers' access logs (common and combined format). Lines of another form are quarantined
columns:
  client: Address of the client (personal data in many countries; protect the landing source where that matters)
  user_name: User of HTTP authentication
  requested_at: Time of the request
  day: Day of it in the project's time zone
  method: GET, POST, …
  path: Path without query
  query: Query as sent
  protocol: HTTP/1.1, …
  status: Status code of the answer
  bytes: Bytes of the answer; null where the log has none
  referer: Page that the request came from
  user_agent: Browser or program
  is_bot: The user agent names itself a bot, crawler or spider
  search_term: What was searched, lower case, of q, query, search, s, term or keyword in the query; else in the query of a search engine that it came from
  search_source: site or engine
owner: operations
tags: [web, silver]
*/
SELECT
    client, user_name, requested_at, CAST(requested_at AS DATE) AS day, method, path, query, protocol, status, bytes, referer, user_agent,
    coalesce(regexp_matches(lower(user_agent), 'bot|crawl|spider|slurp'), false) AS is_bot,
    coalesce(site_term, engine_term) AS search_term,
    CASE WHEN site_term IS NOT NULL THEN 'site' WHEN engine_term IS NOT NULL THEN 'engine' END AS search_source,
    _file, _row, _received_at, _event_id
FROM (
    SELECT
        p.client AS client, nullif(p.user_name, '-') AS user_name,
        try_strptime(p.requested_at, '%d/%b/%Y:%H:%M:%S %z') AS requested_at,
        nullif(regexp_extract(p.request, '^([A-Z]+) ', 1), '') AS method,
        nullif(regexp_extract(p.request, '^[A-Z]+ ([^ ?#]*)', 1), '') AS path,
        nullif(regexp_extract(p.request, '^[A-Z]+ [^ ?#]*[?]([^ #]*)', 1), '') AS query,
        nullif(regexp_extract(p.request, ' (HTTP/[0-9.]+)$', 1), '') AS protocol,
        TRY_CAST(p.status AS INTEGER) AS status, TRY_CAST(p.bytes AS BIGINT) AS bytes,
        nullif(nullif(p.referer, '-'), '') AS referer, nullif(nullif(p.user_agent, '-'), '') AS user_agent,
        category_text(TRY(url_decode(replace(regexp_extract(p.request, '^[A-Z]+ [^ ?#]*[?](?:[^ #]*&)?(?:q|query|search|s|term|keyword)=([^& #]*)', 1), '+', ' ')))) AS site_term,
        category_text(TRY(url_decode(replace(regexp_extract(p.referer,
            '^https?://(?:[a-z0-9-]+[.])*(?:google|bing|yahoo|yandex|duckduckgo|baidu|ask)[.][a-z.]+/[^?#]*[?](?:[^#]*&)?(?:q|p|query|text|wd)=([^&#]*)', 1), '+', ' ')))) AS engine_term,
        _file, _row, _received_at, _event_id
    FROM (
        SELECT regexp_extract(line, '^(\S+) \S+ (\S+) \[([^\]]+)\] "((?:[^"\\]|\\.)*)" ([0-9]{3}) ([0-9]+|-)(?: "((?:[^"\\]|\\.)*)" "((?:[^"\\]|\\.)*)")?\s*$',
                              ['client', 'user_name', 'requested_at', 'request', 'status', 'bytes', 'referer', 'user_agent']) AS p,
               _file, _row, _received_at, _event_id
        FROM bronze.access_log
    )
)
