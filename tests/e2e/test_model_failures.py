"""What becomes of models when something under them fails: the disk, the warehouse, a stream that takes no events, a file that is gone."""

import json

import lib
import pytest
from test_disk_full import small_disk  # noqa: F401
from test_flow import ALERTS, BY_DAY, ORDERS, idle, model, models_of, order, until_rows, value_or_none

pytestmark = pytest.mark.timeout(600)

YAML = """
project: failures
listen: 127.0.0.1:0
lake: {publish_seconds: 1}
streams:
  orders: {partitions: 2, key: customer}
  alerts: {}
"""


@pytest.fixture
def shop(make_project):
    def make(models, yaml=YAML, start=True):
        project = make_project(yaml=yaml, start=False)
        for name, text in models.items():
            model(project, name, text)
        return project.start() if start else project

    return make


def verified(project, *models):
    """Every table equals a full recompute."""
    report = project.cli("flow", "run", "--verify", *[a for m in models for a in ("--select", m)], "--json", timeout=240)
    assert report.returncode == 0, report.stdout + report.stderr


def all_in(project, total, timeout_s=60):
    lib.wait_until(lambda: value_or_none(project, "SELECT sum(orders)::BIGINT AS n FROM sales.by_day") == total, timeout_s, f"{total} orders in sales.by_day", 0.2)
    idle(project)


# ---- the disk is full ----

DISK_YAML = """
project: failures
listen: 127.0.0.1:0
streams:
  orders: {partitions: 2, key: customer}
log: {segment_bytes: 4MiB, reserve_bytes: 1MiB}
"""


def take_all_of(disk):
    """Whatever is free, to the last page."""
    block = b"\0" * (1 << 20)
    with open(disk / "filler", "ab", buffering=0) as file:
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]


def until_a_run_fails(project, disk, sent):
    """The disk is filled right behind an acknowledgement, until it is a run that finds no room. Returns what was acknowledged."""
    filler = disk / "filler"
    for _ in range(60):
        before = value_or_none(project, "SELECT sum(orders)::BIGINT AS n FROM sales.by_day")
        assert project.post_ndjson("orders", [{**order(i), "pad": "x" * 900} for i in range(sent, sent + 1500)]).status_code == 202
        sent += 1500
        take_all_of(disk)
        lib.wait_until(lambda: project.metrics().get('cupel_model_failing{model="silver.orders"}', 0) > 0 or value_or_none(project, "SELECT count(*) AS n FROM silver.orders") == sent, 60, "the run ended in one way or the other")
        if project.metrics()['cupel_model_failing{model="silver.orders"}'] > 0:
            return sent, before
        filler.unlink()
        all_in(project, sent)
    raise AssertionError("every run was quicker than the disk filled up")


def test_a_full_disk_fails_runs_and_nothing_else(small_disk):  # noqa: F811
    """The disk fills up to the last byte between acknowledgement and run: the table stays, the run says why; with space again it is right by itself."""
    project = lib.Project(small_disk / "project", DISK_YAML)
    model(project, "silver.orders", ORDERS)
    model(project, "sales.by_day", BY_DAY)
    with open(small_disk / "base", "wb") as file:
        file.write(b"\0" * (40 << 20))
    try:
        project.start()
        assert project.post_ndjson("orders", [order(i) for i in range(1000)]).status_code == 202
        all_in(project, 1000)
        sent, before = until_a_run_fails(project, small_disk, 1000)
        state = models_of(project)["silver.orders"]["state"]
        assert state["failures"] > 0 and "No space left on device" in state["error"]
        assert "failed" in project.cli("model", "list").stdout and "No space left" in project.cli("model", "show", "silver.orders").stdout
        # The old table stays; events are refused with a time to come back, and all that was acknowledged is in bronze.
        assert project.value("SELECT sum(orders)::BIGINT AS n FROM sales.by_day") == before == project.value("SELECT count(*) AS n FROM silver.orders")
        assert project.value("SELECT count(*) AS n FROM bronze.orders") == sent
        refused = project.post_ndjson("orders", [order(0)])
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        # A rebuild finds no room either, and takes nothing away.
        rebuilt = project.cli("flow", "run", "--select", "silver.orders", "--full-refresh", check=False)
        said = rebuilt.stdout + rebuilt.stderr
        assert rebuilt.returncode == 1 and ("No space left" in said or "disk is full" in said), said  # the warehouse says the one, the ledger the other
        assert project.value("SELECT count(*) AS n FROM silver.orders") == before
        # An engine that starts on the full disk reads the warehouse as it was committed.
        project.kill_engine()
        lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM silver.orders") == before, 60, "the old table after the engine's death")
        (small_disk / "filler").unlink()
        all_in(project, sent)
        verified(project)
        # What could not be noted while there was no room is in the history afterwards.
        noted = project.sql("SELECT model, error FROM cupel.runs WHERE status = 'failed'")
        assert noted and all("No space left" in row["error"] for row in noted), noted
        assert project.metrics()['cupel_model_failing{model="silver.orders"}'] == 0
        project.kill9()
        project.start()
        lib.wait_until(lambda: project.post_ndjson("orders", [order(sent)]).status_code == 202, 30, "events are taken")
        all_in(project, sent + 1)
        assert project.cli("conservation").returncode == 0
    except BaseException:
        print(project.log_tail())
        raise
    finally:
        project.cleanup()


# ---- the warehouse is gone, damaged, or open elsewhere ----

BOTH = "key: [order_id]", "key: [order_id]\nstore: both"
TOTALS = """/* cupel
kind: incremental
by: [customer]
key: [customer]
store: both
*/
SELECT customer, count(*) AS orders, sum(amount) AS total FROM silver.orders GROUP BY customer
"""


def ask(project, query):
    return project.request("POST", "/v1/sql", json={"query": query, "format": "ndjson"})


def catalog_rows(project, name):
    """What other programs see: the rows of the lake copy, and its version."""
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = SqlCatalog("cupel", uri=f"sqlite:///{project.data}/ledger.db", warehouse=f"file://{project.data}/lake", init_catalog_tables="false").load_table(name)
    except NoSuchTableError:
        return None
    return sorted(str((r["customer"], r["orders"], r["total"])) for r in table.scan().to_arrow().to_pylist())


def own(project):
    rows = project.sql("SELECT customer, orders, total::VARCHAR AS total FROM sales.totals")
    return sorted(f"({r['customer']!r}, {r['orders']}, Decimal('{r['total']}'))" for r in rows)


def copied(project):
    lib.wait_until(lambda: catalog_rows(project, "sales.totals") == own(project), 60, "the lake copy is what the table is", 0.3)


def damage(project):
    with open(project.data / "warehouse.duckdb", "r+b") as file:
        file.write(b"no database at all" * 1000)


@pytest.mark.peers
def test_a_damaged_warehouse_is_said_and_made_again(shop):
    """Reads go on from lake copies and say so; what the message tells to do brings every table back, and copies follow although versions began again."""
    project = shop({"silver.orders": ORDERS.replace(*BOTH), "sales.totals": TOTALS, "sales.by_day": BY_DAY})
    for batch in range(6):  # many versions: the new warehouse will have fewer
        project.post_ndjson("orders", [order(i, 10 + batch) for i in range(batch * 30, batch * 30 + 40)])
        all_in(project, batch * 30 + 40)
    copied(project)
    tables = {name: project.sql(f"SELECT * FROM {name} ORDER BY ALL") for name in ("silver.orders", "sales.totals", "sales.by_day")}
    project.stop()
    damage(project)
    project.start()
    lib.wait_until(lambda: ask(project, "SELECT count(*) AS n FROM bronze.orders").status_code == 200, 30, "bronze")
    answer = ask(project, "SELECT * FROM sales.totals ORDER BY ALL")
    assert answer.status_code == 200 and [json.loads(line) for line in answer.text.splitlines()] == tables["sales.totals"]
    assert "sales.totals is read from its lake copy, which may be behind: the warehouse" in answer.headers["Cupel-Warning"], answer.headers
    assert "Cupel-Warning" not in ask(project, "SELECT count(*) AS n FROM bronze.orders").headers
    assert "warning: sales.totals is read from its lake copy" in project.cli("sql", "SELECT count(*) FROM sales.totals").stderr
    assert project.post_ndjson("orders", [order(500, 1)]).status_code == 202
    assert "lake copies" in project.get("/health/ready").json()["warehouse"]
    assert project.metrics()["cupel_warehouse_unavailable"] == 1
    said = project.cli("verify", check=False)
    said = said.stdout + said.stderr
    assert "move it and its .wal away with Cupel stopped" in said and "cupel flow run" in said, said
    # As it says.
    project.stop()
    (project.data / "warehouse.duckdb").rename(project.dir / "damaged.duckdb")
    (project.data / "warehouse.duckdb.wal").unlink(missing_ok=True)
    project.cli("flow", "run", timeout=240)
    project.start()
    all_in(project, 191)
    verified(project)
    assert project.sql("SELECT * FROM silver.orders WHERE order_id <> 'o500' ORDER BY ALL") == tables["silver.orders"]
    answer = ask(project, "SELECT * FROM sales.totals")
    assert answer.status_code == 200 and "Cupel-Warning" not in answer.headers
    assert "warehouse" not in project.get("/health/ready").json() and project.metrics()["cupel_warehouse_unavailable"] == 0
    copied(project)
    project.post_ndjson("orders", [order(501, 3)])
    all_in(project, 192)
    copied(project)


@pytest.mark.slow
def test_a_warehouse_that_was_open_elsewhere_is_taken_when_it_is_free(shop):
    """Another program holds the file while the server starts: it is said, and passes without a restart."""
    import fcntl

    project = shop({"silver.orders": ORDERS, "sales.by_day": BY_DAY})
    project.post_ndjson("orders", [order(i) for i in range(10)])
    all_in(project, 10)
    project.stop()
    with open(project.data / "warehouse.duckdb", "r+b") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        project.start()
        lib.wait_until(lambda: project.metrics()["cupel_warehouse_unavailable"] == 1, 60, "the warehouse cannot be opened", 0.2)
        assert "cannot be opened" in ask(project, "SELECT * FROM sales.by_day").text
        assert project.post_ndjson("orders", [order(10)]).status_code == 202
    all_in(project, 11)
    assert project.metrics()["cupel_warehouse_unavailable"] == 0
    verified(project)


# ---- events of models ----

def alerts(project):
    return project.sql("SELECT payload->>'$.customer' AS customer, count(*) AS n FROM bronze.alerts GROUP BY ALL ORDER BY ALL")


def big(first, n):
    return [{"id": f"o{i}", "customer": f"k{i}", "amount": "300", "ts": 1763632800} for i in range(first, first + n)]


def test_a_new_warehouse_takes_no_event_for_an_old_one(shop):
    """Versions begin again in a new warehouse: the keys of its events are others, so what is new goes out, each once over a kill."""
    project = shop({"silver.orders": ORDERS, "sales.totals": ALERTS})
    project.post_ndjson("orders", big(0, 3))
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM bronze.alerts") == 3, 60, "three alerts")
    idle(project)
    project.stop()
    (project.data / "warehouse.duckdb").unlink()
    (project.data / "warehouse.duckdb.wal").unlink(missing_ok=True)
    project.start()
    # Its table is built anew, and every row of it is new: docs/models.md says so.
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM bronze.alerts") == 6, 60, "the same ones, of a table built anew")
    project.post_ndjson("orders", big(3, 20))
    project.kill9()
    project.start()
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM bronze.alerts") == 26, 60, "and the new ones")
    idle(project)
    assert sorted(r["n"] for r in alerts(project)) == [1] * 20 + [2] * 3


def test_a_warehouse_of_before_goes_on_with_its_keys(shop):
    """One made before warehouses had an identity gets none: what it has sent is not sent again, what is new is."""
    project = shop({"silver.orders": ORDERS, "sales.totals": ALERTS})
    project.post_ndjson("orders", big(0, 3))
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM bronze.alerts") == 3, 60, "three alerts")
    idle(project)
    tamper(project, "DROP TABLE cupel.identity; DROP TABLE cupel.without_model")
    project.post_ndjson("orders", big(3, 3))
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM bronze.alerts") == 6, 60, "three more")
    project.restart()
    idle(project)
    assert [r["n"] for r in alerts(project)] == [1] * 6


def test_events_that_their_stream_refuses_are_kept(shop):
    """The event is larger than the server takes: it stands in quarantine with its reason, the others go out, and redrive sends it when it may go."""
    small = YAML + "limits: {record_bytes: 1KiB}\n"
    wide = ALERTS.replace("columns: [customer, total]", 'columns: {customer: "coalesce(new.customer, old.customer)", pad: "repeat(\'x\', CASE WHEN new.customer = \'k1\' THEN 3000 ELSE 3 END)"}')
    assert wide != ALERTS
    project = shop({"silver.orders": ORDERS, "sales.totals": wide}, yaml=small)
    project.post_ndjson("orders", big(0, 4))
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM quarantine.cupel__outbox") == 1, 60, "one is refused")
    assert [r["customer"] for r in alerts(project)] == ["k0", "k2", "k3"]
    row = project.sql("SELECT _reason, _raw, _stream FROM quarantine.cupel__outbox")[0]
    assert row["_stream"] == "alerts" and "bytes" in row["_reason"] and json.loads(row["_raw"])["customer"] == "k1"
    assert project.metrics()['cupel_outbox_refused_total{stream="alerts"}'] == 1 and project.metrics()["cupel_outbox_failing"] == 0
    assert "cupel__outbox" in project.cli("quarantine", "list").stdout and "alerts" in project.cli("quarantine", "show", "cupel.outbox").stdout
    assert "1 in quarantine before, 1 after" in project.cli("quarantine", "redrive", "cupel.outbox").stdout
    project.write_yaml(YAML)
    project.restart()
    assert "1 in quarantine before, 0 after" in project.cli("quarantine", "redrive", "cupel.outbox").stdout
    lib.wait_until(lambda: [r["n"] for r in alerts(project)] == [1, 1, 1, 1], 30, "all four")


# ---- models that are gone, renamed, or something else now ----


def reload(project):
    project.process.send_signal(1)


def gone(project, name):
    (project.dir / "models" / (name.replace(".", "/") + ".sql")).unlink()


@pytest.mark.peers
def test_what_a_renamed_model_leaves_is_said_and_dropped(shop):
    project = shop({"silver.orders": ORDERS, "sales.totals": TOTALS})
    project.post_ndjson("orders", [order(i) for i in range(30)])
    until_rows(project, "sales.totals", 3)
    copied(project)
    gone(project, "sales.totals")
    model(project, "sales.by_customer", TOTALS)
    reload(project)
    until_rows(project, "sales.by_customer", 3)
    answer = ask(project, "SELECT sum(orders)::BIGINT AS n FROM sales.totals")
    assert answer.status_code == 200 and "sales.totals is as its model left it" in answer.headers["Cupel-Warning"]
    assert "Cupel-Warning" not in ask(project, "SELECT * FROM sales.by_customer").headers
    assert "sales.totals has no model any more" in project.cli("model", "list").stderr
    assert [t["name"] for t in project.get("/v1/models").json()["without_model"]] == ["totals"]
    project.restart()
    assert "Cupel-Warning" in ask(project, "SELECT * FROM sales.totals").headers
    assert "sales.totals" in project.cli("flow", "prune", "--yes").stdout
    assert ask(project, "SELECT * FROM sales.totals").status_code == 400 and catalog_rows(project, "sales.totals") is None
    assert "has no model" not in project.cli("model", "list").stderr and "Every table" in project.cli("flow", "prune").stdout
    # The name comes back with another shape, and then as a view, and as a table again.
    shapes = ["kind: full\nstore: both", "kind: view", "kind: incremental\nby: [customer]\nkey: [customer]"]
    for n, kind in enumerate(shapes):
        model(project, "sales.totals", f"/* cupel\n{kind}\n*/\nSELECT customer, max(amount) + {n} AS most, count(*) AS orders FROM silver.orders GROUP BY customer\n")
        reload(project)
        lib.wait_until(lambda: value_or_none(project, "SELECT max(most)::BIGINT AS n FROM sales.totals") == 10 + n, 60, f"sales.totals as {kind}")
    idle(project)
    assert "Cupel-Warning" not in ask(project, "SELECT * FROM sales.totals").headers
    verified(project)


def test_a_model_that_comes_back_misses_nothing(shop):
    """While it was away its input replaced rows, and nobody kept what they were before."""
    project = shop({"silver.orders": ORDERS, "sales.by_day": BY_DAY})
    project.post_ndjson("orders", [order(i, ts=1763632800) for i in range(20)])
    all_in(project, 20)
    gone(project, "sales.by_day")
    reload(project)
    lib.wait_until(lambda: "sales.by_day" not in models_of(project), 30, "it is gone")
    project.post_ndjson("orders", [order(i, ts=1763632800 + 86400) for i in range(10)])  # the same orders, on another day
    lib.wait_until(lambda: value_or_none(project, "SELECT count(*) AS n FROM silver.orders WHERE ordered_at >= '2025-11-21'") == 10, 60, "replaced")
    idle(project)
    model(project, "sales.by_day", BY_DAY)
    reload(project)
    lib.wait_until(lambda: [r["orders"] for r in project.sql("SELECT orders FROM sales.by_day ORDER BY day")] == [10, 10], 60, "both days")
    verified(project)


# ---- accounts that do not believe the runs ----

EVENTS = """/* cupel
kind: stream
key: [_event_id]
drops: "TRY_CAST(payload->>'$.amount' AS DECIMAL(18,4)) IS NULL"
*/
SELECT _event_id, _received_at, TRY_CAST(payload->>'$.amount' AS DECIMAL(18,4)) AS amount FROM bronze.orders
WHERE TRY_CAST(payload->>'$.amount' AS DECIMAL(18,4)) IS NOT NULL
"""

LIMITS = """table: silver.events
on_fail: quarantine
expectations:
  - expect_column_values_to_be_between: {column: amount, min_value: 0, max_value: 1000}
"""


def followed(project):
    done = project.cli("conservation", "--deep", "--json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    return {h["name"]: h["followed"] for h in report["hops"] if h["hop"] == "model"}


def tamper(project, sql):
    """Behind the back of everything that counts."""
    import duckdb

    project.stop()
    with duckdb.connect(str(project.data / "warehouse.duckdb")) as db:
        db.execute(sql)
    project.start()


def test_deep_accounts_follow_each_event(shop):
    project = shop({"silver.orders": ORDERS, "silver.events": EVENTS}, start=False)
    (project.dir / "expectations").mkdir(exist_ok=True)
    (project.dir / "expectations/silver.events.yaml").write_text(LIMITS)
    project.start()
    project.post_ndjson("orders", [order(i) for i in range(50)])
    project.post_ndjson("orders", [order(i, 20) for i in range(20)] + [order(50, "bad"), order(51, 5000), order(52, -1)])
    until_rows(project, "silver.events", 70)
    until_rows(project, "silver.orders", 52)
    idle(project)
    same = {"both": 0, "twice": 0, "unknown": 0, "ok": True}
    assert followed(project) == {
        "silver.events": {"events": 73, "kept": 70, "quarantined": 2, "dropped": 1, "rest": 0, "exact": True, **same},
        "silver.orders": {"events": 73, "kept": 52, "quarantined": 0, "dropped": 1, "rest": 20, "exact": False, **same},
    }
    assert "FOLLOWED BY ID" in project.cli("conservation", "--deep").stdout
    one = project.sql("SELECT _event_id::VARCHAR AS id FROM silver.events ORDER BY amount, _event_id LIMIT 1")[0]["id"]
    tamper(project, f"DELETE FROM silver.events WHERE _event_id = '{one}'")
    assert project.cli("conservation").returncode == 0  # the runs' own figures know nothing of it
    assert (followed(project)["silver.events"]["rest"], followed(project)["silver.events"]["ok"]) == (1, False)
    tamper(project, "INSERT INTO silver.events SELECT * FROM silver.events ORDER BY _event_id LIMIT 1; INSERT INTO silver.orders BY NAME SELECT max(_event_id)::UUID AS _event_id, 'never' AS order_id FROM (SELECT replace(_event_id::VARCHAR, '-8', '-9') AS _event_id FROM silver.orders)")
    after = followed(project)
    assert after["silver.events"]["twice"] == 1 and after["silver.orders"]["unknown"] == 1 and not after["silver.orders"]["ok"], after


def test_the_lag_is_not_shown_before_it_is_known(shop):
    """What waits at a start may have waited for hours."""
    project = shop({"silver.orders": ORDERS})
    lag = 'cupel_model_lag_seconds{model="silver.orders"}'
    project.post_ndjson("orders", [order(1)])
    until_rows(project, "silver.orders", 1)
    lib.wait_until(lambda: lag in project.metrics(), 30, "up to date")
    project.kill9()
    model(project, "silver.orders", ORDERS.replace("payload->>'$.id' AS order_id", "CAST(payload->>'$.id' AS INTEGER) AS order_id"))
    project.start()
    lib.wait_until(lambda: project.metrics().get('cupel_model_failing{model="silver.orders"}', 0) > 0, 60, "it fails")
    assert lag not in project.metrics() and "lag_seconds" not in models_of(project)["silver.orders"]["state"]
    model(project, "silver.orders", ORDERS)
    reload(project)
    lib.wait_until(lambda: project.metrics().get(lag) == 0, 60, "up to date again")
    assert models_of(project)["silver.orders"]["state"]["lag_seconds"] < 60
