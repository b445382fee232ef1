"""The simulated shop without a server: the same seed gives the same bytes, and the recomputation agrees with what it says must become of its dirt."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import lib  # noqa: E402
from inputs import File, Inputs, event, read_reference  # noqa: E402
from landing_files import Rejected  # noqa: E402
from recompute import recompute  # noqa: E402

RECEIVED = 1800000000 * 1000000


def simulate(folder, *args):
    (folder / "reference").mkdir(parents=True)
    done = subprocess.run([lib.SIM, "--dir", folder, *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bodies(path):
    """Streams with `dedupe: body`: of equal bodies the first."""
    lines = path.read_bytes().decode().splitlines()
    return list(dict.fromkeys(lines)) if path.stem != "inventory" else lines


def readable(file):
    try:
        next(iter(file.rows()), None)
        return True
    except Rejected:
        return False


def arrived(folder):
    """What came, in the order of names: like a server that takes the files of one day after the other."""
    inputs = Inputs()
    for feed in ("pos", "inventory"):
        for i, path in enumerate(sorted((folder / "landing" / feed).iterdir())):
            content = path.read_bytes()
            file = File(path.name, hashlib.sha256(content).hexdigest(), RECEIVED, f"{i:08}", content)
            if readable(file):
                inputs.files.setdefault(feed, []).append(file)
    for stream in ("web_traffic", "crm_interactions", "inventory"):
        inputs.streams[stream] = [event(f"{i:08}", RECEIVED + i, body) for i, body in enumerate(bodies(folder / f"{stream}.ndjson"))]
    read_reference(inputs, folder / "reference")
    return inputs


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "a"
    return folder, simulate(folder, "--days", 5, "--scale", 0.2, "--seed", 7)


def test_the_same_seed_gives_the_same_bytes(shop, tmp_path):
    folder, _ = shop
    simulate(tmp_path / "b", "--days", 5, "--scale", 0.2, "--seed", 7)
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*") if p.is_file())
    assert [n for n in names if (folder / n).read_bytes() != (tmp_path / "b" / n).read_bytes()] == []


def test_every_kind_of_dirt_is_sent(shop):
    needs_a_server = {"refused"}
    assert [d for d in shop[1]["dirt"] if d["sent"] == 0 and d["becomes"] not in needs_a_server] == []


def test_what_must_become_of_it(shop):
    folder, truth = shop
    result = recompute(arrived(folder))
    for table, expected in truth["expected"].items():
        account = result.accounts[table]
        assert {"rows_in": account.rows_in, "quarantined": len(account.quarantined), "superseded": account.superseded, "kept": account.kept} == expected, table
    unread = sum(len(account.unread) for account in result.accounts.values())
    assert unread == truth["pos_broken_rows"]
    net = sum(row[6] for row in result.tables["silver.pos_sales"])
    assert int(net * 100) == truth["pos_net_cents"]


def test_the_shop_behaves_like_one(shop):
    """Hours, stockouts, restocks, returns, loyalty, campaigns, cases that open, resolve and open again: each is there to be measured."""
    result = recompute(arrived(shop[0]))
    tables = result.tables
    assert {row[2] for row in tables["operations.stockout_alerts"]} == {"out_of_stock", "low_stock"}
    assert any(row[2] for row in tables["operations.restock_frequency"])
    assert sum(row[8] for row in tables["sales.total_sales"]) > 0
    assert all(row[1] > 0 for row in tables["marketing.loyalty_activity"][3:])
    resolved = tables["support.time_to_resolution"]
    assert sum(row[1] for row in resolved) > 0 and resolved[-1][5] > 0
    assert all(0 < row[4] < 100 for row in tables["marketing.sessions"][3:])  # some visitors bounce
    assert shop[1]["lost_sales"] > 0


@pytest.mark.parametrize("order", ["shuffled", "twice", "late", "replay"])
def test_orders_of_delivery_lose_nothing(order, tmp_path):
    truth = simulate(tmp_path / "x", "--days", 3, "--scale", 0.05, "--delivery", order)
    result = recompute(arrived(tmp_path / "x"))
    assert result.accounts["silver.web_events"].rows_in == truth["web_events"]
    assert result.accounts["silver.crm_interactions"].rows_in == truth["crm_events"]
    assert result.accounts["silver.pos_sales"].rows_in == truth["pos_rows"]
    if order != "late":  # there it is the receipts that come in other files
        usual = simulate(tmp_path / "y", "--days", 3, "--scale", 0.05)
        assert {n: truth[n] for n in ("web_events", "crm_events", "pos_rows", "inventory_rows")} == {n: usual[n] for n in ("web_events", "crm_events", "pos_rows", "inventory_rows")}
