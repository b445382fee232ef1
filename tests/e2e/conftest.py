"""Fixtures: `project` runs the real binary on a folder of its own; `make_project` for other configurations. On failure the server's log is shown."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import lib  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for project in getattr(item, "cupel_projects", []):
            report.sections.append(("cupel server log", project.log_tail(80)))


@pytest.fixture
def make_project(request, tmp_path):
    """make_project(yaml=…, start=True, env=…) -> lib.Project; ended and removed after the test."""
    made = []
    request.node.cupel_projects = made

    def make(yaml=lib.DEFAULT_YAML, start=True, env=None, name=None):
        project = lib.Project(tmp_path / (name or f"project{len(made)}"), yaml, env)
        made.append(project)
        return project.start() if start else project

    yield make
    for project in made:
        project.cleanup()


@pytest.fixture
def project(make_project):
    """The default project (streams web with dedupe and orders), serving."""
    return make_project()


@pytest.fixture
def real_data():
    """Folder with the real data sets; the test is skipped where it is absent."""
    if not lib.DATA.is_dir():
        pytest.skip("real data sets are not here (CUPEL_TEST_DATA)")
    return lib.DATA


def pytest_make_parametrize_id(config, val, argname):
    """Bytes make no names: they may hold times (gzip) and must be the same in every worker."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None
