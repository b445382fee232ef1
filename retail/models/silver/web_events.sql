/* cupel
kind: stream
key: [_event_id]
time: event_time
store: both
description: One row per web event
columns:
  session_id: Browser session
  user_id: Signed-in user; null for visitors
  page: Page as sent, lower case
  page_path: Page without scheme, host, query, fragment and trailing slash; empty for the start page
  path_depth: Number of non-empty segments of page_path
  page_category: By first segment (ref.page_categories); home for the start page, else other
  device_type: Device as sent, lower case
  is_mobile: device_type contains mobile, tablet or phone
  browser: Browser, lower case
  event_type: Kind of event, lower case
  is_engagement: click, scroll, form_submit, download, video_play, share, add_to_cart or purchase
  event_time: Time of the event
  day: Day of event_time in the project's time zone
  unreadable: Optional fields that could not be read, comma separated; null when all could
owner: marketing
tags: [web, silver]
*/
SELECT
    session_id, user_id, page, page_path, path_depth,
    CASE WHEN page_path = '' THEN 'home' WHEN page_path IS NOT NULL THEN coalesce(c.category, 'other') END AS page_category,
    device_type, coalesce(regexp_matches(device_type, 'mobile|tablet|phone'), false) AS is_mobile, browser, event_type,
    coalesce(event_type IN ('click', 'scroll', 'form_submit', 'download', 'video_play', 'share', 'add_to_cart', 'purchase'), false) AS is_engagement,
    event_time, CAST(event_time AS DATE) AS day, unreadable, _received_at, _event_id
FROM (
    SELECT *, len(segments) AS path_depth, segments[1] AS first_segment
    FROM (
        SELECT *, list_filter(string_split(page_path, '/'), lambda x: x <> '') AS segments
        FROM (
            SELECT *, regexp_extract(page, '^(?:[a-z][a-z0-9+.-]*://[^/?#]*|//[^/?#]+)?([^?#]*?)/?(?:[?#]|$)', 1) AS page_path,
                   CASE WHEN user_id IS NULL AND user_text IS NOT NULL THEN 'user_id' END AS unreadable
            FROM (
                SELECT
                    null_if_blank(j[1]) AS session_id,
                    null_if_blank(j[2]) AS user_text, parse_integer(j[2]) AS user_id,
                    category_text(j[3]) AS page,
                    category_text(j[4]) AS device_type,
                    category_text(j[5]) AS browser,
                    category_text(j[6]) AS event_type,
                    parse_epoch(j[7]) AS event_time,
                    _received_at, _event_id
                FROM (
                    SELECT TRY(json_extract_string(payload, ['$.session_id', '$.user_id', '$.page', '$.device_type', '$.browser', '$.event_type', '$.timestamp'])) AS j,
                           _received_at, _event_id
                    FROM bronze.web_traffic
                )
            )
        )
    )
) e
LEFT JOIN (
    SELECT category_text(CAST(segment AS VARCHAR)) AS segment, min(null_if_blank(CAST(category AS VARCHAR))) AS category FROM ref.page_categories GROUP BY 1
) c ON c.segment = e.first_segment
