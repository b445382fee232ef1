"""Reference tables that change while the server runs: rows, and columns."""

import lib

YAML = """
project: test
listen: 127.0.0.1:0
streams: {orders: {}}
flow: {backoff_max: 1s}
"""

STAFF = """/* cupel
kind: full
*/
SELECT id, name FROM ref.staff
"""

EVERYTHING = """/* cupel
kind: full
*/
SELECT * FROM ref.staff
"""


def write(project, path, text):
    file = project.dir / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").rename(file)


def rows(project, table):
    answer = project.request("POST", "/v1/sql", json={"query": f"SELECT * FROM {table} ORDER BY ALL", "format": "ndjson"}, timeout=120)
    return answer.text.splitlines() if answer.status_code == 200 else [answer.text]


def shows(project, table, wanted):
    lib.wait_until(lambda: rows(project, table) == wanted, 60, f"{table}: {wanted}", 0.2)


def test_columns_of_a_reference_change(make_project):
    project = make_project(YAML, start=False)
    write(project, "reference/staff.csv", "id,name\n1,Ann\n")
    write(project, "models/a/staff.sql", STAFF)
    write(project, "models/a/everything.sql", EVERYTHING)
    project.start()
    shows(project, "a.everything", ['{"id":1,"name":"Ann"}'])

    # One more column, and a number that becomes text: bound again by themselves, whoever reads all columns has the new one.
    write(project, "reference/staff.csv", "id,name,town\n1,Ann,Ankara\nx2,Bea,Izmir\n")
    shows(project, "a.everything", ['{"id":"1","name":"Ann","town":"Ankara"}', '{"id":"x2","name":"Bea","town":"Izmir"}'])
    shows(project, "a.staff", ['{"id":"1","name":"Ann"}', '{"id":"x2","name":"Bea"}'])
    assert "bound again" in project.log_tail(400)

    # Types that people say count too.
    write(project, "reference/staff.yaml", "columns: {town: INTEGER}\n")
    lib.wait_until(lambda: "ref.staff" in failing(project), 60, "the run fails", 0.2)
    done = project.cli("check", check=False)
    assert done.returncode == 2 and 'reference/staff.csv:2:1: Error when converting column "town". Could not convert string "Ankara"' in done.stderr, done.stderr
    write(project, "reference/staff.yaml", "columns: {town: VARCHAR}\n")
    lib.wait_until(lambda: not failing(project), 60, "nothing fails", 0.2)

    # A column goes that a model needs: the tables stay, the failure says what to do, and so does check.
    write(project, "reference/staff.csv", "id,town\n1,Ankara\n")
    lib.wait_until(lambda: "other columns" in failing(project).get("ref.staff", ""), 60, "the reference fails", 0.2)
    assert "id" in failing(project)["ref.staff"] and "cupel check" in failing(project)["ref.staff"]
    assert len(rows(project, "a.staff")) == 2
    done = project.cli("check", check=False)
    assert done.returncode == 2 and 'models/a/staff.sql:4:12: Referenced column "name" not found' in done.stderr, done.stderr

    # And once it fits, all goes on without a reload.
    write(project, "models/a/staff.sql", STAFF.replace("name", "town AS name"))
    shows(project, "a.staff", ['{"id":1,"name":"Ankara"}'])
    lib.wait_until(lambda: not failing(project), 60, "nothing fails", 0.2)


def failing(project):
    return {m["name"]: m["state"]["error"] for m in project.get("/v1/models").json()["models"] if m.get("state", {}).get("error")}


def test_rows_of_a_reference_change(make_project):
    project = make_project(YAML, start=False)
    write(project, "reference/staff.csv", "id,name\n1,Ann\n")
    write(project, "models/a/staff.sql", STAFF)
    project.start()
    shows(project, "a.staff", ['{"id":1,"name":"Ann"}'])
    write(project, "reference/staff.csv", "id,name\n1,Ann\n2,Bea\n")
    shows(project, "a.staff", ['{"id":1,"name":"Ann"}', '{"id":2,"name":"Bea"}'])
    assert "bound again" not in project.log_tail(400), "the columns are the same"
