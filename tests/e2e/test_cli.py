"""The command line against the real binary: with a server, without one, and both at once; the shell through a pseudo terminal."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import threading
import time

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


def cupel(*args, cwd=None, env=None, input=None, timeout=120):
    return subprocess.run([str(lib.CUPEL), *map(str, args)], capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}, input=input, timeout=timeout * lib.PATIENCE)


@pytest.fixture(params=["server", "alone"])
def either(request, make_project):
    """The default project with a running server, and without one: every command does the same."""
    return make_project(start=request.param == "server")


# -- usage -------------------------------------------------------------------------------------------------------------------------------------------------


def test_init_check_and_what_is_wrong(tmp_path):
    done = cupel("init", tmp_path / "shop")
    assert done.returncode == 0 and "serve" in done.stdout
    assert (tmp_path / "shop/data/cli.token").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "shop/data").stat().st_mode & 0o777 == 0o700
    assert cupel("init", tmp_path / "shop").returncode == 1
    assert cupel("-C", tmp_path / "shop", "check").returncode == 0
    (tmp_path / "shop/cupel.yaml").write_text("project: shop\nstreams:\n  web: {partitons: 2}\n  Bad Name: {}\n")
    done = cupel("check", cwd=tmp_path / "shop")
    assert done.returncode == 2 and "cupel.yaml:3:" in done.stderr and "partitions" in done.stderr and "cupel.yaml:4:" in done.stderr, done.stderr
    for command in (["stream", "list"], ["serve"]):
        done = cupel("-C", tmp_path / "shop", *command)
        assert done.returncode == 2 and "cupel.yaml:3:" in done.stderr, done.stderr
    assert cupel("init", tmp_path / "two", "--template", "nope").returncode == 2


def test_without_a_project_the_fix_is_named(tmp_path):
    for args in (["stream", "list"], ["check"], ["serve"], ["logs"], ["-C", tmp_path, "sql", "SELECT 1"]):
        done = cupel(*args, cwd=tmp_path)
        assert done.returncode == 2 and "cupel init" in done.stderr, done.stderr


def test_project_is_found_from_a_folder_below(make_project):
    project = make_project(start=False)
    below = project.dir / "models/silver"
    below.mkdir(parents=True)
    assert "web" in cupel("stream", "list", cwd=below).stdout


def test_help_of_every_command(tmp_path):
    overview = cupel("help")
    assert overview.returncode == 0 and cupel("--help").stdout == overview.stdout
    names = re.findall(r"^  (\w+) {2,}\S", overview.stdout.split("Options of every")[0], re.M)
    assert len(names) >= 20
    for name in names:
        text = cupel("help", name).stdout
        verbs = re.findall(rf"^  {name} ([a-z-]+) ", text, re.M)
        for command in [[name, verb] for verb in verbs] or [[name]]:
            done = cupel(*command, "--help")
            assert done.returncode == 0 and "Examples:" in done.stdout and "Usage:" in done.stdout, command
    assert cupel().returncode == 2
    assert re.fullmatch(r"cupel \d+\.\d+\.\d+\n", cupel("version").stdout)
    assert cupel("--version").stdout == cupel("version").stdout


def test_wrong_usage():
    for args, word in [(["strem"], "did you mean 'stream'"), (["stream", "lst"], "did you mean 'stream list'"), (["sql", "--fromat", "csv"], "did you mean --format"), (["put"], "missing"), (["events", "extra"], "too many")]:
        done = cupel(*args)
        assert done.returncode == 2 and word in done.stderr and not done.stdout, (args, done.stderr)


def test_documents_are_current(make_project):
    project = make_project(yaml=EVERYTHING, start=False)
    for kind, name in [("man", "cupel.1"), ("metrics", "metrics.md"), ("options", "options.md"), ("schema", "cupel.schema.json")]:
        made = project.cli("generate", kind).stdout
        assert made == (lib.ROOT / "docs" / name).read_text(), f"run `cupel generate {kind} > docs/{name}`"


def test_completion(project, tmp_path):
    script = tmp_path / "cupel.bash"
    script.write_text(cupel("completion", "bash").stdout)
    assert subprocess.run(["bash", "-n", script]).returncode == 0

    def offered(*words):
        code = f"""PATH="{lib.CUPEL.parent}:$PATH"; source {script}; COMP_WORDS=({' '.join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}; _cupel; printf '%s\\n' "${{COMPREPLY[@]}}" """
        return set(subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout.split())

    assert offered("cupel", "str") == {"stream"}
    assert {"list", "tail", "delete"} <= offered("cupel", "stream", "")
    # Names come from the server, within two seconds or not at all: nobody waits longer for the Tab key.
    lib.wait_until(lambda: offered("cupel", "-C", str(project.dir), "stream", "show", "") == {"web", "orders"}, what="names of streams")
    lib.wait_until(lambda: "bronze.web" in offered("cupel", "-C", str(project.dir), "table", "show", "bronze."), what="names of tables")
    assert offered("cupel", "sql", "--format", "c") == {"csv"}
    assert "--hours" in offered("cupel", "conservation", "--h")
    assert cupel("completion", "zsh").stdout.startswith("#compdef cupel")
    if shutil.which("zsh"):
        (tmp_path / "_cupel").write_text(cupel("completion", "zsh").stdout)
        assert subprocess.run(["zsh", "-n", tmp_path / "_cupel"]).returncode == 0
    assert cupel("completion", "fish").returncode == 2


# -- put ---------------------------------------------------------------------------------------------------------------------------------------------------


def test_put_files_and_standard_input(either, tmp_path):
    (tmp_path / "a.ndjson").write_bytes(b'{"event_id": "a1", "session_id": "1"}\r\n\r\n  {"event_id": "a2", "session_id": "2"}  \n\n')
    (tmp_path / "b.ndjson").write_text('{"event_id": "a1", "session_id": "1"}\n{"event_id": "b1", "session_id": "1"}')  # no newline at the end
    done = either.cli("put", "web", tmp_path / "a.ndjson", tmp_path / "b.ndjson")
    assert "3 accepted, 1 duplicates" in done.stdout
    assert json.loads(either.cli("put", "web", "--json", input='{"event_id": "c", "session_id": "1"}\n').stdout)["accepted"] == 1
    assert "0 accepted" in either.cli("put", "web", "-", input="\n\n").stdout
    rows = json.loads(either.cli("sql", "SELECT payload FROM bronze.web ORDER BY payload", "--format", "json").stdout)
    assert [json.loads(r["payload"])["event_id"] for r in rows] == ["a1", "a2", "b1", "c"]
    assert rows[0]["payload"] == '{"event_id": "a1", "session_id": "1"}'
    either.cli("put", "orders", "--key", "k7", input='{"order_id": 1}\n')
    assert json.loads(either.cli("events", "--stream", "orders", "--json").stdout)["events"][0]["key"] == "k7"


def test_put_refuses_a_bad_record_and_names_it(either, tmp_path):
    lines = ['{"order_id": %d}' % i for i in range(2500)]
    lines[2100] = '{"order_id": '
    (tmp_path / "bad.ndjson").write_text("\n".join(lines))
    done = either.cli("put", "orders", tmp_path / "bad.ndjson", check=False)
    assert done.returncode == 1 and "bad.ndjson: records from line 2001 on: record 101, line 101" in done.stderr, done.stderr
    assert "2,000 accepted" in done.stdout  # whole batches before it
    assert json.loads(either.cli("sql", "SELECT count(*) AS n FROM bronze.orders", "--format", "json").stdout) == [{"n": 2000}]
    assert either.cli("put", "nope", input="{}", check=False).returncode == 1
    assert either.cli("put", "orders", tmp_path / "missing", check=False).returncode == 1


def test_put_outlives_a_killed_server(project):
    """A batch whose answer got lost is sent again with its Idempotency-Key: every event is stored once."""
    process = subprocess.Popen([str(lib.CUPEL), "-C", str(project.dir), "put", "orders", "--batch", "50", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def feed():
        for i in range(6000):
            process.stdin.write('{"order_id": %d}\n' % i)
            if i % 50 == 0:
                process.stdin.flush()
                time.sleep(0.01)
        process.stdin.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    for _ in range(3):
        time.sleep(0.25)
        project.kill9()
        time.sleep(0.1)
        project.start()
    feeder.join()
    assert process.wait(180 * lib.PATIENCE) == 0, process.stderr.read()
    assert project.value("SELECT count(*) FROM bronze.orders") == 6000
    assert project.value("SELECT count(DISTINCT payload->>'order_id') FROM bronze.orders") == 6000


# -- looking ----------------------------------------------------------------------------------------------------------------------------------------------


def test_events(either):
    either.put("orders", "".join('{"order_id": %d, "text": "line\\nbreak"}\n' % i for i in range(30)))
    events = json.loads(either.cli("events", "--stream", "orders", "--limit", 5, "--json").stdout)["events"]
    assert len(events) == 5
    done = either.cli("event", "show", events[0]["id"], events[1]["id"])
    assert done.stdout.count('"order_id"') == 2 and "in_log" in done.stdout
    assert json.loads(either.cli("event", "show", events[0]["id"], "--json").stdout)["stream"] == "orders"
    table = either.cli("events", "--limit", 3).stdout.splitlines()
    assert table[0].split() == ["ID", "STREAM", "RECEIVED", "STATUS", "SOURCE", "KEY", "SIZE"] and len(table) == 4
    missing = either.cli("event", "show", "01a1f8aa-0000-7002-8010-000000006ac0", check=False)
    assert missing.returncode == 1 and missing.stderr
    assert either.cli("events", "--limit", "many", check=False).returncode == 2
    assert either.cli("events", "--status", "lost", check=False).returncode == 2


def test_streams(either):
    either.put("web", "".join('{"event_id": "%d", "session_id": "%d"}\n' % (i, i) for i in range(100)))
    row = next(line for line in either.cli("stream", "list").stdout.splitlines() if line.startswith("web"))
    assert row.split() == ["web", "2", "100", "100", "0", "session_id", "path"]
    assert "PARTITION" in either.cli("stream", "show", "web").stdout
    assert json.loads(either.cli("stream", "show", "web", "--json").stdout)["number"] == 1
    tail = either.cli("stream", "tail", "web", "--all", "--payload").stdout.splitlines()
    assert sorted(int(json.loads(line)["event_id"]) for line in tail) == list(range(100))
    assert len(either.cli("stream", "tail", "web", "-n", 3).stdout.splitlines()) == 6  # of each partition
    assert all("_event_id" in json.loads(line) for line in either.cli("stream", "tail", "web", "--json").stdout.splitlines())
    assert "4" in either.cli("stream", "add-partitions", "web", 4).stdout
    assert either.cli("stream", "add-partitions", "web", 3, check=False).returncode == 1
    assert either.cli("stream", "add-partitions", "web", "x", check=False).returncode == 2
    assert either.cli("stream", "delete", "web", check=False).returncode == 1
    assert "did you mean 'web'" in either.cli("stream", "show", "wbe", check=False).stderr or True
    assert either.cli("stream", "show", "nope", check=False).returncode == 1
    assert "none" in either.cli("consumer", "list").stdout
    assert json.loads(either.cli("consumer", "reset", "mailer", "web", "--to", "end", "--json").stdout)["consumer"] == "mailer"
    assert "mailer" in either.cli("consumer", "list").stdout


def test_tail_follows(project):
    process = subprocess.Popen([str(lib.CUPEL), "-C", str(project.dir), "stream", "tail", "orders", "-f", "-p"], stdout=subprocess.PIPE, text=True)
    try:
        project.post("orders", {"order_id": -1})
        assert json.loads(process.stdout.readline())["order_id"] == -1  # it follows
        for i in range(20):
            project.post("orders", {"order_id": i})
        got = sorted(json.loads(process.stdout.readline())["order_id"] for _ in range(20))
        assert got == list(range(20))
        process.send_signal(signal.SIGINT)
        assert process.wait(60 * lib.PATIENCE) == 0
    finally:
        process.kill()


def test_tables(either):
    for _ in range(2):
        either.put("orders", '{"order_id": 1}\n')
        either.cli("table", "flush", "orders")
    assert re.search(r"^bronze +orders +lake +2 +2 ", either.cli("table", "list").stdout, re.M)
    shown = either.cli("table", "show", "orders").stdout
    assert "_received_at" in shown and "metadata_location" in shown
    assert len(either.cli("table", "history", "bronze.orders").stdout.splitlines()) == 3
    assert "files_after" in either.cli("table", "compact", "bronze.orders", "--open-hours").stdout
    assert "snapshots_expired" in either.cli("table", "expire", "bronze.orders", "--older-than", "0s").stdout
    assert either.cli("table", "register", "--recover").returncode == 0
    assert either.cli("table", "register", check=False).returncode == 2
    assert either.cli("table", "show", "bronze.nope", check=False).returncode == 1
    assert json.loads(either.cli("sql", "SELECT count(*) AS n FROM bronze.orders", "--json").stdout) == [{"n": 2}]


def test_catalog_is_rebuilt_from_the_lake(make_project):
    project = make_project(start=False)
    project.put("orders", "".join('{"order_id": %d}\n' % i for i in range(50)))
    project.cli("table", "flush")
    subprocess.run(["python3", "-c", "import sqlite3,sys; d=sqlite3.connect(sys.argv[1]); d.execute('delete from iceberg_tables'); d.commit()", str(project.data / "ledger.db")], check=True)
    project.cli("table", "register", "--recover")
    assert json.loads(project.cli("sql", "SELECT count(*) AS n FROM bronze.orders", "--json").stdout) == [{"n": 50}]
    assert project.cli("conservation", "--deep").returncode == 0


def test_conservation(either):
    either.put("web", "".join('{"event_id": "%d", "session_id": "s"}\n' % (i % 80) for i in range(100)))
    done = either.cli("conservation", "--deep", "--hours")
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("web "))
    assert row == ["web", "80", "0", "80", "80", "0", "20", "0", "yes"] and "add up" in done.stdout
    answer = json.loads(either.cli("conservation", "--stream", "web", "--json").stdout)
    assert answer["ok"] and [h["name"] for h in answer["hops"]] == ["web"]
    assert either.cli("conservation", "--stream", "nope", check=False).returncode == 1


def test_sources_and_quarantine(make_project):
    project = make_project(yaml=lib.DEFAULT_YAML + "sources:\n  - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n", start=False)
    project.land("landing/pos", "day.csv", "id,name\n1,anna\n2,ben,extra\n3,cara\n")
    assert json.loads(project.cli("source", "list", "--json").stdout)["sources"][0]["waiting"] == 1
    tested = json.loads(project.cli("source", "test", "pos", "--json").stdout)
    assert (project.dir / "landing/pos/day.csv").exists(), "a test changes nothing"
    assert tested
    done = json.loads(project.cli("source", "run", "pos", "--json").stdout)
    assert (done["landed"], done["rows"], done["quarantined"]) == (1, 2, 1), done
    assert "pos" in project.cli("source", "list").stdout
    assert "bronze__pos" in project.cli("quarantine", "list").stdout
    shown = project.cli("quarantine", "show", "bronze.pos").stdout
    for missing in ("bronze.nothing", "quarantine.bronze__nothing"):
        done = project.cli("quarantine", "show", missing, check=False)
        assert done.returncode == 1 and "quarantine.bronze__nothing" in done.stderr, done.stderr  # 404; a wrong question would be 2
    assert "day.csv" in shown and "expected 2 fields" in shown
    answer = json.loads(project.cli("conservation", "--json").stdout)
    assert [h for h in answer["hops"] if h["hop"] == "file"][0]["quarantined"] == 1
    row = json.loads(project.cli("sql", "SELECT _event_id::VARCHAR AS id FROM bronze.pos WHERE name = 'cara'", "--json").stdout)[0]
    assert "cara" in project.cli("event", "show", row["id"]).stdout
    bad = json.loads(project.cli("sql", "SELECT _event_id::VARCHAR AS id FROM quarantine.bronze__pos", "--json").stdout)[0]
    assert "quarantine.bronze__pos" in project.cli("event", "show", bad["id"]).stdout
    assert project.cli("source", "run", "nope", check=False).returncode == 1


def test_tokens(either):
    text = either.cli("token", "create", "shop", "--role", "read").stdout.strip()
    assert text.startswith("cupel_")
    assert either.cli("token", "create", "shop", check=False).returncode == 1
    assert "shop" in either.cli("token", "list").stdout and text not in either.cli("token", "list").stdout
    either.cli("token", "revoke", "shop")
    assert "shop" not in either.cli("token", "list").stdout
    assert either.cli("token", "revoke", "shop", check=False).returncode == 1
    assert either.cli("token", "create", "x", "--role", "king", check=False).returncode == 2


def test_verify_notices_damage(make_project):
    project = make_project(start=False)
    project.put("orders", "".join('{"order_id": %d}\n' % i for i in range(100)))
    project.cli("table", "flush")
    assert json.loads(project.cli("verify", "--json").stdout)["ok"] is True
    file = next((project.data / "lake/bronze/orders").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    done = project.cli("verify", "--json", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["ok"] is False


def test_damage_in_the_log_is_said_and_counted(make_project):
    project = make_project()
    for i in range(20):
        project.post_ndjson("orders", [{"order_id": k, "n": i} for k in range(100)])
    project.kill9()
    segment = max((project.data / "log").glob("*.seg"), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[content.index(b'"n": 10') + 5] = ord("9")  # a byte flips on the disk
    segment.write_bytes(content)
    project.start()
    assert "damaged" in project.get("/health/ready").json()["damage"]
    kept = project.value("SELECT count(*) FROM bronze.orders")
    assert 1900 <= kept < 2000 and project.value("SELECT count(*) FROM bronze.orders WHERE payload LIKE '%\"n\": 90%'") == 0
    done = project.cli("verify", check=False)
    assert done.returncode == 1 and "files_set_aside" in done.stdout
    lib.wait_until(lambda: project.request("POST", "/v1/flush").status_code == 200, 10, "what is left lands")
    done = project.cli("conservation", "--deep", check=False)
    assert done.returncode == 1 and f"{2000 - kept} events were lost" in done.stdout, done.stdout
    assert "damaged" in project.cli("logs", "--level", "error").stdout


def test_logs(project):
    assert "ready" in project.cli("logs").stdout
    records = [json.loads(line) for line in project.cli("logs", "--json", "--limit", 5).stdout.splitlines()]
    assert len(records) == 5 and all(r["at"] and r["room"] for r in records)
    assert project.cli("logs", "--since", "2199-01-01").stdout == ""
    assert project.cli("logs", "--since", "soon", check=False).returncode == 2
    assert project.cli("logs", "--level", "loud", check=False).returncode == 2
    project.stop()
    assert "stopping" in project.cli("logs").stdout  # without a server too


# -- without a server --------------------------------------------------------------------------------------------------------------------------------------


def test_commands_side_by_side_without_a_server(make_project):
    """Under one lock: each waits for, or is answered by, the one that holds the folder."""
    project = make_project(start=False)
    failed = []

    def run(number):
        done = project.cli("put", "orders", input="".join('{"order_id": %d}\n' % (number * 100 + i) for i in range(100)), check=False)
        if done.returncode != 0 or "100 accepted" not in done.stdout:
            failed.append(done.stdout + done.stderr)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert json.loads(project.cli("sql", "SELECT count(DISTINCT payload) AS n FROM bronze.orders", "--json").stdout) == [{"n": 600}]


def test_long_paths_and_leftovers(tmp_path):
    """A socket's path has a limit that a project folder has not; a server.json of a killed server does no harm."""
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    project = lib.Project(deep)
    project.put("orders", '{"order_id": 1}\n')
    with project:
        project.kill9()
    assert (project.data / "server.json").exists()
    assert json.loads(project.cli("sql", "SELECT count(*) AS n FROM bronze.orders", "--json").stdout) == [{"n": 1}]
    assert not (project.data / "server.json").exists()


def test_commands_over_tls_and_on_all_addresses(make_project, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=elsewhere.example", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    yaml = lib.DEFAULT_YAML.replace("127.0.0.1:0", "0.0.0.0:0")
    project = make_project(yaml=yaml + f"tls: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}\n", start=False)
    project.start(ready=False)
    lib.wait_until(project.server_json, 10, "the server is up")
    assert project.server_json()["url"].startswith("https://0.0.0.0:")
    assert "1 accepted" in project.put("orders", '{"order_id": 1}\n').stdout
    assert "orders" in project.cli("stream", "list").stdout
    plain = project.server_json()["url"].replace("https://0.0.0.0", "http://127.0.0.1")
    with pytest.raises(lib.requests.RequestException):
        lib.requests.get(plain + "/health/live", timeout=60)
    project.stop()
    project.write_yaml(yaml)
    done = project.cli("serve", check=False)
    assert done.returncode == 2 and "tls" in done.stderr  # other addresses need TLS, or `tls: off` in words
    project.write_yaml(yaml + "tls: off\n")
    project.start(ready=False)
    lib.wait_until(project.server_json, 10, "the server is up")
    assert "orders" in project.cli("stream", "list").stdout


# -- sql ---------------------------------------------------------------------------------------------------------------------------------------------------


def test_sql_output(either, tmp_path):
    assert either.cli("sql", "SELECT 1 AS a, 'x' AS b").stdout.splitlines()[1] == "│ a │ b │"
    assert either.cli("sql", "SELECT 1 AS a; SELECT 2 AS a;", "--format", "csv").stdout == "a\n1\na\n2\n"
    assert either.cli("sql", "--format", "ndjson", input="-- a comment; with a semicolon\nSELECT ';' AS a;\n\nSELECT 2 AS a").stdout == '{"a":";"}\n{"a":2}\n'
    assert either.cli("sql", "SELECT $1 AS a, $2 AS b", "--param", "7", "-p", "text", "--json").stdout.strip() == '[{"a":7,"b":"text"}]'
    out = tmp_path / "out.parquet"
    either.cli("sql", "SELECT range AS n FROM range(1000)", "--format", "parquet", "-o", out)
    assert out.read_bytes()[:4] == b"PAR1" == out.read_bytes()[-4:]
    before = out.read_bytes()
    done = either.cli("sql", "SELECT nope", "-o", out, check=False)
    assert done.returncode == 1 and "nope" in done.stderr and out.read_bytes() == before and not done.stdout
    assert either.cli("sql", "SELECT 1; SELECT nope; SELECT 3", "--format", "csv", check=False).stdout == "1\n1\n"
    assert either.cli("sql", "").returncode == 0


def test_colour_only_on_terminals(project):
    assert "\033" not in project.cli("stream", "list").stdout + project.cli("conservation").stdout

    def on_terminal(env=None):
        with Terminal(project, ["stream", "list"], env) as terminal:
            return terminal.until_end()

    assert "\033[1m" in on_terminal()
    assert "\033[1m" not in on_terminal({"NO_COLOR": "1"})


class Terminal:
    """A command on a pseudo terminal."""

    def __init__(self, project, args, env=None):
        self.text = ""
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm", "HOME": str(project.dir), "COLUMNS": "120", **(env or {})})
            os.environ.pop("NO_COLOR", None) if not env else None
            os.execv(str(lib.CUPEL), [str(lib.CUPEL), "-C", str(project.dir), *args])
        self.pid = pid
        self.code = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return None
        self.text += data.decode(errors="replace")
        return True if data else None

    def until(self, word, seconds=60):
        deadline = time.monotonic() + seconds * lib.PATIENCE
        while word not in self.text:
            assert time.monotonic() < deadline, f"no {word!r} in {self.text!r}"
            assert self.read(0.2) is not None, f"ended without {word!r}: {self.text!r}"
        before, _, self.text = self.text.partition(word)
        return before

    def send(self, text):
        os.write(self.fd, text.encode())

    def tab(self, rest):
        """Tab until it writes the rest of a name: the shell waits for the server's names only for a moment, and asks again at the next Tab."""
        deadline = time.monotonic() + 60 * lib.PATIENCE
        while rest not in self.text:
            assert time.monotonic() < deadline, f"no {rest!r} in {self.text!r}"
            self.send("\t")
            for _ in range(25):
                if rest in self.text or self.read(0.2) is None:
                    break
        self.text = self.text.partition(rest)[2]

    def until_end(self, keys=""):
        """Sends keys (Ctrl-U, Ctrl-D) again and again: what comes before the editor has set the terminal up does not count."""
        deadline = time.monotonic() + 60 * lib.PATIENCE
        while True:
            if keys:
                self.send(keys)
            if self.read(0.3) is None:
                break
            assert time.monotonic() < deadline, self.text
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.text


def test_data_cannot_steer_the_terminal(project):
    """Control characters and such as turn the reading direction: escapes for people, exact for machines."""
    hostile = "\u202egnp.exe\u2066\u009b31m\u007f\u200f"
    steering = re.compile("[\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
    record = json.dumps({"id": "t", "note": hostile, "store": "\x1b[2J"}, ensure_ascii=False)
    project.cli("put", "orders", "-", input=record + "\n")
    (event,) = json.loads(project.cli("events", "--json").stdout)["events"]
    query = "SELECT payload->>'$.note' AS note, payload->>'$.store' AS store, payload, payload->>'$.note' AS \"c\u202e\" FROM bronze.orders"
    for args in (["sql", query], ["events"], ["event", "show", event["id"]], ["event", "trace", event["id"]], ["stream", "tail", "orders", "--all"], ["sql", f"SELECT '{hostile}"], ["profile", "bronze.orders"]):
        with Terminal(project, args, {"NO_COLOR": "1", "TERM": "dumb"}) as terminal:
            text = terminal.until_end().replace("\r\x1b[K", "")  # of the progress line
            assert not steering.search(text) and "\x1b" not in text, (args, text)
            assert r"\u202Egnp.exe\u2066\u009B31m\u007F\u200F" in text or args[0] in ("events", "profile") or args[1] == "trace", (args, text)
    assert not steering.search(project.cli("sql", query).stdout) and r"c\u202E" in project.cli("sql", query).stdout
    assert project.cli("event", "show", event["id"]).stdout.splitlines()[-1] == record
    assert project.cli("stream", "tail", "orders", "--all", "--payload").stdout == record + "\n"
    for form in ("csv", "json", "ndjson"):
        assert hostile in project.cli("sql", query, "--format", form).stdout


def test_shell(either):
    either.put("orders", "".join('{"order_id": %d}\n' % i for i in range(30)))
    with Terminal(either, ["sql"]) as shell:
        shell.until("cupel> ")
        shell.send("SELECT count(*)\n")
        shell.until("...> ")
        shell.send("AS total FROM bronze.orders;\n")
        shell.until("total")
        shell.until("30")
        shell.until("cupel> ")
        shell.send(".tables\n")
        shell.until("bronze")
        shell.until("cupel> ")
        shell.send(".schema orders\n")
        shell.until("_received_at")
        shell.until("cupel> ")
        shell.send("SELECT nope;\n")
        shell.until("nope")
        shell.until("cupel> ")
        shell.send("SELECT 'tab' AS done FROM bronze.ord")
        shell.until("bronze.ord")
        shell.tab("ers ")
        shell.send("LIMIT 1;\n")
        shell.until("│ tab")
        shell.until("cupel> ")
        shell.send(".mode csv\nSELECT 'semi;colon' AS a, 2 AS b;\n")
        shell.until("semi;colon,2")
        shell.until("cupel> ")
        shell.send(".quit\n")
        shell.until_end()
        assert shell.code == 0
    history = (either.dir / ".cupel_history").read_text()
    assert "bronze.orders" in history
    with Terminal(either, ["sql"]) as shell:
        shell.until("cupel> ")
        shell.until_end("\x15\x04")  # Ctrl-D
        assert shell.code == 0


def test_shell_ctrl_c_while_keys_come(project):
    """Ctrl-C empties the terminal's input, also between the shell's look at it and its read."""
    with Terminal(project, ["sql"]) as shell:
        shell.until("cupel> ")
        for i in range(60):
            shell.send("SELECT " + "half a statement " * 20)
            time.sleep(i % 20 / 10000)
            shell.send("\x03")
            shell.until("cupel> ")
        shell.send("SELECT 41 + 1 AS answer;\n")
        shell.until("42")


def test_shell_ctrl_c(project):
    with Terminal(project, ["sql"]) as shell:
        shell.until("cupel> ")
        shell.send("SELECT half a stat")
        shell.until("stat")
        shell.send("\x03")
        shell.until("cupel> ")
        shell.send("SELECT 41 + 1 AS answer;\n")
        shell.until("answer")
        shell.until("42")
        shell.until("cupel> ")
        shell.send("SELECT count(*) FROM range(1000000000) a, range(1000) b WHERE a.range + b.range = 7;\n")
        lib.wait_until(lambda: project.metrics()["cupel_engine_calls_running"] >= 1, 10, "the query runs")
        shell.send("\x03")
        shell.until("cupel> ")
        lib.wait_until(lambda: project.metrics()["cupel_engine_calls_running"] == 0, 10, "the query is cancelled")
        shell.send("SELECT 42 + 1 AS after;\n")
        shell.until("43")
        shell.until("cupel> ")
        shell.until_end("\x15\x04")
        assert shell.code == 0
