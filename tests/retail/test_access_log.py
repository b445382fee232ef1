"""The access-log parser: single lines, and a real log of 10,000 lines against a parser written another way."""

import os
import urllib.parse
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import pytest
import zstandard

from plain import ROOT, Feed, Pack, Plain

DATA = Path(os.environ.get("CUPEL_TEST_DATA", ROOT / "../shared/data")) / "weblogs/apache_combined_10k.log.zst"
PACK = Pack()


def parsed(lines):
    feed = Feed()
    feed.file("access_log", [{"line": line} for line in lines], 1795000000)
    plain = Plain(PACK)
    plain.reference()
    plain.feed(feed)
    return plain.run()


HEAD = '10.0.0.1 - - [17/May/2015:10:05:03 +0000] '
LINES = [
    (HEAD + '"GET /a/b?q=Wool+Scarf&x=1 HTTP/1.1" 200 1234 "-" "Mozilla/5.0"', ["/a/b", "q=Wool+Scarf&x=1", "200", "1234", "wool scarf", "site", "False"]),
    (HEAD + '"GET /search?page=2&query=%C5%9Fapka%20 HTTP/1.1" 404 - "http://x/" "Googlebot/2.1"', ["/search", "page=2&query=%C5%9Fapka%20", "404", None, "şapka", "site", "True"]),
    (HEAD + '"GET / HTTP/1.0" 304 0', ["/", None, "304", "0", None, None, "False"]),
    (HEAD + r'"GET /x\"y HTTP/1.1" 200 5 "http://www.google.com.tr/search?hl=tr&q=red%20bag" "a \"b\" c"', [r"/x\"y", None, "200", "5", "red bag", "engine", "False"]),
    (HEAD + '"GET /x?q=%ff%fe HTTP/1.1" 200 5 "-" "-"', ["/x", "q=%ff%fe", "200", "5", None, None, "False"]),
    (HEAD + '"-" 408 0 "-" "-"', [None, None, "408", "0", None, None, "False"]),
    (HEAD + '"GET /x?q= HTTP/1.1" 200 5 "http://www.google.com/search?q=" "-"', ["/x", "q=", "200", "5", None, None, "False"]),
    (HEAD + '"GET /?seq=7&faq=1 HTTP/1.1" 200 5 "http://shop.example/?q=own" "-"', ["/", "seq=7&faq=1", "200", "5", None, None, "False"]),
]


def test_lines():
    bad = ["", "hello", HEAD + '"GET / HTTP/1.1" 200 1 "-" "unterminated', HEAD.replace("May", "Mai") + '"GET / HTTP/1.1" 200 1 "-" "-"', HEAD + '"GET / HTTP/1.1" OK 1 "-" "-"']
    plain = parsed([line for line, _ in LINES] + bad)
    got = plain.rows("silver.access_log", "_row, path, query, status, bytes, search_term, search_source, is_bot", "_row")
    assert [row[1:] for row in got] == [wanted for _, wanted in LINES]
    assert plain.counts["silver.access_log"] == {"rows": len(LINES) + len(bad), "quarantined": len(bad), "kept": len(LINES), "superseded": 0}
    assert plain.rows("marketing.search_terms", "search_source, search_term, searches") == [["engine", "red bag", "1"], ["site", "wool scarf", "1"], ["site", "şapka", "1"]]


def test_hours_are_of_the_zone_in_the_line():
    plain = parsed([HEAD.replace("+0000", "+0300") + '"GET / HTTP/1.1" 200 7 "-" "-"', HEAD + '"GET / HTTP/1.1" 200 8 "-" "-"'])
    seven = int(datetime(2015, 5, 17, 7, tzinfo=timezone.utc).timestamp() * 1000000)
    assert plain.rows("operations.server_activity") == [[str(seven), "200", "1", "0", "7"], [str(seven + 3 * 3600000000), "200", "1", "0", "8"]]


def by_hand(line):
    """(hour, status, bytes, terms of the site) without regular expressions; None: malformed."""
    parts = line.split('"')
    if len(parts) != 7 or parts[6].strip():
        return None
    at = datetime.strptime(parts[0].split("[")[1].split("]")[0], "%d/%b/%Y:%H:%M:%S %z").astimezone(timezone.utc)
    status, size = parts[2].split()
    target = parts[1].split(" ")[1]
    query = urllib.parse.parse_qsl(target.split("?", 1)[1].split("#")[0]) if "?" in target else []
    terms = [v.strip().lower() for k, v in query if k in ("q", "query", "search", "s", "term", "keyword") and v.strip()]
    return at.replace(minute=0, second=0), int(status), 0 if size == "-" else int(size), terms


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
@pytest.mark.slow
def test_real_log():
    lines = zstandard.ZstdDecompressor().stream_reader(DATA.open("rb")).read().decode().split("\n")[:-1]
    plain = parsed(lines)
    assert plain.counts["silver.access_log"] == {"rows": 10000, "quarantined": 1, "kept": 9999, "superseded": 0}
    requests, sizes, searches = Counter(), Counter(), 0
    for line in lines:
        if one := by_hand(line):
            requests[one[:2]] += 1
            sizes[one[:2]] += one[2]
            searches += bool(one[3])
    rows = plain.rows("operations.server_activity", "hour, status, requests, bytes")
    got = {(datetime.fromtimestamp(int(hour) / 1000000, timezone.utc), int(status)): (int(n), int(size)) for hour, status, n, size in rows}
    assert got == {key: (requests[key], sizes[key]) for key in requests}
    assert int(plain.rows("marketing.search_terms", "sum(searches) FILTER (search_source = 'site') AS n")[0][0] or 0) == searches
