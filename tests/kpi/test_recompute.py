"""The reference implementation against cases computed by hand, one rule of kpis.md each. Needs no server."""

import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal as D
from fractions import Fraction as F
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import landing_files  # noqa: E402
import reading  # noqa: E402
from exact import half_up, percent, quantile, rate  # noqa: E402
from inputs import Event, File, Inputs  # noqa: E402
from kpis import Calendar, Kpis  # noqa: E402
from recompute import recompute  # noqa: E402
from silver import all_silver, half_up_to_int, page_category, page_path, stock_status  # noqa: E402
from tables import KPI_TABLES  # noqa: E402

T0 = int(datetime(2025, 3, 3, 12, tzinfo=timezone.utc).timestamp())  # a Monday, noon
DAY, HOUR = 86400, 3600
RECEIVED = (T0 + 100 * DAY) * 1000000
STORES = {1: ("north", 1), 2: ("south", 2), 3: ("south", None)}
PRODUCTS = {10: ("shoes", "20.00"), 11: ("bags", "7.50"), 12: ("bags", None)}
POS = "transaction_id,line_no,store_id,product_id,quantity,revenue,discount_applied,timestamp\n"
STOCK = "inventory_id,product_id,warehouse_id,stock_level,restock_threshold,last_updated\n"


def file(text, number, name=None):
    content = text if isinstance(text, bytes) else text.encode()
    return File(name or f"{number}.csv", f"hash{hash(content)}", RECEIVED + number, f"{number:08}", content)


def pos(*texts, **more):
    return world(files={"pos": [file(POS + text, i) for i, text in enumerate(texts)]}, **more)


def world(**more):
    return Inputs(**{"stores": STORES, "products": PRODUCTS, "page_categories": {"c": "category", "p": "product"}, **more})


def events(*bodies, received_us=RECEIVED):
    rows = []
    for i, body in enumerate(bodies):
        rows.append(Event(f"{i:08}", received_us + i, {k: v if v is None or isinstance(v, str) else str(v) for k, v in body.items()}))
    return rows


def web(*bodies, **more):
    return world(streams={"web_traffic": events(*({"session_id": "s", "page": "/", "timestamp": T0, **b} for b in bodies))}, **more)


def crm(*bodies, **more):
    return world(streams={"crm_interactions": events(*({"customer_id": 1, "interaction_type": "inquiry", "timestamp": T0, **b} for b in bodies))}, **more)


def level(at, stock, threshold=10, product=10, warehouse=1):
    return f"1,{product},{warehouse},{stock},{threshold},{at}\n"


def stock(*lines, sales="", **more):
    return world(files={"inventory": [file(STOCK + "".join(lines), 0)], "pos": [file(POS + sales, 1)]}, **more)


def rows(inputs, name):
    table = next(t for t in KPI_TABLES if t.name == name)
    return [dict(zip(table.columns, row)) for row in recompute(inputs).tables[name]]


def reasons(inputs):
    return sorted(reason for found in recompute(inputs).quarantined.values() for reason in found)


# ---- values ----


@pytest.mark.parametrize("raw, value", [("3", 3), (" 3 ", 3), ("3.0", 3), ("-2", -2), ("", None), (" ", None), ("null", None), ("NULL", None), ("NaN", None), ("\\N", None), (None, None)])
def test_integers(raw, value):
    assert reading.integer(raw) == value


@pytest.mark.parametrize("raw", ["3.5", "x", "9223372036854775808", "1e20", "1,5", "0x10", "1_000", "Null", "nan", True, {}, "٣"])
def test_unreadable_integers(raw):
    with pytest.raises(reading.Unreadable):
        reading.integer(raw)


def test_text_and_money_and_time():
    assert reading.category("  İstanbul ÇİÇEK ") == "istanbul çiçek"
    assert reading.category("IŞIK") == "işik"  # not the Turkish ı
    assert reading.category("ΟΔΟΣ") == "οδοσ"  # simple mapping knows no final sigma
    assert reading.text(" Ab ") == "Ab"
    assert reading.money("12.5") == D("12.5000") and str(reading.money("12.5")) == "12.5000"
    assert reading.instant("1763632800.5") == 1763632800500000


def test_rounding_is_half_up_on_exact_values():
    assert half_up(F(1, 8), 2) == D("0.13") and half_up(F(-1, 8), 2) == D("-0.13")
    assert percent(1, 3) == D("33.33") and percent(1, 0) is None
    assert rate(F(2, 3)) == D("0.6667")
    assert quantile([1, 2, 3, 4], F(1, 2)) == F(5, 2) and quantile([10, 20], F(9, 10)) == 19 and quantile([], F(1, 2)) is None
    assert half_up_to_int(F(5, 2)) == 3 and half_up_to_int(4) == 4


def test_days_of_the_time_zone():
    berlin = Calendar("Europe/Berlin")
    before, after = (int(datetime(2025, 3, 29, 22, 59, 59, tzinfo=timezone.utc).timestamp()), int(datetime(2025, 3, 29, 23, tzinfo=timezone.utc).timestamp()))
    assert date.fromordinal(berlin.day(before * 1000000)) == date(2025, 3, 29)
    assert date.fromordinal(berlin.day(after * 1000000)) == date(2025, 3, 30)
    summer = int(datetime(2025, 3, 30, 22, tzinfo=timezone.utc).timestamp())  # the day of the change has 23 hours
    assert date.fromordinal(berlin.day(summer * 1000000)) == date(2025, 3, 31)


# ---- files ----


def fields(content, name="x.csv", encoding=None):
    return list(landing_files.rows(content if isinstance(content, bytes) else content.encode(), name, encoding))


def test_csv_dialects():
    assert fields("B ; a\r\n1;2\r\n\r\n3;4") == [(1, {"b": "1", "a": "2"}, None), (2, {"b": "3", "a": "4"}, None)]
    assert fields('a,b\n"x, ""y""\nz",2\n') == [(1, {"a": 'x, "y"\nz', "b": "2"}, None)]
    assert fields("\ufeffa,b\n1,ü\n".encode("utf-16-le")) == [(1, {"a": "1", "b": "ü"}, None)]


def test_broken_records_keep_their_number():
    assert [(n, bool(problem)) for n, _, problem in fields("a,b\n1\n2,3\n4,5,6\n")] == [(1, True), (2, False), (3, True)]
    assert [(n, bool(problem)) for n, _, problem in fields('a,b\n"x"y,1\n2,3\n')] == [(1, True), (2, False)]
    with pytest.raises(landing_files.Rejected):
        fields(b"a,b\n\xe7,1\n")
    assert [bool(problem) for _, _, problem in fields(b"a,b\n\xe7,1\n2,3\n", encoding="utf-8")] == [True, False]


def test_json_files():
    assert fields('{"A": 1.50, "b": null}\n{"a"\n', "x.ndjson") == [(1, {"a": "1.50", "b": None}, None), (2, None, "not a JSON object")]
    assert [f["a"] for _, f, _ in fields('[{"a": 1}, {"a": "2"}]', "x.json")] == ["1", "2"]
    assert fields('{"a": NaN}\n', "x.ndjson")[0][2]


# ---- silver ----


def test_a_newer_file_replaces_the_transaction_as_a_whole():
    inputs = pos(f"T1,,1,10,1,5,,{T0}\nT1,,1,11,2,6,,{T0}\nT2,,1,10,1,1,,{T0}\n", f"T1,,1,10,3,9,,{T0}\n")
    result = recompute(inputs)
    assert sorted((r[0], r[4]) for r in result.tables["silver.pos_sales"]) == [("T1", 3), ("T2", 1)]
    account = result.accounts["silver.pos_sales"]
    assert (account.rows_in, account.kept, account.superseded, len(account.quarantined)) == (4, 2, 2, 0)


def test_equal_lines_are_two_sales_unless_a_line_no_says_otherwise():
    line = f"T1,,1,10,1,5,,{T0}\n"
    assert [r["units"] for r in rows(pos(line + line), "sales.total_sales")] == [2]
    assert [r["units"] for r in rows(pos(f"T1,1,1,10,1,5,,{T0}\nT1,1,1,10,4,5,,{T0}\nT1,x,1,10,7,5,,{T0}\n"), "sales.total_sales")] == [11]  # last of line 1, and the one without


def test_invalid_lines_do_not_replace():
    inputs = pos(f"T1,,1,10,1,5,,{T0}\n", f"T1,,1,10,0,5,,{T0}\n")
    assert [r["units"] for r in rows(inputs, "sales.total_sales")] == [1] and reasons(inputs) == ["quantity is out of its limits"]


def test_a_file_that_was_taken_before_stays_ignored():
    first, second = f"T1,,1,10,1,5,,{T0}\n", f"T1,,1,10,2,5,,{T0}\n"
    assert [r["units"] for r in rows(pos(first, second, first), "sales.total_sales")] == [2]


@pytest.mark.parametrize(
    "line, reason",
    [
        (f",1,1,10,1,5,,{T0}", "transaction_id is missing"),
        (f"T,1,x,10,1,5,,{T0}", "store_id is unreadable"),
        (f"T,1,1,3.5,1,5,,{T0}", "product_id is unreadable"),
        (f"T,1,1,10,1001,5,,{T0}", "quantity is out of its limits"),
        (f"T,1,1,10,-1001,-5,,{T0}", "quantity is out of its limits"),
        (f"T,1,1,10,1,100000.01,,{T0}", "revenue is out of its limits"),
        (f"T,1,1,10,1,-5,,{T0}", "revenue and quantity differ in sign"),
        (f"T,1,1,10,-1,5,,{T0}", "revenue and quantity differ in sign"),
        ("T,1,1,10,1,5,,", "timestamp is missing"),
        (f"T,1,1,10,1,5,,{RECEIVED // 1000000 + 301}", "timestamp is ahead of its receipt"),
    ],
)
def test_what_pos_refuses(line, reason):
    assert reasons(pos(line + "\n")) == [reason]


def test_what_pos_takes():
    inputs = pos(f"T, 1.0,9,99,\"1\",0,NaN,{T0}\nT,2,1,10,-1000,-100000,x,{RECEIVED // 1000000 + 300}\n")
    assert reasons(inputs) == []
    assert {(r["region"], r["units"], r["discount"]) for r in rows(inputs, "sales.total_sales")} == {("unknown", 1, D("0.0000")), ("north", -1000, D("0.0000"))}
    assert recompute(inputs).accounts["silver.pos_sales"].warnings == {"unknown store": 1, "discount_applied is unreadable": 1}


def test_thresholds_of_a_file_come_from_all_its_rows():
    lines = level(T0, 1, 4), level(T0 + 1, 1, 7), level(T0 + 1, 1, 7), level(T0 + 2, "-5", 100), level(T0 + 3, 1, ""), level(T0, 1, 60, warehouse=2), level(T0, 1, "x", warehouse=3)
    found = {(r.warehouse_id, r.observed_us): r.restock_threshold for r in all_silver(stock(*lines)).levels}
    # 4, 7, 7 (superseded), 100 (quarantined): the middle of 7 and 7; warehouse 3 has none that can be read
    assert found[1, (T0 + 3) * 1000000] == 7 and found[3, T0 * 1000000] == 50


def test_thresholds_of_pushed_rows_come_from_the_day_before():
    body = {"inventory_id": 1, "product_id": 10, "warehouse_id": 1, "stock_level": 5}
    times = [(T0 - DAY - 1, 90), (T0 - HOUR, 5), (T0 - 1, 8), (T0 + 1, 99), (T0, None), (T0 + 10 * DAY, "")]
    inputs = world(streams={"inventory": events(*({**body, "restock_threshold": t, "last_updated": at} for at, t in times))})
    found = {r.observed_us // 1000000: r.restock_threshold for r in all_silver(inputs).levels}
    assert found[T0] == 7 and found[T0 + 10 * DAY] == 50  # 6.5 half up; nothing that day


def test_the_last_arrival_of_an_observation_wins_over_files_and_pushes():
    inputs = stock(level(T0, 3))
    inputs.streams = {"inventory": events({"inventory_id": 1, "product_id": 10, "warehouse_id": 1, "stock_level": 8, "last_updated": T0}, received_us=RECEIVED + 5)}
    assert [r["stock_level"] for r in rows(inputs, "sales.stock_availability")] == [8]
    inputs.streams["inventory"][0].received_us = RECEIVED - 5
    assert [r["stock_level"] for r in rows(inputs, "sales.stock_availability")] == [3]


def test_stock_status():
    assert [stock_status(s, 10) for s in (0, 1, 10, 11, 20, 21)] == ["out_of_stock", "low_stock", "low_stock", "medium_stock", "medium_stock", "high_stock"]
    assert stock_status(0, 0) == "out_of_stock" and stock_status(1, 0) == "high_stock"


@pytest.mark.parametrize(
    "page, path, depth_category",
    [
        ("https://shop.example/p/x/", "/p/x", "product"), ("/", "", "home"), ("https://shop.example", "", "home"), ("//shop.example/c/x", "/c/x", "category"), ("/?utm=1", "", "home"),
        ("/c/shoes?page=2#top", "/c/shoes", "category"), ("/about", "/about", "other"), ("c/x", "c/x", "category"), ("/a//b", "/a//b", "other"),
    ],
)  # fmt: skip
def test_pages(page, path, depth_category):
    assert page_path(page) == path and page_category(path, {"c": "category", "p": "product"}) == depth_category


def test_web_events_are_read():
    inputs = web({"page": " HTTPS://Shop.example/P/X ", "device_type": "iPhone", "event_type": "Add_To_Cart", "user_id": "null"}, {"page": ""}, {"user_id": "7.5", "session_id": " A "})
    one, two = all_silver(inputs).web
    assert (one.page_path, one.path_depth, one.page_category, one.is_mobile, one.is_engagement, one.user_id) == ("/p/x", 2, "product", True, True, None)
    assert (two.session_id, two.user_id, two.is_mobile, two.is_engagement) == ("A", None, False, False)
    assert reasons(inputs) == ["page is missing"]


def test_interactions_are_read():
    inputs = crm({"rating": "5", "channel": "Chat", "message_excerpt": "ü" * 1001}, {"rating": 9, "channel": ""}, {"rating": "3.5"}, {"customer_id": None})
    found = all_silver(inputs).crm
    assert [(r.rating, r.channel) for r in found] == [(5, "chat"), (None, "unknown"), (None, "unknown")] and len(found[0].message_excerpt) == 1000
    assert reasons(inputs) == ["customer_id is missing"]


# ---- KPIs ----


def test_total_sales():
    inputs = pos(f"T1,1,1,10,3,30.50,1.50,{T0}\nT1,2,1,10,-1,-10,-0.5,{T0}\nT2,1,1,10,2,20,,{T0 + DAY}\n")
    one, two = rows(inputs, "sales.total_sales")
    assert list(one.values()) == [date(2025, 3, 3), "north", 1, 10, D("20.5"), D("21.5"), D("1"), 2, 1, D("10"), 1]
    assert two["day"] == date(2025, 3, 4) and two["returns_units"] == 0


def test_availability():
    inputs = stock(level(T0, 5), level(T0 + 1, 0), level(T0, 7, warehouse=2), level(T0, 1, warehouse=3))
    assert [r["stock_status"] for r in rows(inputs, "sales.stock_availability")] == ["out_of_stock", "low_stock", "low_stock"]
    assert [list(r.values()) for r in rows(inputs, "sales.stock_availability_rate")] == [[10, 3, 2, D("66.67")]]


def test_product_turnover():
    # day 0: sale only; day 1: 10 and 4 in two warehouses; day 2: nothing new, carried forward; day 3: product 11 sells, so it is the last day
    inputs = stock(level(T0 + DAY, 10), level(T0 + DAY, 4, warehouse=2), sales=f"T1,,1,10,6,6,,{T0}\nT2,,1,10,-1,-1,,{T0 + 2 * DAY}\nT3,,1,11,1,1,,{T0 + 3 * DAY}\n")
    found = [list(r.values()) for r in rows(inputs, "sales.product_turnover")]
    days = [date(2025, 3, 3) + timedelta(i) for i in range(4)]
    assert found == [
        [10, days[0], 6, None, None], [10, days[1], 6, D(14), D("0.4286")], [10, days[2], 5, D(14), D("0.3571")], [10, days[3], 5, D(14), D("0.3571")], [11, days[3], 1, None, None],
    ]  # fmt: skip


def test_windows_have_thirty_days():
    inputs = stock(level(T0, 10), level(T0 + 40 * DAY, 40), sales=f"T1,,1,10,6,6,,{T0}\n")
    found = rows(inputs, "sales.product_turnover")
    assert [r["units_sold_30d"] for r in found[28:32]] == [6, 6, 0, 0] and len(found) == 41
    assert found[40]["avg_stock_30d"] == 11  # 29 days of 10 and one of 40
    assert found[40]["turnover_rate"] == 0


def test_engagement():
    inputs = web({"event_type": "click", "user_id": 5}, {"event_type": "page_view", "user_id": "5"}, {"event_type": " PURCHASE"}, {"timestamp": T0 + DAY})
    assert [list(r.values())[1:] for r in rows(inputs, "marketing.engagement")] == [[3, 2, D("66.67")], [1, 0, D(0)]]
    assert [list(r.values())[2:] for r in rows(inputs, "marketing.customer_engagement")] == [[2, 1, D(50)]]


def test_sessions():
    midnight = T0 + 12 * HOUR
    inputs = web(
        {"timestamp": midnight - 60, "user_id": 1, "device_type": "mobile", "page": "/p/x"}, {"timestamp": midnight + 1740, "page": "/p/x/y"},  # a gap of exactly 30 minutes
        {"timestamp": midnight + 1740 + 1801}, {"session_id": "t", "timestamp": midnight - 10},
    )  # fmt: skip
    one, two = rows(inputs, "marketing.sessions")
    assert list(one.values()) == [date(2025, 3, 3), 2, D(900), D(900), D(50), 1, D("1.6667"), D("33.33")]
    assert list(two.values()) == [date(2025, 3, 4), 1, D(0), D(0), D(100), 0, D(0), D(0)]


def test_loyalty():
    inputs = crm({"interaction_type": "Loyalty", "rating": 4}, {"interaction_type": "loyalty", "rating": 5}, {"customer_id": 2}, {"customer_id": 3, "rating": 1})
    assert [list(r.values())[1:] for r in rows(inputs, "marketing.loyalty_activity")] == [[2, 1, 4, 3, D("33.33"), D("4.5")]]


def test_inventory_turnover():
    lines = level(T0, 10), level(T0, 4, product=11), level(T0, 4, product=12), level(T0, 2, warehouse=9)
    sales = f"T1,,1,10,3,1,,{T0}\nT2,,2,10,1,1,,{T0}\nT3,,1,12,5,1,,{T0}\nT4,,77,10,5,1,,{T0}\nT5,,3,10,5,1,,{T0}\n"
    found = {tuple(r.values())[:2]: list(r.values())[3:] for r in rows(stock(*lines, sales=sales), "operations.inventory_turnover")}
    assert found == {
        (1, "shoes"): [D(60), D(200), D("0.3"), D(100)],  # 3 x 20 of 10 x 20
        (1, "bags"): [D(0), D(30), D(0), None],
        (2, "shoes"): [D(20), None, None, None],
        (9, "shoes"): [D(0), D(40), D(0), None],
    }


def test_restocks():
    steps = [(0, 5), (2, 9), (3, 9), (4, 1), (6, 3), (6.5, 4)]
    inputs = stock(*(level(T0 + int(d * DAY), s) for d, s in steps), level(T0, 1, product=11), sales=f"T,,1,10,1,1,,{T0 + 33 * DAY}\n")
    one, two = rows(inputs, "operations.restock_frequency")
    # the window is days 4 to 33: restocks at 6 and 6.5
    assert (one["restocks_30d"], one["avg_days_between"], one["last_restock_at"]) == (2, D("0.5"), datetime.fromtimestamp(T0 + 6.5 * DAY, timezone.utc))
    assert (two["restocks_30d"], two["avg_days_between"], two["last_restock_at"]) == (0, None, None)


def test_stockouts():
    lines = level(T0, 5), level(T0 + 1, 4), level(T0 + 2, 0), level(T0 + 3, 3), level(T0 + 4, 2), level(T0, 99, product=11), level(T0, 1, product=11, warehouse=2)
    inputs = stock(*lines, sales=f"T,,1,10,5,5,,{T0}\nT,,1,10,-1,-1,,{T0}\nU,,2,11,-1,-1,,{T0}\n")
    one, two = rows(inputs, "operations.stockout_alerts")
    assert list(one.values()) == [10, 1, "low_stock", datetime.fromtimestamp(T0 + 3, timezone.utc), 2, 10, D(15)]  # 2 / (4 / 30)
    assert two["days_of_cover"] is None
    states = Kpis(inputs, all_silver(inputs)).newest_states()
    assert [status for status, _ in states[10, 1]] == ["low_stock", "out_of_stock", "low_stock"] and [status for status, _ in states[11, 2]] == ["low_stock"]


def test_feedback_and_volume():
    inputs = crm({"rating": 4, "channel": "chat"}, {"rating": 3, "channel": "CHAT "}, {"channel": "chat"}, {"rating": 7, "channel": "phone", "customer_id": 2})
    assert [list(r.values())[1:] for r in rows(inputs, "support.feedback_score")] == [["chat", 2, D("3.5"), D(50)]]
    assert [list(r.values())[1:] for r in rows(inputs, "support.interaction_volume")] == [["inquiry", "chat", 3, 1], ["inquiry", "phone", 1, 1]]


def steps(case, *pairs):
    return [{"case_id": case, "case_status": status, "timestamp": T0 + int(hours * HOUR)} for hours, status in pairs]


def test_time_to_resolution():
    bodies = [
        *steps("a", (0, "opened"), (1, "updated"), (2, "resolved"), (3, "Resolved ")),  # once: 3 h
        *steps("b", (0, "opened"), (1, "resolved"), (2, "opened"), (30, "resolved")),  # from its first opened to its last resolved: 30 h, next day
        *steps("c", (1, "opened"), (2, "resolved"), (50, "opened")),  # reopened: open
        *steps("d", (1, "resolved"), (2, "updated")),  # never opened
        *steps("e", (1, "opened"), (5, "resolved")),  # 4 h
        *steps("f", (1, "resolved"), (2, "opened")),  # its resolved came before
        {"timestamp": T0 + 4 * DAY},
    ]
    found = [list(r.values())[1:] for r in rows(crm(*bodies), "support.time_to_resolution")]
    assert found == [[2, D("3.5"), D("3.9"), D("3.5"), 2], [1, D(30), D(30), D(30), 1], [0, None, None, None, 2], [0, None, None, None, 2], [0, None, None, None, 2]]


def test_freshness_counts_superseded_rows():
    inputs = pos(f"T1,,1,10,1,5,,{T0 + 9}\n", f"T1,,1,10,1,5,,{T0}\nT2,,1,10,0,5,,{T0 + DAY}\n")
    assert recompute(inputs).freshness["sales.total_sales"][0] == datetime.fromtimestamp(T0 + 9, timezone.utc)


def test_nothing_at_all():
    result = recompute(world())
    assert all(not found for found in result.tables.values())
