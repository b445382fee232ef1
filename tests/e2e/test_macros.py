"""docs/macros.md: every example gives what stands beside it, in plain DuckDB and in Cupel."""

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random

import duckdb
import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `(.+?)` \| (?:`(.*)` )?\|$")


def examples():
    found = []
    for line in (ROOT / "docs/macros.md").read_text().splitlines():
        if line.startswith("| `"):
            match = ROW.match(line)
            assert match, line
            found.append((match.group(1).replace("\\|", "|"), match.group(2)))
    assert len(found) > 100
    return found


@pytest.fixture(scope="module")
def plain():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute((ROOT / "src/lake/macros.sql").read_text())
    return connection


def wrong(given):
    return [f"{sql}: {got!r}, not {wanted!r}" for (sql, wanted), got in zip(examples(), given, strict=True) if got != wanted]


def one_select():
    return "SELECT " + ", ".join(f"CAST({sql} AS VARCHAR) AS c{i}" for i, (sql, _) in enumerate(examples()))


def test_examples_in_plain_duckdb(plain):
    assert wrong([plain.execute(f"SELECT CAST({sql} AS VARCHAR)").fetchone()[0] for sql, _ in examples()]) == []


def test_examples_in_cupel(project):
    row = project.sql(one_select())[0]
    assert wrong([row[f"c{i}"] for i in range(len(row))]) == []


def test_project_zone(make_project):
    project = make_project("project: z\nlisten: 127.0.0.1:0\ntimezone: Europe/Istanbul\n")
    assert project.value("SELECT CAST(cupel_day('2026-11-20T21:30:00Z'::TIMESTAMPTZ) AS VARCHAR)") == "2026-11-21"


def test_ratios_are_exact(plain):
    """Against Python's decimals, where a double would round the other way now and then."""
    random = Random(7)
    rows = [(Decimal(random.randrange(-(10**9), 10**9)) / 10**4, Decimal(random.choice([1, 3, 7, 8, 16, 20000, random.randrange(1, 10**7)]))) for _ in range(2000)]
    plain.execute("CREATE OR REPLACE TABLE r (i INTEGER, a DECIMAL(18,4), b DECIMAL(18,4))")
    plain.executemany("INSERT INTO r VALUES (?, ?, ?)", [(i, a, b) for i, (a, b) in enumerate(rows)])
    got = plain.execute("SELECT safe_ratio(a, b), safe_percent(a, b), safe_ratio(CAST(a AS BIGINT), CAST(b AS BIGINT)) FROM r ORDER BY i").fetchall()
    for (a, b), (ratio, percent, whole) in zip(rows, got, strict=True):
        assert ratio == (a / b).quantize(Decimal("0.0001"), ROUND_HALF_UP), (a, b)
        assert percent == (100 * a / b).quantize(Decimal("0.01"), ROUND_HALF_UP), (a, b)
        assert whole == (a.quantize(Decimal(1), ROUND_HALF_UP) / b).quantize(Decimal("0.0001"), ROUND_HALF_UP), (a, b)


def test_no_input_is_an_error(plain):
    """Whatever stands in a column: a value or NULL."""
    random = Random(11)
    alphabet = "0123456789.,-+eE/:TZ ()@\\<>\u00a0İıŞ🙂'\"{}[]_%\x00\x07"
    texts = ["".join(random.choice(alphabet) for _ in range(random.randrange(0, 24))) for _ in range(3000)] + [None]
    plain.execute("CREATE OR REPLACE TABLE texts (x VARCHAR)")
    plain.executemany("INSERT INTO texts VALUES (?)", [(t,) for t in texts])
    for macro in ("clean_text", "category_text", "title_case_tr", "parse_integer", "parse_decimal", "parse_number_tr", "parse_number_en", "parse_boolean", "parse_timestamp_any",
                  "normalize_phone", "normalize_email"):  # fmt: skip
        assert plain.execute(f"SELECT count(*) FROM (SELECT {macro}(x) AS y FROM texts) WHERE hash(y) IS NOT NULL").fetchone()[0] == len(texts)
    assert plain.execute("SELECT count(*) FROM (SELECT json_text(x, 'a') AS y, json_items(x, 'a') AS z FROM texts)").fetchone()[0] == len(texts)
