"""Random dirty histories in plain DuckDB: every row is accounted for, and what is sent twice or in another order changes nothing."""

import random

import pytest

from cases import REFERENCE
from dirt import History, again
from plain import LANDING, Feed, Pack, Plain

PACK = Pack()
# The order of arrival decides only between rows of one key, and ids of events follow it.
EXCEPT = {"silver.inventory_observations", "silver.inventory_thresholds", "silver.crm_interactions", "silver.web_events", "silver.case_events", "silver.pos_sales", "silver.access_log"}


def run(arrivals, time_zone="Europe/Istanbul"):
    feed = Feed()
    for i, (target, content) in enumerate(arrivals):
        (feed.file if target in LANDING else feed.push)(target, content, 1795000000 + i)
    plain = Plain(PACK, time_zone)
    plain.reference(**REFERENCE)
    plain.feed(feed)
    return plain.run()


@pytest.mark.parametrize("seed", range(4))
def test_every_row_is_accounted_for(seed):
    history = History(seed)
    plain = run(history.arrivals)
    assert min(history.kinds.values()) > 5, history.kinds
    for table in ("silver.web_events", "silver.crm_interactions", "silver.inventory_observations", "silver.pos_sales"):
        counts = plain.counts[table]
        assert (counts["rows"], counts["quarantined"]) == (history.fate[table, "rows"], history.fate[table, "quarantined"]), table
        warned = plain.warnings[table]["expect_column_values_to_be_null(unreadable)"]
        assert warned == history.fate[table, "warned"], table
    assert plain.counts["silver.pos_sales"]["superseded"] > 0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_sent_again(seed):
    history = History(seed, days=2)
    once, twice = run(history.arrivals), run(again(history, random.Random(seed)))
    for model in PACK.models:
        if model not in EXCEPT:
            assert once.rows(model) == twice.rows(model), model


@pytest.mark.parametrize("seed", range(3))
def test_events_in_another_order(seed):
    history = History(seed, days=2)
    streams = ("web_traffic", "crm_interactions")
    events = [one for one in history.arrivals if one[0] in streams]
    first = run(events)
    random.Random(seed).shuffle(events)
    second = run(events)
    for model in PACK.models:
        if model not in EXCEPT:
            assert first.rows(model) == second.rows(model), model
