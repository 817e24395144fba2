"""`hpc doctor` beside real processes: what it says is so."""

from __future__ import annotations

import json
import subprocess
import sys

from hpc.testing.processes import Cluster


def doctor(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user of the cluster."""
    return subprocess.run(
        [sys.executable, "-m", "hpc", "doctor", *words],
        env=cluster.env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_machine_with_a_hub_and_a_relay_is_well(cluster: Cluster) -> None:
    """Each line is true of these processes: the Hub's id, its version, the relay's limits."""
    cluster.relay("n1", "--cgroup", "off")
    cluster.client().submit(["true"]).wait(30)

    ran = doctor(cluster, "--json")
    document = json.loads(ran.stdout)
    rows = {row["name"]: row for row in document["data"]}

    assert [row for row in rows.values() if row["level"] == "problem"] == []
    assert ran.returncode == 0
    assert document["cursor"] >= 2
    assert cluster.http().get("/healthz").headers["hpc-hub"] in rows["hub"]["found"]
    assert rows["hub"]["level"] == rows["clock"]["level"] == rows["clean-up"]["level"] == "ok"
    assert "as the Hub's" in rows["clock"]["found"]


def test_a_hub_that_was_killed_is_told_and_the_rest_is_looked_at(cluster: Cluster) -> None:
    """The access file is still there; nobody answers where it leads."""
    assert cluster.hub is not None
    cluster.hub.kill()
    ran = doctor(cluster)
    assert ran.returncode == 0
    assert (
        f"warning  hub            No Hub answers at http://127.0.0.1:{cluster.port}" in ran.stdout
    )
    assert "-> start one: hpc up" in ran.stdout
    assert "ok       clean-up " in ran.stdout
