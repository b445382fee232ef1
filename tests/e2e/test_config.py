"""Configuration as a running server uses it: secrets from outside, what a reload cannot take over, and more queries than there are places."""

import json
import signal
import threading
import time

import lib

SECRET = "swordfish-0815"
WITH_SECRET = """
project: test
listen: 127.0.0.1:0
logging: {level: debug}
streams:
  web: {partitions: "${WEB_PARTITIONS:-2}"}
sources:
  - {name: hook, type: webhook, stream: web, scheme: token, token_header: X-Token, secret: "${HOOK_SECRET}"}
  - {name: other, type: webhook, stream: web, scheme: token, token_header: X-Token, secret: "${file:secret.txt}"}
"""


def test_secrets_come_from_outside_and_are_never_shown(make_project):
    p = make_project(WITH_SECRET, start=False, env={"HOOK_SECRET": SECRET})
    (p.dir / "secret.txt").write_text(SECRET + "-file\n")
    p.start()
    assert p.request("POST", "/hooks/hook", json={"a": 1}, token=False, headers={"X-Token": SECRET}).status_code == 200
    assert p.request("POST", "/hooks/other", json={"a": 1}, token=False, headers={"X-Token": SECRET + "-file"}).status_code == 200
    refused = p.request("POST", "/hooks/hook", json={"a": 1}, token=False, headers={"X-Token": "wrong"})
    assert refused.status_code == 401
    shown = [p.cli("check", "--json").stdout, p.cli("source", "list", "--json").stdout, p.get("/v1/sources").text, p.get("/metrics").text, refused.text]
    shown += [f.read_text(errors="replace") for f in [p.log_path, *(p.data / "logs").iterdir()]]
    for text in shown:
        assert SECRET not in text
    assert json.loads(shown[0])["sources"][0]["secret"] == ["***"]


def test_missing_variables_and_everything_else_in_one_run(make_project):
    p = make_project(WITH_SECRET + "handler: 1\nlog: {retention: 7}\n", start=False, env={"WEB_PARTITIONS": "many"})
    for command in ("check", "serve"):
        done = p.cli(command, check=False)
        assert done.returncode == 2
        for words in ("partitions must be a whole number", "HOOK_SECRET is not set", "secret.txt", 'unknown key "handler" (did you mean "handlers"?)', "retention must be a time"):
            assert words in done.stderr + done.stdout, words
        assert "many" not in done.stderr + done.stdout  # the value came from the environment


def test_reload_names_what_needs_a_restart(project):
    text = (project.dir / "cupel.yaml").read_text()
    project.write_yaml(text + "log: {retention: 8d}\n")
    project.process.send_signal(signal.SIGHUP)
    lib.wait_until(lambda: "log.retention" in project.log_tail(), what="the option in the log")
    assert project.post("web", {"event_id": "1", "session_id": "a"}).status_code == 202


def test_more_queries_than_places_all_end(make_project):
    """Queries in line hold neither those that run, nor their answers, nor large requests."""
    p = make_project(lib.DEFAULT_YAML + "sql: {queries: 2, wait_seconds: 120}\nlimits: {http_workers: 2}\n")
    p.value("SELECT 1")
    failures, sizes = [], []

    def client():
        for _ in range(2):
            answer = p.request("POST", "/v1/sql", json={"query": "SELECT range AS n, repeat('x', 100) AS t FROM range(20000)", "format": "ndjson"}, timeout=120 * lib.PATIENCE)
            if answer.status_code != 200:
                failures.append(answer.text)
            sizes.append(len(answer.text.splitlines()))

    clients = [threading.Thread(target=client) for _ in range(12)]
    for one in clients:
        one.start()
    events = [{"event_id": f"e{i}", "session_id": "s", "text": "y" * 2000} for i in range(1500)]  # more than the 1 MiB that is handled on the spot
    start = time.monotonic()
    assert p.post_ndjson("web", events).json()["accepted"] == 1500
    assert time.monotonic() - start < 60 * lib.PATIENCE
    for one in clients:
        one.join()
    assert not failures and sizes == [20000] * 24
