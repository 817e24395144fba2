"""Hub and relay are replaced one after the other, as in an upgrade, while a task runs.

Both are of the version under test: what is shown is the order of things, not that two versions
understand each other. Who speaks another number of the protocol is answered 426, which
`tests/unit/test_http_refusals.py` has.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from marks import marking, starts

from hpc.testing.processes import Cluster, until


def test_hub_and_relay_are_replaced_while_a_task_runs(cluster: Cluster, tmp_path: Path) -> None:
    """It is begun once and succeeds; new work goes to the new relay; the old one leaves."""
    end = tmp_path / "end"
    old = cluster.relay("old", "--grace", "60s")
    waits = f"while ! test -e {end}; do sleep 0.02; done"
    running = cluster.client().submit(marking(tmp_path, waits), memory=16)
    until(lambda: starts(tmp_path))

    assert cluster.hub is not None
    cluster.hub.terminate(30)
    cluster.start_hub()
    os.kill(old.pid, signal.SIGTERM)
    cluster.relay("new")
    client = cluster.client()
    assert client.submit("true", memory=16).wait(30)["state"] == "succeeded"
    assert client.info(running.id)["state"] == "running"
    end.touch()

    assert client.job(running.id).wait(30)["state"] == "succeeded"
    assert old.popen.wait(30) == 0
    assert starts(tmp_path) == {0: 1}
    nodes = {node["node_id"]: node["state"] for node in client.nodes()}
    assert nodes["new"] == "up"
    assert nodes["old"] not in ("up", "unreachable")
