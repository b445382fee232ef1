"""Flows on the retail pack: how far KPIs lag behind the acknowledgement, whether a refresh stays as cheap as history grows, and a rebuild of all models against plain DuckDB."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import requests
from measure import CUPEL, LOAD, ROOT, Project, cpu_s, flush, row, run_json, say

DAY = "2023-11-15"  # the day of bench_load's events under BENCH_DAY
PER_S = 5000


class Shop(Project):
    """A project of the retail template, serving on a port of its own."""

    def __init__(self, folder):
        subprocess.run([str(CUPEL), "init", str(folder), "--template", "retail"], check=True, capture_output=True)
        text = (folder / "cupel.yaml").read_text().replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0\nlog: {retention: 7d, max_bytes: 100GB}")
        super().__init__(folder, text)


def put_events(shop, first, count, connections=4, per_s=None):
    """bench_load's events into web_traffic; every one new."""
    port = shop.url.rpartition(":")[2]
    command = [LOAD, "post", port, first, count, 1000 if not per_s else 100, connections, "web_traffic", "", *([per_s] if per_s else [])]
    result = run_json(command, {"CUPEL_TOKEN": shop.token, "BENCH_DAY": "1"})
    if result["accepted"] != count or result["duplicates"]:
        raise RuntimeError(f"{count} events sent, {result}")


def received(shop, session, stream="web_traffic"):
    answer = session.get(f"{shop.url}/v1/streams/{stream}", headers={"Authorization": f"Bearer {shop.token}"}).json()
    return sum(p["end_offset"] for p in answer["state"])


def total_events(shop):
    rows = shop.sql(f"SELECT total_events FROM marketing.engagement WHERE day = DATE '{DAY}'")
    return int(rows[0]["total_events"]) if rows else 0


def wait_idle(shop, timeout_s=1800):
    """Until nothing is due and nothing runs."""
    end = time.monotonic() + timeout_s
    calm = 0
    while calm < 3:
        models = shop.get("/v1/models").json()["models"]
        failed = [m["name"] for m in models if m.get("state", {}).get("failures")]
        if failed:
            raise RuntimeError(f"models fail: {failed}")
        busy = [m["name"] for m in models if m.get("state", {}).get("due") or m.get("state", {}).get("running")]
        calm = 0 if busy else calm + 1
        if time.monotonic() > end:
            raise RuntimeError(f"still busy after {timeout_s} s: {busy}")
        time.sleep(0.3)


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


# ---- lag of stream KPIs ------------------------------------------------------------------------------------------------------------------------------


class Acknowledged:
    """When which number of events was durable: sampled in a thread of its own."""

    def __init__(self, shop):
        self.samples, self.stop = [], threading.Event()
        self.thread = threading.Thread(target=self.run, args=(shop,), daemon=True)
        self.thread.start()

    def run(self, shop):
        session = requests.Session()
        while not self.stop.is_set():
            self.samples.append((time.monotonic(), received(shop, session)))
            time.sleep(0.02)

    def lag(self, shown, now):
        """Age of the oldest acknowledged event that `shown` events do not include."""
        for at, count in self.samples:
            if count > shown:
                return max(0.0, now - at)
        return 0.0

    def end(self):
        self.stop.set()
        self.thread.join()


def lag_rows(shop, base, seconds):
    acknowledged = Acknowledged(shop)
    load = threading.Thread(target=put_events, args=(shop, base, PER_S * seconds, 4, PER_S))
    before = cpu_s(shop.process.pid)
    load.start()
    lags, begun = [], time.monotonic()
    while load.is_alive():
        now = time.monotonic()  # asked before the answer was made: the lag is never told too small by the query's own time
        shown = total_events(shop)
        answered = time.monotonic()
        if now - begun > 3:
            lags.append(acknowledged.lag(shown, answered))
        time.sleep(0.05)
    load.join()
    used = cpu_s(shop.process.pid) - before
    acknowledged.end()
    return lags, used / (time.monotonic() - begun)


def lag(sizes, folder):
    base = sizes.day_events
    with Shop(folder / "lag") as shop:
        begun = time.monotonic()
        put_events(shop, 0, base)
        wait_idle(shop)
        say(f"{base:,} events of one day are in all tables after {time.monotonic() - begun:.0f} s")
        if total_events(shop) != base:
            raise RuntimeError(f"{base} events sent, marketing.engagement has {total_events(shop)}")
        lags, load = lag_rows(shop, base, sizes.lag_s)
        wait_idle(shop)
        if total_events(shop) != base + PER_S * sizes.lag_s:
            raise RuntimeError("events are missing in marketing.engagement")
        p50, p99 = percentile(lags, 0.5), percentile(lags, 0.99)
        yield row(f"stream KPI behind the acknowledgement, {PER_S:,} events/s, {base:,} events in the day before", f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {max(lags):.2f} s", "", p99, "< 2 s", p99 < 2,
                  f"{load:.2f} cores")  # fmt: skip
        yield from file_lag_rows(sizes, shop)


# ---- lag of file KPIs --------------------------------------------------------------------------------------------------------------------------------


def pos_file(day, lines, rng):
    start = int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp())
    out = ["transaction_id,line_no,store_id,product_id,quantity,revenue,discount_applied,timestamp"]
    for i in range(lines):
        quantity = rng.randint(1, 4)
        out.append(f"T{day}-{i // 3},{i % 3 + 1},{rng.randint(1, 3)},{rng.randint(1, 2)},{quantity},{quantity * rng.randint(100, 9000) / 100:.2f},0,{start + i * 80000 // lines}")
    return "\n".join(out) + "\n"


def file_lag_rows(sizes, shop):
    rng, lags = random.Random(7), []
    for n in range(sizes.files):
        day = f"2023-12-{n + 1:02d}"
        text = pos_file(day, sizes.file_lines, rng)
        target = shop.dir / "landing/pos"
        hidden = target / f".{day}.csv"
        hidden.write_text(text)
        begun = time.monotonic()
        os.rename(hidden, target / f"{day}.csv")  # renamed in from an ignored name: complete at once
        while True:
            rows = shop.sql(f"SELECT sum(units) AS n FROM sales.total_sales WHERE day = DATE '{day}'")
            if rows and rows[0]["n"]:
                break
            if time.monotonic() - begun > 120:
                raise RuntimeError(f"{day}.csv is not in sales.total_sales after 120 s")
            time.sleep(0.05)
        lags.append(time.monotonic() - begun)
        wait_idle(shop)
    size = len(text) / 1e6
    yield row(f"file KPI behind the file's completion, files of {size:.1f} MB", f"median {percentile(lags, 0.5):.2f} s, max {max(lags):.2f} s", "", max(lags), "< 10 s", max(lags) < 10)


# ---- history -----------------------------------------------------------------------------------------------------------------------------------------


def shop_events(day, count, rng):
    start = datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()
    for i in range(count):
        session = f"{day}-{i // 8}"
        yield json.dumps({"session_id": session, "user_id": rng.randint(1, 5000), "page": f"/product/{rng.randint(1, 500)}", "event_type": rng.choice(("page_view", "click", "scroll")),
                          "device_type": rng.choice(("mobile", "desktop")), "timestamp": round(start + i * 80000 / count + rng.random(), 3)})  # fmt: skip


def add_day(shop, day, events, lines, rng):
    answer = shop.request("POST", "/v1/streams/web_traffic", data="\n".join(shop_events(day, events, rng)).encode(), headers={"Content-Type": "application/x-ndjson"}, timeout=120)
    if answer.status_code != 202:
        raise RuntimeError(f"{answer.status_code} {answer.text[:300]}")
    hidden = shop.dir / f"landing/pos/.{day}.csv"
    hidden.write_text(pos_file(day, lines, rng))
    hidden.rename(shop.dir / f"landing/pos/{day}.csv")


def one_day_cost(shop, day, sizes, rng):
    """Processor seconds of server and engine for one more day, all models included."""
    wait_idle(shop)
    before = cpu_s(shop.process.pid)
    add_day(shop, day, sizes.history_events, sizes.history_lines, rng)
    deadline = time.monotonic() + 120
    while not shop.sql(f"SELECT 1 AS x FROM sales.total_sales WHERE day = DATE '{day}' LIMIT 1"):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{day} does not arrive")
        time.sleep(0.1)
    wait_idle(shop)
    return cpu_s(shop.process.pid) - before


def history(sizes, folder):
    rng = random.Random(11)
    first = datetime(2023, 3, 1)
    day = lambda n: (first + timedelta(days=n)).strftime("%Y-%m-%d")  # noqa: E731
    with Shop(folder / "history") as shop:
        add_day(shop, day(0), sizes.history_events, sizes.history_lines, rng)
        early = sorted(one_day_cost(shop, day(n), sizes, rng) for n in range(1, 6))[2]
        for n in range(6, sizes.history_days):
            add_day(shop, day(n), sizes.history_events, sizes.history_lines, rng)
        wait_idle(shop)
        late = sorted(one_day_cost(shop, day(n), sizes, rng) for n in range(sizes.history_days, sizes.history_days + 5))[2]
        yield row(f"a new day after {sizes.history_days} days of history", f"{late:.2f} s CPU", f"the same after 1 to 5 days {early:.2f} s CPU", late / early, "<= 1.3", late / early <= 1.3)
        yield from rebuild_rows(shop, folder)


# ---- rebuild -----------------------------------------------------------------------------------------------------------------------------------------


def rebuild_rows(shop, folder):
    """All models from bronze, and the same SQL by plain DuckDB over the same Parquet files (tests/retail/plain.py)."""
    flush(shop)
    wait_idle(shop)
    before, begun = cpu_s(shop.process.pid), time.monotonic()
    shop.cli("flow", "run", "--full-refresh", timeout=1800)
    ours_s, ours_cpu = time.monotonic() - begun, cpu_s(shop.process.pid) - before
    wait_idle(shop)
    command = [sys.executable, ROOT / "tests/retail/plain.py", "--out", folder / "plain.duckdb", "--times"]
    for table in ("web_traffic", "crm_interactions", "inventory", "pos", "inventory_files", "access_log"):
        files = sorted(str(f) for f in (shop.data / "lake/bronze" / table).rglob("*.parquet"))
        if files:
            command += ["--bronze", f"{table}=SELECT * FROM read_parquet({files!r})"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        raise RuntimeError(f"plain.py: {done.stderr[-800:]}")
    theirs = sum(float(line.split()[-2]) for line in done.stdout.splitlines() if line.endswith(" s"))  # the models alone, without making the views of bronze
    yield row("rebuild of all models from bronze", f"{ours_s:.1f} s ({ours_cpu:.1f} s CPU)", f"the same SQL by plain DuckDB {theirs:.1f} s", ours_s / theirs, "<= 1.5", ours_s / theirs <= 1.5)
    shutil.rmtree(folder / "plain.duckdb", ignore_errors=True)


CASES = {"lag": lag, "history": history}
