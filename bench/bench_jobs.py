"""Jobs on a real relay: throughput of processes, and the time from a submit to a known end."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import own_cpu_s, spawned_per_second
from machine import p99

from hpc.testing.processes import Cluster

TASKS = 10_000
ROUNDS = 3
SLOTS = 2
SINGLES = 100
COMMANDS = 20
LINES = 100_000

Info = dict[str, Any]


@pytest.mark.parametrize("memory", [None, "16M"], ids=["reserved", "enforced"])
def bench_array_of_true(benchmark: Any, cluster: Cluster, report: Any, memory: str | None) -> None:
    """An array of `/bin/true` with two slots, every task durable, in turns with `xargs -P2`.

    As it is submitted where nothing is said, and with a memory limit, which may be a cgroup a task.
    """
    client = warm(cluster)

    def array() -> Info:
        return client.submit(["/bin/true"], tasks=f"0-{TASKS - 1}", memory=memory).wait(300)

    before = figures(cluster)
    turns = benchmark.pedantic(in_turns, (cluster, "/bin/true", array), rounds=1)
    report(
        reach={"ratio": (">=", 1.0), "own_ms_per_task": ("<=", 0.25)},
        **turns,
        **per_task(before, cluster, ROUNDS * TASKS),
    )


def bench_array_with_output(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """The same of `/bin/echo`, its output kept, in turns with an `xargs` that drops it."""
    client = warm(cluster)
    entries = [f"line-{n}" for n in range(TASKS)]
    jobs = []

    def array() -> Info:
        job = client.submit(["/bin/echo", "{}"], entries=entries, expand=True)
        jobs.append(job)
        return job.wait(300)

    before = figures(cluster)
    turns = benchmark.pedantic(in_turns, (cluster, "/bin/echo", array), rounds=1)
    counted = per_task(before, cluster, ROUNDS * TASKS)
    for job in jobs:
        for task in range(0, TASKS, 101):
            assert b"".join(job.log(task)) == f"line-{task}\n".encode()
    report(reach={"ratio": (">=", 0.85)}, **turns, **counted)


def warm(cluster: Cluster) -> Any:
    """Start a relay that has run something, and return a client."""
    cluster.relay(cpus=SLOTS)
    client = cluster.client()
    client.submit(["/bin/true"], tasks="0-99").wait(60)
    return client


def in_turns(cluster: Cluster, command: str, array: Callable[[], Info]) -> dict[str, float]:
    """Run ours and xargs in turns; medians, and the least and the most of each."""
    ours, theirs, cpu_ms = [], [], []
    for turn in range(ROUNDS):
        if turn % 2:
            theirs.append(spawned_per_second(TASKS, SLOTS, command))
        cpu_s, began = own_cpu_s(cluster), time.perf_counter()
        info = array()
        ours.append(TASKS / (time.perf_counter() - began))
        cpu_ms.append(1e3 * (own_cpu_s(cluster) - cpu_s) / TASKS)
        assert info["counts"]["succeeded"] == TASKS
        if not turn % 2:
            theirs.append(spawned_per_second(TASKS, SLOTS, command))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "tasks_per_s": statistics.median(ours),
        "xargs_per_s": statistics.median(theirs),
        "own_ms_per_task": statistics.median(cpu_ms),
    }


def bench_submit_to_done(
    benchmark: Any, cluster: Cluster, report: Any, fdatasync_us: float
) -> None:
    """One `/bin/true` after the other: from before the submit to after its end is known."""
    client = warm(cluster)
    before = figures(cluster)

    def one() -> None:
        assert client.submit(["/bin/true"]).wait(60)["state"] == "succeeded"

    took = benchmark.pedantic(milliseconds, (one, SINGLES), rounds=1)
    report(
        reach={"p50_ms": ("<=", 2e-3 * fdatasync_us + 2)},
        p50_ms=statistics.median(took),
        p99_ms=p99(took),
        least_ms=min(took),
        jobs=len(took),
        **per_task(before, cluster, SINGLES),
    )


def bench_command_to_done(
    benchmark: Any, cluster: Cluster, report: Any, fdatasync_us: float
) -> None:
    """The same by `hpc submit --wait`, a process of its own each time; beside an empty Python."""
    warm(cluster)
    command = ["submit", "--wait", "--", "/bin/true"]

    def one() -> None:
        run([cluster.python, "-m", "hpc", *command], cluster)

    took = benchmark.pedantic(milliseconds, (one, COMMANDS), rounds=1)
    empty = milliseconds(lambda: run([cluster.python, "-c", ""], cluster), COMMANDS)
    jobs = cluster.client().jobs(state="succeeded")
    assert sum(job["tasks"] == "0" for job in jobs) == COMMANDS
    report(
        reach={"p50_ms": ("<=", 2e-3 * fdatasync_us + 130)},
        p50_ms=statistics.median(took),
        p99_ms=p99(took),
        least_ms=min(took),
        empty_python_ms=statistics.median(empty),
        commands=len(took),
    )


def run(command: list[str], cluster: Cluster) -> None:
    """Run a command that must succeed."""
    subprocess.run(
        command, env=cluster.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )


def milliseconds(one: Callable[[], object], times: int) -> list[float]:
    """Return how long each of some runs took, in ms."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        one()
        took.append(1e3 * (time.perf_counter() - began))
    return took


def bench_submit_lines(benchmark: Any, cluster: Cluster, report: Any, tmp_path: Path) -> None:
    """A file of different values as one array: from Enter to prompt, and the page of its middle."""
    client = cluster.client()
    lines = tmp_path / "lines"
    lines.write_text("".join(f"some/folder/of/a/file-{n}.txt\n" for n in range(LINES)))
    before = figures(cluster)

    def enter() -> tuple[float, str]:
        began = time.perf_counter()
        done = subprocess.run(
            [cluster.python, "-m", "hpc", "submit", "--each-line", str(lines), "--", "gzip", "{}"],
            env=cluster.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return time.perf_counter() - began, done.stdout.strip()

    took, job_id = benchmark.pedantic(enter, rounds=1)

    counted = per_task(before, cluster, LINES)
    assert client.info(job_id)["counts"]["queued"] == LINES
    began = time.perf_counter()
    page = list(client.tasks(job_id, after=LINES // 2 - 1, limit=1000))
    page_ms = 1e3 * (time.perf_counter() - began)
    assert page[0]["entry"] == f"some/folder/of/a/file-{LINES // 2}.txt"
    report(tasks_per_s=LINES / took, seconds=took, page_ms=page_ms, **counted)


def bench_array_of_values(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """The array of `/bin/true`, each with a value of its own in its arguments."""
    client = warm(cluster)
    entries = [f"some/folder/of/a/file-{n}.txt" for n in range(TASKS)]

    def submit() -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        job = client.submit(["/bin/true", "{}", "{/.}"], entries=entries, expand=True)
        return time.perf_counter() - began, job.wait(300)

    submitted_s, info = benchmark.pedantic(submit, rounds=1)

    assert info["counts"]["succeeded"] == TASKS
    rows = list(client.tasks(info["job_id"]))
    assert [row["entry"] for row in rows] == entries
    took = (max(r["finished_at"] for r in rows) - min(r["started_at"] for r in rows)) / 1000
    report(tasks_per_s=TASKS / took, submit_ms=1e3 * submitted_s)


def figures(cluster: Cluster) -> dict[str, int]:
    """What the Hub has done since its start."""
    return dict(cluster.http().get("/healthz", [("full", "true")]).json())


def per_task(before: dict[str, int], cluster: Cluster, tasks: int) -> dict[str, float]:
    """Requests, commits and syncs of output per task since `before`; a commit is one fsync."""
    after = figures(cluster)
    counted = ("requests", "commits", "output_syncs")
    return {f"{name}_per_task": (after[name] - before[name]) / tasks for name in counted}
