"""kill -9 of the Hub: what was acknowledged is there once, and a restart goes on where it was."""

from __future__ import annotations

from pathlib import Path

from hpc.testing.kills import BATCHES_MIN, kill_hub, not_as_told, unseen
from hpc.testing.processes import Cluster

KILLS = 5


def test_fault_02_03_five_kills_under_load_lose_and_double_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A 200 means recorded; a retry of what was not answered is recorded once; tasks go on."""
    found = kill_hub(cluster, tmp_path, KILLS)
    assert found.is_good, found
    assert found.kills == KILLS
    assert found.acknowledged > KILLS * BATCHES_MIN
    assert found.executions > KILLS


def test_what_is_lost_or_doubled_would_be_told() -> None:
    """A check that nothing can fail checks nothing."""
    events = [{"id": "b", "seq": n, "kind": "HardwareStats"} for n in range(1, 21)]
    assert not_as_told({"b": {"first_seq": 1}}, events) == []
    assert "the log has 19 at 1" in not_as_told({"b": {"first_seq": 1}}, events[:19])[0]
    assert "the log has 0 at None" in not_as_told({"c": {"first_seq": 1}}, events)[0]
    assert "at 1" in not_as_told({"b": {"first_seq": 2}}, events)[0]
    assert "seqs" in not_as_told({}, events[1:])[0]
    ctx = {"job_id": "j", "tasks": "0-1", "attempt": 1}
    claim = [{"kind": "JobClaimed", "payload": {"ctx": ctx}}]
    assert unseen(["j 0 1", "j 1 1"], claim) == []
    assert "ran 2 times" in unseen(["j 0 1", "j 0 1"], claim)[0]
    assert "no claim" in unseen(["j 0 2"], claim)[0]


def test_fault_02_a_restart_answers_the_same_pulls_and_receipts(cluster: Cluster) -> None:
    """Recovery is catching up: facts, cursors, registrations and receipts are as before."""
    client = cluster.client()
    job = client.submit("true", key="kept", tasks="0-9", memory=1)
    one = [
        {
            "kind": "HardwareStats",
            "payload": {
                "ctx": {"ns_id": "monitor", "node_id": "n"},
                "spec": {"cpu_usage": "1%", "mem_used_kb": 1, "mem_total_kb": 2},
            },
        }
    ]
    receipt = client.ingest(one, batch_id="once")
    gids = ["kernel", "batch", "monitor"]
    before = (
        [client.pull(gid) for gid in gids],
        job.info(),
        cluster.http().get("/namespaces").json(),
    )

    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()

    assert (
        [client.pull(gid) for gid in gids],
        job.info(),
        cluster.http().get("/namespaces").json(),
    ) == before
    assert client.ingest(one, batch_id="once") == {**receipt, "duplicate": True}
