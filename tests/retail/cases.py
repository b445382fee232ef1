"""Small histories with the tables that kpis.md says they give, worked out by hand. Data only: who runs them is in test_kpi_cases.py.

A case is a list of arrivals, in order, and expected tables. Arrivals are made by web(), crm(), stock() (pushed), pos(), levels() (files). Times are written in
UTC. Expected rows are lines of cells between bars, `-` is null; the first line names the columns. Rows are compared without order, numbers as numbers.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal

REFERENCE = {
    "stores": [
        {"store_id": 1, "name": "Main street", "region": "centre", "warehouse_id": 1},
        {"store_id": 2, "name": "Harbour", "region": "west", "warehouse_id": 1},
        {"store_id": 3, "name": "Station", "region": "east", "warehouse_id": 2},
    ],
    "products": [
        {"product_id": 1, "sku": "A", "name": "Bag", "category": "bags", "unit_cost": "6.40"},
        {"product_id": 2, "sku": "B", "name": "Scarf", "category": "accessories", "unit_cost": "11.25"},
        {"product_id": 3, "sku": "C", "name": "Sample", "category": "bags", "unit_cost": None},
        {"product_id": 4, "sku": "D", "name": "Purse", "category": "bags", "unit_cost": "0.0001"},
    ],
    "page_categories": [{"segment": "product", "category": "product"}, {"segment": "cart", "category": "cart"}],
}


@dataclass
class Case:
    name: str
    arrivals: list
    expect: dict
    time_zone: str = "UTC"
    ordered: bool = False  # the order of arrival matters: not to be shuffled
    quarantined: dict = field(default_factory=dict)
    reference: dict = field(default_factory=lambda: REFERENCE)


def epoch(text):
    """Epoch seconds of a UTC time, as text with no more digits than needed."""
    base = datetime.strptime(text[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return str(int(base.timestamp())) + text[19:]


def is_time(text):
    return isinstance(text, str) and re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text) is not None


def number(at):
    """The time as a number in JSON, or as it is when it is something else on purpose."""
    if not is_time(at):
        return at
    text = epoch(at)
    return float(text) if "." in text else int(text)


def web(at, session, page="/", user=None, event="view", device="desktop", **more):
    return ("web_traffic", {"session_id": session, "user_id": user, "page": page, "event_type": event, "device_type": device, "timestamp": number(at)} | more)


def crm(at, customer, kind="call", channel="phone", rating=None, case=None, status=None, **more):
    return (
        "crm_interactions",
        {"customer_id": customer, "interaction_type": kind, "channel": channel, "rating": rating, "case_id": case, "case_status": status, "timestamp": number(at)} | more,
    )


serial = iter(range(1, 1000000))


def stock(at, product, warehouse, level, threshold=10, **more):
    return (
        "inventory",
        {"inventory_id": next(serial), "product_id": product, "warehouse_id": warehouse, "stock_level": level, "restock_threshold": threshold, "last_updated": number(at)} | more,
    )


def line(at, transaction, store, product, quantity, revenue, discount=None, line_no=None):
    at = epoch(at) if is_time(at) else at
    return {
        "transaction_id": transaction, "line_no": line_no, "store_id": store, "product_id": product, "quantity": quantity, "revenue": revenue,
        "discount_applied": discount, "timestamp": at,
    }  # fmt: skip


def pos(*lines):
    return ("pos", [line(*one) if isinstance(one, tuple) else one for one in lines])


def level(at, product, warehouse, units, threshold=10, number=1):
    at = epoch(at) if is_time(at) else at
    return {"inventory_id": number, "product_id": product, "warehouse_id": warehouse, "stock_level": units, "restock_threshold": threshold, "last_updated": at}


def levels(*rows):
    return ("inventory_files", [level(*one) if isinstance(one, tuple) else one for one in rows])


def cell(text):
    text = text.strip()
    if text == "-":
        return None
    try:
        return Decimal(text)
    except ArithmeticError:
        pass
    if is_time(text):
        return Decimal(epoch(text[:19])) * 1000000 + (Decimal("0" + text[19:]) * 1000000 if text[19:] else 0)
    return text


def table(text):
    """(columns, sorted rows) of an expected table."""
    first, *rest = [one.strip() for one in text.strip().splitlines()]
    rows = [[cell(c) for c in one.split("|")] for one in rest]
    return [c.strip() for c in first.split("|")], sorted(rows, key=str)


D = "2026-03-02 "  # a Monday without anything special about it
CASES = []


def case(name, arrivals, expect, **more):
    CASES.append(Case(name, arrivals, expect, **more))


# ---- 4: engagement ----

case(
    "engagement: every kind of event, categories in mixed case, users apart",
    [
        web(D + "10:00:00", "s1", user=7, event="view"), web(D + "10:01:00", "s1", user=7, event=" Click "), web(D + "10:02:00", "s1", event="PURCHASE"),
        web(D + "10:03:00", "s2", user="8", event="add_to_cart"), web(D + "10:03:00", "s2", user="null", event="hover"), web(D + "10:04:00", "s2", user="8", event=None),
    ],
    {
        "marketing.engagement": """day | total_events | engagement_events | engagement_score_pct
            2026-03-02 | 6 | 3 | 50.00""",
        "marketing.customer_engagement": """user_id | day | total_events | engagement_events | engagement_score_pct
            7 | 2026-03-02 | 2 | 1 | 50.00
            8 | 2026-03-02 | 2 | 1 | 50.00""",
    },
)  # fmt: skip
case(
    "engagement: thirds are rounded, 1 of 8 and 1 of 800 half up",
    [web(D + f"10:00:{i:02}", "s", event="click" if i < 1 else "view") for i in range(3)]
    + [web(f"2026-03-03 10:00:{i:02}", "s", event="click" if i < 2 else "view") for i in range(3)]
    + [web(f"2026-03-04 10:{i // 60:02}:{i % 60:02}", "s", event="click" if i < 1 else "view") for i in range(800)],
    {"marketing.engagement": """day | total_events | engagement_events | engagement_score_pct
        2026-03-02 | 3 | 1 | 33.33
        2026-03-03 | 3 | 2 | 66.67
        2026-03-04 | 800 | 1 | 0.13"""},
)  # fmt: skip
case(
    "engagement: a day is [00:00, 24:00) of the time zone",
    [web("2026-03-01 20:59:59.999", "s"), web("2026-03-01 21:00:00", "s"), web("2026-03-02 20:59:59", "s", event="click"), web("2026-03-02 21:00:00", "s")],
    {"marketing.engagement": """day | total_events | engagement_events | engagement_score_pct
        2026-03-01 | 1 | 0 | 0
        2026-03-02 | 2 | 1 | 50
        2026-03-03 | 1 | 0 | 0"""},
    time_zone="Europe/Istanbul",
)  # fmt: skip
case(
    "engagement: days of 23 hours (Berlin, 29 March) and of 25 (New York is 1 November; Berlin 25 October)",
    [
        web("2026-03-28 22:59:59", "s"), web("2026-03-28 23:00:00", "s"), web("2026-03-29 21:59:59", "s"), web("2026-03-29 22:00:00", "s"),
        web("2026-10-24 21:59:59", "s"), web("2026-10-24 22:00:00", "s"), web("2026-10-25 22:59:59", "s"), web("2026-10-25 23:00:00", "s"),
    ],
    {"marketing.engagement": """day | total_events
        2026-03-28 | 1
        2026-03-29 | 2
        2026-03-30 | 1
        2026-10-24 | 1
        2026-10-25 | 2
        2026-10-26 | 1"""},
    time_zone="Europe/Berlin",
)  # fmt: skip

# ---- silver.web_events ----

case(
    "web events: paths, depth, category, mobile",
    [
        web(D + "10:00:00", "p", "https://Shop.Example/Product/12/?q=1#x"), web(D + "10:00:01", "p", "/"), web(D + "10:00:02", "p", "http://shop.example"),
        web(D + "10:00:03", "p", "cart?x=/a/b"), web(D + "10:00:04", "p", "/İletişim//Form/", device="Smart-Phone"), web(D + "10:00:05", "p", "//cdn.example/a/b/c", device="TABLET"),
        web(D + "10:00:06", "p", "/a/b#frag/ment", device=None), web(D + "10:00:07", "p", "?utm=1", device="Mobile Safari"),
        web(D + "10:00:08", "p", "https://shop.example//"), web(D + "10:00:09", "p", "/a//?x"), web(D + "10:00:10", "p", "https://shop.example/#top"),
    ],
    {"silver.web_events": """page_path | path_depth | page_category | is_mobile
        /product/12 | 2 | product | false
         | 0 | home | false
         | 0 | home | false
        cart | 1 | cart | false
        /iletişim//form | 2 | other | true
        /a/b/c | 3 | other | true
        /a/b | 2 | other | false
         | 0 | home | true
        / | 0 | other | false
        /a/ | 1 | other | false
         | 0 | home | false"""},
)  # fmt: skip
case(
    "web events: what is required, what may be missing or unreadable",
    [
        web(D + "10:00:00", "  s1 ", user=" 12.0 "), web(D + "10:00:01", "S1", user="3.5"), web(D + "10:00:02", "null"), web(D + "10:00:03", ""), web(D + "10:00:04", "s", page="NaN"),
        web(None, "s"), web("soon", "s"), web("2100-01-01 00:00:00", "s"), web("\\N", "s"), web(D + "10:00:05", "s", user=True), web(1772445606, "s", user=2.0, colour="red"),
        web("2026-03-02 10:00:07", 17, user=-4), ("web_traffic", {"session_id": "only"}), web("1772445608.25", "s"), web("2026-03-02T10:00:00Z", "s"),
    ],
    {
        "silver.web_events": """session_id | user_id | unreadable | event_time
            s1 | 12 | - | 2026-03-02 10:00:00
            S1 | - | user_id | 2026-03-02 10:00:01
            s | - | user_id | 2026-03-02 10:00:05
            s | 2 | - | 2026-03-02 10:00:06
            17 | -4 | - | 2026-03-02 10:00:07
            s | - | - | 2026-03-02 10:00:08.25"""
    },
    quarantined={"silver.web_events": 9},
)  # fmt: skip

# ---- 5: sessions ----

case(
    "sessions: a gap of 30 minutes keeps a session, a microsecond more ends it",
    [web(D + "10:00:00", "a", "/x"), web(D + "10:30:00", "a", "/x/y"), web(D + "11:00:00.000001", "a", "/x/y/z", device="mobile"), web(D + "09:00:00", "b", "/", user=3)],
    {"marketing.sessions": """day | sessions | avg_duration_s | median_duration_s | bounce_rate_pct | unique_users | avg_path_depth | mobile_event_pct
        2026-03-02 | 3 | 600 | 0 | 66.67 | 1 | 1.5 | 25"""},
)  # fmt: skip
case(
    "sessions: a late event joins two sessions, another one of a different session_id does not",
    [web(D + "10:00:00", "a", user=1), web(D + "10:45:00", "a", user=2), web(D + "10:20:00", "b"), web(D + "10:22:30", "a", user=1)],
    {
        "silver.sessions": """session_id | started_at | ended_at | events
            a | 2026-03-02 10:00:00 | 2026-03-02 10:45:00 | 3
            b | 2026-03-02 10:20:00 | 2026-03-02 10:20:00 | 1""",
        "marketing.sessions": """day | sessions | avg_duration_s | median_duration_s | bounce_rate_pct | unique_users
            2026-03-02 | 2 | 1350 | 1350 | 50 | 2""",
    },
)  # fmt: skip
case(
    "sessions: a late first event moves a session to the day before, and all its events with it",
    [
        web("2026-03-03 00:10:00", "n", "/a/b"), web("2026-03-03 00:20:00", "n", "/a/b"), web("2026-03-03 12:00:00", "d", "/"), web("2026-03-02 23:50:00", "n", "/", device="phone"),
    ],
    {"marketing.sessions": """day | sessions | avg_duration_s | median_duration_s | bounce_rate_pct | unique_users | avg_path_depth | mobile_event_pct
        2026-03-02 | 1 | 1800 | 1800 | 0 | 0 | 1.3333 | 33.33
        2026-03-03 | 1 | 0 | 0 | 100 | 0 | 0 | 0"""},
)  # fmt: skip
case(
    "sessions: midnight of the time zone, median of four",
    [web("2026-03-01 20:59:00", "a"), web("2026-03-01 21:00:30", "a")]
    + [web("2026-03-02 10:00:00", s) for s in "bcde"]
    + [web("2026-03-02 10:00:01", "b"), web("2026-03-02 10:00:02", "c"), web("2026-03-02 10:00:05.5", "d"), web("2026-03-02 10:00:10", "e")],
    {"marketing.sessions": """day | sessions | avg_duration_s | median_duration_s
        2026-03-01 | 1 | 90 | 90
        2026-03-02 | 4 | 4.625 | 3.75"""},
    time_zone="Europe/Istanbul",
)  # fmt: skip
case(
    "sessions: longer than a day, joined by a late event in its middle; the same session_id a week later is another session",
    [web(f"2026-03-0{2 + i // 48} {i % 48 // 2:02}:{i % 2 * 30:02}:00", "bot") for i in range(100) if i not in (40, 41)]
    + [web("2026-03-09 10:00:00", "bot"), web("2026-03-02 20:00:00", "bot"), web("2026-03-02 20:30:00", "bot")],
    {"silver.sessions": """session_id | started_at | ended_at | events
        bot | 2026-03-02 00:00:00 | 2026-03-04 01:30:00 | 100
        bot | 2026-03-09 10:00:00 | 2026-03-09 10:00:00 | 1"""},
)  # fmt: skip
case(
    "sessions: distinct users over sessions; several in one",
    [
        web(D + "10:00:00", "a", user=1), web(D + "10:00:01", "a", user=2), web(D + "10:00:02", "a"), web(D + "12:00:00", "a", user=2), web(D + "13:00:00", "b", user=3),
        web(D + "14:00:00", "c"),
    ],
    {"marketing.sessions": """day | sessions | unique_users | bounce_rate_pct | avg_duration_s
        2026-03-02 | 4 | 3 | 75 | 0.5"""},
)  # fmt: skip

# ---- 6, 10, 11: CRM ----

case(
    "loyalty: customers, not contacts; rate and rating",
    [
        crm(D + "10:00:00", 1, "Loyalty", rating=5), crm(D + "10:01:00", 1, "loyalty", rating=4), crm(D + "10:02:00", 2, "loyalty "), crm(D + "10:03:00", 1, "call", rating=1),
        crm(D + "10:04:00", 3, "call"), crm(D + "10:05:00", 4, "email"), crm(D + "10:06:00", 5, "loyalty", rating=4, channel=None), crm(D + "10:06:30", 6), crm(D + "10:06:31", 7),
        crm("2026-03-03 10:00:00", 1, "loyalty"), crm("2026-03-04 10:00:00", 1, "call", rating=3),
    ],
    {"marketing.loyalty_activity": """day | loyalty_interactions | loyalty_customers | interactions | customers | loyalty_activity_rate_pct | avg_rating
        2026-03-02 | 4 | 3 | 9 | 7 | 42.86 | 4.3333
        2026-03-03 | 1 | 1 | 1 | 1 | 100 | -
        2026-03-04 | 0 | 0 | 1 | 1 | 0 | -"""},
)  # fmt: skip
case(
    "feedback: ratings as text, out of range, unreadable; missing channel",
    [
        crm(D + "10:00:00", 1, rating="5", channel=" Phone"), crm(D + "10:00:01", 2, rating=4.0), crm(D + "10:00:02", 3, rating=3), crm(D + "10:00:03", 4, rating=6), crm(D + "10:00:04", 5, rating=0),
        crm(D + "10:00:05", 6, rating="4.5"), crm(D + "10:00:06", 7, rating="good"), crm(D + "10:00:07", 8, rating=2, channel=""), crm(D + "10:00:08", 9, rating="null", channel="NULL"),
        crm(D + "10:00:09", 10, rating=-1),
    ],
    {
        "support.feedback_score": """day | channel | ratings | avg_rating | csat_pct
            2026-03-02 | phone | 3 | 4 | 66.67
            2026-03-02 | unknown | 1 | 2 | 0""",
        "silver.crm_interactions": """customer_id | rating | channel | unreadable
            1 | 5 | phone | -
            2 | 4 | phone | -
            3 | 3 | phone | -
            4 | - | phone | rating
            5 | - | phone | rating
            6 | - | phone | rating
            7 | - | phone | rating
            8 | 2 | unknown | -
            9 | - | unknown | -
            10 | - | phone | rating""",
    },
)  # fmt: skip
case(
    "interaction volume: distinct customers per day, type and channel; required fields",
    [
        crm(D + "10:00:00", 1), crm(D + "10:00:01", 1), crm(D + "10:00:02", 2, "CALL", "PHONE"), crm(D + "10:00:03", 1, "email", "web"), crm("2026-03-03 00:00:00", 1),
        crm(D + "10:00:04", None), crm(D + "10:00:05", "x"), crm(D + "10:00:06", 1.5), crm(D + "10:00:07", 1, None), crm("never", 1),
    ],
    {"support.interaction_volume": """day | interaction_type | channel | interactions | unique_customers
        2026-03-02 | call | phone | 3 | 2
        2026-03-02 | email | web | 1 | 1
        2026-03-03 | call | phone | 1 | 1"""},
    quarantined={"silver.crm_interactions": 5},
)  # fmt: skip

# ---- 12: time to resolution ----

case(
    "resolution: first opened to last resolved; updated changes nothing; a row for every day",
    [
        crm("2026-03-02 08:00:00", 1, case="A", status="opened"), crm("2026-03-02 09:00:00", 1, case="A", status="updated"), crm("2026-03-02 10:00:00", 1, case="A", status="Resolved"),
        crm("2026-03-04 10:00:00", 1, case="A", status="resolved"), crm("2026-03-03 08:00:00", 2, case="B", status="opened"), crm("2026-03-06 08:00:00", 9),
        crm("2026-03-01 08:00:00", 9),
    ],
    {"support.time_to_resolution": """day | resolved | median_hours | p90_hours | avg_hours | open_backlog
        2026-03-01 | 0 | - | - | - | 0
        2026-03-02 | 0 | - | - | - | 0
        2026-03-03 | 0 | - | - | - | 1
        2026-03-04 | 1 | 50 | 50 | 50 | 1
        2026-03-05 | 0 | - | - | - | 1
        2026-03-06 | 0 | - | - | - | 1"""},
)  # fmt: skip
case(
    "resolution: reopened cases count at their last resolved, or not at all while they are open",
    [
        crm("2026-03-02 08:00:00", 1, case="A", status="opened"), crm("2026-03-02 10:00:00", 1, case="A", status="resolved"), crm("2026-03-03 08:00:00", 1, case="A", status="opened"),
        crm("2026-03-02 08:00:00", 2, case="B", status="opened"), crm("2026-03-02 09:00:00", 2, case="B", status="resolved"), crm("2026-03-03 08:00:00", 2, case="B", status="opened"),
        crm("2026-03-03 20:00:00", 2, case="B", status="resolved"),
    ],
    {"support.time_to_resolution": """day | resolved | median_hours | avg_hours | open_backlog
        2026-03-02 | 0 | - | - | 0
        2026-03-03 | 1 | 36 | 36 | 1"""},
)  # fmt: skip
case(
    "resolution: without opened it is left out; resolved before opened leaves it open; opened twice is open once",
    [
        crm("2026-03-02 08:00:00", 1, case="A", status="resolved"), crm("2026-03-02 08:00:00", 1, case="B", status="resolved"), crm("2026-03-02 09:00:00", 1, case="B", status="opened"),
        crm("2026-03-02 09:00:00", 1, case="C", status="opened"), crm("2026-03-02 10:00:00", 1, case="C", status="opened"), crm("2026-03-02 11:00:00", 1, case="C", status="resolved"),
        crm("2026-03-02 12:00:00", 1, case="D", status="updated"), crm("2026-03-02 12:00:00", 1, case="null", status="opened"), crm("2026-03-02 12:00:01", 1, case="E", status="closed"),
    ],
    {"support.time_to_resolution": """day | resolved | median_hours | avg_hours | open_backlog
        2026-03-02 | 1 | 2 | 2 | 1"""},
)  # fmt: skip
case(
    "resolution: median and 90th percentile interpolate",
    [crm("2026-03-02 00:00:00", i, case=f"c{i}", status="opened") for i in range(4)]
    + [crm(f"2026-03-02 0{i + 1}:00:00", i, case=f"c{i}", status="resolved") for i in range(4)]
    + [crm("2026-03-03 00:00:00", i, case=f"d{i}", status="opened") for i in range(3)]
    + [crm(f"2026-03-03 00:00:0{i + 1}", i, case=f"d{i}", status="resolved") for i in range(3)],
    {"support.time_to_resolution": """day | resolved | median_hours | p90_hours | avg_hours | open_backlog
        2026-03-02 | 4 | 2.5 | 3.7 | 2.5 | 0
        2026-03-03 | 3 | 0.0006 | 0.0008 | 0.0006 | 0"""},
)  # fmt: skip
case(
    "resolution: at the same time the order of the event ids counts",
    [
        crm("2026-03-02 08:00:00", 1, case="A", status="opened"), crm("2026-03-02 08:00:00", 2, case="A", status="resolved"),
        crm("2026-03-02 09:00:00", 1, case="B", status="resolved"), crm("2026-03-02 09:00:00", 2, case="B", status="opened"),
    ],
    {"support.time_to_resolution": """day | resolved | median_hours | open_backlog
        2026-03-02 | 1 | 0 | 1"""},
    ordered=True,
)  # fmt: skip
case(
    "resolution: the day is one of the time zone; a late opened makes the time longer",
    [
        crm("2026-03-02 04:30:00", 1, case="A", status="opened"), crm("2026-03-03 04:59:00", 1, case="A", status="resolved"), crm("2026-03-03 05:00:00", 1, case="B", status="opened"),
        crm("2026-03-02 02:59:00", 1, case="A", status="opened"),
    ],
    {"support.time_to_resolution": """day | resolved | median_hours | open_backlog
        2026-03-01 | 0 | - | 1
        2026-03-02 | 1 | 26 | 0
        2026-03-03 | 0 | - | 1"""},
    time_zone="America/New_York",
)  # fmt: skip

# ---- 1: sales ----

case(
    "sales: returns, discounts, unknown store and product, distinct transactions",
    [pos(
        (D + "10:00:00", "t1", 1, 1, 2, "19.90", "2.10"), (D + "10:00:00", "t1", 1, 1, 1, "9.95", None), (D + "11:00:00", "t2", 1, 1, -1, "-9.95", ""), (D + "11:00:00", "t3", 2, 1, 3, "0", "30"),
        (D + "11:00:00", "t4", 99, 77, 1, "5.00005"), (D + "11:00:00", "t5", " 1.0 ", "1", "1e0", " 1e1 "), ("2026-03-03 00:00:00", "t6", 1, 1, -2, 0),
    )],
    {"sales.total_sales": """day | region | store_id | product_id | net_revenue | gross_revenue | discount | units | returns_units | returns_value | transactions
        2026-03-02 | centre | 1 | 1 | 29.90 | 32.00 | 2.10 | 3 | 1 | 9.95 | 3
        2026-03-02 | west | 2 | 1 | 0 | 30 | 30 | 3 | 0 | 0 | 1
        2026-03-02 | unknown | 99 | 77 | 5.0001 | 5.0001 | 0 | 1 | 0 | 0 | 1
        2026-03-03 | centre | 1 | 1 | 0 | 0 | 0 | -2 | 2 | 0 | 1"""},
)  # fmt: skip
case(
    "sales: a newer file replaces a transaction as a whole; equal lines are two sales",
    [
        pos((D + "10:00:00", "t1", 1, 1, 1, "10"), (D + "10:00:00", "t1", 1, 1, 1, "10"), (D + "10:00:00", "t1", 1, 2, 5, "50"), (D + "10:00:00", "t2", 1, 1, 1, "7")),
        pos((D + "12:00:00", "t1", 1, 1, 3, "30")),
    ],
    {"sales.total_sales": """day | store_id | product_id | net_revenue | units | transactions
        2026-03-02 | 1 | 1 | 37 | 4 | 2"""},
    ordered=True,
)  # fmt: skip
case(
    "sales: two equal lines without a number stay",
    [pos((D + "10:00:00", "t1", 1, 1, 1, "10"), (D + "10:00:00", "t1", 1, 1, 1, "10"))],
    {"sales.total_sales": """day | net_revenue | units | transactions
        2026-03-02 | 20 | 2 | 1"""},
)  # fmt: skip
case(
    "sales: of lines with a number the last of the number stays; lines without one all stay",
    [pos(
        (D + "10:00:00", "t1", 1, 1, 1, "10", None, 1), (D + "10:00:00", "t1", 1, 1, 2, "22", None, "1.0"), (D + "10:00:00", "t1", 1, 1, 4, "40", None, 2), (D + "10:00:00", "t1", 1, 1, 1, "1"),
        (D + "10:00:00", "t1", 1, 1, 1, "1", None, "x"), (D + "10:00:00", "t2", 1, 1, 1, "100", None, 1),
    )],
    {
        "sales.total_sales": """day | net_revenue | units | transactions
            2026-03-02 | 164 | 9 | 2""",
        "silver.pos_sales": """transaction_id | line_no | quantity | unreadable
            t1 | 1 | 2 | -
            t1 | 2 | 4 | -
            t1 | - | 1 | -
            t1 | - | 1 | line_no
            t2 | 1 | 1 | -""",
    },
)  # fmt: skip
case(
    "sales: invalid lines do not replace; where none is valid the old ones stay; a half valid transaction replaces with its valid lines",
    [
        pos((D + "10:00:00", "t1", 1, 1, 1, "10"), (D + "10:00:00", "t2", 1, 1, 1, "10"), (D + "10:00:00", "t2", 1, 1, 1, "10")),
        pos((D + "10:00:00", "t1", 1, 1, 0, "11"), (D + "10:00:00", "t1", 1, 1, 1001, "11"), (D + "10:00:00", "t2", 1, 1, 5, "50"), (D + "10:00:00", "t2", 1, 1, 5, "-50")),
        pos((D + "10:00:00", "t2", 1, None, 9, "90")),
    ],
    {"silver.pos_sales": """transaction_id | quantity | net_revenue
        t1 | 1 | 10
        t2 | 5 | 50"""},
    ordered=True,
    quarantined={"silver.pos_sales": 4},
)  # fmt: skip
case(
    "sales: limits and signs",
    [pos(
        (D + "10:00:00", "a", 1, 1, 1000, "100000"), (D + "10:00:00", "b", 1, 1, -1000, "-100000"), (D + "10:00:00", "c", 1, 1, -1, "0"), (D + "10:00:00", "d", 1, 1, 1001, "1"),
        (D + "10:00:00", "e", 1, 1, -1001, "-1"), (D + "10:00:00", "f", 1, 1, 0, "0"), (D + "10:00:00", "g", 1, 1, 1, "100000.01"), (D + "10:00:00", "h", 1, 1, -1, "-100000.01"),
        (D + "10:00:00", "i", 1, 1, 1, "-1"), (D + "10:00:00", "j", 1, 1, -1, "1"), (D + "10:00:00", "k", 1, 1, "1.5", "1"), (D + "10:00:00", "l", 1, 1, 1, "1,50"), (D + "10:00:00", "m", 1, 1, 1, None),
        (D + "10:00:00", "n", "", 1, 1, "1"), (D + "10:00:00", None, 1, 1, 1, "1"), ("", "o", 1, 1, 1, "1"), ("2100-01-01 00:00:00", "p", 1, 1, 1, "1"), (D + "10:00:00", "q", 1, 1, 1, "1", "free"),
    )],
    {"silver.pos_sales": """transaction_id | quantity | net_revenue | discount | unreadable
        a | 1000 | 100000 | 0 | -
        b | -1000 | -100000 | 0 | -
        c | -1 | 0 | 0 | -
        q | 1 | 1 | 0 | discount_applied"""},
    quarantined={"silver.pos_sales": 14},
)  # fmt: skip
case(
    "sales: the lines of a transaction count on their own days",
    [pos(("2026-03-01 20:59:59", "t", 1, 1, 1, "1"), ("2026-03-01 21:00:00", "t", 1, 1, 1, "2"))],
    {"sales.total_sales": """day | net_revenue | transactions
        2026-03-01 | 1 | 1
        2026-03-02 | 2 | 1"""},
    time_zone="Europe/Istanbul",
)  # fmt: skip

# ---- silver.inventory_levels ----

case(
    "stock: missing thresholds of files are the median of the warehouse in the file, half up, bad and superseded rows included",
    [
        levels(
            (D + "10:00:00", 1, 1, 13, None), (D + "10:00:00", 2, 1, 12, 10), (D + "10:00:00", 3, 1, 200000, "15.0"), (D + "10:00:00", 1, 2, 50, ""), (D + "10:00:00", 4, 1, 12, 10),
            (D + "10:00:00", 4, 1, 12, 15), (D + "10:00:00", 2, 2, 50, "few"),
        ),
        levels((D + "11:00:00", 1, 1, 26, None), (D + "11:00:00", 2, 1, 0, 7)),
    ],
    # first file: 10, 15, 10, 15 in warehouse 1 -> 12.5 -> 13; none in warehouse 2 -> 50. Second file: 7 -> 7
    {"silver.inventory_levels": """product_id | warehouse_id | observed_at | stock_level | restock_threshold | stock_status | needs_restock
        1 | 1 | 2026-03-02 10:00:00 | 13 | 13 | low_stock | true
        2 | 1 | 2026-03-02 10:00:00 | 12 | 10 | medium_stock | false
        4 | 1 | 2026-03-02 10:00:00 | 12 | 15 | low_stock | true
        1 | 2 | 2026-03-02 10:00:00 | 50 | 50 | low_stock | true
        2 | 2 | 2026-03-02 10:00:00 | 50 | 50 | low_stock | true
        1 | 1 | 2026-03-02 11:00:00 | 26 | 7 | high_stock | false
        2 | 1 | 2026-03-02 11:00:00 | 0 | 7 | out_of_stock | true"""},
    quarantined={"silver.inventory_observations": 1},
)  # fmt: skip
case(
    "stock: missing thresholds of pushed rows are the median of the warehouse over the 24 hours before, late ones included, later ones not",
    [
        stock("2026-03-02 12:00:00", 1, 1, 20, None), stock("2026-03-02 10:00:00", 2, 1, 5, 30), stock("2026-03-01 11:59:59", 3, 1, 5, 90), stock("2026-03-02 12:00:01", 3, 1, 5, 90),
        stock("2026-03-02 12:00:00", 4, 1, 5, 21), stock("2026-03-02 09:00:00", 2, 2, 5, 90), stock("2026-03-02 11:00:00", 5, 1, 900000, 40), levels(("2026-03-02 11:30:00", 6, 1, 90, 1)), stock("2026-03-05 12:00:00", 1, 1, 20, None),
    ],
    # 30, 21, 40 (of a row that is quarantined) -> 30, that of the file does not count; three days later nothing -> 50
    {"silver.inventory_levels": """product_id | warehouse_id | observed_at | restock_threshold | stock_status
        1 | 1 | 2026-03-02 12:00:00 | 30 | low_stock
        2 | 1 | 2026-03-02 10:00:00 | 30 | low_stock
        3 | 1 | 2026-03-01 11:59:59 | 90 | low_stock
        3 | 1 | 2026-03-02 12:00:01 | 90 | low_stock
        4 | 1 | 2026-03-02 12:00:00 | 21 | low_stock
        2 | 2 | 2026-03-02 09:00:00 | 90 | low_stock
        6 | 1 | 2026-03-02 11:30:00 | 1 | high_stock
        1 | 1 | 2026-03-05 12:00:00 | 50 | low_stock"""},
    quarantined={"silver.inventory_observations": 1},
)  # fmt: skip
case(
    "stock: validate first, then the last arrival of a key wins; limits",
    [
        levels((D + "10:00:00", 1, 1, 100000, 5), (D + "10:00:00", 1, 1, 10, 5)), stock(D + "10:00:00", 1, 1, 11, 5), stock(D + "10:00:00", 1, 1, -1, 5), stock(D + "10:00:00", 1, 1, 100001, 5),
        stock(D + "10:00:00", 1, 1, None, 5), stock("2100-01-01 00:00:00", 1, 1, 3, 5), levels((D + "10:30:00", None, 1, 1, 5), (D + "10:30:00", 1, "x", 1, 5), ("", 1, 1, 1, 5)),
        levels((D + "10:30:00", 2, 1, 100000, 5), (D + "10:30:00", 1, 1, 1, 5, "")),
    ],
    {"sales.stock_availability": """product_id | warehouse_id | stock_level | stock_status | needs_restock | observed_at
        1 | 1 | 11 | high_stock | false | 2026-03-02 10:00:00
        2 | 1 | 100000 | high_stock | false | 2026-03-02 10:30:00"""},
    ordered=True,
    quarantined={"silver.inventory_observations": 8},
)  # fmt: skip

# ---- 2: availability ----

case(
    "availability: the newest observation counts, not the newest arrival",
    [
        levels((D + "10:00:00", 1, 1, 0), (D + "10:00:00", 1, 2, 3), (D + "10:00:00", 1, 3, 30)), stock(D + "11:00:00", 1, 2, 0), stock(D + "09:00:00", 1, 1, 50), levels((D + "12:00:00", 2, 1, 1)),
    ],
    {
        "sales.stock_availability": """product_id | warehouse_id | stock_level | stock_status | observed_at
            1 | 1 | 0 | out_of_stock | 2026-03-02 10:00:00
            1 | 2 | 0 | out_of_stock | 2026-03-02 11:00:00
            1 | 3 | 30 | high_stock | 2026-03-02 10:00:00
            2 | 1 | 1 | low_stock | 2026-03-02 12:00:00""",
        "sales.stock_availability_rate": """product_id | pairs | in_stock | availability_pct
            1 | 3 | 1 | 33.33
            2 | 1 | 1 | 100""",
    },
)  # fmt: skip

# ---- 3: product turnover ----

case(
    "turnover: carry forward, windows, rows to the last day of any data",
    [
        levels(("2026-03-02 10:00:00", 1, 1, 100), ("2026-03-02 20:00:00", 1, 1, 90), ("2026-03-04 08:00:00", 1, 2, 10)),
        pos(("2026-03-01 10:00:00", "t1", 1, 1, 5, "5"), ("2026-03-03 10:00:00", "t2", 1, 1, 10, "10"), ("2026-03-03 11:00:00", "t3", 1, 1, -1, "-1"), ("2026-03-05 11:00:00", "t4", 2, 9, 1, "1")),
    ],
    # stock of product 1 at the end of 2, 3, 4, 5 March: 90, 90, 100, 100
    {"sales.product_turnover": """product_id | day | units_sold_30d | avg_stock_30d | turnover_rate
        1 | 2026-03-01 | 5 | - | -
        1 | 2026-03-02 | 5 | 90 | 0.0556
        1 | 2026-03-03 | 14 | 90 | 0.1556
        1 | 2026-03-04 | 14 | 93.3333 | 0.15
        1 | 2026-03-05 | 14 | 95 | 0.1474
        9 | 2026-03-05 | 1 | - | -"""},
)  # fmt: skip
case(
    "turnover: the window is the day and the 29 before; no stock at all gives no rate; observations do not multiply units",
    [
        levels(("2026-03-01 10:00:00", 1, 1, 0), ("2026-03-01 11:00:00", 1, 1, 0), ("2026-03-31 11:00:00", 1, 1, 60)),
        pos(("2026-03-01 10:00:00", "t1", 1, 1, 6, "5"), ("2026-03-31 10:00:00", "t2", 1, 1, 3, "5")),
    ],
    {"sales.product_turnover": "product_id | day | units_sold_30d | avg_stock_30d | turnover_rate\n"
        + "\n".join(f"1 | 2026-03-{d:02} | 6 | 0 | -" for d in range(1, 31)) + "\n1 | 2026-03-31 | 3 | 2 | 1.5"},
)  # fmt: skip
case(
    "turnover: a late first sale adds the days up to the old first one",
    [pos(("2026-03-05 10:00:00", "t1", 1, 1, 6, "5")), pos(("2026-03-03 10:00:00", "t2", 1, 1, 1, "5")), stock("2026-03-06 10:00:00", 2, 1, 1)],
    {"sales.product_turnover": """product_id | day | units_sold_30d | avg_stock_30d | turnover_rate
        1 | 2026-03-03 | 1 | - | -
        1 | 2026-03-04 | 1 | - | -
        1 | 2026-03-05 | 7 | - | -
        1 | 2026-03-06 | 7 | - | -
        2 | 2026-03-06 | 0 | 1 | 0"""},
)  # fmt: skip

# ---- 7: inventory turnover ----

case(
    "inventory turnover: at cost, by warehouse and category; unknown stores and products without cost stay out",
    [
        levels(("2026-03-01 10:00:00", 1, 1, 100), ("2026-03-01 10:00:00", 4, 1, 1), ("2026-03-01 10:00:00", 3, 1, 500), ("2026-03-01 10:00:00", 2, 3, 4), ("2026-03-02 10:00:00", 1, 1, 50), ("2026-03-02 10:00:00", 8, 1, 50)),
        pos(
            ("2026-03-01 10:00:00", "t1", 1, 1, 10, "5"), ("2026-03-01 10:00:00", "t2", 2, 1, 5, "5"), ("2026-03-02 10:00:00", "t3", 2, 1, -1, "-5"), ("2026-03-02 10:00:00", "t4", 99, 1, 100, "5"),
            ("2026-03-02 10:00:00", "t5", 1, 3, 100, "5"), ("2026-03-02 10:00:00", "t6", 3, 2, 2, "5"), ("2026-03-03 10:00:00", "t7", 99, 1, 1, "5"),
        ),
    ],
    # warehouse 1, bags: cogs 15 x 6.40 = 96, 14 x 6.40 = 89.6; value 640.0001, 320.0001, 320.0001
    {"operations.inventory_turnover": """warehouse_id | category | day | cogs_30d | avg_inventory_value_30d | turnover | days_of_inventory
        1 | bags | 2026-03-01 | 96 | 640.0001 | 0.15 | 200
        1 | bags | 2026-03-02 | 89.6 | 480.0001 | 0.1867 | 160.7143
        1 | bags | 2026-03-03 | 89.6 | 426.6668 | 0.21 | 142.8572
        2 | accessories | 2026-03-02 | 22.5 | - | - | -
        2 | accessories | 2026-03-03 | 22.5 | - | - | -
        3 | accessories | 2026-03-01 | 0 | 45 | 0 | -
        3 | accessories | 2026-03-02 | 0 | 45 | 0 | -
        3 | accessories | 2026-03-03 | 0 | 45 | 0 | -"""},
)  # fmt: skip

# ---- 8: restocks ----

case(
    "restocks: inside a day, over days, before the window, none",
    [
        levels(("2026-03-01 10:00:00", 1, 1, 5), ("2026-03-02 10:00:00", 1, 1, 50), ("2026-03-02 12:00:00", 1, 1, 40), ("2026-03-02 22:00:00", 1, 1, 45), ("2026-03-05 10:00:00", 1, 1, 46)),
        levels(("2026-01-01 10:00:00", 2, 1, 5), ("2026-01-02 10:00:00", 2, 1, 6), ("2026-03-01 10:00:00", 2, 1, 6)), levels(("2026-03-01 10:00:00", 3, 1, 6), ("2026-03-03 10:00:00", 3, 1, 6)),
        levels(("2026-02-03 23:59:59", 1, 2, 1), ("2026-02-04 00:00:00", 1, 2, 2), ("2026-02-10 00:00:00", 1, 2, 3)), levels(("2026-02-03 00:00:00", 2, 2, 1), ("2026-02-03 23:59:59", 2, 2, 2), ("2026-02-04 00:00:00", 2, 2, 3)),
    ],
    # last day 5 March: the window is 4 February to 5 March. Pair 1, 1: 2 March 10:00, 22:00, 5 March 10:00 -> 3 days / 2. Pair 1, 2: 6 days
    {"operations.restock_frequency": """product_id | warehouse_id | restocks_30d | avg_days_between | last_restock_at
        1 | 1 | 3 | 1.5 | 2026-03-05 10:00:00
        2 | 1 | 0 | - | 2026-01-02 10:00:00
        3 | 1 | 0 | - | -
        1 | 2 | 2 | 6 | 2026-02-10 00:00:00
        2 | 2 | 1 | - | 2026-02-04 00:00:00"""},
)  # fmt: skip
case(
    "restocks: a sale moves the window on; a late observation takes a restock away and makes another",
    [
        levels(("2026-02-01 10:00:00", 1, 1, 5), ("2026-02-02 10:00:00", 1, 1, 9), ("2026-02-20 10:00:00", 1, 1, 4), ("2026-02-22 10:00:00", 1, 1, 5)), pos(("2026-03-04 10:00:00", "t", 1, 1, 1, "1")),
        stock("2026-02-21 10:00:00", 1, 1, 7),
    ],
    {"operations.restock_frequency": """product_id | warehouse_id | restocks_30d | avg_days_between | last_restock_at
        1 | 1 | 1 | - | 2026-02-21 10:00:00"""},
)  # fmt: skip

# ---- 9: stockout alerts ----

case(
    "alerts: since the first observation of the unbroken status, over days; cover by sales of the warehouse's stores",
    [
        levels(
            ("2026-03-01 10:00:00", 1, 1, 5), ("2026-03-01 11:00:00", 1, 1, 50), ("2026-03-01 12:00:00", 1, 1, 9), ("2026-03-02 10:00:00", 1, 1, 8), ("2026-03-02 18:00:00", 1, 1, 7), ("2026-03-04 18:00:00", 1, 1, 6),
            ("2026-03-01 12:00:00", 2, 1, 3), ("2026-03-02 12:00:00", 2, 1, 0), ("2026-03-03 12:00:00", 2, 1, 0), ("2026-03-01 12:00:00", 3, 1, 0), ("2026-03-03 12:00:00", 3, 1, 21),
            ("2026-03-03 12:00:00", 1, 2, 10), ("2026-03-03 12:00:00", 1, 3, 10),
        ),
        pos(("2026-03-01 10:00:00", "t1", 1, 1, 6, "6"), ("2026-03-02 10:00:00", "t2", 2, 1, 1, "6"), ("2026-03-02 10:00:00", "t3", 3, 1, -1, "-6"), ("2026-03-02 10:00:00", "t4", 1, 2, 9, "6"), ("2026-01-02 10:00:00", "t5", 1, 1, 500, "6")),
    ],
    {"operations.stockout_alerts": """product_id | warehouse_id | status | since | stock_level | restock_threshold | days_of_cover
        1 | 1 | low_stock | 2026-03-01 12:00:00 | 6 | 10 | 25.7143
        2 | 1 | out_of_stock | 2026-03-02 12:00:00 | 0 | 10 | 0
        1 | 2 | low_stock | 2026-03-03 12:00:00 | 10 | 10 | -
        1 | 3 | low_stock | 2026-03-03 12:00:00 | 10 | 10 | -"""},
)  # fmt: skip
case(
    "alerts: a late observation breaks the status; the change from low to out begins a new one",
    [
        stock("2026-03-01 10:00:00", 1, 1, 5), stock("2026-03-03 10:00:00", 1, 1, 4), stock("2026-03-02 10:00:00", 1, 1, 40), stock("2026-03-01 10:00:00", 2, 1, 5), stock("2026-03-03 10:00:00", 2, 1, 0),
        stock("2026-03-02 10:00:00", 2, 1, 5),
    ],
    {"operations.stockout_alerts": """product_id | warehouse_id | status | since | stock_level
        1 | 1 | low_stock | 2026-03-03 10:00:00 | 4
        2 | 1 | out_of_stock | 2026-03-03 10:00:00 | 0"""},
)  # fmt: skip

# ---- customer 360 ----

case(
    "customer 360: web and CRM of one number",
    [
        web(D + "10:00:00", "a", user=1, event="click", device="mobile"), web(D + "10:10:00", "a", user=1), web(D + "12:00:00", "b", user=1, event="purchase"), web(D + "12:00:00", "c"), web(D + "12:00:00", "d", user=2),
        crm(D + "15:00:00", 1, "loyalty", rating=5), crm(D + "09:00:00", 1, case="x", status="opened", rating=4), crm(D + "09:00:00", 3),
    ],
    {"marketing.customer_360": """customer_id | web_events | engagement_events | engagement_score_pct | mobile_event_pct | purchases | sessions | avg_session_s | interactions | loyalty_interactions | is_loyal | avg_rating | cases_opened | first_seen_at | last_seen_at
        1 | 3 | 2 | 66.67 | 33.33 | 1 | 2 | 300 | 2 | 1 | true | 4.5 | 1 | 2026-03-02 09:00:00 | 2026-03-02 15:00:00
        2 | 1 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 0 | false | - | 0 | 2026-03-02 12:00:00 | 2026-03-02 12:00:00
        3 | 0 | 0 | - | - | 0 | 0 | - | 1 | 0 | false | - | 0 | 2026-03-02 09:00:00 | 2026-03-02 09:00:00"""},
)  # fmt: skip
