"""The event API: bodies, keys, dedupe, idempotency, protection, reading, tokens, backpressure's opposite (nothing is stored by halves)."""

import base64
import gzip
import json
import signal
import socket
import subprocess
import threading
import time
import zlib

import pytest
import requests

import lib

YAML = """
project: test
listen: 127.0.0.1:0
streams:
  plain: {partitions: 1}
  keyed: {partitions: 4, key: customer.id}
  by_path: {partitions: 2, dedupe: event_id}
  by_header: {partitions: 1, dedupe: "header:X-Delivery"}
  by_body: {partitions: 1, dedupe: body}
  anything: {partitions: 1, accept: any}
  masked: {partitions: 2, key: email, dedupe: email, protect: {email: tokenise, customer.phone: mask, "items.*.name": mask}}
"""


@pytest.fixture
def p(make_project):
    return make_project(YAML)


def read(p, stream, partition=0, **params):
    answer = p.get(f"/v1/streams/{stream}/events", params={"partition": partition, **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def payloads(p, stream, partitions=1):
    return [e["payload"] for part in range(partitions) for e in read(p, stream, part, limit=10000)["events"]]


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def problem(answer, status, *parts):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["type"] and body["title"]
    for part in parts:
        assert part in body["detail"], body
    return body


# ---- bodies ----------------------------------------------------------------------------------------------------------------------------------------


def test_object_array_and_ndjson_keep_their_bytes(p):
    one = p.post("plain", b'  {"a" : 1.10, "b":"\\u00e9"}\n').json()
    assert (one["accepted"], one["duplicates"], len(one["ids"])) == (1, 0, 1)
    assert one["first_id"] == one["last_id"] == one["ids"][0]
    many = p.post("plain", b'[ {"a":2} ,\n{"a":[3,{"x":"],["}]}]').json()
    assert many["accepted"] == 2 and many["first_id"] == many["ids"][0] and many["last_id"] == many["ids"][1]
    lines = p.post("plain", b'\xef\xbb\xbf{"a":4}\r\n\n  {"a": 5}  \n{"a":12345678901234567890123}', headers={"Content-Type": "application/x-ndjson"}).json()
    assert lines["accepted"] == 3
    assert payloads(p, "plain") == ['{"a" : 1.10, "b":"\\u00e9"}', '{"a":2}', '{"a":[3,{"x":"],["}]}', '{"a":4}', '{"a": 5}', '{"a":12345678901234567890123}']
    ids = [e["_event_id"] for e in read(p, "plain")["events"]]
    assert ids == one["ids"] + many["ids"] + lines["ids"] == sorted(ids)


@pytest.mark.parametrize("encoding,pack", [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd)])
def test_compressed_bodies(p, encoding, pack):
    body = b"".join(b'{"n":%d}\n' % i for i in range(5000))
    answer = p.post("plain", pack(body), headers={"Content-Type": "application/x-ndjson", "Content-Encoding": encoding})
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 5000 and len(answer.json()["ids"]) == 1000
    assert payloads(p, "plain") == body.decode().split("\n")[:-1]


def test_empty_array_is_nothing_and_empty_body_an_error(p):
    assert p.post("plain", b"[]").json() == {"accepted": 0, "duplicates": 0, "first_id": None, "last_id": None, "ids": []}
    problem(p.post("plain", b""), 400, "no record")
    problem(p.post("plain", b"\n\n", headers={"Content-Type": "application/x-ndjson"}), 400, "no record")


@pytest.mark.parametrize(
    "body,kind,record,line,byte",
    [
        (b'{"a":1}\n{"a":}\n{"a":3}', "application/x-ndjson", 2, 2, 13),
        (b'{"a":1}\n\n\n[1]', "application/x-ndjson", 2, 4, 10),
        (b'[{"a":1},{"a":2},{"a":01}]', "application/json", 3, None, 22),
        (b'{"a":"\xff"}', "application/json", 1, None, 6),
        (b'{"a":"\x00"}', "application/json", 1, None, 6),
        (b'"text"', "application/json", 1, None, 0),
    ],
)
def test_one_bad_record_refuses_all_and_is_named(p, body, kind, record, line, byte):
    shown = problem(p.post("plain", body, headers={"Content-Type": kind}), 400, f"record {record}")
    error = shown["errors"][0]
    assert error["record"] == record and error.get("line") == line and error["detail"]
    assert error["byte"] == byte, error
    assert payloads(p, "plain") == []


def test_content_types(p):
    problem(p.post("plain", b"a,b\n1,2\n", headers={"Content-Type": "text/csv"}), 415, "text/csv", "accept: json")
    assert p.post("plain", b'{"a":1}', headers={"Content-Type": "application/cloudevents+json; charset=UTF-8", "ce-id": "7"}).status_code == 202
    assert p.post("plain", b'{"a":1}', headers={"Content-Type": "application/x-www-form-urlencoded"}).status_code == 202  # curl -d
    problem(p.post("plain", b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)
    events = read(p, "plain")["events"]
    assert events[0]["_headers"]["ce-id"] == "7" and events[0]["_content_type"] == "application/json"


def test_accept_any_keeps_raw_bytes(p):
    bodies = [(b"a,b\n1,2\n", "text/csv"), (b"\x00\xff\xfe", "application/octet-stream"), (b'{"broken":', "application/json"), (b"<x/>", "application/xml")]
    for body, kind in bodies:
        assert p.post("anything", body, headers={"Content-Type": kind}).status_code == 202
    events = read(p, "anything")["events"]
    assert [e["payload"].encode() if e["payload"] is not None else base64.b64decode(e["_body"]) for e in events] == [b for b, _ in bodies]
    assert [e["_valid_json"] for e in events] == [False] * 4
    assert events[0]["_content_type"] == "text/csv"
    assert p.post("anything", b'[{"a":1},{"a":2}]').json()["accepted"] == 2


def test_limits_name_themselves(make_project):
    p = make_project(YAML + "limits: {record_bytes: 1000, records_per_request: 10, body_bytes: 100000}\n")
    problem(p.post("plain", {"a": "x" * 1000}), 413, "1000")
    problem(p.post("plain", [{}] * 11), 413, "10 records")
    problem(p.post_ndjson("plain", [{}] * 11), 413, "10 records")
    problem(p.post("plain", {"a": "x" * 100000}), 413, "100000")
    problem(p.post("plain", {"a": 1}, headers={"Cupel-Key": "k" * 1025}), 413, "1024")
    problem(p.post("plain", b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), 413, "128")
    assert p.post("plain", b'{"a":' + b"[" * 127 + b"]" * 127 + b"}").status_code == 202
    assert len(payloads(p, "plain")) == 1


# ---- keys, dedupe, idempotency ---------------------------------------------------------------------------------------------------------------------


def test_same_key_same_partition_in_order(p):
    p.post_ndjson("keyed", [{"customer": {"id": i % 7}, "n": i} for i in range(70)])
    p.post("keyed", {"n": 1000}, headers={"Cupel-Key": "3"})
    where = {}
    for part in range(4):
        for e in read(p, "keyed", part)["events"]:
            where.setdefault(e["_key"], []).append((part, json.loads(e["payload"])["n"]))
    assert set(where) == {str(i) for i in range(7)}
    for seen in where.values():
        assert len({part for part, _ in seen}) == 1
        assert [n for _, n in seen] == sorted(n for _, n in seen)
    assert where["3"][-1][1] == 1000  # the header is the same key


def test_dedupe_by_path(p):
    first = p.post_ndjson("by_path", [{"event_id": "a"}, {"event_id": "b"}, {"event_id": "a", "again": 1}, {"none": 1}, {"none": 1}]).json()
    assert (first["accepted"], first["duplicates"]) == (4, 1)
    assert first["ids"][2] == first["ids"][0]
    second = p.post_ndjson("by_path", [{"event_id": "b"}, {"event_id": "c"}]).json()
    assert (second["accepted"], second["duplicates"]) == (1, 1) and second["ids"][0] == first["ids"][1]
    p.kill9()
    p.start()
    assert p.post("by_path", {"event_id": "c"}).json()["ids"] == [second["ids"][1]]
    assert p.metrics()['cupel_ingest_duplicates_total{stream="by_path"}'] == 1


def test_missing_dedupe_value_is_counted(p):
    p.post_ndjson("by_path", [{"event_id": None}, {"x": 1}, {"event_id": "here"}])
    assert p.metrics()['cupel_ingest_undeduped_total{stream="by_path"}'] == 2


def test_dedupe_by_header_and_body(p):
    for i in range(2):
        answer = p.post_ndjson("by_header", [{"n": 1}, {"n": 2}], headers={"X-Delivery": "d1"}).json()
        assert (answer["accepted"], answer["duplicates"]) == ((2, 0) if i == 0 else (0, 2))
    assert p.post("by_header", {"n": 3}, headers={"X-Delivery": "d2"}).json()["accepted"] == 1
    assert p.post("by_header", {"n": 3}).json()["accepted"] == 1
    assert [p.post("by_body", b).json()["accepted"] for b in (b'{"a":1}', b'{"a":1}', b'{"a": 1}')] == [1, 0, 1]


def test_idempotency_key(p):
    body, other = b'[{"a":1},{"a":2}]', b'[{"a":1},{"a":3}]'
    first = p.post("plain", body, headers={"Idempotency-Key": "k1"})
    again = p.post("plain", body, headers={"Idempotency-Key": "k1"})
    packed = p.post("plain", gzip.compress(body), headers={"Idempotency-Key": "k1", "Content-Encoding": "gzip"})
    assert first.status_code == again.status_code == packed.status_code == 202
    assert first.json() == again.json() == packed.json()
    assert again.headers["Idempotency-Replayed"] == "true" and "Idempotency-Replayed" not in first.headers
    problem(p.post("plain", other, headers={"Idempotency-Key": "k1"}), 422)
    assert p.post("plain", other, headers={"Idempotency-Key": "k2"}).status_code == 202
    assert p.post("keyed", other, headers={"Idempotency-Key": "k1"}).status_code == 202  # keys are per stream
    problem(p.post("plain", other, headers={"Idempotency-Key": "k" * 256}), 400, "255")
    p.kill9()
    p.start()
    assert p.post("plain", body, headers={"Idempotency-Key": "k1"}).json() == first.json()
    assert len(payloads(p, "plain")) == 4


# ---- protection ------------------------------------------------------------------------------------------------------------------------------------


def test_personal_fields_never_reach_the_disk(p):
    secret = {"email": "ada.lovelace@example.org", "customer": {"phone": "+90 555 111 22 33", "id": 7}, "items": [{"name": "Ada Lovelace", "sku": "A1"}, {"sku": "B2"}], "total": "12.30"}
    first = p.post("masked", secret).json()
    again = p.post("masked", {**secret, "total": "9"}).json()
    assert again["duplicates"] == 1 and again["ids"] == first["ids"]  # dedupe looked at the real value
    other = p.post("masked", {"email": "b@example.org"}).json()
    events = [e for part in range(2) for e in read(p, "masked", part)["events"]]
    stored = {e["_event_id"]: e for e in events}
    event = stored[first["ids"][0]]
    shown = json.loads(event["payload"])
    assert shown["email"].startswith("tok_") and shown["customer"] == {"phone": "***", "id": 7}
    assert shown["items"] == [{"name": "***", "sku": "A1"}, {"sku": "B2"}] and shown["total"] == "12.30"
    assert event["_key"] == shown["email"] and event["_protected"] is True
    assert json.loads(stored[other["ids"][0]]["payload"])["email"] != shown["email"]
    p.stop()
    for path in p.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"lovelace" not in content.lower() and b"555 111" not in content, path
    assert b"lovelace" not in p.log_path.read_bytes().lower()


def test_encrypt_is_refused_by_name(make_project):
    p = make_project(YAML + "  later: {protect: {email: encrypt}}\n", start=False)
    p.start(ready=False)
    assert p.process.wait(60 * lib.PATIENCE) != 0
    assert "encrypt" in p.log_path.read_text() and "later" in p.log_path.read_text()
    p.forget()


# ---- reading ---------------------------------------------------------------------------------------------------------------------------------------


def test_reading_in_steps_and_the_state(p):
    p.post_ndjson("plain", [{"n": i} for i in range(25)])
    seen, offset = [], 0
    while True:
        batch = read(p, "plain", offset=offset, limit=10)
        if not batch["events"]:
            break
        seen += [json.loads(e["payload"])["n"] for e in batch["events"]]
        offset = batch["next_offset"]
    assert seen == list(range(25)) and offset == batch["end_offset"] == 25
    assert [e["_offset"] for e in read(p, "plain", offset=20)["events"]] == list(range(20, 25))
    state = p.get("/v1/streams/plain").json()
    assert state["name"] == "plain" and state["state"][0]["end_offset"] == 25
    assert {s["name"] for s in p.get("/v1/streams").json()["streams"]} >= {"plain", "keyed", "masked"}


def test_long_poll_wakes_up(p):
    began = time.monotonic()
    threading.Timer(0.5, lambda: p.post("plain", {"late": 1})).start()
    batch = p.get("/v1/streams/plain/events", params={"offset": 0, "wait": "50s"}).json()
    assert [e["payload"] for e in batch["events"]] == ['{"late": 1}']
    assert 0.5 <= time.monotonic() - began < 40
    began = time.monotonic()
    assert p.get("/v1/streams/plain/events", params={"offset": "latest", "wait": "300ms"}).json()["events"] == []
    assert 0.25 < time.monotonic() - began < 60 * lib.PATIENCE


def test_many_long_polls_cost_nothing_and_end_with_the_server(p):
    host, _, port = p.url.partition("//")[2].rpartition(":")
    polls = [socket.create_connection((host, int(port)), 60 * lib.PATIENCE) for _ in range(40)]
    for poll in polls:
        poll.sendall(f"GET /v1/streams/plain/events?wait=50 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {p.token}\r\nConnection: close\r\n\r\n".encode())
    lib.wait_until(lambda: p.metrics()["cupel_http_connections"] >= 40, what="40 connections")
    for _ in range(20):  # each over a connection of its own: who answers these has read those
        assert requests.get(p.url + "/v1/streams", headers={"Authorization": "Bearer " + p.token}, timeout=60 * lib.PATIENCE).status_code == 200
    began = time.monotonic()
    assert p.stop() == 0
    assert time.monotonic() - began < 40  # nobody waited to the end
    for poll in polls:
        with poll, poll.makefile("rb") as answer:
            assert b" 200 " in answer.readline()


def test_bad_parameters_are_named(p):
    for params, part in [({"partition": 5}, "partition"), ({"partition": "x"}, "partition"), ({"offset": "-1"}, "offset"), ({"limit": 0}, "limit"), ({"wait": "soon"}, "wait")]:
        answer = p.get("/v1/streams/plain/events", params=params)
        assert answer.status_code in (400, 404) and part in answer.json()["detail"], answer.text
    problem(p.get("/v1/streams/none/events"), 404, "none")
    problem(p.get("/v1/streams/none"), 404, "none")


# ---- who may ---------------------------------------------------------------------------------------------------------------------------------------


def test_tokens_and_roles(p):
    problem(p.post("plain", {"a": 1}, token=False), 401)
    problem(p.post("plain", {"a": 1}, token="wrong"), 401, "unknown")
    tokens = {role: p.request("POST", "/v1/tokens", json={"name": f"t-{role}", "role": role}).json()["token"] for role in ("admin", "write", "read")}
    assert [p.post("plain", {"a": 1}, token=tokens[r]).status_code for r in ("admin", "write", "read")] == [202, 202, 403]
    assert [p.get("/v1/streams", token=tokens[r]).status_code for r in ("admin", "write", "read")] == [200, 200, 200]
    assert [p.get("/v1/tokens", token=tokens[r]).status_code for r in ("admin", "write", "read")] == [200, 403, 403]
    assert p.request("POST", "/v1/streams/plain", data=b'{"a":1}', token=False, auth=("any", tokens["write"])).status_code == 202  # basic
    listed = p.get("/v1/tokens")
    assert {"cli", "t-admin", "t-write", "t-read"} <= {t["name"] for t in listed.json()["tokens"]}
    assert not any(t in listed.text for t in tokens.values())
    assert p.request("DELETE", "/v1/tokens/t-write").status_code == 204
    problem(p.post("plain", {"a": 1}, token=tokens["write"]), 401)  # at once
    problem(p.request("POST", "/v1/tokens", json={"name": "t-read", "role": "read"}), 409)
    problem(p.request("POST", "/v1/tokens", json={"name": "x", "role": "root"}), 400, "role")
    problem(p.request("POST", "/v1/tokens", json={"name": "../x", "role": "read"}), 400, "name")
    for seconds in (1, 5, 30):  # the next one where the machine was too busy to ask within that time
        began = time.monotonic()
        soon = p.request("POST", "/v1/tokens", json={"name": f"soon-{seconds}", "role": "read", "expires_in": f"{seconds}s"}).json()
        status = p.get("/v1/streams", token=soon["token"]).status_code
        if time.monotonic() - began < seconds:
            break
    assert soon["expires_at"] and status == 200
    lib.wait_until(lambda: p.get("/v1/streams", token=soon["token"]).status_code != 200, what="the token's end")
    problem(p.get("/v1/streams", token=soon["token"]), 401)
    p.restart()
    assert p.get("/v1/streams", token=tokens["read"]).status_code == 200
    assert (p.data / "cli.token").stat().st_mode & 0o777 == 0o600
    for path in p.data.rglob("*"):
        if path.is_file() and path.name != "cli.token":
            content = path.read_bytes()
            assert not any(t.encode() in content for t in [*tokens.values(), p.token]), path


def test_open_loopback_is_for_direct_requests_only(make_project):
    p = make_project("auth: {loopback: open}\n" + YAML)
    port = p.url.rpartition(":")[2]
    assert p.get("/v1/streams", token=False).status_code == 200
    assert p.get("/v1/streams", token=False, headers={"Host": "localhost:" + port, "Origin": "http://localhost:" + port, "Sec-Fetch-Site": "same-origin"}).status_code == 200
    foreign = [
        {"X-Forwarded-For": "1.2.3.4"},
        {"Forwarded": "for=1.2.3.4"},
        {"Via": "1.1 proxy"},
        {"X-Forwarded": "1.2.3.4"},
        {"X-Original-Forwarded-For": "1.2.3.4"},
        {"X-Cluster-Client-IP": "1.2.3.4"},
        {"Fly-Client-IP": "1.2.3.4"},
        {"X-Azure-ClientIP": "1.2.3.4"},
        {"X-Envoy-External-Address": "1.2.3.4"},
        {"Tailscale-User-Login": "a@b.example"},
        {"CDN-Loop": "cloudflare"},
        {"X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678"},
        {"Host": "[::1].evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "evil.example:" + port, "Origin": "http://evil.example:" + port},
    ]
    for headers in foreign:
        problem(p.get("/v1/streams", token=False, headers=headers), 403, "loopback")
        assert p.get("/v1/streams", headers=headers).status_code == 200  # with a token it is nobody's business
    problem(p.get("/v1/streams", token="wrong"), 401)


# ---- TLS, large bodies, reload ---------------------------------------------------------------------------------------------------------------------


def certificate(folder):
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


def test_tls(make_project, tmp_path):
    cert, key = certificate(tmp_path / "tls")
    p = make_project(f"tls: {{cert: {cert}, key: {key}}}\n" + YAML, start=False)
    p.start(ready=False)
    lib.wait_until(lambda: p.server_json(), 20, "server file")
    port = p.server_json()["address"].rpartition(":")[2]
    headers = {"Authorization": "Bearer " + p.token}
    base = f"https://127.0.0.1:{port}"
    body = "".join(json.dumps({"n": i, "pad": "x" * 300}) + "\n" for i in range(5000))
    with requests.Session() as session:
        session.verify, session.trust_env = str(cert), False
        session.headers.update(headers)
        assert session.post(base + "/v1/streams/plain", json={"a": 1}).status_code == 202
        assert session.post(base + "/v1/streams/plain", data=body, headers={"Content-Type": "application/x-ndjson"}).json()["accepted"] == 5000
        batch = session.get(base + "/v1/streams/plain/events", params={"limit": 10000}).json()
        assert len(batch["events"]) == 5001
        assert session.get(base + "/v1/streams/plain/events", params={"offset": "latest", "wait": "200ms"}).json()["events"] == []
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(base + "/v1/streams", headers=headers, timeout=60, verify=True)
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/v1/streams", headers=headers, timeout=60)
    old = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1"], input=b"", capture_output=True, timeout=60)
    assert old.returncode != 0  # TLS 1.0 and 1.1 are not spoken
    assert p.stop() == 0


def test_certificate_that_does_not_fit_is_named(make_project, tmp_path):
    cert, _ = certificate(tmp_path / "one")
    _, key = certificate(tmp_path / "two")
    p = make_project(f"tls: {{cert: {cert}, key: {key}}}\n" + YAML, start=False)
    p.start(ready=False)
    assert p.process.wait(60 * lib.PATIENCE) != 0
    assert "belong together" in p.log_path.read_text()
    p.forget()


def test_large_batches(p):
    """Bodies over 1 MiB take the way over the workers; several at once do not mix."""
    results = []

    def send(worker):
        body = "".join(json.dumps({"worker": worker, "n": i, "pad": "x" * 900}) + "\n" for i in range(8000)).encode()
        headers = {"Content-Type": "application/x-ndjson", "Authorization": "Bearer " + p.token}
        if worker % 2:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        results.append(requests.post(p.url + "/v1/streams/by_path", data=body, headers=headers, timeout=60 * lib.PATIENCE).json())

    threads = [threading.Thread(target=send, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r["accepted"] for r in results] == [8000] * 6
    state = p.get("/v1/streams/by_path").json()["state"]
    assert sum(s["end_offset"] for s in state) == 48000
    seen = {i: [] for i in range(6)}
    for part in range(2):
        offset = 0
        while True:
            batch = read(p, "by_path", part, offset=offset, limit=5000)
            if not batch["events"]:
                break
            offset = batch["next_offset"]
            for e in batch["events"]:
                record = json.loads(e["payload"])
                seen[record["worker"]].append(record["n"])
    assert all(sorted(n) == list(range(8000)) for n in seen.values())


def test_reload_takes_new_settings_without_losing_requests(p):
    stop = threading.Event()
    failures = []

    def load():
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(p.url + "/v1/streams/plain", data=b'{"a":1}', headers={"Authorization": "Bearer " + p.token}, timeout=30)
                if answer.status_code != 202:
                    failures.append(answer.text)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert "email" in p.post("plain", {"email": "a@b.c"}).request.body.decode()
        p.write_yaml(YAML.replace("plain: {partitions: 1}", "plain: {partitions: 1, protect: {email: mask}}\n  fresh: {}"))
        for _ in range(3):
            p.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
        lib.wait_until(lambda: p.post("fresh", {"a": 1}).status_code == 202, 10, "new stream")
        p.post("plain", {"email": "x@y.z"})
    finally:
        stop.set()
        thread.join()
    assert failures == []
    end = p.get("/v1/streams/plain").json()["state"][0]["end_offset"]
    events = [json.loads(e["payload"]) for offset in range(0, end, 10000) for e in read(p, "plain", offset=offset, limit=10000)["events"]]
    assert [e["email"] for e in events if "email" in e] == ["a@b.c", "***"]


def test_full_log_is_503_and_reads_go_on(make_project):
    p = make_project("log: {max_bytes: 16MiB, segment_bytes: 1MiB}\nlake: {flush: {bytes: 4GB, seconds: 86400}}\n" + YAML)
    stored = 0
    for _ in range(60):
        answer = p.post_ndjson("plain", [{"n": stored + i, "pad": "x" * 1000} for i in range(500)])
        if answer.status_code != 202:
            break
        stored += 500
    shown = problem(answer, 503)
    assert int(answer.headers["Retry-After"]) >= 1 and "urn:cupel:problem:" in shown["type"]
    assert 5_000 < stored < 20_000
    assert [json.loads(e["payload"])["n"] for e in read(p, "plain", offset=stored - 3)["events"]] == [stored - 3, stored - 2, stored - 1]
    assert read(p, "plain", offset=stored + 1000)["events"] == []
    assert p.get("/health/live").status_code == 200
    assert p.stop() == 0
