"""Webhooks: every scheme with right and wrong signatures, set-up questions, what is kept and what never is, real payloads byte for byte."""

import base64
import gzip
import hashlib
import hmac
import json
import subprocess
import tarfile
import time

import pytest

SECRET, OLD = "hush", "former"
STANDARD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

YAML = f"""
project: test
listen: 127.0.0.1:0
streams:
  orders: {{partitions: 1, dedupe: "header:X-Shopify-Webhook-Id"}}
  events: {{partitions: 1, key: type, dedupe: "header:webhook-id"}}
  github: {{partitions: 2}}
  loose: {{partitions: 1}}
  guarded: {{partitions: 1, protect: {{email: mask}}}}
sources:
  - {{name: shop, type: webhook, stream: orders, scheme: shopify, secrets: [{SECRET}, {OLD}]}}
  - {{name: shop_strict, type: webhook, stream: orders, scheme: shopify, secret: {SECRET}, accept: json}}
  - {{name: std, type: webhook, stream: events, scheme: standard-webhooks, secret: {STANDARD}}}
  - {{name: gh, type: webhook, stream: github, scheme: hmac-sha256, secret: {SECRET}, header: X-Hub-Signature-256, encoding: hex, prefix: "sha256=", verify_token: meta-says}}
  - {{name: slack, type: webhook, stream: loose, scheme: hmac-sha256, secret: {SECRET}, header: X-Slack-Signature, prefix: "v0=", timestamp_header: X-Slack-Request-Timestamp, signed: "v0:{{timestamp}}:{{body}}"}}
  - {{name: timed, type: webhook, stream: loose, scheme: hmac-sha256, secret: {SECRET}, header: X-Sig, encoding: base64, timestamp_header: X-Time, tolerance: 60s}}
  - {{name: tok, type: webhook, stream: loose, scheme: token, secret: {SECRET}, token_header: X-Api-Key}}
  - {{name: tokq, type: webhook, stream: loose, scheme: token, secret: {SECRET}, token_query: key}}
  - {{name: bas, type: webhook, stream: loose, scheme: basic, user: ada, password: lovelace}}
  - {{name: open, type: webhook, stream: loose, scheme: none, answer: 202, keep_headers: [x-mine]}}
  - {{name: guard, type: webhook, stream: guarded, scheme: none}}
"""


@pytest.fixture
def p(make_project):
    return make_project(YAML)


def mac(body, secret=SECRET):
    return hmac.new(secret.encode(), body, hashlib.sha256)


def shopify(body, secret=SECRET, **more):
    return {"Content-Type": "application/json", "X-Shopify-Topic": "orders/create", "X-Shopify-Hmac-Sha256": base64.b64encode(mac(body, secret).digest()).decode(), **more}


def github(body):
    return {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + mac(body).hexdigest()}


def standard(body, ident="msg_1", at=None, secret=STANDARD):
    at = str(int(time.time()) if at is None else at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, f"{ident}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": ident, "webhook-timestamp": at, "webhook-signature": f"v1,{digest}"}


def send(p, source, body, headers=None, method="POST", **more):
    return p.request(method, f"/hooks/{source}", data=body, headers=headers, token=False, **more)


def events(p, stream, partitions=1):
    out = []
    for part in range(partitions):
        out += p.get(f"/v1/streams/{stream}/events", params={"partition": part, "limit": 10000}).json()["events"]
    return out


def raw(event):
    return event["payload"].encode() if event["payload"] is not None else base64.b64decode(event["_body"])


def refused(answer, status=401):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.json()["detail"]


# ---- schemes ---------------------------------------------------------------------------------------------------------------------------------------


def test_shopify(p):
    body = b'{"id": 820982911946154508, "total_price": "12.30"}'
    answer = send(p, "shop", body, shopify(body, **{"X-Shopify-Webhook-Id": "w1"}))
    assert answer.status_code == 200 and answer.json()["accepted"] == 1
    assert send(p, "shop", body, shopify(body, **{"X-Shopify-Webhook-Id": "w1"})).json()["duplicates"] == 1  # a retry
    assert send(p, "shop", body, shopify(body, OLD, **{"X-Shopify-Webhook-Id": "w2"})).status_code == 200  # rotated secret
    for headers in ({}, shopify(body, "wrong"), shopify(body + b" "), {"X-Shopify-Hmac-Sha256": ""}, {"X-Shopify-Hmac-Sha256": "!!"}, {"X-Shopify-Hmac-Sha256": mac(body).hexdigest()}):
        assert "signature" in refused(send(p, "shop", body, headers))
    stored = events(p, "orders")
    assert [raw(e) for e in stored] == [body, body] and stored[0]["_source"] == "shop"
    assert stored[0]["_headers"]["x-shopify-topic"] == "orders/create" and stored[0]["_headers"]["x-shopify-webhook-id"] == "w1"
    assert not any("hmac" in name for e in stored for name in e["_headers"])
    assert p.metrics()['cupel_hook_rejected_total{source="shop"}'] == 6


def test_standard_webhooks(p):
    body = b'{"type":"order.created","data":{}}'
    good = standard(body)
    assert send(p, "std", body, good).status_code == 200
    assert send(p, "std", body, standard(body, at=int(time.time()) - 200)).json()["duplicates"] == 1  # a retry has its own time
    several = {**standard(body, "msg_2"), "webhook-signature": "v1,AAAA v2,xyz " + standard(body, "msg_2")["webhook-signature"]}
    assert send(p, "std", body, several).status_code == 200
    now = int(time.time())
    for headers in (
        {},
        {k: v for k, v in good.items() if k != "webhook-id"},
        {**good, "webhook-id": "msg_other"},
        {**good, "webhook-timestamp": "hello"},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        standard(body, at=now - 400),
        standard(body, at=now + 400),
        standard(body, secret="whsec_" + base64.b64encode(b"x" * 24).decode()),
    ):
        refused(send(p, "std", body, headers))
    refused(send(p, "std", body + b"\n", good))
    stored = events(p, "events")
    assert len(stored) == 2 and stored[0]["_key"] == "order.created"
    assert stored[0]["_headers"]["webhook-id"] == "msg_1" and "webhook-signature" not in stored[0]["_headers"]


def test_hmac_with_prefix_and_with_timestamp(p):
    body = b'{"zen":"Keep it logically awesome."}'
    assert send(p, "gh", body, github(body)).status_code == 200
    assert send(p, "gh", body, {**github(body), "X-Hub-Signature-256": "sha256=" + mac(body).hexdigest().upper()}).status_code == 200
    refused(send(p, "gh", body, {"X-Hub-Signature-256": mac(body).hexdigest()}))
    refused(send(p, "gh", body, {"X-Hub-Signature": "sha1=00"}))

    def timed(at):
        return {"X-Time": str(at), "X-Sig": base64.b64encode(mac(f"{at}.".encode() + body).digest()).decode()}

    now = int(time.time())
    assert send(p, "timed", body, timed(now)).status_code == 200
    assert "old" in refused(send(p, "timed", body, timed(now - 120)))
    refused(send(p, "timed", body, {**timed(now), "X-Time": str(now - 1)}))
    refused(send(p, "timed", body, {"X-Sig": base64.b64encode(mac(body).digest()).decode()}))


def test_signed_text_by_template(p):
    body = b'{"text":"{body} {timestamp}"}'

    def slack(at, text=None):
        text = text or f"v0:{at}:".encode() + body
        return {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": "v0=" + mac(text).hexdigest()}

    now = int(time.time())
    assert send(p, "slack", body, slack(now)).status_code == 200
    refused(send(p, "slack", body, slack(now - 600)))
    refused(send(p, "slack", body, slack(now, f"{now}.".encode() + body)))
    refused(send(p, "slack", body, {**slack(now), "X-Slack-Request-Timestamp": str(now + 1)}))
    assert [raw(e) for e in events(p, "loose")] == [body]


def test_token_basic_and_none(p):
    body = b"{}"
    assert send(p, "tok", body, {"X-Api-Key": SECRET}).status_code == 200
    assert send(p, "tok", body, {"X-Api-Key": "Bearer " + SECRET}).status_code == 200
    assert send(p, "tokq", body, params={"key": SECRET}).status_code == 200
    for headers, params in (({}, {}), ({"X-Api-Key": "hus"}, {}), ({"X-Api-Key": ""}, {"key": SECRET}), ({}, {"key": SECRET + "x"})):
        refused(send(p, "tok", body, headers, params=params))
    for params in ({}, {"key": ""}, {"key": SECRET + "x"}):
        refused(send(p, "tokq", body, {"X-Api-Key": SECRET}, params=params))
    assert send(p, "bas", body, auth=("ada", "lovelace")).status_code == 200
    for auth in (("ada", "x"), ("x", "lovelace"), ("", "")):
        refused(send(p, "bas", body, auth=auth))
    refused(send(p, "bas", body))
    assert send(p, "open", body, method="PUT").status_code == 202
    assert refused(send(p, "nobody", body), 404)
    assert len(events(p, "loose")) == 5


# ---- set-up questions ------------------------------------------------------------------------------------------------------------------------------


def test_meta_challenge(p):
    ask = {"hub.mode": "subscribe", "hub.verify_token": "meta-says", "hub.challenge": "1158201444"}
    answer = send(p, "gh", None, method="GET", params=ask)
    assert answer.status_code == 200 and answer.text == "1158201444" and answer.headers["Content-Type"].startswith("text/plain")
    refused(send(p, "gh", None, method="GET", params={**ask, "hub.verify_token": "x"}), 403)
    refused(send(p, "gh", None, method="GET", params={**ask, "hub.verify_token": SECRET}), 403)
    refused(send(p, "std", None, method="GET", params={**ask, "hub.verify_token": ""}), 403)
    refused(send(p, "gh", None, method="GET", params={k: v for k, v in ask.items() if k != "hub.verify_token"}), 403)
    assert send(p, "gh", None, method="GET").status_code == 405


def test_cloudevents_and_graph_and_slack_questions(p):
    answer = send(p, "open", None, {"WebHook-Request-Origin": "eventgrid.example", "WebHook-Request-Rate": "120"}, method="OPTIONS")
    assert answer.status_code == 200
    assert (answer.headers["WebHook-Allowed-Origin"], answer.headers["WebHook-Allowed-Rate"]) == ("eventgrid.example", "120")
    answer = send(p, "open", None, params={"validationToken": "Validation: <b>a&b</b>"})
    assert answer.status_code == 200 and answer.text == "Validation: <b>a&b</b>"
    assert answer.headers["Content-Type"].startswith("text/plain") and answer.headers["X-Content-Type-Options"] == "nosniff"
    refused(send(p, "std", None, params={"validationToken": "x"}))  # who signs is not asked like that
    refused(send(p, "gh", None, params={"validationToken": "x"}))
    assert send(p, "tokq", None, params={"validationToken": "x"}).text == "x"
    for method in ("GET", "DELETE", "PATCH"):
        answer = send(p, "open", None, method=method)
        assert answer.status_code == 405 and answer.headers["Allow"] == "POST, PUT, OPTIONS", answer.text
    question = json.dumps({"type": "url_verification", "challenge": 'ab"c'}).encode()
    answer = send(p, "gh", question, github(question))
    assert answer.status_code == 200 and answer.json() == {"challenge": 'ab"c'}
    refused(send(p, "gh", question, {"X-Hub-Signature-256": "sha256=00"}))  # questions of signed sources are signed
    body = b'{"type":"other","text":"url_verification","challenge":"x"}'
    assert send(p, "gh", body, github(body)).status_code == 200  # looks similar, is an event
    assert [raw(e) for e in events(p, "github", 2)] == [body] and events(p, "events") == [] == events(p, "loose")


# ---- what is kept ----------------------------------------------------------------------------------------------------------------------------------


def test_bodies_are_kept_as_they_are(p):
    bodies = [b' {"a" : 1}\r\n', b"\xef\xbb\xbf{}", b"[1,2]", b"a=1&b=2", b"\x00\x01\xff", b'"x"', b'{"a":1}\n{"a":2}\n']
    for body in bodies:
        assert send(p, "shop", body, shopify(body)).status_code == 200
    stored = events(p, "orders")
    assert [raw(e) for e in stored] == bodies
    assert [e["_valid_json"] for e in stored] == [True, False, True, False, False, True, False]
    assert refused(send(p, "shop", b"", shopify(b"")), 400)


def test_compressed_bodies_are_signed_as_sent(p):
    body = b'{"n":1}' + b" " * 2_000_000
    packed = gzip.compress(body)
    encoding = {"Content-Encoding": "gzip"}
    assert send(p, "gh", packed, {**github(packed), **encoding}).status_code == 200
    refused(send(p, "gh", packed, {**github(body), **encoding}))
    bomb = gzip.compress(bytes(300_000_000))
    refused(send(p, "gh", bomb, {**github(body), **encoding}))  # nothing is unpacked for strangers
    refused(send(p, "gh", bomb, {**github(bomb), **encoding}), 413)
    refused(send(p, "gh", packed[:-9], {**github(packed[:-9]), **encoding}), 400)
    refused(send(p, "gh", body, {**github(body), "Content-Encoding": "br"}), 415)
    assert [raw(e) for e in events(p, "github", 2)] == [body]


def test_invalid_json_by_configuration(p):
    body = b'{"a": 1,}'
    assert send(p, "shop", body, shopify(body)).status_code == 200
    assert "byte" in refused(send(p, "shop_strict", body, shopify(body)), 400)
    assert len(events(p, "orders")) == 1


def test_headers_worth_keeping(p):
    headers = {"X-Mine": "1", "X-Other": "2", "Authorization": "Bearer abc", "Cookie": "c=1", "X-Shopify-Access-Token": "t", "ce-id": "9", "User-Agent": "sender/1", "X-Api-Key": "k"}
    assert send(p, "open", b"{}", {**headers, "Content-Type": "application/json; charset=utf-8"}).status_code == 202
    kept = events(p, "loose")[0]["_headers"]
    assert kept == {"x-mine": "1", "ce-id": "9", "user-agent": "sender/1", "content-type": "application/json; charset=utf-8"}


def test_protected_stream_takes_what_it_can_read(p):
    assert send(p, "guard", b'{"email":"a@b.c","n":1}').status_code == 200
    assert "protects" in refused(send(p, "guard", b"email=a@b.c"), 400)
    assert [raw(e) for e in events(p, "guarded")] == [b'{"email":"***","n":1}']


def unpack(path):
    tar = subprocess.run(["zstd", "-dqc", str(path)], capture_output=True, check=True).stdout
    import io

    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return [(m.name, archive.extractfile(m).read()) for m in archive.getmembers() if m.isfile() and m.name.endswith(".json")]


def test_real_payloads_byte_for_byte(p, real_data):
    shop = unpack(real_data / "shopify_json/shopify_fixtures.tar.zst")
    hub = unpack(real_data / "webhooks/payload_examples.tar.zst")
    assert (len(shop), len(hub)) == (189, 254)
    strict_refused = []
    for name, body in shop:
        assert send(p, "shop", body, shopify(body)).status_code == 200, name
        answer = send(p, "shop_strict", body, shopify(body))
        if answer.status_code != 200:
            assert answer.status_code == 400 and "byte" in answer.json()["detail"], answer.text
            strict_refused.append(name.rpartition("/")[2])
        assert send(p, "shop", body + b" ", shopify(body)).status_code == 401
    assert sorted(strict_refused) == ["properties_invalid0.json", "requested_fulfillment_service_id_invalid.json"]
    ids = {}
    for name, body in hub:
        answer = send(p, "gh", body, github(body))
        assert answer.status_code == 200, name
        ids[answer.json()["ids"][0]] = body
    assert {e["_event_id"]: raw(e) for e in events(p, "github", 2)} == ids
    kept = [raw(e) for e in events(p, "orders")]
    wanted = []
    for name, body in shop:
        wanted += [body] if name.rpartition("/")[2] in strict_refused else [body, body]
    assert kept == wanted
