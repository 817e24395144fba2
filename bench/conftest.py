"""What the benchmarks share: a Hub and a relay as real processes, and what a figure is worth.

Every benchmark verifies that the work was done, by what the system recorded or by what tasks wrote.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machine import QUIET_CORES, Noise, descendants, usage
from machine import fdatasync_us as measure_fdatasync_us

from hpc.testing.processes import Cluster

Reach = dict[str, tuple[str, float]]
"""By the name of a figure `<=` or `>=`, and what it is to be."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub in a process of its own, with its log on the disk that the tests use."""
    with Cluster(tmp_path, lease_s=30) as running:
        yield running


@pytest.fixture
def fdatasync_us(tmp_path: Path) -> float:
    """Median time of an fdatasync after an append of 4 KiB on the disk under the logs, in µs.

    It is measured before each benchmark, since on a shared disk it changes within minutes.
    """
    return measure_fdatasync_us(tmp_path)


@pytest.fixture
def report(request: pytest.FixtureRequest, fdatasync_us: float, tmp_path: Path) -> Iterator[Any]:
    """A function that prints figures under the name of the benchmark, and what they are worth.

    Beside them: what they are to reach and whether they do; the disk's fdatasync, before and after;
    the cores that other programs took since the benchmark began.
    """
    noise = Noise()

    def print_figures(reach: Reach | None = None, **figures: object) -> None:
        noise.__exit__(None, None, None)
        after_us = measure_fdatasync_us(tmp_path)
        lines = [f"\n{request.node.name}: {'  '.join(_shown(n, v) for n, v in figures.items())}"]
        for name, (sign, limit) in (reach or {}).items():
            value = figures[name]
            assert isinstance(value, float)
            is_met = value <= limit if sign == "<=" else value >= limit
            state = "reached" if is_met else "NOT reached"
            lines.append(f"  {name} {sign} {limit:,.4g}: {state} ({value:,.4g})")
        noisy = ", noisy" if noise.cores > QUIET_CORES else ""
        lines.append(
            f"  (disk fdatasync p50 {fdatasync_us:.0f}, then {after_us:.0f} µs; "
            f"others took {noise.cores:.2f} cores{noisy})\n"
        )
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            sys.stdout.write("\n".join(lines))

    with noise:
        yield print_figures


def _shown(name: str, value: object) -> str:
    return f"{name}={value:,.2f}" if isinstance(value, float) else f"{name}={value}"


def spawned_per_second(count: int, slots: int, command: str = "/bin/true") -> float:
    """Return how many processes `xargs` starts and awaits per second; its output goes nowhere."""
    began = time.perf_counter()
    subprocess.run(
        ["xargs", f"-P{slots}", "-n1", command],
        input=b"\n".join(b"x" for _ in range(count)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return count / (time.perf_counter() - began)


def own_pids(cluster: Cluster) -> list[int]:
    """Return the processes of a cluster, supervisors included; asked while no task runs."""
    return sorted(descendants(p.pid for p in cluster.processes if p.popen.poll() is None))


def own_cpu_s(cluster: Cluster) -> float:
    """Return the CPU time of a cluster's own processes, without that of tasks."""
    return usage(own_pids(cluster)).own_s
