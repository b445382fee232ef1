"""The models of the retail pack against histories worked out by hand (cases.py), as full recompute in plain DuckDB, in order and shuffled."""

import random
from decimal import Decimal

import pytest

from cases import CASES, table
from plain import LANDING, Feed, Pack, Plain

PACK = Pack()
RECEIVED = Decimal(1795000000)  # after everything in the cases, before the times in them that are in the future


def run_plain(case, arrivals):
    feed = Feed()
    for i, (target, content) in enumerate(arrivals):
        (feed.file if target in LANDING else feed.push)(target, content, RECEIVED + i)
    plain = Plain(PACK, case.time_zone)
    plain.reference(**case.reference)
    plain.feed(feed)
    return plain.run()


def value(text):
    if text is None:
        return None
    try:
        return Decimal(text)
    except ArithmeticError:
        return {"True": "true", "False": "false"}.get(text, text)


def compare(case, read):
    """read(table, columns) -> rows of text."""
    for name, text in case.expect.items():
        columns, rows = table(text)
        got = sorted(([value(v) for v in row] for row in read(name, ", ".join(columns))), key=str)
        wanted = sorted(rows, key=str)
        assert sorted(map(repr_row, got)) == sorted(map(repr_row, wanted)), name


def repr_row(row):
    return " | ".join("-" if v is None else str(v.normalize() + 0) if isinstance(v, Decimal) else v for v in row)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_in_order(case):
    plain = run_plain(case, case.arrivals)
    compare(case, plain.rows)
    for name, wanted in case.quarantined.items():
        assert plain.counts[name]["quarantined"] == wanted, name


@pytest.mark.parametrize("case", [c for c in CASES if not c.ordered], ids=lambda c: c.name)
def test_shuffled_and_sent_twice(case):
    rng = random.Random(case.name)
    arrivals = case.arrivals + rng.sample(case.arrivals, len(case.arrivals) // 2 + 1)
    rng.shuffle(arrivals)
    compare(case, run_plain(case, arrivals).rows)
