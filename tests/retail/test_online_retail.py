"""The UCI data set through the example's mapping model: KPIs 1 and 3 by day, against sums made in Python."""

import csv
import io
import os
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard

from plain import RETAIL, ROOT, Feed, Pack, Plain

DATA = Path(os.environ.get("CUPEL_TEST_DATA", ROOT / "../shared/data")) / "online_retail/online_retail.csv.zst"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")


@pytest.fixture(scope="module")
def lines():
    with DATA.open("rb") as compressed:
        return list(csv.DictReader(io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(compressed), encoding="utf-8", newline="")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    file = tmp_path_factory.mktemp("online_retail") / "online_retail.csv"
    with DATA.open("rb") as compressed, file.open("wb") as out:
        zstandard.ZstdDecompressor().copy_stream(compressed, out)
    plain = Plain(Pack(RETAIL, RETAIL / "examples/online_retail"))
    plain.reference()
    plain.feed(Feed())
    plain.bronze_sql(
        "online_retail",
        "SELECT CAST(lpad(to_hex(row), 32, '0') AS UUID) AS _event_id, 'online_retail.csv' AS _file, 'h' AS _file_hash, row AS _row, now() AS _received_at, *"
        f" FROM (SELECT row_number() OVER () AS row, * FROM read_csv('{file}', header = true, all_varchar = true))",
    )
    return plain.run()


def kept(lines):
    for line in lines:
        quantity, revenue = int(line["Quantity"]), int(line["Quantity"]) * Decimal(line["UnitPrice"])
        if quantity and abs(quantity) <= 1000 and abs(revenue) <= 100000 and revenue * quantity >= 0:
            yield line, quantity, revenue


def test_kept_and_quarantined_are_the_file(plain, lines):
    assert plain.counts["silver.pos_sales"] == {"rows": 541909, "quarantined": 176, "kept": 541733, "superseded": 0}
    assert sum(int(line["Quantity"]) * Decimal(line["UnitPrice"]) for line in lines) == Decimal("9747747.934")
    reasons = dict(plain.rows("quarantine.silver__pos_sales GROUP BY _reason", "_reason, count(*) AS n"))
    assert sum(map(int, reasons.values())) == 176


def test_sales_by_day(plain, lines):
    wanted = defaultdict(lambda: [Decimal(0), 0, 0, Decimal(0), set()])
    for line, quantity, revenue in kept(lines):
        day = wanted[line["InvoiceDate"][:10]]
        day[0] += revenue
        day[1] += quantity
        day[2] += max(-quantity, 0)
        day[3] += -revenue if quantity < 0 else 0
        day[4].add((line["Country"], line["StockCode"].strip(), line["InvoiceNo"]))
    sums = "day, sum(net_revenue) AS net, sum(units) AS units, sum(returns_units) AS r, sum(returns_value) AS v, sum(transactions) AS t"
    got = {row[0]: [Decimal(row[1]), int(row[2]), int(row[3]), Decimal(row[4]), int(row[5])] for row in plain.rows("sales.total_sales GROUP BY day", sums)}
    assert got == {day: [*values[:4], len(values[4])] for day, values in wanted.items()}


@pytest.mark.slow
def test_units_of_30_days(plain, lines):
    by_code = defaultdict(lambda: defaultdict(int))
    for line, quantity, _ in kept(lines):
        by_code[line["StockCode"].strip()][date.fromisoformat(line["InvoiceDate"][:10])] += quantity
    last = max(max(days) for days in by_code.values())
    codes = dict(plain.rows("silver.pos_sales GROUP BY ALL", "product_id, stock_code"))
    assert len(set(codes.values())) == len(codes) == len(by_code)
    got = defaultdict(dict)
    for product, day, units, average, rate in plain.rows("sales.product_turnover", "product_id, day, units_sold_30d, avg_stock_30d, turnover_rate"):
        assert average is None and rate is None
        got[codes[product]][day] = int(units)
    for code, days in by_code.items():
        day, units, wanted = min(days), 0, {}
        while day <= last:
            units += days.get(day, 0) - days.get(day - timedelta(30), 0)
            wanted[day.isoformat()] = units
            day += timedelta(1)
        assert got[code] == wanted, code
