#!/usr/bin/env python3
"""Fetches the raw inputs of a running Cupel, as they arrived, for recompute.py: events from bronze, files from the folders into which landing sources moved them.

usage: export.py --dir PROJECT -o DIR [--url URL --token TOKEN]
"""

import argparse
import hashlib
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

STREAMS = ("web_traffic", "crm_interactions", "inventory")
FEEDS = {"pos": "bronze.pos", "inventory": "bronze.inventory_files"}


class Server:
    """One running Cupel, asked over HTTP like anybody would."""

    def __init__(self, url, token):
        self.url, self.token = url, token
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def of(cls, project):
        data = Path(project) / "data"
        return cls("http://" + json.loads((data / "server.json").read_text())["address"], (data / "cli.token").read_text().strip())

    def open(self, path, body=None, timeout=300):
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        try:
            return self.opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            error.said = error.read().decode(errors="replace")
            error.msg = f"{error.said} for {body}"
            raise

    def lines(self, query):
        """The answer's NDJSON lines, as they come."""
        with self.open("/v1/sql", {"query": query, "format": "ndjson", "time_ms": 300000}) as answer:
            for line in answer:
                if line.strip():
                    yield line

    def rows(self, query):
        """Rows as dictionaries; numbers with all their digits, as text where they have a point."""
        return [json.loads(line, parse_float=str) for line in self.lines(query)]

    def columns(self, table):
        """Names of the table's columns; None when there is no such table."""
        try:
            return [row["column_name"] for row in self.rows(f"DESCRIBE {table}")]
        except urllib.error.HTTPError as error:
            if error.code in (400, 404):
                return None
            raise


def export_stream(server, stream, path):
    """Ordered by arrival: the event ids of a partition are; across partitions the times in them are."""
    with open(path, "wb") as out:
        for line in server.lines(f"SELECT _event_id, _received_at, _partition, _offset, payload FROM bronze.{stream} ORDER BY _received_at, _event_id"):
            out.write(line)


def taken_files(server, table):
    """Every file of which a row landed or went to the reader's quarantine."""
    sources = [t for t in (table, "quarantine." + table.replace(".", "__")) if "_file_hash" in (server.columns(t) or [])]
    if not sources:
        return []
    union = " UNION ALL ".join(
        f"SELECT _file, CAST(_file_hash AS VARCHAR) AS hash, CAST(_event_id AS VARCHAR) AS id, cupel_event_time(CAST(_event_id AS UUID)) AS received FROM {source}" for source in sources
    )
    return server.rows(f"SELECT min(_file) AS name, hash, min(received) AS received_at, min(id) AS event_id FROM ({union}) GROUP BY hash ORDER BY received_at, event_id")


def contents(project, feed):
    """{SHA-256: path} of the files that were taken."""
    found = {}
    for path in sorted((Path(project) / "landing" / feed).rglob("*")):
        if path.is_file():
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return found


def export(server, project, folder, timezone="UTC", encodings=None):
    folder = Path(folder)
    (folder / "streams").mkdir(parents=True, exist_ok=True)
    for stream in STREAMS:
        export_stream(server, stream, folder / f"streams/{stream}.ndjson")
    files = []
    for feed, table in FEEDS.items():
        paths = contents(project, feed)
        for row in taken_files(server, table):
            files.append({"feed": feed, "path": str(paths[row["hash"].lower()]), **row})
    (folder / "files.json").write_text(json.dumps(files, indent=1))
    (folder / "project.json").write_text(json.dumps({"timezone": timezone, "encodings": encodings or {}}))
    shutil.copytree(Path(project) / "reference", folder / "reference", dirs_exist_ok=True)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--url")
    parser.add_argument("--token")
    parser.add_argument("--timezone", default="UTC")
    arguments = parser.parse_args()
    server = Server(arguments.url, arguments.token) if arguments.url else Server.of(arguments.dir)
    export(server, arguments.dir, arguments.out, arguments.timezone)


if __name__ == "__main__":
    main()
