"""Snapshots, compaction and export of a real Hub under load, killed wherever it is."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import run

from hpc.client import Client
from hpc.errors import NoHub, NotFound
from hpc.testing.processes import Cluster, until

SEED = 11
KILLS = 5
WRITERS = 3
BATCH_EVENTS = 20

# A small state is written in some milliseconds, so that one snapshot follows the other.
BUSY = ["--snapshot-events", "50", "--compact-every", "0.2"]

SPEC = {"schema": {"Said": [{"key": "i", "expected_type": "Int"}]}, "retention": 0}
RULE = {
    "on": "Said",
    "table": "t",
    "key": "$ctx.node_id",
    "join": {"n": {"count": 1}, "sum": {"sum": "$spec.i"}, "most": {"max": "$spec.i"}},
}


class Writer(threading.Thread):
    """Sends batches until it is told to stop; each again, as it was, until it is answered."""

    def __init__(self, client: Client, number: int) -> None:
        super().__init__()
        self.client = client
        self.number = number
        self.sent = 0
        self.receipts: dict[str, dict[str, Any]] = {}
        self.enough = threading.Event()

    def run(self) -> None:
        while not self.enough.is_set():
            self.sent += 1
            node = f"w{self.number}"
            events = [
                {"kind": "Said", "payload": {"ctx": {"ns_id": "lab", "node_id": node},
                                             "spec": {"i": i}}}
                for i in range(BATCH_EVENTS)
            ]  # fmt: skip
            batch_id = f"writer{self.number}-of-many/{self.sent}"
            self.receipts[batch_id] = self.persistently(events, batch_id)

    def persistently(self, events: list[dict[str, Any]], batch_id: str) -> dict[str, Any]:
        patience = threading.Event()
        while True:
            try:
                return self.client.ingest(events, batch_id=batch_id)
            except NoHub:
                patience.wait(0.01)


@contextmanager
def under_load(cluster: Cluster) -> Iterator[list[Writer]]:
    """Writers that run until the block ends; then each has all that it sent acknowledged."""
    writers = [Writer(cluster.client(), n) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.enough.set()
        for writer in writers:
            writer.join(30)
    assert not any(writer.is_alive() for writer in writers)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub that is always at a snapshot or a compaction, with a generator over what goes."""
    with Cluster(tmp_path) as cluster:
        assert cluster.hub is not None
        cluster.hub.terminate()
        cluster.start_hub(*BUSY)
        client = cluster.client()
        client.control({"type": "RegisterNamespace", "ns_id": "lab", "spec": SPEC})
        spec = {"namespaces": ["lab"], "rules": [RULE]}
        client.control({"type": "RegisterGenerator", "gid": "g", "spec": spec})
        yield cluster


def acknowledged(writers: list[Writer]) -> int:
    return sum(len(writer.receipts) for writer in writers)


def hpc(cluster: Cluster, *words: str, code: int = 0) -> Any:
    """What a command says with --json."""
    ran = run(cluster, *words, "--json")
    assert ran.returncode == code, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_fault_04_kills_in_snapshots_and_compactions_lose_and_double_nothing(lab: Cluster) -> None:
    """What went is in the facts, once; every start is from a snapshot; the log verifies."""
    rng = random.Random(SEED)
    client = lab.client()
    job = client.submit("true", key="kept", memory=1)
    with under_load(lab) as writers:
        for _ in range(KILLS):
            assert lab.hub is not None
            more = rng.randrange(20, 200)
            before = acknowledged(writers)
            until(lambda enough=before + more: acknowledged(writers) > enough)
            lab.hub.kill()
            lab.start_hub(*BUSY)
        compacted = until(lambda: hpc(lab, "log", "verify")["data"]["compacted"])
    assert compacted > 0
    assert lab.hub is not None
    lab.hub.terminate()
    lab.start_hub()  # and now let it be: the floor stays where it is

    facts = client.pull("g")["facts"]["t"]
    for writer in writers:
        row = facts[f"w{writer.number}"]
        assert row["n"] == writer.sent * BATCH_EVENTS, f"seed {SEED}"
        assert row["sum"] == writer.sent * sum(range(BATCH_EVENTS))
    assert job.info()["state"] == "queued"
    told = hpc(lab, "log", "verify")["data"]
    assert told["damaged"] == []
    assert told["floor"] > 1
    starts = [process.log.read_text() for process in lab.processes[2:]]
    assert all("hub: restored a snapshot at seq" in start for start in starts[-KILLS // 2 :])

    floor = told["floor"]
    with pytest.raises(NotFound) as caught:
        next(client.events(0))
    assert caught.value.code == "compacted"
    with pytest.raises(NotFound) as caught:
        next(client.events(0, follow=True))
    assert caught.value.code == "compacted"
    assert [event["seq"] for event in client.events(floor - 1)][:1] in ([floor], [])
    place = [("gid", "g"), ("table", "t"), ("key", "w0"), ("column", "n")]
    with pytest.raises(NotFound) as caught:
        client.read("/explain", place)
    assert caught.value.code == "compacted"
    client.read("/explain", [*place, ("after", str(10**9))])
    submitted = [("gid", "kernel"), ("table", "jobs"), ("key", "kept"), ("column", "ns_id")]
    assert client.read("/explain", submitted)["events"][0]["kind"] == "SubmitJob"


def test_an_export_of_a_running_hub_is_a_hub(lab: Cluster, tmp_path: Path) -> None:
    """All that was acknowledged before it is in it; a Hub on it serves the same facts."""
    client = lab.client()
    file = tmp_path / "copy.sqlite3"
    with under_load(lab) as writers:
        until(lambda: acknowledged(writers) > 300)
        before = [dict(writer.receipts) for writer in writers]
        cursor = hpc(lab, "log", "export", "-o", str(file))["cursor"]
        until(lambda: acknowledged(writers) > 500)
    had = {id_: receipt for receipts in before for id_, receipt in receipts.items()}
    assert max(receipt["first_seq"] for receipt in had.values()) < cursor
    assert hpc(lab, "log", "verify", str(file))["data"]["damaged"] == []

    with Cluster(tmp_path / "second") as second:
        assert second.hub is not None
        second.hub.terminate()
        place = tmp_path / "restored"
        assert hpc(second, "log", "restore", str(file), "--data", str(place))["cursor"] == cursor
        second.start_hub("--data", str(place))
        again = second.client()
        for writer, receipts in zip(writers, before, strict=True):
            for batch_id in list(receipts)[-3:]:
                ctx = {"ns_id": "lab", "node_id": f"w{writer.number}"}
                events = [
                    {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": i}}}
                    for i in range(BATCH_EVENTS)
                ]
                receipt = again.ingest(events, batch_id=batch_id)
                assert receipt == {**receipts[batch_id], "duplicate": True}
        held = again.pull("g")
        assert held["cursor"] >= cursor
        # What the first Hub has learnt since, cell by cell over what the copy holds, is all.
        rest = client.pull("g", cursor)["facts"]
        joined = {
            key: held["facts"]["t"].get(key, {}) | rest.get("t", {}).get(key, {})
            for key in {*held["facts"]["t"], *rest.get("t", {})}
        }
        assert joined == client.pull("g")["facts"]["t"]
