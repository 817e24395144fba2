"""kill -9 of the Hub: what was acknowledged is there once, and a restart goes on where it was."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from hpc.client import Client
from hpc.errors import NoHub
from hpc.testing.processes import Cluster, until
from hpc.transport.http_client import HttpClient

KILLS = 5
WRITERS = 3
BATCH_EVENTS = 20


class Writer(threading.Thread):
    """Sends batches until it is told to stop; each is sent again, as it was, until it is answered.

    Attributes:
        acknowledged: The receipts, by batch id.
    """

    def __init__(self, client: Client, number: int) -> None:
        super().__init__()
        self.client = client
        self.number = number
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.enough = threading.Event()

    def run(self) -> None:
        n = 0
        while not self.enough.is_set():
            n += 1
            batch_id = f"writer{self.number}/{n}"
            events = [
                {
                    "kind": "HardwareStats",
                    "at": n,
                    "payload": {
                        "ctx": {"ns_id": "monitor", "node_id": f"w{self.number}"},
                        "spec": {"cpu_usage": "1%", "mem_used_kb": i, "mem_total_kb": n},
                    },
                }
                for i in range(BATCH_EVENTS)
            ]
            receipt = self.persistently(events, batch_id)
            if receipt is not None:
                self.acknowledged[batch_id] = receipt

    def persistently(self, events: list[dict[str, Any]], batch_id: str) -> dict[str, Any] | None:
        """Return the receipt, or None if it was told to stop before there was one."""
        while True:
            try:
                return self.client.ingest(events, batch_id=batch_id)
            except NoHub:
                if self.enough.wait(0.01):
                    return None


def events_of(http: HttpClient) -> list[dict[str, Any]]:
    """The whole log."""
    events: list[dict[str, Any]] = []
    cursor = 0
    while True:
        page = http.get("/events", [("cursor", str(cursor)), ("limit", "10000")]).json()
        events += page["data"]
        if page["next"] is None:
            return events
        cursor = page["next"]


def test_fault_02_03_five_kills_under_load_lose_and_double_nothing(cluster: Cluster) -> None:
    """A 200 means recorded; a retry of what was not answered is recorded once."""
    writers = [Writer(cluster.client(), n) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        assert cluster.hub is not None
        before = sum(len(writer.acknowledged) for writer in writers)
        until(lambda seen=before: sum(len(w.acknowledged) for w in writers) > seen + 20)
        cluster.hub.kill()
        cluster.start_hub()
    for writer in writers:
        writer.enough.set()
    for writer in writers:
        writer.join(30)
        assert not writer.is_alive()

    events = events_of(cluster.http())
    recorded = Counter(event["id"] for event in events)
    acknowledged = {id_: receipt for w in writers for id_, receipt in w.acknowledged.items()}
    assert len(acknowledged) > KILLS * 20
    for batch_id, receipt in acknowledged.items():
        assert recorded[batch_id] == BATCH_EVENTS, batch_id
        first = next(event for event in events if event["id"] == batch_id)
        assert first["seq"] == receipt["first_seq"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    facts = cluster.client().pull("monitor")["facts"]["nodes"]
    sent = sum(1 for event in events if event["kind"] == "HardwareStats")
    assert sum(row["reports"] for row in facts.values()) == sent


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
