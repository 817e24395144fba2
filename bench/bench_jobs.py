"""Jobs on a real relay: throughput of processes, and the time from a submit to a known end."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from conftest import spawned_per_second

from hpc.testing.processes import Cluster

TASKS = 3_000
SLOTS = 2
SINGLES = 100
LINES = 100_000


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


def bench_submit_lines(benchmark: Any, cluster: Cluster, report: Any, tmp_path: Path) -> None:
    """A file of different values as one array: from Enter to prompt, and the page of its middle."""
    client = cluster.client()
    lines = tmp_path / "lines"
    lines.write_text("".join(f"some/folder/of/a/file-{n}.txt\n" for n in range(LINES)))
    before = figures(cluster)

    def run() -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(
            [cluster.python, "-m", "hpc", "submit", "--each-line", str(lines), "--", "gzip", "{}"],
            env=cluster.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return time.perf_counter() - began, done.stdout.strip()

    took, job_id = benchmark.pedantic(run, rounds=1)

    counted = per_task(before, cluster, LINES)
    assert client.info(job_id)["counts"]["queued"] == LINES
    began = time.perf_counter()
    page = list(client.tasks(job_id, after=LINES // 2 - 1, limit=1000))
    page_ms = 1e3 * (time.perf_counter() - began)
    assert page[0]["entry"] == f"some/folder/of/a/file-{LINES // 2}.txt"
    report(tasks_per_s=LINES / took, seconds=took, page_ms=page_ms, **counted)


def bench_array_of_values(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """The array of `/bin/true`, each with a value of its own in its arguments."""
    cluster.relay(cpus=SLOTS)
    client = cluster.client()
    client.submit(["/bin/true"], tasks="0-99", memory="16M").wait(60)
    entries = [f"some/folder/of/a/file-{n}.txt" for n in range(TASKS)]

    def run() -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        job = client.submit(["/bin/true", "{}", "{/.}"], entries=entries, expand=True, memory="16M")
        return time.perf_counter() - began, job.wait(300)

    submitted_s, info = benchmark.pedantic(run, rounds=1)

    assert info["counts"]["succeeded"] == TASKS
    rows = list(client.tasks(info["job_id"]))
    assert [row["entry"] for row in rows] == entries
    took = (max(r["finished_at"] for r in rows) - min(r["started_at"] for r in rows)) / 1000
    report(tasks_per_s=TASKS / took, submit_ms=1e3 * submitted_s)


def figures(cluster: Cluster) -> dict[str, int]:
    """What the Hub has done since its start."""
    return dict(cluster.http().get("/healthz", [("full", "true")]).json())


def per_task(before: dict[str, int], cluster: Cluster, tasks: int = TASKS) -> dict[str, float]:
    """Requests, commits and syncs of output per task since `before`; a commit is one fsync."""
    after = figures(cluster)
    counted = ("requests", "commits", "output_syncs")
    return {f"{name}_per_task": (after[name] - before[name]) / tasks for name in counted}
