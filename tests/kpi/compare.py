#!/usr/bin/env python3
"""Compares the tables of a running Cupel with the recomputation, every row and column, and says what differs.

usage: compare.py --dir PROJECT [--raw DIR] [--timezone TZ] [--keep]      exit 1 when something differs
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from export import Server, export  # noqa: E402
from inputs import EPOCH, load  # noqa: E402
from recompute import recompute, sortable  # noqa: E402
from tables import KPI_TABLES, SILVER_TABLES  # noqa: E402

SHOWN = 8
BRONZE = {"silver.pos_sales": ["bronze.pos"], "silver.inventory_levels": ["bronze.inventory_files"]}
# Where the rows that a table refused are, when it is made from another that reads them.
QUARANTINE = {"silver.inventory_levels": "quarantine.silver__inventory_observations"}


def value_of(kind, raw):
    """A value of Cupel's JSON as the exact value that the recomputation has."""
    if raw is None or raw == "":
        return None if kind != "text" else raw
    if kind == "decimal":
        return Decimal(str(raw))
    if kind == "int":
        return int(Decimal(str(raw)))
    if kind == "date":
        return date.fromisoformat(str(raw)[:10])
    if kind == "time":
        moment = datetime.fromisoformat(str(raw).replace("Z", "+00:00"))
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return raw


def show(columns, row):
    return ", ".join(f"{name}={value}" for name, value in zip(columns, row))


class Report:
    def __init__(self):
        self.problems, self.compared = [], {}

    def say(self, table, text):
        self.problems.append(f"{table}: {text}")

    def __str__(self):
        lines = [f"{name}: {rows} rows equal" for name, rows in self.compared.items()]
        return "\n".join(lines + self.problems)


def fetch(server, table, names):
    quoted = ", ".join(f'"{name}"' for name in names)
    kinds = [table.columns[name] for name in names]
    return [tuple(value_of(kind, row[name]) for kind, name in zip(kinds, names)) for row in server.rows(f"SELECT {quoted} FROM {table.name}")]


def differences(names, key, wanted, found):
    """Lines that say how two multisets of rows differ; rows of one key are put side by side."""
    missing, extra = Counter(wanted), Counter(found)
    both = missing & extra
    missing, extra = missing - both, extra - both
    if not missing and not extra:
        return
    yield f"{sum(missing.values())} of {len(wanted)} rows are missing, {sum(extra.values())} are there that should not be"
    others = {row[:key]: row for row in extra} if key else {}
    for row in sorted(missing, key=sortable)[:SHOWN]:
        other = others.pop(row[:key], None) if key else None
        if other is None:
            yield f"  missing: {show(names, row)}" + (f" ({missing[row]} times)" if missing[row] > 1 else "")
        else:
            unequal = ", ".join(f"{name}: {b} instead of {a}" for name, a, b in zip(names, row, other) if a != b)
            yield f"  {show(names[:key], row[:key])}: {unequal}"
    for row in [row for row in sorted(extra, key=sortable) if not key or row[:key] in others][:SHOWN]:
        yield f"  too many: {show(names, row)}" + (f" ({extra[row]} times)" if extra[row] > 1 else "")


def compare_table(server, table, wanted, report, all_columns):
    there = server.columns(table.name)
    if there is None:
        return report.say(table.name, "there is no such table")
    absent = [name for name in table.columns if name not in there]
    if absent and (all_columns or len(absent) * 2 > len(table.columns)):
        return report.say(table.name, f"columns {', '.join(absent)} are missing; it has {', '.join(there)}")
    if all_columns and there != list(table.columns):
        report.say(table.name, f"columns are {', '.join(there)} and should be {', '.join(table.columns)}")
    names = [name for name in table.columns if name in there]
    at = [list(table.columns).index(name) for name in names]
    wanted = [tuple(row[i] for i in at) for row in wanted]
    found = list(differences(names, table.key, wanted, fetch(server, table, names)))
    for line in found:
        report.say(table.name, line)
    if not found:
        report.compared[table.name] = len(wanted)
    return None


def quarantined_places(server, table):
    """{place: reason} of one silver table: event ids, or (file hash, row) where the row came from a file."""
    name = QUARANTINE.get(table, "quarantine." + table.replace(".", "__"))
    if not server.columns(name):
        return {}
    rows = server.rows(f"SELECT CAST(_event_id AS VARCHAR) AS id, _reason AS reason FROM {name}")
    files = {}
    for bronze in BRONZE.get(table, []):
        if rows and server.columns(bronze):
            files.update({r["id"]: (r["hash"].lower(), r["number"]) for r in server.rows(
                f"SELECT CAST(_event_id AS VARCHAR) AS id, CAST(_file_hash AS VARCHAR) AS hash, _row AS number FROM {bronze} WHERE _event_id IN (SELECT _event_id FROM {name})")})  # fmt: skip
    return {files.get(row["id"], row["id"]): row["reason"] for row in rows}


def compare_quarantine(server, result, report):
    for name, account in result.accounts.items():
        found = quarantined_places(server, name)
        wanted = account.quarantined
        for place in list(wanted.keys() - found.keys())[:SHOWN]:
            report.say(f"quarantine of {name}", f"{place} is missing ({'; '.join(wanted[place])})")
        for place in list(found.keys() - wanted.keys())[:SHOWN]:
            report.say(f"quarantine of {name}", f"{place} should not be there ({found[place]})")
        if wanted.keys() == found.keys():
            report.compared[f"quarantine of {name}"] = len(wanted)


def compare_freshness(server, result, report):
    if not server.columns("cupel.freshness"):
        return report.say("cupel.freshness", "there is no such table")
    found = {row["table"]: value_of("time", row["as_of_event"]) for row in server.rows('SELECT "table", as_of_event FROM cupel.freshness')}
    before = len(report.problems)
    for name, (as_of_event, _) in result.freshness.items():
        if as_of_event is None:
            continue
        if name not in found:
            report.say("cupel.freshness", f"no row for {name}")
        elif found[name] != as_of_event:
            report.say("cupel.freshness", f"{name}: as_of_event is {found[name]} and should be {as_of_event}")
    if len(report.problems) == before:
        report.compared["cupel.freshness"] = len(result.freshness)
    return None


def moment(raw):
    """`since` of an alert: RFC 3339 or epoch seconds."""
    try:
        return EPOCH + timedelta(microseconds=round(Decimal(str(raw)) * 1000000))
    except InvalidOperation:
        return value_of("time", raw)


def compare_alerts(server, result, report):
    """Stream alerts, for delivery in order: each about a state that the pair was in, none twice, and the last of a pair says what it is in now."""
    if not server.columns("bronze.alerts"):
        return report.say("alerts", "there is no such stream")
    alarms, last, before = {"out_of_stock", "low_stock"}, {}, len(report.problems)
    seen = Counter()
    for row in server.rows("SELECT payload FROM bronze.alerts ORDER BY _received_at, _event_id"):
        alert = json.loads(row["payload"])
        pair, status, since = (int(alert["product_id"]), int(alert["warehouse_id"])), alert["status"], moment(alert["since"])
        seen[pair, status, since] += 1
        last[pair] = (status, since)
        states = result.newest_states.get(pair, [])
        if status in alarms and (status, since) not in states:
            report.say("alerts", f"{pair} was never {status} since {since}")
        if status == "recovered" and not any(s not in alarms and at == since for s, at in states):
            report.say("alerts", f"{pair} did not recover at {since}")
    for key in [key for key, n in seen.items() if n > 1][:SHOWN]:
        report.say("alerts", f"{key} came {seen[key]} times")
    for pair, states in result.newest_states.items():
        now, told = states[-1], last.get(pair)
        if now[0] in alarms and told != now:
            report.say("alerts", f"{pair} is {now}, and the last alert said {told}")
        if now[0] not in alarms and told and told[0] in alarms:
            report.say("alerts", f"{pair} is {now}, and the last alert said {told}")
    if len(report.problems) == before:
        report.compared["alerts"] = sum(seen.values())
    return None


def compare(server, result, alerts=False, freshness=True):
    report = Report()
    for table in SILVER_TABLES + KPI_TABLES:
        compare_table(server, table, result.tables[table.name], report, all_columns=table in KPI_TABLES)
    compare_quarantine(server, result, report)
    if freshness:
        compare_freshness(server, result, report)
    if alerts:
        compare_alerts(server, result, report)
    return report


def check(project, raw, timezone="UTC", encodings=None, server=None, **more):
    """Fetches the inputs, recomputes, compares. (Report, Result)."""
    server = server or Server.of(project)
    result = recompute(load(export(server, project, raw, timezone, encodings)))
    return compare(server, result, **more), result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--raw", type=Path, help="where the inputs are kept; otherwise in a folder that goes again")
    parser.add_argument("--timezone", default="UTC")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report, _ = check(arguments.dir, arguments.raw or folder, arguments.timezone)
    print(report)
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
