"""Values that nobody would think of, in every field of every feed: what the simulated shop does not send. For the same comparison as everything else."""

import json

T0 = 1741000000
NUMBERS = [
    "3", "+3", "3.", ".5", "3e0", "1e3", "30e-1", " 3\t", "3\n", "\u00a03", "nan", "Null", "  null ", "NULL ", "\\N", "NaN", "1_0", "0x3", "٣", "3,0", "-3", "-0", "0", "3.0", "3.00000", "3.5", "1000", "1001",
    "-1000", "99999999999999999999", "9223372036854775808", "true", "", " ", "3 3", "--3", "3-", "1e400", "Infinity", "inf", "'3'", '"3"', "003", "1E2", "1e-1",
]  # fmt: skip
OTHERS = [True, False, 3, 3.0, 3.5, -3, 0, 1e3, 10**20, [1], {"a": 1}, [], {}]
TIMES = [
    "1741000000", "1741000000.123456", "1741000000.1234567", " 1741000001 ", "1741000000123", "1.741e9", "abc", "null", "1741000000.", 1741000002.5, 1741000003.999999, "2025-03-03T00:00:00Z",
    99999999999999999, 1e300, None, True,
]  # fmt: skip
PAGES = [
    "//x", "//host/p/1", "http://h", "https://h/", "HTTP://H/P/", "/p//x/", "p", "p/", "?", "#", "#a/b", "/?a#b", "/p?x=/a/b/", "ftp://h/x", "mailto:a@b", "/p/ x", "/İSTANBUL/IŞIK", "/ß/Σ", "c/", "/c", "/C/Shoes", "  /c/x  ",
    "a:b://c/d", "/a/b/c/d/e/f", "/./..", "http://h:80/p?x=http://y/z", "/p%2Fx", "http://h?x=/a", "http://h#/a", "shop.example/p/1",
]  # fmt: skip
DEVICES = ["MOBILE", "Smartphone", "iPad Tablet", "PHONE", "mobıle", "MOBİLE", "desktop", "", None, "tab let"]
STATUSES = ["Opened", "RESOLVED", " resolved", "closed", "UPDATED", None, ""]
MESSAGES = ["ş" * 1000, "ş" * 1001, "a" * 999 + "😀b", " " + "x" * 1000 + " ", "😀" * 1001, "null", "  "]
MONEY = ["0", "-0", "0.00", "-5", "100000", "100000.0001", "100000.00001", "-100000", "5.12345", "5.00005", "5.00015", "0.00004", "-0.00004", "1e2", "1e5", "1e6", "5.", ".5"]
USUAL = {
    "web_traffic": {"session_id": "s", "page": "/x"},
    "crm_interactions": {"customer_id": 1, "interaction_type": "a"},
    "inventory": {"inventory_id": 1, "product_id": 1001, "warehouse_id": 1, "stock_level": 5, "restock_threshold": 3},
}


def bodies():
    """(stream, event)"""
    made = 0

    def event(stream, **fields):
        nonlocal made
        made += 1  # every event has a time of its own
        when = {"last_updated": T0 + made * 60} if stream == "inventory" else {"timestamp": T0 + made}
        return stream, {**USUAL[stream], **when, **fields}

    for value in NUMBERS:
        for stream, fields in (("web_traffic", ("user_id", "session_id", "page", "event_type")), ("crm_interactions", ("rating", "customer_id", "interaction_type", "channel")), ("inventory", ("stock_level", "restock_threshold", "warehouse_id"))):
            yield from (event(stream, **{field: value}) for field in fields)
        yield event("crm_interactions", case_id=value, case_status="opened")
    for value in OTHERS:
        for stream, field in (("web_traffic", "user_id"), ("crm_interactions", "rating"), ("crm_interactions", "customer_id"), ("inventory", "stock_level"), ("inventory", "restock_threshold")):
            yield event(stream, **{field: value})
    for value in TIMES:
        yield event("web_traffic", session_id=f"t{value}", timestamp=value)
        yield event("crm_interactions", message_excerpt=f"t{value}", timestamp=value)
        yield event("inventory", warehouse_id=2, last_updated=value)
    yield from (event("web_traffic", page=page) for page in PAGES)
    yield from (event("web_traffic", device_type=device) for device in DEVICES)
    for status in STATUSES:
        yield event("crm_interactions", case_id="K1", case_status=status)
        yield event("crm_interactions", case_id=" K2 ", case_status=status)
    yield from (event("crm_interactions", message_excerpt=message) for message in MESSAGES)
    yield "web_traffic", {"Session_ID": "case", "page": "/", "timestamp": T0}
    yield "web_traffic", {}


def cell(value):
    return '"' + value.replace('"', '""') + '"' if any(c in value for c in ',"\n') else value


def pos_csv():
    columns = ["transaction_id", "line_no", "store_id", "product_id", "quantity", "revenue", "discount_applied", "timestamp"]
    lines = []

    def line(**fields):
        usual = {"transaction_id": f"H{len(lines)}", "line_no": "1", "store_id": "1", "product_id": "1001", "quantity": "1", "revenue": "5.00", "discount_applied": "", "timestamp": str(T0 + len(lines))}
        lines.append(",".join(cell({**usual, **fields}[column]) for column in columns))

    for value in NUMBERS:
        for column in columns[:7]:
            line(**{column: value})
    for value in MONEY:
        line(revenue=value)
        line(revenue=value, quantity="-1")
        line(discount_applied=value)
        line(discount_applied=value, quantity="-2", revenue="-3")
    for value in TIMES:
        if isinstance(value, str):
            line(timestamp=value)
    for value in ["1", "1", "", "1.0", "2", "x", "x", "NaN"]:
        line(transaction_id="TT", line_no=value, quantity=str(len(lines) % 5 + 1))
    return ",".join(columns) + "\n" + "\n".join(lines) + "\n"


def newer_pos_csv():
    """Another dialect: replaces TT and H2, leaves H1, whose new line is not valid."""
    rows = ["Timestamp;TRANSACTION_ID; Quantity ;product_id;STORE_ID;revenue", f"{T0};TT;2;1001;1;9.99", f"{T0};H1;0;1001;1;9.99", f"{T0};H2;5;1001;77;9.99", f"{T0}; H3 ;5;1001;1;9.99"]
    return "\r\n".join(rows) + "\r\n"


def inventory_csv():
    rows = []
    for i, value in enumerate(NUMBERS):
        at = str(T0 + i * 60)
        rows += [["1", "1005", value, "5", "9", at], ["1", "1006", "2", value, "9", at], ["1", "1007", "2", "5", value, at], [value, "1008", "2", "5", "4", at], ["1", value, "2", "5", "4", at]]
    return "inventory_id,product_id,warehouse_id,stock_level,restock_threshold,last_updated\n" + "\n".join(",".join(map(cell, row)) for row in rows) + "\n"


def send(project):
    """Everything, to a running project."""
    for stream in USUAL:
        lines = [json.dumps(body, ensure_ascii=False) for name, body in bodies() if name == stream]
        answer = project.post_ndjson(stream, lines)
        assert answer.status_code == 202, answer.text
    project.land("landing/pos", "h1.csv", pos_csv())
    project.land("landing/pos", "h2.csv", newer_pos_csv())
    project.land("landing/inventory", "h.csv", inventory_csv())
