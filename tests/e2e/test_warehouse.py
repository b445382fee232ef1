"""The warehouse file through the whole program: models' tables in SQL and in lists, lake copies that PyIceberg reads, damage, a copy of the data folder."""

import json
import shutil

import lib
import pytest

pytestmark = pytest.mark.timeout(300)

YAML = """
project: warehouse
listen: 127.0.0.1:0
lake: {publish_seconds: 1}
streams:
  web: {partitions: 2, key: session}
"""

EVENTS = """/* cupel
kind: stream
key: [event]
store: both
description: One row per event
columns: {event: Number of the event, amount: Money}
*/
SELECT json_extract_string(payload, '$.event') AS event, json_extract_string(payload, '$.session') AS session,
       json_decimal(payload, 'amount')::DECIMAL(18,4) AS amount, _received_at, _event_id
FROM bronze.web
"""

SESSIONS = """/* cupel
kind: incremental
by: [session]
store: lake
*/
SELECT session, count(*) AS events, sum(amount) AS amount, max(_received_at) AS last_at FROM silver.events GROUP BY session
"""

TOTALS = """/* cupel
kind: view
*/
SELECT count(*) AS sessions, sum(events)::BIGINT AS events FROM gold.sessions
"""


@pytest.fixture
def shop(make_project):
    project = make_project(YAML, start=False)
    for name, text in {"silver/events": EVENTS, "gold/sessions": SESSIONS, "gold/totals": TOTALS}.items():
        path = project.dir / "models" / f"{name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project.start()


def send(project, first, n):
    events = [{"event": f"e{i}", "session": f"s{i % 7}", "amount": f"{i}.25"} for i in range(first, first + n)]
    assert project.post_ndjson("web", events).status_code == 202


def arrived(project, n):
    def there():
        try:
            return project.value("SELECT events AS n FROM gold.totals") == n
        except Exception:
            return False

    lib.wait_until(there, 30, f"{n} events in gold.totals", 0.2)


def test_models_are_tables_like_others(shop):
    send(shop, 0, 100)
    arrived(shop, 100)
    shown = {(t["schema"], t["name"]): t for t in shop.get("/v1/tables").json()["tables"]}
    assert shown["silver", "events"]["kind"] == "warehouse" and shown["gold", "totals"]["kind"] == "view" and shown["bronze", "web"]["kind"] == "lake"
    assert shown["silver", "events"]["rows"] == 100
    table = shop.get("/v1/tables/silver.events").json()
    assert {c["name"]: c.get("comment") for c in table["columns"]}["amount"] == "Money"
    assert "_version" not in json.dumps(table["columns"])
    assert "silver" in shop.cli("table", "list").stdout and "Number of the event" in shop.cli("table", "show", "silver.events").stdout
    assert [row["column_name"] for row in shop.sql("DESCRIBE silver.events")][:3] == ["event", "session", "amount"]
    for forbidden in ("SELECT * FROM warehouse.silver.events", "SELECT _version FROM silver.events", "DELETE FROM silver.events"):
        assert shop.request("POST", "/v1/sql", json={"query": forbidden}).status_code in (400, 403)


def test_committed_runs_outlive_the_engine(shop):
    for round in range(4):
        send(shop, round * 50, 50)
        if round % 2:
            arrived(shop, round * 50 + 50)
        shop.kill_engine()
    arrived(shop, 200)
    assert shop.value("SELECT count(DISTINCT event) AS n FROM silver.events") == 200
    assert shop.get("/health/ready").status_code == 200


def test_a_copied_folder_is_a_backup(shop, tmp_path):
    send(shop, 0, 300)
    arrived(shop, 300)
    before = shop.sql("SELECT * FROM gold.sessions ORDER BY session")
    shop.stop()
    copy = tmp_path / "copy"
    shutil.copytree(shop.dir, copy)
    shop.restart()
    send(shop, 300, 10)
    arrived(shop, 310)
    shop.stop()
    shutil.rmtree(shop.dir / "data")
    shutil.copytree(copy / "data", shop.dir / "data")
    shop.restart()
    arrived(shop, 300)
    assert shop.sql("SELECT * FROM gold.sessions ORDER BY session") == before
    assert json.loads(shop.cli("verify", "--json").stdout)["ok"]


def test_a_damaged_warehouse_is_told_and_the_rest_goes_on(shop):
    send(shop, 0, 100)
    arrived(shop, 100)
    report = json.loads(shop.cli("verify", "--json").stdout)
    assert report["ok"] and report["lake"]["warehouse_tables"] >= 3
    shop.stop()
    path = shop.data / "warehouse.duckdb"
    with open(path, "r+b") as file:
        file.write(b"no database at all" * 100)
    shop.start()
    assert shop.value("SELECT count(*) AS n FROM bronze.web") == 100
    answer = shop.request("POST", "/v1/sql", json={"query": "SELECT * FROM gold.totals"})  # (a table with a lake copy is read from that)
    assert answer.status_code == 400 and "warehouse.duckdb cannot be opened" in answer.text
    assert "cannot be opened" in shop.get("/v1/tables").json()["warehouse_error"]
    failed = shop.cli("verify", "--json", check=False)
    assert failed.returncode == 1 and "cannot be opened" in failed.stdout
    send(shop, 100, 10)
    assert shop.value("SELECT count(*) AS n FROM bronze.web") == 110


def catalog(project):
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("cupel", uri=f"sqlite:///{project.data}/ledger.db", warehouse=f"file://{project.data}/lake", init_catalog_tables="false")


def copy_rows(project, name):
    """Empty while it was not published for the first time."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        table = catalog(project).load_table(name).scan().to_arrow()
    except NoSuchTableError:
        return []
    return sorted((tuple(str(v) for v in row.values()) for row in table.to_pylist()), key=str)


def own_rows(project, name):
    import pyarrow.parquet

    answer = project.request("POST", "/v1/sql", json={"query": f"SELECT * FROM {name}", "format": "parquet"})
    path = project.dir / "own.parquet"
    path.write_bytes(answer.content)
    return sorted((tuple(str(v) for v in row.values()) for row in pyarrow.parquet.read_table(path).to_pylist()), key=str)


def plain(rows):
    """PyIceberg gives UUIDs as bytes or UUID, times with another name of the same zone."""
    return [tuple(v for v in row if "UUID" not in v and not v.startswith("b'")) for row in rows]


@pytest.mark.peers
def test_pyiceberg_reads_the_copies(shop):
    for round in range(5):
        send(shop, round * 100, 100)
        send(shop, round * 100, 10)  # sent again: rows replaced
        arrived(shop, round * 100 + 100)
        if round == 2:
            shop.kill9()
            shop.start()

    def caught_up():
        return shop.value("SELECT count(*) AS n FROM silver.events") == 500 and len(copy_rows(shop, "silver.events")) == 500 and plain(copy_rows(shop, "gold.sessions")) == plain(own_rows(shop, "gold.sessions"))

    lib.wait_until(caught_up, 60, "lake copies caught up", 0.5)
    assert len(copy_rows(shop, "gold.sessions")) == 7
    mine = {row["event"]: row["amount"] for row in shop.sql("SELECT event, amount::VARCHAR AS amount FROM silver.events")}
    theirs = {row["event"]: str(row["amount"]) for row in catalog(shop).load_table("silver.events").scan().to_arrow().to_pylist()}
    assert theirs == mine
    assert int(catalog(shop).load_table("silver.events").properties["cupel.version"]) > 0
    lags = [v for k, v in shop.metrics().items() if "cupel_lake_copy_lag_seconds" in str(k)]
    assert lags is not None
