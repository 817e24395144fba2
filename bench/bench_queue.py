"""What waits: claims beside short and long queues, memory of jobs, and tasks that cost nothing."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from bench_engine import ask, hub_with
from bench_http import CONNECTIONS, post
from conftest import own_cpu_s
from machine import p99, usage

from hpc import submission
from hpc.domain import FieldSpec, NamespaceSpec
from hpc.testing.processes import Cluster

NULL_TASKS = 100_000
ROUNDS = 3
FEW, MANY = 10, 1_000_000
CLAIMS = 300
JOBS_A_BATCH = 10_000
COMMANDS = 100_000
COMMANDS_A_BATCH = 1_000

NULL = NamespaceSpec(
    ns_id="null",
    handler_type="none",
    resources={"cpus": 1},
    schema={"SubmitJob": [FieldSpec(key="label", expected_type="String")]},
)
"""Tasks that finish at once: everything but processes."""


def bench_null_handler(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """An array of 100,000 tasks for the handler `none`: leased, told and durable, nothing run."""
    client = cluster.client()
    spec = msgspec.to_builtins(NULL)
    client.control({"type": "RegisterNamespace", "ns_id": spec.pop("ns_id"), "spec": spec})
    cluster.start("relay", "--ns", "null", "--node-id", "n1", "--cpus", "2")
    client.submit_spec("null", {}, tasks="0-999").wait(60)

    def rounds() -> tuple[list[float], float]:
        took = []
        cpu_s = own_cpu_s(cluster)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            job = client.submit_spec("null", {}, tasks=f"0-{NULL_TASKS - 1}")
            counts = job.wait(120)["counts"]
            took.append(time.perf_counter() - began)
            assert counts["succeeded"] == NULL_TASKS
        return took, own_cpu_s(cluster) - cpu_s

    took, cpu_s = benchmark.pedantic(rounds, rounds=1)
    report(
        reach={"tasks_per_s": (">=", 100_000)},
        tasks_per_s=NULL_TASKS / statistics.median(took),
        most_per_s=NULL_TASKS / min(took),
        least_per_s=NULL_TASKS / max(took),
        own_us_per_task=1e6 * cpu_s / ROUNDS / NULL_TASKS,
    )


class Node:
    """A relay of one core that the benchmark speaks for: it claims a task and tells its end.

    Attributes:
        took_us: Of each claim.
    """

    def __init__(self, send: Callable[[str, Any], Any]) -> None:
        self.took_us: list[float] = []
        self._send = send
        self._n = 0
        self._claim(0)

    def run(self, tasks: int) -> None:
        """Claim so many tasks, one after the other, and tell of each that it succeeded."""
        for _ in range(tasks):
            began = time.perf_counter()
            answer = self._claim(1)
            self.took_us.append(1e6 * (time.perf_counter() - began))
            (grant,) = answer["grants"]
            self._tell(grant)

    def _claim(self, most: int) -> Any:
        self._n += 1
        return self._send(
            "claim",
            {
                "node_id": "n1",
                "host": "h",
                "place": "p",
                "session": "s1",
                "epoch": 1,
                "n": self._n,
                "ns": ["batch"],
                "resources": {"cpus": 1, "memory_mib": 1_000},
                "max": most,
                "wait": 0,
                "holds": [],
            },
        )

    def _tell(self, grant: dict[str, Any]) -> None:
        ctx = {key: grant[key] for key in ("ns_id", "job_id", "attempt", "tasks")}
        spec = {"exit_code": 0, "started_at": 1, "finished_at": 2}
        payload = {"ctx": {**ctx, "node_id": "n1", "epoch": 1}, "spec": spec}
        event = {"kind": "JobFinished", "payload": payload}
        self._send("ingest", {"id": f"end-{self._n}", "events": [event]})


class Claims(NamedTuple):
    """How long claims took beside a queue."""

    few: list[float]
    many: list[float]

    def figures(self) -> dict[str, float]:
        """Return what is reported: medians of `CLAIMS` each, and their ratio."""
        few_us, many_us = statistics.median(self.few), statistics.median(self.many)
        return {
            "ratio": many_us / few_us,
            "p50_us_at_10": few_us,
            "p50_us_at_1000000": many_us,
            "p99_us_at_10": p99(self.few),
            "p99_us_at_1000000": p99(self.many),
        }


EQUAL: dict[str, tuple[str, float]] = {"ratio": ("<=", 1.2)}
"""Equal, but for noise."""


def queued(first: int, count: int) -> bytes:
    """A batch of jobs of one task, each with a command of its own."""
    events = [
        submission.submit_event(
            "batch",
            {"command": "/bin/true", "args": [f"--seed={n}"], "cpu": 1, "memory": 16},
            job_id=f"j{n}",
        )
        for n in range(first, first + count)
    ]
    return json.dumps({"id": f"jobs-{first}", "events": events}).encode()


def bench_claims_of_the_engine(benchmark: Any, report: Any) -> None:
    """A claim and its grant in the engine, at 10 and at 1,000,000 jobs queued, in turns."""
    hubs = [hub_with("batch"), hub_with("batch")]
    ask(hubs[0], "ingest", "", queued(0, FEW))
    for first in range(0, MANY, JOBS_A_BATCH):
        ask(hubs[1], "ingest", "", queued(first, JOBS_A_BATCH))

    def run() -> Claims:
        few = Node(lambda verb, body: ask(hubs[0], verb, "", body))
        many = Node(lambda verb, body: ask(hubs[1], verb, "", body))
        for n in range(CLAIMS):
            ask(hubs[0], "ingest", "", queued(FEW + n, 1))
            few.run(1)
            many.run(1)
        return Claims(few.took_us, many.took_us)

    report(reach=EQUAL, **benchmark.pedantic(run, rounds=1).figures())


@pytest.mark.timeout(600)
def bench_claims_over_http(benchmark: Any, tmp_path: Path, report: Any) -> None:
    """The same over HTTP, with the commit of each grant, at two Hubs in turns."""
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    with (
        Cluster(tmp_path / "few", lease_s=600) as few_hub,
        Cluster(tmp_path / "many", lease_s=600) as many_hub,
    ):
        few, many = few_hub.http(), many_hub.http()
        few.request("POST", "/ingest", queued(0, FEW))
        for first in range(0, MANY, JOBS_A_BATCH):
            many.request("POST", "/ingest", queued(first, JOBS_A_BATCH))

        def run() -> Claims:
            short = Node(lambda verb, body: few.post(f"/{verb}", body).json())
            long = Node(lambda verb, body: many.post(f"/{verb}", body).json())
            for n in range(CLAIMS):
                # Both have just done the same: a Hub that was idle has colder caches.
                few.request("POST", "/ingest", queued(FEW + n, 1))
                short.run(1)
                many.request("POST", "/ingest", queued(MANY + n, 1))
                long.run(1)
            return Claims(short.took_us, long.took_us)

        claims = benchmark.pedantic(run, rounds=1)
        client = many_hub.client()
        last = client.info(f"j{MANY - 1}")["state"], client.info(f"j{CLAIMS - 1}")["state"]
        assert last == ("queued", "succeeded")
    report(reach=EQUAL, **claims.figures())


def bench_queued_commands(benchmark: Any, tmp_path: Path, report: Any) -> None:
    """100,000 different commands submitted as jobs: durable per second, and the Hub's memory each.

    Bodies are made beforehand, and sent on a few connections at once; a job is an event.
    """
    bodies = [queued(n, COMMANDS_A_BATCH) for n in range(0, COMMANDS, COMMANDS_A_BATCH)]

    def run(folder: Path) -> tuple[float, float]:
        folder.mkdir()
        with Cluster(folder, lease_s=30) as cluster:
            assert cluster.hub is not None
            hub = [cluster.hub.pid]
            before = usage(hub).rss_bytes
            began = time.perf_counter()
            with ThreadPoolExecutor(CONNECTIONS) as lanes:
                list(lanes.map(lambda n: post(cluster, bodies[n::CONNECTIONS]), range(CONNECTIONS)))
            took = time.perf_counter() - began
            each = (usage(hub).rss_bytes - before) / COMMANDS
            client = cluster.client()
            assert client.info(f"j{COMMANDS - 1}")["spec"]["args"] == [f"--seed={COMMANDS - 1}"]
            assert sum(1 for _ in client.jobs(state="queued")) == COMMANDS
            return took, each

    def rounds() -> list[tuple[float, float]]:
        return [run(tmp_path / f"round-{n}") for n in range(ROUNDS)]

    ran = benchmark.pedantic(rounds, rounds=1)
    took = [seconds for seconds, _ in ran]
    report(
        reach={"jobs_per_s": (">=", 150_000), "bytes_each": ("<=", 500)},
        jobs_per_s=COMMANDS / statistics.median(took),
        most_per_s=COMMANDS / min(took),
        least_per_s=COMMANDS / max(took),
        bytes_each=statistics.median(each for _, each in ran),
    )


@pytest.mark.timeout(600)
def bench_a_million_queued(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """Memory of the Hub's process for a million tasks that wait: as one array, then as jobs.

    The jobs have a command of their own each. All of both is asked for and counted afterwards.
    """
    assert cluster.hub is not None
    hub = [cluster.hub.pid]
    client = cluster.client()
    client.submit(["/bin/true"], tasks="0-9", memory=16)  # what a first submit takes is no task's

    def run() -> tuple[float, float, float]:
        at_first = usage(hub).rss_bytes
        array = client.submit(["/bin/true"], tasks=f"0-{MANY - 1}", memory=16)
        as_array = usage(hub).rss_bytes
        batches = range(0, MANY, COMMANDS_A_BATCH)
        began = time.perf_counter()

        def lane(n: int) -> None:
            post(cluster, (queued(first, COMMANDS_A_BATCH) for first in batches[n::CONNECTIONS]))

        with ThreadPoolExecutor(CONNECTIONS) as lanes:
            list(lanes.map(lane, range(CONNECTIONS)))
        took = time.perf_counter() - began
        as_jobs = usage(hub).rss_bytes
        assert array.info()["counts"]["queued"] == MANY
        assert sum(1 for _ in client.jobs(state="queued")) == MANY + 2
        return (as_array - at_first) / 2**20, (as_jobs - as_array) / 2**20, took

    array_mib, jobs_mib, took = benchmark.pedantic(run, rounds=1)
    report(
        reach={"array_mib": ("<=", 1.0), "jobs_mib": ("<=", 550.0)},
        array_mib=array_mib,
        jobs_mib=jobs_mib,
        bytes_a_job=jobs_mib * 2**20 / MANY,
        with_making_them_s=took,
    )
