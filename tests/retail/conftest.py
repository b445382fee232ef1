"""The files of this folder import each other by name; the server's log of a failed test is shown."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for project in getattr(item, "cupel_projects", []):
            report.sections.append(("cupel server log", project.log_tail(80)))
