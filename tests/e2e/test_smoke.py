"""The quick tour: an event goes in, is found by its id, is in SQL at once, survives a kill, the accounts add up."""

import json

import pytest

pytestmark = pytest.mark.smoke


def test_event_goes_all_the_way(project):
    answer = project.post("web", {"event_id": "e1", "session_id": "s1", "page": "/home"})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["accepted"], body["duplicates"]) == (1, 0)
    event_id = body["ids"][0]
    assert body["first_id"] == body["last_id"] == event_id
    shown = project.event(event_id)
    assert shown.status_code == 200, shown.text
    rows = project.sql("SELECT _event_id::VARCHAR AS id, _stream, payload FROM bronze.web")
    assert [(r["id"], r["_stream"]) for r in rows] == [(event_id, "web")]
    assert json.loads(rows[0]["payload"])["page"] == "/home"


def test_duplicate_gets_the_first_id(project):
    first = project.post("web", {"event_id": "same", "session_id": "s"}).json()
    second = project.post("web", {"event_id": "same", "session_id": "s"}).json()
    assert (second["accepted"], second["duplicates"], second["ids"]) == (0, 1, first["ids"])
    assert project.value("SELECT count(*) AS n FROM bronze.web") == 1


def test_batch_is_all_or_nothing(project):
    answer = project.post("orders", b'{"order_id":1}\n{"order_id":2\n', headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 400, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert project.value("SELECT count(*) AS n FROM bronze.orders") == 0


def test_killed_server_comes_back_with_everything(project):
    ids = project.post_ndjson("orders", [{"order_id": i} for i in range(100)]).json()["ids"]
    project.kill9()
    project.start()
    rows = project.sql("SELECT _event_id::VARCHAR AS id FROM bronze.orders ORDER BY _event_id")
    assert sorted(r["id"] for r in rows) == sorted(ids)


def test_killed_engine_is_replaced(project):
    project.post("orders", {"order_id": 1})
    assert project.value("SELECT count(*) AS n FROM bronze.orders") == 1
    assert project.kill_engine()
    assert project.post("orders", {"order_id": 2}).status_code == 202
    assert project.value("SELECT count(*) AS n FROM bronze.orders") == 2


def test_accounts_add_up_and_it_stops_cleanly(project):
    project.post_ndjson("web", [{"event_id": str(i % 40), "session_id": "s"} for i in range(50)])
    done = project.cli("conservation")
    assert done.returncode == 0
    assert project.stop() == 0
    assert "web" in project.cli("conservation").stdout
