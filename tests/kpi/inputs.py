"""What arrived, in order of arrival, and the folder in which export.py keeps it.

DIR/streams/<stream>.ndjson  one object per event: _event_id, _received_at, _partition, _offset, payload (text or null)
DIR/files.json               [{"feed": "pos", "name", "hash", "path", "received_at", "event_id" of its first row}, …]
DIR/reference/<name>.csv     DIR/project.json  {"timezone", "encodings": {"pos": "utf-8"}}
"""

import csv
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from landing_files import parse_json, rows

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def micros(rfc3339):
    """"2026-11-20T10:22:33.123Z" as microseconds since 1970."""
    return (datetime.fromisoformat(rfc3339.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


@dataclass
class Event:
    event_id: str
    received_us: int
    body: dict  # numbers as text; empty when the payload is no JSON object

    @property
    def arrival(self):
        return (self.received_us, self.event_id, 0)


@dataclass
class File:
    name: str
    hash: str
    received_us: int
    event_id: str  # of its first row: ids of one receipt are in the order of arrival
    content: bytes
    encoding: str = None

    def rows(self):
        return rows(self.content, self.name, self.encoding)

    def arrival(self, number):
        return (self.received_us, self.event_id, number)


@dataclass
class Inputs:
    timezone: str = "UTC"
    files: dict = field(default_factory=dict)  # "pos" | "inventory" -> [File]
    streams: dict = field(default_factory=dict)  # "web_traffic" | "crm_interactions" | "inventory" -> iterable of Event
    stores: dict = field(default_factory=dict)  # store_id -> (region, warehouse_id)
    products: dict = field(default_factory=dict)  # product_id -> (category, unit_cost as text or None)
    page_categories: dict = field(default_factory=dict)

    def files_in_order(self, feed):
        """Each content once (the first time it was taken), in order of arrival."""
        taken = {}
        for file in sorted(self.files.get(feed, []), key=lambda f: f.arrival(0)):
            taken.setdefault(file.hash, file)
        return list(taken.values())

    def events(self, stream):
        return self.streams.get(stream, ())


def event(event_id, received_us, payload):
    try:
        body = parse_json(payload) if payload is not None else None
    except ValueError:
        body = None
    return Event(event_id, received_us, body if isinstance(body, dict) else {})


class StreamFile:
    """Events of an exported stream, read anew each time it is walked through."""

    def __init__(self, path):
        self.path = Path(path)

    def __iter__(self):
        if self.path.is_file():
            with open(self.path, encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    yield event(row["_event_id"], micros(row["_received_at"]), row["payload"])


def reference_rows(path):
    with open(path, encoding="utf-8-sig", newline="") as lines:
        return [{key.strip().lower(): (value or "").strip() or None for key, value in row.items()} for row in csv.DictReader(lines)]


def read_reference(inputs, folder):
    folder = Path(folder)
    inputs.stores = {int(r["store_id"]): (r["region"], int(r["warehouse_id"]) if r["warehouse_id"] else None) for r in reference_rows(folder / "stores.csv")}
    inputs.products = {int(r["product_id"]): (r["category"], r["unit_cost"]) for r in reference_rows(folder / "products.csv")}
    inputs.page_categories = {r["segment"]: r["category"] for r in reference_rows(folder / "page_categories.csv")}


def load(folder):
    folder = Path(folder)
    project = json.loads((folder / "project.json").read_text())
    inputs = Inputs(timezone=project["timezone"])
    for row in json.loads((folder / "files.json").read_text()):
        encoding = project.get("encodings", {}).get(row["feed"])
        file = File(row["name"], row["hash"], micros(row["received_at"]), row["event_id"], Path(row["path"]).read_bytes(), encoding)
        inputs.files.setdefault(row["feed"], []).append(file)
    inputs.streams = {name: StreamFile(folder / f"streams/{name}.ndjson") for name in ("web_traffic", "crm_interactions", "inventory")}
    read_reference(inputs, folder / "reference")
    return inputs
