"""SQL over HTTP and the command line: formats, parameters, what is refused, limits, cancel, one consistent read while events come in."""

import io
import json
import os
import shutil
import socket
import threading
import time
from decimal import Decimal

import lib
import pytest
from lib import PATIENCE, SANITIZED, cpu_seconds, wait_until

YAML = """
project: test
listen: 127.0.0.1:0
sql: {queries: 3, wait_seconds: 1, query_seconds: 60, memory: 128MiB}
streams:
  web: {partitions: 2, key: k, flush: {bytes: 1MB, seconds: 1}}
  orders: {partitions: 2, key: k}
sources:
  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}
"""

ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range"


@pytest.fixture
def p(make_project):
    return make_project(YAML)


def ask(project, query, **more):
    return project.request("POST", "/v1/sql", json={"query": query, **more}, timeout=120 * PATIENCE)


def begin(project, query, token=None):
    """A socket over which a query was asked; it runs until the socket is closed, or to its end."""
    host, _, port = project.url.partition("//")[2].rpartition(":")
    body = json.dumps({"query": query, "format": "ndjson"})
    head = f"POST /v1/sql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token or project.token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    client = socket.create_connection((host, int(port)))
    client.sendall((head + body).encode())
    return client


def running(project, calls):
    wait_until(lambda: project.metrics()["cupel_engine_calls_running"] == calls, what=f"{calls} queries run")


def refused(project, query, status=403):
    answer = ask(project, query)
    assert answer.status_code == status, f"{query}: {answer.status_code} {answer.text}"
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    return answer.json()


def test_formats(p):
    p.post_ndjson("orders", [{"k": "a", "total": "12.30"}, {"k": "b,c", "total": 0.1}])
    query = "SELECT payload->>'k' AS k, json_decimal(payload, 'total') AS t FROM bronze.orders ORDER BY k"
    assert json.loads(ask(p, query, format="json").text, parse_float=Decimal) == [{"k": "a", "t": Decimal("12.300000000")}, {"k": "b,c", "t": Decimal("0.100000000")}]
    assert ask(p, query, format="csv").content == b'k,t\na,12.300000000\n"b,c",0.100000000\n'
    assert ask(p, query, format="ndjson").text.count("\n") == 2
    table = ask(p, query, format="table").text
    assert table.startswith("┌") and table.endswith("2 rows\n")
    parquet = pytest.importorskip("pyarrow.parquet")
    read = parquet.read_table(io.BytesIO(ask(p, query, format="parquet").content)).to_pylist()
    assert read == [{"k": "a", "t": Decimal("12.300000000")}, {"k": "b,c", "t": Decimal("0.100000000")}]


def test_parameters(p):
    rows = p.sql("SELECT $1 AS a, $2 AS b, $3::DECIMAL(18,4) * 3 AS c, $4 AS d", [9007199254740993, "it's", 0.1, None])
    assert rows == [{"a": 9007199254740993, "b": "it's", "c": 0.3, "d": None}]
    assert "parameters" in refused(p, "SELECT $1", 400)["detail"]


def test_errors_name_the_place(p):
    problem = refused(p, "SELECT 1,\n  nope FROM bronze.orders", 400)
    assert problem["errors"][0]["line"] == 2 and problem["errors"][0]["column"] == 3
    assert "Did you mean bronze.orders?" in refused(p, "FROM bronze.order", 400)["detail"]
    done = p.cli("sql", "SELEC 1", check=False)
    assert done.returncode in (1, 2) and "LINE 1" in done.stderr and "^" in done.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "FROM '/etc/passwd'",
        "FROM 'data/ledger.db'",
        "SELECT * FROM sqlite_scan('data/ledger.db', 'tokens')",
        "ATTACH 'data/ledger.db'",
        "COPY (SELECT 1) TO 'x.csv'",
        "SET threads = 1",
        "PRAGMA database_list",
        "INSTALL httpfs",
        "CREATE TABLE x (a INTEGER)",
        "SELECT 1; SELECT 2",
        "SELECT * FROM glob('*')",
        "SELECT * FROM query('FROM ''x.csv''')",
        "SELECT current_setting('temp_directory')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM cupel_rows('landing', '{}')",
        "SELECT * FROM information_schema.tables",
    ],
)
def test_files_and_settings_are_out_of_reach(p, query):
    assert "cli.token" not in json.dumps(refused(p, query))


def test_own_files_are_out_of_reach(p):
    """Not even the lake's own files, which DuckDB itself may open, nor the token of the command line."""
    p.post("orders", {"k": 1})
    p.cli("table", "list")
    for name in ("lake", "log", "tmp", "cli.token", "ledger.db", "log/secret"):
        path = p.data / name
        refused(p, f"SELECT * FROM '{path}/x.parquet'")
        refused(p, f"SELECT * FROM read_blob('{path}')")
        refused(p, f"SELECT * FROM read_parquet('{path}/*')")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("form, value", [("parquet", "'x'"), ("ndjson", "'x'::VARIANT")])
def test_names_do_not_become_sql(p, form, value):
    """Where the statement is written anew (Parquet, columns that must be cast) DuckDB leaves the quotes of "name".* and $"name" out."""
    target = p.data / "lake" / "written.csv"
    for name in (
        f"'x' AS v) TO '{target}' (FORMAT csv) --",
        f"v FROM (COPY (SELECT 1) TO '{target}')",
        "sql AS v FROM duckdb_views() UNION ALL SELECT t",
        "sql AS v FROM sqlite_master UNION ALL SELECT t",
        f"content AS v FROM read_text('{p.data}/lake/*') UNION ALL SELECT t",
    ):
        answer = ask(p, f"SELECT {quoted(name)}.* FROM (SELECT {value} AS v) AS {quoted(name)}, (SELECT 'y' AS v) AS t", format=form)
        assert answer.status_code in (400, 403, 501), answer.text
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        answer = ask(p, f"SELECT {value} AS v, ${quoted('1 AS v) TO ' + repr(str(target)) + ' (FORMAT csv) --')}", params=["a"], format=form)
        assert answer.status_code in (400, 403, 501), answer.text
        assert not target.exists()
    answer = ask(p, f"SELECT t.*, {value} AS w FROM (VALUES (1)) AS t(a) -- end", format=form)
    assert answer.status_code == 200, answer.text


def test_show_and_describe(p):
    tables = {(r["schema"], r["name"]) for r in p.sql("SHOW TABLES")}
    assert {("bronze", "web"), ("bronze", "orders")} <= tables
    described = {r["column_name"]: r["column_type"] for r in p.sql("DESCRIBE bronze.web")}
    assert described["_event_id"] == "UUID" and described["_headers"] == "MAP(VARCHAR, VARCHAR)"
    assert "row" in p.sql("SUMMARIZE SELECT 1 AS row")[0]["column_name"]


def test_time_limit(p):
    start = time.monotonic()
    answer = ask(p, ENDLESS, time_ms=300)
    assert answer.status_code == 504 and "300 ms" in answer.json()["detail"]
    assert time.monotonic() - start < 30 * PATIENCE


def test_memory_limit(p):
    answer = ask(p, "SELECT list(repeat(range::VARCHAR, 100)) FROM range(5000000)")
    assert answer.status_code == 413, answer.text
    assert "Out of Memory" in answer.json()["detail"]
    assert p.value("SELECT 1 AS a") == 1


@pytest.mark.skipif(SANITIZED, reason="sanitizers reserve more memory than any limit")
@pytest.mark.parametrize("query", ["SELECT length(printf('%2000000000d', 1))", "SELECT len(range(1000000000))"])
def test_memory_that_duckdb_does_not_count(p, query):
    """The query fails, the engine lives, nobody else notices."""
    p.value("SELECT 1 AS a")
    engine = p.engine_pids()
    assert "limit" in refused(p, query, 413)["type"]
    assert p.engine_pids() == engine
    assert p.value("SELECT count(*) FROM range(1000000)") == 1000000


def test_disconnect_cancels(p):
    """A client that hangs up, before the first row or in the middle of the result, leaves an idle engine behind."""
    p.write_yaml(YAML.replace("query_seconds: 60", "query_seconds: 3600"))  # by itself nothing ends
    p.restart()
    assert p.value("SELECT 1 AS a") == 1
    (engine,) = p.engine_pids()
    for query in (ENDLESS, "SELECT range, repeat('x', 100) AS x FROM range(100000000000)"):
        with begin(p, query) as client:
            running(p, 1)
            if query != ENDLESS:
                assert b"200 OK" in client.recv(4096)

        def idle():
            before = cpu_seconds(engine)
            time.sleep(0.3)
            return cpu_seconds(engine) - before < 0.05

        running(p, 0)
        wait_until(idle, 60, "engine idle after its client left")
    assert p.engine_pids() == [engine]


def test_more_queries_than_places_wait_then_503(p):
    assert p.value("SELECT 1 AS a") == 1
    held = [begin(p, ENDLESS) for _ in range(3)]
    running(p, 3)
    for _ in range(2):
        start = time.monotonic()
        answer = ask(p, "SELECT 1 AS a")
        assert answer.status_code == 503 and "within 1000 ms" in answer.text, answer.text
        assert time.monotonic() - start >= 1
    for client in held:
        client.close()
    running(p, 0)
    assert p.value("SELECT 1 AS a") == 1


def test_engine_killed_in_a_query(p):
    p.value("SELECT 1")  # the engine is up: a query that meets its end while it starts is repeated, by design
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(p, ENDLESS)))
    thread.start()
    p.wait_working()
    assert p.kill_engine()
    thread.join()
    assert answers[0].status_code == 503 and "the engine died" in answers[0].json()["detail"]
    p.post("orders", {"k": 1})
    assert p.value("SELECT count(*) AS n FROM bronze.orders") == 1


def test_engine_starts_again_after_the_binary_was_replaced(make_project, monkeypatch, tmp_path):
    """An upgrade puts another file under the path of the running one: the server goes on with its own until it is restarted."""
    binary = tmp_path / "bin" / "cupel"
    binary.parent.mkdir()
    shutil.copy2(lib.CUPEL, binary)
    library = str(lib.ROOT / "third_party/duckdb")
    monkeypatch.setattr(lib, "CUPEL", binary)
    p = make_project(YAML, env={"LD_LIBRARY_PATH": os.pathsep.join(filter(None, [library, os.environ.get("LD_LIBRARY_PATH")]))})
    assert p.value("SELECT 1 AS a") == 1
    binary.with_suffix(".new").write_text("another version")
    binary.with_suffix(".new").rename(binary)
    assert p.kill_engine()
    wait_until(lambda: ask(p, "SELECT 2 AS a").status_code == 200, 20, "a query after the engine's death")


def test_engine_goes_with_its_server(p):
    """Also in the middle of a query, so that nothing of a killed server works on."""
    thread = threading.Thread(target=lambda: pytest.raises(Exception, ask, p, ENDLESS))
    thread.start()
    engine = p.wait_working()
    p.kill9()
    wait_until(lambda: not os.path.exists(f"/proc/{engine}"), 30, "engine gone")
    thread.join()


def test_one_consistent_read_while_events_come_in(p):
    """Requests of ten events that sum up to nothing: no query sees half of one, and no query sees less than one before, also while flushes move the border."""
    stop = threading.Event()
    failures = []

    def write():
        batch = [{"k": i, "v": 1} for i in range(9)] + [{"k": 9, "v": -9}]
        while not stop.is_set():
            answer = p.request("POST", "/v1/streams/web", data="".join(json.dumps(e) + "\n" for e in batch).encode(), headers={"Content-Type": "application/x-ndjson"})
            if answer.status_code != 202:
                failures.append(answer.text)
                return

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    try:
        until, limit = time.monotonic() + 4, time.monotonic() + 120 * PATIENCE
        while time.monotonic() < until or not (list((p.data / "lake").rglob("*.parquet")) or time.monotonic() > limit):
            row = p.sql("SELECT count(*) AS n, count(DISTINCT _event_id) AS d, coalesce(sum((payload->>'v')::INTEGER), 0) AS s, (SELECT count(*) FROM bronze.web) AS again FROM bronze.web")[0]
            assert row["n"] % 10 == 0 and row["s"] == 0 and row["d"] == row["n"] == row["again"] and row["n"] >= last, row
            last = row["n"]
    finally:
        stop.set()
        writer.join()
    assert not failures and last > 0
    assert list((p.data / "lake").rglob("*.parquet")), "the flushes moved the border between file and log"


def test_cli_formats_and_exit_codes(p):
    assert p.cli("sql", "SELECT 1 AS a", "--format", "csv").stdout.splitlines() == ["a", "1"]
    assert json.loads(p.cli("sql", "SELECT 1 AS a", "--format", "json").stdout) == [{"a": 1}]
    assert "1 row" in p.cli("sql", "SELECT 1 AS a", "--format", "table").stdout
    out = p.dir / "out.parquet"
    p.cli("sql", "SELECT range AS a FROM range(10)", "--format", "parquet", "-o", out)
    assert out.read_bytes()[:4] == out.read_bytes()[-4:] == b"PAR1"
    assert p.cli("sql", "ATTACH 'x'", check=False).returncode != 0
    p.stop()
    assert p.cli("sql", "SELECT count(*) AS n FROM bronze.orders", "--format", "csv").stdout.splitlines() == ["n", "0"]


# -- one user's queries and the others' ------------------------------------------------------------------------------------------------------------------------


def token_for(p, role):
    return p.request("POST", "/v1/tokens", json={"name": f"t-{role}", "role": role}).json()["token"]


def test_a_token_has_a_share_of_the_places(p):
    """Of three places one is a read token's; one more of its queries waits, the rest is refused at once. An admin's are not counted."""
    reader = token_for(p, "read")
    p.write_yaml(YAML.replace("wait_seconds: 1", "wait_seconds: 15"))
    p.restart()
    assert p.value("SELECT 1 AS a") == 1
    answers = []

    def query():
        answer = p.request("POST", "/v1/sql", json={"query": "SELECT 1 AS a"}, token=reader, timeout=120 * PATIENCE)
        answers.append((answer.status_code, answer.text))

    with begin(p, ENDLESS, reader) as held:
        running(p, 1)
        threads = [threading.Thread(target=query) for _ in range(3)]
        for t in threads:
            t.start()
        wait_until(lambda: len(answers) >= 2, what="two are refused at once")
        assert all(a[0] == 503 and "1 queries running and 1 waiting" in a[1] and "sql.queries_per_token" in a[1] and "t-read" in a[1] for a in answers[:2]), answers
        assert p.value("SELECT 41 + 1 AS a") == 42
        held.close()
        for t in threads:
            t.join()
        assert answers[2][0] == 200, answers  # the one that waited has its turn
    p.write_yaml(YAML.replace("queries: 3,", "queries: 3, queries_per_token: 3,"))
    p.restart()
    assert p.request("POST", "/v1/sql", json={"query": "SELECT 1 AS a"}, token=reader).status_code == 200


def test_no_waiting(make_project):
    p = make_project(YAML.replace("queries: 3, wait_seconds: 1", "queries: 1, wait_seconds: 0"))
    assert p.value("SELECT 1 AS a") == 1
    with begin(p, ENDLESS):
        running(p, 1)
        answer = ask(p, "SELECT 1 AS a")
        assert answer.status_code == 503 and "1 queries are running" in answer.text and "turn" not in answer.text, answer.text


def test_a_result_that_nobody_reads_is_broken_off(make_project):
    p = make_project(YAML.replace("queries: 3,", "queries: 1, stall_seconds: 1,").replace("query_seconds: 60", "query_seconds: 3600"))
    assert p.value("SELECT 1 AS a") == 1
    with begin(p, "SELECT range, repeat('x', 100) AS x FROM range(100000000000)"):
        wait_until(lambda: p.metrics()["cupel_http_stalled_clients_total"] == 1, what="the stalled client is noticed")
        running(p, 0)
        assert p.value("SELECT 41 + 1 AS a") == 42
    # a reader that is slow but reads is left alone: each of its pauses is far below the limit, all together are above it
    p.write_yaml((p.dir / "cupel.yaml").read_text().replace("stall_seconds: 1", "stall_seconds: 4"))
    assert p.request("POST", "/v1/reload").status_code == 200
    with p.request("POST", "/v1/sql", json={"query": "SELECT range, repeat('x', 1000) AS x FROM range(20000)", "format": "ndjson"}, stream=True) as answer:
        lines = 0
        for i, line in enumerate(answer.iter_lines(chunk_size=65536)):
            lines += 1
            if i % 2500 == 0:
                time.sleep(0.6)
    assert lines == 20000 and p.metrics()["cupel_http_stalled_clients_total"] == 1


@pytest.mark.parametrize("query", ["repeat('x', 2000000000)", "repeat(repeat('x', 10000), 1000000)", "lpad('x', 1000000000, 'y')", "rpad('x', 1000000000, 'y')", "levenshtein(repeat('a', 200000), repeat('b', 200000))",
                                   "editdist3(repeat('a', 200000), repeat('b', 200000))", "damerau_levenshtein(repeat('a', 20000), repeat('b', 20000))", "jaro_similarity(repeat('a', 900000), repeat('b', 900000), 0.5)", "jaro_winkler_similarity(repeat('a', 900000), repeat('b', 900000))", "repeat('x', 1000 * (1 + range) * 1000000)"])  # fmt: skip
def test_what_cannot_be_interrupted_has_limits(p, query):
    assert p.value("SELECT 1 AS a") == 1
    engine = p.engine_pids()
    start = time.monotonic()
    answer = ask(p, f"SELECT length(({query})::VARCHAR) FROM range(2)", time_ms=30_000)
    assert answer.status_code == 400 and "may " in answer.json()["detail"], answer.text
    assert time.monotonic() - start < 30 * PATIENCE and p.engine_pids() == engine


def test_limited_functions_are_what_they_were(p):
    row = p.sql("SELECT round(jaro_similarity('duck', 'duckdb'), 2)::VARCHAR AS i, jaro_winkler_similarity('a', 'b', 0.5) AS j, repeat('ab', 3) AS a, repeat('x', NULL) AS b, lpad('7', 3, '0') AS c, rpad('7', 3, '0') AS d, levenshtein('kitten', 'sitting') AS e, damerau_levenshtein('ab', 'ba') AS f, repeat([1], 2) AS g, repeat($1, 2) AS h", ["z"])[0]
    assert row == {"i": "0.89", "j": 0.0, "a": "ababab", "b": None, "c": "007", "d": "700", "e": 3, "f": 1, "g": [1, 1], "h": "zz"}
    for query in ("SELECT system.main.repeat('x', 3)", "SELECT main.levenshtein('a', 'b')"):
        refused(p, query, 403)


def test_one_event_by_its_id(p):
    """Its view is limited to the time that the id holds; a statement that looks at other rows too must not be."""
    ids = [p.post("orders", {"k": str(i)}).json()["ids"][0] for i in range(20)]
    assert p.request("POST", "/v1/flush").status_code == 200
    ids.append(p.post("orders", {"k": "in the log"}).json()["ids"][0])
    table = "bronze.orders"
    for wanted in (ids[7], ids[-1]):
        for where in (f"_event_id = '{wanted}'", f"'{wanted.upper()}'::UUID = _event_id AND payload IS NOT NULL", f"{table}._event_id = '{wanted}'"):
            for column in ("_event_id", "'other' AS _event_id", "payload"):
                assert len(p.sql(f"SELECT {column} FROM {table} WHERE {where}")) == 1, (where, column)
        plan = ask(p, f"EXPLAIN SELECT payload FROM {table} WHERE _event_id = '{wanted}'", format="table").text
        plan = plan.replace("│", "").replace("\n", "").replace(" ", "")
        assert "_received_at=" in plan or (wanted == ids[-1] and "EMPTY_RESULT" in plan), plan  # no file can have the newest
        others = {
            f"SELECT count(*) AS n FROM {table}": 21,
            f"SELECT count(*) AS n FROM {table} WHERE _event_id = '{wanted}' OR true": 21,
            f"SELECT count(*) AS n FROM {table} WHERE NOT (_event_id = '{wanted}')": 20,
            f"SELECT count(*) AS n FROM {table} WHERE _event_id >= '{ids[0]}'": 21,
            f"SELECT (SELECT count(*) FROM {table}) AS n FROM {table} WHERE _event_id = '{wanted}'": 21,
            f"SELECT count(*) AS n FROM {table} WHERE EXISTS (SELECT 1 FROM {table} WHERE _event_id = '{wanted}')": 21,
            f"SELECT count(*) AS n FROM {table} a LEFT JOIN (SELECT * FROM {table} WHERE _event_id = '{wanted}') b USING (_event_id)": 21,
            f"WITH a AS (FROM {table}), b AS (FROM {table} WHERE _event_id = '{wanted}') SELECT count(*) AS n FROM a, b": 21,
            f"SELECT count(*) AS n FROM {table} WHERE _event_id = '{ids[0][:-6]}ffffc0'": 0,
        }
        for query, n in others.items():
            assert p.sql(query) == [{"n": n}], query
