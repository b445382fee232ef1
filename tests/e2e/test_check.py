"""cupel check on wrong projects: what is wrong is said with file, line and column, the nearest right name or the way out, and all of it in one run.

Each case is the same good project with some files changed. `wanted` are lines as they come out (parts of them may be left out with …)."""

import json
import re
import signal
import subprocess
import threading

import pytest

import lib

YAML = """project: shop
listen: 127.0.0.1:0
streams:
  orders: {key: id}
  clicks: {}
  alerts: {}
sources:
  - {name: pos, type: landing, path: landing/pos, table: bronze.pos, columns: [id, revenue]}
"""

MODELS = {
    "models/silver/orders.sql": """/* cupel
kind: stream
key: [order_id]
time: ordered_at
*/
SELECT payload->>'$.id' AS order_id, TRY_CAST(payload->>'$.amount' AS DECIMAL(18,4)) AS amount,
       TRY_CAST(payload->>'$.ts' AS TIMESTAMPTZ) AS ordered_at, _received_at, _event_id
FROM bronze.orders
""",
    "models/silver/clicks.sql": """/* cupel
kind: stream
key: [_event_id]
*/
SELECT payload->>'$.page' AS page, payload->>'$.id' AS order_id, _received_at, _event_id
FROM bronze.clicks
""",
    "models/sales/by_day.sql": """/* cupel
kind: incremental
time: day
bucket: day
*/
SELECT CAST(ordered_at AS DATE) AS day, count(*) AS orders, sum(amount) AS revenue
FROM silver.orders GROUP BY 1
""",
    "models/views/joined.sql": """/* cupel
kind: view
*/
SELECT o._event_id, o._received_at, c.payload->>'$.page' AS page
FROM bronze.orders AS o
JOIN bronze.clicks AS c ON o._key = c._key
""",
    "reference/stores.csv": "id,name\n1,Ankara\n2,Izmir\n",
    "expectations/silver.orders.yaml": "table: silver.orders\nexpectations:\n  - expect_column_values_to_not_be_null: {column: order_id}\n",
}


def flow(text):
    """Flows behind the good settings; `text` begins in line 11 of cupel.yaml."""
    return {"cupel.yaml": YAML + "\nflows:\n" + text}


def stream_model(header, sql="SELECT payload->>'$.id' AS id, _received_at, _event_id FROM bronze.orders"):
    """Its header begins in line 2; without more in `header` the SQL begins behind it."""
    return "/* cupel\nkind: stream\n" + header + "*/\n" + sql + "\n"


BOTH = "SELECT a._event_id, a._received_at FROM bronze.orders AS a\n"

WRONG = {
    # -- cupel.yaml
    "yaml": ({"cupel.yaml": "streams: {orders: {]\n"}, ["cupel.yaml:1:20: not valid YAML: …"]),
    "unknown key": ({"cupel.yaml": YAML + "strems: {}\n"}, ['cupel.yaml:9:1: unknown key "strems" (did you mean "streams"?)']),
    "stream key": ({"cupel.yaml": YAML.replace("clicks: {}", "clicks: {partitons: 2}")}, ['cupel.yaml:5:12: …unknown key "partitons"… (did you mean "partitions"?)']),
    "stream partitions": ({"cupel.yaml": YAML.replace("clicks: {}", "clicks: {partitions: 0}")}, ['cupel.yaml:5:24: partitions: "0" is less than 1']),
    "stream name": ({"cupel.yaml": YAML.replace("clicks: {}", "Clicks: {}")}, ["cupel.yaml:5:3: …Clicks…"]),
    "dedupe window": ({"cupel.yaml": YAML.replace("clicks: {}", "clicks: {dedupe: id, dedupe_window: 900d}")}, ["cupel.yaml:5:39: …dedupe_window…"]),
    "source without target": ({"cupel.yaml": YAML.replace("table: bronze.pos, ", "")}, ['cupel.yaml:8:5: source pos: give either "table" or "stream"']),
    "source to no stream": (
        {"cupel.yaml": YAML + "  - {name: shop, type: webhook, scheme: shopify, secret: x, stream: ordes}\n"},
        ['cupel.yaml:9:69: …ordes…(did you mean "orders"?)'],
    ),
    "two sources one folder": (
        {"cupel.yaml": YAML + "  - {name: more, type: landing, path: landing/pos/new, table: bronze.more}\n"},
        ["cupel.yaml:9:39: sources pos and more watch the same folder, or one inside of the other"],
    ),
    "webhook without a secret": ({"cupel.yaml": YAML + "  - {name: shop, type: webhook, scheme: shopify, stream: orders}\n"}, ['cupel.yaml:9:5: source shop: scheme shopify needs "secret"']),
    "webhook token nowhere": (
        {"cupel.yaml": YAML + "  - {name: shop, type: webhook, scheme: token, secret: x, stream: orders}\n"},
        ['cupel.yaml:9:5: source shop: scheme token needs either "token_header" or "token_query": where the token stands'],
    ),
    "open to the network": ({"cupel.yaml": YAML.replace("127.0.0.1:0", "0.0.0.0:0")}, ["cupel.yaml:2:9: listen: 0.0.0.0:0 can be reached from other machines: give tls:…"]),
    "secret that is not set": (
        {"cupel.yaml": YAML + "  - {name: shop, type: webhook, scheme: shopify, secret: '${NOT_SET_ANYWHERE}', stream: orders}\n"},
        ["cupel.yaml:9:58: …NOT_SET_ANYWHERE…"],
    ),
    "zone": ({"cupel.yaml": "timezone: Europe/Istambul\n" + YAML}, ['cupel.yaml:1:11: timezone must be a time zone such as UTC or Europe/Istanbul, not "Europe/Istambul"']),
    "zone that is a folder": ({"cupel.yaml": "timezone: Europe\n" + YAML}, ['cupel.yaml:1:11: timezone must be a time zone such as UTC or Europe/Istanbul, not "Europe"']),
    # -- flows
    "no steps": (flow("  - {name: a, steps: []}\n"), ['cupel.yaml:11:22: flow a: "steps" is empty; a flow has at least one step']),
    "no models": (flow("  - {name: a, models: []}\n"), ['cupel.yaml:11:23: flow a: "models" is empty…']),
    "models and steps": (flow("  - {name: a, models: '*', steps: [{name: x, sql: SELECT 1}]}\n"), ['cupel.yaml:11:5: flow a: give either "models" or "steps"']),
    "flow twice": (flow("  - {name: a, models: '*'}\n  - {name: a, models: '*'}\n"), ['cupel.yaml:12:12: flow "a" is given twice']),
    "after nothing": (flow("  - {name: nightly, models: '*'}\n  - {name: b, after: nigthly, models: '*'}\n"), ['cupel.yaml:12:22: there is no flow "nigthly" (did you mean "nightly"?)']),
    "after in a circle": (
        flow("  - {name: a, after: b, models: '*'}\n  - {name: b, after: a, models: '*'}\n"),
        ["cupel.yaml:11:22: flow a: flows wait for each other in a circle", "cupel.yaml:12:22: flow b: flows wait for each other in a circle"],
    ),
    "never fires": (flow("  - {name: a, schedule: '0 0 30 2 *', models: '*'}\n"), ["cupel.yaml:11:25: schedule: there is no such day: it would never fire"]),
    "cron": (flow("  - {name: a, schedule: '0 24 * * *', models: '*'}\n"), ["cupel.yaml:11:25: schedule: …hour…"]),
    "zone of a flow": (flow("  - {name: a, schedule: '@daily', timezone: Mars/Olympus, models: '*'}\n"), ["cupel.yaml:11:45: timezone must be a time zone…"]),
    "catch up what": (flow("  - {name: a, catch_up: all, models: '*'}\n"), ["cupel.yaml:11:25: flow a: catch_up needs a schedule"]),
    "retries": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1, retries: 101}]}\n"), ['cupel.yaml:11:57: retries: "101" is more than 100']),
    "backoff": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1, retries: 2, backoff: 2d}]}\n"), ['cupel.yaml:11:69: backoff: "2d" is more than 1d']),
    "timeout": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1, timeout: -5s}]}\n"), ['cupel.yaml:11:57: timeout must be a time with its unit, such as 300s, 24h or 7d, not "-5s"']),
    "needs no step": (flow("  - {name: a, steps: [{name: load, models: '*'}, {name: x, sql: SELECT 1, needs: laod}]}\n"), ['cupel.yaml:11:82: flow a has no step "laod" (did you mean "load"?)']),
    "steps in a circle": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1, needs: y}, {name: y, sql: SELECT 1, needs: x}]}\n"), ["cupel.yaml:11:22: flow a: its steps wait for each other in a circle"]),
    "own handler": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1, on_failure: x}]}\n"), ["cupel.yaml:11:60: step x cannot be its own on_failure"]),
    "step that does nothing": (flow("  - {name: a, steps: [{name: x}]}\n"), ['cupel.yaml:11:23: step x: give one of "models", "sql" and "flow"']),
    "on no stream": (flow("  - {name: a, on: bronze.order, models: '*'}\n"), ["cupel.yaml:11:19: flow a: there is no stream or landing table bronze.order"]),
    "on no model": (flow("  - {name: a, on: [bronze.orders, silver.order], models: '*'}\n"), ['cupel.yaml:11:35: flow a: there is no model silver.order (did you mean "silver.orders"?)']),
    "on a view": (flow("  - {name: a, on: views.joined, models: '*'}\n"), ["cupel.yaml:11:19: flow a: views.joined is a view, which gets nothing new of its own; name the tables that it reads"]),
    "selection": (flow("  - {name: a, models: [silver.*, silver.order]}\n"), ['cupel.yaml:11:34: flow a: no model fits "silver.order"; did you mean silver.orders?']),
    "selection in a step": (flow("  - name: a\n    steps:\n      - name: x\n        models: [silver.*, tag:none]\n"), ['cupel.yaml:14:28: flow a: no model fits "tag:none"']),
    "step SQL": (flow("  - name: a\n    steps:\n      - {name: x, sql: SELEC 1}\n"), ['cupel.yaml:13:24: flow a, step x, sql: syntax error at or near "SELEC"']),
    "step SQL, column": (
        flow("  - name: a\n    steps:\n      - name: x\n        sql: |\n          -- complete?\n          SELECT count(*) = 3\n          FROM silver.orders WHERE qty > 3\n"),
        ['cupel.yaml:17:36: flow a, step x, sql: Referenced column "qty" not found in FROM clause!…'],
    ),
    "step SQL, folded": (
        flow("  - name: a\n    steps:\n      - name: x\n        sql: >-\n          SELECT count(*) FROM\n            silver.ordrs\n"),
        ["cupel.yaml:16:13: flow a, step x, sql: …here is no table silver.ordrs…id you mean …silver.orders…"],
    ),
    "step SQL, quotes": (flow("  - {name: a, steps: [{name: x, skip_if: 'SELECT ''a'' = nope'}]}\n".replace("skip_if", "sql: SELECT 1, skip_if")), ['cupel.yaml:11:73: flow a, step x, skip_if: Referenced column "nope"…']),
    "step SQL, two statements": (flow("  - {name: a, steps: [{name: x, sql: SELECT 1; SELECT 2}]}\n"), ["cupel.yaml:11:38: flow a, step x, sql: this is not one SELECT"]),
    "step SQL, not a SELECT": (flow("  - {name: a, steps: [{name: x, sql: DELETE FROM silver.orders}]}\n"), ["cupel.yaml:11:38: flow a, step x, sql: Only one SELECT is allowed here…"]),
    "step SQL, a file": (flow("  - {name: a, steps: [{name: x, sql: SELECT * FROM '/etc/passwd'}]}\n"), ["cupel.yaml:11:52: flow a, step x, sql: Files cannot be read here, only tables…"]),
    "step SQL, a function": (flow("  - {name: a, steps: [{name: x, sql: 'SELECT 1', skip_if: \"SELECT getenv('HOME')\"}]}\n"), ["cupel.yaml:11:67: flow a, step x, skip_if: The function getenv is not allowed here"]),
    "step SQL, the warehouse": (flow("  - {name: a, steps: [{name: x, sql: SELECT * FROM warehouse.silver.orders}]}\n"), ["cupel.yaml:11:52: flow a, step x, sql: …"]),
    "step SQL that comes from elsewhere": (
        flow("  - {name: a, steps: [{name: x, sql: \"SELECT ${NOT_SET_ANYWHERE:-s3cret}\"}]}\n"),
        ["cupel.yaml:11:38: flow a, step x, sql: what ${…} makes of this SQL is not valid here (it is not shown, as it may hold secrets)"],
    ),
    # -- models
    "no header": ({"models/silver/x.sql": "SELECT 1 AS one\n"}, ["models/silver/x.sql:1:1: a model begins with its settings as YAML in a comment: /* cupel … */"]),
    "no kind": ({"models/silver/x.sql": "/* cupel\nkey: [a]\n*/\nSELECT 1 AS a\n"}, ["models/silver/x.sql:1:1: the model has no kind (stream, incremental, full or view)"]),
    "kind": ({"models/silver/x.sql": "/* cupel\nkind: steam\n*/\nSELECT 1 AS a\n"}, ['models/silver/x.sql:2:7: kind is one of stream|incremental|full|view, not "steam" (did you mean "stream"?)']),
    "key of the header": ({"models/silver/x.sql": "/* cupel\nkind: full\nkeys: [a]\n*/\nSELECT 1 AS a\n"}, ['models/silver/x.sql:3:1: unknown key keys (did you mean "key"?)']),
    "no SQL": ({"models/silver/x.sql": "/* cupel\nkind: full\n*/\n-- nothing\n"}, ["models/silver/x.sql:4:…"]),
    "syntax": ({"models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT 1 AS a\nFORM silver.orders\n"}, ['models/silver/x.sql:5:1: syntax error at or near "FORM"']),
    "table": ({"models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT *\nFROM silver.ordrs\n"}, ['models/silver/x.sql:5:6: there is no table silver.ordrs (did you mean "silver.orders"?)']),
    "table without schema": ({"models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT *\nFROM orders\n"}, ['models/silver/x.sql:5:6: there is no table orders; tables are named with their schema (did you mean "silver.orders"?)…']),
    "column": ({"models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT order_id,\n  amout\nFROM silver.orders\n"}, ['models/silver/x.sql:5:3: Referenced column "amout" not found…"amount"…']),
    "key column": ({"models/silver/x.sql": stream_model("key: [order_id]\n")}, ["models/silver/x.sql:3:7: key: the SELECT gives no column order_id…"]),
    "circle": (
        {"models/a/x.sql": "/* cupel\nkind: full\n*/\nSELECT * FROM a.y\n", "models/a/y.sql": "/* cupel\nkind: full\n*/\nSELECT * FROM a.x\n"},
        ["models/a/x.sql:4:15: models read each other in a circle: a.x, which reads a.y, which reads a.x"],
    ),
    "schema of ours": ({"models/cupel/x.sql": "/* cupel\nkind: full\n*/\nSELECT 1 AS a\n"}, ["models/cupel/x.sql: the schema cupel is Cupel's own; put the model into another folder"]),
    "model without a folder": ({"models/x.sql": "SELECT 1\n"}, ["models/x.sql: models stand in the folder of their schema: models/<schema>/x.sql"]),
    "large, and all the rest": (
        {"models/silver/big.sql": "/* cupel\nkind: full\n*/\nSELECT 1 AS a --" + "x" * (1 << 20), "models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT *\nFROM silver.ordrs, silver.big\n"},
        ["models/silver/big.sql: the file has 1048615 bytes, at most 1048576 are read", 'models/silver/x.sql:5:6: there is no table silver.ordrs (did you mean "silver.orders"?)'],
    ),
    "join in a stream model": ({"models/silver/x.sql": stream_model("key: [_event_id]\n", BOTH + "JOIN bronze.clicks AS b ON a._key = b._key")}, ["models/silver/x.sql:6:6: a stream model sees each input's new rows alone and cannot join two of them; name clicks under lookups…"]),
    "join inside of a view": (
        {"models/silver/x.sql": stream_model("key: [_event_id]\n", "SELECT * FROM views.joined")},
        ["models/silver/x.sql:5:15: the view views.joined joins two inputs, one of them clicks (models/views/joined.sql:6): a stream model sees each input's new rows alone…"],
    ),
    "join inside of a view of a view": (
        {"models/views/top.sql": "/* cupel\nkind: view\n*/\nSELECT * FROM views.joined\n", "models/silver/x.sql": stream_model("key: [_event_id]\n", "SELECT *\nFROM views.top")},
        ["models/silver/x.sql:6:6: the view views.joined joins two inputs, one of them clicks (models/views/joined.sql:6)…"],
    ),
    "join with a view": (
        {"models/views/c.sql": "/* cupel\nkind: view\n*/\nSELECT _key FROM bronze.clicks\n", "models/silver/x.sql": stream_model("key: [_event_id]\n", BOTH + "JOIN views.c AS b ON a._key = b._key")},
        ["models/silver/x.sql:6:6: a stream model sees each input's new rows alone and cannot join two of them; name c under lookups…"],
    ),
    "look-up of a view over what drives": (
        {
            "models/views/c.sql": "/* cupel\nkind: view\n*/\nSELECT _key FROM bronze.orders\n",
            "models/silver/x.sql": stream_model("key: [_event_id]\nlookups: [views.c]\n", BOTH + "JOIN views.c AS b ON a._key = b._key"),
        },
        ["models/silver/x.sql:4:11: lookups: views.c reads bronze.orders, of which this model sees only what changed; look up a table that a model makes of it"],
    ),
    "emit to no stream": ({"models/silver/x.sql": stream_model("key: [id]\nemit: {stream: alert, columns: [id]}\n")}, ['models/silver/x.sql:4:16: emit: there is no stream alert (did you mean "alerts"?); its events need one under streams: in cupel.yaml']),
    "emit columns": ({"models/silver/x.sql": stream_model("key: [id]\nemit: {stream: alerts, columns: [id, idd]}\n")}, ['models/silver/x.sql:4:38: emit.columns: the SELECT gives no column idd (did you mean "id"?)']),
    "emit when": (
        {"models/silver/x.sql": stream_model("key: [id]\nemit:\n  stream: alerts\n  columns: {id: new.id}\n  when: new.id <> old.id AND\n    new.state = 'x'\n")},
        ['models/silver/x.sql:8:5: emit.when: Table "new" does not have a column named "state"…'],
    ),
    "emit SQL": ({"models/silver/x.sql": stream_model("key: [id]\nemit: {stream: alerts, columns: {id: new.id, x: old.nope}}\n")}, ['models/silver/x.sql:4:49: emit.columns, x: Table "old" does not have a column named "nope"…']),
    "emit without a key": ({"models/silver/x.sql": stream_model("emit: {stream: alerts, columns: [id]}\n")}, ["models/silver/x.sql:1:1: emit needs a key: it pairs old and new rows"]),
    "drops that is no column": ({"models/silver/x.sql": stream_model("key: [id]\ndrops: payload IS NULL OR amout > 3\n")}, ['models/silver/x.sql:4:27: drops, over bronze.orders: Referenced column "amout" not found…']),
    "deletes": ({"models/silver/x.sql": stream_model("key: [id]\ndeletes: op = 'delete'\n")}, ['models/silver/x.sql:4:10: deletes: Referenced column "op" not found…']),
    "rows of a merge": (
        {"models/silver/x.sql": "/* cupel\nkind: incremental\nby: [page]\nmerge: true\nrows: |\n  SELECT page,\n    nope AS n\n  FROM silver.clicks\n*/\nSELECT page, sum(n) AS n FROM this.pieces GROUP BY page\n"},
        ['models/silver/x.sql:7:5: rows: Referenced column "nope" not found…'],
    ),
    "bucket without time": ({"models/silver/x.sql": "/* cupel\nkind: incremental\nbucket: day\n*/\nSELECT 1 AS day FROM silver.orders\n"}, ["models/silver/x.sql:1:1: bucket needs time: the column of the output that says which bucket a row belongs to"]),
    "reads nothing": ({"models/sales/by_day.sql": MODELS["models/sales/by_day.sql"].replace("bucket: day\n", "bucket: day\nreads: {silver.clicks: 30d}\n")}, ["models/sales/by_day.sql:5:9: reads: the SQL does not read silver.clicks"]),
    # -- expectations
    "expectation": ({"expectations/silver.orders.yaml": "expectations:\n  - expect_column_values_to_be_nul: {column: order_id}\n"}, ['expectations/silver.orders.yaml:2:5: …(did you mean "expect_column_values_to_be_null"?)']),
    "expectation of no column": ({"expectations/silver.orders.yaml": "expectations:\n  - expect_column_values_to_be_null: {column: ordr_id}\n"}, ['expectations/silver.orders.yaml:2:…ordr_id…(did you mean "order_id"?)']),
    "expectation of no table": ({"expectations/silver.order.yaml": "expectations: []\n"}, ['expectations/silver.order.yaml: there is no table silver.order to expect something of (did you mean "silver.orders"?)']),
    "expectation of a view": ({"expectations/views.joined.yaml": "expectations: []\n"}, ["expectations/views.joined.yaml: there is no table views.joined to expect something of; a view has no rows of its own"]),
    "expectation's query": (
        {"expectations/silver.orders.yaml": 'expectations:\n  - unexpected_rows_expectation: {unexpected_rows_query: "SELECT * FROM {batch} WHERE nope > 1"}\n'},
        ['expectations/silver.orders.yaml:2:5: unexpected_rows_expectation: Referenced column "nope" not found…'],
    ),
    # -- references
    "reference with a cell too many": ({"reference/stores.csv": "id,name\n1,Ankara\n2,Izmir,x\n3,Bursa\n"}, ["reference/stores.csv:3:1: Expected Number of Columns: 2 Found: 3"]),
    "reference of another type": (
        {"reference/stores.yaml": "columns: {name: INTEGER}\n"},
        ['reference/stores.csv:2:1: Error when converting column "name". Could not convert string "Ankara" to \'INTEGER\'', 'reference/stores.csv:3:1: Error when converting column "name"…'],
    ),
    "reference's settings": ({"reference/stores.yaml": "colums: {name: VARCHAR}\n"}, ["reference/stores.yaml:1:1: unknown key colums (columns and description are known)"]),
    "reference's name": ({"reference/My Stores.csv": "id\n1\n"}, ["reference/My Stores.csv: a reference is named with small letters, digits and _"]),
    "reference column that is gone": (
        {"reference/stores.csv": "id,town\n1,Ankara\n", "models/silver/x.sql": "/* cupel\nkind: full\n*/\nSELECT id, name FROM ref.stores\n"},
        ['models/silver/x.sql:4:12: Referenced column "name" not found…'],
    ),
}


# Also by the command itself, in a project that no server has opened; the others ask a running server, which is quicker.
BY_COMMAND = ["yaml", "after in a circle", "step SQL, column", "large, and all the rest", "join inside of a view", "emit when", "reference with a cell too many"]


def make(folder, files):
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def check(folder, *args):
    done = subprocess.run([lib.CUPEL, "-C", folder, "check", *args], capture_output=True, text=True, timeout=120 * lib.PATIENCE)
    assert done.returncode in (0, 2), f"{done.returncode} {done.stdout}{done.stderr}"
    return done


def fits(wanted, line):
    return re.fullmatch(".*".join(re.escape(part) for part in wanted.split("…")), line) is not None


def compare(case, wanted, found):
    """Each wanted line is there, and no other one."""
    left = list(found)
    for line in wanted:
        hit = next((text for text in left if fits(line, text)), None)
        assert hit, f"{case}\nwanted {line}\nfound  " + "\n       ".join(found)
        left.remove(hit)
    assert not left, f"{case}: more than was wanted\n" + "\n".join(left)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The good project, serving."""
    project = lib.Project(tmp_path_factory.mktemp("shop"), None)
    make(project.dir, {"cupel.yaml": YAML, **MODELS})
    with project:
        yield project


def ask(project):
    answer = project.request("POST", "/v1/check", timeout=120 * lib.PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(case, shop):
    files, wanted = WRONG[case]
    try:
        make(shop.dir, files)
        answer = ask(shop)
        found = [line for line in answer["problems"] if ": warning: " not in line]
        assert answer["errors"] == len(found), answer
        compare(case, wanted, found)
    finally:
        for path in files:
            (shop.dir / path).unlink()
        make(shop.dir, {path: text for path, text in {"cupel.yaml": YAML, **MODELS}.items() if path in files})


@pytest.mark.parametrize("case", BY_COMMAND)
def test_the_command_says_the_same(case, tmp_path):
    files, wanted = WRONG[case]
    make(tmp_path, {"cupel.yaml": YAML, **MODELS, **files})
    done = check(tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if ": warning: " not in line]
    assert re.fullmatch(rf"{len(lines) - 1} errors? in (the project|cupel.yaml)", lines[-1]), done.stderr
    compare(case, wanted, lines[:-1])


def test_the_good_project_is_good(shop):
    answer = ask(shop)
    assert (answer["errors"], answer["problems"]) == (0, []), answer
    assert answer["models"] == 5
    assert "nothing wrong" in shop.cli("check").stdout


def test_steps_see_what_they_will_see(shop):
    """Tables that no run has made yet, Cupel's own, quarantine, a stream and a landing table that are declared and not there before a reload."""
    more = YAML.replace("  alerts: {}\n", "  alerts: {}\n  fresh: {}\n") + "  - {name: more, type: landing, path: landing/more, table: bronze.more, columns: [a]}\n"
    steps = ["SELECT count(*) FROM silver.later WHERE wide > 1", "SELECT * FROM cupel.runs, cupel.checks, cupel.freshness, cupel.changes", "SELECT _reason FROM quarantine.silver__later",
             "SELECT payload, _headers['x'] FROM bronze.fresh", "SELECT a, _file FROM bronze.more", "FROM views.joined SELECT page", "SELECT name FROM ref.stores",
             "WITH silver AS (SELECT 1 AS one) SELECT one FROM silver", "PIVOT silver.later ON wide IN (1, 2)", "SELECT cupel_day(ordered_at) FROM silver.orders; -- behind it"]  # fmt: skip
    text = more + "flows:\n  - name: a\n    steps:\n" + "".join(f"      - {{name: s{i}, sql: {json.dumps(sql)}}}\n" for i, sql in enumerate(steps))
    try:
        make(shop.dir, {"cupel.yaml": text, "models/silver/later.sql": stream_model("key: [_event_id]\n", "SELECT 1 AS wide, _event_id, _received_at FROM bronze.fresh")})
        answer = ask(shop)
        assert answer["errors"] == 0, "\n".join(answer["problems"])
    finally:
        (shop.dir / "models/silver/later.sql").unlink()
        make(shop.dir, {"cupel.yaml": YAML})


def test_a_sentence_is_taken_at_its_word_and_said(make_project):
    project = make_project(YAML, start=False)
    model = stream_model("key: [_event_id]\ndrops: orders without an id\n", "SELECT payload->>'$.id' AS id, _received_at, _event_id FROM bronze.orders WHERE id IS NOT NULL")
    make(project.dir, {"models/silver/x.sql": model})
    done = check(project.dir)
    assert done.returncode == 0 and "models/silver/x.sql:4:8: warning: drops is a sentence" in done.stderr, done.stderr
    project.start()
    assert project.post("orders", [{"id": "1"}, {"no": 1}]).status_code == 202
    lib.wait_until(lambda: account(project).get("rows_in") == 2, 60, "both rows are read")
    assert account(project)["left_out_by_word"] == 1 and account(project)["drops"] == "orders without an id"
    done = project.cli("conservation")
    assert 'silver.x: 1 of its filtered rows were left out by the model\'s word, not counted by a condition: "orders without an id"' in done.stdout, done.stdout
    make(project.dir, {"models/silver/x.sql": model.replace("orders without an id", "payload->>'$.id' IS NULL")})
    assert check(project.dir).stderr == ""


def account(project):
    return next((hop for hop in project.get("/v1/conservation").json()["hops"] if hop["name"] == "silver.x"), {})


def test_wrong_flows_stop_no_models_and_refuse_a_reload(make_project):
    project = make_project(YAML + "flows:\n  - {name: a, steps: [{name: x, sql: SELECT nope}]}\n", start=False)
    make(project.dir, MODELS)
    project.start()
    project.post("orders", {"id": "1", "ts": "2026-11-20T10:00:00Z"})
    lib.wait_until(lambda: project.value("SELECT count(*) FROM cupel.changes WHERE table_name = 'silver.orders'") > 0, 60, "models run")
    assert 'cupel.yaml:10:45: flow a, step x, sql: Referenced column "nope"' in project.log_tail(200).replace('\\"', '"')
    before = project.get("/v1/flows").json()
    make(project.dir, {"cupel.yaml": YAML + "flows:\n  - {name: b, steps: [{name: x, sql: SELECT nope}]}\n"})
    project.process.send_signal(signal.SIGHUP)
    lib.wait_until(lambda: "flow b, step x" in project.log_tail(200), 60, "the reload is refused")
    assert [f["name"] for f in project.get("/v1/flows").json()["flows"]] == [f["name"] for f in before["flows"]] == ["a"]


def test_a_check_costs_a_reader_little(make_project):
    """With a read token: one at a time, few wait, a small body."""
    project = make_project(YAML + "sql: {wait_seconds: 1}\n", start=False)
    make(project.dir, MODELS)
    make(project.dir, {f"models/many/m{i}.sql": "/* cupel\nkind: full\n*/\nSELECT * FROM silver.orders\n" for i in range(150)})
    project.start()
    token = json.loads(project.cli("token", "create", "reader", "--role", "read", "--json").stdout)["token"]
    answer = project.request("POST", "/v1/check", token=token, data=b"x" * 100000)
    assert answer.status_code == 413, answer.text
    answers = []

    def one():
        answers.append(project.request("POST", "/v1/check", token=token, timeout=120 * lib.PATIENCE))

    def refused():
        """Twelve at once; a machine that is busy may let them come one after the other."""
        answers.clear()
        threads = [threading.Thread(target=one) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = {a.status_code for a in answers}
        assert codes <= {200, 503} and 200 in codes, codes
        return 503 in codes

    lib.wait_until(refused, 120, "one of many is refused")
    busy = next(a for a in answers if a.status_code == 503)
    assert "one runs at a time" in busy.json()["detail"] and busy.headers["Retry-After"], busy.text
    assert project.request("POST", "/v1/check", token=token, timeout=120 * lib.PATIENCE).status_code == 200
