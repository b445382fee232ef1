#!/usr/bin/env python3
"""Kills a busy project at random points, many times, then checks that nothing acknowledged is lost, nothing is twice, nothing is half there.
usage: run.py [--cycles N] [--seed N] [--faulty-disk] [--keep DIR] [--result FILE.json]
The seed decides workload, kill points and disk faults; thread timing stays the machine's. Environment: CUPEL_BIN."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import check  # noqa: E402
import disk  # noqa: E402
import lib  # noqa: E402
import load  # noqa: E402

# Everything small, so that flushes, new segments, trims and snapshots happen all the time.
YAML = """
project: crash
listen: 127.0.0.1:0
lake: {flush: {bytes: 200KB, seconds: 1}}
log: {segment_bytes: 1MiB, retention: 30s}
streams:
  web: {partitions: 2, key: session_id, dedupe: event_id, dedupe_window: 30s}
  orders: {partitions: 3, key: order_id}
sources:
  - {name: pos, type: landing, path: landing/pos, table: bronze.pos, columns: [transaction_id, store_id, quantity]}
flow: {tick: 100ms}
"""
# Models run all the while: rows by key, sums by key over two of them, and sums over files.
MODELS = {
    "silver/web": "kind: stream\nkey: [uid]\n|SELECT _event_id, _received_at, payload->>'$.uid' AS uid, payload->>'$.session_id' AS session_id, CAST(payload->>'$.seq' AS BIGINT) AS seq FROM bronze.web",
    "silver/orders": "kind: stream\nkey: [uid]\n|SELECT _event_id, _received_at, payload->>'$.uid' AS uid, payload->>'$.order_id' AS order_id FROM bronze.orders",
    "silver/pos": "kind: stream\nkey: [uid]\n|SELECT _event_id, _received_at, transaction_id AS uid, store_id, CAST(quantity AS BIGINT) AS quantity FROM bronze.pos",
    "sales/sessions": "kind: incremental\nby: [session_id]\n|SELECT session_id, count(*) AS events, max(seq) AS newest FROM silver.web GROUP BY session_id",
    "sales/stores": "kind: incremental\nby: [store_id]\n|SELECT store_id, sum(quantity) AS quantity FROM silver.pos GROUP BY store_id",
}
SETTLE_S = 120


class Run:
    def __init__(self, arguments, folder):
        self.seed, self.faulty = arguments.seed, arguments.faulty_disk
        self.random = random.Random(f"{self.seed}/kills")
        self.project = lib.Project(folder / "crash", YAML)
        for name, text in MODELS.items():
            header, sql = text.split("|")
            path = self.project.dir / f"models/{name}.sql"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"/* cupel\n{header}*/\n{sql}\n")
        self.journal = folder / "journal"
        self.book = load.Book()
        self.workers = load.workers(self.book, self.project, self.seed)
        self.checks = check.Checks()
        self.existed = set()
        self.starts = 0
        self.undone = {}
        self.restart_s = []

    def environment(self):
        if not self.faulty:
            return {}
        self.journal.unlink(missing_ok=True)
        rates = "eio=0.0004,enospc=0.0004,early=0.2"
        return {"CUPEL_FAULTY_DISK": f"seed={self.seed * 1000 + self.starts},journal={self.journal},{rates}"}

    def start(self, ready=True):
        self.starts += 1
        self.existed = disk.files_of(self.project.dir)
        began = time.monotonic()
        self.project.start(self.environment(), ready=False)
        if ready:
            self.wait_ready()
            self.restart_s.append(time.monotonic() - began)

    def wait_ready(self):
        """A faulty disk may refuse the start itself: then the server ends with an error and is started again."""
        for _ in range(20):
            try:
                return self.project.wait_ready(60)
            except lib.ServerDied:
                # With injected faults a clean refusal to start is right; a signal (abort) never is.
                if not self.faulty or self.project.process.returncode < 0:
                    raise
                self.after_death()
                self.starts += 1
                self.existed = disk.files_of(self.project.dir)
                self.project.start(self.environment(), ready=False)
        raise AssertionError("20 starts failed\n" + self.project.log_tail())

    def after_death(self):
        self.project.forget()
        if self.faulty:
            cut = disk.PowerCut(str(self.project.dir), self.random, self.existed)
            for what, n in cut.apply(self.journal).items():
                self.undone[what] = self.undone.get(what, 0) + n

    def kill(self, target):
        if not self.project.alive():
            code = self.project.process.returncode
            # A disk that failed in earnest may end the server, by its own decision and not by a signal.
            if not self.faulty or code < 0:
                self.book.problem(f"the server ended by itself with {code}\n{self.project.log_tail()}")
            self.after_death()
            return "gone"
        if target in ("engine", "both"):
            self.project.kill_engine()
        if target in ("server", "both"):
            self.project.kill9()
            self.after_death()
        return target

    def cycle(self, number):
        """Load, a kill, a start (now and then killed in the middle of recovery). A cycle passes when the server is ready again and nobody saw anything wrong."""
        problems = len(self.book.problems)
        time.sleep(self.random.uniform(0.05, 1.6) * lib.PATIENCE ** 0.5)
        target = self.kill(self.random.choice(["server", "server", "both", "engine"]))
        if target != "engine":
            if self.random.random() < 0.2:
                self.start(ready=False)
                time.sleep(self.random.uniform(0, 0.25))
                self.kill("server")
            self.start()
        new = self.book.problems[problems:]
        self.checks.results.append((f"cycle {number}", new))
        for text in new[:5]:
            print(f"  FAIL cycle {number} ({target}): {text}", flush=True)

    def settle(self):
        """Writers end, the disk is sound again, landing catches up."""
        for worker in self.workers:
            worker.stopping.set()
        for worker in self.workers:
            worker.join(load.ANSWER_TIMEOUT_S + 10)
        if self.faulty and self.project.process is not None:
            self.kill("server")
        self.faulty = False
        if self.project.process is None or not self.project.alive():
            self.project.forget()
            self.start()
        landing = self.project.dir / "landing/pos"
        lib.wait_until(lambda: not [f for f in landing.iterdir() if f.is_file()], SETTLE_S, "landing files taken", 0.2)

    def final_checks(self):
        query = self.project.sql
        check.check_all(self.checks, self.book, query, "serving")
        landed = {hop["name"]: hop.get("landed") for hop in self.project.get("/v1/conservation").json()["hops"]}
        self.checks.add("flushes and landings took place", (name for name in ("web", "orders", "pos") if not landed.get(name)))
        done = self.project.cli("conservation", check=False)
        self.checks.add("accounts add up while serving", [] if done.returncode == 0 else [done.stdout[-2000:] + done.stderr[-500:]])
        self.check_models()
        code = self.project.stop()
        self.checks.add("SIGTERM ends it with 0", [] if code == 0 else [f"exit {code}", self.project.log_tail()])
        self.start()
        check.check_all(self.checks, self.book, query, "restarted")
        self.project.stop()
        for name in ("conservation", "verify"):
            done = self.project.cli(name, check=False)
            self.checks.add(f"cupel {name} without a server", [] if done.returncode == 0 else [done.stdout[-2000:] + done.stderr[-500:]])

    def check_models(self):
        """Each row of bronze is once in its model, sums are those of a full recompute, and nothing fails."""

        def calm():
            states = [m["state"] for m in self.project.get("/v1/models").json()["models"]]
            return not any(s["due"] or s["running"] for s in states)

        lib.wait_until(lambda: calm() and (time.sleep(0.5) or calm()), SETTLE_S, "models are up to date", 0.2)
        query = self.project.sql
        for table, uid in (("web", "payload->>'$.uid'"), ("orders", "payload->>'$.uid'"), ("pos", "transaction_id")):
            bronze = f"SELECT {uid} AS uid FROM bronze.{table}"
            lost = query(f"SELECT uid FROM ({bronze}) EXCEPT SELECT uid FROM silver.{table}")
            extra = query(f"SELECT uid FROM silver.{table} EXCEPT SELECT uid FROM ({bronze})")
            twice = query(f"SELECT uid FROM silver.{table} GROUP BY uid HAVING count(*) > 1")
            self.checks.add(f"silver.{table}: rows of bronze, each once", (f"{what}: {rows[:3]}" for what, rows in (("lost", lost), ("extra", extra), ("twice", twice)) if rows))
        done = self.project.cli("flow", "run", "--verify", "--json", check=False)
        differing = [m for m in json.loads(done.stdout)["steps"][0]["models"] if m.get("differences") or m["status"] != "done"] if done.stdout else [done.stderr]
        self.checks.add("models equal a full recompute", map(str, differing))

    def run(self, cycles):
        self.start()
        for worker in self.workers:
            worker.start()
        for number in range(1, cycles + 1):
            self.cycle(number)
            if number % 10 == 0:
                print(f"  {number} cycles, {len(self.book.requests)} requests, {sum(map(len, self.book.files.values()))} landing rows", flush=True)
        self.settle()
        self.checks.add("the disk and the workers", self.book.problems if not any(p for _, p in self.checks.results) else [])
        self.final_checks()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--faulty-disk", action="store_true")
    parser.add_argument("--keep", help="work in this folder and leave it there")
    parser.add_argument("--result")
    arguments = parser.parse_args()
    folder = Path(arguments.keep or tempfile.mkdtemp(prefix="cupel-crash-"))
    print(f"crash: {arguments.cycles} cycles, seed {arguments.seed}{', faulty disk' if arguments.faulty_disk else ''}", flush=True)
    run = Run(arguments, folder)
    try:
        run.run(arguments.cycles)
    except Exception as error:
        run.checks.add("the run came to its end", [f"{type(error).__name__}: {error}", run.project.log_tail()])
    finally:
        for worker in run.workers:
            worker.stopping.set()
        run.project.cleanup()
    report(run, arguments)
    if not run.checks.failed and not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    elif run.checks.failed:
        print(f"kept: {folder}   again: tests/crash/run.py --cycles {arguments.cycles} --seed {arguments.seed}{' --faulty-disk' if arguments.faulty_disk else ''}")
    return 1 if run.checks.failed else 0


def report(run, arguments):
    events = sum(len(r.payloads) for r in run.book.requests if r.ids)
    waits = sorted(run.book.latencies) or [0]
    restarts = sorted(run.restart_s) or [0]
    print(f"answers {run.book.answers}")
    print(f"{events} events acknowledged, p50 {waits[len(waits) // 2] * 1000:.1f} ms, p99 {waits[int(len(waits) * 0.99)] * 1000:.1f} ms; ready again after {restarts[len(restarts) // 2]:.2f} s (median), {restarts[-1]:.2f} s (longest)")
    if run.undone:
        print(f"power cuts: {run.undone}")
    result = {"passed": run.checks.passed, "failed": run.checks.failed, "skipped": 0, "seed": arguments.seed, "cycles": arguments.cycles, "events": events}
    if arguments.result:
        Path(arguments.result).write_text(json.dumps(result))
    print(f"crash: {run.checks.passed} passed, {run.checks.failed} failed")


if __name__ == "__main__":
    sys.exit(main())
