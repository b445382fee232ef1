"""cupel profile: the figures against Python's own, the HTML file, and what hostile data may not do."""

import json
import re
import statistics
from random import Random

import pytest

YAML = "project: p\nlisten: 127.0.0.1:0\nstreams:\n  events: {partitions: 1}\nsources:\n  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n"
MODEL = """/* cupel
kind: stream
key: [id]
*/
SELECT parse_integer(json_text(payload, 'id')) AS id, json_text(payload, 'shop') AS shop, parse_integer(json_text(payload, 'line')) AS line,
       CAST(json_text(payload, 'amount') AS DOUBLE) AS amount, json_text(payload, 'note') AS note, parse_timestamp_any(json_text(payload, 'at')) AS seen,
       _event_id, _received_at
FROM bronze.events
"""


@pytest.fixture(scope="module")
def rows():
    random = Random(3)
    made = []
    for i in range(500):
        amount = round(random.gauss(100, 10), 2) if i % 100 else 5000.0
        made.append({"id": i, "shop": f"S{i // 5}", "line": i % 5, "amount": amount, "note": None if i % 10 == 0 else random.choice(["red", "green", "blue", "\x1b[31mred", "\u202eder"]), "at": 1763632800 + i})
    return made


@pytest.fixture
def p(make_project, rows):
    project = make_project(YAML, start=False)
    (project.dir / "models/silver").mkdir(parents=True)
    (project.dir / "models/silver/events.sql").write_text(MODEL)
    project.cli("put", "events", "-", input="".join(json.dumps(r) + "\n" for r in rows))
    project.cli("flow", "run")
    return project


def profile(p, *args):
    return json.loads(p.cli("profile", *args, "--json").stdout)


def column(found, name):
    return next(c for c in found["columns"] if c["name"] == name)


def test_figures(p, rows):
    found = profile(p, "silver.events")
    assert (found["rows"], found["profiled"], found["sampled"]) == (500, 500, False)
    amounts = sorted(r["amount"] for r in rows)
    amount = column(found, "amount")
    assert amount["mean"] == pytest.approx(statistics.mean(amounts))
    assert amount["stdev"] == pytest.approx(statistics.stdev(amounts))
    assert amount["quantiles"]["50"] == pytest.approx(statistics.median(amounts))
    low, _, high = statistics.quantiles(amounts, n=4, method="inclusive")
    reach = 1.5 * (high - low)
    assert amount["outliers"]["above"] == sum(a > high + reach for a in amounts) >= 5
    assert amount["outliers"]["below"] == sum(a < low - reach for a in amounts)
    assert sum(amount["histogram"]) == 500 and amount["histogram"][0] > 400
    note = column(found, "note")
    assert (note["nulls"], note["distinct"]) == (50, 5)
    assert {t["value"]: t["count"] for t in note["top"]} == {n: sum(r["note"] == n for r in rows) for n in {r["note"] for r in rows} - {None}}
    shop = column(found, "shop")
    assert [x["pattern"] for x in shop["patterns"]] == ["A+99", "A+9"]
    assert shop["lengths"]["max"] == 3
    assert column(found, "seen")["min"].startswith("2025-11-20 10:00:00")
    assert ["id"] in found["keys"] and ["_event_id"] in found["keys"]
    assert sorted(map(sorted, [k for k in found["keys"] if len(k) == 2])) == [["line", "shop"]]


def test_json_numbers_with_many_digits(p):
    assert profile(p, "bronze.events")["warnings"] == []
    p.cli("put", "events", "-", input='{"id": 1000, "text": "1234567890123456789", "n": 1234567890123456789}\n{"id": 1001, "amount": 0.12345678901234567}\n{"id": 1002, "amount": 123456789012345}\n')
    found = profile(p, "bronze.events")
    assert column(found, "payload")["long_numbers"] == 2
    assert len(found["warnings"]) == 1 and "more than 15 digits" in found["warnings"][0]


def test_texts_that_are_something_else(p):
    p.land("landing/pos", "a.csv", "n,d,t,x,empty\n" + "".join(f"{i},{i}.5,2026-11-{1 + i % 28:02},v{i},\n" for i in range(40)))
    p.cli("source", "run", "pos")
    found = profile(p, "bronze.pos")
    assert [column(found, c).get("reads_as", {}).get("type") for c in "ndtx"] == ["BIGINT", "DECIMAL(18,4)", "TIMESTAMP WITH TIME ZONE", None]
    assert "empty: every value is NULL" in found["warnings"]


def test_samples(p):
    found = profile(p, "silver.events", "--sample", "100")
    assert (found["rows"], found["profiled"], found["sampled"]) == (500, 100, True)
    assert all(c["values"] + c["nulls"] == 100 for c in found["columns"])
    assert "sample of 100" in p.cli("profile", "silver.events", "-n", "100").stdout


def test_terminal(p):
    text = p.cli("profile", "silver.events").stdout
    assert "silver.events: 500 rows, 8 columns" in text and "likely keys: id" in text and "█" in text
    assert "\x1b" not in text and "\u202e" not in text and r"\u001B[31mred" in text and r"\u202Eder" in text


def test_html_is_one_file_and_quotes_data(p):
    p.cli("put", "events", "-", input='{"id": 2000, "shop": "<script>alert(1)</script>&\\"", "note": "<img src=x onerror=alert(1)>"}\n')
    p.cli("flow", "run")
    p.cli("profile", "silver.events", "--html", p.dir / "out.html")
    html = (p.dir / "out.html").read_text()
    assert not (p.dir / "out.html.part").exists()
    assert "<script" not in html and "<img" not in html and "&lt;img src=x" in html
    assert "\u202e" not in html and r"\u202Eder" in html and "<bdi>note</bdi>" in html
    assert not re.search(r"<[^>]*\bsrc=|href=\"(?!#)|https?://|@import|url\(", html)
    assert "prefers-color-scheme:dark" in html and html.count("<svg") >= 4


def test_wrong_tables(p):
    assert p.cli("profile", "events", check=False).returncode == 2
    missing = p.cli("profile", "silver.event", check=False)
    assert missing.returncode == 1 and "silver.event" in missing.stderr
    quoted = p.cli("profile", 'silver."x"; DROP', check=False)
    assert quoted.returncode == 1


def test_an_empty_table(make_project):
    project = make_project(YAML, start=False)
    found = profile(project, "bronze.events")
    assert found["rows"] == 0 and all(c["nulls"] == 0 for c in found["columns"])
    assert "0 rows" in project.cli("profile", "bronze.events").stdout
    project.cli("profile", "bronze.events", "--html", project.dir / "e.html")


def test_a_nul_in_a_text_stops_nothing(p):
    p.cli("put", "events", "-", input=json.dumps({"id": 900, "shop": "A\0B"}) + "\n")
    p.cli("flow", "run")
    shop = [c for c in json.loads(p.cli("profile", "silver.events", "--json").stdout)["columns"] if c["name"] == "shop"]
    assert shop[0]["min"] == "A\0B"
    assert "silver.events: 501 rows" in p.cli("profile", "silver.events").stdout
