"""Landing files through the real binary: formats, encodings, bad rows, refusals, taking once, crashes."""

import codecs
import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import time

import lib
import pytest

YAML = """
project: landing
listen: 127.0.0.1:0
streams:
  sales: {partitions: 2, key: id}
sources:
  - {name: pos, type: landing, path: landing/pos, table: bronze.pos, quiet: 500ms}
  - {name: turkish, type: landing, path: landing/turkish, table: bronze.turkish, encoding: windows-1254, quiet: 500ms}
  - {name: latin, type: landing, path: landing/latin, table: bronze.latin, encoding: latin-1, quiet: 500ms}
  - {name: sales_files, type: landing, path: landing/sales, stream: sales, quiet: 500ms}
"""


@pytest.fixture
def shop(make_project):
    return make_project(YAML)


def wait_empty(project, folder, timeout_s=60):
    """All files of the folder were moved away; their names."""
    path = project.dir / folder
    lib.wait_until(lambda: path.is_dir() and not [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")], timeout_s, f"{folder} taken", 0.05)


def land(project, folder, **files):
    for name, content in files.items():
        project.land(folder, name.replace("__", "."), content)
    wait_empty(project, folder)


def has_table(project, name):
    return project.get(f"/v1/tables/{name}").status_code == 200


def rows_of(project, table, columns="* EXCLUDE (_event_id, _file, _file_hash, _received_at)"):
    return project.sql(f"SELECT {columns} FROM {table} ORDER BY _received_at, _event_id")


def accounts(project, source):
    return {a["name"]: a for a in project.get("/v1/conservation").json()["hops"] if a["hop"] == "file"}[source]


def zstd(data):
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


TEXT = 'id,name,note\n1,İpek,"two\nlines"\n2,Öğüt,"say ""hi"""\n3,,\n'
ROWS = [["1", "İpek", "two\nlines"], ["2", "Öğüt", 'say "hi"'], ["3", None, None]]


def values(rows, names=("id", "name", "note")):
    return [[r[n] for n in names] for r in rows]


# ---- encodings and compression: the same rows whatever the file is written in --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["utf-8", "utf-8-sig", "utf-16-le-bom", "utf-16-be-bom", "utf-16-le", "utf-16-be", "gzip", "gzip-members", "zstd", "zstd-frames", "crlf", "cr"])
def test_same_rows_in_every_dress(shop, kind):
    data = TEXT.encode()
    if kind.startswith("utf-16"):
        order = "utf-16-le" if "le" in kind else "utf-16-be"
        bom = codecs.BOM_UTF16_LE if "le" in kind else codecs.BOM_UTF16_BE
        data = (bom if kind.endswith("bom") else b"") + TEXT.encode(order)
    elif kind == "utf-8-sig":
        data = TEXT.encode("utf-8-sig")
    elif kind == "gzip":
        data = gzip.compress(data)
    elif kind == "gzip-members":
        data = gzip.compress(data[:17]) + gzip.compress(data[17:]) + b"\0" * 100
    elif kind == "zstd":
        data = zstd(data)
    elif kind == "zstd-frames":
        data = zstd(data[:30]) + zstd(data[30:])
    elif kind == "crlf":
        data = TEXT.replace("two\nlines", "two\x00lines").replace("\n", "\r\n").replace("\x00", "\n").encode()
    elif kind == "cr":
        data = TEXT.replace("two\nlines", "two\x00lines").replace("\n", "\r").replace("\x00", "\n").encode()
    land(shop, "landing/pos", data__csv=data)
    assert values(rows_of(shop, "bronze.pos")) == ROWS
    assert [r["_row"] for r in rows_of(shop, "bronze.pos")] == [1, 2, 3]


def test_configured_single_byte_encodings(shop):
    text = "id;name\n1;İstanbul Şişli ığü\n2;€\n"
    land(shop, "landing/turkish", a__csv=text.encode("cp1254") + b"3;bad \x81 byte\n")
    assert values(rows_of(shop, "bronze.turkish"), ("id", "name")) == [["1", "İstanbul Şişli ığü"], ["2", "€"]]
    bad = shop.sql("SELECT _row, _reason, hex(_raw) AS raw, _file FROM quarantine.bronze__turkish")
    assert bad == [{"_row": 3, "_reason": "line 4, column 7: byte 0x81 means nothing in windows-1254", "raw": b"3;bad \x81 byte".hex().upper(), "_file": "a.csv"}]
    land(shop, "landing/latin", b__csv="id,price\n1,£5 ½\n".encode("latin-1"))
    assert values(rows_of(shop, "bronze.latin"), ("id", "price")) == [["1", "£5 ½"]]


def test_encoding_that_cannot_be_told_is_refused_and_taken_again_when_given(make_project):
    """The file goes to rejected/ with the place of the first byte; once the source says `encoding:`, the very same file lands."""
    project = make_project(YAML)
    data = "id,name\n1,plain\n2,Çanta\n".encode("cp1254")
    land(project, "landing/pos", bags__csv=data)
    assert (project.dir / "landing/pos/rejected/bags.csv").read_bytes() == data
    reason = (project.dir / "landing/pos/rejected/bags.csv.reason.txt").read_text()
    assert reason.startswith("line 3, column 3: byte 0xC7 is not UTF-8; ") and "windows-1254" in reason and "`encoding:`" in reason
    source = next(s for s in project.get("/v1/sources").json()["sources"] if s["name"] == "pos")
    assert source["last"][0]["outcome"] == "rejected" and source["last"][0]["reason"] == reason.strip()
    assert not has_table(project, "bronze.pos")
    project.stop()
    project.write_yaml(YAML.replace("table: bronze.pos", "table: bronze.pos, encoding: windows-1254"))
    project.start()
    (project.dir / "landing/pos/rejected/bags.csv").rename(project.dir / "landing/pos/bags.csv")
    wait_empty(project, "landing/pos")
    assert values(rows_of(project, "bronze.pos"), ("id", "name")) == [["1", "plain"], ["2", "Çanta"]]


# ---- whole-file refusals -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, data, reason",
    [
        ("empty.csv", b"", "the file is empty"),
        ("blank.csv", b"\n\n\r\n", "the file is empty"),
        ("cut.csv.gz", gzip.compress(TEXT.encode() * 100)[:-20], "in the middle of its gzip data"),
        ("broken.csv.gz", gzip.compress(TEXT.encode() * 100)[:30] + b"x" * 200, "damaged gzip data"),
        ("tail.csv.gz", gzip.compress(TEXT.encode()) + b"something else", "follows the gzip data"),
        ("cut.csv.zst", zstd(random.Random(1).randbytes(100_000).hex().encode())[:-2000], "in the middle of its zstd data"),
        ("half.parquet", b"PAR1" + b"\0" * 500, "not a sound Parquet file"),
        ("array.json", b'[{"a":1},{"a":2}', "the array is not closed"),
        ("comma.json", b'[{"a":1},]', "a value is missing in the array"),
        ("nothing.json", b"[]", "no columns"),
        ("utf32.csv", "id\n1\n".encode("utf-32"), "UTF-32"),
        ("wide.csv", (",".join(f"c{i}" for i in range(2001)) + "\n").encode(), "2001 columns are over columns_max 2000"),
        ("open.csv", b'"id,name\n1,2\n', "in the first record"),
    ],
)
def test_refused_as_a_whole(shop, name, data, reason):
    shop.land("landing/pos", name, data)
    wait_empty(shop, "landing/pos")
    assert (shop.dir / "landing/pos/rejected" / name).read_bytes() == data
    assert reason in (shop.dir / "landing/pos/rejected" / (name + ".reason.txt")).read_text()
    lib.wait_until(lambda: shop.metrics()['cupel_landing_files_total{source="pos",outcome="rejected"}'] == 1, 10, "rejection counted")


# ---- rows ----------------------------------------------------------------------------------------------------------------------------------------------


def test_bad_rows_go_to_quarantine_and_the_rest_lands(shop):
    data = b'id,name\n1,fine\n2,too,many\n3\n4,nul \x00 byte\n"5"x,behind\n6,"never closed\n7,fine\n'
    land(shop, "landing/pos", mixed__csv=data)
    assert values(rows_of(shop, "bronze.pos"), ("id", "name")) == [["1", "fine"], ["7", "fine"]]
    bad = shop.sql("SELECT _row, _reason, hex(_raw) AS raw, _run_id FROM quarantine.bronze__pos ORDER BY _row")
    assert [(b["_row"], b["_reason"].split(" (")[0], bytes.fromhex(b["raw"])) for b in bad] == [
        (2, "line 3: expected 2 fields, found 3", b"2,too,many"),
        (3, "line 4: expected 2 fields, found 1", b"3"),
        (4, "line 5, column 7: a NUL byte", b"4,nul \x00 byte"),
        (5, "line 6, column 4: text follows a closing quote", b'"5"x,behind'),
        (6, "line 7, column 3: a quote is opened and not closed before the end of the file", b'6,"never closed'),
    ]
    ids = {r["id"]: r["e"] for r in shop.sql("SELECT id, _event_id AS e FROM bronze.pos")}
    bad_ids = [b["e"] for b in shop.sql("SELECT _event_id AS e FROM quarantine.bronze__pos")]
    assert len(set(bad_ids) | set(ids.values())) == 7
    assert {k: accounts(shop, "pos")[k] for k in ("read", "landed", "quarantined")} == {"read": 7, "landed": 2, "quarantined": 5}
    assert shop.cli("conservation").returncode == 0
    assert shop.cli("event", "show", ids["7"], "--json").stdout.count("fine") >= 1


def test_all_rows_bad(shop):
    land(shop, "landing/pos", bad__csv="id,name\n1\n2\n")
    assert shop.value("SELECT count(*) FROM quarantine.bronze__pos") == 2
    assert {k: accounts(shop, "pos")[k] for k in ("read", "landed", "quarantined")} == {"read": 2, "landed": 0, "quarantined": 2}


def test_bad_utf16_rows_keep_their_bytes(shop):
    good, bad = "id,name\r\n1,ü\r\n", b"2,\0x\0\x00\xd8y\0\r\0\n\0"
    land(shop, "landing/pos", u16__csv=codecs.BOM_UTF16_LE + good.encode("utf-16-le") + b"2\0,\0x\0\x00\xd8y\0\r\0\n\0" + "3,z\r\n".encode("utf-16-le"))
    assert values(rows_of(shop, "bronze.pos"), ("id", "name")) == [["1", "ü"], ["3", "z"]]
    (row,) = shop.sql("SELECT _reason, hex(_raw) AS raw FROM quarantine.bronze__pos")
    assert bytes.fromhex(row["raw"]) == b"2\0,\0x\0\x00\xd8y\0" and "unpaired surrogate" in row["_reason"]
    assert bad


def test_header_names_and_evolution(shop):
    """Columns match without case and in any order; new ones are added; empty, repeated and our own names get others."""
    land(shop, "landing/pos", a__csv="Id,Name\n1,x\n")
    land(shop, "landing/pos", b__csv=" NAME ,id,Extra\ny,2,z\n")
    land(shop, "landing/pos", c__csv=",_row,dup,dup\nq,w,e,r\n")
    rows = rows_of(shop, "bronze.pos", "*")
    assert values(rows, ("Id", "Name", "Extra")) == [["1", "x", None], ["2", "y", "z"], [None, None, None]]
    assert values(rows[2:], ("column_1", "_row_2", "dup", "dup_2")) == [["q", "w", "e", "r"]]
    assert rows[2]["_row"] == 1
    land(shop, "landing/pos", header__csv="Id,Name,Later\n")
    assert "Later" in rows_of(shop, "bronze.pos", "*")[0]


def test_files_of_one_scan_share_a_commit_and_one_bad_file_does_not_hurt(shop):
    shop.stop()
    for day in range(20):
        shop.land("landing/pos", f"day-{day:02}.csv", f"id,day\n{day},d{day}\n")
    shop.land("landing/pos", "day-07b.csv", b"id,day\n1,\xff\xff\n")
    shop.start()
    wait_empty(shop, "landing/pos")
    rows = rows_of(shop, "bronze.pos", "id, _file, _event_id")
    assert [r["id"] for r in rows] == [str(d) for d in range(20)]  # name order is id order
    assert len(list((shop.dir / "landing/pos/done").iterdir())) == 20
    assert (shop.dir / "landing/pos/rejected/day-07b.csv").exists()
    assert shop.get("/v1/tables/bronze.pos").json()["snapshots"] <= 3


# ---- JSON, lines, Parquet --------------------------------------------------------------------------------------------------------------------------------


def test_json_kinds(shop):
    lines = '{"id":1,"price":12.30,"tags":["a","b"],"ok":true,"x":null}\n{broken\n\n{"id":12345678901234567890,"name":"\\u00fc\\n","o":{"k": 1}}\n'
    land(shop, "landing/pos", a__ndjson=lines)
    got = rows_of(shop, "bronze.pos", "id, price, tags, ok, x, name, o, _row")
    assert got == [
        {"id": "1", "price": "12.30", "tags": '["a","b"]', "ok": "true", "x": None, "name": None, "o": None, "_row": 1},
        {"id": "12345678901234567890", "price": None, "tags": None, "ok": None, "x": None, "name": "ü\n", "o": '{"k": 1}', "_row": 3},
    ]
    (bad,) = shop.sql("SELECT _row, _reason, hex(_raw) AS raw FROM quarantine.bronze__pos")
    assert (bad["_row"], bad["_reason"], bytes.fromhex(bad["raw"])) == (2, "line 2, column 2: a name is missing", b"{broken")
    land(shop, "landing/pos", b__json=json.dumps([{"id": i} for i in range(2000)], indent=1))
    land(shop, "landing/pos", c__json='{\n "id": 9,\n "name": "single"\n}\n')
    assert shop.value("SELECT count(*) FROM bronze.pos") == 2003
    assert rows_of(shop, "bronze.pos", "id, name")[-1] == {"id": "9", "name": "single"}
    land(shop, "landing/pos", d__json='[1, {"id": 5}, "x"]')
    assert shop.value("SELECT count(*) FROM quarantine.bronze__pos WHERE _file = 'd.json'") == 2


def test_parquet_keeps_its_types(shop):
    made = shop.dir / "made.parquet"
    query = (
        "SELECT i::INTEGER AS id, (i * 1.5)::DECIMAL(12,2) AS price, TIMESTAMP '2026-01-01 00:00:00' + INTERVAL (i) HOUR AS at, DATE '2026-01-01' AS day, [i, i + 1] AS list,"
        " i % 2 = 0 AS even, 'x' || i AS name FROM range(1000) t(i)"
    )
    shop.cli("sql", query, "--format", "parquet", "-o", made)
    shop.land("landing/pos", "types.parquet", made.read_bytes())
    wait_empty(shop, "landing/pos")
    types = {r["column_name"]: r["column_type"] for r in shop.sql("DESCRIBE bronze.pos")}
    assert (types["id"], types["price"], types["at"], types["day"], types["list"], types["even"]) == ("INTEGER", "DECIMAL(12,2)", "TIMESTAMP", "DATE", "VARCHAR", "BOOLEAN")
    (row,) = shop.sql("SELECT count(*) AS n, count(DISTINCT _event_id) AS ids, CAST(sum(price) AS VARCHAR) AS total, min(_row) AS lo, max(_row) AS hi FROM bronze.pos")
    assert row == {"n": 1000, "ids": 1000, "total": "749250.00", "lo": 1, "hi": 1000}
    assert shop.value("SELECT list FROM bronze.pos WHERE id = 3") == "[3,4]"
    shop.land("landing/pos", "packed.parquet.gz", gzip.compress(made.read_bytes()))
    wait_empty(shop, "landing/pos")
    assert shop.value("SELECT count(*) FROM bronze.pos") == 2000
    land(shop, "landing/pos", text__csv="id,price\nabc,def\n")  # text does not fit a number's column: refused, nothing lost
    assert "id" in (shop.dir / "landing/pos/rejected/text.csv.reason.txt").read_text()


# ---- readiness -------------------------------------------------------------------------------------------------------------------------------------------


def test_files_in_the_making_are_left_alone(make_project):
    shop = make_project(YAML.replace(", quiet: 500ms", ""))
    folder = shop.dir / "landing/pos"
    lib.wait_until(folder.is_dir, 10, "folder made")
    for name in (".hidden.csv", "a.csv.tmp", "b.csv.part", "c.crdownload"):
        (folder / name).write_text("id\n1\n")
    rows = 0
    for name in ("growing.csv", "again.csv", "once_more.csv"):  # the next one where this test itself was held up
        longest, last = 0, time.monotonic()
        with open(folder / name, "w") as growing:
            growing.write("id\n")
            for i in range(12):
                growing.write(f"{rows}\n")
                growing.flush()
                rows += 1
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
                time.sleep(0.3)
            there = (folder / name).exists()
            longest = max(longest, time.monotonic() - last)
        if there or longest < 2:
            break
    assert there, "it was never quiet for two seconds"
    lib.wait_until(lambda: not (folder / name).exists(), 10, f"{name} taken")
    if name == "growing.csv":
        assert shop.value("SELECT count(*) FROM bronze.pos") == rows == 12
    (folder / "a.csv.tmp").rename(folder / "a.csv")
    lib.wait_until(lambda: not (folder / "a.csv").exists(), 10, "a.csv taken")
    assert name != "growing.csv" or shop.value("SELECT count(*) FROM bronze.pos") == 13
    assert sorted(f.name for f in folder.iterdir() if f.is_file()) == [".hidden.csv", "b.csv.part", "c.crdownload"]


def test_renamed_in_is_complete_and_links_are_left_alone(make_project):
    """However long `quiet` is, a rename says that a file is complete; a symbolic link could lead anywhere."""
    project = make_project(YAML.replace("quiet: 500ms", "quiet: 10m"))
    folder = project.dir / "landing/pos"
    lib.wait_until(folder.is_dir, 10, "folder made")
    secret = project.dir / "elsewhere.csv"
    secret.write_text("id\n1\n")
    (folder / "link.csv").symlink_to(secret)
    (folder / "copied.csv").write_text("id\n2\n")
    time.sleep(1.5)
    project.land("landing/pos", "renamed.csv", "id\n3\n")
    lib.wait_until(lambda: not (folder / "renamed.csv").exists(), 10, "renamed.csv taken")
    assert [r["id"] for r in rows_of(project, "bronze.pos")] == ["3"]
    assert (folder / "link.csv").is_symlink() and (folder / "copied.csv").exists() and secret.exists()


def test_same_content_again_changes_nothing(shop):
    land(shop, "landing/pos", a__csv="id\n1\n", b__csv="id\n1\n")
    land(shop, "landing/pos", a__csv="id\n1\n")
    land(shop, "landing/pos", a__csv="id\n2\n")
    assert [r["id"] for r in rows_of(shop, "bronze.pos")] == ["1", "2"]
    assert sorted(f.name for f in (shop.dir / "landing/pos/done").iterdir()) == ["a.csv", "a.csv.2", "a.csv.3", "b.csv"]
    assert accounts(shop, "pos")["read"] == 2


# ---- commands --------------------------------------------------------------------------------------------------------------------------------------------


def test_source_commands(shop):
    folder = shop.dir / "landing/pos"
    shop.stop()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "first.csv").write_bytes(b"id;name\n1;x\n2\n")
    test = json.loads(shop.cli("source", "test", "pos", "--json").stdout)
    assert (test["delimiter"], test["encoding"], test["columns"], test["rows_good"], test["rows_bad"]) == (";", "UTF-8", ["id", "name"], 1, 1)
    assert test["first_rows"] == [{"id": "1", "name": "x"}] and "expected 2 fields" in test["first_bad_rows"][0]["reason"]
    assert (folder / "first.csv").exists()
    shop.cli("source", "run", "pos")  # without a server: the same node inside the command
    assert not (folder / "first.csv").exists()
    assert "pos" in shop.cli("source", "list").stdout
    shop.start()
    assert shop.value("SELECT count(*) FROM bronze.pos") == 1
    assert shop.request("POST", "/v1/sources/pos/test?path=/etc/passwd").status_code == 403
    assert shop.request("POST", "/v1/sources/pos/test?path=../../cupel.yaml").status_code == 403


# ---- files for a stream ------------------------------------------------------------------------------------------------------------------------------------


def test_files_become_events_of_a_stream(shop):
    land(shop, "landing/sales", a__csv='id,name\n1,"ü ""q"""\n2,\n3\n')
    payloads = [json.loads(r["payload"]) for r in shop.sql("SELECT payload FROM bronze.sales ORDER BY payload")]
    assert payloads == [{"id": "1", "name": 'ü "q"'}, {"id": "2", "name": None}]
    assert {r["_key"] for r in shop.sql("SELECT _key FROM bronze.sales")} == {"1", "2"}
    assert shop.sql("SELECT _row, _event_id FROM quarantine.bronze__sales") == [{"_row": 3, "_event_id": None}]
    line = '{"id": "n1",   "keep":  1.10}'
    land(shop, "landing/sales", b__ndjson=line + '\nnot json\n{"id": "n2"}\n')
    assert shop.value("SELECT payload FROM bronze.sales WHERE _key = 'n1'") == line  # as it stands in the file
    assert {k: accounts(shop, "sales_files")[k] for k in ("read", "landed", "quarantined")} == {"read": 6, "landed": 4, "quarantined": 2}


# ---- personal columns --------------------------------------------------------------------------------------------------------------------------------------


def test_personal_columns_never_reach_our_disk(make_project):
    yaml = YAML.replace("table: bronze.pos", "table: bronze.pos, protect: {Email: tokenise, phone: mask}")
    project = make_project(yaml.replace("streams:\n  sales: {partitions: 2, key: id}", "streams:\n  sales: {partitions: 2, key: id, protect: {email: tokenise}}"))
    secret = b"ayse.secret@example.com"
    land(project, "landing/pos", a__csv=b"id,email,Phone\n1," + secret + b",555\n2,,\n3," + secret + b",\nbad row," + secret + b"\n")
    land(project, "landing/pos", b__ndjson=b'{"id":4,"email":"' + secret + b'","phone":{"home":"555"}}\n')
    rows = rows_of(project, "bronze.pos", "id, email, Phone")
    token = rows[0]["email"]
    assert token.startswith("tok_") and len(token) == 36
    assert [list(r.values()) for r in rows] == [["1", token, "***"], ["2", None, None], ["3", token, None], ["4", token, "***"]]
    (bad,) = project.sql("SELECT _reason, octet_length(_raw) AS n FROM quarantine.bronze__pos")
    assert bad["n"] == 0 and "bytes left out" in bad["_reason"]
    land(project, "landing/sales", c__csv=b"id,email\n9," + secret + b"\n")
    assert json.loads(project.value("SELECT payload FROM bronze.sales"))["email"] == token  # one key for all: tables can be joined
    made = project.dir / "made.parquet"
    project.cli("sql", "SELECT 5 AS id, 'x' AS note, '555' AS phone", "--format", "parquet", "-o", made)
    project.land("landing/pos", "d.parquet", made.read_bytes())
    wait_empty(project, "landing/pos")
    assert project.value("SELECT phone FROM bronze.pos WHERE id = '5'") == "***"
    project.stop()
    for path in project.data.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path


# ---- crashes -------------------------------------------------------------------------------------------------------------------------------------------------


def day_file(source, day, rows):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "source", "text"])
    writer.writerows([[f"{source}-{day}-{i}", source, f"row {i}\nof, day"] for i in range(rows)])
    return out.getvalue() + ("bad\n" if day % 5 == 0 else "")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["server", "engine"])
def test_killed_at_random_points(make_project, victim):
    """kill -9 in the middle of taking, landing, moving: in the end every row once, ids of rows that were seen do not change, the accounts add up."""
    project = make_project(YAML)
    chance = random.Random(7)
    expected, seen, day = {"pos": 0, "sales": 0}, {}, 0
    for _ in range(8):
        for _ in range(6):
            rows = chance.choice([1, 50, 3000])
            for source in expected:
                project.land(f"landing/{source}", f"{source}-{day:03}.csv", day_file(source, day, rows))
                expected[source] += rows
            day += 1
        time.sleep(chance.uniform(0.0, 1.5))
        if victim == "engine":
            project.kill_engine()
            continue
        project.kill9()
        project.start()
        if has_table(project, "bronze.pos"):
            for row in project.sql("SELECT id, _event_id AS e FROM bronze.pos"):
                assert seen.setdefault(row["id"], row["e"]) == row["e"]
    wait_empty(project, "landing/pos", 120)
    wait_empty(project, "landing/sales", 120)
    (got,) = project.sql("SELECT count(*) AS n, count(DISTINCT id) AS ids, count(DISTINCT _event_id) AS events FROM bronze.pos")
    assert got == {"n": expected["pos"], "ids": expected["pos"], "events": expected["pos"]}
    (got,) = project.sql("SELECT count(*) AS n, count(DISTINCT _key) AS ids FROM bronze.sales")
    assert got == {"n": expected["sales"], "ids": expected["sales"]}
    for row in project.sql("SELECT id, _event_id AS e FROM bronze.pos"):
        assert seen.get(row["id"], row["e"]) == row["e"]
    bad = (day + 4) // 5
    assert project.value("SELECT count(*) FROM quarantine.bronze__pos") == bad
    assert project.value("SELECT count(*) FROM quarantine.bronze__sales") == bad
    assert len(list((project.dir / "landing/pos/done").iterdir())) == day
    assert not (project.dir / "landing/pos/rejected").exists()
    assert project.cli("conservation").returncode == 0


# ---- other readers as oracle, on real data -----------------------------------------------------------------------------------------------------------------


def unpacked(path):
    return subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout


REAL = [
    ("online_retail/online_retail.csv.zst", ",", 541909),
    ("supply_chain/SCMS_Delivery_History_Dataset.csv.zst", "\t", 10324),
    ("feedback/womens_clothing_reviews.csv.zst", ",", 23486),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file, delimiter, count", REAL, ids=["retail", "supply", "feedback"])
def test_every_cell_as_python_and_duckdb_read_it(shop, real_data, file, delimiter, count):
    text = unpacked(real_data / file).decode()
    records = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    shop.land("landing/pos", "real.csv", text.encode())
    wait_empty(shop, "landing/pos", 120)
    answer = shop.request("POST", "/v1/sql", json={"query": "SELECT * EXCLUDE (_event_id, _file, _file_hash, _received_at, _row) FROM bronze.pos ORDER BY _row", "format": "ndjson"}, timeout=300)
    rows = answer.text.splitlines()
    assert len(rows) == len(records) - 1 == count
    names = [name or f"column_{i + 1}" for i, name in enumerate(records[0])]
    for line, record in zip(rows, records[1:]):
        assert json.loads(line) == {name: cell or None for name, cell in zip(names, record)}
    duckdb = pytest.importorskip("duckdb")
    plain = shop.dir / "plain.csv"
    plain.write_bytes(text.encode())
    read = duckdb.execute("SELECT * FROM read_csv(?, all_varchar = true, header = true, delim = ?, quote = '\"', escape = '\"')", [str(plain), delimiter])
    for line, cells in zip(rows, read.fetchall(), strict=True):
        assert list(json.loads(line).values()) == [cell or None for cell in cells]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_data_in_other_dresses(shop, real_data):
    """The supply chain file in other encodings, line ends and compressions: the same hash over all cells each time."""
    text = unpacked(real_data / "supply_chain/SCMS_Delivery_History_Dataset.csv.zst").decode()
    dresses = {
        "plain.csv": text.encode(),
        "utf16.csv": codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        "utf16le.csv.zst": zstd(text.encode("utf-16-le")),
        "lf.csv.gz": gzip.compress(text.replace("\r", "\n").encode("utf-8-sig")),
        "crlf.csv": text.replace("\r", "\r\n").encode(),
    }
    for name, data in dresses.items():
        shop.land("landing/pos", name, data)
        wait_empty(shop, "landing/pos")
    shop.land("landing/turkish", "t.csv", text.encode("cp1254"))
    shop.land("landing/latin", "l.csv", text.encode("latin-1"))
    wait_empty(shop, "landing/turkish")
    wait_empty(shop, "landing/latin")
    select = "SELECT count(*) AS n, md5(string_agg(md5(CAST(t AS VARCHAR)), '' ORDER BY _row)) AS cells FROM (SELECT * EXCLUDE (_event_id, _file, _file_hash, _received_at) FROM {} {}) t"
    found = {json.dumps(shop.sql(select.format("bronze.pos", f"WHERE _file = '{name}'"))[0]) for name in dresses}
    found |= {json.dumps(shop.sql(select.format(f"bronze.{table}", ""))[0]) for table in ("turkish", "latin")}
    assert len(found) == 1, found
    assert json.loads(found.pop())["n"] == 10324


def test_stop_does_not_wait_for_a_batch(shop):
    """The engine stands still in the middle of a batch: the server gives it up and ends; the file lands at the next start, once."""
    assert shop.value("SELECT 1 AS a") == 1
    (engine,) = shop.engine_pids()
    os.kill(engine, signal.SIGSTOP)
    shop.land("landing/pos", "a.csv", "id,name\n1,x\n2,y\n")
    lib.wait_until(lambda: shop.metrics()["cupel_engine_calls_running"] >= 1, 20, "the batch is under way")
    start = time.monotonic()
    assert shop.stop() == 0
    assert time.monotonic() - start < 60 * lib.PATIENCE
    shop.start()
    wait_empty(shop, "landing/pos")
    assert shop.value("SELECT count(*) AS n FROM bronze.pos") == 2
