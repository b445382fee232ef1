"""The twelve KPIs from silver rows. Every function gives rows in the order of the table's columns (tables.py)."""

from bisect import insort
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

from exact import half_up, mean, median, percent, quantile, rate, ratio

SESSION_GAP_US = 30 * 60 * 1000000
WINDOW_DAYS = 30
DAY_US = 86400 * 1000000
BLOCK_US = 15 * 60 * 1000000  # offsets of time zones change only at such moments


class Calendar:
    """Days of the project's time zone, as ordinals: consecutive numbers that can be counted and put into windows."""

    def __init__(self, name):
        zone = ZoneInfo(name)
        self.block = lru_cache(None)(lambda n: datetime.fromtimestamp(n * 900, timezone.utc).astimezone(zone).toordinal())

    def day(self, at_us):
        return self.block(at_us // BLOCK_US)


def as_date(day):
    return None if day is None else date.fromordinal(day)


def as_time(at_us):
    return None if at_us is None else datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=at_us)


def window(day):
    """That day and the 29 before."""
    return range(day - WINDOW_DAYS + 1, day + 1)


class Kpis:
    def __init__(self, inputs, silver):
        self.inputs, self.silver = inputs, silver
        self.calendar = Calendar(inputs.timezone)
        self.observations = defaultdict(list)  # pair -> levels by time
        for level in sorted(silver.levels, key=lambda level: level.observed_us):
            self.observations[level.pair].append(level)
        days = [self.calendar.day(sale.at_us) for sale in silver.sales] + [self.calendar.day(level.observed_us) for level in silver.levels]
        self.last_day = max(days, default=None)  # the last day that has any valid sale or observation

    # ---- sales ----

    def total_sales(self):
        groups = defaultdict(list)
        for sale in self.silver.sales:
            groups[self.calendar.day(sale.at_us), sale.region, sale.store_id, sale.product_id].append(sale)
        for (day, region, store_id, product_id), sales in groups.items():
            returns = [sale for sale in sales if sale.quantity < 0]
            yield (
                as_date(day), region, store_id, product_id,
                sum(s.net_revenue for s in sales), sum(s.gross_revenue for s in sales), sum(s.discount for s in sales), sum(s.quantity for s in sales),
                abs(sum(s.quantity for s in returns)), abs(sum((s.net_revenue for s in returns), Decimal(0))), len({s.transaction_id for s in sales}),
            )  # fmt: skip

    def stock_availability(self):
        for (product_id, warehouse_id), levels in self.observations.items():
            now = levels[-1]
            yield product_id, warehouse_id, now.stock_level, now.stock_status, now.needs_restock, as_time(now.observed_us)

    def stock_availability_rate(self):
        pairs, in_stock = Counter(), Counter()
        for (product_id, _), levels in self.observations.items():
            pairs[product_id] += 1
            in_stock[product_id] += levels[-1].stock_level > 0
        for product_id in pairs:
            yield product_id, pairs[product_id], in_stock[product_id], percent(in_stock[product_id], pairs[product_id])

    def closing_stock(self, pair):
        """{day: stock at the end of the day}, from the pair's first observation to the last day, carried forward."""
        last_of_day = {self.calendar.day(level.observed_us): level.stock_level for level in self.observations[pair]}
        closing, stock = {}, None
        for day in range(min(last_of_day), self.last_day + 1):
            stock = last_of_day.get(day, stock)
            closing[day] = stock
        return closing

    def windows(self, sold, stock):
        """For 3 and 7: sold {day: amount}, stock {day: amount}. Rows (day, sold in the window, average stock over its days that have one)."""
        for day in range(min([*sold, *stock]), self.last_day + 1):
            known = [stock[d] for d in window(day) if d in stock]
            yield day, sum(sold.get(d, 0) for d in window(day)), mean(known)

    def product_turnover(self):
        sold, stock = defaultdict(Counter), defaultdict(Counter)
        for sale in self.silver.sales:
            sold[sale.product_id][self.calendar.day(sale.at_us)] += sale.quantity
        for pair in self.observations:
            for day, level in self.closing_stock(pair).items():
                stock[pair[0]][day] += level
        for product_id in {*sold, *stock}:
            for day, units, average in self.windows(sold[product_id], stock[product_id]):
                yield product_id, as_date(day), units, rate(average), rate(ratio(units, average))

    # ---- marketing ----

    @staticmethod
    def engaged(events):
        engagement = sum(e.is_engagement for e in events)
        return len(events), engagement, percent(engagement, len(events))

    def engagement(self):
        days = defaultdict(list)
        for event in self.silver.web:
            days[self.calendar.day(event.at_us)].append(event)
        for day, events in days.items():
            yield as_date(day), *self.engaged(events)

    def customer_engagement(self):
        days = defaultdict(list)
        for event in self.silver.web:
            if event.user_id is not None:
                days[event.user_id, self.calendar.day(event.at_us)].append(event)
        for (user_id, day), events in days.items():
            yield user_id, as_date(day), *self.engaged(events)

    def all_sessions(self):
        """Lists of events."""
        visitors = defaultdict(list)
        for event in self.silver.web:
            visitors[event.session_id].append(event)
        for events in visitors.values():
            events.sort(key=lambda e: (e.at_us, e.event_id))
            session = [events[0]]
            for before, event in zip(events, events[1:]):
                if event.at_us - before.at_us > SESSION_GAP_US:
                    yield session
                    session = []
                session.append(event)
            yield session

    def sessions(self):
        days = defaultdict(list)
        for session in self.all_sessions():
            days[self.calendar.day(session[0].at_us)].append(session)
        for day, sessions in days.items():
            durations = [Fraction(s[-1].at_us - s[0].at_us, 1000000) for s in sessions]
            events = [event for session in sessions for event in session]
            yield (
                as_date(day), len(sessions), rate(mean(durations)), rate(median(durations)), percent(sum(len(s) == 1 for s in sessions), len(sessions)),
                len({e.user_id for e in events if e.user_id is not None}), rate(mean([e.path_depth for e in events])), percent(sum(e.is_mobile for e in events), len(events)),
            )  # fmt: skip

    def loyalty_activity(self):
        days = defaultdict(list)
        for row in self.silver.crm:
            days[self.calendar.day(row.at_us)].append(row)
        for day, rows in days.items():
            loyal = [row for row in rows if row.interaction_type == "loyalty"]
            customers, members = {row.customer_id for row in rows}, {row.customer_id for row in loyal}
            ratings = [row.rating for row in loyal if row.rating is not None]
            yield as_date(day), len(loyal), len(members), len(rows), len(customers), percent(len(members), len(customers)), rate(mean(ratings))

    # ---- operations ----

    def cost(self, product_id):
        """(category, unit cost) as a Decimal; None for a product without cost."""
        category, cost = self.inputs.products.get(product_id, (None, None))
        return None if cost is None else (category, Decimal(cost))

    def warehouse_of(self, store_id):
        return self.inputs.stores.get(store_id, (None, None))[1]

    def inventory_turnover(self):
        cogs, value = defaultdict(lambda: defaultdict(Decimal)), defaultdict(lambda: defaultdict(Decimal))
        for sale in self.silver.sales:
            warehouse_id, cost = self.warehouse_of(sale.store_id), self.cost(sale.product_id)
            if warehouse_id is not None and cost:
                cogs[warehouse_id, cost[0]][self.calendar.day(sale.at_us)] += sale.quantity * cost[1]
        for pair in self.observations:
            cost = self.cost(pair[0])
            if cost:
                for day, level in self.closing_stock(pair).items():
                    value[pair[1], cost[0]][day] += level * cost[1]
        for key in {*cogs, *value}:
            for day, sold, average in self.windows(cogs[key], value[key]):
                turnover = ratio(sold, average)
                yield *key, as_date(day), half_up(sold, 4), rate(average), rate(turnover), rate(ratio(WINDOW_DAYS, turnover))

    def restock_frequency(self):
        for (product_id, warehouse_id), levels in self.observations.items():
            restocks = [after.observed_us for before, after in zip(levels, levels[1:]) if after.stock_level > before.stock_level]
            recent = [at for at in restocks if self.calendar.day(at) in window(self.last_day)]
            between = [Fraction(after - before, DAY_US) for before, after in zip(recent, recent[1:])]
            yield product_id, warehouse_id, len(recent), rate(mean(between)), as_time(restocks[-1] if restocks else None)

    def units_by_pair(self):
        """Net units of the last 30 days by (product, warehouse that serves the store)."""
        units = Counter()
        for sale in self.silver.sales:
            if self.calendar.day(sale.at_us) in window(self.last_day):
                units[sale.product_id, self.warehouse_of(sale.store_id)] += sale.quantity
        return units

    def stockout_alerts(self):
        units = self.units_by_pair()
        for pair, levels in self.observations.items():
            now = levels[-1]
            if now.stock_status not in ("out_of_stock", "low_stock"):
                continue
            since = now
            for level in reversed(levels):
                if level.stock_status != now.stock_status:
                    break
                since = level
            cover = Fraction(now.stock_level * WINDOW_DAYS, units[pair]) if units[pair] > 0 else None
            yield *pair, now.stock_status, as_time(since.observed_us), now.stock_level, now.restock_threshold, rate(cover)

    def newest_states(self):
        """{pair: [(status, since), …]}: what the newest status of a pair was after each arrival, in that order, each once. Alerts can be about these."""
        found = {}
        for level in sorted(self.silver.levels, key=lambda level: level.arrival):
            states, seen = found.setdefault(level.pair, ([], []))
            insort(seen, (level.observed_us, level.stock_status))
            status, since = seen[-1][1], None
            for observed_us, before in reversed(seen):
                if before != status:
                    break
                since = observed_us
            if not states or states[-1] != (status, as_time(since)):
                states.append((status, as_time(since)))
        return {pair: states for pair, (states, _) in found.items()}

    # ---- support ----

    def feedback_score(self):
        groups = defaultdict(list)
        for row in self.silver.crm:
            if row.rating is not None:
                groups[self.calendar.day(row.at_us), row.channel].append(row.rating)
        for (day, channel), ratings in groups.items():
            yield as_date(day), channel, len(ratings), rate(mean(ratings)), percent(sum(r >= 4 for r in ratings), len(ratings))

    def interaction_volume(self):
        groups = defaultdict(list)
        for row in self.silver.crm:
            groups[self.calendar.day(row.at_us), row.interaction_type, row.channel].append(row.customer_id)
        for (day, interaction_type, channel), customers in groups.items():
            yield as_date(day), interaction_type, channel, len(customers), len(set(customers))

    def cases(self):
        """Steps (time, event id, opened?) of each case, in order; `updated` changes nothing."""
        cases = defaultdict(list)
        for row in self.silver.crm:
            if row.case_id is not None and row.case_status in ("opened", "resolved"):
                cases[row.case_id].append((row.at_us, row.event_id, row.case_status == "opened"))
        return [sorted(steps) for steps in cases.values() if any(opened for *_, opened in steps)]

    def time_to_resolution(self):
        if not self.silver.crm:
            return
        days = [self.calendar.day(row.at_us) for row in self.silver.crm]
        hours, change = defaultdict(list), Counter()
        for steps in self.cases():
            first = next(i for i, (*_, opened) in enumerate(steps) if opened)
            if not steps[-1][2]:  # resolved, and not opened again
                hours[self.calendar.day(steps[-1][0])].append(Fraction(steps[-1][0] - steps[first][0], 3600 * 1000000))
            is_open = False
            for at_us, _, opened in steps[first:]:
                change[self.calendar.day(at_us)] += opened - is_open
                is_open = opened
        backlog = 0
        for day in range(min(days), max(days) + 1):
            backlog += change[day]
            took = hours[day]
            yield as_date(day), len(took), rate(median(took)), rate(quantile(took, Fraction(9, 10))), rate(mean(took)), backlog
