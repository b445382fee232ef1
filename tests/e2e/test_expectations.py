"""Expectations in runs of models, by commands only (each opens the project by itself): quarantine, fail, warn, and the way back."""

import json

import pytest
from lib import wait_until

YAML = "project: e\nlisten: 127.0.0.1:0\nstreams:\n  sales: {partitions: 1, key: id}\nsources:\n  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n"
MODEL = """/* cupel
kind: stream
key: [id]
*/
SELECT json_text(payload, 'id') AS id, parse_integer(json_text(payload, 'quantity')) AS quantity, _event_id, _received_at FROM bronze.sales
"""


@pytest.fixture
def p(make_project):
    project = make_project(YAML, start=False)
    (project.dir / "models/silver").mkdir(parents=True)
    (project.dir / "models/silver/sales.sql").write_text(MODEL)
    return project


def expect(p, text, name="silver.sales.yaml"):
    (p.dir / "expectations").mkdir(exist_ok=True)
    (p.dir / "expectations" / name).write_text(text)


def put(p, *events):
    p.cli("put", "sales", "-", input="".join(json.dumps(e) + "\n" for e in events))


def run(p, *args, check=True):
    return p.cli("flow", "run", *args, check=check)


def rows(p, query):
    return json.loads(p.cli("sql", "--format", "json", query).stdout)


def sales(p):
    return {r["id"]: r["quantity"] for r in rows(p, "SELECT id, quantity FROM silver.sales")}


def quarantine(p, model="silver.sales"):
    return json.loads(p.cli("quarantine", "show", model, "--json").stdout)["rows"]


def redrive(p, model="silver.sales"):
    return json.loads(p.cli("quarantine", "redrive", model, "--json").stdout)


BETWEEN = "table: silver.sales\nexpectations:\n  - expect_column_values_to_not_be_null: {column: id}\n  - expect_column_values_to_be_between: {column: quantity, min_value: 1, max_value: %d}\n"


def test_failing_rows_wait_in_quarantine_and_come_back(p):
    expect(p, BETWEEN % 10)
    put(p, {"id": "a", "quantity": 5}, {"id": "b", "quantity": 50}, {"quantity": 70})
    run(p)
    assert sales(p) == {"a": 5}
    found = sorted(quarantine(p), key=lambda r: r["_event_id"])
    assert [r["_reason"] for r in found] == [
        "expect_column_values_to_be_between(quantity, min_value: 1, max_value: 10)",
        "expect_column_values_to_not_be_null(id); expect_column_values_to_be_between(quantity, min_value: 1, max_value: 10)",
    ]
    assert json.loads(found[0]["_raw"]) == {"id": "b", "quantity": 50}
    assert json.loads(found[0]["_row"])["quantity"] == 50
    assert "silver" in p.cli("quarantine", "list").stdout
    assert {r["status"] for r in rows(p, "SELECT status FROM cupel.checks")} == {"quarantined"}
    expect(p, BETWEEN % 100)
    done = redrive(p)
    assert (done["before"], done["after"]) == (2, 1)
    assert sales(p) == {"a": 5, "b": 50}
    assert [r["_reason"] for r in quarantine(p)] == ["expect_column_values_to_not_be_null(id)"]
    again = redrive(p)
    assert (again["before"], again["after"], again["inserted"], again["deleted"]) == (1, 1, 0, 0)
    assert sales(p) == {"a": 5, "b": 50}
    assert p.cli("conservation").returncode == 0


def test_an_older_row_never_replaces_a_newer_one(p):
    expect(p, BETWEEN % 10)
    put(p, {"id": "a", "quantity": 50})
    run(p)
    put(p, {"id": "a", "quantity": 7}, {"id": "b", "quantity": 60})
    run(p)
    assert sales(p) == {"a": 7}
    expect(p, BETWEEN % 100)
    done = redrive(p)
    assert (done["before"], done["after"]) == (2, 0)
    assert sales(p) == {"a": 7, "b": 60}
    assert redrive(p)["before"] == 0


def test_new_events_are_left_to_the_next_run(p):
    expect(p, BETWEEN % 10)
    put(p, {"id": "a", "quantity": 50})
    run(p)
    put(p, {"id": "n", "quantity": 1})
    expect(p, BETWEEN % 100)
    redrive(p)
    assert sales(p) == {"a": 50}
    run(p)
    assert sales(p) == {"a": 50, "n": 1}


def test_corrected_sql_rebuilds(p):
    expect(p, BETWEEN % 10)
    put(p, {"id": "a", "quantity": 50}, {"id": "b", "quantity": 500})
    run(p)
    model = p.dir / "models/silver/sales.sql"
    model.write_text(MODEL.replace("parse_integer(json_text(payload, 'quantity')) AS", "parse_integer(json_text(payload, 'quantity')) // 10 AS"))
    done = redrive(p)
    assert (done["before"], done["after"]) == (2, 1)
    assert sales(p) == {"a": 5}


def test_events_that_bronze_has_no_more_stay_in_quarantine(p):
    expect(p, BETWEEN % 10)
    put(p, {"id": "a", "quantity": 50})
    run(p)
    p.cli("stream", "delete", "sales", "--yes", check=False)
    before = len(quarantine(p))
    p.cli("quarantine", "redrive", "silver.sales", check=False)
    assert len(quarantine(p)) == before == 1


def test_on_fail_fail_leaves_the_table(p):
    put(p, {"id": "a", "quantity": 5})
    expect(p, "table: silver.sales\non_fail: fail\nexpectations:\n  - expect_column_values_to_be_between: {column: quantity, max_value: 10}\n")
    run(p)
    put(p, {"id": "b", "quantity": 50}, {"id": "c", "quantity": 1})
    failed = run(p, check=False)
    assert failed.returncode == 1
    assert "expect_column_values_to_be_between(quantity, max_value: 10): 1 of 2" in failed.stdout + failed.stderr
    assert sales(p) == {"a": 5}
    assert rows(p, "SELECT status FROM cupel.runs ORDER BY started_at DESC LIMIT 1") == [{"status": "failed"}]


def test_mostly_and_severity_decide_whether_the_run_fails(p):
    put(p, *({"id": f"i{i}", "quantity": 50 if i < 3 else 5} for i in range(10)))
    one = "table: silver.sales\non_fail: %s\nexpectations:\n  - expect_column_values_to_be_between: {column: quantity, max_value: 10, mostly: %s, severity: %s}\n"
    expect(p, one % ("quarantine", 0.8, "critical"))
    assert run(p, check=False).returncode == 1
    expect(p, one % ("quarantine", 0.8, "warning"))
    run(p)
    assert len(sales(p)) == 7 and len(quarantine(p)) == 3


def test_table_expectations_warn_or_fail(p):
    put(p, {"id": "a", "quantity": 5})
    expect(p, "table: silver.sales\nexpectations:\n  - expect_table_row_count_to_be_between: {min_value: 2}\n")
    run(p)
    assert rows(p, "SELECT status, observed FROM cupel.checks") == [{"status": "warned", "observed": "1"}]
    expect(p, "table: silver.sales\nexpectations:\n  - expect_table_row_count_to_be_between: {min_value: 3, on_fail: fail}\n")
    put(p, {"id": "b", "quantity": 5})
    assert run(p, check=False).returncode == 1
    assert sales(p) == {"a": 5}


def test_a_suite_of_great_expectations(p):
    suite = {
        "name": "s",
        "meta": {"great_expectations_version": "1.2.0"},
        "expectations": [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "quantity", "value_set": [1, 2]}, "meta": {}, "severity": "warning"}],
    }
    expect(p, json.dumps(suite), "silver.sales.json")
    put(p, {"id": "a", "quantity": 1}, {"id": "b", "quantity": 3})
    run(p)
    assert sales(p) == {"a": 1}


def test_foreign_keys(p):
    (p.dir / "reference").mkdir(exist_ok=True)
    (p.dir / "reference/things.csv").write_text("id,name\na,A\nb,B\n")
    expect(p, "table: silver.sales\nexpectations:\n  - expect_column_values_to_exist_in_table: {column: id, table: ref.things}\n")
    put(p, {"id": "a", "quantity": 1}, {"id": "x", "quantity": 1})
    run(p)
    assert sales(p) == {"a": 1}
    assert [json.loads(r["_raw"])["id"] for r in quarantine(p)] == ["x"]


def test_full_models_quarantine_each_row_once(p):
    (p.dir / "models/gold").mkdir()
    (p.dir / "models/gold/totals.sql").write_text("/* cupel\nkind: full\n*/\nSELECT id, sum(quantity) AS total FROM silver.sales GROUP BY id\n")
    text = "table: gold.totals\nexpectations:\n  - expect_column_values_to_be_between: {column: total, max_value: %d}\n"
    expect(p, text % 10, "gold.totals.yaml")
    put(p, {"id": "a", "quantity": 5}, {"id": "b", "quantity": 50})
    run(p)
    put(p, {"id": "c", "quantity": 1})
    run(p)
    assert rows(p, "SELECT id FROM gold.totals ORDER BY id") == [{"id": "a"}, {"id": "c"}]
    assert len(quarantine(p, "gold.totals")) == 1
    expect(p, text % 100, "gold.totals.yaml")
    done = redrive(p, "gold.totals")
    assert (done["before"], done["after"]) == (1, 0)
    assert rows(p, "SELECT id FROM gold.totals ORDER BY id") == [{"id": "a"}, {"id": "b"}, {"id": "c"}]


def test_check_says_what_is_wrong_and_where(p):
    expect(p, "table: silver.sales\nexpectations:\n  - expect_column_values_to_be_unique: {column: idd}\n  - expect_column_values_to_be_nul: {column: id}\n")
    found = p.cli("check", check=False)
    assert found.returncode == 2
    assert 'expectations/silver.sales.yaml:4:5: there is no expectation "expect_column_values_to_be_nul" (did you mean "expect_column_values_to_be_null"?)' in found.stderr
    expect(p, "table: silver.sales\nexpectations:\n  - expect_column_values_to_be_unique: {column: idd}\n")
    found = p.cli("check", check=False)
    assert found.returncode == 2
    assert 'silver.sales.yaml:3:49: expect_column_values_to_be_unique: the table has no column "idd" (did you mean "id"?)' in found.stderr
    expect(p, "table: silver.other\nexpectations: []\n", "silver.other.yaml")
    assert "silver.other" in p.cli("check", check=False).stderr


def test_what_cannot_be_redriven(p):
    assert p.cli("quarantine", "redrive", "silver.nothing", check=False).returncode == 1
    p.land("landing/pos", "a.csv", "x,y\n1,2\n3\n")
    p.cli("source", "run", "pos")
    assert [r["_row"] for r in quarantine(p, "bronze.pos")] == [2]
    refused = p.cli("quarantine", "redrive", "bronze.pos", check=False)
    assert refused.returncode == 1 and "file" in refused.stderr


def test_over_http_while_the_server_runs(p):
    expect(p, BETWEEN % 10)
    p.start()
    p.post_ndjson("sales", [{"id": "a", "quantity": 5}, {"id": "b", "quantity": 50}])

    def waiting():
        answer = p.get("/v1/quarantine/silver.sales")
        return answer.json()["rows"] if answer.status_code == 200 else None

    found = wait_until(waiting, what="the quarantined row")
    assert [json.loads(r["_raw"])["id"] for r in found] == ["b"]
    expect(p, BETWEEN % 100)
    assert p.request("POST", "/v1/reload").status_code == 200
    wait_until(lambda: p.request("POST", "/v1/quarantine/silver.sales/redrive").json().get("after") == 0, what="the corrected expectations", every_s=0.5)
    assert p.sql("SELECT id, quantity FROM silver.sales ORDER BY id") == [{"id": "a", "quantity": 5}, {"id": "b", "quantity": 50}]
    assert p.request("POST", "/v1/quarantine/silver.nothing/redrive").status_code == 404
    assert "0 in quarantine before" in p.cli("quarantine", "redrive", "silver.sales").stdout
    assert json.loads(p.cli("profile", "silver.sales", "--json").stdout)["rows"] == 2
