"""The cases of the bench, one generator each: (sizes, folder) -> rows of the table. Both sides of a ratio are measured in the same run."""

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flow_cases
import requests
from measure import (BARE, EVENT_BYTES, LOAD, ROOT, STREAMS, Project, bare_server, cores, count_rows, cpu_s, data_files, flush, post, resident_mb, row, run_json, say,  # noqa: F401
                     start_post, stop_post, yaml)

HERE = Path(__file__).resolve().parent
MONTH = 1_731_233


class Sizes:
    def __init__(self, quick):
        self.quick = quick
        self.wrk_s = 4 if quick else 12
        self.wrk_rounds = 1 if quick else 3
        self.batch_events = 200_000 if quick else 1_000_000
        self.month_events = 200_000 if quick else MONTH
        self.restart_events = 500_000 if quick else 5_000_000
        self.find_events = 1_000_000 if quick else 10_000_000
        self.find_ids = 200 if quick else 500
        self.query_rounds = 3 if quick else 7
        self.client_queries = 10 if quick else 30
        self.idle_s = 5 if quick else 20
        self.day_events = 1_000_000 if quick else 20_000_000
        self.lag_s = 15 if quick else 40
        self.files = 3 if quick else 8
        self.file_lines = 20_000 if quick else 800_000
        self.history_days = 20 if quick else 100
        self.history_events = 4000
        self.history_lines = 3000


# ---- single events -----------------------------------------------------------------------------------------------------------------------------------


def wrk(port, connections, seconds, token):
    """Requests per second and latency of single-event POSTs."""
    run = uuid.uuid4().hex[:8]
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", HERE / "load.lua", f"http://127.0.0.1:{port}", "--", token, run]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, timeout=seconds * 4 + 60)
    result = json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.M).group(1))
    if result["errors"] or result["not_2xx"]:
        raise RuntimeError(f"wrk: {result}")
    result["per_s"] = result["requests"] / result["seconds"]
    return result


def single(sizes, folder):
    with bare_server(cores()) as bare, Project(folder / "single", yaml()) as project:
        port = project.url.rpartition(":")[2]
        acknowledged = 0
        wrk(bare, 64, 1, "warm")
        wrk(port, 64, 1, project.token)
        for connections in (64, 256):
            ours, theirs = [], []
            for _ in range(sizes.wrk_rounds):  # in turn, so that both meet the same moods of the machine
                theirs.append(wrk(bare, connections, sizes.wrk_s, "bare"))
                ours.append(wrk(port, connections, sizes.wrk_s, project.token))
            a, b = (sorted(r, key=lambda x: x["per_s"])[len(r) // 2] for r in (ours, theirs))
            ratio = a["per_s"] / b["per_s"]
            text = "{per_s:,.0f}/s, p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms"
            yield row(f"single-event POST, {connections} connections", text.format(**a), "libmicrohttpd " + text.format(**b), ratio, ">= 0.5", ratio >= 0.5)
            acknowledged += sum(r["requests"] for r in ours)
        stored = count_rows(project)
        if stored < acknowledged:
            raise RuntimeError(f"{acknowledged} events were acknowledged, {stored} are there")


# ---- batches -----------------------------------------------------------------------------------------------------------------------------------------


def dd_bytes_per_s(folder, source, block_bytes, blocks):
    """dd with O_DSYNC and blocks of the body's size, on the same disk."""
    target = folder / "dd.out"
    start = time.perf_counter()
    subprocess.run(["dd", f"if={source}", f"of={target}", f"bs={block_bytes}", f"count={blocks}", "oflag=dsync", "status=none"], check=True)
    took = time.perf_counter() - start
    size = target.stat().st_size
    target.unlink()
    return size / took


def batches(sizes, folder):
    source = folder / "batches.ndjson"
    with open(source, "wb") as out:
        subprocess.run([LOAD, "write", "0", str(sizes.batch_events)], stdout=out, check=True)
    block = 1000 * (EVENT_BYTES + 1)
    with Project(folder / "batches", yaml(flush_bytes="4GB", flush_seconds=3600)) as project:
        first = 10_000_000_000
        for connections in (1, 8):
            ours, theirs = [], []
            for _ in range(1 if sizes.quick else 3):
                theirs.append(dd_bytes_per_s(folder, source, block, sizes.batch_events // 1000))
                result = post(project, first, sizes.batch_events, 1000, connections)
                ours.append(result["bytes"] / result["seconds"])
                first += sizes.batch_events
            a, b = statistics.median(ours), statistics.median(theirs)
            note = f"p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms, {a / (EVENT_BYTES + 1):,.0f} events/s"
            judged = connections > 1
            yield row(f"NDJSON, 1,000 events a request, {connections} connection{'s' if connections > 1 else ''}", f"{a / 1e6:.0f} MB/s, {note}", f"dd oflag=dsync {b / 1e6:.0f} MB/s",
                            a / b, ">= 0.35" if judged else "", a / b >= 0.35 if judged else None)  # fmt: skip
    source.unlink()


# ---- the month: put, land, count; and SELECT on what came of it ----------------------------------------------------------------------------------------


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def month(sizes, folder):
    n = sizes.month_events
    with Project(folder / "month", yaml(flush_bytes="4GB", flush_seconds=3600)) as project:
        pid = project.process.pid
        begin = cpu_s(pid)
        put = post(project, 0, n, 1000, 4)
        after_put = cpu_s(pid)
        project.value("SELECT 1")  # the engine starts; not the flush's cost
        before_flush, start = cpu_s(pid), time.perf_counter()
        flush(project)
        flushed, flush_s = cpu_s(pid) - before_flush, time.perf_counter() - start
        counted = count_rows(project)
        total = cpu_s(pid) - begin
        if counted != n:
            raise RuntimeError(f"{n} events put, {counted} counted")
        yield row(f"the month: {n:,} events put over HTTP in batches, landed, counted", f"{total:.1f} s CPU (put {after_put - begin:.1f}, land {flushed:.1f}; client {put['client_cpu_s']:.1f})",
                        "", total, f"< {15 * n / MONTH:.1f} s", total < 15 * n / MONTH, f"{put['seconds'] + flush_s:.1f} s of wall time")  # fmt: skip
        yield from copy_rows(project, folder, n, flushed)
        yield from select_rows(sizes, project, folder)


def copy_rows(project, folder, n, flushed_cpu_s):
    """log -> bronze against COPY of the same columns: from the raw text (both sides read raw events from the disk), and, harder, from a table in memory."""
    files = [f for name in STREAMS for f in data_files(project, name)]
    source = folder / "month.ndjson"
    with open(source, "wb") as out:
        subprocess.run([LOAD, "write", "0", str(n)], stdout=out, check=True)
    plain = run_json([sys.executable, HERE / "plain_duckdb.py", "copy", *files, "-o", folder / "copy.parquet", "--ndjson", source])
    source.unlink()
    if plain["rows"] != n:
        raise RuntimeError(f"{plain['rows']} rows in the files of bronze, not {n}")
    ours_mb = sum(Path(f).stat().st_size for f in files) / 1e6
    text, table = plain["text"]["cpu_s"], plain["table"]["cpu_s"]
    sizes_note = f"{ours_mb:.0f} MB, DuckDB {plain['bytes'] / 1e6:.0f} MB"
    return [
        row(f"log to bronze, {n:,} events", f"{flushed_cpu_s:.2f} s CPU", f"DuckDB COPY from raw text {text:.2f} s CPU", flushed_cpu_s / text, "<= 1.2", flushed_cpu_s / text <= 1.2, sizes_note),
        row("the same", f"{flushed_cpu_s:.2f} s CPU", f"DuckDB COPY from its own memory {table:.2f} s CPU", flushed_cpu_s / table, "", None, "nothing to read or decode on the other side"),
    ]


AGGREGATES = [
    "SELECT count(*), min(_received_at), max(_received_at) FROM {table}",
    "SELECT _partition, count(*), count(DISTINCT _key) FROM {table} GROUP BY 1 ORDER BY 1",
    "SELECT json_extract_string(payload, '$.device_type') AS device, count(*) FROM {table} GROUP BY 1 ORDER BY 1",
]
POINT = "SELECT payload FROM {table} WHERE _event_id = '{id}'"


def sql_over_http(project, session, query):
    """One query as any HTTP client sends it."""
    answer = session.post(project_url[project], json={"query": query, "format": "json"}, headers=project_headers[project], timeout=600)
    if answer.status_code != 200:
        raise RuntimeError(f"{answer.status_code} {answer.text[:300]}")


project_url, project_headers = {}, {}


def client_plan(sizes, ids):
    """32 clients, each four points to one aggregate, from a seed."""
    rng = random.Random(7)
    return [[AGGREGATES[rng.randrange(2)] if i % 5 == 4 else POINT.replace("{id}", rng.choice(ids)) for i in range(sizes.client_queries)] for _ in range(32)]


def plain_queries(folder, clients):
    spec = folder / "queries.json"
    spec.write_text(json.dumps({"clients": clients}))
    result = run_json([sys.executable, HERE / "plain_duckdb.py", "queries", spec])
    if result["failures"]:
        raise RuntimeError(result["failures"][0])
    return result


def ours_queries(project, clients):
    times, lock = [], threading.Lock()

    def client(plan):
        session = requests.Session()
        session.trust_env = False
        mine = []
        for query in plan:
            start = time.perf_counter()
            sql_over_http(project, session, query)
            mine.append((time.perf_counter() - start) * 1e3)
        with lock:
            times.extend(mine)

    start = time.perf_counter()
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(client, clients))
    return {"seconds": time.perf_counter() - start, "times_ms": times}


def select_rows(sizes, project, folder):
    project_url[project], project_headers[project] = project.url + "/v1/sql", {"Authorization": f"Bearer {project.token}"}
    table = f"bronze.{STREAMS[0]}"
    files = "read_parquet([" + ", ".join(f"'{f}'" for f in data_files(project, STREAMS[0])) + "])"
    ids = [r["_event_id"] for r in project.sql(f"SELECT _event_id FROM {table} USING SAMPLE 500 ROWS")]
    rounds = [[q] * sizes.query_rounds for q in AGGREGATES]
    ours, theirs = [], []
    for same in rounds:  # one client, one query at a time, the first run of each left out
        ours.append(statistics.median(ours_queries(project, [[q.format(table=table) for q in same]])["times_ms"][1:]))
        theirs.append(statistics.median(plain_queries(folder, [[q.format(table=files) for q in same]])["times_ms"][1:]))
    ratio = sum(ours) / sum(theirs)
    detail = ", ".join(f"{a:.0f}/{b:.0f}" for a, b in zip(ours, theirs))
    yield row("SELECT on bronze, 3 aggregates, one client", f"{sum(ours):.0f} ms", f"DuckDB on the same files {sum(theirs):.0f} ms", ratio, "<= 1.2", ratio <= 1.2, f"ms each: {detail}")
    plan = client_plan(sizes, ids)
    rate, first = 2000, 20_000_000_000
    load = start_post(project, first, 100_000_000, 100, 2, rate)
    try:
        time.sleep(1)
        before = cpu_s(project.process.pid)
        a = ours_queries(project, [[q.format(table=table) for q in c] for c in plan])
        a["cpu_s"] = cpu_s(project.process.pid) - before
        b = plain_queries(folder, [[q.format(table=files) for q in c] for c in plan])
    finally:
        stop_post(load)
    ratio = a["seconds"] / b["seconds"]
    text = "{:.1f} s, p50 {:.0f} ms, p99 {:.0f} ms, {:.1f} s CPU"
    yield row(f"32 clients with points and aggregates beside {rate:,} events/s", text.format(a["seconds"], percentile(a["times_ms"], 0.5), percentile(a["times_ms"], 0.99), a["cpu_s"]),
                    "DuckDB " + text.format(b["seconds"], percentile(b["times_ms"], 0.5), percentile(b["times_ms"], 0.99), b["cpu_s"]), ratio, "<= 1.2", ratio <= 1.2)  # fmt: skip


# ---- idle ----------------------------------------------------------------------------------------------------------------------------------------------


def idle(sizes, folder):
    with Project(folder / "idle", yaml()) as project:
        time.sleep(2)
        pid = project.process.pid
        before, start = cpu_s(pid), time.perf_counter()
        time.sleep(sizes.idle_s)
        share = (cpu_s(pid) - before) / (time.perf_counter() - start) * 100
        memory = resident_mb(pid)
        yield row("idle serve: memory before the first flush or query", f"{memory:.0f} MB in all", "", memory, "< 80 MB", memory < 80)
        yield row("idle serve: processor", f"{share:.2f} % of a core", "", share, "< 0.5 %", share < 0.5, f"over {sizes.idle_s} s")


# ---- restart after a kill, then looking events up ------------------------------------------------------------------------------------------------------


def restart(sizes, folder):
    """A kill with many unflushed events; how long until ready. The same project goes on as that in which events are looked up."""
    n = sizes.restart_events
    ids = folder / "ids_landed"
    with Project(folder / "restart", yaml(flush_bytes="4GB", flush_seconds=86400)) as project:
        post(project, 0, n, 1000, 4, ids=ids)
        project.kill9()
        start = time.perf_counter()
        project.start()
        took = time.perf_counter() - start
        stored = sum(project.value(f"SELECT count(*) FROM bronze.{name}") for name in STREAMS)
        if stored != n:
            raise RuntimeError(f"{n} events were acknowledged, {stored} are there after the kill")
        yield row(f"restart after a kill with {n:,} unflushed events", f"ready in {took:.2f} s", "", took, "< 3 s", took < 3)
        flush(project)
        project.stop()
        # The log gives what is landed away at once: early events are in bronze only, later ones in the log only.
        project.write_yaml(yaml(flush_bytes="4GB", flush_seconds=86400, retention="1s", dedupe="none", window="1s"))
        project.start()
        yield from find_rows(sizes, project, folder, ids, n)


def find_rows(sizes, project, folder, landed_ids, landed):
    logged_ids = folder / "ids_logged"
    post(project, 30_000_000_000, sizes.find_events - landed, 1000, 4, ids=logged_ids)
    rng = random.Random(3)
    for where, file in (("log", logged_ids), ("bronze", landed_ids)):
        ids = rng.sample(file.read_text().split(), sizes.find_ids)
        paths = folder / "paths"
        paths.write_text("".join(f"/v1/events/{i}\n" for i in ids))
        project.event(ids[0])
        result = run_json([LOAD, "get", project.url.rpartition(":")[2], paths], {"CUPEL_TOKEN": project.token})
        shown = project.event(ids[1]).json()
        say(f"one of them: {json.dumps(shown)[:300]}")
        yield row(f"event by id among {sizes.find_events:,}, in the {where}", f"p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms, max {result['max_ms']:.2f} ms", "",
                        result["p50_ms"], "< 20 ms", result["p99_ms"] < 20, "over HTTP, one connection")  # fmt: skip


CASES = {"idle": idle, "single": single, "batches": batches, "month": month, "restart": restart, **flow_cases.CASES}


def clean(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, exist_ok=True)
