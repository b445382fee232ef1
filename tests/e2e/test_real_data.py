"""Real data through the real binary. Skipped where the data sets are absent (CUPEL_TEST_DATA); see CONTRIBUTING.md."""

import base64
import csv
import hashlib
import hmac
import io
import json
import subprocess
import tarfile

import lib
import pytest

LANDING = """
project: real
listen: 127.0.0.1:0
sources:
  - {name: retail, type: landing, path: landing/retail, table: bronze.retail}
  - {name: supply, type: landing, path: landing/supply, table: bronze.supply}
  - {name: reviews, type: landing, path: landing/reviews, table: bronze.reviews}
"""
# What the data set's publisher and two other readers count.
RETAIL = "SELECT count(*) AS rows, CAST(sum(CAST(Quantity AS DECIMAL(18,0)) * CAST(UnitPrice AS DECIMAL(18,3))) AS VARCHAR) AS total, count(*) FILTER (InvoiceNo LIKE 'C%') AS cancelled, count(*) FILTER (CustomerID IS NULL OR CustomerID = '') AS anonymous FROM "
RETAIL_EXPECTED = {"rows": 541909, "total": "9747747.934", "cancelled": 9288, "anonymous": 135080}


def unzstd(path):
    return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout


def members(path):
    with tarfile.open(fileobj=io.BytesIO(unzstd(path))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def normal(row):
    """Decimals may come as text or number; both without trailing zeros."""
    return {**row, "total": row["total"].rstrip("0")}


def wait_landed(project, folder, timeout_s=240):
    path = project.dir / folder
    lib.wait_until(lambda: not [f for f in path.iterdir() if f.is_file()], timeout_s, f"{folder} taken", 0.2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_online_retail_by_day_files(real_data, make_project):
    """305 daily files: every row once, the sum exact; sending all of them again changes nothing."""
    project = make_project(LANDING)
    days = {name.rsplit("/")[-1]: body for name, body in members(real_data / "online_retail/by-day.tar.zst").items() if name.endswith(".csv")}
    assert len(days) == 305
    for name, body in sorted(days.items()):
        project.land("landing/retail", name, body)
    wait_landed(project, "landing/retail")
    assert normal(project.sql(RETAIL + "bronze.retail")[0]) == RETAIL_EXPECTED
    first = project.sql("SELECT md5(string_agg(_event_id::VARCHAR, '' ORDER BY _event_id)) AS ids FROM bronze.retail")
    for name, body in sorted(days.items()):
        project.land("landing/retail", "again-" + name, body)
    wait_landed(project, "landing/retail")
    assert normal(project.sql(RETAIL + "bronze.retail")[0]) == RETAIL_EXPECTED
    assert project.sql("SELECT md5(string_agg(_event_id::VARCHAR, '' ORDER BY _event_id)) AS ids FROM bronze.retail") == first
    assert project.cli("conservation").returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_online_retail_as_events(real_data, make_project):
    """The same rows as NDJSON through `cupel put`."""
    project = make_project("project: real\nlisten: 127.0.0.1:0\nstreams:\n  retail: {partitions: 2, key: InvoiceNo, flush: {seconds: 5}}\n")
    rows = csv.DictReader(io.StringIO(unzstd(real_data / "online_retail/online_retail.csv.zst").decode(), newline=""))
    path = project.dir / "retail.ndjson"
    with open(path, "w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    project.cli("put", "retail", path, timeout=300)
    fields = ", ".join(f"payload->>'$.{name}' AS {name}" for name in ("InvoiceNo", "Quantity", "UnitPrice", "CustomerID"))
    assert normal(project.sql(RETAIL + f"(SELECT {fields} FROM bronze.retail)")[0]) == RETAIL_EXPECTED
    exact = project.sql("SELECT CAST(sum(CAST(json_decimal(payload, 'UnitPrice') AS DECIMAL(18,3)) * CAST(payload->>'$.Quantity' AS DECIMAL(18,0))) AS VARCHAR) AS total FROM bronze.retail")
    assert exact[0]["total"].rstrip("0") == RETAIL_EXPECTED["total"]


def test_tab_separated_with_bare_cr(real_data, make_project):
    """Supply chain: named .csv, tabs, CR line ends, no final one: 10,324 rows of 33 columns."""
    project = make_project(LANDING)
    raw = unzstd(real_data / "supply_chain/SCMS_Delivery_History_Dataset.csv.zst")
    project.land("landing/supply", "scms.csv", raw)
    wait_landed(project, "landing/supply")
    expected = list(csv.reader(io.StringIO(raw.decode().replace("\r", "\n"), newline="\n"), delimiter="\t"))
    header, rows = expected[0], expected[1:]
    assert (len(rows), len(header)) == (10324, 33)
    stored = project.sql("SELECT * FROM bronze.supply ORDER BY _row")
    assert len(stored) == 10324
    columns = [name for name in stored[0] if not name.startswith("_")]
    assert len(columns) == 33
    for got, want in zip(stored, rows):
        assert [got[c] or "" for c in columns] == want


def test_newlines_inside_quotes(real_data, make_project):
    """Reviews: 23,486 records, 2,024 of them with line ends inside; every cell as Python's reader sees it."""
    project = make_project(LANDING)
    raw = unzstd(real_data / "feedback/womens_clothing_reviews.csv.zst")
    project.land("landing/reviews", "reviews.csv", raw)
    wait_landed(project, "landing/reviews")
    rows = list(csv.reader(io.StringIO(raw.decode(), newline="")))[1:]
    assert len(rows) == 23486
    stored = project.sql("SELECT * FROM bronze.reviews ORDER BY _row")
    assert len(stored) == 23486
    columns = [name for name in stored[0] if not name.startswith("_")]
    assert len(columns) == 11
    for got, want in zip(stored, rows):
        assert [got[c] or "" for c in columns] == want


HOOKS = """
project: hooks
listen: 127.0.0.1:0
streams:
  shopify: {partitions: 2, accept: any}
  github: {partitions: 2, accept: any}
sources:
  - {name: shop, type: webhook, stream: shopify, scheme: shopify, secret: shpss_test}
  - {name: github, type: webhook, stream: github, scheme: hmac-sha256, header: X-Hub-Signature-256, prefix: "sha256=", secret: gh_test}
"""


@pytest.mark.parametrize("source,folder,archive", [("shop", "shopify", "shopify_json/shopify_fixtures.tar.zst"), ("github", "github", "webhooks/payload_examples.tar.zst")])
def test_signed_webhooks_byte_for_byte(real_data, make_project, source, folder, archive):
    """Each payload signed and posted to its hook, read back byte for byte, out of the log and, flushed, out of bronze."""
    project = make_project(HOOKS)
    sent = {}
    for name, body in members(real_data / archive).items():
        if not name.endswith(".json"):
            continue
        if source == "shop":
            headers = {"X-Shopify-Hmac-Sha256": base64.b64encode(hmac.new(b"shpss_test", body, hashlib.sha256).digest()).decode(), "X-Shopify-Topic": "orders/create"}
        else:
            headers = {"X-Hub-Signature-256": "sha256=" + hmac.new(b"gh_test", body, hashlib.sha256).hexdigest()}
        answer = project.request("POST", f"/hooks/{source}", data=body, headers={"Content-Type": "application/json", **headers}, token=False)
        assert answer.status_code in (200, 202), f"{name}: {answer.status_code} {answer.text}"
        sent[name] = body
        forged = project.request("POST", f"/hooks/{source}", data=body + b" ", headers={"Content-Type": "application/json", **headers}, token=False)
        assert forged.status_code in (401, 403), f"{name}: forged body got {forged.status_code}"
    query = f"SELECT base64(coalesce(encode(payload), _body)) AS bytes FROM bronze.{folder}"
    want = sorted(sent.values())
    assert sorted(base64.b64decode(row["bytes"]) for row in project.sql(query)) == want
    project.stop()
    project.start(args=())
    assert sorted(base64.b64decode(row["bytes"]) for row in project.sql(query)) == want


def test_access_log_lines(real_data, make_project):
    """10,000 lines of an access log, one malformed, as events of a stream that takes anything: none is changed."""
    project = make_project("project: logs\nlisten: 127.0.0.1:0\nstreams:\n  access: {partitions: 1, accept: any}\n")
    lines = unzstd(real_data / "weblogs/apache_combined_10k.log.zst").decode().splitlines()
    assert len(lines) == 10000
    for start in range(0, len(lines), 1000):
        answer = project.post("access", "".join(json.dumps({"line": line}) + "\n" for line in lines[start : start + 1000]), headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 202, answer.text
    stored = project.sql("SELECT payload->>'$.line' AS line FROM bronze.access ORDER BY _offset")
    assert [row["line"] for row in stored] == lines
    malformed = project.value(r"""SELECT count(*) AS n FROM bronze.access WHERE NOT regexp_matches(payload->>'$.line', '^\S+ \S+ \S+ \[[^\]]+\] "[^"]*" \d{3} (\d+|-) "[^"]*" "[^"]*"$')""")
    assert malformed == 1
