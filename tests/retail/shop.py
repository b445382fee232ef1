"""A retail project on the real server, fed with the arrivals of cases.py and dirt.py one after the other."""

import csv
import io
import json
import random
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from lib import Project, wait_until  # noqa: E402

from plain import LANDING, Pack, micros  # noqa: E402

FOLDERS = {"pos": "landing/pos", "inventory_files": "landing/inventory", "access_log": "landing/access_log"}


def as_csv(rows, rng):
    """Another delimiter, header case and column order now and then."""
    columns = list(rows[0])
    rng.shuffle(columns)
    style = rng.choice([str, str.upper, str.title, str])
    out = io.StringIO()
    writer = csv.writer(out, delimiter=rng.choice(",;|"), lineterminator=rng.choice(["\n", "\r\n"]), quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer.writerow([style(c) for c in columns])
    for row in rows:
        writer.writerow(["" if row[c] is None else row[c] for c in columns])
    return "csv", ("\ufeff" if rng.random() < 0.2 else "") + out.getvalue()


def as_ndjson(rows, rng):
    return "ndjson", "".join(json.dumps(row, ensure_ascii=rng.random() < 0.5) + "\n" for row in rows)


def as_json(rows, rng):
    return "json", json.dumps(rows, indent=rng.choice([None, 1]))


def as_parquet(rows, rng):
    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({c: pyarrow.array([row[c] for row in rows], pyarrow.string()) for c in rows[0]}), out)
    return "parquet", out.getvalue()


def text_rows(rows):
    return [{k: None if v is None else str(v) for k, v in row.items()} for row in rows]


class Shop(Project):
    """`formats`: False writes plain CSV with every cell quoted, so that a case's cells stay what they are."""

    def __init__(self, folder, time_zone="UTC", reference=None, seed=0, formats=True, pack=None):
        super().__init__(folder, yaml=None)
        self.dir.rmdir()
        self.cli_init()
        config = (self.dir / "cupel.yaml").read_text().replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0").replace("\ntimezone: UTC ", f"\ntimezone: {time_zone} ")
        self.write_yaml(config)
        self.write_reference(reference or {})
        self.rng, self.formats, self.files, self.written = random.Random(seed), formats, 0, {}
        self.models = (pack or Pack()).models

    def write_reference(self, tables):
        for name, rows in tables.items():
            lines = [",".join(rows[0]), *[",".join("" if v is None else str(v) for v in row.values()) for row in rows]]
            (self.dir / f"reference/{name}.csv").write_text("\n".join(lines) + "\n")

    def cli_init(self):
        import subprocess

        from lib import CUPEL

        subprocess.run([str(CUPEL), "init", str(self.dir), "--template", "retail"], check=True, capture_output=True)

    def arrive(self, target, content):
        if target not in LANDING:
            answer = self.post(target, content if isinstance(content, str) else json.dumps(content))
            assert answer.status_code == 202, answer.text
            return
        self.files += 1
        rows = text_rows(content)
        known = json.dumps(rows)
        if target == "access_log":
            self.written[known] = "log", "".join(row["line"] + "\n" for row in rows)
        elif known not in self.written:  # what is sent again is so byte for byte
            self.written[known] = self.rng.choice([as_csv, as_csv, as_ndjson, as_json, as_parquet] if self.formats else [as_ndjson])(rows, self.rng)
        kind, data = self.written[known]
        name = f"{self.files:06}.{kind}"
        folder = self.dir / FOLDERS[target]
        self.land(FOLDERS[target], name, data)
        wait_until(lambda: not (folder / name).exists(), 30, f"{name} is taken")
        assert not list((folder / "rejected").glob(f"{name}*")), (folder / "rejected" / f"{name}.reason.txt").read_text()

    def run(self, *args, check=True):
        """All models up to date; what the command says as JSON."""
        done = self.cli("flow", "run", "--json", *args, check=check, timeout=300)
        return done

    def rows(self, table, columns="*", order=None):
        """Rows as lists of text (None: null), times as epoch microseconds, like Plain.rows."""
        answer = self.request("POST", "/v1/sql", json={"query": f"SELECT {columns} FROM {table}", "format": "ndjson"}, timeout=300)
        assert answer.status_code == 200, f"{table}: {answer.status_code} {answer.text}"
        rows = [json.loads(line, parse_float=Decimal) for line in answer.text.splitlines() if line]
        return sorted(([text(v) for v in row.values()] for row in rows), key=lambda row: [(v is None, v or "") for v in row])


def text(value):
    if value is None:
        return None
    if isinstance(value, str) and len(value) >= 20 and value[4] == "-" and value[10] == "T" and value.endswith("Z"):
        return str(micros(datetime.fromisoformat(value.replace("Z", "+00:00"))))
    return str(value)


def same_rows(rows):
    """For comparison of both sides: numbers without trailing zeros, sorted."""

    def one(value):
        if value is None:
            return ""
        try:
            return format(Decimal(value).normalize() + 0, "f")
        except ArithmeticError:
            return value

    return sorted("|".join(map(one, row)) for row in rows)
