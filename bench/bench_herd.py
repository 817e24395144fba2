"""A thousand relays at one Hub: tasks that cost nothing, and all of them back after a kill.

The relays' claims and reports are those that ship, in this process (`hpc.testing.herd`); so both
figures are of a machine that runs the Hub and all relays.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import msgspec
import pytest
from machine import usage

from hpc import submission
from hpc.testing.herd import NULL, Herd
from hpc.testing.processes import Cluster, until

RELAYS = 1_000
TASKS = 100_000
JOBS = 50_000
JOBS_A_BATCH = 1_000
JOIN_S_MAX = 120.0
RUN_S_MAX = 300.0
WAITS = (503, "recovering")


class Seen(NamedTuple):
    """What one run has shown."""

    tasks_per_s: float
    jobs_per_s: float
    back_s: float
    hub_mib: float
    recovering: int


@pytest.mark.timeout(900)
def bench_herd(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """An array and jobs of one task beside 1,000 open claims; a kill of the Hub till all are back.

    `back_s` counts from the kill, the Hub's own start with it. No claim and no report may be
    refused, but for the `recovering` of a Hub that takes more than a second to read its log.
    """
    spec = msgspec.to_builtins(NULL)
    client = cluster.client()
    client.control({"type": "RegisterNamespace", "ns_id": spec.pop("ns_id"), "spec": spec})

    def run() -> Seen:
        with Herd(cluster.home, RELAYS) as herd:
            until(lambda: open_claims(cluster) >= RELAYS, JOIN_S_MAX)
            tasks_per_s = TASKS / array_s(cluster)
            jobs_per_s = JOBS / jobs_s(cluster, herd)
            assert cluster.hub is not None
            hub_mib = usage([cluster.hub.pid]).rss_bytes / (1 << 20)
            began = time.perf_counter()
            cluster.hub.kill()
            cluster.start_hub()
            until(lambda: open_claims(cluster) >= RELAYS, JOIN_S_MAX)
            back_s = time.perf_counter() - began
            hub_mib = max(hub_mib, usage([cluster.hub.pid]).rss_bytes / (1 << 20))
            refused = {key: n for key, n in herd.answers.items() if key[0] >= 400 and key != WAITS}
            assert not refused, refused
            recovering = herd.answers.get(WAITS, 0)
        return Seen(tasks_per_s, jobs_per_s, back_s, hub_mib, recovering)

    seen = benchmark.pedantic(run, rounds=1)
    report(
        reach={
            "tasks_per_s": (">=", 5_000),
            "jobs_per_s": (">=", 5_000),
            "back_s": ("<=", 10.0),
            "hub_mib": ("<=", 300.0),
        },
        relays=RELAYS,
        **seen._asdict(),
    )


def array_s(cluster: Cluster) -> float:
    """Return how long an array took, from its submit to its end."""
    began = time.perf_counter()
    job = cluster.client().submit_spec("null", {}, tasks=f"0-{TASKS - 1}")
    assert job.wait(RUN_S_MAX)["counts"]["succeeded"] == TASKS
    return time.perf_counter() - began


def jobs_s(cluster: Cluster, herd: Herd) -> float:
    """Return how long jobs of one task took, from the first submit to the last end."""
    bodies = [batch(first) for first in range(0, JOBS, JOBS_A_BATCH)]
    http = cluster.http()
    began = time.perf_counter()
    for body in bodies:
        http.request("POST", "/ingest", body)
    # With the array's, of which the herd may not have been told yet.
    until(lambda: herd.ended >= TASKS + JOBS, RUN_S_MAX)
    took = time.perf_counter() - began
    assert cluster.client().info(f"j{JOBS - 1}")["state"] == "succeeded"
    return took


def batch(first: int) -> bytes:
    """Return a batch of jobs of one task."""
    jobs = range(first, first + JOBS_A_BATCH)
    events = [submission.submit_event("null", {}, job_id=f"j{n}") for n in jobs]
    return json.dumps({"id": f"jobs-{first}", "events": events}).encode()


def open_claims(cluster: Cluster) -> int:
    """Return how many requests the Hub holds: the claims, but for a few."""
    return int(cluster.http().get("/healthz", [("full", "true")]).json()["open"])
