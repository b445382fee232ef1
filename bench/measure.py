"""What the cases of bench/run share: helpers, CPU and memory of process trees, the machine, and the result rows."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lib import CUPEL, Project, children  # noqa: E402

LOAD = CUPEL.parent.parent / "bench/bench_load"
BARE = CUPEL.parent.parent / "bench/bench_bare_http"
STREAMS = ["bench_a", "bench_b", "bench_c", "bench_d"]
EVENT_BYTES = 370
TICK = os.sysconf("SC_CLK_TCK")

# Four streams of two partitions, keys and dedupe on: what the table asks for everywhere.
YAML = """
project: bench
listen: 127.0.0.1:0
log: {{retention: {retention}, max_bytes: 100GB}}
lake: {{flush: {{bytes: {flush_bytes}, seconds: {flush_seconds}}}}}
streams:
"""
STREAM_YAML = "  {name}: {{partitions: 2, key: session_id, dedupe: {dedupe}, dedupe_window: {window}}}\n"


def yaml(flush_bytes="128MB", flush_seconds=300, retention="7d", dedupe="event_id", window="24h"):
    text = YAML.format(flush_bytes=flush_bytes, flush_seconds=flush_seconds, retention=retention)
    return text + "".join(STREAM_YAML.format(name=name, dedupe=dedupe, window=window) for name in STREAMS)


# ---- results -----------------------------------------------------------------------------------------------------------------------------------------


def row(what, ours, theirs, ratio, reach, ok, note=""):
    """One line of the table. ours and theirs are texts with units; ratio a number; ok None where there is nothing to reach."""
    return {"what": what, "ours": ours, "theirs": theirs, "ratio": ratio, "reach": reach, "ok": ok, "note": note}


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


# ---- processes ---------------------------------------------------------------------------------------------------------------------------------------


def cpu_s(pid):
    """User and system seconds of a process, with those of its children that have ended and those that run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICK + sum(cpu_s(child) for child in children(pid))


def resident_mb(pid):
    """Resident set of a process and its children, added up (pages that they share count for each)."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        own = 0.0
    return own + sum(resident_mb(child) for child in children(pid))


def run_json(command, env=None, timeout=1800):
    """Runs a helper that prints one line of JSON."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def post(project, first, count, batch=1000, connections=4, ids=None, events_per_s=None, streams=STREAMS):
    """Puts events over HTTP; every one must be new and accepted."""
    port = project.url.rpartition(":")[2]
    command = [LOAD, "post", port, first, count, batch, connections, ",".join(streams), ids or "", *([events_per_s] if events_per_s else [])]
    try:
        result = run_json(command, {"CUPEL_TOKEN": project.token})
    except RuntimeError as error:
        time.sleep(1)
        state = "runs" if project.alive() else f"ended with {project.process.returncode}"
        raise RuntimeError(f"{error}the server {state}:\n{project.log_tail()}") from None
    if result["accepted"] != count or result["duplicates"] != 0:
        raise RuntimeError(f"{count} events sent, {result}")
    return result


def start_post(project, first, count, batch, connections, events_per_s):
    """The same in the background, for load beside something else. Returns the process; end it with stop_post."""
    port = project.url.rpartition(":")[2]
    command = [LOAD, "post", port, first, count, batch, connections, ",".join(STREAMS), "", events_per_s]
    return subprocess.Popen([str(c) for c in command], env={**os.environ, "CUPEL_TOKEN": project.token}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop_post(process):
    process.terminate()
    process.wait()


def flush(project):
    """Everything to bronze, now."""
    answer = project.request("POST", "/v1/flush", timeout=3600)
    if answer.status_code != 200:
        raise RuntimeError(f"flush: {answer.status_code} {answer.text}")


def count_rows(project):
    return project.value("SELECT count(*) FROM (" + " UNION ALL ".join(f"SELECT _event_id FROM bronze.{name}" for name in STREAMS) + ")")


def data_files(project, name):
    """The Parquet files of a table that nothing was compacted or expired of yet: all that are there."""
    files = sorted(str(f) for f in (project.data / "lake/bronze" / name).rglob("*.parquet"))
    if not files:
        raise RuntimeError(f"bronze.{name} has no files below {project.data / 'lake/bronze' / name}")
    return files


@contextmanager
def bare_server(threads):
    """bench_bare_http; gives its port."""
    process = subprocess.Popen([str(BARE), str(threads)], stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline().strip().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


# ---- the machine -------------------------------------------------------------------------------------------------------------------------------------


def cores():
    return len(os.sched_getaffinity(0))


def sync_ms(folder, blocks=200):
    """Median time of a 4 KiB write with fdatasync: what every durable answer waits for on this disk."""
    path = Path(folder) / "sync.probe"
    times = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(fd, 0, blocks * 4096)
        os.fsync(fd)
        for i in range(blocks):
            start = time.perf_counter()
            os.pwrite(fd, os.urandom(4096), i * 4096)
            os.fdatasync(fd)
            times.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(fd)
        path.unlink()
    return sorted(times)[blocks // 2]


def machine(folder):
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {"cpu": cpu, "cores": cores(), "memory_gb": round(memory / 1e6, 1), "kernel": platform.release(), "sync_ms": round(sync_ms(folder), 3)}
