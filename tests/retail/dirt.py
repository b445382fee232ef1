"""Random histories of the four feeds with every kind of dirt that kpis.md names, each row with what must become of it."""

import json
import random
from collections import Counter
from decimal import Decimal

DAY = 86400
START = 1772409600  # 2026-03-02 00:00 UTC
FUTURE = 4102444800  # 2100

# field of a row -> texts that no reader can take for its type
UNREADABLE_INT = ["x", "3.5", "1,5", "0x10", "1_000", "99999999999999999999", "--1", "1 2", "٣"]
UNREADABLE_MONEY = ["free", "1,50", "12.3.4", "€5", "1e99", "9e18"]
UNREADABLE_TIME = ["soon", "2026-03-02", "2026-03-02T10:00:00Z", "1772409600000", "12:30"]
MISSING = [None, "", "  ", "null", "NULL", "NaN", "\\N", "\t"]


class History:
    """arrivals: [(target, content)]; fate: Counter of (table, what became of a row)."""

    def __init__(self, seed, days=4, scale=1.0):
        self.rng = random.Random(seed)
        self.days = days
        self.arrivals, self.fate, self.kinds = [], Counter(), Counter()
        self.number = 0
        for _ in range(int(150 * days * scale)):
            self.web()
        for _ in range(int(60 * days * scale)):
            self.crm()
        for _ in range(int(20 * days * scale)):
            self.pushed_stock()
        for day in range(days):
            self.pos_file(day, int(30 * scale) + 1)
            for hour in self.rng.sample(range(24), 4):
                self.stock_file(day * DAY + hour * 3600)
        self.rng.shuffle(self.arrivals)

    # ---- what all feeds have in common ----

    def at(self, base=None):
        t = self.rng.randrange(self.days * DAY) if base is None else base
        text = str(START + t)
        return text + self.rng.choice(["", "", ".5", ".123456", ".0"])

    def dress(self, value):
        """A good value in other clothes: strings around numbers, blanks, 3.0 for 3."""
        if value is None:
            return self.rng.choice([None, "", "null", "NULL", " ", "\\N"])
        clothes = [value, value, str(value), f" {value}\t"]
        if isinstance(value, int):
            clothes += [f"{value}.0", f"+{value}" if value > 0 else value]
        return self.rng.choice(clothes)

    def spoil(self, row, required, optional):
        """At most one dirt per row. -> "kept" or "quarantined", after counting its kind."""
        kind = self.rng.choices(["good", "missing", "unreadable", "optional unreadable", "future", "extra"], [20, 1, 1, 1, 0.5, 2])[0]
        time = "last_updated" if "last_updated" in row else "timestamp"
        fate = "kept"
        if kind == "missing":
            row[self.rng.choice(sorted(required))] = self.rng.choice(MISSING)
            fate = "quarantined"
        elif kind == "unreadable":
            field = self.rng.choice([f for f, bad in required.items() if bad])
            row[field] = self.rng.choice(required[field])
            fate = "quarantined"
        elif kind == "optional unreadable" and optional:
            field = self.rng.choice(sorted(optional))
            row[field] = self.rng.choice(optional[field])
            fate = "kept, warned"
        elif kind == "future":
            row[time] = FUTURE
            fate = "quarantined"
        elif kind == "extra":
            row["Colour of the till"] = "grün"
        self.kinds[kind] += 1
        return fate

    def count(self, table, fate):
        self.fate[table, "rows"] += 1
        self.fate[table, "quarantined"] += fate == "quarantined"
        self.fate[table, "warned"] += fate == "kept, warned"

    # ---- streams ----

    def unique(self, row):
        """Bodies differ, so that none is taken for another one sent twice."""
        self.number += 1
        return row | {"n": self.number}

    def json_time(self, text):
        return self.rng.choice([float(text) if "." in text else int(text), text])

    def web(self):
        rng = self.rng
        user = rng.choice([None, None, rng.randrange(1, 30)])
        row = {
            "session_id": self.rng.choice(["", " "]) + f"S{rng.randrange(40 * self.days)}", "user_id": rng.choice(["null", "NULL", "", None]) if user is None else self.dress(user),
            "page": rng.choice(["/", "https://Shop.example/Product/1?x=1", "/cart/", "/product/2#top", "Help/İade/", "", "/a/b/c/d"]) or "/",
            "device_type": rng.choice([" Mobile ", "desktop", "Tablet", "iPhone", None, ""]), "browser": rng.choice(["Firefox", None]),
            "event_type": rng.choice(["page_view", "CLICK", " scroll", "purchase", None, "add_to_cart", "hover"]), "timestamp": self.json_time(self.at()),
        }  # fmt: skip
        if rng.random() < 0.2:
            del row["browser"]
        fate = self.spoil(row, {"session_id": None, "page": None, "timestamp": UNREADABLE_TIME}, {"user_id": UNREADABLE_INT})
        self.count("silver.web_events", fate)
        self.arrivals.append(("web_traffic", self.unique(row)))

    def crm(self):
        rng = self.rng
        row = {
            "customer_id": self.dress(rng.randrange(1, 40)), "interaction_type": rng.choice(["call", "Loyalty", " email ", "complaint"]), "channel": rng.choice(["phone", "WEB", None, "", "null"]),
            "rating": rng.choice([None, "null", "5", 4, 3, "2.0", 1]), "message_excerpt": rng.choice([None, "çok güzel " * rng.randrange(1, 200)]),
            "case_id": rng.choice([None, "", f"K{rng.randrange(12 * self.days)}", f" K{rng.randrange(12 * self.days)}"]), "case_status": rng.choice(["opened", "Opened ", "updated", "resolved", "RESOLVED", None]),
            "timestamp": self.json_time(self.at()),
        }  # fmt: skip
        fate = self.spoil(row, {"customer_id": UNREADABLE_INT, "interaction_type": None, "timestamp": UNREADABLE_TIME}, {"rating": ["6", 0, -1, "five", "4.5"]})
        self.count("silver.crm_interactions", fate)
        self.arrivals.append(("crm_interactions", self.unique(row)))

    def stock_row(self, at):
        rng = self.rng
        self.number += 1
        return {
            "inventory_id": self.number, "product_id": rng.randrange(1, 6), "warehouse_id": rng.randrange(1, 4), "stock_level": rng.choice([0, 3, 10, 19, 20, 21, 60, rng.randrange(200)]),
            "restock_threshold": rng.choice([None, 10, 10, 15, 20, rng.randrange(30)]), "last_updated": at,
        }  # fmt: skip

    def spoil_stock(self, row):
        for field in ("product_id", "warehouse_id", "stock_level", "restock_threshold"):
            row[field] = self.dress(row[field])
        if self.rng.random() < 0.03:
            row["stock_level"] = self.rng.choice([-1, 100001, "100000.5"])
            return "quarantined"
        required = {f: UNREADABLE_INT for f in ("inventory_id", "product_id", "warehouse_id", "stock_level")} | {"last_updated": UNREADABLE_TIME}
        return self.spoil(row, required, {"restock_threshold": UNREADABLE_INT})

    def pushed_stock(self):
        row = self.stock_row(self.json_time(self.at()))
        self.count("silver.inventory_observations", self.spoil_stock(row))
        self.arrivals.append(("inventory", row))

    # ---- files ----

    def stock_file(self, at):
        rows = []
        for product in range(1, 6):
            for warehouse in range(1, 4):
                row = self.stock_row(self.at(at)) | {"product_id": product, "warehouse_id": warehouse}
                self.count("silver.inventory_observations", self.spoil_stock(row))
                rows.append(row)
        self.arrivals.append(("inventory_files", texts(rows)))

    def pos_file(self, day, transactions):
        rng, rows = self.rng, []
        for t in range(transactions):
            name = f" T{day}-{t}"  # transactions of another file's day come back now and then and replace it
            if day and rng.random() < 0.05:
                name = f"T{day - 1}-{rng.randrange(transactions)}"
            numbered = rng.random() < 0.3
            for line in range(rng.randrange(1, 5)):
                quantity = rng.choice([1, 1, 2, 3, 1000, -1, -2])
                revenue = Decimal(rng.randrange(0, 5000)) / 100 * (1 if quantity > 0 else -1)
                row = {
                    "transaction_id": name, "line_no": (line // 2 + 1 if rng.random() < 0.2 else line + 1) if numbered else None, "store_id": rng.choice([1, 2, 3, 99]),
                    "product_id": rng.choice([1, 2, 3, 4, 77]), "quantity": quantity, "revenue": str(revenue + 0), "discount_applied": rng.choice([None, "", "0.50", "1.00005"]),
                    "timestamp": self.at(max(0, day * DAY + rng.randrange(DAY) - (rng.random() < 0.05) * rng.randrange(3 * DAY))),
                }  # fmt: skip
                self.count("silver.pos_sales", self.spoil_pos(row))
                rows.append(row)
                if rng.random() < 0.03:  # the same line twice: two sales, or one that came again
                    rows.append(dict(row))
                    self.fate["silver.pos_sales", "rows"] += 1
                    self.fate["silver.pos_sales", "quarantined"] += self.last == "quarantined"
                    self.fate["silver.pos_sales", "warned"] += self.last == "kept, warned"
        self.arrivals.append(("pos", texts(rows)))

    def spoil_pos(self, row):
        rng = self.rng
        for field in ("store_id", "product_id", "quantity", "line_no"):
            row[field] = self.dress(row[field])
        if rng.random() < 0.03:
            row |= rng.choice([{"quantity": 0}, {"quantity": 1001, "revenue": "1"}, {"quantity": 1, "revenue": "-1"}, {"quantity": -1, "revenue": "1"}, {"quantity": 1, "revenue": "100000.0001"}, {"quantity": "2.5"}])
            self.last = "quarantined"
        else:
            required = {f: UNREADABLE_INT for f in ("store_id", "product_id", "quantity")} | {"transaction_id": None, "revenue": UNREADABLE_MONEY, "timestamp": UNREADABLE_TIME}
            self.last = self.spoil(row, required, {"line_no": UNREADABLE_INT, "discount_applied": UNREADABLE_MONEY})
        return self.last


def texts(rows):
    """Rows of a file: all text, the same columns in every row."""
    columns = list(dict.fromkeys(c for row in rows for c in row))
    return [{c: None if row.get(c) is None else str(row[c]) for c in columns} for row in rows]


def again(history, rng):
    """The arrivals with a part of them sent twice, byte for byte."""
    arrivals = list(history.arrivals)
    for one in rng.sample(history.arrivals, len(history.arrivals) // 5):
        arrivals.insert(rng.randrange(len(arrivals) + 1), one)
    return arrivals


def body(content):
    return json.dumps(content, ensure_ascii=False)
