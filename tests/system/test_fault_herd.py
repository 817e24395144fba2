"""Reliability row 57: many relays whose Hub is killed and comes back, all at once."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import msgspec
import psutil

from hpc.client import Client
from hpc.testing.herd import NULL, Herd
from hpc.testing.processes import Cluster, until

RELAYS = 200
TASKS = 2_000
BACK_S_MAX = 10.0
HUB_BYTES_MAX = 300 << 20
WAITS = (503, "recovering")
"""What a Hub that reads its log answers, with `Retry-After`: back-pressure, not a failure."""


def test_fault_57_a_herd_is_back_soon_after_its_hub_was_killed(tmp_path: Path) -> None:
    """Within 10 s of its start all claims are open again, none was refused, and work goes on."""
    with Cluster(tmp_path, lease_s=30) as cluster:
        client = cluster.client()
        spec = msgspec.to_builtins(NULL)
        client.control({"type": "RegisterNamespace", "ns_id": spec.pop("ns_id"), "spec": spec})
        with Herd(cluster.home, RELAYS) as herd:
            until(lambda: _open_claims(cluster) >= RELAYS)
            _run(client)
            assert cluster.hub is not None
            cluster.hub.kill()
            cluster.start_hub()
            began = time.monotonic()
            until(lambda: _open_claims(cluster) >= RELAYS)
            assert time.monotonic() - began < BACK_S_MAX
            with cluster.client() as again:
                _run(again)
                states = {node["state"] for node in again.nodes()}
            assert states == {"up"}
            refused = {key: n for key, n in herd.answers.items() if key[0] >= 400 and key != WAITS}
            assert not refused, refused
            assert psutil.Process(cluster.hub.pid).memory_info().rss < HUB_BYTES_MAX


def _run(client: Client) -> None:
    job = client.submit_spec("null", {}, tasks=f"0-{TASKS - 1}")
    assert job.wait(60)["counts"]["succeeded"] == TASKS


def _open_claims(cluster: Cluster) -> int:
    with closing(cluster.http()) as http:
        return int(http.get("/healthz", [("full", "true")]).json()["open"])
