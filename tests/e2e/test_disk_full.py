"""Disk full while running: 503 with Retry-After, reads go on; space back: it goes on by itself."""

import os
import subprocess
import threading
import time

import lib
import pytest

YAML = """
project: full
listen: 127.0.0.1:0
lake: {{flush: {{bytes: 1MB, seconds: 2}}}}
log: {{segment_bytes: 4MiB, reserve_bytes: {reserve}, retention: 1s}}
streams:
  web: {{partitions: 2, key: session_id}}
"""


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 96 MB of its own: tmpfs, which needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder], capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    for _ in range(50):
        if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-l", folder], capture_output=True)


def batch(n):
    return [{"session_id": f"s{i}", "n": n, "pad": os.urandom(750).hex()} for i in range(100)]


def fill_until_refused(project, acknowledged, limit=3000):
    for n in range(limit):
        answer = project.post_ndjson("web", batch(n))
        if answer.status_code != 202:
            return answer
        acknowledged.update(answer.json()["ids"])
    raise AssertionError("the disk never became full")


def check_refusal(answer):
    assert answer.status_code == 503, f"{answer.status_code} {answer.text}"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert "space" in answer.json()["detail"].lower() or "space" in answer.json()["title"].lower(), answer.text


def goes_on(project, acknowledged):
    def accepted():
        answer = project.post_ndjson("web", batch(0))
        if answer.status_code == 202:
            acknowledged.update(answer.json()["ids"])
        return answer.status_code == 202

    lib.wait_until(accepted, 30, "events are taken again", 0.3)


def stored_ids(project):
    return {row["id"] for row in project.sql("SELECT _event_id::VARCHAR AS id FROM bronze.web")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("reserve", ["16MiB", "1MiB"])
def test_small_disk_fills_up_and_is_freed(small_disk, make_project, reserve):
    """With a reserve the log stops early; with almost none the file system itself says ENOSPC, to the log, the ledger and the lake."""
    filler = small_disk / "filler"
    project = lib.Project(small_disk / "project", YAML.format(reserve=reserve))
    acknowledged = set()
    try:
        project.start()
        goes_on(project, acknowledged)
        with open(filler, "wb") as file:
            file.write(b"\0" * (40 << 20))
        check_refusal(fill_until_refused(project, acknowledged))
        if reserve == "1MiB":  # take the very last of it
            try:
                with open(small_disk / "last", "wb") as file:
                    while True:
                        file.write(b"\0" * 65536)
                        file.flush()
            except OSError:
                pass
            check_refusal(project.post_ndjson("web", batch(0)))
        assert project.get("/health/live").status_code == 200
        some = next(iter(acknowledged))
        assert project.event(some).status_code == 200
        assert project.value(f"SELECT count(*) AS n FROM bronze.web WHERE _event_id = '{some}'") == 1
        filler.unlink()
        (small_disk / "last").unlink(missing_ok=True)
        goes_on(project, acknowledged)
        assert acknowledged <= stored_ids(project)
        assert project.alive()
        project.kill9()
        project.start()
        stored = stored_ids(project)
        assert acknowledged <= stored
        assert project.value("SELECT count(*) AS n FROM bronze.web") == len(stored)
        assert project.cli("conservation").returncode == 0
    except BaseException:
        print(project.log_tail())
        raise
    finally:
        project.cleanup()


@pytest.mark.timeout(300)
def test_reserve_of_the_real_disk(make_project):
    """Without root: a reserve of all but 3 GB of what is free; a file of 2 GB more takes it away and gives it back. The margins are for what other tests write."""
    project = make_project(start=False, yaml="")
    stat = os.statvfs(project.dir)
    free = stat.f_bavail * stat.f_frsize
    if free < 8 << 30:
        pytest.skip("less than 8 GB free")
    project.write_yaml(YAML.format(reserve=f"{free - (3 << 30)}"))
    project.start()
    acknowledged = set()
    goes_on(project, acknowledged)
    filler = project.dir / "filler"
    with open(filler, "wb") as file:
        stat = os.statvfs(project.dir)
        over = stat.f_bavail * stat.f_frsize - (free - (3 << 30))  # what others wrote or deleted meanwhile is in it
        os.posix_fallocate(file.fileno(), 0, over + (2 << 30))
    check_refusal(fill_until_refused(project, acknowledged))
    assert project.value("SELECT count(*) AS n FROM bronze.web") >= len(acknowledged)
    filler.unlink()
    goes_on(project, acknowledged)
    assert acknowledged <= stored_ids(project)


@pytest.mark.timeout(300)
def test_intake_does_not_notice_a_dying_engine(make_project):
    """The engine is killed in the middle of queries and flushes: every append is acknowledged. A kill that intake waits for would be seen each time; a busy disk is only now and then."""
    project = make_project(YAML.format(reserve="16MiB"))
    stop, took, statuses, kills = threading.Event(), [], [], []

    def appends():
        import requests

        session, url, headers = requests.Session(), project.url, {"Authorization": f"Bearer {project.token}"}
        n = 0
        while not stop.is_set():
            began = time.monotonic()
            answer = session.post(f"{url}/v1/streams/web", json={"session_id": f"s{n % 9}", "n": n}, headers=headers, timeout=60)
            took.append((began, time.monotonic() - began))
            statuses.append(answer.status_code)
            n += 1

    def queries():
        while not stop.is_set():
            project_answer = project.request("POST", "/v1/sql", json={"query": "SELECT sum(hash(a.range) ^ hash(b.range)) AS n FROM range(100000) a, range(20000) b", "format": "ndjson"}, timeout=120)
            assert project_answer is not None

    def answers():
        return project.request("POST", "/v1/sql", json={"query": "SELECT 1 AS a", "format": "json"}, timeout=120).status_code == 200

    threads = [threading.Thread(target=appends), threading.Thread(target=queries)]
    for thread in threads:
        thread.start()
    try:
        while len(kills) < 8:
            lib.wait_until(answers, what="an engine has started")
            project.wait_working(0.1)
            kills.append(time.monotonic())
            assert project.kill_engine()
            enough = len(statuses) + 20
            lib.wait_until(lambda: len(statuses) > enough and time.monotonic() > kills[-1] + 0.5, what="appends go on")
    finally:
        stop.set()
        project.kill_engine()  # the query under way would go on for a while
        for thread in threads:
            thread.join(120)
    assert set(statuses) == {202} and len(statuses) > 100
    longest = sorted(max(s for began, s in took if kill - s <= began < kill + 0.5) for kill in kills)
    assert longest[len(kills) // 4] < 0.25 * lib.PATIENCE, longest
    lib.wait_until(answers, what="an engine has started")
    assert project.value("SELECT count(*) AS n FROM bronze.web") == len(statuses)
