"""`hpc status` and `/metrics`: what there is to do, who does it, and what the Hub did so far."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commands import succeed as hpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hpc.client import Client
from hpc.errors import NotAllowed
from hpc.testing.processes import Cluster, until


def metrics(cluster: Cluster) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    reply = cluster.http().request("GET", "/metrics")
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(reply.body.decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def totals(cluster: Cluster) -> Any:
    return json.loads(hpc(cluster, "status", "--json").stdout)["data"]


def test_jobs_tasks_and_nodes_are_counted_by_state(cluster: Cluster) -> None:
    """From the first one on, after a start of the Hub, and without what was forgotten."""
    told = hpc(cluster, "status")
    assert "jobs   none\ntasks  none\nnodes  none\n" in told.stdout
    assert told.stderr == "\nhint: no relay is here, nothing will run: hpc relay\n"

    cluster.relay("n1")
    client = cluster.client()
    assert client.submit("true", tasks="0-9", key="ten").wait(60)["state"] == "succeeded"
    assert client.submit("exit 3", tasks="0-2", key="three").wait(60)["state"] == "failed"
    client.submit("true", tasks="0-4", hold=True, key="held")

    def check() -> None:
        data = totals(cluster)
        assert {s: n for s, n in data["jobs"].items() if n} == {
            "held": 1,
            "failed": 1,
            "succeeded": 1,
        }
        tasks = {s: n for s, n in data["tasks"].items() if n}
        assert tasks == {"held": 5, "failed": 3, "succeeded": 10}
        found = metrics(cluster)
        assert found["hpc_tasks", "succeeded"] == 10
        assert found["hpc_jobs", "held"] == 1
        assert found["hpc_nodes", "up"] == data["nodes"]["up"]
        assert found["hpc_log_seq",] >= client.cursor
        assert found["hpc_free_bytes",] > found["hpc_min_free_bytes",] > 0

    check()
    lines = hpc(cluster, "status").stdout.splitlines()
    assert lines[2:] == [
        "jobs   1 held, 1 failed, 1 succeeded",
        "tasks  5 held, 3 failed, 10 succeeded",
        "nodes  1 up",
    ]
    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()
    until(lambda: totals(cluster)["nodes"]["up"] == 1)
    check()
    client.request("ForgetJob", "ten")
    assert totals(cluster)["tasks"]["succeeded"] == 0


def test_nodes_that_were_drained_are_told_beside_those_that_are_up(cluster: Cluster) -> None:
    """Whoever has forgotten to undrain them sees it; where none is left, what to do."""
    for node_id in ("n1", "n2"):
        cluster.relay(node_id)
    until(lambda: totals(cluster)["nodes"]["up"] == 2)

    hpc(cluster, "node", "drain", "n1")
    assert totals(cluster)["nodes"] == {"up": 2, "unreachable": 0, "left": 0, "drained": 1}
    told = hpc(cluster, "status")
    assert told.stdout.splitlines()[-1] == "nodes  2 up (1 drained)"
    assert told.stderr == ""
    found = metrics(cluster)
    assert (found["hpc_nodes", "up"], found["hpc_nodes_drained",]) == (2, 1)
    assert ("hpc_nodes", "drained") not in found, "it was counted"

    hpc(cluster, "node", "drain", "n2")
    assert "hpc node undrain NODE" in hpc(cluster, "status").stderr
    hpc(cluster, "node", "undrain", "n1", "n2")
    assert hpc(cluster, "status").stdout.splitlines()[-1] == "nodes  2 up"


def test_counters_grow_with_what_is_done(cluster: Cluster) -> None:
    """And say how often somebody was refused."""
    before = metrics(cluster)
    cluster.client().submit("true")
    with pytest.raises(NotAllowed):
        Client(cluster.client().url, token="nobody").info("1")
    after = metrics(cluster)
    for name in ("hpc_requests_total", "hpc_turns_total", "hpc_commits_total"):
        assert after[name,] > before[name,]
    assert (
        after["hpc_refused_total", "unauthorized"]
        == 1 + before["hpc_refused_total", "unauthorized"]
    )
    assert after["hpc_turned_away_total",] == after["hpc_callbacks_failed_total",] == 0
    assert after["process_resident_memory_bytes",] > 10 << 20
