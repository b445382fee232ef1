"""Writers and readers that keep a project busy while it is being killed, and remember what they were told. Used by run.py.

Each writer owns its keys and waits for an answer before the next event of a key, so the order in which it sent is the order that must come out.
What a writer knows about a request is one of: acknowledged (with ids), refused (4xx: must not be there), unknown (no answer, or 5xx: all of it or none)."""

import json
import random
import threading
import time

import requests

ANSWER_TIMEOUT_S = 20
REPEAT_S = 8  # nothing is sent again later than that: well inside the dedupe window of run.py's configuration, also where an answer takes its time


class Request:
    """One request to one stream: its records (uid -> payload), what came back."""

    def __init__(self, stream, payloads):
        self.stream = stream
        self.payloads = payloads  # list of dicts with "uid"
        self.ids = None  # acknowledged: one id per record
        self.refused = False


class Book:
    """What all writers were told; the checker reads it when they have ended."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = []
        self.files = {}  # content key -> list of row uids
        self.seen = {}  # ids that a reader saw -> stream: nothing ever sees an event that could be lost
        self.problems = []
        self.answers = {}
        self.latencies = []

    def note(self, request):
        with self.lock:
            self.requests.append(request)

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def count(self, what):
        with self.lock:
            self.answers[what] = self.answers.get(what, 0) + 1


class Worker(threading.Thread):
    """A loop around step() that ends when asked and turns unexpected errors into problems."""

    def __init__(self, name, book, project, seed):
        super().__init__(name=name, daemon=True)
        self.book, self.project, self.random = book, project, random.Random(f"{seed}/{name}")
        self.stopping = threading.Event()
        self.session = requests.Session()
        self.session.trust_env = False
        self.n = 0

    def run(self):
        while not self.stopping.is_set():
            try:
                self.step()
            except Exception as error:  # a broken driver must not look like a quiet one
                self.book.problem(f"{self.name}: {type(error).__name__}: {error}")
                return

    def call(self, method, path, **more):
        """The answer, or None when there is none (server down or killed in between)."""
        server = self.project.server_json()
        if not server:
            time.sleep(0.02)
            return None
        headers = {"Authorization": f"Bearer {self.project.token}", **more.pop("headers", {})}
        try:
            return self.session.request(method, "http://" + server["address"] + path, headers=headers, timeout=ANSWER_TIMEOUT_S, **more)
        except requests.exceptions.ReadTimeout:
            self.book.count("timeout")
            return None
        except (requests.RequestException, OSError):
            time.sleep(0.02)
            return None

    def post(self, request, headers=None, single=False):
        """Sends it once. True: acknowledged. Fills in the request."""
        body = json.dumps(request.payloads[0]) if single else "".join(json.dumps(p) + "\n" for p in request.payloads)
        headers = {"Content-Type": "application/json" if single else "application/x-ndjson", **(headers or {})}
        began = time.monotonic()
        answer = self.call("POST", f"/v1/streams/{request.stream}", data=body, headers=headers)
        if answer is None:
            return False
        self.book.count(answer.status_code)
        if answer.status_code == 202:
            with self.book.lock:
                self.book.latencies.append(time.monotonic() - began)
            told = answer.json()
            if len(told["ids"]) != len(request.payloads) or told["accepted"] + told["duplicates"] != len(request.payloads):
                self.book.problem(f"{self.name}: answer does not fit the request: {answer.text[:300]}")
            if request.ids is not None and request.ids != told["ids"]:
                self.book.problem(f"{self.name}: ids changed on repetition: {request.ids[:3]} {told['ids'][:3]}")
            request.ids = told["ids"]
            return True
        if 400 <= answer.status_code < 500:
            request.refused = True
            self.book.problem(f"{self.name}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code == 503:
            if "Retry-After" not in answer.headers:
                self.book.problem(f"{self.name}: 503 without Retry-After: {answer.text[:200]}")
            time.sleep(0.05)
        elif answer.status_code >= 500:
            self.book.count(f"{answer.status_code} {answer.text[:120]}")
            time.sleep(0.05)
        return False

    def until_acknowledged(self, request, **more):
        """Or given up, its fate unknown: beyond the window it would rightly be stored twice."""
        until = time.monotonic() + REPEAT_S
        while not self.stopping.is_set() and time.monotonic() < until:
            if self.post(request, **more) or request.refused:
                return

    def payload(self, key):
        self.n += 1
        uid = f"{self.name}-{self.n}"
        return {"uid": uid, "event_id": uid, "session_id": key, "order_id": key, "seq": self.n, "pad": "x" * self.random.randrange(0, 400)}

    def key(self):
        return f"{self.name}/{self.random.randrange(12)}"


class SingleWriter(Worker):
    """One event at a time into a stream with dedupe, repeated until acknowledged: never twice."""

    def step(self):
        request = Request("web", [self.payload(self.key())])
        self.book.note(request)
        self.until_acknowledged(request, single=True)


class BatchWriter(Worker):
    """Batches over several partitions into a stream without dedupe, sent once: all of it or nothing."""

    def step(self):
        request = Request("orders", [self.payload(self.key()) for _ in range(self.random.randrange(2, 60))])
        self.book.note(request)
        self.post(request)


class DuplicateWriter(Worker):
    """Sends events again, alone and mixed with new ones: the first ids come back."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.known = []

    def step(self):
        fresh = Request("web", [self.payload(self.key()) for _ in range(self.random.randrange(1, 8))])
        self.book.note(fresh)
        self.until_acknowledged(fresh)
        if fresh.ids is None:
            return
        now = time.monotonic()
        self.known = [k for k in self.known if now - k[2] < REPEAT_S] + [(p, i, now) for p, i in zip(fresh.payloads, fresh.ids)]
        again = self.random.sample(self.known, min(len(self.known), self.random.randrange(1, 6)))
        repeated = Request("web", [payload for payload, _, _ in again])
        self.until_acknowledged(repeated)
        if repeated.ids is not None and repeated.ids != [event_id for _, event_id, _ in again]:
            self.book.problem(f"{self.name}: duplicates got other ids: {repeated.ids} instead of {[i for _, i, _ in again]}")


class IdempotentWriter(Worker):
    """Batches without dedupe but with an Idempotency-Key, repeated until acknowledged and now and then afterwards."""

    def step(self):
        request = Request("orders", [self.payload(self.key()) for _ in range(self.random.randrange(1, 20))])
        self.book.note(request)
        headers = {"Idempotency-Key": f"{self.name}-{self.n}"}
        self.until_acknowledged(request, headers=headers)
        if request.ids is not None and self.random.random() < 0.3:
            self.until_acknowledged(request, headers=headers)


class LandingWriter(Worker):
    """Drops CSV files, some of them twice under another name."""

    def step(self):
        self.n += 1
        key = f"{self.name}-{self.n}"
        uids = [f"{key}-{row}" for row in range(self.random.randrange(1, 300))]
        content = "transaction_id,store_id,quantity\n" + "".join(f"{uid},{self.random.randrange(9)},1\n" for uid in uids)
        with self.book.lock:
            self.book.files[key] = uids
        self.project.land("landing/pos", f"{key}.csv", content)
        if self.random.random() < 0.25:
            self.project.land("landing/pos", f"{key}-again.csv", content)
        self.stopping.wait(self.random.uniform(0.05, 0.4))


class Reader(Worker):
    """Reads the log and SQL: what it saw must still be there at the end, and an acknowledged event is in SQL at once."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.offsets = {}

    def step(self):
        self.read_log(self.random.choice(["web", "orders"]))
        self.look_up()
        self.stopping.wait(self.random.uniform(0.02, 0.2))

    def read_log(self, stream):
        answer = self.call("GET", f"/v1/streams/{stream}/events?partition=0&offset={self.offsets.get(stream, 0)}&limit=50")
        if answer is None or answer.status_code != 200:
            return
        events = answer.json().get("events", [])
        with self.book.lock:
            for event in events:
                self.book.seen[event["_event_id"]] = stream
        self.offsets[stream] = self.offsets.get(stream, 0) + len(events)

    def look_up(self):
        with self.book.lock:
            acknowledged = [r for r in self.book.requests[-40:] if r.ids]
        if not acknowledged:
            return
        request = self.random.choice(acknowledged)
        event_id = request.ids[0]
        answer = self.call("POST", "/v1/sql", json={"query": f"SELECT count(*) AS n FROM bronze.{request.stream} WHERE _event_id = '{event_id}'", "format": "ndjson"})
        if answer is None:
            return
        self.book.count(f"sql {answer.status_code}")
        if answer.status_code == 200 and answer.text.strip():
            try:
                row = json.loads(answer.text.splitlines()[0])
            except ValueError:
                return
            if row.get("n") != 1:
                self.book.problem(f"{self.name}: acknowledged {event_id} is {row} times in SQL")


class Maintainer(Worker):
    """Compacts, expires and flushes while everything else goes on."""

    def step(self):
        self.stopping.wait(self.random.uniform(0.3, 1.5))
        path = self.random.choice(["tables/bronze.orders/compact?open_hours=true", "tables/bronze.web/compact?open_hours=true", "tables/bronze.web/expire?older_than=1s", "tables/bronze.pos/expire?older_than=2s", "flush"])
        answer = self.call("POST", f"/v1/{path}")
        if answer is not None:
            self.book.count(f"{path.split('?')[0].split('/')[-1]} {answer.status_code}")
            if answer.status_code not in (200, 503):
                self.book.count(f"{path}: {answer.text[:160]}")


def workers(book, project, seed):
    kinds = [("single1", SingleWriter), ("single2", SingleWriter), ("batch", BatchWriter), ("duplicate", DuplicateWriter), ("idempotent", IdempotentWriter), ("landing", LandingWriter), ("reader", Reader), ("maintainer", Maintainer)]
    return [kind(name, book, project, seed) for name, kind in kinds]
