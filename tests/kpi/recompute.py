#!/usr/bin/env python3
"""Recomputes silver tables and the twelve KPIs from the raw inputs, from the definitions in kpis.md alone: no DuckDB, no model SQL.

usage: recompute.py DIR [-o OUT]     DIR: as export.py writes it; OUT: one NDJSON file per table, accounts.json. Without -o a summary is printed.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inputs import load  # noqa: E402
from kpis import Kpis, as_time  # noqa: E402
from silver import all_silver  # noqa: E402
from tables import INPUTS, KPI_TABLES, SILVER_TABLES  # noqa: E402


@dataclass
class Result:
    tables: dict  # name -> rows (tuples in the order of the table's columns), sorted
    accounts: dict  # silver table -> Account
    freshness: dict  # name -> (as_of_event, as_of_received)
    newest_states: dict  # pair -> [(status, since)]: what stockout alerts can be about

    @property
    def quarantined(self):
        """{(silver table, place): reasons}"""
        return {(name, place): reasons for name, account in self.accounts.items() for place, reasons in account.quarantined.items()}


def silver_rows(table, silver):
    """Rows of one silver table by the names of its columns."""
    rows = {"silver.pos_sales": silver.sales, "silver.inventory_levels": silver.levels, "silver.web_events": silver.web, "silver.crm_interactions": silver.crm}[table.name]
    getters = {"observed_at": lambda row: as_time(row.observed_us), "_event_id": lambda row: row.event_id}
    columns = [getters.get(name) or (lambda row, name=name: getattr(row, name)) for name in table.columns]
    return [tuple(get(row) for get in columns) for row in rows]


def sortable(row):
    return [(value is not None, value if value is not None else 0) for value in row]


def newest(values):
    return max((v for v in values if v is not None), default=None)


def recompute(inputs):
    silver = all_silver(inputs)
    kpis = Kpis(inputs, silver)
    tables = {table.name: silver_rows(table, silver) for table in SILVER_TABLES}
    tables.update({table.name: list(getattr(kpis, table.method)()) for table in KPI_TABLES})
    for rows in tables.values():
        rows.sort(key=sortable)
    freshness = {
        name: tuple(as_time(newest(getattr(silver.accounts[source], column) for source in sources)) for column in ("as_of_event_us", "as_of_received_us")) for name, sources in INPUTS.items()
    }
    return Result(tables, silver.accounts, freshness, kpis.newest_states())


def plain(value):
    return value if value is None or isinstance(value, (bool, int)) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def accounts_json(result):
    return {
        name: {"rows_in": a.rows_in, "kept": a.kept, "superseded": a.superseded, "quarantined": len(a.quarantined), "unread": len(a.unread), "warnings": dict(a.warnings)}
        for name, a in result.accounts.items()
    }


def write(result, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for table in SILVER_TABLES + KPI_TABLES:
        with open(folder / f"{table.name}.ndjson", "w", encoding="utf-8") as out:
            for row in result.tables[table.name]:
                out.write(json.dumps(dict(zip(table.columns, map(plain, row))), ensure_ascii=False) + "\n")
    with open(folder / "quarantine.ndjson", "w", encoding="utf-8") as out:
        for (table, place), reasons in result.quarantined.items():
            out.write(json.dumps({"table": table, "place": place, "reasons": reasons}) + "\n")
    freshness = {name: list(map(plain, times)) for name, times in result.freshness.items()}
    (folder / "accounts.json").write_text(json.dumps({"accounts": accounts_json(result), "freshness": freshness}, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    result = recompute(load(arguments.dir))
    if arguments.out:
        write(result, arguments.out)
    else:
        for name, rows in result.tables.items():
            print(f"{name:<36}{len(rows):>10}")
        print(json.dumps(accounts_json(result), indent=1))


if __name__ == "__main__":
    main()
