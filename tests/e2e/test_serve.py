"""Routes of the node itself: events by id and in lists, SQL, accounts, streams while running, reload, health, the data folder's guards."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
import uuid

import lib
import pytest

EVERYTHING = """
project: everything
listen: 127.0.0.1:0
streams:
  events: {partitions: 2, key: id, dedupe: id}
sources:
  - {name: hook, type: webhook, stream: events, scheme: token, token_header: X-Token, secret: an-example-and-no-secret}
  - {name: table_files, type: landing, path: landing/table, table: bronze.files}
  - {name: stream_files, type: landing, path: landing/stream, stream: events}
"""


def flush(project, stream=None):
    answer = project.request("POST", "/v1/flush" + (f"?stream={stream}" if stream else ""))
    assert answer.status_code == 200, answer.text


def accounts(project, deep=True):
    answer = project.get(f"/v1/conservation?deep={'true' if deep else 'false'}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def hop(project, name, deep=True):
    return next(h for h in accounts(project, deep)["hops"] if h["name"] == name)


# -- events ------------------------------------------------------------------------------------------------------------------------------------------------


def test_event_before_and_after_landing(project):
    payload = '{"order_id": 7, "note": "ä \\u0000 <b>", "sum": 12.30}'
    event_id = project.post("orders", payload).json()["ids"][0]
    event = project.event(event_id).json()
    assert event["id"] == event_id and event["stream"] == "orders" and event["key"] == "7"
    assert event["payload"] == payload  # byte for byte
    assert (event["state"], event["tables"], event["found_in"]) == ("in_log", [], "log")
    flush(project)
    event = project.event(event_id).json()
    assert (event["state"], event["tables"], event["deliveries"]) == ("landed", ["bronze.orders"], [])
    assert event["payload"] == payload


def test_event_that_only_bronze_still_has(make_project):
    project = make_project(yaml=lib.DEFAULT_YAML + "log: {segment_bytes: 1MiB, retention: 1s}\n")
    body = [{"order_id": i, "fill": "x" * 900} for i in range(1000)]
    first = project.post_ndjson("orders", body).json()["ids"]
    for _ in range(5):
        project.post_ndjson("orders", body)
    flush(project)

    def gone():
        project.post("orders", {"order_id": "new"})
        flush(project)
        return project.event(first[5]).json()["found_in"] == "lake"

    lib.wait_until(gone, 40, "the log's first segment is deleted", 0.5)
    event = project.event(first[5]).json()
    assert event["id"] == first[5] and event["key"] == "5" and event["tables"] == ["bronze.orders"]
    assert json.loads(event["payload"]) == body[5]
    assert hop(project, "orders")["ok"], hop(project, "orders")
    # A reader that begins before the log gets the same rows in the same order from bronze.
    got, offset, state = [], 0, project.get("/v1/streams/orders").json()["state"][0]
    assert state["start_offset"] > 0
    while offset < state["end_offset"]:
        answer = project.get(f"/v1/streams/orders/events?partition=0&offset={offset}&limit=700").json()
        got += answer["events"]
        assert answer["next_offset"] > offset
        offset = answer["next_offset"]
    assert [e["_offset"] for e in got] == list(range(state["end_offset"]))
    older, newer = got[0], got[-1]
    assert set(older) == set(newer) and older["_stream"] == "orders" and isinstance(older["_headers"], dict), (older, newer)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", older["_received_at"])


def test_ids_that_are_not_ours(project):
    assert project.event("abc").status_code == 400
    answer = project.event(uuid.uuid4())
    assert answer.status_code == 404 and "no event id of Cupel" in answer.json()["detail"]
    event_id = project.post("web", {"event_id": "x", "session_id": "s"}).json()["ids"][0]
    other = event_id[:-4] + "ff80"  # the same stream, an offset that does not exist yet
    assert project.event(other).status_code == 404


def test_raw_bytes_are_shown_as_base64(make_project):
    project = make_project(yaml="project: t\nlisten: 127.0.0.1:0\nstreams: {raw: {accept: any}}\n")
    event_id = project.post("raw", b"\xff\x00\xfe", headers={"Content-Type": "application/octet-stream"}).json()["ids"][0]
    for _ in range(2):
        event = project.event(event_id).json()
        assert event["payload"] is None and event["body_base64"] == "/wD+" and event["valid_json"] is False
        flush(project)


def test_list_pages_through_everything_once(project):
    ids = []
    for i in range(5):
        ids += project.post_ndjson("web", [{"event_id": f"{i}-{k}", "session_id": str(k)} for k in range(50)]).json()["ids"]
        ids += project.post_ndjson("orders", [{"order_id": k} for k in range(20)]).json()["ids"]
        if i == 2:
            flush(project)
    seen, cursor = [], None
    for _ in range(20):
        page = project.get("/v1/events?limit=33" + (f"&cursor={cursor}" if cursor else "")).json()
        seen += [e["id"] for e in page["events"]]
        cursor = page["cursor"]
        if not cursor:
            break
    assert seen == sorted(ids, reverse=True)
    landed = project.get("/v1/events?status=landed&limit=1000").json()["events"]
    in_log = project.get("/v1/events?status=in_log&limit=1000").json()["events"]
    assert (len(landed), len(in_log)) == (210, 140)
    assert {e["stream"] for e in project.get("/v1/events?stream=orders").json()["events"]} == {"orders"}
    assert project.get("/v1/events?since=1h&limit=1000").json()["events"]
    assert not project.get("/v1/events?since=2199-01-01").json()["events"]


@pytest.mark.parametrize("query, word", [("limit=0", "limit"), ("limit=x", "limit"), ("status=lost", "in_log"), ("since=yesterday", "since"), ("cursor=1", "cursor"), ("stream=odrers", "did you mean 'orders'")])
def test_list_refuses_what_it_does_not_understand(project, query, word):
    answer = project.get("/v1/events?" + query)
    assert answer.status_code in (400, 404) and word in answer.json()["detail"], answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")


# -- SQL ---------------------------------------------------------------------------------------------------------------------------------------------------


def sql(project, query, headers=None, **more):
    return project.request("POST", "/v1/sql", json={"query": query, **more}, headers=headers)


def test_sql_formats(project):
    query = "SELECT 1 AS a, 'x,\"y' AS b, NULL AS c"
    assert sql(project, query, format="json").json() == [{"a": 1, "b": 'x,"y', "c": None}]
    assert json.loads(sql(project, query, format="ndjson").text) == {"a": 1, "b": 'x,"y', "c": None}
    assert sql(project, query, format="csv").text.splitlines() == ["a,b,c", '1,"x,""y",']
    assert "│ a │" in sql(project, query, format="table").text
    assert sql(project, query, format="parquet").content[:4] == b"PAR1"
    types = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
    for name, content_type in types.items():
        by_name = sql(project, query, format=name)
        by_accept = sql(project, query, headers={"Accept": content_type})
        assert by_name.headers["Content-Type"].startswith(content_type) and by_accept.headers["Content-Type"].startswith(content_type)
        if name != "parquet":
            assert by_name.content == by_accept.content
    plain = project.request("POST", "/v1/sql", data="SELECT 7 AS n", headers={"Content-Type": "application/sql"})
    assert plain.json() == [{"n": 7}]


def test_sql_params(project):
    assert sql(project, "SELECT $1 AS a, $2 AS b, $3 AS c", params=[5, "it's", None]).json() == [{"a": 5, "b": "it's", "c": None}]
    assert sql(project, "SELECT $1", params="x").status_code == 400
    assert sql(project, "SELECT $1").status_code == 400


def test_sql_errors_name_the_place(project):
    answer = sql(project, "SELECT 1,\n  nope FROM bronze.web")
    assert answer.status_code == 400 and answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert "nope" in problem["detail"] and problem["errors"][0]["line"] == 2 and problem["errors"][0]["column"] == 3
    assert sql(project, "").status_code == 400
    assert sql(project, "SELECT 1", format="xml").status_code == 400
    assert project.request("POST", "/v1/sql", data="{", headers={"Content-Type": "application/json"}).status_code == 400
    assert project.request("POST", "/v1/sql", json=[1]).status_code == 400
    assert "query" in project.request("POST", "/v1/sql", json={}).json()["detail"]


@pytest.mark.parametrize(
    "query",
    ["SELECT read_text('/etc/hostname')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_csv('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/x'", "ATTACH 'data/ledger.db'", "INSERT INTO bronze.web SELECT 1",
     "CREATE TABLE x (i INT)", "SET memory_limit='1TB'", "PRAGMA database_list", "SELECT 1; SELECT 2", "INSTALL httpfs", "SELECT getenv('HOME')"],
)  # fmt: skip
def test_sql_reads_tables_only(project, query):
    answer = sql(project, query)
    assert answer.status_code in (400, 403), (answer.status_code, answer.text[:300])


def test_sql_is_cancelled_when_the_client_leaves(project):
    project.value("SELECT 1")
    body = json.dumps({"query": "SELECT count(*) FROM range(1000000000) a, range(1000) b WHERE a.range + b.range = 7"})
    host, port = project.url.removeprefix("http://").rsplit(":", 1)
    client = socket.create_connection((host, int(port)))
    head = f"POST /v1/sql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {project.token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall((head + body).encode())
    lib.wait_until(lambda: project.metrics()["cupel_engine_calls_running"] >= 1, 10, "the query runs")
    client.close()
    lib.wait_until(lambda: project.metrics()["cupel_engine_calls_running"] == 0, 10, "the query is cancelled")
    assert project.value("SELECT 42") == 42
    assert project.metrics().get('cupel_sql_queries_total{outcome="cancelled"}', 0) >= 1


def test_sql_time_limit(project):
    started = time.monotonic()
    answer = sql(project, "SELECT count(*) FROM range(1000000000) a, range(1000) b WHERE a.range + b.range = 7", time_ms=500)
    assert answer.status_code == 504, answer.text
    assert time.monotonic() - started < 60 * lib.PATIENCE


def test_large_results_are_streamed(project):
    answer = sql(project, "SELECT range AS n FROM range(2000000)", format="ndjson")
    assert answer.text.count("\n") == 2000000


# -- accounts ----------------------------------------------------------------------------------------------------------------------------------------------


def test_accounts_add_up_while_events_come_and_land(project):
    stop, failed = threading.Event(), []

    def load(number):
        with lib.requests.Session() as session:
            session.trust_env = False
            for i in range(100000):
                if stop.is_set():
                    return
                body = "".join(json.dumps({"event_id": f"{number}-{i * 20 + k - (k % 4)}", "session_id": str(k)}) + "\n" for k in range(20))
                answer = session.post(project.url + "/v1/streams/web", data=body, headers={"Authorization": f"Bearer {project.token}", "Content-Type": "application/x-ndjson"})
                if answer.status_code != 202:
                    failed.append(answer.text)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for round_number in range(8):
        result = accounts(project, deep=round_number % 2 == 0)
        assert result["ok"], json.dumps(result)
        flush(project)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    flush(project)
    web = hop(project, "web")
    assert web["received"] == web["landed"] == web["rows"] > 0 and web["in_log"] == 0 and web["duplicates"] > 0


def test_accounts_notice_a_loss(project):
    """An account that cannot fail is worth nothing: rows are counted as landed that never were."""
    project.post_ndjson("orders", [{"order_id": i} for i in range(10)])
    flush(project)
    project.stop()
    subprocess.run(["python3", "-c", "import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute(\"update accounts set n=n+1 where field='landed'\"); d.commit()", str(project.data / "ledger.db")], check=True)
    done = project.cli("conservation", check=False)
    assert done.returncode == 1 and "DO NOT ADD UP" in done.stdout


# -- streams while running ---------------------------------------------------------------------------------------------------------------------------------


def test_partitions_are_added_while_running(project):
    for i in range(50):
        project.post("orders", {"order_id": i % 10, "n": i})
    answer = project.request("POST", "/v1/streams/orders/partitions", json={"partitions": 5})
    assert answer.status_code == 200 and answer.json() == {"stream": "orders", "partitions": 5, "before": 2}
    for i in range(50, 200):
        project.post("orders", {"order_id": i % 10, "n": i})
    rows = project.sql("SELECT _key, _partition, (payload->>'n')::INT AS n FROM bronze.orders ORDER BY _received_at, _event_id")
    assert len(rows) == 200 and {r["_partition"] for r in rows if r["n"] >= 50} - {0, 1}, "new partitions are used"
    for key in {r["_key"] for r in rows}:
        after = [r for r in rows if r["_key"] == key and r["n"] >= 50]
        assert len({r["_partition"] for r in after}) == 1 and [r["n"] for r in after] == sorted(r["n"] for r in after)
    assert project.request("POST", "/v1/streams/orders/partitions", json={"partitions": 2}).status_code == 409
    assert project.request("POST", "/v1/streams/orders/partitions", json={"partitions": 5000}).status_code == 400
    assert project.request("POST", "/v1/streams/orders/partitions", json={}).status_code == 400
    project.restart()
    assert project.get("/v1/streams/orders").json()["partitions"] == 5
    assert project.value("SELECT count(*) FROM bronze.orders") == 200
    assert hop(project, "orders")["ok"]


def test_stream_is_deleted_only_when_the_file_no_longer_names_it(project):
    project.post_ndjson("orders", [{"order_id": i} for i in range(10)])
    assert project.request("DELETE", "/v1/streams/orders").status_code == 409
    project.write_yaml("project: test\nlisten: 127.0.0.1:0\nstreams:\n  web: {partitions: 2, key: session_id, dedupe: event_id}\n")
    assert project.request("POST", "/v1/reload").status_code == 200
    assert project.post("orders", {"order_id": 1}).status_code == 404
    assert project.value("SELECT count(*) FROM bronze.orders") == 10  # still there
    answer = project.request("DELETE", "/v1/streams/orders")
    assert answer.status_code == 200, answer.text
    assert project.value("SELECT count(*) FROM bronze.orders") == 10  # landed first
    project.restart()
    assert project.value("SELECT count(*) FROM bronze.orders") == 10


def test_accounts_of_a_stream_that_comes_again(project):
    """Under the old name: with the old table kept, and with the old data deleted (also what was only in the log)."""
    without = "project: test\nlisten: 127.0.0.1:0\nstreams:\n  web: {partitions: 2, key: session_id, dedupe: event_id}\n"
    expected = {False: 15, True: 5}
    for data in (False, True):
        project.post_ndjson("orders", [{"order_id": i} for i in range(10)])
        flush(project)
        project.write_yaml(without)
        assert project.request("POST", "/v1/reload").status_code == 200
        assert project.request("DELETE", f"/v1/streams/orders?data={'true' if data else 'false'}").status_code == 200
        project.write_yaml(lib.DEFAULT_YAML)
        assert project.request("POST", "/v1/reload").status_code == 200
        project.post_ndjson("orders", [{"order_id": i} for i in range(5)])
        for _ in range(2):
            orders = hop(project, "orders")
            assert orders["ok"] and orders["rows"] == expected[data], orders
            project.restart()
        flush(project)
        assert hop(project, "orders")["ok"]
    assert orders["deleted"] == 25


def test_reload_takes_over_new_streams_and_refuses_errors(project):
    project.write_yaml(lib.DEFAULT_YAML + "  clicks: {partitions: 1}\nsources:\n  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n")
    project.process.send_signal(signal.SIGHUP)
    lib.wait_until(lambda: project.post("clicks", {"a": 1}).status_code == 202, 10, "the new stream is taken over")
    project.land("landing/pos", "a.csv", "id,name\n1,anna\n")
    lib.wait_until(lambda: [s for s in project.get("/v1/sources").json()["sources"] if s["name"] == "pos" and s.get("files_landed")], 15, "the new folder is watched")
    assert project.value("SELECT name FROM bronze.pos") == "anna"
    parquet = project.request("POST", "/v1/sql", json={"query": "SELECT 2 AS id, 'ben' AS name", "format": "parquet"}).content
    project.land("landing/pos", "b.parquet", parquet)  # read by the engine itself, which runs already
    lib.wait_until(lambda: project.value("SELECT count(*) FROM bronze.pos") == 2, 15, "a Parquet file of the new folder is read")
    project.write_yaml("streams: {clicks: {partitons: 3}}\n")
    answer = project.request("POST", "/v1/reload")
    assert answer.status_code == 500 and "partitons" in answer.json()["detail"], answer.text
    assert project.post("clicks", {"a": 2}).status_code == 202  # the old one goes on
    assert project.alive()


def test_consumers_are_listed_and_moved(project):
    project.post_ndjson("orders", [{"order_id": i} for i in range(30)])
    answer = project.request("POST", "/v1/consumers/mailer/reset", json={"stream": "orders", "to": "end"})
    assert answer.status_code == 200 and sum(answer.json()["offsets"]) == 30
    rows = project.get("/v1/consumers").json()["consumers"]
    assert {(r["consumer"], r["stream"], r["behind"]) for r in rows} == {("mailer", "orders", 0)} and len(rows) == 2
    project.request("POST", "/v1/consumers/mailer/reset", json={"stream": "orders", "to": "start", "partition": 1})
    assert {r["partition"]: r["offset"] == 0 for r in project.get("/v1/consumers").json()["consumers"]}[1]
    assert project.request("POST", "/v1/consumers/mailer/reset", json={"stream": "orders", "to": "tomorrow"}).status_code == 400
    assert project.request("POST", "/v1/consumers/mailer/reset", json={"stream": "nope", "to": "end"}).status_code == 404


# -- access, health, description ---------------------------------------------------------------------------------------------------------------------------


def test_roles(project):
    assert project.get("/v1/tables", token=False).status_code == 401
    tokens = {role: project.request("POST", "/v1/tokens", json={"name": role, "role": role}).json()["token"] for role in ("read", "write")}
    assert project.get("/v1/tables", token=tokens["read"]).status_code == 200
    assert project.request("POST", "/v1/flush", token=tokens["read"]).status_code == 403
    assert project.request("POST", "/v1/flush", token=tokens["write"]).status_code == 403
    assert project.request("DELETE", "/v1/streams/orders", token=tokens["write"]).status_code == 403
    assert project.post("orders", {"order_id": 1}, token=tokens["read"]).status_code == 403
    assert project.request("GET", "/v1/logs", token=tokens["write"]).status_code == 403


def test_every_admin_route_is_closed(project):
    paths = project.get("/v1/openapi.json").json()["paths"]
    assert len(paths) >= 20
    closed = 0
    for path, methods in paths.items():
        for method, operation in methods.items():
            if operation["security"]:
                answer = project.request(method.upper(), re.sub(r"\{[^}]*\}", "x", path), token=False)
                assert answer.status_code == 401 or path.startswith("/hooks/"), (method, path, answer.status_code)
                closed += 1
    assert closed >= 20


def test_health(project):
    assert project.get("/health/live", token=False).status_code == 200
    ready = project.get("/health/ready", token=False)
    assert ready.status_code == 200 and ready.json()["status"] == "ready" and ready.json()["reasons"] == []


def test_start_page_loads_nothing_from_elsewhere(project):
    page = project.get("/", token=False)
    assert page.status_code == 200 and "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page.text)) == {"./dashboard.js", "./dashboard.css", "data:,", "#main"}
    for file in ("/dashboard.js", "/dashboard.css"):
        answer = project.get(file, token=False)
        assert answer.status_code == 200 and not re.search(r"(src|href|import|url|fetch)\W{1,3}(https?:)?//", answer.text)
        again = project.get(file, token=False, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content


def test_metrics_are_documented(make_project):
    project = make_project(yaml=EVERYTHING)
    project.post("events", {"id": 1})
    flush(project)
    documented = set(re.findall(r"^\| `(\w+)`", (lib.ROOT / "docs/metrics.md").read_text(), re.M))
    shown = set(re.findall(r"^# TYPE (\w+)", project.get("/metrics").text, re.M))
    assert len(shown) > 30 and shown - documented == set(), "run `cupel generate metrics`"
    metrics = project.metrics()
    assert metrics["cupel_ready"] == 1 and metrics['cupel_stream_events{stream="events"}'] == 1 and metrics['cupel_stream_unlanded_records{stream="events"}'] == 0


def test_logs_over_http(project):
    def said_ready():  # the line is written after the address is known, by which the fixture goes
        records = project.get("/v1/logs?limit=5000").json()["records"]
        return any(r["message"] == "ready" and r["room"] == "serve" for r in records)

    lib.wait_until(said_ready, 10, "the record of being ready")
    assert all(r["level"] in ("warn", "error") for r in project.get("/v1/logs?level=warn").json()["records"])
    assert project.get("/v1/logs?level=loud").status_code == 400


def test_table_routes(project):
    for i in range(3):
        project.post_ndjson("orders", [{"order_id": k} for k in range(10)])
        flush(project)
    table = project.get("/v1/tables/bronze.orders").json()
    assert table["rows"] == 30 and table["files"] == 3 and len(table["history"]) == 3
    packed = project.request("POST", "/v1/tables/bronze.orders/compact?open_hours=true").json()
    hours = project.value("SELECT count(DISTINCT date_trunc('hour', _received_at)) FROM bronze.orders")  # 1, or 2 when the hour just changed: files are of one hour
    assert (packed["files_before"], packed["files_after"]) == (3, hours), packed
    assert project.request("POST", "/v1/tables/bronze.orders/expire?older_than=0s").status_code == 200
    assert project.value("SELECT count(*) FROM bronze.orders") == 30
    assert project.get("/v1/tables/bronze.nope").status_code == 404
    assert project.get("/v1/tables/orders").status_code == 400
    assert hop(project, "orders")["ok"]


# -- the data folder ---------------------------------------------------------------------------------------------------------------------------------------


def test_second_server_is_refused(project):
    done = subprocess.run([str(lib.CUPEL), "-C", str(project.dir), "serve"], capture_output=True, text=True, timeout=120 * lib.PATIENCE)
    assert done.returncode == 1 and str(project.process.pid) in done.stderr, done.stderr
    assert project.post("orders", {"order_id": 1}).status_code == 202


def test_newer_data_is_refused(project):
    project.stop()
    (project.data / "format").write_text("2\n")
    done = project.cli("stream", "list", check=False)
    assert done.returncode == 1 and "format 2" in done.stderr and "newer cupel" in done.stderr, done.stderr


def test_server_file_comes_and_goes(project):
    file = project.server_json()
    assert file["pid"] == project.process.pid and file["url"] == f"http://{file['address']}" and re.match(r"\d{4}-", file["started_at"])
    assert project.stop() == 0
    assert not (project.data / "server.json").exists()
    assert (project.data / "cli.token").stat().st_mode & 0o777 == 0o600


def test_term_under_load_loses_nothing(project):
    ids, stop = [], threading.Event()

    def load():
        with lib.requests.Session() as session:
            session.trust_env = False
            url, token = project.url, project.token
            while not stop.is_set():
                try:
                    answer = session.post(url + "/v1/streams/orders", json={"order_id": 1}, headers={"Authorization": f"Bearer {token}"}, timeout=60)
                except lib.requests.RequestException:
                    return
                if answer.status_code == 202:
                    ids.extend(answer.json()["ids"])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    lib.wait_until(lambda: len(ids) > 10, what="some events")
    assert project.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    project.start()
    assert len(ids) > 10
    assert sorted(r["id"] for r in project.sql("SELECT _event_id::VARCHAR AS id FROM bronze.orders")) == sorted(ids)
