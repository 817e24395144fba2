"""What the benchmarks share: a Hub and a relay as real processes, and the disk's own speed.

Every benchmark verifies that the work was done, by what the system recorded or by what tasks wrote.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc.testing.processes import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub in a process of its own, with its log on the disk that the tests use."""
    with Cluster(tmp_path, lease_s=30) as running:
        yield running


@pytest.fixture(scope="session")
def fdatasync_us() -> float:
    """Median time of an fdatasync after an append of 4 KiB on the disk under the logs, in µs."""
    with tempfile.NamedTemporaryFile() as file:
        took = []
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(1e6 * (time.perf_counter() - began))
    return statistics.median(took)


@pytest.fixture
def report(request: pytest.FixtureRequest, fdatasync_us: float) -> Any:
    """A function that prints figures under the name of the benchmark, the disk's beside them."""

    def print_figures(**figures: object) -> None:
        shown = "  ".join(
            f"{name}={value:,.2f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in figures.items()
        )
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            sys.stdout.write(
                f"\n{request.node.name}: {shown}  (disk fdatasync p50 {fdatasync_us:.0f} µs)\n"
            )

    return print_figures


def spawned_per_second(count: int, slots: int) -> float:
    """Return how many `/bin/true` `xargs` starts and awaits per second."""
    began = time.perf_counter()
    subprocess.run(
        ["xargs", f"-P{slots}", "-n1", "/bin/true"],
        input=b"\n".join(b"x" for _ in range(count)),
        check=True,
    )
    return count / (time.perf_counter() - began)
