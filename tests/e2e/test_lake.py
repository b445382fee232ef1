"""The lake against independent readers and writers: a reader of our own over fastavro and pyarrow that trusts nothing but the specification, and PyIceberg as
a writer beside ours."""

import datetime
import json
import sqlite3
import struct
import threading
import time
import uuid
from pathlib import Path

import lib
import pytest

pytestmark = [pytest.mark.peers, pytest.mark.timeout(300)]

YAML = """
project: lake
listen: 127.0.0.1:0
lake: {flush: {bytes: 100KB, seconds: 1}}
streams:
  web: {partitions: 2, key: session_id}
"""
QUIET_YAML = YAML.replace("seconds: 1", "seconds: 3000").replace("100KB", "1GB")


def flush(project):
    answer = project.request("POST", "/v1/flush", timeout=120)
    assert answer.status_code == 200, answer.text


def fill(project, n, start=0):
    ids = []
    for at in range(start, start + n, 500):
        events = [{"session_id": f"s{i % 17}", "i": i, "text": "ü'\"" * (i % 20)} for i in range(at, min(at + 500, start + n))]
        answer = project.post_ndjson("web", events)
        assert answer.status_code == 202, answer.text
        ids += answer.json()["ids"]
    return ids


# ---- a reader by the specification ---------------------------------------------------------------------------------------------------------------------


class Reader:
    """Reads a table from the catalog's pointer down: metadata, manifest list, manifests, Parquet. Nothing of PyIceberg."""

    def __init__(self, project, table="web", schema="bronze"):
        db = sqlite3.connect(f"file:{project.data}/ledger.db?mode=ro", uri=True)
        row = db.execute("SELECT metadata_location FROM iceberg_tables WHERE catalog_name='cupel' AND table_namespace=? AND table_name=?", (schema, table)).fetchone()
        db.close()
        self.pointer = row[0]
        self.metadata = json.loads(self.path(self.pointer).read_text())

    @staticmethod
    def path(uri):
        assert uri.startswith("file:///"), uri
        return Path(uri[len("file://") :])

    @staticmethod
    def avro(path):
        import fastavro

        with open(path, "rb") as file:
            reader = fastavro.reader(file)
            return dict(reader.metadata), list(reader)

    def snapshot(self):
        return next(s for s in self.metadata["snapshots"] if s["snapshot-id"] == self.metadata["current-snapshot-id"])

    def manifests(self):
        header, rows = self.avro(self.path(self.snapshot()["manifest-list"]))
        assert header["format-version"] == "2" and header["snapshot-id"] == str(self.metadata["current-snapshot-id"])
        for row in rows:
            assert self.path(row["manifest_path"]).stat().st_size == row["manifest_length"]
            yield row

    def entries(self):
        for manifest in self.manifests():
            header, rows = self.avro(self.path(manifest["manifest_path"]))
            assert header["content"] == "data" and json.loads(header["schema"])["fields"]
            counts = {0: 0, 1: 0, 2: 0}
            for entry in rows:
                counts[entry["status"]] += 1
                if entry["status"] != 2:
                    sequence = entry["sequence_number"] if entry["sequence_number"] is not None else manifest["sequence_number"]
                    assert manifest["min_sequence_number"] <= sequence <= manifest["sequence_number"] <= self.metadata["last-sequence-number"]
                    yield entry["data_file"]
            assert (counts[1], counts[0], counts[2]) == (manifest["added_files_count"], manifest["existing_files_count"], manifest["deleted_files_count"])

    def schema(self):
        return next(s for s in self.metadata["schemas"] if s["schema-id"] == self.metadata["current-schema-id"])

    def fields(self):
        return {f["name"]: f for f in self.schema()["fields"]}


def check_file(reader, entry):
    """What the manifest says about a file is what the file says. Returns its Arrow table."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = reader.path(entry["file_path"])
    assert path.stat().st_size == entry["file_size_in_bytes"]
    parquet = pq.ParquetFile(path)
    assert parquet.metadata.num_rows == entry["record_count"]
    fields = reader.fields()
    for field in parquet.schema_arrow:
        assert int(field.metadata[b"PARQUET:field_id"]) == fields[field.name]["id"], field
    headers = parquet.schema_arrow.field("_headers").type
    assert int(headers.key_field.metadata[b"PARQUET:field_id"]) == fields["_headers"]["type"]["key-id"]
    assert int(headers.item_field.metadata[b"PARQUET:field_id"]) == fields["_headers"]["type"]["value-id"]
    table = parquet.read()
    nulls, counts = ({r["key"]: r["value"] for r in entry[name]} for name in ("null_value_counts", "value_counts"))
    lower, upper = ({r["key"]: r["value"] for r in entry[name]} for name in ("lower_bounds", "upper_bounds"))
    for name in ("_event_id", "_partition", "_offset", "_received_at", "_key", "payload", "_body", "_valid_json"):
        field_id, column = fields[name]["id"], table[name]
        assert nulls[field_id] == column.null_count and counts[field_id] == len(column), name
        assert (field_id in lower) == (field_id in upper)
    for name, form in (("_partition", "<i"), ("_offset", "<q")):
        field_id = fields[name]["id"]
        assert struct.unpack(form, lower[field_id])[0] == pc.min(table[name]).as_py()
        assert struct.unpack(form, upper[field_id])[0] == pc.max(table[name]).as_py()
    received = table["_received_at"].cast("int64")
    assert struct.unpack("<q", lower[fields["_received_at"]["id"]])[0] == pc.min(received).as_py()
    assert struct.unpack("<q", upper[fields["_received_at"]["id"]])[0] == pc.max(received).as_py()
    hour = entry["partition"]["_received_at_hour"]
    assert pc.min(received).as_py() // 3_600_000_000 == pc.max(received).as_py() // 3_600_000_000 == hour
    assert f"_received_at_hour={datetime.datetime.fromtimestamp(hour * 3600, datetime.timezone.utc):%Y-%m-%d-%H}/" in entry["file_path"]
    low, high = lower[fields["payload"]["id"]].decode(), upper[fields["payload"]["id"]].decode()
    assert len(low) <= 16 and len(high) <= 16
    payloads = table["payload"].to_pylist()
    assert low <= min(payloads) and high >= max(payloads)
    return table


def test_every_byte_is_as_the_specification_says(make_project):
    project = make_project(QUIET_YAML)
    ids = []
    for i in range(3):
        ids += fill(project, 700, i * 700)
        flush(project)
    reader = Reader(project)
    assert reader.metadata["format-version"] == 2 and len(reader.metadata["snapshots"]) == 3
    assert [s["summary"]["operation"] for s in reader.metadata["snapshots"]] == ["append"] * 3
    tables = [check_file(reader, entry) for entry in reader.entries()]
    seen = [str(uuid.UUID(bytes=v if isinstance(v, bytes) else v.bytes)) for t in tables for v in t["_event_id"].to_pylist()]
    assert sorted(seen) == sorted(ids)
    assert reader.snapshot()["summary"]["total-records"] == "2100"
    positions = {k: int(v) for k, v in reader.metadata["properties"].items() if k.startswith("cupel.position.")}
    assert sum(positions.values()) == 2100
    project.cli("table", "compact", "bronze.web", "--open-hours")
    reader = Reader(project)
    tables = [check_file(reader, entry) for entry in reader.entries()]
    assert len(tables) <= 2  # one, unless the hour changed meanwhile
    for table in tables:
        order = list(zip(table["_received_at"].to_pylist(), table["_event_id"].to_pylist()))
        assert order == sorted(order)
    assert sum(t.num_rows for t in tables) == 2100


# ---- PyIceberg as a writer beside ours -----------------------------------------------------------------------------------------------------------------


def catalog(project):
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("cupel", uri=f"sqlite:///{project.data}/ledger.db", warehouse=f"file://{project.data}/lake", init_catalog_tables="false")


def make_event_id(received_ms, stream, partition, offset):
    """As base/event_id.h says."""
    bits = received_ms << 80 | 7 << 76 | stream << 64 | 2 << 62 | partition << 52 | offset << 6
    return uuid.UUID(int=bits)


def outside_rows(table, n, tag):
    import pyarrow as pa

    schema, now = table.schema().as_arrow(), datetime.datetime.now(datetime.timezone.utc)
    values = {"_event_id": lambda i: uuid.uuid4().bytes, "_stream": lambda i: "outside", "_partition": lambda i: 9, "_offset": lambda i: i, "_received_at": lambda i: now, "payload": lambda i: json.dumps({"tag": tag, "i": i})}
    arrays = []
    for field in schema:
        extension = isinstance(field.type, pa.BaseExtensionType)
        plain = pa.array([values[field.name](i) if field.name in values else None for i in range(n)], type=field.type.storage_type if extension else field.type)
        arrays.append(pa.ExtensionArray.from_storage(field.type, plain) if extension else plain)
    return pa.Table.from_arrays(arrays, schema=schema)


def outside_append(project, n, tag, attempts=50):
    """Repeats when our writer was faster, as PyIceberg asks its users to."""
    from pyiceberg.exceptions import CommitFailedException
    from sqlalchemy.exc import OperationalError

    for _ in range(attempts):
        try:
            table = catalog(project).load_table("bronze.web")
            table.append(outside_rows(table, n, tag))
            return
        except (CommitFailedException, OperationalError):
            time.sleep(0.05)
    raise AssertionError("never got in")


def test_two_writers_at_once(make_project):
    """Our flushes and PyIceberg's appends race for the same table while events come in: all rows of both, none twice."""
    project = make_project(YAML)
    errors, ids = [], []

    def outside():
        try:
            for i in range(12):
                outside_append(project, 10, f"t{i}")
        except BaseException as error:  # noqa: BLE001 - shown by the test's thread
            errors.append(error)

    thread = threading.Thread(target=outside)
    thread.start()
    at, pause = 0, 0.1
    while thread.is_alive() or at < 6000:
        ids += fill(project, 500, at)
        at += 500
        time.sleep(pause)
        pause = min(10, pause * 1.05)  # on a busy machine the outsider is too slow to get in between our flushes
    thread.join()
    assert not errors, errors
    flush(project)
    rows = project.sql("SELECT _event_id::VARCHAR AS id, _stream FROM bronze.web")
    assert sorted(r["id"] for r in rows if r["_stream"] == "web") == sorted(ids)
    assert len({r["id"] for r in rows}) == len(rows) == len(ids) + 120
    assert catalog(project).load_table("bronze.web").scan().to_arrow().num_rows == len(rows)
    project.cli("table", "compact", "bronze.web", "--open-hours")
    assert project.value("SELECT count(*) AS n FROM bronze.web") == len(rows)
    assert project.cli("verify").returncode == 0


def test_foreign_changes_are_followed(make_project):
    """A column is added, properties are set and removed (our positions too), rows are deleted by copy-on-write, snapshots expire; we go on."""
    from pyiceberg.types import LongType

    project = make_project(QUIET_YAML)
    ids = set(fill(project, 1000))
    flush(project)
    table = catalog(project).load_table("bronze.web")
    with table.update_schema() as update:
        update.add_column("_note", LongType(), doc="by an outsider")
    with table.transaction() as transaction:
        transaction.remove_properties(*[name for name in table.properties if name.startswith("cupel.position.")])
        transaction.set_properties({"owner": "someone"})
    assert project.sql("SELECT _note FROM bronze.web LIMIT 1") == [{"_note": None}]
    project.kill9()
    project.start()
    ids |= set(fill(project, 500, 1000))
    flush(project)
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 1500
    table = catalog(project).load_table("bronze.web")
    assert table.properties["owner"] == "someone" and table.schema().find_field("_note").doc == "by an outsider"
    gone = project.value("SELECT count(*) AS n FROM bronze.web WHERE _partition = 1")
    assert 0 < gone < 1500
    table.delete("_partition = 1")
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 1500 - gone
    before = {row["snapshot_id"] for row in table.refresh().inspect.snapshots().to_pylist()}
    assert len(before) > 2
    table.maintenance.expire_snapshots().older_than(datetime.datetime.now() + datetime.timedelta(days=1)).commit()
    ids |= set(fill(project, 300, 1500))
    flush(project)
    project.cli("table", "compact", "bronze.web", "--open-hours")
    rows = [r["id"] for r in project.sql("SELECT _event_id::VARCHAR AS id FROM bronze.web")]
    assert len(rows) == len(set(rows)) == 1800 - gone and set(rows) <= ids
    assert catalog(project).load_table("bronze.web").scan().to_arrow().num_rows == 1800 - gone
    assert project.cli("verify").returncode == 0


def test_an_event_that_only_bronze_has(make_project):
    """An id whose address is not in the log is found by the manifests' bounds."""
    import pyarrow as pa

    project = make_project(QUIET_YAML)
    fill(project, 500)
    flush(project)
    table = catalog(project).load_table("bronze.web")
    number = int(table.properties["cupel.stream"])
    at = datetime.datetime(2025, 3, 4, 5, 6, 7, 89000, datetime.timezone.utc)
    event_id = make_event_id(int(at.timestamp() * 1000), number, 1, 123456789)
    rows = outside_rows(table, 1, "found")
    columns = dict(zip(rows.schema.names, rows.columns))
    columns["_event_id"] = pa.ExtensionArray.from_storage(rows.schema.field("_event_id").type, pa.array([event_id.bytes], pa.binary(16)))
    columns["_received_at"] = pa.array([at], rows.schema.field("_received_at").type)
    columns["_partition"] = pa.array([1], pa.int32())
    columns["_offset"] = pa.array([123456789], pa.int64())
    table.append(pa.Table.from_arrays(list(columns.values()), schema=rows.schema))
    answer = project.event(str(event_id))
    assert answer.status_code == 200, answer.text
    assert "found" in answer.text and str(event_id) in answer.text
    assert project.event(str(make_event_id(int(at.timestamp() * 1000), number, 1, 123456788))).status_code == 404
    assert project.event(str(make_event_id(5, number, 0, 1))).status_code == 404
    assert project.event(str(make_event_id(5, 4000, 0, 1))).status_code == 404


def test_kills_while_flushing(make_project):
    project = make_project(YAML)
    ids = []
    for round_number in range(6):
        ids += fill(project, 1500, round_number * 1500)
        time.sleep(0.05 * round_number)
        project.kill9()
        project.start()
    flush(project)
    reader = Reader(project)
    seen = [str(uuid.UUID(bytes=v if isinstance(v, bytes) else v.bytes)) for entry in reader.entries() for v in check_file(reader, entry)["_event_id"].to_pylist()]
    assert sorted(seen) == sorted(ids)


def test_expiry_deletes_what_nobody_names(make_project):
    project = make_project(QUIET_YAML)
    for i in range(4):
        fill(project, 100, i * 100)
        flush(project)
    project.cli("table", "compact", "bronze.web", "--open-hours")
    data = project.data / "lake/bronze/web"
    assert len(list(data.glob("data/*/*.parquet"))) >= 5
    project.cli("table", "expire", "bronze.web", "--older-than", (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat())
    reader = Reader(project)
    assert len(reader.metadata["snapshots"]) == 1
    named = {entry["file_path"] for entry in reader.entries()}
    lib.wait_until(lambda: {f"file://{p}" for p in data.glob("data/*/*.parquet")} == named, 20, "only named files are left")
    assert {f"file://{p}" for p in data.glob("metadata/*.avro")} == {reader.snapshot()["manifest-list"]} | {m["manifest_path"] for m in reader.manifests()}
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 400


# ---- moving and losing things --------------------------------------------------------------------------------------------------------------------------


def test_a_moved_project_and_a_lost_ledger(make_project):
    project = make_project(QUIET_YAML)
    fill(project, 1000)
    flush(project)
    fill(project, 200, 1000)
    flush(project)
    project.stop()
    moved = project.dir.with_name("moved")
    project.dir.rename(moved)
    project.dir, project.data, project.log_path = moved, moved / "data", moved / "server.log"
    project.start()
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 1200  # the lake knows where it is
    fill(project, 100, 1200)
    flush(project)
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 1300
    project.cli("table", "register", "--recover")  # writes the new place into all metadata, for other programs
    assert catalog(project).load_table("bronze.web").scan().to_arrow().num_rows == 1300
    assert str(moved) in Reader(project).pointer
    assert len(list(catalog(project).load_table("bronze.web").history())) == 3
    assert project.cli("verify").returncode == 0
    fill(project, 50, 1300)
    flush(project)
    assert catalog(project).load_table("bronze.web").scan().to_arrow().num_rows == 1350


def test_landing_tables_are_packed_and_widened(make_project):
    """Files with growing columns land, small files become one, an event of a landing table is found by its id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    project = make_project(QUIET_YAML + "sources:\n  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n")
    folder = project.dir / "landing/pos"
    folder.mkdir(parents=True, exist_ok=True)

    def land(name, columns):
        pq.write_table(pa.table(columns), folder / f".{name}.tmp")
        (folder / f".{name}.tmp").rename(folder / name)
        lib.wait_until(lambda: not (folder / name).exists(), 30, f"{name} landed")

    land("a.parquet", {"n": pa.array([1, 2], pa.int32()), "d": pa.array(["1.5", "2.5"]), "tags": pa.array([["x"], None], pa.list_(pa.string()))})
    land("b.parquet", {"N": pa.array([2**40, 4], pa.int64()), "added": pa.array([{"p": 1, "q": "z"}, None], pa.struct([("p", pa.int32()), ("q", pa.string())]))})
    land("c.parquet", {"n": pa.array([5], pa.int32()), "added": pa.array([{"p": 2**33, "q": "y", "r": True}], pa.struct([("p", pa.int64()), ("q", pa.string()), ("r", pa.bool_())]))})
    query = "SELECT n, d, tags, added->>'p' AS p, added->>'r' AS r FROM bronze.pos ORDER BY _event_id"  # nested columns land as JSON text
    want = [
        {"n": 1, "d": "1.5", "tags": '["x"]', "p": None, "r": None}, {"n": 2, "d": "2.5", "tags": None, "p": None, "r": None},
        {"n": 2**40, "d": None, "tags": None, "p": "1", "r": None}, {"n": 4, "d": None, "tags": None, "p": None, "r": None},
        {"n": 5, "d": None, "tags": None, "p": "8589934592", "r": "true"},
    ]  # fmt: skip
    assert project.sql(query) == want
    project.cli("table", "compact", "bronze.pos", "--open-hours")
    assert project.sql(query) == want
    assert len(list(Reader(project, "pos").entries())) <= 2
    arrow = catalog(project).load_table("bronze.pos").scan().to_arrow()
    assert sorted(arrow["n"].to_pylist()) == [1, 2, 4, 5, 2**40]
    event_id = project.value("SELECT _event_id::VARCHAR AS id FROM bronze.pos WHERE n = 5")
    answer = project.event(event_id)
    assert answer.status_code == 200 and "8589934592" in answer.text, answer.text
    land("d.parquet", {"n": pa.array(["five"])})  # text into a number: refused as a whole, with the reason
    assert project.sql(query) == want
