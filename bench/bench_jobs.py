"""Jobs on a real relay: throughput of processes, and the time from a submit to a known end."""

from __future__ import annotations

import statistics
import time
from typing import Any

from conftest import spawned_per_second

from hpc.testing.processes import Cluster

TASKS = 3_000
SLOTS = 2
SINGLES = 100


def bench_array_of_true(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """An array of `/bin/true` with two slots, every task durable, beside `xargs -P2`."""
    cluster.relay(cpus=SLOTS)
    client = cluster.client()
    client.submit(["/bin/true"], tasks="0-99", memory="16M").wait(60)
    xargs = max(spawned_per_second(TASKS, SLOTS) for _ in range(2))

    before = figures(cluster)

    def run() -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        info = client.submit(["/bin/true"], tasks=f"0-{TASKS - 1}", memory="16M").wait(300)
        return time.perf_counter() - began, info

    took, info = benchmark.pedantic(run, rounds=1)

    assert info["counts"]["succeeded"] == TASKS
    ours = TASKS / took
    report(tasks_per_s=ours, xargs_per_s=xargs, ratio=ours / xargs, **per_task(before, cluster))


def bench_submit_to_done(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """One `/bin/true` after the other: from before the submit to after its end is known."""
    cluster.relay(cpus=SLOTS)
    client = cluster.client()
    client.submit(["/bin/true"], memory="16M").wait(60)
    before = figures(cluster)

    def run() -> list[float]:
        took = []
        for _ in range(SINGLES):
            began = time.perf_counter()
            info = client.submit(["/bin/true"], memory="16M").wait(60)
            took.append(1e3 * (time.perf_counter() - began))
            assert info["state"] == "succeeded"
        return took

    took = sorted(benchmark.pedantic(run, rounds=1))

    report(
        p50_ms=statistics.median(took),
        p99_ms=took[int(0.99 * len(took))],
        jobs=len(took),
        **per_task(before, cluster, SINGLES),
    )


def figures(cluster: Cluster) -> dict[str, int]:
    """What the Hub has done since its start."""
    return dict(cluster.http().get("/healthz", [("full", "true")]).json())


def per_task(before: dict[str, int], cluster: Cluster, tasks: int = TASKS) -> dict[str, float]:
    """Requests, commits and syncs of output per task since `before`; a commit is one fsync."""
    after = figures(cluster)
    counted = ("requests", "commits", "output_syncs")
    return {f"{name}_per_task": (after[name] - before[name]) / tasks for name in counted}
