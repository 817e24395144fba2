"""Calls of an executor: throughput, one after the other, and what they cost the Hub.

Workers are real processes on a real relay; each result is compared with what the call must return.
Requests are the Hub's own count since its start, reads of the log for streams included.
"""

from __future__ import annotations

import operator
import statistics
import time
from typing import Any

from bench_jobs import figures

from hpc import Executor
from hpc.testing.processes import Cluster

CALLS = 10_000
SINGLES = 200
WORKERS = 2


def executor(cluster: Cluster) -> Executor:
    """An executor whose workers are up."""
    cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", str(WORKERS))
    ready = Executor(WORKERS, client=cluster.client())
    assert list(ready.map(abs, range(-500, 0))) == list(range(500, 0, -1))
    return ready


def bench_map_of_no_ops(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """A map of 10,000 calls that do nothing, every one durable at both ends."""
    with executor(cluster) as ready:
        before = figures(cluster)

        def run() -> tuple[float, list[int]]:
            began = time.perf_counter()
            results = list(ready.map(operator.neg, range(CALLS)))
            return time.perf_counter() - began, results

        took, results = benchmark.pedantic(run, rounds=1)
        counts = per_100_calls(before, cluster, CALLS)
    assert results == [-n for n in range(CALLS)]
    report(reach={"calls_per_s": (">=", 5_000)}, calls_per_s=CALLS / took, **counts)


def bench_map_of_short_calls(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """A map of 400 calls of 10 ms, beside what two workers could do at best."""
    with executor(cluster) as ready:
        before = figures(cluster)

        def run() -> float:
            began = time.perf_counter()
            assert list(ready.map(time.sleep, [0.01] * 400)) == [None] * 400
            return time.perf_counter() - began

        took = benchmark.pedantic(run, rounds=1)
        counts = per_100_calls(before, cluster, 400)
    report(ratio_to_best=0.01 * 400 / WORKERS / took, **counts)


def bench_single_calls(benchmark: Any, cluster: Cluster, report: Any, fdatasync_us: float) -> None:
    """One call after the other: from before `submit` to its result, two commits of the Hub."""
    with executor(cluster) as ready:
        before = figures(cluster)

        def run() -> list[float]:
            took = []
            for n in range(SINGLES):
                began = time.perf_counter()
                assert ready.submit(operator.neg, n).result(60) == -n
                took.append(1e3 * (time.perf_counter() - began))
            return took

        took = sorted(benchmark.pedantic(run, rounds=1))
        counts = per_100_calls(before, cluster, SINGLES)
    p50_ms = statistics.median(took)
    report(
        reach={"p50_ms_less_two_syncs": ("<=", 3)},
        p50_ms=p50_ms,
        p99_ms=took[int(0.99 * len(took))],
        p50_ms_less_two_syncs=p50_ms - 2e-3 * fdatasync_us,
        **counts,
    )


def per_100_calls(before: dict[str, int], cluster: Cluster, calls: int) -> dict[str, float]:
    """Requests and commits for each 100 calls since `before`."""
    after = figures(cluster)
    counted = ("requests", "commits")
    return {f"{name}_per_100": 100 * (after[name] - before[name]) / calls for name in counted}
