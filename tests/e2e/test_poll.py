"""Poll sources against a partner that answers objects, lists, nothing, errors, nonsense, and late."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lib import wait_until


class Partner:
    """Answers from a queue of (code, headers, body, delay); the last one again and again. Keeps what it was asked."""

    def __init__(self):
        self.answers = [(200, {}, b"[]", 0)]
        self.asked, self.answered = [], []  # what was asked, and when; when each answer began
        self.late = False  # an answer of more than a minute is under way
        self.lock = threading.Lock()
        partner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with partner.lock:
                    partner.asked.append((time.monotonic(), self.path, dict(self.headers)))
                    code, headers, body, delay = partner.answers.pop(0) if len(partner.answers) > 1 else partner.answers[0]
                    partner.late = delay > 60
                time.sleep(delay)
                partner.answered.append(time.monotonic())
                try:
                    self.send_response(code)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def say(self, *answers):
        full = [(a[0], a[1], a[2] if isinstance(a[2], bytes) else json.dumps(a[2]).encode(), a[3] if len(a) > 3 else 0) for a in answers]
        with self.lock:
            self.answers = full

    def count(self):
        with self.lock:
            return len(self.asked)


@pytest.fixture
def partner():
    one = Partner()
    yield one
    one.server.shutdown()
    one.server.server_close()


def yaml(partner, more="", every="100ms"):
    return f"""project: test
listen: 127.0.0.1:0
streams: {{web: {{dedupe: body}}, other: {{}}}}
sources:
  - {{name: api, type: poll, url: "{partner.url}/api/web-traffic/", every: {every}, stream: web, {more}}}
"""


def source(project, name="api"):
    return next(s for s in project.get("/v1/sources").json()["sources"] if s["name"] == name)


def payloads(project, stream="web"):
    return [r["payload"] for r in project.sql(f"SELECT payload FROM bronze.{stream} ORDER BY _event_id")]


def test_object_and_list(make_project, partner):
    partner.say((200, {}, b'{"n": 1.50}'), (200, {}, b'[ {"n":2}, {"n":3} ]'), (200, {}, b"[]"), (204, {}, b""), (200, {}, b'[{"n":3},{"n":4}]'))
    project = make_project(yaml=yaml(partner))
    wait_until(lambda: source(project)["asked"] >= 7)
    assert payloads(project) == ['{"n": 1.50}', '{"n":2}', '{"n":3}', '{"n":4}']
    state = source(project)
    assert state["failed"] == 0 and state["accepted"] == 4 and state["refused"] == 0 and "last_error" not in state
    assert project.sql("SELECT DISTINCT _source AS s FROM bronze.web") == [{"s": "api"}]
    assert project.get("/v1/conservation").json()["ok"]


def test_list_below_a_path_headers_and_secrets(make_project, partner):
    partner.say((200, {}, {"data": {"items": [{"n": 1}]}}))
    project = make_project(yaml=yaml(partner, 'items: data.items, headers: ["Authorization: Bearer ${API_TOKEN}", "X-Shop: 7"]'), env={"API_TOKEN": "very-secret"})
    wait_until(lambda: payloads(project) == ['{"n": 1}'])
    headers = partner.asked[0][2]
    assert headers["Authorization"] == "Bearer very-secret" and headers["X-Shop"] == "7"
    shown = project.get("/v1/sources").text + project.cli("check", "--json").stdout + project.log_tail(200)
    assert "very-secret" not in shown


def test_unchanged_answers_are_recognised(make_project, partner):
    partner.say((200, {"ETag": '"v1"'}, {"n": 1}), (304, {}, b""))
    project = make_project(yaml=yaml(partner))
    wait_until(lambda: source(project)["asked"] >= 3)
    assert partner.asked[1][2]["If-None-Match"] == '"v1"'
    assert source(project)["failed"] == 0 and len(payloads(project)) == 1


def test_a_failing_partner_is_asked_less_often_and_nothing_stops(make_project, partner):
    partner.say((500, {}, b"<h1>oops</h1>"), (200, {}, b"<html>login</html>"), (200, {}, b'[{"n":1}'), (200, {}, {"n": 1}))
    project = make_project(yaml=yaml(partner, "backoff_max: 1s"))
    wait_until(lambda: payloads(project) == ['{"n": 1}'], timeout_s=20)
    gaps = [asked[0] - answered for asked, answered in zip(partner.asked[1:4], partner.answered)]  # a little more than what was waited
    assert gaps[0] >= 0.09 and gaps[1] >= 0.19 and gaps[2] >= 0.39, gaps
    state = source(project)
    assert state["failed"] == 3
    log = project.log_tail(200)
    assert "answered 500" in log and "can be read again" in log
    assert project.post("other", {"a": 1}).status_code == 202
    assert project.metrics()['cupel_poll_requests_total{source="api",outcome="failed"}'] == 3


def test_what_is_wrong_is_said(make_project, partner):
    partner.say((200, {}, b"<html>login</html>"))
    project = make_project(yaml=yaml(partner))
    wait_until(lambda: "last_error" in source(project))
    assert "neither a JSON object nor a list" in source(project)["last_error"]
    partner.say((503, {"Connection": "close"}, b"later"))
    wait_until(lambda: "503" in source(project)["last_error"])
    partner.server.shutdown()
    partner.server.server_close()
    wait_until(lambda: "onnect" in source(project)["last_error"])


def test_retry_after_is_obeyed(make_project, partner):
    partner.say((429, {"Retry-After": "2"}, b""), (200, {}, {"n": 1}))
    project = make_project(yaml=yaml(partner, "backoff_max: 200ms"))
    wait_until(lambda: len(payloads(project)) == 1)
    assert partner.asked[1][0] - partner.answered[0] >= 1.9


def test_slow_answers_time_out_and_do_not_hold_up_the_end(make_project, partner):
    partner.say((200, {}, {"n": 1}, 5), (200, {}, {"n": 2}))
    project = make_project(yaml=yaml(partner, "timeout: 500ms, backoff_max: 1s"))
    wait_until(lambda: '{"n": 2}' in payloads(project))
    assert source(project)["failed"] >= 1 and payloads(project) == ['{"n": 2}']
    project.write_yaml(yaml(partner, "timeout: 300s"))
    assert project.request("POST", "/v1/reload").status_code == 200
    asked = partner.count()
    wait_until(lambda: partner.count() >= asked + 2)  # by the new one
    partner.say((200, {}, {"n": 3}, 200))
    wait_until(lambda: partner.late)
    begun = time.monotonic()
    project.stop(timeout_s=300)
    assert time.monotonic() - begun < 100  # the partner's answer would come after 200 s


def test_a_record_that_the_stream_refuses_does_not_stop_the_others(make_project, partner):
    partner.say((200, {}, [{"n": 1}, {"n": "x" * 300_000}, {"n": 2}]), (200, {}, b"[]"))
    project = make_project(yaml=yaml(partner) + "limits: {record_bytes: 200KiB}\n")
    wait_until(lambda: len(payloads(project)) == 2)
    wait_until(lambda: source(project)["refused"] == 1)
    assert "the stream refused a record" in project.log_tail(200)


def test_what_is_confidential_is_not_shown(make_project, partner):
    """Neither what follows the address, nor a refused record of a stream with protected fields."""
    partner.say((200, {}, [{"email": "ada@example.org", "n": "x" * 300_000}]), (500, {}, b"broken"))
    text = yaml(partner).replace("web: {dedupe: body}", "web: {dedupe: body, protect: {email: mask}}").replace("/web-traffic/", "/web-traffic/?key=${API_TOKEN}").replace("http://", "http://user:${API_TOKEN}@")
    project = make_project(yaml=text + "limits: {record_bytes: 200KiB}\n", env={"API_TOKEN": "very-secret"})
    wait_until(lambda: source(project)["refused"] == 1 and "500" in source(project).get("last_error", ""))
    assert partner.asked[0][1].endswith("?key=very-secret")
    assert source(project)["url"] == f"{partner.url}/api/web-traffic/"
    project.cli("source", "run", "api", check=False)
    told = project.get("/v1/sources").text + project.cli("check", "--json").stdout + project.log_tail(500)
    assert "the stream refused a record" in told and "very-secret" not in told and "ada@example.org" not in told


def test_large_answers(make_project, partner):
    rows = [{"n": i, "text": "ü" * 50} for i in range(20_000)]
    partner.say((200, {}, rows), (200, {}, b"[]"))
    project = make_project(yaml=yaml(partner))
    wait_until(lambda: source(project)["accepted"] == 20_000)
    assert project.value("SELECT count(DISTINCT payload) FROM bronze.web") == 20_000


def test_run_and_test_by_command(make_project, partner):
    partner.say((200, {}, [{"n": 1}, {"n": 2}]))
    project = make_project(yaml=yaml(partner, every="1h"))
    wait_until(lambda: source(project)["asked"] == 1)
    shown = json.loads(project.cli("source", "test", "api", "--json").stdout)
    assert shown["records"] == 2 and shown["first"] == [{"n": 1}, {"n": 2}] and source(project)["asked"] == 1
    partner.say((200, {}, [{"n": 3}]))
    done = json.loads(project.cli("source", "run", "api", "--json").stdout)
    assert done == {"source": "api", "code": 200, "records": 1, "accepted": 1, "refused": 0}
    assert "api" in project.cli("source", "list").stdout
    partner.say((404, {}, b"gone"))
    failed = project.cli("source", "run", "api", check=False)
    assert failed.returncode == 1 and "404" in failed.stderr


def test_no_event_twice_over_kills(make_project, partner):
    partner.say((200, {}, [{"n": i} for i in range(500)]))
    project = make_project(yaml=yaml(partner))
    for _ in range(3):
        wait_until(lambda: source(project)["asked"] >= 2)
        project.kill9()
        project.restart()
    wait_until(lambda: source(project)["asked"] >= 2)
    assert project.sql("SELECT count(*) AS n, count(DISTINCT payload) AS d FROM bronze.web") == [{"n": 500, "d": 500}]
