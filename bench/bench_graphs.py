"""Jobs that come after others: a chain, and one to many to one."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

from bench_jobs import figures, per_task, warm

from hpc import Client, submission
from hpc.testing.processes import Cluster

STEPS = 500
WIDTH = 1_000
ROUNDS = 3
SPEC = {"command": "/bin/true", "args": [], "cpu": 1, "memory": 16, "enforce_memory": False}
"""With `args`, if none: a command alone is a line for the shell."""

Ids = list[str]


def bench_chain(benchmark: Any, cluster: Cluster, report: Any, fdatasync_us: float) -> None:
    """A chain of 500 jobs of one `/bin/true`, submitted as one batch: per step, and its parts.

    Grants have the Hub's clock, starts and ends the supervisor's; here it is one machine's. Both
    tell whole milliseconds, so a part is the mean over all steps.
    """
    client = warm(cluster)
    before = figures(cluster)

    def rounds() -> list[tuple[float, Ids]]:
        return [run_chain(client) for _ in range(ROUNDS)]

    ran = benchmark.pedantic(rounds, rounds=1)
    counted = per_task(before, cluster, ROUNDS * STEPS)
    steps_ms = [1e3 * took / STEPS for took, _ in ran]
    report(
        reach={"step_ms": ("<=", 2 + 1e-3 * fdatasync_us)},
        step_ms=statistics.median(steps_ms),
        least_ms=min(steps_ms),
        most_ms=max(steps_ms),
        **parts(client, min(ran)[1]),
        **counted,
    )


def run_chain(client: Client) -> tuple[float, Ids]:
    """Run a chain; seconds from before the submit to after its end is known, and its jobs."""
    ids = [submission.new_job_id() for _ in range(STEPS)]
    events = [submitted(ids[0], [])]
    events += [submitted(job_id, [before]) for before, job_id in pairwise(ids)]
    began = time.perf_counter()
    client.ingest(events)
    client.wait(ids[-1], timeout_s=120)
    took = time.perf_counter() - began
    assert all(client.info(job_id)["state"] == "succeeded" for job_id in ids)
    return took, ids


def parts(client: Client, ids: Ids) -> dict[str, float]:
    """Return where the time of a step goes, mean over a chain, in ms."""
    granted, ran = {}, {}
    first = client.read("/events", [("job", ids[0]), ("limit", 1), ("cursor", 0)])["data"][0]
    for event in client.events(first["seq"] - 1):
        ctx = event["payload"]["ctx"]
        if event["kind"] == "JobClaimed":
            granted[ctx["job_id"]] = event["at"]
        elif event["kind"] == "JobFinished":
            spec = event["payload"]["spec"]
            ran[ctx["job_id"]] = (spec["started_at"], spec["finished_at"])
    steps = list(pairwise(ids))
    return {
        "finish_to_grant_ms": mean(granted[b] - ran[a][1] for a, b in steps),
        "grant_to_start_ms": mean(ran[b][0] - granted[b] for _, b in steps),
        "start_to_finish_ms": mean(ran[b][1] - ran[b][0] for _, b in steps),
    }


def mean(values: Any) -> float:
    """Return the mean of some numbers as a float."""
    return float(statistics.fmean(values))


def bench_fan(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """One job, then 1,000 jobs after it, then one after all of them, submitted as one batch.

    Beside it the middle as one array of 1,000 tasks.
    """
    client = warm(cluster)

    def rounds() -> tuple[list[float], list[float]]:
        pairs = [(run_fan(client, of_jobs()), run_fan(client, of_tasks())) for _ in range(ROUNDS)]
        return [jobs for jobs, _ in pairs], [array for _, array in pairs]

    jobs, array = benchmark.pedantic(rounds, rounds=1)
    report(
        reach={"jobs_s": ("<=", 0.6), "array_s": ("<=", 0.6)},
        jobs_s=statistics.median(jobs),
        jobs_least_s=min(jobs),
        array_s=statistics.median(array),
        array_least_s=min(array),
    )


def of_jobs() -> tuple[Ids, list[dict[str, Any]]]:
    """The fan whose middle is many jobs; its ids, the last one at the end."""
    first, *middle, last = [submission.new_job_id() for _ in range(WIDTH + 2)]
    events = [submitted(first, [])]
    events += [submitted(job_id, [first]) for job_id in middle]
    return [first, *middle, last], [*events, submitted(last, middle)]


def of_tasks() -> tuple[Ids, list[dict[str, Any]]]:
    """The fan whose middle is one job of many tasks."""
    first, middle, last = [submission.new_job_id() for _ in range(3)]
    tasks = f"0-{WIDTH - 1}"
    events = [submitted(first, []), submitted(middle, [first], tasks), submitted(last, [middle])]
    return [first, middle, last], events


def run_fan(client: Client, fan: tuple[Ids, list[dict[str, Any]]]) -> float:
    """Run a fan; seconds from before the submit to after its end is known."""
    ids, events = fan
    began = time.perf_counter()
    client.ingest(events)
    client.wait(ids[-1], timeout_s=120)
    took = time.perf_counter() - began
    done = [client.info(job_id)["counts"]["succeeded"] for job_id in ids]
    assert sum(done) == WIDTH + 2
    return took


def submitted(job_id: str, after: Ids, tasks: str | None = None) -> dict[str, Any]:
    """Return the submit of one job."""
    gate = submission.gate_of(after=after)
    return submission.submit_event("batch", SPEC, job_id=job_id, tasks=tasks, gate=gate)
