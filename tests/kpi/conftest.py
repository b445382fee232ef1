"""On failure the server's log is shown, as in tests/e2e."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for project in getattr(item, "cupel_projects", []):
            report.sections.append(("cupel server log", project.log_tail(60)))
