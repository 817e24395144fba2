"""Relays that die with work ahead, and a cluster that has nothing to do."""

from __future__ import annotations

import mmap
import time
from typing import Any

from conftest import own_pids
from machine import run_s, usage

from hpc.testing.processes import Cluster, until

TASKS = 64
TASK_S = 0.98
"""Nothing that takes more than a second is leased ahead, and a process takes a while to start."""
SLOTS = 2
KILLS = 3
PAGES = 1_000
IDLE_S = 20


def bench_killed_relay(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """Two relays of two slots, 64 tasks of a second; one is killed three times with work ahead.

    Ideal is that four slots are never idle and nothing is run twice. What was running at a kill
    runs again; what was only leased must not count as lost with the relay.
    """
    relays = {"n1": cluster.relay("n1", cpus=SLOTS), "n2": cluster.relay("n2", cpus=SLOTS)}
    client = cluster.client()
    client.submit(["/bin/true"], tasks="0-99", memory="16M").wait(60)
    ideal_s = TASKS * TASK_S / (2 * SLOTS)

    def run() -> tuple[float, list[int], dict[str, Any]]:
        began = time.perf_counter()
        job = client.submit(["/bin/sleep", f"{TASK_S}"], tasks=f"0-{TASKS - 1}", memory="16M")
        ahead = []
        for kill in range(KILLS):
            until(lambda kill=kill: is_full(client, job.id, 8 * (kill + 1)))
            ahead.append(leased_ahead(client, job.id))
            relays["n1"].kill()
            relays["n1"] = cluster.relay("n1", cpus=SLOTS)
        info = job.wait(120)
        return time.perf_counter() - began, ahead, info

    took, ahead, info = benchmark.pedantic(run, rounds=1)

    assert info["counts"]["succeeded"] == TASKS, info["counts"]
    assert all(ahead), "each kill found tasks that were leased and had not started"
    attempts = [row["attempt"] for row in client.tasks(info["job_id"])]
    lost = sum(attempt - 1 for attempt in attempts)
    report(
        reach={"ratio_to_ideal": ("<=", 1.1)},
        ratio_to_ideal=took / ideal_s,
        took_s=took,
        ideal_s=ideal_s,
        leased_ahead_at_kills=ahead,
        attempts_lost=lost,
    )


def is_full(client: Any, job_id: str, settled: int) -> bool:
    """Whether so many tasks are done and each slot has one ahead."""
    counts = client.info(job_id)["counts"]
    return counts["succeeded"] >= settled and leased_ahead(client, job_id) > 0


def leased_ahead(client: Any, job_id: str) -> int:
    """How many tasks are leased to n1 and have not started."""
    return sum(row["state"] == "leased" and row["node_id"] == "n1" for row in client.tasks(job_id))


class Pages:
    """Memory that was used once: what reading it costs after a pause is the machine's doing.

    Some hosts take pages away that a guest does not touch. A wake-up of an idle process then costs
    what its pages cost, and no work of its own: it touches some 2,000, here as anywhere.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PAGES * mmap.PAGESIZE)
        self._memory.write(b"x" * len(self._memory))

    def read_us(self) -> float:
        """Read a byte of each page; microseconds for one."""
        began = time.perf_counter()
        places = range(0, len(self._memory), mmap.PAGESIZE)
        assert all(self._memory[place] == ord("x") for place in places)
        return 1e6 * (time.perf_counter() - began) / PAGES


def bench_idle(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """A Hub, a relay and its supervisor that have run something, over 20 s without work."""
    cluster.relay()
    cluster.client().submit(["/bin/true"], tasks="0-99", memory="16M").wait(60)

    def run() -> tuple[float, float, float]:
        pids = own_pids(cluster)
        pages = Pages()
        before_s, began = run_s(pids), time.perf_counter()
        time.sleep(IDLE_S)
        ran_s, took = run_s(pids) - before_s, time.perf_counter() - began
        return 100 * ran_s / took, usage(pids).rss_bytes / 2**20, pages.read_us()

    percent, mib, cold_page_us = benchmark.pedantic(run, rounds=1)
    report(
        reach={"percent_of_a_core": ("<=", 0.3), "mib": ("<=", 140)},
        percent_of_a_core=percent,
        mib=mib,
        cold_page_us=cold_page_us,
        processes=len(own_pids(cluster)),
    )
