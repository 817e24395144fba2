"""Nothing polls: an idle Hub, relay, supervisor and monitor hardly wake up."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from hpc.testing.processes import Cluster, until

WAKE_UPS_PER_S_MAX = 15
WINDOW_S = 4.0


def wake_ups(pid: int) -> int:
    """How often the threads of a process have gone to sleep by themselves."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        count += sum(int(x.split()[1]) for x in lines if x.startswith("voluntary"))
    return count


def test_idle_processes_hardly_wake_up(cluster: Cluster) -> None:
    """At most 15 wake-ups per second and process, at a lease of 2 s that is renewed four times."""
    relay = cluster.relay()
    monitor = cluster.start("monitor", "--node-id", "n1")
    cluster.client().submit("true", memory=16).wait(30)
    assert cluster.hub is not None
    children = psutil.Process(relay.pid).children()
    assert children, "a relay has a supervisor"
    pids = [cluster.hub.pid, relay.pid, monitor.pid, *(child.pid for child in children)]
    before = {pid: wake_ups(pid) for pid in pids}
    began = time.monotonic()
    until(lambda: time.monotonic() - began > WINDOW_S)

    per_s = {pid: (wake_ups(pid) - before[pid]) / WINDOW_S for pid in pids}

    assert max(per_s.values()) <= WAKE_UPS_PER_S_MAX, per_s
