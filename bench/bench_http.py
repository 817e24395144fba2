"""Over HTTP, durable: a 200 comes after the commit."""

from __future__ import annotations

import threading
import time
from typing import Any

from bench_engine import EVENTS_A_BATCH, samples

from hpc.testing.processes import Cluster

BATCHES = 200
CONNECTIONS = 4


def bench_durable_ingest(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """Batches of 1,000 events, each acknowledged after its fsync, by a few connections at once."""
    bodies = [samples(batch) for batch in range(BATCHES)]

    def run() -> float:
        lanes = [
            threading.Thread(target=post, args=(cluster, bodies[lane::CONNECTIONS]))
            for lane in range(CONNECTIONS)
        ]
        began = time.perf_counter()
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        return time.perf_counter() - began

    took = benchmark.pedantic(run, rounds=1)

    pulled = cluster.client().pull("monitor")
    counted = sum(row["reports"] for row in pulled["facts"]["nodes"].values())
    assert counted == BATCHES * EVENTS_A_BATCH
    report(events_per_s=counted / took, batches=BATCHES, connections=CONNECTIONS)


def post(cluster: Cluster, bodies: list[bytes]) -> None:
    """Send bodies one after the other."""
    http = cluster.http()
    for body in bodies:
        assert http.request("POST", "/ingest", body).json()["duplicate"] is False
