"""Notes how the tests of faults ended, for `tests/fault_table.py --results`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fault_table import NOTED, ROOT
from hypothesis import settings

WORST = ("passed", "skipped", "failed")
"""Of a test with parameters the last of these that came."""

# What whoever runs the tests has set for the own commands is nothing to them.
os.environ["HPC_CONFIG"] = os.devnull

# Speed lives in bench/: here a machine may be slow, and a test times nothing but what it says.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

_ended: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    file, _, name = report.nodeid.partition("::")
    name = name.partition("[")[0]
    if not name.startswith("test_fault_") or (report.when != "call" and report.passed):
        return
    _ended[f"{file}::{name}"] = max(
        report.outcome, _ended.get(f"{file}::{name}", "passed"), key=WORST.index
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of several processes the one that hears of all tests.
    is_worker = hasattr(session.config, "workerinput")
    if _ended and not is_worker and Path(session.config.rootpath) == ROOT:
        before = json.loads(NOTED.read_text()) if NOTED.exists() else {}
        NOTED.parent.mkdir(exist_ok=True)
        NOTED.write_text(json.dumps(before | _ended, indent=1))
