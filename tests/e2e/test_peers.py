"""Other programs open what cupel wrote: PyIceberg through its SqlCatalog on the ledger, DuckDB on the Parquet files, fastavro on the manifests."""

import glob
import json

import lib
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

YAML = """
project: peers
listen: 127.0.0.1:0
lake: {flush: {bytes: 100KB, seconds: 1}}
streams:
  web: {partitions: 2, key: session_id}
sources:
  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}
"""


def catalog(project):
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("cupel", uri=f"sqlite:///{project.data}/ledger.db", warehouse=f"file://{project.data}/lake", init_catalog_tables="false")


def fill(project, n=5000):
    ids = []
    for start in range(0, n, 500):
        answer = project.post_ndjson("web", [{"session_id": f"s{i % 17}", "i": i, "text": "ü" * (i % 50)} for i in range(start, start + 500)])
        assert answer.status_code == 202, answer.text
        ids += answer.json()["ids"]
    return ids


def flush(project):
    """Everything that is in the log is in the lake afterwards: with flush.seconds 1 that is a matter of time."""
    lib.wait_until(lambda: all(hop.get("in_log", 0) == 0 for hop in project.get("/v1/conservation").json()["hops"]), 60, "everything flushed", 0.2)


def bronze_ids(project, table="web"):
    return sorted(row["id"] for row in project.sql(f"SELECT _event_id::VARCHAR AS id FROM bronze.{table}"))


def test_pyiceberg_counts_the_same(make_project):
    project = make_project(YAML)
    ids = fill(project)
    project.land("landing/pos", "one.csv", "transaction_id,quantity\n" + "".join(f"t{i},{i}\n" for i in range(1000)))
    flush(project)
    lib.wait_until(lambda: not (project.dir / "landing/pos/one.csv").exists(), 30, "pos landed")
    assert project.value("SELECT count(*) AS n FROM bronze.pos") == 1000
    table = catalog(project).load_table("bronze.web")
    arrow = table.scan().to_arrow()
    assert sorted(str(i) for i in (v.as_py() if not isinstance(v.as_py(), bytes) else __import__("uuid").UUID(bytes=v.as_py()) for v in arrow["_event_id"])) == sorted(ids)
    payloads = {row["id"]: row["payload"] for row in project.sql("SELECT _event_id::VARCHAR AS id, payload FROM bronze.web")}
    assert sorted(arrow["payload"].to_pylist()) == sorted(payloads.values())
    assert catalog(project).load_table("bronze.pos").scan().to_arrow().num_rows == 1000
    # a filter on a column with statistics prunes by our bounds and must find exactly the same
    some = table.scan(row_filter="_partition = 1").to_arrow().num_rows
    assert some == project.value("SELECT count(*) AS n FROM bronze.web WHERE _partition = 1") > 0


def test_duckdb_reads_the_files(make_project):
    import duckdb

    project = make_project(YAML)
    fill(project)
    flush(project)
    files = [task.file.file_path.removeprefix("file://") for task in catalog(project).load_table("bronze.web").scan().plan_files()]
    assert files and all(name.startswith(str(project.data)) for name in files)
    theirs = duckdb.sql(f"SELECT count(*), sum(length(payload)), md5(string_agg(payload, '' ORDER BY _event_id)) FROM read_parquet({files!r})").fetchone()
    ours = project.sql("SELECT count(*) AS a, sum(length(payload))::BIGINT AS b, md5(string_agg(payload, '' ORDER BY _event_id)) AS c FROM bronze.web")[0]
    assert theirs == (ours["a"], ours["b"], ours["c"])


def test_manifests_are_plain_avro(make_project):
    import fastavro

    project = make_project(YAML)
    fill(project, 1000)
    flush(project)
    lists = glob.glob(f"{project.data}/lake/**/snap-*.avro", recursive=True)
    manifests = [m for m in glob.glob(f"{project.data}/lake/**/*.avro", recursive=True) if m not in lists]
    assert lists and manifests
    for name in lists + manifests:
        with open(name, "rb") as file:
            assert list(fastavro.reader(file)) is not None


def append_outside(project, n, tag):
    """An outsider appends rows through the same catalog."""
    import datetime
    import uuid

    import pyarrow as pa
    from pyiceberg.exceptions import CommitFailedException

    schema = catalog(project).load_table("bronze.web").schema().as_arrow()
    now = datetime.datetime.now(datetime.timezone.utc)
    values = {"_event_id": lambda i: uuid.uuid4().bytes, "_stream": lambda i: "outside", "_partition": lambda i: 0, "_offset": lambda i: i, "_received_at": lambda i: now, "payload": lambda i: json.dumps({"tag": tag, "i": i})}
    columns = [pa.array([values[f.name](i) if f.name in values else None for i in range(n)], type=f.type if not isinstance(f.type, pa.BaseExtensionType) else f.type.storage_type) for f in schema]
    columns = [c if not isinstance(f.type, pa.BaseExtensionType) else pa.ExtensionArray.from_storage(f.type, c) for c, f in zip(columns, schema)]
    for again in (True, True, True, False):
        try:
            return catalog(project).load_table("bronze.web").append(pa.Table.from_arrays(columns, schema=schema))
        except CommitFailedException:  # the hour changed, and files of the one before were just packed
            if not again:
                raise


def test_outside_append_then_expiry_then_kill(make_project):
    """PyIceberg appends between our flushes, snapshots are expired, the server is killed: no row twice, none lost."""
    project = make_project(YAML)
    ids = fill(project, 1000)
    flush(project)
    append_outside(project, 50, "one")
    ids += fill(project, 1000)
    flush(project)
    append_outside(project, 25, "two")
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 2075
    project.cli("table", "expire", "bronze.web")
    project.kill9()
    project.start()
    ids += fill(project, 500)
    flush(project)
    project.cli("table", "compact", "bronze.web")
    rows = project.sql("SELECT _event_id::VARCHAR AS id, _stream FROM bronze.web")
    assert len(rows) == 2575 and len({row["id"] for row in rows}) == 2575
    assert {row["id"] for row in rows if row["_stream"] == "web"} == set(ids)
    assert catalog(project).load_table("bronze.web").scan().to_arrow().num_rows == 2575
    assert project.cli("verify").returncode == 0
