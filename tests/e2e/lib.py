"""A project folder with the real binary: start, talk, kill, restart, read back. Used by tests/e2e, tests/crash and bench."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
CUPEL = Path(os.environ.get("CUPEL_BIN", ROOT / "build/src/cupel"))
SIM = Path(os.environ.get("CUPEL_SIM", ROOT / "build/sim/cupel-sim"))
# Real data sets, not part of the repository; tests that use them skip, and say so, where they are absent.
DATA = Path(os.environ.get("CUPEL_TEST_DATA", ROOT / "../shared/data"))
SANITIZED = "asan" in CUPEL.parts[-3] or "tsan" in CUPEL.parts[-3]
# Everything is slower under a sanitizer.
PATIENCE = 6 if SANITIZED else 1

DEFAULT_YAML = """
project: test
listen: 127.0.0.1:0
streams:
  web:
    partitions: 2
    key: session_id
    dedupe: event_id
  orders:
    partitions: 2
    key: order_id
"""


class ServerDied(AssertionError):
    """The server ended although nobody asked it to; the text has the end of its log."""


def wait_until(condition, timeout_s=20, what="condition", every_s=0.05):
    """Calls condition until it is true (and returns that); fails naming `what` after timeout_s, or a minute where that is longer: a busy machine is no failure."""
    limit_s = max(60, timeout_s * PATIENCE)
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit_s} s")
        time.sleep(every_s)


def children(pid):
    """Process ids of the direct children, from /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if stat.rpartition(")")[2].split()[1] == str(pid):
                found.append(int(entry))
    return found


def arguments(pid):
    """Of a process; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Project:
    """One project folder and at most one server on it. `with Project(dir) as p:` starts it and always cleans up."""

    def __init__(self, folder, yaml=DEFAULT_YAML, env=None):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.data = self.dir / "data"
        self.env = dict(env or {})
        self.process = None
        self.log_path = self.dir / "server.log"
        self.session = None
        if yaml is not None:
            self.write_yaml(yaml)

    def write_yaml(self, yaml):
        (self.dir / "cupel.yaml").write_text(yaml)

    # -- process -------------------------------------------------------------------------------------------------------------------------------------

    def start(self, env=None, ready=True, args=()):
        assert self.process is None, "already started"
        (self.data / "server.json").unlink(missing_ok=True)
        log = open(self.log_path, "ab")
        environment = {**os.environ, **self.env, **(env or {})}
        self.process = subprocess.Popen([str(CUPEL), "-C", str(self.dir), "serve", *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        log.close()
        self.session = requests.Session()
        self.session.trust_env = False
        if ready:
            self.wait_ready()
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def server_json(self):
        try:
            return json.loads((self.data / "server.json").read_text())
        except (OSError, ValueError):
            return None

    def wait_ready(self, timeout_s=20):
        def ready():
            if not self.alive():
                raise ServerDied(f"server ended with {self.process.returncode} before it was ready\n{self.log_tail()}")
            if not self.server_json():
                return False
            try:
                return self.session.get(self.url + "/health/ready", timeout=10).status_code == 200
            except requests.RequestException:
                return False

        try:
            wait_until(ready, timeout_s, "server ready", 0.02)
        except ServerDied:
            raise
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def stop(self, timeout_s=60):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout_s * PATIENCE)
        except subprocess.TimeoutExpired:
            self.cleanup()
            raise AssertionError(f"SIGTERM: still running after {timeout_s * PATIENCE} s\n{self.log_tail()}") from None
        self.forget()
        return code

    def kill9(self):
        self.process.kill()
        self.process.wait()
        self.forget()

    def engine_pids(self):
        return [pid for pid in children(self.process.pid) if b"engine" in arguments(pid)] if self.alive() else []

    def wait_working(self, cpu_s=1):
        """Until the engine has worked on a call for so long: beyond the moment in which a query is given to the next one when this one dies. Its process id."""
        began = {}

        def working():
            if self.metrics()["cupel_engine_calls_running"] < 1:
                return None
            for pid in self.engine_pids():  # none while a call waits for an engine that is being started
                try:
                    used = cpu_seconds(pid)
                except FileNotFoundError:
                    continue
                if used >= began.setdefault(pid, used) + cpu_s:
                    return pid
            return None

        return wait_until(working, what="the engine is at work")

    def kill_engine(self):
        """SIGKILL to the engine process; False when none runs."""
        pids = self.engine_pids()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return bool(pids)

    def restart(self, env=None):
        if self.process is not None:
            self.stop()
        return self.start(env)

    def forget(self):
        if self.session:
            self.session.close()
        self.process = None

    def cleanup(self):
        """Nothing of this project runs afterwards."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.forget()

    def __enter__(self):
        try:
            return self.start() if self.process is None else self
        except BaseException:
            self.cleanup()
            raise

    def __exit__(self, *_):
        self.cleanup()

    def log_tail(self, lines=40):
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return f"--- {self.log_path}\n" + "\n".join(text.splitlines()[-lines:])

    # -- HTTP ----------------------------------------------------------------------------------------------------------------------------------------

    @property
    def url(self):
        server = self.server_json()
        return ("https://" if server.get("tls") else "http://") + server["address"]

    @property
    def token(self):
        return (self.data / "cli.token").read_text().strip()

    def request(self, method, path, headers=None, token=True, timeout=None, **more):
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {self.token if token is True else token}")
        return (self.session or requests).request(method, self.url + path, headers=headers, timeout=timeout or 60 * PATIENCE, **more)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, stream, body, headers=None, **more):
        """POST to a stream: dict or list as JSON, bytes and text as they are."""
        headers = dict(headers or {})
        if not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return self.request("POST", f"/v1/streams/{stream}", data=body.encode() if isinstance(body, str) else body, headers=headers, **more)

    def post_ndjson(self, stream, events, **more):
        body = "".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in events)
        more["headers"] = {"Content-Type": "application/x-ndjson", **(more.get("headers") or {})}
        return self.post(stream, body, **more)

    def event(self, event_id):
        return self.get(f"/v1/events/{event_id}")

    def sql(self, query, params=None):
        """Rows as dictionaries; fails with the server's words when the query does."""
        body = {"query": query, "format": "ndjson"}
        if params is not None:
            body["params"] = params
        answer = self.request("POST", "/v1/sql", json=body, timeout=120 * PATIENCE)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text}\n{query}"
        return [json.loads(line) for line in answer.text.splitlines() if line]

    def value(self, query, params=None):
        """The single value of a query."""
        rows = self.sql(query, params)
        assert len(rows) == 1 and len(rows[0]) == 1, rows
        return next(iter(rows[0].values()))

    def metrics(self):
        """{name or name{labels}: value} of /metrics."""
        rows = {}
        for line in self.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                rows[name] = float(value)
        return rows

    # -- command line --------------------------------------------------------------------------------------------------------------------------------

    def cli(self, *args, input=None, check=True, env=None, timeout=120):
        """Runs `cupel -C DIR …`; output as text; fails on exit code != 0 unless check=False."""
        done = subprocess.run(
            [str(CUPEL), "-C", str(self.dir), *map(str, args)], input=input if isinstance(input, (str, type(None))) else input.decode(), stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True, text=True, errors="replace", env={**os.environ, **self.env, **(env or {})}, timeout=timeout * PATIENCE,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"cupel {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def put(self, stream, text, check=True):
        return self.cli("put", stream, "-", input=text, check=check)

    # -- landing -------------------------------------------------------------------------------------------------------------------------------------

    def land(self, folder, name, content):
        """Puts a file complete into a watched folder: written beside it, then renamed in."""
        target = self.dir / folder
        target.mkdir(parents=True, exist_ok=True)
        temporary = self.dir / f".{name}.part"
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.rename(temporary, target / name)

    def destroy(self):
        self.cleanup()
        shutil.rmtree(self.dir, ignore_errors=True)
