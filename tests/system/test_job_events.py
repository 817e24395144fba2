"""Events of one job, as pages and as they come: nothing of others, nothing twice or missed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import run

from hpc import Client
from hpc.errors import Conflict
from hpc.testing.processes import Cluster


def said(*names: str) -> list[dict[str, Any]]:
    """Events that speak of jobs, which need not exist."""
    ctx = {"ns_id": "calls", "node_id": "n", "tasks": "0", "attempt": 1}
    return [
        {"kind": "WorkerStopped", "payload": {"ctx": {**ctx, "job_id": name}, "spec": {}}}
        for name in names
    ]


def seqs(events: Iterator[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


def page(client: Client, cursor: int, limit: int) -> tuple[list[int], int, int | None]:
    answer = client.read("/events", [("job", "a"), ("cursor", cursor), ("limit", limit)])
    return seqs(answer["data"]), answer["cursor"], answer["next"]


def test_a_page_has_one_jobs_events_and_passes_over_others(cluster: Cluster) -> None:
    """Also within a batch of several; a cursor that is told is one to go on from."""
    with cluster.client() as client:
        base = client.ingest(said("a", "b", "a"))["first_seq"] - 1
        client.ingest(said("b"))
        client.ingest(said("a", "b"))
        client.ingest(said("b"))
        wanted = [base + 1, base + 3, base + 5]
        end = base + 7
        assert page(client, 0, 100) == (wanted, end, None)
        assert page(client, base + 1, 100) == (wanted[1:], end, None)
        assert page(client, base, 1) == ([base + 1], base + 1, base + 1)
        assert page(client, base + 3, 1) == ([base + 5], end, None)
        assert page(client, base + 5, 100) == ([], end, None)
        for _ in range(40):
            client.ingest(said("b", "a"))
        found = seqs(client.events(job="a"))
        assert found == [*wanted, *range(end + 2, end + 82, 2)]


def test_fault_05_a_job_is_followed_over_a_kill_until_it_is_closed(cluster: Cluster) -> None:
    """A reader in a thread of its own must be able to end while it waits."""
    with cluster.client() as client:
        base = client.ingest(said("a"))["first_seq"]
        events = client.again().follow(base, job="a")
        got: queue.SimpleQueue[int] = queue.SimpleQueue()

        def read() -> None:
            for event in events:
                got.put(event["seq"])

        reader = threading.Thread(target=read)
        reader.start()
        client.ingest(said("b", "a"))
        assert got.get(timeout=30) == base + 2
        assert cluster.hub is not None
        cluster.hub.kill()
        cluster.start_hub()
        last = client.ingest(said("a", "b"))["first_seq"]
        assert got.get(timeout=30) == last
        events.close()
        reader.join(30)
        assert not reader.is_alive()
        assert got.empty()


def test_who_follows_is_told_of_a_restore(cluster: Cluster, tmp_path: Path) -> None:
    """What came before is then not in the log any more, and other events stand in its place."""
    with cluster.client() as client:
        client.ingest(said("a"))
        run(cluster, "log", "export", "-o", str(tmp_path / "copy")).check_returncode()
        lost = client.ingest(said("a"))["first_seq"]
        events = iter(client.again().follow(lost - 1))
        assert next(events)["seq"] == lost
        assert cluster.hub is not None
        cluster.hub.terminate()
        place = str(tmp_path / "restored")
        run(cluster, "log", "restore", str(tmp_path / "copy"), "--data", place).check_returncode()
        cluster.start_hub("--data", place)
        with pytest.raises(Conflict, match="restored from a copy") as caught:
            next(events)
        assert caught.value.code == "other_lineage"
        # Who begins now is not: it is one history.
        base = client.ingest(said("a", "b"))["first_seq"]
        again = iter(client.follow(base - 1))
        assert [next(again)["seq"], next(again)["seq"]] == [base, base + 1]
