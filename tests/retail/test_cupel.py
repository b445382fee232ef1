"""The pack on the real server: hand-computed cases, and random dirty histories against a full recompute in plain DuckDB."""

import json
import random

import pytest

from cases import CASES
from dirt import History, again
from plain import LANDING, Feed, Pack, Plain
from shop import Shop, same_rows
from test_kpi_cases import compare

PACK = Pack()
# Not about values: ids and receipts differ between two systems.
OWN = {"_event_id", "_received_at", "event_id", "_file", "_file_hash", "_row"}


@pytest.fixture
def shop(tmp_path, request):
    made = []
    request.node.cupel_projects = made

    def make(**more):
        made.append(Shop(tmp_path / "shop", **more))
        return made[-1].start()

    yield make
    for one in made:
        one.cleanup()


def verified(shop):
    done = shop.run("--verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def quarantined(shop, table):
    return int(shop.rows("quarantine." + table.replace(".", "__"), "count(*) AS n")[0][0])


def cases(every, at, most=10**9):
    """Those that are in the short suite; all are in the long one. Plain DuckDB runs every case in the short one (test_kpi_cases.py)."""
    return [pytest.param(c, marks=[] if i % every == at and len(c.arrivals) < most else pytest.mark.slow) for i, c in enumerate(CASES)]


@pytest.mark.parametrize("case", cases(3, 0), ids=lambda c: c.name)
def test_case_in_one_batch(shop, case):
    shop = shop(time_zone=case.time_zone, reference=case.reference, formats=False)
    for target, content in case.arrivals:
        shop.arrive(target, content)
    shop.run()
    compare(case, shop.rows)
    for table, wanted in case.quarantined.items():
        assert quarantined(shop, table) == wanted, table
    verified(shop)


@pytest.mark.parametrize("case", cases(9, 1, most=20), ids=lambda c: c.name)
def test_case_in_many_batches(shop, case):
    shop = shop(time_zone=case.time_zone, reference=case.reference, formats=False)
    arrivals = list(case.arrivals) if len(case.arrivals) < 30 else case.arrivals[:300:10] + [one for i, one in enumerate(case.arrivals) if i % 10 or i >= 300]
    if not case.ordered:
        random.Random(case.name).shuffle(arrivals)
    for i, (target, content) in enumerate(arrivals):
        shop.arrive(target, content)
        if i < 30:
            shop.run()
    shop.run()
    compare(case, shop.rows)
    verified(shop)


def plain_of(arrivals, time_zone, reference):
    feed = Feed()
    for i, (target, content) in enumerate(arrivals):
        (feed.file if target in LANDING else feed.push)(target, content, 1795000000 + i)
    plain = Plain(PACK, time_zone)
    plain.reference(**reference)
    plain.feed(feed)
    return plain.run()


def columns(plain, model):
    """Those to compare."""
    names = [row[0] for row in plain.db.execute(f"DESCRIBE {model}").fetchall()]
    return ", ".join(n for n in names if n not in OWN and n not in PACK.models[model].state)


@pytest.mark.parametrize(("seed", "batches"), [(1, 5), pytest.param(1, 12, marks=pytest.mark.slow), pytest.param(2, 60, marks=pytest.mark.slow), pytest.param(3, 5, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_dirty_history(shop, seed, batches):
    from cases import REFERENCE

    history, rng = History(seed, days=3, scale=0.5), random.Random(seed)
    arrivals = again(history, rng)
    shop = shop(time_zone="Europe/Istanbul", reference=REFERENCE, seed=seed)
    stops = set(rng.sample(range(len(arrivals)), batches))
    for i, (target, content) in enumerate(arrivals):
        shop.arrive(target, content)
        if i in stops:
            shop.run()
    shop.run()
    plain = plain_of(arrivals, "Europe/Istanbul", REFERENCE)
    differ = {}
    for model in PACK.in_order():
        names = columns(plain, model.full)
        ours, theirs = same_rows(shop.rows(model.full, names)), same_rows(plain.rows(model.full, names))
        if ours != theirs:
            differ[model.full] = {"only cupel": sorted(set(ours) - set(theirs))[:3], "only plain": sorted(set(theirs) - set(ours))[:3]}
    assert not differ, json.dumps(differ, indent=1)
    for table in ("silver.web_events", "silver.crm_interactions", "silver.inventory_observations", "silver.pos_sales"):
        assert quarantined(shop, table) == plain.counts[table]["quarantined"], table
    verified(shop)


def alerts(shop):
    rows = shop.sql("SELECT payload FROM bronze.alerts ORDER BY _event_id")
    return [(e["type"], e["product_id"], e["warehouse_id"], e["status"], e["since"][:19].replace("T", " "), e["stock_level"], e["restock_threshold"]) for e in (json.loads(r["payload"]) for r in rows)]


def test_alert_events(shop):
    """Out and low, also by the first observation; recovered; late data and unchanged statuses are silent; a rebuild says nothing again."""
    from cases import REFERENCE, levels, stock
    from lib import wait_until

    shop = shop(reference=REFERENCE, formats=False)

    def step(*arrivals):
        for target, content in arrivals:
            shop.arrive(target, content)
        shop.run()

    step(stock("2026-03-02 10:00:00", 1, 1, 0), stock("2026-03-02 10:00:00", 2, 1, 100))
    step(stock("2026-03-02 11:00:00", 1, 1, 5), stock("2026-03-02 11:00:00", 2, 1, 90))
    step(stock("2026-03-02 12:00:00", 1, 1, 4))
    step(stock("2026-03-02 09:00:00", 1, 1, 50), stock("2026-03-02 11:30:00", 1, 1, 50), stock("2026-03-02 10:30:00", 2, 1, 0))
    step(levels(("2026-03-03 12:00:00", 1, 1, 50), ("2026-03-03 12:00:00", 2, 1, 10), ("2026-03-03 12:00:00", 3, 1, 60)))
    step(stock("2026-03-03 13:00:00", 1, 1, 40))
    both = [stock("2026-03-03 14:00:00", 2, 1, 50)[1], stock("2026-03-03 15:00:00", 2, 1, 3)[1]]
    assert shop.post("inventory", both).status_code == 202  # together: left and back again between two runs
    shop.run()
    wanted = [
        ("stockout", 1, 1, "out_of_stock", "2026-03-02 10:00:00", 0, 10),
        ("stockout", 1, 1, "low_stock", "2026-03-02 11:00:00", 5, 10),
        ("stockout", 1, 1, "recovered", "2026-03-03 12:00:00", 50, 10),
        ("stockout", 2, 1, "low_stock", "2026-03-03 12:00:00", 10, 10),
        ("stockout", 2, 1, "low_stock", "2026-03-03 15:00:00", 3, 10),
    ]
    wait_until(lambda: len(alerts(shop)) >= len(wanted), 20, "alerts are published")
    shop.run("--full-refresh")
    shop.restart()
    shop.run()
    assert sorted(alerts(shop)) == sorted(wanted)


def test_freshness_is_that_of_valid_rows(shop):
    from cases import REFERENCE, stock

    shop = shop(reference=REFERENCE, formats=False)
    for one in (stock("2026-03-02 10:00:00", 1, 1, 5), stock("2026-03-02 11:00:00", 1, 1, -5), stock("2100-03-02 11:00:00", 1, 1, 5)):
        shop.arrive(*one)
    shop.run()
    times = dict(shop.rows("cupel.freshness", '"table", as_of_event'))
    ten = str(1772445600 * 1000000)
    assert {t: times[t] for t in ("silver.inventory_levels", "sales.stock_availability", "operations.stockout_alerts")} == dict.fromkeys(
        ("silver.inventory_levels", "sales.stock_availability", "operations.stockout_alerts"), ten
    )


def test_access_log(shop):
    from test_access_log import LINES, parsed

    lines = [line for line, _ in LINES] + ["no log line", LINES[0][0]]
    shop = shop(formats=False)
    for part in (lines[:4], lines[4:]):
        shop.arrive("access_log", [{"line": line} for line in part])
        shop.run()
    plain = parsed(lines)
    for model in ("operations.server_activity", "marketing.search_terms"):
        assert same_rows(shop.rows(model)) == same_rows(plain.rows(model)), model
    assert quarantined(shop, "silver.access_log") == 1
    verified(shop)


def test_changed_reference_restates(shop):
    """Another cost restates inventory turnover, another region the sales, another warehouse both; new categories the pages."""
    from cases import REFERENCE, levels, pos, web

    arrivals = [
        levels(("2026-03-01 10:00:00", 1, 1, 100), ("2026-03-01 10:00:00", 3, 2, 5)),
        pos(("2026-03-02 10:00:00", "t1", 1, 1, 10, "5"), ("2026-03-02 10:00:00", "t2", 2, 3, 5, "5"), ("2026-03-02 10:00:00", "t3", 9, 3, 5, "5")),
        web("2026-03-02 10:00:00", "s", "/help/me"),
    ]
    shop = shop(reference=REFERENCE, formats=False)
    for one in arrivals:
        shop.arrive(*one)
    shop.run()
    changed = {
        "stores": [dict(REFERENCE["stores"][0], region="north"), dict(REFERENCE["stores"][1], warehouse_id=2), {"store_id": 9, "name": "New", "region": "east", "warehouse_id": 2}],
        "products": [dict(REFERENCE["products"][0], unit_cost="7.00"), dict(REFERENCE["products"][2], unit_cost="1.25", category="samples")],
        "page_categories": [{"segment": "help", "category": "service"}],
    }
    shop.write_reference(changed)
    shop.run()
    plain = plain_of(arrivals, "UTC", changed)
    for model in ("sales.total_sales", "operations.inventory_turnover", "operations.stockout_alerts", "mart.warehouse_sales_days"):
        assert same_rows(shop.rows(model)) == same_rows(plain.rows(model)), model
    assert shop.rows("silver.web_events", "page_category") == [["service"]]
    assert shop.rows("sales.total_sales", "DISTINCT region") == [["east"], ["north"], ["west"]]
    verified(shop)
