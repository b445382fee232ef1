"""The other side of the SQL figures: DuckDB alone, in a process of its own. Prints one line of JSON.

usage: plain_duckdb.py copy FILES… -o OUT [--ndjson FILE…]   CPU of COPY of the same columns: from a table in memory, and from NDJSON text
       plain_duckdb.py queries SPEC.json                     times of queries, one after the other or from several clients at once"""

import argparse
import json
import os
import resource
import threading
import time
from pathlib import Path

import duckdb

OPTIONS = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)"


def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def timed(connection, sql):
    before, start = cpu_s(), time.perf_counter()
    connection.execute(sql)
    return {"cpu_s": cpu_s() - before, "seconds": time.perf_counter() - start}


def from_text(ndjson):
    """SELECT with bronze's columns over the lines of NDJSON files: what somebody would write who has only DuckDB and the raw events."""
    files = ", ".join(f"'{f}'" for f in ndjson)
    return f"""SELECT uuid() AS _event_id, 'bench' AS _stream, 0::INTEGER AS _partition, row_number() OVER () AS _offset, now() AS _received_at, 'http' AS _source,
      json_extract_string(line, '$.session_id') AS _key, NULL::MAP(VARCHAR, VARCHAR) AS _headers, 'application/json' AS _content_type, line AS payload, NULL::BLOB AS _body,
      json_valid(line) AS _valid_json
      FROM read_csv([{files}], columns = {{'line': 'VARCHAR'}}, delim = '\\x01', quote = '', escape = '', header = false, auto_detect = false, max_line_size = 1000000)"""


def copy(arguments):
    connection = duckdb.connect()
    connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
    result = {}
    files = ", ".join(f"'{f}'" for f in arguments.files)
    connection.execute(f"CREATE TABLE rows AS SELECT * FROM read_parquet([{files}])")
    result["rows"] = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    result["table"] = timed(connection, f"COPY rows TO '{arguments.out}' {OPTIONS}")
    result["bytes"] = Path(arguments.out).stat().st_size
    connection.execute("DROP TABLE rows")
    if arguments.ndjson:
        result["text"] = timed(connection, f"COPY ({from_text(arguments.ndjson)}) TO '{arguments.out}' {OPTIONS}")
    os.unlink(arguments.out)
    print(json.dumps(result))


def run_client(connection, queries, times, failures):
    cursor = connection.cursor()
    for sql in queries:
        start = time.perf_counter()
        try:
            cursor.execute(sql).fetch_arrow_table()
            times.append((time.perf_counter() - start) * 1e3)
        except duckdb.Error as error:
            failures.append(str(error))


def queries(arguments):
    """SPEC: {"clients": [[sql, …], …]}: one list per client, all started at once."""
    spec = json.loads(Path(arguments.spec).read_text())
    connection = duckdb.connect()
    connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
    connection.execute("SET TimeZone = 'UTC'")
    times, failures = [], []
    clients = [threading.Thread(target=run_client, args=(connection, client, times, failures)) for client in spec["clients"]]
    before, start = cpu_s(), time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu_s": cpu_s() - before, "times_ms": times, "failures": failures}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("copy")
    one.add_argument("files", nargs="+")
    one.add_argument("-o", dest="out", required=True)
    one.add_argument("--ndjson", nargs="*", default=[])
    two = commands.add_parser("queries")
    two.add_argument("spec")
    arguments = parser.parse_args()
    {"copy": copy, "queries": queries}[arguments.command](arguments)


if __name__ == "__main__":
    main()
