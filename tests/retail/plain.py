"""The models of a project as full recompute in plain DuckDB: what Cupel's incremental runs must come to.

It knows nothing of Cupel but the format of model files (docs/models.md): it parses headers and expectations, runs the SQL in order of dependence, and applies
expectations, `key`, `order`, `together` and `within` of stream models; merge models read all of `rows:` as this.pieces.

    plain.py --bronze pos="SELECT * FROM 'pos/*.parquet'" [--bronze …] [--timezone Europe/Istanbul] [--out shop.duckdb] [--times]
"""

import argparse
import hashlib
import json
import re
import time
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
from strictyaml.ruamel import YAML

ROOT = Path(__file__).resolve().parent.parent.parent
RETAIL = ROOT / "retail"
MACROS = ROOT / "src/lake/macros.sql"
STREAM_COLUMNS = (
    "_event_id UUID, _stream VARCHAR, _partition INTEGER, _offset BIGINT, _received_at TIMESTAMPTZ, _source VARCHAR, _key VARCHAR,"
    " _content_type VARCHAR, payload VARCHAR, _valid_json BOOLEAN"
)
LANDING_COLUMNS = "_event_id UUID, _file VARCHAR, _file_hash VARCHAR, _row BIGINT, _received_at TIMESTAMPTZ"
# Columns of the retail pack's landing tables, as retail/cupel.yaml declares them.
LANDING = {
    "pos": ["transaction_id", "line_no", "store_id", "product_id", "quantity", "revenue", "discount_applied", "timestamp"],
    "inventory_files": ["inventory_id", "product_id", "warehouse_id", "stock_level", "restock_threshold", "last_updated"],
    "access_log": ["line"],
}
STREAMS = ["web_traffic", "crm_interactions", "inventory"]


def load_yaml(text):
    return YAML(typ="safe", pure=True).load(text)


def micros(at):
    """Epoch seconds (int, str, Decimal) or a datetime as microseconds."""
    if isinstance(at, datetime):
        at = Decimal(at.astimezone(timezone.utc).timestamp()).quantize(Decimal("0.000001"))
    return int(Decimal(str(at)) * 1000000)


class Model:
    def __init__(self, path):
        text = path.read_text()
        match = re.match(r"\s*/\*\s*cupel\s*\n(.*?)\*/", text, re.S)
        assert match, f"{path}: no header"
        self.header = load_yaml(match.group(1))
        self.schema, self.name = path.parent.name, path.stem
        self.full = f"{self.schema}.{self.name}"
        self.kind = self.header["kind"]
        self.sql = text[match.end() :].strip().rstrip(";")
        self.rows = self.header.get("rows")
        self.order = self.header.get("order") or ["_received_at", "_event_id"]
        self.state = self.header.get("state") or []

    def needs(self, known):
        """Tables of `known` that it reads."""
        text = self.sql + " " + (self.rows or "")
        return sorted({name for name in re.findall(r"\b([a-z_]+\.[a-z_0-9]+)\b", text) if name in known and name != self.full})


class Pack:
    """models/, expectations/ and reference/ of some folders; a later folder's files replace an earlier one's."""

    def __init__(self, *folders):
        self.models, self.expectations, self.reference = {}, {}, {}
        for folder in map(Path, folders or (RETAIL,)):
            for path in sorted((folder / "models").glob("*/*.sql")):
                model = Model(path)
                self.models[model.full] = model
            for path in sorted((folder / "expectations").glob("*.yaml")):
                suite = load_yaml(path.read_text())
                assert suite["table"] == path.stem, path
                self.expectations[suite["table"]] = suite
            for path in sorted((folder / "reference").glob("*.csv")):
                self.reference[path.stem] = path

    def in_order(self):
        """Models, each after all that it reads."""
        done, out = set(), []

        def visit(name, above=()):
            assert name not in above, f"cycle: {above} {name}"
            if name not in done:
                for need in self.models[name].needs(self.models):
                    visit(need, above + (name,))
                done.add(name)
                out.append(self.models[name])

        for name in sorted(self.models):
            visit(name)
        return out


def failing_rows(expectation, table):
    """(text of the expectation, warning only, SQL of failing _event_ids)."""
    ((name, args),) = expectation.items()
    args = dict(args)
    warning = args.pop("on_fail", "quarantine") == "warn"
    column = args.get("column")
    if name == "unexpected_rows_expectation":
        query = re.sub(r"\{(table|batch)\}", table, args["unexpected_rows_query"])
        return args.get("description", query), warning, f"SELECT _event_id FROM ({query})"
    conditions = {
        "expect_column_values_to_not_be_null": lambda: f"{column} IS NULL",
        "expect_column_values_to_be_null": lambda: f"{column} IS NOT NULL",
        "expect_column_values_to_be_between": lambda: f"{column} < {args['min_value']} OR {column} > {args['max_value']}",
        "expect_column_values_to_be_in_set": lambda: f"NOT list_contains({sql_list(args['value_set'])}, {column})",
        "expect_column_values_to_not_be_in_set": lambda: f"list_contains({sql_list(args['value_set'])}, {column})",
    }
    if name == "expect_column_values_to_exist_in_table":
        other, key = args["table"], args.get("table_column", column)
        query = f"SELECT _event_id FROM {table} t WHERE {column} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {other} o WHERE o.{key} = t.{column})"
        return f"{name}({column})", warning, query
    return f"{name}({column})", warning, f"SELECT _event_id FROM {table} WHERE {conditions[name]()}"


def sql_list(values):
    return "[" + ", ".join("'" + v.replace("'", "''") + "'" if isinstance(v, str) else str(v) for v in values) + "]"


class Plain:
    def __init__(self, pack=None, time_zone="UTC", database=":memory:"):
        self.pack = pack or Pack()
        self.db = duckdb.connect(database)
        self.db.execute(f"SET TimeZone = '{time_zone}'")
        self.db.execute(MACROS.read_text())
        schemas = {"bronze", "ref", "quarantine", "this", "stage"} | {m.schema for m in self.pack.models.values()}
        for schema in schemas:
            self.db.execute(f"CREATE SCHEMA {schema}")
        self.counts, self.warnings, self.times = {}, {}, {}

    def reference(self, **rows):
        """Tables ref.<name>: from the pack's files, or from `rows` (lists of dicts, None: no value)."""
        for name, path in self.pack.reference.items():
            if name not in rows:
                self.db.execute(f"CREATE OR REPLACE TABLE ref.{name} AS SELECT * FROM read_csv('{path}', header = true)")
        for name, content in rows.items():
            columns = list(content[0])
            self.db.execute(f"CREATE OR REPLACE TABLE ref.{name} ({', '.join(f'{c} {self.type_of(content, c)}' for c in columns)})")
            self.db.executemany(f"INSERT INTO ref.{name} VALUES ({', '.join('?' * len(columns))})", [[row[c] for c in columns] for row in content])

    @staticmethod
    def type_of(rows, column):
        return "BIGINT" if all(row[column] is None or isinstance(row[column], int) for row in rows) else "VARCHAR"

    def bronze_sql(self, name, sql):
        self.db.execute(f"CREATE OR REPLACE VIEW bronze.{name} AS {sql}")

    def feed(self, feed):
        """Bronze tables of what a Feed has received."""
        for name in STREAMS:
            self.db.execute(f"CREATE OR REPLACE TABLE bronze.{name} ({STREAM_COLUMNS})")
            rows = [[e["id"], name, 0, e["offset"], e["us"], e["payload"]] for e in feed.events if e["stream"] == name]
            self.fill(f"INSERT INTO bronze.{name} SELECT ?, ?, ?, ?, make_timestamptz(?), NULL, NULL, 'application/json', ?, true", rows)
        for name, columns in feed.landing.items():
            quoted = "".join(f', "{c}" VARCHAR' for c in columns)
            self.db.execute(f"CREATE OR REPLACE TABLE bronze.{name} ({LANDING_COLUMNS}{quoted})")
            rows = [[r["id"], f["name"], f["hash"], r["row"], f["us"], *[r["values"].get(c) for c in columns]] for f in feed.files if f["table"] == name for r in f["rows"]]
            self.fill(f"INSERT INTO bronze.{name} SELECT ?, ?, ?, ?, make_timestamptz(?){', ?' * len(columns)}", rows)

    def fill(self, sql, rows):
        if rows:
            self.db.executemany(sql, rows)

    def run(self):
        for model in self.pack.in_order():
            begin = time.monotonic()
            try:
                getattr(self, "run_" + model.kind)(model)
            except duckdb.Error as error:
                raise AssertionError(f"{model.full}: {error}") from error
            self.times[model.full] = time.monotonic() - begin
        return self

    def run_view(self, model):
        self.db.execute(f"CREATE OR REPLACE VIEW {model.full} AS {model.sql}")

    def run_full(self, model):
        self.db.execute(f"CREATE OR REPLACE TABLE {model.full} AS {model.sql}")

    def run_incremental(self, model):
        if model.header.get("merge"):
            self.db.execute(f"CREATE OR REPLACE VIEW this.pieces AS {model.rows}")
        self.run_full(model)
        self.db.execute("DROP VIEW IF EXISTS this.pieces")

    def run_stream(self, model):
        table = f"stage.{model.schema}__{model.name}"
        self.db.execute(f"CREATE OR REPLACE TABLE {table} AS {model.sql}")
        self.expect(model, table)
        bad = f"quarantine.{model.schema}__{model.name}"
        rows = f"SELECT * FROM {table} WHERE _event_id NOT IN (SELECT _event_id FROM {bad})"
        self.db.execute(f"CREATE OR REPLACE TABLE {model.full} AS {self.newest(model, rows)}")
        read, quarantined, kept = (self.db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in (table, bad, model.full))
        self.counts[model.full] = {"rows": read, "quarantined": quarantined, "kept": kept, "superseded": read - quarantined - kept}
        self.db.execute(f"DROP TABLE {table}")

    def expect(self, model, table):
        bad = f"quarantine.{model.schema}__{model.name}"
        self.db.execute(f"CREATE OR REPLACE TABLE {bad} (_event_id UUID, _reason VARCHAR)")
        suite = self.pack.expectations.get(model.full, {"expectations": []})
        self.warnings[model.full] = {}
        for expectation in suite["expectations"]:
            text, warning, query = failing_rows(expectation, table)
            if warning:  # of rows that are kept
                self.warnings[model.full][text] = self.db.execute(f"SELECT count(*) FROM ({query}) WHERE _event_id NOT IN (SELECT _event_id FROM {bad})").fetchone()[0]
            else:
                self.db.execute(f"INSERT INTO {bad} SELECT _event_id, $1 FROM ({query}) WHERE _event_id NOT IN (SELECT _event_id FROM {bad})", [text])

    def newest(self, model, rows):
        key, order = ", ".join(model.header["key"]), ", ".join(f"{c} DESC" for c in model.order)
        together, within = model.header.get("together"), model.header.get("within")
        if not together:
            return f"SELECT * FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1"
        sql = f"SELECT * FROM ({rows}) QUALIFY {together} = first_value({together}) OVER (PARTITION BY {key} ORDER BY {order})"
        if within:
            lines, missing = ", ".join(within), " OR ".join(f"{c} IS NULL" for c in within)
            sql = f"SELECT * FROM ({sql}) QUALIFY {missing} OR row_number() OVER (PARTITION BY {key}, {lines} ORDER BY {order}) = 1"
        return sql

    def rows(self, table, columns="*", order="ALL"):
        """Rows as lists of text (None: null); times as epoch microseconds; in order."""
        described = self.db.execute(f"DESCRIBE SELECT {columns} FROM {table}").fetchall()
        hidden = set(self.pack.models[table].state) if table in self.pack.models and columns == "*" else set()
        parts = [f'epoch_us("{c}")' if t.startswith("TIMESTAMP") else f'"{c}"' for c, t, *_ in described if c not in hidden]
        return [[None if v is None else str(v) for v in row] for row in self.db.execute(f"SELECT {', '.join(parts)} FROM (SELECT {columns} FROM {table}) ORDER BY {order}").fetchall()]


class Feed:
    """What arrived, in order: events of streams and files, numbered like Cupel numbers them. Byte-identical bodies and files count once."""

    def __init__(self, landing=None):
        self.events, self.files = [], []
        self.landing = dict(landing or LANDING)
        self.seen, self.hashes, self.sequence, self.now_us = set(), set(), 0, 0

    def next_id(self, us):
        self.sequence += 1
        return str(uuid.UUID(int=(us // 1000) << 80 | 7 << 76 | 2 << 62 | self.sequence))

    def receive(self, at):
        self.now_us = max(self.now_us, micros(at))  # the receipt never goes back
        return self.now_us

    def push(self, stream, payload, at):
        body = payload if isinstance(payload, str) else json.dumps(payload)
        us = self.receive(at)
        if (stream, body) in self.seen:
            return False
        self.seen.add((stream, body))
        self.events.append({"stream": stream, "payload": body, "us": us, "id": self.next_id(us), "offset": len(self.events)})
        return True

    def file(self, table, rows, at, name=None):
        """rows: dicts of text (None: no value). A file with the same content was taken already."""
        us = self.receive(at)
        digest = hashlib.sha256(json.dumps([table, rows], default=str).encode()).hexdigest()
        if digest in self.hashes:
            return False
        self.hashes.add(digest)
        values = [{k: None if v is None else str(v) for k, v in row.items()} for row in rows]
        self.files.append({
            "table": table, "name": name or f"{table}-{len(self.files)}.csv", "hash": digest, "us": us,
            "rows": [{"row": i, "values": v, "id": self.next_id(us)} for i, v in enumerate(values, 1)],
        })  # fmt: skip
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="append", help="folder with models/, expectations/, reference/ (may be repeated; default: retail/)")
    parser.add_argument("--bronze", action="append", default=[], metavar="NAME=SELECT")
    parser.add_argument("--timezone", default="UTC")
    parser.add_argument("--out", default=":memory:", help="DuckDB file to write")
    parser.add_argument("--times", action="store_true")
    args = parser.parse_args()
    plain = Plain(Pack(*(args.pack or [])), args.timezone, args.out)
    plain.reference()
    plain.feed(Feed())
    for item in args.bronze:
        name, _, sql = item.partition("=")
        plain.db.execute(f"DROP TABLE IF EXISTS bronze.{name}")
        plain.bronze_sql(name, sql)
    plain.run()
    for model in plain.pack.in_order():
        print(model.full, plain.counts.get(model.full, ""), f"{plain.times[model.full]:.3f} s" if args.times else "")


if __name__ == "__main__":
    main()
