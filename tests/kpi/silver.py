"""The four silver tables, from what arrived. Each function gives the rows that stay and an Account: what became of every row that came in."""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from exact import median
from reading import Fields, category, instant, integer, money, text

DAY_US = 86400 * 1000000
QUANTITY_LIMIT = 1000
REVENUE_LIMIT = 100000
STOCK_LIMIT = 100000
MESSAGE_LIMIT = 1000
THRESHOLD_DEFAULT = 50
ENGAGEMENT = {"click", "scroll", "form_submit", "download", "video_play", "share", "add_to_cart", "purchase"}


@dataclass
class Account:
    """rows in = kept + superseded + quarantined. Places are (file hash, row number) or an event id."""

    table: str
    rows_in: int = 0
    kept: int = 0
    superseded: int = 0
    quarantined: dict = field(default_factory=dict)  # place -> [reasons]
    unread: dict = field(default_factory=dict)  # place -> reason: records of files that the reader could not take apart; not among rows_in
    warnings: Counter = field(default_factory=Counter)
    as_of_event_us: int = None  # newest event time among valid rows, superseded ones included
    as_of_received_us: int = None

    def take(self, fields, place):
        """Counts a row that was read; True when it is valid."""
        self.rows_in += 1
        self.warnings.update(fields.warnings)
        if fields.reasons:
            self.quarantined[place] = fields.reasons
        return not fields.reasons

    def seen(self, at_us, received_us):
        self.as_of_event_us = at_us if self.as_of_event_us is None else max(at_us, self.as_of_event_us)
        self.as_of_received_us = received_us if self.as_of_received_us is None else max(received_us, self.as_of_received_us)

    def close(self, kept):
        self.kept = kept
        self.superseded = self.rows_in - len(self.quarantined) - kept
        return self


# ---- pos_sales ----


@dataclass(slots=True)
class Sale:
    transaction_id: str
    line_no: int
    store_id: int
    product_id: int
    quantity: int
    net_revenue: Decimal
    discount: Decimal
    at_us: int
    region: str
    place: tuple

    @property
    def gross_revenue(self):
        return self.net_revenue + self.discount


def same_sign(revenue, quantity):
    return revenue == 0 or (revenue > 0) == (quantity > 0)


def read_sale(values, received_us, stores, place):
    f = Fields(values)
    sale = Sale(
        transaction_id=f.required("transaction_id", text),
        line_no=f.optional("line_no", integer),
        store_id=f.required("store_id", integer),
        product_id=f.required("product_id", integer),
        quantity=f.required("quantity", integer),
        net_revenue=f.required("revenue", money),
        discount=f.optional("discount_applied", money) or Decimal("0.0000"),
        at_us=f.happened("timestamp", received_us),
        region=None,
        place=place,
    )
    if sale.quantity is not None:
        f.limit(sale.quantity != 0 and abs(sale.quantity) <= QUANTITY_LIMIT, "quantity is out of its limits")
    if sale.net_revenue is not None:
        f.limit(abs(sale.net_revenue) <= REVENUE_LIMIT, "revenue is out of its limits")
        if sale.quantity:
            f.limit(same_sign(sale.net_revenue, sale.quantity), "revenue and quantity differ in sign")
    if sale.store_id is not None and sale.store_id not in stores:
        f.warnings.append("unknown store")
    sale.region = (stores.get(sale.store_id) or (None,))[0] or "unknown"
    return f, sale


def lines_that_stay(lines):
    """Of one transaction in one file: all lines, but of those with the same line_no the last."""
    last = {line.line_no: i for i, line in enumerate(lines)}
    return [line for i, line in enumerate(lines) if line.line_no is None or last[line.line_no] == i]


def pos_sales(inputs):
    account, current = Account("silver.pos_sales"), {}
    for file in inputs.files_in_order("pos"):
        transactions = defaultdict(list)
        for number, values, problem in file.rows():
            place = (file.hash, number)
            if problem:
                account.unread[place] = problem
                continue
            f, sale = read_sale(values, file.received_us, inputs.stores, place)
            if account.take(f, place):
                account.seen(sale.at_us, file.received_us)
                transactions[sale.transaction_id].append(sale)
        for transaction_id, lines in transactions.items():
            current[transaction_id] = lines_that_stay(lines)
    sales = [line for lines in current.values() for line in lines]
    return sales, account.close(len(sales))


# ---- inventory_levels ----


@dataclass(slots=True)
class Level:
    inventory_id: int
    product_id: int
    warehouse_id: int
    stock_level: int
    restock_threshold: int
    observed_us: int
    stock_status: str
    place: object
    arrival: tuple

    @property
    def needs_restock(self):
        return self.stock_level <= self.restock_threshold

    @property
    def pair(self):
        return (self.product_id, self.warehouse_id)


def read_level(values, received_us, place, arrival):
    f = Fields(values)
    level = Level(
        inventory_id=f.required("inventory_id", integer),
        product_id=f.required("product_id", integer),
        warehouse_id=f.required("warehouse_id", integer),
        stock_level=f.required("stock_level", integer),
        restock_threshold=f.optional("restock_threshold", integer),
        observed_us=f.happened("last_updated", received_us),
        stock_status=None,
        place=place,
        arrival=arrival,
    )
    if level.stock_level is not None:
        f.limit(0 <= level.stock_level <= STOCK_LIMIT, "stock_level is out of its limits")
    return f, level


def half_up_to_int(value):
    return (2 * Fraction(value).numerator + Fraction(value).denominator) // (2 * Fraction(value).denominator)


def stock_status(stock, threshold):
    if stock == 0:
        return "out_of_stock"
    return "low_stock" if stock <= threshold else "medium_stock" if stock <= 2 * threshold else "high_stock"


def file_levels(file, account):
    """Valid rows of one file, thresholds filled from all of its rows."""
    valid, thresholds = [], defaultdict(list)
    for number, values, problem in file.rows():
        place = (file.hash, number)
        if problem:
            account.unread[place] = problem
            continue
        f, level = read_level(values, file.received_us, place, file.arrival(number))
        if level.warehouse_id is not None and level.restock_threshold is not None:
            thresholds[level.warehouse_id].append(level.restock_threshold)
        if account.take(f, place):
            valid.append(level)
    usual = {warehouse: half_up_to_int(median(values)) for warehouse, values in thresholds.items()}
    for level in valid:
        if level.restock_threshold is None:
            level.restock_threshold = usual.get(level.warehouse_id, THRESHOLD_DEFAULT)
    return valid


def pushed_levels(inputs, account):
    """Valid pushed rows, thresholds filled from those of the warehouse that were observed in the 24 hours up to the row's own time."""
    valid, observed = [], defaultdict(list)
    for event in inputs.events("inventory"):
        f, level = read_level(event.body, event.received_us, event.event_id, event.arrival)
        if None not in (level.warehouse_id, level.restock_threshold, level.observed_us):
            observed[level.warehouse_id].append((level.observed_us, level.restock_threshold))
        if account.take(f, event.event_id):
            valid.append(level)
    for rows in observed.values():
        rows.sort()
    times = {warehouse: [at for at, _ in rows] for warehouse, rows in observed.items()}
    for level in valid:
        if level.restock_threshold is None:
            at = times.get(level.warehouse_id, [])
            window = observed[level.warehouse_id][bisect_right(at, level.observed_us - DAY_US) : bisect_right(at, level.observed_us)]
            level.restock_threshold = half_up_to_int(median([threshold for _, threshold in window])) if window else THRESHOLD_DEFAULT
    return valid


def inventory_levels(inputs):
    account, current = Account("silver.inventory_levels"), {}
    arrived = [level for file in inputs.files_in_order("inventory") for level in file_levels(file, account)] + pushed_levels(inputs, account)
    for level in sorted(arrived, key=lambda level: level.arrival):
        level.stock_status = stock_status(level.stock_level, level.restock_threshold)
        account.seen(level.observed_us, level.arrival[0])
        current[level.product_id, level.warehouse_id, level.observed_us] = level
    return list(current.values()), account.close(len(current))


# ---- web_events ----


@dataclass(slots=True)
class WebEvent:
    event_id: str
    session_id: str
    user_id: int
    page: str
    page_path: str
    page_category: str
    device_type: str
    browser: str
    event_type: str
    at_us: int

    @property
    def path_depth(self):
        return len(segments(self.page_path))

    @property
    def is_mobile(self):
        return any(word in (self.device_type or "") for word in ("mobile", "tablet", "phone"))

    @property
    def is_engagement(self):
        return self.event_type in ENGAGEMENT


def page_path(page):
    """Without scheme, host, query, fragment and trailing slash."""
    path = re.split(r"[?#]", page, maxsplit=1)[0]
    path = re.sub(r"^([a-z][a-z0-9+.-]*:)?//[^/]*", "", path)
    return path[:-1] if path.endswith("/") else path


def segments(path):
    return [segment for segment in path.split("/") if segment]


def page_category(path, categories):
    if not path:
        return "home"
    first = segments(path)[:1]
    return categories.get(first[0], "other") if first else "other"


def web_events(inputs):
    account, rows = Account("silver.web_events"), []
    for event in inputs.events("web_traffic"):
        f = Fields(event.body)
        session_id, page = f.required("session_id", text), f.required("page", category)
        at_us = f.happened("timestamp", event.received_us)
        more = [f.optional(name, read) for name, read in (("user_id", integer), ("device_type", category), ("browser", category), ("event_type", category))]
        if not account.take(f, event.event_id):
            continue
        account.seen(at_us, event.received_us)
        path = page_path(page)
        user_id, device_type, browser, event_type = more
        rows.append(WebEvent(event.event_id, session_id, user_id, page, path, page_category(path, inputs.page_categories), device_type, browser, event_type, at_us))
    return rows, account.close(len(rows))


# ---- crm_interactions ----


@dataclass(slots=True)
class Interaction:
    event_id: str
    customer_id: int
    interaction_type: str
    channel: str
    rating: int
    message_excerpt: str
    case_id: str
    case_status: str
    at_us: int


def read_rating(f):
    rating = f.optional("rating", integer)
    if rating is not None and not 1 <= rating <= 5:
        f.warnings.append("rating is outside 1..5")
        return None
    return rating


def crm_interactions(inputs):
    account, rows = Account("silver.crm_interactions"), []
    for event in inputs.events("crm_interactions"):
        f = Fields(event.body)
        row = Interaction(
            event_id=event.event_id,
            customer_id=f.required("customer_id", integer),
            interaction_type=f.required("interaction_type", category),
            channel=f.optional("channel", category) or "unknown",
            rating=read_rating(f),
            message_excerpt=(f.optional("message_excerpt", text) or "")[:MESSAGE_LIMIT] or None,
            case_id=f.optional("case_id", text),
            case_status=f.optional("case_status", category),
            at_us=f.happened("timestamp", event.received_us),
        )
        if account.take(f, event.event_id):
            account.seen(row.at_us, event.received_us)
            rows.append(row)
    return rows, account.close(len(rows))


@dataclass
class Silver:
    sales: list
    levels: list
    web: list
    crm: list
    accounts: dict  # table name -> Account


def all_silver(inputs):
    made = [pos_sales(inputs), inventory_levels(inputs), web_events(inputs), crm_interactions(inputs)]
    return Silver(*(rows for rows, _ in made), accounts={account.table: account for _, account in made})


__all__ = ["Account", "Silver", "all_silver", "instant"]
