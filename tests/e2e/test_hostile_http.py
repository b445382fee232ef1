"""Hostile clients: what they send gets a clear answer or a closed connection, memory stays flat, and others are served meanwhile."""

import gzip
import os
import random
import resource
import select
import socket
import subprocess
import threading
import time

import pytest

import lib

YAML = """
project: test
listen: 127.0.0.1:0
limits: {body_bytes: 1MB, decompressed_bytes: 4MB, record_bytes: 1MB, header_time: 1s}
streams:
  plain: {partitions: 1}
  anything: {partitions: 1, accept: any}
sources:
  - {name: shop, type: webhook, stream: anything, scheme: shopify, secret: hush}
  - {name: std, type: webhook, stream: anything, scheme: standard-webhooks, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
"""


@pytest.fixture
def p(make_project):
    return make_project(YAML)


def address(p):
    host, _, port = p.server_json()["address"].rpartition(":")
    return host, int(port)


def rss_mb(p):
    with open(f"/proc/{p.process.pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def connect(p, timeout=60):
    return socket.create_connection(address(p), timeout * lib.PATIENCE)


def read_to_end(sock):
    """Everything until the server closes; fails when it does not."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


def talk(p, *pieces, pause=0.0):
    with connect(p) as sock:
        for piece in pieces:
            try:
                sock.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            time.sleep(pause)
        return read_to_end(sock)


def head(p, path="/v1/streams/plain", method="POST", *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {p.token}", "Connection: close", *lines, "", ""]).encode()


def healthy(p):
    before = p.get("/v1/streams/plain").json()["state"][0]["end_offset"]
    assert p.post("plain", {"fine": True}).status_code == 202
    return before


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


# ---- bodies ----------------------------------------------------------------------------------------------------------------------------------------


def test_oversized_bodies(p):
    problem(p.post("plain", b"x" * (1_000_001)), 413)
    answer = talk(p, head(p, "/v1/streams/plain", "POST", "Content-Length: 1000000000000"))
    assert b"HTTP/1.1 413" in answer and b"problem+json" in answer
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = talk(p, head(p, "/v1/streams/plain", "POST", "Transfer-Encoding: chunked"), chunk * 20 + b"0\r\n\r\n")
    assert b"HTTP/1.1 413" in answer and b"problem+json" in answer
    endless = talk(p, head(p, "/v1/streams/plain", "POST", "Transfer-Encoding: chunked"), *[chunk * 100] * 20)  # 130 MB that never end: closed
    assert b"202" not in endless
    assert healthy(p) == 0


def test_bombs_and_damaged_compression(p):
    before = rss_mb(p)
    bomb = gzip.compress(b" " * 300_000_000)
    assert len(bomb) < 1_000_000
    zbomb = subprocess.run(["zstd", "-q", "-c", "-19"], input=b"{" * 300_000_000, capture_output=True, check=True).stdout
    for _ in range(5):
        problem(p.post("plain", bomb, headers={"Content-Encoding": "gzip"}), 413)
        problem(p.post("plain", zbomb, headers={"Content-Encoding": "zstd"}), 413)
    good = gzip.compress(b'{"a":1}')
    for body in (good[:-1], good[:10], b"", good + b"x", b"\x1f\x8b" + os.urandom(100), os.urandom(50)):
        problem(p.post("plain", body, headers={"Content-Encoding": "gzip"}), 400)
        problem(p.post("plain", body, headers={"Content-Encoding": "zstd"}), 400)
    problem(p.post("plain", good, headers={"Content-Encoding": "br"}), 415)
    problem(p.post("plain", good, headers={"Content-Encoding": "gzip, gzip"}), 415)
    assert healthy(p) == 0
    assert rss_mb(p) < before + 60 * lib.PATIENCE


def test_nested_and_damaged_json(p):
    for body in (b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 500_000 + b"]" * 500_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        answer = p.post("plain", body)
        assert answer.status_code in (400, 413), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
    for body in (b'{"a":"\x00"}', b'{"a":"\xff\xfe"}', b'{"a":"\xed\xa0\x80"}', b"\x00", b'{"a":"\xc0\x80"}', b'{"a":1}\x00'):
        problem(p.post("plain", body), 400)
        assert p.post("anything", body).status_code == 202
    assert healthy(p) == 0


def test_random_bytes(p):
    rng = random.Random(20)
    bits = [b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"1", b"null", b"\n", b"\\u00", b"\xff", b"\x00", b" "]
    for _ in range(400):
        body = b"".join(rng.choice(bits) for _ in range(rng.randrange(1, 40)))
        kind = rng.choice(["application/json", "application/x-ndjson"])
        assert p.post("plain", body, headers={"Content-Type": kind}).status_code in (202, 400, 413), body
    assert p.alive()


# ---- protocol --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tail",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-5\r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc",
        b"3\r\nabcdef\r\n0\r\n\r\n",
        b"3abc",
        b"3;" + b"x" * 100_000,
    ],
)
def test_broken_chunking(p, tail):
    answer = talk(p, head(p, "/v1/streams/plain", "POST", "Transfer-Encoding: chunked"), tail)
    assert b" 202 " not in answer
    assert healthy(p) == 0


def test_smuggling_and_malformed_heads(p):
    two = head(p, "/v1/streams/plain", "POST", "Content-Length: 5", "Transfer-Encoding: chunked") + b'0\r\n\r\n' + head(p, "/v1/streams", "GET")
    answer = talk(p, two)
    assert answer.count(b"HTTP/1.1 ") == 1 and b"HTTP/1.1 400" in answer
    for text in (
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        head(p, "/v1/streams/plain", "POST", "Content-Length: -1") + b"{}",
        head(p, "/v1/streams/plain", "POST", "Content-Length: 2", "Content-Length: 20") + b"{}",
    ):
        assert b" 202 " not in talk(p, text)
    assert healthy(p) == 0


def test_path_tricks(p):
    names = ["..%2f..%2fetc%2fpasswd", "%2e%2e", "plain%00", "%00", "plain%2fevents", "plain%20", "PLAIN", "plain%zz", "a" * 5000, "%e2%80%ae", "plain;x=1", "*", "'%20or%201=1"]
    for name in names:
        answer = talk(p, head(p, f"/v1/streams/{name}", "POST", "Content-Length: 7") + b'{"a":1}')
        status = int(answer.split()[1])
        assert status in (400, 404), (name, answer)
        assert b"problem+json" in answer
        assert b"/work" not in answer and b"data/log" not in answer
    for path in ("//v1/streams/plain", "/v1/../v1/streams/plain", "/v1/streams/plain/", "/v1/streams/./plain", "/V1/streams/plain", "/v1/streams//plain"):
        assert talk(p, head(p, path, "POST", "Content-Length: 2") + b"{}").split()[1] == b"404", path
    assert talk(p, head(p, "/v1/streams/plain", "BREW", "Content-Length: 0")).split()[1] in (b"404", b"405", b"501")
    assert talk(p, head(p, "/v1/streams/plain", "PATCH", "Content-Length: 0")).split()[1] == b"405"
    assert healthy(p) == 0


def test_bad_signatures_in_bulk(p):
    rng = random.Random(7)
    alphabet = "v1,=+/ abcXYZ0189._-\t"
    for _ in range(300):
        junk = "".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 200))).strip()
        for source, headers in (("shop", {"X-Shopify-Hmac-Sha256": junk}), ("std", {"webhook-id": junk[:20], "webhook-timestamp": str(int(time.time())), "webhook-signature": junk})):
            assert p.request("POST", f"/hooks/{source}", data=b"{}", headers=headers, token=False).status_code == 401
    assert p.metrics()['cupel_hook_rejected_total{source="shop"}'] == 300
    assert p.get("/v1/streams/anything").json()["state"][0]["end_offset"] == 0


# ---- slow and many ---------------------------------------------------------------------------------------------------------------------------------


def test_slow_heads_and_bodies_are_closed(p):
    slow_head, slow_body = connect(p), connect(p)
    slow_body.sendall(head(p, "/v1/streams/plain", "POST", "Content-Length: 1000"))
    text = head(p, "/v1/streams", "GET", "X: " + "y" * 1000)
    closed = {}
    for i in range(1200):  # counted in steps of at least a tenth of a second: a busy machine only makes them longer
        for name, sock, byte in (("head", slow_head, text[i : i + 1]), ("body", slow_body, b"x")):
            if name in closed:
                continue
            try:
                sock.sendall(byte)
                if select.select([sock], [], [], 0)[0] and not sock.recv(4096):
                    closed[name] = i
            except OSError:
                closed[name] = i
        if len(closed) == 2:
            break
        assert i % 20 or healthy(p) is not None
        time.sleep(0.1)
    assert set(closed) == {"head", "body"}
    assert closed["head"] < 60
    assert p.metrics()["cupel_http_slow_clients_total"] >= 2


def test_ten_thousand_idle_connections(p):
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted + 500:
        pytest.skip(f"the limit of open files ({hard}) is too low for {wanted} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 1000), hard))
    p.write_yaml(YAML.replace("header_time: 1s", "header_time: 1s, idle_time: 10m"))
    p.restart()  # inherits the limit
    healthy(p)
    before = rss_mb(p)
    socks = []
    try:
        where = address(p)
        ask = head(p, "/v1/streams/plain", "GET").replace(b"Connection: close\r\n", b"")
        for i in range(wanted):
            sock = socket.socket()
            sock.settimeout(60 * lib.PATIENCE)
            sock.connect(where)
            if i % 4 == 0:  # a quarter has asked something and keeps its connection
                sock.sendall(ask)
                assert b"200 OK" in sock.recv(4096)
            socks.append(sock)
        after = rss_mb(p)
        began = time.monotonic()
        assert p.post("plain", {"in": "between"}).status_code == 202
        assert time.monotonic() - began < 20 * lib.PATIENCE
        assert p.metrics()["cupel_http_connections"] >= wanted
        print(f"10,000 idle connections: {before:.0f} MB -> {after:.0f} MB")
        if not lib.SANITIZED:
            assert after - before < 120, f"{before:.0f} MB -> {after:.0f} MB"
    finally:
        for sock in socks:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    lib.wait_until(lambda: p.metrics()["cupel_http_connections"] < 100, 20, "connections closed")
    if not lib.SANITIZED:
        lib.wait_until(lambda: rss_mb(p) < before + 30, 10, "memory given back")


def test_clients_that_leave_in_the_middle(p):
    body = b'{"a":"' + b"x" * 200_000 + b'"}'

    def leave(i):
        sock = connect(p)
        sock.sendall(head(p, "/v1/streams/plain", "POST", f"Content-Length: {len(body)}") + body[: i * 1000])
        sock.close()

    threads = [threading.Thread(target=leave, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for _ in range(20):  # asked for a long poll and left
        sock = connect(p)
        sock.sendall(head(p, "/v1/streams/plain/events?offset=latest&wait=60", "GET"))
        sock.close()
    lib.wait_until(lambda: p.metrics()["cupel_http_gone_clients_total"] >= 20, 10, "gone clients noticed")
    assert healthy(p) == 0
    lib.wait_until(lambda: p.metrics()["cupel_http_bodies_bytes"] < 200_000, 10, "memory of bodies given back")
    assert p.stop() == 0


def test_thousands_of_long_polls_wake_at_once(p):
    wanted = 500 if lib.SANITIZED else 3000  # all must have come before the first one's wait of 50 s is over
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted + 500:
        pytest.skip(f"the limit of open files ({hard}) is too low for {wanted} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 1000), hard))
    p.restart()
    polls = [connect(p) for _ in range(wanted)]
    try:
        for sock in polls:
            sock.sendall(head(p, "/v1/streams/plain/events?offset=0&wait=50", "GET"))
        time.sleep(1.5)  # so that most of them wait; who comes later than the event finds it there
        began = time.monotonic()
        assert p.post("plain", {"for": "all"}).status_code == 202
        assert time.monotonic() - began < 20 * lib.PATIENCE  # the one who writes does not wait for them
        assert all(b'{\\"for\\": \\"all\\"}' in read_to_end(sock) for sock in polls)
        assert time.monotonic() - began < 40
    finally:
        for sock in polls:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert p.stop() == 0
