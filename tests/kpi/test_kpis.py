"""The retail pack on the real server against the recomputation: all tables, every row and column, after every order of delivery.

The server is a project made by `cupel init --template retail`; the simulated shop sends days of dirt; when the flows are idle, inputs are exported as they
arrived and everything is computed again from kpis.md (recompute.py)."""

import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import compare  # noqa: E402
import hostile  # noqa: E402
import lib  # noqa: E402
from export import Server  # noqa: E402

pytestmark = pytest.mark.timeout(600)
# How a row of each kind of dirt is called in quarantine by the recomputation.
REASONS = {
    ("pos", "3.5 for an integer"): "quantity is unreadable",
    ("pos", "quantity 0"): "quantity is out of its limits",
    ("pos", "quantity over its limit"): "quantity is out of its limits",
    ("pos", "invalid correction"): "quantity is out of its limits",
    ("pos", "revenue over its limit"): "revenue is out of its limits",
    ("pos", "revenue of another sign"): "revenue and quantity differ in sign",
    ("pos", "required field missing"): "product_id is missing",
    ("pos", "required field unreadable"): "store_id is unreadable",
    ("pos", "future time"): "timestamp is ahead of its receipt",
    ("inventory", "3.5 for an integer"): "stock_level is unreadable",
    ("inventory", "stock below 0"): "stock_level is out of its limits",
    ("inventory", "stock over its limit"): "stock_level is out of its limits",
    ("inventory", "required field missing"): "warehouse_id is missing",
    ("inventory", "future time"): "last_updated is ahead of its receipt",
    ("web_traffic", "required field unreadable"): "timestamp is unreadable",
    ("web_traffic", "future time"): "timestamp is ahead of its receipt",
    ("crm_interactions", "required field missing"): "customer_id is missing",
    ("crm_interactions", "required field unreadable"): "customer_id is unreadable",
    ("crm_interactions", "future time"): "timestamp is ahead of its receipt",
}
TABLES = {"pos": "silver.pos_sales", "inventory": "silver.inventory_levels", "web_traffic": "silver.web_events", "crm_interactions": "silver.crm_interactions"}


def free_port():
    """Below those that the system gives to clients: nobody else comes upon it before, and between, our servers' starts."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise AssertionError("no port is free")


class Shop:
    """A retail project and the simulated shop that sends to it."""

    def __init__(self, folder, timezone="UTC", more_sources=""):
        subprocess.run([lib.CUPEL, "init", folder, "--template", "retail"], check=True, capture_output=True)
        self.folder, self.timezone, self.port = Path(folder), timezone, free_port()
        yaml = (self.folder / "cupel.yaml").read_text()
        yaml = re.sub(r"^timezone:.*$", f"timezone: {timezone}", yaml, count=1, flags=re.M)
        yaml = re.sub(r"^listen:.*$", f"listen: 127.0.0.1:{self.port}", yaml, count=1, flags=re.M)  # the same after a restart
        yaml = re.sub(r"^sources:$", "sources:" + more_sources, yaml, count=1, flags=re.M)
        (self.folder / "cupel.yaml").write_text(yaml)
        self.project = lib.Project(self.folder, yaml=None)
        self.truth = None
        self.sim = None

    def start_sim(self, *args):
        command = [lib.SIM, "--dir", self.folder, "--url", f"http://127.0.0.1:{self.port}", "--token-file", self.project.data / "cli.token", "--truth", self.folder / "truth.json", *args]
        self.sim = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def end_sim(self, timeout_s=300):
        _, said = self.sim.communicate(timeout=timeout_s * lib.PATIENCE)
        assert self.sim.returncode == 0, said
        self.truth = json.loads((self.folder / "truth.json").read_text())
        return self.truth

    def simulate(self, *args):
        self.start_sim(*args)
        return self.end_sim()

    def waiting_files(self):
        return [p for feed in ("pos", "inventory") for p in (self.folder / "landing" / feed).glob("*") if p.is_file() and not p.name.endswith(".reason.txt")]

    def busy(self):
        """Models whose inputs moved past them, that run, or that failed last: name and what is the matter."""
        reply = self.project.get("/v1/models")
        if reply.status_code >= 500:  # the engine was killed just now
            return [reply.text]
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        assert answer["problems"] == [], answer["problems"]
        states = {model["name"]: model.get("state") or {} for model in answer["models"]}
        return [f"{name}: {state.get('error') or 'due'}" for name, state in states.items() if state.get("due") or state.get("running") or state.get("failures")]

    def wait_idle(self, timeout_s=200):
        """Nothing waits in a folder, and no model is due, several times in a row."""
        quiet, deadline = 0, time.monotonic() + timeout_s * lib.PATIENCE
        while quiet < 4:
            left = self.waiting_files() or self.busy()
            quiet = 0 if left else quiet + 1
            assert time.monotonic() < deadline, f"not idle within {timeout_s} s: {left[:5]}"
            time.sleep(0.25)

    def check(self, name="raw", alerts=False, freshness=True):
        """Compares every table; gives the recomputation."""
        self.wait_idle()
        report, result = compare.check(self.folder, self.folder / name, self.timezone, alerts=alerts, freshness=freshness)
        assert not report.problems, "\n".join(map(str, report.problems))
        return result

    def accounts(self):
        done = self.project.cli("conservation", "--json", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def make_shop(tmp_path, request):
    shops = []

    def make(**more):
        shop = Shop(tmp_path / f"shop{len(shops)}", **more)
        shops.append(shop)
        request.node.cupel_projects = [s.project for s in shops]
        shop.project.start()
        return shop

    yield make
    for shop in shops:
        if shop.sim and shop.sim.poll() is None:
            shop.sim.kill()
            shop.sim.wait()
        shop.project.cleanup()


def dirty_rows(result, table):
    """{reason: rows} of one silver table; of several reasons of a row the first."""
    return Counter(reasons[0] for reasons in result.accounts[table].quarantined.values())


def dirt_table(shop, result):
    """Each kind of dirt: (feed, kind, sent, becomes, found). `found` is counted on Cupel's side; None where only the comparison of all rows can tell."""
    server = Server.of(shop.folder)
    count = lambda query: int(server.rows(query)[0]["n"])  # noqa: E731
    rejected = len([p for p in (shop.folder / "landing/pos/rejected").glob("*") if not p.name.endswith(".reason.txt")])
    found = {
        ("pos", "not UTF-8"): rejected,
        ("pos", "broken line"): count("SELECT count(*) AS n FROM quarantine.bronze__pos"),
        ("pos", "unknown store"): count("SELECT count(*) AS n FROM silver.pos_sales WHERE region = 'unknown'"),
        ("pos", "unknown product"): count("SELECT count(*) AS n FROM silver.pos_sales WHERE product_id = 99001"),
        ("inventory", "unknown product"): count("SELECT count(*) AS n FROM silver.inventory_levels WHERE product_id = 99001"),
        ("crm_interactions", "long message"): count("SELECT count(*) AS n FROM silver.crm_interactions WHERE length(message_excerpt) = 1000"),
    }
    rows = []
    for dirt in shop.truth["dirt"]:
        key = (dirt["feed"], dirt["kind"])
        rows.append((*key, dirt["sent"], dirt["becomes"], found.get(key)))
    return rows


def check_dirt(shop, result):
    rows = dirt_table(shop, result)
    print(*(f"{feed:<18}{kind:<30}{sent:>7}  {becomes:<18}{'' if found is None else found}" for feed, kind, sent, becomes, found in rows), sep="\n")
    assert [row for row in rows if row[4] is not None and row[2] != row[4]] == []
    quarantined = Counter()
    for feed, kind, sent, becomes, _ in rows:
        if becomes == "quarantined":
            reason = REASONS.get((feed, kind))
            quarantined[TABLES[feed], reason or "session_id or page is missing"] += sent
    for table in TABLES.values():
        wanted = {reason: n for (name, reason), n in quarantined.items() if name == table and n}
        got = Counter()
        for reason, n in dirty_rows(result, table).items():
            got["session_id or page is missing" if table == "silver.web_events" and reason.endswith("is missing") else reason] += n
        assert got == wanted, table


def check_expected(shop, result):
    """What the shop says must become of its rows, table by table: nothing unaccounted."""
    for table, expected in shop.truth["expected"].items():
        account = result.accounts[table]
        assert {"rows_in": account.rows_in, "quarantined": len(account.quarantined), "superseded": account.superseded, "kept": account.kept} == expected, table


def test_small_days_in_order_then_replayed(make_shop):
    """Two days while models run, in a time zone with summer time, across its change; the same days again change nothing."""
    shop = make_shop(timezone="Europe/Berlin")
    days = ("--days", 2, "--scale", 0.05, "--date", "2025-03-29")
    shop.simulate(*days, "--speed", "40000x")
    result = shop.check()
    check_expected(shop, result)
    check_dirt(shop, result)
    shop.accounts()
    shop.simulate(*days)
    again = shop.check("raw2")
    assert again.tables == result.tables


def test_alerts(make_shop):
    """One per pair, status and its beginning, also when a status went and came back between two runs."""
    shop = make_shop()
    shop.simulate("--days", 2, "--scale", 0.05, "--speed", "60000x", "--seed", 4)
    shop.check(alerts=True)


def test_freshness(make_shop):
    """The newest event time among valid rows; what is in quarantine for a time in the future does not count."""
    shop = make_shop()
    shop.simulate("--days", 1, "--scale", 1, "--seed", 5)
    shop.check()


def test_hostile_values(make_shop):
    """Each value in every field: read, null or quarantined as the definitions say."""
    shop = make_shop()
    hostile.send(shop.project)
    shop.check()
    shop.accounts()


def kill_now_and_then(shop, times, seed):
    """kill -9 of the server or its engine in the middle, and a start again."""
    chance = random.Random(seed)
    for i in range(times):
        time.sleep(chance.uniform(0.4, 1.6) * lib.PATIENCE)
        if i % 3 == 2:
            shop.project.kill_engine()
            continue
        shop.project.kill9()
        shop.project.start()


def test_small_late_with_kills(make_shop):
    shop = make_shop()
    shop.start_sim("--days", 2, "--scale", 0.05, "--delivery", "late", "--speed", "30000x", "--seed", 3)
    kill_now_and_then(shop, 3, 3)
    shop.end_sim()
    shop.check()
    shop.accounts()


DELIVERIES = {
    "in-order": ("--speed", "100000x"),
    "shuffled": ("--rate", 12000),
    "twice": ("--speed", "100000x"),
    "late": ("--speed", "100000x"),
    "replay": ("--speed", "100000x"),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("order", DELIVERIES)
def test_orders_of_delivery(make_shop, order):
    """Eight days, so that what is late by three finds its way; a second shop would give the same tables."""
    shop = make_shop(timezone="Europe/Istanbul")
    shop.simulate("--days", 8, "--scale", 0.25, "--delivery", order, *DELIVERIES[order], "--seed", 11)
    result = shop.check()
    if order == "in-order":
        check_expected(shop, result)
        check_dirt(shop, result)
    shop.accounts()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_kills_in_the_middle_of_runs(make_shop, seed):
    shop = make_shop()
    shop.start_sim("--days", 6, "--scale", 0.2, "--delivery", "late", "--speed", "25000x", "--seed", seed)
    kill_now_and_then(shop, 9, seed)
    shop.end_sim()
    shop.check()
    shop.accounts()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_polled_and_hooked(make_shop):
    """A part of the events is only to be fetched from the shop's APIs, which fail now and then, a part comes as signed webhooks."""
    port = free_port()
    shop = make_shop(
        more_sources=f"""
  - {{name: web_api, type: poll, url: "http://127.0.0.1:{port}/api/web-traffic/", every: 100ms, stream: web_traffic}}
  - {{name: crm_api, type: poll, url: "http://127.0.0.1:{port}/api/customer-interaction/", every: 100ms, stream: crm_interactions}}
  - {{name: crm_hook, type: webhook, stream: crm_interactions, scheme: hmac-sha256, header: X-Hub-Signature-256, prefix: "sha256=", secret: "a secret of sixteen"}}
"""
    )
    truth = shop.simulate("--days", 3, "--scale", 0.2, "--api-port", port, "--api-share", 0.2, "--hook", "crm_hook", "--hook-secret", "a secret of sixteen")
    assert truth["polled"] > 500 and truth["hooked"] > 5
    check_expected(shop, shop.check())
    shop.accounts()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_days(make_shop):
    shop = make_shop()
    shop.simulate("--days", 30, "--scale", 0.3)
    result = shop.check()
    check_expected(shop, result)
    check_dirt(shop, result)
    shop.accounts()
